//! The Transport header (RFC 2326 §12.39): what a client offers, what the server answers with.
//!
//! Owns: the choice among a client's alternatives, as lenient as the clients that are out there need.
//! Refuses: ports that would make the server talk to a service (below 1024) or to one port for both.
//! Not here: which lower transport a session is fixed to, which channels are taken (`server`); what `mode` says, since the methods tell (some clients leave
//! it out, old ffmpeg says `receive`).
//! Invariant: `destination`, `source` and `ttl` are never read, so media goes nowhere but back.

use std::fmt;

use crate::{limits, status::Status};
use slotcast_auth::parameters::split_unquoted;

/// What carries the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LowerTransport {
    /// Datagrams.
    Udp,
    /// `$` frames on the control connection.
    Tcp,
}

/// One side's pair of UDP ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UdpPorts {
    /// RTP.
    pub rtp: u16,
    /// RTCP.
    pub rtcp: u16,
}

/// A pair of interleaved channel numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelPair {
    /// RTP.
    pub rtp: u8,
    /// RTCP.
    pub rtcp: u8,
}

/// What a broadcaster's transport ends with, on both sides.
pub(crate) const MODE_RECORD: &str = ";mode=record";

/// What a client offers in one alternative, as far as it can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Packets to and from these ports of the client.
    Udp {
        /// Both 1024 or above, and not the same.
        client_port: UdpPorts,
    },
    /// Frames with these channel numbers.
    Tcp {
        /// `None`: the server assigns them.
        interleaved: Option<ChannelPair>,
    },
}

impl Offer {
    /// What it is carried by.
    pub const fn lower(&self) -> LowerTransport {
        match self {
            Self::Udp { .. } => LowerTransport::Udp,
            Self::Tcp { .. } => LowerTransport::Tcp,
        }
    }
}

/// As a client writes it.
impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp { client_port: UdpPorts { rtp, rtcp } } => {
                write!(f, "RTP/AVP/UDP;unicast;client_port={rtp}-{rtcp}")
            }
            Self::Tcp { interleaved: None } => f.write_str("RTP/AVP/TCP;unicast"),
            Self::Tcp { interleaved: Some(ChannelPair { rtp, rtcp }) } => {
                write!(f, "RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp}")
            }
        }
    }
}

/// Where a track's packets go to (viewer) or come from (broadcaster).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrackTransport {
    /// Datagrams, to and from the address of the control connection only.
    Udp {
        /// The peer's RTP port.
        client_rtp: u16,
        /// The peer's RTCP port.
        client_rtcp: u16,
    },
    /// `$` frames on the control connection.
    Tcp {
        /// The channel number that the peer knows RTP by.
        rtp: u8,
        /// The channel number that the peer knows RTCP by.
        rtcp: u8,
    },
}

impl TrackTransport {
    pub(crate) fn has_port(self, port: u16) -> bool {
        matches!(self, Self::Udp { client_rtp, client_rtcp } if client_rtp == port || client_rtcp == port)
    }

    pub(crate) fn has_channel(self, channel: u8) -> bool {
        matches!(self, Self::Tcp { rtp, rtcp } if rtp == channel || rtcp == channel)
    }

    /// The peer's `channel` as slotcast numbers that of `track`; `None` where it is not this track's.
    pub(crate) fn canonical(self, track: u8, channel: u8) -> Option<u8> {
        match self {
            Self::Tcp { rtp, .. } if rtp == channel => Some(2 * track),
            Self::Tcp { rtcp, .. } if rtcp == channel => Some(2 * track + 1),
            _ => None,
        }
    }
}

/// What the server answers with: exactly one, of the lower transport that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The client's ports, as it offered them, or the channel numbers.
    pub transport: TrackTransport,
    /// The server's ports; `None` over TCP.
    pub server: Option<UdpPorts>,
}

/// As the server writes it. `RTP/AVP` rather than `RTP/AVP/UDP` for UDP: every client reads it.
impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transport {
            TrackTransport::Udp { client_rtp, client_rtcp } => {
                write!(f, "RTP/AVP;unicast;client_port={client_rtp}-{client_rtcp}")?;
            }
            TrackTransport::Tcp { rtp, rtcp } => write!(f, "RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp}")?,
        }
        self.server.iter().try_for_each(|UdpPorts { rtp, rtcp }| write!(f, ";server_port={rtp}-{rtcp}"))
    }
}

