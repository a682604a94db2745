//! What the workers count: each its own, without a shared write on the send path.
//!
//! Invariant: a counter has one writer, its worker, so it is a plain load and store; totals are made by the reader.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use slotcast_core::{counter::Counter, words::ChannelNumber};
use strum::VariantArray as _;

/// Durations by how long they were, with one writer.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [Counter; Self::BOUNDS.len() + 1],
    sum_micros: Counter,
    max_micros: Counter,
}

impl Histogram {
    /// Upper bounds of the buckets but the last, which has none.
    pub const BOUNDS: [Duration; 8] = [
        Duration::from_micros(200),
        Duration::from_micros(500),
        Duration::from_millis(1),
        Duration::from_millis(2),
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(20),
        Duration::from_millis(100),
    ];

    /// Only the owning worker calls this.
    pub(crate) fn note(&self, time: Duration) {
        self.counts[Self::BOUNDS.partition_point(|bound| *bound < time)].add(1);
        let micros = time.as_micros() as u64;
        self.sum_micros.add(micros);
        self.max_micros.set(self.max_micros.value().max(micros));
    }

    /// How many fell into each bucket, by [`BOUNDS`](Self::BOUNDS); the last: above all of them.
    pub fn counts(&self) -> [u64; Self::BOUNDS.len() + 1] {
        std::array::from_fn(|bucket| self.counts[bucket].value())
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_micros.value())
    }

    /// The longest so far.
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.max_micros.value())
    }
}

/// How media reaches a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Protocol {
    /// RTP over UDP.
    Udp,
    /// RTP interleaved with RTSP on one TCP connection.
    Tcp,
}

impl Protocol {
    /// For logs and metrics.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// Why a send did not go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum SendErrorKind {
    /// The kernel had no buffer: the packet is lost (`ENOBUFS`).
    NoBuffers,
    /// No route, or a rule forbids it (`ENETUNREACH`, `EHOSTUNREACH`, `EPERM`, `EACCES`).
    Unreachable,
    /// Nobody listens on the viewer's port (ICMP).
    Refused,
    /// Larger than any datagram may be on this path (`EMSGSIZE`).
    TooLarge,
    /// The connection broke.
    Broken,
    /// Anything else.
    Other,
}

impl SendErrorKind {
    /// For logs and metrics.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// What one worker counted.
#[derive(Debug, Default)]
pub struct WorkerStats {
    /// Chunks taken from the ingest side.
    pub chunks: Counter,
    /// Chunks that found this worker's queue full.
    pub chunks_dropped: Counter,
    /// Chunks times the viewers they were sent to: the frames delivered.
    pub viewer_frames: Counter,
    /// Send calls made for media, UDP and TCP.
    pub send_calls: Counter,
    /// Media packets handed to the kernel.
    pub packets_sent: Counter,
    /// Media bytes handed to the kernel, RTP and RTCP without other headers.
    pub bytes_sent: Counter,
    /// Sends that the kernel cut into datagrams.
    pub segmented_sends: Counter,
    /// Times that a full socket made UDP sends wait.
    pub udp_waits: Counter,
    /// Frames that slow viewers did not get.
    pub frames_skipped: Counter,
    /// Jumps of slow viewers to a newer key frame.
    pub skips: Counter,
    /// Datagrams from addresses that belong to no viewer.
    pub foreign_datagrams: Counter,
    /// Media sends that returned later after their program's end than a call takes: stays 0.
    pub late_sends: Counter,
    /// Viewers whose route does not take segmented datagrams: they are sent one packet a call.
    pub unsegmented_routes: Counter,
    /// How long the worker's turns took, from the wake-up to the next wait.
    pub turns: Histogram,
    /// How much of that time the worker had a core.
    pub turns_cpu: Histogram,
    /// Errors of media sends by [`SendErrorKind`].
    pub send_errors: [Counter; SendErrorKind::VARIANTS.len()],
    /// Open RTSP connections.
    pub connections: Counter,
    /// Whether its thread has ended: in order, or because it could not go on.
    pub ended: AtomicBool,
    audience: Mutex<BTreeMap<(ChannelNumber, Protocol), u32>>,
}

impl WorkerStats {
    pub(crate) fn send_error(&self, kind: SendErrorKind) {
        self.send_errors[kind as usize].add(1);
    }

