//! What runs, as numbers for Prometheus.
//!
//! Owns: the names, the help and the labels of all metrics; [`Counts`], what the binary itself counts.
//! Not here: counting (each room counts for itself), the page (`http`).
//! Invariant: every name starts with `slotcast_` and ends in its base unit; no label holds a viewer's id or address.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, NoLabelSet, text},
    metrics::{MetricType, exemplar::Exemplar},
    registry::Registry,
};
use slotcast_admission::{Outcome, Programs, Reason};
use slotcast_core::time::{Clock, WallTime};
use slotcast_fanout::{FanoutStats, Histogram, Protocol, WorkerStats};
use slotcast_ingest::{IngestStats, LinkState, Traffic};
use slotcast_net::clock::Step;
use slotcast_reservation::service::Service;

use crate::{logging, ntp::ClockWatch};

/// What the binary itself counts.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) draining: AtomicBool,
    pub(crate) reloads: AtomicU64,
    pub(crate) reloads_refused: AtomicU64,
    /// HTTP connections that got no place but for health and metrics.
    pub(crate) turned_away: Arc<AtomicU64>,
    steps_forward: AtomicU64,
    steps_back: AtomicU64,
    last_step_micros: AtomicI64,
}

impl Counts {
    /// Counts one step of the wall clock.
    pub(crate) fn step(&self, step: Step) {
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let (counter, moved) = match step {
            Step::Forward(by) => (&self.steps_forward, micros(by)),
            Step::Back(by) => (&self.steps_back, -micros(by)),
        };
        // Its size first: who sees the count sees the size of that step or of a later one.
        self.last_step_micros.store(moved, Ordering::Relaxed);
        counter.fetch_add(1, Ordering::Release);
    }
}

/// Where the numbers come from.
pub(crate) struct Sources {
    pub(crate) programs: Arc<dyn Programs>,
    pub(crate) fanout: Arc<FanoutStats>,
    pub(crate) ingest: Arc<IngestStats>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) clock: Clock,
    pub(crate) clock_watch: Arc<ClockWatch>,
    pub(crate) started: WallTime,
    /// The reservation side, once it is open; stays empty where nothing is sold.
    pub(crate) service: Arc<OnceLock<Service>>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sources")
    }
}

/// All metrics of one server.
pub(crate) struct Metrics(Registry);

impl Metrics {
    pub(crate) fn new(sources: Sources) -> Self {
        let mut registry = Registry::with_prefix("slotcast");
        registry.register_collector(Box::new(sources));
        Self(registry)
    }

    /// As OpenMetrics text.
    pub(crate) fn render(&self) -> Result<String, fmt::Error> {
        let mut page = String::with_capacity(16 * 1024);
        text::encode(&mut page, &self.0)?;
        Ok(page)
    }
}

impl Collector for Sources {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page { encoder };
        self.server(&mut page)?;
        self.clock_check(&mut page)?;
        self.channels(&mut page)?;
        self.decisions(&mut page)?;
        self.links(&mut page)?;
        self.arrivals(&mut page)?;
        self.sends(&mut page)?;
        self.slow_viewers(&mut page)?;
        self.turns(&mut page)?;
        self.cutoffs(&mut page)?;
        match self.service.get() {
            Some(service) => self.sales(service, &mut page),
            None => Ok(()),
        }
    }
}

impl Sources {
    fn server(&self, page: &mut Page<'_>) -> fmt::Result {
        let counts = &self.counts;
        let load = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        page.gauge(
            "build_info",
            "The version that runs, as a label; always 1",
            [([("version", env!("CARGO_PKG_VERSION"))], 1_u64)],
        )?;
        page.number(
            "start_time_seconds",
            "When the server started, since 1970",
            seconds(self.started.as_micros()),
        )?;
        page.number(
            "draining",
            "1 while new viewers and links are refused",
            counts.draining.load(Ordering::Relaxed),
        )?;
        page.counter(
            "reloads",
            "Times the configuration was read again",
            [
                ([("result", "applied")], load(&counts.reloads)),
                ([("result", "refused")], load(&counts.reloads_refused)),
            ],
        )?;
        page.total(
            "http_turned_away",
            "HTTP connections that found no place but for health and metrics",
            load(&counts.turned_away),
        )?;
        page.counter(
            "clock_steps",
            "Times the wall clock was set while running, by 100 ms or more",
            [
                ([("direction", "forward")], load(&counts.steps_forward)),
                ([("direction", "back")], load(&counts.steps_back)),
            ],
        )?;
        let step = counts.last_step_micros.load(Ordering::Relaxed);
        page.number(
            "clock_last_step_seconds",
            "How far the wall clock was last set; below 0: back",
            seconds(step),
        )?;
        page.total(
            "log_lines_dropped",
            "Log lines lost because standard error was not read",
            logging::lines_dropped(),
        )
    }

