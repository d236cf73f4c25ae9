//! grpc_secrets.json, from which ycabled makes GRPCCLIENT's rows: does it count, can it be used, who may read and write it?

use super::{AREA, Mend, ShownSettings, of_rows};
use crate::cli::doctor::collected::{Collected, SeenDatabases};
use crate::cli::doctor::findings::Finding;
use crate::sonic::inventory::{GrpcRows, GrpcSettings, Secrets, SecurityOrigin, by_file, by_rows};

const SUBJECT: &str = "grpc_secrets.json";

pub(super) fn check(seen: &Collected) -> Vec<Finding> {
    let mut found = content(seen);
    found.extend(permissions(seen));
    found
}

/// grpc_secrets.json: whether it counts, what is in it, and what happens where it cannot be used.
fn content(seen: &Collected) -> Vec<Finding> {
    let used = seen
        .secured
        .iter()
        .any(|secured| secured.origin == SecurityOrigin::File);
    let path = seen.config.grpc_secrets.display().to_string();
    match &seen.secrets {
        Secrets::Absent => Vec::new(),
        Secrets::Unread(_) => vec![Finding::note(
            AREA,
            SUBJECT,
            format!("{path}: not looked at"),
            None,
        )],
        Secrets::Unusable(why) => {
            let remedy = "let the exporter's user read it (its group: `chgrp`, `chmod g+r`), mount it into a container, repair it, or set databases.grpc_secrets to a path where no file is";
            vec![if used {
                let text = format!(
                    "{why}. GRPCCLIENT has no usable row, so this file is used, and no dial is possible (tls_config)"
                );
                Finding::problem(AREA, SUBJECT, text, remedy)
            } else {
                let text = format!(
                    "{why}. Not used while CONFIG_DB has rows of GRPCCLIENT: ycabled deletes them when it stops"
                );
                Finding::note(AREA, SUBJECT, text, remedy.to_owned())
            }]
        }
        Secrets::Holds(_, tables) if used => {
            let text = format!("{path} is used: GRPCCLIENT in CONFIG_DB has no usable row");
            let mut found = vec![Finding::ok(AREA, SUBJECT, text)];
            let rows = GrpcRows::of(tables);
            if let Some(table) = rows.table() {
                let rows = ShownSettings {
                    subject: SUBJECT,
                    rows: &rows,
                    table,
                    mend: &Mend::File(path),
                };
                found.extend(of_rows(seen, &rows));
            }
            found
        }
        Secrets::Holds(..) => vec![beside_rows(seen, &path)],
    }
}

/// The file while CONFIG_DB's rows are used: the same as they, or not.
fn beside_rows(seen: &Collected, path: &str) -> Finding {
    let file = by_file(&seen.secrets);
    let first = seen.namespaces.first().and_then(SeenDatabases::believed);
    let rows = first.map_or(GrpcSettings::Nothing, |tables| by_rows(tables));
    if rows == GrpcSettings::Nothing || file == GrpcSettings::Nothing || rows == file {
        let text = format!("{path} can be read: it is used if GRPCCLIENT has no usable row");
        return Finding::ok(AREA, SUBJECT, text);
    }
    let text = format!(
        "{path} differs from CONFIG_DB's GRPCCLIENT, which is used while it exists: ycabled copies the file into CONFIG_DB at its next start"
    );
    let remedy = "make both the same".to_owned();
    Finding::note(AREA, SUBJECT, text, remedy)
}

/// A user who may write the file can turn TLS off. The exporter, which need not be root, must be able to read it.
fn permissions(seen: &Collected) -> Option<Finding> {
    let mode = seen
        .secrets_mode
        .filter(|_| matches!(seen.secrets, Secrets::Holds(..)))?;
    let path = seen.config.grpc_secrets.display();
    let (text, remedy) = if mode & 0o022 != 0 {
        (
            format!(
                "{path} can be written by others than its owner (mode {mode:03o}): they could turn TLS off"
            ),
            format!("chmod go-w {path}"),
        )
    } else if mode & 0o044 == 0 {
        (
            format!("{path} can be read by its owner only (mode {mode:03o}): is that the exporter's user?"),
            format!("if not: chgrp <its group> {path}, chmod g+r {path}"),
        )
    } else {
        return None;
    };
    Some(Finding::note(AREA, SUBJECT, text, remedy))
}
