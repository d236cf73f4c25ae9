//! The command line of the real binary: what it prints and how it exits.

use std::net::TcpListener;

use dualtor_sim::{Code, ConnectionFault, Health, ReplyFault, Rpc, Scenario, Simulator};
use tempfile::TempDir;

use crate::child::{Program, assert_cannot_start, run};
use crate::harness::wait_until;
use crate::http;

const GOOD: &str =
    "side: upper\ndatabases: {publish: off}\ntargets: [{port: Ethernet0, address: 127.0.0.1}]\n";

fn file(dir: &TempDir, text: &str) -> String {
    let path = dir.path().join("config.yml");
    std::fs::write(&path, text).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

#[tokio::test]
async fn help_says_what_there_is() {
    for (args, name) in [
        (&["--help"][..], "help"),
        (&["probe", "--help"], "help_probe"),
        (&["doctor", "--help"], "help_doctor"),
    ] {
        let ended = run(args).await;
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        insta::assert_snapshot!(name, ended.stdout);
    }
}

#[tokio::test]
async fn version_names_version_and_revision() {
    let ended = run(&["--version"]).await;
    assert_eq!(ended.code, Some(0));
    let expected = format!(
        "dualtor-exporter {} (revision {})\n",
        env!("CARGO_PKG_VERSION"),
        env!("DUALTOR_REVISION")
    );
    assert_eq!(ended.stdout, expected);
}

#[tokio::test]
async fn config_check_judges_the_file_and_starts_nothing() {
    let dir = TempDir::new().expect("a directory");
    let path = file(&dir, GOOD);
    let ended = run(&["--config.check", "--config.file", &path]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout, format!("{path}: good, 1 target\n"));
    assert_eq!(ended.stderr, "");
    let path = file(&dir, "side: upper\n");
    let ended = run(&["--config.check", "--config.file", &path]).await;
    assert_eq!(ended.stdout, format!("{path}: good, targets from CONFIG_DB\n"));
    // The file does not exist, as on most switches: then it is not reported as good.
    let ended = run(&["--config.check"]).await;
    let words =
        "no configuration file: /etc/dualtor-exporter/config.yml does not exist. SONiC's defaults are used: ";
    assert!(
        ended.code == Some(0) && ended.stdout.starts_with(words),
        "{ended:?}"
    );
    for (bad, words) in [
        (GOOD.replace("side: upper", "side: middle"), ["side", "upper"]),
        (GOOD.replace("side:", "sides:"), ["sides", "unknown"]),
        (
            GOOD.replace("127.0.0.1", "soc1"),
            ["targets[0].address", "IP address"],
        ),
        (
            format!("{GOOD}probe: {{interval: 100ms}}\n"),
            ["probe.timeout", "interval"],
        ),
        (
            format!("{GOOD}channel: {{backoff: {{jitter: 2}}}}\n"),
            ["channel.backoff.jitter", "0 to 1"],
        ),
        ("targets: [\n".to_owned(), ["config.yml", ""]),
    ] {
        let path = file(&dir, &bad);
        let ended = run(&["--config.check", "--config.file", &path]).await;
        assert_cannot_start(&ended, &[&path, words[0], words[1]]);
    }
}

#[tokio::test]
async fn what_cannot_start_says_why_and_exits_with_2() {
    let dir = TempDir::new().expect("a directory");
    let good = file(&dir, GOOD);
    let held = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = held.local_addr().expect("an address").to_string();
    let start = async |extra: &[&str]| run(&[&["--config.file", &good][..], extra].concat()).await;

    let ended = start(&["--web.listen-address", &taken]).await;
    assert_cannot_start(&ended, &["--web.listen-address", &taken, "in use"]);
    drop(held);
    for bad in ["9075", "127.0.0.1:70000", "127.0.0.1:"] {
        let ended = start(&["--web.listen-address", bad]).await;
        assert_cannot_start(&ended, &["--web.listen-address", bad, "expected"]);
    }
    let missing = dir.path().join("missing.yml");
    let missing = missing.to_str().expect("UTF-8");
    let ended = run(&["--config.file", missing]).await;
    assert_cannot_start(&ended, &[missing, "cannot read"]);
    // A directory is not a file either.
    let directory = dir.path().to_str().expect("UTF-8");
    let ended = run(&["--config.file", directory]).await;
    assert_cannot_start(&ended, &[directory, "cannot read"]);
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    let pipe = pipe.to_str().expect("UTF-8");
    assert_cannot_start(
        &run(&["--config.file", pipe]).await,
        &[pipe, "cannot read", "expected a regular file"],
    );
    let empty = file(&dir, "# nothing yet\n");
    let ended = run(&["--config.file", &empty]).await;
    assert_cannot_start(&ended, &[&empty, "expected"]);
}

#[tokio::test]
async fn a_flag_that_does_not_exist_or_fit_is_bad_usage() {
    for args in [
        &["--nonsense"][..],
        &["nonsense"],
        &["--log.level", "loud"],
        &["--log.format", "xml"],
        &["--web.telemetry-path", "metrics"],
        &["--web.telemetry-path", "/-/metrics"],
        &["probe"],
        &["probe", "127.0.0.1", "--side", "middle"],
        &["probe", "127.0.0.1", "--output", "xml"],
        &["probe", "127.0.0.1", "--timeout", "fast"],
        &["probe", "127.0.0.1", "--tls-cert", "c.crt", "--tls-key", "c.key"],
        &["probe", "127.0.0.1", "--tls-ca", "ca.crt", "--tls-key", "c.key"],
        &["probe", "127.0.0.1", "--tls-ca", "ca.crt", "--tls-cert", "c.crt"],
        &[
            "probe",
            "127.0.0.1",
            "--tls-ca",
            "ca.crt",
            "--tls-server-name",
            "soc one",
        ],
        &["probe", "127.0.0.1", "--tls-server-name", "soc.example"],
        &["probe", "127.0.0.1", "--metadata", "grpc_server"],
        &["probe", "127.0.0.1", "--metadata", "grpc-timeout=1S"],
        &["simulate"],
        &["demo"],
    ] {
        let ended = run(args).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(ended.stderr.starts_with("error: "), "{args:?}: {}", ended.stderr);
    }
    // What an address may be depends on --module.
    let ended = run(&["probe", "soc1"]).await;
    assert_cannot_start(
        &ended,
        &["invalid value \"soc1\" for ADDRESS: expected an IP address"],
    );
}

#[tokio::test]
async fn logs_are_logfmt_or_json_on_stderr() {
    let dir = TempDir::new().expect("a directory");
    let path = file(&dir, GOOD);
    let args = ["--config.file", &path, "--web.listen-address", "127.0.0.1:0"];
    let mut logfmt = Program::start(&args);
    let address = logfmt.address().await;
    assert_eq!(http::get(address, "/-/healthy").await.status, 200);
    logfmt.signal("TERM");
    let ended = logfmt.ended().await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""));
    assert!(
        ended
            .stderr
            .lines()
            .all(|line| line.contains("level=") && line.contains("message=")),
        "{ended:?}"
    );

    let mut json = Program::start(&[&args[..], &["--log.format", "json"]].concat());
    json.says("\"serving\"", 1).await;
    json.signal("INT");
    let ended = json.ended().await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""));
    for line in ended.stderr.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
    }
}

