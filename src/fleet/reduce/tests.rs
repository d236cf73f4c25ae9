//! Tables of single events, and properties that hold after any sequence of events.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;

use std::sync::Arc;

use super::*;
use crate::model::{ChannelSettings, NoticeCounts, Notices, Port, PortState, QueryReport, Side, UpperLower};

use MuxDirection::{Active, Standby, Unknown};

fn target(side: Side) -> Target {
    Target {
        namespace: "".into(),
        id: Port::new("Ethernet0").expect("a port").into(),
        address: ([127, 0, 0, 1], 50075).into(),
        side,
        channel: Arc::new(ChannelSettings::default()),
    }
}

fn at(secs: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(secs)
}

fn state(to: ChannelState, epoch: u64) -> Event {
    let cause = None;
    Event::Channel(ChannelEvent::State { to, cause, epoch })
}

fn failed(cause: Cause) -> Event {
    let detail = "why".into();
    Event::Channel(ChannelEvent::Failed { cause, detail })
}

fn slower_keepalive() -> ChannelEvent {
    ChannelEvent::Keepalive {
        time: Duration::from_secs(8),
        rounds: 1,
        refusals: 1,
        refused: true,
    }
}

/// A round in which all is well, with these directions.
fn report(epoch: Option<u64>, upper: MuxDirection, lower: MuxDirection) -> Report {
    let query = QueryReport {
        result: QueryResult::Ok,
        took: Some(Duration::from_millis(2)),
        error: None,
    };
    Report {
        timing: Default::default(),
        epoch,
        queries: [0; Query::COUNT].map(|_| query.clone()),
        direction: UpperLower { upper, lower },
        oper: UpperLower {
            upper: PortState::Up,
            lower: PortState::Down,
        },
        link: UpperLower {
            upper: PortState::Down,
            lower: PortState::Up,
        },
        version: Some("1.2.3".into()),
        health: Health::Serving,
    }
}

fn round(report: Report) -> Event {
    Event::Round(Box::new(report))
}

fn service(state: Maintenance) -> Event {
    Event::Maintenance(MaintenanceReport {
        state,
        ends_in: None,
        notices: None,
    })
}

/// `count` notices of one kind.
fn noticed(state: Maintenance, ends_in: Option<u64>, kind: NoticeType, plane: Plane, count: u64) -> Event {
    let mut counts = NoticeCounts::default();
    counts[kind.index()][plane.index()] = count;
    Event::Maintenance(MaintenanceReport {
        state,
        ends_in: ends_in.map(Duration::from_secs),
        notices: Some(Box::new(Notices { counts, last: None })),
    })
}

/// READY, after one round.
fn ready() -> SocStatus {
    let mut status = SocStatus::new(target(Side::Upper));
    status.apply(&Event::Channel(ChannelEvent::Dialing), at(1));
    status.apply(&state(ChannelState::Connecting, 0), at(1));
    status.apply(&state(ChannelState::Ready, 1), at(2));
    status.apply(&round(report(Some(1), Active, Standby)), at(3));
    status
}

#[test]
fn a_new_target_is_idle_and_nothing_is_known_or_counted() {
    let status = SocStatus::new(target(Side::Upper));
    assert_eq!(status.channel.state, ChannelState::Idle);
    assert_eq!(status.observed, Observed::UNKNOWN);
    assert_eq!(status.channel.keepalive_time, Duration::from_secs(4));
    assert_eq!(
        (status.channel.dials, status.rounds, status.channel.epoch),
        (0, 0, 0)
    );
    assert_eq!(status.channel.transitions, [0; ChannelState::COUNT]);
    assert!(status.channel.last_transition.is_none() && status.last_success.is_none());
}

