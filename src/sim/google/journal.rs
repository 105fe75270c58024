//! What came, and what it would have cost.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use googleapis_tonic_google_cloud_speech_v2::google::cloud::speech::v2::{
    RecognitionConfig, StreamingRecognitionFeatures,
};
use tokio::sync::watch;
use tonic::{Code, Status};

/// Calls that are remembered.
const KEPT: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    StreamingRecognize,
    Recognize,
    SynthesizeSpeech,
    StreamingSynthesize,
    ListVoices,
    GetLocation,
}

/// One call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub method: Method,
    /// From 0 among the calls of its method.
    pub number: u64,
    /// `projects/…/locations/…/recognizers/…`, or the voice's name.
    pub resource: String,
    pub config: Option<RecognitionConfig>,
    pub features: Option<StreamingRecognitionFeatures>,
    /// What was to be spoken, input by input.
    pub inputs: Vec<String>,
    pub messages: u64,
    /// Sound, without its containers' headers where the format is raw.
    pub bytes: u64,
    pub largest_message: usize,
    /// Messages of sound without a byte.
    pub empty_messages: u64,
    /// Messages that ended within a sample.
    pub ragged_messages: u64,
    /// Sound that came.
    pub audio: Duration,
    pub responses: u64,
    pub interims: u64,
    /// Final texts, in order.
    pub finals: Vec<String>,
    /// Characters that were spoken.
    pub characters: u64,
    /// `None` while it runs.
    pub ending: Option<Ending>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// With `OK`.
    Done,
    Refused(Code, String),
    /// The client went away.
    Left,
    /// Reset or cut by order.
    Cut,
}

impl Call {
    /// What recognition bills by: whole seconds of sound, rounded up.
    pub fn billed(&self) -> Duration {
        whole_seconds(self.audio)
    }
}

pub(super) fn whole_seconds(audio: Duration) -> Duration {
    Duration::from_secs(audio.as_nanos().div_ceil(1_000_000_000) as u64)
}

/// What all calls so far would be billed for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Sound, each call rounded up to a second.
    pub recognized: Duration,
    /// Characters; of calls that were answered with sound.
    pub characters: u64,
}

pub(super) struct Journal {
    kept: Mutex<Kept>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Kept {
    calls: VecDeque<Arc<Mutex<Call>>>,
    numbers: BTreeMap<Method, u64>,
    /// Of calls that are no longer kept.
    before: Ledger,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal {
    pub fn new() -> Self {
        Self { kept: Mutex::default(), changed: watch::Sender::new(()) }
    }

    pub fn open(self: &Arc<Self>, method: Method) -> Entry {
        let mut kept = lock(&self.kept);
        let next = kept.numbers.entry(method).or_default();
        let number = *next;
        *next += 1;
        let call = Arc::new(Mutex::new(Call {
            method,
            number,
            resource: String::new(),
            config: None,
            features: None,
            inputs: Vec::new(),
            messages: 0,
            bytes: 0,
            largest_message: 0,
            empty_messages: 0,
            ragged_messages: 0,
            audio: Duration::ZERO,
            responses: 0,
            interims: 0,
            finals: Vec::new(),
            characters: 0,
            ending: None,
        }));
        kept.calls.push_back(call.clone());
        if kept.calls.len() > KEPT
            && let Some(oldest) = kept.calls.pop_front()
        {
            add(&mut kept.before, &lock(&oldest));
        }
        drop(kept);
        self.changed.send_replace(());
        Entry { journal: self.clone(), call, method, number }
    }

    pub fn calls(&self) -> Vec<Call> {
        lock(&self.kept).calls.iter().map(|call| lock(call).clone()).collect()
    }

    pub fn ledger(&self) -> Ledger {
        let kept = lock(&self.kept);
        let mut ledger = kept.before;
        kept.calls.iter().for_each(|call| add(&mut ledger, &lock(call)));
        ledger
    }

    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

fn add(ledger: &mut Ledger, call: &Call) {
    ledger.recognized += call.billed();
    ledger.characters += call.characters;
}

/// A call's place in the journal. Dropped without an end, it says that the client left.
pub(super) struct Entry {
    journal: Arc<Journal>,
    call: Arc<Mutex<Call>>,
    pub method: Method,
    pub number: u64,
}

impl Entry {
    pub fn note<T>(&self, change: impl FnOnce(&mut Call) -> T) -> T {
        let value = change(&mut lock(&self.call));
        self.journal.changed.send_replace(());
        value
    }

    pub fn end(&self, ending: Ending) {
        self.note(|call| {
            call.ending.get_or_insert(ending);
        });
    }

    pub fn refuse(&self, status: &Status) {
        self.end(Ending::Refused(status.code(), status.message().to_owned()));
    }

    /// Before a stream begins: only a refusal is an end.
    pub fn refused<T>(&self, result: Result<T, Status>) -> Result<T, Status> {
        result.inspect_err(|status| self.refuse(status))
    }

    /// For unary calls.
    pub fn settle<T>(&self, result: Result<T, Status>) -> Result<T, Status> {
        match &result {
            Ok(_) => self.end(Ending::Done),
            Err(status) => self.refuse(status),
        }
        result
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.end(Ending::Left);
    }
}
