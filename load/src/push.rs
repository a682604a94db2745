//! `slotcast load push`: broadcasts streams made for measuring, or a clip.
//!
//! Owns: what can be typed, the synthetic stream with its stamps, the sums over channels.
//! Not here: the RTSP dialogue and the pace (`tools::publish`), what the stream is like (`shape`).
//! Invariant: a packet's stamp is the moment at which it should leave, also where it leaves late, so that lateness of any
//! cause is latency; it ends by itself.

use std::{
    fmt, fs, io,
    io::Write,
    num::{NonZeroU32, NonZeroU64},
    path::PathBuf,
    sync::atomic::AtomicBool,
    thread,
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes};
use rustix::thread::set_current_timer_slack;
use serde::{Deserialize, Serialize};
use slotcast_core::{
    rtcp::{NtpTime, SenderInfo},
    rtp::{HEADER_BYTES, ticks_in},
    words::BitRate,
};
use slotcast_rtsp::headers::transport::LowerTransport;

use crate::{cpu::take_short_turns, interrupt};
use slotcast_media::{clip::Clip, packetize::Origin};
use slotcast_net::{clock::monotonic_nanos, process::pin};
use slotcast_tools::{
    histogram::{Histogram, Percentiles},
    shape::{Part, Shape, stamp_video},
};
use slotcast_tools::{
    publish::{
        ClipSource, LinkConfig, PublishError, PublishProgress, PublishReport, Source, origin, publish_source,
    },
    target::{ReachPolicy, Target},
    transport::Transport,
};

/// What `--help` teaches.
pub(super) const EXAMPLES: &str = "\
Examples:
  slotcast load push rtsp://live:RESERVATION-ID@127.0.0.1:8555/channel4
                                       a minute of 2 Mbit/s, 30 frames a second, a key frame each second
  slotcast load push rtsp://live:RESERVATION-ID@127.0.0.1:8555/channel4 --seconds 600 --bit-rate 6Mbit/s \\
      --audio 47 --transport udp       ten minutes, with sound, over UDP
  slotcast load push rtsp://live:RESERVATION-ID@127.0.0.1:8555/channel{number} --channels 100
                                       a hundred channels at once
  slotcast load push URL --file clip.mp4

The synthetic stream announces H.264 (and Opus) and has key frames where H.264 has them, so servers treat it like any
other; nobody can decode it. Each packet carries the time at which it was to be sent, on this machine's monotonic clock,
and a counter: `slotcast load view` on the same machine reads them. The channel's bandwidth class must let the stream
through: key frames are four times as large as the others.";
/// Most channels of one run: each has a thread.
pub const CHANNELS_MAX: u32 = 1_000;
/// Highest bit rate of a stream: more than a core can push.
pub(super) const BIT_RATE_MAX: u64 = 1_000_000_000;
/// From one channel's start to the next, besides its share of a frame's time.
const SPACING: Duration = Duration::from_millis(20);
/// How much later than asked a sleeping thread may be woken.
const TIMER_SLACK: Option<NonZeroU64> = NonZeroU64::new(1);
/// As in [`Shape::sdp`].
const PAYLOAD_TYPES: [u8; 2] = [96, 97];
/// Ticks per second of video and audio.
const CLOCK_RATES: [NonZeroU32; 2] = [NonZeroU32::new(90_000).unwrap(), NonZeroU32::new(48_000).unwrap()];
/// About 128 kbit/s at 47 packets a second.
const AUDIO_PACKET_BYTES: usize = 340;
/// FU indicator and FU header in front of a video packet's stamp (RFC 6184 §5.8).
const FU_BYTES: usize = 2;
/// What packets are filled with: no start code can come up in it.
const FILLING: u8 = 0x55;

