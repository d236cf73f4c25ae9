// node look.mjs QUERY: what is cut, hidden or in the wrong colour, on all dashboards at three widths; it ends with 1 if there is any.
import fs from 'node:fs';
import path from 'node:path';
import { chromium } from 'playwright-core';

const WIDTHS = [1366, 1600, 1920];
const flags = ['--no-sandbox', '--headless', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: flags });

/// What the dashboards paint "no data" with, as the browser writes it: the palette's grey, and no other colour.
const fleet = JSON.parse(fs.readFileSync(path.join(process.env.DASHBOARDS, 'fleet.json')));
const mappings = fleet.panels.flatMap((panel) => panel.fieldConfig?.defaults?.mappings ?? []);
const { color } = mappings.map((mapping) => mapping.options.result).find((result) => result?.text === 'no data');
const grey = `rgb(${[1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16)).join(', ')})`;

/// Runs in the page: one sentence for each thing that a reader would miss.
function findings(grey) {
  const found = [];
  const overflows = (element) => element.clientWidth > 0 && element.scrollWidth > element.clientWidth + 1;
  for (const panel of document.querySelectorAll('section[data-testid^="data-testid Panel header"]')) {
    const title = panel.dataset.testid.replace('data-testid Panel header ', '');
    const heading = panel.querySelector('h2');
    if (heading && [heading, ...heading.querySelectorAll('*')].some(overflows)) found.push(`${title}: its title is cut`);
    const grid = panel.querySelector('[role=grid], [role=treegrid]');
    if (grid && overflows(grid)) found.push(`${title}: ${grid.scrollWidth} px of columns in ${grid.clientWidth}`);
    for (const painted of panel.querySelectorAll('[style*="background"]')) {
      const colour = getComputedStyle(painted).backgroundColor;
      if (/no data/i.test(painted.innerText) && ![grey, 'rgba(0, 0, 0, 0)'].includes(colour)) found.push(`${title}: "no data" is painted ${colour}`);
    }
    for (let around = panel.querySelector('table'); around && around !== panel; around = around.parentElement) {
      if (around.scrollHeight > around.clientHeight + 4 && getComputedStyle(around).overflow !== 'visible') {
        found.push(`${title}: ${around.clientHeight} of ${around.scrollHeight} px of names are seen`);
        break;
      }
    }
  }
  return found;
}

let all = 0;
for (const dashboard of ['fleet', 'tor', 'port', 'exporter']) {
  for (const width of WIDTHS) {
    const page = await browser.newPage({ viewport: { width, height: 1080 } });
    await page.goto(`http://${process.env.PAGE}/?d=${dashboard}&${process.argv[2]}`);
    await page.waitForTimeout(8000);
    // As high as the page, so that everything is drawn.
    const height = await page.evaluate(() => document.documentElement.scrollHeight);
    await page.setViewportSize({ width, height: Math.min(height + 20, 6000) });
    await page.waitForTimeout(2500);
    for (const finding of await page.evaluate(findings, grey)) { all += 1; console.error(`${dashboard} at ${width} px: ${finding}`); }
    // Queries and bytes of one view, the variables' too.
    const asked = await page.evaluate(() => [window.__q.length, window.__q.reduce((sum, query) => sum + query.bytes, 0)]);
    console.log(`${dashboard} at ${width} px: ${asked[0]} queries, ${asked[1]} bytes`);
    await page.close();
  }
}
await browser.close();
process.exit(all > 0 ? 1 : 0);
