//! Recordings into sessions and speech out of them, with the simulated Google: what comes out went through every codec.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonic::Code;
use uuid::Uuid;
use voxd::audio::{AudioFormat, Decoder, Encoder, Encoding, Pick};
use voxd::sim::google::{Call, Fault, GoogleOptions, GoogleSim, Method, What, When};
use voxd::sim::tones;

use crate::harness::{Api, Daemon, PATIENCE, Reply, World, eventually, reply};
use crate::sessions::{begin, id_of, status, world};

const TEXT: &str = "the quick brown fox jumps over the lazy dog";

struct Talk {
    world: World,
    daemon: Daemon,
    google: GoogleSim,
    api: Api,
}

impl Talk {
    async fn new(environment: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let google = GoogleSim::start(listener, GoogleOptions { speed: 50.0, ..GoogleOptions::default() }).unwrap();
        let endpoint = google.endpoint();
        let mut all = vec![
            ("VOXD_SPEECH__ENGINE", "google"),
            ("VOXD_SPEECH__GOOGLE__STT_ENDPOINT", &endpoint),
            ("VOXD_SPEECH__GOOGLE__TTS_ENDPOINT", &endpoint),
        ];
        all.extend_from_slice(environment);
        let world = world(&all).await;
        let daemon = world.daemon().await;
        let api = world.api(&daemon, "user").await;
        Self { world, daemon, google, api }
    }

    fn post(&self, path: &str) -> RequestBuilder {
        reqwest::Client::new().post(format!("{}{path}", self.daemon.base_url)).bearer_auth(self.api.key())
    }

    /// The sound itself as the body.
    async fn raw(&self, session: Uuid, media: &str, sound: Vec<u8>) -> Reply {
        let path = format!("/api/voice/process-audio/?session_id={session}");
        reply(self.post(&path).header("content-type", media).body(sound)).await
    }

    async fn json(&self, session: Uuid, sound: &[u8], format: AudioFormat) -> Reply {
        let body = json!({ "session_id": session, "audio": STANDARD.encode(sound), "format": format.encoding.name(), "sample_rate": format.rate_hz });
        self.api.post("/api/voice/process-audio/", &body).await
    }

    async fn counts(&self) -> (i64, i64) {
        let (chunks, turns) = ("select count(*) from audio_chunks", "select count(*) from conversation_turns");
        (self.world.count(chunks).await, self.world.count(turns).await)
    }

    fn asked(&self, method: Method) -> Vec<Call> {
        self.google.calls_of(method)
    }
}

/// Half a second of silence around what is said.
fn spoken(texts: &[&str], pause: f64) -> Vec<i16> {
    let silence = vec![0; (f64::from(tones::RATE_HZ) * pause) as usize];
    let mut samples = silence.clone();
    for text in texts {
        samples.extend(tones::encode(text));
        samples.extend(&silence);
    }
    samples
}

fn file(encoding: Encoding, rate_hz: u32, samples: &[i16]) -> (AudioFormat, Vec<u8>) {
    let format = AudioFormat { encoding, rate_hz, channels: 1 };
    (format, Encoder::file(tones::RATE_HZ, format, samples).unwrap())
}

fn understood(format: AudioFormat, bytes: &[u8]) -> String {
    let decoder = Decoder::new(format, Pick::Mix, tones::RATE_HZ).unwrap();
    let (samples, cut) = decoder.whole(bytes, Duration::from_secs(600)).unwrap();
    assert!(!cut, "the file is whole");
    let mut ears = tones::ToneDecoder::default();
    let mut heard = ears.push(&samples);
    heard.extend(ears.finish());
    tones::transcript(&heard)
}

#[track_caller]
fn problem(reply: &Reply, status: u16, kind: &str) -> String {
    assert_eq!(
        (reply.status, &reply.body["type"]),
        (status, &json!(format!("urn:voxd:problem:{kind}"))),
        "{}",
        reply.body
    );
    reply.body["detail"].as_str().expect("a detail").to_owned()
}

