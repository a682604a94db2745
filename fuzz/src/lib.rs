//! Every way in which bytes of a peer (or of an operator's file) come into slotcast, as one function each.
//!
//! Owns: what must hold for any input whatever. Each function panics when it does not.
//! Used by: the libFuzzer program `fuzz_targets/by_name.rs`, and by the test `fuzz_replay`, which puts the seeds and their
//! mutations through the same functions on a stable compiler.

mod headers;
mod machines;
mod media;
mod messages;
mod oracle;
mod reservation;
mod words;

/// The environment variable that tells the libFuzzer program which target to run.
pub const TARGET_VARIABLE: &str = "SLOTCAST_FUZZ_TARGET";

/// One entry point: the name of its target and of its folder of seeds, and what it does with one input.
pub struct Target {
    /// As in `seeds/NAME/`.
    pub name: &'static str,
    /// Panics when something does not hold.
    pub run: fn(&[u8]),
}

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target("authorization", headers::authorization),
    target("challenge", headers::challenge),
    target("client_session", machines::client_session),
    target("clip", media::clip),
    target("config", config),
    target("frames", messages::frames),
    target("keyframe", media::keyframe),
    target("person", reservation::person),
    target("range", headers::range),
    target("rtcp", media::rtcp),
    target("rtp", media::rtp),
    target("rtp_info", headers::rtp_info),
    target("rtsp_decoder", messages::decoder),
    target("rtsp_oracle", oracle::messages),
    target("sdp", headers::sdp),
    target("server_broadcaster", machines::broadcaster),
    target("server_viewer", machines::viewer),
    target("session_header", headers::session),
    target("settings_file", reservation::settings_file),
    target("still", media::still),
    target("transport", headers::transport),
    target("typed_id", reservation::typed_id),
    target("url", headers::url),
    target("webhook", reservation::webhook),
    target("webhook_event", reservation::webhook_event),
    target("words", words::words),
];

/// The target of this name.
///
/// Errors: there is none; a text that lists all of them.
pub fn find(name: &str) -> Result<&'static Target, String> {
    TARGETS.iter().find(|target| target.name == name).ok_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        format!("{TARGET_VARIABLE}={name} names no target; the targets are:\n{}", names.join("\n"))
    })
}

/// A config file: read or refused, never a panic; what is refused is refused with a text for people.
fn config(data: &[u8]) {
    if let Err(problems) = slotcast_configuration::Config::parse(&text(data)) {
        assert!(problems.lines().next().is_some(), "refused without a reason");
    }
}

/// The input as text, as the decoder hands headers on.
fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}
