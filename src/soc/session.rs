//! The driver of one target: one task that owns its channel, its rounds and its streams, and turns what they return into events.
//! It decides only *when* to probe (`schedule`, pure). What is asked is its module's: the SoC's queries are the first of them.
//!
//! Every wait in `run`'s select is cancel-safe: the channel and the streams keep their progress in themselves, and the round is
//! a task of its own. It is one because it and the connection wake each other: a task that wakes itself costs tokio a thread's
//! wake-up (docs/performance.md). Aborting the session aborts its round and closes its connection.
//!
//! Imports `model` and `runtime`; in `soc` `channel`, `module`, `probe` and `transport`.

mod pulse;
mod schedule;

use std::future::poll_fn;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use crate::model::{
    ChannelEvent, ChannelState, Event, ModuleJob, Peer, ProbeSettings, RoundReason, Target, TraceRule,
};
use crate::runtime::defect::{Defect, caught};
use crate::soc::channel::{Channel, DialLimiter, Signal, TlsStore};
use crate::soc::module::{Module, ModuleSignal};
use crate::soc::probe::{Ready, RoundLimiter};
use crate::soc::transport::OutgoingError;
use pulse::PulsePlace;
pub use pulse::{Doing, Pulses};
use schedule::Schedule;

/// Distinguishes the events of this session from those of an earlier session of the same port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// What all sessions share.
#[derive(Debug, Clone)]
pub struct Context {
    /// Where events go.
    pub events: mpsc::Sender<(SessionId, Event)>,
    /// The interval and timeout of rounds. They may change while the session runs.
    pub probe: watch::Receiver<ProbeSettings>,
    /// Spreads the dials, over all SoCs.
    pub dials: Arc<DialLimiter>,
    /// The TLS files, over all SoCs.
    pub tls: Arc<TlsStore>,
    /// Limits how many rounds run at the same time, over all SoCs.
    pub rounds: Arc<RoundLimiter>,
    /// What each session is doing, for who asks.
    pub pulses: Arc<Pulses>,
    /// Of which rounds the SoCs are told the trace (`otel.propagate`); `None`: of none.
    pub propagate: Option<TraceRule>,
    /// The moment from which all schedules count, so that the SoCs stay spread over the interval.
    pub origin: Instant,
}

/// One target's session.
pub struct Session {
    id: SessionId,
    // Of the context only what it needs after its start: it is small.
    events: mpsc::Sender<(SessionId, Event)>,
    probe: watch::Receiver<ProbeSettings>,
    rounds: Arc<RoundLimiter>,
    propagate: Option<TraceRule>,
    channel: Channel,
    module: Module,
    pulse: PulsePlace,
    schedule: Schedule,
    /// When the last round was due, or the session began.
    last: Instant,
    /// When the next round is due.
    due: Instant,
    /// Whether the first dial has begun. Before that the SoC cannot be blamed for not being READY.
    dialled: bool,
    ready: Option<Ready>,
    round: Option<AbortOnDropHandle<Result<Event, Defect>>>,
    /// When the current round, or the last one, began.
    began: Instant,
    /// Why the current round, or the last one, began.
    reason: RoundReason,
    /// A round became due while another was running, for this reason.
    again: Option<RoundReason>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

/// A running session. It should never end. If it does, it returns the defect.
pub type Running = Pin<Box<dyn Future<Output = Defect> + Send>>;

/// Starts a session for `target`, which has refused our PINGs `refusals` times before. Its first dial is due when it is first
/// polled.
pub fn start(
    id: SessionId,
    target: watch::Receiver<Target>,
    refusals: u32,
    context: Context,
) -> Result<Running, OutgoingError> {
    let mut session = Session::new(id, target, refusals, context)?;
    // `run` borrows it: a future that took it would hold it twice, a kB for each SoC.
    Ok(Box::pin(async move { session.run().await }))
}

/// The same for a target of a module. A round starts at once with each message of `now`, unless one is under way.
pub fn start_module(
    id: SessionId,
    job: watch::Receiver<Arc<ModuleJob>>,
    now: mpsc::Receiver<()>,
    refusals: u32,
    context: Context,
) -> Result<Running, OutgoingError> {
    let first = job.borrow().clone();
    let module = Module::of_job(job, now);
    let mut session = Session::of(id, (&first.id(), first.peer()), module, refusals, context)?;
    Ok(Box::pin(async move { session.run().await }))
}

impl Session {
    /// A session for `target` that has not begun.
    pub fn new(
        id: SessionId,
        target: watch::Receiver<Target>,
        refusals: u32,
        context: Context,
    ) -> Result<Self, OutgoingError> {
        let first = target.borrow().clone();
        let module = Module::of_soc(target);
        Self::of(id, (&first.id, Peer::from(&first)), module, refusals, context)
    }

