//! Which files `file_sd` reads: a path, whose last part may be a pattern.

use std::path::{Path, PathBuf};

use glob::Pattern;

use super::scalar::Scalar;

/// One file, or all files of a directory with such names.
#[derive(Debug, Clone, PartialEq)]
pub struct FilePattern {
    /// As it is written.
    pub path: PathBuf,
    /// The last part of the path, if it has wildcards.
    pub names: Option<Pattern>,
}

impl Scalar for FilePattern {
    const EXPECTED: &'static str = "the path of a file that ends in .json, .yml or .yaml; its last part may have * ? and [...], such as targets/*.yml";

    fn parse(text: &str) -> Option<Self> {
        let path = Path::new(text);
        let is_known = ["json", "yml", "yaml"]
            .iter()
            .any(|end| path.extension().is_some_and(|is| is == *end));
        let directory = path.parent()?.to_str()?;
        if !is_known || is_pattern(directory) {
            return None;
        }
        let name = path.file_name()?.to_str()?;
        let names = match is_pattern(name) {
            true => Some(Pattern::new(&in_crates_words(name)).ok()?),
            false => None,
        };
        Some(Self {
            path: path.into(),
            names,
        })
    }
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// For the crate `glob` what Go, and so Prometheus, writes in another way: `[^a]` is `[!a]`. And `**` is `*` within a name.
fn in_crates_words(name: &str) -> String {
    let mut words = name.replace("[^", "[!");
    while words.contains("**") {
        words = words.replace("**", "*");
    }
    words
}
