//! The mirrors of each namespace's databases: started once, then waited for.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::any_of::any_of;
use crate::config::{Config, Database, Publish};
use crate::model::{ProbeSettings, Spec};
use crate::sonic::mirror::{Mirror, Mirrored, Ports, Surroundings};
use crate::sonic::redis_link::Servers;
use crate::sonic::{intent, inventory};

/// What the mirrors of one namespace show.
#[derive(Debug)]
pub(super) struct NamespaceMirrors {
    /// "asic0"; empty: the switch itself.
    pub(super) name: Arc<str>,
    pub(super) config_db: watch::Receiver<Mirrored>,
    pub(super) appl_db: watch::Receiver<Mirrored>,
    pub(super) state_db: watch::Receiver<Mirrored>,
}

impl NamespaceMirrors {
    pub(super) fn has_config_db_changed(&self) -> bool {
        self.config_db.has_changed().unwrap_or(false)
    }
}

/// Starts a mirror of each database that `config` names.
pub(super) fn start(
    config: &Config,
    probe: &watch::Receiver<ProbeSettings>,
    ports: &watch::Sender<Ports>,
    servers: &mut Servers,
    tasks: &mut JoinSet<()>,
) -> Vec<NamespaceMirrors> {
    let mut start = |database: &Database, spec: &Spec| {
        let around = Surroundings {
            probe: probe.clone(),
            ports: ports.subscribe(),
            notified: servers.last_notified(&database.server),
        };
        let (mirror, mirrored) = Mirror::new(database.clone(), spec.clone(), around);
        tasks.spawn(mirror.run());
        mirrored
    };
    let state_db = match config.publish {
        Publish::Shadow => &intent::STATE_DB_SHADOWED,
        Publish::Own | Publish::Off => &intent::STATE_DB,
    };
    let namespaces = config.namespaces.iter().map(|namespace| NamespaceMirrors {
        name: namespace.name.clone(),
        config_db: start(&namespace.config_db, &inventory::CONFIG_DB),
        appl_db: start(&namespace.appl_db, &intent::APPL_DB),
        state_db: start(&namespace.state_db, state_db),
    });
    namespaces.collect()
}

/// Waits until one of them shows something new; without mirrors it never returns. Cancel-safe: the caller checks afterwards which
/// it was.
pub(super) async fn any_changed(mirrors: &[NamespaceMirrors]) {
    let each = mirrors
        .iter()
        .flat_map(|m| [&m.config_db, &m.appl_db, &m.state_db]);
    any_of(each.cloned()).await;
}
