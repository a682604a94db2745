//! Viewers by hand against running workers: what they get, where they start, who is refused, who is cut.

use std::{
    net::{Shutdown, UdpSocket},
    time::{Duration, Instant},
};

use slotcast_fanout::{FanoutConfig, Protocol};

use crate::rig::{Client, Item, PATIENCE, Rig, Setting, datagrams, has_bye, sequence_number, wait};

/// Fills the log of every worker with a group of pictures and an audio packet.
fn warm_up(rig: &mut Rig) {
    rig.frame(false, 2);
    rig.frame(true, 5);
    rig.audio();
    rig.frame(false, 2);
    rig.taken();
}

fn info(rtp_info: &str, track: usize, name: &str) -> u64 {
    let entry = rtp_info.split(',').nth(track).unwrap();
    let value = entry.split(';').find_map(|part| part.strip_prefix(&format!("{name}="))).unwrap();
    value.parse().unwrap()
}

fn frames(client: &mut Client, channel: u8, count: usize) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    while packets.len() < count {
        match client.next() {
            Item::Frame(at, packet) if at == channel => packets.push(packet),
            Item::Frame(..) => {}
            other => panic!("{other:?}"),
        }
    }
    packets
}

#[test]
fn a_tcp_viewer_starts_at_the_key_frame_that_rtp_info_names() {
    let mut rig = Rig::start(Setting::default());
    warm_up(&mut rig);
    let mut client = rig.client();
    let described = client.ask("DESCRIBE", "", "Accept: application/sdp\r\n");
    assert_eq!(described.status, 200);
    assert!(described.body.contains("a=control:trackID=1"), "{}", described.body);
    let played = client.play_tcp();
    assert_eq!(played.status, 200);
    let rtp_info = &played.headers["rtp-info"];
    assert_eq!((info(rtp_info, 0, "seq"), info(rtp_info, 0, "rtptime")), (1002, 8000));
    let packets = frames(&mut client, 0, 7);
    let numbers: Vec<_> = packets.iter().map(|p| sequence_number(p)).collect();
    assert_eq!(numbers, (1002..1009).collect::<Vec<_>>());
    rig.frame(false, 3);
    assert_eq!(frames(&mut client, 0, 3).len(), 3);
}

#[test]
fn play_while_playing_names_the_packet_that_comes_next() {
    let mut rig = Rig::start(Setting::default());
    warm_up(&mut rig);
    let (mut over_tcp, mut over_udp, mut reframed) = (rig.client(), rig.client(), rig.client());
    over_tcp.play_tcp();
    let (rtp, _rtcp) = over_udp.play_udp();
    reframed.ask("SETUP", "/trackID=0", "Transport: RTP/AVP/TCP;unicast;interleaved=8-9\r\n");
    reframed.ask("PLAY", "", "");
    let mut buffer = [0; 2000];
    for packets in [1, 4, 20] {
        rig.frame(false, packets);
        let last = rig.next_sequence_number() - 1;
        while sequence_number(&frames(&mut over_tcp, 0, 1)[0]) != last {}
        while sequence_number(&frames(&mut reframed, 8, 1)[0]) != last {}
        while sequence_number(&buffer) != last {
            rtp.recv(&mut buffer).unwrap();
        }
        for client in [&mut over_tcp, &mut over_udp, &mut reframed] {
            let played = client.ask("PLAY", "", "");
            assert_eq!(played.status, 200);
            let rtp_info = &played.headers["rtp-info"];
            assert_eq!(info(rtp_info, 0, "seq"), u64::from(last) + 1, "{rtp_info}");
            assert!(info(rtp_info, 0, "rtptime") > 8000, "{rtp_info}");
        }
    }
}

