//! The exporter itself, and how many ports are in which state.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Time;
use super::service_rows::counts;
use super::service_selection::JudgedService;
use crate::model::{ChannelState, PortLevel, Problem, View};
use crate::web::exporter_problems::{self, ExporterProblem};

/// What `/api/v1/fleet` answers.
#[derive(Debug, Serialize)]
pub(super) struct FleetSummary<'a> {
    /// When the exporter made this answer.
    at: Time,
    #[serde(flatten)]
    rest: RestOfFleet<'a>,
}

/// All but the time of the answer.
#[derive(Debug, Serialize)]
pub(super) struct RestOfFleet<'a> {
    version: &'static str,
    revision: &'static str,
    started: Time,
    host: &'a str,
    side: &'static str,
    source: &'static str,
    probe: ProbeTimes,
    counts: FleetCounts,
    /// The targets of probe modules.
    services: ServiceCounts,
    /// The newest of all ports.
    last_success: Option<Time>,
    state_db: PublishState,
    config: ConfigState,
    inventory_problems: Vec<ProblemEntry<'a>>,
    /// What is wrong with the exporter itself.
    exporter_problems: Vec<ExporterProblem>,
}

#[derive(Debug, Serialize)]
struct ProbeTimes {
    interval: f64,
    timeout: f64,
}

#[derive(Debug, Serialize)]
struct FleetCounts {
    ports: usize,
    channel: BTreeMap<&'static str, usize>,
    level: BTreeMap<&'static str, usize>,
}

#[derive(Debug, Serialize)]
struct ServiceCounts {
    modules: usize,
    targets: usize,
    level: BTreeMap<&'static str, usize>,
}

#[derive(Debug, Serialize)]
struct PublishState {
    /// own, shadow or off.
    mode: &'static str,
    /// `None` where no rows are written.
    up: Option<bool>,
    last_write: Option<Time>,
    foreign_writes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct ConfigState {
    ok: bool,
    last_success: Time,
}

#[derive(Debug, Serialize)]
struct ProblemEntry<'a> {
    port: &'a str,
    reason: &'static str,
    text: &'a str,
}

impl<'a> FleetSummary<'a> {
    pub(super) fn of(view: &'a View) -> Self {
        let exporter = &view.exporter;
        let state_db = view.state_db;
        let problem = |problem: &'a Problem| ProblemEntry {
            port: &problem.port,
            reason: problem.kind.label(),
            text: &problem.text,
        };
        let rest = RestOfFleet {
            version: env!("CARGO_PKG_VERSION"),
            revision: env!("DUALTOR_REVISION"),
            started: Time(exporter.started),
            host: &exporter.host,
            side: view.side.label(),
            source: exporter.source.label(),
            probe: ProbeTimes {
                interval: exporter.probe.interval.as_secs_f64(),
                timeout: exporter.probe.timeout.as_secs_f64(),
            },
            counts: FleetCounts::of(view),
            services: ServiceCounts::of(view),
            last_success: view
                .socs
                .iter()
                .filter_map(|soc| soc.status.last_success)
                .max()
                .map(Time),
            state_db: PublishState {
                mode: exporter.publish,
                up: state_db.map(|db| db.up),
                last_write: state_db.and_then(|db| db.last_write).map(Time),
                foreign_writes: state_db.map(|db| db.foreign_writes),
            },
            config: ConfigState {
                ok: view.config.successful,
                last_success: Time(view.config.last_success),
            },
            inventory_problems: view.inventory.problems.iter().map(problem).collect(),
            exporter_problems: exporter_problems::of(view),
        };
        let at = Time(view.at);
        Self { at, rest }
    }

    /// To find out whether anything has changed but times: those always do, and who reads them knows that they go on.
    pub(super) fn without_times(mut self) -> RestOfFleet<'a> {
        self.rest.last_success = None;
        self.rest.state_db.last_write = None;
        self.rest
    }
}

impl ServiceCounts {
    fn of(view: &View) -> Self {
        let (targets, level) = counts(JudgedService::all(view));
        let modules = view.modules.len();
        Self {
            modules,
            targets,
            level,
        }
    }
}

impl FleetCounts {
    /// Every state and level is there, also with 0 ports.
    fn of(view: &View) -> Self {
        let mut channel: BTreeMap<_, _> = ChannelState::ALL.iter().map(|state| (state.label(), 0)).collect();
        let mut level: BTreeMap<_, _> = PortLevel::ALL.iter().map(|level| (level.label(), 0)).collect();
        for soc in &view.socs {
            *channel.entry(soc.status.channel.state.label()).or_default() += 1;
            *level.entry(soc.reason.level().label()).or_default() += 1;
        }
        let ports = view.socs.len();
        Self {
            ports,
            channel,
            level,
        }
    }
}
