//! What Stripe tells by itself: the signature of a webhook, and the events that are of interest.
//!
//! Owns: the `Stripe-Signature` header, the reading of events. Invariant: nothing of a body is looked at before its
//! signature is right; signatures are compared in constant time; no input panics.

use std::collections::BTreeMap;

use hmac::{Hmac, Mac};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

use super::{
    META_KEY,
    answers::{ErrorBody, tidy, why_refund_failed},
    money::from_stripe,
    token::is_name,
};
use crate::{
    domain::words::Amount,
    payments::{FailedRefund, Notice, Noticed, PaymentError},
};

/// How far the time of signing may lie from now, before or after.
const TOLERANCE_SECONDS: i64 = 300;
const HEADER_BYTES_MAX: usize = 4096;
/// While secrets are exchanged there are two; more are not looked at.
const SIGNATURES_MAX: usize = 16;
const BODY_BYTES_MAX: usize = 1 << 20;

/// Checks and reads one call of Stripe's.
///
/// - `secret`: `whsec_…` of the webhook endpoint.
/// - `header`: the value of `Stripe-Signature`.
/// - `now_seconds`: Unix time.
/// - Returns `Ok(None)` for a genuine event that is of no interest here.
///
/// Errors: [`PaymentError::Misconfigured`]: the signature is wrong or old, or the event cannot be read.
pub fn read(
    secret: &str,
    header: &str,
    body: &[u8],
    now_seconds: i64,
) -> Result<Option<Notice>, PaymentError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(refused("a webhook is longer than 1 MiB"));
    }
    check(secret, header, body, now_seconds).map_err(refused)?;
    let event: Event = read_json(body)?;
    if !is_name(&event.id, "evt_") {
        return Err(refused("a signed webhook has no event ID"));
    }
    let told = match event.kind.as_str() {
        "payment_intent.succeeded" => Some(collected(read_value(event.data.object)?)?),
        "payment_intent.canceled" => {
            let intent: Intent = read_value(event.data.object)?;
            Some(Told { reference: intent.id, metadata: intent.metadata, what: Noticed::HoldGone })
        }
        "payment_intent.payment_failed" => {
            let intent: Intent = read_value(event.data.object)?;
            let what = Noticed::Failed(intent.last_payment_error.unwrap_or_default().decline_text());
            Some(Told { reference: intent.id, metadata: intent.metadata, what })
        }
        "charge.refunded" => refunded(read_value(event.data.object)?)?,
        // Which of them are told depends on the account's version of the API.
        "refund.failed" | "refund.updated" | "charge.refund.updated" => {
            refund_failed(read_value(event.data.object)?)?
        }
        "charge.dispute.funds_withdrawn" => disputed(read_value(event.data.object)?, false)?,
        "charge.dispute.funds_reinstated" => disputed(read_value(event.data.object)?, true)?,
        _ => None,
    };
    Ok(told.map(|Told { reference, mut metadata, what }| {
        let key = metadata.remove(META_KEY);
        Notice { event: event.id, reference, key, what }
    }))
}

/// What an event says, and of which PaymentIntent. A charge bears its PaymentIntent's metadata.
struct Told {
    reference: String,
    metadata: BTreeMap<String, String>,
    what: Noticed,
}

fn refused(why: impl Into<String>) -> PaymentError {
    PaymentError::Misconfigured(why.into())
}

/// Whether `body` was signed with `secret` near `now_seconds`.
fn check(secret: &str, header: &str, body: &[u8], now_seconds: i64) -> Result<(), &'static str> {
    let signed = Signed::parse(header).ok_or("a webhook has no readable Stripe-Signature")?;
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(secret.as_bytes())
        .map_err(|_| "the webhook secret cannot be used")?;
    mac.update(signed.time_text.as_bytes());
    mac.update(b".");
    mac.update(body);
    let expected: [u8; 32] = mac.finalize().into_bytes().into();
    let one_is_right =
        signed.signatures.iter().fold(Choice::from(0), |right, signature| right | signature.ct_eq(&expected));
    if !bool::from(one_is_right) {
        return Err("a webhook's signature is wrong: is the webhook secret that of this endpoint?");
    }
    if now_seconds.abs_diff(signed.time) > TOLERANCE_SECONDS.unsigned_abs() {
        return Err("a webhook was not signed within five minutes of now: a repeat, or a wrong clock");
    }
    Ok(())
}

