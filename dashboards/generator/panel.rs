//! The kinds of panels, as Grafana 10 stores them. What a dashboard does not say of a panel is decided here, once.

mod columns;

use serde_json::{Map, Value, json};

pub(crate) use columns::table;

use super::palette::{ABSENT, Colour, NO_DATA, NOT_YET, States, colour, with_missing};

/// Every panel, query, variable and annotation asks the data source that the reader has chosen.
pub(super) fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// Rounds are 60 s apart: rates of what happens once a round need windows of several, and with this the least
/// `$__rate_interval` is four scrapes or 75 s, whichever is more. See [`Panel::per_round`].
const ROUND: &str = "1m";

/// The Grafana whose panel options these are; later ones migrate them.
const GRAFANA: &str = "10.4.2";

/// The label that orders ports by their number.
pub(super) const ORDER: &str = "by_number";

/// One panel without its place. Widths are 24ths of the page, heights Grafana's units of 30 pixels.
#[derive(Debug)]
pub(crate) struct Panel {
    pub(super) width: u64,
    pub(super) height: u64,
    kind: &'static str,
    title: &'static str,
    description: String,
    targets: Vec<Value>,
    defaults: Map<String, Value>,
    overrides: Vec<Value>,
    options: Value,
    transformations: Vec<Value>,
    interval: Option<&'static str>,
    /// How many points a line has at most; without it one per pixel.
    points: Option<u64>,
    /// Numbers that stand for words, where a series is rightly missing.
    absent: Vec<(i32, &'static str)>,
}

/// What kind of frame Grafana makes of an answer, and whether it asks for now alone.
#[derive(Debug, Clone, Copy)]
enum Ask {
    Now,
    Table,
    Range,
    Heatmap,
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("not an object: {other}"),
    }
}

fn fixed(colour: Colour) -> Value {
    json!({ "mode": "fixed", "fixedColor": colour.hex() })
}

fn shades(colour: Colour) -> Value {
    json!({ "mode": "shades", "fixedColor": colour.hex() })
}

fn steps(steps: &[(Option<f64>, Colour)]) -> Value {
    let steps = steps
        .iter()
        .map(|(value, colour)| json!({ "value": value, "color": colour.hex() }));
    json!({ "mode": "absolute", "steps": steps.collect::<Vec<_>>() })
}

fn by_name(name: &str, properties: Value) -> Value {
    json!({ "matcher": { "id": "byName", "options": name }, "properties": properties })
}

/// The last value of each series, as one tile or bar.
fn reduce() -> Value {
    json!({ "calcs": ["lastNotNull"], "fields": "", "values": false })
}

fn panel(kind: &'static str, title: &'static str, description: &str, unit: &str, options: Value) -> Panel {
    Panel {
        width: 12,
        height: 8,
        kind,
        title,
        description: description.to_owned(),
        targets: Vec::new(),
        defaults: object(json!({ "unit": unit, "mappings": [] })),
        overrides: Vec::new(),
        options,
        transformations: Vec::new(),
        interval: None,
        points: None,
        absent: Vec::new(),
    }
}

/// One number as it is now, in a neutral colour until [`Panel::bad_from`] or its like says what is bad.
pub(crate) fn stat(title: &'static str, description: &str, unit: &str, query: &str) -> Panel {
    let options = json!({
        "colorMode": "background_solid", "graphMode": "none", "justifyMode": "auto", "orientation": "auto",
        "reduceOptions": reduce(), "showPercentChange": false, "textMode": "value", "wideLayout": true,
    });
    panel("stat", title, description, unit, options)
        .set("color", fixed(Colour::Plain))
        .target(Ask::Now, query, title)
        .size(3, 4)
}

