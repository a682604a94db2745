//! What is not media: the thread for HTTP, bookings and the watch over the wall clock.
//!
//! Owns: [`Doors`], [`Control`], the runtime that they share and its priority.
//! Not here: what is answered (`http`, the reservation side), the media threads (`serve`).
//! Invariant: nothing here holds up a media thread; once stopped, what the reservation side has confirmed is kept.

use std::{io, net::SocketAddr, sync::Arc, thread::JoinHandle, time::Duration};

use axum::Router;
use slotcast_core::time::Clock;
use slotcast_net::clock::{Step, StepWatch, WATCH_EVERY};
use tokio::{
    net::TcpSocket,
    runtime::{Handle, Runtime},
    sync::oneshot,
};

use crate::{
    config::Config,
    http::{self, Pages, Site},
    metrics::Counts,
    reservations::Reservations,
};

/// How long the reservation side may take to end what it is about.
const RESERVATIONS_CLOSE_MAX: Duration = Duration::from_secs(5);
/// How urgent a booking is (nice level): less than media.
const BOOKING_NICENESS: i32 = 10;
/// Threads for HTTP and the reservation side.
const CONTROL_THREADS: usize = 2;

/// Where HTTP is answered: bound, not listening yet.
pub(crate) struct Doors {
    pub(crate) http: Option<TcpSocket>,
    pub(crate) metrics: Option<TcpSocket>,
}

impl Doors {
    /// Errors: an address that cannot be bound, named.
    pub(crate) fn bind(config: &Config) -> io::Result<Self> {
        let bind = |setting, listen: Option<SocketAddr>| {
            listen.map(|address| http::bind(setting, address)).transpose()
        };
        Ok(Self {
            http: bind("http.listen", config.http.listen)?,
            metrics: bind("metrics.listen", config.metrics.listen)?,
        })
    }
}

/// The thread for all that is not media: a small tokio runtime of its own.
pub(crate) struct Control {
    pub(crate) runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Answers at `doors` from now on, until it is stopped or dropped.
    pub(crate) fn start(
        runtime: Runtime,
        doors: Doors,
        pages: Arc<dyn Pages>,
        (reservations, stills): (Option<Reservations>, Option<Router>),
        counts: Arc<Counts>,
        clock: Clock,
    ) -> io::Result<Self> {
        let handle = runtime.handle().clone();
        let listening = {
            let _inside = runtime.enter();
            let listen = |door: Option<TcpSocket>| door.map(http::listen).transpose();
            listen(doors.http).and_then(|http| Ok([http, listen(doors.metrics)?]))
        };
        let [main, metrics] = match listening {
            Ok(listening) => listening,
            Err(error) => {
                // The caller may be inside another runtime, where this one's end must not be waited for.
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let (stop, stopped) = oneshot::channel();
        let work = move || {
            runtime.block_on(async {
                let turned_away = || Arc::clone(&counts.turned_away);
                let api = reservations.as_ref().map(|reservations| reservations.router.clone());
                if let Some(listener) = main {
                    let site = Site::main(Arc::clone(&pages), api, stills, metrics.is_none());
                    tokio::spawn(http::serve(listener, site, turned_away(), clock.clone()));
                }
                if let Some(listener) = metrics {
                    tokio::spawn(http::serve(listener, Site::metrics(pages), turned_away(), clock.clone()));
                }
                tokio::spawn(watch_clock(clock, counts));
                // Told, or the server was dropped.
                let _ = stopped.await;
                let closing = async {
                    if let Some(reservations) = reservations {
                        reservations.close().await;
                    }
                };
                if tokio::time::timeout(RESERVATIONS_CLOSE_MAX, closing).await.is_err() {
                    tracing::warn!("the reservation side was not done in time; what it confirmed is kept");
                }
            });
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("slotcast-control".to_owned()).spawn(work)?;
        Ok(Self { runtime: handle, stop: Some(stop), thread: Some(thread) })
    }

    /// Ends it, and waits for the reservation side.
    pub(crate) fn stop(mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the control thread had panicked");
        }
    }
}

/// Notices when the wall clock is set. The rooms follow it by themselves; the operator should know.
async fn watch_clock(clock: Clock, counts: Arc<Counts>) {
    let mut watch = StepWatch::new(clock());
    let mut ticks = tokio::time::interval(WATCH_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(step) = watch.look(clock()) else { continue };
        counts.step(step);
        let (direction, by) = match step {
            Step::Forward(by) => ("forward", by),
            Step::Back(by) => ("back", by),
        };
        tracing::warn!(
            direction,
            seconds = by.as_secs_f64(),
            "the wall clock was set; windows follow it: check NTP"
        );
    }
}

/// One thread does for health and metrics. Bookings have two, which give way to the media threads.
pub(crate) fn control_runtime(with_reservations: bool) -> io::Result<Runtime> {
    if !with_reservations {
        return tokio::runtime::Builder::new_current_thread().enable_all().build();
    }
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("slotcast-booking")
        .on_thread_start(give_way)
        .enable_all()
        .build()
}

/// Lowers this thread's priority: who books waits a moment rather than who watches.
pub(crate) fn give_way() {
    // Of a thread on Linux; each takes after the one that starts it, so this says how much, not how much more.
    if let Err(error) = rustix::process::setpriority_process(None, BOOKING_NICENESS) {
        tracing::debug!(%error, "the priority of a booking thread could not be lowered");
    }
}
