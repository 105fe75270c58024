//! What is refused, and what goes wrong by order.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use googleapis_tonic_google_cloud_speech_v2::google::cloud::speech::v2 as stt;
use prost::Message as _;
use stt::speech_client::SpeechClient;
use stt::{RecognizeRequest, recognize_request::AudioSource};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};
use voxd::clock;
use voxd::sim::google::{
    Auth, Ending, Fault, GetLocationRequest, GoogleSim, Location, LocationsMetadata, Method, What, When,
};

use super::kit::*;

/// Rule 8: far faster than it is spoken.
#[tokio::test]
async fn rule_8_sound_has_a_pace() {
    let sim = start(with(|options| (options.speed, options.hearing.pace) = (0.1, 8.0))).await;
    // Within ten seconds, which are a hundred here: 80 s may be, 81 may not.
    let text = "Audio data is being streamed too fast/slow. Please stream audio data approximately at real time.";
    let many = |seconds: usize| vec![sound(vec![0; 16_000]); seconds * 2];
    let too_fast = failure(&sim, std::iter::once(opening(config())).chain(many(81)).collect()).await;
    assert_eq!(too_fast, (Code::OutOfRange, text.to_owned()));
    let mut stream = Stream::open(&sim, std::iter::once(opening(config())).chain(many(80)).collect()).await.unwrap();
    stream.half_close();
    stream.rest().await.1.unwrap();
}

/// Rule 17: errors carry details that no client knows.
#[tokio::test]
async fn rule_17_errors_have_opaque_details() {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Details {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(message, repeated, tag = "3")]
        details: Vec<prost_types::Any>,
    }
    let sim = start(quick()).await;
    let refused = Stream::open(&sim, vec![sound(vec![0; 320])]).await.err().unwrap();
    let details = Details::decode(refused.details()).unwrap();
    assert_eq!(details.code, Code::InvalidArgument as i32);
    assert_eq!(details.details[0].type_url, "type.googleapis.com/util.StatusProto");
}

/// Rules 17 and 35: what is scripted happens to its stream, and the client's next stream lives.
#[tokio::test]
async fn rule_35_faults_happen_to_their_streams() {
    let gone = What::Status(Code::Unavailable, "408:Request Timeout".into());
    let faults = vec![
        Fault::hearing(0, When::InsteadOf(1), gone.clone()),
        Fault::hearing(1, When::After(1), gone.clone()),
        Fault::hearing(2, When::Sound(Duration::from_secs(1)), What::Reset),
        Fault::hearing(3, When::Sound(Duration::from_secs(1)), What::Disconnect),
        Fault::hearing(4, When::Elapsed(Duration::from_secs(5)), What::Status(Code::Internal, "later".into())),
        Fault::hearing(5, When::Open, What::Status(Code::ResourceExhausted, "Quota exceeded".into())),
    ];
    let sim = start(with(|options| options.faults = faults)).await;
    for (stream, responses, code) in
        [(0, 1, Code::Unavailable), (1, 1, Code::Unavailable), (2, 0, Code::Internal), (3, 0, Code::Unknown)]
    {
        let (found, end) = hear(&sim, config(), &[silence(1100), spoken("it breaks")].concat()).await;
        let end = end.unwrap_err();
        assert_eq!(found.len(), responses, "stream {stream}");
        // How a cut connection looks is the client's own affair.
        assert!(end.code() == code || stream == 3, "stream {stream}: {end:?}");
    }
    let mut stream = Stream::open(&sim, vec![opening(config()), sound(vec![0; 320])]).await.unwrap();
    assert_eq!(stream.rest().await.1.unwrap_err().message(), "later");
    assert_eq!(refusal(&sim, config()).await, (Code::ResourceExhausted, "Quota exceeded".to_owned()));
    let (responses, end) = hear(&sim, config(), &spoken("it works")).await;
    end.unwrap();
    assert_eq!(finals(&responses), ["it works"]);
    let endings: Vec<_> = sim.calls().into_iter().map(|call| call.ending.unwrap()).collect();
    assert_eq!((&endings[2], &endings[3], &endings[6]), (&Ending::Cut, &Ending::Cut, &Ending::Done));
}

/// Rule 35: a stream that says nothing any more still has its limits.
#[tokio::test]
async fn rule_35_a_stalled_stream_ends_by_its_limits() {
    let sim = start(with(|options| {
        options.speed = 300.0;
        options.hearing.age = Duration::from_secs(300);
        options.faults = vec![Fault::hearing(0, When::Open, What::Stall)];
    }))
    .await;
    let (responses, end) = match Stream::open(
        &sim,
        std::iter::once(opening(config())).chain(messages(&spoken("nothing"))).collect(),
    )
    .await
    {
        Ok(mut stream) => {
            stream.half_close();
            stream.rest().await
        }
        Err(status) => (Vec::new(), Err(status)),
    };
    assert_eq!(responses, []);
    assert_eq!(end.unwrap_err().code(), Code::Aborted);
}

