//! Every refusal as an RFC 9457 problem: one table of kinds, and how a [`Refusal`] becomes one of them.
//!
//! Owns: [`Kind`] and [`KINDS`] (code, status, title, next step, each declared once), [`Problem`].
//! Not here: deciding (`domain`), where which kind is documented (`openapi`).
//! Invariant: 422 says that the request does not fit its schema, 409 that it fits and still cannot be now; what went wrong
//! inside is for the log and never in the text.

use std::fmt;

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::{
    domain::refusal::{FieldProblem, Refusal},
    service::ServiceError,
};

/// Under which the kinds are explained.
pub(super) const PROBLEMS: &str = "/api/v1/problems";

/// One kind of problem.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// Last part of its `type`.
    pub(super) code: &'static str,
    /// The HTTP status.
    pub(super) status: u16,
    /// What it is, the same every time.
    pub(super) title: &'static str,
    /// What to do next.
    pub(super) next: &'static str,
}

macro_rules! kinds {
    ($($name:ident $code:literal $status:literal $title:literal $next:literal;)*) => {
        $(pub(super) const $name: &Kind =
            &Kind { code: $code, status: $status, title: $title, next: $next };)*
        /// All kinds there are.
        pub(super) const KINDS: &[&Kind] = &[$($name),*];
    };
}

