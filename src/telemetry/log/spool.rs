//! A bounded queue in front of stderr or stdout, and the thread that writes. The reader of the pipe may hang, or the disk may be
//! full; probing must not wait for them. A line that finds no room or cannot be written is dropped and counted.
//!
//! Not tracing-appender: it limits lines and not bytes, loses lines without counting them when a write fails, and prints to
//! stdout when it cannot stop in time, where it may hang again.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::quiet::{Key, Quiet};
use crate::runtime::defect;

/// Most bytes that may wait: the lines of some thousand transitions at once. More would take the switch's memory for a log that
/// is not read.
const MOST: usize = 1024 * 1024;
/// Most bytes in one write.
const BATCH: usize = 64 * 1024;
/// Wait before the next write if another process has made the descriptor non-blocking.
const PATIENCE: Duration = Duration::from_millis(10);

/// The way in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Spool(Arc<SpoolState>);

#[derive(Debug)]
struct SpoolState {
    // A std mutex: it is held only for an operation on a queue or a map, never during a write.
    state: Mutex<Waiting>,
    changed: Condvar,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Waiting {
    waiting: VecDeque<Box<[u8]>>,
    /// Bytes of all lines that wait or are being written.
    bytes: usize,
    writing: bool,
    quiet: Quiet,
    /// During a flush, lines that wait in `quiet` are written at once.
    flushing: bool,
}

impl Spool {
    /// Starts the thread that writes to `output`.
    pub fn start(output: &impl AsFd) -> Self {
        let shared = Arc::new(SpoolState {
            state: Mutex::default(),
            changed: Condvar::new(),
            dropped: Arc::default(),
        });
        let writes = shared.clone();
        // A duplicated descriptor: a write that hangs would hold the lock of std's handle.
        if let Ok(output) = output.as_fd().try_clone_to_owned().map(File::from) {
            let work = move || while defect::attempt(|| writes.write_to(&output)).is_err() {};
            // If there is no thread, lines are dropped and counted.
            let _ = std::thread::Builder::new().name("log".to_owned()).spawn(work);
        }
        Self(shared)
    }

    /// Takes a line, which ends in a newline. Never waits.
    pub fn push(&self, line: String) {
        self.0.put(&mut self.0.lock(), line);
    }

    /// Takes a line whose topic is limited (`quiet`): it may be written later, or be left out.
    pub(super) fn push_quietly(&self, key: Key, line: String) {
        let mut state = self.0.lock();
        match state.quiet.take(key, line, Instant::now()) {
            Ok(Some(line)) => self.0.put(&mut state, line),
            // The thread may have to wake up earlier for this line.
            Ok(None) => self.0.changed.notify_all(),
            Err(_) => self.0.drop_lines(1),
        }
    }

    /// How many lines were dropped so far; shared with the log.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        self.0.dropped.clone()
    }

    /// Waits until everything is written, at most `within`.
    pub fn flush(&self, within: Duration) {
        let deadline = Instant::now() + within;
        let mut state = self.0.lock();
        state.flushing = true;
        self.0.changed.notify_all();
        while state.writing || !state.waiting.is_empty() || state.quiet.next().is_some() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                break;
            };
            (state, _) = self
                .0
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.flushing = false;
    }
}

impl SpoolState {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drop_lines(&self, lines: u64) {
        self.dropped.fetch_add(lines, Ordering::Relaxed);
    }

    fn put(&self, state: &mut Waiting, line: String) {
        if state.bytes + line.len() > MOST {
            return self.drop_lines(1);
        }
        state.bytes += line.len();
        state.waiting.push_back(line.into_bytes().into());
        self.changed.notify_all();
    }

    fn write_to(&self, output: &File) {
        let mut torn = false;
        loop {
            let batch = self.next_batch();
            let mut text: Vec<u8> = Vec::new();
            if torn {
                text.push(b'\n');
            }
            let ends: Vec<usize> = batch
                .iter()
                .map(|line| {
                    text.extend_from_slice(line);
                    text.len()
                })
                .collect();
            let (written, _) = write(output, &text);
            torn = written < text.len() && !text[..written].ends_with(b"\n") && (torn || written > 0);
            self.drop_lines(ends.iter().filter(|end| **end > written).count() as u64);
            let mut state = self.lock();
            state.bytes -= batch.iter().map(|line| line.len()).sum::<usize>();
            state.writing = false;
            self.changed.notify_all();
        }
    }

    /// Waits for lines and takes some of them.
    fn next_batch(&self) -> Vec<Box<[u8]>> {
        let mut state = self.lock();
        loop {
            let (now, flushing) = (Instant::now(), state.flushing);
            for line in state.quiet.release(now, flushing) {
                self.put(&mut state, line);
            }
            if !state.waiting.is_empty() {
                break;
            }
            self.changed.notify_all();
            let next = state.quiet.next();
            state = match next {
                Some(next) => {
                    let wait = next.saturating_duration_since(now);
                    let woken = self.changed.wait_timeout(state, wait);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        let (mut batch, mut size) = (Vec::new(), 0);
        while size < BATCH
            && let Some(line) = state.waiting.pop_front()
        {
            size += line.len();
            batch.push(line);
        }
        state.writing = true;
        batch
    }
}

/// Writes all of `text`, however long that takes. Returns how many bytes were written, and the error that stopped it.
pub fn write(mut output: &File, text: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < text.len() {
        match output.write(&text[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(n) => written += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(PATIENCE),
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn nobody_waits_for_a_reader_who_does_not_read_and_what_is_lost_is_counted() {
        let (output, mut reader) = UnixStream::pair().expect("a pair");
        let spool = Spool::start(&output);
        drop(output);
        let line = |n: usize| format!("{n:0>999}\n");
        for n in 0..4000 {
            spool.push(line(n));
        }
        let began = Instant::now();
        spool.flush(Duration::from_millis(50));
        assert!(began.elapsed() < LONG, "a flush has its time");
        let dropped = spool.dropped().load(Ordering::Relaxed);
        // A socket holds some 200 kB.
        assert!((2000..=3000).contains(&dropped), "{dropped}");
        let mut text = vec![0; 1000 * (4000 - usize::try_from(dropped).expect("a few"))];
        reader.read_exact(&mut text).expect("all that was not dropped");
        let text = String::from_utf8(text).expect("UTF-8");
        let numbers: Vec<usize> = text.lines().map(|l| l.parse().expect("whole lines")).collect();
        assert!(
            numbers.is_sorted() && numbers[..1000].iter().copied().eq(0..1000),
            "{numbers:?}"
        );
        // Now there is room again.
        spool.push("later\n".to_owned());
        let mut later = [0; 6];
        reader.read_exact(&mut later).expect("a line");
        assert_eq!(&later, b"later\n");
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_keeps_nobody() {
        let full = File::options().write(true).open("/dev/full").expect("/dev/full");
        let spool = Spool::start(&full);
        for _ in 0..100 {
            spool.push("a line\n".to_owned());
        }
        spool.flush(LONG);
        assert_eq!(spool.dropped().load(Ordering::Relaxed), 100);
    }

    #[test]
    fn a_descriptor_that_does_not_block_gets_everything_in_the_end() {
        let (output, mut reader) = UnixStream::pair().expect("a pair");
        output.set_nonblocking(true).expect("set");
        let spool = Spool::start(&output);
        for n in 0..900 {
            spool.push(format!("{n:0>999}\n"));
        }
        let mut text = vec![0; 900_000];
        reader.read_exact(&mut text).expect("all");
        spool.flush(LONG);
        assert_eq!(spool.dropped().load(Ordering::Relaxed), 0);
    }
}
