//! A broadcaster written by hand: one track of G.711, a packet each 20 ms. No encoder, and any packet is a start.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::dialogue::Dialogue;
use super::players::Lower;
use super::server::{ID, Server};

/// The SSRC of what it sends.
pub const SSRC: u32 = 0x5107_ca57;

const SDP: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=Tone\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n\
                   m=audio 0 RTP/AVP 0\r\na=control:streamid=0\r\n";

/// Sends until it is dropped.
pub struct Feeder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Where the server takes RTP and RTCP by UDP; `None` over TCP.
    pub server_ports: Option<(SocketAddr, SocketAddr)>,
    /// The port from which RTP comes.
    pub client_port: u16,
}

impl Feeder {
    /// Goes on air on this channel with [`ID`].
    #[track_caller]
    pub fn start(server: &Server, channel: &str, lower: Lower) -> Self {
        Self::start_as(server, channel, ID, lower)
    }

    /// Goes on air with this reservation ID.
    #[track_caller]
    pub fn start_as(server: &Server, channel: &str, id: &str, lower: Lower) -> Self {
        Self::start_at(server.links, channel, id, lower)
    }

    /// Goes on air at this address of a link side.
    #[track_caller]
    pub fn start_at(links: SocketAddr, channel: &str, id: &str, lower: Lower) -> Self {
        let url = format!("rtsp://{links}/{channel}?token={id}");
        let track = format!("rtsp://{links}/{channel}/streamid=0?token={id}");
        let mut link = Dialogue::connect(links);
        let content = [("Content-Type", "application/sdp")];
        link.request_with_body("ANNOUNCE", &url, &content, SDP).expect(200);
        let (rtp, rtcp, client_port) = udp_pair();
        let transport = match lower {
            Lower::Tcp => "RTP/AVP/TCP;unicast;interleaved=0-1;mode=record".to_owned(),
            Lower::Udp => {
                format!("RTP/AVP;unicast;client_port={client_port}-{};mode=record", client_port + 1)
            }
        };
        let setup = link.request("SETUP", &track, &[("Transport", &transport)]).expect(200);
        let ports =
            (lower == Lower::Udp).then(|| server_ports(setup.header("Transport").unwrap(), links.ip()));
        link.request("RECORD", &url, &[("Session", &setup.session())]).expect(200);

        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let _rtcp = rtcp; // stays bound: reports of the server come here
            feed(&stopped, |packet| match ports {
                Some((to, _)) => drop(rtp.send_to(packet, to)),
                None => {
                    let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
                    link.send_raw(&[&[b'$', 0, length[0], length[1]], packet].concat());
                }
            });
        });
        Self { stop, thread: Some(thread), server_ports: ports, client_port }
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sends a packet each 20 ms by the clock, for at most ten minutes.
fn feed(stopped: &AtomicBool, mut send: impl FnMut(&[u8])) {
    let start = Instant::now();
    for number in 0..30_000u32 {
        if stopped.load(Ordering::Relaxed) {
            return;
        }
        let mut packet = vec![0x80, 0];
        packet.extend_from_slice(&(number as u16).to_be_bytes());
        packet.extend_from_slice(&(number * 160).to_be_bytes());
        packet.extend_from_slice(&SSRC.to_be_bytes());
        packet.resize(12 + 160, 0xd5);
        send(&packet);
        let next = start + Duration::from_millis(20) * (number + 1);
        while let left @ 1.. = next.saturating_duration_since(Instant::now()).as_micros() {
            thread::park_timeout(Duration::from_micros(u64::try_from(left).unwrap()));
        }
    }
}

/// Two neighbouring UDP ports on all addresses, the first one even.
pub fn udp_pair() -> (UdpSocket, UdpSocket, u16) {
    let start = 26_000 + u16::try_from(std::process::id() % 500).unwrap() * 8;
    let pair = (start..start + 2_000).step_by(2).find_map(|port| {
        let rtp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).ok()?;
        let rtcp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port + 1)).ok()?;
        Some((rtp, rtcp, port))
    });
    pair.expect("a free pair of UDP ports")
}

/// The addresses behind `server_port=A-B` of a Transport header.
#[track_caller]
pub fn server_ports(transport: &str, ip: IpAddr) -> (SocketAddr, SocketAddr) {
    let ports = transport.split(';').find_map(|part| part.trim().strip_prefix("server_port="));
    let (rtp, rtcp) = ports.and_then(|ports| ports.split_once('-')).unwrap_or_else(|| panic!("{transport}"));
    (SocketAddr::new(ip, rtp.parse().unwrap()), SocketAddr::new(ip, rtcp.parse().unwrap()))
}
