
// ---- "Probe now", where the exporter offers it (probe_now.rs): one dial and one round, then its result.

function probeNow(box) {
  const [button, outcome, result] = ['button', '[role=status]', 'pre'].map((of) => box.querySelector(of));
  function sentence({ channel, queries }) {
    if (!channel.ready) return `Never READY: ${channel.cause}: ${channel.detail}`;
    const failed = Object.entries(queries).filter(([name, { result: got }]) => !['OK', 'EMPTY_REPLY'].includes(got) && !(name === 'health' && got === 'UNIMPLEMENTED'));
    const answers = failed.length ? `; not answered well: ${failed.map(([name, { result: got }]) => `${name} ${got}`).join(', ')}` : '; all queries answered';
    return `READY after ${(channel.ready_seconds * 1000).toFixed(1)} ms${answers}.`;
  }
  async function ask() {
    try {
      const answer = await fetch(`${page.base}api/v1/ports/${encodeURIComponent(page.of)}/probe`, { method: 'POST', cache: 'no-store' });
      const found = await answer.json().catch(() => null);
      if (!answer.ok || !found) return write(outcome, `Not probed: ${found ? found.error.message : `status ${answer.status}`}.`);
      write(result, JSON.stringify(found, null, 2));
      result.hidden = false;
      return write(outcome, sentence(found));
    } catch {
      return write(outcome, 'Not probed: the exporter did not answer.');
    }
  }
  button.addEventListener('click', async () => {
    // Not `disabled`: that would take the focus away.
    if (button.hasAttribute('aria-disabled')) return;
    button.setAttribute('aria-disabled', 'true');
    result.hidden = true;
    write(outcome, 'Probing …');
    await ask();
    button.removeAttribute('aria-disabled');
  });
  box.hidden = false;
}

if (page.page === 'port' && $('probe')) probeNow($('probe'));
