//! A worker's pair of UDP ports: its own, so that what viewers send back comes home by itself.
//!
//! Owns: binding them, which address media leaves from, and handing datagrams to the kernel.
//! Not here: who is sent what (`audience::udp`).

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsFd,
};

use mio::net::{TcpStream, UdpSocket};
use slotcast_core::address::canonical;
use slotcast_net::{
    sockets::bind_udp,
    sys::{self, Outgoing},
};

use crate::limits;

/// What sends bytes: the kernel, or a test's memory.
pub(crate) trait Net {
    /// A connection.
    type Stream: Write;
    /// A pair of UDP ports.
    type Datagrams: Datagrams;
}

/// What takes datagrams.
pub(crate) trait Datagrams {
    /// Offers `messages`, at most [`sys::RUNS_MAX`], from the RTP or the RTCP port with one call.
    ///
    /// Returns how many were taken, at least one.
    ///
    /// # Errors
    /// Of the first; `WouldBlock`: wait for room.
    fn send(&mut self, rtcp: bool, messages: &[Outgoing<'_>]) -> io::Result<usize>;
}

/// The sockets of RTP and RTCP.
pub(crate) struct UdpPorts {
    pub(crate) rtp: UdpSocket,
    pub(crate) rtcp: UdpSocket,
    /// Whether they take what comes to any address of the machine, and leave it to routing which one theirs is.
    at_all_addresses: bool,
}

impl UdpPorts {
    /// Binds both.
    pub(crate) fn bind(addresses: [SocketAddr; 2]) -> io::Result<Self> {
        let [rtp, rtcp] = [bind(addresses[0])?, bind(addresses[1])?];
        Ok(Self { rtp, rtcp, at_all_addresses: addresses[0].ip().is_unspecified() })
    }

    /// Whether this kernel can segment.
    pub(crate) fn can_segment(&self) -> bool {
        sys::can_segment(self.rtp.as_fd())
    }

    /// Which address media has to leave from by name to a viewer: the one that its `control` connection came to, where
    /// routing would pick another. Players, and translators of addresses before them, take nothing from elsewhere.
    ///
    /// `None`: it leaves from there by itself. Cost: a few system calls, so once per viewer.
    pub(crate) fn leaves_from(&self, control: &TcpStream) -> Option<IpAddr> {
        if !self.at_all_addresses {
            return None;
        }
        let spoken_to = canonical(control.local_addr().ok()?).ip();
        let picked = picked_source(canonical(control.peer_addr().ok()?));
        (picked.ok() != Some(spoken_to)).then_some(spoken_to)
    }

    /// One of the two.
    pub(crate) const fn socket(&self, rtcp: bool) -> &UdpSocket {
        if rtcp { &self.rtcp } else { &self.rtp }
    }
}

impl Datagrams for UdpPorts {
    fn send(&mut self, rtcp: bool, messages: &[Outgoing<'_>]) -> io::Result<usize> {
        let socket = self.socket(rtcp).as_fd();
        match messages {
            [one] => sys::send_datagrams(socket, &one.to, one.parts, one.segment_bytes).map(|()| 1),
            many => sys::send_runs(socket, many),
        }
    }
}

/// The address that routing picks for datagrams to `to`. Nothing is sent.
fn picked_source(to: SocketAddr) -> io::Result<IpAddr> {
    let any = match to {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = std::net::UdpSocket::bind((any, 0))?;
    socket.connect(to)?;
    Ok(socket.local_addr()?.ip())
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = bind_udp(address, |socket| {
        // The kernel gives what it allows; less is no error.
        let _ = socket.set_send_buffer_size(limits::UDP_BUFFER_BYTES);
        let _ = socket.set_recv_buffer_size(limits::UDP_BUFFER_BYTES);
        sys::queue_errors(socket.as_fd(), address.is_ipv6())
    })?;
    Ok(UdpSocket::from_std(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_to_leave_from_is_named_only_where_routing_would_pick_another() {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let ports = UdpPorts::bind([any, any]).unwrap();
        let local = UdpPorts::bind([SocketAddr::from(([127, 0, 0, 1], 0)); 2]).unwrap();
        let listener = std::net::TcpListener::bind(any).unwrap();
        let leaves_from = |ports: &UdpPorts, spoken_to: [u8; 4]| {
            let to = (IpAddr::from(spoken_to), listener.local_addr().unwrap().port());
            let _viewer = std::net::TcpStream::connect(to).unwrap();
            let (control, _) = listener.accept().unwrap();
            ports.leaves_from(&TcpStream::from_std(control))
        };
        assert_eq!(leaves_from(&ports, [127, 0, 0, 1]), None);
        assert_eq!(leaves_from(&ports, [127, 0, 0, 2]), Some(IpAddr::from([127, 0, 0, 2])));
        assert_eq!(leaves_from(&local, [127, 0, 0, 2]), None);
    }
}
