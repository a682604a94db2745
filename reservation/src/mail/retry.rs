//! When a mail that could not be handed on is tried again.
//!
//! Invariant: a pure function of the outbox's row; retries of different mails spread out, so that a server which comes
//! back is not met by all at once. After about three days nobody tries again.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::PostError;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// Waits before the second try, the third and so on; together 71 hours and 51 minutes.
const WAITS_S: [u64; 15] = [
    MINUTE,
    5 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    4 * HOUR,
    8 * HOUR,
    8 * HOUR,
    8 * HOUR,
    8 * HOUR,
    8 * HOUR,
    8 * HOUR,
    8 * HOUR,
    8 * HOUR,
];

/// How often a mail is tried at all.
pub const TRIES_MAX: u32 = WAITS_S.len() as u32 + 1;

/// What comes after a try that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try again after this time.
    After(Duration),
    /// Never; the reason is for the operator.
    GiveUp(String),
}

/// What comes after the `tries`-th try of the mail `key` has failed with `error`.
///
/// - `tries`: from 1.
pub fn next(tries: u32, key: &str, error: &PostError) -> Next {
    let text = match error {
        PostError::Temporary(text) => text,
        PostError::Permanent(text) => return Next::GiveUp(format!("refused: {text}")),
    };
    let wait_s = (tries.max(1) as usize).checked_sub(1).and_then(|at| WAITS_S.get(at));
    match wait_s {
        Some(&wait_s) => Next::After(spread(wait_s, tries, key)),
        None => Next::GiveUp(format!("given up after {tries} tries in about three days; the last: {text}")),
    }
}

/// 80 to 120 per cent, by the key and the try: the same each time it is asked.
fn spread(wait_s: u64, tries: u32, key: &str) -> Duration {
    let digest = Sha256::new().chain_update(key).chain_update(tries.to_be_bytes()).finalize();
    let share = u64::from(u16::from_be_bytes([digest[0], digest[1]]));
    Duration::from_millis(wait_s * 800 + wait_s * 400 * share / u64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary() -> PostError {
        PostError::Temporary("451 later".to_owned())
    }

    #[test]
    fn gives_up_after_about_three_days_with_the_reason() {
        for key in ["a", "confirmed-7-3", "invitation-9-1-00ff"] {
            let mut total = Duration::ZERO;
            for tries in 1..TRIES_MAX {
                match next(tries, key, &temporary()) {
                    Next::After(wait) => total += wait,
                    Next::GiveUp(reason) => panic!("{tries}: {reason}"),
                }
            }
            let hours = total.as_secs() / HOUR;
            assert!((57..=87).contains(&hours), "{hours}");
            let Next::GiveUp(reason) = next(TRIES_MAX, key, &temporary()) else { panic!() };
            assert!(reason.contains("451 later"), "{reason}");
        }
        assert!(matches!(next(u32::MAX, "a", &temporary()), Next::GiveUp(_)));
        assert!(matches!(next(0, "a", &temporary()), Next::After(_)));
    }

    #[test]
    fn mails_spread_out_and_each_stays_with_its_time() {
        let waits: Vec<_> = (0..50).map(|n| next(8, &format!("k-{n}"), &temporary())).collect();
        let again: Vec<_> = (0..50).map(|n| next(8, &format!("k-{n}"), &temporary())).collect();
        assert_eq!(waits, again);
        let least = Duration::from_secs(8 * HOUR * 8 / 10);
        for wait in &waits {
            let Next::After(wait) = wait else { panic!() };
            assert!((least..=least * 3 / 2).contains(wait), "{wait:?}");
        }
        let distinct: std::collections::HashSet<_> = waits.iter().map(|wait| format!("{wait:?}")).collect();
        assert!(distinct.len() > 45);
    }

    #[test]
    fn a_refusal_is_not_tried_again() {
        let refused = PostError::Permanent("550 no such user".to_owned());
        assert_eq!(next(1, "a", &refused), Next::GiveUp("refused: 550 no such user".to_owned()));
    }
}
