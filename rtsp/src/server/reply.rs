//! What several responses of the server have in common.

use crate::{
    headers::{
        session::SessionHeader,
        transport::{Chosen, MODE_RECORD, TrackTransport},
    },
    message::Response,
};

use super::{
    config::{Role, ServerConfig},
    session::Session,
};

impl Response {
    /// With the `Session` header: no spaces, the advertised timeout.
    pub(super) fn session(self, session: &Session, config: &ServerConfig) -> Self {
        let value = SessionHeader { id: session.id.clone(), timeout: Some(config.liveness_advertised) };
        self.header("Session", &value.to_string())
    }

    /// A SETUP response: exactly one transport.
    pub(super) fn set_up(self, transport: TrackTransport, session: &Session, config: &ServerConfig) -> Self {
        let mode = match config.role {
            Role::Viewer => "",
            Role::Broadcaster => MODE_RECORD,
        };
        // UDP is only taken where it is on, so there are ports.
        let is_udp = matches!(transport, TrackTransport::Udp { .. });
        let chosen = Chosen { transport, server: config.udp.filter(|_| is_udp) };
        self.header("Transport", &format!("{chosen}{mode}")).session(session, config)
    }

    /// The last response of the connection.
    pub(super) fn closing(self) -> Self {
        self.header("Connection", "close")
    }
}
