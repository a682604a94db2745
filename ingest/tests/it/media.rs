//! Media over TCP and UDP: what arrives, what is dropped, what goes on after a return.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use slotcast_core::{chunk::Chunk, packet::PacketFlags, rtcp};
use slotcast_ingest::IngestConfig;

use crate::{
    client::{Came, Client, SDP},
    house::{House, ID, OTHER_ID, PATIENCE, Packet, program, rtp, udp_pair, wait_for},
};

const SSRC: u32 = 0x0bad_cafe;

/// Of x264: 320 by 180 pixels.
const SPS: &[u8] = &[
    0x67, 0x42, 0xc0, 0x0c, 0xd9, 0x01, 0x41, 0x9f, 0x9f, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00,
    0x00, 0x03, 0x03, 0x20, 0xf1, 0x42, 0xa4, 0x80,
];

#[test]
fn media_over_tcp_arrives_untouched() {
    let house = House::new();
    let mut link = house.tcp_link();
    let sent: Vec<_> =
        (0..3).map(|number| rtp(SSRC, 65_534u16.wrapping_add(number), 9000, number == 2, 700)).collect();
    for packet in &sent {
        assert!(link.send_frame(0, packet));
    }
    let packets = house.packets(3);
    assert_eq!(packets.iter().map(|packet| packet.bytes.clone()).collect::<Vec<_>>(), sent);
    assert!(packets.iter().all(|packet| packet.track == 0));
    assert_eq!(house.traffic(|t| t.packets.value()), 3);
    assert_eq!(house.traffic(|t| t.published.value()), 3);
}

#[test]
fn media_over_udp_arrives_untouched() {
    let house = House::new();
    let (rtp_socket, rtcp_socket) = udp_pair();
    let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
    let mut link = house.connect();
    let (to, _) = link.record_over_udp("channel4", ID, port(&rtp_socket), port(&rtcp_socket));
    assert_eq!(Some(to), house.ingest.udp_ports().map(|ports| ports[0]));
    let sent: Vec<_> = (0..3).map(|number| rtp(SSRC, number, 9000, number == 2, 700)).collect();
    for packet in &sent {
        rtp_socket.send_to(packet, ("127.0.0.1", to)).unwrap();
    }
    let packets = house.packets(3);
    assert_eq!(packets.into_iter().map(|packet| packet.bytes).collect::<Vec<_>>(), sent);
}

#[test]
fn udp_ports_that_another_link_of_the_address_has_are_refused_until_it_ends() {
    let house = House::new();
    let (rtp_socket, rtcp_socket) = udp_pair();
    let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
    let (rtp_port, rtcp_port) = (port(&rtp_socket), port(&rtcp_socket));
    let mut link = house.connect();
    let (to, _) = link.record_over_udp("channel4", ID, rtp_port, rtcp_port);
    let mut other = house.connect();
    assert_eq!(other.announce("channel5", OTHER_ID, SDP).status, 200);
    let transport = format!("RTP/AVP/UDP;unicast;client_port={rtp_port}-{rtcp_port};mode=record");
    assert_eq!(other.setup("channel5", OTHER_ID, &transport).status, 461);
    rtp_socket.send_to(&rtp(SSRC, 1, 9000, true, 700), ("127.0.0.1", to)).unwrap();
    assert_eq!(house.packets(1)[0].ssrc(), SSRC);
    drop(link);
    house.wait_for_decision("peer_closed", 1);
    assert_eq!(other.setup("channel5", OTHER_ID, &transport).status, 200);
}

#[test]
fn the_first_chunk_brings_a_sender_report() {
    let house = House::new();
    let mut link = house.tcp_link();
    link.send_frame(0, &rtp(SSRC, 1, 9000, true, 100));
    let chunk = wait_for("a chunk", || house.chunks().into_iter().next());
    let reports: Vec<_> =
        chunk.packets().iter().filter(|entry| entry.flags.contains(PacketFlags::RTCP)).collect();
    assert_eq!(reports.len(), 1);
    let first = rtcp::packets(chunk.packet(reports[0])).next().unwrap().unwrap();
    let rtcp::RtcpPacket::SenderReport(info) = first else { panic!("{first:?}") };
    assert_eq!((info.ssrc.0, info.packets, info.octets), (SSRC, 1, 100));
}

