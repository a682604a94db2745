//! The Stripe client against a stand-in that records every question and answers as it is told: keys, repeats, lapsed
//! holds, and answers that are late, too long, broken or from the wrong place.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use slotcast_reservation::{
    domain::{
        effects::PaymentKind,
        member::{Card, CardQuestion},
        words::{Amount, MemberNumber, ReservationNumber},
    },
    payments::{
        CardCheck, Moved, Movement, NewCard, PaymentError, Payments,
        stripe::{Stripe, StripeSettings},
    },
};

const KEY: &str = "sk_test_do_not_show_me_123";
const SECRET: &str = "seti_1_secret_of_the_member";
const EMPTY_LIST: &str = r#"{"object":"list","data":[]}"#;

/// One question as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Asked {
    fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path.split('?').next() == Some(path)
    }

    fn key(&self) -> Option<&str> {
        self.headers.get("idempotency-key").map(String::as_str)
    }

    /// The value of a pair of the body, where it needs no decoding.
    fn value(&self, name: &str) -> Option<&str> {
        self.body.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

/// What the stand-in does.
enum Reply {
    Json(u16, String),
    /// Sends these bytes and hangs up.
    Raw(String),
    /// Sends these bytes, then nothing, until the client hangs up.
    RawThenNothing(String),
    /// More than anybody wants to read.
    Endless,
}

fn ok(body: &str) -> Reply {
    Reply::Json(200, body.to_owned())
}

fn refusal(status: u16, kind: &str, code: &str, message: &str) -> Reply {
    let body = format!(r#"{{"error":{{"type":"{kind}","code":"{code}","message":"{message}"}}}}"#);
    Reply::Json(status, body)
}

fn error(kind: &str, code: &str) -> String {
    format!(r#"{{"error":{{"type":"{kind}","code":"{code}","message":"No."}}}}"#)
}

fn intent(id: &str, status: &str, key: &str) -> String {
    format!(
        r#"{{"id":"{id}","status":"{status}","currency":"isk","last_payment_error":null,
            "metadata":{{"slotcast_key":"{key}","slotcast_reservation":"77"}}}}"#
    )
}

fn list(items: &[String]) -> String {
    format!(r#"{{"object":"list","data":[{}]}}"#, items.join(","))
}

type Script = dyn Fn(&Asked, usize) -> Reply + Send + Sync;

/// A name or path, and what is answered there.
type Case = (&'static str, fn() -> Reply);

/// A stand-in for Stripe on a free port of this machine.
struct Fake {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    is_over: Arc<AtomicBool>,
}

impl Fake {
    /// `script`: what to answer to a question, given how many came before.
    fn start(script: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let script: Arc<Script> = Arc::new(script);
        let (all, over) = (Arc::clone(&asked), Arc::clone(&is_over));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (script, all) = (Arc::clone(&script), Arc::clone(&all));
                // A client that hangs up is part of the test.
                thread::spawn(move || stream.and_then(|stream| answer(stream, &*script, &all)));
            }
        });
        Self { address, asked, is_over }
    }

    fn stripe(&self, timeout_ms: u64) -> Stripe {
        let settings = StripeSettings {
            secret_key: KEY.to_owned(),
            webhook_secret: None,
            base_url: format!("http://{}", self.address),
            timeout: Duration::from_millis(timeout_ms),
        };
        Stripe::new(&settings).unwrap()
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The questions that do something.
    fn done(&self) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.method == "POST").collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn answer(mut stream: TcpStream, script: &Script, all: &Mutex<Vec<Asked>>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    let Some(asked) = read_question(&stream)? else { return Ok(()) };
    let reply = {
        let mut all = all.lock().unwrap();
        let before = all.len();
        all.push(asked.clone());
        script(&asked, before)
    };
    match reply {
        Reply::Json(status, body) => write!(
            stream,
            "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        ),
        Reply::Raw(text) => stream.write_all(text.as_bytes()),
        Reply::RawThenNothing(text) => {
            stream.write_all(text.as_bytes())?;
            stream.read(&mut [0]).map(drop)
        }
        Reply::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            (0..256).try_for_each(|_| stream.write_all(&[b' '; 1 << 16]))
        }
    }
}

fn read_question(stream: &TcpStream) -> std::io::Result<Option<Asked>> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Asked { method, path, headers, body: String::from_utf8(body).unwrap() }))
}

fn movement(kind: PaymentKind, hold: Option<&str>) -> Movement {
    Movement {
        key: format!("r77-{}", kind.name()),
        kind,
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
        hold: hold.map(str::to_owned),
    }
}

fn new_card(token: &str) -> NewCard {
    NewCard {
        token: token.to_owned(),
        member: MemberNumber(5),
        email: "taro@example.com".parse().unwrap(),
        name: "Yamada & 太郎".to_owned(),
    }
}

