//! Positions: the hash of each side, and the old keys of the primary symbol.
//!
//! Truth before convenience: 'flat' is written only when both sides are known to be flat; a side nobody has spoken
//! about leaves the old keys as they are. Times: `updateTime` is the exchange's last change, `timestamp` is when the
//! exchange last confirmed the value, so that writing it again never makes it look fresher than it is.

use super::json::Object;
use super::{Layout, PositionFormat, StaleMark, stale_args, stamp};
use crate::domain::picture::{Holding, PositionPicture};
use crate::domain::position::{HoldSide, Position};
use crate::store::resp::Commands;
use crate::store::tag::Tag;
use rust_decimal::Decimal;

/// Seconds after which `current_position` vanishes if nobody renews it.
pub const CURRENT_EXPIRY_S: i64 = 3_600;

/// One side with its stale mark.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Side<'a> {
    pub picture: &'a PositionPicture,
    pub stale: Option<StaleMark>,
}

impl Side<'_> {
    fn open(&self) -> Option<&Position> {
        match &self.picture.holding {
            Holding::Open(position) => Some(position),
            Holding::Flat => None,
        }
    }
}

/// Unrealised profit in the margin coin, without leverage: the exchange's figure, else from the mark price.
fn unrealised(p: &Position) -> Option<Decimal> {
    p.unrealised_pnl.or_else(|| {
        let moved = p.mark_price?.checked_sub(p.entry_price)?;
        let gain = match p.side {
            HoldSide::Long => moved,
            HoldSide::Short => -moved,
        };
        gain.checked_mul(p.size)
    })
}

/// Return on the initial margin (size × entry / leverage) in per cent, two decimals.
fn return_percent(p: &Position) -> Option<Decimal> {
    let notional = p.size.checked_mul(p.entry_price)?;
    if notional <= Decimal::ZERO || p.leverage <= Decimal::ZERO {
        return None;
    }
    let ratio = unrealised(p)?.checked_mul(p.leverage)?.checked_div(notional)?;
    Some(ratio.checked_mul(Decimal::ONE_HUNDRED)?.round_dp(2))
}

fn notional(p: &Position) -> Decimal {
    p.size.checked_mul(p.mark_price.unwrap_or(p.entry_price)).unwrap_or(Decimal::MAX)
}

/// `trapline:{SYMBOL}:position:{side}`.
pub fn position_side(out: &mut Commands, layout: &Layout, side: Side<'_>) {
    let p = side.picture;
    let keys = layout.of(p.symbol);
    let open = side.open();
    out.begin(Tag::Position(p.symbol, p.side), 2 + 2 * 24);
    out.arg("HSET");
    out.arg(&keys.position[p.side.index()]);
    let mut text = |name: &str, value: &str| {
        out.arg(name);
        out.arg(value);
    };
    text("symbol", &keys.name);
    text("side", p.side.label());
    text("has_position", if open.is_some() { "1" } else { "0" });
    text("margin_mode", open.map_or("", |o| o.margin_mode.label()));
    text("hold_mode", open.map_or("", |o| o.hold_mode.label()));
    text("source", p.source.label());
    let numbers = [
        ("size", Some(open.map_or(Decimal::ZERO, |o| o.size))),
        ("available", open.and_then(|o| o.available)),
        ("entry_price", Some(open.map_or(Decimal::ZERO, |o| o.entry_price))),
        ("mark_price", open.and_then(|o| o.mark_price)),
        ("leverage", open.map(|o| o.leverage)),
        ("unrealized_pnl", open.map_or(Some(Decimal::ZERO), unrealised)),
        ("pnl_percent", open.map_or(Some(Decimal::ZERO), return_percent)),
        ("margin", open.and_then(|o| o.margin)),
        ("liquidation_price", open.and_then(|o| o.liquidation_price)),
        ("break_even", open.and_then(|o| o.break_even_price)),
        ("total_fee", open.and_then(|o| o.total_fee)),
    ];
    for (name, value) in numbers {
        out.arg(name);
        out.decimal_or_empty(value);
    }
    for (name, value) in [("update_time", p.update_time_ms), ("timestamp", layout.stamp(p.verified_ms))] {
        out.arg(name);
        out.int(value);
    }
    for (name, value) in [("seq", p.seq), ("epoch", layout.epoch)] {
        out.arg(name);
        out.count(value);
    }
    stale_args(out, layout.mark(side.stale));
}

