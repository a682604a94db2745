//! Every bound of the desk, in one place.
//!
//! What an operator may set stands in [`DeskConfig`](crate::DeskConfig).

use std::time::Duration;

/// Programs and wall time are looked at this often.
pub const TICK: Duration = Duration::from_millis(100);
/// A link that has brought a packet within this time is running: taking it over counts for [`KEPT_FIRST`].
pub(crate) const RUNNING: Duration = Duration::from_secs(2);
/// A link that took over a running one is not taken over itself for so long, and twice as long each time again,
pub(crate) const KEPT_FIRST: Duration = Duration::from_secs(10);
/// but never for longer than this. After as much calm it begins anew.
pub(crate) const KEPT_MAX: Duration = Duration::from_secs(300);
/// Receiver reports to the broadcaster.
pub(crate) const RECEIVER_REPORT_EVERY: Duration = Duration::from_secs(5);
/// Sender reports to the viewers.
pub(crate) const SENDER_REPORT_EVERY: Duration = Duration::from_secs(4);
/// A source that was silent this long gives way to another SSRC, unless its own pauses are longer than half of it.
pub(crate) const SSRC_SILENCE: Duration = Duration::from_millis(200);
/// A source that was silent this long gives way, whatever its pauses.
pub(crate) const SSRC_SILENCE_MAX: Duration = Duration::from_secs(4);
/// An SSRC that sends this many times as many packets as the one that counts is the source after all.
pub(crate) const OUTWEIGHS: u64 = 4;
/// And this many at least.
pub(crate) const OUTWEIGHS_PACKETS: u64 = 16;
/// For so long after a link's first packet it is looked again which SSRC is the source: a stray may have come first.
pub(crate) const BEGINNING: Duration = Duration::from_secs(4);
/// Then one that has sent a third more than the one that counts, for so long, is the source.
pub(crate) const BEGINNERS_SEEN: Duration = Duration::from_secs(1);
/// Packets of another SSRC that came so long before the last of the one that counts may still follow it.
pub(crate) const REORDERED_MAX: Duration = Duration::from_millis(20);
/// Packets that come so many places too late may belong before the first of their source.
pub(crate) const REORDERED_PACKETS_MAX: i16 = 64;
/// Packets of other SSRCs are held so long,
pub(crate) const HELD_TIME_MAX: Duration = Duration::from_secs(5);
/// at most so many for each track,
pub(crate) const HELD_PACKETS_MAX: usize = 1024;
/// of so many bytes together.
pub(crate) const HELD_BYTES_MAX: usize = 1 << 20;
/// Viewers are told of a track that was set up and on which nothing has come, for so long.
pub(crate) const SILENT_TRACK_TOLD_MAX: Duration = Duration::from_secs(5);
/// And of one on which something has come, for so long after that.
pub(crate) const STOPPED_TRACK_TOLD_MAX: Duration = Duration::from_secs(30);
/// Over what time a link's bit rate is measured.
pub(crate) const RATE_WINDOW: Duration = Duration::from_secs(1);
/// Over what time a stream's health is measured.
pub const HEALTH_WINDOW: Duration = Duration::from_secs(5);
/// So long before the end a picture is sent whole or not at all.
pub(crate) const WHOLE_PICTURES_BEFORE_END: Duration = Duration::from_millis(100);
/// Where no key frame has come for so long, an intra picture counts as one.
pub(crate) const KEY_FRAME_PATIENCE: Duration = Duration::from_secs(10);
