//! Queue attributes: parsing, ranges, and the form in which `GetQueueAttributes` gives them back.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::attributes::hex;
use super::error::{ApiError, ErrorKind};

/// The largest message and the largest batch, in bytes (1 MiB since 2025).
pub(super) const MAX_BYTES: usize = 1_048_576;
/// The longest visibility time-out, in seconds (12 h).
pub(super) const MAX_VISIBILITY_SECONDS: u32 = 43_200;
pub(super) const MAX_DELAY_SECONDS: u32 = 900;
pub(super) const MAX_WAIT_SECONDS: u32 = 20;

const ARN_PREFIX: &str = "arn:aws:sqs:";

/// What a queue's attributes say, ready to use.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub fifo: bool,
    pub delay_seconds: u32,
    pub max_message_bytes: usize,
    pub retention_seconds: u32,
    pub wait_seconds: u32,
    pub visibility_seconds: u32,
    pub content_based_deduplication: bool,
    pub deduplicate_per_group: bool,
    pub redrive: Option<Redrive>,
    /// As it was given, without what only the service computes.
    given: BTreeMap<String, String>,
}

/// Where messages go that were received too often.
#[derive(Debug, Clone)]
pub(super) struct Redrive {
    /// The dead-letter queue's name.
    pub target: Arc<str>,
    pub max_receive_count: u32,
}

impl Settings {
    pub fn new(fifo: bool) -> Self {
        let mut given = BTreeMap::new();
        let mut set = |name: &str, value: &str| given.insert(name.to_owned(), value.to_owned());
        set("VisibilityTimeout", "30");
        set("DelaySeconds", "0");
        set("ReceiveMessageWaitTimeSeconds", "0");
        set("MessageRetentionPeriod", "345600");
        set("MaximumMessageSize", "1048576");
        set("SqsManagedSseEnabled", "true");
        if fifo {
            set("FifoQueue", "true");
            set("ContentBasedDeduplication", "false");
            set("DeduplicationScope", "queue");
            set("FifoThroughputLimit", "perQueue");
        }
        Self {
            fifo,
            delay_seconds: 0,
            max_message_bytes: MAX_BYTES,
            retention_seconds: 345_600,
            wait_seconds: 0,
            visibility_seconds: 30,
            content_based_deduplication: false,
            deduplicate_per_group: false,
            redrive: None,
            given,
        }
    }

    /// The attributes that a client set or that have a default.
    pub fn given(&self) -> &BTreeMap<String, String> {
        &self.given
    }

    /// Applies one attribute. `own` is the region and account part of this service's ARNs (`us-east-1:0000…`).
    ///
    /// # Errors
    /// `InvalidAttributeName`, `InvalidAttributeValue`, or `InvalidParameterValue` for a redrive policy.
    pub fn apply(&mut self, name: &str, value: &str, own: &str) -> Result<(), ApiError> {
        let invalid =
            || ApiError::new(ErrorKind::InvalidAttributeValue, format!("Invalid value for the parameter {name}."));
        let number =
            |low: u32, high: u32| value.parse::<u32>().ok().filter(|n| (low..=high).contains(n)).ok_or_else(invalid);
        let flag = || match value {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(invalid()),
        };
        let one_of = |allowed: [&str; 2]| if allowed.contains(&value) { Ok(()) } else { Err(invalid()) };
        match name {
            "DelaySeconds" => self.delay_seconds = number(0, MAX_DELAY_SECONDS)?,
            "MaximumMessageSize" => self.max_message_bytes = number(1024, 1_048_576)? as usize,
            "MessageRetentionPeriod" => self.retention_seconds = number(60, 1_209_600)?,
            "ReceiveMessageWaitTimeSeconds" => self.wait_seconds = number(0, MAX_WAIT_SECONDS)?,
            "VisibilityTimeout" => self.visibility_seconds = number(0, MAX_VISIBILITY_SECONDS)?,
            "FifoQueue" if self.fifo && flag()? => {}
            "FifoQueue" if self.fifo => return Err(invalid()),
            "ContentBasedDeduplication" if self.fifo => self.content_based_deduplication = flag()?,
            "DeduplicationScope" if self.fifo => {
                one_of(["queue", "messageGroup"])?;
                self.deduplicate_per_group = value == "messageGroup";
            }
            "FifoThroughputLimit" if self.fifo => one_of(["perQueue", "perMessageGroupId"])?,
            "KmsDataKeyReusePeriodSeconds" => {
                number(60, 86_400)?;
            }
            "SqsManagedSseEnabled" => {
                flag()?;
            }
            "KmsMasterKeyId" | "Policy" | "RedriveAllowPolicy" => {}
            "RedrivePolicy" => return self.apply_redrive(value, own),
            _ => return Err(unknown_attribute(name)),
        }
        if value.is_empty() {
            self.given.remove(name);
        } else {
            self.given.insert(name.to_owned(), value.to_owned());
        }
        Ok(())
    }