#[test]
fn a_round_is_seen_from_our_side() {
    for (side, own, peer) in [
        (Side::Upper, Active, Standby),
        (Side::Lower, Standby, Active),
        (Side::Unknown, Unknown, Unknown),
    ] {
        let mut status = SocStatus::new(target(side));
        status.apply(&state(ChannelState::Ready, 1), at(1));
        status.apply(&round(report(Some(1), Active, Standby)), at(2));
        assert_eq!(status.observed.direction, SelfPeer { own, peer }, "{side}");
        assert_eq!(status.observed.version.as_deref(), Some("1.2.3"), "{side}");
        assert_eq!(status.last_success, Some(at(2)), "{side}");
    }
    let observed = ready().observed;
    assert_eq!(
        (observed.oper.own, observed.oper.peer),
        (PortState::Up, PortState::Down)
    );
    assert_eq!(
        (observed.link.own, observed.link.peer),
        (PortState::Down, PortState::Up)
    );
}

#[test]
fn the_row_is_written_for_what_changes_it_and_for_nothing_else() {
    let rtt = Event::Channel(ChannelEvent::Rtt(Duration::from_millis(1)));
    let slower = Event::Channel(slower_keepalive());
    let table = [
        (state(ChannelState::TransientFailure, 1), true),
        (state(ChannelState::Ready, 1), false),
        (round(report(Some(1), Active, Standby)), true),
        (round(report(None, Unknown, Unknown)), true),
        (service(Maintenance::Noop), true),
        (service(Maintenance::Unknown), false),
        (
            noticed(Maintenance::Unknown, None, NoticeType::Unknown, Plane::Both, 1),
            false,
        ),
        (Event::Health(Health::NotServing), false),
        (Event::Channel(ChannelEvent::Dialing), false),
        (failed(Cause::Refused), false),
        (rtt, false),
        (slower, false),
    ];
    for (event, write_row) in table {
        let effect = ready().apply(&event, at(9));
        assert_eq!(effect.write_row, write_row, "{event:?}");
    }
}

#[test]
fn leaving_ready_forgets_what_was_said_but_not_what_was_counted() {
    let mut status = ready();
    status.apply(
        &Event::Channel(ChannelEvent::Rtt(Duration::from_millis(1))),
        at(4),
    );
    status.apply(&failed(Cause::Closed), at(5));
    let event = Event::Channel(ChannelEvent::State {
        to: ChannelState::TransientFailure,
        cause: Some(Cause::Closed),
        epoch: 1,
    });
    let effect = status.apply(&event, at(5));
    assert_eq!(status.observed, Observed::UNKNOWN);
    assert_eq!(status.channel.keepalive_rtt, None);
    assert_eq!(status.channel.last_transition, Some(at(5)));
    assert_eq!(status.last_success, Some(at(3)));
    assert_eq!(status.channel.failures[Cause::Closed.index()], 1);
    assert_eq!(status.probes[Query::Admin.index()][QueryResult::Ok.index()], 1);
    let kind = TransitionKind::Channel {
        from: ChannelState::Ready,
        to: ChannelState::TransientFailure,
        cause: Some(Cause::Closed),
    };
    let lost = Transition {
        detail: Some("why".into()),
        ..without_detail(at(5), kind)
    };
    assert_eq!(effect.transitions, [lost]);
    let error = status.last_error.expect("the failure");
    assert_eq!((error.at, &*error.detail), (at(5), "why"));
    assert_eq!(error.to_string(), "channel: closed: why");
}

#[test]
fn a_round_of_another_connection_is_counted_and_not_believed() {
    for epoch in [None, Some(0), Some(2)] {
        let mut status = ready();
        let effect = status.apply(&round(report(epoch, Standby, Active)), at(4));
        assert_eq!(status.observed.direction.own, Active, "{epoch:?}");
        assert_eq!(status.direction_transitions, SelfPeer::default(), "{epoch:?}");
        assert_eq!(status.rounds, 2, "{epoch:?}");
        assert_eq!(status.probes[Query::Admin.index()][QueryResult::Ok.index()], 2);
        assert!(effect.transitions.is_empty(), "{epoch:?}");
    }
    // The same for a round that ends after the loss of its own connection.
    let mut status = ready();
    status.apply(&state(ChannelState::TransientFailure, 1), at(4));
    status.apply(&round(report(Some(1), Standby, Active)), at(5));
    assert_eq!(status.observed, Observed::UNKNOWN);
    assert_eq!(status.rounds, 2);
}

