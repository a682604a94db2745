//! Taking connections in: a bounded number a turn, a bounded number of an address, one seed each.

use std::{io, net::SocketAddr, sync::Arc};

use mio::{Interest, net::TcpStream};
use slotcast_admission::Reason;
use slotcast_core::{address::canonical, time::Now};
use slotcast_net::sockets::is_exhausted;
use slotcast_rtsp::server::ServerConnection;

use super::{House, RtspDoor, connection::Connection};
use crate::{budget::Budget, limits};

impl RtspDoor {
    /// Takes no new connections from now on.
    pub(crate) fn stop_listening(&mut self) {
        if let Some(mut listener) = self.listener.take() {
            let _ = self.registry.deregister(&mut listener);
        }
    }

    /// Somebody waits to be accepted.
    pub(crate) fn somebody_knocks(&mut self, now: Now) {
        self.accept_again_at = Some(now.mono);
    }

    /// Accepts those who wait, if it is time to.
    pub(crate) fn accept(&mut self, house: &mut House, now: Now, budget: &mut Budget) {
        if self.accept_again_at.take_if(|at| *at <= now.mono).is_none() {
            return;
        }
        for _ in 0..limits::ACCEPTS_PER_TURN_MAX {
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok((stream, from)) => self.open(house, stream, canonical(from), now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_exhausted(&error) => {
                    if self.reserve.turn_one_away(now.mono, || listener.accept()) {
                        tracing::warn!(%error, "a viewer is turned away; raise the limit of open files (ulimit -n)");
                    }
                    self.accept_again_at = Some(now.mono + limits::TICK);
                    return;
                }
                // That connection was gone before it was accepted.
                Err(_) => {}
            }
            if !budget.goes_on() {
                break;
            }
        }
        self.accept_again_at = Some(now.mono);
    }

    fn open(&mut self, house: &mut House, mut stream: TcpStream, peer: SocketAddr, now: Now) {
        let line = match self.shared.lines.open(peer.ip()) {
            Ok(line) => line,
            Err(reason) => {
                let of_address = reason == Reason::LinesPerAddress;
                let reason = if of_address { Reason::ViewersPerAddress } else { reason };
                house.shared.stats.decided("refused", reason.label());
                // At debug level: a crowd of strangers must not fill the log.
                tracing::debug!(peer = %peer.ip(), reason = reason.label(), "viewer refused");
                return;
            }
        };
        let mut seed = [0; 32];
        if getrandom::fill(&mut seed).is_err() {
            tracing::error!("no random numbers from the kernel: a viewer is turned away");
            return;
        }
        let _ = stream.set_nodelay(true);
        let keepalive =
            socket2::TcpKeepalive::new().with_time(limits::PROBE_AFTER).with_interval(limits::PROBE_EVERY);
        let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        let _ = socket2::SockRef::from(&stream).set_send_buffer_size(limits::SEND_BUFFER_BYTES);
        let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(limits::UNSENT_BYTES_MAX);
        let rtsp = ServerConnection::new(Arc::clone(&self.rtsp), seed, now.mono).for_peer(peer);
        let id = self.connections.insert(Connection::new(peer, rtsp, line));
        let both = Interest::READABLE | Interest::WRITABLE;
        if self.registry.register(&mut stream, Self::token(id.place()), both).is_err() {
            self.connections.remove(id);
            return;
        }
        house.sockets.insert(id.place(), stream);
    }
}
