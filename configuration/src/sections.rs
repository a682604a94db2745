//! Which keys each table has, and what they become.
//!
//! Not here: the defaults (`default.toml`), how a value is written (`values`), how values fit together (`check`).

use std::time::Duration;

use slotcast_admission::{Channel, GuessLimits, LinkKey, ProgramSpec, Secret};
use slotcast_core::{
    time::WallTime,
    words::{ChannelNumber, ConnectMargins, OpenLevel, Toll, Window},
};
use slotcast_reservation::limits::GATHER_USUAL;

use super::{
    Config, Http, Links, Log, Metrics, Reservations, Server, Stills, Viewers,
    document::{Reader, Section},
    program_id, reservations,
    values::{self, Raw, Reading},
};

/// Most NTP servers that are asked.
const NTP_SERVERS_MAX: usize = 8;

/// A program as far as it could be read; `None` where a key is missing or wrong.
pub(super) struct ProgramDraft {
    pub(super) channel: Option<u16>,
    pub(super) start: Option<WallTime>,
    pub(super) end: Option<WallTime>,
    pub(super) reservation_id: Option<String>,
    pub(super) open_level: OpenLevel,
    pub(super) password: Option<String>,
    /// Whether a password is written, right or wrong.
    pub(super) password_written: bool,
    title: String,
}

/// A channel as far as it could be read.
pub(super) struct ChannelDraft {
    pub(super) number: Option<u16>,
    pub(super) name: Option<slotcast_core::words::ChannelName>,
    pub(super) seats: Option<slotcast_core::words::Seats>,
    pub(super) class: Option<slotcast_core::words::BitRate>,
    pub(super) toll: Option<u64>,
    gather: Option<Duration>,
}

/// Everything as far as it could be read: what is wrong with one value must not hide what is wrong with another.
pub(super) struct Draft {
    pub(super) server: Option<Server>,
    pub(super) viewers: Option<Viewers>,
    pub(super) links: Option<Links>,
    pub(super) http: Option<Http>,
    pub(super) metrics: Option<Metrics>,
    pub(super) stills: Option<Stills>,
    pub(super) log: Option<Log>,
    pub(super) channels: Vec<ChannelDraft>,
    pub(super) programs: Vec<ProgramDraft>,
    /// The inner one is `None` where they are off.
    pub(super) reservations: Option<Option<Reservations>>,
}

impl Draft {
    /// Reads all tables.
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let channels: Vec<_> =
            (0..reader.items("channels")).map(|index| channel(reader.item("channels", index))).collect();
        let programs =
            (0..reader.items("programs")).map(|index| program(reader.item("programs", index))).collect();
        Self {
            server: server(reader.section("server")),
            viewers: viewers(reader.section("viewers")),
            links: links(reader.section("links"), channels.len()),
            http: http(reader.section("http")),
            metrics: metrics(reader.section("metrics")),
            stills: stills(reader.section("stills")),
            log: log(reader.section("log")),
            reservations: reservations::read(reader),
            channels,
            programs,
        }
    }

    /// The whole, if everything could be read.
    pub(super) fn into_config(self) -> Option<Config> {
        let links = self.links?;
        let margins = ConnectMargins { before: links.before, after: links.after };
        Some(Config {
            server: self.server?,
            viewers: self.viewers?,
            links,
            http: self.http?,
            metrics: self.metrics?,
            stills: self.stills?,
            log: self.log?,
            reservations: self.reservations?,
            channels: self.channels.into_iter().map(ChannelDraft::into_channel).collect::<Option<_>>()?,
            programs: self
                .programs
                .into_iter()
                .map(|program| program.into_spec(margins))
                .collect::<Option<_>>()?,
        })
    }
}

impl ChannelDraft {
    fn into_channel(self) -> Option<Channel> {
        Some(Channel {
            number: ChannelNumber(self.number?),
            name: self.name?,
            seats: self.seats?,
            class: self.class?,
            toll: Toll(self.toll?),
            gather: self.gather?,
        })
    }
}

impl ProgramDraft {
    fn into_spec(self, margins: ConnectMargins) -> Option<ProgramSpec> {
        let (channel, reservation_id) = (ChannelNumber(self.channel?), self.reservation_id?);
        let window = Window::new(self.start?, self.end?).ok()?;
        Some(ProgramSpec {
            id: program_id(channel, window.start(), &reservation_id),
            channel,
            window,
            connect: window.widened(margins),
            seats: None,
            class: None,
            title: self.title,
            open_level: self.open_level,
            password: self.password.map(Secret::new),
            link_key: LinkKey::from_reservation_id(&reservation_id),
        })
    }
}

fn server(mut table: Section<'_, '_>) -> Option<Server> {
    let slot = table.required("slot", values::span);
    let currency = table.required("currency", values::currency);
    let uplink = table.required("uplink", values::rate);
    let oversell = table.required("oversell", values::yes_or_no);
    let drain = table.required("drain", values::duration);
    let ntp = table.required("ntp", ntp_servers);
    table.finish();
    let (slot, currency, uplink) = (slot?, currency?, uplink?);
    Some(Server { slot, currency, uplink, oversell: oversell?, drain: drain?, ntp: ntp? })
}

