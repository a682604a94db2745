//! The pages behind a listener, asked as a browser asks.

use std::net::SocketAddr;

use slotcast_reservation::edge::{Edge, EdgeSettings};
use slotcast_reservation_testing::http::{PASSWORD, Server};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// Serves the pages of that server; where they are.
async fn pages(server: &Server) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings = EdgeSettings { base_url: format!("http://{address}"), trusted_proxies: Vec::new() };
    let edge = Edge::new(server.service.clone(), settings);
    let router = slotcast_web::router(edge.clone()).merge(slotcast_reservation::http::router(edge));
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

/// Head and body of the answer.
async fn ask(at: SocketAddr, first: &str, headers: &[(&str, &str)], form: &str) -> (String, String) {
    let mut request = format!("{first} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    if first.starts_with("POST") {
        request += "Content-Type: application/x-www-form-urlencoded\r\n";
        request += &format!("Content-Length: {}\r\n", form.len());
    }
    request += &format!("\r\n{form}");
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// The value of a header.
fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let line = head.lines().find(|line| line.starts_with(&format!("{name}: ")));
    line.map_or("", |line| &line[name.len() + 2..])
}

const OURS: (&str, &str) = ("Sec-Fetch-Site", "same-origin");

#[tokio::test(flavor = "multi_thread")]
async fn every_public_address_answers_in_the_language_that_is_asked_for_and_only_where_it_changed() {
    let server = Server::start().await;
    server.sell(2).await;
    let at = pages(&server).await;
    for path in [
        "/",
        "/about",
        "/today",
        "/today?genre=music&text=tea",
        "/guide",
        "/guide/2026-11",
        "/guide/2026-11-27",
        "/pickup",
        "/terms",
        "/register",
        "/register?kind=premium",
        "/login",
        "/password",
        "/verify",
    ] {
        let (head, body) = ask(at, &format!("GET {path}"), &[("Accept-Language", "ja")], "").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        assert!(body.contains("<html lang=\"ja\""), "{path}");
        assert!(header(&head, "content-security-policy").starts_with("default-src 'none'"), "{path}");
        let tag = header(&head, "etag");
        let known = [("Accept-Language", "ja"), ("If-None-Match", tag)];
        let (head, body) = ask(at, &format!("GET {path}"), &known, "").await;
        assert!(head.starts_with("HTTP/1.1 304") && body.is_empty(), "{path}: {head}");
        let (_, body) =
            ask(at, &format!("GET {path}"), &[("Accept-Language", "ja"), ("Cookie", "lang=en")], "").await;
        assert!(body.contains("<html lang=\"en\""), "{path}: the switch counts more than the browser");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_and_what_may_not_be_done_is_a_page_that_says_what_to_do() {
    let server = Server::start().await;
    let at = pages(&server).await;
    for (first, status) in [
        ("GET /nothing", "404"),
        ("GET /guide/2026-13", "404"),
        ("GET /guide/soon", "404"),
        ("GET /programs/1", "404"),
        ("GET /programs/x", "404"),
        ("GET /programs?number=1234+5678", "303"),
        ("GET /static/style.css", "404"),
        ("GET /register/done", "303"),
        ("DELETE /today", "405"),
        ("POST /login", "403"),
        ("POST /register", "403"),
        ("POST /look", "403"),
    ] {
        let (head, body) = ask(at, first, &[], "").await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{first}: {head}");
        assert!(status == "303" || body.contains("class=\"step\""), "{first} names no next step");
    }
    let evil = [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")];
    let (head, _) = ask(at, "POST /login", &evil, "user_id=operator&password=x").await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_found_by_their_hash_and_kept_for_ever() {
    let server = Server::start().await;
    let at = pages(&server).await;
    let (_, body) = ask(at, "GET /", &[], "").await;
    for (begin, media_type) in
        [("/static/style-", "text/css"), ("/static/page-", "text/javascript"), ("/static/mark-", "image/svg")]
    {
        let from = body.find(begin).unwrap_or_else(|| panic!("{begin} stands nowhere"));
        let address = body[from..].split('"').next().unwrap();
        let (head, _) = ask(at, &format!("GET {address}"), &[], "").await;
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("immutable"), "{address}: {head}");
        assert!(header(&head, "content-type").starts_with(media_type), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_registers_is_logged_in_and_logs_out_without_script() {
    let server = Server::start().await;
    let at = pages(&server).await;
    let wrong = "kind=premium&name=%3Cb%3ETaro&user_id=x&email=nobody&password=short&password_again=short&premium.phone=12";
    let (head, body) = ask(at, "POST /register", &[OURS], wrong).await;
    assert!(head.starts_with("HTTP/1.1 422"), "{head}");
    assert!(body.contains("value=\"&#60;b&#62;Taro\""), "what was typed is kept, escaped");
    for field in ["reading", "user_id", "email", "password", "premium.address"] {
        assert!(body.contains(&format!("id=\"{field}-wrong\"")), "{field} is not named");
    }
    assert!(!body.contains("short"), "a password is never shown again");

    let form = "name=Taro&reading=Taro&user_id=taro&email=taro%40example.com&password=a+long+pass+phrase\
                &password_again=a+long+pass+phrase&language=ja";
    let (head, _) = ask(at, "POST /register", &[OURS], form).await;
    assert!(head.starts_with("HTTP/1.1 303") && header(&head, "location") == "/register/done", "{head}");
    let cookie = header(&head, "set-cookie").split(';').next().unwrap().to_owned();
    let (head, body) = ask(at, "GET /register/done", &[("Cookie", &cookie)], "").await;
    assert!(head.starts_with("HTTP/1.1 200") && body.contains("taro@example.com"), "{head}");
    assert!(body.contains("<html lang=\"ja\""), "the member's language counts");

    let csrf = body.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let (head, _) = ask(at, "POST /logout", &[OURS, ("Cookie", &cookie)], "csrf=guessed").await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    let (head, _) = ask(at, "POST /logout", &[OURS, ("Cookie", &cookie)], &format!("csrf={csrf}")).await;
    assert!(head.starts_with("HTTP/1.1 303"), "{head}");
    let (head, _) = ask(at, "GET /register/done", &[("Cookie", &cookie)], "").await;
    assert_eq!(header(&head, "location"), "/login?next=%2Fregister%2Fdone", "{head}");

    let right = format!("user_id=taro&password={}&next=%2Fguide", PASSWORD.replace(' ', "+"));
    let (head, _) = ask(at, "POST /login", &[OURS], &right).await;
    assert!(head.starts_with("HTTP/1.1 303") && header(&head, "location") == "/guide", "{head}");
    let (head, body) =
        ask(at, "POST /login", &[OURS], "user_id=taro&password=wrong&next=%2F%2Fevil.example").await;
    assert!(head.starts_with("HTTP/1.1 401") && body.contains("value=\"taro\""), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn premium_members_register_with_an_invoice_where_the_operator_bills() {
    let server = Server::start().await;
    let at = pages(&server).await;
    let (_, body) = ask(at, "GET /register", &[], "").await;
    assert!(body.contains("/register?kind=premium"), "premium is offered");
    let form = "kind=premium&name=Hanako&reading=Hanako&user_id=hanako&email=hanako%40example.com\
                &password=a+long+pass+phrase&password_again=a+long+pass+phrase\
                &premium.address=1-1+Chiyoda&premium.phone=%2B81+3+0000+0000";
    let (head, _) = ask(at, "POST /register?kind=premium", &[OURS], form).await;
    assert!(head.starts_with("HTTP/1.1 303") && header(&head, "location") == "/register/done", "{head}");
    let member = server.anybody().log_in("hanako", PASSWORD).await.get("/me").await;
    assert_eq!(member.body["kind"], "premium", "{member:?}");
}
