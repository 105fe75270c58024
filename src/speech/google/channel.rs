//! Connections to Google: warm channels per endpoint, a bound on what goes on at once, and headers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use googleapis_tonic_google_cloud_speech_v2::google::cloud::speech::v2::speech_client::SpeechClient;
use googleapis_tonic_google_cloud_texttospeech_v1::google::cloud::texttospeech::v1::text_to_speech_client::TextToSpeechClient;
use http::HeaderValue;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use super::auth::Auth;
use super::fault::{Fault, FaultKind};
use crate::config::{Authorize, GoogleSpeech, endpoint_of};
use crate::speech::SpeechErrorKind;

/// Google allows a hundred streams on a connection.
const STREAMS_ON_CHANNEL: usize = 50;
/// 87 seconds of speech are more than gRPC's usual 4 MiB.
const LONGEST_ANSWER: usize = 64 << 20;

#[derive(Debug)]
pub struct Channels {
    auth: Auth,
    authorize: Authorize,
    stt_endpoint: String,
    tts_endpoint: String,
    connect_timeout: Duration,
    patience: Duration,
    permits: Arc<Semaphore>,
    channels_per_address: usize,
    channels: Mutex<HashMap<String, Vec<Channel>>>,
    next: AtomicUsize,
}

/// A connection with the right to use it.
pub struct Line<Client> {
    pub client: Client,
    pub headers: MetadataMap,
    _permit: OwnedSemaphorePermit,
}

impl Channels {
    pub fn new(settings: &GoogleSpeech, auth: Auth) -> Self {
        Self {
            auth,
            authorize: settings.authorize,
            stt_endpoint: settings.stt_endpoint.clone(),
            tts_endpoint: settings.tts_endpoint.clone(),
            connect_timeout: settings.connect_timeout,
            patience: settings.connect_timeout,
            permits: Arc::new(Semaphore::new(settings.max_concurrent)),
            channels_per_address: settings.max_concurrent.div_ceil(STREAMS_ON_CHANNEL),
            channels: Mutex::default(),
            next: AtomicUsize::new(0),
        }
    }

    pub async fn stt(&self, location: &str) -> Result<Line<SpeechClient<Channel>>, Fault> {
        let address = address(&self.stt_endpoint, "speech", location);
        let (channel, headers, permit) = self.line(&address).await?;
        let client = SpeechClient::new(channel).max_decoding_message_size(LONGEST_ANSWER);
        Ok(Line { client, headers, _permit: permit })
    }

    pub async fn tts(&self, location: &str) -> Result<Line<TextToSpeechClient<Channel>>, Fault> {
        let address = address(&self.tts_endpoint, "texttospeech", location);
        let (channel, headers, permit) = self.line(&address).await?;
        let client = TextToSpeechClient::new(channel).max_decoding_message_size(LONGEST_ANSWER);
        Ok(Line { client, headers, _permit: permit })
    }

    /// The token was refused.
    pub async fn renew(&self) {
        self.auth.renew().await;
    }

    async fn line(&self, address: &str) -> Result<(Channel, MetadataMap, OwnedSemaphorePermit), Fault> {
        let permit = tokio::time::timeout(self.patience, self.permits.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            let detail = "as many streams and requests as speech.google.max_concurrent allows";
            return Err(Fault::new(FaultKind::Error(SpeechErrorKind::Busy), detail));
        };
        let authorize = match self.authorize {
            Authorize::Https => address.starts_with("https:"),
            Authorize::Always => true,
            Authorize::Never => false,
        };
        let headers = if authorize { self.auth.headers().await? } else { http::HeaderMap::new() };
        Ok((self.channel(address).await?, MetadataMap::from_headers(headers), permit))
    }

    async fn channel(&self, address: &str) -> Result<Channel, Fault> {
        let mut known = self.channels.lock().await;
        let channels = match known.get(address) {
            Some(channels) => channels,
            None => {
                let make = |_| self.connect(address);
                let made: Result<Vec<_>, _> = (0..self.channels_per_address).map(make).collect();
                let made = made.map_err(|error| {
                    let detail = format!("{address}: {error}: {}", crate::text::causes(&error));
                    Fault::new(FaultKind::Error(SpeechErrorKind::Request), detail)
                })?;
                known.entry(address.to_owned()).or_insert(made)
            }
        };
        let n = self.next.fetch_add(1, Ordering::Relaxed) % channels.len();
        Ok(channels[n].clone())
    }

    /// Connects at the first request. Pings find a dead connection within half a minute.
    fn connect(&self, address: &str) -> Result<Channel, tonic::transport::Error> {
        let mut endpoint = Endpoint::from_shared(address.to_owned())?
            .user_agent(concat!("voxd/", env!("CARGO_PKG_VERSION")))?
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true);
        if address.starts_with("https:") {
            endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots())?;
        }
        Ok(endpoint.connect_lazy())
    }
}

/// Google's host names: `global` has none of its own.
fn address(endpoint: &str, service: &str, location: &str) -> String {
    match endpoint_of(endpoint) {
        Ok(Some(url)) => url.as_str().trim_end_matches('/').to_owned(),
        _ if location == "global" || location.is_empty() => format!("https://{service}.googleapis.com"),
        _ => format!("https://{location}-{service}.googleapis.com"),
    }
}

/// A header of calls that are not streams: what they are about.
pub fn about(headers: &mut MetadataMap, name: &str, value: &str) {
    let value: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
    if let Ok(value) = HeaderValue::from_str(&format!("{name}={value}"))
        && let Ok(value) = value.to_str().unwrap_or_default().parse()
    {
        headers.insert("x-goog-request-params", value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_follow_locations_and_endpoints_stand_above_them() {
        assert_eq!(address("", "speech", "global"), "https://speech.googleapis.com");
        assert_eq!(address("", "speech", "us-central1"), "https://us-central1-speech.googleapis.com");
        assert_eq!(address("", "texttospeech", "eu"), "https://eu-texttospeech.googleapis.com");
        assert_eq!(address("http://127.0.0.1:5/", "speech", "eu"), "http://127.0.0.1:5");
    }
}
