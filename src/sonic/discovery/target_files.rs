//! `file_sd`: files that list targets. They are looked at each 2 s and read when they have changed, and also each `refresh`.
//!
//! A file that cannot be read keeps its last good content. A file that matched a pattern and is gone has no targets any more; a path
//! without one, or with one that matches nothing, is a failure: an empty directory is more often a mount that is missing than a
//! fleet without SoCs. `[]` in a file says that.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use glob::MatchOptions;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::source_report::SourceReport;
use super::target_groups::Groups;
use crate::config::files::{self, PATIENCE, Reader};
use crate::config::stamp::{Stamp, StampLog};
use crate::config::{FilePattern, FileSource, yaml};
use crate::model::text;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The most files of one source.
const MOST_FILES: usize = 10_000;

/// A hidden file matches only a pattern that begins with a dot.
const AS_A_SHELL: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// The files that there are, and the paths at which there is none.
type Listing = (BTreeMap<PathBuf, Stamp>, Vec<String>);

/// One file.
struct TargetFile {
    stamps: StampLog,
    groups: Groups,
    /// Why its content is not the latest.
    wrong: Option<String>,
}

/// Follows the files. Never ends.
pub(super) async fn follow(source: &FileSource, report: &mut SourceReport) {
    let mut followed = FollowedFiles {
        source,
        reader: Reader::default(),
        files: BTreeMap::new(),
        missing: Vec::new(),
        read_all: Instant::now(),
    };
    let mut looks = interval(LOOK_EVERY.min(source.refresh));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut blind = false;
    loop {
        looks.tick().await;
        let look = followed.look().await;
        let was_blind = std::mem::replace(&mut blind, look.is_err());
        match look {
            Ok(different) if different || was_blind => followed.emit(report),
            Ok(_) if followed.failure().is_none() => report.same(),
            Ok(_) => {}
            Err(reason) => report.failed(&reason),
        }
    }
}

struct FollowedFiles<'a> {
    source: &'a FileSource,
    reader: Reader,
    files: BTreeMap<PathBuf, TargetFile>,
    missing: Vec<String>,
    /// When all are read again.
    read_all: Instant,
}

impl FollowedFiles<'_> {
    /// Looks at all files, and reads what is due. True: something may be different.
    async fn look(&mut self) -> Result<bool, String> {
        let patterns = self.source.files.clone();
        let listing = self.reader.read(PATIENCE, move || list(&patterns)).await;
        let (found, missing) = listing.map_err(|unread| unread.to_string())??;
        let all = Instant::now() >= self.read_all;
        let mut different = missing != self.missing;
        self.missing = missing;
        if self.missing.is_empty() {
            let before = self.files.len();
            self.files.retain(|path, _| found.contains_key(path));
            different |= self.files.len() != before;
        }
        let mut due = Vec::new();
        for (path, stamp) in found {
            let changed = match self.files.get_mut(&path) {
                Some(file) => file.stamps.look(stamp, SystemTime::now()),
                None => {
                    let file = TargetFile {
                        stamps: StampLog::new(stamp),
                        groups: Groups::default(),
                        wrong: None,
                    };
                    self.files.insert(path.clone(), file);
                    true
                }
            };
            if changed || all {
                due.push(path);
            }
        }
        if all {
            self.read_all = Instant::now() + self.source.refresh;
        }
        different |= !due.is_empty();
        for path in due {
            let file = path.clone();
            // The name of a source with one file has its path.
            let named = !matches!(&*self.source.files, [only] if only.path == path);
            let read = self.reader.read(PATIENCE, move || read(&file, named)).await;
            let read = read.unwrap_or_else(|unread| Err(unread.to_string()));
            let Some(file) = self.files.get_mut(&path) else {
                continue;
            };
            match read {
                Ok(groups) => (file.groups, file.wrong) = (groups, None),
                Err(reason) => file.wrong = Some(format!("{}: {reason}", text::quote(path.display()))),
            }
        }
        Ok(different)
    }

    /// The first thing that is wrong.
    fn failure(&self) -> Option<&str> {
        let wrong = self.files.values().find_map(|file| file.wrong.as_deref());
        self.missing.first().map(String::as_str).or(wrong)
    }

    fn emit(&self, report: &mut SourceReport) {
        let mut groups = Groups::default();
        for file in self.files.values() {
            groups.extend(&file.groups);
        }
        match self.failure() {
            None => report.good(groups),
            // Before any file was read, a source that was read in another way knows more.
            Some(reason) if self.files.is_empty() => report.failed(reason),
            Some(reason) => report.partly_good(groups, reason),
        }
    }
}

