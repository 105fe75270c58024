//! The checker: pure functions over what was collected. It knows the producer's log, the platform's journal and call
//! records, the queues and the tables, and nothing of the daemon.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use uuid::Uuid;

use super::plan::{Kind, Message};

/// All that is judged.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// The producer's log.
    pub sent: Vec<Message>,
    /// The journal's create requests, in order.
    pub creates: Vec<Create>,
    /// How each call ended that a platform made, by its id there: as its simulator played it.
    pub made: BTreeMap<String, String>,
    pub calls: Vec<CallRow>,
    pub attempts: Vec<AttemptRow>,
    pub rejected: Vec<Refusal>,
    pub dead_letters: Vec<Refusal>,
    /// Messages in the jobs queue, visible or in flight.
    pub left_in_queue: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Create {
    pub attempt_id: Option<Uuid>,
    pub call_id: Option<Uuid>,
    /// The platform's id of the call that it made for this request.
    pub made: Option<String>,
}

#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
pub struct CallRow {
    pub id: Uuid,
    pub source: String,
    pub event_id: String,
    pub status: String,
    pub status_reason: Option<String>,
    pub to_number: String,
}

#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
pub struct AttemptRow {
    pub id: Uuid,
    pub call_id: Uuid,
    pub n: i32,
    pub because: String,
    pub state: String,
    pub platform_call_id: Option<String>,
    pub to_number: String,
}

/// A bad message as it was kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Refusal {
    pub body: String,
    pub reason: String,
}

/// A broken promise, for a person to read.
pub type Violation = String;

/// Everything that is wrong.
pub fn violations(evidence: &Evidence) -> Vec<Violation> {
    [
        one_request_per_attempt,
        every_request_has_its_row,
        one_call_per_job,
        one_row_per_job,
        bad_messages_are_kept,
        calls_end_as_the_platform_says,
        nothing_is_left,
    ]
    .iter()
    .flat_map(|rule| rule(evidence))
    .collect()
}

fn one_request_per_attempt(evidence: &Evidence) -> Vec<Violation> {
    let mut requests: BTreeMap<Uuid, usize> = BTreeMap::new();
    for create in &evidence.creates {
        *requests.entry(create.attempt_id.unwrap_or_default()).or_default() += 1;
    }
    let twice = requests.into_iter().filter(|(_, count)| *count > 1);
    twice.map(|(attempt, count)| format!("attempt {attempt}: {count} create requests")).collect()
}

fn every_request_has_its_row(evidence: &Evidence) -> Vec<Violation> {
    let rows: BTreeMap<Uuid, &AttemptRow> = evidence.attempts.iter().map(|row| (row.id, row)).collect();
    let judge = |create: &Create| {
        let Some(id) = create.attempt_id else { return Some("a create request names no attempt".to_owned()) };
        match rows.get(&id) {
            None => Some(format!("attempt {id}: a create request, but no row")),
            // Twilio's requests carry the attempt alone.
            Some(row) if create.call_id.is_some_and(|call| call != row.call_id) => {
                Some(format!("attempt {id}: sent for call {:?}, its row says {}", create.call_id, row.call_id))
            }
            Some(_) => None,
        }
    };
    evidence.creates.iter().filter_map(judge).collect()
}

/// One call for each job, unless a later attempt's row says why there may be another, and what it says is true.
fn one_call_per_job(evidence: &Evidence) -> Vec<Violation> {
    let made: BTreeMap<Uuid, &String> = evidence
        .creates
        .iter()
        .filter_map(|create| Some((create.attempt_id?, evidence.made.get(create.made.as_ref()?)?)))
        .collect();
    let mut by_call: BTreeMap<Uuid, Vec<&AttemptRow>> = BTreeMap::new();
    for row in &evidence.attempts {
        by_call.entry(row.call_id).or_default().push(row);
    }
    let mut wrong = Vec::new();
    for rows in by_call.values_mut() {
        rows.sort_by_key(|row| row.n);
        if rows[0].because != "first" {
            wrong.push(format!("call {}: its first attempt says {:?}", rows[0].call_id, rows[0].because));
        }
        for pair in rows.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            let call = made.get(&before.id).map(|end| end.as_str());
            let authorized = match after.because.split_once([':', ' ']).map(|(word, _)| word) {
                // The call before it came to an end that the retry policy covers.
                Some("retry") => matches!(call, Some("no_answer" | "busy")),
                // No call was made, whatever the platform said or did not say.
                Some("resend" | "fallback" | "absence") => call.is_none(),
                _ => false,
            };
            if !authorized {
                wrong.push(format!(
                    "call {}: attempt {} ({}) follows one that made {call:?}, because {:?}",
                    after.call_id, after.n, after.id, after.because
                ));
            }
        }
    }
    wrong
}

