//! A live recognition: sound is cut into utterances, and these are heard one after another.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::client::{self, Client, Failure};
use super::transcript::{Form, Transcript, moved};
use super::{resampler, time_of};
use crate::audio::{AudioBufferManager, Resampler};
use crate::clock::{self, Monotonic};
use crate::config;
use crate::retry::Waits;
use crate::speech::vad::{self, Cut, Detector, FRAME, TurnCutter, TurnRules};
use crate::speech::{Heard, RecognitionConfig, SpeechError, Usage};

/// Sound of utterances that wait for the server; with more, no further sound is taken.
const MOST_WAITING: u64 = 300 * vad::RATE_HZ as u64;

/// One live recognition, from its first sound to [`Heard::Ended`].
pub(super) struct Live {
    client: Arc<Client>,
    settings: config::OpenAi,
    config: RecognitionConfig,
    sound: mpsc::Receiver<Vec<i16>>,
    heard: mpsc::Sender<Heard>,
    waiting: VecDeque<Spoken>,
    numbers: u64,
    billed: Duration,
}

/// An utterance that is still to be heard.
struct Spoken {
    /// Its first sample.
    from: u64,
    samples: Vec<i16>,
    /// From where to where somebody spoke.
    voice: (u64, u64),
}

/// Why it is over before its end.
enum Stop {
    /// Nobody listens any more.
    GivenUp,
    Failed(SpeechError),
}

impl From<SpeechError> for Stop {
    fn from(error: SpeechError) -> Self {
        Self::Failed(error)
    }
}

/// The utterance that is being heard.
struct Asking {
    spoken: Spoken,
    form: Arc<Form>,
    answer: BoxFuture<'static, Result<Transcript, Failure>>,
    waits: Waits,
    /// Since when it does not work.
    failing: Option<Monotonic>,
}

impl Live {
    pub fn new(
        client: Arc<Client>,
        settings: &config::OpenAi,
        config: RecognitionConfig,
        sound: mpsc::Receiver<Vec<i16>>,
        heard: mpsc::Sender<Heard>,
    ) -> Self {
        let (waiting, numbers, billed) = (VecDeque::new(), 0, Duration::ZERO);
        Self { client, settings: settings.clone(), config, sound, heard, waiting, numbers, billed }
    }

    pub async fn run(mut self) {
        let ended = match self.hear().await {
            Ok(()) => Ok(Usage { billed: self.billed, characters: 0 }),
            Err(Stop::Failed(error)) => Err(error),
            Err(Stop::GivenUp) => return,
        };
        // Whoever has gone misses nothing.
        let _ = self.heard.send(Heard::Ended(ended)).await;
    }

    async fn hear(&mut self) -> Result<(), Stop> {
        let mut ear = Some(Ear::new(&self.settings, self.config.rate_hz)?);
        let mut asking: Option<Asking> = None;
        loop {
            if asking.is_none() {
                asking = self.waiting.pop_front().map(|spoken| self.ask(spoken)).transpose()?;
            }
            if asking.is_none() && ear.is_none() {
                return Ok(());
            }
            let held: u64 = self.waiting.iter().map(|spoken| spoken.samples.len() as u64).sum();
            tokio::select! {
                biased;
                () = self.heard.closed() => return Err(Stop::GivenUp),
                answer = next(&mut asking) => {
                    if let Some(asked) = asking.take() {
                        asking = self.answered(asked, answer).await?;
                    }
                }
                samples = self.sound.recv(), if ear.is_some() && held < MOST_WAITING => {
                    let Some(listening) = ear.as_mut() else { continue };
                    let cuts = match &samples {
                        Some(samples) if samples.is_empty() => listening.pause(),
                        Some(samples) => listening.hear(samples),
                        None => listening.end(),
                    };
                    for cut in cuts {
                        self.cut(cut).await?;
                    }
                    if samples.is_none() {
                        ear = None;
                    }
                }
            }
        }
    }

    async fn cut(&mut self, cut: Noticed) -> Result<(), Stop> {
        match cut {
            Noticed::Started(at) => self.tell(Heard::Started(time_of(at))).await,
            Noticed::Stopped(at) => self.tell(Heard::Stopped(time_of(at))).await,
            Noticed::Spoken(spoken) => {
                self.waiting.push_back(spoken);
                Ok(())
            }
        }
    }

    fn ask(&mut self, spoken: Spoken) -> Result<Asking, Stop> {
        let form = Arc::new(Form::new(&self.settings, &self.config, &spoken.samples)?);
        let answer = self.sent(&spoken, form.clone(), Duration::ZERO);
        Ok(Asking { spoken, form, answer, waits: client::waits(), failing: None })
    }

