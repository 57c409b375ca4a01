// What the acceptance tests share: the running utmost, a workspace of one's own in it, people who click.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';

export const base = process.env.ACCEPTANCE_URL;
export const platformKey = process.env.ACCEPTANCE_KEY;
assert.ok(base && platformKey, 'scripts/acceptance starts utmost and runs these tests');

const BROWSER =
  'Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1';
const SETTLED_WITHIN_MS = 60_000;

/** A workspace that no other test sees, with a key of the given scopes. */
export async function workspace(...scopes) {
  const id = `ws-${randomBytes(8).toString('hex')}`;
  const ask = (method, path, body) => request(method, `/api/v1${path}`, body, { 'utmost-workspace': id });
  await request('POST', '/api/v1/workspaces', { id, name: 'Acceptance' });
  const { key } = await ask('POST', '/keys', { name: 'a scheduler', scopes });
  return { id, key, ask };
}

async function request(method, path, body, headers = {}) {
  const response = await fetch(`${base}${path}`, {
    method,
    headers: { authorization: `Bearer ${platformKey}`, 'content-type': 'application/json', ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  assert.ok(response.ok, `${method} ${path}: ${response.status} ${text}`);
  return text === '' ? null : JSON.parse(text);
}

/** A person who was never seen before follows a short link; the token that the shop gets, and the way there. */
export async function click(shortUrl) {
  const response = await fetch(shortUrl, { redirect: 'manual', headers: { 'user-agent': BROWSER } });
  assert.equal(response.status, 302, shortUrl);
  const location = response.headers.get('location');
  return { location, token: new URL(location).searchParams.get('um_click') };
}

/** Sends a webhook as it is; the status of the answer. */
export async function deliver(url, body, headers) {
  const response = await fetch(url, { method: 'POST', body, headers: { 'content-type': 'application/json', ...headers } });
  assert.ok(response.status !== 200 || (await response.text()) === '', 'platforms want an empty body');
  return response.status;
}

/** Asks until the answer is as it should be: clicks and orders are counted a moment after they came. */
export async function settled(ask, isSettled) {
  const end = Date.now() + SETTLED_WITHIN_MS;
  for (;;) {
    const answer = await ask();
    if (isSettled(answer)) return answer;
    assert.ok(Date.now() < end, `it did not settle: ${JSON.stringify(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The rows of the attribution report by their keys, once its net revenue is as expected. */
export async function report(ws, by, net) {
  // Midnight may pass meanwhile.
  const day = (offset) => new Date(Date.now() + offset * 86_400_000).toISOString().slice(0, 10);
  const read = () => ws.ask('GET', `/reports/attribution?by=${by}&model=last_touch&from=${day(-1)}&to=${day(2)}`);
  const answer = await settled(read, ({ totals }) => totals.net_revenue === net);
  return Object.fromEntries(answer.rows.map((row) => [row.key, row]));
}
