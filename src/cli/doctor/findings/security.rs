//! Plain text or TLS: GRPCCLIENT (or the file it comes from) against the files that exist, against YANG's model, and against what
//! ycabled makes of it.
//!
//! YANG's `sonic-grpcclient` (2024-10-14) allows `auth_level` `server` and `client`. ycabled reads GRPCCLIENT only and knows
//! `server` and `mutual`; with `type` secure and anything else, or without `grpc_ssl_credential`, it makes no channel at all.

mod secrets_file;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Area, Finding, redis_cli};
use chrono::{DateTime, TimeDelta, Utc};

use crate::cli::doctor::collected::{Collected, FileState, SeenDatabases, TlsFileKind};
use crate::config::Config;
use crate::model::Inventory;
use crate::model::schema;
use crate::model::{Security, Tables, TlsSettings, quoted};
use crate::soc::channel::Checked;
use crate::sonic::inventory::{AuthLevel, GrpcFile, GrpcRows, GrpcType, Secrets};

const AREA: Area = Area::Security;
/// A certificate that expires before then needs a new one.
const SOON: TimeDelta = TimeDelta::days(30);
/// Oddities of one set that are told: a file may be a bundle of hundreds.
const MAX_NOTES: usize = 5;
/// The fields of `certs` that are paths.
const FILES: [(GrpcFile, TlsFileKind); 3] = [
    (GrpcFile::Ca, TlsFileKind::Ca),
    (GrpcFile::ClientCert, TlsFileKind::Certificate),
    (GrpcFile::ClientKey, TlsFileKind::Key),
];

/// The files that the configuration, the targets or GRPCCLIENT name.
pub(in crate::cli::doctor) fn files_named<'a>(
    config: &Config,
    inventory: &Inventory,
    tables: impl Iterator<Item = &'a Arc<Tables>>,
) -> BTreeSet<(PathBuf, TlsFileKind)> {
    let settings = inventory.targets.iter().map(|target| &target.channel.security);
    let mut files = BTreeSet::new();
    for security in settings.chain([&config.channel.security]) {
        if let Security::Tls(tls) = security {
            files.extend(of_settings(tls));
        }
    }
    for tables in tables {
        files.extend(of_certs(&GrpcRows::of(tables)));
    }
    files
}

fn of_settings(tls: &TlsSettings) -> Vec<(PathBuf, TlsFileKind)> {
    let client = tls.client.iter().flat_map(|client| {
        [
            (client.cert.clone(), TlsFileKind::Certificate),
            (client.key.clone(), TlsFileKind::Key),
        ]
    });
    client.chain([(tls.ca.clone(), TlsFileKind::Ca)]).collect()
}

fn of_certs(rows: &GrpcRows<'_>) -> Vec<(PathBuf, TlsFileKind)> {
    let path = |(file, kind)| Some((rows.file(file)?.into(), kind));
    FILES.into_iter().filter_map(path).collect()
}

pub(super) fn check(seen: &Collected) -> Vec<Finding> {
    let mut found = words(seen);
    found.extend(sets(seen));
    found
}

/// Which certificates it is that have expired.
fn which(expired: &[String]) -> String {
    let named = expired.iter().take(MAX_NOTES).map(|one| format!("; {one}"));
    named.collect()
}

/// Whether each set of files serves as a whole, and for how long yet. What is wrong with one of them alone is said before.
fn sets(seen: &Collected) -> Vec<Finding> {
    let alone = |tls: &TlsSettings| {
        let mut states = of_settings(tls)
            .into_iter()
            .filter_map(|file| seen.files.get(&file));
        states.any(|state| *state != FileState::Good)
    };
    let mut found = Vec::new();
    for (tls, checked) in &seen.tls {
        let Checked {
            status,
            expired,
            notes,
        } = match checked {
            Ok(checked) => checked,
            Err(_) if alone(tls) => continue,
            Err(why) => {
                let text =
                    format!("the files do not serve together, no dial is possible (tls_config): {why}");
                let remedy = "put a whole set there: the CA's certificates, our certificate, and its own key";
                found.push(Finding::problem(AREA, "TLS files", text, remedy));
                continue;
            }
        };
        let odd = |text: &String| Finding::note(AREA, "TLS files", text.clone(), None);
        found.extend(notes.iter().take(MAX_NOTES).map(odd));
        let expiries = [("CA", status.ca), ("client certificate", status.client)];
        for (what, at) in expiries {
            let Some(at) = at.map(DateTime::<Utc>::from) else {
                continue;
            };
            let (left, day) = (at - seen.now, at.format("%Y-%m-%d %H:%M UTC"));
            let remedy =
                "put a new one in its place: it is used within 10 s, and channels that are up stay up";
            found.push(if left < TimeDelta::zero() {
                Finding::problem(
                    AREA,
                    "TLS files",
                    format!("the {what} has expired ({day}){}", which(expired)),
                    remedy,
                )
            } else if left < SOON {
                let text = format!("the {what} expires soon ({day})");
                Finding::note(AREA, "TLS files", text, remedy.to_owned())
            } else {
                Finding::ok(AREA, "TLS files", format!("the {what} is good until {day}"))
            });
        }
    }
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
        let text = "not known: CONFIG_DB cannot be read, or is not whole. Until it is, grpc_secrets.json counts, and \
                    without it targets of the configuration are dialled in plain text";
        found.push(Finding::note(AREA, schema::GRPCCLIENT, text, None));
    }
    for databases in &seen.namespaces {
        let Some(tables) = databases.believed() else {
            continue;
        };
        // An ASIC that says nothing goes by the switch's own words.
        let own = GrpcRows::of(tables).table().is_some() || databases.namespace.name.is_empty();
        if own {
            found.extend(of_namespace(seen, databases, tables));
        }
    }
    found.extend(secrets_file::check(seen));
    if found.is_empty() {
        return vec![Finding::ok(
            AREA,
            "channels",
            "plain text: nothing says otherwise",
        )];
    }
    found
}

