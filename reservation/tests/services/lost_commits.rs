//! Connections to PostgreSQL that are cut at a COMMIT, before it arrives or before its answer does: each command comes back
//! as done, and has been done once.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering::SeqCst},
};

use slotcast_core::words::{ChannelNumber, Seats, Toll};
use slotcast_reservation::{
    domain::{
        member::MemberKind,
        reservation::{CancelledBy, State},
        words::ReservationNumber,
    },
    service::{
        ChannelEdit, MemberEdit, NewOperator, OperatorEdit, Premium, ProgramEdit, Registration, Scopes,
        WebhookEdit,
    },
    store::Pickup,
};
use slotcast_reservation_testing::service::*;
use slotcast_testing::postgres;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const NEVER: u8 = 0;
const BEFORE: u8 = 1;
const AFTER: u8 = 2;
/// A COMMIT as the driver sends it: a simple query.
const COMMIT: &[u8] = b"COMMIT\0";

/// Stands between a store and its server. Cuts the next connection that commits, once each time it is armed.
#[derive(Clone, Default)]
struct Proxy(Arc<AtomicU8>);

impl Proxy {
    /// Returns the port at which it listens for the server at `to`.
    async fn start(&self, to: String) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = self.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (proxy, to) = (proxy.clone(), to.clone());
                tokio::spawn(async move { proxy.carry(client, TcpStream::connect(to).await.unwrap()).await });
            }
        });
        port
    }

    async fn carry(&self, mut client: TcpStream, mut server: TcpStream) {
        let (mut asked, mut answered) = (vec![0; 65536], vec![0; 65536]);
        loop {
            tokio::select! {
                read = client.read(&mut asked) => {
                    let Ok(read @ 1..) = read else { return };
                    let commits = asked[..read].windows(COMMIT.len()).any(|part| part == COMMIT);
                    let cut = if commits { self.0.swap(NEVER, SeqCst) } else { NEVER };
                    if cut == BEFORE || server.write_all(&asked[..read]).await.is_err() {
                        return;
                    }
                    if cut == AFTER {
                        // The answer comes once it is on the disk; nobody is told.
                        let _ = server.read(&mut answered).await;
                        return;
                    }
                }
                read = server.read(&mut answered) => {
                    let Ok(read @ 1..) = read else { return };
                    if client.write_all(&answered[..read]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// A world behind the proxy, and the proxy.
async fn behind_a_proxy(server: &postgres::Postgres) -> (World, Proxy) {
    let place = server.new_database();
    let (head, rest) = place.split_once('@').unwrap();
    let (at, database) = rest.split_once('/').unwrap();
    let proxy = Proxy::default();
    let port = proxy.start(at.to_owned()).await;
    let place = format!("{head}@127.0.0.1:{port}/{database}");
    (World::at(&place, rules(), wall("2026-12-01T12:00:00Z")).await, proxy)
}

/// Every command in one life of a program, each at its COMMIT cut in that way.
async fn live_through(cut: u8) {
    let Some(server) = postgres::shared() else { return };
    let (world, proxy) = behind_a_proxy(server).await;
    let (service, actor, operator) = (&world.service, world.actor(1).await, world.actor(4).await);
    let arm = || proxy.0.store(cut, SeqCst);
    let was_cut = |what: &str| assert_eq!(proxy.0.load(SeqCst), NEVER, "{what} never committed");
    let version = async |number: ReservationNumber| world.found(number).await.version;

    arm();
    let held = world.book("2026-12-02T00:00:00Z", 1).await.unwrap();
    was_cut("book");
    assert_eq!(service.my_channel(&actor).await.unwrap().open.len(), 1, "booked once");
    arm();
    let accepted = service.accept_terms(&actor, held.number).await.unwrap();
    was_cut("accept");
    assert_eq!((accepted.state, version(held.number).await), (State::Registered, 2));
    arm();
    let reissued = service.reissue_id(&actor, held.number).await.unwrap();
    was_cut("reissue");
    assert_eq!((reissued.id_issue, version(held.number).await), (2, 3));
    arm();
    let edit = ProgramEdit { title: Some("The lake".to_owned()), ..ProgramEdit::default() };
    let changed = service.change(&actor, held.number, Some(3), edit.clone()).await.unwrap();
    was_cut("change");
    assert_eq!((changed.program.title.as_str(), version(held.number).await), ("The lake", 4));
    // Asked again by a client that was told nothing: it is as was asked.
    service.change(&actor, held.number, Some(3), edit).await.unwrap();
    assert_eq!(version(held.number).await, 4);
    arm();
    let confirmed = world.reconfirm(&changed).await.unwrap();
    was_cut("reconfirm");
    assert_eq!((confirmed.state, world.payments.done.lock().len()), (State::Confirmed, 1));
    world.clock.set(wall("2026-12-02T00:05:00Z"));
    world.turn().await;
    arm();
    let longer = service.extend(&actor, held.number, 1, None).await.unwrap();
    was_cut("extend");
    assert_eq!(longer.window.end(), wall("2026-12-02T00:20:00Z"));
    assert_eq!(world.found(held.number).await.window, longer.window, "longer once");
    arm();
    let ended = service.end_early(&actor, held.number).await.unwrap();
    was_cut("end");
    assert!(matches!(ended.state, State::Finished(_)), "{ended:?}");
    arm();
    let other = world.registered("2026-12-03T00:00:00Z", 1).await;
    was_cut("a second booking");
    arm();
    let cancelled = service.cancel(&actor, other.number, None).await.unwrap();
    was_cut("cancel");
    assert_eq!(cancelled.state, State::Cancelled(CancelledBy::Member));

    arm();
    let token =
        service.make_token(&actor, "player", Scopes::of_token("read").unwrap(), 24 * HOUR).await.unwrap();
    was_cut("a token");
    assert!(service.actor_of_token(&token.secret).await.is_ok(), "its secret is right");
    arm();
    service.end_token(&actor, "player").await.unwrap();
    was_cut("its end");
    arm();
    let edit = MemberEdit { name: Some("Hanako".to_owned()), ..MemberEdit::default() };
    let me = service.me(&actor).await.unwrap();
    let edited = service.edit_me(&actor, Some(me.version), edit, "192.0.2.1".parse().unwrap()).await.unwrap();
    was_cut("an edit");
    assert_eq!((edited.name.as_str(), edited.version), ("Hanako", me.version + 1));
    let new_channel = ChannelEdit {
        number: ChannelNumber(9),
        name: "channel9".parse().unwrap(),
        seats: Seats::new(10).unwrap(),
        class: "2Mbit/s".parse().unwrap(),
        toll: Toll(9),
        gather: None,
    };
    arm();
    let channel = service.put_channel(&operator, new_channel, None).await.unwrap();
    was_cut("a channel");
    assert_eq!(channel.version, 1);
}

/// What members and operators do beside programs, each at its COMMIT cut in that way.
async fn manage_through(cut: u8) {
    let Some(server) = postgres::shared() else { return };
    let (world, proxy) = behind_a_proxy(server).await;
    let (service, operator, here) = (&world.service, world.actor(4).await, "192.0.2.1".parse().unwrap());
    let arm = || proxy.0.store(cut, SeqCst);
    let was_cut = |what: &str| assert_eq!(proxy.0.load(SeqCst), NEVER, "{what} never committed");
    let registration = Registration {
        user_id: "taro".to_owned(),
        name: "Taro".to_owned(),
        reading: "Taro".to_owned(),
        email: "taro@example.com".to_owned(),
        password: "correct horse".to_owned(),
        ..Registration::default()
    };
    arm();
    let member = service.register(registration, here).await.unwrap();
    was_cut("register");
    arm();
    let session = service.log_in("taro", "correct horse", here).await.unwrap();
    was_cut("log in");
    let actor = service.actor_of_session(&session.token).await.unwrap();
    let premium = Premium {
        address: "1-1 Example".to_owned(),
        phone: "03-1234-5678".to_owned(),
        card_token: "pm_good".to_owned(),
        ..Premium::default()
    };
    arm();
    let upgraded = service.upgrade(&actor, premium).await.unwrap();
    was_cut("upgrade");
    assert_eq!((upgraded.kind, upgraded.version), (MemberKind::Premium, member.version + 1));
    arm();
    service.change_password(&actor, "correct horse", "battery staple").await.unwrap();
    was_cut("a password");
    assert!(service.log_in("taro", "battery staple", here).await.is_ok());
    arm();
    service.forgot_password("taro", here).await.unwrap();
    was_cut("a forgotten password");
    arm();
    service.ask_verification(&actor).await.unwrap();
    was_cut("a verification");
    arm();
    service.log_out(&session.token).await.unwrap();
    was_cut("log out");
    assert!(service.actor_of_session(&session.token).await.is_err());

    arm();
    let special = service.book_special(&operator, draft(2, "2026-12-05T00:00:00Z", 1), None).await.unwrap();
    was_cut("a special program");
    let pickup = Pickup { reservation: special.number, note: "Look".to_owned(), position: 1 };
    arm();
    service.put_pickup(&operator, pickup).await.unwrap();
    was_cut("a pickup");
    assert_eq!(service.pickups(None).await.unwrap().len(), 1);
    arm();
    service.end_pickup(&operator, special.number).await.unwrap();
    was_cut("its end");
    arm();
    let cancelled = service.operator_cancel(&operator, special.number, Some(special.version)).await.unwrap();
    was_cut("an operator's cancellation");
    assert_eq!(cancelled.version, special.version + 1, "once");
    let blocked = OperatorEdit { is_blocked: Some(true), ..OperatorEdit::default() };
    arm();
    let edited =
        service.edit_member(&operator, member.number, Some(upgraded.version + 1), blocked).await.unwrap();
    was_cut("a block");
    assert_eq!((edited.is_blocked, edited.version), (true, upgraded.version + 2));
    let known = service.channels().await.unwrap();
    let new = ChannelEdit {
        number: ChannelNumber(8),
        name: "channel8".parse().unwrap(),
        seats: Seats::new(1).unwrap(),
        class: "64kbit/s".parse().unwrap(),
        toll: Toll(1),
        gather: None,
    };
    arm();
    service.add_channels(vec![new]).await.unwrap();
    was_cut("channels of the file");
    assert_eq!(service.channels().await.unwrap().len(), known.len() + 1);
    arm();
    let retired = service.retire_channel(&operator, ChannelNumber(8), Some(1)).await.unwrap();
    was_cut("a channel's end");
    assert_eq!((retired.is_retired, retired.version), (true, 2));
    let link = service.mail_stop_url(&friend());
    arm();
    service.stop_mails(link.rsplit('/').next().unwrap()).await.unwrap();
    was_cut("a stop of mails");
    arm();
    service.erase_member(&operator, member.number).await.unwrap();
    was_cut("an erasure");
    let new = NewOperator {
        user_id: "second".to_owned(),
        name: "Second".to_owned(),
        email: "second@example.com".to_owned(),
        password: "a second operator's".to_owned(),
        replace: false,
    };
    arm();
    let made = service.create_operator(new).await.unwrap();
    was_cut("an operator");
    assert!(made.member.is_operator && made.before.is_none());
}

/// What operators do with webhooks, each at its COMMIT cut in that way.
async fn hook_through(cut: u8) {
    let Some(server) = postgres::shared() else { return };
    let (world, proxy) = behind_a_proxy(server).await;
    let (service, operator) = (&world.service, world.actor(4).await);
    let arm = || proxy.0.store(cut, SeqCst);
    let was_cut = |what: &str| assert_eq!(proxy.0.load(SeqCst), NEVER, "{what} never committed");
    let edit = WebhookEdit { url: Some("https://example.com/hook".to_owned()), ..WebhookEdit::default() };
    arm();
    let made = service.add_webhook(&operator, edit, None).await.unwrap();
    was_cut("a webhook");
    assert_eq!(service.webhooks(&operator).await.unwrap(), std::slice::from_ref(&made.webhook));
    let id = made.webhook.id;
    arm();
    let renewed = service.renew_webhook_secret(&operator, id).await.unwrap();
    was_cut("another secret");
    assert_eq!(renewed.webhook.issue, 2, "once");
    let edit = WebhookEdit { note: Some("Ours".to_owned()), ..WebhookEdit::default() };
    arm();
    let edited = service.edit_webhook(&operator, id, edit).await.unwrap();
    was_cut("a note");
    assert_eq!(service.webhooks(&operator).await.unwrap(), [edited]);
    arm();
    let event = service.test_webhook(&operator, id).await.unwrap();
    was_cut("a trial");
    arm();
    service.replay(&operator, id, &event).await.unwrap();
    was_cut("a replay");
    assert_eq!(service.deliveries(&operator, id, ALL).await.unwrap().items.len(), 1, "once");
    arm();
    service.end_webhook(&operator, id).await.unwrap();
    was_cut("the webhook's end");
    assert!(service.webhooks(&operator).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_with_webhooks_when_its_commit_never_arrived_is_done_once() {
    hook_through(BEFORE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_with_webhooks_when_its_commits_answer_was_lost_is_done_once() {
    hook_through(AFTER).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_managed_when_its_commit_never_arrived_is_done_once() {
    manage_through(BEFORE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_whose_commit_never_arrived_are_carried_out_once() {
    live_through(BEFORE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_whose_commits_answer_was_lost_are_carried_out_once() {
    live_through(AFTER).await;
}
