//! What is derived from CONFIG_DB, row by row.

use std::path::Path;

use super::*;
use crate::model::{Entry, UpperLower};

/// A mirror of a CONFIG_DB with these keys. Their fields are `name=value`; only the fields that are read.
pub(super) fn config_db(rows: &[(&str, &str)]) -> Arc<Tables> {
    let mut tables = Tables::new("|");
    tables.set("CONFIG_DB_INITIALIZED".into(), Some(Entry::Value("1".into())));
    for (key, fields) in rows {
        let fields = fields.split_whitespace().map(|field| {
            let (name, value) = field.split_once('=').expect("name=value");
            (name.to_owned(), value.to_owned())
        });
        let table = CONFIG_DB.tables.iter().find(|table| key.starts_with(table.name));
        let read = table.map_or(&[][..], |table| table.fields);
        let fields = fields.filter(|(name, _)| read.is_empty() || read.contains(&name.as_str()));
        tables.set((*key).to_owned(), Some(Entry::Row(fields.collect())));
    }
    Arc::new(tables)
}

const DUAL_TOR: (&str, &str) = ("DEVICE_METADATA|localhost", "type=ToRRouter subtype=DualToR");
const UPPER: (&str, &str) = ("LOOPBACK_INTERFACE|Loopback3|10.212.64.1/32", "NULL=NULL");

fn inventory_of(config: &str, sources: &[(&str, Option<Arc<Tables>>)]) -> Inventory {
    let config = Config::parse(config, Path::new("test.yml")).expect("a configuration");
    let mut sources: Vec<ConfigDbCopy> = sources
        .iter()
        .map(|(namespace, tables)| ConfigDbCopy {
            namespace: (*namespace).into(),
            tables: tables.clone(),
            secured: Secured::default(),
        })
        .collect();
    secure(&mut sources, &Secrets::Absent);
    Inventory::of(&config, &sources, &[])
}

fn inventory(rows: &[(&str, &str)]) -> Inventory {
    inventory_of("{}", &[("", Some(config_db(rows)))])
}

fn ports(inventory: &Inventory) -> Vec<String> {
    let targets = inventory.targets.iter();
    targets
        .map(|target| format!("{} {}", target.id.port, target.address))
        .collect()
}

#[test]
fn the_active_active_ports_of_a_dual_tor_switch_are_the_targets() {
    let found = inventory(&[
        DUAL_TOR,
        UPPER,
        (
            "MUX_CABLE|Ethernet0",
            "cable_type=active-active soc_ipv4=192.168.0.3/32 state=auto",
        ),
        (
            "MUX_CABLE|Ethernet4",
            "cable_type=active_active SoC_IPv4=192.168.0.5",
        ),
        (
            "MUX_CABLE|Ethernet8",
            "cable_type=active-active soc_ipv6=fc02:1000::9/128",
        ),
        (
            "MUX_CABLE|Ethernet12",
            "cable_type=active-active soc_ipv4=192.168.0.9/32 soc_ipv6=fc02:1000::a/128",
        ),
        (
            "MUX_CABLE|Ethernet16",
            "cable_type=active-standby soc_ipv4=192.168.0.11/32",
        ),
        ("MUX_CABLE|Ethernet20", "server_ipv4=192.168.0.12/32 state=auto"),
    ]);
    let expected = [
        "Ethernet0 192.168.0.3:50075",
        "Ethernet12 192.168.0.9:50075",
        "Ethernet4 192.168.0.5:50075",
        "Ethernet8 [fc02:1000::9]:50075",
    ];
    assert_eq!(ports(&found), expected);
    assert_eq!((found.side, found.loaded), (Side::Upper, true));
    assert_eq!(found.problems, []);
}

