//! Rows, literally, and the arithmetic of their counters.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;
use crate::config::{Database, RedisServer};
use crate::model::{ChannelState, Maintenance, QueryResult, SelfPeer};
use crate::telemetry::testing;

const NOW: &str = "2026-Nov-21 00:06:31.406616";

fn row(status: &SocStatus, schema: Schema, base: Counters) -> BTreeMap<&'static str, String> {
    let fields = fields(status, schema, base, NOW);
    let row: BTreeMap<_, _> = fields
        .iter()
        .map(|(name, value)| (*name, value.to_string()))
        .collect();
    assert_eq!(row.len(), fields.len(), "a field is there twice");
    row
}

fn healthy() -> SocStatus {
    let mut status = testing::status("Ethernet0");
    status.channel.state = ChannelState::Ready;
    status.maintenance = Maintenance::Noop;
    status.observed.direction = SelfPeer {
        own: MuxDirection::Active,
        peer: MuxDirection::Standby,
    };
    status.observed.oper = SelfPeer {
        own: PortState::Up,
        peer: PortState::Down,
    };
    status.observed.link = SelfPeer {
        own: PortState::Down,
        peer: PortState::Up,
    };
    status.observed.version = Some("1.2.3".into());
    status.probes[Query::Admin.index()][QueryResult::Ok.index()] = 3;
    status.probes[Query::Admin.index()][QueryResult::Unavailable.index()] = 4;
    status.probes[Query::Link.index()][QueryResult::EmptyReply.index()] = 5;
    status.probes[Query::Operation.index()][QueryResult::Ok.index()] = 6;
    status.probes[Query::Version.index()][QueryResult::Ok.index()] = 100;
    status.probes[Query::Health.index()][QueryResult::Ok.index()] = 200;
    status
}

fn counters(values: [u64; 6]) -> Counters {
    Counters::from_row(&values.map(|value| Some(value.to_string())))
}

fn expect(row: BTreeMap<&'static str, String>, expected: &[(&'static str, &str)]) {
    let expected: BTreeMap<_, _> = expected
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect();
    assert_eq!(row, expected);
}

#[test]
fn a_healthy_row_in_schema_sonic() {
    let base = counters([10, 20, 30, 40, 50, 60]);
    expect(
        row(&healthy(), Schema::Sonic, base),
        &[
            ("self_mux_direction", "active"),
            ("mux_direction", "active"),
            ("peer_mux_direction", "standby"),
            ("self_oper_state", "up"),
            ("self_operation_state", "up"),
            ("peer_oper_state", "down"),
            ("peer_operation_state", "down"),
            ("self_link_state", "down"),
            ("peer_link_state", "up"),
            ("server_version", "1.2.3"),
            ("grpc_connection_status", "READY"),
            ("mux_direction_probe_count", "17"),
            ("peer_mux_direction_probe_count", "27"),
            ("link_state_probe_count", "35"),
            ("peer_link_state_probe_count", "45"),
            ("operation_state_probe_count", "56"),
            ("peer_operation_state_probe_count", "66"),
            ("soc_service", "noop"),
            ("time_post", NOW),
        ],
    );
}

#[test]
fn a_healthy_row_in_schema_hld() {
    expect(
        row(&healthy(), Schema::Hld, Counters::default()),
        &[
            ("mux_direction", "active"),
            ("Peer_mux_direction", "standby"),
            ("grpc server version", "1.2.3"),
            ("self_operation_state", "Up"),
            ("peer_operation_state", "Down"),
            ("self_link_state", "Down"),
            ("peer_Link_state", "Up"),
            ("grpc_connection_status", "READY"),
            ("mux_direction_probe_count", "7"),
            ("peer_mux_direction_probe_count", "7"),
            ("link_state_probe_count", "5"),
            ("peer_link_state_probe_count", "5"),
            ("operation_state_probe_count", "6"),
            ("peer_operation_state_probe_count", "6"),
            ("soc_service", "noop"),
            ("time_post", NOW),
        ],
    );
}

#[test]
fn before_the_first_round_all_is_unknown_and_the_counters_are_their_base() {
    let status = testing::status("Ethernet0");
    let base = counters([1, 2, 3, 4, 5, 6]);
    let sonic = row(&status, Schema::Sonic, base);
    assert_eq!(sonic.len(), 19);
    for (name, value) in &sonic {
        let expected = match *name {
            "server_version" => "N/A",
            "grpc_connection_status" => "IDLE",
            "mux_direction_probe_count" => "1",
            "peer_mux_direction_probe_count" => "2",
            "link_state_probe_count" => "3",
            "peer_link_state_probe_count" => "4",
            "operation_state_probe_count" => "5",
            "peer_operation_state_probe_count" => "6",
            "soc_service" => "NA",
            "time_post" => NOW,
            _ => "unknown",
        };
        assert_eq!(value, expected, "{name}");
    }
    let hld = row(&status, Schema::Hld, base);
    for name in [
        "grpc server version",
        "self_operation_state",
        "peer_operation_state",
        "self_link_state",
        "peer_Link_state",
        "soc_service",
    ] {
        assert_eq!(hld[name], "NA", "{name}");
    }
    for name in ["mux_direction", "Peer_mux_direction"] {
        assert_eq!(hld[name], "unknown", "{name}");
    }
}

