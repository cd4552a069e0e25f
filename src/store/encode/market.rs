//! The market of one symbol. The only encoder on the hot path: it writes into the connection's buffer and
//! allocates nothing.

use super::json::Object;
use super::stamp;
use super::{Layout, StaleMark};
use crate::domain::picture::MarketPicture;
use crate::store::resp::{Commands, Number};
use crate::store::tag::Tag;

/// What stands beside the picture in `market_state`; changes rarely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarketExtra {
    pub regime: &'static str,
    pub stale: Option<StaleMark>,
}

impl Default for MarketExtra {
    fn default() -> Self {
        Self { regime: "unknown", stale: None }
    }
}

/// The fields that a picture may change, each with its name already encoded.
const MOVING: [&[u8]; 14] = [
    b"$5\r\nprice\r\n",
    b"$6\r\nvolume\r\n",
    b"$9\r\ntimestamp\r\n",
    b"$13\r\nexchange_time\r\n",
    b"$3\r\nseq\r\n",
    b"$3\r\nbid\r\n",
    b"$8\r\nbid_size\r\n",
    b"$3\r\nask\r\n",
    b"$8\r\nask_size\r\n",
    b"$4\r\nmark\r\n",
    b"$5\r\nindex\r\n",
    b"$12\r\nfunding_rate\r\n",
    b"$13\r\nopen_interest\r\n",
    b"$9\r\nlast_size\r\n",
];
const PREVIOUS_PRICE: &[u8] = b"$14\r\nprevious_price\r\n";
/// `price` … `last_size` and `previous_price`.
const MOVING_FIELDS: usize = MOVING.len() + 1;
/// symbol, regime, epoch, stale, stale_reason, stale_since.
const RESTING_FIELDS: usize = 6;

fn moving(out: &mut Commands, layout: &Layout, p: &MarketPicture, which: u16) {
    let has = |bit: usize| which & (1 << bit) != 0;
    let optional =
        [p.bid, p.bid_size, p.ask, p.ask_size, p.mark, p.index, p.funding_rate, p.open_interest, p.last_size];
    if has(0) {
        out.raw(MOVING[0]);
        out.decimal(p.price);
    }
    if has(1) {
        out.raw(MOVING[1]);
        out.decimal(p.volume_1m);
    }
    if has(2) {
        out.raw(MOVING[2]);
        out.int(layout.stamp(p.received_ms));
    }
    if has(3) {
        out.raw(MOVING[3]);
        out.int(p.exchange_time_ms);
    }
    if has(4) {
        out.raw(MOVING[4]);
        out.count(p.seq);
    }
    for (i, value) in optional.into_iter().enumerate() {
        if has(5 + i) {
            out.raw(MOVING[5 + i]);
            out.decimal_or_empty(value);
        }
    }
    if has(14) {
        out.raw(PREVIOUS_PRICE);
        out.decimal_or_empty(p.previous_price);
    }
}

/// One bit for each moving field that differs.
fn changed(a: &MarketPicture, b: &MarketPicture) -> u16 {
    let bits = [
        a.price != b.price,
        a.volume_1m != b.volume_1m,
        a.received_ms != b.received_ms,
        a.exchange_time_ms != b.exchange_time_ms,
        true,
        a.bid != b.bid,
        a.bid_size != b.bid_size,
        a.ask != b.ask,
        a.ask_size != b.ask_size,
        a.mark != b.mark,
        a.index != b.index,
        a.funding_rate != b.funding_rate,
        a.open_interest != b.open_interest,
        a.last_size != b.last_size,
        a.previous_price != b.previous_price,
    ];
    bits.iter().enumerate().fold(0, |mask, (i, &differs)| mask | (u16::from(differs) << i))
}

const EVERYTHING: u16 = (1 << MOVING_FIELDS) - 1;

