//! `MUX_CABLE` rows: which ports have an active-active cable, and where its SoC is.

use std::net::IpAddr;

use crate::model::schema;
use crate::model::{Entry, Port, Problem, ProblemKind, Row, Tables, quoted};

pub(super) const TABLE: &str = schema::MUX_CABLE;

/// What is read of a row. The last three only show that there is a row.
pub(super) const FIELDS: &[&str] = &[
    "cable_type",
    "soc_ipv4",
    "SoC_IPv4",
    "soc_ipv6",
    "SoC_IPv6",
    "state",
    "server_ipv4",
    "server_ipv6",
];

/// One port to probe.
type CableRow = (Port, IpAddr);

/// All active-active ports, or why one of them cannot be probed. Other cable types are none of ours.
pub(super) fn read(tables: &Tables) -> impl Iterator<Item = Result<CableRow, Problem>> {
    tables
        .table(TABLE)
        .filter_map(|(key, entry)| port(key, entry).transpose())
}

/// The problem that not all rows are read, if so.
pub(super) fn too_many(tables: &Tables) -> Option<Problem> {
    let left_out = tables.left_out(TABLE);
    let most = Tables::MOST_ROWS;
    let text = format!(
        "{left_out} rows more than {most}: those ports that were known before are probed, then the first by name"
    );
    (left_out > 0).then(|| Problem::new(TABLE, ProblemKind::TooManyRows, &text))
}

/// Whether it is, or was meant as, a row of an active-active port with a SoC's address.
pub(super) fn is_ours(entry: &Entry) -> bool {
    is_active_active(entry) && !is_silent(entry)
}

/// Whether it is no row, or lacks the fields that name the cable and its SoC: half of a row that is being written.
pub(super) fn is_silent(entry: &Entry) -> bool {
    let address = [IPV4, IPV6].concat();
    entry.field("cable_type").is_none()
        || is_active_active(entry) && address.iter().all(|name| entry.field(name).is_none())
}

fn is_active_active(entry: &Entry) -> bool {
    matches!(entry.field("cable_type"), Some("active-active" | "active_active"))
}

/// The deployed names of the fields, then those of SONiC's design document.
const IPV4: [&str; 2] = ["soc_ipv4", "SoC_IPv4"];
const IPV6: [&str; 2] = ["soc_ipv6", "SoC_IPv6"];

fn port(key: &str, entry: &Entry) -> Result<Option<CableRow>, Problem> {
    let row = hash(key, entry)?;
    match row.get("cable_type").map(String::as_str) {
        Some("active-active" | "active_active") => {}
        // Absent means active-standby.
        None | Some("active-standby" | "active_standby" | "") => return Ok(None),
        found => {
            let expected = "cable_type: expected active-active or active-standby";
            return Err(problem(key, ProblemKind::BadCableType, expected, found));
        }
    }
    let Ok(port) = Port::new(key) else {
        let expected = "expected a port name such as Ethernet0";
        return Err(problem(key, ProblemKind::BadPortName, expected, Some(key)));
    };
    Ok(Some((port, soc_address(key, row)?)))
}

/// The row, which has to be a hash.
fn hash<'a>(key: &str, entry: &'a Entry) -> Result<&'a Row, Problem> {
    let expected = "expected a hash, as SONiC's tables have";
    let found = match entry {
        Entry::Row(row) => return Ok(row),
        Entry::Value(value) => format!("the string {}", quoted(value)),
        Entry::Other => "another type of key (`TYPE` tells)".to_owned(),
    };
    let text = format!("{expected}, found {found}");
    Err(Problem::new(key, ProblemKind::NotARow, &text))
}

/// Where the SoC is: its IPv4 address if the row has one, else its IPv6 address.
fn soc_address(key: &str, row: &Row) -> Result<IpAddr, Problem> {
    let bad = |expected, found| Err(problem(key, ProblemKind::BadAddress, expected, Some(found)));
    match (address(row, &IPV4), address(row, &IPV6)) {
        (Some((_, Some(ip))), _) if ip.is_ipv4() => Ok(ip),
        (None, Some((_, Some(ip)))) if ip.is_ipv6() => Ok(ip),
        (None, None) => Err(problem(
            key,
            ProblemKind::NoAddress,
            "expected soc_ipv4 (or soc_ipv6), such as 192.168.0.3/32",
            row.get("soc_ipv4").map(String::as_str),
        )),
        (Some((found, _)), _) => bad(
            "soc_ipv4: expected one host's address, such as 192.168.0.3/32",
            found,
        ),
        (None, Some((found, _))) => bad(
            "soc_ipv6: expected one host's address, such as fc02:1000::3/128",
            found,
        ),
    }
}

fn problem(key: &str, kind: ProblemKind, expected: &str, found: Option<&str>) -> Problem {
    let found = found.map_or(String::new(), |found| format!(", found {}", quoted(found)));
    Problem::new(key, kind, &format!("{expected}{found}"))
}

/// The first non-empty field, and its address if it is valid.
fn address<'a>(row: &'a Row, names: &[&str]) -> Option<(&'a str, Option<IpAddr>)> {
    let text = names
        .iter()
        .find_map(|name| row.get(*name))
        .filter(|text| !text.is_empty())?;
    Some((text, host(text)))
}

/// `192.168.0.3/32` or `192.168.0.3`: one host that can be dialled.
fn host(text: &str) -> Option<IpAddr> {
    let (ip, length) = match text.split_once('/') {
        Some((ip, length)) => (ip, Some(length)),
        None => (text, None),
    };
    let ip: IpAddr = ip.parse().ok()?;
    let whole = if ip.is_ipv4() { "32" } else { "128" };
    let one = length.is_none_or(|length| length == whole);
    let dialled = match ip {
        IpAddr::V4(ip) => !ip.is_broadcast(),
        // A link-local address means nothing without its link; a mapped one belongs into soc_ipv4.
        IpAddr::V6(ip) => !ip.is_unicast_link_local() && ip.to_ipv4_mapped().is_none(),
    };
    (one && dialled && !ip.is_unspecified() && !ip.is_multicast()).then_some(ip)
}
