//! What the link side writes to the log. Needs a process of its own, as nextest gives each test: the subscriber is the process's.

use std::{
    fmt::{Debug, Write},
    net::UdpSocket,
    sync::Mutex,
    time::Duration,
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::{
    client::SDP,
    house::{House, ID, rtp, wait_for},
};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps the lines down to info, without spans.
struct Keep;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Keep {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        LINES.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[test]
fn one_line_each_for_opened_closed_and_refused_and_no_secrets() {
    tracing::subscriber::set_global_default(Keep).unwrap();
    let house = House::new();
    let mut refused = house.connect();
    assert_eq!(refused.announce("channel4", "a-wrong-and-secret-id", SDP).status, 401);
    refused.until_end();
    let mut silent = house.connect();
    assert_eq!(silent.request("OPTIONS", "*", &[], "").status, 200);
    drop(silent);
    let mut link = house.tcp_link();
    assert_eq!(link.record("channel4", ID).status, 200);
    drop(link);
    house.wait_for_decision("peer_closed", 2);
    let lines = wait_for("the lines", || {
        let lines = LINES.lock().unwrap().clone();
        (lines.len() >= 3).then_some(lines)
    });
    let expected = [
        "INFO message=link refused channel=channel4 peer=127.0.0.1 reason=\"id_wrong\" fault=\"broadcaster\"",
        "INFO message=link opened channel=channel4 peer=127.0.0.1",
        "INFO message=link closed channel=channel4 peer=127.0.0.1 reason=\"peer_closed\" fault=\"nobody\"",
    ];
    assert_eq!(lines, expected);
    tell_once_of_changed_ports(&house);
}

/// The announced ports are 5000 and 5001; what comes is from elsewhere.
fn tell_once_of_changed_ports(house: &House) {
    LINES.lock().unwrap().clear();
    let changed = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut link = house.connect();
    let (to, _) = link.record_over_udp("channel4", ID, 5000, 5001);
    let lines = || LINES.lock().unwrap().iter().filter(|line| line.starts_with("WARN")).cloned().collect();
    let mut before: Vec<String> = lines();
    assert!(before.is_empty(), "{before:?}");
    for packets in 1..4 {
        changed.send_to(&rtp(1, packets, 0, true, 100), ("127.0.0.1", to)).unwrap();
        wait_for("the packet", || (house.traffic(|t| t.wrong_port.value()) >= packets.into()).then_some(()));
        house.step(Duration::from_secs(1));
        before = wait_for("the line", || Some(lines()).filter(|lines| !lines.is_empty()));
    }
    assert_eq!(before.len(), 1, "{before:?}");
    let port = format!("channel=channel4 peer=127.0.0.1 port={}", changed.local_addr().unwrap().port());
    assert!(before[0].contains(&port) && before[0].contains("-rtsp_transport tcp"), "{before:?}");
}
