//! What kind of switch it is, which ToR, and its ports in MUX_CABLE.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Area, Finding, counted, redis_cli};
use crate::cli::doctor::collected::{Collected, SeenDatabases};
use crate::config::SourceRule;
use crate::model::schema;
use crate::model::{Entry, Problem, ProblemKind, ShardShare, Side, Tables, quoted};
use crate::sonic::inventory::{Loopback3, is_dual_tor, side_of};

const AREA: Area = Area::Switch;

pub(super) fn check(seen: &Collected) -> Vec<Finding> {
    let mut found = metadata(seen);
    if seen.is_in_the_dark() {
        let text = "the kind of switch is unknown: CONFIG_DB cannot be read or is incomplete (see above)";
        found.push(Finding::note(AREA, schema::DEVICE_METADATA, text, None));
    }
    found.extend(side(seen));
    found.extend(loopback3(seen));
    found.extend(cables(seen));
    found.extend(sources(seen));
    found.extend(share(seen));
    found.extend(
        seen.inventory
            .problems
            .iter()
            .map(|problem| bad_row(seen, problem)),
    );
    found.extend(shared_addresses(seen));
    found
}

/// Whether the metadata of this namespace, or else the switch's own, is that of a dual-ToR switch.
fn is_dual(seen: &Collected, tables: &Tables) -> bool {
    let host = seen.namespaces.first().and_then(SeenDatabases::believed);
    is_dual_tor(tables, host.map(|tables| &**tables))
}

fn metadata(seen: &Collected) -> Vec<Finding> {
    let each = seen.namespaces.iter().filter_map(|databases| {
        let tables = databases.believed()?;
        let subject = databases.named(schema::DEVICE_METADATA);
        let row = tables.row(schema::DEVICE_METADATA, schema::LOCALHOST);
        let field = |name: &str| row.and_then(|row| row.get(name)).map_or("", String::as_str);
        let shown = |name: &str| match field(name) {
            "" => "-".to_owned(),
            // Unquoted if it is a plain word: anything odd shows in quotes.
            word if word.chars().all(|c| c.is_ascii_alphanumeric()) && word.len() <= 64 => word.to_owned(),
            other => quoted(other),
        };
        let is = format!("type {}, subtype {}", shown("type"), shown("subtype"));
        if is_dual(seen, tables) {
            return Some(Finding::ok(AREA, subject, format!("{is}: a dual-ToR switch")));
        }
        if !databases.namespace.name.is_empty() && (row.is_none() || field("sub_role") == "BackEnd") {
            return Some(Finding::ok(
                AREA,
                subject,
                "no port of this namespace leads to a server",
            ));
        }
        let text = format!("{is}: not a dual-ToR switch (subtype DualToR)");
        Some(if seen.config.targets.is_some() {
            let text = format!("{text}; the configuration's targets are still probed");
            Finding::note(AREA, subject, text, None)
        } else {
            let remedy = "nothing, if this is right: the exporter waits. Otherwise set subtype to DualToR in DEVICE_METADATA|localhost, and change nothing else there"
                .to_owned();
            Finding::note(AREA, subject, format!("{text}: no port is probed"), remedy)
        })
    });
    each.collect()
}

