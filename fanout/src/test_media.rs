//! Chunks to test with.

use std::{num::NonZeroU32, sync::Arc, time::Instant};

use slotcast_core::{
    chunk::{Chunk, ChunkBuilder},
    media::{Codec, Description, MediaKind, Stream, StreamId, Track},
    packet::PacketFlags,
    words::ProgramId,
};

/// A stream of one H.264 and one audio track.
pub(crate) fn stream() -> Arc<Stream> {
    let track = |kind, codec, pt| Track {
        kind,
        codec,
        payload_types: vec![pt],
        clock_rate: NonZeroU32::new(90_000).unwrap(),
    };
    Arc::new(Stream {
        id: StreamId(1),
        program: ProgramId(1),
        tracks: vec![track(MediaKind::Video, Codec::H264, 96), track(MediaKind::Audio, Codec::Audio, 97)],
        description: Description { title: String::new(), media: vec![String::new(); 2] },
    })
}

/// A chunk of packets given as (track, payload bytes); every packet is filled with its place.
pub(crate) fn chunk(index: u64, packets: &[(u8, usize)]) -> Arc<Chunk> {
    let mut builder = ChunkBuilder::new();
    for (place, &(track, bytes)) in packets.iter().enumerate() {
        let mut packet = vec![place as u8; bytes.max(12)];
        packet[..2].copy_from_slice(&[0x80, 96 + track]);
        packet[2..4].copy_from_slice(&((index * 100) as u16 + place as u16).to_be_bytes());
        builder.push(Instant::now(), track, PacketFlags::KEY, &packet).unwrap();
    }
    builder.flush(&stream(), index).unwrap()
}
