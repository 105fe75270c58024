//! Where turns begin and end: a state machine over the scores of frames.

use std::collections::VecDeque;
use std::time::Duration;

use super::{CLOSE, FRAME, OPEN, RATE_HZ};

/// Frames in a row that are speech, until it counts as somebody speaking.
const ONSET: usize = 2;
/// What is kept of the silence behind the last word.
const TAIL: Duration = Duration::from_millis(200);
/// How far back a forced cut looks for the quietest place.
const LOOK_BACK: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy)]
pub struct TurnRules {
    /// Sound before the first word that goes with it.
    pub pre_roll: Duration,
    /// Silence that ends a turn.
    pub hangover: Duration,
    /// A longer turn is cut where it is quietest.
    pub longest: Duration,
}

/// Positions are numbers of samples from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    Started {
        at: u64,
    },
    /// What is to be heard as one utterance. Utterances never overlap.
    Utterance {
        from: u64,
        to: u64,
        /// Where the voice stopped; `None`: it goes on, the utterance was getting too long.
        stopped: Option<u64>,
    },
}

/// Takes one score per frame.
pub struct TurnCutter {
    pre_roll: u64,
    hangover: u64,
    longest: u64,
    tail: u64,
    /// The end of the last frame.
    now: u64,
    /// The end of the last utterance.
    done: u64,
    state: State,
}

enum State {
    /// So many of the last frames were speech.
    Quiet { loud: usize },
    /// `voice`: the end of the last frame that was speech. `scores`: of the last frames, the newest last.
    Speaking { from: u64, voice: u64, scores: VecDeque<f32> },
}

impl TurnCutter {
    pub fn new(rules: TurnRules) -> Self {
        let samples = |duration: Duration| (duration.as_millis() as u64).saturating_mul(u64::from(RATE_HZ)) / 1000;
        Self {
            pre_roll: samples(rules.pre_roll),
            hangover: samples(rules.hangover).max(FRAME as u64),
            // Room for what begins a turn, and for a place to cut.
            longest: samples(rules.longest).max(u64::from(RATE_HZ)),
            tail: samples(TAIL),
            now: 0,
            done: 0,
            state: State::Quiet { loud: 0 },
        }
    }

    /// The next frame's score.
    pub fn frame(&mut self, score: f32) -> Option<Cut> {
        self.now += FRAME as u64;
        let now = self.now;
        match &mut self.state {
            State::Quiet { loud } if score < OPEN => {
                *loud = 0;
                None
            }
            State::Quiet { loud } if *loud + 1 < ONSET => {
                *loud += 1;
                None
            }
            State::Quiet { .. } => {
                let at = now - (ONSET * FRAME) as u64;
                let from = at.saturating_sub(self.pre_roll).max(self.done);
                self.state = State::Speaking { from, voice: now, scores: VecDeque::from([score; ONSET]) };
                Some(Cut::Started { at })
            }
            State::Speaking { from, voice, scores } => {
                if score >= CLOSE {
                    *voice = now;
                }
                scores.push_back(score);
                if scores.len() as u64 * FRAME as u64 > LOOK_BACK.as_secs() * u64::from(RATE_HZ) {
                    scores.pop_front();
                }
                if now - *voice >= self.hangover {
                    return self.end();
                }
                if now - *from < self.longest {
                    return None;
                }
                // The last of the quietest frames of the younger half: its middle is the end.
                let half = scores.len().min(((self.longest / 2) as usize / FRAME).max(1));
                let quietest = (0..half).min_by(|one, other| {
                    let score = |back: &usize| scores[scores.len() - 1 - back];
                    score(one).total_cmp(&score(other))
                });
                let to = now - (quietest.unwrap_or(0) * FRAME + FRAME / 2) as u64;
                let cut = Cut::Utterance { from: *from, to, stopped: None };
                *from = to;
                scores.drain(..scores.len().saturating_sub(quietest.unwrap_or(0)));
                self.done = to;
                Some(cut)
            }
        }
    }

    /// No more comes, or nothing for a while: an open turn ends here.
    pub fn finish(&mut self) -> Option<Cut> {
        match self.state {
            State::Speaking { .. } => self.end(),
            State::Quiet { .. } => {
                self.state = State::Quiet { loud: 0 };
                None
            }
        }
    }

    /// What lies before is needed no more.
    pub fn needed_from(&self) -> u64 {
        match &self.state {
            State::Speaking { from, .. } => *from,
            State::Quiet { .. } => self.now.saturating_sub(self.pre_roll + (ONSET * FRAME) as u64).max(self.done),
        }
    }

