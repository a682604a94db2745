//! Who may send: is the reservation ID right, for this channel, now, and within the class.
//!
//! Owns: the decision, as a function of the programs, the request and now.
//! Not here: lines and the gate's deadline (`lines`, the ingest side), taking over an older link of the same ID.
//! Invariant: whoever does not show a right ID learns nothing, neither which channels there are nor which are reserved:
//! one answer, after the same work. Only who shows a right one is told more.
//!
//! | what | kind | connection |
//! |---|---|---|
//! | no ID, or a stale proof | challenge | stays, until the gate's deadline |
//! | wrong ID, whatever the channel | unproven | closed |
//! | wrong ID from an address over its budget | forbidden, late | closed |
//! | right ID for another channel | forbidden | closed |
//! | right ID before or after its connect window | forbidden, names the time | closed |
//! | right ID of a program that was ended early | forbidden | closed |
//! | the broadcaster declares more than the class | full, names both | closed |
//!
//! A right ID is let in from any address at any time: an ID is too long to guess, and a neighbour's guesses must not
//! keep a broadcaster off the air. `check-config` warns of IDs that an operator made up and that are short.

use std::{cmp::Reverse, net::IpAddr, sync::Arc};

use slotcast_auth::{Credential, LinkKey, Proof, Verdict};
use slotcast_core::time::{Now, WallTime};

use crate::{
    gate::Cut,
    guesses::{GuessTarget, Guesses},
    limits::LINK_CANDIDATES_MAX,
    program::{Program, Programs},
    reason::{Decision, Reason, Refusal},
};

/// How many programs of one channel are connectable at once, if none is shorter than the margins between.
const CONNECTABLE_USUAL: usize = 2;

/// What a broadcaster asks, and what the edge knows about who asks.
#[derive(Clone, Copy)]
pub struct LinkRequest<'a> {
    /// The channel's name in the address; anything at all, it is looked up and no more. `None`: the protocol's addresses name
    /// no channel, and the ID, shown as a token, says which.
    pub channel: Option<&'a str>,
    /// What the request shows.
    pub credentials: &'a dyn Proof,
    /// What it declares to send, kbit/s; `None` when it does not say.
    pub declared_kbps: Option<u64>,
    /// Where it comes from.
    pub address: IpAddr,
    /// Wall time decides which connect windows are open.
    pub now: Now,
}

/// A link that was let in.
#[derive(Clone, Debug)]
pub struct LinkGrant {
    /// What it is for: the program whose ID was shown.
    pub program: Arc<Program>,
    /// The start, when it lies ahead: media is accepted, and held back until then.
    pub on_air_at: Option<WallTime>,
}

/// Decides about a link.
///
/// An ID that is shown as a token is found by its hash, whatever the channel and the time. A digest is checked against the
/// programs that the channel may send now. What is none of theirs is checked against
/// the programs of all channels that start nearest to now, at most [`LINK_CANDIDATES_MAX`] before and as many after, for
/// a refusal that says more: the ID of one further away is answered as a wrong one. Cost: two digests for each of these,
/// about 3 µs together. The second part is left out for an address that is over its budget of wrong IDs, and for all
/// once too many have asked for it ([`FAR_LOOKS_MAX`](crate::limits::FAR_LOOKS_MAX)), so that nobody can keep the ingest
/// side busy.
pub fn decide_link(
    programs: &dyn Programs,
    guesses: &Guesses,
    request: &LinkRequest<'_>,
) -> Decision<LinkGrant> {
    let by_token = request.credentials.link_hash().map(|hash| programs.of_link(&hash)).unwrap_or_default();
    if !by_token.is_empty() {
        return decide_for_right_id(&by_token.iter().collect::<Vec<_>>(), request);
    }
    let channel = request.channel.unwrap_or_default();
    let target = GuessTarget::Sending(channel);
    let connectable = programs.connectable(channel, request.now.wall);
    // A channel has two at most where two are back to back; a name with fewer, known or not, costs as much.
    let decoy_key = LinkKey::from_reservation_id("decoy-reservation-id");
    let decoy = verdict(request, &decoy_key);
    for _ in connectable.len()..CONNECTABLE_USUAL {
        let _same_work = verdict(request, &decoy_key);
    }
    let (right, mut stale) = compare(request, &connectable);
    if !right.is_empty() {
        return decide_for_right_id(&right, request);
    }
    if decoy == Verdict::Missing {
        return Err(Refusal::challenge(Reason::IdMissing));
    }
    let is_spent = guesses.is_spent(request.now.mono, request.address, target);
    if !is_spent && guesses.may_look_far(request.now.mono) {
        let nearest = programs.nearest(request.now.wall, LINK_CANDIDATES_MAX);
        let (right, far_stale) = compare(request, &nearest);
        if !right.is_empty() {
            return decide_for_right_id(&right, request);
        }
        stale |= far_stale;
    }
    if stale {
        return Err(Refusal::challenge(Reason::ProofStale));
    }
    let guess = guesses.wrong(request.now.mono, request.address, target);
    Err(match is_spent {
        false => Refusal::close(Reason::IdWrong),
        true => Refusal::close(Reason::TooManyGuesses).after(guess.delay),
    })
}

