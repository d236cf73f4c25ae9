// Packs app.jsx and Grafana's libraries into out/app.js.
import * as esbuild from 'esbuild';

const data = Object.fromEntries(['.svg', '.woff2', '.woff', '.ttf', '.png'].map((ending) => [ending, 'dataurl']));
await esbuild.build({
  entryPoints: ['app.jsx'],
  bundle: true,
  outfile: 'out/app.js',
  format: 'iife',
  loader: { ...data, '.css': 'css' },
  define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
  jsx: 'transform',
  alias: { 'react-router-dom-v5-compat': 'react-router-dom' },
  logLevel: 'error',
});
