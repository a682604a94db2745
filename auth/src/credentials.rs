//! What one request shows for itself, and how it compares to a password or a reservation ID.
//!
//! Owns: reading Authorization, the token, and [`Proof`], so that decisions are taken, and tested, without a connection
//! around them.
//! Refuses: nonces of other connections, proofs made for another channel, Basic where it was not offered.
//! Not here: challenges and nonces (`nonces`), the client's side (`client`).

use std::{fmt, time::Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    hash::{Algorithm, is_same, of_shown},
    limits,
    link_key::{LINK_USER, LinkKey, hash_of_token},
    nonces::{Nonces, REALM},
    parameters::Parameters,
    secret::Secret,
};

/// What a proof is checked against.
#[derive(Clone, Copy, Debug)]
pub enum Credential<'a> {
    /// This password, with any user name.
    Password(&'a Secret),
    /// This reservation ID, with the user name [`LINK_USER`] where there is one.
    Link(&'a LinkKey),
}

/// What a check comes to. Later is better: one right proof is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Nothing was brought that could be checked: challenge, do not count.
    Missing,
    /// Wrong: challenge, and count it as a guess.
    Wrong,
    /// Right, but for a nonce that expired or is another connection's: challenge with `stale=true`, do not count.
    Stale,
    /// Right.
    Granted,
}

impl Verdict {
    const fn of(is_right: bool) -> Self {
        if is_right { Self::Granted } else { Self::Wrong }
    }
}

/// Something that can be compared to a password or an ID without showing either.
pub trait Proof {
    /// How what was shown compares to `credential` at `now`.
    fn verify(&self, now: Instant, credential: &Credential<'_>) -> Verdict;

    /// What a reservation is found by whose ID was shown as a token: compares to [`LinkKey::hash`].
    fn link_hash(&self) -> Option<[u8; 32]> {
        None
    }
}

/// The request that Authorization headers belong to.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Its method, as on the request line.
    pub method: &'a str,
    /// The channel that its address names.
    pub path: &'a str,
    /// The channel that another address names, for the `uri` that a digest was made for; `None` where it is no address.
    pub path_of: fn(&str) -> Option<String>,
    /// Those of its connection.
    pub nonces: &'a Nonces,
    /// Whether Basic counts on its connection.
    pub basic: bool,
}

/// What one request brought to prove itself, with all that is needed to check it. Of secrets it keeps hashes.
#[derive(Clone, Default)]
pub struct Credentials {
    token: Option<Shown>,
    /// The first header that can be checked: one request is one guess.
    authorization: Option<Authorization>,
}

impl Credentials {
    /// Only a token: a bearer's, or one in an address.
    pub fn of_token(token: Option<&str>) -> Self {
        Self { token: token.map(Shown::new), authorization: None }
    }

    /// A token, and the values of a request's Authorization headers.
    pub fn of_request<'a>(
        token: Option<&str>,
        headers: impl Iterator<Item = &'a str>,
        request: &Request<'_>,
    ) -> Self {
        let headers = headers.take(limits::HEADERS_MAX);
        let authorization = headers.filter_map(|text| Authorization::parse(text, request)).next();
        Self { authorization, ..Self::of_token(token) }
    }

    /// Whether there is anything to check.
    pub const fn is_present(&self) -> bool {
        self.token.is_some() || self.authorization.is_some()
    }
}

impl Proof for Credentials {
    /// Checks the token and the first usable Authorization. Takes the same time for a proof that is wrong early and one
    /// that is wrong late.
    fn verify(&self, now: Instant, credential: &Credential<'_>) -> Verdict {
        let token = self.token.as_ref().map(|token| Verdict::of(token.is(credential)));
        let header = self.authorization.as_ref().map(|header| header.verify(now, credential));
        token.max(header).unwrap_or(Verdict::Missing)
    }

    fn link_hash(&self) -> Option<[u8; 32]> {
        self.token.as_ref()?.as_id
    }
}

/// Without what was brought.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("is_present", &self.is_present()).finish_non_exhaustive()
    }
}

/// A secret that came in plain, as its hashes; `None`: it was too long to be one.
#[derive(Clone)]
struct Shown {
    as_password: Option<[u8; 32]>,
    as_id: Option<[u8; 32]>,
}

impl Shown {
    fn new(text: &str) -> Self {
        Self { as_password: of_shown(text), as_id: hash_of_token(text) }
    }

    fn is(&self, credential: &Credential<'_>) -> bool {
        match credential {
            Credential::Password(secret) => self.as_password.is_some_and(|hash| secret.has_hash(&hash)),
            Credential::Link(key) => self.as_id.is_some_and(|hash| key.has_hash(&hash)),
        }
    }
}

