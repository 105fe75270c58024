//! A live recognition at work: one task that owns the machine of [`super::endless`], and one small task per stream.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use googleapis_tonic_google_cloud_speech_v2::google::cloud::speech::v2 as api;
use tokio::sync::{mpsc, oneshot};
use tonic::{Extensions, Request};

use super::Engine;
use super::answer::{self, Answer};
use super::endless::{Action, Count, Endless, StreamId};
use super::fault::{Fault, FaultKind};
use super::models;
use super::request::{self, Plan};
use crate::clock::{self, Monotonic};
use crate::lifecycle::Lifecycle;
use crate::speech::{Heard, RecognitionConfig, SpeechErrorKind};
use crate::telemetry::metrics;

/// Messages that wait for the network.
const MESSAGES: usize = 16;
/// Events of streams that wait for the session.
const EVENTS: usize = 64;
/// How long a full connection is left alone.
const FULL: Duration = Duration::from_millis(20);

/// What a stream's task reports.
enum Report {
    Answer(StreamId, Answer),
    Closed(StreamId, Option<Fault>),
}

pub struct Session {
    engine: Arc<Engine>,
    lifecycle: Lifecycle,
    config: RecognitionConfig,
    machine: Endless,
    began: Monotonic,
    sound: Option<mpsc::Receiver<Vec<i16>>>,
    heard: mpsc::Sender<Heard>,
    /// What the caller has not taken yet; interims of one utterance replace each other.
    outbox: VecDeque<Heard>,
    streams: HashMap<StreamId, Sending>,
    reports: (mpsc::Sender<Report>, mpsc::Receiver<Report>),
}

/// Our side of a stream. Dropping `messages` half-closes it, dropping `_alive` cancels it.
struct Sending {
    messages: Option<mpsc::Sender<api::StreamingRecognizeRequest>>,
    _alive: oneshot::Sender<()>,
}

impl Session {
    pub fn new(
        engine: Arc<Engine>,
        lifecycle: Lifecycle,
        config: RecognitionConfig,
        machine: Endless,
        sound: mpsc::Receiver<Vec<i16>>,
        heard: mpsc::Sender<Heard>,
    ) -> Self {
        Self {
            engine,
            lifecycle,
            config,
            machine,
            began: clock::monotonic(),
            sound: Some(sound),
            heard,
            outbox: VecDeque::new(),
            streams: HashMap::new(),
            reports: mpsc::channel(EVENTS),
        }
    }

    /// Until everything is told, the caller goes, or the program leaves at once.
    pub async fn run(mut self) {
        let aborted = self.lifecycle.hard_token();
        loop {
            let full = self.work();
            if self.machine.is_ended() && self.outbox.is_empty() {
                return;
            }
            let wake = if full { Some(FULL) } else { self.machine.next_wake() };
            let heard = self.heard.clone();
            let wants_sound = self.machine.wants_sound() && self.sound.is_some();
            let (_, reports) = &mut self.reports;
            tokio::select! {
                _ = aborted.cancelled() => return,
                () = heard.closed() => return,
                permit = heard.reserve(), if !self.outbox.is_empty() => {
                    if let (Ok(permit), Some(heard)) = (permit, self.outbox.pop_front()) {
                        permit.send(heard);
                    }
                }
                Some(report) = reports.recv() => self.report(report).await,
                samples = receive(&mut self.sound), if wants_sound => match samples {
                    Some(samples) => self.machine.sound(&samples),
                    None => {
                        self.sound = None;
                        self.machine.finish();
                    }
                },
                () = clock::sleep(wake.unwrap_or_default()), if wake.is_some() => {}
            }
        }
    }

    fn now(&self) -> Duration {
        clock::monotonic() - self.began
    }

    /// Does what the machine wants, and sends what may be sent. Says whether the connection is full.
    fn work(&mut self) -> bool {
        loop {
            for action in self.machine.step(self.now()) {
                self.act(action);
            }
            match self.send() {
                // What was sent may have been the last that a closing stream waited for.
                Some(true) => {}
                Some(false) => return false,
                None => return true,
            }
        }
    }

