//! Values in numbered places, under names that are never given twice.
//!
//! Owns: [`Table`] and its [`Key`]s. An event names the place; everything that outlives the event keeps the key.
//! Invariant: a key never reaches a value that was put in later.

use slab::Slab;

/// Names one value of a [`Table`], also after the value is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    place: usize,
    serial: u64,
}

impl Key {
    /// Where the value stands: below the largest number of values that were there at once.
    pub const fn place(self) -> usize {
        self.place
    }

    /// A key for the tests of what only compares keys.
    pub const fn for_tests(serial: u64) -> Self {
        Self { place: 0, serial }
    }
}

/// Values with their serial numbers.
pub struct Table<T> {
    values: Slab<(u64, T)>,
    named: u64,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { values: Slab::new(), named: 0 }
    }
}

impl<T> Table<T> {
    /// Puts `value` in; cost: a push at most.
    pub fn insert(&mut self, value: T) -> Key {
        self.named += 1;
        Key { place: self.values.insert((self.named, value)), serial: self.named }
    }

    /// Frees the place of `key`; `None` where it is gone already.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        self.values.try_remove(key.place).map(|(_, value)| value)
    }

    /// The key of what is at `place`; `None` where nothing is.
    pub fn key_at(&self, place: usize) -> Option<Key> {
        self.values.get(place).map(|(serial, _)| Key { place, serial: *serial })
    }

    /// The value of `key`; `None` where it is gone.
    pub fn get(&self, key: Key) -> Option<&T> {
        self.values.get(key.place).filter(|(serial, _)| *serial == key.serial).map(|(_, value)| value)
    }

    /// As [`get`](Self::get), to change it.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.values.get_mut(key.place).filter(|(serial, _)| *serial == key.serial).map(|(_, value)| value)
    }

    /// All, by place.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.values.iter().map(|(place, (serial, value))| (Key { place, serial: *serial }, value))
    }

    /// The keys of all.
    pub fn keys(&self) -> Vec<Key> {
        self.iter().map(|(key, _)| key).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// More than the largest place that was ever taken.
    pub fn places(&self) -> usize {
        self.values.capacity()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_not_reach_the_next_in_its_place() {
        let mut table = Table::default();
        let first = table.insert("first");
        assert_eq!((table.get(first), table.len()), (Some(&"first"), 1));
        assert_eq!(table.remove(first), Some("first"));
        assert!(table.is_empty() && table.get(first).is_none());
        let second = table.insert("second");
        assert_eq!(second.place(), first.place());
        assert!(
            table.get(first).is_none() && table.get_mut(first).is_none() && table.remove(first).is_none()
        );
        assert_eq!(table.keys(), [second]);
    }

    #[test]
    fn what_is_there_is_listed_and_given_back() {
        let mut table = Table::default();
        let keys = [table.insert(1), table.insert(2), table.insert(3)];
        assert_eq!(table.remove(keys[1]), Some(2));
        *table.get_mut(keys[2]).unwrap() += 10;
        assert_eq!(table.iter().collect::<Vec<_>>(), [(keys[0], &1), (keys[2], &13)]);
        assert_eq!((table.key_at(2), table.key_at(1), table.key_at(9)), (Some(keys[2]), None, None));
        assert!(table.places() > 2);
    }
}
