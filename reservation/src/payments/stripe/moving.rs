//! Moving money over Stripe: what is asked in which order.
//!
//! Not here: registering cards (`cards`), what refusals mean (`answers`), units (`money`), webhooks (`webhook`).
//! Invariant: a repeated movement has no second effect: Stripe knows its `Idempotency-Key` for a day, and what was made
//! under a key carries it in its metadata, where it is looked for first. Of a payment that is told as declined nothing
//! can come later: what a member could still answer to is cancelled first.

use async_trait::async_trait;

use super::{
    META_KEY, META_MEMBER, META_RESERVATION, Stripe,
    answers::{self, Intent, Refund, Status},
    money,
    token::{KeptToken, is_name},
    webhook,
};
use crate::{
    domain::{
        member::{Card, CardQuestion},
        words::{Amount, Currency},
    },
    payments::{CardCheck, Charge, Moved, NewCard, Notice, PaymentError, Payments},
};

#[async_trait]
impl Payments for Stripe {
    async fn check_card(&self, card: &NewCard) -> Result<CardCheck, PaymentError> {
        self.within_time(self.keep_card(card)).await
    }

    fn knows(&self, card: &Card) -> bool {
        KeptToken::parse(&card.token).is_some()
    }

    fn check_amount(&self, amount: Amount, currency: Currency) -> Result<(), String> {
        money::check(amount, currency)
    }

    async fn authorise(&self, charge: &Charge) -> Result<Moved, PaymentError> {
        self.within_time(async {
            let intent = self.intent(charge, &charge.key, "manual").await?;
            // A repeat may find what became of the hold since.
            self.outcome(charge, intent, &[Status::RequiresCapture, Status::Succeeded], false).await
        })
        .await
    }

    async fn capture(&self, charge: &Charge, hold: &str) -> Result<Moved, PaymentError> {
        self.within_time(self.take(charge, hold)).await
    }

    async fn release(&self, key: &str, hold: &str) -> Result<Moved, PaymentError> {
        if !is_name(hold, "pi_") {
            // Of another provider, or of nothing.
            return Ok(Moved { reference: format!("nothing-{key}"), is_collected: false });
        }
        self.within_time(async {
            let intent = self.cancelled(hold, Some(key)).await?;
            match intent.status {
                Status::Canceled => Ok(Moved { reference: hold.to_owned(), is_collected: false }),
                _ => Err(PaymentError::Declined("The amount was collected already.".to_owned())),
            }
        })
        .await
    }

