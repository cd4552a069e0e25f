//! REST: the second witness. Every call answers with what the exchange said, or with an error; 'no answer' is never
//! an empty list.

use super::super::retry_after;
use super::super::skew::{Skew, offset_ms};
use super::super::tls;
use super::consts::{Endpoints, Generation, rest_product};
use super::credential::Credential;
use super::error::RestError;
use super::parse::Decoded;
use super::rest_parse::{self, Contract, KeyRights, Rows};
use super::subscribe::products_of;
use crate::clock::Clock;
use crate::domain::account::Fill;
use crate::domain::report::Report;
use crate::domain::symbol::{Product, Symbols};
use crate::error::Remedy;
use secrecy::ExposeSecret;
use std::sync::Arc;
use std::time::Duration;

/// How REST calls behave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestSettings {
    /// One try, from the connection to the last byte.
    pub timeout: Duration,
    /// Tries per call, the first included.
    pub tries: u32,
    /// Pause between two tries; an error that asks for more ends the call instead.
    pub backoff: Duration,
    /// Longest answer; the list of contracts has about 600 kB.
    pub body_max: usize,
    /// Pages of fills that are read at a stretch, 100 rows each: the exchange allows ten calls of this path a second.
    pub fill_pages: u32,
}

impl Default for RestSettings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            tries: 3,
            backoff: Duration::from_secs(1),
            body_max: 8 * 1024 * 1024,
            fill_pages: 10,
        }
    }
}

const FILLS_PER_PAGE: usize = 100;
/// The account belongs to the classic interface.
const CODE_CLASSIC: i64 = 40084;

/// A client of the exchange's REST interface; cheap to clone.
#[derive(Clone, Debug)]
pub struct Rest {
    http: reqwest::Client,
    endpoints: Arc<Endpoints>,
    credential: Option<Credential>,
    symbols: Arc<Symbols>,
    settings: RestSettings,
    clock: Clock,
    skew: Skew,
}

