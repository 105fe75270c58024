//! Checks on dead-letter queues and the way back.

use super::calls::{pairs, system};
use super::target::{Target, code};

/// Receives a message once, gives it back, and receives until it is moved.
async fn bury(t: &Target, url: &str) {
    for _ in 0..2 {
        assert_eq!(t.receive(url, 0, 5).await.len(), 1);
    }
    assert!(t.receive(url, 0, 0).await.is_empty());
}

pub async fn a_message_received_too_often_is_moved(t: &Target) {
    let (url, dead) = t.with_dead_letters("buries", 2).await;
    let sent = t.client.send_message().queue_url(&url).message_body("x").send().await.unwrap();
    bury(t, &url).await;
    let got = t.receive(&dead, 30, 5).await.remove(0);
    assert_eq!((got.body(), got.message_id()), (Some("x"), sent.message_id()));
    assert_eq!(system(&got, "ApproximateReceiveCount").as_deref(), Some("3"), "the count goes on");
    assert_eq!(t.counts(&url).await, ["0", "0", "0"]);
}

pub async fn the_source_of_a_dead_letter_is_named(t: &Target) {
    let (url, dead) = t.with_dead_letters("named", 2).await;
    t.send(&url, "x").await;
    bury(t, &url).await;
    let got = t.receive(&dead, 30, 5).await.remove(0);
    assert_eq!(system(&got, "DeadLetterQueueSourceArn"), Some(t.arn(&url).await));
}

pub async fn sources_are_listed(t: &Target) {
    let (url, dead) = t.with_dead_letters("sources", 3).await;
    let listed = t.client.list_dead_letter_source_queues().queue_url(&dead).send().await.unwrap();
    assert_eq!(listed.queue_urls(), [url]);
}

pub async fn a_bad_redrive_policy_is_refused(t: &Target) {
    let url = t.queue("bad-policy", &[]).await;
    for policy in ["not json", r#"{"maxReceiveCount":"3"}"#] {
        let set = Some(pairs(&[("RedrivePolicy", policy)]));
        let call = t.client.set_queue_attributes().queue_url(&url).set_attributes(set);
        assert_eq!(code(call.send().await), "InvalidParameterValue", "{policy}");
    }
}

pub async fn a_move_task_brings_dead_letters_back(t: &Target) {
    let (url, dead) = t.with_dead_letters("moves", 2).await;
    t.send(&url, "x").await;
    bury(t, &url).await;
    let arn = t.arn(&dead).await;
    let task = t.client.start_message_move_task().source_arn(&arn).send().await.unwrap();
    assert!(task.task_handle().is_some());
    let got = t.receive(&url, 30, 10).await.remove(0);
    assert_eq!(got.body(), Some("x"));
    assert_eq!(system(&got, "ApproximateReceiveCount").as_deref(), Some("1"), "it starts anew");
    let listed = t.client.list_message_move_tasks().source_arn(&arn).send().await.unwrap();
    let task = &listed.results()[0];
    assert_eq!((task.status(), task.approximate_number_of_messages_moved()), (Some("COMPLETED"), 1));
    let none = t.client.start_message_move_task().source_arn(format!("{arn}-nobody")).send().await.unwrap_err();
    assert!(none.into_service_error().is_resource_not_found_exception());
}