/// The state that holds now, as text on its colour.
pub(crate) fn state(title: &'static str, description: &str, states: &States, metric: &str) -> Panel {
    let mut panel = stat(title, description, "none", &states.query(metric));
    // A number that no state has would be grey.
    panel.defaults.insert("color".to_owned(), fixed(Colour::Unknown));
    panel.defaults.insert("mappings".to_owned(), states.mappings());
    panel
}

/// A number that stands for words, as text on its colour.
pub(crate) fn mapped(title: &'static str, description: &str, mappings: Value, query: &str) -> Panel {
    stat(title, description, "none", query)
        .set("color", fixed(Colour::Unknown))
        .set("mappings", mappings)
}

/// What labels say, as text: these, each in a tile of its own.
pub(crate) fn labels(title: &'static str, description: &str, query: &str, labels: &[&str]) -> Panel {
    let mut panel = stat(title, description, "none", query);
    panel.options["reduceOptions"]["fields"] = json!(format!("/^({})$/", labels.join("|")));
    // One below the other: side by side the text is too small to read.
    panel.options["orientation"] = json!("horizontal");
    panel.targets.clear();
    panel.target(Ask::Table, query, "").in_order(labels)
}

/// Lines over time; see [`Panel::line`], [`Panel::bars`].
pub(crate) fn timeseries(title: &'static str, description: &str, unit: &str) -> Panel {
    let options = json!({
        // One or two lines; see [`Panel::many`].
        "legend": {
            "calcs": ["lastNotNull", "max"], "displayMode": "table", "placement": "bottom", "showLegend": true,
            "sortBy": "Max", "sortDesc": true,
        },
        "tooltip": { "mode": "multi", "sort": "desc" },
    });
    let mut custom = json!({
        "drawStyle": "line", "lineWidth": 1, "fillOpacity": 5, "showPoints": "never", "spanNulls": false,
        // The same width everywhere: graphs one below the other have the same time at the same place.
        "axisWidth": AXIS, "axisSoftMin": 0, "stacking": { "mode": "none", "group": "A" },
    });
    if let Some(max) = soft_max(unit) {
        custom["axisSoftMax"] = json!(max);
    }
    panel("timeseries", title, description, unit, options)
        .set("color", shades(Colour::Plain))
        .set("custom", custom)
}

/// Pixels that an axis' numbers need: "100 req/s", "2.50 ms".
const AXIS: u64 = 72;

/// How far an axis reaches at least, so that a graph of zeros is a line at the bottom and noise looks small.
fn soft_max(unit: &str) -> Option<f64> {
    match unit {
        "none" | "short" | "reqps" | "wps" => Some(1.0),
        "percentunit" => Some(0.01),
        "s" => Some(0.01),
        _ => None,
    }
}

/// One row per series, coloured by state; see [`Panel::states`].
pub(crate) fn timeline(title: &'static str, description: &str, states: &States) -> Panel {
    let options = json!({
        "alignValue": "left", "mergeValues": true, "rowHeight": 0.85, "showValue": "auto",
        // The description has the key to the colours; a legend would repeat it for each row.
        "legend": { "calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": false },
        "tooltip": { "mode": "single", "sort": "none" },
    });
    let description = format!("{description} {}", states.key());
    let mut panel = panel("state-timeline", title, &description, "none", options);
    // Not by thresholds: in that mode Grafana merges by threshold and passes over the mappings.
    panel.defaults.insert("color".to_owned(), fixed(Colour::Unknown));
    panel.defaults.insert("mappings".to_owned(), states.mappings());
    panel.set("custom", json!({ "fillOpacity": 90, "lineWidth": 0 }))
}

