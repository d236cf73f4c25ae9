//! From a scenario to its SoCs, and every check that needs more than one key.
//!
//! Receives a [`Scenario`], returns one [`Resolved`] per SoC. After that only one thing can be wrong: another process uses an
//! address. Scenarios made in Rust are checked here too.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::SimError;
use super::fault::{ConnectionFault, ReplyFault};
use super::method::Rpc;
use super::quote::quote;
use super::scenario::{DEFAULT_PORT, NOT_LOOPBACK, Rack, Scenario, SocSpec, Spread, Targets};
use super::state::{SocState, StatePatch};

/// SONiC numbers ports by lanes, and a port of a rack has four.
const LANES: usize = 4;

/// A SoC as it starts.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) state: SocState,
    pub(super) fault: ConnectionFault,
    pub(super) reply: ReplyFault,
    pub(super) only: Vec<Rpc>,
}

impl Scenario {
    /// Checks everything that can be checked without listening.
    pub(super) fn resolve(&self) -> Result<Vec<Resolved>, SimError> {
        let mut state = SocState::default();
        state.apply(&self.defaults);
        let mut socs = match &self.rack {
            Some(rack) => rack.socs(&state)?,
            None => Vec::new(),
        };
        let of_rack = socs.len();
        let mut places: HashMap<String, usize> = socs
            .iter()
            .enumerate()
            .map(|(place, soc)| (soc.name.clone(), place))
            .collect();
        for (i, spec) in self.socs.iter().enumerate() {
            let key = |field: &str| format!("socs[{i}].{field}");
            if spec.port.is_empty() {
                return Err(invalid(key("port"), "expected the name of a port"));
            }
            if self.socs[..i].iter().any(|other| other.port == spec.port) {
                return Err(invalid(
                    key("port"),
                    format!("{} is listed twice", quote(&spec.port)),
                ));
            }
            if !spec.only.is_empty() && spec.reply == ReplyFault::None {
                return Err(invalid(key("only"), "expected the key `reply` too"));
            }
            let place = match (places.get(&spec.port), spec.address) {
                (Some(place), _) => *place,
                (None, Some(address)) => {
                    places.insert(spec.port.clone(), socs.len());
                    socs.push(Resolved::new(spec.port.clone(), address, state.clone()));
                    socs.len() - 1
                }
                (None, None) => {
                    let expected = format!(
                        "{} is not one of the rack's {of_rack} SoCs: expected an address like 127.9.0.1:{DEFAULT_PORT}",
                        quote(&spec.port)
                    );
                    return Err(invalid(key("address"), expected));
                }
            };
            spec.apply(&mut socs[place]);
        }
        if socs.is_empty() {
            return Err(invalid("rack or socs", "expected at least one SoC"));
        }
        check_addresses(&socs)?;
        self.check_timeline(&places)?;
        Ok(socs)
    }

    fn check_timeline(&self, names: &HashMap<String, usize>) -> Result<(), SimError> {
        for (i, step) in self.timeline.iter().enumerate() {
            let key = |field: &str| format!("timeline[{i}]{field}");
            if let Targets::Named(targets) = &step.soc
                && let Some(unknown) = targets.iter().find(|name| !names.contains_key(*name))
            {
                return Err(invalid(
                    key(".soc"),
                    format!("there is no SoC {}", quote(unknown)),
                ));
            }
            if step.set.is_none() && step.fault.is_none() && step.reply.is_none() && step.notice.is_none() {
                return Err(invalid(key(""), "expected set, fault, reply or notice"));
            }
            if !step.only.is_empty() && step.reply.is_none() {
                return Err(invalid(key(".only"), "expected the key `reply` too"));
            }
            if self.repeat.is_some_and(|repeat| repeat < step.at) {
                return Err(invalid(key(".at"), "expected a time before `loop` starts again"));
            }
        }
        if self.repeat == Some(Duration::ZERO) {
            return Err(invalid("loop", "expected a duration above 0"));
        }
        Ok(())
    }
}