#[test]
fn udp_leaves_from_the_advertised_port_with_and_without_segmentation() {
    for segments in [true, false] {
        let mut setting = Setting::default();
        setting.config = FanoutConfig { segments, ..setting.config };
        let mut rig = Rig::start(setting);
        warm_up(&mut rig);
        let mut client = rig.client();
        let (rtp, _rtcp) = client.play_udp();
        let mut buffer = [0; 2000];
        for expected in 1002..1009 {
            let (length, from) = rtp.recv_from(&mut buffer).unwrap();
            assert_eq!((length, sequence_number(&buffer)), (1200, expected));
            assert!(rig.fanout.rtp_ports().iter().any(|pair| pair[0] == from.port()));
        }
        rig.frame(false, 20);
        for expected in 1009..1029 {
            rtp.recv(&mut buffer).unwrap();
            assert_eq!(sequence_number(&buffer), expected);
        }
        assert_eq!(rig.fanout.stats().segmentation_in_use(), segments);
    }
}

#[test]
fn a_viewer_of_one_track_on_odd_channels_gets_that_track_on_them() {
    let mut rig = Rig::start(Setting::default());
    warm_up(&mut rig);
    let mut client = rig.client();
    let setup = client.ask("SETUP", "/trackID=1", "Transport: RTP/AVP/TCP;unicast;interleaved=6-7\r\n");
    assert_eq!(setup.status, 200);
    assert_eq!(client.ask("PLAY", "", "").status, 200);
    rig.audio();
    rig.frame(true, 1);
    rig.audio();
    for _ in 0..3 {
        let Item::Frame(channel, packet) = client.next() else { panic!() };
        assert_eq!((channel, packet.len()), (6, 112));
    }
}

#[test]
fn over_the_seats_is_453_with_the_reason_and_those_inside_lose_nothing() {
    let mut rig = Rig::start(Setting { seats: 2, ..Setting::default() });
    warm_up(&mut rig);
    let mut inside: Vec<Client> = (0..2).map(|_| rig.client()).collect();
    let mut sockets: Vec<UdpSocket> = Vec::new();
    for client in &mut inside {
        sockets.push(client.play_udp().0);
    }
    let mut refused = 0;
    rig.stream_until(|rig| {
        let mut outside = rig.client();
        let setup = outside.ask("SETUP", "/trackID=0", "Transport: RTP/AVP/TCP;unicast\r\n");
        assert_eq!((setup.status, setup.reason.contains("seats")), (453, true), "{setup:?}");
        refused += 1;
        refused == 50
    });
    let mut buffer = [0; 2000];
    for socket in &sockets {
        for expected in 1002..1009 + 49 {
            socket.recv(&mut buffer).unwrap();
            assert_eq!(sequence_number(&buffer), expected);
        }
    }
    assert_eq!(inside.pop().unwrap().ask("TEARDOWN", "", "").status, 200);
    let mut next = rig.client();
    next.play_udp();
}

#[test]
fn closing_the_connection_gives_the_seat_back() {
    let mut rig = Rig::start(Setting { seats: 1, ..Setting::default() });
    warm_up(&mut rig);
    for _ in 0..20 {
        let mut client = rig.client();
        let deadline = Instant::now() + PATIENCE;
        while client.ask("SETUP", "/trackID=0", "Transport: RTP/AVP/TCP;unicast\r\n").status != 200 {
            assert!(Instant::now() < deadline, "the seat was lost");
        }
        drop(client);
    }
}

#[test]
fn who_shuts_its_writing_side_behind_its_requests_gets_every_answer() {
    let mut rig = Rig::start(Setting { seats: 1, ..Setting::default() });
    warm_up(&mut rig);
    let mut client = rig.client();
    client.send("OPTIONS", "", "");
    client.send("DESCRIBE", "", "Accept: application/sdp\r\n");
    client.send("SETUP", "/trackID=0", "Transport: RTP/AVP/TCP;unicast\r\n");
    client.stream.shutdown(Shutdown::Write).unwrap();
    for cseq in ["1", "2", "3"] {
        let Item::Response(response) = client.next() else { panic!("no answer to {cseq}") };
        assert_eq!((response.status, response.headers["cseq"].as_str()), (200, cseq));
    }
    assert!(matches!(client.next(), Item::Closed));
    assert_eq!(rig.timetable_viewers(), 0, "the seat was given back before the close");
}

