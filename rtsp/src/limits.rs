//! Every bound on what a peer may send, in one place.
//!
//! Each is checked before memory is spent on what lies beyond it.

/// Headers of one message.
pub const HEADERS_MAX: usize = 64;

/// Bytes of one header line, folded continuations included, line end excluded.
pub const HEADER_BYTES_MAX: usize = 2048;

/// Bytes of the address in a request line.
pub const URL_BYTES_MAX: usize = 2048;

/// Bytes of a method's name.
pub const METHOD_BYTES_MAX: usize = 32;

/// Bytes of a request or status line: method, address, version and the spaces between.
pub const START_LINE_BYTES_MAX: usize = METHOD_BYTES_MAX + URL_BYTES_MAX + 16;

/// Bytes of all headers of one message together; less than 64 of the longest.
pub const HEADERS_BYTES_TOTAL_MAX: usize = 16 * 1024;

/// Bytes of a body.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// Bytes of line ends that may stand between two messages (some clients send them as keep-alive).
pub const STRAY_LINE_END_BYTES_MAX: usize = 64;

/// Bytes of requests and frames that may wait while one request is being answered.
pub const PIPELINE_BYTES_MAX: usize = 128 * 1024;

/// Alternatives in the Transport headers of one request.
pub const TRANSPORT_ALTERNATIVES_MAX: usize = 16;

/// Entries in an RTP-Info header.
pub const RTP_INFO_ENTRIES_MAX: usize = 16;

/// Lowest client port that is sent to: below it are services that answer (echo, chargen, DNS, NTP).
pub const CLIENT_PORT_MIN: u16 = 1024;

/// Bytes of a session id.
pub const SESSION_ID_BYTES_MAX: usize = 128;

/// Bytes of one SDP.
pub const SDP_BYTES_MAX: usize = BODY_BYTES_MAX;

/// Lines of one SDP.
pub const SDP_LINES_MAX: usize = 512;

/// Bytes of one SDP line; parameter sets in an `fmtp` are the longest.
pub const SDP_LINE_BYTES_MAX: usize = 8 * 1024;

/// Media sections of one SDP, those that are left out included.
pub const SDP_SECTIONS_MAX: usize = 16;

/// Lines that one track contributes to the description for viewers.
pub const SDP_TRACK_LINES_MAX: usize = 64;

/// Characters of a program's title in the description for viewers.
pub const SDP_TITLE_CHARS_MAX: usize = 256;

const _: () = assert!(HEADER_BYTES_MAX <= HEADERS_BYTES_TOTAL_MAX);
const _: () = assert!(PIPELINE_BYTES_MAX >= BODY_BYTES_MAX + HEADERS_BYTES_TOTAL_MAX + START_LINE_BYTES_MAX);
