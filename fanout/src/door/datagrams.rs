//! What comes to the worker's UDP ports: hole punching, receiver reports, and the network's answers.

use std::{io, net::SocketAddr, os::fd::AsFd};

use slotcast_core::{address::canonical, time::Now};
use slotcast_net::sys::{self, Undelivered};

use super::{House, RtspDoor};
use crate::{budget::Budget, limits};

impl RtspDoor {
    /// The kernel says that something waits at the RTP or the RTCP port.
    pub(crate) fn datagrams_wait(&mut self, rtcp: bool) {
        self.unread[usize::from(rtcp)] = true;
    }

    /// Reads the ports at which something waits, to the end or to the budget's: what is left is read in the next turn.
    pub(crate) fn read_datagrams(&mut self, house: &mut House, now: Now, budget: &mut Budget) {
        for rtcp in [true, false] {
            while self.unread[usize::from(rtcp)] {
                self.unread[usize::from(rtcp)] = self.read_some(house, rtcp, now);
                if !budget.goes_on() {
                    return;
                }
            }
        }
    }

    /// Returns whether more may wait.
    fn read_some(&mut self, house: &mut House, rtcp: bool, now: Now) -> bool {
        let Some(udp) = &house.sockets.udp else { return false };
        let socket = udp.ports.socket(rtcp);
        let mut is_empty = false;
        let (mut alive, mut undelivered) = (Vec::new(), Vec::new());
        for _ in 0..limits::DATAGRAMS_AT_ONCE {
            match socket.recv_from(&mut self.buffer) {
                Ok((_, from)) => alive.push(canonical(from)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    is_empty = true;
                    break;
                }
                // An ICMP error of an earlier datagram: its address stands in the error queue.
                Err(_) => {}
            }
        }
        let mut errors_left = true;
        for _ in 0..limits::DATAGRAMS_AT_ONCE {
            let Some(Undelivered { to, errno }) = sys::pop_undelivered(socket.as_fd()) else {
                errors_left = false;
                break;
            };
            // A smaller path MTU and the like do not say that nobody is there.
            if matches!(errno, libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH) {
                undelivered.push(canonical(to));
            }
        }
        for from in alive {
            if !self.on_alive(from, now) {
                house.stats.foreign_datagrams.add(1);
            }
        }
        for to in undelivered {
            self.on_undelivered(house, to, now);
        }
        !is_empty || errors_left
    }

    /// A datagram came from `from`; returns whether that is a viewer's port.
    fn on_alive(&mut self, from: SocketAddr, now: Now) -> bool {
        let Some(&(id, _)) = self.ports.get(&from) else { return false };
        if let Some(connection) = self.connections.get_mut(id) {
            connection.rtsp.handle_alive(now.mono);
            connection.unreachable = 0;
        }
        true
    }

    /// The network says that nobody listens at `to`.
    fn on_undelivered(&mut self, house: &mut House, to: SocketAddr, now: Now) {
        let Some(&(id, is_rtp)) = self.ports.get(&to) else { return };
        let Some(connection) = self.connections.get_mut(id) else { return };
        let since = connection.unreachable_at.map(|at| now.mono.saturating_duration_since(at));
        if since.is_some_and(|since| since > limits::UNREACHABLE_FORGOTTEN) {
            connection.unreachable = 0;
        }
        if is_rtp && since.is_none_or(|since| since >= limits::UNREACHABLE_SPACING) {
            connection.unreachable += 1;
            connection.unreachable_at = Some(now.mono);
            if connection.unreachable >= limits::UNREACHABLE_MAX {
                self.lose(house, id, "unreachable");
            }
        }
    }
}
