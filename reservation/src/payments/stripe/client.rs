//! Taking money over Stripe: a thin client of the few questions that are needed.
//!
//! Owns: [`Stripe`], what is asked in which order where money moves. Not here: registering cards (`cards`), HTTP
//! (`transport`), what refusals mean (`answers`), units (`money`), webhooks (`webhook`).
//! Invariant: a repeated movement has no second effect: Stripe knows its `Idempotency-Key` for a day, and what was made
//! under a key carries it in its metadata, where it is looked for first.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use serde::de::DeserializeOwned;

use super::{
    META_KEY, META_MEMBER, META_RESERVATION,
    answers::{self, Intent, Page, Refund, Refusal, Status},
    form::Form,
    money,
    token::{KeptToken, is_name},
    transport::{Ask, Transport},
    webhook,
};
use crate::{
    domain::{
        effects::PaymentKind,
        words::{Amount, Currency, ReservationNumber},
    },
    payments::{CardCheck, Moved, Movement, NewCard, Notice, PaymentError, Payments},
};

/// Stripe's API.
pub const DEFAULT_BASE_URL: &str = "https://api.stripe.com";
/// How long a member waits for an answer at most.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);
/// Shortest and longest limit that can be set.
const TIMEOUT_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(120);

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
    transport: Transport,
    webhook_secret: Option<String>,
    timeout: Duration,
}

impl fmt::Debug for Stripe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stripe")
            .field("transport", &self.transport)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Stripe {
    /// Asks nothing yet. Errors: [`PaymentError::Misconfigured`].
    pub fn new(settings: &StripeSettings) -> Result<Self, PaymentError> {
        let wrong = |why: &str| Err(PaymentError::Misconfigured(why.to_owned()));
        if !TIMEOUT_RANGE.contains(&settings.timeout) {
            return wrong("the timeout must be between 100 ms and 2 minutes");
        }
        if settings.webhook_secret.as_ref().is_some_and(|secret| secret.len() < 16) {
            return wrong("the webhook secret is none: expected whsec_…");
        }
        let transport =
            Transport::new(&settings.base_url, &settings.secret_key).map_err(PaymentError::Misconfigured)?;
        Ok(Self { transport, webhook_secret: settings.webhook_secret.clone(), timeout: settings.timeout })
    }

    /// Whether Stripe can take exactly `amount`; for tolls when the configuration is read.
    ///
    /// Errors: [`PaymentError::Misconfigured`]: it would have to be rounded, or the currency is not taken.
    pub fn check_amount(amount: Amount, currency: Currency) -> Result<(), PaymentError> {
        money::to_stripe(amount, currency).map(drop).map_err(PaymentError::Misconfigured)
    }

    pub(super) async fn within_time<T>(
        &self,
        work: impl Future<Output = Result<T, PaymentError>>,
    ) -> Result<T, PaymentError> {
        tokio::time::timeout(self.timeout, work).await.unwrap_or_else(|_| {
            Err(PaymentError::Unavailable(format!("no answer within {:?}", self.timeout)))
        })
    }

    pub(super) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, Refusal> {
        self.transport.ask(path, Ask::Read(&Form::default())).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        form: &Form,
        key: Option<&str>,
    ) -> Result<T, Refusal> {
        self.transport.ask(path, Ask::Do { form, key }).await
    }

    /// The newest hundred of a list. Where Stripe refuses the question itself the list counts as empty: localstripe
    /// 1.15 lists neither Customers by address nor PaymentIntents by Customer.
    pub(super) async fn newest<T: DeserializeOwned>(
        &self,
        path: &str,
        by: (&str, &str),
    ) -> Result<Vec<T>, PaymentError> {
        let form = Form::default().with(by.0, by.1).with("limit", "100");
        match self.transport.ask::<Page<T>>(path, Ask::Read(&form)).await {
            Ok(page) => Ok(page.data),
            Err(Refusal::Answered(400 | 404, _)) => Ok(Vec::new()),
            Err(refusal) => Err(refusal.into()),
        }
    }
}

#[async_trait]
impl Payments for Stripe {
    async fn check_card(&self, card: &NewCard) -> Result<CardCheck, PaymentError> {
        self.within_time(self.keep_card(card)).await
    }

    async fn move_money(&self, movement: &Movement) -> Result<Moved, PaymentError> {
        let work = async {
            match movement.kind {
                PaymentKind::Release => self.release(movement).await,
                PaymentKind::Capture if movement.amount == Amount::ZERO => self.release(movement).await,
                _ if movement.amount == Amount::ZERO => Ok(nothing_to_do(&movement.key)),
                PaymentKind::Authorise => held(self.intent(movement, &movement.key, "manual").await?),
                PaymentKind::Capture => self.capture(movement).await,
                PaymentKind::Refund => {
                    let collected = movement.hold.as_deref().unwrap_or_default();
                    self.give_back(&movement.key, collected, movement.amount).await
                }
            }
        };
        self.within_time(work).await
    }

