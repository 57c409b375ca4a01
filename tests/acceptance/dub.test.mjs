// npm dub: what Postiz and other schedulers use, told of another server and of a key of utmost.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Dub } from 'dub';
import * as errors from 'dub/models/errors';

import { base, workspace } from './utmost.mjs';

async function client(...scopes) {
  const ws = await workspace(...scopes);
  return { ws, dub: new Dub({ serverURL: `${base}/dub`, token: ws.key }) };
}

test('a link is made, read by each of its names, changed and deleted', async () => {
  const { dub } = await client('links');
  const made = await dub.links.create({
    url: 'https://shop.test/hat?a=1',
    externalId: 'post-7',
    tenantId: 'org-1',
    domain: 'dub.sh',
    tagNames: ['summer', 'reel'],
    title: 'Hat',
    comments: 'mine',
    expiresAt: '2030-01-02T00:00:00Z',
    utmSource: 'instagram',
    trackConversion: true,
  });
  assert.equal(made.shortLink, `${base}/${made.key}`);
  assert.deepEqual(
    [made.url, made.externalId, made.tenantId, made.title, made.comments, made.utmSource, made.utmMedium],
    ['https://shop.test/hat?a=1', 'post-7', 'org-1', 'Hat', 'mine', 'instagram', 'social'],
  );
  assert.deepEqual(made.tags.map((tag) => tag.name).sort(), ['reel', 'summer']);
  assert.deepEqual([made.trackConversion, made.clicks, made.saleAmount], [true, 0, 0]);
  assert.equal(new Date(made.expiresAt).toISOString(), '2030-01-02T00:00:00.000Z');

  for (const name of [
    { linkId: made.id },
    { externalId: 'ext_post-7' },
    { domain: made.domain, key: made.key },
    { domain: 'dub.sh', key: made.key },
  ]) {
    assert.equal((await dub.links.get(name)).id, made.id, JSON.stringify(name));
  }

  const changed = await dub.links.update(made.id, { title: 'Cap', url: 'https://shop.test/cap', utmSource: null });
  assert.deepEqual([changed.title, changed.url, changed.key], ['Cap', 'https://shop.test/cap', made.key]);
  assert.equal((await dub.links.update('ext_post-7', { archived: true })).archived, true);
  assert.equal((await dub.links.count({})), 0);
  assert.equal((await dub.links.count({ showArchived: true })), 1);

  assert.equal((await dub.links.delete(made.id)).id, made.id);
  await assert.rejects(dub.links.get({ linkId: made.id }), errors.NotFound);
  assert.equal((await fetch(made.shortLink, { redirect: 'manual' })).status, 410);
});
