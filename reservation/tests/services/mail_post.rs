//! Handing mails to a real mail server (aiosmtpd) that accepts, refuses, hangs and restarts.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use slotcast_reservation::{
    domain::{effects::MailKind, words::Language},
    mail::{Post, PostError, Smtp, SmtpSettings, render},
};
use slotcast_reservation_testing::letters::{letter, message_to, now, settings, smtp_settings};
use slotcast_testing::skip;

use crate::python::{MailServer, python, read_back};

fn smtp(server: &MailServer) -> Smtp {
    Smtp::new(&smtp_settings(format!("smtp://127.0.0.1:{}", server.port))).unwrap()
}

#[tokio::test]
async fn every_kind_arrives_whole_at_a_mail_server() {
    let Some(python) = python() else { return };
    let place = tempfile::tempdir().unwrap();
    let server = MailServer::start(&python, place.path(), &[]);
    let smtp = smtp(&server);
    let mut arrived = Vec::new();
    let mut letters = Vec::new();
    for kind in MailKind::ALL {
        for language in [Language::English, Language::Japanese] {
            let letter = letter(kind, language);
            let message = render(&letter, &settings(), now()).unwrap();
            smtp.send(&message, &letter.request.key).await.unwrap();
            let file = server.mail();
            let (got, sent) = (fs::read(&file).unwrap(), message.formatted());
            // The protocol's own end of line may come on top.
            assert_eq!(got.trim_ascii_end(), sent.trim_ascii_end(), "{kind:?}");
            arrived.push(file);
            letters.push(letter);
        }
    }
    for (letter, read) in letters.iter().zip(read_back(&python, &arrived)) {
        assert_eq!(read["to"][1], letter.request.to.as_str());
        assert_eq!(read["defects"], serde_json::json!([]));
        assert!(read["text"].as_str().unwrap().contains("山田 太郎"));
    }
}

#[tokio::test]
async fn refusals_are_temporary_or_for_good_as_the_server_says() {
    let Some(python) = python() else { return };
    let place = tempfile::tempdir().unwrap();
    let server = MailServer::start(&python, place.path(), &[]);
    let smtp = smtp(&server);
    let send = async |to: &str| {
        let (message, key) = message_to(to, MailKind::Invitation);
        smtp.send(&message, &key).await
    };
    let Err(PostError::Temporary(later)) = send("later@example.net").await else { panic!() };
    assert!(later.contains("451") && !later.contains("later@example.net"), "{later}");
    let Err(PostError::Permanent(never)) = send("never@example.net").await else { panic!() };
    assert!(never.contains("550") && never.contains("…@example.net"), "{never}");
    let Err(PostError::Temporary(full)) = send("later-data@example.net").await else { panic!() };
    assert!(full.contains("452"), "{full}");
    // None of it stands in the way of the next.
    send("friend@example.net").await.unwrap();
    server.mail();
}

#[tokio::test]
async fn a_server_that_hangs_costs_bounded_time_and_no_answer_counts_for_another_mail() {
    let Some(python) = python() else { return };
    let place = tempfile::tempdir().unwrap();
    let server = MailServer::start(&python, place.path(), &[]);
    let mut short = smtp_settings(format!("smtp://127.0.0.1:{}", server.port));
    short.timeout = Duration::from_secs(3);
    let smtp = Smtp::new(&short).unwrap();
    let send = async |to: &str| {
        let (message, key) = message_to(to, MailKind::Invitation);
        smtp.send(&message, &key).await
    };
    send("friend@example.net").await.unwrap();
    server.mail();
    // It never answers the recipient, or the mail.
    assert!(matches!(send("slow@example.net").await, Err(PostError::Temporary(_))));
    assert!(matches!(send("forgetful@example.net").await, Err(PostError::Temporary(_))));
    server.mail();
    assert!(matches!(send("never@example.net").await, Err(PostError::Permanent(_))));
    send("friend@example.net").await.unwrap();
    server.mail();
}

