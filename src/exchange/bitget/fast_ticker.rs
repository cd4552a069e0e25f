//! The frame that comes most, read in one pass without a JSON parser: a ticker of one row, its values plain texts.
//!
//! Everything else, however slightly unusual (spaces, escapes, numbers where texts are wanted, a key twice, another
//! row), is `None` and goes the general way; the tests hold the two ways to the same result.

use super::hot_rows::TickerRow;
use super::messages::Arg;
use super::scalar::{Name, Scalar};
use std::borrow::Cow;

/// A ticker frame has about 600 bytes; the general way has its own limits.
const LONGEST: usize = 4_096;

/// What the frame says.
pub(super) struct FastTicker<'a> {
    pub arg: Arg<'a>,
    pub row: TickerRow<'a>,
    pub time_ms: i64,
}

/// Reads `{"data":[{…}],"arg":{…},"action":"snapshot","ts":1}` in any order of its keys.
pub(super) fn scan(text: &str) -> Option<FastTicker<'_>> {
    if text.len() > LONGEST {
        return None;
    }
    let mut scan = Scan { text, at: 0 };
    let (mut arg, mut row, mut time_ms, mut action) = (None, None, None, false);
    scan.expect(b'{')?;
    loop {
        let key = scan.string()?;
        scan.expect(b':')?;
        match key {
            "data" if row.is_none() => row = Some(scan.row()?),
            "arg" if arg.is_none() => arg = Some(scan.arg()?),
            "ts" if time_ms.is_none() => time_ms = Some(scan.millis()?),
            "action" if !action => action = matches!(scan.string()?, "snapshot" | "update").then_some(true)?,
            _ => return None,
        }
        match scan.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    let whole = action && scan.at == text.len();
    whole.then_some(FastTicker { arg: arg?, row: row?, time_ms: time_ms? })
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn next(&mut self) -> Option<u8> {
        let byte = self.text.as_bytes().get(self.at).copied()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    /// A text without escapes and control characters.
    fn string(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let from = self.at;
        let bytes = self.text.as_bytes().get(from..)?;
        let length = bytes.iter().position(|&b| b == b'"' || b == b'\\' || b < 0x20)?;
        if bytes[length] != b'"' {
            return None;
        }
        self.at = from + length + 1;
        self.text.get(from..from + length)
    }

    /// A whole positive number, as the envelope's time is written.
    fn millis(&mut self) -> Option<i64> {
        let from = self.at;
        let bytes = self.text.as_bytes().get(from..)?;
        let length = bytes.iter().take(16).take_while(|b| b.is_ascii_digit()).count();
        self.at += length;
        let digits = self.text.get(from..from + length)?;
        // The general way knows what else a time may be, and refuses what it may not.
        if digits.starts_with('0') { None } else { Scalar::Text(digits).millis().ok()? }
    }

    fn row(&mut self) -> Option<TickerRow<'a>> {
        self.expect(b'[')?;
        self.expect(b'{')?;
        let mut row = TickerRow::default();
        loop {
            let key = self.string()?;
            self.expect(b':')?;
            let value = self.string()?;
            if let Some(cell) = row.cell(key) {
                if !cell.is_absent() || value.is_empty() {
                    return None;
                }
                *cell = Scalar::Text(value);
            } else if key == "instId" {
                row.inst_id = Name(Cow::Borrowed(value));
            }
            match self.next()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
        self.expect(b']')?;
        Some(row)
    }

    fn arg(&mut self) -> Option<Arg<'a>> {
        self.expect(b'{')?;
        let mut arg = Arg::default();
        loop {
            let key = self.string()?;
            self.expect(b':')?;
            let cell = match key {
                "instType" => &mut arg.inst_type,
                "channel" => &mut arg.channel,
                "topic" => &mut arg.topic,
                "instId" => &mut arg.inst_id,
                "symbol" => &mut arg.symbol,
                _ => return None,
            };
            let value = self.string()?;
            if cell.get().is_some() {
                return None;
            }
            *cell = Name(Cow::Borrowed(value));
            match self.next()? {
                b',' => {}
                b'}' => return Some(arg),
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::scan;
    use crate::domain::symbol::Symbols;
    use crate::exchange::bitget::consts::Generation;
    use crate::exchange::bitget::parse::{Decoded, Decoder};
    use proptest::prelude::*;
    use std::path::Path;
    use std::sync::Arc;

    const V2: &str = r#"{"action":"snapshot","arg":{"instType":"USDT-FUTURES","channel":"ticker","instId":"BTCUSDT"},"data":[{"instId":"BTCUSDT","lastPr":"86586.7","bidPr":"86586.6","askPr":"86586.7","bidSz":"2.5","askSz":"1.25","markPrice":"86590.1","indexPrice":"86600","fundingRate":"0.0001","nextFundingTime":"1790150400000","holdingAmount":"2321.6","baseVolume":"1000","symbolType":"1","ts":"1790133569757"}],"ts":1790133569758}"#;
    const V3: &str = r#"{"data":[{"lastPrice":"86586.7","bid1Price":"86586.6","ask1Price":"86586.7","bid1Size":"2.5","ask1Size":"1.25","markPrice":"86590.1","indexPrice":"86600","fundingRate":"0.0001","nextFundingTime":"1790150400000","openInterest":"2321.60000001","volume24h":"1000","highPrice24h":"90000"}],"arg":{"instType":"usdt-futures","symbol":"BTCUSDT","topic":"ticker"},"action":"snapshot","ts":1790133569758}"#;

    /// Both ways, as text: reports, refusals, and what the frame was.
    fn both(generation: Generation, text: &str) -> (String, String) {
        let decoder = Decoder::new(generation, Arc::new(Symbols::usdt(["BTCUSDT", "ETHUSDT"])));
        let (mut short, mut general) = (Decoded::default(), Decoded::default());
        let short_frame = decoder.decode(text, 1, &mut short);
        let general_frame = decoder.decode_generally(text, 1, &mut general);
        (
            format!("{short_frame:?} {:?} {:?}", short.reports, short.refused),
            format!("{general_frame:?} {:?} {:?}", general.reports, general.refused),
        )
    }

    #[test]
    fn the_usual_frames_go_the_short_way_and_say_the_same() {
        for (generation, text) in [(Generation::Classic, V2), (Generation::Unified, V3)] {
            assert!(scan(text).is_some(), "{text}");
            let (short, general) = both(generation, text);
            assert_eq!(short, general);
            assert!(short.contains("Ticker"), "{short}");
        }
    }

    #[test]
    fn every_fixture_says_the_same_both_ways() {
        let mut seen = 0;
        for (folder, generation) in [("v2", Generation::Classic), ("v3", Generation::Unified)] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bitget").join(folder);
            for entry in std::fs::read_dir(folder).expect("fixtures") {
                let text = std::fs::read_to_string(entry.expect("entry").path()).expect("text");
                let (short, general) = both(generation, text.trim());
                assert_eq!(short, general, "{text}");
                seen += 1;
            }
        }
        assert!(seen > 20, "only {seen} fixtures");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        /// Whatever is done to a frame, the two ways agree about it.
        #[test]
        fn an_edited_frame_says_the_same_both_ways(
            unified in any::<bool>(),
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..3, "[\\x20-\\x7e]"), 1..4),
        ) {
            let (generation, text) = if unified { (Generation::Unified, V3) } else { (Generation::Classic, V2) };
            let mut bytes = text.as_bytes().to_vec();
            for (at, what, with) in edits {
                let at = at.index(bytes.len());
                match what {
                    0 => bytes[at] = with.as_bytes()[0],
                    1 => { bytes.remove(at); }
                    _ => bytes.insert(at, with.as_bytes()[0]),
                }
            }
            let text = String::from_utf8(bytes).expect("ASCII");
            let (short, general) = both(generation, &text);
            prop_assert_eq!(short, general, "{}", text);
        }
    }
}
