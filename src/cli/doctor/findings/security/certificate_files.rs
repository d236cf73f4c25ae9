//! The certificate files: which ones are named, whether they can be read, whether a set serves as a whole and until when.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::AREA;
use crate::cli::doctor::collected::{Collected, FileState, TlsFileKind};
use crate::cli::doctor::findings::Finding;
use crate::config::Config;
use crate::model::{Inventory, Security, Tables, TlsSettings};
use crate::soc::channel::Checked;
use crate::sonic::inventory::{GrpcFile, GrpcRows};

/// A certificate that expires within this time needs a new one: operators plan changes by the month.
const SOON: TimeDelta = TimeDelta::days(30);
/// The most oddities of one set that are printed: a file may be a bundle of hundreds.
const MAX_NOTES: usize = 5;
/// The fields of `certs` that are paths.
pub(super) const FILES: [(GrpcFile, TlsFileKind); 3] = [
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

pub(super) fn of_settings(tls: &TlsSettings) -> Vec<(PathBuf, TlsFileKind)> {
    let client = tls.client.iter().flat_map(|client| {
        [
            (client.cert.clone(), TlsFileKind::Certificate),
            (client.key.clone(), TlsFileKind::Key),
        ]
    });
    client.chain([(tls.ca.clone(), TlsFileKind::Ca)]).collect()
}

pub(super) fn of_certs(rows: &GrpcRows<'_>) -> Vec<(PathBuf, TlsFileKind)> {
    let path = |(file, kind)| Some((rows.file(file)?.into(), kind));
    FILES.into_iter().filter_map(path).collect()
}

/// Which certificates it is that have expired.
fn which(expired: &[String]) -> String {
    let named = expired.iter().take(MAX_NOTES).map(|one| format!("; {one}"));
    named.collect()
}

/// Whether the files of each set can be used together, and how long they are valid. Single bad files have their own findings.
pub(super) fn sets(seen: &Collected) -> Vec<Finding> {
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
                    format!("the files cannot be used together, no dial is possible (tls_config): {why}");
                let remedy =
                    "put a complete set there: the CA's certificates, our certificate, and its own key";
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
                Finding::ok(AREA, "TLS files", format!("the {what} is valid until {day}"))
            });
        }
    }
    found
}

/// Whether each of these files can be read and holds what it must.
pub(super) fn files(seen: &Collected, subject: &str, named: Vec<(PathBuf, TlsFileKind)>) -> Vec<Finding> {
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
