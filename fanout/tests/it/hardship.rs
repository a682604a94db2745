//! Viewers and networks that behave badly: what one of them does must not cost the others anything, nor itself more
//! than it must.

use std::{collections::HashSet, net::SocketAddr, time::Duration};

use slotcast_fanout::FanoutConfig;
use slotcast_testing::skip;

use crate::rig::{Client, Item, PATIENCE, Rig, Setting, datagrams, has_bye, sequence_number};

/// Between two frames of the tests' video.
const FRAME_TIME: Duration = Duration::from_millis(25);

fn one_worker() -> Setting {
    let setting = Setting::default();
    Setting { config: FanoutConfig { workers: 1, ..setting.config }, ..setting }
}

fn warm_up(rig: &mut Rig) {
    rig.frame(true, 5);
    rig.audio();
    rig.frame(false, 2);
    rig.taken();
}

fn small_window(server: SocketAddr) -> std::net::TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    socket.connect(&server.into()).unwrap();
    let stream: std::net::TcpStream = socket.into();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// One more frame of 20 packets: 7.7 Mbit/s, just below the class.
fn frame_goes_by(rig: &mut Rig, key: bool) {
    rig.frame(key, 20);
    rig.taken();
    rig.pass(FRAME_TIME);
}

/// A TCP viewer joins late in a long group of pictures at the rate of the class; the next key frame comes while it
/// catches up. It must go on within a second or so.
#[test]
fn a_tcp_viewer_who_is_catching_up_survives_the_next_key_frame() {
    let mut rig = Rig::start(one_worker());
    rig.frame(true, 10);
    rig.audio();
    (0..180).for_each(|_| frame_goes_by(&mut rig, false));
    let mut client = rig.client();
    assert_eq!(client.play_tcp().status, 200);
    let (mut silent, mut longest, mut last) = (Duration::ZERO, Duration::ZERO, 0);
    for frame in 0..160 {
        rig.frame(frame == 6, 20);
        // Who catches up is served every few milliseconds.
        for _ in 0..5 {
            rig.pass(FRAME_TIME / 5);
            rig.turn();
            let items = client.arrived();
            silent = if items.is_empty() { silent + FRAME_TIME / 5 } else { Duration::ZERO };
            longest = longest.max(silent);
            for item in items {
                match item {
                    Item::Frame(0, packet) => last = sequence_number(&packet),
                    Item::Frame(..) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    assert!(longest < Duration::from_secs(2), "nothing came for {longest:?}");
    let behind = rig.next_sequence_number().wrapping_sub(last) - 1;
    assert!(behind < 40, "4 s after the key frame it is still {behind} packets behind");
}

/// The broadcaster was away for 11 s; the first picture after that does not fit the socket at once.
#[test]
fn a_viewer_is_not_cut_as_stalled_for_the_broadcasters_silence() {
    let mut rig = Rig::start(one_worker());
    warm_up(&mut rig);
    let mut client = rig.client();
    client.stream = small_window(rig.fanout.local_addr());
    assert_eq!(client.play_tcp().status, 200);
    for _ in 0..7 {
        client.next();
    }
    rig.pass(Duration::from_millis(10_300));
    rig.turn();
    rig.frame(true, 49);
    rig.taken();
    // A round trip of 300 ms, no more.
    for _ in 0..3 {
        rig.pass(Duration::from_millis(100));
        rig.turn();
    }
    assert_eq!(rig.timetable_viewers(), 1, "it was cut after 300 ms");
}

/// Nothing is read for 5 s, with a key frame each 300 ms: less than the 10 s that a stall may take.
#[test]
fn a_stall_of_five_seconds_is_not_three_jumps() {
    let mut rig = Rig::start(one_worker());
    warm_up(&mut rig);
    let mut client = rig.client();
    client.stream = small_window(rig.fanout.local_addr());
    assert_eq!(client.play_tcp().status, 200);
    for frame in 0u32..100 {
        rig.frame(frame.is_multiple_of(6), 20);
        rig.taken();
        rig.pass(Duration::from_millis(50));
    }
    rig.turn();
    assert!(rig.fanout.stats().sum(|w| &w.skips) > 0, "all of it fits the socket: nothing is tested");
    assert_eq!(rig.timetable_viewers(), 1);
}

/// A socket that may send ICMP; `None`: this process may not have one, and the test is skipped.
fn icmp_socket() -> Option<socket2::Socket> {
    let raw = socket2::Type::from(libc::SOCK_RAW);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, raw, Some(socket2::Protocol::ICMPV4));
    if socket.is_err() {
        skip("raw sockets need root");
    }
    socket.ok()
}

/// Tells the server that its datagram from `from` to `to`, both ports of 127.0.0.1, did not arrive: "destination unreachable" with
/// that code (RFC 792).
fn tell_unreachable(socket: &socket2::Socket, code: u8, from: u16, to: u16) {
    let mut packet = vec![3, code, 0, 0, 0, 0, 0, 0];
    packet.extend([0x45, 0, 0, 48, 0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
    packet.extend(from.to_be_bytes());
    packet.extend(to.to_be_bytes());
    packet.extend([0, 28, 0, 0]);
    let mut sum: u32 = packet.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    socket.send_to(&packet, &SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
}

#[test]
fn icmp_about_one_viewer_does_not_turn_segmentation_off() {
    const PROTOCOL_UNREACHABLE: u8 = 2;
    let Some(icmp) = icmp_socket() else { return };
    let mut rig = Rig::start(one_worker());
    warm_up(&mut rig);
    let mut client = rig.client();
    let (rtp, _rtcp) = client.play_udp();
    assert!(rig.fanout.stats().segmentation_in_use());
    for _ in 0..20 {
        let to = rtp.local_addr().unwrap().port();
        tell_unreachable(&icmp, PROTOCOL_UNREACHABLE, rig.fanout.rtp_ports()[0][0], to);
        rig.frame(false, 5);
        rig.taken();
    }
    rig.turn();
    assert!(rig.fanout.stats().segmentation_in_use(), "one protocol-unreachable and it is off for good");
}

#[test]
fn icmp_about_one_viewer_costs_the_others_no_packet() {
    const HOST_UNREACHABLE: u8 = 1;
    let Some(icmp) = icmp_socket() else { return };
    let mut rig = Rig::start(one_worker());
    warm_up(&mut rig);
    let mut clients: Vec<Client> = (0..2).map(|_| rig.client()).collect();
    let sockets: Vec<_> = clients.iter_mut().map(Client::play_udp).collect();
    let second = sockets[1].0.local_addr().unwrap().port();
    for _ in 0..50 {
        tell_unreachable(&icmp, HOST_UNREACHABLE, rig.fanout.rtp_ports()[0][0], second);
        rig.frame(false, 5);
        rig.taken();
    }
    let mut buffer = [0; 2000];
    for expected in 1000..rig.next_sequence_number() {
        sockets[0].0.recv(&mut buffer).unwrap();
        assert_eq!(sequence_number(&buffer), expected);
    }
}

/// PAUSE and PLAY again and again for 2 s: no more than the class's burst and four times its rate.
#[test]
fn pausing_and_playing_does_not_beat_the_pace() {
    let mut rig = Rig::start(one_worker());
    rig.frame(true, 18);
    rig.audio();
    for _ in 0..200 {
        rig.frame(false, 18);
    }
    rig.taken();
    let mut client = rig.client();
    let (_rtp, _rtcp) = client.play_udp();
    let sent = rig.fanout.stats().sum(|w| &w.bytes_sent);
    for _ in 0..200 {
        assert_eq!(client.ask("PAUSE", "", "").status, 200);
        assert_eq!(client.ask("PLAY", "", "").status, 200);
        rig.pass(Duration::from_millis(10));
    }
    let bits = (rig.fanout.stats().sum(|w| &w.bytes_sent) - sent) * 8;
    assert!(bits > 8_000_000, "only {bits} bits were sent: nothing is tested");
    assert!(bits < 2 * 4 * 8_000_000 + 8_000_000, "{bits} bits in 2 s on a class of 8 Mbit/s");
}

/// A UDP viewer of the video; the first packet of the new stream is one of sound.
#[test]
fn a_changed_stream_says_goodbye_for_the_old_one() {
    let mut rig = Rig::start(one_worker());
    warm_up(&mut rig);
    let mut client = rig.client();
    let (_rtp, rtcp) = client.play_udp();
    rig.change_stream();
    rig.audio();
    while !matches!(client.next(), Item::Closed) {}
    let told = datagrams(&rtcp).iter().any(|packet| has_bye(packet));
    assert!(told, "closed without a BYE of the old source");
}

/// On `[::]`, a viewer over IPv4 whose port is gone.
#[test]
fn on_both_protocols_a_viewer_over_ipv4_whose_port_is_gone_loses_its_seat() {
    let mut setting = one_worker();
    setting.config.listen = "[::]:0".parse().unwrap();
    let mut rig = Rig::start(setting);
    warm_up(&mut rig);
    let mut gone = Client::connect(SocketAddr::from(([127, 0, 0, 1], rig.fanout.local_addr().port())));
    let (rtp, rtcp) = gone.play_udp();
    rtp.recv(&mut [0; 2000]).unwrap();
    drop((rtp, rtcp));
    rig.stream_until(|rig| rig.timetable_viewers() == 0);
}

/// Viewers behind one address name ports that the first one plays at, on whichever worker they come in.
#[test]
fn ports_that_another_viewer_of_the_address_uses_are_not_given_twice() {
    let mut rig = Rig::start(Setting { seats: 200, ..Setting::default() });
    warm_up(&mut rig);
    let mut first = rig.client();
    let (rtp, rtcp) = first.play_udp();
    let transport = |rtp, rtcp| format!("Transport: RTP/AVP;unicast;client_port={rtp}-{rtcp}\r\n");
    let taken = transport(rtp.local_addr().unwrap().port(), rtcp.local_addr().unwrap().port());
    let mut workers = HashSet::new();
    for port in (2000..2128).step_by(2) {
        let mut other = rig.client();
        let refused = other.ask("SETUP", "/trackID=0", &taken);
        assert_eq!(refused.status, 461);
        assert_eq!(refused.reason, "Another session at your address has these client ports; choose others");
        let own = other.ask("SETUP", "/trackID=0", &transport(port, port + 1));
        assert_eq!(own.status, 200);
        assert_eq!(other.ask("SETUP", "/trackID=0", &taken).status, 461);
        assert_eq!(other.ask("SETUP", "/trackID=1", &taken).status, 461);
        assert_eq!(other.ask("PLAY", "", "").status, 200);
        // Each worker has ports of its own.
        let server_ports = own.headers["transport"].split(';').find(|part| part.starts_with("server_port"));
        workers.insert(server_ports.unwrap().to_owned());
        if workers.len() == 2 {
            break;
        }
    }
    assert_eq!(workers.len(), 2, "all viewers came to one worker");
    // The first one's sign of life is a foreign datagram to the other worker, and to no more than that one.
    for [_, port] in rig.fanout.rtp_ports() {
        rtcp.send_to(&[0x80, 201, 0, 1, 0, 0, 0, 1], ("127.0.0.1", *port)).unwrap();
    }
    rig.turn();
    assert_eq!(rig.fanout.stats().sum(|w| &w.foreign_datagrams), 1);
    assert_eq!(first.ask("TEARDOWN", "", "").status, 200);
    assert_eq!(rig.client().ask("SETUP", "/trackID=0", &taken).status, 200);
}

/// A worker has time for a few of them in a turn: whoever watches waits for no more than that.
#[test]
fn a_crowd_that_guesses_is_answered_over_many_turns() {
    let mut rig = Rig::start(Setting { password: Some("secret"), ..one_worker() });
    warm_up(&mut rig);
    const CROWD: u64 = 64;
    let mut crowd: Vec<_> = (0..CROWD as u8)
        .map(|place| Client::connect_from(([127, 0, 1, place], 0).into(), rig.fanout.local_addr()))
        .collect();
    for client in &mut crowd {
        let challenged = client.ask("DESCRIBE", "", "");
        let (_, challenge) = challenged.headers["www-authenticate"].split_once(' ').unwrap();
        let response = if challenge.contains("SHA-256") { "0".repeat(64) } else { "0".repeat(32) };
        let proof = format!("Digest username=\"u\", {challenge}, uri=\"/ch\", response=\"{response}\"");
        client.send("DESCRIBE", "", &format!("Authorization: {proof}\r\n"));
    }
    rig.turn();
    assert!(crowd.iter_mut().all(|client| client.arrived().is_empty()), "a guess is answered late");
    let before = rig.turns();
    rig.looks_take(Duration::from_micros(200));
    rig.pass(Duration::from_secs(1));
    for client in &mut crowd {
        assert!(matches!(client.next(), Item::Response(refused) if refused.status == 401));
    }
    let turns = rig.turns() - before;
    assert!(turns > CROWD / 10, "{turns} turns for {CROWD} answers");
}
