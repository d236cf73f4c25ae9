//! Writes THIRD-PARTY-NOTICES: the licence texts of every crate in the program, as their licences require.
//!
//! Receives the name of the file to write. Gets the crates from `cargo metadata` and reads the licence files in their sources. If
//! crates have no licence text, it fails and names them: then they need an entry in `WITHOUT_TEXT`. `make notices` runs it at
//! each release. The file is not in git, because it would be wrong after the next update of Cargo.lock.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

/// The program whose crates are listed. Simulator and tests are not part of a release.
const PROGRAM: &str = "dualtor-exporter";

/// The processors that a release is built for. The notices have the crates of all of them.
const TARGETS: [&str; 3] = [
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "armv7-unknown-linux-gnueabihf",
];

/// Beginnings of the names of licence files, in lower case.
const NAMES: [&str; 6] = [
    "license",
    "licence",
    "copying",
    "copyright",
    "notice",
    "unlicense",
];

/// Crates without such a file that are licensed under Apache-2.0, whose text is our own LICENSE. All others must have a file.
const OURS: &str = "Apache-2.0";

/// Crates without a licence file and without Apache-2.0, each with a crate of the same repository and licence that has the
/// text. Found by hand.
const WITHOUT_TEXT: [(&str, &str); 0] = [];

/// A crate in the program.
#[derive(Debug)]
struct Package {
    name: String,
    version: String,
    licence: String,
    directory: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let file = std::env::args_os().nth(1).context("usage: notices FILE")?;
    let packages = linked(&metadata()?)?;
    let text = notices(&packages)?;
    std::fs::write(&file, text).with_context(|| format!("{}", Path::new(&file).display()))
}

/// cargo's metadata of all crates, for the processors of a release.
fn metadata() -> anyhow::Result<Value> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["metadata", "--locked", "--format-version", "1"]);
    for target in TARGETS {
        command.args(["--filter-platform", target]);
    }
    let output = command.output().context("cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The crates that are linked into the program: its dependencies, direct and indirect, without those of build scripts and tests,
/// and without macros, which run in the compiler.
fn linked(metadata: &Value) -> anyhow::Result<Vec<Package>> {
    let by_id = |list: &'static str, of: &Value| -> BTreeMap<String, Value> {
        let entries = of[list].as_array().into_iter().flatten();
        entries.map(|entry| (text(&entry["id"]), entry.clone())).collect()
    };
    let packages = by_id("packages", metadata);
    let nodes = by_id("nodes", &metadata["resolve"]);

    let own = packages.values().find(|package| package["name"] == PROGRAM);
    let own = text(&own.with_context(|| format!("cargo metadata names no {PROGRAM}"))?["id"]);
    let (mut seen, mut todo) = (BTreeSet::new(), vec![own.clone()]);
    while let Some(id) = todo.pop() {
        if is_macro(&packages[&id]) || !seen.insert(id.clone()) {
            continue;
        }
        let dependencies = nodes[&id]["deps"].as_array().into_iter().flatten();
        // The kind of a normal dependency is null; the others are `build` and `dev`.
        let normal = dependencies.filter(|dependency| {
            let mut kinds = dependency["dep_kinds"].as_array().into_iter().flatten();
            kinds.any(|kind| kind["kind"].is_null())
        });
        todo.extend(normal.map(|dependency| text(&dependency["pkg"])));
    }

    let mut linked: Vec<Package> = seen
        .iter()
        // Crates of this project have no `source` and are under our LICENSE.
        .filter(|id| !packages[*id]["source"].is_null())
        .map(|id| package(&packages[id]))
        .collect();
    linked.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    ensure!(!linked.is_empty(), "{own} has no dependencies?");
    Ok(linked)
}

fn package(package: &Value) -> Package {
    let manifest = PathBuf::from(text(&package["manifest_path"]));
    Package {
        name: text(&package["name"]),
        version: text(&package["version"]),
        licence: text(&package["license"]),
        directory: manifest.parent().map(Path::to_path_buf).unwrap_or_default(),
    }
}

fn is_macro(package: &Value) -> bool {
    let targets = package["targets"].as_array().into_iter().flatten();
    let mut kinds = targets.flat_map(|target| target["kind"].as_array().into_iter().flatten());
    kinds.any(|kind| kind == "proc-macro")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The licence files in a crate's source, including those of bundled C code (jemalloc in tikv-jemalloc-sys, BoringSSL in
/// ring).
fn licence_files(directory: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(directory).with_context(|| format!("{}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase());
        let name = name.unwrap_or_default();
        if path.is_dir() {
            licence_files(&path, found)?;
        } else if NAMES.iter().any(|start| name.starts_with(start)) && !name.ends_with(".rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// The whole file: a list of the crates, then each text once, with the crates that use it.
fn notices(packages: &[Package]) -> anyhow::Result<String> {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut missing = Vec::new();
    for package in packages {
        let title = format!("{} {}", package.name, package.version);
        let elsewhere = WITHOUT_TEXT.iter().find(|(name, _)| *name == package.name);
        let elsewhere =
            elsewhere.and_then(|(_, other)| packages.iter().find(|package| package.name == *other));
        let mut files = Vec::new();
        licence_files(&package.directory, &mut files)?;
        if let (true, Some(other)) = (files.is_empty(), elsewhere) {
            licence_files(&other.directory, &mut files)?;
        }
        for file in &files {
            let bytes = std::fs::read(file).with_context(|| format!("{}", file.display()))?;
            let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
            let whose = texts.entry(text.trim_matches('\n').to_owned()).or_default();
            // One crate may have the same text twice.
            if whose.last() != Some(&title) {
                whose.push(title.clone());
            }
        }
        if files.is_empty() && !package.licence.contains(OURS) {
            missing.push(format!("{title} ({})", package.licence));
        }
    }
    if !missing.is_empty() {
        bail!(
            "no licence file in the sources of {}: find the text and add it to WITHOUT_TEXT in scripts/notices.rs",
            missing.join(", ")
        );
    }
    Ok(page(packages, &texts)?)
}

fn page(packages: &[Package], texts: &BTreeMap<String, Vec<String>>) -> Result<String, std::fmt::Error> {
    let rule = "=".repeat(100);
    let mut page = String::new();
    writeln!(
        page,
        "THIRD-PARTY NOTICES\n\n\
         {PROGRAM} is under the Apache License 2.0 (file LICENSE). It contains the crates below, each under its own\n\
         licence, and Rust's standard library (MIT OR Apache-2.0). A crate that offers Apache-2.0 as a choice and has no\n\
         text below is used under Apache-2.0. Written by `make notices`; do not edit.\n"
    )?;
    for package in packages {
        writeln!(
            page,
            "  {} {}: {}",
            package.name, package.version, package.licence
        )?;
    }
    for (text, whose) in texts {
        writeln!(page, "\n{rule}\n{}\n{rule}\n\n{text}", whose.join(", "))?;
    }
    Ok(page)
}
