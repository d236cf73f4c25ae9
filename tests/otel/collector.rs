//! The collector as a process, and the JSON lines that it writes.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::process::Command;

use dualtor_testkit::certificates::Files;
use dualtor_testkit::child::Program;
use dualtor_testkit::reserved_port::ReservedPort;
use serde_json::Value;
use tempfile::TempDir;

/// A running collector. Its files go with it.
pub(crate) struct Collector {
    program: Program,
    directory: TempDir,
    /// Its port for gRPC.
    pub(crate) grpc: ReservedPort,
    /// Its port for HTTP.
    pub(crate) http: ReservedPort,
}

/// A span, as it was written down.
#[derive(Debug)]
pub(crate) struct SpanLine {
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty: none.
    pub(crate) parent: String,
    pub(crate) kind: u64,
    /// 0: unset, 2: error.
    pub(crate) status: u64,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    attributes: Vec<(String, String)>,
}

impl SpanLine {
    /// An attribute; empty: it is not there.
    pub(crate) fn text(&self, key: &str) -> &str {
        let found = self.attributes.iter().find(|(other, _)| other == key);
        found.map_or("", |(_, value)| value)
    }

    /// All keys, sorted.
    pub(crate) fn keys(&self) -> Vec<&str> {
        let mut keys: Vec<&str> = self.attributes.iter().map(|(key, _)| &**key).collect();
        keys.sort_unstable();
        keys
    }
}

impl Collector {
    /// With TLS if there are files: then it wants a client certificate. `None`: there is no collector, so nothing is tested.
    pub(crate) async fn start(files: Option<&Files>) -> Option<Self> {
        let Some(binary) = std::env::var_os("DUALTOR_TEST_COLLECTOR").filter(|path| !path.is_empty()) else {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "DUALTOR_TEST_COLLECTOR is not set: make test-otel"
            );
            eprintln!("SKIPPED: no collector; make test-otel builds it");
            return None;
        };
        let directory = tempfile::tempdir().expect("a directory");
        let [grpc, http] = [(); 2].map(|()| ReservedPort::on(HOST.parse().expect("an address")));
        let config = directory.path().join("collector.yml");
        std::fs::write(
            &config,
            yaml(directory.path(), grpc.number(), http.number(), files),
        )
        .expect("written");
        let mut command = Command::new(binary);
        command.arg("--config").arg(&config);
        let mut program = Program::spawn(command);
        program.says("Everything is ready", 1).await;
        Some(Self {
            program,
            directory,
            grpc,
            http,
        })
    }

    /// `STOP` or `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        self.program.signal(name);
    }

    fn lines(&self, file: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.directory.path().join(file)).unwrap_or_default();
        // The last line may not be complete yet.
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// All spans until now.
    pub(crate) fn spans(&self) -> Vec<SpanLine> {
        let lines = self.lines("traces.json");
        let spans = lines
            .iter()
            .flat_map(|line| inner(line, ["resourceSpans", "scopeSpans", "spans"]));
        spans.map(span).collect()
    }

    /// The resource of the first spans.
    pub(crate) fn resource(&self) -> HashMap<String, String> {
        let lines = self.lines("traces.json");
        let resource = lines.iter().find_map(|line| line["resourceSpans"].get(0));
        resource
            .map(|resource| attributes(&resource["resource"]).into_iter().collect())
            .unwrap_or_default()
    }

    /// The names of all metrics until now.
    pub(crate) fn metric_names(&self) -> BTreeSet<String> {
        let lines = self.lines("metrics.json");
        let metrics = lines
            .iter()
            .flat_map(|line| inner(line, ["resourceMetrics", "scopeMetrics", "metrics"]));
        metrics.map(|metric| text(&metric["name"])).collect()
    }

    /// The attributes of all log records until now.
    pub(crate) fn events(&self) -> Vec<Vec<(String, String)>> {
        let lines = self.lines("logs.json");
        let records = lines
            .iter()
            .flat_map(|line| inner(line, ["resourceLogs", "scopeLogs", "logRecords"]));
        records.map(attributes).collect()
    }
}

/// Where it listens.
pub(crate) const HOST: &str = "127.77.0.1";

fn yaml(directory: &Path, grpc: u16, http: u16, files: Option<&Files>) -> String {
    let tls = files.map_or(String::new(), |files| {
        let path = |name: &str| files.path(name).display().to_string();
        format!(
            ", tls: {{cert_file: \"{}\", key_file: \"{}\", client_ca_file: \"{}\"}}",
            path("soc.crt"),
            path("soc.key"),
            path("ca.crt")
        )
    });
    let mut yaml = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: \"{HOST}:{grpc}\"{tls}}}, http: {{endpoint: \"{HOST}:{http}\"{tls}}}}}}}}}\n\
         exporters:\n"
    );
    for signal in ["traces", "metrics", "logs"] {
        let path = directory.join(format!("{signal}.json"));
        yaml += &format!("  file/{signal}: {{path: \"{}\"}}\n", path.display());
    }
    yaml += "service:\n  telemetry: {metrics: {level: none}}\n  pipelines:\n";
    for signal in ["traces", "metrics", "logs"] {
        yaml += &format!("    {signal}: {{receivers: [otlp], exporters: [file/{signal}]}}\n");
    }
    yaml
}

/// What is in the third of three nested lists.
fn inner<'a>(line: &'a Value, [first, second, third]: [&'static str; 3]) -> impl Iterator<Item = &'a Value> {
    fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
        value[key].as_array().map_or(&[], Vec::as_slice)
    }
    let outer = list(line, first).iter();
    outer
        .flat_map(move |one| list(one, second))
        .flat_map(move |one| list(one, third))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn attributes(of: &Value) -> Vec<(String, String)> {
    let all = of["attributes"].as_array().into_iter().flatten();
    all.map(|attribute| {
        let value = attribute["value"]
            .as_object()
            .and_then(|value| value.values().next());
        (text(&attribute["key"]), value.map(text).unwrap_or_default())
    })
    .collect()
}

fn span(value: &Value) -> SpanLine {
    let number = |key: &str| text(&value[key]).parse().unwrap_or(0);
    SpanLine {
        name: text(&value["name"]),
        trace: text(&value["traceId"]),
        id: text(&value["spanId"]),
        parent: text(&value["parentSpanId"]),
        kind: number("kind"),
        status: value["status"]["code"].as_u64().unwrap_or(0),
        began: number("startTimeUnixNano"),
        ended: number("endTimeUnixNano"),
        attributes: attributes(value),
    }
}
