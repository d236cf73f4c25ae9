// The pages in a real browser. Each test says on its line what it measured. Exit code 1 if one fails.
import AxeBuilder from '@axe-core/playwright';
import { chromium } from 'playwright-core';
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { gzipSync } from 'node:zlib';
import { end, world } from './world.mjs';

const flags = ['--no-sandbox', '--headless', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: flags });
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
/// No wait is longer: the machine may be busy.
const LONG = 30000;

/// A page that must stay silent and at home.
async function open(world, path, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(LONG);
  const faults = [];
  page.on('console', (message) => message.type() === 'error' && faults.push(message.text()));
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('request', (request) => new URL(request.url()).origin === world.url || faults.push(`asks ${request.url()}`));
  await page.goto(world.url + path);
  return { page, faults, close: () => context.close() };
}
const rows = (page) => page.$$eval('#ports tbody tr', (all) => all.map((row) => row.cells[0].textContent));
const row = (page, port) => page.locator('#ports tbody tr', { has: page.getByRole('link', { name: port, exact: true }) });
/// The texts of all rows; how long ago something was is left out.
const table = (page) =>
  page.$$eval('#ports tbody tr', (all) =>
    all.map((row) => [row.className, ...[...row.cells].map((cell) => `${cell.className}|${cell.textContent.replaceAll('\n', '').replace(/\d+ (s|min)\b( ago)?/g, 'T')}`)].join(' ')),
  );

/// The script has all rows.
const isLive = (page) => page.locator('body[data-live]').waitFor();

/// Tests of one lane run one after the other; lanes run side by side. What measures runs alone, after them.
const tests = [];
const test = (name, run, lane = 'first') => tests.push({ name, run, lane });

const EVIL = '<script>alert(1)</script>\u001b[2J';
const small = await world(24, {
  others: {
    Ethernet8: { version: EVIL, health: 'not_serving' },
    Ethernet12: { directions: { upper: 'standby', lower: 'active' }, links: { upper: 'down', lower: 'up' } },
    Ethernet20: { fault: 'refuse' },
  },
});
await small.until('Ethernet20', (port) => port.last_error !== null);
await small.until(small.victim, (port) => port.channel === 'ready');

test('a page without script shows the same rows as one with it, in the same order', async () => {
  const still = await open(small, '/', { javaScriptEnabled: false });
  const live = await open(small, '/');
  await isLive(live.page);
  const links = await still.page.$$eval('[data-sort], a.level', (all) => all.map((link) => link.getAttribute('href')));
  assert.equal(links.length, 15);
  for (const link of links) {
    await still.page.goto(new URL(link, `${small.url}/`).href);
    await live.page.evaluate((to) => { history.pushState(null, '', to); window.dispatchEvent(new PopStateEvent('popstate')); }, link);
    // Of orders that change each second, only the rows are compared.
    const settled = (all) => (/since|last_/.test(link) ? all.toSorted() : all);
    let [without, withScript] = [];
    for (const until = Date.now() + LONG; Date.now() < until; await sleep(100)) {
      [without, withScript] = [settled(await table(still.page)), settled(await table(live.page))];
      if (JSON.stringify(without) === JSON.stringify(withScript)) break;
      await still.page.reload();
    }
    assert.deepEqual(withScript, without, link);
  }
  assert.equal(await still.page.locator('#search').isVisible(), false);
  for (const path of ['/', '/ports/Ethernet20']) {
    const source = (await small.get(path)).text;
    assert.match(source, /<noscript><meta http-equiv="refresh" content="10"><\/noscript>/, path);
  }
  assert.deepEqual(live.faults, []);
  await still.close();
  await live.close();
});

for (const scheme of ['light', 'dark']) {
  test(`no one is shut out, nothing scrolls sideways: ${scheme}`, async () => {
    for (const width of [1200, 390]) {
      for (const path of ['/', '/ports/Ethernet20', '/ports/none'].slice(0, width > 390 && scheme === 'dark' ? 3 : 2)) {
        const { page, faults, close } = await open(small, path, { viewport: { width, height: 844 }, colorScheme: scheme });
        const rules = ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa'];
        const { violations } = await new AxeBuilder({ page }).withTags(rules).analyze();
        assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`), [], `${path} at ${width} px`);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth);
        assert.ok(wide <= width, `${path}: ${wide} of ${width} px`);
        // Chromium itself reports the page that is not found.
        if (path !== '/ports/none') assert.deepEqual(faults, []);
        if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/${path.replaceAll('/', '-')}-${scheme}-${width}.png`, fullPage: true });
        await close();
      }
    }
  }, 'second');
}

