//! A streaming recognition, from its config to its end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use googleapis_tonic_google_cloud_speech_v2::google::cloud::speech::v2 as speech;
use speech::streaming_recognize_request::StreamingRequest;
use speech::streaming_recognize_response::SpeechEventType;
use speech::{RecognitionResponseMetadata, StreamingRecognizeRequest, StreamingRecognizeResponse};
use tokio::sync::{mpsc, oneshot};
use tonic::{Code, Status, Streaming};

use super::core::{Core, Link};
use super::ears::{Ears, Said, Sign, place, time};
use super::intake::Intake;
use super::journal::{Ending, Entry, Method, whole_seconds};
use super::options::Delay;
use super::pace::Pace;
use super::quota::Place;
use super::request::{self, Endpoint, Plan};
use super::results;
use super::script::{Script, What, When};
use super::status::{invalid, malordered, status};
use crate::clock::{self, Monotonic};

/// The most sound in one message.
const MOST_BYTES: usize = 25_600;

type Out = mpsc::Sender<Result<StreamingRecognizeResponse, Status>>;

/// What a stream is served with.
pub(super) struct Call {
    pub core: Arc<Core>,
    pub entry: Entry,
    pub link: Link,
    pub endpoint: Endpoint,
    pub input: Streaming<StreamingRecognizeRequest>,
    pub out: Out,
    /// Given when response headers may go.
    pub headers: Option<oneshot::Sender<()>>,
    pub _place: Place,
}

/// How a stream ends.
enum End {
    /// With `OK`, or with the status that closes it after its last response.
    Closed(Option<Status>),
    /// At once.
    Failed(Status),
    /// The client went away.
    Left,
    /// By order: stream or connection are gone.
    Cut,
}

struct Session {
    call: Call,
    plan: Plan,
    ears: Ears,
    intake: Intake,
    pace: Pace,
    script: Script,
    opened: Monotonic,
    /// Of the last sound, or of the config.
    fed: Monotonic,
    /// Responses and when they go. Texts keep their order; events go at once.
    queue: VecDeque<Waiting>,
    text_due: Monotonic,
    is_later: bool,
    stalled: bool,
    slow: Duration,
    wrong: bool,
    empty: bool,
    /// After the last response the stream is closed so.
    closing: Option<Option<Status>>,
}

struct Waiting {
    due: Monotonic,
    response: StreamingRecognizeResponse,
}

/// Serves a stream to its end.
pub(super) async fn serve(mut call: Call) {
    let end = match begin(&mut call).await {
        Ok((plan, script)) => {
            let now = clock::monotonic();
            let hearing = &call.core.options.hearing;
            let mut session = Session {
                ears: Ears::new(hearing.endpoint, hearing.longest_utterance),
                intake: Intake::new(plan.format),
                pace: Pace::new(hearing.pace, call.core.options.real(Pace::WINDOW)),
                plan,
                script,
                opened: now,
                fed: now,
                queue: VecDeque::new(),
                text_due: now,
                is_later: false,
                stalled: false,
                slow: Duration::ZERO,
                wrong: false,
                empty: false,
                closing: None,
                call,
            };
            let end = session.run().await;
            call = session.call;
            end
        }
        Err(end) => end,
    };
    match end {
        End::Closed(None) => call.entry.end(Ending::Done),
        End::Closed(Some(status)) | End::Failed(status) => {
            call.entry.refuse(&status);
            let _ = call.out.send(Err(status)).await;
        }
        End::Left => call.entry.end(Ending::Left),
        End::Cut => call.entry.end(Ending::Cut),
    }
}

fn timed_out() -> End {
    End::Failed(status(Code::Aborted, "Stream timed out after receiving no more client requests."))
}

/// Reads the config.
async fn begin(call: &mut Call) -> Result<(Plan, Script), End> {
    let idle = call.core.options.real(call.core.options.hearing.idle);
    let first = tokio::select! {
        first = call.input.message() => first,
        () = call.out.closed() => return Err(End::Left),
        () = clock::sleep(idle) => return Err(timed_out()),
    };
    let Ok(first) = first else { return Err(End::Left) };
    let first = first.unwrap_or_default();
    call.entry.note(|entry| entry.messages += 1);
    let Some(StreamingRequest::StreamingConfig(config)) = first.streaming_request else {
        return Err(End::Failed(malordered("streaming_config")));
    };
    call.entry.note(|entry| {
        entry.resource.clone_from(&first.recognizer);
        entry.config.clone_from(&config.config);
        entry.features = config.streaming_features;
    });
    let plan = request::streaming(&first.recognizer, &config, &call.endpoint).map_err(End::Failed)?;
    if !call.core.options.hearing.hold_headers {
        call.headers.take().map(|headers| headers.send(()));
    }
    let script = call.core.script(Method::StreamingRecognize, call.entry.number);
    Ok((plan, script))
}

