//! What goes wrong on purpose is called by its name by `load view`, and blamed on whoever did it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use slotcast::serve::Server;
use slotcast_core::{
    rtcp::{NtpTime, SenderInfo},
    time::WallTime,
};
use slotcast_load::{
    push::{Content, PushConfig, push},
    view::{ViewConfig, ViewReport, measure},
};
use slotcast_net::clock::{self, monotonic_nanos};
use slotcast_rtsp::headers::transport::LowerTransport;
use slotcast_tools::{
    publish::{LinkConfig, PublishProgress, Source, publish_source},
    relay::{Fault, Relay},
    shape::{Shape, read_stamp},
    target::{ReachPolicy, Target},
};

use crate::{
    load_view::{Push, server},
    stage::{ID, PATIENCE, Setup, wait},
};

const SEATS: usize = 12;
const STALL: Duration = Duration::from_millis(1500);
/// How long a server reads nothing: so long that what fits on the way is sent, and more than a second of media waits.
const READS_NOTHING: Duration = Duration::from_millis(2500);

fn target(text: &str) -> Target {
    Target::parse(text, ReachPolicy::Loopback).unwrap()
}

/// Viewers behind `relay`, half of them over UDP, for `window`.
#[track_caller]
fn view(relay: &Relay, viewers: usize, window: Duration) -> ViewReport {
    let targets = vec![target(&format!("rtsp://{}/channel1", relay.address))];
    let mut config = ViewConfig::new(targets, viewers, viewers / 2, window);
    config.warm_up = Duration::from_millis(200);
    config.seats = Some(SEATS as u32);
    measure(&config).unwrap()
}

/// Viewers of a server behind a relay with this fault; the names of what `load view` found, and the faults made.
#[track_caller]
fn found(fault: Fault, window: Duration) -> (ViewReport, Vec<String>, u64) {
    let server = server(1, SEATS, None);
    let push = Push::start(&server, 1, LowerTransport::Tcp, Shape::default());
    let relay = Relay::start(server.addresses().viewers, fault).unwrap();
    let report = view(&relay, SEATS, window);
    assert!(push.finish().failed.is_empty());
    assert!(server.shutdown());
    assert_eq!((report.all.connected, report.tool.udp_drops), (SEATS as u64, Some(0)), "{report}");
    let names = names(&report);
    (report, names, relay.faults())
}

fn names(report: &ViewReport) -> Vec<String> {
    let name = |wrong: &String| wrong.split(':').next().unwrap_or_default().to_owned();
    report.wrong.iter().map(name).collect()
}

#[test]
fn a_relay_that_does_nothing_wrong_is_blamed_for_nothing() {
    let (report, names, faults) = found(Fault::None, Duration::from_secs(1));
    assert_eq!((names.len(), faults), (0, 0), "{report}");
    assert!(report.all.packets > 0 && report.all.lost == 0, "{report}");
}

#[test]
fn one_packet_in_a_thousand_that_does_not_come_is_called_lost() {
    let (report, names, faults) = found(Fault::Lose(1000), Duration::from_secs(1));
    assert_eq!(names, ["lost"], "{report}");
    // What comes after the last packet that a viewer got is missed by nobody.
    assert!((1..=faults).contains(&report.all.lost), "{faults} were lost: {report}");
}

#[test]
fn packets_that_come_twice_are_called_duplicates_and_hide_no_loss() {
    let (report, names, faults) = found(Fault::Repeat(100), Duration::from_secs(1));
    assert_eq!(names, ["duplicates"], "{report}");
    assert!((1..=faults).contains(&report.all.duplicates), "{faults} came twice: {report}");
    assert_eq!(report.all.lost, 0, "{report}");
}

#[test]
fn media_that_stands_still_is_called_stalled() {
    // The viewers get 2,700 packets a second: they have joined by then, and the window goes on for longer.
    let (report, names, faults) = found(Fault::Stall(5000, STALL), Duration::from_secs(4));
    assert_eq!((names, faults), (vec!["stalled".to_owned()], 1), "{report}");
    let longest = report.all.latency_ms.unwrap().max;
    assert!(longest >= STALL.as_secs_f64() * 900.0, "{longest} ms: {report}");
}

