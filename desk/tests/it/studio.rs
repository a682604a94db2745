//! A desk with a timetable, clocks that only the test moves, and one subscriber.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use slotcast_admission::{Channel, Decision, LinkKey, LinkRequest, ProgramSpec, Reason, Timetable};
use slotcast_auth::Credentials;
use slotcast_core::{
    chunk::Chunk,
    feed::{FeedReceiver, Feeds},
    media::{Codec, Description, MediaKind, Offer, TRACKS_MAX, Track},
    rtp::Ssrc,
    time::{Now, WallTime},
    words::{ChannelNumber, ConnectMargins, OpenLevel, ProgramId, Seats, Toll, Window},
};
use slotcast_desk::{Desk, DeskConfig, Fate, LinkStatus, Pass, ToLink};

pub(crate) const ID: &str = "reservation-of-channel4-2f6c1a";
pub(crate) const NEXT_ID: &str = "reservation-of-the-next-hour-8d01";
/// The clock's first moment: ten minutes into the hour of program 1.
const OPENING: &str = "2026-11-22T10:10:00Z";

pub(crate) struct Studio {
    pub(crate) desk: Desk,
    pub(crate) timetable: Arc<Timetable>,
    feed: FeedReceiver,
    now: Now,
    /// What links were told.
    pub(crate) told: Vec<ToLink>,
}

pub(crate) fn wall(text: &str) -> WallTime {
    text.parse().unwrap()
}

pub(crate) fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(crate) fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(crate) fn ip(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

pub(crate) fn channel(gather: Duration) -> Channel {
    Channel {
        number: ChannelNumber(4),
        name: "channel4".parse().unwrap(),
        seats: Seats::new(5).unwrap(),
        class: "2Mbit/s".parse().unwrap(),
        toll: Toll(100),
        gather,
    }
}

/// From `start` to `end`, as times of the day.
pub(crate) fn program(id: u64, start: &str, end: &str, reservation_id: &str) -> ProgramSpec {
    let at = |time: &str| wall(&format!("2026-11-22T{time}Z"));
    let window = Window::new(at(start), at(end)).unwrap();
    ProgramSpec {
        id: ProgramId(id),
        channel: ChannelNumber(4),
        window,
        connect: window.widened(ConnectMargins::default()),
        seats: None,
        class: None,
        title: "A test".to_owned(),
        open_level: OpenLevel::Public,
        password: None,
        link_key: LinkKey::from_reservation_id(reservation_id),
    }
}

pub(crate) fn this_hour() -> ProgramSpec {
    program(1, "10:00:00", "11:00:00", ID)
}

impl Studio {
    pub(crate) fn new() -> Self {
        Self::with(vec![this_hour()], secs(0), |_| ())
    }

    pub(crate) fn with(
        programs: Vec<ProgramSpec>,
        gather: Duration,
        change: impl FnOnce(&mut DeskConfig),
    ) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test has to begin at some instant")]
        let now = Now { mono: Instant::now(), wall: wall(OPENING) };
        let timetable = Arc::new(Timetable::new());
        timetable.publish(vec![channel(gather)], programs).unwrap();
        let feeds = Feeds::default();
        let feed = feeds.subscribe(4096, || {});
        let mut config = DeskConfig { lines: 4, lines_per_address: 4, burst: secs(2), receiver: Ssrc(99) };
        change(&mut config);
        let programs = Arc::clone(&timetable);
        let desk = Desk::new(now, config, programs, feeds);
        Self { desk, timetable, feed, now, told: Vec::new() }
    }

    pub(crate) fn publish(&self, programs: Vec<ProgramSpec>) {
        self.timetable.publish(vec![channel(secs(0))], programs).unwrap();
    }

    /// Lets `time` pass, doing what is due when it is due.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now.mono + time;
        // A desk that always has something due at once would never let time pass.
        for _ in 0..1_000_000 {
            let due = self.desk.deadline().filter(|at| *at <= until);
            self.advance_to(due.unwrap_or(until));
            self.turn();
            if due.is_none() {
                return;
            }
        }
        panic!("the desk never rests");
    }

    fn advance_to(&mut self, at: Instant) {
        let ahead = at.saturating_duration_since(self.now.mono);
        self.now = Now { mono: self.now.mono + ahead, wall: self.now.wall.saturating_add(ahead) };
    }

    fn turn(&mut self) {
        self.desk.on_time(self.now, &mut self.told);
    }

    /// Steps wall time alone to this time of the day.
    pub(crate) fn set_wall(&mut self, time: &str) {
        self.now.wall = wall(&format!("2026-11-22T{time}Z"));
    }

    pub(crate) fn pause(&mut self, link: &Pass) {
        self.desk.pause(self.now, link);
    }

    pub(crate) fn admit(&mut self, id: &str, address: IpAddr, offer: &Offer) -> Decision<Pass> {
        let credentials = Credentials::of_token(Some(id));
        let request = LinkRequest {
            channel: None,
            credentials: &credentials,
            declared_kbps: offer.declared_kbps,
            address,
            now: self.now,
        };
        self.desk.admit(&request)
    }

    /// A link from address 1 that sends `offer`.
    #[track_caller]
    pub(crate) fn link(&mut self, offer: Offer) -> Pass {
        self.link_from(ip(1), offer)
    }

    #[track_caller]
    pub(crate) fn link_from(&mut self, address: IpAddr, offer: Offer) -> Pass {
        let pass = self.admit(ID, address, &offer).unwrap();
        self.begin(&pass, offer);
        pass
    }

    pub(crate) fn begin(&mut self, pass: &Pass, offer: Offer) {
        self.desk.begin(self.now, pass, offer);
        self.turn();
    }

    #[track_caller]
    pub(crate) fn refused(&mut self, id: &str, address: IpAddr) -> Reason {
        match self.admit(id, address, &video()) {
            Ok(_) => panic!("it was let in"),
            Err(refusal) => refusal.reason,
        }
    }

    pub(crate) fn rtp(&mut self, pass: &Pass, track: u8, packet: &[u8]) -> Fate {
        self.desk.rtp(self.now, pass, track, packet)
    }

    /// Every chunk that was published since the last look.
    pub(crate) fn chunks(&mut self) -> Vec<Arc<Chunk>> {
        self.feed.begin_drain();
        std::iter::from_fn(|| self.feed.pop()).collect()
    }

    /// The sequence numbers of the packets of `track` that were published since the last look.
    pub(crate) fn numbers(&mut self, track: u8) -> Vec<u16> {
        let chunks = self.chunks();
        let of = |chunk: &Arc<Chunk>| {
            let packets = chunk.packets().iter().filter(|packet| packet.track == track);
            packets.filter_map(|packet| Some(chunk.sequence_number(packet)?.0)).collect::<Vec<_>>()
        };
        chunks.iter().flat_map(of).collect()
    }

    /// Why the link of `pass` was ended, if it was.
    pub(crate) fn ended(&self, pass: &Pass) -> Option<Reason> {
        self.told.iter().find_map(|word| match word {
            ToLink::End { pass: of, reason } if *of == pass.id() => Some(*reason),
            _ => None,
        })
    }

    pub(crate) fn status(&self) -> Option<LinkStatus> {
        self.desk.stats().links().into_iter().next()
    }

    pub(crate) fn lines(&self) -> u64 {
        self.desk.stats().lines_in_use.value()
    }
}