fn check_addresses(socs: &[Resolved]) -> Result<(), SimError> {
    let mut owners = HashMap::new();
    for soc in socs {
        let Resolved { name, address, .. } = soc;
        if !address.ip().is_loopback() {
            return Err(invalid(quote(name), format!("{address}: {NOT_LOOPBACK}")));
        }
        if address.port() != 0
            && let Some(owner) = owners.insert(*address, name)
        {
            return Err(invalid(
                quote(name),
                format!("{address} already belongs to {}", quote(owner)),
            ));
        }
    }
    Ok(())
}

impl Rack {
    fn socs(&self, state: &SocState) -> Result<Vec<Resolved>, SimError> {
        let too_many = |what: &str| {
            invalid(
                "rack.count",
                format!("expected no more SoCs than there are {what}"),
            )
        };
        (0..self.count)
            .map(|i| {
                let next = |spread| match self.port {
                    0 => 0,
                    _ if self.spread == spread => i,
                    _ => 0,
                };
                let ip = u32::try_from(next(Spread::Addresses))
                    .ok()
                    .and_then(|i| u32::from(self.first_address).checked_add(i))
                    .map(Ipv4Addr::from)
                    .ok_or_else(|| too_many("addresses"))?;
                if !ip.is_loopback() {
                    return Err(invalid("rack.first_address", format!("{ip}: {NOT_LOOPBACK}")));
                }
                let port = u16::try_from(next(Spread::Ports))
                    .ok()
                    .and_then(|i| self.port.checked_add(i))
                    .ok_or_else(|| too_many("ports"))?;
                let name = format!("Ethernet{}", i * LANES);
                Ok(Resolved::new(name, (ip, port).into(), state.clone()))
            })
            .collect()
    }
}

impl Resolved {
    fn new(name: String, address: SocketAddr, state: SocState) -> Self {
        Self {
            name,
            address,
            state,
            fault: ConnectionFault::None,
            reply: ReplyFault::None,
            only: Vec::new(),
        }
    }
}

impl SocSpec {
    fn apply(&self, soc: &mut Resolved) {
        soc.state.apply(&StatePatch {
            directions: self.directions,
            links: self.links,
            oper: self.oper,
            version: self.version.clone(),
            health: self.health,
            health_watch: self.health_watch,
            graceful_restart: self.graceful_restart,
            headers_early: self.headers_early,
            require_metadata: self.require_metadata.clone(),
            max_concurrent_streams: self.max_concurrent_streams,
            pings: self.pings,
            tls: self.tls.clone(),
        });
        soc.address = self.address.unwrap_or(soc.address);
        soc.fault = self.fault.clone();
        soc.reply = self.reply.clone();
        soc.only = self.only.clone();
    }
}

