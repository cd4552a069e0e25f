//! Private REST: positions, balances, fills and orders of the account, in both generations.

use super::product::{self, Asked};
use super::query::Query;
use super::{Refusal, lists};
use crate::domain::position::HoldMode;
use crate::domain::symbol::Product;
use crate::venue::account::encode::{self, rest_ok, v2_rest, v3_rest};
use crate::venue::account::{Account, AccountConfig};
use crate::venue::owners::OwnerId;
use rust_decimal::Decimal;
use serde_json::Value;

/// What is answered here; everything else does not exist.
pub const PATHS: [&str; 23] = [
    "/api/v2/common/trade-rate",
    "/api/v2/mix/position/all-position",
    "/api/v2/mix/position/single-position",
    "/api/v2/mix/position/history-position",
    "/api/v2/mix/account/accounts",
    "/api/v2/mix/account/account",
    "/api/v2/mix/order/fills",
    "/api/v2/mix/order/fill-history",
    "/api/v2/mix/order/detail",
    "/api/v2/mix/account/bill",
    "/api/v2/spot/account/assets",
    "/api/v2/mix/order/orders-pending",
    "/api/v2/mix/order/orders-history",
    "/api/v3/account/settings",
    "/api/v3/account/assets",
    "/api/v3/position/current-position",
    "/api/v3/position/history-position",
    "/api/v3/trade/fills",
    "/api/v3/trade/unfilled-orders",
    "/api/v3/trade/history-orders",
    "/api/v3/trade/order-info",
    "/api/v3/account/fee-rate",
    "/api/v3/account/financial-records",
];

