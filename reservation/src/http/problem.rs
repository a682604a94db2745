//! Every refusal as an RFC 9457 problem.
//!
//! Owns: [`Problem`], what a program calls next.
//! Not here: deciding, codes and texts (`domain::refusal`), where which kind is documented (`openapi`).
//! Invariant: 422 says that the request does not fit its schema, 409 that it fits and still cannot be now; what went wrong
//! inside is for the log and never in the text.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    domain::{member::Scope, refusal::Refusal, reservation::State, words::Language},
    service::ServiceError,
};

/// Under which the kinds are explained.
pub(super) const PROBLEMS: &str = "/api/v1/problems";

/// An answer that says no, why, and what to do next.
#[derive(Debug)]
pub(super) struct Problem(pub(super) Refusal);

/// What handlers come back with.
pub(super) type Answer<T = Response> = Result<T, Problem>;

impl Problem {
    fn body(&self) -> Value {
        let refusal = &self.0;
        let kind = refusal.kind();
        let mut body = refusal.parameters();
        if let Refusal::CardQuestion(question) = refusal {
            let name = if question.is_about_payment() { "payment_intent" } else { "setup_intent" };
            body = [(name, &question.reference), ("client_secret", &question.client_secret)]
                .map(|(name, value)| (name.to_owned(), value.as_str().into()))
                .into_iter()
                .collect();
        }
        let fields = refusal.fields();
        if !fields.is_empty() {
            body.insert("fields".into(), serde_json::to_value(fields).unwrap_or_default());
        }
        body.extend(refusal.retry_after().map(|seconds| ("retry_after".to_owned(), seconds.into())));
        body.extend(call(refusal).map(|call| ("call".to_owned(), call.into())));
        body.insert("type".into(), format!("{PROBLEMS}/{}", kind.code).into());
        body.insert("title".into(), kind.title(Language::English).into());
        body.insert("status".into(), kind.status.into());
        body.insert("detail".into(), refusal.detail(Language::English).into());
        body.insert("next".into(), refusal.next(Language::English).into());
        Value::Object(body)
    }
}

/// The address that comes next, for programs.
fn call(refusal: &Refusal) -> Option<&'static str> {
    Some(match refusal {
        Refusal::NotLoggedIn => "POST /api/v1/session",
        Refusal::Scope(Scope::Account) => "POST /api/v1/session",
        Refusal::Scope(_) | Refusal::TooManyTokens { .. } => "POST /api/v1/me/tokens",
        Refusal::PaymentDeclined { .. }
        | Refusal::RegisterFirst
        | Refusal::NotPremium
        | Refusal::NoPaymentMethod => "PUT /api/v1/me/premium",
        Refusal::CardQuestion(question) if !question.is_about_payment() => "PUT /api/v1/me/premium",
        Refusal::WrongCode => "POST /api/v1/forgotten-password",
        Refusal::EmailUnverified => "POST /api/v1/verification",
        Refusal::Csrf => "GET /api/v1/session",
        Refusal::WrongReservationId => "POST /api/v1/reservations/{number}/reissue-id",
        Refusal::WrongState { state: State::Held, .. } => "POST /api/v1/reservations/{number}/accept-terms",
        Refusal::WrongState { state: State::Registered, .. } => {
            "POST /api/v1/reservations/{number}/reconfirm"
        }
        Refusal::SlotTaken { .. } => "GET /api/v1/days/{date}",
        Refusal::InThePast => "GET /api/v1/time",
        Refusal::ChannelRetired(_) => "GET /api/v1/channels",
        Refusal::NothingToRefund { .. } => "GET /api/v1/reservations/{number}/history",
        Refusal::NoSuchAddress(_) => "GET /api/v1/docs",
        _ => return None,
    })
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let refusal = &self.0;
        let status = StatusCode::from_u16(refusal.kind().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let media_type = HeaderValue::from_static("application/problem+json");
        let mut response =
            (status, [(header::CONTENT_TYPE, media_type)], self.body().to_string()).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"slotcast\""));
        }
        if let Some(seconds) = refusal.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Refusal::Stale { version } = refusal {
            headers.insert(header::ETAG, etag(*version));
        }
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        Self(error.into())
    }
}

/// A version as a strong entity tag.
pub(super) fn etag(version: i64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"0\""))
}

/// What every refusal looks like (RFC 9457); members beside these depend on the `type`.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem, example = json!({
    "type": "/api/v1/problems/slot-taken",
    "title": "Somebody has a slot of that window",
    "status": 409,
    "detail": "Taken on channel 1: 2026-11-22T10:00:00Z.",
    "next": "Choose a window without the slots that are taken.",
    "call": "GET /api/v1/days/{date}",
    "channel": 1,
    "taken": ["2026-11-22T10:00:00Z"],
}))]
pub(super) struct ProblemBody {
    /// Names the kind of problem, and explains it when fetched.
    #[serde(rename = "type")]
    #[schema(format = "uri-reference", pattern = "^/api/v1/problems/[a-z-]+$")]
    kind: String,
    /// What it is, the same for all of its kind.
    title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is particular about this one.
    detail: String,
    /// What to do next.
    next: String,
    /// The method and address that a program asks next.
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<String>,
    /// Items that are missing or wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Vec<FieldBody>>,
    /// Seconds to wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    /// Of `card-question`: the question's name, for `card_token` once it is answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    setup_intent: Option<String>,
    /// Of `card-question` about a payment: its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_intent: Option<String>,
    /// Of `card-question`: opens the question in the payment company's own form. Keep it nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
}

/// One item that is missing or wrong.
#[derive(Serialize, ToSchema)]
#[schema(as = ProblemField)]
pub(super) struct FieldBody {
    /// Its name, as in the request: `program.title`.
    field: String,
    /// What would be right.
    expected: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::member::CardQuestion;

    #[test]
    fn a_secret_is_in_the_answer_and_nowhere_else() {
        let refusal = Refusal::CardQuestion(CardQuestion {
            reference: "seti_1".to_owned(),
            client_secret: "seti_1_secret_2".to_owned(),
        });
        let error = ServiceError::from(refusal.clone());
        let problem = Problem::from(refusal);
        assert_eq!(problem.body()["client_secret"], "seti_1_secret_2");
        let detail = problem.0.detail(Language::English);
        for text in [error.to_string(), format!("{error:?}"), format!("{problem:?}"), detail] {
            assert!(!text.contains("secret_2"), "{text}");
        }
    }
}
