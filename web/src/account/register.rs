//! Becoming a member, general or premium.

use askama::Template;
use axum::http::{StatusCode, Uri, header};
use slotcast_reservation::{
    domain::{
        refusal::{FieldProblem, Refusal},
        words::Language,
    },
    service::{Premium, Registration},
};

use crate::{
    form::Form,
    markup::typed,
    page::{Answer, Frame, Part, see_other},
    trouble::Trouble,
    visit::Visit,
    words,
};

#[derive(Template)]
#[template(path = "register.html")]
pub(crate) struct RegisterPage {
    pub(crate) f: Frame,
    pub(crate) form: Form,
    pub(crate) is_premium: bool,
    /// Whether premium members can register here: where the operator bills, no card is needed.
    pub(crate) is_billing: bool,
    pub(crate) trouble: Option<Trouble>,
}

#[derive(Template)]
#[template(path = "registered.html")]
pub(crate) struct RegisteredPage {
    pub(crate) f: Frame,
    pub(crate) user_id: String,
    pub(crate) email: String,
    /// Whether a code is on its way that has to come back.
    pub(crate) is_code_sent: bool,
}

/// `GET /register`, `GET /register?kind=premium`.
pub(super) async fn form(visit: Visit, uri: Uri) -> Answer {
    let form = Form::parse(uri.query().unwrap_or_default().as_bytes());
    let is_billing = visit.web().service().is_billing();
    let is_premium = is_billing && form.get("kind") == Some("premium");
    let f = Frame::new(&visit, Part::Register);
    let page = RegisterPage { f, form, is_premium, is_billing, trouble: None };
    page.f.page(&page)
}

pub(super) async fn register(visit: Visit, form: Form) -> Answer {
    visit.check_form(form.get("csrf"))?;
    let is_premium = form.get("kind") == Some("premium");
    let service = visit.web().service();
    let registered = match repeated(&form) {
        Some(problem) => Err(problem),
        None => service.register(registration(&form, is_premium), visit.client()).await.map_err(Into::into),
    };
    match registered {
        // Who registered is logged in at once. Where that does not go, the member does it by hand.
        Ok(member) => {
            let password = form.get("password").unwrap_or_default();
            let logged_in =
                visit.web().edge().log_in(member.user_id.as_str(), password, visit.client()).await;
            let Ok((_, cookie)) = logged_in else { return Ok(see_other("/login?next=/register/done")) };
            let mut response = see_other("/register/done");
            response.headers_mut().insert(header::SET_COOKIE, cookie);
            Ok(response)
        }
        Err(refusal) => again(&visit, form, is_premium, refusal),
    }
}

/// `GET /register/done`: what to do next.
pub(super) async fn done(visit: Visit) -> Answer {
    let (_, member) = visit.need_member()?;
    let page = RegisteredPage {
        f: Frame::new(&visit, Part::Register),
        user_id: member.user_id.to_string(),
        email: typed(member.email.as_str()),
        is_code_sent: visit.web().service().rules().verify_email && !member.is_email_verified,
    };
    page.f.page(&page)
}

fn registration(form: &Form, is_premium: bool) -> Registration {
    let language = form.get("language").and_then(words::of_tag).unwrap_or(Language::English);
    Registration {
        user_id: form.text("user_id"),
        name: form.text("name"),
        reading: form.text("reading"),
        email: form.text("email"),
        email_public: form.is_ticked("email_public"),
        password: form.get("password").unwrap_or_default().to_owned(),
        language,
        web: form.optional("web"),
        premium: is_premium.then(|| Premium {
            address: form.text("premium.address"),
            phone: form.text("premium.phone"),
            mobile: form.optional("premium.mobile"),
            fax: form.optional("premium.fax"),
            // Where the operator bills, it stands for the invoice.
            card_token: "invoice".to_owned(),
        }),
    }
}

/// Whether the password was typed in two ways.
fn repeated(form: &Form) -> Option<Refusal> {
    (form.get("password") != form.get("password_again")).then(|| {
        FieldProblem::new("password_again", "the same password as above", "上と同じパスワード").into()
    })
}

/// The same form with what is wrong named beside each field.
fn again(visit: &Visit, form: Form, is_premium: bool, refusal: Refusal) -> Answer {
    let trouble = Trouble::of(&refusal, visit.language());
    let status = StatusCode::from_u16(trouble.status).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
    let (f, is_billing) = (Frame::new(visit, Part::Register), visit.web().service().is_billing());
    let page = match form.clone().blamed(refusal) {
        Ok(form) => RegisterPage { f, form, is_premium, is_billing, trouble: None },
        Err(_) => RegisterPage { f, form, is_premium, is_billing, trouble: Some(trouble) },
    };
    page.f.page_as(status, &page)
}
