//! The same decisions with what players and encoders really send: digests of either kind.

use slotcast_admission::{
    Guesses, LinkRequest, ProgramSpec, Reason, Secret, Timetable, ViewerRequest, link::decide_link,
    viewer::decide_description,
};
use slotcast_auth::{Challenge, Credentials, NONCE_LIFETIME, Nonces, Request, challenges};
use slotcast_core::{time::Now, words::OpenLevel};

use crate::common::{ip, later, now, published, spec, why_not};

fn timetable() -> Timetable {
    let password = Some(Secret::new("open sesame".to_owned()));
    published(vec![
        spec(1, 1, 0, 10),
        ProgramSpec { password, open_level: OpenLevel::Password, ..spec(2, 2, 0, 10) },
    ])
}

/// What a client sends that was challenged at `at` and knows `user` and `password`.
fn proof(method: &str, url: &str, user: &str, password: &str, algorithm: usize, at: Now) -> Credentials {
    let mut nonces = Nonces::default();
    let nonce = nonces.issue(at.mono, [7; 16]);
    let challenge = Challenge::parse(&challenges(&nonce, false, false)[algorithm]).unwrap();
    let header = challenge.respond(user, password, method, url, "cnonce");
    let path_of = |uri: &str| uri.rsplit('/').next().map(str::to_owned);
    let path = path_of(url).unwrap();
    let request = Request { method, path: &path, path_of, nonces: &nonces, basic: false };
    Credentials::of_request(None, std::iter::once(header.as_str()), &request)
}

#[track_caller]
fn viewer(password: &str, seconds_later: u64, expected: Option<Reason>) {
    for algorithm in [0, 1] {
        let at = now(5);
        let credentials = proof("DESCRIBE", "rtsp://host:8554/channel2", "anyone", password, algorithm, at);
        let request = ViewerRequest {
            channel: "channel2",
            credentials: &credentials,
            address: ip(1),
            admitted: None,
            now: later(at, seconds_later),
        };
        let decided = decide_description(&timetable(), &Guesses::default(), &request);
        assert_eq!(why_not(&decided), expected, "algorithm {algorithm}");
    }
}

#[track_caller]
fn broadcaster(channel: &str, user: &str, id: &str, expected: Option<Reason>) {
    for algorithm in [0, 1] {
        let url = format!("rtsp://host:8555/{channel}");
        let credentials = proof("ANNOUNCE", &url, user, id, algorithm, now(5));
        let request = LinkRequest {
            channel: Some(channel),
            credentials: &credentials,
            declared_kbps: None,
            address: ip(1),
            now: now(5),
        };
        let decided = decide_link(&timetable(), &Guesses::default(), &request);
        assert_eq!(why_not(&decided), expected, "algorithm {algorithm}");
        assert!(expected.is_some() || matches!(decided, Ok(grant) if grant.program.id.0 == 1));
    }
}

#[test]
fn a_digest_of_either_kind_opens_a_program() {
    viewer("open sesame", 0, None);
    viewer("open", 0, Some(Reason::PasswordWrong));
}

#[test]
fn a_digest_that_is_too_old_is_asked_for_anew() {
    viewer("open sesame", NONCE_LIFETIME.as_secs(), Some(Reason::ProofStale));
    viewer("open", NONCE_LIFETIME.as_secs(), Some(Reason::PasswordWrong));
}

#[test]
fn a_digest_of_either_kind_opens_the_link() {
    broadcaster("channel1", "live", "ID-1", None);
    broadcaster("channel1", "live", "ID-9", Some(Reason::IdWrong));
    broadcaster("channel1", "somebody", "ID-1", Some(Reason::IdWrong));
    broadcaster("channel2", "live", "ID-1", Some(Reason::OtherChannel));
    broadcaster("channel9", "live", "ID-9", Some(Reason::IdWrong));
}
