//! What the tests of the HTTP API share: the router behind a real listener, a streaming side made of memory, a client.
//!
//! Invariant: every answer that a test sees was looked at: a refusal is an RFC 9457 problem that names the next step, and
//! no answer lacks the headers that keep browsers careful.

use std::{collections::BTreeMap, fs, net::SocketAddr, num::NonZeroU16, sync::Arc, time::Duration};

use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::{client::legacy, rt::TokioExecutor};
use parking_lot::Mutex;
use serde_json::{Value, json};
use slotcast_core::{time::WallTime, words::ConnectMargins};
use slotcast_reservation::{
    courier::Courier,
    domain::{rules::Rules, words::ReservationNumber},
    edge::{Edge, EdgeSettings},
    http::router,
    limits::{Budget, Budgets},
    mail::Folder,
    payments::{Payments, invoice::Invoice},
    service::{NewOperator, Provider, Retention, Service, Settings},
    store,
    streaming::{Link, Live, Schedule, Streaming, Track, TrackState, Viewer},
    vault::Vault,
};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::{clock::HandClock, service::FakeCourier};

/// When the tests' clock begins: a Wednesday, the middle of a month everywhere.
pub const NOW: &str = "2026-11-18T09:05:00Z";
/// The operator's user ID and password.
pub const OPERATOR: (&str, &str) = ("operator", "an operator's password");
/// Rounds until nothing is left to be done.
const ROUNDS_MAX: u32 = 100;

/// The streaming side, made of memory.
#[derive(Debug, Default)]
pub struct FakeStreaming {
    pub live: Mutex<BTreeMap<ReservationNumber, Live>>,
    pub viewers: Mutex<Vec<Viewer>>,
    pub published: Mutex<usize>,
    pub kicked: Mutex<Vec<String>>,
}

impl Streaming for FakeStreaming {
    fn publish(&self, schedule: &Schedule) -> Result<(), String> {
        let mut published = self.published.lock();
        *published = if schedule.is_whole { 0 } else { *published } + schedule.programs.len();
        Ok(())
    }

    fn is_normal(&self) -> bool {
        true
    }

    fn live(&self) -> BTreeMap<ReservationNumber, Live> {
        self.live.lock().clone()
    }

    fn viewers(&self, _: ReservationNumber) -> Vec<Viewer> {
        self.viewers.lock().clone()
    }

    fn kick_viewer(&self, _: ReservationNumber, viewer: u64, reason: &str) -> bool {
        let mut viewers = self.viewers.lock();
        let before = viewers.len();
        viewers.retain(|other| other.id != viewer);
        self.kicked.lock().push(reason.to_owned());
        viewers.len() < before
    }

    fn kick_link(&self, program: ReservationNumber, reason: &str) -> bool {
        self.kicked.lock().push(reason.to_owned());
        self.live.lock().remove(&program).is_some()
    }
}

/// How a server under test differs from the usual one.
pub struct Wishes {
    /// The address of an empty database; `None`: SQLite, in a file of its own.
    pub database: Option<String>,
    pub budgets: Budgets,
    pub base_url: Option<&'static str>,
    pub month_slots_max: u32,
    pub members_only: bool,
    pub trusted_proxies: Vec<ipnet::IpNet>,
    pub payments: Arc<dyn Payments>,
    pub courier: Arc<dyn Courier>,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            database: None,
            budgets: many(),
            base_url: None,
            month_slots_max: 1000,
            members_only: false,
            trusted_proxies: Vec::new(),
            payments: Arc::new(Invoice),
            courier: Arc::new(FakeCourier::default()),
        }
    }
}

/// Budgets that no test uses up by accident.
pub fn many() -> Budgets {
    let budget = Budget { burst: 1_000_000, every: Duration::from_millis(1) };
    Budgets {
        register: budget,
        log_in_address: budget,
        forgotten_address: budget,
        forgotten_member: budget,
        verification: budget,
        own_password: budget,
        log_in_user: budget,
        book_address: budget,
        book_member: budget,
        wrong_id: budget,
        card: budget,
    }
}

/// The router behind a listener.
pub struct Server {
    pub address: SocketAddr,
    pub service: Service,
    pub streaming: Arc<FakeStreaming>,
    pub clock: HandClock,
    pub vault: Vault,
    directory: TempDir,
    stop: watch::Sender<bool>,
}

impl Server {
    /// The usual one.
    pub async fn start() -> Self {
        Self::start_as(Wishes::default()).await
    }

