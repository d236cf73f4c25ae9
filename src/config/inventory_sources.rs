//! `inventory`: sources that list the SoCs to probe: files and URLs in the format of Prometheus, and the CONFIG_DB of other
//! switches.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use super::file_pattern::FilePattern;
use super::http_login::{HttpLogin, Secret};
use super::raw_sources::{HeaderText, RawFileSource, RawHttpSource, RawRemote, RawSource};
use super::scalar::Value;
use super::settings::{Database, Namespace};
use super::{KeyError, at, tls_files};
use crate::model::{Rack, Side, TlsSettings, text};

/// The most sources. Each is a task of its own; a fleet has one, or one for each of its data centres.
const MOST_SOURCES: usize = 100;

/// A source of the inventory.
#[derive(Debug, Clone, PartialEq)]
pub struct InventorySource {
    /// Its name: in metrics, in the log, in front of its problems. Without a login or a query. No two sources have the same.
    pub name: Arc<str>,
    /// Where it is and how it is read.
    pub origin: SourceOrigin,
}

/// Where a source is and how it is read.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceOrigin {
    /// Files.
    Files(FileSource),
    /// An HTTP server.
    Http(HttpSource),
    /// The CONFIG_DB of another switch.
    ConfigDb(RemoteConfigDb),
}

/// Files that list targets.
#[derive(Debug, Clone, PartialEq)]
pub struct FileSource {
    /// Which files.
    pub files: Vec<FilePattern>,
    /// They are read again after this time, even if they seem unchanged.
    pub refresh: Duration,
}

/// An HTTP server that lists targets.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpSource {
    /// http or https, without a login.
    pub url: Uri,
    /// How often it is asked.
    pub refresh: Duration,
    /// How to log in there.
    pub login: Option<HttpLogin>,
    /// The certificates; only with https.
    pub tls: Option<TlsSettings>,
}

/// The CONFIG_DB of another switch. It is only read.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteConfigDb {
    /// The database.
    pub database: Database,
    /// The rack of the switch.
    pub rack: Rack,
    /// Which ToR of the rack it is. If unknown, its Loopback3 decides.
    pub side: Side,
}

/// The meaning of the key. Relative paths start at `base`.
pub(super) fn sources(raw: Vec<RawSource>, base: &Path) -> Result<Vec<InventorySource>, KeyError> {
    if raw.is_empty() || raw.len() > MOST_SOURCES {
        let message = format!("expected 1 to {MOST_SOURCES} sources, got {}", raw.len());
        return at("inventory", message);
    }
    let mut sources: Vec<InventorySource> = Vec::with_capacity(raw.len());
    for (n, raw) in raw.into_iter().enumerate() {
        let key = format!("inventory[{n}]");
        let (mut name, origin) = match (raw.file_sd, raw.http_sd, raw.config_db) {
            (Some(raw), None, None) => files(raw, base, &key)?,
            (None, Some(raw), None) => server(raw, base, &key)?,
            (None, None, Some(raw)) => remote(raw, &key)?,
            _ => return at(&key, "expected one of file_sd, http_sd and config_db"),
        };
        let alike = sources
            .iter()
            .filter(|source| is_alike(&source.name, &name))
            .count();
        if alike > 0 {
            name = format!("{name}#{}", alike + 1);
        }
        sources.push(InventorySource {
            name: name.into(),
            origin,
        });
    }
    Ok(sources)
}

/// Whether a source's name is this one, or this one with a number.
fn is_alike(taken: &str, name: &str) -> bool {
    taken
        .strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
}

