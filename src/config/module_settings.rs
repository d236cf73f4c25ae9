//! `modules`: what each module asks, of whom, and over which channel.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::module_scalars::{ApiVersion, HealthyStatus, LabelText, ServiceName, unique};
use super::raw_modules::{
    RawGribi, RawHealthCheck, RawInstances, RawModule, RawModuleChannel, RawServiceCheck, RawUnaryKind,
};
use super::raw_shared::{TextOrFile, is_metadata_name, is_reserved_metadata};
use super::scalar::{Scalar as _, Value};
use super::{KeyError, at, module_targets, tls_files, yaml};
use crate::model::{
    ChannelSettings, GribiCheck, HealthCheck, InfoDialect, MetadataValue, ModuleKind, ModuleSpec,
    ProbeSettings, Security, ServiceCheck, SourceAddress,
};

const MOST_MODULES: usize = 64;
/// The whole round of a module, unless its kind has another default.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Routing tables may be large.
const GRIBI_TIMEOUT: Duration = Duration::from_secs(10);
const MOST_SERVICES: usize = 16;
const MOST_CLIENTS: usize = 64;
const MOST_INSTANCES: usize = 64;
/// The longest value of metadata in the file itself; a longer one belongs into a file of its own.
const MOST_METADATA: usize = 8 * 1024;

/// The meaning of the key. Relative paths start at `base`. `interval` is for modules that do not have their own.
pub(super) fn modules(
    raw: BTreeMap<String, RawModule>,
    interval: Duration,
    base: &Path,
) -> Result<Vec<Arc<ModuleSpec>>, KeyError> {
    if raw.len() > MOST_MODULES {
        return at(
            "modules",
            format!("expected at most {MOST_MODULES} modules, got {}", raw.len()),
        );
    }
    let mut modules = Vec::with_capacity(raw.len());
    let mut targets = 0;
    for (name, raw) in raw {
        let module = module(&name, raw, interval, base)?;
        targets += module.targets.len();
        modules.push(Arc::new(module));
    }
    let most = yaml::MAX_TARGETS;
    if targets > most {
        return at(
            "modules",
            format!("expected at most {most} targets in all, got {targets}"),
        );
    }
    Ok(modules)
}

fn module(name: &str, mut raw: RawModule, interval: Duration, base: &Path) -> Result<ModuleSpec, KeyError> {
    let key = format!("modules.{name}");
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !begins || name.len() > 32 || !name.chars().all(allowed) {
        let message =
            "expected a name of at most 32 lower-case letters, digits, '_' and '-' that begins with a letter";
        return at(&key, message);
    }
    if name == "dualtor" {
        return at(&key, "expected another name: dualtor is reserved for the SoCs");
    }
    let kind = kind(&mut raw, base, &key)?;
    let timeout = match &kind {
        ModuleKind::Gribi(_) => GRIBI_TIMEOUT,
        ModuleKind::GrpcHealth(_) | ModuleKind::GrpcUnary(_) | ModuleKind::ServiceInfo(_) => TIMEOUT,
    };
    let probe = probe((raw.interval, interval), (raw.timeout, timeout), &key)?;
    let (channel, metadata) = channel(raw.channel, base, &format!("{key}.channel"))?;
    let targets = module_targets::targets(raw.targets, &channel, &format!("{key}.targets"))?;
    Ok(ModuleSpec {
        name: name.into(),
        kind,
        probe,
        channel: Arc::new(channel),
        metadata,
        targets,
    })
}

/// The only kind that a module has.
fn kind(raw: &mut RawModule, base: &Path, key: &str) -> Result<ModuleKind, KeyError> {
    let kinds = [
        ("grpc_health", raw.grpc_health.is_some()),
        ("grpc_unary", raw.grpc_unary.is_some()),
        ("service_info", raw.service_info.is_some()),
        ("gribi", raw.gribi.is_some()),
    ];
    let given: Vec<&str> = kinds
        .iter()
        .filter(|(_, given)| *given)
        .map(|(kind, _)| *kind)
        .collect();
    if given.len() != 1 {
        let got = match &given[..] {
            [] => "none".to_owned(),
            given => given.join(" and "),
        };
        let message =
            format!("expected exactly one of grpc_health, grpc_unary, service_info and gribi, got {got}");
        return at(key, message);
    }
    if let Some(check) = raw.grpc_unary.take() {
        return unary_check(check, base, &format!("{key}.grpc_unary"));
    }
    if let Some(check) = raw.grpc_health.take() {
        return Ok(ModuleKind::GrpcHealth(health_check(check, key)?));
    }
    if let Some(check) = raw.service_info.take() {
        return Ok(ModuleKind::ServiceInfo(service_check(check, key)?));
    }
    Ok(ModuleKind::Gribi(gribi_check(
        raw.gribi.take().unwrap_or_default(),
        key,
    )?))
}

#[cfg(feature = "unary")]
fn unary_check(raw: RawUnaryKind, base: &Path, key: &str) -> Result<ModuleKind, KeyError> {
    super::module_unary::unary_check(raw, base, key).map(ModuleKind::GrpcUnary)
}

