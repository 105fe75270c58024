//! `SynthesizeSpeech`: all sound in one reply.

use googleapis_tonic_google_cloud_texttospeech_v1::google::cloud::texttospeech::v1 as tts;
use tonic::Status;
use tts::synthesis_input::InputSource;
use tts::{AudioEncoding, SynthesizeSpeechRequest, SynthesizeSpeechResponse};

use super::core::Core;
use super::journal::Entry;
use super::sound::{self, Manner};
use super::status::{beyond, invalid};
use super::voices::{self, Kind};
use super::{ssml, utter};
use crate::audio::{AudioFormat, Encoder, Encoding, wav};
use crate::clock;
use crate::sim::tones::RATE_HZ;

pub(super) async fn synthesize(
    core: &Core,
    entry: &Entry,
    request: SynthesizeSpeechRequest,
) -> Result<SynthesizeSpeechResponse, Status> {
    let options = &core.options.speaking;
    let voice = request.voice.clone().unwrap_or_default();
    entry.note(|call| {
        call.messages = 1;
        call.resource.clone_from(&voice.name);
    });
    let (written, text, is_ssml) = match request.input.and_then(|input| input.input_source) {
        Some(InputSource::Text(text)) => (text.clone(), text, false),
        Some(InputSource::Ssml(ssml)) => {
            utter::check_length(&ssml, usize::MAX)?;
            let text = ssml::text(&ssml).map_err(|problem| invalid(format!("Invalid SSML: {problem}.")))?;
            (ssml, text, true)
        }
        Some(InputSource::Markup(markup)) => (markup.clone(), markup, false),
        Some(InputSource::MultiSpeakerMarkup(_)) => return Err(beyond("speak with several voices")),
        None => {
            return Err(invalid(
                "SynthesisInput must have exactly one of text, markup, ssml and multi_speaker_markup.",
            ));
        }
    };
    entry.note(|call| call.inputs.push(written.clone()));
    if text.trim().is_empty() {
        return Err(invalid("The input is empty."));
    }
    utter::check_length(&text, options.longest_sentence_bytes)?;
    let kind = voices::choose(Some(&voice))?;
    let config = request.audio_config.ok_or_else(|| invalid("AudioConfig must be set."))?;
    if is_ssml && !kind.is_classic() {
        return Err(invalid("This voice does not support SSML input at this time."));
    }
    if config.pitch != 0.0 && !kind.is_classic() {
        return Err(invalid("This voice does not support pitch parameters at this time."));
    }
    if !(-20.0..=20.0).contains(&config.pitch) {
        return Err(invalid(format!("pitch must be between -20 and 20, received {}.", config.pitch)));
    }
    if !(-96.0..=16.0).contains(&config.volume_gain_db) {
        return Err(invalid(format!("volume_gain_db must be between -96 and 16, received {}.", config.volume_gain_db)));
    }
    let manner = Manner {
        language: voice.language_code,
        rate: utter::rate(config.speaking_rate)?,
        gain_db: config.volume_gain_db,
        aloud: options.aloud,
    };
    let format = utter::format(config.audio_encoding, config.sample_rate_hertz, false)?;
    debug_assert!(kind != Kind::Gemini || !is_ssml);
    let mut samples = sound::say(&text, &manner).await?;
    let sample_bytes = if format.encoding == Encoding::Pcm16 { 2 } else { 1 };
    let least = options.least_reply_bytes as u64 * u64::from(RATE_HZ) / (sample_bytes * u64::from(format.rate_hz));
    samples.resize(samples.len().max(least as usize), 0);
    clock::sleep(core.options.real(options.first_sound)).await;
    let sound = Encoder::file(RATE_HZ, format, &samples).map_err(|error| invalid(error.to_string()))?;
    let has_header = config.audio_encoding != AudioEncoding::Pcm as i32 && format.encoding != Encoding::Opus;
    let has_extra = options.extra_chunk && entry.number % 2 == 1;
    let content = if has_header { with_header(format, &sound, has_extra)? } else { sound };
    entry.note(|call| {
        call.responses = 1;
        call.characters = written.chars().count() as u64;
    });
    Ok(SynthesizeSpeechResponse { audio_content: content.into() })
}

/// A WAV; with a chunk of another kind before the sound where `has_extra`.
fn with_header(format: AudioFormat, sound: &[u8], has_extra: bool) -> Result<Vec<u8>, Status> {
    const EXTRA: &[u8] = b"LIST\x1a\0\0\0INFOISFT\x0e\0\0\0Simulated TTS\0";
    let too_long = || invalid("A WAV holds 4 GiB at most.");
    let mut file = wav::header(format, sound.len() as u64).ok_or_else(too_long)?;
    if has_extra {
        let size = u32::from_le_bytes([file[4], file[5], file[6], file[7]]) + EXTRA.len() as u32;
        file[4..8].copy_from_slice(&size.to_le_bytes());
        let data = file.len() - 8;
        file.splice(data..data, EXTRA.iter().copied());
    }
    file.extend_from_slice(sound);
    file.resize(file.len() + sound.len() % 2, 0);
    Ok(file)
}