fn one_row_per_job(evidence: &Evidence) -> Vec<Violation> {
    let good: BTreeSet<&str> = evidence
        .sent
        .iter()
        .filter_map(|message| match &message.kind {
            Kind::Good { event_id } => Some(event_id.as_str()),
            Kind::Bad { .. } => None,
        })
        .collect();
    let mut rows: BTreeMap<&str, usize> = BTreeMap::new();
    for call in &evidence.calls {
        *rows.entry(&call.event_id).or_default() += 1;
    }
    let missing = good.iter().filter(|id| !rows.contains_key(*id)).map(|id| format!("job {id}: lost, it has no row"));
    let more = rows.iter().filter(|(_, count)| **count > 1).map(|(id, count)| format!("job {id}: {count} rows"));
    let unasked = rows.keys().filter(|id| !good.contains(*id)).map(|id| format!("job {id}: nobody sent it"));
    missing.chain(more).chain(unasked).collect()
}

fn bad_messages_are_kept(evidence: &Evidence) -> Vec<Violation> {
    let bad: BTreeSet<Refusal> = evidence
        .sent
        .iter()
        .filter_map(|message| match &message.kind {
            Kind::Bad { reason } => Some(Refusal { body: message.body.clone(), reason: (*reason).to_owned() }),
            Kind::Good { .. } => None,
        })
        .collect();
    let mut wrong = Vec::new();
    for (place, kept) in [("rejected_messages", &evidence.rejected), ("the dead-letter queue", &evidence.dead_letters)]
    {
        let kept: BTreeSet<Refusal> = kept.iter().cloned().collect();
        let line =
            |refusal: &Refusal| format!("{}: {}", refusal.reason, refusal.body.chars().take(120).collect::<String>());
        wrong.extend(bad.difference(&kept).map(|refusal| format!("not in {place}: {}", line(refusal))));
        wrong.extend(kept.difference(&bad).map(|refusal| format!("wrongly in {place}: {}", line(refusal))));
    }
    wrong
}

fn calls_end_as_the_platform_says(evidence: &Evidence) -> Vec<Violation> {
    let rows: BTreeMap<Uuid, &AttemptRow> = evidence.attempts.iter().map(|row| (row.id, row)).collect();
    let mut last: BTreeMap<Uuid, &AttemptRow> = BTreeMap::new();
    for row in &evidence.attempts {
        let known = last.entry(row.call_id).or_insert(row);
        if known.n < row.n {
            *known = row;
        }
    }
    let calls: BTreeMap<Uuid, &CallRow> = evidence.calls.iter().map(|call| (call.id, call)).collect();
    let mut wrong = Vec::new();
    for create in &evidence.creates {
        let (Some(id), Some(made)) = (create.attempt_id, &create.made) else { continue };
        let Some(row) = rows.get(&id) else { continue };
        let Some(expected) = evidence.made.get(made) else {
            wrong.push(format!("platform call {made}: no record"));
            continue;
        };
        if row.state != *expected {
            wrong.push(format!("attempt {id}: {}, but the platform's call {made} is {expected}", row.state));
        }
        if row.platform_call_id.as_ref() != Some(made) {
            wrong.push(format!("attempt {id}: platform_call_id {:?}, made was {made}", row.platform_call_id));
        }
        let is_last = last.get(&row.call_id).is_some_and(|latest| latest.id == id);
        if let Some(call) = calls.get(&row.call_id).filter(|call| is_last && call.status != *expected) {
            wrong.push(format!("call {}: {}, but the platform's call {made} is {expected}", call.id, call.status));
        }
    }
    wrong
}

