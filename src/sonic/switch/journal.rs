//! Which of the switch's changes are logged: each once when it begins, and again when it is over.
//!
//! It receives the results and remembers which of them are in the log. Nothing else depends on this, except `failures_due`:
//! when a line that had to wait may be written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::config::Config;
use crate::model::component::INVENTORY;
use crate::model::schema;
use crate::model::{
    Facts, Inventory, OrchagentMux, Port, PortFacts, Problem, Security, Shard, ShardShare, Side, Tables,
    quoted,
};
use crate::sonic::inventory::{ConfigDbCopy, Hold, SUB_ROLE, SUBTYPE, SecurityOrigin, is_dual_tor};

/// The time between two lines about something that may happen to all ports at once.
const EVERY: Duration = Duration::from_secs(10);
/// How many rows get a line of their own at once: there may be thousands.
const MOST_LINES: usize = 100;
/// How many ports one line names: it must stay readable.
const MOST_NAMES: usize = 8;

/// What a problem is about.
const ROW: &str = "MUX_CABLE row";
const GROUP: &str = "target of the inventory";

/// A row of CONFIG_DB: its namespace and its key.
type RowOf = (Arc<str>, String);

/// What has been logged.
#[derive(Debug, Default)]
pub(super) struct Journal {
    problems: BTreeSet<Problem>,
    /// The rows that are kept although they are gone, and when that was last logged.
    kept: BTreeSet<RowOf>,
    kept_logged: Option<Instant>,
    /// Ports whose mux change has failed, as last logged, and when.
    failed: BTreeSet<Port>,
    failed_logged: Option<Instant>,
    failures_due: Option<Instant>,
    /// By namespace, where the TLS settings of its SoCs come from.
    origins: BTreeMap<Arc<str>, SecurityOrigin>,
    /// Why channels cannot use the TLS settings of CONFIG_DB.
    unusable: BTreeSet<Arc<str>>,
    side: Option<Side>,
    share: Option<ShardShare>,
    /// By namespace, the `subtype` that is not DualToR.
    other_kinds: BTreeMap<Arc<str>, String>,
}

impl Journal {
    /// Logs what is new in an inventory and in its sources.
    pub(super) fn inventory(
        &mut self,
        config: &Config,
        sources: &[ConfigDbCopy],
        holds: &[Hold],
        inventory: &Inventory,
    ) {
        self.problems(inventory, if config.inventory.is_empty() { ROW } else { GROUP });
        self.share(inventory);
        let from_config_db = config.is_from_config_db();
        self.kinds(if from_config_db { sources } else { &[] });
        self.kept(sources, holds);
        self.origins(config, sources, inventory);
        self.unusable(inventory);
        if inventory.loaded && self.side != Some(inventory.side) {
            if inventory.side != Side::Unknown {
                info!(target: INVENTORY, side = %inventory.side, "ToR side known");
            }
            self.side = Some(inventory.side);
        }
    }

    /// Logs each row that cannot be used once, and again when its problem is gone.
    fn problems(&mut self, inventory: &Inventory, what: &'static str) {
        let problems: BTreeSet<Problem> = inventory.problems.iter().cloned().collect();
        for problem in problems.difference(&self.problems).take(MOST_LINES) {
            let Problem { port, kind, text } = problem;
            warn!(target: INVENTORY, port, reason = %kind, text, "{what} cannot be used");
        }
        if let Some(more @ 1..) = problems
            .difference(&self.problems)
            .count()
            .checked_sub(MOST_LINES)
        {
            warn!(target: INVENTORY,
                more,
                "more of these ({what}) cannot be used; dualtor_inventory_problems counts them"
            );
        }
        // A problem whose text alone has changed (another count) is the same problem.
        let stays = |gone: &&Problem| {
            let first = Problem {
                text: String::new(),
                ..(*gone).clone()
            };
            let now = problems.range(first..).next();
            now.is_some_and(|now| (&now.port, now.kind) == (&gone.port, gone.kind))
        };
        let gone = self.problems.difference(&problems).filter(|gone| !stays(gone));
        for Problem { port, kind, .. } in gone.take(MOST_LINES) {
            info!(target: INVENTORY, port, reason = %kind, "{what}'s problem is gone");
        }
        self.problems = problems;
    }

