//! A link side alone, for trying encoders by hand: prints what arrives, once a second.
//!
//! `cargo run -p slotcast-ingest --example link_side -- 20` listens for 20 seconds on 127.0.0.1:8555, one program on
//! `channel4` that is on air for that time, reservation ID `try-this-reservation`.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use slotcast_admission::{Channel, LinkKey, ProgramSpec, Timetable};
use slotcast_core::{
    feed::Feeds,
    packet::PacketFlags,
    time::{Clock, Now, WallTime},
    words::{ChannelNumber, ConnectMargins, OpenLevel, ProgramId, Seats, Toll, Window},
};
use slotcast_ingest::{Ingest, IngestConfig};

fn wall_now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

fn timetable(seconds: u64) -> Result<Timetable, Box<dyn std::error::Error>> {
    let number = ChannelNumber(4);
    let class = "8Mbit/s".parse()?;
    let channel = Channel {
        number,
        name: "channel4".parse()?,
        seats: Seats::new(50)?,
        class,
        toll: Toll(10_000),
        gather: Duration::ZERO,
    };
    let start = wall_now();
    let window = Window::new(start, start.saturating_add(Duration::from_secs(seconds)))?;
    let program = ProgramSpec {
        id: ProgramId(1),
        channel: number,
        window,
        connect: window.widened(ConnectMargins::default()),
        seats: None,
        class: None,
        title: "By hand".to_owned(),
        open_level: OpenLevel::Public,
        password: None,
        link_key: LinkKey::from_reservation_id("try-this-reservation"),
    };
    let timetable = Timetable::new();
    timetable.publish(vec![channel], vec![program])?;
    Ok(timetable)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(20);
    let feeds = Feeds::default();
    let receiver = feeds.subscribe(4096, || {});
    let clock: Clock = Arc::new(|| Now { mono: Instant::now(), wall: wall_now() });
    let config = IngestConfig {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 8555))],
        rtp_ports: Some([0, 0]),
        lines: 20,
        lines_per_address: 20,
        antechamber: 256,
        antechamber_per_address: 128,
        gate_deadline: Duration::from_secs(10),
        burst: Duration::from_secs(2),
    };
    let ingest = Ingest::start(config, Arc::new(timetable(seconds)?), feeds, clock)?;
    println!("push to rtsp://live:try-this-reservation@{}/channel4", ingest.local_addrs()[0]);
    let mut description = None;
    for second in 1..=seconds {
        std::thread::sleep(Duration::from_secs(1));
        let (mut chunks, mut packets, mut keys, mut reports) = (0, 0, 0, 0);
        receiver.begin_drain();
        while let Some(chunk) = receiver.pop() {
            chunks += 1;
            for entry in chunk.packets() {
                packets += usize::from(entry.is_rtp());
                reports += usize::from(!entry.is_rtp());
                keys += usize::from(entry.flags.contains(PacketFlags::KEY) && entry.track == 0);
            }
            description = Some(chunk.stream().description.clone());
        }
        println!(
            "{second:>3} s  {chunks} chunks, {packets} packets, {keys} of key frames, {reports} reports  {:?}",
            ingest.links()
        );
    }
    println!("{description:#?}\n{:?}", ingest.stats().decisions());
    println!("{:#?}", ingest.stats().channels());
    ingest.shutdown(Duration::from_secs(1));
    Ok(())
}