#[track_caller]
fn kept(check: Result<CardCheck, PaymentError>) -> Card {
    match check {
        Ok(CardCheck::Kept(card)) => card,
        other => panic!("{other:?}"),
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
    let done = fake.stripe(30_000).move_money(&movement(PaymentKind::Authorise, None)).await;
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
    let hold = movement(PaymentKind::Authorise, None);
    let first = stripe.move_money(&hold).await;
    assert!(matches!(first, Err(PaymentError::Unavailable(_))), "{first:?}");
    assert_eq!(stripe.move_money(&hold).await, moved("pi_1", false));
    let [first, second] = &fake.done()[..] else { panic!("{:?}", fake.done()) };
    assert_eq!(first, second);
    assert_eq!((first.key(), first.value("capture_method")), (Some("r77-authorise"), Some("manual")));
}

#[tokio::test]
async fn what_was_moved_under_a_key_is_never_moved_again_however_late() {
    for (kind, key, status, expected) in [
        (PaymentKind::Authorise, "r77-authorise", "requires_capture", moved("pi_old", false)),
        // Its hold is gone: it was charged anew.
        (PaymentKind::Capture, "r77-capture.anew", "succeeded", moved("pi_old", true)),
    ] {
        let known = list(&[intent("pi_other", "succeeded", "other"), intent("pi_old", status, key)]);
        let fake = Fake::start(move |_, _| ok(&known));
        assert_eq!(fake.stripe(30_000).move_money(&movement(kind, None)).await, expected);
        assert_eq!(fake.done(), []);
        assert_eq!(fake.asked()[0].path, "/v1/payment_intents?customer=cus_1&limit=100");
    }
}

#[tokio::test]
async fn nothing_is_charged_while_it_cannot_be_known_whether_it_was() {
    let fake = Fake::start(|_, _| refusal(500, "api_error", "", "oops"));
    let done = fake.stripe(30_000).move_money(&movement(PaymentKind::Capture, None)).await;
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
        let done = fake.stripe(300).move_money(&movement(PaymentKind::Authorise, None)).await;
        assert!(matches!(&done, Err(PaymentError::Unavailable(why)) if is_late(why)), "{name}: {done:?}");
    }
    let fake = Fake::start(|_, _| Reply::Endless);
    let done = fake.stripe(30_000).move_money(&movement(PaymentKind::Authorise, None)).await;
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
        let done = fake.stripe(30_000).move_money(&movement(PaymentKind::Authorise, None)).await;
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
    let done = stripe.move_money(&movement(PaymentKind::Authorise, None)).await;
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
    let done = fake.stripe(30_000).move_money(&movement(PaymentKind::Authorise, None)).await;
    assert!(matches!(&done, Err(PaymentError::Misconfigured(why)) if why.contains("redirect")), "{done:?}");
    assert_eq!(elsewhere.asked(), []);
}

