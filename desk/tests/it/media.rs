//! What viewers get of a broadcaster who goes on, returns, or sends too much.

use slotcast_admission::Reason;
use slotcast_core::{chunk::Chunk, packet::PacketFlags, rtcp};
use slotcast_desk::{Fate, ToLink, TrackState};

use crate::studio::{ID, Studio, both, frame, ms, packet, picture, program, secs, video, video_with};

fn streams(studio: &mut Studio) -> Vec<u64> {
    studio.chunks().iter().map(|chunk| chunk.stream().id.0).collect()
}

/// Of x264: 320 by 180 pixels.
const SPS: &[u8] = &[
    0x67, 0x42, 0xc0, 0x0c, 0xd9, 0x01, 0x41, 0x9f, 0x9f, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00,
    0x00, 0x03, 0x03, 0x20, 0xf1, 0x42, 0xa4, 0x80,
];

#[test]
fn a_return_with_the_same_stream_goes_on() {
    let mut studio = Studio::new();
    let link = studio.link(video());
    studio.rtp(&link, 0, &picture(1, 100));
    drop(link);
    studio.pass(secs(2));
    let link = studio.link(video());
    studio.rtp(&link, 0, &picture(7, 5000));
    let chunks = studio.chunks();
    let fields = |chunk: &Chunk| {
        let packet = &chunk.packets()[0];
        let ssrc = u32::from_be_bytes(chunk.packet(packet)[8..12].try_into().unwrap());
        (chunk.index(), ssrc, chunk.sequence_number(packet).unwrap().0, chunk.timestamp(packet).unwrap().0)
    };
    assert_eq!(
        chunks.iter().map(|chunk| fields(chunk)).collect::<Vec<_>>(),
        [(0, 1, 100, 300_000), (1, 1, 101, 480_000)]
    );
    assert_eq!(chunks[0].stream().id, chunks[1].stream().id);
}

#[test]
fn a_return_with_another_resolution_profile_or_sound_is_another_stream() {
    let small = video_with("packetization-mode=1;sprop-parameter-sets=Z0LAHtkA,aMuMsg==");
    let large = video_with("packetization-mode=1;sprop-parameter-sets=Z2QAH6w=,aO48gA==");
    let profile = video_with("packetization-mode=1;profile-level-id=640028");
    let offers = [small.clone(), small, large, profile, both(), both()];
    let mut studio = Studio::new();
    for (number, offer) in offers.into_iter().enumerate() {
        let link = studio.link(offer);
        studio.rtp(&link, 0, &picture(1, number as u16));
        drop(link);
        studio.pass(secs(1));
    }
    let streams = streams(&mut studio);
    let changes: Vec<_> = streams.windows(2).map(|pair| pair[0] != pair[1]).collect();
    // The profile that is told without parameter sets is compared with that of the sets, which say it, too.
    assert_eq!(changes, [false, true, false, true, false], "{streams:?}");
}

#[test]
fn parameter_sets_that_came_in_band_are_told_after_a_return() {
    let mut studio = Studio::new();
    let sets: [&[u8]; 2] = [SPS, &[0x68, 0xce, 0x0f, 0xc8]];
    for returns in 0..2 {
        let link = studio.link(video());
        for (number, set) in (0..).zip(sets).filter(|_| returns == 0) {
            studio.rtp(&link, 0, &packet(96, 1, number, 0, false, set));
        }
        studio.rtp(&link, 0, &picture(1, 2));
        let chunks = studio.chunks();
        let description = &chunks.last().unwrap().stream().description;
        assert!(
            description.media[0]
                .contains("sprop-parameter-sets=Z0LADNkBQZ+fARAAAAMAEAAAAwMg8UKkgA==,aM4PyA==")
        );
        assert_eq!(description.title, "A test");
    }
    let picture = studio.status().unwrap().picture.unwrap();
    assert_eq!((picture.width, picture.height), (320, 180));
}

#[test]
fn above_the_class_a_burst_passes_then_packets_are_dropped_then_the_link_is_closed() {
    let mut narrow = program(1, "10:00:00", "11:00:00", ID);
    narrow.class = Some("64kbit/s".parse().unwrap());
    let mut studio = Studio::with(vec![narrow], ms(0), |_| ());
    let link = studio.link(video());
    // 8 kB/s and a burst of 16 kB; 20 kB/s come.
    let mut fates = Vec::new();
    for number in 0..300 {
        fates.push(studio.rtp(&link, 0, &packet(96, 1, number, 0, true, &[0x65; 988])));
        if matches!(fates.last(), Some(Fate::Close(_))) {
            break;
        }
        studio.pass(ms(50));
    }
    let first_drop = fates.iter().position(|fate| *fate == Fate::Dropped).unwrap();
    assert!((16..30).contains(&first_drop), "{first_drop}");
    let Some(Fate::Close(reason @ Reason::ClassExceeded { .. })) = fates.last() else { panic!("{fates:?}") };
    let after = fates.len() - first_drop;
    assert!((200..230).contains(&after), "ten seconds of it: {after} packets");
    assert!(reason.text().contains("64kbit/s"));
}

#[test]
fn an_offer_above_the_class_is_refused() {
    let mut studio = Studio::new();
    let mut offer = video();
    offer.declared_kbps = Some(2500);
    let refusal = studio.admit(ID, crate::studio::ip(1), &offer).err().unwrap();
    assert!(matches!(refusal.reason, Reason::AboveClass { declared_kbps: 2500, .. }));
}

