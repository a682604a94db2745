//! Which method is welcome in which state, as data: RFC 2326 A.2, as far as live streams need it.
//!
//! Invariant: every cell is a status that the connection answers an otherwise right request with; the tests are
//! generated from the cells.

use super::config::Role;

/// The methods that the server knows by name, on either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Which methods there are.
    Options,
    /// The SDP, to a viewer.
    Describe,
    /// The SDP, from a broadcaster.
    Announce,
    /// One track's transport.
    Setup,
    /// Media to the viewer.
    Play,
    /// Media from the broadcaster.
    Record,
    /// No media for a while.
    Pause,
    /// The end of the session.
    Teardown,
    /// Keep-alive.
    GetParameter,
    /// Keep-alive.
    SetParameter,
}

impl Method {
    /// By its name on the wire, which is case-sensitive; `None` for what is answered 501.
    pub fn parse(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.name == name).map(|row| row.method)
    }

    /// Whether it needs a session of its connection by name.
    pub(super) const fn acts_on_session(self) -> bool {
        matches!(self, Self::Play | Self::Record | Self::Pause | Self::Teardown)
    }
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// No session.
    Init,
    /// No session, but a broadcaster's ANNOUNCE was accepted.
    Announced,
    /// A session that is set up or paused.
    Ready,
    /// A viewer's session that plays.
    Playing,
    /// A broadcaster's session that records.
    Recording,
}

/// The states of a viewer's connection, in the order of [`Row::viewer`].
pub const VIEWER_STATES: [State; 3] = [State::Init, State::Ready, State::Playing];

/// The states of a broadcaster's connection, in the order of [`Row::broadcaster`].
pub const BROADCASTER_STATES: [State; 4] = [State::Init, State::Announced, State::Ready, State::Recording];

/// One method's statuses.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The method.
    pub method: Method,
    /// Its name on the wire.
    pub name: &'static str,
    /// By [`VIEWER_STATES`].
    pub viewer: [u16; 3],
    /// By [`BROADCASTER_STATES`].
    pub broadcaster: [u16; 4],
}

const fn row(method: Method, name: &'static str, viewer: [u16; 3], broadcaster: [u16; 4]) -> Row {
    Row { method, name, viewer, broadcaster }
}

/// All methods. 455: not in this state. 405: not on this side.
#[rustfmt::skip]
pub const TABLE: [Row; 10] = [
    //                                          Init Ready Playing   Init Announced Ready Recording
    row(Method::Options, "OPTIONS",             [200, 200,  200],    [200, 200,      200,  200]),
    row(Method::Describe, "DESCRIBE",           [200, 200,  200],    [405, 405,      405,  405]),
    row(Method::Announce, "ANNOUNCE",           [405, 405,  405],    [200, 200,      455,  455]),
    row(Method::Setup, "SETUP",                 [200, 200,  455],    [455, 200,      200,  455]),
    row(Method::Play, "PLAY",                   [455, 200,  200],    [405, 405,      405,  405]),
    row(Method::Record, "RECORD",               [405, 405,  405],    [455, 455,      200,  200]),
    row(Method::Pause, "PAUSE",                 [455, 200,  200],    [455, 455,      200,  200]),
    row(Method::Teardown, "TEARDOWN",           [455, 200,  200],    [455, 455,      200,  200]),
    row(Method::GetParameter, "GET_PARAMETER",  [200, 200,  200],    [200, 200,      200,  200]),
    row(Method::SetParameter, "SET_PARAMETER",  [200, 200,  200],    [200, 200,      200,  200]),
];

/// The status that an otherwise right request gets; 455 for a state that the role does not know.
pub fn expected(role: Role, state: State, method: Method) -> u16 {
    let cell = TABLE.iter().find(|row| row.method == method).and_then(|row| match role {
        Role::Viewer => VIEWER_STATES.iter().zip(row.viewer).find(|(s, _)| **s == state),
        Role::Broadcaster => BROADCASTER_STATES.iter().zip(row.broadcaster).find(|(s, _)| **s == state),
    });
    cell.map_or(455, |(_, status)| status)
}

/// The methods of one side, as the `Public` and `Allow` headers list them.
pub(super) fn public(role: Role) -> String {
    let known = TABLE.iter().filter(|row| expected(role, State::Init, row.method) != 405);
    known.map(|row| row.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_lists_what_is_not_405() {
        let viewer = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER";
        assert_eq!(public(Role::Viewer), viewer);
        let broadcaster = "OPTIONS, ANNOUNCE, SETUP, RECORD, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER";
        assert_eq!(public(Role::Broadcaster), broadcaster);
    }

    #[test]
    fn names_are_case_sensitive() {
        assert_eq!(Method::parse("PLAY"), Some(Method::Play));
        assert_eq!(Method::parse("play"), None);
    }
}
