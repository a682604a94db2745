//! Our decoder beside rtsp-types, message by message.

#[path = "../../rtsp/tests/it/oracle/compare.rs"]
mod compare;

/// Each message that both take means the same to both; the first that they do not both take ends the comparison.
pub(crate) fn messages(data: &[u8]) {
    let mut rest = data;
    while let Some(count) = compare::same(rest) {
        rest = &rest[count..];
    }
}
