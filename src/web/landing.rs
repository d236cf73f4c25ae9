//! `/` where there are no pages (`--web.disable-page`): what this is, and links. No state, no scripts.

/// The page in HTML. Its links are relative, see `web_paths`.
pub(super) fn page(telemetry_path: &str) -> String {
    let metrics = telemetry_path.trim_start_matches('/');
    let version = env!("CARGO_PKG_VERSION");
    format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>dualtor-exporter</title>
<style>body{{font-family:sans-serif;margin:2em auto;max-width:40em}}</style></head>
<body>
<h1>dualtor-exporter</h1>
<p>Probes the SoCs of a SONiC dual-ToR active-active rack. Version {version}.</p>
<ul>
<li><a href="{metrics}">Metrics</a></li>
<li><a href="-/ready">Ready</a>: 200 once every SoC was probed or dialled once</li>
<li><a href="-/healthy">Healthy</a>: 200 while the process serves</li>
</ul>
</body>
</html>
"#
    )
}
