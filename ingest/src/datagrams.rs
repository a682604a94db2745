//! Media and reports that come over UDP.

use std::{io, net::SocketAddr};

use slotcast_core::{rtp, time::Now};

use crate::{
    closing::Closing,
    limits,
    source::Fate,
    thread::{Thread, Work},
    udp::{Half, Route},
};

impl Thread {
    /// Receives what a socket has, within the turn's budget.
    pub(crate) fn on_datagrams(&mut self, pair: usize, half: Half, now: Now) {
        // Taken out for the time, so that a datagram in it can be handed to a source.
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut left = limits::DATAGRAMS_PER_TURN;
        while left > 0 {
            left -= 1;
            let Some(sockets) = self.pairs.get_mut(pair) else { break };
            match sockets.receive(half, &mut buffer) {
                Ok((length, Ok(route))) => {
                    let datagram = buffer.get(..length).unwrap_or_default();
                    self.on_datagram(route, half, datagram, now);
                }
                Ok((_, Err(from))) => self.on_foreign(pair, half, from),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An ICMP answer to a report: the broadcaster's media says whether it lives.
                Err(_) => {}
            }
        }
        self.buffer = buffer;
        if left == 0 {
            self.work.push(Work::Datagrams(pair, half));
        }
    }

    /// Nobody announced `from`. If a link did announce its address, the ports may have been changed on the way.
    fn on_foreign(&mut self, pair: usize, half: Half, from: SocketAddr) {
        self.stats.foreign_datagrams.add(1);
        let routes = self.pairs.get(pair).map_or(&[][..], |pair| pair.routes_of(from.ip()));
        for route in routes.iter().filter(|_| half == Half::Rtp) {
            if let Some(source) = self.sources.get_mut(&route.program) {
                source.on_wrong_port(from);
            }
        }
    }

    fn on_datagram(&mut self, route: Route, half: Half, datagram: &[u8], now: Now) {
        self.touch(route.program);
        let Some(source) = self.sources.get_mut(&route.program) else { return };
        // RTCP has a port of its own; some send it to the other one. A marker and a payload type that was announced may
        // look the same (RFC 5761 §4).
        let is_rtcp = rtp::looks_like_rtcp(datagram) && !source.has_payload_type_of(route.track, datagram);
        if half == Half::Rtcp || is_rtcp {
            source.on_rtcp(now, route.track, datagram);
        } else if let Fate::Close(reason) = source.on_rtp(now, route.track, datagram, &self.feeds) {
            self.ending.push((route.link, Closing::Because(reason)));
        }
    }
}