test('no word is cut in two', async () => {
  const { page, close } = await open(small, '/');
  const cut = await page.evaluate(() => {
    // By column; the last list is of those that are bold there.
    const words = {
      2: [['TRANSIENT_FAILURE', 'CONNECTING'], []],
      3: [['unknown'], ['standby']],
      4: [['unknown'], ['standby']],
      5: [['unknown'], ['down,']],
      6: [['unimplemented', 'unknown'], ['not_serving', 'service_unknown']],
      7: [['unknown'], ['inprogress']],
    };
    const cells = document.querySelector('#ports tbody tr').cells;
    const found = [];
    for (const [column, [usual, odd]] of Object.entries(words)) {
      for (const text of [...usual, ...odd]) {
        const cell = cells[column];
        cell.className = odd.includes(text) ? 'odd' : '';
        cell.textContent = text;
        const range = document.createRange();
        range.selectNodeContents(cell);
        if (range.getClientRects().length !== 1) found.push(text);
      }
    }
    return found;
  });
  assert.deepEqual(cut, []);
  await close();
}, 'second');

test('on a phone a long error, which is out of sight, makes no row tall', async () => {
  const { page, close } = await open(small, '/', { viewport: { width: 390, height: 844 } });
  const lines = await page.evaluate(() => {
    const [first] = document.querySelector('#ports tbody tr.ok').cells;
    const row = first.parentElement;
    row.cells[row.cells.length - 1].textContent = 'unavailable: the SoC answered late. '.repeat(4).slice(0, 121);
    return row.getBoundingClientRect().height / parseFloat(getComputedStyle(first).lineHeight);
  });
  // The text, and the space around it.
  assert.ok(lines < 3.5, `${lines} lines`);
  await close();
}, 'second');

test('filter, levels and order by keyboard; the address has them', async () => {
  const { page, faults, close } = await open(small, '/');
  await isLive(page);
  await page.keyboard.press('/');
  await page.keyboard.type('REFUSED');
  await page.waitForFunction(() => document.querySelectorAll('#ports tbody tr').length === 1);
  assert.deepEqual(await rows(page), ['Ethernet20']);
  assert.equal(new URL(page.url()).search, '?q=REFUSED');
  await page.keyboard.press('Escape');
  await page.waitForFunction(() => document.querySelectorAll('#ports tbody tr').length === 24);
  await page.getByRole('link', { name: 'warning', exact: false }).first().focus();
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.querySelectorAll('#ports tbody tr').length === 2);
  await page.getByRole('link', { name: 'Port', exact: true }).focus();
  await page.keyboard.press('Enter');
  assert.equal(new URL(page.url()).search, '?level=warning&sort=port');
  assert.deepEqual(await rows(page), ['Ethernet8', 'Ethernet12']);
  await page.reload();
  assert.deepEqual(await rows(page), ['Ethernet8', 'Ethernet12']);
  await page.goBack();
  await page.goBack();
  await page.waitForFunction(() => document.querySelectorAll('#ports tbody tr').length === 24);
  assert.deepEqual(faults, []);
  await close();
});

test('what a SoC sends is text', async () => {
  const { page, faults, close } = await open(small, '/ports/Ethernet8');
  page.on('dialog', () => faults.push('a dialog'));
  await page.getByText('<script>alert(1)</script>\ufffd[2J').waitFor();
  assert.deepEqual(faults, []);
  await close();
});

/// Kills the last SoC of `world` while a page shows it: how long after /metrics does the page say so?
/// Targets of a probe module: that of Ethernet0 is well, that of Ethernet4 refuses; the third one can be killed.
const served = await world(3, {
  others: { Ethernet4: { fault: 'refuse' } },
  modules: (address) => `modules: {health: {grpc_health: {}, interval: 1s, timeout: 500ms, targets: [{name: a, address: "${address(0)}"}, {name: b, address: "${address(1)}"}, {name: c, address: "${address(2)}"}]}}\n`,
});
const services = (page) => page.$$eval('#services tbody tr', (all) => all.map((row) => `${row.cells[0].textContent} ${row.className}`));
async function untilServices(page, expected) {
  for (const end = Date.now() + LONG; ; await sleep(50)) {
    const found = await services(page).catch(() => []);
    if (found.join() === expected.join()) return;
    assert.ok(Date.now() < end, `${found} instead of ${expected}`);
  }
}

