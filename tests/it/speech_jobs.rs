//! Audio jobs through the front door: an event on the queue, the simulated speech server (tones that carry text), an outcome.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use voxd::audio::{AudioFormat, Decoder, Encoder, Encoding, Pick};
use voxd::lifecycle::Lifecycle;
use voxd::sim::openai::{Asked, Fault, OpenAiOptions, OpenAiSim};
use voxd::sim::tones::{self, ToneDecoder};

use crate::harness::{Receiver, World, WorldOptions, create_queue, eventually, status};

struct Stage {
    world: World,
    sim: OpenAiSim,
}

impl Stage {
    async fn new(settings: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sim = OpenAiSim::start(listener, OpenAiOptions::default()).unwrap();
        let mut environment = sim.environment();
        let always = [
            ("VOXD_SPEECH__ENGINE", "openai"),
            ("VOXD_SPEECH__OPENAI__TRIES", "1"),
            ("VOXD_SPEECH__JOBS__RETRY_INITIAL", "100ms"),
            ("VOXD_SPEECH__JOBS__RETRY_MAX", "200ms"),
            ("VOXD_OUTCOME_QUEUE", "outcomes"),
        ];
        let pairs = always.iter().chain(settings).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        environment.extend(pairs);
        let world = World::with(WorldOptions { environment, ..WorldOptions::default() }).await;
        create_queue(&world.sqs, "outcomes", json!({})).await;
        Self { world, sim }
    }

    /// `(status, status_reason, result)`
    async fn job(&self, id: &str) -> Option<(String, Option<String>, Option<Value>)> {
        sqlx::query_as("select status, status_reason, result from speech_jobs where event_id = $1")
            .bind(id)
            .fetch_optional(&self.world.db)
            .await
            .unwrap()
    }

    async fn completed(&self, id: &str) -> Value {
        let end = self.ended(id).await;
        assert_eq!((end.0.as_str(), end.1.as_deref()), ("completed", None), "{id}: {end:?}");
        end.2.unwrap()
    }

    async fn failed(&self, id: &str) -> String {
        let end = self.ended(id).await;
        assert_eq!(end.0, "failed", "{id}: {end:?}");
        end.1.unwrap()
    }

    async fn ended(&self, id: &str) -> (String, Option<String>, Option<Value>) {
        eventually(&format!("{id} ends"), async || {
            self.job(id).await.filter(|(status, ..)| ["completed", "failed"].contains(&status.as_str()))
        })
        .await
    }

    async fn outcomes(&self) -> Vec<Value> {
        eventually("the outbox is empty", async || {
            let open = "select count(*) from outbox where delivered_at is null and abandoned_at is null";
            (self.world.count(open).await == 0).then_some(())
        })
        .await;
        let messages = self.world.receive("outcomes").await;
        messages.iter().map(|message| serde_json::from_str(message["Body"].as_str().unwrap()).unwrap()).collect()
    }

    /// Texts of what the server was given, without what it spoiled.
    fn heard(&self) -> Vec<String> {
        let text = |asked: Asked| match asked {
            Asked::Heard { text, spoiled: false, .. } => Some(text),
            _ => None,
        };
        self.sim.asked().into_iter().filter_map(text).collect()
    }
}

fn event(kind: &str, id: &str, data: Value) -> Value {
    json!({ "specversion": "1.0", "source": "test", "id": id, "type": kind, "data": data })
}

fn transcribe(id: &str, data: Value) -> Value {
    event("voice.audio.transcribe_requested", id, data)
}

fn synthesize(id: &str, data: Value) -> Value {
    event("voice.speech.synthesize_requested", id, data)
}

fn file(samples: &[i16], encoding: Encoding, rate_hz: u32) -> Vec<u8> {
    Encoder::file(tones::RATE_HZ, AudioFormat::new(encoding, rate_hz, 1).unwrap(), samples).unwrap()
}

