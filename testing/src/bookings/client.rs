//! A client of the API on one connection that is kept.
//!
//! Invariant: an answer that did not come whole is an error, and then nobody knows whether it was done.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

const PASSWORD: &str = "a long pass phrase";
/// For an answer; requests that wait for a database are answered sooner.
const ANSWER_MAX: Duration = Duration::from_secs(40);
/// A queue of connections that is full lets the next one wait for seconds.
const CONNECT_MAX: Duration = Duration::from_secs(30);

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Reply {
    /// Last part of the problem's type.
    pub fn code(&self) -> &str {
        self.body["type"].as_str().and_then(|text| text.rsplit('/').next()).unwrap_or_default()
    }

    pub fn number(&self) -> Option<i64> {
        self.body["number"].as_i64()
    }

    pub fn state(&self) -> &str {
        self.body["state"].as_str().unwrap_or_default()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Somebody who asks, from an address of its own.
#[derive(Debug)]
pub struct Client {
    server: SocketAddr,
    from: IpAddr,
    headers: Vec<(String, String)>,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    /// The `index`-th client: its address is its own among those of a test.
    pub fn new(server: SocketAddr, index: usize) -> Self {
        let [.., high, low] = u32::try_from(index / 250).unwrap().to_be_bytes();
        let last = u8::try_from(index % 250 + 1).unwrap();
        let from = IpAddr::V4(Ipv4Addr::new(127, 8 + high, low, last));
        Self { server, from, headers: Vec::new(), stream: None }
    }

    /// The same client, on a connection of its own.
    pub fn twin(&self) -> Self {
        Self { server: self.server, from: self.from, headers: self.headers.clone(), stream: None }
    }

    /// Shows that token from now on.
    pub fn show(&mut self, token: &str) {
        self.headers = vec![("Authorization".to_owned(), format!("Bearer {token}"))];
    }

    pub fn get(&mut self, path: &str) -> io::Result<Reply> {
        self.ask("GET", path, None, &[])
    }

    pub fn post(&mut self, path: &str, body: &Value) -> io::Result<Reply> {
        self.ask("POST", path, Some(body), &[])
    }

    /// `path` below `/api/v1`.
    pub fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> io::Result<Reply> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let text = body.map(Value::to_string).unwrap_or_default();
        let mut request = format!("{method} /api/v1{path} HTTP/1.1\r\nHost: {}\r\n", self.server);
        let own = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in own.chain(headers.iter().copied()) {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if body.is_some() {
            request.push_str("Content-Type: application/json\r\n");
        }
        request.push_str(&format!("Content-Length: {}\r\n\r\n{text}", text.len()));
        stream.get_mut().write_all(request.as_bytes())?;
        let reply = read_reply(&mut stream)?;
        if reply.header("connection").is_none_or(|value| value != "close") {
            self.stream = Some(stream);
        }
        Ok(reply)
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(self.from, 0).into())?;
        socket.connect_timeout(&self.server.into(), CONNECT_MAX)?;
        socket.set_read_timeout(Some(ANSWER_MAX))?;
        socket.set_tcp_nodelay(true)?;
        Ok(BufReader::new(socket.into()))
    }

    /// Registers a premium member with a friendly card, logs in and takes a token, which comes back.
    #[track_caller]
    pub fn register(&mut self, user_id: &str, card: &str) -> String {
        let made = self.post("/members", &registration(user_id, card)).unwrap();
        assert_eq!(made.status, 201, "{made:?}");
        self.log_in(user_id, PASSWORD, &["read", "book", "broadcast"])
    }

    /// Logs in and takes a token with those scopes, which it shows from now on.
    #[track_caller]
    pub fn log_in(&mut self, user_id: &str, password: &str, scopes: &[&str]) -> String {
        let reply = self.post("/session", &json!({ "user_id": user_id, "password": password })).unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
        let cookie = reply.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let csrf = reply.body["csrf_token"].as_str().unwrap().to_owned();
        let request = json!({ "name": "test", "scopes": scopes, "days": 30 });
        let headers = [("Cookie", cookie.as_str()), ("X-CSRF-Token", csrf.as_str())];
        let made = self.ask("POST", "/me/tokens", Some(&request), &headers).unwrap();
        assert_eq!(made.status, 201, "{made:?}");
        let token = made.body["secret"].as_str().unwrap().to_owned();
        self.show(&token);
        token
    }

    /// All items of a list.
    #[track_caller]
    pub fn list(&mut self, path: &str) -> Vec<Value> {
        let mut all = Vec::new();
        for page in 1..=1000 {
            let page = format!("{path}?per_page=200&page={page}");
            // The server closes a connection that was silent for ten seconds: then it is asked on a new one.
            let reply = self.get(&page).or_else(|_| self.get(&page)).unwrap();
            assert_eq!(reply.status, 200, "{reply:?}");
            let items = reply.body["items"].as_array().unwrap().clone();
            let is_last = items.len() < 200;
            all.extend(items);
            if is_last {
                return all;
            }
        }
        panic!("{path}: the list does not end");
    }
}

fn registration(user_id: &str, card: &str) -> Value {
    json!({
        "user_id": user_id,
        "name": format!("Name of {user_id}"),
        "reading": "Reading",
        "email": format!("{user_id}@example.com"),
        "password": PASSWORD,
        "premium": { "address": "1-1 Chiyoda, Tokyo", "phone": "+81 3 0000 0000", "card_token": card },
    })
}

fn read_reply(stream: &mut BufReader<TcpStream>) -> io::Result<Reply> {
    let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let status = line.split(' ').nth(1).and_then(|text| text.parse().ok()).ok_or_else(|| broken(&line))?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut reply = Reply { status, headers, body: Value::Null };
    let length = match reply.header("content-length") {
        Some(text) => text.parse().map_err(|_| broken(text))?,
        None if status == 204 => 0,
        None => return Err(broken("an answer without its length")),
    };
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    reply.body = serde_json::from_slice(&body).unwrap_or_default();
    Ok(reply)
}

/// What a member asks to book, with a title by which it is found again, and a friend whom nobody else invites: an address
/// gets so many mails a day.
pub fn draft(channel: u16, start: i64, end: i64, title: &str) -> Value {
    json!({
        "channel": channel,
        "window": { "start": super::time_text(start), "end": super::time_text(end) },
        "program": { "title": title, "open_level": "public", "friends": [format!("friend-{channel}-{start}-{end}@example.com")] },
    })
}
