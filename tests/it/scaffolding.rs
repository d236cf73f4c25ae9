//! Workflows, templates and scripts against the Makefile and Cargo.toml that they use.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    let path = project().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The YAML files under .github.
fn yaml_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for directory in [".github", ".github/workflows", ".github/ISSUE_TEMPLATE"] {
        let entries = std::fs::read_dir(project().join(directory)).expect(directory);
        files.extend(entries.map(|entry| entry.expect("an entry").path()));
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yml"));
    files
}

/// The targets of the Makefile.
fn targets() -> BTreeSet<String> {
    let makefile = read("Makefile");
    let rules = makefile
        .lines()
        .filter(|line| !line.starts_with([' ', '\t', '#', '.']));
    let names = rules.filter_map(|line| line.split_once(':').map(|(name, _)| name));
    names
        .filter(|name| !name.contains(' '))
        .map(str::to_owned)
        .collect()
}

/// The words after each `make` in a text (shell or Markdown).
fn makes(text: &str) -> Vec<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let pairs = words
        .windows(2)
        .filter(|pair| pair[0].trim_start_matches(['`', '\'', '"']) == "make");
    let names = pairs.map(|pair| pair[1].trim_end_matches(|c: char| !c.is_ascii_alphanumeric()));
    names.map(str::to_owned).collect()
}

#[test]
fn each_file_of_github_is_yaml() {
    for file in yaml_files() {
        let text = std::fs::read_to_string(&file).expect("a file");
        let read: Result<Value, _> = serde_saphyr::from_str(&text);
        let value = read.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(value.is_object(), "{}", file.display());
    }
}

#[test]
fn each_make_of_a_workflow_is_a_target_of_the_makefile() {
    let targets = targets();
    assert!(targets.contains("verify"), "{targets:?}");
    for (workflow, wanted) in [
        (
            ".github/workflows/ci.yml",
            &["verify", "test-chart", "test-packages", "deny", "msrv", "cross"][..],
        ),
        (".github/workflows/release.yml", &["deny", "packages"][..]),
    ] {
        // Comments are prose.
        let text = read(workflow);
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .collect();
        let makes = makes(&lines.join("\n"));
        for name in &makes {
            assert!(
                targets.contains(name),
                "{workflow}: make {name} is not in the Makefile"
            );
        }
        for name in wanted {
            assert!(
                makes.iter().any(|made| made == name),
                "{workflow} does not make {name}"
            );
        }
    }
}

#[test]
fn each_processor_is_known_wherever_processors_are_listed() {
    for target in [
        "x86_64-unknown-linux-gnu",
        "aarch64-unknown-linux-gnu",
        "armv7-unknown-linux-gnueabihf",
    ] {
        for file in [
            "deny.toml",
            "scripts/cross",
            "scripts/notices.rs",
            "scripts/packages",
        ] {
            assert!(read(file).contains(target), "{file} does not know {target}");
        }
    }
}

#[test]
fn the_documentation_names_the_oldest_rust_of_cargo_toml() {
    let rust = format!("Rust {} or later", env!("CARGO_PKG_RUST_VERSION"));
    assert!(
        read("README.md").contains(&rust),
        "README.md does not say {rust:?}"
    );
}

#[test]
fn a_report_of_a_bug_brings_the_doctors_words() {
    assert!(read(".github/ISSUE_TEMPLATE/bug.yml").contains("dualtor-exporter doctor --output json"));
}