kinds! {
    BAD_JSON "bad-json" 400 "The body is not JSON"
        "Send a JSON object in UTF-8, as the documentation of this address shows.";
    BAD_REQUEST "bad-request" 400 "The request cannot be read"
        "Correct what the detail names and send the request again.";
    NOT_LOGGED_IN "not-logged-in" 401 "Not logged in"
        "Log in with POST /api/v1/session, or send a token as `Authorization: Bearer …`.";
    WRONG_LOG_IN "wrong-log-in" 401 "User ID or password is wrong"
        "Check both and try again; after several tries, wait a while.";
    PAYMENT_DECLINED "payment-declined" 402 "The payment was declined"
        "Ask the card's company, or register another card with PUT /api/v1/me/premium, and try again.";
    CARD_QUESTION "card-question" 402 "The card company wants to ask you"
        "Open the payment company's own form with `client_secret` and answer; then send the same request again, where a \
         card is registered with `setup_intent` as its `card_token`.";
    REGISTER_FIRST "register-first" 402 "The card company wants to ask you, and asks only members"
        "Register without `premium` and log in; then send what was in `premium` to PUT /api/v1/me/premium, whose \
         answer holds the question.";
    CSRF "csrf" 403 "The request does not show that it comes from our own page"
        "Send the `csrf_token` of the log-in as `X-CSRF-Token`, from our own pages; or use a bearer token.";
    BLOCKED "blocked" 403 "The member is shut out"
        "Write to the operator of this server.";
    SCOPE "scope" 403 "The token may not do this"
        "Make a token that has the scope that the detail names, with POST /api/v1/me/tokens.";
    NOT_PREMIUM "not-premium" 403 "Only a premium member may reserve"
        "Become a premium member with PUT /api/v1/me/premium.";
    NOT_OPERATOR "not-operator" 403 "Only an operator may do this"
        "Log in as an operator.";
    WRONG_RESERVATION_ID "wrong-reservation-id" 403 "That is not the reservation ID of this reservation"
        "Type the ID from the mail; if it is lost, have another one mailed with POST …/reissue-id.";
    NOT_FOUND "not-found" 404 "Nothing is here for you"
        "Check the address; what is not yours or not listed is not shown.";
    METHOD_NOT_ALLOWED "method-not-allowed" 405 "This address does not know that method"
        "Use one of the methods that the `Allow` header names.";
    NOT_ACCEPTABLE "not-acceptable" 406 "None of the formats that you accept can be given"
        "Accept one of the formats that `available` names, or send no `Accept` header.";
    SLOT_TAKEN "slot-taken" 409 "Somebody has a slot of that window"
        "Choose a window without the slots in `taken`; GET /api/v1/days/{date} shows what is free.";
    MONTH_LIMIT "month-limit" 409 "More slots than one member may have in that month"
        "Book fewer slots, or a window in another month.";
    NOT_ON_SLOTS "not-on-slots" 409 "The window does not begin and end on slots"
        "Begin and end at whole multiples of `slot_seconds` since midnight UTC, the end after the start.";
    TOO_LONG "too-long" 409 "More slots at once than are sold at once"
        "Book at most `slots_max` slots at once.";
    IN_THE_PAST "in-the-past" 409 "The window's first slot is over"
        "Choose a window that begins later; GET /api/v1/time shows the provider's time.";
    TOO_FAR_AHEAD "too-far-ahead" 409 "The window lies further ahead than is sold"
        "Choose a window that ends by `until`.";
    CHANNEL_RETIRED "channel-retired" 409 "That channel is not sold any more"
        "Choose one of GET /api/v1/channels.";
    AMOUNT_TOO_LARGE "amount-too-large" 409 "The amount is beyond what can be booked"
        "Book fewer slots.";
    WRONG_STATE "wrong-state" 409 "The program is not in a state for this"
        "Look at its `state`; the documentation shows which step follows which.";
    HOLD_EXPIRED "hold-expired" 409 "The terms were not accepted in time"
        "The reservation was cancelled and its slots are free: book again and accept the terms in time.";
    RECONFIRMATION_LATE "reconfirmation-late" 409 "The reservation was not reconfirmed in time"
        "It was cancelled and its slots are free: book again, if the window is still free.";
    EXTENSION_EARLY "extension-early" 409 "An extension is not offered yet"
        "Ask again from the moment in `from` on.";
    NOT_CHANGEABLE "not-changeable" 409 "That cannot be changed"
        "Cancel the reservation and book again.";
    NOTHING_TO_REFUND "nothing-to-refund" 409 "Nothing is there to be given back"
        "Look at the ledger in GET /api/v1/reservations/{number}/history; what is still being collected can be given \
         back once it is.";
    REFUND_TOO_LARGE "refund-too-large" 409 "More than can be given back"
        "Give back at most `left`, or leave `amount` out to give back all of it.";
    NO_PAYMENT_METHOD "no-payment-method" 409 "The member has no payment method"
        "Register one with PUT /api/v1/me/premium.";
    USER_ID_TAKEN "user-id-taken" 409 "That user ID is taken"
        "Choose another one.";
    EMAIL_TAKEN "email-taken" 409 "That address belongs to a member"
        "Log in, or give another address.";
    KEY_REUSED "idempotency-key-reused" 409 "The same Idempotency-Key came with another request"
        "Use a fresh key for each new request, and the same key only to repeat the very same one.";
    EXISTS "exists" 409 "It is there already"
        "Choose another number or name.";
    IN_USE "in-use" 409 "It is in use and cannot go"
        "End what uses it first.";
    UPLINK_SOLD "uplink-sold" 409 "More than the uplink carries"
        "Sell at most `seats_max` seats at this rate; or raise `uplink`, or set `oversell`, in [server] of the \
         configuration and start again.";
    CHANNEL_NAME_IN_USE "channel-name-in-use" 409 "The channel's name stands in addresses that were mailed"
        "Keep `name` until nothing is booked on the channel, or retire it and sell another.";
    STALE "stale" 412 "It was changed since you read it"
        "Read it again and repeat your change with the new `ETag` as `If-Match`.";
    TOO_LARGE "too-large" 413 "The body is too large"
        "Send at most 65536 bytes.";
    URL_TOO_LONG "url-too-long" 414 "The address is too long"
        "Send at most 2048 bytes of path and query.";
    MEDIA_TYPE "media-type" 415 "The body's format is not known here"
        "Send `Content-Type: application/json`.";
    INVALID "invalid" 422 "Items are missing or wrong"
        "Correct every item that `fields` names and send the request again.";
    NO_IF_MATCH "if-match-required" 428 "An edit must say what it edits"
        "Read the resource and send its `ETag` as `If-Match`.";
    TOO_MANY "too-many" 429 "Too many attempts"
        "Wait `retry_after` seconds and try again.";
    INTERNAL "internal" 500 "The server failed"
        "Try again; if it fails again, tell the operator when it happened.";
    UNAVAILABLE "unavailable" 503 "The server cannot answer now"
        "Try again in a few seconds; with the same Idempotency-Key nothing is done twice.";
    PAYMENT_UNAVAILABLE "payment-unavailable" 503 "The payment company cannot be asked now"
        "Try again in a minute; nothing was charged.";
}