    fn sent(
        &mut self,
        spoken: &Spoken,
        form: Arc<Form>,
        after: Duration,
    ) -> BoxFuture<'static, Result<Transcript, Failure>> {
        self.billed += time_of(spoken.samples.len() as u64);
        let client = self.client.clone();
        Box::pin(async move {
            clock::sleep(after).await;
            client.transcribe(&form).await
        })
    }

    /// The utterance is heard, or asked for again.
    async fn answered(
        &mut self,
        mut asked: Asking,
        answer: Result<Transcript, Failure>,
    ) -> Result<Option<Asking>, Stop> {
        let failure = match answer {
            Ok(transcript) => {
                if asked.failing.is_some() {
                    self.tell(Heard::Recovered).await?;
                }
                let Spoken { from, samples, voice } = asked.spoken;
                let utterance = transcript.into_utterance(time_of(samples.len() as u64));
                self.tell(Heard::Text(moved(utterance, self.numbers, from, voice))).await?;
                self.numbers += 1;
                return Ok(None);
            }
            Err(failure) if !failure.error.kind.is_passing() => return Err(failure.error.into()),
            Err(failure) => failure,
        };
        if asked.failing.is_none() {
            self.tell(Heard::Degraded(failure.error.to_string())).await?;
        }
        let since = *asked.failing.get_or_insert_with(clock::monotonic);
        if clock::monotonic() - since >= self.settings.give_up_after {
            return Err(failure.error.into());
        }
        let wait = client::wait(&failure, &mut asked.waits);
        asked.answer = self.sent(&asked.spoken, asked.form.clone(), wait);
        Ok(Some(asked))
    }

    async fn tell(&self, heard: Heard) -> Result<(), Stop> {
        self.heard.send(heard).await.map_err(|_| Stop::GivenUp)
    }
}

/// The answer to what is being asked; never without a question.
async fn next(asking: &mut Option<Asking>) -> Result<Transcript, Failure> {
    match asking {
        Some(asked) => (&mut asked.answer).await,
        None => std::future::pending().await,
    }
}

/// From samples of any rate to utterances.
struct Ear {
    resampler: Resampler,
    detector: Detector,
    cutter: TurnCutter,
    kept: AudioBufferManager,
    /// The first sample that was not looked at.
    next: u64,
    /// Where the voice began, of the turn that is open.
    began: u64,
}

enum Noticed {
    Started(u64),
    Stopped(u64),
    Spoken(Spoken),
}

impl Ear {
    fn new(settings: &config::OpenAi, rate_hz: u32) -> Result<Self, SpeechError> {
        let rules =
            TurnRules { pre_roll: settings.pre_roll, hangover: settings.hangover, longest: settings.max_utterance };
        // What one push may add lies on top.
        let most = settings.max_utterance + settings.pre_roll + Duration::from_secs(5);
        Ok(Self {
            resampler: resampler(rate_hz, vad::RATE_HZ)?,
            detector: Detector::new(settings.detection),
            cutter: TurnCutter::new(rules),
            kept: AudioBufferManager::new(vad::RATE_HZ, most, usize::MAX),
            next: 0,
            began: 0,
        })
    }

    fn hear(&mut self, samples: &[i16]) -> Vec<Noticed> {
        let mut noticed = Vec::new();
        let mut out = Vec::new();
        // In steps, so that what is kept stays within its bound.
        for part in samples.chunks(4800) {
            out.clear();
            self.resampler.push(part, &mut out);
            self.look(&out, &mut noticed);
        }
        noticed
    }

    /// The source is silent on purpose: what was being said is over.
    fn pause(&mut self) -> Vec<Noticed> {
        let (mut out, mut noticed) = (Vec::new(), Vec::new());
        self.resampler.finish(&mut out);
        self.look(&out, &mut noticed);
        let cut = self.cutter.finish();
        self.note(cut, &mut noticed);
        noticed
    }

    fn end(&mut self) -> Vec<Noticed> {
        let (mut out, mut noticed) = (Vec::new(), Vec::new());
        self.resampler.finish(&mut out);
        out.resize(out.len() + FRAME - 1, 0);
        self.look(&out, &mut noticed);
        let cut = self.cutter.finish();
        self.note(cut, &mut noticed);
        noticed
    }

    fn look(&mut self, samples: &[i16], noticed: &mut Vec<Noticed>) {
        self.kept.append(samples);
        let mut frame = Vec::with_capacity(FRAME);
        while self.next + FRAME as u64 <= self.kept.end() {
            frame.clear();
            // Nothing that was not looked at is ever let go.
            let _ = self.kept.read(self.next, FRAME, &mut frame);
            self.next += FRAME as u64;
            let frame: &[i16; FRAME] = frame.as_slice().try_into().unwrap_or(&[0; FRAME]);
            let score = self.detector.score(frame);
            let cut = self.cutter.frame(score);
            self.note(cut, noticed);
        }
        self.kept.ack(self.cutter.needed_from());
    }

    fn note(&mut self, cut: Option<Cut>, noticed: &mut Vec<Noticed>) {
        match cut {
            None => {}
            Some(Cut::Started { at }) => {
                self.began = at;
                noticed.push(Noticed::Started(at));
            }
            Some(Cut::Utterance { from, to, stopped }) => {
                let mut samples = Vec::new();
                let _ = self.kept.read(from, (to - from) as usize, &mut samples);
                let voice = (self.began.max(from), stopped.unwrap_or(to).max(from));
                noticed.extend(stopped.map(Noticed::Stopped));
                noticed.push(Noticed::Spoken(Spoken { from, samples, voice }));
            }
        }
    }
}
