// Follows /api/v1/events: rows, sentence and title change in place. Without this script the pages are complete, but stand still.
// What a row shows, and in which order rows are, is also in fleet_table.rs, cells.rs and selection.rs; tests/browser compares them.
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

// ---- The fleet.

function fleetPage() {
  const texts = JSON.parse(page.of);
  const reasons = Object.keys(texts);
  const levels = ['critical', 'warning', 'maintenance', 'ok'];
  const MOST = 1000;
  const names = new Intl.Collator('en', { numeric: true });
  const body = document.querySelector('#ports tbody');
  const input = $('filter');
  const rows = new Map();
  let fleet = null;
  let complete = false;
  let wanted;

  // -- What the URL asks for.
  function read() {
    const query = new URLSearchParams(location.search);
    const list = (name) => (query.get(name) || '').split(',').filter(Boolean);
    wanted = { levels: list('level'), states: list('state'), q: (query.get('q') || '').toLowerCase(), sort: query.get('sort') || 'worst' };
    wanted.limit = Number(query.get('limit') || MOST);
    wanted.offset = Number(query.get('offset') || 0);
    if (document.activeElement !== input) input.value = wanted.q;
  }
  function address(change) {
    const query = new URLSearchParams(location.search);
    for (const [name, value] of Object.entries(change)) {
      if (value && value !== 'worst') query.set(name, value);
      else query.delete(name);
    }
    query.delete('offset');
    const text = query.toString().replaceAll('%2C', ',');
    return text ? `?${text}` : location.pathname;
  }
  function ask(change, replace) {
    history[replace ? 'replaceState' : 'pushState'](null, '', address(change));
    read();
    show();
  }

  // -- A row: its data, its element, and how it sorts.
  const direction = (end) => [end.direction, end.direction !== 'standby'];
  const both = (own, peer) => (own === peer ? own : `self ${own}, peer ${peer}`);
  const links = (row) => [both(row.self.link, row.peer.link), row.self.link !== 'down' && row.peer.link !== 'down'];
  const health = (row) => [row.health, row.health !== 'not_serving' && row.health !== 'service_unknown'];
  const service = (row) => [row.service, row.service !== 'inprogress'];
  const errorOf = (row) => row.last_error && `${row.last_error.query || 'channel'}: ${row.last_error.cause}: ${row.last_error.text}`;
  function shortened(text) {
    const characters = [...text];
    return characters.length > 120 ? `${characters.slice(0, 120).join('')}…` : text;
  }
  const unusual = ([text, usual]) => `${usual ? 1 : 0}${text}`;
  const orders = {
    worst: (row) => [levels.indexOf(row.level), reasons.indexOf(row.reason)],
    port: () => [],
    since: (row) => [-(time(row.since) ?? -Infinity)],
    self: (row) => [unusual(direction(row.self))],
    peer: (row) => [unusual(direction(row.peer))],
    link: (row) => [unusual(links(row))],
    health: (row) => [unusual(health(row))],
    service: (row) => [unusual(service(row))],
    last_success: (row) => [time(row.last_success) ?? -Infinity],
    last_error: (row) => [-(time(row.last_error && row.last_error.at) ?? -Infinity)],
  };
  function build(row) {
    const element = document.createElement('tr');
    const head = document.createElement('th');
    head.scope = 'row';
    const link = document.createElement('a');
    link.href = `ports/${row.port.replaceAll('/', '%2F')}`;
    link.textContent = row.port;
    head.append(link);
    element.append(head);
    for (let n = 0; n < 9; n += 1) element.append(document.createElement('td'));
    element.children[1].append(document.createElement('b'), '');
    return element;
  }
  function ages(entry) {
    const { row, cells } = entry;
    write(cells[2], entry.since === null ? row.channel.toUpperCase() : `${row.channel.toUpperCase()} ${since(entry.since)}`);
    write(cells[8], entry.success === null ? 'never' : `${since(entry.success)} ago`);
    write(cells[9], entry.error === null ? '' : `${since(entry.errorAt)} ago: ${entry.error}`);
  }
  function fill(entry) {
    const { row, element, cells } = entry;
    if (element.className !== row.level) element.className = row.level;
    write(cells[1].firstChild, row.level);
    write(cells[1].lastChild, row.level === 'ok' ? '' : ` ${texts[row.reason]}`);
    [direction(row.self), direction(row.peer), links(row), health(row), service(row)].forEach(([text, usual], n) => {
      write(cells[3 + n], text);
      if (cells[3 + n].className !== (usual ? '' : 'odd')) cells[3 + n].className = usual ? '' : 'odd';
    });
    ages(entry);
  }
  function take(row) {
    let entry = rows.get(row.port);
    if (!entry) {
      const element = build(row);
      entry = { element, cells: [...element.children] };
      rows.set(row.port, entry);
    }
    entry.row = row;
    entry.since = time(row.since);
    entry.success = time(row.last_success);
    entry.errorAt = time(row.last_error && row.last_error.at);
    const error = errorOf(row);
    entry.error = error && shortened(error);
    entry.found = [row.port, row.reason, texts[row.reason], row.channel, row.address, row.version || '', error || ''].map((text) => text.toLowerCase());
    fill(entry);
  }

  // -- Which rows are shown, in which order.
  function compare(a, b) {
    for (let n = 0; n < a.key.length; n += 1) {
      if (a.key[n] < b.key[n]) return -1;
      if (a.key[n] > b.key[n]) return 1;
    }
    return names.compare(a.row.port, b.row.port);
  }
  function isWanted({ row, found }) {
    return (
      (!wanted.levels.length || wanted.levels.includes(row.level)) &&
      (!wanted.states.length || wanted.states.includes(row.channel)) &&
      (!wanted.q || found.some((text) => text.includes(wanted.q)))
    );
  }
  function show() {
    document.querySelectorAll('a.level').forEach((button) => {
      const own = button.dataset.level || '';
      button.toggleAttribute('aria-current', wanted.levels.join(',') === own);
      if (button.hasAttribute('aria-current')) button.setAttribute('aria-current', 'true');
      button.href = address({ level: own });
    });
    document.querySelectorAll('[data-sort]').forEach((link) => {
      const own = link.dataset.sort;
      const order = own === 'since' || own === 'last_error' ? 'descending' : 'ascending';
      if (own === wanted.sort) link.parentElement.setAttribute('aria-sort', order);
      else link.parentElement.removeAttribute('aria-sort');
      link.href = address({ sort: own });
    });
    // Until all rows are here, those of the server stay.
    if (!complete) return;
    page.live = 'all rows';
    const order = orders[wanted.sort] || orders.worst;
    const all = [...rows.values()].filter(isWanted);
    for (const entry of all) entry.key = order(entry.row);
    all.sort(compare);
    const shown = all.slice(wanted.offset, wanted.offset + wanted.limit);
    let place = body.firstElementChild;
    for (const { element } of shown) {
      if (place === element) place = place.nextElementSibling;
      else body.insertBefore(element, place);
    }
    while (place) {
      const next = place.nextElementSibling;
      place.remove();
      place = next;
    }
    $('shown').hidden = all.length <= shown.length;
    write($('shown'), `${shown.length} of ${all.length} ports are shown: filter to see the others.`);
    $('none').hidden = shown.length > 0;
  }

  // -- The sentence, the title, the exporter itself.
  function sentence() {
    const { level } = fleet.counts;
    const total = fleet.counts.ports;
    const named = [['critical', 'critical'], ['warning', 'with a warning'], ['maintenance', 'in maintenance']]
      .filter(([name]) => level[name] > 0)
      .map(([name, words]) => `${level[name]} ${words}`);
    write($('counts'), total === 0 ? 'No ports to probe.' : named.length ? `Of ${total} ports: ${named.join(', ')}.` : `All ${total} ports are well.`);
    document.title = level.critical > 0 ? `(${level.critical}) ${fleet.host}` : fleet.host;
    document.querySelectorAll('a.level').forEach((button) => {
      const own = button.dataset.level;
      write(button.querySelector('b'), String(own ? level[own] : total));
    });
  }
  function rest() {
    if (!fleet) return;
    const { up, mode } = fleet.state_db;
    const db = up === null ? 'no rows are written to STATE_DB' : !up ? 'STATE_DB down' : mode === 'shadow' ? 'STATE_DB up (shadow)' : 'STATE_DB up';
    let last = time(fleet.last_success);
    for (const entry of rows.values()) if (entry.success > last) last = entry.success;
    const good = last === null ? 'no good round yet' : `last good round ${since(last)} ago`;
    write($('rest'), `${fleet.counts.channel.ready} of ${fleet.counts.ports} channels READY; ${db}; ${good}.`);
  }
  let problems = null;
  function exporter() {
    const text = JSON.stringify(fleet.exporter_problems);
    if (text === problems) return;
    problems = text;
    const section = $('exporter');
    const line = document.createElement('p');
    if (fleet.exporter_problems.length === 0) {
      line.className = 'well';
      line.textContent = 'This exporter is well.';
      section.replaceChildren(line);
      return;
    }
    const strong = document.createElement('strong');
    strong.textContent = 'This exporter has a problem:';
    line.append(strong);
    const list = document.createElement('ul');
    for (const problem of fleet.exporter_problems) {
      const item = document.createElement('li');
      const name = document.createElement(page.runbook ? 'a' : 'code');
      name.textContent = page.runbook ? problem.alert : `docs/runbook.md#${problem.alert.toLowerCase()}`;
      if (page.runbook) name.href = `${page.runbook}#${problem.alert.toLowerCase()}`;
      item.append(`${problem.text} (`, name, ')');
      list.append(item);
    }
    section.replaceChildren(line, list);
  }

  // -- What the reader does.
  document.addEventListener('click', (event) => {
    const link = event.target.closest('a.level, a[data-sort]');
    if (!link || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || !complete) return;
    event.preventDefault();
    ask(link.dataset.sort ? { sort: link.dataset.sort } : { level: link.dataset.level || '' });
  });
  input.addEventListener('input', () => ask({ q: input.value.trim() }, true));
  document.addEventListener('keydown', (event) => {
    if (event.key === '/' && !event.ctrlKey && !event.metaKey && !event.altKey && document.activeElement !== input) {
      event.preventDefault();
      input.focus();
      input.select();
    } else if (event.key === 'Escape' && document.activeElement === input) {
      input.value = '';
      ask({ q: '' }, true);
    }
  });
  window.addEventListener('popstate', () => {
    read();
    show();
  });

  $('search').hidden = false;
  read();
  follow({
    fleet(data) {
      fleet = data;
      ahead = time(data.at) - Date.now();
      complete = rows.size >= data.counts.ports;
      sentence();
      rest();
      exporter();
      show();
    },
    ports(data) {
      data.ports.forEach(take);
      complete = complete || rows.size >= fleet.counts.ports;
      rest();
      show();
    },
    removed(data) {
      for (const port of data.ports) rows.delete(port);
      show();
    },
    reset() {
      rows.clear();
      complete = false;
    },
  });
  setInterval(() => {
    watch();
    rest();
    for (const entry of rows.values()) if (entry.element.isConnected) ages(entry);
  }, 1000);
}

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
          if (shown.innerHTML !== section.innerHTML) replace(shown, section);
        }
      } else if (answer.status === 404) {
        location.reload();
      }
    } catch {
      due = true;
    }
    busy = false;
  }
  // Boxes keep how far they are scrolled.
  function replace(shown, section) {
    const scrolled = [...shown.querySelectorAll('.box')].map((box) => box.scrollLeft);
    const focused = [...shown.querySelectorAll('.box, a')].indexOf(document.activeElement);
    shown.innerHTML = section.innerHTML;
    shown.querySelectorAll('.box').forEach((box, n) => {
      box.scrollLeft = scrolled[n] || 0;
    });
    const again = shown.querySelectorAll('.box, a')[focused];
    if (again) again.focus({ preventScroll: true });
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

if (page.page === 'fleet') fleetPage();
else if (page.page === 'port') portPage();
