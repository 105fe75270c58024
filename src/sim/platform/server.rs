//! Connections of a simulated platform: HTTP/1.1 with a journal, and a way to reset a connection under its client.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::journal::Journal;
use crate::clock;
use crate::lifecycle::Lifecycle;

/// Paths below it are the simulator's own and are not in the journal.
pub const CONTROL_PREFIX: &str = "/_voxd/";

/// The connection that a request came on; a request extension.
#[derive(Clone)]
pub struct Connection {
    reset: CancellationToken,
}

impl Connection {
    /// Resets the connection (RST). Whoever awaits this never goes on.
    pub async fn reset(&self) -> Infallible {
        self.reset.cancel();
        std::future::pending().await
    }
}

/// Accepts until the lifecycle is aborted. Every request but the control ones gets an entry in the journal, and its
/// [`super::EntryId`] as an extension.
pub async fn accept(listener: TcpListener, router: Router, journal: Journal, lifecycle: Lifecycle) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = lifecycle.stopping() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let life = lifecycle.clone();
                let serving = serve(stream, router.clone(), journal.clone(), lifecycle.clone());
                lifecycle.spawn(async move {
                    tokio::select! { () = serving => {}, () = life.aborted() => {} }
                });
            }
            // Out of file descriptors, most likely: wait for some to be closed.
            Err(_) => clock::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Ends with the connection; when the lifecycle stops, idle connections end at once and running requests are finished.
async fn serve(stream: TcpStream, router: Router, journal: Journal, lifecycle: Lifecycle) {
    let _ = stream.set_nodelay(true);
    let connection = Connection { reset: CancellationToken::new() };
    let reset = connection.reset.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        answer(request, router.clone(), journal.clone(), connection.clone())
    });
    let mut serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut finishing = false;
    loop {
        tokio::select! {
            _ = &mut serving => return,
            () = reset.cancelled() => {
                let stream = serving.into_parts().io.into_inner();
                let _ = stream.set_zero_linger();
                return;
            }
            () = lifecycle.stopping(), if !finishing => {
                finishing = true;
                std::pin::Pin::new(&mut serving).graceful_shutdown();
            }
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    router: Router,
    journal: Journal,
    connection: Connection,
) -> Result<Response, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(connection);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    if path.starts_with(CONTROL_PREFIX) {
        return router.oneshot(request).await;
    }
    let entry = journal.begin(request.method().as_str(), path);
    request.extensions_mut().insert(entry);
    let response = router.oneshot(request).await?;
    journal.answered(entry, response.status().as_u16());
    Ok(response)
}