test('targets of probe modules are below the ports, for everyone, and follow', async () => {
  const live = await open(served, '/');
  await isLive(live.page);
  await untilServices(live.page, ['health/b critical', 'health/a ok', 'health/c ok']);
  const still = await open(served, '/', { javaScriptEnabled: false });
  assert.deepEqual(await services(still.page), await services(live.page));
  await still.close();
  const all = await open(served, '/services');
  await untilServices(all.page, ['health/b critical', 'health/a ok', 'health/c ok']);
  for (const colorScheme of ['light', 'dark']) {
    for (const path of ['/', '/services']) {
      const { page, faults, close } = await open(served, path, { viewport: { width: 390, height: 844 }, colorScheme });
      const { violations } = await new AxeBuilder({ page }).withTags(['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']).analyze();
      assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`), [], path);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= 390, `${path}: ${wide} px`);
      assert.deepEqual(faults, []);
      if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/served-${path.replaceAll('/', '-')}-${colorScheme}-390.png`, fullPage: true });
      await close();
    }
  }
  if (process.env.SHOTS) await live.page.screenshot({ path: `${process.env.SHOTS}/served-1200.png`, fullPage: true });
  served.kill();
  for (const { page } of [live, all]) await untilServices(page, ['health/b critical', 'health/c critical', 'health/a ok']);
  await live.page.locator('#counts', { hasText: 'Of 3 services: 2 critical.' }).waitFor();
  for (const { faults, close } of [live, all]) {
    assert.deepEqual(faults, []);
    await close();
  }
  const none = await open(small, '/');
  await isLive(none.page);
  assert.equal(await none.page.locator('#services').count(), 0);
  await none.close();
});

async function killed(world) {
  const { page, faults, close } = await open(world, '/');
  const { victim } = world;
  await isLive(page);
  assert.match(await row(page, victim).getAttribute('class'), /ok/);
  await page.evaluate((port) => {
    const seen = () => {
      const row = [...document.querySelectorAll('#ports tbody tr')].find((row) => row.cells[0].textContent === port);
      if (row && row.className === 'critical') window.rowAt ??= Date.now();
      if (document.title !== title && document.querySelector('#counts').textContent !== counts) window.titleAt ??= Date.now();
    };
    const { title } = document;
    const counts = document.querySelector('#counts').textContent;
    new MutationObserver(seen).observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
  }, victim);
  const before = await page.locator('#counts').textContent();
  world.kill();
  const series = new RegExp(`dualtor_channel_state\\{[^}]*port="${victim}"[^}]*state="ready"[^}]*\\} 0`);
  while (!series.test((await world.get('/metrics')).text)) await sleep(20);
  const reported = Date.now();
  await page.waitForFunction(() => window.rowAt && window.titleAt);
  const shown = await page.evaluate(() => [window.rowAt, window.titleAt]);
  const [rowTook, titleTook] = shown.map((at) => at - reported);
  const took = Math.max(0, rowTook, titleTook);
  assert.ok(took <= 10000, `the row ${rowTook} ms after /metrics, the title ${titleTook} ms`);
  assert.notEqual(await page.locator('#counts').textContent(), before);
  const first = await rows(page);
  assert.ok(first.slice(0, 2).includes(victim), `the worst first: ${first.slice(0, 3)}`);
  assert.deepEqual(faults, []);
  await close();
  return took;
}

test('a port page follows', async () => {
  const { page, faults, close } = await open(small, `/ports/${small.victim}`);
  await page.getByText('all is well', { exact: false }).first().waitFor();
  const commands = await page.evaluateHandle(() => document.querySelector('#commands pre'));
  const took = await killed(small);
  await page.locator('#state.critical').waitFor();
  await page.getByText(/READY for \d+ (s|min)/).first().waitFor();
  assert.match(await page.title(), /critical/);
  assert.ok(await commands.evaluate((pre) => pre.isConnected), 'what did not change is not touched');
  assert.deepEqual(faults, []);
  await close();
  return `24 SoCs: shown ${took} ms after /metrics`;
});

