//! HMAC-SHA256 over webhooks, with several secrets: what the platforms' schemes have in common.

use aws_lc_rs::hmac;

use super::{SignatureError, VerifiedBy};
use crate::config::Secret;

/// One key per secret, made once.
pub struct Keys(Vec<hmac::Key>);

impl Keys {
    /// Empty secrets are none.
    pub fn new(secrets: &[Secret]) -> Self {
        let secrets = secrets.iter().filter(|secret| !secret.is_empty());
        Self(secrets.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes())).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the keys made one of `tags` over `message`. Every key is tried with every tag, in constant time each, so
    /// that time does not tell which one matched. The second key verifies as `{scheme}#2`.
    pub fn verify(&self, scheme: &str, message: &[u8], tags: &[[u8; 32]]) -> Result<VerifiedBy, SignatureError> {
        let mut matched = None;
        for (index, key) in self.0.iter().enumerate() {
            for tag in tags {
                if hmac::verify(key, message, tag).is_ok() && matched.is_none() {
                    matched = Some(index);
                }
            }
        }
        match matched {
            Some(0) => Ok(VerifiedBy(scheme.into())),
            Some(index) => Ok(VerifiedBy(format!("{scheme}#{}", index + 1))),
            None => Err(SignatureError::Mismatch),
        }
    }
}

/// 64 hex digits of either case.
pub fn decode_hex(text: &[u8]) -> Option<[u8; 32]> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let mut out = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}