/// What `slotcast load push` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where to: rtsp://live:RESERVATION-ID@HOST:PORT/CHANNEL; {number} counts from 1 to --channels
    #[arg(value_name = "URL")]
    url: String,
    /// Streams at once, one for each {number}
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=CHANNELS_MAX as i64))]
    channels: u32,
    /// Seconds on air
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// How media leaves
    #[arg(long, value_enum, default_value = "tcp")]
    transport: Transport,
    /// Of the video, as 2Mbit/s: what the RTP packets take together
    #[arg(long, value_name = "RATE", default_value = "2Mbit/s")]
    bit_rate: BitRate,
    /// Frames per second
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=240))]
    fps: u32,
    /// Frames from one key frame to the next
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3_000))]
    gop: u32,
    /// How much larger key frames are than the others
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    key_factor: u32,
    /// Bytes of an RTP packet
    #[arg(long, default_value_t = 1_200, value_parser = clap::value_parser!(u16).range(100..=1_472))]
    packet_bytes: u16,
    /// Audio packets per second beside the video; AAC at 48 kHz has 47
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=200))]
    audio: u32,
    /// Push this MP4 file (H.264, AAC) round and round instead; its packets carry no stamps
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Keep the broadcasters to this core
    #[arg(long)]
    core: Option<usize>,
    /// Allow a URL of another machine; load only what you may load
    #[arg(long)]
    allow_remote: bool,
    /// Write the report to this file too, or to standard output instead of the text (-)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What is pushed.
#[derive(Clone, Debug)]
pub enum Content {
    /// A stream of this shape, each packet with its stamp.
    Synthetic(Shape),
    /// A clip, round and round.
    Clip(Clip),
}

