// npm @segment/analytics-node and @rudderstack/rudder-sdk-node, told of a source of utmost and of its secret as write key.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import RudderAnalytics from '@rudderstack/rudder-sdk-node';
import { Analytics } from '@segment/analytics-node';

import { click, report, settled, workspace } from './utmost.mjs';

const WRITE_KEY = 'a-write-key-of-this-source-alone';

async function shop(platform) {
  const ws = await workspace('links');
  const source = await ws.ask('POST', '/sources', { platform, name: 'Shop', secret: WRITE_KEY });
  const link = await ws.ask('POST', '/links', { url: 'https://shop.test/hat', post: 'reel' });
  const { token } = await click(link.short_url);
  return { ws, source, url: new URL(source.webhook_url), token };
}

const order = (token) => ({
  event: 'Order Completed',
  userId: 'user-7',
  properties: { order_id: 'A-1', total: 50, currency: 'USD', um_click: token },
});
const refund = { event: 'Order Refunded', userId: 'user-7', properties: { order_id: 'A-1', total: 10, currency: 'USD' } };

async function isAttributed(ws) {
  const { reel } = await report(ws, 'post', '40.00');
  assert.deepEqual([reel.conversions, reel.revenue, reel.refunds], [1, '50.00', '10.00']);
}

/** The source tells its owner what was wrong. */
async function isRefused(ws, source) {
  const read = () => ws.ask('GET', `/sources/${source.id}`);
  const { last_refused: refused } = await settled(read, (source) => source.last_refused !== null);
  assert.match(refused.problem, /authorization/);
}

test('orders that analytics-node sends are attributed', async () => {
  const { ws, source, url, token } = await shop('segment');
  const options = { host: url.origin, path: `${url.pathname}/v1/batch`, maxRetries: 0 };
  const stranger = new Analytics({ ...options, writeKey: 'another' });
  stranger.track(order(token));
  await stranger.closeAndFlush({ timeout: 10_000 });
  await isRefused(ws, source);

  const analytics = new Analytics({ ...options, writeKey: WRITE_KEY });
  const errors = [];
  analytics.on('error', (error) => errors.push(error));
  analytics.identify({ userId: 'user-7', traits: { email: 'ada@example.com' } });
  analytics.track(order(token));
  analytics.track(refund);
  await analytics.closeAndFlush({ timeout: 10_000 });
  assert.deepEqual(errors, []);
  await isAttributed(ws);
});

test('orders that rudder-sdk-node sends, zipped, are attributed', async () => {
  const { ws, source, url, token } = await shop('rudderstack');
  const options = { dataPlaneUrl: url.href, flushInterval: 1, retryCount: 0, logLevel: 'none' };
  const stranger = new RudderAnalytics('another', { ...options, errorHandler: () => {} });
  stranger.track(order(token));
  await stranger.flush();
  await isRefused(ws, source);

  const errors = [];
  const analytics = new RudderAnalytics(WRITE_KEY, { ...options, errorHandler: (error) => errors.push(error) });
  analytics.identify({ userId: 'user-7', traits: { email: 'ada@example.com' } });
  analytics.track(order(token));
  analytics.track(refund);
  await analytics.flush();
  assert.deepEqual(errors, []);
  await isAttributed(ws);
});