/// How long things took, over time: a query of buckets by `le`.
pub(crate) fn heatmap(title: &'static str, description: &str, query: &str) -> Panel {
    let options = json!({
        "calculate": false, "cellGap": 1, "cellValues": { "unit": "reqps" },
        "color": {
            "mode": "scheme", "scheme": "Viridis", "scale": "exponential", "exponent": 0.5, "fill": Colour::Plain.hex(),
            "reverse": false, "steps": 64,
        },
        "exemplars": { "color": Colour::Warning.hex() }, "filterValues": { "le": 1e-9 }, "legend": { "show": true },
        "rowsFrame": { "layout": "auto" }, "showValue": "never",
        "tooltip": { "mode": "single", "showColorScale": true, "yHistogram": false },
        "yAxis": { "axisPlacement": "left", "reverse": false, "unit": "s" },
    });
    panel("heatmap", title, description, "reqps", options)
        .set(
            "custom",
            json!({ "hideFrom": { "legend": false, "tooltip": false, "viz": false } }),
        )
        .target(Ask::Heatmap, query, "{{le}}")
}

impl Panel {
    fn set(mut self, key: &str, value: Value) -> Self {
        self.defaults.insert(key.to_owned(), value);
        self
    }

    fn target(mut self, ask: Ask, query: &str, legend: &str) -> Self {
        let format = match ask {
            Ask::Now | Ask::Range => "time_series",
            Ask::Table => "table",
            Ask::Heatmap => "heatmap",
        };
        let instant = matches!(ask, Ask::Now | Ask::Table);
        self.targets.push(json!({
            "datasource": datasource(), "editorMode": "code", "expr": query, "format": format,
            "instant": instant, "range": !instant, "legendFormat": legend, "refId": self.next_ref(),
        }));
        self
    }

    /// A, B, C, ...
    fn next_ref(&self) -> String {
        char::from(b'A' + self.targets.len() as u8).to_string()
    }

    /// A series that is missing although the exporter answers is right: these words stand there then, and "no data" only where
    /// nothing is known.
    pub(crate) fn otherwise(mut self, words: &'static str) -> Self {
        self.more(&format!("or on (job, instance)\n(up{{TOR}} == 1) * {ABSENT}"));
        self.absent.push((ABSENT, words));
        self
    }

    /// The same while there is that series: what is missing is still to come.
    pub(crate) fn once(mut self, series: &str, words: &'static str) -> Self {
        self.more(&format!("or on (job, instance)\n{series} * 0 + {NOT_YET}"));
        self.absent.push((NOT_YET, words));
        self
    }

    /// A number of all that is shown: these words where nothing is counted because there is nothing to count.
    pub(crate) fn nothing_is(mut self, words: &'static str) -> Self {
        self.more(&format!("or max(up{{TOR}} == 1) * {ABSENT}"));
        self.absent.push((ABSENT, words));
        self
    }

    /// Adds to the first query.
    fn more(&mut self, text: &str) {
        let query = self.targets[0]["expr"].as_str().unwrap_or_default();
        self.targets[0]["expr"] = json!(format!("{query}\n{text}"));
    }

    /// Only while the exporter answers: what it did before in the time shown says nothing about now.
    pub(crate) fn while_up(mut self) -> Self {
        self.more("and on () (up{TOR} == 1)");
        self
    }

    /// Names each tile where a query has several series.
    pub(crate) fn names(mut self, legend: &str) -> Self {
        self.options["textMode"] = json!("value_and_name");
        self.targets[0]["legendFormat"] = json!(legend);
        self
    }

    pub(crate) fn size(mut self, width: u64, height: u64) -> Self {
        (self.width, self.height) = (width, height);
        self
    }

    /// Says when a panel has data that has none while all is well; the tests look for these words.
    pub(crate) fn empty_while_healthy(mut self, data_when: &str) -> Self {
        self.description += &format!(" Empty while healthy: it has data {data_when}.");
        self
    }

    /// The same of what need not be configured: these words stand in its place then.
    pub(crate) fn empty_without(self, words: &'static str, data_when: &str) -> Self {
        self.empty_while_healthy(data_when).set("noValue", json!(words))
    }

    /// Says that a view of the fleet made of what rules record has no data for it; the tests look for these words.
    pub(crate) fn needs_raw_series(mut self) -> Self {
        self.description += " Needs raw series.";
        self
    }

