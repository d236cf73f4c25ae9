//! `GRPCCLIENT`: whether the channels to the SoCs are plain text or TLS, and which files TLS uses.
//!
//! ycabled copies `/etc/sonic/grpc_secrets.json` into CONFIG_DB when it starts, and deletes the rows when it stops. So at boot,
//! after `config reload` and while ycabled is stopped there are no rows, although the SoCs use TLS. Therefore:
//!
//! - The file is used if no row has settings. If neither has any, the last settings stay in use.
//! - Only a row or a file with `insecure` turns TLS off. After any settings that required TLS, even ones that could not be
//!   used, nothing else leads to plain text.
//! - Settings that could not be parsed may have required TLS. So if nothing else was configured before, a malformed file that
//!   vanishes is not the same as no file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ConfigDbCopy;
use super::grpc_rows::{AuthLevel, CERTS, CONFIG, GrpcFile, GrpcRows, GrpcType};
use super::grpc_secrets::Secrets;
use crate::config::is_server_name;
use crate::model::schema;
use crate::model::{ClientIdentity, Entry, Security, Tables, TlsSettings, quoted};

/// What one place (CONFIG_DB, the file) requires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrpcSettings {
    /// Nothing: there is no row `config`, or it has no `type`.
    Nothing,
    /// Plain text or TLS.
    Settings(Security),
    /// TLS, but something is missing. For people: what. It may be half of a rewrite.
    Incomplete(Arc<str>),
    /// Something that cannot be used. For people: why.
    Wrong(Arc<str>),
    /// Unknown: it is there but cannot be read or parsed. For people: why.
    Unreadable(Arc<str>),
    /// Unknown: it has not been read yet. For people: what.
    Unread(Arc<str>),
}

/// Where the settings in use come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SecurityOrigin {
    /// Nothing has ever been found: plain text, as for ycabled.
    #[default]
    Nowhere,
    /// GRPCCLIENT in CONFIG_DB.
    Rows,
    /// The file.
    File,
    /// The earlier settings: rows and file are gone or incomplete. For people: which.
    Kept(Arc<str>),
}

/// Plain text or TLS to the SoCs of one namespace, now and before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secured {
    /// The settings in use. `None`: nothing has been found.
    pub security: Option<Security>,
    /// Where they come from.
    pub origin: SecurityOrigin,
    /// What stays in use when rows and file have no settings: the last settings that could be used. `Unusable`, with the
    /// reason, if TLS has been required since and could not be used, or if no settings could ever be parsed.
    last: Option<Security>,
}

const SILENT: &str = "neither GRPCCLIENT nor grpc_secrets.json asks for plain text or TLS any more";
/// The reason follows.
const GONE: &str = "the settings for plain text or TLS are gone, and could not be used while they were there: write type insecure or secure \
                    into GRPCCLIENT|config or grpc_secrets.json, or restart the exporter to run without both. What was wrong:";

/// Decides between plain text and TLS for each source: by its own rows, else by the switch's (the first source's), else by the
/// file, else as before.
pub fn secure(sources: &mut [ConfigDbCopy], secrets: &Secrets) {
    let by_rows: Vec<GrpcSettings> = sources
        .iter()
        .map(|source| source.tables.as_deref().map_or(GrpcSettings::Nothing, by_rows))
        .collect();
    let host = by_rows.first().cloned();
    for (source, own) in sources.iter_mut().zip(by_rows) {
        let rows = [Some(own), host.clone()].into_iter().flatten();
        let rows = rows.map(|rows| (rows, SecurityOrigin::Rows));
        let file = (by_file(secrets), SecurityOrigin::File);
        let mut asked = rows.chain([file]);
        let first = asked.find(|(asked, _)| *asked != GrpcSettings::Nothing);
        source.secured.settle(first);
    }
}

impl Secured {
    /// Takes what is required now, and where. `None`: nothing anywhere.
    fn settle(&mut self, asked: Option<(GrpcSettings, SecurityOrigin)>) {
        use GrpcSettings::{Incomplete, Nothing, Settings, Unread, Unreadable, Wrong};
        let asked = asked.filter(|(asked, _)| *asked != Nothing);
        if let Some((asked, _)) = &asked {
            self.remember(asked);
        }
        let last = self.last.clone();
        let (security, origin) = match (asked, last) {
            (Some((Settings(security), origin)), _) => (security, origin),
            (Some((Wrong(why), origin)), _) => (Security::Unusable(why), origin),
            (Some((Incomplete(why) | Unreadable(why) | Unread(why), origin)), last) => match last {
                None | Some(Security::Unusable(_)) => (Security::Unusable(why), origin),
                Some(last) => (last, SecurityOrigin::Kept(why)),
            },
            (Some((Nothing, _)) | None, Some(last)) => (gone(last), SecurityOrigin::Kept(SILENT.into())),
            (Some((Nothing, _)) | None, None) => {
                (self.security, self.origin) = (None, SecurityOrigin::Nowhere);
                return;
            }
        };
        (self.security, self.origin) = (Some(security), origin);
    }

