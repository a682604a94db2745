//! Connections that say nothing, or half a request.
//!
//! Owns: opening them, seeing when the server closes them. One thread, bounded in number and time.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};

use slotcast_tools::histogram::Percentiles;

use super::report::Kind;

/// A request that never ends.
const HALF: &[u8] = b"DESCRIBE rtsp://127.0.0.1/channel1 RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: half";
const TURN: Duration = Duration::from_millis(20);

struct Connection {
    stream: TcpStream,
    half: bool,
    since: Instant,
    said: bool,
    closed: Option<Instant>,
}

/// Opens `silent` connections and `half` ones, `per_second`, and holds them for `hold` or until the server has closed
/// all. Returns how they came out, and how many could not be opened.
///
/// # Errors
/// There is no poll.
pub(super) fn hold(
    server: SocketAddr,
    (silent, half): (usize, usize),
    per_second: u32,
    hold: Duration,
) -> io::Result<([Kind; 2], usize)> {
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1024));
    let started = Instant::now();
    let opening = Duration::from_secs_f64((silent + half) as f64 / f64::from(per_second.max(1)));
    let until = started + opening + hold;
    let mut connections: Vec<Connection> = Vec::with_capacity(silent + half);
    let (mut begun, mut unopened) = (0, 0);
    while Instant::now() < until {
        let due = (started.elapsed().as_secs_f64() * f64::from(per_second)) as usize;
        while begun < (silent + half).min(due) {
            // The two kinds alternate as long as there are both.
            let is_half = if begun < 2 * silent.min(half) { begun % 2 == 1 } else { half > silent };
            begun += 1;
            let Ok(mut stream) = TcpStream::connect(server) else {
                unopened += 1;
                continue;
            };
            let both = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(connections.len()), both)?;
            let since = Instant::now();
            connections.push(Connection { stream, half: is_half, since, said: !is_half, closed: None });
        }
        match poll.poll(&mut events, Some(TURN)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let tokens = events.iter().map(|event| event.token().0);
        tokens.for_each(|key| connections.get_mut(key).into_iter().for_each(Connection::on_event));
        if begun == silent + half && connections.iter().all(|connection| connection.closed.is_some()) {
            break;
        }
    }
    let kind = |what, is_half| {
        let own = || connections.iter().filter(|connection| connection.half == is_half);
        let closed = || own().filter_map(|c| Some(c.closed?.saturating_duration_since(c.since)));
        Kind {
            what: String::from(what),
            count: own().count(),
            closed_by_server: closed().count(),
            closed_after_ms: Percentiles::of_durations(closed()),
        }
    };
    Ok(([kind("silent", false), kind("half a request", true)], unopened))
}

impl Connection {
    fn on_event(&mut self) {
        if !self.said && self.stream.write(HALF).is_ok() {
            self.said = true;
            self.since = Instant::now();
        }
        let mut answer = [0; 512];
        while self.closed.is_none() {
            match self.stream.read(&mut answer) {
                Ok(1..) => {}
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) =>
                {
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => self.closed = Some(Instant::now()),
            }
        }
    }
}