    fn sales(&self, service: &Service, page: &mut Page<'_>) -> fmt::Result {
        let stats = service.stats();
        page.total("bookings", "Bookings that stand", stats.bookings)?;
        page.total("reconfirmations", "Reconfirmations that stand", stats.reconfirmations)?;
        page.total("log_ins_refused", "Log-ins that were refused", stats.log_ins_refused)?;
        page.counter(
            "mails",
            "Mails that were handed on, tries that failed, and mails that were given up",
            [
                ([("result", "sent")], stats.mails_sent),
                ([("result", "failed")], stats.mails_failed),
                ([("result", "given_up")], stats.mails_given_up),
            ],
        )?;
        page.counter(
            "payments",
            "Movements of money that were done, tries that failed, and captures and refunds that were declined",
            [
                ([("result", "done")], stats.payments_done),
                ([("result", "failed")], stats.payments_failed),
                ([("result", "declined")], stats.payments_declined),
            ],
        )?;
        page.gauge(
            "outbox_waiting",
            "Mails, movements of money and events for webhooks that wait",
            [
                ([("outbox", "mails")], u64::from(stats.outbox.mails)),
                ([("outbox", "payments")], u64::from(stats.outbox.payments)),
                ([("outbox", "webhooks")], u64::from(stats.outbox.webhooks)),
            ],
        )?;
        let oldest = stats.outbox.oldest.map_or(0, |at| (self.clock)().wall.as_micros() - at.as_micros());
        page.number(
            "outbox_oldest_seconds",
            "Age of what waits longest in an outbox",
            seconds(oldest.max(0)),
        )?;
        page.counter(
            "schedule_publishes",
            "Schedules that the streaming side took over or refused",
            [([("result", "applied")], stats.publishes), ([("result", "refused")], stats.publish_errors)],
        )?;
        page.number(
            "programs_without_key",
            "Confirmed programs that cannot be broadcast: the key of this server is not the one they were sold with",
            stats.programs_without_key,
        )?;
        page.total(
            "store_errors",
            "Times the database did not answer to work that is done by itself",
            stats.store_errors,
        )?;
        Ok(())
    }

    fn clock_check(&self, page: &mut Page<'_>) -> fmt::Result {
        let Some(check) = self.clock_watch.check() else { return Ok(()) };
        page.number("clock_is_off", "1 while NTP servers say that the clock is off", check.is_off)?;
        match check.offset_micros {
            Some(micros) => page.number(
                "clock_offset_seconds",
                "The NTP servers' time minus ours; missing while none answers",
                seconds(micros),
            ),
            None => Ok(()),
        }
    }

