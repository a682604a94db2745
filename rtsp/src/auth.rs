//! Digest and Basic (RFC 7616, RFC 2069 for what RTSP clients speak, RFC 7617), and the token in an address.
//!
//! Owns: challenges, the nonces of one connection, checking what a request brought; the client's side in `client`.
//! Refuses: nonces of other connections, proofs made for another channel, Basic where it was not offered.
//! Not here: who may do what (`slotcast-admission`), how often one may guess.
//! Holds: secrets are compared in constant time and appear in no `Debug`.

mod client;
mod parameters;

use std::{
    fmt,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::Md5;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use crate::{limits, message::Headers, url::Target};
use parameters::Parameters;

pub use client::Challenge;

/// The realm of every challenge.
pub const REALM: &str = "slotcast";

/// The user name that goes with a reservation ID.
pub const LINK_USER: &str = "live";

/// How long a nonce may be used after it was issued; then the proof is stale.
pub const NONCE_LIFETIME: Duration = Duration::from_secs(60);

/// What a proof is checked against.
#[derive(Clone, Copy)]
pub enum Credential<'a> {
    /// Any user name, with this password.
    Password(&'a str),
    /// This user name, with a secret of which only derived values are kept.
    Ha1 {
        /// The only user name.
        user: &'a str,
        /// As [`ha1_md5`] makes it.
        md5: &'a [u8; 16],
        /// As [`ha1_sha256`] makes it.
        sha256: &'a [u8; 32],
    },
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password(..)",
            Self::Ha1 { .. } => "Ha1(..)",
        })
    }
}

/// What a check comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Right.
    Granted,
    /// Nothing was brought that could be checked: challenge, do not count.
    Missing,
    /// Wrong: challenge, and count it as a guess.
    Wrong,
    /// Right, but for a nonce that expired or is another connection's: challenge with `stale=true`, do not count.
    Stale,
}

/// A SHA-256 as text.
const SHA256_HEX_DIGITS: usize = 64;

/// A digest's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// What every client speaks.
    Md5,
    /// What those should speak that can.
    Sha256,
}

impl Algorithm {
    /// By its name in a header; absent is MD5. `None` for others, `-sess` among them.
    pub(crate) fn parse(name: Option<&str>) -> Option<Self> {
        match name {
            None => Some(Self::Md5),
            Some(name) if name.eq_ignore_ascii_case("MD5") => Some(Self::Md5),
            Some(name) if name.eq_ignore_ascii_case("SHA-256") => Some(Self::Sha256),
            Some(_) => None,
        }
    }

    /// The hash of `parts` with colons between, in lower-case hexadecimal digits.
    pub(crate) fn hash(self, parts: &[&str]) -> String {
        let text = parts.join(":");
        match self {
            Self::Md5 => hex(&Md5::digest(text)),
            Self::Sha256 => hex(&Sha256::digest(text)),
        }
    }
}

/// MD5 of `user:slotcast:password`.
pub fn ha1_md5(user: &str, password: &str) -> [u8; 16] {
    Md5::digest([user, REALM, password].join(":")).into()
}

/// SHA-256 of `user:slotcast:password`.
pub fn ha1_sha256(user: &str, password: &str) -> [u8; 32] {
    Sha256::digest([user, REALM, password].join(":")).into()
}

/// The nonces that one connection was challenged with.
///
/// At most [`limits::NONCES_MAX`]; each lives [`NONCE_LIFETIME`].
#[derive(Clone, Default)]
pub struct Nonces {
    issued: Vec<(String, Instant)>,
}

impl Nonces {
    /// None yet.
    pub const fn new() -> Self {
        Self { issued: Vec::new() }
    }

    /// A fresh one, written as hexadecimal digits.
    ///
    /// - `random`: never given before to any connection, and not to be guessed.
    pub fn issue(&mut self, now: Instant, random: [u8; 16]) -> String {
        if self.issued.len() >= limits::NONCES_MAX {
            self.issued.remove(0);
        }
        let nonce = hex(&random);
        self.issued.push((nonce.clone(), now));
        nonce
    }

