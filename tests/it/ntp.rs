//! The watch over the clock against NTP servers that are made for one test.

use std::{
    net::{Ipv4Addr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use slotcast::ntp::ClockWatch;
use slotcast_core::time::{Clock, Now, WallTime};
use slotcast_net::clock::system;
use slotcast_reservation::streaming::ClockCheck;

/// What a server of the test does with a request of 48 bytes.
#[derive(Clone, Copy)]
enum Habit {
    /// Answers with a clock that is ahead by this, in milliseconds.
    Ahead(i64),
    /// Reads and says nothing.
    Silent,
    /// Asks to be left alone.
    KissOfDeath(&'static [u8; 4]),
    /// Answers with these bytes.
    Says(&'static [u8]),
    /// Answers well, but to another request.
    Forged,
    /// Is not synchronised itself.
    Unsynchronised,
}

/// A server on a port of its own, for the rest of the test; gives its `host:port`.
fn serve(habit: Habit) -> String {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let clock = system();
    std::thread::spawn(move || {
        let mut request = [0; 48];
        while let Ok((48, peer)) = socket.recv_from(&mut request) {
            if let Some(answer) = answer(habit, &request, clock().wall) {
                let _ = socket.send_to(&answer, peer);
            }
        }
    });
    address
}

/// RFC 4330 §4: the server's packet.
fn answer(habit: Habit, request: &[u8; 48], now: WallTime) -> Option<Vec<u8>> {
    let ahead_ms = match habit {
        Habit::Silent => return None,
        Habit::Says(bytes) => return Some(bytes.to_vec()),
        Habit::Ahead(ahead_ms) => ahead_ms,
        _ => 0,
    };
    let mut packet = [0; 48];
    packet[0] = 0b00_100_100; // version 4, server
    packet[1] = 1;
    packet[12..16].copy_from_slice(b"TEST");
    packet[24..32].copy_from_slice(&request[40..48]);
    let micros = now.as_micros() + ahead_ms * 1_000;
    let seconds = (micros.div_euclid(1_000_000) + 2_208_988_800) as u64;
    let fraction = ((micros.rem_euclid(1_000_000) as u64) << 32) / 1_000_000;
    let stamp = (seconds << 32 | fraction).to_be_bytes();
    packet[16..24].copy_from_slice(&stamp);
    packet[32..40].copy_from_slice(&stamp);
    packet[40..48].copy_from_slice(&stamp);
    match habit {
        Habit::KissOfDeath(code) => {
            packet[1] = 0;
            packet[12..16].copy_from_slice(code);
        }
        Habit::Forged => packet[31] ^= 1,
        Habit::Unsynchronised => packet[0] |= 0b11_000_000,
        _ => {}
    }
    Some(packet.to_vec())
}

/// What comes of asking servers of these habits once.
async fn check(habits: &[Habit], answer_max: Duration) -> ClockCheck {
    let servers = habits.iter().map(|habit| serve(*habit)).collect();
    let watch = ClockWatch::new(servers, system()).with_patience(answer_max);
    watch.ask_once().await;
    watch.check().expect("servers are configured")
}

const PATIENT: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(100);
const NOTHING: ClockCheck = ClockCheck { offset_micros: None, is_off: false };

/// Within half of the longest way that `PATIENT` allows: the machine may be slow, and the offsets of the tests are longer.
#[track_caller]
fn expect_near(check: ClockCheck, expected_s: i64) {
    let offset = check.offset_micros.expect("an offset");
    let patience = PATIENT.as_micros() as i64 / 2;
    assert!((offset - expected_s * 1_000_000).abs() <= patience, "{offset} µs instead of {expected_s} s");
}

#[tokio::test]
async fn a_right_clock_is_known_to_be_right() {
    expect_near(check(&[Habit::Ahead(0)], PATIENT).await, 0);
}

#[tokio::test]
async fn a_clock_behind_and_a_clock_ahead_are_off() {
    for ahead_s in [3_600, -3_600] {
        let check = check(&[Habit::Ahead(ahead_s * 1_000)], PATIENT).await;
        expect_near(check, ahead_s);
        assert!(check.is_off, "{check:?}");
    }
}

#[tokio::test]
async fn one_liar_among_three_servers_is_outvoted() {
    expect_near(check(&[Habit::Ahead(0), Habit::Ahead(86_400_000), Habit::Ahead(0)], PATIENT).await, 0);
}

#[tokio::test]
async fn a_silent_server_holds_nobody_up() {
    assert_eq!(check(&[Habit::Silent], SHORT).await, NOTHING);
}

#[tokio::test]
async fn answers_that_tell_no_time_are_refused() {
    for habit in [
        Habit::Says(b""),
        Habit::Says(&[0x24; 47]),
        Habit::Says(&[0xff; 48]),
        Habit::Says(&[0x24; 2_000]),
        Habit::Forged,
        Habit::Unsynchronised,
    ] {
        assert_eq!(check(&[habit], PATIENT).await, NOTHING);
        expect_near(check(&[habit, Habit::Ahead(0)], PATIENT).await, 0);
    }
}

#[tokio::test]
async fn a_server_that_asks_to_be_left_alone_is_not_asked_again() {
    let watch = ClockWatch::new(vec![serve(Habit::KissOfDeath(b"RATE"))], system()).with_patience(PATIENT);
    // It ends, because nobody is left to ask.
    tokio::time::timeout(PATIENT * 2, watch.run()).await.expect("it asks on");
    assert_eq!(watch.check(), Some(NOTHING));
}

#[tokio::test]
async fn a_closed_port_is_no_answer() {
    let closed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().to_string();
    let watch = ClockWatch::new(vec![closed], system()).with_patience(PATIENT);
    watch.ask_once().await;
    assert_eq!(watch.check(), Some(NOTHING));
}

#[tokio::test]
async fn without_servers_nothing_is_known_and_the_watch_ends() {
    let watch = ClockWatch::new(Vec::new(), system());
    watch.run().await;
    assert_eq!(watch.check(), None);
}

#[tokio::test(start_paused = true)]
async fn while_nobody_answers_the_servers_are_asked_again_soon_and_then_less_often() {
    // It reads and never answers. Time goes on only when all wait, and then at once to the next thing that is due.
    let silent = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let began = tokio::time::Instant::now();
    let clock: Clock = Arc::new(move || {
        let passed = began.elapsed();
        Now { mono: began.into_std() + passed, wall: WallTime::from_micros(passed.as_micros() as i64) }
    });
    let watch = ClockWatch::new(vec![silent.local_addr().unwrap().to_string()], clock);
    let running = tokio::spawn(async move { watch.run().await });
    let mut asked = Vec::new();
    while asked.len() < 7 {
        let question = tokio::time::timeout(Duration::from_secs(3_600), silent.recv(&mut [0; 48])).await;
        assert_eq!(question.expect("it asks no more").unwrap(), 48);
        asked.push(began.elapsed().as_secs());
    }
    running.abort();
    // Each asking takes the 3 s for which an answer is waited.
    let waits: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0] - 3).collect();
    assert_eq!(waits, [16, 32, 64, 128, 256, 256]);
}
