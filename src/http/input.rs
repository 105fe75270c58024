//! What comes in: JSON bodies, path parameters, query parameters. Whatever cannot be read becomes a problem document
//! that names the field.

use std::collections::BTreeMap;
use std::str::FromStr;

use axum::extract::{FromRequest, FromRequestParts, Request};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use super::errors::{Kind, Problem};
use crate::call::FieldError;
use crate::job;
use crate::store::read::Before;
use crate::text::{nearest_hint, pointer_of, pointer_token};

/// A list's default and largest page.
const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 200;

/// Reads a body of at most `limit` bytes.
pub async fn body(request: Request, limit: usize) -> Result<Bytes, Problem> {
    match Limited::new(request.into_body(), limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Problem::new(Kind::TooLarge, format!("the body has more than {limit} bytes")))
        }
        Err(_) => Err(Problem::new(Kind::BadRequest, "the body ended before its announced length")),
    }
}

/// A JSON body as a value, without NUL characters (which cannot be stored).
pub struct Json(pub Value);

impl<S: Send + Sync> FromRequest<S> for Json {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        Self::within(request, job::MAX_MESSAGE_BYTES).await
    }
}

impl Json {
    /// A body of at most so many bytes.
    pub async fn within(request: Request, limit: usize) -> Result<Self, Problem> {
        let media = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !is_json(media) {
            let detail = format!("Content-Type is {media:?}, expected application/json");
            return Err(Problem::new(Kind::UnsupportedMediaType, detail));
        }
        let bytes = body(request, limit).await?;
        let value = serde_json::from_slice(&bytes)
            .map_err(|error| Problem::new(Kind::BadRequest, format!("the body is not JSON: {error}")))?;
        match nul(&value, String::new()) {
            Some(pointer) => {
                let detail = "holds a NUL character (\\u0000), which cannot be stored";
                Err(Problem::invalid(vec![FieldError::new(pointer, detail)]))
            }
            None => Ok(Self(value)),
        }
    }

    /// The body as a type; the path of what does not fit becomes the pointer.
    pub fn read<T: DeserializeOwned>(self) -> Result<T, Problem> {
        serde_path_to_error::deserialize(self.0).map_err(|error| {
            let pointer = pointer_of(error.path());
            Problem::invalid(vec![FieldError::new(pointer, error.into_inner().to_string())])
        })
    }
}

/// A body that may be absent altogether.
pub struct OptionalJson(pub Option<Json>);

impl<S: Send + Sync> FromRequest<S> for OptionalJson {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        use http_body::Body as _;
        if request.body().is_end_stream() {
            return Ok(Self(None));
        }
        Ok(Self(Some(Json::from_request(request, state).await?)))
    }
}

pub fn is_json(media: &str) -> bool {
    let essence = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn nul(value: &Value, pointer: String) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then_some(pointer),
        Value::Array(items) => items.iter().enumerate().find_map(|(n, item)| nul(item, format!("{pointer}/{n}"))),
        Value::Object(map) => map.iter().find_map(|(key, item)| {
            let below = format!("{pointer}/{}", pointer_token(key).replace('\0', "\u{FFFD}"));
            if key.contains('\0') { Some(below) } else { nul(item, below) }
        }),
        _ => None,
    }
}

/// The id in `/…/{id}/`. One that is no id names nothing: 404.
pub struct CallId(pub Uuid);

impl<S: Send + Sync> FromRequestParts<S> for CallId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Name(text) = Name::from_request_parts(parts, state).await?;
        Uuid::from_str(&text).map(Self).map_err(|_| no_such_call(&text))
    }
}

pub fn no_such_call(id: &dyn std::fmt::Display) -> Problem {
    Problem::new(Kind::NotFound, format!("there is no call {id}"))
}

/// A session's id in `/…/{id}/`.
pub struct SessionId(pub Uuid);

impl<S: Send + Sync> FromRequestParts<S> for SessionId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Name(text) = Name::from_request_parts(parts, state).await?;
        let missing = |_| Problem::new(Kind::NotFound, format!("there is no session {text}"));
        Uuid::from_str(&text).map(Self).map_err(missing)
    }
}