    fn channels(&self, page: &mut Page<'_>) -> fmt::Result {
        let now = (self.clock)().wall;
        let programs = self.programs.programs();
        let count = |wanted: fn(WallTime, WallTime, WallTime) -> bool| {
            let is = |program: &&Arc<slotcast_admission::Program>| {
                wanted(program.window.start(), program.gate.end(), now)
            };
            programs.iter().filter(is).count() as u64
        };
        page.gauge(
            "programs",
            "Programs that are known, by where they stand",
            [
                ([("state", "waiting")], count(|start, _, now| now < start)),
                ([("state", "on_air")], count(|start, end, now| start <= now && now < end)),
                ([("state", "over")], count(|start, end, now| start <= now && end <= now)),
            ],
        )?;
        let channels = self.programs.channels();
        let on_air = |name: &str| self.programs.on_air(name, now);
        let each = |value: &dyn Fn(&slotcast_admission::Channel) -> u64| -> Vec<_> {
            channels.iter().map(|channel| ([("channel", channel.name.to_string())], value(channel))).collect()
        };
        let seats = |channel: &slotcast_admission::Channel| {
            on_air(channel.name.as_str())
                .map_or_else(|| channel.seats.count(), |program| program.gate.seats())
                .into()
        };
        let taken = |channel: &slotcast_admission::Channel| {
            on_air(channel.name.as_str()).map_or(0, |program| program.gate.viewers()).into()
        };
        page.gauge("seats", "Viewers that may watch at once", each(&seats))?;
        page.gauge(
            "seats_taken",
            "Seats that are taken now, by viewers who watch or are about to",
            each(&taken),
        )?;
        let viewers = self.fanout.viewers();
        let watching = channels.iter().flat_map(|channel| {
            let watching = |protocol| viewers.get(&(channel.number, protocol)).copied().unwrap_or_default();
            [Protocol::Udp, Protocol::Tcp].map(|protocol| {
                let name = channel.name.to_string();
                (
                    [("channel", name), ("protocol", protocol.label().to_owned())],
                    u64::from(watching(protocol)),
                )
            })
        });
        page.gauge("viewers", "Viewers who watch now", watching)
    }

    /// Who was let in and who was not, on both sides.
    fn decisions(&self, page: &mut Page<'_>) -> fmt::Result {
        let viewers = self.fanout.decisions();
        let viewers = viewers.iter().map(|((result, reason), count)| {
            ([("side", "viewer"), ("result", result), ("reason", reason)], *count)
        });
        // The link side counts one label per outcome; how links ended stands in a metric of its own.
        let outcomes = self.ingest.decisions();
        let links = outcomes.iter().filter_map(|(reason, count)| {
            Some(([("side", "link"), ("result", link_result(reason)?), ("reason", *reason)], *count))
        });
        page.counter("admission_decisions", "Decisions on viewers and links", viewers.chain(links))?;
        let ends = outcomes.iter().filter(|(reason, _)| link_result(reason).is_none());
        let ends = ends.map(|(reason, count)| ([("reason", *reason)], *count));
        page.counter("link_ends", "Why connections to the link side ended, but for refusals", ends)
    }

    fn links(&self, page: &mut Page<'_>) -> fmt::Result {
        let ingest = &self.ingest;
        let links = ingest.links();
        let count = |state| links.iter().filter(|link| link.state == state).count() as u64;
        page.gauge(
            "links",
            "Programs in their connect window that had a link, by where it stands",
            [
                ([("state", "on_air")], count(LinkState::OnAir)),
                ([("state", "held")], count(LinkState::Held)),
                ([("state", "absent")], count(LinkState::Absent)),
            ],
        )?;
        let rates = links.iter().map(|link| ([("channel", link.channel.to_string())], link.bit_rate));
        page.gauge("link_bits_per_second", "What a link brought in the last second", sum_by_label(rates))?;
        page.number("lines", "Links that may be open at once", ingest.lines.value())?;
        page.number("lines_in_use", "Links that are open", ingest.lines_in_use.value())?;
        page.number(
            "links_unproven",
            "Connections without a valid reservation ID yet",
            ingest.unproven.value(),
        )?;
        page.total("link_connections", "Connections to the link side", ingest.accepted.value())?;
        page.total(
            "link_accept_pauses",
            "Times descriptors ran out on the link side",
            ingest.accept_pauses.value(),
        )
    }

    fn arrivals(&self, page: &mut Page<'_>) -> fmt::Result {
        let channels = self.ingest.channels();
        let each = |value: fn(&Traffic) -> u64| {
            channels.iter().map(move |(name, traffic)| ([("channel", name.to_string())], value(traffic)))
        };
        page.counter("ingest_bytes", "Bytes of RTP that came from broadcasters", each(|t| t.bytes.value()))?;
        page.counter(
            "ingest_packets",
            "RTP packets that came from broadcasters",
            each(|t| t.packets.value()),
        )?;
        page.counter("ingest_packets_lost", "RTP packets missing as they arrived", each(|t| t.lost.value()))?;
        let dropped = channels.iter().flat_map(|(name, traffic)| {
            [
                ("held", traffic.held.value()),
                ("over_class", traffic.over_class.value()),
                ("unusable", traffic.unusable.value()),
                ("strange_ssrc", traffic.strange_ssrc.value()),
                ("wrong_port", traffic.wrong_port.value()),
            ]
            .map(|(reason, count)| ([("channel", name.to_string()), ("reason", reason.to_owned())], count))
        });
        page.counter("ingest_packets_dropped", "RTP packets that came and did not go on", dropped)?;
        let foreign = self.ingest.foreign_datagrams.value();
        page.total("ingest_foreign_datagrams", "Datagrams from addresses that no link announced", foreign)
    }

