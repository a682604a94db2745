//! Logging in and out.

use askama::Template;
use axum::http::{StatusCode, Uri, header};
use slotcast_reservation::domain::refusal::Refusal;

use crate::{
    form::Form,
    page::{Answer, Frame, Part, local, see_other},
    trouble::Trouble,
    visit::Visit,
};

#[derive(Template)]
#[template(path = "login.html")]
pub(crate) struct LogInPage {
    pub(crate) f: Frame,
    pub(crate) form: Form,
    pub(crate) trouble: Option<Trouble>,
    /// Whether another page sent the visitor here.
    pub(crate) is_sent: bool,
}

pub(super) async fn form(visit: Visit, uri: Uri) -> Answer {
    let form = Form::parse(uri.query().unwrap_or_default().as_bytes());
    let is_sent = form.get("next").is_some();
    let page = LogInPage { f: Frame::new(&visit, Part::LogIn), form, trouble: None, is_sent };
    page.f.page(&page)
}

pub(super) async fn log_in(visit: Visit, form: Form) -> Answer {
    visit.check_form(form.get("csrf"))?;
    let (user_id, password) = (form.text("user_id"), form.get("password").unwrap_or_default());
    match visit.web().edge().log_in(&user_id, password, visit.client()).await {
        Ok((_, cookie)) => {
            let mut response = see_other(local(form.get("next")));
            response.headers_mut().insert(header::SET_COOKIE, cookie);
            Ok(response)
        }
        Err(error) => {
            let refusal: Refusal = error.into();
            let trouble = Trouble::of(&refusal, visit.language());
            let status = StatusCode::from_u16(trouble.status).unwrap_or(StatusCode::UNAUTHORIZED);
            let f = Frame::new(&visit, Part::LogIn);
            let page = LogInPage { f, form, trouble: Some(trouble), is_sent: false };
            page.f.page_as(status, &page)
        }
    }
}

pub(super) async fn log_out(visit: Visit, form: Form) -> Answer {
    visit.check_form(form.get("csrf"))?;
    let mut response = see_other("/");
    if let Some(session) = visit.session() {
        let cookie = visit.web().edge().log_out(session).await?;
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}
