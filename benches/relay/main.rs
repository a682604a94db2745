//! A relay that only forwards: the raw loop's cross-check.
//!
//! It takes one stream over interleaved TCP and sends each frame to everybody who plays it, over UDP or TCP. No seats,
//! no passwords, no time, no slow viewers, one stream, one thread. `slotcast load limit --watch .. --publish .. --pid ..`
//! measures it as it measures a server; it must come out near 1.0, or the raw loop is wrong.
//!
//! Without an address it says how to use it and ends.

use std::{
    collections::HashMap,
    io::{self, IoSlice, Read, Write},
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsFd,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use slotcast_core::{
    chunk::{Chunk, ChunkBuilder},
    media::{Description, Stream, StreamId},
    packet::PacketFlags,
    runs::SEGMENTS_MAX,
    words::ProgramId,
};
use slotcast_net::sys::{Destination, send_datagrams};
use slotcast_rtsp::{
    message::{Decoder, Item, Request, Response},
    status::Status,
};

const LISTENER: Token = Token(usize::MAX);
/// It ends by itself after this time.
const LIFE: Duration = Duration::from_secs(3600);

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--listen").skip(1);
    let Some(address) = arguments.next().and_then(|text| text.parse::<SocketAddr>().ok()) else {
        println!("usage: cargo bench --bench relay -- --listen 127.0.0.1:9554");
        return Ok(());
    };
    if !address.ip().is_loopback() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "only loopback addresses"));
    }
    println!("pid {}", std::process::id());
    let work = move || Relay::bind(address)?.run();
    // Named as a server's workers are, so that it is measured as they are.
    let thread = std::thread::Builder::new().name("worker-0".to_owned()).spawn(work)?;
    thread.join().map_err(|_| io::Error::other("the relay ended in a defect"))?
}

struct Relay {
    poll: Poll,
    listener: TcpListener,
    media: UdpSocket,
    connections: HashMap<usize, Connection>,
    next: usize,
    sdp: Bytes,
    builder: ChunkBuilder,
    stream: Arc<Stream>,
    frames: u64,
    /// Who plays, over UDP and over TCP.
    udp: Vec<(usize, Destination)>,
    tcp: Vec<Player>,
    buffer: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    peer: IpAddr,
    decoder: Decoder,
    ports: Option<u16>,
}

/// Who plays over TCP, close together: nothing else is touched per frame.
struct Player {
    id: usize,
    stream: TcpStream,
    /// What the socket did not take.
    rest: Vec<u8>,
}

