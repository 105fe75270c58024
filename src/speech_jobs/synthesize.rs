//! `voice.speech.synthesize_requested`: text into sound.

use serde_json::{Value, json};

use super::{Inner, Trouble, request, result};
use crate::audio::Encoder;
use crate::config;
use crate::fault;
use crate::job::{SynthesizeData, s3_place};
use crate::speech::SynthesisRequest;
use crate::store::speech_jobs::{LeasedSpeechJob, SpeechResult};

impl Inner {
    pub(super) async fn synthesize(&self, job: &LeasedSpeechJob) -> Result<SpeechResult, Trouble> {
        let data: SynthesizeData = request(job)?;
        let engine = self.engines.tts()?.clone();
        let refused = |problem: String| Trouble::Hopeless("engine_refused", problem);
        let format = data.audio_format().map_err(|problem| refused(format!("sample_rate {problem}")))?;
        let language = data.language.clone().unwrap_or_else(|| self.language.clone());
        let ssml = data.ssml.is_some();
        let text = data.ssml.or(data.text).unwrap_or_default();
        let speech = engine.speak(SynthesisRequest {
            text,
            ssml,
            language: language.clone(),
            voice: data.voice.clone(),
            speaking_rate: data.speaking_rate,
            rate_hz: format.rate_hz,
        });
        let mut speech = speech.await?;
        let room = self.settings.max_audio.as_secs() as usize * format.rate_hz as usize;
        let mut samples = Vec::new();
        while let Some(piece) = speech.sound.recv().await {
            samples.extend(piece?);
            if samples.len() > room {
                let most = config::duration::format(self.settings.max_audio);
                return Err(Trouble::Hopeless(
                    "too_long",
                    format!("more than {most} of sound (speech.jobs.max_audio)"),
                ));
            }
        }
        if samples.is_empty() {
            return Err(Trouble::Passing("engine_unreadable", "the engine made no sound".into()));
        }
        fault::point("speech_made");
        let duration_ms = samples.len() as u64 * 1000 / u64::from(format.rate_hz);
        let bytes = Encoder::file(format.rate_hz, format, &samples).map_err(|problem| refused(problem.to_string()))?;
        let mut told = json!({
            "format": format.encoding.name(), "sample_rate": format.rate_hz, "duration_ms": duration_ms, "bytes": bytes.len(),
            "language": language, "characters": speech.usage.characters,
        });
        let output = match &data.output_url {
            None => Some(bytes),
            Some(url) => {
                let Some((bucket, key)) = s3_place(url) else {
                    return Err(refused("output_url is no s3: address".into()));
                };
                // The same place each time: a second try writes the same again.
                self.s3.put(&bucket, &key, &format.mime(), bytes).await?;
                told["output_url"] = Value::String(url.to_string());
                None
            }
        };
        Ok(result(engine.name(), told, output))
    }
}
