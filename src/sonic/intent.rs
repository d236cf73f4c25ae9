//! What the switch's own daemons write about its ports: linkmgrd's intent and health, orchagent's state, whether a port is up, and
//! what ycabled has written (`ycabled_rows`).
//!
//! Pure: takes the tables of a mirror and emits `Facts` for the metrics. While a database cannot be read, its facts are
//! unknown, because its last content may be an hour old.

use std::collections::BTreeSet;

use crate::model::schema;
use crate::model::{
    Facts, LinkmgrHealth, MuxDirection, OrchagentMux, Port, PortFacts, Row, Rows, Spec, Table, Tables,
};
use crate::sonic::ycabled_rows;

/// What is read from APPL_DB.
pub const APPL_DB: Spec = Spec {
    name: schema::APPL_DB,
    rows: Rows::OfPorts,
    tables: &[
        MUX_CABLE_TABLE,
        Table {
            name: schema::PORT_TABLE,
            fields: &["oper_status"],
        },
    ],
    extras: ycabled_rows::APPL_DB,
    values: &[],
};

/// What is read from STATE_DB.
pub const STATE_DB: Spec = Spec {
    name: schema::STATE_DB,
    rows: Rows::OfPorts,
    tables: &[MUX_CABLE_TABLE, MUX_LINKMGR_TABLE],
    extras: ycabled_rows::STATE_DB,
    values: &[],
};

/// The same in shadow mode: also ycabled's rows, which ours are compared with.
pub const STATE_DB_SHADOWED: Spec = Spec {
    tables: &[
        MUX_CABLE_TABLE,
        MUX_LINKMGR_TABLE,
        Table {
            name: schema::MUX_CABLE_INFO,
            fields: &[],
        },
    ],
    ..STATE_DB
};

const MUX_CABLE_TABLE: Table = Table {
    name: schema::MUX_CABLE_TABLE,
    fields: &["state"],
};
const MUX_LINKMGR_TABLE: Table = Table {
    name: schema::MUX_LINKMGR_TABLE,
    fields: &["state"],
};

/// Adds the content of one namespace's databases to `facts`.
pub fn collect(appl_db: Option<&Tables>, state_db: Option<&Tables>, facts: &mut Facts) {
    if let Some(tables) = appl_db {
        for port in ports(tables, ycabled_rows::APPL_DB) {
            let facts = facts.entry(port.clone()).or_default();
            ycabled_rows::of_appl_db(tables, port.as_str(), &mut facts.ycabled);
        }
        each(tables, schema::MUX_CABLE_TABLE, facts, |facts, row| {
            facts.intended = direction(row);
            facts.intended_error = is_error(row);
        });
        each(tables, schema::PORT_TABLE, facts, |facts, row| {
            facts.oper_up = match row.get("oper_status").map(String::as_str) {
                Some("up") => Some(true),
                Some("down") => Some(false),
                _ => None,
            };
        });
    }
    if let Some(tables) = state_db {
        for port in ports(tables, ycabled_rows::STATE_DB) {
            let facts = facts.entry(port.clone()).or_default();
            ycabled_rows::of_state_db(tables, port.as_str(), &mut facts.ycabled);
        }
        each(tables, schema::MUX_CABLE_TABLE, facts, |facts, row| {
            facts.orchagent = if is_error(row) {
                OrchagentMux::Error
            } else {
                match direction(row) {
                    MuxDirection::Active => OrchagentMux::Active,
                    MuxDirection::Standby => OrchagentMux::Standby,
                    MuxDirection::Unknown => OrchagentMux::Unknown,
                }
            };
        });
        each(tables, schema::MUX_LINKMGR_TABLE, facts, |facts, row| {
            facts.linkmgr = health(row)
        });
    }
}

/// The ports that have a row in one of these tables.
fn ports(tables: &Tables, of: &[Table]) -> BTreeSet<Port> {
    let keys = of
        .iter()
        .flat_map(|table| tables.table(table.name))
        .map(|(key, _)| key);
    keys.filter_map(|key| Port::new(key).ok()).collect()
}

fn each(tables: &Tables, table: &str, facts: &mut Facts, note: impl Fn(&mut PortFacts, &Row)) {
    for (key, _) in tables.table(table) {
        if let (Ok(port), Some(row)) = (Port::new(key), tables.row(table, key)) {
            note(facts.entry(port).or_default(), row);
        }
    }
}