#[test]
fn a_row_that_cannot_be_used_concerns_its_own_port_alone() {
    let check = |key: &str, fields: &str, kind: ProblemKind| {
        let good = (
            "MUX_CABLE|Ethernet0",
            "cable_type=active-active soc_ipv4=192.168.0.3/32",
        );
        let found = inventory(&[DUAL_TOR, good, (key, fields)]);
        assert_eq!(ports(&found), ["Ethernet0 192.168.0.3:50075"], "{key} {fields}");
        let kinds: Vec<ProblemKind> = found.problems.iter().map(|problem| problem.kind).collect();
        assert_eq!(kinds, [kind], "{key} {fields}");
    };
    let ethernet4 = "MUX_CABLE|Ethernet4";
    check(ethernet4, "cable_type=active-active", ProblemKind::NoAddress);
    check(
        ethernet4,
        "cable_type=active-active soc_ipv4=",
        ProblemKind::NoAddress,
    );
    for bad in [
        "x",
        "192.168.0.0/24",
        "0.0.0.0/32",
        "224.0.0.1/32",
        "255.255.255.255/32",
        "fc02::1/128",
        "1.2.3.4:5",
    ] {
        let fields = format!("cable_type=active-active soc_ipv4={bad}");
        check(ethernet4, &fields, ProblemKind::BadAddress);
    }
    for bad in ["fe80::1/128", "::ffff:127.0.0.1/128"] {
        let fields = format!("cable_type=active-active soc_ipv6={bad}");
        check(ethernet4, &fields, ProblemKind::BadAddress);
    }
    check(
        ethernet4,
        "cable_type=active-active soc_ipv6=192.168.0.5/32",
        ProblemKind::BadAddress,
    );
    check(
        ethernet4,
        "cable_type=active soc_ipv4=192.168.0.5/32",
        ProblemKind::BadCableType,
    );
    check(
        "MUX_CABLE|",
        "cable_type=active-active soc_ipv4=192.168.0.5/32",
        ProblemKind::BadPortName,
    );
    check(
        "MUX_CABLE|a\"b",
        "cable_type=active-active soc_ipv4=192.168.0.5/32",
        ProblemKind::BadPortName,
    );
}

#[test]
fn a_key_that_is_no_hash_is_a_problem_of_its_port() {
    let mut tables = (*config_db(&[DUAL_TOR])).clone();
    tables.set("MUX_CABLE|Ethernet0".into(), Some(Entry::Other));
    let found = inventory_of("{}", &[("", Some(Arc::new(tables)))]);
    assert_eq!(found.problems[0].kind, ProblemKind::NotARow);
}

#[test]
fn another_kind_of_switch_has_no_ports() {
    let cable = (
        "MUX_CABLE|Ethernet0",
        "cable_type=active-active soc_ipv4=192.168.0.3/32",
    );
    for metadata in ["type=ToRRouter", "type=ToRRouter subtype=SmartSwitch", "hwsku=x"] {
        let found = inventory(&[("DEVICE_METADATA|localhost", metadata), cable]);
        assert_eq!((found.targets.len(), found.loaded), (0, true), "{metadata}");
    }
    assert_eq!(inventory(&[cable]).targets, []);
    // In SONiC's own code `subtype` alone decides. Storage racks are BackEndToRRouter.
    for metadata in [
        "type=BackEndToRRouter subtype=DualToR",
        "subtype=DualToR",
        "type=x subtype=dualtor",
    ] {
        let found = inventory(&[("DEVICE_METADATA|localhost", metadata), cable]);
        assert_eq!(found.targets.len(), 1, "{metadata}");
    }
}

#[test]
fn what_is_wrong_with_a_row_is_told_with_what_was_found() {
    let check = |key: &str, fields: &[(&str, &str)], expected: &str| {
        let mut tables = (*config_db(&[DUAL_TOR])).clone();
        let row = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        tables.set(format!("MUX_CABLE|{key}"), Some(Entry::Row(row.collect())));
        let found = inventory_of("{}", &[("", Some(Arc::new(tables)))]);
        let text = &found.problems[0].text;
        assert!(text.contains(expected), "{text}");
        assert!(text.chars().count() < 300, "{text}");
        assert!(
            !text.contains(char::is_control) && !text.contains('\u{202e}'),
            "{text:?}"
        );
    };
    let ours = ("cable_type", "active-active");
    let blank = [ours, ("soc_ipv4", "192.168.0.3/32 ")];
    check(
        "Ethernet0",
        &blank,
        "such as 192.168.0.3/32, found \"192.168.0.3/32 \"",
    );
    check("Ethernet0", &[ours, ("soc_ipv6", "fe80::1")], "found \"fe80::1\"");
    check(
        "Ethernet0",
        &[("cable_type", "Active-Active")],
        "found \"Active-Active\"",
    );
    check("Ethernet 0", &blank, "found \"Ethernet 0\"");
    check("Ethernet0", &[ours, ("soc_ipv4", "")], "found \"\"");
    check(
        "Ethernet0",
        &[ours, ("soc_ipv4", "\u{202e}\n\u{1b}")],
        r#"found "\u{202e}\n\u{1b}""#,
    );
    let long = "9".repeat(100_000);
    check("Ethernet0", &[ours, ("soc_ipv4", &long)], "999…\"");
    let mut tables = (*config_db(&[DUAL_TOR])).clone();
    tables.set(
        "MUX_CABLE|Ethernet0".into(),
        Some(Entry::Value("192.168.0.3".into())),
    );
    let found = inventory_of("{}", &[("", Some(Arc::new(tables)))]);
    assert!(
        found.problems[0]
            .text
            .contains("found the string \"192.168.0.3\"")
    );
}

