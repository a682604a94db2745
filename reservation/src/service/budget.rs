//! How often somebody may try: one bucket per name, in bounded memory.
//!
//! Invariant: time is monotonic, so a stepped clock neither locks anybody out nor lets anybody in.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{
    domain::{refusal::Refusal, words::UserId},
    limits::{BUDGETS_MAX, Budget},
};

/// Buckets of one kind. A bucket is the moment at which it will be full again.
pub(super) struct Buckets<K> {
    budget: Budget,
    full_at: Mutex<HashMap<K, Instant>>,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    pub(super) fn new(budget: Budget) -> Self {
        Self { budget, full_at: Mutex::new(HashMap::new()) }
    }

    /// Takes one try. Refused: none is left.
    pub(super) fn take(&self, name: &K, now: Instant) -> Result<(), Refusal> {
        let mut table = self.full_at.lock();
        if table.len() >= BUDGETS_MAX && !table.contains_key(name) {
            make_room(&mut table, now);
        }
        let full_at = table.get(name).copied().unwrap_or(now).max(now);
        let after = full_at + self.budget.every;
        let limit = now + self.span();
        if after > limit {
            return Err(Refusal::TooMany { retry_after: seconds(after - limit) });
        }
        table.insert(name.clone(), after);
        Ok(())
    }

    /// Refuses where none is left, without taking one.
    pub(super) fn check(&self, name: &K, now: Instant) -> Result<(), Refusal> {
        let full_at = self.full_at.lock().get(name).copied().unwrap_or(now).max(now);
        let (after, limit) = (full_at + self.budget.every, now + self.span());
        if after > limit { Err(Refusal::TooMany { retry_after: seconds(after - limit) }) } else { Ok(()) }
    }

    /// A try that was taken counts no more.
    pub(super) fn give_back(&self, name: &K) {
        if let Some(full_at) = self.full_at.lock().get_mut(name) {
            *full_at = full_at.checked_sub(self.budget.every).unwrap_or(*full_at);
        }
    }

    fn span(&self) -> Duration {
        self.budget.every.saturating_mul(self.budget.burst)
    }
}

/// Who guesses at whose password, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Guess {
    /// Whose.
    pub(super) user_id: UserId,
    /// From which address.
    pub(super) client: IpAddr,
    /// Whether that member has logged in from there before.
    pub(super) is_home: bool,
}

/// Wrong passwords of one user ID. An address from which it has logged in has a budget of its own, so that whoever
/// guesses elsewhere does not lock the member out.
pub(super) struct Guesses {
    anywhere: Buckets<UserId>,
    at_home: Buckets<(UserId, IpAddr)>,
}

impl Guesses {
    pub(super) fn new(budget: Budget) -> Self {
        Self { anywhere: Buckets::new(budget), at_home: Buckets::new(budget) }
    }

    /// Takes one guess, before the password is looked at: many at one moment are as many as one after another. Refused:
    /// none is left.
    pub(super) fn take(&self, guess: &Guess, now: Instant) -> Result<(), Refusal> {
        match guess.is_home {
            true => self.at_home.take(&guess.home(), now),
            false => self.anywhere.take(&guess.user_id, now),
        }
    }

    /// It was no guess.
    pub(super) fn give_back(&self, guess: &Guess) {
        match guess.is_home {
            true => self.at_home.give_back(&guess.home()),
            false => self.anywhere.give_back(&guess.user_id),
        }
    }
}

impl Guess {
    fn home(&self) -> (UserId, IpAddr) {
        (self.user_id.clone(), one_address(self.client))
    }
}

/// Forgets full buckets; where there are none, those that are nearly full.
fn make_room<K: Hash + Eq>(table: &mut HashMap<K, Instant>, now: Instant) {
    table.retain(|_, full_at| *full_at > now);
    if table.len() >= BUDGETS_MAX {
        forget_earlier_half(table);
    }
}

fn forget_earlier_half<K: Hash + Eq>(table: &mut HashMap<K, Instant>) {
    let mut moments: Vec<_> = table.values().copied().collect();
    if moments.is_empty() {
        return;
    }
    let half = moments.len() / 2;
    let middle = *moments.select_nth_unstable(half).1;
    table.retain(|_, at| *at > middle);
}

fn seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// What counts as one address: IPv6 hosts have a whole /64 to themselves.
pub(super) fn one_address(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let bits = u128::from(v6) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(bits))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn some_instant() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_burst_and_then_one_at_a_time() {
        let start = some_instant();
        let buckets = Buckets::new(Budget { burst: 3, every: Duration::from_secs(10) });
        for _ in 0..3 {
            assert_eq!(buckets.take(&1, start), Ok(()));
        }
        assert_eq!(buckets.take(&1, start), Err(Refusal::TooMany { retry_after: 10 }));
        assert_eq!(buckets.check(&1, start), Err(Refusal::TooMany { retry_after: 10 }));
        assert_eq!(buckets.take(&2, start), Ok(()));
        let later = start + Duration::from_secs(10);
        assert_eq!(buckets.take(&1, later), Ok(()));
        assert!(buckets.take(&1, later).is_err());
    }

    #[test]
    fn memory_stays_bounded_and_the_most_eager_are_remembered() {
        let start = some_instant();
        let buckets = Buckets::new(Budget { burst: 2, every: Duration::from_secs(10) });
        for name in 0..3 * BUDGETS_MAX {
            let _ = buckets.take(&usize::MAX, start);
            assert_eq!(buckets.take(&name, start), Ok(()));
        }
        assert!(buckets.full_at.lock().len() <= BUDGETS_MAX);
        assert!(buckets.take(&usize::MAX, start).is_err());
    }

    #[test]
    fn guesses_from_elsewhere_do_not_lock_the_member_out_at_home() {
        let now = some_instant();
        let guesses = Guesses::new(Budget { burst: 2, every: Duration::from_secs(10) });
        let guess = |client: &str, is_home| Guess {
            user_id: "taro".parse().unwrap(),
            client: client.parse().unwrap(),
            is_home,
        };
        for guess in [guess("192.0.2.2", false), guess("192.0.2.1", true)] {
            for _ in 0..2 {
                assert_eq!(guesses.take(&guess, now), Ok(()));
            }
            assert!(guesses.take(&guess, now).is_err(), "guessing at home has its end too");
            guesses.give_back(&guess);
            assert_eq!(guesses.take(&guess, now), Ok(()));
            assert!(guesses.take(&guess, now).is_err());
        }
    }

    #[test]
    fn a_network_of_one_host_is_one_address() {
        let one = |text: &str| one_address(text.parse().unwrap());
        assert_eq!(one("2001:db8::1"), one("2001:db8::ffff:1"));
        assert_ne!(one("2001:db8::1"), one("2001:db8:0:1::1"));
        assert_eq!(one("::ffff:192.0.2.1"), one("192.0.2.1"));
    }
}
