//! The documentation against the repository and the real binary: links, flags, the example of a configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use dualtor_exporter::config::Config;

use crate::child::run;

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All Markdown files of the repository, except built or downloaded ones.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![project().to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if path.is_dir() {
                if !["target", "node_modules", ".git"].contains(&name) {
                    directories.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A document's lines outside of fenced blocks.
fn prose(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            lines.push(line);
        }
    }
    lines
}

/// A heading's anchor: lower case, spaces become hyphens, and only letters, digits, `-` and `_` are kept.
fn slug(heading: &str) -> String {
    let text: String = heading.trim().to_lowercase().replace(' ', "-");
    text.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
        .collect()
}

/// The anchors of a document. A second heading with the same text has `-1` at its end.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    let headings = prose(text).into_iter().filter(|line| line.starts_with('#'));
    let slugs = headings.map(|line| {
        let slug = slug(line.trim_start_matches('#'));
        let before = times.entry(slug.clone()).or_default();
        *before += 1;
        match *before {
            1 => slug,
            n => format!("{slug}-{}", n - 1),
        }
    });
    slugs.collect()
}

/// The targets of `[text](target)` and `![text](target)`. Code in a line is not a link.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        let outside: String = line.split('`').step_by(2).collect();
        let targets = outside.split("](").skip(1);
        found.extend(targets.filter_map(|rest| rest.split_once(')').map(|(target, _)| target.to_owned())));
    }
    found
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(out.pop(), "{}", path.display()),
            Component::CurDir => {}
            _ => out.push(part),
        }
    }
    out
}

/// What is wrong with a link of this document.
fn broken(document: &Path, link: &str) -> Option<&'static str> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = link
        .split_once('#')
        .map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let target = match path {
        "" => document.to_owned(),
        _ => plain(&document.parent().expect("a directory").join(path)),
    };
    if !target.starts_with(project()) || !target.exists() {
        return Some("there is no such file");
    }
    match anchor {
        Some(anchor) if !anchors(&read(&target)).contains(anchor) => Some("there is no such heading"),
        _ => None,
    }
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let documents = documents();
    assert!(documents.len() > 15, "{documents:?}");
    let (mut wrong, mut count) = (Vec::new(), 0);
    for document in &documents {
        for link in links(&read(document)) {
            count += 1;
            if let Some(why) = broken(document, &link) {
                let name = document.strip_prefix(project()).unwrap_or(document);
                wrong.push(format!("{}: ({link}): {why}", name.display()));
            }
        }
    }
    assert!(count > 100, "{count} links");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_broken_link_is_noticed() {
    let readme = project().join("README.md");
    assert_eq!(
        links("a [b](c.md#d), `[no](link)`\n```\n[no](link)\n```\n![e](f.png)"),
        ["c.md#d", "f.png"]
    );
    assert_eq!(broken(&readme, "docs/none.md"), Some("there is no such file"));
    assert_eq!(broken(&readme, "../README.md"), Some("there is no such file"));
    assert_eq!(
        broken(&readme, "docs/tls.md#none"),
        Some("there is no such heading")
    );
    assert_eq!(broken(&readme, "#install"), None);
    let text = "# A `b|c` d_e\n## A\n```sh\n# no\n```\n## A\n";
    assert_eq!(anchors(text), ["a-bc-d_e", "a", "a-1"].map(str::to_owned).into());
}

/// The paths of the repository that a text names: a known folder, and the name of a file.
fn named_paths(text: &str) -> BTreeSet<&str> {
    let of_a_path = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let words = text
        .split(|c: char| !of_a_path(c))
        .map(|word| word.trim_end_matches('.'));
    let known = |word: &&str| {
        let folders = [
            "src/",
            "tests/",
            "crates/",
            "docs/",
            "scripts/",
            "alerts/",
            "dashboards/",
        ];
        let endings = [".rs", ".md", ".yaml", ".yml", ".json", ".toml"];
        folders.iter().any(|folder| word.starts_with(folder)) && endings.iter().any(|end| word.ends_with(end))
    };
    words.filter(known).collect()
}

#[test]
fn every_file_that_a_document_names_is_there() {
    let mut count = 0;
    // The changelog is history.
    for document in documents().iter().filter(|path| !path.ends_with("CHANGELOG.md")) {
        let text = read(document);
        for path in named_paths(&text) {
            count += 1;
            assert!(project().join(path).exists(), "{}: {path}", document.display());
        }
    }
    assert!(count > 30, "{count} paths");
}

#[test]
fn the_index_names_every_document() {
    let index = read(&project().join("docs/README.md"));
    let links: BTreeSet<String> = links(&index).into_iter().collect();
    for document in documents() {
        let Ok(name) = document.strip_prefix(project().join("docs")) else {
            continue;
        };
        let name = name.to_str().expect("UTF-8");
        assert!(
            name == "README.md" || links.contains(name),
            "docs/README.md does not name {name}"
        );
    }
}

