//! Events on their way to the operator's webhooks: each once by its ID, in order for each program, whatever its receiver does.

use slotcast_core::time::WallTime;
use slotcast_reservation::{
    courier::HttpCourier,
    domain::{
        event::EventKind,
        refusal::{Refusal, Thing},
    },
    limits::{DELIVERY_GIVEN_UP_AFTER, WEBHOOKS_MAX},
    service::{Idempotency, MadeWebhook, WebhookEdit},
    store::Delivery,
};
use slotcast_reservation_testing::service::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::timeout,
};

const HERE: &str = "https://example.com/hook";

fn to(url: &str) -> WebhookEdit {
    WebhookEdit { url: Some(url.to_owned()), ..WebhookEdit::default() }
}

async fn add(world: &World, edit: WebhookEdit) -> MadeWebhook {
    world.service.add_webhook(&world.actor(4).await, edit, None).await.unwrap()
}

async fn deliveries(world: &World, id: i64) -> Vec<Delivery> {
    world.service.deliveries(&world.actor(4).await, id, ALL).await.unwrap().items
}

/// What the receiver's own reading of the scheme says of the newest parcel: signed by `secret`, and when.
#[track_caller]
fn check_signed(world: &World, made: &MadeWebhook, signatures: usize) {
    let came = world.courier.came.lock();
    let parcel = came.last().unwrap();
    let secret = world.vault.webhook_secret(made.webhook.id, made.webhook.issue);
    assert_eq!(secret.expose(), made.secret);
    let expected = secret.signature(&parcel.id, parcel.seconds, &parcel.body);
    let found: Vec<_> = parcel.signatures.split(' ').collect();
    assert!(found.contains(&expected.as_str()) && found.len() == signatures, "{found:?}");
    assert_eq!(WallTime::from_micros(parcel.seconds * 1_000_000), world.clock.now());
}

#[tokio::test]
async fn a_receiver_that_was_down_gets_each_event_once_and_in_order() {
    let world = World::new().await;
    let made = add(&world, to(HERE)).await;
    world.courier.answer(HERE, 503);
    let [one, two] =
        [world.confirmed("2026-12-02T00:00:00Z", 1).await, world.confirmed("2026-12-02T01:00:00Z", 1).await];
    assert_eq!(world.service.send_events().await.unwrap(), 2, "the first of each program");
    for status in [500, 404, 302, 429] {
        world.courier.answer(HERE, status);
        world.clock.pass(HOUR);
        assert_eq!(world.service.send_events().await.unwrap(), 2, "{status}");
    }
    world.courier.came.lock().clear();
    let waiting = deliveries(&world, made.webhook.id).await;
    assert_eq!(waiting[3].error.as_deref(), Some("answered 429"));
    assert_eq!((waiting[3].tries, waiting[2].tries), (5, 0), "who comes later waits");

    // Another process takes over.
    world.courier.answer(HERE, 200);
    world.clock.pass(HOUR);
    assert_eq!(world.another_service().send_events().await.unwrap(), 4);
    let ids = world.courier.ids(HERE);
    for program in [&one, &two] {
        let of_it: Vec<_> = ids.iter().filter(|id| id.contains(&program.number.to_string())).collect();
        let expected = [format!("booked-{}-1", program.number), format!("reconfirmed-{}-3", program.number)];
        assert_eq!(of_it, expected.iter().collect::<Vec<_>>());
    }
    assert_eq!(ids.len(), 4);
    check_signed(&world, &made, 1);
    assert_eq!(world.service.send_events().await.unwrap(), 0);
    assert!(deliveries(&world, made.webhook.id).await.iter().all(|sent| sent.done_at.is_some()));
}