/// An answer that says no, why, and what to do next.
pub(super) struct Problem {
    kind: &'static Kind,
    /// What to do next, where more is known than of the kind.
    next: Option<&'static str>,
    detail: String,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// Without its members: one may be a secret of whoever asked.
impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Problem({} {}: {})", self.kind.status, self.kind.code, self.detail)
    }
}

/// What handlers come back with.
pub(super) type Answer<T = Response> = Result<T, Problem>;

impl Problem {
    /// A problem of that kind; `detail` says what is particular about this one.
    pub(super) fn new(kind: &'static Kind, detail: impl Into<String>) -> Self {
        Self { kind, next: None, detail: detail.into(), members: Map::new(), headers: Vec::new() }
    }

    /// Of which kind it is.
    pub(super) const fn kind(&self) -> &'static Kind {
        self.kind
    }

    /// What is particular about this one.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// Items that are wrong.
    pub(super) fn fields(fields: &[FieldProblem]) -> Self {
        let fields: Vec<_> = fields.iter().map(|field| (field.field, field.expected.as_str())).collect();
        Self::named_fields(fields)
    }

    /// As [`fields`](Self::fields), of names and what was expected.
    pub(super) fn named_fields<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut listed = Vec::new();
        let mut texts = Vec::new();
        for (field, expected) in fields {
            texts.push(format!("{field}: expected {expected}"));
            listed.push(json!({ "field": field, "expected": expected }));
        }
        Self::new(INVALID, texts.join("; ")).with("fields", listed)
    }

    /// One item that is wrong.
    pub(super) fn field(field: &str, expected: &str) -> Self {
        Self::named_fields([(field, expected)])
    }

    /// What to do next here.
    const fn next(mut self, next: Option<&'static str>) -> Self {
        self.next = next;
        self
    }

    /// Adds a member of its own.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a header.
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    fn retry_after(self, seconds: u64) -> Self {
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds)).with("retry_after", seconds)
    }

    fn challenge(self) -> Self {
        self.header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"slotcast\""))
    }

    fn body(&self) -> Value {
        let mut body = self.members.clone();
        body.insert("type".into(), format!("{PROBLEMS}/{}", self.kind.code).into());
        body.insert("title".into(), self.kind.title.into());
        body.insert("status".into(), self.kind.status.into());
        body.insert("detail".into(), self.detail.as_str().into());
        body.insert("next".into(), self.next.unwrap_or(self.kind.next).into());
        Value::Object(body)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.kind.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let media_type = HeaderValue::from_static("application/problem+json");
        let mut response =
            (status, [(header::CONTENT_TYPE, media_type)], self.body().to_string()).into_response();
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// A refusal as the API words it, with what to do next: for whoever asks on another way, like a command line.
pub fn in_words(refusal: Refusal) -> String {
    let problem = Problem::from(refusal);
    let what = if problem.detail.is_empty() { problem.kind.title } else { &problem.detail };
    format!("{}. {}", what.trim_end_matches('.'), problem.next.unwrap_or(problem.kind.next))
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Refused(refusal) => refusal.into(),
            ServiceError::Store(error) => {
                tracing::warn!(%error, "a request could not be answered");
                Self::new(UNAVAILABLE, "The database cannot be asked now.").retry_after(2)
            }
            ServiceError::Internal(error) => {
                tracing::error!(error, "a request failed");
                Self::new(INTERNAL, "The operator finds the reason in the log.")
            }
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        access(refusal)
    }
}

