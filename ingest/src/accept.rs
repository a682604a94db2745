//! The access ports: listening, accepting into the antechamber with the gate's deadline, and what happens when descriptors run
//! out.
//!
//! Invariant: where descriptors run out, a connection is closed rather than left in the kernel's queue, and accepting pauses.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
};

use mio::{Interest, net::TcpStream};
use slotcast_admission::Reason;
use slotcast_core::time::Now;
use slotcast_net::sockets::is_exhausted;
use slotcast_rtsp::server::ServerConnection;
use socket2::Socket;

use crate::{
    limits,
    rtsp::Link,
    side::{LinkSide, Work},
};

/// An IPv6 address takes IPv6 only: both families are listed where both are wanted.
pub(crate) fn one_family(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv6() { socket.set_only_v6(true) } else { Ok(()) }
}

impl LinkSide {
    /// Accepts what a listener has, within the turn's budget.
    pub(crate) fn on_accept(&mut self, port: usize, now: Now) {
        for _ in 0..limits::ACCEPTS_PER_TURN {
            let Some(at) = self.ports.get_mut(port) else { return };
            at.retry_at = None;
            match at.listener.accept() {
                Ok((stream, peer)) => self.welcome(port, stream, peer, now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if is_exhausted(&error) => {
                    at.retry_at = Some(now.mono + limits::ACCEPT_PAUSE);
                    if self.reserve.turn_one_away(now.mono, || at.listener.accept()) {
                        tracing::warn!(
                            fault = "operator",
                            "descriptors have run out: accepting broadcasters pauses"
                        );
                    }
                    return self.on_exhausted();
                }
                // That one is gone already; there may be more.
                Err(_) => {}
            }
        }
        self.work.push(Work::Accept(port));
    }

    /// Descriptors have run out: the least promising unproven connection gives its own back.
    fn on_exhausted(&mut self) {
        self.stats.accept_pauses.add(1);
        if let Some(id) = self.antechamber.give_up_one() {
            self.ending.push((id, Reason::LinkDisplaced));
        }
    }

    fn welcome(&mut self, port: usize, stream: TcpStream, peer: SocketAddr, now: Now) {
        let Some(at) = self.ports.get(port) else { return };
        let mut seed = [0; 32];
        if getrandom::fill(&mut seed).is_err() {
            tracing::error!(fault = "operator", "the system gives no random numbers: connection dropped");
            return;
        }
        self.stats.accepted.add(1);
        // An answer or a report that waits for more bytes would only come late; without it the link works all the same.
        let _ = stream.set_nodelay(true);
        let connection = ServerConnection::new(at.rtsp.clone(), seed, now.mono).for_peer(peer);
        let deadline = now.mono + self.config.gate_deadline;
        let mut link = Box::new(Link::new(stream, peer, at.pair, connection, deadline));
        let id = self.links.insert(None);
        let token = Work::Link(id.place()).token();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(link.socket(), token, interest) {
            tracing::warn!(%error, fault = "operator", "a connection could not be watched: dropped");
            self.links.remove(id);
            return;
        }
        self.put(id, link);
        if let Some(leaves) = self.antechamber.enter(id, peer.ip()) {
            self.end_link(leaves, Reason::LinkDisplaced, now);
        }
        self.show_counts();
    }
}
