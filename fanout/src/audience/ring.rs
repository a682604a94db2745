//! Viewers at the head of the log, served in turn.
//!
//! Owns: whose turn it is, and for how many it is still to come since the last chunk.
//! Invariant: after a chunk each member has its turn, whoever comes and goes meanwhile; a member that has all may have one more.

use std::collections::HashMap;

use crate::viewer::Key;

/// See the module.
pub(super) struct Ring<T> {
    members: Vec<(Key, T)>,
    places: HashMap<Key, usize>,
    at: usize,
    /// How many are to have their turn, from `at` on.
    todo: usize,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self { members: Vec::new(), places: HashMap::new(), at: 0, todo: 0 }
    }
}

impl<T> Ring<T> {
    /// Everybody is to have a turn.
    pub(super) const fn begin(&mut self) {
        self.todo = self.members.len();
    }

    /// Whose turn it is; `None`: everybody has had theirs.
    pub(super) fn current(&mut self) -> Option<&mut T> {
        if self.at >= self.members.len() {
            self.at = 0;
        }
        self.members.get_mut(self.at).filter(|_| self.todo > 0).map(|(_, member)| member)
    }

    /// It is the next one's turn.
    pub(super) const fn advance(&mut self) {
        (self.at, self.todo) = (self.at + 1, self.todo.saturating_sub(1));
    }

    /// Takes out whose turn it is; it is the next one's.
    pub(super) fn take_current(&mut self) -> Option<(Key, T)> {
        let (key, _) = self.members.get(self.at)?;
        Some((*key, self.remove(*key)?))
    }

    pub(super) fn get(&self, key: Key) -> Option<&T> {
        self.members.get(*self.places.get(&key)?).map(|(_, member)| member)
    }

    pub(super) fn insert(&mut self, key: Key, member: T) {
        self.places.insert(key, self.members.len());
        self.members.push((key, member));
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.places.remove(&key)?;
        let (_, member) = self.members.swap_remove(place);
        if let Some((moved, _)) = self.members.get(place) {
            self.places.insert(*moved, place);
        }
        // The one that moved may now stand among those who were served: all are looked at anew.
        self.todo = if self.todo > 0 { self.members.len() } else { 0 };
        Some(member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_turn_whoever_leaves_meanwhile() {
        for leaving in 0..6 {
            for after in 0..6 {
                let mut ring = Ring::default();
                (0..6).for_each(|key| ring.insert(Key(key), 0));
                ring.begin();
                let mut turns = 0;
                while let Some(served) = ring.current() {
                    *served += 1;
                    ring.advance();
                    turns += 1;
                    if turns == after {
                        ring.remove(Key(leaving));
                    }
                }
                let served = |key| ring.get(Key(key)).is_none_or(|count| *count > 0);
                assert!((0..6).all(served), "{leaving} left after {after}");
            }
        }
    }
}
