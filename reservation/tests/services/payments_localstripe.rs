//! The Stripe client against localstripe. What localstripe does not know is in `payments_stripe` of `it`.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    sync::mpsc::{self, Receiver},
    thread,
};

use slotcast_reservation::{
    domain::{
        member::Card,
        words::{Amount, MemberNumber, ReservationNumber},
    },
    payments::{
        CardCheck, Charge, NewCard, Noticed, PaymentError, Payments,
        stripe::{Stripe, StripeSettings},
    },
};

use crate::localstripe::{LocalStripe, PATIENCE, WEBHOOK_SECRET, kept};

fn charge(card: &Card, key: &str) -> Charge {
    Charge {
        key: key.to_owned(),
        reservation: ReservationNumber(77),
        member: MemberNumber(5),
        card: card.clone(),
        amount: Amount::new(5000).unwrap(),
        currency: "JPY".parse().unwrap(),
        is_present: false,
        begun: None,
    }
}

#[tokio::test]
async fn cards_are_checked_before_they_are_kept() {
    let Some(provider) = LocalStripe::start() else { return };
    let card = provider.card("4242424242424242").await;
    let (customer, method) = card.token.split_once(':').unwrap();
    assert!(customer.starts_with("cus_") && method.starts_with("pm_"), "{}", card.token);
    assert_eq!(
        (card.brand.as_str(), card.last_four.as_str(), card.expires),
        ("visa", "4242", Some((2031, 11)))
    );
    let error = provider.register("4000000000000002").await.unwrap_err();
    assert!(matches!(error, PaymentError::Declined(_)), "{error}");
    for unknown in ["pm_unknown", "seti_unknown"] {
        let error = provider.check(5, unknown).await.unwrap_err();
        assert!(matches!(error, PaymentError::Declined(_)), "{unknown}: {error}");
    }
}

#[tokio::test]
async fn a_card_whose_company_asks_is_kept_once_the_member_has_answered() {
    let Some(provider) = LocalStripe::start() else { return };
    let question = provider.question("4000000000003220").await;
    assert!(question.reference.starts_with("seti_"), "{question:?}");
    assert!(!format!("{question:?}").contains(&question.client_secret), "{question:?}");
    let still = provider.check(5, &question.reference).await;
    assert_eq!(still, Ok(CardCheck::Ask(question.clone())));
    // What the provider's own form in the browser does once the card's company is content.
    let path = format!("/v1/setup_intents/{}/confirm", question.reference);
    provider.post(&path, &format!("client_secret={}", question.client_secret));
    let foreign = provider.check(6, &question.reference).await.unwrap_err();
    assert!(matches!(foreign, PaymentError::Declined(_)), "{foreign}");
    let card = kept(provider.check(5, &question.reference).await);
    assert_eq!((card.last_four.as_str(), card.expires), ("3220", Some((2031, 11))));
    // localstripe's cards of that kind ask at every payment, answered or not.
    let error = provider.stripe().authorise(&charge(&card, "a")).await.unwrap_err();
    assert!(matches!(&error, PaymentError::Declined(why) if why.contains("wants to ask")), "{error}");
}

#[tokio::test]
async fn a_member_who_is_there_answers_at_the_payment_and_it_goes_on() {
    let Some(provider) = LocalStripe::start() else { return };
    let stripe = provider.stripe();
    let question = provider.question("4000000000003220").await;
    let path = format!("/v1/setup_intents/{}/confirm", question.reference);
    provider.post(&path, &format!("client_secret={}", question.client_secret));
    let card = kept(provider.check(5, &question.reference).await);
    for is_answered_well in [true, false] {
        let there = Charge { is_present: true, ..charge(&card, "a") };
        let Err(PaymentError::Asks(question)) = stripe.authorise(&there).await else {
            panic!("the member is not asked");
        };
        let again = Charge { begun: Some(question.reference.clone()), ..there };
        assert_eq!(stripe.authorise(&again).await, Err(PaymentError::Asks(question.clone())), "not answered");
        let path = format!("/v1/payment_intents/{}/_authenticate", question.reference);
        let form = format!("client_secret={}&success={is_answered_well}", question.client_secret);
        provider.post(&path, &form);
        let held = stripe.authorise(&again).await;
        if is_answered_well {
            let held = held.unwrap();
            assert_eq!((held.reference.as_str(), held.is_collected), (question.reference.as_str(), false));
            assert!(stripe.capture(&charge(&card, "c"), &held.reference).await.unwrap().is_collected);
        } else {
            assert!(matches!(held, Err(PaymentError::Declined(_))), "{held:?}");
        }
    }
}

#[tokio::test]
async fn a_question_that_was_called_off_keeps_no_card() {
    let Some(provider) = LocalStripe::start() else { return };
    let question = provider.question("4000002760003184").await;
    provider.post(&format!("/v1/setup_intents/{}/cancel", question.reference), "");
    let error = provider.check(5, &question.reference).await.unwrap_err();
    assert!(matches!(error, PaymentError::Declined(_)), "{error}");
}

