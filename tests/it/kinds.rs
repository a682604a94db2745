//! Every test program is of a kind that a part of `./test` runs: one of another name would be built, and run by nobody.

use std::fs;

use slotcast_testing::pages::root;

/// As in `.config/nextest.toml` and `test`.
const KINDS: [&str; 5] = ["it", "services", "players", "pages", "stress"];

#[test]
fn each_test_program_has_the_name_of_a_kind() {
    let manifest: toml::Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let members = manifest["workspace"]["members"].as_array().unwrap();
    let crates = members.iter().map(|member| member.as_str().unwrap()).chain(["."]);
    let mut programs = 0;
    for tests in crates.map(|name| root().join(name).join("tests")).filter(|tests| tests.exists()) {
        for entry in fs::read_dir(&tests).unwrap() {
            let path = entry.unwrap().path();
            // As cargo finds them.
            let is_program = path.extension().is_some_and(|end| end == "rs") || path.join("main.rs").exists();
            let name = path.file_stem().unwrap().to_str().unwrap();
            programs += usize::from(is_program);
            assert!(!is_program || KINDS.contains(&name), "{}: no part of ./test runs it", path.display());
        }
    }
    assert!(programs >= 10, "only {programs} test programs were found");
    let profiles = fs::read_to_string(root().join(".config/nextest.toml")).unwrap();
    let parts = fs::read_to_string(root().join("test")).unwrap();
    for kind in KINDS {
        assert!(profiles.contains(&format!("binary(={kind})")), "{kind} is in no profile");
        assert!(parts.contains(&format!("--test {kind}")), "{kind} is in no part");
    }
}
