//! One running server: the rooms wired to each other.
//!
//! Owns: [`Server`], its start, reload, drain and end.
//! Not here: signals and the process (`run`), the thread for all that is not media (`control`), what the rooms do.
//! Invariant: a reload cuts nobody who is still in the timetable; a reload that is refused changes nothing.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak, atomic::Ordering},
    time::Duration,
};

use slotcast_admission::{Changes, Guesses, Programs, Timetable, TimetableError};
use slotcast_core::{feed::Feeds, time::Clock};
use slotcast_fanout::{Fanout, FanoutConfig, FanoutStats};
use slotcast_ingest::{Ingest, IngestConfig, IngestStats};
use slotcast_reservation::service::Service;
use tokio::{net::TcpSocket, runtime::Runtime};

use crate::{
    config::{self, Config, GsoPolicy},
    control::{Control, Doors, control_runtime, give_way},
    http::Pages,
    metrics::{Counts, Metrics, Sources},
    ntp::ClockWatch,
    reservations::{Media, Reservations},
    stills::{self, Stills},
};

/// How long the viewers' side may take to say goodbye to everybody.
const VIEWERS_GOODBYE_MAX: Duration = Duration::from_secs(2);
/// How long the link side may take.
const LINKS_GOODBYE_MAX: Duration = Duration::from_secs(1);
/// A media thread's turns; the shortest that the kernel gives.
const MEDIA_TURN: Duration = Duration::from_micros(100);

/// Where a running server can be reached, with the real ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// RTSP for viewers.
    pub viewers: SocketAddr,
    /// UDP ports from which each worker's RTP and RTCP leave; none: UDP is off.
    pub viewers_rtp: Vec<[u16; 2]>,
    /// RTSP for broadcasters, in the order of the configuration.
    pub links: Vec<SocketAddr>,
    /// UDP ports on which media arrives; `None`: over TCP only.
    pub links_rtp: Option<[u16; 2]>,
    /// Health, the API, and metrics for this machine.
    pub http: Option<SocketAddr>,
    /// Metrics for others; `None`: they have no listener of their own.
    pub metrics: Option<SocketAddr>,
}

/// A running server. Dropping it stops everything without waiting; [`shutdown`](Self::shutdown) waits.
pub struct Server {
    config: Mutex<Config>,
    addresses: Addresses,
    timetable: Arc<Timetable>,
    counts: Arc<Counts>,
    fanout: Fanout,
    ingest: Arc<Ingest>,
    service: Option<Service>,
    _stills: Option<Stills>,
    control: Control,
}

