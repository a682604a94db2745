//! What is told of programs: in order, once, to whom it is for, and the newest figures to whoever is slow.

use std::net::IpAddr;

use serde_json::Value;
use slotcast_core::words::OpenLevel;
use slotcast_reservation::{
    domain::{
        event::{Event, EventKind},
        refusal::Refusal,
        reservation::{ProgramPassword, Reservation},
        words::ReservationNumber,
    },
    hub::Subscription,
    limits::{COMMENT_EVERY, EVENTS_KEPT, LISTENERS_PER_ADDRESS_MAX},
    service::{Actor, EventFilter, ProgramEdit},
    streaming::{Link, LinkEnd},
};
use slotcast_reservation_testing::service::*;

const ALL_OF_THEM: EventFilter = EventFilter { program: None, today: false, mine: false };

fn here() -> IpAddr {
    "192.0.2.1".parse().unwrap()
}

/// Who listens, and what the messages that came so far say.
struct Ear {
    heard: Subscription,
    last: String,
}

/// One message: the name of its event, and its data.
type Message = (String, Value);

impl Ear {
    fn new(world: &World, actor: Option<&Actor>, filter: EventFilter, after: Option<&str>) -> Self {
        let heard = world.service.events(actor, filter, after, here()).unwrap();
        Self { heard, last: String::new() }
    }

    fn one(&mut self) -> Option<Message> {
        loop {
            let text = String::from_utf8(self.heard.take()?.to_vec()).unwrap();
            assert!(text.ends_with("\n\n"), "{text:?}");
            let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            self.last = line("id: ").unwrap_or_else(|| self.last.clone());
            if let (Some(name), Some(data)) = (line("event: "), line("data: ")) {
                return Some((name, serde_json::from_str(&data).unwrap()));
            }
        }
    }

    fn all(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.one()).collect()
    }

    /// What happened, figures left out.
    fn names(&mut self) -> Vec<String> {
        self.all().into_iter().map(|(name, _)| name).filter(|name| name != "live").collect()
    }
}

/// A program of member 1 that runs from its start to `2026-12-02T00:10:06Z`, and is charged.
async fn run(world: &World, program: &Reservation) {
    world.turn().await;
    world.clock.set(wall("2026-12-01T23:56:00Z"));
    world.turn().await;
    world.clock.set(wall("2026-12-02T00:00:00Z"));
    world.turn().await;
    world.broadcast(program.number, wall("2026-12-02T00:10:06Z"), 1).await;
    world.service.do_due().await.unwrap();
    world.service.do_due().await.unwrap();
}

#[tokio::test]
async fn a_program_is_told_in_order_and_each_event_once() {
    let world = World::new().await;
    let operator = world.actor(4).await;
    let mut ear = Ear::new(&world, Some(&operator), ALL_OF_THEM, None);
    let program = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    run(&world, &program).await;
    let told = ear.all();
    let told: Vec<_> = told.into_iter().filter(|(name, _)| name != "live").collect();
    let names: Vec<_> = told.iter().map(|(name, _)| name.as_str()).collect();
    let expected = ["booked", "reconfirmed", "starting", "started", "link_up", "ending", "ended", "charged"];
    assert_eq!(names, expected);
    for (name, event) in &told {
        assert_eq!(
            (&event["type"], &event["data"]["title"]),
            (&Value::from(name.as_str()), &"The sea".into())
        );
        assert_eq!(event["data"]["number"], program.number.0);
        assert_eq!(event["data"]["amount"], if name == "charged" { 2000.into() } else { Value::Null });
    }
    let mut ids: Vec<_> = told.iter().map(|(_, event)| event["id"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), expected.len());
}