/// What the header says: `t=1700000000,v1=…,v1=…,v0=…`.
struct Signed<'a> {
    time_text: &'a str,
    time: i64,
    signatures: Vec<[u8; 32]>,
}

impl<'a> Signed<'a> {
    /// `None`: too long, no or several times, no signature of scheme `v1`.
    fn parse(header: &'a str) -> Option<Self> {
        if header.len() > HEADER_BYTES_MAX {
            return None;
        }
        let mut time_text = None;
        let mut signatures = Vec::new();
        for item in header.split(',') {
            match item.trim().split_once('=')? {
                ("t", text) if time_text.is_none() => time_text = Some(text),
                ("t", _) => return None,
                ("v1", text) if signatures.len() < SIGNATURES_MAX => signatures.extend(from_hex(text)),
                _ => (),
            }
        }
        let time_text = time_text?;
        let is_time = (1..=12).contains(&time_text.len()) && time_text.bytes().all(|b| b.is_ascii_digit());
        let time = time_text.parse().ok().filter(|_| is_time)?;
        (!signatures.is_empty()).then_some(Self { time_text, time, signatures })
    }
}

/// 64 hexadecimal digits.
fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
        let digit = |letter: u8| char::from(letter).to_digit(16);
        *byte = u8::try_from(digit(high)? * 16 + digit(low)?).ok()?;
    }
    Some(bytes)
}

#[derive(Deserialize)]
struct Event {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    data: EventData,
}

#[derive(Deserialize)]
struct EventData {
    object: Value,
}

#[derive(Deserialize)]
struct Intent {
    id: String,
    amount: i64,
    /// localstripe 1.15 leaves it out.
    amount_received: Option<i64>,
    currency: String,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    last_payment_error: Option<ErrorBody>,
}

