//! One queue and the broker, with time passed in: what takes hours, or a hundred thousand messages, on the wire.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::broker::{Broker, Receive};
use super::error::ErrorKind;
use super::message::{Content, Delivery};
use super::queue::MAX_IN_FLIGHT;

const OWN: &str = "us-east-1:000000000000";
const ASK: Receive<'_> = Receive { max: 10, visibility_seconds: None, attempt: None, short: true, duplicate: 0.0 };

fn broker() -> Broker {
    Broker::new(OWN.into(), true, fastrand::Rng::with_seed(1))
}

fn content(body: &str, group: Option<&str>, dedup: Option<&str>) -> Content {
    Content {
        body: body.into(),
        body_md5: String::new(),
        attributes: BTreeMap::new(),
        attributes_md5: None,
        trace_header: None,
        trace_md5: None,
        group: group.map(Arc::from),
        deduplication_id: dedup.map(str::to_owned),
    }
}

fn create(broker: &mut Broker, name: &str, attributes: &[(&str, &str)]) {
    let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    broker.create(0, name, &attributes, BTreeMap::new()).unwrap();
}

fn send(broker: &mut Broker, now: u64, name: &str, body: &str) {
    broker.send(now, name, content(body, None, None), None).unwrap();
}

fn send_fifo(broker: &mut Broker, now: u64, name: &str, group: &str, body: &str) {
    broker.send(now, name, content(body, Some(group), Some(body)), None).unwrap();
}

fn receive(broker: &mut Broker, now: u64, name: &str) -> Vec<Delivery> {
    broker.receive(now, name, ASK).unwrap()
}

fn bodies(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|delivery| delivery.message.content.body.as_str()).collect()
}

fn delete(broker: &mut Broker, now: u64, name: &str, delivery: &Delivery) {
    broker.queue(now, name).unwrap().delete(&delivery.handle.encode()).unwrap();
    broker.settle(name);
}

#[test]
fn visibility_ends_to_the_millisecond_and_the_clock_says_when() {
    let mut broker = broker();
    create(&mut broker, "q", &[]);
    send(&mut broker, 1000, "q", "a");
    assert_eq!(receive(&mut broker, 2000, "q").len(), 1);
    assert_eq!(broker.tick(2000), Some(32_000));
    assert!(receive(&mut broker, 31_999, "q").is_empty());
    broker.wake_ups();
    broker.tick(32_000);
    assert_eq!(broker.wake_ups(), [Arc::from("q")], "a waiting receiver is woken");
    assert_eq!(receive(&mut broker, 32_000, "q")[0].message.received, 2);
}

#[test]
fn messages_are_kept_for_the_retention_period_and_not_longer() {
    let mut broker = broker();
    create(&mut broker, "q", &[("MessageRetentionPeriod", "60")]);
    send(&mut broker, 0, "q", "a");
    assert_eq!(broker.queue(59_999, "q").unwrap().ready(), 1);
    assert_eq!(broker.queue(60_000, "q").unwrap().ready(), 0);
    assert!(receive(&mut broker, 60_000, "q").is_empty());
}

#[test]
fn a_dead_letter_keeps_the_first_queues_clock_and_its_count() {
    let mut broker = broker();
    create(&mut broker, "dead", &[("MessageRetentionPeriod", "60")]);
    let policy = format!(r#"{{"deadLetterTargetArn":"arn:aws:sqs:{OWN}:dead","maxReceiveCount":2}}"#);
    create(&mut broker, "q", &[("RedrivePolicy", &policy), ("VisibilityTimeout", "10")]);
    send(&mut broker, 0, "q", "a");
    assert_eq!(receive(&mut broker, 0, "q").len(), 1);
    assert_eq!(receive(&mut broker, 10_000, "q").len(), 1);
    assert!(receive(&mut broker, 20_000, "q").is_empty(), "the third receive buries it");
    let dead = receive(&mut broker, 20_000, "dead");
    assert_eq!((dead[0].message.sent_ms, dead[0].message.received), (0, 3));
    assert_eq!(broker.queue(60_000, "dead").unwrap().in_flight(), 0, "gone a minute after it was first sent");
}

#[test]
fn visibility_may_not_pass_twelve_hours_in_sum() {
    let mut broker = broker();
    create(&mut broker, "q", &[]);
    send(&mut broker, 0, "q", "a");
    let handle = receive(&mut broker, 0, "q")[0].handle.encode();
    let queue = broker.queue(0, "q").unwrap();
    queue.change_visibility(0, &handle, 43_200).unwrap();
    let error = queue.change_visibility(1000, &handle, 43_200).unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidParameterValue);
    assert_eq!(queue.next_due(), Some(43_200_000), "refused, not clipped: the first change stands");
}

