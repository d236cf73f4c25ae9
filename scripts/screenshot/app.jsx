import React from 'react';
import { createRoot } from 'react-dom/client';
import { of, from, Observable } from 'rxjs';
import { map, catchError } from 'rxjs/operators';
import { MemoryRouter } from 'react-router-dom';
import * as D from '@grafana/data';
import { config, setDataSourceSrv, setRunRequest, setPluginImportUtils, setTemplateSrv, setBackendSrv, setLocationSrv, setAppEvents, setEchoSrv } from '@grafana/runtime';
import { BigValue, VizRepeater, BarGauge, Table, TimeSeries, TooltipPlugin, VizLegend, useTheme2, Portal, GlobalStyles, PortalContainer } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { initPluginTranslations } from '@grafana/i18n';
import * as S from '@grafana/scenes';
import { interpolateViridis } from 'd3-scale-chromatic';

window.__q = []; window.__err = [];
const P = new URLSearchParams(location.search);
const SCRAPE = +(P.get('scrape') || 5);
const DARK = P.get('theme') !== 'light';
config.theme2 = D.createTheme({ colors: { mode: DARK ? 'dark' : 'light' } });

// ---- registries that Grafana's core fills at start
const F = D.FieldConfigProperty;
const noEd = () => null;
const std = (id, path, process, extra = {}) => ({ id, path, name: id, description: '', editor: noEd, override: noEd, process, shouldApply: () => true, settings: {}, ...extra });
D.standardFieldConfigEditorRegistry.setInit(() => [
  std('unit', 'unit', D.unitOverrideProcessor),
  std('min', 'min', D.numberOverrideProcessor, { shouldApply: (f) => f.type === 'number' }),
  std('max', 'max', D.numberOverrideProcessor, { shouldApply: (f) => f.type === 'number' }),
  std('decimals', 'decimals', D.numberOverrideProcessor, { shouldApply: (f) => f.type === 'number' }),
  std('displayName', 'displayName', D.displayNameOverrideProcessor),
  std('noValue', 'noValue', (v) => v),
  std('color', 'color', D.identityOverrideProcessor),
  std('thresholds', 'thresholds', D.thresholdsOverrideProcessor, { defaultValue: { mode: 'absolute', steps: [{ value: -Infinity, color: 'green' }, { value: 80, color: 'red' }] } }),
  std('mappings', 'mappings', D.valueMappingsOverrideProcessor, { defaultValue: [] }),
  std('links', 'links', D.dataLinksOverrideProcessor),
  std('filterable', 'filterable', D.booleanOverrideProcessor ?? ((v) => v)),
  std('actions', 'actions', D.identityOverrideProcessor),
]);
D.standardEditorsRegistry.setInit(() => ['number','text','boolean','select','radio','slider','color','unit','links','value-mappings','thresholds','stats-picker','field-name','string','fieldColor','strings','timezone','displayName','dashboard-uid','multi-select','actions'].map((id) => ({ id, name: id, editor: noEd })));
D.standardTransformersRegistry.setInit(() => [...new Map(Object.values(D.standardTransformers).filter((t) => t && t.id).map((t) => [t.id, t])).values()].map((t) => ({ id: t.id, name: t.name || t.id, editor: noEd, transformation: async () => t, imageDark: '', imageLight: '' })));

