//! Rows of the private channels, and the same rows as REST spells them.
//!
//! A position statement is believed as a whole or not at all: with one unreadable row left out, its side would
//! look flat. Orders, fills and balances are independent rows.

use super::consts::{Generation, product};
use super::messages::{AccountRow, FillRow, OrderRow, PositionRow};
use super::parse::{Decoded, Flaw};
use super::scalar::{Name, Scalar};
use super::subscribe::{Channel, Stream};
use crate::domain::account::{AccountState, Fill, FillEffect, Order, OrderSide, OrderStatus};
use crate::domain::position::{Coverage, HoldMode, HoldSide, MarginMode, Position, PositionStatement};
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::report::Report;
use crate::domain::symbol::{Product, SymbolId, Symbols};
use rust_decimal::Decimal;
use serde::Deserialize;

/// Whose rows, and when they were said.
pub(super) struct PrivateRows<'s> {
    generation: Generation,
    symbols: &'s Symbols,
    received_ms: i64,
    /// Envelope time of the socket; request time of REST.
    time_ms: i64,
}

type Outcome = Result<(), Flaw>;

impl<'s> PrivateRows<'s> {
    pub(super) fn new(generation: Generation, symbols: &'s Symbols, received_ms: i64, time_ms: i64) -> Self {
        Self { generation, symbols, received_ms, time_ms }
    }

    /// Appends the reports of one private frame.
    pub(super) fn read(&self, stream: Stream, snapshot: bool, rows: &str, out: &mut Decoded) -> Outcome {
        match stream.channel {
            Channel::Positions => {
                // Only `snapshot` says anything about what is absent, in either generation.
                let complete = Coverage::Complete { product: stream.product };
                self.positions(rows, if snapshot { complete } else { Coverage::Partial }, stream.product, out)
            }
            Channel::Account => self.accounts(rows, out),
            Channel::Orders => self.orders(rows, stream.product, out),
            Channel::Fills => self.fills(rows, stream.product, out),
            Channel::Ticker | Channel::Trades | Channel::Candles(_) => Err(Flaw::bad("not a private channel")),
        }
    }

    /// `rows` is a JSON array; anything else is no statement.
    pub(super) fn positions(
        &self,
        rows: &str,
        coverage: Coverage,
        product: Option<Product>,
        out: &mut Decoded,
    ) -> Outcome {
        let wire: Vec<PositionRow<'_>> = list(rows)?;
        let mut rows = Vec::with_capacity(wire.len());
        for row in &wire {
            let name = [&row.inst_id, &row.symbol].into_iter().find_map(Name::get).ok_or(Flaw::bad("symbol"))?;
            match self.symbol(name, &row.category, product) {
                Some(symbol) => rows.push(position(row, symbol)?),
                None => self.refuse(Flaw::new(Refusal::UnknownSymbol, "symbol"), "positions", name, out),
            }
        }
        let statement = PositionStatement { coverage, exchange_time_ms: self.time_ms, rows };
        out.reports.push(Report::Positions(Box::new(statement)));
        Ok(())
    }