#[test]
fn directions_are_counted_between_active_and_standby_whatever_comes_in_between() {
    let table: [(&[MuxDirection], u64); 7] = [
        (&[Active], 0),
        (&[Unknown, Active], 0),
        (&[Active, Active], 0),
        (&[Active, Standby], 1),
        (&[Active, Unknown, Active], 0),
        (&[Active, Unknown, Standby], 1),
        (&[Active, Standby, Active, Unknown, Unknown, Standby], 3),
    ];
    for (directions, changes) in table {
        let mut status = SocStatus::new(target(Side::Upper));
        status.apply(&state(ChannelState::Ready, 1), at(0));
        let mut told = 0;
        for direction in directions {
            let effect = status.apply(&round(report(Some(1), *direction, Unknown)), at(1));
            told += effect.transitions.len() as u64;
        }
        assert_eq!(status.direction_transitions.own, changes, "{directions:?}");
        assert_eq!(status.direction_transitions.peer, 0, "{directions:?}");
        // Each change is also reported as a transition. Health has not changed.
        assert_eq!(told, changes, "{directions:?}");
    }
    // A loss of the channel in between counts as unknown, too.
    let mut status = ready();
    status.apply(&state(ChannelState::TransientFailure, 1), at(4));
    status.apply(&state(ChannelState::Ready, 2), at(5));
    status.apply(&round(report(Some(2), Standby, Standby)), at(6));
    assert_eq!(status.direction_transitions, SelfPeer { own: 1, peer: 0 });
}

#[test]
fn only_an_ok_admin_query_is_a_success() {
    for result in QueryResult::ALL {
        let mut report = report(Some(1), Active, Standby);
        report.queries[Query::Admin.index()].result = *result;
        let mut status = SocStatus::new(target(Side::Upper));
        status.apply(&state(ChannelState::Ready, 1), at(1));
        status.apply(&round(report), at(2));
        assert_eq!(
            status.last_success.is_some(),
            *result == QueryResult::Ok,
            "{result}"
        );
        assert_eq!(status.probes[Query::Admin.index()][result.index()], 1, "{result}");
    }
}

#[test]
fn what_a_healthy_soc_may_answer_is_no_error() {
    let table = [
        (Query::Link, QueryResult::Ok, false),
        (Query::Link, QueryResult::EmptyReply, false),
        (Query::Link, QueryResult::InvalidReply, true),
        (Query::Link, QueryResult::Unimplemented, true),
        (Query::Health, QueryResult::Unimplemented, false),
        (Query::Health, QueryResult::NotFound, true),
        (Query::Version, QueryResult::DeadlineExceeded, true),
    ];
    for (query, result, is_error) in table {
        let mut report = report(Some(1), Active, Standby);
        if query == Query::Health && !is_error {
            report.health = Health::Unimplemented;
        }
        report.queries[query.index()] = QueryReport {
            result,
            took: None,
            error: Some("said".into()),
        };
        let mut status = SocStatus::new(target(Side::Upper));
        status.apply(&state(ChannelState::Ready, 1), at(1));
        status.apply(&round(report), at(2));
        let text = status.last_error.map(|error| error.to_string());
        let expected = is_error.then(|| format!("{query}: {result}: said"));
        assert_eq!(text, expected, "{query} {result}");
    }
}

#[test]
fn unimplemented_that_the_soc_has_not_said_is_an_error() {
    let mut report = report(Some(1), Active, Standby);
    report.health = Health::Unknown;
    report.queries[Query::Health.index()] = QueryReport {
        result: QueryResult::Unimplemented,
        took: None,
        error: Some("not a gRPC server".into()),
    };
    let mut status = SocStatus::new(target(Side::Upper));
    status.apply(&state(ChannelState::Ready, 1), at(1));
    status.apply(&round(report), at(2));
    let text = status.last_error.map(|error| error.to_string());
    assert_eq!(text.as_deref(), Some("health: UNIMPLEMENTED: not a gRPC server"));
}

