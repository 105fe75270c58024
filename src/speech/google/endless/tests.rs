//! A small recognizer that hears exactly, breaks in all ways, and keeps Google's rules: what is told has to be what was
//! said, once.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::answer::Event;
use super::super::answer::{Piece, Word};
use super::*;
use crate::speech::SpeechErrorKind;

const RATE: u32 = 16_000;
const FRAME: usize = 320;
/// A word lasts 0.4 s, its number is its loudness; 40 ms lie between two.
const WORD: usize = 6400;
const GAP: usize = 640;
const LOUDNESS: i16 = 2000;

fn limits() -> Limits {
    Limits {
        rate_hz: RATE,
        factor: 1.0,
        rotate_after: Duration::from_secs(240),
        max_stream: Duration::from_secs(285),
        drain: Duration::from_secs(5),
        keep_alive: Duration::from_secs(1),
        stall: Duration::from_secs(15),
        give_up_after: Duration::from_secs(60),
        silent: u64::from(RATE) * 20,
        ring: u64::from(RATE) * 60,
        speed: 3.0,
        interims: true,
    }
}

/// Says `words` words, `together` at a time with `pause` samples of silence between, numbers from 0 on.
fn speech(words: usize, together: usize, pause: usize) -> Vec<i16> {
    let mut sound = vec![0; pause];
    for n in 0..words {
        let loudness = LOUDNESS + n as i16;
        sound.extend((0..WORD).map(|at| if at % 8 < 4 { loudness } else { -loudness }));
        sound.resize(sound.len() + if (n + 1) % together == 0 { pause } else { GAP }, 0);
    }
    sound
}

