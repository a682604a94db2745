//! What is sealed here opens with the `age` tool, and the other way round.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use slotcast_settings::seal::{check_recipient, open_with_identity, seal_for, seal_with_passphrase};
use slotcast_testing::skip;

const TEXT: &str = "{\"format\": \"slotcast-settings\", \"title\": \"生放送\"}\n";
const PASSPHRASE: &str = "correct horse battery";

/// Where a Debian tool is. `None`: it is not installed, and the test is skipped.
fn tool(name: &str) -> Option<PathBuf> {
    let places = [env::var_os("SLOTCAST_TEST_TOOLS"), env::var_os("PATH")];
    let places = places.iter().flatten().flat_map(env::split_paths);
    let found = places.map(|place| place.join(name)).find(|path| path.is_file());
    if found.is_none() {
        skip(&format!("{name} is not installed (Debian: age, bsdutils)"));
    }
    found
}

#[track_caller]
fn success(output: Output) -> Vec<u8> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn the_age_tool_opens_what_is_sealed_here() {
    let (Some(age), Some(keygen)) = (tool("age"), tool("age-keygen")) else { return };
    let directory = tempfile::tempdir().unwrap();
    let (identity, sealed) = (directory.path().join("key.txt"), directory.path().join("sealed.age"));
    success(Command::new(&keygen).arg("-o").arg(&identity).output().unwrap());
    let public = success(Command::new(&keygen).arg("-y").arg(&identity).output().unwrap());
    let public = check_recipient(&String::from_utf8(public).unwrap()).unwrap();
    fs::write(&sealed, seal_for(&public, TEXT).unwrap()).unwrap();
    let opened = Command::new(&age).arg("--decrypt").arg("-i").arg(&identity).arg(&sealed).output();
    assert_eq!(success(opened.unwrap()), TEXT.as_bytes());
}

#[test]
fn what_the_age_tool_seals_opens_here() {
    let (Some(age), Some(keygen)) = (tool("age"), tool("age-keygen")) else { return };
    let directory = tempfile::tempdir().unwrap();
    let (identity, plain) = (directory.path().join("key.txt"), directory.path().join("plain.json"));
    success(Command::new(&keygen).arg("-o").arg(&identity).output().unwrap());
    fs::write(&plain, TEXT).unwrap();
    let identity = fs::read_to_string(&identity).unwrap();
    let public = identity.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    for armor in [&["--armor"][..], &[]] {
        let sealed = Command::new(&age).args(armor).args(["-r", public]).arg(&plain).output().unwrap();
        assert_eq!(open_with_identity(&identity, &success(sealed)).unwrap(), TEXT.as_bytes());
    }
}

/// Runs `line` on a terminal of its own, for `age` asks for passphrases there, and answers its question.
///
/// What is typed before the question, and an end of input right after it, may be lost on the way: so
/// the answer waits for the question, and the input stays open until the tool is done. The limit in
/// time stands around the terminal: within it, `timeout` may leave the tool in the background, which
/// stops it when it asks (whether it does depends on the shell).
#[track_caller]
fn on_a_terminal(script: &PathBuf, line: &str, question: &str, answer: &str) {
    let mut command = Command::new("timeout");
    command.arg("60").arg(script).args(["--quiet", "--return", "--command", line, "/dev/null"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut typed, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut seen, mut piece) = (Vec::new(), [0; 256]);
    while !String::from_utf8_lossy(&seen).contains(question) {
        let length = screen.read(&mut piece).unwrap();
        assert_ne!(length, 0, "the tool ended without asking: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&piece[..length]);
    }
    typed.write_all(answer.as_bytes()).unwrap();
    screen.read_to_end(&mut seen).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&seen));
    drop(typed);
}

#[test]
fn the_age_tool_opens_what_is_sealed_here_with_a_passphrase() {
    let (Some(age), Some(script)) = (tool("age"), tool("script")) else { return };
    let directory = tempfile::tempdir().unwrap();
    let (sealed, opened) = (directory.path().join("sealed.age"), directory.path().join("opened.json"));
    fs::write(&sealed, seal_with_passphrase(PASSPHRASE, TEXT).unwrap()).unwrap();
    let line = format!("'{}' -d -o '{}' '{}'", age.display(), opened.display(), sealed.display());
    on_a_terminal(&script, &line, "assphrase", &format!("{PASSPHRASE}\n"));
    assert_eq!(fs::read_to_string(&opened).unwrap(), TEXT);
}
