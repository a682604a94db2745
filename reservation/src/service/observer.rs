//! Watching how programs run: whether the server was there for them, and how many watched.
//!
//! Invariant: only what was seen counts; while the store is down it is kept in memory, in bounds, and written later.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use slotcast_core::{time::WallTime, words::Window};

use super::{Answer, Service};
use crate::{
    domain::words::ReservationNumber,
    limits::{NODE, OBSERVED_GAP_MAX, SAMPLES_MAX},
    store::{Run, ViewerSample},
    streaming::{Link, Live},
};

/// What was seen, and how much of it is written.
#[derive(Default)]
pub(super) struct Observed {
    last: Option<Instant>,
    programs: BTreeMap<ReservationNumber, Seen>,
    samples: VecDeque<(ReservationNumber, ViewerSample)>,
    /// Counts rounds, to forget programs that are over.
    round: u64,
}

/// Of one program, since it was first seen here.
#[derive(Default)]
struct Seen {
    packets: u64,
    /// As in the last sample.
    viewers: Option<u32>,
    normal_us: u64,
    media_us: u64,
    viewer_us: u64,
    peak: u32,
    /// As the store has it.
    written: Run,
    /// In which round it was last on the schedule.
    round: u64,
}

impl Seen {
    /// In all, in whole milliseconds.
    const fn run(&self) -> Run {
        Run {
            normal_ms: self.normal_us / 1000,
            media_ms: self.media_us / 1000,
            viewer_ms: self.viewer_us / 1000,
            viewers_peak: self.peak,
        }
    }
}

/// What is written at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rows {
    runs: Vec<(ReservationNumber, Run)>,
    samples: Vec<(ReservationNumber, ViewerSample)>,
}

impl Observed {
    /// Takes in how things stand at one moment.
    fn see(
        &mut self,
        programs: impl IntoIterator<Item = (ReservationNumber, Window)>,
        live: &BTreeMap<ReservationNumber, Live>,
        is_normal: bool,
        mono: Instant,
        wall: WallTime,
    ) {
        let passed = self.last.map_or(Duration::ZERO, |last| mono.saturating_duration_since(last));
        self.last = Some(mono);
        self.round += 1;
        let from = wall.saturating_sub(passed.min(OBSERVED_GAP_MAX));
        for (number, window) in programs {
            if let Some(seen) = self.programs.get_mut(&number) {
                seen.round = self.round;
            }
            let inside_us = inside(window, from, wall);
            if inside_us == 0 && !window.contains(wall) {
                continue;
            }
            let seen = self.programs.entry(number).or_default();
            seen.round = self.round;
            let live = live.get(&number);
            if is_normal {
                seen.normal_us += inside_us;
            }
            let viewers = live.map_or(0, |live| live.viewers);
            if let Some(live) = live {
                if live.link == Link::OnAir && live.packets != seen.packets {
                    seen.media_us += inside_us;
                }
                seen.packets = live.packets;
            }
            seen.viewer_us = seen.viewer_us.saturating_add(inside_us.saturating_mul(u64::from(viewers)));
            seen.peak = seen.peak.max(viewers);
            // After the end nobody watches any more.
            let (at, viewers) = if wall < window.end() { (wall, viewers) } else { (window.end(), 0) };
            if seen.viewers.unwrap_or(0) != viewers {
                seen.viewers = Some(viewers);
                if self.samples.len() >= SAMPLES_MAX {
                    self.samples.pop_front();
                }
                self.samples.push_back((number, ViewerSample { at, viewers }));
            }
        }
        let round = self.round;
        self.programs.retain(|_, seen| seen.run() != seen.written || round - seen.round < 10);
    }

    /// What is to be written; empty: nothing. Runs stay until [`note`](Self::note): written twice, they count once.
    fn take(&mut self) -> Rows {
        let news = self.programs.iter().filter(|(_, seen)| seen.run() != seen.written);
        Rows {
            runs: news.map(|(number, seen)| (*number, seen.run())).collect(),
            samples: self.samples.drain(..).collect(),
        }
    }

    /// The store has these.
    fn note(&mut self, runs: &[(ReservationNumber, Run)]) {
        for (number, run) in runs {
            if let Some(seen) = self.programs.get_mut(number) {
                seen.written = *run;
            }
        }
    }

    fn give_back(&mut self, samples: Vec<(ReservationNumber, ViewerSample)>) {
        for sample in samples.into_iter().rev() {
            if self.samples.len() < SAMPLES_MAX {
                self.samples.push_front(sample);
            }
        }
    }
}