fn said(words: usize) -> Vec<String> {
    (0..words).map(|n| n.to_string()).collect()
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Trouble {
    Breaks,
    Stalls,
    /// Ends well, though nobody closed it.
    Ends,
}

/// How the recognizer behaves.
#[derive(Debug, Clone)]
struct Manner {
    word_times: bool,
    interims: bool,
    final_delay: Duration,
    /// By stream: after so long.
    troubles: Vec<Option<(Duration, Trouble)>>,
    /// A final after so many words without a pause.
    longest: usize,
}

struct Remote {
    id: StreamId,
    opened: Duration,
    samples: usize,
    last_sound: Duration,
    /// Loudness and length of the run of sound that goes on, and the silence behind it.
    run: (i16, usize),
    silent: usize,
    words: Vec<Word>,
    begun: bool,
    half_closed: bool,
    gone: bool,
    queue: VecDeque<(Duration, Answer)>,
}

fn offset(samples: usize) -> Duration {
    samples_time(samples as u64, RATE)
}

impl Remote {
    fn hear(&mut self, samples: &[i16], now: Duration, manner: &Manner) {
        self.last_sound = now;
        for sample in samples {
            self.samples += 1;
            if sample.abs() > 100 {
                self.run = (sample.abs(), self.run.1 + 1);
                self.silent = 0;
                if !self.begun {
                    self.begun = true;
                    let event = Some(Event::Begin(offset(self.samples)));
                    self.say(now, Answer { event, ..Answer::default() });
                }
                continue;
            }
            self.silent += 1;
            if self.run.1 > 0 {
                self.word(now, manner);
            }
            if self.silent == 8000 && self.begun {
                self.finish(now, manner);
            }
        }
    }

    fn word(&mut self, now: Duration, manner: &Manner) {
        let (loudness, len) = std::mem::take(&mut self.run);
        let end = self.samples - 1;
        // Of half a word and less nothing is understood.
        if len > WORD / 2 {
            let text =
                if len == WORD { (loudness - LOUDNESS).to_string() } else { format!("{}?{len}", loudness - LOUDNESS) };
            self.words.push(Word { text, start: offset(end - len), end: offset(end), confidence: None });
        }
        if self.words.len() >= manner.longest {
            self.finish(now, manner);
            self.begun = true;
        } else if manner.interims && !self.words.is_empty() {
            let piece = self.piece(manner, self.samples);
            self.say(now, Answer { interim: Some(Piece { stable: piece.text.clone(), ..piece }), ..Answer::default() });
        }
    }

    fn piece(&self, manner: &Manner, end: usize) -> Piece {
        let text = self.words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
        let words = if manner.word_times { self.words.clone() } else { Vec::new() };
        Piece { text, words, end: Some(offset(end)), ..Piece::default() }
    }

    fn finish(&mut self, now: Duration, manner: &Manner) {
        let end = self.samples - self.silent;
        self.begun = false;
        self.say(now, Answer { event: Some(Event::End(offset(end))), ..Answer::default() });
        if !self.words.is_empty() {
            let piece = self.piece(manner, end);
            self.words.clear();
            self.say(now + manner.final_delay, Answer { finals: vec![piece], ..Answer::default() });
        }
    }

    fn say(&mut self, due: Duration, answer: Answer) {
        let due = self.queue.back().map_or(due, |(before, _)| due.max(*before));
        self.queue.push_back((due, answer));
    }
}

struct Outcome {
    told: Vec<Heard>,
    counts: Vec<Count>,
    streams: usize,
    refusals: Vec<String>,
}

impl Outcome {
    fn text(&self) -> Vec<String> {
        let finals = self.told.iter().filter_map(|heard| match heard {
            Heard::Text(utterance) if utterance.is_final => Some(utterance.text.clone()),
            _ => None,
        });
        finals.flat_map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    fn counted(&self, wanted: impl Fn(&Count) -> bool) -> usize {
        self.counts.iter().filter(|count| wanted(count)).count()
    }
}

/// Runs all of it on a clock of its own. `sound` comes in real time; an empty frame is a pause by the source.
fn run(limits: Limits, manner: &Manner, sound: impl Iterator<Item = Vec<i16>>) -> Outcome {
    let mut machine = Endless::new(limits, 7);
    let mut remotes: Vec<Remote> = Vec::new();
    let mut outcome = Outcome { told: Vec::new(), counts: Vec::new(), streams: 0, refusals: Vec::new() };
    let mut sound = sound;
    let mut waiting: VecDeque<Vec<i16>> = VecDeque::new();
    let mut finished = false;
    for tick in 0..200_000u32 {
        let now = TICK * tick;
        if !finished {
            match sound.next() {
                Some(frame) => waiting.push_back(frame),
                None if waiting.is_empty() => {
                    machine.finish();
                    finished = true;
                }
                None => {}
            }
            while machine.wants_sound()
                && let Some(frame) = waiting.pop_front()
            {
                machine.sound(&frame);
            }
        }
        for remote in remotes.iter_mut().filter(|remote| !remote.gone) {
            let trouble = manner.troubles.get(remote.id as usize - 1).copied().flatten();
            let trouble = trouble.filter(|(after, _)| now >= remote.opened + *after).map(|(_, trouble)| trouble);
            while trouble != Some(Trouble::Stalls)
                && remote.queue.front().is_some_and(|(due, _)| *due <= now)
                && !remote.gone
            {
                let (_, answer) = remote.queue.pop_front().unwrap();
                machine.answer(remote.id, answer);
            }
            let unavailable = || Some(Fault::new(FaultKind::Error(SpeechErrorKind::Unavailable), "broken"));
            let end = match trouble {
                Some(Trouble::Breaks) => Some(unavailable()),
                Some(Trouble::Ends) => Some(None),
                Some(Trouble::Stalls) => None,
                None if now - remote.opened >= Duration::from_secs(300) => {
                    outcome.refusals.push(format!("stream {} is five minutes old", remote.id));
                    Some(Some(Fault::new(FaultKind::Old, "Max duration")))
                }
                None if now - remote.last_sound >= Duration::from_secs(5) && !remote.half_closed => {
                    Some(Some(Fault::new(FaultKind::Idle, "idle")))
                }
                None if remote.half_closed && remote.queue.is_empty() => Some(None),
                None => None,
            };
            if let Some(fault) = end {
                remote.gone = true;
                machine.closed(remote.id, fault, now);
            }
        }
        loop {
            for action in machine.step(now) {
                match action {
                    Action::Open(id) => {
                        outcome.streams += 1;
                        let queue = VecDeque::new();
                        let (run, words) = ((0, 0), Vec::new());
                        let (begun, half_closed, gone) = (false, false, false);
                        remotes.push(Remote {
                            id,
                            opened: now,
                            samples: 0,
                            last_sound: now,
                            run,
                            silent: 0,
                            words,
                            begun,
                            half_closed,
                            gone,
                            queue,
                        });
                    }
                    Action::HalfClose(id) => {
                        let remote = remotes.iter_mut().find(|remote| remote.id == id).unwrap();
                        remote.hear(&[0; 8001], now, manner);
                        remote.half_closed = true;
                    }
                    Action::Cancel(id) => {
                        remotes.iter_mut().filter(|remote| remote.id == id).for_each(|r| r.gone = true)
                    }
                    Action::Tell(heard) => outcome.told.push(heard),
                    Action::Count(count) => outcome.counts.push(count),
                }
            }
            let Some((id, samples)) = machine.message(now) else { break };
            assert!(!samples.is_empty() && samples.len() * 2 <= 25_600);
            let remote = remotes.iter_mut().find(|remote| remote.id == id).unwrap();
            assert!(!remote.half_closed, "sound for a closed stream");
            if !remote.gone {
                remote.hear(&samples, now, manner);
            }
        }
        if machine.is_ended() {
            return outcome;
        }
    }
    panic!("does not end: {machine:?}");
}

fn frames(sound: &[i16]) -> impl Iterator<Item = Vec<i16>> + '_ {
    sound.chunks(FRAME).map(<[i16]>::to_vec)
}

fn manner() -> Manner {
    Manner {
        word_times: true,
        interims: true,
        final_delay: Duration::from_millis(900),
        troubles: Vec::new(),
        longest: usize::MAX,
    }
}

#[test]
fn seventeen_minutes_are_told_once_over_planned_rotations() {
    let sound = speech(1500, 5, 16_000);
    assert!(sound.len() > 17 * 60 * RATE as usize / 2);
    let sound = [sound.clone(), vec![0; 16_000]].concat();
    let outcome = run(limits(), &manner(), frames(&sound));
    assert_eq!(outcome.text(), said(1500));
    assert_eq!(outcome.refusals, Vec::<String>::new());
    assert!(outcome.counted(|count| *count == Count::Rotation) >= 3, "{:?}", outcome.counts);
    assert_eq!(outcome.counted(|count| matches!(count, Count::Replay(_) | Count::Forced)), 0, "{:?}", outcome.counts);
    assert!(matches!(outcome.told.last(), Some(Heard::Ended(Ok(_)))));
}

#[test]
fn speech_without_pauses_is_cut_by_force_and_told_once() {
    for word_times in [true, false] {
        let manner = Manner { word_times, longest: 20, ..manner() };
        let outcome = run(limits(), &manner, frames(&speech(1300, usize::MAX, 16_000)));
        assert_eq!(outcome.text(), said(1300));
        assert!(outcome.counted(|count| *count == Count::Forced) >= 1, "{:?}", outcome.counts);
    }
}

#[test]
fn speech_that_gets_no_result_is_made_to_end_before_the_ring_is_full() {
    let outcome = run(limits(), &manner(), frames(&speech(300, 150, 16_000)));
    assert_eq!(outcome.text().len(), 300, "words may break in two, none is lost: {:?}", outcome.text());
}

#[test]
fn silence_costs_nothing_and_the_first_word_after_it_is_heard_whole() {
    let mut sound = vec![0; 60 * RATE as usize];
    sound.extend(speech(3, 3, 8000));
    sound.extend(vec![0; 120 * RATE as usize]);
    let again = speech(6, 3, 8000);
    sound.extend(&again[again.len() / 2 + 4000..]);
    let outcome = run(limits(), &manner(), frames(&sound));
    assert_eq!(outcome.text(), said(6));
    assert_eq!(outcome.streams, 2);
    let Some(Heard::Ended(Ok(usage))) = outcome.told.last() else { panic!("{:?}", outcome.told.last()) };
    assert!(usage.billed < Duration::from_secs(60), "{usage:?}");
}

#[test]
fn a_source_that_pauses_gets_its_text_at_once_and_may_go_on() {
    let sound = speech(8, 4, 8000);
    // In the middle of the second utterance's first word, so to speak: no silence follows.
    let cut = 8000 + 4 * (WORD + GAP) - GAP;
    let mut all: Vec<Vec<i16>> = frames(&sound[..cut]).collect();
    all.push(Vec::new());
    // Twelve seconds of nothing: longer than Google waits.
    all.extend(std::iter::repeat_n(Vec::new(), 600));
    all.extend(frames(&sound[cut..]));
    let outcome = run(limits(), &manner(), all.into_iter());
    assert_eq!(outcome.text(), said(8));
    assert_eq!(outcome.counted(|count| *count == Count::IdleAbort), 0);
}

#[test]
fn an_interim_whose_stream_broke_is_told_even_if_no_stream_says_it_again() {
    // Both streams break before the final, and then nothing can be reached any more.
    let broken = Some((Duration::from_millis(1500), Trouble::Breaks));
    let refused = Some((Duration::ZERO, Trouble::Breaks));
    let troubles = std::iter::once(broken).chain(std::iter::repeat_n(refused, 1000)).collect();
    let outcome = run(limits(), &Manner { troubles, ..manner() }, frames(&speech(8, 8, 16_000)));
    assert_eq!(outcome.text(), said(3));
    assert_eq!(outcome.counted(|count| *count == Count::Promoted), 1);
    assert!(outcome.told.iter().any(|heard| matches!(heard, Heard::Degraded(_))));
    assert!(
        matches!(outcome.told.last(), Some(Heard::Ended(Err(error))) if error.kind == SpeechErrorKind::Unavailable)
    );
    let promoted =
        outcome.told.iter().any(|heard| matches!(heard, Heard::Text(text) if text.promoted && text.is_final));
    assert!(promoted, "{:?}", outcome.told);
}

#[test]
fn what_can_never_work_ends_it_at_once() {
    let mut machine = Endless::new(limits(), 1);
    machine.sound(&speech(1, 1, 0));
    let opened = machine.step(Duration::ZERO);
    assert!(matches!(opened[..], [Action::Open(1)]), "{opened:?}");
    machine.closed(1, Some(Fault::new(FaultKind::Error(SpeechErrorKind::Request), "no such model")), Duration::ZERO);
    let ended = machine.step(Duration::ZERO);
    let last = ended.last();
    assert!(
        matches!(last, Some(Action::Tell(Heard::Ended(Err(error)))) if error.detail == "no such model"),
        "{ended:?}"
    );
}

#[test]
fn a_token_is_renewed_once() {
    let mut machine = Endless::new(limits(), 1);
    machine.sound(&speech(1, 1, 0));
    machine.step(Duration::ZERO);
    machine.closed(1, Some(Fault::new(FaultKind::Token, "expired")), Duration::ZERO);
    assert!(matches!(machine.step(Duration::ZERO)[..], [Action::Open(2)]));
    machine.closed(2, Some(Fault::new(FaultKind::Token, "expired")), Duration::ZERO);
    let ended = machine.step(Duration::ZERO);
    let is_account = |action: &Action| matches!(action, Action::Tell(Heard::Ended(Err(error))) if error.kind == SpeechErrorKind::Account);
    assert!(ended.iter().any(is_account), "{ended:?}");
}

#[test]
fn utterances_keep_their_numbers_and_revisions_rise() {
    let troubles = vec![Some((Duration::from_secs(3), Trouble::Breaks))];
    let outcome = run(limits(), &Manner { troubles, ..manner() }, frames(&speech(30, 5, 16_000)));
    let mut expected = (0, 0);
    for heard in &outcome.told {
        let Heard::Text(utterance) = heard else { continue };
        assert_eq!((utterance.number, utterance.revision), expected, "{:?}", outcome.told);
        assert!(utterance.start <= utterance.end);
        expected = if utterance.is_final { (expected.0 + 1, 0) } else { (expected.0, expected.1 + 1) };
    }
    assert_eq!(outcome.text(), said(30));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever breaks, stalls or ends when: the same words once, in order, and their times where they were said.
    #[test]
    fn nothing_is_lost_and_nothing_is_told_twice(
        troubles in prop::collection::vec(
            prop::option::of((100..30_000u64, prop_oneof![Just(Trouble::Breaks), Just(Trouble::Stalls), Just(Trouble::Ends)])),
            0..6,
        ),
        together in 1..6usize,
        pause in 10_000..40_000usize,
        word_times in any::<bool>(),
        delay in 0..2000u64,
        rotate in 6..40u64,
    ) {
        let troubles = troubles.into_iter().map(|trouble| trouble.map(|(ms, trouble)| (Duration::from_millis(ms), trouble)));
        let manner = Manner {
            word_times,
            final_delay: Duration::from_millis(delay),
            troubles: troubles.collect(),
            ..manner()
        };
        let limits = Limits {
            rotate_after: Duration::from_secs(rotate),
            max_stream: Duration::from_secs(rotate + 15),
            ..limits()
        };
        let sound = speech(60, together, pause);
        let outcome = run(limits, &manner, frames(&sound));
        prop_assert_eq!(outcome.text(), said(60), "{:?}", outcome.counts);
        for heard in &outcome.told {
            let Heard::Text(utterance) = heard else { continue };
            for word in &utterance.words {
                let n: usize = word.text.parse().unwrap();
                let place = pause + n * WORD + n / together * pause + (n - n / together) * GAP;
                let real = offset(place);
                prop_assert!(word.start.abs_diff(real) < Duration::from_millis(2), "{word:?} was said at {real:?}");
            }
        }
    }
}
