//! `config_db`: the active-active ports of another switch, from its CONFIG_DB. It is only read, and by the same rules as the switch's
//! own: only while it is complete, and a row that is being rewritten stays in use for a while.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::source_report::SourceReport;
use super::target_groups::Groups;
use crate::config::RemoteConfigDb;
use crate::model::{ProbeSettings, Problem, Side, Tables};
use crate::sonic::inventory::{self, Hold, Loopback3, found_rows, is_dual_tor};
use crate::sonic::mirror::{Mirror, Mirrored, Ports, Surroundings};
use crate::sonic::redis_link::Servers;

/// How often a database that answers counts as read, if nothing in it changes. Its mirror looks at it each 2 s.
const FRESH_EVERY: Duration = Duration::from_secs(10);

/// Follows the database. Ends only if the task of its mirror does, by a defect.
pub(super) async fn follow(
    remote: &RemoteConfigDb,
    probe: &watch::Receiver<ProbeSettings>,
    report: &mut SourceReport,
) {
    let (_ports, ports) = watch::channel(Ports::default());
    let around = Surroundings {
        probe: probe.clone(),
        ports,
        notified: Servers::default().last_notified(&remote.database.server),
    };
    let (mirror, mut mirrored) = Mirror::new(remote.database.clone(), inventory::CONFIG_DB, around);
    let _mirror = AbortOnDropHandle::new(tokio::spawn(mirror.run()));
    let (mut hold, mut good) = (Hold::default(), false);
    let mut fresh = interval(FRESH_EVERY);
    fresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let due = hold.until().map(Instant::from_std);
        // Every wait is cancel-safe: it takes nothing.
        tokio::select! {
            changed = mirrored.changed() => if changed.is_err() {
                return;
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            _ = fresh.tick() => {
                if good {
                    report.same();
                }
                continue;
            }
        }
        let now = mirrored.borrow_and_update().clone();
        let complete = now.tables().filter(|tables| inventory::is_complete(tables));
        let tables = hold.take(complete, Instant::now().into_std());
        good = complete.is_some();
        match (&now, &tables) {
            (Mirrored::Up(_), Some(tables)) if good => report.good(groups(remote, tables)),
            (Mirrored::Up(_), _) => report.failed("CONFIG_DB_INITIALIZED is not 1"),
            (Mirrored::Down(reason), _) => report.failed(reason),
            (Mirrored::Waiting, _) => {}
        }
    }
}

/// The targets of this CONFIG_DB.
fn groups(remote: &RemoteConfigDb, tables: &Tables) -> Groups {
    let mut groups = Groups::default();
    if !is_dual_tor(tables, Some(tables)) {
        return groups;
    }
    let side = match remote.side {
        Side::Unknown => Loopback3::find(std::iter::once(tables)).side(),
        told => told,
    };
    for row in found_rows(tables, &remote.rack, side) {
        match row {
            Ok(target) => groups.targets.push(target),
            Err(problem) => {
                let key = format!("{}|{}", remote.rack.as_str(), problem.port);
                groups
                    .problems
                    .push(Problem::new(&key, problem.kind, &problem.text));
            }
        }
    }
    groups
}
