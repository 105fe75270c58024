//! Who may call: tokens are looked at as far as one can without Google's keys.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use http::HeaderMap;
use serde::Deserialize;
use tonic::{Code, Status};

use super::status::status;
use crate::clock::Monotonic;

/// A self-signed token lives an hour, and clocks differ by a little.
const LONGEST_LIFE_S: i64 = 3600 + 30;
const SKEW_S: i64 = 10;
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// Nobody is asked.
    None,
    /// A bearer token that looks right: an access token (`ya29.…`), or a self-signed JWT with the claims that Google wants;
    /// its signature is not checked.
    Bearer {
        /// A token is good for so long after it was first seen; `None`: as long as it says.
        life: Option<Duration>,
        /// These are a user's credentials: they need `x-goog-user-project`.
        user: bool,
    },
    /// Every token has expired.
    Expired,
}

impl Auth {
    pub const BEARER: Self = Self::Bearer { life: None, user: false };
}

/// When tokens were first seen.
pub(super) type Seen = HashMap<String, Monotonic>;

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    scope: Option<String>,
    aud: Option<String>,
    iat: i64,
    exp: i64,
}

/// `life` in `auth` is on the machine's clock here.
pub(super) fn check(
    auth: &Auth,
    headers: &HeaderMap,
    seen: &mut Seen,
    (now, instant): (DateTime<Utc>, Monotonic),
) -> Result<(), Status> {
    let Auth::Bearer { life, user } = auth else {
        return if *auth == Auth::None { Ok(()) } else { Err(refused()) };
    };
    let header = headers.get("authorization").and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(missing)?;
    let opaque = token.strip_prefix("ya29.").is_some_and(|rest| rest.len() >= 8);
    if !opaque && !claims(token).is_some_and(|claims| claims.are_good(now.timestamp())) {
        return Err(refused());
    }
    if let Some(life) = life {
        let first = *seen.entry(token.to_owned()).or_insert(instant);
        if instant.duration_since(first) > *life {
            return Err(refused());
        }
    }
    if *user && !headers.contains_key("x-goog-user-project") {
        return Err(status(
            Code::PermissionDenied,
            "Your application is authenticating by using local Application Default Credentials. The speech.googleapis.com \
             API requires a quota project, which is not set by default.",
        ));
    }
    Ok(())
}

fn claims(token: &str) -> Option<Claims> {
    let mut parts = token.split('.');
    let (header, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
    if signature.is_empty() || parts.next().is_some() {
        return None;
    }
    let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
    let header: serde_json::Value = serde_json::from_slice(&decoded(header)?).ok()?;
    decoded(signature)?;
    (header["alg"] == "RS256").then(|| serde_json::from_slice(&decoded(claims)?).ok()).flatten()
}

impl Claims {
    fn are_good(&self, now: i64) -> bool {
        let scope = self.scope.as_deref().is_some_and(|scope| scope.split(' ').any(|one| one == SCOPE));
        let audience = self.aud.as_deref().is_some_and(|aud| aud.contains("googleapis.com"));
        self.iss == self.sub
            && scope != audience
            && self.scope.is_some() != self.aud.is_some()
            && self.iat <= now + SKEW_S
            && self.exp > now
            && self.exp - self.iat <= LONGEST_LIFE_S
    }
}

fn refused() -> Status {
    status(
        Code::Unauthenticated,
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid \
         authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
    )
}

fn missing() -> Status {
    status(
        Code::Unauthenticated,
        "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other valid \
         authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
    )
}
