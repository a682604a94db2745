//! Health and metrics over HTTP, on one quiet thread.
//!
//! Owns: `/healthz`, `/readyz`, `/metrics`, the bounds on who asks, and who may read the metrics.
//! Not here: what the numbers are (`metrics`).
//! Invariant: one address holds at most a quarter of the places, and where they are all taken, health and metrics are still
//! answered, from places of their own; media never waits for anyone here; on the address of `[http]`, metrics are answered
//! to this machine alone, and to nobody once they have a listener of their own.

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Extension, Router,
    extract::{ConnectInfo, State},
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use slotcast_core::time::Clock;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::{sleep, timeout},
};

/// Connections at once, where only health and metrics are asked for.
const CONNECTIONS_MAX: usize = 64;
/// Connections at once, where channels are sold.
const CONNECTIONS_WITH_API_MAX: usize = 4_096;
/// Connections beyond these, in which only health and metrics are answered.
const SPARE_MAX: usize = 64;
/// Of those, from one address.
const SPARE_PER_ADDRESS_MAX: usize = 8;
/// Whole life of such a connection.
const SPARE_LIFE: Duration = Duration::from_secs(3);
/// That places ran out is logged at most this often.
const TELL_EVERY: Duration = Duration::from_secs(30);
/// Connections that the kernel keeps until they are taken.
const BACKLOG: u32 = 1_024;
/// Until a request's header is there.
const HEADER_MAX: Duration = Duration::from_secs(10);
/// One connection's whole life; a scraper that keeps it open opens another.
const CONNECTION_MAX: Duration = Duration::from_secs(600);
/// After an accept that failed, e.g. for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Headers that proxies add to what they forward, besides `X-Forwarded-…`.
const FORWARDING: [&str; 6] =
    ["forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip"];

/// What the pages show.
pub(crate) trait Pages: Send + Sync + 'static {
    /// Whether the rooms run.
    fn is_healthy(&self) -> bool;
    /// Whether new viewers and links are taken.
    fn is_ready(&self) -> bool;
    /// The metrics, as OpenMetrics text.
    fn metrics(&self) -> Result<String, std::fmt::Error>;
}

/// What a listener answers, and to how many connections at once.
pub(crate) struct Site {
    router: Router,
    /// What is answered where all places are taken.
    spare: Router,
    connections: usize,
}

impl Site {
    /// Health, and what else there is.
    ///
    /// - `api`: where channels are sold.
    /// - `stills`: where they are made.
    /// - `with_metrics`: whether this machine finds the metrics here.
    pub(crate) fn main(
        pages: Arc<dyn Pages>,
        api: Option<Router>,
        stills: Option<Router>,
        with_metrics: bool,
    ) -> Self {
        let mut own = Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz));
        if with_metrics {
            own = own.route("/metrics", get(metrics_for_this_machine));
        }
        let own = own.with_state(pages);
        let spare = own.clone().fallback(busy);
        let own = own.merge(stills.unwrap_or_default());
        match api {
            Some(api) => Self { router: own.merge(api), spare, connections: CONNECTIONS_WITH_API_MAX },
            None => Self {
                router: own.fallback(|| not_found("there are /healthz and /readyz")),
                spare,
                connections: CONNECTIONS_MAX,
            },
        }
    }

    /// Metrics alone, for whoever reaches the address of `[metrics]`.
    pub(crate) fn metrics(pages: Arc<dyn Pages>) -> Self {
        let router = Router::new()
            .route("/metrics", get(metrics))
            .with_state(pages)
            .fallback(|| not_found("there is /metrics"));
        Self { spare: router.clone(), router, connections: CONNECTIONS_MAX }
    }
}

/// Who holds a place: by network address (a /64 of IPv6), ordinary places and spare ones.
struct Places {
    held: Mutex<Held>,
    connections: usize,
}

#[derive(Default)]
struct Held {
    all: [usize; 2],
    by_address: HashMap<IpAddr, [usize; 2]>,
    told: Option<Instant>,
}

/// One place; dropping it gives it back.
struct Place {
    places: Arc<Places>,
    address: IpAddr,
    is_spare: bool,
}

impl Places {
    fn new(connections: usize) -> Arc<Self> {
        Arc::new(Self { held: Mutex::default(), connections })
    }

    /// A place for `peer`, a spare one where the others are taken; `None`: those are taken as well.
    fn take(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let address = match peer.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
            address => address,
        };
        let bounds = [(self.connections, (self.connections / 4).max(1)), (SPARE_MAX, SPARE_PER_ADDRESS_MAX)];
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = held.by_address.get(&address).copied().unwrap_or_default();
        let is_free = |kind: &usize| held.all[*kind] < bounds[*kind].0 && of_address[*kind] < bounds[*kind].1;
        let kind = [0, 1].into_iter().find(is_free)?;
        held.all[kind] += 1;
        held.by_address.entry(address).or_default()[kind] += 1;
        Some(Place { places: Arc::clone(self), address, is_spare: kind == 1 })
    }

    /// Whether it is time to say again that places ran out.
    fn tells(&self, now: Instant) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = held.told.is_none_or(|told| now.duration_since(told) >= TELL_EVERY);
        if is_due {
            held.told = Some(now);
        }
        is_due
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let kind = usize::from(self.is_spare);
        let mut held = self.places.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.all[kind] -= 1;
        if let Some(of_address) = held.by_address.get_mut(&self.address) {
            of_address[kind] -= 1;
            if *of_address == [0, 0] {
                held.by_address.remove(&self.address);
            }
        }
    }
}