/// Why no alternative can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransportError {
    /// None is supported: multicast, another profile, a lower transport that is off, or nothing readable.
    Unsupported,
    /// `client_port` below 1024, twice the same, or not a pair of ports.
    BadPorts,
    /// `interleaved` twice the same, or not a pair of 0..=255.
    BadChannels,
    /// More alternatives than [`limits::TRANSPORT_ALTERNATIVES_MAX`].
    TooMany,
    /// An answer that leaves out what is needed, or that is not one transport.
    BadAnswer,
}

impl TransportError {
    const fn row(self) -> (Status, &'static str) {
        match self {
            Self::Unsupported => (Status::UNSUPPORTED_TRANSPORT, "Unsupported Transport"),
            Self::BadPorts => (Status::BAD_REQUEST, "client_port must be two ports of 1024 or above"),
            Self::BadChannels => (Status::BAD_REQUEST, "interleaved must be two numbers of 0 to 255"),
            Self::TooMany => (Status::BAD_REQUEST, "more than 16 transports"),
            Self::BadAnswer => (Status::BAD_REQUEST, "malformed transport in an answer"),
        }
    }

    /// What to answer; the connection stays open.
    pub const fn status(self) -> Status {
        self.row().0
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().1)
    }
}

impl std::error::Error for TransportError {}

/// Takes the first alternative that can be served.
///
/// - `text`: the client's Transport headers, joined by commas.
/// - `accepts`: whether a lower transport may be taken (it is on, and the session is not fixed to the other).
///
/// Tolerated: any case, no `unicast`, no or odd or high `interleaved`, one port for a pair, `mode` with or without
/// quotes, `RTP/AVP` with `interleaved` for TCP, parameters that are unknown or have no value.
///
/// # Errors
/// See [`TransportError::status`]. A bad port counts only in an alternative that would have been taken.
pub fn choose(text: &str, accepts: impl Fn(LowerTransport) -> bool) -> Result<Offer, TransportError> {
    for (count, alternative) in split_unquoted(text, ',').enumerate() {
        if count >= limits::TRANSPORT_ALTERNATIVES_MAX {
            return Err(TransportError::TooMany);
        }
        let fields = Fields::read(alternative);
        if let Some(offer) = fields.offer(&accepts)? {
            return Ok(offer);
        }
    }
    Err(TransportError::Unsupported)
}

/// Reads a server's answer, for our own client.
///
/// - `offer`: what was offered; stands in for `client_port` and `interleaved` that the server leaves out.
///
/// # Errors
/// [`TransportError::BadAnswer`] for several transports, another lower transport, or UDP without `server_port`.
pub fn parse_answer(text: &str, offer: &Offer) -> Result<Chosen, TransportError> {
    let mut alternatives = split_unquoted(text, ',');
    let fields = alternatives.next().map(Fields::read).ok_or(TransportError::BadAnswer)?;
    if alternatives.next().is_some() || fields.lower != Some(offer.lower()) || fields.multicast {
        return Err(TransportError::BadAnswer);
    }
    match *offer {
        Offer::Udp { client_port } => {
            let (rtp, rtcp) = fields.server_port.and_then(pair).ok_or(TransportError::BadAnswer)?;
            if rtp == 0 || rtcp == 0 {
                return Err(TransportError::BadAnswer);
            }
            let UdpPorts { rtp: client_rtp, rtcp: client_rtcp } = client_port;
            let transport = TrackTransport::Udp { client_rtp, client_rtcp };
            Ok(Chosen { transport, server: Some(UdpPorts { rtp, rtcp }) })
        }
        Offer::Tcp { interleaved } => {
            let answered = fields.channels().map_err(|_| TransportError::BadAnswer)?;
            let ChannelPair { rtp, rtcp } = answered.or(interleaved).ok_or(TransportError::BadAnswer)?;
            Ok(Chosen { transport: TrackTransport::Tcp { rtp, rtcp }, server: None })
        }
    }
}

