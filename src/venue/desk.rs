//! The account towards clients: which push says what, in both generations (bitget.md, section 4.5).

use super::account::encode::{self, v2, v3};
use super::account::{Account, Happened};
use super::config::Generation;
use super::hub::{Feed, Topic};
use crate::domain::symbol::Product;
use rust_decimal::Decimal;

fn product(topic: Topic) -> Product {
    topic.product.unwrap_or(Product::UsdtFutures)
}

/// What a (re-)subscription brings at once; orders, fills and history bring nothing.
pub fn snapshot(account: &Account, topic: Topic, ts_ms: i64) -> Option<String> {
    match (topic.generation, topic.feed) {
        (Generation::V2, Feed::Positions) => Some(v2::positions(account, product(topic), ts_ms)),
        (Generation::V2, Feed::Account) => Some(v2::account(account, product(topic), ts_ms)),
        (Generation::V3, Feed::Positions) => Some(v3::positions_snapshot(account, ts_ms)),
        (Generation::V3, Feed::Account) => Some(v3::account(account, ts_ms)),
        _ => None,
    }
}

/// A snapshot without rows, true or not.
pub fn empty_positions(topic: Topic, ts_ms: i64) -> String {
    match topic.generation {
        Generation::V2 => {
            let arg = v2::default_arg(product(topic), "positions");
            v2::frame(encode::Action::Snapshot, &arg, "[]", ts_ms)
        }
        Generation::V3 => v3::frame(encode::Action::Snapshot, &v3::arg("position"), "[]", ts_ms),
    }
}

/// The pushes for what happened on this topic, in order. `symbol` narrows a v2 `fill` subscription.
pub fn pushes(account: &Account, topic: Topic, symbol: Option<&str>, happened: &Happened, ts_ms: i64) -> Vec<String> {
    if topic.generation == Generation::V2 && product(topic) != account.product() {
        return Vec::new();
    }
    let some = |wanted: bool, text: &dyn Fn() -> String| if wanted { vec![text()] } else { Vec::new() };
    let positions = !happened.positions.is_empty();
    match (topic.generation, topic.feed) {
        (Generation::V2, Feed::Positions) => some(positions, &|| v2::positions(account, product(topic), ts_ms)),
        (Generation::V3, Feed::Positions) => {
            some(positions, &|| v3::positions_update(account, &happened.positions, ts_ms))
        }
        (Generation::V2, Feed::History) => {
            some(!happened.history.is_empty(), &|| v2::positions_history(account, &happened.history, ts_ms))
        }
        // Each update of an order is a push of its own.
        (Generation::V2, Feed::Orders) => {
            happened.orders.iter().map(|o| v2::orders(account, std::slice::from_ref(o), ts_ms)).collect()
        }
        (Generation::V3, Feed::Orders) => {
            happened.orders.iter().map(|o| v3::orders(account, std::slice::from_ref(o), ts_ms)).collect()
        }
        (Generation::V2, Feed::Fills) => {
            let ours = happened.fills.iter().filter(|fill| symbol.is_none_or(|s| s == fill.symbol));
            let fills: Vec<_> = ours.cloned().collect();
            let all = v2::default_arg(product(topic), "fill");
            let arg = symbol.map_or_else(|| all.clone(), |symbol| all.replace("default", symbol));
            some(!fills.is_empty(), &|| {
                v2::frame(encode::Action::Snapshot, &arg, &v2::fill_rows(account, &fills), ts_ms)
            })
        }
        (Generation::V3, Feed::Fills) => {
            some(!happened.fills.is_empty(), &|| v3::fills(account, &happened.fills, ts_ms))
        }
        (Generation::V2, Feed::Account) => {
            some(happened.account.is_some(), &|| v2::account(account, product(topic), ts_ms))
        }
        (Generation::V2, Feed::Equity) => some(happened.account.is_some(), &|| equity(account, product(topic), ts_ms)),
        (Generation::V3, Feed::Account) => some(happened.account.is_some(), &|| v3::account(account, ts_ms)),
        _ => Vec::new(),
    }
}

/// v2 `equity`: told when orders fill and money comes, not on subscription; its argument has no selector.
fn equity(account: &Account, product: Product, ts_ms: i64) -> String {
    let row = account.account_row();
    let bitcoin = account.mark_price("BTCUSDT").and_then(|mark| row.equity.checked_div(mark)).unwrap_or_default();
    let cell = |number: Decimal| number.round_dp(12).normalize().to_string();
    let arg = format!(r#"{{"instType":"{}","channel":"equity"}}"#, encode::product_type(product));
    let rows = format!(
        concat!(
            r#"[{{"btcEquity":"{bitcoin}","usdtEquity":"{equity}","unrealizedPL":"{unrealised}","#,
            r#""unionTotalMargin":"0","unionAvailable":"0","unionMm":"0"}}]"#
        ),
        bitcoin = cell(bitcoin),
        equity = cell(row.equity),
        unrealised = cell(row.unrealised_pnl),
    );
    v2::frame(encode::Action::Snapshot, &arg, &rows, ts_ms)
}
