// npm @shlinkio/shlink-js-sdk, which Shlink's web client is made of, told of utmost and of a key of it.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ShlinkApiClient } from '@shlinkio/shlink-js-sdk';
import { ErrorType } from '@shlinkio/shlink-js-sdk/api-contract';
import { NodeHttpClient } from '@shlinkio/shlink-js-sdk/node';

import { base, click, settled, workspace } from './utmost.mjs';

const speak = (apiKey, baseUrl = base) => new ShlinkApiClient(new NodeHttpClient(), { baseUrl, apiKey });

async function client(...scopes) {
  const ws = await workspace(...scopes);
  return { ws, shlink: speak(ws.key) };
}

test('short URLs are made, found again, changed and deleted', async () => {
  const { shlink } = await client('links');
  const made = await shlink.createShortUrl({
    longUrl: 'https://shop.test/hat?a=1',
    tags: ['summer', 'reel'],
    title: 'Hat',
    validUntil: '2030-01-02T03:04:05+01:00',
    maxVisits: 100,
    crawlable: true,
  });
  assert.equal(made.shortUrl, `${base}/${made.shortCode}`);
  assert.deepEqual(
    [made.longUrl, made.title, [...made.tags].sort(), made.domain, made.crawlable, made.forwardQuery],
    ['https://shop.test/hat?a=1', 'Hat', ['reel', 'summer'], null, true, true],
  );
  assert.deepEqual(made.visitsSummary, { total: 0, nonBots: 0, bots: 0 });
  assert.deepEqual(
    [made.meta.validSince, new Date(made.meta.validUntil).toISOString(), made.meta.maxVisits],
    [null, '2030-01-02T02:04:05.000Z', 100],
  );

  const again = { longUrl: 'https://shop.test/hat?a=1', tags: ['reel', 'summer'], findIfExists: true };
  assert.equal((await shlink.createShortUrl(again)).shortCode, made.shortCode);
  assert.equal((await shlink.getShortUrl(made)).longUrl, made.longUrl);

  const change = { longUrl: 'https://shop.test/cap', title: null, maxVisits: null, tags: [], forwardQuery: false };
  const changed = await shlink.updateShortUrl(made, change);
  assert.deepEqual(
    [changed.longUrl, changed.title, changed.meta.maxVisits, changed.tags, changed.forwardQuery, changed.shortCode],
    ['https://shop.test/cap', null, null, [], false, made.shortCode],
  );
  const rules = await shlink.getShortUrlRedirectRules(made);
  assert.deepEqual(rules, { defaultLongUrl: 'https://shop.test/cap', redirectRules: [] });

  await shlink.deleteShortUrl(made);
  await assert.rejects(shlink.getShortUrl(made), { type: ErrorType.INVALID_SHORTCODE, status: 404 });
  assert.equal((await fetch(made.shortUrl, { redirect: 'manual' })).status, 410);
});

test('lists are filtered, sorted and have pages', async () => {
  const { shlink } = await client('links');
  const made = [];
  for (const name of ['a', 'b', 'c']) {
    const tags = name === 'c' ? ['all', 'some'] : ['all'];
    made.push(await shlink.createShortUrl({ longUrl: `https://shop.test/${name}`, title: name, tags }));
  }
  const titles = async (params) => (await shlink.listShortUrls(params)).data.map(({ title }) => title);
  assert.deepEqual(await titles({}), ['c', 'b', 'a']);
  assert.deepEqual(await titles({ orderBy: { field: 'title', dir: 'ASC' } }), ['a', 'b', 'c']);
  assert.deepEqual(await titles({ searchTerm: 'shop.test/b' }), ['b']);
  assert.deepEqual(await titles({ tags: ['all', 'some'], tagsMode: 'all' }), ['c']);
  assert.deepEqual(await titles({ domain: 'DEFAULT', itemsPerPage: 1, page: '2' }), ['b']);
  assert.deepEqual(await titles({ startDate: '2020-01-01T00:00:00Z', endDate: '2020-02-01T00:00:00Z' }), []);
  const { pagination } = await shlink.listShortUrls({ itemsPerPage: 2 });
  assert.deepEqual([pagination.currentPage, pagination.pagesCount, pagination.totalItems], [1, 2, 3]);

  assert.deepEqual((await shlink.listTags()).data, ['all', 'some']);
  await shlink.editTag({ oldName: 'some', newName: 'few' });
  assert.deepEqual([...(await shlink.getShortUrl(made[2])).tags].sort(), ['all', 'few']);
  const stats = (await shlink.tagsStats()).data.map(({ tag, shortUrlsCount }) => [tag, shortUrlsCount]);
  assert.deepEqual(stats, [['all', 3], ['few', 1]]);
  await shlink.deleteTags(['few']);
  assert.deepEqual((await shlink.listTags()).data, ['all']);
});

