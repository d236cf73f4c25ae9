//! What file and environment say together, and each mistake.

use std::collections::HashMap;

use super::*;
use crate::config::Config;

/// What `otel` in the file and these variables mean.
fn settings(file: &str, variables: &[(&str, &str)]) -> (Option<OtelSettings>, Vec<String>) {
    try_settings(file, variables).expect("valid")
}

fn try_settings(
    file: &str,
    variables: &[(&str, &str)],
) -> Result<(Option<OtelSettings>, Vec<String>), String> {
    let path = Path::new("/etc/x/dualtor.yml");
    let text = format!("side: upper\n{file}");
    let config = Config::parse(&text, path).map_err(|error| error.to_string())?;
    let variables: HashMap<String, String> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let read = |name: &str| variables.get(name).map(OsString::from);
    let joined = config.otel.with_environment(path, &read);
    joined.map_err(|error| error.to_string())
}

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

#[test]
fn nothing_is_sent_unless_an_endpoint_is_given() {
    let off: [(&str, &[(&str, &str)]); 7] = [
        ("", &[]),
        ("otel: {traces: all, metrics: on}", &[]),
        ("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]),
        ("", &[("OTEL_TRACES_EXPORTER", "otlp")]),
        ("", &[ENDPOINT, ("OTEL_SDK_DISABLED", "true")]),
        ("", &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]),
        ("otel: {endpoint: 'http://c:4318', traces: off}", &[]),
    ];
    for (file, variables) in off {
        assert_eq!(
            settings(file, variables),
            (None, Vec::new()),
            "{file} {variables:?}"
        );
    }
}

#[test]
fn an_endpoint_alone_sends_failed_traces() {
    let by_file = settings("otel: {endpoint: 'http://collector:4318'}", &[]);
    assert_eq!(by_file, settings("", &[ENDPOINT]));
    let (Some(settings), warnings) = by_file else {
        panic!("off")
    };
    assert_eq!(warnings, Vec::<String>::new());
    assert!(settings.metrics.is_none() && settings.logs.is_none());
    let (rule, target) = settings.traces.expect("traces");
    assert_eq!(rule, TraceRule::Failed);
    assert_eq!(target.url, "http://collector:4318/v1/traces");
    assert_eq!(target.protocol, OtlpProtocol::Http);
    assert_eq!(target.timeout, Duration::from_secs(10));
    assert_eq!(settings.batches, Batches::default());
}

#[test]
fn every_key_of_the_file_is_read() {
    let file = "otel: {endpoint: 'https://c:4317/', protocol: grpc, traces: all, metrics: on, metrics_interval: 15s, logs: on, \
                headers: {authorization: {file: token.txt}, x-tenant: 'a b'}, \
                tls: {ca: ca.crt, cert: c.crt, key: c.key, server_name: x}, \
                resource: {deployment.environment.name: lab}, propagate: false}";
    let (settings, _) = settings(file, &[]);
    let settings = settings.expect("on");
    let (interval, metrics) = settings.metrics.expect("metrics");
    assert_eq!(interval, Duration::from_secs(15));
    let (rule, traces) = settings.traces.expect("traces");
    assert_eq!(rule, TraceRule::Share(1.0));
    assert_eq!(
        (traces.protocol, &traces.url),
        (OtlpProtocol::Grpc, &Uri::from_static("https://c:4317/"))
    );
    assert_eq!((&metrics, &settings.logs), (&traces, &Some(traces.clone())));
    let tls = traces.tls.expect("tls");
    assert_eq!(tls.ca, Path::new("/etc/x/ca.crt"));
    assert_eq!(tls.client.expect("client").key, Path::new("/etc/x/c.key"));
    assert_eq!(tls.server_name.as_deref(), Some("x"));
    let token = Secret::File("/etc/x/token.txt".into());
    let tenant = Secret::Text("a b".to_owned());
    let names: Vec<_> = traces
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value))
        .collect();
    assert_eq!(names, [("authorization", &token), ("x-tenant", &tenant)]);
    assert_eq!(
        settings.resource,
        [("deployment.environment.name".to_owned(), "lab".to_owned())]
    );
}

