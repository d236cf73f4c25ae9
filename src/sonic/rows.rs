//! The content of a STATE_DB row: a pure function from one SoC's status to the fields of its `MUX_CABLE_INFO` row.
//!
//! It owns the names and values of both schemas. `sonic` is what SONiC's ycabled writes and its tools read, plus the three
//! names that only the design document (HLD) has. `hld` is exactly that document, with its spaces and capitals.
//! `link_status_peer` is never written, because linkmgrd acts on it.

use std::borrow::Cow;
use std::time::SystemTime;

use chrono::{DateTime, Utc};

use crate::config::{Publish, Schema, StateDbSettings};
use crate::model::schema;
use crate::model::{MuxDirection, Port, PortState, Query, SocStatus};

/// The field that changes with every write. A writer recognises its own writes by it.
pub const TIME_POST: &str = "time_post";

/// The key of `port`'s row: `MUX_CABLE_INFO|Ethernet0`, in shadow mode `MUX_CABLE_INFO_SHADOW|Ethernet0`.
pub fn row_key(settings: &StateDbSettings, port: &Port) -> String {
    format!("{}{port}", key_prefix(settings))
}

/// The beginning of every row's key: `MUX_CABLE_INFO|`.
pub fn key_prefix(settings: &StateDbSettings) -> String {
    let table = match settings.publish {
        Publish::Own | Publish::Off => schema::MUX_CABLE_INFO,
        Publish::Shadow => schema::MUX_CABLE_INFO_SHADOW,
    };
    format!("{table}{}", settings.database.separator)
}

/// A moment in the form that ycabled writes into `time_post`: `2026-Nov-21 00:06:31.406616`, UTC.
pub fn time_post(at: SystemTime) -> String {
    DateTime::<Utc>::from(at)
        .format("%Y-%b-%d %H:%M:%S%.6f")
        .to_string()
}

/// The six probe counters of a row, in the order of `Counters::FIELDS`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters([u64; 6]);

impl Counters {
    /// Their field names, the same in both schemas.
    pub const FIELDS: [&'static str; 6] = [
        "mux_direction_probe_count",
        "peer_mux_direction_probe_count",
        "link_state_probe_count",
        "peer_link_state_probe_count",
        "operation_state_probe_count",
        "peer_operation_state_probe_count",
    ];

    /// The counters of a row, from its values in the order of `FIELDS`. A value that is missing or not a decimal counts as 0.
    pub fn from_row<T: AsRef<[u8]>>(values: &[Option<T>]) -> Self {
        let decimal = |bytes: &[u8]| {
            let digits = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
            // Rust's own parser would also accept "+5".
            let text = std::str::from_utf8(bytes).ok().filter(|_| digits)?;
            text.parse().ok()
        };
        Self(std::array::from_fn(|i| {
            let value = values.get(i).and_then(Option::as_ref);
            value.and_then(|bytes| decimal(bytes.as_ref())).unwrap_or(0)
        }))
    }

    /// What this process has attempted. One query counts once for each end of the cable, whatever its result.
    pub fn own(status: &SocStatus) -> Self {
        let attempts = |query: Query| status.probes[query.index()].iter().sum();
        let [direction, link, operation] = [Query::Admin, Query::Link, Query::Operation].map(attempts);
        Self([direction, direction, link, link, operation, operation])
    }

    /// Each with its name.
    pub fn named(self) -> impl Iterator<Item = (&'static str, u64)> {
        Self::FIELDS.into_iter().zip(self.0)
    }

    /// The sum. A counter that would overflow stays at its maximum.
    pub fn plus(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].saturating_add(other.0[i])))
    }

    /// Whether a counter decreased since `earlier`: another process restarted counting.
    pub fn restarted_since(self, earlier: Self) -> bool {
        self.0.iter().zip(earlier.0).any(|(now, then)| *now < then)
    }
}

/// All fields of a row. The counters continue from `base`.
pub fn fields<'a>(
    status: &'a SocStatus,
    schema: Schema,
    base: Counters,
    time_post: &'a str,
) -> Vec<(&'static str, Cow<'a, str>)> {
    let mut row = match schema {
        Schema::Sonic => sonic(status),
        Schema::Hld => hld(status),
    };
    row.push(("grpc_connection_status", status.channel.state.upper().into()));
    let counters = base.plus(Counters::own(status));
    for (name, count) in Counters::FIELDS.into_iter().zip(counters.0) {
        row.push((name, count.to_string().into()));
    }
    row.push(("soc_service", status.maintenance.row_value().into()));
    row.push((TIME_POST, time_post.into()));
    row
}

fn sonic(status: &SocStatus) -> Vec<(&'static str, Cow<'_, str>)> {
    let seen = &status.observed;
    let direction = seen.direction.own.label();
    let (own_oper, peer_oper) = (seen.oper.own.label(), seen.oper.peer.label());
    vec![
        ("self_mux_direction", direction.into()),
        ("mux_direction", direction.into()),
        ("peer_mux_direction", seen.direction.peer.label().into()),
        ("self_oper_state", own_oper.into()),
        ("self_operation_state", own_oper.into()),
        ("peer_oper_state", peer_oper.into()),
        ("peer_operation_state", peer_oper.into()),
        ("self_link_state", seen.link.own.label().into()),
        ("peer_link_state", seen.link.peer.label().into()),
        ("server_version", version(status, "N/A")),
    ]
}

fn hld(status: &SocStatus) -> Vec<(&'static str, Cow<'_, str>)> {
    fn direction(direction: MuxDirection) -> Cow<'static, str> {
        direction.label().into()
    }
    fn state(state: PortState) -> Cow<'static, str> {
        let word = match state {
            PortState::Up => "Up",
            PortState::Down => "Down",
            PortState::Unknown => "NA",
        };
        word.into()
    }
    let seen = &status.observed;
    vec![
        ("mux_direction", direction(seen.direction.own)),
        ("Peer_mux_direction", direction(seen.direction.peer)),
        ("grpc server version", version(status, "NA")),
        ("self_operation_state", state(seen.oper.own)),
        ("peer_operation_state", state(seen.oper.peer)),
        ("self_link_state", state(seen.link.own)),
        ("peer_Link_state", state(seen.link.peer)),
    ]
}

fn version<'a>(status: &'a SocStatus, unknown: &'static str) -> Cow<'a, str> {
    status.observed.version.as_deref().unwrap_or(unknown).into()
}

#[cfg(test)]
mod tests;
