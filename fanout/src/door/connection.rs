//! One RTSP connection at the door.
//!
//! Owns: the session machine, and what the door knows of the viewer it may have become.
//! Not here: the socket and what waits for it (`wire`), the viewer's seat (`viewer`).
//! Invariant: dropping a connection gives its place among its address's connections back.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use slotcast_admission::Line;
use slotcast_core::{log::Position, media::TRACKS_MAX, table::Key as Id, words::ProgramId};
use slotcast_net::sys::Destination;
use slotcast_rtsp::server::{ServerConnection, TrackTransport};

use super::House;
use crate::{
    audience::{
        Way,
        tcp::Numbering,
        udp::{ViewerPorts, port_index},
    },
    hall::Opening,
    viewer::{Farewell, Key},
};

/// One accepted connection.
pub(crate) struct Connection {
    /// Where it comes from. Media goes to this address only, at the ports that the viewer names.
    pub(crate) peer: SocketAddr,
    pub(crate) rtsp: ServerConnection,
    /// The viewer who holds a seat by it.
    pub(crate) viewer: Option<Key>,
    /// The program that it was let into: it need not show the password again.
    pub(crate) admitted: Option<ProgramId>,
    /// Which address media has to leave from by name.
    pub(crate) leaves_from: Option<IpAddr>,
    /// Where PLAY said that media starts.
    pub(crate) start: Position,
    /// While media flows: the UDP ports that it is known by.
    pub(crate) ports: Vec<SocketAddr>,
    /// Whether media flows.
    pub(crate) plays: bool,
    /// The opening whose media it was sent last.
    pub(crate) opening: Option<Opening>,
    /// "Unreachable" answers of the network, and when the last one counted.
    pub(crate) unreachable: u8,
    pub(crate) unreachable_at: Option<Instant>,
    /// Set once nothing more is read: when it is closed even if the peer has not taken all.
    pub(crate) closing: Option<Instant>,
    /// Whether the peer has ended its side: it is taken out as soon as all is said.
    pub(crate) peer_is_done: bool,
    /// Whether it stands in the queue of connections to be read.
    pub(crate) is_ready: bool,
    /// Whether it stands in the queue of connections to be taken out.
    pub(crate) is_dead: bool,
    /// What it was told at the end; kept until it is closed.
    pub(crate) farewell: Option<Arc<Farewell>>,
    /// Its place among the connections of its address.
    pub(crate) _line: Line,
}

impl Connection {
    pub(crate) fn new(peer: SocketAddr, rtsp: ServerConnection, line: Line) -> Self {
        Self {
            peer,
            rtsp,
            viewer: None,
            admitted: None,
            leaves_from: None,
            start: Position::at_chunk(0),
            ports: Vec::new(),
            plays: false,
            opening: None,
            unreachable: 0,
            unreachable_at: None,
            closing: None,
            peer_is_done: false,
            is_ready: false,
            is_dead: false,
            farewell: None,
            _line: line,
        }
    }

    /// Where datagrams to one of its ports go. A link-local address keeps its scope, without which it means nothing.
    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        let mut address = self.peer;
        address.set_port(port);
        address
    }

    /// The same for sending.
    pub(crate) fn destination(&self, port: u16) -> Destination {
        Destination::from(self.at(port)).leaving_from(self.leaves_from)
    }

    /// The tracks that it set up, and how each is sent.
    pub(crate) fn tracks(&self) -> impl Iterator<Item = (u8, TrackTransport)> {
        let tracks = self.rtsp.session().map_or(&[][..], |session| session.tracks());
        tracks.iter().map(|setup| (setup.track, setup.transport))
    }

    /// Sends one RTCP packet of a track that is no part of the stream. Lost if the socket or the outbox is full.
    pub(crate) fn send_rtcp(&self, house: &mut House, id: Id, transport: TrackTransport, packet: &[u8]) {
        match transport {
            TrackTransport::Udp { client_rtcp, .. } => {
                if let Some(udp) = &mut house.sockets.udp {
                    udp.send_rtcp(&self.destination(client_rtcp), packet, &house.stats);
                }
            }
            TrackTransport::Tcp { rtcp, .. } => {
                // RFC 2326 §10.12.
                let [high, low] = (packet.len() as u16).to_be_bytes();
                if let Some(outbox) = house.outbox(id.place()) {
                    outbox.push_control(&[&[b'$', rtcp, high, low], packet].concat());
                }
            }
        }
    }

    /// The UDP ports of its session, by [`port_index`].
    pub(crate) fn udp_ports(&self) -> ViewerPorts {
        let mut ports = [0; 2 * TRACKS_MAX];
        for (track, transport) in self.tracks() {
            if let TrackTransport::Udp { client_rtp, client_rtcp } = transport
                && usize::from(track) < TRACKS_MAX
            {
                ports[port_index(track, false)] = client_rtp;
                ports[port_index(track, true)] = client_rtcp;
            }
        }
        ports
    }

    /// How media reaches its viewer.
    ///
    /// - `place`: of its wire.
    /// - `tracks`: of the stream.
    pub(crate) fn way(&self, place: usize, tracks: usize) -> Way {
        let ports = self.udp_ports();
        if ports.iter().any(|&port| port != 0) {
            return Way::Udp(self.destination(0), ports);
        }
        let mut numbering = Numbering([None; TRACKS_MAX]);
        for (track, transport) in self.tracks() {
            if let (TrackTransport::Tcp { rtp, rtcp }, Some(channels)) =
                (transport, numbering.0.get_mut(usize::from(track)))
            {
                *channels = Some((rtp, rtcp));
            }
        }
        Way::Tcp(place, (!numbering.is_canonical(tracks)).then_some(numbering))
    }
}