    fn is_fresh(&self, nonce: &str, now: Instant) -> bool {
        let found = self.issued.iter().find(|(issued, _)| issued == nonce);
        found.is_some_and(|(_, at)| now.saturating_duration_since(*at) < NONCE_LIFETIME)
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nonces").field("issued", &self.issued.len()).finish()
    }
}

/// The values of the WWW-Authenticate headers of a 401, in the order in which they must stand.
///
/// SHA-256 first and MD5 last, since ffmpeg, GStreamer and live555 take the last one that says Digest; the MD5
/// challenge names no algorithm and has realm, nonce and stale in the order that live555 reads.
///
/// - `basic`: whether Basic is offered too: only inside TLS.
pub fn challenges(nonce: &str, stale: bool, basic: bool) -> Vec<String> {
    let stale = if stale { ", stale=true" } else { "" };
    let digest = format!("Digest realm=\"{REALM}\", nonce=\"{nonce}\"{stale}");
    let mut challenges = vec![format!("{digest}, algorithm=SHA-256")];
    if basic {
        challenges.push(format!("Basic realm=\"{REALM}\""));
    }
    challenges.push(digest);
    challenges
}

/// What one request brought to prove itself, with all that is needed to check it.
pub struct Credentials {
    /// The first header that can be checked: one request is one guess.
    authorization: Option<Authorization>,
    method: String,
    path: String,
    token: Option<String>,
    nonces: Nonces,
    already_granted: bool,
}

enum Authorization {
    Digest(Digest),
    Basic { user: String, password: String },
}

struct Digest {
    algorithm: Algorithm,
    user: String,
    realm: String,
    nonce: String,
    /// Of method and address: the same for every credential that the proof is checked against.
    ha2: String,
    /// The channel that the address names; `None` where it is none.
    path: Option<String>,
    response: String,
    /// `nc` and `cnonce`, where the client insists on `qop=auth`.
    auth: Option<(String, String)>,
}

impl Credentials {
    /// - `headers`, `method`, `target`: the request's.
    /// - `nonces`: the connection's.
    /// - `basic`: whether Basic counts on this connection.
    /// - `already_granted`: whether this connection has proven itself for this path before.
    pub fn new(
        headers: &Headers,
        method: &str,
        target: &Target,
        nonces: &Nonces,
        basic: bool,
        already_granted: bool,
    ) -> Self {
        let all = headers.all("Authorization").take(limits::AUTH_HEADERS_MAX);
        let usable =
            |authorization: &Authorization| basic || matches!(authorization, Authorization::Digest(_));
        Self {
            authorization: all.filter_map(|text| Authorization::parse(text, method)).find(usable),
            method: method.to_owned(),
            path: target.path.clone(),
            token: target.token().map(str::to_owned),
            nonces: nonces.clone(),
            already_granted,
        }
    }

    /// Whether the connection has proven itself for this path before.
    pub fn already_granted(&self) -> bool {
        self.already_granted
    }

    /// Whether there is anything to check.
    pub fn is_present(&self) -> bool {
        self.token.is_some() || self.authorization.is_some()
    }