fn track(kind: MediaKind, codec: Codec, payload_type: u8, rate: u32) -> Track {
    Track { kind, codec, payload_types: vec![payload_type], clock_rate: NonZeroU32::new(rate).unwrap() }
}

fn offer(all: Vec<(Track, &str)>) -> Offer {
    let (tracks, media) = all.into_iter().map(|(track, lines)| (track, lines.to_owned())).unzip();
    Offer {
        tracks,
        is_sent: [true; TRACKS_MAX],
        description: Description { title: String::new(), media },
        declared_kbps: None,
        left_out: 0,
    }
}

/// H.264 alone.
pub(crate) fn video() -> Offer {
    video_with("packetization-mode=1")
}

pub(crate) fn video_with(parameters: &str) -> Offer {
    let lines = format!("m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 {parameters}\r\n");
    offer(vec![(track(MediaKind::Video, Codec::H264, 96, 90_000), &lines)])
}

const SOUND: &str = "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 opus/48000/2\r\n";

/// Opus alone.
pub(crate) fn sound() -> Offer {
    offer(vec![(track(MediaKind::Audio, Codec::Audio, 97, 48_000), SOUND)])
}

/// H.264 as track 0, Opus as track 1.
pub(crate) fn both() -> Offer {
    let (mut both, sound) = (video(), sound());
    both.tracks.extend(sound.tracks);
    both.description.media.extend(sound.description.media);
    both
}

/// An RTP packet with `payload`.
pub(crate) fn packet(
    payload_type: u8,
    ssrc: u32,
    number: u16,
    at: u32,
    marker: bool,
    payload: &[u8],
) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type | u8::from(marker) << 7];
    packet.extend(number.to_be_bytes());
    packet.extend(at.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

/// A picture of one packet that needs no other.
pub(crate) fn picture(ssrc: u32, number: u16) -> Vec<u8> {
    packet(96, ssrc, number, u32::from(number) * 3000, true, &[0x65, 0x88, 0xaa, 0xaa])
}

/// A frame of sound.
pub(crate) fn frame(ssrc: u32, number: u16) -> Vec<u8> {
    packet(97, ssrc, number, u32::from(number) * 960, true, &[0xaa; 40])
}
