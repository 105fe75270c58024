//! Checks on long polls, visibility and receipt handles.

use std::time::{Duration, Instant};

use aws_sdk_sqs::types::ChangeMessageVisibilityBatchRequestEntry;
use tokio::io::AsyncWriteExt;

use super::calls::{handle, system};
use super::target::{Target, code};

#[expect(clippy::disallowed_methods, reason = "the check is about elapsed time")]
fn now() -> Instant {
    Instant::now()
}

pub async fn a_long_poll_wakes_when_a_message_comes(t: &Target) {
    let url = t.queue("wakes", &[]).await;
    let started = now();
    let (got, ()) = tokio::join!(t.receive(&url, 30, 20), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        t.send(&url, "x").await;
    });
    assert_eq!(got.len(), 1);
    assert!(started.elapsed() < Duration::from_secs(15), "not only at the end of its time");
}

pub async fn an_empty_long_poll_lasts_its_time(t: &Target) {
    let url = t.queue("lasts", &[]).await;
    let started = now();
    assert!(t.receive(&url, 30, 1).await.is_empty());
    assert!(started.elapsed() >= Duration::from_millis(950));
}

pub async fn an_abandoned_long_poll_takes_nothing(t: &Target) {
    let url = t.queue("abandoned", &[]).await;
    let address = t.endpoint.strip_prefix("http://").unwrap();
    let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
    let body = format!(r#"{{"QueueUrl":"{url}","WaitTimeSeconds":20}}"#);
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/x-amz-json-1.0\r\nX-Amz-Target: AmazonSQS.ReceiveMessage\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=0\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    // Time for the request to be waiting, then for its end to be noticed.
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(connection);
    tokio::time::sleep(Duration::from_millis(300)).await;
    t.send(&url, "x").await;
    let got = t.receive(&url, 30, 2).await;
    assert_eq!(got.len(), 1, "the message was given to nobody");
    assert_eq!(system(&got[0], "ApproximateReceiveCount").as_deref(), Some("1"));
}

pub async fn a_message_comes_back_when_its_visibility_ends(t: &Target) {
    let url = t.queue("returns", &[]).await;
    t.send(&url, "x").await;
    let first = t.receive(&url, 1, 5).await.remove(0);
    let second = t.receive(&url, 30, 10).await.remove(0);
    assert_eq!(first.message_id(), second.message_id());
    assert_ne!(handle(&first), handle(&second), "each delivery has its own handle");
    assert_eq!(system(&second, "ApproximateReceiveCount").as_deref(), Some("2"));
    let since = |m| system(m, "ApproximateFirstReceiveTimestamp");
    assert_eq!(since(&first), since(&second));
}

pub async fn an_old_receipt_handle_deletes_nothing(t: &Target) {
    let url = t.queue("old-handle", &[]).await;
    t.send(&url, "x").await;
    let first = t.receive(&url, 1, 5).await.remove(0);
    let second = t.receive(&url, 60, 10).await.remove(0);
    t.delete(&url, &first).await;
    assert_eq!(t.counts(&url).await, ["0", "1", "0"]);
    t.delete(&url, &second).await;
    assert_eq!(t.counts(&url).await, ["0", "0", "0"]);
}

pub async fn the_last_receipt_handle_deletes_after_its_time(t: &Target) {
    let url = t.queue("late-handle", &[]).await;
    t.send(&url, "x").await;
    let got = t.receive(&url, 30, 5).await.remove(0);
    t.change(&url, &got, 0).await;
    t.delete(&url, &got).await;
    assert_eq!(t.counts(&url).await, ["0", "0", "0"]);
}

pub async fn deleting_twice_succeeds(t: &Target) {
    for url in [t.queue("twice", &[]).await, t.fifo("twice", &[]).await] {
        if url.ends_with(".fifo") {
            t.send_fifo(&url, "g", "x").await;
        } else {
            t.send(&url, "x").await;
        }
        let got = t.receive(&url, 30, 5).await.remove(0);
        t.delete(&url, &got).await;
        t.delete(&url, &got).await;
    }
}

pub async fn visibility_zero_gives_the_message_back(t: &Target) {
    let url = t.queue("release", &[]).await;
    t.send(&url, "x").await;
    let got = t.receive(&url, 600, 5).await.remove(0);
    assert!(t.receive(&url, 600, 0).await.is_empty());
    t.change(&url, &got, 0).await;
    assert_eq!(t.receive(&url, 600, 5).await.len(), 1);
}

pub async fn visibility_can_be_extended(t: &Target) {
    let url = t.queue("extend", &[]).await;
    t.send(&url, "x").await;
    let got = t.receive(&url, 5, 5).await.remove(0);
    t.change(&url, &got, 600).await;
    assert!(t.receive(&url, 30, 6).await.is_empty(), "the first time-out is over by now");
}

pub async fn changing_what_is_not_in_flight_is_refused(t: &Target) {
    let url = t.queue("not-in-flight", &[]).await;
    t.send(&url, "x").await;
    let got = t.receive(&url, 30, 5).await.remove(0);
    t.change(&url, &got, 0).await;
    let change =
        || t.client.change_message_visibility().queue_url(&url).receipt_handle(handle(&got)).visibility_timeout(9);
    let error = change().send().await.unwrap_err().into_service_error();
    assert!(error.is_message_not_inflight(), "{error:?}");
    t.delete(&url, &got).await;
    assert_eq!(code(change().send().await), "InvalidParameterValue");
}

pub async fn visibility_past_twelve_hours_is_refused(t: &Target) {
    let url = t.queue("twelve-hours", &[]).await;
    t.send(&url, "x").await;
    let got = t.receive(&url, 30, 5).await.remove(0);
    let call = t.client.change_message_visibility().queue_url(&url).receipt_handle(handle(&got));
    assert_eq!(code(call.visibility_timeout(43_201).send().await), "InvalidParameterValue");
    assert_eq!(t.counts(&url).await, ["0", "1", "0"]);
}

pub async fn a_batch_changes_visibility(t: &Target) {
    let url = t.queue("change-batch", &[]).await;
    t.send(&url, "x").await;
    let got = t.receive(&url, 600, 5).await.remove(0);
    let entry = |id: &str, handle: &str| {
        let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(id).receipt_handle(handle);
        entry.visibility_timeout(0).build().unwrap()
    };
    let call = t.client.change_message_visibility_batch().queue_url(&url);
    let answer = call.entries(entry("good", handle(&got))).entries(entry("bad", "garbage")).send().await.unwrap();
    assert_eq!((answer.successful()[0].id(), answer.failed()[0].id()), ("good", "bad"));
    assert_eq!(answer.failed()[0].code(), "ReceiptHandleIsInvalid");
    assert_eq!(t.receive(&url, 600, 5).await.len(), 1);
}

pub async fn the_calls_wait_time_beats_the_queues(t: &Target) {
    let url = t.queue("own-wait", &[("ReceiveMessageWaitTimeSeconds", "20")]).await;
    let started = now();
    assert!(t.receive(&url, 30, 0).await.is_empty());
    assert!(started.elapsed() < Duration::from_secs(15));
}
