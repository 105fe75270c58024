//! What types cannot say about a job's data. All problems at once, with pointers relative to the data.

use std::collections::HashSet;
use std::str::FromStr as _;

use chrono::{DateTime, Datelike as _, Utc};
use serde_json::{Map, Value};

use super::event::{CallData, CancelData, VoiceConfigRef};
use super::speech::{SynthesizeData, TranscribeData, s3_place};
use crate::call::{FieldError, VoiceConfig};
use crate::text::pointer_token;

/// Far more than any platform speaks; each platform's own limit is checked before sending.
pub(super) const MAX_CONTENT_CHARS: usize = 50_000;
/// Ids of leads and users, names.
pub(super) const MAX_ID_CHARS: usize = 256;
pub(super) const MAX_MESSAGE_TYPE_CHARS: usize = 64;
/// Names of stored voice configurations and of platforms.
pub(super) const MAX_CONFIG_NAME_CHARS: usize = 128;
pub(super) const MAX_REASON_CHARS: usize = 500;
/// As compact JSON.
pub(super) const MAX_METADATA_BYTES: usize = 16 * 1024;
const MAX_FALLBACKS: usize = 8;
const MAX_LANGUAGE_CHARS: usize = 64;
/// As Google allows them.
const MAX_PHRASES: usize = 500;
const MAX_PHRASE_CHARS: usize = 100;

pub(super) fn call(data: &CallData) -> Vec<FieldError> {
    let mut problems = Problems::default();
    problems.text("/content", data.content.as_deref(), MAX_CONTENT_CHARS);
    problems.text("/message_type", Some(&data.message_type), MAX_MESSAGE_TYPE_CHARS);
    problems.text("/lead/id", data.lead.id.as_deref(), MAX_ID_CHARS);
    problems.text("/lead/name", data.lead.name.as_deref(), MAX_ID_CHARS);
    if let Some(zone) = &data.lead.timezone
        && chrono_tz::Tz::from_str(zone).is_err()
    {
        let hint = crate::text::nearest_hint(zone, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()));
        problems.add(
            "/lead/timezone",
            format!("{zone:?} is not an IANA time zone{hint}, expected e.g. \"America/Chicago\""),
        );
    }
    problems.text("/user/id", data.user.as_ref().map(|user| user.id.as_str()), MAX_ID_CHARS);
    match &data.voice_config {
        VoiceConfigRef::Name(name) => problems.text("/voice_config", Some(name), MAX_CONFIG_NAME_CHARS),
        VoiceConfigRef::Inline(config) => {
            problems.0.extend(check_voice_config(config).into_iter().map(|problem| problem.below("/voice_config")));
        }
    }
    problems.metadata(&data.metadata);
    problems.time("/not_before", data.not_before);
    problems.time("/expires_at", data.expires_at);
    if let (Some(from), Some(until)) = (data.not_before, data.expires_at)
        && until <= from
    {
        problems.add("/expires_at", "is not after not_before, expected a later time".into());
    }
    problems.0
}

pub(super) fn cancel(data: &CancelData) -> Vec<FieldError> {
    let mut problems = Problems::default();
    match (&data.call_id, &data.source, &data.id) {
        (Some(_), None, None) | (None, _, Some(_)) => {}
        (Some(_), ..) => {
            problems.add("/call_id", "stands beside source or id, expected one way to name the call".into())
        }
        (None, ..) => problems.add("/id", "is missing, expected call_id, or the id (and source) of the job".into()),
    }
    problems.text("/id", data.id.as_deref(), MAX_ID_CHARS);
    if let Some(source) = data.source.as_deref().filter(|source| !source.is_empty()) {
        problems.text("/source", Some(source), MAX_ID_CHARS);
    }
    problems.text("/reason", data.reason.as_deref(), MAX_REASON_CHARS);
    problems.0
}

pub(super) fn transcribe(data: &TranscribeData) -> Vec<FieldError> {
    let mut problems = Problems::default();
    match (&data.audio, &data.audio_url) {
        (Some(_), Some(_)) => {
            problems.add("/audio_url", "stands beside audio, expected one of the two".into());
        }
        (None, None) => problems.add("/audio", "is missing, expected audio (base64) or audio_url".into()),
        (Some(_), None) => match data.audio_bytes() {
            Err(problem) => problems.add("/audio", problem),
            Ok(bytes) if bytes.as_ref().is_none_or(Vec::is_empty) => {
                problems.add("/audio", "is empty, expected a recording".into());
            }
            Ok(_) => {}
        },
        (None, Some(url)) => {
            let known = match url.scheme() {
                "https" | "http" => url.has_host(),
                _ => s3_place(url).is_some(),
            };
            if !known {
                problems.add("/audio_url", "is no address of a recording, expected https: or s3://bucket/key".into());
            }
        }
    }
    if let Err(problem) = data.audio_format() {
        problems.add("/sample_rate", problem);
    }
    problems.text("/language", data.language.as_deref(), MAX_LANGUAGE_CHARS);
    problems.text("/model", data.model.as_deref(), MAX_CONFIG_NAME_CHARS);
    if data.phrases.len() > MAX_PHRASES {
        problems.add("/phrases", format!("has {} entries, expected at most {MAX_PHRASES}", data.phrases.len()));
    }
    for (n, phrase) in data.phrases.iter().enumerate() {
        problems.text(&format!("/phrases/{n}/text"), Some(&phrase.text), MAX_PHRASE_CHARS);
        if !(phrase.boost > 0.0 && phrase.boost <= 20.0) {
            problems
                .add(&format!("/phrases/{n}/boost"), format!("is {}, expected more than 0, at most 20", phrase.boost));
        }
    }
    problems.metadata(&data.metadata);
    problems.0
}

