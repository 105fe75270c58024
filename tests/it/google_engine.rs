//! The Google engine against the simulated Google, which hears tones that carry text: what comes out proves what went in.
//! Clocks run faster than the machine's; times in transcripts do not.

use std::io::Write as _;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use base64::Engine as _;
use tokio::net::TcpListener;
use tonic::Code;
use voxd::clock;
use voxd::config::{Config, Environment};
use voxd::lifecycle::Lifecycle;
use voxd::sim::google::{Auth, Delay, Ending, Fault, GoogleOptions, GoogleSim, HearingOptions, Method, What, When};
use voxd::sim::tones;
use voxd::speech::{
    Heard, Phrase, Recognition, RecognitionConfig, SpeechErrorKind, SpeechRegistry, SynthesisRequest, Usage, Utterance,
};

use crate::harness::PATIENCE;

const RATE: usize = tones::RATE_HZ as usize;
const SPEED: u32 = 60;

fn options() -> GoogleOptions {
    let hearing = HearingOptions {
        // A busy machine is no reason to be thrown out.
        idle: Duration::from_secs(600),
        pace: 1000.0,
        final_delay: Delay::Fixed(Duration::from_millis(900)),
        ..HearingOptions::default()
    };
    GoogleOptions { speed: f64::from(SPEED), hearing, ..GoogleOptions::default() }
}

fn start(listener: TcpListener, options: GoogleOptions) -> GoogleSim {
    GoogleSim::start(listener, options).unwrap()
}

struct Place {
    sim: GoogleSim,
    lifecycle: Lifecycle,
    registry: SpeechRegistry,
}

/// A simulator, and an engine that asks it; `settings` lie over those that fit the fast clock.
async fn place(options: GoogleOptions, settings: &[(&str, &str)]) -> Place {
    let sim = start(TcpListener::bind(("127.0.0.1", 0)).await.unwrap(), options);
    let endpoint = sim.endpoint();
    let usual = [
        ("ENGINE", "google"),
        ("GOOGLE__STT_ENDPOINT", endpoint.as_str()),
        ("GOOGLE__TTS_ENDPOINT", endpoint.as_str()),
        ("GOOGLE__TIME_FACTOR", "60"),
        ("GOOGLE__ROTATE_AFTER", "4s"),
        ("GOOGLE__MAX_STREAM", "4700ms"),
        ("GOOGLE__DRAIN", "3s"),
        ("GOOGLE__STALL", "10s"),
        ("GOOGLE__KEEP_ALIVE", "4s"),
        // A second of a busy machine is a minute of sound.
        ("GOOGLE__REPLAY_BUFFER", "20m"),
    ];
    let names: Vec<(String, &str)> =
        usual.iter().chain(settings).map(|(name, value)| (format!("VOXD_SPEECH__{name}"), *value)).collect();
    let environment = Environment::from_pairs(names.iter().map(|(name, value)| (name.as_str(), *value)));
    let config = Config::load(None, &environment).unwrap();
    let lifecycle = Lifecycle::new();
    let registry = SpeechRegistry::from_config(&config, &lifecycle);
    Place { sim, lifecycle, registry }
}

fn wanted() -> RecognitionConfig {
    RecognitionConfig {
        language: "en-US".into(),
        model: None,
        rate_hz: tones::RATE_HZ,
        punctuation: false,
        words: true,
        interims: true,
        phrases: Vec::new(),
    }
}

/// Sends in steps of 100 ms, as fast as the fast clock goes.
async fn feed(recognition: &Recognition, sound: &[i16]) {
    feed_at(SPEED, recognition, sound).await;
}

async fn feed_at(speed: u32, recognition: &Recognition, sound: &[i16]) {
    let began = clock::monotonic();
    for (n, part) in sound.chunks(RATE / 10).enumerate() {
        tokio::time::sleep_until(began + Duration::from_millis(100 * n as u64) / speed).await;
        if recognition.sound.send(part.to_vec()).await.is_err() {
            return;
        }
    }
}

