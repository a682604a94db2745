//! Kinds of "no", in words of no protocol.
//!
//! Owns: [`Denial`]. Each protocol has one table from it to its own status.
//! Not here: the reason and its text (`slotcast-admission`).

/// What sort of refusal it is, as far as the peer's program has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denial {
    /// A password or an ID is missing or wrong.
    Unproven,
    /// What was shown does not permit this.
    Forbidden,
    /// There is nothing here, or nothing any more.
    Absent,
    /// The peer did not do in time what it had to.
    Late,
    /// Seats, bandwidth or the peer's share are used up.
    Full,
    /// The peer's session is over.
    SessionOver,
    /// The server cannot now; the peer may come again soon.
    Unavailable,
}
