"""ccxt (Python) at the built-in exchange: market loading, REST, and every watch call, in both generations.

    with_ccxt.py 127.0.0.1:7788

One line per call; the exit code is the number of calls that failed."""
import asyncio
import sys

import ccxt.pro as ccxt

HERE = sys.argv[1]
SYMBOL = "BTC/USDT:USDT"
PATIENCE_S = 25
failed = 0


def client(unified):
    ex = ccxt.bitget({
        "apiKey": "demo-key", "secret": "demo-secret", "password": "demo-pass", "enableRateLimit": False,
        "options": {"defaultType": "swap", "uta": unified},
    })
    ex.urls["api"] = {k: f"http://{HERE}" if isinstance(v, str) else v for k, v in ex.urls["api"].items()}
    ex.urls["api"]["ws"] = {
        "public": f"ws://{HERE}/v2/ws/public", "private": f"ws://{HERE}/v2/ws/private",
        "utaPublic": f"ws://{HERE}/v3/ws/public", "utaPrivate": f"ws://{HERE}/v3/ws/private",
    }
    return ex


async def call(generation, name, coroutine, good=bool):
    """One call; `good` judges its answer."""
    global failed
    try:
        answer = await asyncio.wait_for(coroutine, PATIENCE_S)
        fine, seen = good(answer), str(answer)[:120]
    except Exception as error:  # whatever the library raises is what a user of it would see
        fine, seen, answer = False, f"{type(error).__name__}: {str(error)[:300]}", None
    failed += not fine
    print(f"{'ok  ' if fine else 'FAIL'} {generation} {name}: {seen}", flush=True)
    return answer


async def order(side, size, effect=""):
    reader, writer = await asyncio.open_connection(*HERE.split(":"))
    effect = f"&effect={effect}" if effect else ""
    writer.write(f"GET /_exchange/order?symbol=BTCUSDT&side={side}&size={size}{effect} HTTP/1.0\r\n\r\n".encode())
    await writer.drain()
    assert b" 200 " in await reader.readline()
    writer.close()


async def later(coroutine):
    await asyncio.sleep(1.0)
    return await coroutine


