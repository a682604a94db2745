//! The Stripe client against a stand-in that records every question and answers as it is told: keys, repeats, lapsed
//! holds, and answers that are late, too long, broken or from the wrong place.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
    time::Duration,
};

use crate::stripe::{Case, EMPTY_LIST, Fake, KEY, Reply, error, intent, list, new_card, ok, refusal};
use slotcast_reservation::{
    domain::{
        member::Card,
        words::{Amount, MemberNumber, ReservationNumber},
    },
    payments::{
        Charge, Moved, NewCard, PaymentError, Payments,
        stripe::{Stripe, StripeSettings},
    },
};

fn charge(name: &str) -> Charge {
    Charge {
        key: format!("r77-{name}"),
        reservation: ReservationNumber(77),
        member: MemberNumber(5),
        card: Card {
            token: "cus_1:pm_1".to_owned(),
            brand: "visa".to_owned(),
            last_four: "4242".to_owned(),
            expires: Some((2030, 12)),
        },
        amount: Amount::new(5000).unwrap(),
        currency: "JPY".parse().unwrap(),
        is_present: false,
        begun: None,
    }
}

fn moved(reference: &str, is_collected: bool) -> Result<Moved, PaymentError> {
    Ok(Moved { reference: reference.to_owned(), is_collected })
}