fn wav(text: &str) -> Vec<u8> {
    file(&tones::encode(text), Encoding::Wav, tones::RATE_HZ)
}

fn heard_in(bytes: &[u8], format: AudioFormat) -> String {
    let decoder = Decoder::new(format, Pick::Mix, tones::RATE_HZ).unwrap();
    let (samples, _) = decoder.whole(bytes, Duration::from_secs(600)).unwrap();
    let mut decoder = ToneDecoder::default();
    let mut heard = decoder.push(&samples);
    heard.extend(decoder.finish());
    tones::transcript(&heard)
}

/// Files by path, over HTTP and as an S3 store: `PUT` keeps, `GET` gives.
#[derive(Clone)]
struct Files {
    url: String,
    kept: Arc<Mutex<BTreeMap<String, Bytes>>>,
    lifecycle: Lifecycle,
}

impl Files {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let kept: Arc<Mutex<BTreeMap<String, Bytes>>> = Arc::default();
        let files = kept.clone();
        let router = Router::new().fallback(move |method: Method, uri: Uri, body: Bytes| {
            let files = files.clone();
            async move {
                let mut files = files.lock().unwrap();
                if method == Method::PUT {
                    files.insert(uri.path().to_owned(), body);
                    return StatusCode::OK.into_response();
                }
                match files.get(uri.path()) {
                    Some(bytes) => bytes.clone().into_response(),
                    None => {
                        let error = "<Error><Code>NoSuchKey</Code><Message>There is no such key.</Message></Error>";
                        (StatusCode::NOT_FOUND, error).into_response()
                    }
                }
            }
        });
        let lifecycle = Lifecycle::new();
        lifecycle.spawn(async move { axum::serve(listener, router).await });
        Self { url, kept, lifecycle }
    }

    fn keep(&self, path: &str, bytes: Vec<u8>) {
        self.kept.lock().unwrap().insert(path.to_owned(), bytes.into());
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.lifecycle.abort();
    }
}

#[tokio::test]
async fn a_recording_in_a_message_becomes_its_exact_text_once() {
    let stage = Stage::new(&[]).await;
    let _daemon = stage.world.daemon().await;
    let text = "Guten Tag größer 東京 yes yes";
    let sound = file(&tones::encode(text), Encoding::Mulaw, 8000);
    let data = json!({ "audio": STANDARD.encode(sound), "format": "mulaw", "language": "de-DE", "metadata": { "campaign_id": "9" } });
    let wanted = transcribe("once", data.clone());
    stage.world.enqueue(&wanted).await;
    stage.world.enqueue(&wanted).await;
    let result = stage.completed("once").await;
    assert_eq!((&result["text"], &result["language"]), (&json!(text), &json!("de-DE")), "{result}");
    let words: Vec<&str> =
        result["words"].as_array().unwrap().iter().map(|word| word["word"].as_str().unwrap()).collect();
    assert_eq!(words.join(" "), text);
    assert!(result["confidence"].as_f64().is_some_and(|confidence| confidence > 0.5), "{result}");
    stage.world.until_empty("jobs").await;
    stage.world.enqueue(&wanted).await;
    let mut other = wanted.clone();
    other["data"]["language"] = json!("en-US");
    stage.world.enqueue(&other).await;
    stage.world.until_empty("jobs").await;
    assert_eq!(stage.world.count("select count(*) from speech_jobs").await, 1);
    assert_eq!(stage.world.count("select count(*) from rejected_messages where reason = 'key_reused'").await, 1);
    assert_eq!(stage.heard(), [text], "heard once");

    let outcomes = stage.outcomes().await;
    let told: Vec<&Value> = outcomes.iter().filter(|event| event["type"] == "voice.audio.transcribed").collect();
    let [event] = told[..] else { panic!("{outcomes:?}") };
    let data = &event["data"];
    assert_eq!((&data["id"], &data["source"], &data["status"]), (&json!("once"), &json!("test"), &json!("completed")));
    assert_eq!((&data["text"], &data["metadata"]["campaign_id"]), (&json!(text), &json!("9")), "{data}");
    assert_eq!(data["engine"], "openai");
    assert_eq!(
        stage.world.count("select count(*) from speech_jobs where input is not null").await,
        0,
        "it is not kept"
    );
}

