//! Every bound of this crate, by name.
//!
//! What an operator may set stands with what it bounds, e.g. in [`GuessLimits`](crate::guesses::GuessLimits).

use std::time::Duration;

/// Most bits of a generation in the seat word; it wraps far beyond the number of times that one program is reopened.
pub const GENERATION_BITS: u32 = 23;

/// Most reservation programs that one snapshot holds; more are refused at publish.
pub const PROGRAMS_MAX: usize = 100_000;

/// Most channels that one snapshot holds; more are refused at publish.
pub const CHANNELS_MAX: usize = 10_000;

/// Sets of the table of addresses that guessed wrong; times [`GUESS_WAYS`] is how many it remembers.
pub const GUESS_ADDRESS_SETS: usize = 2_048;

/// Sets of the table of programs that were guessed at.
pub const GUESS_TARGET_SETS: usize = 256;

/// Entries of one set.
pub const GUESS_WAYS: usize = 4;

/// Programs before now, and as many after, against which a reservation ID is checked.
pub const LINK_CANDIDATES_MAX: usize = 128;

/// A program that has ended and whose end lies ahead by so much was ended by a clock that ran ahead.
pub const CLOCK_SET_BACK_MIN: Duration = Duration::from_secs(1);

/// Reservation IDs are checked against all of these so many times in [`FAR_LOOKS_TIME`] at most.
pub const FAR_LOOKS_MAX: u32 = 5;
/// See [`FAR_LOOKS_MAX`].
pub const FAR_LOOKS_TIME: Duration = Duration::from_millis(100);

/// How long an encoder may be above its class before its link is closed.
pub const CLASS_EXCEEDED_MAX: Duration = Duration::from_secs(10);

/// A pause without drops that ends a spell of being over the class.
pub const CLASS_PAUSE: Duration = Duration::from_secs(1);
