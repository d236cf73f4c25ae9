//! The pages that describe the code are true: ARCHITECTURE.md and docs/invariants.md name files and items that exist, and each
//! folder of src/ has a page that says what it owns and what it may import.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::imports::{Crate, Name};

/// The content of the last cell of a table's row: names in backticks, each followed by the file that has it, and files alone.
#[derive(Debug, PartialEq)]
struct Named<'a> {
    items: Vec<&'a str>,
    file: &'a str,
}

fn named(row: &str) -> Vec<Named<'_>> {
    let cell = row
        .trim()
        .trim_end_matches('|')
        .rsplit(" | ")
        .next()
        .unwrap_or("");
    let of_a_path = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let mut all = Vec::new();
    let mut items = Vec::new();
    // Odd places are between backticks.
    for (n, part) in cell.split('`').enumerate() {
        if n % 2 == 1 {
            let name = part.rsplit("::").next().unwrap_or(part);
            items.push(name.trim_end_matches('!'));
            continue;
        }
        for word in part.split(|c: char| !of_a_path(c)) {
            let file = word.trim_end_matches('.');
            let is_rust = Path::new(file).extension().is_some_and(|ending| ending == "rs");
            let is_path = file.contains('/') && !file.starts_with('/');
            if is_rust || is_path {
                let items = std::mem::take(&mut items);
                all.push(Named { items, file });
            }
        }
    }
    all
}

/// Paths are in src/ or in the repository.
fn found(root: &Path, file: &str) -> Option<PathBuf> {
    let places = [root.join("src").join(file), root.join(file)];
    places.into_iter().find(|path| path.exists())
}

fn has(text: &str, name: &str) -> bool {
    let part_of_a_name = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(name).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        !part_of_a_name(before.chars().next_back()) && !part_of_a_name(after.chars().next())
    })
}

#[test]
fn each_file_and_each_item_that_the_pages_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut count, mut wrong) = (0, Vec::new());
    for page in ["ARCHITECTURE.md", "docs/invariants.md"] {
        let text = std::fs::read_to_string(root.join(page)).expect("a page");
        // The table of folders has links, which documents.rs follows.
        let rows = text
            .lines()
            .filter(|line| line.starts_with('|') && !line.contains("]("));
        for Named { items, file } in rows.flat_map(named) {
            let Some(path) = found(root, file) else {
                wrong.push(format!("{page}: there is no {file}"));
                continue;
            };
            count += items.len();
            if path.is_file() {
                let source = std::fs::read_to_string(&path).expect("a file");
                let missing = items.iter().filter(|item| !has(&source, item));
                wrong.extend(missing.map(|item| format!("{page}: {file} has no {item}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(count > 80, "{count} items");
}

/// A folder's page: the `//!` lines of the file that has the folder's name.
fn page_of(folder: &Name) -> String {
    let path = super::source().join(format!("{}.rs", folder.join("/")));
    let text = std::fs::read_to_string(path).expect("a page");
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    lines.map(str::trim).collect::<Vec<_>>().join("\n")
}

/// The sentence that begins with "Imports", and the text before it.
fn imports_sentence(page: &str) -> Option<(&str, &str)> {
    let begins = |at: &usize| page[..*at].trim_end().ends_with(['.', '|']) || page[..*at].ends_with("\n\n");
    let mut found = page.match_indices("Imports ").map(|(at, _)| at);
    let at = found.find(begins)?;
    let sentence = &page[at..];
    let ends = [". ", ".\n"].iter().filter_map(|end| sentence.find(end)).min();
    Some((&page[..at], &sentence[..ends.unwrap_or(sentence.len())]))
}

/// Whether a folder's page permits to import a module of this name.
fn permits(sentence: &str, module: &str) -> bool {
    let named = sentence.split('`').skip(1).step_by(2).any(|name| name == module);
    // "every folder but ..." names the exceptions.
    named != sentence.starts_with("Imports every ")
}

#[test]
fn each_folders_page_says_what_it_owns_and_what_it_may_import() {
    let all = Crate::read(&super::source());
    let needs = all.needs();
    let is_folder = |name: &&Name| {
        needs
            .keys()
            .any(|other| other.len() > name.len() && other.starts_with(name))
    };
    let folders: Vec<&Name> = needs
        .keys()
        .copied()
        .filter(|name| !name.is_empty())
        .filter(is_folder)
        .collect();
    let (mut count, mut wrong) = (0, Vec::new());
    for folder in &folders {
        let page = page_of(folder);
        let name = folder.join("/");
        let Some((owns, imports)) = imports_sentence(&page) else {
            wrong.push(format!(
                "src/{name}.rs: no sentence of its page begins with \"Imports\""
            ));
            continue;
        };
        if !owns.contains('.') {
            wrong.push(format!(
                "src/{name}.rs: its page does not say first what the folder owns"
            ));
        }
        let inside = needs.iter().filter(|(file, _)| file.starts_with(folder));
        let outside = inside
            .flat_map(|(_, needed)| needed)
            .filter(|needed| !needed.starts_with(folder));
        // Named is the first module that is not on the way to this folder: of soc/channel/tls, `socket` and not `soc`.
        let shared = |needed: &Name| {
            needed
                .iter()
                .zip(folder.iter())
                .take_while(|(a, b)| a == b)
                .count()
        };
        let needed: BTreeSet<&str> = outside.map(|needed| &*needed[shared(needed)]).collect();
        count += needed.len();
        let missing = needed.into_iter().filter(|module| !permits(imports, module));
        wrong.extend(
            missing.map(|module| format!("src/{name}.rs: its page does not say that it imports `{module}`")),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(
        folders.len() > 20 && count > 70,
        "{} folders, {count} imports",
        folders.len()
    );
}

#[test]
fn an_imports_sentence_is_read_as_a_reader_does() {
    let (owns, imports) =
        imports_sentence("Owns x. Imports `a` and\n`b`; in `c` `d`. It is `e`.").expect("a sentence");
    assert_eq!((owns, imports), ("Owns x. ", "Imports `a` and\n`b`; in `c` `d`"));
    assert!(permits(imports, "a") && permits(imports, "d") && !permits(imports, "e"));
    assert_eq!(imports_sentence("Owns `Imports x`."), None);
    assert!(
        !permits("Imports every folder but `cli`", "cli") && permits("Imports every folder but `cli`", "web")
    );
    assert!(!permits("Imports no other folder", "model"));
}

#[test]
fn a_row_is_read_as_a_reader_does() {
    let row = "| why (`x`) | `A::b` and `c!` in soc/look.rs; soc/probe/ and `d` (tests/it/web.rs) |";
    let read = |items: &[&'static str], file| Named {
        items: items.to_vec(),
        file,
    };
    let expected = [
        read(&["b", "c"], "soc/look.rs"),
        read(&[], "soc/probe/"),
        read(&["d"], "tests/it/web.rs"),
    ];
    assert_eq!(named(row), expected);
    assert!(has("fn b(", "b") && !has("fn bb(", "b"));
}
