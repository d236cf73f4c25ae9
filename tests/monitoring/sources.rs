//! Reads what is delivered: rule files, dashboards, and what the documentation says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// A file of rules, as far as it matters here.
#[derive(Debug, Deserialize)]
pub(crate) struct RuleFile {
    pub(crate) groups: Vec<Group>,
}

/// Rules that are evaluated together.
#[derive(Debug, Deserialize)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) rules: Vec<Rule>,
}

/// An alert, or a recording rule.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Rule {
    #[serde(default)]
    pub(crate) alert: String,
    #[serde(default)]
    pub(crate) record: String,
    pub(crate) expr: String,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// A place in the project.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files right in a directory that end so, in order; there are some.
pub(crate) fn files(directory: &str, extension: &str) -> Vec<PathBuf> {
    let directory = path(directory);
    let entries = std::fs::read_dir(&directory);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|found| found == extension));
    assert!(!files.is_empty(), "{}: no .{extension}", directory.display());
    files.sort();
    files
}

/// A file's name, for messages.
pub(crate) fn name(file: &Path) -> String {
    file.file_name().expect("a name").to_string_lossy().into_owned()
}

/// Any YAML.
pub(crate) fn yaml(file: &Path) -> Value {
    serde_saphyr::from_str(&read(file)).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// All rules, each with the name of its file.
pub(crate) fn rules() -> Vec<(String, Rule)> {
    let mut rules = Vec::new();
    for file in files("alerts", "yaml") {
        let read: RuleFile =
            serde_json::from_value(yaml(&file)).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for group in read.groups {
            assert!(
                !group.rules.is_empty(),
                "{}: {} is empty",
                name(&file),
                group.name
            );
            rules.extend(group.rules.into_iter().map(|rule| (name(&file), rule)));
        }
    }
    rules
}

/// The alerts among them.
pub(crate) fn alerts() -> Vec<Rule> {
    let alerts = rules().into_iter().map(|(_, rule)| rule);
    alerts.filter(|rule| !rule.alert.is_empty()).collect()
}

/// All dashboards, each with the name of its file.
pub(crate) fn dashboards() -> Vec<(String, Value)> {
    let read = |file: PathBuf| {
        let dashboard = serde_json::from_str(&read(&file));
        let dashboard = dashboard.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        (name(&file), dashboard)
    };
    files("dashboards", "json").into_iter().map(read).collect()
}

/// The blocks of PromQL in the documentation, each with the place where it begins. A blank line in a block separates two
/// queries.
pub(crate) fn documented_queries() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for file in [files("docs", "md"), vec![path("README.md")]].concat() {
        let mut query: Option<String> = None;
        for (number, line) in read(&file).lines().enumerate() {
            let place = format!("{}:{}", name(&file), number + 1);
            match (line.trim(), &mut query) {
                ("```promql", None) => query = Some(String::new()),
                ("```" | "", Some(text)) => {
                    let text = std::mem::take(text);
                    if !text.trim().is_empty() {
                        found.push((place, text));
                    }
                    if line.trim() == "```" {
                        query = None;
                    }
                }
                (line, Some(text)) => *text += &format!("{line}\n"),
                (_, None) => {}
            }
        }
    }
    found
}