#[test]
fn an_old_handle_deletes_nothing_and_the_last_one_does_even_after_its_time() {
    let mut broker = broker();
    create(&mut broker, "q", &[]);
    send(&mut broker, 0, "q", "a");
    let first = receive(&mut broker, 0, "q").remove(0);
    let second = receive(&mut broker, 30_000, "q").remove(0);
    assert_ne!(first.handle.encode(), second.handle.encode());
    delete(&mut broker, 30_000, "q", &first);
    assert_eq!(broker.queue(30_000, "q").unwrap().in_flight(), 1);
    assert_eq!(broker.queue(60_000, "q").unwrap().ready(), 1);
    delete(&mut broker, 60_000, "q", &second);
    assert_eq!(broker.queue(60_000, "q").unwrap().ready(), 0);
    assert!(receive(&mut broker, 60_000, "q").is_empty());
}

#[test]
fn a_visibility_change_is_refused_when_the_delivery_is_over() {
    let mut broker = broker();
    create(&mut broker, "q", &[]);
    send(&mut broker, 0, "q", "a");
    let first = receive(&mut broker, 0, "q").remove(0).handle.encode();
    let kind =
        |broker: &mut Broker, now| broker.queue(now, "q").unwrap().change_visibility(now, &first, 5).unwrap_err().kind;
    assert_eq!(kind(&mut broker, 30_000), ErrorKind::MessageNotInflight);
    let second = receive(&mut broker, 30_000, "q").remove(0);
    assert_eq!(kind(&mut broker, 30_000), ErrorKind::MessageNotInflight, "in flight, but by a newer delivery");
    delete(&mut broker, 30_000, "q", &second);
    assert_eq!(kind(&mut broker, 30_000), ErrorKind::InvalidParameterValue);
}

#[test]
fn a_message_received_three_times_goes_to_the_back_of_a_standard_queue() {
    let mut broker = broker();
    create(&mut broker, "q", &[]);
    for body in ["a", "b"] {
        send(&mut broker, 0, "q", body);
    }
    let one = Receive { max: 1, visibility_seconds: Some(1), ..ASK };
    for now in [0, 1000, 2000] {
        assert_eq!(bodies(&broker.receive(now, "q", one).unwrap()), ["a"]);
    }
    assert_eq!(bodies(&broker.receive(3000, "q", one).unwrap()), ["b"]);
}

#[test]
fn the_in_flight_limit_is_an_error_for_short_polls_and_silence_for_long_ones() {
    let mut broker = broker();
    create(&mut broker, "q", &[]);
    for _ in 0..=MAX_IN_FLIGHT {
        send(&mut broker, 0, "q", "x");
    }
    for _ in 0..MAX_IN_FLIGHT / 10 {
        assert_eq!(receive(&mut broker, 0, "q").len(), 10);
    }
    assert_eq!(broker.receive(0, "q", ASK).unwrap_err().kind, ErrorKind::OverLimit);
    assert!(broker.receive(0, "q", Receive { short: false, ..ASK }).unwrap().is_empty());
    assert_eq!(receive(&mut broker, 30_000, "q").len(), 10);
}

#[test]
fn a_fifo_group_comes_in_order_locked_and_beside_others() {
    let mut broker = broker();
    create(&mut broker, "q.fifo", &[("FifoQueue", "true")]);
    for (group, body) in [("a", "a1"), ("b", "b1"), ("a", "a2"), ("a", "a3")] {
        send_fifo(&mut broker, 0, "q.fifo", group, body);
    }
    let first = broker.receive(0, "q.fifo", Receive { max: 2, ..ASK }).unwrap();
    assert_eq!(bodies(&first), ["a1", "a2"], "as much of one group as it can");
    assert_eq!(bodies(&receive(&mut broker, 0, "q.fifo")), ["b1"], "group a is locked");
    delete(&mut broker, 0, "q.fifo", &first[0]);
    assert!(receive(&mut broker, 0, "q.fifo").is_empty(), "still locked by a2");
    broker.queue(0, "q.fifo").unwrap().change_visibility(0, &first[1].handle.encode(), 0).unwrap();
    assert_eq!(bodies(&receive(&mut broker, 0, "q.fifo")), ["a2", "a3"], "what was given back comes first");
}

#[test]
fn an_expired_handle_is_an_error_on_a_fifo_queue() {
    let mut broker = broker();
    create(&mut broker, "q.fifo", &[("FifoQueue", "true")]);
    send_fifo(&mut broker, 0, "q.fifo", "a", "a1");
    let handle = receive(&mut broker, 0, "q.fifo")[0].handle.encode();
    let error = broker.queue(30_000, "q.fifo").unwrap().delete(&handle).unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidParameterValue);
}

#[test]
fn a_repeat_within_five_minutes_is_told_the_first_ones_numbers() {
    let mut broker = broker();
    create(&mut broker, "q.fifo", &[("FifoQueue", "true")]);
    let mut send = |now| broker.send(now, "q.fifo", content("x", Some("g"), Some("id")), None).unwrap();
    let first = send(0);
    assert_eq!(send(299_999), first);
    let later = send(300_000);
    assert!(later.id != first.id && later.sequence > first.sequence);
    assert_eq!(first.sequence.unwrap().to_string().len(), 20);
}

