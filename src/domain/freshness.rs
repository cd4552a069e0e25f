//! Fresh or stale. Quiet is not stale: what proves a value renews it, whether it changed or not. What was never
//! proved, or carries a time that cannot be, is stale.

/// How much a proof may lie ahead of the reader's clock before it is no proof.
pub const FUTURE_TOLERANCE_MS: i64 = 1_000;

/// A judgement about one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    Fresh,
    /// Since when (the moment the limit was passed), on the judge's clock.
    Stale {
        since_ms: i64,
    },
}

/// Judges a value whose last proof is `verified_ms` (`None`: never proved since `started_ms`).
pub fn judge(verified_ms: Option<i64>, started_ms: i64, now_ms: i64, limit_ms: i64) -> Freshness {
    let proof_ms = verified_ms.unwrap_or(started_ms);
    if proof_ms > now_ms + FUTURE_TOLERANCE_MS {
        return Freshness::Stale { since_ms: now_ms };
    }
    if now_ms - proof_ms > limit_ms { Freshness::Stale { since_ms: proof_ms + limit_ms } } else { Freshness::Fresh }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_of_each_limit() {
        use Freshness::{Fresh, Stale};
        let cases = [
            ("just proved", Some(10_000), 10_000, Fresh),
            ("at the limit", Some(10_000), 70_000, Fresh),
            ("one past the limit", Some(10_000), 70_001, Stale { since_ms: 70_000 }),
            ("a little ahead", Some(11_000), 10_000, Fresh),
            ("too far ahead", Some(11_001), 10_000, Stale { since_ms: 10_000 }),
            ("never proved, just started", None, 5_000, Fresh),
            ("never proved, started long ago", None, 65_001, Stale { since_ms: 65_000 }),
        ];
        for (name, verified, now, expected) in cases {
            assert_eq!(judge(verified, 5_000, now, 60_000), expected, "case: {name}");
        }
    }
}
