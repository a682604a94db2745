//! Viewers and networks that behave badly: what one of them does must not cost the others anything, nor itself more
//! than it must.

#[expect(dead_code, reason = "shared with other tests")]
mod rig;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rig::{Client, Item, PATIENCE, Rig, Setting};
use slotcast_fanout::FanoutConfig;

#[track_caller]
fn wait(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "it did not happen");
        std::thread::yield_now();
    }
}

fn one_worker() -> Setting {
    let setting = Setting::default();
    Setting { config: FanoutConfig { workers: 1, ..setting.config }, ..setting }
}

fn warm_up(rig: &mut Rig) {
    rig.frame(true, 5);
    rig.audio();
    rig.frame(false, 2);
    let chunks = 3 * rig.fanout.stats().workers().len() as u64;
    wait(|| rig.fanout.stats().sum(|w| &w.chunks) >= chunks);
}

fn small_window(server: SocketAddr) -> std::net::TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    socket.connect(&server.into()).unwrap();
    let stream: std::net::TcpStream = socket.into();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A TCP viewer joins late in a long group of pictures at the rate of the class; the next key frame comes while it
/// catches up. It must go on within a second or so.
#[test]
fn a_tcp_viewer_who_is_catching_up_survives_the_next_key_frame() {
    let mut rig = Rig::start(one_worker());
    rig.frame(true, 10);
    rig.audio();
    for _ in 0..100 {
        // 20 x 1.2 KB every 25 ms: 7.7 Mbit/s, just below the class.
        rig.frame(false, 20);
        std::thread::sleep(Duration::from_millis(25));
    }
    for _ in 0..80 {
        rig.frame(false, 20);
        std::thread::sleep(Duration::from_millis(25));
    }
    let mut client = rig.client();
    assert_eq!(client.play_tcp().status, 200);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let feeder = std::thread::spawn(move || {
        for frame in 0u32.. {
            if stopped.load(Ordering::Relaxed) {
                break;
            }
            rig.frame(frame == 6, 20);
            std::thread::sleep(Duration::from_millis(25));
        }
        rig.fanout.stats().sum(|w| &w.skips)
    });
    let (start, mut last, mut longest) = (Instant::now(), Instant::now(), Duration::ZERO);
    while start.elapsed() < Duration::from_secs(6) {
        let Item::Frame(..) = client.next() else { panic!("closed") };
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    stop.store(true, Ordering::Relaxed);
    let skips = feeder.join().unwrap();
    println!("longest silence {longest:?}, skips {skips}");
    assert!(longest < Duration::from_secs(2), "nothing came for {longest:?}");
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
    std::thread::sleep(Duration::from_millis(10_300));
    rig.frame(true, 49);
    // A round trip of 300 ms, no more.
    std::thread::sleep(Duration::from_millis(300));
    println!("seats {}", rig.timetable_viewers());
    assert_eq!(rig.timetable_viewers(), 1, "it was cut after 300 ms");
}

/// Nothing is read for 4 s, with a key frame each 300 ms: less than the 10 s that a stall may take.
#[test]
fn a_stall_of_four_seconds_is_not_three_jumps() {
    let mut rig = Rig::start(one_worker());
    warm_up(&mut rig);
    let mut client = rig.client();
    client.stream = small_window(rig.fanout.local_addr());
    assert_eq!(client.play_tcp().status, 200);
    let start = Instant::now();
    for frame in 0u32.. {
        rig.frame(frame.is_multiple_of(6), 20);
        std::thread::sleep(Duration::from_millis(50));
        if start.elapsed() > Duration::from_secs(5) || rig.timetable_viewers() == 0 {
            break;
        }
    }
    println!(
        "after {:?}: seats {}, skips {}",
        start.elapsed(),
        rig.timetable_viewers(),
        rig.fanout.stats().sum(|w| &w.skips)
    );
    assert_eq!(rig.timetable_viewers(), 1);
}

/// ICMP from `from` about a datagram of the server's RTP port to `to`.
/// `false` where raw sockets are not allowed: then there is nothing to test with.
fn icmp(kind: u8, code: u8, server: u16, to: u16) -> bool {
    let mut inner = vec![0x45, 0, 0, 48, 0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1];
    inner.extend(server.to_be_bytes());
    inner.extend(to.to_be_bytes());
    inner.extend([0, 28, 0, 0]);
    let mut packet = vec![kind, code, 0, 0, 0, 0, 0, 0];
    packet.extend(inner);
    let mut sum: u32 =
        packet.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(*c.get(1).unwrap_or(&0))).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let checksum = !(sum as u16);
    packet[2..4].copy_from_slice(&checksum.to_be_bytes());
    let raw_type = socket2::Type::from(libc::SOCK_RAW);
    let raw = socket2::Socket::new(socket2::Domain::IPV4, raw_type, Some(socket2::Protocol::ICMPV4));
    let Ok(raw) = raw else {
        eprintln!("skipped: raw sockets need root");
        return false;
    };
    raw.send_to(&packet, &SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    true
}

#[test]
fn icmp_about_one_viewer_does_not_turn_segmentation_off() {
    let mut rig = Rig::start(one_worker());
    warm_up(&mut rig);
    let mut client = rig.client();
    let (rtp, _rtcp) = client.play_udp();
    assert!(rig.fanout.stats().segmentation_in_use());
    for _ in 0..20 {
        if !icmp(3, 2, rig.fanout.rtp_ports()[0], rtp.local_addr().unwrap().port()) {
            return;
        }
        rig.frame(false, 5);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(rig.fanout.stats().segmentation_in_use(), "one protocol-unreachable and it is off for good");
}

#[test]
fn icmp_about_one_viewer_costs_the_others_no_packet() {
    let mut rig = Rig::start(one_worker());
    warm_up(&mut rig);
    let mut clients: Vec<Client> = (0..2).map(|_| rig.client()).collect();
    let sockets: Vec<_> = clients.iter_mut().map(Client::play_udp).collect();
    let mut buffer = [0; 2000];
    for _ in 0..7 {
        sockets[0].0.recv(&mut buffer).unwrap();
    }
    // Host unreachable, about the second viewer.
    for _ in 0..50 {
        if !icmp(3, 1, rig.fanout.rtp_ports()[0], sockets[1].0.local_addr().unwrap().port()) {
            return;
        }
        rig.frame(false, 5);
        std::thread::sleep(Duration::from_millis(2));
    }
    sockets[0].0.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut got = 0;
    while sockets[0].0.recv(&mut buffer).is_ok() {
        got += 1;
    }
    println!("first viewer got {got} of 250");
    assert_eq!(got, 250);
}

/// PAUSE and PLAY again and again: no more than the class's burst and four times its rate.
#[test]
fn pausing_and_playing_does_not_beat_the_pace() {
    let mut rig = Rig::start(one_worker());
    rig.frame(true, 18);
    rig.audio();
    for _ in 0..200 {
        rig.frame(false, 18);
    }
    wait(|| rig.fanout.stats().sum(|w| &w.chunks) >= 202);
    let mut client = rig.client();
    let (_rtp, _rtcp) = client.play_udp();
    let (start, sent) = (Instant::now(), rig.fanout.stats().sum(|w| &w.bytes_sent));
    let mut rounds = 0;
    while start.elapsed() < Duration::from_secs(2) {
        assert_eq!(client.ask("PAUSE", "", "").status, 200);
        assert_eq!(client.ask("PLAY", "", "").status, 200);
        rounds += 1;
    }
    let bits = (rig.fanout.stats().sum(|w| &w.bytes_sent) - sent) * 8;
    println!("{rounds} rounds, {} Mbit/s on a class of 8", bits / 2_000_000);
    assert!(bits / 2_000_000 < 4 * 8 + 8);
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
    rtcp.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut buffer = [0; 500];
    let told = (0..10).any(|_| rtcp.recv(&mut buffer).is_ok_and(|length| rig::has_bye(&buffer[..length])));
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

/// Two viewers behind one address name the same ports; the second leaves.
#[test]
fn ports_that_another_viewer_of_the_address_uses_are_not_given_twice() {
    let mut rig = Rig::start(one_worker());
    warm_up(&mut rig);
    let mut first = rig.client();
    let (rtp, rtcp) = first.play_udp();
    let port = |socket: &std::net::UdpSocket| socket.local_addr().unwrap().port();
    let mut second = rig.client();
    let setup = format!("Transport: RTP/AVP;unicast;client_port={}-{}\r\n", port(&rtp), port(&rtcp));
    println!("second SETUP: {}", second.ask("SETUP", "/trackID=0", &setup).status);
    second.ask("PLAY", "", "");
    assert_eq!(second.ask("TEARDOWN", "", "").status, 200);
    // The first one's sign of life is now a foreign datagram.
    rtcp.send_to(&[0x80, 201, 0, 1, 0, 0, 0, 1], ("127.0.0.1", rig.fanout.rtp_ports()[1])).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(rig.fanout.stats().sum(|w| &w.foreign_datagrams), 0);
}
