//! One round of measuring: streams are fed at their pace, receivers read, and the sending side's CPU time is taken.
//!
//! Owns: what a round is, for the raw loop and for a server alike; warm-up, turns and settling.
//! Holds: both are fed, received and measured in the same way; only the sender differs. They are connected at the same
//! time and take turns of one second, so that whatever else happens on the machine happens to both.

use std::{
    io::{self, Write},
    net::TcpStream,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use serde::Serialize;
use slotcast_core::chunk::Chunk;

use super::{
    feeder::Feeder,
    paced::{self, Sender, Transport},
    peer::Address,
    receivers::{self, Received, Receivers, Socket},
};
use crate::cpu::{ProcessUse, ThreadUse, resident_bytes};
use slotcast_tools::shape::Shape;

/// Fed before anything counts: queues and buffers take their usual sizes, viewers who joined have caught up.
const WARM_UP: Duration = Duration::from_secs(2);
/// One turn: with the standard shape a whole group of pictures.
const TURN: Duration = Duration::from_secs(1);
/// How long what is on its way at the end of a turn may take.
const SETTLE: Duration = Duration::from_millis(500);
/// Fed before the first viewer connects: a server offers a stream once it has packets of it.
const LEAD: Duration = Duration::from_millis(500);
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
type Publish = Box<dyn FnMut(usize, &Arc<Chunk>) -> io::Result<()>>;

/// Measures the raw loop and, in turn with it, `server`.
///
/// # Errors
/// Sockets or cores are missing; the server cannot be reached, refuses a broadcaster or a viewer, or its process cannot
/// be looked at.
pub fn run(load: &Load, server: Option<&Server>) -> io::Result<(Measured, Option<Measured>)> {
    let (sender, mut raw) = raw_side(load)?;
    let mut server = server.map(|server| server_side(load, server)).transpose()?;
    raw.begin()?;
    server.as_mut().map_or(Ok(()), Side::begin)?;
    let before = [&sender.sent.calls, &sender.sent.frames].map(|counter| counter.load(Ordering::Relaxed));
    for turn in 0..load.time.div_duration_f64(TURN).ceil() as u32 {
        // First one begins, then the other.
        if turn.is_multiple_of(2) {
            raw.turn()?;
        }
        server.as_mut().map_or(Ok(()), Side::turn)?;
        if !turn.is_multiple_of(2) {
            raw.turn()?;
        }
    }
    let [calls, frames] =
        [&sender.sent.calls, &sender.sent.frames].map(|counter| counter.load(Ordering::Relaxed));
    let mut measured = raw.finish()?;
    measured.calls = Some(calls - before[0]);
    measured.calls_per_frame = Some((calls - before[0]) as f64 / (frames - before[1]).max(1) as f64);
    sender.finish()?;
    Ok((measured, server.map(Side::finish).transpose()?))
}

/// A sender, its receivers, and what was measured of it so far.
struct Side {
    receivers: Receivers,
    receivers_per_channel: u64,
    feeder: Feeder,
    publish: Publish,
    pid: u32,
    /// What the names of the sending threads begin with, and those of all that count for the process.
    threads: [&'static str; 2],
    server: bool,
    expected: u64,
    time: Duration,
    sending: ThreadUse,
    process: ThreadUse,
    receiving: ThreadUse,
}

impl Side {
    fn begin(&mut self) -> io::Result<()> {
        self.feeder.run(WARM_UP, &mut self.publish)?;
        self.receivers.begin();
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        let (before, own_before) = (ProcessUse::of(self.pid)?, ProcessUse::own()?);
        let start = Instant::now();
        let published = self.feeder.run(TURN, &mut self.publish)?;
        self.time += start.elapsed();
        self.expected += published.iter().sum::<u64>() * self.receivers_per_channel;
        let deadline = Instant::now() + SETTLE;
        while self.receivers.packets() < self.expected && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let (after, own_after) = (ProcessUse::of(self.pid)?, ProcessUse::own()?);
        self.sending.add(&after.since(&before, self.threads[0]));
        self.process.add(&after.since(&before, self.threads[1]));
        self.receiving.add(&own_after.since(&own_before, receivers::THREAD));
        Ok(())
    }

    fn finish(self) -> io::Result<Measured> {
        let resident = if self.server { resident_bytes(self.pid) } else { None };
        let received = self.receivers.finish()?;
        let time = self.time.as_secs_f64();
        let micros = |nanos: u64| nanos as f64 / 1e3 / received.packets.max(1) as f64;
        Ok(Measured {
            packets: received.packets,
            lost: self.expected.saturating_sub(received.packets),
            packets_per_second: received.packets as f64 / time,
            mbit_per_second: received.bytes as f64 * 8e-6 / time,
            cpu_us_per_packet: micros(self.sending.nanos),
            process_cpu_us_per_packet: micros(self.process.nanos),
            core_share: self.process.nanos as f64 / 1e9 / time,
            receiver_share: self.receiving.nanos as f64 / 1e9 / time,
            waits_per_second: self.sending.waits as f64 / time,
            preemptions_per_second: self.sending.preemptions as f64 / time,
            latency: Latency::of(&received),
            least: received.least,
            most: received.most,
            resident_bytes: resident,
            ..Measured::default()
        })
    }
}

fn raw_side(load: &Load) -> io::Result<(Sender, Side)> {
    let (sender, sockets) = Sender::start(load.transport, load.channels, load.receivers, load.send_core)?;
    let feeds = sender.feeds.clone();
    let publish = move |_, chunk: &Arc<Chunk>| {
        feeds.publish(chunk);
        Ok(())
    };
    let feeder = Feeder::new(load.shape, load.channels);
    let receivers = Receivers::start(sockets, load.tool_core)?;
    let side = side(load, receivers, feeder, Box::new(publish), [paced::THREAD; 2], None);
    Ok((sender, side))
}

fn server_side(load: &Load, server: &Server) -> io::Result<Side> {
    let mut streams = Vec::with_capacity(load.channels);
    for channel in 1..=load.channels {
        streams.push(Address::parse(&server.publish, channel)?.publish(load.shape.sdp())?);
    }
    let mut feeder = Feeder::new(load.shape, load.channels);
    let mut publish: Publish = Box::new(move |channel, chunk| write(&mut streams, channel, chunk));
    let sockets = connect(load, server, &mut feeder, &mut publish)?;
    let receivers = Receivers::start(sockets, load.tool_core)?;
    Ok(side(load, receivers, feeder, publish, ["worker-", ""], Some(server.pid)))
}

fn side(
    load: &Load,
    receivers: Receivers,
    feeder: Feeder,
    publish: Publish,
    threads: [&'static str; 2],
    server: Option<u32>,
) -> Side {
    Side {
        receivers,
        receivers_per_channel: load.receivers as u64,
        feeder,
        publish,
        pid: server.unwrap_or_else(std::process::id),
        threads,
        server: server.is_some(),
        expected: 0,
        time: Duration::ZERO,
        sending: ThreadUse::default(),
        process: ThreadUse::default(),
        receiving: ThreadUse::default(),
    }
}

fn write(streams: &mut [TcpStream], channel: usize, chunk: &Chunk) -> io::Result<()> {
    streams.get_mut(channel).map_or(Ok(()), |stream| stream.write_all(chunk.bytes()))
}

/// Connects all viewers on a thread of their own, while the streams go on.
fn connect(
    load: &Load,
    server: &Server,
    feeder: &mut Feeder,
    publish: &mut Publish,
) -> io::Result<Vec<Socket>> {
    let (load, watch) = (*load, server.watch.clone());
    feeder.run(LEAD, publish)?;
    let tracks = 1 + usize::from(load.shape.audio_per_second > 0);
    let thread = std::thread::Builder::new().name("load-connect".to_owned()).spawn(move || {
        let mut sockets = Vec::with_capacity(load.channels * load.receivers);
        for channel in 1..=load.channels {
            let address = Address::parse(&watch, channel)?;
            for _ in 0..load.receivers {
                sockets.extend(address.watch(load.transport, tracks)?);
            }
        }
        io::Result::Ok(sockets)
    })?;
    let deadline = Instant::now() + CONNECT_MAX;
    while !thread.is_finished() {
        if Instant::now() > deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "viewers took too long to connect"));
        }
        feeder.run(Duration::from_millis(40), publish)?;
    }
    thread.join().map_err(|_| io::Error::other("the connecting thread ended in a defect"))?
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
                time: TURN,
                send_core: 0,
                tool_core: 0,
            };
            let (measured, _) = run(&load, None).unwrap();
            assert_eq!(measured.lost, 0);
            assert!(measured.packets > 0 && measured.packets == 4 * measured.least);
            assert_eq!(measured.least, measured.most);
        }
    }
}
