//! Checks on what a message carries, how large it may be, and when it can be received.

use aws_sdk_sqs::operation::send_message::SendMessageOutput;
use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
    SendMessageBatchRequestEntry,
};

use super::calls::{bodies, delete_entry, handle, send_entry, system};
use super::target::{Target, code};

const MEBIBYTE: usize = 1_048_576;

fn text(data_type: &str, value: &str) -> MessageAttributeValue {
    MessageAttributeValue::builder().data_type(data_type).string_value(value).build().unwrap()
}

fn bytes(value: &[u8]) -> MessageAttributeValue {
    MessageAttributeValue::builder().data_type("Binary").binary_value(Blob::new(value)).build().unwrap()
}

pub async fn a_message_comes_back_as_it_was_sent(t: &Target) {
    let url = t.queue("roundtrip", &[]).await;
    let body = "é \"quoted\" \\ \t\n\r \u{1F600} & <xml> %20";
    let sent = t.client.send_message().queue_url(&url).message_body(body).send().await.unwrap();
    let got = t.receive(&url, 30, 5).await.remove(0);
    assert_eq!(got.body(), Some(body));
    assert_eq!(got.message_id(), sent.message_id());
    assert_eq!(got.md5_of_body(), sent.md5_of_message_body());
    let hello = t.client.send_message().queue_url(&url).message_body("hello").send().await.unwrap();
    assert_eq!(hello.md5_of_message_body(), Some("5d41402abc4b2a76b9719d911017c592"), "MD5 of a known text");
    assert!(hello.sequence_number().is_none(), "only FIFO queues number their messages");
}

pub async fn message_attributes_come_back_as_asked_with_their_md5(t: &Target) {
    let url = t.queue("attributes", &[]).await;
    let call = t.client.send_message().queue_url(&url).message_body("x");
    let call = call
        .message_attributes("voxd.reason", text("String", "schema"))
        .message_attributes("n", text("Number.int", "42"));
    let sent = call.message_attributes("raw", bytes(&[0, 255, 7])).send().await.unwrap();
    let receive = |names: &[&str]| {
        let names = names.iter().map(ToString::to_string).collect();
        let call = t.client.receive_message().queue_url(&url).visibility_timeout(0);
        call.set_message_attribute_names(Some(names)).wait_time_seconds(5).send()
    };
    let all = receive(&["All"]).await.unwrap().messages.unwrap().remove(0);
    assert_eq!(all.md5_of_message_attributes(), sent.md5_of_message_attributes());
    let attributes = all.message_attributes().unwrap();
    assert_eq!(attributes["voxd.reason"].string_value(), Some("schema"));
    assert_eq!((attributes["n"].data_type(), attributes["n"].string_value()), ("Number.int", Some("42")));
    assert_eq!(attributes["raw"].binary_value().unwrap().as_ref(), &[0, 255, 7]);
    let some = receive(&["voxd.*"]).await.unwrap().messages.unwrap().remove(0);
    assert_eq!(some.message_attributes().unwrap().keys().collect::<Vec<_>>(), ["voxd.reason"]);
    let none = receive(&[]).await.unwrap().messages.unwrap().remove(0);
    assert!(none.message_attributes().is_none());
}

pub async fn md5_of_attributes_is_that_of_the_documented_algorithm(t: &Target) {
    let url = t.queue("md5", &[]).await;
    let call = t.client.send_message().queue_url(&url).message_body("x");
    let sent = call.message_attributes("timestamp", text("Number", "1493147359900")).send().await.unwrap();
    // The value that AWS SDKs' own tests have for this attribute.
    assert_eq!(sent.md5_of_message_attributes(), Some("235c5c510d26fb653d073faed50ae77c"));
}

pub async fn system_attributes_come_only_when_asked_for(t: &Target) {
    let url = t.queue("system", &[]).await;
    t.send(&url, "x").await;
    let bare = t.client.receive_message().queue_url(&url).visibility_timeout(0).wait_time_seconds(5).send().await;
    assert!(bare.unwrap().messages.unwrap()[0].attributes().is_none());
    let full = t.receive(&url, 30, 5).await.remove(0);
    assert_eq!(system(&full, "ApproximateReceiveCount").as_deref(), Some("2"));
    let time = |name| system(&full, name).unwrap().parse::<u64>().unwrap();
    assert!(time("ApproximateFirstReceiveTimestamp") >= time("SentTimestamp"));
    assert!(time("SentTimestamp") > 1_700_000_000_000, "milliseconds since 1970");
    assert!(system(&full, "SenderId").is_some());
}

const TRACE: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1";

async fn send_traced(t: &Target, url: &str) -> SendMessageOutput {
    let value = MessageSystemAttributeValue::builder().data_type("String").string_value(TRACE).build().unwrap();
    let call = t.client.send_message().queue_url(url).message_body("x");
    let name = MessageSystemAttributeNameForSends::AwsTraceHeader;
    call.message_system_attributes(name, value).send().await.unwrap()
}

pub async fn the_trace_header_travels(t: &Target) {
    let url = t.queue("trace", &[]).await;
    send_traced(t, &url).await;
    let got = t.receive(&url, 30, 5).await.remove(0);
    assert_eq!(system(&got, "AWSTraceHeader").as_deref(), Some(TRACE));
}

pub async fn the_trace_header_has_its_md5(t: &Target) {
    let url = t.queue("trace-md5", &[]).await;
    let sent = send_traced(t, &url).await;
    // Name, type and value by the algorithm of message attributes; computed with Python's hashlib.
    assert_eq!(sent.md5_of_message_system_attributes(), Some("5f48eef650c1d0207456969c85af2fdd"));
}

