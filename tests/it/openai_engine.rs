//! The engine for OpenAI-compatible servers against the simulated one, which hears and speaks tones that carry text: a lost,
//! doubled or cut sample shows up as wrong text.

use std::time::Duration;

use tokio::net::TcpListener;
use voxd::config::{Config, Environment};
use voxd::lifecycle::Lifecycle;
use voxd::sim::openai::{Asked, Fault, OpenAiOptions, OpenAiSim};
use voxd::sim::tones::{self, ToneDecoder};
use voxd::speech::openai::OpenAi;
use voxd::speech::{
    Heard, Phrase, Recognition, RecognitionConfig, SpeechError, SpeechErrorKind, SpeechToText, SynthesisRequest,
    TextToSpeech, Usage, Utterance,
};

use crate::harness::PATIENCE;

/// A simulator and the engine that is pointed at it.
struct Stage {
    sim: OpenAiSim,
    engine: OpenAi,
    lifecycle: Lifecycle,
}

impl Stage {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    /// Settings below `speech.openai`.
    async fn with(settings: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sim = OpenAiSim::start(listener, OpenAiOptions::default()).unwrap();
        let mut pairs = sim.environment();
        pairs
            .extend(settings.iter().map(|(name, value)| (format!("VOXD_SPEECH__OPENAI__{name}"), (*value).to_owned())));
        // The last of a name counts.
        let environment = Environment::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let config = Config::load(None, &environment).unwrap();
        let lifecycle = Lifecycle::new();
        Self { engine: OpenAi::new(&config.speech.openai, &lifecycle).unwrap(), sim, lifecycle }
    }

    async fn recognize(&self, samples: &[i16]) -> Result<String, SpeechError> {
        let config = config(tones::RATE_HZ);
        let recognized = within(self.engine.recognize(&config, samples)).await?;
        Ok(text_of(&recognized.utterances))
    }

