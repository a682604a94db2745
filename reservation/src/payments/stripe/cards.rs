//! Registering a card with Stripe: whose it is, what the card company says to it, and what it wants to ask the member.
//!
//! Owns: what is asked in which order until a card is kept. Not here: moving money (`moving`), names of things
//! (`token`).
//! Invariant: no card is kept that the card company did not agree to; whose a SetupIntent is stands in its metadata since
//! it was made, and of one that is somebody else's as little is told as of one that is not there.

use sha2::{Digest, Sha256};

use super::{
    META_MEMBER, Stripe,
    answers::{Customer, Method, MethodCard, Setup, Status, tidy},
    client::{Pairs, encoded},
    metadata,
    token::{KeptToken, NewToken, holds_card_number, is_name},
};
use crate::{
    domain::member::{Card, CardQuestion},
    payments::{CardCheck, NewCard, PaymentError},
};

/// What is said of whatever does not belong to who brings it.
const NOT_YOURS: &str = "This card entry cannot be used here: fill in the card form again.";

impl Stripe {
    /// Checks the card and attaches it to the member's Customer, or takes up the check that the member has answered to.
    pub(super) async fn keep_card(&self, card: &NewCard) -> Result<CardCheck, PaymentError> {
        let token = NewToken::parse(&card.token).map_err(declined)?;
        if holds_card_number(&card.name) {
            return Err(declined("A card number stands in the name: write the name only."));
        }
        match token {
            NewToken::Method(name) => self.new_entry(name, card).await,
            NewToken::Setup(name) => self.answered(name, card).await,
        }
    }

    /// What the card form gave.
    async fn new_entry(&self, name: &str, card: &NewCard) -> Result<CardCheck, PaymentError> {
        let method = match self.read::<Method>(&format!("/v1/payment_methods/{name}")).await {
            Err(refusal) if refusal.is_missing() => {
                let why = "The card company does not know this card entry: fill in the card form again.";
                return Err(declined(why));
            }
            other => other?,
        };
        let told = told(&method)?;
        let customer = match &method.customer {
            Some(customer) => self.same_person(customer, card).await?,
            None => self.customer(card).await?,
        };
        let kept = kept(&customer, &method.id, told)?;
        if method.customer.is_none() {
            let path = format!("/v1/payment_methods/{}/attach", method.id);
            let _: Method = self.post(&path, &[("customer", &customer)], None).await?;
        }
        let setup = self.ask_card_company(&customer, &method.id, card).await?;
        Ok(verdict(&setup)?.map_or(CardCheck::Kept(kept), CardCheck::Ask))
    }

    /// The SetupIntent of that name, after its question. The card is the one that it ended with: the member may have
    /// given another one in the provider's form.
    async fn answered(&self, name: &str, card: &NewCard) -> Result<CardCheck, PaymentError> {
        let setup = match self.read::<Setup>(&format!("/v1/setup_intents/{name}")).await {
            Err(refusal) if refusal.is_missing() => return Err(declined(NOT_YOURS)),
            other => other?,
        };
        let is_own = setup.id == name && setup.metadata.get(META_MEMBER) == Some(&card.member.to_string());
        let customer = setup.customer.as_deref().filter(|_| is_own).ok_or_else(|| declined(NOT_YOURS))?;
        let customer = self.same_person(customer, card).await?;
        if let Some(question) = verdict(&setup)? {
            return Ok(CardCheck::Ask(question));
        }
        let method = setup.payment_method.as_deref().filter(|method| is_name(method, "pm_"));
        let method = method.ok_or_else(strange_name)?;
        let method: Method = self.read(&format!("/v1/payment_methods/{method}")).await?;
        if method.customer.as_ref() != Some(&customer) {
            return Err(declined(NOT_YOURS));
        }
        kept(&customer, &method.id, told(&method)?).map(CardCheck::Kept)
    }

    /// The Customer that a card entry belongs to already, from an earlier attempt of the same person.
    async fn same_person(&self, customer: &str, card: &NewCard) -> Result<String, PaymentError> {
        if !is_name(customer, "cus_") {
            return Err(strange_name());
        }
        let found: Customer = self.read(&format!("/v1/customers/{customer}")).await?;
        match found.email {
            Some(email) if email.eq_ignore_ascii_case(card.email.as_str()) => Ok(found.id),
            _ => Err(declined(NOT_YOURS)),
        }
    }

