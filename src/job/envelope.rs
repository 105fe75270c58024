//! Wrappings off, one level: raw CloudEvents in structured JSON, an SNS notification, an EventBridge event.
//!
//! Whatever comes out has the attribute names of CloudEvents, and knows where each stood in the message. Inside of an SNS
//! notification the event is text in `Message`: its pointers are `/Message` followed by the pointer into that text.
//!
//! Sources: CloudEvents 1.0.2 JSON format; SNS "HTTP/HTTPS notification JSON format"; EventBridge "event structure".

use serde_json::{Map, Value};

use super::event::RejectReason::Schema;
use super::read::{self, Fault};
use crate::text::pointer_token;

/// An event by its CloudEvents attributes; null attributes are absent ones (CloudEvents JSON format, section 2.2).
#[derive(Debug)]
pub(super) struct Event {
    pub attributes: Map<String, Value>,
    pub layout: Layout,
}

/// How an event stands in its message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Layout {
    Raw,
    /// Text in `Message`.
    Sns,
    /// `detail` is an event of its own.
    EventBridgeEvent,
    /// `detail` is the data; the outer fields name it.
    EventBridgeData,
}

impl Layout {
    /// Where an attribute stands in the message.
    pub fn pointer(self, attribute: &str) -> String {
        let token = pointer_token(attribute);
        match (self, attribute) {
            (Layout::Raw, _) => format!("/{token}"),
            (Layout::Sns, _) => format!("/Message/{token}"),
            (Layout::EventBridgeEvent, _) => format!("/detail/{token}"),
            (Layout::EventBridgeData, "data") => "/detail".into(),
            (Layout::EventBridgeData, "type") => "/detail-type".into(),
            (Layout::EventBridgeData, _) => format!("/{token}"),
        }
    }
}

impl Event {
    /// Where an attribute stands in the message.
    pub fn pointer(&self, attribute: &str) -> String {
        self.layout.pointer(attribute)
    }

    /// The name of an attribute in the sender's words.
    pub fn name<'a>(&self, attribute: &'a str) -> &'a str {
        match (self.layout, attribute) {
            (Layout::EventBridgeData, "data") => "detail",
            (Layout::EventBridgeData, "type") => "detail-type",
            _ => attribute,
        }
    }

    /// What stands in the message under this name, for hints; empty where the layout is not the producer's.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.attributes.keys().map(String::as_str)
    }

    pub fn get(&self, attribute: &str) -> Option<&Value> {
        self.attributes.get(attribute).filter(|value| !value.is_null())
    }

    /// As far as it can be read: text, not too long, storable.
    pub fn readable(&self, attribute: &str) -> Option<String> {
        let text = self.get(attribute)?.as_str()?;
        let fits = !text.is_empty() && !text.contains('\0') && text.chars().count() <= super::parse::MAX_NAME_CHARS;
        fits.then(|| text.to_owned())
    }
}

/// The event, and the first flaw of a text that was read on the way.
pub(super) fn unwrap(message: Value) -> Result<(Event, Option<Fault>), Fault> {
    let outer = object(message, "")?;
    if ["Type", "TopicArn", "Message"].iter().all(|name| outer.contains_key(*name)) {
        return unwrap_sns(&outer);
    }
    if outer.contains_key("detail-type") && outer.contains_key("detail") {
        return unwrap_event_bridge(outer).map(|event| (event, None));
    }
    Ok((Event { attributes: outer, layout: Layout::Raw }, None))
}

fn unwrap_sns(outer: &Map<String, Value>) -> Result<(Event, Option<Fault>), Fault> {
    if let Some(kind) = outer["Type"].as_str().filter(|kind| *kind != "Notification") {
        let detail = format!("is {kind:?}, expected \"Notification\" (SNS control messages are not jobs)");
        return Err(Fault::new(Schema, "/Type", detail));
    }
    let Some(text) = outer["Message"].as_str() else {
        return Err(Fault::new(Schema, "/Message", "is not text, expected the event as JSON text"));
    };
    let inner = read::document(text).map_err(|fault| fault.below("/Message"))?;
    let attributes = object(inner.value, "/Message")?;
    if attributes.contains_key("detail-type") && !attributes.contains_key("type") {
        let detail = "is an EventBridge envelope within an SNS envelope, expected one envelope at most";
        return Err(Fault::new(Schema, "/Message", detail));
    }
    Ok((Event { attributes, layout: Layout::Sns }, inner.flaw.map(|flaw| flaw.below("/Message"))))
}