/// All that is heard from now on, the sound being over.
async fn rest(recognition: Recognition) -> Vec<Heard> {
    let Recognition { sound, mut heard } = recognition;
    drop(sound);
    let mut told = Vec::new();
    let all = async {
        while let Some(heard) = heard.recv().await {
            told.push(heard);
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("it does not end");
    told
}

/// Feeds and listens at once: what is heard is taken as it comes.
async fn through(place: &Place, config: RecognitionConfig, sound: &[i16]) -> Vec<Heard> {
    through_at(SPEED, place, config, sound).await
}

async fn through_at(speed: u32, place: &Place, config: RecognitionConfig, sound: &[i16]) -> Vec<Heard> {
    let Recognition { sound: sender, mut heard } = place.registry.stt().unwrap().listen(config);
    let feeding = async {
        let (_, nothing) = tokio::sync::mpsc::channel(1);
        let recognition = Recognition { sound: sender, heard: nothing };
        feed_at(speed, &recognition, sound).await;
    };
    let listening = async {
        let mut told = Vec::new();
        while let Some(heard) = heard.recv().await {
            told.push(heard);
        }
        told
    };
    let both = async { tokio::join!(feeding, listening).1 };
    tokio::time::timeout(PATIENCE * 2, both).await.expect("it does not end")
}

fn finals(told: &[Heard]) -> Vec<Utterance> {
    let utterance = |heard: &Heard| match heard {
        Heard::Text(utterance) if utterance.is_final => Some(utterance.clone()),
        _ => None,
    };
    told.iter().filter_map(utterance).collect()
}

fn text(told: &[Heard]) -> String {
    let texts: Vec<String> = finals(told).into_iter().map(|utterance| utterance.text).collect();
    texts.iter().flat_map(|text| text.split_whitespace()).collect::<Vec<_>>().join(" ")
}

fn usage(told: &[Heard]) -> Usage {
    match told.last() {
        Some(Heard::Ended(Ok(usage))) => *usage,
        other => panic!("ended as {other:?}"),
    }
}

/// Utterances of numbered words, pauses of different lengths between, for as long as `seconds`.
fn speech(seconds: usize) -> (String, Vec<i16>) {
    let (mut words, mut sound) = (Vec::new(), vec![0; RATE / 2]);
    for n in 0.. {
        let utterance: Vec<String> = (0..3 + n % 5).map(|k| format!("w{}", words.len() + k)).collect();
        sound.extend(tones::encode(&utterance.join(" ")));
        sound.resize(sound.len() + RATE * (8 + n % 7) / 10, 0);
        words.extend(utterance);
        if sound.len() > seconds * RATE {
            break;
        }
    }
    (words.join(" "), sound)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_exact_text_once_over_seventeen_minutes_of_rotations_breaks_and_stalls() {
    let place = place(options(), &[("GOOGLE__STALL", "3s")]).await;
    let unavailable = || What::Status(Code::Unavailable, "408:Request Timeout".into());
    place.sim.set_faults(vec![
        Fault::hearing(1, When::Sound(Duration::from_secs(47)), unavailable()),
        Fault::hearing(2, When::After(5), What::Stall),
        Fault::hearing(3, When::Open, unavailable()),
        Fault::hearing(
            4,
            When::InsteadOf(3),
            What::Status(Code::Aborted, "Max duration of 5 minutes reached for stream.".into()),
        ),
        Fault::hearing(5, When::Sound(Duration::from_secs(33)), What::Disconnect),
        Fault::hearing(6, When::Sound(Duration::from_secs(20)), What::Reset),
    ]);
    let (said, sound) = speech(17 * 60);
    let told = through(&place, wanted(), &sound).await;
    assert_eq!(text(&told), said);
    usage(&told);
    let calls = place.sim.calls_of(Method::StreamingRecognize);
    assert!(calls.len() >= 9, "{} streams", calls.len());
    for call in &calls {
        assert!(call.largest_message <= 25_600 && call.empty_messages == 0 && call.ragged_messages == 0, "{call:?}");
        assert!(
            !matches!(&call.ending, Some(Ending::Refused(Code::InvalidArgument | Code::OutOfRange, _))),
            "{call:?}"
        );
    }
    let finals = finals(&told);
    assert!(finals.iter().enumerate().all(|(n, utterance)| utterance.number == n as u64));
    assert!(finals.windows(2).all(|two| two[0].end <= two[1].start + Duration::from_millis(50)), "{finals:?}");
}

/// A planned rotation waits for a pause in which all sound is sent. A machine that is too busy to catch up may miss every one
/// of a round; each round must be exact, and one of a few must have rotated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planned_rotations_send_nothing_twice_and_cost_what_google_bills() {
    let mut rounds = Vec::new();
    while rounds.iter().all(|streams| *streams < 2) {
        assert!(rounds.len() < 6, "no round rotated: {rounds:?} streams");
        rounds.push(a_round_of_planned_rotations().await);
    }
}

/// Returns how many streams it took.
async fn a_round_of_planned_rotations() -> usize {
    const SLOWER: u32 = 15;
    // Room for a busy machine: streams may grow old, and are replaced long before.
    let hearing = HearingOptions { age: Duration::from_secs(3000), ..options().hearing };
    let settings = [
        ("GOOGLE__TIME_FACTOR", "15"),
        ("GOOGLE__ROTATE_AFTER", "2s"),
        ("GOOGLE__MAX_STREAM", "45s"),
        ("GOOGLE__DRAIN", "20s"),
    ];
    let place = place(GoogleOptions { hearing, speed: f64::from(SLOWER), ..options() }, &settings).await;
    let (said, sound) = speech(150);
    let told = through_at(SLOWER, &place, wanted(), &sound).await;
    assert_eq!(text(&told), said);
    let calls = place.sim.calls_of(Method::StreamingRecognize);
    assert!(calls.iter().all(|call| call.ending == Some(Ending::Done)), "{calls:?}");
    let sent: Duration = calls.iter().map(|call| call.audio).sum();
    assert!(sent <= Duration::from_secs_f64(sound.len() as f64 / RATE as f64), "{sent:?}");
    let billed: Duration = calls.iter().map(|call| call.billed()).sum();
    assert_eq!(usage(&told).billed, billed);
    let cost = place.registry.stt().unwrap().cost(&usage(&told)).unwrap();
    assert_eq!(cost.currency, "USD");
    assert!(cost.amount > rust_decimal::Decimal::new(3, 2), "{cost}");
    calls.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_sound_brings_what_was_just_said() {
    let place = place(options(), &[]).await;
    let recognition = place.registry.stt().unwrap().listen(wanted());
    feed(&recognition, &tones::encode("no silence behind this")).await;
    let told = rest(recognition).await;
    assert_eq!(text(&told), "no silence behind this");
    assert!(matches!(told.first(), Some(Heard::Started(_))), "{told:?}");
    assert!(told.iter().any(|heard| matches!(heard, Heard::Stopped(_))), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_of_the_source_brings_the_text_and_the_next_sound_opens_a_new_stream() {
    let hearing = HearingOptions { idle: Duration::from_secs(10), ..options().hearing };
    let place = place(GoogleOptions { hearing, ..options() }, &[("GOOGLE__KEEP_ALIVE", "50ms")]).await;
    let mut recognition = place.registry.stt().unwrap().listen(wanted());
    feed(&recognition, &tones::encode("before the pause")).await;
    recognition.sound.send(Vec::new()).await.unwrap();
    let before = async {
        loop {
            match recognition.heard.recv().await.expect("it goes on") {
                Heard::Text(utterance) if utterance.is_final => return utterance.text,
                _ => {}
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, before).await.unwrap(), "before the pause");
    place.sim.until(|calls| calls.iter().all(|call| call.ending.is_some())).await;
    feed(&recognition, &tones::encode("and behind it")).await;
    let told = rest(recognition).await;
    assert_eq!(text(&told), "and behind it");
    let calls = place.sim.calls_of(Method::StreamingRecognize);
    assert_eq!(
        calls.iter().map(|call| call.ending.clone()).collect::<Vec<_>>(),
        [Some(Ending::Done), Some(Ending::Done)]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_speaks_and_nothing_is_sent() {
    let place = place(options(), &[]).await;
    let told = through(&place, wanted(), &vec![0; 60 * RATE]).await;
    assert_eq!(told, [Heard::Ended(Ok(Usage::default()))]);
    assert!(place.sim.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_model_is_asked_for_what_it_takes_and_nothing_fails_the_whole() {
    let place = place(options(), &[]).await;
    let stt = place.registry.stt().unwrap();
    for model in ["long", "latest_long", "telephony", "chirp_2", "chirp_3"] {
        let phrases = vec![Phrase { text: "voxd".into(), boost: 12.5 }];
        let config = RecognitionConfig { model: Some(model.into()), punctuation: true, phrases, ..wanted() };
        let sound = [tones::encode("one two three"), vec![0; RATE]].concat();
        let live = through(&place, config.clone(), &sound).await;
        let whole = stt.recognize(&config, &sound).await.unwrap();
        let bare = |text: &str| text.to_lowercase().replace(['.', ','], "");
        assert_eq!(bare(&text(&live)), "one two three", "{model}");
        assert_eq!(
            whole.utterances.iter().map(|utterance| bare(&utterance.text)).collect::<Vec<_>>(),
            ["one two three"]
        );
        let hearing = stt.hearing(&config);
        let live = finals(&live);
        assert_eq!(live[0].words.len(), if hearing.words { 3 } else { 0 }, "{model}: {live:?}");
        assert_eq!(whole.utterances[0].words.len(), 3, "{model}");
        assert!(live[0].confidence.is_none_or(|confidence| confidence > 0.0), "{model}: {live:?}");
        let asked = place.sim.calls_of(Method::StreamingRecognize).pop().unwrap().config.unwrap();
        assert_eq!(asked.adaptation.is_some(), hearing.phrases, "{model}");
    }
    let refused: Vec<_> = place.sim.calls().into_iter().filter(|call| call.ending != Some(Ending::Done)).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_of_words_are_those_of_the_sound_and_not_of_the_stream() {
    let place = place(options(), &[]).await;
    let spoken = tones::encode("hello");
    let sound = [vec![0; 40 * RATE], spoken.clone(), vec![0; 50 * RATE], spoken, vec![0; RATE]].concat();
    let told = through(&place, wanted(), &sound).await;
    let starts: Vec<f64> = finals(&told).iter().map(|utterance| utterance.words[0].start.as_secs_f64()).collect();
    assert_eq!(starts.len(), 2, "{told:?}");
    let expected = [40.0, 90.0 + tones::encode("hello").len() as f64 / RATE as f64];
    assert!(starts.iter().zip(expected).all(|(start, at)| (start - at).abs() < 0.1), "{starts:?} for {expected:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_carry_the_decision() {
    let place = place(options(), &[]).await;
    let stt = place.registry.stt().unwrap();
    let sound = tones::encode("hello");
    let unknown = RecognitionConfig { model: Some("no_such_model".into()), ..wanted() };
    let Some(Heard::Ended(Err(error))) = through(&place, unknown.clone(), &sound).await.pop() else {
        panic!("no error")
    };
    assert_eq!(error.kind, SpeechErrorKind::Request, "{error}");
    assert!(error.detail.contains("does not exist"), "{error}");
    assert_eq!(stt.recognize(&unknown, &sound).await.unwrap_err().kind, SpeechErrorKind::Request);
    for (code, kind, tries) in [
        (Code::PermissionDenied, SpeechErrorKind::Account, 1),
        (Code::ResourceExhausted, SpeechErrorKind::Busy, 4),
        (Code::Unavailable, SpeechErrorKind::Unavailable, 4),
    ] {
        place.sim.set_faults(vec![Fault::refuse(Method::Recognize, None, code, "as ordered")]);
        let before = place.sim.calls_of(Method::Recognize).len();
        let error = stt.recognize(&wanted(), &sound).await.unwrap_err();
        assert_eq!((error.kind, error.detail.contains("as ordered")), (kind, true), "{error}");
        assert_eq!(place.sim.calls_of(Method::Recognize).len() - before, tries, "{code:?}");
    }
    let next = place.sim.calls_of(Method::Recognize).len() as u64;
    place.sim.set_faults(vec![Fault::refuse(Method::Recognize, next, Code::Unavailable, "once")]);
    assert_eq!(stt.recognize(&wanted(), &sound).await.unwrap().utterances[0].text, "hello");
    let problem = stt.recognize(&wanted(), &vec![1; 61 * RATE]).await.unwrap_err();
    assert_eq!(problem.kind, SpeechErrorKind::Request);
}

/// A service account's key as Google hands them out.
fn key_file() -> tempfile::NamedTempFile {
    let key = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).unwrap();
    let base64 = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{base64}\n-----END PRIVATE KEY-----\n");
    let key = serde_json::json!({
        "type": "service_account", "project_id": "voices", "private_key_id": "k1", "private_key": pem,
        "client_email": "voxd@voices.iam.gserviceaccount.com", "client_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    });
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, "{key}").unwrap();
    file
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_account_is_let_in_and_a_refused_token_is_renewed_once() {
    let file = key_file();
    let settings = [("GOOGLE__CREDENTIALS_FILE", file.path().to_str().unwrap()), ("GOOGLE__AUTHORIZE", "always")];
    let place = place(GoogleOptions { auth: Auth::BEARER, ..options() }, &settings).await;
    let stt = place.registry.stt().unwrap();
    let sound = tones::encode("let me in");
    assert_eq!(text(&through(&place, wanted(), &sound).await), "let me in");
    let resource = place.sim.calls().pop().unwrap().resource;
    assert_eq!(resource, "projects/voices/locations/global/recognizers/_");
    place.sim.set_auth(Auth::Expired);
    let error = stt.recognize(&wanted(), &sound).await.unwrap_err();
    assert_eq!(error.kind, SpeechErrorKind::Account, "{error}");
    let Some(Heard::Ended(Err(error))) = through(&place, wanted(), &sound).await.pop() else { panic!("no error") };
    assert_eq!(error.kind, SpeechErrorKind::Account, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_credentials_the_answer_is_that_a_person_has_to_act() {
    let place = place(GoogleOptions { auth: Auth::BEARER, ..options() }, &[]).await;
    let sound = tones::encode("let me in");
    let error = place.registry.stt().unwrap().recognize(&wanted(), &sound).await.unwrap_err();
    assert_eq!(error.kind, SpeechErrorKind::Account, "{error}");
}

fn to_say(text: &str, voice: &str) -> SynthesisRequest {
    SynthesisRequest {
        text: text.into(),
        ssml: false,
        language: "en-US".into(),
        voice: Some(voice.into()),
        speaking_rate: 1.0,
        rate_hz: tones::RATE_HZ,
    }
}

async fn spoken(place: &Place, request: SynthesisRequest) -> String {
    let mut speech = place.registry.tts().unwrap().speak(request).await.unwrap();
    let mut decoder = tones::ToneDecoder::default();
    let mut heard = Vec::new();
    while let Some(samples) = tokio::time::timeout(PATIENCE, speech.sound.recv()).await.unwrap() {
        heard.extend(decoder.push(&samples.unwrap()));
    }
    heard.extend(decoder.finish());
    tones::transcript(&heard)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_is_what_was_asked_for_streamed_and_whole() {
    let place = place(options(), &[]).await;
    let tts = place.registry.tts().unwrap();
    for voice in ["en-US-Chirp3-HD-Aoede", "en-US-Wavenet-D"] {
        let text = "Your appointment is tomorrow at ten.";
        assert_eq!(spoken(&place, to_say(text, voice)).await, text, "{voice}");
    }
    // More than a request takes, so that it goes in pieces.
    let long = (0..450).map(|n| format!("Sentence {n}.")).collect::<Vec<_>>().join(" ");
    assert_eq!(spoken(&place, to_say(&long, "en-US-Wavenet-D")).await, long);
    let calls = place.sim.calls();
    let count = |method| calls.iter().filter(|call| call.method == method).count();
    assert_eq!((count(Method::StreamingSynthesize), count(Method::SynthesizeSpeech)), (1, 3));
    let speech = tts.speak(to_say("Ten words.", "en-US-Wavenet-D")).await.unwrap();
    assert_eq!(speech.usage.characters, 10);
    let bad = SynthesisRequest { speaking_rate: 3.0, ..to_say("Too fast.", "en-US-Wavenet-D") };
    assert_eq!(tts.speak(bad).await.unwrap_err().kind, SpeechErrorKind::Request);
    let mut unknown = tts.speak(to_say("Hello.", "en-US-Nobody-A")).await.unwrap();
    let error = unknown.sound.recv().await.unwrap().unwrap_err();
    assert_eq!(error.kind, SpeechErrorKind::Request, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_synthesis_that_failed_before_its_first_sound_is_asked_for_again() {
    let place = place(options(), &[]).await;
    let fault = Fault::refuse(Method::SynthesizeSpeech, 0, Code::Unavailable, "once");
    place.sim.set_faults(vec![fault, Fault::refuse(Method::StreamingSynthesize, 0, Code::Unavailable, "once")]);
    for voice in ["en-US-Chirp3-HD-Aoede", "en-US-Wavenet-D"] {
        assert_eq!(spoken(&place, to_say("Again.", voice)).await, "Again.", "{voice}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_goes_leaves_no_stream_behind() {
    let place = place(options(), &[]).await;
    let recognition = place.registry.stt().unwrap().listen(wanted());
    feed(&recognition, &tones::encode("nobody listens to this")).await;
    place.sim.until(|calls| !calls.is_empty()).await;
    drop(recognition);
    place.sim.until(|calls| calls.iter().all(|call| call.ending.is_some())).await;
    assert!(place.lifecycle.drain(PATIENCE).await);
}
