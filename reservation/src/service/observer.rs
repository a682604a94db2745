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
    limits::{OBSERVED_GAP_MAX, SAMPLES_MAX},
    store::{Run, ViewerSample},
    streaming::{Link, Live},
};

/// What was seen and is not written yet.
#[derive(Default)]
pub(super) struct Observed {
    last: Option<Instant>,
    programs: BTreeMap<ReservationNumber, Seen>,
    samples: VecDeque<(ReservationNumber, ViewerSample)>,
    /// Counts rounds, to forget programs that are over.
    round: u64,
}

/// Of one program.
#[derive(Default)]
struct Seen {
    packets: u64,
    /// As in the last sample.
    viewers: Option<u32>,
    normal_us: u64,
    media_us: u64,
    viewer_us: u64,
    peak: u32,
    /// In which round it was last inside its window.
    round: u64,
}

impl Seen {
    fn is_empty(&self) -> bool {
        self.normal_us < 1000 && self.media_us < 1000 && self.viewer_us < 1000 && self.peak == 0
    }

    /// Whole milliseconds; the rest stays for the next time.
    fn take(&mut self) -> Run {
        let whole = |us: &mut u64| {
            let ms = *us / 1000;
            *us %= 1000;
            ms
        };
        Run {
            normal_ms: whole(&mut self.normal_us),
            media_ms: whole(&mut self.media_us),
            viewer_ms: whole(&mut self.viewer_us),
            viewers_peak: std::mem::take(&mut self.peak),
        }
    }

    fn give_back(&mut self, run: &Run) {
        self.normal_us = self.normal_us.saturating_add(run.normal_ms.saturating_mul(1000));
        self.media_us = self.media_us.saturating_add(run.media_ms.saturating_mul(1000));
        self.viewer_us = self.viewer_us.saturating_add(run.viewer_ms.saturating_mul(1000));
        self.peak = self.peak.max(run.viewers_peak);
    }
}

impl Observed {
    /// Takes in how things stand at one moment.
    fn see(
        &mut self,
        programs: &[(ReservationNumber, Window)],
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
            let inside_us = inside(*window, from, wall);
            if inside_us == 0 && !window.contains(wall) {
                continue;
            }
            let seen = self.programs.entry(*number).or_default();
            seen.round = self.round;
            let live = live.get(number);
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
                self.samples.push_back((*number, ViewerSample { at, viewers }));
            }
        }
        let round = self.round;
        self.programs.retain(|_, seen| !seen.is_empty() || round - seen.round < 10);
    }

    /// What is to be written; empty: nothing.
    fn take(&mut self) -> Vec<(ReservationNumber, Run, Option<ViewerSample>)> {
        let runs = self.programs.iter_mut().filter(|(_, seen)| !seen.is_empty());
        let mut rows: Vec<_> = runs.map(|(number, seen)| (*number, seen.take(), None)).collect();
        rows.extend(self.samples.drain(..).map(|(number, sample)| (number, Run::default(), Some(sample))));
        rows
    }

    fn give_back(&mut self, rows: Vec<(ReservationNumber, Run, Option<ViewerSample>)>) {
        for (number, run, sample) in rows.into_iter().rev() {
            self.programs.entry(number).or_default().give_back(&run);
            if let Some(sample) = sample.filter(|_| self.samples.len() < SAMPLES_MAX) {
                self.samples.push_front((number, sample));
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
        self.flush_observed().await
    }

    /// Looks at the streaming side once.
    pub(super) fn see(&self) {
        let now = (self.0.clock)();
        let (is_normal, live) = (self.0.streaming.is_normal(), self.0.streaming.live());
        {
            let published = self.0.published.lock();
            self.0.observed.lock().see(&published.programs, &live, is_normal, now.mono, now.wall);
        }
        self.0.changed.observed.notify_one();
    }

    /// Writes what was seen. One at a time: whoever waits finds the rest written.
    pub(super) async fn flush_observed(&self) -> Answer<()> {
        let _one = self.0.flushing.lock().await;
        let rows = self.0.observed.lock().take();
        if rows.is_empty() {
            return Ok(());
        }
        let mut kept = Kept { service: self, rows };
        let mut tx = self.0.store.begin().await?;
        tx.add_runs(&kept.rows).await?;
        tx.commit().await?;
        kept.rows.clear();
        Ok(())
    }
}

/// Rows that are given back unless they were written.
struct Kept<'a> {
    service: &'a Service,
    rows: Vec<(ReservationNumber, Run, Option<ViewerSample>)>,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        self.service.0.observed.lock().give_back(rows);
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
            observed.see(&programs, &live(2, second.min(15)), second != 12, mono, wall);
        }
        let rows = observed.take();
        let sum = rows.iter().fold(Run::default(), |sum, (_, run, _)| Run {
            normal_ms: sum.normal_ms + run.normal_ms,
            media_ms: sum.media_ms + run.media_ms,
            viewers_peak: sum.viewers_peak.max(run.viewers_peak),
            viewer_ms: sum.viewer_ms + run.viewer_ms,
        });
        // Not normal in one second; media until the fifteenth; two viewers all the time.
        assert_eq!(sum, Run { normal_ms: 9_000, media_ms: 5_500, viewers_peak: 2, viewer_ms: 20_000 });
        let samples: Vec<_> = rows.iter().filter_map(|(.., sample)| *sample).collect();
        let expected = [(10_500, 2), (20_000, 0)].map(|(ms, viewers)| ViewerSample { at: at(ms), viewers });
        assert_eq!(samples, expected);
        assert!(observed.take().is_empty());
    }

    #[test]
    fn what_nobody_saw_does_not_count() {
        let start = some_instant();
        let programs = [(PROGRAM, Window::new(at(0), at(600_000)).unwrap())];
        let mut observed = Observed::default();
        observed.see(&programs, &live(0, 1), true, start, at(1_000));
        observed.see(&programs, &live(0, 2), true, start + Duration::from_secs(100), at(101_000));
        let rows = observed.take();
        assert_eq!(rows[0].1.normal_ms, OBSERVED_GAP_MAX.as_millis() as u64);
        observed.give_back(rows.clone());
        assert_eq!(observed.take(), rows);
    }
}
