//! Registering a card with Stripe: whose it is, and what the card company says to it.
//!
//! Owns: what is asked in which order until a card is kept. Not here: moving money (`stripe`), names of things
//! (`token`).
//! Holds: no card is kept that the card company did not agree to.

use sha2::{Digest, Sha256};

use super::{
    META_MEMBER, Stripe,
    answers::{Customer, Method, Setup, tidy},
    form::Form,
    metadata,
    token::{KeptToken, NewToken, holds_card_number, is_name},
};
use crate::{
    domain::member::Card,
    payments::{NewCard, PaymentError},
};

impl Stripe {
    /// Checks the card and attaches it to the member's Customer.
    pub(super) async fn keep_card(&self, card: &NewCard) -> Result<Card, PaymentError> {
        let token = NewToken::parse(&card.token).map_err(|why| PaymentError::Declined(why.to_owned()))?;
        if holds_card_number(&card.name) {
            let why = "A card number stands in the name: write the name only.";
            return Err(PaymentError::Declined(why.to_owned()));
        }
        let path = format!("/v1/payment_methods/{}", token.as_str());
        let method = match self.read::<Method>(&path).await {
            Err(refusal) if refusal.is_missing() => {
                let why = "The card company does not know this card entry: fill in the card form again.";
                return Err(PaymentError::Declined(why.to_owned()));
            }
            other => other?,
        };
        let Some(told) = &method.card else {
            return Err(PaymentError::Declined("Only payment cards can be registered.".to_owned()));
        };
        let customer = match &method.customer {
            Some(customer) => self.same_person(customer, card).await?,
            None => self.customer(card).await?,
        };
        let kept = KeptToken { customer: &customer, method: &method.id }.write();
        if KeptToken::parse(&kept).is_none() {
            return Err(PaymentError::Unavailable("it names things as Stripe does not".to_owned()));
        }
        if method.customer.is_none() {
            let form = Form::default().with("customer", &customer);
            let path = format!("/v1/payment_methods/{}/attach", method.id);
            let _: Method = self.post(&path, &form, None).await?;
        }
        self.ask_card_company(&customer, &method.id).await?;
        Ok(Card {
            token: kept,
            brand: tidy(&told.brand),
            last_four: tidy(&told.last4),
            expires: Some((told.exp_year, told.exp_month)),
        })
    }

    /// The Customer that a card entry belongs to already, from an earlier attempt of the same person.
    async fn same_person(&self, customer: &str, card: &NewCard) -> Result<String, PaymentError> {
        let strange = "This card entry was used before: fill in the card form again.";
        if !is_name(customer, "cus_") {
            return Err(PaymentError::Unavailable("it names things as Stripe does not".to_owned()));
        }
        let found: Customer = self.read(&format!("/v1/customers/{customer}")).await?;
        match found.email {
            Some(email) if email.eq_ignore_ascii_case(card.email.as_str()) => Ok(found.id),
            _ => Err(PaymentError::Declined(strange.to_owned())),
        }
    }

    /// The member's Customer, made where there is none.
    async fn customer(&self, card: &NewCard) -> Result<String, PaymentError> {
        let member = card.member.to_string();
        let known: Vec<Customer> = self.newest("/v1/customers", ("email", card.email.as_str())).await?;
        if let Some(found) = known.into_iter().find(|one| one.metadata.get(META_MEMBER) == Some(&member)) {
            return Ok(found.id);
        }
        let form = Form::default()
            .with("email", card.email.as_str())
            .with("name", &card.name)
            .with(&metadata(META_MEMBER), &member);
        // A key goes with one content only: a member who has changed the address since gets another.
        let content = Sha256::digest(form.as_str().as_bytes());
        let tag = content.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
        let key = format!("member-{member}-{tag}");
        let made: Customer = self.post("/v1/customers", &form, Some(&key)).await?;
        Ok(made.id)
    }

    /// Checks the card with the card company for charges without the member, by a SetupIntent. No key: a card that was
    /// declined may be good a minute later, and a second check does no harm.
    async fn ask_card_company(&self, customer: &str, method: &str) -> Result<(), PaymentError> {
        let form = Form::default()
            .with("customer", customer)
            .with("usage", "off_session")
            .with("payment_method_types[]", "card");
        let setup: Setup = self.post("/v1/setup_intents", &form, None).await?;
        if !is_name(&setup.id, "seti_") {
            return Err(PaymentError::Unavailable("it names things as Stripe does not".to_owned()));
        }
        let form = Form::default().with("payment_method", method);
        let path = format!("/v1/setup_intents/{}/confirm", setup.id);
        let setup: Setup = self.post(&path, &form, None).await?;
        let why = match setup.status.as_str() {
            "succeeded" => return Ok(()),
            "processing" => {
                return Err(PaymentError::Unavailable("the card is still being checked".to_owned()));
            }
            "requires_action" => {
                "The card company wants to ask you at each use of this card, which cannot be done at the time of a \
                 broadcast: use another card."
            }
            _ => "The card company declined the card.",
        };
        Err(PaymentError::Declined(why.to_owned()))
    }
}
