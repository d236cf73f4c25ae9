//! Plain text or TLS: GRPCCLIENT (or the file it comes from) against the files that exist, against YANG's model, and against what
//! ycabled makes of it.
//!
//! YANG's `sonic-grpcclient` (2024-10-14) allows `auth_level` `server` and `client`. ycabled reads GRPCCLIENT only and knows
//! `server` and `mutual`; with `type` secure and anything else, or without `grpc_ssl_credential`, it makes no channel at all.
//!
//! Imports `model`, `config`, `soc` and `sonic`; in `doctor` `collected`.

mod certificate_files;
mod secrets_findings;

pub(in crate::cli::doctor) use certificate_files::files_named;

use super::{Area, Finding, redis_cli};
use crate::cli::doctor::collected::{Collected, SeenDatabases, TlsFileKind};
use crate::model::schema;
use crate::model::{Security, Tables, quoted};
use crate::sonic::inventory::{AuthLevel, GrpcRows, GrpcType, Secrets};
use certificate_files::{FILES, files, of_certs, of_settings, sets};

const AREA: Area = Area::Security;

pub(super) fn check(seen: &Collected) -> Vec<Finding> {
    let mut found = words(seen);
    found.extend(sets(seen));
    found
}

fn words(seen: &Collected) -> Vec<Finding> {
    if let Security::Tls(tls) = &seen.config.channel.security {
        let mut found = vec![Finding::ok(
            AREA,
            "channel.tls",
            "TLS, as the configuration says; GRPCCLIENT is not used",
        )];
        found.extend(files(seen, "channel.tls", of_settings(tls)));
        return found;
    }
    let mut found: Vec<Finding> = Vec::new();
    if seen.is_in_the_dark() {
        let text = "unknown: CONFIG_DB cannot be read or is incomplete. Until then grpc_secrets.json is used; without that file, targets of the configuration are dialled in plain text";
        found.push(Finding::note(AREA, schema::GRPCCLIENT, text, None));
    }
    for databases in &seen.namespaces {
        let Some(tables) = databases.believed() else {
            continue;
        };
        // An ASIC without rows of its own uses those of the switch.
        let own = GrpcRows::of(tables).table().is_some() || databases.namespace.name.is_empty();
        if own {
            found.extend(of_namespace(seen, databases, tables));
        }
    }
    found.extend(secrets_findings::check(seen));
    if found.is_empty() {
        return vec![Finding::ok(AREA, "channels", "plain text: TLS is not configured")];
    }
    found
}

/// How the settings of GRPCCLIENT are changed.
enum Mend {
    /// With this `redis-cli`.
    Rows(String),
    /// In this file.
    File(String),
}

impl Mend {
    fn set(&self, table: &str, row: &str, field: &str, value: &str) -> String {
        match self {
            Self::Rows(cli) => format!("{cli} HSET '{table}|{row}' {field} {value}"),
            Self::File(path) => format!("in {path}, under {table}, {row}: \"{field}\": \"{value}\""),
        }
    }
}

fn of_namespace(seen: &Collected, databases: &SeenDatabases, tables: &Tables) -> Vec<Finding> {
    let mend = Mend::Rows(redis_cli(databases));
    let rows = GrpcRows::of(tables);
    let Some(table) = rows.table() else {
        let subject = databases.named(schema::GRPCCLIENT);
        // The file is used then, and has findings of its own.
        if seen.secrets != Secrets::Absent {
            return Vec::new();
        }
        let file = seen.config.grpc_secrets.display();
        return vec![if of_certs(&rows).is_empty() {
            let text = format!("none, and no {file}: plain text, for us and for ycabled");
            Finding::ok(AREA, subject, text)
        } else {
            let text = "certs names files, but there is no row config: plain text, for us and for ycabled";
            let secure = mend.set(schema::GRPCCLIENT, "config", "type", "secure auth_level server");
            Finding::note(AREA, subject, text, format!("for TLS: {secure}"))
        }];
    };
    let subject = databases.named(table);
    let mut found = Vec::new();
    if table == schema::GRPC_CLIENT {
        let text = "is the name of GRPCCLIENT in the design document: we read it; ycabled does not, and dials in plain text";
        let remedy = "name the table GRPCCLIENT, so that both use it".to_owned();
        found.push(Finding::note(AREA, subject.as_str(), text, remedy));
    }
    let (subject, mend) = (&*subject, &mend);
    let rows = ShownSettings {
        subject,
        rows: &rows,
        table,
        mend,
    };
    found.extend(of_rows(seen, &rows));
    found
}

/// The rows of GRPCCLIENT, in CONFIG_DB or in the file, and how to name and change them.
struct ShownSettings<'a> {
    /// What the findings are about.
    subject: &'a str,
    rows: &'a GrpcRows<'a>,
    /// Under which of its names the table was found.
    table: &'a str,
    mend: &'a Mend,
}

