//! A server in this process: real ports where none were chosen, reloads that cut nobody, clocks that step.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
};

use slotcast::{config::Config, serve::Server};
use slotcast_core::words::ProgramId;
use slotcast_net::clock;
use socket2::{Domain, Socket, Type};

use crate::stage::{HandClock, PATIENCE, wait};

/// A server that runs from 10:00 to 10:30 on one channel; the test's clock says 10:10.
const CONFIG: &str = "[viewers]\nlisten = \"127.0.0.1:0\"\nrtp_ports = [0, 0]\nworkers = 1\npin = false\n[links]\n\
                      listen = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\nrtp_ports = [0, 0]\n[http]\n\
                      listen = \"127.0.0.1:0\"\n[[channels]]\nnumber = 4\nname = \"channel4\"\nseats = 2\n\
                      rate = \"2Mbit/s\"\n[[programs]]\nchannel = 4\nstart = \"2026-11-22T10:00:00Z\"\n\
                      end = \"2026-11-22T10:30:00Z\"\nreservation_id = \"0123456789abcdef\"\n";

fn config(text: &str) -> Config {
    match Config::parse(text) {
        Ok(checked) => checked.config,
        Err(problems) => panic!("{problems}"),
    }
}

/// The clock says 10:10, and whatever the test adds to it.
fn start(text: &str) -> (Server, HandClock) {
    let hand = HandClock::default();
    let clock = hand.clock("2026-11-22T10:10:00Z".parse().unwrap());
    (Server::start(config(text), clock).unwrap(), hand)
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Whether RTSP is spoken there to somebody new.
fn answers_options(address: SocketAddr) -> bool {
    let talk = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n")?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    talk().is_ok_and(|answer| answer == "RTSP/1.0 200")
}

/// The one program of the channel.
fn program(server: &Server) -> ProgramId {
    server.programs().programs()[0].id
}

#[test]
fn ports_that_nobody_chose_are_real_and_answer() {
    let (server, _) = start(CONFIG);
    let addresses = server.addresses().clone();
    assert_eq!(addresses.links.len(), 2);
    for address in addresses.links.iter().chain([&addresses.viewers, &addresses.http.unwrap()]) {
        assert_ne!(address.port(), 0);
        TcpStream::connect(address).unwrap();
    }
    assert_eq!(addresses.viewers_rtp.len(), 1, "a pair for the one worker");
    assert!(addresses.viewers_rtp.iter().all(|ports| !ports.contains(&0) && ports[0] != ports[1]));
    assert!(addresses.links_rtp.is_some_and(|ports| !ports.contains(&0)));
    assert!(server.shutdown());
    assert!(TcpStream::connect(addresses.viewers).is_err(), "nobody listens any more");
}

#[test]
fn a_server_that_was_shut_down_frees_its_ports_for_the_next() {
    // An address of this process alone: the port must not go to somebody else in between.
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let config = CONFIG.replace("127.0.0.1", &format!("127.{}.{middle}.{}", 128 | high & 0x3f, low));
    let (server, _) = start(&config);
    let addresses = server.addresses().clone();
    assert!(server.shutdown());
    let any = format!("\"{}:0\"", addresses.viewers.ip());
    let links = format!("[\"{}\", \"{}\"]", addresses.links[0], addresses.links[1]);
    let same = config.replace(&format!("[{any}, {any}]"), &links).replacen(
        &format!("{any}\nrtp_ports"),
        &format!("\"{}\"\nrtp_ports", addresses.viewers),
        1,
    );
    let (server, _) = start(&same);
    assert_eq!(
        (server.addresses().viewers, &server.addresses().links),
        (addresses.viewers, &addresses.links)
    );
    assert!(server.shutdown());
}

#[test]
fn a_reload_keeps_the_gate_and_the_seats_taken() {
    let (server, _) = start(CONFIG);
    let before = server.programs().program(program(&server)).unwrap();
    let seats = [before.gate.enter().unwrap(), before.gate.enter().unwrap()];
    assert!(before.gate.enter().is_err());

    let more = CONFIG.replace("seats = 2", "seats = 3").replace("T10:30", "T10:40");
    let changes = server.reload(config(&more)).unwrap();
    assert_eq!((changes.added.len(), changes.changed.len(), changes.removed.len()), (0, 1, 0));
    let after = server.programs().program(before.id).unwrap();
    assert!(Arc::ptr_eq(&before.gate, &after.gate));
    assert!(seats.iter().all(slotcast_admission::Seat::holds));
    assert_eq!((after.gate.viewers(), after.gate.seats()), (2, 3));
    assert_eq!(after.gate.end().to_string(), "2026-11-22T10:40:00Z");
    let http = server.addresses().http.unwrap();
    assert!(get(http, "/metrics").contains("slotcast_seats_taken{channel=\"channel4\"} 2"));

    let (without, _) = CONFIG.split_once("[[programs]]").unwrap();
    server.reload(config(without)).unwrap();
    assert!(!seats.iter().any(slotcast_admission::Seat::holds), "a program that was taken out is cut");
    drop(seats);
    assert!(server.shutdown());
}

#[test]
fn channels_that_are_added_get_their_lines() {
    let (server, _) = start(CONFIG);
    let http = server.addresses().http.unwrap();
    let lines = || {
        let page = get(http, "/metrics");
        page.lines().find_map(|line| Some(line.strip_prefix("slotcast_lines ")?.to_owned())).unwrap()
    };
    assert_eq!(lines(), "2.0");
    let channel =
        |n: u8| format!("[[channels]]\nnumber = {n}\nname = \"c{n}\"\nseats = 1\nrate = \"1Mbit/s\"\n");
    server.reload(config(&format!("{CONFIG}{}{}", channel(5), channel(6)))).unwrap();
    assert_eq!(lines(), "6.0");
    server.reload(config(CONFIG)).unwrap();
    assert_eq!(lines(), "6.0", "whoever has one keeps it");
    assert!(server.shutdown());
}

fn connect_from(from: &str, address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from.parse().unwrap(), 0).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    TcpStream::from(socket)
}

