//! Registering cards with Stripe, against a stand-in: whose an entry is, what is kept, and cards whose company wants to
//! ask the member first (3-D Secure).

use crate::stripe::{Asked, Case, EMPTY_LIST, Fake, Reply, list, new_card, ok, refusal};
use slotcast_reservation::{
    domain::member::{Card, CardQuestion},
    payments::{CardCheck, PaymentError, Payments},
};

const SECRET: &str = "seti_1_secret_of_the_member";

#[track_caller]
fn kept(check: Result<CardCheck, PaymentError>) -> Card {
    match check {
        Ok(CardCheck::Kept(card)) => card,
        other => panic!("{other:?}"),
    }
}

/// Answers as for a card that is good, but for the first question that `other` has an answer for.
fn registering(other: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static) -> Fake {
    Fake::start(move |asked, _| {
        if let Some(reply) = other(asked) {
            reply
        } else if asked.path.starts_with("/v1/payment_methods/pm_1") {
            ok(r#"{"id":"pm_1","customer":null,
                "card":{"brand":"visa","last4":"4242","exp_month":12,"exp_year":2030}}"#)
        } else if asked.is("GET", "/v1/customers") {
            ok(EMPTY_LIST)
        } else if asked.is("POST", "/v1/customers") {
            ok(r#"{"id":"cus_new","email":"taro@example.com"}"#)
        } else if asked.is("POST", "/v1/setup_intents") {
            ok(r#"{"id":"seti_1","status":"requires_payment_method"}"#)
        } else {
            ok(r#"{"id":"seti_1","status":"succeeded"}"#)
        }
    })
}

#[tokio::test]
async fn a_card_is_kept_with_its_customer_once_the_card_company_agrees() {
    let fake = registering(|_| None);
    let stripe = fake.stripe(30_000);
    let card = kept(stripe.check_card(&new_card("pm_1")).await);
    assert_eq!(
        (card.token.as_str(), card.brand.as_str(), card.last_four.as_str(), card.expires),
        ("cus_new:pm_1", "visa", "4242", Some((2030, 12)))
    );
    let done = fake.done();
    let paths: Vec<_> = done.iter().map(|asked| asked.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "/v1/customers",
            "/v1/payment_methods/pm_1/attach",
            "/v1/setup_intents",
            "/v1/setup_intents/seti_1/confirm"
        ]
    );
    assert_eq!(done[0].value("name"), Some("Yamada+%26+%E5%A4%AA%E9%83%8E"));
    assert_eq!(done[0].value("metadata%5Bslotcast_member%5D"), Some("5"));
    assert_eq!(done[2].value("usage"), Some("off_session"));
    let key = done[0].key().unwrap().to_owned();
    assert!(key.starts_with("member-5-"), "{key}");
    kept(stripe.check_card(&new_card("pm_1")).await);
    assert_eq!(fake.done()[4].key(), Some(key.as_str()));
}

#[tokio::test]
async fn a_member_has_one_customer() {
    let fake = registering(|asked| {
        asked.is("GET", "/v1/customers").then(|| {
            ok(&list(&[
                r#"{"id":"cus_4","email":"taro@example.com","metadata":{"slotcast_member":"4"}}"#.to_owned(),
                r#"{"id":"cus_5","email":"taro@example.com","metadata":{"slotcast_member":"5"}}"#.to_owned(),
            ]))
        })
    });
    let card = kept(fake.stripe(30_000).check_card(&new_card("pm_1")).await);
    assert_eq!(card.token, "cus_5:pm_1");
    assert_eq!(fake.asked()[1].path, "/v1/customers?email=taro%40example.com&limit=100");
}

#[tokio::test]
async fn a_card_entry_of_somebody_else_is_refused_and_ones_own_is_taken_again() {
    for (email, expected) in [("Taro@Example.com", Some("cus_9:pm_1")), ("hanako@example.com", None)] {
        let fake = registering(move |asked| {
            if asked.is("GET", "/v1/payment_methods/pm_1") {
                Some(ok(r#"{"id":"pm_1","customer":"cus_9",
                    "card":{"brand":"visa","last4":"4242","exp_month":12,"exp_year":2030}}"#))
            } else if asked.is("GET", "/v1/customers/cus_9") {
                Some(ok(&format!(r#"{{"id":"cus_9","email":"{email}"}}"#)))
            } else {
                None
            }
        });
        let card = fake.stripe(30_000).check_card(&new_card("pm_1")).await;
        match expected {
            Some(token) => assert_eq!(kept(card).token, token),
            None => {
                assert!(matches!(card, Err(PaymentError::Declined(_))), "{card:?}");
                assert_eq!(fake.done(), []);
            }
        }
    }
}

#[tokio::test]
async fn cards_that_cannot_be_charged_later_are_not_kept() {
    let cases: [Case; 5] = [
        ("/v1/payment_methods/pm_1", || refusal(404, "invalid_request_error", "resource_missing", "None.")),
        ("/v1/payment_methods/pm_1", || ok(r#"{"id":"pm_1","customer":null,"card":null}"#)),
        ("/v1/setup_intents/seti_1/confirm", || ok(r#"{"id":"seti_1","status":"requires_payment_method"}"#)),
        ("/v1/setup_intents/seti_1/confirm", || ok(r#"{"id":"seti_1","status":"canceled"}"#)),
        ("/v1/setup_intents/seti_1/confirm", || refusal(402, "card_error", "card_declined", "No.")),
    ];
    for (path, reply) in cases {
        let fake = registering(move |asked| (asked.path == path).then(reply));
        let card = fake.stripe(30_000).check_card(&new_card("pm_1")).await;
        assert!(matches!(card, Err(PaymentError::Declined(_))), "{path}: {card:?}");
    }
}

/// A SetupIntent of member 5 with `cus_5` and `pm_1`, as its client secret allows to see.
fn setup(status: &str) -> String {
    format!(
        r#"{{"id":"seti_1","status":"{status}","client_secret":"{SECRET}","customer":"cus_5",
            "payment_method":"pm_1","metadata":{{"slotcast_member":"5"}},"last_setup_error":null}}"#
    )
}

/// Answers about `setup`, and about the Customer and the card that are named there.
fn after_the_question(setup: String, email: &'static str, owner: &'static str) -> Fake {
    registering(move |asked| {
        if asked.is("GET", "/v1/setup_intents/seti_1") {
            Some(ok(&setup))
        } else if asked.is("GET", "/v1/customers/cus_5") {
            Some(ok(&format!(r#"{{"id":"cus_5","email":"{email}"}}"#)))
        } else if asked.is("GET", "/v1/payment_methods/pm_1") {
            Some(ok(&format!(
                r#"{{"id":"pm_1","customer":"{owner}",
                    "card":{{"brand":"visa","last4":"3220","exp_month":12,"exp_year":2030}}}}"#
            )))
        } else {
            None
        }
    })
}

fn the_question() -> CardCheck {
    CardCheck::Ask(CardQuestion { reference: "seti_1".to_owned(), client_secret: SECRET.to_owned() })
}

#[tokio::test]
async fn what_the_card_company_wants_to_ask_is_handed_on() {
    let fake = registering(|asked| {
        asked.is("POST", "/v1/setup_intents/seti_1/confirm").then(|| ok(&setup("requires_action")))
    });
    let check = fake.stripe(30_000).check_card(&new_card("pm_1")).await.unwrap();
    assert_eq!(check, the_question());
    assert!(!format!("{check:?}").contains(SECRET), "{check:?}");
    let done = fake.done();
    assert_eq!(done[2].value("metadata%5Bslotcast_member%5D"), Some("5"), "{}", done[2].body);
    assert_eq!(done[3].value("use_stripe_sdk"), Some("true"), "{}", done[3].body);
}

#[tokio::test]
async fn a_card_is_kept_once_its_question_is_answered() {
    let fake = after_the_question(setup("succeeded"), "Taro@example.com", "cus_5");
    let stripe = fake.stripe(30_000);
    for _ in 0..2 {
        let card = kept(stripe.check_card(&new_card("seti_1")).await);
        assert_eq!((card.token.as_str(), card.last_four.as_str()), ("cus_5:pm_1", "3220"));
    }
    assert_eq!(fake.done(), []);
    assert!(fake.asked().iter().all(|asked| !asked.path.contains("secret")), "{:?}", fake.asked());
}

#[tokio::test]
async fn a_question_that_is_not_answered_well_keeps_no_card() {
    let declined = |why: &str| Err(PaymentError::Declined(why.to_owned()));
    let unavailable = |why: &str| Err(PaymentError::Unavailable(why.to_owned()));
    let strange = "it names things as Stripe does not";
    let unfinished = "The check of the card was not finished: fill in the card form again.";
    let failed = setup("requires_payment_method").replace(
        r#""last_setup_error":null"#,
        r#""last_setup_error":{"code":"setup_intent_authentication_failure","message":"You did not confirm."}"#,
    );
    for (setup, expected) in [
        (setup("requires_action"), Ok(the_question())),
        (setup("requires_confirmation"), declined(unfinished)),
        (failed, declined("You did not confirm.")),
        (setup("requires_payment_method"), declined("The card company declined the card.")),
        (setup("canceled"), declined(unfinished)),
        (setup("something_new"), declined("The card company declined the card.")),
        (setup("processing"), unavailable("the card is still being checked")),
        (setup("requires_action").replace(SECRET, "seti_2_secret_x"), unavailable(strange)),
        (setup("requires_action").replace("client_secret", "other"), unavailable(strange)),
        (setup("succeeded").replace("pm_1", "src_1"), unavailable(strange)),
    ] {
        let fake = after_the_question(setup.clone(), "taro@example.com", "cus_5");
        let check = fake.stripe(30_000).check_card(&new_card("seti_1")).await;
        assert_eq!(check, expected, "{setup}");
        assert!(!format!("{check:?}").contains(SECRET), "{check:?}");
        assert_eq!(fake.done(), []);
    }
}

#[tokio::test]
async fn somebody_elses_question_is_refused_as_one_that_is_not_there() {
    let unknown = registering(|asked| {
        let is_there = asked.is("GET", "/v1/setup_intents/seti_1");
        is_there.then(|| refusal(404, "invalid_request_error", "resource_missing", "No such setupintent."))
    });
    let expected = unknown.stripe(30_000).check_card(&new_card("seti_1")).await;
    assert!(matches!(expected, Err(PaymentError::Declined(_))), "{expected:?}");
    for status in ["succeeded", "requires_action", "requires_payment_method", "canceled", "processing"] {
        for foreign in [
            setup(status).replace(r#""slotcast_member":"5""#, r#""slotcast_member":"6""#),
            setup(status).replace(r#""slotcast_member":"5""#, ""),
            setup(status).replace(r#""cus_5""#, "null"),
            setup(status).replace(r#""id":"seti_1""#, r#""id":"seti_2""#),
        ] {
            let fake = after_the_question(foreign.clone(), "taro@example.com", "cus_5");
            assert_eq!(fake.stripe(30_000).check_card(&new_card("seti_1")).await, expected, "{foreign}");
            assert_eq!(fake.asked().len(), 1, "{foreign}");
        }
        let fake = after_the_question(setup(status), "hanako@example.com", "cus_5");
        assert_eq!(fake.stripe(30_000).check_card(&new_card("seti_1")).await, expected, "{status}");
    }
    let fake = after_the_question(setup("succeeded"), "taro@example.com", "cus_6");
    assert_eq!(fake.stripe(30_000).check_card(&new_card("seti_1")).await, expected);
}