fn stale_json(object: Object, stale: Option<StaleMark>) -> Object {
    object
        .int("stale", i64::from(stale.is_some()))
        .text("stale_reason", stale.map_or("", |s| s.reason))
        .int("stale_since", stale.map_or(0, |s| s.since_ms))
}

const fn upper(side: HoldSide) -> &'static str {
    match side {
        HoldSide::Long => "LONG",
        HoldSide::Short => "SHORT",
    }
}

/// `long_trader_position` or `short_trader_position` of the primary symbol.
pub fn side_json(out: &mut Commands, layout: &Layout, side: Side<'_>) {
    let p = side.picture;
    let keys = layout.of(p.symbol);
    let open = side.open();
    let object = Object::new()
        .text("id", &format!("{}-{}", keys.name, p.side.label()))
        .text("symbol", &keys.ccxt_name)
        .text("direction", upper(p.side))
        .bool("has_position", open.is_some())
        .text("status", if open.is_some() { "OPEN" } else { "FLAT" })
        .decimal("entry_price", open.map_or(Decimal::ZERO, |o| o.entry_price))
        .null("entry_time")
        .decimal_or_null("current_price", open.and_then(|o| o.mark_price))
        .decimal("size", open.map_or(Decimal::ZERO, |o| o.size))
        // A number also when flat: old pages parse it before they look whether there is a position.
        .decimal("leverage", open.map_or(Decimal::ZERO, |o| o.leverage))
        .decimal_or_null("unrealized_pnl", open.map_or(Some(Decimal::ZERO), unrealised))
        .decimal_or_null("pnl_percent", open.map_or(Some(Decimal::ZERO), return_percent))
        .raw("take_profits", "[]")
        .null("stop_loss")
        .text("timestamp", &stamp::iso(layout.stamp(p.verified_ms)))
        .int("ts_ms", layout.stamp(p.verified_ms));
    let key = match p.side {
        HoldSide::Long => "long_trader_position",
        HoldSide::Short => "short_trader_position",
    };
    out.set(Tag::SideJson(p.side), key, stale_json(object, layout.mark(side.stale)).end(), None);
}

/// Which side is 'the' position: the largest notional, ties to the last changed, then to the long side. `None` while
/// what is known does not allow a statement.
fn choose<'a>(long: Option<Side<'a>>, short: Option<Side<'a>>) -> Option<(Side<'a>, bool)> {
    let sides = [long, short];
    let open: Vec<Side<'a>> = sides.into_iter().flatten().filter(|s| s.open().is_some()).collect();
    let both_open = open.len() == 2;
    let rank = |s: &Side<'_>| (s.open().map_or(Decimal::ZERO, notional), s.picture.update_time_ms);
    if let Some(chosen) = open.into_iter().reduce(|best, s| if rank(&s) > rank(&best) { s } else { best }) {
        return Some((chosen, both_open));
    }
    // Flat on both sides: the statement is as old as the older proof, and stale if either is.
    let (long, short) = (long?, short?);
    let older = if short.picture.verified_ms < long.picture.verified_ms { short } else { long };
    Some((Side { stale: older.stale.or(long.stale).or(short.stale), ..older }, false))
}

/// Renews the expiry of the hash. Sent once the hash is confirmed: a key of a foreign type must not be made to vanish.
pub fn current_expiry(out: &mut Commands, layout: &Layout) {
    out.words(Tag::CurrentExpiry, &["EXPIRE", hash_key(layout), &CURRENT_EXPIRY_S.to_string()]);
}

fn hash_key(layout: &Layout) -> &'static str {
    match layout.settings.position_format {
        PositionFormat::Hash => "current_position",
        PositionFormat::LegacyJson => "current_position:hash",
    }
}

/// `current_position` in the configured format, and `active_position`. Writes nothing while only one
/// side is known and that one is flat.
pub fn current(out: &mut Commands, layout: &Layout, long: Option<Side<'_>>, short: Option<Side<'_>>) {
    let Some((side, hedge)) = choose(long, short) else { return };
    let json = legacy_json(layout, side);
    current_hash(out, layout, hash_key(layout), side, hedge);
    if layout.settings.position_format == PositionFormat::LegacyJson {
        out.set(Tag::CurrentJson, "current_position", &json, Some(CURRENT_EXPIRY_S));
    }
    out.set(Tag::Active, "active_position", &json, None);
}

