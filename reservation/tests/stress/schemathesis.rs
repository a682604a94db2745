//! Schemathesis asks the running API whatever its OpenAPI document allows and forbids, with all of its checks.
//!
//! It runs as a program of its own (`SLOTCAST_TEST_TOOLS`, else `PATH`): once with an operator's token, once about a
//! program that is there, then as a browser with cookie and CSRF token for what no token covers.
//! `SLOTCAST_SCHEMATHESIS_EXAMPLES` is the number of cases an operation gets in each phase,
//! `SLOTCAST_SCHEMATHESIS_SECONDS` bounds each run, `SLOTCAST_SCHEMATHESIS_SEED` chooses other cases.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use serde_json::json;
use slotcast_reservation_testing::http::{Client, Server, Wishes, draft};
use slotcast_testing::{postgres, skip};

/// What may be answered beside the checks' own lists, and why.
const CONFIG: &str = r#"
# Credentials are given as headers; made-up cookies beside a right token would only look as if they were let in.
[generation]
with-security-parameters = false

[checks.positive_data_acceptance]
# 402: a card that is declined. 412: an If-Match that is well formed and not current.
expected-statuses = ["2xx", "3xx", "401", "402", "403", "404", "409", "412", "429"]

[checks.negative_data_rejection]
# 412: as above, before the body is looked at. 413, 414: what is too large, too long.
expected-statuses = ["400", "401", "403", "404", "409", "412", "413", "414", "415", "422", "428", "429"]

[checks.missing_required_header]
# 428 (RFC 6585): an edit without If-Match.
expected-statuses = ["400", "401", "403", "404", "428"]

# No pattern can say that the checksum of an age recipient is right.
[[operations]]
include-path = ["/api/v1/me/terminal-key", "/api/v1/reservations/{number}/reconfirm", "/api/v1/reservations/{number}/settings"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422", "429"]

# No pattern can say that a password is easily guessed.
[[operations]]
include-path = ["/api/v1/members", "/api/v1/me/password", "/api/v1/password"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "402", "403", "404", "409", "422", "429"]

# Another address asks for the password.
[[operations]]
include-path = "/api/v1/me"
include-method = "PATCH"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "412", "422", "429"]

# An open level without a password is right for a program that has one already: only the program tells.
[[operations]]
include-path = "/api/v1/reservations/{number}"
include-method = "PATCH"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "412", "422", "429"]

# There may be only so many webhooks.
[[operations]]
include-path = ["/api/v1/operator/webhooks", "/api/v1/operator/webhooks/{number}"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422", "429"]

# A stream has no end.
[[operations]]
include-path = "/api/v1/events"
enabled = false

# Whether If-Match is needed depends on whether the channel is there.
[[operations]]
include-path = "/api/v1/operator/channels/{number}"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "412", "428", "429"]
"#;

fn tool() -> Option<PathBuf> {
    let paths = env::var_os("SLOTCAST_TEST_TOOLS").or_else(|| env::var_os("PATH")).unwrap_or_default();
    let found = env::split_paths(&paths).map(|path| path.join("schemathesis")).find(|path| path.exists());
    if found.is_none() {
        skip("schemathesis is not installed (pip install schemathesis)");
    }
    found
}

