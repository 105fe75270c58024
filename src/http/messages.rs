//! A producer's way in without a queue: the same acceptance as a job.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::HttpState;
use super::auth::{Caller, Services};
use super::errors::{Kind, Problem};
use super::input::Json;
use crate::call::FieldError;
use crate::job::{self, JobKey};
use crate::processors::AcceptError;
use crate::telemetry::trace;

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const MAX_KEY_CHARS: usize = 256;

/// The message is accepted; its call follows.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct MessageAccepted {
    pub call_id: Uuid,
    pub thread_message_id: Uuid,
}

/// Sends a message: `{"channel": "voice", …}` with the data of a `voice.call.requested` job. The idempotency key names it
/// for ever among its owner's; the same again changes nothing and is answered alike.
#[utoipa::path(post, path = "/api/messages/", operation_id = "send_message", tag = "messages",
    params(("Idempotency-Key" = String, Header, description = "Names the message, 1 to 256 characters")),
    request_body(content = ref("#/components/schemas/Message")),
    responses(
        (status = 202, description = "Accepted now, or before under the same key", body = MessageAccepted),
        (status = 409, description = "The key came before with another message"),
        (status = 415, description = "Not JSON by its media type"),
        (status = 422, description = "Not a valid message; `errors` names the fields"),
    ), security(("key" = [])))]
pub async fn send(
    caller: Caller<Services>,
    State(state): State<HttpState>,
    headers: HeaderMap,
    Json(body): Json,
) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?;
    let data = data(body)?;
    // Owners are apart from each other: what one has sent, another cannot learn by trying keys.
    let key = JobKey { source: format!("api:{}", caller.identity.owner), id: key };
    let mut job = job::call_from_data(key, data).map_err(Problem::invalid)?;
    job.traceparent = trace::current_traceparent();
    let accepted = state.processors.accept_one(job).await?;
    let body = MessageAccepted { call_id: accepted.call_id, thread_message_id: accepted.thread_message_id };
    Ok((StatusCode::ACCEPTED, axum::Json(body)).into_response())
}

fn idempotency_key(headers: &HeaderMap) -> Result<String, Problem> {
    let expected = format!("expected 1 to {MAX_KEY_CHARS} printable ASCII characters that name the message");
    let wrong = |what: &str| Problem::new(Kind::BadRequest, format!("the header Idempotency-Key {what}, {expected}"));
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(wrong(if headers.contains_key(IDEMPOTENCY_KEY) {
            "is given more than once"
        } else {
            "is missing"
        }));
    };
    match value.to_str() {
        Ok("") => Err(wrong("is empty")),
        Ok(key) if key.len() > MAX_KEY_CHARS => Err(wrong(&format!("has {} characters", key.len()))),
        Ok(key) => Ok(key.to_owned()),
        Err(_) => Err(wrong("holds other characters")),
    }
}

/// The body without its channel.
fn data(body: Value) -> Result<Value, Problem> {
    let Value::Object(mut data) = body else {
        return Err(Problem::invalid(vec![FieldError::new("", "is not an object, expected an object")]));
    };
    match data.remove("channel") {
        Some(Value::String(channel)) if channel == "voice" => Ok(Value::Object(data)),
        Some(other) => {
            Err(Problem::invalid(vec![FieldError::new("/channel", format!("is {other}, expected \"voice\""))]))
        }
        None => Err(Problem::invalid(vec![FieldError::new("/channel", "is missing, expected \"voice\"")])),
    }
}

impl From<AcceptError> for Problem {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::KeyReused => Problem::new(
                Kind::KeyReused,
                "the same Idempotency-Key came before with another message, expected a new key",
            ),
            AcceptError::Later(detail) => Problem::new(Kind::Unavailable, detail),
            AcceptError::Rejected(rejection) => {
                Problem::invalid(vec![FieldError::new(rejection.field_path, rejection.detail)])
            }
            AcceptError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use serde_json::json;

    fn key_problem(values: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_str(value).unwrap());
        }
        idempotency_key(&headers).unwrap_err().detail
    }

    #[test]
    fn the_idempotency_key_is_demanded_in_clear_words() {
        assert!(key_problem(&[]).contains("is missing"));
        assert!(key_problem(&[""]).contains("is empty"));
        assert!(key_problem(&["a", "b"]).contains("more than once"));
        assert!(key_problem(&[&"a".repeat(257)]).contains("has 257 characters"));
        assert!(key_problem(&["ä"]).contains("other characters"));
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_str(&"a".repeat(256)).unwrap());
        assert_eq!(idempotency_key(&headers).unwrap().len(), 256);
    }

    #[test]
    fn the_channel_is_taken_off() {
        assert_eq!(data(json!({ "channel": "voice", "lead": 1 })).unwrap(), json!({ "lead": 1 }));
        assert_eq!(data(json!({ "channel": "sms" })).unwrap_err().detail, "/channel: is \"sms\", expected \"voice\"");
        assert_eq!(data(json!({})).unwrap_err().detail, "/channel: is missing, expected \"voice\"");
        assert_eq!(data(json!([])).unwrap_err().errors[0].pointer, "");
    }
}
