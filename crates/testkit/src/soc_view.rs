//! What one SoC looks like from outside: the same facts in the metrics and in its row.

use std::collections::BTreeMap;

use crate::http::Scrape;

/// A row in Redis.
pub type Row = BTreeMap<String, String>;

/// The fields of a row in schema sonic.
pub const FIELDS: [&str; 19] = [
    "grpc_connection_status",
    "link_state_probe_count",
    "mux_direction",
    "mux_direction_probe_count",
    "operation_state_probe_count",
    "peer_link_state",
    "peer_link_state_probe_count",
    "peer_mux_direction",
    "peer_mux_direction_probe_count",
    "peer_oper_state",
    "peer_operation_state",
    "peer_operation_state_probe_count",
    "self_link_state",
    "self_mux_direction",
    "self_oper_state",
    "self_operation_state",
    "server_version",
    "soc_service",
    "time_post",
];

/// One end of the cable: mux direction, link, operation.
pub type End = [&'static str; 3];

/// What is expected of one SoC.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// The value in the metric.
    pub channel: &'static str,
    pub own: End,
    pub peer: End,
    /// Empty: unknown.
    pub version: &'static str,
    pub health: &'static str,
}

impl Look {
    /// The simulator's healthy SoC, as the upper ToR sees it.
    pub const HEALTHY: Self = Self {
        channel: "ready",
        own: ["active", "up", "up"],
        peer: ["standby", "up", "up"],
        version: "1.0.0",
        health: "serving",
    };

    /// Nothing is known except the channel's state.
    pub const fn unknown(channel: &'static str) -> Self {
        Self {
            channel,
            own: ["unknown"; 3],
            peer: ["unknown"; 3],
            version: "",
            health: "unknown",
        }
    }

    /// In the form of [`of_scrape`].
    pub fn metrics(&self) -> String {
        format!(
            "{} | self {} | peer {} | version {:?} | {}",
            self.channel,
            self.own.join(" "),
            self.peer.join(" "),
            self.version,
            self.health
        )
    }

    /// In the form of [`of_row`].
    pub fn row(&self) -> String {
        let version = if self.version.is_empty() {
            "N/A"
        } else {
            self.version
        };
        format!(
            "{} | self {} | peer {} | version {version:?}",
            self.channel.to_uppercase(),
            self.own.join(" "),
            self.peer.join(" "),
        )
    }
}

/// What the metrics show of a port.
pub fn of_scrape(scrape: &Scrape, port: &str) -> String {
    let end = |side| {
        [
            "dualtor_mux_direction",
            "dualtor_link_state",
            "dualtor_oper_state",
        ]
        .map(|name| scrape.state(name, &[("port", port), ("side", side)], "state"))
        .join(" ")
    };
    let port_label = [("port", port)];
    let info: Vec<_> = scrape.find("dualtor_soc_info", &port_label).collect();
    assert!(info.len() == 1 && info[0].value == 1.0, "{port}: {info:?}");
    format!(
        "{} | self {} | peer {} | version {:?} | {}",
        scrape.state("dualtor_channel_state", &port_label, "state"),
        end("self"),
        end("peer"),
        info[0].labels["version"],
        scrape.state("dualtor_health_status", &port_label, "status"),
    )
}

/// What a row of schema sonic shows.
pub fn of_row(row: &Row) -> String {
    if row.is_empty() {
        return "no row".to_owned();
    }
    let fields: Vec<&str> = row.keys().map(String::as_str).collect();
    assert_eq!(fields, FIELDS, "the fields of a row");
    for (name, twin) in [
        ("self_mux_direction", "mux_direction"),
        ("self_oper_state", "self_operation_state"),
        ("peer_oper_state", "peer_operation_state"),
    ] {
        assert_eq!(row[name], row[twin], "{name} and {twin}");
    }
    let end = |direction: &str, link: &str, oper: &str| [direction, link, oper].map(|f| &*row[f]).join(" ");
    format!(
        "{} | self {} | peer {} | version {:?}",
        row["grpc_connection_status"],
        end("self_mux_direction", "self_link_state", "self_oper_state"),
        end("peer_mux_direction", "peer_link_state", "peer_oper_state"),
        row["server_version"],
    )
}
