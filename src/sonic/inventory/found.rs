//! What the sources of `inventory` have found, merged into one list. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::Channels;
use crate::config::{Address, Config, yaml};
use crate::model::{Inventory, Problem, ProblemKind, Side, SourceAddress, Target, TargetId};

/// A target as a source lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTarget {
    /// Rack and port.
    pub id: TargetId,
    /// The SoC's address.
    pub address: Address,
    /// Which ToR we are for it; unknown: the source does not say.
    pub side: Side,
}

/// The last good content of a source, and how it is now.
#[derive(Debug, Clone, Default)]
pub struct SourceContent {
    /// Its targets.
    pub targets: Arc<Vec<FoundTarget>>,
    /// What in it cannot be used.
    pub problems: Arc<Vec<Problem>>,
    /// Whether it could be read the last time; `None`: it has not been tried.
    pub up: Option<bool>,
    /// Why it could not; for people.
    pub failure: Option<Arc<str>>,
    /// When it was last read successfully.
    pub last_success: Option<SystemTime>,
}

/// A source's name and what it has found.
pub type NamedContent = (Arc<str>, SourceContent);

/// The targets of all sources. Of two with the same rack and port the first is used.
pub(super) fn merge(config: &Config, found: &[NamedContent], channels: &mut Channels<'_>) -> Inventory {
    let mut inventory = Inventory {
        side: config.side,
        loaded: found.iter().all(|(_, found)| found.up.is_some()),
        ..Inventory::default()
    };
    let mut taken: HashMap<&TargetId, &str> = HashMap::new();
    for (source, found) in found {
        let named = |problem: &Problem| {
            let text = format!("{}, in {source}", problem.text);
            Problem::new(&problem.port, problem.kind, &text)
        };
        inventory.problems.extend(found.problems.iter().map(named));
        let mut left_out = 0;
        for target in found.targets.iter() {
            if inventory.targets.len() >= yaml::MAX_TARGETS {
                left_out += 1;
                continue;
            }
            let mut problem = |kind, text: &str| {
                inventory
                    .problems
                    .push(Problem::new(&target.id.to_string(), kind, text));
            };
            if let Some(first) = taken.get(&target.id) {
                let text = format!("{source} has a port that {first} has: the first is used");
                problem(ProblemKind::DuplicatePort, &text);
                continue;
            }
            let address = target.address.with_default_port(config.port);
            if let SourceAddress::Fixed(from) = config.channel.source_address
                && from.is_ipv4() != address.is_ipv4()
            {
                let text =
                    format!("expected an address of the same family as channel.source_address, in {source}");
                problem(ProblemKind::BadAddress, &text);
                continue;
            }
            taken.insert(&target.id, source);
            let told = target.side != Side::Unknown;
            inventory.targets.push(Target {
                id: target.id.clone(),
                namespace: "".into(),
                address,
                side: if told { target.side } else { config.side },
                channel: channels.of(&"".into(), address.ip()),
            });
        }
        if left_out > 0 {
            let most = yaml::MAX_TARGETS;
            let text = format!(
                "{left_out} targets over {most} are left out: let more processes share the targets (shard)"
            );
            inventory
                .problems
                .push(Problem::new(source, ProblemKind::TooManyRows, &text));
        }
    }
    inventory
}
