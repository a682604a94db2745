//! The UDP socket pairs that broadcasters send RTP and RTCP to, one pair per address that is listened on.
//!
//! Owns: the sockets, and which source address belongs to which track of which link.
//! Invariant: a datagram from an address that no link has announced reaches no program. That two links do not announce the
//! same is seen to at SETUP (`slotcast-rtsp`).

use std::{
    collections::BTreeMap,
    io::{self, IoSlice},
    net::{IpAddr, SocketAddr},
    os::fd::AsFd as _,
};

use mio::net::UdpSocket;
use slotcast_core::address::canonical;
use slotcast_net::{
    sockets::bind_udp,
    sys::{self, Destination},
};

use crate::{accept::one_family, antechamber::LinkId, limits};

/// What a known source address sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// Whose it is.
    pub(crate) link: LinkId,
    /// Index of the track.
    pub(crate) track: u8,
}

/// One of the two sockets of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Half {
    /// The lower port, for media.
    Rtp,
    /// The upper port, for reports.
    Rtcp,
}

struct Port {
    socket: UdpSocket,
    /// In order, so that those of one address stand together.
    routes: BTreeMap<SocketAddr, Route>,
}

/// RTP and RTCP sockets on one address.
pub(crate) struct UdpPair {
    address: IpAddr,
    numbers: [u16; 2],
    /// By [`Half`].
    ports: [Port; 2],
}

impl UdpPair {
    /// Binds both on `address`; `[0, 0]` finds two neighbouring free ports, the lower one even (RFC 3550 §11).
    pub(crate) fn bind(address: IpAddr, numbers: [u16; 2]) -> io::Result<Self> {
        if numbers != [0, 0] {
            return Ok(Self::of(address, bind(address, numbers[0])?, bind(address, numbers[1])?, numbers));
        }
        for _ in 0..limits::PORT_TRIES {
            let rtp = bind(address, 0)?;
            let number = rtp.local_addr()?.port();
            if number % 2 != 0 || number == u16::MAX {
                continue;
            }
            if let Ok(rtcp) = bind(address, number + 1) {
                return Ok(Self::of(address, rtp, rtcp, [number, number + 1]));
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "found no two neighbouring free UDP ports"))
    }

    fn of(address: IpAddr, rtp: UdpSocket, rtcp: UdpSocket, numbers: [u16; 2]) -> Self {
        let ports = [rtp, rtcp].map(|socket| Port { socket, routes: BTreeMap::new() });
        Self { address, numbers, ports }
    }

    /// The address that both are bound to.
    pub(crate) const fn address(&self) -> IpAddr {
        self.address
    }

    /// The port numbers of RTP and RTCP.
    pub(crate) const fn numbers(&self) -> [u16; 2] {
        self.numbers
    }

    /// For registering with the poll.
    pub(crate) const fn socket(&mut self, half: Half) -> &mut UdpSocket {
        &mut self.ports[half as usize].socket
    }

    /// Receives one datagram into `buffer`: its length, and whose it is, or where it comes from if that is nobody's.
    pub(crate) fn receive(
        &self,
        half: Half,
        buffer: &mut [u8],
    ) -> io::Result<(usize, Result<Route, SocketAddr>)> {
        let port = &self.ports[half as usize];
        let (length, from) = port.socket.recv_from(buffer)?;
        let from = canonical(from);
        Ok((length, port.routes.get(&from).copied().ok_or(from)))
    }

    /// What the links of `address` send, whatever the ports; nothing for a stranger's.
    pub(crate) fn routes_of(&self, address: IpAddr) -> impl Iterator<Item = &Route> {
        let of_address = SocketAddr::new(address, 0)..=SocketAddr::new(address, u16::MAX);
        self.ports[0].routes.range(of_address).map(|(_, route)| route)
    }

    /// Sends reports to a broadcaster from the RTCP port. Best effort: a lost report is followed by another.
    ///
    /// - `source`: which of the machine's addresses they leave from, where the socket is bound to all of them: the one that
    ///   the broadcaster speaks to, which need not be what routing would pick.
    pub(crate) fn send_reports(&self, source: IpAddr, to: SocketAddr, bytes: &[u8]) {
        let source = self.address.is_unspecified().then_some(source);
        let to = Destination::from(to).leaving_from(source);
        // WouldBlock and ICMP errors change nothing for the link: its media says whether it lives.
        let _ = sys::send_datagrams(self.ports[1].socket.as_fd(), &to, &[IoSlice::new(bytes)], None);
    }

    /// Takes RTP and RTCP from these addresses as `route`, whose link has claimed them.
    pub(crate) fn take_from(&mut self, rtp: SocketAddr, rtcp: SocketAddr, route: Route) {
        self.ports[0].routes.insert(canonical(rtp), route);
        self.ports[1].routes.insert(canonical(rtcp), route);
    }

    /// Forgets all addresses of `link`.
    pub(crate) fn release(&mut self, link: LinkId) {
        for port in &mut self.ports {
            port.routes.retain(|_, route| route.link != link);
        }
    }
}

fn bind(address: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let address = SocketAddr::new(address, port);
    let socket = bind_udp(address, |socket| {
        // The kernel gives what it may (net.core.rmem_max); less is no reason to refuse to start.
        let _ = socket.set_recv_buffer_size(limits::UDP_RECEIVE_BYTES);
        one_family(socket, address)
    })?;
    Ok(UdpSocket::from_std(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_an_address_belongs_to_the_link_that_announced_it() {
        let local = IpAddr::from([127, 0, 0, 1]);
        let mut pair = UdpPair::bind(local, [0, 0]).unwrap();
        let [rtp, rtcp] = pair.numbers();
        assert_eq!((rtp % 2, rtcp), (0, rtp + 1));
        let (first, second) = (LinkId::for_tests(1), LinkId::for_tests(2));
        let route = |link| Route { link, track: 0 };
        let peer = |port| SocketAddr::new(local, port);
        pair.take_from(peer(5000), peer(5001), route(first));
        pair.take_from(peer(5002), peer(5003), route(second));
        assert!(pair.routes_of(local).eq([&route(first), &route(second)]));
        pair.release(first);
        assert!(pair.routes_of(local).eq([&route(second)]));
    }
}