#[derive(Deserialize)]
struct Charge {
    payment_intent: Option<String>,
    amount: i64,
    amount_captured: Option<i64>,
    amount_refunded: i64,
    captured: bool,
    currency: String,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Refund {
    id: String,
    payment_intent: Option<String>,
    amount: i64,
    currency: String,
    status: Option<String>,
    failure_reason: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Dispute {
    id: String,
    payment_intent: Option<String>,
    amount: i64,
    currency: String,
}

fn collected(intent: Intent) -> Result<Told, PaymentError> {
    let received = intent.amount_received.unwrap_or(intent.amount);
    let what = Noticed::Collected(from_stripe(received, &intent.currency).map_err(refused)?);
    Ok(Told { reference: intent.id, metadata: intent.metadata, what })
}

/// A hold that is let go, in whole or in part, counts as refunded with Stripe; here only what had been collected does.
fn refunded(charge: Charge) -> Result<Option<Told>, PaymentError> {
    let Some(reference) = charge.payment_intent.filter(|_| charge.captured) else { return Ok(None) };
    let never_taken = charge.amount.saturating_sub(charge.amount_captured.unwrap_or(charge.amount));
    let given_back = charge.amount_refunded.saturating_sub(never_taken);
    if given_back == 0 {
        return Ok(None);
    }
    let what = Noticed::Refunded(from_stripe(given_back, &charge.currency).map_err(refused)?);
    Ok(Some(Told { reference, metadata: charge.metadata, what }))
}

fn disputed(dispute: Dispute, is_won: bool) -> Result<Option<Told>, PaymentError> {
    let amount = from_stripe(dispute.amount, &dispute.currency).map_err(refused)?;
    let is_named = is_name(&dispute.id, "dp_") || is_name(&dispute.id, "du_");
    let Some(reference) = dispute.payment_intent.filter(|_| is_named && amount > Amount::ZERO) else {
        return Ok(None);
    };
    let what = Noticed::Disputed { dispute: dispute.id, amount, is_won };
    Ok(Some(Told { reference, metadata: BTreeMap::new(), what }))
}

/// Any other change of a refund is of no interest: it counts as done once it is taken on.
fn refund_failed(mut refund: Refund) -> Result<Option<Told>, PaymentError> {
    let Some(reference) = refund.payment_intent else { return Ok(None) };
    if !matches!(refund.status.as_deref(), Some("failed" | "canceled")) {
        return Ok(None);
    }
    let amount = from_stripe(refund.amount, &refund.currency).map_err(refused)?;
    if amount == Amount::ZERO {
        return Ok(None);
    }
    let what = Noticed::RefundFailed(FailedRefund {
        refund: refund.id,
        key: refund.metadata.remove(META_KEY),
        amount,
        why: why_refund_failed(refund.failure_reason.as_deref()),
    });
    Ok(Some(Told { reference, metadata: BTreeMap::new(), what }))
}

fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, PaymentError> {
    serde_json::from_slice(body).map_err(|error| unreadable(&error))
}

fn read_value<T: DeserializeOwned>(value: Value) -> Result<T, PaymentError> {
    serde_json::from_value(value).map_err(|error| unreadable(&error))
}

fn unreadable(error: &serde_json::Error) -> PaymentError {
    refused(tidy(&format!("a signed webhook is not readable: {error}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "whsec_test_secret_of_an_endpoint";
    const NOW: i64 = 1_800_000_000;

    fn mac(secret: &str, time: i64, body: &[u8]) -> String {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(format!("{time}.").as_bytes());
        mac.update(body);
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn signed(body: &str) -> Result<Option<Notice>, PaymentError> {
        let header = format!("t={NOW},v1={}", mac(SECRET, NOW, body.as_bytes()));
        read(SECRET, &header, body.as_bytes(), NOW)
    }

    #[test]
    fn signatures_good_wrong_old_future_and_garbage() {
        let body = br#"{"id":"evt_1","type":"x","data":{"object":{}}}"#;
        let good = mac(SECRET, NOW, body);
        let other = mac("whsec_of_somebody_else", NOW, body);
        let at = |time: i64| format!("t={time},v1={}", mac(SECRET, time, body));
        let verdict = |header: &str| read(SECRET, header, body, NOW).is_ok();
        for header in [
            format!("t={NOW},v1={good}"),
            format!("t={NOW},v1={other},v1={good}"),
            format!("t={NOW},v1={good},v0={other}"),
            format!("v1={good},t={NOW}"),
            format!("t={NOW}, v1={}", good.to_uppercase()),
            at(NOW - TOLERANCE_SECONDS),
            at(NOW + TOLERANCE_SECONDS),
        ] {
            assert!(verdict(&header), "{header}");
        }
        for header in [
            format!("t={NOW},v1={other}"),
            format!("t={NOW},v0={good}"),
            format!("t={NOW}"),
            format!("v1={good}"),
            format!("t={},v1={good}", NOW + 1),
            format!("t=+{NOW},v1={good}"),
            format!("t={NOW},t={NOW},v1={good}"),
            format!("t={NOW},v1={}", &good[..62]),
            format!("t={NOW},v1={good}00"),
            format!("t={NOW},v1={}{good}", format!("v1={other},").repeat(16).trim_start_matches("v1=")),
            at(NOW - TOLERANCE_SECONDS - 1),
            at(NOW + TOLERANCE_SECONDS + 1),
            String::new(),
            "t".to_owned(),
            ",,,===".to_owned(),
            format!("t=99999999999999999999,v1={good}"),
            format!("t={NOW},v1={}", "名".repeat(64)),
            format!("t={NOW},v1={good},x={}", "y".repeat(HEADER_BYTES_MAX)),
        ] {
            assert!(!verdict(&header), "{header}");
        }
        assert!(read(SECRET, &at(NOW), b"{}", NOW).is_err(), "another body");
        assert!(
            read(SECRET, &at(NOW), body, i64::MAX).is_err()
                && read(SECRET, &at(NOW), body, i64::MIN).is_err()
        );
    }

    #[track_caller]
    fn check(kind: &str, object: &str, expected: Option<(&str, Noticed)>) {
        let body = format!(r#"{{"id":"evt_9","type":"{kind}","data":{{"object":{object}}}}}"#);
        let expected = expected.map(|(reference, what)| Notice {
            event: "evt_9".to_owned(),
            reference: reference.to_owned(),
            key: object.contains(r#""slotcast_key":"authorise-1-1""#).then(|| "authorise-1-1".to_owned()),
            what,
        });
        assert_eq!(signed(&body), Ok(expected), "{kind} {object}");
    }

    #[test]
    fn events_say_what_happened() {
        let amount = |minor| Amount::new(minor).unwrap();
        let intent = r#"{"id":"pi_1","amount":900,"amount_received":500,"currency":"jpy"}"#;
        check("payment_intent.succeeded", intent, Some(("pi_1", Noticed::Collected(amount(500)))));
        check("payment_intent.canceled", intent, Some(("pi_1", Noticed::HoldGone)));
        let of_ours =
            r#"{"id":"pi_1","amount":9,"currency":"jpy","metadata":{"slotcast_key":"authorise-1-1"}}"#;
        check("payment_intent.canceled", of_ours, Some(("pi_1", Noticed::HoldGone)));
        check("payment_intent.succeeded", of_ours, Some(("pi_1", Noticed::Collected(amount(9)))));
        check(
            "payment_intent.payment_failed",
            r#"{"id":"pi_1","amount":9,"currency":"jpy","last_payment_error":{"message":"Your card was declined."}}"#,
            Some(("pi_1", Noticed::Failed("Your card was declined.".to_owned()))),
        );
        check("payment_intent.created", intent, None);
        check("customer.created", "{}", None);
    }

    #[test]
    fn only_collected_money_is_told_as_refunded() {
        let amount = |minor| Amount::new(minor).unwrap();
        let charge = |captured: bool, taken: i64, refunded: i64| {
            format!(
                r#"{{"id":"ch_1","payment_intent":"pi_1","currency":"usd","captured":{captured},"amount":1000,"amount_captured":{taken},"amount_refunded":{refunded}}}"#
            )
        };
        let told = |minor| Some(("pi_1", Noticed::Refunded(amount(minor))));
        check("charge.refunded", &charge(true, 1000, 1000), told(1000));
        check("charge.refunded", &charge(true, 1000, 300), told(300));
        check("charge.refunded", &charge(true, 700, 300), None);
        check("charge.refunded", &charge(true, 700, 400), told(100));
        check("charge.refunded", &charge(false, 0, 1000), None);
        check(
            "charge.refunded",
            r#"{"payment_intent":null,"currency":"usd","captured":true,"amount":1,"amount_refunded":1}"#,
            None,
        );
        check(
            "charge.refunded",
            r#"{"payment_intent":"pi_1","currency":"usd","captured":false,"amount":1,"amount_refunded":1}"#,
            None,
        );
    }

    #[test]
    fn disputes_move_money_when_the_bank_takes_it() {
        let dispute = r#"{"id":"dp_1","payment_intent":"pi_1","amount":500,"currency":"jpy","status":"needs_response"}"#;
        let told = |is_won| {
            let (dispute, amount) = ("dp_1".to_owned(), Amount::new(500).unwrap());
            Some(("pi_1", Noticed::Disputed { dispute, amount, is_won }))
        };
        check("charge.dispute.funds_withdrawn", dispute, told(false));
        check("charge.dispute.funds_reinstated", dispute, told(true));
        check("charge.dispute.created", dispute, None);
        check("charge.dispute.funds_withdrawn", &dispute.replace("\"pi_1\"", "null"), None);
        check("charge.dispute.funds_withdrawn", &dispute.replace("dp_1", "x,y"), None);
    }

    #[test]
    fn only_failed_refunds_are_told_of() {
        let refund = |status: &str, more: &str| {
            format!(
                r#"{{"id":"re_1","payment_intent":"pi_1","amount":500,"currency":"isk","status":"{status}"{more}}}"#
            )
        };
        let told = |key: Option<&str>, why: &str| {
            let failed = FailedRefund {
                refund: "re_1".to_owned(),
                key: key.map(str::to_owned),
                amount: Amount::new(5).unwrap(),
                why: why.to_owned(),
            };
            Some(("pi_1", Noticed::RefundFailed(failed)))
        };
        let plain = "The card company did not take the refund.";
        for kind in ["refund.failed", "refund.updated", "charge.refund.updated"] {
            check(kind, &refund("failed", ""), told(None, plain));
            check(kind, &refund("canceled", r#","metadata":{"other":"x"}"#), told(None, plain));
            let ours = r#","metadata":{"slotcast_key":"refund-1"},"failure_reason":"lost_or_stolen_card""#;
            let why = "The card company did not take the refund (lost_or_stolen_card).";
            check(kind, &refund("failed", ours), told(Some("refund-1"), why));
            for status in ["succeeded", "pending", "requires_action", ""] {
                check(kind, &refund(status, ours), None);
            }
        }
        check("refund.created", &refund("failed", ""), None);
        let of_no_intent = r#"{"id":"re_1","amount":500,"currency":"isk","status":"failed"}"#;
        check("refund.failed", of_no_intent, None);
    }

    #[test]
    fn signed_nonsense_is_refused() {
        for body in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"id":"evt_1","type":"payment_intent.succeeded","data":{"object":null}}"#,
            r#"{"id":"evt_1","type":"payment_intent.succeeded","data":{"object":{"id":"pi_1","amount":-1,"currency":"jpy"}}}"#,
            r#"{"id":"evt_1","type":"payment_intent.succeeded","data":{"object":{"id":"pi_1","amount":1,"currency":"?"}}}"#,
            r#"{"id":"../x","type":"x","data":{"object":{}}}"#,
            &"[".repeat(100_000),
            &" ".repeat(BODY_BYTES_MAX + 1),
        ] {
            assert!(matches!(signed(body), Err(PaymentError::Misconfigured(_))), "{:.80}", body);
        }
    }

    /// JSON-like texts around the shapes that are read.
    fn bodies() -> impl Strategy<Value = String> {
        let value = prop_oneof![
            Just("null".to_owned()),
            any::<i64>().prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| number.to_string()),
            any::<bool>().prop_map(|flag| flag.to_string()),
            "\\PC{0,12}".prop_map(|text| Value::from(text).to_string()),
            Just("\"jpy\"".to_owned()),
            Just("\"isk\"".to_owned()),
            Just("\"pi_1\"".to_owned()),
            Just("\"failed\"".to_owned()),
            Just(r#"{"slotcast_key":"refund-1"}"#.to_owned()),
        ];
        let name = prop_oneof![
            Just("id"),
            Just("amount"),
            Just("amount_received"),
            Just("amount_captured"),
            Just("amount_refunded"),
            Just("captured"),
            Just("currency"),
            Just("payment_intent"),
            Just("last_payment_error"),
            Just("status"),
            Just("metadata"),
            Just("failure_reason"),
        ];
        let kind = prop_oneof![
            Just("payment_intent.succeeded"),
            Just("payment_intent.canceled"),
            Just("payment_intent.payment_failed"),
            Just("charge.refunded"),
            Just("refund.failed"),
            Just("charge.dispute.funds_withdrawn"),
        ];
        let pair = (name, value).prop_map(|(name, value)| format!("\"{name}\":{value}"));
        (kind, prop::collection::vec(pair, 0..10)).prop_map(|(kind, pairs)| {
            let object = pairs.join(",");
            format!(r#"{{"id":"evt_1","type":"{kind}","data":{{"object":{{{object}}}}}}}"#)
        })
    }

    proptest! {
        #[test]
        fn no_header_panics(header in "\\PC*", body: Vec<u8>, now: i64) {
            prop_assert!(read(SECRET, &header, &body, now).is_err());
        }

        #[test]
        fn nothing_near_a_header_panics(
            header in "(t|v1|v0|=|,| |[0-9a-f]{1,70}|1800000000){0,12}",
            body: Vec<u8>,
        ) {
            prop_assert!(read(SECRET, &header, &body, NOW).is_err());
        }

        #[test]
        fn no_signed_bytes_panic(body: Vec<u8>) {
            let header = format!("t={NOW},v1={}", mac(SECRET, NOW, &body));
            let _ = read(SECRET, &header, &body, NOW);
        }

        #[test]
        fn no_signed_event_panics(body in bodies()) {
            match signed(&body) {
                Ok(Some(notice)) => prop_assert_eq!(notice.event, "evt_1"),
                Ok(None) | Err(PaymentError::Misconfigured(_)) => (),
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }
}
