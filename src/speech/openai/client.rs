//! Requests to the server: in time, within bounds, with errors sorted by what is to be done about them.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{RequestBuilder, Response};
use serde::Deserialize;
use serde_json::Value;

use super::transcript::{Form, Transcript};
use super::{SpeechError, SpeechErrorKind, error};
use crate::clock;
use crate::config::{self, Secret};
use crate::retry::Waits;
use crate::text::causes;

/// Of what a server says about an error.
const MAX_ERROR_BYTES: usize = 16 * 1024;
const MAX_DETAIL_CHARS: usize = 300;
/// Between tries.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Of the server's own wish to wait.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(30);

/// One try that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub error: SpeechError,
    /// The server's wish, clamped.
    pub again_in: Option<Duration>,
}

impl From<SpeechError> for Failure {
    fn from(error: SpeechError) -> Self {
        Self { error, again_in: None }
    }
}

pub(super) struct Client {
    http: reqwest::Client,
    /// Without a slash at its end.
    url: String,
    api_key: Secret,
    timeout: Duration,
    tries: u32,
    max_answer_bytes: usize,
}

impl Client {
    pub fn new(settings: &config::OpenAi) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(settings.connect_timeout)
            // Shorter than the idle limits of common load balancers.
            .pool_idle_timeout(Duration::from_secs(10))
            .user_agent(concat!("voxd/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self {
            http,
            url: settings.url.trim_end_matches('/').to_owned(),
            api_key: settings.api_key.clone(),
            timeout: settings.request_timeout,
            tries: settings.tries,
            max_answer_bytes: settings.max_answer_bytes,
        })
    }

    /// One try.
    pub async fn transcribe(&self, form: &Form) -> Result<Transcript, Failure> {
        let request = self.request("audio/transcriptions").multipart(form.to_multipart()?).timeout(self.timeout);
        let response = self.checked(request.send().await).await?;
        let (body, whole) = read(response, self.max_answer_bytes).await.map_err(|error| self.unreached(&error))?;
        if !whole {
            let detail = format!("the answer is longer than {} bytes", self.max_answer_bytes);
            return Err(error(SpeechErrorKind::Unreadable, detail).into());
        }
        Ok(Transcript::parse(&body).map_err(|problem| error(SpeechErrorKind::Unreadable, problem))?)
    }

    /// One try; the sound is still to be read.
    pub async fn open_speech(&self, body: &Value) -> Result<Response, Failure> {
        let sending = self.request("audio/speech").json(body).send();
        let sent = tokio::time::timeout(self.timeout, sending).await.map_err(|_| late())?;
        let response = self.checked(sent).await?;
        let header = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = header.to_ascii_lowercase();
        // Raw samples look like anything: what calls itself a text is none.
        if ["text/", "application/json", "application/problem"].iter().any(|text| kind.starts_with(text)) {
            let detail = format!("the answer's type is {:?}, expected sound", shortened(header));
            return Err(error(SpeechErrorKind::Unreadable, detail).into());
        }
        Ok(response)
    }

    /// The next piece of sound; `None` at its end.
    pub async fn next_piece(&self, response: &mut Response) -> Result<Option<Bytes>, Failure> {
        let piece = tokio::time::timeout(self.timeout, response.chunk()).await.map_err(|_| late())?;
        Ok(piece.map_err(|error| self.unreached(&error))?)
    }

    /// Of one recording or text.
    pub fn tries(&self) -> Tries {
        Tries { left: self.tries.saturating_sub(1), waits: waits() }
    }

    fn request(&self, path: &str) -> RequestBuilder {
        let request = self.http.post(format!("{}/{path}", self.url));
        if self.api_key.is_empty() { request } else { request.bearer_auth(self.api_key.expose()) }
    }

    async fn checked(&self, sent: reqwest::Result<Response>) -> Result<Response, Failure> {
        let response = sent.map_err(|error| self.unreached(&error))?;
        let status = response.status().as_u16();
        if response.status().is_success() {
            return Ok(response);
        }
        let again_in = retry_after(&response);
        let reading = tokio::time::timeout(self.timeout, read(response, MAX_ERROR_BYTES)).await;
        let body = reading.ok().and_then(Result::ok).map(|(body, _)| body).unwrap_or_default();
        let (said, code) = words_of(&body);
        let kind = kind_of(status, code.as_deref());
        let said = if said.is_empty() { String::new() } else { format!(": {}", self.clean(&said)) };
        Err(Failure { error: error(kind, format!("HTTP {status}{said}")), again_in })
    }

    fn unreached(&self, cause: &reqwest::Error) -> SpeechError {
        let what = if cause.is_timeout() {
            "no answer in time"
        } else if cause.is_connect() {
            "cannot be reached"
        } else {
            "the connection broke"
        };
        let causes = causes(cause);
        let detail = if causes.is_empty() { what.to_owned() } else { format!("{what}: {causes}") };
        error(SpeechErrorKind::Unavailable, self.clean(&detail))
    }

    /// Without our key, which servers like to repeat, and without what does not belong into a log's line.
    fn clean(&self, text: &str) -> String {
        let key = self.api_key.expose();
        let text = if key.is_empty() { text.to_owned() } else { text.replace(key, "[secret]") };
        shortened(&text)
    }
}

