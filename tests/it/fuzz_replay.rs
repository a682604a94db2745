//! The fuzz targets without a fuzzer: every seed, and some thousand mutations of the seeds, through the same entry points
//! on the compiler that is there. What libFuzzer once found is a seed, and so is a named case here for ever.

use std::fs;
use std::path::{Path, PathBuf};

/// Of each target. The same inputs in every run: they are drawn from a generator with a fixed start.
const MUTATIONS: usize = 1_000;

const INPUT_BYTES_MAX: usize = 4_096;

/// xorshift64*: enough for choosing bytes, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }
}

fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect()
}

/// Changes one thing: a bit, a byte, a piece's place, its length, or what stands beside it in another seed.
fn mutate(input: &mut Vec<u8>, random: &mut Random, other: &[u8]) {
    const SPECIAL: &[&[u8]] = &[
        b"\r\n",
        b"\n",
        b"\0",
        b"\xff",
        b"\x80",
        b"\"",
        b";",
        b",",
        b"=",
        b":",
        b"-1",
        b"0",
        b"65536",
        b"4294967296",
        b"99999999999999999999",
        b"%00",
        b"%",
        b"/",
        b"?",
        b"$\0\xff\xff",
        b"\xc3\x28",
        b" ",
    ];
    let place = random.below(input.len() + 1);
    match random.below(7) {
        0 if place < input.len() => input[place] ^= 1 << random.below(8),
        1 if place < input.len() => input[place] = random.next().to_be_bytes()[0],
        2 => input.truncate(place),
        3 => {
            let end = (place + random.below(16)).min(input.len());
            input.drain(place..end);
        }
        4 => {
            let end = (place + random.below(64)).min(input.len());
            let piece = input[place..end].to_vec();
            input.splice(place..place, piece);
        }
        5 => {
            let special = SPECIAL[random.below(SPECIAL.len())];
            input.splice(place..place, special.iter().copied());
        }
        _ => {
            let from = random.below(other.len() + 1);
            input.truncate(place);
            input.extend_from_slice(&other[from..]);
        }
    }
    input.truncate(INPUT_BYTES_MAX);
}

/// Runs one input; says which it was when it does not hold.
#[track_caller]
fn check(target: &slotcast_fuzz::Target, input: &[u8], origin: &str) {
    let held = std::panic::catch_unwind(|| (target.run)(input)).is_ok();
    assert!(held, "{}: {origin}: {:?}", target.name, input.escape_ascii().to_string());
}

#[track_caller]
fn replay(name: &str) {
    let target = slotcast_fuzz::find(name).unwrap_or_else(|refusal| panic!("{refusal}"));
    let seeds = seeds(name);
    assert!(seeds.len() >= 2, "{name} has {} seeds", seeds.len());
    for (file, seed) in &seeds {
        check(target, seed, &file.display().to_string());
    }
    check(target, b"", "nothing");
    let mut random = Random(0x510_7ca5);
    for number in 0..MUTATIONS {
        let (file, seed) = &seeds[random.below(seeds.len())];
        let (_, other) = &seeds[random.below(seeds.len())];
        let mut input = seed.clone();
        for _ in 0..=random.below(4) {
            mutate(&mut input, &mut random, other);
        }
        check(target, &input, &format!("mutation {number} of {}", file.display()));
    }
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                replay(stringify!($name));
            }
        )*

        #[test]
        fn every_target_is_replayed() {
            let replayed = [$(stringify!($name)),*];
            for target in slotcast_fuzz::TARGETS {
                assert!(replayed.contains(&target.name), "{} is not replayed", target.name);
            }
        }
    };
}

replays! {
    authorization challenge client_session clip config frames keyframe person range rtcp rtp rtp_info rtsp_decoder rtsp_oracle sdp
    server_broadcaster server_viewer session_header settings_file still transport typed_id url webhook webhook_event words
}

#[test]
fn every_target_has_seeds_and_all_seeds_have_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let mut folders: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    let targets: Vec<_> = slotcast_fuzz::TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(folders, targets);
}

#[test]
fn an_unknown_target_is_refused_with_the_list_of_all() {
    for name in ["", "sdp2", "SDP"] {
        let Err(refusal) = slotcast_fuzz::find(name) else { panic!("{name:?} is a target") };
        assert!(slotcast_fuzz::TARGETS.iter().all(|target| refusal.contains(target.name)), "{refusal}");
    }
}
