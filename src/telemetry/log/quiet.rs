//! Limits how much is logged, and keeps the latest line of what is left out. Pure: time is an argument.
//!
//! Each line has a topic: its port or, without one, its place in the source. A topic may log a few lines in a row, then one per
//! minute. Of the other lines the latest waits until the topic may log again. It then carries the number of lines that were left
//! out before it. So the last line of a topic shows the current state. All lines about ports together have a limit, too.
//!
//! While a line waits, each newer line of its topic replaces it, even if the limit would allow the newer one by now. Otherwise
//! the older line would be written after the newer one.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::runtime::bucket::Bucket;

/// Lines of one topic in a row: enough for three faults and their recovery.
const BURST: u32 = 10;
/// Time between two lines of one topic after that.
const EVERY: Duration = Duration::from_secs(60);
/// Lines about all ports in a row: enough for ten thousand SoCs that become READY.
const BURST_OF_ALL: u32 = 30_000;
/// After that, 20 lines a second about all ports. With 300 bytes each that is 0.5 GB a day.
const EVERY_OF_ALL: Duration = Duration::from_millis(50);
/// Most topics. Further ones share the topic `Other`.
const MOST_KEYS: usize = 20_000;
/// Least time between two searches for silent topics, because a search looks at all topics.
const TIDY_EVERY: Duration = Duration::from_secs(10);
/// Most bytes of lines that wait.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// The topic of a line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    /// A port.
    Port(Arc<str>),
    /// A place in the source.
    Place(&'static str),
    /// Everything over `MOST_KEYS`.
    Other,
}

/// There is no room to keep a line that must wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Debug)]
struct Topic {
    bucket: Bucket,
    late: Option<Late>,
}

/// The latest line of a topic, which waits until it may be written.
#[derive(Debug)]
struct Late {
    line: String,
    left_out: u64,
}

#[derive(Debug)]
pub(super) struct Quiet {
    topics: HashMap<Key, Topic>,
    all: Bucket,
    /// When the waiting line of each topic may be written.
    due: BTreeSet<(Instant, Key)>,
    late_bytes: usize,
    /// With this many topics, silent ones are searched and removed.
    tidy_at: usize,
    /// When that was last done.
    tidied: Option<Instant>,
}

impl Default for Quiet {
    fn default() -> Self {
        Self {
            topics: HashMap::new(),
            all: Bucket::new(BURST_OF_ALL, EVERY_OF_ALL),
            due: BTreeSet::new(),
            late_bytes: 0,
            tidy_at: MOST_KEYS / 10,
            tidied: None,
        }
    }
}

impl Quiet {
    /// Takes a line. `Some`: the line may be written now. `None`: it waits, in place of an older one.
    pub(super) fn take(&mut self, key: Key, line: String, now: Instant) -> Result<Option<String>, Full> {
        self.tidy(now);
        let known = self.topics.len() < MOST_KEYS || self.topics.contains_key(&key);
        let key = if known { key } else { Key::Other };
        let of_ports = matches!(key, Key::Port(_) | Key::Other);
        let topic = self.topics.entry(key.clone()).or_insert_with(|| Topic {
            bucket: Bucket::new(BURST, EVERY),
            late: None,
        });
        if let Some(late) = &mut topic.late {
            self.late_bytes = self.late_bytes - late.line.len() + line.len();
            late.left_out += 1;
            late.line = line;
            return Ok(None);
        }
        let mut at = topic.bucket.next(now);
        if of_ports {
            at = at.max(self.all.next(now));
        }
        if at <= now {
            topic.bucket.spend(now);
            if of_ports {
                self.all.spend(now);
            }
            return Ok(Some(line));
        }
        if self.late_bytes + line.len() > MOST_BYTES {
            return Err(Full);
        }
        self.late_bytes += line.len();
        topic.late = Some(Late { line, left_out: 0 });
        self.due.insert((at, key));
        Ok(None)
    }

    /// When the next waiting line may be written.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The waiting lines that may be written by now; `all` of them at a stop.
    pub(super) fn release(&mut self, now: Instant, all: bool) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some((at, key)) = self.due.pop_first() {
            let of_ports = matches!(key, Key::Port(_) | Key::Other);
            let of_all = if of_ports { self.all.next(now) } else { now };
            if !all && at.max(of_all) > now {
                // The others are due later, or the next call takes them.
                self.due.insert((at.max(of_all), key));
                break;
            }
            let Some(topic) = self.topics.get_mut(&key) else {
                continue;
            };
            topic.bucket.spend(now);
            if of_ports {
                self.all.spend(now);
            }
            if let Some(Late { line, left_out }) = topic.late.take() {
                self.late_bytes -= line.len();
                lines.push(with_left_out(line, left_out));
            }
        }
        lines
    }

    fn tidy(&mut self, now: Instant) {
        let lately = |at| now.saturating_duration_since(at) < TIDY_EVERY;
        if self.topics.len() >= self.tidy_at && !self.tidied.is_some_and(lately) {
            self.tidied = Some(now);
            self.topics
                .retain(|_, topic| topic.late.is_some() || !topic.bucket.is_full(now));
            self.tidy_at = (self.topics.len() * 2).clamp(MOST_KEYS / 10, MOST_KEYS);
        }
    }
}

