//! PLAY: where media starts, what is said of it, and its beginning.

use std::time::Instant;

use slotcast_admission::{Reason, Refusal};
use slotcast_core::{
    log::{ChannelLog, Position},
    rtcp,
    table::Key as Id,
    time::Now,
};
use slotcast_rtsp::server::{Answer, RtpInfoEntry};

use super::{House, Parked, RtspDoor, connection::Connection, requests::refusal};
use crate::{audience::Ways, budget::Budget, hall::Hall, limits, viewer::Key};

/// What PLAY waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    /// A key frame, and a packet of every track that was set up.
    AllTracks,
    /// A key frame: tracks that have sent nothing so far may never do.
    KeyFrame,
    /// Nothing any more: whatever is known must do.
    Nothing,
}

impl RtspDoor {
    pub(super) fn play(&mut self, house: &House, id: Id, now: Now) -> Option<Answer> {
        let connection = self.connections.get_mut(id)?;
        let key = connection.viewer?;
        let viewer = house.viewer(key)?;
        if viewer.farewell.is_some() {
            // The goodbye, which is on its way, answers it.
            return None;
        }
        let Some(hall) = house.hall(viewer.program).filter(|hall| !hall.is_over(now)) else {
            let reason = viewer.seat.gate().cut().map_or(Reason::ProgramEnded, Reason::from);
            return Some(refusal(&Refusal::close(reason)));
        };
        if connection.plays {
            return next_of(house, hall, key, connection, now.mono).map(|rtp_info| Answer::Play { rtp_info });
        }
        let awaits = if hall.is_settled(now.mono) { Awaits::KeyFrame } else { Awaits::AllTracks };
        match start_of(&hall.log, connection, now.mono, awaits) {
            Some((start, rtp_info)) => {
                connection.start = start;
                Some(Answer::Play { rtp_info })
            }
            None => {
                let until = now.mono + limits::PARK_TIME_MAX;
                self.parked.push_back(Parked { connection: id, program: viewer.program, until });
                None
            }
        }
    }

    /// Answers the PLAY requests that waited for a stream's first packets, if these have come or will not.
    pub(crate) fn look_at_parked(&mut self, house: &mut House, now: Now, budget: &mut Budget) {
        self.parked_left = false;
        for place in 1..=self.parked.len() {
            let Some(parked) = self.parked.pop_front() else { return };
            let id = parked.connection;
            self.guarded(house, id, |door, house| match door.unpark(house, &parked, now) {
                Some(Some(answer)) => door.answer(house, id, answer, now),
                Some(None) => door.parked.push_back(parked),
                None => {}
            });
            if !budget.goes_on() {
                self.parked_left = place < self.parked.len();
                return;
            }
        }
    }

    /// The answer to a PLAY that waited; `Some(None)`: it waits on, `None`: its session or its program is over, and it is
    /// told so with all others.
    fn unpark(&mut self, house: &House, parked: &Parked, now: Now) -> Option<Option<Answer>> {
        let connection = self.connections.get_mut(parked.connection)?;
        let hall = house.hall(parked.program).filter(|hall| !hall.is_over(now))?;
        let awaits = match () {
            () if parked.until <= now.mono => Awaits::Nothing,
            () if hall.is_settled(now.mono) => Awaits::KeyFrame,
            () => Awaits::AllTracks,
        };
        Some(start_of(&hall.log, connection, now.mono, awaits).map(|(start, rtp_info)| {
            connection.start = start;
            Answer::Play { rtp_info }
        }))
    }

    /// Tells a viewer who is about to get its first packets what time they stand for: with the reports at hand, players
    /// put all tracks on one time from the beginning and need not move them later.
    pub(super) fn report_times(&mut self, house: &mut House, id: Id) {
        let Some(connection) = self.connections.get(id) else { return };
        let Some(viewer) = connection.viewer.and_then(|key| house.viewer(key)) else { return };
        let Some(hall) = house.hall(viewer.program) else { return };
        let mut reports = Vec::new();
        for (track, transport) in connection.tracks() {
            let Some(info) = hall.log.last_report(track) else { continue };
            reports.push((transport, rtcp::sender_report(info)));
        }
        for (transport, report) in reports {
            connection.send_rtcp(house, id, transport, &report);
        }
    }

    /// The PLAY response is out: media may follow.
    pub(super) fn start_media(&mut self, house: &mut House, id: Id, now: Now) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Some(key) = connection.viewer else { return };
        let Some(viewer) = house.viewer(key).filter(|viewer| viewer.farewell.is_none()) else { return };
        let stream = house.hall(viewer.program).and_then(|hall| hall.log.stream());
        let way = connection.way(id.place(), stream.map_or(0, |stream| stream.tracks.len()));
        connection.opening = house.enter(key, way, connection.start, now.mono);
        connection.plays = connection.opening.is_some();
        connection.ports = Vec::new();
        for (place, port) in connection.udp_ports().into_iter().enumerate().filter(|(_, port)| *port != 0) {
            let address = connection.at(port);
            self.ports.insert(address, (id, place.is_multiple_of(2)));
            connection.ports.push(address);
        }
    }
}

/// Where PLAY starts and what RTP-Info says of it; `None` while what it waits for has not come.
fn start_of(
    log: &ChannelLog,
    connection: &Connection,
    now: Instant,
    awaits: Awaits,
) -> Option<(Position, Vec<RtpInfoEntry>)> {
    let start = log.join_point().or_else(|| (awaits == Awaits::Nothing).then(|| log.head()))?;
    let session = connection.rtsp.session()?;
    let mut entries = Vec::with_capacity(session.tracks().len());
    for setup in session.tracks() {
        let entry = entry(log, setup.track, Some(start), now);
        if entry.seq.is_none() && awaits == Awaits::AllTracks {
            return None;
        }
        entries.push(entry);
    }
    Some((start, entries))
}

/// What RTP-Info says to a viewer who plays already: the packet of each track that it is sent next. Of a viewer who waits
/// for a key frame nobody knows.
fn next_of(
    house: &House,
    hall: &Hall<Ways>,
    key: Key,
    connection: &Connection,
    now: Instant,
) -> Option<Vec<RtpInfoEntry>> {
    let log = &hall.log;
    let next = |track| {
        let cursor = house.next_of(key, track)?;
        // Who was overtaken by the log's end goes on at the newest key frame.
        let is_kept = log.oldest().is_none_or(|oldest| oldest.index() <= cursor.chunk);
        if is_kept { Some(cursor) } else { log.join_point() }
    };
    let tracks = connection.rtsp.session()?.tracks();
    Some(tracks.iter().map(|setup| entry(log, setup.track, next(setup.track), now)).collect())
}

fn entry(log: &ChannelLog, track: u8, from: Option<Position>, now: Instant) -> RtpInfoEntry {
    let info = from.and_then(|from| log.rtp_info(from, track, now));
    RtpInfoEntry {
        track,
        seq: info.map(|(sequence_number, _)| sequence_number.0),
        rtptime: info.map(|(_, timestamp)| timestamp.0),
    }
}
