//! The server: connections with limits, and an end in order.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock;
use crate::config;
use crate::lifecycle::Lifecycle;
use crate::telemetry::metrics;

/// Request line and headers together.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Serves until the lifecycle stops: then no connection is accepted any more, and running requests end.
///
/// `settings.header_timeout` bounds the reading of a request's head, and with it how long an idle connection is kept.
pub async fn serve(listener: TcpListener, router: Router, settings: &config::Http, lifecycle: Lifecycle) {
    let places = Arc::new(Semaphore::new(settings.max_connections));
    loop {
        // The place is taken first: beyond the limit connections wait in the kernel's backlog.
        let next = async {
            let place = places.clone().acquire_owned().await.ok()?;
            Some((place, listener.accept().await))
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            () = lifecycle.stopping() => return,
        };
        match accepted {
            Some((place, Ok((stream, _)))) => {
                lifecycle.spawn(connection(stream, router.clone(), settings.header_timeout, lifecycle.clone(), place));
            }
            // Out of file descriptors, most likely: wait for some to be closed.
            Some((_, Err(error))) => {
                tracing::warn!(error = %error, "cannot accept HTTP connections");
                clock::sleep(Duration::from_millis(100)).await;
            }
            None => return,
        }
    }
}

async fn connection(
    stream: TcpStream,
    router: Router,
    header_timeout: Duration,
    lifecycle: Lifecycle,
    place: OwnedSemaphorePermit,
) {
    let _open = Open::new(place);
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    tokio::pin!(connection);
    // How a connection ends is its client's affair.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = lifecycle.stopping() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = lifecycle.aborted() => {}
    }
}

/// Counts an open connection for as long as it lives.
struct Open {
    _place: OwnedSemaphorePermit,
}

impl Open {
    fn new(place: OwnedSemaphorePermit) -> Self {
        metrics::HTTP_CONNECTIONS.add([], 1.0);
        Self { _place: place }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::HTTP_CONNECTIONS.add([], -1.0);
    }
}
