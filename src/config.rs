//! The configuration file, validated: bad input becomes one error that names the file, the key and what was expected,
//! and nothing of it is applied.
//!
//! `yaml` reads it, `raw` is its shape, `scalar` its values, `databases` where Redis is, `tls_files` the TLS files; here is what it all
//! means.
//!
//! Imports `model` and `runtime`.

mod databases;
pub mod files;
mod raw;
mod redis_url;
mod scalar;
mod settings;
mod tls_files;
pub mod yaml;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use settings::{
    Database, Namespace, Publish, RedisAddress, RedisLogin, RedisServer, Schema, SourceRule, StateDbSettings,
};
pub use tls_files::{is_server_name, read_pem, read_secrets};

use crate::model::{
    BackoffSettings, ChannelSettings, Port, ProbeSettings, Security, Side, SourceAddress, Target, text,
};

/// Where a SoC serves gRPC unless it is said otherwise.
pub const DEFAULT_TCP_PORT: u16 = 50075;

/// Everything the file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// How often and how patiently to probe.
    pub probe: ProbeSettings,
    /// Which ToR this is; unknown: Loopback3 tells.
    pub side: Side,
    /// Where to dial from.
    pub source: SourceRule,
    /// The SoCs' port, where an address has none.
    pub port: u16,
    /// How to hold a channel, as far as CONFIG_DB has no say in it.
    pub channel: Arc<ChannelSettings>,
    /// Whom to probe, one per port; `None`: CONFIG_DB tells.
    pub targets: Option<Vec<Target>>,
    /// The databases to use, the switch's own first; none: no database is used.
    pub namespaces: Vec<Namespace>,
    /// SONiC's file with GRPCCLIENT's settings, which may or may not exist.
    pub grpc_secrets: PathBuf,
    /// Whether and where to publish rows.
    pub publish: Publish,
    /// Whether to publish the SoCs' notices.
    pub publish_notifications: bool,
    /// The rows' field names and values.
    pub schema: Schema,
}

/// Why a file cannot be used: one line for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    file: PathBuf,
    line: Option<u64>,
    key: Option<String>,
    message: String,
}

/// The longest message, characters: serde lists the keys that there are.
const MAX_MESSAGE: usize = 1000;

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // All of it may be somebody else's words.
        write!(f, "{}", text::quote(self.file.display()))?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {}", text::quote(key))?;
        }
        write!(f, ": {}", text::shorten(&self.message, MAX_MESSAGE))
    }
}

impl ConfigError {
    /// An error in a file of this shape: line and key as far as they are known.
    pub fn new(file: &Path, line: Option<u64>, key: Option<String>, message: String) -> Self {
        Self {
            file: file.to_owned(),
            line,
            key,
            message,
        }
    }

    /// Nothing in it is wrong: it could not be had.
    fn unread(path: &Path, error: &io::Error) -> Self {
        let (file, line, key) = (path.to_owned(), None, None);
        let message = format!("cannot read the configuration file: {error}");
        Self {
            file,
            line,
            key,
            message,
        }
    }
}

/// An error in one key, before the file's name is known.
type KeyError = (String, String);

fn at<T>(key: &str, message: impl Into<String>) -> Result<T, KeyError> {
    Err((key.to_owned(), message.into()))
}

impl Config {
    /// SONiC's defaults: everything is found in its databases.
    pub fn without_file() -> Result<Self, ConfigError> {
        Self::parse("{}", Path::new("(no configuration file)"))
    }

    /// How to publish to each namespace's STATE_DB; empty with `publish: off`.
    pub fn state_dbs(&self) -> impl Iterator<Item = (&Arc<str>, StateDbSettings)> {
        let published = self.publish != Publish::Off;
        let namespaces = self.namespaces.iter().filter(move |_| published);
        namespaces.map(|namespace| {
            let Database {
                server,
                id,
                separator,
            } = namespace.state_db.clone();
            let settings = StateDbSettings {
                server,
                db: id,
                separator,
                publish: self.publish,
                schema: self.schema,
            };
            (&namespace.name, settings)
        })
    }

