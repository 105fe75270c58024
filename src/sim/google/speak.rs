//! `StreamingSynthesize`: text comes in pieces, sound goes out in pieces.

use std::sync::Arc;

use googleapis_tonic_google_cloud_texttospeech_v1::google::cloud::texttospeech::v1 as tts;
use tokio::sync::{mpsc, oneshot};
use tonic::{Code, Status, Streaming};
pub(super) use tts::StreamingSynthesizeRequest as Request;
pub(super) use tts::StreamingSynthesizeResponse as Response;
use tts::streaming_synthesis_input::InputSource;
use tts::streaming_synthesize_request::StreamingRequest;
use tts::{StreamingSynthesisInput, StreamingSynthesizeConfig};

use super::core::{Core, Link};
use super::journal::{Ending, Entry};
use super::quota::Place;
use super::script::{Script, What, When};
use super::sound::{self, Manner};
use super::status::{beyond, invalid, status};
use super::{utter, voices};
use crate::audio::{AudioFormat, Encoder};
use crate::clock::{self, Monotonic};
use crate::sim::tones::RATE_HZ;

/// What a stream is served with.
pub(super) struct Call {
    pub core: Arc<Core>,
    pub entry: Entry,
    pub link: Link,
    pub input: Streaming<Request>,
    pub out: mpsc::Sender<Result<Response, Status>>,
    /// Given when response headers may go.
    pub headers: Option<oneshot::Sender<()>>,
    pub _place: Place,
}

enum End {
    Failed(Status),
    Left,
    Cut,
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        Self::Failed(status)
    }
}

struct Session<'a> {
    call: &'a mut Call,
    manner: Manner,
    encoder: Encoder,
    script: Script,
    /// When the first sound may go.
    ready: Monotonic,
    /// Text that is no whole sentence yet.
    held: String,
    stalled: bool,
}

/// Serves a stream to its end.
pub(super) async fn serve(mut call: Call) {
    match run(&mut call).await {
        Ok(()) => call.entry.end(Ending::Done),
        Err(End::Failed(status)) => {
            call.entry.refuse(&status);
            let _ = call.out.send(Err(status)).await;
        }
        Err(End::Left) => call.entry.end(Ending::Left),
        Err(End::Cut) => call.entry.end(Ending::Cut),
    }
}

async fn run(call: &mut Call) -> Result<(), End> {
    let first = next(call).await?.and_then(|message| message.streaming_request);
    let Some(StreamingRequest::StreamingConfig(config)) = first else {
        return Err(invalid("The first message of a stream must be its streaming_config.").into());
    };
    let (manner, format) = plan(call, &config)?;
    let encoder = Encoder::new(RATE_HZ, format).map_err(|error| invalid(error.to_string()))?;
    let script = call.core.script(call.entry.method, call.entry.number);
    let ready = clock::monotonic() + call.core.options.real(call.core.options.speaking.first_sound);
    let mut session = Session { call, manner, encoder, script, ready, held: String::new(), stalled: false };
    session.happen(When::Open)?;
    while let Some(message) = next(session.call).await? {
        match message.streaming_request {
            Some(StreamingRequest::Input(input)) => session.take(input).await?,
            _ => return Err(invalid("Only input may follow a stream's streaming_config.").into()),
        }
    }
    session.finish().await
}

/// The next message, within the time that Google waits for one.
async fn next(call: &mut Call) -> Result<Option<Request>, End> {
    let idle = call.core.options.real(call.core.options.speaking.input_idle);
    let message = tokio::select! {
        message = call.input.message() => message.map_err(|_| End::Left)?,
        () = call.out.closed() => return Err(End::Left),
        () = clock::sleep(idle) => {
            let text = "Stream aborted due to long duration elapsed without input sent. Input must be sent continuously, at \
                        least every 5s seconds.";
            return Err(status(Code::Aborted, text).into());
        }
    };
    call.entry.note(|entry| entry.messages += u64::from(message.is_some()));
    Ok(message)
}

