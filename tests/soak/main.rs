//! `make soak`: a rack of simulated SoCs with random events, the real exporter and a real redis-server. An oracle knows the true
//! state of each SoC and compares rows and metrics with it all the time.
//!
//! For each kind of event it prints the number of cases and how long rows and metrics showed the old state: the *truth lag*. It
//! exits with 1 if a lag was longer than docs/reliability.md promises. The seed is printed. The same seed gives the same events
//! at the same SoCs, but not at the same moments.
//!
//! | file | job |
//! |---|---|
//! | truth | a SoC's true state, and what row and metrics should show then |
//! | kind | the kinds of events, their effect on a SoC, how long it may be shown wrongly |
//! | world | simulator, redis-server, exporter; what rows and metrics show now |
//! | drive | causes events, one per SoC at a time, and measures |
//! | report | the table |
//!
//! It shares no logic with the exporter: it is a process that is scraped, and rows in Redis.

#![allow(clippy::print_stdout, clippy::print_stderr)] // A program with a table.

use dualtor_testkit::{child, http, redis_server, wait};

use std::process::ExitCode;
use std::time::Duration;

mod drive;
mod kind;
mod report;
mod truth;
mod world;

/// The arguments: `--seconds 600 --socs 300 --seed 7`.
struct Args {
    time: Duration,
    socs: usize,
    seed: u64,
}

fn args() -> Result<Args, String> {
    let mut args = Args {
        time: Duration::from_secs(600),
        socs: 300,
        seed: fastrand::u64(..1_000_000),
    };
    let mut words = std::env::args().skip(1);
    while let Some(flag) = words.next() {
        let value = words.next().unwrap_or_default();
        let number = || {
            let number = value.parse::<u64>().ok();
            number.ok_or_else(|| format!("{flag}: expected a number, got {value:?}"))
        };
        match flag.as_str() {
            "--seconds" => args.time = Duration::from_secs(number()?.max(30)),
            "--socs" => args.socs = usize::try_from(number()?.clamp(10, 2_000)).unwrap_or(10),
            "--seed" => args.seed = number()?,
            _ => return Err(format!("expected --seconds, --socs or --seed, got {flag:?}")),
        }
    }
    Ok(args)
}

fn main() -> ExitCode {
    let args = match args() {
        Ok(args) => args,
        Err(message) => {
            eprintln!("soak: {message}");
            return ExitCode::from(2);
        }
    };
    println!(
        "soak: {} SoCs for {} s, seed {} (make soak SECONDS={} SOCS={} SEED={})",
        args.socs,
        args.time.as_secs(),
        args.seed,
        args.time.as_secs(),
        args.socs,
        args.seed,
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut report = runtime.block_on(async {
        let world = world::World::start(args.socs).await;
        drive::Drive::new(world, args.seed).run(args.time).await
    });
    report.check_medians();
    report.print();
    if report.good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