    pub async fn start_as(wishes: Wishes) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = HandClock::at(NOW.parse().unwrap());
        let vault = Vault::new(&[7; 32]);
        let file = || format!("sqlite:{}", directory.path().join("slotcast.db").display());
        let place = wishes.database.clone().unwrap_or_else(file);
        let store = store::open(&place, vault.clone(), clock.clock()).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let base_url = wishes.base_url.map_or_else(|| format!("http://{address}"), str::to_owned);
        let streaming = Arc::new(FakeStreaming::default());
        let service = Service::new(
            store,
            vault.clone(),
            Arc::clone(&wishes.payments),
            Arc::new(Folder::open(&directory.path().join("mail")).unwrap()),
            Arc::clone(&wishes.courier),
            Arc::clone(&streaming) as Arc<dyn Streaming>,
            clock.clock(),
            settings(&base_url, &wishes),
        );
        make_operator(&service).await;
        let settings = EdgeSettings { base_url, trusted_proxies: wishes.trusted_proxies.clone() };
        let app = router(Edge::new(service.clone(), settings));
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let (stop, _) = watch::channel(false);
        Self { address, service, streaming, clock, vault, directory, stop }
    }

    /// Somebody who has not logged in.
    pub fn anybody(&self) -> Client {
        Client { base: format!("http://{}", self.address), ..Client::default() }
    }

    /// The operator, logged in.
    pub async fn operator(&self) -> Client {
        self.anybody().log_in(OPERATOR.0, OPERATOR.1).await
    }

    /// A member who may reserve, logged in.
    pub async fn premium(&self, user_id: &str) -> Client {
        let client = self.anybody();
        let made = client.post("/members", &registration(user_id)).await;
        assert_eq!(made.status, 201, "{made:?}");
        client.log_in(user_id, PASSWORD).await
    }

    /// Sells channels 1 to `count`, of 1000 a slot.
    pub async fn sell(&self, count: u16) -> Client {
        let operator = self.operator().await;
        for number in 1..=count {
            let channel = json!({
                "name": format!("channel{number}"), "seats": 5, "bandwidth_class": 64_000, "toll": 1000,
            });
            let made = operator.put(&format!("/operator/channels/{number}"), &channel).await;
            assert_eq!(made.status, 201, "{made:?}");
        }
        operator
    }

    /// Where mails go.
    pub fn mail_folder(&self) -> std::path::PathBuf {
        self.directory.path().join("mail")
    }

    /// Sets the clock.
    pub fn set(&self, time: &str) {
        self.clock.set(time.parse::<WallTime>().unwrap());
    }

    /// From now on what comes by itself is done by itself, as a running server does it.
    pub fn run(&self) {
        tokio::spawn(self.service.clone().run(self.stop.subscribe()));
    }

    /// What is due by now is done, and all that comes of it. Only for a server that does not [`run`](Self::run).
    pub async fn turn(&self) {
        self.service.observe().await.unwrap();
        self.service.do_due().await.unwrap();
        self.service.publish().await.unwrap();
        for _ in 0..ROUNDS_MAX {
            let mails = self.service.send_mails().await.unwrap();
            let moved = self.service.move_due_money().await.unwrap();
            if mails + moved == 0 {
                return;
            }
        }
        panic!("the outboxes never come to an end");
    }

    /// The reservation ID of that issue, once what is due is done: it has been mailed.
    pub async fn mailed_id(&self, number: i64, issue: u32) -> String {
        self.turn().await;
        let id = self.vault.reservation_id(ReservationNumber(number), issue);
        let mails = fs::read_dir(self.mail_folder()).unwrap().map(|mail| mail.unwrap().path());
        let is_mailed = mails.into_iter().any(|mail| fs::read_to_string(mail).unwrap().contains(id.expose()));
        assert!(is_mailed, "no mail with the reservation ID");
        id.expose().to_owned()
    }

    /// Media goes to `viewers` viewers of the program.
    pub fn on_air(&self, number: i64, viewers: u32) {
        let live = Live {
            link: Link::OnAir,
            since: self.service.now(),
            bit_rate: 60_000,
            viewers,
            packets: 1000,
            picture: Some((320, 240)),
            tracks: vec![Track { kind: "video", state: TrackState::Sent }],
            left_out: 0,
            health: None,
            last_end: None,
        };
        self.streaming.live.lock().insert(ReservationNumber(number), live);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

fn settings(base_url: &str, wishes: &Wishes) -> Settings {
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let margins = ConnectMargins::default();
    Settings {
        rules: Rules {
            slot: Duration::from_secs(600),
            currency: "JPY".parse().unwrap(),
            reconfirm_before: hours(6),
            reconfirm_grace: Duration::from_secs(600),
            remind_before: hours(18),
            hold: Duration::from_secs(900),
            month_slots_max: wishes.month_slots_max,
            slots_max: 144,
            ahead_max: hours(24 * 92),
            extend_from: Duration::from_secs(600),
            zone: jiff::tz::TimeZone::get("Asia/Tokyo").unwrap(),
            margins,
            public_to_members_only: wishes.members_only,
            list_unconfirmed: true,
            normal_share_min: 1,
            verify_email: false,
            friends_max: 50,
            uplink: "1Gbit/s".parse().ok(),
        },
        provider: Provider {
            name: "Test provider".to_owned(),
            from: "provider@example.com".parse().unwrap(),
            base_url: base_url.to_owned(),
        },
        places: slotcast_settings::Provider {
            name: "ingest".to_owned(),
            access: vec![slotcast_settings::file::AccessPort {
                name: "main".to_owned(),
                host: "127.0.0.1".parse().unwrap(),
                port: NonZeroU16::new(8555).unwrap(),
                transports: vec![slotcast_settings::file::Transport::Tcp],
            }],
            viewers_host: "127.0.0.1".parse().unwrap(),
            viewers_port: NonZeroU16::new(8554).unwrap(),
            margins,
        },
        terms: "Broadcast only what is yours.".to_owned(),
        session_life: hours(24 * 365),
        retention: Retention::default(),
        budgets: wishes.budgets,
    }
}

async fn make_operator(service: &Service) {
    let operator = NewOperator {
        user_id: OPERATOR.0.to_owned(),
        name: "The operator".to_owned(),
        email: "operator@example.com".to_owned(),
        password: OPERATOR.1.to_owned(),
        replace: false,
    };
    service.create_operator(operator).await.unwrap();
}

/// Of members that tests register.
pub const PASSWORD: &str = "a long pass phrase";

/// A premium member's registration.
pub fn registration(user_id: &str) -> Value {
    json!({
        "user_id": user_id,
        "name": format!("Name of {user_id}"),
        "reading": "Reading",
        "email": format!("{user_id}@example.com"),
        "password": PASSWORD,
        "premium": { "address": "1-1 Chiyoda, Tokyo", "phone": "+81 3 0000 0000", "card_token": "pm_test" },
    })
}

/// A draft of a public program.
pub fn draft(channel: u16, start: &str, end: &str) -> Value {
    json!({
        "channel": channel,
        "window": { "start": start, "end": end },
        "program": { "title": "Evening concert", "open_level": "public" },
    })
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    pub body: Value,
}

impl Reply {
    /// Last part of the problem's type.
    pub fn code(&self) -> &str {
        self.body["type"].as_str().and_then(|text| text.rsplit('/').next()).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Names of the items that are wrong.
    pub fn fields(&self) -> Vec<&str> {
        let fields = self.body["fields"].as_array().into_iter().flatten();
        fields.filter_map(|field| field["field"].as_str()).collect()
    }
}

/// Somebody who asks.
#[derive(Clone, Debug, Default)]
pub struct Client {
    pub base: String,
    pub cookie: Option<String>,
    pub csrf: Option<String>,
    pub bearer: Option<String>,
    pub headers: Vec<(String, String)>,
}

impl Client {
    /// The same, logged in.
    pub async fn log_in(&self, user_id: &str, password: &str) -> Self {
        let reply = self.post("/session", &json!({ "user_id": user_id, "password": password })).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let cookie = reply.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let csrf = reply.body["csrf_token"].as_str().unwrap().to_owned();
        Self { cookie: Some(cookie), csrf: Some(csrf), ..self.clone() }
    }

    /// The same with one more header.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut other = self.clone();
        other.headers.push((name.to_owned(), value.to_owned()));
        other
    }

    /// A token of this member with those scopes, in its place.
    pub async fn token(&self, scopes: &[&str]) -> Self {
        let request = json!({ "name": scopes.join(" "), "scopes": scopes, "days": 30 });
        let reply = self.post("/me/tokens", &request).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        let bearer = Some(reply.body["secret"].as_str().unwrap().to_owned());
        Self { base: self.base.clone(), bearer, ..Self::default() }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.ask(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.ask(Method::POST, path, Some(body.to_string())).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Reply {
        self.ask(Method::PUT, path, Some(body.to_string())).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Reply {
        self.ask(Method::PATCH, path, Some(body.to_string())).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.ask(Method::DELETE, path, None).await
    }

    /// `path` below `/api/v1`; a body is JSON unless a header of this client says otherwise.
    pub async fn ask(&self, method: Method, path: &str, body: Option<String>) -> Reply {
        let mut request = Request::builder().method(method).uri(format!("{}/api/v1{path}", self.base));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let has_type = self.headers.iter().any(|(name, _)| name == "content-type");
        if body.is_some() && !has_type {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        if let Some(csrf) = &self.csrf {
            request = request.header("x-csrf-token", csrf);
        }
        if let Some(bearer) = &self.bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {bearer}"));
        }
        let request = request.body(Full::new(Bytes::from(body.unwrap_or_default()))).unwrap();
        let http = legacy::Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let response = http.request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let body = serde_json::from_str(&text).unwrap_or_default();
        let reply = Reply { status: parts.status.as_u16(), headers: parts.headers, text, body };
        check(&reply);
        reply
    }
}

/// What holds for every answer.
#[track_caller]
fn check(reply: &Reply) {
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{reply:?}");
    assert!(reply.header("content-security-policy").is_some() && reply.header("cache-control").is_some());
    assert!(reply.header("access-control-allow-origin").is_none());
    let status = StatusCode::from_u16(reply.status).unwrap();
    if !status.is_client_error() && !status.is_server_error() {
        return;
    }
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{reply:?}");
    assert_eq!(reply.body["status"], reply.status, "{reply:?}");
    for member in ["type", "title", "detail", "next"] {
        assert!(reply.body[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {reply:?}");
    }
    assert!(reply.body["type"].as_str().unwrap().starts_with("/api/v1/problems/"), "{reply:?}");
    if reply.status == 429 || reply.status == 503 {
        assert!(reply.header("retry-after").is_some_and(|text| text.parse::<u64>().is_ok()), "{reply:?}");
    }
}
