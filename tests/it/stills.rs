//! Stills with a program of our own in place of ffmpeg: who has one, how it is answered, when it is gone.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::atomic::Ordering,
};

use slotcast::serve::Server;
use slotcast_admission::Secret;
use slotcast_core::words::OpenLevel;
use slotcast_net::clock;

use crate::stage::{HandClock, ID, PATIENCE, Publisher, Setup, wait};

/// Writes the first four bytes of what it reads, in hexadecimal digits, as all that is in its JPEG.
const MADE_UP: &str = "#!/bin/sh\nprintf '\\377\\330\\377'\nod -An -tx1 -N4\nprintf '\\377\\331'\n";

/// A program that is gone with its folder.
struct Program {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Program {
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ffmpeg");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self { _folder: folder, path }
    }
}

/// Public programs on air, but for the first where `protected` says so; their broadcasters send.
fn on_air(channels: usize, protected: bool, program: &Program) -> (Server, Vec<Publisher>, HandClock) {
    let hand = HandClock::default();
    let clock = hand.clock(clock::system()().wall);
    let mut config = Setup { channels, ..Setup::default() }.config(clock().wall);
    config.stills.ffmpeg = Some(program.path.clone());
    if protected {
        config.programs[0].open_level = OpenLevel::Password;
        config.programs[0].password = Some(Secret::new("open sesame".to_owned()));
    }
    let server = Server::start(config, clock).unwrap();
    let send = |number| {
        let link = server.addresses().links[0];
        let publisher = Publisher::over_tcp(link, &format!("channel{number}"), &format!("{ID}{number}"));
        wait("the broadcaster sends", || publisher.progress.packets.load(Ordering::Relaxed) > 0);
        publisher
    };
    let publishers = (1..=channels).map(send).collect();
    (server, publishers, hand)
}

/// Header and body.
fn get(server: &Server, path: &str, header: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(server.addresses().http.unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\n{header}Connection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    (String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase(), answer[end + 4..].to_vec())
}

/// Where the still of the channel's program would be.
fn path_of(server: &Server, channel: u16) -> String {
    let programs = server.programs().programs();
    let program = programs.iter().find(|program| program.channel.number.0 == channel).unwrap();
    format!("/programs/{}/still.jpg", program.id.0)
}

fn wait_for_still(server: &Server, path: &str) {
    wait("a still", || get(server, path, "").0.starts_with("http/1.1 200"));
}

#[test]
fn a_public_program_on_air_has_a_still_until_its_end() {
    let program = Program::new(MADE_UP);
    let (server, _publishers, hand) = on_air(1, false, &program);
    let path = path_of(&server, 1);
    wait_for_still(&server, &path);
    let (head, body) = get(&server, &path, "");
    assert!(head.contains("content-type: image/jpeg") && head.contains("cache-control: public, max-age=5"));
    // The description's parameter sets come first.
    assert_eq!(body, b"\xff\xd8\xff 00 00 01 67\n\xff\xd9");
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    let (head, body) = get(&server, &path, &format!("If-None-Match: \"other\", W/{tag}\r\n"));
    assert!(head.starts_with("http/1.1 304") && body.is_empty(), "{head}");
    assert!(get(&server, "/programs/17/still.jpg", "").0.starts_with("http/1.1 404"));
    hand.pass(Setup::default().lasts);
    assert!(get(&server, &path, "").0.starts_with("http/1.1 404"), "gone at the end");
    assert!(server.shutdown());
}

#[test]
fn a_program_with_a_password_has_no_still() {
    let program = Program::new(MADE_UP);
    let (server, publishers, _) = on_air(2, true, &program);
    wait_for_still(&server, &path_of(&server, 2));
    let packets = || publishers[0].progress.packets.load(Ordering::Relaxed);
    let sent = packets();
    wait("the protected program goes on", || packets() > sent + 100);
    assert!(get(&server, &path_of(&server, 1), "").0.starts_with("http/1.1 404"));
    assert!(server.shutdown());
}

#[test]
fn a_server_without_the_program_serves_without_stills() {
    let missing = Program { path: PathBuf::from("/nowhere/ffmpeg"), _folder: tempfile::tempdir().unwrap() };
    let (server, _publishers, _) = on_air(1, false, &missing);
    assert!(get(&server, &path_of(&server, 1), "").0.starts_with("http/1.1 404"));
    assert!(server.shutdown());
}
