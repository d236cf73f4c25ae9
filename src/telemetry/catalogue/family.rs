//! One metric of the catalogue: its name, type and labels, and where its samples come from.

use std::fmt;
use std::ops::Range;

use crate::model::{ModuleStatus, PortFacts, SocStatus, SocView, View};
use crate::telemetry::samples::{Samples, Sink};

/// A metric's type, as Prometheus names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only goes up; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// `_bucket`, `_sum` and `_count`.
    Histogram,
}

impl MetricKind {
    /// "counter", "gauge" or "histogram".
    pub const fn label(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// Full name, with `_total`.
    pub name: &'static str,
    /// Its type.
    pub kind: MetricKind,
    /// Its labels, comma-separated.
    pub labels: &'static str,
    /// One sentence, with the unit.
    pub help: &'static str,
    pub(super) origin: MetricOrigin,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum MetricOrigin {
    /// The same samples for each SoC.
    Soc(fn(&SocStatus, &mut Samples<'_>) -> fmt::Result),
    /// The same samples for each SoC, which also need the switch's data about its port. No samples if no database is used.
    Switch(fn(&SocStatus, &PortFacts, &mut Samples<'_>) -> fmt::Result),
    /// The same samples for each port, from its view.
    Port(fn(&SocView, &mut Samples<'_>) -> fmt::Result),
    /// The same samples for each target of a module.
    Module(fn(&ModuleStatus, &mut Samples<'_>) -> fmt::Result),
    /// Samples of the whole exporter.
    Global(fn(&View, &mut Samples<'_>) -> fmt::Result),
}

impl Family {
    /// Whether it has samples for each SoC.
    pub(in crate::telemetry) fn is_per_soc(&self) -> bool {
        !matches!(self.origin, MetricOrigin::Global(_) | MetricOrigin::Module(_))
    }

    /// Writes its samples for some of the view's SoCs; those of the whole exporter and of the modules whatever `socs` is.
    pub(in crate::telemetry) fn write(
        &self,
        view: &View,
        socs: Range<usize>,
        sink: &mut dyn Sink,
    ) -> fmt::Result {
        let mut samples = Samples { sink, rack: None };
        if let MetricOrigin::Global(source) = self.origin {
            return source(view, &mut samples);
        }
        if let MetricOrigin::Module(source) = self.origin {
            let mut targets = view.module_targets.iter();
            return targets.try_for_each(|target| source(target, &mut samples));
        }
        for soc in view.socs.get(socs).unwrap_or_default() {
            samples.rack = soc.status.target.id.rack.name();
            match (self.origin, &soc.facts) {
                (MetricOrigin::Soc(source), _) => source(&soc.status, &mut samples)?,
                (MetricOrigin::Port(source), _) => source(soc, &mut samples)?,
                (MetricOrigin::Switch(source), Some(facts)) => source(&soc.status, facts, &mut samples)?,
                (MetricOrigin::Switch(_), None) | (MetricOrigin::Global(_) | MetricOrigin::Module(_), _) => {}
            }
        }
        Ok(())
    }
}