#[test]
fn foreign_datagrams_and_unknown_payloads_are_counted_and_ignored() {
    let house = House::new();
    let (rtp_socket, rtcp_socket) = udp_pair();
    let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
    let mut link = house.connect();
    let (to, _) = link.record_over_udp("channel4", ID, port(&rtp_socket), port(&rtcp_socket));
    let foreign = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    foreign.send_to(&rtp(SSRC, 7, 9000, true, 100), ("127.0.0.1", to)).unwrap();
    let mut other_type = rtp(SSRC, 8, 9000, true, 100);
    other_type[1] = 0x80 | 97;
    rtp_socket.send_to(&other_type, ("127.0.0.1", to)).unwrap();
    rtp_socket.send_to(&[0x80, 96, 0], ("127.0.0.1", to)).unwrap();
    rtp_socket.send_to(&rtp(SSRC, 9, 9000, true, 100), ("127.0.0.1", to)).unwrap();
    assert_eq!(house.packets(1)[0].number(), 9);
    assert_eq!(house.ingest.stats().foreign_datagrams.value(), 1);
    assert_eq!(house.traffic(|t| t.unusable.value()), 2);
}

#[test]
fn an_announced_payload_type_with_a_marker_is_not_taken_for_rtcp() {
    let house = House::new();
    let (rtp_socket, rtcp_socket) = udp_pair();
    let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
    let mut link = house.connect();
    let sdp = SDP.replace("96", "72");
    assert_eq!(link.announce("channel4", ID, &sdp).status, 200);
    let transport =
        format!("RTP/AVP/UDP;unicast;client_port={}-{};mode=record", port(&rtp_socket), port(&rtcp_socket));
    assert_eq!(link.setup("channel4", ID, &transport).status, 200);
    assert_eq!(link.record("channel4", ID).status, 200);
    let to = house.ingest.udp_ports().unwrap()[0];
    let mut packet = rtp(SSRC, 1, 9000, true, 100);
    packet[1] = 0x80 | 72;
    rtp_socket.send_to(&packet, ("127.0.0.1", to)).unwrap();
    assert_eq!(house.packets(1)[0].number(), 1);
}

#[test]
fn media_from_other_ports_of_a_silent_links_address_is_counted_for_it_and_not_taken() {
    let house = House::new();
    let (rtp_socket, rtcp_socket) = udp_pair();
    let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
    let mut link = house.connect();
    let (to, _) = link.record_over_udp("channel4", ID, port(&rtp_socket), port(&rtcp_socket));
    let [rewritten, stranger] = ["127.0.0.1", "127.0.0.3"].map(|at| UdpSocket::bind((at, 0)).unwrap());
    let send = |from: &UdpSocket, number| {
        from.send_to(&rtp(SSRC, number, 9000, true, 100), ("127.0.0.1", to)).unwrap();
    };
    send(&rewritten, 1);
    send(&stranger, 2);
    send(&rtp_socket, 3);
    send(&rewritten, 4);
    send(&rtp_socket, 5);
    let numbers: Vec<_> = house.packets(2).iter().map(|packet| packet.number()).collect();
    assert_eq!(numbers, [3, 5]);
    assert_eq!(house.traffic(|t| t.wrong_port.value()), 1, "once its own ports work, others are strangers");
    assert_eq!(house.ingest.stats().foreign_datagrams.value(), 3);
}

