// bitget-api (JavaScript) at the built-in exchange: REST and every channel, in both generations.
//
//   node with_bitget_api.mjs 127.0.0.1:7788
//
// One line per call or channel; the exit code is the number of those that failed.
import { RestClientV2, RestClientV3, WebsocketClientV2, WebsocketClientV3, WS_KEY_MAP } from 'bitget-api';

const here = process.argv[2];
const keys = { apiKey: 'demo-key', apiSecret: 'demo-secret', apiPass: 'demo-pass' };
const silent = { trace() {}, info() {}, error() {} };
const pause = (ms) => new Promise((go) => setTimeout(go, ms));
let failed = 0;

function told(name, fine, seen) {
  if (!fine) failed += 1;
  console.log(`${fine ? 'ok  ' : 'FAIL'} ${name}: ${seen}`);
}

async function call(name, promise, good = (answer) => answer.code === '00000') {
  try {
    const answer = await promise;
    told(name, good(answer), JSON.stringify(answer).slice(0, 120));
  } catch (error) {
    told(name, false, JSON.stringify(error.body ?? error.message ?? error).slice(0, 300));
  }
}

async function order(side, size) {
  const answer = await fetch(`http://${here}/_exchange/order?symbol=BTCUSDT&side=${side}&size=${size}`);
  if (!answer.ok) throw new Error(await answer.text());
}

async function rest() {
  const v2 = new RestClientV2({ ...keys, baseUrl: `http://${here}` });
  const swap = { productType: 'USDT-FUTURES' };
  const btc = { ...swap, symbol: 'BTCUSDT' };
  await call('v2 getServerTime', v2.getServerTime());
  await call('v2 getFuturesContractConfig', v2.getFuturesContractConfig(swap), (a) => a.data.length > 1);
  await call('v2 getFuturesTicker', v2.getFuturesTicker(btc), (a) => a.data[0].lastPr > 0);
  await call('v2 getFuturesAllTickers', v2.getFuturesAllTickers(swap), (a) => a.data.length > 1);
  await call('v2 getFuturesMergeDepth', v2.getFuturesMergeDepth({ ...btc, limit: '50' }), (a) => a.data.bids.length);
  await call('v2 getFuturesCandles', v2.getFuturesCandles({ ...btc, granularity: '1m', limit: '5' }), (a) => a.data.length);
  await call('v2 getFuturesRecentTrades', v2.getFuturesRecentTrades(btc), (a) => a.data.length);
  await call('v2 getFuturesOpenInterest', v2.getFuturesOpenInterest(btc));
  await call('v2 getFuturesCurrentFundingRate', v2.getFuturesCurrentFundingRate(btc), (a) => a.data[0].fundingRate);
  await call('v2 getFuturesNextFundingTime', v2.getFuturesNextFundingTime(btc));
  await call('v2 getFuturesSymbolPrice', v2.getFuturesSymbolPrice(btc));
  await call('v2 getFuturesAccountAssets', v2.getFuturesAccountAssets(swap), (a) => a.data[0].marginCoin === 'USDT');
  await call('v2 getFuturesAccountAsset', v2.getFuturesAccountAsset({ ...btc, marginCoin: 'USDT' }));
  await order('buy', '0.02');
  await call('v2 getFuturesPositions', v2.getFuturesPositions({ ...swap, marginCoin: 'USDT' }), (a) => a.data[0].total > 0);
  await call('v2 getFuturesPosition', v2.getFuturesPosition({ ...btc, marginCoin: 'USDT' }), (a) => a.data[0].total > 0);
  await call('v2 getFuturesHistoricPositions', v2.getFuturesHistoricPositions(swap));
  await call('v2 getFuturesFills', v2.getFuturesFills(btc), (a) => a.data.fillList.length);
  await call('v2 getFuturesHistoricOrderFills', v2.getFuturesHistoricOrderFills(btc), (a) => a.data.fillList.length);
  await call('v2 getFuturesOpenOrders', v2.getFuturesOpenOrders(swap));
  await call('v2 getFuturesHistoricOrders', v2.getFuturesHistoricOrders(swap), (a) => a.data.entrustedList.length);
  await call('v2 getSpotSymbolInfo', v2.getSpotSymbolInfo());
  await call('v2 getSpotCoinInfo', v2.getSpotCoinInfo());
  const v3 = new RestClientV3({ ...keys, baseUrl: `http://${here}` });
  const futures = { category: 'USDT-FUTURES' };
  const one = { ...futures, symbol: 'BTCUSDT' };
  await call('v3 getInstruments', v3.getInstruments(futures), (a) => a.data.length > 1);
  await call('v3 getTickers', v3.getTickers(one), (a) => a.data[0].lastPrice > 0);
  await call('v3 getOrderBook', v3.getOrderBook({ ...one, limit: '50' }), (a) => a.data.a.length);
  await call('v3 getFills', v3.getFills(one), (a) => a.data.length);
  await call('v3 getCandles', v3.getCandles({ ...one, interval: '1m', limit: '5' }), (a) => a.data.length);
  await call('v3 getOpenInterest', v3.getOpenInterest(one));
  await call('v3 getCurrentFundingRate', v3.getCurrentFundingRate({ symbol: 'BTCUSDT' }));
  await call('v3 getHistoryFundingRate', v3.getHistoryFundingRate(one));
  await call('v3 getPositionTier', v3.getPositionTier(one));
  await call('v3 getAccountSettings', v3.getAccountSettings());
  await call('v3 getFeeRate', v3.getFeeRate(one));
  await call('v3 getBalances', v3.getBalances(), (a) => a.data.accountEquity > 0);
  await call('v3 getCurrentPosition', v3.getCurrentPosition(futures), (a) => a.data.list[0].total > 0);
  await call('v3 getPositionHistory', v3.getPositionHistory(futures));
  await call('v3 getTradeFills', v3.getTradeFills(futures), (a) => a.data.list.length);
  await call('v3 getUnfilledOrders', v3.getUnfilledOrders(futures));
  await call('v3 getHistoryOrders', v3.getHistoryOrders(futures), (a) => a.data.list.length);
}

