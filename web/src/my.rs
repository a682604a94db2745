//! My channel: a member's reservations, each with its next step, and the steps themselves.
//!
//! Owns: `/my`, `/my/NUMBER`, and the forms there: accept the terms, reconfirm, cancel.
//! Not here: booking, what viewers see of a program (`public`).
//! Invariant: nothing is cancelled by one click; a repeated form finds its own success, as the service keeps it.

use askama::Template;
use axum::{
    Router,
    extract::Path,
    http::StatusCode,
    routing::{get, post},
};
use slotcast_reservation::{
    domain::{
        refusal::{FieldProblem, Refusal, Thing},
        reservation::{Settlement, State},
        words::ReservationNumber,
    },
    service::ReservationView,
};

use crate::{
    Web,
    form::Form,
    markup::{Markup, typed},
    page::{Answer, Frame, Part, see_other},
    trouble::Trouble,
    visit::Visit,
    written::{in_fours, number_of},
};

/// A reservation as a template shows it.
#[derive(Clone)]
pub(crate) struct Own {
    pub(crate) number: i64,
    pub(crate) title: String,
    pub(crate) channel: u16,
    pub(crate) seats: u32,
    pub(crate) when: Markup,
    pub(crate) state: State,
    /// In money, for all slots.
    pub(crate) total: String,
    /// Until when the next step must be done.
    pub(crate) until: Option<Markup>,
    /// Viewers at most, once it was on air.
    pub(crate) viewers_most: Option<u32>,
}

impl Own {
    fn of(view: &ReservationView, f: &Frame) -> Self {
        let is_waiting = matches!(view.state, State::Held | State::Registered);
        Self {
            number: view.number.0,
            title: typed(&view.program.title),
            channel: view.channel.0,
            seats: view.seats.count(),
            when: f.written.window(view.window),
            state: view.state,
            total: f.written.money(view.total.minor().unsigned_abs()),
            until: view.next.filter(|_| is_waiting).map(|next| f.written.moment(next.until)),
            viewers_most: None,
        }
    }

    /// `1234 5678 9012 3456`.
    pub(crate) fn fours(&self) -> String {
        in_fours(self.number)
    }

    pub(crate) fn state_word<'a>(&self, f: &'a Frame) -> &'a str {
        let w = f.w();
        match self.state {
            State::Held => w.t("state-held"),
            State::Registered => w.t("state-registered"),
            State::Confirmed => w.t("state-confirmed"),
            State::OnAir => w.t("on-air"),
            State::Finished(Settlement::Open) => w.t("state-finished"),
            State::Finished(Settlement::Charged) => w.t("state-charged"),
            State::Finished(Settlement::Waived) => w.t("state-waived"),
            State::Cancelled(_) => w.t("state-cancelled"),
        }
    }

    pub(crate) const fn is_held(&self) -> bool {
        matches!(self.state, State::Held)
    }

    pub(crate) const fn is_registered(&self) -> bool {
        matches!(self.state, State::Registered)
    }

    pub(crate) const fn is_ready(&self) -> bool {
        matches!(self.state, State::Confirmed)
    }

    pub(crate) const fn is_on_air(&self) -> bool {
        matches!(self.state, State::OnAir)
    }

    pub(crate) const fn may_be_cancelled(&self) -> bool {
        matches!(self.state, State::Held | State::Registered | State::Confirmed)
    }
}

#[derive(Template)]
#[template(path = "my.html")]
pub(crate) struct MyPage {
    pub(crate) f: Frame,
    pub(crate) open: Vec<Own>,
    pub(crate) past: Vec<Own>,
    pub(crate) cancelled: Vec<Own>,
    pub(crate) slots_used: u32,
    pub(crate) slots_max: u32,
}

#[derive(Template)]
#[template(path = "my_one.html")]
pub(crate) struct OwnPage {
    pub(crate) f: Frame,
    pub(crate) r: Own,
    pub(crate) form: Form,
    pub(crate) trouble: Option<Trouble>,
    /// Whether the member is asked once more before it is cancelled.
    pub(crate) asks: bool,
}

