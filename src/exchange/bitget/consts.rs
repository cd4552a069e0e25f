//! What Bitget fixes: generations, paths, limits, and how it spells products.

use crate::domain::symbol::Product;

/// Longest text frame that is looked at; the longest real one (1000 book levels) is 54 kB.
pub const FRAME_MAX_BYTES: usize = 1024 * 1024;
/// Deepest nesting that is looked at; the protocol's deepest is 5.
pub const DEPTH_MAX: usize = 32;
/// Arguments per subscribe frame. Twenty were seen to pass, twenty-five to end the connection without a word.
pub const ARGS_PER_FRAME: usize = 10;
/// Messages per second that the exchange accepts, pings and the login included.
pub const MESSAGES_PER_SECOND: u32 = 10;
/// Channels per connection that the exchange recommends to stay under.
pub const CHANNELS_PER_CONNECTION: usize = 50;
/// The keepalive is a text frame, not a WebSocket ping and not JSON.
pub const PING: &str = "ping";
pub const PONG: &str = "pong";
/// What a login signs after its timestamp.
pub const LOGIN_PATH: &str = "/user/verify";
/// The REST code of success.
pub const REST_OK: &str = "00000";

/// Which of the two living protocols is spoken. The kind of account decides which one works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Generation {
    /// v2, classic accounts.
    Classic,
    /// v3, unified trading accounts.
    Unified,
}

impl Generation {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Unified => "unified",
        }
    }

    /// Path of the public socket below the WebSocket host.
    pub const fn public_path(self) -> &'static str {
        match self {
            Self::Classic => "/v2/ws/public",
            Self::Unified => "/v3/ws/public",
        }
    }

    /// Path of the private socket below the WebSocket host.
    pub const fn private_path(self) -> &'static str {
        match self {
            Self::Classic => "/v2/ws/private",
            Self::Unified => "/v3/ws/private",
        }
    }

    /// The product as this generation's sockets spell it.
    pub const fn product_word(self, product: Product) -> &'static str {
        match (self, product) {
            (Self::Classic, _) => rest_product(product),
            (Self::Unified, Product::UsdtFutures) => "usdt-futures",
            (Self::Unified, Product::UsdcFutures) => "usdc-futures",
            (Self::Unified, Product::CoinFutures) => "coin-futures",
        }
    }
}

/// The product as REST spells it, `productType` and `category` alike.
pub const fn rest_product(product: Product) -> &'static str {
    match product {
        Product::UsdtFutures => "USDT-FUTURES",
        Product::UsdcFutures => "USDC-FUTURES",
        Product::CoinFutures => "COIN-FUTURES",
    }
}

/// Reads a product in either spelling; spot and the old demo products are not ours.
pub fn product(word: &str) -> Option<Product> {
    Product::ALL.into_iter().find(|&product| rest_product(product).eq_ignore_ascii_case(word))
}

/// Where the exchange is: scheme and host, without a path. The defaults are the production hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Public sockets, e.g. `wss://ws.bitget.com`; the generation's path is appended.
    pub public_ws: String,
    /// Private sockets.
    pub private_ws: String,
    /// REST, e.g. `https://api.bitget.com`.
    pub rest: String,
    /// Sends `paptrading: 1` with REST calls: a demo key on the production host.
    pub demo: bool,
}

impl Default for Endpoints {
    fn default() -> Self {
        let ws = "wss://ws.bitget.com".to_owned();
        Self { public_ws: ws.clone(), private_ws: ws, rest: "https://api.bitget.com".to_owned(), demo: false }
    }
}

impl Endpoints {
    /// The exchange's demo trading; needs a demo key.
    pub fn demo() -> Self {
        let ws = "wss://wspap.bitget.com".to_owned();
        Self { public_ws: ws.clone(), private_ws: ws, demo: true, ..Self::default() }
    }

    /// Everything on one host and port, as the built-in exchange serves it: `base` is `http://host:port`.
    pub fn at(base: &str) -> Self {
        let base = base.trim_end_matches('/');
        let ws = match base.strip_prefix("https://") {
            Some(host) => format!("wss://{host}"),
            None => format!("ws://{}", base.strip_prefix("http://").unwrap_or(base)),
        };
        Self { public_ws: ws.clone(), private_ws: ws, rest: base.to_owned(), demo: false }
    }

    pub fn public_url(&self, generation: Generation) -> String {
        format!("{}{}", self.public_ws.trim_end_matches('/'), generation.public_path())
    }

    pub fn private_url(&self, generation: Generation) -> String {
        format!("{}{}", self.private_ws.trim_end_matches('/'), generation.private_path())
    }
}