#[test]
fn one_viewer_too_many_is_called_over_the_seats() {
    let servers = [server(1, SEATS, None), server(1, SEATS, None)];
    let pushes = servers.each_ref().map(|to| Push::start(to, 1, LowerTransport::Tcp, Shape::default()));
    let fault = Fault::ExtraSeat(3, servers[1].addresses().viewers);
    let relay = Relay::start(servers[0].addresses().viewers, fault).unwrap();
    let report = view(&relay, SEATS + 3, Duration::from_secs(1));
    assert_eq!((report.all.connected, relay.faults()), (SEATS as u64 + 1, 1), "{report}");
    assert_eq!(names(&report), ["over the seats"], "{report}");
    pushes.into_iter().for_each(|push| drop(push.finish()));
    assert!(servers.into_iter().all(Server::shutdown));
}

#[track_caller]
fn at_the_end(fault: Fault) -> (ViewReport, u64) {
    let setup = Setup { seats: SEATS, rate: "4Mbit/s", ..Setup::default() };
    let clock = clock::system();
    let start: WallTime = clock().wall;
    let server = Server::start(setup.config(start), clock.clone()).unwrap();
    let push = Push::start(&server, 1, LowerTransport::Tcp, Shape::default());
    let relay = Relay::start(server.addresses().viewers, fault).unwrap();
    let report = thread::scope(|scope| {
        let viewers = scope.spawn(|| view(&relay, SEATS, Duration::from_secs(60)));
        wait("all viewers", || server.fanout_stats().viewers().values().sum::<u32>() == SEATS as u32);
        let lasts = clock().wall.since(start) + Duration::from_millis(300);
        server.reload(Setup { lasts, ..setup }.config(start)).unwrap();
        viewers.join().unwrap()
    });
    push.finish();
    assert!(server.shutdown());
    assert_eq!(report.all.dropped.iter().map(|dropped| dropped.count).sum::<u64>(), SEATS as u64, "{report}");
    (report, relay.faults())
}

#[test]
fn media_behind_the_goodbye_is_called_media_after_the_end() {
    let (report, faults) = at_the_end(Fault::AfterEnd);
    assert_eq!(names(&report), ["media after the end"], "{report}");
    // Over TCP alone the order is certain.
    let over_tcp = report.tcp.as_ref().unwrap().after_goodbye;
    assert!((1..=faults).contains(&over_tcp), "{faults}: {report}");
}

#[test]
fn an_end_without_media_behind_it_is_blamed_for_nothing() {
    let (report, faults) = at_the_end(Fault::None);
    assert_eq!((names(&report).len(), faults), (0, 0), "{report}");
}

/// A server that takes a link and reads nothing for [`READS_NOTHING`]; returns the longest time from one stamp to the next, of the
/// media that was due until a while after it read again.
fn stalling_server(listener: &TcpListener, stop: &AtomicBool) -> Duration {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while answer(&mut reader, &stream) != "RECORD" {}
    thread::sleep(READS_NOTHING);
    let (until, mut last, mut longest) = (monotonic_nanos() + 200_000_000, None, 0);
    while last.is_none_or(|last| last < until) {
        let mut head = [0; 4];
        reader.read_exact(&mut head).unwrap();
        let mut packet = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
        reader.read_exact(&mut packet).unwrap();
        if let Some(sent) = read_stamp(&packet) {
            longest = longest.max(last.map_or(0, |last| sent.saturating_sub(last)));
            last = Some(sent);
        }
    }
    stop.store(true, Ordering::Relaxed);
    // Reads on, so that the broadcaster can say that it leaves.
    drop(std::io::copy(&mut reader, &mut std::io::sink()));
    Duration::from_nanos(longest)
}

/// Reads a request and answers it with 200; returns its method.
fn answer(reader: &mut BufReader<TcpStream>, mut stream: &TcpStream) -> String {
    let (mut head, mut body) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "the broadcaster has left: {head}");
    }
    let value = |name: &str| {
        head.lines().find_map(|line| line.split_once(": ").filter(|(key, _)| *key == name)).map(|(_, v)| v)
    };
    if let Some(length) = value("Content-Length") {
        body = length.parse().unwrap();
    }
    reader.read_exact(&mut vec![0; body]).unwrap();
    let transport = value("Transport").map(|it| format!("Transport: {it}\r\n")).unwrap_or_default();
    let cseq = value("CSeq").unwrap();
    write!(stream, "RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\nSession: 1\r\n{transport}\r\n").unwrap();
    head.split(' ').next().unwrap().to_owned()
}

