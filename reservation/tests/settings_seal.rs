//! Settings files sealed and opened, by this crate and by the `age` tool itself, either way round.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use age::{secrecy::ExposeSecret, x25519};
use proptest::prelude::*;
use slotcast_reservation::settings::seal::{
    PASSPHRASE_BYTES_MAX, SEALED_BYTES_MAX, SealError, check_recipient, open_with_identity,
    open_with_passphrase, seal_for, seal_with_passphrase,
};

const TEXT: &str = "{\"format\": \"slotcast-settings\", \"title\": \"生放送\"}\n";
const PASSPHRASE: &str = "correct horse battery";

struct Key {
    secret: String,
    public: String,
}

fn key() -> Key {
    let identity = x25519::Identity::generate();
    Key { secret: identity.to_string().expose_secret().to_owned(), public: identity.to_public().to_string() }
}

#[test]
fn what_is_sealed_for_a_terminal_opens_there_and_nowhere_else() {
    let (mine, other) = (key(), key());
    let sealed = seal_for(&mine.public, TEXT).unwrap();
    assert!(sealed.is_ascii() && sealed.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"), "{sealed}");
    assert_eq!(open_with_identity(&mine.secret, sealed.as_bytes()).unwrap(), TEXT.as_bytes());
    let file = format!("# created: today\n# public key: {}\n{}\n", mine.public, mine.secret);
    assert_eq!(open_with_identity(&file, sealed.as_bytes()).unwrap(), TEXT.as_bytes());
    assert_eq!(open_with_identity(&other.secret, sealed.as_bytes()), Err(SealError::WrongKey));
    assert_eq!(open_with_identity(&mine.public, sealed.as_bytes()), Err(SealError::NotAnIdentity));
    assert_eq!(open_with_identity("", sealed.as_bytes()), Err(SealError::NotAnIdentity));
}

#[test]
fn short_and_endless_passphrases_are_refused() {
    assert_eq!(seal_with_passphrase("hunter2", TEXT), Err(SealError::PassphraseLength));
    let long = "x".repeat(PASSPHRASE_BYTES_MAX + 1);
    assert_eq!(seal_with_passphrase(&long, TEXT), Err(SealError::PassphraseLength));
    assert_eq!(open_with_passphrase(&long, b""), Err(SealError::PassphraseLength));
}

#[test]
fn a_file_that_asks_for_endless_work_is_refused() {
    let sealed = "age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 40\n\
                  AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n\
                  --- AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n0123456789abcdef0123456789abcdef";
    assert_eq!(open_with_passphrase(PASSPHRASE, sealed.as_bytes()), Err(SealError::TooMuchWork));
}

#[test]
fn too_much_is_neither_sealed_nor_opened() {
    assert_eq!(seal_for(&key().public, &"x".repeat(SEALED_BYTES_MAX)), Err(SealError::TooLong));
    assert_eq!(open_with_identity(&key().secret, &vec![b'x'; SEALED_BYTES_MAX + 1]), Err(SealError::TooLong));
}

#[test]
fn recipients_strict_tolerated_and_bad() {
    let key = key();
    assert_eq!(check_recipient(&key.public), Ok(key.public.clone()));
    assert_eq!(check_recipient(&format!(" {}\n", key.public)), Ok(key.public.clone()));
    assert_eq!(check_recipient(&key.secret), Err(SealError::SecretKeyGiven));
    let mut mistyped = key.public.clone().into_bytes();
    mistyped[20] = if mistyped[20] == b'q' { b'p' } else { b'q' };
    let mistyped = String::from_utf8(mistyped).unwrap();
    for bad in ["", "age1", "ssh-ed25519 AAAA", "生放送の生放送の生放送", &mistyped, &"age1".repeat(1_000)]
    {
        assert_eq!(check_recipient(bad), Err(SealError::NotARecipient), "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_changed_or_cut_file_never_opens_and_never_panics(
        at in any::<proptest::sample::Index>(), bit in 0_u8..7, cut in any::<proptest::sample::Index>(),
    ) {
        let key = key();
        let sealed = seal_for(&key.public, TEXT).unwrap().into_bytes();
        let mut changed = sealed.clone();
        let place = at.index(changed.len());
        changed[place] ^= 1 << bit;
        if let Ok(text) = open_with_identity(&key.secret, &changed) {
            // Blanks around the armor do not count.
            prop_assert_eq!(text, TEXT.as_bytes());
        }
        let cut = cut.index(sealed.len() - 40);
        prop_assert!(open_with_identity(&key.secret, &sealed[..cut]).is_err());
    }

    #[test]
    fn bytes_from_outside_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let key = key();
        prop_assert!(open_with_identity(&key.secret, &bytes).is_err());
        let text = String::from_utf8_lossy(&bytes);
        prop_assert!(check_recipient(&text).is_err());
        let headed = [b"age-encryption.org/v1\n", &bytes[..]].concat();
        prop_assert!(open_with_identity(&key.secret, &headed).is_err());
    }
}

/// Where a Debian tool is; `None` after a line that says so, and a failure where nothing may be skipped.
fn tool(name: &str) -> Option<PathBuf> {
    let places = [env::var_os("SLOTCAST_TEST_TOOLS"), env::var_os("PATH")];
    let places = places.iter().flatten().flat_map(env::split_paths);
    let found = places.map(|place| place.join(name)).find(|path| path.is_file());
    if found.is_none() {
        assert!(env::var("CI").as_deref() != Ok("true"), "{name} is missing (Debian: age, bsdutils)");
        println!("skipped: {name} is missing (Debian: age, bsdutils)");
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
