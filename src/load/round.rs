//! One round of measuring: streams are fed at their pace, receivers read, and the sending side's CPU time is taken.
//!
//! Owns: what a round is, for the raw loop and for a server alike; warm-up, window and settling.
//! Holds: both are fed, received and measured by the same threads in the same way; only the sender differs.

use std::{
    io::{self, Write},
    net::TcpStream,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use serde::Serialize;
use slotcast_core::chunk::Chunk;

use super::{
    cpu::{ProcessUse, resident_bytes},
    feeder::Feeder,
    paced::{self, Sender, Transport},
    peer::Address,
    receivers::{self, Received, Receivers, Socket},
    shape::Shape,
};

/// Fed before anything counts: queues and buffers take their usual sizes, viewers who joined have caught up.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long what is on its way may take.
const SETTLE: Duration = Duration::from_secs(1);
/// How long viewers may take to connect, all together.
const CONNECT_MAX: Duration = Duration::from_secs(60);

/// What is sent to whom.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Of each stream.
    pub shape: Shape,
    /// To all receivers.
    pub transport: Transport,
    /// Streams.
    pub channels: usize,
    /// Of each stream.
    pub receivers: usize,
    /// Measured, after the warm-up.
    pub time: Duration,
    /// Where the sending loop runs.
    pub send_core: usize,
    /// Where everything else runs.
    pub tool_core: usize,
}

/// A server that is measured.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where viewers watch; `{n}` stands for the channel's number, from 1.
    pub watch: String,
    /// Where streams are published, likewise.
    pub publish: String,
    /// The process.
    pub pid: u32,
}

/// What came of a round.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Measured {
    /// Packets that the receivers had in hand.
    pub packets: u64,
    /// Packets that they should have got and did not.
    pub lost: u64,
    /// Per second.
    pub packets_per_second: f64,
    /// Of RTP packets, all receivers together.
    pub mbit_per_second: f64,
    /// CPU time of the sending thread, or of a server's workers, per packet in hand.
    pub cpu_us_per_packet: f64,
    /// CPU time of the whole server per packet in hand; as above for a raw loop.
    pub process_cpu_us_per_packet: f64,
    /// Share of the core that the sending side used, 0 to 1.
    pub core_share: f64,
    /// Share of its core that the receiving thread used.
    pub receiver_share: f64,
    /// How often the sending side slept, and how often it was interrupted, per second.
    pub waits_per_second: f64,
    /// See above.
    pub preemptions_per_second: f64,
    /// Send calls, and per receiver and frame; `None` for a server: it is not asked.
    pub calls: Option<u64>,
    /// See above.
    pub calls_per_frame: Option<f64>,
    /// From the stamp to the receiver's hand.
    pub latency: Latency,
    /// Packets of the receiver that got the fewest and of the one that got the most.
    pub least: u64,
    /// See above.
    pub most: u64,
    /// Resident memory of the server at the end.
    pub resident_bytes: Option<u64>,
}

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    /// Half were faster.
    pub p50: f64,
    /// See above.
    pub p90: f64,
    /// See above.
    pub p99: f64,
    /// See above.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
}

impl Latency {
    pub(super) fn of(received: &Received) -> Self {
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let at = |quantile| millis(received.latency.quantile(quantile));
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: millis(received.latency.max()),
        }
    }
}

/// What a feeder's chunks go into.
type Publish<'a> = &'a mut dyn FnMut(usize, &Arc<Chunk>) -> io::Result<()>;

/// Runs the raw loop once.
///
/// # Errors
/// Sockets or cores are missing.
pub fn raw(load: &Load) -> io::Result<Measured> {
    let (sender, sockets) = Sender::start(load.transport, load.channels, load.receivers, load.send_core)?;
    let receivers = Receivers::start(sockets, load.tool_core)?;
    let mut feeder = Feeder::new(load.shape, load.channels);
    let feeds = sender.feeds.clone();
    let publish: Publish<'_> = &mut |_, chunk| {
        feeds.publish(chunk);
        Ok(())
    };
    feeder.run(WARM_UP, publish)?;
    let before = [&sender.sent.calls, &sender.sent.frames].map(|counter| counter.load(Ordering::Relaxed));
    let mut measured =
        measure(load, &mut feeder, publish, receivers, &[paced::THREAD; 2], std::process::id())?;
    let [calls, frames] =
        [&sender.sent.calls, &sender.sent.frames].map(|counter| counter.load(Ordering::Relaxed));
    measured.calls = Some(calls - before[0]);
    measured.calls_per_frame = Some((calls - before[0]) as f64 / (frames - before[1]).max(1) as f64);
    sender.finish()?;
    Ok(measured)
}

