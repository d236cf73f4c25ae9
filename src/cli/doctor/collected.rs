//! What `doctor` has seen: plain data, from which the findings follow.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use chrono::{DateTime, Utc};

use crate::config::{Config, Database, Namespace, RedisAddress};
use crate::model::Inventory;
use crate::model::schema;
use crate::model::{ModuleJob, Port, Tables, Target, TlsSettings};
use crate::soc::channel::Checked;
use crate::soc::look::Found;
use crate::soc::module_look::ModuleLooked;
use crate::sonic::inventory::{NamedContent, Secrets, Secured, is_complete};

/// Everything.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) config: Config,
    /// The switch's own first; empty: no database is used.
    pub(super) namespaces: Vec<SeenDatabases>,
    /// What the exporter would make of configuration and CONFIG_DB.
    pub(super) inventory: Inventory,
    /// What the sources of the key `inventory` list.
    pub(super) found: Vec<NamedContent>,
    /// How the SoCs of each namespace are spoken to, and from where that is.
    pub(super) secured: Vec<Secured>,
    /// SONiC's file with GRPCCLIENT's settings.
    pub(super) secrets: Secrets,
    /// Its permission bits, where it could be looked at.
    pub(super) secrets_mode: Option<u32>,
    /// Loopback3's addresses, and whether they are on this host.
    pub(super) loopback3: Vec<(IpAddr, bool)>,
    /// The TLS files that configuration, rows or grpc_secrets.json name.
    pub(super) files: BTreeMap<(PathBuf, TlsFileKind), FileState>,
    /// The sets of TLS files that the targets dial with, or why they do not serve.
    pub(super) tls: Vec<(TlsSettings, Result<Checked, String>)>,
    /// One per target of the inventory.
    pub(super) socs: Vec<Soc>,
    /// `None`: no flag says how the exporter serves.
    pub(super) web: Option<WebSeen>,
    /// `None`: nothing is sent as OpenTelemetry.
    pub(super) telemetry: Option<TelemetrySeen>,
    /// One per target of the probe modules.
    pub(super) modules: Vec<ModuleSeen>,
    pub(super) now: DateTime<Utc>,
}

/// What is sent as OpenTelemetry.
#[derive(Debug)]
pub(super) struct TelemetrySeen {
    /// What is sent where, and why that takes nothing.
    pub(super) trials: Vec<(String, Result<(), String>)>,
    /// What is wrong with the environment.
    pub(super) warnings: Vec<String>,
}

/// A target of a probe module.
#[derive(Debug)]
pub(super) struct ModuleSeen {
    pub(super) job: Arc<ModuleJob>,
    /// One dial and one round, or why there is neither.
    pub(super) looked: Result<ModuleLooked, String>,
}

impl Collected {
    /// Whether databases are used, but no CONFIG_DB could be read that is complete.
    pub(super) fn is_in_the_dark(&self) -> bool {
        !self.namespaces.is_empty() && self.namespaces.iter().all(|d| d.believed().is_none())
    }
}

/// The databases of one namespace.
#[derive(Debug)]
pub(super) struct SeenDatabases {
    pub(super) namespace: Namespace,
    pub(super) config_db: DatabaseRead,
    pub(super) appl_db: DatabaseRead,
    pub(super) state_db: DatabaseRead,
    /// Where each of the three was read: the server's first address, or its other one.
    pub(super) at: [Option<RedisAddress>; 3],
    /// Whether CONFIG_DB's server announces changes.
    pub(super) events: Events,
}

impl SeenDatabases {
    /// CONFIG_DB, where it could be read and is whole.
    pub(super) fn believed(&self) -> Option<&Arc<Tables>> {
        self.config_db.as_ref().ok().filter(|tables| is_complete(tables))
    }

    /// A name with this namespace: "CONFIG_DB", "asic0 CONFIG_DB".
    pub(super) fn named(&self, name: &str) -> String {
        format!("{} {name}", self.namespace.name).trim_start().to_owned()
    }

    /// Each with its name, where it is and where it was read.
    pub(super) fn all(&self) -> [(&'static str, &Database, &Option<RedisAddress>, &DatabaseRead); 3] {
        let [config_at, appl_at, state_at] = &self.at;
        [
            (
                schema::CONFIG_DB,
                &self.namespace.config_db,
                config_at,
                &self.config_db,
            ),
            (schema::APPL_DB, &self.namespace.appl_db, appl_at, &self.appl_db),
            (
                schema::STATE_DB,
                &self.namespace.state_db,
                state_at,
                &self.state_db,
            ),
        ]
    }
}

/// A database that was read once, or why it was not.
pub(super) type DatabaseRead = Result<Arc<Tables>, Away>;

/// Why a database could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Away {
    pub(super) why: String,
    /// What an operator can do about it.
    pub(super) hint: &'static str,
}

/// `notify-keyspace-events` of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Events {
    /// Its value.
    Told(String),
    /// We may not ask.
    Denied,
    /// The server is away.
    Unknown,
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TlsFileKind {
    /// Certificates that may sign the SoC's.
    Ca,
    /// Our own certificate.
    Certificate,
    /// Its private key.
    Key,
}

/// How it stands with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FileState {
    /// It can be read, and a PEM block of the right kind is in it.
    Good,
    /// It can be read, but not what is needed of it; for people: why.
    NotPem(String),
    /// It cannot be read, for people: why.
    Unreadable(String),
}

/// One SoC.
#[derive(Debug)]
pub(super) struct Soc {
    pub(super) target: Target,
    /// The local address that a packet to it leaves from, or why there is none.
    pub(super) route: Result<IpAddr, String>,
    /// One dial and one round; `None`: there was no time left for it.
    pub(super) probe: Option<Found>,
}

impl Soc {
    pub(super) fn port(&self) -> &Port {
        &self.target.id.port
    }

    /// With its rack, where there are several.
    pub(super) fn name(&self) -> String {
        self.target.id.to_string()
    }
}

/// How the exporter serves.
#[derive(Debug)]
pub(super) struct WebSeen {
    /// `--web.listen-address`, or what is used without it.
    pub(super) listen: Vec<String>,
    /// Nothing says how the exporter serves: it may run with flags that are not known here.
    pub(super) is_assumed: bool,
    /// web.config.file, or why it cannot be used.
    pub(super) file: Option<(PathBuf, Result<WebFileSeen, String>)>,
    /// Files that hold a key or hashes, and their permission bits.
    pub(super) secret_files: Vec<(PathBuf, u32)>,
}

/// What a good web.config.file has.
#[derive(Debug)]
pub(super) struct WebFileSeen {
    /// `TLS, 2 users`.
    pub(super) summary: String,
    /// Whether no one gets an answer without a login or a client certificate.
    pub(super) knows_clients: bool,
    /// When the certificate expires; `None`: plain HTTP.
    pub(super) expiry: Option<SystemTime>,
}
