// node shoot.mjs FILE QUERY WIDTH HEIGHT: a picture of the page at PAGE, such as d=fleet&from=now-10m.
import { chromium } from 'playwright-core';

const [, , file, query, width, height] = process.argv;
const flags = ['--no-sandbox', '--headless', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: flags });
const page = await browser.newPage({ viewport: { width: +width, height: +height } });
await page.goto(`http://${process.env.PAGE}/?${query}`);
// Long enough for all queries on a slow machine. There is no event that reports that all panels are drawn.
await page.waitForTimeout(10000);
await page.screenshot({ path: file });
const failed = await page.evaluate(() => window.__q.filter((query) => query.status !== 'success'));
await browser.close();
if (failed.length > 0) { console.error('queries failed:', JSON.stringify(failed)); process.exit(1); }
