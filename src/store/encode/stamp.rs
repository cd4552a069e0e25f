//! Times in the dialects of the old readers.

use time::OffsetDateTime;

fn instant(ms: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// `2024-08-08T00:00:00.123` without a zone: UTC for readers that compare with a naive 'now'.
pub fn naive_iso(ms: i64) -> String {
    let t = instant(ms);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}",
        t.year(),
        u8::from(t.month()),
        t.day(),
        t.hour(),
        t.minute(),
        t.second(),
        t.millisecond()
    )
}

/// `2024-08-08T00:00:00.123+00:00`: what Python's `fromisoformat` of every version reads.
pub fn iso(ms: i64) -> String {
    let mut text = naive_iso(ms);
    text.push_str("+00:00");
    text
}

/// Epoch seconds with the milliseconds as fraction, `1723075200.123`.
pub fn epoch_seconds(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1_000), ms.rem_euclid(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_instant_in_each_dialect() {
        let ms = 1_723_075_200_123;
        assert_eq!(naive_iso(ms), "2024-08-08T00:00:00.123");
        assert_eq!(iso(ms), "2024-08-08T00:00:00.123+00:00");
        assert_eq!(epoch_seconds(ms), "1723075200.123");
        assert_eq!(epoch_seconds(7), "0.007");
    }
}
