//! Checks on queues themselves.

use super::calls::pairs;
use super::target::{Target, code};

const NO_QUEUE: &str = "AWS.SimpleQueueService.NonExistentQueue";

pub async fn creating_again_finds_the_queue_and_refuses_other_attributes(t: &Target) {
    let name = t.name("again");
    let create = |visibility: &str| {
        let attributes = pairs(&[("VisibilityTimeout", visibility)]);
        t.client.create_queue().queue_name(&name).set_attributes(Some(attributes)).send()
    };
    let first = create("7").await.unwrap().queue_url.unwrap();
    assert!(first.ends_with(&format!("/{name}")), "{first}");
    assert_eq!(create("7").await.unwrap().queue_url.unwrap(), first);
    assert_eq!(code(create("8").await), "QueueAlreadyExists");
    let found = t.client.get_queue_url().queue_name(&name).send().await.unwrap();
    assert_eq!(found.queue_url.unwrap(), first);
}

pub async fn a_missing_queue_is_said_to_be_missing(t: &Target) {
    let url = format!("{}/000000000000/nobody", t.endpoint);
    assert_eq!(code(t.client.get_queue_url().queue_name("nobody").send().await), NO_QUEUE);
    assert_eq!(code(t.client.send_message().queue_url(&url).message_body("x").send().await), NO_QUEUE);
    assert_eq!(code(t.client.get_queue_attributes().queue_url(&url).send().await), NO_QUEUE);
    let error = t.client.receive_message().queue_url(&url).send().await.unwrap_err();
    assert!(error.into_service_error().is_queue_does_not_exist(), "the SDK knows it by its type");
}

pub async fn queues_are_listed_by_prefix_in_pages(t: &Target) {
    let stem = t.name("listed");
    let mut urls = Vec::new();
    for _ in 0..3 {
        urls.push(t.queue(&stem, &[]).await);
    }
    urls.sort();
    let list = |token| t.client.list_queues().queue_name_prefix(&stem).max_results(2).set_next_token(token).send();
    let first = list(None).await.unwrap();
    let token = first.next_token.clone().expect("there is more");
    let second = list(Some(token)).await.unwrap();
    assert!(second.next_token().is_none());
    let mut listed = [first.queue_urls(), second.queue_urls()].concat();
    listed.sort();
    assert_eq!(listed, urls);
    let none = t.client.list_queues().queue_name_prefix("no-such-prefix").send().await.unwrap();
    assert!(none.queue_urls().is_empty());
}

pub async fn attributes_have_defaults_and_can_be_set(t: &Target) {
    let url = t.queue("defaults", &[]).await;
    for (name, value) in [
        ("VisibilityTimeout", "30"),
        ("DelaySeconds", "0"),
        ("MaximumMessageSize", "1048576"),
        ("MessageRetentionPeriod", "345600"),
        ("ReceiveMessageWaitTimeSeconds", "0"),
    ] {
        assert_eq!(t.attribute(&url, name).await.as_deref(), Some(value), "{name}");
    }
    let set = pairs(&[("VisibilityTimeout", "61"), ("DelaySeconds", "2")]);
    t.client.set_queue_attributes().queue_url(&url).set_attributes(Some(set)).send().await.unwrap();
    assert_eq!(t.attribute(&url, "VisibilityTimeout").await.as_deref(), Some("61"));
    assert_eq!(t.attribute(&url, "DelaySeconds").await.as_deref(), Some("2"));
    assert_eq!(t.attribute(&url, "FifoQueue").await, None, "a standard queue has no FIFO attribute");
    let arn = t.arn(&url).await;
    assert!(arn.starts_with("arn:aws:sqs:us-east-1:") && arn.ends_with(url.rsplit('/').next().unwrap()), "{arn}");
}

pub async fn setting_an_unknown_attribute_is_refused(t: &Target) {
    let url = t.queue("set-unknown", &[]).await;
    let set = t.client.set_queue_attributes().queue_url(&url).set_attributes(Some(pairs(&[("Colour", "red")])));
    assert_eq!(code(set.send().await), "InvalidAttributeName");
}

pub async fn asking_for_an_unknown_attribute_is_refused(t: &Target) {
    let url = t.queue("ask-unknown", &[]).await;
    let asked = t.client.get_queue_attributes().queue_url(&url).attribute_names("Colour".into());
    assert_eq!(code(asked.send().await), "InvalidAttributeName");
}

pub async fn attribute_values_out_of_range_are_refused(t: &Target) {
    let url = t.queue("bad-values", &[]).await;
    for (name, value) in [("VisibilityTimeout", "43201"), ("MaximumMessageSize", "1048577"), ("DelaySeconds", "x")] {
        let set = Some(pairs(&[(name, value)]));
        let call = t.client.set_queue_attributes().queue_url(&url).set_attributes(set);
        assert_eq!(code(call.send().await), "InvalidAttributeValue", "{name}");
    }
}

pub async fn bad_names_are_refused(t: &Target) {
    for name in ["with space", "with.dot", &"x".repeat(81)] {
        assert_eq!(code(t.client.create_queue().queue_name(name).send().await), "InvalidParameterValue", "{name}");
    }
}

pub async fn a_fifo_queue_needs_its_suffix(t: &Target) {
    let fifo = Some(pairs(&[("FifoQueue", "true")]));
    let create = t.client.create_queue().queue_name(t.name("no-suffix")).set_attributes(fifo);
    assert_eq!(code(create.send().await), "InvalidParameterValue");
    let url = t.fifo("suffix", &[]).await;
    assert_eq!(t.attribute(&url, "FifoQueue").await.as_deref(), Some("true"));
}

pub async fn tags_are_kept(t: &Target) {
    let url = t.queue("tags", &[]).await;
    t.client.tag_queue().queue_url(&url).tags("team", "voice").tags("stage", "dev").send().await.unwrap();
    t.client.untag_queue().queue_url(&url).tag_keys("stage").send().await.unwrap();
    let tags = t.client.list_queue_tags().queue_url(&url).send().await.unwrap().tags.unwrap();
    assert_eq!(tags, [("team".to_owned(), "voice".to_owned())].into());
}

pub async fn a_purge_empties_the_queue(t: &Target) {
    let url = t.queue("purge", &[]).await;
    t.send(&url, "x").await;
    t.client.purge_queue().queue_url(&url).send().await.unwrap();
    assert_eq!(t.counts(&url).await, ["0", "0", "0"]);
    assert!(t.receive(&url, 30, 0).await.is_empty());
}

pub async fn a_second_purge_within_a_minute_is_refused(t: &Target) {
    let url = t.queue("purges", &[]).await;
    t.client.purge_queue().queue_url(&url).send().await.unwrap();
    let again = t.client.purge_queue().queue_url(&url).send().await;
    assert_eq!(code(again), "AWS.SimpleQueueService.PurgeQueueInProgress");
}

pub async fn a_deleted_queues_name_stays_taken_for_a_minute(t: &Target) {
    let url = t.queue("deleted", &[]).await;
    t.client.delete_queue().queue_url(&url).send().await.unwrap();
    assert_eq!(code(t.client.send_message().queue_url(&url).message_body("x").send().await), NO_QUEUE);
    let name = url.rsplit('/').next().unwrap();
    let again = t.client.create_queue().queue_name(name).send().await;
    assert_eq!(code(again), "AWS.SimpleQueueService.QueueDeletedRecently");
}