pub async fn a_standard_queue_keeps_the_group_id(t: &Target) {
    let url = t.queue("fair", &[]).await;
    t.client.send_message().queue_url(&url).message_body("x").message_group_id("tenant-1").send().await.unwrap();
    t.client.send_message().queue_url(&url).message_body("y").message_group_id("tenant-1").send().await.unwrap();
    let got = t.receive_count(&url, 2, 30).await;
    assert_eq!(system(&got[0], "MessageGroupId").as_deref(), Some("tenant-1"));
}

pub async fn a_message_of_one_mebibyte_passes_and_one_byte_more_does_not(t: &Target) {
    let url = t.queue("large", &[]).await;
    let largest = "x".repeat(MEBIBYTE);
    t.send(&url, &largest).await;
    assert_eq!(t.receive(&url, 30, 5).await[0].body().map(str::len), Some(MEBIBYTE));
    let larger = t.client.send_message().queue_url(&url).message_body(largest + "x").send().await;
    assert_eq!(code(larger), "InvalidParameterValue");
}

pub async fn attributes_count_towards_the_size(t: &Target) {
    let url = t.queue("large-attributes", &[]).await;
    let call = t.client.send_message().queue_url(&url).message_body("x".repeat(MEBIBYTE - 5));
    assert_eq!(code(call.message_attributes("name", text("String", "value")).send().await), "InvalidParameterValue");
}

pub async fn a_batch_may_not_pass_one_mebibyte(t: &Target) {
    let url = t.queue("large-batch", &[]).await;
    let half = "x".repeat(MEBIBYTE / 2);
    let call = t.client.send_message_batch().queue_url(&url);
    let call = call.entries(send_entry("a", &half)).entries(send_entry("b", &(half + "x")));
    assert_eq!(code(call.send().await), "AWS.SimpleQueueService.BatchRequestTooLong");
}

pub async fn characters_outside_xml_are_refused(t: &Target) {
    let url = t.queue("characters", &[]).await;
    for body in ["a\u{0}", "\u{b}", "\u{FFFF}"] {
        let sent = t.client.send_message().queue_url(&url).message_body(body).send().await;
        assert_eq!(code(sent), "InvalidMessageContents", "{body:?}");
    }
}

pub async fn a_batch_takes_ten_and_answers_each(t: &Target) {
    let url = t.queue("batch", &[]).await;
    let entries: Vec<_> = (0..10).map(|n| send_entry(&n.to_string(), &format!("body-{n}"))).collect();
    let sent = t.client.send_message_batch().queue_url(&url).set_entries(Some(entries)).send().await.unwrap();
    let ids: Vec<_> = sent.successful().iter().map(|entry| entry.id().to_owned()).collect();
    assert_eq!(ids, (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(sent.failed().is_empty());
    let got = t.receive_count(&url, 10, 60).await;
    let mut came = bodies(&got);
    came.sort_unstable();
    assert_eq!(came, (0..10).map(|n| format!("body-{n}")).collect::<Vec<_>>());
    let entries = got.iter().enumerate().map(|(n, message)| delete_entry(&n.to_string(), handle(message))).collect();
    let deleted = t.client.delete_message_batch().queue_url(&url).set_entries(Some(entries)).send().await.unwrap();
    assert_eq!((deleted.successful().len(), deleted.failed().len()), (10, 0));
    assert_eq!(t.counts(&url).await, ["0", "0", "0"]);
}

pub async fn one_bad_entry_does_not_spoil_its_batch(t: &Target) {
    let url = t.queue("partial", &[]).await;
    t.send(&url, "x").await;
    let got = t.receive(&url, 60, 5).await.remove(0);
    let call = t.client.delete_message_batch().queue_url(&url);
    let call = call.entries(delete_entry("bad", "garbage")).entries(delete_entry("good", handle(&got)));
    let answer = call.send().await.unwrap();
    assert_eq!(answer.successful()[0].id(), "good");
    let failed = &answer.failed()[0];
    assert_eq!((failed.id(), failed.code(), failed.sender_fault()), ("bad", "ReceiptHandleIsInvalid", true));
    assert_eq!(t.counts(&url).await, ["0", "0", "0"]);
}

pub async fn a_delay_holds_a_message_back(t: &Target) {
    let url = t.queue("delay", &[]).await;
    let delayed =
        SendMessageBatchRequestEntry::builder().id("d").message_body("late").delay_seconds(2).build().unwrap();
    let call = t.client.send_message_batch().queue_url(&url).entries(delayed).entries(send_entry("n", "now"));
    assert_eq!(call.send().await.unwrap().successful().len(), 2);
    assert_eq!(bodies(&t.receive(&url, 60, 1).await), ["now"]);
    assert_eq!(bodies(&t.receive(&url, 60, 10).await), ["late"]);
    let too_long = t.client.send_message().queue_url(&url).message_body("x").delay_seconds(901).send().await;
    assert_eq!(code(too_long), "InvalidParameterValue");
}

pub async fn counts_are_told_apart(t: &Target) {
    let url = t.queue("counts", &[]).await;
    t.send(&url, "a").await;
    assert_eq!(t.receive(&url, 60, 5).await.len(), 1);
    t.send(&url, "b").await;
    t.client.send_message().queue_url(&url).message_body("c").delay_seconds(900).send().await.unwrap();
    assert_eq!(t.counts(&url).await, ["1", "1", "1"]);
}
