//! Language and light: chosen by a form in the foot of every page, kept in cookies.

use axum::http::{HeaderValue, header};

use crate::{
    form::Form,
    page::{Answer, local, see_other},
    visit::{LANGUAGE_COOKIE, THEME_COOKIE, Theme, Visit},
    words,
};

/// For a year.
const KEPT_SECONDS: u32 = 365 * 86_400;

/// `POST /look`: takes `lang` or `theme`, and leads back to where the form was.
pub(crate) async fn choose(visit: Visit, form: Form) -> Answer {
    visit.check_form(form.get("csrf"))?;
    let mut response = see_other(local(form.get("back")));
    let language =
        form.get("lang").and_then(words::of_tag).map(|language| (LANGUAGE_COOKIE, words::tag(language)));
    let theme = form.get("theme").and_then(Theme::of).map(|theme| (THEME_COOKIE, theme.name()));
    let secure = if visit.web().edge().is_secure() { "; Secure" } else { "" };
    for (name, value) in language.into_iter().chain(theme) {
        let cookie =
            format!("{name}={value}; Path=/; Max-Age={KEPT_SECONDS}; HttpOnly; SameSite=Lax{secure}");
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
    Ok(response)
}
