//! Signatures by the Standard Webhooks scheme (<https://www.standardwebhooks.com>, `v1`: HMAC-SHA-256).

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::Secret;

/// Signs outcome events.
pub struct Signer {
    key: hmac::Key,
}

impl Signer {
    /// From `whsec_` and base64; `None` where no secret is configured.
    ///
    /// # Errors
    /// The secret is not of this form, or its key is not 16 to 64 bytes long.
    pub fn from_secret(secret: &Secret) -> Result<Option<Self>, String> {
        if secret.is_empty() {
            return Ok(None);
        }
        let key = crate::config::webhook_signing_key(secret)?;
        Ok(Some(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &key) }))
    }

    /// The header `webhook-signature` for this id, time (Unix seconds) and body.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scheme's own published example.
    #[test]
    fn the_published_example_comes_out() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signer = Signer::from_secret(&secret).unwrap().unwrap();
        let signature = signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_of_another_form_is_refused_without_being_told() {
        for bad in ["abc", "whsec_", "whsec_!!!", "whsec_c2hvcnQ="] {
            let problem = Signer::from_secret(&Secret::new(bad)).err().unwrap();
            assert!(problem.contains("whsec_") && !problem.contains("c2hvcnQ"), "{problem}");
        }
        assert!(Signer::from_secret(&Secret::default()).unwrap().is_none());
    }
}