    fn of(
        id: SessionId,
        (name, peer): (&impl Hash, Peer),
        module: Module,
        refusals: u32,
        context: Context,
    ) -> Result<Self, OutgoingError> {
        let interval = context.probe.borrow().interval;
        let schedule = Schedule::new(name, context.origin.into_std(), interval);
        let now = Instant::now();
        let channel = Channel::new(peer, context.dials.clone(), &context.tls)?;
        let mut channel = channel.refused_before(refusals);
        channel.rounds_every(interval);
        Ok(Self {
            id,
            pulse: context.pulses.begin(name, now),
            module,
            channel,
            due: Instant::from_std(schedule.after_start(now.into_std())),
            last: now,
            schedule,
            events: context.events,
            probe: context.probe,
            rounds: context.rounds,
            propagate: context.propagate,
            dialled: false,
            ready: None,
            round: None,
            began: now,
            reason: RoundReason::Interval,
            again: None,
        })
    }

    /// Runs until it is dropped. Only a defect ends it. A defect of a SoC's round ends the session too: without that round, the
    /// results of the one before would stay as if they were true. A defect of another module's round is the result of that round.
    async fn run(&mut self) -> Defect {
        loop {
            self.pulse.beat(self.due, self.round.as_ref().map(|_| self.began));
            let event = tokio::select! {
                biased;
                signal = self.channel.next() => Some(self.on_signal(signal)),
                ended = poll_fn(|cx| under_way(&mut self.round, cx)) => match ended {
                    Ok(report) => Some(self.on_report(report)),
                    Err(defect) => match self.module.survive(&defect, self.ready.as_ref()) {
                        Some(report) => Some(self.on_report(report)),
                        None => return defect,
                    },
                },
                signal = self.module.next() => self.on_module(signal),
                () = sleep_until(self.due) => {
                    self.due = Instant::from_std(self.schedule.after(Instant::now().into_std()));
                    if self.dialled {
                        self.start_round(RoundReason::Interval);
                    }
                    None
                }
                Ok(()) = self.probe.changed() => {
                    let interval = self.probe.borrow_and_update().interval;
                    self.schedule.set_interval(interval);
                    self.channel.rounds_every(interval);
                    let (last, now) = (self.last.into_std(), Instant::now().into_std());
                    self.due = self.schedule.after_change(last, now).into();
                    None
                }
            };
            if let Some(event) = event
                && self.events.send((self.id, event)).await.is_err()
            {
                return Defect::new("the fleet has ended");
            }
        }
    }

    fn on_module(&mut self, signal: ModuleSignal) -> Option<Event> {
        match signal {
            ModuleSignal::Event(event) => return Some(event),
            ModuleSignal::Adopt { channel, ask } => {
                if ask {
                    self.start_round(RoundReason::Side);
                }
                self.channel.adopt(channel);
            }
            ModuleSignal::AskNow => {
                if self.round.is_none() {
                    // The reason is for traces, which are kept of SoCs only.
                    self.start_round(RoundReason::Interval);
                }
            }
        }
        None
    }

    fn on_signal(&mut self, Signal { event, transport }: Signal) -> Event {
        self.dialled |= event == ChannelEvent::Dialing;
        if let ChannelEvent::State { to, epoch, .. } = event {
            self.ready = transport.map(|transport| Ready { epoch, transport });
            match &self.ready {
                Some(ready) => {
                    self.pulse.connected(ready.transport.open_rpcs());
                    debug_assert_eq!(to, ChannelState::Ready);
                    self.module.attach(&ready.transport);
                    self.due = Instant::from_std(self.schedule.after_start(Instant::now().into_std()));
                    self.start_round(RoundReason::Ready);
                }
                None => self.module.detach(),
            }
        }
        Event::Channel(event)
    }

    fn on_report(&mut self, report: Event) -> Event {
        self.round = None;
        let event = self.module.finish(report, self.began, self.reason);
        if let Some(reason) = self.again.take() {
            self.start_round(reason);
        }
        self.module.round_ended();
        event
    }

