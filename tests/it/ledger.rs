//! The ledger's rules at the store's own door: what no crash, race or late word of a platform may lead to.

use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;
use voxd::call::{AttemptState, CallStatus, CallUpdate, PhoneNumber, Verdict};
use voxd::config::{Config, Environment};
use voxd::store::Store;
use voxd::store::accept::{JobKeyRow, LeaseTo, NewCall, StoredRequest};
use voxd::store::attempts::{Answered, Intent, IntentOutcome, IntentTimes};
use voxd::store::leases::{LeasedCall, Postponed};
use voxd::store::looks::DoubtStep;
use voxd::store::operator::{CallName, Cancelled, SettleAs, Settled};
use voxd::store::updates::{Applied, ToldBy};

use crate::harness;

const LEASE: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3600);
const ADA: &str = "+14155550123";
const BOB: &str = "+14155550124";

pub struct Ledger {
    pub store: Store,
    pub db: PgPool,
    pub replica: Uuid,
}

impl Ledger {
    pub async fn new() -> Self {
        Self::on(harness::database().await).await
    }

    pub async fn on(url: String) -> Self {
        let config = Config::load(None, &Environment::from_pairs([("DATABASE_URL", url.as_str())])).unwrap();
        let store = Store::new(&config.database).unwrap();
        Self { store, db: PgPool::connect_lazy(&url).unwrap(), replica: Uuid::now_v7() }
    }

    /// Accepts a call that waits for whoever claims it.
    pub async fn accept(&self, call: NewCall) -> Uuid {
        self.store.accept_calls(std::slice::from_ref(&call), None).await.unwrap();
        call.id
    }

    async fn claim(&self) -> Vec<LeasedCall> {
        self.store.claim_due(self.replica, LEASE, 10).await.unwrap()
    }

    pub async fn claim_one(&self) -> LeasedCall {
        let mut calls = self.claim().await;
        assert_eq!(calls.len(), 1, "exactly one call is due");
        calls.remove(0)
    }

    pub async fn spend(&self, call: &LeasedCall) -> (Uuid, IntentOutcome) {
        self.spend_within(call, None).await
    }

    /// With caps of the number, as `call_attempts.number_caps` has them.
    pub async fn spend_within(
        &self,
        call: &LeasedCall,
        number_caps: Option<serde_json::Value>,
    ) -> (Uuid, IntentOutcome) {
        let attempt_id = Uuid::now_v7();
        let intent = Intent {
            call_id: call.id,
            fence: call.fence,
            attempt_id,
            platform: call.platform.clone(),
            from_number: None,
            number_caps,
        };
        let times = IntentTimes { lease: LEASE, settled_after: LEASE };
        let outcome = self.store.spend(self.replica, &[intent], times, None).await.unwrap().outcomes.remove(0);
        (attempt_id, outcome)
    }

    /// A call whose right to send is spent.
    pub async fn sending(&self, call: NewCall) -> (LeasedCall, Uuid) {
        self.accept(call).await;
        let call = self.claim_one().await;
        let (attempt_id, outcome) = self.spend(&call).await;
        assert_eq!(outcome, IntentOutcome::Spent);
        (call, attempt_id)
    }

    /// A call whose only attempt is in doubt, with nobody at work any more.
    async fn in_doubt(&self, call: NewCall) -> (LeasedCall, Uuid) {
        let (call, attempt_id) = self.sending(call).await;
        let doubt = Answered {
            state: AttemptState::InDoubt,
            verdict: Verdict::InDoubt,
            reason: Some("timeout".into()),
            call_status: CallStatus::InDoubt,
            ..answered(&call, attempt_id)
        };
        assert_eq!(self.store.record(&[doubt]).await.unwrap(), [attempt_id]);
        (call, attempt_id)
    }

