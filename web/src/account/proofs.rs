//! Codes that came by mail: a forgotten password, an address to verify.

use askama::Template;
use axum::http::{StatusCode, Uri};
use slotcast_reservation::domain::refusal::Refusal;

use crate::{
    form::Form,
    page::{Answer, Frame, Part, see_other},
    trouble::Trouble,
    visit::Visit,
};

/// How far somebody has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Asks for a code.
    Ask,
    /// Has the code, or waits for it.
    Code,
    /// Done.
    Done,
}

impl Stage {
    const fn is_ask(self) -> bool {
        matches!(self, Self::Ask)
    }

    const fn is_code(self) -> bool {
        matches!(self, Self::Code)
    }
}

#[derive(Template)]
#[template(path = "password.html")]
pub(crate) struct PasswordPage {
    pub(crate) f: Frame,
    pub(crate) form: Form,
    pub(crate) stage: Stage,
    /// Whether the code was just asked for.
    pub(crate) is_sent: bool,
    pub(crate) trouble: Option<Trouble>,
}

/// `GET /password`; with `?code=…`, as the mail's link has it, the code is filled in.
pub(super) async fn password_form(visit: Visit, uri: Uri) -> Answer {
    let form = Form::parse(uri.query().unwrap_or_default().as_bytes());
    let (is_sent, is_done) = (form.is_ticked("sent"), form.is_ticked("done"));
    let stage = match (is_done, is_sent || form.get("code").is_some()) {
        (true, _) => Stage::Done,
        (false, true) => Stage::Code,
        (false, false) => Stage::Ask,
    };
    let f = Frame::new(&visit, Part::LogIn);
    let page = PasswordPage { f, form, stage, is_sent, trouble: None };
    page.f.page(&page)
}

/// Takes `who`, or `code` and `new_password`.
pub(super) async fn password(visit: Visit, form: Form) -> Answer {
    visit.check_form(form.get("csrf"))?;
    let service = visit.web().service();
    let (stage, done) = match form.get("code") {
        None => {
            let asked = service.forgot_password(&form.text("who"), visit.client()).await;
            (Stage::Ask, asked.map(|()| "/password?sent"))
        }
        Some(code) => {
            let new = form.get("new_password").unwrap_or_default();
            let replaced = service.replace_password(code.trim(), new, visit.client()).await;
            (Stage::Code, replaced.map(|()| "/password?done"))
        }
    };
    match done {
        Ok(to) => Ok(see_other(to)),
        Err(error) => {
            let f = Frame::new(&visit, Part::LogIn);
            let (status, form, trouble) = wrong(&visit, form, error.into());
            let page = PasswordPage { f, form, stage, is_sent: false, trouble };
            page.f.page_as(status, &page)
        }
    }
}

#[derive(Template)]
#[template(path = "verify.html")]
pub(crate) struct VerifyPage {
    pub(crate) f: Frame,
    pub(crate) form: Form,
    pub(crate) stage: Stage,
    /// Whether another code was just mailed.
    pub(crate) is_sent: bool,
    pub(crate) trouble: Option<Trouble>,
}

/// `GET /verify`; with `?code=…` the code is filled in. A program that follows the mail's links verifies nothing.
pub(super) async fn verify_form(visit: Visit, uri: Uri) -> Answer {
    let form = Form::parse(uri.query().unwrap_or_default().as_bytes());
    let is_sent = form.is_ticked("sent");
    let stage = if form.is_ticked("done") { Stage::Done } else { Stage::Code };
    let f = Frame::new(&visit, Part::LogIn);
    let page = VerifyPage { f, form, stage, is_sent, trouble: None };
    page.f.page(&page)
}

/// Takes `code`; or `again`, of a member who is logged in, for another mail.
pub(super) async fn verify(visit: Visit, form: Form) -> Answer {
    visit.check_form(form.get("csrf"))?;
    let service = visit.web().service();
    let done = match (form.is_ticked("again"), visit.actor()) {
        (true, Some(actor)) => service.ask_verification(actor).await.map(|()| "/verify?sent"),
        (true, None) => return Err(Refusal::NotLoggedIn.into()),
        (false, _) => {
            let code = form.text("code");
            service.verify_email(&code, visit.client()).await.map(|_| "/verify?done")
        }
    };
    match done {
        Ok(to) => Ok(see_other(to)),
        Err(error) => {
            let f = Frame::new(&visit, Part::LogIn);
            let (status, form, trouble) = wrong(&visit, form, error.into());
            let page = VerifyPage { f, form, stage: Stage::Code, is_sent: false, trouble };
            page.f.page_as(status, &page)
        }
    }
}

/// The form with what is wrong in it; what is about no field stands above it.
fn wrong(visit: &Visit, form: Form, refusal: Refusal) -> (StatusCode, Form, Option<Trouble>) {
    let trouble = Trouble::of(&refusal, visit.language());
    let status = StatusCode::from_u16(trouble.status).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
    match form.clone().blamed(refusal) {
        Ok(form) => (status, form, None),
        Err(_) => (status, form, Some(trouble)),
    }
}
