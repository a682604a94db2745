//! A program that is ended before its time: viewers, broadcaster and log are told who ended it.

use std::time::Duration;

use serde_json::json;
use slotcast_testing::{
    api::Client,
    bookings::{now_seconds, time_text},
    dialogue::{Dialogue, Reply},
    feeder::Feeder,
    players::Lower,
    provider::{Provider, SLOT},
    wait_for,
};

/// Ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(20);
const SDP: &str =
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=Tone\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\na=control:streamid=0\r\n";

/// Who may end a program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Member,
    Operator,
}

/// A program that is on air now: its member, its place in the API, its reservation ID.
#[track_caller]
fn confirm(provider: &mut Provider) -> (Client, String, String) {
    let member = provider.premium("taro");
    let start = now_seconds() / SLOT * SLOT;
    let wish = json!({
        "channel": 4,
        "window": { "start": time_text(start), "end": time_text(start + 10 * SLOT) },
        "program": { "title": "Evening concert", "open_level": "public" },
    });
    let booked = member.post("/reservations", &wish).expect(201);
    let place = format!("/reservations/{}", booked.body["number"]);
    member.post(&format!("{place}/accept-terms"), &json!({})).expect(200);
    let id = provider.mailed_id();
    provider.keep_secret(&id);
    member.post(&format!("{place}/reconfirm"), &json!({ "reservation_id": id })).expect(200);
    (member, place, id)
}

/// Connects as the broadcaster, as far as ANNOUNCE.
fn announce(provider: &Provider, id: &str) -> Reply {
    let url = format!("rtsp://{}/channel4?token={id}", provider.links);
    let content = [("Content-Type", "application/sdp")];
    Dialogue::connect(provider.links).request_with_body("ANNOUNCE", &url, &content, SDP)
}

/// A viewer who gets media.
#[track_caller]
fn watch(provider: &Provider) -> Dialogue {
    let url = format!("rtsp://{}/channel4", provider.viewers);
    let on_air = wait_for(PATIENCE, || {
        let mut viewer = Dialogue::connect(provider.viewers);
        (viewer.request("DESCRIBE", &url, &[]).status == 200).then_some(viewer)
    });
    let mut viewer = on_air.expect("the program comes on air");
    let transport = [("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1")];
    let setup = viewer.request("SETUP", &format!("{url}/streamid=0"), &transport).expect(200);
    viewer.request("PLAY", &url, &[("Session", &setup.session())]).expect(200);
    assert!(viewer.frame_within(PATIENCE).is_some(), "no media");
    viewer
}

#[track_caller]
fn check(by: By, reason: &str, fault: &str) {
    let room = tempfile::tempdir().unwrap();
    let mut provider = Provider::start(&room, "data", None);
    let (member, place, id) = confirm(&mut provider);
    let known = wait_for(PATIENCE, || (announce(&provider, &id).status == 200).then_some(()));
    assert!(known.is_some(), "the link side does not learn of the program");
    let feeder = Feeder::start_at(provider.links, "channel4", &id, Lower::Tcp);
    let mut viewer = watch(&provider);

    match by {
        By::Member => member.post(&format!("{place}/end"), &json!({})).expect(200),
        By::Operator => provider.operator().post(&format!("/operator{place}/cancel"), &json!({})).expect(200),
    };
    assert!(viewer.closes_within(PATIENCE), "the viewer is not told");
    let back = wait_for(PATIENCE, || {
        let answer = announce(&provider, &id);
        (answer.status != 200).then_some(answer)
    });
    let back = back.expect("the broadcaster who comes back is told");
    assert_eq!(back.status, 403, "{back:?}");
    assert!(back.reason.contains("ended early"), "{back:?}");

    let words = [format!("reason=\"{reason}\""), format!("fault=\"{fault}\"")];
    let said = |line: &str| words.iter().all(|word| line.contains(word.as_str()));
    let told =
        wait_for(PATIENCE, || (provider.log().iter().filter(|line| said(line)).count() >= 2).then_some(()));
    assert!(told.is_some(), "viewer and link are logged with {words:?}:\n{}", provider.log().join("\n"));
    drop(feeder);
}

#[test]
fn the_status_says_why_the_link_ended() {
    let room = tempfile::tempdir().unwrap();
    let mut provider = Provider::start(&room, "data", None);
    let (member, place, id) = confirm(&mut provider);
    let known = wait_for(PATIENCE, || (announce(&provider, &id).status == 200).then_some(()));
    assert!(known.is_some(), "the link side does not learn of the program");
    let status = || member.get(&format!("{place}/status")).expect(200).body;
    let ended = |reason: &str| {
        let mut last = status();
        let found = wait_for(PATIENCE, || {
            last = status();
            (last["last_end"]["reason"] == reason).then(|| last["last_end"].clone())
        });
        found.unwrap_or_else(|| panic!("no {reason} in {last:#}"))
    };
    assert!(status()["last_end"].is_null());
    let first = Feeder::start_at(provider.links, "channel4", &id, Lower::Tcp);
    let second = Feeder::start_at(provider.links, "channel4", &id, Lower::Tcp);
    let taken_over = ended("taken_over");
    assert!(taken_over["text"].as_str().unwrap().contains("close the other encoder"), "{taken_over}");
    assert_eq!((status()["link"].as_str(), &taken_over["fault"]), (Some("on_air"), &json!("broadcaster")));
    assert_eq!(status()["tracks"], json!([{ "kind": "audio", "state": "sent" }]));
    assert_eq!(status()["left_out"], 0);
    let reason = json!({ "reason": "breaks the terms" });
    provider
        .operator()
        .post(&format!("/operator/programs{}/link/kick", place.trim_start_matches("/reservations")), &reason)
        .expect(204);
    assert_eq!(ended("kicked")["fault"], "operator");
    drop((first, second));
}

#[test]
fn who_watches_and_who_sends_are_told_that_the_member_ended_the_program() {
    check(By::Member, "program_stopped", "broadcaster");
}

#[test]
fn a_program_that_the_operator_ended_is_called_withdrawn() {
    check(By::Operator, "program_withdrawn", "operator");
}