    fn apply_redrive(&mut self, value: &str, own: &str) -> Result<(), ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Policy {
            dead_letter_target_arn: String,
            max_receive_count: serde_json::Value,
        }
        let invalid = |reason: &str| ApiError::value(value, "RedrivePolicy", reason);
        if value.is_empty() || value.trim() == "{}" {
            self.redrive = None;
            self.given.remove("RedrivePolicy");
            return Ok(());
        }
        let policy: Policy = serde_json::from_str(value).map_err(|_| {
            invalid("Redrive policy does not contain mandatory attributes: maxReceiveCount, deadLetterTargetArn.")
        })?;
        let count = match &policy.max_receive_count {
            serde_json::Value::Number(n) => n.as_u64(),
            serde_json::Value::String(text) => text.parse().ok(),
            _ => None,
        };
        let max_receive_count = count
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| (1..=1000).contains(n))
            .ok_or_else(|| invalid("Invalid value for maxReceiveCount: must be between 1 and 1000."))?;
        let target = name_of_arn(&policy.dead_letter_target_arn, own)
            .ok_or_else(|| invalid("Dead letter target must be an SQS queue of the same account and region."))?;
        if target.ends_with(".fifo") != self.fifo {
            return Err(invalid("Dead-letter queue must be same type of queue as the source."));
        }
        self.redrive = Some(Redrive { target: target.into(), max_receive_count });
        let normal = serde_json::json!({
            "deadLetterTargetArn": policy.dead_letter_target_arn, "maxReceiveCount": max_receive_count,
        });
        self.given.insert("RedrivePolicy".to_owned(), normal.to_string());
        Ok(())
    }

    /// Whether `RedriveAllowPolicy` lets the queue with this ARN name us as its dead-letter queue.
    pub fn allows_redrive_from(&self, arn: &str) -> bool {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Policy {
            redrive_permission: String,
            #[serde(default)]
            source_queue_arns: Vec<String>,
        }
        let policy = self.given.get("RedriveAllowPolicy").and_then(|text| serde_json::from_str::<Policy>(text).ok());
        match policy {
            Some(policy) if policy.redrive_permission == "denyAll" => false,
            Some(policy) if policy.redrive_permission == "byQueue" => policy.source_queue_arns.iter().any(|a| a == arn),
            _ => true,
        }
    }
}

pub(super) fn unknown_attribute(name: &str) -> ApiError {
    ApiError::new(ErrorKind::InvalidAttributeName, format!("Unknown Attribute {name}."))
}

/// A queue's ARN. `own` is region and account.
pub(super) fn arn(own: &str, name: &str) -> String {
    format!("{ARN_PREFIX}{own}:{name}")
}

/// The queue's name in an ARN of ours.
pub(super) fn name_of_arn<'a>(arn: &'a str, own: &str) -> Option<&'a str> {
    arn.strip_prefix(ARN_PREFIX)?.strip_prefix(own)?.strip_prefix(':').filter(|name| !name.is_empty())
}

/// # Errors
/// `InvalidParameterValue` for a name that AWS would not take.
pub(super) fn require_queue_name(name: &str) -> Result<(), ApiError> {
    let stem = name.strip_suffix(".fifo").unwrap_or(name);
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if stem.is_empty() || name.len() > 80 || !stem.bytes().all(good) {
        return Err(ApiError::parameter(
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
        ));
    }
    Ok(())
}

/// The deduplication id that content-based deduplication gives a body: its SHA-256.
pub(super) fn content_deduplication_id(body: &str) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "us-east-1:000000000000";

    #[test]
    fn ranges_are_held() {
        let mut settings = Settings::new(false);
        for (name, value) in [
            ("VisibilityTimeout", "43201"),
            ("DelaySeconds", "-1"),
            ("MaximumMessageSize", "1023"),
            ("MessageRetentionPeriod", "59"),
            ("ReceiveMessageWaitTimeSeconds", "21"),
            ("VisibilityTimeout", "soon"),
        ] {
            let error = settings.apply(name, value, OWN).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidAttributeValue, "{name}={value}");
        }
        assert!(settings.apply("VisibilityTimeout", "43200", OWN).is_ok());
        assert_eq!(settings.visibility_seconds, 43_200);
    }

    #[test]
    fn fifo_attributes_are_unknown_to_a_standard_queue() {
        let error = Settings::new(false).apply("FifoQueue", "true", OWN).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidAttributeName);
        assert!(Settings::new(true).apply("ContentBasedDeduplication", "true", OWN).is_ok());
    }

    #[test]
    fn a_redrive_policy_is_read_checked_and_removed() {
        let mut settings = Settings::new(false);
        let policy = r#"{"maxReceiveCount":"3","deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead"}"#;
        settings.apply("RedrivePolicy", policy, OWN).unwrap();
        let redrive = settings.redrive.clone().unwrap();
        assert_eq!((redrive.target.as_ref(), redrive.max_receive_count), ("dead", 3));
        for bad in
            [r#"{"maxReceiveCount":3}"#, "x", &policy.replace('3', "0"), &policy.replace("dead\"", "dead.fifo\"")]
        {
            assert!(settings.apply("RedrivePolicy", bad, OWN).is_err(), "{bad}");
        }
        settings.apply("RedrivePolicy", "", OWN).unwrap();
        assert!(settings.redrive.is_none() && !settings.given().contains_key("RedrivePolicy"));
    }

    #[test]
    fn queue_names_are_checked() {
        for good in ["a", "voice-events_1", "x.fifo"] {
            assert!(require_queue_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".fifo", "a b", "a.b", &"x".repeat(81)] {
            assert!(require_queue_name(bad).is_err(), "{bad}");
        }
    }
}
