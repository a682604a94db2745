//! What an operator sets on the link side. That it fits together is seen to where the file is read.

use std::{net::SocketAddr, time::Duration};

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
}