/// The fields of the hash by which a value of another program is told from ours.
pub const CURRENT_LOOKED: [&str; 7] = ["side", "size", "entryPrice", "leverage", "updateTime", "timestamp", "seq"];

fn current_hash(out: &mut Commands, layout: &Layout, key: &str, side: Side<'_>, hedge: bool) {
    let p = side.picture;
    let open = side.open();
    out.settle();
    let from = out.bytes().len();
    out.begin(Tag::CurrentHash, 2 + 2 * 23);
    out.arg("HSET");
    out.arg(key);
    let mut text = |name: &str, value: &str| {
        out.arg(name);
        out.arg(value);
    };
    text("symbol", &layout.of(p.symbol).seed_name);
    text("side", open.map_or("none", |_| p.side.label()));
    text("marginMode", open.map_or("", |o| o.margin_mode.label()));
    text("has_position", if open.is_some() { "1" } else { "0" });
    text("holdMode", open.map_or("", |o| o.hold_mode.label()));
    text("hedge", if hedge { "1" } else { "0" });
    text("source", p.source.label());
    let numbers = [
        ("size", Some(open.map_or(Decimal::ZERO, |o| o.size))),
        ("entryPrice", Some(open.map_or(Decimal::ZERO, |o| o.entry_price))),
        ("markPrice", open.and_then(|o| o.mark_price)),
        ("unrealizedPnL", open.map_or(Some(Decimal::ZERO), unrealised)),
        ("leverage", open.map(|o| o.leverage)),
        ("liquidationPrice", open.and_then(|o| o.liquidation_price)),
        ("breakEvenPrice", open.and_then(|o| o.break_even_price)),
        ("margin", open.and_then(|o| o.margin)),
        ("pnl_percent", open.map_or(Some(Decimal::ZERO), return_percent)),
    ];
    for (name, value) in numbers {
        out.arg(name);
        out.decimal_or_empty(value);
    }
    for (name, value) in [("updateTime", p.update_time_ms), ("timestamp", layout.stamp(p.verified_ms))] {
        out.arg(name);
        out.int(value);
    }
    for (name, value) in [("seq", p.seq), ("epoch", layout.epoch)] {
        out.arg(name);
        out.count(value);
    }
    stale_args(out, layout.mark(side.stale));
    out.mark_fields(from, &CURRENT_LOOKED);
}

/// What old dashboards parse: the union of the two dialects they were written for.
fn legacy_json(layout: &Layout, side: Side<'_>) -> String {
    let p = side.picture;
    let open = side.open();
    let size = open.map_or(Decimal::ZERO, |o| o.size);
    let gain = open.map_or(Some(Decimal::ZERO), unrealised);
    let object = Object::new()
        .bool("has_position", open.is_some())
        .text("symbol", &layout.of(p.symbol).seed_name)
        .text("position_side", open.map_or("none", |_| p.side.label()))
        .text("direction", open.map_or("NONE", |_| upper(p.side)))
        .decimal("entry_price", open.map_or(Decimal::ZERO, |o| o.entry_price))
        .decimal_or_null("current_price", open.and_then(|o| o.mark_price))
        .decimal("position_size", size)
        .decimal("size", size)
        // A number also when flat: old pages parse it before they look whether there is a position.
        .decimal("leverage", open.map_or(Decimal::ZERO, |o| o.leverage))
        .decimal_or_null("pnl_percent", open.map_or(Some(Decimal::ZERO), return_percent))
        .decimal_or_null("pnl_usd", gain)
        .decimal_or_null("pnl", gain)
        .null("stop_loss")
        .null("take_profit")
        .null("take_profit_target")
        .raw("take_profits", "[]")
        .null("entry_time")
        .int("update_time", p.update_time_ms)
        .text("timestamp", &stamp::iso(layout.stamp(p.verified_ms)))
        .int("ts_ms", layout.stamp(p.verified_ms))
        .text("source", &format!("bitget-{}", p.source.label()));
    stale_json(object, layout.mark(side.stale)).end()
}

#[cfg(test)]
mod tests;
