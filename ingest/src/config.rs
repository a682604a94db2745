//! What an operator sets on the link side. That it fits together is seen to where the file is read.

use std::{net::SocketAddr, time::Duration};

use crate::limits;

/// The link side's settings.
#[derive(Clone, Debug)]
pub struct IngestConfig {
    /// Where broadcasters connect, one per access port; at least one. Port 0: any free one.
    /// An IPv6 address takes IPv6 only: list both families.
    pub listen: Vec<SocketAddr>,
    /// UDP ports for RTP and RTCP on every address of `listen`; `None`: media over TCP only. `[0, 0]`: any free ones.
    pub rtp_ports: Option<[u16; 2]>,
    /// Links that may be open at once; an operator wants at least twice the number of channels.
    pub lines: usize,
    /// Of these, from one address.
    pub lines_per_address: usize,
    /// Connections that have not shown a valid reservation ID yet, in all.
    pub antechamber: usize,
    /// Of these, from one address.
    pub antechamber_per_address: usize,
    /// How long a connection may stay without having shown a valid reservation ID.
    pub gate_deadline: Duration,
    /// How much of its bandwidth class an encoder may send at once, as time.
    pub burst: Duration,
    /// How long an encoder may be above its class before the link is closed.
    pub class_exceeded_max: Duration,
    /// The `Server` header and the tool name in reports.
    pub server_name: String,
}

impl Default for IngestConfig {
    /// One listener on 127.0.0.1:8555, 20 lines, media over TCP only.
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 8555))],
            rtp_ports: None,
            lines: 20,
            lines_per_address: 20,
            antechamber: limits::ANTECHAMBER,
            antechamber_per_address: limits::ANTECHAMBER_PER_ADDRESS,
            gate_deadline: limits::GATE_DEADLINE,
            burst: slotcast_desk::limits::BURST,
            class_exceeded_max: slotcast_desk::limits::CLASS_EXCEEDED_MAX,
            server_name: "slotcast".to_owned(),
        }
    }
}
