//! The control door, `/_exchange/…`: what the exchange does on command and what it says of itself. GET with a query
//! or POST with a JSON object. It is not part of the protocol; no client library knows it.

use super::account::{Effect, HoldMode, HoldSide, MarketOrder, OrderSide};
use super::core::{Core, Shared};
use super::faults::{CATALOGUE, FaultName, FaultSpec};
use super::http::{Reply, json as reply};
use super::outbox::End;
use super::owners::{MAIN_NAME, OwnerId};
use super::rest::query::Query;
use hyper::StatusCode;
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};
use std::sync::atomic::Ordering;

/// What was asked for: the query's parameters, or the body's fields as text.
struct Asked {
    query: Query,
    body: Map<String, Value>,
}

impl Asked {
    fn get(&self, key: &str) -> Option<String> {
        match self.body.get(key) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Null) | None => self.query.get(key).map(str::to_owned),
            Some(other) => Some(other.to_string()),
        }
    }

    fn need(&self, key: &str) -> Result<String, String> {
        self.get(key).ok_or_else(|| format!("`{key}` is missing"))
    }

    fn decimal(&self, key: &str) -> Result<Option<Decimal>, String> {
        let parse =
            |text: String| Decimal::from_str_exact(&text).map_err(|_| format!("`{key}`: {text:?} is no number"));
        self.get(key).map(parse).transpose()
    }

    fn number(&self, key: &str, default: u64) -> Result<u64, String> {
        let parse = |text: String| text.parse().map_err(|_| format!("`{key}`: {text:?} is no whole number"));
        self.get(key).map_or(Ok(default), parse)
    }
}

/// Answers one command; a wrong one is told what is wrong with it.
pub fn answer(shared: &Shared, command: &str, raw_query: &str, body: &[u8]) -> Reply {
    let body = if body.is_empty() {
        Ok(Map::new())
    } else {
        serde_json::from_slice(body).map_err(|e| format!("the body is no JSON object: {e}"))
    };
    let answer = body.and_then(|body| {
        let asked = Asked { query: Query::parse(raw_query), body };
        obey(shared, command.trim_end_matches('/'), &asked)
    });
    match answer {
        Ok(value) => reply(StatusCode::OK, value.to_string()),
        Err(why) => reply(StatusCode::BAD_REQUEST, json!({ "error": why }).to_string()),
    }
}

fn obey(shared: &Shared, command: &str, asked: &Asked) -> Result<Value, String> {
    match command {
        "position" => position(&mut shared.core(), asked),
        "order" => order(&mut shared.core(), asked),
        "mode" => mode(&mut shared.core(), asked),
        "fault" => fault(&mut shared.core(), asked),
        "faults" => Ok(faults(&shared.core())),
        "truth" => truth(shared, asked),
        "clients" => Ok(clients(&shared.core())),
        "close" => close(&shared.core(), asked),
        "market" => market(shared, asked),
        "stamps" => stamps(shared, asked),
        other => Err(format!(
            "no command {other:?}; there are position, order, mode, fault, faults, truth, clients, close, market, stamps"
        )),
    }
}

fn side(text: &str) -> Result<HoldSide, String> {
    match text {
        "long" => Ok(HoldSide::Long),
        "short" => Ok(HoldSide::Short),
        other => Err(format!("`side`: {other:?} is not long or short")),
    }
}

/// `position?symbol=BTCUSDT&side=long&size=0.5[&entry=60000][&account=NAME]`
fn position(core: &mut Core, asked: &Asked) -> Result<Value, String> {
    let symbol = asked.need("symbol")?.to_uppercase();
    let side = side(&asked.need("side")?)?;
    let size = asked.decimal("size")?.ok_or("`size` is missing")?;
    let owner = owner(core, asked)?;
    learn_mark(core, &symbol);
    let now_ms = core.now_ms();
    let entry = asked.decimal("entry")?;
    let account = core.account_mut(owner);
    let happened = account.set_position(&symbol, side, size, entry, now_ms).map_err(|e| e.to_string())?;
    core.account_moved(owner, &happened);
    Ok(json!({ "positions": core.positions_told(owner) }))
}

/// `account=NAME`, or the main account.
fn owner(core: &Core, asked: &Asked) -> Result<OwnerId, String> {
    let name = asked.get("account").unwrap_or_else(|| MAIN_NAME.to_owned());
    core.owner_named(&name).ok_or_else(|| {
        let names: Vec<_> = core.owners.iter().map(|owner| owner.name.as_str()).collect();
        format!("`account`: {name:?} is none of {}", names.join(", "))
    })
}

fn learn_mark(core: &mut Core, symbol: &str) {
    if let Some(&index) = core.by_name.get(symbol) {
        core.mark_accounts(index);
    }
}