    /// Logs the share of this process when it changes.
    fn share(&mut self, inventory: &Inventory) {
        if inventory.share == self.share {
            return;
        }
        self.share = inventory.share;
        if let Some(ShardShare { shard, owned, others }) = inventory.share {
            let Shard { index, count } = shard;
            if index < count {
                info!(target: INVENTORY, index, count, owned, others, "the share of this process");
            } else {
                warn!(target: INVENTORY, index, count, others, "this process has no share: its number is not less than shard.count");
            }
        }
    }

    /// Logs that this is not a dual-ToR switch, and why. The `subtype` is quoted, so that blanks in it are visible.
    fn kinds(&mut self, sources: &[ConfigDbCopy]) {
        let host = sources.first().and_then(|source| source.tables.as_deref());
        let others = sources.iter().filter_map(|source| {
            let subtype = other_subtype(source, host)?;
            Some((source.namespace.clone(), subtype))
        });
        let others: BTreeMap<Arc<str>, String> = others.collect();
        for (namespace, subtype) in &others {
            if self.other_kinds.get(namespace) == Some(subtype) {
                continue;
            }
            let meant: String = subtype.chars().filter(|c| c.is_alphanumeric()).collect();
            let subtype = quoted(subtype);
            if meant.eq_ignore_ascii_case("DualToR") {
                warn!(target: INVENTORY, %namespace, subtype, "no port is probed: subtype in DEVICE_METADATA|localhost must be DualToR and nothing else, not even a blank");
            } else {
                info!(target: INVENTORY, %namespace, subtype, "not a dual-ToR switch: no port is probed before subtype in DEVICE_METADATA|localhost is DualToR");
            }
        }
        self.other_kinds = others;
    }

    /// Logs which rows are gone and still used, each once. One line has all of them, and lines are not more frequent than
    /// people can read, because a table that is rewritten has many rows.
    fn kept(&mut self, sources: &[ConfigDbCopy], holds: &[Hold]) {
        let each = sources.iter().zip(holds);
        let kept = each.flat_map(|(source, hold)| {
            let keys = hold.kept().map(|key| (source.namespace.clone(), key.to_owned()));
            keys.collect::<Vec<_>>()
        });
        let kept: BTreeSet<RowOf> = kept.collect();
        let now = Instant::now();
        let gone: Vec<&RowOf> = kept.difference(&self.kept).collect();
        if let Some((namespace, first)) = gone.first()
            && self.kept_logged.is_none_or(|logged| now >= logged + EVERY)
        {
            info!(target: INVENTORY, %namespace, rows = gone.len(), first, "rows of CONFIG_DB are gone: their last content stays in use for some seconds, in case they are being rewritten");
            self.kept_logged = Some(now);
        }
        let has = |(namespace, key): &&RowOf| {
            let source = sources.iter().find(|source| source.namespace == *namespace);
            let tables = source.and_then(|source| source.tables.as_deref());
            tables.is_some_and(|tables| tables.get(key).is_some())
        };
        let lost: Vec<&RowOf> = self.kept.difference(&kept).filter(|row| !has(row)).collect();
        if let Some((namespace, first)) = lost.first() {
            info!(target: INVENTORY, %namespace, rows = lost.len(), first, "rows of CONFIG_DB have not come back: no longer used");
        }
        self.kept = kept;
    }