fn side(seen: &Collected) -> Option<Finding> {
    let says = |side: Side| side != Side::Unknown;
    let told = seen.config.side;
    let mut of_loopback3 = seen.loopback3.iter().map(|(ip, _)| (*ip, side_of(*ip)));
    if says(told) {
        return Some(
            match of_loopback3.find(|(_, side)| says(*side) && *side != told) {
                None => Finding::ok(AREA, "side", format!("{told}, from the configuration")),
                Some((ip, other)) => Finding::problem(
                    AREA,
                    "side",
                    format!(
                        "{told} in the configuration, but Loopback3 ({ip}) is the {other} ToR's: self \
                         and peer may be swapped"
                    ),
                    "remove the key side, unless Loopback3 is wrong",
                ),
            },
        );
    }
    if says(seen.inventory.side) {
        let side = seen.inventory.side;
        let from = of_loopback3.find(|(_, of)| *of == side).map(|(ip, _)| ip);
        let from = from.map_or(String::new(), |ip| format!(" ({ip})"));
        return Some(Finding::ok(AREA, "side", format!("{side}, from Loopback3{from}")));
    }
    // Other kinds of switches have no side, and targets may have their own.
    if seen.inventory.targets.iter().all(|target| says(target.side)) {
        return None;
    }
    let addresses: Vec<IpAddr> = of_loopback3.map(|(ip, _)| ip).collect();
    let text = match &addresses[..] {
        [] if seen.is_in_the_dark() => "unknown: CONFIG_DB cannot be read or is incomplete".to_owned(),
        [] if !seen.config.inventory.is_empty() => {
            let some = seen.inventory.targets.iter().filter(|target| !says(target.side));
            format!(
                "unknown for {} targets: neither they nor the configuration have a side",
                some.count()
            )
        }
        [] => "unknown: CONFIG_DB has no Loopback3, and the configuration has no side".to_owned(),
        some => format!("unknown: Loopback3 is {some:?}, which does not identify one ToR"),
    };
    let text = format!("{text}. Every direction, link and operation is unknown");
    let remedy = "set `side: upper` or `side: lower` in the configuration (upper: 10.212.64.1, \
                  10.1.0.38 or fc00:1:0:38:: on Loopback3; lower: 10.212.64.2, 10.1.0.39 or fc00:1:0:39::)";
    let remedy = match seen.config.inventory.is_empty() {
        true => remedy.to_owned(),
        false => format!("give the targets the label side, or {remedy}"),
    };
    Some(Finding::problem(AREA, "side", text, remedy))
}

fn loopback3(seen: &Collected) -> Vec<Finding> {
    let all = Loopback3::of(seen.loopback3.iter().map(|(ip, _)| *ip).collect());
    let dialled = [true, false].map(|ipv4| all.address(ipv4, seen.inventory.side));
    let each = seen.loopback3.iter().filter_map(|(ip, here)| {
        if !dialled.contains(&Some(*ip)) {
            let text = format!("{ip} is not used: dials leave from the address that identifies the side");
            return Some(Finding::ok(AREA, "Loopback3", text));
        }
        let text = |end: &str| format!("{ip} is not on this host: {end}");
        let remedy = "check `show ip interfaces`: Loopback3 must be up, and this process must run in the host's network namespace";
        match seen.config.source {
            _ if *here => Some(Finding::ok(AREA, "Loopback3", format!("{ip} is on this host"))),
            SourceRule::Auto => {
                let text = text("the kernel chooses the source address of dials");
                Some(Finding::note(AREA, "Loopback3", text, remedy.to_owned()))
            }
            SourceRule::Loopback3 => {
                let text = text("no dial can leave from it (channel.source_address: loopback3)");
                Some(Finding::problem(AREA, "Loopback3", text, remedy))
            }
            SourceRule::None | SourceRule::Ip(_) => None,
        }
    });
    let mut found: Vec<Finding> = each.collect();
    let known = !seen.is_in_the_dark();
    if seen.config.source == SourceRule::Loopback3 && seen.loopback3.is_empty() && known {
        let text = "CONFIG_DB has no address for it, but channel.source_address is loopback3";
        let remedy = "`sudo config interface ip add Loopback3 <address>/32`, or source_address: auto";
        found.push(Finding::problem(AREA, "Loopback3", text, remedy));
    }
    found
}

/// How many ports of this namespace are active-standby: none of ours, but ycabled's.
pub(super) fn active_standby(tables: &Tables) -> usize {
    let is = |entry: &Entry| {
        let Entry::Row(row) = entry else { return false };
        let cable_type = row.get("cable_type").map(String::as_str);
        matches!(cable_type, None | Some("active-standby" | "active_standby" | ""))
    };
    tables
        .table(schema::MUX_CABLE)
        .filter(|(_, entry)| is(entry))
        .count()
}

fn cables(seen: &Collected) -> Option<Finding> {
    if let Some(targets) = &seen.config.targets {
        let text = format!(
            "{} in the configuration: CONFIG_DB's ports are not used",
            counted(targets.len(), "target")
        );
        return Some(Finding::ok(AREA, "targets", text));
    }
    let known = seen.namespaces.iter().filter_map(SeenDatabases::believed);
    let dual: Vec<&Tables> = known
        .map(|tables| &**tables)
        .filter(|tables| is_dual(seen, tables))
        .collect();
    if dual.is_empty() {
        return None;
    }
    let standby: usize = dual.iter().map(|tables| active_standby(tables)).sum();
    let (good, bad) = (seen.inventory.targets.len(), seen.inventory.problems.len());
    let text = format!(
        "{} to probe, {bad} that cannot be used, {standby} active-standby (not ours)",
        counted(good, "active-active port")
    );
    if good + bad > 0 {
        return Some(Finding::ok(AREA, schema::MUX_CABLE, text));
    }
    let remedy = "if this is wrong, set cable_type active-active and soc_ipv4 in the ports' rows, as the minigraph should do"
        .to_owned();
    Some(Finding::note(
        AREA,
        schema::MUX_CABLE,
        format!("{text}: there is nothing to do here"),
        remedy,
    ))
}

