//! A small client of the HTTP API: one connection for each request, JSON in and out.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

/// How long an answer may take. Logging in hashes a password on purpose slowly; all else needs milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// An answer of the API.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub text: String,
    /// The text as JSON; null where it is none.
    pub body: Value,
}

impl Answer {
    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The last part of a problem's type; empty where there is none.
    pub fn problem(&self) -> &str {
        self.body["type"].as_str().and_then(|text| text.rsplit('/').next()).unwrap_or_default()
    }

    /// Panics unless the answer has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }
}

/// Somebody who asks.
#[derive(Clone, Debug)]
pub struct Client {
    server: SocketAddr,
    cookie: Option<String>,
    csrf: Option<String>,
}

impl Client {
    /// Somebody who has not logged in.
    pub fn new(server: SocketAddr) -> Self {
        Self { server, cookie: None, csrf: None }
    }

    /// The same, logged in.
    #[track_caller]
    pub fn log_in(&self, user_id: &str, password: &str) -> Self {
        let answer = self.post("/session", &json!({ "user_id": user_id, "password": password })).expect(200);
        let cookie = answer.header("set-cookie").and_then(|text| text.split(';').next()).unwrap().to_owned();
        let csrf = answer.body["csrf_token"].as_str().unwrap().to_owned();
        Self { server: self.server, cookie: Some(cookie), csrf: Some(csrf) }
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None, &[])
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, Some(body), &[])
    }

    /// An edit of what has the entity tag `etag`.
    #[track_caller]
    pub fn patch(&self, path: &str, etag: &str, body: &Value) -> Answer {
        self.ask("PATCH", path, Some(body), &[("If-Match", etag)])
    }

    /// A page that is no part of the API, such as `/metrics`.
    #[track_caller]
    pub fn page(&self, path: &str) -> Answer {
        self.ask_for("GET", path, None, &[])
    }

    /// `path` below `/api/v1`.
    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: Option<&Value>, headers: &[(&str, &str)]) -> Answer {
        self.ask_for(method, &format!("/api/v1{path}"), body, headers)
    }

    #[track_caller]
    fn ask_for(&self, method: &str, path: &str, body: Option<&Value>, headers: &[(&str, &str)]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.server);
        let own = [("Cookie", self.cookie.as_deref()), ("X-CSRF-Token", self.csrf.as_deref())];
        let own = own.into_iter().filter_map(|(name, value)| Some((name, value?)));
        for (name, value) in own.chain(headers.iter().copied()) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        if !body.is_empty() {
            head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        let mut stream = TcpStream::connect_timeout(&self.server, ANSWER_WITHIN).unwrap();
        stream.set_read_timeout(Some(ANSWER_WITHIN)).unwrap();
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
        let mut text = String::new();
        if let Err(error) = stream.read_to_string(&mut text) {
            panic!("{method} {path}: {error} after {text:?}");
        }
        parse(&text).unwrap_or_else(|| panic!("{method} {path}: no whole answer: {text:?}"))
    }
}

/// One whole answer, whose length must be told, or its parts' lengths. `None`: it is not whole.
fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let (first, rest) = head.split_once("\r\n")?;
    let status = first.split(' ').nth(1)?.parse().ok()?;
    let pairs = rest.split("\r\n").filter_map(|line| line.split_once(':'));
    let headers = pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect();
    let mut answer = Answer { status, headers, text: body.to_owned(), body: Value::Null };
    if answer.header("transfer-encoding") == Some("chunked") {
        answer.text = join(body)?;
    } else {
        let length = answer.header("content-length").map_or(Some(0), |length| length.parse().ok())?;
        (length == body.len()).then_some(())?;
    }
    answer.body = serde_json::from_str(&answer.text).unwrap_or_default();
    Some(answer)
}

/// The parts of a body that is sent in parts (RFC 9112 7.1). `None`: the last one, which is empty, is not there.
fn join(mut parts: &str) -> Option<String> {
    let mut text = String::new();
    loop {
        let (length, rest) = parts.split_once("\r\n")?;
        let length = usize::from_str_radix(length, 16).ok()?;
        text += rest.get(..length)?;
        parts = rest.get(length..)?.strip_prefix("\r\n")?;
        if length == 0 {
            return parts.is_empty().then_some(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expected: Option<&str>) {
        let answer = parse(&format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
        assert_eq!(answer.map(|answer| answer.text).as_deref(), expected);
    }

    #[test]
    fn an_answer_in_parts_is_whole_with_its_last_part_only() {
        check("3\r\none\r\n4\r\n two\r\n0\r\n\r\n", Some("one two"));
        check("3\r\none\r\n4\r\n two\r\n", None);
        check("3\r\non", None);
    }
}
