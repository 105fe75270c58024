//! Checks on what is refused, and how the refusal looks on the wire.

use aws_sdk_sqs::types::MessageAttributeValue;

use super::calls::{delete_entry, send_entry};
use super::target::{Target, code};

pub async fn a_made_up_receipt_handle_is_refused(t: &Target) {
    let url = t.queue("made-up", &[]).await;
    let delete = t.client.delete_message().queue_url(&url).receipt_handle("garbage").send().await.unwrap_err();
    assert!(delete.into_service_error().is_receipt_handle_is_invalid());
    let change = t.client.change_message_visibility().queue_url(&url).receipt_handle("garbage").visibility_timeout(1);
    assert_eq!(code(change.send().await), "ReceiptHandleIsInvalid");
}

pub async fn numbers_out_of_range_are_refused(t: &Target) {
    let url = t.queue("ranges", &[]).await;
    let receive = || t.client.receive_message().queue_url(&url);
    assert_eq!(code(receive().max_number_of_messages(0).send().await), "InvalidParameterValue");
    assert_eq!(code(receive().max_number_of_messages(11).send().await), "InvalidParameterValue");
    assert_eq!(code(receive().wait_time_seconds(21).send().await), "InvalidParameterValue");
    assert_eq!(code(receive().visibility_timeout(43_201).send().await), "InvalidParameterValue");
}

pub async fn an_empty_batch_is_refused(t: &Target) {
    let url = t.queue("empty-batch", &[]).await;
    // The SDKs do not send this, so it goes out by hand.
    for operation in ["SendMessageBatch", "DeleteMessageBatch"] {
        let (status, query, body) = t.raw(operation, &format!(r#"{{"QueueUrl":"{url}","Entries":[]}}"#)).await;
        assert_eq!((status, query.as_str()), (400, "AWS.SimpleQueueService.EmptyBatchRequest;Sender"));
        assert_eq!(body["__type"], "com.amazonaws.sqs#EmptyBatchRequest");
    }
}

pub async fn eleven_entries_are_refused(t: &Target) {
    let url = t.queue("eleven", &[]).await;
    let entries = (0..11).map(|n| send_entry(&n.to_string(), "x")).collect();
    let sent = t.client.send_message_batch().queue_url(&url).set_entries(Some(entries)).send().await;
    assert_eq!(code(sent), "AWS.SimpleQueueService.TooManyEntriesInBatchRequest");
    assert_eq!(t.counts(&url).await, ["0", "0", "0"]);
}

pub async fn repeated_entry_ids_are_refused(t: &Target) {
    let url = t.queue("repeated-ids", &[]).await;
    let call = t.client.send_message_batch().queue_url(&url);
    let sent = call.entries(send_entry("a", "x")).entries(send_entry("a", "y")).send().await;
    assert_eq!(code(sent), "AWS.SimpleQueueService.BatchEntryIdsNotDistinct");
}

pub async fn repeated_entry_ids_of_a_delete_are_refused(t: &Target) {
    let url = t.queue("repeated-delete-ids", &[]).await;
    let call = t.client.delete_message_batch().queue_url(&url);
    let deleted = call.entries(delete_entry("a", "x")).entries(delete_entry("a", "y")).send().await;
    assert_eq!(code(deleted), "AWS.SimpleQueueService.BatchEntryIdsNotDistinct");
}

pub async fn bad_entry_ids_are_refused(t: &Target) {
    let url = t.queue("bad-ids", &[]).await;
    for id in ["a b", "", &"x".repeat(81)] {
        let sent = t.client.send_message_batch().queue_url(&url).entries(send_entry(id, "x")).send().await;
        assert_eq!(code(sent), "AWS.SimpleQueueService.InvalidBatchEntryId", "{id:?}");
    }
}

pub async fn an_empty_body_is_refused(t: &Target) {
    let url = t.queue("empty-body", &[]).await;
    let sent = t.client.send_message().queue_url(&url).message_body("").send().await;
    assert_eq!(code(sent), "MissingParameter");
}

pub async fn bad_message_attributes_are_refused(t: &Target) {
    let url = t.queue("bad-message-attributes", &[]).await;
    for (name, data_type, value) in [("a b", "String", "x"), ("a", "Text", "x"), ("a", "String", "")] {
        let value = MessageAttributeValue::builder().data_type(data_type).string_value(value).build().unwrap();
        let call = t.client.send_message().queue_url(&url).message_body("x").message_attributes(name, value);
        assert_eq!(code(call.send().await), "InvalidParameterValue", "{name} {data_type}");
    }
}

pub async fn errors_have_their_type_and_query_code(t: &Target) {
    let missing = format!(r#"{{"QueueUrl":"{}/000000000000/nobody","MessageBody":"x"}}"#, t.endpoint);
    let (status, query, body) = t.raw("SendMessage", &missing).await;
    assert_eq!((status, query.as_str()), (400, "AWS.SimpleQueueService.NonExistentQueue;Sender"));
    assert_eq!(body["__type"], "com.amazonaws.sqs#QueueDoesNotExist");
    assert_eq!(body["message"], "The specified queue does not exist.");
}

pub async fn an_unknown_operation_is_refused(t: &Target) {
    let (status, _, body) = t.raw("MakeCoffee", "{}").await;
    assert_eq!(status, 400);
    assert_eq!(body["__type"], "com.amazon.coral.service#UnknownOperationException");
}
