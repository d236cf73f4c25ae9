//! Which traces and events are kept, from the events of a SoC as the reducer applies them.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::super::kept_queue::{KeptReceiver, kept_queue};
use super::*;
use crate::model::{
    ChannelSettings, Health, MaintenanceReport, MuxDirection, Notice, NoticeType, Notices, Plane, Port,
    PortState, Query, QueryReport, QueryResult, RoundTiming, Side, Target, UpperLower,
};

const TIMEOUT: Duration = Duration::from_millis(500);

/// A SoC, with its recorder and what that has kept.
struct Rig {
    status: SocStatus,
    recorder: Recorder,
    traces: KeptReceiver<KeptTrace>,
    events: KeptReceiver<KeptEvent>,
    now: u64,
}

impl Rig {
    fn new(rule: TraceRule) -> Self {
        let (traces_tx, traces) = kept_queue(1000, 1000);
        let (events_tx, events) = kept_queue(1000, 1000);
        let target = Target {
            namespace: "".into(),
            id: Port::new("Ethernet0").expect("a port").into(),
            address: ([127, 0, 0, 1], 50075).into(),
            side: Side::Upper,
            channel: Arc::new(ChannelSettings::default()),
        };
        let recorder = Recorder::new(rule, Some(traces_tx), Some(events_tx));
        Self {
            status: SocStatus::new(target),
            recorder: recorder.with_random(|| 7),
            traces,
            events,
            now: 0,
        }
    }

    /// One second later.
    fn event(&mut self, event: Event) {
        self.now += 1;
        let now = at(self.now);
        let effect = self.status.apply(&event, now);
        self.recorder
            .on_event(&self.status, event, effect.transitions, now, TIMEOUT);
    }

    fn state(&mut self, to: ChannelState, cause: Option<Cause>, epoch: u64) {
        self.event(Event::Channel(ChannelEvent::State { to, cause, epoch }));
    }

    fn failed(&mut self, cause: Cause) {
        let detail = "why".into();
        self.event(Event::Channel(ChannelEvent::Failed { cause, detail }));
    }

    fn dialing(&mut self) {
        self.event(Event::Channel(ChannelEvent::Dialing));
    }

    /// The first dial, up to READY.
    fn connect(&mut self) {
        self.dialing();
        self.state(ChannelState::Connecting, None, 0);
        self.state(ChannelState::Ready, None, 1);
    }

