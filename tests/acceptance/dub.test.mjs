// npm dub: what Postiz and other schedulers use, told of another server and of a key of utmost.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Dub } from 'dub';
import * as errors from 'dub/models/errors';

import { base, click, platformKey, report, settled, workspace } from './utmost.mjs';

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
  assert.equal(await dub.links.count({}), 0);
  assert.equal(await dub.links.count({ showArchived: true }), 1);

  assert.equal((await dub.links.delete(made.id)).id, made.id);
  await assert.rejects(dub.links.get({ linkId: made.id }), errors.NotFound);
  assert.equal((await fetch(made.shortLink, { redirect: 'manual' })).status, 410);
});

test('many links are made, changed, found and deleted at once', async () => {
  const { dub } = await client('links');
  const links = [1, 2, 3].map((n) => ({ url: `https://shop.test/${n}`, externalId: `p-${n}`, tenantId: 'org-1' }));
  const made = await dub.links.createMany([...links, { url: 'https://shop.test/4', externalId: 'p-1' }]);
  assert.deepEqual(made.slice(0, 3).map((link) => link.url), links.map((link) => link.url));
  assert.equal(made[3].code, 'conflict');
  assert.equal(made[3].link.url, 'https://shop.test/4');

  const seen = [];
  for await (const page of await dub.links.list({ pageSize: 2, tenantId: 'org-1' })) seen.push(page.result);
  const ids = made.slice(0, 3).map((link) => link.id);
  assert.deepEqual(seen.map((page) => page.length), [2, 1]);
  assert.deepEqual(seen.flat().map((link) => link.id), [...ids].reverse());
  const { result: found } = await dub.links.list({ search: 'shop.test/2' });
  assert.deepEqual(found.map((link) => link.externalId), ['p-2']);
  assert.deepEqual((await dub.links.list({ tenantId: 'org-2' })).result, []);
  assert.equal(await dub.links.count({ tenantId: 'org-1' }), 3);

  const changed = await dub.links.updateMany({ linkIds: ids.slice(0, 2), data: { tagNames: ['kept'], utmCampaign: 'spring' } });
  assert.deepEqual(changed.map((link) => [link.tags[0].name, link.utmCampaign]), Array(2).fill(['kept', 'spring']));
  assert.equal(await dub.links.count({ tagNames: ['kept'] }), 2);
  assert.equal((await dub.links.updateMany({ externalIds: ['p-3'], data: { title: 'Third' } }))[0].title, 'Third');

  const upserted = await dub.links.upsert({ url: 'https://shop.test/3', title: 'Again' });
  assert.deepEqual([upserted.id, upserted.title], [ids[2], 'Again']);
  assert.equal((await dub.links.upsert({ url: 'https://shop.test/5' })).clicks, 0);

  assert.equal((await dub.links.deleteMany({ linkIds: [...ids, 'of-nobody'] })).deletedCount, 3);
  assert.equal(await dub.links.count({}), 1);
});