/// How often something is tried again.
pub(super) struct Tries {
    left: u32,
    waits: Waits,
}

impl Tries {
    /// Waits for the next try.
    ///
    /// # Errors
    /// The failure does not pass, or the tries are used up.
    pub async fn again(&mut self, failure: Failure) -> Result<(), SpeechError> {
        if self.left == 0 || !failure.error.kind.is_passing() {
            return Err(failure.error);
        }
        self.left -= 1;
        clock::sleep(wait(&failure, &mut self.waits)).await;
        Ok(())
    }
}

/// How long to wait after a failure that passes.
pub(super) fn wait(failure: &Failure, waits: &mut Waits) -> Duration {
    failure.again_in.unwrap_or_default().max(waits.next_wait())
}

pub(super) fn waits() -> Waits {
    Waits::new(FIRST_WAIT, LONGEST_WAIT)
}

fn late() -> SpeechError {
    error(SpeechErrorKind::Unavailable, "no answer in time")
}

fn shortened(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_DETAIL_CHARS).collect()
}

/// What was read, and whether that is all.
async fn read(mut response: Response, most: usize) -> reqwest::Result<(Bytes, bool)> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        let room = most - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Ok((body.freeze(), false));
        }
    }
    Ok((body.freeze(), true))
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse::<f64>().ok()?;
    let seconds = seconds.clamp(0.0, LONGEST_RETRY_AFTER.as_secs_f64());
    Duration::try_from_secs_f64(seconds).ok()
}

/// OpenAI's 429 is also how it says that the money is used up, which does not pass.
fn kind_of(status: u16, code: Option<&str>) -> SpeechErrorKind {
    match status {
        429 if code == Some("insufficient_quota") => SpeechErrorKind::Account,
        429 => SpeechErrorKind::Busy,
        401..=403 | 407 => SpeechErrorKind::Account,
        408 | 425 | 500..=599 => SpeechErrorKind::Unavailable,
        _ => SpeechErrorKind::Request,
    }
}

/// What the server says, and its code: OpenAI's `{"error": {message, code}}`, FastAPI's `{"detail": …}`, or plain text.
fn words_of(body: &[u8]) -> (String, Option<String>) {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Said {
        error: Value,
        detail: Value,
        message: Value,
    }
    let Ok(said) = serde_json::from_slice::<Said>(body) else {
        return (String::from_utf8_lossy(body).trim().to_owned(), None);
    };
    let code = said.error["code"].as_str().or_else(|| said.error["type"].as_str()).map(str::to_owned);
    let texts = [&said.error["message"], &said.error, &said.detail, &said.message];
    let text = texts.into_iter().find(|text| !text.is_null()).map(|text| match text.as_str() {
        Some(text) => text.to_owned(),
        None => text.to_string(),
    });
    (text.unwrap_or_default(), code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_carry_the_decision() {
        use SpeechErrorKind::{Account, Busy, Request, Unavailable};
        let expected = [
            (400, Request),
            (404, Request),
            (413, Request),
            (422, Request),
            (301, Request),
            (401, Account),
            (403, Account),
            (429, Busy),
            (408, Unavailable),
            (500, Unavailable),
            (503, Unavailable),
        ];
        for (status, kind) in expected {
            assert_eq!(kind_of(status, None), kind, "{status}");
        }
        assert_eq!(kind_of(429, Some("insufficient_quota")), Account);
    }

    #[test]
    fn errors_are_read_in_every_common_shape() {
        let words = |body: &str| words_of(body.as_bytes());
        let openai = r#"{"error": {"message": "No.", "type": "invalid_request_error", "param": null, "code": "x"}}"#;
        assert_eq!(words(openai), ("No.".into(), Some("x".into())));
        assert_eq!(words(r#"{"error": "model is loading"}"#), ("model is loading".into(), None));
        assert_eq!(words(r#"{"detail": "Model not found"}"#), ("Model not found".into(), None));
        assert_eq!(words(r#"{"detail": [{"loc": ["body"]}]}"#), (r#"[{"loc":["body"]}]"#.into(), None));
        assert_eq!(words("Bad Gateway\n"), ("Bad Gateway".into(), None));
    }
}
