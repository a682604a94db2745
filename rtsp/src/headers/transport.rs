//! The Transport header (RFC 2326 §12.39): what a client offers, what the server answers with.
//!
//! Owns: the choice among a client's alternatives, as lenient as the clients that are out there need.
//! Refuses: ports that would make the server talk to a service (below 1024) or to one port for both.
//! Not here: which lower transport a session is fixed to, which channels are taken (`server`); what `mode` says, since the methods tell (some clients leave
//! it out, old ffmpeg says `receive`).
//! Invariant: `destination`, `source` and `ttl` are never read, so media goes nowhere but back.

use std::fmt;

use slotcast_auth::parameters::split_unquoted;

use crate::{
    limits,
    status::{Refused, Status},
};

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

/// What a broadcaster's transport ends with, on both sides.
pub(crate) const MODE_RECORD: &str = ";mode=record";

/// What a client offers in one alternative, as far as it can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// These ports, both 1024 or above and not the same, or these channel numbers, not the same.
    Of(TrackTransport),
    /// `$` frames, with channel numbers that the server assigns.
    AnyChannels,
}

impl Offer {
    /// What it is carried by.
    pub const fn lower(&self) -> LowerTransport {
        match self {
            Self::Of(transport) => transport.lower(),
            Self::AnyChannels => LowerTransport::Tcp,
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
    /// Channels `2k` and `2k + 1`, as slotcast numbers them; `None` above 255.
    pub(crate) fn channels_of(track: u8) -> Option<Self> {
        let rtp = track.checked_mul(2)?;
        Some(Self::Tcp { rtp, rtcp: rtp + 1 })
    }

    /// What carries it.
    pub const fn lower(self) -> LowerTransport {
        match self {
            Self::Udp { .. } => LowerTransport::Udp,
            Self::Tcp { .. } => LowerTransport::Tcp,
        }
    }

    /// Whether the two have a port or a channel in common.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        let numbers = |transport: Self| match transport {
            Self::Udp { client_rtp, client_rtcp } => [client_rtp, client_rtcp],
            Self::Tcp { rtp, rtcp } => [rtp.into(), rtcp.into()],
        };
        self.lower() == other.lower() && numbers(self).iter().any(|number| numbers(other).contains(number))
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

/// As both sides write it. `RTP/AVP` rather than `RTP/AVP/UDP` for UDP: every peer reads it.
impl fmt::Display for TrackTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp { client_rtp, client_rtcp } => {
                write!(f, "RTP/AVP;unicast;client_port={client_rtp}-{client_rtcp}")
            }
            Self::Tcp { rtp, rtcp } => write!(f, "RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp}"),
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

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.transport.fmt(f)?;
        self.server.iter().try_for_each(|UdpPorts { rtp, rtcp }| write!(f, ";server_port={rtp}-{rtcp}"))
    }
}

/// Multicast, another profile, a lower transport that is off, or nothing readable.
const UNSUPPORTED: Refused =
    Refused { status: Status::UNSUPPORTED_TRANSPORT, reason: "Unsupported Transport" };
const BAD_PORTS: Refused = Refused::bad_request("client_port must be two ports of 1024 or above");
const BAD_CHANNELS: Refused = Refused::bad_request("interleaved must be two numbers of 0 to 255");
const TOO_MANY: Refused = Refused::bad_request("more than 16 transports");

/// Takes the first alternative that can be served.
///
/// - `text`: the client's Transport headers, joined by commas.
/// - `accepts`: whether a lower transport may be taken (it is on, and the session is not fixed to the other).
///
/// Tolerated: any case, no `unicast`, no or odd or high `interleaved`, one port for a pair, `mode` with or without
/// quotes, `RTP/AVP` with `interleaved` for TCP, parameters that are unknown or have no value.
///
/// # Errors
/// No alternative can be taken. A bad port counts only in one that would have been taken.
pub fn choose(text: &str, accepts: impl Fn(LowerTransport) -> bool) -> Result<Offer, Refused> {
    for (count, alternative) in split_unquoted(text, ',').enumerate() {
        if count >= limits::TRANSPORT_ALTERNATIVES_MAX {
            return Err(TOO_MANY);
        }
        let fields = Fields::read(alternative);
        if let Some(offer) = fields.offer(&accepts)? {
            return Ok(offer);
        }
    }
    Err(UNSUPPORTED)
}

