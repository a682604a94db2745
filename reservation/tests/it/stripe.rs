//! What the tests of the Stripe client share: a stand-in for Stripe that records every question and answers as it is
//! told.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use slotcast_reservation::{
    domain::words::MemberNumber,
    payments::{
        NewCard,
        stripe::{Stripe, StripeSettings},
    },
};

pub(crate) const KEY: &str = "sk_test_do_not_show_me_123";
pub(crate) const EMPTY_LIST: &str = r#"{"object":"list","data":[]}"#;

/// One question as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path.split('?').next() == Some(path)
    }

    pub(crate) fn key(&self) -> Option<&str> {
        self.headers.get("idempotency-key").map(String::as_str)
    }

    /// The value of a pair of the body, where it needs no decoding.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.body.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

/// What the stand-in does.
pub(crate) enum Reply {
    Json(u16, String),
    /// Sends these bytes and hangs up.
    Raw(String),
    /// Sends these bytes, then nothing, until the client hangs up.
    RawThenNothing(String),
    /// More than anybody wants to read.
    Endless,
}

pub(crate) fn ok(body: &str) -> Reply {
    Reply::Json(200, body.to_owned())
}

pub(crate) fn refusal(status: u16, kind: &str, code: &str, message: &str) -> Reply {
    let body = format!(r#"{{"error":{{"type":"{kind}","code":"{code}","message":"{message}"}}}}"#);
    Reply::Json(status, body)
}

pub(crate) fn error(kind: &str, code: &str) -> String {
    format!(r#"{{"error":{{"type":"{kind}","code":"{code}","message":"No."}}}}"#)
}

pub(crate) fn intent(id: &str, status: &str, key: &str) -> String {
    format!(
        r#"{{"id":"{id}","status":"{status}","currency":"isk","last_payment_error":null,
            "metadata":{{"slotcast_key":"{key}","slotcast_reservation":"77"}}}}"#
    )
}

pub(crate) fn list(items: &[String]) -> String {
    format!(r#"{{"object":"list","data":[{}]}}"#, items.join(","))
}

type Script = dyn Fn(&Asked, usize) -> Reply + Send + Sync;

/// A name or path, and what is answered there.
pub(crate) type Case = (&'static str, fn() -> Reply);

/// A stand-in for Stripe on a free port of this machine.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    is_over: Arc<AtomicBool>,
}

impl Fake {
    /// `script`: what to answer to a question, given how many came before.
    pub(crate) fn start(script: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let script: Arc<Script> = Arc::new(script);
        let (all, over) = (Arc::clone(&asked), Arc::clone(&is_over));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (script, all) = (Arc::clone(&script), Arc::clone(&all));
                // A client that hangs up is part of the test.
                thread::spawn(move || stream.and_then(|stream| answer(stream, &*script, &all)));
            }
        });
        Self { address, asked, is_over }
    }

    pub(crate) fn stripe(&self, timeout_ms: u64) -> Stripe {
        let settings = StripeSettings {
            secret_key: KEY.to_owned(),
            webhook_secret: None,
            base_url: format!("http://{}", self.address),
            timeout: Duration::from_millis(timeout_ms),
        };
        Stripe::new(&settings).unwrap()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The questions that do something.
    pub(crate) fn done(&self) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.method == "POST").collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn answer(mut stream: TcpStream, script: &Script, all: &Mutex<Vec<Asked>>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    let Some(asked) = read_question(&stream)? else { return Ok(()) };
    let reply = {
        let mut all = all.lock().unwrap();
        let before = all.len();
        all.push(asked.clone());
        script(&asked, before)
    };
    match reply {
        Reply::Json(status, body) => write!(
            stream,
            "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        ),
        Reply::Raw(text) => stream.write_all(text.as_bytes()),
        Reply::RawThenNothing(text) => {
            stream.write_all(text.as_bytes())?;
            stream.read(&mut [0]).map(drop)
        }
        Reply::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            (0..256).try_for_each(|_| stream.write_all(&[b' '; 1 << 16]))
        }
    }
}

fn read_question(stream: &TcpStream) -> std::io::Result<Option<Asked>> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Asked { method, path, headers, body: String::from_utf8(body).unwrap() }))
}

pub(crate) fn new_card(token: &str) -> NewCard {
    NewCard {
        token: token.to_owned(),
        member: MemberNumber(5),
        email: "taro@example.com".parse().unwrap(),
        name: "Yamada & 太郎".to_owned(),
    }
}
