//! The circuit breaker: limits and rates. It folds accepted reports into pictures, lets each picture out at its rate
//! (the newest value at the next slot, events in order), and says when bots should stop.

mod message;
mod slots;

pub use self::message::BreakerMsg;
use self::slots::{MarketSlot, PositionSlot, profit_at};
use super::analyst::AnalystMsg;
use super::deferred::{DeferredFills, Kept};
use super::ledger::LedgerMsg;
use super::writer::WriterMsg;
use crate::domain::account::Fill;
use crate::domain::breaker::{Breaker, Limits, State};
use crate::domain::market_view::MarketView;
use crate::domain::picture::{AccountPicture, BreakerPicture, Holding, MarketPicture, PositionPicture};
use crate::domain::position::HoldSide;
use crate::domain::rate::RateLimit;
pub use crate::domain::rate::Rates;
use crate::domain::report::{Batch, Report};
use crate::domain::symbol::{SymbolId, Symbols};
use crate::supervise::{Card, Cx, Factory, Fault, Overflow, Port, Restart, Room, TaskHandle};
use crate::telemetry::metrics::{Metrics, raise};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{debug, info};

pub fn card() -> Card {
    Card {
        name: "circuit_breaker",
        purpose: "Holds limits and rates: tells bots to stop, and lets the newest value out at the next slot.",
        mailbox: 64,
        overflow: Overflow::Block,
        deadline: Duration::from_secs(2),
        restart: Restart::Permanent,
        attempts: 1,
        critical: true,
        accepts: &["Accepted", "Positions", "FeedState", "AccountFreshness", "ClockStep", "Slot"],
        emits: &[
            "Market -> redis_writer",
            "Position -> redis_writer",
            "Breaker -> redis_writer",
            "Account -> redis_writer",
            "Market -> analyst",
            "FeedGap -> analyst",
            "Fill -> ledger",
            "Order -> ledger",
        ],
        state_at_restart: "fills that wait are kept; else breaker open until one good reading (fail closed), pictures refill from the next reports",
    }
}

#[derive(Clone)]
pub struct Outlets {
    pub writer: Port<WriterMsg>,
    pub analyst: Port<AnalystMsg>,
    pub ledger: Port<LedgerMsg>,
}

pub struct CircuitBreaker {
    /// Sequence numbers of this incarnation are all above those of the one before.
    seq_base: u64,
    breaker: Breaker,
    rates: [RateLimit; 2],
    market: Vec<MarketSlot>,
    positions: Vec<[PositionSlot; 2]>,
    fills: DeferredFills,
    /// Earliest slot that a timer was set for, ms on the monotonic clock.
    timer_ms: Option<i64>,
    timer: Option<TaskHandle>,
    waiting: Vec<SymbolId>,
    started: Instant,
    metrics: Metrics,
    out: Outlets,
}

impl CircuitBreaker {
    pub fn factory(
        limits: Limits,
        rates: Rates,
        symbols: Arc<Symbols>,
        metrics: Metrics,
        out: Outlets,
    ) -> Factory<Self> {
        Arc::new(move |birth, cx| {
            let kept = birth.checkpoint.and_then(|kept| kept.downcast::<Kept>().ok()).map(|kept| Kept::clone(&kept));
            if let Some(kept) = &kept {
                cx.checkpoint(Box::new(kept.clone()));
            }
            let fills = DeferredFills::new(RateLimit::per_minute(rates.trades), kept);
            let mut room = Self {
                seq_base: birth.epoch << 40,
                breaker: Breaker::new(limits.clone(), cx.now_ms()),
                rates: [rates.positions, rates.market_data].map(RateLimit::per_minute),
                market: symbols.ids().map(|_| MarketSlot::default()).collect(),
                positions: vec![[PositionSlot::default(); 2]; symbols.len()],
                fills,
                timer_ms: None,
                timer: None,
                waiting: Vec::new(),
                started: cx.clock().instant(),
                metrics: metrics.clone(),
                out: out.clone(),
            };
            room.publish_state(cx);
            cx.every(Duration::from_millis(500), || BreakerMsg::Slot);
            Ok(room)
        })
    }

