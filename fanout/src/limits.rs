//! Every bound of the viewers' side, by name.

use std::time::Duration;

/// Chunks that may wait for a worker: about half a second of 100 channels.
pub(crate) const FEED_CHUNKS_MAX: usize = 4096;
/// Chunks a worker takes before it looks at its sockets again.
pub(crate) const CHUNKS_PER_TURN_MAX: usize = 256;
/// Work of a turn beside chunks: questions, viewers who come, catch up and leave, connections that are gone. All draw from it.
pub(crate) const TURN_WORK: Duration = Duration::from_millis(2);
/// Of this, what is done though a chunk waits.
pub(crate) const WORK_BEFORE_CHUNKS: Duration = Duration::from_micros(200);
/// Chunks are sent for so long in a turn; then the rest has its share.
pub(crate) const LIVE_WORK: Duration = Duration::from_millis(2);
/// One program's viewers are sent to for so long before another's chunk goes first.
pub(crate) const LIVE_SLICE: Duration = Duration::from_micros(500);
/// Sends after which the clock is looked at.
pub(crate) const SENDS_PER_LOOK: u32 = 8;
/// A send that returns so long after the program's end is late. A call takes some microseconds.
pub(crate) const LATE_SEND: Duration = Duration::from_millis(1);
/// Connections a worker accepts before it looks at media again.
pub(crate) const ACCEPTS_PER_TURN_MAX: usize = 64;
/// Bytes a worker reads from one connection in a turn.
pub(crate) const READ_BYTES_PER_TURN_MAX: usize = 8 * 1024;
/// Room for one datagram of any size.
pub(crate) const DATAGRAM_BYTES_MAX: usize = 64 * 1024;
/// RTSP bytes that may wait for a peer that does not read them; then its connection is closed.
pub(crate) const CONTROL_BYTES_MAX: usize = 256 * 1024;
/// Buffers given to one writev.
pub(crate) const WRITE_PARTS_MAX: usize = 16;
/// A TCP viewer who catches up is given at least this much, or the rest of the chunk, so that writes stay few.
pub(crate) const PUMP_BYTES_MIN: usize = 8 * 1024;
/// Media bytes one TCP viewer that catches up is given in one go.
pub(crate) const PUMP_BYTES_MAX: usize = 64 * 1024;
/// Send buffer asked of the kernel for a viewer's connection (it doubles this): what waits, waits in the log.
pub(crate) const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Unsent bytes in the kernel above which writes wait.
pub(crate) const UNSENT_BYTES_MAX: u32 = 32 * 1024;
/// Datagrams, and errors, that are read from a UDP socket at once.
pub(crate) const DATAGRAMS_AT_ONCE: usize = 64;
/// Send and receive buffer asked for a UDP socket.
pub(crate) const UDP_BUFFER_BYTES: usize = 4 << 20;
/// Segments of one datagram train to a viewer that catches up.
pub(crate) const JOIN_SEGMENTS_MAX: usize = 16;
/// Bytes that a viewer who joins is given at once, before the pace below holds.
pub(crate) const JOIN_BURST_BYTES: u64 = 24 * 1024;
/// A viewer catches up at this many times the bandwidth class.
pub(crate) const JOIN_SPEED: u64 = 4;
/// How long a viewer may catch up before it counts as slow.
pub(crate) const JOIN_TIME_MAX: Duration = Duration::from_secs(10);
/// How often viewers who catch up are served.
pub(crate) const JOIN_TURN: Duration = Duration::from_millis(2);
/// How long PLAY waits for the first packets of a stream that has just begun.
pub(crate) const PARK_TIME_MAX: Duration = Duration::from_secs(8);
/// So many jumps within [`SKIP_WINDOW`] end the viewer's session.
pub(crate) const SKIPS_MAX: usize = 3;
/// See [`SKIPS_MAX`].
pub(crate) const SKIP_WINDOW: Duration = Duration::from_secs(30);
/// How long a TCP viewer may take to drain after the end, before its connection is reset.
pub(crate) const DRAIN_AFTER_END: Duration = Duration::from_millis(200);
/// How long any other connection may take to drain before it is closed.
pub(crate) const DRAIN_BEFORE_CLOSE: Duration = Duration::from_secs(2);
/// All gates are looked at this often, and at each program's end; a program that is sent something is looked at then, too.
pub(crate) const GATES_EVERY: Duration = Duration::from_millis(10);
/// Each connection's deadlines are looked at once in so many ticks ...
pub(crate) const SWEEP_TICKS: u32 = 10;
/// ... but up to so many connections every tick.
pub(crate) const SWEEP_MIN: usize = 64;
/// Longest wait of a worker: slow viewers and the wall clock are looked at this often.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// A session is ended so long after the time without a sign of life that it was told.
pub(crate) const LIVENESS_SLACK: Duration = Duration::from_secs(5);
/// Within this time of the end, the clock is read before every send.
pub(crate) const END_IS_NEAR: Duration = Duration::from_secs(2);
/// A stream that has been silent for this long is not offered to new viewers.
pub(crate) const STREAM_SILENT_MAX: Duration = Duration::from_secs(10);
/// ICMP "unreachable" answers, at least [`UNREACHABLE_SPACING`] apart, that end a UDP viewer.
pub(crate) const UNREACHABLE_MAX: u8 = 3;
/// See [`UNREACHABLE_MAX`].
pub(crate) const UNREACHABLE_SPACING: Duration = Duration::from_millis(300);
/// While a program has sent nothing for this long, its viewers need not show that they live.
pub(crate) const SILENCE_EXCUSES: Duration = Duration::from_secs(5);
/// A connection that is idle this long is probed by the kernel.
pub(crate) const PROBE_AFTER: Duration = Duration::from_secs(20);
/// See [`PROBE_AFTER`].
pub(crate) const PROBE_EVERY: Duration = Duration::from_secs(10);
/// "Unreachable" answers further apart than this do not add up.
pub(crate) const UNREACHABLE_FORGOTTEN: Duration = Duration::from_secs(10);
/// PLAY does not wait longer than this for the first packet of a track while others flow.
pub(crate) const SILENT_TRACK_MAX: Duration = Duration::from_secs(1);

/// How long an operator's question who watches may wait for the workers.
pub(crate) const ROLL_WAIT_MAX: Duration = Duration::from_secs(1);

/// Viewers of one program that one worker names.
pub(crate) const ROLL_VIEWERS_MAX: usize = 10_000;
