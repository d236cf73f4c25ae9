//! What every program of this house does around its work: logs, a runtime, an error that ends it, exit codes.
//!
//! Nothing here waits for who reads stderr, and nothing that runs on waits for who reads stdout: `spool` does. A command that
//! ends with its output waits for that reader, and for no longer than a signal lets it.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser};
use tracing::error;

use crate::model::component::APP;
use crate::model::text;
use crate::runtime::defect::{caught, log_panics};
use crate::telemetry::log::spool::{self, Spool};
use crate::telemetry::log::{self, LogFormat, LogLevel};

/// Threads that probe. 10,000 SoCs keep one busy for a few percent of its time; the switch's other cores are SONiC's, and
/// each thread costs memory.
pub const WORKERS: usize = 2;
/// It started, but ended with an error.
pub const FAILED: u8 = 1;
/// It could not start.
pub const CANNOT_START: u8 = 2;
/// How long the end waits for who reads stdout and stderr. A stop has taken 3 s at most by then (app.rs), and 5 s are all of it.
const FLUSH_WITHIN: Duration = Duration::from_millis(500);
/// The longest message of an error that ends a command, characters: a page.
const MAX_MESSAGE: usize = 3000;

/// How to log.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// Least severe messages to log [default: info; with a command: warn]
    // After a command's own, however many there are.
    #[arg(long = "log.level", value_name = "LEVEL", global = true, display_order = 900)]
    level: Option<LogLevel>,
    /// Format of the log, on stderr
    #[arg(
        long = "log.format",
        value_name = "FORMAT",
        default_value = "logfmt",
        global = true,
        display_order = 901
    )]
    format: LogFormat,
}

/// A program, as far as `run` has to know it.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// How its last error message begins.
    pub name: &'static str,
    /// Whether it logs only warnings by default: people read what it prints.
    pub quiet: bool,
    /// The exit code after a defect.
    pub after_a_defect: u8,
}

/// Parses the command line. An error, or what was asked for (help, version), has been printed: how to exit.
pub fn parse<P: Parser>() -> Result<P, ExitCode> {
    P::try_parse().map_err(|error| {
        let code = ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(CANNOT_START));
        let message = error.render().to_string();
        let clean = text::clean_lines(&message);
        // It repeats what was given, whatever that is. Where that is harmless clap shows it to people, in its colours.
        let harmless = *clean == *message && message.len() <= MAX_MESSAGE;
        if error.use_stderr() && !(harmless && io::stderr().is_terminal()) {
            let log = Spool::start(&io::stderr());
            log.push(text_of_error(&clean));
            log.flush(FLUSH_WITHIN);
        } else {
            // As clap itself does it.
            let _ = error.print();
        }
        code
    })
}

/// Does the work in a runtime of its own, with a log. `work` gets the number of lines that the log has lost.
pub fn run<F>(program: Program, log: &LogArgs, work: impl FnOnce(Arc<AtomicU64>) -> F) -> ExitCode
where
    F: Future<Output = anyhow::Result<ExitCode>> + Send,
{
    let default_level = if program.quiet {
        LogLevel::Warn
    } else {
        LogLevel::Info
    };
    let log = log::init(log.level.unwrap_or(default_level), log.format);
    log_panics();
    let code = execute(program, &log, work(log.dropped()));
    if let Some(stdout) = STDOUT.get() {
        stdout.flush(FLUSH_WITHIN);
    }
    log.flush(FLUSH_WITHIN);
    code
}

fn execute(
    program: Program,
    log: &Spool,
    work: impl Future<Output = anyhow::Result<ExitCode>> + Send,
) -> ExitCode {
    let fail = |error: &anyhow::Error| {
        log.push(text_of_error(&format!("{}: {error:#}\n", program.name)));
        ExitCode::from(CANNOT_START)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::new(error).context("cannot start the runtime")),
    };
    let outcome = runtime.block_on(caught(Box::pin(work)));
    // Whatever still hangs has had its time.
    runtime.shutdown_background();
    match outcome {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => fail(&error),
        Err(defect) => {
            error!(target: APP, %defect, "ended by a defect of this program: please report it");
            ExitCode::from(program.after_a_defect)
        }
    }
}

/// Its lines, cleaned and not too many.
fn text_of_error(message: &str) -> String {
    let message = text::clean_lines(message);
    match message.char_indices().nth(MAX_MESSAGE) {
        Some((at, _)) => format!("{}…\n", &message[..at]),
        None => message.into_owned(),
    }
}

/// Output of a program that runs on, whether its output is read or not.
static STDOUT: OnceLock<Spool> = OnceLock::new();

/// A line of a command that runs on. It may be lost if nothing reads stdout.
pub fn print(line: &str) {
    let stdout = STDOUT.get_or_init(|| Spool::start(&io::stdout()));
    stdout.push(format!("{}\n", text::clean_lines(line)));
}

/// What a command was run for. Waits for its reader; only signals end that.
pub(super) fn print_result(result: &str) -> anyhow::Result<()> {
    let result = format!("{}\n", text::clean_lines(result));
    let written = io::stdout().as_fd().try_clone_to_owned().map(File::from);
    match written.and_then(|stdout| spool::write(&stdout, result.as_bytes()).1) {
        // `| head`: it has read what it wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
}
