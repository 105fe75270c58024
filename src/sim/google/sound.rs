//! Makes speech: tones that carry the text, or `espeak-ng`'s voice.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tonic::{Code, Status};

use super::status::status;
use crate::audio::{AudioFormat, Decoder, Encoding, Pick};
use crate::sim::tones;

const ESPEAK: &str = "espeak-ng";
/// Longer than any text that is taken takes it.
const ESPEAK_WITHIN: Duration = Duration::from_secs(30);
/// At rate 1.
const WORDS_PER_MINUTE: f64 = 175.0;
const LONGEST: Duration = Duration::from_secs(3600);

/// Where `espeak-ng` is, if it is installed.
pub(super) fn espeak() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(ESPEAK)).find(|program| program.is_file())
}

/// How something is said.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    pub language: String,
    /// 0.25 to 2.
    pub rate: f64,
    pub gain_db: f64,
    /// With `espeak-ng`.
    pub aloud: bool,
}

/// Samples of 16 kHz. Tones cannot be hurried: at a rate below 1 the words lie apart, above it they are as at 1.
pub(super) async fn say(text: &str, manner: &Manner) -> Result<Vec<i16>, Status> {
    let mut samples = if manner.aloud { aloud(text, manner).await? } else { in_tones(text, manner.rate) };
    if manner.gain_db != 0.0 {
        let factor = 10f64.powf(manner.gain_db / 20.0);
        samples.iter_mut().for_each(|sample| *sample = (f64::from(*sample) * factor).round() as i16);
    }
    Ok(samples)
}

fn in_tones(text: &str, rate: f64) -> Vec<i16> {
    if rate >= 1.0 {
        return tones::encode(text);
    }
    let mut samples = Vec::new();
    for word in text.split_whitespace() {
        let sound = tones::encode(word);
        let pause = sound.len() as f64 * (1.0 / rate - 1.0);
        samples.extend(sound);
        samples.resize(samples.len() + pause as usize, 0);
    }
    samples
}

async fn aloud(text: &str, manner: &Manner) -> Result<Vec<i16>, Status> {
    let failed = |what: String| status(Code::Internal, format!("{ESPEAK}: {what}"));
    let language = manner.language.to_lowercase();
    let voice = if language.starts_with("en-") { language } else { language.split('-').next().unwrap_or("en").into() };
    let mut child = Command::new(ESPEAK)
        .args(["--stdout", "--stdin", "-v", &voice, "-s", &format!("{:.0}", WORDS_PER_MINUTE * manner.rate)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(text.as_bytes()).await.map_err(|error| failed(error.to_string()))?;
    }
    let output = tokio::time::timeout(ESPEAK_WITHIN, child.wait_with_output()).await;
    let output = output.map_err(|_| failed(format!("not ready within {ESPEAK_WITHIN:?}")))?;
    let output = output.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    let wav = AudioFormat { encoding: Encoding::Wav, ..AudioFormat::PCM16_16K };
    let decoder = Decoder::new(wav, Pick::Mix, tones::RATE_HZ).map_err(|error| failed(error.to_string()))?;
    let (samples, _) = decoder.whole(&output.stdout, LONGEST).map_err(|error| failed(error.to_string()))?;
    Ok(samples)
}