#[test]
fn a_duration_lands_in_the_bucket_whose_bound_it_does_not_exceed() {
    let check = |millis: f64, bucket: usize| {
        let mut durations = Durations::default();
        observe(&mut durations, millis / 1000.0);
        assert_eq!(durations.counts[bucket], 1, "{millis} ms: {durations:?}");
        assert_eq!(durations.sum, millis / 1000.0);
    };
    check(0.0, 0);
    check(1.0, 0);
    check(1.1, 1);
    check(500.0, 8);
    check(501.0, 9);
    check(1000.0, 9);
    check(5000.0, 10);
}

#[test]
fn only_an_answered_query_has_a_duration() {
    for result in QueryResult::ALL {
        let mut report = report(Some(1), Active, Standby);
        let took = Some(Duration::from_millis(500));
        report.queries[Query::Link.index()] = QueryReport {
            result: *result,
            took,
            error: None,
        };
        let mut status = SocStatus::new(target(Side::Upper));
        status.apply(&round(report), at(1));
        let slow: u64 = status.durations.counts[8..].iter().sum();
        assert_eq!(slow, u64::from(result.is_answer()), "{result}");
        assert_eq!(status.durations.counts.iter().sum::<u64>(), 4 + slow, "{result}");
        assert_eq!(status.probes[Query::Link.index()][result.index()], 1, "{result}");
    }
}

#[test]
fn that_the_soc_has_no_health_service_is_an_answer_with_a_duration() {
    let mut report = report(Some(1), Active, Standby);
    report.health = Health::Unimplemented;
    report.queries[Query::Health.index()].result = QueryResult::Unimplemented;
    let mut status = SocStatus::new(target(Side::Upper));
    status.apply(&round(report), at(1));
    assert_eq!(status.durations.counts.iter().sum::<u64>(), 5);
}

#[test]
fn a_query_that_was_not_sent_has_no_duration() {
    let mut status = ready();
    assert_eq!(status.durations.counts.iter().sum::<u64>(), 5);
    let mut report = report(None, Unknown, Unknown);
    for query in &mut report.queries {
        query.result = QueryResult::Unavailable;
        query.took = None;
    }
    status.apply(&round(report), at(4));
    assert_eq!(status.durations.counts.iter().sum::<u64>(), 5);
    assert_eq!(
        status.probes[Query::Health.index()][QueryResult::Unavailable.index()],
        1
    );
}

#[test]
fn a_round_trip_is_shown_only_while_ready() {
    let rtt = Event::Channel(ChannelEvent::Rtt(Duration::from_millis(3)));
    let mut status = SocStatus::new(target(Side::Upper));
    status.apply(&rtt, at(1));
    assert_eq!(status.channel.keepalive_rtt, None);
    status.apply(&state(ChannelState::Ready, 1), at(1));
    status.apply(&rtt, at(1));
    assert_eq!(status.channel.keepalive_rtt, Some(Duration::from_millis(3)));
}

#[test]
fn the_last_certificate_that_a_soc_showed_is_remembered_until_its_target_changes() {
    let mut status = ready();
    assert_eq!(status.channel.certificate_expiry, None);
    for secs in [2_000_000_000, 2_100_000_000] {
        let event = Event::Channel(ChannelEvent::PeerCertificate { not_after: at(secs) });
        let effect = status.apply(&event, at(5));
        assert!(!effect.write_row && effect.transitions.is_empty());
        status.apply(&failed(Cause::TlsExpired), at(6));
        assert_eq!(status.channel.certificate_expiry, Some(at(secs)));
    }
    status.retarget(target(Side::Upper));
    assert_eq!(status.channel.certificate_expiry, None);
}

#[test]
fn health_is_told_when_one_answer_differs_from_the_one_before() {
    let mut status = ready();
    let mut tell = |health| {
        let mut report = report(Some(1), Active, Standby);
        report.health = health;
        let effect = status.apply(&round(report), at(4));
        effect
            .transitions
            .iter()
            .map(|transition| transition.kind)
            .collect::<Vec<_>>()
    };
    assert_eq!(tell(Health::Serving), []);
    let (from, to) = (Health::Serving, Health::NotServing);
    assert_eq!(tell(to), [TransitionKind::Health { from, to }]);
    assert_eq!(tell(Health::Unknown), []);
}

