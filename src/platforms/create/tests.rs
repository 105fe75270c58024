//! The claims of this module's text, against real sockets.

use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::lifecycle::Lifecycle;

const BODY: &[u8] = br#"{"phone_number":"+14155550123"}"#;
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

/// A server that plays one move per connection, in order, and keeps what it read.
struct Peer {
    url: String,
    read: Arc<Mutex<Vec<Vec<u8>>>>,
    lifecycle: Lifecycle,
}

#[derive(Clone, Copy)]
enum Move {
    /// Reads the request, writes this, closes.
    Answer(&'static [u8]),
    /// The same, but closes by reset.
    AnswerAndReset(&'static [u8]),
    /// Reads the request, writes this, and holds the connection.
    AnswerAndHold(&'static [u8]),
    /// Writes this without reading.
    Blurt(&'static [u8]),
    /// Accepts and only reads.
    Listen,
}

impl Peer {
    async fn start(moves: Vec<Move>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/calls", listener.local_addr().unwrap());
        let read = Arc::new(Mutex::new(Vec::new()));
        let lifecycle = Lifecycle::new();
        let (kept, life) = (read.clone(), lifecycle.clone());
        lifecycle.spawn(async move {
            for (index, play) in moves.into_iter().enumerate() {
                let Ok((stream, _)) = listener.accept().await else { return };
                kept.lock().unwrap().push(Vec::new());
                let kept = kept.clone();
                let hard = life.hard_token();
                life.spawn(async move {
                    tokio::select! { () = play_move(stream, play, &kept, index) => {}, () = hard.cancelled() => {} }
                });
            }
        });
        Self { url, read, lifecycle }
    }

    fn requests(&self) -> Vec<String> {
        self.read.lock().unwrap().iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.lifecycle.abort();
    }
}

async fn play_move(mut stream: TcpStream, play: Move, kept: &Mutex<Vec<Vec<u8>>>, index: usize) {
    if let Move::Blurt(text) = play {
        stream.write_all(text).await.unwrap();
    }
    let mut chunk = [0; 4096];
    loop {
        let Ok(length @ 1..) = stream.read(&mut chunk).await else { return };
        let whole = {
            let mut kept = kept.lock().unwrap();
            kept[index].extend_from_slice(&chunk[..length]);
            kept[index].ends_with(BODY)
        };
        if !whole {
            continue;
        }
        match play {
            Move::Answer(text) => return stream.write_all(text).await.unwrap(),
            Move::AnswerAndReset(text) => {
                stream.write_all(text).await.unwrap();
                // What was written must be read before the reset overtakes it.
                clock::sleep(Duration::from_millis(50)).await;
                return stream.set_zero_linger().unwrap();
            }
            Move::AnswerAndHold(text) => stream.write_all(text).await.unwrap(),
            Move::Blurt(_) | Move::Listen => {}
        }
    }
}

fn client() -> CreateClient {
    CreateClient::new(Duration::from_secs(5), Duration::from_secs(30)).unwrap()
}

/// For peers that never answer.
fn impatient() -> CreateClient {
    CreateClient::new(Duration::from_secs(5), Duration::from_millis(300)).unwrap()
}

async fn post(client: &CreateClient, url: &str) -> Result<Answer, NoAnswer> {
    post_with(client, url, SendPermit::for_the_next(Duration::from_secs(60))).await
}

async fn post_with(client: &CreateClient, url: &str, permit: SendPermit) -> Result<Answer, NoAnswer> {
    client.post(url, HeaderMap::new(), Bytes::from_static(BODY), permit).await
}

fn reason(result: Result<Answer, NoAnswer>) -> (&'static str, &'static str) {
    match result.unwrap_err() {
        NoAnswer::NotSent { reason, .. } => ("not_sent", reason),
        NoAnswer::InDoubt { reason, .. } => ("in_doubt", reason),
    }
}

#[tokio::test]
async fn a_refused_connection_sent_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(reason(post(&client(), &url).await), ("not_sent", "connect_failed"));
}

#[tokio::test]
async fn a_name_that_does_not_resolve_sent_nothing() {
    let client = client();
    assert_eq!(reason(post(&client, "http://voxd.invalid/").await), ("not_sent", "connect_failed"));
}

#[tokio::test]
async fn an_address_that_is_none_sent_nothing() {
    assert_eq!(reason(post(&client(), "http://").await), ("not_sent", "bad_request"));
}

#[tokio::test]
async fn a_failed_tls_handshake_sent_nothing() {
    let peer = Peer::start(vec![Move::Blurt(b"220 not TLS\r\n")]).await;
    let url = peer.url.replace("http://", "https://");
    assert_eq!(reason(post(&client(), &url).await), ("not_sent", "connect_failed"));
    assert!(!peer.requests().concat().contains("phone_number"));
}

#[tokio::test]
async fn a_tls_handshake_that_hangs_sent_nothing() {
    let peer = Peer::start(vec![Move::Listen]).await;
    let url = peer.url.replace("http://", "https://");
    assert_eq!(reason(post(&impatient(), &url).await), ("not_sent", "connect_failed"));
}

#[tokio::test]
async fn a_connection_that_does_not_come_up_in_time_sent_nothing() {
    // With its backlog full and nobody accepting, a listener leaves further connections waiting.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut fillers = Vec::new();
    while let Ok(filler) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        fillers.push(filler);
        assert!(fillers.len() < 100, "the backlog has no end");
    }
    let url = format!("http://{address}/");
    for (connect, whole) in [(200, 5000), (5000, 200)] {
        let client = CreateClient::new(Duration::from_millis(connect), Duration::from_millis(whole)).unwrap();
        assert_eq!(reason(post(&client, &url).await), ("not_sent", "connect_failed"));
    }
}

#[tokio::test]
async fn an_ended_permit_puts_no_byte_on_the_wire() {
    let peer = Peer::start(vec![Move::Listen]).await;
    let ended = SendPermit::until(clock::monotonic());
    assert_eq!(reason(post_with(&client(), &peer.url, ended).await), ("not_sent", "permit_ended"));
    // The connection came up and was closed; what is left in it would have been read by then.
    clock::sleep(Duration::from_millis(100)).await;
    assert_eq!(peer.requests(), [""]);
}

#[tokio::test]
async fn an_answer_comes_back_whole() {
    let peer = Peer::start(vec![Move::Answer(OK)]).await;
    let answer = post(&client(), &peer.url).await.unwrap();
    assert_eq!((answer.status, &answer.body[..], answer.truncated), (200, &b"{}"[..], false));
    assert_eq!(peer.requests().len(), 1);
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_not_used_again() {
    let peer = Peer::start(vec![Move::Answer(OK), Move::Answer(OK), Move::Answer(OK)]).await;
    let client = client();
    for _ in 0..3 {
        // The peer closes after each answer without having said so.
        assert_eq!(post(&client, &peer.url).await.unwrap().status, 200);
        clock::sleep(Duration::from_millis(50)).await;
    }
    assert!(peer.requests().iter().all(|request| request.matches("POST").count() == 1));
}

#[tokio::test]
async fn a_connection_that_ends_after_the_request_leaves_doubt_and_no_second_request() {
    for last in
        [Move::Answer(b""), Move::AnswerAndReset(b""), Move::Answer(b"HTTP/1.1 200"), Move::Answer(b"garbage\r\n\r\n")]
    {
        let peer = Peer::start(vec![last, Move::Answer(OK)]).await;
        assert_eq!(reason(post(&client(), &peer.url).await), ("in_doubt", "connection_lost"));
        assert_eq!(peer.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_connection_kept_alive_and_lost_under_the_next_request_leaves_doubt() {
    // The second request goes out on the first's connection, which never answers it and ends.
    let peer = Peer::start(vec![Move::AnswerAndHold(OK), Move::Answer(OK)]).await;
    let client = client();
    assert_eq!(post(&client, &peer.url).await.unwrap().status, 200);
    let second = post(&client, &peer.url);
    let read = peer.read.clone();
    let watch = async {
        while read.lock().unwrap()[0].len() <= BODY.len() * 2 {
            clock::sleep(Duration::from_millis(5)).await;
        }
        peer.lifecycle.abort();
    };
    let (result, ()) = tokio::join!(second, watch);
    // The peer answered the second as well before it ended, or it did not: never is there a third connection.
    if let Err(no_answer) = result {
        assert!(matches!(no_answer, NoAnswer::InDoubt { .. }), "{no_answer:?}");
    }
    assert_eq!(peer.requests().len(), 1);
}

#[tokio::test]
async fn silence_after_the_request_is_a_time_out_in_doubt() {
    let peer = Peer::start(vec![Move::Listen, Move::Answer(OK)]).await;
    assert_eq!(reason(post(&impatient(), &peer.url).await), ("in_doubt", "timeout"));
    assert_eq!(peer.requests().len(), 1);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_marked() {
    const HALF: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"call_id\":";
    for last in [Move::Answer(HALF), Move::AnswerAndReset(HALF), Move::AnswerAndHold(HALF)] {
        let peer = Peer::start(vec![last]).await;
        let answer = post(&impatient(), &peer.url).await.unwrap();
        assert_eq!((answer.status, answer.truncated), (200, true));
    }
}

#[tokio::test]
async fn redirects_are_answers() {
    const AWAY: &[u8] = b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
    let peer = Peer::start(vec![Move::AnswerAndHold(AWAY), Move::Answer(OK)]).await;
    assert_eq!(post(&client(), &peer.url).await.unwrap().status, 307);
    assert_eq!(peer.requests().concat().matches("POST").count(), 1);
}

#[tokio::test]
async fn an_answer_of_256_kib_is_whole_and_a_longer_one_is_cut() {
    static WHOLE: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| long_answer(MAX_ANSWER_BYTES));
    static LONGER: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| long_answer(MAX_ANSWER_BYTES + 1));
    let client = client();
    for (text, truncated) in [(WHOLE.as_slice(), false), (LONGER.as_slice(), true)] {
        let peer = Peer::start(vec![Move::Answer(text)]).await;
        let answer = post(&client, &peer.url).await.unwrap();
        assert_eq!(answer.truncated, truncated);
        assert!(answer.body.len() <= MAX_ANSWER_BYTES);
    }
}

fn long_answer(length: usize) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    text.resize(text.len() + length, b'x');
    text
}

#[tokio::test]
async fn a_body_closed_by_its_sender_is_never_handed_out() {
    use http_body::Body as _;
    let stage = Arc::new(AtomicU8::new(WAITING));
    let permit = SendPermit::for_the_next(Duration::from_secs(60));
    let mut body = GuardedBody { bytes: Some(Bytes::from_static(BODY)), permit, stage: stage.clone() };
    assert_eq!(close(&stage), WAITING);
    let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
    assert!(matches!(frame, Some(Err(PermitEnded))));

    let stage = Arc::new(AtomicU8::new(WAITING));
    let mut body = GuardedBody { bytes: Some(Bytes::from_static(BODY)), permit, stage: stage.clone() };
    assert!(matches!(std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await, Some(Ok(_))));
    assert_eq!(close(&stage), DISPATCHED);
}

/// A server that answers every request and closes at once, which clients notice late. Counts how often it saw each body.
async fn closing_server(seen: Arc<Mutex<std::collections::BTreeMap<String, usize>>>, lifecycle: &Lifecycle) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let life = lifecycle.clone();
    lifecycle.spawn(async move {
        while !life.is_stopping() {
            let Ok((mut stream, _)) = listener.accept().await else { continue };
            let seen = seen.clone();
            life.spawn(async move {
                let mut read = Vec::new();
                let mut chunk = [0; 1024];
                while !read.ends_with(b"}") {
                    let Ok(length @ 1..) = stream.read(&mut chunk).await else { break };
                    read.extend_from_slice(&chunk[..length]);
                }
                let text = String::from_utf8_lossy(&read).into_owned();
                if let Some(start) = text.find('{') {
                    *seen.lock().unwrap().entry(text[start..].to_owned()).or_default() += 1;
                    let _ = stream.write_all(OK).await;
                }
            });
        }
    });
    url
}

/// Whatever happens to the connection and however short the time: nothing is seen twice, nothing that counts as not sent is
/// ever seen, and every answer belongs to a request that was seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_race_with_closing_connections_or_time_outs_sends_twice_or_lies() {
    let seen = Arc::new(Mutex::new(std::collections::BTreeMap::new()));
    let lifecycle = Lifecycle::new();
    let url = closing_server(seen.clone(), &lifecycle).await;
    let mut results = Vec::new();
    for micros in [30_000_000, 300, 600, 900, 1200] {
        let client = CreateClient::new(Duration::from_secs(5), Duration::from_micros(micros)).unwrap();
        for number in 0..200 {
            let body = format!("{{\"n\":\"{micros}-{number}\"}}");
            let permit = SendPermit::for_the_next(Duration::from_secs(60));
            let result = client.post(&url, HeaderMap::new(), Bytes::from(body.clone()), permit).await;
            results.push((body, result));
        }
    }
    // What was under way arrives.
    clock::sleep(Duration::from_millis(200)).await;
    lifecycle.abort();
    let seen = seen.lock().unwrap();
    for (body, result) in results {
        let times = seen.get(&body).copied().unwrap_or(0);
        match result {
            Ok(_) => assert_eq!(times, 1, "{body}"),
            Err(NoAnswer::NotSent { .. }) => assert_eq!(times, 0, "{body} was seen"),
            Err(NoAnswer::InDoubt { .. }) => assert!(times <= 1, "{body} was seen {times} times"),
        }
    }
}