impl Session {
    async fn run(&mut self) -> End {
        if let Err(end) = self.happen(|when| when == When::Open) {
            return end;
        }
        loop {
            if self.closing.is_some() && self.queue.is_empty() && !self.stalled {
                return End::Closed(self.closing.take().flatten());
            }
            let options = &self.call.core.options;
            let (idle, age) = (options.real(options.hearing.idle), options.real(options.hearing.age));
            let never = self.opened + Duration::from_secs(86_400);
            let next = self.queue.front().filter(|_| !self.stalled).map_or(never, |waiting| waiting.due);
            let scripted = self.script.next_time().map_or(never, |after| self.opened + options.real(after));
            let idles = if self.closing.is_some() { never } else { self.fed + idle };
            let end = tokio::select! {
                biased;
                () = self.call.out.closed() => Err(End::Left),
                () = tokio::time::sleep_until(self.opened + age) => {
                    Err(End::Failed(status(Code::Aborted, "Max duration of 5 minutes reached for stream.")))
                }
                () = tokio::time::sleep_until(scripted) => {
                    let elapsed = (clock::monotonic() - self.opened).mul_f64(options.speed);
                    self.happen(|when| matches!(when, When::Elapsed(after) if after <= elapsed))
                }
                () = tokio::time::sleep_until(next) => self.send().await,
                () = tokio::time::sleep_until(idles) => Err(timed_out()),
                message = self.call.input.message(), if self.closing.is_none() => match message {
                    Ok(Some(message)) => self.take(message),
                    Ok(None) => self.flush(None, options.real(options.hearing.flush_delay)),
                    Err(_) => Err(End::Left),
                },
            };
            if let Err(end) = end {
                return end;
            }
        }
    }

    fn take(&mut self, message: StreamingRecognizeRequest) -> Result<(), End> {
        self.call.entry.note(|entry| entry.messages += 1);
        let Some(StreamingRequest::Audio(bytes)) = message.streaming_request else {
            return Err(End::Failed(malordered("audio")));
        };
        if bytes.len() > MOST_BYTES {
            let received = bytes.len();
            let text = format!(
                "Audio chunk can be of a maximum of {MOST_BYTES} bytes. Received audio of {received} bytes instead."
            );
            return Err(End::Failed(invalid(text)));
        }
        let ragged = self.intake.is_ragged(bytes.len());
        self.call.entry.note(|entry| {
            entry.bytes += bytes.len() as u64;
            entry.largest_message = entry.largest_message.max(bytes.len());
            entry.empty_messages += u64::from(bytes.is_empty());
            entry.ragged_messages += u64::from(ragged);
        });
        if bytes.is_empty() {
            return Ok(());
        }
        if ragged && self.call.core.options.hearing.whole_samples {
            let text = format!("The simulator takes whole samples only: {} bytes end within one.", bytes.len());
            return Err(End::Failed(invalid(text)));
        }
        self.call.headers.take().map(|headers| headers.send(()));
        self.fed = clock::monotonic();
        let before = self.intake.audio();
        let samples = self.intake.push(&bytes).map_err(End::Failed)?;
        let audio = self.intake.audio();
        self.call.entry.note(|entry| entry.audio = audio);
        if !self.pace.take(self.fed, audio - before) {
            let text =
                "Audio data is being streamed too fast/slow. Please stream audio data approximately at real time.";
            return Err(End::Failed(status(Code::OutOfRange, text)));
        }
        let signs = self.ears.push(&samples);
        let utterance_ended = signs.iter().any(|sign| matches!(sign, Sign::Ended(_)));
        self.tell(signs, None);
        self.happen(|when| matches!(when, When::Sound(after) if after <= audio))?;
        if self.plan.model.one_utterance && utterance_ended {
            let status = self.call.core.options.hearing.cancelled_after_utterance;
            self.closing = Some(status.then(|| super::status::status(Code::Cancelled, "The operation was cancelled.")));
            self.bill();
            return Ok(());
        }
        self.speech_timeouts()
    }

    /// Silence at the stream's start, or after speech, ends it where the client asked for that.
    fn speech_timeouts(&mut self) -> Result<(), End> {
        let is_over =
            |since: u64, limit: Option<Duration>| limit.is_some_and(|limit| self.ears.at() >= since + place(limit));
        let over = match self.ears.quiet_since() {
            None => is_over(0, self.plan.start_timeout),
            Some(since) => is_over(since, self.plan.end_timeout),
        };
        if over { self.flush(None, Duration::ZERO) } else { Ok(()) }
    }

    /// No more sound is taken; what was begun is finished, and the stream closed with `status` or `OK`.
    fn flush(&mut self, status: Option<Status>, delay: Duration) -> Result<(), End> {
        let rest = self.intake.finish().map_err(End::Failed)?;
        let mut signs = self.ears.push(&rest);
        signs.extend(self.ears.finish());
        self.tell(signs, Some(delay));
        // What waits for its measured delay goes with it.
        let due = clock::monotonic() + delay;
        self.queue.iter_mut().for_each(|waiting| waiting.due = waiting.due.min(due));
        self.closing = Some(status);
        self.bill();
        Ok(())
    }

