//! One round of measuring: streams are fed at their pace, receivers read, and the sending side's CPU time is taken.
//!
//! Owns: what a round is, for the raw loop and for a server alike; warm-up, turns and settling.
//! Invariant: both are fed, received and measured in the same way; only the sender differs. They are connected at the same
//! time and take turns of one second, so that whatever else happens on the machine happens to both.

use std::{
    io::{self, Write},
    net::TcpStream,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use slotcast_core::chunk::Chunk;

use super::{
    feeder::Feeder,
    paced::{self, Sender, Transport},
    peer::{self, PeerError},
    receivers::{self, Receivers, Socket},
};
use crate::cpu::{ProcessUse, ThreadUse, resident_bytes};
use slotcast_tools::{histogram::Percentiles, shape::Shape, target::Target};

/// One turn: with the standard shape a whole group of pictures.
const TURN: Duration = Duration::from_secs(1);
/// How long what is on its way at the end of a turn may take.
const SETTLE: Duration = Duration::from_millis(500);
/// ... and at the end of a round: what is later than this is lost.
const SETTLE_LAST: Duration = Duration::from_secs(3);
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
    /// Fed before anything counts: queues and buffers take their usual sizes, viewers who joined have caught up.
    pub warm_up: Duration,
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
    /// Where viewers watch, by channel.
    pub watch: Vec<Target>,
    /// Where streams are published, likewise.
    pub publish: Vec<Target>,
    /// The process.
    pub pid: u32,
    /// What the names of its sending threads begin with.
    pub worker_threads: String,
}

/// What came of a round.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    /// Packets that the receivers had in hand; one that came twice counts once.
    pub packets: u64,
    /// Packets that they should have got and did not.
    pub lost: u64,
    /// How many datagrams the kernel dropped at the receivers' own sockets, the warm-up included: the tool's fault.
    /// `None`: the kernel does not tell.
    pub udp_drops: Option<u64>,
    /// Packets that came again.
    pub duplicates: u64,
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
    /// From the moment at which a packet was to be sent to the receiver's hand; `None`: nothing came.
    pub latency_ms: Option<Percentiles>,
    /// ... of pictures alone.
    pub picture_ms: Option<Percentiles>,
    /// ... of sound alone; `None` where there is none.
    pub sound_ms: Option<Percentiles>,
    /// How much later than due frames were published: part of the latency. The tool was woken late, or the server was
    /// slow to read.
    pub fed_late_ms: Option<Percentiles>,
    /// Packets of the receiver that got the fewest and of the one that got the most.
    pub least: u64,
    /// See above.
    pub most: u64,
    /// Resident memory of the server at the end.
    pub resident_bytes: Option<u64>,
}

impl Measured {
    /// One of its latencies, in milliseconds; not a number where nothing came.
    pub fn latency(&self, of: impl Fn(&Percentiles) -> f64) -> f64 {
        self.latency_ms.as_ref().map_or(f64::NAN, of)
    }
}

/// What a feeder's chunks go into.
type Publish = Box<dyn FnMut(usize, &Arc<Chunk>) -> Result<(), PeerError>>;

