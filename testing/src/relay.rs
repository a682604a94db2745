//! A relay that stands between a viewer and the server like a firewall that lets RTSP pass and eats UDP.
//!
//! It writes a port pair of its own over the viewer's `client_port`, so that the server's RTP arrives here and nowhere
//! else. The replacement has the same number of digits: no length changes.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

/// A listening relay; its threads end with the connections, its sockets with the test's process.
pub struct Relay {
    /// Where the viewer connects.
    pub address: SocketAddr,
}

impl Relay {
    /// Starts to listen, towards this server.
    pub fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let pit = Pit::dig();
            for viewer in listener.incoming().take(16) {
                let (Ok(viewer), Ok(server)) = (viewer, TcpStream::connect(server)) else { return };
                let (viewer_too, server_too) = (viewer.try_clone().unwrap(), server.try_clone().unwrap());
                let mut ports = pit.rtp_ports.clone().into_iter().cycle();
                thread::spawn(move || pass(viewer, server, |bytes| divert(bytes, &mut ports)));
                thread::spawn(move || pass(server_too, viewer_too, |_| {}));
            }
        });
        Self { address }
    }
}

/// Even UDP ports and their neighbours, bound and never read: a pair for each track.
struct Pit {
    rtp_ports: Vec<u16>,
    _sockets: Vec<[UdpSocket; 2]>,
}

impl Pit {
    fn dig() -> Self {
        let pairs = (20_000..60_000u16).step_by(2).filter_map(|port| {
            let rtp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).ok()?;
            let rtcp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port + 1)).ok()?;
            Some((port, [rtp, rtcp]))
        });
        let (rtp_ports, sockets) = pairs.take(4).unzip();
        Self { rtp_ports, _sockets: sockets }
    }
}

/// Copies one direction until it ends, after `edit` has seen each piece.
fn pass(mut from: TcpStream, mut to: TcpStream, mut edit: impl FnMut(&mut Vec<u8>)) {
    let mut bytes = vec![0; 65_536];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let mut piece = bytes[..count].to_vec();
        edit(&mut piece);
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}

/// Replaces `client_port=AAAAA-BBBBB` in a request. Players choose five digits; anything else is left as it is.
fn divert(bytes: &mut [u8], rtp_ports: &mut impl Iterator<Item = u16>) {
    let key = b"client_port=";
    let Some(start) = bytes.windows(key.len()).position(|window| window == key) else { return };
    let Some(rtp_port) = rtp_ports.next() else { return };
    let pair = format!("{rtp_port}-{}", rtp_port + 1);
    let place = bytes[start + key.len()..].get_mut(..pair.len());
    if let Some(place) = place.filter(|place| place.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-'))
    {
        place.copy_from_slice(pair.as_bytes());
    }
}
