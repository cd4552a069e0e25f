//! What can be subscribed, and the frames that do it.

use super::consts::{ARGS_PER_FRAME, Generation, product, rest_product};
use super::messages::Arg;
use crate::domain::market::Interval;
use crate::domain::refusal::Refusal;
use crate::domain::symbol::{Product, SymbolId, Symbols};
use serde::Serialize;

/// A channel of the exchange that this daemon reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    Ticker,
    Trades,
    Candles(Interval),
    Positions,
    Account,
    Orders,
    Fills,
}

impl Channel {
    /// Bounded word for counters, refusals and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ticker => "ticker",
            Self::Trades => "trade",
            Self::Candles(_) => "candle",
            Self::Positions => "positions",
            Self::Account => "account",
            Self::Orders => "order",
            Self::Fills => "fill",
        }
    }

    pub const fn is_private(self) -> bool {
        matches!(self, Self::Positions | Self::Account | Self::Orders | Self::Fills)
    }

    /// True where the exchange pushes a first message by itself; orders and fills are silent until something happens.
    pub const fn speaks_first(self) -> bool {
        !matches!(self, Self::Orders | Self::Fills)
    }
}

/// One subscription, and the identity of the data that answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stream {
    pub channel: Channel,
    /// Public channels.
    pub symbol: Option<SymbolId>,
    /// Private channels of classic accounts, which are asked for product by product.
    pub product: Option<Product>,
}

impl Stream {
    pub const fn public(channel: Channel, symbol: SymbolId) -> Self {
        Self { channel, symbol: Some(symbol), product: None }
    }

    /// Ticker and trades of each symbol, and candles of the given lengths.
    pub fn market(symbols: impl IntoIterator<Item = SymbolId>, candles: &[Interval]) -> Vec<Self> {
        let mut streams = Vec::new();
        for symbol in symbols {
            streams.push(Self::public(Channel::Ticker, symbol));
            streams.push(Self::public(Channel::Trades, symbol));
            streams.extend(candles.iter().map(|&interval| Self::public(Channel::Candles(interval), symbol)));
        }
        streams
    }

    /// Everything private, for the products of the configured symbols.
    pub fn private(generation: Generation, symbols: &Symbols) -> Vec<Self> {
        const CHANNELS: [Channel; 4] = [Channel::Positions, Channel::Account, Channel::Orders, Channel::Fills];
        let products: Vec<Option<Product>> = match generation {
            Generation::Unified => vec![None],
            Generation::Classic => products_of(symbols).into_iter().map(Some).collect(),
        };
        let of = |product| CHANNELS.map(|channel| Self { channel, symbol: None, product });
        products.into_iter().flat_map(of).collect()
    }
}

/// The products that the configured symbols belong to, each once.
pub fn products_of(symbols: &Symbols) -> Vec<Product> {
    Product::ALL.into_iter().filter(|&product| symbols.iter().any(|(_, symbol)| symbol.product == product)).collect()
}

/// Cuts `streams` into connections of at most `per_connection`, the streams of one symbol staying together.
pub fn shard(streams: &[Stream], per_connection: usize) -> Vec<Vec<Stream>> {
    let limit = per_connection.max(1);
    let mut shards: Vec<Vec<Stream>> = Vec::new();
    for group in streams.chunk_by(|a, b| a.symbol == b.symbol) {
        match shards.last_mut() {
            Some(last) if last.len() + group.len() <= limit => last.extend_from_slice(group),
            _ => shards.extend(group.chunks(limit).map(<[Stream]>::to_vec)),
        }
    }
    shards
}

const fn interval_word(interval: Interval) -> &'static str {
    match interval {
        Interval::M1 => "1m",
        Interval::M5 => "5m",
        Interval::M15 => "15m",
        Interval::H1 => "1H",
    }
}

fn interval(word: &str) -> Option<Interval> {
    [Interval::M1, Interval::M5, Interval::M15, Interval::H1].into_iter().find(|&i| interval_word(i) == word)
}

/// Subscribe frames for `streams`, at most [`ARGS_PER_FRAME`] arguments each, with the streams that each asks for.
pub fn subscribe_frames(generation: Generation, symbols: &Symbols, streams: &[Stream]) -> Vec<(String, Vec<Stream>)> {
    let frame = |chunk: &[Stream]| {
        let args = chunk.iter().map(|stream| wire_arg(generation, symbols, stream)).collect();
        let text = serde_json::to_string(&Request { op: "subscribe", args }).unwrap_or_default();
        (text, chunk.to_vec())
    };
    streams.chunks(ARGS_PER_FRAME).map(frame).collect()
}

