//! Connections: HTTP/2 without TLS, and ways to break a stream or a connection under its client.

use std::future::Future;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::body::Body;

use super::calls;
use super::core::{Core, Link};
use crate::clock;
use crate::lifecycle::Lifecycle;

/// The stream was reset by order.
#[derive(Debug, thiserror::Error)]
#[error("reset by order")]
struct ResetByOrder;

/// Accepts connections until the lifecycle stops.
pub(super) async fn accept(listener: TcpListener, core: Arc<Core>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = core.lifecycle.stopping() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let core = core.clone();
                core.lifecycle.clone().spawn(connection(stream, core));
            }
            // Out of file descriptors, most likely: wait for some to be closed.
            Err(_) => clock::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Work of a connection, known to the lifecycle.
#[derive(Clone)]
struct Tasks(Lifecycle);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, work: F) {
        self.0.spawn(work);
    }
}

async fn connection(stream: TcpStream, core: Arc<Core>) {
    // Or every small message waits 40 ms for an acknowledgement.
    let _ = stream.set_nodelay(true);
    // The same socket, to cut it by while it is served.
    let socket = stream.as_fd().try_clone_to_owned();
    let link = Link::default();
    let lifecycle = core.lifecycle.clone();
    let serve = {
        let link = link.clone();
        hyper::service::service_fn(move |request: Request<Incoming>| answer(request, core.clone(), link.of_stream()))
    };
    let builder = hyper::server::conn::http2::Builder::new(Tasks(lifecycle.clone()));
    let serving = builder.serve_connection(TokioIo::new(stream), serve);
    tokio::pin!(serving);
    let mut leaving = false;
    loop {
        tokio::select! {
            _ = serving.as_mut() => return,
            () = link.cut.cancelled() => {
                let socket = socket.and_then(|socket| TcpStream::from_std(socket.into()));
                let _ = socket.and_then(|socket| socket.set_zero_linger());
                return;
            }
            () = link.away.cancelled(), if !leaving => {
                leaving = true;
                serving.as_mut().graceful_shutdown();
            }
            () = lifecycle.stopping(), if !leaving => {
                leaving = true;
                serving.as_mut().graceful_shutdown();
            }
            () = lifecycle.aborted() => return,
        }
    }
}

async fn answer(request: Request<Incoming>, core: Arc<Core>, link: Link) -> Result<Response<Resettable>, ResetByOrder> {
    let reset = link.stream.clone();
    let answered = tokio::select! {
        biased;
        () = reset.cancelled() => return Err(ResetByOrder),
        answered = calls::answer(request, core, link) => answered,
    };
    Ok(answered.map(|body| Resettable { body, reset: Box::pin(reset.cancelled_owned()) }))
}

/// A response whose stream can be reset.
struct Resettable {
    body: Body,
    reset: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl http_body::Body for Resettable {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.reset.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(ResetByOrder.into())));
        }
        Pin::new(&mut self.body).poll_frame(context).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