#[test]
fn health_that_is_said_unasked_is_shown_at_once_but_only_while_ready() {
    let mut status = ready();
    let (from, to) = (Health::Serving, Health::NotServing);
    let effect = status.apply(&Event::Health(to), at(4));
    assert_eq!(status.observed.health, to);
    let kind = TransitionKind::Health { from, to };
    assert_eq!(effect.transitions, [without_detail(at(4), kind)]);
    // Nothing else is touched.
    let health = from;
    let observed = Observed {
        health,
        ..status.observed.clone()
    };
    assert_eq!(observed, ready().observed);
    // The same value again is no change. Unknown is ignored.
    for health in [to, Health::Unknown, to] {
        assert_eq!(status.apply(&Event::Health(health), at(5)), Effect::default());
    }
    // `Check` and `Watch` count the same: the later answer is kept.
    status.apply(&round(report(Some(1), Active, Standby)), at(6));
    assert_eq!(status.observed.health, Health::Serving);
    status.apply(&state(ChannelState::TransientFailure, 1), at(7));
    assert_eq!(status.apply(&Event::Health(to), at(8)), Effect::default());
    assert_eq!(status.observed, Observed::UNKNOWN);
}

#[test]
fn a_service_that_goes_on_may_end_at_another_time_and_no_row_is_written_for_that() {
    let (begin, end) = (NoticeType::Begin, NoticeType::End);
    let running = |ends_in| noticed(Maintenance::InProgress, ends_in, begin, Plane::Data, 1);
    let mut status = ready();
    assert!(status.apply(&running(Some(60)), at(10)).write_row);
    assert_eq!(status.maintenance_end, Some(at(70)));
    for (ends_in, end) in [(Some(100), Some(at(120))), (None, None), (Some(1), Some(at(21)))] {
        assert_eq!(status.apply(&running(ends_in), at(20)), Effect::default());
        assert_eq!(status.maintenance_end, end);
    }
    // A lost channel does not end the announced maintenance.
    status.apply(&state(ChannelState::TransientFailure, 1), at(20));
    assert_eq!(
        (status.maintenance, status.maintenance_end),
        (Maintenance::InProgress, Some(at(21)))
    );
    let effect = status.apply(&noticed(Maintenance::Noop, None, end, Plane::Both, 3), at(30));
    assert!(effect.write_row);
    assert_eq!(
        (status.maintenance, status.maintenance_end),
        (Maintenance::Noop, None)
    );
    let mut expected = NoticeCounts::default();
    expected[begin.index()][Plane::Data.index()] = 4;
    expected[end.index()][Plane::Both.index()] = 3;
    assert_eq!(status.notices, expected);
}

#[test]
fn our_own_stop_is_a_local_loss_only_where_there_was_something_to_lose() {
    for (before, losses) in [
        (ChannelState::Idle, 0),
        (ChannelState::Connecting, 0),
        (ChannelState::TransientFailure, 0),
        (ChannelState::Ready, 1),
    ] {
        let mut status = SocStatus::new(target(Side::Upper));
        status.apply(&state(before, 1), at(1));
        let effect = status.stop(at(2));
        assert!(effect.write_row);
        assert_eq!(status.channel.state, ChannelState::Shutdown, "{before}");
        assert_eq!(status.channel.failures[Cause::Local.index()], losses, "{before}");
        assert_eq!(status.channel.transitions[ChannelState::Shutdown.index()], 1);
    }
}

