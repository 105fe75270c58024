//! Streaming recognition: the protocol.

use std::time::Duration;

use googleapis_tonic_google_cloud_speech_v2::google::cloud::speech::v2::StreamingRecognizeRequest;
use tonic::Code;

use super::kit::*;

/// Rule 22.
#[tokio::test]
async fn rule_22_the_text_comes_from_the_sound() {
    let sim = start(quick()).await;
    let samples = [spoken("hello brave world"), spoken("and again")].concat();
    let (responses, end) = hear(&sim, config(), &samples).await;
    end.unwrap();
    assert_eq!(finals(&responses), ["hello brave world", " and again"]);
    // Two words without 20 ms in the middle, or with 20 ms twice.
    for spoil in [
        |samples: &mut Vec<i16>| drop(samples.drain(8000..8320)),
        |samples: &mut Vec<i16>| {
            let twice: Vec<i16> = samples[8000..8320].to_vec();
            samples.splice(8000..8000, twice);
        },
    ] {
        let mut samples = spoken("hello brave world");
        spoil(&mut samples);
        let (responses, _) = hear(&sim, config(), &samples).await;
        assert!(finals(&responses)[0].contains('\u{FFFD}'), "{:?}", finals(&responses));
    }
}

/// Rule 1: config first, once, and then sound.
#[tokio::test]
async fn rule_1_messages_have_an_order() {
    let sim = start(quick()).await;
    let malordered = |expected: &str| {
        format!(
            "Malordered Data Received. Expected {expected} none was set. Send exactly one config, followed by audio data."
        )
    };
    let step = sound(vec![0; 320]);
    let empty = StreamingRecognizeRequest { recognizer: RECOGNIZER.into(), streaming_request: None };
    for (messages, expected) in [
        (vec![step.clone()], "streaming_config"),
        (vec![empty.clone(), step.clone()], "streaming_config"),
        (vec![opening(config()), step.clone(), opening(config())], "audio"),
        (vec![opening(config()), step.clone(), empty.clone()], "audio"),
    ] {
        assert_eq!(failure(&sim, messages).await, (Code::InvalidArgument, malordered(expected)));
    }
}

#[tokio::test]
async fn rule_1_the_recognizer_has_a_pattern() {
    let sim = start(quick()).await;
    for name in ["", "long", "projects/p/locations/global", "projects//locations/global/recognizers/_"] {
        let first = StreamingRecognizeRequest { recognizer: name.into(), ..opening(config()) };
        let (code, text) = failure(&sim, vec![first, sound(vec![0; 320])]).await;
        assert_eq!(code, Code::InvalidArgument);
        assert!(text.contains("projects/{project}/locations/{location}/recognizers/{recognizer}"), "{text}");
    }
}

#[tokio::test]
async fn rule_2_messages_have_a_size() {
    let sim = start(quick()).await;
    let text = "Audio chunk can be of a maximum of 25600 bytes. Received audio of 25602 bytes instead.";
    let too_long = failure(&sim, vec![opening(config()), sound(vec![0; 25_602])]).await;
    assert_eq!(too_long, (Code::InvalidArgument, text.to_owned()));
    let mut stream = Stream::open(&sim, vec![opening(config()), sound(vec![0; 25_600])]).await.unwrap();
    stream.half_close();
    stream.rest().await.1.unwrap();
}

const IDLE: &str = "Stream timed out after receiving no more client requests.";

/// Rule 6: without sound the stream ends, after the config alone too; messages without a byte are no sound.
#[tokio::test]
async fn rule_6_a_stream_without_sound_is_aborted() {
    let idle = Duration::from_secs(10);
    let sim = start(with(|options| (options.speed, options.hearing.idle) = (100.0, idle))).await;
    assert_eq!(failure(&sim, vec![opening(config())]).await, (Code::Aborted, IDLE.to_owned()));
    assert_eq!(failure(&sim, vec![]).await, (Code::Aborted, IDLE.to_owned()));
    let mut stream = Stream::open(&sim, vec![opening(config()), sound(vec![0; 320])]).await.unwrap();
    let input = stream.input.clone().unwrap();
    let feed = async {
        while input.send(sound(Vec::new())).is_ok() {
            voxd::clock::sleep(Duration::from_millis(10)).await;
        }
        std::future::pending().await
    };
    let end = tokio::select! { () = feed => unreachable!(), end = rest(&mut stream.output) => end };
    assert_eq!(end, (Code::Aborted, IDLE.to_owned()));
}

