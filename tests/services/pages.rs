//! The commands of `docs/operating.md`, `docs/reserving.md` and `docs/settings-file.md` for an operator and a member, in one
//! shell on one server, as printed but for the address, the password, the number and the mail that a person would read.
//!
//! Not here: lines of these pages that start an encoder (`tests/players/settings.rs` types those of a settings file), and the one
//! that asks for a passphrase on a terminal (`reservation/tests/services/age_tool.rs` answers it).

use std::{fs, process::Command};

use slotcast_testing::{
    pages::{Shell, block},
    skip,
};

/// What a person does who reads the mail.
const READ_THE_MAIL: &str = "\
for try in $(seq 1 300); do
  ID=$(grep -hoE '[0-9a-z]{5}(-[0-9a-z]{5}){3}-[0-9a-z]{6}' slotcast-data/mail/*reservation-id*$N*.eml 2>/dev/null | head -1) && break
  sleep 0.1
done
";
/// The operator's.
const PASSWORD: &str = "a password of the test";
/// Has curl write each answer's status to standard error, behind this word.
const STATUS: &str = "status:";

/// Every request until the walk's end succeeds; what is asked then may be refused.
const THEN: &str = "echo then >&2\n";

fn script() -> String {
    let operating = |begins: &str| block("docs/operating.md", begins);
    let reserving = |begins: &str| block("docs/reserving.md", begins);
    let sale = operating("cat > slotcast.toml");
    let (_, admin) = sale.split_once("slotcast serve --config slotcast.toml &\n").unwrap();
    let (prompt, reconfirm) = {
        let block = reserving("read -r -p");
        let (prompt, rest) = block.split_once('\n').unwrap();
        (prompt.to_owned(), rest.to_owned())
    };
    assert_eq!(prompt, "read -r -p 'Reservation ID from the mail: ' ID");
    let of_program = |text: String| text.replace("/NUMBER/", "/$N/");
    let without = |text: String, left_out: &str| -> String {
        let lines: Vec<_> = text.split_inclusive('\n').filter(|line| !line.starts_with(left_out)).collect();
        assert_eq!(lines.len() + 1, text.lines().count(), "{left_out:?} is not one line of\n{text}");
        lines.concat()
    };
    let settings = |begins: &str| block("docs/settings-file.md", begins).replace("-4711.json", "-$N.json");
    let parts = [
        format!("curl() {{ command curl -w '%{{stderr}}{STATUS}%{{http_code}}\\n' \"$@\"; }}\n"),
        admin.replace("# asks for a password", "< password"),
        operating("API=http").replace("PASSWORD", PASSWORD),
        reserving("API=http"),
        reserving("cat > me.json"),
        reserving("CSRF=$(curl"),
        reserving("curl -s $API/channels/4/days"),
        reserving("cat > wish.json"),
        READ_THE_MAIL.to_owned(),
        reconfirm,
        reserving("curl -s -H \"$AUTH\" -H 'Content-Type: application/json' -d"),
        reserving("curl -s -H \"$AUTH\" -X POST $API/reservations/$N/pay"),
        "jq -r '\"settings of \" + .channel.watch_url' settings.json\n".to_owned(),
        without(reserving("jq -r '.commands.broadcast[]"), "sh -c"),
        settings("age-keygen -o"),
        settings("curl -s -b cookies"),
        without(settings("age -d -i slotcast.key slotcast-4711.json.age > "), "age -d slotcast"),
        settings("jq -r '.reservation.connect"),
        without(settings("jq -r '.commands.broadcast[] | select"), "sh -c"),
        settings("jq -r '.commands.broadcast[] | \""),
        settings("jq -r '.commands.obs"),
        settings("age -d -i slotcast.key slotcast-4711.json.age |"),
        THEN.to_owned(),
        of_program(operating("curl -s -H \"Authorization: Bearer $OPS\" $API/operator/programs/")),
        reserving("curl -s -H \"$AUTH\" $API/reservations/$N/status"),
        of_program(operating("curl -s -H \"Authorization: Bearer $OPS\" -H 'Content-Type")),
        reserving("curl -s -H \"$AUTH\" $API/reservations/$N/history"),
        of_program(operating("curl -s -H \"Authorization: Bearer $OPS\" $API/operator/reservations/")),
        operating("curl -s -H \"Authorization: Bearer $OPS\" \"$API/operator/payments")
            .replace("/KEY/", "/none/"),
        operating("curl -s http://127.0.0.1:8080/metrics"),
    ];
    parts.concat()
}

#[test]
fn an_operator_and_a_member_get_what_the_pages_say() {
    for tool in ["curl", "jq", "age", "age-keygen"] {
        if Command::new(tool).arg("--version").output().is_err() {
            return skip(&format!("{tool} is not installed"));
        }
    }
    let shell = Shell::default();
    let sale = block("docs/operating.md", "cat > slotcast.toml");
    let (setup, _) = sale.split_once("slotcast serve --config slotcast.toml &\n").expect("the server's line");
    let server = shell.serve(&format!("{setup}slotcast serve --config slotcast.toml\n"));
    fs::write(shell.place.path().join("password"), PASSWORD).unwrap();
    let finished = shell.run(&shell.here(&script()));
    let text = finished.text();
    let (walk, then) = text.split_once("then\n").unwrap();
    let statuses = |text: &str| -> Vec<u16> {
        text.lines().filter_map(|line| line.strip_prefix(STATUS)?.parse().ok()).collect()
    };
    assert!(statuses(walk).len() >= 19, "{text}");
    assert!(statuses(walk).iter().all(|status| (200..300).contains(status)), "{text}");
    // There is no such viewer and no link; the slot may not be extended yet; the program may not have been charged.
    let may_be = |status: &u16| (200..300).contains(status) || matches!(status, 404 | 409);
    assert!(statuses(then).len() >= 10 && statuses(then).iter().all(may_be), "{text}");
    for must in [
        "12000",
        "\"is_bookable\": true",
        "confirmed",
        "settings of rtsp://",
        "ffmpeg\ttest-source",
        "Type: Custom Output (FFmpeg)",
        "finished",
        "slotcast_seats",
    ] {
        assert!(text.contains(must), "no {must:?} in\n{text}");
    }
    shell.stop(server);
}