    pub(super) fn accounts(&self, rows: &str, out: &mut Decoded) -> Outcome {
        for row in list::<AccountRow<'_>>(rows)? {
            self.take(self.account(&row).map(|a| Report::Account(Box::new(a))), "account", out);
        }
        Ok(())
    }

    /// One object instead of a list: the unified account as REST gives it.
    pub(super) fn account_object(&self, object: &str, out: &mut Decoded) -> Outcome {
        let row: AccountRow<'_> = serde_json::from_str(object).map_err(|_| Flaw::bad("data"))?;
        out.reports.push(Report::Account(Box::new(self.account(&row)?)));
        Ok(())
    }

    fn orders(&self, rows: &str, product: Option<Product>, out: &mut Decoded) -> Outcome {
        for row in list::<OrderRow<'_>>(rows)? {
            let name = [&row.inst_id, &row.symbol].into_iter().find_map(Name::get).unwrap_or_default();
            match self.symbol(name, &row.category, product) {
                Some(symbol) => {
                    self.take(self.order(&row, symbol).map(|o| Report::Order(Box::new(o))), "order", out);
                }
                None => self.refuse(Flaw::new(Refusal::UnknownSymbol, "symbol"), "order", name, out),
            }
        }
        Ok(())
    }

    pub(super) fn fills(&self, rows: &str, product: Option<Product>, out: &mut Decoded) -> Outcome {
        for row in list::<FillRow<'_>>(rows)? {
            let name = row.symbol.as_str();
            match self.symbol(name, &row.category, product) {
                Some(symbol) => {
                    self.take(self.fill(&row, symbol).map(|f| Report::Fill(Box::new(f))), "fill", out);
                }
                None => self.refuse(Flaw::new(Refusal::UnknownSymbol, "symbol"), "fill", name, out),
            }
        }
        Ok(())
    }

    fn symbol(&self, name: &str, category: &Name<'_>, wanted: Option<Product>) -> Option<SymbolId> {
        let id = self.symbols.id(name)?;
        let own = self.symbols.get(id).product;
        let said = category.get().map(product);
        (said.is_none_or(|said| said == Some(own)) && wanted.is_none_or(|wanted| wanted == own)).then_some(id)
    }

    fn take(&self, row: Result<Report, Flaw>, kind: &'static str, out: &mut Decoded) {
        match row {
            Ok(report) => out.reports.push(report),
            Err(flaw) => self.refuse(flaw, kind, flaw.field, out),
        }
    }

    fn refuse(&self, flaw: Flaw, kind: &'static str, detail: &str, out: &mut Decoded) {
        out.refused.push(Refused::new(flaw.refusal, kind, self.received_ms, detail).at(self.time_ms));
    }

    fn account(&self, row: &AccountRow<'_>) -> Result<AccountState, Flaw> {
        let coin = match self.generation {
            Generation::Unified => "USD",
            Generation::Classic => row.margin_coin.get().ok_or(Flaw::bad("margin coin"))?,
        };
        let equity = first(&[row.total_equity, row.account_equity, row.equity], "equity")?;
        let state = AccountState {
            coin: coin.to_owned(),
            exchange_time_ms: self.time_ms,
            equity,
            available: number(row.available, "available")?,
            frozen: number(row.frozen, "frozen")?,
            unrealised_pnl: first(&[row.unrealised_pnl, row.unrealized_pl], "unrealised pnl")?,
        };
        // A row without a single amount says nothing.
        if state.equity.is_none() && state.available.is_none() { Err(Flaw::bad("equity")) } else { Ok(state) }
    }

    fn order(&self, row: &OrderRow<'_>, symbol: SymbolId) -> Result<Order, Flaw> {
        let market = row.order_type.as_str().eq_ignore_ascii_case("market");
        Ok(Order {
            symbol,
            exchange_time_ms: self.time_ms,
            order_id: row.order_id.get().ok_or(Flaw::bad("order id"))?.to_owned(),
            client_order_id: row.client_oid.get().map(str::to_owned),
            side: order_side(&row.side)?,
            status: match row.status.as_str() {
                "live" | "new" => OrderStatus::Live,
                "partially_filled" => OrderStatus::PartiallyFilled,
                "filled" => OrderStatus::Filled,
                "canceled" | "cancelled" => OrderStatus::Cancelled,
                _ => return Err(Flaw::bad("order status")),
            },
            price: number(row.price, "order price")?.filter(|price| !market && !price.is_zero()),
            size: required(row.size, "order size")?,
            filled: number(row.filled, "filled size")?.unwrap_or_default(),
            average_price: number(row.average_price, "average price")?.filter(|price| !price.is_zero()),
            update_time_ms: millis(row.update_time, "update time")?.unwrap_or(self.time_ms),
        })
    }

    fn fill(&self, row: &FillRow<'_>, symbol: SymbolId) -> Result<Fill, Flaw> {
        let happened = [row.exec_time, row.created_time, row.create_time, row.update_time];
        let happened = happened.into_iter().find(|time| !time.is_absent()).unwrap_or_default();
        let hedge = row.pos_mode.as_str().starts_with("hedge");
        let said_side = order_side(&row.side)?;
        // `open`, `close`, `open_long`, `buy_single`, `reduce_sell_single`, `burst_close_long` ... in all versions.
        let word = row.trade_side.as_str();
        let effect = match word {
            _ if word.contains("single") => FillEffect::Net,
            _ if word.contains("open") => FillEffect::Open,
            _ if word.contains("close") || word.contains("reduce") => FillEffect::Close,
            _ => FillEffect::Net,
        };
        let said = [&row.hold_side, &row.pos_side].into_iter().find_map(Name::get).and_then(hold_side);
        // In hedge mode `side` of a classic account is the direction of the position, also when it closes.
        let hold_side = said.or(match (hedge, said_side) {
            (true, OrderSide::Buy) => Some(HoldSide::Long),
            (true, OrderSide::Sell) => Some(HoldSide::Short),
            (false, _) => None,
        });
        // Behind this door `side` is what was traded.
        let side = match (hold_side, effect) {
            (Some(HoldSide::Long), FillEffect::Open) | (Some(HoldSide::Short), FillEffect::Close) => OrderSide::Buy,
            (Some(HoldSide::Short), FillEffect::Open) | (Some(HoldSide::Long), FillEffect::Close) => OrderSide::Sell,
            (_, FillEffect::Net) | (None, _) => said_side,
        };
        let fee_row = row.fee_detail.first();
        let (fee_coin, fee) = match fee_row {
            None => ("", Decimal::ZERO),
            Some(row) => {
                let charged = number(row.total_fee, "fee")?.map(|fee| -fee);
                let paid = number(row.fee, "fee")?;
                (row.fee_coin.as_str(), charged.or(paid).unwrap_or_default())
            }
        };
        Ok(Fill {
            symbol,
            exchange_time_ms: millis(happened, "fill time")?.unwrap_or(self.time_ms),
            trade_id: row.trade_id.get().ok_or(Flaw::bad("trade id"))?.to_owned(),
            order_id: row.order_id.get().ok_or(Flaw::bad("order id"))?.to_owned(),
            client_order_id: row.client_oid.get().map(str::to_owned),
            side,
            hold_side,
            effect,
            price: required(row.price, "fill price")?,
            size: required(row.size, "fill size")?,
            fee,
            fee_coin: fee_coin.to_owned(),
            profit: number(row.profit, "profit")?.unwrap_or_default(),
        })
    }
}