/// Rule 7: five minutes, however well it is fed.
#[tokio::test]
async fn rule_7_a_stream_has_an_age() {
    let age = Duration::from_secs(300);
    let sim = start(with(|options| (options.speed, options.hearing.age) = (600.0, age))).await;
    let mut stream = Stream::open(&sim, vec![opening(config()), sound(vec![0; 320])]).await.unwrap();
    let input = stream.input.clone().unwrap();
    let feed = async {
        while input.send(sound(vec![0; 320])).is_ok() {
            voxd::clock::sleep(Duration::from_millis(5)).await;
        }
        std::future::pending().await
    };
    let end = tokio::select! { () = feed => unreachable!(), end = rest(&mut stream.output) => end };
    assert_eq!(end, (Code::Aborted, "Max duration of 5 minutes reached for stream.".to_owned()));
}

/// Rule 11: times are counted in bytes, from this stream's first.
#[tokio::test]
async fn rule_11_times_come_from_bytes() {
    let sim = start(quick()).await;
    let mut config = config();
    config.config.as_mut().unwrap().features.as_mut().unwrap().enable_word_time_offsets = true;
    let word = voxd::sim::tones::encode("one").len() as f64 / 16_000.0;
    let samples = [silence(3000), spoken("one two")].concat();
    let (responses, _) = hear(&sim, config, &samples).await;
    let last = responses.iter().flat_map(|response| &response.results).find(|result| result.is_final).unwrap();
    let seconds = |time: Option<prost_types::Duration>| {
        let time = time.unwrap_or_default();
        time.seconds as f64 + f64::from(time.nanos) / 1e9
    };
    let words: Vec<(String, f64, f64)> = last.alternatives[0]
        .words
        .iter()
        .map(|word| (word.word.clone(), seconds(word.start_offset), seconds(word.end_offset)))
        .collect();
    assert_eq!(words.iter().map(|word| word.0.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    for ((_, start, end), expected) in words.iter().zip([3.0, 3.0 + word]) {
        assert!((start - expected).abs() < 0.02 && (end - (expected + word - 0.04)).abs() < 0.02, "{words:?}");
    }
    assert!((seconds(last.result_end_offset) - words[1].2).abs() < 1e-6);
}

/// Rule 14: the half-close brings what was outstanding; nothing recognizable brings nothing.
#[tokio::test]
async fn rule_14_a_half_close_flushes() {
    // Its final would be minutes away.
    let sim = start(with(|options| {
        options.hearing.final_delay = voxd::sim::google::Delay::Fixed(NEVER);
    }))
    .await;
    let (responses, end) = hear(&sim, config(), &voxd::sim::tones::encode("to the end")).await;
    end.unwrap();
    assert_eq!(finals(&responses), ["to the end"]);
    let (responses, end) = hear(&sim, config(), &spoken("ended before")).await;
    end.unwrap();
    assert_eq!(finals(&responses), ["ended before"]);
    let (responses, end) = hear(&sim, config(), &silence(2000)).await;
    end.unwrap();
    assert_eq!(responses, []);
}

async fn rest(
    output: &mut tonic::Streaming<
        googleapis_tonic_google_cloud_speech_v2::google::cloud::speech::v2::StreamingRecognizeResponse,
    >,
) -> (Code, String) {
    loop {
        match output.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return (Code::Ok, String::new()),
            Err(status) => return (status.code(), status.message().to_owned()),
        }
    }
}