impl Rest {
    pub fn new(
        endpoints: Endpoints,
        credential: Option<Credential>,
        symbols: Arc<Symbols>,
        settings: RestSettings,
        clock: Clock,
        skew: Skew,
    ) -> Result<Self, RestError> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured((*tls::client_config()).clone())
            .user_agent(concat!("trapline/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            // The sockets do not go through a proxy either; half a daemon behind one is hard to explain.
            .no_proxy()
            .timeout(settings.timeout)
            .pool_idle_timeout(Duration::from_secs(60))
            .build()
            .map_err(|error| RestError::Transport { reason: error.to_string() })?;
        Ok(Self { http, endpoints: Arc::new(endpoints), credential, symbols, settings, clock, skew })
    }

    pub const fn has_credential(&self) -> bool {
        self.credential.is_some()
    }

    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    pub const fn skew(&self) -> &Skew {
        &self.skew
    }

    /// Asks for the exchange's time, keeps the difference for whoever signs, and returns it in ms. An answer that was long
    /// under way, or that a suspend fell into, is refused, counted and asked for again.
    pub async fn measure_skew(&self) -> Result<i64, RestError> {
        let mut failed = None;
        for attempt in 0..self.settings.tries.max(1) {
            if attempt > 0 {
                tokio::time::sleep(self.settings.backoff).await;
            }
            match self.ask_time().await {
                Ok(offset_ms) => return Ok(offset_ms),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or(RestError::Transport { reason: "not tried".to_owned() }))
    }

    /// One try of [`Rest::measure_skew`].
    async fn ask_time(&self) -> Result<i64, RestError> {
        let asked_ms = self.clock.now_ms();
        let exchange_ms = rest_parse::server_time(&self.once("/api/v2/public/time", &[], false).await?)?;
        let measured = offset_ms(asked_ms, exchange_ms, self.clock.now_ms());
        let offset_ms = measured.map_err(|took_ms| {
            self.skew.refuse();
            RestError::Slow { took_ms }
        })?;
        self.skew.set(offset_ms);
        Ok(offset_ms)
    }

    /// Finds out which interface the account belongs to. Without a key the newer one, which serves the same market.
    pub async fn probe(&self) -> Result<Generation, RestError> {
        if self.credential.is_none() {
            return Ok(Generation::Unified);
        }
        match self.get("/api/v3/account/settings", &[], true).await {
            Ok(_) => Ok(Generation::Unified),
            Err(RestError::Code { code: CODE_CLASSIC, .. }) => Ok(Generation::Classic),
            Err(error) => Err(error),
        }
    }

    /// Which interface the account belongs to, and what the key may do.
    pub async fn key_rights(&self) -> Result<(Generation, KeyRights), RestError> {
        let (generation, body) = match self.get("/api/v3/account/info", &[], true).await {
            Ok(body) => (Generation::Unified, body),
            Err(RestError::Code { code: CODE_CLASSIC, .. }) => {
                (Generation::Classic, self.get("/api/v2/spot/account/info", &[], true).await?)
            }
            Err(error) => return Err(error),
        };
        rest_parse::key_rights(&body).map(|rights| (generation, rights))
    }

    /// All positions of one product, as one complete statement.
    pub async fn positions(&self, generation: Generation, product: Product) -> Result<Decoded, RestError> {
        let word = rest_product(product);
        let body = match generation {
            Generation::Classic => {
                let query = [("productType", word)];
                self.get("/api/v2/mix/position/all-position", &query, true).await?
            }
            Generation::Unified => self.get("/api/v3/position/current-position", &[("category", word)], true).await?,
        };
        self.rows(generation).positions(&body, product)
    }

    /// Balances: one row per margin coin, or the whole unified account.
    pub async fn account(&self, generation: Generation) -> Result<Decoded, RestError> {
        let mut all = Decoded::default();
        match generation {
            Generation::Classic => {
                for product in products_of(&self.symbols) {
                    let query = [("productType", rest_product(product))];
                    let body = self.get("/api/v2/mix/account/accounts", &query, true).await?;
                    append(&mut all, self.rows(generation).account(&body)?);
                }
            }
            Generation::Unified => {
                let body = self.get("/api/v3/account/assets", &[], true).await?;
                all = self.rows(generation).account(&body)?;
            }
        }
        Ok(all)
    }

    /// One stretch of the fills of one product since `since_ms`, oldest first. The exchange tells the newest first, page
    /// by page, from `from` on. Where [`RestSettings::fill_pages`] do not reach back to `since_ms`, and were not all
    /// known, the place to go on from is the second answer. Whoever goes on leaves the path a second's rest.
    pub async fn fills(
        &self,
        generation: Generation,
        product: Product,
        since_ms: i64,
        from: Option<String>,
        is_known: &dyn Fn(&Fill) -> bool,
    ) -> Result<(Decoded, Option<String>), RestError> {
        let word = rest_product(product);
        let since = since_ms.to_string();
        let limit = FILLS_PER_PAGE.to_string();
        let mut all = Decoded::default();
        let mut cursor = from;
        let mut is_end = false;
        for _ in 0..self.settings.fill_pages.max(1) {
            let (path, category, page) = match generation {
                Generation::Classic => ("/api/v2/mix/order/fills", "productType", "idLessThan"),
                Generation::Unified => ("/api/v3/trade/fills", "category", "cursor"),
            };
            let mut query = vec![(category, word), ("limit", limit.as_str()), ("startTime", since.as_str())];
            if let Some(cursor) = &cursor {
                query.push((page, cursor));
            }
            query.sort_unstable();
            let body = self.get(path, &query, true).await?;
            let (rows, count, next) = self.rows(generation).fills(&body, product)?;
            append(&mut all, rows);
            is_end = count < FILLS_PER_PAGE || next.is_none() || next == cursor;
            if is_end {
                break;
            }
            cursor = next;
        }
        let is_known = |r: &Report| matches!(r, Report::Fill(fill) if is_known(fill));
        is_end |= !all.reports.is_empty() && all.reports.iter().all(is_known);
        all.reports.sort_by_key(Report::exchange_time_ms);
        Ok((all, cursor.filter(|_| !is_end)))
    }

    /// The configured contracts of one product as the exchange lists them; what is missing there is not in the answer.
    pub async fn contracts(&self, generation: Generation, product: Product) -> Result<Vec<Contract>, RestError> {
        let word = rest_product(product);
        let body = match generation {
            Generation::Classic => self.get("/api/v2/mix/market/contracts", &[("productType", word)], false).await?,
            Generation::Unified => self.get("/api/v3/market/instruments", &[("category", word)], false).await?,
        };
        rest_parse::contracts(&body, &self.symbols, product)
    }

    fn rows(&self, generation: Generation) -> Rows<'_> {
        let now_ms = self.clock.now_ms();
        Rows { generation, symbols: &self.symbols, received_ms: now_ms, time_ms: now_ms + self.skew.offset_ms() }
    }

    /// One call with its tries. The answer is the body of a success.
    async fn get(&self, path: &str, query: &[(&str, &str)], signed: bool) -> Result<String, RestError> {
        let tries = self.settings.tries.max(1);
        let mut attempt = 1;
        loop {
            let error = match self.once(path, query, signed).await {
                Ok(body) => return Ok(body),
                Err(error) => error,
            };
            match error.remedy() {
                Remedy::Retry { after }
                    if attempt < tries && after <= self.settings.backoff.max(Duration::from_secs(1)) => {}
                _ => return Err(error),
            }
            if matches!(error, RestError::Code { code: 40005 | 40008, .. }) {
                // Without an answer the old skew is as good as any.
                let _ = self.ask_time().await;
            }
            tokio::time::sleep(self.settings.backoff).await;
            attempt += 1;
        }
    }

    async fn once(&self, path: &str, query: &[(&str, &str)], signed: bool) -> Result<String, RestError> {
        // Keys and values are plain words and numbers, so that the decoded query, which is signed, is the sent one.
        let query: Vec<String> = query.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) };
        let mut request = self.http.get(format!("{}{target}", self.endpoints.rest.trim_end_matches('/')));
        request = request.header("Content-Type", "application/json").header("locale", "en-US");
        if self.endpoints.demo {
            request = request.header("paptrading", "1");
        }
        if signed {
            let credential = self.credential.as_ref().ok_or(RestError::NoCredential)?;
            let headers = credential.sign_get(self.clock.now_ms() + self.skew.offset_ms(), &target);
            request = request
                .header("ACCESS-KEY", secret(headers.key.expose_secret())?)
                .header("ACCESS-SIGN", secret(&headers.sign)?)
                .header("ACCESS-TIMESTAMP", &headers.timestamp)
                .header("ACCESS-PASSPHRASE", secret(headers.passphrase.expose_secret())?);
        }
        let mut response = request.send().await.map_err(transport)?;
        let status = response.status();
        let retry_after = response.headers().get("Retry-After").and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| retry_after::retry_after(text, self.clock.now_ms()));
        let limit = self.settings.body_max;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(transport)? {
            if body.len() + chunk.len() > limit {
                return Err(RestError::Oversized { limit });
            }
            body.extend_from_slice(&chunk);
        }
        let injected = crate::fault_points::io("rest", "answer");
        injected.map_err(|error| RestError::Transport { reason: error.to_string() })?;
        rest_parse::envelope(status.as_u16(), retry_after, body)
    }
}

/// A header value that stays out of every log.
fn secret(text: &str) -> Result<reqwest::header::HeaderValue, RestError> {
    let mut value = reqwest::header::HeaderValue::from_str(text)
        .map_err(|_| RestError::Transport { reason: "the key holds characters that no header can carry".to_owned() })?;
    value.set_sensitive(true);
    Ok(value)
}

fn transport(error: reqwest::Error) -> RestError {
    let error = error.without_url();
    let reason = if error.is_timeout() {
        "timed out".to_owned()
    } else {
        // The last of the chain is the system's word; those before it only say which layer passed it on.
        let deepest = std::iter::successors(std::error::Error::source(&error), |source| source.source()).last();
        deepest.map_or_else(|| error.to_string(), ToString::to_string)
    };
    RestError::Transport { reason }
}

fn append(all: &mut Decoded, mut more: Decoded) {
    all.reports.append(&mut more.reports);
    all.refused.append(&mut more.refused);
}