/// One alternative's parameters, as text.
#[derive(Default)]
struct Fields<'a> {
    lower: Option<LowerTransport>,
    multicast: bool,
    client_port: Option<&'a str>,
    server_port: Option<&'a str>,
    interleaved: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn read(alternative: &'a str) -> Self {
        let mut fields = Self::default();
        let mut parts = split_unquoted(alternative, ';');
        let protocol = parts.next().unwrap_or_default().to_ascii_uppercase();
        for part in parts {
            let (name, value) =
                part.split_once('=').map_or((part, None), |(n, v)| (n.trim(), Some(v.trim())));
            match name.to_ascii_lowercase().as_str() {
                "multicast" => fields.multicast = true,
                "client_port" => fields.client_port = value,
                "server_port" => fields.server_port = value,
                "interleaved" => fields.interleaved = value.filter(|v| !v.is_empty()),
                _ => {}
            }
        }
        fields.lower = match protocol.as_str() {
            // Some clients leave out the /TCP when they say interleaved.
            "RTP/AVP" if fields.interleaved.is_some() && fields.client_port.is_none() => {
                Some(LowerTransport::Tcp)
            }
            "RTP/AVP" | "RTP/AVP/UDP" => Some(LowerTransport::Udp),
            "RTP/AVP/TCP" => Some(LowerTransport::Tcp),
            _ => None,
        };
        fields
    }

    /// `Ok(None)`: not this one, try the next.
    fn offer(&self, accepts: impl Fn(LowerTransport) -> bool) -> Result<Option<Offer>, TransportError> {
        let Some(lower) = self.lower.filter(|lower| !self.multicast && accepts(*lower)) else {
            return Ok(None);
        };
        match lower {
            LowerTransport::Tcp => Ok(Some(Offer::Tcp { interleaved: self.channels()? })),
            LowerTransport::Udp => {
                let Some(text) = self.client_port else { return Ok(None) };
                let (rtp, rtcp) = pair(text).ok_or(TransportError::BadPorts)?;
                if rtp == rtcp || rtp.min(rtcp) < limits::CLIENT_PORT_MIN {
                    return Err(TransportError::BadPorts);
                }
                Ok(Some(Offer::Udp { client_port: UdpPorts { rtp, rtcp } }))
            }
        }
    }

    fn channels(&self) -> Result<Option<ChannelPair>, TransportError> {
        let Some(text) = self.interleaved else { return Ok(None) };
        let (rtp, rtcp) = pair(text).ok_or(TransportError::BadChannels)?;
        let channels = (u8::try_from(rtp), u8::try_from(rtcp));
        match channels {
            (Ok(rtp), Ok(rtcp)) if rtp != rtcp => Ok(Some(ChannelPair { rtp, rtcp })),
            _ => Err(TransportError::BadChannels),
        }
    }
}