#[test]
fn a_broadcaster_that_drops_and_returns_continues() {
    let house = House::new();
    let mut link = house.tcp_link();
    for number in 100..103 {
        link.send_frame(0, &rtp(SSRC, number, 9000, true, 100));
    }
    let before = house.packets(3);
    drop(link);
    house.wait_for_decision("peer_closed", 1);
    house.step(Duration::from_secs(2));

    let mut link = house.tcp_link();
    link.send_frame(0, &rtp(7, 5000, 1_000_000, true, 100));
    link.send_frame(0, &rtp(7, 5001, 1_003_000, true, 100));
    let after = house.packets(2);
    assert_eq!((after[0].ssrc(), after[0].number(), after[1].number()), (SSRC, 103, 104));
    let gap = after[0].timestamp().wrapping_sub(before[2].timestamp());
    assert!((180_000..180_000 + 90_000 * 10).contains(&gap), "{gap} ticks for 2 s and some");
    assert_eq!(after[1].timestamp().wrapping_sub(after[0].timestamp()), 3000);
    assert_eq!(after[0].stream, before[0].stream);
    assert_eq!(after[0].chunk, before[2].chunk + 1);
}

#[test]
fn other_tracks_on_return_are_another_stream() {
    let house = House::new();
    let mut link = house.tcp_link();
    link.send_frame(0, &rtp(SSRC, 1, 9000, true, 100));
    let before = house.packets(1);
    drop(link);
    house.wait_for_decision("peer_closed", 1);
    let mut link = house.connect();
    let sdp = SDP.replace("H264", "H265").replace("packetization-mode=1", "sprop-max-don-diff=0");
    assert_eq!(link.announce("channel4", ID, &sdp).status, 200);
    link.setup("channel4", ID, "RTP/AVP/TCP;interleaved=0-1;mode=record");
    assert_eq!(link.record("channel4", ID).status, 200);
    link.send_frame(0, &rtp(7, 5, 100, true, 100));
    let after = house.packets(1);
    assert_ne!(after[0].stream, before[0].stream);
    assert_eq!((after[0].ssrc(), after[0].chunk), (7, before[0].chunk + 1));
}

#[test]
fn a_track_that_cannot_be_taken_is_named_and_dropped_and_the_rest_goes_on() {
    let house = House::new();
    let mut link = house.connect();
    let sdp = SDP.replace("m=video", "m=application/X 0 RTP/AVP smart/1/90000\r\na=control:smart\r\nm=video");
    let announced = link.announce("channel4", ID, &sdp);
    assert_eq!(
        (announced.status, announced.header("Slotcast-Left-Out")),
        (200, Some("track 0 has no payload type of 0 to 127"))
    );
    link.setup("channel4", ID, "RTP/AVP/TCP;interleaved=2-3;mode=record");
    let url = format!("{}/smart", link.url("channel4", ID));
    let smart = link.request("SETUP", &url, &[("Transport", "RTP/AVP/TCP;interleaved=0-1;mode=record")], "");
    assert_eq!(smart.status, 200);
    assert_eq!(link.record("channel4", ID).status, 200);
    link.send_frame(0, &rtp(9, 1, 9000, true, 100));
    link.send_frame(2, &rtp(SSRC, 2, 9000, true, 100));
    let packets = house.packets(1);
    assert_eq!((packets[0].track, packets[0].ssrc()), (0, SSRC));
    assert_eq!(house.traffic(|t| t.unusable.value()), 1);
}

#[test]
fn the_newer_link_of_one_reservation_takes_over() {
    let house = House::new();
    let mut older = house.tcp_link();
    older.send_frame(0, &rtp(SSRC, 10, 9000, true, 100));
    house.packets(1);
    let mut newer = house.tcp_link();
    let last = older.until_end();
    let text = String::from_utf8_lossy(&goodbye_of(&last)).into_owned();
    assert!(text.contains("took over"), "{text}");
    newer.send_frame(0, &rtp(9, 700, 1, true, 100));
    let packets = house.packets(1);
    assert_eq!((packets[0].ssrc(), packets[0].number()), (SSRC, 11));
    assert_eq!(house.decision("taken_over"), 1);
    assert_eq!(house.ingest.stats().lines_in_use.value(), 1);
}

/// The reason in the BYE among what came.
#[track_caller]
fn goodbye_of(came: &[Came]) -> Vec<u8> {
    let frames = came.iter().filter_map(|came| match came {
        Came::Frame(1, packet) => Some(packet),
        _ => None,
    });
    let reasons = frames.flat_map(|frame| rtcp::packets(frame)).filter_map(|packet| match packet {
        Ok(rtcp::RtcpPacket::Bye(bye)) => bye.reason().map(<[u8]>::to_vec),
        _ => None,
    });
    reasons.last().expect("a goodbye with a reason")
}

