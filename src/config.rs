//! The configuration file, validated: bad input becomes one error that names the file, the key and what was expected,
//! and nothing of it is applied.
//!
//! `yaml` reads it, `raw` is its shape, `scalar` its values, `databases` says where Redis is, `tls_files` reads the TLS files,
//! `inventory_sources` says where targets come from, `file_pattern` which files, `http_login` how to log in there, `module_settings` what probe modules ask, `shard_index` which of several processes this is, and `validate` checks what
//! it all means. `otel` and `otel_environment` say what is sent as OpenTelemetry. `switch_settings` are CONFIG_DB's, for keys that the file does not have. `stamp` tells whether a file has changed.
//!
//! Imports `model`, `runtime` and `unary`.

mod databases;
mod file_pattern;
pub mod files;
mod http_login;
mod http_url;
mod inventory_sources;
mod key_path;
mod module_scalars;
mod module_settings;
mod module_targets;
#[cfg(feature = "unary")]
mod module_unary;
mod otel;
mod otel_environment;
mod raw;
mod raw_modules;
mod raw_otel;
mod raw_shared;
mod raw_sources;
#[cfg(feature = "unary")]
mod raw_unary;
mod redis_url;
mod scalar;
#[cfg(feature = "unary")]
mod schema_files;
mod settings;
mod shard_index;
pub mod stamp;
mod switch_settings;
mod tls_files;
mod validate;
pub mod yaml;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use file_pattern::FilePattern;
pub use http_login::{HttpLogin, Secret};
pub use http_url::is_http_url;
pub use inventory_sources::{FileSource, HttpSource, InventorySource, RemoteConfigDb, SourceOrigin};
pub use module_scalars::HostPort;
pub use otel::{OtelFile, OtelSettings, OtlpTarget};
pub use raw_otel::{Batches, OtlpProtocol, OtlpSignal};
pub use scalar::Address;
pub(crate) use scalar::{Scalar, Value};
pub use settings::{
    Database, Namespace, Publish, RedisAddress, RedisLogin, RedisServer, Schema, SourceRule, StateDbSettings,
};
pub use switch_settings::SwitchSettings;
pub use tls_files::{is_server_name, read_pem, read_secrets};

use crate::model::{ChannelSettings, ModuleSpec, ProbeSettings, Shard, Side, Target, text};

/// The TCP port where a SoC serves gRPC, unless configured otherwise. SONiC's daemons use this port.
pub const DEFAULT_TCP_PORT: u16 = 50075;

/// The whole configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The interval and timeout of rounds.
    pub probe: ProbeSettings,
    /// Which ToR this is. If unknown, Loopback3 decides.
    pub side: Side,
    /// Where to dial from.
    pub source: SourceRule,
    /// The port of SoCs whose address has none.
    pub port: u16,
    /// The channels' settings, except what CONFIG_DB decides.
    pub channel: Arc<ChannelSettings>,
    /// The SoCs to probe, one per port. `None`: those of `inventory`, or the ports of CONFIG_DB.
    pub targets: Option<Vec<Target>>,
    /// Sources that list the SoCs to probe. Empty: `targets`, or the ports of CONFIG_DB.
    pub inventory: Vec<InventorySource>,
    /// Which of several processes this is. `None`: it is alone.
    pub shard: Option<Shard>,
    /// The databases to use, the switch's own first. Empty: no database is used.
    pub namespaces: Vec<Namespace>,
    /// SONiC's file with GRPCCLIENT's settings. It may not exist.
    pub grpc_secrets: PathBuf,
    /// Whether and where to publish rows.
    pub publish: Publish,
    /// Whether to publish the SoCs' notices.
    pub publish_notifications: bool,
    /// The rows' field names and values.
    pub schema: Schema,
    /// The probe modules, sorted by name.
    pub modules: Arc<[Arc<ModuleSpec>]>,
    /// What the file says about OpenTelemetry; the environment may say more.
    pub otel: OtelFile,
}

/// Why a file cannot be used: one line for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    file: PathBuf,
    line: Option<u64>,
    key: Option<String>,
    message: String,
}

/// The longest message, in characters: serde lists all keys that exist.
const MAX_MESSAGE: usize = 1000;

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Path, key and message may quote text from outside.
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
    /// An error in a file of this shape. Line and key if they are known.
    pub fn new(file: &Path, line: Option<u64>, key: Option<String>, message: String) -> Self {
        Self {
            file: file.to_owned(),
            line,
            key,
            message,
        }
    }

    /// The content is not wrong: the file could not be read.
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

