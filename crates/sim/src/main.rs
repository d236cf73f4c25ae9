//! `dualtor-sim`: serves simulated SoCs on loopback addresses, from a scenario, until SIGTERM or SIGINT.
//!
//! Exit codes: 0 stopped; 2 bad usage, a bad scenario, or an address that is in use. Lines about the timeline go to stdout,
//! errors to stderr.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{SyncSender, sync_channel};

use anyhow::Context as _;
use clap::Parser;
use dualtor_sim::{Scenario, run};
use tokio::signal::unix::{SignalKind, signal};

/// Exit code: it could not start.
const CANNOT_START: u8 = 2;
/// How many lines may wait for the reader of stdout. More are dropped: the simulator serves whether its output is read or not.
const LINES: usize = 1024;

/// Serves simulated SoCs on loopback addresses, from a scenario.
#[derive(Debug, Parser)]
#[command(name = "dualtor-sim", version, max_term_width = 110)]
struct Arguments {
    /// Scenario file (YAML)
    #[arg(value_name = "SCENARIO")]
    scenario: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match serve(&arguments.scenario) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If this fails, there is no other place to report it.
            let _ = writeln!(io::stderr(), "dualtor-sim: {}", readable(&format!("{error:#}")));
            ExitCode::from(CANNOT_START)
        }
    }
}

#[tokio::main]
async fn serve(path: &Path) -> anyhow::Result<()> {
    let scenario = Scenario::from_file(path)?;
    // Each SoC and each connection needs an open file. If there are too few, listening fails and reports it.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let lines = printer();
    // A full queue means that no one reads.
    run(scenario, shutdown, move |line| {
        drop(lines.try_send(readable(line)))
    })
    .await?;
    Ok(())
}

/// A thread that prints, because it may have to wait for its reader.
fn printer() -> SyncSender<String> {
    let (lines, waiting) = sync_channel::<String>(LINES);
    std::thread::spawn(move || {
        for line in waiting {
            if writeln!(io::stdout(), "{line}").is_err() {
                return;
            }
        }
    });
    lines
}

/// Without the characters that control a terminal: a scenario may come from anywhere.
fn readable(text: &str) -> String {
    let steers = |c: char| {
        c.is_control() && c != '\n'
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}')
    };
    text.chars()
        .map(|c| if steers(c) { '\u{fffd}' } else { c })
        .collect()
}