/// As [`get`], with lines of header, over a connection from `from`.
fn ask_from(from: &str, address: SocketAddr, headers: &str) -> String {
    let mut stream = connect_from(from, address);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: test\r\n{headers}Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn metrics_are_for_this_machine_alone_and_not_for_what_a_proxy_forwards() {
    let (server, _) = start(CONFIG);
    let http = server.addresses().http.unwrap();
    assert!(ask_from("127.0.0.9", http, "").contains("slotcast_seats"));
    for forwarded in [
        "Forwarded: for=192.0.2.1",
        "X-Forwarded-For: 192.0.2.1",
        "x-forwarded-proto: https",
        "Via: 1.1 proxy",
        "X-Real-IP: 192.0.2.1",
    ] {
        let answer = ask_from("127.0.0.1", http, &format!("{forwarded}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 404") && !answer.contains("slotcast_"), "{forwarded}: {answer}");
    }
    assert!(get(http, "/healthz").starts_with("HTTP/1.1 200"));
    assert!(server.shutdown());
}

#[test]
fn metrics_with_a_listener_of_their_own_are_nowhere_else() {
    let (server, _) = start(&format!("[metrics]\nlisten = \"127.0.0.1:0\"\n{CONFIG}"));
    let (http, metrics) = (server.addresses().http.unwrap(), server.addresses().metrics.unwrap());
    assert!(ask_from("127.0.0.1", metrics, "X-Forwarded-For: 192.0.2.1\r\n").contains("slotcast_seats"));
    assert!(get(http, "/metrics").starts_with("HTTP/1.1 404"));
    for page in ["/healthz", "/readyz", "/"] {
        assert!(get(metrics, page).starts_with("HTTP/1.1 404"), "{page}");
    }
    assert!(get(http, "/readyz").starts_with("HTTP/1.1 200"));
    assert!(server.shutdown());

    let (server, _) = start(
        &format!("[metrics]\nlisten = \"127.0.0.1:0\"\n{CONFIG}")
            .replace("[http]\nlisten = \"127.0.0.1:0\"", "[http]\nlisten = \"off\""),
    );
    assert!(server.addresses().http.is_none());
    assert!(get(server.addresses().metrics.unwrap(), "/metrics").contains("slotcast_seats"));
    assert!(server.shutdown());
}

#[test]
fn health_is_answered_while_one_host_holds_all_connections_that_it_can() {
    let (server, _) = start(CONFIG);
    let http = server.addresses().http.unwrap();
    let held: Vec<_> = (0..200).map(|_| connect_from("127.0.0.2", http)).collect();
    wait("connections are turned away", || {
        let page = get(http, "/metrics");
        page.starts_with("HTTP/1.1 200") && !page.contains("slotcast_http_turned_away_total 0\n")
    });
    assert!(get(http, "/healthz").starts_with("HTTP/1.1 200"));
    drop(held);
    assert!(server.shutdown());
}

#[test]
fn a_draining_server_is_alive_but_not_ready() {
    let (server, _) = start(CONFIG);
    let http = server.addresses().http.unwrap();
    assert!(get(http, "/readyz").starts_with("HTTP/1.1 200"));
    assert!(answers_options(server.addresses().viewers));
    server.drain();
    assert!(get(http, "/readyz").starts_with("HTTP/1.1 503"));
    assert!(get(http, "/healthz").starts_with("HTTP/1.1 200"));
    let viewers = server.addresses().viewers;
    wait("no new viewers are taken", || !answers_options(viewers));
    wait("nobody is left", || server.is_idle());
    assert!(server.shutdown());
}

#[test]
fn a_clock_that_steps_is_counted() {
    let (server, clock) = start(CONFIG);
    let http = server.addresses().http.unwrap();
    let counted = |line: &str| get(http, "/metrics").contains(line);
    assert!(counted("slotcast_programs{state=\"on_air\"} 1"));
    assert!(counted("slotcast_late_sends_total 0"));
    let turns = [
        "# TYPE slotcast_turn_cpu_seconds histogram",
        "# TYPE slotcast_turn_seconds histogram",
        "slotcast_turn_seconds_bucket{le=\"0.005\",worker=\"0\"}",
        "slotcast_turn_seconds_bucket{le=\"+Inf\",worker=\"0\"}",
    ];
    assert!(turns.into_iter().all(counted), "{}", get(http, "/metrics"));
    clock.step(3_600_000_000);
    wait("the step forward", || counted("slotcast_clock_steps_total{direction=\"forward\"} 1"));
    assert!(counted("slotcast_programs{state=\"over\"} 1"));
    clock.step(-3_600_000_000);
    wait("the step back", || counted("slotcast_clock_steps_total{direction=\"back\"} 1"));
    let metrics = get(http, "/metrics");
    let step = metrics.lines().find_map(|line| line.strip_prefix("slotcast_clock_last_step_seconds "));
    let step: f64 = step.unwrap().parse().unwrap();
    assert!((step + 3600.0).abs() < 0.1, "{step}");
    assert!(server.shutdown());
}

#[test]
fn the_machines_own_clock_does_not_step() {
    let server = Server::start(config(CONFIG), clock::system()).unwrap();
    let http = server.addresses().http.unwrap();
    assert!(get(http, "/metrics").contains("slotcast_clock_steps_total{direction=\"forward\"} 0"));
    assert!(server.shutdown());
}

#[test]
fn http_takes_nobody_before_it_can_answer() {
    // A database that takes the connection and says nothing; its end ends the start.
    let database = TcpListener::bind("127.0.0.1:0").unwrap();
    let room = tempfile::tempdir().unwrap();
    let data = room.path().join("data");
    let http = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!(
        "[viewers]\nlisten = \"127.0.0.1:0\"\nrtp_ports = [0, 0]\nworkers = 1\npin = false\n[links]\n\
         listen = [\"127.0.0.1:0\"]\nrtp_ports = [0, 0]\n[http]\nlisten = \"{http}\"\n[reservations]\n\
         enabled = true\ndata = \"{}\"\ndatabase = \"postgres://nobody:nothing@{}/none\"\n",
        data.display(),
        database.local_addr().unwrap()
    );
    let config = config(&text);
    let starting = std::thread::spawn(move || Server::start(config, clock::system()).map(drop));
    let (asked, _) = database.accept().unwrap();
    let early = TcpStream::connect(http).map(drop).unwrap_err();
    assert_eq!(early.kind(), std::io::ErrorKind::ConnectionRefused);
    drop((asked, database));
    let error = starting.join().unwrap().unwrap_err().to_string();
    assert!(error.contains("PostgreSQL at 127.0.0.1"), "{error}");
}
