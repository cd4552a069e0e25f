//! Bodies of REST answers. Strict where the socket is lenient: an answer either has the shape of its call or is none.

use super::consts::{Generation, REST_OK};
use super::error::RestError;
use super::parse::{Decoded, Flaw};
use super::parse_private::PrivateRows;
use super::scalar::{Name, Scalar};
use crate::domain::position::Coverage;
use crate::domain::symbol::{Product, SymbolId, Symbols};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::Duration;

/// A contract as the exchange lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct Contract {
    pub symbol: SymbolId,
    /// Open for trading now; delisted, in maintenance or reduce-only otherwise.
    pub open: bool,
    /// The exchange's word for it.
    pub status: String,
    /// Smallest step of the price.
    pub tick_size: Option<Decimal>,
    /// Smallest step of the size, base coin.
    pub size_step: Option<Decimal>,
    pub max_leverage: Option<Decimal>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow)]
    code: Name<'a>,
    #[serde(borrow, default)]
    msg: Name<'a>,
    #[serde(borrow, default)]
    request_time: Scalar<'a>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// What the exchange lets a key do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRights {
    /// The exchange's own words, at most 64.
    pub words: Vec<String>,
    /// Orders or positions may be changed.
    pub trade: bool,
    pub withdraw: bool,
    /// Anything at all may be changed.
    pub write: bool,
    /// Addresses it is bound to, as listed; empty: none.
    pub addresses: String,
}

/// The answer about the key itself. v2 lists four letters a right, the last `r` or `w`; v3 says whether it may write
/// and where. A word that nobody knows counts as a right to write unless it ends like a reading one.
pub(super) fn key_rights(body: &str) -> Result<KeyRights, RestError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Info {
        #[serde(default)]
        authorities: Option<Vec<String>>,
        #[serde(default)]
        permissions: Vec<String>,
        #[serde(default)]
        perm_type: Option<String>,
        #[serde(default)]
        ips: Option<String>,
    }
    let envelope = open(body)?;
    let info: Info = serde_json::from_str(data(&envelope)?).map_err(unreadable)?;
    let unified = info.perm_type.is_some();
    // An answer that says nothing about rights must not pass for a key without any.
    if info.authorities.is_none() && !unified {
        return Err(unreadable("no rights in the answer"));
    }
    let mut rights = KeyRights { addresses: info.ips.unwrap_or_default(), ..KeyRights::default() };
    for word in info.authorities.iter().flatten().chain(&info.permissions).take(64) {
        let lower = word.to_lowercase();
        let reads = lower.contains("read") || (lower.len() == 4 && lower.ends_with("or"));
        rights.withdraw |= lower == "wwow" || lower.contains("withdraw");
        // Areas c (contracts), s (spot), m (margin) of v2; the words of v1 and v3.
        let trades =
            lower.contains("trade") || (lower.ends_with("ow") && ["c", "s", "m"].iter().any(|a| lower.starts_with(a)));
        rights.trade |= trades;
        // A word of v3 names an area; whether it is read or written says the type.
        rights.write |= !unified && !reads;
        rights.words.push(word.clone());
    }
    if let Some(kind) = info.perm_type {
        rights.write = !kind.to_lowercase().replace(['_', '-'], "").contains("readonly");
        rights.trade &= rights.write;
        rights.withdraw &= rights.write;
        rights.words.insert(0, kind);
    }
    Ok(rights)
}

fn unreadable(reason: impl ToString) -> RestError {
    RestError::Unreadable { reason: reason.to_string() }
}

fn flawed(flaw: Flaw) -> RestError {
    RestError::Unreadable { reason: format!("{}: {}", flaw.refusal.label(), flaw.field) }
}