#[tokio::test]
async fn nobody_waits_for_a_receiver_that_hangs() {
    let world = World::new().await;
    let slow = "https://slow.example.com/";
    add(&world, to(slow)).await;
    add(&world, to(HERE)).await;
    world.courier.answer(slow, 0);
    for start in ["2026-12-02T00:00:00Z", "2026-12-02T01:00:00Z", "2026-12-02T02:00:00Z"] {
        world.book(start, 1).await.unwrap();
    }
    let service = world.service.clone();
    let working = tokio::spawn(async move { service.send_events().await });
    let all_came = async {
        while world.courier.ids(HERE).len() < 3 {
            tokio::task::yield_now().await;
        }
    };
    timeout(20 * SECOND, all_came).await.expect("the other receiver hears of all");
    assert_eq!(world.courier.ids(slow), [] as [&str; 0]);
    working.abort();
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_asked_no_more() {
    let world = World::new().await;
    let made = add(&world, to(HERE)).await;
    let operator = world.actor(4).await;
    world.courier.answer(HERE, 410);
    world.confirmed("2026-12-02T00:00:00Z", 1).await;
    world.service.send_events().await.unwrap();
    world.book("2026-12-02T01:00:00Z", 1).await.unwrap();
    world.clock.pass(HOUR);
    assert_eq!(world.service.send_events().await.unwrap(), 0);
    let [webhook] = &world.service.webhooks(&operator).await.unwrap()[..] else { panic!("one") };
    assert_eq!(
        (webhook.is_on, webhook.off_reason.as_deref()),
        (false, Some("the receiver answered 410 Gone"))
    );
    let sent = deliveries(&world, made.webhook.id).await;
    assert_eq!(sent.len(), 2, "nothing is written for it while it is off");
    // What waited goes out once it is on again.
    world.courier.answer(HERE, 200);
    let on = WebhookEdit { is_on: Some(true), ..WebhookEdit::default() };
    let webhook = world.service.edit_webhook(&operator, made.webhook.id, on).await.unwrap();
    assert_eq!((webhook.is_on, webhook.off_reason), (true, None));
    assert_eq!(world.service.send_events().await.unwrap(), 1);
    assert!(world.courier.ids(HERE).last().unwrap().starts_with("reconfirmed-"));
}

#[tokio::test]
async fn an_event_is_given_up_after_three_days_and_can_be_sent_again() {
    let world = World::new().await;
    let made = add(&world, to(HERE)).await;
    let (operator, id) = (world.actor(4).await, made.webhook.id);
    world.courier.answer(HERE, 500);
    world.book("2026-12-20T00:00:00Z", 1).await.unwrap();
    let until = world.clock.now().saturating_add(DELIVERY_GIVEN_UP_AFTER);
    let mut tries = 0;
    while world.clock.now() <= until {
        tries += world.service.send_events().await.unwrap();
        world.clock.pass(HOUR);
    }
    let [sent] = &deliveries(&world, id).await[..] else { panic!("one") };
    assert_eq!((sent.next_at, sent.done_at, sent.error.as_deref()), (None, None, Some("answered 500")));
    assert_eq!((sent.tries, tries), (73, 73));
    world.courier.answer(HERE, 200);
    world.courier.came.lock().clear();
    let unknown = world.service.replay(&operator, id, "booked-1-1").await;
    assert_eq!(refusal(unknown), Refusal::NotFound(Thing::Delivery));
    for _ in 0..2 {
        world.service.replay(&operator, id, &sent.event).await.unwrap();
    }
    assert_eq!(world.service.send_events().await.unwrap(), 1);
    assert_eq!(world.courier.ids(HERE), [sent.event.as_str()]);
}

#[tokio::test]
async fn a_new_secret_signs_beside_the_old_one_for_a_day() {
    let world = World::new().await;
    let operator = world.actor(4).await;
    let first = add(&world, to(HERE)).await;
    let id = first.webhook.id;
    let second = world.service.renew_webhook_secret(&operator, id).await.unwrap();
    assert!(first.secret.starts_with("whsec_") && first.secret != second.secret);
    let tried = world.service.test_webhook(&operator, id).await.unwrap();
    world.service.send_events().await.unwrap();
    assert_eq!(world.courier.ids(HERE), [tried]);
    check_signed(&world, &second, 2);
    check_signed(&world, &first, 2);
    world.clock.pass(24 * HOUR);
    world.service.test_webhook(&operator, id).await.unwrap();
    world.service.send_events().await.unwrap();
    check_signed(&world, &second, 1);
}

#[tokio::test]
async fn webhooks_are_the_operators_and_few() {
    let world = World::new().await;
    let (member, operator) = (world.actor(1).await, world.actor(4).await);
    assert_eq!(refusal(world.service.add_webhook(&member, to(HERE), None).await), Refusal::NotOperator);
    assert_eq!(refusal(world.service.webhooks(&member).await), Refusal::NotOperator);
    let wrong = world.service.add_webhook(&operator, to("ftp://example.com/"), None).await;
    assert!(matches!(refusal(wrong), Refusal::Invalid(_)));
    let key = |hash| Some(Idempotency { key: "mine".to_owned(), request_hash: [hash; 32] });
    let made = world.service.add_webhook(&operator, to(HERE), key(1)).await.unwrap();
    assert_eq!(world.service.add_webhook(&operator, to(HERE), key(1)).await.unwrap(), made);
    let other = world.service.add_webhook(&operator, to(HERE), key(2)).await;
    assert_eq!(refusal(other), Refusal::KeyReused);
    for number in 1..WEBHOOKS_MAX {
        add(&world, to(&format!("{HERE}/{number}"))).await;
    }
    let more = world.service.add_webhook(&operator, to(HERE), None).await;
    assert!(matches!(refusal(more), Refusal::Invalid(_)));
    for _ in 0..2 {
        world.service.end_webhook(&operator, made.webhook.id).await.unwrap();
    }
    let again = world.service.add_webhook(&operator, to(HERE), key(1)).await;
    assert_eq!(refusal(again), Refusal::NotFound(Thing::Webhook), "what was ended is not made again");
    let gone = world.service.test_webhook(&operator, made.webhook.id).await;
    assert_eq!(refusal(gone), Refusal::NotFound(Thing::Webhook));
    assert_eq!(world.service.webhooks(&operator).await.unwrap().len() as u32, WEBHOOKS_MAX - 1);
}

#[tokio::test]
async fn money_is_sent_with_its_currency_and_only_what_is_wanted() {
    let world = World::new().await;
    let wanted = WebhookEdit { kinds: Some(vec![EventKind::Charged, EventKind::Refunded]), ..to(HERE) };
    add(&world, wanted).await;
    let program = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    let owner = world.actor(1).await;
    world.service.cancel(&owner, program.number, None).await.unwrap();
    world.work().await;
    let key = Some(Idempotency { key: "back".to_owned(), request_hash: [1; 32] });
    world.service.refund(&world.actor(4).await, program.number, None, "Sorry.", key).await.unwrap();
    world.work().await;
    world.service.send_events().await.unwrap();
    let came = world.courier.came.lock();
    let told: Vec<serde_json::Value> =
        came.iter().map(|parcel| serde_json::from_str(&parcel.body).unwrap()).collect();
    let told: Vec<_> =
        told.iter().map(|it| (&it["type"], &it["data"]["amount"], &it["data"]["currency"])).collect();
    let sum = serde_json::Value::from(2000);
    assert_eq!(told, [(&"charged".into(), &sum, &"JPY".into()), (&"refunded".into(), &sum, &"JPY".into())]);
}

/// Answers one request as `answer` says, and returns what came.
async fn receive(listener: &TcpListener, answer: &str) -> String {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut came = Vec::new();
    while !came.ends_with(b"}") {
        let mut bytes = [0; 4096];
        let read = socket.read(&mut bytes).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&came));
        came.extend_from_slice(&bytes[..read]);
    }
    socket.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8(came).unwrap()
}