#[tokio::test]
async fn a_text_becomes_sound_that_says_it() {
    let stage = Stage::new(&[]).await;
    let _daemon = stage.world.daemon().await;
    let text = "Your appointment is at ten";
    let data = json!({ "text": text, "format": "mulaw", "metadata": { "n": 1 } });
    stage.world.enqueue(&synthesize("said", data)).await;
    stage.world.enqueue(&synthesize("ssml", json!({ "ssml": "<speak>Hello</speak>" }))).await;
    let result = stage.completed("said").await;
    let format = AudioFormat::from_name("mulaw", None).unwrap();
    let kept: Vec<u8> = sqlx::query_scalar("select output from speech_jobs where event_id = 'said'")
        .fetch_one(&stage.world.db)
        .await
        .unwrap();
    assert_eq!(heard_in(&kept, format), text);
    assert_eq!((&result["format"], &result["sample_rate"]), (&json!("mulaw"), &json!(8000)));
    assert_eq!(result["bytes"], json!(kept.len()));
    assert_eq!(stage.failed("ssml").await, "engine_refused");
    let outcomes = stage.outcomes().await;
    let told = outcomes.iter().find(|event| event["data"]["id"] == "said").unwrap();
    assert_eq!(told["type"], "voice.speech.synthesized");
    assert_eq!(STANDARD.decode(told["data"]["audio"].as_str().unwrap()).unwrap(), kept);
    let failed = outcomes.iter().find(|event| event["data"]["id"] == "ssml").unwrap();
    assert_eq!((&failed["data"]["status"], &failed["data"]["reason"]), (&json!("failed"), &json!("engine_refused")));
}

#[tokio::test]
async fn a_crash_between_chunks_hears_nothing_twice_and_loses_nothing() {
    let stage = Stage::new(&[("VOXD_SPEECH__JOBS__CHUNK", "4s")]).await;
    let mut dying = stage.world.unready_daemon(&[("VOXD_TEST_FAULT", "chunk_kept:2=crash")]).await;
    let sentences = ["one two three four", "five six seven eight", "nine ten eleven", "twelve and the rest", "goodbye"];
    let pause = vec![0; 8000];
    let samples: Vec<i16> = sentences.iter().flat_map(|text| [tones::encode(text), pause.clone()].concat()).collect();
    let data = json!({ "audio": STANDARD.encode(file(&samples, Encoding::Mulaw, 8000)), "format": "mulaw" });
    stage.world.enqueue(&transcribe("long", data)).await;
    eventually("the daemon dies after the second chunk", async || dying.has_ended().then_some(())).await;
    let kept = "select count(*) from speech_job_chunks";
    assert_eq!(stage.world.count(kept).await, 2);
    assert!(stage.world.count("select done_ms from speech_jobs").await > 0, "its progress shows");
    let before = stage.heard().len();
    assert_eq!(before, 2);
    let _heir = stage.world.daemon().await;
    let result = stage.completed("long").await;
    assert_eq!(result["text"], json!(sentences.join(" ")), "{result}");
    assert_eq!(stage.heard().join(" "), sentences.join(" "), "each chunk was heard once");
    let starts: Vec<u64> =
        result["words"].as_array().unwrap().iter().map(|word| word["start_ms"].as_u64().unwrap()).collect();
    assert!(
        starts.is_sorted() && starts.last().is_some_and(|last| *last > 9_000),
        "on the recording's clock: {starts:?}"
    );
    assert_eq!(stage.world.count(kept).await, 0, "what is told is kept once");
    let told = stage.outcomes().await;
    assert_eq!(told.iter().filter(|event| event["type"] == "voice.audio.transcribed").count(), 1);
}

