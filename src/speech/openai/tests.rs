use std::time::Duration;

use super::transcript::Transcript;

const LENGTH: Duration = Duration::from_secs(10);

fn parse(text: &str) -> Transcript {
    Transcript::parse(text.as_bytes()).unwrap()
}

#[test]
fn a_plain_answer_is_one_utterance() {
    let utterances = parse(r#"{"text": " Hello there. "}"#).into_utterances(LENGTH);
    let [one] = &utterances[..] else { panic!("{utterances:?}") };
    assert_eq!((one.text.as_str(), one.end, one.confidence), ("Hello there.", LENGTH, None));
    assert!(parse(r#"{"text": " "}"#).into_utterances(LENGTH).is_empty());
}

#[test]
fn segments_become_utterances_with_their_own_words() {
    let answer = r#"{"task": "transcribe", "language": "english", "duration": 4.0, "text": "Hello there. Bye.",
        "segments": [{"id": 0, "start": 0.0, "end": 2.0, "text": " Hello there.", "avg_logprob": -0.105},
                     {"id": 1, "start": 2.5, "end": 4.0, "text": " Bye."}],
        "words": [{"word": " Hello", "start": 0.1, "end": 0.5}, {"word": "there", "start": 0.6, "end": 1.0, "probability": 0.5},
                  {"word": "Bye", "start": 2.6, "end": 3.0}]}"#;
    let utterances = parse(answer).into_utterances(LENGTH);
    let [hello, bye] = &utterances[..] else { panic!("{utterances:?}") };
    assert_eq!((hello.number, bye.number), (0, 1));
    assert_eq!((hello.text.as_str(), bye.text.as_str()), ("Hello there.", "Bye."));
    assert!((hello.confidence.unwrap() - 0.9).abs() < 0.001 && bye.confidence.is_none());
    let words: Vec<&str> = hello.words.iter().map(|word| word.text.as_str()).collect();
    assert_eq!((words, bye.words.len()), (vec!["Hello", "there"], 1));
    assert_eq!((hello.words[0].start, hello.words[1].confidence), (Duration::from_millis(100), Some(0.5)));
}

#[test]
fn times_that_cannot_be_are_brought_into_the_recording() {
    let answer = r#"{"text": "a b", "words": [{"word": "a", "start": -3, "end": 1e300}, {"word": "b\u0000", "start": 9, "end": 2}],
        "segments": [{"start": 5, "end": 1, "text": "a b", "avg_logprob": 7.5}]}"#;
    let utterances = parse(answer).into_utterances(LENGTH);
    let [one] = &utterances[..] else { panic!("{utterances:?}") };
    assert_eq!((one.start, one.end, one.confidence), (Duration::from_secs(5), Duration::from_secs(5), None));
    assert_eq!((one.words[0].start, one.words[0].end), (Duration::ZERO, LENGTH));
    assert_eq!(one.words[1].text, "b\u{fffd}");
    assert!(one.words.iter().all(|word| word.start <= word.end));
}

#[test]
fn what_is_no_transcript_is_refused() {
    for text in ["", "null", "[]", "<html>", r#"{"txt": "x"}"#, r#"{"text": 3}"#, r#"{"text": "x", "words": [{}]}"#] {
        assert!(Transcript::parse(text.as_bytes()).is_err(), "{text}");
    }
}
