//! Our own publisher on a real server: how it ends, and what it is refused.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use slotcast_media::clip::Clip;
use slotcast_rtsp::headers::transport::LowerTransport;
use slotcast_testing::server::{Channel, ID, Server, channel};
use slotcast_tools::publish::{PublishConfig, PublishError, PublishReport, publish};

use crate::stage::{Publisher, wait};

/// A channel of the class for which the bundled clip was made.
fn narrow() -> Channel {
    Channel { rate: "64kbit/s", ..channel("channel4", 4) }
}

fn config(server: &Server, transport: LowerTransport) -> PublishConfig {
    PublishConfig {
        server: server.links,
        channel: "channel4".to_owned(),
        reservation_id: ID.to_owned(),
        transport,
        duration: None,
    }
}

#[test]
fn wrong_reservation_id_is_refused_with_401() {
    let server = Server::start(&[narrow()]);
    let wrong = PublishConfig { reservation_id: "wrong".to_owned(), ..config(&server, LowerTransport::Tcp) };
    let result = publish(&Clip::bundled().unwrap(), &wrong, &AtomicBool::new(false));
    assert!(
        matches!(&result, Err(PublishError::Refused { status: 401, method: "ANNOUNCE", reason }) if !reason.is_empty()),
        "{result:?}"
    );
}

#[test]
fn server_that_ends_ends_the_publisher_without_an_error() {
    for transport in [LowerTransport::Tcp, LowerTransport::Udp] {
        let server = Server::start(&[narrow()]);
        let publisher = Publisher::start(config(&server, transport));
        server.wait_on_air("channel4", "");
        drop(server);
        wait("the publisher's end without a server", || publisher.is_finished());
        let report = publisher.join().unwrap();
        assert!(report.closed_by_server.is_some() && report.packets > 0, "{report:?}");
    }
}

#[test]
fn duration_is_kept() {
    let server = Server::start(&[narrow()]);
    let config =
        PublishConfig { duration: Some(Duration::from_secs(1)), ..config(&server, LowerTransport::Tcp) };
    let report = publish(&Clip::bundled().unwrap(), &config, &AtomicBool::new(false)).unwrap();
    assert_eq!(report.closed_by_server, None);
    assert!(report.packets > 0 && report.sent_for >= Duration::from_secs(1), "{report:?}");
}

#[test]
fn nobody_there_is_an_io_error_and_a_silent_server_lets_it_stop() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = PublishConfig {
        server: listener.local_addr().unwrap(),
        channel: "channel4".to_owned(),
        reservation_id: ID.to_owned(),
        transport: LowerTransport::Tcp,
        duration: None,
    };
    let publisher = Publisher::start(silent.clone());
    let accepted = listener.accept().unwrap();
    publisher.stop.store(true, Ordering::Relaxed);
    let report = publisher.join().unwrap();
    assert_eq!(report, PublishReport::default());
    drop((accepted, listener));
    let result = publish(&Clip::bundled().unwrap(), &silent, &AtomicBool::new(false));
    assert!(matches!(result, Err(PublishError::Io(_))), "{result:?}");
}