/// An error in one key, before the file's name is known: the key, and what was expected.
pub(crate) type KeyError = (String, String);

pub(crate) fn at<T>(key: &str, message: impl Into<String>) -> Result<T, KeyError> {
    Err((key.to_owned(), message.into()))
}

impl Config {
    /// SONiC's defaults: everything is found in its databases.
    pub fn without_file() -> Result<Self, ConfigError> {
        Self::without_file_over(&SwitchSettings::default())
    }

    /// The same, with the switch's settings.
    pub fn without_file_over(switch: &SwitchSettings) -> Result<Self, ConfigError> {
        Self::parse_over("{}", Path::new("(no configuration file)"), switch)
    }

    /// Whether the targets are those of CONFIG_DB.
    pub fn is_from_config_db(&self) -> bool {
        self.targets.is_none() && self.inventory.is_empty()
    }

    /// Whether this process is for the SoCs of other switches, or one of several.
    pub fn is_central(&self) -> bool {
        self.shard.is_some() || !self.inventory.is_empty()
    }

    /// How to publish to each namespace's STATE_DB. Empty with `publish: off`.
    pub fn state_dbs(&self) -> impl Iterator<Item = (&Arc<str>, StateDbSettings)> {
        let published = self.publish != Publish::Off;
        let namespaces = self.namespaces.iter().filter(move |_| published);
        namespaces.map(|namespace| {
            let settings = StateDbSettings {
                database: namespace.state_db.clone(),
                publish: self.publish,
                schema: self.schema,
            };
            (&namespace.name, settings)
        })
    }

    /// Where to publish each namespace's notices. Empty without `publish_notifications`.
    pub fn appl_dbs(&self) -> impl Iterator<Item = (&Arc<str>, &Database)> {
        let wanted = self.publish_notifications;
        let namespaces = self.namespaces.iter().filter(move |_| wanted);
        namespaces.map(|namespace| (&namespace.name, &namespace.appl_db))
    }

    /// Reads and validates a file. Blocks.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_over(path, &SwitchSettings::default())
    }

    /// The same; the switch's settings are for keys that the file does not have.
    pub fn load_over(path: &Path, switch: &SwitchSettings) -> Result<Self, ConfigError> {
        let text = files::read_text(path, yaml::MAX_MIB);
        let text = text.map_err(|error| ConfigError::unread(path, &error))?;
        Self::parse_over(&text, path, switch)
    }

    /// The same. `None`: there is no such file.
    pub fn load_if_there_over(path: &Path, switch: &SwitchSettings) -> Result<Option<Self>, ConfigError> {
        match files::read_text(path, yaml::MAX_MIB) {
            Ok(text) => Self::parse_over(&text, path, switch).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ConfigError::unread(path, &error)),
        }
    }

    /// A duration in the file's notation, for flags. `Err` says what was expected.
    pub fn duration(text: &str) -> Result<Duration, String> {
        let expected = <Duration as scalar::Scalar>::EXPECTED;
        <Duration as scalar::Scalar>::parse(text).ok_or_else(|| format!("expected {expected}"))
    }

    /// A server name that `channel.tls.server_name` would accept, for flags.
    pub fn server_name(text: &str) -> Option<String> {
        <tls_files::Name as scalar::Scalar>::parse(text).map(|name| name.0)
    }

    /// Whether `channel.metadata` would accept this entry, for flags. `Err` says what was expected.
    pub fn metadata(name: &str, value: &str) -> Result<(), String> {
        validate::metadata(name, value).map_err(|(_, message)| message)
    }

    /// Validates the text of a file. `path` is for errors; relative paths in the text start at its directory.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::parse_over(text, path, &SwitchSettings::default())
    }

    /// The same; the switch's settings are for keys that the text does not have.
    pub fn parse_over(text: &str, path: &Path, switch: &SwitchSettings) -> Result<Self, ConfigError> {
        let file = path.to_owned();
        // A file that is just being written must not count as one that wants every default.
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
        validate::validate(raw, base, switch).map_err(|(key, message)| ConfigError {
            file,
            // Modules are written in many lines.
            line: key
                .starts_with("modules.")
                .then(|| key_path::line_of(text, &key))
                .flatten(),
            key: Some(key),
            message,
        })
    }
}

#[cfg(test)]
mod tests;
