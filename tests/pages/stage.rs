//! The scripts that look at pages, as processes.

use std::{env, path::PathBuf, process::Command, time::Duration};

use serde_json::Value;
use slotcast_testing::{pages::root, process::Process, skip};

/// What a script may take.
const SCRIPT_MAX: Duration = Duration::from_secs(240);

/// Where Node and what it needs are; `None`: it was said that the test is skipped.
pub(crate) fn tools() -> Option<PathBuf> {
    let tools =
        env::var_os("SLOTCAST_BROWSER").map(PathBuf::from).filter(|tools| tools.join("bin/node").exists());
    if tools.is_none() {
        skip("SLOTCAST_BROWSER does not name Node with playwright-core (./test pages installs it)");
    }
    tools
}

/// Runs `browser/NAME.mjs`: whether it came to its end without a finding, and what it said.
///
/// - `scene`: what the script is told, as JSON in `SCENE`.
#[track_caller]
pub(crate) fn run(tools: &PathBuf, name: &str, scene: &Value) -> (bool, String) {
    let mut command = Command::new(tools.join("bin/node"));
    command
        .arg(root().join("tests/pages/browser").join(name).with_extension("mjs"))
        .env("SCENE", scene.to_string())
        .env("SLOTCAST_BROWSER", tools)
        .env("PICTURES", root().join("target/pages"));
    let finished = Process::spawn(name, &mut command).wait(SCRIPT_MAX);
    (finished.status.success(), finished.text())
}
