// ---- Targets of probe modules: when their counts change, and each 5 s as ages grow, the section is taken from the page of all of
// them as the server makes it now.

// Boxes keep how far they are scrolled.
function replaceSection(shown, section) {
  const scrolled = [...shown.querySelectorAll('.box')].map((box) => box.scrollLeft);
  const focused = [...shown.querySelectorAll('.box, a')].indexOf(document.activeElement);
  shown.innerHTML = section.innerHTML;
  shown.querySelectorAll('.box').forEach((box, n) => {
    box.scrollLeft = scrolled[n] || 0;
  });
  const again = shown.querySelectorAll('.box, a')[focused];
  if (again) again.focus({ preventScroll: true });
}

function servicesSection(query) {
  let [due, busy, known, ticks] = [false, false, null, 0];
  async function refresh() {
    if (busy) return;
    busy = true;
    due = false;
    try {
      const answer = await fetch(`${page.base}services${query}`, { cache: 'no-store' });
      if (answer.ok) take(new DOMParser().parseFromString(await answer.text(), 'text/html').getElementById('services'));
    } catch {
      due = true;
    }
    busy = false;
  }
  function take(fresh) {
    const shown = $('services');
    if (!fresh) shown?.remove();
    else if (!shown) document.querySelector('main').append(document.importNode(fresh, true));
    else if (shown.innerHTML !== fresh.innerHTML) replaceSection(shown, fresh);
  }
  return {
    /// Of the fleet: how many targets are at which level.
    news(counts) {
      const text = JSON.stringify(counts);
      due ||= text !== (known ?? text) || (counts.targets > 0) !== Boolean($('services'));
      known = text;
    },
    second() {
      ticks += 1;
      if (due || (ticks % 5 === 0 && $('services') && !document.hidden)) refresh();
    },
  };
}

function servicesPage() {
  const services = servicesSection(location.search);
  follow({
    fleet(data) {
      ahead = time(data.at) - Date.now();
      services.news(data.services);
    },
    reset() {},
  });
  setInterval(() => {
    watch();
    services.second();
  }, 1000);
}