#[test]
fn above_the_class_is_dropped_and_ten_seconds_of_it_close_the_link() {
    let mut programs = crate::house::on_air_now();
    programs[0].class = Some("64kbit/s".parse().unwrap());
    let house = House::with(|config| config.burst = Duration::from_secs(1), programs);
    let mut link = house.tcp_link();
    // 8000 bytes are there, half a second brings 4000: of 10 packets of 1000 bytes each half second, most are dropped.
    let mut number = 0;
    for _ in 0..30 {
        for _ in 0..10 {
            link.send_frame(0, &rtp(SSRC, number, 9000, true, 988));
            number += 1;
        }
        let seen = u64::from(number);
        wait_for("the packets or the end", || {
            let all = house.traffic(|t| t.packets.value()) >= seen;
            (all || house.decision("class_exceeded") > 0).then_some(())
        });
        house.step(Duration::from_millis(500));
    }
    let reason = String::from_utf8(goodbye_of(&link.until_end())).unwrap();
    assert!(reason.contains("64kbit/s"), "{reason}");
    assert_eq!(house.decision("class_exceeded"), 1);
    let (published, dropped) =
        (house.traffic(|t| t.published.value()), house.traffic(|t| t.over_class.value()));
    assert!(dropped > 100 && published < 100, "{published} published, {dropped} dropped");
}

#[test]
fn receiver_reports_come_every_five_seconds() {
    let house = House::new();
    let mut link = house.tcp_link();
    for number in [1, 2, 3, 5] {
        link.send_frame(0, &rtp(SSRC, number, 9000, true, 100));
    }
    house.packets(4);
    house.step(Duration::from_secs(5));
    let Came::Frame(1, report) = link.next() else { panic!("expected a report on channel 1") };
    // One block, of a receiver report (RFC 3550 §6.4.2): source, loss in 24 bits, highest number.
    assert_eq!(report[..2], [0x81, 201]);
    assert_eq!(report[8..12], SSRC.to_be_bytes());
    assert_eq!((&report[13..16], &report[18..20]), (&[0, 0, 1][..], &[0, 5][..]));
}

#[test]
fn receiver_reports_over_udp_come_from_the_rtcp_port() {
    let house = House::new();
    let (rtp_socket, rtcp_socket) = udp_pair();
    let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
    let mut link = house.connect();
    let (to, reports) = link.record_over_udp("channel4", ID, port(&rtp_socket), port(&rtcp_socket));
    for number in 1..4 {
        rtp_socket.send_to(&rtp(SSRC, number, 9000, true, 100), ("127.0.0.1", to)).unwrap();
    }
    house.packets(3);
    house.step(Duration::from_secs(5));
    let mut report = [0; 1500];
    let (length, from) = rtcp_socket.recv_from(&mut report).unwrap();
    assert_eq!(from.port(), reports);
    assert!(rtcp::packets(&report[..length]).all(|packet| packet.is_ok()));
}

#[test]
fn receiver_reports_over_udp_come_from_the_address_that_the_broadcaster_speaks_to() {
    let own = Ipv6Addr::LOCALHOST;
    let families = [("0.0.0.0:0", IpAddr::from([127, 0, 0, 2]), "127.0.0.1"), ("[::]:0", own.into(), "::1")];
    for (listen, server, broadcaster) in families {
        let listen = |config: &mut IngestConfig| config.listen = vec![listen.parse().unwrap()];
        let house = House::with(listen, crate::house::on_air_now());
        let [rtp_socket, rtcp_socket] = [0, 1].map(|_| UdpSocket::bind((broadcaster, 0)).unwrap());
        rtcp_socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
        let mut link = Client::connect(SocketAddr::new(server, house.ingest.local_addrs()[0].port()));
        let (to, _) = link.record_over_udp("channel4", ID, port(&rtp_socket), port(&rtcp_socket));
        for number in 1..4 {
            rtp_socket.send_to(&rtp(SSRC, number, 9000, true, 100), (server, to)).unwrap();
        }
        house.packets(3);
        house.step(Duration::from_secs(5));
        let (_, from) = rtcp_socket.recv_from(&mut [0; 1500]).unwrap();
        assert_eq!(from.ip(), server);
    }
}

