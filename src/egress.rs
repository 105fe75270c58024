//! The guard on requests to addresses that producers bring along (`webhook_config.url`, audio to download).
//!
//! Such an address must not reach what only this machine can reach. The rule is judged on the address that is connected
//! to: names are resolved by our own resolver, which gives the connector public addresses only, so that a name that
//! changes its mind between a check and the connection gains nothing. No redirects, no proxy, bounded answers, https only.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::config;
use crate::text::causes;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends requests to addresses from outside. Cheap to clone; connections are shared.
#[derive(Clone)]
pub struct GuardedClient {
    http: reqwest::Client,
    allow_private: bool,
    timeout: Duration,
}

/// A complete answer, or its beginning.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    /// At most the bytes that were asked for.
    pub body: Bytes,
    /// The body was longer, or ended early.
    pub truncated: bool,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// The address itself is not allowed; asking again will not help.
    #[error("{0}")]
    Forbidden(String),
    /// Not reached, cut off, too slow, or a name that leads to private addresses only (names can change).
    #[error("{0}")]
    Failed(String),
}

impl GuardedClient {
    /// `timeout` covers a request from the look-up of its name to the answer's last byte.
    ///
    /// # Errors
    /// The TLS set-up of this machine cannot be used.
    pub fn new(egress: &config::Egress, timeout: Duration) -> Result<Self, reqwest::Error> {
        let allow_private = egress.allow_private_addresses;
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .dns_resolver(GuardedResolver { allow_private })
            .connect_timeout(CONNECT_TIMEOUT.min(timeout))
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(4)
            .user_agent(concat!("voxd/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { http, allow_private, timeout })
    }

    /// One request; reads at most `max_bytes` of the answer.
    pub async fn request(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Option<Bytes>,
        max_bytes: usize,
    ) -> Result<Reply, EgressError> {
        check_url(url, self.allow_private).map_err(EgressError::Forbidden)?;
        let mut request = self.http.request(method, url.clone()).headers(headers).timeout(self.timeout);
        if let Some(body) = body {
            request = request.body(body);
        }
        let mut response = request.send().await.map_err(|error| EgressError::Failed(describe(&error)))?;
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let mut body = BytesMut::new();
        let truncated = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    let room = max_bytes - body.len();
                    body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                    if chunk.len() > room {
                        break true;
                    }
                }
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        Ok(Reply { status, headers, body: body.freeze(), truncated })
    }
}

/// What can be said of an address before anything is resolved: its scheme, and its host where that is an IP address.
///
/// # Errors
/// What is not allowed, and the setting that would allow it.
pub fn check_url(url: &Url, allow_private: bool) -> Result<(), String> {
    match url.scheme() {
        "https" => {}
        "http" if allow_private => {}
        "http" => return Err("http: is not allowed, expected https: (egress.allow_private_addresses is off)".into()),
        other => return Err(format!("{other}: is not allowed, expected https:")),
    }
    let address: IpAddr = match url.host() {
        Some(Host::Ipv4(address)) => address.into(),
        Some(Host::Ipv6(address)) => address.into(),
        Some(Host::Domain(_)) => return Ok(()),
        None => return Err("has no host".into()),
    };
    if allow_private || is_public(address) { Ok(()) } else { Err(not_public(&address.to_string())) }
}

fn not_public(what: &str) -> String {
    format!("{what} is not a public address (egress.allow_private_addresses is off)")
}

/// Whether an address is one of the public internet, by the registries of special addresses (RFC 6890 and its updates).
/// An IPv6 address that carries an IPv4 address (mapped, 6to4, NAT64) is what it carries.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = match address.octets() {
        // This network; private; loopback.
        [0 | 10 | 127, ..] => true,
        // Shared by carriers, and Alibaba's metadata service.
        [100, 64..=127, ..] => true,
        // Link-local, with the metadata services of AWS, Google, Azure and most others.
        [169, 254, ..] => true,
        [172, 16..=31, ..] | [192, 168, ..] => true,
        // Protocol assignments (Oracle's metadata service too), documentation, 6to4 relays, benchmarks.
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => true,
        // Azure's host services, at a public address.
        [168, 63, 129, 16] => true,
        // Multicast, reserved, broadcast.
        [224..=255, ..] => true,
        _ => false,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let carried = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // IPv4-mapped, and NAT64 by the well-known prefix.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => carried(high, low),
        // 6to4.
        [0x2002, high, low, ..] => carried(high, low),
        // Protocol assignments: Teredo, ORCHID, benchmarks, AMT and more.
        [0x2001, 0..=0x1ff, ..] => false,
        // Documentation.
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Nothing outside of global unicast: loopback, link-local, unique local, site-local, multicast, local NAT64.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

struct GuardedResolver {
    allow_private: bool,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed = allowed_of(&found, allow_private);
            if allowed.is_empty() {
                return Err(Box::new(NoPublicAddress(name.as_str().to_owned())) as Box<dyn Error + Send + Sync>);
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

fn allowed_of(found: &[SocketAddr], allow_private: bool) -> Vec<SocketAddr> {
    found.iter().filter(|address| allow_private || is_public(address.ip())).copied().collect()
}

#[derive(Debug)]
struct NoPublicAddress(String);

impl Error for NoPublicAddress {}

impl fmt::Display for NoPublicAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&not_public(&format!("{:?} leads to what", self.0)))
    }
}