/// The one name in the address.
pub struct Name(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        in_path(parts, state).await.map(Self)
    }
}

/// The two names in the address.
pub struct Names(pub String, pub String);

impl<S: Send + Sync> FromRequestParts<S> for Names {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        in_path(parts, state).await.map(|(first, second)| Self(first, second))
    }
}

async fn in_path<T: DeserializeOwned + Send, S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<T, Problem> {
    match axum::extract::Path::from_request_parts(parts, state).await {
        Ok(axum::extract::Path(names)) => Ok(names),
        Err(error) => Err(Problem::new(Kind::BadRequest, format!("the address cannot be read: {}", error.body_text()))),
    }
}

/// Query parameters by name. Each is taken out once; what is left at the end is unknown and refused.
pub struct Query {
    given: BTreeMap<String, Vec<String>>,
    asked: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut given: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut errors = Vec::new();
        for (name, value) in url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
            if name.contains('\0') || value.contains('\0') {
                errors.push(FieldError::new(pointer(&name), "holds a NUL character"));
            } else {
                given.entry(name.into_owned()).or_default().push(value.into_owned());
            }
        }
        Ok(Self { given, asked: Vec::new(), errors })
    }
}

fn pointer(name: &str) -> String {
    format!("/{}", pointer_token(name).replace('\0', "\u{FFFD}"))
}

impl Query {
    /// A parameter that may be given once.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.asked.push(name);
        let mut values = self.given.remove(name)?;
        if values.len() > 1 {
            self.wrong(name, "is given more than once, expected once");
        }
        values.pop().filter(|value| !value.is_empty())
    }

    /// A parameter that may be given several times, or with commas between.
    pub fn list<T: FromStr<Err = String>>(&mut self, name: &'static str) -> Vec<T> {
        self.asked.push(name);
        let values = self.given.remove(name).unwrap_or_default();
        let items = values.iter().flat_map(|value| value.split(',')).filter(|item| !item.is_empty());
        let mut read = Vec::new();
        for item in items {
            match item.parse() {
                Ok(item) => read.push(item),
                Err(problem) => self.errors.push(FieldError::new(pointer(name), problem)),
            }
        }
        read
    }

    pub fn time(&mut self, name: &'static str) -> Option<DateTime<Utc>> {
        let text = self.text(name)?;
        match DateTime::parse_from_rfc3339(&text) {
            Ok(time) => Some(time.to_utc()),
            Err(_) => {
                self.wrong(name, &format!("{text:?} is not a time, expected e.g. 2026-11-21T17:00:00Z"));
                None
            }
        }
    }

    pub fn flag(&mut self, name: &'static str) -> bool {
        match self.text(name).as_deref() {
            None | Some("0" | "false") => false,
            Some("1" | "true") => true,
            Some(other) => {
                let problem = format!("{other:?} is not a yes or no, expected 1 or 0");
                self.wrong(name, &problem);
                false
            }
        }
    }

    pub fn limit(&mut self) -> i64 {
        let Some(text) = self.text("limit") else { return DEFAULT_LIMIT };
        match text.parse() {
            Ok(limit @ 1..=MAX_LIMIT) => limit,
            _ => {
                self.wrong("limit", &format!("{text:?} is not a number from 1 to {MAX_LIMIT}"));
                DEFAULT_LIMIT
            }
        }
    }

    /// Where the page before ended.
    pub fn cursor(&mut self) -> Option<Before> {
        let text = self.text("cursor")?;
        let before = decode_cursor(&text);
        if before.is_none() {
            self.wrong("cursor", "is not a cursor, expected next_cursor of the page before");
        }
        before
    }

    /// `prefix.KEY=VALUE` parameters.
    pub fn prefixed(&mut self, prefix: &'static str) -> Vec<(String, String)> {
        self.asked.push(prefix);
        let dotted = format!("{prefix}.");
        let names: Vec<String> = self.given.keys().filter(|name| name.starts_with(&dotted)).cloned().collect();
        let mut pairs = Vec::new();
        for name in names {
            let values = self.given.remove(&name).unwrap_or_default();
            let key = name[dotted.len()..].to_owned();
            if let ([value], false) = (values.as_slice(), key.is_empty()) {
                pairs.push((key, value.clone()));
            } else {
                let problem = format!("expected {dotted}KEY=VALUE, each key once");
                self.errors.push(FieldError::new(pointer(&name), problem));
            }
        }
        pairs
    }

    pub fn wrong(&mut self, name: &str, problem: &str) {
        self.errors.push(FieldError::new(pointer(name), problem));
    }

    /// All has been asked for: is there something left or wrong?
    pub fn end(mut self) -> Result<(), Problem> {
        for name in self.given.keys() {
            let hint = nearest_hint(name, self.asked.iter().copied());
            let problem = format!("unknown parameter{hint}, expected one of {}", self.asked.join(", "));
            self.errors.push(FieldError::new(pointer(name), problem));
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::bad_query(self.errors)) }
    }
}

