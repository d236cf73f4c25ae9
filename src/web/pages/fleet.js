// The page of the fleet: the first part of the script that browsers load; live.js is the second. What a row shows, and in which
// order rows are, is also in fleet_table.rs, cells.rs and selection.rs; tests/browser compares them.
'use strict';

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
  let newest = -Infinity;
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

  // -- How a row reads and sorts.
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
    worst: (row) => levels.indexOf(row.level) * 100 + reasons.indexOf(row.reason),
    port: () => 0,
    since: (row) => -(time(row.since) ?? -Infinity),
    self: (row) => unusual(direction(row.self)),
    peer: (row) => unusual(direction(row.peer)),
    link: (row) => unusual(links(row)),
    health: (row) => unusual(health(row)),
    service: (row) => unusual(service(row)),
    last_success: (row) => time(row.last_success) ?? -Infinity,
    last_error: (row) => -(time(row.last_error && row.last_error.at) ?? -Infinity),
  };
  const order = () => orders[wanted.sort] || orders.worst;

  // -- A row of the table: made when it is shown first. `texts` is what its cells show: asking the page would take longer.
  function adopt(element) {
    const cells = [...element.cells];
    if (cells[1].childNodes.length < 2) cells[1].append('');
    // Safari forgets what a table is when its style is not a table's.
    element.role = 'row';
    cells.forEach((cell, n) => { cell.role = n ? 'cell' : 'rowheader'; });
    const shownTexts = cells.map((cell) => cell.textContent);
    [shownTexts[1], shownTexts[10]] = [cells[1].firstChild.textContent, cells[1].lastChild.textContent];
    return { element, cells, texts: shownTexts };
  }
  function build(port) {
    const element = document.createElement('tr');
    const head = document.createElement('th');
    head.scope = 'row';
    const link = document.createElement('a');
    link.href = `ports/${port.replaceAll('/', '%2F')}`;
    link.textContent = port;
    head.append(link);
    element.append(head);
    for (let n = 0; n < 9; n += 1) element.append(document.createElement('td'));
    element.children[1].append(document.createElement('b'), '');
    return adopt(element);
  }
  function put(view, place, text) {
    if (view.texts[place] === text) return;
    view.texts[place] = text;
    if (place === 1) view.cells[1].firstChild.textContent = text;
    else if (place === 10) view.cells[1].lastChild.textContent = text;
    // A new text of the same node: a new node would be styled anew.
    else if (view.cells[place].firstChild) view.cells[place].firstChild.data = text;
    else view.cells[place].textContent = text;
  }
  function ages(entry) {
    const { row, view } = entry;
    put(view, 2, entry.since === null ? row.channel.toUpperCase() : `${row.channel.toUpperCase()} ${since(entry.since)}`);
    put(view, 8, entry.success === null ? 'never' : `${since(entry.success)} ago`);
    put(view, 9, entry.error === null ? '' : `${since(entry.errorAt)} ago: ${entry.error}`);
  }
  function fill({ row, view }) {
    if (view.element.className !== row.level) view.element.className = row.level;
    put(view, 1, row.level);
    put(view, 10, row.level === 'ok' ? '' : ` ${texts[row.reason]}`);
    [direction(row.self), direction(row.peer), links(row), health(row), service(row)].forEach(([text, usual], n) => {
      put(view, 3 + n, text);
      const name = usual ? '' : 'odd';
      if (view.cells[3 + n].className !== name) view.cells[3 + n].className = name;
    });
  }

  // -- What is known of a port. A thousand rows are slow to change, so the page is changed once per second or when a row moves, and then
  // only where another text is due: how long ago something was changes in each row each second, but is written where it can be seen.
  const views = new Map();
  const changed = new Set();
  let shown = [];
  let ranked = false;
  let moved = false;
  let drawing = false;
  function take(row) {
    let entry = rows.get(row.port);
    if (!entry) {
      entry = { view: views.get(row.port), wanted: false };
      rows.set(row.port, entry);
      ranked = false;
      moved = true;
    }
    entry.row = row;
    entry.since = time(row.since);
    entry.success = time(row.last_success);
    entry.errorAt = time(row.last_error && row.last_error.at);
    const error = errorOf(row);
    entry.error = error && shortened(error);
    entry.found = null;
    if (entry.success > newest) newest = entry.success;
    choose(entry);
    changed.add(entry);
  }
  function textOf({ row }) {
    return [row.port, row.reason, texts[row.reason], row.channel, row.address, row.version || '', errorOf(row) || ''].map((text) => text.toLowerCase());
  }
  function isWanted(entry) {
    const { row } = entry;
    return (
      (!wanted.levels.length || wanted.levels.includes(row.level)) &&
      (!wanted.states.length || wanted.states.includes(row.channel)) &&
      (!wanted.q || (entry.found ??= textOf(entry)).some((text) => text.includes(wanted.q)))
    );
  }
  /// Whether the row is shown, and where.
  function choose(entry) {
    const [chosen, key] = [isWanted(entry), order()(entry.row)];
    if (chosen === entry.wanted && key === entry.key) return;
    // In an order by time each row moves with each round: once a second is enough.
    if (chosen === entry.wanted && /last_success|last_error/.test(wanted.sort)) wandered = true;
    else moved = true;
    [entry.wanted, entry.key] = [chosen, key];
  }
  let wandered = false;
  function compare(a, b) {
    if (a.key < b.key) return -1;
    if (a.key > b.key) return 1;
    return a.rank - b.rank;
  }
  function arrange() {
    moved = false;
    wandered = false;
    // Until all rows are here, those of the server stay.
    if (!complete) return;
    page.live = 'all rows';
    if (!ranked) [...rows.values()].sort((a, b) => names.compare(a.row.port, b.row.port)).forEach((entry, n) => { entry.rank = n; });
    ranked = true;
    const all = [...rows.values()].filter((entry) => entry.wanted).sort(compare);
    shown = all.slice(wanted.offset, wanted.offset + wanted.limit);
    const focused = document.activeElement;
    let place = body.firstElementChild;
    for (const entry of shown) {
      if (!entry.view) {
        entry.view = build(entry.row.port);
        views.set(entry.row.port, entry.view);
      }
      fill(entry);
      ages(entry);
      const { element } = entry.view;
      // A row that goes down would else push up all rows up to its new place, one by one.
      if (place && place !== element && place.nextElementSibling === element) {
        place.remove();
        place = element;
      }
      if (place === element) place = place.nextElementSibling;
      else body.insertBefore(element, place);
    }
    while (place) {
      const next = place.nextElementSibling;
      place.remove();
      place = next;
    }
    if (focused?.isConnected && focused !== document.activeElement) focused.focus({ preventScroll: true });
    $('shown').hidden = all.length <= shown.length;
    write($('shown'), `${shown.length} of ${all.length} ports are shown: filter to see the others.`);
    $('none').hidden = shown.length > 0;
  }
  function onScreen() {
    const box = (n) => shown[n].view.element.getBoundingClientRect();
    let [first, end] = [0, shown.length];
    while (first < end) {
      const middle = (first + end) >> 1;
      if (box(middle).bottom < 0) first = middle + 1;
      else end = middle;
    }
    while (end < shown.length && box(end).top < window.innerHeight) end += 1;
    return shown.slice(first, end);
  }
  let tick = 0;
  let ticked = 0;
  function draw() {
    drawing = false;
    drawn = performance.now();
    // First everything that asks where rows are: after a change that would be a layout of its own.
    if (moved) arrange();
    const seen = onScreen();
    for (const entry of changed) if (entry.view) fill(entry);
    changed.clear();
    seen.forEach(ages);
    // Of the rows that cannot be seen, a tenth.
    if (tick !== ticked) for (let n = tick % 10; n < shown.length; n += 10) ages(shown[n]);
    ticked = tick;
    rest();
  }
  // New times wait for the next second, as each layout of the table costs; a row with another level does not wait. A browser draws no
  // frame of a page that is not seen, so such a page costs nothing.
  let drawn = -Infinity;
  function soon() {
    if (drawing) return;
    drawing = true;
    setTimeout(() => requestAnimationFrame(draw), moved ? 0 : Math.max(0, drawn + 950 - performance.now()));
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
    for (const entry of rows.values()) choose(entry);
    moved = true;
    draw();
  }

  // -- The sentence, the title, the exporter itself.
  function sentence() {
    const { level } = fleet.counts;
    const total = fleet.counts.ports;
    const named = [['critical', 'critical'], ['warning', 'with a warning'], ['maintenance', 'in maintenance']]
      .filter(([name]) => level[name] > 0)
      .map(([name, words]) => `${level[name]} ${words}`);
    const failing = [['critical', 'critical'], ['warning', 'with a warning']]
      .filter(([name]) => fleet.services.level[name] > 0)
      .map(([name, words]) => `${fleet.services.level[name]} ${words}`)
      .join(', ');
    const { targets } = fleet.services;
    const others = !failing ? '' : targets === 1 ? ` The only service: ${failing}.` : ` Of ${targets} services: ${failing}.`;
    write($('counts'), (total === 0 ? 'No ports to probe.' : named.length ? `Of ${total} ports: ${named.join(', ')}.` : `All ${total} ports are well.`) + others);
    const critical = level.critical + fleet.services.level.critical;
    document.title = critical > 0 ? `(${critical}) ${fleet.host}` : fleet.host;
    document.querySelectorAll('a.level').forEach((button) => {
      const own = button.dataset.level;
      write(button.querySelector('b'), String(own ? level[own] : total));
    });
  }
  function rest() {
    if (!fleet) return;
    const { up, mode } = fleet.state_db;
    const db = up === null ? 'no rows are written to STATE_DB' : !up ? 'STATE_DB down' : mode === 'shadow' ? 'STATE_DB up (shadow)' : 'STATE_DB up';
    const last = Math.max(newest, time(fleet.last_success) ?? -Infinity);
    const good = last === -Infinity ? 'no good round yet' : `last good round ${since(last)} ago`;
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

  const services = servicesSection('?limit=50');
  $('search').hidden = false;
  document.querySelector('#ports').role = 'table';
  document.querySelectorAll('#ports thead, #ports tbody').forEach((part) => { part.role = 'rowgroup'; });
  document.querySelectorAll('#ports thead tr').forEach((row) => { row.role = 'row'; });
  document.querySelectorAll('#ports thead th').forEach((head) => { head.role = 'columnheader'; });
  for (const element of body.rows) views.set(element.cells[0].textContent, adopt(element));
  read();
  show();
  window.addEventListener('scroll', soon, { passive: true });
  window.addEventListener('resize', soon, { passive: true });
  follow({
    fleet(data) {
      if (!fleet) askAll(data.counts.ports);
      fleet = data;
      ahead = time(data.at) - Date.now();
      sentence();
      exporter();
      services.news(data.services);
      enough();
    },
    ports(data) {
      data.ports.forEach(take);
      enough();
    },
    removed(data) {
      for (const port of data.ports) {
        gone.add(port);
        rows.delete(port);
        views.delete(port);
      }
      moved = true;
      enough();
    },
    reset() {
      rows.clear();
      changed.clear();
      shown = [];
      complete = false;
    },
  });
  function enough() {
    if (!complete && rows.size >= fleet.counts.ports) complete = moved = true;
    soon();
  }
  // All rows at once: the stream would take 2.5 s for a thousand. What it has sent meanwhile is not replaced.
  const gone = new Set();
  async function askAll(count) {
    const STEP = 5000;
    for (let offset = 0; offset < count; offset += STEP) {
      try {
        const answer = await fetch(`${page.base}api/v1/ports?sort=port&limit=${STEP}&offset=${offset}`, { cache: 'no-store' });
        if (!answer.ok) return;
        const { ports } = await answer.json();
        ports.filter((row) => !rows.has(row.port) && !gone.has(row.port)).forEach(take);
        enough();
      } catch {
        return;
      }
    }
  }
  setInterval(() => {
    watch();
    services.second();
    tick += 1;
    moved ||= wandered;
    soon();
  }, 1000);
}