    async fn refund(&self, key: &str, reference: &str, amount: Amount) -> Result<Moved, PaymentError> {
        if amount == Amount::ZERO {
            return Ok(nothing_to_do(key));
        }
        self.within_time(self.give_back(key, reference, amount)).await
    }

    fn read_notice(
        &self,
        signature: &str,
        body: &[u8],
        now_seconds: i64,
    ) -> Result<Option<Notice>, PaymentError> {
        match &self.webhook_secret {
            Some(secret) => webhook::read(secret, signature, body, now_seconds),
            None => {
                Err(PaymentError::Misconfigured("a webhook came, but no webhook secret is set".to_owned()))
            }
        }
    }
}

/// Moving money.
impl Stripe {
    /// The PaymentIntent of `key`: found, or made and confirmed without the member.
    async fn intent(&self, movement: &Movement, key: &str, capture: &str) -> Result<Intent, PaymentError> {
        let kept = kept(movement)?;
        let amount =
            money::to_stripe(movement.amount, movement.currency).map_err(PaymentError::Misconfigured)?;
        let known: Vec<Intent> = self.newest("/v1/payment_intents", ("customer", kept.customer)).await?;
        if let Some(found) =
            known.into_iter().find(|one| one.metadata.get(META_KEY).is_some_and(|has| has == key))
        {
            return Ok(found);
        }
        let form = Form::default()
            .with("amount", &amount.to_string())
            .with("currency", &movement.currency.as_str().to_ascii_lowercase())
            .with("customer", kept.customer)
            .with("payment_method", kept.method)
            .with("payment_method_types[]", "card")
            .with("capture_method", capture)
            .with("confirm", "true")
            .with("off_session", "true")
            .with(&metadata(META_KEY), key)
            .with(&metadata(META_RESERVATION), &movement.reservation.to_string())
            .with(&metadata(META_MEMBER), &movement.member.to_string());
        Ok(self.post("/v1/payment_intents", &form, Some(key)).await?)
    }

    /// The hold that a movement is about. Where its name was never learned (the answer to `Authorise` was lost), it is
    /// looked for by the reservation.
    async fn hold(&self, movement: &Movement) -> Result<Option<String>, PaymentError> {
        if let Some(hold) = &movement.hold {
            // Others are of another provider, or of nothing.
            return Ok(is_name(hold, "pi_").then(|| hold.clone()));
        }
        let Some(kept) = KeptToken::parse(&movement.card.token) else { return Ok(None) };
        let known: Vec<Intent> = self.newest("/v1/payment_intents", ("customer", kept.customer)).await?;
        Ok(known.into_iter().find(|one| is_hold_of(one, movement.reservation)).map(|one| one.id))
    }

    async fn capture(&self, movement: &Movement) -> Result<Moved, PaymentError> {
        let amount =
            money::to_stripe(movement.amount, movement.currency).map_err(PaymentError::Misconfigured)?;
        let Some(hold) = self.hold(movement).await? else { return self.charge_anew(movement).await };
        let form = Form::default().with("amount_to_capture", &amount.to_string());
        let path = format!("/v1/payment_intents/{hold}/capture");
        let captured: Result<Intent, Refusal> = self.post(&path, &form, Some(&movement.key)).await;
        let (intent, refusal) = match captured {
            Ok(intent) => (intent, None),
            Err(refusal) if refusal.is_about_state() => {
                (self.read::<Intent>(&format!("/v1/payment_intents/{hold}")).await?, Some(refusal))
            }
            Err(refusal) => return Err(refusal.into()),
        };
        match (intent.status, refusal) {
            (Status::Succeeded, _) => taken(intent),
            (Status::Canceled | Status::RequiresPaymentMethod, _) => self.charge_anew(movement).await,
            (_, Some(refusal)) if refusal.is_expired_hold() => self.charge_anew(movement).await,
            (_, Some(refusal)) => Err(refusal.into()),
            (_, None) => taken(intent),
        }
    }

    async fn charge_anew(&self, movement: &Movement) -> Result<Moved, PaymentError> {
        taken(self.intent(movement, &format!("{}.anew", movement.key), "automatic").await?)
    }