test('clicks, leads and sales come back by link, in analytics and in the report', async () => {
  const { ws, dub } = await client('links', 'conversions', 'reports');
  const made = await dub.links.create({ url: 'https://shop.test/hat', externalId: 'reel', utmSource: 'instagram' });
  await ws.ask('PUT', '/links/by-external-id/reel', { post: 'summer-reel' });
  const { location, token } = await click(made.shortLink);
  assert.ok(location.startsWith('https://shop.test/hat?'), location);
  await click(made.shortLink);

  const lead = await dub.track.lead({
    clickId: token,
    eventName: 'Sign up',
    customerExternalId: 'customer-7',
    customerEmail: 'ada@example.com',
    customerName: 'Ada',
  });
  assert.deepEqual([lead.click.id, lead.link.id, lead.customer.externalId], [token, made.id, 'customer-7']);
  const order = {
    customerExternalId: 'customer-7',
    amount: 1999,
    currency: 'usd',
    paymentProcessor: 'stripe',
    invoiceId: 'in_1',
    eventName: 'Order',
    metadata: { size: 'M' },
  };
  const sale = await dub.track.sale(order);
  assert.deepEqual(sale.sale, {
    amount: 1999,
    currency: 'usd',
    paymentProcessor: 'stripe',
    invoiceId: 'in_1',
    metadata: { size: 'M' },
  });
  assert.deepEqual([sale.eventName, sale.customer.externalId], ['Order', 'customer-7']);
  // The same invoice again is the same sale.
  await dub.track.sale(order);

  const isWhole = (link) => link.clicks === 2 && link.leads === 1 && link.sales === 1;
  const counted = await settled(() => dub.links.get({ linkId: made.id }), isWhole);
  assert.deepEqual([counted.saleAmount, counted.conversions], [1999, 1]);
  const { result: listed } = await dub.links.list({ sortBy: 'clicks' });
  assert.deepEqual([listed[0].clicks, listed[0].saleAmount], [2, 1999]);

  const figures = { clicks: 2, leads: 1, sales: 1, saleAmount: 1999 };
  const analytics = (more) => dub.analytics.retrieve({ event: 'composite', interval: '7d', linkId: made.id, ...more });
  assert.deepEqual(await analytics({ groupBy: 'count' }), figures);
  assert.deepEqual(await dub.analytics.retrieve({ event: 'composite' }), figures);
  const days = await analytics({ groupBy: 'timeseries' });
  assert.equal(days.length, 8);
  assert.deepEqual(days.at(-1), { start: days.at(-1).start, ...figures });
  const [top] = await analytics({ groupBy: 'top_links' });
  assert.deepEqual([top.id, top.shortLink, top.clicks, top.saleAmount], [made.id, made.shortLink, 2, 1999]);
  const one = async (groupBy, name) => (await analytics({ groupBy })).map((row) => [row[name], row.clicks]);
  assert.deepEqual(await one('devices', 'device'), [['Mobile', 2]]);
  assert.deepEqual(await one('countries', 'country'), [['Unknown', 2]]);
  assert.deepEqual(await one('referers', 'referer'), [['(direct)', 2]]);

  const { 'summer-reel': row } = await report(ws, 'post', '19.99');
  assert.deepEqual([row.clicks, row.conversions, row.revenue], [2, 1, '19.99']);
});

test('mistakes come as the errors that the client knows', async () => {
  const { dub, ws } = await client('links');
  const taken = await dub.links.create({ url: 'https://shop.test' });
  const told = (error, code) => (thrown) => {
    assert.ok(thrown instanceof error, String(thrown));
    assert.equal(thrown.error.code, code);
    assert.ok(thrown.error.message.length > 10, thrown.error.message);
    return true;
  };
  await assert.rejects(dub.links.create({ url: 'https://x.test', key: taken.key }), told(errors.Conflict, 'conflict'));
  const unprocessable = told(errors.UnprocessableEntity, 'unprocessable_entity');
  await assert.rejects(dub.links.create({ url: 'not a url' }), unprocessable);
  await assert.rejects(dub.links.create({ url: 'https://x.test', password: 'secret' }), unprocessable);
  await assert.rejects(dub.links.create({ url: 'https://x.test', domain: 'of-others.test' }), unprocessable);
  await assert.rejects(dub.links.delete('of-nobody'), told(errors.NotFound, 'not_found'));
  await assert.rejects(dub.track.sale({ customerExternalId: 'c', amount: 1 }), told(errors.Forbidden, 'forbidden'));
  const stranger = new Dub({ serverURL: `${base}/dub`, token: `${ws.key}x` });
  await assert.rejects(stranger.links.count({}), told(errors.Unauthorized, 'unauthorized'));
});

test('one platform key acts for each workspace, and a request that is repeated is done once', async () => {
  const { ws, dub: own } = await client('links');
  const platform = new Dub({ serverURL: `${base}/dub`, token: platformKey });
  const options = { headers: { 'Utmost-Workspace': ws.id, 'Idempotency-Key': 'post-7' } };
  const made = await platform.links.create({ url: 'https://shop.test' }, options);
  const again = await platform.links.create({ url: 'https://shop.test' }, options);
  assert.deepEqual([again.id, again.key], [made.id, made.key]);
  assert.equal((await own.links.get({ linkId: made.id })).workspaceId, made.workspaceId);
  assert.equal(await own.links.count({}), 1);
});

test('the QR code of a link is a picture', async () => {
  const { dub } = await client('links');
  const made = await dub.links.create({ url: 'https://shop.test' });
  const picture = await fetch(made.qrCode);
  assert.deepEqual([picture.status, picture.headers.get('content-type')], [200, 'image/png']);
  assert.ok((await dub.qrCodes.get({ url: made.shortLink })).includes('PNG'));
});
