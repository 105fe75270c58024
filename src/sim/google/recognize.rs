//! `Recognize`: a recording of at most a minute, all at once.

use std::time::Duration;

use googleapis_tonic_google_cloud_speech_v2::google::cloud::speech::v2 as speech;
use speech::recognize_request::AudioSource;
use speech::{RecognitionResponseMetadata, RecognizeRequest, RecognizeResponse, SpeechRecognitionResult};
use tonic::{Code, Status};

use super::core::Core;
use super::ears::{Ears, Sign, time};
use super::intake::Intake;
use super::journal::{Entry, whole_seconds};
use super::request::{self, Endpoint};
use super::results::{alternatives, offset};
use super::status::{invalid, status};

const MOST_BYTES: usize = 10 * 1024 * 1024;
const LONGEST: Duration = Duration::from_secs(60);

pub(super) async fn recognize(
    core: &Core,
    entry: &Entry,
    at: &Endpoint,
    request: RecognizeRequest,
) -> Result<RecognizeResponse, Status> {
    entry.note(|call| {
        call.messages = 1;
        call.resource.clone_from(&request.recognizer);
        call.config.clone_from(&request.config);
    });
    let plan = request::recognition(&request.recognizer, &request.config.unwrap_or_default(), at, false)?;
    let bytes = match request.audio_source {
        Some(AudioSource::Content(bytes)) if !bytes.is_empty() => bytes,
        Some(AudioSource::Uri(uri)) if uri.starts_with("gs://") => {
            return Err(status(Code::NotFound, format!("The simulator has no bucket: {uri}.")));
        }
        Some(AudioSource::Uri(uri)) => return Err(invalid(format!("Request contains an invalid URI: {uri:?}."))),
        _ => return Err(invalid("RecognizeRequest must have exactly one of content and uri.")),
    };
    if bytes.len() > MOST_BYTES {
        return Err(invalid(format!("Request payload size exceeds the limit: {MOST_BYTES} bytes.")));
    }
    let mut intake = Intake::new(plan.format);
    let ragged = intake.is_ragged(bytes.len());
    entry.note(|call| {
        call.bytes = bytes.len() as u64;
        call.largest_message = bytes.len();
        call.ragged_messages = u64::from(ragged);
    });
    let mut samples = intake.push(&bytes)?;
    samples.extend(intake.finish()?);
    let audio = intake.audio();
    if audio > LONGEST {
        return Err(invalid("Audio can be of a maximum of 60 seconds."));
    }
    entry.note(|call| call.audio = audio);
    let mut ears = Ears::new(core.options.hearing.endpoint, core.options.hearing.longest_utterance);
    let mut signs = ears.push(&samples);
    signs.extend(ears.finish());
    let finals = signs.into_iter().filter_map(|sign| match sign {
        Sign::Final(said) => Some(said),
        _ => None,
    });
    let results = finals.enumerate().map(|(n, said)| SpeechRecognitionResult {
        alternatives: alternatives(&plan, &said, if n == 0 { "" } else { " " }),
        result_end_offset: offset(time(said.last().map_or(0, |said| said.end))),
        language_code: plan.language.to_owned(),
        ..Default::default()
    });
    let results: Vec<SpeechRecognitionResult> = results.collect();
    let texts = results.iter().filter_map(|result| result.alternatives.first());
    let texts = texts.map(|best| best.transcript.trim().to_owned()).collect();
    entry.note(|call| call.finals = texts);
    let metadata = RecognitionResponseMetadata {
        request_id: core.request_id(),
        total_billed_duration: offset(whole_seconds(audio)),
        ..Default::default()
    };
    Ok(RecognizeResponse { results, metadata: Some(metadata) })
}