    /// Remembers the settings to use when nothing is configured any more. After settings that required TLS, or may have, they
    /// are never plain text, until a row or the file has `insecure`.
    fn remember(&mut self, asked: &GrpcSettings) {
        use GrpcSettings::{Incomplete, Nothing, Settings, Unread, Unreadable, Wrong};
        let unusable = |why: &Arc<str>| Some(Security::Unusable(why.clone()));
        match asked {
            Settings(security) => self.last = Some(security.clone()),
            // TLS settings that could be used are better than none.
            Incomplete(_) | Wrong(_) if matches!(self.last, Some(Security::Tls(_))) => {}
            Incomplete(why) | Wrong(why) => self.last = unusable(why),
            // There was something, but it is not known what.
            Unreadable(why) if self.last.is_none() => self.last = unusable(why),
            Unreadable(_) | Unread(_) | Nothing => {}
        }
    }
}

/// The last settings, when nothing is configured any more. If they could not be used, the old reason is reported.
fn gone(last: Security) -> Security {
    match last {
        Security::Unusable(why) => Security::Unusable(format!("{GONE} {why}").into()),
        Security::Plain | Security::Tls(_) => last,
    }
}

/// What the rows of a CONFIG_DB require.
pub fn by_rows(tables: &Tables) -> GrpcSettings {
    asked_for(tables, schema::CONFIG_DB)
}

/// What the file requires.
pub fn by_file(secrets: &Secrets) -> GrpcSettings {
    match secrets {
        Secrets::Absent => GrpcSettings::Nothing,
        // A file that has not been read may require TLS: that must not lead to plain text.
        Secrets::Unread(path) => {
            GrpcSettings::Unread(format!("{}: has not been read yet", path.display()).into())
        }
        Secrets::Unusable(why) => GrpcSettings::Unreadable(why.clone()),
        Secrets::Holds(path, tables) => asked_for(tables, &format!("{}:", path.display())),
    }
}

/// What GRPCCLIENT requires in one place. Messages name the place.
fn asked_for(tables: &Tables, place: &str) -> GrpcSettings {
    // What cannot be read may require TLS: that must not lead to plain text.
    let unreadable = |table: &&&str| {
        let mut rows = tables.table(table);
        rows.any(|(key, entry)| key == CONFIG && !matches!(entry, Entry::Row(_)))
    };
    if let Some(table) = schema::GRPC_CLIENTS.iter().find(unreadable) {
        return GrpcSettings::Unreadable(format!("{place} {table}|config: expected a hash").into());
    }
    let rows = GrpcRows::of(tables);
    let Some(table) = rows.table() else {
        return GrpcSettings::Nothing;
    };
    let place = RowPlace(place, table);
    match rows.kind() {
        GrpcType::Absent => GrpcSettings::Nothing,
        GrpcType::Insecure => GrpcSettings::Settings(Security::Plain),
        GrpcType::Secure => match tls(&rows, &place) {
            Ok(settings) => GrpcSettings::Settings(Security::Tls(settings)),
            Err(not) => not,
        },
        GrpcType::Other(other) => place.wrong(CONFIG, "type", "secure or insecure", other),
    }
}

/// Where a row is, for messages: the place and the table.
struct RowPlace<'a>(&'a str, &'a str);

impl RowPlace<'_> {
    fn field(&self, row: &str, field: &str) -> String {
        let Self(place, table) = self;
        format!("{place} {table}|{row} {field}")
    }

    fn wrong(&self, row: &str, field: &str, expected: &str, found: &str) -> GrpcSettings {
        let field = self.field(row, field);
        GrpcSettings::Wrong(format!("{field}: expected {expected}, found {}", quoted(found)).into())
    }
}

fn tls(rows: &GrpcRows<'_>, place: &RowPlace<'_>) -> Result<TlsSettings, GrpcSettings> {
    let client = match rows.auth_level() {
        AuthLevel::Absent | AuthLevel::Server => None,
        AuthLevel::Mutual | AuthLevel::Client => Some(ClientIdentity {
            cert: file(rows, GrpcFile::ClientCert, place)?,
            key: file(rows, GrpcFile::ClientKey, place)?,
        }),
        AuthLevel::Other(other) => {
            return Err(place.wrong(CONFIG, "auth_level", "server, mutual or client", other));
        }
    };
    let name = rows.server_name();
    if let Some(name) = name.filter(|name| !is_server_name(name)) {
        let expected = "a DNS name or an IP address";
        return Err(place.wrong(CERTS, "grpc_ssl_credential", expected, name));
    }
    Ok(TlsSettings {
        ca: file(rows, GrpcFile::Ca, place)?,
        client,
        server_name: name.map(str::to_owned),
    })
}

fn file(rows: &GrpcRows<'_>, file: GrpcFile, place: &RowPlace<'_>) -> Result<PathBuf, GrpcSettings> {
    let Some(path) = rows.file(file) else {
        let field = place.field(CERTS, file.field());
        let text = format!("{field}: expected a file's path, found none");
        return Err(GrpcSettings::Incomplete(text.into()));
    };
    // A relative path would depend on the working directory, and ycabled's is not ours.
    if !Path::new(path).is_absolute() {
        let expected = "an absolute path (a relative one would depend on who reads it)";
        return Err(place.wrong(CERTS, file.field(), expected, path));
    }
    Ok(path.into())
}

#[cfg(test)]
mod tests;
