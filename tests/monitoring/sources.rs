//! Reads what is delivered: rule files, dashboards, and examples in the documentation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// The parts of a rule file that are used here.
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

/// The files directly in a directory whose names end in this way, in order. There must be some.
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

/// The fenced blocks of a language in a document, each with the number of its first line.
pub(crate) fn blocks(document: &Path, language: &str) -> Vec<(usize, String)> {
    let opening = format!("```{language}");
    let mut found = Vec::new();
    let mut block: Option<(usize, String)> = None;
    for (number, line) in read(document).lines().enumerate() {
        match &mut block {
            None if line.trim() == opening => block = Some((number + 2, String::new())),
            None => {}
            Some(_) if line.trim() == "```" => found.extend(block.take()),
            Some((_, text)) => *text += &format!("{line}\n"),
        }
    }
    found
}

/// The PromQL queries in the documentation, each with its place. A blank line in a block separates two queries.
pub(crate) fn documented_queries() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for file in [files("docs", "md"), vec![path("README.md")]].concat() {
        for (line, block) in blocks(&file, "promql") {
            let queries = block.split("\n\n").filter(|query| !query.trim().is_empty());
            found.extend(queries.map(|query| (format!("{}:{line}", name(&file)), query.to_owned())));
        }
    }
    found
}
