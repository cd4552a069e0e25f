//! How long a server asks to be left alone: the header `Retry-After`, in seconds or as a date.

use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// Longest wait that is kept; more would be a mistake of the server, or a person's business.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// The wait that `text` asks for; `None` when it is neither seconds nor a date.
pub fn retry_after(text: &str, now_ms: i64) -> Option<Duration> {
    let wait = match text.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at_s = OffsetDateTime::parse(text.trim(), &Rfc2822).ok()?.unix_timestamp();
            Duration::from_millis(u64::try_from(at_s.saturating_mul(1_000).saturating_sub(now_ms)).unwrap_or(0))
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_kept_up_to_an_hour() {
        // 2026-11-23 06:00:00 UTC
        let now_ms = 1_795_413_600_000;
        let cases = [
            ("seconds", "120", Some(120)),
            ("none", "0", Some(0)),
            ("a date", "Mon, 23 Nov 2026 06:02:00 GMT", Some(120)),
            ("a date that has passed", "Mon, 23 Nov 2026 05:59:00 GMT", Some(0)),
            ("for ever", "99999999999", Some(3_600)),
            ("neither", "soon", None),
            ("negative", "-5", None),
        ];
        for (name, text, seconds) in cases {
            assert_eq!(retry_after(text, now_ms), seconds.map(Duration::from_secs), "case: {name}");
        }
    }
}
