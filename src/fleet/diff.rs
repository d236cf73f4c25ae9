//! What to do so that the sessions that run are those that the inventory wants, and none that is equal already is touched. Pure.

use std::collections::HashSet;

use crate::model::{Port, Target};

/// One thing to do.
#[derive(Debug, PartialEq)]
pub(super) enum Step<'a> {
    /// The port is gone.
    Stop(Port),
    /// The port is new.
    Start(&'a Target),
    /// The target has changed, but its channel can stay.
    Adopt(&'a Target),
    /// It has changed so that it needs another channel.
    Restart(&'a Target),
}

/// First what ends, then what `wanted` says, in its order. `running` is the target that a port has now.
pub(super) fn steps<'a, 'r>(
    ports: impl Iterator<Item = &'r Port>,
    running: impl Fn(&Port) -> Option<&'r Target>,
    wanted: &'a [Target],
) -> Vec<Step<'a>> {
    let names: HashSet<&Port> = wanted.iter().map(|target| &target.port).collect();
    let gone = ports.filter(|port| !names.contains(port));
    let mut steps: Vec<Step<'a>> = gone.map(|port| Step::Stop(port.clone())).collect();
    steps.extend(wanted.iter().filter_map(|target| match running(&target.port) {
        None => Some(Step::Start(target)),
        Some(now) if now == target => None,
        Some(now) if now.is_alike(target) => Some(Step::Adopt(target)),
        Some(_) => Some(Step::Restart(target)),
    }));
    steps
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use super::*;
    use crate::model::{ChannelSettings, Side, SourceAddress};

    fn target(port: &str, host: u8) -> Target {
        Target {
            port: Port::new(port).expect("a port"),
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
        let gone = || Step::Stop(Port::new("Ethernet0").expect("a port"));
        let new = target("Ethernet4", 1);
        for (running, wanted, expected) in [
            (vec![], vec![], vec![]),
            (vec![], first(), vec![Step::Start(&first()[0])]),
            (first(), first(), vec![]),
            (first(), vec![], vec![gone()]),
            (first(), vec![new.clone()], vec![gone(), Step::Start(&new)]),
            (first(), vec![other_side.clone()], vec![Step::Adopt(&other_side)]),
            (first(), vec![preferred.clone()], vec![Step::Adopt(&preferred)]),
            (first(), vec![fixed.clone()], vec![Step::Restart(&fixed)]),
            (first(), vec![moved.clone()], vec![Step::Restart(&moved)]),
            (first(), vec![elsewhere.clone()], vec![Step::Restart(&elsewhere)]),
        ] {
            let ports = running.iter().map(|target| &target.port);
            let now = |port: &Port| running.iter().find(|target| target.port == *port);
            assert_eq!(steps(ports, now, &wanted), expected, "{running:?} -> {wanted:?}");
        }
    }
}