    /// Checks the token and the first usable Authorization; one right proof is enough. Does not look at
    /// [`already_granted`](Self::already_granted).
    ///
    /// Takes the same time for a proof that is wrong early and one that is wrong late.
    pub fn verify(&self, now: Instant, credential: &Credential<'_>) -> Verdict {
        let token = self.token.iter().map(|token| {
            let user = match credential {
                Credential::Password(_) => "",
                Credential::Ha1 { user, .. } => user,
            };
            if secret_matches(user, token, credential) { Verdict::Granted } else { Verdict::Wrong }
        });
        let headers = self.authorization.iter().map(|authorization| match authorization {
            Authorization::Digest(digest) => self.verify_digest(digest, now, credential),
            Authorization::Basic { user, password } if secret_matches(user, password, credential) => {
                Verdict::Granted
            }
            Authorization::Basic { .. } => Verdict::Wrong,
        });
        let rank = |verdict: &Verdict| match verdict {
            Verdict::Granted => 3,
            Verdict::Stale => 2,
            Verdict::Wrong => 1,
            Verdict::Missing => 0,
        };
        token.chain(headers).max_by_key(rank).unwrap_or(Verdict::Missing)
    }

    fn verify_digest(&self, digest: &Digest, now: Instant, credential: &Credential<'_>) -> Verdict {
        let (ha1, user_is_right) = match (credential, digest.algorithm) {
            (Credential::Password(password), algorithm) => {
                (algorithm.hash(&[&digest.user, REALM, password]), true)
            }
            (Credential::Ha1 { user, md5, .. }, Algorithm::Md5) => (hex(*md5), *user == digest.user),
            (Credential::Ha1 { user, sha256, .. }, Algorithm::Sha256) => (hex(*sha256), *user == digest.user),
        };
        let expected = digest.response_with(&ha1);
        let is_right = expected.as_bytes().ct_eq(digest.response.to_ascii_lowercase().as_bytes());
        // VLC proves the stream's address where it asks for a track's, others one with or without a slash: the
        // channel is what counts.
        let same_channel = digest.path.as_ref() == Some(&self.path);
        let claims = Choice::from(u8::from(user_is_right && same_channel && digest.realm == REALM));
        match (bool::from(is_right & claims), self.nonces.is_fresh(&digest.nonce, now)) {
            (true, true) => Verdict::Granted,
            (true, false) => Verdict::Stale,
            (false, _) => Verdict::Wrong,
        }
    }
}

/// Without what was brought.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("is_present", &self.is_present())
            .field("already_granted", &self.already_granted)
            .finish_non_exhaustive()
    }
}

impl Authorization {
    /// `None`: another scheme, or parts of it are missing.
    fn parse(text: &str, method: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once([' ', '\t'])?;
        if scheme.eq_ignore_ascii_case("Basic") {
            let decoded = STANDARD.decode(rest.trim()).ok()?;
            let text = String::from_utf8(decoded).ok()?;
            let (user, password) = text.split_once(':')?;
            return Some(Self::Basic { user: user.to_owned(), password: password.to_owned() });
        }
        if !scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let parameters = Parameters::read(rest);
        let text = |name| parameters.get(name).map(str::to_owned);
        let auth = match parameters.get("qop").filter(|qop| !qop.is_empty()) {
            None => None,
            Some("auth") => Some((text("nc")?, text("cnonce")?)),
            Some(_) => return None,
        };
        let response = text("response")?;
        let algorithm = match parameters.get("algorithm") {
            // retina 0.4 answers the SHA-256 challenge without naming it: its length does.
            None if response.len() == SHA256_HEX_DIGITS => Algorithm::Sha256,
            name => Algorithm::parse(name)?,
        };
        let uri = parameters.get("uri")?;
        Some(Self::Digest(Digest {
            ha2: algorithm.hash(&[method, uri]),
            path: Target::parse(uri).ok().map(|target| target.path),
            algorithm,
            user: text("username")?,
            realm: text("realm")?,
            nonce: text("nonce")?,
            response,
            auth,
        }))
    }
}

impl Digest {
    /// The response that is right for `ha1` (hexadecimal digits).
    fn response_with(&self, ha1: &str) -> String {
        match &self.auth {
            Some((nc, cnonce)) => self.algorithm.hash(&[ha1, &self.nonce, nc, cnonce, "auth", &self.ha2]),
            None => self.algorithm.hash(&[ha1, &self.nonce, &self.ha2]),
        }
    }
}

