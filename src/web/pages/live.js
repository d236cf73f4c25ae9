// Follows /api/v1/events: rows, sentence and title change in place. Without this script the pages are complete, but stand still.
// fleet.js and services.js are the first parts of it.
'use strict';

const page = document.body.dataset;
const $ = (id) => document.getElementById(id);

// The exporter's clock, not the browser's.
let ahead = 0;
const now = () => Date.now() + ahead;

function lasting(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const [min, h, d] = [60, 3600, 86400].map((unit) => Math.floor(s / unit));
  return s < 60 ? `${s} s` : s < 3600 ? `${min} min` : s < 86400 ? `${h} h ${min % 60} min` : `${d} d ${h % 24} h`;
}
const since = (time) => lasting(now() - time);
const time = (text) => (text ? Date.parse(text) : null);
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// ---- The stream. Browsers connect again by themselves, but not after a refusal (503): then this does.

const STALE = 20000;
let heard = performance.now();
let stream;
function follow(listeners) {
  stream = new EventSource(`${page.base}api/v1/events`);
  for (const [event, listener] of Object.entries(listeners)) {
    stream.addEventListener(event, (message) => {
      heard = performance.now();
      listener(JSON.parse(message.data));
    });
  }
  stream.onerror = () => {
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => follow(listeners), 5000);
  };
}
function watch() {
  const quiet = performance.now() - heard;
  const banner = $('stale');
  if (quiet > STALE) {
    const from = new Date(now() - quiet).toISOString().slice(11, 19);
    write(banner, `No news from the exporter since ${from} UTC, for ${lasting(quiet)}. What is shown is old.`);
  }
  banner.hidden = quiet <= STALE;
}
window.addEventListener('pagehide', () => stream && stream.close());
window.addEventListener('pageshow', (event) => event.persisted && location.reload());

// ---- One port: when its row changes, the sections that changed are taken from the page as the server makes it now.

function portPage() {
  let due = false;
  let busy = false;
  async function refresh() {
    if (busy) return;
    busy = true;
    due = false;
    try {
      const answer = await fetch(location.href, { cache: 'no-store' });
      if (answer.ok) {
        const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
        document.title = fresh.title;
        for (const section of fresh.querySelectorAll('section[id]')) {
          const shown = $(section.id);
          if (shown.className !== section.className) shown.className = section.className;
          if (shown.innerHTML !== section.innerHTML) replaceSection(shown, section);
        }
      } else if (answer.status === 404) {
        location.reload();
      }
    } catch {
      due = true;
    }
    busy = false;
  }
  follow({
    fleet(data) {
      ahead = time(data.at) - Date.now();
    },
    ports(data) {
      due = due || data.ports.some((row) => row.port === page.of);
    },
    removed(data) {
      due = due || data.ports.includes(page.of);
    },
    reset() {},
  });
  let ticks = 0;
  setInterval(() => {
    watch();
    ticks += 1;
    // Ages grow though nothing happens.
    if (due || ticks % 10 === 0) refresh();
  }, 500);
}

// ---- Why there is no page, such as a port that is not probed: asks until the answer is another.

function errorPage() {
  setInterval(async () => {
    try {
      const answer = await fetch(location.href, { method: 'HEAD', cache: 'no-store' });
      if (String(answer.status) !== page.of) location.reload();
    } catch {
      // The exporter does not answer. It may later.
    }
  }, 5000);
}

if (page.page === 'fleet') fleetPage();
else if (page.page === 'port') portPage();
else if (page.page === 'services') servicesPage();
else errorPage();