/// `HOST` or `HOST:PORT`; an IPv6 address in brackets. The port is 123 where none is named (RFC 5905).
fn ntp_servers(raw: Raw<'_>) -> Reading<Vec<String>> {
    let what = "a list of hosts like [\"ntp.example.com\", \"192.0.2.1:1123\"]";
    let items = raw
        .items()
        .filter(|items| items.len() <= NTP_SERVERS_MAX)
        .ok_or_else(|| raw.expected(&format!("{what}, at most {NTP_SERVERS_MAX}")))?;
    let read = |raw: Raw<'_>| {
        let text = raw.as_text().unwrap_or_default();
        // What follows the last `]` may be a port; a colon before it is part of an IPv6 address.
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok().filter(|port| *port != 0)),
            _ => (text, Some(123_u16)),
        };
        let server = port.filter(|_| reservations::is_host(host)).map(|port| format!("{host}:{port}"));
        server.ok_or_else(|| raw.expected("an NTP server like \"ntp.example.com\" or \"192.0.2.1:1123\""))
    };
    items.into_iter().map(read).collect()
}

fn viewers(mut table: Section<'_, '_>) -> Option<Viewers> {
    let listen = table.required("listen", values::address);
    let udp = table.required("udp", values::yes_or_no);
    let rtp_ports = table.required("rtp_ports", values::port_pair);
    let workers = table.required("workers", values::workers);
    let pin = table.required("pin", values::yes_or_no);
    let gso = table.required("gso", values::gso);
    let connections = table.required("connections", values::count);
    let per_address = table.required("per_address", values::count);
    let session_timeout = table.required("session_timeout", values::session_timeout);
    let slow_viewer = table.required("slow_viewer", values::slow_viewer);
    let stalled_viewer = table.required("stalled_viewer", values::stalled_viewer);
    let guesses = guesses(&mut table);
    table.finish();
    Some(Viewers {
        listen: listen?,
        udp: udp?,
        rtp_ports: rtp_ports?,
        workers: workers?,
        pin: pin?,
        gso: gso?,
        connections: connections?,
        per_address: per_address?,
        session_timeout: session_timeout?,
        slow_viewer: slow_viewer?,
        stalled_viewer: stalled_viewer?,
        guesses: guesses?,
    })
}

fn guesses(table: &mut Section<'_, '_>) -> Option<GuessLimits> {
    let per_address = table.required("guesses_per_address", values::guesses);
    let per_target = table.required("guesses_per_program", values::guesses);
    let window = table.required("guess_window", values::guess_window);
    Some(GuessLimits { per_address: per_address?, per_target: per_target?, window: window? })
}

/// - `channels`: how many there are; the default is two lines each.
fn links(mut table: Section<'_, '_>, channels: usize) -> Option<Links> {
    let listen = table.required("listen", values::addresses);
    let rtp_ports = table.required("rtp_ports", values::port_pair_or_none);
    let lines_written = table.is_written("lines");
    let lines = table.optional("lines", values::count);
    let per_address = table.required("per_address", values::count);
    let before = table.required("before", values::duration);
    let after = table.required("after", values::duration);
    let gate_deadline = table.required("gate_deadline", values::span);
    let waiting = table.required("waiting", values::count);
    let waiting_per_address = table.required("waiting_per_address", values::count);
    let burst = table.required("burst", values::span);
    table.finish();
    let lines = if lines_written { lines } else { Some((2 * channels).max(2)) };
    Some(Links {
        listen: listen?,
        rtp_ports: rtp_ports?,
        lines: lines?,
        per_address: per_address?,
        before: before?,
        after: after?,
        gate_deadline: gate_deadline?,
        waiting: waiting?,
        waiting_per_address: waiting_per_address?,
        burst: burst?,
    })
}

fn http(mut table: Section<'_, '_>) -> Option<Http> {
    let listen = table.required("listen", values::address_or_off);
    table.finish();
    Some(Http { listen: listen? })
}

fn metrics(mut table: Section<'_, '_>) -> Option<Metrics> {
    let written = table.is_written("listen");
    let listen = table.optional("listen", values::address);
    table.finish();
    (written == listen.is_some()).then_some(Metrics { listen })
}

fn stills(mut table: Section<'_, '_>) -> Option<Stills> {
    let written = table.is_written("ffmpeg");
    let ffmpeg = table.path("ffmpeg");
    table.finish();
    (written == ffmpeg.is_some()).then_some(Stills { ffmpeg })
}

fn log(mut table: Section<'_, '_>) -> Option<Log> {
    let level = table.required("level", values::log_filter);
    let format = table.required("format", values::log_format);
    table.finish();
    Some(Log { level: level?, format: format? })
}

fn channel(mut table: Section<'_, '_>) -> ChannelDraft {
    let draft = ChannelDraft {
        number: table.required("number", values::channel_number),
        name: table.required("name", values::channel_name),
        seats: table.required("seats", values::seats),
        class: table.required("rate", values::rate),
        toll: table.optional("toll", values::number).or_else(|| (!table.is_written("toll")).then_some(0)),
        gather: table
            .optional("gather", values::gather)
            .or_else(|| (!table.is_written("gather")).then_some(GATHER_USUAL)),
    };
    table.finish();
    draft
}

fn program(mut table: Section<'_, '_>) -> ProgramDraft {
    let channel = table.required("channel", values::channel_number);
    let start = table.required("start", values::time);
    let end = table.required("end", values::time);
    let reservation_id = table.secret("reservation_id", "reservation_id_file");
    if !table.is_written("reservation_id") && !table.is_written("reservation_id_file") {
        table.report(
            "reservation_id is missing: without it no link can be opened; add it or reservation_id_file",
        );
    }
    let open_level = table.optional("open_level", values::open_level).unwrap_or(OpenLevel::Public);
    let password = table.secret("password", "password_file");
    let password_written = table.is_written("password") || table.is_written("password_file");
    let title = table.optional("title", values::text).unwrap_or_default();
    table.finish();
    ProgramDraft { channel, start, end, reservation_id, open_level, password, password_written, title }
}