#[test]
fn a_changed_target_keeps_its_counters_and_begins_anew() {
    let mut status = ready();
    let (begin, both) = (NoticeType::Begin, Plane::Both);
    status.apply(&noticed(Maintenance::InProgress, Some(60), begin, both, 1), at(4));
    status.apply(&Event::Channel(slower_keepalive()), at(4));
    status.stop(at(5));
    let before = status.clone();
    let mut moved = target(Side::Lower);
    moved.address = ([127, 0, 0, 2], 50075).into();
    status.retarget(moved.clone());
    assert_eq!(status.target, moved);
    assert_eq!(
        (status.channel.state, status.channel.epoch),
        (ChannelState::Idle, 0)
    );
    assert_eq!(status.observed, Observed::UNKNOWN);
    assert_eq!(
        (status.maintenance, status.maintenance_end),
        (Maintenance::Unknown, None)
    );
    assert_eq!(
        status.channel.keepalive_time,
        Duration::from_secs(4),
        "the configured one"
    );
    assert_eq!(status.channel.ping_refusals, 0);
    // A new SoC's first direction is not a change of the old SoC's.
    assert_eq!(status.known_direction, SelfPeer::default());
    assert_eq!(status.channel.transitions, before.channel.transitions);
    assert_eq!(status.channel.failures, before.channel.failures);
    assert_eq!(status.probes, before.probes);
    assert_eq!(status.durations, before.durations);
    assert_eq!(
        (status.channel.dials, status.rounds),
        (before.channel.dials, before.rounds)
    );
    assert_eq!(status.notices, before.notices);
}

fn any_of<T: Copy + std::fmt::Debug>(all: &'static [T]) -> impl Strategy<Value = T> {
    prop::sample::select(all)
}

fn any_report() -> impl Strategy<Value = Report> {
    let query =
        (any_of(QueryResult::ALL), prop::option::of(0u64..2000)).prop_map(|(result, took)| QueryReport {
            result,
            took: took.map(Duration::from_millis),
            error: None,
        });
    (
        prop::option::of(0u64..4),
        prop::collection::vec(query, Query::COUNT),
        (any_of(MuxDirection::ALL), any_of(MuxDirection::ALL)),
        any_of(Health::ALL),
    )
        .prop_map(|(epoch, queries, (upper, lower), health)| Report {
            queries: queries.try_into().expect("five"),
            health,
            ..report(epoch, upper, lower)
        })
}

fn any_service() -> impl Strategy<Value = MaintenanceReport> {
    let notices = (any_of(NoticeType::ALL), any_of(Plane::ALL), 0u64..100);
    let ends_in = prop::option::of(0u64..100);
    (any_of(Maintenance::ALL), ends_in, prop::option::of(notices)).prop_map(|(state, ends_in, notices)| {
        let counted = notices.map(|(kind, plane, count)| {
            let mut counts = NoticeCounts::default();
            counts[kind.index()][plane.index()] = count;
            Box::new(Notices { counts, last: None })
        });
        MaintenanceReport {
            state,
            ends_in: ends_in.map(Duration::from_secs),
            notices: counted,
        }
    })
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Channel(ChannelEvent::Dialing)),
        any_of(Cause::ALL).prop_map(failed),
        (any_of(ChannelState::ALL), 0u64..4).prop_map(|(to, epoch)| state(to, epoch)),
        (0u64..2000).prop_map(|millis| Event::Channel(ChannelEvent::Rtt(Duration::from_millis(millis)))),
        (1u64..300).prop_map(|secs| Event::Channel(ChannelEvent::Keepalive {
            time: Duration::from_secs(secs),
            rounds: 1,
            refusals: 1,
            refused: true,
        })),
        any_service().prop_map(Event::Maintenance),
        any_of(Health::ALL).prop_map(Event::Health),
        any_report().prop_map(round),
    ]
}

