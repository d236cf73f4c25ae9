//! Shadow mode: in which fields ycabled's rows differ from ours (pure).
//!
//! Takes the statuses of a snapshot and the tables of each namespace's STATE_DB, and emits for each field how many ports
//! differ. Only fields that ycabled itself writes for an active-active port are compared, whatever the schema of our rows is:
//! fields that we left in its rows (`publish: own`) are not ycabled's. A port without a row of ycabled, and a field that is
//! missing in its row, are not compared.

use crate::config::Schema;
use crate::model::schema;
use crate::model::{SocStatus, StateDbs};

use super::rows::{self, Counters};

/// ycabled's table. In shadow mode ours is another one.
const TABLE: &str = schema::MUX_CABLE_INFO;

/// The fields that ycabled writes for an active-active port (`post_port_mux_info_to_db`), in the order of our rows: 15 fields,
/// without `time_post` and the six probe counters, which each daemon counts itself.
const COMPARED: [&str; 8] = [
    "self_mux_direction",
    "peer_mux_direction",
    "self_oper_state",
    "peer_oper_state",
    "self_link_state",
    "peer_link_state",
    "server_version",
    "grpc_connection_status",
];

/// What ycabled has written.
#[derive(Debug, Clone)]
pub struct Shadow {
    /// The present STATE_DBs of all namespaces.
    pub state_dbs: StateDbs,
}

impl Shadow {
    /// How many of these ports differ, by field, in the order of a row. Always has all compared fields.
    pub fn differences<'a>(&self, socs: impl IntoIterator<Item = &'a SocStatus>) -> Vec<(&'static str, u64)> {
        let mut found: Vec<_> = COMPARED.iter().map(|field| (*field, 0)).collect();
        for soc in socs {
            let tables = self.state_dbs.get(&soc.target.namespace);
            let Some(theirs) = tables.and_then(|tables| tables.row(TABLE, soc.target.id.port.as_str()))
            else {
                continue;
            };
            for (field, ours) in rows::fields(soc, Schema::Sonic, Counters::default(), "") {
                let differs = theirs.get(field).is_some_and(|theirs| !are_equal(theirs, &ours));
                if differs && let Some((_, ports)) = found.iter_mut().find(|(name, _)| *name == field) {
                    *ports += 1;
                }
            }
        }
        found
    }
}