pub(crate) fn routes() -> Router<Web> {
    Router::new()
        .route("/my", get(mine))
        .route("/my/{number}", get(one))
        .route("/my/{number}/terms", post(accept))
        .route("/my/{number}/reconfirm", post(reconfirm))
        .route("/my/{number}/cancel", get(ask_to_cancel).post(cancel))
}

async fn mine(visit: Visit) -> Answer {
    let (actor, _) = visit.need_member()?;
    let found = visit.web().service().my_channel(actor).await?;
    let f = Frame::new(&visit, Part::Mine);
    let own = |view: &ReservationView| Own::of(view, &f);
    let past = found
        .past
        .iter()
        .map(|past| Own { viewers_most: Some(past.run.viewers_peak), ..own(&past.reservation) });
    let page = MyPage {
        open: found.open.iter().map(own).collect(),
        past: past.collect(),
        cancelled: found.cancelled.iter().map(own).collect(),
        slots_used: found.slots_used,
        slots_max: found.slots_max,
        f,
    };
    page.f.page(&page)
}

async fn one(visit: Visit, Path(number): Path<String>) -> Answer {
    shown(&visit, numbered(&number)?, Form::default(), None, false).await
}

async fn ask_to_cancel(visit: Visit, Path(number): Path<String>) -> Answer {
    shown(&visit, numbered(&number)?, Form::default(), None, true).await
}

async fn accept(visit: Visit, Path(number): Path<String>, form: Form) -> Answer {
    let number = numbered(&number)?;
    visit.check_form(form.get("csrf"))?;
    let (actor, _) = visit.need_member()?;
    if !form.is_ticked("accepted") {
        let problem = FieldProblem::new("accepted", "the terms accepted", "規約への同意");
        return after::<()>(&visit, number, form, Err(Refusal::Invalid(vec![problem])), false).await;
    }
    let accepted = visit.web().service().accept_terms(actor, number).await;
    after(&visit, number, form, accepted.map_err(Into::into), false).await
}

async fn reconfirm(visit: Visit, Path(number): Path<String>, form: Form) -> Answer {
    let number = numbered(&number)?;
    visit.check_form(form.get("csrf"))?;
    let (actor, _) = visit.need_member()?;
    let confirmed = visit.web().service().reconfirm(actor, number, &form.text("reservation_id"), None).await;
    after(&visit, number, form, confirmed.map_err(Into::into), false).await
}

async fn cancel(visit: Visit, Path(number): Path<String>, form: Form) -> Answer {
    let number = numbered(&number)?;
    visit.check_form(form.get("csrf"))?;
    let (actor, _) = visit.need_member()?;
    let cancelled = visit.web().service().cancel(actor, number, None).await;
    after(&visit, number, form, cancelled.map_err(Into::into), true).await
}

fn numbered(text: &str) -> Result<ReservationNumber, Refusal> {
    number_of(text).map(ReservationNumber).ok_or(Refusal::NotFound(Thing::Reservation))
}

/// The reservation's page anew, or the same one with what is wrong and what was typed.
async fn after<T>(
    visit: &Visit,
    number: ReservationNumber,
    form: Form,
    done: Result<T, Refusal>,
    asks: bool,
) -> Answer {
    match done {
        Ok(_) => Ok(see_other(&format!("/my/{}", number.0))),
        Err(refusal) => shown(visit, number, form, Some(refusal), asks).await,
    }
}

