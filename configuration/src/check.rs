//! How the settings fit together.
//!
//! Owns: every rule over more than one value, and the words for breaking it.
//! Not here: what one value may be (`values`).

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
};

use slotcast_core::words::{BitRate, OpenLevel, Seats};
use slotcast_reservation::{domain::words::Amount, payments::stripe};
use slotcast_settings::file::ACCESS_MAX;

use super::{
    Payments,
    document::Places,
    problem::Problem,
    sections::{Draft, ProgramDraft},
};

/// Below so many characters a reservation ID is called guessable.
const RESERVATION_ID_CHARS_MIN: usize = 16;

/// Adds what does not fit together in `draft` to `found`.
pub(super) fn check(draft: &Draft, places: &Places, found: &mut Vec<Problem>) {
    channels(draft, places, found);
    egress_fits(draft, places, found);
    lines(draft, places, found);
    connections(draft, places, found);
    addresses(draft, places, found);
    rtp_ports(draft, places, found);
    patience(draft, places, found);
    for (index, program) in draft.programs.iter().enumerate() {
        let path = format!("programs[{index}]");
        window(draft, program, &path, places, found);
        secrets(program, &path, places, found);
    }
    overlaps(draft, places, found);
    shared_ids(draft, places, found);
    sold(draft, places, found);
}

/// Where channels are sold, programs are booked, and somebody must be able to ask.
fn sold(draft: &Draft, places: &Places, found: &mut Vec<Problem>) {
    let Some(Some(reservations)) = &draft.reservations else { return };
    let listens = draft.links.as_ref().map_or(0, |links| links.listen.len());
    if reservations.access_ports.is_empty() && listens > ACCESS_MAX {
        let text = format!(
            "links.listen: {listens} addresses, and a settings file names at most {ACCESS_MAX}: list those for \
             broadcasters in reservations.access_ports"
        );
        found.push(Problem::error(places.of("links.listen"), text));
    }
    if !draft.programs.is_empty() {
        let text = "programs: with reservations.enabled they are booked, not written here: take them out";
        found.push(Problem::error(places.of("programs[0]"), text));
    }
    if draft.http.as_ref().is_some_and(|http| http.listen.is_none()) {
        let text = "http.listen: reservations are made over HTTP: give it an address";
        found.push(Problem::error(places.of("http.listen"), text));
    }
    chargeable(draft, places, found);
}

/// Where cards are charged: the currency, and the price of a slot.
fn chargeable(draft: &Draft, places: &Places, found: &mut Vec<Problem>) {
    let is_stripe = draft.reservations.iter().flatten().any(|sold| sold.payments != Payments::Invoice);
    let currency = draft.server.as_ref().and_then(|server| server.currency.parse().ok());
    let Some(currency) = currency.filter(|_| is_stripe) else { return };
    if let Err(why) = stripe::check_amount(Amount::ZERO, currency) {
        found.push(Problem::error(places.of("server.currency"), format!("server.currency: {why}")));
        return;
    }
    for (index, channel) in draft.channels.iter().enumerate() {
        let toll = channel.toll.and_then(|toll| Amount::new(i64::try_from(toll).ok()?).ok());
        if let Some(Err(why)) = toll.map(|toll| stripe::check_amount(toll, currency)) {
            let path = format!("channels[{index}].toll");
            found.push(Problem::error(places.of(&path), format!("{path}: {why}")));
        }
    }
}

/// What a channel sends when every seat is taken, in bits per second.
pub(super) fn egress(seats: Seats, class: BitRate) -> u64 {
    u64::from(seats.count()).saturating_mul(class.bits_per_second())
}

fn channels(draft: &Draft, places: &Places, found: &mut Vec<Problem>) {
    if draft.channels.is_empty() {
        let text = "no channels: nobody can watch anything; add [[channels]]";
        found.push(Problem::warning(super::Place::Absent, text));
    }
    let (mut numbers, mut names) = (HashMap::new(), HashMap::new());
    for (index, channel) in draft.channels.iter().enumerate() {
        let mut taken = |key: &str, value: String, first: Option<usize>| {
            let Some(first) = first else { return };
            let path = format!("channels[{index}].{key}");
            let text = format!("{path}: {value} is taken by channels[{first}]: choose another");
            found.push(Problem::error(places.of(&path), text));
        };
        if let Some(number) = channel.number {
            taken("number", number.to_string(), numbers.insert(number, index));
        }
        if let Some(name) = &channel.name {
            taken("name", name.to_string(), names.insert(name, index));
        }
    }
}

