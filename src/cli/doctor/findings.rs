//! What was seen → what is the case, and what to do where it is wrong. Pure.
//!
//! Imports `model`, `config`, `soc` and `sonic`; in `cli` `probe_output`, in `doctor` `collected`.
//!
//! | file | job |
//! |---|---|
//! | redis_servers | Redis: can it be read, is CONFIG_DB complete, does it announce changes |
//! | switch_kind | what kind of switch, which side, Loopback3, the rows of MUX_CABLE |
//! | security | GRPCCLIENT against the files, YANG's model and ycabled |
//! | row_writers | who writes MUX_CABLE_INFO |
//! | socs | routes, probes, intent |
//! | modules_asked | targets of probe modules |
//! | collectors | what the collectors of OpenTelemetry answer |
//! | web_side | who can read what the exporter serves; web.config.file |

mod collectors;
mod modules_asked;
mod redis_servers;
mod row_writers;
pub(super) mod security;
mod socs;
mod switch_kind;
#[cfg(test)]
mod tests;
mod web_side;

use super::collected::{Collected, SeenDatabases};
use crate::config::{RedisAddress, RedisLogin};
use crate::model::text;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing need be done.
    Note,
    /// Something does not work.
    Problem,
}

impl Level {
    /// Its name in JSON.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Problem => "problem",
        }
    }

    /// In front of a line; reads without colour.
    pub(super) const fn mark(self) -> char {
        match self {
            Self::Ok => '✓',
            Self::Note => '!',
            Self::Problem => '✗',
        }
    }
}

/// What it is about; in the order of printing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Area {
    Databases,
    Switch,
    Security,
    Rows,
    Socs,
    Modules,
    Web,
    Telemetry,
}

impl Area {
    pub(super) const ALL: [Self; 8] = [
        Self::Databases,
        Self::Switch,
        Self::Security,
        Self::Rows,
        Self::Socs,
        Self::Modules,
        Self::Web,
        Self::Telemetry,
    ];

    /// Its name in JSON.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Databases => "databases",
            Self::Switch => "switch",
            Self::Security => "security",
            Self::Rows => "rows",
            Self::Socs => "socs",
            Self::Modules => "modules",
            Self::Web => "web",
            Self::Telemetry => "telemetry",
        }
    }

    /// Over its lines.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Databases => "Databases",
            Self::Switch => "Switch",
            Self::Security => "Security of the channels",
            Self::Rows => "Rows in STATE_DB",
            Self::Socs => "SoCs",
            Self::Modules => "Targets of probe modules",
            Self::Web => "Web side",
            Self::Telemetry => "OpenTelemetry",
        }
    }
}

/// One thing that is the case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) area: Area,
    pub(super) level: Level,
    /// What it is about: a database, a table, a port.
    pub(super) subject: String,
    pub(super) text: String,
    /// What to do.
    pub(super) remedy: Option<String>,
    /// Text and remedy without this port's own details: if many ports have the same finding, it is printed once.
    pub(super) alike: Option<(String, Option<String>)>,
}

impl Finding {
    pub(super) fn ok(area: Area, subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            area,
            level: Level::Ok,
            subject: printable(subject.into()),
            text: printable(text.into()),
            remedy: None,
            alike: None,
        }
    }

    /// With a text that may be printed once for many ports; the remedy is the same for all.
    pub(super) fn alike(self, text: impl Into<String>) -> Self {
        let remedy = self.remedy.clone();
        Self {
            alike: Some((printable(text.into()), remedy)),
            ..self
        }
    }

    /// With a text and a remedy that may be printed once for many ports.
    pub(super) fn alike_with(self, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            alike: Some((printable(text.into()), Some(printable(remedy.into())))),
            ..self
        }
    }

    pub(super) fn note(
        area: Area,
        subject: impl Into<String>,
        text: impl Into<String>,
        remedy: impl Into<Option<String>>,
    ) -> Self {
        Self {
            level: Level::Note,
            remedy: remedy.into().map(printable),
            ..Self::ok(area, subject, text)
        }
    }

    pub(super) fn problem(
        area: Area,
        subject: impl Into<String>,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Problem,
            remedy: Some(printable(remedy.into())),
            ..Self::ok(area, subject, text)
        }
    }
}

/// Everything that follows from what was seen.
pub(super) fn diagnose(seen: &Collected) -> Vec<Finding> {
    [
        redis_servers::check(seen),
        switch_kind::check(seen),
        security::check(seen),
        row_writers::check(seen),
        socs::check(seen),
        modules_asked::check(&seen.modules),
        web_side::check(seen.web.as_ref(), seen.now),
        collectors::check(seen.telemetry.as_ref()),
    ]
    .concat()
}

/// The longest text, characters: some eight ports, or a command with a quotation.
const MAX_TEXT: usize = 1000;

/// Text from databases and SoCs is printed on a terminal: it must neither control nor fill it.
fn printable(text: String) -> String {
    text::shorten(text, MAX_TEXT)
}

/// How to reach CONFIG_DB from a shell: where it was read, else where it should be. Never with a password: redis-cli asks for it.
fn redis_cli(databases: &SeenDatabases) -> String {
    let database = &databases.namespace.config_db;
    let at = databases.at[0].as_ref().unwrap_or(&database.server.at);
    cli(at, database.server.login.as_ref(), database.id)
}

fn cli(at: &RedisAddress, login: Option<&RedisLogin>, id: i64) -> String {
    let server = match at {
        RedisAddress::Unix(path) => format!("-s {}", path.display()),
        RedisAddress::Tcp(host, port) => format!("-h {host} -p {port}"),
    };
    let login = login.map_or(String::new(), |login| {
        let user = login.username.as_deref().map(|user| format!(" --user {user}"));
        format!("{} --askpass", user.unwrap_or_default())
    });
    format!("redis-cli {server}{login} -n {id}")
}

/// `Ethernet0, Ethernet4 and 3 more`.
pub(super) fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    match names.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{} and {more} more", names[..SHOWN].join(", ")),
        _ => names.join(", "),
    }
}

/// `1 port`, `2 ports`.
pub(super) fn counted(n: usize, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}