#[derive(Serialize)]
struct Request<'a> {
    op: &'static str,
    args: Vec<WireArg<'a>>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct WireArg<'a> {
    inst_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inst_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    symbol: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coin: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<&'a str>,
}

fn wire_arg<'a>(generation: Generation, symbols: &'a Symbols, stream: &Stream) -> WireArg<'a> {
    let symbol = stream.symbol.map(|id| symbols.get(id));
    let product = symbol.map(|s| s.product).or(stream.product).unwrap_or(Product::UsdtFutures);
    let name = symbol.map(|s| s.name.as_str());
    match generation {
        Generation::Classic => {
            let channel = match stream.channel {
                Channel::Ticker => "ticker".to_owned(),
                Channel::Trades => "trade".to_owned(),
                Channel::Candles(interval) => format!("candle{}", interval_word(interval)),
                Channel::Positions => "positions".to_owned(),
                Channel::Account => "account".to_owned(),
                Channel::Orders => "orders".to_owned(),
                Channel::Fills => "fill".to_owned(),
            };
            let coin = (stream.channel == Channel::Account).then_some("default");
            let inst_id = if coin.is_some() { None } else { Some(name.unwrap_or("default")) };
            WireArg { inst_type: rest_product(product), channel: Some(channel), inst_id, coin, ..WireArg::default() }
        }
        Generation::Unified => {
            let (topic, interval) = match stream.channel {
                Channel::Ticker => ("ticker", None),
                Channel::Trades => ("publicTrade", None),
                Channel::Candles(interval) => ("kline", Some(interval_word(interval))),
                Channel::Positions => ("position", None),
                Channel::Account => ("account", None),
                Channel::Orders => ("order", None),
                Channel::Fills => ("fill", None),
            };
            let inst_type = if stream.channel.is_private() { "UTA" } else { generation.product_word(product) };
            WireArg { inst_type, topic: Some(topic), symbol: name, interval, ..WireArg::default() }
        }
    }
}

