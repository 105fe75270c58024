//! The errors SQS documents, as they look on the wire.
//!
//! Names and texts are AWS's: the shapes of the service model (`com.amazonaws.sqs#…`), the older query-protocol code
//! that SDKs read from the `x-amzn-query-error` header, and the messages that the live service answers with.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

/// What went wrong, in the service model's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    AccessDenied,
    BatchEntryIdsNotDistinct,
    BatchRequestTooLong,
    EmptyBatchRequest,
    InternalError,
    InvalidAttributeName,
    InvalidAttributeValue,
    InvalidBatchEntryId,
    InvalidMessageContents,
    InvalidParameterValue,
    KmsThrottled,
    MessageNotInflight,
    MissingParameter,
    OverLimit,
    PurgeQueueInProgress,
    QueueDeletedRecently,
    QueueDoesNotExist,
    QueueNameExists,
    ReceiptHandleIsInvalid,
    RequestThrottled,
    ResourceNotFound,
    Serialization,
    ServiceUnavailable,
    TooManyEntriesInBatchRequest,
    UnknownOperation,
    UnsupportedOperation,
}

impl ErrorKind {
    /// `__type` of the JSON body, query-protocol code, HTTP status.
    const fn wire(self) -> (&'static str, &'static str, u16) {
        match self {
            Self::AccessDenied => ("com.amazon.coral.service#AccessDeniedException", "AccessDenied", 403),
            Self::BatchEntryIdsNotDistinct => {
                ("com.amazonaws.sqs#BatchEntryIdsNotDistinct", "AWS.SimpleQueueService.BatchEntryIdsNotDistinct", 400)
            }
            Self::BatchRequestTooLong => {
                ("com.amazonaws.sqs#BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong", 400)
            }
            Self::EmptyBatchRequest => {
                ("com.amazonaws.sqs#EmptyBatchRequest", "AWS.SimpleQueueService.EmptyBatchRequest", 400)
            }
            Self::InternalError => ("com.amazon.coral.service#InternalFailure", "InternalError", 500),
            Self::InvalidAttributeName => ("com.amazonaws.sqs#InvalidAttributeName", "InvalidAttributeName", 400),
            Self::InvalidAttributeValue => ("com.amazonaws.sqs#InvalidAttributeValue", "InvalidAttributeValue", 400),
            Self::InvalidBatchEntryId => {
                ("com.amazonaws.sqs#InvalidBatchEntryId", "AWS.SimpleQueueService.InvalidBatchEntryId", 400)
            }
            Self::InvalidMessageContents => ("com.amazonaws.sqs#InvalidMessageContents", "InvalidMessageContents", 400),
            Self::InvalidParameterValue => {
                ("com.amazon.coral.service#InvalidParameterValueException", "InvalidParameterValue", 400)
            }
            Self::KmsThrottled => ("com.amazonaws.sqs#KmsThrottled", "KMS.ThrottlingException", 400),
            Self::MessageNotInflight => {
                ("com.amazonaws.sqs#MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight", 400)
            }
            Self::MissingParameter => {
                ("com.amazon.coral.service#MissingRequiredParameterException", "MissingParameter", 400)
            }
            Self::OverLimit => ("com.amazonaws.sqs#OverLimit", "OverLimit", 400),
            Self::PurgeQueueInProgress => {
                ("com.amazonaws.sqs#PurgeQueueInProgress", "AWS.SimpleQueueService.PurgeQueueInProgress", 400)
            }
            Self::QueueDeletedRecently => {
                ("com.amazonaws.sqs#QueueDeletedRecently", "AWS.SimpleQueueService.QueueDeletedRecently", 400)
            }
            Self::QueueDoesNotExist => {
                ("com.amazonaws.sqs#QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", 400)
            }
            Self::QueueNameExists => ("com.amazonaws.sqs#QueueNameExists", "QueueAlreadyExists", 400),
            Self::ReceiptHandleIsInvalid => ("com.amazonaws.sqs#ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid", 400),
            Self::RequestThrottled => ("com.amazonaws.sqs#RequestThrottled", "RequestThrottled", 400),
            Self::ResourceNotFound => ("com.amazonaws.sqs#ResourceNotFoundException", "ResourceNotFoundException", 400),
            Self::Serialization => ("com.amazon.coral.service#SerializationException", "MalformedInput", 400),
            Self::ServiceUnavailable => {
                ("com.amazon.coral.service#ServiceUnavailableException", "ServiceUnavailable", 503)
            }
            Self::TooManyEntriesInBatchRequest => (
                "com.amazonaws.sqs#TooManyEntriesInBatchRequest",
                "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
                400,
            ),
            Self::UnknownOperation => ("com.amazon.coral.service#UnknownOperationException", "InvalidAction", 400),
            Self::UnsupportedOperation => {
                ("com.amazonaws.sqs#UnsupportedOperation", "AWS.SimpleQueueService.UnsupportedOperation", 400)
            }
        }
    }

    pub(super) const fn type_name(self) -> &'static str {
        self.wire().0
    }

    /// The code of the query protocol; also the `Code` of a failed batch entry.
    pub(super) const fn query_code(self) -> &'static str {
        self.wire().1
    }

    pub(super) const fn status(self) -> u16 {
        self.wire().2
    }

    /// Whether the sender is to blame; what is not its fault is worth a retry.
    pub(super) const fn sender_fault(self) -> bool {
        self.status() < 500 && !matches!(self, Self::KmsThrottled | Self::RequestThrottled)
    }

    /// A text for the errors that only fault injection brings about.
    pub(super) const fn injected_text(self) -> &'static str {
        match self {
            Self::AccessDenied => "Access to the resource is denied.",
            Self::KmsThrottled => "The request was denied due to request throttling by KMS.",
            Self::OverLimit => "Too many messages in flight.",
            Self::QueueDoesNotExist => "The specified queue does not exist.",
            Self::RequestThrottled => "Rate exceeded.",
            Self::ServiceUnavailable => "Service is currently unavailable.",
            _ => "We encountered an internal error. Please try again.",
        }
    }
}

/// An error answer: what it is, and AWS's text for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub kind: ErrorKind,
    pub message: String,
}

impl ApiError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub fn queue_does_not_exist() -> Self {
        Self::new(ErrorKind::QueueDoesNotExist, "The specified queue does not exist.")
    }

    pub fn missing(parameter: &str) -> Self {
        Self::new(ErrorKind::MissingParameter, format!("The request must contain the parameter {parameter}."))
    }

    pub fn parameter(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidParameterValue, message)
    }

    /// AWS's usual sentence about a parameter's value.
    pub fn value(value: impl Display, parameter: &str, reason: impl Display) -> Self {
        Self::parameter(format!("Value {value} for parameter {parameter} is invalid. Reason: {reason}"))
    }

    /// The JSON body of the answer.
    pub fn body(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Body<'a> {
            #[serde(rename = "__type")]
            kind: &'static str,
            message: &'a str,
        }
        serde_json::to_vec(&Body { kind: self.kind.type_name(), message: &self.message }).unwrap_or_default()
    }

    /// The `x-amzn-query-error` header: `CODE;Sender` or `CODE;Receiver`.
    pub fn query_header(&self) -> String {
        let side = if self.kind.status() < 500 { "Sender" } else { "Receiver" };
        format!("{};{side}", self.kind.query_code())
    }
}