/// Microseconds of `[from, to)` that lie in the window.
fn inside(window: Window, from: WallTime, to: WallTime) -> u64 {
    let (from, to) = (from.max(window.start()), to.min(window.end()));
    u64::try_from(to.as_micros().saturating_sub(from.as_micros())).unwrap_or(0)
}

impl Service {
    /// Looks at the streaming side once, and writes what was seen.
    ///
    /// Errors: the store did not take it; it is kept and written the next time.
    pub async fn observe(&self) -> Answer<()> {
        self.see();
        self.flush_observed().await?;
        self.tell_of_links().await
    }

    /// Looks at the streaming side once.
    pub(super) fn see(&self) {
        let now = (self.0.clock)();
        let (is_normal, live) = (self.0.streaming.is_normal(), self.0.streaming.live());
        {
            let published = self.0.published.lock();
            self.0.observed.lock().see(published.windows(), &live, is_normal, now.mono, now.wall);
            self.show(published.facts(), &live, now.wall);
        }
        self.0.changed.observed.notify_one();
    }

    /// Writes what was seen. One at a time: whoever waits finds the rest written.
    pub(super) async fn flush_observed(&self) -> Answer<()> {
        let _one = self.0.flushing.lock().await;
        let rows = self.0.observed.lock().take();
        if rows == Rows::default() {
            return Ok(());
        }
        let mut kept = Kept { service: self, samples: rows.samples };
        let mut tx = self.0.store.begin().await?;
        tx.put_runs(NODE, self.0.boot, &rows.runs).await?;
        tx.add_samples(&kept.samples).await?;
        tx.commit().await?;
        kept.samples.clear();
        self.0.observed.lock().note(&rows.runs);
        Ok(())
    }
}

/// Samples that are given back unless they were written.
struct Kept<'a> {
    service: &'a Service,
    samples: Vec<(ReservationNumber, ViewerSample)>,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        let samples = std::mem::take(&mut self.samples);
        self.service.0.observed.lock().give_back(samples);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: ReservationNumber = ReservationNumber(7);

    fn at(ms: i64) -> WallTime {
        WallTime::from_micros(ms * 1000)
    }

    fn live(viewers: u32, packets: u64) -> BTreeMap<ReservationNumber, Live> {
        let live = Live { link: Link::OnAir, bit_rate: 1, viewers, packets, ..Live::absent(at(0)) };
        [(PROGRAM, live)].into()
    }

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn some_instant() -> Instant {
        Instant::now()
    }

    #[test]
    fn only_time_inside_the_window_counts() {
        let start = some_instant();
        let programs = [(PROGRAM, Window::new(at(10_000), at(20_000)).unwrap())];
        let mut observed = Observed::default();
        for second in 0..=30_u64 {
            let (mono, wall) = (start + Duration::from_secs(second), at(500 + second as i64 * 1000));
            observed.see(programs, &live(2, second.min(15)), second != 12, mono, wall);
        }
        let rows = observed.take();
        // Not normal in one second; media until the fifteenth; two viewers all the time.
        let run = Run { normal_ms: 9_000, media_ms: 5_500, viewers_peak: 2, viewer_ms: 20_000 };
        assert_eq!(rows.runs, [(PROGRAM, run)]);
        let expected = [(10_500, 2), (20_000, 0)].map(|(ms, viewers)| ViewerSample { at: at(ms), viewers });
        assert_eq!(rows.samples, expected.map(|sample| (PROGRAM, sample)));
        // Whether they were written is not known: they are the same the next time.
        assert_eq!(observed.take(), Rows { runs: rows.runs.clone(), samples: Vec::new() });
        observed.give_back(rows.samples.clone());
        assert_eq!(observed.take(), rows);
        observed.note(&rows.runs);
        assert_eq!(observed.take(), Rows::default());
    }

    #[test]
    fn what_nobody_saw_does_not_count() {
        let start = some_instant();
        let programs = [(PROGRAM, Window::new(at(0), at(600_000)).unwrap())];
        let mut observed = Observed::default();
        observed.see(programs, &live(0, 1), true, start, at(1_000));
        observed.see(programs, &live(0, 2), true, start + Duration::from_secs(100), at(101_000));
        assert_eq!(observed.take().runs[0].1.normal_ms, OBSERVED_GAP_MAX.as_millis() as u64);
    }
}