#[test]
fn the_readme_is_short_and_has_a_picture() {
    let text = read(&project().join("README.md"));
    assert!(text.lines().count() <= 170, "{} lines", text.lines().count());
    assert!(text.contains("](docs/images/"), "no picture");
}

/// The flags in a text: `--` and what follows of letters, dots and hyphens.
fn flags(text: &str) -> BTreeSet<String> {
    let starts = text.match_indices("--").map(|(at, _)| at);
    let all = starts.filter(|&at| !text[..at].ends_with(|c: char| c == '-' || c.is_alphanumeric()));
    let names = all.map(|at| {
        let name = text[at..]
            .chars()
            .take_while(|c| c.is_ascii_lowercase() || matches!(c, '.' | '-'));
        name.collect::<String>().trim_end_matches('.').to_owned()
    });
    names
        .filter(|name| name.len() > 2 && !name.ends_with('-'))
        .collect()
}

/// Everything in a document from one heading to the next of the same level.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let heading = format!("\n## {heading}\n");
    let (_, rest) = text
        .split_once(&heading)
        .unwrap_or_else(|| panic!("no {heading}"));
    rest.split_once("\n## ").map_or(rest, |(section, _)| section)
}

/// The flags in the first column of a section's tables.
fn documented_flags(section: &str) -> BTreeSet<String> {
    let rows = section.lines().filter(|line| line.starts_with("| `--"));
    rows.flat_map(|row| flags(row.split('|').nth(1).unwrap_or_default()))
        .collect()
}

#[tokio::test]
async fn the_documented_flags_are_those_of_help() {
    let text = read(&project().join("docs/cli.md"));
    for (command, heading) in [
        (None, "The exporter"),
        (Some("probe"), "probe"),
        (Some("doctor"), "doctor"),
        (Some("status"), "status"),
    ] {
        let arguments: Vec<&str> = command.into_iter().chain(["--help"]).collect();
        let mut expected = flags(&run(&arguments).await.stdout);
        expected.remove("--help");
        expected.remove("--version");
        if let Some(command) = command {
            // A flag of the exporter.
            expected.remove("--web.route-prefix");
            let row = format!("| [`dualtor-exporter {command}");
            assert!(text.contains(&row), "docs/cli.md lacks {row} in its first table");
        }
        assert_eq!(
            documented_flags(section(&text, heading)),
            expected,
            "docs/cli.md, {heading}"
        );
    }
}

/// docs/example.yml, and the same with each `#key` uncommented.
fn example() -> (String, String) {
    let text = read(&project().join("docs/example.yml"));
    let taken_in = text.lines().map(|line| match line.split_once('#') {
        Some((indent, key))
            if indent.trim().is_empty() && key.starts_with(|c: char| c.is_ascii_lowercase()) =>
        {
            format!("{indent}{key}\n")
        }
        _ => format!("{line}\n"),
    });
    let taken_in = taken_in.collect();
    (text, taken_in)
}

#[test]
fn the_example_configuration_has_every_default() {
    let (text, all) = example();
    let path = Path::new("docs/example.yml");
    let read = Config::parse(&text, path).expect("good");
    assert_eq!(read, Config::without_file().expect("good"));
    let read = Config::parse(&all, path).expect("good with every key, too");
    assert_eq!(read.targets.map(|targets| targets.len()), Some(2));
    assert_eq!(read.channel.metadata.len(), 1);
    assert_ne!(
        read.channel.security,
        Config::without_file().expect("good").channel.security
    );
}

/// The keys that a part of the configuration may have. The error for an unknown key lists them.
fn keys(part: &str) -> Vec<String> {
    let text = match part {
        "" => "no_key: 1".to_owned(),
        part => part
            .rsplit('.')
            .fold("no_key: 1".to_owned(), |inner, key| format!("{key}: {{{inner}}}")),
    };
    let error = Config::parse(&text, Path::new("x"))
        .expect_err("an unknown key")
        .to_string();
    let (_, list) = error
        .split_once("expected one of ")
        .unwrap_or_else(|| panic!("{error}"));
    list.split(", ")
        .map(|key| key.trim_matches('`').to_owned())
        .collect()
}

#[test]
fn the_example_configuration_has_every_key() {
    let (_, all) = example();
    for part in ["", "channel", "channel.backoff", "channel.tls", "databases"] {
        for key in keys(part) {
            let there = all.split(|c: char| !(c.is_ascii_lowercase() || c == '_' || c == ':'));
            let there: Vec<&str> = there.collect();
            assert!(
                there.contains(&format!("{key}:").as_str()),
                "docs/example.yml has no {key} of {part:?}"
            );
        }
    }
}