test('a port is probed from its page, where the exporter offers it', async () => {
  const without = await open(small, '/ports/Ethernet20');
  assert.equal(await without.page.getByRole('button', { name: 'Probe now' }).count(), 0);
  await without.close();
  const asked = await world(2, { others: { Ethernet0: { fault: 'refuse' } }, flags: ['--web.enable-lifecycle'] });
  const rules = ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa'];
  for (const [port, expected] of [['Ethernet0', /^Never READY: refused: /], ['Ethernet4', /^READY after [\d.]+ ms; all queries answered\.$/]]) {
    const { page, faults, close } = await open(asked, `/ports/${port}`, { colorScheme: port === 'Ethernet0' ? 'dark' : 'light', viewport: { width: 390, height: 844 } });
    await page.getByRole('button', { name: 'Probe now' }).focus();
    await page.keyboard.press('Enter');
    await page.locator('#probe pre').waitFor();
    assert.match(await page.locator('#probe [role=status]').textContent(), expected);
    assert.equal(JSON.parse(await page.locator('#probe pre').textContent()).channel.ready, port === 'Ethernet4');
    const { violations } = await new AxeBuilder({ page }).withTags(rules).analyze();
    assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`), []);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth) <= 390);
    assert.deepEqual(faults, []);
    // Twice in 5 s: refused, and said so. Chromium itself reports the 429. On a busy machine the checks above took longer than that.
    for (let said = ''; !said.startsWith('Not probed: probed too often');) {
      await page.keyboard.press('Enter');
      await page.waitForFunction(() => !document.querySelector('#probe button').hasAttribute('aria-disabled'));
      said = await page.locator('#probe [role=status]').textContent();
      assert.ok(said.startsWith('Not probed: probed too often') || expected.test(said), said);
    }
    await close();
  }
  const still = await open(asked, '/ports/Ethernet4', { javaScriptEnabled: false });
  assert.equal(await still.page.locator('#probe').isVisible(), false);
  await still.close();
});

test('the page of a port that leaves says so, and is there again when the port is', async () => {
  const changing = await world(2);
  const { page, close } = await open(changing, '/ports/Ethernet4');
  const fleet = await open(changing, '/');
  await page.getByText('all is well', { exact: false }).first().waitFor();
  changing.probe((port) => port !== 'Ethernet4');
  await page.getByText('does not probe a port Ethernet4').waitFor();
  await fleet.page.waitForFunction(() => document.querySelectorAll('#ports tbody tr').length === 1);
  const began = Date.now();
  changing.probe(() => true);
  await page.getByText('all is well', { exact: false }).first().waitFor();
  await fleet.page.waitForFunction(() => document.querySelectorAll('#ports tbody tr').length === 2);
  const took = Date.now() - began;
  assert.deepEqual(fleet.faults, []);
  await close();
  await fleet.close();
  return `there again after ${took} ms`;
}, 'waiting');

test('a silent exporter is noticed', async () => {
  const silent = await world(2);
  const { page, faults, close } = await open(silent, '/');
  await isLive(page);
  assert.equal(await page.locator('#stale').isVisible(), false);
  silent.freeze();
  const began = Date.now();
  await page.locator('#stale').waitFor({ state: 'visible', timeout: 40000 });
  const text = await page.locator('#stale').textContent();
  const took = Date.now() - began;
  silent.thaw();
  assert.match(text, /^No news from the exporter since \d\d:\d\d:\d\d UTC, for \d+ s\./);
  await page.locator('#stale').waitFor({ state: 'hidden' });
  assert.deepEqual(faults, []);
  await close();
  return `after ${took} ms`;
}, 'waiting');

/// A thousand SoCs, started once for all tests that need them.
let thousand;
const large = () => (thousand ??= aThousand());
async function aThousand() {
  const large = await world(1000, { interval: '10s' });
  for (let ready = 0; ready < 1000; ready = JSON.parse((await large.get('/api/v1/fleet')).text).counts.level.ok) await sleep(100);
  return large;
}

test('a thousand ports', async () => {
  const fleet = await large();
  const html = (await fleet.get('/')).text;
  const packed = gzipSync(html).length;
  assert.equal(html.match(/<th scope="row">/g).length, 1000);
  assert.ok(html.length <= 250000 && packed <= 20000, `${html.length} bytes, ${packed} packed`);
  const { page, faults, close } = await open(fleet, '/');
  const loaded = await page.evaluate(() => Math.round(performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd));
  // 0.3 s on a quiet machine.
  assert.ok(loaded <= 10000, `loaded in ${loaded} ms`);
  assert.deepEqual(faults, []);
  await close();
  const took = await killed(fleet);
  return `${html.length} bytes, ${packed} packed; loaded in ${loaded} ms; shown ${took} ms after /metrics`;
}, 'second');

/// The pages of `world` with the most events that an exporter sends: four messages of a hundred rows each second. Each tenth one has
/// a port that fails or comes back. More ports than the world has are copies of its own.
async function busiest(world, count) {
  const read = async (path) => JSON.parse((await world.get(path)).text);
  const [{ ports }, fleet] = [await read('/api/v1/ports?limit=5000'), await read('/api/v1/fleet')];
  const all = [...Array(count).keys()].map((n) => ({ ...ports[n % ports.length], port: `Ethernet${n * 4}` }));
  const good = { level: 'ok', reason: 'healthy', channel: 'ready' };
  const bad = { level: 'critical', reason: 'channel_not_ready', channel: 'transient_failure' };
  let messages = 0;
  const server = createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, world.url);
    if (pathname === '/api/v1/ports') {
      const offset = Number(searchParams.get('offset'));
      response.end(JSON.stringify({ total: count, ports: all.slice(offset, offset + Number(searchParams.get('limit'))) }));
    } else if (pathname === '/api/v1/events') {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const send = (event, data) => response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
      send('fleet', { ...fleet, at: new Date().toISOString(), counts: { ...fleet.counts, ports: count } });
      const timer = setInterval(() => {
        messages += 1;
        const rows = [...Array(100).keys()].map((n) => all[(messages * 100 + n) % count]);
        for (const row of rows) row.last_success = new Date().toISOString();
        if (messages % 10 === 0) Object.assign(rows[50], rows[50].level === 'ok' ? bad : good);
        send('ports', { ports: rows });
      }, 250);
      request.on('close', () => clearInterval(timer));
    } else {
      // The world may end while the page still asks.
      const answer = await world.get(request.url).catch(() => null);
      if (!answer) return response.destroy();
      response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') });
      response.end(answer.text);
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    /// A port whose row comes in a second.
    soon: () => all[((messages + 4) * 100) % count].port,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

/// The share of its time that a page's main thread works: CPU time, so that others on the machine count little.
async function load(page, seconds) {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send('Performance.enable', { timeDomain: 'threadTicks' });
  const worked = async () => {
    const { metrics } = await cdp.send('Performance.getMetrics');
    return Object.fromEntries(metrics.map(({ name, value }) => [name, value]));
  };
  const [before, began] = [await worked(), performance.now()];
  await sleep(seconds * 1000);
  const [after, took] = [await worked(), (performance.now() - began) / 1000];
  const share = (name) => (100 * (after[name] - before[name])) / took;
  const parts = ['ScriptDuration', 'LayoutDuration', 'RecalcStyleDuration'];
  return { busy: share('TaskDuration'), text: parts.map((name) => `${name.replace('Duration', '')} ${share(name).toFixed(1)} %`).join(', ') };
}

for (const count of [1000, 10000]) {
  test(`a page of ${count} ports leaves its browser time`, async () => {
    const events = await busiest(await large(), count);
    const { page, faults, close } = await open(events, '/');
    const began = Date.now();
    await isLive(page);
    const live = Date.now() - began;
    assert.equal((await rows(page)).length, 1000, 'no more rows than that');
    assert.equal(await page.locator('#shown').isVisible(), count > 1000);
    const { busy, text } = await load(page, 10);
    // With the fullest stream, 400 changed rows a second; the goal is a fifth. Slack for a busy machine.
    assert.ok(busy < 60, `the main thread is busy ${busy} % of the time: ${text}`);
    // A filter finds ports that no row shows, and the numbers go on.
    await page.keyboard.press('/');
    await page.keyboard.type(`Ethernet${count * 4 - 4}`);
    await page.waitForFunction(() => document.querySelectorAll('#ports tbody tr').length === 1);
    await page.keyboard.press('Escape');
    const port = events.soon();
    await page.keyboard.type(port);
    await page.waitForFunction((port) => {
      const row = [...document.querySelectorAll('#ports tbody tr')].find((row) => row.cells[0].textContent === port);
      return row && /^[01] s ago$/.test(row.cells[8].textContent);
    }, port);
    assert.deepEqual(faults, []);
    await close();
    events.close();
    return `all rows after ${live} ms; the main thread is busy ${busy.toFixed(1)} % of the time: ${text}`;
  }, 'alone');
}

let failed = 0;
try {
  const chosen = tests.filter(({ name }) => name.includes(process.argv[2] || ''));
  const one = async ({ name, run }) => {
    const began = Date.now();
    try {
      const measured = await run();
      console.log(`test ${name} ... ok (${((Date.now() - began) / 1000).toFixed(1)} s)${measured ? `: ${measured}` : ''}`);
    } catch (error) {
      failed += 1;
      console.log(`test ${name} ... FAILED\n${error.stack}`);
    }
  };
  const all = async (lane) => {
    for (const each of chosen) if (each.lane === lane) await one(each);
  };
  await Promise.all(['first', 'second', 'waiting'].map(all));
  await all('alone');
} finally {
  end();
  await browser.close();
}
console.log(failed ? `${failed} failed` : 'all passed');
process.exit(failed ? 1 : 0);