async fn shown(
    visit: &Visit,
    number: ReservationNumber,
    form: Form,
    refusal: Option<Refusal>,
    asks: bool,
) -> Answer {
    let (actor, _) = visit.need_member()?;
    let service = visit.web().service();
    let view = service.reservation_view(service.reservation(actor, number).await?);
    let f = Frame::new(visit, Part::Mine);
    let trouble = refusal.map(|refusal| Trouble::of(&refusal, visit.language()));
    let status = trouble.as_ref().map_or(Ok(StatusCode::OK), |trouble| StatusCode::from_u16(trouble.status));
    let r = Own::of(&view, &f);
    let asks = asks && r.may_be_cancelled();
    let page = OwnPage { r, f, form, trouble, asks };
    page.f.page_as(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &page)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use axum::{
        body::to_bytes,
        http::{HeaderMap, header},
        response::Response,
    };
    use slotcast_reservation::edge::{Edge, EdgeSettings};
    use slotcast_reservation_testing::http::{PASSWORD, Server, draft};

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// What `user_id` sends once logged in.
    async fn visit(server: &Server, user_id: &str) -> Visit {
        let settings =
            EdgeSettings { base_url: "https://cast.example".to_owned(), trusted_proxies: Vec::new() };
        let web = Web::new(Edge::new(server.service.clone(), settings));
        let (_, cookie) = web.edge().log_in(user_id, PASSWORD, HERE).await.unwrap();
        let cookie = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, cookie.parse().unwrap());
        Visit::of(&web, headers, HERE, "/my".to_owned()).await
    }

    fn form(visit: &Visit, name: &str, value: &str) -> Form {
        Form::with(&[("csrf", visit.session().unwrap().csrf_token()), (name, value)], Vec::new())
    }

    async fn text(response: Response) -> String {
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    async fn state(server: &Server, visit: &Visit, number: i64) -> State {
        server.service.reservation(visit.actor().unwrap(), ReservationNumber(number)).await.unwrap().state
    }

    #[tokio::test]
    async fn a_member_accepts_reconfirms_and_cancels_by_forms_and_nobody_else_does() {
        let server = Server::start().await;
        server.sell(1).await;
        let booked = draft(1, "2026-11-20T10:00:00Z", "2026-11-20T10:30:00Z");
        let booked = server.premium("hanako").await.post("/reservations", &booked).await;
        let number = booked.body["number"].as_i64().unwrap();
        server.premium("taro").await;
        let (hanako, taro) = (visit(&server, "hanako").await, visit(&server, "taro").await);
        let path = || Path(number.to_string());

        let page = text(mine(hanako.clone()).await.unwrap()).await;
        assert!(page.contains(&format!("/my/{number}")) && page.contains("Terms to accept"));
        assert!(matches!(one(taro.clone(), path()).await, Err(fail) if fail.0.kind().status == 404));
        let theirs = accept(taro.clone(), path(), form(&taro, "accepted", "1")).await;
        assert!(matches!(theirs, Err(fail) if fail.0.kind().status == 404));
        let foreign = Form::with(&[("csrf", "wrong"), ("accepted", "1")], Vec::new());
        assert!(
            matches!(accept(hanako.clone(), path(), foreign).await, Err(fail) if matches!(fail.0, Refusal::Csrf))
        );
        let unticked = accept(hanako.clone(), path(), form(&hanako, "other", "1")).await.unwrap();
        assert_eq!(
            (unticked.status(), state(&server, &hanako, number).await),
            (StatusCode::UNPROCESSABLE_ENTITY, State::Held)
        );

        let accepted = accept(hanako.clone(), path(), form(&hanako, "accepted", "1")).await.unwrap();
        assert_eq!(accepted.status(), StatusCode::SEE_OTHER);
        let wrong =
            reconfirm(hanako.clone(), path(), form(&hanako, "reservation_id", "no-such-id")).await.unwrap();
        assert!(wrong.status().is_client_error());
        assert!(text(wrong).await.contains("value=\"no-such-id\""), "what was typed is kept");
        let id = server.mailed_id(number, 1).await;
        for _ in 0..2 {
            let confirmed =
                reconfirm(hanako.clone(), path(), form(&hanako, "reservation_id", &id)).await.unwrap();
            assert_eq!(confirmed.status(), StatusCode::SEE_OTHER, "a second click finds it done");
        }
        assert_eq!(state(&server, &hanako, number).await, State::Confirmed);

        let asked = text(ask_to_cancel(hanako.clone(), path()).await.unwrap()).await;
        assert!(asked.contains("costs the whole amount") && asked.contains("3,000"), "{asked}");
        assert_eq!(state(&server, &hanako, number).await, State::Confirmed);
        cancel(hanako.clone(), path(), form(&hanako, "x", "")).await.unwrap();
        assert!(matches!(state(&server, &hanako, number).await, State::Cancelled(_)));
        let page = text(one(hanako, path()).await.unwrap()).await;
        assert!(page.contains("Cancelled") && !page.contains("/cancel\""));
    }
}
