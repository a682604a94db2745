//! A running viewers' side without an ingest side: chunks are made here, viewers are plain sockets, and time stands until a test
//! lets it pass.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    num::NonZeroU32,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use slotcast_admission::{Channel, GuessLimits, Guesses, LinkKey, ProgramSpec, Programs, Secret, Timetable};
use slotcast_core::{
    chunk::ChunkBuilder,
    feed::Feeds,
    media::{Codec, Description, MediaKind, Stream, StreamId, Track},
    packet::PacketFlags,
    time::{Clock, Now, WallTime},
    words::{ChannelNumber, ConnectMargins, OpenLevel, ProgramId, Seats, Toll, Window},
};
use slotcast_fanout::{Fanout, FanoutConfig};
use socket2::{Domain, Socket, Type};

/// Longest wait for anything that should happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until it is so, for as long as patience lasts.
#[track_caller]
pub(crate) fn wait(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "it did not happen");
        std::thread::yield_now();
    }
}

/// A server with one program on channel `ch`, whose clocks stand.
pub(crate) struct Rig {
    pub(crate) fanout: Fanout,
    pub(crate) timetable: Arc<Timetable>,
    now: Arc<Mutex<Now>>,
    look_micros: Arc<AtomicU64>,
    pub(crate) spec: ProgramSpec,
    channel: Channel,
    feeds: Feeds,
    builder: ChunkBuilder,
    stream: Arc<Stream>,
    index: u64,
    sequence_number: u16,
    timestamp: u32,
}

/// What a rig's program is like.
pub(crate) struct Setting {
    pub(crate) seats: u32,
    pub(crate) seconds: u64,
    pub(crate) password: Option<&'static str>,
    pub(crate) config: FanoutConfig,
}

impl Default for Setting {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = FanoutConfig {
            listen,
            rtp_ports: [0, 0],
            udp: true,
            workers: 2,
            pin: false,
            segments: true,
            connections_max: 16_384,
            connections_per_address_max: 10_000,
            session_timeout: Duration::from_secs(60),
            slow_viewer: Duration::from_secs(1),
            stalled_viewer: Duration::from_secs(10),
        };
        Self { seats: 10, seconds: 600, password: None, config }
    }
}

impl Rig {
    pub(crate) fn start(setting: Setting) -> Self {
        let start: WallTime = "2026-11-22T10:00:00Z".parse().unwrap();
        let now = Arc::new(Mutex::new(Now { mono: Instant::now(), wall: start }));
        let look_micros = Arc::new(AtomicU64::new(0));
        let clock: Clock = {
            let (now, look_micros) = (Arc::clone(&now), Arc::clone(&look_micros));
            Arc::new(move || {
                let mut now = now.lock().unwrap();
                now.mono += Duration::from_micros(look_micros.load(Ordering::Relaxed));
                *now
            })
        };
        let timetable = Arc::new(Timetable::new());
        let window = Window::new(start, start.saturating_add(Duration::from_secs(setting.seconds))).unwrap();
        let channel = Channel {
            number: ChannelNumber(1),
            name: "ch".parse().unwrap(),
            seats: Seats::new(setting.seats).unwrap(),
            class: "8Mbit/s".parse().unwrap(),
            toll: Toll(0),
            gather: Duration::ZERO,
        };
        let open_level = if setting.password.is_some() { OpenLevel::Password } else { OpenLevel::Public };
        let spec = ProgramSpec {
            id: ProgramId(7),
            channel: ChannelNumber(1),
            window,
            connect: window.widened(ConnectMargins::default()),
            seats: None,
            class: None,
            title: "test".to_owned(),
            open_level,
            password: setting.password.map(|p| Secret::new(p.to_owned())),
            link_key: LinkKey::from_reservation_id("id"),
        };
        timetable.publish(vec![channel.clone()], vec![spec.clone()]).unwrap();
        let programs: Arc<dyn Programs> = Arc::clone(&timetable) as _;
        let guesses = Arc::new(Guesses::new(GuessLimits::default()));
        let (fanout, feeds) = Fanout::start(setting.config, programs, guesses, clock).unwrap();
        Self {
            fanout,
            timetable,
            now,
            look_micros,
            spec,
            channel,
            feeds,
            builder: ChunkBuilder::default(),
            stream: stream(1),
            index: 0,
            sequence_number: 1000,
            timestamp: 5000,
        }
    }

