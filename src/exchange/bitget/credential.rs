//! The account's key, and what is signed with it. Secrets are neither printed nor logged: `Debug` shows nothing.

use super::consts::LOGIN_PATH;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use std::fmt;

/// Key, secret and passphrase of one API key.
#[derive(Clone)]
pub struct Credential {
    key: SecretString,
    secret: SecretString,
    passphrase: SecretString,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(redacted)")
    }
}

/// Headers of a signed REST call. The values are secrets or derived from one.
pub struct SignedHeaders {
    pub key: SecretString,
    pub sign: String,
    pub timestamp: String,
    pub passphrase: SecretString,
}

impl Credential {
    pub fn new(key: impl Into<String>, secret: impl Into<String>, passphrase: impl Into<String>) -> Self {
        let secret_text = |text: String| SecretString::from(text);
        Self {
            key: secret_text(key.into()),
            secret: secret_text(secret.into()),
            passphrase: secret_text(passphrase.into()),
        }
    }

    /// Base64 of HMAC-SHA256 over `text`.
    pub fn sign(&self, text: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.expose_secret().as_bytes());
        STANDARD.encode(hmac::sign(&key, text.as_bytes()))
    }

    /// The login frame of a private socket, valid for 30 s from `exchange_now_ms` (the exchange's clock). The
    /// timestamp is in seconds: both are accepted, seconds are what every other client sends.
    pub fn login_frame(&self, exchange_now_ms: i64) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Args<'a> {
            api_key: &'a str,
            passphrase: &'a str,
            timestamp: &'a str,
            sign: &'a str,
        }
        #[derive(Serialize)]
        struct Login<'a> {
            op: &'static str,
            args: [Args<'a>; 1],
        }
        let timestamp = exchange_now_ms.div_euclid(1_000).to_string();
        let sign = self.sign(&format!("{timestamp}GET{LOGIN_PATH}"));
        let frame = Login {
            op: "login",
            args: [Args {
                api_key: self.key.expose_secret(),
                passphrase: self.passphrase.expose_secret(),
                timestamp: &timestamp,
                sign: &sign,
            }],
        };
        serde_json::to_string(&frame).unwrap_or_default()
    }

    /// Headers for `GET path_and_query` (decoded, keys sorted) at the exchange's time.
    pub fn sign_get(&self, exchange_now_ms: i64, path_and_query: &str) -> SignedHeaders {
        let timestamp = exchange_now_ms.to_string();
        SignedHeaders {
            sign: self.sign(&format!("{timestamp}GET{path_and_query}")),
            timestamp,
            key: self.key.clone(),
            passphrase: self.passphrase.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_the_published_vectors() {
        let credential = Credential::new("k", "s", "p");
        let cases = [
            ("login", "1538054050GET/user/verify", "h2vWnwwluy8lK8HQoQMlNO9j0MfwSYAQcO1ZxB8+lyI="),
            (
                "rest",
                "1659076670000GET/api/v2/mix/position/all-position?marginCoin=USDT&productType=USDT-FUTURES",
                "rfF7Nv39LnKONghqA9nnpUDi8OOmMWFJQBJbMxTgbzU=",
            ),
        ];
        for (name, text, expected) in cases {
            assert_eq!(credential.sign(text), expected, "case: {name}");
        }
    }

    #[test]
    fn logs_in_with_seconds_and_the_signed_text() {
        let frame = Credential::new("k", "s", "p").login_frame(1_538_054_050_999);
        let value: serde_json::Value = serde_json::from_str(&frame).unwrap();
        assert_eq!(value["op"], "login");
        assert_eq!(value["args"][0]["timestamp"], "1538054050");
        assert_eq!(value["args"][0]["sign"], "h2vWnwwluy8lK8HQoQMlNO9j0MfwSYAQcO1ZxB8+lyI=");
        assert_eq!(value["args"][0]["apiKey"], "k");
        assert_eq!(value["args"][0]["passphrase"], "p");
    }

    #[test]
    fn rest_headers_carry_the_time_in_ms() {
        let path = "/api/v2/mix/position/all-position?marginCoin=USDT&productType=USDT-FUTURES";
        let headers = Credential::new("k", "s", "p").sign_get(1_659_076_670_000, path);
        assert_eq!(headers.timestamp, "1659076670000");
        assert_eq!(headers.sign, "rfF7Nv39LnKONghqA9nnpUDi8OOmMWFJQBJbMxTgbzU=");
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", Credential::new("canary-key", "canary-secret", "canary-pass"));
        assert!(!shown.contains("canary"), "{shown}");
    }
}