#[tokio::test]
async fn a_hold_is_captured_once_and_given_back() {
    let Some(provider) = LocalStripe::start() else { return };
    let stripe = provider.stripe();
    let card = provider.card("4242424242424242").await;
    let held = stripe.authorise(&charge(&card, "a")).await.unwrap();
    assert!(held.reference.starts_with("pi_") && !held.is_collected, "{held:?}");
    for _ in 0..2 {
        let taken = stripe.capture(&charge(&card, "c"), &held.reference).await.unwrap();
        assert_eq!((taken.reference.as_str(), taken.is_collected), (held.reference.as_str(), true));
    }
    let error = stripe.release("r", &held.reference).await.unwrap_err();
    assert!(matches!(error, PaymentError::Declined(_)), "{error}");
    let back = Amount::new(2000).unwrap();
    let given = stripe.refund("b", &held.reference, back).await.unwrap();
    assert!(given.reference.starts_with("re_") && !given.is_collected, "{given:?}");
    assert_eq!(stripe.refund("b", &held.reference, back).await.unwrap(), given);
    let rest = Amount::new(3000).unwrap();
    assert_ne!(
        stripe.refund("b2", &held.reference, rest).await.unwrap(),
        given,
        "another key, another refund"
    );
    let listed = provider.ask("GET", &format!("/v1/refunds?payment_intent={}", held.reference), "");
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let refunds = listed["data"].as_array().unwrap();
    let mut amounts: Vec<_> = refunds.iter().map(|refund| refund["amount"].as_i64().unwrap()).collect();
    amounts.sort_unstable();
    assert_eq!(amounts, [2000, 3000], "each once: {listed}");
}

#[tokio::test]
async fn a_released_hold_stays_released_and_a_late_capture_charges_anew() {
    let Some(provider) = LocalStripe::start() else { return };
    let stripe = provider.stripe();
    let card = provider.card("4242424242424242").await;
    let held = stripe.authorise(&charge(&card, "a")).await.unwrap();
    for _ in 0..2 {
        assert_eq!(stripe.release("r", &held.reference).await.unwrap(), held);
    }
    let taken = stripe.capture(&charge(&card, "c"), &held.reference).await.unwrap();
    assert!(taken.is_collected && taken.reference != held.reference, "{taken:?}");
}

#[tokio::test]
async fn a_card_that_is_declined_later_is_declined() {
    let Some(provider) = LocalStripe::start() else { return };
    let stripe = provider.stripe();
    let card = provider.card("4000000000000341").await;
    let declined = Err(PaymentError::Declined("Your card was declined.".to_owned()));
    assert_eq!(stripe.authorise(&charge(&card, "a")).await, declined);
    assert_eq!(stripe.capture(&charge(&card, "c"), "nothing-1").await, declined);
}

/// Where localstripe sends its webhooks: signature and body of each.
fn listen() -> (SocketAddr, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut reader = BufReader::new(&stream);
            let (mut signature, mut length) = (String::new(), 0);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                match line.trim_end().split_once(": ") {
                    Some(("Stripe-Signature", value)) => value.clone_into(&mut signature),
                    Some(("Content-Length", value)) => length = value.parse().unwrap(),
                    _ => (),
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            (&stream)
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .unwrap();
            if sender.send((signature, body)).is_err() {
                return;
            }
        }
    });
    (address, receiver)
}

#[tokio::test]
async fn webhooks_are_believed_by_their_signature() {
    let Some(provider) = LocalStripe::start() else { return };
    let stripe = provider.stripe();
    let (address, webhooks) = listen();
    let form = format!("url=http://{address}/&secret={WEBHOOK_SECRET}&events[]=payment_intent.succeeded");
    provider.post("/_config/webhooks/one", &form);
    let card = provider.card("4242424242424242").await;
    let taken = stripe.capture(&charge(&card, "x"), "nothing-1").await.unwrap();
    let (signature, body) = webhooks.recv_timeout(PATIENCE).unwrap();
    let signed_at: i64 = signature
        .split(',')
        .find_map(|item| item.strip_prefix("t="))
        .and_then(|text| text.parse().ok())
        .unwrap();
    let notice = stripe.read_notice(&signature, &body, signed_at + 2).unwrap().unwrap();
    assert_eq!(notice.reference, taken.reference);
    assert_eq!(notice.what, Noticed::Collected(Amount::new(5000).unwrap()));
    assert!(notice.event.starts_with("evt_"), "{}", notice.event);
    assert!(stripe.read_notice(&signature, &body, signed_at + 301).is_err());
    assert!(stripe.read_notice(&signature, &body[1..], signed_at).is_err());
}

#[tokio::test]
async fn a_wrong_key_is_the_operators_to_mend() {
    let Some(provider) = LocalStripe::start() else { return };
    let settings = StripeSettings {
        // localstripe knows a key by `sk_`; a restricted one is wrong to it.
        secret_key: "rk_test_not_known".to_owned(),
        webhook_secret: None,
        base_url: format!("http://{}", provider.address),
        timeout: PATIENCE,
    };
    let stripe = Stripe::new(&settings).unwrap();
    let card = NewCard {
        token: "pm_card_visa".to_owned(),
        member: MemberNumber(5),
        email: "taro@example.com".parse().unwrap(),
        name: "Taro".to_owned(),
    };
    let error = stripe.check_card(&card).await.unwrap_err();
    assert!(matches!(error, PaymentError::Misconfigured(_)), "{error}");
}
