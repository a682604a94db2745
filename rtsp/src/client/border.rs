//! What passes between a [`ClientSession`](super::ClientSession) and the edge that carries it.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    headers::transport::{Chosen, LowerTransport},
    message::MessageError,
    sdp::{Announced, SdpError},
    server::RtpInfoEntry,
    status::Status,
};

/// What a client is there for.
#[derive(Clone, Debug)]
pub enum ClientRole {
    /// OPTIONS, DESCRIBE, SETUP of every track, PLAY.
    Watch,
    /// OPTIONS, ANNOUNCE, SETUP of every track, RECORD.
    Publish {
        /// What is announced; its controls are the tracks' addresses.
        sdp: String,
    },
}

/// What a client proves itself with.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCredentials {
    /// User name.
    pub user: String,
    /// Password; never shown.
    pub password: String,
}

/// What clients of one kind share.
#[derive(Clone)]
pub struct ClientConfig {
    /// Watch or publish.
    pub role: ClientRole,
    /// `rtsp://host:port/channel`, with a query where there is one, without user and password.
    pub url: String,
    /// What media is to be carried by; a 461 is the end.
    pub transport: LowerTransport,
    /// Shown only when the server asks.
    pub credentials: Option<ClientCredentials>,
    /// For the `User-Agent` header.
    pub user_agent: String,
    /// How long a response may take. PLAY may wait for a program to start: not below 15 s for a viewer.
    pub response: Duration,
}

impl ClientConfig {
    /// Over TCP, without credentials, 20 s for each response.
    pub fn new(role: ClientRole, url: impl Into<String>) -> Self {
        Self {
            role,
            url: url.into(),
            transport: LowerTransport::Tcp,
            credentials: None,
            user_agent: "slotcast".to_owned(),
            response: Duration::from_secs(20),
        }
    }
}

/// What the session wants of the edge, in the order in which it must be done.
#[derive(Debug)]
pub enum ClientOutput {
    /// Bytes for the server.
    Send(Bytes),
    /// A step is done.
    Event(ClientEvent),
    /// A `$` frame of a track that is set up.
    Frame {
        /// Canonical, whatever the server assigned: track `k` has RTP on `2k` and RTCP on `2k + 1`.
        channel: u8,
        /// What the frame held.
        payload: Bytes,
    },
    /// It did not work. [`Closed`](Self::Closed) follows.
    Failed(Failure),
    /// Close the connection once all that was sent is flushed. Nothing comes after it.
    Closed,
}

/// A step that is done.
#[derive(Debug)]
pub enum ClientEvent {
    /// DESCRIBE was answered.
    Described(Announced),
    /// Every track is set up; PLAY or RECORD is on its way.
    Ready {
        /// In the order of the description.
        tracks: Vec<Chosen>,
    },
    /// PLAY was answered.
    Playing {
        /// Where each track starts, as far as the server says.
        rtp_info: Vec<RtpInfoEntry>,
    },
    /// RECORD was answered: media may be sent.
    Recording,
}

/// Why it did not work.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Failure {
    /// The server said no, e.g. 453 to SETUP.
    Refused {
        /// To which method.
        method: &'static str,
        /// With which status.
        status: Status,
        /// In which words.
        reason: String,
    },
    /// No response in time.
    Late {
        /// To which method.
        method: &'static str,
    },
    /// The server closed the connection.
    Disconnected {
        /// While this was unanswered; `None` while media flowed.
        method: Option<&'static str>,
    },
    /// What came is not RTSP.
    Malformed(MessageError),
    /// A description that cannot be read: the server's, or our own.
    Description(SdpError),
    /// A response that does not fit its request.
    Unexpected {
        /// To which method.
        method: &'static str,
        /// What was expected.
        expected: &'static str,
    },
    /// The caller gave fewer UDP ports than there are tracks.
    PortsMissing,
}