/// Every field of `trapline:{SYMBOL}:market_state`.
pub fn market_full(out: &mut Commands, layout: &Layout, p: &MarketPicture, extra: &MarketExtra) {
    let keys = layout.of(p.symbol);
    out.begin(Tag::Market(p.symbol), 2 + 2 * (MOVING_FIELDS + RESTING_FIELDS));
    out.raw(&keys.market_head);
    resting(out, &keys.name, layout, extra);
    moving(out, layout, p, EVERYTHING);
}

/// The fields that differ from `before`, which the same connection has written: one message's values, and the rest
/// of the hash is equal to them already. A reply above zero means that somebody deleted the key meanwhile.
pub fn market_lean(out: &mut Commands, layout: &Layout, before: &MarketPicture, p: &MarketPicture) {
    let which = changed(before, p);
    out.begin(Tag::MarketLean(p.symbol), 2 + 2 * which.count_ones() as usize);
    out.raw(&layout.of(p.symbol).market_head);
    moving(out, layout, p, which);
}

fn resting(out: &mut Commands, symbol: &str, layout: &Layout, extra: &MarketExtra) {
    out.arg("symbol");
    out.arg(symbol);
    out.arg("regime");
    out.arg(extra.regime);
    out.arg("epoch");
    out.count(layout.epoch);
    super::stale_args(out, layout.mark(extra.stale));
}

/// The single values that old programs read; the last two only when known.
pub const MIRRORS: [&str; 4] = ["last_btc_price", "last_btc_update_time", "prev_btc_price", "last_btc_volume"];

/// `market_state` and the single values that old programs read, for the primary symbol.
pub fn market_primary(out: &mut Commands, layout: &Layout, p: &MarketPicture, extra: &MarketExtra) {
    let keys = layout.of(p.symbol);
    out.begin(Tag::PrimaryMarket, 2 + 2 * (MOVING_FIELDS + RESTING_FIELDS));
    out.arg("HSET");
    out.arg("market_state");
    resting(out, &keys.seed_name, layout, extra);
    moving(out, layout, p, EVERYTHING);

    // Not by MSET, which replaces a value of any type without a word.
    out.set(Tag::Mirror(0), MIRRORS[0], Number::decimal(p.price).as_bytes(), None);
    out.set(Tag::Mirror(1), MIRRORS[1], stamp::epoch_seconds(layout.stamp(p.received_ms)), None);
    for (i, value) in [(2, p.previous_price), (3, p.last_size)] {
        if let Some(value) = value {
            out.set(Tag::Mirror(i), MIRRORS[usize::from(i)], Number::decimal(value).as_bytes(), None);
        }
    }
}