/// `order?symbol=BTCUSDT&side=buy&size=0.1[&effect=open|close|net][&hold_side=long][&price=…]
/// [&account=NAME]`
fn order(core: &mut Core, asked: &Asked) -> Result<Value, String> {
    let symbol = asked.need("symbol")?.to_uppercase();
    let order_side = match asked.need("side")?.as_str() {
        "buy" => OrderSide::Buy,
        "sell" => OrderSide::Sell,
        other => return Err(format!("`side`: {other:?} is not buy or sell")),
    };
    let owner = owner(core, asked)?;
    let effect = match (asked.get("effect").as_deref(), core.account(owner).hold_mode()) {
        (Some("open"), HoldMode::Hedge) => Effect::Open,
        (Some("close"), _) => Effect::Close,
        (Some("open" | "net") | None, HoldMode::OneWay) => Effect::Net,
        (None, HoldMode::Hedge) => return Err("`effect`: hedge mode needs open or close".to_owned()),
        (Some(other), _) => return Err(format!("`effect`: {other:?} is not open, close or net (one-way mode)")),
    };
    let hold_side = asked.get("hold_side").map(|text| side(&text)).transpose()?;
    let size = asked.decimal("size")?.ok_or("`size` is missing")?;
    learn_mark(core, &symbol);
    let index = core.by_name.get(&symbol).copied().ok_or_else(|| format!("no symbol {symbol}"))?;
    let state = core.state(index);
    let market_price = if order_side == OrderSide::Buy { state.ask } else { state.bid };
    let price = asked.decimal("price")?.unwrap_or(market_price);
    let now_ms = core.now_ms();
    let closes = if order_side == OrderSide::Sell { HoldSide::Long } else { HoldSide::Short };
    let closing = (effect == Effect::Close).then(|| core.account(owner).position(&symbol, closes)).flatten();
    let order = MarketOrder { symbol, side: order_side, effect, hold_side, size, client_order_id: None };
    let before = closing.is_some().then(|| core.account(owner).without_past());
    let happened = core.account_mut(owner).execute(order, price, now_ms).map_err(|e| e.to_string())?;
    if let (Some(before), Some(row)) = (before, closing) {
        core.close_order_placed(owner, &before, row, size);
    }
    core.account_moved(owner, &happened);
    Ok(json!({ "fills": happened.fills.len(), "positions": core.positions_told(owner) }))
}

/// `mode?hold=hedge|one_way[&account=NAME]`
fn mode(core: &mut Core, asked: &Asked) -> Result<Value, String> {
    let mode = match asked.need("hold")?.as_str() {
        "hedge" => HoldMode::Hedge,
        "one_way" => HoldMode::OneWay,
        other => return Err(format!("`hold`: {other:?} is not hedge or one_way")),
    };
    let owner = owner(core, asked)?;
    core.account_mut(owner).set_hold_mode(mode).map_err(|e| e.to_string())?;
    Ok(json!({ "hold": asked.get("hold") }))
}

/// `fault?name=drop_pong&ms=5000[&value=…][&symbol=…][&scope=public|private][&every=3]`, or `&stop=1`; `name=all&stop=1`.
fn fault(core: &mut Core, asked: &Asked) -> Result<Value, String> {
    let name = asked.need("name")?;
    let stop = asked.get("stop").is_some_and(|text| text != "0" && text != "false");
    if name == "all" && stop {
        let on: Vec<FaultName> = core.faults.list().map(|active| active.spec.name).collect();
        on.into_iter().for_each(|name| core.stop_fault(name));
        return Ok(faults(core));
    }
    let name = FaultName::parse(&name).ok_or_else(|| format!("no fault {name:?}; /_exchange/faults lists them"))?;
    if stop {
        core.stop_fault(name);
        return Ok(faults(core));
    }
    let default_ms = if name.is_pulse() { 0 } else { 5_000 };
    let scope = asked.get("scope");
    if scope.as_deref().is_some_and(|scope| !matches!(scope, "public" | "private")) {
        return Err("`scope` is public or private".to_owned());
    }
    let spec = FaultSpec {
        name,
        ms: asked.number("ms", default_ms)?,
        value: asked.get("value"),
        symbol: asked.get("symbol").map(|symbol| symbol.to_uppercase()),
        scope,
        every: asked.number("every", 1)?,
    };
    core.start_fault(spec);
    Ok(faults(core))
}

fn faults(core: &Core) -> Value {
    let now_ms = core.clock.now_ms();
    let active = core.faults.list().map(|active| {
        json!({
            "name": active.spec.name.label(),
            "left_ms": (active.until_ms - now_ms).max(0),
            "value": active.spec.value,
            "symbol": active.spec.symbol,
            "scope": active.spec.scope,
            "every": active.spec.every,
            "hits": active.hits,
        })
    });
    let known = CATALOGUE.iter().map(|(name, label, does, value)| {
        let hits = core.faults.total.get(name).copied().unwrap_or(0);
        json!({ "name": label, "does": does, "value": value, "hits": hits })
    });
    json!({ "active": active.collect::<Vec<_>>(), "known": known.collect::<Vec<_>>() })
}

