//! What passes between a [`ServerConnection`](super::ServerConnection) and the edge that carries it.
//!
//! Owns: questions, answers, events and reasons. Not here: what is done with them (`connection`).

use std::sync::Arc;

use bytes::Bytes;
use slotcast_auth::Credentials;
use slotcast_core::media::Stream;

use crate::{headers::transport::LowerTransport, sdp::Announced, status::Status, url::Target};

/// What the connection wants of the edge, in the order in which it must be done.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "questions are rare, and taken apart at once by whoever gets them"
)]
pub enum Output {
    /// Bytes for the peer.
    Send(Bytes),
    /// A question: no further request is taken until [`handle_answer`](super::ServerConnection::handle_answer).
    Ask(Ask),
    /// Something happened to the session.
    Event(Event),
    /// A `$` frame of the session while it plays or records; others are ignored.
    Frame {
        /// Canonical, whatever the client asked for: track `k` has RTP on `2k` and RTCP on `2k + 1`.
        channel: u8,
        /// What the frame held, without its four bytes of header.
        payload: Bytes,
    },
    /// Close once all that was sent is flushed. Nothing comes after it.
    Close(CloseReason),
}

/// What only the edge can answer.
#[derive(Debug)]
pub enum Ask {
    /// May this peer see the description? [`Answer::Describe`].
    Describe {
        /// What it wants to see.
        target: Target,
        /// What it proves itself with.
        credentials: Credentials,
    },
    /// May this peer send? [`Answer::Announce`].
    Announce {
        /// Where to.
        target: Target,
        /// What it proves itself with.
        credentials: Credentials,
        /// What it is going to send.
        announced: Announced,
    },
    /// The first SETUP of a session: take the seat, or the line. [`Answer::Setup`]. Whatever becomes of it,
    /// [`Event::SessionEnded`] says when to give it back.
    Setup {
        /// What it wants to set up.
        target: Target,
        /// What it proves itself with.
        credentials: Credentials,
        /// What the session will use.
        lower: LowerTransport,
    },
    /// Where does the channel start for this viewer, or go on, if it plays already? The answer may take its time.
    /// [`Answer::Play`].
    Play,
    /// May the media come? [`Answer::Record`].
    Record,
}

/// The edge's word on an [`Ask`]. [`Challenge`](Self::Challenge) and [`Refuse`](Self::Refuse) answer any of them.
#[derive(Debug)]
pub enum Answer {
    /// Yes: this is what is on.
    Describe(Arc<Stream>),
    /// Yes.
    Announce {
        /// Further headers of the response, name and value.
        headers: Vec<(String, String)>,
    },
    /// Yes: the seat is taken.
    Setup {
        /// How many tracks the stream has, at least 1.
        tracks: u8,
    },
    /// Yes: from here on.
    Play {
        /// One entry per track; those of tracks that were not set up are left out of the response.
        rtp_info: Vec<RtpInfoEntry>,
    },
    /// Yes.
    Record {
        /// Further headers of the response, name and value.
        headers: Vec<(String, String)>,
    },
    /// 401: the proof is missing, wrong or too old.
    Challenge {
        /// Right, but with a nonce that has expired: does not count as wrong.
        stale: bool,
    },
    /// No.
    Refuse {
        /// What the peer's program is told.
        status: Status,
        /// What the person before it is told: one line. Control characters become spaces.
        reason: String,
        /// Whether it may try something else on this connection.
        then: AfterRefusal,
    },
}

/// Where a track starts, for `RTP-Info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpInfoEntry {
    /// Index of the track in the stream.
    pub track: u8,
    /// Sequence number of the first packet that will be sent.
    pub seq: Option<u16>,
    /// Its RTP timestamp.
    pub rtptime: Option<u32>,
}

/// What becomes of the connection after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterRefusal {
    /// The peer may ask again.
    KeepOpen,
    /// It is closed.
    Close,
}

/// What happened to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The PLAY response is out: media may be sent. Comes once per start, not for a PLAY while playing.
    Playing,
    /// The RECORD response is out: media may come.
    Recording,
    /// No media until the next [`Playing`](Self::Playing) or [`Recording`](Self::Recording); the seat is kept.
    Paused,
    /// The session is no more: give back what was taken at [`Ask::Setup`] (and at [`Ask::Announce`]).
    /// Comes exactly once for each [`Answer::Setup`] that said yes.
    SessionEnded(SessionEnd),
}

/// Why a session is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionEnd {
    /// The peer said TEARDOWN.
    Teardown,
    /// The peer set up another one in its place.
    Replaced,
    /// The SETUP that took the seat could not be carried out after all, e.g. of a track that is not there.
    SetupRefused,
    /// SETUP, but no PLAY or RECORD in time.
    NotStarted,
    /// No sign of life in time.
    Silent,
    /// The connection was closed over it: see the [`CloseReason`] that follows.
    ConnectionClosed,
    /// The edge ended it, for reasons of its own.
    ByEdge,
}

/// Why a connection is closed. As text it is a label for logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum CloseReason {
    /// Not one byte in time.
    FirstByteLate,
    /// The header was not complete in time.
    HeaderLate,
    /// The body was not complete in time.
    BodyLate,
    /// No request and no session.
    Idle,
    /// The peer has ended its side, and all that it asked before is answered.
    PeerDone,
    /// The session ended, and the connection with it.
    SessionEnded(SessionEnd),
    /// Wrong proofs, as many as one connection may bring.
    WrongProofs,
    /// The edge refused with [`AfterRefusal::Close`].
    Refused,
    /// What came is not RTSP, or over a limit.
    Malformed,
    /// A request without `CSeq`: no response could be matched to it.
    CseqMissing,
    /// More bytes than are kept while a question is open.
    PipelineFull,
    /// The edge answered another question than was asked.
    #[strum(serialize = "rtsp_error")]
    Misuse,
}
