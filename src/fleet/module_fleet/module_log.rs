//! What is logged about module targets: one line per transition, and one when a round's result changes.

use std::time::Duration;

use tracing::{error, info};

use crate::model::component::MODULES;
use crate::model::{EndedRound, ModuleStatus, Transition, TransitionKind};
use crate::runtime::defect::Defect;

pub(super) fn transition(status: &ModuleStatus, transition: &Transition) {
    let (module, name, address) = names(status);
    if let TransitionKind::Channel { from, to, cause } = transition.kind {
        let cause = cause.map(|cause| cause.label());
        let detail = transition.detail.as_deref();
        info!(target: MODULES, module, target_name = name, address, %from, %to, cause, detail, "channel");
    }
}

/// A round ended with another result than the one before it.
pub(super) fn round(status: &ModuleStatus, before: Option<&EndedRound>) {
    let Some(last) = status.asked.recent.back() else {
        return;
    };
    let is_new = before.is_none_or(|before| (before.result, before.success) != (last.result, last.success));
    // A channel that is not READY is logged as such.
    if is_new && (last.took.is_some() || last.detail.is_some()) {
        let (module, name, address) = names(status);
        let (result, success, detail) = (last.result, last.success, last.detail.as_deref());
        info!(target: MODULES, module, target_name = name, address, %result, success, detail, "round");
    }
}

pub(super) fn session_lost(status: &ModuleStatus, defect: &Defect, wait: Duration) {
    let (module, name, address) = names(status);
    error!(target: MODULES, module, target_name = name, address, %defect, started_anew_in = ?wait, "a session has ended by a defect of this program: please report it");
}

pub(super) fn adopted(modules: usize, added: usize, changed: usize, removed: usize, targets: usize) {
    info!(target: MODULES, modules, added, changed, removed, targets, "modules adopted");
}

fn names(status: &ModuleStatus) -> (&str, &str, &str) {
    let job = &status.job;
    (&job.spec.name, &job.target.name, &job.target.address)
}
