//! Where a recording comes from: the row, an `https:` address, an `s3:` address.

use http::{HeaderMap, Method};
use url::Url;

use super::{Inner, Trouble};
use crate::egress::EgressError;
use crate::job::{TranscribeData, s3_place};
use crate::store::speech_jobs::LeasedSpeechJob;

impl Inner {
    /// The recording's bytes, as they are.
    pub(super) async fn recording(&self, job: &LeasedSpeechJob, data: &TranscribeData) -> Result<Vec<u8>, Trouble> {
        let Some(url) = &data.audio_url else {
            let input = self.store.speech_job_input(job.id).await?;
            return input
                .ok_or_else(|| Trouble::Hopeless("source_gone", "the recording is no longer in the row".into()));
        };
        match s3_place(url) {
            Some((bucket, key)) => self.s3.get(&bucket, &key, self.settings.max_bytes).await,
            None => self.download(url).await,
        }
    }

    async fn download(&self, url: &Url) -> Result<Vec<u8>, Trouble> {
        let most = self.settings.max_bytes;
        let asked = self.client.request(Method::GET, url, HeaderMap::new(), None, most).await;
        let reply = asked.map_err(|error| match error {
            EgressError::Forbidden(text) => Trouble::Hopeless("source_forbidden", format!("audio_url: {text}")),
            EgressError::Failed(text) => Trouble::Passing("source_unavailable", format!("audio_url: {text}")),
        })?;
        let status = reply.status;
        match status {
            200 if reply.truncated && reply.body.len() >= most => Err(too_large(most)),
            200 if reply.truncated => {
                Err(Trouble::Passing("source_unavailable", "audio_url: the download ended early".into()))
            }
            200 => Ok(reply.body.into()),
            408 | 425 | 429 | 500..=599 => {
                Err(Trouble::Passing("source_unavailable", format!("audio_url: HTTP {status}")))
            }
            300..=399 => Err(Trouble::Hopeless(
                "source_refused",
                format!("audio_url: HTTP {status}, redirects are not followed"),
            )),
            _ => Err(Trouble::Hopeless("source_refused", format!("audio_url: HTTP {status}"))),
        }
    }
}

pub(super) fn too_large(most: usize) -> Trouble {
    Trouble::Hopeless("too_large", format!("the recording has more than {most} bytes (speech.jobs.max_bytes)"))
}