    /// A call whose first attempt is proven absent, and that is scheduled again.
    async fn to_be_redialled(&self) -> (Uuid, Uuid) {
        let mut call = new_call("redial", ADA);
        call.request.voice_config =
            serde_json::from_value(json!({ "platform": "bland_ai", "redial": "after_proof" })).unwrap();
        let (call, attempt_id) = self.in_doubt(call).await;
        for _ in 0..2 {
            self.note_absence(attempt_id).await;
        }
        assert_eq!(self.status(call.id).await, "scheduled");
        (call.id, attempt_id)
    }

    async fn note_absence(&self, attempt_id: Uuid) -> DoubtStep {
        self.run("update call_attempts set next_look_at = now(), last_absence_at = last_absence_at - interval '1 day' where id = $1", attempt_id).await;
        let looks = self.store.claim_looks(HOUR, 10).await.unwrap();
        let look = looks.iter().find(|look| look.attempt_id == attempt_id).unwrap().looks;
        self.store.note_absence(attempt_id, look, &json!({ "listed": 0 }), HOUR).await.unwrap()
    }

    async fn tell(&self, attempt_id: Uuid, state: AttemptState) -> Applied {
        let update = CallUpdate {
            attempt_id: Some(attempt_id),
            platform_call_id: Some(format!("call-of-{attempt_id}")),
            state: Some(state),
            ..CallUpdate::default()
        };
        self.store.apply("bland_ai", &update, ToldBy::Webhook, HOUR).await.unwrap()
    }

    async fn unknown(&self, event_id: &str) -> (LeasedCall, Uuid) {
        let (call, attempt_id) = self.in_doubt(new_call(event_id, ADA)).await;
        self.note_absence(attempt_id).await;
        assert_eq!(self.note_absence(attempt_id).await, DoubtStep::Unknown);
        (call, attempt_id)
    }

    pub async fn status(&self, call_id: Uuid) -> String {
        sqlx::query_scalar("select status from calls where id = $1").bind(call_id).fetch_one(&self.db).await.unwrap()
    }

    pub async fn reason(&self, call_id: Uuid) -> Option<String> {
        sqlx::query_scalar("select status_reason from calls where id = $1")
            .bind(call_id)
            .fetch_one(&self.db)
            .await
            .unwrap()
    }

    async fn state(&self, attempt_id: Uuid) -> String {
        sqlx::query_scalar("select state from call_attempts where id = $1")
            .bind(attempt_id)
            .fetch_one(&self.db)
            .await
            .unwrap()
    }

    async fn run(&self, statement: &'static str, id: Uuid) {
        assert_eq!(sqlx::query(statement).bind(id).execute(&self.db).await.unwrap().rows_affected(), 1);
    }
}

pub fn new_call(event_id: &str, to: &str) -> NewCall {
    let voice_config = serde_json::from_value(json!({ "platform": "bland_ai" })).unwrap();
    NewCall {
        id: Uuid::now_v7(),
        thread_message_id: Uuid::now_v7(),
        key: JobKeyRow {
            source: "test".into(),
            event_id: event_id.into(),
            content_hash: format!("\\x{}", "ab".repeat(32)),
        },
        status: CallStatus::Accepted,
        status_reason: None,
        status_detail: None,
        status_source: "queue",
        platform: "bland_ai".into(),
        platforms: vec!["bland_ai".into(), "vapi".into()],
        to_number: PhoneNumber::parse(to).unwrap(),
        lead_id: None,
        user_id: None,
        tenant: None,
        request: StoredRequest { content: "hello".into(), lead_name: None, timezone: None, voice_config },
        metadata: Default::default(),
        outcome_url: None,
        outcome_queue: None,
        not_before: None,
        expires_at: None,
        scheduled_for: None,
        order_key: None,
        order_seq: None,
        traceparent: None,
        message_type: "regular".into(),
    }
}

fn in_order(event_id: &str, to: &str, sequence: u32) -> NewCall {
    NewCall {
        order_key: Some("jobs.fifo/group".into()),
        order_seq: Some(sequence.to_string()),
        ..new_call(event_id, to)
    }
}

