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
    /// Which of its files lists it, if the source may have several.
    pub file: Option<Arc<str>>,
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

/// Problems that are kept of one source. The API and its events show all that are kept, and a source may list 200,000 targets twice.
const MOST_PROBLEMS: usize = 1000;

/// What cannot be used in one source.
struct SourceProblems<'a> {
    source: &'a str,
    kept: Vec<Problem>,
    /// Those over the limit.
    more: usize,
}

impl<'a> SourceProblems<'a> {
    /// Those that were found while it was read.
    fn of(source: &'a str, found: &SourceContent) -> Self {
        let mut problems = Self {
            source,
            kept: Vec::new(),
            more: 0,
        };
        for Problem { port, kind, text } in found.problems.iter() {
            problems.add(port, *kind, &format!("{text}, in {source}"));
        }
        problems
    }

    fn add(&mut self, id: &str, kind: ProblemKind, text: &str) {
        match self.kept.len() < MOST_PROBLEMS {
            true => self.kept.push(Problem::new(id, kind, text)),
            false => self.more += 1,
        }
    }

    fn into_list(mut self) -> Vec<Problem> {
        if self.more > 0 {
            let text = format!("{} more targets cannot be used, in {}", self.more, self.source);
            self.kept
                .push(Problem::new(self.source, ProblemKind::BadGroup, &text));
        }
        self.kept
    }
}

/// The targets of all sources. Of two with the same rack and port the first is used.
pub(super) fn merge(config: &Config, found: &[NamedContent], channels: &mut Channels<'_>) -> Inventory {
    let mut inventory = Inventory {
        side: config.side,
        loaded: found.iter().all(|(_, found)| found.up.is_some()),
        ..Inventory::default()
    };
    let mut taken: HashMap<&TargetId, &str> = HashMap::new();
    for (source, found) in found {
        let mut problems = SourceProblems::of(source, found);
        let mut left_out = 0;
        for target in found.targets.iter() {
            if inventory.targets.len() >= yaml::MAX_TARGETS {
                left_out += 1;
                continue;
            }
            let mut problem = |kind, text: &str| problems.add(&target.id.to_string(), kind, text);
            let place = target.file.as_deref().unwrap_or(source);
            if let Some(first) = taken.get(&target.id) {
                let text = match *first == place {
                    true => format!("{place} has this port twice: the first is used"),
                    false => format!("{place} has a port that {first} has: the first is used"),
                };
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
            taken.insert(&target.id, place);
            let told = target.side != Side::Unknown;
            inventory.targets.push(Target {
                id: target.id.clone(),
                namespace: "".into(),
                address,
                side: if told { target.side } else { config.side },
                channel: channels.of(&"".into(), address.ip()),
            });
        }
        inventory.problems.extend(problems.into_list());
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::sonic::inventory::Inventory;

    #[test]
    fn a_source_with_too_many_bad_targets_has_a_bounded_list_of_problems() {
        let yaml = "inventory: [{file_sd: {files: [a.yml]}}]\ndatabases: {publish: off}";
        let config = Config::parse(yaml, Path::new("test.yml")).expect("a configuration");
        let target = FoundTarget {
            id: TargetId::parse("r1|Ethernet0").expect("a key"),
            address: Address::read("192.0.2.1").expect("an address"),
            side: Side::Upper,
            file: None,
        };
        let content = SourceContent {
            targets: Arc::new(vec![target; 5000]),
            up: Some(true),
            ..SourceContent::default()
        };
        let found = [("one".into(), content.clone()), ("two".into(), content)];
        let inventory = Inventory::of(&config, &[], &found);
        assert_eq!(inventory.targets.len(), 1);
        assert_eq!(inventory.problems.len(), 2 * (MOST_PROBLEMS + 1));
        assert_eq!(
            inventory.problems[MOST_PROBLEMS].text,
            "3999 more targets cannot be used, in one"
        );
        assert_eq!(
            inventory.problems[2 * MOST_PROBLEMS + 1].text,
            "4000 more targets cannot be used, in two"
        );
    }
}