impl Relay {
    fn bind(address: SocketAddr) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(address)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let media = UdpSocket::bind(SocketAddr::new(address.ip(), 0))?;
        media.set_nonblocking(true)?;
        let stream = Stream {
            id: StreamId(1),
            program: ProgramId(1),
            tracks: Vec::new(),
            description: Description { title: String::new(), media: Vec::new() },
        };
        Ok(Self {
            poll,
            listener,
            media,
            connections: HashMap::new(),
            next: 0,
            sdp: Bytes::new(),
            builder: ChunkBuilder::default(),
            stream: Arc::new(stream),
            frames: 0,
            udp: Vec::new(),
            tcp: Vec::new(),
            buffer: vec![0; 1 << 16],
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let end = Instant::now() + LIFE;
        while Instant::now() < end {
            match self.poll.poll(&mut events, Some(Duration::from_secs(1))) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    Token(id) => {
                        if self.read(id).is_err() {
                            self.forget(id);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Ok((mut stream, from)) = self.listener.accept() {
            stream.set_nodelay(true)?;
            self.poll.registry().register(&mut stream, Token(self.next), Interest::READABLE)?;
            let decoder = Decoder::default();
            let connection = Connection { stream, peer: from.ip(), decoder, ports: None };
            self.connections.insert(self.next, connection);
            self.next += 1;
        }
        Ok(())
    }

    fn forget(&mut self, id: usize) {
        self.connections.remove(&id);
        self.udp.retain(|(viewer, _)| *viewer != id);
        self.tcp.retain(|player| player.id != id);
    }

    fn read(&mut self, id: usize) -> io::Result<()> {
        if let Some(player) = self.tcp.iter_mut().find(|player| player.id == id) {
            return player.hear(&mut self.buffer);
        }
        loop {
            let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
            match connection.stream.read(&mut self.buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => connection.decoder.feed(&self.buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            while let Some(connection) = self.connections.get_mut(&id) {
                let item = connection.decoder.poll_item();
                match item.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))? {
                    Some(Item::Request(request)) => self.answer(id, &request)?,
                    Some(Item::Frame { channel, payload }) => self.take(channel, &payload),
                    Some(Item::Response(_)) => {}
                    None => break,
                }
            }
        }
    }

    fn answer(&mut self, id: usize, request: &Request) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        let mut response = Response::new(Status::OK);
        response.headers.push("CSeq", request.cseq().unwrap_or("0"));
        match request.method.as_str() {
            "ANNOUNCE" => self.sdp = request.body.clone(),
            "DESCRIBE" => {
                response.headers.push("Content-Type", "application/sdp");
                response.headers.push("Content-Base", format!("{}/", request.url));
                response.body = self.sdp.clone();
            }
            "SETUP" => {
                let transport = request.headers.get("Transport").unwrap_or_default();
                let ports = transport.split(';').find_map(|part| part.strip_prefix("client_port="));
                let rtp = ports.and_then(|ports| ports.split('-').next()).and_then(|port| port.parse().ok());
                let server = self.media.local_addr()?.port();
                let more = rtp.map(|_: u16| format!(";server_port={server}-{server}")).unwrap_or_default();
                connection.ports = rtp;
                response.headers.push("Transport", format!("{transport}{more}"));
                response.headers.push("Session", "1");
            }
            "PLAY" => match connection.ports {
                Some(port) => self.udp.push((id, SocketAddr::new(connection.peer, port).into())),
                None => {
                    connection.stream.write_all(&response.to_bytes())?;
                    let connection = self.connections.remove(&id);
                    let player = connection.map(|c| Player { id, stream: c.stream, rest: Vec::new() });
                    self.tcp.extend(player);
                    return Ok(());
                }
            },
            _ => {}
        }
        connection.stream.write_all(&response.to_bytes())
    }

    /// Takes one packet; the marker of its frame sends the frame on.
    fn take(&mut self, channel: u8, packet: &[u8]) {
        let marker = packet.get(1).is_some_and(|byte| byte & 0x80 != 0);
        let (now, track) = (Instant::now(), channel / 2);
        let taken = self.builder.push(now, track, PacketFlags::EMPTY, packet).is_some();
        if taken
            && (marker || track > 0)
            && let Some(chunk) = self.builder.flush(&self.stream, self.frames)
        {
            self.frames += 1;
            self.forward(&chunk);
        }
    }

    fn forward(&mut self, chunk: &Chunk) {
        for run in chunk.runs().all().iter().filter(|_| !self.udp.is_empty()) {
            let mut parts = [IoSlice::new(&[]); SEGMENTS_MAX];
            let places = chunk.runs().packets(run);
            for (part, &place) in parts.iter_mut().zip(places) {
                *part = IoSlice::new(chunk.packet(&chunk.packets()[usize::from(place)]));
            }
            let segment = (places.len() > 1).then_some(run.segment_bytes);
            for (_, to) in &self.udp {
                // Lost is lost: nothing is repeated over UDP.
                let _ = send_datagrams(self.media.as_fd(), to, &parts[..places.len()], segment);
            }
        }
        self.tcp.retain_mut(|player| player.send(chunk.bytes()).is_ok());
    }
}

impl Player {
    /// Whatever it says; only its end matters.
    fn hear(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes a frame; one that finds the last one unfinished is left out.
    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let waiting = !self.rest.is_empty();
        let bytes = if waiting { self.rest.as_slice() } else { frame };
        match self.stream.write(bytes) {
            Ok(count) if count == bytes.len() => self.rest.clear(),
            Ok(count) => self.rest = bytes[count..].to_vec(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