pub fn scheduled(call: NewCall, in_seconds: i64) -> NewCall {
    NewCall {
        status: CallStatus::Scheduled,
        status_reason: Some("not_before".into()),
        scheduled_for: Some(voxd::clock::now() + chrono::TimeDelta::seconds(in_seconds)),
        ..call
    }
}

pub fn answered(call: &LeasedCall, attempt_id: Uuid) -> Answered {
    Answered {
        call_id: call.id,
        attempt_id,
        fence: call.fence,
        state: AttemptState::Placed,
        verdict: Verdict::Placed,
        reason: None,
        detail: None,
        http_status: Some(200),
        platform_call_id: None,
        handles: Default::default(),
        opt_out: false,
        call_status: CallStatus::Placed,
        call_reason: None,
        call_detail: None,
        scheduled_in: None,
        next_because: None,
        next_platform: None,
        look_in: Some(HOUR),
    }
}

fn not_sent(call: &LeasedCall, attempt_id: Uuid) -> Answered {
    Answered {
        state: AttemptState::NotSent,
        verdict: Verdict::NotSent,
        reason: Some("connect_failed".into()),
        http_status: None,
        call_status: CallStatus::Scheduled,
        call_reason: Some("connect_failed".into()),
        scheduled_in: Some(Duration::ZERO),
        next_because: Some("resend: not sent".into()),
        look_in: None,
        ..answered(call, attempt_id)
    }
}