    /// Monotonic ms since this incarnation began, offset so that an empty bucket is full at 0.
    fn mono_ms(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX / 4) + 120_000
    }

    fn accepted(&mut self, batch: &Batch, cx: &mut Cx<Self>) {
        let mono_ms = self.mono_ms();
        let mut pictures = Vec::with_capacity(batch.reports.len());
        let mut for_analyst = Vec::new();
        for report in batch.reports.iter() {
            let symbol = match report {
                Report::Ticker(t) => {
                    match &mut self.market[t.symbol.index()].view {
                        Some(view) => view.on_ticker(t, batch.received_ms, batch.received),
                        empty => {
                            *empty = Some(MarketView::from_ticker(t, batch.received_ms, batch.received, self.seq_base));
                        }
                    }
                    t.symbol
                }
                Report::Trade(t) if !t.history => {
                    match &mut self.market[t.symbol.index()].view {
                        Some(view) => view.on_trade(t, batch.received_ms, batch.received),
                        empty => {
                            *empty = Some(MarketView::from_trade(t, batch.received_ms, batch.received, self.seq_base));
                        }
                    }
                    for_analyst.push(report.clone());
                    t.symbol
                }
                Report::Trade(_) | Report::Candle(_) => {
                    for_analyst.push(report.clone());
                    continue;
                }
                Report::Account(account) => {
                    if self.breaker.on_account(account, batch.received_ms) {
                        self.publish_state(cx);
                    }
                    let picture = AccountPicture {
                        coin: account.coin.clone(),
                        equity: account.equity,
                        available: account.available,
                        unrealised_pnl: account.unrealised_pnl,
                        exchange_time_ms: account.exchange_time_ms,
                        received_ms: batch.received_ms,
                    };
                    cx.send(&self.out.writer, WriterMsg::Account(picture));
                    continue;
                }
                Report::Order(order) => {
                    cx.send(&self.out.ledger, LedgerMsg::Order(order.clone()));
                    continue;
                }
                Report::Fill(fill) => {
                    self.fill(fill, batch.received_ms, cx);
                    continue;
                }
                Report::Positions(_) => continue,
            };
            self.release_market(symbol, mono_ms, &mut pictures);
        }
        if !for_analyst.is_empty() {
            cx.send(&self.out.analyst, AnalystMsg::Market(batch.with(for_analyst)));
        }
        self.send_market(pictures, mono_ms, cx);
    }

    /// Lets the symbol's picture out now, or marks it as waiting.
    fn release_market(&mut self, symbol: SymbolId, mono_ms: i64, out: &mut Vec<MarketPicture>) {
        let slot = &mut self.market[symbol.index()];
        let Some(view) = &slot.view else { return };
        match slot.rate.take(self.rates[1], mono_ms) {
            Ok(()) => {
                slot.waits = false;
                out.push(*view.picture());
            }
            Err(next_ms) => {
                if !slot.waits {
                    slot.waits = true;
                    self.waiting.push(symbol);
                }
                self.timer_ms = Some(self.timer_ms.map_or(next_ms, |t| t.min(next_ms)));
            }
        }
    }

    /// Sends market pictures, and the positions whose profit moved with the mark price.
    fn send_market(&mut self, pictures: Vec<MarketPicture>, mono_ms: i64, cx: &mut Cx<Self>) {
        if pictures.is_empty() {
            return;
        }
        let mut positions = Vec::new();
        for market in &pictures {
            let Some(mark) = market.mark else { continue };
            for side in HoldSide::BOTH {
                let slot = &mut self.positions[market.symbol.index()][side.index()];
                if let Some(PositionPicture { holding: Holding::Open(p), .. }) = &mut slot.picture
                    && p.mark_price != Some(mark)
                {
                    p.mark_price = Some(mark);
                    p.unrealised_pnl = Some(profit_at(mark, p.entry_price, p.size, side));
                    // The mark moves all the time: it takes idle slots only, and never delays a change of the holding.
                    if !slot.waits && slot.rate.take_idle(self.rates[0], mono_ms) {
                        positions.extend(slot.picture);
                    }
                }
            }
        }
        cx.send(&self.out.writer, WriterMsg::Market(pictures));
        if !positions.is_empty() {
            cx.send(&self.out.writer, WriterMsg::Position(positions));
        }
    }

    fn positions(&mut self, pictures: &[PositionPicture], cx: &mut Cx<Self>) {
        let (mono_ms, now_ms) = (self.mono_ms(), cx.now_ms());
        let mut out = Vec::new();
        let mut changed = false;
        for picture in pictures {
            changed |= self.breaker.on_position(picture, now_ms);
            let slot = &mut self.positions[picture.symbol.index()][picture.side.index()];
            let is_new = slot.picture.is_none_or(|before| before.seq != picture.seq);
            slot.picture = Some(*picture);
            // A change of a holding that the rate holds back keeps its place; renewed proof never waits for long.
            match slot.rate.take(self.rates[0], mono_ms) {
                Ok(()) => {
                    slot.waits = false;
                    out.push(*picture);
                }
                Err(next_ms) => {
                    if !slot.waits && is_new {
                        debug!(side = picture.side.label(), "position rate reached, newest value waits for its slot");
                    }
                    slot.waits = true;
                    self.timer_ms = Some(self.timer_ms.map_or(next_ms, |t| t.min(next_ms)));
                }
            }
        }
        if changed {
            self.publish_state(cx);
        }
        if !out.is_empty() {
            cx.send(&self.out.writer, WriterMsg::Position(out));
        }
    }

    fn fill(&mut self, fill: &Fill, now_ms: i64, cx: &mut Cx<Self>) {
        let market = self.market.get(fill.symbol.index()).and_then(|s| s.view.as_ref());
        if let Some(view) = market
            // Fills told again over REST are history, not a judgement about now.
            && now_ms - fill.exchange_time_ms <= 5_000
            && self.breaker.on_fill(fill, view.reference_price(), now_ms)
        {
            self.publish_state(cx);
        }
        self.fills.push(fill);
        self.release_fills(cx);
    }

    fn release_fills(&mut self, cx: &mut Cx<Self>) {
        let released = self.fills.release(self.mono_ms());
        if released.early > 0 {
            self.metrics.fills_early_total.inc_by(released.early);
        }
        for fill in released.fills {
            cx.send(&self.out.ledger, LedgerMsg::Fill(Box::new(Fill::clone(&fill))));
        }
        if let Some(next_ms) = released.next_ms {
            self.timer_ms = Some(self.timer_ms.map_or(next_ms, |t| t.min(next_ms)));
        }
        if let Some(kept) = self.fills.changes() {
            cx.checkpoint(Box::new(kept));
        }
    }

    /// Lets out what waits and has its slot now.
    fn slot(&mut self, cx: &mut Cx<Self>) {
        self.timer_ms = None;
        let mono_ms = self.mono_ms();
        let mut pictures = Vec::new();
        for symbol in std::mem::take(&mut self.waiting) {
            self.market[symbol.index()].waits = false;
            self.release_market(symbol, mono_ms, &mut pictures);
        }
        self.send_market(pictures, mono_ms, cx);
        let mut positions = Vec::new();
        for slot in self.positions.iter_mut().flatten().filter(|s| s.waits) {
            match slot.rate.take(self.rates[0], mono_ms) {
                Ok(()) => {
                    slot.waits = false;
                    positions.extend(slot.picture);
                }
                Err(next_ms) => self.timer_ms = Some(self.timer_ms.map_or(next_ms, |t| t.min(next_ms))),
            }
        }
        if !positions.is_empty() {
            cx.send(&self.out.writer, WriterMsg::Position(positions));
        }
        self.release_fills(cx);
        if self.breaker.on_time(cx.now_ms()) {
            self.publish_state(cx);
        }
    }

    fn arm(&mut self, before: Option<i64>, cx: &mut Cx<Self>) {
        if let Some(at) = self.timer_ms
            && before.is_none_or(|b| at < b)
        {
            let delay_ms = u64::try_from(at - self.mono_ms()).unwrap_or(0).max(1);
            // One timer at a time: each slot sets the next.
            if let Some(earlier) = self.timer.replace(cx.after(Duration::from_millis(delay_ms), BreakerMsg::Slot)) {
                earlier.abort();
            }
        }
    }

    fn publish_state(&mut self, cx: &mut Cx<Self>) {
        let cause = self.breaker.cause();
        let picture = BreakerPicture {
            state: self.breaker.state().label(),
            reason: cause.map_or(String::new(), |c| c.rule.label().to_owned()),
            symbol: cause.and_then(|c| c.symbol),
            value: cause.and_then(|c| c.value),
            limit: cause.and_then(|c| c.limit),
            since_ms: self.breaker.since_ms(),
            opened_total: self.breaker.opened_total(),
        };
        self.metrics.breaker_state.set(match self.breaker.state() {
            State::Closed => 0,
            State::HalfOpen => 1,
            State::Open => 2,
        });
        raise(&self.metrics.breaker_opened_total, picture.opened_total);
        // Values only where there are any: a line of `None` and `Some` is for nobody.
        let (value, limit) = (picture.value.map(tracing::field::display), picture.limit.map(tracing::field::display));
        let reason = (!picture.reason.is_empty()).then_some(picture.reason.as_str());
        info!(state = picture.state, reason, value, limit, "breaker");
        cx.send(&self.out.writer, WriterMsg::Breaker(picture));
    }
}