proptest! {
    #[test]
    fn after_any_events_the_status_is_consistent(events in prop::collection::vec(any_event(), 0..200)) {
        let mut status = SocStatus::new(target(Side::Upper));
        let (mut dials, mut failures, mut rounds, mut durations, mut notices) = (0, 0, 0, 0, 0);
        for (n, event) in events.iter().enumerate() {
            let before = status.clone();
            let effect = status.apply(event, at(n as u64));
            match event {
                Event::Channel(ChannelEvent::Dialing) => dials += 1,
                Event::Channel(ChannelEvent::Failed { .. }) => failures += 1,
                Event::Round(report) => {
                    rounds += 1;
                    let answered = Query::ALL.iter().filter(|query| report.is_answered(**query));
                    durations += answered.filter(|query| report.query(**query).took.is_some()).count() as u64;
                }
                Event::Maintenance(report) => {
                    let counted = report.notices.as_ref().map(|notices| notices.counts);
                    notices += counted.unwrap_or_default().as_flattened().iter().sum::<u64>();
                }
                Event::Channel(_) | Event::Health(_) | Event::Module(_) => {}
            }
            // The state is known only while READY.
            if status.channel.state != ChannelState::Ready {
                prop_assert_eq!(&status.observed, &Observed::UNKNOWN);
                prop_assert_eq!(status.channel.keepalive_rtt, None);
            }
            // A change of what the row shows is always written. The row does not show health.
            let shown = |status: &SocStatus| {
                let health = Health::Unknown;
                (status.channel.state, status.maintenance, Observed { health, ..status.observed.clone() })
            };
            prop_assert!(effect.write_row || shown(&before) == shown(&status));
        }
        prop_assert_eq!(status.channel.dials, dials);
        prop_assert_eq!(status.channel.failures.iter().sum::<u64>(), failures);
        prop_assert_eq!(status.rounds, rounds);
        prop_assert_eq!(status.notices.as_flattened().iter().sum::<u64>(), notices);
        for query in status.probes {
            prop_assert_eq!(query.iter().sum::<u64>(), rounds, "each round counts each query once");
        }
        prop_assert_eq!(status.durations.counts.iter().sum::<u64>(), durations);
    }

    #[test]
    fn counters_never_go_back(events in prop::collection::vec(any_event(), 0..100), moves in any::<bool>()) {
        fn counters(status: &SocStatus) -> Vec<u64> {
            let pair = status.direction_transitions;
            let mut all = vec![status.channel.dials, status.rounds, pair.own, pair.peer];
            all.extend(status.channel.transitions);
            all.extend(status.channel.failures);
            all.extend(status.probes.as_flattened());
            all.extend(status.durations.counts);
            all.extend(status.notices.as_flattened());
            all
        }
        let mut status = SocStatus::new(target(Side::Lower));
        for (n, event) in events.iter().enumerate() {
            let before = counters(&status);
            status.apply(event, at(n as u64));
            if moves && n % 10 == 9 {
                status.stop(at(n as u64));
                status.retarget(target(Side::Upper));
            }
            let after = counters(&status);
            prop_assert!(before.iter().zip(&after).all(|(before, after)| before <= after));
        }
    }
}

#[test]
fn a_lost_session_leaves_nothing_known_and_goes_on_counting() {
    let mut soc = SocStatus::new(target(Side::Upper));
    let ready = [
        state(ChannelState::Connecting, 0),
        state(ChannelState::Ready, 1),
        round(report(Some(1), Active, Standby)),
    ];
    for event in &ready {
        soc.apply(event, at(1));
    }
    let announced = MaintenanceReport {
        state: Maintenance::InProgress,
        ends_in: Some(Duration::from_secs(600)),
        notices: None,
    };
    soc.apply(&Event::Maintenance(announced), at(2));
    let probes = soc.probes;
    let effect = soc.lose_session("a defect: oh", at(3));
    assert!(effect.write_row);
    let kinds: Vec<TransitionKind> = effect.transitions.iter().map(|t| t.kind).collect();
    let expected = [
        TransitionKind::Channel {
            from: ChannelState::Ready,
            to: ChannelState::TransientFailure,
            cause: Some(Cause::Local),
        },
        TransitionKind::Maintenance {
            from: Maintenance::InProgress,
            to: Maintenance::Unknown,
        },
    ];
    assert_eq!(kinds, expected);
    assert_eq!((&soc.observed, soc.probes), (&Observed::UNKNOWN, probes));
    assert_eq!((soc.maintenance_end, soc.channel.session_restarts), (None, 1));
    assert_eq!(soc.channel.failures[Cause::Local.index()], 1);
    // Lost again before the next session reported anything: the row does not change.
    assert_eq!(soc.lose_session("a defect: oh", at(4)), Effect::default());
    assert_eq!(soc.channel.session_restarts, 2);
    soc.retarget(target(Side::Upper));
    assert_eq!(soc.channel.session_restarts, 2);
}