#[test]
fn the_environment_wins_key_by_key() {
    let file = "otel: {endpoint: 'http://file:1', traces: all, metrics: on, metrics_interval: 15s, headers: {a: f, b: f}}";
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:2/base/"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:3/own"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "b=env,c=%20x"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "d=metrics"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "5000"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ("OTEL_SERVICE_NAME", "mine"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,k=v%2C1"),
        ("OTEL_LOGS_EXPORTER", "otlp"),
    ];
    let (settings, warnings) = settings(file, &variables);
    assert_eq!(warnings, Vec::<String>::new());
    let settings = settings.expect("on");
    let (rule, traces) = settings.traces.expect("traces");
    let (interval, metrics) = settings.metrics.expect("metrics");
    assert_eq!(rule, TraceRule::Share(0.25));
    assert_eq!(
        (&traces.url, traces.gzip),
        (&Uri::from_static("http://traces:3/own"), true)
    );
    assert_eq!(
        (&metrics.url, metrics.gzip),
        (&Uri::from_static("http://all:2/base/v1/metrics"), false)
    );
    assert_eq!(settings.logs.expect("logs").url, "http://all:2/base/v1/logs");
    assert_eq!(
        (interval, traces.timeout),
        (Duration::from_secs(5), Duration::from_millis(2500))
    );
    let of = |target: &OtlpTarget| {
        let headers = target.headers.iter();
        let all: Vec<String> = headers
            .map(|(name, value)| match value {
                Secret::Text(text) => format!("{name}={text}"),
                Secret::File(_) => format!("{name}=file"),
            })
            .collect();
        all.join(",")
    };
    assert_eq!(
        (&*of(&traces), &*of(&metrics)),
        ("a=f,b=env,c= x", "a=f,b=f,d=metrics")
    );
    assert_eq!((settings.batches.queue, settings.batches.batch), (100, 100));
    assert_eq!(settings.batches.delay, Duration::from_millis(50));
    let resource: Vec<_> = settings
        .resource
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    assert_eq!(resource, ["service.name=other", "k=v,1", "service.name=mine"]);
}

#[test]
fn an_endpoint_of_grpc_needs_no_scheme() {
    let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317");
    let insecure = ("OTEL_EXPORTER_OTLP_INSECURE", "true");
    let url = |variables: &[(&str, &str)]| {
        let (settings, warnings) = settings("", variables);
        let url = settings
            .and_then(|settings| settings.traces)
            .map(|(_, target)| target.url.to_string());
        (url, warnings)
    };
    assert_eq!(
        url(&[endpoint, grpc, insecure]),
        (Some("http://collector:4317/".to_owned()), vec![])
    );
    let ca = ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.crt");
    assert_eq!(
        url(&[endpoint, grpc, ca]),
        (Some("https://collector:4317/".to_owned()), vec![])
    );
    let (none, warnings) = url(&[endpoint, grpc]);
    assert_eq!(none, None);
    assert!(
        warnings[0].starts_with("OTEL_EXPORTER_OTLP_CERTIFICATE: expected the file"),
        "{warnings:?}"
    );
}

#[test]
fn a_variable_that_cannot_be_read_is_a_warning_and_counts_as_unset() {
    for (variable, value, warning) in [
        ("OTEL_SDK_DISABLED", "yes", "expected true or false, got \"yes\""),
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "http/json",
            "expected http/protobuf or grpc, got \"http/json\"",
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
            "10s",
            "expected a whole number of milliseconds",
        ),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "expected gzip or none"),
        (
            "OTEL_TRACES_SAMPLER",
            "jaeger_remote",
            "expected always_on, always_off",
        ),
        ("OTEL_TRACES_EXPORTER", "zipkin", "expected otlp or none"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "expected a whole number from 16"),
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "collector",
            "expected a URL with the scheme http",
        ),
        ("OTEL_RESOURCE_ATTRIBUTES", "nothing", "expected key=value"),
    ] {
        let (with, warnings) = settings("", &[ENDPOINT, (variable, value)]);
        assert_eq!(with, settings("", &[ENDPOINT]).0, "{variable}");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].starts_with(&format!("{variable}: {warning}")),
            "{warnings:?}"
        );
    }
}

#[test]
fn no_message_has_a_secret() {
    let secret = "hunter2";
    let variable = ("OTEL_EXPORTER_OTLP_HEADERS", "authorization:hunter2");
    let (settings, warnings) = settings("otel: {headers: {a: hunter2}}", &[ENDPOINT, variable]);
    assert_eq!(
        warnings,
        ["OTEL_EXPORTER_OTLP_HEADERS: expected name=value,name=value; it is ignored"]
    );
    assert!(!format!("{settings:?}").contains(secret));
    let error = try_settings("otel: {headers: {host: hunter2}}", &[]).expect_err("refused");
    assert!(
        error.contains("otel.headers.host") && !error.contains(secret),
        "{error}"
    );
    let error = try_settings("otel: {headers: {a: {fil: hunter2}}}", &[]).expect_err("refused");
    assert!(!error.contains(secret), "{error}");
}

