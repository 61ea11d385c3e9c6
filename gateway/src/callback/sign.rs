//! The signature of a callback, after Standard Webhooks: HMAC-SHA256 of its name, time and body.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// What begins a secret that says what it is.
const PREFIX: &str = "whsec_";

/// A key that this service and those who are called share.
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

/// The text is no secret.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("not a secret: 24 to 64 bytes as base64 are, such as `openssl rand -base64 32` makes")]
pub struct NotASecret;

impl FromStr for Secret {
    type Err = NotASecret;

    fn from_str(text: &str) -> Result<Self, NotASecret> {
        let text = text.trim();
        let key = BASE64_STANDARD.decode(text.strip_prefix(PREFIX).unwrap_or(text));
        let key = key.ok().filter(|key| (24..=64).contains(&key.len())).ok_or(NotASecret)?;
        Hmac::new_from_slice(&key).map(Self).map_err(|_| NotASecret)
    }
}

/// Not what it is: configurations are printed.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// The value of `webhook-signature`. `timestamp` is in seconds since 1970.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that the libraries of Standard Webhooks test themselves with.
    #[test]
    fn signatures_are_those_of_standard_webhooks() {
        for text in ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"]
        {
            let secret: Secret = text.parse().unwrap();
            let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
            let signed = secret.sign(id, 1_614_265_330, br#"{"test": 2432232314}"#);
            assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        }
    }

    #[test]
    fn a_secret_is_long_enough_and_is_not_printed() {
        for wrong in
            ["", "whsec_", "short", "bm90IGVub3VnaA==", "whsec_no base64!", &"A".repeat(100)]
        {
            assert_eq!(wrong.parse::<Secret>().unwrap_err(), NotASecret, "{wrong}");
        }
        let secret: Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }
}
