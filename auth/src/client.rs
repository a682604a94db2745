//! The client's side: reading a server's challenges and answering the best of them.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{hash::Algorithm, limits, parameters::Parameters};

/// A challenge that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    scheme: Scheme,
    /// The server says that the last proof was right but too old.
    pub stale: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Scheme {
    Digest { algorithm: Algorithm, realm: String, nonce: String, opaque: Option<String>, qop_auth: bool },
    Basic,
}

impl Challenge {
    /// The strongest challenge of a 401's WWW-Authenticate `headers`: SHA-256, then MD5, then Basic.
    ///
    /// `None` where none can be answered.
    pub fn strongest<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        let all = headers.take(limits::HEADERS_MAX);
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
        let ha1 = algorithm.of(&[user, realm, password]);
        let ha2 = algorithm.of(&[method, uri]);
        let nc = "00000001";
        let response = if *qop_auth {
            algorithm.of(&[&ha1, nonce, nc, cnonce, "auth", &ha2])
        } else {
            algorithm.of(&[&ha1, nonce, &ha2])
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

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_standards() {
        let challenge = Challenge::parse(
            "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
             nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
        );
        let answer =
            challenge.unwrap().respond("Mufasa", "Circle Of Life", "GET", "/dir/index.html", "0a4f113b");
        assert!(answer.contains("response=\"6629fae49393a05397450978507c4ef1\""), "{answer}");
        assert!(answer.ends_with(", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\""), "{answer}");

        let challenge = Challenge::parse(
            "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm=SHA-256, \
             nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\"",
        );
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let answer = challenge.unwrap().respond("Mufasa", "Circle of Life", "GET", "/dir/index.html", cnonce);
        let response = "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1";
        assert!(answer.contains(&format!("response=\"{response}\"")), "{answer}");
    }

    #[test]
    fn the_strongest_challenge_is_answered() {
        let headers = [
            "Basic realm=\"x\"",
            "Digest realm=\"x\", nonce=\"y\"",
            "Digest realm=\"x\", nonce=\"y\", algorithm=SHA-256, stale=TRUE",
        ];
        let challenge = Challenge::strongest(headers.into_iter()).unwrap();
        assert!(challenge.stale);
        assert!(challenge.respond("u", "p", "PLAY", "/", "").contains("algorithm=SHA-256"));
        assert_eq!(Challenge::strongest(std::iter::empty()), None);
    }

    #[test]
    fn basic_is_answered_where_there_is_nothing_else() {
        let basic = Challenge::parse("basic").unwrap();
        assert_eq!(basic.respond("u", "secret", "PLAY", "/", ""), "Basic dTpzZWNyZXQ=");
    }

    #[test]
    fn bad() {
        for text in [
            "",
            "Digest",
            "Digest realm=\"x\"",
            "Digest nonce=\"x\"",
            "Negotiate",
            "Digest realm=a, nonce=b, qop=auth-int",
            "Digest realm=a, nonce=b, algorithm=SHA-512",
        ] {
            assert_eq!(Challenge::parse(text), None, "{text}");
        }
    }
}