/// Those of `programs` whose ID was shown, and whether that of another was shown with a proof that is too old.
fn compare<'a>(request: &LinkRequest<'_>, programs: &'a [Arc<Program>]) -> (Vec<&'a Arc<Program>>, bool) {
    let (mut right, mut stale) = (Vec::new(), false);
    for program in programs {
        match verdict(request, &program.link_key) {
            Verdict::Granted => right.push(program),
            Verdict::Stale => stale = true,
            Verdict::Missing | Verdict::Wrong => {}
        }
    }
    (right, stale)
}

fn decide_for_right_id(right: &[&Arc<Program>], request: &LinkRequest<'_>) -> Decision<LinkGrant> {
    let refuse = |reason| Err(Refusal::close(reason));
    let now = request.now.wall;
    let is_meant =
        |program: &Program| request.channel.is_none_or(|name| program.channel.name.as_str() == name);
    let here: Vec<_> = right.iter().copied().filter(|program| is_meant(program)).collect();
    if here.is_empty() {
        return refuse(Reason::OtherChannel);
    }
    let Some(program) = connectable(&here, now) else { return refuse(outside(&here, now)) };
    program.gate.reopen_if_early(now);
    if matches!(program.gate.cut(), Some(Cut::Stopped | Cut::Withdrawn)) {
        return refuse(Reason::LinkStopped);
    }
    if let Some(declared_kbps) = request.declared_kbps
        && is_above(program, declared_kbps)
    {
        return refuse(Reason::AboveClass { class: program.class, declared_kbps });
    }
    let start = program.window.start();
    let on_air_at = (now < start).then_some(start);
    Ok(LinkGrant { program: Arc::clone(program), on_air_at })
}

/// The one to send to now, where one ID opens several: on air before still to come before over.
fn connectable<'a>(here: &[&'a Arc<Program>], now: WallTime) -> Option<&'a Arc<Program>> {
    let rank = |program: &Program| match program.window {
        window if window.contains(now) => 0,
        window if now < window.start() => 1,
        _ => 2,
    };
    let open = here.iter().copied().filter(|program| program.connect.contains(now));
    open.min_by_key(|program| (rank(program), program.window.start()))
}

/// Why none of these is connectable: the next that opens, else the last that closed.
fn outside(here: &[&Arc<Program>], now: WallTime) -> Reason {
    let opens = here.iter().map(|program| program.connect.start()).filter(|opens| *opens > now).min();
    match opens {
        Some(opens) => Reason::TooEarly { opens },
        None => {
            let closed = here.iter().map(|program| Reverse(program.connect.end())).min();
            Reason::TooLate { closed: closed.map_or(now, |Reverse(closed)| closed) }
        }
    }
}

/// Whether the declared rate is above the class. `b=AS:` is rounded up to whole kbit/s, which is not held against it.
fn is_above(program: &Program, declared_kbps: u64) -> bool {
    declared_kbps.saturating_sub(1).saturating_mul(1_000) >= program.class.bits_per_second()
}

fn verdict(request: &LinkRequest<'_>, key: &LinkKey) -> Verdict {
    request.credentials.verify(request.now.mono, &Credential::Link(key))
}
