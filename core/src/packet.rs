//! One packet as the table of its chunk lists it.
//!
//! Owns: where a packet stands in its chunk, and what the send path and the log know of it.
//! Not here: the packets' bytes (`chunk`), how the flags of a packet are found (`slotcast-media`).

/// Bytes of the `$` header in front of every packet (RFC 2326 §10.12).
pub const FRAME_HEADER_BYTES: usize = 4;

/// What the send path and the log need to know of a packet, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketFlags(u8);

impl PacketFlags {
    /// None.
    pub const EMPTY: Self = Self(0);
    /// The RTP marker: last packet of a video frame.
    pub const MARKER: Self = Self(1);
    /// Belongs to a frame at which a viewer may start.
    pub const KEY: Self = Self(2);
    /// Holds parameter sets.
    pub const PARAMETER_SETS: Self = Self(4);
    /// RTCP, not RTP.
    pub const RTCP: Self = Self(8);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits of both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Where one packet stands in its chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketEntry {
    /// Of the packet's first byte, behind the `$` header.
    pub offset: u32,
    /// Of the packet, without the `$` header.
    pub length: u16,
    /// Index of the track in the stream.
    pub track: u8,
    /// What it is.
    pub flags: PacketFlags,
}

impl PacketEntry {
    /// Offset of the `$` header.
    pub const fn frame_start(&self) -> usize {
        self.offset as usize - FRAME_HEADER_BYTES
    }

    /// Offset of the first byte after the packet.
    pub const fn end(&self) -> usize {
        self.offset as usize + self.length as usize
    }

    /// Whether it is RTP rather than RTCP.
    pub const fn is_rtp(&self) -> bool {
        !self.flags.contains(PacketFlags::RTCP)
    }
}