#[derive(Clone)]
enum Authorization {
    Digest(Digest),
    Basic { is_link_user: bool, password: Shown },
}

impl Authorization {
    /// `None`: another scheme, one that does not count here, or parts of it are missing.
    fn parse(text: &str, request: &Request<'_>) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once([' ', '\t'])?;
        if scheme.eq_ignore_ascii_case("Digest") {
            return Digest::parse(rest, request).map(Self::Digest);
        }
        if !scheme.eq_ignore_ascii_case("Basic") || !request.basic {
            return None;
        }
        let decoded = STANDARD.decode(rest.trim()).ok()?;
        let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
        Some(Self::Basic { is_link_user: user == LINK_USER, password: Shown::new(password) })
    }

    fn verify(&self, now: Instant, credential: &Credential<'_>) -> Verdict {
        match self {
            Self::Digest(digest) => digest.verify(now, credential),
            Self::Basic { is_link_user, password } => {
                let is_user = *is_link_user || matches!(credential, Credential::Password(_));
                Verdict::of(password.is(credential) && is_user)
            }
        }
    }
}

#[derive(Clone)]
struct Digest {
    algorithm: Algorithm,
    user: String,
    nonce: String,
    /// When the proof becomes stale; `None`: the nonce is none of the connection's.
    stale_at: Option<Instant>,
    /// Of method and address: the same for every credential that the proof is checked against.
    ha2: String,
    /// Whether it was made for our realm, and for the channel that the request is about.
    is_for_this: bool,
    /// In lower-case hexadecimal digits.
    response: String,
    /// `nc` and `cnonce`, where the client insists on `qop=auth`.
    auth: Option<(String, String)>,
}

/// A SHA-256 as text.
const SHA256_HEX_DIGITS: usize = 64;

impl Digest {
    fn parse(text: &str, request: &Request<'_>) -> Option<Self> {
        let parameters = Parameters::read(text);
        let text = |name| parameters.get(name).map(str::to_owned);
        let auth = match parameters.get("qop").filter(|qop| !qop.is_empty()) {
            None => None,
            Some("auth") => Some((text("nc")?, text("cnonce")?)),
            Some(_) => return None,
        };
        let response = parameters.get("response")?.to_ascii_lowercase();
        let algorithm = match parameters.get("algorithm") {
            // retina 0.4 answers the SHA-256 challenge without naming it: its length does.
            None if response.len() == SHA256_HEX_DIGITS => Algorithm::Sha256,
            name => Algorithm::parse(name)?,
        };
        let (uri, nonce) = (parameters.get("uri")?, text("nonce")?);
        // VLC proves the stream's address where it asks for a track's, others one with or without a slash: the
        // channel is what counts.
        let is_for_channel = (request.path_of)(uri).is_some_and(|path| path == request.path);
        Some(Self {
            ha2: algorithm.of(&[request.method, uri]),
            algorithm,
            user: text("username")?,
            stale_at: request.nonces.stale_at(&nonce),
            nonce,
            is_for_this: parameters.get("realm")? == REALM && is_for_channel,
            response,
            auth,
        })
    }

    fn verify(&self, now: Instant, credential: &Credential<'_>) -> Verdict {
        let is_right = match credential {
            Credential::Password(password) => {
                self.is_made_with(&self.algorithm.of(&[&self.user, REALM, password.expose()]))
            }
            // Both are looked at, whichever is right.
            Credential::Link(key) => {
                let typed = key.ha1(self.algorithm).map(|ha1| self.is_made_with(&ha1));
                typed.contains(&true) && self.user == LINK_USER
            }
        };
        match is_right && self.is_for_this {
            true if self.stale_at.is_some_and(|stale_at| now < stale_at) => Verdict::Granted,
            true => Verdict::Stale,
            false => Verdict::Wrong,
        }
    }

