//! Files that are read by their path: configuration, certificates, SONiC's JSON, scenarios.
//!
//! Whatever is at a path, reading it must end: a pipe would hang us, a device would fill the memory, and both may replace a
//! file between a check and an open. So a file is opened without waiting, checked once it is open, and read up to a limit. No
//! flag helps against a file system that hangs: callers that must not hang use a [`Reader`].

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::runtime::defect::Defect;

/// How long a file may take to be read and parsed. Usually it is milliseconds; with 200,000 targets and little CPU, some
/// seconds.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How many readers may hang at the same time: each is a thread that nothing can end.
const MOST_HANGING: usize = 4;

/// The content of a regular file of `most_mib` MiB at most. Blocks only if its file system hangs.
pub fn read(path: &Path, most_mib: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(not_regular());
    }
    let most = most_mib * 1024 * 1024;
    if about.len() > most {
        return Err(io::Error::other(format!(
            "expected at most {most_mib} MiB, got {} MiB",
            about.len().div_ceil(1024 * 1024)
        )));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(about.len()).unwrap_or(0));
    // The file may grow while it is read, and a file of /proc has size 0.
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("expected at most {most_mib} MiB")));
    }
    Ok(bytes)
}

/// The same for text files: YAML, JSON.
pub fn read_text(path: &Path, most_mib: u64) -> io::Result<String> {
    let text = String::from_utf8(read(path, most_mib)?);
    text.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

/// Opens whatever is there without waiting: not for the other end of a pipe, not for a modem's carrier.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    // Here the kernel's flags are an int. They fit.
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    opened.map_err(|error| match Errno::from_io_error(&error) {
        // A socket.
        Some(Errno::NXIO) => not_regular(),
        _ => error,
    })
}

fn not_regular() -> io::Error {
    io::Error::other("expected a regular file")
}

/// Reads on separate threads, and waits for each read only for a limited time.
#[derive(Debug, Default)]
pub struct Reader {
    /// How many threads read now.
    reading: Arc<AtomicUsize>,
}

/// Why nothing was read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// The file system hangs, or is very slow.
    #[error("not read within {0:?}: its file system hangs (a network mount?), check it and try again")]
    Late(Duration),
    /// Too many earlier reads still hang.
    #[error("{0} earlier reads still hang: check the file system, then restart")]
    TooMany(usize),
    /// A defect.
    #[error("not read, the reader has panicked: {0}")]
    Panicked(Defect),
    /// The runtime is shutting down.
    #[error("not read, the exporter is stopping")]
    Stopped,
}

/// Counts a thread that reads, until it ends.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Reader {
    /// Runs `read` on a thread. A read that is too late continues, and its result is dropped.
    pub async fn read<T: Send + 'static>(
        &self,
        within: Duration,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unread> {
        let counted = Counted(self.reading.clone());
        if self.reading.fetch_add(1, Ordering::Relaxed) >= MOST_HANGING {
            return Err(Unread::TooMany(MOST_HANGING));
        }
        let read = tokio::task::spawn_blocking(move || {
            let _counted = counted;
            read()
        });
        match tokio::time::timeout(within, read).await {
            Ok(Ok(read)) => Ok(read),
            Ok(Err(error)) => Err(Defect::of_task(error).map_or(Unread::Stopped, Unread::Panicked)),
            Err(_) => Err(Unread::Late(within)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn only_a_regular_file_of_a_sane_size_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        let check = |name: &str, expected: Result<usize, &str>| {
            let read = read(&path(name), 1).map(|bytes| bytes.len());
            assert_eq!(
                read.as_ref().map_err(ToString::to_string),
                expected.as_ref().map_err(|e| (*e).to_owned()),
                "{name}"
            );
        };
        std::fs::write(path("file"), "text").expect("written");
        check("file", Ok(4));
        std::fs::write(path("full"), vec![0; 1024 * 1024]).expect("written");
        check("full", Ok(1024 * 1024));
        std::fs::write(path("more"), vec![0; 1024 * 1024 + 1]).expect("written");
        check("more", Err("expected at most 1 MiB, got 2 MiB"));
        std::os::unix::fs::symlink("/dev/zero", path("device")).expect("a link");
        std::fs::create_dir(path("directory")).expect("a directory");
        let _socket = UnixListener::bind(path("socket")).expect("a socket");
        for name in ["device", "directory", "socket"] {
            check(name, Err("expected a regular file"));
        }
        assert_eq!(
            read(&path("none"), 1).map_err(|e| e.kind()),
            Err(io::ErrorKind::NotFound)
        );
        assert!(
            !read(Path::new("/proc/self/stat"), 1)
                .expect("readable")
                .is_empty()
        );
    }

    #[test]
    fn a_pipe_that_takes_the_files_place_after_a_look_hangs_nobody() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.expect("mkfifo").success());
        let (tx, rx) = mpsc::channel();
        // What hangs must not hang the test.
        std::thread::spawn(move || tx.send(open(&path).map(|_| ()).is_ok()));
        assert_eq!(rx.recv_timeout(Duration::from_secs(10)), Ok(true));
    }

    #[tokio::test]
    async fn what_hangs_is_given_up_and_the_next_read_is_served() {
        let reader = Reader::default();
        let mut ends = Vec::new();
        for _ in 0..MOST_HANGING {
            let (end, hangs) = mpsc::channel::<()>();
            ends.push(end);
            let brief = Duration::from_millis(20);
            let late = reader.read(brief, move || hangs.recv()).await;
            assert_eq!(late.map(|_| ()), Err(Unread::Late(brief)));
            if ends.len() < MOST_HANGING {
                assert_eq!(reader.read(PATIENCE, || 7).await, Ok(7));
            }
        }
        assert_eq!(
            reader.read(PATIENCE, || 7).await,
            Err(Unread::TooMany(MOST_HANGING))
        );
        drop(ends);
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while reader.read(PATIENCE, || 7).await != Ok(7) {
            assert!(std::time::Instant::now() < deadline, "the threads have ended");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let panicked = reader.read(PATIENCE, || -> u8 { panic!("a defect") }).await;
        assert!(
            matches!(&panicked, Err(Unread::Panicked(defect)) if defect.to_string().contains("a defect")),
            "{panicked:?}"
        );
    }
}