    /// The member's Customer, made where there is none.
    async fn customer(&self, card: &NewCard) -> Result<String, PaymentError> {
        let member = card.member.to_string();
        let known: Vec<Customer> = self.newest("/v1/customers", ("email", card.email.as_str())).await?;
        if let Some(found) = known.into_iter().find(|one| one.metadata.get(META_MEMBER) == Some(&member)) {
            return Ok(found.id);
        }
        let name = metadata(META_MEMBER);
        let form: Pairs<'_> = &[("email", card.email.as_str()), ("name", &card.name), (&name, &member)];
        // A key goes with one content only: a member who has changed the address since gets another.
        let content = Sha256::digest(encoded(form).as_bytes());
        let tag = content.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
        let key = format!("member-{member}-{tag}");
        let made: Customer = self.post("/v1/customers", form, Some(&key)).await?;
        Ok(made.id)
    }

    /// Checks the card with the card company for charges without the member, by a SetupIntent. No key: a card that was
    /// declined may be good a minute later, and a second check does no harm.
    async fn ask_card_company(
        &self,
        customer: &str,
        method: &str,
        card: &NewCard,
    ) -> Result<Setup, PaymentError> {
        let (name, member) = (metadata(META_MEMBER), card.member.to_string());
        let form = [
            ("customer", customer),
            ("usage", "off_session"),
            ("payment_method_types[]", "card"),
            (&name, &member),
        ];
        let setup: Setup = self.post("/v1/setup_intents", &form, None).await?;
        if !is_name(&setup.id, "seti_") {
            return Err(strange_name());
        }
        // What there is to ask is asked by Stripe's own script in the member's browser, not by sending it elsewhere.
        let form = [("payment_method", method), ("use_stripe_sdk", "true")];
        Ok(self.post(&format!("/v1/setup_intents/{}/confirm", setup.id), &form, None).await?)
    }
}

fn declined(why: &str) -> PaymentError {
    PaymentError::Declined(why.to_owned())
}

fn strange_name() -> PaymentError {
    PaymentError::Unavailable("it names things as Stripe does not".to_owned())
}

fn told(method: &Method) -> Result<&MethodCard, PaymentError> {
    method.card.as_ref().ok_or_else(|| declined("Only payment cards can be registered."))
}

/// What is stored of a card.
fn kept(customer: &str, method: &str, told: &MethodCard) -> Result<Card, PaymentError> {
    let token = KeptToken { customer, method }.write();
    if KeptToken::parse(&token).is_none() {
        return Err(strange_name());
    }
    Ok(Card {
        token,
        brand: tidy(&told.brand),
        last_four: tidy(&told.last4),
        expires: Some((told.exp_year, told.exp_month)),
    })
}

/// What the card company says; `None`: it agrees.
fn verdict(setup: &Setup) -> Result<Option<CardQuestion>, PaymentError> {
    match setup.status {
        Status::Succeeded => Ok(None),
        Status::RequiresAction => question(setup).map(Some),
        Status::Processing => Err(PaymentError::Unavailable("the card is still being checked".to_owned())),
        Status::RequiresPaymentMethod => {
            Err(PaymentError::Declined(setup.last_setup_error.clone().unwrap_or_default().decline_text()))
        }
        // Stripe's script asks in `requires_action` alone and throws in any other: nobody could ever answer.
        Status::RequiresConfirmation | Status::Canceled => {
            Err(declined("The check of the card was not finished: fill in the card form again."))
        }
        Status::RequiresCapture | Status::Unknown => Err(declined("The card company declined the card.")),
    }
}

fn question(setup: &Setup) -> Result<CardQuestion, PaymentError> {
    let secret = setup.client_secret.as_deref();
    let secret = secret.filter(|secret| is_name(secret, &format!("{}_secret_", setup.id)));
    let client_secret = secret.ok_or_else(strange_name)?.to_owned();
    Ok(CardQuestion { reference: setup.id.clone(), client_secret })
}
