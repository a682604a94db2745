//! A mail server that keeps what it was given, and takes its time to say so.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use super::{Random, pass};

type Kept = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

/// A running mail server. It ends with the process.
pub struct MailServer {
    pub address: SocketAddr,
    /// Messages by the part of their Message-ID before the `@`.
    kept: Kept,
}

impl MailServer {
    pub fn start(mut random: Random) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Kept::default();
        let all = Arc::clone(&kept);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (all, random) = (Arc::clone(&all), random.fork());
                // A client that was killed is part of the test.
                thread::spawn(move || stream.and_then(|stream| serve(stream, &all, random)));
            }
        });
        Self { address, kept }
    }

    /// How often each key came, a repeat counted.
    pub fn keys(&self) -> BTreeMap<String, usize> {
        let kept = self.kept.lock().unwrap();
        kept.iter().map(|(key, messages)| (key.clone(), messages.len())).collect()
    }
}

fn serve(stream: TcpStream, kept: &Kept, mut random: Random) -> std::io::Result<()> {
    let mut answers = stream.try_clone()?;
    let mut lines = BufReader::new(stream);
    answers.write_all(b"220 test\r\n")?;
    let mut line = String::new();
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "DATA" => {
                answers.write_all(b"354 go on\r\n")?;
                let Some(message) = message(&mut lines)? else { return Ok(()) };
                kept.lock().unwrap().entry(key_of(&message)).or_default().push(message);
                pass(Duration::from_millis(random.below(30)));
                answers.write_all(b"250 kept\r\n")?;
            }
            "QUIT" => return answers.write_all(b"221 bye\r\n"),
            _ => answers.write_all(b"250 ok\r\n")?,
        }
    }
}

/// `None`: the client went away before its end, so it was not taken.
fn message(lines: &mut impl BufRead) -> std::io::Result<Option<String>> {
    let mut message = String::new();
    let mut line = String::new();
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line == ".\r\n" {
            return Ok(Some(message));
        }
        message.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}

fn key_of(message: &str) -> String {
    let head = message.split("\r\n\r\n").next().unwrap_or_default().replace("\r\n ", " ");
    let mut ids = head.lines().filter_map(|line| line.strip_prefix("Message-ID:"));
    let id = ids.next_back().and_then(|id| id.trim().strip_prefix('<')).and_then(|id| id.split('@').next());
    id.unwrap_or("a message without Message-ID").to_owned()
}
