//! One response in the making: what is common to all of them, in one order.
//!
//! Invariant: `CSeq` first and as it came; nothing that was given can become a second line (see [`Response`]).

use bytes::Bytes;

use crate::{
    headers::{
        range,
        session::SessionHeader,
        transport::{Chosen, MODE_RECORD, TrackTransport},
    },
    message::{Headers, Response},
    status::Status,
};

use super::{
    config::{Role, ServerConfig},
    session::Session,
};

/// A response; [`ServerConnection::send`](super::ServerConnection) writes it.
#[derive(Debug)]
pub(super) struct Reply {
    status: Status,
    reason: Option<String>,
    cseq: Option<String>,
    headers: Headers,
    body: Bytes,
}

impl Reply {
    pub(super) fn new(status: Status) -> Self {
        Self { status, reason: None, cseq: None, headers: Headers::new(), body: Bytes::new() }
    }

    /// The request's own, as it came.
    pub(super) fn cseq(mut self, cseq: &str) -> Self {
        self.cseq = Some(cseq.to_owned());
        self
    }

    pub(super) fn status(mut self, status: Status) -> Self {
        self.status = status;
        self
    }

    /// In place of the standard's phrase, unless empty.
    pub(super) fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into()).filter(|reason| !reason.trim().is_empty());
        self
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(name, value);
        self
    }

    pub(super) fn headers(mut self, headers: Vec<(String, String)>) -> Self {
        for (name, value) in headers {
            self.headers.push(&name, value);
        }
        self
    }

    pub(super) fn body(mut self, content_type: &str, body: String) -> Self {
        self.headers.push("Content-Type", content_type);
        self.body = body.into();
        self
    }

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

    /// A PLAY response: now, and where each track starts.
    pub(super) fn playing(self, session: &Session, rtp_info: &str, config: &ServerConfig) -> Self {
        let reply = self.session(session, config).header("Range", range::LIVE);
        if rtp_info.is_empty() { reply } else { reply.header("RTP-Info", rtp_info) }
    }

    /// The last response of the connection.
    pub(super) fn closing(self) -> Self {
        self.header("Connection", "close")
    }

    pub(super) fn into_bytes(self, config: &ServerConfig) -> Bytes {
        let mut headers = Headers::new();
        if let Some(cseq) = &self.cseq {
            headers.push("CSeq", cseq);
        }
        headers.push("Server", &config.server_name);
        for (name, value) in self.headers.iter() {
            headers.push(name, value);
        }
        let reason = self.reason.unwrap_or_else(|| self.status.reason().to_owned());
        Response { status: self.status, reason, headers, body: self.body }.to_bytes()
    }
}