#[tokio::test]
async fn uploads_of_every_format_are_understood_word_for_word() {
    let talk = Talk::new(&[]).await;
    let session = begin(&talk.api).await;
    let samples = spoken(&[TEXT], 0.5);
    let length = samples.len() as u64 * 1000 / u64::from(tones::RATE_HZ);
    let words: Vec<&str> = TEXT.split(' ').collect();
    let shapes = [
        (Encoding::Wav, 16_000),
        (Encoding::Wav, 44_100),
        (Encoding::Pcm16, 8000),
        (Encoding::Pcm16, 16_000),
        (Encoding::Mulaw, 8000),
        (Encoding::Alaw, 8000),
        (Encoding::Opus, 16_000),
    ];
    for (encoding, rate_hz) in shapes {
        let (format, sound) = file(encoding, rate_hz, &samples);
        let media = format.mime();
        for heard in [talk.json(session, &sound, format).await, talk.raw(session, &media, sound).await] {
            assert_eq!((heard.status, &heard.body["transcription"]), (200, &json!(TEXT)), "{format:?}: {}", heard.body);
            assert_eq!(id_of(&heard.body["session_id"]), session);
            assert!(heard.body["confidence"].as_f64().is_some_and(|share| share > 0.9), "{}", heard.body);
            let got: Vec<&str> =
                heard.body["words"].as_array().unwrap().iter().map(|word| word["word"].as_str().unwrap()).collect();
            assert_eq!(got, words, "{format:?}");
            let took = heard.body["duration_ms"].as_u64().unwrap();
            assert!(took.abs_diff(length) <= 25, "{format:?}: {took} of {length} ms");
            assert_eq!((&heard.body["language"], &heard.body["truncated"]), (&json!("en-US"), &json!(false)));
        }
    }
    let all = 2 * shapes.len() as i64;
    assert_eq!(talk.counts().await, (all, all));
    let shown = status(&talk.api, session).await;
    let conversation = shown["conversation"].as_array().unwrap();
    assert!(conversation.iter().all(|turn| turn["text"] == TEXT && turn["speaker"] == "user"), "{shown}");
    // One behind the other on the session's clock.
    let starts: Vec<i64> = conversation.iter().map(|turn| turn["start_ms"].as_i64().unwrap()).collect();
    assert!(starts.is_sorted() && starts[1] - starts[0] >= length as i64 - 50, "{starts:?}");
    assert!((shown["heard_ms"].as_i64().unwrap() - all * length as i64).abs() < all * 25, "{shown}");
    let log = talk.daemon.log();
    assert!(!log.contains("quick brown"), "a transcript is in the log");
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_its_place_and_leaves_no_trace() {
    let talk =
        Talk::new(&[("VOXD_SESSIONS__MAX_UPLOAD_BYTES", "400000"), ("VOXD_SESSIONS__LONGEST_UPLOAD", "5s")]).await;
    let session = begin(&talk.api).await;
    let mut broken = file(Encoding::Wav, 16_000, &spoken(&["one"], 0.1)).1;
    broken[20] = 0x55;
    let said = problem(&talk.raw(session, "audio/wav", broken).await, 422, "invalid");
    assert!(said.starts_with("/audio: byte "), "{said}");
    let no_file = problem(&talk.raw(session, "audio/ogg", b"no ogg at all".to_vec()).await, 422, "invalid");
    assert!(no_file.starts_with("/audio: byte 0: "), "{no_file}");
    let long = file(Encoding::Mulaw, 8000, &[0; 90_000]).1;
    let too_long = problem(&talk.raw(session, "audio/basic", long).await, 413, "too_large");
    assert!(too_long.contains("more than 5s of sound"), "{too_long}");
    let too_large = talk.raw(session, "audio/l16;rate=16000", vec![0; 400_001]).await;
    assert_eq!(problem(&too_large, 413, "too_large"), "the body has more than 400000 bytes");
    let as_json = talk.json(session, &vec![0; 400_002], AudioFormat::PCM16_16K).await;
    assert_eq!(problem(&as_json, 413, "too_large"), "the sound has 400002 bytes, expected at most 400000");
    assert_eq!(
        problem(&talk.raw(session, "audio/l16;rate=16000", Vec::new()).await, 422, "invalid"),
        "/audio: holds no sound"
    );
    let rate = problem(&talk.raw(session, "audio/l16", vec![0; 32]).await, 415, "unsupported_media_type");
    assert!(rate.contains("the rate is missing"), "{rate}");
    let video = problem(&talk.raw(session, "video/mp4", vec![0; 32]).await, 415, "unsupported_media_type");
    assert!(video.contains("application/json"), "{video}");
    let body = |audio: &str, format: &str, rate: u32| json!({ "session_id": session, "audio": audio, "format": format, "sample_rate": rate });
    for (wrong, wanted) in [
        (body("AAA*", "pcm16", 16_000), "/audio: is not base64: "),
        (body("AAAA", "mp3", 16_000), "/format: format \"mp3\", expected one of wav, pcm16, mulaw, alaw, opus"),
        (body("AAAA", "pcm16", 12_345), "/sample_rate: a sample rate of 12345 Hz, expected one of "),
    ] {
        let detail = problem(&talk.api.post("/api/voice/process-audio/", &wrong).await, 422, "invalid");
        assert!(detail.starts_with(wanted), "{detail}");
    }
    let nowhere = reply(talk.post("/api/voice/process-audio/").header("content-type", "audio/wav").body("x")).await;
    assert!(problem(&nowhere, 400, "bad_request").starts_with("/session_id: is missing"));
    assert_eq!(talk.counts().await, (0, 0));
    assert!(talk.asked(Method::Recognize).is_empty(), "none of it went to the engine");
}

#[tokio::test]
async fn a_recording_longer_than_the_engine_takes_is_cut_at_silence_and_comes_back_whole() {
    let talk = Talk::new(&[]).await;
    let session = begin(&talk.api).await;
    let sentences: Vec<String> = (0..30).map(|n| format!("sentence number {n} of a long recording is over")).collect();
    let texts: Vec<&str> = sentences.iter().map(String::as_str).collect();
    let samples = spoken(&texts, 0.8);
    let seconds = samples.len() as f64 / f64::from(tones::RATE_HZ);
    assert!(seconds > 130.0, "{seconds}");
    let (format, sound) = file(Encoding::Mulaw, 8000, &samples);
    let heard = talk.raw(session, &format.mime(), sound).await;
    assert_eq!((heard.status, &heard.body["transcription"]), (200, &json!(texts.join(" "))));
    let asked = talk.asked(Method::Recognize);
    assert!(asked.len() >= 3 && asked.iter().all(|call| call.audio <= Duration::from_secs(60)), "{}", asked.len());
    let sent: f64 = asked.iter().map(|call| call.audio.as_secs_f64()).sum();
    assert!((sent - seconds).abs() < 0.01, "each sample once: {sent} of {seconds} s");
    let finals: Vec<String> = asked.iter().flat_map(|call| call.finals.clone()).collect();
    assert_eq!(finals.join(" "), texts.join(" "), "in their order");
    let starts: Vec<u64> =
        heard.body["words"].as_array().unwrap().iter().map(|word| word["start_ms"].as_u64().unwrap()).collect();
    assert!(starts.is_sorted() && starts.last().unwrap() / 1000 > 120, "times count from the recording's beginning");
}

#[tokio::test]
async fn where_nothing_is_said_there_is_a_chunk_and_no_turn() {
    let talk = Talk::new(&[]).await;
    let session = begin(&talk.api).await;
    let heard = talk.raw(session, "audio/l16;rate=8000", vec![0; 16_000]).await;
    assert_eq!((heard.status, &heard.body["transcription"], &heard.body["turn_id"]), (200, &json!(""), &Value::Null));
    assert_eq!((&heard.body["duration_ms"], &heard.body["words"]), (&json!(1000), &json!([])));
    assert_eq!(talk.counts().await, (1, 0));
}

#[tokio::test]
async fn sound_is_kept_where_the_configuration_says_so_and_the_session_tells_how_to_listen() {
    let talk = Talk::new(&[]).await;
    let config = json!({ "language": "de-DE", "record_audio": true, "phrases": [{ "text": "voxd", "boost": 5.0 }] });
    assert_eq!(talk.api.put("/api/voice/config/", &config).await.status, 200);
    let session = begin(&talk.api).await;
    let (_, sound) = file(Encoding::Wav, 16_000, &spoken(&["eins zwei"], 0.3));
    let heard = talk.raw(session, "audio/wav", sound.clone()).await;
    assert_eq!(
        (heard.status, &heard.body["transcription"], &heard.body["language"]),
        (200, &json!("eins zwei"), &json!("de-DE"))
    );
    let kept: (Vec<u8>, String, i64) =
        sqlx::query_as("select audio, format, bytes from audio_chunks").fetch_one(&talk.world.db).await.unwrap();
    assert_eq!(kept, (sound.clone(), "wav".into(), sound.len() as i64));
    let path = format!("/api/voice/process-audio/?session_id={session}&language=fr-FR");
    let french = reply(talk.post(&path).header("content-type", "audio/wav").body(sound)).await;
    assert_eq!((french.status, &french.body["language"]), (200, &json!("fr-FR")));
    let languages: Vec<Vec<String>> =
        talk.asked(Method::Recognize).into_iter().filter_map(|call| Some(call.config?.language_codes)).collect();
    assert_eq!(languages, [["de-DE"], ["fr-FR"]]);
}

#[tokio::test]
async fn speech_comes_as_json_or_as_the_sound_itself_and_says_what_was_asked() {
    let talk = Talk::new(&[]).await;
    let session = begin(&talk.api).await;
    let text = "Good morning, Ada. How are you?";
    for (encoding, name) in Encoding::ALL.map(|encoding| (encoding, encoding.name())) {
        let wish = json!({ "session_id": session, "text": text, "format": name });
        let said = talk.api.post("/api/voice/generate-speech/", &wish).await;
        assert_eq!((said.status, &said.body["format"]), (200, &json!(name)), "{}", said.body);
        let rate_hz = said.body["sample_rate"].as_u64().unwrap() as u32;
        let sound = STANDARD.decode(said.body["audio"].as_str().unwrap()).unwrap();
        assert_eq!(understood(AudioFormat { encoding, rate_hz, channels: 1 }, &sound), text, "{name}");
        assert!(said.body["duration_ms"].as_u64().unwrap() > 1000 && said.body["turn_id"].is_string());
        assert_eq!(id_of(&said.body["session_id"]), session);
    }
    let shown = status(&talk.api, session).await;
    let conversation = shown["conversation"].as_array().unwrap();
    assert_eq!(conversation.len(), Encoding::ALL.len());
    assert!(conversation.iter().all(|turn| turn["speaker"] == "assistant" && turn["text"] == text), "{shown}");

    // Without a session, and as the sound itself.
    for (accept, encoding, rate_hz) in [
        ("audio/wav", Encoding::Wav, 24_000),
        ("audio/basic", Encoding::Mulaw, 8000),
        ("audio/*", Encoding::Wav, 24_000),
    ] {
        let request = talk.post("/api/voice/generate-speech/").header("accept", accept).json(&json!({ "text": text }));
        let answer = request.send().await.unwrap();
        let format = AudioFormat { encoding, rate_hz, channels: 1 };
        assert_eq!(
            (answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap()),
            (200, format.mime().as_str())
        );
        assert_eq!(understood(format, &answer.bytes().await.unwrap()), text, "{accept}");
    }
    let alone = talk.api.post("/api/voice/generate-speech/", &json!({ "text": text })).await;
    assert_eq!((alone.status, &alone.body["session_id"], &alone.body["turn_id"]), (200, &Value::Null, &Value::Null));
    assert_eq!(talk.counts().await.1, Encoding::ALL.len() as i64, "what belongs to no session is no turn");
}

#[tokio::test]
async fn what_is_wrong_with_a_wish_for_speech_is_named() {
    let talk = Talk::new(&[]).await;
    for (wish, wanted) in [
        (json!({ "text": " " }), "/text: has 1 characters"),
        (json!({ "text": "x".repeat(5001) }), "/text: has 5001 characters"),
        (json!({ "text": "x", "speaking_rate": 3 }), "/speaking_rate: expected 0.25 to 2"),
        (json!({ "text": "x", "format": "mp3" }), "/format: format \"mp3\""),
        (json!({ "text": "x", "format": "opus", "sample_rate": 22_050 }), "/sample_rate: Opus at 22050 Hz"),
        (json!({ "text": "x", "speed": 2 }), ": unknown field `speed`"),
    ] {
        let detail = problem(&talk.api.post("/api/voice/generate-speech/", &wish).await, 422, "invalid");
        assert!(detail.contains(wanted), "{detail}");
    }
    let post = |accept: &'static str| {
        talk.post("/api/voice/generate-speech/").header("accept", accept).json(&json!({ "text": "x", "format": "wav" }))
    };
    problem(&reply(post("text/html")).await, 406, "not_acceptable");
    assert_eq!(
        problem(&reply(post("audio/basic")).await, 406, "not_acceptable"),
        "format is wav, and Accept asks for mulaw"
    );
    assert!(talk.asked(Method::StreamingSynthesize).is_empty() && talk.asked(Method::SynthesizeSpeech).is_empty());
}

