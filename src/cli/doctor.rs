//! `doctor`: checks once everything that the exporter depends on here, and prints in plain English what it finds, what is
//! wrong and what to do about it. Imports `model`, `config`, `soc`, `sonic`, `telemetry` and `web`; in `cli` what all commands use
//! (`program`, `host`, `probe_output`, `open_telemetry`, `exporter_command`, `probe_command`).
//!
//! Exit codes: 0 nothing is wrong; 1 there is a problem; 2 bad usage, a bad configuration file, or what was found could not be
//! written to stdout.
//!
//! | file | job |
//! |---|---|
//! | collect | reads databases and files, asks the kernel for routes, probes each SoC: all I/O, all of it bounded |
//! | collect_modules | asks each target of the probe modules once |
//! | collect_sources | reads each source of `inventory` once |
//! | collect_web | the same for web.config.file and the files that it names |
//! | collect_telemetry | sends one empty message to each collector of OpenTelemetry |
//! | collected | what was seen: plain data |
//! | findings | what was seen → what is the case (pure) |
//! | render | findings → text or JSON (pure) |

mod collect;
mod collect_modules;
mod collect_sources;
mod collect_telemetry;
mod collect_web;
mod collected;
mod findings;
mod render;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::exporter_command::{first_config, own_config_db, settings_of};
use super::host::raise_open_files;
use super::open_telemetry::otel_settings;
use super::probe_command::timeout;
use super::probe_output::Output;
use super::program::{FAILED, print_result};
use crate::config::SwitchSettings;
use crate::sonic::settings_row::read_settings;
use collect::collect;
use collect_modules::ask_modules;
use collect_telemetry::telemetry;
use collect_web::web_side;
use findings::{Level, diagnose};

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Configuration file (YAML) [default: /etc/dualtor-exporter/config.yml, if it exists]
    #[arg(long = "config.file", value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// The exporter's --config.database: takes DUALTOR_EXPORTER|config in CONFIG_DB into account, if it can be read
    #[arg(long = "config.database")]
    config_database: bool,
    /// The exporter's --web.config.file, to be checked too
    #[arg(long = "web.config.file", value_name = "FILE")]
    web_config_file: Option<PathBuf>,
    /// The exporter's --web.listen-address, to be checked too [default: :9075]
    #[arg(long = "web.listen-address", value_name = "HOST:PORT")]
    listen: Vec<String>,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
    /// Each query's deadline [default: the configuration's probe.timeout]
    #[arg(long, value_name = "DURATION", value_parser = timeout)]
    timeout: Option<Duration>,
}

pub(super) async fn run(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let mut switch = SwitchSettings::default();
    let (mut config, file) = first_config(args.config_file.as_deref(), &switch).await?;
    if args.config_database
        // Why it cannot be read is one of the findings.
        && let Ok(Some(row)) = read_settings(own_config_db(&config)?).await
    {
        switch = settings_of(&row)?;
        config = first_config(args.config_file.as_deref(), &switch).await?.0;
    }
    raise_open_files();
    let timeout = args.timeout.unwrap_or(config.probe.timeout);
    let web = web_side(args.listen, switch.listen, args.web_config_file);
    let (otel, warnings) = otel_settings(&config, file.as_deref())?;
    let telemetry = telemetry(otel, warnings);
    let asked = config.clone();
    let modules = ask_modules(&asked);
    let (mut seen, web, telemetry, modules) = tokio::join!(collect(config, timeout), web, telemetry, modules);
    (seen.web, seen.telemetry, seen.modules) = (Some(web), telemetry, modules);
    let findings = diagnose(&seen);
    let text = match args.output {
        Output::Text => render::text(&findings),
        Output::Json => {
            serde_json::to_string_pretty(&render::json(seen.inventory.side, seen.socs.len(), &findings))?
        }
    };
    print_result(text.trim_end())?;
    let healthy = findings.iter().all(|finding| finding.level != Level::Problem);
    Ok(if healthy {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}