#[test]
fn nothing_is_loaded_before_every_config_db_was_believed_once() {
    let found = inventory_of("{}", &[("", None)]);
    assert_eq!((found.targets.len(), found.loaded), (0, false));
    let mut half = Tables::new("|");
    assert!(!is_complete(&half));
    half.set("CONFIG_DB_INITIALIZED".into(), Some(Entry::Value("0".into())));
    assert!(!is_complete(&half));
    half.set("CONFIG_DB_INITIALIZED".into(), Some(Entry::Value("1".into())));
    assert!(is_complete(&half));
}

#[test]
fn loopback3_tells_the_side_and_nothing_else_does() {
    let check =
        |rows: &[(&str, &str)], expected: Side| assert_eq!(inventory(rows).side, expected, "{rows:?}");
    let one = |prefix: &str, expected: Side| {
        let key = format!("LOOPBACK_INTERFACE|Loopback3|{prefix}");
        check(&[(&key, "NULL=NULL")], expected);
    };
    for prefix in [
        "10.212.64.1/32",
        "10.1.0.38/32",
        "10.1.0.38",
        "fc00:1:0:38::/128",
        "FC00:1:0:38:0:0:0:0",
    ] {
        one(prefix, Side::Upper);
    }
    for prefix in ["10.212.64.2/32", "10.1.0.39/32", "fc00:1:0:39::/128"] {
        one(prefix, Side::Lower);
    }
    one("fc00:1:0:38::1/128", Side::Unknown);
    check(
        &[("LOOPBACK_INTERFACE|Loopback3|10.0.0.1/32", "NULL=NULL")],
        Side::Unknown,
    );
    check(
        &[("LOOPBACK_INTERFACE|Loopback0|10.1.0.38/32", "NULL=NULL")],
        Side::Unknown,
    );
    check(&[("LOOPBACK_INTERFACE|Loopback3", "NULL=NULL")], Side::Unknown);
    check(&[], Side::Unknown);
    let both = [
        ("LOOPBACK_INTERFACE|Loopback3|10.1.0.38/32", "NULL=NULL"),
        ("LOOPBACK_INTERFACE|Loopback3|10.1.0.39/32", "NULL=NULL"),
    ];
    check(&both, Side::Unknown);
    let families = [
        ("LOOPBACK_INTERFACE|Loopback3|10.1.0.38/32", "NULL=NULL"),
        ("LOOPBACK_INTERFACE|Loopback3|fc00:1:0:39::/128", "NULL=NULL"),
    ];
    check(&families, Side::Unknown);
    let told = inventory_of("side: lower", &[("", Some(config_db(&[UPPER])))]);
    assert_eq!(told.side, Side::Lower);
}

#[test]
fn what_is_self_follows_from_loopback3s_address_by_read_side() {
    // (Loopback3, our portid): `read_side` of SONiC's deployed code.
    let table = [
        ("10.1.0.38", 1),
        ("10.212.64.1", 1),
        ("10.1.0.39", 0),
        ("10.212.64.2", 0),
    ];
    for (address, read_side) in table {
        let key = format!("LOOPBACK_INTERFACE|Loopback3|{address}/32");
        let side = inventory(&[(&key, "NULL=NULL")]).side;
        // One value per portid: its number.
        let seen = UpperLower { lower: 0, upper: 1 }.seen_from(side);
        assert_eq!((seen.own, seen.peer), (read_side, 1 - read_side), "{address}");
    }
}