    /// `Some(true)`: something was sent, `Some(false)`: there is nothing to send, `None`: there is no room.
    fn send(&mut self) -> Option<bool> {
        let now = self.now();
        let mut any = false;
        loop {
            // Of the streams that are not half-closed, there is at most one.
            let open = self.streams.values().find_map(|stream| stream.messages.as_ref());
            let Some(open) = open else { return Some(any) };
            let permit = match open.try_reserve() {
                Ok(permit) => permit,
                Err(mpsc::error::TrySendError::Full(())) => return None,
                // The stream's end is on its way to us.
                Err(mpsc::error::TrySendError::Closed(())) => return Some(any),
            };
            let Some((_, samples)) = self.machine.message(now) else { return Some(any) };
            permit.send(request::sound(&samples));
            any = true;
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Open(id) => self.open(id),
            Action::HalfClose(id) => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.messages = None;
                }
            }
            Action::Cancel(id) => {
                self.streams.remove(&id);
            }
            Action::Tell(heard) => self.tell(heard),
            Action::Count(count) => record(count),
        }
    }

    fn tell(&mut self, heard: Heard) {
        match &heard {
            Heard::Degraded(why) => tracing::warn!(engine = super::NAME, why, "speech recognition is interrupted"),
            Heard::Ended(Err(error)) => tracing::warn!(engine = super::NAME, %error, "speech recognition ended"),
            _ => {}
        }
        let replaces = |last: &mut Heard| match (last, &heard) {
            (Heard::Text(last), Heard::Text(next)) => last.number == next.number && !last.is_final,
            _ => false,
        };
        if self.outbox.back_mut().is_some_and(replaces) {
            self.outbox.pop_back();
        }
        self.outbox.push_back(heard);
    }

    fn open(&mut self, id: StreamId) {
        let (messages, outgoing) = mpsc::channel(MESSAGES);
        let (alive, cancelled) = oneshot::channel();
        self.streams.insert(id, Sending { messages: Some(messages), _alive: alive });
        let reports = self.reports.0.clone();
        let stream = run_stream(self.engine.clone(), self.config.clone(), id, outgoing, reports.clone());
        self.lifecycle.spawn(async move {
            tokio::select! {
                _ = cancelled => {}
                fault = stream => {
                    let _ = reports.send(Report::Closed(id, fault)).await;
                }
            }
        });
    }

    async fn report(&mut self, report: Report) {
        match report {
            Report::Answer(id, answer) => self.machine.answer(id, answer),
            Report::Closed(id, fault) => {
                self.streams.remove(&id);
                let result = fault.as_ref().map_or("ok", |fault| word(fault.kind));
                metrics::SPEECH_STREAMS.inc([super::NAME, result]);
                if fault.as_ref().is_some_and(|fault| fault.kind == FaultKind::Token) {
                    self.engine.channels.renew().await;
                }
                self.machine.closed(id, fault, self.now());
            }
        }
    }
}

async fn receive(sound: &mut Option<mpsc::Receiver<Vec<i16>>>) -> Option<Vec<i16>> {
    match sound {
        Some(sound) => sound.recv().await,
        None => std::future::pending().await,
    }
}

/// From opening to end; `None`: it ended well.
async fn run_stream(
    engine: Arc<Engine>,
    config: RecognitionConfig,
    id: StreamId,
    outgoing: mpsc::Receiver<api::StreamingRecognizeRequest>,
    reports: mpsc::Sender<Report>,
) -> Option<Fault> {
    let plan = match engine.plan(&config, true) {
        Ok(plan) => plan,
        Err(problem) => return Some(Fault::new(FaultKind::Error(SpeechErrorKind::Request), problem)),
    };
    let mut line = match engine.channels.stt(&plan.location).await {
        Ok(line) => line,
        Err(fault) => return Some(fault),
    };
    // The first message is there before the call, whose headers may come only after the first sound.
    let first = stream::iter([plan.opening()]);
    let rest = stream::unfold(outgoing, |mut outgoing| async move { Some((outgoing.recv().await?, outgoing)) });
    let messages = futures_util::StreamExt::chain(first, rest);
    let request = Request::from_parts(line.headers, Extensions::default(), messages);
    let status = match line.client.streaming_recognize(request).await {
        Err(status) => status,
        Ok(response) => {
            let mut responses = response.into_inner();
            loop {
                match responses.message().await {
                    Ok(Some(response)) => {
                        let answer = answer::of_stream(response);
                        if reports.send(Report::Answer(id, answer)).await.is_err() {
                            return None;
                        }
                    }
                    Ok(None) => return None,
                    Err(status) => break status,
                }
            }
        }
    };
    let fault = Fault::from(&status);
    Some(engine.learn(&plan, true, &status).unwrap_or(fault))
}

impl Engine {
    /// A refusal of one feature, met for the first time: the same request without it may work.
    pub(super) fn learn(&self, plan: &Plan, streaming: bool, status: &tonic::Status) -> Option<Fault> {
        let feature =
            models::refused_feature(status.message()).filter(|_| status.code() == tonic::Code::InvalidArgument)?;
        let is_new = self.refusals.learn(&plan.model, &plan.location, streaming, feature);
        is_new.then(|| {
            let (model, location) = (&plan.model, &plan.location);
            tracing::warn!(
                model,
                location,
                ?feature,
                said = status.message(),
                "the model refuses a feature; it is left out"
            );
            Fault::new(FaultKind::Over, status.message())
        })
    }
}

/// For the metrics' label.
pub(super) fn word(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Idle => "idle",
        FaultKind::Old => "too_old",
        FaultKind::Fast => "too_fast",
        FaultKind::Over => "over",
        FaultKind::Token => "token",
        FaultKind::Error(SpeechErrorKind::Request) => "request",
        FaultKind::Error(SpeechErrorKind::Account) => "account",
        FaultKind::Error(SpeechErrorKind::Busy) => "busy",
        FaultKind::Error(SpeechErrorKind::Unavailable) => "unavailable",
        FaultKind::Error(SpeechErrorKind::Unreadable) => "unreadable",
    }
}

fn record(count: Count) {
    let engine = [super::NAME];
    match count {
        Count::Rotation => metrics::SPEECH_ROTATIONS.inc([super::NAME, "planned"]),
        Count::Forced => metrics::SPEECH_ROTATIONS.inc([super::NAME, "forced"]),
        Count::Replay(sound) => {
            metrics::SPEECH_REPLAYS.inc(engine);
            metrics::SPEECH_REPLAYED.record(engine, sound);
        }
        Count::DroppedWords(words) => metrics::SPEECH_DROPPED_WORDS.add(engine, words),
        Count::Promoted => metrics::SPEECH_PROMOTED.inc(engine),
        Count::IdleAbort => metrics::SPEECH_IDLE_ABORTS.inc(engine),
        Count::Stall => metrics::SPEECH_STALLS.inc(engine),
    }
}