/// SoCs for `probe`: healthy, without a health service, empty, failing, not serving, hung, refusing.
async fn socs() -> Simulator {
    let simulator = Simulator::start(Scenario::uniform(7)).await.expect("a simulator");
    let soc = |n: usize| &simulator.socs()[n];
    soc(1).set(|state| state.health = Health::None);
    soc(2).reply_fault_only(
        ReplyFault::Empty,
        &[Rpc::Admin, Rpc::Operation, Rpc::Link, Rpc::Version],
    );
    let code = Code::Unavailable;
    let message = "no cable".to_owned();
    soc(3).reply_fault_only(ReplyFault::Code { code, message }, &[Rpc::Admin]);
    soc(4).set(|state| state.health = Health::NotServing);
    soc(5).connection_fault(ConnectionFault::Http1);
    soc(6).connection_fault(ConnectionFault::Refuse);
    let refused = soc(6).address();
    wait_until(
        "nothing listens",
        async || match tokio::net::TcpStream::connect(refused).await {
            Ok(_) => Err("a connection".to_owned()),
            Err(_) => Ok(()),
        },
    )
    .await;
    simulator
}

/// Times and the address change from run to run. The deadline is long enough for a busy machine.
async fn probe(simulator: &Simulator, soc: usize, args: &[&str]) -> (Option<i32>, String) {
    let address = simulator.socs()[soc].address().to_string();
    let fixed = ["probe", &address, "--timeout", "10s"];
    let ended = run(&[&fixed[..], args].concat()).await;
    assert_eq!(ended.stderr, "");
    let words = ended.stdout.replace(&address, "[address]");
    let mut out = String::new();
    for line in words.lines() {
        let number = |c: char| c.is_ascii_digit() || c == '.';
        let line = match line.find(" ms") {
            Some(at) => {
                let digits = line[..at].trim_end_matches(number).trim_end();
                format!("{digits} [time]{}", &line[at..])
            }
            None => line.to_owned(),
        };
        out += line.trim_end();
        out.push('\n');
    }
    (ended.code, out)
}