    /// Logs where the TLS settings come from, if that has changed.
    fn origins(&mut self, config: &Config, sources: &[ConfigDbCopy], inventory: &Inventory) {
        let used = inventory.targets.iter().map(|target| &target.namespace);
        let used: BTreeSet<&Arc<str>> = used.collect();
        let of = |source: &ConfigDbCopy| (source.namespace.clone(), source.secured.origin.clone());
        let origins: BTreeMap<Arc<str>, SecurityOrigin> = sources.iter().map(of).collect();
        let configured = config.channel.security != Security::Plain;
        for (namespace, origin) in &origins {
            let before = self.origins.get(namespace);
            if before == Some(origin) || configured || !used.contains(namespace) {
                continue;
            }
            match origin {
                SecurityOrigin::Kept(reason) => {
                    warn!(target: INVENTORY, %namespace, %reason, "the last GRPCCLIENT settings are kept; only type insecure, in a row or in the file, turns TLS off");
                }
                SecurityOrigin::File => {
                    info!(target: INVENTORY, %namespace, "TLS or plain text from grpc_secrets.json: CONFIG_DB has no row of GRPCCLIENT")
                }
                SecurityOrigin::Rows => {
                    info!(target: INVENTORY, %namespace, "TLS or plain text from CONFIG_DB's GRPCCLIENT")
                }
                SecurityOrigin::Nowhere => {}
            }
        }
        self.origins = origins;
    }

    /// Logs each reason why no SoC can be dialled once.
    fn unusable(&mut self, inventory: &Inventory) {
        let security = inventory.targets.iter().map(|target| &target.channel.security);
        let unusable = security.filter_map(|security| match security {
            Security::Unusable(why) => Some(why.clone()),
            Security::Plain | Security::Tls(_) => None,
        });
        let unusable: BTreeSet<Arc<str>> = unusable.collect();
        for reason in unusable.difference(&self.unusable) {
            warn!(target: INVENTORY, %reason, "no SoC can be dialled (tls_config)");
        }
        self.unusable = unusable;
    }

    /// Logs the ports whose mux change has failed, in one line, not more often than people can read. The others wait for
    /// `failures_due`.
    pub(super) fn failures(&mut self, facts: &Facts) {
        let failed = |facts: &PortFacts| facts.orchagent == OrchagentMux::Error || facts.intended_error;
        let failed = facts.iter().filter(|(_, facts)| failed(facts));
        let failed: BTreeSet<Port> = failed.map(|(port, _)| port.clone()).collect();
        self.failed.retain(|port| failed.contains(port));
        let new: Vec<&str> = failed.difference(&self.failed).map(Port::as_str).collect();
        let now = Instant::now();
        let due = self.failed_logged.map(|logged| logged + EVERY);
        let due = due.filter(|due| *due > now);
        self.failures_due = due.filter(|_| !new.is_empty());
        if !new.is_empty() && due.is_none() {
            let (count, first) = (new.len(), new[..new.len().min(MOST_NAMES)].join(" "));
            warn!(target: INVENTORY,
                count,
                ports = first,
                "mux change failed: orchagent reports error in STATE_DB's MUX_CABLE_TABLE, or linkmgrd in APPL_DB's"
            );
            self.failed_logged = Some(now);
            self.failed = failed;
        }
    }

    /// When ports whose change has failed, and that are not in the log yet, may be logged.
    pub(super) fn failures_due(&self) -> Option<Instant> {
        self.failures_due
    }
}

/// The `subtype` of a switch that is not dual-ToR; none if it is. `host`: the switch's own tables.
fn other_subtype(source: &ConfigDbCopy, host: Option<&Tables>) -> Option<String> {
    let tables = source.tables.as_deref()?;
    let row = tables.row(schema::DEVICE_METADATA, schema::LOCALHOST);
    let of_asic = !source.namespace.is_empty() && row.is_none_or(|row| row.contains_key(SUB_ROLE));
    let subtype = row.and_then(|row| row.get(SUBTYPE)).map_or("", String::as_str);
    let other = !is_dual_tor(tables, host) && !of_asic;
    other.then(|| subtype.to_owned())
}