#[cfg(not(feature = "unary"))]
fn unary_check(_: RawUnaryKind, _: &Path, key: &str) -> Result<ModuleKind, KeyError> {
    at(
        key,
        "expected grpc_health, service_info or gribi: this program was built without grpc_unary (the feature `unary`)",
    )
}

/// Values of the file, and their defaults.
fn probe(
    (interval, default_interval): (Option<Value<Duration>>, Duration),
    (timeout, default_timeout): (Option<Value<Duration>>, Duration),
    key: &str,
) -> Result<ProbeSettings, KeyError> {
    let interval = interval.map_or(default_interval, |interval| interval.0);
    let (timeout, whose) = match timeout {
        Some(timeout) => (timeout.0, ""),
        None => (default_timeout, ", the default"),
    };
    if timeout >= interval {
        let message = format!("expected less than the interval ({interval:?}), got {timeout:?}{whose}");
        return at(&format!("{key}.timeout"), message);
    }
    Ok(ProbeSettings { interval, timeout })
}

fn health_check(raw: RawHealthCheck, key: &str) -> Result<HealthCheck, KeyError> {
    let key = format!("{key}.grpc_health");
    let services = unique(
        raw.services.into_iter().map(|Value(ServiceName(name))| name),
        MOST_SERVICES,
        &format!("{key}.services"),
    )?;
    let healthy = raw.healthy.into_iter().map(|Value(HealthyStatus(health))| health);
    let healthy = unique(healthy, 4, &format!("{key}.healthy"))?;
    Ok(HealthCheck {
        services: services.into_iter().map(Arc::from).collect(),
        healthy,
        watch: raw.watch.0,
    })
}

fn service_check(raw: RawServiceCheck, key: &str) -> Result<ServiceCheck, KeyError> {
    let key = format!("{key}.service_info.clients");
    if raw.clients.len() > MOST_CLIENTS {
        return at(
            &key,
            format!("expected at most {MOST_CLIENTS}, got {}", raw.clients.len()),
        );
    }
    let mut clients = Vec::with_capacity(raw.clients.len());
    for (name, Value(ApiVersion(version))) in raw.clients {
        if name.is_empty() || LabelText::parse(&name).is_none() {
            let message = "expected the name of a service of at most 64 characters";
            return at(&format!("{key}.{name}"), message);
        }
        clients.push((name.into(), version));
    }
    let dialect = raw.dialect.map_or(InfoDialect::Auto, |dialect| dialect.0);
    Ok(ServiceCheck { dialect, clients })
}

fn gribi_check(raw: RawGribi, key: &str) -> Result<GribiCheck, KeyError> {
    let instances = match raw.network_instances {
        None | Some(RawInstances::All) => None,
        Some(RawInstances::Names(names)) => {
            let key = format!("{key}.gribi.network_instances");
            let names = unique(names.into_iter(), MOST_INSTANCES, &key)?;
            Some(names.into_iter().map(Arc::from).collect())
        }
    };
    Ok(GribiCheck { instances })
}

/// The settings of a module's channels, and what is sent with each RPC.
type OfChannel = (ChannelSettings, Vec<(String, MetadataValue)>);

fn channel(raw: RawModuleChannel, base: &Path, key: &str) -> Result<OfChannel, KeyError> {
    let security = match raw.tls {
        Some(tls) => Security::Tls(tls_files::settings(tls, base, &format!("{key}.tls"))?),
        None => Security::Plain,
    };
    let mut metadata = Vec::new();
    for (name, value) in raw.metadata {
        let value = match value {
            TextOrFile::Text(text) => MetadataValue::Text(text),
            TextOrFile::File(file) => MetadataValue::File(base.join(file)),
        };
        check_metadata(&name, &value, &format!("{key}.metadata.{name}"))?;
        metadata.push((name, value));
    }
    let settings = ChannelSettings {
        keepalive: raw.keepalive.0,
        keepalive_timeout: raw.keepalive_timeout.0,
        backoff: raw.backoff.into(),
        source_address: raw
            .source_address
            .0
            .0
            .map_or(SourceAddress::Any, SourceAddress::Fixed),
        security,
        metadata: Vec::new(),
    };
    Ok((settings, metadata))
}

/// Whether this entry may be sent. A message never has the value.
fn check_metadata(name: &str, value: &MetadataValue, key: &str) -> Result<(), KeyError> {
    if name.len() > 128 || !is_metadata_name(name) {
        return at(
            key,
            "expected a name of lower-case letters, digits, '_', '-' and '.'",
        );
    }
    if is_reserved_metadata(name) {
        return at(key, "expected a name that gRPC does not use itself");
    }
    let MetadataValue::Text(text) = value else {
        return Ok(());
    };
    let filled = text.replace("${address}", "").replace("${target}", "");
    if filled.contains("${") {
        return at(key, "expected no other placeholder than ${address} and ${target}");
    }
    if text.len() > MOST_METADATA || !text.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
        return at(
            key,
            "expected a value of at most 8 KiB of printable ASCII characters",
        );
    }
    if name.ends_with("-bin")
        && STANDARD
            .decode(text)
            .or_else(|_| STANDARD_NO_PAD.decode(text))
            .is_err()
    {
        return at(key, "expected base64, because the name ends in -bin");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
