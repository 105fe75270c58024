//! FIFO queues: the calls of one message group go out in order, groups beside each other. Standard queues: the group is
//! the tenant.

use std::collections::BTreeMap;
use std::time::Duration;

use voxd::queue::Outgoing;
use voxd::sim::bland::BlandOptions;
use voxd::sim::platform::{Answer, Entry, Script};

use crate::harness::{World, WorldOptions, call_event, eventually, number};

async fn send(world: &World, group: &str, id: &str, to: &str) {
    let mut message = Outgoing::new(call_event(id, to).to_string());
    message.group_id = Some(group.to_owned());
    world.enqueue_raw(message).await;
}

/// Asserts that these numbers were called in this order, each after the answer to the one before.
#[track_caller]
fn assert_one_after_another(creates: &[Entry], numbers: &[String]) {
    let of_group: Vec<&Entry> =
        creates.iter().filter(|create| create.number.as_ref().is_some_and(|number| numbers.contains(number))).collect();
    let order: Vec<_> = of_group.iter().map(|create| create.number.clone().unwrap()).collect();
    assert_eq!(order, numbers);
    for pair in of_group.windows(2) {
        let answered = pair[0].answered_at.expect("an answer before the next request");
        assert!(pair[1].at >= answered, "{:?} before the answer to {:?}", pair[1], pair[0]);
    }
}

#[tokio::test]
async fn a_group_waits_for_its_own_answers_and_for_nobody_elses() {
    let bland = BlandOptions { slow: Duration::from_millis(300), ..BlandOptions::default() };
    let environment = vec![("VOXD_PLATFORMS__BLAND_AI__REQUEST_TIMEOUT".to_owned(), "60s".to_owned())];
    let world = World::with(WorldOptions { fifo: true, bland, environment, ..WorldOptions::default() }).await;
    let _daemon = world.daemon().await;
    // The first of `stuck` is not answered as long as this test runs.
    let stuck = [number(0, "0100"), number(1, "0100")];
    world.bland.set_script(&stuck[0], Script::answering(Answer::HangAfter));
    for (n, to) in stuck.iter().enumerate() {
        send(&world, "stuck", &format!("stuck-{n}"), to).await;
    }
    let slow: Vec<String> = (10..14).map(|n| number(n, "0130")).collect();
    for (n, to) in slow.iter().enumerate() {
        send(&world, "slow", &format!("slow-{n}"), to).await;
    }
    for n in 0..slow.len() {
        world.until_status(&format!("slow-{n}"), "completed").await;
    }
    let creates = world.bland.journal().creates();
    assert_one_after_another(&creates, &slow);
    let of_stuck: Vec<_> = creates.iter().filter(|create| stuck.contains(create.number.as_ref().unwrap())).collect();
    assert_eq!(of_stuck.len(), 1, "the second waits for the first one's answer: {of_stuck:?}");
    assert_eq!(of_stuck[0].status, None);
    world.until_empty("jobs.fifo").await;
}

#[tokio::test]
async fn two_replicas_keep_each_groups_order() {
    let bland = BlandOptions { latency: Duration::from_millis(20), ..BlandOptions::default() };
    let world = World::with(WorldOptions { fifo: true, bland, ..WorldOptions::default() }).await;
    let _one = world.daemon().await;
    let _two = world.daemon().await;
    let mut groups: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for n in 0..6 {
        for group in 0..4 {
            let to = number(group * 100 + n, "0100");
            send(&world, &format!("g{group}"), &format!("g{group}-{n}"), &to).await;
            groups.entry(group).or_default().push(to);
        }
    }
    eventually("all calls are over", async || {
        (world.count("select count(*) from calls where status = 'completed'").await == 24).then_some(())
    })
    .await;
    let creates = world.bland.journal().creates();
    groups.values().for_each(|numbers| assert_one_after_another(&creates, numbers));
}