// What each channel sent, by its name; `update` is what the library calls every push.
function listen(client) {
  const seen = new Map();
  const errors = [];
  client.on('update', (frame) => {
    const name = frame.arg?.channel ?? frame.arg?.topic;
    seen.set(name, (seen.get(name) ?? 0) + 1);
  });
  client.on('exception', (error) => errors.push(error));
  return { seen, errors };
}

async function channels(label, client, subscribe, wanted, act = async () => {}) {
  const { seen, errors } = listen(client);
  await subscribe();
  for (let i = 0; i < 60 && !wanted.every((name) => seen.has(name)); i += 1) {
    await pause(250);
    if (i > 2 && i % 8 === 0) await act();
  }
  for (const name of wanted) told(`${label} ${name}`, seen.has(name), `${seen.get(name) ?? 0} pushes`);
  told(`${label} errors`, errors.length === 0, JSON.stringify(errors).slice(0, 300));
  client.closeAll(true);
}

async function sockets() {
  const url = (door) => ({ ...keys, wsUrl: `ws://${here}${door}` });
  const v2 = new WebsocketClientV2(url('/v2/ws/public'), silent);
  const wanted = ['ticker', 'trade', 'candle1m', 'candle1H', 'books', 'books1', 'books5', 'books15'];
  await channels('v2 public', v2, async () => wanted.forEach((name) => v2.subscribeTopic('USDT-FUTURES', name, 'BTCUSDT')), wanted);
  const p2 = new WebsocketClientV2(url('/v2/ws/private'), silent);
  const trade = async () => { await order('buy', '0.01'); await order('sell', '0.01'); };
  const own = ['positions', 'orders', 'fill'];
  await channels('v2 private', p2, async () => {
    own.forEach((name) => p2.subscribeTopic('USDT-FUTURES', name));
    p2.subscribeTopic('USDT-FUTURES', 'account', 'default');
  }, [...own, 'account'], trade);
  const v3 = new WebsocketClientV3(url('/v3/ws/public'), silent);
  const topics = ['ticker', 'publicTrade', 'books', 'books1', 'books5', 'books50'];
  await channels('v3 public', v3, async () => {
    topics.forEach((topic) => v3.subscribe({ topic, payload: { instType: 'usdt-futures', symbol: 'BTCUSDT' } }, WS_KEY_MAP.v3Public));
    v3.subscribe({ topic: 'kline', payload: { instType: 'usdt-futures', symbol: 'BTCUSDT', interval: '1m' } }, WS_KEY_MAP.v3Public);
  }, [...topics, 'kline']);
  const p3 = new WebsocketClientV3(url('/v3/ws/private'), silent);
  const uta = ['position', 'account', 'order', 'fill'];
  await channels('v3 private', p3, async () =>
    uta.forEach((topic) => p3.subscribe({ topic, payload: { instType: 'UTA' } }, WS_KEY_MAP.v3Private)), uta, trade);
}

console.log(`node ${process.version}`);
await rest();
await sockets();
console.log(`${failed} failed`);
process.exit(Math.min(failed, 100));
