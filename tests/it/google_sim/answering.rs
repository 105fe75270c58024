//! Streaming recognition: the shape and order of responses.

use std::time::Duration;

use googleapis_tonic_google_cloud_speech_v2::google::cloud::speech::v2 as stt;
use stt::streaming_recognize_response::SpeechEventType;
use stt::{StreamingRecognitionResult, StreamingRecognizeResponse};
use tonic::Code;
use voxd::clock;
use voxd::sim::google::{Delay, Fault, Method, What, When};
use voxd::sim::tones;

use super::kit::*;

fn joined(results: &[StreamingRecognitionResult]) -> String {
    results.iter().map(|result| result.alternatives[0].transcript.as_str()).collect()
}

fn event(response: &StreamingRecognizeResponse) -> Option<SpeechEventType> {
    SpeechEventType::try_from(response.speech_event_type).ok().filter(|kind| *kind != SpeechEventType::Unspecified)
}

/// Rule 9: events before text, interims in two pieces, a space before later texts, finals after their last interim.
#[tokio::test]
async fn rule_9_results_have_an_order() {
    let sim = start(quick()).await;
    let samples = [spoken("one two three"), spoken("four five")].concat();
    let (responses, end) = hear(&sim, config(), &samples).await;
    end.unwrap();
    assert_eq!(responses.iter().find_map(event), Some(SpeechEventType::SpeechActivityBegin));
    assert!(event(&responses[0]).is_some(), "an event comes first");
    let events: Vec<_> = responses.iter().filter_map(event).collect();
    let (begin, ended) = (SpeechEventType::SpeechActivityBegin, SpeechEventType::SpeechActivityEnd);
    assert_eq!(events, [begin, ended, begin, ended]);
    for response in &responses {
        assert!(event(response).is_some() == response.results.is_empty(), "one or the other: {response:?}");
    }
    let texts: Vec<_> = responses.iter().filter(|response| !response.results.is_empty()).collect();
    let shown: Vec<_> = texts.iter().map(|text| (joined(&text.results), text.results[0].is_final)).collect();
    let expected = [
        ("one", false),
        ("one two", false),
        ("one two three", false),
        ("one two three", true),
        (" four", false),
        (" four five", false),
        (" four five", true),
    ];
    assert_eq!(shown, expected.map(|(text, is_final)| (text.to_owned(), is_final)));
    let pieces: Vec<_> =
        texts[2].results.iter().map(|piece| (joined(std::slice::from_ref(piece)), piece.stability)).collect();
    assert_eq!(pieces, [("one two".to_owned(), 0.9), (" three".to_owned(), 0.01)]);
}

/// Rule 10: what is not known is zero, and zero is not sent.
#[tokio::test]
async fn rule_10_confidence_and_stability_are_told_where_they_are_known() {
    let sim = start(quick()).await;
    let mut asked = config();
    let features = asked.config.as_mut().unwrap().features.as_mut().unwrap();
    (features.enable_word_time_offsets, features.enable_word_confidence) = (true, true);
    let (responses, _) = hear(&sim, asked, &spoken("first word")).await;
    for result in responses.iter().flat_map(|response| &response.results) {
        let best = &result.alternatives[0];
        assert_eq!(best.confidence > 0.0, result.is_final);
        assert_eq!(result.stability > 0.0, !result.is_final);
        if result.is_final {
            assert_eq!(best.words[0].start_offset, None, "the first word begins at 0");
            assert!(best.words[1].start_offset.is_some() && best.words.iter().all(|word| word.confidence > 0.0));
        }
    }
    let mut chirp = config();
    chirp.config.as_mut().unwrap().model = "chirp_3".into();
    let recognizer = "projects/p/locations/us/recognizers/_".to_owned();
    let first = stt::StreamingRecognizeRequest { recognizer, ..opening(chirp) };
    let mut stream = Stream::open(&sim, std::iter::once(first).chain(messages(&spoken("hi"))).collect()).await.unwrap();
    stream.half_close();
    let (responses, _) = stream.rest().await;
    let results: Vec<_> = responses.iter().flat_map(|response| &response.results).collect();
    assert!(results.len() == 1 && results[0].is_final && results[0].alternatives[0].confidence == 0.0, "{results:?}");
}

/// Speech without tones has no words that anybody knows.
#[tokio::test]
async fn other_speech_is_answered_with_its_length() {
    let sim = start(quick()).await;
    let hum: Vec<i16> = (0..19_200).map(|n| ((n as f32 * 0.05).sin() * 6000.0) as i16).collect();
    let (responses, _) = hear(&sim, config(), &[silence(500), hum, silence(1000)].concat()).await;
    assert_eq!(finals(&responses), ["(speech, 1.2 s)"]);
}

/// Rule 15: models for one utterance end after one, with `OK` or, as was seen, `CANCELLED`.
#[tokio::test]
async fn rule_15_short_models_end_after_an_utterance() {
    for cancelled in [false, true] {
        let sim = start(with(|options| options.hearing.cancelled_after_utterance = cancelled)).await;
        let mut short = config();
        short.config.as_mut().unwrap().model = "latest_short".into();
        let first =
            std::iter::once(opening(short)).chain(messages(&[spoken("only this"), spoken("not this")].concat()));
        let mut stream = Stream::open(&sim, first.collect()).await.unwrap();
        let (responses, end) = stream.rest().await;
        assert_eq!(finals(&responses), ["only this"]);
        let single = responses.iter().position(|it| event(it) == Some(SpeechEventType::EndOfSingleUtterance));
        assert!(single.unwrap() < responses.len() - 1, "before the final: {responses:?}");
        assert_eq!(end.err().map(|status| status.code()), cancelled.then_some(Code::Cancelled));
    }
}

