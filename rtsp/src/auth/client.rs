//! The client's side: reading a server's challenges and answering the best of them.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Algorithm, parameters::Parameters};
use crate::{limits, message::Headers};

/// A challenge that can be answered.
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge {
    scheme: Scheme,
    /// The server says that the last proof was right but too old.
    pub stale: bool,
}

#[derive(Clone, PartialEq, Eq)]
enum Scheme {
    Digest { algorithm: Algorithm, realm: String, nonce: String, opaque: Option<String>, qop_auth: bool },
    Basic,
}

impl Challenge {
    /// The strongest challenge of a 401's WWW-Authenticate headers: SHA-256, then MD5, then Basic.
    ///
    /// `None` where none can be answered.
    pub fn strongest(headers: &Headers) -> Option<Self> {
        let all = headers.all("WWW-Authenticate").take(limits::AUTH_HEADERS_MAX);
        all.filter_map(Self::parse).min_by_key(|challenge| match &challenge.scheme {
            Scheme::Digest { algorithm: Algorithm::Sha256, .. } => 0,
            Scheme::Digest { algorithm: Algorithm::Md5, .. } => 1,
            Scheme::Basic => 2,
        })
    }

    /// Reads one header; `None` for other schemes, algorithms or `qop`s, or without realm or nonce.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once([' ', '\t']).unwrap_or_else(|| (text.trim(), ""));
        if scheme.eq_ignore_ascii_case("Basic") {
            return Some(Self { scheme: Scheme::Basic, stale: false });
        }
        if !scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let parameters = Parameters::read(rest);
        let qop = parameters.get("qop").filter(|qop| !qop.is_empty());
        let qop_auth = qop.is_some_and(|qop| qop.split(',').any(|word| word.trim() == "auth"));
        if qop.is_some() && !qop_auth {
            return None;
        }
        Some(Self {
            scheme: Scheme::Digest {
                algorithm: Algorithm::parse(parameters.get("algorithm"))?,
                realm: parameters.get("realm")?.to_owned(),
                nonce: parameters.get("nonce")?.to_owned(),
                opaque: parameters.get("opaque").map(str::to_owned),
                qop_auth,
            },
            stale: parameters.get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }

    /// The value of the Authorization header.
    ///
    /// - `method`, `uri`: as in the request line.
    /// - `cnonce`: random text of the client's own; used only where the server asks for `qop=auth`.
    pub fn respond(&self, user: &str, password: &str, method: &str, uri: &str, cnonce: &str) -> String {
        let Scheme::Digest { algorithm, realm, nonce, opaque, qop_auth } = &self.scheme else {
            return format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        };
        let ha1 = algorithm.hash(&[user, realm, password]);
        let ha2 = algorithm.hash(&[method, uri]);
        let nc = "00000001";
        let response = if *qop_auth {
            algorithm.hash(&[&ha1, nonce, nc, cnonce, "auth", &ha2])
        } else {
            algorithm.hash(&[&ha1, nonce, &ha2])
        };
        let mut text = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{response}\"",
            quoted(user),
            quoted(realm),
            quoted(nonce),
            quoted(uri),
        );
        if *algorithm == Algorithm::Sha256 {
            text.push_str(", algorithm=SHA-256");
        }
        if *qop_auth {
            text.push_str(&format!(", qop=auth, nc={nc}, cnonce={}", quoted(cnonce)));
        }
        if let Some(opaque) = opaque {
            text.push_str(&format!(", opaque={}", quoted(opaque)));
        }
        text
    }
}

/// Without the nonce.
impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match &self.scheme {
            Scheme::Digest { algorithm: Algorithm::Sha256, .. } => "Digest SHA-256",
            Scheme::Digest { algorithm: Algorithm::Md5, .. } => "Digest MD5",
            Scheme::Basic => "Basic",
        };
        f.debug_struct("Challenge")
            .field("scheme", &scheme)
            .field("stale", &self.stale)
            .finish_non_exhaustive()
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
