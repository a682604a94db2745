//! Groups a chunk's packets into runs that the kernel sends with one call (UDP generic segmentation offload).
//!
//! Owns: what may stand in one run: packets of one track and one port, of one size, the last one may be shorter.
//! Not here: sending, and what to do where the kernel refuses (`slotcast-fanout`).
//! Invariant: every packet of the chunk stands in exactly one run; packets of a track keep their order.

use std::ops::Range;

use crate::{media::TRACKS_MAX, packet::PacketEntry};

/// Most segments of one run (Linux `UDP_MAX_SEGMENTS` before 6.9).
pub const SEGMENTS_MAX: usize = 64;
/// Most bytes of one run: what one UDP datagram over IPv4 may hold.
pub const RUN_BYTES_MAX: usize = 65_507;

/// Packets that leave for one port of a viewer in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Index of the track in the stream.
    pub track: u8,
    /// Whether they go to the RTCP port.
    pub rtcp: bool,
    /// Bytes of every packet but the last, which may be shorter.
    pub segment_bytes: u16,
    /// First of the run's places in [`Runs::packets`].
    first: u16,
    /// How many.
    count: u16,
}

impl Run {
    /// How many packets.
    pub const fn count(&self) -> usize {
        self.count as usize
    }

    /// Its packets' places among those of all runs, one run after the other.
    pub fn range(&self) -> Range<usize> {
        usize::from(self.first)..usize::from(self.first + self.count)
    }
}

/// The runs of one chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    runs: Box<[Run]>,
    order: Box<[u16]>,
}

impl Runs {
    /// All runs, in the order of their first packets.
    pub const fn all(&self) -> &[Run] {
        &self.runs
    }

    /// Indices into the chunk's packet table of the packets of `run`.
    pub fn packets(&self, run: &Run) -> &[u16] {
        &self.order[run.range()]
    }
}

/// Groups `packets` by track and port, then by size.
///
/// - At most 65,535 packets; a chunk has at most `CHUNK_PACKETS_MAX`.
pub fn group(packets: &[PacketEntry]) -> Runs {
    let mut runs: Vec<(Run, usize, Vec<u16>)> = Vec::new();
    let mut open: [Option<usize>; 2 * TRACKS_MAX] = [None; 2 * TRACKS_MAX];
    for (place, packet) in (0u16..).zip(packets) {
        let rtcp = !packet.is_rtp();
        let port = 2 * usize::from(packet.track) + usize::from(rtcp);
        let length = usize::from(packet.length);
        if let Some(at) = open.get(port).copied().flatten() {
            let (run, bytes, places) = &mut runs[at];
            let joins = packet.length <= run.segment_bytes
                && places.len() < SEGMENTS_MAX
                && *bytes + length <= RUN_BYTES_MAX;
            if joins {
                *bytes += length;
                places.push(place);
                if packet.length < run.segment_bytes {
                    open[port] = None;
                }
                continue;
            }
        }
        let run = Run { track: packet.track, rtcp, segment_bytes: packet.length, first: 0, count: 0 };
        if let Some(slot) = open.get_mut(port) {
            *slot = Some(runs.len());
        }
        runs.push((run, length, vec![place]));
    }
    let mut order = Vec::with_capacity(packets.len());
    let runs = runs
        .into_iter()
        .map(|(mut run, _, places)| {
            run.first = order.len() as u16;
            run.count = places.len() as u16;
            order.extend(places);
            run
        })
        .collect();
    Runs { runs, order: order.into_boxed_slice() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::PacketFlags;

    fn entry(track: u8, length: u16, flags: PacketFlags) -> PacketEntry {
        PacketEntry { offset: 4, length, track, flags }
    }

    /// `lengths` of one track's RTP packets, and the counts of the runs that come of them.
    #[track_caller]
    fn check(lengths: &[u16], counts: &[usize]) {
        let packets: Vec<_> = lengths.iter().map(|&l| entry(0, l, PacketFlags::EMPTY)).collect();
        let runs = group(&packets);
        assert_eq!(runs.all().iter().map(Run::count).collect::<Vec<_>>(), counts);
    }

    #[test]
    fn equal_sizes_make_a_run_and_a_shorter_one_closes_it() {
        check(&[], &[]);
        check(&[1200, 1200, 1200, 300], &[4]);
        check(&[1200, 300, 1200, 300], &[2, 2]);
        check(&[300, 1200, 1200], &[1, 2]);
        check(&[1200; 70], &[54, 16]);
        check(&[100; 70], &[64, 6]);
    }

    #[test]
    fn tracks_and_ports_do_not_mix() {
        let packets = [
            entry(0, 1200, PacketFlags::EMPTY),
            entry(1, 200, PacketFlags::EMPTY),
            entry(0, 1200, PacketFlags::EMPTY),
            entry(0, 60, PacketFlags::RTCP),
        ];
        let runs = group(&packets);
        let all: Vec<_> = runs.all().iter().map(|r| (r.track, r.rtcp, runs.packets(r).to_vec())).collect();
        assert_eq!(all, [(0, false, vec![0, 2]), (1, false, vec![1]), (0, true, vec![3])]);
    }

    proptest! {
        #[test]
        fn every_packet_leaves_once_and_in_order(
            packets in proptest::collection::vec((0u8..4, 1u16..1500, any::<bool>()), 0..200)
        ) {
            let packets: Vec<_> = packets
                .into_iter()
                .map(|(t, l, rtcp)| entry(t, l, if rtcp { PacketFlags::RTCP } else { PacketFlags::EMPTY }))
                .collect();
            let runs = group(&packets);
            let mut seen = vec![0; packets.len()];
            for run in runs.all() {
                let places = runs.packets(run);
                prop_assert!(places.len() <= SEGMENTS_MAX && places.is_sorted());
                let lengths: Vec<_> = places.iter().map(|&p| packets[usize::from(p)].length).collect();
                prop_assert!(lengths.iter().rev().skip(1).all(|&l| l == run.segment_bytes));
                prop_assert!(*lengths.last().unwrap() <= run.segment_bytes);
                for &place in places {
                    let packet = packets[usize::from(place)];
                    prop_assert_eq!((packet.track, !packet.is_rtp()), (run.track, run.rtcp));
                    seen[usize::from(place)] += 1;
                }
            }
            prop_assert!(seen.iter().all(|&n| n == 1));
        }
    }
}