#[test]
fn who_shuts_its_writing_side_while_it_plays_is_gone() {
    let mut rig = Rig::start(Setting { seats: 1, ..Setting::default() });
    warm_up(&mut rig);
    for over_udp in [false, true] {
        let mut client = rig.client();
        let _sockets = if over_udp {
            Some(client.play_udp())
        } else {
            assert_eq!(client.play_tcp().status, 200);
            None
        };
        client.stream.shutdown(Shutdown::Write).unwrap();
        while !matches!(client.next(), Item::Closed) {}
        wait(|| rig.timetable_viewers() == 0);
    }
    // The numbers are told with each tick.
    rig.pass(Duration::from_millis(100));
    wait(|| rig.fanout.stats().sum(|w| &w.connections) == 0);
}

#[test]
fn a_stalled_tcp_viewer_is_cut_with_bounded_memory_and_the_others_lose_nothing() {
    let mut rig = Rig::start(Setting::default());
    warm_up(&mut rig);
    let mut stalled = rig.client();
    stalled.play_tcp();
    let mut watching = rig.client();
    let (rtp, _rtcp) = watching.play_udp();
    let mut lost_nothing = {
        let (mut buffer, mut next) = ([0; 2000], 1002u16);
        move |packets: usize| {
            for _ in 0..packets {
                rtp.recv(&mut buffer).unwrap();
                assert_eq!(sequence_number(&buffer), next);
                next = next.wrapping_add(1);
            }
        }
    };
    lost_nothing(7);
    // 5.8 Mbit/s for 30 s: far more than the sockets between hold.
    let viewers = |rig: &Rig| rig.fanout.stats().viewers().values().sum::<u32>();
    let mut frames = 0u32;
    while rig.timetable_viewers() == 2 {
        assert!(frames < 600, "it was never cut");
        rig.frame(frames.is_multiple_of(20), 30);
        lost_nothing(30);
        frames += 1;
        rig.pass(Duration::from_millis(50));
    }
    assert!(rig.fanout.stats().sum(|w| &w.skips) >= 1);
    wait(|| viewers(&rig) == 1);
    let udp = (slotcast_core::words::ChannelNumber(1), Protocol::Udp);
    assert!(rig.fanout.stats().viewers().contains_key(&udp));
    rig.frame(true, 30);
    lost_nothing(30);
}

