//! The lane's side of budgets: before the right to send, and after it was not given.

use uuid::Uuid;

use super::{Candidate, Lane, REFUSED_WAIT};
use crate::clock;
use crate::store::attempts::IntentOutcome;

impl Lane {
    /// Puts off what a budget holds back. `None`: nothing is left, or nobody knows; then the calls are in the line again.
    pub(in crate::delivery) async fn within_budget(&mut self, batch: Vec<Candidate>) -> Option<Vec<Candidate>> {
        let keeper = &self.parts.keeper;
        if !keeper.is_needed() {
            return Some(batch);
        }
        let wish = |candidate: &Candidate| {
            let call = &candidate.ready.call;
            keeper.wish(call.id, candidate.attempt_id, call.request.voice_config.max_duration)
        };
        let wishes: Vec<_> = batch.iter().map(wish).collect();
        let answers = match keeper.ask(&self.parts.store, &wishes).await {
            Ok(answers) => answers,
            Err(error) => {
                tracing::warn!(platform = self.parts.platform.name(), calls = batch.len(), %error, "budgets cannot be asked");
                self.put_back(batch);
                clock::sleep(REFUSED_WAIT).await;
                return None;
            }
        };
        let (mut fits, mut held) = (Vec::new(), Vec::new());
        for (candidate, answer) in batch.into_iter().zip(answers) {
            match answer {
                None => fits.push(candidate),
                Some(answer) => held.push((candidate.ready, answer.wait, "budget", Some(answer.detail))),
            }
        }
        if !held.is_empty() {
            self.postpone(held).await;
        }
        (!fits.is_empty()).then_some(fits)
    }

    /// What was reserved for rights that were not given.
    pub(in crate::delivery) async fn unreserve(&self, batch: &[Candidate], outcomes: &[IntentOutcome]) {
        let refused = batch.iter().zip(outcomes).filter(|(_, outcome)| **outcome != IntentOutcome::Spent);
        let ids: Vec<Uuid> = refused.map(|(candidate, _)| candidate.attempt_id).collect();
        if !ids.is_empty()
            && self.parts.keeper.is_needed()
            && let Err(error) = self.parts.store.unreserve(&ids).await
        {
            tracing::debug!(%error, "reservations that were not used run out instead");
        }
    }

    /// Into the line again, where they stood.
    pub(in crate::delivery) fn put_back(&mut self, batch: Vec<Candidate>) {
        for candidate in batch.into_iter().rev() {
            self.waiting.push_front(candidate.ready);
        }
    }
}