/// Hashes, then compares in constant time.
fn secret_matches(user: &str, secret: &str, credential: &Credential<'_>) -> bool {
    match credential {
        Credential::Password(password) => {
            Sha256::digest(secret).as_slice().ct_eq(Sha256::digest(password).as_slice()).into()
        }
        Credential::Ha1 { user: expected, sha256, .. } => {
            let is_right: bool = ha1_sha256(user, secret).ct_eq(*sha256).into();
            is_right && user == *expected
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|b| [b >> 4, b & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "rtsp://h/ch";

    struct Setting {
        now: Instant,
        nonces: Nonces,
        nonce: String,
    }

    fn setting() -> Setting {
        #[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
        let now = Instant::now();
        let mut nonces = Nonces::new();
        let nonce = nonces.issue(now, [7; 16]);
        Setting { now, nonces, nonce }
    }

    impl Setting {
        fn credentials(&self, authorization: &str, url: &str) -> Credentials {
            let headers = Headers::new().with("Authorization", authorization);
            let target = Target::parse(url).unwrap();
            Credentials::new(&headers, "DESCRIBE", &target, &self.nonces, false, false)
        }

        fn proof(&self, which: usize, user: &str, password: &str, uri: &str) -> String {
            let challenge = Challenge::parse(&challenges(&self.nonce, false, false)[which]).unwrap();
            challenge.respond(user, password, "DESCRIBE", uri, "c")
        }

        #[track_caller]
        fn check(&self, proof: &str, expected: Verdict) {
            let credentials = self.credentials(proof, URL);
            assert_eq!(credentials.verify(self.now, &Credential::Password("secret")), expected, "{proof}");
        }
    }

    #[test]
    fn challenges_stand_in_the_order_that_clients_need() {
        assert_eq!(
            challenges("abc", true, true),
            [
                "Digest realm=\"slotcast\", nonce=\"abc\", stale=true, algorithm=SHA-256",
                "Basic realm=\"slotcast\"",
                "Digest realm=\"slotcast\", nonce=\"abc\", stale=true",
            ]
        );
    }

    #[test]
    fn right_and_wrong_proofs_of_both_algorithms() {
        let setting = setting();
        for which in [0, 1] {
            setting.check(&setting.proof(which, "anyone", "secret", URL), Verdict::Granted);
            setting.check(&setting.proof(which, "anyone", "Secret", URL), Verdict::Wrong);
            setting.check(&setting.proof(which, "", "secret", URL), Verdict::Granted);
        }
    }

    #[test]
    fn the_uri_may_be_any_of_the_same_channel_and_none_of_another() {
        let setting = setting();
        for uri in ["rtsp://h/ch/", "/ch", "rtsp://other:1/ch/trackID=0", "/ch?x"] {
            setting.check(&setting.proof(1, "u", "secret", uri), Verdict::Granted);
        }
        for uri in ["rtsp://h/other", "*", "", "/", "http://h/ch"] {
            setting.check(&setting.proof(1, "u", "secret", uri), Verdict::Wrong);
        }
    }

    #[test]
    fn nonces_expire_and_belong_to_one_connection() {
        let mut setting = setting();
        let proof = setting.proof(1, "u", "secret", URL);
        setting.now += NONCE_LIFETIME - Duration::from_millis(1);
        setting.check(&proof, Verdict::Granted);
        setting.now += Duration::from_millis(1);
        setting.check(&proof, Verdict::Stale);
        setting.check(&setting.proof(1, "u", "wrong", URL), Verdict::Wrong);
        setting.nonces = Nonces::new();
        setting.check(&proof, Verdict::Stale);
    }

    #[test]
    fn the_oldest_nonce_is_forgotten_first() {
        let mut setting = setting();
        let proof = setting.proof(1, "u", "secret", URL);
        (1..limits::NONCES_MAX).for_each(|n| drop(setting.nonces.issue(setting.now, [n as u8; 16])));
        setting.check(&proof, Verdict::Granted);
        setting.nonces.issue(setting.now, [99; 16]);
        setting.check(&proof, Verdict::Stale);
    }

    #[test]
    fn qop_and_odd_writing_are_tolerated() {
        let setting = setting();
        let text = format!("Digest realm=\"slotcast\", nonce=\"{}\", qop=\"auth\"", setting.nonce);
        let proof = Challenge::parse(&text).unwrap().respond("u", "secret", "DESCRIBE", URL, "c");
        assert!(proof.contains("qop=auth, nc=00000001"));
        setting.check(&proof, Verdict::Granted);
        let odd =
            setting.proof(0, "a\"b,c", "secret", URL).replace("Digest ", "dIGEST  ").replace(", ", " ,");
        setting.check(&odd, Verdict::Granted);
    }

    #[test]
    fn what_cannot_be_checked_is_missing() {
        let setting = setting();
        let proof = setting.proof(1, "u", "secret", URL);
        for text in ["", "Digest", "Digest ,,,=", "Bearer x", "Basic dTpzZWNyZXQ="] {
            setting.check(text, Verdict::Missing);
        }
        setting.check(&format!("{proof}, algorithm=MD5-sess"), Verdict::Missing);
        setting.check(&format!("{proof}, qop=auth-int"), Verdict::Missing);
        setting.check(&proof.replace("uri=", "x="), Verdict::Missing);
        setting.check(&proof.replace("slotcast", "other"), Verdict::Wrong);
    }

    #[test]
    fn a_reservation_is_proven_by_its_derived_values() {
        let setting = setting();
        let (md5, sha256) = (ha1_md5(LINK_USER, "ID"), ha1_sha256(LINK_USER, "ID"));
        let key = Credential::Ha1 { user: LINK_USER, md5: &md5, sha256: &sha256 };
        let verdict = |proof: &str, url: &str| setting.credentials(proof, url).verify(setting.now, &key);
        for which in [0, 1] {
            assert_eq!(verdict(&setting.proof(which, "live", "ID", URL), URL), Verdict::Granted);
            assert_eq!(verdict(&setting.proof(which, "other", "ID", URL), URL), Verdict::Wrong);
            assert_eq!(verdict(&setting.proof(which, "live", "id", URL), URL), Verdict::Wrong);
        }
        assert_eq!(verdict("", "rtsp://h/ch?token=ID"), Verdict::Granted);
        assert_eq!(verdict("", "rtsp://h/ch?token=id"), Verdict::Wrong);
        assert_eq!(verdict("", URL), Verdict::Missing);
    }

    #[test]
    fn basic_counts_only_where_it_is_offered() {
        let setting = setting();
        let target = Target::parse(URL).unwrap();
        let verdict = |value: &str, basic| {
            let headers = Headers::new().with("Authorization", value);
            let credentials = Credentials::new(&headers, "SETUP", &target, &setting.nonces, basic, false);
            credentials.verify(setting.now, &Credential::Password("secret"))
        };
        assert_eq!(verdict("Basic dTpzZWNyZXQ=", true), Verdict::Granted);
        assert_eq!(verdict("Basic dTp3cm9uZw==", true), Verdict::Wrong);
        assert_eq!(verdict("Basic dTpzZWNyZXQ=", false), Verdict::Missing);
        for broken in ["Basic", "Basic !!!", "Basic dQ==", "Basic /w=="] {
            assert_eq!(verdict(broken, true), Verdict::Missing);
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let setting = setting();
        let shown = format!(
            "{:?} {:?} {:?}",
            setting.credentials(&setting.proof(1, "user1", "secret", URL), "/ch?token=tok1"),
            setting.nonces,
            Credential::Password("pass1"),
        );
        for secret in ["user1", "tok1", "pass1", setting.nonce.as_str()] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