#[tokio::test]
async fn a_stored_request_that_cannot_be_read_holds_nobody_else_up() {
    let ledger = Ledger::new().await;
    let broken = ledger.accept(scheduled(new_call("broken", ADA), -60)).await;
    let good = ledger.accept(scheduled(new_call("good", BOB), -1)).await;
    ledger.run(r#"update calls set request = '{"content": 1}' where id = $1"#, broken).await;
    let claimed = ledger.claim().await;
    assert_eq!(claimed.iter().map(|call| call.id).collect::<Vec<_>>(), [good]);
    assert_eq!(ledger.reason(broken).await.as_deref(), Some("unreadable"), "people see why it waits");
    assert_eq!(ledger.claim().await.len(), 0, "and it is not claimed over and over");
}

#[tokio::test]
async fn a_call_to_a_busy_number_is_not_taken_until_the_number_is_free() {
    let ledger = Ledger::new().await;
    let (_, attempt_id) = ledger.sending(new_call("first", ADA)).await;
    ledger.accept(new_call("second", ADA)).await;
    let second = ledger.claim_one().await;
    assert_eq!(ledger.spend(&second).await.1, IntentOutcome::NumberBusy);
    let back = Postponed {
        call_id: second.id,
        fence: second.fence,
        wait: Duration::ZERO,
        reason: "number_busy",
        detail: None,
    };
    ledger.store.postpone(&[back]).await.unwrap();
    assert_eq!(ledger.claim().await.len(), 0, "trying again costs rate and rows for nothing");
    ledger.tell(attempt_id, AttemptState::Completed).await;
    let second = ledger.claim_one().await;
    assert_eq!(ledger.spend(&second).await.1, IntentOutcome::Spent);
}

#[tokio::test]
async fn calls_behind_a_waiting_head_of_their_group_are_left_alone() {
    let ledger = Ledger::new().await;
    let head = ledger.accept(scheduled(in_order("head", ADA, 1), 3600)).await;
    ledger.accept(in_order("behind", BOB, 2)).await;
    assert_eq!(ledger.claim().await.len(), 0);
    ledger.run("update calls set scheduled_for = now() where id = $1", head).await;
    assert_eq!(ledger.claim().await.len(), 2);
}

#[tokio::test]
async fn a_scheduled_call_expires_when_its_time_passes_not_when_its_turn_comes() {
    let ledger = Ledger::new().await;
    let call = NewCall {
        expires_at: Some(voxd::clock::now() - chrono::TimeDelta::seconds(1)),
        ..scheduled(new_call("late", ADA), 86_400)
    };
    let id = ledger.accept(call).await;
    let other = ledger.accept(scheduled(new_call("in time", BOB), 86_400)).await;
    assert_eq!(ledger.store.expire_due(10).await.unwrap(), [(id, "bland_ai".to_owned())]);
    assert_eq!((ledger.status(id).await, ledger.reason(id).await), ("expired".into(), Some("expired".into())));
    assert_eq!(ledger.status(other).await, "scheduled");
}

#[tokio::test]
async fn a_redial_of_a_call_whose_end_was_asked_for_ends_it() {
    let ledger = Ledger::new().await;
    let (call, _) = ledger.unknown("doubtful").await;
    let name = CallName::Id(call.id);
    assert!(matches!(ledger.store.cancel(&name, "api", "enough").await.unwrap(), Cancelled::Requested { .. }));
    let settled =
        ledger.store.settle(call.id, SettleAs::Redial, "operator:eve", "not in their list", None).await.unwrap();
    assert_eq!(settled, Settled::Done { status: CallStatus::Cancelled });
    assert_eq!(ledger.status(call.id).await, "cancelled", "scheduled it could never be sent, and would never end");
}

#[tokio::test]
async fn a_call_settled_as_placed_is_looked_at_until_it_ends() {
    let ledger = Ledger::new().await;
    let (call, attempt_id) = ledger.unknown("doubtful").await;
    ledger.store.settle(call.id, SettleAs::Placed, "operator:eve", "heard it ring", None).await.unwrap();
    let due = ledger.store.claim_looks(HOUR, 10).await.unwrap();
    assert_eq!(due.iter().map(|look| look.attempt_id).collect::<Vec<_>>(), [attempt_id]);
}

#[tokio::test]
async fn a_call_found_after_its_absence_was_proven_is_not_dialled_again() {
    let ledger = Ledger::new().await;
    let (call_id, first) = ledger.to_be_redialled().await;
    // The second attempt never left; what authorized it is then disproved.
    let call = ledger.claim_one().await;
    let (second, _) = ledger.spend(&call).await;
    ledger.store.record(&[not_sent(&call, second)]).await.unwrap();
    assert_eq!(ledger.status(call_id).await, "scheduled");
    ledger.tell(first, AttemptState::InProgress).await;
    assert_eq!(ledger.status(call_id).await, "in_progress");
    ledger.tell(first, AttemptState::Completed).await;
    assert_eq!(ledger.status(call_id).await, "completed");
    assert_eq!(ledger.claim().await.len(), 0);
}

#[tokio::test]
async fn a_call_found_beside_its_redial_is_told_as_a_contradiction_and_its_outcome_is_kept() {
    let ledger = Ledger::new().await;
    let (call_id, first) = ledger.to_be_redialled().await;
    let call = ledger.claim_one().await;
    let (second, outcome) = ledger.spend(&call).await;
    assert_eq!(outcome, IntentOutcome::Spent);
    let applied = ledger.tell(first, AttemptState::InProgress).await;
    assert!(matches!(applied, Applied::Contradiction { .. }), "{applied:?}");
    assert_eq!(ledger.state(first).await, "absent");
    ledger.tell(first, AttemptState::Completed).await;
    assert_eq!(ledger.state(first).await, "completed");
    assert_eq!((ledger.status(call_id).await, ledger.state(second).await), ("sending".into(), "sending".into()));
}

#[tokio::test]
async fn what_a_platform_says_is_stored_whatever_characters_it_holds() {
    let ledger = Ledger::new().await;
    let (call, attempt_id) = ledger.sending(new_call("nul", ADA)).await;
    let answer = Answered { detail: Some("it said \0".into()), ..answered(&call, attempt_id) };
    assert_eq!(ledger.store.record(&[answer]).await.unwrap(), [attempt_id]);
    let mut update = CallUpdate {
        attempt_id: Some(attempt_id),
        state: Some(AttemptState::Completed),
        raw_status: Some("done\0".into()),
        ..CallUpdate::default()
    };
    update.facts.transcript = Some(json!([{ "text": "hi\0" }]));
    ledger.store.apply("bland_ai", &update, ToldBy::Poller, HOUR).await.unwrap();
    assert_eq!(ledger.status(call.id).await, "completed");
}

#[tokio::test]
async fn a_call_that_its_platform_took_back_undialled_is_sent_again_and_costs_the_person_no_retry() {
    let ledger = Ledger::new().await;
    let took_back = |attempt_id| CallUpdate {
        attempt_id: Some(attempt_id),
        state: Some(AttemptState::Failed),
        reason: Some("provider_capacity".into()),
        resend_after: Some(Duration::from_secs(30)),
        ..CallUpdate::default()
    };
    let (call, attempt_id) = ledger.sending(new_call("capacity", ADA)).await;
    ledger.tell(attempt_id, AttemptState::Placed).await;
    for _ in 0..2 {
        // Told twice: the second time changes nothing.
        ledger.store.apply("bland_ai", &took_back(attempt_id), ToldBy::Poller, HOUR).await.unwrap();
    }
    assert_eq!((ledger.status(call.id).await, ledger.state(attempt_id).await), ("scheduled".into(), "failed".into()));
    assert_eq!(ledger.reason(call.id).await.as_deref(), Some("provider_capacity"));
    let (tries, outcomes, waits): (i32, i32, bool) =
        sqlx::query_as("select send_tries, outcomes, scheduled_for between now() + interval '20 s' and now() + interval '30 s' from calls where id = $1")
            .bind(call.id)
            .fetch_one(&ledger.db)
            .await
            .unwrap();
    assert_eq!((tries, outcomes, waits), (1, 0, true));

    // Not for ever.
    ledger.run("update calls set send_tries = 9, scheduled_for = now() where id = $1", call.id).await;
    let (again, outcome) = ledger.spend(&ledger.claim_one().await).await;
    assert_eq!(outcome, IntentOutcome::Spent);
    ledger.store.apply("bland_ai", &took_back(again), ToldBy::Poller, HOUR).await.unwrap();
    assert_eq!(ledger.status(call.id).await, "failed");
}

#[tokio::test]
async fn an_end_that_a_webhook_tells_without_its_cost_is_looked_at_once_more() {
    let ledger = Ledger::new().await;
    let (_, attempt_id) = ledger.sending(new_call("ended", ADA)).await;
    ledger.tell(attempt_id, AttemptState::Completed).await;
    ledger
        .run(
            "update call_attempts set next_look_at = now() where id = $1 and next_look_at > now() + interval '50 min'",
            attempt_id,
        )
        .await;
    let due = ledger.store.claim_looks(HOUR, 10).await.unwrap();
    assert_eq!(
        due.iter().map(|look| (look.attempt_id, look.state)).collect::<Vec<_>>(),
        [(attempt_id, AttemptState::Completed)]
    );
    // What comes meanwhile without a cost changes nothing, and with one it ends the wait.
    ledger.tell(attempt_id, AttemptState::Completed).await;
    let waits = "update call_attempts set looks = looks where id = $1 and next_look_at is not null";
    ledger.run(waits, attempt_id).await;
    let mut report = CallUpdate { attempt_id: Some(attempt_id), ..CallUpdate::default() };
    report.facts.cost = Some(voxd::call::Money::usd(1.into()));
    ledger.store.apply("bland_ai", &report, ToldBy::Webhook, HOUR).await.unwrap();
    ledger.run("update call_attempts set looks = looks where id = $1 and next_look_at is null", attempt_id).await;

    let (_, attempt_id) = ledger.sending(new_call("ended too", BOB)).await;
    ledger.tell(attempt_id, AttemptState::Busy).await;
    ledger.run(waits, attempt_id).await;
    ledger.store.no_more_looks(attempt_id).await.unwrap();
    ledger.run("update call_attempts set looks = looks where id = $1 and next_look_at is null", attempt_id).await;
}

#[tokio::test]
async fn an_early_cost_that_comes_late_does_not_replace_the_final_one() {
    let ledger = Ledger::new().await;
    let (_, attempt_id) = ledger.sending(new_call("ended", ADA)).await;
    let told = async |cents: i64, early_cost| {
        let mut update = CallUpdate { state: Some(AttemptState::Completed), early_cost, ..CallUpdate::default() };
        update.attempt_id = Some(attempt_id);
        update.facts.cost = Some(voxd::call::Money::usd(rust_decimal::Decimal::new(cents, 2)));
        ledger.store.apply("bland_ai", &update, ToldBy::Webhook, HOUR).await.unwrap();
        let cost = "select trim_scale(cost_amount)::text from call_attempts where id = $1";
        sqlx::query_scalar::<_, String>(cost).bind(attempt_id).fetch_one(&ledger.db).await.unwrap()
    };
    assert_eq!(told(10, true).await, "0.1", "better than none");
    assert_eq!(told(14, false).await, "0.14", "the final one replaces it");
    assert_eq!(told(10, true).await, "0.14");
    assert_eq!(told(15, false).await, "0.15", "a correction counts");
}

#[tokio::test]
async fn a_phone_that_rang_was_dialled_whatever_its_platform_says_later() {
    let ledger = Ledger::new().await;
    let (call, attempt_id) = ledger.sending(new_call("rang", ADA)).await;
    ledger.tell(attempt_id, AttemptState::Ringing).await;
    let update = CallUpdate {
        attempt_id: Some(attempt_id),
        state: Some(AttemptState::Failed),
        resend_after: Some(Duration::from_secs(30)),
        ..CallUpdate::default()
    };
    ledger.store.apply("bland_ai", &update, ToldBy::Poller, HOUR).await.unwrap();
    assert_eq!(ledger.status(call.id).await, "failed");
}

#[tokio::test]
async fn the_next_platform_gets_all_its_tries() {
    let ledger = Ledger::new().await;
    let (call, attempt_id) = ledger.sending(new_call("fallback", ADA)).await;
    ledger.run("update calls set send_tries = 9 where id = $1", call.id).await;
    let answer = Answered { next_platform: Some("vapi".into()), ..not_sent(&call, attempt_id) };
    ledger.store.record(&[answer]).await.unwrap();
    let call = ledger.claim_one().await;
    assert_eq!((call.platform.as_str(), call.send_tries), ("vapi", 0));
}

#[tokio::test]
async fn an_answer_that_comes_after_its_calls_outcome_is_kept_with_the_attempt() {
    let ledger = Ledger::new().await;
    let mut call = new_call("retried", ADA);
    let policy = json!({ "platform": "bland_ai", "retry": { "max_attempts": 3, "on": ["no_answer"] } });
    call.request.voice_config = serde_json::from_value(policy).unwrap();
    let (call, attempt_id) = ledger.sending(call).await;
    ledger.tell(attempt_id, AttemptState::NoAnswer).await;
    assert_eq!(ledger.reason(call.id).await.as_deref(), Some("retry"));
    assert_eq!(ledger.store.record(&[answered(&call, attempt_id)]).await.unwrap(), [attempt_id]);
    let verdict: Option<String> =
        sqlx::query_scalar("select verdict from call_attempts").fetch_one(&ledger.db).await.unwrap();
    assert_eq!(verdict.as_deref(), Some("placed"));
    assert_eq!(
        (ledger.status(call.id).await, ledger.reason(call.id).await),
        ("scheduled".into(), Some("retry".into()))
    );
}

#[tokio::test]
async fn an_answer_that_waits_for_its_calls_outcome_to_commit_is_kept_with_the_attempt() {
    let ledger = Ledger::new().await;
    let (call, attempt_id) = ledger.sending(new_call("at-once", ADA)).await;
    // What a webhook does that tells an outcome which the call retries; it commits while the answer waits for the call.
    let mut webhook = ledger.db.begin().await.unwrap();
    for statement in [
        "select from calls where id = $1 for no key update",
        "update call_attempts set state = 'busy', ended_at = now() where call_id = $1",
        "update calls set status = 'scheduled', status_reason = 'retry', scheduled_for = now(), fence = fence + 1, lease_owner = null,
             lease_until = null, sent_in_order = true where id = $1",
    ] {
        sqlx::query(statement).bind(call.id).execute(&mut *webhook).await.unwrap();
    }
    let answers = [answered(&call, attempt_id)];
    let commit = async {
        harness::eventually("the answer waits for the call", async || {
            let waiting = "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')";
            sqlx::query_scalar::<_, bool>(waiting).fetch_one(&ledger.db).await.unwrap().then_some(())
        })
        .await;
        webhook.commit().await.unwrap();
    };
    let (recorded, ()) = tokio::join!(ledger.store.record(&answers), commit);
    assert_eq!(recorded.unwrap(), [attempt_id]);
    let kept: (String, Option<String>) =
        sqlx::query_as("select state, verdict from call_attempts").fetch_one(&ledger.db).await.unwrap();
    assert_eq!(kept, ("busy".into(), Some("placed".into())));
    assert_eq!(ledger.status(call.id).await, "scheduled");
}

#[tokio::test]
async fn a_cancelled_call_that_was_not_sent_ends_with_the_stable_reason() {
    let ledger = Ledger::new().await;
    let (call, attempt_id) = ledger.sending(new_call("cancelled", ADA)).await;
    ledger.store.cancel(&CallName::Id(call.id), "api", "they called us back").await.unwrap();
    ledger.store.record(&[not_sent(&call, attempt_id)]).await.unwrap();
    assert_eq!(
        (ledger.status(call.id).await, ledger.reason(call.id).await),
        ("cancelled".into(), Some("cancel_requested".into()))
    );
}

#[tokio::test]
async fn a_cancelled_call_that_turns_out_to_be_live_is_looked_at_at_once() {
    let ledger = Ledger::new().await;
    let (call, attempt_id) = ledger.sending(new_call("cancelled", ADA)).await;
    ledger.store.cancel(&CallName::Id(call.id), "api", "they called us back").await.unwrap();
    ledger.tell(attempt_id, AttemptState::Ringing).await;
    assert_eq!(ledger.store.claim_looks(HOUR, 10).await.unwrap().len(), 1, "so that it is ended");
}

#[tokio::test]
async fn leases_given_back_are_anybodys_at_once() {
    let ledger = Ledger::new().await;
    let call = new_call("given back", ADA);
    let lease_to = LeaseTo { replica: ledger.replica, lease: HOUR };
    ledger.store.accept_calls(&[call], Some(lease_to)).await.unwrap();
    assert_eq!(ledger.claim().await.len(), 0);
    assert_eq!(ledger.store.release_all(ledger.replica).await.unwrap(), 1);
    assert_eq!(ledger.claim().await.len(), 1);
}

#[tokio::test]
async fn a_listing_that_another_look_has_overtaken_proves_nothing() {
    let ledger = Ledger::new().await;
    let (call, attempt_id) = ledger.in_doubt(new_call("doubtful", ADA)).await;
    ledger.note_absence(attempt_id).await;
    let stale = 1;
    ledger.run("update call_attempts set looks = looks + 1, last_absence_at = last_absence_at - interval '1 day' where id = $1", attempt_id).await;
    let step = ledger.store.note_absence(attempt_id, stale, &json!({ "listed": 0 }), HOUR).await.unwrap();
    assert_eq!((step, ledger.status(call.id).await), (DoubtStep::Settled, "in_doubt".into()));
}