#[tokio::test]
async fn a_replica_that_was_stopped_too_long_changes_nothing() {
    let stage = Stage::new(&[]).await;
    let stopped = stage.world.unready_daemon(&[("VOXD_TEST_FAULT", "chunk_heard=stop")]).await;
    stage.world.enqueue(&transcribe("slow", json!({ "audio": STANDARD.encode(wav("taken over")) }))).await;
    eventually("the first replica stops", async || stopped.is_stopped().then_some(())).await;
    let _heir = stage.world.daemon().await;
    assert_eq!(stage.completed("slow").await["text"], "taken over");
    stopped.signal(rustix::process::Signal::CONT);
    eventually("it sees that it was overtaken", async || stopped.log().contains("overtaken").then_some(())).await;
    assert_eq!(stage.world.count("select count(*) from outbox").await, 1);
}

#[tokio::test]
async fn what_cannot_be_a_job_is_rejected_with_its_field() {
    let stage = Stage::new(&[]).await;
    let _daemon = stage.world.daemon().await;
    let good = STANDARD.encode(wav("x"));
    let cases = [
        ("base64", transcribe("base64", json!({ "audio": "not base64!" })), "/data/audio"),
        ("format", transcribe("format", json!({ "audio": good, "format": "mp3" })), "/data/format"),
        (
            "both",
            transcribe("both", json!({ "audio": good, "audio_url": "https://example.com/a.wav" })),
            "/data/audio_url",
        ),
        ("scheme", transcribe("scheme", json!({ "audio_url": "file:///etc/passwd" })), "/data/audio_url"),
        ("field", synthesize("field", json!({ "text": "x", "voise": "y" })), "/data/voise"),
    ];
    for (_, event, _) in &cases {
        stage.world.enqueue(event).await;
    }
    stage.world.until_empty("jobs").await;
    for (id, _, path) in cases {
        let found: (String, String) =
            sqlx::query_as("select reason, field_path from rejected_messages where event_id = $1")
                .bind(id)
                .fetch_one(&stage.world.db)
                .await
                .unwrap();
        assert_eq!((found.0.as_str(), found.1.as_str()), ("schema", path), "{id}");
    }
    assert_eq!(stage.world.count("select count(*) from speech_jobs").await, 0);
}

#[tokio::test]
async fn a_private_address_is_not_asked_for_a_recording() {
    let stage = Stage::new(&[]).await;
    let _daemon = stage.world.daemon().await;
    let receiver = Receiver::start(|_| status(200)).await;
    let address = receiver.url.replace("http:", "https:");
    stage.world.enqueue(&transcribe("private", json!({ "audio_url": address }))).await;
    stage.world.enqueue(&transcribe("plain", json!({ "audio_url": "http://example.com/a.wav" }))).await;
    assert_eq!(stage.failed("private").await, "source_forbidden");
    assert_eq!(stage.failed("plain").await, "source_forbidden");
    assert_eq!(receiver.seen().len(), 0);
    assert_eq!(stage.sim.requests(), 0);
}

