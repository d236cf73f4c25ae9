//! `shard`: which of several processes this one is, and how many there are.
//!
//! All processes of a deployment have the same file, so each finds its own number in its surroundings: what numbers processes
//! (Kubernetes' StatefulSet, a unit of systemd with an instance, Nomad) sets a variable or a host name.

use serde::Deserialize;

use super::scalar::{Scalar, Value};
use super::{KeyError, at};
use crate::model::{MOST_SHARDS, Shard, text};

/// Its shape in the configuration file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawShard {
    index: Value<ShardIndex>,
    count: Value<ShardCount>,
}

impl Default for RawShard {
    fn default() -> Self {
        Self {
            index: Value(ShardIndex::Auto),
            count: Value(ShardCount(1)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum ShardIndex {
    /// The surroundings tell it.
    Auto,
    Number(u32),
}

impl Scalar for ShardIndex {
    const EXPECTED: &'static str = "auto, or this process' number from 0";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            number => number.parse().ok().map(Self::Number),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct ShardCount(u32);

impl Scalar for ShardCount {
    const EXPECTED: &'static str = "a number of processes from 1 to 1000";
    const AS_WRITTEN: bool = false;

    fn parse(text: &str) -> Option<Self> {
        let count = text.parse().ok()?;
        (1..=MOST_SHARDS).contains(&count).then_some(Self(count))
    }
}

/// Where a process may find its number.
#[derive(Debug, Default)]
pub(super) struct ProcessNames {
    /// `DUALTOR_SHARD_INDEX`.
    number: Option<String>,
    /// `POD_NAME`.
    pod: Option<String>,
    host: String,
}

impl ProcessNames {
    /// Those of this process.
    pub(super) fn of_this_process() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            number: variable("DUALTOR_SHARD_INDEX"),
            pod: variable("POD_NAME"),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        }
    }

    /// The first that is set decides. Another one would be a guess.
    fn index(&self) -> Result<u32, String> {
        let (name, value) = match (&self.number, &self.pod) {
            (Some(number), _) => ("DUALTOR_SHARD_INDEX", number),
            (None, Some(pod)) => ("POD_NAME", pod),
            (None, None) => ("the host name", &self.host),
        };
        let digits = match self.number {
            Some(_) => value,
            None => &value[value.trim_end_matches(|c: char| c.is_ascii_digit()).len()..],
        };
        let expected = match self.number {
            Some(_) => "a number from 0 in DUALTOR_SHARD_INDEX".to_owned(),
            None => format!("DUALTOR_SHARD_INDEX, or a number at the end of {name}"),
        };
        let wrong = || format!("auto: expected {expected}, got {:?}", text::quote(value));
        digits.parse().map_err(|_| wrong())
    }
}

/// The meaning of the key.
pub(super) fn shard(raw: &RawShard, names: &ProcessNames) -> Result<Shard, KeyError> {
    let count = raw.count.0.0;
    let index = match raw.index.0 {
        // From `count` on it is no error: a file with a smaller count may arrive before the process is stopped.
        ShardIndex::Auto => names.index().or_else(|message| at("shard.index", message))?,
        ShardIndex::Number(index) if index >= count => {
            let message = format!(
                "expected less than shard.count ({count}), got {index}: the first process has the number 0"
            );
            return at("shard.index", message);
        }
        ShardIndex::Number(index) => index,
    };
    Ok(Shard { index, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_finds_its_number_in_the_first_name_that_is_set() {
        let check = |[number, pod, host]: [&str; 3], expected: Result<u32, &str>| {
            let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            let names = ProcessNames {
                number: some(number),
                pod: some(pod),
                host: host.to_owned(),
            };
            assert_eq!(
                names.index(),
                expected.map_err(|words| format!("auto: expected {words}")),
                "{names:?}"
            );
        };
        check(["3", "dualtor-1", "tor-2"], Ok(3));
        check(["", "dualtor-1", "tor-2"], Ok(1));
        check(["", "", "tor-02"], Ok(2));
        check(["", "dualtor-exporter-117", ""], Ok(117));
        check(["", "", "7"], Ok(7));
        let number = "a number from 0 in DUALTOR_SHARD_INDEX, got ";
        check(["-1", "dualtor-1", ""], Err(&format!("{number}\"-1\"")));
        check(["dualtor-1", "", ""], Err(&format!("{number}\"dualtor-1\"")));
        let end = "DUALTOR_SHARD_INDEX, or a number at the end of";
        check(
            ["", "dualtor-x", "tor-2"],
            Err(&format!("{end} POD_NAME, got \"dualtor-x\"")),
        );
        check(["", "", "tor"], Err(&format!("{end} the host name, got \"tor\"")));
        check(
            ["", "", "tor-99999999999"],
            Err(&format!("{end} the host name, got \"tor-99999999999\"")),
        );
    }

    #[test]
    fn a_process_whose_number_is_too_high_has_no_share_and_is_no_error() {
        let names = ProcessNames {
            pod: Some("dualtor-4".to_owned()),
            ..ProcessNames::default()
        };
        let raw = RawShard {
            count: Value(ShardCount(2)),
            ..RawShard::default()
        };
        assert_eq!(shard(&raw, &names), Ok(Shard { index: 4, count: 2 }));
    }
}