#[test]
fn the_source_address_is_loopback3s_of_the_targets_family() {
    let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
    let check = |rule: &str, loopback3: &[(&str, &str)], expected: SourceAddress| {
        let cable = (
            "MUX_CABLE|Ethernet0",
            "cable_type=active-active soc_ipv4=192.168.0.3/32",
        );
        let mut rows = vec![DUAL_TOR, cable];
        rows.extend(loopback3);
        let config = format!("channel: {{source_address: {rule}}}");
        let found = inventory_of(&config, &[("", Some(config_db(&rows)))]);
        assert_eq!(found.targets[0].channel.source_address, expected, "{rule}");
    };
    check("auto", &[UPPER], SourceAddress::Prefer(ip("10.212.64.1")));
    check("auto", &[], SourceAddress::Any);
    check(
        "auto",
        &[("LOOPBACK_INTERFACE|Loopback3|fc00::1/128", "NULL=NULL")],
        SourceAddress::Any,
    );
    check("loopback3", &[UPPER], SourceAddress::Fixed(ip("10.212.64.1")));
    check("none", &[UPPER], SourceAddress::Any);
    check("10.0.0.7", &[UPPER], SourceAddress::Fixed(ip("10.0.0.7")));
    // Of several addresses, the one that shows the side.
    let other = ("LOOPBACK_INTERFACE|Loopback3|10.0.0.1/32", "NULL=NULL");
    check(
        "loopback3",
        &[other, UPPER],
        SourceAddress::Fixed(ip("10.212.64.1")),
    );
    check("auto", &[other], SourceAddress::Prefer(ip("10.0.0.1")));
    let text = "CONFIG_DB has no IPv4 address of Loopback3 (channel.source_address: loopback3)";
    check("loopback3", &[], SourceAddress::Missing(text.into()));
}

#[test]
fn each_asics_ports_are_its_own_namespaces() {
    let host = config_db(&[DUAL_TOR, UPPER]);
    let asic0 = config_db(&[
        ("DEVICE_METADATA|localhost", "sub_role=FrontEnd"),
        (
            "MUX_CABLE|Ethernet0",
            "cable_type=active-active soc_ipv4=192.168.0.3/32",
        ),
    ]);
    let asic1 = config_db(&[
        (
            "MUX_CABLE|Ethernet0",
            "cable_type=active-active soc_ipv4=192.168.0.9/32",
        ),
        (
            "MUX_CABLE|Ethernet4",
            "cable_type=active-active soc_ipv4=192.168.0.5/32",
        ),
        ("GRPCCLIENT|config", "type=odd"),
    ]);
    let asic2 = config_db(&[
        ("DEVICE_METADATA|localhost", "sub_role=BackEnd"),
        (
            "MUX_CABLE|Ethernet8",
            "cable_type=active-active soc_ipv4=192.168.0.7/32",
        ),
    ]);
    let sources = [
        ("", Some(host)),
        ("asic0", Some(asic0)),
        ("asic1", Some(asic1)),
        ("asic2", Some(asic2)),
    ];
    let found = inventory_of("{}", &sources);
    assert_eq!(
        ports(&found),
        ["Ethernet0 192.168.0.3:50075", "Ethernet4 192.168.0.5:50075"]
    );
    let namespaces: Vec<&str> = found.targets.iter().map(|target| &*target.namespace).collect();
    assert_eq!(namespaces, ["asic0", "asic1"]);
    assert_eq!(found.problems[0].kind, ProblemKind::DuplicatePort);
    assert_eq!(found.targets[0].channel.security, Security::Plain);
    assert!(matches!(found.targets[1].channel.security, Security::Unusable(_)));
    assert_eq!(found.side, Side::Upper);
}

#[test]
fn the_configurations_own_targets_take_side_and_source_address_from_config_db() {
    const FILE: &str = "targets: [{port: Ethernet0, address: 127.9.0.1}]";
    let found = inventory_of(FILE, &[("", Some(config_db(&[UPPER])))]);
    let target = &found.targets[0];
    assert_eq!(target.side, Side::Upper);
    assert_eq!(
        target.channel.source_address,
        SourceAddress::Prefer("10.212.64.1".parse().expect("ip"))
    );
    let alone = inventory_of(FILE, &[("", None)]);
    assert_eq!(
        (alone.targets.len(), alone.loaded, alone.side),
        (1, true, Side::Unknown)
    );
}
