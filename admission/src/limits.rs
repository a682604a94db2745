//! Every bound of this crate, by name, with its default.
//!
//! Owns: the numbers and how they fit together. The edge fills them from its config.

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

/// Longest password or reservation ID that is looked at, in bytes; a longer one is wrong.
pub const SECRET_BYTES_MAX: usize = 1_024;

/// Programs before now, and as many after, against which a reservation ID is checked.
pub const LINK_CANDIDATES_MAX: usize = 128;

/// A program that has ended and whose end lies ahead by so much was ended by a clock that ran ahead.
pub const CLOCK_SET_BACK_MIN: Duration = Duration::from_secs(1);

/// Reservation IDs are checked against all of these so many times in [`FAR_LOOKS_TIME`] at most.
pub const FAR_LOOKS_MAX: u32 = 5;
/// See [`FAR_LOOKS_MAX`].
pub const FAR_LOOKS_TIME: Duration = Duration::from_millis(100);

/// Shortest reservation ID that cannot be guessed at the rate that connections can be made; `check-config` warns below.
pub const ID_CHARS_MIN: usize = 16;

/// A pause without drops that ends a spell of being over the class.
pub const CLASS_PAUSE: Duration = Duration::from_secs(1);

/// The bounds that an operator may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a broadcaster may be over the class before the link is closed.
    pub class_exceeded_max: Duration,
    /// What the class's bucket holds, as time of the class's rate.
    pub class_burst: Duration,
    /// Links that may be open at once.
    pub lines: u32,
    /// Links that one address may have open at once.
    pub lines_per_address: u32,
    /// Wrong guesses of one address within `guess_window`.
    pub guesses_per_address: u32,
    /// Wrong guesses at one program within `guess_window`, from anywhere.
    pub guesses_per_target: u32,
    /// The sliding window in which guesses count.
    pub guess_window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            class_exceeded_max: Duration::from_secs(10),
            class_burst: Duration::from_secs(2),
            lines: 20,
            lines_per_address: 8,
            guesses_per_address: 10,
            guesses_per_target: 100,
            guess_window: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// What does not fit together, in words for the operator.
    ///
    /// - `channels`: how many the config lists; two lines each are needed for back-to-back programs.
    pub fn check(&self, channels: usize) -> Result<(), String> {
        let lines_min = u32::try_from(channels.saturating_mul(2)).unwrap_or(u32::MAX);
        if self.lines < lines_min {
            return Err(format!("{} lines for {channels} channels: set at least {lines_min}", self.lines));
        }
        if self.lines_per_address == 0 {
            return Err("lines_per_address is 0: no link could ever be opened; set at least 1".to_owned());
        }
        if self.guesses_per_address < 3 {
            return Err("guesses_per_address below 3 punishes a typing error: set at least 3".to_owned());
        }
        if self.guess_window < Duration::from_secs(1) {
            return Err("guess_window below 1 s limits nothing: set at least 1s".to_owned());
        }
        if self.class_burst.is_zero() || self.class_exceeded_max < CLASS_PAUSE {
            return Err("class_burst must be above 0 and class_exceeded_max at least 1s".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lines_a_channel_or_the_config_is_refused() {
        let limits = Limits::default();
        assert_eq!(limits.check(10), Ok(()));
        assert!(limits.check(11).is_err_and(|text| text.contains("at least 22")));
    }

    #[test]
    fn bounds_that_would_stop_everything_are_refused() {
        let base = Limits::default();
        for bad in [
            Limits { lines_per_address: 0, ..base },
            Limits { guesses_per_address: 2, ..base },
            Limits { guess_window: Duration::ZERO, ..base },
            Limits { class_burst: Duration::ZERO, ..base },
            Limits { class_exceeded_max: Duration::ZERO, ..base },
        ] {
            assert!(bad.check(1).is_err(), "{bad:?}");
        }
    }
}
