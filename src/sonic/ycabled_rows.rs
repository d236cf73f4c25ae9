//! The rows that ycabled writes for linkmgrd, and linkmgrd's count of its heartbeats. Pure: from the tables of a mirror to
//! `YcabledFacts`.
//!
//! They are read once per interval and not when they change: ycabled writes its answers again every few seconds, with the same
//! values. A user of Redis who may not read them reads everything else.

use std::time::{Duration, SystemTime};

use chrono::NaiveDateTime;

use crate::model::schema;
use crate::model::{End, Heartbeats, MuxChange, Row, Table, Tables, YcabledFacts, YcabledState};

/// What is read of APPL_DB.
pub(super) const APPL_DB: &[Table] = &[Table {
    name: schema::FORWARDING_STATE_RESPONSE,
    fields: &["response", "response_peer"],
}];

/// What is read of STATE_DB.
pub(super) const STATE_DB: &[Table] = &[
    Table {
        name: schema::HW_MUX_CABLE_TABLE,
        fields: &["state"],
    },
    Table {
        name: schema::HW_MUX_CABLE_TABLE_PEER,
        fields: &["state"],
    },
    Table {
        name: schema::MUX_METRICS_TABLE,
        fields: &[
            "grpc_switch_self_active_start",
            "grpc_switch_self_active_end",
            "grpc_switch_self_standby_start",
            "grpc_switch_self_standby_end",
            "grpc_switch_self_unknown_start",
            "grpc_switch_self_unknown_end",
            "grpc_switch_peer_active_start",
            "grpc_switch_peer_active_end",
            "grpc_switch_peer_standby_start",
            "grpc_switch_peer_standby_end",
            "grpc_switch_peer_unknown_start",
            "grpc_switch_peer_unknown_end",
        ],
    },
    Table {
        name: schema::LINK_PROBE_STATS,
        fields: &["pck_loss_count", "pck_expected_count"],
    },
];

/// The longest time stamp: `2026-Nov-21 00:06:31.406616`, and some more.
const LONGEST_TIME: usize = 40;
/// A change that took longer was not measured by one clock.
const LONGEST_CHANGE: Duration = Duration::from_secs(24 * 3600);

/// Adds what APPL_DB holds of a port.
pub(super) fn of_appl_db(tables: &Tables, port: &str, facts: &mut YcabledFacts) {
    if let Some(row) = tables.row(schema::FORWARDING_STATE_RESPONSE, port) {
        facts.answered.own = state(row, "response");
        facts.answered.peer = state(row, "response_peer");
    }
}

/// Adds what STATE_DB holds of a port.
pub(super) fn of_state_db(tables: &Tables, port: &str, facts: &mut YcabledFacts) {
    for (end, table) in [
        (End::Own, schema::HW_MUX_CABLE_TABLE),
        (End::Peer, schema::HW_MUX_CABLE_TABLE_PEER),
    ] {
        let row = tables.row(table, port);
        *facts.set.at_mut(end) = row.and_then(|row| state(row, "state"));
        let row = tables.row(schema::MUX_METRICS_TABLE, port);
        *facts.change.at_mut(end) = row.and_then(|row| last_change(row, end));
    }
    let row = tables.row(schema::LINK_PROBE_STATS, port);
    facts.heartbeats = row.and_then(|row| {
        Some(Heartbeats {
            lost: row.get("pck_loss_count")?.parse().ok()?,
            expected: row.get("pck_expected_count")?.parse().ok()?,
        })
    });
}

fn state(row: &Row, field: &str) -> Option<YcabledState> {
    let value = row.get(field)?;
    let mut all = YcabledState::ALL.iter();
    all.find(|state| state.label() == value).copied()
}

fn last_change(row: &Row, end: End) -> Option<MuxChange> {
    let changes = YcabledState::ALL.iter().filter_map(|to| {
        let at = |when: &str| time(row.get(&format!("grpc_switch_{end}_{to}_{when}"))?);
        let (began, ended) = (at("start")?, at("end")?);
        let took = ended
            .duration_since(began)
            .ok()
            .filter(|took| *took <= LONGEST_CHANGE)?;
        Some(MuxChange { to: *to, ended, took })
    });
    changes.max_by_key(|change| change.ended)
}

