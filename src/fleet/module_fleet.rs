//! Starts and stops the sessions of probe modules, and owns the table of their `ModuleStatus`. The fleet of the SoCs knows nothing of
//! it: this one has its own task, queue of events and dial limiter, so that no module target, however many hang, delays a SoC.
//!
//! In: `watch` of the modules, events of all sessions, questions (a snapshot; a round now). Out: snapshots. It waits only in its own
//! `select!`.
//!
//! A session that ends by itself has a defect: its target leaves READY at once, and a new session starts with another id.
//!
//! Imports `model`, `runtime` and `soc`; in `fleet` `handle`.

mod module_handle;
mod module_log;
mod watched_target;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, sleep};

use crate::model::{Event, ModuleEvent, ModuleId, ModuleJob, ModuleSpec, ModuleStatus, ProbeSettings};
use crate::runtime::defect::{Defect, Restarts, attempt, caught};
use crate::soc::channel::{DialLimiter, TlsStore};
use crate::soc::probe::RoundLimiter;
use crate::soc::session::{self, Context, Pulses, SessionId};
pub use module_handle::ModulesHandle;
use module_handle::{ModuleQuestion, QUESTIONS};
use watched_target::WatchedTarget;

/// Length of the queue of events. When it is full, sessions of modules wait.
const EVENTS: usize = 1024;
/// A round is not repeated for someone who asks within this time.
const FRESH: Duration = Duration::from_secs(1);

/// The modules that are configured.
pub type Modules = Arc<[Arc<ModuleSpec>]>;

/// See the module's documentation.
pub struct ModuleFleet {
    modules: watch::Receiver<Modules>,
    context: Context,
    events: mpsc::Receiver<(SessionId, Event)>,
    /// Reports that targets came or went, or that one serves or no longer does.
    serving: watch::Sender<()>,
    sessions: JoinSet<(SessionId, Defect)>,
    questions: mpsc::Receiver<ModuleQuestion>,
    entries: HashMap<SessionId, WatchedTarget>,
    by_id: BTreeMap<ModuleId, SessionId>,
    next_id: u64,
}

impl std::fmt::Debug for ModuleFleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModuleFleet")
            .field("targets", &self.by_id.len())
            .finish_non_exhaustive()
    }
}

impl ModuleFleet {
    /// A fleet that does not run yet. `rounds` is the limiter of the SoCs' rounds, `pulses` the table of their sessions; `serving`
    /// is that of their changes.
    pub fn new(
        modules: watch::Receiver<Modules>,
        (rounds, pulses): (Arc<RoundLimiter>, Arc<Pulses>),
        tls: Arc<TlsStore>,
        serving: watch::Sender<()>,
    ) -> (Self, ModulesHandle) {
        let (questions_tx, questions) = mpsc::channel(QUESTIONS);
        let (events_tx, events) = mpsc::channel(EVENTS);
        let context = Context {
            events: events_tx,
            // Each session has its module's.
            probe: watch::channel(ProbeSettings::default()).1,
            dials: Arc::new(DialLimiter::default()),
            tls,
            rounds,
            pulses,
            propagate: None,
            origin: Instant::now(),
        };
        let fleet = Self {
            modules,
            context,
            events,
            serving,
            sessions: JoinSet::new(),
            questions,
            entries: HashMap::new(),
            by_id: BTreeMap::new(),
            next_id: 0,
        };
        (fleet, ModulesHandle::new(questions_tx))
    }

