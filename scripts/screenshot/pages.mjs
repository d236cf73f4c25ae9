// Pictures of the pages and of `status`, see `pages`. The demo's events repeat every minute: it waits for a moment at which a port is
// critical and another has a warning.
import { chromium } from 'playwright-core';
import { execFile, spawn } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const { PROGRAMS, IMAGES, PAGE } = process.env;
const url = `http://${PAGE}`;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const demo = spawn(join(PROGRAMS, 'dualtor-demo'), ['--web.listen-address', PAGE], { stdio: 'ignore' });
process.on('exit', () => demo.kill());
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

const json = async (path) => (await fetch(url + path)).json();
/// Waits for a rack in which enough happens, after it has run for a while.
async function interesting() {
  for (const until = Date.now() + 240000; Date.now() < until; await sleep(500)) {
    const { level } = (await json('/api/v1/fleet').catch(() => null))?.counts ?? {};
    if (level && performance.now() > 60000 && level.critical > 0 && level.warning > 0) return;
  }
  throw new Error('the demo shows no such moment');
}

const flags = ['--no-sandbox', '--headless', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: flags });
async function shoot(file, path, width, height, colorScheme) {
  const page = await browser.newPage({ viewport: { width, height }, colorScheme, deviceScaleFactor: width < 500 ? 2 : 1 });
  await page.goto(path.startsWith('data:') ? path : url + path);
  if (path === '/') await page.locator('body[data-live]').waitFor();
  await page.screenshot({ path: join(IMAGES, file) });
  await page.close();
}

await interesting();
const [worst] = (await json('/api/v1/ports?limit=1')).ports;
await shoot('page.png', '/', 1280, 720, 'light');
await shoot('page-phone.png', '/', 390, 700, 'dark');
await shoot('page-port.png', `/ports/${encodeURIComponent(worst.port)}`, 1280, 900, 'light');

// The exit code is the worst level: not an error here.
const run = promisify(execFile)(join(PROGRAMS, 'dualtor-exporter'), ['status', '--url', url]);
const { stdout } = await run.catch((error) => error);
const text = `$ dualtor-exporter status\n${stdout.trimEnd()}\n`.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
const lines = text.split('\n').length;
const terminal = `<meta charset=utf-8><body style="margin:0;padding:16px 20px;background:#14171b;color:#dfe3e8"><pre style="margin:0;font:14px/1.4 'Liberation Mono',monospace">${text}`;
await shoot('status.png', `data:text/html,${encodeURIComponent(terminal)}`, 900, Math.min(32 + lines * 20, 720), 'dark');
await browser.close();
console.log(`wrote ${IMAGES}/page.png, page-phone.png, page-port.png and status.png`);
process.exit(0);
