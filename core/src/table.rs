//! Values in numbered places, under names that are never given twice.
//!
//! Owns: [`Table`] and its [`Key`]s. An event names the place; everything that outlives the event keeps the key.
//! Invariant: a key never reaches a value that was put in later.

use std::mem;

/// Names one value of a [`Table`], also after the value is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    place: u32,
    generation: u32,
}

impl Key {
    /// Where the value stands: below the largest number of values that were there at once.
    pub const fn place(self) -> usize {
        self.place as usize
    }

    /// A key for the tests of what only compares keys.
    pub const fn for_tests(generation: u32) -> Self {
        Self { place: 0, generation }
    }
}

struct Place<T> {
    /// Of the value that is here, or of the next one.
    generation: u32,
    content: Content<T>,
}

enum Content<T> {
    Free,
    /// The caller has the value in hand and brings it back or removes it.
    InHand,
    Held(T),
}

impl<T> Content<T> {
    fn into_value(self) -> Option<T> {
        if let Self::Held(value) = self { Some(value) } else { None }
    }
}

/// Values that are held here, or in the caller's hand while it works on them.
pub struct Table<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    count: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new(), count: 0 }
    }
}

impl<T> Table<T> {
    /// Puts `value` in; cost: a push at most.
    pub fn insert(&mut self, value: T) -> Key {
        let key = self.reserve();
        self.put(key, value);
        key
    }

    /// A key for a value that is still being made; it counts as in hand until [`put`](Self::put).
    ///
    /// # Panics
    /// With more than 2^32 values at once.
    pub fn reserve(&mut self) -> Key {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, content: Content::Free });
            u32::try_from(self.places.len() - 1).expect("2^32 values do not fit into memory")
        });
        self.count += 1;
        let here = &mut self.places[place as usize];
        here.content = Content::InHand;
        Key { place, generation: here.generation }
    }

    /// Takes the value at `place` in hand; `None` when there is none, or it is in hand already.
    pub fn take_at(&mut self, place: usize) -> Option<(Key, T)> {
        let key = self.key_at(place)?;
        Some((key, self.take(key)?))
    }

    /// As [`take_at`](Self::take_at), by name.
    pub fn take(&mut self, key: Key) -> Option<T> {
        let here = self.place_of(key).filter(|here| matches!(here.content, Content::Held(_)))?;
        mem::replace(&mut here.content, Content::InHand).into_value()
    }

    /// Brings back what was in hand; nothing happens where `key` was removed meanwhile.
    pub fn put(&mut self, key: Key, value: T) {
        if let Some(here) = self.place_of(key).filter(|here| matches!(here.content, Content::InHand)) {
            here.content = Content::Held(value);
        }
    }

    /// Frees the place of `key`. Returns the value unless it was in hand; `None`, too, where it is gone already.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let here = self.place_of(key).filter(|here| !matches!(here.content, Content::Free))?;
        let content = mem::replace(&mut here.content, Content::Free);
        // A place whose generations are used up stays empty for ever.
        if let Some(next) = here.generation.checked_add(1) {
            here.generation = next;
            self.free.push(key.place);
        }
        self.count -= 1;
        content.into_value()
    }

    /// The key of what is held at `place`; `None` where nothing is, or it is in hand.
    pub fn key_at(&self, place: usize) -> Option<Key> {
        let here = self.places.get(place)?;
        let is_held = matches!(here.content, Content::Held(_));
        is_held.then_some(Key { place: place as u32, generation: here.generation })
    }

    /// The value of `key`; `None` where it is gone or in hand.
    pub fn get(&self, key: Key) -> Option<&T> {
        let here = self.places.get(key.place()).filter(|here| here.generation == key.generation)?;
        if let Content::Held(value) = &here.content { Some(value) } else { None }
    }

    /// As [`get`](Self::get), to change it.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        if let Content::Held(value) = &mut self.place_of(key)?.content { Some(value) } else { None }
    }

    fn place_of(&mut self, key: Key) -> Option<&mut Place<T>> {
        self.places.get_mut(key.place()).filter(|here| here.generation == key.generation)
    }

    /// All that are held, by place.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.places.iter().zip(0..).filter_map(|(here, place)| match &here.content {
            Content::Held(value) => Some((Key { place, generation: here.generation }, value)),
            Content::Free | Content::InHand => None,
        })
    }

    /// The keys of all that are held.
    pub fn keys(&self) -> Vec<Key> {
        self.iter().map(|(key, _)| key).collect()
    }

    /// The keys of all that are in hand.
    pub fn in_hand(&self) -> Vec<Key> {
        let places = self.places.iter().zip(0..);
        let in_hand = places.filter(|(here, _)| matches!(here.content, Content::InHand));
        in_hand.map(|(here, place)| Key { place, generation: here.generation }).collect()
    }

    /// How many there are, those in hand included.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// One more than the largest place that was ever taken.
    pub const fn places(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none, not even in hand.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_not_reach_the_next_in_its_place() {
        let mut table = Table::default();
        let first = table.insert("first");
        assert_eq!(table.take(first), Some("first"));
        assert!(table.take(first).is_none() && table.get(first).is_none(), "in hand");
        assert_eq!((table.in_hand(), table.len()), (vec![first], 1));
        assert_eq!(table.remove(first), None);
        assert!(table.is_empty());
        table.put(first, "late");
        assert!(table.is_empty() && table.take(first).is_none() && table.remove(first).is_none());
        let second = table.insert("second");
        assert_eq!(second.place(), first.place());
        assert!(
            table.get(first).is_none() && table.get_mut(first).is_none() && table.remove(first).is_none()
        );
        assert_eq!(table.take_at(second.place()), Some((second, "second")));
        assert!(!table.is_empty() && table.keys().is_empty());
    }

    #[test]
    fn what_is_held_is_listed_and_given_back() {
        let mut table = Table::default();
        let keys = [table.insert(1), table.insert(2), table.insert(3)];
        assert_eq!(table.remove(keys[1]), Some(2));
        *table.get_mut(keys[2]).unwrap() += 10;
        assert_eq!(table.iter().collect::<Vec<_>>(), [(keys[0], &1), (keys[2], &13)]);
        assert_eq!((table.key_at(2), table.key_at(1), table.key_at(9)), (Some(keys[2]), None, None));
    }

    #[test]
    fn a_place_whose_generations_are_used_up_is_given_to_nobody() {
        let mut table = Table::default();
        let first = table.insert(());
        table.remove(first);
        table.places[0].generation = u32::MAX;
        let last = table.insert(());
        table.remove(last);
        assert_ne!(table.insert(()).place(), last.place());
    }
}
