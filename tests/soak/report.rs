//! The table: per kind of event the number of cases, and how long rows and metrics were wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::kind::Kind;

/// The measurements.
#[derive(Default)]
pub(crate) struct Report {
    rows: BTreeMap<Kind, Vec<Duration>>,
    metrics: BTreeMap<Kind, Vec<Duration>>,
    /// One line for each bound that was exceeded.
    broken: Vec<String>,
    /// Further lines of the report.
    pub(crate) notes: Vec<String>,
}

impl Report {
    pub(crate) fn row(&mut self, kind: Kind, port: &str, lag: Duration) {
        self.rows.entry(kind).or_default().push(lag);
        self.check("row", kind, port, lag);
    }

    pub(crate) fn metrics(&mut self, kind: Kind, port: &str, lag: Duration) {
        self.metrics.entry(kind).or_default().push(lag);
        self.check("metrics", kind, port, lag);
    }

    fn check(&mut self, what: &str, kind: Kind, port: &str, lag: Duration) {
        if lag > kind.bound() {
            let (label, bound) = (kind.label(), kind.bound());
            self.broken(format!(
                "{port}: {label}: {what} wrong for {lag:.1?}, the bound is {bound:.1?}"
            ));
        }
    }

    /// Each bound allows for a machine that stalls for seconds. It does not stall half of the time, so the median shows if
    /// something is written only with the next round instead of at once.
    pub(crate) fn check_medians(&mut self) {
        const FEW: usize = 4;
        let mut broken = Vec::new();
        for (kind, lags) in &self.rows {
            let mut sorted = lags.clone();
            sorted.sort_unstable();
            let median = sorted[sorted.len() / 2];
            if let Some(bound) = kind
                .median_bound()
                .filter(|bound| sorted.len() >= FEW && median > *bound)
            {
                let label = kind.label();
                broken.push(format!(
                    "{label}: half of the rows wrong for {median:.1?} and more, the bound is {bound:.1?}"
                ));
            }
        }
        for line in broken {
            self.broken(line);
        }
    }

    pub(crate) fn broken(&mut self, line: String) {
        eprintln!("soak: {line}");
        self.broken.push(line);
    }

    pub(crate) fn good(&self) -> bool {
        self.broken.is_empty()
    }

    pub(crate) fn print(&self) {
        println!("\ntruth lag, seconds             rows                         metrics");
        println!(
            "                               cases  median   p99    max   cases  median   p99    max   bound"
        );
        let mut kinds: Vec<Kind> = self.rows.keys().chain(self.metrics.keys()).copied().collect();
        kinds.sort_unstable();
        kinds.dedup();
        for kind in kinds {
            println!(
                "{:<30} {} {}   {:5.1}",
                kind.label(),
                numbers(self.rows.get(&kind)),
                numbers(self.metrics.get(&kind)),
                kind.bound().as_secs_f64()
            );
        }
        for note in &self.notes {
            println!("{note}");
        }
        match self.broken.len() {
            0 => println!("all within their bounds"),
            n => println!("{n} bounds broken, the first: {}", self.broken[0]),
        }
    }
}

fn numbers(lags: Option<&Vec<Duration>>) -> String {
    let Some(lags) = lags else {
        return format!("{:>5}{:>24}", 0, "");
    };
    let mut sorted: Vec<f64> = lags.iter().map(Duration::as_secs_f64).collect();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted[((sorted.len() as f64 * share) as usize).min(sorted.len() - 1)];
    format!(
        "{:>5}  {:6.2} {:6.2} {:6.2} ",
        sorted.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    )
}
