//! Media and reports that come over UDP.

use std::{io, net::SocketAddr};

use slotcast_core::{rtp, time::Now};

use crate::{
    limits,
    rtsp::udp::{Half, Route},
    side::{LinkSide, Work},
};

impl LinkSide {
    /// Receives what a socket has, within the turn's budget.
    pub(crate) fn on_datagrams(&mut self, pair: usize, half: Half, now: Now) {
        // Taken out for the time, so that a datagram in it can be handed to the desk.
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

    /// Nobody announced `from`. If a link did announce its address, the ports may have been changed on the way, as long as
    /// nothing comes from those that it announced. Not taken all the same: anybody behind the same translator could send it.
    fn on_foreign(&mut self, pair: usize, half: Half, from: SocketAddr) {
        self.stats.foreign_datagrams.add(1);
        let Some(pair) = self.pairs.get(pair).filter(|_| half == Half::Rtp) else { return };
        for route in pair.routes_of(from.ip()) {
            let link = self.links.get_mut(route.link).and_then(Option::as_mut);
            let Some(admitted) = link.and_then(|link| link.admitted_mut()) else { continue };
            let silent = admitted.recording.as_mut().filter(|recording| recording.arrival.is_none());
            let Some(recording) = silent else { continue };
            self.stats.count_wrong_port(admitted.pass.program());
            recording.wrong_port.get_or_insert_with(|| from.port());
        }
    }

    fn on_datagram(&mut self, route: Route, half: Half, datagram: &[u8], now: Now) {
        let link = self.links.get_mut(route.link).and_then(Option::as_mut);
        let Some(admitted) = link.and_then(|link| link.admitted_mut()) else { return };
        // RTCP has a port of its own; some send it to the other one. A marker and a payload type that was announced may
        // look the same (RFC 5761 §4).
        let track = admitted.offer.tracks.get(usize::from(route.track));
        let is_announced = || {
            let payload_type = datagram.get(1).map(|byte| byte & 0x7f);
            track.zip(payload_type).is_some_and(|(track, of)| track.payload_types.contains(&of))
        };
        let is_rtcp = half == Half::Rtcp || rtp::looks_like_rtcp(datagram) && !is_announced();
        if let Err(reason) = admitted.take(&mut self.desk, now, (route.track, is_rtcp), datagram) {
            self.ending.push((route.link, reason));
        }
    }
}