#[tokio::test]
async fn declines_speak_to_the_member_and_wrong_keys_to_the_operator() {
    let fake = Fake::start(|asked, _| match asked.method.as_str() {
        "POST" => refusal(402, "card_error", "card_declined", "Your card has insufficient funds."),
        _ => ok(EMPTY_LIST),
    });
    let done = fake.stripe(30_000).move_money(&movement(PaymentKind::Authorise, None)).await;
    assert_eq!(done, Err(PaymentError::Declined("Your card has insufficient funds.".to_owned())));

    let fake = Fake::start(|_, _| {
        refusal(401, "invalid_request_error", "", &format!("Invalid API Key provided: {KEY}"))
    });
    let stripe = fake.stripe(30_000);
    let error = stripe.move_money(&movement(PaymentKind::Authorise, None)).await.unwrap_err();
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
    let capture = movement(PaymentKind::Capture, Some("pi_1"));
    for _ in 0..2 {
        assert_eq!(stripe.move_money(&capture).await, moved("pi_2", true));
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
        let done = fake.stripe(30_000).move_money(&movement(PaymentKind::Capture, Some("pi_1"))).await;
        assert_eq!(done, expected, "{code}");
    }
    let fake = Fake::start(|_, _| refusal(503, "api_error", "", "later"));
    let done = fake.stripe(30_000).move_money(&movement(PaymentKind::Capture, Some("pi_1"))).await;
    assert!(matches!(done, Err(PaymentError::Unavailable(_))), "{done:?}");
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn a_hold_whose_name_was_lost_is_found_by_its_reservation() {
    let fake = Fake::start(|asked, _| match asked.method.as_str() {
        "POST" => ok(&intent("pi_1", "succeeded", "-")),
        _ => ok(&list(&[
            intent("pi_0", "canceled", "r77-authorise"),
            intent("pi_1", "requires_capture", "r77-authorise"),
        ])),
    });
    let done = fake.stripe(30_000).move_money(&movement(PaymentKind::Capture, None)).await;
    assert_eq!(done, moved("pi_1", true));
    assert!(fake.done()[0].is("POST", "/v1/payment_intents/pi_1/capture"));
    let done = fake.stripe(30_000).move_money(&movement(PaymentKind::Release, None)).await;
    assert_eq!(done, moved("pi_1", false));
    assert!(fake.done()[1].is("POST", "/v1/payment_intents/pi_1/cancel"));
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
        let done = fake.stripe(30_000).move_money(&movement(PaymentKind::Release, Some("pi_1"))).await;
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
                r#"{"id":"re_0","status":"succeeded","metadata":{"slotcast_key":"back-0"}}"#.to_owned()
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
    let by_hand = stripe.refund("back-2", "invoice-r1-capture", amount).await;
    assert!(matches!(by_hand, Err(PaymentError::Declined(_))), "{by_hand:?}");
    let of_nothing = stripe.move_money(&movement(PaymentKind::Refund, None)).await;
    assert!(matches!(of_nothing, Err(PaymentError::Declined(_))), "{of_nothing:?}");
    assert_eq!(fake.done().len(), 1);
    assert_eq!(stripe.move_money(&movement(PaymentKind::Refund, Some("pi_1"))).await, moved("re_1", false));
    assert_eq!(fake.done()[1].key(), Some("r77-refund"));
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
    for kind in [PaymentKind::Authorise, PaymentKind::Refund] {
        let nothing = Movement { amount: Amount::ZERO, ..movement(kind, None) };
        let reference = format!("nothing-{}", nothing.key);
        assert_eq!(stripe.move_money(&nothing).await, moved(&reference, false));
    }
    assert_eq!(stripe.refund("back-1", "pi_1", Amount::ZERO).await, moved("nothing-back-1", false));
    let of_an_invoice = movement(PaymentKind::Release, Some("invoice-r77-authorise"));
    assert_eq!(stripe.move_money(&of_an_invoice).await, moved("nothing-r77-release", false));
    let fraction = Movement {
        amount: Amount::new(5124).unwrap(),
        currency: "KWD".parse().unwrap(),
        ..movement(PaymentKind::Authorise, None)
    };
    assert!(matches!(stripe.move_money(&fraction).await, Err(PaymentError::Misconfigured(_))));
    for token in [
        "4242424242424242",
        "4242 4242 4242 4242",
        "pm_4242424242424242",
        "tok_visa",
        "pm_1/../x",
        "seti_1/../x",
        SECRET,
    ] {
        let error = stripe.check_card(&new_card(token)).await.unwrap_err();
        assert!(matches!(error, PaymentError::Declined(_)), "{error}");
        assert!(!error.to_string().contains("4242") && !format!("{error:?}").contains("4242"), "{error:?}");
    }
    let named = NewCard { name: "Taro 4242-4242-4242-4242".to_owned(), ..new_card("pm_1") };
    assert!(matches!(stripe.check_card(&named).await, Err(PaymentError::Declined(_))));
    assert_eq!(fake.asked(), []);
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
    assert_eq!(done[0].value("name"), Some("Yamada%20%26%20%E5%A4%AA%E9%83%8E"));
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
    let failed = setup("requires_payment_method").replace(
        r#""last_setup_error":null"#,
        r#""last_setup_error":{"code":"setup_intent_authentication_failure","message":"You did not confirm."}"#,
    );
    for (setup, expected) in [
        (setup("requires_action"), Ok(the_question())),
        (setup("requires_confirmation"), Ok(the_question())),
        (failed, declined("You did not confirm.")),
        (setup("requires_payment_method"), declined("The card company declined the card.")),
        (setup("canceled"), declined("The check of the card was called off: fill in the card form again.")),
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

#[tokio::test]
async fn a_charge_that_the_card_company_wants_to_ask_about_is_declined() {
    let cases: [Case; 2] = [
        (
            "The card company wants to ask you about this payment, which cannot be done here: use another card.",
            || ok(&intent("pi_1", "requires_action", "-")),
        ),
        ("This payment needs authentication.", || {
            refusal(402, "card_error", "authentication_required", "This payment needs authentication.")
        }),
    ];
    for (why, reply) in cases {
        let fake = Fake::start(move |asked, _| match asked.method.as_str() {
            "POST" => reply(),
            _ => ok(EMPTY_LIST),
        });
        let done = fake.stripe(30_000).move_money(&movement(PaymentKind::Authorise, None)).await;
        assert_eq!(done, Err(PaymentError::Declined(why.to_owned())));
    }
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
