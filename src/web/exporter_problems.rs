//! What is wrong with the exporter itself, not with a SoC: for the pages and the API. Pure.

use serde::Serialize;

use crate::model::{Delays, SourceStatus, View, text};

/// Inventory problems, and sources that are down, that are named; the API lists all problems.
const NAMED: usize = 3;
/// A task that runs later than the buckets up to this bound has affected a round: half a query's deadline, as in the alert.
const LATE: f64 = 0.25;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ExporterProblem {
    /// The alert that fires for it if it lasts. The runbook has a section of this name.
    pub(super) alert: &'static str,
    /// For people.
    pub(super) text: String,
}

/// All that is wrong, the worst first.
pub(super) fn of(view: &View) -> Vec<ExporterProblem> {
    let mut all = Vec::new();
    let mut add = |alert, text| all.push(ExporterProblem { alert, text });
    let (web, lately) = (view.web.config, &view.lately);
    if view.state_db.is_some_and(|db| !db.up) {
        add("DualTorStateDbNotWritten", "STATE_DB takes no rows".to_owned());
    }
    if view.is_side_unknown() {
        let text = "it is unknown whether this is the upper or the lower ToR";
        add("DualTorSideUnknown", text.to_owned());
    }
    if !view.config.successful {
        let text = "the configuration file has an error; the earlier configuration is in use";
        add("DualTorConfigReloadFailed", text.to_owned());
    }
    if web.is_some_and(|config| !config.successful) {
        let text = "the web configuration file has an error; the earlier one is in use";
        add("DualTorConfigReloadFailed", text.to_owned());
    }
    if lately.foreign_writes > 0 {
        let times = lately.foreign_writes;
        let text =
            format!("another process wrote to rows of this exporter ({times} times in the last 10 minutes)");
        add("DualTorForeignWriter", text);
    }
    if let Some(text) = sources(view) {
        add("DualTorInventorySourceDown", text);
    }
    if let Some(text) = inventory(view) {
        add("DualTorInventoryProblems", text);
    }
    if let Some(percent) = late(&lately.delays) {
        let text =
            format!("too little CPU: {percent} % of its tasks ran over 250 ms late in the last 10 minutes");
        add("DualTorExporterStarved", text);
    }
    if lately.lines_dropped > 0 {
        let lines = lately.lines_dropped;
        let text = format!("{lines} lines of its log were dropped in the last 10 minutes");
        add("DualTorLogLinesDropped", text);
    }
    all
}

fn sources(view: &View) -> Option<String> {
    let down = view.sources.iter().filter(|source| source.up == Some(false));
    let listed = listed(down, |SourceStatus { source, failure, .. }| {
        let why = failure.as_deref().unwrap_or("it has not answered");
        format!("{source} cannot be read: {}", text::quote(why))
    })?;
    Some(format!(
        "a source of targets is down, its last targets stay in use: {listed}"
    ))
}

fn inventory(view: &View) -> Option<String> {
    let listed = listed(view.inventory.problems.iter(), |problem| {
        format!("{}: {}", problem.port, text::quote(&problem.text))
    })?;
    Some(format!("rows of the inventory that cannot be used: {listed}"))
}

/// The first of them, and how many more there are. None: there is nothing to tell.
fn listed<T>(mut all: impl Iterator<Item = T>, tell: impl Fn(T) -> String) -> Option<String> {
    let named: Vec<String> = all.by_ref().take(NAMED).map(tell).collect();
    let more = match all.count() {
        0 => String::new(),
        more => format!("; {more} more"),
    };
    (!named.is_empty()).then(|| named.join("; ") + &more)
}

/// How many percent of the tasks were late, if that is too many.
fn late(delays: &Delays) -> Option<u64> {
    let total: u64 = delays.counts.iter().sum();
    let bounds = crate::model::DELAY_BUCKETS;
    let in_time = bounds
        .iter()
        .zip(delays.counts)
        .filter(|(bound, _)| **bound <= LATE);
    let late = total - in_time.map(|(_, count)| count).sum::<u64>();
    (late * 100 > total).then(|| late * 100 / total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Side, StateDbStatus};
    use crate::telemetry::testing::empty_view;

    #[test]
    fn each_problem_has_its_alert_and_a_well_exporter_has_none() {
        let mut view = View {
            side: Side::Upper,
            state_db: Some(StateDbStatus {
                up: true,
                ..StateDbStatus::default()
            }),
            ..empty_view()
        };
        view.lately.delays.counts[0] = 99;
        view.lately.delays.counts[8] = 1;
        // What is over is no problem.
        view.lines_dropped = 7;
        view.delays.counts[8] = 1_000;
        assert_eq!(of(&view), []);
        view.lately.delays.counts[8] = 3;
        view.side = Side::Unknown;
        view.state_db = Some(StateDbStatus::default());
        view.lately.foreign_writes = 3;
        view.config.successful = false;
        view.web.config = Some(view.config);
        view.lately.lines_dropped = 7;
        let alerts: Vec<_> = of(&view).into_iter().map(|problem| problem.alert).collect();
        assert_eq!(
            alerts,
            [
                "DualTorStateDbNotWritten",
                "DualTorSideUnknown",
                "DualTorConfigReloadFailed",
                "DualTorConfigReloadFailed",
                "DualTorForeignWriter",
                "DualTorExporterStarved",
                "DualTorLogLinesDropped"
            ]
        );
        let source = |up| SourceStatus {
            source: "file_sd:a.yml".into(),
            up,
            failure: Some("gone".into()),
            last_success: None,
        };
        view.sources = [None, Some(true), Some(false)].map(source).into();
        let down =
            "a source of targets is down, its last targets stay in use: file_sd:a.yml cannot be read: gone";
        let problem = of(&view)
            .into_iter()
            .find(|problem| problem.alert == "DualTorInventorySourceDown");
        assert_eq!(problem.expect("a problem").text, down);
    }
}
