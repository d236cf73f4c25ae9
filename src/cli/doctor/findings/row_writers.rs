//! Who writes MUX_CABLE_INFO: this exporter, ycabled, both or none.

use std::time::Duration;

use chrono::NaiveDateTime;

use super::switch_kind::active_standby;
use super::{Area, Finding, counted, listed};
use crate::cli::doctor::collected::{Collected, SeenDatabases};
use crate::config::Publish;
use crate::model::schema;

const AREA: Area = Area::Rows;
/// `time_post`, as ycabled writes it and so do we.
const TIME_POST: &str = "%Y-%b-%d %H:%M:%S%.f";

pub(super) fn check(seen: &Collected) -> Vec<Finding> {
    if seen.inventory.targets.is_empty() {
        if !seen.is_in_the_dark() {
            // Without ports there are no rows to write.
            return Vec::new();
        }
        let text = "not checked: CONFIG_DB cannot be read or is incomplete, so no port is known (see above)";
        return vec![Finding::note(AREA, schema::MUX_CABLE_INFO, text, None)];
    }
    let mut found: Vec<Finding> = seen.namespaces.iter().filter_map(|d| ycabled(seen, d)).collect();
    found.extend(freshness(seen));
    found
}

/// ycabled writes the same rows each minute, unless its telemetry is off. On a switch that also has active-standby ports, its
/// telemetry is also what fills their `link_status_peer`, on which linkmgrd acts: then it must stay on.
fn ycabled(seen: &Collected, databases: &SeenDatabases) -> Option<Finding> {
    let tables = databases.believed()?;
    let mut targets = seen.inventory.targets.iter();
    if !targets.any(|target| target.namespace == databases.namespace.name) {
        return None;
    }
    let subject = databases.named("ycabled");
    let row = tables.row(schema::XCVRD_LOG, "Y_CABLE");
    let value = row.and_then(|row| row.get("disable_telemetry"));
    let standby = active_standby(tables);
    let beside = counted(standby, "active-standby port");
    if value.map(String::as_str) == Some("True") {
        return Some(if standby == 0 {
            Finding::ok(
                AREA,
                subject,
                "its telemetry is off (disable_telemetry True): it writes the rows only at its start and at each cable insertion. While XCVRD_LOG|Y_CABLE exists, `config apply-patch` and validated loads fail: it is not in YANG",
            )
        } else {
            let text = format!(
                "its telemetry is off, but this switch has {beside}: nothing fills link_status_peer there any more"
            );
            let remedy = "`sudo config muxcable telemetry enable`, and databases.publish: shadow";
            Finding::problem(AREA, subject, text, remedy)
        });
    }
    let said = match value {
        Some(value) => format!(
            " (disable_telemetry {:?}: only True counts)",
            value.chars().take(16).collect::<String>()
        ),
        None => " (no disable_telemetry True)".to_owned(),
    };
    let on = format!("nothing turns its telemetry off{said}");
    Some(match seen.config.publish {
        Publish::Shadow => Finding::ok(
            AREA,
            subject,
            format!("{on}; we write MUX_CABLE_INFO_SHADOW only"),
        ),
        Publish::Off => Finding::ok(AREA, subject, format!("{on}; we write no rows")),
        Publish::Own if standby > 0 => {
            let text = format!("{on}: where it runs, it rewrites the same rows every minute");
            let remedy = format!(
                "set databases.publish: shadow, or accept it. Leave the telemetry on: this switch has {beside}, where it fills link_status_peer"
            );
            Finding::note(AREA, subject, text, remedy)
        }
        Publish::Own => {
            let text = format!(
                "{on}: where it runs, it rewrites the same rows every minute; the two overwrite each other"
            );
            let remedy = "`sudo config muxcable telemetry disable`, or databases.publish: shadow. The first has a price: the row \
                          XCVRD_LOG|Y_CABLE is not in YANG, so `config apply-patch` and validated loads fail while it exists";
            Finding::problem(AREA, subject, text, remedy)
        }
    })
}

/// How old the rows are: whether they are still written.
fn freshness(seen: &Collected) -> Option<Finding> {
    let table = match seen.config.publish {
        Publish::Own => schema::MUX_CABLE_INFO,
        Publish::Shadow => schema::MUX_CABLE_INFO_SHADOW,
        Publish::Off => return None,
    };
    let limit = seen.config.probe.interval * 3;
    let (mut fresh, mut old, mut missing) = (0, Vec::new(), Vec::new());
    for soc in &seen.socs {
        let mut namespaces = seen.namespaces.iter();
        let own = namespaces.find(|d| d.namespace.name == soc.target.namespace);
        let tables = own.and_then(|d| d.state_db.as_ref().ok())?;
        let row = tables.row(table, soc.port().as_str());
        match row.map(|row| age(seen, row.get("time_post").map_or("", String::as_str))) {
            None => missing.push(soc.port().as_str()),
            Some(Some(age)) if age <= limit => fresh += 1,
            Some(_) => old.push(soc.port().as_str()),
        }
    }
    let remedy =
        "check that dualtor-exporter runs with this configuration: see its log and dualtor_state_db_up"
            .to_owned();
    Some(match (&old[..], &missing[..]) {
        ([], []) => Finding::ok(
            AREA,
            table,
            format!("{} written within {limit:?}", counted(fresh, "row")),
        ),
        ([], missing) => {
            let text = format!("no row of {}: none has been written yet", listed(missing));
            Finding::note(AREA, table, text, remedy)
        }
        (old, _) => {
            let text = format!(
                "the rows of {} are not written any more: the last write was more than {limit:?} ago",
                listed(old)
            );
            Finding::note(AREA, table, text, remedy)
        }
    })
}

/// `None`: no time that we can read.
fn age(seen: &Collected, time_post: &str) -> Option<Duration> {
    let at = NaiveDateTime::parse_from_str(time_post, TIME_POST)
        .ok()?
        .and_utc();
    // A clock that was set back makes a row of the future, which is fresh.
    Some((seen.now - at).to_std().unwrap_or_default())
}