fn plan(call: &Call, config: &StreamingSynthesizeConfig) -> Result<(Manner, AudioFormat), Status> {
    let voice = config.voice.clone().unwrap_or_default();
    call.entry.note(|entry| entry.resource.clone_from(&voice.name));
    let kind = voices::choose(Some(&voice))?;
    if !kind.streams() {
        return Err(invalid("Currently, only Chirp 3: HD, Journey and Gemini voices support streaming synthesis."));
    }
    let audio = config.streaming_audio_config.unwrap_or_default();
    let format = utter::format(audio.audio_encoding, audio.sample_rate_hertz, true)?;
    let manner = Manner {
        language: voice.language_code,
        rate: utter::rate(audio.speaking_rate)?,
        gain_db: 0.0,
        aloud: call.core.options.speaking.aloud,
    };
    Ok((manner, format))
}

impl Session<'_> {
    async fn take(&mut self, input: StreamingSynthesisInput) -> Result<(), End> {
        let text = match input.input_source {
            Some(InputSource::Text(text) | InputSource::Markup(text)) => text,
            Some(InputSource::MultiSpeakerMarkup(_)) => return Err(beyond("speak with several voices").into()),
            None => {
                return Err(invalid("An input must have exactly one of text, markup and multi_speaker_markup.").into());
            }
        };
        self.call.entry.note(|entry| entry.inputs.push(text.clone()));
        utter::check_length(&text, self.call.core.options.speaking.longest_sentence_bytes)?;
        self.held.push_str(&text);
        // Whole sentences are spoken as soon as they are there.
        let Some(end) = self.held.rfind(['.', '!', '?', '\n', '。', '！', '？']) else { return Ok(()) };
        let rest = self.held.split_off(self.held.ceil_char_boundary(end + 1));
        let sentences = std::mem::replace(&mut self.held, rest);
        self.speak(&sentences).await
    }

    async fn finish(mut self) -> Result<(), End> {
        let rest = std::mem::take(&mut self.held);
        self.speak(&rest).await?;
        let Self { encoder, call, .. } = self;
        let mut bytes = Vec::new();
        encoder.finish(&mut bytes).map_err(|error| invalid(error.to_string()))?;
        if bytes.is_empty() {
            return Ok(());
        }
        deliver(call, bytes).await
    }

    async fn speak(&mut self, text: &str) -> Result<(), End> {
        if text.trim().is_empty() {
            return Ok(());
        }
        let samples = sound::say(text, &self.manner).await?;
        let mut bytes = Vec::new();
        self.encoder.push(&samples, &mut bytes).map_err(|error| invalid(error.to_string()))?;
        tokio::time::sleep_until(self.ready).await;
        self.call.entry.note(|entry| entry.characters += text.chars().count() as u64);
        let options = &self.call.core.options.speaking;
        let step = if options.odd_pieces { 1 } else { 2 };
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let sent = self.call.entry.note(|entry| entry.responses);
            self.happen(When::InsteadOf(sent))?;
            if self.stalled {
                self.call.out.closed().await;
                return Err(End::Left);
            }
            let size = self.call.core.dice(|dice| dice.usize(100..8000)) * step;
            let (piece, later) = rest.split_at(size.min(rest.len()));
            rest = later;
            deliver(self.call, piece.to_vec()).await?;
            self.happen(When::After(sent + 1))?;
        }
        Ok(())
    }

    fn happen(&mut self, now: When) -> Result<(), End> {
        for what in self.script.due(|when| when == now) {
            match what {
                What::Status(code, text) => return Err(status(code, text).into()),
                What::Stall => self.stalled = true,
                What::Reset => {
                    self.call.link.reset();
                    return Err(End::Cut);
                }
                What::Disconnect => {
                    self.call.link.disconnect();
                    return Err(End::Cut);
                }
                What::GoAway => self.call.link.go_away(),
                What::SlowInterims(_) | What::WrongInterims | What::EmptyFinals => {}
            }
        }
        Ok(())
    }
}

async fn deliver(call: &mut Call, bytes: Vec<u8>) -> Result<(), End> {
    call.headers.take().map(|headers| headers.send(()));
    let response = Response { audio_content: bytes.into() };
    call.out.send(Ok(response)).await.map_err(|_| End::Left)?;
    call.entry.note(|entry| entry.responses += 1);
    Ok(())
}