    pub(crate) fn now(&self) -> Now {
        *self.now.lock().unwrap()
    }

    /// Lets time pass on both clocks.
    pub(crate) fn pass(&self, time: Duration) {
        self.now.lock().unwrap().mono += time;
        self.step_wall(time);
    }

    /// Lets each look at the clock take that long, so that what a worker does between two looks counts.
    pub(crate) fn looks_take(&self, time: Duration) {
        self.look_micros.store(time.as_micros() as u64, Ordering::Relaxed);
    }

    /// Turns that all workers have had.
    pub(crate) fn turns(&self) -> u64 {
        let workers = self.fanout.stats().workers().iter();
        workers.map(|worker| worker.turns.counts().iter().sum::<u64>()).sum()
    }

    /// Steps wall time alone, as an operator or NTP may.
    pub(crate) fn step_wall(&self, time: Duration) {
        let mut now = self.now.lock().unwrap();
        now.wall = now.wall.saturating_add(time);
    }

    /// Waits until each worker has looked at all that came before this call, and done what was due.
    pub(crate) fn turn(&self) {
        // A worker may answer the first question at the end of a turn that began before the call.
        for _ in 0..2 {
            self.fanout.roll().viewers(self.spec.id);
        }
    }

    /// Waits until each worker has taken all chunks.
    pub(crate) fn taken(&self) {
        let chunks = self.index * self.fanout.stats().workers().len() as u64;
        // A worker without viewers of the program is not woken for its chunks: the question wakes it.
        self.turn();
        wait(|| self.fanout.stats().sum(|w| &w.chunks) >= chunks);
    }

    /// Moves the program's end to that long from now.
    pub(crate) fn end_in(&mut self, time: Duration) {
        let end = self.now().wall.saturating_add(time);
        self.spec.window = Window::new(self.spec.window.start(), end).unwrap();
        self.timetable.publish(vec![self.channel.clone()], vec![self.spec.clone()]).unwrap();
    }

    /// Publishes one video frame of `packets` packets of 1,200 bytes.
    pub(crate) fn frame(&mut self, key: bool, packets: usize) {
        let now = self.now().mono;
        let key = if key { PacketFlags::KEY } else { PacketFlags::EMPTY };
        for place in 0..packets {
            let marker = u8::from(place + 1 == packets) << 7;
            let packet = rtp(96 | marker, self.sequence_number, self.timestamp, 1188);
            self.builder.push(now, 0, key, &packet).unwrap();
            self.sequence_number = self.sequence_number.wrapping_add(1);
        }
        self.timestamp = self.timestamp.wrapping_add(3000);
        let chunk = self.builder.flush(&self.stream, self.index).unwrap();
        self.index += 1;
        self.feeds.publish(&chunk);
    }

    /// That of the next video packet.
    pub(crate) fn next_sequence_number(&self) -> u16 {
        self.sequence_number
    }

    /// Publishes one audio packet.
    pub(crate) fn audio(&mut self) {
        let packet = rtp(97, self.index as u16, self.timestamp, 100);
        self.builder.push(self.now().mono, 1, PacketFlags::KEY, &packet).unwrap();
        let chunk = self.builder.flush(&self.stream, self.index).unwrap();
        self.index += 1;
        self.feeds.publish(&chunk);
    }

    /// The next chunks are of a stream that viewers of the last one cannot follow.
    pub(crate) fn change_stream(&mut self) {
        self.stream = stream(2);
    }