#[tokio::test]
async fn a_group_goes_on_after_a_call_that_is_never_sent() {
    let world = World::with(WorldOptions { fifo: true, ..WorldOptions::default() }).await;
    let _daemon = world.daemon().await;
    send(&world, "g", "refused", &number(0, "0110")).await;
    send(&world, "g", "abroad", "+442079460123").await;
    send(&world, "g", "last", &number(1, "0100")).await;
    world.until_status("last", "completed").await;
    assert_eq!(world.status("refused").await.unwrap().0, "failed");
    assert_eq!(world.status("abroad").await.unwrap().0, "rejected");
}

#[tokio::test]
async fn a_bad_message_in_a_group_holds_nobody_up_and_keeps_its_group_as_a_dead_letter() {
    let world = World::with(WorldOptions { fifo: true, ..WorldOptions::default() }).await;
    let bad = Outgoing { body: "not json".into(), group_id: Some("g".into()), ..Outgoing::default() };
    world.enqueue_raw(bad).await;
    send(&world, "g", "behind", &number(0, "0100")).await;
    let _daemon = world.daemon().await;
    world.until_status("behind", "completed").await;
    world.until_empty("jobs.fifo").await;
    let letters = world.receive("jobs-dlq.fifo").await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["Body"], "not json");
    assert_eq!(letters[0]["Attributes"]["MessageGroupId"], "g");
    assert_eq!(letters[0]["MessageAttributes"]["voxd.reason"]["StringValue"], "not_json");
}

#[tokio::test]
async fn a_standard_queues_group_is_the_calls_tenant_and_else_the_user_is() {
    let world = World::new().await;
    let _daemon = world.daemon().await;
    send(&world, "acme", "grouped", &number(0, "0100")).await;
    world.enqueue(&call_event("alone", &number(1, "0100"))).await;
    for (id, tenant) in [("grouped", "acme"), ("alone", "user-7")] {
        world.until_status(id, "completed").await;
        let kept: Option<String> = world.of(id, "select tenant from calls where event_id = $1").await;
        assert_eq!(kept.as_deref(), Some(tenant), "{id}");
    }
}

const CALLS: u32 = 12;
const GROUPS: u32 = 3;

#[tokio::test]
async fn two_replicas_and_a_crash_keep_the_order_of_every_group() {
    let bland = BlandOptions { latency: Duration::from_millis(30), ..BlandOptions::default() };
    // What the dying one received comes back soon.
    let environment = vec![("VOXD_QUEUE__VISIBILITY".to_owned(), "2s".to_owned())];
    let world = World::with(WorldOptions { fifo: true, bland, environment, ..WorldOptions::default() }).await;
    for n in 0..CALLS {
        let group = n % GROUPS;
        let event = call_event(&format!("g{group}-{n:02}"), &number(n, "0100"));
        let mut message = Outgoing::new(event.to_string());
        message.group_id = Some(format!("g{group}"));
        message.deduplication_id = Some(format!("m{n}"));
        world.enqueue_raw(message).await;
    }
    let mut dying = world.daemon_with(&[("VOXD_TEST_FAULT", "after_accept=crash")]).await;
    eventually("the first replica dies with calls accepted", async || dying.has_ended().then_some(())).await;
    let _one = world.daemon().await;
    let _other = world.daemon().await;
    eventually("all calls are made", async || (world.creates_by_attempt().len() == CALLS as usize).then_some(())).await;
    let order: Vec<(String,)> = sqlx::query_as(
        "select c.event_id from call_attempts a join calls c on c.id = a.call_id order by a.committed_at",
    )
    .fetch_all(&world.db)
    .await
    .unwrap();
    for group in 0..GROUPS {
        let of_group: Vec<&str> =
            order.iter().map(|(id,)| id.as_str()).filter(|id| id.starts_with(&format!("g{group}-"))).collect();
        assert!(of_group.is_sorted() && of_group.len() == (CALLS / GROUPS) as usize, "{of_group:?}");
    }
    let overlapping: i64 = world
        .count(
            "select count(*) from call_attempts a join calls c on c.id = a.call_id
             join calls d on d.order_key = c.order_key and d.order_seq < c.order_seq join call_attempts b on b.call_id = d.id
             where b.answered_at is null or b.answered_at > a.committed_at",
        )
        .await;
    assert_eq!(overlapping, 0, "a call was sent before the answer of the one before it");
}