    async fn say(&self, text: &str) -> Result<Vec<i16>, SpeechError> {
        let mut speech = within(self.engine.speak(request(text, tones::RATE_HZ))).await?;
        let mut sound = Vec::new();
        while let Some(piece) = within(speech.sound.recv()).await {
            sound.extend(piece?);
        }
        Ok(sound)
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("an end in time")
}

fn config(rate_hz: u32) -> RecognitionConfig {
    RecognitionConfig {
        language: "en-US".into(),
        model: None,
        rate_hz,
        punctuation: true,
        words: true,
        interims: true,
        phrases: Vec::new(),
    }
}

fn request(text: &str, rate_hz: u32) -> SynthesisRequest {
    SynthesisRequest {
        text: text.into(),
        ssml: false,
        language: "en-US".into(),
        voice: None,
        speaking_rate: 1.0,
        rate_hz,
    }
}

fn text_of(utterances: &[Utterance]) -> String {
    utterances.iter().map(|utterance| utterance.text.as_str()).collect::<Vec<_>>().join(" ")
}

fn heard_in(sound: &[i16]) -> String {
    let mut decoder = ToneDecoder::default();
    let mut heard = decoder.push(sound);
    heard.extend(decoder.finish());
    tones::transcript(&heard)
}

fn silence(ms: usize) -> Vec<i16> {
    vec![0; tones::RATE_HZ as usize * ms / 1000]
}

/// Sends all sound in frames of 20 ms, as fast as it is taken, and returns all that is told.
async fn listen(recognition: Recognition, parts: Vec<Vec<i16>>) -> Vec<Heard> {
    let Recognition { sound, mut heard } = recognition;
    let sending = async move {
        for part in parts {
            if part.is_empty() {
                sound.send(Vec::new()).await.expect("somebody listens");
            }
            for frame in part.chunks(320) {
                // An engine that has ended takes no more.
                let _ = sound.send(frame.to_vec()).await;
            }
        }
    };
    let hearing = async {
        let mut all = Vec::new();
        while let Some(event) = heard.recv().await {
            all.push(event);
        }
        all
    };
    within(async { tokio::join!(sending, hearing).1 }).await
}

fn finals(heard: &[Heard]) -> Vec<Utterance> {
    let utterance = |event: &Heard| match event {
        Heard::Text(utterance) => Some(utterance.clone()),
        _ => None,
    };
    heard.iter().filter_map(utterance).collect()
}

fn near(one: Duration, ms: u64) -> bool {
    one.abs_diff(Duration::from_millis(ms)) < Duration::from_millis(60)
}

#[tokio::test]
async fn live_speech_is_heard_word_for_word_and_silence_is_not_sent() {
    let stage = Stage::new().await;
    let (first, second) = ("Hello this is voxd", "größer Straße 東京 yes yes");
    let (one, two) = (tones::encode(first), tones::encode(second));
    let (one_ms, two_ms) = (one.len() as u64 / 16, two.len() as u64 / 16);
    let parts = vec![silence(2000), one, silence(1500), two, silence(900)];
    let heard = listen(stage.engine.listen(config(tones::RATE_HZ)), parts).await;

    let finals = finals(&heard);
    assert_eq!(finals.iter().map(|said| said.text.as_str()).collect::<Vec<_>>(), [first, second]);
    assert_eq!(
        finals.iter().map(|said| (said.number, said.revision, said.is_final)).collect::<Vec<_>>(),
        [(0, 0, true), (1, 0, true)]
    );
    assert!(near(finals[0].start, 2000) && near(finals[0].end, 2000 + one_ms), "{:?}", finals[0]);
    let start = 2000 + one_ms + 1500;
    assert!(near(finals[1].start, start) && near(finals[1].end, start + two_ms), "{:?}", finals[1]);
    let words: Vec<&str> = finals[1].words.iter().map(|word| word.text.as_str()).collect();
    assert_eq!(words, ["größer", "Straße", "東京", "yes", "yes"]);
    assert!(near(finals[1].words[0].start, start), "on the recognition's clock: {:?}", finals[1].words[0]);
    assert!(finals[0].confidence.is_some_and(|confidence| (0.5..1.0).contains(&confidence)));
    let kinds: Vec<&str> = heard
        .iter()
        .map(|event| match event {
            Heard::Started(_) => "started",
            Heard::Stopped(_) => "stopped",
            Heard::Text(_) => "text",
            Heard::Ended(Ok(_)) => "ended",
            _ => "other",
        })
        .filter(|kind| *kind != "text")
        .collect();
    assert_eq!(kinds, ["started", "stopped", "started", "stopped", "ended"]);
    let asked: f64 = stage
        .sim
        .asked()
        .iter()
        .map(|asked| if let Asked::Heard { seconds, .. } = asked { *seconds } else { 0.0 })
        .sum();
    let spoken = (one_ms + two_ms) as f64 / 1000.0;
    assert!(asked > spoken && asked < spoken + 1.5, "{asked} s went out of {spoken} s of speech");
}

#[tokio::test]
async fn a_quiet_stream_sends_nothing() {
    let stage = Stage::new().await;
    let hum: Vec<i16> = (0..16_000 * 5).map(|n| ((n as f32 * 0.05).sin() * 60.0) as i16).collect();
    let heard = listen(stage.engine.listen(config(tones::RATE_HZ)), vec![silence(5000), hum]).await;
    assert_eq!(heard, [Heard::Ended(Ok(Usage::default()))]);
    assert_eq!(stage.sim.requests(), 0);
}

#[tokio::test]
async fn any_rate_is_heard_and_a_pause_ends_what_is_being_said() {
    let stage = Stage::new().await;
    for rate_hz in [8000, 48_000] {
        let mut resampler = voxd::audio::Resampler::new(tones::RATE_HZ, rate_hz).unwrap();
        let mut sound = Vec::new();
        resampler.push(&tones::encode("half past nine"), &mut sound);
        resampler.finish(&mut sound);
        let parts = vec![sound.clone(), Vec::new(), sound];
        let heard = listen(stage.engine.listen(config(rate_hz)), parts).await;
        let texts: Vec<String> = finals(&heard).into_iter().map(|said| said.text).collect();
        assert_eq!(texts, ["half past nine", "half past nine"], "{rate_hz} Hz");
    }
}

#[tokio::test]
async fn speech_without_a_pause_is_cut_between_words() {
    let stage = Stage::with(&[("MAX_UTTERANCE", "2s")]).await;
    let text = "one two three four five six seven eight nine ten eleven twelve";
    let heard = listen(stage.engine.listen(config(tones::RATE_HZ)), vec![tones::encode(text), silence(1000)]).await;
    let finals = finals(&heard);
    assert!(finals.len() >= 3, "{finals:?}");
    assert_eq!(text_of(&finals), text);
    assert!(finals.windows(2).all(|pair| pair[0].end <= pair[1].start), "{finals:?}");
    assert_eq!(heard.iter().filter(|event| matches!(event, Heard::Started(_))).count(), 1, "one voice");
}

#[tokio::test]
async fn a_server_that_comes_back_has_lost_nothing() {
    let stage = Stage::with(&[("REQUEST_TIMEOUT", "1s")]).await;
    let faults = [Fault::Status(500), Fault::Hang, Fault::Busy { retry_after: 0 }, Fault::CutOff, Fault::Garbage];
    stage.sim.spoil(faults.clone());
    let parts = vec![tones::encode("first words"), silence(1000), tones::encode("second words"), silence(1000)];
    let heard = listen(stage.engine.listen(config(tones::RATE_HZ)), parts).await;
    assert_eq!(text_of(&finals(&heard)), "first words second words");
    let degraded: Vec<&Heard> = heard.iter().filter(|e| matches!(e, Heard::Degraded(_) | Heard::Recovered)).collect();
    assert!(matches!(degraded[..], [Heard::Degraded(_), Heard::Recovered]), "told once: {degraded:?}");
    assert_eq!(stage.sim.requests(), faults.len() as u64 + 2);
    let Some(Heard::Ended(Ok(usage))) = heard.last() else { panic!("{heard:?}") };
    assert!(usage.billed > Duration::from_secs(4), "what was sent again is billed again: {usage:?}");
}

#[tokio::test]
async fn a_live_recognition_gives_up_in_the_end_and_at_once_where_waiting_is_useless() {
    let stage = Stage::with(&[("GIVE_UP_AFTER", "1s")]).await;
    stage.sim.spoil(std::iter::repeat_n(Fault::Status(503), 100));
    let sound = vec![tones::encode("nobody hears"), silence(1000)];
    let heard = listen(stage.engine.listen(config(tones::RATE_HZ)), sound.clone()).await;
    let Some(Heard::Ended(Err(error))) = heard.last() else { panic!("{heard:?}") };
    assert_eq!(error.kind, SpeechErrorKind::Unavailable);

    let stage = Stage::with(&[("API_KEY", "sk-wrong")]).await;
    let heard = listen(stage.engine.listen(config(tones::RATE_HZ)), sound).await;
    let Some(Heard::Ended(Err(error))) = heard.last() else { panic!("{heard:?}") };
    assert_eq!((error.kind, stage.sim.requests()), (SpeechErrorKind::Account, 1));
    assert!(!error.detail.contains("sk-wrong") && error.detail.contains("[secret]"), "{error}");
}

#[tokio::test]
async fn whoever_stops_listening_ends_it() {
    let stage = Stage::new().await;
    stage.sim.spoil([Fault::Hang]);
    let Recognition { sound, mut heard } = stage.engine.listen(config(tones::RATE_HZ));
    for frame in [tones::encode("never answered"), silence(1000)].concat().chunks(320) {
        sound.send(frame.to_vec()).await.unwrap();
    }
    while !matches!(within(heard.recv()).await, Some(Heard::Stopped(_))) {}
    drop(heard);
    within(sound.closed()).await;
    assert!(stage.lifecycle.drain(PATIENCE).await, "its task has ended");
}

#[tokio::test]
async fn a_recording_is_heard_whole_with_segments_as_utterances() {
    let stage = Stage::new().await;
    let (first, second) = (tones::encode("good morning"), tones::encode("this is the second sentence"));
    let sound = [silence(300), first, silence(700), second, silence(200)].concat();
    let mut wanted = config(tones::RATE_HZ);
    let phrase = |text: &str, boost| Phrase { text: text.into(), boost };
    wanted.phrases = vec![phrase("seldom", 1.0), phrase("voxd", 20.0)];
    let recognized = within(stage.engine.recognize(&wanted, &sound)).await.unwrap();
    let texts: Vec<&str> = recognized.utterances.iter().map(|said| said.text.as_str()).collect();
    assert_eq!(texts, ["good morning", "this is the second sentence"]);
    assert_eq!(recognized.utterances[1].words.len(), 5);
    assert_eq!(recognized.language.as_deref(), Some("en-US"));
    assert_eq!(recognized.usage.billed.as_millis(), sound.len() as u128 / 16);
    let Asked::Heard { language, prompt, .. } = &stage.sim.asked()[0] else { panic!("not heard") };
    assert_eq!((language.as_deref(), prompt.as_deref()), (Some("en"), Some("voxd, seldom")));

    let plain = Stage::with(&[("STT_FORMAT", "json")]).await;
    assert_eq!(plain.recognize(&sound).await.unwrap(), "good morning this is the second sentence");
    assert_eq!(plain.recognize(&[0; 10]).await.unwrap(), "", "shorter than the server takes");
}

#[tokio::test]
async fn a_recording_is_tried_again_only_where_that_can_help() {
    let stage = Stage::with(&[("REQUEST_TIMEOUT", "1s"), ("TRIES", "3")]).await;
    let sound = tones::encode("again");
    for fault in [Fault::Status(500), Fault::Busy { retry_after: 1 }, Fault::Hang, Fault::CutOff, Fault::Garbage] {
        stage.sim.spoil([fault.clone()]);
        assert_eq!(stage.recognize(&sound).await.as_deref(), Ok("again"), "{fault:?}");
    }
    let before = stage.sim.requests();
    let cases = [
        (vec![Fault::Status(502); 3], SpeechErrorKind::Unavailable, 3),
        (vec![Fault::Busy { retry_after: 0 }; 3], SpeechErrorKind::Busy, 3),
        (vec![Fault::Garbage; 3], SpeechErrorKind::Unreadable, 3),
        (vec![Fault::QuotaSpent], SpeechErrorKind::Account, 1),
        (vec![Fault::Status(403)], SpeechErrorKind::Account, 1),
        (vec![Fault::Status(400)], SpeechErrorKind::Request, 1),
        (vec![Fault::Status(302)], SpeechErrorKind::Request, 1),
    ];
    let mut expected = before;
    for (faults, kind, requests) in cases {
        stage.sim.spoil(faults.clone());
        assert_eq!(stage.recognize(&sound).await.unwrap_err().kind, kind, "{faults:?}");
        expected += requests;
        assert_eq!(stage.sim.requests(), expected, "{faults:?}");
    }
    let gone = Stage::with(&[("URL", "http://127.0.0.1:1/v1"), ("TRIES", "1")]).await;
    assert_eq!(gone.recognize(&sound).await.unwrap_err().kind, SpeechErrorKind::Unavailable);
}

#[tokio::test]
async fn what_is_too_long_is_refused_here_and_answers_without_an_end_are_cut() {
    let stage = Stage::with(&[("MAX_AUDIO", "5s"), ("MAX_UTTERANCE", "3s"), ("TRIES", "1")]).await;
    let error = stage.recognize(&silence(5001)).await.unwrap_err();
    assert_eq!((error.kind, stage.sim.requests()), (SpeechErrorKind::Request, 0));
    stage.sim.spoil([Fault::Endless]);
    let error = stage.recognize(&tones::encode("endless")).await.unwrap_err();
    assert_eq!(error.kind, SpeechErrorKind::Unreadable, "{error}");
    let stage = Stage::with(&[("MAX_SPEECH", "5s")]).await;
    stage.sim.spoil([Fault::Endless]);
    let error = stage.say("endless").await.unwrap_err();
    assert!(error.kind == SpeechErrorKind::Unreadable && error.detail.contains("max_speech"), "{error}");
}

#[tokio::test]
async fn what_is_spoken_comes_out_word_for_word_in_any_rate_and_format() {
    let text = "Your appointment is at 10:30, größe 東京.";
    for format in ["pcm", "wav"] {
        let stage = Stage::with(&[("TTS_FORMAT", format)]).await;
        for rate_hz in [8000, 16_000, 48_000] {
            let mut speech = within(stage.engine.speak(request(text, rate_hz))).await.unwrap();
            assert_eq!((speech.rate_hz, speech.usage.characters), (rate_hz, text.chars().count() as u64));
            let mut sound = Vec::new();
            while let Some(piece) = within(speech.sound.recv()).await {
                sound.extend(piece.unwrap());
            }
            let mut resampler = voxd::audio::Resampler::new(rate_hz, tones::RATE_HZ).unwrap();
            let mut own = Vec::new();
            resampler.push(&sound, &mut own);
            resampler.finish(&mut own);
            assert_eq!(heard_in(&own), text, "{format} at {rate_hz} Hz");
        }
        let Asked::Said { voice, speed, .. } = &stage.sim.asked()[0] else { panic!("not said") };
        assert_eq!((voice.as_str(), *speed), ("alloy", 1.0));
    }
}

#[tokio::test]
async fn a_long_text_is_spoken_in_pieces_and_in_order() {
    let stage = Stage::with(&[("MAX_INPUT_CHARS", "30")]).await;
    let text = "The first sentence. Then a second one. And at last the third!";
    assert_eq!(heard_in(&stage.say(text).await.unwrap()), text);
    assert_eq!(stage.sim.asked().len(), 3);
}

#[tokio::test]
async fn speech_is_asked_for_again_until_its_first_sound_and_never_after() {
    let stage = Stage::with(&[("REQUEST_TIMEOUT", "1s")]).await;
    for fault in [Fault::Status(500), Fault::Busy { retry_after: 0 }, Fault::Hang, Fault::Garbage] {
        stage.sim.spoil([fault.clone()]);
        assert_eq!(heard_in(&stage.say("once more").await.unwrap()), "once more", "{fault:?}");
    }
    let before = stage.sim.requests();
    stage.sim.spoil([Fault::CutOff]);
    let error = stage.say("cut off in the middle of it").await.unwrap_err();
    assert_eq!((error.kind, stage.sim.requests()), (SpeechErrorKind::Unavailable, before + 1));
    for (text, settings) in [("x", ("VOICE", "nobody")), ("x", ("TTS_MODEL", "none")), (" ", ("VOICE", "alloy"))] {
        let stage = Stage::with(&[settings]).await;
        assert_eq!(stage.say(text).await.unwrap_err().kind, SpeechErrorKind::Request, "{settings:?}");
    }
}