/// The files that these patterns name. Blocks.
fn list(patterns: &[FilePattern]) -> Result<Listing, String> {
    let (mut files, mut missing) = (BTreeMap::new(), Vec::new());
    for FilePattern { path, names } in patterns {
        let shown = || text::quote(path.display());
        let Some(names) = names else {
            let stamp = Stamp::of(path);
            match stamp.is_there() {
                true => drop(files.insert(path.clone(), stamp)),
                false => missing.push(format!("{}: there is no such file", shown())),
            }
            continue;
        };
        let directory = path
            .parent()
            .filter(|path| !path.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => {
                missing.push(format!("{}: {error}", text::quote(directory.display())));
                continue;
            }
        };
        let mut matches = 0;
        for entry in entries {
            let entry = entry.map_err(|error| format!("{}: {error}", text::quote(directory.display())))?;
            if !entry
                .file_name()
                .to_str()
                .is_some_and(|name| names.matches_with(name, AS_A_SHELL))
            {
                continue;
            }
            matches += 1;
            files.insert(entry.path(), Stamp::of(&entry.path()));
            if files.len() > MOST_FILES {
                return Err(format!("expected at most {MOST_FILES} files"));
            }
        }
        if matches == 0 {
            missing.push(format!("{}: no file has such a name", shown()));
        }
    }
    Ok((files, missing))
}

/// The content of one file, with its name if it is to be `named`. Blocks.
fn read(path: &Path, named: bool) -> Result<Groups, String> {
    let text = files::read_text(path, yaml::MAX_MIB).map_err(|error| format!("cannot be read: {error}"))?;
    let groups = match path.extension().is_some_and(|end| end == "json") {
        true => Groups::of_json(text.as_bytes()),
        false => Groups::of_yaml(&text),
    }?;
    Ok(match named {
        true => groups.of_file(&text::quote(path.display()).into()),
        false => groups,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, SourceOrigin};

    fn listed(directory: &Path, pattern: &str) -> Vec<String> {
        let yaml =
            format!("databases: {{publish: off}}\ninventory: [{{file_sd: {{files: ['{pattern}']}}}}]\n");
        let config = Config::parse(&yaml, &directory.join("config.yml")).expect("valid");
        let SourceOrigin::Files(source) = &config.inventory[0].origin else {
            panic!("files")
        };
        let (files, missing) = list(&source.files).expect("a list");
        assert_eq!(missing.is_empty(), !files.is_empty(), "{missing:?}");
        let name = |path: &PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
        files.keys().map(name).collect()
    }

    #[test]
    fn a_pattern_names_what_it_names_in_a_shell() {
        let directory = tempfile::tempdir().expect("a directory");
        let names = [
            "r1.yml",
            "r17.yml",
            "r2-a1.json",
            "r2-b1.json",
            ".r3.yml",
            "r4.yml.tmp",
        ];
        for name in names {
            std::fs::write(directory.path().join(name), "[]").expect("written");
        }
        let none: [&str; 0] = [];
        for (pattern, expected) in [
            ("*.yml", &["r1.yml", "r17.yml"][..]),
            (".*.yml", &[".r3.yml"]),
            ("r*-a*.json", &["r2-a1.json"]),
            ("**.json", &["r2-a1.json", "r2-b1.json"]),
            ("r?.yml", &["r1.yml"]),
            ("r2-[a-c]1.json", &["r2-a1.json", "r2-b1.json"]),
            ("r2-[^a]1.json", &["r2-b1.json"]),
            ("r[0-9].json", &none),
            ("r1.yml", &["r1.yml"]),
        ] {
            assert_eq!(listed(directory.path(), pattern), expected, "{pattern}");
        }
    }
}