impl Room for CircuitBreaker {
    type Msg = BreakerMsg;

    fn handle(&mut self, msg: &BreakerMsg, cx: &mut Cx<Self>) -> Result<(), Fault> {
        let armed = self.timer_ms;
        match msg {
            BreakerMsg::Accepted(batch) => self.accepted(batch, cx),
            BreakerMsg::Positions(pictures) => self.positions(pictures, cx),
            BreakerMsg::FeedState { private, live, at_ms } => {
                if !private && !live {
                    cx.send(&self.out.analyst, AnalystMsg::FeedGap { at_ms: *at_ms });
                }
            }
            BreakerMsg::AccountFreshness { stale } => {
                if self.breaker.on_freshness(*stale, cx.now_ms()) {
                    self.publish_state(cx);
                }
            }
            BreakerMsg::ClockStep { by_ms } => {
                self.market.iter_mut().filter_map(|slot| slot.view.as_mut()).for_each(|v| v.on_clock_step(*by_ms));
            }
            BreakerMsg::Slot => {
                self.slot(cx);
                self.arm(None, cx);
                return Ok(());
            }
        }
        self.arm(armed, cx);
        Ok(())
    }

    fn is_drained(&self) -> bool {
        self.waiting.is_empty() && self.fills.is_empty()
    }

    /// The last values go out whatever their rate: there is no later slot.
    fn on_drain(&mut self, cx: &mut Cx<Self>) {
        let waiting = std::mem::take(&mut self.waiting);
        let pictures: Vec<_> = waiting
            .into_iter()
            .filter_map(|symbol| self.market[symbol.index()].view.as_ref().map(|view| *view.picture()))
            .collect();
        if !pictures.is_empty() {
            cx.send(&self.out.writer, WriterMsg::Market(pictures));
        }
        let slots = self.positions.iter_mut().flatten();
        let positions: Vec<_> =
            slots.filter_map(|slot| std::mem::take(&mut slot.waits).then_some(slot.picture).flatten()).collect();
        if !positions.is_empty() {
            cx.send(&self.out.writer, WriterMsg::Position(positions));
        }
        for fill in self.fills.take_all() {
            cx.send(&self.out.ledger, LedgerMsg::Fill(Box::new(Fill::clone(&fill))));
        }
    }
}

impl std::fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CircuitBreaker").field("state", &self.breaker.state()).finish_non_exhaustive()
    }
}
