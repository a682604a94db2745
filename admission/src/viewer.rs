//! Who may watch: is the program on air, is the password right, is there a seat; in this order.
//!
//! Owns: the decisions whether a viewer may see the description and whether it gets a seat, as functions of the programs,
//! the request and now.
//! Not here: whether the broadcaster's packets arrive (the workers know), what the response looks like.
//! Invariant: a protected program asks for its password before anything else is said about it; a wrong password is
//! counted and answered late; no seat is taken by anyone who was not let in.
//!
//! | what | kind | connection |
//! |---|---|---|
//! | no program on air, or no such channel (one text, the same work) | absent | stays |
//! | password missing, or a stale proof | challenge, at once | stays |
//! | wrong password, the first two of an address | challenge, late | stays |
//! | wrong password, from the third on | unproven, late | closed |
//! | the address's budget is spent: nothing that it shows is looked at | forbidden, late | closed |
//! | every seat taken | full | stays |

use std::{net::IpAddr, sync::Arc};

use slotcast_auth::{Credential, Proof, Secret, Verdict};
use slotcast_core::{time::Now, words::ProgramId};

use crate::{
    gate::Seat,
    guesses::{CLOSE_AFTER, GuessTarget, Guesses},
    program::{Program, Programs},
    reason::{Decision, Reason, Refusal},
};

/// What a viewer asks, and what the edge knows about who asks.
#[derive(Clone, Copy)]
pub struct ViewerRequest<'a> {
    /// The channel's name in the address; anything at all, it is looked up and no more.
    pub channel: &'a str,
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

/// Decides whether the viewer may see the description: on air, password. Takes no seat.
pub fn decide_description(
    programs: &dyn Programs,
    guesses: &Guesses,
    request: &ViewerRequest<'_>,
) -> Decision<Arc<Program>> {
    let Some(program) = programs.on_air(request.channel, request.now.wall) else {
        return Err(Refusal::keep_open(nothing_there(programs, guesses, request)));
    };
    let Some(password) = program.protection() else { return Ok(program) };
    if request.admitted == Some(program.id) {
        return Ok(program);
    }
    let target = GuessTarget::Viewing(request.channel);
    if guesses.is_spent(request.now.mono, request.address, target) {
        return Err(Refusal::close(Reason::TooManyGuesses).after(guesses.delay()));
    }
    match request.credentials.verify(request.now.mono, &Credential::Password(password)) {
        Verdict::Granted => Ok(program),
        Verdict::Missing => Err(Refusal::challenge(Reason::PasswordMissing)),
        Verdict::Stale => Err(Refusal::challenge(Reason::ProofStale)),
        Verdict::Wrong => {
            let guess = guesses.wrong(request.now.mono, request.address, target);
            let refusal = if guess.count >= CLOSE_AFTER { Refusal::close } else { Refusal::challenge };
            Err(refusal(Reason::PasswordWrong).after(guess.delay))
        }
    }
}

/// Decides about a new session: on air, password, seat. The seat is taken when the answer is yes; dropping it gives it back.
pub fn decide_seat(
    programs: &dyn Programs,
    guesses: &Guesses,
    request: &ViewerRequest<'_>,
) -> Decision<(Arc<Program>, Seat)> {
    let program = decide_description(programs, guesses, request)?;
    match program.gate.enter() {
        Ok(seat) => Ok((program, seat)),
        // It may have closed between the look-up and here.
        Err(reason) => Err(Refusal::keep_open(reason)),
    }
}

/// Why there is nothing, after as much work as a protected program would have cost.
fn nothing_there(programs: &dyn Programs, guesses: &Guesses, request: &ViewerRequest<'_>) -> Reason {
    let target = GuessTarget::Viewing(request.channel);
    let decoy = Secret::new("decoy-password".to_owned());
    let _same_work = (
        guesses.is_spent(request.now.mono, request.address, target),
        request.credentials.verify(request.now.mono, &Credential::Password(&decoy)),
    );
    match programs.channel(request.channel) {
        Some(_) => Reason::NotOnAir,
        None => Reason::UnknownChannel,
    }
}