    /// Publishes a frame every 50 ms, a key frame every second, until `done` says so or patience ends.
    pub(crate) fn stream_until(&mut self, mut done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        for count in 0u32.. {
            if done(self) {
                return;
            }
            assert!(Instant::now() < deadline, "it did not happen");
            self.frame(count.is_multiple_of(20), 1);
            self.taken();
            self.pass(Duration::from_millis(50));
        }
    }

    /// Seats that are taken.
    pub(crate) fn timetable_viewers(&self) -> u32 {
        self.timetable.program(ProgramId(7)).unwrap().gate.viewers()
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.fanout.local_addr())
    }
}

fn stream(id: u64) -> Arc<Stream> {
    let track = |kind, codec, pt, rate| Track {
        kind,
        codec,
        payload_types: vec![pt],
        clock_rate: NonZeroU32::new(rate).unwrap(),
    };
    Arc::new(Stream {
        id: StreamId(id),
        program: ProgramId(7),
        tracks: vec![
            track(MediaKind::Video, Codec::H264, 96, 90_000),
            track(MediaKind::Audio, Codec::Audio, 97, 48_000),
        ],
        description: Description {
            title: "test".to_owned(),
            media: vec![
                "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n".to_owned(),
                "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 opus/48000/2\r\n".to_owned(),
            ],
        },
    })
}

