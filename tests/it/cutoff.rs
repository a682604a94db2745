//! The end of a window with many viewers over both transports, through the whole server: broadcaster, link side, workers.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use slotcast_net::clock;
use slotcast_tools::watch::{Outcome, Watch, WatchConfig};

use crate::stage::{ID, PATIENCE, Publisher, Setup, wait};

const VIEWERS: usize = 200;

#[test]
fn two_hundred_viewers_are_told_and_closed_at_the_end_and_get_nothing_after_it() {
    let setup = Setup { seats: VIEWERS, ..Setup::default() };
    let clock = clock::system();
    let start = clock().wall;
    let server = slotcast::serve::Server::start(setup.config(start), Arc::clone(&clock)).unwrap();
    let addresses = server.addresses().clone();
    let publisher = Publisher::over_tcp(addresses.links[0], "channel1", &format!("{ID}1"));
    let stats = Arc::clone(server.fanout_stats());
    wait("media", || stats.sum(|worker| &worker.chunks) > 0);
    let watch = Watch::start(&WatchConfig {
        server: addresses.viewers,
        channel: "channel1".to_owned(),
        viewers: VIEWERS,
        udp_viewers: VIEWERS / 2,
        password: None,
        per_second: 400,
        threads: 1,
        patience: PATIENCE,
    })
    .unwrap();
    wait("all viewers", || watch.progress().playing.load(Ordering::Relaxed) == VIEWERS as u64);
    // Now that all are there, the end is set: however slow the machine is, nobody comes too late.
    let end = clock().wall.saturating_add(Duration::from_millis(700));
    server.reload(Setup { lasts: end.since(start), ..setup }.config(start)).unwrap();
    // Each worker counts once it has closed its gate: from then on it sends no media, also to those who are not told yet.
    let deadline = Instant::now() + PATIENCE;
    while stats.cutoffs().count < 2 {
        assert!(Instant::now() < deadline, "the gates stay open");
        // Looked at so often that there are viewers left who are to be told.
        std::thread::park_timeout(Duration::from_millis(1));
    }
    assert!(clock().wall >= end, "the gates closed before the end");
    let sent = stats.sum(|worker| &worker.packets_sent);
    wait("all closed", || watch.is_over());
    let cutoffs = stats.cutoffs();
    // Each worker tells when it closed its last viewer.
    assert!(
        cutoffs.closed_delay.1 > Duration::ZERO && cutoffs.closed_delay.1 < Duration::from_secs(1),
        "{cutoffs:?}"
    );
    let reports = watch.join().unwrap();
    assert_eq!(reports.len(), VIEWERS);
    for report in &reports {
        assert_eq!((&report.outcome, report.lost), (&Outcome::Ended, 0), "{report:?}");
        let told = report.told.unwrap_or_else(|| panic!("no BYE: {report:?}"));
        // Over TCP one reads in the order of sending; over UDP a BYE may be read from its socket first.
        assert!(report.udp || report.last_media.unwrap() <= told, "media after the BYE: {report:?}");
        assert!(report.closed.unwrap() >= told || report.udp, "{report:?}");
    }
    let pushed = || publisher.progress.packets.load(Ordering::Relaxed);
    let before = pushed();
    wait("more from the broadcaster", || pushed() > before + 5);
    assert_eq!(stats.sum(|worker| &worker.packets_sent), sent, "media left after the end");
    publisher.finish();
    assert!(server.shutdown());
}