#[test]
fn datagrams_alone_keep_a_link_alive() {
    let house = House::new();
    let (rtp_socket, rtcp_socket) = udp_pair();
    let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
    let mut link = house.connect();
    let (to, _) = link.record_over_udp("channel4", ID, port(&rtp_socket), port(&rtcp_socket));
    for number in 0..10 {
        rtp_socket.send_to(&rtp(SSRC, number, 9000, true, 100), ("127.0.0.1", to)).unwrap();
        house.packets(1);
        // The session hears of it at the next tick: at the latest in the turn before the second answer.
        house.step(Duration::from_millis(200));
        let mut other = house.connect();
        for _ in 0..2 {
            assert_eq!(other.request("OPTIONS", "*", &[], "").status, 200);
        }
        house.step(Duration::from_secs(20));
    }
    assert_eq!(house.decision("broadcaster_silent"), 0);
    house.step(Duration::from_secs(70));
    link.until_end();
    assert_eq!(house.decision("broadcaster_silent"), 1);
}

#[test]
fn links_of_two_channels_do_not_mix() {
    let mut programs = crate::house::on_air_now();
    programs.push(program(3, 4, "2026-11-22T11:00:00Z", "2026-11-22T12:00:00Z", "a-later-reservation-5599"));
    let house = House::with(|_| (), programs);
    let mut four = house.tcp_link();
    let mut five = house.connect();
    five.record_over_tcp("channel5", OTHER_ID);
    four.send_frame(0, &rtp(4, 40, 0, true, 100));
    five.send_frame(0, &rtp(5, 50, 0, true, 100));
    let mut packets = Vec::new();
    wait_for("both", || {
        packets.extend(house.chunks());
        (packets.len() >= 2).then_some(())
    });
    for chunk in packets {
        let number = chunk.sequence_number(&chunk.packets()[0]).unwrap().0;
        assert_eq!((chunk.stream().program.0, chunk.index()), (u64::from(number / 10) - 3, 0));
    }
    assert_eq!(house.ingest.stats().lines_in_use.value(), 2);
    house.ingest.shutdown(PATIENCE);
    four.until_end();
    five.until_end();
}

#[test]
fn parameter_sets_that_come_in_band_reach_the_description() {
    let house = House::new();
    let mut link = house.tcp_link();
    let single = |number, nal: &[u8]| {
        let mut packet = rtp(SSRC, number, 9000, false, 0);
        packet.truncate(12);
        packet.extend(nal);
        packet
    };
    link.send_frame(0, &single(1, SPS));
    link.send_frame(0, &single(2, &[0x68, 0xce, 0x0f, 0xc8]));
    link.send_frame(0, &rtp(SSRC, 3, 9000, true, 100));
    let mut streams = Vec::new();
    wait_for("the slice", || {
        streams.extend(house.chunks().into_iter().map(|chunk| chunk.stream().clone()));
        let last = streams.last()?;
        last.description.media[0]
            .contains("sprop-parameter-sets=Z0LADNkBQZ+fARAAAAMAEAAAAwMg8UKkgA==,aM4PyA==")
            .then_some(())
    });
    assert!(streams.iter().all(|stream| stream.id == streams[0].id), "viewers go on");
}

/// An H.264 packet of one NAL unit.
fn single(number: u16, nal: &[u8]) -> Vec<u8> {
    let mut packet = rtp(SSRC, number, 9000, false, 0);
    packet.truncate(12);
    packet.extend(nal);
    packet
}

