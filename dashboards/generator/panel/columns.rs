//! Tables: their columns, widths, order, and the row "none".

use serde_json::{Map, Value, json};

use super::super::palette::{Colour, States, with_missing};
use super::{Ask, ORDER, Panel, by_name, fixed, panel, steps};

/// Rows of what is now: [`Panel::key`] for the labels that make a row, [`Panel::column`] for each number.
pub(crate) fn table(title: &'static str, description: &str) -> Panel {
    let options = json!({
        "cellHeight": "sm", "frameIndex": 0, "showHeader": true,
        "footer": { "show": false, "reducer": ["sum"], "countRows": false, "enablePagination": false, "fields": [] },
        "sortBy": [],
    });
    let organize = json!({
        "id": "organize",
        "options": { "excludeByName": { "Time": true }, "indexByName": {}, "renameByName": {} },
    });
    let mut panel = panel("table", title, description, "none", options).set(
        "custom",
        json!({ "align": "auto", "cellOptions": { "type": "auto" }, "inspect": false }),
    );
    panel.transformations = vec![json!({ "id": "merge", "options": {} }), organize];
    panel
}

impl Panel {
    fn rename(&mut self, from: &str, to: &str) {
        let options = &mut self.transformations[1]["options"];
        let index = options["indexByName"].as_object().map_or(0, Map::len);
        options["indexByName"][from] = json!(index);
        options["renameByName"][from] = json!(to);
    }

    /// A column of the table from a label; where no series has the label there is no column.
    pub(crate) fn key(mut self, label: &str, title: &str) -> Self {
        self.rename(label, title);
        self
    }

    /// The same, and a click on it leads there.
    pub(crate) fn linked_key(self, label: &str, title: &str, links: &[(&str, String)]) -> Self {
        let links = links
            .iter()
            .map(|(title, url)| json!({ "title": title, "url": url, "targetBlank": false }));
        let links = json!({ "id": "links", "value": links.collect::<Vec<_>>() });
        let mut panel = self.key(label, title);
        panel.property(title, links);
        panel
    }

    /// What is set for the column of that name.
    fn property(&mut self, column: &str, property: Value) {
        let of_column = self
            .overrides
            .iter_mut()
            .find(|of| of["matcher"]["options"] == column);
        match of_column.and_then(|of| of["properties"].as_array_mut()) {
            Some(properties) => properties.push(property),
            None => self.overrides.push(by_name(column, json!([property]))),
        }
    }

    /// Widths of columns in pixels. One without takes what is left, at least Grafana's 150.
    pub(crate) fn widths(mut self, widths: &[(&str, u64)]) -> Self {
        for (column, width) in widths {
            self.property(column, json!({ "id": "custom.width", "value": width }));
        }
        self
    }

    /// The rows in the order of a label that [`super::queries::by_port`] adds, which is not shown.
    pub(crate) fn in_port_order(mut self) -> Self {
        let sort = json!({ "fields": {}, "sort": [{ "field": ORDER, "desc": false }] });
        self.transformations
            .insert(0, json!({ "id": "sortBy", "options": sort }));
        let organize = self.transformations.last_mut().expect("the tables' own");
        organize["options"]["excludeByName"][ORDER] = json!(true);
        self
    }

    /// A column of numbers. All columns' queries must leave the same labels: the rows are joined by them.
    pub(crate) fn column(mut self, title: &str, unit: &str, query: &str) -> Self {
        self.rename(&format!("Value #{}", self.next_ref()), title);
        self.overrides
            .push(by_name(title, json!([{ "id": "unit", "value": unit }])));
        self.target(Ask::Table, query, "")
    }

    /// The only column of numbers: Grafana names it otherwise.
    pub(crate) fn only_column(mut self, title: &str, unit: &str, query: &str) -> Self {
        self.rename("Value", title);
        self.overrides
            .push(by_name(title, json!([{ "id": "unit", "value": unit }])));
        self.transformations.remove(0);
        self.target(Ask::Table, query, "")
    }

    /// No numbers: the labels are what there is to see.
    pub(crate) fn labels_of(mut self, query: &str) -> Self {
        self.transformations.remove(0);
        self.transformations[0]["options"]["excludeByName"]["Value"] = json!(true);
        self.target(Ask::Table, query, "")
    }