/// As ycabled writes it, in UTC.
fn time(text: &str) -> Option<SystemTime> {
    let text = Some(text).filter(|text| text.len() <= LONGEST_TIME)?;
    let time = NaiveDateTime::parse_from_str(text, "%Y-%b-%d %H:%M:%S%.f").ok()?;
    let since = u64::try_from(time.and_utc().timestamp_micros()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(since))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Entry, MuxDirection, SelfPeer};

    fn facts(rows: &[(&str, &[(&str, &str)])]) -> YcabledFacts {
        let (mut appl_db, mut state_db) = (Tables::new(":"), Tables::new("|"));
        for (key, fields) in rows {
            let fields = fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let tables = if key.contains(':') {
                &mut appl_db
            } else {
                &mut state_db
            };
            tables.set((*key).to_owned(), Some(Entry::Row(fields.collect())));
        }
        let mut facts = YcabledFacts::default();
        of_appl_db(&appl_db, "Ethernet0", &mut facts);
        of_state_db(&state_db, "Ethernet0", &mut facts);
        facts
    }

    #[test]
    fn each_table_has_its_own_fact() {
        use YcabledState::{Active, Failure, Standby, Unknown};
        let facts = facts(&[
            (
                "FORWARDING_STATE_RESPONSE:Ethernet0",
                &[("response", "failure"), ("response_peer", "standby")],
            ),
            ("HW_MUX_CABLE_TABLE|Ethernet0", &[("state", "active")]),
            ("HW_MUX_CABLE_TABLE_PEER|Ethernet0", &[("state", "unknown")]),
            (
                "LINK_PROBE_STATS|Ethernet0",
                &[("pck_loss_count", "3"), ("pck_expected_count", "12000")],
            ),
        ]);
        let of = |own, peer| SelfPeer {
            own: Some(own),
            peer: Some(peer),
        };
        assert_eq!(facts.answered, of(Failure, Standby));
        assert_eq!(facts.set, of(Active, Unknown));
        let heartbeats = Heartbeats {
            lost: 3,
            expected: 12_000,
        };
        assert_eq!(facts.heartbeats, Some(heartbeats));
        assert_eq!(facts.change, SelfPeer::default());
        let agrees = |reported| End::ALL.iter().map(move |end| facts.agrees(*end, reported));
        assert!(agrees(MuxDirection::Active).eq([Some(false), Some(false)]));
        assert!(agrees(MuxDirection::Standby).eq([Some(false), Some(true)]));
        assert!(agrees(MuxDirection::Unknown).eq([None, None]));
    }

    #[test]
    fn the_last_change_of_a_side_is_the_one_that_ended_last() {
        let change = facts(&[(
            "MUX_METRICS_TABLE|Ethernet0",
            &[
                ("linkmgrd_switch_active_start", "2026-Nov-21 00:06:31.000001"),
                ("grpc_switch_self_active_start", "2026-Nov-21 00:06:31.400000"),
                ("grpc_switch_self_active_end", "2026-Nov-21 00:06:31.650000"),
                ("grpc_switch_self_standby_start", "2026-Nov-21 00:06:32.000000"),
                ("grpc_switch_self_standby_end", "2026-Nov-21 00:06:42.000000"),
                ("grpc_switch_peer_unknown_start", "2026-Nov-21 00:06:31.500000"),
                ("grpc_switch_peer_unknown_end", "2026-Nov-21 00:06:31"),
            ],
        )])
        .change;
        let own = change.own.expect("a change");
        assert_eq!(
            (own.to, own.took),
            (YcabledState::Standby, Duration::from_secs(10))
        );
        let ended = own.ended.duration_since(SystemTime::UNIX_EPOCH).expect("later");
        assert_eq!(ended, Duration::from_secs(1_795_219_602));
        assert_eq!(change.peer, None, "it ended before it began");
    }

    #[test]
    fn what_ycabled_does_not_write_is_nothing() {
        let long = format!("2026-Nov-21 00:06:31.{}", "1".repeat(4000));
        for odd in ["", "ACTIVE", "active ", "\u{fffd}", &long] {
            let facts = facts(&[
                ("FORWARDING_STATE_RESPONSE:Ethernet0", &[("response", odd)]),
                (
                    "HW_MUX_CABLE_TABLE|Ethernet0",
                    &[("state", odd), ("other", "active")],
                ),
                (
                    "MUX_METRICS_TABLE|Ethernet0",
                    &[
                        ("grpc_switch_self_active_start", odd),
                        ("grpc_switch_self_active_end", "2026-Nov-21 00:06:31.650000"),
                    ],
                ),
                (
                    "LINK_PROBE_STATS|Ethernet0",
                    &[("pck_loss_count", odd), ("pck_expected_count", "1")],
                ),
            ]);
            assert_eq!(facts, YcabledFacts::default(), "{odd:?}");
        }
    }
}
