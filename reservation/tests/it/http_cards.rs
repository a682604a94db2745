//! Cards whose company wants to ask the member first (3-D Secure), as a page meets them over HTTP.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use serde_json::{Value, json};
use slotcast_reservation::{
    domain::{
        member::{Card, CardQuestion},
        words::{Amount, Currency},
    },
    payments::{CardCheck, Charge, Moved, NewCard, Notice, PaymentError, Payments, invoice::Invoice},
};
use slotcast_reservation_testing::http::{Client, PASSWORD, Reply, Server, Wishes, draft, registration};

const SECRET: &str = "seti_1_secret_of_the_member";
const PAYMENT_SECRET: &str = "pi_1_secret_of_the_member";

/// A payment company whose card `pm_asks` brings up the question `seti_1`; any other card is good.
#[derive(Debug, Default)]
struct Asking {
    is_answered: AtomicBool,
}

#[async_trait]
impl Payments for Asking {
    async fn check_card(&self, card: &NewCard) -> Result<CardCheck, PaymentError> {
        match card.token.as_str() {
            "seti_1" if self.is_answered.load(Ordering::SeqCst) => {}
            "pm_asks" | "seti_1" => {
                let (reference, client_secret) = ("seti_1".to_owned(), SECRET.to_owned());
                return Ok(CardCheck::Ask(CardQuestion { reference, client_secret }));
            }
            "seti_of_another" => return Err(PaymentError::Declined("not yours".to_owned())),
            _ => {}
        }
        Ok(CardCheck::Kept(Card {
            token: "cus_1:pm_1".to_owned(),
            brand: "visa".to_owned(),
            last_four: "3220".to_owned(),
            expires: Some((2031, 11)),
        }))
    }

    fn knows(&self, _: &Card) -> bool {
        true
    }

    fn check_amount(&self, _: Amount, _: Currency) -> Result<(), String> {
        Ok(())
    }

    /// Every payment asks the member first.
    async fn authorise(&self, charge: &Charge) -> Result<Moved, PaymentError> {
        let is_asked = charge.begun.as_deref() == Some("pi_1");
        if is_asked && self.is_answered.load(Ordering::SeqCst) {
            return Invoice.authorise(charge).await;
        }
        let (reference, client_secret) = ("pi_1".to_owned(), PAYMENT_SECRET.to_owned());
        Err(PaymentError::Asks(CardQuestion { reference, client_secret }))
    }

    async fn capture(&self, charge: &Charge, hold: &str) -> Result<Moved, PaymentError> {
        Invoice.capture(charge, hold).await
    }

    async fn release(&self, key: &str, hold: &str) -> Result<Moved, PaymentError> {
        Invoice.release(key, hold).await
    }

    async fn refund(&self, key: &str, reference: &str, amount: Amount) -> Result<Moved, PaymentError> {
        Invoice.refund(key, reference, amount).await
    }

    fn read_notice(&self, _: &str, _: &[u8], _: i64) -> Result<Option<Notice>, PaymentError> {
        Ok(None)
    }
}

async fn server() -> (Server, Arc<Asking>) {
    let asking = Arc::new(Asking::default());
    let payments = Arc::clone(&asking) as Arc<dyn Payments>;
    (Server::start_as(Wishes { payments, ..Wishes::default() }).await, asking)
}

fn general(user_id: &str) -> Value {
    let mut body = registration(user_id);
    body.as_object_mut().unwrap().remove("premium");
    body
}

async fn become_premium(client: &Client, card_token: &str) -> Reply {
    let body =
        json!({ "address": "1-1 Chiyoda, Tokyo", "phone": "+81 3 0000 0000", "card_token": card_token });
    client.put("/me/premium", &body).await
}

