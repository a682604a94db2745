//! What Stripe answers, as far as it is read, and what its refusals mean here.
//!
//! Owns: the shapes of answers, [`Refusal`], the table from refusals to [`PaymentError`].
//! Invariant: a text for a member or a log is short and on one line.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::payments::PaymentError;

/// Longest text of Stripe's that is passed on.
const TEXT_CHARS_MAX: usize = 300;

/// A list's first page.
#[derive(Deserialize)]
pub(super) struct Page<T> {
    pub(super) data: Vec<T>,
}

/// A Customer.
#[derive(Deserialize)]
pub(super) struct Customer {
    pub(super) id: String,
    pub(super) email: Option<String>,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
}

/// A PaymentMethod.
#[derive(Deserialize)]
pub(super) struct Method {
    pub(super) id: String,
    pub(super) customer: Option<String>,
    pub(super) card: Option<MethodCard>,
}

/// What is told of a card.
#[derive(Deserialize)]
pub(super) struct MethodCard {
    pub(super) brand: String,
    pub(super) last4: String,
    pub(super) exp_month: u8,
    pub(super) exp_year: i16,
}

/// A SetupIntent. Its client secret is the member's alone: there is no `Debug`.
#[derive(Deserialize)]
pub(super) struct Setup {
    pub(super) id: String,
    pub(super) status: Status,
    pub(super) client_secret: Option<String>,
    pub(super) customer: Option<String>,
    pub(super) payment_method: Option<String>,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) last_setup_error: Option<ErrorBody>,
}

/// A PaymentIntent. Its client secret is the member's alone: there is no `Debug`.
#[derive(Deserialize)]
pub(super) struct Intent {
    pub(super) id: String,
    pub(super) status: Status,
    pub(super) client_secret: Option<String>,
    pub(super) payment_method: Option<String>,
    pub(super) currency: String,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) last_payment_error: Option<ErrorBody>,
}

/// How far a PaymentIntent is, or a SetupIntent, which knows no `RequiresCapture`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresAction,
    Processing,
    RequiresCapture,
    Canceled,
    Succeeded,
    #[serde(other)]
    Unknown,
}

/// A Refund.
#[derive(Deserialize)]
pub(super) struct Refund {
    pub(super) id: String,
    pub(super) status: Option<String>,
    /// One word, e.g. `expired_or_canceled_card`.
    pub(super) failure_reason: Option<String>,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
}

/// For the operator.
pub(super) fn why_refund_failed(reason: Option<&str>) -> String {
    match reason.map(tidy) {
        Some(reason) if !reason.is_empty() => format!("The card company did not take the refund ({reason})."),
        _ => "The card company did not take the refund.".to_owned(),
    }
}

/// What stands around an error.
#[derive(Deserialize)]
pub(super) struct ErrorAnswer {
    pub(super) error: ErrorBody,
}

/// Stripe's error object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct ErrorBody {
    #[serde(default, rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) code: Option<String>,
    #[serde(default)]
    pub(super) message: Option<String>,
}

impl ErrorBody {
    fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// For the member.
    pub(super) fn decline_text(&self) -> String {
        match self.message.as_deref().map(tidy) {
            Some(text) if !text.is_empty() => text,
            _ => "The card company declined the card.".to_owned(),
        }
    }

    /// For the operator.
    fn text(&self) -> String {
        let message = self.message.as_deref().map(tidy).unwrap_or_default();
        match self.code.as_deref().map(tidy) {
            Some(code) => format!("{message} ({code})"),
            None => message,
        }
    }
}

/// One line of at most [`TEXT_CHARS_MAX`] characters.
pub(super) fn tidy(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect::<String>().trim().to_owned()
}

/// Why a question was not answered with what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No answer, or none that can be read. The text is for the log.
    NoAnswer(String),
    /// An answer of that HTTP status, with what it said.
    Answered(u16, ErrorBody),
}

impl Refusal {
    /// Whether Stripe understood and declined this very request: where the thing asked about may have got into
    /// another state meanwhile.
    pub(super) const fn is_about_state(&self) -> bool {
        matches!(self, Self::Answered(400 | 402 | 404, _))
    }

    /// Whether the thing asked for is not there.
    pub(super) fn is_missing(&self) -> bool {
        match self {
            Self::Answered(status, body) => *status == 404 || body.is("resource_missing"),
            Self::NoAnswer(_) => false,
        }
    }

    /// Whether a refund was of more than is left: Stripe says so in words alone, without a code.
    pub(super) fn is_beyond_what_is_left(&self) -> bool {
        match self {
            Self::Answered(400, body) => {
                body.code.is_none() && body.kind.as_deref() == Some("invalid_request_error")
            }
            Self::Answered(..) | Self::NoAnswer(_) => false,
        }
    }

