//! What is heard, in Google's messages. Pure.

use std::time::Duration;

use googleapis_tonic_google_cloud_speech_v2::google::cloud::speech::v2 as speech;
use speech::streaming_recognize_response::SpeechEventType;
use speech::{SpeechRecognitionAlternative, StreamingRecognitionResult, StreamingRecognizeResponse, WordInfo};

use super::ears::{Said, time};
use super::request::Plan;

/// Of the words that will hardly change, and of the last one.
const STABLE: f32 = 0.9;
const UNSTABLE: f32 = 0.01;
/// Of a final text of whole words, and of one that is broken.
const CONFIDENT: f32 = 0.94;
const DOUBTFUL: f32 = 0.41;

/// Zero is not on the wire.
pub(super) fn offset(time: Duration) -> Option<prost_types::Duration> {
    (!time.is_zero())
        .then(|| prost_types::Duration { seconds: time.as_secs() as i64, nanos: time.subsec_nanos() as i32 })
}

pub(super) fn event(kind: SpeechEventType, at: u64) -> StreamingRecognizeResponse {
    StreamingRecognizeResponse {
        speech_event_type: kind as i32,
        speech_event_offset: offset(time(at)),
        ..Default::default()
    }
}

fn text(said: &[Said]) -> String {
    said.iter().map(|said| said.text.as_str()).collect::<Vec<_>>().join(" ")
}

/// Two pieces, to be joined as they are: the words before the last, and the last. `is_later`: a final text came before, so
/// this one begins with a space.
pub(super) fn interim(plan: &Plan, said: &[Said], is_later: bool) -> StreamingRecognizeResponse {
    let Some((last, before)) = said.split_last() else { return StreamingRecognizeResponse::default() };
    let lead = if is_later { " " } else { "" };
    let piece = |transcript: String, stability: f32, end: u64| StreamingRecognitionResult {
        alternatives: vec![SpeechRecognitionAlternative { transcript, ..Default::default() }],
        stability,
        result_end_offset: offset(time(end)),
        language_code: plan.language.to_owned(),
        ..Default::default()
    };
    let results = match before.last() {
        None => vec![piece(format!("{lead}{}", last.text), UNSTABLE, last.end)],
        Some(stable) => vec![
            piece(format!("{lead}{}", text(before)), STABLE, stable.end),
            piece(format!(" {}", last.text), UNSTABLE, last.end),
        ],
    };
    StreamingRecognizeResponse { results, ..Default::default() }
}

/// The final text of an utterance.
pub(super) fn last(plan: &Plan, said: &[Said], is_later: bool) -> StreamingRecognizeResponse {
    let end = said.last().map_or(0, |said| said.end);
    let lead = if is_later { " " } else { "" };
    let result = StreamingRecognitionResult {
        alternatives: alternatives(plan, said, lead),
        is_final: true,
        result_end_offset: offset(time(end)),
        language_code: plan.language.to_owned(),
        ..Default::default()
    };
    StreamingRecognizeResponse { results: vec![result], ..Default::default() }
}

/// The best one with words and confidence, and others without.
pub(super) fn alternatives(plan: &Plan, said: &[Said], lead: &str) -> Vec<SpeechRecognitionAlternative> {
    let transcript = format!("{lead}{}", text(said));
    let sure = |is_whole: bool| if is_whole { CONFIDENT } else { DOUBTFUL };
    let word = |said: &Said| WordInfo {
        word: said.text.clone(),
        start_offset: plan.word_times.then(|| offset(time(said.start))).flatten(),
        end_offset: plan.word_times.then(|| offset(time(said.end))).flatten(),
        confidence: if plan.word_confidence { sure(said.is_whole) } else { 0.0 },
        ..Default::default()
    };
    let has_words = plan.word_times || plan.word_confidence;
    let best = SpeechRecognitionAlternative {
        transcript: transcript.clone(),
        confidence: if plan.model.confidence { sure(said.iter().all(|said| said.is_whole)) } else { 0.0 },
        words: if has_words { said.iter().map(word).collect() } else { Vec::new() },
    };
    let other = SpeechRecognitionAlternative { transcript: transcript.to_lowercase(), ..Default::default() };
    let is_other = other.transcript != best.transcript && plan.alternatives > 1;
    std::iter::once(best).chain(is_other.then_some(other)).collect()
}
