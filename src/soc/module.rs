//! What is asked on a channel. The set is closed, one file a module; the session drives all of them in the same way.
//!
//! A module owns its streams, starts its rounds, and says when its target has changed. It never sees the channel: the session gives
//! it a transport while the channel is READY.
//!
//! Imports `model`, `runtime` and `unary`; in `soc` `probe` and `transport`.
//!
//! | file | job |
//! |---|---|
//! | dual_tor | a SoC: the queries of DualToRActive, its notices, its health |
//! | grpc_health | grpc.health.v1, for any service |
//! | grpc_unary | any unary method, by its schema |
//! | reflection | a schema from the server itself |
//! | module_round | what the rounds of all probe modules have in common |
//! | service_info | the versions of interfaces that a server of grpc-helper reports |
//! | gribi | the entries of a switch's routing tables |
//! | job_changes | what the fleet tells a session of a probe module |

mod dual_tor;
mod gribi;
mod grpc_health;
#[cfg(feature = "unary")]
mod grpc_unary;
mod job_changes;
mod module_round;
#[cfg(not(feature = "unary"))]
mod no_unary;
#[cfg(feature = "unary")]
mod reflection;
mod service_info;

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::model::{
    ChannelSettings, Event, ModuleEvent, ModuleJob, ModuleKind, ModuleReport, ProbeResult, ProbeSettings,
    RoundReason, Target,
};
use crate::runtime::defect::Defect;
use crate::soc::probe::{Ready, RoundLimiter};
use crate::soc::transport::Transport;
use dual_tor::DualTor;
use gribi::Gribi;
use grpc_health::GrpcHealth;
#[cfg(feature = "unary")]
use grpc_unary::GrpcUnary;
use job_changes::JobChanges;
#[cfg(not(feature = "unary"))]
use no_unary::NoUnary as GrpcUnary;
use service_info::ServiceInfo;

/// A running round. It ends with its report. Boxed: five queries take about 8 kB while they run, which an idle session need not
/// hold.
pub(super) type ModuleRound = Pin<Box<dyn Future<Output = Event> + Send>>;

/// What a module wants between rounds.
#[derive(Debug)]
pub(super) enum ModuleSignal {
    /// The fleet must know this.
    Event(Event),
    /// The target has changed: these settings are for the next dial. `ask`: a round must start now.
    Adopt {
        channel: Arc<ChannelSettings>,
        ask: bool,
    },
    /// A round must start now, unless one is under way.
    AskNow,
}

/// See the module's documentation. The modules for SoCs are many, so they stand here; the others are boxed, so that they make no
/// SoC's session larger.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub(super) enum Module {
    DualTor(DualTor),
    GrpcHealth(Box<GrpcHealth>),
    GrpcUnary(Box<GrpcUnary>),
    ServiceInfo(Box<ServiceInfo>),
    Gribi(Box<Gribi>),
}

impl Module {
    pub(super) fn of_soc(target: watch::Receiver<Target>) -> Self {
        Self::DualTor(DualTor::new(target))
    }

    pub(super) fn of_job(job: watch::Receiver<Arc<ModuleJob>>, now: mpsc::Receiver<()>) -> Self {
        let first = job.borrow().clone();
        let changes = JobChanges::new(job, now);
        match &first.spec.kind {
            ModuleKind::GrpcHealth(check) => Self::GrpcHealth(Box::new(GrpcHealth::new(check, changes))),
            ModuleKind::GrpcUnary(_) => Self::GrpcUnary(Box::new(GrpcUnary::new(changes))),
            ModuleKind::ServiceInfo(_) => Self::ServiceInfo(Box::new(ServiceInfo::new(changes))),
            ModuleKind::Gribi(_) => Self::Gribi(Box::new(Gribi::new(changes))),
        }
    }

    /// Whole replies are kept from now on, for someone who asks once.
    pub(super) fn keep_reply(&mut self) {
        if let Self::GrpcUnary(module) = self {
            module.keep_reply();
        }
    }

    /// The channel is READY.
    pub(super) fn attach(&mut self, transport: &Transport) {
        match self {
            Self::DualTor(module) => module.attach(transport),
            Self::GrpcHealth(module) => module.attach(transport),
            Self::GrpcUnary(_) | Self::ServiceInfo(_) | Self::Gribi(_) => {}
        }
    }

    /// The channel is not READY any more.
    pub(super) fn detach(&mut self) {
        match self {
            Self::DualTor(module) => module.detach(),
            Self::GrpcHealth(module) => module.detach(),
            Self::GrpcUnary(_) | Self::ServiceInfo(_) | Self::Gribi(_) => {}
        }
    }

    /// Starts a round.
    pub(super) fn round(
        &self,
        ready: Option<Ready>,
        settings: ProbeSettings,
        limiter: Arc<RoundLimiter>,
    ) -> ModuleRound {
        match self {
            Self::DualTor(_) => dual_tor::round(ready, settings, limiter),
            Self::GrpcHealth(module) => module.round(ready, settings, limiter),
            Self::GrpcUnary(module) => module.round(ready, settings, limiter),
            Self::ServiceInfo(module) => module.round(ready, settings, limiter),
            Self::Gribi(module) => module.round(ready, settings, limiter),
        }
    }

    /// The report of a round that began at `began` for this reason, with what the peer has reported by itself since then.
    pub(super) fn finish(&self, report: Event, began: Instant, reason: RoundReason) -> Event {
        match (self, report) {
            (Self::DualTor(module), Event::Round(report)) => module.finish(report, began, reason),
            (Self::GrpcHealth(module), Event::Module(event)) => module.finish(event, began),
            (_, report) => report,
        }
    }

    /// A round has ended, and perhaps the next one has started.
    pub(super) fn round_ended(&mut self) {
        match self {
            Self::DualTor(module) => module.round_ended(),
            Self::GrpcHealth(module) => module.round_ended(),
            Self::GrpcUnary(_) | Self::ServiceInfo(_) | Self::Gribi(_) => {}
        }
    }

    /// The report of a round that ended by a defect. `None`: the session must end.
    pub(super) fn survive(&self, defect: &Defect, ready: Option<&Ready>) -> Option<Event> {
        match self {
            Self::DualTor(_) => None,
            Self::GrpcHealth(_) | Self::GrpcUnary(_) | Self::ServiceInfo(_) | Self::Gribi(_) => {
                let detail = format!("a defect of this program, please report it: {defect}");
                let epoch = ready.map(|ready| ready.epoch);
                let report = ModuleReport::failed(epoch, ProbeResult::Internal, Some(detail.into()));
                Some(Event::Module(Box::new(ModuleEvent::Round(report))))
            }
        }
    }

    /// The next thing that the module wants. Cancel-safe: everything it waits for is kept in the struct.
    pub(super) async fn next(&mut self) -> ModuleSignal {
        match self {
            Self::DualTor(module) => module.next().await,
            // Boxed, so that they make no SoC's session larger.
            Self::GrpcHealth(module) => Box::pin(module.next()).await,
            Self::GrpcUnary(module) => Box::pin(module.next()).await,
            Self::ServiceInfo(module) => Box::pin(module.next()).await,
            Self::Gribi(module) => Box::pin(module.next()).await,
        }
    }
}