// ---- the data source: Prometheus' HTTP API; frames as Grafana's own plugin makes them
const legend = (fmt, l, expr) => {
  if (fmt) return fmt.replace(/\{\{\s*(.+?)\s*\}\}/g, (m, k) => (l[k] !== undefined ? l[k] : ''));
  const n = l.__name__ || ''; const r = Object.entries(l).filter(([k]) => k !== '__name__').map(([k, v]) => `${k}="${v}"`).join(', ');
  return r ? `${n}{${r}}` : n || expr;
};
const num = (v) => (v === '+Inf' ? Infinity : v === '-Inf' ? -Infinity : parseFloat(v));
const so = (r) => { let o = r.scopedVars?.__sceneObject; o = o?.value ?? o; o = o?.valueOf ? o.valueOf() : o; return o?.state ? o : window.__scene; };
class Prom {
  constructor() { this.uid = 'prom'; this.name = 'Prometheus'; this.type = 'prometheus'; this.id = 1; this.interval = SCRAPE + 's'; this.meta = { id: 'prometheus', info: {} }; }
  getRef() { return { type: this.type, uid: this.uid }; }
  async get(path, params) {
    const t0 = performance.now();
    const r = await fetch('/prom' + path + '?' + new URLSearchParams(params)); const txt = await r.text(); const j = JSON.parse(txt);
    window.__q.push({ path, q: params.query, ms: Math.round(performance.now() - t0), bytes: txt.length, series: j.data?.result?.length, status: j.status, error: j.error, step: params.step });
    if (j.status !== 'success') throw new Error(j.error); return j;
  }
  query(req) {
    return from(Promise.all(req.targets.filter((t) => !t.hide).map((t) => this.one(t, req))).then((xs) => ({ data: xs.flat() })));
  }
  async one(t, req) {
    const step = Math.max(Math.ceil(req.intervalMs / 1000), 1, t.interval ? D.rangeUtil.intervalToSeconds(t.interval) : SCRAPE);
    const rs = Math.round((req.range.to.valueOf() - req.range.from.valueOf()) / 1000);
    const ri = Math.max(step + SCRAPE, 4 * SCRAPE);
    const expr = S.sceneGraph.interpolate(so(req), t.expr, { __interval: { value: step + 's' }, __rate_interval: { value: ri + 's' }, __range: { value: rs + 's' }, __range_s: { value: rs } }, promEsc);
    if (t.instant) {
      const j = await this.get('/api/v1/query', { query: expr, time: req.range.to.valueOf() / 1000 });
      const res = j.data.resultType === 'vector' ? j.data.result : [{ metric: {}, value: j.data.result }];
      if (t.format === 'table') return res.length ? [this.table(res, t, req.targets.length)] : [];
      return res.map((r) => D.toDataFrame({ refId: t.refId, meta: { type: 'numeric-multi' }, fields: [
        { name: 'Time', type: 'time', values: [r.value[0] * 1000] },
        { name: 'Value', type: 'number', labels: r.metric, values: [num(r.value[1])], config: { displayNameFromDS: legend(t.legendFormat, r.metric, expr) } }] }));
    }
    const start = Math.floor(req.range.from.valueOf() / 1000 / step) * step, end = Math.floor(req.range.to.valueOf() / 1000 / step) * step;
    const j = await this.get('/api/v1/query_range', { query: expr, start, end, step });
    const grid = []; for (let x = start; x <= end; x += step) grid.push(x);
    const frames = j.data.result.map((r) => {
      const m = new Map(r.values.map(([a, b]) => [a, num(b)]));
      // Grafana's backend fills gaps with null on the step grid
      const first = r.values[0][0], last = r.values[r.values.length - 1][0]; const g = grid.filter((x) => x >= first && x <= last);
      return D.toDataFrame({ refId: t.refId, meta: { type: 'timeseries-multi' }, fields: [
        { name: 'Time', type: 'time', values: g.map((x) => x * 1000), config: { interval: step * 1000 } },
        { name: 'Value', type: 'number', labels: r.metric, values: g.map((x) => (m.has(x) ? m.get(x) : null)), config: { displayNameFromDS: legend(t.legendFormat, r.metric, expr), interval: step * 1000 } }] });
    });
    if (t.format === 'heatmap') return this.heat(frames, step);
    return frames;
  }
  table(res, t, n) {
    const keys = [...new Set(res.flatMap((r) => Object.keys(r.metric)))].sort();
    return D.toDataFrame({ refId: t.refId, meta: { preferredVisualisationType: 'rawPrometheus' }, fields: [
      { name: 'Time', type: 'time', values: res.map((r) => r.value[0] * 1000) },
      ...keys.map((k) => ({ name: k, type: 'string', config: { filterable: true }, values: res.map((r) => r.metric[k] ?? '') })),
      { name: n > 1 ? `Value #${t.refId}` : 'Value', type: 'number', values: res.map((r) => num(r.value[1])) }] });
  }
  heat(frames, step) {
    const le = (f) => { const v = f.fields[1].labels.le; return v === '+Inf' ? Infinity : parseFloat(v); };
    frames.sort((a, b) => le(a) - le(b));
    const times = [...new Set(frames.flatMap((f) => f.fields[0].values))].sort((a, b) => a - b);
    const cum = frames.map((f) => { const m = new Map(f.fields[0].values.map((x, i) => [x, f.fields[1].values[i]])); return times.map((x) => m.get(x) ?? null); });
    const vals = cum.map((c, i) => c.map((v, k) => (v == null ? null : i ? Math.max(0, v - (cum[i - 1][k] ?? 0)) : v)));
    return [D.toDataFrame({ meta: { type: 'heatmap-rows' }, fields: [{ name: 'Time', type: 'time', values: times, config: { interval: step * 1000 } }, ...frames.map((f, i) => ({ name: f.fields[1].labels.le, type: 'number', labels: f.fields[1].labels, values: vals[i], config: { displayNameFromDS: f.fields[1].labels.le } }))] })];
  }
  async metricFindQuery(q, opts) {
    const s = S.sceneGraph.interpolate(so(opts), typeof q === 'string' ? q : q.query, {}, promEsc);
    const m = s.match(/^label_values\(((?:.|\n)+),\s*([a-zA-Z_]\w*)\s*\)\s*$/);
    const r = opts.range; const j = await this.get(`/api/v1/label/${m[2]}/values`, { 'match[]': m[1], start: r.from.valueOf() / 1000, end: r.to.valueOf() / 1000 });
    return j.data.map((text) => ({ text, value: text }));
  }
}
const promEsc = (v, variable) => {
  if (!variable) return String(v);
  const e = (x) => String(x).replace(/\\/g, '\\\\\\\\').replace(/[$^*{}\[\]'+?.()|]/g, '\\\\$&');
  if (!variable.multi && !variable.includeAll) return String(v).replace(/\\/g, '\\\\').replace(/"/g, '\\"');
  if (typeof v === 'string') return e(v);
  const a = v.map(e); return a.length === 1 ? a[0] : '(' + a.join('|') + ')';
};
const prom = new Prom();
setDataSourceSrv({ get: async () => prom, getList: () => [{ uid: 'prom', name: 'Prometheus', type: 'prometheus', meta: { id: 'prometheus', name: 'Prometheus', info: { logos: {} } }, isDefault: true }], getInstanceSettings: () => ({ uid: 'prom', name: 'Prometheus', type: 'prometheus', meta: { id: 'prometheus', info: {} } }), reload() {} });
setRunRequest((ds, req) => ds.query(req).pipe(
  map((r) => ({ state: D.LoadingState.Done, series: r.data.map((x) => D.toDataFrame(x)), timeRange: req.range, request: req, structureRev: 1 })),
  catchError((e) => { window.__err.push(String(e)); return of({ state: D.LoadingState.Error, series: [], error: { message: String(e.message || e) }, timeRange: req.range, request: req }); })));
setTemplateSrv({ getVariables: () => [], replace: (s, sv, f) => (window.__scene ? S.sceneGraph.interpolate(window.__scene, s, sv, f) : s), containsTemplate: () => false, updateTimeRange() {} });
try { setBackendSrv({ fetch: () => of({ data: {} }), get: async () => ({}), post: async () => ({}) }); } catch (e) {}
try { setAppEvents({ publish() {}, subscribe: () => ({ unsubscribe() {} }), getStream: () => of() }); } catch (e) {}
const NoData = ({ message }) => <div style={{ display: 'flex', height: '100%', alignItems: 'center', justifyContent: 'center', color: config.theme2.colors.text.secondary }}>{message || 'No data'}</div>;


// ---- panels
import { setPanelDataErrorView } from './node_modules/@grafana/runtime/dist/esm/components/PanelDataErrorView.mjs';
setPanelDataErrorView((p) => <NoData message={p.fieldConfig?.defaults?.noValue || p.message} />);
const empty = (d) => !d.series.length || d.series.every((f) => !f.length);
function vals(props, spark) {
  return D.getFieldDisplayValues({ fieldConfig: props.fieldConfig, reduceOptions: props.options.reduceOptions, replaceVariables: props.replaceVariables, theme: config.theme2, data: props.data.series, sparkline: spark, timeZone: props.timeZone });
}
function Stat(props) {
  const { options: o, width, height, data } = props;
  const get = () => vals(props, o.graphMode !== 'none');
  return <VizRepeater getValues={get} getAlignmentFactors={(v) => D.getDisplayValueAlignmentFactors(v)} source={data} itemSpacing={3} width={width} height={height} renderCounter={props.renderCounter} autoGrid orientation={o.orientation}
    renderValue={({ value, alignmentFactors, width, height, count }) => <BigValue value={value.display} count={count} sparkline={value.sparkline} colorMode={o.colorMode} graphMode={o.graphMode} justifyMode={o.justifyMode} textMode={o.textMode === 'auto' && count === 1 && false ? 'value' : o.textMode} alignmentFactors={alignmentFactors} text={o.text} width={width} height={height} theme={config.theme2} disableWideLayout={!o.wideLayout} />} />;
}
function BarG(props) {
  const { options: o, width, height, data } = props;
  return <VizRepeater getValues={() => { const v = vals(props, false); return v; }} getAlignmentFactors={(v) => D.getDisplayValueAlignmentFactors(v)} source={data} width={width} height={height} minVizHeight={o.minVizHeight ?? 16} minVizWidth={o.minVizWidth ?? 8} maxVizHeight={o.maxVizHeight ?? 300} renderCounter={props.renderCounter} orientation={o.orientation || 'auto'} itemSpacing={o.displayMode === 'lcd' ? 2 : 10}
    renderValue={({ value, alignmentFactors, orientation, width, height, count }) => <BarGauge value={value.display} width={width} height={height} orientation={orientation} field={value.field} text={o.text} display={value.view?.getFieldDisplayProcessor(value.colIndex)} theme={config.theme2} itemSpacing={10} displayMode={o.displayMode || 'gradient'} alignmentFactors={count > 1 ? alignmentFactors : undefined} showUnfilled={o.showUnfilled ?? true} valueDisplayMode={o.valueMode || 'color'} namePlacement={o.namePlacement || 'auto'} />} />;
}
function Tab(props) {
  const { options: o, width, height, data, fieldConfig } = props;
  if (empty(data)) return <NoData message={fieldConfig.defaults.noValue} />;
  const idx = Math.min(o.frameIndex ?? 0, data.series.length - 1);
  const main = data.series[idx];
  const el = P.get('table') === 'old' ? <Table height={height} width={width} data={main} noHeader={!o.showHeader} resizable initialSortBy={o.sortBy} cellHeight={o.cellHeight || 'sm'} enablePagination={o.footer?.enablePagination} timeRange={data.timeRange} fieldConfig={fieldConfig} /> : <TableNG height={height} width={width} data={main} noHeader={!o.showHeader} showTypeIcons={false} resizable sortBy={o.sortBy} cellHeight={o.cellHeight || 'sm'} enablePagination={o.footer?.enablePagination ?? o.enablePagination} timeRange={data.timeRange} structureRev={1} fieldConfig={fieldConfig} onColumnResize={() => {}} onSortByChange={() => {}} />;
  window.__tables = window.__tables || {}; window.__tables[props.title] = { n: data.series.length, cols: main.fields.map((f) => D.getFieldDisplayName(f, main, data.series)), rows: main.length, links: main.fields.map((f) => (f.getLinks ? f.getLinks({ valueRowIndex: 0 }).map((l) => l.title + ' ' + l.href) : [])), vals: main.fields.map((f) => [...f.values].slice(0, 30).map((v) => D.formattedValueToString(f.display(v)))) };
  return el;
}
function TS(props) {
  const { options: o, width, height, data, timeRange, timeZone, fieldConfig } = props;
  if (empty(data)) return <NoData message={fieldConfig.defaults.noValue} />;
  data.series.forEach((f) => f.fields.forEach((x) => { x.config.custom = { drawStyle: 'line', lineInterpolation: 'linear', lineWidth: 1, fillOpacity: 0, gradientMode: 'none', showPoints: 'auto', pointSize: 5, axisPlacement: 'auto', axisLabel: '', scaleDistribution: { type: 'linear' }, hideFrom: {}, spanNulls: false, stacking: { mode: 'none', group: 'A' }, thresholdsStyle: { mode: 'off' }, ...x.config.custom }; }));
  window.__ts = window.__ts || {}; window.__ts[props.title] = data.series.map((f) => D.getFieldDisplayName(f.fields[1], f, data.series));
  return <TimeSeries frames={data.series} structureRev={1} timeRange={timeRange} timeZone={timeZone} width={width} height={height} legend={o.legend} options={o}>{(cfg, aligned) => <TooltipPlugin data={aligned} config={cfg} mode={o.tooltip.mode} sortOrder={o.tooltip.sort} sync={() => 0} timeZone={timeZone} />}</TimeSeries>;
}
const tfmt = (ms, span, tz) => { const d = new Date(ms); const h = String(d.getUTCHours()).padStart(2, '0'), m = String(d.getUTCMinutes()).padStart(2, '0'), s = String(d.getUTCSeconds()).padStart(2, '0'); return span < 400e3 ? `${h}:${m}:${s}` : `${h}:${m}`; };
function axis(ctx, x0, x1, y, range, theme) {
  const span = range.to.valueOf() - range.from.valueOf(); const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400].map((s) => s * 1000);
  const st = steps.find((s) => (x1 - x0) / (span / s) > 70) || 14400e3;
  ctx.font = '12px Inter, Helvetica, Arial'; ctx.fillStyle = theme.colors.text.primary; ctx.textAlign = 'center'; ctx.textBaseline = 'top';
  for (let t = Math.ceil(range.from.valueOf() / st) * st; t <= range.to.valueOf(); t += st) { const x = x0 + ((t - range.from.valueOf()) / span) * (x1 - x0); ctx.fillText(tfmt(t, span), x, y + 6); ctx.strokeStyle = theme.colors.border.weak; ctx.beginPath(); ctx.moveTo(x, y); ctx.lineTo(x, y + 4); ctx.stroke(); }
}
// stand-in: state timeline is in Grafana's core only. Same rules: rows of rowHeight, text where it fits, left aligned, merged.
function Timeline(props) {
  const { options: o, width, height, data, timeRange, fieldConfig } = props; const theme = useTheme2(); const ref = React.useRef(null);
  const none = empty(data);
  React.useEffect(() => {
    if (none) return; const c = ref.current; const r = devicePixelRatio; c.width = width * r; c.height = height * r; const ctx = c.getContext('2d'); ctx.scale(r, r); ctx.clearRect(0, 0, width, height);
    ctx.font = '12px Inter, Helvetica, Arial';
    const rows = data.series.flatMap((f) => f.fields.filter((x) => x.type !== 'time').map((x) => ({ f, x, t: f.fields[0].values, name: D.getFieldDisplayName(x, f, data.series) })));
    window.__tl = window.__tl || {}; window.__tl[props.title] = rows.map((q) => q.name); window.__lk = window.__lk || {}; window.__lk[props.title] = rows[1]?.x.getLinks ? rows[1].x.getLinks({ valueRowIndex: 1 }).map((l) => l.href) : null;
    const lw = Math.min(width / 3, Math.max(...rows.map((q) => ctx.measureText(q.name).width)) + 10); const x0 = lw, x1 = width - 6, y1 = height - 26; const rh = y1 / rows.length;
    const span = timeRange.to.valueOf() - timeRange.from.valueOf(); const X = (t) => x0 + Math.max(0, Math.min(1, (t - timeRange.from.valueOf()) / span)) * (x1 - x0);
    rows.forEach((q, i) => {
      const y = i * rh + (rh * (1 - o.rowHeight)) / 2, h = rh * o.rowHeight; const v = q.x.values; const iv = q.x.config.interval || 5000;
      ctx.fillStyle = theme.colors.text.primary; ctx.textAlign = 'right'; ctx.textBaseline = 'middle'; ctx.fillText(q.name, x0 - 6, i * rh + rh / 2);
      let k = 0; while (k < v.length) { let e = k; while (e + 1 < v.length && v[e + 1] === v[k]) e++; if (v[k] != null) { const d = q.x.display(v[k]); const a = X(q.t[k]), b = e + 1 < v.length ? X(q.t[e + 1]) : X(Math.min(q.t[e] + iv, timeRange.to.valueOf())); ctx.globalAlpha = (q.x.config.custom?.fillOpacity ?? 70) / 100; ctx.fillStyle = d.color; ctx.fillRect(a, y, Math.max(b - a, 1), h); ctx.globalAlpha = 1; const tx = D.formattedValueToString(d); const tw = ctx.measureText(tx).width + 8; if ((o.showValue === 'always' || (o.showValue === 'auto' && tw < b - a)) && h > 9) { ctx.fillStyle = theme.colors.getContrastText(d.color, 3); ctx.textAlign = 'left'; ctx.fillText(tx, a + 4, y + h / 2); } } k = e + 1; }
    });
    axis(ctx, x0, x1, y1, timeRange, theme);
  });
  if (none) return <NoData message={fieldConfig.defaults.noValue} />;
  return <canvas ref={ref} style={{ width, height }} />;
}
// stand-in: heatmap is in Grafana's core only
function Heat(props) {
  const { options: o, width, height, data, timeRange, fieldConfig } = props; const theme = useTheme2(); const ref = React.useRef(null); const none = empty(data);
  React.useEffect(() => {
    if (none) return; const c = ref.current; const r = devicePixelRatio; c.width = width * r; c.height = height * r; const ctx = c.getContext('2d'); ctx.scale(r, r); ctx.font = '12px Inter, Helvetica, Arial';
    const f = data.series[0]; const t = f.fields[0].values; const ys = f.fields.slice(1); const iv = f.fields[0].config.interval; const fmt = D.getValueFormat(o.yAxis.unit || 'short');
    const lab = ys.map((y) => (y.name === '+Inf' ? '+Inf' : D.formattedValueToString(fmt(parseFloat(y.name))))); const lw = Math.max(...lab.map((l) => ctx.measureText(l).width)) + 12; const x0 = lw, x1 = width - 6, y1 = height - 50; const rh = y1 / ys.length; const span = timeRange.to.valueOf() - timeRange.from.valueOf();
    const mx = Math.max(...ys.flatMap((y) => y.values.filter((v) => v != null)));
    window.__heat = { le: lab, max: mx };
    ys.forEach((y, i) => y.values.forEach((v, k) => { if (v == null || v <= (o.filterValues?.le ?? 0)) return; const a = x0 + ((t[k] - timeRange.from.valueOf()) / span) * (x1 - x0); const w = (iv / span) * (x1 - x0); if (a < x0) return; ctx.fillStyle = interpolateViridis(Math.pow(v / mx, o.color.exponent || 0.5)); ctx.fillRect(a, y1 - (i + 1) * rh + o.cellGap / 2, Math.max(w - o.cellGap, 0.7), rh - o.cellGap); }));
    ctx.fillStyle = theme.colors.text.primary; ctx.textAlign = 'right'; ctx.textBaseline = 'middle'; const every = Math.ceil(14 / rh); lab.forEach((l, i) => { if (i % every === 0) ctx.fillText(l, x0 - 6, y1 - (i + 1) * rh); });
    axis(ctx, x0, x1, y1, timeRange, theme);
    for (let x = 0; x < 200; x++) { ctx.fillStyle = interpolateViridis(x / 200); ctx.fillRect(x0 + x, height - 22, 1, 10); } ctx.fillStyle = theme.colors.text.primary; ctx.textAlign = 'left'; ctx.fillText(D.formattedValueToString(D.getValueFormat(o.cellValues?.unit)(mx)), x0 + 206, height - 16);
  });
  if (none) return <NoData message={fieldConfig.defaults.noValue} />;
  return <canvas ref={ref} style={{ width, height }} />;
}
const custom = (paths) => (b) => paths.forEach((p) => b.addCustomEditor({ id: p, path: p, name: p, editor: noEd, override: noEd, process: D.identityOverrideProcessor, shouldApply: () => true }));
const G = ['drawStyle', 'lineWidth', 'fillOpacity', 'gradientMode', 'showPoints', 'pointSize', 'spanNulls', 'stacking', 'axisSoftMin', 'axisSoftMax', 'axisLabel', 'axisPlacement', 'axisWidth', 'lineStyle', 'thresholdsStyle', 'hideFrom', 'lineInterpolation', 'scaleDistribution', 'transform'];
const plug = {
  stat: new D.PanelPlugin(Stat).useFieldConfig({}).setPanelOptions(() => {}),
  bargauge: new D.PanelPlugin(BarG).useFieldConfig({}),
  table: new D.PanelPlugin(Tab).useFieldConfig({ useCustomConfig: custom(['align', 'cellOptions', 'width', 'minWidth', 'inspect', 'filterable', 'hidden', 'hideFrom']) }),
  timeseries: new D.PanelPlugin(TS).useFieldConfig({ useCustomConfig: custom(G) }),
  'state-timeline': new D.PanelPlugin(Timeline).useFieldConfig({ useCustomConfig: custom(['fillOpacity', 'lineWidth', 'spanNulls', 'hideFrom']) }),
  heatmap: new D.PanelPlugin(Heat).useFieldConfig({ useCustomConfig: custom(['hideFrom', 'scaleDistribution']) }),
};
Object.entries(plug).forEach(([id, p]) => { p.meta = { id, name: id, type: 'panel', info: { logos: {}, version: '' }, module: '', baseUrl: '', sort: 0 }; });
setPluginImportUtils({ importPanelPlugin: async (id) => plug[id], getPanelPluginFromCache: (id) => plug[id] });

// ---- dashboard JSON -> scene
function vizPanel(p, dsVar) {
  let $data = new S.SceneQueryRunner({ datasource: { uid: 'prom', type: 'prometheus' }, queries: (p.targets || []).map((t) => ({ ...t, datasource: undefined })), maxDataPoints: p.maxDataPoints, minInterval: p.interval });
  if (p.transformations?.length) $data = new S.SceneDataTransformer({ $data, transformations: p.transformations });
  return new S.VizPanel({ key: 'panel-' + p.id, title: p.title, description: p.description, pluginId: p.type, pluginVersion: p.pluginVersion, options: p.options, fieldConfig: p.fieldConfig, displayMode: p.transparent ? 'transparent' : 'default', hoverHeader: !p.title, $data });
}
function build(d, expand) {
  const item = (p, dy = 0) => new S.SceneGridItem({ x: p.gridPos.x, y: p.gridPos.y + dy, width: p.gridPos.w, height: p.gridPos.h, body: vizPanel(p) });
  const children = []; let row = null;
  for (const p of d.panels) {
    if (p.type === 'row') { row = new S.SceneGridRow({ title: p.title, isCollapsed: !!p.collapsed && !expand, isCollapsible: true, y: p.gridPos.y, children: (p.panels || []).map((c) => item(c)) }); children.push(row); }
    else if (row) row.setState({ children: [...row.state.children, item(p)] });
    else children.push(item(p));
  }
  const vars = d.templating.list.map((v) => {
    if (v.type === 'datasource') return new S.DataSourceVariable({ name: v.name, label: v.label, pluginId: v.query, value: 'prom', text: 'Prometheus' });
    const want = P.get('var-' + v.name);
    return new S.QueryVariable({ name: v.name, label: v.label, query: v.query, datasource: { uid: 'prom', type: 'prometheus' }, definition: v.definition, isMulti: v.multi, includeAll: v.includeAll, allValue: v.allValue ?? undefined, refresh: v.refresh, sort: v.sort, regex: v.regex, ...(want ? { value: want, text: want } : v.current?.value ? { value: v.current.value, text: v.current.text } : {}) });
  });
  return new S.EmbeddedScene({ $timeRange: new S.SceneTimeRange({ from: P.get('from') || d.time.from, to: d.time.to, timeZone: 'utc' }), $variables: new S.SceneVariableSet({ variables: vars }), controls: [new S.VariableValueSelectors({}), new S.SceneControlsSpacer(), new S.SceneTimePicker({}), new S.SceneRefreshPicker({ refresh: P.get('live') ? d.refresh : '' })], body: new S.SceneGridLayout({ children, isLazy: false }) });
}
function App({ scene, d }) {
  React.useEffect(() => scene.activate(), []);
  return <D.ThemeContext.Provider value={config.theme2}><GlobalStyles hackNoBackdropBlur={false} isExtensionSidebarOpen={false} /><MemoryRouter><div style={{ padding: 16, background: config.theme2.colors.background.canvas, minHeight: '100vh', fontFamily: 'Inter, Helvetica, Arial', color: config.theme2.colors.text.primary, fontSize: 14 }}><div style={{ display: 'flex', gap: 16, alignItems: 'center' }}><b style={{ fontSize: 18 }}>{d.title}</b>{d.links.map((l) => <span key={l.title} style={{ border: '1px solid ' + config.theme2.colors.border.medium, padding: '2px 8px', borderRadius: 2 }}>{l.title}</span>)}</div><scene.Component model={scene} /></div></MemoryRouter></D.ThemeContext.Provider>;
}
(async () => {
  try { await initPluginTranslations('grafana-scenes'); } catch (e) { console.log('i18n', e); }
  const d = await (await fetch('/dash/' + P.get('d') + '.json')).json();
  const scene = build(d, P.get('expand') === '1'); window.__scene = scene; window.S = S;
  createRoot(document.getElementById('root')).render(<App scene={scene} d={d} />);
})();
