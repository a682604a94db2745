//! One account with Stripe, and how it is asked.
//!
//! Owns: [`Stripe`], addresses, headers, the limit of an answer. Not here: what is asked to register a card (`cards`) or
//! to move money (`moving`), what refusals mean (`answers`).
//! Invariant: the secret key is in one header only, never in an error.

use std::{fmt, time::Duration};

use http_body_util::Full;
use hyper::{
    Request,
    body::Bytes,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT},
};
use serde::de::DeserializeOwned;

use super::answers::{ErrorAnswer, ErrorBody, Page, Refusal, tidy};
use crate::{
    https::{self, Https},
    payments::PaymentError,
};

/// Stripe's API.
pub const DEFAULT_BASE_URL: &str = "https://api.stripe.com";
/// How long a member waits for an answer at most.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);
/// Shortest and longest limit that can be set.
const TIMEOUT_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(120);
/// Longest answer that is read: a list of a hundred PaymentIntents is about a quarter of it.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// The version whose shapes `answers` reads; an account's own default may be any other.
const API_VERSION: &str = "2024-06-20";

/// How to reach an account with Stripe. Nothing of it but the address is ever shown.
#[derive(Clone)]
pub struct StripeSettings {
    /// `sk_…`, or a restricted key `rk_…` that may write Customers, PaymentMethods, SetupIntents, PaymentIntents and
    /// Refunds.
    pub secret_key: String,
    /// `whsec_…` of the webhook endpoint; without it webhooks are refused.
    pub webhook_secret: Option<String>,
    /// [`DEFAULT_BASE_URL`], or a stand-in's; plain `http://` only to this machine.
    pub base_url: String,
    /// For one whole movement, which may be several questions: 100 ms to 2 minutes.
    pub timeout: Duration,
}

impl fmt::Debug for StripeSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StripeSettings")
            .field("base_url", &self.base_url)
            .field("timeout", &self.timeout)
            .field("takes_webhooks", &self.webhook_secret.is_some())
            .finish_non_exhaustive()
    }
}

/// One account with Stripe.
pub struct Stripe {
    https: Https,
    base: String,
    secret_key: String,
    authorization: HeaderValue,
    pub(super) webhook_secret: Option<String>,
    timeout: Duration,
}

impl fmt::Debug for Stripe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stripe")
            .field("base", &self.base)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// What goes into a form, or after the `?` of an address: names and values.
pub(super) type Pairs<'a> = &'a [(&'a str, &'a str)];

impl Stripe {
    /// Asks nothing yet. Errors: [`PaymentError::Misconfigured`]: a key or address that is none, plain HTTP to elsewhere,
    /// no root certificates.
    pub fn new(settings: &StripeSettings) -> Result<Self, PaymentError> {
        let wrong = |why: String| PaymentError::Misconfigured(why);
        if !TIMEOUT_RANGE.contains(&settings.timeout) {
            return Err(wrong("the timeout must be between 100 ms and 2 minutes".to_owned()));
        }
        if settings.webhook_secret.as_ref().is_some_and(|secret| secret.len() < 16) {
            return Err(wrong("the webhook secret is none: expected whsec_…".to_owned()));
        }
        let key = &settings.secret_key;
        let is_key = (key.starts_with("sk_") || key.starts_with("rk_"))
            && key.len() > 8
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let authorization = HeaderValue::from_str(&format!("Bearer {key}")).ok().filter(|_| is_key);
        let Some(mut authorization) = authorization else {
            return Err(wrong("the secret key is none: expected sk_… or rk_…".to_owned()));
        };
        authorization.set_sensitive(true);
        let (base, is_tls) = https::checked(&settings.base_url).map_err(|what| {
            wrong(format!("the base address {what}: expected one like {DEFAULT_BASE_URL}"))
        })?;
        let (webhook_secret, timeout) = (settings.webhook_secret.clone(), settings.timeout);
        let https = Https::new(is_tls).map_err(wrong)?;
        Ok(Self { https, base, secret_key: key.clone(), authorization, webhook_secret, timeout })
    }

    pub(super) async fn within_time<T>(
        &self,
        work: impl Future<Output = Result<T, PaymentError>>,
    ) -> Result<T, PaymentError> {
        tokio::time::timeout(self.timeout, work).await.unwrap_or_else(|_| {
            Err(PaymentError::Unavailable(format!("no answer within {:?}", self.timeout)))
        })
    }

    /// Reads what stands at `path` (`/v1/…`).
    pub(super) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, Refusal> {
        self.ask(Request::get(format!("{}{path}", self.base)), String::new()).await
    }

    /// Does something. With a key, repeated, it is done once (for at least 24 hours).
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        form: Pairs<'_>,
        key: Option<&str>,
    ) -> Result<T, Refusal> {
        let mut request = Request::post(format!("{}{path}", self.base))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        self.ask(request, encoded(form)).await
    }

    /// The newest hundred of a list. Where Stripe refuses the question itself the list counts as empty: localstripe
    /// 1.15 lists neither Customers by address nor PaymentIntents by Customer.
    pub(super) async fn newest<T: DeserializeOwned>(
        &self,
        path: &str,
        by: (&str, &str),
    ) -> Result<Vec<T>, PaymentError> {
        match self.read::<Page<T>>(&format!("{path}?{}", encoded(&[by, ("limit", "100")]))).await {
            Ok(page) => Ok(page.data),
            Err(Refusal::Answered(400 | 404, _)) => Ok(Vec::new()),
            Err(refusal) => Err(refusal.into()),
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        request: hyper::http::request::Builder,
        body: String,
    ) -> Result<T, Refusal> {
        let no_answer = |why: String| Refusal::NoAnswer(tidy(&why));
        let request = request
            .header(AUTHORIZATION, self.authorization.clone())
            .header(USER_AGENT, concat!("slotcast/", env!("CARGO_PKG_VERSION")))
            .header("Stripe-Version", API_VERSION)
            .body(Full::from(Bytes::from(body)))
            .map_err(|error| no_answer(error.to_string()))?;
        let (status, body) = self.https.ask(request, ANSWER_BYTES_MAX).await.map_err(no_answer)?;
        if status == 200 {
            return serde_json::from_slice(&body)
                .map_err(|error| no_answer(format!("its answer is not readable: {error}")));
        }
        let mut error = serde_json::from_slice(&body)
            .map_or_else(|_| ErrorBody::default(), |answer: ErrorAnswer| answer.error);
        // Whoever answers at a wrong base address may repeat what it was sent.
        error.message = error.message.map(|text| text.replace(&self.secret_key, "…"));
        Err(Refusal::Answered(status, error))
    }
}

/// `metadata[key]=value&types[]=card`, so that whatever a value is made of, it stays one value.
pub(super) fn encoded(pairs: Pairs<'_>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_cannot_be_keys_are_refused_without_being_told() {
        let settings = |key: &str| StripeSettings {
            secret_key: key.to_owned(),
            webhook_secret: None,
            base_url: "http://127.0.0.1:1".to_owned(),
            timeout: DEFAULT_TIMEOUT,
        };
        for bad in ["", "sk_", "pk_test_123456789", "sk_test_1234\r\nX: y", "sk_test_キー"] {
            let error = Stripe::new(&settings(bad)).unwrap_err().to_string();
            assert!(bad.len() < 4 || !error.contains(bad), "{error}");
        }
        let stripe = Stripe::new(&settings("sk_test_abcdef123")).unwrap();
        assert!(!format!("{stripe:?}").contains("abcdef"), "{stripe:?}");
    }
}
