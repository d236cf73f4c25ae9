//! In place of `grpc_unary` in a program that was built without it. The configuration refuses such modules before.

use std::future::ready;
use std::sync::Arc;

use super::job_changes::JobChanges;
use super::module_round::round_of;
use super::{ModuleRound, ModuleSignal};
use crate::model::{ModuleReport, ProbeResult, ProbeSettings};
use crate::soc::probe::{Ready, RoundLimiter};

#[derive(Debug)]
pub(in crate::soc) struct NoUnary(JobChanges);

impl NoUnary {
    pub(super) fn new(changes: JobChanges) -> Self {
        Self(changes)
    }

    pub(super) fn keep_reply(&mut self) {}

    pub(super) fn round(
        &self,
        channel: Option<Ready>,
        _: ProbeSettings,
        _: Arc<RoundLimiter>,
    ) -> ModuleRound {
        let epoch = channel.map(|ready| ready.epoch);
        let why = "this program was built without grpc_unary";
        let report = ModuleReport::failed(epoch, ProbeResult::NoSchema, Some(why.into()));
        round_of(ready(report))
    }

    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> ModuleSignal {
        self.0.next().await
    }
}
