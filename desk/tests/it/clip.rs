//! A stored clip as a caller of the desk: what filler and re-broadcast will be.

use std::{sync::Arc, time::Duration};

use slotcast_core::{
    media::{Offer, TRACKS_MAX},
    packet::PacketFlags,
    rtp::{RtpTimestamp, SequenceNumber, Ssrc},
};
use slotcast_desk::Fate;
use slotcast_media::{
    clip::Clip,
    packetize::{Origin, Packetizer, sdp},
};

use crate::studio::{ID, Studio, ms, program};

/// What a clip sends, as its own description says.
fn offer(clip: &Clip) -> Offer {
    let announced = slotcast_rtsp::sdp::parse(sdp(clip, "A clip").as_bytes()).unwrap();
    Offer {
        tracks: announced.tracks,
        is_sent: [true; TRACKS_MAX],
        description: announced.description,
        declared_kbps: announced.bandwidth_kbps,
        left_out: 0,
    }
}

#[test]
fn a_clip_fills_a_whole_program_from_its_start_to_its_end() {
    let clip = Arc::new(Clip::bundled().unwrap());
    // Half a minute, two rounds and a half of the clip; it is played from before the start to after the end.
    let mut studio = Studio::with(vec![program(1, "10:10:05", "10:10:35", ID)], ms(20), |_| ());
    let link = studio.link(offer(&clip));
    let mut packetizers: Vec<_> = clip
        .tracks()
        .iter()
        .enumerate()
        .map(|(track, of)| {
            let origin = Origin {
                ssrc: Ssrc(track as u32),
                sequence_number: SequenceNumber(65_500),
                timestamp: RtpTimestamp(u32::MAX - 90_000),
            };
            Packetizer::new(of.format.clone(), track, origin)
        })
        .collect();
    let (mut passed, mut sent) = (Duration::ZERO, 0);
    for unit in clip.play().take_while(|unit| unit.at < Duration::from_secs(40)) {
        studio.pass(unit.at - passed);
        passed = unit.at;
        let mut packets = Vec::new();
        packetizers[unit.track].packetize(&unit, &mut packets);
        for packet in packets {
            sent += 1;
            assert_eq!(studio.rtp(&link, unit.track as u8, &packet), Fate::Taken);
        }
    }
    let stats = studio.desk.stats().program(slotcast_core::words::ProgramId(1)).unwrap();
    let (held, published) = (stats.traffic.held.value(), stats.traffic.published.value());
    assert_eq!((held + published, stats.traffic.lost.value()), (sent, 0));
    assert!(held > 0 && published > 3 * held / 2, "{held} held, {published} published");

    // What it is like: 10 pictures a second, a key frame every 1.6 s, no B-frames, sound.
    let health = studio.status().unwrap().health.unwrap();
    assert!(health.frame_rate_milli.unwrap().abs_diff(10_000) < 300, "{health:?}");
    assert!(health.key_frame_distance.unwrap().abs_diff(ms(1_600)) < ms(200), "{health:?}");
    assert_eq!(health.encodings, ["H264", "mpeg4-generic"]);
    assert!(health.has_sound && !health.has_b_frames && health.packets > 0);
    assert_eq!((health.lost, health.over_class), (0, 0));

    // Viewers see one stream without a gap, on both tracks, with the pictures where they may start.
    let chunks = studio.chunks();
    assert!(chunks.iter().map(|chunk| chunk.index()).eq(0..chunks.len() as u64));
    let mut numbers = [const { Vec::new() }; 2];
    let mut keys = 0;
    for chunk in &chunks {
        for packet in chunk.packets().iter().filter(|packet| packet.is_rtp()) {
            numbers[usize::from(packet.track)].push(chunk.sequence_number(packet).unwrap());
            keys += usize::from(packet.track == 0 && packet.flags.contains(PacketFlags::KEY));
        }
    }
    for numbers in &numbers {
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0].next()));
    }
    // One every 1.6 s, of which each is known by its slice alone.
    assert!((17..=20).contains(&keys), "{keys} key frames");
    let with_picture =
        |chunk: &&Arc<slotcast_core::chunk::Chunk>| chunk.packets().iter().any(|packet| packet.track == 0);
    let beside = chunks
        .iter()
        .filter(with_picture)
        .filter(|chunk| chunk.packets().iter().any(|packet| packet.track == 1));
    assert!(beside.count() > 30, "sound travels with the pictures");
}
