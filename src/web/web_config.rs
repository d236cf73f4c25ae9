//! `--web.config.file`: the format of Prometheus' exporter-toolkit (v0.20.0), from text to a validated value.
//!
//! | file | job |
//! |---|---|
//! | keys | which keys there are |
//! | tls_section | tls_server_config: certificate, key, versions, suites, curves |
//! | tls_suites | its suites and curves |
//! | client_certificates | which client certificates are accepted |
//! | extra_headers | http_server_config.headers |
//! | users | basic_auth_users: bcrypt hashes |
//!
//! The function that reads the files that it names is an argument, so everything here is pure but [`WebFile::load`]. No message
//! repeats a value of the file that may be a secret.
//!
//! Imports `model`, `config` and, from `soc`, how PEM files are read.

mod client_certificates;
mod extra_headers;
mod keys;
mod tls_section;
mod tls_suites;
mod users;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::{HeaderName, HeaderValue};

use crate::config::{ConfigError, KeyError, at, files, read_pem, yaml};
use keys::{RateKeys, ToolkitFile};
pub(super) use tls_section::ServerTls;
pub(super) use users::{PasswordHash, Users};

/// A file of this size has thousands of users.
const MAX_MIB: u64 = 1;
/// The longest `rate_limit.interval`.
const LONGEST_INTERVAL: Duration = Duration::from_secs(365 * 24 * 3600);

/// Everything that the file means.
#[derive(Default)]
pub struct WebConfig {
    /// `None`: plain HTTP.
    pub(super) tls: Option<ServerTls>,
    /// Whether HTTP/2 is offered. Only over TLS.
    pub(super) http2: bool,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) users: Users,
    pub(super) rate: Option<RateLimit>,
    /// What was accepted without effect, for people.
    notes: Vec<String>,
    /// All content that it was made from, to see whether something has changed.
    sources: Vec<Vec<u8>>,
}

/// `burst` requests at once, and one more each `interval`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RateLimit {
    pub(super) interval: Duration,
    pub(super) burst: u32,
}

/// Names no secret.
impl fmt::Debug for WebConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebConfig")
            .field("tls", &self.tls.is_some())
            .field("users", &self.users.len())
            .finish_non_exhaustive()
    }
}

/// For people: `TLS, 2 users`.
impl fmt::Display for WebConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.tls {
            Some(tls) if tls.asks_for_certificates => "TLS with client certificates",
            Some(_) => "TLS",
            None => "plain HTTP",
        })?;
        match self.users.len() {
            0 => f.write_str(", no logins"),
            1 => f.write_str(", 1 user"),
            users => write!(f, ", {users} users"),
        }
    }
}

/// Reads a file that the configuration names.
type ReadFile<'a> = &'a mut dyn FnMut(&Path) -> io::Result<Vec<u8>>;

impl WebConfig {
    /// From the text of the file at `path`. `http2`: as it was at the start, whatever the file has now.
    fn parse(text: &str, path: &Path, http2: Option<bool>, read: ReadFile<'_>) -> Result<Self, ConfigError> {
        let file: Option<ToolkitFile> = yaml::read(text).map_err(|(line, key, message)| {
            let message = without_strings(&message);
            ConfigError::new(path, line, key, message)
        })?;
        let built = Self::build(file.unwrap_or_default(), path, http2, read);
        built.map_err(|(key, message)| ConfigError::new(path, None, Some(key), message))
    }

    fn build(
        file: ToolkitFile,
        path: &Path,
        http2: Option<bool>,
        read: ReadFile<'_>,
    ) -> Result<Self, KeyError> {
        let mut sources = Vec::new();
        let mut notes = Vec::new();
        // A relative path starts at the file's own directory.
        let directory = path.parent().unwrap_or(Path::new(""));
        let mut from_directory = |name: &str| {
            let content = read(&directory.join(name))?;
            sources.push(content.clone());
            Ok(content)
        };
        let http = file.http_server_config.unwrap_or_default();
        if http2.is_some_and(|http2| http2 != http.http2()) {
            notes.push("http_server_config.http2: a change needs a restart".to_owned());
        }
        let http2 = http2.unwrap_or(http.http2());
        let keys = file.tls_server_config.unwrap_or_default();
        let tls = tls_section::build(keys, http2, &mut from_directory, &mut notes)?;
        Ok(Self {
            tls,
            http2,
            headers: extra_headers::checked(&http.headers.unwrap_or_default())?,
            users: Users::new(file.basic_auth_users.unwrap_or_default())?,
            rate: rate(&file.rate_limit.unwrap_or_default())?,
            notes,
            sources,
        })
    }

