//! Health and metrics over HTTP, on one quiet thread.
//!
//! Owns: `/healthz`, `/readyz`, `/metrics`, the bounds on who asks.
//! Not here: what the numbers are (`metrics`).
//! Invariant: a slow or hostile client holds at most one of [`CONNECTIONS_MAX`] places (more where channels are sold), for at most [`HEADER_MAX`] a
//! request; media never waits for anyone here.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::{ConnectInfo, State},
    http::{StatusCode, header::CONTENT_TYPE},
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

/// What the pages show.
pub(crate) trait Pages: Send + Sync + 'static {
    /// Whether the rooms run.
    fn is_healthy(&self) -> bool;
    /// Whether new viewers and links are taken.
    fn is_ready(&self) -> bool;
    /// The metrics, as OpenMetrics text.
    fn metrics(&self) -> Result<String, std::fmt::Error>;
}

/// Answers on `listener` for ever.
///
/// - `api`: what else there is, where channels are sold.
pub(crate) async fn serve(listener: TcpListener, pages: Arc<dyn Pages>, api: Option<Router>) {
    let connections = if api.is_some() { CONNECTIONS_WITH_API_MAX } else { CONNECTIONS_MAX };
    let places = Arc::new(Semaphore::new(connections));
    let router = router(pages, api);
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

fn router(pages: Arc<dyn Pages>, api: Option<Router>) -> Router {
    let own = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(pages);
    match api {
        Some(api) => own.merge(api),
        None => own.fallback(not_found),
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

async fn metrics(State(pages): State<Arc<dyn Pages>>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match pages.metrics() {
        Ok(text) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n").into_response(),
    }
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "nothing here; there are /healthz, /readyz and /metrics\n").into_response()
}

/// A socket that has its address and takes no connections yet: [`listen`] does, once there is somebody to answer.
/// Until then whoever comes is refused by the kernel, as before the start.
///
/// Errors: the address cannot be bound.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        io::Result::Ok(socket)
    };
    bound()
        .map_err(|error| io::Error::new(error.kind(), format!("http.listen: cannot bind {address}: {error}")))
}

/// Takes connections from now on; must be called inside a runtime.
///
/// Errors: somebody else listens there by now.
pub(crate) fn listen(socket: TcpSocket) -> io::Result<TcpListener> {
    let address = socket.local_addr()?;
    socket.listen(BACKLOG).map_err(|error| {
        io::Error::new(error.kind(), format!("http.listen: cannot listen on {address}: {error}"))
    })
}