    fn start_round(&mut self, reason: RoundReason) {
        self.last = Instant::now();
        if self.round.is_some() {
            self.again = Some(reason);
            return;
        }
        self.reason = reason;
        self.began = self.last;
        self.channel.round_begins();
        let settings: ProbeSettings = *self.probe.borrow();
        let limiter = self.rounds.clone();
        let trace = self.propagate;
        let trace = trace.and_then(|rule| rule.sampled(fastrand::u128(..)));
        let ready = self.ready.clone().map(|ready| ready.traced(trace));
        let round = self.module.round(ready, settings, limiter);
        self.round = Some(AbortOnDropHandle::new(tokio::spawn(caught(round))));
    }
}

/// The end of the round, if one is under way. Not an async function: that would hold a report in each resting session.
fn under_way(
    round: &mut Option<AbortOnDropHandle<Result<Event, Defect>>>,
    cx: &mut task::Context<'_>,
) -> Poll<Result<Event, Defect>> {
    let Some(task) = round else {
        return Poll::Pending;
    };
    match ready!(Pin::new(task).poll(cx)) {
        Ok(ended) => Poll::Ready(ended),
        Err(error) => {
            *round = None;
            // Without a defect the runtime is shutting down.
            Defect::of_task(error).map_or(Poll::Pending, |defect| Poll::Ready(Err(defect)))
        }
    }
}

#[cfg(test)]
impl Context {
    /// The context of one session, or of one fleet, in a test. `probe` stays as it is.
    pub(crate) fn alone(events: mpsc::Sender<(SessionId, Event)>, probe: ProbeSettings) -> Self {
        Self {
            events,
            probe: watch::channel(probe).1,
            dials: Arc::default(),
            tls: Arc::default(),
            rounds: Arc::default(),
            pulses: Arc::default(),
            propagate: None,
            origin: Instant::now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dualtor_sim::{Scenario, Simulator};
    use tokio::time::timeout;

    use super::*;
    use crate::model::{
        ChannelSettings, Endpoint, Health, HealthCheck, ModuleEvent, ModuleKind, ModuleReport, ModuleSpec,
        ModuleTarget, Port, ProbeResult, Side,
    };
    use crate::soc::module::ModuleRound;

    /// Health of the server at this address, asked 20 times a second.
    fn job(simulator: &Simulator) -> Arc<ModuleJob> {
        let address = simulator.socs()[0].address();
        let check = HealthCheck {
            services: vec!["".into()],
            healthy: vec![Health::Serving],
            watch: false,
        };
        let target = Arc::new(ModuleTarget {
            name: "t".into(),
            address: address.to_string().into(),
            endpoint: Endpoint::Ip(address),
            labels: Vec::new(),
        });
        let spec = ModuleSpec {
            name: "m".into(),
            kind: ModuleKind::GrpcHealth(check),
            probe: ProbeSettings {
                interval: Duration::from_millis(50),
                timeout: Duration::from_secs(30),
            },
            channel: Arc::new(ChannelSettings::default()),
            metadata: Vec::new(),
            targets: vec![target.clone()],
        };
        Arc::new(ModuleJob {
            spec: Arc::new(spec),
            target,
        })
    }

    /// The next report of a round.
    async fn report(heard: &mut mpsc::Receiver<(SessionId, Event)>) -> ModuleReport {
        let reported = async {
            loop {
                let (_, event) = heard.recv().await.expect("a session");
                if let Event::Module(event) = event
                    && let ModuleEvent::Round(report) = *event
                {
                    return report;
                }
            }
        };
        timeout(Duration::from_secs(60), reported).await.expect("a round")
    }

    #[tokio::test]
    async fn a_panic_in_a_modules_round_is_the_result_of_that_round_and_the_next_one_is_as_ever() {
        let simulator = Simulator::start(Scenario::uniform(1)).await.expect("a SoC");
        let job = job(&simulator);
        let (events, mut heard) = mpsc::channel(16);
        let context = Context::alone(events, job.spec.probe);
        let ((_job, jobs), (_now, now)) = (watch::channel(job.clone()), mpsc::channel(1));
        let module = Module::of_job(jobs, now);
        let mut session =
            Session::of(SessionId(1), (&job.id(), job.peer()), module, 0, context).expect("a session");
        // As `start_round` starts a round, but with one that panics.
        let panics: ModuleRound = Box::pin(async { panic!("in a round") });
        session.round = Some(AbortOnDropHandle::new(tokio::spawn(caught(panics))));
        let running = tokio::spawn(async move { session.run().await });
        let first = report(&mut heard).await;
        assert_eq!((first.result, first.success), (ProbeResult::Internal, false));
        let detail = first.detail.expect("a text");
        assert!(
            detail.starts_with("a defect of this program, please report it: in a round"),
            "{detail}"
        );
        while report(&mut heard).await.result != ProbeResult::Ok {}
        assert!(!running.is_finished());
        running.abort();
    }

    /// docs/performance.md says what a SoC takes. One process keeps ten thousand of these.
    #[tokio::test]
    async fn a_session_at_rest_takes_at_most_two_and_a_half_kilobytes() {
        let (events, _events) = mpsc::channel(1);
        let context = Context::alone(events, ProbeSettings::default());
        let target = Target {
            id: Port::new("Ethernet0").expect("a port").into(),
            namespace: "".into(),
            address: ([127, 0, 0, 1], 50075).into(),
            side: Side::Upper,
            channel: Arc::new(ChannelSettings::default()),
        };
        let (_target, target) = watch::channel(target);
        let session = start(SessionId(1), target, 0, context).expect("a session");
        assert!(size_of_val(&*session) <= 2560, "{}", size_of_val(&*session));
    }
}