/// Ends and `unknown` are final here. `scheduled` may stay only behind a number that an `unknown` call holds.
fn nothing_is_left(evidence: &Evidence) -> Vec<Violation> {
    let held: BTreeSet<&str> =
        evidence.attempts.iter().filter(|row| row.state == "unknown").map(|row| row.to_number.as_str()).collect();
    let done = ["completed", "no_answer", "busy", "voicemail", "failed", "cancelled", "unknown"];
    let open = |call: &&CallRow| {
        let waits = call.status == "scheduled" && call.status_reason.as_deref() == Some("number_busy");
        !(done.contains(&call.status.as_str()) || waits && held.contains(call.to_number.as_str()))
    };
    let mut wrong: Vec<Violation> = evidence
        .calls
        .iter()
        .filter(open)
        .map(|call| format!("call {}: left as {} ({:?})", call.id, call.status, call.status_reason))
        .collect();
    if evidence.left_in_queue > 0 {
        wrong.push(format!("{} messages are left in the queue", evidence.left_in_queue));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: Uuid = Uuid::from_u128(1);

    fn attempt(n: u128, because: &str, state: &str, made: Option<&str>) -> AttemptRow {
        AttemptRow {
            id: Uuid::from_u128(10 + n),
            call_id: JOB,
            n: n as i32,
            because: because.into(),
            state: state.into(),
            platform_call_id: made.map(str::to_owned),
            to_number: "+14155550100".into(),
        }
    }

    fn create(n: u128, made: Option<&str>) -> Create {
        Create { attempt_id: Some(Uuid::from_u128(10 + n)), call_id: Some(JOB), made: made.map(str::to_owned) }
    }

    fn refusal() -> Refusal {
        Refusal { body: "{".into(), reason: "not_json".into() }
    }

    /// One job, one call, one bad message: as it should be.
    fn clean() -> Evidence {
        let good = Message { body: "{}".into(), kind: Kind::Good { event_id: "e".into() } };
        let bad = Message { body: "{".into(), kind: Kind::Bad { reason: "not_json" } };
        Evidence {
            sent: vec![good.clone(), good, bad],
            creates: vec![create(1, Some("c1"))],
            made: BTreeMap::from([("c1".to_owned(), "completed".to_owned())]),
            calls: vec![CallRow {
                id: JOB,
                source: "chaos".into(),
                event_id: "e".into(),
                status: "completed".into(),
                status_reason: None,
                to_number: "+14155550100".into(),
            }],
            attempts: vec![attempt(1, "first", "completed", Some("c1"))],
            rejected: vec![refusal(), refusal()],
            dead_letters: vec![refusal()],
            left_in_queue: 0,
        }
    }

    fn broken(change: impl FnOnce(&mut Evidence)) -> String {
        let mut evidence = clean();
        change(&mut evidence);
        violations(&evidence).join("\n")
    }

    #[test]
    fn a_clean_run_has_no_violation() {
        assert_eq!(violations(&clean()), Vec::<String>::new());
    }

    #[test]
    fn a_second_request_for_an_attempt_is_seen() {
        assert!(broken(|e| e.creates.push(create(1, None))).contains("2 create requests"));
    }

    #[test]
    fn a_request_without_a_row_is_seen() {
        assert!(broken(|e| e.attempts.clear()).contains("a create request, but no row"));
        assert!(broken(|e| e.creates[0].attempt_id = None).contains("names no attempt"));
        assert!(broken(|e| e.creates[0].call_id = Some(Uuid::nil())).contains("its row says"));
    }

    fn second(because: &str) -> impl FnOnce(&mut Evidence) {
        let row = attempt(2, because, "completed", Some("c2"));
        move |evidence| {
            evidence.made.insert("c2".into(), "completed".into());
            evidence.creates.push(create(2, Some("c2")));
            evidence.attempts.push(row);
        }
    }

    #[test]
    fn a_second_call_needs_a_true_reason() {
        for untrue in [
            "absence of attempt 1 proven by 2 complete listings",
            "resend: attempt 1 was not sent",
            "retry: attempt 1 ended as busy",
            "first",
            "whim",
        ] {
            assert!(broken(second(untrue)).contains("follows one that made"), "{untrue}");
        }
        let after_a_busy_line = |e: &mut Evidence| {
            second("retry: attempt 1 ended as busy")(e);
            e.made.insert("c1".into(), "busy".into());
            e.attempts[0].state = "busy".into();
        };
        assert_eq!(broken(after_a_busy_line), "");
        let after_no_call = |e: &mut Evidence| {
            second("absence of attempt 1 proven by 2 complete listings")(e);
            e.creates[0].made = None;
            e.attempts[0] = attempt(1, "first", "absent", None);
        };
        assert_eq!(broken(after_no_call), "");
    }

    #[test]
    fn a_lost_doubled_or_invented_job_is_seen() {
        assert!(broken(|e| e.calls.clear()).contains("lost"));
        assert!(broken(|e| e.calls.push(e.calls[0].clone())).contains("2 rows"));
        assert!(
            broken(|e| e.sent.retain(|message| matches!(message.kind, Kind::Bad { .. }))).contains("nobody sent it")
        );
    }

    #[test]
    fn a_bad_message_that_is_not_kept_is_seen_and_so_is_a_good_one_that_is() {
        assert!(broken(|e| e.rejected.clear()).contains("not in rejected_messages"));
        assert!(broken(|e| e.dead_letters.clear()).contains("not in the dead-letter queue"));
        let good = Refusal { body: "{}".into(), reason: "schema".into() };
        assert!(broken(|e| e.rejected.push(good)).contains("wrongly in rejected_messages"));
        assert!(broken(|e| e.dead_letters[0].reason = "schema".into()).contains("wrongly in the dead-letter queue"));
    }

    #[test]
    fn a_call_that_ended_otherwise_is_seen() {
        assert!(
            broken(|e| e.calls[0].status = "failed".into())
                .contains("call 00000000-0000-0000-0000-000000000001: failed")
        );
        assert!(broken(|e| e.attempts[0].state = "unknown".into()).contains(": unknown, but the platform's call"));
        assert!(broken(|e| e.attempts[0].platform_call_id = None).contains("platform_call_id None"));
        assert!(broken(|e| e.made.clear()).contains("no record"));
    }

    #[test]
    fn what_is_left_over_is_seen() {
        for status in ["accepted", "sending", "in_doubt", "scheduled", "placed"] {
            assert!(broken(|e| e.calls[0].status = status.into()).contains(&format!("left as {status}")), "{status}");
        }
        assert!(broken(|e| e.left_in_queue = 1).contains("left in the queue"));
        let behind_an_unknown = |e: &mut Evidence| {
            e.creates.clear();
            e.attempts[0] = attempt(1, "first", "unknown", None);
            e.calls[0].status = "scheduled".into();
            e.calls[0].status_reason = Some("number_busy".into());
        };
        assert_eq!(broken(behind_an_unknown), "");
    }
}