/// Adds the field `left_out` to a line, in logfmt or JSON.
fn with_left_out(line: String, left_out: u64) -> String {
    let text = line.trim_end_matches('\n');
    match (left_out, text.strip_suffix('}').filter(|_| text.starts_with('{'))) {
        (0, _) => line,
        (_, Some(fields)) => format!("{fields},\"left_out\":{left_out}}}\n"),
        (_, None) => format!("{text} left_out={left_out}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(n: usize) -> Key {
        Key::Port(format!("Ethernet{n}").into())
    }

    /// A port that logs a line every `every`. Returns the written lines and when, in seconds.
    fn flap(quiet: &mut Quiet, start: Instant, every: Duration, times: u32) -> Vec<(u64, String)> {
        let mut written = Vec::new();
        for n in 0..times {
            let now = start + every * n;
            let at = (now - start).as_secs();
            written.extend(quiet.release(now, false).into_iter().map(|line| (at, line)));
            let line = quiet.take(port(0), format!("n={n}\n"), now).expect("room");
            written.extend(line.map(|line| (at, line)));
        }
        written
    }

    #[test]
    fn a_port_that_flaps_says_a_few_lines_and_then_one_a_minute_with_what_was_left_out() {
        let start = Instant::now();
        let mut quiet = Quiet::default();
        let written = flap(&mut quiet, start, Duration::from_millis(500), 3600);
        assert!(written[..10].iter().all(|(at, _)| *at < 6), "{written:?}");
        assert_eq!(written.len(), 10 + 29, "{written:?}");
        // The eleventh line is written a minute after the first.
        assert_eq!(written[10], (60, "n=119 left_out=109\n".to_owned()));
        assert_eq!(written[11], (120, "n=239 left_out=119\n".to_owned()));
        // The log ends with the latest line.
        assert_eq!(
            quiet.release(start + Duration::from_secs(1800), false),
            ["n=3599 left_out=119\n"]
        );
        assert_eq!(quiet.next(), None);
        // After a pause it may log a few lines again.
        let later = start + Duration::from_secs(7200);
        assert_eq!(flap(&mut quiet, later, Duration::ZERO, 11).len(), 10);
    }

    #[test]
    fn a_stop_writes_what_is_late() {
        let start = Instant::now();
        let mut quiet = Quiet::default();
        flap(&mut quiet, start, Duration::ZERO, 12);
        assert!(quiet.release(start, false).is_empty());
        assert_eq!(quiet.release(start, true), ["n=11 left_out=1\n"]);
    }

    #[test]
    fn ten_thousand_ports_become_ready_at_once_and_flap_within_the_limit() {
        let start = Instant::now();
        let mut quiet = Quiet::default();
        let mut count = 0;
        for _ in 0..2 {
            for n in 0..10_000 {
                count +=
                    usize::from(quiet.take(port(n), "x\n".to_owned(), start) == Ok(Some("x\n".to_owned())));
            }
        }
        assert_eq!(count, 20_000);
        for second in 0..600 {
            let now = start + Duration::from_secs(second);
            for n in (usize::try_from(second).expect("small") % 10..10_000).step_by(10) {
                count +=
                    usize::from(quiet.take(port(n), "x\n".to_owned(), now) == Ok(Some("x\n".to_owned())));
            }
            count += quiet.release(now, false).len();
        }
        assert!(count <= 30_000 + 20 * 600 + 1, "{count}");
        assert!(count >= 20 * 600, "{count}");
    }

    #[test]
    fn ever_new_names_cost_no_memory_without_bound() {
        let start = Instant::now();
        let mut quiet = Quiet::default();
        let long = "x".repeat(4000);
        let mut full = 0;
        for n in 0..100_000 {
            full += usize::from(quiet.take(port(n), long.clone(), start) == Err(Full));
        }
        assert!(quiet.topics.len() <= MOST_KEYS + 1);
        assert!(quiet.late_bytes <= MOST_BYTES);
        // Silent topics are removed.
        let later = start + Duration::from_secs(3600);
        quiet.release(later, true);
        let much_later = later + Duration::from_secs(3600);
        for n in 0..MOST_KEYS {
            let _ = quiet.take(
                port(n),
                String::new(),
                much_later + EVERY * 20 * u32::try_from(n).expect("few"),
            );
        }
        assert!(
            quiet.topics.len() <= MOST_KEYS / 10,
            "{}, {full}",
            quiet.topics.len()
        );
    }

    #[test]
    fn a_place_in_the_source_is_limited_by_itself_and_json_stays_json() {
        let now = Instant::now();
        let mut quiet = Quiet::default();
        for (place, expected) in [("event a.rs:1", 10), ("event a.rs:2", 10)] {
            let mut say = |_: i32| quiet.take(Key::Place(place), "{\"a\":1}\n".to_owned(), now);
            assert_eq!((0..15).filter_map(|n| say(n).expect("room")).count(), expected);
        }
        let expected = "{\"a\":1,\"left_out\":4}\n";
        assert_eq!(quiet.release(now + EVERY, false), [expected, expected]);
    }
}