#[tokio::test]
async fn an_engine_that_fails_says_whether_to_come_again_and_nothing_is_stored() {
    let talk = Talk::new(&[]).await;
    let session = begin(&talk.api).await;
    let sound = file(Encoding::Wav, 16_000, &spoken(&["one"], 0.3)).1;
    for (code, status, kind) in
        [(Code::PermissionDenied, 502, "speech_failed"), (Code::ResourceExhausted, 503, "unavailable")]
    {
        talk.google.set_faults(vec![Fault::refuse(Method::Recognize, None, code, "as ordered")]);
        problem(&talk.raw(session, "audio/wav", sound.clone()).await, status, kind);
    }
    assert_eq!(talk.counts().await, (0, 0));
    talk.google.set_faults(Vec::new());
    eventually("it works again", async || {
        (talk.raw(session, "audio/wav", sound.clone()).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(status(&talk.api, session).await["turns"], 1);
}

#[tokio::test]
async fn a_session_that_ends_gives_up_what_it_listens_to() {
    let talk = Talk::new(&[]).await;
    let session = begin(&talk.api).await;
    let stall = Fault { method: Method::Recognize, call: None, when: When::Open, what: What::Stall };
    talk.google.set_faults(vec![stall]);
    let sound = file(Encoding::Wav, 16_000, &spoken(&["one"], 0.3)).1;
    let hearing = talk.raw(session, "audio/wav", sound);
    let ending = async {
        let asked = talk.google.until(|calls| calls.iter().any(|call| call.method == Method::Recognize));
        tokio::time::timeout(PATIENCE, asked).await.expect("it is being listened to");
        talk.api.post("/api/voice/end/", &json!({ "session_id": session })).await
    };
    let (heard, ended) = tokio::join!(hearing, ending);
    assert_eq!(ended.status, 200);
    assert_eq!(problem(&heard, 409, "session_status"), "the session has the status ended, expected active");
    assert_eq!(talk.counts().await, (0, 0));
}

#[tokio::test]
async fn any_replica_serves_a_session_and_its_turns_keep_their_order() {
    let talk = Talk::new(&[]).await;
    let other = talk.world.daemon().await;
    let session = begin(&talk.api).await;
    let there = talk.world.api(&other, "user").await;
    let said: Vec<String> = (0..6).map(|n| format!("turn {n}")).collect();
    for (n, text) in said.iter().enumerate() {
        let api = if n % 2 == 0 { &there } else { &talk.api };
        let sound = file(Encoding::Wav, 16_000, &spoken(&[text], 0.3)).1;
        let body = json!({ "session_id": session, "audio": STANDARD.encode(sound), "format": "wav" });
        let heard = api.post("/api/voice/process-audio/", &body).await;
        assert_eq!((heard.status, &heard.body["transcription"]), (200, &json!(text)), "{}", heard.body);
    }
    let shown = status(&there, session).await;
    let texts: Vec<&str> =
        shown["conversation"].as_array().unwrap().iter().map(|turn| turn["text"].as_str().unwrap()).collect();
    assert_eq!(texts, said);
    assert_eq!(other.metric("voxd_sessions_active", &[]).await, 0.0, "one replica holds it");
    assert_eq!(talk.api.post("/api/voice/end/", &json!({ "session_id": session })).await.status, 200);
    let late = there.post("/api/voice/generate-speech/", &json!({ "session_id": session, "text": "Hello." })).await;
    problem(&late, 409, "session_status");
}
