// ccxt (JavaScript) at the built-in exchange: market loading, REST, and every watch call, in both generations.
//
//   node with_ccxt.mjs 127.0.0.1:7788
//
// One line per call; the exit code is the number of calls that failed.
import ccxt from 'ccxt';

const here = process.argv[2];
const symbol = 'BTC/USDT:USDT';
let failed = 0;

function client(uta) {
  const ex = new ccxt.pro.bitget({
    apiKey: 'demo-key', secret: 'demo-secret', password: 'demo-pass', enableRateLimit: false,
    options: { defaultType: 'swap', uta },
  });
  for (const key of Object.keys(ex.urls.api)) if (typeof ex.urls.api[key] === 'string') ex.urls.api[key] = `http://${here}`;
  ex.urls.api.ws = {
    public: `ws://${here}/v2/ws/public`, private: `ws://${here}/v2/ws/private`,
    utaPublic: `ws://${here}/v3/ws/public`, utaPrivate: `ws://${here}/v3/ws/private`,
  };
  return ex;
}

const late = (ms) => new Promise((_, reject) => setTimeout(() => reject(new Error('nothing came')), ms).unref());
const pause = (ms) => new Promise((go) => setTimeout(go, ms));

async function call(generation, name, promise, good = Boolean) {
  let fine = false, seen, answer;
  try {
    answer = await Promise.race([promise, late(25000)]);
    fine = Boolean(good(answer));
    seen = JSON.stringify(answer)?.slice(0, 120);
  } catch (error) {
    seen = `${error.constructor.name}: ${String(error.message).slice(0, 300)}`;
  }
  if (!fine) failed += 1;
  console.log(`${fine ? 'ok  ' : 'FAIL'} ${generation} ${name}: ${seen}`);
  return answer;
}

async function order(side, size, effect = '') {
  const more = effect ? `&effect=${effect}` : '';
  const answer = await fetch(`http://${here}/_exchange/order?symbol=BTCUSDT&side=${side}&size=${size}${more}`);
  if (!answer.ok) throw new Error(await answer.text());
}

async function walk(uta) {
  const generation = uta ? 'v3' : 'v2';
  const ex = client(uta);
  await ex.loadHttpProxyAgent(); // without it ccxt refuses ws:// addresses that have no TLS
  const p = { uta };
  const any = () => true;
  const step = (name, promise, good) => call(generation, name, promise, good);
  const eth = 'ETH/USDT:USDT';

  await step('loadMarkets', ex.loadMarkets(), (m) => m[symbol]?.swap);
  await step('fetchTime', ex.fetchTime());
  await step('fetchTicker', ex.fetchTicker(symbol, p), (t) => t.last > 0);
  await step('fetchTickers', ex.fetchTickers([symbol], p), (t) => t[symbol]);
  await step('fetchOrderBook', ex.fetchOrderBook(symbol, 10, p), (b) => b.bids.length && b.asks.length);
  await step('fetchTrades', ex.fetchTrades(symbol, undefined, 10, p), (t) => t.length);
  await step('fetchOHLCV', ex.fetchOHLCV(symbol, '1m', undefined, 5, p), (c) => c.length);
  await step('fetchFundingRate', ex.fetchFundingRate(symbol, p), (f) => f.fundingRate !== undefined);
  await step('fetchFundingRateHistory', ex.fetchFundingRateHistory(symbol, undefined, 5, p), (f) => f.length);
  await step('fetchOpenInterest', ex.fetchOpenInterest(symbol, p));
  await step('fetchBalance', ex.fetchBalance(p), (b) => b.USDT.total > 0);
  await order('buy', '0.02');
  await order('sell', '0.01', 'close');
  await step('fetchPositions', ex.fetchPositions([symbol], p), (rows) => rows[0].contracts > 0);
  await step('fetchPosition', ex.fetchPosition(symbol, p), (row) => row.contracts > 0);
  await step('fetchMyTrades', ex.fetchMyTrades(symbol, undefined, undefined, p), (t) => t.length);
  await step('fetchOpenOrders', ex.fetchOpenOrders(symbol, undefined, undefined, p), any);
  const closed = await step('fetchClosedOrders', ex.fetchClosedOrders(symbol, undefined, undefined, p), (o) => o.length);
  await step('fetchPositionsHistory', ex.fetchPositionsHistory([symbol], undefined, undefined, p), any);
  if (closed?.length) await step('fetchOrder', ex.fetchOrder(closed.at(-1).id, symbol, p), (o) => o.id === closed.at(-1).id);

  await step('watchTicker', ex.watchTicker(symbol, p), (t) => t.last > 0);
  await step('watchTickers', ex.watchTickers([symbol, eth], p));
  await step('watchBidsAsks', ex.watchBidsAsks([symbol], p));
  for (const limit of [undefined, 1, 5, uta ? 50 : 15])
    await step(`watchOrderBook ${limit}`, ex.watchOrderBook(symbol, limit, p), (b) => b.bids.length && b.asks.length);
  let book;
  for (let i = 0; i < 20; i += 1) book = await ex.watchOrderBook(symbol, undefined, p);
  await step('a book of 20 updates', Promise.resolve(book), (b) => b.bids[0][0] < b.asks[0][0]);
  await step('watchOrderBookForSymbols', ex.watchOrderBookForSymbols([symbol, eth], undefined, p));
  await step('watchTrades', ex.watchTrades(symbol, undefined, undefined, p), (t) => t.length);
  await step('watchTradesForSymbols', ex.watchTradesForSymbols([symbol, eth], undefined, undefined, p), (t) => t.length);
  for (const frame of ['1m', '1h', '1d'])
    await step(`watchOHLCV ${frame}`, ex.watchOHLCV(symbol, frame, undefined, undefined, p), (c) => c.length);
  await step('watchBalance', ex.watchBalance({ ...p, type: 'swap' }), (b) => b.USDT.total > 0);
  for (const [name, wait, side] of [
    ['watchPositions', () => ex.watchPositions([symbol], undefined, undefined, p), 'buy'],
    ['watchOrders', () => ex.watchOrders(symbol, undefined, undefined, p), 'buy'],
    ['watchMyTrades', () => ex.watchMyTrades(symbol, undefined, undefined, p), 'sell'],
  ]) {
    const waiting = wait();
    waiting.catch(() => {});
    await pause(1000);
    await order(side, '0.01');
    await step(name, waiting, (rows) => rows.length);
  }
  for (const [name, undo] of [
    ['unWatchTicker', () => ex.unWatchTicker(symbol, p)],
    ['unWatchOrderBook', () => ex.unWatchOrderBook(symbol, p)],
    ['unWatchTrades', () => ex.unWatchTrades(symbol, p)],
    // On v3 the library waits for a name of its own that no answer has.
    ...(uta ? [] : [['unWatchOHLCV', () => ex.unWatchOHLCV(symbol, '1m', p)]]),
  ]) await step(name, undo(), any);
  await ex.close();
}

console.log(`ccxt ${ccxt.version}, node ${process.version}`);
for (const uta of [false, true]) await walk(uta);
console.log(`${failed} failed`);
process.exit(Math.min(failed, 100));
