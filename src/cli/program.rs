//! What every program of this project does around its work: logs, a runtime, an error that ends it, exit codes.
//!
//! Nothing here waits for the reader of stderr, and nothing that keeps running waits for the reader of stdout: `spool` does. A
//! command that ends with its output waits for the reader until a signal arrives.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser};
use rustix::event::{self, PollFd, PollFlags, Timespec};
use tokio::time::sleep;
use tracing::error;

use crate::model::component::APP;
use crate::model::text;
use crate::runtime::defect::{caught, log_panics};
use crate::telemetry::log::spool::{self, Spool};
use crate::telemetry::log::{self, LogFormat, LogLevel};

/// Threads that probe. 10,000 SoCs keep one busy for a few percent of its time. The switch's other cores belong to SONiC, and
/// each thread costs memory.
pub const WORKERS: usize = 2;
/// It started, but ended with an error.
pub const FAILED: u8 = 1;
/// It could not start.
pub const CANNOT_START: u8 = 2;
/// How long the program waits at its end for the readers of stdout and stderr. By then a stop has taken 3 s at most (app.rs),
/// and 5 s are allowed.
const FLUSH_WITHIN: Duration = Duration::from_millis(1500);
/// How often a command that keeps running looks whether its output is still read.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest message of an error that ends a command, in characters: a page.
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

/// What `run` must know about a program.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// How its last error message begins.
    pub name: &'static str,
    /// Whether it logs only warnings by default: people read what it prints.
    pub quiet: bool,
    /// The exit code if it could not do its work.
    pub cannot_start: u8,
    /// The exit code after a defect.
    pub after_a_defect: u8,
}

/// Parses the command line. If this returns an exit code, an error or the requested text (help, version) has been printed.
/// `bad_usage` is the exit code for an error.
pub fn parse<P: Parser>(bad_usage: u8) -> Result<P, ExitCode> {
    P::try_parse().map_err(|error| {
        let code = ExitCode::from(if error.use_stderr() { bad_usage } else { 0 });
        let message = error.render().to_string();
        let clean = text::clean_lines(&message);
        // It repeats what was given. If that is harmless, clap prints it, with colours.
        let harmless = *clean == *message && message.len() <= MAX_MESSAGE;
        if error.use_stderr() && !(harmless && io::stderr().is_terminal()) {
            let log = Spool::start(&io::stderr());
            log.push(text_of_error(&clean));
            log.flush(FLUSH_WITHIN);
        } else {
            // As clap itself does.
            let _ = error.print();
        }
        code
    })
}

/// Runs the work in its own runtime, with a log. `work` gets the number of lines that the log has lost.
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
        ExitCode::from(program.cannot_start)
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
    // What still hangs has had its time.
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

/// Its lines, cleaned and limited.
fn text_of_error(message: &str) -> String {
    let message = text::clean_lines(message);
    match message.char_indices().nth(MAX_MESSAGE) {
        Some((at, _)) => format!("{}…\n", &message[..at]),
        None => message.into_owned(),
    }
}

/// Output of a program that keeps running, whether its output is read or not.
static STDOUT: OnceLock<Spool> = OnceLock::new();

/// Prints a line of a command that keeps running. It may be lost if nothing reads stdout.
pub fn print(line: &str) {
    let stdout = STDOUT.get_or_init(|| Spool::start(&io::stdout()));
    stdout.push(format!("{}\n", text::clean_lines(line)));
}

/// Prints the result of a command. Waits for its reader; only signals end that.
pub(super) fn print_result(result: &str) -> anyhow::Result<()> {
    // `| head`: the reader has had enough.
    print_part("", result).map(drop)
}

/// Prints a part of the output of a command that goes on. `control` comes first as it is: it may control the terminal. `false`: no
/// one reads it any more.
pub(super) fn print_part(control: &'static str, part: &str) -> anyhow::Result<bool> {
    let part = format!("{control}{}\n", text::clean_lines(part));
    let written = io::stdout().as_fd().try_clone_to_owned().map(File::from);
    match written.and_then(|stdout| spool::write(&stdout, part.as_bytes()).1) {
        // A socket whose reader has closed it with unread data is reset.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
            ) =>
        {
            Ok(false)
        }
        written => written.map(|()| true).context("cannot write to stdout"),
    }
}

/// Ends when no one can read stdout any more: the other end of a pipe or of a socket was closed. With a file, never.
pub(super) async fn reader_gone() {
    let stdout = io::stdout();
    loop {
        let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
        // It does not wait.
        let gone = event::poll(&mut watched, Some(&Timespec::default()));
        if gone.is_ok_and(|count| count > 0) {
            return;
        }
        sleep(LOOK_EVERY).await;
    }
}