#[test]
fn a_repeated_attempt_id_brings_the_same_deliveries_until_one_is_touched() {
    let mut broker = broker();
    create(&mut broker, "q.fifo", &[("FifoQueue", "true")]);
    send_fifo(&mut broker, 0, "q.fifo", "a", "a1");
    let again = Receive { attempt: Some("try-1"), ..ASK };
    let first = broker.receive(0, "q.fifo", again).unwrap();
    let second = broker.receive(20_000, "q.fifo", again).unwrap();
    assert_eq!(first[0].handle, second[0].handle);
    assert_eq!(broker.queue(49_999, "q.fifo").unwrap().in_flight(), 1, "the repeat began a new time-out");
    delete(&mut broker, 49_999, "q.fifo", &second[0]);
    assert!(broker.receive(49_999, "q.fifo", again).unwrap().is_empty());
}

#[test]
fn a_move_task_keeps_its_rate_and_makes_new_messages() {
    let mut broker = broker();
    create(&mut broker, "dead", &[]);
    let policy = format!(r#"{{"deadLetterTargetArn":"arn:aws:sqs:{OWN}:dead","maxReceiveCount":1}}"#);
    create(&mut broker, "q", &[("RedrivePolicy", &policy), ("VisibilityTimeout", "0")]);
    for body in ["a", "b", "c"] {
        send(&mut broker, 0, "q", body);
    }
    let before = receive(&mut broker, 0, "q");
    assert!(receive(&mut broker, 1, "q").is_empty());
    let dead = format!("arn:aws:sqs:{OWN}:dead");
    let handle = broker.start_move(1000, &dead, None, Some(2)).unwrap();
    broker.tick(1000);
    assert_eq!(broker.queue(1000, "q").unwrap().ready(), 2);
    assert_eq!(broker.cancel_move(&handle).unwrap(), 2);
    broker.tick(9000);
    assert_eq!(broker.queue(9000, "dead").unwrap().ready(), 1, "cancelled: the rest stays");
    let after = receive(&mut broker, 9000, "q");
    assert_eq!((after[0].message.received, after[0].message.sent_ms), (1, 1000));
    assert!(before.iter().all(|old| old.message.id != after[0].message.id));
}

#[test]
fn a_move_task_without_a_known_source_fails_and_loses_nothing() {
    let mut broker = broker();
    create(&mut broker, "dead", &[]);
    let policy = format!(r#"{{"deadLetterTargetArn":"arn:aws:sqs:{OWN}:dead","maxReceiveCount":1}}"#);
    create(&mut broker, "q", &[("RedrivePolicy", &policy)]);
    send(&mut broker, 0, "dead", "sent straight to the dead-letter queue");
    let dead = format!("arn:aws:sqs:{OWN}:dead");
    broker.start_move(0, &dead, None, None).unwrap();
    broker.tick(0);
    let task = broker.list_moves(&dead).unwrap().next().unwrap();
    assert_eq!(task.failure.as_deref(), Some("CouldNotDetermineMessageSource"));
    assert_eq!(broker.queue(0, "dead").unwrap().ready(), 1);
}

#[test]
fn a_duplicate_outlives_the_deletion_of_its_original() {
    let mut broker = broker();
    create(&mut broker, "q", &[]);
    send(&mut broker, 0, "q", "a");
    let first = broker.receive(0, "q", Receive { duplicate: 1.0, ..ASK }).unwrap().remove(0);
    delete(&mut broker, 0, "q", &first);
    let second = receive(&mut broker, 0, "q").remove(0);
    assert_eq!((second.message.id, second.message.received), (first.message.id, 2));
    delete(&mut broker, 0, "q", &second);
    assert!(receive(&mut broker, 30_000, "q").is_empty());
}

#[test]
fn a_snapshot_brings_back_queues_messages_and_receipt_handles() {
    let mut before = broker();
    create(&mut before, "q.fifo", &[("FifoQueue", "true"), ("VisibilityTimeout", "7")]);
    for body in ["a1", "a2"] {
        send_fifo(&mut before, 0, "q.fifo", "a", body);
    }
    let one = before.receive(0, "q.fifo", Receive { max: 1, ..ASK }).unwrap().remove(0);
    let mut after = broker();
    after.restore(&before.to_json().unwrap()).unwrap();
    assert!(receive(&mut after, 6999, "q.fifo").is_empty(), "the group is locked as before");
    delete(&mut after, 6999, "q.fifo", &one);
    assert_eq!(bodies(&receive(&mut after, 6999, "q.fifo")), ["a2"]);
    let repeat = after.send(6999, "q.fifo", content("a1", Some("a"), Some("a1")), None).unwrap();
    assert_eq!(repeat.id, one.message.id, "deduplication is remembered");
}
