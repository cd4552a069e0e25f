//! The exchange: reachable, in time, and with a key that can do no harm.

use super::{Report, Severity};
use crate::config::Config;
use crate::exchange::bitget::consts::Generation;
use crate::exchange::bitget::error::{RestError, login_fix};
use crate::exchange::bitget::rest::Rest;

/// Signatures are valid for 30 s; market data are believed for 5 s after the correction.
const SKEW_WARN_MS: i64 = 1_000;
const SKEW_BLOCK_MS: i64 = 30_000;

pub(super) async fn examine(rest: &Rest, config: &Config, report: &mut Report) {
    match rest.measure_skew().await {
        Ok(skew_ms) => {
            report.ok("X-REACH", "the exchange answers");
            clock(skew_ms, report);
        }
        Err(error) => {
            let what = match &config.exchange.rest_url {
                None => error.to_string(),
                Some(url) => format!("{url}: {error}"),
            };
            return report.add("X-REACH", Severity::Block, what, cure(&error));
        }
    }
    let generation = key(rest, report).await;
    symbols(rest, config, generation, report).await;
}

/// Asked too often: by this look, by the daemon beside it, or by others behind the same address.
const fn is_limit(error: &RestError) -> bool {
    matches!(error, RestError::Status { status: 418 | 429, .. } | RestError::Code { code: 429, .. })
}

/// What a person does about an exchange that did not answer as it should.
const fn cure(error: &RestError) -> &'static str {
    match error {
        RestError::Status { status: 418 | 429, .. } | RestError::Code { code: 429, .. } => {
            "asked too often from this address: wait a minute, then look again"
        }
        RestError::Status { status: 403, .. } => "the exchange refuses this address: check proxy, VPN and country",
        RestError::Status { status: 500.., .. } | RestError::Code { .. } => {
            "the exchange is there and has trouble: try again; if it stays so, look at its status page"
        }
        RestError::Unreadable { .. } | RestError::Oversized { .. } | RestError::Status { .. } => {
            "something else answers there, e.g. a proxy's page: check rest_url in [exchange], and proxies on the way"
        }
        RestError::Slow { .. } => "the way there is too slow: check the network",
        RestError::Transport { .. } | RestError::NoCredential => {
            "check the network, a proxy or firewall, and rest_url in [exchange]"
        }
    }
}

fn clock(skew_ms: i64, report: &mut Report) {
    let what = format!("the exchange's clock is {skew_ms} ms ahead of ours (corrected for)");
    let fix = "synchronise this machine's clock: systemctl enable --now systemd-timesyncd, or chrony";
    match skew_ms.abs() {
        ..=SKEW_WARN_MS => report.ok("X-CLOCK", what),
        SKEW_BLOCK_MS.. => report.add("X-CLOCK", Severity::Block, what, fix),
        _ => report.add("X-CLOCK", Severity::Warn, what, fix),
    }
}

/// Returns the generation that the account speaks.
async fn key(rest: &Rest, report: &mut Report) -> Generation {
    if !rest.has_credential() {
        let fix = "for positions, orders and fills: make a read-only key and name it in [exchange.credentials]";
        report.add("X-KEY", Severity::Info, "no key: public market data only", fix);
        return Generation::Unified;
    }
    let (generation, rights) = match rest.key_rights().await {
        Ok(found) => found,
        Err(error) => {
            let (severity, fix) = match &error {
                // The limits say nothing about the key.
                error if is_limit(error) => (Severity::Warn, cure(error)),
                RestError::Code { code, .. } => (Severity::Block, login_fix(*code)),
                error => (Severity::Block, cure(error)),
            };
            report.add("X-KEY", severity, error.to_string(), fix);
            return Generation::Unified;
        }
    };
    report.ok("X-KEY", "the key is accepted");
    let may: Vec<_> = [(rights.trade, "trade"), (rights.withdraw, "withdraw")]
        .into_iter()
        .filter_map(|(may, word)| may.then_some(word))
        .collect();
    let listed = rights.words.join(" ");
    if !may.is_empty() {
        let fix = "trapline never trades: make a read-only key, and delete this one if nothing else uses it";
        report.add("X-RIGHTS", Severity::Warn, format!("the key may {} ({listed})", may.join(" and ")), fix);
    } else if rights.write {
        let fix = "make a read-only key";
        report.add("X-RIGHTS", Severity::Warn, format!("the key may more than read ({listed})"), fix);
    } else {
        report.ok("X-RIGHTS", format!("the key may read only ({listed})"));
    }
    if rights.addresses.is_empty() {
        let fix = "bind it to this machine's address at the exchange: a stolen key is worth nothing elsewhere";
        report.add("X-ADDRESS", Severity::Warn, "the key is bound to no address", fix);
    } else {
        report.ok("X-ADDRESS", format!("the key is bound to {}", rights.addresses));
    }
    generation
}

async fn symbols(rest: &Rest, config: &Config, generation: Generation, report: &mut Report) {
    let product = config.exchange.product;
    match rest.contracts(generation, product).await {
        Ok(found) => {
            let symbols = rest.symbols();
            let unknown: Vec<_> =
                symbols.ids().filter(|&id| !found.iter().any(|c| c.symbol == id)).map(|id| symbols.name(id)).collect();
            let closed: Vec<_> = found.iter().filter(|c| !c.open).map(|c| symbols.name(c.symbol)).collect();
            if !unknown.is_empty() {
                let what = format!("the exchange does not list {}", unknown.join(", "));
                report.add("X-SYMBOLS", Severity::Block, what, "correct symbols (or product) in [exchange]");
            } else if !closed.is_empty() {
                let what = format!("not open for trading now: {}", closed.join(", "));
                report.add("X-SYMBOLS", Severity::Warn, what, "nothing, if it is maintenance; else take it out");
            } else {
                report.ok("X-SYMBOLS", format!("all {} are listed and trade", symbols.len()));
            }
        }
        Err(error) => {
            report.add("X-SYMBOLS", Severity::Warn, format!("contracts cannot be read: {error}"), "try again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_a_cure_of_its_own() {
        let status = |status| RestError::Status { status, retry_after: None };
        let cases = [
            (status(429), true, "too often"),
            (RestError::Code { code: 429, message: String::new() }, true, "too often"),
            (status(403), false, "refuses this address"),
            (status(502), false, "has trouble"),
            (RestError::Code { code: 40015, message: String::new() }, false, "has trouble"),
            (RestError::Unreadable { reason: String::new() }, false, "proxy's page"),
            (status(404), false, "proxy's page"),
            (RestError::Transport { reason: String::new() }, false, "network"),
        ];
        for (error, limit, fix) in cases {
            assert!(is_limit(&error) == limit && cure(&error).contains(fix), "{error}: {}", cure(&error));
        }
    }

    #[test]
    fn the_clock_on_both_sides_of_each_limit() {
        for (skew_ms, expected) in [
            (0, Severity::Ok),
            (-1_000, Severity::Ok),
            (1_001, Severity::Warn),
            (-29_999, Severity::Warn),
            (30_000, Severity::Block),
            (-30_000, Severity::Block),
        ] {
            let mut report = Report::default();
            clock(skew_ms, &mut report);
            assert_eq!(report.findings[0].severity, expected, "skew {skew_ms}");
        }
    }
}