#[test]
fn the_broadcaster_gets_receiver_reports_and_a_goodbye_of_the_same_receiver() {
    let mut studio = Studio::new();
    let link = studio.link(both());
    for number in [1, 2, 3, 5] {
        studio.rtp(&link, 0, &picture(1, number));
    }
    studio.pass(secs(5));
    let [ToLink::Reports { pass, reports }] = &studio.told[..] else { panic!("{:?}", studio.told) };
    assert_eq!((*pass, reports.len(), reports[0].0), (link.id(), 1, 0), "nothing came on the other track");
    // A receiver report with one block (RFC 3550 §6.4.2): by whom, and the loss in 24 bits.
    let report = &reports[0].1;
    assert_eq!(
        (&report[..2], &report[4..8], &report[13..16]),
        (&[0x81, 201][..], &[0, 0, 0, 99][..], &[0, 0, 1][..])
    );
    let goodbye = link.goodbye("over");
    let byes = rtcp::packets(&goodbye).filter_map(|packet| match packet {
        Ok(rtcp::RtcpPacket::Bye(bye)) => {
            Some((bye.sources().next().unwrap().0, bye.reason().unwrap().to_vec()))
        }
        _ => None,
    });
    assert_eq!(byes.collect::<Vec<_>>(), [(99, b"over".to_vec())]);
}

#[test]
fn health_tells_b_frames_losses_and_sound_that_does_not_come_of_the_present_link_only() {
    let mut studio = Studio::new();
    let link = studio.link(both());
    let shown = [0u32, 3, 1, 2, 6, 4, 5, 9, 7, 8];
    for (number, at) in (0u16..)
        .zip((0..150).map(|at| at / 10 * 10 + shown[at as usize % 10]))
        .filter(|(number, _)| *number != 70)
    {
        studio.rtp(&link, 0, &packet(96, 1, number, at * 3600, true, &[0x41, 0xaa, 0xaa]));
        studio.pass(ms(40));
    }
    let health = studio.status().unwrap().health.unwrap();
    assert!(health.has_b_frames && !health.has_sound, "{health:?}");
    assert_eq!((health.lost, health.key_frame_distance), (1, None), "{health:?}");
    assert!(health.frame_rate_milli.unwrap().abs_diff(25_000) < 500, "{health:?}");
    drop(link);
    let link = studio.link(both());
    assert_eq!(studio.status().unwrap().health, None);
    for number in 0..150 {
        studio.rtp(&link, 0, &picture(1, number));
        studio.rtp(&link, 1, &frame(2, number));
        studio.pass(ms(40));
    }
    let health = studio.status().unwrap().health.unwrap();
    assert!(!health.has_b_frames && health.has_sound, "{health:?}");
    assert_eq!((health.lost, health.key_frame_distance), (0, Some(ms(40))), "{health:?}");
}

#[test]
fn the_status_says_what_comes_on_each_track() {
    use TrackState::{NotSetUp, Sent, Silent};
    let states =
        |studio: &Studio| studio.status().unwrap().tracks.iter().map(|track| track.state).collect::<Vec<_>>();
    let mut studio = Studio::new();
    let mut offer = both();
    offer.tracks.push(offer.tracks[1].clone());
    offer.description.media.push(offer.description.media[1].clone());
    offer.is_sent = [true, true, false, false];
    offer.left_out = 1;
    let link = studio.link(offer);
    assert_eq!(studio.status().unwrap().left_out, 1);
    for number in 0..60 {
        studio.rtp(&link, 0, &picture(1, number));
        studio.pass(ms(100));
    }
    assert_eq!(states(&studio), [Sent, Silent, NotSetUp]);
    let told = studio
        .chunks()
        .last()
        .unwrap()
        .stream()
        .description
        .media
        .iter()
        .map(|m| !m.is_empty())
        .collect::<Vec<_>>();
    assert_eq!(told, [true, false, false]);
    studio.rtp(&link, 1, &frame(2, 1));
    assert_eq!(states(&studio), [Sent, Sent, NotSetUp]);
}

#[test]
fn where_no_key_frame_comes_any_more_viewers_start_at_intra_pictures() {
    let mut studio = Studio::new();
    let link = studio.link(video());
    studio.rtp(&link, 0, &picture(1, 0));
    // A slice of type I of a picture that does not say that others may be forgotten: first_mb_in_slice 0, slice_type 7.
    let intra: &[u8] = &[0x61, 0b1000_1000, 0x80, 0xaa];
    for number in 1..20 {
        studio.pass(secs(1));
        studio.rtp(&link, 0, &packet(96, 1, number, u32::from(number) * 90_000, true, intra));
    }
    let chunks = studio.chunks();
    let first_of = |from: u16, is_key: bool| {
        let packets =
            chunks.iter().flat_map(|chunk| chunk.packets().iter().map(move |packet| (chunk, packet)));
        let of_kind = packets.filter(|(_, packet)| packet.flags.contains(PacketFlags::KEY) == is_key);
        let numbers = of_kind.filter_map(|(chunk, packet)| Some(chunk.sequence_number(packet)?.0));
        numbers.filter(|number| *number >= from).min()
    };
    assert_eq!((first_of(0, true), first_of(0, false)), (Some(0), Some(1)));
    assert_eq!((first_of(1, true), first_of(11, false)), (Some(11), None), "after ten seconds without one");
}