fn invalid(key: impl Into<String>, expected: impl Into<String>) -> SimError {
    SimError::Invalid {
        key: key.into(),
        expected: expected.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Direction, Step};

    fn check(yaml: &str, expected: &str) {
        let error = Scenario::from_yaml(yaml).expect_err(yaml).to_string();
        assert!(error.contains(expected), "{yaml}\n  {error}\n  {expected}");
    }

    fn resolved(yaml: &str) -> Vec<Resolved> {
        let scenario = Scenario::from_yaml(yaml).expect("a scenario");
        scenario.resolve().expect("SoCs")
    }

    #[test]
    fn a_wrong_key_or_value_is_named_with_its_line() {
        check(
            "rack: {count: 1, frist: 1}",
            "rack.frist: unknown field `frist`, expected one of count, first_address",
        );
        check("rack: {}", "rack: missing field `count`");
        check("rack: {count: one}", "rack.count: invalid u64 at line 1");
        check(
            "rack: {count: 1}\nrack: {count: 2}",
            "duplicate mapping key: rack",
        );
        let step = |step: &str, expected: &str| {
            let key = format!("timeline[0]{expected}");
            check(&format!("rack: {{count: 1}}\ntimeline:\n  - {{{step}}}"), &key);
        };
        step(
            "at: 5, soc: Ethernet0",
            ".at: expected a duration like 500ms, 4s or 1m30s, found \"5\" at line 3",
        );
        step(
            "at: 5s, soc: 7, fault: hang",
            ".soc: invalid type: integer `7`, expected `all`, the name of a SoC or a",
        );
        step(
            "at: 5s, soc: Ethernet0, fault: hangs",
            ".fault: unknown variant `hangs`, expected one of none, hang,",
        );
        step(
            "at: 5s, soc: all, reply: {slow: {dely: 1s}}",
            ".reply.slow.dely: unknown field `dely`, expected one of",
        );
        step(
            "at: 5s, soc: all, fault: {goaway: {cod: cancel}}",
            ".fault.goaway.cod: unknown field",
        );
        step(
            "at: 5s, soc: all, reply: {code: {code: OK}}",
            ".reply.code.code: unknown variant `OK`, expected one of CAN",
        );
        step(
            "at: 5s, soc: all, set: {links: {upper: flat}}",
            ".set.links.upper: unknown variant `flat`, expected one of",
        );
        step("soc: Ethernet0, fault: hang", ": missing field `at` at line 3");
    }

    #[test]
    fn what_does_not_fit_together_is_named() {
        check("", "rack or socs: expected at least one SoC");
        check("rack: {count: 1}\nloop: 0", "loop: expected a duration above 0");
        check(
            "rack: {count: 1}\nsocs: [{port: Ethernet4}]",
            "socs[0].address: Ethernet4 is not one of the rack's 1 SoCs",
        );
        check(
            "rack: {count: 1}\nsocs: [{port: Ethernet0}, {port: Ethernet0}]",
            "socs[1].port: Ethernet0 is listed twice",
        );
        check(
            "rack: {count: 1}\nsocs: [{port: Ethernet0, only: [link]}]",
            "socs[0].only: expected the key `reply` too",
        );
        check(
            "socs: [{address: 127.0.0.1}]",
            "socs[0].port: expected the name of a port",
        );
        check(
            "rack: {count: 1}\nsocs: [{port: Ethernet4, address: 127.0.0.1}]",
            "Ethernet4: 127.0.0.1:50075 already belongs to Ethernet0",
        );
        check(
            "rack: {count: 100, port: 65500, spread: ports}",
            "rack.count: expected no more SoCs than there are ports",
        );
        let step = |step: &str, expected: &str| {
            check(
                &format!("rack: {{count: 1}}\nloop: 4s\ntimeline: [{{{step}}}]"),
                expected,
            );
        };
        step(
            "at: 1s, soc: Ethernet9, fault: hang",
            "timeline[0].soc: there is no SoC Ethernet9",
        );
        step(
            "at: 1s, soc: Ethernet0",
            "timeline[0]: expected set, fault, reply or notice",
        );
        step(
            "at: 5s, soc: all, fault: hang",
            "timeline[0].at: expected a time before `loop` starts again",
        );
        step(
            "at: 1s, soc: all, fault: hang, only: [link]",
            "timeline[0].only: expected the key `reply` too",
        );
    }

    #[test]
    fn only_loopback_addresses_are_listened_on() {
        let why = "expected a loopback address (127.0.0.0/8 or ::1), because";
        check(
            "socs: [{port: Ethernet0, address: 10.0.0.1}]",
            &format!("socs[0].address: 10.0.0.1: {why}"),
        );
        check("socs: [{port: Ethernet0, address: '0.0.0.0:1'}]", why);
        check(
            "rack: {count: 1, first_address: 10.0.0.1}",
            &format!("rack.first_address: 10.0.0.1: {why}"),
        );
        check("rack: {count: 3, first_address: 127.255.255.254}", why);
        assert_eq!(
            resolved("socs: [{port: Ethernet0, address: '[::1]:5'}]")[0].address,
            ([0, 0, 0, 0, 0, 0, 0, 1], 5).into()
        );
        // Also without YAML.
        let mut scenario = Scenario::default();
        scenario.socs.push(SocSpec {
            port: "Ethernet0".to_owned(),
            address: Some(([8, 8, 8, 8], 53).into()),
            ..SocSpec::default()
        });
        assert!(scenario.resolve().is_err());
    }

    #[test]
    fn a_rack_spreads_over_addresses_or_ports() {
        let place = |yaml, i: usize| {
            let socs = resolved(yaml);
            (socs[i].name.clone(), socs[i].address.to_string())
        };
        let is = |name: &str, address: &str| (name.to_owned(), address.to_owned());
        let rack = "rack: {count: 300, first_address: 127.9.0.1, port: 50075}";
        assert_eq!(place(rack, 0), is("Ethernet0", "127.9.0.1:50075"));
        assert_eq!(place(rack, 299), is("Ethernet1196", "127.9.1.44:50075"));
        let rack = "rack: {count: 3, port: 50075, spread: ports}";
        assert_eq!(place(rack, 2), is("Ethernet8", "127.0.0.1:50077"));
        let rack = "rack: {count: 3, port: 0, spread: ports}";
        assert_eq!(place(rack, 2), is("Ethernet8", "127.0.0.1:0"));
    }

    #[test]
    fn a_soc_of_its_own_comes_over_the_rack_and_the_defaults() {
        let socs = resolved(
            "
rack: {count: 2, first_address: 127.9.0.1}
defaults: {version: '2', directions: {lower: active}}
socs:
  - {port: Ethernet4, version: '3', fault: hang}
  - {port: Ethernet40, address: 127.9.0.9, reply: {oversized: {}}, only: [admin]}
",
        );
        let versions: Vec<&str> = socs.iter().map(|soc| soc.state.version.as_str()).collect();
        assert_eq!(versions, ["2", "3", "2"]);
        assert!(
            socs.iter()
                .all(|soc| soc.state.directions.lower == Direction::Active)
        );
        assert_eq!(socs[1].fault, ConnectionFault::Hang);
        assert_eq!(socs[1].address, ([127, 9, 0, 2], 50075).into());
        assert_eq!(socs[2].reply, ReplyFault::Oversized { bytes: 100 * 1024 });
        assert_eq!(socs[2].only, [Rpc::Admin]);
    }

    #[test]
    fn every_fault_can_be_written() {
        let faults = [
            "none",
            "hang",
            "mute",
            "pings_only",
            "http1",
            "http1_keep_open",
            "echo",
            "garbage",
            "refuse",
            "reset",
            "reset_after_settings",
            "close",
            "{goaway: {}}",
            "{goaway: {code: enhance_your_calm, debug: too_many_pings, grace: 1s}}",
        ];
        let replies = [
            "none",
            "{slow: {delay: 300ms}}",
            "stall",
            "empty",
            "swapped",
            "wrong_portids",
            "duplicate_portids",
            "short",
            "lengths_differ",
            "extra",
            "{code: {code: UNAVAILABLE}}",
            "{code: {code: DATA_LOSS, message: x}}",
            "{oversized: {bytes: 5}}",
            "huge_announced",
            "half_closed",
            "no_trailers",
            "{http_status: {status: 503}}",
            "garbage_message",
            "{cancel: {after: 480ms}}",
            "{reset_stream: {code: http_1_1_required}}",
        ];
        let faults = faults.iter().map(|fault| format!("fault: {fault}"));
        let replies = replies
            .iter()
            .map(|reply| format!("reply: {reply}, only: [set_admin, notices]"));
        let notices = [
            "{type: begin, plane: control, guid: g1, period: 10}",
            "{type: end}",
        ];
        let notices = notices.iter().map(|notice| format!("notice: {notice}"));
        for what in faults.chain(replies).chain(notices) {
            let yaml = format!("rack: {{count: 1}}\ntimeline: [{{at: 0s, soc: all, {what}}}]");
            let scenario = Scenario::from_yaml(&yaml).unwrap_or_else(|error| panic!("{what}: {error}"));
            let [Step { .. }] = &scenario.timeline[..] else {
                panic!("{what}");
            };
        }
    }
}
