//! What kind of switch this is, and which ToR of its rack: from DEVICE_METADATA and Loopback3.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::schema;
use crate::model::{Entry, Side, Tables};

/// DEVICE_METADATA: what kind of switch this is.
pub(crate) const SUBTYPE: &str = "subtype";
/// DEVICE_METADATA of one ASIC of several: its position in the switch.
pub(crate) const SUB_ROLE: &str = "sub_role";

/// Loopback3's addresses on the upper ToR (`read_side` 1): those that SONiC deploys, and those of sonic-mgmt's topologies.
const UPPER: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(10, 212, 64, 1)),
    IpAddr::V4(Ipv4Addr::new(10, 1, 0, 38)),
    IpAddr::V6(Ipv6Addr::new(0xfc00, 1, 0, 0x38, 0, 0, 0, 0)),
];
/// The same on the lower ToR (`read_side` 0).
const LOWER: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(10, 212, 64, 2)),
    IpAddr::V4(Ipv4Addr::new(10, 1, 0, 39)),
    IpAddr::V6(Ipv6Addr::new(0xfc00, 1, 0, 0x39, 0, 0, 0, 0)),
];

/// Whether the namespace's own metadata, or the switch's for an ASIC without any, has the subtype DualToR. As in SONiC's own
/// code, `subtype` alone decides: `type` is ToRRouter, but BackEndToRRouter in a storage rack.
pub fn is_dual_tor(tables: &Tables, host: Option<&Tables>) -> bool {
    let field = |name: &str| {
        let of = |tables: &Tables| {
            tables
                .row(schema::DEVICE_METADATA, schema::LOCALHOST)?
                .get(name)
                .cloned()
        };
        of(tables).or_else(|| of(host?))
    };
    let is = |name: &str, value: &str| field(name).is_some_and(|found| found.eq_ignore_ascii_case(value));
    // An ASIC that faces the fabric has no servers.
    is(SUBTYPE, "DualToR") && !is(SUB_ROLE, "BackEnd")
}

/// Which ToR has this address on its Loopback3.
pub fn side_of(address: IpAddr) -> Side {
    match address {
        ip if UPPER.contains(&ip) => Side::Upper,
        ip if LOWER.contains(&ip) => Side::Lower,
        _ => Side::Unknown,
    }
}

/// The address in a key of LOOPBACK_INTERFACE, if it is Loopback3's.
pub(super) fn loopback3(tables: &Tables, key: &str) -> Option<IpAddr> {
    let (name, prefix) = key.split_once(tables.separator())?;
    // Without a prefix length it means the same; all of SONiC writes one.
    let ip = prefix.split_once('/').map_or(prefix, |(ip, _)| ip);
    (name == "Loopback3").then_some(ip)?.parse().ok()
}

/// Loopback3's addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loopback3(Vec<IpAddr>);

impl Loopback3 {
    /// The addresses in the first CONFIG_DB that has any.
    pub fn find<'a>(sources: impl Iterator<Item = &'a Tables>) -> Self {
        let addresses = |tables: &Tables| -> Vec<IpAddr> {
            let rows = tables.table(schema::LOOPBACK_INTERFACE);
            rows.filter(|(_, entry)| matches!(entry, Entry::Row(_)))
                .filter_map(|(key, _)| loopback3(tables, key))
                .collect()
        };
        Self(
            sources
                .map(addresses)
                .find(|found| !found.is_empty())
                .unwrap_or_default(),
        )
    }

    /// These addresses.
    pub fn of(addresses: Vec<IpAddr>) -> Self {
        Self(addresses)
    }

    /// Which ToR we are. Unknown if no address is a ToR's, or if they contradict each other.
    pub fn side(&self) -> Side {
        let mut sides = self
            .0
            .iter()
            .map(|ip| side_of(*ip))
            .filter(|side| *side != Side::Unknown);
        match sides.next() {
            Some(side) if sides.all(|other| other == side) => side,
            _ => Side::Unknown,
        }
    }

    /// The address of this family to dial from, if there is one: the one of `side`, else the first that is any ToR's, else the
    /// first.
    pub fn address(&self, ipv4: bool, side: Side) -> Option<IpAddr> {
        let of_family = || self.0.iter().copied().filter(|ip| ip.is_ipv4() == ipv4);
        let ours = of_family().find(|ip| side != Side::Unknown && side_of(*ip) == side);
        let known = || of_family().find(|ip| side_of(*ip) != Side::Unknown);
        ours.or_else(known).or_else(|| of_family().next())
    }

    /// All of them.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.0
    }
}
