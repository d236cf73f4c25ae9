// Simulated SoCs and the real exporter, as processes.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PROGRAMS = process.env.PROGRAMS;
const started = [];
const made = [];

/// Ends everything.
export function end() {
  for (const child of started) {
    child.removeAllListeners('exit');
    child.kill('SIGKILL');
  }
  for (const dir of made) rmSync(dir, { recursive: true, force: true });
}

process.on('exit', end);
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

/// Starts a program; resolves with it when a line of its output contains `text`.
function start(name, args, text) {
  const child = spawn(join(PROGRAMS, name), args, { stdio: ['ignore', 'pipe', 'pipe'] });
  started.push(child);
  let said = '';
  return new Promise((resolve, reject) => {
    const hear = (chunk) => {
      said += chunk;
      if (said.includes(text)) resolve({ child, said });
      if (said.length > 100000) said = '';
    };
    child.stdout.on('data', hear);
    child.stderr.on('data', hear);
    child.on('exit', (code) => reject(new Error(`${name} ended with ${code}: ${said}`)));
  });
}

/// The address of SoC `n` of this world: not those of other tests, nor of another run of this one.
function addresses() {
  const net = `127.${100 + Math.floor(Math.random() * 100)}`;
  const first = Math.floor(Math.random() * 100);
  return (n) => `${net}.${first + Math.floor(n / 200)}.${1 + (n % 200)}`;
}

/// `count` SoCs that answer, but for those in `others` (port: keys of its scenario). The last one can be killed. `flags`: of the exporter.
/// `modules`: the key of the configuration, made from the addresses of the ports.
export async function world(count, { others = {}, interval = '1s', flags = [], modules = () => '' } = {}) {
  const dir = mkdtempSync(join(tmpdir(), 'dualtor-browser-'));
  made.push(dir);
  const address = addresses();
  const ports = [...Array(count).keys()].map((n) => `Ethernet${n * 4}`);
  const scenario = (file, numbers) => {
    const socs = numbers.map((n) => {
      const keys = { port: ports[n], address: `${address(n)}:50075`, ...others[ports[n]] };
      return `  - ${JSON.stringify(keys)}`;
    });
    writeFileSync(join(dir, file), `defaults: {directions: {upper: active, lower: active}}\nsocs:\n${socs.join('\n')}\n`);
    return start('dualtor-sim', [join(dir, file)], 'SoC');
  };
  const numbers = [...Array(count).keys()];
  await scenario('most.yml', numbers.slice(0, -1));
  const last = await scenario('last.yml', numbers.slice(-1));
  const configure = (probed) => {
    const targets = ports.map((port, n) => `  - {port: ${port}, address: "${address(n)}:50075"}`).filter((_, n) => probed(ports[n]));
    writeFileSync(
      join(dir, 'config.yml'),
      `probe: {interval: ${interval}}\nside: upper\ndatabases: {publish: off}\ntargets:\n${targets.join('\n')}\n${modules((n) => `${address(n)}:50075`)}`,
    );
  };
  configure(() => true);
  const args = ['--config.file', join(dir, 'config.yml'), '--web.listen-address', '127.0.0.1:0', ...flags];
  const exporter = await start('dualtor-exporter', args, 'serving');
  const listens = exporter.said.match(/address=("?)(127\.0\.0\.1:\d+)\1/)[2];
  return {
    url: `http://${listens}`,
    ports,
    victim: ports.at(-1),
    /// The last SoC dies.
    kill() {
      last.child.removeAllListeners('exit');
      last.child.kill('SIGKILL');
    },
    /// From now on only ports are probed for which `probed` is true.
    probe(probed) {
      configure(probed);
      exporter.child.kill('SIGHUP');
    },
    /// The exporter does not answer any more, and does not close anything.
    freeze: () => exporter.child.kill('SIGSTOP'),
    thaw: () => exporter.child.kill('SIGCONT'),
    /// The exporter's answer.
    async get(path, options) {
      const answer = await fetch(`http://${listens}${path}`, options);
      return { status: answer.status, headers: answer.headers, text: await answer.text() };
    },
    /// Waits until the API reports `condition` of a port.
    async until(port, condition) {
      for (;;) {
        const { text } = await this.get(`/api/v1/ports/${port}`);
        if (condition(JSON.parse(text))) return;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
  };
}
