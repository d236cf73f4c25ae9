//! `GRPCCLIENT`: whether the SoCs are spoken to in plain text or over TLS, and with which files.

use crate::config::is_server_name;
use crate::model::{ClientIdentity, Entry, Row, Security, Tables, TlsSettings, text};

/// The deployed name, then the one of SONiC's design document.
const TABLES: [&str; 2] = ["GRPCCLIENT", "GRPC_CLIENT"];

/// What is read of the rows `config` and `certs`.
pub(super) const FIELDS: &[&str] = &[
    "type",
    "auth_level",
    "log_level",
    "ca_crt",
    "client_crt",
    "client_key",
    "grpc_ssl_credential",
];

/// What CONFIG_DB says; `None` where it says nothing.
pub fn security(tables: &Tables) -> Option<Security> {
    let row = |key: &str| TABLES.iter().find_map(|table| tables.row(table, key));
    // What cannot be read may have asked for TLS: that must not end in plain text.
    let unreadable = |table: &&&str| {
        tables
            .table(table)
            .any(|(key, entry)| key == "config" && !is_row(entry))
    };
    if let Some(table) = TABLES.iter().find(unreadable) {
        return Some(Security::Unusable(
            format!("CONFIG_DB {table}|config: expected a hash").into(),
        ));
    }
    let config = row("config")?;
    Some(read(config, row("certs")).unwrap_or_else(|why| Security::Unusable(why.into())))
}

fn is_row(entry: &Entry) -> bool {
    matches!(entry, Entry::Row(_))
}

fn read(config: &Row, certs: Option<&Row>) -> Result<Security, String> {
    match said(config, "type") {
        None | Some("insecure") => return Ok(Security::Plain),
        Some("secure") => {}
        Some(other) => {
            return Err(format!(
                "CONFIG_DB GRPCCLIENT|config type: expected secure or insecure, found {:?}",
                text::quote(other)
            ));
        }
    }
    let file = |name: &str| {
        certs
            .and_then(|row| said(row, name))
            .map(Into::into)
            .ok_or_else(|| format!("CONFIG_DB GRPCCLIENT|certs {name}: expected a file's path, found none"))
    };
    let client = match said(config, "auth_level") {
        None | Some("server") => None,
        // YANG's word for mutual is client; the deployed daemon's is mutual.
        Some("mutual" | "client") => Some(ClientIdentity {
            cert: file("client_crt")?,
            key: file("client_key")?,
        }),
        Some(other) => {
            return Err(format!(
                "CONFIG_DB GRPCCLIENT|config auth_level: expected server, mutual or client, found {:?}",
                text::quote(other)
            ));
        }
    };
    let name = certs.and_then(|row| said(row, "grpc_ssl_credential"));
    if let Some(name) = name.filter(|name| !is_server_name(name)) {
        return Err(format!(
            "CONFIG_DB GRPCCLIENT|certs grpc_ssl_credential: expected a DNS name or an IP address, found {:?}",
            text::quote(name)
        ));
    }
    Ok(Security::Tls(TlsSettings {
        ca: file("ca_crt")?,
        client,
        server_name: name.map(str::to_owned),
    }))
}

/// A field that says something.
fn said<'a>(row: &'a Row, name: &str) -> Option<&'a str> {
    row.get(name)
        .map(|value| value.trim())
        .filter(|value| !value.is_empty())
}
