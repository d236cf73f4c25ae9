//! Whether a file has changed, without reading it.
//!
//! A file that is just being written may be read half. So a change counts once the file has rested: its time is at least a second
//! old, or it looked the same at the look before. A file that was prepared and then moved into place, as Kubernetes does with a link,
//! counts at once.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How old the time of a file must be: editors and `cat >` write within that.
const REST: Duration = Duration::from_secs(1);

/// What the file system tells of a file; `None`: there is none, or it cannot be reached. Links are followed, so another file behind a link is another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(Option<FileMark>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileMark {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds, of the content and of the inode.
    times: [i64; 4],
}

impl Stamp {
    /// Looks at the file. Blocks.
    pub fn of(path: &Path) -> Self {
        let about = |path: &Path| -> io::Result<FileMark> {
            let found = std::fs::metadata(path)?;
            Ok(FileMark {
                device: found.dev(),
                inode: found.ino(),
                size: found.size(),
                times: [
                    found.mtime(),
                    found.mtime_nsec(),
                    found.ctime(),
                    found.ctime_nsec(),
                ],
            })
        };
        Self(about(path).ok())
    }

    /// Whether there is a file.
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }

    fn has_rested(&self, now: SystemTime) -> bool {
        self.0.is_some_and(|about| {
            let changed = Duration::from_secs(u64::try_from(about.times[0]).unwrap_or(0));
            now.duration_since(SystemTime::UNIX_EPOCH + changed)
                .is_ok_and(|age| age > REST)
        })
    }
}

/// Follows the stamps of one file. Pure.
#[derive(Debug)]
pub struct StampLog {
    /// Of the content that is in use.
    used: Stamp,
    /// At the look before.
    last: Stamp,
}

impl StampLog {
    /// The file was read after it had this stamp.
    pub fn new(used: Stamp) -> Self {
        Self { used, last: used }
    }

    /// Takes the next look. True: the file has changed and has rested, so it may be read.
    pub fn look(&mut self, seen: Stamp, now: SystemTime) -> bool {
        let same = std::mem::replace(&mut self.last, seen) == seen;
        let due = seen != self.used && (same || seen.has_rested(now));
        if due {
            self.used = seen;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: i64 = 1_000;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn stamp(inode: u64, second: i64) -> Stamp {
        Stamp(Some(FileMark {
            device: 1,
            inode,
            size: 10,
            times: [second, 0, second, 0],
        }))
    }

    #[test]
    fn a_change_counts_once_when_the_file_has_rested() {
        let mut log = StampLog::new(stamp(1, OLD));
        assert!(!log.look(stamp(1, OLD), at(1_010)));
        // It is being written.
        assert!(!log.look(stamp(1, 1_012), at(1_012)));
        assert!(!log.look(stamp(1, 1_013), at(1_014)), "and again");
        assert!(log.look(stamp(1, 1_013), at(1_016)));
        assert!(!log.look(stamp(1, 1_013), at(1_018)), "once");
        // Kubernetes: the new file was written before the link to it changed.
        assert!(log.look(stamp(2, 1_015), at(1_020)));
        // A clock of another host, in the future.
        assert!(!log.look(stamp(2, 9_000), at(1_022)));
        assert!(log.look(stamp(2, 9_000), at(1_024)));
    }

    #[test]
    fn a_file_that_is_gone_is_a_change_at_the_second_look() {
        let mut log = StampLog::new(stamp(1, OLD));
        assert!(!log.look(Stamp(None), at(1_010)), "it may be replaced");
        assert!(log.look(Stamp(None), at(1_012)));
        assert!(log.look(stamp(1, OLD), at(1_014)), "it is back");
    }

    #[test]
    fn a_link_to_another_file_is_another_stamp() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        for name in ["a", "b"] {
            std::fs::create_dir(path(name)).expect("a directory");
            std::fs::write(path(name).join("config.yml"), "{}").expect("written");
        }
        // As Kubernetes does it: config.yml -> ..data/config.yml, ..data -> a.
        std::os::unix::fs::symlink(path("a"), path("..data")).expect("a link");
        std::os::unix::fs::symlink("..data/config.yml", path("config.yml")).expect("a link");
        let before = Stamp::of(&path("config.yml"));
        std::os::unix::fs::symlink(path("b"), path("..tmp")).expect("a link");
        std::fs::rename(path("..tmp"), path("..data")).expect("renamed");
        let after = Stamp::of(&path("config.yml"));
        assert!(before.is_there() && after.is_there() && before != after);
        assert!(!Stamp::of(&path("none")).is_there());
    }
}
