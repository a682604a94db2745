//! Payment by invoice: the operator bills the members; nothing leaves the machine.
//!
//! Owns: [`Invoice`]. Not here: the bill itself, which the ledger's export gives.
//! Invariant: nothing is ever collected by it, so it never says so.

use async_trait::async_trait;

use super::{CardCheck, Moved, Movement, NewCard, Notice, PaymentError, Payments};
use crate::domain::{effects::PaymentKind, member::Card, words::Amount};

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

    async fn move_money(&self, movement: &Movement) -> Result<Moved, PaymentError> {
        let is_of_others = movement.hold.as_deref().is_some_and(|hold| !hold.starts_with(REFERENCE));
        match movement.kind {
            PaymentKind::Refund => Err(collected_elsewhere()),
            PaymentKind::Capture | PaymentKind::Release if is_of_others => {
                let why =
                    "It is held elsewhere, from before members were billed: take it or let it go there.";
                Err(PaymentError::Declined(why.to_owned()))
            }
            PaymentKind::Authorise | PaymentKind::Capture | PaymentKind::Release => Ok(noted(&movement.key)),
        }
    }

    async fn refund(&self, _: &str, _: &str, _: Amount) -> Result<Moved, PaymentError> {
        Err(collected_elsewhere())
    }

    fn read_notice(&self, _: &str, _: &[u8], _: i64) -> Result<Option<Notice>, PaymentError> {
        Err(PaymentError::Misconfigured("payment by invoice has no webhooks".to_owned()))
    }
}

/// What was billed is credited in the ledger alone; whatever was collected, was so before members were billed.
fn collected_elsewhere() -> PaymentError {
    PaymentError::Declined("It was not collected by invoice: give it back where it was.".to_owned())
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
        for kind in [PaymentKind::Authorise, PaymentKind::Capture, PaymentKind::Release] {
            let movement = Movement {
                key: format!("{}-1", kind.name()),
                kind,
                reservation: ReservationNumber(1),
                member: MemberNumber(7),
                card: card.clone(),
                amount: Amount::new(500).unwrap(),
                currency: "JPY".parse().unwrap(),
                hold: None,
            };
            let first = Invoice.move_money(&movement).await.unwrap();
            assert_eq!(first, Moved { reference: format!("invoice-{}-1", kind.name()), is_collected: false });
            assert_eq!(Invoice.move_money(&movement).await.unwrap(), first);
        }
        let of_a_card = Movement {
            key: "capture-1".to_owned(),
            kind: PaymentKind::Capture,
            reservation: ReservationNumber(1),
            member: MemberNumber(7),
            card,
            amount: Amount::new(500).unwrap(),
            currency: "JPY".parse().unwrap(),
            hold: Some("pi_1".to_owned()),
        };
        for kind in [PaymentKind::Capture, PaymentKind::Release] {
            let refused = Invoice.move_money(&Movement { kind, ..of_a_card.clone() }).await;
            assert!(matches!(refused, Err(PaymentError::Declined(_))), "{refused:?}");
            let ours = Movement { kind, hold: Some("invoice-authorise-1".to_owned()), ..of_a_card.clone() };
            assert!(Invoice.move_money(&ours).await.is_ok());
        }
        let back = Invoice.refund("refund-1", "pi_1", Amount::new(500).unwrap()).await;
        assert!(matches!(back, Err(PaymentError::Declined(_))), "{back:?}");
        assert!(matches!(Invoice.read_notice("t=1,v1=00", b"{}", 1), Err(PaymentError::Misconfigured(_))));
    }
}