pub(super) fn synthesize(data: &SynthesizeData) -> Vec<FieldError> {
    let mut problems = Problems::default();
    match (&data.text, &data.ssml) {
        (Some(_), Some(_)) => problems.add("/ssml", "stands beside text, expected one of the two".into()),
        (None, None) => problems.add("/text", "is missing, expected text or ssml".into()),
        _ => {}
    }
    problems.text("/text", data.text.as_deref(), MAX_CONTENT_CHARS);
    problems.text("/ssml", data.ssml.as_deref(), MAX_CONTENT_CHARS);
    if data.text.as_deref().is_some_and(|text| !text.is_empty() && text.trim().is_empty()) {
        problems.add("/text", "has white space only, expected something to say".into());
    }
    problems.text("/language", data.language.as_deref(), MAX_LANGUAGE_CHARS);
    problems.text("/voice", data.voice.as_deref(), MAX_CONFIG_NAME_CHARS);
    if !(0.25..=2.0).contains(&data.speaking_rate) {
        problems.add("/speaking_rate", format!("is {}, expected 0.25 to 2.0", data.speaking_rate));
    }
    if let Err(problem) = data.audio_format() {
        problems.add("/sample_rate", problem);
    }
    if data.output_url.as_ref().is_some_and(|url| s3_place(url).is_none()) {
        problems.add("/output_url", "is not an address that can be written to, expected s3://bucket/key".into());
    }
    problems.metadata(&data.metadata);
    problems.0
}

/// A voice configuration, inline or to be stored: lengths, ranges, and [`VoiceConfig::problems`]. Whether its platforms
/// exist and know the options is the platforms' to say.
pub fn check_voice_config(config: &VoiceConfig) -> Vec<FieldError> {
    let mut problems = Problems::default();
    problems.text("/platform", Some(&config.platform), MAX_CONFIG_NAME_CHARS);
    if config.fallback_platforms.len() > MAX_FALLBACKS {
        let detail = format!("has {} entries, expected at most {MAX_FALLBACKS}", config.fallback_platforms.len());
        problems.add("/fallback_platforms", detail);
    }
    let mut seen = HashSet::from([config.platform.as_str()]);
    for name in config.fallback_configs.keys().filter(|name| !config.fallback_platforms.contains(name)) {
        let detail = "is not one of fallback_platforms, expected one that is".to_owned();
        problems.add(&format!("/fallback_configs/{}", pointer_token(name)), detail);
    }
    for (n, platform) in config.fallback_platforms.iter().enumerate() {
        problems.text(&format!("/fallback_platforms/{n}"), Some(platform), MAX_CONFIG_NAME_CHARS);
        if !seen.insert(platform) {
            problems.add(&format!("/fallback_platforms/{n}"), format!("{platform:?} is named twice, expected once"));
        }
    }
    problems.text("/content", config.content.as_deref(), MAX_CONTENT_CHARS);
    problems.text("/voice_id", config.voice_id.as_deref(), MAX_ID_CHARS);
    problems.text("/language", config.language.as_deref(), MAX_CONFIG_NAME_CHARS);
    if let Some(url) = config.webhook_config.as_ref().and_then(|webhook| webhook.url.as_ref())
        && !matches!(url.scheme(), "https" | "http")
    {
        let detail = format!("has the scheme {:?}, expected https", url.scheme());
        problems.add("/webhook_config/url", detail);
    }
    problems.0.extend(config.problems());
    problems.0
}

#[derive(Default)]
struct Problems(Vec<FieldError>);

impl Problems {
    fn add(&mut self, pointer: &str, detail: String) {
        self.0.push(FieldError::new(pointer, detail));
    }

    fn text(&mut self, pointer: &str, text: Option<&str>, max_chars: usize) {
        let Some(text) = text else { return };
        let found = match text.chars().count() {
            0 => "is empty".to_owned(),
            n if n > max_chars => format!("has {n} characters"),
            _ => return,
        };
        self.add(pointer, format!("{found}, expected text of 1 to {max_chars} characters"));
    }

    fn metadata(&mut self, metadata: &Map<String, Value>) {
        let bytes = serde_json::to_vec(metadata).map_or(0, |bytes| bytes.len());
        if bytes > MAX_METADATA_BYTES {
            self.add("/metadata", format!("has {bytes} bytes, expected at most {MAX_METADATA_BYTES}"));
        }
    }

    /// Postgres and most clients agree on these years.
    fn time(&mut self, pointer: &str, time: Option<DateTime<Utc>>) {
        if let Some(time) = time
            && !(1970..=9999).contains(&time.year())
        {
            self.add(pointer, format!("is in the year {}, expected 1970 to 9999", time.year()));
        }
    }
}