#[test]
fn a_server_that_reads_nothing_for_a_while_cannot_hide_it_from_the_stamps() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Little waits on the way to a server that does not read.
    socket2::SockRef::from(&listener).set_recv_buffer_size(64 * 1024).unwrap();
    let url = format!("rtsp://{}/channel1", listener.local_addr().unwrap());
    let config = PushConfig {
        targets: vec![target(&url)],
        // More in a second than all buffers on the way hold.
        content: Content::Synthetic(Shape { bit_rate: 60_000_000, ..Shape::default() }),
        transport: LowerTransport::Tcp,
        duration: Duration::from_secs(30),
    };
    let stop = AtomicBool::new(false);
    let (longest, report) = thread::scope(|scope| {
        let server = scope.spawn(|| stalling_server(&listener, &stop));
        let report = push(&config, &stop).unwrap();
        (server.join().unwrap(), report)
    });
    // Every frame of the stall is there, with the time at which it was due.
    assert!(longest < Duration::from_millis(40), "{longest:?} from one frame to the next: {report}");
    assert!(report.late_ms.unwrap().max > 1000.0, "{report}");
    assert_eq!(report.skipped_seconds, 0.0, "{report}");
}

/// Small packets, and now and then one that no datagram can hold.
struct TooLarge {
    number: u32,
    large: u64,
}

impl Source for TooLarge {
    fn sdp(&self) -> String {
        Shape::default().sdp()
    }

    fn tracks(&self) -> usize {
        1
    }

    fn next_at(&self) -> Option<Duration> {
        Some(Duration::from_millis(u64::from(self.number)))
    }

    fn take(&mut self, _: Instant, out: &mut Vec<Bytes>) -> usize {
        let is_large = self.number % 50 == 49;
        self.large += u64::from(is_large);
        let mut packet = vec![0x80, 0x60];
        packet.extend((self.number as u16).to_be_bytes());
        packet.extend((self.number * 90).to_be_bytes());
        packet.extend([0, 0, 0, 7, 0x65]);
        packet.resize(if is_large { 70_000 } else { 200 }, 0x55);
        out.push(packet.into());
        self.number += 1;
        0
    }

    fn sender_infos(&self, _: NtpTime, _: Duration) -> Vec<SenderInfo> {
        Vec::new()
    }
}

#[test]
fn what_the_broadcasters_kernel_refuses_is_counted_there_and_not_called_the_servers_loss() {
    let server = server(1, SEATS, None);
    let mut link = target(&format!("rtsp://{}/channel1", server.addresses().links[0]));
    link.credentials = Some(slotcast_rtsp::client::ClientCredentials {
        user: "live".to_owned(),
        password: format!("{ID}1"),
    });
    let link = LinkConfig { target: link, transport: LowerTransport::Udp, duration: None };
    let stop = AtomicBool::new(false);
    let mut source = TooLarge { number: 0, large: 0 };
    let (report, sent) = thread::scope(|scope| {
        let broadcaster =
            scope.spawn(|| publish_source(&mut source, &link, &stop, &PublishProgress::default()));
        wait("media", || server.fanout_stats().sum(|worker| &worker.chunks) > 0);
        let viewers = vec![target(&format!("rtsp://{}/channel1", server.addresses().viewers))];
        let report = measure(&ViewConfig::new(viewers, 2, 1, Duration::from_secs(1))).unwrap();
        stop.store(true, Ordering::Relaxed);
        (report, broadcaster.join().unwrap().unwrap())
    });
    assert!(source.large > 0 && sent.refused == source.large, "{} of {sent:?}", source.large);
    assert_eq!((report.all.connected, report.tool.udp_drops), (2, Some(0)), "{report}");
    assert!(report.all.packets > 0 && report.wrong.is_empty(), "{report}");
    assert!(server.shutdown());
}
