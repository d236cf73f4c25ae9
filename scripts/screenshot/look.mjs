// node look.mjs QUERY: what is cut, hidden or in the wrong colour, on all dashboards at three widths; it ends with 1 if there is any.
import { chromium } from 'playwright-core';

const WIDTHS = [1366, 1600, 1920];
const flags = ['--no-sandbox', '--headless', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: flags });

/// Runs in the page: one sentence for each thing that a reader would miss.
function findings() {
  const found = [];
  const overflows = (element) => element.clientWidth > 0 && element.scrollWidth > element.clientWidth + 1;
  for (const panel of document.querySelectorAll('section[data-testid^="data-testid Panel header"]')) {
    const title = panel.dataset.testid.replace('data-testid Panel header ', '');
    const heading = panel.querySelector('h2');
    if (heading && [heading, ...heading.querySelectorAll('*')].some(overflows)) found.push(`${title}: its title is cut`);
    const grid = panel.querySelector('[role=grid], [role=treegrid]');
    if (grid && overflows(grid)) found.push(`${title}: ${grid.scrollWidth} px of columns in ${grid.clientWidth}`);
    const painted = panel.querySelector('[style*="background"]');
    if (/no data/i.test(panel.innerText) && painted && /(0, 158, 115|213, 94, 0|230, 159, 0)/.test(painted.style.background) && !grid) found.push(`${title}: "no data" is green, orange or red`);
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
    for (const finding of await page.evaluate(findings)) { all += 1; console.error(`${dashboard} at ${width} px: ${finding}`); }
    // Queries and bytes of one view, the variables' too.
    const asked = await page.evaluate(() => [window.__q.length, window.__q.reduce((sum, query) => sum + query.bytes, 0)]);
    console.log(`${dashboard} at ${width} px: ${asked[0]} queries, ${asked[1]} bytes`);
    await page.close();
  }
}
await browser.close();
process.exit(all > 0 ? 1 : 0);
