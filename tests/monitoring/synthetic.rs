//! Series of which all is known, and a query over them, put to promtool: no exporter, no time that passes.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::queries::{Choice, fill};
use crate::sources;

/// What a SoC reports of one port.
pub(crate) struct Port {
    pub(crate) number: u32,
    pub(crate) ready: bool,
    pub(crate) maintenance: bool,
    /// Self and peer.
    pub(crate) directions: [&'static str; 2],
    pub(crate) links: [&'static str; 2],
}

pub(crate) const fn port(number: u32, directions: [&'static str; 2], links: [&'static str; 2]) -> Port {
    Port {
        number,
        ready: true,
        maintenance: false,
        directions,
        links,
    }
}

pub(crate) const UP: [&str; 2] = ["up"; 2];
pub(crate) const UNKNOWN: [&str; 2] = ["unknown"; 2];

/// The series of a test, as promtool reads them, and what they must give.
#[derive(Default)]
pub(crate) struct Test {
    series: String,
    checks: String,
}

impl Test {
    pub(crate) fn series(&mut self, metric: &str, labels: &str, values: &str) {
        let line = format!("      - {{series: '{metric}{{{labels}}}', values: '{values}'}}");
        writeln!(self.series, "{line}").expect("written");
    }

    pub(crate) fn states(&mut self, metric: &str, labels: &str, states: &[&str], state: &str) {
        for one in states {
            let value = u8::from(*one == state);
            self.series(
                metric,
                &format!("{labels}, state=\"{one}\""),
                &format!("{value}x40"),
            );
        }
    }

    pub(crate) fn port(&mut self, instance: &str, port: &Port) {
        let of = format!("{}, port=\"Ethernet{}\"", target(instance), port.number);
        let ready = if port.ready { "ready" } else { "transient_failure" };
        self.states(
            "dualtor_channel_state",
            &of,
            &["ready", "transient_failure"],
            ready,
        );
        let service = if port.maintenance { "inprogress" } else { "noop" };
        self.states("dualtor_soc_service", &of, &["inprogress", "noop"], service);
        for (place, side) in ["self", "peer"].into_iter().enumerate() {
            let of = format!("{of}, side=\"{side}\"");
            self.states(
                "dualtor_mux_direction",
                &of,
                &["active", "standby", "unknown"],
                port.directions[place],
            );
            self.states(
                "dualtor_link_state",
                &of,
                &["up", "down", "unknown"],
                port.links[place],
            );
        }
    }

    /// The query of a panel, for these ToRs and ports, gives these: labels and numbers.
    pub(crate) fn gives(
        &mut self,
        panel: &Value,
        target: usize,
        (instance, port): (&str, &str),
        expected: &[(String, i64)],
    ) {
        let of = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let choice = Choice::from([
            of("job", "dualtor-exporter.*"),
            of("instance", instance),
            of("rack", "r1"),
            of("port", port),
            of("module", ".+"),
            of("target", ".+"),
        ]);
        let query = panel["targets"][target]["expr"].as_str().expect("a query");
        let query = fill(query, &choice).replace("[4s]", "[5m]");
        let samples = expected
            .iter()
            .map(|(labels, value)| format!("{{labels: '{{{labels}}}', value: {value}}}"));
        let samples = samples.collect::<Vec<_>>().join(", ");
        let query = query.replace('\'', "''");
        writeln!(
            self.checks,
            "      - {{expr: '{query}', eval_time: 15m, exp_samples: [{samples}]}}"
        )
        .expect("written");
    }

    pub(crate) fn run(self, directory: &Path) {
        let file = directory.join("numbers-test.yaml");
        let text = format!(
            "rule_files: ['{}']\ntests:\n  - interval: 30s\n    input_series:\n{}    promql_expr_test:\n{}",
            sources::path("alerts/recording.yaml").display(),
            self.series,
            self.checks
        );
        std::fs::write(&file, text).expect("written");
        let output = Command::new("promtool")
            .args(["test", "rules"])
            .arg(&file)
            .output();
        let output = output.expect("promtool: `make deps` installs it");
        let wrong = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success(), "{}", wrong.concat());
    }
}

pub(crate) fn target(instance: &str) -> String {
    format!("instance=\"{instance}\", job=\"dualtor-exporter\", rack=\"r1\"")
}