fn direction(row: &Row) -> MuxDirection {
    match row.get("state").map(String::as_str) {
        Some("active") => MuxDirection::Active,
        Some("standby") => MuxDirection::Standby,
        _ => MuxDirection::Unknown,
    }
}

/// linkmgrd writes `Error`, orchagent `error`.
fn is_error(row: &Row) -> bool {
    row.get("state")
        .is_some_and(|state| state.eq_ignore_ascii_case("error"))
}

fn health(row: &Row) -> LinkmgrHealth {
    match row.get("state").map(String::as_str) {
        Some("healthy") => LinkmgrHealth::Healthy,
        Some("unhealthy") => LinkmgrHealth::Unhealthy,
        Some("uninitialized") => LinkmgrHealth::Uninitialized,
        _ => LinkmgrHealth::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Entry;

    fn tables(separator: &str, rows: &[(&str, &str, &str)]) -> Tables {
        let mut tables = Tables::new(separator);
        for (key, field, value) in rows {
            let row = Row::from([((*field).to_owned(), (*value).to_owned())]);
            tables.set((*key).to_owned(), Some(Entry::Row(row)));
        }
        tables
    }

    #[test]
    fn each_table_tells_its_own_fact_of_a_port() {
        let appl_db = tables(
            ":",
            &[
                ("MUX_CABLE_TABLE:Ethernet0", "state", "active"),
                ("PORT_TABLE:Ethernet0", "oper_status", "down"),
                ("PORT_TABLE:PortConfigDone", "count", "3"),
                ("MUX_CABLE_TABLE:Ethernet4", "state", "nonsense"),
            ],
        );
        let state_db = tables(
            "|",
            &[
                ("MUX_CABLE_TABLE|Ethernet0", "state", "standby"),
                ("MUX_LINKMGR_TABLE|Ethernet0", "state", "unhealthy"),
            ],
        );
        let mut facts = Facts::new();
        collect(Some(&appl_db), Some(&state_db), &mut facts);
        let expected = PortFacts {
            intended: MuxDirection::Active,
            intended_error: false,
            orchagent: OrchagentMux::Standby,
            linkmgr: LinkmgrHealth::Unhealthy,
            oper_up: Some(false),
            ..PortFacts::default()
        };
        let port = |name: &str| Port::new(name).expect("a port");
        assert_eq!(facts[&port("Ethernet0")], expected);
        assert_eq!(facts[&port("Ethernet4")], PortFacts::default());
    }

    #[test]
    fn a_failed_change_is_a_state_of_orchagents_own_and_no_intent_of_linkmgrds() {
        let rows: [(&str, &str, &str); 3] = [
            ("MUX_CABLE_TABLE|Ethernet0", "state", "error"),
            // A row without a state is legal.
            ("MUX_CABLE_TABLE|Ethernet4", "other", "x"),
            ("MUX_CABLE_TABLE|Ethernet8", "state", "unknown"),
        ];
        let linkmgrd = [("MUX_CABLE_TABLE:Ethernet0", "state", "Error")];
        let mut facts = Facts::new();
        collect(
            Some(&tables(":", &linkmgrd)),
            Some(&tables("|", &rows)),
            &mut facts,
        );
        let of = |name: &str| facts[&Port::new(name).expect("a port")];
        let orchagent = ["Ethernet0", "Ethernet4", "Ethernet8"].map(|name| of(name).orchagent);
        assert_eq!(
            orchagent,
            [OrchagentMux::Error, OrchagentMux::Unknown, OrchagentMux::Unknown]
        );
        let failed = of("Ethernet0");
        assert_eq!(
            (failed.intended, failed.intended_error),
            (MuxDirection::Unknown, true)
        );
        assert!(!of("Ethernet4").intended_error);
    }

    #[test]
    fn intent_and_fact_agree_or_not_only_where_both_are_known() {
        use MuxDirection::{Active, Standby, Unknown};
        let consistent = |intended, reported| {
            let facts = PortFacts {
                intended,
                ..PortFacts::default()
            };
            facts.consistent(reported)
        };
        assert_eq!(consistent(Active, Active), Some(true));
        assert_eq!(consistent(Active, Standby), Some(false));
        assert_eq!(consistent(Unknown, Standby), None);
        assert_eq!(consistent(Active, Unknown), None);
    }
}