/// Rule 17: after a GOAWAY the stream ends well, and the next one comes on another connection.
#[tokio::test]
async fn rule_17_goaway_lets_the_stream_end() {
    let sim = start(with(|options| options.faults = vec![Fault::hearing(0, When::Open, What::GoAway)])).await;
    let client = hearer(&sim).await;
    for text in ["the last here", "the first there"] {
        let first = std::iter::once(opening(config())).chain(messages(&spoken(text))).collect();
        let mut stream = Stream::open_with(client.clone(), first).await.unwrap();
        stream.half_close();
        let (responses, end) = stream.rest().await;
        end.unwrap();
        assert_eq!(finals(&responses), [text]);
    }
}

/// Rule 21: bytes that are no whole sample are a client's fault; counted, and refused where that is wanted.
#[tokio::test]
async fn rule_21_samples_are_whole() {
    for strict in [true, false] {
        let sim = start(with(|options| options.hearing.whole_samples = strict)).await;
        let all = bytes(&spoken("odd bytes"));
        let first = std::iter::once(opening(config())).chain(all.chunks(1601).map(|piece| sound(piece.to_vec())));
        let answered = match Stream::open(&sim, first.collect()).await {
            Ok(mut stream) => {
                stream.half_close();
                stream.rest().await
            }
            Err(status) => (Vec::new(), Err(status)),
        };
        assert_eq!(answered.1.is_err(), strict);
        assert!(strict || finals(&answered.0) == ["odd bytes"], "{answered:?}");
        assert!(sim.calls()[0].ragged_messages > 0);
    }
}

fn token(change: impl FnOnce(&mut serde_json::Value)) -> String {
    let now = clock::now().timestamp();
    let mut claims = serde_json::json!({
        "iss": "voxd@p.iam.gserviceaccount.com", "sub": "voxd@p.iam.gserviceaccount.com",
        "scope": "https://www.googleapis.com/auth/cloud-platform", "iat": now - 10, "exp": now + 3600,
    });
    change(&mut claims);
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!(
        "{}.{}.{}",
        part(&serde_json::json!({ "alg": "RS256", "kid": "1" })),
        part(&claims),
        URL_SAFE_NO_PAD.encode("signed")
    )
}

