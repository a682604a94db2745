//! The connections by the place that the kernel's events name.
//!
//! Holds: a [`LinkId`] is never given twice, so who keeps one cannot reach a later connection in the same place.

/// Names one connection for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LinkId {
    place: usize,
    serial: u64,
}

impl LinkId {
    /// Where it stands in the table.
    pub(crate) const fn place(self) -> usize {
        self.place
    }

    #[cfg(test)]
    pub(crate) const fn for_tests(serial: u64) -> Self {
        Self { place: 0, serial }
    }
}

enum Place<T> {
    Free,
    /// Being driven: its owner has it in hand and brings it back or removes it.
    Taken(LinkId),
    Held(LinkId, Box<T>),
}

/// Connections that are held here, or in hand while they are driven.
pub(crate) struct Table<T> {
    places: Vec<Place<T>>,
    free: Vec<usize>,
    next_serial: u64,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new(), next_serial: 0 }
    }
}

impl<T> Table<T> {
    /// A place and a name for a new connection; it is in hand until [`put`](Self::put).
    pub(crate) fn reserve(&mut self) -> LinkId {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::Free);
            self.places.len() - 1
        });
        let id = LinkId { place, serial: self.next_serial };
        self.next_serial += 1;
        self.places[place] = Place::Taken(id);
        id
    }

    /// Takes the connection at `place` in hand; `None` when there is none, or it is in hand already.
    pub(crate) fn take_at(&mut self, place: usize) -> Option<(LinkId, Box<T>)> {
        let slot = self.places.get_mut(place)?;
        let Place::Held(id, _) = slot else { return None };
        let id = *id;
        match std::mem::replace(slot, Place::Taken(id)) {
            Place::Held(_, link) => Some((id, link)),
            Place::Free | Place::Taken(_) => None,
        }
    }

    /// As [`take_at`](Self::take_at), by name.
    pub(crate) fn take(&mut self, id: LinkId) -> Option<Box<T>> {
        match self.places.get(id.place)? {
            Place::Held(held, _) if *held == id => self.take_at(id.place).map(|(_, link)| link),
            _ => None,
        }
    }

    /// What has `id`; `None` while it is in hand.
    pub(crate) fn get(&self, id: LinkId) -> Option<&T> {
        match self.places.get(id.place)? {
            Place::Held(held, link) if *held == id => Some(link),
            _ => None,
        }
    }

    /// Brings back what was in hand.
    pub(crate) fn put(&mut self, id: LinkId, link: Box<T>) {
        self.places[id.place] = Place::Held(id, link);
    }

    /// Frees the place of what was in hand.
    pub(crate) fn remove(&mut self, id: LinkId) {
        self.places[id.place] = Place::Free;
        self.free.push(id.place);
    }

    /// Names of all that are in hand.
    pub(crate) fn in_hand(&self) -> Vec<LinkId> {
        let taken = self.places.iter().filter_map(|place| match place {
            Place::Taken(id) => Some(*id),
            Place::Free | Place::Held(..) => None,
        });
        taken.collect()
    }

    /// Names of all that are not in hand.
    pub(crate) fn ids(&self) -> Vec<LinkId> {
        self.iter().map(|(id, _)| id).collect()
    }

    /// All that are not in hand.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (LinkId, &T)> {
        self.places.iter().filter_map(|place| match place {
            Place::Held(id, link) => Some((*id, &**link)),
            Place::Free | Place::Taken(_) => None,
        })
    }

    /// Whether there is no connection at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_does_not_reach_the_next_in_its_place() {
        let mut table = Table::default();
        let first = table.reserve();
        table.put(first, Box::new("first"));
        assert_eq!(table.take(first).as_deref(), Some(&"first"));
        assert!(table.take(first).is_none(), "in hand");
        assert_eq!(table.in_hand(), [first]);
        table.remove(first);
        assert!(table.is_empty());
        let second = table.reserve();
        assert_eq!(second.place(), first.place());
        table.put(second, Box::new("second"));
        assert!(table.take(first).is_none());
        assert_eq!(table.take_at(second.place()).map(|(id, link)| (id, *link)), Some((second, "second")));
        assert!(!table.is_empty() && table.ids().is_empty());
    }
}