fn position(row: &PositionRow<'_>, symbol: SymbolId) -> Result<Position, Flaw> {
    let side = [&row.hold_side, &row.pos_side].into_iter().find_map(Name::get).and_then(hold_side);
    let ended = row.position_status.as_str().eq_ignore_ascii_case("ended");
    let size = match first(&[row.total, row.size], "size")? {
        _ if ended => Decimal::ZERO,
        Some(size) => size,
        None => return Err(Flaw::bad("size")),
    };
    let flat = size.is_zero();
    let margin_mode = match row.margin_mode.as_str() {
        "crossed" | "cross" => MarginMode::Crossed,
        "isolated" | "fixed" => MarginMode::Isolated,
        _ if flat => MarginMode::Crossed,
        _ => return Err(Flaw::bad("margin mode")),
    };
    let hold_mode = [&row.pos_mode, &row.hold_mode].into_iter().find_map(Name::get).unwrap_or_default();
    let leverage = match number(row.leverage, "leverage")? {
        Some(leverage) => leverage,
        None if flat => Decimal::ONE,
        None => return Err(Flaw::bad("leverage")),
    };
    let update = if row.u_time.is_absent() { row.updated_time } else { row.u_time };
    Ok(Position {
        symbol,
        side: side.ok_or(Flaw::bad("hold side"))?,
        size,
        available: number(row.available, "available")?,
        // Absent stays 0: the rule against a size without a price is the validator's.
        entry_price: first(&[row.open_price_avg, row.avg_price], "entry price")?.unwrap_or_default(),
        mark_price: number(row.mark_price, "mark price")?.filter(|price| !price.is_zero()),
        unrealised_pnl: first(&[row.unrealized_pl, row.unrealised_pnl], "unrealised pnl")?,
        leverage,
        margin_mode,
        hold_mode: if hold_mode.starts_with("hedge") { HoldMode::Hedge } else { HoldMode::OneWay },
        margin: first(&[row.margin_size, row.position_balance], "margin")?,
        liquidation_price: first(&[row.liquidation_price, row.liq_price], "liquidation price")?
            .filter(|price| *price > Decimal::ZERO),
        break_even_price: number(row.break_even_price, "break even price")?.filter(|price| !price.is_zero()),
        total_fee: first(&[row.total_fee, row.total_funding_fee, row.total_funding], "total fee")?,
        update_time_ms: millis(update, "update time")?.unwrap_or_default(),
    })
}

fn list<'a, T: Deserialize<'a>>(rows: &'a str) -> Result<Vec<T>, Flaw> {
    serde_json::from_str(rows).map_err(|_| Flaw::bad("data"))
}

fn number(scalar: Scalar<'_>, field: &'static str) -> Result<Option<Decimal>, Flaw> {
    scalar.decimal().map_err(|refusal| Flaw::new(refusal, field))
}

fn required(scalar: Scalar<'_>, field: &'static str) -> Result<Decimal, Flaw> {
    number(scalar, field)?.ok_or(Flaw::bad(field))
}

/// The first spelling that says something.
fn first(scalars: &[Scalar<'_>], field: &'static str) -> Result<Option<Decimal>, Flaw> {
    scalars.iter().find(|scalar| !scalar.is_absent()).map_or(Ok(None), |&scalar| number(scalar, field))
}

fn millis(scalar: Scalar<'_>, field: &'static str) -> Result<Option<i64>, Flaw> {
    scalar.millis().map_err(|refusal| Flaw::new(refusal, field))
}

fn hold_side(word: &str) -> Option<HoldSide> {
    match word {
        "long" => Some(HoldSide::Long),
        "short" => Some(HoldSide::Short),
        _ => None,
    }
}

fn order_side(side: &Name<'_>) -> Result<OrderSide, Flaw> {
    match side.as_str() {
        "buy" => Ok(OrderSide::Buy),
        "sell" => Ok(OrderSide::Sell),
        _ => Err(Flaw::bad("side")),
    }
}