#[tokio::test]
async fn a_hold_is_asked_for_with_everything_that_stripe_needs() {
    let fake = Fake::start(|asked, _| match asked.method.as_str() {
        "POST" => ok(&intent("pi_1", "requires_capture", "-")),
        _ => ok(EMPTY_LIST),
    });
    let done = fake.stripe(30_000).authorise(&charge("authorise")).await;
    assert_eq!(done, moved("pi_1", false));
    let [asked] = &fake.done()[..] else { panic!("{:?}", fake.done()) };
    assert!(asked.is("POST", "/v1/payment_intents"));
    assert_eq!(asked.key(), Some("r77-authorise"));
    assert_eq!(asked.headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(asked.headers["stripe-version"], "2024-06-20");
    for (name, value) in [
        ("amount", "5000"),
        ("currency", "jpy"),
        ("customer", "cus_1"),
        ("payment_method", "pm_1"),
        ("capture_method", "manual"),
        ("confirm", "true"),
        ("off_session", "true"),
        ("metadata%5Bslotcast_key%5D", "r77-authorise"),
        ("metadata%5Bslotcast_reservation%5D", "77"),
    ] {
        assert_eq!(asked.value(name), Some(value), "{name} in {}", asked.body);
    }
}

#[tokio::test]
async fn a_repeat_after_a_lost_answer_is_the_same_question_under_the_same_key() {
    let fake = Fake::start(|asked, before| match (asked.method.as_str(), before) {
        ("POST", 1) => Reply::Raw(String::new()),
        ("POST", _) => ok(&intent("pi_1", "requires_capture", "-")),
        _ => ok(EMPTY_LIST),
    });
    let stripe = fake.stripe(30_000);
    let hold = charge("authorise");
    let first = stripe.authorise(&hold).await;
    assert!(matches!(first, Err(PaymentError::Unavailable(_))), "{first:?}");
    assert_eq!(stripe.authorise(&hold).await, moved("pi_1", false));
    let [first, second] = &fake.done()[..] else { panic!("{:?}", fake.done()) };
    assert_eq!(first, second);
    assert_eq!((first.key(), first.value("capture_method")), (Some("r77-authorise"), Some("manual")));
}

#[tokio::test]
async fn what_was_moved_under_a_key_is_never_moved_again_however_late() {
    let known = |status: &str, key: &str| {
        let known = list(&[intent("pi_other", "succeeded", "other"), intent("pi_old", status, key)]);
        Fake::start(move |_, _| ok(&known))
    };
    let held = known("requires_capture", "r77-authorise");
    assert_eq!(held.stripe(30_000).authorise(&charge("authorise")).await, moved("pi_old", false));
    // Its hold is gone: it was charged anew.
    let taken = known("succeeded", "r77-capture.anew");
    assert_eq!(taken.stripe(30_000).capture(&charge("capture"), "nothing-1").await, moved("pi_old", true));
    for fake in [held, taken] {
        assert_eq!(fake.done(), []);
        assert_eq!(fake.asked()[0].path, "/v1/payment_intents?customer=cus_1&limit=100");
    }
}

#[tokio::test]
async fn nothing_is_charged_while_it_cannot_be_known_whether_it_was() {
    let fake = Fake::start(|_, _| refusal(500, "api_error", "", "oops"));
    let done = fake.stripe(30_000).capture(&charge("capture"), "nothing-1").await;
    assert!(matches!(done, Err(PaymentError::Unavailable(_))), "{done:?}");
    assert_eq!(fake.done(), []);
}

#[tokio::test]
async fn answers_that_are_late_long_or_broken_are_no_answers() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{";
    let late: [(&str, &'static str); 3] =
        [("no answer", ""), ("half a head", "HTTP/1.1 200 OK\r\nConte"), ("slow body", head)];
    for (name, text) in late {
        let fake = Fake::start(move |_, _| Reply::RawThenNothing(text.to_owned()));
        let done = fake.stripe(300).authorise(&charge("authorise")).await;
        assert!(matches!(&done, Err(PaymentError::Unavailable(why)) if is_late(why)), "{name}: {done:?}");
    }
    let fake = Fake::start(|_, _| Reply::Endless);
    let done = fake.stripe(30_000).authorise(&charge("authorise")).await;
    assert!(matches!(&done, Err(PaymentError::Unavailable(why)) if why.contains("limit")), "{done:?}");
    let broken: [Case; 5] = [
        ("cut body", || Reply::Raw("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{".to_owned())),
        ("hung up", || Reply::Raw(String::new())),
        ("no HTTP", || Reply::Raw("220 mail.example.com ESMTP\r\n".to_owned())),
        ("no JSON", || ok("<html>welcome</html>")),
        ("other JSON", || ok(r#"{"id":7}"#)),
    ];
    for (name, reply) in broken {
        let fake = Fake::start(move |_, _| reply());
        let done = fake.stripe(30_000).authorise(&charge("authorise")).await;
        assert!(matches!(&done, Err(PaymentError::Unavailable(why)) if !is_late(why)), "{name}: {done:?}");
    }
}

fn is_late(why: &str) -> bool {
    why.starts_with("no answer within")
}

#[tokio::test]
async fn nothing_is_told_to_a_server_that_does_not_show_who_it_is() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let settings = StripeSettings {
        secret_key: KEY.to_owned(),
        webhook_secret: None,
        base_url: format!("https://{address}"),
        timeout: Duration::from_secs(30),
    };
    let stripe = match Stripe::new(&settings) {
        Ok(stripe) => stripe,
        // A machine without root certificates says so at once.
        Err(error) => return assert!(error.to_string().contains("root"), "{error}"),
    };
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut said = vec![0; 1 << 14];
        let length = stream.read(&mut said).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        said.truncate(length);
        said
    });
    let done = stripe.authorise(&charge("authorise")).await;
    assert!(matches!(&done, Err(PaymentError::Unavailable(why)) if !is_late(why)), "{done:?}");
    let said = server.join().unwrap();
    // The first record of TLS is a handshake (RFC 8446 §5.1).
    assert_eq!(said.first(), Some(&22));
    assert!(!said.windows(KEY.len()).any(|part| part == KEY.as_bytes()));
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Fake::start(|_, _| ok(EMPTY_LIST));
    let target = elsewhere.address;
    let fake = Fake::start(move |_, _| {
        Reply::Raw(format!(
            "HTTP/1.1 302 Found\r\nLocation: http://{target}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ))
    });
    let done = fake.stripe(30_000).authorise(&charge("authorise")).await;
    assert!(matches!(&done, Err(PaymentError::Misconfigured(why)) if why.contains("redirect")), "{done:?}");
    assert_eq!(elsewhere.asked(), []);
}

#[tokio::test]
async fn declines_speak_to_the_member_and_wrong_keys_to_the_operator() {
    let fake = Fake::start(|asked, _| match asked.method.as_str() {
        "POST" => refusal(402, "card_error", "card_declined", "Your card has insufficient funds."),
        _ => ok(EMPTY_LIST),
    });
    let done = fake.stripe(30_000).authorise(&charge("authorise")).await;
    assert_eq!(done, Err(PaymentError::Declined("Your card has insufficient funds.".to_owned())));

    let fake = Fake::start(|_, _| {
        refusal(401, "invalid_request_error", "", &format!("Invalid API Key provided: {KEY}"))
    });
    let stripe = fake.stripe(30_000);
    let error = stripe.authorise(&charge("authorise")).await.unwrap_err();
    assert!(matches!(&error, PaymentError::Misconfigured(why) if why.contains("Invalid API Key")), "{error}");
    for text in [error.to_string(), format!("{error:?}"), format!("{stripe:?}")] {
        assert!(!text.contains(KEY), "{text}");
    }
}

#[tokio::test]
async fn a_lapsed_hold_is_charged_anew_under_a_key_of_its_own() {
    let fake = Fake::start(|asked, _| {
        if asked.is("POST", "/v1/payment_intents/pi_1/capture") {
            refusal(400, "invalid_request_error", "payment_intent_unexpected_state", "It is canceled.")
        } else if asked.is("GET", "/v1/payment_intents/pi_1") {
            ok(&intent("pi_1", "canceled", "r77-authorise"))
        } else if asked.is("POST", "/v1/payment_intents") {
            ok(&intent("pi_2", "succeeded", "-"))
        } else {
            ok(EMPTY_LIST)
        }
    });
    let stripe = fake.stripe(30_000);
    for _ in 0..2 {
        assert_eq!(stripe.capture(&charge("capture"), "pi_1").await, moved("pi_2", true));
    }
    let keys: Vec<_> = fake.done().iter().map(|asked| asked.key().map(str::to_owned)).collect();
    let key = |text: &str| Some(text.to_owned());
    assert_eq!(
        keys,
        [key("r77-capture"), key("r77-capture.anew"), key("r77-capture"), key("r77-capture.anew")]
    );
    assert_eq!(fake.done()[0].value("amount_to_capture"), Some("5000"));
    assert_eq!(fake.done()[1].value("capture_method"), Some("automatic"));
}

#[tokio::test]
async fn a_capture_that_cannot_be_is_judged_by_what_became_of_the_hold() {
    for (code, status, expected) in [
        ("payment_intent_unexpected_state", "succeeded", moved("pi_1", true)),
        ("charge_expired_for_capture", "requires_capture", moved("pi_2", true)),
        (
            "amount_too_large",
            "requires_capture",
            Err(PaymentError::Misconfigured("it answers 400: No. (amount_too_large)".to_owned())),
        ),
    ] {
        let fake = Fake::start(move |asked, _| {
            if asked.is("POST", "/v1/payment_intents/pi_1/capture") {
                refusal(400, "invalid_request_error", code, "No.")
            } else if asked.is("GET", "/v1/payment_intents/pi_1") {
                ok(&intent("pi_1", status, "r77-authorise"))
            } else if asked.is("POST", "/v1/payment_intents") {
                ok(&intent("pi_2", "succeeded", "-"))
            } else {
                ok(EMPTY_LIST)
            }
        });
        let done = fake.stripe(30_000).capture(&charge("capture"), "pi_1").await;
        assert_eq!(done, expected, "{code}");
    }
    let fake = Fake::start(|_, _| refusal(503, "api_error", "", "later"));
    let done = fake.stripe(30_000).capture(&charge("capture"), "pi_1").await;
    assert!(matches!(done, Err(PaymentError::Unavailable(_))), "{done:?}");
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn letting_go_of_what_is_gone_is_done() {
    for (status, expected) in [
        ("canceled", moved("pi_1", false)),
        ("succeeded", Err(PaymentError::Declined("The amount was collected already.".to_owned()))),
    ] {
        let fake = Fake::start(move |asked, _| match asked.method.as_str() {
            "POST" => refusal(400, "invalid_request_error", "payment_intent_unexpected_state", "No."),
            _ => ok(&intent("pi_1", status, "r77-authorise")),
        });
        let done = fake.stripe(30_000).release("r77-release", "pi_1").await;
        assert_eq!(done, expected);
        assert_eq!(fake.done()[0].key(), Some("r77-release"));
    }
}

#[tokio::test]
async fn a_refund_is_in_the_units_of_what_was_collected_and_given_once() {
    let fake = Fake::start(|asked, _| {
        if asked.is("POST", "/v1/refunds") {
            ok(r#"{"id":"re_1","status":"succeeded"}"#)
        } else if asked.is("GET", "/v1/refunds") {
            ok(&list(&[
                r#"{"id":"re_0","status":"succeeded","metadata":{"slotcast_key":"back-0"}}"#.to_owned(),
                r#"{"id":"re_f","status":"failed","failure_reason":"declined","metadata":{"slotcast_key":"back-f"}}"#
                    .to_owned(),
            ]))
        } else {
            ok(&intent("pi_1", "succeeded", "-"))
        }
    });
    let stripe = fake.stripe(30_000);
    let amount = Amount::new(5).unwrap();
    assert_eq!(stripe.refund("back-1", "pi_1", amount).await, moved("re_1", false));
    assert_eq!(stripe.refund("back-0", "pi_1", amount).await, moved("re_0", false));
    let [asked] = &fake.done()[..] else { panic!("{:?}", fake.done()) };
    assert_eq!(
        (asked.key(), asked.value("payment_intent"), asked.value("amount")),
        (Some("back-1"), Some("pi_1"), Some("500"))
    );
    assert_eq!(
        stripe.refund("back-f", "pi_1", amount).await,
        Err(PaymentError::CameBack("The card company did not take the refund (declined).".to_owned()))
    );
    let by_hand = stripe.refund("back-2", "invoice-r1-capture", amount).await;
    assert!(matches!(by_hand, Err(PaymentError::Declined(_))), "{by_hand:?}");
    assert_eq!(fake.done().len(), 1);
}

#[tokio::test]
async fn a_refund_that_can_never_be_is_declined_and_any_other_is_tried_again() {
    let no_code = r#"{"error":{"type":"invalid_request_error","message":"Refund amount (¥9) is too much"}}"#;
    let cases: [(u16, String, bool); 4] = [
        (400, no_code.to_owned(), true),
        (400, error("invalid_request_error", "charge_already_refunded"), true),
        (400, error("invalid_request_error", "balance_insufficient"), false),
        (500, error("api_error", ""), false),
    ];
    for (status, body, is_for_good) in cases {
        let told = body.clone();
        let fake = Fake::start(move |asked, _| {
            if asked.is("POST", "/v1/refunds") {
                Reply::Json(status, body.clone())
            } else if asked.is("GET", "/v1/refunds") {
                ok(EMPTY_LIST)
            } else {
                ok(&intent("pi_1", "succeeded", "-"))
            }
        });
        let done = fake.stripe(30_000).refund("back-1", "pi_1", Amount::new(9).unwrap()).await;
        assert_eq!(matches!(done, Err(PaymentError::Declined(_))), is_for_good, "{told}: {done:?}");
        assert!(done.is_err(), "{told}: {done:?}");
    }
}

#[tokio::test]
async fn nothing_needless_and_no_card_number_is_sent() {
    let fake = Fake::start(|_, _| ok(EMPTY_LIST));
    let stripe = fake.stripe(30_000);
    let of_an_invoice = stripe.release("r77-release", "invoice-r77-authorise").await;
    assert_eq!(of_an_invoice, moved("nothing-r77-release", false));
    let (amount, currency) = (Amount::new(5124).unwrap(), "KWD".parse().unwrap());
    let fraction = Charge { amount, currency, ..charge("authorise") };
    assert!(matches!(stripe.authorise(&fraction).await, Err(PaymentError::Misconfigured(_))));
    for token in [
        "4242424242424242",
        "4242 4242 4242 4242",
        "pm_4242424242424242",
        "tok_visa",
        "pm_1/../x",
        "seti_1/../x",
        "seti_1_secret_x",
    ] {
        let error = stripe.check_card(&new_card(token)).await.unwrap_err();
        assert!(matches!(error, PaymentError::Declined(_)), "{error}");
        assert!(!error.to_string().contains("4242") && !format!("{error:?}").contains("4242"), "{error:?}");
    }
    let named = NewCard { name: "Taro 4242-4242-4242-4242".to_owned(), ..new_card("pm_1") };
    assert!(matches!(stripe.check_card(&named).await, Err(PaymentError::Declined(_))));
    assert_eq!(fake.asked(), []);
}

#[tokio::test]
async fn a_charge_without_the_member_that_the_card_company_wants_to_ask_about_is_called_off_and_declined() {
    let cases: [(Case, usize); 2] = [
        (
            ("The card company wants to ask you about this payment: pay while you are there.", || {
                ok(&intent("pi_1", "requires_action", "-"))
            }),
            2,
        ),
        (
            ("This payment needs authentication.", || {
                refusal(402, "card_error", "authentication_required", "This payment needs authentication.")
            }),
            1,
        ),
    ];
    for ((why, reply), done) in cases {
        let fake = Fake::start(move |asked, _| match asked.method.as_str() {
            "POST" if asked.is("POST", "/v1/payment_intents/pi_1/cancel") => {
                ok(&intent("pi_1", "canceled", "-"))
            }
            "POST" => reply(),
            _ => ok(EMPTY_LIST),
        });
        let answer = fake.stripe(30_000).authorise(&charge("authorise")).await;
        assert_eq!(answer, Err(PaymentError::Declined(why.to_owned())));
        assert_eq!(fake.done().len(), done, "{why}");
    }
}

/// A PaymentIntent as the member's browser may see it.
fn asking(status: &str, method: &str) -> String {
    format!(
        r#"{{"id":"pi_1","status":"{status}","currency":"jpy","client_secret":"pi_1_secret_2",
            "payment_method":"{method}","last_payment_error":null}}"#
    )
}

#[tokio::test]
async fn a_member_who_is_there_is_asked_and_the_same_payment_is_taken_up_afterwards() {
    let fake = Fake::start(|asked, _| match asked.method.as_str() {
        "POST" => ok(&asking("requires_action", "pm_1")),
        _ => ok(EMPTY_LIST),
    });
    let there = Charge { is_present: true, ..charge("authorise") };
    let Err(PaymentError::Asks(question)) = fake.stripe(30_000).authorise(&there).await else {
        panic!("the member is not asked");
    };
    assert_eq!((question.reference.as_str(), question.client_secret.as_str()), ("pi_1", "pi_1_secret_2"));
    assert_eq!(fake.done()[0].value("use_stripe_sdk"), Some("true"));
    assert_eq!(fake.done()[0].value("off_session"), None);

    let again = Charge { begun: Some(question.reference.clone()), ..there };
    let declined = |why: &str| Err(PaymentError::Declined(why.to_owned()));
    let other_card = "That was asked about another card and is called off: try once more with this one.";
    for (status, method, expected, is_called_off) in [
        ("requires_action", "pm_1", Err(PaymentError::Asks(question.clone())), false),
        ("requires_capture", "pm_1", moved("pi_1", false), false),
        ("requires_payment_method", "", declined("The card company declined the card."), true),
        ("requires_action", "pm_2", declined(other_card), true),
    ] {
        let fake = Fake::start(move |asked, _| match asked.method.as_str() {
            "POST" => ok(&asking("canceled", method)),
            _ => ok(&asking(status, method)),
        });
        assert_eq!(fake.stripe(30_000).authorise(&again).await, expected, "{status} {method}");
        let done: Vec<_> = fake.done().iter().map(|asked| asked.path.clone()).collect();
        let called_off = ["/v1/payment_intents/pi_1/cancel".to_owned()];
        assert_eq!(done, if is_called_off { &called_off[..] } else { &[] }, "{status} {method}");
    }
}

#[tokio::test]
async fn a_payment_that_went_through_while_it_was_called_off_is_done() {
    let fake = Fake::start(|asked, before| match asked.method.as_str() {
        "POST" => refusal(400, "invalid_request_error", "payment_intent_unexpected_state", "No."),
        _ if before == 0 => ok(&asking("requires_action", "pm_1")),
        _ => ok(&asking("succeeded", "pm_1")),
    });
    let late = Charge { begun: Some("pi_1".to_owned()), ..charge("capture") };
    assert_eq!(fake.stripe(30_000).capture(&late, "pi_0").await, moved("pi_1", true));
}

#[test]
fn settings_that_cannot_work_are_refused_at_the_start_and_secrets_never_shown() {
    let settings = StripeSettings {
        secret_key: KEY.to_owned(),
        webhook_secret: Some("whsec_do_not_show_me".to_owned()),
        base_url: "http://127.0.0.1:1".to_owned(),
        timeout: Duration::from_secs(5),
    };
    let stripe = Stripe::new(&settings).unwrap();
    for text in [format!("{settings:?}"), format!("{stripe:?}")] {
        assert!(!text.contains("do_not_show_me"), "{text}");
        assert!(text.contains("127.0.0.1"), "{text}");
    }
    for wrong in [
        StripeSettings { secret_key: "pk_test_do_not_show_me".to_owned(), ..settings.clone() },
        StripeSettings { webhook_secret: Some(String::new()), ..settings.clone() },
        StripeSettings { base_url: "http://api.stripe.com".to_owned(), ..settings.clone() },
        StripeSettings { timeout: Duration::ZERO, ..settings.clone() },
        StripeSettings { timeout: Duration::from_secs(3600), ..settings.clone() },
    ] {
        let error = Stripe::new(&wrong).unwrap_err();
        assert!(
            matches!(error, PaymentError::Misconfigured(_)) && !error.to_string().contains("do_not_show")
        );
    }
    let without = Stripe::new(&StripeSettings { webhook_secret: None, ..settings }).unwrap();
    assert!(matches!(without.read_notice("t=1,v1=00", b"{}", 1), Err(PaymentError::Misconfigured(_))));
}