    fn end(&mut self) -> Option<Cut> {
        let State::Speaking { from, voice, .. } = self.state else { return None };
        // Behind a forced cut there may be no voice any more.
        let to = (voice + self.tail).min(self.now).max(from + FRAME as u64 / 2);
        self.done = to;
        self.state = State::Quiet { loud: 0 };
        Some(Cut::Utterance { from, to, stopped: Some(voice) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const F: u64 = FRAME as u64;

    fn rules() -> TurnRules {
        TurnRules {
            pre_roll: Duration::from_millis(160),
            hangover: Duration::from_millis(320),
            longest: Duration::from_secs(10),
        }
    }

    /// `(score, frames)`
    fn run(rules: TurnRules, parts: &[(f32, usize)]) -> Vec<Cut> {
        let mut cutter = TurnCutter::new(rules);
        let scores = parts.iter().flat_map(|(score, frames)| std::iter::repeat_n(*score, *frames));
        let mut cuts: Vec<Cut> = scores.filter_map(|score| cutter.frame(score)).collect();
        cuts.extend(cutter.finish());
        cuts
    }

    #[test]
    fn a_turn_has_what_was_before_it_and_a_little_of_what_is_behind() {
        let cuts = run(rules(), &[(0.0, 50), (0.9, 30), (0.0, 50)]);
        let utterance = Cut::Utterance { from: 40 * F, to: 80 * F + 3200, stopped: Some(80 * F) };
        assert_eq!(cuts, [Cut::Started { at: 50 * F }, utterance]);
    }

    #[test]
    fn a_click_is_no_turn_and_a_short_pause_ends_none() {
        assert_eq!(run(rules(), &[(0.0, 10), (1.0, 1), (0.0, 10), (1.0, 1), (0.0, 40)]), []);
        let cuts = run(rules(), &[(1.0, 10), (0.0, 19), (0.4, 5), (0.0, 19), (1.0, 5), (0.0, 20)]);
        assert_eq!(cuts.len(), 2, "{cuts:?}");
        assert!(matches!(cuts[1], Cut::Utterance { stopped: Some(at), .. } if at == 58 * F), "{cuts:?}");
    }

    #[test]
    fn two_turns_close_together_share_no_sound() {
        let cuts = run(rules(), &[(1.0, 10), (0.0, 20), (1.0, 10), (0.0, 20)]);
        let [_, Cut::Utterance { to, .. }, _, Cut::Utterance { from, .. }] = cuts[..] else { panic!("{cuts:?}") };
        assert!(from >= to);
    }

    #[test]
    fn a_turn_without_an_end_is_cut_where_it_is_quietest() {
        let longest = Duration::from_millis(160 * 16);
        let cuts = run(TurnRules { longest, ..rules() }, &[(1.0, 120), (0.1, 2), (1.0, 100)]);
        let [_, Cut::Utterance { from: 0, to, stopped: None }, Cut::Utterance { from, .. }] = cuts[..] else {
            panic!("{cuts:?}")
        };
        assert_eq!((to, from), (121 * F + F / 2, to));
    }

    #[test]
    fn what_is_open_at_the_end_is_heard() {
        let cuts = run(rules(), &[(1.0, 5)]);
        assert_eq!(cuts[1], Cut::Utterance { from: 0, to: 5 * F, stopped: Some(5 * F) });
    }

    proptest! {
        /// In order, without overlap, never longer than allowed, never of sound that is no longer kept.
        #[test]
        fn utterances_are_in_order_and_bounded(scores in proptest::collection::vec(0.0f32..1.0, 0..3000), most in 1u64..5) {
            let longest = Duration::from_secs(most);
            let mut cutter = TurnCutter::new(TurnRules { longest, hangover: Duration::from_millis(48), ..rules() });
            let (mut last, mut speaking) = (0, false);
            for n in 0..=scores.len() {
                let kept = cutter.needed_from();
                let cut = match scores.get(n) { Some(score) => cutter.frame(*score), None => cutter.finish() };
                match cut {
                    Some(Cut::Started { .. }) => { prop_assert!(!speaking); speaking = true; }
                    Some(Cut::Utterance { from, to, stopped }) => {
                        prop_assert!(speaking && from >= last && from >= kept && to > from, "{from}..{to} after {last}, kept {kept}");
                        prop_assert!(to - from <= most * 16_000 + F);
                        last = to;
                        speaking = stopped.is_none();
                    }
                    None => {}
                }
            }
            prop_assert!(!speaking);
        }
    }
}
