//! Loss, reorder and duplicates of one track, by its RTP sequence numbers.
//!
//! Invariant: a number counts once; what is older than [`RECENT`] packets is taken for late, not for a duplicate.

use slotcast_core::rtp::SequenceNumber;

/// So many numbers back it is known which came.
const RECENT: u16 = 1024;

/// The sequence numbers of one track.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    highest: Option<SequenceNumber>,
    /// Numbers from the first to the highest, both included.
    span: u64,
    /// Of these, how many came.
    came: u64,
    reordered: u64,
    duplicates: u64,
    /// One bit for each of the last [`RECENT`] numbers.
    recent: [u64; RECENT as usize / 64],
}

impl Sequence {
    /// Says which number is the first, also where packets were faster than the answer that says so: those from before
    /// it count no more.
    pub fn begin(&mut self, first: SequenceNumber) {
        let span = self.highest.map_or(0, |highest| highest.packets_since(first).saturating_add(1));
        if self.came == 0 || span <= 0 {
            *self = Self { highest: Some(first.wrapping_add(u16::MAX)), ..Self::default() };
        } else if span.unsigned_abs() <= RECENT {
            let numbers = (0..span.unsigned_abs()).map(|ahead| first.wrapping_add(ahead));
            self.came = numbers.filter(|number| self.is_marked(*number)).count() as u64;
            self.span = span.unsigned_abs().into();
        }
    }

    /// Takes the number of a packet that came.
    pub fn take(&mut self, number: SequenceNumber) {
        let highest = *self.highest.get_or_insert_with(|| number.wrapping_add(u16::MAX));
        let ahead = number.packets_since(highest);
        if ahead > 0 {
            let skipped = ahead.unsigned_abs().min(RECENT);
            (0..skipped).for_each(|back| self.mark(number.wrapping_add(back.wrapping_neg()), false));
            self.highest = Some(number);
            self.span += u64::from(ahead.unsigned_abs());
            self.came += 1;
            self.mark(number, true);
            return;
        }
        let back = ahead.unsigned_abs();
        if u64::from(back) >= self.span {
            // From before the first: nobody waits for it.
            self.reordered += 1;
        } else if back < RECENT && self.is_marked(number) {
            self.duplicates += 1;
        } else {
            self.reordered += 1;
            self.came += 1;
            self.mark(number, true);
        }
    }

    /// Packets between the first and the highest that did not come.
    pub const fn lost(&self) -> u64 {
        self.span.saturating_sub(self.came)
    }

    /// Packets that came after a later one.
    pub const fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Packets that had come already.
    pub const fn duplicates(&self) -> u64 {
        self.duplicates
    }

    fn mark(&mut self, number: SequenceNumber, came: bool) {
        let (word, bit) = place(number);
        self.recent[word] = self.recent[word] & !bit | if came { bit } else { 0 };
    }

    fn is_marked(&self, number: SequenceNumber) -> bool {
        let (word, bit) = place(number);
        self.recent[word] & bit != 0
    }
}

fn place(number: SequenceNumber) -> (usize, u64) {
    let at = number.0 % RECENT;
    (usize::from(at / 64), 1 << (at % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `expected`: lost, reordered, duplicates.
    #[track_caller]
    fn check(first: Option<u16>, numbers: &[u16], expected: (u64, u64, u64)) {
        let mut sequence = Sequence::default();
        if let Some(first) = first {
            sequence.begin(SequenceNumber(first));
        }
        numbers.iter().for_each(|&number| sequence.take(SequenceNumber(number)));
        let got = (sequence.lost(), sequence.reordered(), sequence.duplicates());
        assert_eq!(got, expected, "{first:?} {numbers:?}");
    }

    #[test]
    fn losses_are_counted_by_sequence_number() {
        check(None, &[], (0, 0, 0));
        check(None, &[7, 8, 9], (0, 0, 0));
        check(Some(5), &[7, 8, 9], (2, 0, 0));
        check(None, &[1, 2, 5, 6], (2, 0, 0));
        check(None, &[65_534, 65_535, 0, 1], (0, 0, 0));
        check(Some(65_530), &[65_534, 65_535, 1], (5, 0, 0));
        check(Some(0), &[0, 1], (0, 0, 0));
    }

    #[test]
    fn late_and_double_packets_are_told_apart() {
        check(None, &[1, 3, 2, 4], (0, 1, 0));
        check(None, &[1, 2, 2, 3, 1], (0, 0, 2));
        check(None, &[1, 3, 3, 2, 2], (0, 1, 2));
        check(None, &[9, 8], (0, 1, 0));
        check(None, &[1, 4, 2], (1, 1, 0));
        check(Some(65_535), &[0, 65_535, 65_535], (0, 1, 1));
    }

    #[test]
    fn neither_duplicates_nor_packets_from_before_the_first_hide_a_loss() {
        let late_begin = |before: &[u16], first, after: &[u16]| {
            let mut sequence = Sequence::default();
            before.iter().for_each(|&number| sequence.take(SequenceNumber(number)));
            sequence.begin(SequenceNumber(first));
            after.iter().for_each(|&number| sequence.take(SequenceNumber(number)));
            (sequence.lost(), sequence.reordered(), sequence.duplicates())
        };
        // As many duplicates as losses.
        check(None, &[1, 2, 2, 2, 5], (2, 0, 2));
        // From before RTP-Info's number, where it was known first and where it was known late.
        check(Some(10), &[8, 9, 10, 13], (2, 2, 0));
        assert_eq!(late_begin(&[8, 9], 10, &[10, 13]), (2, 0, 0));
        assert_eq!(late_begin(&[8, 10, 11], 10, &[12, 14]), (1, 0, 0));
        assert_eq!(late_begin(&[3], 65_530, &[5]), (10, 0, 0));
        // Packets that were faster than the answer are counted from the number that it names.
        assert_eq!(late_begin(&[12], 10, &[13]), (2, 0, 0));
    }

    #[test]
    fn old_marks_do_not_outlive_their_round() {
        let numbers: Vec<u16> = (0..3000).filter(|number| number % 100 != 7).collect();
        check(None, &numbers, (30, 0, 0));
        check(None, &[0, 5000, 4999, 4000], (4997, 2, 0));
    }
}
