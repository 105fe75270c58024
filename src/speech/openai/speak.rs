//! Text into speech, in pieces that the server takes.

use std::sync::Arc;

use bytes::Bytes;
use reqwest::Response;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::client::{Client, Failure};
use super::error;
use crate::audio::{AudioError, AudioFormat, Decoder, Encoding, Pick, RATES_HZ};
use crate::config::{self, SoundFormat};
use crate::lifecycle::Lifecycle;
use crate::speech::{Speech, SpeechError, SpeechErrorKind, SynthesisRequest, Usage};

/// Of `pcm`, by OpenAI's definition.
const PCM_HZ: u32 = 24_000;
/// Pieces of sound that wait for whoever listens.
const PIECES: usize = 16;

/// Returns when the first sound is about to come.
pub(super) async fn speak(
    client: Arc<Client>,
    settings: &config::OpenAi,
    request: SynthesisRequest,
    lifecycle: &Lifecycle,
) -> Result<Speech, SpeechError> {
    if !RATES_HZ.contains(&request.rate_hz) {
        let detail = format!("{} Hz is no sample rate that is made", request.rate_hz);
        return Err(error(SpeechErrorKind::Request, detail));
    }
    if request.ssml {
        return Err(error(SpeechErrorKind::Request, "it takes no SSML, expected plain text"));
    }
    let texts = pieces(&request.text, settings.max_input_chars);
    let Some(first) = texts.first() else {
        return Err(error(SpeechErrorKind::Request, "there is no text to be spoken"));
    };
    let usage = Usage { characters: request.text.chars().count() as u64, ..Usage::default() };
    let rate_hz = request.rate_hz;
    let mut speaking = Speaking {
        room: settings.max_speech.as_millis() as u64 * u64::from(rate_hz) / 1000,
        client,
        settings: settings.clone(),
        request,
    };
    let opened = speaking.open(first).await?;
    let (sender, sound) = mpsc::channel(PIECES);
    let stop = lifecycle.hard_token();
    lifecycle.spawn(async move {
        let work = async {
            if let Err(error) = speaking.run(opened, &texts[1..], &sender).await {
                let _ = sender.send(Err(error)).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = sender.closed() => {}
            () = stop.cancelled() => {}
        }
    });
    Ok(Speech { rate_hz, sound, usage })
}

struct Speaking {
    client: Arc<Client>,
    settings: config::OpenAi,
    request: SynthesisRequest,
    /// Samples that may still come.
    room: u64,
}

/// An answer whose first piece of sound is there: until then it may be asked for again.
struct Opened {
    response: Response,
    first: Bytes,
}

type Sink = mpsc::Sender<Result<Vec<i16>, SpeechError>>;

impl Speaking {
    async fn open(&self, text: &str) -> Result<Opened, SpeechError> {
        let body = self.body(text);
        let mut tries = self.client.tries();
        loop {
            match self.try_to_open(&body).await {
                Ok(opened) => return Ok(opened),
                Err(failure) => tries.again(failure).await?,
            }
        }
    }

    async fn try_to_open(&self, body: &Value) -> Result<Opened, Failure> {
        let mut response = self.client.open_speech(body).await?;
        match self.client.next_piece(&mut response).await? {
            Some(first) => Ok(Opened { response, first }),
            None => Err(error(SpeechErrorKind::Unreadable, "the answer is empty, expected sound").into()),
        }
    }

    fn body(&self, text: &str) -> Value {
        let voice = self.request.voice.as_deref().unwrap_or(&self.settings.voice);
        let mut body = json!({
            "model": self.settings.tts_model, "input": text, "voice": voice, "response_format": self.settings.tts_format.as_str(),
        });
        if self.request.speaking_rate != 1.0 {
            body["speed"] = json!(self.request.speaking_rate);
        }
        body
    }

    async fn run(&mut self, first: Opened, others: &[String], sink: &Sink) -> Result<(), SpeechError> {
        self.pass_on(first, sink).await?;
        for text in others {
            let opened = self.open(text).await?;
            self.pass_on(opened, sink).await?;
        }
        Ok(())
    }

    async fn pass_on(&mut self, opened: Opened, sink: &Sink) -> Result<(), SpeechError> {
        let Opened { mut response, first } = opened;
        let mut decoder = self.decoder()?;
        let mut next = Some(first);
        let mut out = Vec::new();
        while let Some(piece) = next {
            let mut rest = &piece[..];
            while !rest.is_empty() {
                rest = &rest[decoder.push(rest, &mut out).map_err(unreadable)?..];
                self.give(&mut out, sink).await?;
            }
            next = self.client.next_piece(&mut response).await.map_err(|failure| failure.error)?;
        }
        // A header that promises more than came is how streamed WAVs are written, where it promises the most there is; any
        // other says that sound is missing.
        if decoder.finish(&mut out).map_err(unreadable)? {
            return Err(error(SpeechErrorKind::Unavailable, "the sound ended early"));
        }
        self.give(&mut out, sink).await
    }

    fn decoder(&self) -> Result<Decoder, SpeechError> {
        let encoding = match self.settings.tts_format {
            SoundFormat::Pcm => Encoding::Pcm16,
            SoundFormat::Wav => Encoding::Wav,
        };
        AudioFormat::new(encoding, PCM_HZ, 1)
            .and_then(|format| Decoder::new(format, Pick::Mix, self.request.rate_hz))
            .map_err(|problem| error(SpeechErrorKind::Request, problem.to_string()))
    }

    async fn give(&mut self, out: &mut Vec<i16>, sink: &Sink) -> Result<(), SpeechError> {
        if out.is_empty() {
            return Ok(());
        }
        let Some(room) = self.room.checked_sub(out.len() as u64) else {
            let most = config::duration::format(self.settings.max_speech);
            return Err(error(
                SpeechErrorKind::Unreadable,
                format!("more than {most} of sound came (speech.openai.max_speech)"),
            ));
        };
        self.room = room;
        // Nobody listens any more: the task ends by that.
        let _ = sink.send(Ok(std::mem::take(out))).await;
        Ok(())
    }
}

fn unreadable(problem: AudioError) -> SpeechError {
    error(SpeechErrorKind::Unreadable, format!("the answer is no sound: {problem}"))
}

/// Cut at the ends of sentences where possible, else at white space, else anywhere. None is empty or longer than `most`
/// characters.
fn pieces(text: &str, most: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = text.trim();
    while let Some((end, _)) = rest.char_indices().nth(most) {
        let window = &rest[..end];
        let after = |mark: char| move |(at, c): (usize, char)| (c == mark).then_some(at + c.len_utf8());
        let followed = |at: &usize| rest[*at..].starts_with(char::is_whitespace);
        let sentence = ['.', '!', '?', '…', '\n'];
        let of_sentence = sentence.into_iter().filter_map(|mark| {
            window.char_indices().rev().filter_map(after(mark)).find(|at| mark == '\n' || followed(at))
        });
        let wide = ['。', '！', '？'].into_iter().filter_map(|mark| window.char_indices().rev().find_map(after(mark)));
        let of_word = || window.char_indices().rev().find(|(_, c)| c.is_whitespace()).map(|(at, _)| at);
        let here = || rest[end..].starts_with(char::is_whitespace).then_some(end);
        let at = of_sentence.chain(wide).max().or_else(here).or_else(of_word).filter(|at| *at > 0).unwrap_or(end);
        pieces.push(rest[..at].trim_end().to_owned());
        rest = rest[at..].trim_start();
    }
    pieces.push(rest.to_owned());
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_where_a_speaker_would_pause() {
        assert_eq!(pieces(" One two. ", 100), ["One two."]);
        assert_eq!(pieces("One. Two three. Four five", 17), ["One. Two three.", "Four five"]);
        assert_eq!(pieces("It is 3.5 miles away", 9), ["It is 3.5", "miles", "away"]);
        assert_eq!(pieces("one two three", 9), ["one two", "three"]);
        assert_eq!(pieces("これは。それは。", 6), ["これは。", "それは。"]);
        assert_eq!(pieces("abcdefgh", 3), ["abc", "def", "gh"]);
        assert!(pieces(" \n ", 3).is_empty());
        let text = "Grüße! ".repeat(100);
        assert!(pieces(&text, 20).iter().all(|piece| piece.chars().count() <= 20));
        assert_eq!(pieces(&text, 20).join(" "), text.trim());
    }
}
