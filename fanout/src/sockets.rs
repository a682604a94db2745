//! The sockets of a worker by which media leaves.
//!
//! Owns: the wires by their connections' places, and the UDP ports.
//! Not here: listeners and reading, which are the doors'.

use crate::{audience::udp::Udp, ports::Net, wire::Wire};

/// The sockets that media leaves by.
pub(crate) struct Sockets<N: Net> {
    wires: Vec<Option<Wire<N::Stream>>>,
    pub(crate) udp: Option<Udp<N::Datagrams>>,
}

impl<N: Net> Sockets<N> {
    /// No connection yet.
    pub(crate) const fn new(udp: Option<Udp<N::Datagrams>>) -> Self {
        Self { wires: Vec::new(), udp }
    }

    /// The wire of the connection at `place`.
    pub(crate) fn wire(&mut self, place: usize) -> Option<&mut Wire<N::Stream>> {
        self.wires.get_mut(place)?.as_mut()
    }

    /// The socket of the connection at `place`, beside the UDP ports.
    pub(crate) fn beside(&self, place: usize) -> Option<(&N::Stream, &N::Datagrams)> {
        let wire = self.wires.get(place)?.as_ref()?;
        Some((&wire.stream, &self.udp.as_ref()?.ports))
    }

    /// Keeps the socket of a new connection.
    pub(crate) fn insert(&mut self, place: usize, stream: N::Stream) {
        if self.wires.len() <= place {
            self.wires.resize_with(place + 1, || None);
        }
        self.wires[place] = Some(Wire { stream, outbox: Default::default() });
    }

    /// Gives the socket of a connection that is over.
    pub(crate) fn remove(&mut self, place: usize) -> Option<N::Stream> {
        self.wires.get_mut(place)?.take().map(|wire| wire.stream)
    }
}