/// What goes where.
#[derive(Clone, Debug)]
pub struct PushConfig {
    /// One stream each.
    pub targets: Vec<Target>,
    /// The same for all.
    pub content: Content,
    /// TCP or UDP.
    pub transport: LowerTransport,
    /// On air.
    pub duration: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PushReport {
    /// Streams that were on air until their end.
    pub finished: u64,
    /// Streams that were refused, failed, or ended by the server; each with its reason.
    pub failed: Vec<String>,
    /// RTP packets of all streams.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// RTP packets that the kernel did not take over UDP. They have no sequence number, so that no viewer misses them.
    pub refused: u64,
    /// Seconds of media that were left out because a clip was late, of all streams; a synthetic stream leaves nothing out.
    pub skipped_seconds: f64,
    /// Of the stream that was on air longest.
    pub seconds: f64,
    /// How much later than stamped packets left: part of every viewer's latency, and not the server's fault unless it
    /// read too slowly over TCP. `None`: no packet was stamped.
    pub late_ms: Option<Percentiles>,
}

impl Args {
    fn config(&self) -> io::Result<PushConfig> {
        let wrong = |error: &dyn fmt::Display| io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
        let reach = if self.allow_remote { ReachPolicy::Anywhere } else { ReachPolicy::Loopback };
        if self.channels > 1 && !Target::has_number(&self.url) {
            return Err(wrong(&"several channels need {number} in the URL"));
        }
        let content = match &self.file {
            Some(file) => Content::Clip(
                Clip::open(file).map_err(|error| wrong(&format_args!("{}: {error}", file.display())))?,
            ),
            None if self.bit_rate.bits_per_second() > BIT_RATE_MAX => {
                return Err(wrong(&"the highest bit rate of a stream is 1Gbit/s"));
            }
            None => Content::Synthetic(Shape {
                bit_rate: self.bit_rate.bits_per_second(),
                frames_per_second: self.fps,
                group: self.gop,
                packet_bytes: self.packet_bytes,
                key_factor: self.key_factor,
                audio_per_second: self.audio,
            }),
        };
        Ok(PushConfig {
            targets: Target::parse_all(&self.url, self.channels, reach)?,
            content,
            transport: self.transport.into(),
            duration: Duration::from_secs(self.seconds),
        })
    }
}

/// Runs what `args` say.
///
/// # Errors
/// A URL, file or core that is not there; a stream that did not stay on air.
pub fn run(args: &Args) -> io::Result<()> {
    let config = args.config()?;
    take_short_turns();
    if let Some(core) = args.core {
        // Inherited by every thread from here on.
        pin(core)?;
    }
    let report = push(&config, &*interrupt::flag()?)?;
    let json = serde_json::to_string_pretty(&report).map_err(io::Error::other)?;
    match &args.json {
        Some(file) if file.as_os_str() == "-" => writeln!(io::stdout().lock(), "{json}")?,
        file => {
            write!(io::stdout().lock(), "{report}")?;
            if let Some(file) = file {
                fs::write(file, json)?;
            }
        }
    }
    match report.failed.len() {
        0 => Ok(()),
        count => Err(io::Error::other(format!("{count} of {} streams failed", config.targets.len()))),
    }
}

/// Broadcasts until the time is over or `stop` is set.
///
/// # Errors
/// A thread cannot be made. Streams that fail are in the report.
pub fn push(config: &PushConfig, stop: &AtomicBool) -> io::Result<PushReport> {
    let frame = match &config.content {
        Content::Synthetic(shape) => Duration::from_secs(1) / shape.frames_per_second.max(1),
        Content::Clip(_) => Duration::ZERO,
    };
    // Channels begin in turns, so that their frames do not all fall on the same moment.
    let spacing = SPACING + frame / config.targets.len().max(1) as u32;
    thread::scope(|scope| {
        let mut threads = Vec::with_capacity(config.targets.len());
        for (number, target) in config.targets.iter().enumerate() {
            let start = Instant::now() + spacing * number as u32;
            let thread = thread::Builder::new().name(format!("push-{}", number + 1));
            threads.push(thread.spawn_scoped(scope, move || {
                thread::sleep(start.saturating_duration_since(Instant::now()));
                channel(config, target, stop)
            })?);
        }
        let (mut report, mut late) = (PushReport::default(), Histogram::default());
        for (thread, target) in threads.into_iter().zip(&config.targets) {
            let done = thread.join().map_err(|_| io::Error::other("a broadcasting thread panicked"))?;
            late.merge(&done.1);
            report.add(&done.0, target);
        }
        report.late_ms = Percentiles::of(&late);
        Ok(report)
    })
}

/// One stream; with how late its packets left.
fn channel(
    config: &PushConfig,
    target: &Target,
    stop: &AtomicBool,
) -> (Result<PublishReport, PublishError>, Histogram) {
    // Where it is refused packets leave some 50 us later.
    let _ = set_current_timer_slack(TIMER_SLACK);
    let link =
        LinkConfig { target: target.clone(), transport: config.transport, duration: Some(config.duration) };
    let progress = PublishProgress::default();
    match &config.content {
        Content::Clip(clip) => {
            let done = ClipSource::new(clip)
                .and_then(|mut source| publish_source(&mut source, &link, stop, &progress));
            (done, Histogram::default())
        }
        Content::Synthetic(shape) => match SyntheticSource::new(*shape) {
            Ok(mut source) => (publish_source(&mut source, &link, stop, &progress), source.late),
            Err(error) => (Err(error), Histogram::default()),
        },
    }
}

impl PushReport {
    fn add(&mut self, done: &Result<PublishReport, PublishError>, target: &Target) {
        // Without its query, which may hold a token.
        let url = target.url.split('?').next().unwrap_or_default();
        match done {
            Ok(sent) => {
                self.packets += sent.packets;
                self.bytes += sent.bytes;
                self.refused += sent.refused;
                self.skipped_seconds += sent.skipped_for.as_secs_f64();
                self.seconds = self.seconds.max(sent.sent_for.as_secs_f64());
                match &sent.closed_by_server {
                    Some(reason) => self.failed.push(format!("{url}: ended by the server: {reason}")),
                    None => self.finished += 1,
                }
            }
            Err(error) => self.failed.push(format!("{url}: {error}")),
        }
    }
}

impl fmt::Display for PushReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.seconds.max(f64::EPSILON);
        writeln!(
            f,
            "{} streams, {} packets in {:.1} s: {:.0} packets/s, {:.2} Mbit/s",
            self.finished,
            self.packets,
            self.seconds,
            self.packets as f64 / seconds,
            self.bytes as f64 * 8e-6 / seconds
        )?;
        if let Some(late) = &self.late_ms {
            writeln!(f, "left after their stamp: {late}")?;
        }
        if self.refused > 0 {
            writeln!(f, "refused by this machine's kernel, and sent to nobody: {} packets", self.refused)?;
        }
        if self.skipped_seconds > 0.0 {
            writeln!(f, "left out because it was late: {:.1} s of the clip", self.skipped_seconds)?;
        }
        self.failed.iter().try_for_each(|reason| writeln!(f, "failed  {reason}"))
    }
}

