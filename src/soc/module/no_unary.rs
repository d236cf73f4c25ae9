//! In place of `grpc_unary` in a program that was built without it. The configuration refuses such modules before.

use std::sync::Arc;

use super::job_changes::JobChanges;
use super::{ModuleRound, ModuleSignal};
use crate::model::{Event, ModuleEvent, ModuleReport, ProbeResult, ProbeSettings};
use crate::soc::probe::{Ready, RoundLimiter};

#[derive(Debug)]
pub(in crate::soc) struct NoUnary(JobChanges);

impl NoUnary {
    pub(super) fn new(changes: JobChanges) -> Self {
        Self(changes)
    }

    pub(super) fn keep_reply(&mut self) {}

    pub(super) fn round(&self, ready: Option<Ready>, _: ProbeSettings, _: Arc<RoundLimiter>) -> ModuleRound {
        let epoch = ready.map(|ready| ready.epoch);
        let why = "this program was built without grpc_unary";
        let report = ModuleReport::failed(epoch, ProbeResult::NoSchema, Some(why.into()));
        Box::pin(async move { Event::Module(Box::new(ModuleEvent::Round(report))) })
    }

    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> ModuleSignal {
        self.0.next().await
    }
}
