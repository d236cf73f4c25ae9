//! Compares running sessions with the inventory and lists what to do. A session with an unchanged target is not touched. Pure.

use std::collections::HashSet;

use crate::model::{Target, TargetId};

/// One thing to do.
#[derive(Debug, PartialEq)]
pub(super) enum ToDo<'a> {
    /// The SoC has left the inventory.
    Stop(TargetId),
    /// The SoC is new.
    Start(&'a Target),
    /// The target has changed, but its channel can stay.
    Adopt(&'a Target),
    /// The target has changed and needs a new channel.
    Restart(&'a Target),
}

/// First all stops, then the rest in the order of `wanted`. `running` gives the target that a SoC has now.
pub(super) fn to_do<'a, 'r>(
    ids: impl Iterator<Item = &'r TargetId>,
    running: impl Fn(&TargetId) -> Option<&'r Target>,
    wanted: &'a [Target],
) -> Vec<ToDo<'a>> {
    let wanted_ids: HashSet<&TargetId> = wanted.iter().map(|target| &target.id).collect();
    let gone = ids.filter(|id| !wanted_ids.contains(id));
    let mut todo: Vec<ToDo<'a>> = gone.map(|id| ToDo::Stop(id.clone())).collect();
    todo.extend(wanted.iter().filter_map(|target| match running(&target.id) {
        None => Some(ToDo::Start(target)),
        Some(now) if now == target => None,
        Some(now) if now.is_alike(target) => Some(ToDo::Adopt(target)),
        Some(_) => Some(ToDo::Restart(target)),
    }));
    todo
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use super::*;
    use crate::model::{ChannelSettings, Port, Side, SourceAddress};

    fn target(port: &str, host: u8) -> Target {
        Target {
            id: Port::new(port).expect("a port").into(),
            address: ([127, 0, 0, host], 50075).into(),
            namespace: Arc::from(""),
            side: Side::Upper,
            channel: Arc::default(),
        }
    }

    #[test]
    fn what_runs_becomes_what_is_wanted_and_nothing_else_is_touched() {
        let other_side = Target {
            side: Side::Lower,
            ..target("Ethernet0", 1)
        };
        let from = |source: SourceAddress| Target {
            channel: Arc::new(ChannelSettings {
                source_address: source,
                ..ChannelSettings::default()
            }),
            ..target("Ethernet0", 1)
        };
        let ip: IpAddr = [127, 0, 0, 9].into();
        let (preferred, fixed) = (from(SourceAddress::Prefer(ip)), from(SourceAddress::Fixed(ip)));
        let moved = target("Ethernet0", 2);
        let elsewhere = Target {
            namespace: Arc::from("asic1"),
            ..target("Ethernet0", 1)
        };
        let first = || vec![target("Ethernet0", 1)];
        let gone = || ToDo::Stop(Port::new("Ethernet0").expect("a port").into());
        let new = target("Ethernet4", 1);
        for (running, wanted, expected) in [
            (vec![], vec![], vec![]),
            (vec![], first(), vec![ToDo::Start(&first()[0])]),
            (first(), first(), vec![]),
            (first(), vec![], vec![gone()]),
            (first(), vec![new.clone()], vec![gone(), ToDo::Start(&new)]),
            (first(), vec![other_side.clone()], vec![ToDo::Adopt(&other_side)]),
            (first(), vec![preferred.clone()], vec![ToDo::Adopt(&preferred)]),
            (first(), vec![fixed.clone()], vec![ToDo::Restart(&fixed)]),
            (first(), vec![moved.clone()], vec![ToDo::Restart(&moved)]),
            (first(), vec![elsewhere.clone()], vec![ToDo::Restart(&elsewhere)]),
        ] {
            let ports = running.iter().map(|target| &target.id);
            let now = |id: &TargetId| running.iter().find(|target| target.id == *id);
            assert_eq!(to_do(ports, now, &wanted), expected, "{running:?} -> {wanted:?}");
        }
    }
}