/// A stream of a [`Shape`] that a server takes for H.264, and perhaps Opus; nobody can decode it.
struct SyntheticSource {
    shape: Shape,
    schedule: Box<dyn Iterator<Item = (Duration, Part)> + Send>,
    next: Option<(Duration, Part)>,
    tracks: Vec<TrackState>,
    late: Histogram,
}

struct TrackState {
    origin: Origin,
    /// RTP packets so far; the next one's number within the stream.
    packets: u32,
    octets: u32,
}

impl SyntheticSource {
    fn new(shape: Shape) -> Result<Self, PublishError> {
        let tracks = 1 + usize::from(shape.audio_per_second > 0);
        let mut schedule = Box::new(shape.schedule());
        let tracks = (0..tracks).map(|_| Ok(TrackState { origin: origin()?, packets: 0, octets: 0 }));
        Ok(Self {
            shape,
            next: schedule.next(),
            schedule,
            tracks: tracks.collect::<Result<_, PublishError>>()?,
            late: Histogram::default(),
        })
    }

    fn video(&mut self, frame: u64, sent: u64, out: &mut Vec<Bytes>) {
        let key = self.shape.is_key(frame);
        let ticks = frame * u64::from(CLOCK_RATES[0].get()) / u64::from(self.shape.frames_per_second);
        let mut lengths = self.shape.packets(frame).peekable();
        let mut first = true;
        while let Some(length) = lengths.next() {
            let last = lengths.peek().is_none();
            let Some(track) = self.tracks.first_mut() else { return };
            let mut packet = track.header(0, last, ticks, length);
            // FU-A (28) of an IDR slice (5) or another (1), with its first and last part marked.
            packet.put_u8(if key { 0x7C } else { 0x5C });
            packet.put_u8(u8::from(first) << 7 | u8::from(last) << 6 | if key { 5 } else { 1 });
            packet.resize(length, FILLING);
            stamp_video(&mut packet, sent, (track.packets - 1) as u16);
            out.push(packet.into());
            first = false;
        }
    }

    fn audio(&mut self, number: u64, sent: u64, out: &mut Vec<Bytes>) {
        let ticks = number * u64::from(CLOCK_RATES[1].get()) / u64::from(self.shape.audio_per_second.max(1));
        let Some(track) = self.tracks.get_mut(1) else { return };
        // An audio packet's stamp stands where its payload begins, so much earlier than a video packet's: it is
        // written behind as many bytes that do not go with it.
        let mut packet = vec![FILLING; FU_BYTES];
        packet.append(&mut track.header(1, false, ticks, AUDIO_PACKET_BYTES));
        packet.resize(FU_BYTES + AUDIO_PACKET_BYTES, FILLING);
        stamp_video(&mut packet, sent, (track.packets - 1) as u16);
        out.push(Bytes::from(packet).slice(FU_BYTES..));
    }
}

impl TrackState {
    /// The fixed RTP header (RFC 3550 §5.1) of the next packet, which will have `length` bytes.
    fn header(&mut self, track: usize, marker: bool, ticks: u64, length: usize) -> Vec<u8> {
        let number = self.origin.sequence_number.wrapping_add(self.packets as u16);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add((length - HEADER_BYTES) as u32);
        let mut packet = Vec::with_capacity(length);
        packet.put_u8(2 << 6);
        packet.put_u8(u8::from(marker) << 7 | PAYLOAD_TYPES[track]);
        packet.put_u16(number.0);
        packet.put_u32(self.origin.timestamp.wrapping_add(ticks as u32).0);
        packet.put_u32(self.origin.ssrc.0);
        packet
    }
}