    /// The last response says what is billed.
    fn bill(&mut self) {
        let billed = whole_seconds(self.intake.audio());
        if let Some(metadata) = self.queue.back_mut().and_then(|waiting| waiting.response.metadata.as_mut()) {
            metadata.total_billed_duration = results::offset(billed);
        }
    }

    /// Puts what was heard into the queue. `flush`: the delay of a final text at the stream's end.
    fn tell(&mut self, signs: Vec<Sign>, flush: Option<Duration>) {
        let core = self.call.core.clone();
        let now = clock::monotonic();
        for sign in signs {
            match sign {
                Sign::Began(at) => self.event(SpeechEventType::SpeechActivityBegin, at, self.plan.events),
                Sign::Ended(at) => {
                    self.event(SpeechEventType::SpeechActivityEnd, at, self.plan.events);
                    self.event(SpeechEventType::EndOfSingleUtterance, at, self.plan.model.one_utterance);
                }
                Sign::Interim(said) if self.plan.interims => {
                    let said = if self.wrong { misheard(said) } else { said };
                    let delay = core.options.hearing.interim_delay + self.slow;
                    self.text(now + core.options.real(delay), results::interim(&self.plan, &said, self.is_later));
                }
                Sign::Interim(_) => {}
                Sign::Final(said) => {
                    let said = if self.empty { emptied(&said) } else { said };
                    let delay = flush.unwrap_or_else(|| core.options.real(self.final_delay(&said)));
                    self.text(now + delay, results::last(&self.plan, &said, self.is_later));
                    self.is_later = true;
                }
            }
        }
    }

    /// What is left of the delay since the end of speech, on the simulator's clock: the silence that ended it has passed.
    fn final_delay(&self, said: &[Said]) -> Duration {
        let since = said.last().map_or(0, |said| self.ears.at().saturating_sub(said.end));
        let delay = match self.call.core.options.hearing.final_delay {
            Delay::Measured => self.plan.model.final_delay(self.call.core.share()),
            Delay::Fixed(delay) => delay,
        };
        delay.saturating_sub(time(since))
    }

    fn event(&mut self, kind: SpeechEventType, at: u64, is_wanted: bool) {
        if is_wanted {
            self.wait(clock::monotonic(), results::event(kind, at));
        }
    }

    fn text(&mut self, due: Monotonic, response: StreamingRecognizeResponse) {
        self.text_due = self.text_due.max(due);
        self.wait(self.text_due, response);
    }

    fn wait(&mut self, due: Monotonic, mut response: StreamingRecognizeResponse) {
        response.metadata =
            Some(RecognitionResponseMetadata { request_id: self.call.core.request_id(), ..Default::default() });
        let at = self.queue.partition_point(|waiting| waiting.due <= due);
        self.queue.insert(at, Waiting { due, response });
    }

    /// Sends the first of the queue.
    async fn send(&mut self) -> Result<(), End> {
        let sent = self.call.entry.note(|entry| entry.responses);
        self.happen(|when| when == When::InsteadOf(sent))?;
        if self.stalled {
            return Ok(());
        }
        let Some(Waiting { response, .. }) = self.queue.pop_front() else { return Ok(()) };
        self.call.headers.take().map(|headers| headers.send(()));
        let texts = response.results.first().map(|first| {
            let text = first.alternatives.first().map(|best| best.transcript.trim().to_owned());
            (first.is_final, text.unwrap_or_default())
        });
        self.call.out.send(Ok(response)).await.map_err(|_| End::Left)?;
        self.call.entry.note(|entry| {
            entry.responses += 1;
            match texts {
                Some((true, text)) => entry.finals.push(text),
                Some((false, _)) => entry.interims += 1,
                None => {}
            }
        });
        self.happen(|when| when == When::After(sent + 1))
    }

    /// Lets happen what the script says for this moment.
    fn happen(&mut self, is_due: impl Fn(When) -> bool) -> Result<(), End> {
        for what in self.script.due(is_due) {
            match what {
                What::Status(code, text) => return Err(End::Failed(status(code, text))),
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
                What::SlowInterims(delay) => self.slow = delay,
                What::WrongInterims => self.wrong = true,
                What::EmptyFinals => self.empty = true,
            }
        }
        Ok(())
    }
}

/// Another last word.
fn misheard(mut said: Vec<Said>) -> Vec<Said> {
    if let Some(last) = said.last_mut() {
        last.text = last.text.chars().rev().chain("-eh".chars()).collect();
    }
    said
}

fn emptied(said: &[Said]) -> Vec<Said> {
    let ends = said.first().zip(said.last());
    ends.map(|(first, last)| Said { text: String::new(), start: first.start, ..last.clone() }).into_iter().collect()
}