    /// Where to publish each namespace's notices; empty unless `publish_notifications`.
    pub fn appl_dbs(&self) -> impl Iterator<Item = (&Arc<str>, &Database)> {
        let wanted = self.publish_notifications;
        let namespaces = self.namespaces.iter().filter(move |_| wanted);
        namespaces.map(|namespace| (&namespace.name, &namespace.appl_db))
    }

    /// Reads and validates a file. Blocks.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = files::read_text(path, yaml::MAX_MIB);
        Self::parse(&text.map_err(|error| ConfigError::unread(path, &error))?, path)
    }

    /// The same; `None` where there is no such file.
    pub fn load_if_there(path: &Path) -> Result<Option<Self>, ConfigError> {
        match files::read_text(path, yaml::MAX_MIB) {
            Ok(text) => Self::parse(&text, path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ConfigError::unread(path, &error)),
        }
    }

    /// A duration over 0 as the file may hold it (500ms, 4s, 1m30s), for flags.
    pub fn duration(text: &str) -> Option<Duration> {
        <Duration as scalar::Scalar>::parse(text)
    }

    /// A server name as `channel.tls.server_name` may be, for flags.
    pub fn server_name(text: &str) -> Option<String> {
        <tls_files::Name as scalar::Scalar>::parse(text).map(|name| name.0)
    }

    /// Whether `channel.metadata` may have this entry, for flags; an `Err` says what was expected.
    pub fn metadata(name: &str, value: &str) -> Result<(), String> {
        metadata(name, value).map_err(|(_, message)| message)
    }

    /// Validates the text of a file; `path` is for errors, and relative paths in the text are its directory's.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let file = path.to_owned();
        // A file that is just being written must not be taken for one that wants every default.
        let says_nothing = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
        if text.lines().all(says_nothing) {
            let message = "expected at least one key; write {} to have every default".to_owned();
            let (line, key) = (None, None);
            return Err(ConfigError {
                file,
                line,
                key,
                message,
            });
        }
        let raw = yaml::read(text).map_err(|(line, key, message)| ConfigError {
            file: file.clone(),
            line,
            key,
            message,
        })?;
        let base = path.parent().unwrap_or(Path::new(""));
        validate(raw, base).map_err(|(key, message)| ConfigError {
            file,
            line: None,
            key: Some(key),
            message,
        })
    }
}

fn validate(raw: raw::RawFile, base: &Path) -> Result<Config, KeyError> {
    let probe = ProbeSettings {
        interval: raw.probe.interval.0,
        timeout: raw.probe.timeout.0,
    };
    if probe.timeout >= probe.interval {
        let (timeout, interval) = (probe.timeout, probe.interval);
        return at(
            "probe.timeout",
            format!("expected less than probe.interval ({interval:?}), got {timeout:?}"),
        );
    }
    let side = match raw.side {
        raw::RawSide::Auto => Side::Unknown,
        raw::RawSide::Upper => Side::Upper,
        raw::RawSide::Lower => Side::Lower,
    };
    let port = raw.channel.tcp_port.0.0;
    let source = raw.channel.source_address.0;
    let channel = Arc::new(channel(raw.channel, base)?);
    let targets = match &raw.targets {
        Some(list) => Some(targets(list, port, side, &channel)?),
        None => None,
    };
    let raw::RawDatabases { publish, schema, .. } = raw.databases;
    let publish_notifications = notifications(raw.databases.publish_notifications.0, publish)?;
    let told_all = targets.is_some() && side != Side::Unknown && source != SourceRule::Loopback3;
    let needed = publish != Publish::Off || !told_all;
    let namespaces = databases(&raw.databases, needed)?;
    Ok(Config {
        probe,
        side,
        source,
        port,
        channel,
        targets,
        namespaces,
        grpc_secrets: base.join(raw.databases.grpc_secrets.0.0),
        publish,
        publish_notifications,
        schema,
    })
}