#[tokio::test]
async fn a_server_that_restarts_is_found_again() {
    let Some(python) = python() else { return };
    let place = tempfile::tempdir().unwrap();
    let first = MailServer::start(&python, place.path(), &[]);
    let (smtp, port) = (smtp(&first), first.port.to_string());
    let (message, key) = message_to("friend@example.net", MailKind::Invitation);
    smtp.send(&message, &key).await.unwrap();
    first.mail();
    drop(first);
    assert!(matches!(smtp.send(&message, &key).await, Err(PostError::Temporary(_))));
    let second = MailServer::start(&python, place.path(), &["--port", &port]);
    smtp.send(&message, &key).await.unwrap();
    second.mail();
}

/// A certificate of its own for 127.0.0.1 and 0.0.0.0: (certificate, key). `None`: OpenSSL is not there, and the test is skipped.
fn certificate(folder: &Path) -> Option<(PathBuf, PathBuf)> {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=mail.test", "-addext", "subjectAltName=IP:127.0.0.1,IP:0.0.0.0"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-out")
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .stderr(Stdio::null())
        .status();
    if made.is_ok_and(|status| status.success()) {
        return Some((certificate, key));
    }
    skip("openssl is not installed");
    None
}

/// What this program does in a process of its own, whose certificates are the test's: `SSL_CERT_FILE` says which.
const TRUSTING: &str = "SLOTCAST_TEST_SENDS_TO";

/// Runs the test of that name in such a process, where it only sends to `url`.
fn send_trusting(test: &str, certificate: &Path, url: &str) {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([&format!("mail_post::{test}"), "--exact", "--nocapture"]);
    let output = command.env("SSL_CERT_FILE", certificate).env(TRUSTING, url).output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn logged_in(server: String, password: &str) -> SmtpSettings {
    SmtpSettings {
        user: Some("slotcast".to_owned()),
        password: Some(password.to_owned()),
        ..smtp_settings(server)
    }
}

#[tokio::test]
async fn tls_is_asked_for_and_its_certificate_checked() {
    let (message, key) = message_to("friend@example.net", MailKind::Invitation);
    if let Ok(url) = env::var(TRUSTING) {
        let stranger = Smtp::new(&logged_in(url.clone(), "hunter3")).unwrap().send(&message, &key).await;
        let Err(PostError::Temporary(text)) = stranger else { panic!("{stranger:?}") };
        assert!(text.contains("535") && !text.contains("hunter"), "{text}");
        return Smtp::new(&logged_in(url, "hunter2")).unwrap().send(&message, &key).await.unwrap();
    }
    let Some(python) = python() else { return };
    let place = tempfile::tempdir().unwrap();
    let Some((certificate, private)) = certificate(place.path()) else { return };
    let pair = [certificate.to_str().unwrap(), private.to_str().unwrap()];
    let login = ["--login", "slotcast", "hunter2"];
    let at_once = MailServer::start(&python, place.path(), &[&["--tls"], &pair[..], &login].concat());
    // 0.0.0.0 reaches this machine, but is no loopback address: so STARTTLS is asked for.
    let upgraded = MailServer::start(&python, place.path(), &[&["--starttls"], &pair[..], &login].concat());
    for (server, url) in [
        (&at_once, format!("smtps://127.0.0.1:{}", at_once.port)),
        (&upgraded, format!("smtp://0.0.0.0:{}", upgraded.port)),
    ] {
        let sent = Smtp::new(&logged_in(url.clone(), "hunter2")).unwrap().send(&message, &key).await;
        assert!(matches!(sent, Err(PostError::Temporary(_))), "{sent:?}");
        send_trusting("tls_is_asked_for_and_its_certificate_checked", &certificate, &url);
        server.mail();
        assert_eq!(server.said(), [""; 0]);
    }
}

#[tokio::test]
async fn another_machine_without_tls_gets_no_mail() {
    let Some(python) = python() else { return };
    let place = tempfile::tempdir().unwrap();
    let server = MailServer::start(&python, place.path(), &[]);
    let (message, key) = message_to("friend@example.net", MailKind::Invitation);
    let strict = smtp_settings(format!("smtp://0.0.0.0:{}", server.port));
    let sent = Smtp::new(&strict).unwrap().send(&message, &key).await;
    assert!(matches!(sent, Err(PostError::Temporary(_))), "{sent:?}");
    assert_eq!(server.said(), [""; 0]);
}
