//! Where connections wait that have not shown a valid reservation ID yet.
//!
//! Owns: how many they are, in all and per address, and who has to leave when it is full.
//! Not here: their deadline (`rtsp::upkeep`), the proof itself (`slotcast-admission`).
//! Invariant: a newcomer always gets in; who leaves for it comes from the address that has the most there, and has
//! shown less than the others of it, and among equals is the oldest. So a crowd pushes out its own.

use std::net::IpAddr;

use slotcast_core::address::party;

/// Names one connection, also after it is gone.
pub(crate) type LinkId = slotcast_core::table::Key;

/// What an unproven connection has shown so far. Later is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shown {
    /// A wrong reservation ID; it only waits for its answer.
    WrongId,
    /// It has sent nothing that makes a request.
    Nothing,
    /// It has had a request answered.
    Request,
    /// It was asked for its reservation ID and is expected to answer.
    Announce,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    link: LinkId,
    address: IpAddr,
    shown: Shown,
}

/// The unproven connections, oldest first.
#[derive(Debug)]
pub(crate) struct Antechamber {
    waiting: Vec<Waiting>,
    waiting_max: usize,
    per_address_max: usize,
}

impl Antechamber {
    /// Room for `waiting_max` in all and `per_address_max` from one address, both at least 1.
    pub(crate) fn new(waiting_max: usize, per_address_max: usize) -> Self {
        Self { waiting: Vec::new(), waiting_max, per_address_max }
    }

    /// Lets `link` in; returns who has to leave for it, and has been forgotten here already.
    pub(crate) fn enter(&mut self, link: LinkId, address: IpAddr) -> Option<LinkId> {
        let address = party(address);
        let leaves = if self.count_from(address) >= self.per_address_max {
            self.least_of(address)
        } else if self.waiting.len() >= self.waiting_max {
            self.most_crowded().and_then(|crowded| self.least_of(crowded))
        } else {
            None
        };
        let leaves = leaves.map(|at| self.waiting.remove(at).link);
        self.waiting.push(Waiting { link, address, shown: Shown::Nothing });
        leaves
    }

    /// Notes what `link` has shown, if that is more than before. One with a wrong reservation ID leaves before all others.
    pub(crate) fn note(&mut self, link: LinkId, shown: Shown) {
        if let Some(waiting) = self.waiting.iter_mut().find(|w| w.link == link) {
            waiting.shown = if shown == Shown::WrongId { shown } else { shown.max(waiting.shown) };
        }
    }

    /// Forgets `link`: it has proven itself, or is gone. Unknown: nothing happens.
    pub(crate) fn leave(&mut self, link: LinkId) {
        self.waiting.retain(|w| w.link != link);
    }

    /// Who leaves first when descriptors run out; it has been forgotten here already.
    pub(crate) fn give_up_one(&mut self) -> Option<LinkId> {
        let at = self.most_crowded().and_then(|crowded| self.least_of(crowded))?;
        Some(self.waiting.remove(at).link)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn count_from(&self, address: IpAddr) -> usize {
        self.waiting.iter().filter(|w| w.address == address).count()
    }

    /// The address with the most waiting; of equals the one that came first.
    fn most_crowded(&self) -> Option<IpAddr> {
        let mut counts: Vec<(IpAddr, usize)> = Vec::new();
        for waiting in &self.waiting {
            match counts.iter_mut().find(|(address, _)| *address == waiting.address) {
                Some((_, count)) => *count += 1,
                None => counts.push((waiting.address, 1)),
            }
        }
        let most = counts.iter().map(|(_, count)| *count).max()?;
        counts.into_iter().find(|(_, count)| *count == most).map(|(address, _)| address)
    }

    /// Place of the one of `address` that has shown least, the oldest of these.
    fn least_of(&self, address: IpAddr) -> Option<usize> {
        let of_address = self.waiting.iter().enumerate().filter(|(_, w)| w.address == address);
        of_address.min_by_key(|(at, w)| (w.shown, *at)).map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn link(serial: u64) -> LinkId {
        LinkId::for_tests(serial)
    }

    #[test]
    fn when_full_the_crowd_pushes_out_its_own_oldest() {
        let mut room = Antechamber::new(4, 4);
        assert_eq!(room.enter(link(1), address(1)), None);
        for serial in 2..=4 {
            assert_eq!(room.enter(link(serial), address(2)), None);
        }
        assert_eq!(room.enter(link(5), address(3)), Some(link(2)));
        assert_eq!(room.enter(link(6), address(2)), Some(link(3)));
        assert_eq!(room.len(), 4);
    }

    #[test]
    fn the_limit_of_an_address_is_its_own() {
        let mut room = Antechamber::new(10, 2);
        room.enter(link(1), address(1));
        room.enter(link(2), address(2));
        room.enter(link(3), address(1));
        assert_eq!(room.enter(link(4), address(1)), Some(link(1)));
    }

    #[test]
    fn who_has_shown_more_stays_longer() {
        let mut room = Antechamber::new(3, 3);
        for serial in 1..=3 {
            room.enter(link(serial), address(1));
        }
        room.note(link(1), Shown::Announce);
        room.note(link(2), Shown::Request);
        room.note(link(1), Shown::Request);
        assert_eq!(room.enter(link(4), address(1)), Some(link(3)));
        room.leave(link(4));
        room.note(link(1), Shown::WrongId);
        assert_eq!(room.give_up_one(), Some(link(1)));
        assert_eq!(room.give_up_one(), Some(link(2)));
        assert_eq!(room.give_up_one(), None);
    }
}