    fn sends(&self, page: &mut Page<'_>) -> fmt::Result {
        let fanout = &self.fanout;
        let published =
            fanout.workers().iter().map(|worker| worker.chunks.value() + worker.chunks_dropped.value()).max();
        page.total(
            "chunks_published",
            "Chunks handed to the workers, each once",
            published.unwrap_or_default(),
        )?;
        let totals: [(&str, &str, CounterOf); 8] = [
            ("chunks_dropped", "Chunks that found a worker's queue full", |w| &w.chunks_dropped),
            ("viewer_frames", "Chunks times the viewers they were sent to", |w| &w.viewer_frames),
            ("send_calls", "Send calls made for media", |w| &w.send_calls),
            ("sent_packets", "Media packets handed to the kernel", |w| &w.packets_sent),
            ("sent_bytes", "Media bytes handed to the kernel", |w| &w.bytes_sent),
            ("gso_sends", "Sends that the kernel cut into packets", |w| &w.segmented_sends),
            ("udp_waits", "Times a full UDP socket made sends wait", |w| &w.udp_waits),
            ("foreign_datagrams", "Datagrams that belong to no viewer", |w| &w.foreign_datagrams),
        ];
        for (name, help, counter) in totals {
            page.total(name, help, fanout.sum(counter))?;
        }
        let errors = fanout.send_errors().map(|(kind, count)| ([("kind", kind.label())], count));
        page.counter("send_errors", "Media sends that failed", errors)?;
        page.number(
            "gso_in_use",
            "1 while the kernel cuts UDP sends into packets",
            fanout.segmentation_in_use(),
        )?;
        page.total(
            "late_sends",
            "Media sends that ended after their program's gate had closed: stays 0",
            fanout.sum(|w| &w.late_sends),
        )?;
        page.number("workers", "Threads that send", fanout.workers().len())?;
        page.number("viewer_connections", "RTSP connections of viewers", fanout.sum(|w| &w.connections))
    }

    fn slow_viewers(&self, page: &mut Page<'_>) -> fmt::Result {
        let fanout = &self.fanout;
        page.total(
            "frames_skipped",
            "Frames that slow viewers did not get",
            fanout.sum(|w| &w.frames_skipped),
        )?;
        page.total("viewer_skips", "Jumps of slow viewers to a newer key frame", fanout.sum(|w| &w.skips))
    }

    fn turns(&self, page: &mut Page<'_>) -> fmt::Result {
        let workers = || self.fanout.workers().iter().enumerate();
        page.histogram(
            "turn_seconds",
            "How long a turn of a sending thread took, from wake-up to next wait",
            workers().map(|(index, worker)| ([("worker", index.to_string())], &worker.turns)),
        )?;
        page.histogram(
            "turn_cpu_seconds",
            "How much of a turn a sending thread had a core; the rest it waited",
            workers().map(|(index, worker)| ([("worker", index.to_string())], &worker.turns_cpu)),
        )
    }

    fn cutoffs(&self, page: &mut Page<'_>) -> fmt::Result {
        let cutoffs = self.fanout.cutoffs();
        page.total("cutoffs", "Programs that ended, once per worker that had them", cutoffs.count)?;
        let (gate, closed) = (cutoffs.gate_delay, cutoffs.closed_delay);
        page.gauge(
            "cutoff_delay_seconds",
            "The last cut-off: from the end until nothing was sent (gate), until all were told and closed (closed)",
            [([("stage", "gate")], gate.0.as_secs_f64()), ([("stage", "closed")], closed.0.as_secs_f64())],
        )?;
        page.gauge(
            "cutoff_delay_max_seconds",
            "The slowest cut-off so far",
            [([("stage", "gate")], gate.1.as_secs_f64()), ([("stage", "closed")], closed.1.as_secs_f64())],
        )
    }
}