#[test]
fn a_slow_viewer_sees_whole_frames_and_starts_again_at_a_key_frame() {
    let mut rig = Rig::start(Setting::default());
    warm_up(&mut rig);
    let mut slow = rig.client();
    slow.play_tcp();
    let (mut frames, mut key_frames) = (0u32, Vec::new());
    while rig.fanout.stats().sum(|w| &w.skips) == 0 {
        assert!(frames < 600, "it never jumped");
        if frames.is_multiple_of(30) {
            key_frames.push(rig.next_sequence_number());
        }
        rig.frame(frames.is_multiple_of(30), 30);
        rig.taken();
        frames += 1;
        rig.pass(Duration::from_millis(50));
    }
    let end = Instant::now() + PATIENCE;
    let (mut last, mut jumps) = (1001u16, 0);
    key_frames.push(rig.next_sequence_number());
    rig.frame(true, 30);
    while jumps == 0 {
        assert!(Instant::now() < end);
        match slow.next() {
            Item::Frame(0, packet) => {
                assert_eq!(packet.len(), 1200, "framing is whole");
                let number = sequence_number(&packet);
                if number != last.wrapping_add(1) {
                    jumps += 1;
                    assert!(
                        key_frames.contains(&number),
                        "the first packet of a key frame follows, not {number}"
                    );
                }
                last = number;
            }
            Item::Frame(..) => rig.frame(false, 1),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn at_the_end_everybody_is_told_and_closed_and_nothing_leaves_after_it() {
    let mut rig = Rig::start(Setting { seats: 50, ..Setting::default() });
    warm_up(&mut rig);
    let mut tcp: Vec<Client> = (0..10).map(|_| rig.client()).collect();
    tcp.iter_mut().for_each(|client| assert_eq!(client.play_tcp().status, 200));
    let mut udp: Vec<Client> = (0..10).map(|_| rig.client()).collect();
    let sockets: Vec<_> = udp.iter_mut().map(Client::play_udp).collect();
    rig.end_in(Duration::from_secs(1));
    let end = rig.spec.window.end();
    // What is sent before is little, so that it fits the sockets of clients who read only afterwards.
    rig.stream_until(|rig| rig.now().wall.saturating_add(Duration::from_millis(50)) >= end);
    rig.turn();
    let sent = rig.fanout.stats().sum(|w| &w.packets_sent);
    rig.pass(Duration::from_millis(50));
    rig.frame(true, 5);
    for (client, (_, rtcp)) in udp.iter_mut().zip(&sockets) {
        while !matches!(client.next(), Item::Closed) {}
        assert!(datagrams(rtcp).iter().any(|packet| has_bye(packet)));
    }
    for client in &mut tcp {
        let mut told = false;
        loop {
            match client.next() {
                Item::Frame(1, packet) => told |= has_bye(&packet),
                Item::Closed => break,
                _ => {}
            }
        }
        assert!(told);
    }
    rig.frame(true, 5);
    rig.taken();
    rig.turn();
    assert_eq!(rig.fanout.stats().sum(|w| &w.packets_sent), sent, "nothing left after the end");
    assert_eq!(rig.client().ask("DESCRIBE", "", "").status, 404);
}

#[test]
fn a_clock_that_steps_past_the_end_ends_the_program() {
    let mut rig = Rig::start(Setting::default());
    warm_up(&mut rig);
    let mut client = rig.client();
    client.play_tcp();
    rig.step_wall(Duration::from_secs(3600));
    // Time stands otherwise: a worker looks at the gates at the latest when it ticks.
    rig.pass(Duration::from_millis(100));
    while !matches!(client.next(), Item::Closed) {}
}

#[test]
fn a_changed_stream_says_goodbye_to_viewers_of_the_old_one() {
    let mut rig = Rig::start(Setting::default());
    warm_up(&mut rig);
    let mut client = rig.client();
    client.play_tcp();
    rig.change_stream();
    rig.frame(true, 1);
    while !matches!(client.next(), Item::Closed) {}
    let mut again = rig.client();
    wait(|| again.ask("DESCRIBE", "", "").status == 200);
}

#[test]
fn play_waits_for_the_first_key_frame() {
    let mut rig = Rig::start(Setting::default());
    rig.frame(false, 1);
    rig.audio();
    rig.taken();
    let mut client = rig.client();
    let setup = client.ask("SETUP", "/trackID=0", "Transport: RTP/AVP/TCP;unicast\r\n");
    assert_eq!(setup.status, 200);
    client.send("PLAY", "", "");
    rig.turn();
    assert!(client.arrived().is_empty(), "no answer yet");
    rig.frame(true, 1);
    let Item::Response(played) = client.next() else { panic!() };
    assert_eq!(info(&played.headers["rtp-info"], 0, "seq"), 1001);
    assert!(matches!(client.next(), Item::Frame(0, _)));
}

#[test]
fn pause_stops_media_and_play_starts_it_again() {
    let mut rig = Rig::start(Setting::default());
    warm_up(&mut rig);
    let mut client = rig.client();
    let (rtp, _rtcp) = client.play_udp();
    assert_eq!(client.ask("PAUSE", "", "").status, 200);
    let mut buffer = [0; 2000];
    rtp.set_nonblocking(true).unwrap();
    while rtp.recv(&mut buffer).is_ok() {}
    rig.frame(true, 1);
    assert_eq!(client.ask("OPTIONS", "", "").status, 200);
    assert!(rtp.recv(&mut buffer).is_err());
    rtp.set_nonblocking(false).unwrap();
    assert_eq!(client.ask("PLAY", "", "").status, 200);
    rtp.recv(&mut buffer).unwrap();
    assert_eq!(sequence_number(&buffer), 1009);
}

#[test]
fn a_udp_viewer_whose_port_is_gone_loses_its_seat() {
    let mut rig = Rig::start(Setting { seats: 1, ..Setting::default() });
    warm_up(&mut rig);
    let mut gone = rig.client();
    drop(gone.play_udp());
    rig.stream_until(|rig| rig.timetable_viewers() == 0);
    rig.client().play_udp();
}

/// Each worker has a pair of ports of its own, so that what viewers send back comes to theirs.
#[test]
fn what_a_viewer_sends_back_comes_to_its_own_worker() {
    let mut rig = Rig::start(Setting { seats: 30, ..Setting::default() });
    warm_up(&mut rig);
    let foreign = || rig.fanout.stats().sum(|worker| &worker.foreign_datagrams);
    let mut clients: Vec<Client> = (0..30).map(|_| rig.client()).collect();
    // Kept open: a port that is free again might be given to the next viewer.
    let (mut used, mut sockets) = (std::collections::BTreeSet::new(), Vec::new());
    for client in &mut clients {
        let (rtp, rtcp) = client.play_udp();
        let mut buffer = [0; 2000];
        let (_, from) = rtp.recv_from(&mut buffer).unwrap();
        used.insert(from.port());
        // To where its media comes from, as players do.
        rtp.send_to(b"punch", from).unwrap();
        let pair = rig.fanout.rtp_ports().iter().find(|pair| pair[0] == from.port()).unwrap();
        rtcp.send_to(&[0x80, 201, 0, 1, 0, 0, 0, 1], (from.ip(), pair[1])).unwrap();
        sockets.push((rtp, rtcp));
    }
    let ports: std::collections::BTreeSet<u16> = rig.fanout.rtp_ports().iter().map(|pair| pair[0]).collect();
    assert_eq!((ports.len(), &used), (2, &ports), "the kernel gave all viewers to one worker");
    rig.turn();
    assert_eq!(foreign(), 0);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.send_to(b"punch", ("127.0.0.1", rig.fanout.rtp_ports()[1][0])).unwrap();
    wait(|| foreign() == 1);
}

#[test]
fn shutting_down_says_goodbye() {
    let mut rig = Rig::start(Setting::default());
    warm_up(&mut rig);
    let mut client = rig.client();
    client.play_tcp();
    let Rig { fanout, .. } = rig;
    let stopped = std::thread::spawn(move || fanout.shutdown(PATIENCE));
    while !matches!(client.next(), Item::Closed) {}
    drop(client);
    assert!(stopped.join().unwrap());
}

#[test]
fn an_operator_sees_who_watches_and_sends_one_away() {
    let mut rig = Rig::start(Setting::default());
    warm_up(&mut rig);
    let program = rig.spec.id;
    let (mut stays, mut goes) = (rig.client(), rig.client());
    stays.play_tcp();
    let first = rig.fanout.roll().viewers(program);
    goes.play_tcp();
    let both = rig.fanout.roll().viewers(program);
    assert_eq!((first.len(), both.len()), (1, 2));
    assert!(both.iter().all(|viewer| viewer.protocol == Protocol::Tcp && viewer.address.ip().is_loopback()));
    assert_eq!(rig.fanout.roll().viewers(slotcast_core::words::ProgramId(8)), []);
    let kicked = both.iter().find(|viewer| viewer.id != first[0].id).unwrap().id;

    assert!(!rig.fanout.roll().kick(slotcast_core::words::ProgramId(8), kicked), "of another program");
    assert!(rig.fanout.roll().kick(program, kicked));
    assert!(!rig.fanout.roll().kick(program, kicked), "it is gone");
    assert_eq!(rig.fanout.roll().viewers(program), first);
    assert_eq!(rig.timetable_viewers(), 1, "its seat is free");
    let mut told = false;
    while !told {
        match goes.next() {
            Item::Frame(1, packet) => told = has_bye(&packet),
            Item::Frame(..) => {}
            other => panic!("{other:?}"),
        }
    }
    rig.frame(true, 3);
    frames(&mut stays, 0, 5 + 2 + 3);
}
