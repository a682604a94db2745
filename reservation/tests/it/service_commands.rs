//! Every command of the service is cut at its COMMIT by a test, before the COMMIT arrives at least, or it is said here why
//! not.

use std::{fs, path::Path};

/// Commands that `tests/services/lost_commits.rs` does not call, each with why a commit's lost answer does it no harm.
const NOT_CUT: [(&str, &str); 13] = [
    ("do_due", "each is decided again under its lock"),
    ("note_presence", "notes the same again"),
    ("remove_stale", "what is gone is gone"),
    ("sell_in", "is the same the second time"),
    ("notice", "the payment company sends it again, and its event is seen once"),
    ("pay", "its payment bears one key, which the payment company knows"),
    ("retry_payment", "waits for one job, however often it is asked for"),
    ("refund", "is made once by its Idempotency-Key, for ever"),
    ("replace_password", "the code is used up with it; the member asks for another"),
    ("verify_email", "the code is used up with it; the address is verified"),
    ("erase_me", "is erase_member with a password before it"),
    ("flush_observed", "sums since a start count once"),
    ("observe", "sums since a start count once"),
];

/// Public functions of the service that write, by their names.
fn commands() -> Vec<String> {
    let mut commands = Vec::new();
    for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/service")).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let source = text.split("#[cfg(test)]").next().unwrap();
        for function in source.split("\n    pub async fn ").skip(1) {
            let body = function.split("\n    }\n").next().unwrap();
            let writes = ["retry(", ".begin()", ".decide(", "self.committed()", "_once("];
            if writes.iter().any(|word| body.contains(word)) {
                commands.push(function.split(['(', '<']).next().unwrap().to_owned());
            }
        }
    }
    commands
}

#[test]
fn every_command_is_cut_at_its_commit_or_said_to_need_it_not() {
    let commands = commands();
    assert!(commands.len() > 25, "{commands:?}");
    let cut =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/lost_commits.rs"))
            .unwrap();
    let is_known =
        |name: &String| cut.contains(&format!(".{name}(")) || NOT_CUT.iter().any(|(known, _)| known == name);
    let unknown: Vec<_> = commands.iter().filter(|name| !is_known(name)).collect();
    assert!(
        unknown.is_empty(),
        "cut these in tests/services/lost_commits.rs, or say above why not: {unknown:?}"
    );
}