    /// Whether the response is right for `ha1` (hexadecimal digits).
    fn is_made_with(&self, ha1: &str) -> bool {
        let expected = match &self.auth {
            Some((nc, cnonce)) => self.algorithm.of(&[ha1, &self.nonce, nc, cnonce, "auth", &self.ha2]),
            None => self.algorithm.of(&[ha1, &self.nonce, &self.ha2]),
        };
        is_same(expected.as_bytes(), self.response.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Challenge, NONCE_LIFETIME, challenges};

    const URL: &str = "rtsp://h/ch";

    /// The first part of an address's path.
    fn path(uri: &str) -> Option<String> {
        let path = uri.strip_prefix("rtsp://").and_then(|rest| rest.split_once('/')).map(|(_, path)| path);
        let path = path.or_else(|| uri.strip_prefix('/'))?;
        path.split(['/', '?']).next().map(str::to_owned)
    }

    fn secret() -> Secret {
        Secret::new("secret".to_owned())
    }

    struct Setting {
        now: Instant,
        nonces: Nonces,
        nonce: String,
    }

    fn setting() -> Setting {
        #[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
        let now = Instant::now();
        let mut nonces = Nonces::default();
        let nonce = nonces.issue(now, [7; 16]);
        Setting { now, nonces, nonce }
    }

    impl Setting {
        fn credentials(&self, authorization: &str, token: Option<&str>) -> Credentials {
            self.of_headers(&[authorization], token, false)
        }

        fn of_headers(&self, headers: &[&str], token: Option<&str>, basic: bool) -> Credentials {
            let request =
                Request { method: "DESCRIBE", path: "ch", path_of: path, nonces: &self.nonces, basic };
            Credentials::of_request(token, headers.iter().copied(), &request)
        }

        fn proof(&self, which: usize, user: &str, password: &str, uri: &str) -> String {
            let challenge = Challenge::parse(&challenges(&self.nonce, false, false)[which]).unwrap();
            challenge.respond(user, password, "DESCRIBE", uri, "c")
        }

        #[track_caller]
        fn check(&self, proof: &str, expected: Verdict) {
            let credentials = self.credentials(proof, None);
            assert_eq!(credentials.verify(self.now, &Credential::Password(&secret())), expected, "{proof}");
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
        setting.nonces = Nonces::default();
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
    fn a_reservation_is_proven_however_its_id_was_typed() {
        let setting = setting();
        let key = LinkKey::from_reservation_id("i-d7");
        let verdict = |proof: &str, token| {
            setting.credentials(proof, token).verify(setting.now, &Credential::Link(&key))
        };
        for which in [0, 1] {
            assert_eq!(verdict(&setting.proof(which, "live", "i-d7", URL), None), Verdict::Granted);
            assert_eq!(verdict(&setting.proof(which, "live", "I-D7", URL), None), Verdict::Granted);
            assert_eq!(verdict(&setting.proof(which, "other", "i-d7", URL), None), Verdict::Wrong);
            assert_eq!(verdict(&setting.proof(which, "live", "i-d8", URL), None), Verdict::Wrong);
        }
        assert_eq!(verdict("", Some("1 D7")), Verdict::Granted);
        assert_eq!(verdict("", Some("i-d8")), Verdict::Wrong);
        assert_eq!(verdict("", None), Verdict::Missing);
        assert_eq!(Credentials::of_token(Some("ID7")).link_hash(), Some(*key.hash()));
        assert_eq!(Credentials::of_token(Some(&"7".repeat(2_000))).link_hash(), None);
    }

    #[test]
    fn one_right_proof_of_two_is_enough() {
        let setting = setting();
        let (right, wrong) = (setting.proof(1, "u", "secret", URL), setting.proof(1, "u", "wrong", URL));
        let verdict = |header: &str, token| {
            setting.credentials(header, token).verify(setting.now, &Credential::Password(&secret()))
        };
        assert_eq!(verdict(&right, Some("wrong")), Verdict::Granted);
        assert_eq!(verdict(&wrong, Some("secret")), Verdict::Granted);
        assert_eq!(verdict(&wrong, Some("wrong")), Verdict::Wrong);
    }

    #[test]
    fn basic_counts_only_where_it_is_offered() {
        let setting = setting();
        let verdict = |value: &str, basic| {
            let credentials = setting.of_headers(&["Bearer x", value], None, basic);
            credentials.verify(setting.now, &Credential::Password(&secret()))
        };
        assert_eq!(verdict("Basic dTpzZWNyZXQ=", true), Verdict::Granted);
        assert_eq!(verdict("Basic dTp3cm9uZw==", true), Verdict::Wrong);
        assert_eq!(verdict("Basic dTpzZWNyZXQ=", false), Verdict::Missing);
        for broken in ["Basic", "Basic !!!", "Basic dQ==", "Basic /w=="] {
            assert_eq!(verdict(broken, true), Verdict::Missing);
        }
        let key = LinkKey::from_reservation_id("secret");
        let of_link = |value: &str| {
            setting.of_headers(&[value], None, true).verify(setting.now, &Credential::Link(&key))
        };
        assert_eq!(of_link("Basic bGl2ZTpzZWNyZXQ="), Verdict::Granted);
        assert_eq!(of_link("Basic dTpzZWNyZXQ="), Verdict::Wrong, "another user");
    }

    #[test]
    fn nothing_secret_is_shown() {
        let setting = setting();
        let shown = format!(
            "{:?} {:?}",
            setting.credentials(&setting.proof(1, "user1", "secret", URL), Some("tok1")),
            Credential::Password(&Secret::new("pass1".to_owned())),
        );
        for secret in ["user1", "tok1", "pass1", setting.nonce.as_str()] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