/// The error's causes, without the address: its path and query can carry a secret.
fn describe(error: &reqwest::Error) -> String {
    let late = error.is_timeout().then(|| "no answer in time".to_owned());
    let parts = late.into_iter().chain(Some(causes(error)).filter(|text| !text.is_empty()));
    let text = parts.collect::<Vec<_>>().join(": ");
    if text.is_empty() { "the request failed".into() } else { text.chars().take(300).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_and_special_addresses_are_told_from_public_ones() {
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.7",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "2001:4860:4860::8888",
            "2606:4700::1111",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn a_literal_address_is_judged_in_every_spelling() {
        for url in [
            "https://127.0.0.1/x",
            "https://2130706433/x",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:a9fe:a9fe]/latest",
        ] {
            let problem = check_url(&Url::parse(url).unwrap(), false).unwrap_err();
            assert!(problem.contains("allow_private_addresses"), "{url}: {problem}");
            assert_eq!(check_url(&Url::parse(url).unwrap(), true), Ok(()), "{url}");
        }
        assert_eq!(check_url(&Url::parse("https://8.8.8.8/").unwrap(), false), Ok(()));
    }

    #[test]
    fn only_https_unless_allowed() {
        let url = |text| Url::parse(text).unwrap();
        assert!(check_url(&url("http://example.com/"), false).unwrap_err().contains("expected https:"));
        assert_eq!(check_url(&url("http://example.com/"), true), Ok(()));
        assert!(check_url(&url("file:///etc/passwd"), true).is_err());
    }

    #[test]
    fn of_a_names_addresses_only_the_public_ones_are_connected_to() {
        let found: Vec<SocketAddr> =
            ["10.0.0.1:0", "8.8.8.8:0", "[::1]:0"].iter().map(|a| a.parse().unwrap()).collect();
        assert_eq!(allowed_of(&found, false), [found[1]]);
        assert_eq!(allowed_of(&found, true), found);
    }

    #[tokio::test]
    async fn a_name_that_leads_home_is_not_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let egress = config::Egress { allow_private_addresses: false };
        let client = GuardedClient::new(&egress, Duration::from_secs(5)).unwrap();
        let url = Url::parse(&format!("https://localhost:{port}/")).unwrap();
        let problem = client.request(Method::GET, &url, HeaderMap::new(), None, 10).await.unwrap_err();
        assert!(matches!(&problem, EgressError::Failed(text) if text.contains("not a public address")), "{problem:?}");
        let waited = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(waited.is_err(), "somebody connected");
    }
}
