// Serves the page that draws a dashboard, the dashboards, and Prometheus under /prom, on PAGE.
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';

const { DASHBOARDS, PROMETHEUS, PAGE } = process.env;
const FONTS = '/usr/share/fonts/opentype/inter/';
const IMAGES = 'node_modules/@grafana/ui/dist/public';
const HTML = `<!doctype html><html><head><meta charset="utf-8"><link rel="stylesheet" href="/out/app.css">
<style>*{box-sizing:border-box}html,body{margin:0;background:#111217}</style></head><body><div id="root"></div>
<script>window.__grafana_public_path__="/public/"</script><script src="/out/app.js"></script></body></html>`;

function send(answer, type, file) {
  if (!fs.existsSync(file)) { answer.statusCode = 404; return answer.end(); }
  answer.setHeader('content-type', type);
  return answer.end(fs.readFileSync(file));
}

function prometheus(request, answer) {
  const [host, port] = PROMETHEUS.split(':');
  const forward = http.request({ host, port, path: request.url.slice('/prom'.length) }, (found) => {
    answer.writeHead(found.statusCode, { 'content-type': 'application/json' });
    found.pipe(answer);
  });
  forward.on('error', (error) => { answer.statusCode = 502; answer.end(JSON.stringify({ status: 'error', error: error.message })); });
  forward.end();
}

const [host, port] = PAGE.split(':');
http.createServer((request, answer) => {
  const { pathname } = new URL(request.url, 'http://page');
  const name = path.basename(pathname);
  if (pathname === '/') { answer.setHeader('content-type', 'text/html'); return answer.end(HTML); }
  if (pathname.startsWith('/prom/')) return prometheus(request, answer);
  if (pathname.startsWith('/dash/')) return send(answer, 'application/json', path.join(DASHBOARDS, name));
  if (pathname.startsWith('/out/')) return send(answer, name.endsWith('.css') ? 'text/css' : 'text/javascript', path.join('out', name));
  if (pathname.startsWith('/public/fonts/inter/')) return send(answer, 'font/otf', FONTS + name.replace('.woff2', '.otf'));
  const image = pathname.indexOf('/img/');
  return send(answer, 'image/svg+xml', path.join(IMAGES, path.normalize(image > 0 ? pathname.slice(image) : '/none')));
}).listen(+port, host);
