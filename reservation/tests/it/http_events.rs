//! The stream of events as a browser asks for it.

use std::time::Duration;

use slotcast_reservation_testing::http::{Client, Server, draft};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// A connection on which a stream comes.
struct Stream {
    socket: TcpStream,
    text: String,
}

impl Stream {
    async fn open(server: &Server, client: &Client, query: &str, last: Option<&str>) -> Self {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        let cookie =
            client.cookie.as_ref().map_or_else(String::new, |cookie| format!("Cookie: {cookie}\r\n"));
        let last = last.map_or_else(String::new, |last| format!("Last-Event-ID: {last}\r\n"));
        let host = server.address;
        let request = format!("GET /api/v1/events{query} HTTP/1.1\r\nHost: {host}\r\n{cookie}{last}\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        Self { socket, text: String::new() }
    }

    /// Everything up to and with that text.
    async fn until(&mut self, part: &str) -> String {
        let mut bytes = [0; 4096];
        loop {
            if let Some(at) = self.text.find(part) {
                let rest = self.text.split_off(at + part.len());
                return std::mem::replace(&mut self.text, rest);
            }
            let read = timeout(Duration::from_secs(20), self.socket.read(&mut bytes)).await;
            let read = read.unwrap_or_else(|_| panic!("no {part:?} after {:?}", self.text)).unwrap();
            assert!(read > 0, "it ended: {:?}", self.text);
            self.text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_hears_what_happens_while_it_is_open() {
    let server = Server::start().await;
    server.sell(1).await;
    let (member, operator) = (server.premium("taro").await, server.operator().await);
    let mut mine = Stream::open(&server, &member, "?of=mine", None).await;
    let mut public = Stream::open(&server, &server.anybody(), "", None).await;
    let head = mine.until("\r\n\r\n").await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200") && head.contains("content-type: text/event-stream"), "{head}");
    assert!(head.contains("cache-control: no-store") && head.contains("x-content-type-options"), "{head}");
    public.until("\r\n\r\n").await;
    let opening = public.until("\n\n").await;
    let id = opening.split("id: ").nth(1).unwrap().trim().to_owned();

    let booked =
        member.post("/reservations", &draft(1, "2026-11-18T10:00:00Z", "2026-11-18T10:10:00Z")).await;
    let number = booked.body["number"].as_i64().unwrap();
    let told = mine.until("\n\n\r\n").await + &mine.until("event: booked\n").await;
    assert!(told.contains("retry: 3000"), "{told}");
    assert!(mine.until("\n\n").await.contains(&format!("\"number\":{number}")));
    let special = draft(1, "2026-11-18T11:00:00Z", "2026-11-18T11:10:00Z");
    let special = operator.post("/operator/programs", &special).await;
    assert_eq!(special.status, 201, "{special:?}");
    let told = public.until("event: reconfirmed\n").await;
    assert!(!told.contains(&number.to_string()), "it is not listed before it is reconfirmed: {told}");

    // Who comes back hears the same again, and the other page's connection has not held it up.
    let mut again = Stream::open(&server, &server.anybody(), "", Some(&id)).await;
    assert_eq!(
        again.until("event: reconfirmed\n").await.matches("event: ").count(),
        2,
        "booked, reconfirmed"
    );

    let refused = server.anybody().get("/events?of=mine").await;
    assert_eq!((refused.status, refused.code()), (401, "not-logged-in"));
    assert_eq!(server.anybody().get("/events?of=nobody").await.status, 422);
}
