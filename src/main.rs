//! The binary: parse, log, run, exit code.

use std::process::ExitCode;

use dualtor_exporter::cli::Cli;

/// glibc's keeps the pages of a flood for good; this one gives them back within a second or so (docs/performance.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match Cli::from_arguments() {
        Ok(cli) => cli.run(),
        Err(code) => code,
    }
}