    /// The last column is coloured from this value on.
    pub(crate) fn column_from(mut self, value: f64, colour: Colour) -> Self {
        // Without this a cell without number, of a ToR whose exporter is down, would be green.
        self.paint(json!([
            { "id": "thresholds", "value": steps(&[(None, Colour::Good), (Some(value), colour)]) },
            { "id": "color", "value": { "mode": "thresholds" } },
            { "id": "mappings", "value": with_missing(json!([]), &[]) },
        ]));
        self
    }

    /// A column of states.
    pub(crate) fn state_column(mut self, title: &str, states: &States, query: &str) -> Self {
        self = self.column(title, "none", query);
        self.paint(json!([
            // Without this the state of a port whose exporter is down would be a grey box without a word.
            { "id": "mappings", "value": with_missing(states.mappings(), &[]) },
            { "id": "color", "value": fixed(Colour::Unknown) },
            { "id": "custom.align", "value": "left" },
        ]));
        self
    }

    fn paint(&mut self, properties: Value) {
        let cells =
            json!({ "id": "custom.cellOptions", "value": { "type": "color-background", "mode": "basic" } });
        let last = self
            .overrides
            .last_mut()
            .and_then(|last| last["properties"].as_array_mut());
        if let (Some(last), Value::Array(properties)) = (last, properties) {
            last.push(cells);
            last.extend(properties);
        }
    }

    /// The rows in this column's order, the most first; called again, those that are alike there in that one's.
    pub(crate) fn most_first(self, column: &str) -> Self {
        self.sorted(column, true)
    }

    /// Those that are alike in all that comes before in the order of these names.
    pub(crate) fn then_by(self, columns: &[&str]) -> Self {
        columns
            .iter()
            .fold(self, |panel, column| panel.sorted(column, false))
    }

    fn sorted(mut self, column: &str, desc: bool) -> Self {
        if let Some(columns) = self.options["sortBy"].as_array_mut() {
            columns.push(json!({ "displayName": column, "desc": desc }));
        }
        self
    }

    /// A list that has nothing in it while all is well has a row "none" then, and nothing only where nothing is known: while there is no
    /// `alive`. The word stands in the first column of numbers; all others by which the rows are sorted are there too, because Grafana
    /// sorts by those that it has when the page is opened. Says when it has other rows; the tests look for these words.
    pub(crate) fn none_while_healthy(mut self, alive: &str, data_when: &str) -> Self {
        self.description += &format!(" None while healthy: it lists something {data_when}.");
        let organize = self.transformations.last().expect("a table's own");
        let names = organize["options"]["renameByName"]
            .as_object()
            .expect("names")
            .clone();
        let title = |name: &Value| name.as_str().unwrap_or_default().to_owned();
        let sorted = self.options["sortBy"].as_array().expect("an order").clone();
        let (numbers, labels): (Vec<_>, Vec<_>) = names
            .iter()
            .map(|(from, to)| (from.clone(), title(to)))
            .partition(|(from, _)| from.starts_with("Value"));
        let row = labels
            .iter()
            .filter(|(_, column)| sorted.iter().any(|by| by["displayName"] == column.as_str()))
            .fold(format!("sum({alive}) * 0"), |row, (label, _)| {
                format!(r#"label_replace({row}, "{label}", "-", "", "")"#)
            });
        for target in &mut self.targets {
            let query = target["expr"].as_str().unwrap_or_default();
            target["expr"] = json!(format!("{query}\nor on () {row}"));
        }
        for (from, column) in numbers {
            let first = ["Value", "Value #A"].contains(&&*from);
            self.shows_as(
                &column,
                if first {
                    ("none", Colour::Good.hex())
                } else {
                    (" ", "transparent")
                },
            );
        }
        self
    }

    /// What a column shows instead of 0.
    fn shows_as(&mut self, column: &str, (text, colour): (&str, &str)) {
        let zero = json!({ "0": { "text": text, "color": colour, "index": 99 } });
        let zero = json!({ "type": "value", "options": zero });
        let of_column = self
            .overrides
            .iter_mut()
            .find(|of| of["matcher"]["options"] == column)
            .and_then(|of| of["properties"].as_array_mut())
            .expect("its unit");
        let mappings = of_column
            .iter_mut()
            .find(|property| property["id"] == "mappings")
            .and_then(|mappings| mappings["value"].as_array_mut());
        match mappings {
            // A column of states.
            Some(mappings) => mappings.push(zero),
            None => of_column.extend([
                json!({ "id": "mappings", "value": [zero] }),
                json!({ "id": "color", "value": { "mode": "fixed", "fixedColor": "text" } }),
                json!({ "id": "custom.cellOptions", "value": { "type": "color-text" } }),
            ]),
        }
    }
}