#[tokio::test]
async fn everybody_hears_what_is_for_them() {
    let world = World::new().await;
    let [owner, other, operator] = [world.actor(1).await, world.actor(2).await, world.actor(4).await];
    let mut anybody = Ear::new(&world, None, ALL_OF_THEM, None);
    let mut others = [
        Ear::new(&world, Some(&other), ALL_OF_THEM, None),
        Ear::new(&world, Some(&operator), EventFilter { mine: true, ..ALL_OF_THEM }, None),
    ];
    let mut members = Ear::new(&world, Some(&owner), EventFilter { mine: true, ..ALL_OF_THEM }, None);
    let mut operators = Ear::new(&world, Some(&operator), ALL_OF_THEM, None);
    let program = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    let secret = world.registered("2026-12-02T01:00:00Z", 1).await;
    let edit = ProgramEdit {
        open_level: Some(OpenLevel::Secret),
        password: Some(ProgramPassword("sesame".to_owned())),
        ..ProgramEdit::default()
    };
    world.service.change(&owner, secret.number, None, edit).await.unwrap();
    let secret = world.found(secret.number).await;
    world.reconfirm(&secret).await.unwrap();
    let mut of_secret =
        Ear::new(&world, None, EventFilter { program: Some(secret.number), ..ALL_OF_THEM }, None);
    world.service.cancel(&owner, secret.number, None).await.unwrap();
    run(&world, &program).await;

    let public = anybody.all();
    let names: Vec<_> = public.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "live").collect();
    assert_eq!(
        names,
        ["reconfirmed", "starting", "started", "ending", "ended"],
        "nothing before it is listed"
    );
    for (name, said) in public {
        let data = if name == "live" { &said } else { &said["data"] };
        assert_eq!(data["number"], program.number.0, "secret ones are nobody's business");
        for private in ["member", "amount", "bit_rate", "link"] {
            assert_eq!(data[private], Value::Null, "{name}");
        }
    }
    assert_eq!(of_secret.all(), []);
    assert_eq!(others[0].names(), names_of(&["reconfirmed", "starting", "started", "ending", "ended"]));
    assert_eq!(others[1].all(), [], "an operator's own are none");
    let all = [
        "booked",
        "reconfirmed",
        "booked",
        "reconfirmed",
        "cancelled",
        "charged",
        "starting",
        "started",
        "link_up",
        "ending",
        "ended",
        "charged",
    ];
    assert_eq!(members.names(), names_of(&all));
    assert_eq!(operators.names(), names_of(&all));
    let refused = world.service.events(None, EventFilter { mine: true, ..ALL_OF_THEM }, None, here());
    assert_eq!(refusal(refused), Refusal::NotLoggedIn);
}