/// A link that announces `sdp` and sends a picture: the stream that it belongs to, and what viewers are told of it.
fn stream_announced_as(house: &House, sdp: &str, packets: &[Vec<u8>]) -> (u64, Vec<String>) {
    let links = house.decision("peer_closed");
    let mut link = house.connect();
    assert_eq!(link.announce("channel4", ID, sdp).status, 200);
    link.setup("channel4", ID, "RTP/AVP/TCP;interleaved=0-1;mode=record");
    assert_eq!(link.record("channel4", ID).status, 200);
    for packet in packets {
        link.send_frame(0, packet);
    }
    link.send_frame(0, &rtp(SSRC, 3, 9000, true, 100));
    let stream = wait_for("a picture", || {
        let chunks = house.chunks();
        let has_marker =
            |chunk: &Chunk| chunk.packets().iter().any(|packet| packet.flags.contains(PacketFlags::MARKER));
        let chunk = chunks.iter().find(|chunk| has_marker(chunk));
        chunk.map(|chunk| (chunk.stream().id.0, chunk.stream().description.media.clone()))
    });
    drop(link);
    house.wait_for_decision("peer_closed", links + 1);
    stream
}

#[test]
fn a_return_keeps_the_parameter_sets_that_came_in_band() {
    let house = House::new();
    let sets = [single(1, SPS), single(2, &[0x68, 0xce, 0x0f, 0xc8])];
    let before = stream_announced_as(&house, SDP, &sets);
    assert!(
        before.1[0].contains("sprop-parameter-sets=Z0LADNkBQZ+fARAAAAMAEAAAAwMg8UKkgA==,aM4PyA=="),
        "{before:?}"
    );
    assert_eq!(stream_announced_as(&house, SDP, &[]), before);
    assert_eq!(stream_announced_as(&house, SDP, &sets), before);
    let picture = house.ingest.stats().links()[0].picture.map(|size| (size.width, size.height));
    assert_eq!(picture, Some((320, 180)), "and the size of the picture");
}

#[test]
fn a_return_with_another_decoder_configuration_is_another_stream() {
    let house = House::new();
    let with = |sets: &str| SDP.replace("packetization-mode=1", &format!("packetization-mode=1;{sets}"));
    let small = with("sprop-parameter-sets=Z0LAHtkA,aMuMsg==");
    let large = with("sprop-parameter-sets=Z2QAH6w=,aO48gA==");
    let first = stream_announced_as(&house, &small, &[]).0;
    assert_eq!(stream_announced_as(&house, &small, &[]).0, first);
    let second = stream_announced_as(&house, &large, &[]).0;
    assert_ne!(second, first);
    assert_eq!(stream_announced_as(&house, SDP, &[]).0, second, "its sets come in band");
    let sets = [single(1, &[0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00]), single(2, &[0x68, 0xcb, 0x8c, 0xb2])];
    assert_eq!(stream_announced_as(&house, SDP, &sets).0, second, "and change so");
    assert_eq!(stream_announced_as(&house, &small, &[]).0, second, "as it came in band");
}

#[test]
fn viewers_are_told_of_tracks_that_they_can_get() {
    let audio =
        |name: &str| format!("m=audio 0 RTP/AVP 97\r\na=rtpmap:97 opus/48000/2\r\na=control:{name}\r\n");
    let sdp = format!("{}{}{}", SDP, audio("one"), audio("two"));
    let house = House::new();
    let mut link = house.connect();
    assert_eq!(link.announce("channel4", ID, &sdp).status, 200);
    link.setup("channel4", ID, "RTP/AVP/TCP;interleaved=0-1;mode=record");
    let url = format!("{}/two", link.url("channel4", ID));
    let second = link.request("SETUP", &url, &[("Transport", "RTP/AVP/TCP;interleaved=4-5;mode=record")], "");
    assert_eq!(second.status, 200);
    assert_eq!(link.record("channel4", ID).status, 200);
    let mut number = 0;
    let mut told = |link: &mut Client| -> Vec<bool> {
        number += 1;
        link.send_frame(0, &rtp(SSRC, number, 9000, true, 100));
        let chunk = wait_for("a chunk", || house.chunks().pop());
        chunk.stream().description.media.iter().map(|media| !media.is_empty()).collect()
    };
    assert_eq!(told(&mut link), [true, false, true], "one was never set up");
    house.step(Duration::from_secs(5));
    wait_for("silence", || (told(&mut link) == [true, false, false]).then_some(()));
    let mut sound = rtp(9, 1, 9000, true, 100);
    sound[1] = 0x80 | 97;
    link.send_frame(4, &sound);
    wait_for("sound", || (told(&mut link) == [true, false, true]).then_some(()));
    house.step(Duration::from_secs(20));
    assert_eq!(told(&mut link), [true, false, true], "it may send rarely");
    house.step(Duration::from_secs(10));
    wait_for("the end of the sound", || (told(&mut link) == [true, false, false]).then_some(()));
    link.send_frame(4, &sound);
    wait_for("sound again", || (told(&mut link) == [true, false, true]).then_some(()));
}