fn files(raw: RawFileSource, base: &Path, key: &str) -> Result<(String, SourceOrigin), KeyError> {
    let key = format!("{key}.file_sd");
    let Some(first) = raw.files.first() else {
        return at(&format!("{key}.files"), "expected at least one path");
    };
    let more = match raw.files.len() {
        1 => String::new(),
        files => format!(" and {} more", files - 1),
    };
    let name = format!("file_sd:{}{more}", text::quote(first.0.path.display()));
    let files = raw.files.into_iter().map(|file| FilePattern {
        path: base.join(file.0.path),
        names: file.0.names,
    });
    let files = files.collect();
    let refresh = refresh(raw.refresh.0, &key)?;
    Ok((name, SourceOrigin::Files(FileSource { files, refresh })))
}

/// Not more often than once a second: a source is for what changes rarely.
fn refresh(wanted: Duration, key: &str) -> Result<Duration, KeyError> {
    if wanted < Duration::from_secs(1) {
        return at(
            &format!("{key}.refresh"),
            format!("expected at least 1s, got {wanted:?}"),
        );
    }
    Ok(wanted)
}

fn server(raw: RawHttpSource, base: &Path, key: &str) -> Result<(String, SourceOrigin), KeyError> {
    let key = format!("{key}.http_sd");
    let url = raw.url.0.0;
    let (scheme, authority) = (
        url.scheme_str().unwrap_or(""),
        url.authority().map_or("", |a| a.as_str()),
    );
    let name = format!(
        "http_sd:{}",
        text::quote(format!("{scheme}://{authority}{}", url.path()))
    );
    let tls = raw
        .tls
        .map(|tls| tls_files::settings(tls, base, &format!("{key}.tls")))
        .transpose()?;
    match (scheme, &tls) {
        ("https", None) => {
            let message =
                "expected tls: {ca: FILE} with https: the system's own CA certificates are not used";
            return at(&format!("{key}.tls"), message);
        }
        ("http", Some(_)) => return at(&format!("{key}.tls"), "expected no tls with http"),
        _ => {}
    }
    let login = match (raw.basic_auth, raw.authorization) {
        (None, None) => None,
        (Some(raw), None) => {
            let key = format!("{key}.basic_auth");
            let password = secret(raw.password, raw.password_file, base, [&key, "password"])?;
            let user = raw.username.0.0;
            if user.contains(':') {
                let message = "expected a name without a colon: HTTP cannot have one in it";
                return at(&format!("{key}.username"), message);
            }
            Some(HttpLogin::Basic(user, password))
        }
        (None, Some(raw)) => {
            let key = format!("{key}.authorization");
            let credentials = secret(raw.credentials, raw.credentials_file, base, [&key, "credentials"])?;
            Some(HttpLogin::Scheme(raw.scheme.0.0, credentials))
        }
        (Some(_), Some(_)) => return at(&key, "expected basic_auth or authorization, got both"),
    };
    let refresh = refresh(raw.refresh.0, &key)?;
    let source = HttpSource {
        url,
        refresh,
        login,
        tls,
    };
    Ok((name, SourceOrigin::Http(source)))
}

fn secret(
    text: Option<Value<HeaderText>>,
    file: Option<PathBuf>,
    base: &Path,
    [key, name]: [&str; 2],
) -> Result<Secret, KeyError> {
    match (text, file) {
        (Some(text), None) => Ok(Secret::Text(text.0.0)),
        (None, Some(file)) => Ok(Secret::File(base.join(file))),
        _ => at(key, format!("expected one of {name} and {name}_file")),
    }
}

fn remote(raw: RawRemote, key: &str) -> Result<(String, SourceOrigin), KeyError> {
    let key = format!("{key}.config_db");
    let namespace = Namespace::from_url(&raw.url).or_else(|message| at(&format!("{key}.url"), message))?;
    let rack = raw.rack.0;
    if rack.is_empty() {
        // Every switch has an Ethernet0.
        return at(
            &format!("{key}.rack"),
            "expected the name of the switch's rack, such as r17",
        );
    }
    let database = namespace.config_db;
    let name = format!("config_db:{}", database.server);
    let source = RemoteConfigDb {
        database,
        rack,
        side: raw.side.into(),
    };
    Ok((name, SourceOrigin::ConfigDb(source)))
}