    /// A line for each series.
    pub(crate) fn line(self, query: &str, legend: &str) -> Self {
        self.target(Ask::Range, query, legend)
    }

    /// A line in a colour of its own.
    pub(crate) fn coloured_line(mut self, query: &str, name: &'static str, colour: Colour) -> Self {
        let properties = json!([{ "id": "color", "value": fixed(colour) }]);
        self.overrides.push(by_name(name, properties));
        self.line(query, name)
    }

    /// A line told from others in the same graph by its dashes, not by a colour, which would mean something.
    pub(crate) fn dashed_line(mut self, query: &str, name: &'static str, dashes: [u64; 2]) -> Self {
        let style = json!({ "fill": "dash", "dash": dashes });
        let properties = json!([{ "id": "custom.lineStyle", "value": style }]);
        self.overrides.push(by_name(name, properties));
        self.coloured_line(query, name, Colour::Plain)
    }

    /// More than two lines: their names stand at the right, where there is room for all of them.
    pub(crate) fn many(mut self) -> Self {
        self.options["legend"]["placement"] = json!("right");
        self.options["legend"]["calcs"] = json!(["max"]);
        self
    }

    /// Each line has a colour of its own, which means nothing else.
    pub(crate) fn distinct(self) -> Self {
        self.set("color", json!({ "mode": "palette-classic" }))
    }

    /// Stacked bars, for what happens now and then.
    pub(crate) fn bars(mut self) -> Self {
        for (key, value) in [
            ("drawStyle", json!("bars")),
            ("fillOpacity", json!(80)),
            ("lineWidth", json!(0)),
        ] {
            self.defaults["custom"][key] = value;
        }
        self.stacked()
    }

    pub(crate) fn stacked(mut self) -> Self {
        self.defaults["custom"]["stacking"]["mode"] = json!("normal");
        self
    }

    /// Lines that are all failures are shades of that colour.
    pub(crate) fn failures(self) -> Self {
        self.set("color", shades(Colour::Bad))
    }

