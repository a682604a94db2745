//! Which UDP ports of a viewer's address are free: the edge knows, since the address may have other sessions.

/// What the edge knows of the ports at one connection's address.
pub trait ClientPorts: Send + Sync {
    /// Takes both ports for the track that is being set up; `None` where another session has one of them.
    fn claim(&self, rtp: u16, rtcp: u16) -> Option<PortClaim>;
}

/// Ports that a track has; dropping it gives them back.
pub type PortClaim = Box<dyn Send + Sync>;