impl Server {
    /// Binds every address, starts every thread and publishes channels and programs.
    ///
    /// Errors: an address that cannot be bound, named; programs that do not fit together (`InvalidInput`).
    pub fn start(config: Config, clock: Clock) -> io::Result<Self> {
        let timetable = Arc::new(Timetable::new());
        timetable
            .publish(config.channels.clone(), config.programs.clone())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let programs: Arc<dyn Programs> = Arc::clone(&timetable) as Arc<dyn Programs>;
        // First what is quick to refuse, so that a wrong port is found before anyone is served.
        let doors = Doors::bind(&config)?;
        let guesses = Arc::new(Guesses::new(config.viewers.guesses));
        let (fanout, ingest, feeds) = with_short_turns(|| {
            let (fanout, feeds) =
                Fanout::start(fanout_config(&config), Arc::clone(&programs), guesses, Arc::clone(&clock))?;
            let ingest = Ingest::start(
                ingest_config(&config),
                Arc::clone(&programs),
                feeds.clone(),
                Arc::clone(&clock),
            )?;
            io::Result::Ok((fanout, ingest, feeds))
        })?;
        let ingest = Arc::new(ingest);
        let addresses = addresses_of(&fanout, &ingest, &doors)?;
        let stills = stills(&config, &feeds, &programs, &clock);
        let counts = Arc::new(Counts::default());
        let clock_watch = Arc::new(ClockWatch::new(config.server.ntp.clone(), Arc::clone(&clock)));
        let sold = Arc::new(OnceLock::new());
        let metrics = Metrics::new(Sources {
            programs,
            fanout: Arc::clone(fanout.stats()),
            ingest: Arc::clone(ingest.stats()),
            counts: Arc::clone(&counts),
            clock: Arc::clone(&clock),
            clock_watch: Arc::clone(&clock_watch),
            started: clock().wall,
            service: Arc::clone(&sold),
        });
        let pages = Arc::new(ServerPages {
            metrics,
            counts: Arc::clone(&counts),
            fanout: Arc::clone(fanout.stats()),
            ingest: Arc::downgrade(&ingest),
        });
        let runtime = control_runtime(config.reservations.is_some())?;
        let media = Media {
            timetable: Arc::clone(&timetable),
            fanout: Arc::clone(fanout.stats()),
            roll: fanout.roll(),
            counts: Arc::clone(&counts),
            ingest_stats: Arc::clone(ingest.stats()),
            ingest: Arc::downgrade(&ingest),
            clock_watch: Arc::clone(&clock_watch),
            stills: stills.as_ref().map(|stills| Arc::clone(stills.shelf())),
            clock: Arc::clone(&clock),
        };
        let reservations = match open_reservations(&runtime, &config, &addresses, media, &clock) {
            Ok(reservations) => reservations,
            Err(error) => {
                // The caller may be inside another runtime, where this one's end must not be waited for.
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let service = reservations.as_ref().map(|reservations| reservations.service.clone());
        if let Some(service) = &service {
            sold.get_or_init(|| service.clone());
        }
        runtime.spawn(async move { clock_watch.run().await });
        let more = stills.as_ref().map(|stills| stills::router(Arc::clone(stills.shelf())));
        let control =
            Control::start(runtime, doors, pages, (reservations, more), Arc::clone(&counts), clock)?;
        Ok(Self {
            config: Mutex::new(config),
            addresses,
            timetable,
            counts,
            fanout,
            ingest,
            service,
            _stills: stills,
            control,
        })
    }

    /// Where it can be reached.
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Its channels and programs.
    pub fn programs(&self) -> Arc<dyn Programs> {
        Arc::clone(&self.timetable) as Arc<dyn Programs>
    }

    /// The reservation side, where channels are sold.
    pub const fn service(&self) -> Option<&Service> {
        self.service.as_ref()
    }

    /// Waits on this thread for what is asked of the reservation side; the server's own threads carry it out.
    pub(crate) fn wait_for<F: Future>(&self, asked: F) -> F::Output {
        self.control.runtime.block_on(asked)
    }

    /// What the viewers' side counts.
    pub const fn fanout_stats(&self) -> &Arc<FanoutStats> {
        self.fanout.stats()
    }

    /// What the link side counts.
    pub fn ingest_stats(&self) -> &Arc<IngestStats> {
        self.ingest.stats()
    }

    /// Takes over channels, programs and connect windows of `config`. Who watches or sends in a program that stays
    /// goes on. Other settings count from the next start; that they differ is logged.
    ///
    /// Errors: what does not fit together; nothing was changed then.
    pub fn reload(&self, config: Config) -> Result<Changes, TimetableError> {
        if self.service.is_some() || config.reservations.is_some() {
            return Ok(self.reload_sold(&config));
        }
        let published = self.timetable.publish(config.channels.clone(), config.programs.clone());
        let counter = if published.is_ok() { &self.counts.reloads } else { &self.counts.reloads_refused };
        counter.fetch_add(1, Ordering::Relaxed);
        let changes = published?;
        let mut old = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        for table in differing_tables(&old, &config) {
            tracing::warn!(table, "changed in the file, but counts only after a restart");
        }
        self.ingest.serve_channels(config.channels.len());
        // What was not taken over is still different at the next reload.
        old.channels = config.channels;
        old.programs = config.programs;
        (old.links.before, old.links.after) = (config.links.before, config.links.after);
        Ok(changes)
    }

    /// Where channels are sold, they and their programs are changed over the API, not in the file.
    fn reload_sold(&self, config: &Config) -> Changes {
        self.counts.reloads.fetch_add(1, Ordering::Relaxed);
        let old = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        for table in differing_tables(&old, config) {
            tracing::warn!(table, "changed in the file, but counts only after a restart");
        }
        if old.channels != config.channels {
            tracing::warn!(
                "channels changed in the file: new ones are sold after a restart; change the others over the API"
            );
        }
        Changes::default()
    }

    /// Counts a file that was not even tried because it is wrong.
    pub(crate) fn reload_refused(&self) {
        self.counts.reloads_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Refuses new viewers from now on; who watches goes on. `/readyz` says so.
    pub fn drain(&self) {
        self.counts.draining.store(true, Ordering::Relaxed);
        self.fanout.drain();
    }

    /// Whether nobody watches and nobody sends.
    pub fn is_idle(&self) -> bool {
        let stats = self.ingest.stats();
        self.fanout.stats().sum(|worker| &worker.connections) == 0 && stats.lines_in_use.value() == 0
    }

    /// Says goodbye to every viewer and broadcaster, and waits for the threads, a few seconds at most.
    ///
    /// Returns `false` when a thread was not done in time; it is left to the end of the process.
    pub fn shutdown(self) -> bool {
        self.drain();
        let in_time = self.fanout.shutdown(VIEWERS_GOODBYE_MAX);
        // The pages may borrow the link side for a moment: they go first.
        self.control.stop();
        if let Some(ingest) = Arc::into_inner(self.ingest) {
            ingest.shutdown(LINKS_GOODBYE_MAX);
        }
        in_time
    }

    /// Whether each worker was told to keep to a core of its own.
    pub(crate) fn is_pinned(&self) -> bool {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).viewers.pin
    }
}

/// Stills of what is on air, where they are asked for and possible: a server without them serves all the same.
fn stills(config: &Config, feeds: &Feeds, programs: &Arc<dyn Programs>, clock: &Clock) -> Option<Stills> {
    let ffmpeg = config.stills.ffmpeg.as_ref()?;
    if config.reservations.as_ref().is_some_and(|sold| sold.members_only) {
        tracing::info!("no stills: public programs are for members only (reservations.members_only)");
        return None;
    }
    match Stills::start(ffmpeg, feeds, Arc::clone(programs), Arc::clone(clock)) {
        Ok(stills) => {
            tracing::info!(ffmpeg = %ffmpeg.display(), "stills of public programs are made");
            Some(stills)
        }
        Err(error) => {
            tracing::error!(%error, "no stills are made");
            None
        }
    }
}

fn fanout_config(config: &Config) -> FanoutConfig {
    let viewers = &config.viewers;
    FanoutConfig {
        listen: viewers.listen,
        rtp_ports: viewers.rtp_ports,
        udp: viewers.udp,
        workers: viewers.workers.count(),
        pin: viewers.pin,
        segments: viewers.gso == GsoPolicy::Auto,
        connections_max: viewers.connections,
        connections_per_address_max: viewers.per_address,
        session_timeout: viewers.session_timeout,
        slow_viewer: viewers.slow_viewer,
        stalled_viewer: viewers.stalled_viewer,
    }
}

fn ingest_config(config: &Config) -> IngestConfig {
    let links = &config.links;
    IngestConfig {
        listen: links.listen.clone(),
        rtp_ports: links.rtp_ports,
        lines: links.lines,
        lines_per_address: links.per_address,
        antechamber: links.waiting,
        antechamber_per_address: links.waiting_per_address,
        gate_deadline: links.gate_deadline,
        burst: links.burst,
    }
}

/// Tables whose settings need a restart and are not the same.
fn differing_tables(old: &Config, new: &Config) -> Vec<&'static str> {
    let mut links = new.links.clone();
    if old.reservations.is_none() {
        (links.before, links.after) = (old.links.before, old.links.after);
    }
    // They follow the channels.
    links.lines = old.links.lines;
    let tables = [
        ("server", old.server != new.server),
        ("viewers", old.viewers != new.viewers),
        ("links", old.links != links),
        ("http", old.http != new.http),
        ("metrics", old.metrics != new.metrics),
        ("stills", old.stills != new.stills),
        ("log", old.log != new.log),
    ];
    let tables = tables.into_iter().chain(differing_tables_of_sale(old, new));
    tables.filter(|(_, differs)| *differs).map(|(table, _)| table).collect()
}

/// Each table of the reservation side, and whether it differs. Secrets are compared by value, in constant time.
fn differing_tables_of_sale(old: &Config, new: &Config) -> [(&'static str, bool); 3] {
    match (&old.reservations, &new.reservations) {
        (Some(old), Some(new)) => {
            let rest = config::Reservations {
                mail: old.mail.clone(),
                payments: old.payments.clone(),
                ..new.clone()
            };
            [
                ("reservations", *old != rest),
                ("mail", old.mail != new.mail),
                ("payments", old.payments != new.payments),
            ]
        }
        (old, new) => {
            [("reservations", old.is_some() != new.is_some()), ("mail", false), ("payments", false)]
        }
    }
}

struct ServerPages {
    metrics: Metrics,
    counts: Arc<Counts>,
    fanout: Arc<FanoutStats>,
    /// Weak: a page that is being made must not keep the link side from ending.
    ingest: Weak<Ingest>,
}

impl Pages for ServerPages {
    fn is_healthy(&self) -> bool {
        self.fanout.is_running() && self.ingest.upgrade().is_some_and(|ingest| ingest.is_running())
    }

    fn is_ready(&self) -> bool {
        !self.counts.draining.load(Ordering::Relaxed)
    }

    fn metrics(&self) -> Result<String, std::fmt::Error> {
        self.metrics.render()
    }
}

fn addresses_of(fanout: &Fanout, ingest: &Ingest, doors: &Doors) -> io::Result<Addresses> {
    let address = |door: &Option<TcpSocket>| door.as_ref().map(TcpSocket::local_addr).transpose();
    Ok(Addresses {
        viewers: fanout.local_addr(),
        viewers_rtp: fanout.rtp_ports().to_vec(),
        links: ingest.local_addrs().to_vec(),
        links_rtp: ingest.udp_ports(),
        http: address(&doors.http)?,
        metrics: address(&doors.metrics)?,
    })
}

/// Opens the reservation side in `runtime`, if channels are sold. On a thread of its own: the caller's may be inside
/// another runtime.
fn open_reservations(
    runtime: &Runtime,
    config: &Config,
    addresses: &Addresses,
    media: Media,
    clock: &Clock,
) -> io::Result<Option<Reservations>> {
    if config.reservations.is_none() {
        return Ok(None);
    }
    let open = || {
        // The store's own threads take after the one that makes them.
        give_way();
        let opened = Reservations::open(config, addresses, Arc::new(media), Arc::clone(clock));
        runtime.block_on(opened).map_err(|error| io::Error::other(error.to_string()))
    };
    let opened = std::thread::scope(|scope| scope.spawn(open).join());
    let panicked = |_| Err(io::Error::other("opening the reservation side panicked; see the log"));
    opened.unwrap_or_else(panicked).map(Some)
}

/// Lets the threads that `start` starts have short turns: when media comes, they do not wait for the end of a turn of
/// whatever else has the core.
fn with_short_turns<T>(start: impl FnOnce() -> T) -> T {
    let set = |turn| {
        if let Err(error) = slotcast_net::sys::set_turn(turn) {
            tracing::debug!(%error, "the turns of the media threads have their usual length");
        }
    };
    set(MEDIA_TURN);
    let started = start();
    set(Duration::ZERO);
    started
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(old: &str, new: &str, expected: &[&str]) {
        let [old, new] = [old, new].map(|text| Config::parse(text).map(|checked| checked.config));
        let (Ok(old), Ok(new)) = (old, new) else { panic!("not a config") };
        assert_eq!(differing_tables(&old, &new), expected);
    }

    #[test]
    fn what_needs_a_restart_is_named() {
        check("", "", &[]);
        check("", "[links]\nbefore = \"1m\"\nafter = \"1m\"\n", &[]);
        check("", "[[channels]]\nnumber = 1\nname = \"a\"\nseats = 1\nrate = \"1kbit/s\"\n", &[]);
        check("", "[links]\nburst = \"1s\"\n", &["links"]);
        let sold = "[reservations]\nenabled = true\n";
        check(sold, &format!("{sold}[links]\nbefore = \"1m\"\n"), &["links"]);
        let text = |database: &str, password: &str, stripe: &str, webhook: &str| {
            format!(
                "{sold}database = \"postgres://u:{database}@h/d\"\n[mail]\nserver = \"smtp://h\"\nuser = \"u\"\n\
                 password = \"{password}\"\n[payments]\nway = \"stripe\"\nstripe_key = \"{stripe}\"\n\
                 stripe_webhook_secret = \"{webhook}\"\n"
            )
        };
        let old = text("a", "b", "c", "d");
        check(&old, &old, &[]);
        check(&old, &text("e", "b", "c", "d"), &["reservations"]);
        check(&old, &text("a", "e", "c", "d"), &["mail"]);
        check(&old, &text("a", "b", "e", "d"), &["payments"]);
        check(&old, &text("a", "b", "c", "e"), &["payments"]);
        check("[log]\nlevel = \"warn\"\n", "[viewers]\nworkers = 1\n", &["viewers", "log"]);
    }

    #[test]
    fn no_stills_where_public_programs_are_for_members_only() {
        let made = |text: &str| {
            let config = Config::parse(text).map(|checked| checked.config).unwrap();
            let programs: Arc<dyn Programs> = Arc::new(Timetable::new());
            stills(&config, &Feeds::default(), &programs, &slotcast_net::clock::system()).is_some()
        };
        let with = "[stills]\nffmpeg = \"/bin/sh\"\n";
        assert!(made(with) && !made("") && !made("[stills]\nffmpeg = \"/nowhere/ffmpeg\"\n"));
        assert!(made(&format!("{with}[reservations]\nenabled = true\n")));
        assert!(!made(&format!("{with}[reservations]\nenabled = true\nmembers_only = true\n")));
    }
}
