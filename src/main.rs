//! The binary: parse, log, run, exit code.

use std::process::ExitCode;

use dualtor_exporter::cli::Cli;

fn main() -> ExitCode {
    match Cli::from_arguments() {
        Ok(cli) => cli.run(),
        Err(code) => code,
    }
}