fn names_of(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn public_programs_of_members_only_are_told_to_members() {
    let world = World::new().await;
    let service = world.service_by(|rules| rules.public_to_members_only = true);
    let member = world.actor(2).await;
    let mut anybody = service.events(None, ALL_OF_THEM, None, here()).unwrap();
    let mut heard = Ear::new(&world, Some(&member), ALL_OF_THEM, None);
    world.confirmed("2026-12-02T00:00:00Z", 1).await;
    assert_eq!(heard.names(), ["reconfirmed"]);
    assert!(anybody.take().is_some_and(|opening| opening.starts_with(b"retry: ")));
    assert_eq!(anybody.take(), None);
}

#[tokio::test]
async fn a_page_that_comes_back_hears_what_it_missed() {
    let world = World::new().await;
    let mut first = Ear::new(&world, None, ALL_OF_THEM, None);
    assert_eq!(first.all(), []);
    let before = first.last.clone();
    drop(first);
    world.confirmed("2026-12-02T00:00:00Z", 1).await;
    let mut again = Ear::new(&world, None, ALL_OF_THEM, Some(&before));
    assert_eq!(again.names(), ["reconfirmed"]);
    let last = again.last.clone();
    assert_eq!(Ear::new(&world, None, ALL_OF_THEM, Some(&last)).all(), []);
    for strange in ["", "0-1", "nonsense", "ffffffff-99999999999999999999", &format!("{last}0")] {
        let mut ear = Ear::new(&world, None, ALL_OF_THEM, Some(strange));
        assert_eq!(ear.names(), ["reset"], "{strange:?}");
        assert_eq!(ear.last, last);
    }
}

#[tokio::test]
async fn who_is_slow_is_told_to_look_and_costs_nobody_anything() {
    let world = World::new().await;
    let mut slow = Ear::new(&world, None, ALL_OF_THEM, None);
    let mut quick = Ear::new(&world, None, ALL_OF_THEM, None);
    let events: Vec<_> = {
        let program = world.confirmed("2026-12-02T00:00:00Z", 1).await;
        let kind = EventKind::Started;
        let event = |name: usize| Event::new(kind, &program, &name.to_string(), world.clock.now());
        (0..EVENTS_KEPT).map(event).collect()
    };
    let mut heard = quick.names().len();
    for some in events.chunks(1000) {
        let mut tx = world.store.begin().await.unwrap();
        tx.add_events(some).await.unwrap();
        tx.commit().await.unwrap();
        heard += quick.names().len();
    }
    assert_eq!(heard, EVENTS_KEPT + 1);
    assert_eq!(slow.names(), ["reset"]);
    assert_eq!(slow.last, quick.last);
}

#[tokio::test]
async fn what_is_not_committed_is_told_to_nobody() {
    let world = World::new().await;
    let operator = world.actor(4).await;
    let mut ear = Ear::new(&world, Some(&operator), ALL_OF_THEM, None);
    let program = world.registered("2026-12-02T00:00:00Z", 1).await;
    assert_eq!(ear.names(), ["booked"]);
    let mut tx = world.store.begin().await.unwrap();
    let kind = EventKind::Started;
    let event = Event::new(kind, &program, "1", world.clock.now());
    tx.add_events(&[event]).await.unwrap();
    drop(tx);
    assert_eq!(ear.all(), []);
}

#[tokio::test]
async fn figures_come_when_they_change_and_only_the_newest() {
    let world = World::new().await;
    let program = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    let owner = world.actor(1).await;
    let filter = EventFilter { program: Some(program.number), ..ALL_OF_THEM };
    let [mut anybody, mut mine] =
        [Ear::new(&world, None, filter, None), Ear::new(&world, Some(&owner), filter, None)];
    world.turn().await;
    world.clock.set(wall("2026-12-02T00:00:00Z"));
    world.turn().await;
    let look = async |viewers, bit_rate| {
        world.clock.pass(SECOND);
        world.streaming.send(program.number, viewers);
        world.streaming.live.lock().get_mut(&program.number).unwrap().bit_rate = bit_rate;
        world.service.observe().await.unwrap();
    };
    let live = |ear: &mut Ear| {
        let all = ear.all().into_iter().filter(|(name, _)| name == "live");
        all.map(|(_, data)| data).collect::<Vec<_>>()
    };
    assert_eq!(live(&mut anybody).len(), 1, "before anybody sends");
    assert_eq!(live(&mut mine).len(), 1);
    for viewers in [1, 2, 5] {
        look(viewers, 64_000).await;
    }
    let told = live(&mut anybody);
    let [last] = &told[..] else { panic!("only the newest: {told:?}") };
    assert_eq!(
        (&last["seats_left"], &last["is_open"], &last["is_on_air"]),
        (&0.into(), &false.into(), &true.into())
    );
    assert_eq!(live(&mut mine).last().unwrap()["bit_rate"], 64_000);
    look(5, 64_000).await;
    assert!(live(&mut anybody).is_empty() && live(&mut mine).is_empty(), "nothing has changed");
    look(5, 63_000).await;
    assert!(live(&mut anybody).is_empty(), "the rate is for the broadcaster");
    assert_eq!(live(&mut mine)[0]["bit_rate"], 63_000);
    look(4, 63_000).await;
    let mut late = Ear::new(&world, None, ALL_OF_THEM, None);
    assert_eq!(live(&mut late)[0]["seats_left"], 1, "whoever comes sees how it is");
    let mut elsewhere =
        Ear::new(&world, None, EventFilter { program: Some(ReservationNumber(1)), ..ALL_OF_THEM }, None);
    assert_eq!(elsewhere.all(), []);
}

#[tokio::test]
async fn links_are_told_with_the_reason_of_their_end_even_if_the_store_was_away() {
    let world = World::new().await;
    let program = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    world.clock.set(wall("2026-12-02T00:00:00Z"));
    world.turn().await;
    let operator = world.actor(4).await;
    let mut ear = Ear::new(&world, Some(&operator), ALL_OF_THEM, None);
    world.streaming.send(program.number, 1);
    world.service.observe().await.unwrap();
    assert_eq!(ear.names(), ["link_up"]);
    world.is_down.store(true, std::sync::atomic::Ordering::SeqCst);
    let end = |reason, at| LinkEnd { at: wall(at), reason, fault: "broadcaster", text: "It did.".to_owned() };
    let set = |link, last_end| {
        let mut live = world.streaming.live.lock();
        let live = live.get_mut(&program.number).unwrap();
        (live.link, live.last_end) = (link, Some(last_end));
    };
    set(Link::Absent, end("class_exceeded", "2026-12-02T00:00:05Z"));
    world.service.observe().await.unwrap_err();
    set(Link::OnAir, end("taken_over", "2026-12-02T00:00:09Z"));
    world.service.observe().await.unwrap_err();
    assert_eq!(ear.names(), [] as [&str; 0]);
    world.is_down.store(false, std::sync::atomic::Ordering::SeqCst);
    world.service.observe().await.unwrap();
    let told: Vec<_> = ear.all().into_iter().filter(|(name, _)| name != "live").collect();
    let told: Vec<_> =
        told.iter().map(|(name, event)| (name.as_str(), event["data"]["reason"].as_str())).collect();
    let expected = [
        ("class_exceeded", Some("class_exceeded")),
        ("link_down", Some("class_exceeded")),
        ("link_down", Some("taken_over")),
        ("link_up", None),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn one_address_has_only_so_many_ears() {
    let world = World::new().await;
    let mut ears: Vec<_> =
        (0..LISTENERS_PER_ADDRESS_MAX).map(|_| Ear::new(&world, None, ALL_OF_THEM, None)).collect();
    let refused = refusal(world.service.events(None, ALL_OF_THEM, None, here()));
    assert!(matches!(refused, Refusal::TooMany { .. }), "{refused:?}");
    world.service.events(None, ALL_OF_THEM, None, "192.0.2.2".parse().unwrap()).unwrap();
    ears.pop();
    Ear::new(&world, None, ALL_OF_THEM, None);
}

#[tokio::test]
async fn a_comment_comes_where_nothing_else_does() {
    let world = World::new().await;
    let mut heard = world.service.events(None, ALL_OF_THEM, None, here()).unwrap();
    assert!(heard.next().await.starts_with(b"retry: "));
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    assert_eq!(&heard.next().await[..], b":\n\n");
    assert_eq!(before.elapsed().as_secs(), COMMENT_EVERY.as_secs());
}
