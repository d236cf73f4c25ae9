//! `GRPCCLIENT`: whether the SoCs are spoken to in plain text or over TLS, and with which files.
//!
//! ycabled copies `/etc/sonic/grpc_secrets.json` into CONFIG_DB when it starts and deletes the rows when it stops: at boot, after
//! `config reload` and while ycabled is stopped there are no rows, though the SoCs speak TLS. So the file counts where no row
//! says anything, and where neither does, what was in force stays in force. Only a row or a file that says `insecure` turns TLS off,
//! and only that ends in plain text after something has asked for TLS, whether or not it could be met. What was there and could not
//! be understood may have asked for it: a malformed file that vanishes is not the same as none, ever.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ConfigDbCopy;
use super::grpc_rows::{AuthLevel, GrpcFile, GrpcRows, GrpcType};
use super::grpc_secrets::Secrets;
use crate::config::is_server_name;
use crate::model::schema;
use crate::model::{ClientIdentity, Entry, Security, Tables, TlsSettings, quoted};

/// What one place (CONFIG_DB, the file) says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Nothing: there is no row `config`, or it has no `type`.
    Nothing,
    /// Plain text or TLS.
    Settings(Security),
    /// TLS, but something is missing, for people: what. It may be half of a rewrite.
    Incomplete(Arc<str>),
    /// Something that cannot be met, for people: why.
    Wrong(Arc<str>),
    /// Not known: it is there, and cannot be read or understood. For people: why.
    Unreadable(Arc<str>),
    /// Not known: nobody has looked yet. For people: at what.
    Unread(Arc<str>),
}

/// Where the settings in force come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Origin {
    /// Nothing has said anything, ever: plain text, as for ycabled.
    #[default]
    Nowhere,
    /// GRPCCLIENT in CONFIG_DB.
    Rows,
    /// The file.
    File,
    /// What was in force before: rows and file are gone, or incomplete (for people: which).
    Kept(Arc<str>),
}

/// How the SoCs of one namespace are spoken to, and what that was before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secured {
    /// In force; `None`: nothing has been said.
    pub security: Option<Security>,
    /// From where.
    pub origin: Origin,
    /// What stays in force when rows and file say nothing: the last settings that could be met. Where what asked for TLS
    /// since could not be met, and there are no settings with TLS, none: then this is why. So it is where nothing has ever been
    /// understood of what was there.
    last: Option<Security>,
}

const SILENT: &str = "no row of GRPCCLIENT, and no grpc_secrets.json, says anything any more";
/// Before what was wrong with it.
const GONE: &str = "what would say plain text or TLS is gone, and could not be used while it was there: write type insecure or secure \
                    into GRPCCLIENT|config or grpc_secrets.json, or restart the exporter if there is to be neither. It was:";

/// Settles how the SoCs of each source are spoken to: by its own rows, else the switch's (the first source's), else the file, else
/// as before.
pub fn secure(sources: &mut [ConfigDbCopy], secrets: &Secrets) {
    let by_rows: Vec<Said> = sources
        .iter()
        .map(|source| source.tables.as_deref().map_or(Said::Nothing, by_rows))
        .collect();
    let host = by_rows.first().cloned();
    for (source, own) in sources.iter_mut().zip(by_rows) {
        let rows = [Some(own), host.clone()].into_iter().flatten();
        let said = rows.map(|said| (said, Origin::Rows));
        let file = (by_file(secrets), Origin::File);
        let first = said.chain([file]).find(|(said, _)| *said != Said::Nothing);
        source.secured.settle(first);
    }
}

impl Secured {
    /// Takes what is said now, and where; `None`: nothing anywhere.
    fn settle(&mut self, said: Option<(Said, Origin)>) {
        match &said {
            Some((Said::Settings(security), _)) => self.last = Some(security.clone()),
            // Asked for TLS, or for what we do not know: no plain text follows until something says `insecure` again.
            Some((Said::Incomplete(why) | Said::Wrong(why), _))
                if !matches!(self.last, Some(Security::Tls(_))) =>
            {
                self.last = Some(Security::Unusable(why.clone()));
            }
            // There was something, and what it was nobody knows.
            Some((Said::Unreadable(why), _)) if self.last.is_none() => {
                self.last = Some(Security::Unusable(why.clone()));
            }
            _ => {}
        }
        let (security, origin) = match (said, self.last.clone()) {
            (Some((Said::Settings(security), origin)), _) => (Some(security), origin),
            (Some((Said::Wrong(why), origin)), _) => (Some(Security::Unusable(why)), origin),
            (
                Some((Said::Incomplete(why) | Said::Unreadable(why) | Said::Unread(why), origin)),
                None | Some(Security::Unusable(_)),
            ) => (Some(Security::Unusable(why)), origin),
            (Some((Said::Incomplete(why) | Said::Unreadable(why) | Said::Unread(why), _)), Some(last)) => {
                (Some(last), Origin::Kept(why))
            }
            (None | Some((Said::Nothing, _)), Some(last)) => {
                let last = match last {
                    // Not what is wrong now, but what was.
                    Security::Unusable(why) => Security::Unusable(format!("{GONE} {why}").into()),
                    last => last,
                };
                (Some(last), Origin::Kept(SILENT.into()))
            }
            (None | Some((Said::Nothing, _)), None) => (None, Origin::Nowhere),
        };
        (self.security, self.origin) = (security, origin);
    }
}

