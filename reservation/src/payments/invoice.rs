//! Payment by invoice: the operator bills the members; nothing leaves the machine.
//!
//! Owns: [`Invoice`]. Not here: the bill itself, which the ledger's export gives.
//! Invariant: nothing is ever collected by it, so it never says so.

use async_trait::async_trait;

use super::{CardCheck, Charge, Moved, NewCard, Notice, PaymentError, Payments};
use crate::domain::{
    member::Card,
    words::{Amount, Currency},
};

/// What [`Card::brand`] is for members who are billed.
pub const BRAND: &str = "invoice";

/// What [`Moved::reference`] begins with.
const REFERENCE: &str = "invoice-";

/// Agrees to everything and moves nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Invoice;

#[async_trait]
impl Payments for Invoice {
    async fn check_card(&self, _: &NewCard) -> Result<CardCheck, PaymentError> {
        let (token, last_four) = (String::new(), String::new());
        Ok(CardCheck::Kept(Card { token, brand: BRAND.to_owned(), last_four, expires: None }))
    }

    /// A member who registered a card with a payment company before is billed like any other.
    fn knows(&self, _: &Card) -> bool {
        true
    }

    fn check_amount(&self, _: Amount, _: Currency) -> Result<(), String> {
        Ok(())
    }

    async fn authorise(&self, charge: &Charge) -> Result<Moved, PaymentError> {
        Ok(noted(&charge.key))
    }

    async fn capture(&self, charge: &Charge, hold: &str) -> Result<Moved, PaymentError> {
        end(&charge.key, hold)
    }

    async fn release(&self, key: &str, hold: &str) -> Result<Moved, PaymentError> {
        end(key, hold)
    }

    /// What was billed is credited in the ledger alone; what was collected, was so before members were billed.
    async fn refund(&self, _: &str, _: &str, _: Amount) -> Result<Moved, PaymentError> {
        Err(PaymentError::Declined("It was not collected by invoice: give it back where it was.".to_owned()))
    }

    fn read_notice(&self, _: &str, _: &[u8], _: i64) -> Result<Option<Notice>, PaymentError> {
        Err(PaymentError::Misconfigured("payment by invoice has no webhooks".to_owned()))
    }
}

fn end(key: &str, hold: &str) -> Result<Moved, PaymentError> {
    if hold.starts_with(REFERENCE) {
        return Ok(noted(key));
    }
    let why = "It is held elsewhere, from before members were billed: take it or let it go there.";
    Err(PaymentError::Declined(why.to_owned()))
}

/// The same key, the same reference.
fn noted(key: &str) -> Moved {
    Moved { reference: format!("{REFERENCE}{key}"), is_collected: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::words::{MemberNumber, ReservationNumber};

    #[tokio::test]
    async fn every_movement_is_noted_under_its_key_and_collects_nothing() {
        let new = NewCard {
            token: "4242424242424242".to_owned(),
            member: MemberNumber(7),
            email: "taro@example.com".parse().unwrap(),
            name: "Taro".to_owned(),
        };
        let checked = Invoice.check_card(&new).await.unwrap();
        let CardCheck::Kept(card) = checked else { panic!("{checked:?}") };
        assert_eq!((card.brand.as_str(), card.token.as_str(), card.last_four.as_str()), (BRAND, "", ""));
        let charge = Charge {
            key: "charge-1".to_owned(),
            reservation: ReservationNumber(1),
            member: MemberNumber(7),
            card,
            amount: Amount::new(500).unwrap(),
            currency: "JPY".parse().unwrap(),
            is_present: true,
            begun: None,
        };
        let noted = Ok(Moved { reference: "invoice-charge-1".to_owned(), is_collected: false });
        for _ in 0..2 {
            assert_eq!(Invoice.authorise(&charge).await, noted);
            assert_eq!(Invoice.capture(&charge, "invoice-authorise-1").await, noted);
            assert_eq!(Invoice.release("charge-1", "invoice-authorise-1").await, noted);
        }
        let amount = charge.amount;
        for refused in [
            Invoice.capture(&charge, "pi_1").await,
            Invoice.release("release-1", "pi_1").await,
            Invoice.refund("refund-1", "pi_1", amount).await,
        ] {
            assert!(matches!(refused, Err(PaymentError::Declined(_))), "{refused:?}");
        }
        assert!(matches!(Invoice.read_notice("t=1,v1=00", b"{}", 1), Err(PaymentError::Misconfigured(_))));
    }
}