#[test]
fn a_restart_of_the_encoder_within_a_link_goes_on() {
    let house = House::new();
    let mut link = house.tcp_link();
    link.send_frame(0, &rtp(SSRC, 10, 9000, true, 100));
    house.packets(1);
    link.send_frame(0, &rtp(77, 500, 1_000, true, 100));
    link.send_frame(0, &rtp(77, 501, 4_000, true, 100));
    wait_for("both", || (house.traffic(|t| t.packets.value()) == 3).then_some(()));
    house.step(Duration::from_millis(200));
    let packets = house.packets(2);
    assert_eq!((packets[0].ssrc(), packets[0].number(), packets[1].number()), (SSRC, 11, 12));
    assert_eq!(house.traffic(|t| t.strange_ssrc.value()), 0);
}

#[test]
fn the_first_packets_of_a_restarted_encoder_may_overtake_each_other() {
    let house = House::new();
    let mut link = house.tcp_link();
    link.send_frame(0, &rtp(SSRC, 10, 9000, true, 100));
    house.packets(1);
    for number in [502, 500, 501, 503] {
        link.send_frame(0, &rtp(77, number, 1_000, true, 100));
    }
    wait_for("all", || (house.traffic(|t| t.packets.value()) == 5).then_some(()));
    house.step(Duration::from_millis(200));
    let numbers: Vec<_> = house.packets(4).iter().map(Packet::number).collect();
    assert_eq!(numbers, [11, 13, 12, 14], "none has the number of a packet that has left");
}

#[test]
fn a_source_that_sends_is_not_replaced_by_another_ssrc_beside_it() {
    let house = House::new();
    let mut link = house.tcp_link();
    for picture in 0..30u16 {
        for packet in 0..3 {
            link.send_frame(0, &rtp(SSRC, 3 * picture + packet, 3600 * u32::from(picture), packet == 2, 100));
        }
        for packet in 0..2 {
            link.send_frame(0, &rtp(77, 2 * picture + packet, 0, true, 100));
        }
        let published = house.packets(3);
        assert!(published.iter().map(Packet::number).eq(3 * picture..3 * picture + 3));
        wait_for("the strays", || {
            (house.traffic(|t| t.packets.value()) == 5 * u64::from(picture + 1)).then_some(())
        });
        house.step(Duration::from_millis(40));
    }
    house.step(Duration::from_secs(6));
    // The last two follow the source, which has ended; the others came to nothing.
    house.packets(2);
    wait_for("the strays' end", || (house.traffic(|t| t.strange_ssrc.value()) == 58).then_some(()));
}

#[test]
fn no_sender_reports_while_the_broadcaster_is_waited_for() {
    let house = House::new();
    let mut link = house.tcp_link();
    link.send_frame(0, &rtp(SSRC, 1, 9000, true, 100));
    house.packets(1);
    link.send_frame(0, &rtp(SSRC, 2, 12_000, true, 100));
    house.packets(1);
    drop(link);
    house.wait_for_decision("peer_closed", 1);
    house.step(Duration::from_secs(5));
    // Two answers: the turn in between has done what was due.
    let mut other = house.connect();
    for _ in 0..2 {
        assert_eq!(other.request("OPTIONS", "*", &[], "").status, 200);
    }
    assert!(house.chunks().is_empty());
}