fn unwrap_event_bridge(mut outer: Map<String, Value>) -> Result<Event, Fault> {
    let detail = object(outer.remove("detail").unwrap_or_default(), "/detail")?;
    if detail.contains_key("type") {
        return Ok(Event { attributes: detail, layout: Layout::EventBridgeEvent });
    }
    let mut attributes = Map::new();
    for (name, field) in [("type", "detail-type"), ("id", "id"), ("source", "source")] {
        if let Some(value) = outer.remove(field) {
            attributes.insert(name.into(), value);
        }
    }
    attributes.insert("data".into(), Value::Object(detail));
    Ok(Event { attributes, layout: Layout::EventBridgeData })
}

fn object(value: Value, pointer: &str) -> Result<Map<String, Value>, Fault> {
    let found = match value {
        Value::Object(map) => return Ok(map),
        Value::Array(_) => "a JSON array (batches are not accepted)",
        Value::String(_) => "a JSON string",
        Value::Number(_) => "a JSON number",
        Value::Bool(_) => "a JSON boolean",
        Value::Null => "null",
    };
    Err(Fault::new(Schema, pointer, format!("is {found}, expected one event as a JSON object")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn layout(message: Value) -> (Layout, Event) {
        let event = unwrap(message).unwrap().0;
        (event.layout, event)
    }

    #[test]
    fn each_wrapping_comes_off_and_knows_its_places() {
        let event = json!({"id": "1", "type": "t", "data": {}});
        assert_eq!(layout(event.clone()).1.pointer("data"), "/data");

        let (kind, sns) = layout(json!({"Type": "Notification", "TopicArn": "arn", "Message": event.to_string()}));
        assert_eq!((kind, sns.pointer("data").as_str()), (Layout::Sns, "/Message/data"));
        assert_eq!(sns.attributes, *event.as_object().unwrap());

        let bridge =
            |detail: Value| json!({"version": "0", "id": "e-1", "source": "crm", "detail-type": "t", "detail": detail});
        let (kind, own) = layout(bridge(event.clone()));
        assert_eq!((kind, own.pointer("data").as_str()), (Layout::EventBridgeEvent, "/detail/data"));
        assert_eq!(own.attributes, *event.as_object().unwrap());

        let (kind, data) = layout(bridge(json!({"content": "x"})));
        assert_eq!((kind, data.pointer("data").as_str()), (Layout::EventBridgeData, "/detail"));
        assert_eq!((data.pointer("type").as_str(), data.pointer("id").as_str()), ("/detail-type", "/id"));
        assert_eq!(
            Value::Object(data.attributes),
            json!({"type": "t", "id": "e-1", "source": "crm", "data": {"content": "x"}})
        );
    }

    #[test]
    fn envelopes_go_one_level_deep() {
        let bridge = json!({"id": "e", "source": "s", "detail-type": "t", "detail": {}}).to_string();
        let fault = unwrap(json!({"Type": "Notification", "TopicArn": "arn", "Message": bridge})).unwrap_err();
        assert_eq!(fault.at.pointer, "/Message");
        let inner = json!({"Type": "Notification", "TopicArn": "arn", "Message": "{}"}).to_string();
        let (event, _) = unwrap(json!({"Type": "Notification", "TopicArn": "arn", "Message": inner})).unwrap();
        assert!(event.get("type").is_none(), "an inner SNS envelope is not unwrapped");
    }

    #[test]
    fn what_is_no_single_event_is_refused_by_place() {
        for (message, pointer, says) in [
            (json!([{"id": "1"}]), "", "batches are not accepted"),
            (json!("text"), "", "a JSON string"),
            (json!({"Type": "SubscriptionConfirmation", "TopicArn": "a", "Message": "x"}), "/Type", "Notification"),
            (json!({"Type": "Notification", "TopicArn": "a", "Message": {}}), "/Message", "is not text"),
            (json!({"Type": "Notification", "TopicArn": "a", "Message": "hello"}), "/Message", "expected value"),
            (json!({"Type": "Notification", "TopicArn": "a", "Message": "[]"}), "/Message", "batches are not accepted"),
            (json!({"detail-type": "t", "detail": 5}), "/detail", "a JSON number"),
        ] {
            let fault = unwrap(message).unwrap_err();
            assert_eq!(fault.at.pointer, pointer);
            assert!(fault.at.detail.contains(says), "{}", fault.at.detail);
        }
    }
}