/// Newest values per symbol, positions (of `account=NAME`, and of all by name), counts, and what the seeded model did on purpose.
fn truth(shared: &Shared, asked: &Asked) -> Result<Value, String> {
    let core = shared.core();
    let owner = owner(&core, asked)?;
    let symbols = core.truth().into_iter().map(|t| {
        json!({
            "symbol": t.symbol, "last": t.last.to_string(), "mark": t.mark.to_string(),
            "bid": t.bid.to_string(), "ask": t.ask.to_string(),
            "ticker_ms": t.ticker_ms, "ticker_last": t.ticker_last.to_string(), "tickers": t.tickers,
            "trade_id": t.trade_id.to_string(), "trade_price": t.trade_price.to_string(),
            "trade_ms": t.trade_ms, "trades": t.trades,
        })
    });
    let time = core.market.time();
    let log = core.happenings.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let happenings = log.newest.iter().map(|h| {
        json!({
            "symbol": core.state(h.symbol).instrument.name, "kind": h.kind.label(),
            "start_ms": time.shown(h.start_ms), "end_ms": time.shown(h.end_ms),
            "from_price": h.from_price, "extreme_price": h.extreme_price,
        })
    });
    Ok(json!({
        "now_ms": core.now_ms(),
        "symbols": symbols.collect::<Vec<_>>(),
        "positions": core.positions_told(owner),
        "balance": core.account(owner).balance().to_string(),
        "accounts": core.owners_told(),
        "happenings": happenings.collect::<Vec<_>>(),
        "account": log.account,
        "frames": core.hub.frames + shared.fired.load(Ordering::Relaxed),
        "fired": shared.fired.load(Ordering::Relaxed),
        "clients": core.hub.clients.len(),
        "connects": core.hub.connects,
        "slow_cut": core.hub.slow_cut,
        "limits_met": core.hub.met.list().into_iter().map(|(name, n)| (name.to_owned(), json!(n))).collect::<Map<_, _>>(),
        "tape_finished": shared.tape_finished.load(Ordering::Relaxed),
    }))
}

fn clients(core: &Core) -> Value {
    let mut rows: Vec<_> = core.hub.clients.iter().collect();
    rows.sort_by_key(|(id, _)| **id);
    let rows = rows.into_iter().map(|(id, client)| {
        json!({
            "id": id, "peer": client.peer.to_string(), "private": client.private, "since_ms": client.since_ms,
            "generation": format!("{:?}", client.generation).to_lowercase(),
            "account": client.owner.map(|owner| core.owners[owner].name.as_str()),
            "channels": client.topics.len(), "backlog_bytes": client.outbox.backlog(),
        })
    });
    Value::Array(rows.collect())
}

/// `close[?client=3][&code=1001]`; `code=0` drops without a close frame.
fn close(core: &Core, asked: &Asked) -> Result<Value, String> {
    let code = asked.number("code", 1001)?;
    let end = match u16::try_from(code) {
        Ok(0) => End::Abrupt,
        Ok(code) => End::Close { code, reason: "closed by the control door" },
        Err(_) => return Err("`code` is a close code such as 1001".to_owned()),
    };
    let only = asked.number("client", 0)?;
    let mut closed = 0;
    for (id, client) in &core.hub.clients {
        if only == 0 || only == *id {
            client.outbox.end(end.clone());
            closed += 1;
        }
    }
    Ok(json!({ "closed": closed }))
}

/// `market?run=on|off`
fn market(shared: &Shared, asked: &Asked) -> Result<Value, String> {
    let run = match asked.get("run").as_deref() {
        Some("on") => true,
        Some("off") => false,
        None => shared.run.load(Ordering::Relaxed),
        Some(other) => return Err(format!("`run`: {other:?} is not on or off")),
    };
    shared.run.store(run, Ordering::Relaxed);
    shared.stirred.notify_waiters();
    Ok(json!({ "run": run, "tape_finished": shared.tape_finished.load(Ordering::Relaxed) }))
}

/// `stamps?from=0&count=1000[&newest=1]`: microseconds since 1970 at which firehose frames were sent, `null` where
/// forgotten; and the number of each symbol's newest frame.
fn stamps(shared: &Shared, asked: &Asked) -> Result<Value, String> {
    let sent = shared.fired.load(Ordering::Relaxed);
    let from = asked.number("from", 0)?;
    let count = asked.number("count", 1_000)?.min(100_000);
    let list: Vec<Value> =
        (from..from.saturating_add(count).min(sent)).map(|n| json!(shared.stamps.get(n, sent))).collect();
    let names = |core: &Core| core.market.symbols.iter().map(|s| s.instrument.name.clone()).collect::<Vec<_>>();
    let names = if asked.get("newest").is_some() { names(&shared.core()) } else { Vec::new() };
    let newest: Vec<Value> =
        names.into_iter().enumerate().map(|(symbol, name)| json!([name, shared.stamps.newest(symbol)])).collect();
    let base = super::firehose::FRAME_BASE;
    Ok(json!({ "from": from, "sent": sent, "base": base, "stamps_us": list, "newest": newest }))
}