    /// Runs until `stop`, or until no one can ask any more. Dropping it ends all sessions.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) -> Result<(), Defect> {
        caught(Box::pin(self.serve(stop))).await
    }

    async fn serve(&mut self, stop: impl Future<Output = ()> + Send) {
        tokio::pin!(stop);
        self.adopt();
        // Biased, rarest first, and every arm is cancel-safe, as in the fleet of the SoCs.
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                Ok(()) = self.modules.changed() => self.adopt(),
                Some(question) = self.questions.recv() => self.answer(question),
                Some(ended) = self.sessions.join_next() => self.on_end(ended),
                Some((id, event)) = self.events.recv() => {
                    // A panic over one target's event ends only that target's session.
                    if let Err(defect) = attempt(|| self.on_event(id, &event)) {
                        self.on_end(Ok((id, defect)));
                    }
                }
            }
        }
    }

    fn on_event(&mut self, id: SessionId, event: &Event) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let (before, served) = (entry.status.asked.recent.back().cloned(), entry.status.serving());
        let now = SystemTime::now();
        let changed = entry.change(|status| status.apply(event, now));
        if entry.status.serving() != served {
            self.serving.send_replace(());
        }
        if let Some(transition) = changed {
            module_log::transition(&entry.status, &transition);
        }
        if let Event::Module(event) = event
            && let ModuleEvent::Round(_) = &**event
        {
            module_log::round(&entry.status, before.as_ref());
            entry.round_ended = Some(Instant::now());
            for waiting in entry.waiting.drain(..) {
                // The one who asked may be gone.
                let _ = waiting.send(Some(entry.status.clone()));
            }
        }
    }

    fn on_end(&mut self, ended: Result<(SessionId, Defect), JoinError>) {
        // A `JoinError` needs no action: a session catches its own panics, and an aborted session is already out of the table.
        let Some((id, defect)) = ended.ok() else { return };
        let Some(mut entry) = self.entries.remove(&id) else {
            return;
        };
        entry.task.abort();
        let wait = entry.restarts.wait(entry.began.elapsed());
        module_log::session_lost(&entry.status, &defect, wait);
        let why = format!("a defect: {defect}");
        let changed = entry.change(|status| status.lose_session(&why, SystemTime::now()));
        self.serving.send_replace(());
        if let Some(transition) = changed {
            module_log::transition(&entry.status, &transition);
        }
        let anew = self.new_session();
        let (now, asked) = mpsc::channel(1);
        let (job, refusals) = (entry.job.subscribe(), entry.status.channel.ping_refusals);
        entry.task = self.spawn(anew, (job, asked), entry.probe.subscribe(), refusals, wait);
        entry.now = now;
        entry.began = Instant::now() + wait;
        self.by_id.insert(entry.status.id(), anew);
        self.entries.insert(anew, entry);
    }

    fn new_session(&mut self) -> SessionId {
        self.next_id += 1;
        SessionId(self.next_id)
    }

    /// Starts a session after `wait`. Any end of it is reported as its defect.
    fn spawn(
        &mut self,
        id: SessionId,
        (job, now): (watch::Receiver<Arc<ModuleJob>>, mpsc::Receiver<()>),
        probe: watch::Receiver<ProbeSettings>,
        refusals: u32,
        wait: Duration,
    ) -> AbortHandle {
        let context = Context {
            probe,
            ..self.context.clone()
        };
        self.sessions.spawn(async move {
            if !wait.is_zero() {
                sleep(wait).await;
            }
            let started = attempt(|| session::start_module(id, job, now, refusals, context));
            let defect = match started {
                Ok(Ok(running)) => caught(running).await.unwrap_or_else(|defect| defect),
                // Not expected: the configuration has been checked for this.
                Ok(Err(error)) => Defect::new(format_args!("it cannot be probed: {error}")),
                Err(defect) => defect,
            };
            (id, defect)
        })
    }

    /// Starts, stops and changes sessions to match the configuration. A session whose job is unchanged is not touched.
    fn adopt(&mut self) {
        let modules = self.modules.borrow_and_update().clone();
        let jobs = modules.iter().flat_map(ModuleSpec::jobs);
        let wanted: BTreeMap<ModuleId, Arc<ModuleJob>> = jobs.map(|job| (job.id(), job)).collect();
        let gone: Vec<ModuleId> = self
            .by_id
            .keys()
            .filter(|id| !wanted.contains_key(*id))
            .cloned()
            .collect();
        let (mut added, mut changed, removed) = (0, 0, gone.len());
        for id in gone {
            self.take_out(&id);
        }
        for (id, job) in wanted {
            let running = self
                .by_id
                .get(&id)
                .and_then(|session| self.entries.get_mut(session));
            match running {
                Some(entry) if *entry.status.job == *job => {}
                Some(entry) if entry.status.job.is_alike(&job) => {
                    changed += 1;
                    entry.change(|status| status.adopt(job.clone()));
                    let probe = job.spec.probe;
                    entry.job.send_replace(job);
                    entry
                        .probe
                        .send_if_modified(|known| std::mem::replace(known, probe) != probe);
                }
                Some(_) => {
                    changed += 1;
                    self.put_in(id, job);
                }
                None => {
                    added += 1;
                    self.put_in(id, job);
                }
            }
        }
        self.context.rounds.modules(self.by_id.len());
        if added + changed + removed > 0 {
            self.serving.send_replace(());
            module_log::adopted(modules.len(), added, changed, removed, self.by_id.len());
        }
    }

    fn take_out(&mut self, id: &ModuleId) -> Option<WatchedTarget> {
        let mut entry = self.entries.remove(&self.by_id.remove(id)?)?;
        entry.task.abort();
        let changed = entry.change(|status| status.stop(SystemTime::now()));
        if let Some(transition) = changed {
            module_log::transition(&entry.status, &transition);
        }
        for waiting in entry.waiting.drain(..) {
            let _ = waiting.send(None);
        }
        Some(entry)
    }

    fn put_in(&mut self, id: ModuleId, job: Arc<ModuleJob>) {
        let status = match self.take_out(&id) {
            Some(old) => {
                let mut status = old.status;
                Arc::make_mut(&mut status).retarget(job.clone());
                status
            }
            None => Arc::new(ModuleStatus::new(job.clone())),
        };
        let session = self.new_session();
        let (probe, settings) = watch::channel(job.spec.probe);
        let (job, jobs) = watch::channel(job);
        let (now, asked) = mpsc::channel(1);
        let task = self.spawn(session, (jobs, asked), settings, 0, Duration::ZERO);
        self.by_id.insert(id, session);
        let entry = WatchedTarget {
            status,
            job,
            probe,
            now,
            task,
            began: Instant::now(),
            restarts: Restarts::default(),
            round_ended: None,
            waiting: Vec::new(),
        };
        self.entries.insert(session, entry);
    }

    fn answer(&mut self, question: ModuleQuestion) {
        // The one who asked may be gone: then the reply is dropped.
        match question {
            ModuleQuestion::Snapshot(reply) => {
                let entries = self
                    .by_id
                    .values()
                    .filter_map(|session| self.entries.get(session));
                let _ = reply.send(entries.map(|entry| entry.status.clone()).collect());
            }
            ModuleQuestion::Probe(id, reply) => {
                let running = self
                    .by_id
                    .get(&id)
                    .and_then(|session| self.entries.get_mut(session));
                let Some(entry) = running else {
                    let _ = reply.send(None);
                    return;
                };
                if entry.round_ended.is_some_and(|ended| ended.elapsed() < FRESH) {
                    let _ = reply.send(Some(entry.status.clone()));
                    return;
                }
                // Full: the session has not taken the last request yet, and one round serves both.
                let _ = entry.now.try_send(());
                entry.waiting.retain(|waiting| !waiting.is_closed());
                entry.waiting.push(reply);
            }
        }
    }
}