#[track_caller]
fn check_question(reply: &Reply) {
    assert_eq!((reply.status, reply.code()), (402, "card-question"), "{reply:?}");
    assert_eq!(
        (&reply.body["setup_intent"], &reply.body["client_secret"]),
        (&"seti_1".into(), &SECRET.into())
    );
    assert_eq!(reply.body["call"], "PUT /api/v1/me/premium", "{reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert!(reply.headers.values().all(|value| !value.as_bytes().windows(8).any(|part| part == b"_secret_")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_answers_and_sends_the_same_again() {
    let (server, asking) = server().await;
    assert_eq!(server.anybody().post("/members", &general("taro")).await.status, 201);
    let taro = server.anybody().log_in("taro", PASSWORD).await;
    check_question(&become_premium(&taro, "pm_asks").await);
    check_question(&become_premium(&taro, "seti_1").await);
    let me = taro.get("/me").await;
    assert_eq!((&me.body["kind"], &me.body["card"]), (&"general".into(), &Value::Null), "nothing is changed");
    let foreign = become_premium(&taro, "seti_of_another").await;
    assert_eq!((foreign.status, foreign.code()), (402, "payment-declined"));
    asking.is_answered.store(true, Ordering::SeqCst);
    let done = become_premium(&taro, "seti_1").await;
    assert_eq!((done.status, &done.body["kind"]), (200, &"premium".into()), "{done:?}");
    assert_eq!(done.body["card"]["last_four"], "3220");
    assert!(!done.text.contains("seti_"), "{done:?}");

    // A premium member whose new card brings up a question keeps the old one meanwhile.
    asking.is_answered.store(false, Ordering::SeqCst);
    check_question(&become_premium(&taro, "pm_asks").await);
    assert_eq!(taro.get("/me").await.body["card"]["last_four"], "3220");
    for file in fs::read_dir(server.mail_folder().parent().unwrap()).unwrap().flatten() {
        let bytes = fs::read(file.path()).unwrap_or_default();
        assert!(!bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()), "{:?}", file.path());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_answers_at_the_reconfirmation_and_sends_the_same_again() {
    let (server, asking) = server().await;
    server.sell(1).await;
    let taro = server.premium("taro").await;
    let wish = draft(1, "2026-11-19T10:00:00Z", "2026-11-19T10:30:00Z");
    let number = taro.post("/reservations", &wish).await.body["number"].as_i64().unwrap();
    let place = format!("/reservations/{number}");
    taro.post(&format!("{place}/accept-terms"), &json!({})).await;
    let id = json!({ "reservation_id": server.mailed_id(number, 1).await });
    for _ in 0..2 {
        let asked = taro.post(&format!("{place}/reconfirm"), &id).await;
        assert_eq!((asked.status, asked.code()), (402, "card-question"), "{asked:?}");
        let said = (&asked.body["payment_intent"], &asked.body["client_secret"], &asked.body["setup_intent"]);
        assert_eq!(said, (&"pi_1".into(), &PAYMENT_SECRET.into(), &Value::Null), "{asked:?}");
        assert_eq!(taro.get(&place).await.body["state"], "registered");
    }
    asking.is_answered.store(true, Ordering::SeqCst);
    let confirmed = taro.post(&format!("{place}/reconfirm"), &id).await;
    assert_eq!((confirmed.status, &confirmed.body["state"]), (200, &"confirmed".into()), "{confirmed:?}");
    assert!(!confirmed.text.contains("pi_1"), "{confirmed:?}");
    for file in fs::read_dir(server.mail_folder().parent().unwrap()).unwrap().flatten() {
        let bytes = fs::read(file.path()).unwrap_or_default();
        assert!(!bytes.windows(8).any(|part| part == b"_secret_"), "{:?}", file.path());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_registers_is_asked_once_there_is_a_member() {
    let (server, _) = server().await;
    let anybody = server.anybody();
    let mut body = registration("taro");
    for card_token in ["pm_asks", "seti_1"] {
        body["premium"]["card_token"] = card_token.into();
        let refused = anybody.post("/members", &body).await;
        assert_eq!((refused.status, refused.code()), (402, "register-first"), "{refused:?}");
        assert!(!refused.text.contains("seti_") && !refused.text.contains("client_secret"), "{refused:?}");
    }
    assert_eq!(anybody.post("/members", &general("taro")).await.status, 201, "nothing was registered before");
    check_question(&become_premium(&anybody.log_in("taro", PASSWORD).await, "pm_asks").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documentation_tells_of_questions() {
    let (server, _) = server().await;
    let anybody = server.anybody();
    let document = anybody.get("/openapi.json").await.body;
    for (place, code) in [
        ("/paths/~1api~1v1~1me~1premium/put", "card-question"),
        ("/paths/~1api~1v1~1members/post", "register-first"),
        ("/paths/~1api~1v1~1reservations~1{number}~1reconfirm/post", "card-question"),
        ("/paths/~1api~1v1~1reservations~1{number}~1pay/post", "card-question"),
    ] {
        let examples = format!("{place}/responses/402/content/application~1problem+json/examples");
        let examples = document.pointer(&examples).and_then(Value::as_object).unwrap();
        assert!(examples.contains_key(code) && examples.contains_key("payment-declined"), "{examples:?}");
        let explained = anybody.get(&format!("/problems/{code}")).await;
        assert_eq!((explained.status, &explained.body["status"]), (200, &402.into()), "{explained:?}");
    }
    for member in ["setup_intent", "payment_intent", "client_secret"] {
        let place = format!("/components/schemas/Problem/properties/{member}");
        assert!(document.pointer(&place).is_some(), "{member}");
    }
}
