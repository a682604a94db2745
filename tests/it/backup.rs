//! A backup of a server that sells, and what is restored of it on another machine.

use serde_json::json;
use slotcast_settings::SettingsFile;
use slotcast_testing::{
    bookings::{now_seconds, time_text},
    provider::{PASSWORD, Provider, SLOT},
};

const PROGRAM_PASSWORD: &str = "sesame-one";

/// A confirmed reservation of tomorrow: its place in the API, and its reservation ID.
#[track_caller]
fn confirm(provider: &mut Provider) -> (String, String) {
    let member = provider.premium("taro");
    let start = (now_seconds() + 24 * 3600) / SLOT * SLOT + SLOT;
    let wish = json!({
        "channel": 4,
        "window": { "start": time_text(start), "end": time_text(start + SLOT) },
        "program": { "title": "Evening concert", "open_level": "password", "password": PROGRAM_PASSWORD },
    });
    let booked = member.post("/reservations", &wish).expect(201);
    let place = format!("/reservations/{}", booked.body["number"]);
    member.post(&format!("{place}/accept-terms"), &json!({})).expect(200);
    let id = provider.mailed_id();
    provider.keep_secret(&id);
    provider.keep_secret(PROGRAM_PASSWORD);
    member.post(&format!("{place}/reconfirm"), &json!({ "reservation_id": id })).expect(200);
    (place, id)
}

#[test]
fn a_backup_of_a_running_server_is_restored_elsewhere_with_all_reservations() {
    let room = tempfile::tempdir().unwrap();
    let mut provider = Provider::start(&room, "data", None);
    let (place, id) = confirm(&mut provider);
    let backup = room.path().join("backup").display().to_string();
    let made = provider.admin(&["backup", &backup]);
    assert!(made.status.success(), "{}", made.text());
    let again = provider.admin(&["backup", &backup]);
    assert!(!again.status.success(), "an earlier backup was written over:\n{}", again.text());
    let running = provider.admin(&["restore", &backup]);
    assert!(!running.status.success(), "restored under a running server:\n{}", running.text());

    let fresh = Provider::prepare(&room, "fresh", None);
    // A restore that was broken off in the middle of its copies, and one between its renames.
    for name in ["secret.key", "slotcast.db"] {
        let half = fresh.data().join(format!("{name}.restored"));
        std::fs::create_dir_all(fresh.data()).unwrap();
        std::fs::write(&half, "").unwrap();
        let refused = [fresh.try_with("SLOTCAST_LOG__LEVEL", "info"), fresh.admin(&["channel", "list"])];
        for refused in refused {
            assert!(!refused.status.success(), "{name}: {}", refused.text());
            assert!(
                refused.text().contains("run `slotcast admin restore DIRECTORY` again"),
                "{}",
                refused.text()
            );
        }
        for made in ["secret.key", "slotcast.db"] {
            assert!(!fresh.data().join(made).exists(), "{made} was made anew");
        }
        if name == "secret.key" {
            std::fs::remove_file(half).unwrap();
        }
    }
    let restored = fresh.admin(&["restore", &backup]);
    assert!(restored.status.success(), "{}", restored.text());
    for (variable, value) in [("SLOTCAST_SERVER__CURRENCY", "USD"), ("SLOTCAST_SERVER__SLOT", "15m")] {
        let refused = fresh.try_with(variable, value);
        assert!(!refused.status.success(), "{value}");
        assert!(refused.text().contains("`slot = \"6s\"` and `currency = \"JPY\"`"), "{}", refused.text());
    }
    let (key, aside) = (fresh.data().join("secret.key"), fresh.data().join("aside"));
    std::fs::rename(&key, &aside).unwrap();
    let keyless = fresh.try_with("SLOTCAST_LOG__LEVEL", "info");
    assert!(keyless.text().contains("secret.key is missing"), "{}", keyless.text());
    assert!(!key.exists(), "another key was made, which would be taken for the right one");
    std::fs::rename(&aside, &key).unwrap();
    let fresh = fresh.serve();
    let member = fresh.anybody().log_in("taro", PASSWORD);
    let found = member.get(&place).expect(200);
    assert_eq!(found.body["state"], "confirmed");
    assert_eq!(found.body["program"]["password"], PROGRAM_PASSWORD, "{found:?}");
    let answer = member.post(&format!("{place}/settings"), &json!({ "reservation_id": id })).expect(200);
    let file = SettingsFile::parse(answer.text.as_bytes()).unwrap();
    assert_eq!(file.reservation.id.expose(), id);
    assert_eq!(fresh.letters(), [], "a mail that had gone out went out again");
}
