//! Credentials, as headers of requests.
//!
//! A service account's key makes its own tokens (a signed JWT, no request); other kinds ask Google for them. Tokens are
//! cached and renewed before they expire by `google-cloud-auth`. A token that is refused all the same is thrown away once.

use std::path::Path;

use google_cloud_auth::credentials::{self, CacheableResource, Credentials};
use http::{Extensions, HeaderMap};
use tokio::sync::Mutex;

use super::fault::{Fault, FaultKind};
use crate::speech::SpeechErrorKind;

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

pub struct Auth {
    /// `None`: application default credentials.
    key: Option<serde_json::Value>,
    quota_project: Option<String>,
    /// Made at the first request: renewing takes a running program.
    credentials: Mutex<Option<Credentials>>,
}

impl Auth {
    /// # Errors
    /// The file cannot be read, or is no credentials file.
    pub fn new(file: &Path, quota_project: &str) -> Result<Self, String> {
        let key = match file.as_os_str().is_empty() {
            true => None,
            false => Some(read(file).map_err(|problem| format!("{}: {problem}", file.display()))?),
        };
        let quota_project = Some(quota_project.to_owned()).filter(|project| !project.is_empty());
        Ok(Self { key, quota_project, credentials: Mutex::new(None) })
    }

    /// The project that the credentials belong to, where they say so.
    pub fn project(&self) -> Option<String> {
        let key = self.key.as_ref()?;
        let project = key.get("project_id").or_else(|| key.get("quota_project_id"))?;
        project.as_str().map(str::to_owned)
    }

    /// `authorization`, and `x-goog-user-project` where one is set.
    pub async fn headers(&self) -> Result<HeaderMap, Fault> {
        let credentials = {
            let mut slot = self.credentials.lock().await;
            match &*slot {
                Some(credentials) => credentials.clone(),
                None => slot.insert(self.make()?).clone(),
            }
        };
        match credentials.headers(Extensions::new()).await {
            Ok(CacheableResource::New { data, .. }) => Ok(data),
            Ok(CacheableResource::NotModified) => Err(unreachable_headers()),
            Err(error) => {
                let kind = if error.is_transient() { SpeechErrorKind::Unavailable } else { SpeechErrorKind::Account };
                let detail = format!("credentials: {error}: {}", crate::text::causes(&error));
                Err(Fault::new(FaultKind::Error(kind), detail))
            }
        }
    }

    /// The token was refused: the next one is made anew.
    pub async fn renew(&self) {
        *self.credentials.lock().await = None;
    }

    fn make(&self) -> Result<Credentials, Fault> {
        let quota = self.quota_project.clone();
        let built = match &self.key {
            None => {
                let builder = credentials::Builder::default().with_scopes([SCOPE]);
                quota.into_iter().fold(builder, credentials::Builder::with_quota_project_id).build()
            }
            Some(key) => of_key(key.clone(), quota)?,
        };
        built.map_err(|error| account(format!("credentials: {error}: {}", crate::text::causes(&error))))
    }
}

type Built = Result<Credentials, google_cloud_auth::build_errors::Error>;

fn of_key(key: serde_json::Value, quota: Option<String>) -> Result<Built, Fault> {
    use credentials::{external_account, impersonated, service_account, user_account};
    Ok(match kind(&key) {
        "service_account" => {
            let access = service_account::AccessSpecifier::from_scopes([SCOPE]);
            let builder = service_account::Builder::new(key).with_access_specifier(access);
            quota.into_iter().fold(builder, service_account::Builder::with_quota_project_id).build()
        }
        "authorized_user" => {
            let builder = user_account::Builder::new(key).with_scopes([SCOPE]);
            quota.into_iter().fold(builder, user_account::Builder::with_quota_project_id).build()
        }
        "impersonated_service_account" => {
            let builder = impersonated::Builder::new(key).with_scopes([SCOPE]);
            quota.into_iter().fold(builder, impersonated::Builder::with_quota_project_id).build()
        }
        "external_account" => {
            let builder = external_account::Builder::new(key).with_scopes([SCOPE]);
            quota.into_iter().fold(builder, external_account::Builder::with_quota_project_id).build()
        }
        other => return Err(account(format!("credentials of the unknown type {other:?}"))),
    })
}

fn kind(key: &serde_json::Value) -> &str {
    key.get("type").and_then(serde_json::Value::as_str).unwrap_or_default()
}

fn read(file: &Path) -> Result<serde_json::Value, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let key: serde_json::Value = serde_json::from_str(&text).map_err(|_| "is not JSON".to_owned())?;
    match kind(&key) {
        "service_account" | "authorized_user" | "impersonated_service_account" | "external_account" => Ok(key),
        "" => Err("has no type, expected Google credentials".into()),
        other => Err(format!("has the unknown type {other:?}, expected Google credentials")),
    }
}

fn account(detail: String) -> Fault {
    Fault::new(FaultKind::Error(SpeechErrorKind::Account), detail)
}

/// Headers are asked for without a tag, so they always come whole.
fn unreachable_headers() -> Fault {
    Fault::new(FaultKind::Error(SpeechErrorKind::Unreadable), "credentials gave no headers")
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Auth({})", self.key.as_ref().map_or("default credentials", kind))
    }
}
