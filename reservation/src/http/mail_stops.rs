//! Where a friend says that no more invitations are wanted: a page with one button, which mail programs press by
//! themselves (RFC 8058).
//!
//! Not here: the API's own rules. Whoever has the address out of the mail need not log in, and no cookie counts.
//! Invariant: only a POST stops anything, because programs that check links follow them.

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};

use super::problem::Problem;
use crate::service::Service;

const POLICY: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

/// What the mails' links and `List-Unsubscribe` name.
pub(super) fn routes(service: Service) -> Router {
    Router::new().route("/api/v1/mail-stops/{token}", get(ask).post(stop)).with_state(service)
}

async fn ask(State(service): State<Service>, Path(token): Path<String>) -> Response {
    if service.stopped_address(&token).is_none() {
        return page(
            StatusCode::NOT_FOUND,
            "<p>This link is not whole. Please copy all of it from the mail.</p>\
             <p>リンクが正しくありません。メールに記載されたアドレス全体をお使いください。</p>",
        );
    }
    page(
        StatusCode::OK,
        "<p>You will get no more invitations, changes and cancellations of programs, whoever invites you.</p>\
         <p>番組への招待・変更・取消のお知らせを、今後すべて停止します。</p>\
         <form method=\"post\"><button>Stop these mails / メールを停止する</button></form>",
    )
}

async fn stop(State(service): State<Service>, Path(token): Path<String>) -> Response {
    match service.stop_mails(&token).await {
        Ok(_) => page(StatusCode::OK, "<p>Done: no more such mails go to you.</p><p>停止しました。</p>"),
        Err(error) => Problem::from(error).into_response(),
    }
}

fn page(status: StatusCode, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Mails / メール</title><body>{body}</body></html>"
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("x-robots-tag"), "noindex"),
    ];
    let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
    (status, headers, Html(html)).into_response()
}