/// The price for those who listen on the channel `btc_price`, in the words of the old live feed.
pub fn price_message(out: &mut Commands, layout: &Layout, p: &MarketPicture) {
    let json = Object::new()
        .decimal("price", p.price)
        .text("timestamp", &stamp::iso(layout.stamp(p.received_ms)))
        .decimal("volume", p.last_size.unwrap_or_default())
        .end();
    out.words(Tag::PriceChannel, &["PUBLISH", "btc_price", &json]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::symbol::{SymbolId, Symbols};
    use crate::store::resp::as_words;
    use rust_decimal::Decimal;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Instant;

    fn picture() -> MarketPicture {
        MarketPicture {
            symbol: SymbolId(0),
            price: Decimal::new(6_400_010, 2),
            previous_price: Some(Decimal::new(6_400_000, 2)),
            last_size: Some(Decimal::new(5, 3)),
            bid: Some(Decimal::new(64_000, 0)),
            bid_size: None,
            ask: Some(Decimal::new(64_001, 0)),
            ask_size: None,
            mark: Some(Decimal::new(6_400_005, 2)),
            index: None,
            funding_rate: Some(Decimal::new(-1, 4)),
            open_interest: None,
            volume_1m: Decimal::ZERO,
            exchange_time_ms: 1_723_075_200_123,
            received_ms: 1_723_075_200_140,
            received: Instant::now(),
            seq: 7,
        }
    }

    fn layout() -> Layout {
        let mut layout =
            Layout::new(Arc::new(Symbols::usdt(["BTCUSDT", "ETHUSDT"])), super::super::Settings::default());
        layout.epoch = 3;
        layout
    }

    fn fields(words: &[String]) -> BTreeMap<&str, &str> {
        words[2..].chunks(2).map(|c| (c[0].as_str(), c[1].as_str())).collect()
    }

    #[test]
    fn the_full_hash_has_exactly_the_fields_of_its_row() {
        let mut out = Commands::new();
        market_full(&mut out, &layout(), &picture(), &MarketExtra::default());
        let words = as_words(out.bytes());
        assert_eq!(&words[0][..2], ["HSET", "trapline:BTCUSDT:market_state"]);
        let fields = fields(&words[0]);
        let row = crate::store::keys::row_of("trapline:BTCUSDT:market_state").unwrap();
        let promised: std::collections::BTreeSet<_> = row.fields_of().iter().map(|f| f.name).collect();
        assert_eq!(fields.keys().copied().collect::<std::collections::BTreeSet<_>>(), promised);
        for (name, value) in [
            ("symbol", "BTCUSDT"),
            ("price", "64000.10"),
            ("volume", "0"),
            ("regime", "unknown"),
            ("timestamp", "1723075200140"),
            ("exchange_time", "1723075200123"),
            ("bid_size", ""),
            ("funding_rate", "-0.0001"),
            ("seq", "7"),
            ("epoch", "3"),
            ("stale", "0"),
            ("stale_reason", ""),
        ] {
            assert_eq!(fields[name], value, "field {name}");
        }
    }

    #[test]
    fn the_primary_symbol_also_fills_the_old_names() {
        let mut out = Commands::new();
        let extra = MarketExtra { regime: "volatile", stale: Some(StaleMark { since_ms: 9, reason: "no_data" }) };
        market_primary(&mut out, &layout(), &picture(), &extra);
        let words = as_words(out.bytes());
        assert_eq!(&words[0][..2], ["HSET", "market_state"]);
        let hash = fields(&words[0]);
        assert_eq!(
            (hash["symbol"], hash["stale"], hash["stale_reason"], hash["stale_since"]),
            ("BTCUSDT_UMCBL", "1", "no_data", "9")
        );
        assert_eq!(
            words[1..].iter().map(|w| w.join(" ")).collect::<Vec<_>>(),
            [
                "SET last_btc_price 64000.10 GET",
                "SET last_btc_update_time 1723075200.140 GET",
                "SET prev_btc_price 64000.00 GET",
                "SET last_btc_volume 0.005 GET"
            ]
        );
        assert_eq!(out.tags()[1..], [0, 1, 2, 3].map(Tag::Mirror));
        let unknown = MarketPicture { previous_price: None, last_size: None, ..picture() };
        let mut out = Commands::new();
        market_primary(&mut out, &layout(), &unknown, &extra);
        assert_eq!(out.tags()[1..], [0, 1].map(Tag::Mirror), "what is not known is not written");
    }

    #[test]
    fn the_channel_carries_the_price_as_the_old_feed_did() {
        let mut out = Commands::new();
        price_message(&mut out, &layout(), &picture());
        assert_eq!(
            as_words(out.bytes())[0],
            [
                "PUBLISH",
                "btc_price",
                r#"{"price":64000.10,"timestamp":"2024-08-08T00:00:00.140+00:00","volume":0.005}"#
            ]
        );
    }

    #[test]
    fn a_lean_write_holds_what_differs_and_the_sequence() {
        let before = picture();
        let mut after = before;
        after.seq = 8;
        after.ask = None;
        after.previous_price = Some(before.price);
        let mut out = Commands::new();
        market_lean(&mut out, &layout(), &before, &after);
        assert_eq!(
            as_words(out.bytes())[0].join(" "),
            "HSET trapline:BTCUSDT:market_state seq 8 ask  previous_price 64000.10"
        );
        assert_eq!(out.tags(), [Tag::MarketLean(SymbolId(0))]);
    }
}