/// Publishes to `server`, lets viewers watch, and measures.
///
/// # Errors
/// It cannot be reached, refuses a broadcaster or a viewer, or its process cannot be looked at.
pub fn server(load: &Load, server: &Server) -> io::Result<Measured> {
    let mut streams = Vec::with_capacity(load.channels);
    for channel in 1..=load.channels {
        streams.push(Address::parse(&server.publish, channel)?.publish(load.shape.sdp())?);
    }
    let mut feeder = Feeder::new(load.shape, load.channels);
    let publish: Publish<'_> = &mut |channel, chunk| write(&mut streams, channel, chunk);
    let sockets = connect(load, server, &mut feeder, publish)?;
    let receivers = Receivers::start(sockets, load.tool_core)?;
    feeder.run(WARM_UP, publish)?;
    let mut measured = measure(load, &mut feeder, publish, receivers, &["worker-", ""], server.pid)?;
    measured.resident_bytes = resident_bytes(server.pid);
    Ok(measured)
}

fn write(streams: &mut [TcpStream], channel: usize, chunk: &Chunk) -> io::Result<()> {
    streams.get_mut(channel).map_or(Ok(()), |stream| stream.write_all(chunk.bytes()))
}

/// Connects all viewers on a thread of their own, while the streams go on.
fn connect(
    load: &Load,
    server: &Server,
    feeder: &mut Feeder,
    publish: Publish<'_>,
) -> io::Result<Vec<Socket>> {
    let (load, watch) = (*load, server.watch.clone());
    let tracks = 1 + usize::from(load.shape.audio_per_second > 0);
    let thread = std::thread::Builder::new().name("load-connect".to_owned()).spawn(move || {
        let mut sockets = Vec::with_capacity(load.channels * load.receivers);
        for channel in 1..=load.channels {
            let address = Address::parse(&watch, channel)?;
            for _ in 0..load.receivers {
                sockets.push(address.watch(load.transport, tracks)?);
            }
        }
        io::Result::Ok(sockets)
    })?;
    let deadline = Instant::now() + CONNECT_MAX;
    while !thread.is_finished() {
        if Instant::now() > deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "viewers took too long to connect"));
        }
        feeder.run(Duration::from_millis(20), publish)?;
    }
    thread.join().map_err(|_| io::Error::other("the connecting thread ended in a defect"))?
}

/// The window itself.
///
/// - `threads`: what the names of the sending side's threads begin with, and those of its whole process.
fn measure(
    load: &Load,
    feeder: &mut Feeder,
    publish: Publish<'_>,
    receivers: Receivers,
    threads: &[&str; 2],
    pid: u32,
) -> io::Result<Measured> {
    let (before, own_before) = (ProcessUse::of(pid)?, ProcessUse::own()?);
    let start = Instant::now();
    receivers.begin();
    let published = feeder.run(load.time, publish)?;
    receivers.end();
    let time = start.elapsed().as_secs_f64();
    let (after, own_after) = (ProcessUse::of(pid)?, ProcessUse::own()?);
    let expected: u64 = published.iter().sum::<u64>() * load.receivers as u64;
    let deadline = Instant::now() + SETTLE;
    while receivers.packets() < expected && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let received = receivers.finish()?;
    let sending = after.since(&before, threads[0]);
    let process = after.since(&before, threads[1]);
    let receiving = own_after.since(&own_before, receivers::THREAD);
    let micros = |nanos: u64| nanos as f64 / 1e3 / received.packets.max(1) as f64;
    Ok(Measured {
        packets: received.packets,
        lost: expected.saturating_sub(received.packets),
        packets_per_second: received.packets as f64 / time,
        mbit_per_second: received.bytes as f64 * 8e-6 / time,
        cpu_us_per_packet: micros(sending.nanos),
        process_cpu_us_per_packet: micros(process.nanos),
        core_share: process.nanos as f64 / 1e9 / time,
        receiver_share: receiving.nanos as f64 / 1e9 / time,
        waits_per_second: sending.waits as f64 / time,
        preemptions_per_second: sending.preemptions as f64 / time,
        latency: Latency::of(&received),
        least: received.least,
        most: received.most,
        ..Measured::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_round_delivers_what_was_published() {
        for transport in [Transport::Udp, Transport::Tcp] {
            let load = Load {
                shape: Shape { audio_per_second: 47, ..Shape::default() },
                transport,
                channels: 2,
                receivers: 2,
                time: Duration::from_millis(300),
                send_core: 0,
                tool_core: 0,
            };
            let measured = raw(&load).unwrap();
            assert_eq!(measured.lost, 0);
            assert!(measured.packets > 0 && measured.packets == 4 * measured.least);
            assert_eq!(measured.least, measured.most);
        }
    }
}
