//! The queries of a dashboard, and what Grafana makes of them before it sends them.

use serde_json::Value;

/// A query of a dashboard.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    /// Where it stands: dashboard and panel, variable or annotation.
    pub(crate) place: String,
    pub(crate) asks: Asks,
    /// As it stands in the file.
    pub(crate) text: String,
    /// How each series is called, with `{{label}}`.
    pub(crate) legend: String,
    /// In which situation it is rightly empty, in the panel's words.
    pub(crate) empty_while_healthy: bool,
    /// Whether it asks for what rules do not record, in the panel's words.
    pub(crate) needs_raw_series: bool,
}

impl Query {
    /// Without the row "none", if it makes one.
    pub(crate) fn listed(&self) -> Option<Self> {
        let (listed, _) = self.text.split_once(ROW_OF_NONE)?;
        let text = listed.to_owned();
        Some(Self { text, ..self.clone() })
    }
}

/// What a query asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Values over the time window.
    Range,
    /// Values now.
    Instant,
    /// A variable's values: `label_values(...)` or `query_result(...)`.
    Variable,
}

/// What a variable may have been set to.
#[derive(Debug, Clone)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) kind: String,
    /// What it is set to unless somebody chooses.
    pub(crate) first: String,
    pub(crate) has_all: bool,
}

/// How a panel says that it may be empty.
const EMPTY: &str = "Empty while healthy:";
/// How a list says that it has the row "none" then, which this part of its query makes.
const NONE: &str = "None while healthy:";
const ROW_OF_NONE: &str = "\nor on () label_replace(";
/// How a panel says that a view of the whole fleet has nothing for it.
const RAW: &str = "Needs raw series.";

/// All queries of a dashboard: panels (also in rows), variables, annotations.
pub(crate) fn queries(file: &str, dashboard: &Value) -> Vec<Query> {
    let mut found = Vec::new();
    panels(file, &dashboard["panels"], &mut found);
    for variable in list(&dashboard["templating"]["list"]) {
        if variable["type"] == "query" {
            let query = match &variable["query"] {
                Value::Object(query) => text(&query["query"]),
                query => text(query),
            };
            found.push(Query {
                place: format!("{file}: variable {}", text(&variable["name"])),
                asks: Asks::Variable,
                text: query,
                legend: String::new(),
                empty_while_healthy: false,
                needs_raw_series: false,
            });
        }
    }
    for annotation in list(&dashboard["annotations"]["list"]) {
        // Grafana's own annotations ask no data source.
        if annotation["expr"].is_string() {
            found.push(Query {
                place: format!("{file}: annotation {}", text(&annotation["name"])),
                asks: Asks::Range,
                text: text(&annotation["expr"]),
                legend: [&annotation["titleFormat"], &annotation["textFormat"]]
                    .map(text)
                    .join(" "),
                // Nothing to tell is what one hopes for.
                empty_while_healthy: true,
                needs_raw_series: false,
            });
        }
    }
    found
}

fn panels(file: &str, panels_of: &Value, found: &mut Vec<Query>) {
    for panel in list(panels_of) {
        panels(file, &panel["panels"], found);
        for target in list(&panel["targets"]) {
            let description = text(&panel["description"]);
            let none = description.contains(NONE) && !text(&target["expr"]).contains(ROW_OF_NONE);
            found.push(Query {
                place: format!("{file}: {} ({})", text(&panel["title"]), text(&target["refId"])),
                asks: match target["instant"] == true && target["range"] != true {
                    true => Asks::Instant,
                    false => Asks::Range,
                },
                text: text(&target["expr"]),
                legend: text(&target["legendFormat"]),
                empty_while_healthy: none || description.contains(EMPTY),
                needs_raw_series: description.contains(RAW),
            });
        }
    }
}

/// A dashboard's variables.
pub(crate) fn variables(dashboard: &Value) -> Vec<Variable> {
    let list = list(&dashboard["templating"]["list"]);
    let read = |variable: &Value| Variable {
        name: text(&variable["name"]),
        kind: text(&variable["type"]),
        first: match &variable["current"]["value"] {
            Value::Array(values) => values.first().map(text).unwrap_or_default(),
            value => text(value),
        },
        has_all: variable["includeAll"] == true,
    };
    list.iter().map(read).collect()
}

/// The query and the label of `label_values(query, label)`; only the label of `label_values(label)`.
pub(crate) fn label_values(text: &str) -> Option<(Option<&str>, &str)> {
    let inside = text.trim().strip_prefix("label_values(")?.strip_suffix(')')?;
    Some(match inside.rsplit_once(',') {
        Some((query, label)) => (Some(query.trim()), label.trim()),
        None => (None, inside.trim()),
    })
}

/// Fills in the variables: `$name`, `${name}` and `${name:format}`. An `Err` names the one that nobody knows.
pub(crate) fn substitute(text: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        filled += &rest[..at];
        rest = &rest[at + 1..];
        let braced = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let (name, after) = match braced {
            Some((inside, after)) => (inside.split(':').next().unwrap_or_default(), after),
            None => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                rest.split_at(end.unwrap_or(rest.len()))
            }
        };
        // `$` alone is the end of a regular expression, `$1` a part of what it has found.
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            filled.push('$');
            continue;
        }
        filled += &value(name).ok_or_else(|| format!("nobody knows the variable {name:?}: {text}"))?;
        rest = after;
    }
    Ok(filled + rest)
}

/// The labels that a legend names: `{{port}}`.
pub(crate) fn legend_labels(legend: &str) -> Vec<String> {
    let parts = legend.split("{{").skip(1);
    let inside = parts.filter_map(|part| part.split("}}").next());
    inside.map(|name| name.trim().to_owned()).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_however_they_are_written() {
        let value = |name: &str| (name == "port").then(|| "Ethernet0".to_owned());
        let check = |text: &str, expected: Result<&str, &str>| {
            let filled = substitute(text, value);
            let filled = filled
                .as_deref()
                .map_err(|error| error.split(':').next().unwrap_or_default());
            assert_eq!(filled, expected, "{text}");
        };
        check("a{p=\"$port\"}[5m]", Ok("a{p=\"Ethernet0\"}[5m]"));
        check("a{p=~\"${port:regex}$\"}", Ok("a{p=~\"Ethernet0$\"}"));
        check("${port}", Ok("Ethernet0"));
        check("$ports", Err("nobody knows the variable \"ports\""));
    }

    #[test]
    fn the_labels_of_a_legend_are_found() {
        assert_eq!(legend_labels("{{port}} to {{ side }}"), ["port", "side"]);
    }
}
