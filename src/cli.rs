//! The command line: flags in the exporters' style, and the commands `probe`, `doctor` and `status`.
//!
//! Exit codes: 0 done; 1 the exporter failed while running; 2 it could not start (bad flag, bad file, port in use), or a
//! command's output could not be written. The commands have their own, see there. Logs go to stderr. stdout has only a
//! command's output.
//!
//! The demo also uses `program` and `host`.
//!
//! Imports every other folder.

mod doctor;
mod exporter_command;
pub mod host;
pub mod open_telemetry;
mod probe_command;
mod probe_module;
mod probe_output;
pub mod program;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::web::{
    AllowedHosts, GrafanaUrl, Limits, WebPaths, external_path, route_prefix, telemetry_path_ok,
};
use program::{CANNOT_START, FAILED, LogArgs, Program};

/// Probes the SoCs of a SONiC dual-ToR active-active rack over gRPC; publishes MUX_CABLE_INFO in STATE_DB and
/// Prometheus metrics. It only reads the SoCs' state and never changes traffic.
#[derive(Debug, Parser)]
#[command(name = "dualtor-exporter", version = VERSION, args_conflicts_with_subcommands = true, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    exporter: ExporterArgs,
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (revision ",
    env!("DUALTOR_REVISION"),
    ")"
);

#[derive(Debug, Args)]
struct ExporterArgs {
    /// Configuration file (YAML); reloaded on SIGHUP [default: /etc/dualtor-exporter/config.yml, if it exists]
    #[arg(long = "config.file", value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Take what neither a flag nor the configuration file sets from DUALTOR_EXPORTER|config in CONFIG_DB; waits until CONFIG_DB
    /// is complete
    #[arg(long = "config.database")]
    config_database: bool,
    /// Check the configuration file, and --web.config.file if given, and exit: 0 if they are good, 2 if not
    #[arg(long = "config.check")]
    config_check: bool,
    /// Reload the configuration file when it changes. With `shard` or `inventory` in it, this happens anyway
    #[arg(long = "config.follow")]
    config_follow: bool,
    /// Address to serve on, repeatable; without a host: all addresses [default: :9075]
    #[arg(long = "web.listen-address", value_name = "HOST:PORT")]
    listen: Vec<String>,
    /// Serve on the sockets that systemd passes (socket activation) instead of --web.listen-address
    #[arg(long = "web.systemd-socket", conflicts_with = "listen")]
    systemd_socket: bool,
    /// Serve gRPC's health of each target, reflection and InfoService at this HOST:PORT, repeatable; only loopback addresses.
    /// Off by default
    #[arg(long = "grpc.listen-address", value_name = "ADDRESS")]
    grpc_listen: Vec<String>,
    /// Path of the metrics
    #[arg(long = "web.telemetry-path", value_name = "PATH", default_value = "/metrics", value_parser = telemetry_path)]
    telemetry_path: String,
    /// The URL under which clients reach this, if a reverse proxy is between: for redirects, and for the default of
    /// --web.route-prefix
    #[arg(long = "web.external-url", value_name = "URL", value_parser = external_path)]
    external_path: Option<String>,
    /// Path under which everything is served [default: the path of --web.external-url]
    #[arg(long = "web.route-prefix", value_name = "PATH", value_parser = route_prefix)]
    route_prefix: Option<String>,
    /// Serve no pages: only a list of links at /
    #[arg(long = "web.disable-page")]
    disable_page: bool,
    /// TLS, logins and limits of the web side (YAML, the format of Prometheus' exporters); followed while running
    #[arg(long = "web.config.file", value_name = "FILE")]
    web_config_file: Option<PathBuf>,
    /// Limit of web clients' connections, over all listeners; lower if open files are short: SoCs come first
    #[arg(long = "web.max-connections", value_name = "N", default_value_t = Limits::CONNECTIONS,
          value_parser = clap::value_parser!(u16).range(1..))]
    max_connections: u16,
    /// Limit of scrapes that are rendered at the same time; the others wait up to 5 s
    #[arg(long = "web.max-requests", value_name = "N", default_value_t = Limits::RENDERS,
          value_parser = clap::value_parser!(u16).range(1..))]
    max_requests: u16,
    /// Limit of the API's event streams; open pages hold one each
    #[arg(long = "web.max-event-streams", value_name = "N", default_value_t = Limits::EVENT_STREAMS,
          value_parser = clap::value_parser!(u16).range(1..))]
    max_event_streams: u16,
    /// Name that web pages may be asked for, repeatable; IP addresses and localhost always are. Not needed with logins
    #[arg(long = "web.allowed-host", value_name = "HOST", value_parser = AllowedHosts::checked)]
    allowed_hosts: Vec<String>,
    /// Grafana's URL: pages of ports then link to the Port dashboard. Its query is kept, such as ?var-instance=tor-a:9075
    #[arg(long = "web.grafana-url", value_name = "URL", value_parser = GrafanaUrl::checked)]
    grafana: Option<GrafanaUrl>,
    /// Where SIGUSR2 writes a dump of what this process knows [default: the directory for temporary files]
    #[arg(long = "debug.dump-directory", value_name = "DIR")]
    dump_directory: Option<PathBuf>,
    /// Serve POST /-/reload, and let web clients probe a SoC at once (POST /api/v1/ports/PORT/probe)
    #[arg(long = "web.enable-lifecycle")]
    enable_lifecycle: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Probe one SoC, or one target of a probe module, once and print its answers. Exit codes: 0 it answers, 1 READY but
    /// a query failed or health is not serving, 2 never READY
    // clap's own usage lists each flag that has a value, also by default.
    #[command(override_usage = "dualtor-exporter probe [OPTIONS] <ADDRESS>")]
    Probe(probe_command::ProbeArgs),
    /// Check everything that the exporter depends on here; print what is wrong and what to do. Exit codes: 0
    /// nothing is wrong, 1 there is a problem, 2 bad usage or a bad configuration file
    Doctor(doctor::DoctorArgs),
    /// Print what a running exporter knows of its SoCs, or all about one port. Exit codes, as Nagios has them: 0 ok or
    /// in maintenance, 1 warning, 2 critical, 3 no answer or bad usage
    #[command(override_usage = "dualtor-exporter status [OPTIONS] [PORT]")]
    Status(status::StatusArgs),
}

