//! Who may watch: is the program on air, is the password right, is there a seat; in this order.
//!
//! Owns: the decisions at DESCRIBE and at SETUP, as functions of the programs, the request and now.
//! Not here: whether the broadcaster's packets arrive (the workers know), what the response looks like.
//! Holds: a protected program asks for its password before anything else is said about it; a wrong password is
//! counted and answered late; no seat is taken by anyone who was not let in.
//!
//! | what | status | connection |
//! |---|---|---|
//! | no program on air, or no such channel (one text, the same work) | 404 | stays |
//! | password missing, or a stale proof | 401 with a challenge, at once | stays |
//! | wrong password, the first two of an address | 401 with a challenge, late | stays |
//! | wrong password, from the third on | 401, late | closed |
//! | the address's budget is spent: nothing that it shows is looked at | 403, late | closed |
//! | every seat taken (SETUP) | 453 | stays |

use std::{net::IpAddr, sync::Arc, time::Duration};

use slotcast_core::{time::Now, words::ProgramId};
use slotcast_rtsp::auth::{Credential, Verdict};

use crate::{
    gate::Seat,
    guesses::{CLOSE_AFTER, GuessTarget, Guesses, Standing},
    program::{Program, Programs},
    proof::Proof,
    reason::{Challenge, Decision, Reason, Refusal, Then},
    seats::SeatRefusal,
    secret::Secret,
};

/// What a viewer asks, and what the edge knows about who asks.
#[derive(Clone, Copy)]
pub struct ViewerRequest<'a> {
    /// The channel's name in the address; anything at all, it is looked up and no more.
    pub name: &'a str,
    /// `?token=` of the address: the password in place of digest.
    pub token: Option<&'a str>,
    /// What the request shows.
    pub credentials: &'a dyn Proof,
    /// Where it comes from.
    pub address: IpAddr,
    /// The program that this connection was let into before: no second proof is asked for it. A connection that
    /// stays over the end of one program shows the next one's password anew.
    pub admitted: Option<ProgramId>,
    /// Wall time decides what is on air.
    pub now: Now,
}

/// Let in to see the description.
pub type ViewerDecision = Decision<Arc<Program>>;

/// Let in to watch.
pub type SeatDecision = Decision<Seated>;

/// A viewer session with its place.
#[derive(Debug)]
pub struct Seated {
    /// What it watches.
    pub program: Arc<Program>,
    /// Its place; dropping it gives it back.
    pub seat: Seat,
}

/// Decides about DESCRIBE: on air, password. Takes no seat.
pub fn decide_describe(
    programs: &dyn Programs,
    guesses: &Guesses,
    request: &ViewerRequest<'_>,
) -> ViewerDecision {
    let Some(program) = programs.on_air(request.name, request.now.wall) else {
        return Decision::Refuse(Refusal::keep_open(nothing_there(programs, guesses, request)));
    };
    let Some(password) = program.protection() else { return Decision::Admit(program) };
    if request.admitted == Some(program.id) {
        return Decision::Admit(program);
    }
    let target = GuessTarget::Viewing(request.name);
    if guesses.standing(request.now.mono, request.address, target) == Standing::Spent {
        return Decision::Refuse(late(Reason::TooManyGuesses, guesses.delay(), Then::Close));
    }
    match shown(request, password) {
        Verdict::Granted => Decision::Admit(program),
        Verdict::Missing => challenge(Reason::PasswordMissing, Duration::ZERO),
        Verdict::Stale => challenge(Reason::ProofStale, Duration::ZERO),
        Verdict::Wrong => {
            let guess = guesses.wrong(request.now.mono, request.address, target);
            if guess.count >= CLOSE_AFTER {
                Decision::Refuse(late(Reason::PasswordWrong, guess.delay, Then::Close))
            } else {
                challenge(Reason::PasswordWrong, guess.delay)
            }
        }
    }
}

/// Decides about the first SETUP of a session: on air, password, seat. The seat is taken when the answer is yes.
pub fn decide_setup(programs: &dyn Programs, guesses: &Guesses, request: &ViewerRequest<'_>) -> SeatDecision {
    let program = match decide_describe(programs, guesses, request) {
        Decision::Admit(program) => program,
        Decision::Challenge(challenge) => return Decision::Challenge(challenge),
        Decision::Refuse(refusal) => return Decision::Refuse(refusal),
    };
    match program.gate.enter() {
        Ok(seat) => Decision::Admit(Seated { program, seat }),
        Err(SeatRefusal::Full { seats }) => {
            Decision::Refuse(Refusal::keep_open(Reason::SeatsTaken { seats }))
        }
        // It closed between the look-up and here.
        Err(SeatRefusal::Closed) => {
            let reason = program.gate.cut().map_or(Reason::ProgramEnded, Reason::from);
            Decision::Refuse(Refusal::keep_open(reason))
        }
    }
}

/// Why there is nothing, after as much work as a protected program would have cost.
fn nothing_there(programs: &dyn Programs, guesses: &Guesses, request: &ViewerRequest<'_>) -> Reason {
    let target = GuessTarget::Viewing(request.name);
    let _same_work = (
        guesses.standing(request.now.mono, request.address, target),
        shown(request, &Secret::new("decoy-password".to_owned())),
    );
    match programs.channel(request.name) {
        Some(_) => Reason::NotOnAir,
        None => Reason::UnknownChannel,
    }
}

/// How what the request shows compares to `password`: the token or the digest, whichever is right.
fn shown(request: &ViewerRequest<'_>, password: &Secret) -> Verdict {
    let by_token = request.token.map(|token| password.matches(token));
    let by_digest = request.credentials.verify(request.now.mono, &Credential::Password(password.expose()));
    match (by_token, by_digest) {
        (Some(true), _) => Verdict::Granted,
        (Some(false), Verdict::Missing) => Verdict::Wrong,
        (_, verdict) => verdict,
    }
}

fn challenge<T>(reason: Reason, delay: Duration) -> Decision<T> {
    Decision::Challenge(Challenge { reason, stale: reason == Reason::ProofStale, delay })
}

const fn late(reason: Reason, delay: Duration, then: Then) -> Refusal {
    Refusal { reason, delay, then }
}
