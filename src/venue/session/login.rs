//! Login and signatures: `base64(HMAC_SHA256(secret, text))`.

use super::replies::Reject;
use crate::venue::owners::{Keys, OwnerId};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::Value;
use std::time::Duration;

/// Whether `sign` is the signature of `text`; compared in constant time.
pub fn signed(secret: &str, text: &str, sign: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    STANDARD.decode(sign).is_ok_and(|tag| hmac::verify(&key, text.as_bytes(), &tag).is_ok())
}

/// The signature of `text`.
pub fn sign(secret: &str, text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    STANDARD.encode(hmac::sign(&key, text.as_bytes()))
}

/// Milliseconds out of a timestamp in seconds or milliseconds.
pub fn timestamp_ms(text: &str) -> Option<i64> {
    let number: i64 = text.parse().ok().filter(|n| *n > 0)?;
    Some(if number < 100_000_000_000 { number * 1_000 } else { number })
}

/// Checks the first argument of a login request and says whose account it opens.
pub fn check(arg: Option<&Value>, keys: &Keys, now_ms: i64, window: Duration) -> Result<OwnerId, Reject> {
    let Some(arg) = arg.filter(|arg| arg.is_object()) else { return Err(Reject::LoginFailed) };
    let text = |key: &str| match &arg[key] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    let (owner, credentials) = keys.owner(&text("apiKey")).ok_or(Reject::BadKey)?;
    let Some(credentials) = credentials else { return Ok(owner) };
    if text("passphrase") != credentials.pass {
        return Err(Reject::BadPassphrase);
    }
    let timestamp = text("timestamp");
    let at_ms = timestamp_ms(&timestamp).ok_or(Reject::BadTimestamp)?;
    if now_ms.abs_diff(at_ms) > window.as_millis() as u64 {
        return Err(Reject::Expired);
    }
    if signed(&credentials.secret, &format!("{timestamp}GET/user/verify"), &text("sign")) {
        Ok(owner)
    } else {
        Err(Reject::BadSign)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::venue::config::{Credentials, SubAccount};
    use crate::venue::owners::MAIN;
    use serde_json::json;

    #[test]
    fn known_signatures() {
        for (text, expected) in [
            ("1538054050GET/user/verify", "h2vWnwwluy8lK8HQoQMlNO9j0MfwSYAQcO1ZxB8+lyI="),
            (
                "1659076670000GET/api/v2/mix/position/all-position?marginCoin=USDT&productType=USDT-FUTURES",
                "rfF7Nv39LnKONghqA9nnpUDi8OOmMWFJQBJbMxTgbzU=",
            ),
        ] {
            assert_eq!(sign("s", text), expected);
            assert!(signed("s", text, expected));
            assert!(!signed("t", text, expected));
        }
    }

    #[test]
    fn each_wrong_part_has_its_code() {
        let credentials = Credentials { key: "k".to_owned(), secret: "s".to_owned(), pass: "p".to_owned() };
        let mut sub = SubAccount::named("sub");
        sub.credentials.secret = "s".to_owned();
        let keys = Keys::new(Some(credentials), &[sub]);
        let now_ms = 1_538_054_050_000;
        let ask = |key: &str, pass: &str, timestamp: Value, text: &str| {
            let arg = json!({"apiKey": key, "passphrase": pass, "timestamp": timestamp, "sign": sign("s", text)});
            check(Some(&arg), &keys, now_ms, Duration::from_secs(30)).map_err(|r| r.code())
        };
        let verify = |t: &str| format!("{t}GET/user/verify");
        for (name, answer, expected) in [
            ("seconds as text", ask("k", "p", json!("1538054050"), &verify("1538054050")), Ok(MAIN)),
            ("of a sub-account", ask("sub-key", "sub-pass", json!("1538054050"), &verify("1538054050")), Ok(1)),
            ("seconds as number", ask("k", "p", json!(1_538_054_050), &verify("1538054050")), Ok(MAIN)),
            ("ms as text", ask("k", "p", json!("1538054050000"), &verify("1538054050000")), Ok(MAIN)),
            ("30 s old", ask("k", "p", json!("1538054020"), &verify("1538054020")), Ok(MAIN)),
            ("31 s old", ask("k", "p", json!("1538054019"), &verify("1538054019")), Err(30014)),
            ("31 s ahead", ask("k", "p", json!("1538054081"), &verify("1538054081")), Err(30014)),
            ("no number", ask("k", "p", json!("soon"), &verify("soon")), Err(30013)),
            ("wrong key", ask("x", "p", json!("1538054050"), &verify("1538054050")), Err(30011)),
            ("wrong pass", ask("k", "x", json!("1538054050"), &verify("1538054050")), Err(30012)),
            ("wrong sign", ask("k", "p", json!("1538054050"), &verify("1538054051")), Err(30015)),
        ] {
            assert_eq!(answer, expected, "{name}");
        }
        assert_eq!(check(None, &keys, now_ms, Duration::ZERO), Err(Reject::LoginFailed));
        assert_eq!(
            check(Some(&json!({})), &Keys::new(None, &[]), now_ms, Duration::ZERO),
            Ok(MAIN),
            "no credentials: all may enter"
        );
    }
}
