//! The copy of a rejected message in the dead-letter queue: body byte for byte, original attributes, reason and detail.
//!
//! A message carries ten attributes and 1 MiB at most, attributes included. Where the reason or the detail would not fit
//! beside the original's own, the original wins: both stand in the database as well, under the message's id.

use std::collections::BTreeMap;

use super::message::{Attribute, Received};
use super::producer::{MAX_BYTES, Outgoing};
use super::resolve::DeadLetterQueue;
use crate::job::Rejection;

/// Why: one of the words of `rejected_messages.reason`.
pub(super) const REASON: &str = "voxd.reason";
/// `POINTER: what was wrong, what was expected`.
pub(super) const DETAIL: &str = "voxd.detail";

const MAX_ATTRIBUTES: usize = 10;
/// Of a FIFO dead-letter queue, for messages that came without a group.
const NO_GROUP: &str = "voxd";

/// What is sent to the dead-letter queue.
pub(super) fn copy(message: &Received, rejection: &Rejection, queue: &DeadLetterQueue) -> Outgoing {
    let mut attributes = message.attributes.clone();
    // From an earlier rejection, before the message was sent back.
    attributes.remove(REASON);
    attributes.remove(DETAIL);
    let mut room = MAX_BYTES.saturating_sub(message.body.len() + size(&attributes));
    for (name, text) in
        [(REASON, rejection.reason.as_str().to_owned()), (DETAIL, sendable(&rejection.detail_attribute()))]
    {
        let attribute = Attribute::string(text);
        let needs = name.len() + attribute.size();
        if attributes.len() < MAX_ATTRIBUTES && needs <= room {
            room -= needs;
            attributes.insert(name.into(), attribute);
        } else {
            tracing::warn!(
                queue = queue.name,
                message_id = message.message_id,
                attribute = name,
                "a dead letter has no room for an attribute beside its original ones"
            );
        }
    }
    let group = message.group_id.clone();
    Outgoing {
        body: message.body.clone(),
        attributes,
        group_id: if queue.fifo { group.or_else(|| Some(NO_GROUP.into())) } else { group },
        // A copy that is repeated within five minutes is one dead letter.
        deduplication_id: queue.fifo.then(|| message.message_id.clone()),
        delay: None,
    }
}

fn size(attributes: &BTreeMap<String, Attribute>) -> usize {
    attributes.iter().map(|(name, attribute)| name.len() + attribute.size()).sum()
}

/// SQS takes only these characters: tab, line feed, carriage return, and from U+0020 without surrogates, U+FFFE and U+FFFF.
fn sendable(text: &str) -> String {
    let good =
        |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    text.chars().map(|c| if good(c) { c } else { '\u{fffd}' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::job::RejectReason;
    use crate::queue::resolve::QueueInfo;
    use std::sync::Arc;
    use std::time::Duration;

    fn received(body: String, attributes: usize) -> Received {
        let queue = QueueInfo {
            name: "q".into(),
            url: "http://x/q".into(),
            arn: String::new(),
            weight: 1,
            fifo: false,
            visibility: Duration::from_secs(30),
            dead_letter: None,
            max_receive_count: None,
        };
        Received {
            queue: Arc::new(queue),
            message_id: "m-1".into(),
            receipt: "r".into(),
            body,
            attributes: (0..attributes).map(|n| (format!("a{n}"), Attribute::string("x"))).collect(),
            group_id: None,
            sequence_number: None,
            sent_at: None,
            receive_count: 1,
            received_at: clock::monotonic(),
        }
    }

    fn dead_letters(fifo: bool) -> DeadLetterQueue {
        DeadLetterQueue { name: "dlq".into(), url: "http://x/dlq".into(), arn: String::new(), fifo }
    }

    fn rejection() -> Rejection {
        Rejection {
            reason: RejectReason::Schema,
            field_path: "/data/lead".into(),
            detail: "is missing\u{ffff}".into(),
            source: None,
            event_id: None,
        }
    }

    #[test]
    fn the_copy_says_why() {
        let copy = copy(&received("body".into(), 2), &rejection(), &dead_letters(false));
        assert_eq!(copy.body, "body");
        assert_eq!(copy.attributes.len(), 4);
        assert_eq!(copy.attributes[REASON], Attribute::string("schema"));
        assert_eq!(copy.attributes[DETAIL], Attribute::string("/data/lead: is missing\u{fffd}"));
        assert_eq!((copy.group_id, copy.deduplication_id), (None, None));
    }

    #[test]
    fn the_originals_attributes_go_first_when_ten_are_too_few() {
        let names = |attributes| copy(&received("b".into(), attributes), &rejection(), &dead_letters(false)).attributes;
        assert!(names(9).contains_key(REASON) && !names(9).contains_key(DETAIL));
        assert_eq!(names(10).len(), 10);
        assert!(!names(10).contains_key(REASON));
    }

    #[test]
    fn a_message_of_the_largest_size_keeps_its_body() {
        let copy = copy(&received("b".repeat(MAX_BYTES), 0), &rejection(), &dead_letters(false));
        assert_eq!((copy.body.len(), copy.attributes.len()), (MAX_BYTES, 0));
    }

    #[test]
    fn a_fifo_queue_gets_a_group_and_an_id_that_makes_a_repeat_harmless() {
        let copy = copy(&received("b".into(), 0), &rejection(), &dead_letters(true));
        assert_eq!((copy.group_id.as_deref(), copy.deduplication_id.as_deref()), (Some("voxd"), Some("m-1")));
    }
}
