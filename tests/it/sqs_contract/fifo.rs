//! Checks on FIFO queues.

use super::calls::{bodies, system};
use super::target::{Target, code};

pub async fn groups_come_in_order_and_locked(t: &Target) {
    let url = t.fifo("order", &[]).await;
    for (group, body) in [("a", "a1"), ("a", "a2"), ("a", "a3")] {
        t.send_fifo(&url, group, body).await;
    }
    let first = t.client.receive_message().queue_url(&url).visibility_timeout(60).wait_time_seconds(5).send().await;
    let first = first.unwrap().messages.unwrap().remove(0);
    assert_eq!(first.body(), Some("a1"));
    t.send_fifo(&url, "b", "b1").await;
    assert_eq!(bodies(&t.receive(&url, 60, 5).await), ["b1"], "group a is locked");
    t.delete(&url, &first).await;
    assert_eq!(bodies(&t.receive_count(&url, 2, 60).await), ["a2", "a3"]);
}

pub async fn a_repeat_is_taken_once(t: &Target) {
    let url = t.fifo("repeat", &[]).await;
    let send = || {
        let call = t.client.send_message().queue_url(&url).message_body("x").message_group_id("g");
        call.message_deduplication_id("same").send()
    };
    send().await.unwrap();
    send().await.unwrap();
    let got = t.receive(&url, 60, 5).await;
    assert_eq!(got.len(), 1);
    assert_eq!(system(&got[0], "MessageDeduplicationId").as_deref(), Some("same"));
    assert!(t.receive(&url, 60, 0).await.is_empty());
}

pub async fn a_repeat_is_known_after_the_deletion(t: &Target) {
    let url = t.fifo("repeat-deleted", &[]).await;
    t.send_fifo(&url, "g", "x").await;
    let got = t.receive(&url, 60, 5).await.remove(0);
    t.delete(&url, &got).await;
    t.send_fifo(&url, "g", "x").await;
    assert!(t.receive(&url, 60, 1).await.is_empty());
}

pub async fn a_repeat_is_told_the_first_ones_numbers(t: &Target) {
    let url = t.fifo("repeat-numbers", &[]).await;
    let send = || {
        let call = t.client.send_message().queue_url(&url).message_body("x").message_group_id("g");
        call.message_deduplication_id("same").send()
    };
    let (first, second) = (send().await.unwrap(), send().await.unwrap());
    assert_eq!(first.message_id(), second.message_id());
    assert_eq!(first.sequence_number(), second.sequence_number());
}

pub async fn the_body_can_be_the_deduplication_id(t: &Target) {
    let url = t.fifo("content", &[("ContentBasedDeduplication", "true")]).await;
    for body in ["x", "x", "y"] {
        t.client.send_message().queue_url(&url).message_body(body).message_group_id(body).send().await.unwrap();
    }
    let got = t.receive_count(&url, 2, 60).await;
    let mut came = bodies(&got);
    came.sort_unstable();
    assert_eq!(came, ["x", "y"]);
}

pub async fn sequence_numbers_rise(t: &Target) {
    let url = t.fifo("sequence", &[]).await;
    // So many that random numbers would not pass by chance.
    let mut sent = Vec::new();
    for n in 0..12 {
        sent.push(t.send_fifo(&url, "g", &n.to_string()).await);
    }
    assert!(sent.iter().all(|number| number.len() == 20), "{sent:?}");
    assert!(sent.is_sorted_by(|one, next| one < next), "{sent:?}");
    let got = t.receive_count(&url, 1, 60).await;
    assert_eq!(system(&got[0], "SequenceNumber").as_ref(), sent.first());
    assert_eq!(system(&got[0], "MessageGroupId").as_deref(), Some("g"));
}

pub async fn a_fifo_message_needs_a_group_and_a_deduplication_id(t: &Target) {
    let url = t.fifo("needs", &[]).await;
    let send = || t.client.send_message().queue_url(&url).message_body("x");
    assert_eq!(code(send().message_deduplication_id("d").send().await), "MissingParameter");
    assert_eq!(code(send().message_group_id("g").send().await), "InvalidParameterValue");
    let delayed = send().message_group_id("g").message_deduplication_id("d").delay_seconds(5);
    assert_eq!(code(delayed.send().await), "InvalidParameterValue", "no delay for a single message");
}