/// The NIC simulator's SoCs have an empty version. ycabled writes it as it is; we write N/A.
fn are_equal(theirs: &str, ours: &str) -> bool {
    let nothing = |value: &str| value.is_empty() || value == "N/A";
    theirs == ours || nothing(theirs) && nothing(ours)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use super::*;
    use crate::model::{ChannelState, Entry, MuxDirection, Row, Tables};
    use crate::sonic::rows::TIME_POST;
    use crate::telemetry::testing;

    /// A STATE_DB with these rows of ycabled: port, field, value.
    fn state_db(fields: &[(&str, &str, &str)]) -> Arc<Tables> {
        let mut rows: HashMap<String, Row> = HashMap::new();
        for (port, field, value) in fields {
            let row = rows.entry(format!("{TABLE}|{port}")).or_default();
            row.insert((*field).to_owned(), (*value).to_owned());
        }
        let mut tables = Tables::new("|");
        for (key, row) in rows {
            tables.set(key, Some(Entry::Row(row)));
        }
        Arc::new(tables)
    }

    fn ready(port: &str) -> SocStatus {
        let mut soc = testing::status(port);
        soc.channel.state = ChannelState::Ready;
        soc.observed.direction.own = MuxDirection::Active;
        soc.observed.version = Some("1.0".into());
        soc
    }

    /// The fields that differ.
    fn differing(tables: Arc<Tables>, socs: &[SocStatus]) -> Vec<(&'static str, u64)> {
        let state_dbs = StateDbs::from([("".into(), tables)]);
        let found = Shadow { state_dbs }.differences(socs);
        assert!(found.iter().map(|(field, _)| field).eq(&COMPARED), "{found:?}");
        found.into_iter().filter(|(_, ports)| *ports > 0).collect()
    }

    #[test]
    fn what_is_compared_are_fields_of_ours_and_none_that_each_daemon_says_of_its_own() {
        let soc = testing::status("Ethernet0");
        let all = rows::fields(&soc, Schema::Sonic, Counters::default(), "");
        let ours = all.iter().map(|(field, _)| *field);
        let expected: Vec<&str> = ours.filter(|field| COMPARED.contains(field)).collect();
        assert_eq!(expected, COMPARED);
        assert!(!COMPARED.contains(&TIME_POST));
        assert!(Counters::FIELDS.iter().all(|field| !COMPARED.contains(field)));
        assert_eq!(COMPARED.len() + 1 + Counters::FIELDS.len(), 15);
    }

    #[test]
    fn ports_are_counted_by_the_field_in_which_they_differ() {
        let tables = state_db(&[
            ("Ethernet0", "grpc_connection_status", "READY"),
            ("Ethernet0", "self_mux_direction", "active"),
            ("Ethernet0", "server_version", "1.0"),
            ("Ethernet4", "grpc_connection_status", "READY"),
            ("Ethernet4", "self_mux_direction", "standby"),
            ("Ethernet4", "server_version", "N/A"),
            ("Ethernet8", "self_mux_direction", "unknown"),
        ]);
        let socs = ["Ethernet0", "Ethernet4", "Ethernet8", "Ethernet12"].map(ready);
        let expected = [("self_mux_direction", 2), ("server_version", 1)];
        assert_eq!(differing(tables, &socs), expected);
    }

    #[test]
    fn what_each_daemon_says_of_its_own_is_no_difference() {
        let tables = state_db(&[
            ("Ethernet0", "time_post", "2026-Nov-21 00:06:31.406616"),
            ("Ethernet0", "mux_direction_probe_count", "77"),
            ("Ethernet0", "mux_direction", "N/A"),
            ("Ethernet0", "link_status_peer", "up"),
        ]);
        assert_eq!(differing(tables, &[ready("Ethernet0")]), []);
    }

    #[test]
    fn what_we_left_in_ycableds_rows_ourselves_does_not_count() {
        let tables = state_db(&[
            ("Ethernet0", "self_mux_direction", "active"),
            // From a time when we wrote the row.
            ("Ethernet0", "mux_direction", "standby"),
            ("Ethernet0", "self_operation_state", "down"),
            ("Ethernet0", "peer_operation_state", "down"),
            ("Ethernet0", "soc_service", "inprogress"),
            // From schema hld.
            ("Ethernet0", "grpc server version", "9"),
            ("Ethernet0", "Peer_mux_direction", "standby"),
        ]);
        assert_eq!(differing(tables, &[ready("Ethernet0")]), []);
    }

    #[test]
    fn an_empty_version_is_none() {
        let version = |theirs, ours: Option<&str>| {
            let mut soc = ready("Ethernet0");
            soc.observed.version = ours.map(Into::into);
            differing(state_db(&[("Ethernet0", "server_version", theirs)]), &[soc]).len()
        };
        for nothing in ["", "N/A"] {
            assert_eq!(
                (version(nothing, None), version(nothing, Some("1.0"))),
                (0, 1),
                "{nothing}"
            );
        }
        assert_eq!(version("1.0", None), 1);
    }

    #[test]
    fn a_port_is_compared_with_its_own_namespaces_row() {
        let row = |word| state_db(&[("Ethernet0", "self_mux_direction", word)]);
        let shadow = Shadow {
            state_dbs: [("asic0".into(), row("active")), ("asic1".into(), row("standby"))].into(),
        };
        let on = |namespace: &str| {
            let mut soc = ready("Ethernet0");
            soc.target.namespace = namespace.into();
            shadow.differences([&soc])[0]
        };
        assert_eq!(on("asic0"), ("self_mux_direction", 0));
        assert_eq!(on("asic1"), ("self_mux_direction", 1));
        assert_eq!(on(""), ("self_mux_direction", 0));
    }
}