/// Measures the raw loop and, in turn with it, `server`.
///
/// # Errors
/// See [`PeerError`].
pub fn run(load: &Load, server: Option<&Server>) -> Result<(Measured, Option<Measured>), PeerError> {
    let (sender, mut raw) = raw_side(load)?;
    let mut server = server.map(|server| server_side(load, server)).transpose()?;
    raw.begin(load.warm_up)?;
    server.as_mut().map_or(Ok(()), |server| server.begin(load.warm_up))?;
    let before = [&sender.sent.calls, &sender.sent.frames].map(|counter| counter.load(Ordering::Relaxed));
    let length = TURN.min(load.time);
    for turn in 0..load.time.div_duration_f64(TURN).ceil() as u32 {
        // First one begins, then the other.
        if turn.is_multiple_of(2) {
            raw.turn(length)?;
        }
        server.as_mut().map_or(Ok(()), |server| server.turn(length))?;
        if !turn.is_multiple_of(2) {
            raw.turn(length)?;
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
    threads: [String; 2],
    server: bool,
    expected: u64,
    time: Duration,
    sending: ThreadUse,
    process: ThreadUse,
    receiving: ThreadUse,
}

impl Side {
    fn begin(&mut self, warm_up: Duration) -> Result<(), PeerError> {
        self.feeder.run(warm_up, &mut self.publish)?;
        self.receivers.begin();
        self.feeder.forget_late();
        Ok(())
    }

    /// What its process has used.
    fn used(&self) -> Result<ProcessUse, PeerError> {
        ProcessUse::of(self.pid).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if self.server => PeerError::Server("its process has ended".to_owned()),
            _ => error.into(),
        })
    }

    /// Waits until all that was published has come.
    fn settle(&self, at_most: Duration) {
        let deadline = Instant::now() + at_most;
        while self.receivers.packets() < self.expected && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn turn(&mut self, length: Duration) -> Result<(), PeerError> {
        let (before, own_before) = (self.used()?, ProcessUse::own()?);
        let start = Instant::now();
        let published = self.feeder.run(length, &mut self.publish)?;
        self.time += start.elapsed();
        self.expected += published.iter().sum::<u64>() * self.receivers_per_channel;
        self.settle(SETTLE);
        let (after, own_after) = (self.used()?, ProcessUse::own()?);
        self.sending.add(&after.since(&before, &self.threads[0]));
        self.process.add(&after.since(&before, &self.threads[1]));
        self.receiving.add(&own_after.since(&own_before, receivers::THREAD));
        Ok(())
    }

    fn finish(self) -> Result<Measured, PeerError> {
        self.settle(SETTLE_LAST);
        let resident = if self.server { resident_bytes(self.pid) } else { None };
        let received = self.receivers.finish()?;
        let time = self.time.as_secs_f64();
        let [pictures, sound] = &received.latency;
        let mut latency = pictures.clone();
        latency.merge(sound);
        let micros = |nanos: u64| nanos as f64 / 1e3 / received.packets.max(1) as f64;
        Ok(Measured {
            packets: received.packets,
            lost: self.expected.saturating_sub(received.packets),
            udp_drops: received.udp_drops,
            duplicates: received.duplicates,
            packets_per_second: received.packets as f64 / time,
            mbit_per_second: received.bytes as f64 * 8e-6 / time,
            cpu_us_per_packet: micros(self.sending.nanos),
            process_cpu_us_per_packet: micros(self.process.nanos),
            core_share: self.process.nanos as f64 / 1e9 / time,
            receiver_share: self.receiving.nanos as f64 / 1e9 / time,
            waits_per_second: self.sending.waits as f64 / time,
            preemptions_per_second: self.sending.preemptions as f64 / time,
            latency_ms: Percentiles::of(&latency),
            picture_ms: Percentiles::of(pictures),
            sound_ms: Percentiles::of(sound),
            fed_late_ms: Percentiles::of(self.feeder.late()),
            least: received.least,
            most: received.most,
            resident_bytes: resident,
            ..Measured::default()
        })
    }
}

fn raw_side(load: &Load) -> Result<(Sender, Side), PeerError> {
    let (sender, sockets) = Sender::start(load.transport, load.channels, load.receivers, load.send_core)?;
    let feeds = sender.feeds.clone();
    let publish = move |_, chunk: &Arc<Chunk>| {
        feeds.publish(chunk);
        Ok(())
    };
    let feeder = Feeder::new(load.shape, load.channels);
    let receivers = Receivers::start(sockets, load.tool_core)?;
    let threads = [paced::THREAD; 2].map(str::to_owned);
    let side = side(load, receivers, feeder, Box::new(publish), threads, None);
    Ok((sender, side))
}

fn server_side(load: &Load, server: &Server) -> Result<Side, PeerError> {
    let mut streams = Vec::with_capacity(load.channels);
    for target in &server.publish {
        streams.push((peer::publish(target, load.shape.sdp())?, target.url.clone()));
    }
    let mut feeder = Feeder::new(load.shape, load.channels);
    let mut publish: Publish = Box::new(move |channel, chunk| write(&mut streams, channel, chunk));
    let sockets = connect(load, server, &mut feeder, &mut publish)?;
    let receivers = Receivers::start(sockets, load.tool_core)?;
    let threads = [server.worker_threads.clone(), String::new()];
    Ok(side(load, receivers, feeder, publish, threads, Some(server.pid)))
}

fn side(
    load: &Load,
    receivers: Receivers,
    feeder: Feeder,
    publish: Publish,
    threads: [String; 2],
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

fn write(streams: &mut [(TcpStream, String)], channel: usize, chunk: &Chunk) -> Result<(), PeerError> {
    let Some((stream, url)) = streams.get_mut(channel) else { return Ok(()) };
    stream.write_all(chunk.bytes()).map_err(|error| PeerError::of_connection(url, error))
}

/// Connects all viewers on a thread of their own, while the streams go on.
fn connect(
    load: &Load,
    server: &Server,
    feeder: &mut Feeder,
    publish: &mut Publish,
) -> Result<Vec<Socket>, PeerError> {
    let (load, watch) = (*load, server.watch.clone());
    feeder.run(LEAD, publish)?;
    let tracks = 1 + usize::from(load.shape.audio_per_second > 0);
    let thread = std::thread::Builder::new().name("load-connect".to_owned()).spawn(move || {
        let mut sockets = Vec::with_capacity(load.channels * load.receivers);
        for target in &watch {
            for _ in 0..load.receivers {
                sockets.extend(peer::watch(target, load.transport, tracks)?);
            }
        }
        Ok(sockets)
    })?;
    let deadline = Instant::now() + CONNECT_MAX;
    while !thread.is_finished() {
        if Instant::now() > deadline {
            let late = "the tool's viewers did not all connect in time";
            return Err(io::Error::new(io::ErrorKind::TimedOut, late).into());
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
                warm_up: TURN / 10,
                time: TURN / 5,
                send_core: 0,
                tool_core: 0,
            };
            let (measured, _) = run(&load, None).unwrap();
            assert_eq!((measured.lost, measured.udp_drops, measured.duplicates), (0, Some(0), 0));
            assert!(measured.packets > 0 && measured.packets == 4 * measured.least);
            let [all, pictures, sound] = [measured.latency_ms, measured.picture_ms, measured.sound_ms]
                .map(|of| of.map_or(0, |of| of.count));
            assert!(pictures > 0 && sound > 0 && pictures + sound == all, "{pictures} {sound} {all}");
            assert_eq!(measured.least, measured.most);
        }
    }
}