    /// The series whose names end in one of these states have its colour.
    pub(crate) fn state_colours(self, states: &[&'static str]) -> Self {
        states.iter().fold(self, |panel, state| {
            panel.colour_of(&format!(r"/(^|\s){state}$/"), colour(state))
        })
    }

    /// The series whose names match have this colour.
    pub(crate) fn colour_of(mut self, pattern: &str, colour: Colour) -> Self {
        let matcher = json!({ "id": "byRegexp", "options": pattern });
        let color = json!({ "id": "color", "value": fixed(colour) });
        self.overrides
            .push(json!({ "matcher": matcher, "properties": [color] }));
        self
    }

    /// Numbers of what comes in ones.
    pub(crate) fn whole(self) -> Self {
        self.set("decimals", json!(0))
    }

    /// At least the interval of rounds from point to point, for rates of what happens once a round.
    pub(crate) fn per_round(mut self) -> Self {
        self.interval = Some(ROUND);
        self
    }

    /// At most so many points per row, where there are so many rows that one per pixel is megabytes.
    pub(crate) fn points(mut self, points: u64) -> Self {
        self.points = Some(points);
        self
    }

    /// Green, and from this value on red.
    pub(crate) fn bad_from(self, value: f64) -> Self {
        self.thresholds(&[(None, Colour::Good), (Some(value), Colour::Bad)])
    }

    /// Green, and from this value on orange.
    pub(crate) fn warn_from(self, value: f64) -> Self {
        self.thresholds(&[(None, Colour::Good), (Some(value), Colour::Warning)])
    }

    /// Green, and from this value on the colour of announced maintenance.
    pub(crate) fn maintenance_from(self, value: f64) -> Self {
        self.thresholds(&[(None, Colour::Good), (Some(value), Colour::Maintenance)])
    }

    /// Red, from the first value on orange, from the second on green: of time that is left.
    pub(crate) fn good_from(self, warning: f64, good: f64) -> Self {
        self.thresholds(&[
            (None, Colour::Bad),
            (Some(warning), Colour::Warning),
            (Some(good), Colour::Good),
        ])
    }

    fn thresholds(self, values: &[(Option<f64>, Colour)]) -> Self {
        self.set("color", json!({ "mode": "thresholds" }))
            .set("thresholds", steps(values))
    }

    /// A row for each series of this metric.
    pub(crate) fn states(self, states: &States, metric: &str, legend: &str) -> Self {
        self.line(&states.query(metric), legend)
    }

    /// The same, and one row in grey while there is no such series at all: the words are its name and its value.
    pub(crate) fn states_or(
        mut self,
        states: &States,
        metric: &str,
        legend: &str,
        (label, words): (&str, &'static str),
    ) -> Self {
        let grey = with_missing(json!([]), &[(ABSENT, words)])[0].clone();
        if let Some(mappings) = self.defaults["mappings"].as_array_mut() {
            mappings.push(grey);
        }
        let query = states.query(metric);
        let none = format!(r#"label_replace(max(up{{TOR}} == 1) * {ABSENT}, "{label}", "-", "", "")"#);
        self.line(&format!("{query}\nor on ()\n{none}"), legend)
    }

    /// The same, and a row in grey where there is none. Of one port: the row has no labels, so that it stays one when its series comes.
    pub(crate) fn states_if_any(
        mut self,
        states: &States,
        metric: &str,
        legend: &str,
        words: &'static str,
    ) -> Self {
        let grey = with_missing(json!([]), &[(ABSENT, words)])[0].clone();
        if let Some(mappings) = self.defaults["mappings"]
            .as_array_mut()
            .filter(|all| !all.contains(&grey))
        {
            mappings.push(grey);
        }
        let query = format!("max({})\nor max(up{{TOR}} == 1) * {ABSENT}", states.query(metric));
        self.line(&query, legend)
    }

    /// A click on any series or cell leads there.
    pub(crate) fn link(self, title: &str, url: &str) -> Self {
        self.set(
            "links",
            json!([{ "title": title, "url": url, "targetBlank": false }]),
        )
    }

    /// Tiles of labels in this order; Grafana sorts them by name.
    fn in_order(mut self, labels: &[&str]) -> Self {
        let order = labels
            .iter()
            .enumerate()
            .map(|(place, label)| ((*label).to_owned(), json!(place)));
        let options = json!({
            "excludeByName": {}, "indexByName": order.collect::<Map<_, _>>(), "renameByName": {},
        });
        self.transformations
            .push(json!({ "id": "organize", "options": options }));
        self
    }

    /// At its place; `expand` fills in what the dashboard means by `{TOR}` and `{PORT}`.
    pub(super) fn json(mut self, id: u64, place: Value, expand: impl Fn(&str) -> String) -> Value {
        for target in &mut self.targets {
            target["expr"] = json!(target["expr"].as_str().map(&expand));
        }
        if self.kind == "stat" {
            let mappings = self.defaults.remove("mappings").unwrap_or_default();
            self.defaults
                .insert("mappings".to_owned(), with_missing(mappings, &self.absent));
            self.defaults.insert("noValue".to_owned(), json!(NO_DATA));
        }
        let mut panel = json!({
            "id": id, "type": self.kind, "pluginVersion": GRAFANA, "title": self.title, "description": self.description, "gridPos": place,
            "datasource": datasource(), "targets": self.targets, "options": self.options,
            "fieldConfig": { "defaults": self.defaults, "overrides": self.overrides },
            "transformations": self.transformations,
        });
        if let Some(interval) = self.interval {
            panel["interval"] = json!(interval);
        }
        if let Some(points) = self.points {
            panel["maxDataPoints"] = json!(points);
        }
        panel
    }
}