    /// When the first certificate of the chain that we show expires.
    pub(super) fn certificate_expiry(&self) -> Option<SystemTime> {
        self.tls.as_ref().and_then(|tls| tls.expiry)
    }

    /// Whether no one gets an answer without a login or a client certificate.
    pub(super) fn knows_clients(&self) -> bool {
        self.users.len() > 0 || self.tls.as_ref().is_some_and(|tls| tls.needs_certificates)
    }

    /// What was accepted without effect, for people.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether both were made from the same content.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.sources == other.sources
    }
}

fn rate(keys: &RateKeys) -> Result<Option<RateLimit>, KeyError> {
    let interval = keys.interval.as_ref().map_or(Duration::ZERO, |value| value.0.0);
    if interval > LONGEST_INTERVAL {
        return at("rate_limit.interval", "expected at most a year, 8760h");
    }
    if interval.is_zero() {
        return Ok(None);
    }
    // The toolkit takes it for 0, which lets no one in. Whoever wants that can write it.
    let Some(burst) = &keys.burst else {
        let message = "expected a whole number with the interval: how many requests at once";
        return at("rate_limit.burst", message);
    };
    let burst = burst.0.0;
    Ok(Some(RateLimit { interval, burst }))
}

/// The library repeats a string that stands in a wrong place, and here that may be a key or a hash.
fn without_strings(message: &str) -> String {
    const STRING: &str = "string \"";
    match (message.find(STRING), message.rfind('"')) {
        (Some(begin), Some(end)) if end > begin + STRING.len() => {
            format!("{}a string{}", &message[..begin], &message[end + 1..])
        }
        _ => message.to_owned(),
    }
}

/// A file that has been read and found good.
#[derive(Debug, Clone)]
pub struct WebFile {
    pub(super) path: PathBuf,
    pub(super) config: Arc<WebConfig>,
}

impl WebFile {
    /// Reads it and the files that it names. Blocks.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_as(path, None)
    }

    /// The same after the start: HTTP/2 stays as it was.
    pub(super) fn load_again(path: &Path, http2: bool) -> Result<Self, ConfigError> {
        Self::load_as(path, Some(http2))
    }

    fn load_as(path: &Path, http2: Option<bool>) -> Result<Self, ConfigError> {
        let text = files::read_text(path, MAX_MIB).map_err(|error| {
            let message = format!("cannot be read: {error}");
            ConfigError::new(path, None, None, message)
        })?;
        let mut config = WebConfig::parse(&text, path, http2, &mut read_pem)?;
        config.sources.push(text.into_bytes());
        Ok(Self {
            path: path.to_owned(),
            config: Arc::new(config),
        })
    }
}

/// For `doctor`.
impl WebFile {
    /// `TLS, 2 users`.
    pub fn summary(&self) -> String {
        self.config.to_string()
    }

    /// Whether no one gets an answer without a login or a client certificate.
    pub fn knows_clients(&self) -> bool {
        self.config.knows_clients()
    }

    /// When the first certificate of the chain expires; `None`: plain HTTP.
    pub fn certificate_expiry(&self) -> Option<SystemTime> {
        self.config.certificate_expiry()
    }

    /// The files that hold the key, or hashes of passwords.
    pub fn secret_files(&self) -> Vec<PathBuf> {
        let directory = self.path.parent().unwrap_or(Path::new(""));
        let tls = self.config.tls.as_ref();
        let key_file = tls.and_then(|tls| tls.key_file.as_ref());
        let has_secrets = self.config.users.len() > 0 || tls.is_some_and(|tls| tls.key_file.is_none());
        let own = has_secrets.then(|| self.path.clone());
        own.into_iter()
            .chain(key_file.map(|file| directory.join(file)))
            .collect()
    }
}

/// For people: `web.yml: TLS, 2 users`.
impl fmt::Display for WebFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: good, {}", self.path.display(), self.config)
    }
}

#[cfg(test)]
pub(super) mod tests;
