//! Hearing: live, and of whole recordings.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tonic::{Extensions, Request, Status};

use super::answer::{self, Piece};
use super::channel;
use super::endless::{Endless, Limits, samples_time};
use super::fault::{Fault, FaultKind};
use super::models;
use super::request::Plan;
use super::session::{Session, word};
use super::{Engine, NAME, price, refused};
use crate::call::money::Money;
use crate::clock;
use crate::lifecycle::Lifecycle;
use crate::retry;
use crate::speech::{
    Heard, Hearing, Recognition, RecognitionConfig, Recognized, SpeechError, SpeechErrorKind, SpeechToText, Usage,
    Utterance, Word,
};
use crate::telemetry::metrics;

/// Of sound, and of what was heard, between the caller and the session.
const WAITING: usize = 64;
/// Of a request that changes nothing.
const TRIES: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

pub struct Stt {
    pub(super) engine: Arc<Engine>,
    pub(super) lifecycle: Lifecycle,
}

#[async_trait]
impl SpeechToText for Stt {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hearing(&self, config: &RecognitionConfig) -> Hearing {
        match self.engine.plan(config, true) {
            Ok(plan) => plan.hearing(),
            // What will be refused hears nothing.
            Err(_) => Hearing { interims: false, words: false, phrases: false, longest: super::request::LONGEST },
        }
    }

    fn listen(&self, config: RecognitionConfig) -> Recognition {
        let (sound, incoming) = mpsc::channel(WAITING);
        let (outgoing, heard) = mpsc::channel(WAITING);
        match self.engine.plan(&config, true) {
            Err(problem) => {
                // The channel is new and has room.
                let _ = outgoing.try_send(Heard::Ended(Err(refused(problem))));
            }
            Ok(plan) => {
                let machine = Endless::new(self.limits(&config, &plan), self.engine.next_seed());
                let session =
                    Session::new(self.engine.clone(), self.lifecycle.clone(), config, machine, incoming, outgoing);
                self.lifecycle.spawn(session.run());
            }
        }
        Recognition { sound, heard }
    }

    async fn recognize(&self, config: &RecognitionConfig, samples: &[i16]) -> Result<Recognized, SpeechError> {
        let seconds = (samples.len() as u64).div_ceil(u64::from(config.rate_hz.max(1)));
        let own_count = Duration::from_secs(seconds);
        if samples.is_empty() {
            return Ok(Recognized { utterances: Vec::new(), language: None, usage: Usage::default() });
        }
        let (pieces, billed) = self.ask(config, samples).await?;
        let language = pieces.iter().find_map(|piece| piece.language.clone());
        let all = samples_time(samples.len() as u64, config.rate_hz);
        let usage = Usage { billed: billed.unwrap_or(own_count), characters: 0 };
        Ok(Recognized { utterances: utterances(pieces, all), language, usage })
    }

    fn cost(&self, usage: &Usage) -> Option<Money> {
        price::heard(&self.engine.settings, usage.billed)
    }
}

impl Stt {
    fn limits(&self, config: &RecognitionConfig, plan: &Plan) -> Limits {
        let settings = &self.engine.settings;
        let samples = |duration: Duration| (duration.as_secs_f64() * f64::from(config.rate_hz)) as u64;
        Limits {
            rate_hz: config.rate_hz,
            factor: settings.time_factor,
            rotate_after: settings.rotate_after,
            max_stream: settings.max_stream,
            drain: settings.drain,
            keep_alive: settings.keep_alive,
            stall: settings.stall,
            give_up_after: settings.give_up_after,
            silent: samples(settings.close_when_silent),
            ring: samples(settings.replay_buffer),
            speed: settings.replay_speed,
            interims: config.interims && models::by_name(&plan.model).interims,
        }
    }

    /// Recognizing changes nothing at Google, so what may pass is tried again.
    async fn ask(
        &self,
        config: &RecognitionConfig,
        samples: &[i16],
    ) -> Result<(Vec<Piece>, Option<Duration>), SpeechError> {
        let mut random = fastrand::Rng::with_seed(self.engine.next_seed());
        let mut tokens = 0;
        for tries in 0.. {
            let began = clock::monotonic();
            let plan = self.engine.plan(config, false).map_err(refused)?;
            let request = plan.whole(samples).map_err(refused)?;
            let fault = match self.send(&plan, request).await {
                Ok(response) => {
                    metrics::SPEECH_REQUESTS.inc([NAME, "recognize", "ok"]);
                    metrics::SPEECH_REQUEST.record([NAME, "recognize"], clock::monotonic() - began);
                    return Ok(answer::of_recording(response));
                }
                Err(fault) => fault,
            };
            metrics::SPEECH_REQUESTS.inc([NAME, "recognize", word(fault.kind)]);
            if fault.kind == FaultKind::Token {
                tokens += 1;
                self.engine.channels.renew().await;
            }
            if !fault.is_passing() || tokens > 1 || tries + 1 >= TRIES {
                return Err(fault.error());
            }
            clock::sleep(retry::wait_for(tries, FIRST_WAIT, LONGEST_WAIT, random.f64())).await;
        }
        Err(Fault::new(FaultKind::Error(SpeechErrorKind::Unavailable), "never answered").error())
    }

    async fn send(
        &self,
        plan: &Plan,
        request: googleapis_tonic_google_cloud_speech_v2::google::cloud::speech::v2::RecognizeRequest,
    ) -> Result<googleapis_tonic_google_cloud_speech_v2::google::cloud::speech::v2::RecognizeResponse, Fault> {
        let mut line = self.engine.channels.stt(&plan.location).await?;
        channel::about(&mut line.headers, "recognizer", plan.recognizer());
        let request = Request::from_parts(line.headers, Extensions::default(), request);
        let patience = self.engine.settings.request_timeout;
        let answer = tokio::time::timeout(patience, line.client.recognize(request)).await;
        let answer =
            answer.unwrap_or_else(|_| Err(Status::deadline_exceeded(format!("no answer within {patience:?}"))));
        answer.map(tonic::Response::into_inner).map_err(|status| {
            let fault = Fault::from(&status);
            self.engine.learn(plan, false, &status).unwrap_or(fault)
        })
    }
}

/// Each begins where the one before ended, unless its words know better.
fn utterances(pieces: Vec<Piece>, all: Duration) -> Vec<Utterance> {
    let mut from = Duration::ZERO;
    let mut told = Vec::new();
    for piece in pieces.into_iter().filter(|piece| !piece.text.is_empty()) {
        let word = |word: answer::Word| Word {
            text: word.text,
            start: word.start.min(all),
            end: word.end.min(all),
            confidence: word.confidence,
        };
        let words: Vec<Word> = piece.words.into_iter().map(word).collect();
        let start = words.first().map_or(from, |word| word.start);
        let end = piece.end.unwrap_or(all).min(all).max(start);
        from = end;
        told.push(Utterance {
            number: told.len() as u64,
            revision: 0,
            text: piece.text,
            is_final: true,
            confidence: piece.confidence,
            words,
            start,
            end,
            promoted: false,
        });
    }
    told
}