    async fn release(&self, movement: &Movement) -> Result<Moved, PaymentError> {
        let Some(hold) = self.hold(movement).await? else { return Ok(nothing_to_do(&movement.key)) };
        let path = format!("/v1/payment_intents/{hold}/cancel");
        let cancelled: Result<Intent, Refusal> =
            self.post(&path, &Form::default(), Some(&movement.key)).await;
        match cancelled {
            Ok(_) => Ok(Moved { reference: hold, is_collected: false }),
            Err(refusal) if refusal.is_about_state() => {
                let intent: Intent = self.read(&format!("/v1/payment_intents/{hold}")).await?;
                match intent.status {
                    Status::Canceled => Ok(Moved { reference: hold, is_collected: false }),
                    Status::Succeeded => {
                        Err(PaymentError::Declined("The amount was collected already.".to_owned()))
                    }
                    _ => Err(refusal.into()),
                }
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    async fn give_back(&self, key: &str, reference: &str, amount: Amount) -> Result<Moved, PaymentError> {
        if !is_name(reference, "pi_") {
            let why = "It was not collected over Stripe: give it back where it was.";
            return Err(PaymentError::Declined(why.to_owned()));
        }
        let known: Vec<Refund> = self.newest("/v1/refunds", ("payment_intent", reference)).await?;
        if let Some(found) =
            known.into_iter().find(|one| one.metadata.get(META_KEY).is_some_and(|has| has == key))
        {
            return given_back(found);
        }
        let intent: Intent = self.read(&format!("/v1/payment_intents/{reference}")).await?;
        let currency = intent
            .currency
            .to_ascii_uppercase()
            .parse()
            .map_err(|_| PaymentError::Unavailable("it tells a currency that is none".to_owned()))?;
        let amount = money::to_stripe(amount, currency).map_err(PaymentError::Declined)?;
        let form = Form::default()
            .with("payment_intent", reference)
            .with("amount", &amount.to_string())
            .with(&metadata(META_KEY), key);
        match self.post("/v1/refunds", &form, Some(key)).await {
            Err(refusal) if refusal.is_beyond_what_is_left() => Err(PaymentError::Declined(format!(
                "More than is left there to be given back: {}",
                refusal.text()
            ))),
            other => given_back(other?),
        }
    }
}

pub(super) fn metadata(name: &str) -> String {
    format!("metadata[{name}]")
}

fn kept(movement: &Movement) -> Result<KeptToken<'_>, PaymentError> {
    KeptToken::parse(&movement.card.token)
        .ok_or_else(|| PaymentError::Declined("There is no payment card on file: register one.".to_owned()))
}

fn is_hold_of(intent: &Intent, reservation: ReservationNumber) -> bool {
    intent.status == Status::RequiresCapture
        && is_name(&intent.id, "pi_")
        && intent.metadata.get(META_RESERVATION).is_some_and(|has| *has == reservation.to_string())
}

fn nothing_to_do(key: &str) -> Moved {
    Moved { reference: format!("nothing-{key}"), is_collected: false }
}

/// What an `Authorise` came to. A repeat may find what became of the hold since.
fn held(intent: Intent) -> Result<Moved, PaymentError> {
    match intent.status {
        Status::RequiresCapture | Status::Succeeded => {
            Ok(Moved { reference: intent.id, is_collected: false })
        }
        _ => Err(not_moved(intent)),
    }
}

/// What a `Capture` came to.
fn taken(intent: Intent) -> Result<Moved, PaymentError> {
    match intent.status {
        Status::Succeeded => Ok(Moved { reference: intent.id, is_collected: true }),
        _ => Err(not_moved(intent)),
    }
}

fn not_moved(intent: Intent) -> PaymentError {
    match intent.status {
        Status::RequiresPaymentMethod => {
            PaymentError::Declined(intent.last_payment_error.unwrap_or_default().decline_text())
        }
        Status::RequiresAction => PaymentError::Declined(
            "The card company wants to ask you about this payment, which cannot be done here: use another card."
                .to_owned(),
        ),
        Status::Canceled => PaymentError::Declined("The payment was cancelled.".to_owned()),
        Status::RequiresCapture
        | Status::RequiresConfirmation
        | Status::Processing
        | Status::Succeeded
        | Status::Unknown => {
            PaymentError::Unavailable(format!("the payment is not through yet: {:?}", intent.status))
        }
    }
}

fn given_back(refund: Refund) -> Result<Moved, PaymentError> {
    match refund.status.as_deref() {
        Some("failed" | "canceled") => {
            let why = answers::why_refund_failed(refund.failure_reason.as_deref());
            Err(PaymentError::CameBack(why))
        }
        _ => Ok(Moved { reference: refund.id, is_collected: false }),
    }
}
