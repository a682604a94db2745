//! Posted forms: read within limits, and shown again with what was typed where something is wrong.
//!
//! Invariant: a password is never shown again.

use std::time::Duration;

use axum::{
    body::to_bytes,
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use slotcast_reservation::domain::{
    refusal::{FieldProblem, Refusal},
    words::Language,
};
use tokio::time::timeout;

use crate::{markup::typed, page::Fail};

/// Bytes of a form.
const FORM_BYTES_MAX: usize = 64 * 1024;
/// Fields of a form.
const FIELDS_MAX: usize = 100;
/// Until all of it is here.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What a form holds, and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form {
    fields: Vec<(String, String)>,
    problems: Vec<FieldProblem>,
}

impl Form {
    /// Of a query, or of a body.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let fields = form_urlencoded::parse(text).into_owned().take(FIELDS_MAX).collect();
        Self { fields, problems: Vec::new() }
    }

    /// One that begins with these.
    #[cfg(any(debug_assertions, test))]
    pub(crate) fn with(fields: &[(&str, &str)], problems: Vec<FieldProblem>) -> Self {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self { fields: fields.iter().map(own).collect(), problems }
    }

    /// What was typed; `None`: no such field came.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// What was typed, without space around it; the empty text where no such field came.
    pub(crate) fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default().trim().to_owned()
    }

    /// The same; `None` where nothing was typed.
    pub(crate) fn optional(&self, name: &str) -> Option<String> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    /// Whether a box is ticked.
    pub(crate) fn is_ticked(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// What to show in a field: what was typed before.
    pub(crate) fn shown(&self, name: &str) -> String {
        typed(self.get(name).unwrap_or_default())
    }

    /// The same form with what a refusal says of its fields; the refusal again where it is about something else.
    pub(crate) fn blamed(mut self, refusal: Refusal) -> Result<Self, Refusal> {
        let problems = refusal.fields();
        if problems.is_empty() {
            return Err(refusal);
        }
        self.problems = problems;
        Ok(self)
    }

    /// What would be right in a field that is wrong.
    pub(crate) fn problem(&self, name: &str, language: Language) -> Option<&str> {
        let found = self.problems.iter().find(|problem| problem.field == name);
        found.map(|problem| problem.expected.of(language))
    }

    /// Everything that is wrong: field and what would be right.
    pub(crate) fn problems(&self) -> &[FieldProblem] {
        &self.problems
    }
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Fail;

    async fn from_request(request: Request, _: &S) -> Result<Self, Fail> {
        if !is_form(request.headers()) {
            return Err(Refusal::MediaType { expected: "application/x-www-form-urlencoded" }.into());
        }
        let body = timeout(WAIT_MAX, to_bytes(request.into_body(), FORM_BYTES_MAX)).await;
        match body {
            Ok(Ok(body)) => Ok(Self::parse(&body)),
            Ok(Err(_)) => Err(Refusal::TooLarge { bytes_max: FORM_BYTES_MAX }.into()),
            Err(_) => Err(Refusal::TooSlow { seconds_max: WAIT_MAX.as_secs() }.into()),
        }
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = media_type.split(';').next().unwrap_or("").trim();
    essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}