/// Rule 16: without sound there are no response headers, unless the simulator is told otherwise.
#[tokio::test]
async fn rule_16_headers_wait_for_sound() {
    for hold in [true, false] {
        let sim = start(with(|options| {
            options.speed = 1.0;
            options.hearing.hold_headers = hold;
        }))
        .await;
        let open = Stream::open(&sim, vec![opening(config())]);
        let opened = tokio::time::timeout(Duration::from_millis(if hold { 400 } else { 20_000 }), open).await;
        assert_eq!(opened.is_err(), hold);
    }
}

/// Rule 18: the final text comes late, by what was measured for the model.
#[tokio::test]
async fn rule_18_finals_come_late() {
    // On a clock ten times as fast: at least 220 ms after the end of speech, of which the silence is 50 and a message 10.
    let sim = start(with(|options| {
        options.speed = 10.0;
        options.hearing.final_delay = Delay::Measured;
        options.hearing.idle = NEVER;
    }))
    .await;
    let mut chirp = config();
    chirp.config.as_mut().unwrap().model = "chirp_3".into();
    let recognizer = "projects/p/locations/us/recognizers/_".to_owned();
    let first = stt::StreamingRecognizeRequest { recognizer, ..opening(chirp) };
    let mut stream =
        Stream::open(&sim, std::iter::once(first).chain(messages(&spoken("wait"))).collect()).await.unwrap();
    let mut ended = None;
    loop {
        let response = stream.output.message().await.unwrap().unwrap();
        if event(&response) == Some(SpeechEventType::SpeechActivityEnd) {
            ended = Some(clock::monotonic());
        }
        if response.results.iter().any(|result| result.is_final) {
            break;
        }
    }
    assert!(ended.expect("speech ended first").elapsed() >= Duration::from_millis(100));
}

/// Rule 19, and slow interims: scripted for one stream, not for the next.
#[tokio::test]
async fn rule_19_texts_can_be_revised_empty_and_slow() {
    let faults = vec![
        Fault::hearing(0, When::Open, What::WrongInterims),
        Fault::hearing(1, When::Open, What::EmptyFinals),
        Fault::hearing(2, When::Open, What::SlowInterims(Duration::from_secs(5))),
    ];
    let sim = start(with(|options| {
        options.faults = faults;
        options.hearing.idle = NEVER;
    }))
    .await;
    let (responses, _) = hear(&sim, config(), &spoken("right words")).await;
    let interims: Vec<_> = responses.iter().filter(|it| it.results.iter().any(|result| !result.is_final)).collect();
    assert_eq!(joined(&interims.last().unwrap().results), "right sdrow-eh");
    assert_eq!(finals(&responses), ["right words"]);
    let (responses, _) = hear(&sim, config(), &spoken("right words")).await;
    assert_eq!(finals(&responses), [""]);
    let samples = tones::encode("right words");
    let began = clock::monotonic();
    let mut stream =
        Stream::open(&sim, std::iter::once(opening(config())).chain(messages(&samples)).collect()).await.unwrap();
    while stream.output.message().await.unwrap().is_some_and(|response| response.results.is_empty()) {}
    assert!(began.elapsed() >= Duration::from_millis(100), "5 s on a clock 50 times as fast");
    let (responses, _) = hear(&sim, config(), &spoken("right words")).await;
    assert_eq!(finals(&responses), ["right words"]);
}

/// Rule 20: sound is billed by the second, rounded up, whatever became of the stream.
#[tokio::test]
async fn rule_20_the_last_response_says_what_is_billed() {
    let sim = start(with(|options| options.hearing.final_delay = Delay::Fixed(NEVER))).await;
    let samples = [spoken("pay for this"), silence(700)].concat();
    let seconds = samples.len().div_ceil(16_000) as i64;
    let (responses, _) = hear(&sim, config(), &samples).await;
    let (last, before) = responses.split_last().unwrap();
    let billed = |response: &StreamingRecognizeResponse| response.metadata.as_ref().unwrap().total_billed_duration;
    assert_eq!(billed(last), Some(prost_types::Duration { seconds, nanos: 0 }));
    assert!(before.iter().all(|response| billed(response).is_none()));
    assert!(responses.iter().all(|response| !response.metadata.as_ref().unwrap().request_id.is_empty()));
    sim.set_faults(vec![Fault::hearing(
        None,
        When::Sound(Duration::from_millis(200)),
        What::Status(Code::Internal, "x".into()),
    )]);
    failure(&sim, std::iter::once(opening(config())).chain(messages(&silence(200))).collect()).await;
    assert_eq!(sim.ledger().recognized, Duration::from_secs(seconds as u64 + 1));
    let calls = sim.calls_of(Method::StreamingRecognize);
    assert_eq!(calls[0].finals, ["pay for this"]);
    assert_eq!(calls[0].bytes, samples.len() as u64 * 2);
    assert_eq!(calls[0].resource, RECOGNIZER);
}
