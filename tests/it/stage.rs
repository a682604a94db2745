//! Servers on air without an encoder: the bundled clip, sent by our own publisher.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use slotcast::{config::Config, serve::Server};
use slotcast_core::time::{Clock, Now, WallTime};
use slotcast_media::clip::Clip;
use slotcast_net::clock;
use slotcast_rtsp::headers::transport::LowerTransport;
use slotcast_testing::{dialogue::Dialogue, server as process};
use slotcast_tools::publish::{
    PublishConfig, PublishError, PublishProgress, PublishReport, publish_with_progress,
};

/// The reservation ID of every [`Setup`]'s first channel; that of the channel `n` has its number behind it.
pub(crate) const ID: &str = "a-reservation-id-of-this-test";
/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server in this process: its channels are `channel1`, `channel2`, …, all on air.
pub(crate) struct Setup {
    pub(crate) channels: usize,
    pub(crate) seats: usize,
    pub(crate) rate: &'static str,
    /// `None`: whoever comes may watch.
    pub(crate) password: Option<&'static str>,
    /// Of the programs, from now on.
    pub(crate) lasts: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        Self { channels: 1, seats: 8, rate: "64kbit/s", password: None, lasts: Duration::from_secs(3600) }
    }
}

impl Setup {
    /// The configuration; the programs begin at `start`.
    #[track_caller]
    pub(crate) fn config(&self, start: WallTime) -> Config {
        let end = start.saturating_add(self.lasts);
        let mut text = "[viewers]\nlisten = \"127.0.0.1:0\"\nrtp_ports = [0, 0]\nper_address = 1000\nworkers = 2\npin = false\n\
                        [links]\nlisten = [\"127.0.0.1:0\"]\nrtp_ports = [0, 0]\n[http]\nlisten = \"127.0.0.1:0\"\n"
            .to_owned();
        let Self { channels, seats, rate, password, .. } = self;
        let open = password.map_or("open_level = \"public\"".to_owned(), |password| {
            format!("open_level = \"password\"\npassword = \"{password}\"")
        });
        for number in 1..=*channels {
            text.push_str(&format!(
                "[[channels]]\nnumber = {number}\nname = \"channel{number}\"\nseats = {seats}\nrate = \"{rate}\"\n\
                 toll = 1\n[[programs]]\nchannel = {number}\nstart = \"{start}\"\nend = \"{end}\"\n\
                 reservation_id = \"{ID}{number}\"\n{open}\ntitle = \"A test\"\n"
            ));
        }
        Config::parse(&text).unwrap_or_else(|problems| panic!("{problems}")).config
    }

    /// Starts it on the machine's clock.
    #[track_caller]
    pub(crate) fn start(&self) -> Server {
        let clock = clock::system();
        Server::start(self.config(clock().wall), clock).unwrap()
    }
}

/// The machine's clock, or one that stands, and what a test adds to it.
#[derive(Clone, Default)]
pub(crate) struct HandClock {
    stands: bool,
    passed_micros: Arc<AtomicU64>,
    stepped_micros: Arc<AtomicI64>,
}

impl HandClock {
    /// It stands until the test lets time pass.
    pub(crate) fn standing() -> Self {
        Self { stands: true, ..Self::default() }
    }

    /// Time passes at once, on both clocks.
    pub(crate) fn pass(&self, span: Duration) {
        self.passed_micros.fetch_add(u64::try_from(span.as_micros()).unwrap(), Ordering::SeqCst);
    }

    /// The wall clock is set by so many microseconds.
    pub(crate) fn step(&self, micros: i64) {
        self.stepped_micros.fetch_add(micros, Ordering::SeqCst);
    }

    /// As a server wants it: `wall` now.
    pub(crate) fn clock(&self, wall: WallTime) -> Clock {
        let (start, this) = (Instant::now(), self.clone());
        Arc::new(move || {
            let passed = Duration::from_micros(this.passed_micros.load(Ordering::SeqCst));
            let mono = (if this.stands { start } else { Instant::now() }) + passed;
            let wall = wall.saturating_add(mono - start).as_micros();
            Now { mono, wall: WallTime::from_micros(wall + this.stepped_micros.load(Ordering::SeqCst)) }
        })
    }
}

/// Our own publisher on a thread of its own. Dropping it stops it.
pub(crate) struct Publisher {
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) progress: Arc<PublishProgress>,
    thread: Option<JoinHandle<Result<PublishReport, PublishError>>>,
}

impl Publisher {
    /// Sends the bundled clip.
    pub(crate) fn start(config: PublishConfig) -> Self {
        let (stop, progress) = (Arc::<AtomicBool>::default(), Arc::<PublishProgress>::default());
        let (stopped, seen) = (Arc::clone(&stop), Arc::clone(&progress));
        let thread = std::thread::spawn(move || {
            publish_with_progress(&Clip::bundled().unwrap(), &config, &stopped, &seen)
        });
        Self { stop, progress, thread: Some(thread) }
    }

    /// The same over TCP, for as long as it is not stopped.
    pub(crate) fn over_tcp(server: SocketAddr, channel: &str, reservation_id: &str) -> Self {
        Self::start(PublishConfig {
            server,
            channel: channel.to_owned(),
            reservation_id: reservation_id.to_owned(),
            transport: LowerTransport::Tcp,
            duration: None,
        })
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for its end.
    pub(crate) fn join(mut self) -> Result<PublishReport, PublishError> {
        self.thread.take().expect("it is joined once").join().unwrap()
    }

    /// Stops it, and waits for its end.
    #[track_caller]
    pub(crate) fn finish(self) -> PublishReport {
        self.stop.store(true, Ordering::Relaxed);
        self.join().unwrap()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A server as a process of its own with that channel, on air.
#[track_caller]
pub(crate) fn on_air(channel: process::Channel) -> (process::Server, Publisher) {
    let program = channel.program.clone().unwrap();
    let name = channel.name;
    let server = process::Server::start(&[channel]);
    let publisher = Publisher::over_tcp(server.links, name, program.reservation_id);
    let query = program.password.map(|password| format!("?token={password}")).unwrap_or_default();
    server.wait_on_air(name, &query);
    (server, publisher)
}

/// The status with which a DESCRIBE of this channel is answered.
#[track_caller]
pub(crate) fn describe(viewers: SocketAddr, channel: &str) -> u16 {
    let url = format!("rtsp://{viewers}/{channel}");
    Dialogue::connect(viewers).request("DESCRIBE", &url, &[("Accept", "application/sdp")]).status
}

/// Waits until `done`; panics when it takes longer than [`PATIENCE`].
#[track_caller]
pub(crate) fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let came = slotcast_testing::wait_for(PATIENCE, || done().then_some(()));
    assert!(came.is_some(), "not within {PATIENCE:?}: {what}");
}