/// Lets only a success of the exchange through: 2xx with a readable envelope and its code of success.
pub(super) fn envelope(status: u16, retry_after: Option<Duration>, body: Vec<u8>) -> Result<String, RestError> {
    if status == 429 {
        // Whatever it says in words: the wait is what counts.
        return Err(RestError::Status { status, retry_after });
    }
    let text = String::from_utf8(body).ok();
    let parsed = text.as_deref().and_then(|text| serde_json::from_str::<Envelope<'_>>(text).ok());
    let success = (200..300).contains(&status);
    match parsed {
        Some(envelope) if envelope.code.as_str() != REST_OK => {
            let code = envelope.code.as_str().parse().unwrap_or_default();
            Err(RestError::Code { code, message: envelope.msg.as_str().chars().take(200).collect() })
        }
        Some(_) if success => Ok(text.unwrap_or_default()),
        None if success => Err(unreadable("not an answer of the exchange")),
        Some(_) | None => Err(RestError::Status { status, retry_after }),
    }
}

fn open(body: &str) -> Result<Envelope<'_>, RestError> {
    serde_json::from_str(body).map_err(|_| unreadable("not an answer of the exchange"))
}

fn data<'a>(envelope: &Envelope<'a>) -> Result<&'a str, RestError> {
    envelope.data.map(RawValue::get).ok_or_else(|| unreadable("no data"))
}

pub(super) fn server_time(body: &str) -> Result<i64, RestError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Time<'a> {
        #[serde(borrow)]
        server_time: Scalar<'a>,
    }
    let envelope = open(body)?;
    let time: Time<'_> = serde_json::from_str(data(&envelope)?).map_err(|_| unreadable("no server time"))?;
    time.server_time.millis().ok().flatten().ok_or_else(|| unreadable("no server time"))
}

/// Reads private rows; `time_ms` is the exchange's time by our clock, for answers that do not carry their own.
pub(super) struct Rows<'s> {
    pub generation: Generation,
    pub symbols: &'s Symbols,
    pub received_ms: i64,
    pub time_ms: i64,
}

impl<'s> Rows<'s> {
    fn private(&self, envelope: &Envelope<'_>) -> PrivateRows<'s> {
        let time_ms = envelope.request_time.millis().ok().flatten().unwrap_or(self.time_ms);
        PrivateRows::new(self.generation, self.symbols, self.received_ms, time_ms)
    }

    pub(super) fn positions(&self, body: &str, product: Product) -> Result<Decoded, RestError> {
        let envelope = open(body)?;
        let rows = match self.generation {
            Generation::Classic => data(&envelope)?,
            Generation::Unified => list(data(&envelope)?)?.0,
        };
        let mut out = Decoded::default();
        let coverage = Coverage::Complete { product: Some(product) };
        self.private(&envelope).positions(rows, coverage, Some(product), &mut out).map_err(flawed)?;
        Ok(out)
    }

    pub(super) fn account(&self, body: &str) -> Result<Decoded, RestError> {
        let envelope = open(body)?;
        let mut out = Decoded::default();
        let rows = self.private(&envelope);
        match self.generation {
            Generation::Classic => rows.accounts(data(&envelope)?, &mut out),
            Generation::Unified => rows.account_object(data(&envelope)?, &mut out),
        }
        .map_err(flawed)?;
        Ok(out)
    }

    /// Reports, how many rows there were, and where the next page begins.
    pub(super) fn fills(&self, body: &str, product: Product) -> Result<(Decoded, usize, Option<String>), RestError> {
        let envelope = open(body)?;
        let (rows, cursor) = list(data(&envelope)?)?;
        let mut out = Decoded::default();
        self.private(&envelope).fills(rows, Some(product), &mut out).map_err(flawed)?;
        let count = out.reports.len() + out.refused.len();
        Ok((out, count, cursor))
    }
}

/// `{"list":[..],"cursor":".."}` (v3) or `{"fillList":[..],"endId":".."}` (v2). `null` is how v3 says 'none'; a list
/// that is not mentioned says nothing.
fn list(data: &str) -> Result<(&str, Option<String>), RestError> {
    #[derive(Deserialize)]
    struct List<'a> {
        #[serde(borrow, alias = "fillList")]
        list: &'a RawValue,
        #[serde(borrow, default, alias = "endId")]
        cursor: Name<'a>,
    }
    let list: List<'_> = serde_json::from_str(data).map_err(|_| unreadable("no list"))?;
    let rows = if list.list.get() == "null" { "[]" } else { list.list.get() };
    Ok((rows, list.cursor.get().map(str::to_owned)))
}