async def walk(unified):
    generation = "v3" if unified else "v2"
    ex = client(unified)
    p = {"uta": unified}
    anything = lambda _: True

    async def step(name, coroutine, good=bool):
        return await call(generation, name, coroutine, good)

    await step("load_markets", ex.load_markets(), lambda m: SYMBOL in m and m[SYMBOL]["swap"])
    await step("fetch_time", ex.fetch_time())
    await step("fetch_currencies", ex.fetch_currencies(), anything)
    await step("fetch_ticker", ex.fetch_ticker(SYMBOL, p), lambda t: t["last"] > 0 and t["bid"] > 0)
    await step("fetch_tickers", ex.fetch_tickers([SYMBOL], p), lambda t: SYMBOL in t)
    await step("fetch_order_book", ex.fetch_order_book(SYMBOL, 10, p), lambda b: b["bids"] and b["asks"])
    await step("fetch_trades", ex.fetch_trades(SYMBOL, None, 10, p))
    await step("fetch_ohlcv", ex.fetch_ohlcv(SYMBOL, "1m", None, 5, p))
    await step("fetch_funding_rate", ex.fetch_funding_rate(SYMBOL, p), lambda f: f["fundingRate"] is not None)
    await step("fetch_funding_rate_history", ex.fetch_funding_rate_history(SYMBOL, None, 5, p))
    await step("fetch_funding_interval", ex.fetch_funding_interval(SYMBOL, p), anything)
    await step("fetch_open_interest", ex.fetch_open_interest(SYMBOL, p))
    await step("fetch_mark_price", ex.fetch_mark_price(SYMBOL), lambda t: t["markPrice"])
    await step("fetch_market_leverage_tiers", ex.fetch_market_leverage_tiers(SYMBOL, p))
    await step("fetch_balance", ex.fetch_balance(p), lambda b: b["USDT"]["total"] > 0)
    await step("fetch_trading_fee", ex.fetch_trading_fee(SYMBOL, p), anything)
    await order("buy", "0.02")
    await order("sell", "0.01", "close")
    await step("fetch_positions", ex.fetch_positions([SYMBOL], p), lambda rows: rows and rows[0]["contracts"] > 0)
    await step("fetch_position", ex.fetch_position(SYMBOL, p), lambda row: row["contracts"] > 0)
    await step("fetch_my_trades", ex.fetch_my_trades(SYMBOL, None, None, p))
    await step("fetch_open_orders", ex.fetch_open_orders(SYMBOL, None, None, p), anything)
    closed = await step("fetch_closed_orders", ex.fetch_closed_orders(SYMBOL, None, None, p))
    await step("fetch_canceled_orders", ex.fetch_canceled_orders(SYMBOL, None, None, p), anything)
    await step("fetch_positions_history", ex.fetch_positions_history([SYMBOL], None, None, p), anything)
    await step("fetch_leverage", ex.fetch_leverage(SYMBOL, p), anything)
    await step("fetch_ledger", ex.fetch_ledger("USDT", None, None, {**p, "type": "swap"}), anything)
    if closed:
        await step("fetch_order", ex.fetch_order(closed[-1]["id"], SYMBOL, p), lambda o: o["id"] == closed[-1]["id"])

    await step("watch_ticker", ex.watch_ticker(SYMBOL, p), lambda t: t["last"] > 0)
    await step("watch_tickers", ex.watch_tickers([SYMBOL, "ETH/USDT:USDT"], p))
    await step("watch_bids_asks", ex.watch_bids_asks([SYMBOL], p))
    for limit in (None, 1, 5, 50 if unified else 15):
        await step(f"watch_order_book {limit}", ex.watch_order_book(SYMBOL, limit, p), lambda b: b["bids"] and b["asks"])
    book = [await ex.watch_order_book(SYMBOL, None, p) for _ in range(20)][-1]
    await step("a book of 20 updates", asyncio.sleep(0, book), lambda b: b["bids"][0][0] < b["asks"][0][0])
    await step("watch_order_book_for_symbols", ex.watch_order_book_for_symbols([SYMBOL, "ETH/USDT:USDT"], None, p))
    await step("watch_trades", ex.watch_trades(SYMBOL, None, None, p))
    await step("watch_trades_for_symbols", ex.watch_trades_for_symbols([SYMBOL, "ETH/USDT:USDT"], None, None, p))
    for frame in ("1m", "1h", "1d"):
        await step(f"watch_ohlcv {frame}", ex.watch_ohlcv(SYMBOL, frame, None, None, p))
    await step("watch_balance", ex.watch_balance({**p, "type": "swap"}), lambda b: b["USDT"]["total"] > 0)
    waiting = asyncio.ensure_future(ex.watch_positions([SYMBOL], None, None, p))
    await later(order("buy", "0.03"))
    await step("watch_positions", waiting, lambda rows: rows and rows[0]["contracts"] > 0)
    waiting = asyncio.ensure_future(ex.watch_orders(SYMBOL, None, None, p))
    await later(order("buy", "0.01"))
    await step("watch_orders", waiting)
    waiting = asyncio.ensure_future(ex.watch_my_trades(SYMBOL, None, None, p))
    await later(order("sell", "0.01"))
    await step("watch_my_trades", waiting)
    undoing = [
        ("un_watch_ticker", lambda: ex.un_watch_ticker(SYMBOL, p)),
        ("un_watch_order_book", lambda: ex.un_watch_order_book(SYMBOL, p)),
        ("un_watch_trades", lambda: ex.un_watch_trades(SYMBOL, p)),
    ]
    if not unified:  # on v3 the library waits for a name of its own that no answer has
        undoing.append(("un_watch_ohlcv", lambda: ex.un_watch_ohlcv(SYMBOL, "1m", p)))
    for name, undo in undoing:
        await step(name, undo(), anything)
    await ex.close()


async def main():
    print(f"ccxt {ccxt.__version__}, Python {sys.version.split()[0]}")
    for unified in (False, True):
        await walk(unified)


asyncio.run(main())
print(f"{failed} failed")
sys.exit(min(failed, 100))
