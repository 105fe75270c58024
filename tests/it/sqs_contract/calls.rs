//! The calls the checks make again and again, with their usual values.

use std::collections::HashMap;

use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName, QueueAttributeName,
    SendMessageBatchRequestEntry,
};

use super::target::Target;

impl Target {
    pub async fn queue(&self, stem: &str, attributes: &[(&str, &str)]) -> String {
        self.create(&self.name(stem), attributes).await
    }

    pub async fn fifo(&self, stem: &str, attributes: &[(&str, &str)]) -> String {
        let attributes = [&[("FifoQueue", "true")], attributes].concat();
        self.create(&format!("{}.fifo", self.name(stem)), &attributes).await
    }

    async fn create(&self, name: &str, attributes: &[(&str, &str)]) -> String {
        let attributes = pairs(attributes);
        let created = self.client.create_queue().queue_name(name).set_attributes(Some(attributes)).send().await;
        created.expect("creates").queue_url.expect("has a URL")
    }

    pub async fn send(&self, url: &str, body: &str) {
        self.client.send_message().queue_url(url).message_body(body).send().await.expect("sends");
    }

    pub async fn send_fifo(&self, url: &str, group: &str, body: &str) -> String {
        let call = self.client.send_message().queue_url(url).message_body(body).message_group_id(group);
        let sent = call.message_deduplication_id(body).send().await.expect("sends");
        sent.sequence_number.expect("has a sequence number")
    }

    /// One receive of up to ten, with all system attributes.
    pub async fn receive(&self, url: &str, visibility: i32, wait: i32) -> Vec<Message> {
        let call = self.client.receive_message().queue_url(url).max_number_of_messages(10);
        let call = call.visibility_timeout(visibility).wait_time_seconds(wait);
        let call = call.message_system_attribute_names(MessageSystemAttributeName::All);
        call.send().await.expect("receives").messages.unwrap_or_default()
    }

    /// Receives until there are `count` messages.
    pub async fn receive_count(&self, url: &str, count: usize, visibility: i32) -> Vec<Message> {
        let mut all = Vec::new();
        while all.len() < count {
            let some = self.receive(url, visibility, 10).await;
            assert!(!some.is_empty(), "{} of {count} messages came", all.len());
            all.extend(some);
        }
        all
    }

    pub async fn delete(&self, url: &str, message: &Message) {
        let call = self.client.delete_message().queue_url(url).receipt_handle(handle(message));
        call.send().await.expect("deletes");
    }

    pub async fn change(&self, url: &str, message: &Message, seconds: i32) {
        let call = self.client.change_message_visibility().queue_url(url).receipt_handle(handle(message));
        call.visibility_timeout(seconds).send().await.expect("changes");
    }

    pub async fn attribute(&self, url: &str, name: &str) -> Option<String> {
        let name = QueueAttributeName::from(name);
        let call = self.client.get_queue_attributes().queue_url(url).attribute_names(name.clone());
        call.send().await.expect("describes").attributes.and_then(|mut all| all.remove(&name))
    }

    /// Ready, in flight, delayed.
    pub async fn counts(&self, url: &str) -> [String; 3] {
        let mut counts = [const { String::new() }; 3];
        for (count, kind) in counts.iter_mut().zip(["", "NotVisible", "Delayed"]) {
            *count = self.attribute(url, &format!("ApproximateNumberOfMessages{kind}")).await.expect("counts");
        }
        counts
    }

    pub async fn arn(&self, url: &str) -> String {
        self.attribute(url, "QueueArn").await.expect("has an ARN")
    }

    /// A queue with a dead-letter queue behind it: URLs of both.
    pub async fn with_dead_letters(&self, stem: &str, max_receive_count: u32) -> (String, String) {
        let dead = self.queue(&format!("{stem}-dead"), &[]).await;
        let arn = self.arn(&dead).await;
        let policy = format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":"{max_receive_count}"}}"#);
        (self.queue(stem, &[("RedrivePolicy", &policy)]).await, dead)
    }
}

pub fn pairs(attributes: &[(&str, &str)]) -> HashMap<QueueAttributeName, String> {
    attributes.iter().map(|(name, value)| (QueueAttributeName::from(*name), (*value).to_owned())).collect()
}

pub fn handle(message: &Message) -> &str {
    message.receipt_handle().expect("has a receipt handle")
}

pub fn bodies(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.body().expect("has a body")).collect()
}

pub fn system(message: &Message, name: &str) -> Option<String> {
    message.attributes().and_then(|all| all.get(&MessageSystemAttributeName::from(name)).cloned())
}

pub fn send_entry(id: &str, body: &str) -> SendMessageBatchRequestEntry {
    SendMessageBatchRequestEntry::builder().id(id).message_body(body).build().expect("is complete")
}

pub fn delete_entry(id: &str, handle: &str) -> DeleteMessageBatchRequestEntry {
    DeleteMessageBatchRequestEntry::builder().id(id).receipt_handle(handle).build().expect("is complete")
}
