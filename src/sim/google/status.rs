//! Errors as Google's front end sends them: a code, a text, and details of a kind that no client knows.

use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};

/// `google.rpc.Status`, as it travels in `grpc-status-details-bin`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// With an opaque detail (`util.StatusProto`, seen in the wild): reading it must not fail an error path.
pub(super) fn status(code: Code, text: impl Into<String>) -> Status {
    let message = text.into();
    // Field 1, a varint: the code again.
    let value = vec![8, code as u8];
    let details = vec![Any { type_url: "type.googleapis.com/util.StatusProto".into(), value }];
    let rpc = RpcStatus { code: code as i32, message: message.clone(), details };
    Status::with_details(code, message, rpc.encode_to_vec().into())
}

pub(super) fn invalid(text: impl Into<String>) -> Status {
    status(Code::InvalidArgument, text)
}

/// What Google could do and this simulator cannot.
pub(super) fn beyond(what: &str) -> Status {
    status(Code::Unimplemented, format!("The simulator does not do this: {what}."))
}

/// `expected` is the field that should have been set.
pub(super) fn malordered(expected: &str) -> Status {
    invalid(format!(
        "Malordered Data Received. Expected {expected} none was set. Send exactly one config, followed by audio data."
    ))
}