/// A contract row of either generation.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContractRow<'a> {
    #[serde(borrow)]
    symbol: Name<'a>,
    #[serde(borrow)]
    symbol_status: Name<'a>,
    #[serde(borrow)]
    status: Name<'a>,
    #[serde(borrow)]
    price_place: Scalar<'a>,
    #[serde(borrow)]
    price_end_step: Scalar<'a>,
    #[serde(borrow)]
    price_multiplier: Scalar<'a>,
    #[serde(borrow)]
    size_multiplier: Scalar<'a>,
    #[serde(borrow)]
    quantity_multiplier: Scalar<'a>,
    #[serde(borrow)]
    max_lever: Scalar<'a>,
    #[serde(borrow)]
    max_leverage: Scalar<'a>,
}

pub(super) fn contracts(body: &str, symbols: &Symbols, product: Product) -> Result<Vec<Contract>, RestError> {
    let envelope = open(body)?;
    let rows: Vec<ContractRow<'_>> =
        serde_json::from_str(data(&envelope)?).map_err(|_| unreadable("no list of contracts"))?;
    if rows.is_empty() {
        // An exchange without contracts is a broken answer, not a wave of delistings.
        return Err(unreadable("an empty list of contracts"));
    }
    let number = |a: Scalar<'_>, b: Scalar<'_>| if a.is_absent() { b } else { a }.decimal().ok().flatten();
    let mut contracts = Vec::new();
    for row in &rows {
        let Some(symbol) = symbols.id(row.symbol.as_str()).filter(|&id| symbols.get(id).product == product) else {
            continue;
        };
        let status = row.symbol_status.get().or(row.status.get()).unwrap_or_default();
        let places = row.price_place.decimal().ok().flatten().and_then(|places| u32::try_from(places).ok());
        let classic_tick = match (row.price_end_step.decimal().ok().flatten(), places) {
            (Some(step), Some(places)) if places <= 18 => Some(step * Decimal::new(1, places)),
            _ => None,
        };
        contracts.push(Contract {
            symbol,
            open: matches!(status, "normal" | "listed" | "online"),
            status: status.to_owned(),
            tick_size: classic_tick.or_else(|| row.price_multiplier.decimal().ok().flatten()),
            size_step: number(row.size_multiplier, row.quantity_multiplier),
            max_leverage: number(row.max_lever, row.max_leverage),
        });
    }
    Ok(contracts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::report::Report;

    const TIME: i64 = 1_753_103_840_140;

    fn rows(generation: Generation, symbols: &Symbols) -> Rows<'_> {
        Rows { generation, symbols, received_ms: 1, time_ms: 2 }
    }

    fn body(data: &str) -> String {
        format!(r#"{{"code":"00000","msg":"success","requestTime":{TIME},"data":{data}}}"#)
    }

    #[test]
    fn only_a_success_of_the_exchange_passes() {
        let ok = body("[]");
        assert_eq!(envelope(200, None, ok.clone().into_bytes()).unwrap(), ok);
        let cases: [(&str, u16, &str, &str); 8] = [
            ("error with its envelope", 400, r#"{"code":"40085","msg":"unified","data":null}"#, "code"),
            ("error with status 200", 200, r#"{"code":"45001","msg":"busy","data":null}"#, "code"),
            ("success code with status 500", 500, &ok, "status"),
            ("a proxy's page", 502, "<html>bad gateway</html>", "status"),
            ("a page with status 200", 200, "<html>maintenance</html>", "unreadable"),
            ("an empty body", 200, "", "unreadable"),
            ("cut off", 200, r#"{"code":"00000","data":[{"sym"#, "unreadable"),
            ("rate limit", 429, "", "status"),
        ];
        for (name, status, text, label) in cases {
            let error = envelope(status, None, text.as_bytes().to_vec()).unwrap_err();
            assert_eq!(error.label(), label, "case: {name}: {error}");
        }
        assert_eq!(envelope(200, None, vec![0xff, 0xfe]).unwrap_err().label(), "unreadable");
    }

    #[test]
    fn flat_is_said_by_an_empty_list_and_by_nothing_else() {
        let symbols = Symbols::usdt(["BTCUSDT"]);
        let cases = [
            (Generation::Classic, "[]", true),
            (Generation::Classic, "null", false),
            (Generation::Classic, "{}", false),
            (Generation::Classic, r#"[{"symbol":"BTCUSDT"}]"#, false),
            (Generation::Unified, r#"{"list":null}"#, true),
            (Generation::Unified, r#"{"list":[]}"#, true),
            (Generation::Unified, "{}", false),
            (Generation::Unified, "null", false),
            (Generation::Unified, "[]", false),
            (Generation::Unified, r#"{"list":{}}"#, false),
        ];
        for (generation, data, flat) in cases {
            let answer = rows(generation, &symbols).positions(&body(data), Product::UsdtFutures);
            match answer {
                Ok(decoded) => {
                    assert!(flat, "case: {generation:?} {data}");
                    let [Report::Positions(statement)] = decoded.reports.as_slice() else { panic!() };
                    assert!(statement.rows.is_empty());
                    assert_eq!(statement.coverage, Coverage::Complete { product: Some(Product::UsdtFutures) });
                    assert_eq!(statement.exchange_time_ms, TIME);
                }
                Err(error) => assert!(!flat, "case: {generation:?} {data}: {error}"),
            }
        }
    }

    #[test]
    fn rows_of_rest_have_their_own_spelling() {
        let symbols = Symbols::usdt(["BTCUSDT"]);
        let classic = r#"[{"symbol":"BTCUSDT","holdSide":"long","posMode":"hedge_mode","total":"0.5","available":"0.4",
            "locked":"0.1","openPriceAvg":"86000","leverage":"20","marginMode":"crossed","marginSize":"2150",
            "liquidationPrice":"70000","unrealizedPL":"1","markPrice":"86002","totalFee":"","takeProfit":null,"uTime":"1753103840000"}]"#;
        let unified = r#"{"list":[{"category":"USDT-FUTURES","symbol":"BTCUSDT","posSide":"long","holdMode":"hedge_mode",
            "total":"0.5","available":"0.4","avgPrice":"86000","leverage":"20","marginMode":"crossed","positionBalance":"2150",
            "liquidationPrice":"70000","unrealisedPnl":"1","markPrice":"86002","totalFunding":"","positionStatus":"normal",
            "updatedTime":"1753103840000"}]}"#;
        let read = |generation, data: &str| {
            let decoded = rows(generation, &symbols).positions(&body(data), Product::UsdtFutures).unwrap();
            let [Report::Positions(statement)] = decoded.reports.as_slice() else { panic!() };
            statement.rows[0]
        };
        let position = read(Generation::Classic, classic);
        assert_eq!(position, read(Generation::Unified, unified));
        assert_eq!((position.size, position.leverage), (Decimal::new(5, 1), Decimal::from(20)));
        assert_eq!(position.margin, Some(Decimal::from(2150)));
    }

    #[test]
    fn fills_come_in_pages() {
        let symbols = Symbols::usdt(["BTCUSDT"]);
        let classic = r#"{"fillList":[{"tradeId":"7","orderId":"1","symbol":"BTCUSDT","side":"buy","price":"86000","baseVolume":"0.1",
            "feeDetail":[{"feeCoin":"USDT","totalFee":"-0.5"}],"tradeSide":"buy_single","posMode":"one_way_mode","cTime":"1753103840000"}],"endId":"7"}"#;
        let (decoded, count, next) =
            rows(Generation::Classic, &symbols).fills(&body(classic), Product::UsdtFutures).unwrap();
        assert_eq!((decoded.reports.len(), count, next.as_deref()), (1, 1, Some("7")));
        for (generation, data) in [
            (Generation::Unified, r#"{"list":null,"cursor":null}"#),
            (Generation::Classic, r#"{"fillList":null,"endId":null}"#),
        ] {
            let (decoded, count, next) = rows(generation, &symbols).fills(&body(data), Product::UsdtFutures).unwrap();
            assert_eq!((decoded.reports.len(), count, next), (0, 0, None));
        }
    }

    #[test]
    fn contracts_tell_steps_and_whether_they_trade() {
        let symbols = Symbols::usdt(["BTCUSDT", "ETHUSDT"]);
        let classic = r#"[{"symbol":"BTCUSDT","symbolStatus":"normal","pricePlace":"1","priceEndStep":"1","sizeMultiplier":"0.0001","maxLever":"125"},
            {"symbol":"ETHUSDT","symbolStatus":"maintain","pricePlace":"2","priceEndStep":"5"},{"symbol":"XUSDT"}]"#;
        let found = contracts(&body(classic), &symbols, Product::UsdtFutures).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].open, found[0].tick_size, found[0].max_leverage),
            (true, Some(Decimal::new(1, 1)), Some(Decimal::from(125)))
        );
        assert_eq!((found[1].open, found[1].tick_size), (false, Some(Decimal::new(5, 2))));
        let unified = r#"[{"symbol":"BTCUSDT","status":"online","priceMultiplier":"0.1","quantityMultiplier":"0.0001","maxLeverage":"125"}]"#;
        let found = contracts(&body(unified), &symbols, Product::UsdtFutures).unwrap();
        assert_eq!((found[0].open, found[0].tick_size), (true, Some(Decimal::new(1, 1))));
        assert!(contracts(&body("[]"), &symbols, Product::UsdtFutures).is_err(), "no wave of delistings");
    }

    #[test]
    fn a_keys_rights_are_told_apart() {
        let cases = [
            ("v2 reading", r#"{"authorities":["coor","cpor","stor","wtor"],"ips":"1.2.3.4"}"#, (false, false, false)),
            ("v2 trading", r#"{"authorities":["coor","coow"],"ips":""}"#, (true, false, true)),
            ("v2 withdrawing", r#"{"authorities":["coor","wwow"]}"#, (false, true, true)),
            ("v2 old words", r#"{"authorities":["trade","readonly"]}"#, (true, false, true)),
            ("v2 a word nobody knows", r#"{"authorities":["frobnicate"]}"#, (false, false, true)),
            ("v3 reading", r#"{"permType":"read-only","permissions":["uta_mgt","uta_trade"]}"#, (false, false, false)),
            ("v3 reading, spelt otherwise", r#"{"permType":"read_only","permissions":[]}"#, (false, false, false)),
            (
                "v3 trading",
                r#"{"permType":"read-and-write","permissions":["uta_mgt","uta_trade"]}"#,
                (true, false, true),
            ),
            (
                "v3 withdrawing",
                r#"{"permType":"read-and-write","permissions":["withdraw"],"ips":null}"#,
                (false, true, true),
            ),
        ];
        for (case, data, expected) in cases {
            let rights = key_rights(&body(data)).unwrap();
            assert_eq!((rights.trade, rights.withdraw, rights.write), expected, "case: {case}");
        }
        for nothing in ["[]", "{}", r#"{"ips":"1.2.3.4"}"#] {
            assert!(key_rights(&body(nothing)).is_err(), "{nothing} says nothing about rights");
        }
    }

    #[test]
    fn the_exchanges_time_is_text_or_a_number() {
        assert_eq!(server_time(&body(r#"{"serverTime":"1688008631614"}"#)).unwrap(), 1_688_008_631_614);
        assert_eq!(server_time(&body(r#"{"serverTime":1688008631614}"#)).unwrap(), 1_688_008_631_614);
        assert!(server_time(&body("{}")).is_err());
    }
}
