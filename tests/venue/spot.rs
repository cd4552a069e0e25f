//! What there is of spot: lists, and a clear word where there is nothing.

use crate::client::*;
use serde_json::json;

#[tokio::test]
async fn spot_is_lists_and_says_so() {
    let venue = venue(|_| {}).await;
    let all = get(&venue, "/api/v2/spot/market/tickers").await.json();
    assert_eq!((&all["code"], &all["data"]), (&json!("00000"), &json!([])));
    for path in [
        // Clients take the first row of a list of one symbol without looking: an empty list would break them.
        "/api/v2/spot/market/tickers?symbol=BTCUSDT",
        "/api/v2/spot/market/tickers?symbol=NOPEUSDT",
        "/api/v2/spot/public/symbols?symbol=NOPEUSDT",
        "/api/v3/market/instruments?category=SPOT&symbol=NOPEUSDT",
        "/api/v3/market/tickers?category=SPOT&symbol=BTCUSDT",
        "/api/v3/market/orderbook?category=SPOT&symbol=BTCUSDT",
        "/api/v3/market/candles?category=SPOT&symbol=BTCUSDT&interval=1m",
    ] {
        let answer = get(&venue, path).await;
        let body = answer.json();
        assert_eq!((answer.status, &body["code"], &body["data"]), (400, &json!("40034"), &json!(null)), "{path}");
    }
    let symbols = get(&venue, "/api/v2/spot/public/symbols?symbol=btcusdt").await.json();
    assert_eq!(symbols["data"][0]["symbol"], "BTCUSDT");
}
