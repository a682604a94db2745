//! What the parts of the media path cost, one by one.
//!
//! `cargo bench --bench parts` prints nanoseconds per round; each name says what a round is.

use std::{hint::black_box, num::NonZeroU32, sync::Arc, time::Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use slotcast_admission::Gate;
use slotcast_core::{
    chunk::{Chunk, ChunkBuilder},
    feed::{FeedReceiver, Feeds},
    log::ChannelLog,
    media::{Codec, Description, MediaKind, Stream, StreamId, Track},
    packet::PacketFlags,
    runs,
    time::WallTime,
    words::{ProgramId, Seats},
};
use slotcast_media::keyframe::KeyFrameScanner;
use slotcast_rtsp::message::{Decoder, Item};

const KEY_PACKETS: usize = 26;
const FRAME_PACKETS: usize = 7;
const SETUP: &[u8] = b"SETUP rtsp://127.0.0.1:8554/channel4/trackID=0 RTSP/1.0\r\nCSeq: 3\r\n\
    User-Agent: LibVLC/3.0.21 (LIVE555 Streaming Media v2016.11.28)\r\n\
    Authorization: Digest username=\"viewer\", realm=\"slotcast\", nonce=\"0123456789abcdef\", \
    uri=\"rtsp://127.0.0.1:8554/channel4/\", response=\"0123456789abcdef0123456789abcdef\"\r\n\
    Transport: RTP/AVP;unicast;client_port=50000-50001\r\n\r\n";

fn stream() -> Arc<Stream> {
    let track = Track {
        kind: MediaKind::Video,
        codec: Codec::H264,
        payload_types: vec![96],
        clock_rate: NonZeroU32::new(90_000).unwrap_or(NonZeroU32::MIN),
    };
    let description = Description { title: String::new(), media: vec![String::new()] };
    Arc::new(Stream { id: StreamId(1), program: ProgramId(1), tracks: vec![track], description })
}

/// The packets of one frame: 1,200 bytes each, the last one 375.
fn frame(number: u32, packets: usize) -> Vec<Vec<u8>> {
    let one = |place: usize| {
        let mut packet = vec![0x55; if place + 1 == packets { 375 } else { 1200 }];
        packet[..2].copy_from_slice(&[0x80, 96 | u8::from(place + 1 == packets) << 7]);
        packet[2..4].copy_from_slice(&((number as u16) << 5 | place as u16).to_be_bytes());
        packet[4..8].copy_from_slice(&(number * 3000).to_be_bytes());
        let kind = if packets == KEY_PACKETS { 5 } else { 1 };
        packet[12..14].copy_from_slice(&[0x7C, u8::from(place == 0) << 7 | kind]);
        packet
    };
    (0..packets).map(one).collect()
}

fn build(builder: &mut ChunkBuilder, stream: &Arc<Stream>, index: u64, packets: &[Vec<u8>]) -> Arc<Chunk> {
    let flags = if packets.len() == KEY_PACKETS { PacketFlags::KEY } else { PacketFlags::EMPTY };
    let now = Instant::now();
    for packet in packets {
        let _taken = builder.push(now, 0, flags, packet);
    }
    builder.flush(stream, index).expect("packets were pushed")
}

fn chunks(c: &mut Criterion) {
    let stream = stream();
    let mut group = c.benchmark_group("chunk");
    for (name, count) in [("frame of 7", FRAME_PACKETS), ("key frame of 26", KEY_PACKETS)] {
        let packets = frame(1, count);
        let mut builder = ChunkBuilder::default();
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("build, {name}"), |b| {
            b.iter(|| build(&mut builder, &stream, 0, black_box(&packets)));
        });
        let chunk = build(&mut builder, &stream, 0, &packets);
        group.bench_function(format!("group into runs, {name}"), |b| {
            b.iter(|| runs::group(black_box(chunk.packets())));
        });
        let mut scanner = KeyFrameScanner::new(Codec::H264);
        group.bench_function(format!("look for a key frame, {name}"), |b| {
            b.iter(|| packets.iter().filter(|p| scanner.scan(&p[12..]).contains(PacketFlags::KEY)).count());
        });
    }
}

fn publish(c: &mut Criterion) {
    let chunk = build(&mut ChunkBuilder::default(), &stream(), 0, &frame(1, FRAME_PACKETS));
    let mut group = c.benchmark_group("publish");
    for workers in [1, 2, 16] {
        let feeds = Feeds::default();
        let receivers: Vec<FeedReceiver> = (0..workers).map(|_| feeds.subscribe(64, || {})).collect();
        group.bench_function(format!("a chunk to {workers} workers, and taken"), |b| {
            b.iter(|| {
                feeds.publish(&chunk);
                for receiver in &receivers {
                    receiver.begin_drain();
                    black_box(receiver.pop());
                }
            });
        });
    }
}

fn log(c: &mut Criterion) {
    let (stream, mut builder) = (stream(), ChunkBuilder::default());
    let seconds_10: Vec<_> = (0..300u32)
        .map(|n| {
            let packets = frame(n, if n.is_multiple_of(30) { KEY_PACKETS } else { FRAME_PACKETS });
            build(&mut builder, &stream, u64::from(n), &packets)
        })
        .collect();
    let filled = || {
        let mut log = ChannelLog::default();
        seconds_10.iter().for_each(|chunk| _ = log.push(Arc::clone(chunk)));
        log
    };
    let mut group = c.benchmark_group("log");
    group.bench_function("push 300 frames", |b| b.iter_batched(|| (), |()| filled(), BatchSize::SmallInput));
    let log = filled();
    let now = Instant::now();
    group.bench_function("join: where to start, and RTP-Info", |b| {
        b.iter(|| {
            let start = log.join_point().expect("there is a key frame");
            (start, log.rtp_info(black_box(start), 0, now))
        });
    });
}

fn rtsp(c: &mut Criterion) {
    let packets = frame(1, FRAME_PACKETS);
    let framed: Vec<u8> = packets
        .iter()
        .flat_map(|packet| {
            let header = slotcast_rtsp::message::frame_header(0, packet.len() as u16);
            header.into_iter().chain(packet.iter().copied())
        })
        .collect();
    let mut group = c.benchmark_group("rtsp");
    for (name, bytes) in [("a SETUP with credentials", SETUP), ("the $ frames of a frame of 7", &framed)] {
        let mut decoder = Decoder::default();
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("parse {name}"), |b| {
            b.iter(|| {
                decoder.feed(black_box(bytes));
                std::iter::from_fn(|| decoder.poll_item().ok().flatten())
                    .filter(|item| matches!(item, Item::Request(_) | Item::Frame { .. }))
                    .count()
            });
        });
    }
}

fn seats(c: &mut Criterion) {
    let gate = |seats| {
        Arc::new(Gate::new(Seats::new(seats).expect("a number of seats"), WallTime::from_micros(i64::MAX)))
    };
    let mut group = c.benchmark_group("seats");
    let free = gate(1000);
    group.bench_function("enter and leave", |b| b.iter(|| drop(black_box(free.enter()))));
    let full = gate(1);
    let _taken = full.enter();
    group.bench_function("be refused", |b| b.iter(|| drop(black_box(full.enter()))));
    group.bench_function("ask before a send", |b| b.iter(|| black_box(&free).is_open()));
}

criterion_group!(parts, chunks, publish, log, rtsp, seats);
criterion_main!(parts);
