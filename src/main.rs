//! The binary: parse, log, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use dualtor_exporter::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
