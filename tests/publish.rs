//! Our own publisher on a real server: what viewers decode of it, how it ends, and what it is refused.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use slotcast_media::clip::Clip;
use slotcast_rtsp::client::TransportPolicy;
use slotcast_tools::publish::{
    PublishConfig, PublishError, PublishProgress, PublishReport, publish, publish_with_progress,
};
use support::players::{self, Lower};
use support::server::{Channel, ID, Server, channel};
use support::wait_for;

const PLAYS_WITHIN: Duration = Duration::from_secs(40);

/// A channel of the class for which the bundled clip was made.
fn narrow() -> Channel {
    Channel { rate: "64kbit/s", ..channel("channel4", 4) }
}

fn config(server: &Server, transport: TransportPolicy) -> PublishConfig {
    PublishConfig {
        server: server.links,
        channel: "channel4".to_owned(),
        reservation_id: ID.to_owned(),
        transport,
        duration: None,
    }
}

/// The publisher on a thread of its own.
struct Running {
    stop: Arc<AtomicBool>,
    progress: Arc<PublishProgress>,
    thread: JoinHandle<Result<PublishReport, PublishError>>,
}

impl Running {
    fn start(config: PublishConfig) -> Self {
        let (stop, progress) = (Arc::<AtomicBool>::default(), Arc::<PublishProgress>::default());
        let (stopped, seen) = (Arc::clone(&stop), Arc::clone(&progress));
        let thread = std::thread::spawn(move || {
            publish_with_progress(&Clip::bundled().unwrap(), &config, &stopped, &seen)
        });
        Self { stop, progress, thread }
    }

    fn join(self) -> Result<PublishReport, PublishError> {
        self.thread.join().unwrap()
    }
}

#[track_caller]
fn check(transport: TransportPolicy, viewer: Lower) {
    let server = Server::start(&[narrow()]);
    let publisher = Running::start(config(&server, transport));
    server.wait_on_air("channel4", "");
    assert!(publisher.progress.recording.load(Ordering::Relaxed));
    let viewer = players::ffmpeg_viewer(&server.watch_url("channel4"), Some(viewer), Some(14), &[]);
    let seen = players::ffmpeg_seen(viewer, PLAYS_WITHIN);
    // 14 s lie over at least one seam of the loop.
    seen.expect_frames(130);
    let warnings: Vec<_> = seen.text.lines().filter(|line| line.contains('[')).collect();
    assert!(warnings.is_empty(), "{warnings:#?}");
    let stopped = Instant::now();
    publisher.stop.store(true, Ordering::Relaxed);
    let report = publisher.join().unwrap();
    assert!(stopped.elapsed() < Duration::from_secs(1), "it took {:?} to stop", stopped.elapsed());
    assert_eq!(report.closed_by_server, None);
    let rate = report.bytes as f64 * 8.0 / report.sent_for.as_secs_f64();
    assert!((30_000.0..60_000.0).contains(&rate), "{rate} bit/s");
}

#[test]
fn tcp_link_is_decoded_over_the_seam_without_a_warning() {
    check(TransportPolicy::Tcp, Lower::Tcp);
}

#[test]
fn udp_link_is_decoded_over_the_seam_without_a_warning() {
    check(TransportPolicy::UdpThenTcp, Lower::Udp);
}

#[test]
fn wrong_reservation_id_is_refused_with_401() {
    let server = Server::start(&[narrow()]);
    let wrong = PublishConfig { reservation_id: "wrong".to_owned(), ..config(&server, TransportPolicy::Tcp) };
    let result = publish(&Clip::bundled().unwrap(), &wrong, &AtomicBool::new(false));
    assert!(
        matches!(&result, Err(PublishError::Refused { status: 401, method: "ANNOUNCE", reason }) if !reason.is_empty()),
        "{result:?}"
    );
}

#[test]
fn server_that_ends_ends_the_publisher_without_an_error() {
    for transport in [TransportPolicy::Tcp, TransportPolicy::Udp] {
        let server = Server::start(&[narrow()]);
        let publisher = Running::start(config(&server, transport));
        server.wait_on_air("channel4", "");
        drop(server);
        let ended = wait_for(Duration::from_secs(5), || publisher.thread.is_finished().then_some(()));
        assert!(ended.is_some(), "the publisher goes on without a server");
        let report = publisher.join().unwrap();
        assert!(report.closed_by_server.is_some() && report.packets > 0, "{report:?}");
    }
}

#[test]
fn duration_is_kept() {
    let server = Server::start(&[narrow()]);
    let config =
        PublishConfig { duration: Some(Duration::from_secs(3)), ..config(&server, TransportPolicy::Tcp) };
    let report = publish(&Clip::bundled().unwrap(), &config, &AtomicBool::new(false)).unwrap();
    assert_eq!(report.closed_by_server, None);
    assert!((2_900..3_500).contains(&report.sent_for.as_millis()), "{report:?}");
}

#[test]
fn nobody_there_is_an_io_error_and_a_silent_server_lets_it_stop() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = PublishConfig {
        server: listener.local_addr().unwrap(),
        channel: "channel4".to_owned(),
        reservation_id: ID.to_owned(),
        transport: TransportPolicy::Tcp,
        duration: None,
    };
    let publisher = Running::start(silent.clone());
    let accepted = wait_for(Duration::from_secs(5), || listener.accept().ok());
    assert!(accepted.is_some());
    publisher.stop.store(true, Ordering::Relaxed);
    let report = publisher.join().unwrap();
    assert_eq!(report, PublishReport::default());
    drop((accepted, listener));
    let result = publish(&Clip::bundled().unwrap(), &silent, &AtomicBool::new(false));
    assert!(matches!(result, Err(PublishError::Io(_))), "{result:?}");
}
