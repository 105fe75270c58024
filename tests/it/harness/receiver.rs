//! Somebody who takes outcome events over HTTP.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use voxd::lifecycle::Lifecycle;

/// What a receiver saw; what it answers goes by the number of the request.
#[derive(Clone)]
pub struct Receiver {
    pub url: String,
    seen: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    lifecycle: Lifecycle,
}

impl Receiver {
    /// `answer` gets the number of the request, from 0.
    pub async fn start(answer: impl Fn(usize) -> Response + Clone + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/events?tenant=7", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<(HeaderMap, Bytes)>>> = Arc::default();
        let sink = seen.clone();
        let router = Router::new().fallback(move |headers: HeaderMap, body: Bytes| {
            let n = {
                let mut seen = sink.lock().unwrap();
                seen.push((headers, body));
                seen.len() - 1
            };
            let answer = answer.clone();
            async move { answer(n) }
        });
        let lifecycle = Lifecycle::new();
        lifecycle.spawn(async move { axum::serve(listener, router).await });
        Self { url, seen, lifecycle }
    }

    pub fn seen(&self) -> Vec<(HeaderMap, Bytes)> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.lifecycle.abort();
    }
}

pub fn status(code: u16) -> Response {
    StatusCode::from_u16(code).unwrap().into_response()
}
