//! "Did you mean": the nearest known name for a name that is not known.

/// The candidate nearest to `word`, if it is near enough to be worth saying.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| {
            *distance <= 1 + word.len().min(candidate.len()) / 4 || stem(&word) == stem(candidate)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The name without its unit: `ping_seconds` and `ping_ms` share the stem `ping`.
fn stem(name: &str) -> &str {
    const UNITS: [&str; 12] = [
        "_ms",
        "_s",
        "_sec",
        "_secs",
        "_seconds",
        "_minutes",
        "_hours",
        "_mib",
        "_mb",
        "_bytes",
        "_fraction",
        "_percent",
    ];
    UNITS.iter().find_map(|unit| name.strip_suffix(unit)).unwrap_or(name)
}

/// Edits (insert, delete, replace, swap of neighbours) between two words; long words are cut, names are short.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_name_and_a_stranger_does_not() {
        let names = ["ping_ms", "pong_deadline_ms", "symbols", "conflate"];
        for (case, word, expected) in [
            ("letters swapped", "symblos", Some("symbols")),
            ("letter missing", "conflat", Some("conflate")),
            ("other unit", "ping_seconds", Some("ping_ms")),
            ("no unit", "pong_deadline", Some("pong_deadline_ms")),
            ("dashes", "pong-deadline-ms", Some("pong_deadline_ms")),
            ("stranger", "colour", None),
            ("empty", "", None),
        ] {
            assert_eq!(nearest(word, names), expected, "case: {case}");
        }
    }
}