    /// For the operator.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Answered(_, body) => body.text(),
            Self::NoAnswer(why) => why.clone(),
        }
    }

    /// Whether a hold was too old to be captured.
    pub(super) fn is_expired_hold(&self) -> bool {
        match self {
            Self::Answered(_, body) => {
                body.is("charge_expired_for_capture") || body.is("capture_charge_authorization_expired")
            }
            Self::NoAnswer(_) => false,
        }
    }
}

impl From<Refusal> for PaymentError {
    fn from(refusal: Refusal) -> Self {
        let (status, body) = match refusal {
            Refusal::NoAnswer(why) => return Self::Unavailable(why),
            Refusal::Answered(status, body) => (status, body),
        };
        let about_authentication =
            body.code.as_deref().is_some_and(|code| code.ends_with("authentication_failure"));
        match (status, body.kind.as_deref()) {
            (401 | 403, _) => Self::Misconfigured(format!("it answers {status}: {}", body.text())),
            (408 | 409 | 424 | 425 | 429 | 500.., _) => {
                Self::Unavailable(format!("it answers {status}: {}", body.text()))
            }
            (402, _) | (400..=499, Some("card_error")) => Self::Declined(body.decline_text()),
            (400..=499, _) if about_authentication => Self::Declined(body.decline_text()),
            (400..=499, _) if body.is("charge_already_refunded") => Self::Declined(body.decline_text()),
            (300..=399, _) => {
                Self::Misconfigured(format!("it answers {status}, a redirect, which is never followed"))
            }
            (400..=499, _) => Self::Misconfigured(format!("it answers {status}: {}", body.text())),
            _ => Self::Unavailable(format!("it answers {status}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    enum Blame {
        Card,
        Now,
        Settings,
    }

    #[track_caller]
    fn check(status: u16, kind: &str, code: &str, expected: Blame) {
        let body = ErrorBody {
            kind: Some(kind.to_owned()),
            code: (!code.is_empty()).then(|| code.to_owned()),
            message: Some("Said so.".to_owned()),
        };
        let (blame, text) = match PaymentError::from(Refusal::Answered(status, body)) {
            PaymentError::Declined(text) | PaymentError::CameBack(text) => (Blame::Card, text),
            PaymentError::Asks(question) => panic!("{question:?}"),
            PaymentError::Unavailable(text) => (Blame::Now, text),
            PaymentError::Misconfigured(text) => (Blame::Settings, text),
        };
        assert_eq!(blame, expected, "{status} {kind} {code}: {text}");
        assert!(!text.is_empty());
    }

    #[test]
    fn refusals_blame_the_right_one() {
        check(402, "card_error", "card_declined", Blame::Card);
        check(402, "card_error", "authentication_required", Blame::Card);
        // localstripe 1.15 calls a declined card an invalid request.
        check(402, "invalid_request_error", "card_declined", Blame::Card);
        check(400, "card_error", "incorrect_number", Blame::Card);
        check(400, "invalid_request_error", "setup_intent_authentication_failure", Blame::Card);
        check(400, "invalid_request_error", "charge_already_refunded", Blame::Card);
        check(400, "invalid_request_error", "parameter_missing", Blame::Settings);
        check(400, "invalid_request_error", "amount_too_small", Blame::Settings);
        check(400, "idempotency_error", "", Blame::Settings);
        check(401, "invalid_request_error", "", Blame::Settings);
        check(403, "invalid_request_error", "", Blame::Settings);
        check(404, "invalid_request_error", "resource_missing", Blame::Settings);
        check(302, "", "", Blame::Settings);
        check(409, "idempotency_error", "idempotency_key_in_use", Blame::Now);
        check(424, "api_error", "", Blame::Now);
        check(429, "invalid_request_error", "rate_limit", Blame::Now);
        check(429, "invalid_request_error", "lock_timeout", Blame::Now);
        check(500, "api_error", "", Blame::Now);
        check(503, "card_error", "", Blame::Now);
        check(199, "", "", Blame::Now);
        check(204, "", "", Blame::Now);
    }

    #[test]
    fn texts_are_short_and_on_one_line() {
        let body = ErrorBody { message: Some(format!("a\r\nb{}", "x".repeat(5000))), ..ErrorBody::default() };
        let text = body.decline_text();
        assert!(text.starts_with("abx") && text.chars().count() == TEXT_CHARS_MAX, "{text}");
        assert_eq!(ErrorBody::default().decline_text(), "The card company declined the card.");
    }

    #[test]
    fn unknown_states_are_read_as_unknown() {
        let read = |status: &str| {
            serde_json::from_str::<Intent>(&format!(
                r#"{{"id":"pi_1","status":"{status}","currency":"jpy","last_payment_error":null}}"#
            ))
            .map(|intent| intent.status)
            .unwrap()
        };
        assert_eq!(read("requires_capture"), Status::RequiresCapture);
        assert_eq!(read("canceled"), Status::Canceled);
        assert_eq!(read("something_new"), Status::Unknown);
    }
}