fn channel(raw: raw::RawChannel, base: &Path) -> Result<ChannelSettings, KeyError> {
    let security = match raw.tls {
        Some(tls) => Security::Tls(tls_files::settings(tls, base)?),
        None => Security::Plain,
    };
    let source_address = match raw.source_address.0 {
        // The inventory fills in Loopback3's, once it is known.
        SourceRule::Auto | SourceRule::None => SourceAddress::Any,
        SourceRule::Loopback3 => SourceAddress::Missing("Loopback3's address is not known yet".into()),
        SourceRule::Ip(ip) => SourceAddress::Fixed(ip),
    };
    let backoff = BackoffSettings {
        initial: raw.backoff.initial.0,
        multiplier: raw.backoff.multiplier.0.0,
        jitter: raw.backoff.jitter.0.0,
        max: raw.backoff.max.0,
    };
    for (name, value) in &raw.metadata {
        metadata(name, value)?;
    }
    Ok(ChannelSettings {
        keepalive_time: raw.keepalive_time.0,
        keepalive_timeout: raw.keepalive_timeout.0,
        backoff,
        source_address,
        security,
        metadata: raw.metadata.into_iter().collect(),
    })
}

fn metadata(name: &str, value: &str) -> Result<(), KeyError> {
    let key = format!("channel.metadata.{name}");
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.".contains(c);
    let reserved = [
        "te",
        "content-type",
        "user-agent",
        "content-length",
        "connection",
        "host",
    ];
    if name.is_empty() || !name.chars().all(allowed) {
        return at(
            &key,
            "expected a name of lower-case letters, digits, '_', '-' and '.'",
        );
    }
    if reserved.contains(&name) || name.starts_with("grpc-") || name.ends_with("-bin") {
        return at(
            &key,
            "expected a name that gRPC does not use itself and that does not end in -bin",
        );
    }
    let filled = value.replace("${soc_ip}", "").replace("${port}", "");
    if filled.contains("${") {
        return at(&key, "expected no other placeholder than ${soc_ip} and ${port}");
    }
    if !filled.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
        return at(&key, "expected a value of printable ASCII characters");
    }
    Ok(())
}

fn targets(
    raw: &[raw::RawTarget],
    default_port: u16,
    side: Side,
    channel: &Arc<ChannelSettings>,
) -> Result<Vec<Target>, KeyError> {
    let most = yaml::MAX_TARGETS;
    if raw.len() > most {
        let got = raw.len();
        let message = format!("expected at most {most}, got {got}: let several exporters share them");
        return at("targets", message);
    }
    let mut first: HashMap<&Port, usize> = HashMap::new();
    let mut targets = Vec::with_capacity(raw.len());
    for (n, target) in raw.iter().enumerate() {
        let port = &target.port.0;
        if let Some(before) = first.insert(port, n) {
            return at(
                &format!("targets[{n}].port"),
                format!("expected each port once, {port} is targets[{before}] already"),
            );
        }
        let address = target.address.0.with_default_port(default_port);
        if let SourceAddress::Fixed(source) = &channel.source_address
            && source.is_ipv4() != address.is_ipv4()
        {
            return at(
                &format!("targets[{n}].address"),
                format!(
                    "expected an address of the same family as channel.source_address ({source}), got {address}"
                ),
            );
        }
        targets.push(Target {
            id: port.clone().into(),
            namespace: "".into(),
            address,
            side,
            channel: channel.clone(),
        });
    }
    Ok(targets)
}

/// Whether notices may be published, with rows published like that.
fn notifications(wanted: bool, publish: Publish) -> Result<bool, KeyError> {
    let refused = |why: &str| {
        at(
            "databases.publish_notifications",
            format!("expected false with {why}"),
        )
    };
    match publish {
        Publish::Off if wanted => refused("publish: off, which writes nothing"),
        Publish::Shadow if wanted => {
            refused("publish: shadow, which writes nothing but MUX_CABLE_INFO_SHADOW")
        }
        _ => Ok(wanted),
    }
}

/// The switch's databases, if anything needs them.
fn databases(raw: &raw::RawDatabases, needed: bool) -> Result<Vec<Namespace>, KeyError> {
    // A bad URL is an error even while nothing needs it: it would only be found out later.
    let from_url = raw.url.as_deref().map(Namespace::from_url).transpose();
    let from_url = from_url.or_else(|message| at("databases.url", message))?;
    match from_url {
        _ if !needed => Ok(Vec::new()),
        Some(namespace) => Ok(vec![namespace]),
        None => Namespace::from_files(&raw.config).or_else(|message| at("databases.config", message)),
    }
}

#[cfg(test)]
mod tests;