/// `a-b`, or `a` for `a` and the next.
fn pair(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| {
        let text = text.trim();
        if text.bytes().all(|b| b.is_ascii_digit()) { text.parse::<u16>().ok() } else { None }
    };
    match text.split_once('-') {
        Some((first, second)) => Some((number(first)?, number(second)?)),
        None => {
            let first = number(text)?;
            Some((first, first.checked_add(1)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use LowerTransport::{Tcp, Udp};

    fn udp(rtp: u16, rtcp: u16) -> Result<Offer, TransportError> {
        Ok(Offer::Udp { client_port: UdpPorts { rtp, rtcp } })
    }

    fn tcp(channels: Option<(u8, u8)>) -> Result<Offer, TransportError> {
        Ok(Offer::Tcp { interleaved: channels.map(|(rtp, rtcp)| ChannelPair { rtp, rtcp }) })
    }

    #[track_caller]
    fn check(text: &str, expected: Result<Offer, TransportError>) {
        assert_eq!(choose(text, |_| true), expected, "{text}");
    }

    #[test]
    fn strict() {
        check("RTP/AVP;unicast;client_port=5000-5001", udp(5000, 5001));
        check("RTP/AVP/UDP;unicast;client_port=5000-5001;mode=record", udp(5000, 5001));
        check("RTP/AVP/TCP;unicast;interleaved=0-1", tcp(Some((0, 1))));
        check("RTP/AVP/TCP;unicast;interleaved=2-3;mode=\"RECORD\"", tcp(Some((2, 3))));
        check("RTP/AVP;multicast;client_port=5000-5001,RTP/AVP/TCP;interleaved=0-1", tcp(Some((0, 1))));
    }

    #[test]
    fn tolerated() {
        check("rtp/avp/tcp", tcp(None));
        check("RTP/AVP/TCP;UNICAST;Interleaved=201-202;Mode=\"play\"", tcp(Some((201, 202))));
        check("RTP/AVP/TCP;interleaved=", tcp(None));
        check("RTP/AVP/TCP;interleaved=5", tcp(Some((5, 6))));
        check("RTP/AVP;unicast;interleaved=0-1", tcp(Some((0, 1))));
        check("RTP/AVP ; client_port = 5001 - 5000", udp(5001, 5000));
        check("RTP/AVP;client_port=6000", udp(6000, 6001));
        check("RTP/AVP;client_port=6000-6001;destination=9.9.9.9;ttl=1;;x", udp(6000, 6001));
        check("RTP/AVP/TCP;mode=\"", tcp(None));
        check("RTP/AVP/TCP;mode=\"PLAY,RECORD\"", tcp(None));
        check("RTP/AVP/TCP;mode=receive", tcp(None));
        check("RTP/AVP;unicast,RTP/AVP/TCP", tcp(None));
    }

    #[test]
    fn bad() {
        for text in
            ["", ",", ";;", "RTP/SAVP;client_port=5000-5001", "RAW/RAW/UDP", "RTP/AVP;multicast", "RTP/AVP"]
        {
            check(text, Err(TransportError::Unsupported));
        }
        for ports in
            ["0-1", "19-20", "53-54", "5000-53", "7000-7000", "65535", "70000-70001", "-1", "a-b", "", "+5-6"]
        {
            check(&format!("RTP/AVP;client_port={ports}"), Err(TransportError::BadPorts));
        }
        for channels in ["256-257", "0-0", "a", "1-", "255", "-1-2"] {
            check(&format!("RTP/AVP/TCP;interleaved={channels}"), Err(TransportError::BadChannels));
        }
        check(&"X,".repeat(17), Err(TransportError::TooMany));
    }

    #[test]
    fn a_transport_that_is_off_is_passed_over_with_its_ports() {
        let tcp_only = |lower| lower == Tcp;
        assert_eq!(choose("RTP/AVP;client_port=0-1", tcp_only), Err(TransportError::Unsupported));
        assert_eq!(choose("RTP/AVP;client_port=5000-5001,RTP/AVP/TCP", tcp_only), tcp(None));
        assert_eq!(choose("RTP/AVP/TCP", |lower| lower == Udp), Err(TransportError::Unsupported));
    }

    #[test]
    fn answers_are_one_transport_and_read_back() {
        let offer = Offer::Udp { client_port: UdpPorts { rtp: 5000, rtcp: 5001 } };
        assert_eq!(offer.to_string(), "RTP/AVP/UDP;unicast;client_port=5000-5001");
        let transport = TrackTransport::Udp { client_rtp: 5000, client_rtcp: 5001 };
        let chosen = Chosen { transport, server: Some(UdpPorts { rtp: 8000, rtcp: 8001 }) };
        let text = chosen.to_string();
        assert_eq!(text, "RTP/AVP;unicast;client_port=5000-5001;server_port=8000-8001");
        assert_eq!(parse_answer(&format!("{text};ssrc=00000ABC{MODE_RECORD}"), &offer), Ok(chosen));

        let offer = Offer::Tcp { interleaved: Some(ChannelPair { rtp: 2, rtcp: 3 }) };
        let chosen = Chosen { transport: TrackTransport::Tcp { rtp: 2, rtcp: 3 }, server: None };
        assert_eq!(chosen.to_string(), "RTP/AVP/TCP;unicast;interleaved=2-3");
        assert_eq!(parse_answer("RTP/AVP/TCP;unicast", &offer), Ok(chosen));
        assert_eq!(parse_answer("RTP/AVP;server_port=1-2", &offer), Err(TransportError::BadAnswer));
        assert_eq!(parse_answer("RTP/AVP/TCP,RTP/AVP/TCP", &offer), Err(TransportError::BadAnswer));
    }
}
