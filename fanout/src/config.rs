//! What an operator may set on the viewers' side.

use std::net::{Ipv4Addr, SocketAddr};

/// Whether the kernel cuts one large send into datagrams (UDP GSO).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentationPolicy {
    /// Where kernel and device can.
    Auto,
    /// Never: one send per packet.
    Off,
}

/// The viewers' side.
#[derive(Clone, Debug)]
pub struct FanoutConfig {
    /// RTSP for viewers. Port 0: any free one.
    pub listen: SocketAddr,
    /// UDP ports from which RTP and RTCP leave, on the address of `listen`. Port 0: any free one.
    pub rtp_ports: [u16; 2],
    /// Whether UDP is offered at all; if not, SETUP over UDP is answered 461.
    pub udp: bool,
    /// Worker threads, 1 or more.
    pub workers: usize,
    /// Whether each worker keeps to a core of its own.
    pub pin: bool,
    /// See [`SegmentationPolicy`].
    pub segmentation: SegmentationPolicy,
    /// RTSP connections in all.
    pub connections_max: usize,
    /// RTSP connections from one address.
    pub connections_per_address_max: usize,
    /// For the `Server` header.
    pub server_name: String,
}

impl Default for FanoutConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8554)),
            rtp_ports: [8000, 8001],
            udp: true,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            pin: true,
            segmentation: SegmentationPolicy::Auto,
            connections_max: 16_384,
            connections_per_address_max: 256,
            server_name: format!("slotcast/{}", env!("CARGO_PKG_VERSION")),
        }
    }
}
