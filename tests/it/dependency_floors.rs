//! Versions below which a dependency is known to be harmful: never in `Cargo.lock`, with or without cargo-deny at hand.

use serde::Deserialize;

#[derive(Deserialize)]
struct Lock {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
}

/// The same as in `deny.toml`, which says why.
const FLOORS: &[(&str, [u64; 3])] = &[
    ("quinn-proto", [0, 11, 15]),
    ("rustls", [0, 23, 18]),
    ("rustls-webpki", [0, 103, 13]),
    ("h2", [0, 4, 16]),
    ("tracing-subscriber", [0, 3, 20]),
    ("bytes", [1, 11, 1]),
    ("time", [0, 3, 47]),
    ("libsqlite3-sys", [0, 36, 0]),
];

fn numbers(version: &str) -> [u64; 3] {
    let release = version.split(['-', '+']).next().unwrap_or_default();
    let mut parts = release.split('.').map(|part| part.parse().unwrap());
    [(); 3].map(|()| parts.next().unwrap_or(0))
}

#[test]
fn no_dependency_is_below_its_floor() {
    let lock: Lock = toml::from_str(include_str!("../../Cargo.lock")).unwrap();
    assert!(lock.package.iter().any(|package| package.name == "bytes"));
    for package in &lock.package {
        let floor = FLOORS.iter().find(|(name, _)| *name == package.name);
        let above = floor.is_none_or(|(_, floor)| numbers(&package.version) >= *floor);
        assert!(above, "{} {} is below its floor: {floor:?}", package.name, package.version);
    }
}

#[test]
fn the_floors_are_those_of_the_check_of_licences() {
    let deny = include_str!("../../deny.toml");
    for (name, [major, minor, patch]) in FLOORS {
        assert!(
            deny.contains(&format!("\"{name}@<{major}.{minor}.{patch}\"")),
            "{name} differs in deny.toml"
        );
    }
}