#[tokio::test(flavor = "multi_thread")]
async fn probe_prints_what_a_soc_says_and_exits_accordingly() {
    let simulator = socs().await;
    for (soc, args, code, name) in [
        (0, &[][..], 0, "probe_healthy"),
        (0, &["--side", "lower"], 0, "probe_healthy_lower"),
        (1, &[], 0, "probe_no_health_service"),
        (2, &[], 0, "probe_empty_replies"),
        (3, &["--side", "upper"], 1, "probe_failing_query"),
        (4, &[], 1, "probe_not_serving"),
        (6, &[], 2, "probe_refused"),
    ] {
        let (exit, text) = probe(&simulator, soc, args).await;
        assert_eq!(exit, Some(code), "{name}: {text}");
        insta::assert_snapshot!(name, text);
    }
    let (exit, text) = probe(&simulator, 5, &[]).await;
    assert_eq!(exit, Some(2));
    assert!(text.contains("never READY: protocol"), "{text}");
    for soc in simulator.socs() {
        assert_eq!(soc.counters().set_calls, 0, "{}", soc.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probe_prints_json() {
    let simulator = socs().await;
    let json = async |soc, args: &[&str], code| {
        let (exit, text) = probe(&simulator, soc, &[&["--output", "json"], args].concat()).await;
        assert_eq!(exit, Some(code), "{text}");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        json
    };
    let healthy = json(0, &[], 0).await;
    assert_eq!(healthy["address"], "[address]");
    assert_eq!(healthy["side"], "unknown");
    assert_eq!(healthy["channel"]["ready"], true);
    assert_eq!(healthy["upper"]["mux_direction"], "active");
    assert_eq!(healthy["lower"]["mux_direction"], "standby");
    assert_eq!(healthy["lower"]["link_state"], "up");
    assert_eq!(healthy["version"], "1.0.0");
    assert_eq!(healthy["health"], "serving");
    for query in ["admin", "operation", "link", "version", "health"] {
        assert_eq!(healthy["queries"][query]["result"], "OK", "{query}");
        let seconds = healthy["queries"][query]["seconds"].as_f64();
        assert!(seconds.is_some_and(|seconds| seconds > 0.0), "{query}");
    }
    let lower = json(0, &["--side", "lower"], 0).await;
    assert_eq!(lower["self"]["mux_direction"], "standby");
    assert_eq!(lower["peer"]["mux_direction"], "active");
    let empty = json(2, &[], 0).await;
    assert_eq!(empty["upper"]["mux_direction"], "unknown");
    assert!(empty["version"].is_null());
    assert_eq!(empty["queries"]["admin"]["result"], "EMPTY_REPLY");
    let failing = json(3, &[], 1).await;
    assert_eq!(failing["queries"]["admin"]["result"], "UNAVAILABLE");
    assert_eq!(failing["queries"]["admin"]["error"], "no cable");
    let refused = json(6, &[], 2).await;
    assert_eq!(refused["channel"]["ready"], false);
    assert_eq!(refused["channel"]["cause"], "refused");
}