impl Source for SyntheticSource {
    fn sdp(&self) -> String {
        self.shape.sdp()
    }

    fn tracks(&self) -> usize {
        self.tracks.len()
    }

    fn next_at(&self) -> Option<Duration> {
        self.next.map(|(at, _)| at)
    }

    fn catches_up(&self) -> bool {
        true
    }

    fn take(&mut self, due: Instant, out: &mut Vec<Bytes>) -> usize {
        let Some((_, part)) = self.next else { return 0 };
        self.next = self.schedule.next();
        let late = Instant::now().saturating_duration_since(due).as_nanos() as u64;
        let (sent, before) = (monotonic_nanos().saturating_sub(late), out.len());
        let track = match part {
            Part::Video(frame) => {
                self.video(frame, sent, out);
                0
            }
            Part::Audio(number) => {
                self.audio(number, sent, out);
                1
            }
        };
        (before..out.len()).for_each(|_| self.late.record(late));
        track
    }

    fn sender_infos(&self, ntp: NtpTime, elapsed: Duration) -> Vec<SenderInfo> {
        let tracks = self.tracks.iter().zip(CLOCK_RATES);
        tracks
            .map(|(track, rate)| SenderInfo {
                ssrc: track.origin.ssrc,
                ntp,
                rtp: track.origin.timestamp.wrapping_add(ticks_in(elapsed, rate) as u32),
                packets: track.packets,
                octets: track.octets,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use slotcast_core::{media::Codec, packet::PacketFlags, rtp::RtpPacket};
    use slotcast_media::keyframe::KeyFrameScanner;

    use super::*;
    use slotcast_tools::shape::read_stamp;

    #[test]
    fn a_server_takes_it_for_h264_and_each_packet_has_its_due_time() {
        let shape = Shape { audio_per_second: 47, bit_rate: 8_000_000, ..Shape::default() };
        let announced = slotcast_rtsp::sdp::parse(shape.sdp().as_bytes()).unwrap();
        let mut source = SyntheticSource::new(shape).unwrap();
        let mut scanner = KeyFrameScanner::new(announced.tracks[0].codec);
        assert_eq!(announced.tracks[0].codec, Codec::H264);
        let due = Instant::now().checked_sub(Duration::from_millis(5)).unwrap();
        let mut numbers = [None; 2];
        let mut keys = 0;
        for _ in 0..100 {
            let mut packets = Vec::new();
            let track = source.take(due, &mut packets);
            let mut first = true;
            for packet in &packets {
                let rtp = RtpPacket::parse(packet).unwrap();
                assert!(announced.tracks[track].payload_types.contains(&rtp.payload_type().0));
                let number = rtp.sequence_number();
                assert!(
                    numbers[track]
                        .is_none_or(|last: slotcast_core::rtp::SequenceNumber| last.next() == number)
                );
                numbers[track] = Some(number);
                let late = monotonic_nanos() - read_stamp(packet).unwrap();
                assert!(late >= 5_000_000, "{late}");
                keys +=
                    u32::from(track == 0 && first && scanner.scan(rtp.payload()).contains(PacketFlags::KEY));
                first = false;
            }
            assert!(!packets.is_empty());
        }
        assert_eq!(keys, 2, "in the first {} frames", 100 * 30 / 77);
        let infos = source.sender_infos(NtpTime(0), Duration::from_secs(1));
        assert_eq!(infos.len(), 2);
        assert_eq!(infos[1].packets + infos[0].packets, source.late.count() as u32);
    }

    #[test]
    fn packets_have_the_lengths_of_their_shape() {
        let shape = Shape { audio_per_second: 47, ..Shape::default() };
        let mut source = SyntheticSource::new(shape).unwrap();
        let mut packets = Vec::new();
        assert_eq!((source.take(Instant::now(), &mut packets), packets.len()), (0, 26));
        assert!(packets.iter().map(Bytes::len).eq(shape.packets(0)));
        packets.clear();
        assert_eq!(source.take(Instant::now(), &mut packets), 1);
        assert_eq!(packets[0].len(), AUDIO_PACKET_BYTES);
    }
}
