//! What of the switch's changes is logged: each once when it begins, and again when it is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::Switch;
use crate::model::Inventory;
use crate::model::component::INVENTORY;
use crate::model::schema;
use crate::model::{Facts, OrchagentMux, Port, PortFacts, Problem, Security, Side, quoted};
use crate::sonic::inventory::{Origin, Source, is_dual_tor};

/// From line to line about something that may happen to all ports at once.
const EVERY: Duration = Duration::from_secs(10);
/// Lines for so many rows at once: there may be thousands.
const MOST_TOLD: usize = 100;

impl Switch {
    /// Logs what has changed for people: each problem once, and again when it is gone.
    pub(super) fn tell(&mut self, inventory: &Inventory) {
        let problems: BTreeSet<Problem> = inventory.problems.iter().cloned().collect();
        for problem in problems.difference(&self.problems).take(MOST_TOLD) {
            let Problem { port, kind, text } = problem;
            warn!(target: INVENTORY, port, reason = %kind, text, "MUX_CABLE row cannot be used");
        }
        if let Some(more @ 1..) = problems.difference(&self.problems).count().checked_sub(MOST_TOLD) {
            warn!(target: INVENTORY,
                more,
                "more MUX_CABLE rows that cannot be used; dualtor_inventory_problems counts them"
            );
        }
        // One whose text alone has changed (another count) is there still.
        let stays = |gone: &&Problem| {
            let first = Problem {
                text: String::new(),
                ..(*gone).clone()
            };
            let now = problems.range(first..).next();
            now.is_some_and(|now| (&now.port, now.kind) == (&gone.port, gone.kind))
        };
        let gone = self.problems.difference(&problems).filter(|gone| !stays(gone));
        for Problem { port, kind, .. } in gone.take(MOST_TOLD) {
            info!(target: INVENTORY, port, reason = %kind, "MUX_CABLE row's problem is gone");
        }
        self.problems = problems;
        self.tell_kind();
        self.tell_kept();
        self.tell_origins(inventory);
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
        if inventory.loaded && self.side != Some(inventory.side) {
            if inventory.side != Side::Unknown {
                info!(target: INVENTORY, side = %inventory.side, "ToR side known");
            }
            self.side = Some(inventory.side);
        }
    }

    /// That this is no dual-ToR switch, and why: what is odd about its `subtype` shows in quotes.
    fn tell_kind(&mut self) {
        let from_config_db = self.config.borrow().targets.is_none();
        let host = self.sources.first().and_then(|source| source.tables.clone());
        let each = self.sources.iter().filter(|_| from_config_db);
        let others = each.filter_map(|source| {
            let tables = source.tables.as_deref()?;
            let row = tables.row(schema::DEVICE_METADATA, schema::LOCALHOST);
            let of_asic = !source.namespace.is_empty() && row.is_none_or(|row| row.contains_key("sub_role"));
            let subtype = row.and_then(|row| row.get("subtype")).map_or("", String::as_str);
            let other = !is_dual_tor(tables, host.as_deref()) && !of_asic;
            other.then(|| (source.namespace.clone(), subtype.to_owned()))
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

    /// Whose mux change has failed, in one line, and no more often than people can read: the others wait for `failures_due`.
    pub(super) fn tell_failures(&mut self, facts: &Facts) {
        let failed = |facts: &PortFacts| facts.orchagent == OrchagentMux::Error || facts.intended_error;
        let failed: BTreeSet<Port> = facts
            .iter()
            .filter(|(_, facts)| failed(facts))
            .map(|(port, _)| port.clone())
            .collect();
        self.failed.retain(|port| failed.contains(port));
        let new: Vec<&str> = failed.difference(&self.failed).map(Port::as_str).collect();
        let now = Instant::now();
        let due = self.failed_told.map(|told| told + EVERY).filter(|due| *due > now);
        self.failures_due = due.filter(|_| !new.is_empty());
        if !new.is_empty() && due.is_none() {
            let (count, first) = (new.len(), new[..new.len().min(8)].join(" "));
            warn!(target: INVENTORY,
                count,
                ports = first,
                "a change of the mux has failed: orchagent says error in STATE_DB's MUX_CABLE_TABLE, or linkmgrd in APPL_DB's"
            );
            self.failed_told = Some(now);
            self.failed = failed;
        }
    }

    /// Which rows are gone and still count, once each.
    fn tell_kept(&mut self) {
        let each = self.sources.iter().zip(&self.holds);
        let kept = each.flat_map(|(source, hold)| {
            let keys = hold.kept().map(|key| (source.namespace.clone(), key.to_owned()));
            keys.collect::<Vec<_>>()
        });
        let kept: BTreeSet<(Arc<str>, String)> = kept.collect();
        // One line for all of them, and no more often than people can read: a table that is rewritten has many rows.
        let now = Instant::now();
        let told = |n: usize| n > 0 && self.kept_told.is_none_or(|told| now >= told + EVERY);
        let gone: Vec<&(Arc<str>, String)> = kept.difference(&self.kept).collect();
        if told(gone.len()) {
            let (rows, (namespace, first)) = (gone.len(), gone[0]);
            info!(target: INVENTORY, %namespace, rows, first, "rows of CONFIG_DB are gone: what they said is kept for some seconds, as they may be being rewritten");
            self.kept_told = Some(now);
        }
        let has = |(namespace, key): &&(Arc<str>, String)| {
            let source = self.sources.iter().find(|source| source.namespace == *namespace);
            let tables = source.and_then(|source| source.tables.as_deref());
            tables.is_some_and(|tables| tables.get(key).is_some())
        };
        let lost: Vec<&(Arc<str>, String)> = self.kept.difference(&kept).filter(|row| !has(row)).collect();
        if let Some((namespace, first)) = lost.first() {
            info!(target: INVENTORY, %namespace, rows = lost.len(), first, "rows of CONFIG_DB have not come back: they count no more");
        }
        self.kept = kept;
    }

    /// From where the TLS settings are, where that has changed.
    fn tell_origins(&mut self, inventory: &Inventory) {
        let used = inventory.targets.iter().map(|target| &target.namespace);
        let used: BTreeSet<&Arc<str>> = used.collect();
        let of = |source: &Source| (source.namespace.clone(), source.secured.origin.clone());
        let origins: BTreeMap<Arc<str>, Origin> = self.sources.iter().map(of).collect();
        let configured = self.config.borrow().channel.security != Security::Plain;
        for (namespace, origin) in &origins {
            let before = self.origins.get(namespace);
            if before == Some(origin) || configured || !used.contains(namespace) {
                continue;
            }
            match origin {
                Origin::Kept(reason) => {
                    warn!(target: INVENTORY, %namespace, %reason, "the last settings of GRPCCLIENT stay in force: type insecure, in a row or in the file, would end TLS");
                }
                Origin::File => {
                    info!(target: INVENTORY, %namespace, "TLS or plain text as grpc_secrets.json says: CONFIG_DB has no row of GRPCCLIENT")
                }
                Origin::Rows => {
                    info!(target: INVENTORY, %namespace, "TLS or plain text as CONFIG_DB's GRPCCLIENT says")
                }
                Origin::Nowhere => {}
            }
        }
        self.origins = origins;
    }
}
