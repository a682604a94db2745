//! The table method × state, one case per cell, and the checks that come before it.

use slotcast_rtsp::{
    message::Response,
    server::{
        Role,
        table::{BROADCASTER_STATES, Method, State, TABLE, VIEWER_STATES, expected},
    },
    status::Status,
};

use crate::server_support::{SDP, Server, TCP, URL};

/// A connection in `state`, and its session's id where it has one.
fn in_state(role: Role, state: State) -> (Server, Option<String>) {
    let mut server = Server::new(role);
    let track = format!("{URL}/trackID=0");
    let id = match state {
        State::Init => None,
        State::Announced => {
            server.announce();
            None
        }
        State::Ready => {
            if role == Role::Broadcaster {
                server.announce();
            }
            Some(server.set_up(&track, TCP))
        }
        State::Playing => Some(server.start("PLAY")),
        State::Recording => Some(server.start("RECORD")),
    };
    (server, id)
}

fn right_request(server: &mut Server, method: Method, id: Option<&str>) -> Response {
    let mut headers: Vec<(&str, &str)> = id.iter().map(|id| ("Session", *id)).collect();
    let (url, body) = match method {
        Method::Setup => {
            headers.push(("Transport", "RTP/AVP/TCP;unicast;interleaved=2-3"));
            (format!("{URL}/trackID=1"), "")
        }
        Method::Announce => {
            headers.push(("Content-Type", "application/sdp"));
            (URL.to_owned(), SDP)
        }
        _ => (URL.to_owned(), ""),
    };
    let row = TABLE.iter().find(|row| row.method == method).unwrap();
    server.request(row.name, &url, &headers, body)
}

#[test]
fn every_cell_of_the_table_answers_its_status() {
    let mut cells = 0;
    for (role, states) in [(Role::Viewer, &VIEWER_STATES[..]), (Role::Broadcaster, &BROADCASTER_STATES[..])] {
        for state in states {
            for row in TABLE {
                let (mut server, id) = in_state(role, *state);
                let response = right_request(&mut server, row.method, id.as_deref());
                let status = expected(role, *state, row.method);
                assert_eq!(response.status.code(), status, "{role:?} {state:?} {:?}", row.method);
                assert_eq!(server.closed, None);
                cells += 1;
            }
        }
    }
    assert_eq!(cells, 10 * (3 + 4));
}

#[test]
fn a_refusal_of_the_table_changes_nothing() {
    for (role, states) in [(Role::Viewer, &VIEWER_STATES[..]), (Role::Broadcaster, &BROADCASTER_STATES[..])] {
        for state in states {
            let refused = TABLE.iter().filter(|row| expected(role, *state, row.method) != 200);
            let (mut server, id) = in_state(role, *state);
            server.events();
            for row in refused {
                right_request(&mut server, row.method, id.as_deref());
                assert_eq!(server.events(), Vec::<String>::new(), "{role:?} {state:?} {:?}", row.method);
                assert_eq!(server.connection.session().map(|s| s.id()), id.as_deref());
            }
        }
    }
}

#[test]
fn methods_of_the_other_side_are_405_with_what_is_allowed() {
    let response = Server::viewer().request("ANNOUNCE", URL, &[], SDP);
    assert_eq!(response.status, Status::METHOD_NOT_ALLOWED);
    assert!(response.headers.get("Allow").unwrap().contains("DESCRIBE"));
    let response = Server::broadcaster().request("DESCRIBE", URL, &[], "");
    assert_eq!(response.status, Status::METHOD_NOT_ALLOWED);
    assert!(response.headers.get("Allow").unwrap().contains("ANNOUNCE"));
}

#[test]
fn another_session_is_454_in_every_state_for_every_method_but_options() {
    for (role, states) in [(Role::Viewer, &VIEWER_STATES[..]), (Role::Broadcaster, &BROADCASTER_STATES[..])] {
        for state in states {
            for row in TABLE.iter().filter(|row| expected(role, *state, row.method) != 405) {
                let (mut server, _) = in_state(role, *state);
                let response =
                    right_request(&mut server, row.method, Some("0123456789abcdef0123456789abcdef"));
                let status =
                    if row.method == Method::Options { Status::OK } else { Status::SESSION_NOT_FOUND };
                assert_eq!(response.status, status, "{role:?} {state:?} {:?}", row.method);
            }
        }
    }
}

#[test]
fn methods_that_act_on_a_session_must_name_it() {
    for method in ["PLAY", "PAUSE", "TEARDOWN"] {
        let (mut server, _) = in_state(Role::Viewer, State::Ready);
        assert_eq!(server.request(method, URL, &[], "").status, Status::SESSION_NOT_FOUND, "{method}");
        assert!(server.connection.session().is_some());
    }
}
