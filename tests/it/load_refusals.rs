//! What the load tools say without measuring anything.

use std::process::Command;

use slotcast_testing::program;

/// Runs `slotcast load` with these arguments: whether it went well, and all that it wrote.
fn load(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program()).arg("load").args(arguments).output().unwrap();
    (
        output.status.success(),
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat(),
    )
}

#[test]
fn a_storm_leaves_other_machines_alone() {
    let (is_done, text) = load(&["storm", "plays", "--url", "rtsp://192.0.2.1/x", "--seats", "10"]);
    assert!(!is_done && text.contains("--allow-remote"), "{text}");
}

#[test]
fn the_list_of_the_suite_measures_nothing() {
    let (is_done, text) = load(&["suite", "--list"]);
    assert!(is_done, "{text}");
    for name in ["ratio", "join", "memory", "admission", "all"] {
        assert!(text.lines().any(|line| line.starts_with(name)), "{text}");
    }
}

#[test]
fn the_suite_leaves_other_machines_alone() {
    let cores = ["--server-core", "0", "--tool-core", "0"];
    let arguments = [&["suite"][..], &cores, &["--quick", "--server", "rtsp://192.0.2.1/x"]].concat();
    let (is_done, text) = load(&arguments);
    assert!(!is_done && text.contains("--allow-remote"), "{text}");
}
