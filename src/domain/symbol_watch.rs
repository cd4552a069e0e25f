//! Everything that is watched about one symbol's flow: bars, regime, traps. Candles of the past warm it up, so that a
//! restart does not blind it for the hour that its windows span.

use super::market::{Candle, Interval, TakerSide, Trade};
use super::regime::{Regime, RegimeWatch};
use super::symbol::SymbolId;
use super::trap::bars::{MinuteBar, MinuteBars};
use super::trap::{TrapDetected, TrapEngine, TrapSettings};
use rust_decimal::Decimal;
use std::collections::VecDeque;

/// A hole in a symbol's trades after a lost feed is a gap from here on; a shorter one is bridged by the history that
/// follows a reconnect.
pub const HOLE_MS: i64 = 30_000;
/// Trades remembered until the past is told, so that they are not lost when the windows are filled from candles.
const EARLY_MAX: usize = 500;
/// The past comes with the subscription or not at all.
const EARLY_MS: i64 = 60_000;
const MINUTE_MS: i64 = 60_000;

/// What a step brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    pub traps: Vec<TrapDetected>,
    /// Present when it changed.
    pub regime: Option<Regime>,
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct SymbolWatch {
    symbol: SymbolId,
    name: String,
    settings: TrapSettings,
    engine: TrapEngine,
    bars: MinuteBars,
    regime: RegimeWatch,
    newest_ms: i64,
    /// The feed was away since the newest trade.
    gap: bool,
    /// The past is still awaited.
    cold: bool,
    early: VecDeque<Trade>,
    closed: Vec<MinuteBar>,
}

impl SymbolWatch {
    pub fn new(symbol: SymbolId, name: &str, settings: TrapSettings) -> Self {
        Self {
            symbol,
            name: name.to_owned(),
            engine: TrapEngine::new(symbol, name, settings.clone()),
            settings,
            bars: MinuteBars::new(),
            regime: RegimeWatch::default(),
            newest_ms: i64::MIN,
            gap: false,
            cold: true,
            early: VecDeque::new(),
            closed: Vec::new(),
        }
    }

    /// How far along an excursion is, 0..1.
    pub fn forming(&self) -> f64 {
        self.engine.forming()
    }

    /// False until the windows span what the detectors need.
    pub fn is_warm(&self) -> bool {
        self.engine.is_warm()
    }

    /// Takes an accepted trade; history that lies before the newest trade has been here already.
    pub fn on_trade(&mut self, trade: &Trade, found: &mut Findings) {
        if trade.history && trade.exchange_time_ms < self.newest_ms {
            return;
        }
        if std::mem::take(&mut self.gap) && trade.exchange_time_ms - self.newest_ms > HOLE_MS {
            self.forget();
        }
        self.newest_ms = self.newest_ms.max(trade.exchange_time_ms);
        if self.cold {
            self.remember(trade);
        }
        self.feed(trade, found);
    }

    /// Takes the candles that a subscription begins with, oldest first, the open one last. Windows that are not warm
    /// are filled from them; they never raise an alarm.
    pub fn on_history(&mut self, candles: &[Candle], found: &mut Findings) {
        let minutes: Vec<&Candle> = candles.iter().filter(|c| c.interval == Interval::M1).collect();
        let Some((open, closed)) = minutes.split_last() else { return };
        if std::mem::take(&mut self.gap) && open.start_ms - self.newest_ms > HOLE_MS {
            self.forget();
        }
        if !self.cold || self.engine.is_warm() {
            return;
        }
        self.cold = false;
        let early = std::mem::take(&mut self.early);
        let first_ms = early.front().map_or(open.start_ms, |t| t.exchange_time_ms).div_euclid(MINUTE_MS) * MINUTE_MS;
        self.engine = TrapEngine::new(self.symbol, &self.name, self.settings.clone());
        self.regime = RegimeWatch::default();
        let mut unheard = Vec::new();
        for candle in closed.iter().filter(|c| c.start_ms + MINUTE_MS <= first_ms) {
            for trade in as_trades(candle) {
                self.engine.on_trade(&trade, &mut unheard);
            }
            if let Some(regime) = self.regime.on_bar(&as_bar(candle)) {
                found.regime = Some(regime);
            }
        }
        for trade in early {
            self.engine.on_trade(&trade, &mut unheard);
        }
    }

    /// The public feed went away.
    pub fn on_gap(&mut self) {
        self.gap = true;
    }

    /// Closes seconds and minutes while nothing trades.
    pub fn on_time(&mut self, now_ms: i64, found: &mut Findings) {
        self.engine.on_time(now_ms, &mut found.traps);
        self.bars.on_time(now_ms, &mut self.closed);
        self.close(found);
    }

    fn feed(&mut self, trade: &Trade, found: &mut Findings) {
        self.engine.on_trade(trade, &mut found.traps);
        self.bars.on_trade(trade, &mut self.closed);
        self.close(found);
    }

    fn close(&mut self, found: &mut Findings) {
        for bar in self.closed.drain(..) {
            if let Some(regime) = self.regime.on_bar(&bar) {
                found.regime = Some(regime);
            }
        }
    }

    fn remember(&mut self, trade: &Trade) {
        let waited = self.early.front().is_some_and(|first| trade.exchange_time_ms - first.exchange_time_ms > EARLY_MS);
        if waited {
            self.cold = false;
            self.early = VecDeque::new();
            return;
        }
        if self.early.len() == EARLY_MAX {
            self.early.pop_front();
        }
        self.early.push_back(*trade);
    }

