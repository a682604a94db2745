//! Our own publisher on a real server: what viewers decode of it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use slotcast_media::clip::Clip;
use slotcast_rtsp::headers::transport::LowerTransport;
use slotcast_testing::{
    players::{self, Lower},
    server::{Channel, ID, Server, channel},
};
use slotcast_tools::publish::{PublishConfig, PublishProgress, publish_with_progress};

const PLAYS_WITHIN: Duration = Duration::from_secs(40);

#[track_caller]
fn check(transport: LowerTransport, viewer: Lower) {
    // A channel of the class for which the bundled clip was made.
    let server = Server::start(&[Channel { rate: "64kbit/s", ..channel("channel4", 4) }]);
    let config = PublishConfig {
        server: server.links,
        channel: "channel4".to_owned(),
        reservation_id: ID.to_owned(),
        transport,
        duration: None,
    };
    let (stop, progress) = (AtomicBool::new(false), PublishProgress::default());
    let report = std::thread::scope(|scope| {
        let publisher = scope
            .spawn(|| publish_with_progress(&Clip::bundled().unwrap(), &config, &stop, &progress).unwrap());
        server.wait_on_air("channel4", "");
        assert!(progress.recording.load(Ordering::Relaxed));
        let viewer = players::ffmpeg_viewer(&server.watch_url("channel4"), Some(viewer), Some(14), &[]);
        let seen = players::ffmpeg_seen(viewer, PLAYS_WITHIN);
        stop.store(true, Ordering::Relaxed);
        // 14 s lie over at least one seam of the loop.
        seen.expect_frames(130);
        let warnings: Vec<_> = seen.text.lines().filter(|line| line.contains('[')).collect();
        assert!(warnings.is_empty(), "{warnings:#?}");
        publisher.join().unwrap()
    });
    assert_eq!(report.closed_by_server, None);
    let dropped = server.metric(&["slotcast_ingest_packets_dropped"]);
    assert_eq!(dropped, 0.0, "over the class:\n{}", server.metrics());
}

#[test]
fn tcp_link_is_decoded_over_the_seam_without_a_warning() {
    check(LowerTransport::Tcp, Lower::Tcp);
}

#[test]
fn udp_link_is_decoded_over_the_seam_without_a_warning() {
    check(LowerTransport::Udp, Lower::Udp);
}
