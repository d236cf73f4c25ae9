//! `probe --module`: one dial and one round of a module's target, printed for a person or as JSON.
//!
//! Exit codes: 0 success; 1 READY, but no success; 2 never READY, or bad usage.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;

use super::exporter_command::first_config;
use super::probe_output::{FAILED, NEVER_READY, Output, milliseconds};
use super::program::print_result;
use crate::config::{Config, HostPort, SwitchSettings};
use crate::model::text::clean;
use crate::model::{AftKind, AftPlane, ModuleJob, ModuleTarget, Programmed, Said, quoted};
use crate::soc::channel::TlsStore;
use crate::soc::looked::utc;
use crate::soc::module_look::ModuleLooked;

pub(super) async fn run(
    module: &str,
    target: &str,
    file: Option<&Path>,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let (config, _) = first_config(file, &SwitchSettings::default()).await?;
    let job = job(&config, module, target)?;
    let looked = ModuleLooked::at(job.into(), &TlsStore::default()).await?;
    let text = match output {
        Output::Text => text(&looked),
        Output::Json => serde_json::to_string_pretty(&looked.to_json())?,
    };
    print_result(text.trim_end())?;
    Ok(match &looked.found {
        Err(_) => ExitCode::from(NEVER_READY),
        Ok((_, report)) if report.success => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(FAILED),
    })
}

/// A target of the module, by name or address, or any other address: who has a shell may dial.
fn job(config: &Config, module: &str, target: &str) -> anyhow::Result<ModuleJob> {
    let Some(spec) = config.modules.iter().find(|spec| *spec.name == *module) else {
        let names: Vec<&str> = config.modules.iter().map(|spec| &*spec.name).collect();
        let known = match &names[..] {
            [] => "the configuration has no `modules`".to_owned(),
            names => format!("the configuration has {}", names.join(", ")),
        };
        bail!("--module: there is no module {}: {known}", quoted(module));
    };
    let target = match (spec.target(target), HostPort::read(target)) {
        (Some(known), _) => known.clone(),
        (None, Ok(HostPort { text, endpoint })) => Arc::new(ModuleTarget {
            name: text.as_str().into(),
            address: text.into(),
            endpoint,
            labels: Vec::new(),
        }),
        (None, Err(expected)) => bail!(
            "{}: expected the name of a target of {module}, or {expected}",
            quoted(target)
        ),
    };
    Ok(ModuleJob {
        spec: spec.clone(),
        target,
    })
}

fn text(looked: &ModuleLooked) -> String {
    let target = &looked.job.target;
    let mut out = format!("address    {}\n", target.address);
    if let Some(expiry) = looked.expiry {
        out += &format!("tls        the peer's certificate expires {}\n", utc(expiry));
    }
    // Writing into a String cannot fail.
    match &looked.found {
        Err(failure) => {
            let _ = writeln!(out, "channel    never READY: {failure}");
        }
        Ok((after, report)) => {
            let _ = writeln!(out, "channel    READY after {}", milliseconds(Some(*after)));
            for (service, health) in looked.healths() {
                let _ = writeln!(out, "health     {health:<16} {}", quoted(&service));
            }
            out += &findings(looked.said());
            if let Some(reply) = looked.reply() {
                let _ = writeln!(out, "reply      {}", clean(reply, reply.len()));
            }
            let success = if report.success { "success" } else { "no success" };
            let took = milliseconds(report.took);
            let _ = writeln!(out, "result     {} ({success}) {took}", report.result);
            if let Some(detail) = &report.detail {
                let _ = writeln!(out, "detail     {detail}");
            }
        }
    }
    out
}

/// What the peer reported, a line for each service or network instance.
fn findings(said: Option<&Said>) -> String {
    let mut out = String::new();
    match said {
        Some(Said::Services(Some(versions))) => {
            for service in &versions.services {
                let (supported, current) = (service.supported, service.current);
                let _ = writeln!(
                    out,
                    "service    {}: versions {supported} to {current}",
                    quoted(&service.name)
                );
            }
            for (client, compatibility) in &versions.clients {
                let _ = writeln!(out, "client     {}: {compatibility}", quoted(client));
            }
        }
        Some(Said::Gribi(Some(counts))) => {
            for (name, of) in &counts.instances {
                let _ = write!(out, "gribi      {}:", quoted(name));
                for kind in AftKind::ALL.iter().filter(|kind| of.entries[kind.index()] > 0) {
                    let _ = write!(out, " {} {kind}", of.entries[kind.index()]);
                }
                for plane in AftPlane::ALL {
                    let not = of.planes[plane.index()][Programmed::No.index()];
                    let _ = write!(out, ", {plane}: {not} not programmed");
                }
                out.push('\n');
            }
        }
        Some(Said::Health(_) | Said::Reply(_) | Said::Services(None) | Said::Gribi(None)) | None => {}
    }
    out
}