async fn authorized(sim: &GoogleSim, token: Option<&str>, project: bool) -> Result<(), Status> {
    let message = RecognizeRequest {
        recognizer: RECOGNIZER.into(),
        config: Some(recognition()),
        audio_source: Some(AudioSource::Content(vec![0; 320].into())),
        ..Default::default()
    };
    let mut request = Request::new(message);
    if let Some(token) = token {
        let value: MetadataValue<_> = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    if project {
        request.metadata_mut().insert("x-goog-user-project", MetadataValue::from_static("p"));
    }
    hearer(sim).await.recognize(request).await.map(drop)
}

#[tokio::test]
async fn rule_31_tokens_must_look_right() {
    let sim = start(with(|options| options.auth = Auth::BEARER)).await;
    let now = clock::now().timestamp();
    let good = token(|_| {});
    let audience = token(|claims| {
        claims.as_object_mut().unwrap().remove("scope");
        claims["aud"] = "https://speech.googleapis.com/".into();
    });
    for good in [good.as_str(), &audience, "ya29.a0AfH6SMBx"] {
        authorized(&sim, Some(good), false).await.unwrap();
    }
    let bad = [
        token(|claims| claims["sub"] = "somebody".into()),
        token(|claims| claims["aud"] = "https://speech.googleapis.com/".into()),
        token(|claims| drop(claims.as_object_mut().unwrap().remove("scope"))),
        token(|claims| claims["exp"] = (now + 7200).into()),
        token(|claims| claims["exp"] = (now - 1).into()),
        token(|claims| claims["iat"] = (now + 600).into()),
        "garbled".to_owned(),
        format!("{good}.more"),
    ];
    for bad in bad.iter().map(|bad| Some(bad.as_str())).chain([None]) {
        assert_eq!(authorized(&sim, bad, false).await.unwrap_err().code(), Code::Unauthenticated, "{bad:?}");
    }
    sim.set_auth(Auth::Expired);
    assert_eq!(authorized(&sim, Some(&good), false).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn rule_32_a_user_needs_a_quota_project() {
    let sim = start(with(|options| options.auth = Auth::Bearer { life: None, user: true })).await;
    let refused = authorized(&sim, Some("ya29.a0AfH6SMBx"), false).await.unwrap_err();
    assert!(refused.code() == Code::PermissionDenied && refused.message().contains("requires a quota project"));
    authorized(&sim, Some("ya29.a0AfH6SMBx"), true).await.unwrap();
}

#[tokio::test]
async fn rule_33_a_token_can_be_short_lived() {
    let life = Some(Duration::from_secs(20));
    let sim = start(with(|options| (options.speed, options.auth) = (200.0, Auth::Bearer { life, user: false }))).await;
    authorized(&sim, Some("ya29.one-and-only"), false).await.unwrap();
    clock::sleep(Duration::from_millis(150)).await;
    let refused = authorized(&sim, Some("ya29.one-and-only"), false).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    authorized(&sim, Some("ya29.another-one"), false).await.unwrap();
}

/// Rule 34: a small answer does not wait 40 ms for an acknowledgement.
#[tokio::test]
async fn rule_34_small_messages_go_at_once() {
    let sim = start(quick()).await;
    let mut client = hearer(&sim).await;
    let message = || RecognizeRequest {
        recognizer: RECOGNIZER.into(),
        config: Some(recognition()),
        audio_source: Some(AudioSource::Content(vec![0; 320].into())),
        ..Default::default()
    };
    let mut quickest = Duration::MAX;
    for _ in 0..20 {
        let began = clock::monotonic();
        client.recognize(message()).await.unwrap();
        quickest = quickest.min(began.elapsed());
    }
    assert!(quickest < Duration::from_millis(40), "{quickest:?}");
}

/// Rule 36, and 4: what a location has, as the refusals have it.
#[tokio::test]
async fn rule_36_locations_tell_models_and_features() {
    let sim = start(quick()).await;
    let mut client = tonic::client::Grpc::new(channel(&sim).await);
    let mut ask = async |name: &str| -> Result<Location, Status> {
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<GetLocationRequest, Location>::default();
        let path = http::uri::PathAndQuery::from_static("/google.cloud.location.Locations/GetLocation");
        let request = Request::new(GetLocationRequest { name: name.into() });
        client.unary(request, path, codec).await.map(tonic::Response::into_inner)
    };
    let location = ask("projects/p/locations/us").await.unwrap();
    let metadata = LocationsMetadata::decode(&location.metadata.unwrap().value[..]).unwrap();
    let english = &metadata.languages.unwrap().models["en-US"].model_features;
    let has = |model: &str, feature: &str| english[model].model_feature.iter().any(|it| it.feature == feature);
    assert!(has("long", "speech_adaptation_boost") && !has("telephony", "speech_adaptation_boost"));
    assert!(has("chirp_3", "speaker_diarization") && !english.contains_key("chirp_2"));
    assert_eq!(ask("projects/p/locations/mars").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn recognize_takes_a_minute_and_ten_megabytes() {
    let sim = start(quick()).await;
    let mut client = hearer(&sim).await;
    let mut ask = async |audio: Option<AudioSource>| {
        let request = RecognizeRequest {
            recognizer: RECOGNIZER.into(),
            config: Some(recognition()),
            audio_source: audio,
            ..Default::default()
        };
        client.recognize(request).await.map(tonic::Response::into_inner)
    };
    let content = |bytes: Vec<u8>| Some(AudioSource::Content(bytes.into()));
    let samples = [spoken("all at once"), spoken("and more")].concat();
    let heard = ask(content(bytes(&samples))).await.unwrap();
    let texts: Vec<_> = heard.results.iter().map(|result| result.alternatives[0].transcript.as_str()).collect();
    assert_eq!(texts, ["all at once", " and more"]);
    let billed = heard.metadata.unwrap().total_billed_duration.unwrap();
    assert_eq!(billed.seconds as usize, samples.len().div_ceil(16_000));
    for (audio, code, text) in [
        (content(vec![0; 60 * 32_000 + 2]), Code::InvalidArgument, "Audio can be of a maximum of 60 seconds."),
        (content(vec![0; 10 * 1024 * 1024 + 1]), Code::InvalidArgument, "Request payload size exceeds the limit"),
        (None, Code::InvalidArgument, "exactly one of content and uri"),
        (Some(AudioSource::Uri("https://example.com/a.wav".into())), Code::InvalidArgument, "invalid URI"),
        (Some(AudioSource::Uri("gs://bucket/a.wav".into())), Code::NotFound, "no bucket"),
    ] {
        let refused = ask(audio).await.unwrap_err();
        assert!(refused.code() == code && refused.message().contains(text), "{refused:?}");
    }
}

#[tokio::test]
async fn methods_that_it_does_not_have_are_unimplemented() {
    let sim = start(quick()).await;
    let mut client = SpeechClient::new(channel(&sim).await);
    let refused = client.batch_recognize(stt::BatchRecognizeRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
}

/// A client that goes away is seen.
#[tokio::test]
async fn a_client_that_leaves_is_in_the_journal() {
    let sim = start(with(|options| options.hearing.idle = NEVER)).await;
    let stream = Stream::open(&sim, vec![opening(config()), sound(vec![0; 320])]).await.unwrap();
    drop(stream);
    let left = sim.until(|calls| calls.iter().any(|call| call.ending == Some(Ending::Left)));
    tokio::time::timeout(Duration::from_secs(30), left).await.unwrap();
    assert_eq!(sim.calls()[0].method, Method::StreamingRecognize);
}
