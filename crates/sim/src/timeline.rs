//! Plays the timeline of a scenario: applies each step at its time, and reports it in one line.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::{Instant, sleep_until};

use super::scenario::{Step, Targets};
use super::simulated_soc::Soc;

/// Plays the steps, again and again if `repeat` is set. It does not matter whether anything reads the lines.
pub(super) async fn play(
    mut steps: Vec<Step>,
    repeat: Option<Duration>,
    socs: HashMap<String, Soc>,
    events: broadcast::Sender<String>,
) {
    // Stable: steps at the same time run in the order of the file.
    steps.sort_by_key(|step| step.at);
    let mut start = Instant::now();
    loop {
        for step in &steps {
            sleep_until(start + step.at).await;
            apply(step, &socs);
            // Having no receiver is not an error.
            let _ = events.send(describe(step));
        }
        match repeat {
            Some(repeat) => start += repeat,
            None => return,
        }
        sleep_until(start).await;
    }
}

fn apply(step: &Step, socs: &HashMap<String, Soc>) {
    let apply_to = |soc: &Soc| {
        if let Some(patch) = &step.set {
            soc.set(|state| state.apply(patch));
        }
        if let Some(fault) = &step.reply {
            soc.reply_fault_only(fault.clone(), &step.only);
        }
        if let Some(notice) = &step.notice {
            soc.announce(notice);
        }
        if let Some(fault) = &step.fault {
            soc.connection_fault(fault.clone());
        }
    };
    match &step.soc {
        Targets::All => socs.values().for_each(apply_to),
        Targets::Named(names) => names.iter().filter_map(|name| socs.get(name)).for_each(apply_to),
    }
}

/// For example `Ethernet4: hang`.
fn describe(step: &Step) -> String {
    let mut parts = Vec::new();
    if let Some(patch) = &step.set {
        parts.push(patch.to_string());
    }
    if let Some(fault) = &step.fault {
        parts.push(fault.to_string());
    }
    if let Some(fault) = &step.reply {
        parts.push(fault.to_string());
        if !step.only.is_empty() {
            parts.push(format!("only {:?}", step.only));
        }
    }
    if let Some(notice) = &step.notice {
        parts.push(format!(
            "notice {:?} {:?} {:?} {} s",
            notice.kind, notice.plane, notice.guid, notice.period
        ));
    }
    format!("{}: {}", step.soc, parts.join(", "))
}
