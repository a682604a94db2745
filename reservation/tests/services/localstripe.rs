//! localstripe, another project's imitation of Stripe's API, as a process.
//!
//! localstripe 1.15 knows no idempotency keys, no list of a Customer's PaymentIntents, and tells by webhooks neither that a
//! hold was let go nor of refunds.

use std::{
    env,
    ffi::OsString,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use slotcast_reservation::{
    domain::{
        member::{Card, CardQuestion},
        words::MemberNumber,
    },
    payments::{
        CardCheck, NewCard, PaymentError, Payments,
        stripe::{Stripe, StripeSettings},
    },
};
use slotcast_testing::skip;

const KEY: &str = "sk_test_of_localstripe";
pub(crate) const WEBHOOK_SECRET: &str = "whsec_of_localstripe";
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// localstripe's own server, on a socket of this machine only.
const START: &str = "
import socket
from aiohttp import web
from localstripe.resources import PaymentIntent
from localstripe.server import app
# localstripe does not know how a member who is there is asked, but asks.
create = PaymentIntent._api_create
PaymentIntent._api_create = lambda use_stripe_sdk=None, **data: create(**data)
listener = socket.socket()
listener.bind(('127.0.0.1', 0))
listener.listen()
print(listener.getsockname()[1], flush=True)
web.run_app(app, sock=listener, print=None, handle_signals=False)
";

/// The process; ended with the value.
pub(crate) struct LocalStripe {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Drop for LocalStripe {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl LocalStripe {
    /// `None`: it is not installed here, and the test is skipped.
    pub(crate) fn start() -> Option<Self> {
        let python = env::var_os("SLOTCAST_TEST_TOOLS")
            .map_or_else(|| OsString::from("python3"), |tools| Path::new(&tools).join("python3").into());
        let probe = Command::new(&python).args(["-c", "import localstripe.server"]).output();
        if !probe.is_ok_and(|output| output.status.success()) {
            skip("localstripe is not installed");
            return None;
        }
        let mut process = Command::new(&python)
            .args(["-c", START])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        // It listens already: whoever connects now waits until it answers.
        let address = SocketAddr::from(([127, 0, 0, 1], line.trim().parse().unwrap()));
        Some(Self { process, address })
    }

    pub(crate) fn stripe(&self) -> Stripe {
        let settings = StripeSettings {
            secret_key: KEY.to_owned(),
            webhook_secret: Some(WEBHOOK_SECRET.to_owned()),
            base_url: format!("http://{}", self.address),
            timeout: PATIENCE,
        };
        Stripe::new(&settings).unwrap()
    }

    /// Asks as a browser or an operator would; returns the answer's body.
    pub(crate) fn post(&self, path: &str, form: &str) -> String {
        self.ask("POST", path, form)
    }

    pub(crate) fn ask(&self, method: &str, path: &str, form: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localstripe\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        body.to_owned()
    }

    /// What the card form in the browser does.
    pub(crate) fn card_entry(&self, number: &str) -> String {
        let form =
            format!("type=card&card[number]={number}&card[exp_month]=11&card[exp_year]=2031&card[cvc]=123");
        let answer: serde_json::Value =
            serde_json::from_str(&self.post("/v1/payment_methods", &form)).unwrap();
        answer["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn register(&self, number: &str) -> Result<CardCheck, PaymentError> {
        self.check(5, &self.card_entry(number)).await
    }

    pub(crate) async fn check(&self, member: i64, token: &str) -> Result<CardCheck, PaymentError> {
        let card = NewCard {
            token: token.to_owned(),
            member: MemberNumber(member),
            email: "taro@example.com".parse().unwrap(),
            name: "Yamada & 太郎 [x]".to_owned(),
        };
        self.stripe().check_card(&card).await
    }

    pub(crate) async fn card(&self, number: &str) -> Card {
        kept(self.register(number).await)
    }

    pub(crate) async fn question(&self, number: &str) -> CardQuestion {
        match self.register(number).await {
            Ok(CardCheck::Ask(question)) => question,
            other => panic!("{other:?}"),
        }
    }
}

#[track_caller]
pub(crate) fn kept(check: Result<CardCheck, PaymentError>) -> Card {
    match check {
        Ok(CardCheck::Kept(card)) => card,
        other => panic!("{other:?}"),
    }
}
