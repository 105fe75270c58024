//! Responses, read into what they mean. Nothing in them is trusted: times are not negative, probabilities lie between 0
//! and 1, and a 0 that stands for "not set" is `None`.

use std::time::Duration;

use googleapis_tonic_google_cloud_speech_v2::google::cloud::speech::v2 as api;

use api::streaming_recognize_response::SpeechEventType;

/// Interims of at least this stability are not expected to change.
pub const STABLE: f32 = 0.8;

/// One response of a stream; times are on that stream's clock.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// Comes before the results of the same response.
    pub event: Option<Event>,
    pub finals: Vec<Piece>,
    /// All interim pieces together, which follow the finals.
    pub interim: Option<Piece>,
    /// Of the whole stream so far.
    pub billed: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Begin(Duration),
    End(Duration),
    /// Short models: nothing more is heard.
    EndOfUtterance,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Piece {
    pub text: String,
    /// Of an interim, the beginning that is not expected to change.
    pub stable: String,
    pub confidence: Option<f32>,
    pub words: Vec<Word>,
    pub end: Option<Duration>,
    pub language: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    pub text: String,
    pub start: Duration,
    pub end: Duration,
    pub confidence: Option<f32>,
}

pub fn of_stream(response: api::StreamingRecognizeResponse) -> Answer {
    let offset = duration(response.speech_event_offset.as_ref()).unwrap_or_default();
    let event = match response.speech_event_type() {
        SpeechEventType::Unspecified => None,
        SpeechEventType::EndOfSingleUtterance => Some(Event::EndOfUtterance),
        SpeechEventType::SpeechActivityBegin => Some(Event::Begin(offset)),
        SpeechEventType::SpeechActivityEnd => Some(Event::End(offset)),
    };
    let mut answer = Answer { event, billed: billed(response.metadata.as_ref()), ..Default::default() };
    let mut still_stable = true;
    for result in response.results {
        let mut piece = piece(result.alternatives, result.result_end_offset.as_ref(), result.language_code);
        if result.is_final {
            piece.text = piece.text.trim().to_owned();
            answer.finals.push(piece);
            continue;
        }
        // A confidence of an interim means nothing.
        piece.confidence = None;
        still_stable &= result.stability >= STABLE;
        if still_stable {
            piece.stable = piece.text.clone();
        }
        match &mut answer.interim {
            None => answer.interim = Some(piece),
            // Pieces bring their own spaces.
            Some(whole) => {
                whole.text.push_str(&piece.text);
                whole.stable.push_str(&piece.stable);
                whole.words.extend(piece.words);
                whole.end = whole.end.max(piece.end);
            }
        }
    }
    if let Some(interim) = &mut answer.interim {
        interim.text = interim.text.trim().to_owned();
        interim.stable = interim.stable.trim().to_owned();
    }
    answer
}

/// The finals of a recording, and what was billed.
pub fn of_recording(response: api::RecognizeResponse) -> (Vec<Piece>, Option<Duration>) {
    let billed = billed(response.metadata.as_ref());
    let read = |result: api::SpeechRecognitionResult| {
        let mut piece = piece(result.alternatives, result.result_end_offset.as_ref(), result.language_code);
        piece.text = piece.text.trim().to_owned();
        piece
    };
    (response.results.into_iter().map(read).collect(), billed)
}

fn piece(
    alternatives: Vec<api::SpeechRecognitionAlternative>,
    end: Option<&prost_types::Duration>,
    language: String,
) -> Piece {
    let best = alternatives.into_iter().next().unwrap_or_default();
    let mut words: Vec<Word> = Vec::with_capacity(best.words.len());
    for word in best.words {
        let start = duration(word.start_offset.as_ref()).unwrap_or_default();
        let end = duration(word.end_offset.as_ref()).unwrap_or_default().max(start);
        words.push(Word { text: word.word, start, end, confidence: probability(word.confidence) });
    }
    Piece {
        text: best.transcript,
        stable: String::new(),
        confidence: probability(best.confidence),
        words,
        end: duration(end),
        language: Some(language).filter(|language| !language.is_empty()),
    }
}

/// 0 is proto3's "not set".
fn probability(value: f32) -> Option<f32> {
    (value > 0.0 && value <= 1.0).then_some(value)
}

fn duration(value: Option<&prost_types::Duration>) -> Option<Duration> {
    let value = value?;
    let seconds = u64::try_from(value.seconds).ok()?;
    let nanos = u32::try_from(value.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(seconds, nanos))
}

fn billed(metadata: Option<&api::RecognitionResponseMetadata>) -> Option<Duration> {
    duration(metadata?.total_billed_duration.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(text: &str, is_final: bool, stability: f32, confidence: f32) -> api::StreamingRecognitionResult {
        let alternative = api::SpeechRecognitionAlternative { transcript: text.into(), confidence, words: Vec::new() };
        api::StreamingRecognitionResult { alternatives: vec![alternative], is_final, stability, ..Default::default() }
    }

    #[test]
    fn a_final_and_the_interim_pieces_behind_it_are_told_apart() {
        let results = vec![
            result(" one two", true, 0.0, 0.9),
            result(" three", false, 0.9, 0.0),
            result(" fo", false, 0.01, 0.0),
        ];
        let answer = of_stream(api::StreamingRecognizeResponse { results, ..Default::default() });
        assert_eq!(answer.finals.len(), 1);
        assert_eq!((answer.finals[0].text.as_str(), answer.finals[0].confidence), ("one two", Some(0.9)));
        let interim = answer.interim.unwrap();
        assert_eq!((interim.text.as_str(), interim.stable.as_str()), ("three fo", "three"));
    }

    #[test]
    fn what_is_not_set_is_none_and_what_cannot_be_is_not_believed() {
        assert_eq!([0.0, -1.0, f32::NAN, 1.5].map(probability), [None; 4]);
        let time = |seconds, nanos| duration(Some(&prost_types::Duration { seconds, nanos }));
        assert_eq!(time(1, 500_000_000), Some(Duration::from_millis(1500)));
        assert_eq!([time(-1, 0), time(0, -1), time(0, 2_000_000_000)], [None; 3]);
        let empty =
            of_stream(api::StreamingRecognizeResponse { results: vec![Default::default()], ..Default::default() });
        assert_eq!(empty.interim.unwrap().text, "");
    }
}
