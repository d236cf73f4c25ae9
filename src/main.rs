//! The binary: parse, log, run, exit code.

use std::process::ExitCode;

use dualtor_exporter::cli::Cli;

/// After a flood, glibc's allocator keeps the memory. This one returns it within about a second (docs/performance.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match Cli::from_arguments() {
        Ok(cli) => cli.run(),
        Err(code) => code,
    }
}
