//! What the commands that look once have in common: formats, exit codes.

use std::time::Duration;

use clap::ValueEnum;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Text,
    Json,
}

/// Exit code: the channel was READY, but a query failed or health is not serving.
pub(super) const FAILED: u8 = 1;
/// Exit code: the channel was never READY.
pub(super) const NEVER_READY: u8 = 2;

pub(super) fn milliseconds(duration: Option<Duration>) -> String {
    duration.map_or("-".to_owned(), |d| format!("{:.1} ms", d.as_secs_f64() * 1000.0))
}
