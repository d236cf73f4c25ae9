//! Shadow mode compared: in which fields our rows differ from those that ycabled has written of the same ports (pure).
//!
//! Takes the statuses of a snapshot and the tables of each namespace's STATE_DB; emits, for each field, how many ports
//! differ. A port of which ycabled has no row, and a field that its row has not, is not compared.

use crate::config::Schema;
use crate::model::{SocStatus, StateDbs};

use super::rows::{self, Counters};

/// ycabled's table, also while ours is another.
const TABLE: &str = "MUX_CABLE_INFO";

/// What ycabled has written, and in whose words ours would be.
#[derive(Debug, Clone)]
pub struct Shadow {
    /// The schema of our rows.
    pub schema: Schema,
    /// All namespaces' STATE_DBs as they are now.
    pub state_dbs: StateDbs,
}

impl Shadow {
    /// How many of these ports differ, by field, in the order of a row: always all fields that are compared.
    pub fn differences<'a>(&self, socs: impl IntoIterator<Item = &'a SocStatus>) -> Vec<(&'static str, u64)> {
        let mut found: Vec<_> = compared(self.schema).iter().map(|field| (*field, 0)).collect();
        for soc in socs {
            let tables = self.state_dbs.get(&soc.target.namespace);
            let Some(theirs) = tables.and_then(|tables| tables.row(TABLE, soc.target.port.as_str())) else {
                continue;
            };
            for (field, ours) in rows::fields(soc, self.schema, Counters::default(), "") {
                let differs = theirs.get(field).is_some_and(|theirs| *theirs != ours);
                if differs && let Some((_, ports)) = found.iter_mut().find(|(name, _)| *name == field) {
                    *ports += 1;
                }
            }
        }
        found
    }
}

/// The fields of a row that can agree. Not those in which each daemon says something of its own: `time_post`, the probe
/// counters, and in schema sonic `mux_direction`, which ycabled fills in the words of active-standby cables (self, peer, N/A).
const fn compared(schema: Schema) -> &'static [&'static str] {
    match schema {
        Schema::Sonic => &[
            "self_mux_direction",
            "peer_mux_direction",
            "self_oper_state",
            "self_operation_state",
            "peer_oper_state",
            "peer_operation_state",
            "self_link_state",
            "peer_link_state",
            "server_version",
            "grpc_connection_status",
            "soc_service",
        ],
        Schema::Hld => &[
            "mux_direction",
            "Peer_mux_direction",
            "grpc server version",
            "self_operation_state",
            "peer_operation_state",
            "self_link_state",
            "peer_Link_state",
            "grpc_connection_status",
            "soc_service",
        ],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use super::*;
    use crate::model::{ChannelState, Entry, MuxDirection, Row, Tables};
    use crate::publish::rows::TIME_POST;
    use crate::publish::testing;

    /// A STATE_DB with these rows of ycabled's: port, field, value.
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
        soc.channel = ChannelState::Ready;
        soc.observed.direction.own = MuxDirection::Active;
        soc.observed.version = Some("1.0".into());
        soc
    }

    /// The fields in which something differs.
    fn differing(schema: Schema, tables: Arc<Tables>, socs: &[SocStatus]) -> Vec<(&'static str, u64)> {
        let state_dbs = StateDbs::from([("".into(), tables)]);
        let found = Shadow { schema, state_dbs }.differences(socs);
        assert!(
            found.iter().map(|(field, _)| field).eq(compared(schema)),
            "{found:?}"
        );
        found.into_iter().filter(|(_, ports)| *ports > 0).collect()
    }

    #[test]
    fn every_field_of_a_row_is_compared_but_for_what_each_daemon_says_of_its_own() {
        for (schema, own) in [(Schema::Sonic, "mux_direction"), (Schema::Hld, "")] {
            let soc = testing::status("Ethernet0");
            let all = rows::fields(&soc, schema, Counters::default(), "");
            let expected: Vec<&str> = all
                .iter()
                .map(|(field, _)| *field)
                .filter(|field| ![own, TIME_POST].contains(field) && !Counters::FIELDS.contains(field))
                .collect();
            assert_eq!(compared(schema), expected);
        }
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
        assert_eq!(differing(Schema::Sonic, tables, &socs), expected);
    }

    #[test]
    fn what_each_daemon_says_of_its_own_is_no_difference() {
        let tables = state_db(&[
            ("Ethernet0", "time_post", "2026-Nov-21 00:06:31.406616"),
            ("Ethernet0", "mux_direction_probe_count", "77"),
            ("Ethernet0", "mux_direction", "N/A"),
            ("Ethernet0", "link_status_peer", "up"),
        ]);
        assert_eq!(differing(Schema::Sonic, tables, &[ready("Ethernet0")]), []);
    }

    #[test]
    fn schema_hld_compares_the_documents_own_names_and_words() {
        let tables = state_db(&[
            ("Ethernet0", "mux_direction", "standby"),
            ("Ethernet0", "self_link_state", "NA"),
            ("Ethernet0", "grpc server version", "1.0"),
            ("Ethernet0", "self_mux_direction", "standby"),
        ]);
        let expected = [("mux_direction", 1)];
        assert_eq!(differing(Schema::Hld, tables, &[ready("Ethernet0")]), expected);
    }

    #[test]
    fn a_port_is_compared_with_its_own_namespaces_row() {
        let row = |word| state_db(&[("Ethernet0", "self_mux_direction", word)]);
        let shadow = Shadow {
            schema: Schema::Sonic,
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