    /// What was missed cannot be known: every window begins again, and the past may be told again.
    fn forget(&mut self) {
        self.engine.on_gap(self.newest_ms);
        self.bars.on_gap(&mut self.closed);
        self.regime.on_gap();
        self.cold = true;
        self.early.clear();
    }
}

/// Four trades that have the candle's open, high, low, close and volume; a minute without trades has none.
fn as_trades(candle: &Candle) -> impl Iterator<Item = Trade> + use<> {
    let rising = candle.close >= candle.open;
    let (second, third) = if rising { (candle.low, candle.high) } else { (candle.high, candle.low) };
    let size = candle.base_volume / Decimal::from(4);
    let steps = [(0, candle.open), (20_000, second), (40_000, third), (59_000, candle.close)];
    let (symbol, start_ms) = (candle.symbol, candle.start_ms);
    steps.into_iter().enumerate().filter(move |_| !size.is_zero()).map(move |(n, (at_ms, price))| Trade {
        symbol,
        exchange_time_ms: start_ms + at_ms,
        price,
        size,
        side: if n % 2 == 0 { TakerSide::Buy } else { TakerSide::Sell },
        id: 0,
        history: true,
    })
}

fn as_bar(candle: &Candle) -> MinuteBar {
    let half = candle.base_volume / Decimal::TWO;
    MinuteBar {
        start_ms: candle.start_ms,
        open: candle.open,
        high: candle.high,
        low: candle.low,
        close: candle.close,
        volume: candle.base_volume,
        buy_volume: half,
        sell_volume: half,
        trades: 1,
        partial: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BTC: SymbolId = SymbolId(0);
    const START: i64 = 1_700_000_040_000;

    fn candle(minute: i64, low: i64, high: i64) -> Candle {
        Candle {
            symbol: BTC,
            exchange_time_ms: START,
            interval: Interval::M1,
            start_ms: START + minute * MINUTE_MS,
            open: Decimal::from(low),
            high: Decimal::from(high),
            low: Decimal::from(low),
            close: Decimal::from(if minute % 2 == 0 { low } else { high }),
            base_volume: Decimal::from(40),
            quote_volume: None,
            history: true,
        }
    }

    fn trade(at_ms: i64, price: i64, size: i64) -> Trade {
        Trade {
            symbol: BTC,
            exchange_time_ms: START + at_ms,
            price: Decimal::from(price),
            size: Decimal::from(size),
            side: TakerSide::Buy,
            id: at_ms.unsigned_abs(),
            history: false,
        }
    }

    fn watch() -> SymbolWatch {
        SymbolWatch::new(BTC, "BTCUSDT", TrapSettings::default())
    }

    /// A sweep of the hour's high that fails within a minute.
    fn sweep(watch: &mut SymbolWatch, from_ms: i64, found: &mut Findings) {
        for second in 0..120 {
            let price = match second {
                0..10 => 10_010,
                10..30 => 10_010 + (second - 10) * 6,
                30..60 => 10_124 - (second - 30) * 5,
                _ => 9_985,
            };
            watch.on_trade(&trade(from_ms + second * 1_000, price, 20), found);
        }
        watch.on_time(START + from_ms + 130_000, found);
    }

    #[test]
    fn candles_of_the_past_warm_it_up_at_once() {
        let candles: Vec<Candle> = (-120..=0).map(|m| candle(m, 9_990, 10_010)).collect();
        let (mut cold, mut warm) = (watch(), watch());
        let (mut nothing, mut found) = (Findings::default(), Findings::default());
        for w in [&mut cold, &mut warm] {
            w.on_trade(&trade(500, 10_000, 1), &mut nothing);
        }
        warm.on_history(&candles, &mut found);
        assert!(found.traps.is_empty(), "the past raises no alarm");
        assert!(found.regime.is_some(), "two hours are enough to say a regime");
        sweep(&mut cold, 1_000, &mut nothing);
        assert_eq!(nothing.traps, [], "without the past nothing can be told");
        sweep(&mut warm, 1_000, &mut found);
        assert_eq!(found.traps.len(), 1, "{:?}", found.traps);
        assert_eq!(found.traps[0].level, Decimal::from(10_010), "the level comes from the candles");
    }

    #[test]
    fn a_warm_watch_does_not_start_again_with_the_next_subscription() {
        let candles: Vec<Candle> = (-120..=0).map(|m| candle(m, 9_990, 10_010)).collect();
        let (mut watch, mut found) = (watch(), Findings::default());
        watch.on_trade(&trade(500, 10_000, 1), &mut found);
        watch.on_history(&candles, &mut found);
        assert!(watch.is_warm());
        watch.on_gap();
        watch.on_trade(&trade(500 + HOLE_MS, 10_000, 1), &mut found);
        assert!(watch.is_warm(), "a short hole forgets nothing");
        watch.on_gap();
        watch.on_trade(&trade(501 + 2 * HOLE_MS, 10_000, 1), &mut found);
        assert!(!watch.is_warm(), "a long one does");
        let again: Vec<Candle> = (-118..=1).map(|m| candle(m, 9_990, 10_010)).collect();
        watch.on_history(&again, &mut found);
        assert!(watch.is_warm(), "and the past is told again");
    }

    #[test]
    fn trades_before_the_past_is_told_are_bounded_and_not_lost() {
        let (mut watch, mut found) = (watch(), Findings::default());
        for i in 0..2_000 {
            watch.on_trade(&trade(i * 10, 10_000, 1), &mut found);
        }
        assert_eq!(watch.early.len(), EARLY_MAX);
        watch.on_trade(&trade(EARLY_MS + 20_000, 10_000, 1), &mut found);
        assert!(watch.early.is_empty() && !watch.cold, "the past never came");
    }
}