    async fn refund(&self, key: &str, reference: &str, amount: Amount) -> Result<Moved, PaymentError> {
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

impl Stripe {
    /// The PaymentIntent of `key`: the one that was begun, the one that is found, or one that is made and confirmed.
    async fn intent(&self, charge: &Charge, key: &str, capture: &str) -> Result<Intent, PaymentError> {
        if let Some(begun) = charge.begun.as_ref().filter(|begun| is_name(begun, "pi_")) {
            return Ok(self.read(&format!("/v1/payment_intents/{begun}")).await?);
        }
        let kept = KeptToken::parse(&charge.card.token).ok_or_else(|| {
            PaymentError::Declined("There is no payment card on file: register one.".to_owned())
        })?;
        let amount = in_units(charge)?.to_string();
        let known: Vec<Intent> = self.newest("/v1/payment_intents", ("customer", kept.customer)).await?;
        if let Some(found) =
            known.into_iter().find(|one| one.metadata.get(META_KEY).is_some_and(|has| has == key))
        {
            return Ok(found);
        }
        let currency = charge.currency.as_str().to_ascii_lowercase();
        let (names, reservation, member) =
            (metadata_names(), charge.reservation.to_string(), charge.member.to_string());
        let form = [
            ("amount", amount.as_str()),
            ("currency", &currency),
            ("customer", kept.customer),
            ("payment_method", kept.method),
            ("payment_method_types[]", "card"),
            ("capture_method", capture),
            ("confirm", "true"),
            // A member who is there is asked by Stripe's own script in the browser, not by being sent elsewhere.
            (if charge.is_present { "use_stripe_sdk" } else { "off_session" }, "true"),
            (&names[0], key),
            (&names[1], &reservation),
            (&names[2], &member),
        ];
        Ok(self.post("/v1/payment_intents", &form, Some(key)).await?)
    }

    async fn take(&self, charge: &Charge, hold: &str) -> Result<Moved, PaymentError> {
        // What is begun was begun because the hold had lapsed.
        if charge.begun.is_some() || !is_name(hold, "pi_") {
            return self.charge_anew(charge).await;
        }
        let amount = in_units(charge)?.to_string();
        let path = format!("/v1/payment_intents/{hold}/capture");
        let form = [("amount_to_capture", amount.as_str())];
        let (intent, refusal) = match self.post::<Intent>(&path, &form, Some(&charge.key)).await {
            Ok(intent) => (intent, None),
            Err(refusal) if refusal.is_about_state() => {
                (self.read::<Intent>(&format!("/v1/payment_intents/{hold}")).await?, Some(refusal))
            }
            Err(refusal) => return Err(refusal.into()),
        };
        match (intent.status, refusal) {
            (Status::Canceled | Status::RequiresPaymentMethod, _) => self.charge_anew(charge).await,
            (Status::Succeeded, _) | (_, None) => {
                self.outcome(charge, intent, &[Status::Succeeded], true).await
            }
            (_, Some(refusal)) if refusal.is_expired_hold() => self.charge_anew(charge).await,
            (_, Some(refusal)) => Err(refusal.into()),
        }
    }

    async fn charge_anew(&self, charge: &Charge) -> Result<Moved, PaymentError> {
        let intent = self.intent(charge, &format!("{}.anew", charge.key), "automatic").await?;
        self.outcome(charge, intent, &[Status::Succeeded], true).await
    }

    /// What a payment came to that is done in one of `done`.
    async fn outcome(
        &self,
        charge: &Charge,
        intent: Intent,
        done: &[Status],
        is_collected: bool,
    ) -> Result<Moved, PaymentError> {
        let declined = |why: &str| PaymentError::Declined(why.to_owned());
        let why = match intent.status {
            status if done.contains(&status) => return Ok(Moved { reference: intent.id, is_collected }),
            Status::RequiresAction if charge.is_present => {
                let kept = KeptToken::parse(&charge.card.token).map(|kept| kept.method);
                if charge.begun.is_none() || intent.payment_method.as_deref() == kept {
                    return Err(question(&intent));
                }
                declined("That was asked about another card and is called off: try once more with this one.")
            }
            Status::RequiresAction => {
                declined("The card company wants to ask you about this payment: pay while you are there.")
            }
            Status::RequiresPaymentMethod => {
                PaymentError::Declined(intent.last_payment_error.unwrap_or_default().decline_text())
            }
            Status::Canceled => return Err(declined("The payment was cancelled.")),
            status => {
                return Err(PaymentError::Unavailable(format!("the payment is not through yet: {status:?}")));
            }
        };
        if intent.status == Status::RequiresPaymentMethod && charge.begun.is_none() {
            return Err(why);
        }
        // The member's browser may hold the key to it, and could end it after it was told as declined.
        let left = self.cancelled(&intent.id, None).await?;
        if done.contains(&left.status) { Ok(Moved { reference: left.id, is_collected }) } else { Err(why) }
    }

    /// Cancels a PaymentIntent. What comes back is cancelled, or is through already.
    async fn cancelled(&self, id: &str, key: Option<&str>) -> Result<Intent, PaymentError> {
        match self.post::<Intent>(&format!("/v1/payment_intents/{id}/cancel"), &[], key).await {
            Ok(intent) => Ok(Intent { status: Status::Canceled, ..intent }),
            Err(refusal) if refusal.is_about_state() => {
                let intent: Intent = self.read(&format!("/v1/payment_intents/{id}")).await?;
                match intent.status {
                    Status::Canceled | Status::Succeeded => Ok(intent),
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
        let currency: Currency = intent
            .currency
            .to_ascii_uppercase()
            .parse()
            .map_err(|_| PaymentError::Unavailable("it tells a currency that is none".to_owned()))?;
        let amount = money::to_stripe(amount, currency).map_err(PaymentError::Declined)?.to_string();
        let names = metadata_names();
        let form = [("payment_intent", reference), ("amount", &amount), (names[0].as_str(), key)];
        match self.post("/v1/refunds", &form, Some(key)).await {
            Err(refusal) if refusal.is_beyond_what_is_left() => Err(PaymentError::Declined(format!(
                "More than is left there to be given back: {}",
                refusal.text()
            ))),
            other => given_back(other?),
        }
    }
}

/// The names in a form of what says under which key, for which reservation and for whom.
fn metadata_names() -> [String; 3] {
    [META_KEY, META_RESERVATION, META_MEMBER].map(super::metadata)
}

fn in_units(charge: &Charge) -> Result<i64, PaymentError> {
    money::to_stripe(charge.amount, charge.currency).map_err(PaymentError::Misconfigured)
}

fn question(intent: &Intent) -> PaymentError {
    let prefix = format!("{}_secret_", intent.id);
    match intent.client_secret.as_ref().filter(|secret| is_name(secret, &prefix)) {
        Some(secret) => {
            PaymentError::Asks(CardQuestion { reference: intent.id.clone(), client_secret: secret.clone() })
        }
        None => PaymentError::Unavailable("it names things as Stripe does not".to_owned()),
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
