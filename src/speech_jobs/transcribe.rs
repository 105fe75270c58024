//! `voice.audio.transcribe_requested`: a recording into text.

use std::time::Duration;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Inner, Trouble, request, result};
use crate::audio::{AudioError, Decoder, chunks};
use crate::config;
use crate::fault;
use crate::job::TranscribeData;
use crate::speech::{Phrase, RecognitionConfig, Utterance};
use crate::store::speech_jobs::{HeardChunk, LeasedSpeechJob, SpeechResult};

/// Of what engines get.
const RATE_HZ: u32 = 16_000;

/// An utterance as it is kept and told: times in milliseconds of the recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Said {
    text: String,
    start_ms: u64,
    end_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    confidence: Option<f32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    words: Vec<SaidWord>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SaidWord {
    word: String,
    start_ms: u64,
    end_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    confidence: Option<f32>,
}

impl Inner {
    pub(super) async fn transcribe(&self, job: &LeasedSpeechJob) -> Result<SpeechResult, Trouble> {
        let data: TranscribeData = request(job)?;
        let engine = self.engines.stt()?.clone();
        let bytes = self.recording(job, &data).await?;
        let samples = decode(&data, bytes, self.settings.max_audio).await?;
        let duration = time_of(samples.len());
        let hash = hash_of(&samples);
        let Some(kept) = self.store.begin_sound(job, &hash, duration).await? else { return Err(Trouble::Overtaken) };
        let language = data.language.clone().unwrap_or_else(|| self.language.clone());
        let config = RecognitionConfig {
            language: language.clone(),
            model: data.model.clone(),
            rate_hz: RATE_HZ,
            punctuation: data.punctuation,
            words: data.words,
            interims: false,
            phrases: data.phrases.iter().map(|p| Phrase { text: p.text.clone(), boost: p.boost }).collect(),
        };
        let longest = self.settings.chunk.min(engine.hearing(&config).longest);
        let mut said = Vec::new();
        let (mut begin, mut n) = (0, 0);
        for chunk in kept {
            // Where a chunk ends is kept with it: another version may divide otherwise.
            begin = samples_of(chunk.to_ms);
            n = chunk.n + 1;
            said.extend(read_back(chunk.utterances)?);
        }
        let begin = begin.min(samples.len());
        for chunk in chunks(&samples[begin..], RATE_HZ, longest) {
            let (from, mut to) = (begin + chunk.start, begin + chunk.end);
            if to < samples.len() {
                // To the millisecond, as it is kept.
                to = samples_of(ms_of(to) as i64);
            }
            let from = samples_of(ms_of(from) as i64);
            let recognized = engine.recognize(&config, &samples[from..to]).await?;
            fault::point("chunk_heard");
            let heard: Vec<Said> =
                recognized.utterances.into_iter().map(|utterance| Said::of(utterance, from)).collect();
            let utterances = serde_json::to_value(&heard).unwrap_or_default();
            let chunk = HeardChunk { n, from_ms: ms_of(from) as i64, to_ms: ms_of(to) as i64, utterances };
            if !self.store.keep_chunk(job, &chunk).await? {
                return Err(Trouble::Overtaken);
            }
            fault::point("chunk_kept");
            said.extend(heard);
            n += 1;
        }
        Ok(result(engine.name(), told(said, &language, duration), None))
    }
}

fn told(said: Vec<Said>, language: &str, duration: Duration) -> Value {
    let texts: Vec<&str> = said.iter().map(|said| said.text.trim()).filter(|text| !text.is_empty()).collect();
    let text = texts.join(" ");
    let confidence = confidence(&said);
    let words: Vec<SaidWord> = said.iter().flat_map(|said| said.words.iter().cloned()).collect();
    let utterances: Vec<Said> = said.into_iter().map(|said| Said { words: Vec::new(), ..said }).collect();
    json!({
        "text": text, "language": language, "confidence": confidence, "duration_ms": duration.as_millis() as u64,
        "words": words, "utterances": utterances,
    })
}

/// The utterances' mean, by their lengths; `None` where one has none.
fn confidence(said: &[Said]) -> Option<f32> {
    let (mut sum, mut weight) = (0.0, 0.0);
    for said in said {
        let length = said.end_ms.saturating_sub(said.start_ms).max(1) as f64;
        sum += f64::from(said.confidence?) * length;
        weight += length;
    }
    (weight > 0.0).then(|| (sum / weight) as f32)
}

impl Said {
    /// `from` is the chunk's first sample.
    fn of(utterance: Utterance, from: usize) -> Self {
        let offset = time_of(from);
        let ms = |time: Duration| (offset + time).as_millis() as u64;
        let words = utterance.words.into_iter().map(|word| SaidWord {
            word: storable(word.text),
            start_ms: ms(word.start),
            end_ms: ms(word.end),
            confidence: word.confidence,
        });
        Self {
            words: words.collect(),
            text: storable(utterance.text),
            start_ms: ms(utterance.start),
            end_ms: ms(utterance.end),
            confidence: utterance.confidence,
        }
    }
}

/// Postgres keeps no NUL.
fn storable(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

fn read_back(utterances: Value) -> Result<Vec<Said>, Trouble> {
    serde_json::from_value(utterances)
        .map_err(|error| Trouble::Passing("unreadable", format!("a kept chunk cannot be read: {error}")))
}

/// Away from the runtime's threads: an hour of Opus takes seconds.
async fn decode(data: &TranscribeData, bytes: Vec<u8>, most: Duration) -> Result<Vec<i16>, Trouble> {
    let unreadable = |problem: String| Trouble::Hopeless("bad_audio", problem);
    let format = data.audio_format().map_err(|problem| unreadable(format!("sample_rate {problem}")))?;
    let pick = data.channel.pick();
    let decoding = tokio::task::spawn_blocking(move || {
        Decoder::new(format, pick, RATE_HZ).and_then(|decoder| decoder.whole(&bytes, most))
    });
    let decoded = decoding.await.map_err(|_| unreadable("the decoder failed".into()))?;
    let (samples, cut) = decoded.map_err(|problem| match problem {
        AudioError::TooLong { .. } => {
            let most = config::duration::format(most);
            Trouble::Hopeless("too_long", format!("the recording is longer than {most} (speech.jobs.max_audio)"))
        }
        AudioError::Unsupported { .. } => Trouble::Hopeless("unsupported_audio", problem.to_string()),
        other => unreadable(other.to_string()),
    })?;
    if samples.is_empty() {
        return Err(unreadable("the recording holds no sound".into()));
    }
    if cut {
        // What is there is heard: recorders that were stopped leave such files.
        tracing::debug!("a recording ends before its header says");
    }
    Ok(samples)
}

fn hash_of(samples: &[i16]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut bytes = Vec::with_capacity(8192);
    for part in samples.chunks(4096) {
        bytes.clear();
        bytes.extend(part.iter().flat_map(|sample| sample.to_le_bytes()));
        context.update(&bytes);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn time_of(samples: usize) -> Duration {
    Duration::from_micros(samples as u64 * 1_000_000 / u64::from(RATE_HZ))
}

fn ms_of(samples: usize) -> u64 {
    samples as u64 * 1000 / u64::from(RATE_HZ)
}

fn samples_of(ms: i64) -> usize {
    ms.max(0) as usize * (RATE_HZ as usize / 1000)
}
