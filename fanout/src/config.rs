//! What an operator may set on the viewers' side.

use std::{net::SocketAddr, time::Duration};

/// The viewers' side.
#[derive(Clone, Debug)]
pub struct FanoutConfig {
    /// RTSP for viewers. Port 0: any free one.
    pub listen: SocketAddr,
    /// UDP ports from which RTP and RTCP of the first worker leave, on the address of `listen`; worker `i` has the pair
    /// that lies `2 * i` higher. Port 0: any free ones.
    pub rtp_ports: [u16; 2],
    /// Whether UDP is offered at all; if not, SETUP over UDP is answered 461.
    pub udp: bool,
    /// Worker threads, 1 or more.
    pub workers: usize,
    /// Whether each worker keeps to a core of its own.
    pub pin: bool,
    /// Whether the kernel cuts one large send into datagrams (UDP GSO), where kernel and device can; if not, each packet is a
    /// send.
    pub segments: bool,
    /// RTSP connections in all.
    pub connections_max: usize,
    /// RTSP connections from one address.
    pub connections_per_address_max: usize,
    /// How long an RTSP session may go without a sign of life, as `Session: …;timeout=` says it, in whole seconds. It is
    /// ended 5 s later.
    pub session_timeout: Duration,
    /// A viewer further behind than this jumps to the newest key frame.
    pub slow_viewer: Duration,
    /// A viewer who takes no byte for this long is cut.
    pub stalled_viewer: Duration,
}