#[test]
fn each_mistake_in_the_file_is_an_error_that_says_what_was_expected() {
    for (file, expected) in [
        (
            "otel: {endpoint: 'collector:4318'}",
            "expected a URL with the scheme http or https",
        ),
        ("otel: {endpoint: 'http://u:p@c'}", "without a login"),
        (
            "otel: {endpoint: 'https://c:4318'}",
            "otel.tls: expected tls: {ca: FILE} with https",
        ),
        (
            "otel: {endpoint: 'http://c:4318', tls: {ca: x}}",
            "otel.tls: expected no tls with the scheme http",
        ),
        ("otel: {protocol: http/json}", "expected http/protobuf or grpc"),
        ("otel: {traces: some}", "expected off, failed or all"),
        ("otel: {metrics: yes please}", "expected on or off"),
        ("otel: {metrics_interval: 0s}", "expected a duration over 0"),
        (
            "otel: {headers: {content-type: x}}",
            "otel.headers.content-type: expected a header's name",
        ),
        ("otel: {spans: all}", "unknown field"),
    ] {
        let error = try_settings(file, &[]).expect_err(file);
        assert!(error.contains(expected), "{file}: {error}");
    }
}

#[test]
fn a_soc_is_told_only_what_is_certain_to_be_kept() {
    let file = "otel: {endpoint: 'http://c:4318', propagate: true";
    let refused = try_settings(&format!("{file}}}"), &[]).expect_err("traces: failed is the default");
    assert!(
        refused.contains("otel.propagate: expected traces: all"),
        "{refused}"
    );
    let told = |file: &str, variables: &[(&str, &str)]| {
        let (settings, warnings) = settings(file, variables);
        assert_eq!(warnings, Vec::<String>::new());
        settings.expect("on").propagate
    };
    let sampler = ("OTEL_TRACES_SAMPLER", "traceidratio");
    assert!(told(&format!("{file}, traces: all}}"), &[]));
    assert!(told(&format!("{file}}}"), &[sampler]));
    assert!(told(&format!("{file}, traces: off, metrics: on}}"), &[]));
    assert!(!told("otel: {endpoint: 'http://c:4318', traces: all}", &[]));
}

#[test]
fn a_header_that_is_no_text_is_refused_without_its_value() {
    for value in ["48151623", "-48151623", "48151623.5"] {
        let refused = try_settings(&format!("otel: {{headers: {{authorization: {value}}}}}"), &[]);
        let refused = refused.expect_err("a number");
        let place = refused.lines().next().unwrap_or_default();
        assert!(
            place.contains("expected text in quotes, or {file: PATH}"),
            "{refused}"
        );
        assert!(!refused.contains("48151623"), "{refused}");
    }
}

#[test]
fn a_login_in_an_endpoint_is_in_no_warning() {
    let endpoint = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:PASSWORD@c:1")];
    let (settings, warnings) = settings("", &endpoint);
    assert_eq!((settings, warnings.len()), (None, 1));
    assert!(!warnings[0].contains("PASSWORD"), "{warnings:?}");
    let (_, warnings) = self::settings("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:431800")]);
    assert!(warnings[0].contains("got \"http://c:431800\""), "{warnings:?}");
}

#[test]
fn an_endpoint_of_a_signal_that_cannot_be_read_does_not_turn_it_on() {
    let own = [ENDPOINT, ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "nonsense")];
    let (settings, warnings) = settings("", &own);
    assert!(settings.expect("traces").metrics.is_none());
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

#[test]
fn a_variable_that_is_no_text_counts_as_unset_with_a_warning() {
    use std::os::unix::ffi::OsStringExt as _;
    let path = Path::new("/etc/x/dualtor.yml");
    let config = Config::parse("side: upper", path).expect("valid");
    let read = |name: &str| (name == "OTEL_SERVICE_NAME").then(|| OsString::from_vec(vec![b'a', 0xff]));
    let endpoint = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some("http://c:4318".into()),
        name => read(name),
    };
    let (settings, warnings) = config.otel.with_environment(path, &endpoint).expect("valid");
    assert_eq!(settings.expect("traces").resource, Vec::new());
    assert_eq!(
        warnings,
        ["OTEL_SERVICE_NAME: expected text in UTF-8; it is ignored"]
    );
}