/// The answer to a signed request. `empty` = fault `rest_list_null`: no rows, whatever there is.
pub fn answer(
    account: &Account,
    owner: OwnerId,
    path: &str,
    query: &Query,
    now_ms: i64,
    empty: bool,
) -> Result<String, Refusal> {
    let key = if path.starts_with("/api/v2/") { "productType" } else { "category" };
    let asked = product::asked(query, key)?.map(|asked| match asked {
        Asked::Traded(product) => product,
        Asked::Untraded => not_held(account),
    });
    let product = || asked.ok_or_else(|| Refusal::parameter(key));
    // Clients ask for everything by naming no product; this account has one.
    let any_product = asked.unwrap_or_else(|| account.product());
    let symbol = query.get("symbol").map(str::to_uppercase);
    let symbol = symbol.as_deref();
    let page = page(query);
    if empty && let Some(data) = no_rows(path) {
        return Ok(rest_ok(data, now_ms));
    }
    Ok(match path {
        "/api/v2/mix/position/all-position" => v2_rest::positions(account, product()?, None, now_ms),
        "/api/v2/mix/position/single-position" => {
            let symbol = symbol.ok_or_else(|| Refusal::parameter("symbol"))?;
            v2_rest::positions(account, product()?, Some(symbol), now_ms)
        }
        "/api/v2/mix/position/history-position" => v2_rest::history_position(account, any_product, &page, now_ms),
        "/api/v2/mix/account/accounts" => v2_rest::accounts(account, product()?, now_ms),
        "/api/v2/mix/account/account" => balance(account, any_product, query, now_ms),
        "/api/v2/mix/order/fills" | "/api/v2/mix/order/fill-history" => {
            v2_rest::fills(account, product()?, &page, now_ms)
        }
        "/api/v2/mix/order/orders-pending" => v2_rest::orders_pending(account, product()?, &page, now_ms),
        "/api/v2/mix/order/orders-history" => v2_rest::orders_history(account, product()?, &page, now_ms),
        "/api/v2/mix/order/detail" => one_order(query, "/data/entrustedList", account, any_product, now_ms)?,
        "/api/v2/mix/account/bill" => rest_ok(r#"{"bills":[],"endId":""}"#, now_ms),
        "/api/v2/spot/account/assets" => rest_ok("[]", now_ms),
        "/api/v2/common/trade-rate" => rest_ok(&fee_rates(account, business(query)?), now_ms),
        "/api/v3/account/fee-rate" => rest_ok(&fee_rates(account, spot_named(query)), now_ms),
        "/api/v3/account/financial-records" => rest_ok(r#"{"list":null,"cursor":null}"#, now_ms),
        "/api/v3/trade/order-info" => one_order(query, "/data/list", account, any_product, now_ms)?,
        "/api/v3/account/settings" => rest_ok(&settings(account, owner), now_ms),
        "/api/v3/account/assets" => v3_rest::assets(account, now_ms),
        "/api/v3/position/current-position" => v3_rest::current_position(account, product()?, symbol, now_ms),
        "/api/v3/position/history-position" => v3_rest::history_position(account, any_product, &page, now_ms),
        "/api/v3/trade/fills" => v3_rest::fills(account, any_product, &page, now_ms),
        "/api/v3/trade/unfilled-orders" => v3_rest::unfilled_orders(account, any_product, &page, now_ms),
        "/api/v3/trade/history-orders" => v3_rest::history_orders(account, any_product, &page, now_ms),
        _ => return Err(Refusal { status: 404, ..Refusal::new("40404", "Request URL NOT FOUND") }),
    })
}

/// The order of an `orderId` or `clientOid`, waiting or finished, as one row.
fn one_order(query: &Query, rows: &str, account: &Account, product: Product, now_ms: i64) -> Result<String, Refusal> {
    let wanted = |key: &str| query.get(key).map(str::to_owned);
    let (id, client_id) = (wanted("orderId"), wanted("clientOid"));
    if id.is_none() && client_id.is_none() {
        return Err(Refusal::parameter("orderId"));
    }
    let asked = page(query);
    let all = encode::Query { order_id: asked.order_id, symbol: asked.symbol, ..Default::default() };
    let pages = if rows.ends_with("entrustedList") {
        [
            v2_rest::orders_pending(account, product, &all, now_ms),
            v2_rest::orders_history(account, product, &all, now_ms),
        ]
    } else {
        [
            v3_rest::unfilled_orders(account, product, &all, now_ms),
            v3_rest::history_orders(account, product, &all, now_ms),
        ]
    };
    let fits = |row: &&Value| {
        id.as_ref().is_none_or(|id| row["orderId"] == *id)
            && client_id.as_ref().is_none_or(|id| row["clientOid"] == *id)
    };
    let pages = pages.iter().filter_map(|page| serde_json::from_str::<Value>(page).ok());
    let found = pages.into_iter().find_map(|page| page.pointer(rows)?.as_array()?.iter().find(fits).cloned());
    match found {
        Some(mut row) => {
            if let (Some(status), true) = (row.get("status").cloned(), rows.ends_with("entrustedList")) {
                // The detail calls it otherwise.
                row["state"] = status;
            }
            Ok(rest_ok(&row.to_string(), now_ms))
        }
        None => Err(Refusal::new("40109", "The data of the order cannot be found, please confirm the order number")),
    }
}

fn page(query: &Query) -> encode::Query {
    let number = |key: &str| query.get(key).and_then(|text| text.parse::<i64>().ok());
    let id = |key: &str| query.get(key).and_then(|text| text.parse::<u64>().ok());
    encode::Query {
        symbol: query.get("symbol").map(str::to_uppercase),
        order_id: id("orderId"),
        start_ms: number("startTime"),
        end_ms: number("endTime"),
        before: id("idLessThan").or_else(|| id("cursor")),
        limit: query.get("limit").and_then(|text| text.parse().ok()),
    }
}

/// What the exchange says when there is nothing: an empty list on v2, `null` on v3.
fn no_rows(path: &str) -> Option<&'static str> {
    match path {
        "/api/v2/mix/position/all-position" | "/api/v2/mix/position/single-position" => Some("[]"),
        "/api/v2/mix/order/fills" | "/api/v2/mix/order/fill-history" => Some(r#"{"fillList":null,"endId":null}"#),
        "/api/v2/mix/order/orders-pending" | "/api/v2/mix/order/orders-history" => {
            Some(r#"{"entrustedList":null,"endId":null}"#)
        }
        "/api/v3/position/current-position" => Some(r#"{"list":null}"#),
        "/api/v3/trade/fills" | "/api/v3/trade/unfilled-orders" | "/api/v3/position/history-position" => {
            Some(r#"{"list":null,"cursor":null}"#)
        }
        _ => None,
    }
}

/// Any product but the account's own: it answers for none of them.
fn not_held(account: &Account) -> Product {
    let other = Product::ALL.into_iter().find(|product| *product != account.product());
    other.unwrap_or_else(|| account.product())
}

/// One coin's balance; of a product that is not held, nothing of the coin that is asked for.
fn balance(account: &Account, product: Product, query: &Query, now_ms: i64) -> String {
    if product == account.product() {
        return v2_rest::account(account, now_ms);
    }
    let coin = query.get("marginCoin").map_or_else(|| account.coin().to_owned(), str::to_uppercase);
    let nothing = AccountConfig { coin, product, balance: Decimal::ZERO, ..account.config().clone() };
    v2_rest::account(&Account::new(nothing), now_ms)
}

/// v2 names a business instead of a product here; whether it is another than contracts.
fn business(query: &Query) -> Result<bool, Refusal> {
    match query.get("businessType").map(str::to_lowercase).as_deref() {
        None | Some("mix") => Ok(false),
        Some("spot" | "margin") => Ok(true),
        Some(_) => Err(Refusal::parameter("businessType")),
    }
}

fn spot_named(query: &Query) -> bool {
    query.get("category").is_some_and(|name| ["SPOT", "MARGIN"].iter().any(|spot| spot.eq_ignore_ascii_case(name)))
}

/// What fills really cost, or would cost in spot by the list of its symbols.
fn fee_rates(account: &Account, spot: bool) -> String {
    let config = account.config();
    if spot {
        return format!(r#"{{"makerFeeRate":"{0}","takerFeeRate":"{0}"}}"#, lists::SPOT_FEE);
    }
    format!(r#"{{"makerFeeRate":"{}","takerFeeRate":"{}"}}"#, config.maker_fee, config.taker_fee)
}

fn settings(account: &Account, owner: OwnerId) -> String {
    let mode = match account.hold_mode() {
        HoldMode::OneWay => "one_way_mode",
        HoldMode::Hedge => "hedge_mode",
    };
    format!(
        concat!(
            r#"{{"uid":"{uid}","accountMode":"unified","accountLevel":"advanced","assetMode":"union","#,
            r#""holdMode":"{mode}","stpMode":"none","symbolConfigList":[],"coinConfigList":[]}}"#
        ),
        uid = 1_000_000_001 + owner,
        mode = mode
    )
}
