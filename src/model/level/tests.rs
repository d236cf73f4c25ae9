//! Each reason alone, and which of two comes first.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::*;
use crate::model::{ChannelSettings, Health, LinkmgrHealth, Observed, Port, SelfPeer, Target};

const INTERVAL: Duration = Duration::from_secs(60);

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn ago(seconds: u64) -> Option<SystemTime> {
    Some(now() - Duration::from_secs(seconds))
}

fn healthy() -> (SocStatus, PortFacts) {
    let both = |up| SelfPeer { own: up, peer: up };
    let target = Target {
        namespace: "".into(),
        id: Port::new("Ethernet0").expect("a port name").into(),
        address: ([192, 0, 2, 1], 50075).into(),
        side: Side::Upper,
        channel: Arc::new(ChannelSettings::default()),
    };
    let mut soc = SocStatus::new(target);
    soc.channel.state = ChannelState::Ready;
    soc.channel.last_transition = ago(3_600);
    soc.last_success = ago(60);
    soc.observed = Observed {
        direction: SelfPeer {
            own: MuxDirection::Active,
            peer: MuxDirection::Active,
        },
        oper: both(PortState::Up),
        link: both(PortState::Up),
        version: Some("1.0".into()),
        health: Health::Serving,
        all_answered: Some(true),
    };
    let facts = PortFacts {
        intended: MuxDirection::Active,
        intended_error: false,
        orchagent: OrchagentMux::Active,
        linkmgr: LinkmgrHealth::Healthy,
        oper_up: Some(true),
        ..PortFacts::default()
    };
    (soc, facts)
}

type Change = fn(&mut SocStatus, &mut PortFacts);

/// What makes each reason the case.
fn causes() -> Vec<(PortReason, Change)> {
    vec![
        (PortReason::InMaintenance, |soc, _| {
            soc.maintenance = Maintenance::InProgress
        }),
        (PortReason::ChannelNotReady, |soc, _| {
            soc.channel.state = ChannelState::TransientFailure
        }),
        (PortReason::ServerDark, |soc, _| {
            soc.observed.link = SelfPeer {
                own: PortState::Down,
                peer: PortState::Down,
            }
        }),
        (PortReason::Blackhole, |soc, facts| {
            soc.observed.direction.own = MuxDirection::Standby;
            facts.orchagent = OrchagentMux::Active;
        }),
        (PortReason::MuxChangeFailed, |_, facts| {
            facts.orchagent = OrchagentMux::Error
        }),
        (PortReason::MuxInconsistent, |_, facts| {
            facts.intended = MuxDirection::Standby
        }),
        (PortReason::NoRedundancy, |soc, _| {
            soc.observed.link.own = PortState::Down
        }),
        (PortReason::OperationDown, |soc, _| {
            soc.observed.oper.peer = PortState::Down
        }),
        (PortReason::NotServing, |soc, _| {
            soc.observed.health = Health::NotServing
        }),
        (PortReason::QueryFailed, |soc, _| {
            soc.observed.all_answered = Some(false)
        }),
        (PortReason::SideUnknown, |soc, _| soc.target.side = Side::Unknown),
        (PortReason::DirectionUnknown, |soc, _| {
            soc.observed.direction.peer = MuxDirection::Unknown
        }),
        (PortReason::Stale, |soc, _| soc.last_success = ago(151)),
        (PortReason::CertificateExpiring, |soc, _| {
            soc.channel.certificate_expiry = Some(now() + Duration::from_secs(6 * 24 * 3600))
        }),
        (PortReason::ChannelFlapping, |soc, _| soc.channel.short_readys = 3),
        (PortReason::Healthy, |_, _| {}),
    ]
}

#[test]
fn each_cause_gives_its_reason_and_the_first_of_two_counts() {
    let causes = causes();
    let names: Vec<PortReason> = causes.iter().map(|(reason, _)| *reason).collect();
    assert_eq!(names, PortReason::ALL);
    for (n, (reason, change)) in causes.iter().enumerate() {
        for (_, lesser) in &causes[n..] {
            let (mut soc, mut facts) = healthy();
            lesser(&mut soc, &mut facts);
            change(&mut soc, &mut facts);
            assert_eq!(judge(&soc, Some(&facts), INTERVAL, now()), *reason);
        }
    }
}

#[test]
fn levels_get_worse_only_with_a_worse_reason() {
    // Maintenance stands first because nothing else counts then.
    let levels: Vec<PortLevel> = PortReason::ALL[1..].iter().map(|reason| reason.level()).collect();
    assert!(levels.is_sorted_by(|a, b| a >= b), "{levels:?}");
    assert_eq!(PortReason::InMaintenance.level(), PortLevel::Maintenance);
}

#[test]
fn what_is_not_known_is_no_reason() {
    let (mut soc, _) = healthy();
    assert_eq!(judge(&soc, None, INTERVAL, now()), PortReason::Healthy);
    let unknown = PortFacts::default();
    assert_eq!(judge(&soc, Some(&unknown), INTERVAL, now()), PortReason::Healthy);
    // READY, and the first round has not ended.
    soc.observed = Observed::UNKNOWN;
    soc.last_success = None;
    soc.channel.last_transition = ago(1);
    assert_eq!(judge(&soc, None, INTERVAL, now()), PortReason::Healthy);
    // A SoC without a health service is healthy.
    let (mut soc, facts) = healthy();
    soc.observed.health = Health::Unimplemented;
    assert_eq!(judge(&soc, Some(&facts), INTERVAL, now()), PortReason::Healthy);
}

#[test]
fn a_channel_that_is_back_has_time_for_its_first_round_and_a_clock_that_jumps_changes_nothing() {
    let (mut soc, facts) = healthy();
    soc.last_success = ago(100_000);
    soc.channel.last_transition = ago(10);
    assert_eq!(judge(&soc, Some(&facts), INTERVAL, now()), PortReason::Healthy);
    soc.channel.last_transition = ago(151);
    assert_eq!(judge(&soc, Some(&facts), INTERVAL, now()), PortReason::Stale);
    let before = now() - Duration::from_secs(1_000_000);
    assert_eq!(judge(&soc, Some(&facts), INTERVAL, before), PortReason::Healthy);
    soc.channel.certificate_expiry = ago(1);
    soc.last_success = ago(1);
    assert_eq!(
        judge(&soc, Some(&facts), INTERVAL, now()),
        PortReason::CertificateExpiring
    );
}
