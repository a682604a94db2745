//! Mails over SMTP (RFC 5321), to the provider's own mail server.
//!
//! Owns: [`Smtp`], its settings, and which answers are worth another try.
//! Invariant: user, password and mails leave the machine only over TLS; each mail takes bounded time and has a connection
//! of its own, so that an answer never counts for another mail.

use std::{error::Error, fmt, net::IpAddr, time::Duration};

use async_trait::async_trait;
use hyper::Uri;
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    transport::smtp::{
        self,
        authentication::{Credentials, Mechanism},
        client::{Tls, TlsParameters},
    },
};

use super::{Post, PostError, text::one_line};

/// Of an answer's text, what is kept.
const ANSWER_CHARS_MAX: usize = 300;

/// Where mail goes.
#[derive(Clone)]
pub struct SmtpSettings {
    /// `smtps://host[:465]`: TLS at once; `smtp://host[:587]`: STARTTLS, or no TLS to a loopback host (then port 25).
    pub server: String,
    /// With `password`; sent only where both are there.
    pub user: Option<String>,
    /// With `user`.
    pub password: Option<String>,
    /// For one mail, from connecting to the last answer.
    pub timeout: Duration,
}

impl fmt::Debug for SmtpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpSettings")
            .field("server", &self.server)
            .field("user", &self.user)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// How a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TlsPolicy {
    AtOnce,
    StartTls,
    Never,
}

/// A mail server.
pub struct Smtp {
    /// `host:port`, for people.
    place: String,
    transport: AsyncSmtpTransport<Tokio1Executor>,
    timeout: Duration,
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Smtp({})", self.place)
    }
}

impl Smtp {
    /// Nothing is connected yet. The error is for the operator: which setting is wrong.
    pub fn new(settings: &SmtpSettings) -> Result<Self, String> {
        let (host, port, policy) = place(&settings.server)?;
        // Trusts what the system trusts; SSL_CERT_FILE names other certificates.
        let parameters = || TlsParameters::new(host.clone()).map_err(|error| format!("TLS: {error}"));
        let tls = match policy {
            TlsPolicy::AtOnce => Tls::Wrapper(parameters()?),
            TlsPolicy::StartTls => Tls::Required(parameters()?),
            TlsPolicy::Never => Tls::None,
        };
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&host)
            .port(port)
            .tls(tls)
            .timeout(Some(settings.timeout));
        let transport = match (&settings.user, &settings.password) {
            (Some(user), Some(password)) => transport
                .credentials(Credentials::new(user.clone(), password.clone()))
                .authentication(vec![Mechanism::Plain, Mechanism::Login]),
            (None, None) => transport,
            _ => return Err("give both user and password of the mail server, or none".to_owned()),
        };
        Ok(Self { place: format!("{host}:{port}"), transport: transport.build(), timeout: settings.timeout })
    }
}

#[async_trait]
impl Post for Smtp {
    /// A time-out after the mail was handed over, but before the answer, is temporary too: the repeat has the same
    /// Message-ID.
    async fn send(&self, message: &Message, _key: &str) -> Result<(), PostError> {
        let result = tokio::time::timeout(self.timeout, self.transport.send(message.clone())).await;
        let error = match result {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => {
                let text = format!("{}: no answer within {:?}", self.place, self.timeout);
                return Err(PostError::Temporary(text));
            }
        };
        let text = told(&error, message);
        if is_about_the_mail(&error) {
            Err(PostError::Permanent(text))
        } else {
            Err(PostError::Temporary(text))
        }
    }
}

/// Whether it was refused for good. Being refused as a user is not about the mail: the operator mends the password.
fn is_about_the_mail(error: &smtp::Error) -> bool {
    let code = error.status().map(u16::from);
    error.is_permanent() && !matches!(code, Some(530 | 534 | 535 | 538))
}

/// What went wrong, without whole addresses: logs need no more than their domains.
fn told(error: &smtp::Error, message: &Message) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    for _ in 0..4 {
        let Some(inner) = source else { break };
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    for address in message.envelope().to() {
        text = text.replace(address.as_ref() as &str, &format!("…@{}", address.domain()));
    }
    one_line(&text).chars().take(ANSWER_CHARS_MAX).collect()
}

/// Host, port and encryption of an address.
fn place(server: &str) -> Result<(String, u16, TlsPolicy), String> {
    let expected = || "expected smtps://host:port or smtp://host:port for the mail server".to_owned();
    let uri: Uri = server.parse().map_err(|_| expected())?;
    let authority = uri.authority().ok_or_else(expected)?;
    if authority.as_str().contains('@') {
        return Err("user and password of the mail server have their own settings".to_owned());
    }
    let after_host = authority.as_str().strip_prefix(authority.host()).ok_or_else(expected)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(expected());
    }
    let is_loopback = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    let (policy, usual_port) = match uri.scheme_str() {
        Some("smtps") => (TlsPolicy::AtOnce, 465),
        Some("smtp") if is_loopback => (TlsPolicy::Never, 25),
        Some("smtp") => (TlsPolicy::StartTls, 587),
        _ => return Err(expected()),
    };
    let port = match after_host.strip_prefix(':') {
        None => usual_port,
        Some(port) => port.parse().ok().filter(|&port| port > 0).ok_or_else(expected)?,
    };
    Ok((host.to_owned(), port, policy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(server: &str, host: &str, port: u16, policy: TlsPolicy) {
        assert_eq!(place(server), Ok((host.to_owned(), port, policy)));
    }

    #[test]
    fn other_machines_are_spoken_to_over_tls() {
        check("smtps://mail.example.com", "mail.example.com", 465, TlsPolicy::AtOnce);
        check("smtps://127.0.0.1:4650/", "127.0.0.1", 4650, TlsPolicy::AtOnce);
        check("smtp://mail.example.com", "mail.example.com", 587, TlsPolicy::StartTls);
        check("smtp://192.0.2.7:25", "192.0.2.7", 25, TlsPolicy::StartTls);
        check("smtp://localhost.example.com", "localhost.example.com", 587, TlsPolicy::StartTls);
        check("smtp://localhost", "localhost", 25, TlsPolicy::Never);
        check("smtp://[::1]:2525", "::1", 2525, TlsPolicy::Never);
    }

    #[test]
    fn bad_addresses_are_refused_without_showing_them() {
        for bad in [
            "",
            "mail.example.com",
            "http://mail.example.com",
            "smtp://",
            "smtp://u:hunter2@mail.example.com",
            "smtp://mail.example.com:0",
            "smtp://mail.example.com:99999",
            "smtp://mail.example.com/hunter2",
            "smtp://mail.example.com?tls=none",
        ] {
            let error = place(bad).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn debug_shows_no_password() {
        let settings = SmtpSettings {
            server: "smtps://mail.example.com".to_owned(),
            user: Some("slotcast".to_owned()),
            password: Some("hunter2".to_owned()),
            timeout: Duration::from_secs(30),
        };
        let smtp = Smtp::new(&settings).unwrap();
        assert!(!format!("{settings:?} {smtp:?}").contains("hunter2"));
        assert!(Smtp::new(&SmtpSettings { user: None, ..settings }).is_err());
    }
}