#[tokio::test]
async fn over_http_redirects_are_not_followed_and_long_answers_not_read() {
    use slotcast_reservation::courier::{Courier as _, Parcel};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?a=b", listener.local_addr().unwrap());
    let courier = HttpCourier::new(vec!["127.0.0.0/8".parse().unwrap()], 20 * SECOND).unwrap();
    let parcel = Parcel {
        url: url.clone(),
        id: "booked-1-1".to_owned(),
        seconds: 1_800_000_000,
        signatures: "v1,a v1,b".to_owned(),
        body: "{}".to_owned(),
    };
    let endless = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\nand so on", u64::MAX / 2);
    for (answer, status) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", 204),
        ("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", 302),
        (&*endless, 200),
    ] {
        let (came, answered) = tokio::join!(receive(&listener, answer), courier.deliver(&parcel));
        assert_eq!(answered, Ok(status));
        let came = came.to_ascii_lowercase();
        assert!(came.starts_with("post /hook?a=b http/1.1\r\n"), "{came}");
        for header in
            ["webhook-id: booked-1-1", "webhook-timestamp: 1800000000", "webhook-signature: v1,a v1,b"]
        {
            assert!(came.contains(&format!("\r\n{header}\r\n")), "{came}");
        }
    }
    // Nobody answers: its time is limited.
    let short = HttpCourier::new(vec!["127.0.0.0/8".parse().unwrap()], SECOND / 10).unwrap();
    assert_eq!(short.deliver(&parcel).await, Err("no answer within 100ms".to_owned()));
    let strict = HttpCourier::new(Vec::new(), 20 * SECOND).unwrap();
    assert!(strict.deliver(&parcel).await.unwrap_err().contains("may not be reached"));
}
