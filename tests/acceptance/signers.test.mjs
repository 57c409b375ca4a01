// What signs webhooks elsewhere: npm stripe, standardwebhooks and svix sign orders for utmost, and verify what it sends.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';

import * as standard from 'standardwebhooks';
import Stripe from 'stripe';
import * as svix from 'svix';

import { click, deliver, report, settled, workspace } from './utmost.mjs';

/** A workspace with a source, a link of the post `reel`, and the token of a click on it. */
async function shop(platform, secret) {
  const ws = await workspace('links');
  const source = await ws.ask('POST', '/sources', { platform, name: 'Shop', secret });
  const link = await ws.ask('POST', '/links', { url: 'https://shop.test/hat', post: 'reel' });
  const { token } = await click(link.short_url);
  return { ws, url: source.webhook_url, token };
}

test('an order that stripe signs is taken and counts for its post', async () => {
  const secret = 'whsec_test_5WbX8XyTgmWHb1PEzJqGpMkGqL5FsUB9';
  const { ws, url, token } = await shop('stripe', secret);
  const session = {
    id: 'cs_test_1',
    object: 'checkout.session',
    amount_total: 5950,
    client_reference_id: token,
    created: Math.floor(Date.now() / 1000),
    currency: 'usd',
    customer: 'cus_1',
    customer_details: { email: 'ada@example.com' },
    mode: 'payment',
    payment_intent: 'pi_1',
    payment_status: 'paid',
    total_details: { amount_discount: 0, amount_shipping: 0, amount_tax: 950 },
  };
  const event = { id: 'evt_1', object: 'event', created: session.created, livemode: true, type: 'checkout.session.completed' };
  const payload = JSON.stringify({ ...event, data: { object: session } });
  const stripe = new Stripe('sk_test_of_nobody');
  const sign = (more) => ({ 'stripe-signature': stripe.webhooks.generateTestHeaderString({ payload, secret, ...more }) });

  assert.equal(await deliver(url, payload.replace('5950', '9950'), sign()), 401);
  assert.equal(await deliver(url, payload, sign({ secret: `${secret}x` })), 401);
  assert.equal(await deliver(url, payload, sign({ timestamp: session.created - 3600 })), 401);
  assert.equal(await deliver(url, payload, sign()), 200);
  // Stripe sends again what it is not sure of.
  assert.equal(await deliver(url, payload, sign()), 200);
  const { reel } = await report(ws, 'post', '50.00');
  assert.deepEqual([reel.conversions, reel.revenue], [1, '50.00']);
});

for (const [name, library] of Object.entries({ standardwebhooks: standard, svix })) {
  const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
  const prefix = name === 'svix' ? 'svix' : 'webhook';

  test(`an order that ${name} signs is taken and counts for its post`, async () => {
    const { ws, url, token } = await shop('standard', secret);
    const order = { id: 'A-1', amount: '59.50', tax: '9.50', currency: 'USD', click_id: token };
    const payload = JSON.stringify({ type: 'conversion', data: order });
    const sign = (key, at = new Date()) => ({
      [`${prefix}-id`]: 'msg_1',
      [`${prefix}-timestamp`]: String(Math.floor(at / 1000)),
      [`${prefix}-signature`]: new library.Webhook(key).sign('msg_1', at, payload),
    });
    assert.equal(await deliver(url, payload.replace('59.50', '99.50'), sign(secret)), 401);
    assert.equal(await deliver(url, payload, sign('whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD')), 401);
    assert.equal(await deliver(url, payload, sign(secret, new Date(Date.now() - 3_600_000))), 401);
    assert.equal(await deliver(url, payload, sign(secret)), 200);
    assert.equal(await deliver(url, payload, sign(secret)), 200);
    const { reel } = await report(ws, 'post', '50.00');
    assert.deepEqual([reel.conversions, reel.revenue], [1, '50.00']);
  });
}

test('what utmost sends verifies with both libraries', async () => {
  const received = [];
  const receiver = createServer(async (request, response) => {
    received.push({ headers: request.headers, body: await text(request) });
    response.end();
  });
  await new Promise((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  try {
    const { ws, token } = await shop('standard');
    const hook = { url: `http://127.0.0.1:${receiver.address().port}/hook`, events: ['conversion.attributed'] };
    const { secret } = await ws.ask('POST', '/webhooks', hook);
    await ws.ask('POST', '/conversions', { id: 'A-1', amount: '50.00', currency: 'USD', click_id: token });
    await settled(async () => received, (all) => all.length > 0);
    const [{ headers, body }] = received;
    for (const { Webhook, WebhookVerificationError } of [standard, svix]) {
      const { type, data } = new Webhook(secret).verify(body, headers);
      assert.deepEqual([type, data.conversion.id, data.touches[0].post], ['conversion.attributed', 'A-1', 'reel']);
      const verifyChanged = () => new Webhook(secret).verify(body.replace('A-1', 'A-2'), headers);
      assert.throws(verifyChanged, WebhookVerificationError);
    }
  } finally {
    receiver.closeAllConnections();
    receiver.close();
  }
});
