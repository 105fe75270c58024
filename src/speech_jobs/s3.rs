//! Objects of S3 and of what speaks its protocol. `AWS_ENDPOINT_URL_S3` (or `AWS_ENDPOINT_URL`) names another address, whose
//! buckets are then part of the path.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use tokio::sync::OnceCell;

use super::Trouble;
use super::source::too_large;
use crate::clock;

/// Made when the first job needs it: the chain of credentials may ask the network.
pub(super) struct S3 {
    client: OnceCell<Client>,
    timeout: Duration,
}

impl S3 {
    pub fn new(timeout: Duration) -> Self {
        Self { client: OnceCell::new(), timeout }
    }

    /// At most `most` bytes.
    pub async fn get(&self, bucket: &str, key: &str, most: usize) -> Result<Vec<u8>, Trouble> {
        let client = self.client().await?;
        let asked = client.get_object().bucket(bucket).key(key).send().await;
        let mut object = asked.map_err(|error| trouble(&error))?;
        let deadline = clock::monotonic() + self.timeout;
        let mut bytes = Vec::new();
        loop {
            let piece = tokio::time::timeout_at(deadline, object.body.try_next()).await;
            let broken = |text: &str| Trouble::Passing("source_unavailable", format!("s3: {text}"));
            match piece.map_err(|_| broken("not read in time"))?.map_err(|_| broken("the connection broke"))? {
                None => return Ok(bytes),
                Some(piece) if bytes.len() + piece.len() > most => return Err(too_large(most)),
                Some(piece) => bytes.extend_from_slice(&piece),
            }
        }
    }

    pub async fn put(&self, bucket: &str, key: &str, mime: &str, bytes: Vec<u8>) -> Result<(), Trouble> {
        let put = self.client().await?.put_object().bucket(bucket).key(key).content_type(mime);
        put.body(ByteStream::from(bytes)).send().await.map_err(|error| trouble(&error))?;
        Ok(())
    }

    async fn client(&self) -> Result<&Client, Trouble> {
        let make = async || {
            let timeouts = TimeoutConfig::builder().operation_timeout(self.timeout).build();
            let shared = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts).load().await;
            if shared.region().is_none() {
                return Err(Trouble::Passing(
                    "s3_off",
                    "no AWS region is set, expected e.g. AWS_REGION=us-east-1".into(),
                ));
            }
            let own = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"].iter().any(|name| std::env::var_os(name).is_some());
            let config = aws_sdk_s3::config::Builder::from(&shared)
                .force_path_style(own)
                // Other stores than AWS's know no checksums behind a body.
                .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
                .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
                .build();
            Ok(Client::from_conf(config))
        };
        self.client.get_or_try_init(make).await
    }
}

/// Without addresses and ids: the code and what S3 says about it.
fn trouble<E: ProvideErrorMetadata + std::error::Error + 'static>(error: &SdkError<E>) -> Trouble {
    let SdkError::ServiceError(service) = error else {
        let text: String = DisplayErrorContext(error).to_string().chars().take(300).collect();
        return Trouble::Passing("s3_unavailable", format!("s3: {text}"));
    };
    let status = service.raw().status().as_u16();
    let (code, said) = (service.err().code().unwrap_or("no code"), service.err().message().unwrap_or_default());
    let text: String = format!("s3: {code}: {said}").chars().take(300).collect();
    match status {
        408 | 429 | 500..=599 => Trouble::Passing("s3_unavailable", text),
        // Rights are given and keys renewed while jobs wait.
        401 | 403 => Trouble::Passing("s3_account", text),
        _ => Trouble::Hopeless("s3_refused", text),
    }
}