/// What was decided when the link side counted `label`; `None`: it is why a connection ended, not a decision.
fn link_result(label: &str) -> Option<&'static str> {
    if label == "admitted" {
        return Some("admitted");
    }
    let reason = Reason::all().into_iter().find(|reason| reason.label() == label)?;
    Some(reason.result()).filter(|result| *result != Outcome::Ended).map(Outcome::label)
}

/// Picks one counter of a worker.
type CounterOf = fn(&WorkerStats) -> &slotcast_core::counter::Counter;

fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// One sample per label set, as the format wants it: back-to-back programs share a channel.
fn sum_by_label<L: PartialEq>(samples: impl Iterator<Item = (L, u64)>) -> Vec<(L, u64)> {
    let mut sums: Vec<(L, u64)> = Vec::new();
    for (label, value) in samples {
        match sums.iter_mut().find(|(known, _)| *known == label) {
            Some((_, sum)) => *sum += value,
            None => sums.push((label, value)),
        }
    }
    sums
}

/// The page as it is written.
struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
}

type Label<K, V, const N: usize> = [(K, V); N];

impl Page<'_> {
    /// A gauge without labels.
    fn number(&mut self, name: &str, help: &str, value: impl IntoNumber) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        metric.encode_gauge(&value.into_number())
    }

    /// A counter without labels; its name gets `_total`.
    fn total(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn gauge<K, V, G, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Label<K, V, N>, G)>,
    ) -> fmt::Result
    where
        K: prometheus_client::encoding::EncodeLabelKey,
        V: prometheus_client::encoding::EncodeLabelValue,
        G: EncodeGaugeValue,
    {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in samples {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn histogram<'h, K, V, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Label<K, V, N>, &'h Histogram)>,
    ) -> fmt::Result
    where
        K: prometheus_client::encoding::EncodeLabelKey,
        V: prometheus_client::encoding::EncodeLabelValue,
    {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, histogram) in samples {
            let counts = histogram.counts();
            // The last bound is written as `+Inf`.
            let bounds = Histogram::BOUNDS.iter().map(Duration::as_secs_f64).chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(counts).collect();
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                histogram.sum().as_secs_f64(),
                counts.iter().sum(),
                &buckets,
                None,
            )?;
        }
        Ok(())
    }

    /// Its name gets `_total`.
    fn counter<K, V, C, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Label<K, V, N>, C)>,
    ) -> fmt::Result
    where
        K: prometheus_client::encoding::EncodeLabelKey,
        V: prometheus_client::encoding::EncodeLabelValue,
        C: EncodeCounterValue,
    {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            let none: Option<&Exemplar<NoLabelSet, u64>> = None;
            metric.encode_family(&labels)?.encode_counter(&value, none)?;
        }
        Ok(())
    }
}

/// What a gauge without labels can show.
trait IntoNumber {
    fn into_number(self) -> f64;
}

impl IntoNumber for f64 {
    fn into_number(self) -> f64 {
        self
    }
}

impl IntoNumber for bool {
    fn into_number(self) -> f64 {
        f64::from(u8::from(self))
    }
}

impl IntoNumber for u64 {
    fn into_number(self) -> f64 {
        self as f64
    }
}

impl IntoNumber for usize {
    fn into_number(self) -> f64 {
        self as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_admitted_challenged_refused_or_ended() {
        assert_eq!(link_result("admitted"), Some("admitted"));
        assert_eq!(link_result(Reason::IdMissing.label()), Some("challenged"));
        assert_eq!(link_result(Reason::IdWrong.label()), Some("refused"));
        assert_eq!(link_result("peer_closed"), None);
    }

    #[test]
    fn programs_of_one_channel_share_a_sample() {
        let sums = sum_by_label([("a", 1), ("b", 2), ("a", 3)].into_iter());
        assert_eq!(sums, [("a", 4), ("b", 2)]);
    }
}
