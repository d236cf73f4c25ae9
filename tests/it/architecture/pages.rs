//! What ARCHITECTURE.md and docs/invariants.md name is there: a reader who is sent to a file finds in it what the page promises.

use std::path::{Path, PathBuf};

/// What stands in the last cell of a table's row: names in backticks, each followed by the file that has it, and files alone.
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
