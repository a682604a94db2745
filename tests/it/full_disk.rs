//! A disk that fills up under the running server: what it cannot keep it refuses, what it has confirmed stands and goes
//! on air, and once there is room again all is as before.

use std::{
    env,
    fs::{self, File},
    io::{self, Write},
    path::Path,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::json;
use slotcast_testing::{dialogue::Dialogue, provider::Provider, skip, wait_for};

const TEST: &str = "full_disk::a_full_disk_refuses_what_it_cannot_keep_and_loses_nothing";
const INSIDE: &str = "SLOTCAST_TEST_INSIDE";
const DISK_BYTES: u64 = 8 << 20;
/// What had room in files that were there already may still be written.
const TRIES: i64 = 40;
/// The length of a slot, in seconds.
const SLOT: i64 = 1;
/// Of a program, in seconds.
const LENGTH: i64 = 3;
/// Until the start, in seconds: the disk must be full by then.
const BEFORE: i64 = 6;
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_full_disk_refuses_what_it_cannot_keep_and_loses_nothing() {
    if env::var_os(INSIDE).is_some() {
        return inside();
    }
    // A disk of its own is a mount that nobody else sees.
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(if rustix::process::geteuid().is_root() { &["-m"][..] } else { &["-r", "-m"] });
        command
    };
    let probe = "mount -t tmpfs -o size=1m none \"$0\"";
    let room = tempfile::tempdir().unwrap();
    let may = unshare().args(["sh", "-c", probe]).arg(room.path()).output();
    if !may.is_ok_and(|output| output.status.success()) {
        skip("no disk can be mounted here (unshare and mount, as root or in a user namespace)");
        return;
    }
    let mut command = unshare();
    command.arg(env::current_exe().unwrap()).args(["--exact", TEST, "--nocapture"]).env(INSIDE, "yes");
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
}

/// Seconds since 1970.
fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

fn time(second: i64) -> String {
    jiff::Timestamp::from_second(second).unwrap().to_string()
}

fn wish(start: i64) -> serde_json::Value {
    json!({
        "channel": 4,
        "window": { "start": time(start), "end": time(start + LENGTH) },
        "program": { "title": "Concert", "open_level": "public" },
    })
}

/// Writes until no byte goes in any more.
fn fill(ballast: &Path) {
    let mut file = File::create(ballast).unwrap();
    for size in [65_536, 512, 1] {
        let piece = vec![7; size];
        let full = (0..DISK_BYTES).find_map(|_| file.write(&piece).err()).unwrap();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    }
    file.sync_all().unwrap();
}

fn is_copy(entry: &fs::DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with("copy")
}

fn inside() {
    let room = tempfile::tempdir().unwrap();
    let disk = room.path().join("data");
    fs::create_dir(&disk).unwrap();
    let size = format!("size={DISK_BYTES},mode=700");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(&disk).status();
    assert!(mounted.unwrap().success());
    let mut provider = Provider::start_with_slots(&room, "data", None, SLOT);
    let member = provider.premium("taro");
    let start = now() + BEFORE;
    let booked = member.post("/reservations", &wish(start)).expect(201);
    let place = format!("/reservations/{}", booked.body["number"]);
    member.post(&format!("{place}/accept-terms"), &json!({})).expect(200);
    let id = provider.mailed_id();
    provider.keep_secret(&id);
    member.post(&format!("{place}/reconfirm"), &json!({ "reservation_id": id })).expect(200);

    let ballast = disk.join("ballast");
    fill(&ballast);
    let refused = (1..=TRIES).find_map(|n| {
        let answer = member.post("/reservations", &wish(start + n * LENGTH));
        (answer.status != 201).then_some(answer)
    });
    let refused = refused.expect("a disk without room takes no bookings").expect(503);
    assert_eq!(refused.problem(), "unavailable", "{refused:?}");
    assert_eq!(member.get(&place).expect(200).body["state"], "confirmed");
    let copy = disk.join("copy");
    let backup = provider.admin(&["backup", &copy.display().to_string()]);
    assert!(!backup.status.success() && backup.text().contains("the disk is full"), "{}", backup.text());
    assert_eq!(fs::read_dir(&disk).unwrap().filter(|entry| is_copy(entry.as_ref().unwrap())).count(), 0);

    // The program begins and ends as the schedule has it, whatever can be written.
    let describe = || {
        let url = format!("rtsp://{}/channel4", provider.viewers);
        Dialogue::connect(provider.viewers).request("DESCRIBE", &url, &[("Accept", "application/sdp")]).reason
    };
    let during = wait_for(PATIENCE, || Some(describe()).filter(|why| why.contains("not sending yet")));
    assert!(during.is_some() && now() >= start, "before the start: {}", describe());
    let after = wait_for(PATIENCE, || Some(describe()).filter(|why| !why.contains("not sending yet")));
    assert!(after.is_some() && now() >= start + LENGTH, "not over: {}", describe());

    fs::remove_file(&ballast).unwrap();
    let settled = wait_for(PATIENCE, || {
        let state = member.get(&place).expect(200).body["state"].clone();
        (state == "finished_charged").then_some(())
    });
    assert!(settled.is_some(), "{:?}", member.get(&place));
    member.post("/reservations", &wish(start + 2 * TRIES * LENGTH)).expect(201);
    let count = |subject: &str| provider.letters().iter().filter(|one| one.subject.contains(subject)).count();
    let told = wait_for(PATIENCE, || (count("Confirmed:") == 1 && count("Charged") == 1).then_some(()));
    assert!(told.is_some(), "{:#?}", provider.letters());
    let log = provider.log();
    let complaints = log.iter().filter(|line| line.contains("the disk is full")).count();
    assert!((1..10).contains(&complaints), "{complaints} lines of the log say so: {log:#?}");
}
