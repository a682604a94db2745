//! Health and metrics over HTTP, on one quiet thread.
//!
//! Owns: `/healthz`, `/readyz`, `/metrics`, the bounds on who asks, and who may read the metrics.
//! Not here: what the numbers are (`metrics`).
//! Invariant: a slow or hostile client holds at most one of [`CONNECTIONS_MAX`] places (more where channels are sold), for
//! at most [`HEADER_MAX`] a request; media never waits for anyone here; on the address of `[http]`, metrics are answered
//! to this machine alone, and to nobody once they have a listener of their own.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::{ConnectInfo, State},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

/// Connections at once, where only health and metrics are asked for.
const CONNECTIONS_MAX: usize = 64;
/// Connections at once, where channels are sold.
const CONNECTIONS_WITH_API_MAX: usize = 1_024;
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
    connections: usize,
}

impl Site {
    /// Health, and what else there is.
    ///
    /// - `api`: where channels are sold.
    /// - `with_metrics`: whether this machine finds the metrics here.
    pub(crate) fn main(pages: Arc<dyn Pages>, api: Option<Router>, with_metrics: bool) -> Self {
        let mut own = Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz));
        if with_metrics {
            own = own.route("/metrics", get(metrics_for_this_machine));
        }
        let own = own.with_state(pages);
        match api {
            Some(api) => Self { router: own.merge(api), connections: CONNECTIONS_WITH_API_MAX },
            None => Self {
                router: own.fallback(|| not_found("there are /healthz and /readyz")),
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
        Self { router, connections: CONNECTIONS_MAX }
    }
}

/// Answers on `listener` for ever.
pub(crate) async fn serve(listener: TcpListener, site: Site) {
    let Site { router, connections } = site;
    let places = Arc::new(Semaphore::new(connections));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
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

fn connection(
    stream: TcpStream,
    router: Router,
    place: OwnedSemaphorePermit,
) -> impl Future<Output = ()> + Send {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    async move {
        if let Ok(Err(error)) = timeout(CONNECTION_MAX, served).await {
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
    fn only_loopback_peers_are_this_machine() {
        for peer in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            check(peer, StatusCode::OK);
        }
        for peer in ["192.0.2.1", "10.0.0.1", "::ffff:192.0.2.1", "2001:db8::1", "0.0.0.0"] {
            check(peer, StatusCode::NOT_FOUND);
        }
    }
}