    /// Of the dials that were kept: from, to, cause, number of changes.
    fn dials(&mut self) -> Vec<(SystemTime, SystemTime, Option<Cause>, usize)> {
        let taken = self.traces.take().into_iter();
        taken
            .map(|kept| match kept.of {
                KeptWork::Dial {
                    began, ended, cause, ..
                } => (began, ended, cause, kept.transitions.len()),
                KeptWork::Round { .. } => panic!("a round"),
            })
            .collect()
    }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn report(took: Duration) -> Report {
    Report {
        epoch: Some(1),
        timing: RoundTiming::default(),
        queries: [0; Query::COUNT].map(|_| QueryReport {
            result: QueryResult::Ok,
            took: Some(took),
            error: None,
        }),
        direction: UpperLower {
            upper: MuxDirection::Active,
            lower: MuxDirection::Active,
        },
        oper: UpperLower::<PortState>::default(),
        link: UpperLower::<PortState>::default(),
        version: None,
        health: Health::Serving,
    }
}

fn round(report: Report) -> Event {
    Event::Round(Box::new(report))
}

const FAST: Duration = Duration::from_millis(2);

#[test]
fn of_good_rounds_none_is_kept_by_failed_and_each_by_all() {
    for (rule, kept) in [(TraceRule::Failed, 0), (TraceRule::Share(1.0), 3)] {
        let mut rig = Rig::new(rule);
        rig.connect();
        rig.traces.take();
        for _ in 0..3 {
            rig.event(round(report(FAST)));
        }
        assert_eq!(rig.traces.take().len(), kept, "{rule:?}");
    }
}

#[test]
fn a_round_that_failed_was_slow_or_changed_something_is_kept_by_failed() {
    let failed = |query: Query, result: QueryResult, health: Health| {
        let mut report = report(FAST);
        report.queries[query.index()].result = result;
        report.health = health;
        report
    };
    let changed = |upper: MuxDirection| {
        let mut report = report(FAST);
        report.direction.upper = upper;
        report
    };
    for (what, report, kept) in [
        ("all well", report(FAST), false),
        ("half of the timeout", report(TIMEOUT / 2), false),
        ("slower", report(TIMEOUT / 2 + Duration::from_micros(1)), true),
        (
            "no answer",
            failed(Query::Link, QueryResult::DeadlineExceeded, Health::Serving),
            true,
        ),
        (
            "invalid",
            failed(Query::Admin, QueryResult::InvalidReply, Health::Serving),
            true,
        ),
        (
            "empty",
            failed(Query::Admin, QueryResult::EmptyReply, Health::Serving),
            false,
        ),
        (
            "no health service",
            failed(Query::Health, QueryResult::Unimplemented, Health::Unimplemented),
            false,
        ),
        ("standby now", changed(MuxDirection::Standby), true),
    ] {
        let mut rig = Rig::new(TraceRule::Failed);
        rig.connect();
        // Its health is what it was before.
        let before = Report {
            health: report.health,
            ..self::report(FAST)
        };
        rig.event(round(before));
        rig.traces.take();
        rig.event(round(report));
        assert_eq!(!rig.traces.take().is_empty(), kept, "{what}");
    }
}

#[test]
fn a_first_dial_that_succeeds_is_kept_by_all_only() {
    let mut rig = Rig::new(TraceRule::Failed);
    rig.connect();
    assert_eq!(rig.dials(), []);
    let mut rig = Rig::new(TraceRule::Share(1.0));
    rig.connect();
    assert_eq!(rig.dials(), [(at(1), at(3), None, 2)]);
}

#[test]
fn each_failed_dial_is_one_trace_with_its_cause() {
    let mut rig = Rig::new(TraceRule::Failed);
    rig.dialing();
    rig.state(ChannelState::Connecting, None, 0);
    rig.failed(Cause::Refused);
    // The change of the state comes after the failure, and belongs to it.
    rig.state(ChannelState::TransientFailure, Some(Cause::Refused), 0);
    assert_eq!(rig.dials(), [(at(1), at(3), Some(Cause::Refused), 2)]);
    rig.dialing();
    rig.failed(Cause::ConnectTimeout);
    assert_eq!(rig.dials(), [(at(5), at(6), Some(Cause::ConnectTimeout), 0)]);
}

#[test]
fn a_loss_is_part_of_the_dial_after_it() {
    let mut rig = Rig::new(TraceRule::Failed);
    rig.connect();
    rig.failed(Cause::Reset);
    rig.state(ChannelState::TransientFailure, Some(Cause::Reset), 1);
    assert_eq!(rig.dials(), []);
    rig.dialing();
    rig.state(ChannelState::Ready, None, 2);
    assert_eq!(rig.dials(), [(at(6), at(7), None, 2)]);
}

#[test]
fn a_session_that_ends_takes_its_dial_along() {
    let mut rig = Rig::new(TraceRule::Share(1.0));
    rig.dialing();
    let id = rig.status.target.id.clone();
    rig.recorder.forget(&id);
    assert!(rig.recorder.dials.is_empty());
    rig.dialing();
    assert_eq!(rig.dials(), []);
}

#[test]
fn events_name_the_trace_in_which_they_happened_if_it_is_kept() {
    let mut rig = Rig::new(TraceRule::Failed);
    rig.connect();
    // Nobody keeps the trace of a good first dial.
    let first: Vec<_> = rig.events.take().into_iter().map(|event| event.trace).collect();
    assert_eq!(first, [None, None]);
    rig.failed(Cause::Reset);
    rig.state(ChannelState::TransientFailure, Some(Cause::Reset), 1);
    rig.dialing();
    rig.state(ChannelState::Ready, None, 2);
    let events = rig.events.take();
    let trace = rig.traces.take().first().map(|kept| kept.trace);
    assert!(trace.is_some());
    assert_eq!(
        events.iter().map(|event| event.trace).collect::<Vec<_>>(),
        [trace, trace]
    );
    let Happening::Change(transition) = &events[0].what else {
        panic!("{events:?}");
    };
    assert_eq!(transition.detail.as_deref(), Some("why"));
}

#[test]
fn a_notice_is_an_event() {
    let mut rig = Rig::new(TraceRule::Failed);
    let notice = Notice {
        kind: NoticeType::Begin,
        plane: Plane::Both,
        guid: "7".into(),
        period: 60,
    };
    rig.event(Event::Maintenance(MaintenanceReport {
        state: crate::model::Maintenance::InProgress,
        ends_in: None,
        notices: Some(Box::new(Notices {
            last: Some(notice.clone()),
            ..Notices::default()
        })),
    }));
    let happened: Vec<_> = rig.events.take().into_iter().map(|event| event.what).collect();
    assert_eq!(happened[0], Happening::Notice(notice));
    assert!(matches!(happened[1], Happening::Change(_)));
}