/// Reads a server's answer, for our own client.
///
/// - `offered`: stands in for `client_port` and `interleaved` that the server leaves out.
///
/// `None` for several transports, another lower transport, or UDP without `server_port`.
pub fn parse_answer(text: &str, offered: TrackTransport) -> Option<Chosen> {
    let mut alternatives = split_unquoted(text, ',');
    let fields = Fields::read(alternatives.next()?);
    if alternatives.next().is_some() || fields.lower != Some(offered.lower()) || fields.multicast {
        return None;
    }
    match offered {
        TrackTransport::Udp { .. } => {
            let (rtp, rtcp) =
                fields.server_port.and_then(pair).filter(|(rtp, rtcp)| *rtp > 0 && *rtcp > 0)?;
            Some(Chosen { transport: offered, server: Some(UdpPorts { rtp, rtcp }) })
        }
        TrackTransport::Tcp { .. } => {
            Some(Chosen { transport: fields.channels().ok()?.unwrap_or(offered), server: None })
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
    fn offer(&self, accepts: impl Fn(LowerTransport) -> bool) -> Result<Option<Offer>, Refused> {
        let Some(lower) = self.lower.filter(|lower| !self.multicast && accepts(*lower)) else {
            return Ok(None);
        };
        match lower {
            LowerTransport::Tcp => Ok(Some(self.channels()?.map_or(Offer::AnyChannels, Offer::Of))),
            LowerTransport::Udp => {
                let Some(text) = self.client_port else { return Ok(None) };
                let (client_rtp, client_rtcp) = pair(text).ok_or(BAD_PORTS)?;
                if client_rtp == client_rtcp || client_rtp.min(client_rtcp) < limits::CLIENT_PORT_MIN {
                    return Err(BAD_PORTS);
                }
                Ok(Some(Offer::Of(TrackTransport::Udp { client_rtp, client_rtcp })))
            }
        }
    }

    fn channels(&self) -> Result<Option<TrackTransport>, Refused> {
        let Some(text) = self.interleaved else { return Ok(None) };
        let (rtp, rtcp) = pair(text).ok_or(BAD_CHANNELS)?;
        match (u8::try_from(rtp), u8::try_from(rtcp)) {
            (Ok(rtp), Ok(rtcp)) if rtp != rtcp => Ok(Some(TrackTransport::Tcp { rtp, rtcp })),
            _ => Err(BAD_CHANNELS),
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

    fn udp(client_rtp: u16, client_rtcp: u16) -> Result<Offer, Refused> {
        Ok(Offer::Of(TrackTransport::Udp { client_rtp, client_rtcp }))
    }

    fn tcp(channels: Option<(u8, u8)>) -> Result<Offer, Refused> {
        let transport = channels.map(|(rtp, rtcp)| TrackTransport::Tcp { rtp, rtcp });
        Ok(transport.map_or(Offer::AnyChannels, Offer::Of))
    }

    #[track_caller]
    fn check(text: &str, expected: Result<Offer, Refused>) {
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
            check(text, Err(UNSUPPORTED));
        }
        for ports in
            ["0-1", "19-20", "53-54", "5000-53", "7000-7000", "65535", "70000-70001", "-1", "a-b", "", "+5-6"]
        {
            check(&format!("RTP/AVP;client_port={ports}"), Err(BAD_PORTS));
        }
        for channels in ["256-257", "0-0", "a", "1-", "255", "-1-2"] {
            check(&format!("RTP/AVP/TCP;interleaved={channels}"), Err(BAD_CHANNELS));
        }
        check(&"X,".repeat(17), Err(TOO_MANY));
    }

    #[test]
    fn a_transport_that_is_off_is_passed_over_with_its_ports() {
        let tcp_only = |lower| lower == Tcp;
        assert_eq!(choose("RTP/AVP;client_port=0-1", tcp_only), Err(UNSUPPORTED));
        assert_eq!(choose("RTP/AVP;client_port=5000-5001,RTP/AVP/TCP", tcp_only), tcp(None));
        assert_eq!(choose("RTP/AVP/TCP", |lower| lower == Udp), Err(UNSUPPORTED));
    }

    #[test]
    fn answers_are_one_transport_and_read_back() {
        let transport = TrackTransport::Udp { client_rtp: 5000, client_rtcp: 5001 };
        assert_eq!(transport.to_string(), "RTP/AVP;unicast;client_port=5000-5001");
        let chosen = Chosen { transport, server: Some(UdpPorts { rtp: 8000, rtcp: 8001 }) };
        let text = chosen.to_string();
        assert_eq!(text, "RTP/AVP;unicast;client_port=5000-5001;server_port=8000-8001");
        assert_eq!(parse_answer(&format!("{text};ssrc=00000ABC{MODE_RECORD}"), transport), Some(chosen));
        assert_eq!(parse_answer("RTP/AVP;unicast;server_port=8000-0", transport), None);
        assert_eq!(parse_answer("RTP/AVP;unicast", transport), None);

        let transport = TrackTransport::Tcp { rtp: 2, rtcp: 3 };
        let chosen = Chosen { transport, server: None };
        assert_eq!(chosen.to_string(), "RTP/AVP/TCP;unicast;interleaved=2-3");
        assert_eq!(parse_answer("RTP/AVP/TCP;unicast", transport), Some(chosen));
        assert_eq!(parse_answer("RTP/AVP;server_port=1-2", transport), None);
        assert_eq!(parse_answer("RTP/AVP/TCP,RTP/AVP/TCP", transport), None);
    }
}