/// Who may.
fn access(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Invalid(fields) => Problem::fields(&fields),
        Refusal::WrongLogIn => {
            Problem::new(WRONG_LOG_IN, "Nobody is known by that user ID and password.").challenge()
        }
        Refusal::Blocked => Problem::new(BLOCKED, "The operator has shut this member out."),
        Refusal::NotLoggedIn => {
            Problem::new(NOT_LOGGED_IN, "No valid session cookie or token came with the request.").challenge()
        }
        Refusal::Scope(scope) => {
            // What is the account's alone no token covers.
            let log_in = "Log in with POST /api/v1/session and send its cookie and `X-CSRF-Token`; no token may do this.";
            Problem::new(SCOPE, format!("This needs the scope `{scope}`."))
                .next((scope == "account").then_some(log_in))
                .with("scope", scope)
        }
        Refusal::Csrf => Problem::new(CSRF, "`X-CSRF-Token` is missing or is not that of this session."),
        Refusal::NotPremium => Problem::new(NOT_PREMIUM, "A general member may only watch."),
        Refusal::NotOperator => Problem::new(NOT_OPERATOR, "This member does not run the server."),
        Refusal::TooMany { retry_after } => {
            Problem::new(TOO_MANY, format!("Too many attempts: try again in {retry_after} s."))
                .retry_after(retry_after)
        }
        Refusal::UserIdTaken => Problem::new(USER_ID_TAKEN, "Another member has that user ID.")
            .with("fields", json!([{ "field": "user_id", "expected": "a user ID that nobody has" }])),
        Refusal::EmailTaken => Problem::new(EMAIL_TAKEN, "Another member has that address.")
            .with("fields", json!([{ "field": "email", "expected": "an address that no member has" }])),
        Refusal::NotFound(what) => {
            Problem::new(NOT_FOUND, format!("There is no such {what}, or it is not yours."))
        }
        Refusal::WrongReservationId => {
            Problem::new(WRONG_RESERVATION_ID, "What was typed is not the valid reservation ID.")
        }
        Refusal::Stale { version } => Problem::new(STALE, format!("It is at version {version} now."))
            .header(header::ETAG, etag(version))
            .with("version", version),
        Refusal::KeyReused => Problem::new(KEY_REUSED, "That key stands for a request with another content."),
        other => window(other),
    }
}

/// Which window of which channel.
fn window(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::ChannelRetired(channel) => {
            Problem::new(CHANNEL_RETIRED, format!("Channel {channel} is not sold any more."))
                .with("channel", channel.0)
        }
        Refusal::NotOnSlots { slot_seconds } => {
            Problem::new(NOT_ON_SLOTS, format!("Slots are {slot_seconds} s long, aligned in UTC."))
                .with("slot_seconds", slot_seconds)
        }
        Refusal::TooLong { slots_max } => {
            Problem::new(TOO_LONG, format!("At most {slots_max} slots are sold at once."))
                .with("slots_max", slots_max)
        }
        Refusal::InThePast => Problem::new(IN_THE_PAST, "The first slot of the window is over already."),
        Refusal::TooFarAhead { until } => {
            Problem::new(TOO_FAR_AHEAD, format!("The window must end by {until}."))
                .with("until", until.to_string())
        }
        Refusal::SlotTaken { channel, taken } => {
            let taken: Vec<_> = taken.iter().map(ToString::to_string).collect();
            Problem::new(SLOT_TAKEN, format!("Taken on channel {channel}: {}.", taken.join(", ")))
                .with("channel", channel.0)
                .with("taken", taken)
        }
        Refusal::MonthLimit { slots_max, used, asked } => Problem::new(
            MONTH_LIMIT,
            format!("{used} of {slots_max} slots of that month are used, {asked} more were asked for."),
        )
        .with("slots_max", slots_max)
        .with("used", used)
        .with("asked", asked),
        Refusal::AmountTooLarge { max } => {
            Problem::new(AMOUNT_TOO_LARGE, format!("At most {} minor units can be booked.", max.minor()))
                .with("max", max.minor())
        }
        other => course(other),
    }
}