    pub(crate) fn set_audience(&self, audience: BTreeMap<(ChannelNumber, Protocol), u32>) {
        // A reader of lower priority may hold it: the next tick is soon.
        if let Some(mut shown) = self.audience.try_lock() {
            *shown = audience;
        }
    }
}

/// When the last cut-offs closed, seen from the wall clock's end of the window.
#[derive(Clone, Copy, Debug, Default)]
pub struct CutoffStats {
    /// Programs that ended, counted once per worker that had them.
    pub count: u64,
    /// From the end to the closing of the gate: the latest, and the worst so far.
    pub gate_delay: (Duration, Duration),
    /// From the end until the worker's last viewer was told and closed: the latest, and the worst so far.
    pub closed_delay: (Duration, Duration),
}

/// What all workers counted.
#[derive(Debug)]
pub struct FanoutStats {
    workers: Vec<Arc<WorkerStats>>,
    decisions: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    cutoffs: Mutex<CutoffStats>,
    /// Whether segmentation is in use at all.
    segmentation: bool,
}

impl FanoutStats {
    pub(crate) fn new(workers: Vec<Arc<WorkerStats>>, segmentation: bool) -> Self {
        Self { workers, decisions: Mutex::default(), cutoffs: Mutex::default(), segmentation }
    }

    /// Each worker's own counters.
    pub fn workers(&self) -> &[Arc<WorkerStats>] {
        &self.workers
    }

    /// Whether every worker works.
    pub fn is_running(&self) -> bool {
        !self.workers.iter().any(|worker| worker.ended.load(Ordering::Relaxed))
    }

    /// The sum of one counter over all workers.
    pub fn sum(&self, counter: impl Fn(&WorkerStats) -> &Counter) -> u64 {
        self.workers.iter().map(|worker| counter(worker).value()).sum()
    }

    /// Errors of media sends by kind.
    pub fn send_errors(&self) -> impl Iterator<Item = (SendErrorKind, u64)> {
        let errors = |kind| self.sum(|worker| &worker.send_errors[kind as usize]);
        SendErrorKind::VARIANTS.iter().map(move |&kind| (kind, errors(kind)))
    }

    /// Viewers who hold a seat, by channel and protocol, at most 100 ms old.
    pub fn viewers(&self) -> BTreeMap<(ChannelNumber, Protocol), u32> {
        let mut all = BTreeMap::new();
        for worker in &self.workers {
            for (key, count) in worker.audience.lock().iter() {
                *all.entry(*key).or_insert(0) += count;
            }
        }
        all
    }

    /// Whether the kernel segments UDP sends, where routes take that.
    pub const fn segmentation_in_use(&self) -> bool {
        self.segmentation
    }

    /// Admission decisions so far by (result, reason): `("admitted", "seat")`, `("refused", "full")`.
    pub fn decisions(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        self.decisions.lock().clone()
    }

    /// See [`CutoffStats`].
    pub fn cutoffs(&self) -> CutoffStats {
        *self.cutoffs.lock()
    }

    pub(crate) fn decided(&self, result: &'static str, reason: &'static str) {
        *self.decisions.lock().entry((result, reason)).or_insert(0) += 1;
    }

    pub(crate) fn gate_closed(&self, delay: Duration) {
        let mut cutoffs = self.cutoffs.lock();
        cutoffs.count += 1;
        cutoffs.gate_delay = (delay, cutoffs.gate_delay.1.max(delay));
    }

    pub(crate) fn all_closed(&self, delay: Duration) {
        let mut cutoffs = self.cutoffs.lock();
        cutoffs.closed_delay = (delay, cutoffs.closed_delay.1.max(delay));
    }
}
