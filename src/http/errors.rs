//! What goes wrong, in HTTP: RFC 9457 problem documents. The one table from problems to statuses.
//!
//! The client's text and the log's text are apart: what Postgres said goes to the log only.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;

use crate::call::FieldError;
use crate::store::StoreError;

macro_rules! kinds {
    ($($(#[$meta:meta])* $kind:ident = $slug:literal, $status:ident, $title:literal;)+) => {
        /// All kinds of problem. `type` in the document is `urn:voxd:problem:` and the kind's name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $($(#[$meta])* $kind),+ }
        impl Kind {
            pub const ALL: &'static [Kind] = &[$(Kind::$kind),+];
            /// Stable; the end of `type`.
            pub const fn name(self) -> &'static str { match self { $(Kind::$kind => $slug),+ } }
            pub const fn status(self) -> StatusCode { match self { $(Kind::$kind => StatusCode::$status),+ } }
            pub const fn title(self) -> &'static str { match self { $(Kind::$kind => $title),+ } }
        }
    };
}

kinds! {
    /// Not JSON, a query that cannot be read, a missing header.
    BadRequest = "bad_request", BAD_REQUEST, "The request cannot be read";
    /// A webhook with a good signature that says nothing we can read. It is kept.
    Unreadable = "unreadable", BAD_REQUEST, "The webhook cannot be read";
    Unauthorized = "unauthorized", UNAUTHORIZED, "A valid API key is needed";
    BadSignature = "bad_signature", UNAUTHORIZED, "The webhook's signature is not good";
    Forbidden = "forbidden", FORBIDDEN, "This API key may not do that";
    NotFound = "not_found", NOT_FOUND, "There is nothing here";
    PlatformOff = "platform_off", NOT_FOUND, "The platform is off";
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "The method does not fit this address";
    Timeout = "timeout", REQUEST_TIMEOUT, "The request took too long";
    /// The idempotency key came before with another body.
    KeyReused = "key_reused", CONFLICT, "The idempotency key was used for another message";
    /// What is asked for does not fit the call's status.
    WrongStatus = "wrong_status", CONFLICT, "The call's status does not allow that";
    /// What is asked for does not fit the session's status.
    SessionStatus = "session_status", CONFLICT, "The session's status does not allow that";
    /// Its owner has as many as one may have.
    TooManySessions = "too_many_sessions", TOO_MANY_REQUESTS, "There are too many live sessions of this owner";
    /// The session still has other work to do.
    SessionBusy = "session_busy", TOO_MANY_REQUESTS, "The session has too much to do";
    NotAcceptable = "not_acceptable", NOT_ACCEPTABLE, "There is no answer of the kind that is asked for";
    TooLarge = "too_large", PAYLOAD_TOO_LARGE, "The body is too large";
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The body is not of a kind that is read here";
    /// JSON, but not what is expected; `errors` names the fields.
    Invalid = "invalid", UNPROCESSABLE_ENTITY, "The request is not valid";
    Internal = "internal", INTERNAL_SERVER_ERROR, "voxd failed";
    /// The speech engine refused, for a reason that only a person can mend, or answered what cannot be read.
    SpeechFailed = "speech_failed", BAD_GATEWAY, "The speech engine failed";
    /// No speech engine is configured.
    SpeechOff = "speech_off", SERVICE_UNAVAILABLE, "Speech is off";
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "voxd cannot do this now";
}

impl Kind {
    /// `type` in the document.
    pub fn urn(self) -> String {
        format!("urn:voxd:problem:{}", self.name())
    }
}

/// A problem on its way out.
#[derive(Debug, Clone)]
pub struct Problem {
    pub kind: Kind,
    pub detail: String,
    pub errors: Vec<FieldError>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// RFC 9457.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct Document {
    /// `urn:voxd:problem:` and a stable name.
    #[schema(example = "urn:voxd:problem:invalid")]
    r#type: String,
    title: &'static str,
    #[schema(example = 422)]
    status: u16,
    /// What was wrong this time.
    detail: String,
    /// What is wrong with which field; pointers lead into the body, or name a query parameter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), headers: Vec::new() }
    }

    /// 422 with the fields that are wrong.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        Self { errors: errors.clone(), ..Self::new(Kind::Invalid, summary(&errors)) }
    }

    /// 400 with the query parameters that are wrong.
    pub fn bad_query(errors: Vec<FieldError>) -> Self {
        Self { errors: errors.clone(), ..Self::new(Kind::BadRequest, summary(&errors)) }
    }

    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// 401, with what the key's owner should know about keys.
    pub fn unauthorized(detail: &str, challenge: &'static str) -> Self {
        Self::new(Kind::Unauthorized, detail).with_header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }
}

fn summary(errors: &[FieldError]) -> String {
    match errors {
        [] => "the request is not valid".into(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => {
                tracing::warn!(error = %error, "request not served");
                Self::new(Kind::Unavailable, "the database is not available; try again")
                    .with_header(RETRY_AFTER, HeaderValue::from_static("2"))
            }
            StoreError::NotDurable(_) | StoreError::NotMigrated(_) | StoreError::Refused(_) => {
                tracing::error!(error = %error, "request failed");
                Self::new(Kind::Internal, "the database refused the request; the log says why")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = Document {
            r#type: self.kind.urn(),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: self.detail,
            errors: self.errors,
        };
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = (self.kind.status(), body).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response.headers_mut().extend(self.headers);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_an_error_and_has_a_name_of_its_own() {
        let mut names = std::collections::BTreeSet::new();
        for kind in Kind::ALL {
            assert!(kind.status().is_client_error() || kind.status().is_server_error(), "{kind:?}");
            assert!(names.insert(kind.name()), "{kind:?}");
        }
    }

    #[tokio::test]
    async fn a_problem_is_a_problem_document() {
        let response =
            Problem::invalid(vec![FieldError::new("/lead/id", "is empty"), FieldError::new("/x", "is unknown")])
                .into_response();
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            document,
            serde_json::json!({
                "type": "urn:voxd:problem:invalid", "title": "The request is not valid", "status": 422,
                "detail": "/lead/id: is empty (and 1 more)",
                "errors": [{ "pointer": "/lead/id", "detail": "is empty" }, { "pointer": "/x", "detail": "is unknown" }]
            })
        );
    }

    #[test]
    fn what_postgres_said_stays_inside() {
        let problem = Problem::from(StoreError::Refused("relation \"secrets\" does not exist".into()));
        assert_eq!(problem.kind, Kind::Internal);
        assert!(!problem.detail.contains("secrets"));
    }
}