fn egress_fits(draft: &Draft, places: &Places, found: &mut Vec<Problem>) {
    let Some(server) = &draft.server else { return };
    let each = draft.channels.iter().filter_map(|channel| Some(egress(channel.seats?, channel.class?)));
    let sum = each.fold(0, u64::saturating_add);
    if sum > server.uplink.bits_per_second() && !server.oversell {
        let sum = BitRate::new(sum).map_or_else(|_| format!("{sum}bit/s"), |rate| rate.to_string());
        let text = format!(
            "server.uplink: the channels sell {sum} (seats x rate), the uplink is {}: raise it if it is more, sell \
             less, or set oversell = true",
            server.uplink
        );
        found.push(Problem::error(places.of("server.uplink"), text));
    }
}

fn lines(draft: &Draft, places: &Places, found: &mut Vec<Problem>) {
    let Some(links) = &draft.links else { return };
    let least = 2 * draft.channels.len();
    if links.lines < least {
        let text = format!(
            "links.lines: {} for {} channels: set at least {least}, two for each, for programs back to back",
            links.lines,
            draft.channels.len()
        );
        found.push(Problem::error(places.of("links.lines"), text));
    }
}

fn connections(draft: &Draft, places: &Places, found: &mut Vec<Problem>) {
    let Some(viewers) = &draft.viewers else { return };
    let seats: u64 =
        draft.channels.iter().filter_map(|channel| Some(u64::from(channel.seats?.count()))).sum();
    if seats > viewers.connections as u64 {
        let text = format!(
            "viewers.connections: {} connections for {seats} seats: raise it, or the last seats stay empty",
            viewers.connections
        );
        found.push(Problem::warning(places.of("viewers.connections"), text));
    }
}

/// Two listeners on one address; port 0 never meets another.
fn addresses(draft: &Draft, places: &Places, found: &mut Vec<Problem>) {
    let viewers = draft.viewers.iter().map(|viewers| ("viewers.listen", viewers.listen));
    let links =
        draft.links.iter().flat_map(|links| links.listen.iter().map(|listen| ("links.listen", *listen)));
    let http = draft.http.iter().filter_map(|http| Some(("http.listen", http.listen?)));
    let metrics = draft.metrics.iter().filter_map(|metrics| Some(("metrics.listen", metrics.listen?)));
    let all: Vec<_> = viewers.chain(links).chain(http).chain(metrics).collect();
    for (index, (path, address)) in all.iter().enumerate() {
        if let Some((other, _)) = all.iter().take(index).find(|(_, earlier)| meet(*earlier, *address)) {
            let text = format!("{path}: {address} is taken by {other}: choose another port");
            found.push(Problem::error(places.of(path), text));
        }
    }
}

fn meet(a: SocketAddr, b: SocketAddr) -> bool {
    let all = |ip: IpAddr| ip.is_unspecified();
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || all(a.ip()) || all(b.ip()))
}

/// Whom UDP ports belong to, by port.
type TakenPorts = BTreeMap<u16, &'static str>;

/// Each worker has a pair of UDP ports of its own, and the link side has one. Listeners are TCP and never in the way.
fn rtp_ports(draft: &Draft, places: &Places, found: &mut Vec<Problem>) {
    let mut taken = TakenPorts::new();
    if let Some(pair) = draft.links.as_ref().and_then(|links| links.rtp_ports) {
        rtp_pairs("links.rtp_ports", pair, 1, &mut taken, places, found);
    }
    if let Some(viewers) = draft.viewers.as_ref().filter(|viewers| viewers.udp) {
        let workers = viewers.workers.count();
        rtp_pairs("viewers.rtp_ports", viewers.rtp_ports, workers, &mut taken, places, found);
    }
}

/// - `workers`: how many pairs there are; each lies two higher than the one before.
fn rtp_pairs(
    path: &'static str,
    [rtp, rtcp]: [u16; 2],
    workers: usize,
    taken: &mut TakenPorts,
    places: &Places,
    found: &mut Vec<Problem>,
) {
    if rtp == 0 {
        return;
    }
    if let Err(text) = take_ports(path, [rtp, rtcp], workers, taken) {
        found.push(Problem::error(places.of(path), format!("{path}: {text}")));
    } else if rtp % 2 == 1 || rtcp != rtp.wrapping_add(1) {
        let text = format!("{path}: [{rtp}, {rtcp}]: some players expect an even port and the next one");
        found.push(Problem::warning(places.of(path), text));
    }
}

/// Error: what is in the way, and what the operator can do.
fn take_ports(
    path: &'static str,
    [rtp, rtcp]: [u16; 2],
    workers: usize,
    taken: &mut TakenPorts,
) -> Result<(), String> {
    if rtp == rtcp {
        return Err(format!("RTP and RTCP are both on {rtp}: choose another port"));
    }
    let highest = usize::from(rtp.max(rtcp)) + 2 * (workers - 1);
    if highest > usize::from(u16::MAX) {
        return Err(format!(
            "{workers} workers need {} UDP ports from here on, up to {highest}: choose a lower pair",
            2 * workers
        ));
    }
    // It fits, as was just seen.
    let step = |worker: usize| u16::try_from(2 * worker).unwrap_or_default();
    for port in (0..workers).flat_map(|worker| [rtp + step(worker), rtcp + step(worker)]) {
        let Some(other) = taken.insert(port, path) else { continue };
        let whose = if other == path { "another of the workers" } else { other };
        let range = if workers == 1 {
            String::new()
        } else {
            format!(" ({workers} workers need the ports from {rtp} to {highest})")
        };
        return Err(format!("{port} is taken by {whose}{range}: choose another pair"));
    }
    Ok(())
}