/// Whether each source of the key `inventory` can be read.
fn sources(seen: &Collected) -> Vec<Finding> {
    let each = seen
        .found
        .iter()
        .map(|(source, content)| match (content.up, &content.failure) {
            (Some(true), _) => {
                let text = format!("lists {}", counted(content.targets.len(), "target"));
                Finding::ok(AREA, &**source, text)
            }
            (_, failure) => {
                let why = failure.as_deref().unwrap_or("it has not answered");
                let remedy = "until it can be read again, a running exporter uses its last targets";
                Finding::problem(AREA, &**source, format!("cannot be read: {why}"), remedy)
            }
        });
    each.collect()
}

/// Which share of the targets this process has.
fn share(seen: &Collected) -> Option<Finding> {
    let ShardShare { shard, owned, others } = seen.inventory.share?;
    let text = format!(
        "number {} of {}: {owned} of {}",
        shard.index,
        shard.count,
        counted(owned + others, "target")
    );
    Some(match shard.index < shard.count {
        true => Finding::ok(AREA, "shard", text),
        false => {
            let remedy = "set shard.count to the number of processes, or stop this one";
            Finding::problem(
                AREA,
                "shard",
                format!("{text}, because its number is not less than shard.count"),
                remedy,
            )
        }
    })
}

fn bad_row(seen: &Collected, problem: &Problem) -> Finding {
    let Problem { port, kind, text } = problem;
    if !seen.found.is_empty() {
        let text = format!("cannot be used ({kind}): {text}");
        return Finding::problem(AREA, port.as_str(), text, "correct it in that source");
    }
    let has = |databases: &&SeenDatabases| {
        let mut rows = databases
            .believed()
            .into_iter()
            .flat_map(|tables| tables.table(schema::MUX_CABLE));
        rows.any(|(key, _)| key == port)
    };
    let databases = seen.namespaces.iter().find(has).or(seen.namespaces.first());
    let cli = databases.map_or("redis-cli".to_owned(), redis_cli);
    let remedy = match kind {
        ProblemKind::NotARow => {
            format!("{cli} DEL 'MUX_CABLE|{port}', then write the row anew: `sudo config load`")
        }
        ProblemKind::BadPortName => "give the port the name that the table PORT has".to_owned(),
        ProblemKind::BadCableType => format!("{cli} HSET 'MUX_CABLE|{port}' cable_type active-active"),
        ProblemKind::NoAddress | ProblemKind::BadAddress => {
            format!("{cli} HSET 'MUX_CABLE|{port}' soc_ipv4 <the SoC's address>/32")
        }
        ProblemKind::DuplicatePort => "keep the port's row in one namespace".to_owned(),
        // Only a source has groups.
        ProblemKind::BadGroup => "correct it in its source".to_owned(),
        ProblemKind::TooManyRows => {
            format!(
                "delete the rows of ports that this switch does not have: {cli} --scan --pattern 'MUX_CABLE|*'"
            )
        }
    };
    let why = format!("in MUX_CABLE cannot be used ({kind}): {text}");
    let text = format!("its row {why}");
    let for_all = remedy.replace(&format!("|{port}'"), "|<port>'");
    Finding::problem(AREA, port.as_str(), text.as_str(), remedy)
        .alike_with(format!("their rows {why}"), for_all)
}

fn shared_addresses(seen: &Collected) -> Vec<Finding> {
    let mut ports: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for target in &seen.inventory.targets {
        let key = (&target.namespace, target.address);
        ports.entry(key).or_default().push(target.id.to_string());
    }
    let shared = ports.into_iter().filter(|(_, ports)| ports.len() > 1);
    let finding = |((_, address), ports): ((_, std::net::SocketAddr), Vec<String>)| {
        let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
        let text = format!("all of them have the SoC address {address}: at most one is right");
        let remedy = "give each port the address of its own SoC (MUX_CABLE soc_ipv4, or targets)";
        Finding::problem(AREA, super::listed(&ports), text, remedy)
    };
    shared.map(finding).collect()
}
