//! What surrounds the panels: their layout, variables, links, annotations.

use serde::Deserialize;
use serde_json::{Value, json};

use super::palette::Colour;
use super::panel::{Panel, datasource};

/// The project's address, from Cargo.toml (`make links`); empty while it has none.
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// Grafana 10.0's. Later ones bring it up to theirs.
const SCHEMA: u64 = 38;

/// Jobs that scrape exporters, in dashboards and alerts.
const JOBS: &str = "dualtor-exporter.*";

/// Grafana's width of a page.
const PAGE: u64 = 24;

/// The dashboards. Their uids are in people's bookmarks: they stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    Fleet,
    Tor,
    Port,
    Exporter,
    Services,
}

/// Whose data a dashboard shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    None,
    One,
    Many,
}

impl Page {
    const ALL: [Self; 5] = [Self::Fleet, Self::Tor, Self::Port, Self::Exporter, Self::Services];

    const fn uid(self) -> &'static str {
        match self {
            Self::Fleet => "dualtor-fleet",
            Self::Tor => "dualtor-tor",
            Self::Port => "dualtor-port",
            Self::Exporter => "dualtor-exporter",
            Self::Services => "dualtor-services",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Fleet => "Dual-ToR / Fleet",
            Self::Tor => "Dual-ToR / ToR",
            Self::Port => "Dual-ToR / Port",
            Self::Exporter => "Dual-ToR / Exporter",
            Self::Services => "Dual-ToR / Services",
        }
    }

    /// A fleet's worst ports cost its Prometheus more than a ToR's.
    const fn refresh(self) -> &'static str {
        match self {
            Self::Fleet => "1m",
            Self::Tor | Self::Port | Self::Exporter | Self::Services => "30s",
        }
    }

    const fn instance(self) -> Choice {
        match self {
            Self::Fleet | Self::Services => Choice::Many,
            Self::Tor | Self::Port | Self::Exporter => Choice::One,
        }
    }

    const fn port(self) -> Choice {
        match self {
            Self::Fleet | Self::Exporter | Self::Services => Choice::None,
            Self::Tor => Choice::Many,
            Self::Port => Choice::One,
        }
    }

    /// The labels of a target, for `{TOR}`. `=~` also where one ToR is shown: whoever makes the variable a choice of many finds all
    /// queries ready for it.
    fn target() -> String {
        r#"job=~"$job", instance=~"$instance""#.to_owned()
    }

    /// The same with the rack, for `{RACK}`: where an exporter has the ports of several. What has no rack is always in it: an exporter on
    /// a ToR need not have one, and a link from a row without one fills in nothing that exists.
    fn rack() -> String {
        format!(r#"{}, rack=~"$rack|""#, Self::target())
    }

    /// The labels of a port, for `{PORT}`.
    fn ports(self) -> String {
        match self.port() {
            Choice::None => Self::target(),
            Choice::One => format!(r#"{}, port="$port""#, Self::rack()),
            Choice::Many => format!(r#"{}, port=~"$port""#, Self::rack()),
        }
    }

    /// The labels of a module, for `{MODULE}`, and of its targets, for `{TARGET}`.
    fn modules() -> String {
        format!(r#"{}, module=~"$module""#, Self::target())
    }

    fn targets() -> String {
        format!(r#"{}, target=~"$target""#, Self::modules())
    }

    /// Where ports are chosen, they are those of one rack.
    fn of_rack(self) -> Choice {
        match self.port() {
            Choice::None => Choice::None,
            Choice::One | Choice::Many => Choice::One,
        }
    }

    /// The exporter's own page about what is shown. No label but `instance` has its address.
    fn own_page(self) -> Option<String> {
        let port = match self.port() {
            Choice::One => "ports/${port:percentencode}",
            Choice::None | Choice::Many => "",
        };
        (self.instance() == Choice::One).then(|| format!("http://${{instance}}/{port}"))
    }

    /// Another dashboard with the time and the variables of this one, as far as it has them too, as many at a time.
    fn link_to(self, other: Self) -> String {
        let mut url = format!(
            "/d/{}?${{datasource:queryparam}}&${{job:queryparam}}",
            other.uid()
        );
        for (name, here, there) in [
            ("instance", self.instance(), other.instance()),
            ("rack", self.of_rack(), other.of_rack()),
            ("port", self.port(), other.port()),
        ] {
            if here == there && here != Choice::None {
                url += &format!("&${{{name}:queryparam}}");
            }
        }
        url
    }
}

/// The address of a dashboard about what a row or a series is of. The arguments are Grafana's words for its labels, rack and ToR, and
/// the port: `${__data.fields.ToR}` in a table, `${__field.labels.port}` in a graph.
pub(crate) fn drill_down(page: Page, [rack, instance]: [&str; 2], port: Option<&str>) -> String {
    let port = port.map_or_else(String::new, |port| format!("&var-port={port}"));
    let rack = match page.of_rack() {
        Choice::None => String::new(),
        Choice::One | Choice::Many => format!("&var-rack={rack}"),
    };
    format!(
        "/d/{}?${{datasource:queryparam}}&${{job:queryparam}}&var-instance={instance}{rack}{port}&${{__url_time_range}}",
        page.uid()
    )
}

/// The address of *Services* about the target of a module.
pub(crate) fn to_service(instance: &str, module: &str, target: &str) -> String {
    drill_down(
        Page::Services,
        ["", &format!("{instance}&var-module={module}&var-target={target}")],
        None,
    )
}

/// One dashboard: rows of panels.
#[derive(Debug)]
pub(crate) struct Dashboard {
    page: Page,
    description: &'static str,
    rows: Vec<Row>,
}

/// Panels under a title; the first row needs none.
#[derive(Debug)]
struct Row {
    title: &'static str,
    panels: Vec<Panel>,
    collapsed: bool,
}

impl Dashboard {
    pub(crate) fn new(page: Page, description: &'static str) -> Self {
        let rows = Vec::new();
        Self {
            page,
            description,
            rows,
        }
    }

    /// Panels from left to right, and below where the page ends; under a title, unless that is empty.
    pub(crate) fn row(mut self, title: &'static str, panels: impl IntoIterator<Item = Panel>) -> Self {
        self.rows.push(Row {
            title,
            panels: panels.into_iter().collect(),
            collapsed: false,
        });
        self
    }

    /// The same, at the end: nothing is seen of it, and nothing asked for it, until the reader clicks on its title.
    pub(crate) fn collapsed_row(self, title: &'static str, panels: impl IntoIterator<Item = Panel>) -> Self {
        let mut dashboard = self.row(title, panels);
        if let Some(row) = dashboard.rows.last_mut() {
            row.collapsed = true;
        }
        dashboard
    }

    pub(crate) fn json(self) -> Value {
        let page = self.page;
        json!({
            "uid": page.uid(), "title": page.title(), "description": self.description, "tags": ["dualtor"],
            "schemaVersion": SCHEMA, "version": 1, "editable": false, "graphTooltip": 1, "timezone": "",
            "refresh": page.refresh(), "time": { "from": "now-1h", "to": "now" },
            "links": links(page), "templating": { "list": variables(page) }, "annotations": { "list": annotations(page) },
            "panels": self.panels(),
        })
    }

    fn panels(self) -> Vec<Value> {
        let expand = |query: &str| {
            query
                .replace("{TOR", &format!("{{{}", Page::target()))
                .replace("{RACK", &format!("{{{}", Page::rack()))
                .replace("{MODULE", &format!("{{{}", Page::modules()))
                .replace("{TARGET", &format!("{{{}", Page::targets()))
                .replace("{PORT", &format!("{{{}", self.page.ports()))
        };
        let mut panels: Vec<Value> = Vec::new();
        let (mut id, mut y) = (0, 0);
        for row in self.rows {
            if !row.title.is_empty() {
                id += 1;
                panels.push(json!({
                    "id": id, "type": "row", "title": row.title, "collapsed": row.collapsed, "panels": [],
                    "gridPos": { "x": 0, "y": y, "w": PAGE, "h": 1 },
                }));
                y += 1;
            }
            let mut inside = Vec::new();
            let (mut x, mut height) = (0, 0);
            for panel in row.panels {
                if x + panel.width > PAGE {
                    (x, y, height) = (0, y + height, 0);
                }
                let place = json!({ "x": x, "y": y, "w": panel.width, "h": panel.height });
                x += panel.width;
                height = height.max(panel.height);
                id += 1;
                inside.push(panel.json(id, place, expand));
            }
            y += height;
            match panels.last_mut() {
                Some(title) if row.collapsed => title["panels"] = json!(inside),
                _ => panels.append(&mut inside),
            }
        }
        panels
    }
}

fn annotations(page: Page) -> Vec<Value> {
    vec![
        alerts(
            page,
            "Critical alerts",
            r#"severity="critical", "#,
            Colour::Bad,
            true,
        ),
        alerts(
            page,
            "Other alerts",
            r#"severity!="critical", "#,
            Colour::Warning,
            false,
        ),
    ]
}

fn links(page: Page) -> Vec<Value> {
    let link = |title: &str, tooltip: &str, url: &str, icon: &str, new_tab: bool| {
        json!({
            "type": "link", "title": title, "tooltip": tooltip, "url": url, "icon": icon, "targetBlank": new_tab,
            // The variables are in the address, so that each dashboard gets those that it knows.
            "keepTime": !new_tab, "includeVars": false, "asDropdown": false, "tags": [],
        })
    };
    let others = Page::ALL.into_iter().filter(|other| *other != page);
    let others = others.map(|other| link(other.title(), "", &page.link_to(other), "dashboard", false));
    // Without an address there is no link: Grafana would look for a path of ours on its own server.
    let runbook = (!REPOSITORY.is_empty()).then(|| {
        let url = format!("{REPOSITORY}/blob/main/docs/runbook.md");
        link(
            "Runbook",
            "What each alert means and what to do",
            &url,
            "doc",
            true,
        )
    });
    let own = page.own_page().map(|url| {
        let tooltip = "What this exporter shows itself; of use where the label instance is its address and it serves plain HTTP";
        link("Exporter's page", tooltip, &url, "external link", true)
    });
    others.chain(own).chain(runbook).collect()
}

fn variables(page: Page) -> Vec<Value> {
    let mut variables = vec![
        json!({
            "type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "regex": "",
            "hide": 0, "includeAll": false, "multi": false, "refresh": 1,
            "skipUrlSync": false,
        }),
        // From `up`: it has the exporters that are down, too, and a view of the whole fleet has nothing else of them.
        variable(
            "job",
            "Job",
            &format!(r#"label_values(up{{job=~"{JOBS}"}}, job)"#),
            Choice::Many,
            JOBS,
        ),
        variable(
            "instance",
            "ToR",
            r#"label_values(up{job=~"$job"}, instance)"#,
            page.instance(),
            ".+",
        ),
    ];
    if page.of_rack() != Choice::None {
        let query = format!(
            "label_values(dualtor_inventory_ports{{{}}}, rack)",
            Page::target()
        );
        variables.push(variable("rack", "Rack", &query, page.of_rack(), ".+"));
    }
    if page.port() != Choice::None {
        let query = format!("label_values(dualtor_channel_state{{{}}}, port)", Page::rack());
        variables.push(variable("port", "Port", &query, page.port(), ".+"));
    }
    if page == Page::Services {
        let query = |metric: &str, of: &str, label: &str| format!("label_values({metric}{{{of}}}, {label})");
        let modules = query("grpc_module_targets", &Page::target(), "module");
        let targets = query("grpc_channel_state", &Page::modules(), "target");
        variables.push(variable("module", "Module", &modules, Choice::Many, ".+"));
        variables.push(variable("target", "Target", &targets, Choice::Many, ".+"));
    }
    variables
}

/// `all` is what "All" means in a query.
fn variable(name: &str, label: &str, query: &str, choice: Choice, all: &str) -> Value {
    let many = choice == Choice::Many;
    let mut variable = json!({
        "type": "query", "name": name, "label": label, "datasource": datasource(), "definition": query,
        "query": { "qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery" },
        "hide": 0, "includeAll": many, "multi": many, "regex": "", "skipUrlSync": false,
        // Each time that the time range changes; natural order, Ethernet4 before Ethernet12.
        "refresh": 2, "sort": 7,
    });
    if many {
        variable["allValue"] = json!(all);
        variable["current"] = json!({ "selected": true, "text": ["All"], "value": ["$__all"] });
    }
    variable
}

/// The alerts that fire: those of what is in view, and those of no ToR or port (such as of a whole rack). `matchers` choose among
/// them, each with a comma and a space behind it.
pub(crate) fn firing(page: Page, matchers: &str) -> String {
    let mut labels = vec!["job", "instance"];
    if page.port() != Choice::None {
        labels.extend(["rack", "port"]);
    }
    if page == Page::Services {
        labels.extend(["module", "target"]);
    }
    let ours = labels.iter().map(|label| format!(r#", {label}=~"${label}|""#));
    let names = if matchers.contains("alertname") {
        ""
    } else {
        r#"alertname=~"DualTor.*", "#
    };
    format!(
        r#"ALERTS{{{names}{matchers}alertstate="firing"{}}}"#,
        ours.collect::<String>()
    )
}

/// One of `inhibit_rules` of the delivered Alertmanager configuration.
#[derive(Debug, Deserialize)]
struct Inhibition {
    source_matchers: Vec<String>,
    target_matchers: Vec<String>,
    #[serde(default)]
    equal: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Alertmanager {
    inhibit_rules: Vec<Inhibition>,
}

/// Those that notify no one because another one fires. Alertmanager does not report this to Prometheus, so it is worked out from
/// the same rules.
pub(crate) fn muted(page: Page) -> String {
    let delivered = include_str!("../../alerts/alertmanager/alertmanager.example.yaml");
    let delivered: Alertmanager = serde_saphyr::from_str(delivered).expect("the delivered configuration");
    let alerts = |matchers: &[String]| {
        firing(
            page,
            &matchers.iter().map(|one| format!("{one}, ")).collect::<String>(),
        )
    };
    let rule = |rule: &Inhibition| {
        let (target, source) = (alerts(&rule.target_matchers), alerts(&rule.source_matchers));
        format!("{target} and on ({}) {source}", rule.equal.join(", "))
    };
    let rules: Vec<String> = delivered.inhibit_rules.iter().map(rule).collect();
    rules.join("\n  or ")
}

/// A region per ToR and alert, not one per port: those would cover the graphs.
fn alerts(page: Page, name: &str, severity: &str, colour: Colour, shown: bool) -> Value {
    let expr = format!(
        "max by (alertname, severity, rack, instance) ({})",
        firing(page, severity)
    );
    json!({
        "name": name, "datasource": datasource(), "enable": shown, "hide": false, "iconColor": colour.hex(),
        "expr": expr, "step": "60s", "titleFormat": "{{alertname}}", "textFormat": "{{severity}} {{instance}}",
        "tagKeys": "severity,rack,instance", "useValueForTime": false,
    })
}