/// A viewer that is cut before it can jump would never jump.
fn patience(draft: &Draft, places: &Places, found: &mut Vec<Problem>) {
    let Some(viewers) = &draft.viewers else { return };
    if viewers.stalled_viewer < viewers.slow_viewer {
        let text = "viewers.stalled_viewer: shorter than slow_viewer, so nobody would ever jump: raise it";
        found.push(Problem::error(places.of("viewers.stalled_viewer"), text));
    }
}

fn window(draft: &Draft, program: &ProgramDraft, path: &str, places: &Places, found: &mut Vec<Problem>) {
    if let Some(number) = program.channel {
        // A channel whose number could not be read may well be the one.
        let known = draft.channels.iter().any(|channel| channel.number.is_none_or(|known| known == number));
        if !known {
            let text = format!("{path}.channel: there is no channel {number}: add it under [[channels]]");
            found.push(Problem::error(places.of(&format!("{path}.channel")), text));
        }
    }
    let (Some(start), Some(end)) = (program.start, program.end) else { return };
    if end <= start {
        let text = format!("{path}.end: {end} is not after the start, {start}: set a later end");
        found.push(Problem::error(places.of(&format!("{path}.end")), text));
    }
    let Some(server) = &draft.server else { return };
    let slot = i64::try_from(server.slot.as_micros()).unwrap_or(i64::MAX);
    for (key, time) in [("start", start), ("end", end)] {
        if slot > 0 && time.as_micros().rem_euclid(slot) != 0 {
            let text = format!("{path}.{key}: {time} is not on a slot of {} s", server.slot.as_secs_f64());
            found.push(Problem::warning(places.of(&format!("{path}.{key}")), text));
        }
    }
}

fn secrets(program: &ProgramDraft, path: &str, places: &Places, found: &mut Vec<Problem>) {
    let at = |key: &str| places.of(&format!("{path}.{key}"));
    let (level, written) = (program.open_level, program.password_written);
    if level != OpenLevel::Public && !written {
        let text = format!("{path}.open_level: this level needs a password: add password_file or password");
        found.push(Problem::error(at("open_level"), text));
    }
    if level == OpenLevel::Public && written {
        let text = format!("{path}.password: nobody is asked for it: open_level is public");
        found.push(Problem::warning(at("password"), text));
    }
    let Some(id) = &program.reservation_id else { return };
    if id.chars().count() < RESERVATION_ID_CHARS_MIN {
        let text = format!(
            "{path}.reservation_id: guessable: use {RESERVATION_ID_CHARS_MIN} random characters or more"
        );
        found.push(Problem::warning(at("reservation_id"), text));
    }
    if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')) {
        let text =
            format!("{path}.reservation_id: only letters, digits and -._~ go into an address as they are");
        found.push(Problem::warning(at("reservation_id"), text));
    }
}

/// Two programs of one channel at the same time.
fn overlaps(draft: &Draft, places: &Places, found: &mut Vec<Problem>) {
    let window = |(index, program): (usize, &ProgramDraft)| {
        let (start, end) = (program.start?, program.end?);
        (start < end).then_some((program.channel?, start, end, index))
    };
    let mut all: Vec<_> = draft.programs.iter().enumerate().filter_map(window).collect();
    all.sort_unstable();
    // The one that ends last so far, of the same channel.
    let mut last: Option<(u16, slotcast_core::time::WallTime, usize)> = None;
    for (channel, start, end, index) in all {
        match last {
            Some((same, until, earlier)) if same == channel && start < until => {
                let text = format!(
                    "programs[{index}].start: {start} is before the end of programs[{earlier}] on channel {channel}, \
                     {until}: move one of them"
                );
                found.push(Problem::error(places.of(&format!("programs[{index}].start")), text));
                if end > until {
                    last = Some((channel, end, index));
                }
            }
            _ => last = Some((channel, end, index)),
        }
    }
}

fn shared_ids(draft: &Draft, places: &Places, found: &mut Vec<Problem>) {
    let mut first_of = HashMap::new();
    for (index, program) in draft.programs.iter().enumerate() {
        let Some(id) = &program.reservation_id else { continue };
        if let Some(first) = first_of.insert(id, index) {
            let text = format!(
                "programs[{index}].reservation_id: the same as of programs[{first}]: give each its own"
            );
            found.push(Problem::warning(places.of(&format!("programs[{index}].reservation_id")), text));
        }
    }
}