test('visits come back by link, tag, domain and in all', async () => {
  const { shlink } = await client('links');
  const made = await shlink.createShortUrl({ longUrl: 'https://shop.test/hat', tags: ['reel'] });
  await click(made.shortUrl);
  await click(made.shortUrl);
  await fetch(made.shortUrl, { redirect: 'manual', headers: { 'user-agent': 'Googlebot/2.1 (+http://www.google.com/bot.html)' } });

  const summary = { total: 3, nonBots: 2, bots: 1 };
  const counted = await settled(() => shlink.getShortUrl(made), (link) => link.visitsSummary.total === 3);
  assert.deepEqual(counted.visitsSummary, summary);
  assert.deepEqual((await shlink.getVisitsOverview()).nonOrphanVisits, summary);
  assert.deepEqual((await shlink.tagsStats()).data, [{ tag: 'reel', shortUrlsCount: 1, visitsSummary: summary }]);

  const today = new Date().toISOString().slice(0, 10);
  for (const [name, read] of Object.entries({
    link: (params) => shlink.getShortUrlVisits(made, params),
    tag: (params) => shlink.getTagVisits('reel', params),
    domain: (params) => shlink.getDomainVisits('DEFAULT', params),
    all: (params) => shlink.getNonOrphanVisits(params),
  })) {
    const { data, pagination } = await read({});
    assert.deepEqual(data.map((visit) => visit.potentialBot), [false, false, true], name);
    assert.deepEqual([pagination.totalItems, data[0].date.slice(0, 10)], [3, today], name);
    assert.equal((await read({ excludeBots: true })).data.length, 2, name);
    assert.equal((await read({ endDate: '2020-02-01T00:00:00Z' })).data.length, 0, name);
    assert.equal((await read({ itemsPerPage: 2, page: 2 })).data.length, 1, name);
  }
  assert.deepEqual((await shlink.getOrphanVisits()).data, []);
});

test('the domains of the workspace are listed, and the service is well', async () => {
  const { ws, shlink } = await client('links');
  const domain = `${ws.id}.test`;
  await ws.ask('POST', '/domains', { domain });
  const { data } = await shlink.listDomains();
  assert.deepEqual(data.filter((row) => row.domain === domain).map((row) => row.isDefault), [false]);
  assert.equal(data.filter((row) => row.isDefault).length, 1);
  const made = await shlink.createShortUrl({ longUrl: 'https://shop.test', domain });
  assert.equal(made.domain, domain);
  assert.equal((await shlink.getShortUrl({ shortCode: made.shortCode, domain })).longUrl, 'https://shop.test');
  assert.equal((await shlink.health()).status, 'pass');
});

test('mistakes come as the errors that the client knows', async () => {
  const { ws, shlink } = await client('links');
  const taken = await shlink.createShortUrl({ longUrl: 'https://shop.test' });
  const again = { longUrl: 'https://x.test', customSlug: taken.shortCode };
  await assert.rejects(shlink.createShortUrl(again), { type: ErrorType.INVALID_SLUG, status: 400 });
  const invalid = { type: ErrorType.INVALID_ARGUMENT, status: 400 };
  await assert.rejects(shlink.createShortUrl({ longUrl: 'not a url' }), { ...invalid, invalidElements: ['longUrl'] });
  await assert.rejects(shlink.createShortUrl({ longUrl: 'https://x.test', maxVisits: -1 }), {
    ...invalid,
    invalidElements: ['maxVisits'],
  });
  await assert.rejects(shlink.setShortUrlRedirectRules(taken, { redirectRules: [] }), invalid);
  await assert.rejects(shlink.deleteShortUrl({ shortCode: 'of-nobody' }), { type: ErrorType.INVALID_SHORTCODE });
  await assert.rejects(shlink.editTag({ oldName: 'none', newName: 'some' }), { type: ErrorType.TAG_NOT_FOUND });
  assert.deepEqual((await speak(ws.key, `${base}/shlink`).listTags()).data, []);
  await assert.rejects(speak(`${ws.key}x`).listTags(), { type: ErrorType.INVALID_API_KEY, status: 401 });
});