fn telemetry_path(path: &str) -> Result<String, String> {
    if telemetry_path_ok(path) {
        Ok(path.to_owned())
    } else {
        Err("expected a path such as /metrics, outside /-/, /api/, /ports/ and /static/, of letters, digits and _-./".to_owned())
    }
}

impl ExporterArgs {
    fn paths(&self) -> WebPaths {
        let external = self.external_path.clone();
        let prefix = self.route_prefix.clone().or(external.clone()).unwrap_or_default();
        WebPaths {
            telemetry: self.telemetry_path.clone(),
            external: external.unwrap_or_else(|| prefix.clone()),
            prefix,
            pages: !self.disable_page,
            grafana: self.grafana.clone(),
        }
    }
}

impl Cli {
    /// Reads the command line. If this returns an exit code, an error or the requested text (help, version) has been printed.
    pub fn from_arguments() -> Result<Self, ExitCode> {
        // clap's error does not say for which command it is.
        let is_status = std::env::args_os().any(|argument| argument == "status");
        program::parse(if is_status {
            status::NOT_KNOWN
        } else {
            CANNOT_START
        })
    }

    /// Runs what the command line asks for.
    pub fn run(self) -> ExitCode {
        let looks = self.command.is_some();
        let cannot_start = match self.command {
            Some(Command::Status(_)) => status::NOT_KNOWN,
            _ => CANNOT_START,
        };
        let serves = !looks && !self.exporter.config_check;
        // Here, while there is one thread only.
        let passed = (serves && self.exporter.systemd_socket).then(host::passed_sockets);
        let passed = passed.unwrap_or_else(|| Ok(Vec::new()));
        let program = Program {
            name: "dualtor-exporter",
            quiet: looks,
            cannot_start,
            // After a defect, a command that only checks has found nothing.
            after_a_defect: if looks { cannot_start } else { FAILED },
        };
        program::run(program, &self.log, move |dropped| async move {
            match self.command {
                None if self.exporter.config_check => exporter_command::check_config(&self.exporter).await,
                None => exporter_command::run(self.exporter, passed?, dropped).await,
                Some(Command::Probe(args)) => probe_command::run(args).await,
                Some(Command::Doctor(args)) => doctor::run(args).await,
                Some(Command::Status(args)) => status::run(args).await,
            }
        })
    }
}