/// What the rows of a CONFIG_DB say.
pub fn by_rows(tables: &Tables) -> Said {
    said(tables, schema::CONFIG_DB)
}

/// What the file says.
pub fn by_file(secrets: &Secrets) -> Said {
    match secrets {
        Secrets::Absent => Said::Nothing,
        // What cannot be read may ask for TLS: that must not end in plain text.
        Secrets::Unread(path) => Said::Unread(format!("{}: has not been read yet", path.display()).into()),
        Secrets::Unusable(why) => Said::Unreadable(why.clone()),
        Secrets::Holds(path, tables) => said(tables, &format!("{}:", path.display())),
    }
}

/// What GRPCCLIENT says in one place; the place is for people.
fn said(tables: &Tables, place: &str) -> Said {
    // What cannot be read may have asked for TLS: that must not end in plain text.
    let unreadable = |table: &&&str| {
        let mut rows = tables.table(table);
        rows.any(|(key, entry)| key == "config" && !matches!(entry, Entry::Row(_)))
    };
    if let Some(table) = schema::GRPC_CLIENTS.iter().find(unreadable) {
        return Said::Unreadable(format!("{place} {table}|config: expected a hash").into());
    }
    let rows = GrpcRows::of(tables);
    let Some(table) = rows.table() else {
        return Said::Nothing;
    };
    let place = RowPlace(place, table);
    match rows.kind() {
        GrpcType::Absent => Said::Nothing,
        GrpcType::Insecure => Said::Settings(Security::Plain),
        GrpcType::Secure => match tls(&rows, &place) {
            Ok(settings) => Said::Settings(Security::Tls(settings)),
            Err(not) => not,
        },
        GrpcType::Other(other) => place.wrong("config", "type", "secure or insecure", other),
    }
}

/// Where a row is, for messages: the place and the table.
struct RowPlace<'a>(&'a str, &'a str);

impl RowPlace<'_> {
    fn field(&self, row: &str, field: &str) -> String {
        let Self(place, table) = self;
        format!("{place} {table}|{row} {field}")
    }

    fn wrong(&self, row: &str, field: &str, expected: &str, found: &str) -> Said {
        let field = self.field(row, field);
        Said::Wrong(format!("{field}: expected {expected}, found {}", quoted(found)).into())
    }
}

fn tls(rows: &GrpcRows<'_>, place: &RowPlace<'_>) -> Result<TlsSettings, Said> {
    let client = match rows.auth_level() {
        AuthLevel::Absent | AuthLevel::Server => None,
        AuthLevel::Mutual | AuthLevel::Client => Some(ClientIdentity {
            cert: file(rows, GrpcFile::ClientCert, place)?,
            key: file(rows, GrpcFile::ClientKey, place)?,
        }),
        AuthLevel::Other(other) => {
            return Err(place.wrong("config", "auth_level", "server, mutual or client", other));
        }
    };
    let name = rows.server_name();
    if let Some(name) = name.filter(|name| !is_server_name(name)) {
        let expected = "a DNS name or an IP address";
        return Err(place.wrong("certs", "grpc_ssl_credential", expected, name));
    }
    Ok(TlsSettings {
        ca: file(rows, GrpcFile::Ca, place)?,
        client,
        server_name: name.map(str::to_owned),
    })
}

fn file(rows: &GrpcRows<'_>, file: GrpcFile, place: &RowPlace<'_>) -> Result<PathBuf, Said> {
    let Some(path) = rows.file(file) else {
        let field = place.field("certs", file.field());
        let text = format!("{field}: expected a file's path, found none");
        return Err(Said::Incomplete(text.into()));
    };
    // Relative to what? ycabled's working directory is not ours.
    if !Path::new(path).is_absolute() {
        let expected = "an absolute path (a relative one would depend on who reads it)";
        return Err(place.wrong("certs", file.field(), expected, path));
    }
    Ok(path.into())
}

#[cfg(test)]
mod tests;
