//! Which of the 16384 slots a key lives in.

/// Slots of a cluster.
pub const SLOTS: u16 = 16_384;

/// CRC16 as Redis counts it (XMODEM: polynomial 0x1021, begins with 0, nothing reflected).
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(
            crc ^ (u16::from(byte) << 8),
            |crc: u16, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
            },
        )
    })
}

/// What of a key is counted: what stands between the first `{` and the next `}`, if that is something; else all.
fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&b| b == b'{') else { return key };
    match key[open + 1..].iter().position(|&b| b == b'}') {
        Some(length) if length > 0 => &key[open + 1..open + 1 + length],
        _ => key,
    }
}

/// The slot of a key.
pub fn slot_of(key: &[u8]) -> u16 {
    crc16(tag(key)) % SLOTS
}

/// The key's cursor, in the same slot: `{KEY}:cursor`.
pub fn cursor_of(key: &str) -> String {
    beside("", key, ":cursor")
}

/// Where a key of a foreign type is put aside: RENAME does not cross slots.
pub fn aside_of(key: &str, now_ms: i64) -> String {
    beside("legacy:", key, &format!(":{now_ms}"))
}

/// A name in the key's slot: the key in braces between `head` and `tail`. A key with a tag of its own keeps it; one that
/// cannot stand in braces gets the first number that leads to its slot.
fn beside(head: &str, key: &str, tail: &str) -> String {
    let wanted = slot_of(key.as_bytes());
    let usual = [format!("{head}{{{key}}}{tail}"), format!("{head}{key}{tail}")];
    let found = usual.into_iter().find(|name| slot_of(name.as_bytes()) == wanted);
    found.unwrap_or_else(|| {
        let name = |n: u32| format!("{head}{{{n}}}:{key}{tail}");
        // Every slot has a number far below the bound; beyond it the script would be refused, not misplaced.
        (0..1_000_000).map(name).find(|name| slot_of(name.as_bytes()) == wanted).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slots_are_those_that_redis_counts() {
        // CLUSTER KEYSLOT of Redis 7.0; the first is the check value of the cluster specification.
        assert_eq!(crc16(b"123456789"), 0x31C3);
        for (key, slot) in [
            ("123456789", 12_739),
            ("foo", 12_182),
            ("bar", 5_061),
            ("hello", 866),
            ("", 0),
            ("trap_events", 2_852),
            ("current_position", 3_413),
            ("last_btc_price", 917),
            ("trapline:epoch", 14_230),
            ("trapline:cursor", 334),
            ("trapline:BTCUSDT:events", 3_634),
            ("trapline:alerts", 5_178),
            ("trader:trades:scalper", 14_843),
            ("{trap_events}:cursor", 2_852),
            ("foo{}{bar}", 8_363),
            ("foo{{bar}}zap", 4_015),
        ] {
            assert_eq!(slot_of(key.as_bytes()), slot, "key {key}");
        }
    }

    #[test]
    fn only_the_first_tag_counts_and_only_if_it_holds_something() {
        for (key, counted) in [
            ("{user1000}.following", "user1000"),
            ("foo{}{bar}", "foo{}{bar}"),
            ("foo{{bar}}zap", "{bar"),
            ("foo{bar}{zap}", "bar"),
            ("{open", "{open"),
            ("shut}", "shut}"),
        ] {
            assert_eq!(tag(key.as_bytes()), counted.as_bytes(), "key {key}");
        }
        assert_eq!(cursor_of("trap_events"), "{trap_events}:cursor");
        assert_eq!(cursor_of("trades:{a}"), "trades:{a}:cursor");
        assert!(cursor_of("a}b").ends_with(":a}b:cursor"));
        assert_eq!(aside_of("trap_events", 7), "legacy:{trap_events}:7");
    }

    proptest! {
        #[test]
        fn a_cursor_lives_where_its_key_lives(key in "[a-z:{}]{1,12}") {
            let cursor = cursor_of(&key);
            prop_assert_eq!(slot_of(cursor.as_bytes()), slot_of(key.as_bytes()), "{} {}", key, cursor);
            prop_assert_ne!(&cursor, &key);
            let aside = aside_of(&key, 5);
            prop_assert_eq!(slot_of(aside.as_bytes()), slot_of(key.as_bytes()), "{} {}", key, aside);
        }
    }
}
