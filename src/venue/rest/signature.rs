//! `ACCESS-*` headers: `base64(HMAC_SHA256(secret, timestamp + METHOD + path + ?query + body))`.

use super::Refusal;
use super::query::decode;
use crate::venue::owners::{Keys, MAIN, OwnerId};
use crate::venue::session::login::{signed, timestamp_ms};
use hyper::{HeaderMap, Method};

/// A signed request's time may be off by this much.
const WINDOW_MS: u64 = 30_000;

/// Checks a signed request and says whose account it asks about.
pub fn check(
    headers: &HeaderMap,
    method: &Method,
    path: &str,
    raw_query: &str,
    body: &[u8],
    keys: &Keys,
    now_ms: i64,
) -> Result<OwnerId, Refusal> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (key, sign) = (header("ACCESS-KEY"), header("ACCESS-SIGN"));
    let (timestamp, pass) = (header("ACCESS-TIMESTAMP"), header("ACCESS-PASSPHRASE"));
    if !keys.checked() {
        // Everybody is let in; the key still says whose account is meant.
        return Ok(keys.owner(key).map_or(MAIN, |(owner, _)| owner));
    }
    if key.is_empty() {
        return Err(Refusal::new("40001", "ACCESS_KEY cannot be empty"));
    }
    if sign.is_empty() {
        return Err(Refusal::new("40003", "Signature cannot be empty"));
    }
    if pass.is_empty() {
        return Err(Refusal::new("40011", "ACCESS_PASSPHRASE cannot be empty"));
    }
    let at_ms = timestamp_ms(timestamp).ok_or_else(|| Refusal::new("40005", "Invalid ACCESS_TIMESTAMP"))?;
    if now_ms.abs_diff(at_ms) > WINDOW_MS {
        return Err(Refusal::new("40008", "Request timestamp expired"));
    }
    let Some((owner, Some(credentials))) = keys.owner(key) else {
        return Err(Refusal::new("40006", "Invalid ACCESS_KEY"));
    };
    if pass != credentials.pass {
        return Err(Refusal::new("40012", "apikey/password is incorrect"));
    }
    let body = String::from_utf8_lossy(body);
    // Clients sign the query as they wrote it or decoded, in the order they send it or sorted by key.
    let sorted = sorted(raw_query);
    let spellings = [raw_query.to_owned(), decode(raw_query), decode(&sorted), sorted];
    let fits = spellings.into_iter().any(|query| {
        let mark = if query.is_empty() { "" } else { "?" };
        signed(&credentials.secret, &format!("{timestamp}{method}{path}{mark}{query}{body}"), sign)
    });
    if fits { Ok(owner) } else { Err(Refusal::new("40009", "sign signature error")) }
}

fn sorted(raw_query: &str) -> String {
    let mut pairs: Vec<&str> = raw_query.split('&').collect();
    pairs.sort_by_key(|pair| pair.split('=').next());
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::venue::config::Credentials;
    use crate::venue::session::login::sign;

    const NOW: i64 = 1_659_076_670_000;

    fn ask(key: &str, pass: &str, at: &str, text: &str, query: &str) -> Result<OwnerId, &'static str> {
        let credentials = Credentials { key: "k".to_owned(), secret: "s".to_owned(), pass: "p".to_owned() };
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("ACCESS-KEY", key),
            ("ACCESS-PASSPHRASE", pass),
            ("ACCESS-TIMESTAMP", at),
            ("ACCESS-SIGN", &sign("s", text)),
        ] {
            if !value.is_empty() {
                headers.insert(name, value.parse().expect("header"));
            }
        }
        check(&headers, &Method::GET, "/api/x", query, b"", &Keys::new(Some(credentials), &[]), NOW).map_err(|r| r.code)
    }

    #[test]
    fn each_wrong_part_has_its_code() {
        let at = "1659076670000";
        let right = format!("{at}GET/api/x?b=%2C&a=1");
        let decoded = format!("{at}GET/api/x?b=,&a=1");
        for (name, answer, expected) in [
            ("unsorted, raw", ask("k", "p", at, &right, "b=%2C&a=1"), Ok(MAIN)),
            ("unsorted, decoded", ask("k", "p", at, &decoded, "b=%2C&a=1"), Ok(MAIN)),
            (
                "signed sorted, sent unsorted",
                ask("k", "p", at, &format!("{at}GET/api/x?a=1&b=%2C"), "b=%2C&a=1"),
                Ok(MAIN),
            ),
            ("sorted and decoded", ask("k", "p", at, &format!("{at}GET/api/x?a=1&b=,"), "b=%2C&a=1"), Ok(MAIN)),
            ("no query", ask("k", "p", at, &format!("{at}GET/api/x"), ""), Ok(MAIN)),
            ("other query", ask("k", "p", at, &right, "a=1"), Err("40009")),
            ("no key", ask("", "p", at, &right, ""), Err("40001")),
            ("other key", ask("x", "p", at, &right, ""), Err("40006")),
            ("no pass", ask("k", "", at, &right, ""), Err("40011")),
            ("other pass", ask("k", "x", at, &right, ""), Err("40012")),
            ("bad time", ask("k", "p", "soon", &right, ""), Err("40005")),
            ("30 s old", ask("k", "p", "1659076640000", "1659076640000GET/api/x", ""), Ok(MAIN)),
            ("older", ask("k", "p", "1659076639999", "1659076639999GET/api/x", ""), Err("40008")),
        ] {
            assert_eq!(answer, expected, "{name}");
        }
    }
}