/// An opaque place in a list.
pub fn encode_cursor(at: DateTime<Utc>, id: Uuid) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}.{}", at.timestamp_micros(), id.simple()))
}

fn decode_cursor(text: &str) -> Option<Before> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (micros, id) = std::str::from_utf8(&bytes).ok()?.split_once('.')?;
    Some(Before { at: DateTime::from_timestamp_micros(micros.parse().ok()?)?, id: id.parse().ok()? })
}

/// One page: the first `limit` of `items` (of which one more was asked for), and where the next page begins.
pub fn page<T>(mut items: Vec<T>, limit: i64, cursor: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
    let limit = usize::try_from(limit).unwrap_or_default();
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(cursor);
    (items, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn query(text: &str) -> Query {
        let (mut parts, ()) = http::Request::get(format!("/x?{text}")).body(()).unwrap().into_parts();
        Query::from_request_parts(&mut parts, &()).await.unwrap_or_else(|problem| panic!("{problem:?}"))
    }

    #[tokio::test]
    async fn a_misspelt_parameter_is_refused_with_the_nearest_known_one() {
        let mut query = query("limt=3&status=x").await;
        let _ = (query.limit(), query.text("status"));
        let problem = query.end().unwrap_err();
        assert_eq!(problem.kind, Kind::BadRequest);
        assert_eq!(problem.detail, "/limt: unknown parameter (did you mean \"limit\"?), expected one of limit, status");
    }

    #[tokio::test]
    async fn values_that_cannot_be_read_are_named_all_at_once() {
        let mut query = query("limit=0&cursor=x&created_after=soon&reveal=maybe&lead_id=%00").await;
        let _ =
            (query.limit(), query.cursor(), query.time("created_after"), query.flag("reveal"), query.text("lead_id"));
        let problem = query.end().unwrap_err();
        let pointers: Vec<_> = problem.errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/lead_id", "/limit", "/cursor", "/created_after", "/reveal"]);
    }

    #[tokio::test]
    async fn metadata_parameters_carry_their_key() {
        let mut query = query("metadata.campaign_id=123&metadata.a.b=x&metadata.twice=1&metadata.twice=2").await;
        let pairs = query.prefixed("metadata");
        assert_eq!(pairs, [("a.b".into(), "x".into()), ("campaign_id".into(), "123".to_owned())]);
        assert!(query.end().unwrap_err().detail.contains("each key once"));
    }

    #[test]
    fn a_cursor_comes_back_as_it_went_out() {
        let at = DateTime::from_timestamp_micros(1_763_686_124_123_456).unwrap();
        let id = Uuid::from_u128(7);
        assert_eq!(decode_cursor(&encode_cursor(at, id)), Some(Before { at, id }));
        assert_eq!(decode_cursor("AAAA"), None);
    }

    #[test]
    fn the_last_page_has_no_next_cursor() {
        assert_eq!(page(vec![1, 2], 2, ToString::to_string), (vec![1, 2], None));
        assert_eq!(page(vec![1, 2, 3], 2, ToString::to_string), (vec![1, 2], Some("2".into())));
    }

    #[test]
    fn json_is_told_by_its_media_type() {
        assert!(is_json("application/json; charset=utf-8") && is_json("application/cloudevents+json"));
        assert!(!is_json("text/plain") && !is_json(""));
    }
}
