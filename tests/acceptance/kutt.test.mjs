// npm kutt, told of /api/v2 and of a key of utmost.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Kutt } from 'kutt';

import { base, click, settled, workspace } from './utmost.mjs';

async function client(...scopes) {
  const ws = await workspace(...scopes);
  return { ws, kutt: new Kutt().set('api', `${base}/api/v2`).set('key', ws.key) };
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

test('links are made, used again, listed, changed and deleted', async () => {
  const { ws, kutt } = await client('links');
  const links = kutt.links();
  const made = await links.create({ target: 'https://shop.test/hat?a=1', description: 'Hat', expire_in: '2 days' });
  assert.match(made.id, UUID);
  assert.equal(made.link, `${base}/${made.address}`);
  assert.deepEqual(
    [made.target, made.description, made.visit_count, made.banned, made.password, made.domain],
    ['https://shop.test/hat?a=1', 'Hat', 0, false, false, null],
  );
  // The client reads times itself.
  assert.ok(Math.abs(new Date(made.created_at) - Date.now()) < 60_000, String(made.created_at));

  const reused = await links.create({ target: 'https://shop.test/hat?a=1', reuse: true });
  assert.equal(reused.id, made.id);
  const custom = `cap-${ws.id.slice(-8)}`;
  const second = await links.create({ target: 'shop.test/cap', customurl: custom });
  assert.deepEqual([second.address, second.target], [custom, 'http://shop.test/cap']);

  const all = await links.list({ skip: 0, limit: 10 });
  assert.deepEqual([all.total, all.data.map((link) => link.id)], [2, [second.id, made.id]]);
  const rest = await links.list({ skip: 1, limit: 1 });
  assert.deepEqual([rest.total, rest.limit, rest.skip, rest.data[0].id], [2, 1, 1, made.id]);

  const changed = await links.update(made.id, { target: 'https://shop.test/new', address: `${custom}-2`, description: 'New' });
  assert.deepEqual([changed.id, changed.target, changed.address], [made.id, 'https://shop.test/new', `${custom}-2`]);
  assert.equal((await click(changed.link)).location.split('?')[0], 'https://shop.test/new');

  assert.match(await links.remove(made.id), /deleted/);
  assert.equal((await links.list()).total, 1);
  assert.equal((await fetch(changed.link, { redirect: 'manual' })).status, 410);
});

test('clicks come back in lists and in statistics', async () => {
  const { kutt } = await client('links');
  const made = await kutt.links().create({ target: 'https://shop.test/hat' });
  await click(made.link);
  await click(made.link);
  const stats = await settled(() => kutt.links().stats(made.id), (stats) => stats.visit_count === 2);
  assert.deepEqual([stats.id, stats.target], [made.id, 'https://shop.test/hat']);
  for (const [name, places] of [['lastDay', 24], ['lastWeek', 7], ['lastMonth', 30], ['lastYear', 12]]) {
    const { views, stats: by, total } = stats[name];
    assert.deepEqual([views.length, total, views.at(-1)], [places, 2, 2], name);
    assert.deepEqual(by.referrer, [{ name: 'Direct', value: 2 }], name);
  }
  assert.equal((await kutt.links().list()).data[0].visit_count, 2);
});

test('the user has the domains of the workspace, and the service is well', async () => {
  const { ws, kutt } = await client('links');
  const domain = `${ws.id}.test`;
  await ws.ask('POST', '/domains', { domain });
  const user = await kutt.users().info();
  assert.ok(user.domains.some(({ address }) => address === domain), JSON.stringify(user));
  const made = await kutt.links().create({ target: 'https://shop.test', domain });
  assert.deepEqual([made.domain, new URL(made.link).host], [domain, domain]);
  assert.equal(await kutt.health().check(), true);
});

test('mistakes come as the errors that the client knows', async () => {
  const { ws, kutt } = await client('links');
  const links = kutt.links();
  const taken = await links.create({ target: 'https://shop.test' });
  const told = (status, words) => (error) => {
    assert.equal(error.cause.status, status, error.message);
    assert.match(error.message, words);
    return true;
  };
  await assert.rejects(links.create({ target: 'https://x.test', customurl: taken.address }), told(400, /taken/));
  await assert.rejects(links.create({ target: '' }), told(400, /url/));
  await assert.rejects(links.create({ target: 'https://x.test', password: 'secret' }), told(400, /password/));
  await assert.rejects(links.create({ target: 'https://x.test', expire_in: 'soon' }), told(400, /expire_in/));
  await assert.rejects(links.remove('019dbe00-0000-8000-8000-000000000000'), told(404, /no link/));
  const stranger = new Kutt().set('api', `${base}/api/v2`).set('key', `${ws.key}x`);
  await assert.rejects(stranger.links().list(), told(401, /key/));
});
