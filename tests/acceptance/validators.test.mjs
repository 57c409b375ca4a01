// npm @shopify/shopify-api and @paddle/paddle-node-sdk judge the webhooks that utmost's own tests sign: whoever believes
// these libraries may believe those tests. The bodies hold what utmost reads and no more, so only signatures are judged.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';

import { Environment, Paddle } from '@paddle/paddle-node-sdk';
import '@shopify/shopify-api/adapters/node';
import { ApiVersion, LogSeverity, shopifyApi } from '@shopify/shopify-api';

import { deliver, workspace } from './utmost.mjs';

// By examples/sign.rs, now: Paddle's library believes a signature for five seconds.
const signed = (platform) => {
  const lines = execFileSync(process.env.ACCEPTANCE_SIGN, { encoding: 'utf8' }).trim().split('\n');
  const all = lines.map((line) => JSON.parse(line)).filter((request) => request.platform === platform);
  assert.ok(all.length >= 2, `examples/sign signs what ${platform} sends`);
  return all;
};
const changed = ({ body }) => body.replace(/\d/, (digit) => (Number(digit) + 1) % 10);

/** What the library accepts, utmost does, and what it refuses, utmost does. */
async function agree(requests, accepts, more = {}) {
  const ws = await workspace('links');
  const { platform, secret } = requests[0];
  const { webhook_url: url } = await ws.ask('POST', '/sources', { platform, name: 'Shop', secret });
  for (const request of requests) {
    const headers = { ...request.headers, ...more };
    for (const [body, expected] of [[request.body, true], [changed(request), false]]) {
      assert.equal(await accepts(body, headers, secret), expected, request.fixture);
      assert.equal(await deliver(url, body, headers), expected ? 200 : 401, request.fixture);
    }
    assert.equal(await accepts(request.body, headers, `${secret}x`), false, request.fixture);
  }
}

test('shopify-api accepts what our tests sign for Shopify', async () => {
  const accepts = async (rawBody, headers, apiSecretKey) => {
    const shopify = shopifyApi({
      apiKey: 'key',
      apiSecretKey,
      apiVersion: ApiVersion.July25,
      hostName: 'shop.test',
      isEmbeddedApp: false,
      logger: { level: LogSeverity.Error },
    });
    const rawRequest = { method: 'POST', url: '/hooks', headers };
    return (await shopify.webhooks.validate({ rawBody, rawRequest })).valid;
  };
  await agree(signed('shopify'), accepts, {
    'x-shopify-topic': 'orders/paid',
    'x-shopify-shop-domain': 'hats.myshopify.com',
    'x-shopify-api-version': '2025-07',
    'x-shopify-webhook-id': '1',
  });
});

test('paddle-node-sdk accepts what our tests sign for Paddle', async () => {
  const { webhooks } = new Paddle('key', { environment: Environment.sandbox });
  await agree(signed('paddle'), (body, headers, secret) =>
    webhooks.isSignatureValid(body, secret, headers['paddle-signature']),
  );
});