fn number(name: &str, usual: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Runs it to its end and says what it found. `pinned`: the number that every path gets; `more`: which operations.
///
/// Its generator of cases may stumble over itself. Without a finding that says nothing about the API: other cases are
/// asked then.
async fn run(tool: PathBuf, server: &Server, client: &Client, pinned: Option<i64>, more: &[&str]) {
    let seed = number("SLOTCAST_SCHEMATHESIS_SEED", 1);
    for seed in seed..seed + 3 {
        let output = ask_with(seed, &tool, server, client, pinned, more).await;
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        println!("{text}");
        if output.status.success() {
            return;
        }
        let has_stumbled = ["/conjecture/optimiser.py", "An internal error occurred"];
        let stumbled = has_stumbled.iter().any(|sign| text.contains(sign)) && !text.contains("= FAILURES =");
        assert!(stumbled, "schemathesis found something: {}", output.status);
    }
    panic!("schemathesis stumbled over itself three times");
}

async fn ask_with(
    seed: u64,
    tool: &Path,
    server: &Server,
    client: &Client,
    pinned: Option<i64>,
    more: &[&str],
) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("schemathesis.toml");
    let pinned = pinned.map_or_else(String::new, |number| format!("\n[parameters]\nnumber = {number}\n"));
    fs::write(&config, format!("{CONFIG}{pinned}")).unwrap();
    let seconds = number("SLOTCAST_SCHEMATHESIS_SECONDS", 90);
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=10", &(seconds + 60).to_string()])
        .arg(tool)
        .arg("--config-file")
        .arg(&config);
    command
        .args(["run", &format!("http://{}/api/v1/openapi.json", server.address)])
        .args(["--checks", "all", "--mode", "all", "--phases", "examples,coverage,fuzzing,stateful"])
        .args(["--max-examples", &number("SLOTCAST_SCHEMATHESIS_EXAMPLES", 8).to_string()])
        .args(["--max-time", &seconds.to_string(), "--workers", "1", "--no-shrink", "--continue-on-failure"])
        // How often its generator has to try again says nothing about the API either.
        .args(["--suppress-health-check", "all"])
        .args(["--seed", &seed.to_string(), "--request-timeout", "30", "--no-color"])
        .args(more);
    for (name, value) in [("X-CSRF-Token", &client.csrf), ("Cookie", &client.cookie)] {
        if let Some(value) = value {
            command.args(["-H", &format!("{name}: {value}")]);
        }
    }
    if let Some(bearer) = &client.bearer {
        command.args(["-H", &format!("Authorization: Bearer {bearer}")]);
    }
    command.current_dir(directory.path());
    let bound = Duration::from_secs(seconds + 120);
    let work = tokio::task::spawn_blocking(move || command.output());
    tokio::time::timeout(bound, work).await.unwrap().unwrap().unwrap()
}

/// Something of everything, so that more than refusals is seen: the operator, and the number of a confirmed program.
async fn fill(server: &Server) -> (Client, i64) {
    let operator = server.sell(3).await;
    let made =
        operator.put("/me/premium", &json!({ "address": "x", "phone": "12345", "card_token": "t" })).await;
    assert_eq!(made.status, 200, "{made:?}");
    let mut program = 0;
    for (at, day) in [(1, 19), (2, 20)] {
        let wish = draft(at, &format!("2026-11-{day}T10:00:00Z"), &format!("2026-11-{day}T10:30:00Z"));
        assert_eq!(operator.post("/reservations", &wish).await.status, 201);
        let special = draft(3, &format!("2026-11-{day}T10:00:00Z"), &format!("2026-11-{day}T10:30:00Z"));
        let made = operator.post("/operator/programs", &special).await;
        assert_eq!(made.status, 201, "{made:?}");
        program = made.body["number"].as_i64().unwrap();
    }
    (operator, program)
}

/// Over the database at that address; `None`: SQLite.
async fn ask(tool: PathBuf, database: Option<String>) {
    let server = Server::start_as(Wishes { database, ..Wishes::default() }).await;
    server.run();
    let (operator, program) = fill(&server).await;
    let token = operator.token(&["read", "book", "broadcast", "sell", "moderate", "ledger"]).await;
    run(tool.clone(), &server, &token, None, &[]).await;
    // About a confirmed program that is there, but for what would be its end.
    let about = ["--include-path-regex", r"/(reservations|programs|pickups)/\{number\}"];
    let but = ["cancel", "end", "operator_cancel"].map(|id| ["--exclude-operation-id", id]).concat();
    run(tool.clone(), &server, &token, Some(program), &[&about[..], &but[..]].concat()).await;
    // As a browser: what no token covers, but for what would end the session or the token.
    let account = ["--include-tag", "My account", "--exclude-operation-id", "change_password"];
    run(tool, &server, &operator, None, &account).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing_on_sqlite() {
    let Some(tool) = tool() else { return };
    ask(tool, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing_on_postgresql() {
    let (Some(tool), Some(postgres)) = (tool(), postgres::shared()) else { return };
    ask(tool, Some(postgres.new_database())).await;
}
