//! Header values, addresses and SDP: read without a panic, and what is written of them is read back.

use std::time::Instant;

use slotcast_auth::{
    Challenge, Credential, Credentials, LinkKey, Nonces, Proof as _, Request, Secret, Verdict,
};
use slotcast_rtsp::headers::transport::{LowerTransport, Offer, TrackTransport};
use slotcast_rtsp::headers::{range, rtp_info, session, transport as transport_header};
use slotcast_rtsp::limits;
use slotcast_rtsp::message::Headers;
use slotcast_rtsp::url::{Target, resolve, track_index};

use crate::text;

/// No offer ever has a port that could be used to hit someone else's service, nor one number for two things.
pub(crate) fn transport(data: &[u8]) {
    let text = text(data);
    for accepts in [[true, true], [true, false], [false, true]] {
        let accepts = |lower| accepts[usize::from(lower == LowerTransport::Tcp)];
        let Ok(offer) = transport_header::choose(&text, accepts) else { continue };
        assert!(accepts(offer.lower()), "{offer:?}");
        let transport = match offer {
            Offer::Of(transport) => transport,
            Offer::AnyChannels => TrackTransport::Tcp { rtp: 0, rtcp: 1 },
        };
        match transport {
            TrackTransport::Udp { client_rtp, client_rtcp } => {
                assert!(client_rtp.min(client_rtcp) >= limits::CLIENT_PORT_MIN);
                assert_ne!(client_rtp, client_rtcp);
            }
            TrackTransport::Tcp { rtp, rtcp } => assert_ne!(rtp, rtcp),
        }
        let _ = transport_header::parse_answer(&text, transport);
    }
}

pub(crate) fn session(data: &[u8]) {
    let _ = session::SessionHeader::parse(&text(data));
}

pub(crate) fn range(data: &[u8]) {
    let _ = range::Range::parse(&text(data));
}

/// What is written is read back. Quotes and white space around an address are not kept, so they are no part of it here.
pub(crate) fn rtp_info(data: &[u8]) {
    let entries = rtp_info::parse(&text(data));
    assert!(entries.len() <= limits::RTP_INFO_ENTRIES_MAX);
    if entries
        .iter()
        .any(|entry| entry.url.contains(|c: char| c == '"' || c.is_whitespace() || c.is_control()))
    {
        return;
    }
    let written = rtp_info::write(&entries);
    assert_eq!(rtp_info::write(&rtp_info::parse(&written)), written);
}

/// A path is a name or nothing; controls resolve to the track that they name; `Debug` keeps the query to itself.
pub(crate) fn url(data: &[u8]) {
    let text = text(data);
    let Ok(target) = Target::parse(&text) else { return };
    let name = &target.path;
    assert!(name.len() <= 64);
    assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)), "{name}");
    assert_eq!(target.channel().is_some(), !name.is_empty());
    if let Some(token) = target.token().filter(|token| token.len() > 8) {
        assert!(
            name.contains(token) || text.matches(token).count() > 1 || !format!("{target:?}").contains(token)
        );
    }
    assert!(target.content_base().contains('/'));
    // Without a channel nobody goes on to its tracks; a query that ends in two tracks, or in two slashes, means nothing.
    let slashes = target.query.as_ref().is_some_and(|query| query.ends_with('/'));
    let is_plain = !slashes && Target::parse(&target.base).is_ok_and(|base| base.track.is_none());
    if name.is_empty() || !is_plain {
        return;
    }
    let track = resolve(&target.base, "trackID=1");
    if let Ok(track) = Target::parse(&track) {
        assert_eq!(track.path, target.path, "{text:?}");
        assert_eq!(track.track.as_ref().and_then(|track| track_index(track)), Some(1), "{text:?}");
        assert_eq!(track.token(), target.token(), "{text:?}");
    }
}

/// No Authorization that was not made with the password is granted: the nonce is new in every run of the connection.
pub(crate) fn authorization(data: &[u8]) {
    let now = Instant::now();
    let mut nonces = Nonces::default();
    nonces.issue(now, [0x5a; 16]);
    let header = text(data);
    let id = "a password that stands in no seed, 4f9c";
    let (password, key) = (Secret::new(id.to_owned()), LinkKey::from_reservation_id(id));
    for basic in [false, true] {
        let request = Request {
            method: "DESCRIBE",
            path: "stage",
            path_of: |uri| Target::parse(uri).ok().map(|target| target.path),
            nonces: &nonces,
            basic,
        };
        let credentials = Credentials::of_request(None, std::iter::once(header.as_str()), &request);
        for credential in [Credential::Password(&password), Credential::Link(&key)] {
            assert_ne!(credentials.verify(now, &credential), Verdict::Granted);
        }
    }
}

/// Whatever the challenge, the answer to it is one header.
pub(crate) fn challenge(data: &[u8]) {
    let text = text(data);
    let strongest = Challenge::strongest(std::iter::once(text.as_str()));
    for challenge in [Challenge::parse(&text), strongest].into_iter().flatten() {
        let answer =
            challenge.respond("live", "secret", "ANNOUNCE", "rtsp://127.0.0.1/stage", "0123456789abcdef");
        assert_eq!(Headers::new().with("Authorization", &answer).iter().count(), 1);
    }
}

/// What was read and rendered is read as the same tracks, with controls that are ours.
pub(crate) fn sdp(data: &[u8]) {
    use slotcast_rtsp::sdp::{parse, render};

    let announced = match parse(data) {
        Ok(announced) => announced,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert!(!announced.tracks.is_empty());
    assert_eq!(announced.tracks.len(), announced.description.media.len());
    assert_eq!(announced.tracks.len(), announced.controls.len());
    // Control characters are left out of what viewers get: a codec's name that has one is another name afterwards.
    if data.iter().any(|byte| byte.is_ascii_control() && !b"\r\n\t".contains(byte)) {
        return;
    }
    for base in [None, Some("rtsp://127.0.0.1:8554/stage?token=x")] {
        let rendered = render(&announced.description, base, false);
        if rendered.len() > limits::SDP_BYTES_MAX {
            continue;
        }
        let again = parse(rendered.as_bytes()).unwrap_or_else(|error| panic!("{error} in {rendered}"));
        assert_eq!(again.tracks, announced.tracks, "{rendered}");
        assert_eq!(again.controls.len(), announced.controls.len());
    }
}