#[tokio::test]
async fn recordings_are_fetched_and_what_is_wrong_with_them_is_said() {
    let stage = Stage::new(&[
        ("VOXD_EGRESS__ALLOW_PRIVATE_ADDRESSES", "true"),
        ("VOXD_SPEECH__JOBS__MAX_AUDIO", "5s"),
        ("VOXD_SPEECH__JOBS__MAX_BYTES", "400000"),
    ])
    .await;
    let _daemon = stage.world.daemon().await;
    let files = Files::start().await;
    files.keep("/good.wav", wav("fetched over http"));
    files.keep("/long.wav", file(&vec![0; 16_000 * 6], Encoding::Wav, 16_000));
    files.keep("/large.wav", vec![0; 400_001]);
    files.keep("/page.wav", b"<html>no sound</html>".to_vec());
    let failing = Receiver::start(|n| match n {
        0 => status(503),
        _ => Response::new(wav("the second time").into()),
    })
    .await;
    let url = |path: &str| json!({ "audio_url": format!("{}{path}", files.url) });
    stage.world.enqueue(&transcribe("good", url("/good.wav"))).await;
    stage.world.enqueue(&transcribe("later", json!({ "audio_url": failing.url }))).await;
    let bad = [("long", "too_long"), ("large", "too_large"), ("page", "bad_audio"), ("missing", "source_refused")];
    for (name, _) in bad {
        stage.world.enqueue(&transcribe(name, url(&format!("/{name}.wav")))).await;
    }
    assert_eq!(stage.completed("good").await["text"], "fetched over http");
    assert_eq!(stage.completed("later").await["text"], "the second time");
    for (name, reason) in bad {
        assert_eq!(stage.failed(name).await, reason, "{name}");
    }
}

#[tokio::test]
async fn an_engine_that_fails_is_asked_again_until_the_tries_are_used_up() {
    let stage = Stage::new(&[("VOXD_SPEECH__JOBS__MAX_TRIES", "3")]).await;
    let _daemon = stage.world.daemon().await;
    stage.sim.spoil([Fault::Status(500), Fault::Busy { retry_after: 0 }]);
    stage.world.enqueue(&transcribe("passing", json!({ "audio": STANDARD.encode(wav("in the end")) }))).await;
    assert_eq!(stage.completed("passing").await["text"], "in the end");
    stage.sim.spoil(vec![Fault::Status(503); 3]);
    stage.world.enqueue(&synthesize("hopeless", json!({ "text": "never said" }))).await;
    assert_eq!(stage.failed("hopeless").await, "engine_unavailable");
    let before = stage.sim.requests();
    stage.sim.spoil([Fault::Status(400)]);
    stage.world.enqueue(&synthesize("refused", json!({ "text": "refused" }))).await;
    assert_eq!(stage.failed("refused").await, "engine_refused");
    assert_eq!(stage.sim.requests(), before + 1);
}

#[tokio::test]
async fn without_an_engine_a_job_fails_and_says_so() {
    let stage = Stage::new(&[("VOXD_SPEECH__ENGINE", "")]).await;
    let _daemon = stage.world.daemon_with(&[("VOXD_SPEECH__ENGINE", "")]).await;
    stage.world.enqueue(&synthesize("off", json!({ "text": "Hello" }))).await;
    assert_eq!(stage.failed("off").await, "speech_off");
}

#[tokio::test]
async fn recordings_come_from_s3_and_sound_goes_there() {
    let files = Files::start().await;
    files.keep("/voices/in/a%20b.wav", wav("out of the bucket"));
    let stage = Stage::new(&[("AWS_ENDPOINT_URL_S3", &files.url)]).await;
    let _daemon = stage.world.daemon().await;
    stage.world.enqueue(&transcribe("from", json!({ "audio_url": "s3://voices/in/a%20b.wav" }))).await;
    stage.world.enqueue(&transcribe("gone", json!({ "audio_url": "s3://voices/none.wav" }))).await;
    let data = json!({ "text": "into the bucket", "output_url": "s3://voices/out/hello.wav" });
    stage.world.enqueue(&synthesize("to", data)).await;
    assert_eq!(stage.completed("from").await["text"], "out of the bucket");
    assert_eq!(stage.failed("gone").await, "s3_refused");
    assert_eq!(stage.completed("to").await["output_url"], "s3://voices/out/hello.wav");
    let written = files.kept.lock().unwrap()["/voices/out/hello.wav"].clone();
    assert_eq!(heard_in(&written, AudioFormat::from_name("wav", None).unwrap()), "into the bucket");
    assert_eq!(stage.world.count("select count(*) from speech_jobs where output is not null").await, 0);
}