fn rtp(marker_and_type: u8, sequence_number: u16, timestamp: u32, payload_bytes: usize) -> Vec<u8> {
    let mut packet = vec![0x80, marker_and_type];
    packet.extend(sequence_number.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend([0, 0, 0, 9]);
    packet.resize(12 + payload_bytes, 0x55);
    packet
}

/// An RTSP response: status line, headers by lower-case name, body.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

/// One item of what comes from the server on a connection.
#[derive(Debug)]
pub(crate) enum Item {
    Response(Response),
    Frame(u8, Vec<u8>),
    Closed,
}

/// A viewer by hand.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    url: String,
    cseq: u32,
    session: Option<String>,
    input: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(server: SocketAddr) -> Self {
        Self::over(TcpStream::connect(server).unwrap(), server)
    }

    /// From an address of this machine.
    pub(crate) fn connect_from(from: SocketAddr, server: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, None).unwrap();
        // An address that was given to a link a moment ago may not be usable yet.
        wait(|| socket.bind(&from.into()).is_ok());
        wait(|| socket.connect(&server.into()).is_ok());
        Self::over(socket.into(), server)
    }

    fn over(stream: TcpStream, server: SocketAddr) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Without the link of a link-local address, which is nobody else's business.
        let at = SocketAddr::new(server.ip(), server.port());
        Self { stream, url: format!("rtsp://{at}/ch"), cseq: 0, session: None, input: Vec::new() }
    }

    /// Sends a request; `control` is appended to the URL.
    pub(crate) fn send(&mut self, method: &str, control: &str, headers: &str) {
        self.cseq += 1;
        let session = self.session.as_ref().map(|id| format!("Session: {id}\r\n")).unwrap_or_default();
        let request = format!(
            "{method} {}{control} RTSP/1.0\r\nCSeq: {}\r\n{session}{headers}\r\n",
            self.url, self.cseq
        );
        self.stream.write_all(request.as_bytes()).unwrap();
    }

    /// Sends a request and returns its response; frames that come before it are dropped.
    pub(crate) fn ask(&mut self, method: &str, control: &str, headers: &str) -> Response {
        self.send(method, control, headers);
        loop {
            match self.next() {
                Item::Response(response) => {
                    if let Some(session) = response.headers.get("session") {
                        self.session = session.split(';').next().map(str::to_owned);
                    }
                    return response;
                }
                Item::Frame(..) => {}
                Item::Closed => panic!("closed instead of an answer to {method}"),
            }
        }
    }

    /// Sets up all of video and audio over TCP and plays.
    pub(crate) fn play_tcp(&mut self) -> Response {
        let setup = "Transport: RTP/AVP/TCP;unicast;interleaved=";
        assert_eq!(self.ask("SETUP", "/trackID=0", &format!("{setup}0-1\r\n")).status, 200);
        assert_eq!(self.ask("SETUP", "/trackID=1", &format!("{setup}2-3\r\n")).status, 200);
        self.ask("PLAY", "", "")
    }

    /// Sets up video over UDP and plays; returns the RTP and the RTCP socket.
    pub(crate) fn play_udp(&mut self) -> (UdpSocket, UdpSocket) {
        let mut at = self.stream.local_addr().unwrap();
        at.set_port(0);
        let [rtp, rtcp] = [0, 1].map(|_| UdpSocket::bind(at).unwrap());
        for socket in [&rtp, &rtcp] {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            // Tests read late: the default holds about 90 packets.
            socket2::SockRef::from(socket).set_recv_buffer_size(4 << 20).unwrap();
        }
        let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
        let setup = format!("Transport: RTP/AVP;unicast;client_port={}-{}\r\n", port(&rtp), port(&rtcp));
        assert_eq!(self.ask("SETUP", "/trackID=0", &setup).status, 200);
        assert_eq!(self.ask("PLAY", "", "").status, 200);
        (rtp, rtcp)
    }

    /// What has come by now.
    pub(crate) fn arrived(&mut self) -> Vec<Item> {
        self.stream.set_nonblocking(true).unwrap();
        let mut buffer = [0; 65536];
        let mut items = Vec::new();
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break items.push(Item::Closed),
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(_) => break,
            }
            items.extend(std::iter::from_fn(|| self.take()));
        }
        self.stream.set_nonblocking(false).unwrap();
        items
    }

    pub(crate) fn next(&mut self) -> Item {
        loop {
            if let Some(item) = self.take() {
                return item;
            }
            let mut buffer = [0; 65536];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Item::Closed,
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("nothing came in time")
                }
                Err(_) => return Item::Closed,
            }
        }
    }

    fn take(&mut self) -> Option<Item> {
        if self.input.first() == Some(&b'$') {
            let length = usize::from(u16::from_be_bytes([*self.input.get(2)?, *self.input.get(3)?]));
            let payload = self.input.get(4..4 + length)?.to_vec();
            let channel = self.input[1];
            self.input.drain(..4 + length);
            return Some(Item::Frame(channel, payload));
        }
        let end = self.input.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(self.input[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let mut status = lines.next().unwrap().splitn(3, ' ').skip(1);
        let headers: HashMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length = headers.get("content-length").map_or(0, |l| l.parse().unwrap());
        let body = String::from_utf8(self.input.get(end..end + length)?.to_vec()).unwrap();
        self.input.drain(..end + length);
        Some(Item::Response(Response {
            status: status.next().unwrap().parse().unwrap(),
            reason: status.next().unwrap_or_default().to_owned(),
            headers,
            body,
        }))
    }
}

/// The sequence number of an RTP packet.
pub(crate) fn sequence_number(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[2], packet[3]])
}

/// The datagrams that have come to `socket` by now.
pub(crate) fn datagrams(socket: &UdpSocket) -> Vec<Vec<u8>> {
    socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 2000];
    let come = std::iter::from_fn(|| socket.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec()))
        .collect();
    socket.set_nonblocking(false).unwrap();
    come
}

/// Whether an RTCP compound holds a BYE.
pub(crate) fn has_bye(mut compound: &[u8]) -> bool {
    while compound.len() >= 4 {
        if compound[1] == 203 {
            return true;
        }
        let bytes = 4 * (1 + usize::from(u16::from_be_bytes([compound[2], compound[3]])));
        compound = compound.get(bytes..).unwrap_or(&[]);
    }
    false
}