/// How what GRPCCLIENT says is changed.
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
        // What counts then is told of the file.
        if seen.secrets != Secrets::Absent {
            return Vec::new();
        }
        let file = seen.config.grpc_secrets.display();
        return vec![if of_certs(&rows).is_empty() {
            let text = format!("none, and no {file}: plain text, for us as for ycabled");
            Finding::ok(AREA, subject, text)
        } else {
            let text = "certs names files, but there is no row config: plain text, for us as for ycabled";
            let secure = mend.set(schema::GRPCCLIENT, "config", "type", "secure auth_level server");
            Finding::note(AREA, subject, text, format!("for TLS: {secure}"))
        }];
    };
    let subject = databases.named(table);
    let mut found = Vec::new();
    if table == schema::GRPC_CLIENT {
        let text = "is the design document's name of GRPCCLIENT: we read it; ycabled does not, and dials in \
                    plain text";
        let remedy = "write GRPCCLIENT in its place, so that both go by the same".to_owned();
        found.push(Finding::note(AREA, subject.as_str(), text, remedy));
    }
    found.extend(of_rows(seen, &subject, &rows, table, &mend));
    found
}

/// What the rows say, in CONFIG_DB or in the file.
fn of_rows(seen: &Collected, subject: &str, rows: &GrpcRows<'_>, table: &str, mend: &Mend) -> Vec<Finding> {
    let mut found = Vec::new();
    let deployed = table == schema::GRPCCLIENT;
    let level = rows.auth_level();
    match rows.kind() {
        GrpcType::Absent => {
            let text = "config has no type, so it says nothing: the file counts, or else plain text";
            let set = mend.set(table, "config", "type", "insecure");
            found.push(Finding::note(AREA, subject, text, format!("{set} (or secure)")));
            return found;
        }
        GrpcType::Insecure => {
            found.push(Finding::ok(AREA, subject, "type insecure: plain text"));
            if !of_certs(rows).is_empty() {
                let text = "names certificate files, which type insecure leaves unused";
                let remedy = format!("for TLS: {}", mend.set(table, "config", "type", "secure"));
                found.push(Finding::note(AREA, subject, text, remedy));
            }
            return found;
        }
        GrpcType::Secure => {}
        GrpcType::Other(other) => {
            let text = format!(
                "type {}: expected secure or insecure; no SoC is dialled (tls_config)",
                quoted(other)
            );
            let remedy = format!("{} (or secure)", mend.set(table, "config", "type", "insecure"));
            found.push(Finding::problem(AREA, subject, text, remedy));
            return found;
        }
    }
    found.push(auth_level(subject, level, mend, table, deployed));
    let client = level.is_mutual();
    let needed = if client { &FILES[..] } else { &FILES[..1] };
    for (file, _) in needed {
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
            "TLS, the SoC is verified (no auth_level: as server)",
        ),
        AuthLevel::Server => Finding::ok(AREA, subject, "TLS, the SoC is verified (auth_level server)"),
        AuthLevel::Mutual => Finding::note(
            AREA,
            subject,
            "TLS with a client certificate (auth_level mutual): ycabled's word and ours, but YANG's \
             sonic-grpcclient allows server and client only, so a validated `config load` or `config apply-patch` refuses it",
            "leave it: with client, YANG's word, ycabled would make no channel".to_owned(),
        ),
        AuthLevel::Client => Finding::note(
            AREA,
            subject,
            "TLS with a client certificate (auth_level client): YANG's word, and we take it for mutual, \
             but ycabled knows server and mutual only and makes no channel",
            format!("if ycabled runs here: {}", set("mutual")),
        ),
        AuthLevel::Absent => Finding::note(
            AREA,
            subject,
            "type secure without auth_level: we take it for server, ycabled makes no channel",
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

fn files(seen: &Collected, subject: &str, named: Vec<(PathBuf, TlsFileKind)>) -> Vec<Finding> {
    let finding = |file: (PathBuf, TlsFileKind)| {
        let (path, what) = (
            file.0.display().to_string(),
            match file.1 {
                TlsFileKind::Ca => "CA certificates",
                TlsFileKind::Certificate => "client certificate",
                TlsFileKind::Key => "client key",
            },
        );
        match seen.files.get(&file)? {
            FileState::Good => Some(Finding::ok(AREA, subject, format!("{what} {path} can be read"))),
            FileState::NotPem(why) => Some(Finding::problem(
                AREA,
                subject,
                format!("{what} {path}: {why}"),
                "put the right file there, whole and in PEM (-----BEGIN ...), not encrypted",
            )),
            FileState::Unreadable(why) => Some(Finding::problem(
                AREA,
                subject,
                format!("{what} {path} cannot be read: {why}"),
                "put the file there and let the exporter's user read it; a container must have it mounted",
            )),
        }
    };
    named.into_iter().filter_map(finding).collect()
}