/// The step that a program of that state waits for; `None`: it depends on what was wanted.
fn step_from(state: &str) -> Option<&'static str> {
    match state {
        "held" => Some("Accept the terms first, with POST /api/v1/reservations/{number}/accept-terms."),
        "registered" => Some(
            "Reconfirm it first, with POST /api/v1/reservations/{number}/reconfirm and the reservation ID from the mail.",
        ),
        _ if state.starts_with("cancelled") => {
            Some("It is cancelled: book again, if the window is still free.")
        }
        _ if state.starts_with("finished") => Some("It is over, nothing is left to do: book another window."),
        _ => None,
    }
}

/// What follows what, and money.
fn course(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::WrongState { command, state } => {
            Problem::new(WRONG_STATE, format!("`{command}` cannot be done while it is `{state}`."))
                .next(step_from(state))
                .with("command", command)
                .with("state", state)
        }
        Refusal::HoldExpired { until } => {
            Problem::new(HOLD_EXPIRED, format!("The terms had to be accepted before {until}."))
                .with("until", until.to_string())
        }
        Refusal::ReconfirmationLate { until } => {
            Problem::new(RECONFIRMATION_LATE, format!("It had to be reconfirmed before {until}."))
                .with("until", until.to_string())
        }
        Refusal::ExtensionEarly { from } => {
            Problem::new(EXTENSION_EARLY, format!("It is offered from {from} on."))
                .with("from", from.to_string())
        }
        Refusal::NotChangeable(what) => {
            Problem::new(NOT_CHANGEABLE, format!("`{what}` cannot be changed.")).with("field", what)
        }
        Refusal::PaymentDeclined { reason } => {
            Problem::new(PAYMENT_DECLINED, format!("The payment company says: {reason}"))
        }
        Refusal::CardQuestion(question) => {
            let is_payment = question.reference.starts_with("pi_");
            let (what, name) = if is_payment {
                ("The payment is not made yet", "payment_intent")
            } else {
                ("The card is not registered yet", "setup_intent")
            };
            Problem::new(CARD_QUESTION, format!("{what}: the card's company asks you for a confirmation."))
                .with(name, question.reference)
                .with("client_secret", question.client_secret)
        }
        Refusal::RegisterFirst => Problem::new(
            REGISTER_FIRST,
            "Nothing was registered: this card's company asks for a confirmation.",
        ),
        Refusal::PaymentUnavailable => {
            Problem::new(PAYMENT_UNAVAILABLE, "The payment company does not answer.").retry_after(60)
        }
        Refusal::NoPaymentMethod => Problem::new(NO_PAYMENT_METHOD, "No card is registered."),
        Refusal::NothingToRefund { collecting, refunding } => {
            let (collecting, refunding) = (collecting.minor(), refunding.minor());
            let text = format!(
                "{collecting} minor units are still being collected, {refunding} are on their way back, and nothing \
                 else of what was taken is left."
            );
            Problem::new(NOTHING_TO_REFUND, text).with("collecting", collecting).with("refunding", refunding)
        }
        Refusal::RefundTooLarge { left } => {
            Problem::new(REFUND_TOO_LARGE, format!("At most {} minor units can be given back.", left.minor()))
                .with("left", left.minor())
        }
        Refusal::Exists(what) => Problem::new(EXISTS, format!("That {what} is there already.")),
        Refusal::InUse(what) => Problem::new(IN_USE, format!("It is used by {what}.")),
        Refusal::UplinkSold { uplink, seats_max } => {
            let text = format!("{seats_max} seats at this rate still fit into the uplink, {uplink}.");
            Problem::new(UPLINK_SOLD, text).with("seats_max", seats_max)
        }
        Refusal::ChannelNameInUse { name } => {
            let text = format!("Programs are booked on it, and their addresses hold its name, {name}.");
            Problem::new(CHANNEL_NAME_IN_USE, text).with("name", name.to_string())
        }
        other => {
            tracing::error!(refusal = ?other, "a refusal without a text of its own");
            Problem::new(INTERNAL, "The operator finds the reason in the log.")
        }
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
    "next": "Choose a window without the slots in `taken`; GET /api/v1/days/{date} shows what is free.",
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
        for text in [error.to_string(), format!("{error:?}"), format!("{problem:?}"), problem.detail.clone()]
        {
            assert!(!text.contains("secret_2"), "{text}");
        }
    }
}
