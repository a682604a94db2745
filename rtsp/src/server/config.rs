//! What the edge decides once for all connections of one listener.

use std::{sync::Arc, time::Duration};

use super::ports::ClaimedPorts;
use crate::headers::transport::UdpPorts;

/// Which side of the house a connection came in at. It decides which methods there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Watches: DESCRIBE, SETUP, PLAY.
    Viewer,
    /// Sends: ANNOUNCE, SETUP, RECORD.
    Broadcaster,
}

/// What all connections of one listener share.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Viewers' or broadcasters' side.
    pub role: Role,
    /// The pair that media leaves from or arrives at; `None` when UDP is off, and then UDP is answered 461.
    pub udp: Option<UdpPorts>,
    /// Of the peers that are told by [`for_peer`](super::ServerConnection::for_peer).
    pub claimed_ports: Arc<ClaimedPorts>,
    /// From accept to the first byte.
    pub first_byte: Duration,
    /// From the first byte of a message to the end of its header.
    pub header: Duration,
    /// From the end of a header to the end of its body.
    pub body: Duration,
    /// Without a session, from one request to the next.
    pub idle: Duration,
    /// From the first SETUP to PLAY or RECORD.
    pub start: Duration,
    /// From one sign of life of a session to the next, as enforced.
    pub liveness: Duration,
    /// The same as advertised in `Session: …;timeout=`, in whole seconds; shorter than `liveness`.
    pub liveness_advertised: Duration,
    /// How many proofs may be wrong on one connection; the last one is answered 401 and closes it.
    pub wrong_proofs_max: u8,
    /// Whether Basic is offered as well: only inside TLS.
    pub basic: bool,
}

impl ServerConfig {
    /// The defaults of one side, UDP off: 5 s to the first byte, 10 s each for header, body and start, 30 s idle,
    /// 65 s liveness (60 s advertised), three wrong proofs, no Basic.
    pub fn new(role: Role) -> Self {
        Self {
            role,
            udp: None,
            claimed_ports: Arc::default(),
            first_byte: Duration::from_secs(5),
            header: Duration::from_secs(10),
            body: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            start: Duration::from_secs(10),
            liveness: Duration::from_secs(65),
            liveness_advertised: Duration::from_secs(60),
            wrong_proofs_max: 3,
            basic: false,
        }
    }
}
