//! The commands of `docs/api.md`, typed into a shell as they stand there, by the real clock.

use std::{fs, path::Path, process::Command, time::Duration};

use slotcast_core::time::WallTime;
use slotcast_reservation_testing::http::{OPERATOR, Server};
use slotcast_testing::skip;

/// All the shell's blocks of a page, in their order.
fn commands(page: &str) -> String {
    let mut blocks = String::new();
    for part in page.split("```sh\n").skip(1) {
        blocks.push_str(part.split("```").next().unwrap());
    }
    blocks
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_page_work_as_printed() {
    for tool in ["curl", "jq"] {
        if Command::new(tool).arg("--version").output().is_err() {
            return skip(&format!("{tool} is not installed"));
        }
    }
    let server = Server::start().await;
    server.run();
    let clock = server.clock.clone();
    let ticking = tokio::spawn(async move {
        loop {
            clock.set(WallTime::from_micros(jiff::Timestamp::now().as_microsecond()));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md");
    let script = commands(&fs::read_to_string(page).unwrap());
    let place = tempfile::tempdir().unwrap();
    let mut shell = Command::new("timeout");
    shell
        .args(["--kill-after=5", "120", "bash", "-euo", "pipefail", "-c", &script])
        .current_dir(place.path())
        .env("API", format!("http://{}/api/v1", server.address))
        .env("MAIL", server.mail_folder())
        .env("OPERATOR_PASSWORD", OPERATOR.1);
    let output = tokio::task::spawn_blocking(move || shell.output()).await.unwrap().unwrap();
    ticking.abort();
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{out}");
    assert!(output.status.success(), "{}\n{out}\n{errors}", output.status);
    for must in [
        "[\"confirmed\",true,2400,\"JPY\"]",
        "-----BEGIN AGE ENCRYPTED FILE-----",
        "BEGIN:VCALENDAR",
        "finished_",
    ] {
        assert!(out.contains(must), "{must} in {out}");
    }
}