/// What the rows mean.
fn of_rows(seen: &Collected, settings: &ShownSettings<'_>) -> Vec<Finding> {
    let ShownSettings {
        subject,
        rows,
        table,
        mend,
    } = *settings;
    let set_type = |value: &str| mend.set(table, "config", "type", value);
    match rows.kind() {
        GrpcType::Absent => {
            let text = "config has no type, so the rows are not used: the file is used, or plain text if there is none";
            let remedy = format!("{} (or secure)", set_type("insecure"));
            vec![Finding::note(AREA, subject, text, remedy)]
        }
        GrpcType::Insecure => {
            let mut found = vec![Finding::ok(AREA, subject, "type insecure: plain text")];
            if !of_certs(rows).is_empty() {
                let text = "names certificate files, but type insecure does not use them";
                let remedy = format!("for TLS: {}", set_type("secure"));
                found.push(Finding::note(AREA, subject, text, remedy));
            }
            found
        }
        GrpcType::Secure => secure(seen, settings),
        GrpcType::Other(other) => {
            let text = format!(
                "type {}: expected secure or insecure; no SoC is dialled (tls_config)",
                quoted(other)
            );
            let remedy = format!("{} (or secure)", set_type("insecure"));
            vec![Finding::problem(AREA, subject, text, remedy)]
        }
    }
}

/// What rows of type secure mean: the level, the paths, the name, the files.
fn secure(seen: &Collected, settings: &ShownSettings<'_>) -> Vec<Finding> {
    let ShownSettings {
        subject,
        rows,
        table,
        mend,
    } = *settings;
    let deployed = table == schema::GRPCCLIENT;
    let level = rows.auth_level();
    let mut found = vec![auth_level(subject, level, mend, table, deployed)];
    let client = level.is_mutual();
    for (file, _) in if client { &FILES[..] } else { &FILES[..1] } {
        let name = file.field();
        let text = match rows.file(*file) {
            None => format!("type secure, but certs has no {name}: no dial is possible (tls_config)"),
            Some(path) if path.starts_with('/') => continue,
            Some(path) => format!(
                "{name} is {}: expected an absolute path, as a relative one depends on who reads it; no dial is \
                 possible (tls_config)",
                quoted(path)
            ),
        };
        let remedy = mend.set(table, "certs", name, "<absolute path of the PEM file>");
        found.push(Finding::problem(AREA, subject, text, remedy));
    }
    if rows.server_name().is_none() {
        let ycabled = if deployed {
            ", ycabled makes no channel"
        } else {
            ""
        };
        let text = format!(
            "no grpc_ssl_credential: we expect the SoC's certificate to be for its IP address{ycabled}"
        );
        let name = "<the name in the SoCs' certificates>";
        let remedy = mend.set(table, "certs", "grpc_ssl_credential", name);
        found.push(Finding::note(AREA, subject, text, remedy));
    }
    let used = of_certs(rows)
        .into_iter()
        .filter(|(path, kind)| path.is_absolute() && (client || *kind == TlsFileKind::Ca));
    found.extend(files(seen, subject, used.collect()));
    found
}

/// What each reader makes of the level: YANG allows server and client, ycabled knows server and mutual, we know all three.
/// Of the design document's table neither of them knows.
fn auth_level(subject: &str, level: AuthLevel<'_>, mend: &Mend, table: &str, deployed: bool) -> Finding {
    let set = |word: &str| mend.set(table, "config", "auth_level", word);
    match level {
        AuthLevel::Mutual | AuthLevel::Client if !deployed => Finding::ok(
            AREA,
            subject,
            "TLS with a client certificate (auth_level mutual or client)",
        ),
        AuthLevel::Absent if !deployed => Finding::ok(
            AREA,
            subject,
            "TLS, the SoC is verified (no auth_level: same as server)",
        ),
        AuthLevel::Server => Finding::ok(AREA, subject, "TLS, the SoC is verified (auth_level server)"),
        AuthLevel::Mutual => Finding::note(
            AREA,
            subject,
            "TLS with a client certificate (auth_level mutual): ycabled and we accept this value, but YANG's sonic-grpcclient allows only server and client, so a validated `config load` or `config apply-patch` refuses it",
            "leave it: with client, which YANG allows, ycabled would make no channel".to_owned(),
        ),
        AuthLevel::Client => Finding::note(
            AREA,
            subject,
            "TLS with a client certificate (auth_level client): YANG allows this value, and we use it as mutual, but ycabled knows only server and mutual and makes no channel",
            format!("if ycabled runs here: {}", set("mutual")),
        ),
        AuthLevel::Absent => Finding::note(
            AREA,
            subject,
            "type secure without auth_level: we use server, ycabled makes no channel",
            set("server"),
        ),
        AuthLevel::Other(other) => Finding::problem(
            AREA,
            subject,
            format!(
                "auth_level {}: expected server or mutual; no SoC is dialled with it (YANG allows \
                 server and client)",
                quoted(other)
            ),
            set("server"),
        ),
    }
}
