//! Twilio's webhook signature (docs `usage/webhooks/webhooks-security`, 2026-08).
//!
//! `X-Twilio-Signature` is the base64 HMAC-SHA1, keyed with the account's auth token (also where REST uses an API key), of the
//! full address as Twilio was given it (without fragment), followed, for a form, by every parameter's name and value, sorted by
//! name. For any other body the address has `bodySHA256=` and the address alone is signed. There is no time stamp: a replay is
//! told only by its content (the inbox does).

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use subtle::ConstantTimeEq;
use url::{Url, form_urlencoded};

use super::super::{SignatureError, VerifiedBy};
use crate::config::Secret;

pub const SIGNATURE_HEADER: &str = "x-twilio-signature";
const FORM: &str = "application/x-www-form-urlencoded";

/// One key per secret, made once.
pub struct Verifier {
    keys: Vec<hmac::Key>,
}

impl Verifier {
    pub fn new(secrets: &[Secret]) -> Self {
        let keys = secrets.iter().filter(|secret| !secret.is_empty());
        let key = |secret: &Secret| hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.expose().as_bytes());
        Self { keys: keys.map(key).collect() }
    }

    /// `url` is the public address that Twilio called, query as it came. Fails closed: without a secret nothing is believed.
    pub fn verify(&self, headers: &HeaderMap, url: &str, body: &[u8]) -> Result<VerifiedBy, SignatureError> {
        if self.keys.is_empty() {
            return Err(SignatureError::NoSecret);
        }
        let given = headers.get(SIGNATURE_HEADER).ok_or(SignatureError::Missing)?;
        let tag = BASE64_STANDARD.decode(given.as_bytes()).map_err(|_| SignatureError::Mismatch)?;
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let parameters = if content_type.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(FORM)) {
            parameters(body)
        } else if names_body(url, body) {
            String::new()
        } else {
            // Signed or not, the signature says nothing about this body.
            return Err(SignatureError::Mismatch);
        };
        // Every key and every spelling is tried, in constant time each, so that time does not tell which one matched.
        let mut matched = None;
        for (index, key) in self.keys.iter().enumerate() {
            for spelling in spellings(url) {
                let signed = format!("{spelling}{parameters}");
                if hmac::verify(key, signed.as_bytes(), &tag).is_ok() && matched.is_none() {
                    matched = Some(index);
                }
            }
        }
        match matched {
            Some(0) => Ok(VerifiedBy("hmac_sha1".into())),
            Some(index) => Ok(VerifiedBy(format!("hmac_sha1#{}", index + 1))),
            None => Err(SignatureError::Mismatch),
        }
    }
}

/// Names and values, sorted. A name that comes several times stands once with each of its values, as the vendor's own
/// libraries have it.
fn parameters(body: &[u8]) -> String {
    let mut pairs: Vec<_> = form_urlencoded::parse(body).collect();
    pairs.sort();
    pairs.dedup();
    pairs.iter().flat_map(|(name, value)| [name.as_ref(), value.as_ref()]).collect()
}

/// Whether the address holds this body's hash.
fn names_body(url: &str, body: &[u8]) -> bool {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let given = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "bodySHA256");
    let hash: String =
        digest::digest(&digest::SHA256, body).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    given.is_some_and(|(_, value)| bool::from(value.to_ascii_lowercase().as_bytes().ct_eq(hash.as_bytes())))
}

/// The ways in which one address may have been signed: with and without its port, with and without a slash at the path's end
/// (the docs are not exact about either). The query stays byte for byte.
fn spellings(url: &str) -> Vec<String> {
    let mut all = vec![url.to_owned()];
    let Ok(parsed) = Url::parse(url) else { return all };
    let Some((scheme, rest)) = url.split_once("://") else { return all };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (path, query) = tail.find('?').map_or((tail, ""), |at| tail.split_at(at));
    let host = match parsed.port() {
        Some(port) => authority.strip_suffix(&format!(":{port}")).unwrap_or(authority),
        // The default one, spelt out.
        None => authority.strip_suffix(":443").or_else(|| authority.strip_suffix(":80")).unwrap_or(authority),
    };
    let bare = path.strip_suffix('/').unwrap_or(path);
    let with_port = parsed.port_or_known_default().map(|port| format!("{host}:{port}"));
    for authority in [Some(host.to_owned()), with_port].into_iter().flatten() {
        for path in [bare.to_owned(), format!("{bare}/")] {
            let spelling = format!("{scheme}://{authority}{path}{query}");
            if !all.contains(&spelling) {
                all.push(spelling);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests;