/// Answers on `listener` for ever.
///
/// - `turned_away`: counts connections that got no ordinary place.
/// - `clock`: for the line that says so.
pub(crate) async fn serve(listener: TcpListener, site: Site, turned_away: Arc<AtomicU64>, clock: Clock) {
    let Site { router, spare, connections } = site;
    let places = Places::new(connections);
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let place = places.take(peer.ip());
                if place.as_ref().is_none_or(|place| place.is_spare) {
                    turned_away.fetch_add(1, Ordering::Relaxed);
                    if places.tells(clock().mono) {
                        tracing::warn!(
                            %peer,
                            connections,
                            "HTTP: no place is free for this address: only health and metrics are answered; look who \
                             holds so many connections"
                        );
                    }
                }
                let Some(place) = place else { continue };
                let router = if place.is_spare { &spare } else { &router };
                let router = router.clone().layer(Extension(ConnectInfo(peer)));
                tokio::spawn(connection(stream, router, place));
            }
            Err(error) => {
                tracing::warn!(%error, "HTTP: accept failed; trying again");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn connection(stream: TcpStream, router: Router, place: Place) -> impl Future<Output = ()> + Send {
    let life = if place.is_spare { SPARE_LIFE } else { CONNECTION_MAX };
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_MAX)
        .keep_alive(!place.is_spare)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    async move {
        if let Ok(Err(error)) = timeout(life, served).await {
            tracing::debug!(%error, "HTTP: connection ended");
        }
        drop(place);
    }
}

async fn healthz(State(pages): State<Arc<dyn Pages>>) -> Response {
    if pages.is_healthy() {
        "ok\n".into_response()
    } else {
        (StatusCode::INTERNAL_SERVER_ERROR, "a thread has ended: restart the server; the log says why\n")
            .into_response()
    }
}

async fn readyz(State(pages): State<Arc<dyn Pages>>) -> Response {
    if pages.is_ready() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "draining: no new viewers and links are taken\n").into_response()
    }
}

/// As [`metrics`], unless somebody else may be behind the request.
async fn metrics_for_this_machine(
    State(pages): State<Arc<dyn Pages>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    if peer.ip().to_canonical().is_loopback() && !is_forwarded(&headers) {
        metrics(State(pages)).await
    } else {
        not_found("metrics for others than this machine need [metrics] listen").await
    }
}

/// Whether a proxy says that it forwards the request.
fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("x-forwarded") || FORWARDING.contains(&name.as_str()))
}

async fn metrics(State(pages): State<Arc<dyn Pages>>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match pages.metrics() {
        Ok(text) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n").into_response(),
    }
}

/// The answer in a spare place to what is neither health nor metrics.
async fn busy() -> Response {
    let text = "too many connections are open: try again in a few seconds\n";
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")], text).into_response()
}

/// - `known`: what there is.
async fn not_found(known: &'static str) -> Response {
    (StatusCode::NOT_FOUND, format!("nothing here; {known}\n")).into_response()
}

/// A socket that has its address and takes no connections yet: [`listen`] does, once there is somebody to answer.
/// Until then whoever comes is refused by the kernel, as before the start.
///
/// - `setting`: where the address is written, for the error.
///
/// Errors: the address cannot be bound.
pub(crate) fn bind(setting: &str, address: SocketAddr) -> io::Result<TcpSocket> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        io::Result::Ok(socket)
    };
    bound()
        .map_err(|error| io::Error::new(error.kind(), format!("{setting}: cannot bind {address}: {error}")))
}

/// Takes connections from now on; must be called inside a runtime.
///
/// Errors: somebody else listens there by now.
pub(crate) fn listen(socket: TcpSocket) -> io::Result<TcpListener> {
    let address = socket.local_addr()?;
    socket
        .listen(BACKLOG)
        .map_err(|error| io::Error::new(error.kind(), format!("HTTP: cannot listen on {address}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbers;

    impl Pages for Numbers {
        fn is_healthy(&self) -> bool {
            true
        }

        fn is_ready(&self) -> bool {
            true
        }

        fn metrics(&self) -> Result<String, std::fmt::Error> {
            Ok(String::new())
        }
    }

    #[track_caller]
    fn check(peer: &str, expected: StatusCode) {
        let peer = ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1));
        let answered = metrics_for_this_machine(State(Arc::new(Numbers)), peer, HeaderMap::new());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(answered).status(), expected);
    }

    #[test]
    fn one_address_leaves_places_for_others_and_health_has_its_own() {
        let places = Places::new(8);
        let from = |text: &str| places.take(text.parse().unwrap());
        let mut held: Vec<_> = (0..20).filter_map(|_| from("192.0.2.1")).collect();
        let spare = |held: &[Place]| held.iter().filter(|place| place.is_spare).count();
        assert_eq!((held.len(), spare(&held)), (2 + SPARE_PER_ADDRESS_MAX, SPARE_PER_ADDRESS_MAX));
        assert!(from("192.0.2.2").is_some_and(|place| !place.is_spare));
        for last in 10..40 {
            held.extend(from(&format!("192.0.2.{last}")));
        }
        assert_eq!(held.len() - spare(&held), 8);
        assert!(from("192.0.2.9").is_some_and(|place| place.is_spare));
        drop(held);
        assert!(from("192.0.2.1").is_some_and(|place| !place.is_spare));
        let network: Vec<_> = ["2001:db8::1", "2001:db8::2", "2001:db8::3"].into_iter().map(from).collect();
        assert!(network[2].as_ref().is_some_and(|place| place.is_spare));
        drop(network);
        assert!(places.held.lock().unwrap().by_address.is_empty());
    }

    #[test]
    fn only_loopback_peers_are_this_machine() {
        for peer in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            check(peer, StatusCode::OK);
        }
        for peer in ["192.0.2.1", "10.0.0.1", "::ffff:192.0.2.1", "2001:db8::1", "0.0.0.0"] {
            check(peer, StatusCode::NOT_FOUND);
        }
    }
}