/// Which stream an echoed argument means. What was asked for is not looked at: the exchange answers in its own
/// spelling, and data is only what it says it is.
pub(super) fn stream_of(
    generation: Generation,
    symbols: &Symbols,
    arg: &Arg<'_>,
) -> Result<Stream, (Refusal, &'static str)> {
    let channel = match generation {
        Generation::Classic => match arg.channel.as_str() {
            "ticker" => Some(Channel::Ticker),
            "trade" => Some(Channel::Trades),
            "positions" => Some(Channel::Positions),
            "account" => Some(Channel::Account),
            "orders" => Some(Channel::Orders),
            "fill" => Some(Channel::Fills),
            other => other.strip_prefix("candle").and_then(interval).map(Channel::Candles),
        },
        Generation::Unified => match arg.topic.as_str() {
            "ticker" => Some(Channel::Ticker),
            "publicTrade" => Some(Channel::Trades),
            "kline" => interval(arg.interval.as_str()).map(Channel::Candles),
            "position" => Some(Channel::Positions),
            "account" => Some(Channel::Account),
            "order" => Some(Channel::Orders),
            "fill" => Some(Channel::Fills),
            _ => None,
        },
    };
    let Some(channel) = channel else { return Err((Refusal::UnknownChannel, "other")) };
    let inst_type = arg.inst_type.as_str();
    if channel.is_private() {
        let product = match generation {
            Generation::Unified if inst_type.eq_ignore_ascii_case("UTA") => None,
            Generation::Unified => return Err((Refusal::UnknownChannel, channel.label())),
            Generation::Classic => match product(inst_type) {
                Some(product) => Some(product),
                None => return Err((Refusal::UnknownChannel, channel.label())),
            },
        };
        return Ok(Stream { channel, symbol: None, product });
    }
    let name = match generation {
        Generation::Classic => arg.inst_id.as_str(),
        Generation::Unified => arg.symbol.as_str(),
    };
    match symbols.id(name) {
        // Spot and futures share names: the same name of another product is another instrument.
        Some(id) if generation.product_word(symbols.get(id).product).eq_ignore_ascii_case(inst_type) => {
            Ok(Stream::public(channel, id))
        }
        _ => Err((Refusal::UnknownSymbol, channel.label())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::symbol::Symbol;

    fn symbols() -> Symbols {
        Symbols::new([
            Symbol { name: "BTCUSDT".into(), product: Product::UsdtFutures },
            Symbol { name: "我踏马来了USDT".into(), product: Product::UsdtFutures },
            Symbol { name: "BTCPERP".into(), product: Product::UsdcFutures },
        ])
    }

    #[test]
    fn asks_in_the_spelling_of_each_generation() {
        let symbols = symbols();
        let btc = symbols.primary().unwrap();
        let cases = [
            (
                Generation::Classic,
                Stream::public(Channel::Candles(Interval::H1), btc),
                r#"{"op":"subscribe","args":[{"instType":"USDT-FUTURES","channel":"candle1H","instId":"BTCUSDT"}]}"#,
            ),
            (
                Generation::Unified,
                Stream::public(Channel::Candles(Interval::M1), btc),
                r#"{"op":"subscribe","args":[{"instType":"usdt-futures","topic":"kline","symbol":"BTCUSDT","interval":"1m"}]}"#,
            ),
            (
                Generation::Classic,
                Stream { channel: Channel::Positions, symbol: None, product: Some(Product::UsdcFutures) },
                r#"{"op":"subscribe","args":[{"instType":"USDC-FUTURES","channel":"positions","instId":"default"}]}"#,
            ),
            (
                Generation::Classic,
                Stream { channel: Channel::Account, symbol: None, product: Some(Product::UsdtFutures) },
                r#"{"op":"subscribe","args":[{"instType":"USDT-FUTURES","channel":"account","coin":"default"}]}"#,
            ),
            (
                Generation::Unified,
                Stream { channel: Channel::Positions, symbol: None, product: None },
                r#"{"op":"subscribe","args":[{"instType":"UTA","topic":"position"}]}"#,
            ),
        ];
        for (generation, stream, expected) in cases {
            let frames = subscribe_frames(generation, &symbols, &[stream]);
            assert_eq!(frames[0].0, expected);
            // What is asked for is what the echo is understood as.
            let echo = serde_json::from_str::<serde_json::Value>(expected).unwrap()["args"][0].to_string();
            let arg: Arg<'_> = serde_json::from_str(&echo).unwrap();
            assert_eq!(stream_of(generation, &symbols, &arg), Ok(stream), "case: {expected}");
        }
    }

    #[test]
    fn frames_hold_ten_arguments_at_most() {
        let symbols = Symbols::usdt(["A", "B", "C", "D", "E", "F"]);
        let streams = Stream::market(symbols.ids(), &[Interval::M1]);
        let frames = subscribe_frames(Generation::Unified, &symbols, &streams);
        assert_eq!(frames.iter().map(|(_, streams)| streams.len()).collect::<Vec<_>>(), [10, 8]);
    }

    #[test]
    fn shards_keep_a_symbol_together_and_hold_the_limit() {
        let symbols = Symbols::usdt(["A", "B", "C"]);
        let streams = Stream::market(symbols.ids(), &[]);
        let sizes = |limit| shard(&streams, limit).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(50), [6]);
        assert_eq!(sizes(4), [4, 2]);
        assert_eq!(sizes(3), [2, 2, 2]);
        assert_eq!(sizes(1), [1; 6]);
        assert_eq!(sizes(0), [1; 6]);
    }

    #[test]
    fn another_product_of_the_same_name_is_another_instrument() {
        let symbols = symbols();
        let cases = [
            (r#"{"instType":"USDT-FUTURES","channel":"ticker","instId":"BTCUSDT"}"#, None),
            (r#"{"instType":"SPOT","channel":"ticker","instId":"BTCUSDT"}"#, Some(Refusal::UnknownSymbol)),
            (r#"{"instType":"USDC-FUTURES","channel":"ticker","instId":"BTCUSDT"}"#, Some(Refusal::UnknownSymbol)),
            (r#"{"instType":"USDT-FUTURES","channel":"ticker","instId":"NOPE"}"#, Some(Refusal::UnknownSymbol)),
            (r#"{"instType":"USDT-FUTURES","channel":"books","instId":"BTCUSDT"}"#, Some(Refusal::UnknownChannel)),
            (r#"{"instType":"USDT-FUTURES","channel":"candle7m","instId":"BTCUSDT"}"#, Some(Refusal::UnknownChannel)),
            (r#"{"instType":"SPOT","channel":"positions","instId":"default"}"#, Some(Refusal::UnknownChannel)),
            (r#"{"instType":"USDT-FUTURES","channel":"ticker","instId":"\u6211\u8e0f\u9a6c\u6765\u4e86USDT"}"#, None),
        ];
        for (json, refusal) in cases {
            let arg: Arg<'_> = serde_json::from_str(json).unwrap();
            let got = stream_of(Generation::Classic, &symbols, &arg).err().map(|(refusal, _)| refusal);
            assert_eq!(got, refusal, "case: {json}");
        }
    }
}