#[test]
fn every_channel_state_has_grpcs_own_word() {
    let mut status = testing::status("Ethernet0");
    for (state, word) in [
        (ChannelState::Idle, "IDLE"),
        (ChannelState::Connecting, "CONNECTING"),
        (ChannelState::Ready, "READY"),
        (ChannelState::TransientFailure, "TRANSIENT_FAILURE"),
        (ChannelState::Shutdown, "SHUTDOWN"),
    ] {
        status.channel.state = state;
        for schema in [Schema::Sonic, Schema::Hld] {
            let row = row(&status, schema, Counters::default());
            assert_eq!(row["grpc_connection_status"], word);
        }
    }
}

#[test]
fn no_schema_writes_the_field_that_linkmgrd_acts_upon() {
    for schema in [Schema::Sonic, Schema::Hld] {
        let row = row(&healthy(), schema, Counters::default());
        assert!(!row.contains_key("link_status_peer"));
    }
}

#[test]
fn a_base_that_is_not_a_decimal_counts_as_zero() {
    for (found, expected) in [
        (None, 0),
        (Some("0"), 0),
        (Some("17"), 17),
        (Some("0017"), 17),
        (Some("18446744073709551615"), u64::MAX),
        (Some("18446744073709551616"), 0),
        (Some(""), 0),
        (Some("+1"), 0),
        (Some("-1"), 0),
        (Some(" 1"), 0),
        (Some("1.0"), 0),
        (Some("0x1"), 0),
        (Some("N/A"), 0),
        (Some("\u{0661}"), 0),
    ] {
        let base = Counters::from_row(&[found]);
        assert_eq!(base.0, [expected, 0, 0, 0, 0, 0], "{found:?}");
    }
    let not_text = Counters::from_row(&[Some([0xff, 0xfe])]);
    assert_eq!(not_text, Counters::default());
}

#[test]
fn time_post_is_as_ycabled_writes_it() {
    for (micros, expected) in [
        (1_795_219_591_406_616, "2026-Nov-21 00:06:31.406616"),
        (1_795_219_591_000_000, "2026-Nov-21 00:06:31.000000"),
        (1_709_164_800_000_001, "2024-Feb-29 00:00:00.000001"),
        (0, "1970-Jan-01 00:00:00.000000"),
    ] {
        let at = UNIX_EPOCH + Duration::from_micros(micros);
        assert_eq!(time_post(at), expected);
    }
}

#[test]
fn keys_carry_the_separator_and_the_table_of_the_mode() {
    let port = Port::new("Ethernet4").expect("a port name");
    for (publish, separator, expected) in [
        (Publish::Own, "|", "MUX_CABLE_INFO|Ethernet4"),
        (Publish::Own, ":", "MUX_CABLE_INFO:Ethernet4"),
        (Publish::Shadow, "|", "MUX_CABLE_INFO_SHADOW|Ethernet4"),
    ] {
        let settings = StateDbSettings {
            database: Database {
                server: RedisServer::unix("/nowhere"),
                id: 6,
                separator: separator.to_owned(),
            },
            publish,
            schema: Schema::Sonic,
        };
        assert_eq!(row_key(&settings, &port), expected);
    }
}

proptest! {
    #[test]
    fn counters_survive_any_number_of_restarts(
        base: [u32; 6],
        sessions in prop::collection::vec((0u32..1000, 0u32..1000, 0u32..1000), 0..8),
    ) {
        let mut published = counters(base.map(u64::from));
        let mut expected = base.map(u64::from);
        for (admin, link, operation) in sessions {
            let mut status = testing::status("Ethernet0");
            let counts = [(Query::Admin, admin), (Query::Link, link), (Query::Operation, operation)];
            for (i, (query, count)) in counts.into_iter().enumerate() {
                status.probes[query.index()][QueryResult::Ok.index()] = count.into();
                expected[2 * i] += u64::from(count);
                expected[2 * i + 1] += u64::from(count);
            }
            let row = row(&status, Schema::Sonic, published);
            published = Counters::from_row(&Counters::FIELDS.map(|name| row.get(name)));
        }
        prop_assert_eq!(published.0, expected);
    }

    #[test]
    fn counters_only_go_up_even_where_they_are_full(base: [u64; 6], own: [u64; 6]) {
        let (base, own) = (Counters(base), Counters(own));
        prop_assert!(!base.plus(own).restarted_since(base));
        prop_assert!(!base.plus(own).restarted_since(own));
    }

    #[test]
    fn anything_in_the_row_can_be_a_base(values: [Option<Vec<u8>>; 6]) {
        let base = Counters::from_row(&values);
        let mut status = testing::status("Ethernet0");
        status.probes[Query::Admin.index()][QueryResult::Ok.index()] = u64::MAX;
        prop_assert_eq!(row(&status, Schema::Sonic, base).len(), 19);
    }
}
