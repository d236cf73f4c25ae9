//! Probe modules against simulated servers: channel, rounds, Watch, /probe, `probe --module`, reloads.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use dualtor_exporter::telemetry::catalogue::CATALOGUE;
use dualtor_sim::{ConnectionFault, H2Code, Health, ReplyFault, Rpc};

use crate::child::{self, Program};
use crate::connections::goaway;
use crate::harness::{LONG, ONLY_AT_READY, Rack, Setup, wait_until};
use crate::http::{self, Scrape};
use crate::soc_view::Look;

const SOC: &str = "Ethernet0";
const TARGET: [(&str, &str); 2] = [("module", "health"), ("target", "soc")];
/// Fast dials, for tests.
const CHANNEL: &str = "channel: {keepalive_timeout: 2s, backoff: {initial: 100ms, max: 500ms}}";
/// Rounds are so far apart that only those at READY are seen.
const NO_ROUNDS: &str = "interval: 300d, timeout: 5s";

/// One SoC, whose health a module asks with these keys.
fn asked(keys: &str) -> Setup {
    let module = format!(
        "health: {{grpc_health: {{}}, {keys}, {CHANNEL}, targets: [{{name: soc, address: \"<{SOC}>\", labels: {{site: a}}}}]}}"
    );
    Setup::rack(1).modules(&module)
}

fn value(scrape: &Scrape, name: &str) -> Option<f64> {
    scrape.value(name, &TARGET)
}

fn with<'a>(more: (&'a str, &'a str)) -> [(&'a str, &'a str); 3] {
    [TARGET[0], TARGET[1], more]
}

/// The state of the channel, the status of service "" and the success.
fn seen(scrape: &Scrape) -> String {
    let success = value(scrape, "grpc_probe_success").map_or("-".to_owned(), |success| success.to_string());
    let channel = scrape.state("grpc_channel_state", &TARGET, "state");
    let health = scrape.state("grpc_health_status", &with(("service", "")), "status");
    format!("{channel} {health} {success}")
}

async fn shows(rack: &Rack, expected: &str) -> Scrape {
    wait_until(expected, async || {
        let scrape = rack.scrape().await;
        // Before the first reload that adds it there is no target.
        if scrape.find("grpc_channel_state", &TARGET).next().is_none() {
            return Err("no target".to_owned());
        }
        match seen(&scrape) {
            seen if seen == expected => Ok(scrape),
            seen => Err(seen),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_target_has_all_its_series_and_no_module_has_none() {
    let rack = asked("interval: 500ms, timeout: 400ms").start().await;
    shows(&rack, "ready serving 1").await;
    let ok = with(("result", "OK"));
    let scrape = rack.counts("grpc_probes_total", &ok, 3).await;
    let info = [with(("kind", "grpc_health"))[2], ("site", "a")];
    assert_eq!(scrape.value("grpc_target_info", &info), Some(1.0));
    assert_eq!(
        scrape.value("grpc_module_targets", &[("module", "health")]),
        Some(1.0)
    );
    for result in ["DEADLINE_EXCEEDED", "UNAVAILABLE"] {
        assert_eq!(
            scrape.value("grpc_probes_total", &with(("result", result))),
            Some(0.0)
        );
    }
    assert!(scrape.count("grpc_probe_duration_seconds_count", &TARGET) >= 3);
    assert!(value(&scrape, "grpc_probe_last_success_timestamp_seconds").is_some());
    assert_eq!(
        value(&scrape, "grpc_keepalive_interval_seconds"),
        None,
        "PINGs go with the rounds"
    );
    assert!(value(&scrape, "grpc_keepalive_rtt_seconds").is_some());
    let series = scrape
        .samples
        .iter()
        .filter(|sample| sample.labels.contains_key("module"));
    assert!(series.count() <= 60 + 5 + 1, "the contract's bound");
    for sample in scrape
        .samples
        .iter()
        .filter(|sample| sample.name.starts_with("grpc_"))
    {
        let name = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| sample.name.strip_suffix(end))
            .unwrap_or(&sample.name);
        let family = CATALOGUE.iter().find(|family| family.name == name);
        let mut expected: BTreeSet<&str> = family.expect(name).labels.split(", ").collect();
        if name == "grpc_target_info" {
            expected.insert("site");
        }
        let labels = sample.labels.keys().map(String::as_str);
        let labels: BTreeSet<&str> = labels.filter(|label| *label != "le").collect();
        assert_eq!(labels, expected, "{name}");
    }
    // Beside it the SoC is probed as ever.
    rack.shows(SOC, &Look::HEALTHY).await;

    let without = Setup::rack(1).start().await;
    without.shows(SOC, &Look::HEALTHY).await;
    let scrape = without.scrape().await;
    let ours = scrape
        .samples
        .iter()
        .find(|sample| sample.name.starts_with("grpc_") || sample.name.starts_with("gribi_"));
    assert_eq!(ours, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_watch_reports_is_shown_long_before_the_next_round() {
    let rack = asked(NO_ROUNDS).start().await;
    shows(&rack, "ready serving 1").await;
    wait_until("two streams of Watch", async || {
        match rack.soc(SOC).counters().health_streams {
            2 => Ok(()),
            streams => Err(streams.to_string()),
        }
    })
    .await;
    for (health, expected) in [
        (Health::NotServing, "ready not_serving 0"),
        (Health::ServiceUnknown, "ready service_unknown 0"),
        (Health::Serving, "ready serving 1"),
    ] {
        rack.soc(SOC).set(|state| state.health = health);
        shows(&rack, expected).await;
    }
    // A server that flaps: the fortieth change is shown as soon as the first. 40 changes would take a minute if they were shown
    // each two seconds.
    let began = Instant::now();
    for n in 1..=40 {
        let (health, expected) = match n % 2 {
            0 => (Health::Serving, "ready serving 1"),
            _ => (Health::NotServing, "ready not_serving 0"),
        };
        rack.soc(SOC).set(|state| state.health = health);
        shows(&rack, expected).await;
    }
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_watch_a_change_is_shown_by_the_next_round_and_what_is_healthy_is_configured() {
    let keys =
        "grpc_health: {watch: false, healthy: [not_serving, unimplemented]}, interval: 300ms, timeout: 200ms";
    let module = format!("health: {{{keys}, {CHANNEL}, targets: [{{name: soc, address: \"<{SOC}>\"}}]}}");
    let rack = Setup::rack(1).modules(&module).start().await;
    shows(&rack, "ready serving 0").await;
    for (health, expected) in [
        (Health::NotServing, "ready not_serving 1"),
        (Health::None, "ready unimplemented 1"),
        (Health::NotFound, "ready service_unknown 0"),
    ] {
        rack.soc(SOC).set(|state| state.health = health);
        shows(&rack, expected).await;
    }
    let results = ["UNIMPLEMENTED", "NOT_FOUND"].map(|result| with(("result", result)));
    let scrape = rack.scrape().await;
    for result in results {
        assert!(scrape.count("grpc_probes_total", &result) >= 1, "{result:?}");
    }
    // The SoC's own Watch, and none of the module.
    assert!(rack.soc(SOC).counters().health_streams <= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_hangs_fails_its_next_round_and_leaves_ready_an_interval_and_the_timeout_later() {
    let rack = asked("interval: 1s, timeout: 400ms").start().await;
    shows(&rack, "ready serving 1").await;
    let hung = Instant::now();
    rack.soc(SOC).connection_fault(ConnectionFault::Hang);
    rack.counts("grpc_probes_total", &with(("result", "DEADLINE_EXCEEDED")), 1)
        .await;
    rack.counts(
        "grpc_channel_failures_total",
        &with(("cause", "keepalive_timeout")),
        1,
    )
    .await;
    // 1.1 s to the next round, 2 s for the answer to its PING.
    assert!(hung.elapsed() < Duration::from_secs(31), "{:?}", hung.elapsed());
    shows(&rack, "transient_failure unknown 0").await;
    rack.counts("grpc_probes_total", &with(("result", "UNAVAILABLE")), 1)
        .await;
    rack.soc(SOC).connection_fault(ConnectionFault::None);
    shows(&rack, "ready serving 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_connection_is_no_success_at_once_and_a_graceful_goaway_is_no_failure() {
    let rack = asked(NO_ROUNDS).start().await;
    shows(&rack, "ready serving 1").await;
    rack.soc(SOC).connection_fault(goaway(H2Code::NoError, ""));
    let twice = with(("to", "ready"));
    let scrape = rack.counts("grpc_channel_transitions_total", &twice, 2).await;
    assert_eq!(scrape.count("grpc_channel_failures_total", &TARGET), 0);
    assert_eq!(
        scrape.count(
            "grpc_channel_transitions_total",
            &with(("to", "transient_failure"))
        ),
        0
    );
    shows(&rack, "ready serving 1").await;
    rack.soc(SOC).connection_fault(ConnectionFault::Refuse);
    rack.soc(SOC).close_connections();
    shows(&rack, "transient_failure unknown 0").await;
    rack.soc(SOC).connection_fault(ConnectionFault::None);
    shows(&rack, "ready serving 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_resolved_for_each_dial_and_one_without_an_address_fails_as_resolve() {
    let rack = Setup::rack(1).stage().await;
    let port = rack.soc(SOC).address().port();
    let mut rack = rack;
    rack.settings.modules = format!(
        "health: {{grpc_health: {{}}, {NO_ROUNDS}, {CHANNEL}, targets: [{{name: soc, address: \"localhost:{port}\"}}, \
         {{name: none, address: \"no-such-name.invalid:1\"}}]}}"
    );
    rack.write_config(&rack.settings.yaml(&rack.redis));
    rack.start_exporter().await;
    shows(&rack, "ready serving 1").await;
    let none = [("module", "health"), ("target", "none")];
    let resolve = [none[0], none[1], ("cause", "resolve")];
    let scrape = rack.counts("grpc_channel_failures_total", &resolve, 2).await;
    assert_eq!(
        scrape.state("grpc_channel_state", &none, "state"),
        "transient_failure"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_go_with_the_rounds_also_of_a_soc_if_that_is_configured() {
    let rack = Setup::rack(1)
        .probe("interval: 400ms, timeout: 300ms")
        .channel("keepalive_time: rounds, keepalive_timeout: 2s, backoff: {initial: 100ms, max: 500ms}")
        .start()
        .await;
    let rounds = [("port", SOC), ("query", "admin"), ("result", "OK")];
    let before = rack.counts("dualtor_probes_total", &rounds, 1).await;
    let pings = rack.soc(SOC).counters().pings_seen;
    let after = rack
        .counts(
            "dualtor_probes_total",
            &rounds,
            before.count("dualtor_probes_total", &rounds) + 6,
        )
        .await;
    let rounds = after.count("dualtor_probes_total", &rounds) - before.count("dualtor_probes_total", &rounds);
    let pings = rack.soc(SOC).counters().pings_seen - pings;
    assert!(pings.abs_diff(rounds) <= 1, "{pings} PINGs in {rounds} rounds");
    assert_eq!(
        after.value("dualtor_keepalive_interval_seconds", &[("port", SOC)]),
        Some(0.4)
    );
}

async fn connections(rack: &Rack) -> u64 {
    rack.soc(SOC).counters().connections
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_redials_only_if_channel_or_address_have_changed_and_a_target_that_leaves_takes_its_series_along()
 {
    let mut rack = Setup::rack(1).start().await;
    rack.shows(SOC, &Look::HEALTHY).await;
    let module = |keys: &str, target: &str| {
        format!(
            "health: {{grpc_health: {{{keys}}}, {CHANNEL}, targets: [{{name: soc, address: \"<{SOC}>\"{target}}}]"
        )
    };
    rack.settings.modules = module("", "") + ", interval: 300d}";
    rack.reload().await;
    shows(&rack, "ready serving 1").await;
    let before = connections(&rack).await;

    rack.settings.modules =
        module("healthy: [not_serving]", ", labels: {site: b}") + ", interval: 300ms, timeout: 200ms}";
    rack.reload().await;
    let scrape = shows(&rack, "ready serving 0").await;
    assert_eq!(scrape.count("grpc_target_info", &with(("site", "b"))), 1);
    assert_eq!(connections(&rack).await, before, "no redial");

    rack.settings.modules =
        module("healthy: [not_serving]", "").replace("2s", "3s") + ", interval: 300ms, timeout: 200ms}";
    rack.reload().await;
    wait_until("a new connection", async || match connections(&rack).await {
        now if now > before => Ok(()),
        now => Err(now.to_string()),
    })
    .await;
    let scrape = shows(&rack, "ready serving 0").await;
    assert_eq!(
        scrape.count("grpc_channel_transitions_total", &with(("to", "ready"))),
        2,
        "counters go on"
    );

    // A bad file changes nothing.
    let good = std::mem::replace(&mut rack.settings.modules, "health: {}".to_owned());
    rack.write_config(&rack.settings.yaml(&rack.redis));
    let answer = http::ask(rack.web, "POST", "/-/reload", &[]).await;
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("modules.health"), "{}", answer.text());
    shows(&rack, "ready serving 0").await;

    rack.settings.modules = good.replace("name: soc", "name: other");
    rack.reload().await;
    rack.scraped("grpc_channel_state", |scrape| {
        scrape.find("grpc_channel_state", &TARGET).count() == 0
            && scrape.count("grpc_channel_state", &[("target", "other")]) == 1
    })
    .await;
    rack.settings.modules = String::new();
    rack.reload().await;
    rack.scraped("grpc_", |scrape| {
        !scrape
            .samples
            .iter()
            .any(|sample| sample.name.starts_with("grpc_"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probe_asks_configured_targets_only_over_their_standing_channel() {
    let rack = asked(NO_ROUNDS).start().await;
    shows(&rack, "ready serving 1").await;
    let address = rack.soc(SOC).address();
    for (query, status, words) in [
        ("", 400, "module"),
        ("?target=soc", 400, "module"),
        ("?module=health", 400, "target"),
        ("?module=none&target=soc", 400, "\"none\""),
        (
            "?module=health&target=127.0.0.1:1",
            403,
            "not a configured target",
        ),
        (&format!("?module=health&target=x{}", "y".repeat(5000)), 403, "…"),
    ] {
        let answer = http::get(rack.web, &format!("/probe{query}")).await;
        assert_eq!(answer.status, status, "{query:.60}: {}", answer.text());
        assert!(
            answer.text().contains(words) && answer.text().len() < 400,
            "{query:.60}: {}",
            answer.text()
        );
    }
    let before = connections(&rack).await;
    for target in ["soc", &address.to_string()] {
        let answer = http::get(rack.web, &format!("/probe?module=health&target={target}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(
            answer
                .header("content-type")
                .starts_with("text/plain; version=0.0.4")
        );
        let scrape = Scrape::parse(answer.text());
        assert_eq!(scrape.value("probe_success", &[]), Some(1.0));
        assert_eq!(scrape.value("probe_grpc_status_code", &[]), Some(0.0));
        assert_eq!(scrape.value("probe_timeout_seconds", &[]), Some(5.0));
        assert_eq!(scrape.value("probe_grpc_ssl", &[]), Some(0.0));
        assert_eq!(
            scrape.state("probe_grpc_healthcheck_response", &[], "serving_status"),
            "SERVING"
        );
        assert_eq!(scrape.value("probe_ssl_earliest_cert_expiry", &[]), None);
    }
    assert_eq!(connections(&rack).await, before);
    let answer = http::get(rack.web, "/probe?module=health&target=soc&debug=true").await;
    for words in ["Rounds of soc", "OK (success)", "probe_success 1", "GrpcHealth"] {
        assert!(answer.text().contains(words), "{words}: {}", answer.text());
    }
}

/// What a program has at rest: tasks, and sockets that listen.
#[derive(Debug, Clone, Copy, PartialEq)]
struct AtRest {
    tasks: usize,
    listening: usize,
}

/// Reads them until they are the same in three dumps in a row: a connection that has just ended may still have its task.
async fn at_rest(program: &mut Program, directory: &std::path::Path) -> AtRest {
    let mut seen = Vec::new();
    for times in 1.. {
        program.signal("USR2");
        // There is at most one dump a second.
        let line = program.says("dump written", times).await;
        let path = line
            .split("path=")
            .nth(1)
            .and_then(|rest| rest.split([' ', '"']).find(|word| !word.is_empty()));
        let text = std::fs::read_to_string(directory.join(path.expect("a path"))).expect("a dump");
        let tasks = text
            .lines()
            .find_map(|line| line.strip_prefix("tasks"))
            .expect("tasks");
        seen.push(AtRest {
            tasks: tasks.trim().parse().expect("a number"),
            listening: listening(program.id()),
        });
        if let [.., one, two, three] = seen[..]
            && one == two
            && two == three
        {
            return three;
        }
        assert!(times < 60, "no rest: {seen:?}");
    }
    unreachable!("it ends in the loop")
}

/// The sockets of a process that listen.
fn listening(process: u32) -> usize {
    let inodes = |file: &str| -> BTreeSet<String> {
        let text = std::fs::read_to_string(format!("/proc/{process}/net/{file}")).unwrap_or_default();
        let lines = text
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        // 0A: it listens.
        let listen = lines.filter(|fields| fields.get(3) == Some(&"0A"));
        listen
            .filter_map(|fields| fields.get(9).map(|inode| (*inode).to_owned()))
            .collect()
    };
    let all: BTreeSet<String> = inodes("tcp").union(&inodes("tcp6")).cloned().collect();
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).expect("running");
    let links = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    links
        .filter(|link| {
            let link = link.to_string_lossy();
            let inode = link
                .strip_prefix("socket:[")
                .and_then(|rest| rest.strip_suffix(']'));
            inode.is_some_and(|inode| all.contains(inode))
        })
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_modules_there_is_neither_a_task_nor_a_socket_for_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut rack = Setup::rack(1)
        .probe(ONLY_AT_READY)
        .databases("publish: off")
        .stage()
        .await;
    let away = "127.0.0.1:1";
    // The backoff is so long that no target is dialled twice.
    let with = |targets: &str| {
        format!(
            "m: {{grpc_health: {{}}, interval: 300d, channel: {{backoff: {{initial: 1h, max: 1h}}}}, targets: [{targets}]}}"
        )
    };
    let mut seen = Vec::new();
    for modules in [
        String::new(),
        with(""),
        with(&format!(
            "{{name: a, address: \"{away}\"}}, {{name: b, address: \"{away}0\"}}"
        )),
    ] {
        rack.settings.modules = modules;
        rack.write_config(&rack.settings.yaml(&rack.redis));
        let path = rack.config_path();
        let own = directory.path().to_str().expect("UTF-8");
        let mut program = Program::start(&[
            "--config.file",
            path.to_str().expect("UTF-8"),
            "--web.listen-address",
            "127.0.0.1:0",
            "--debug.dump-directory",
            own,
        ]);
        program.address().await;
        program.says("to=ready", 1).await;
        seen.push(at_rest(&mut program, directory.path()).await);
    }
    let absent = seen[0];
    // The fleet of the modules has a task, and so has each target; none of them listens.
    let more = |tasks| AtRest {
        tasks: absent.tasks + tasks,
        ..absent
    };
    assert_eq!(seen, [absent, more(1), more(3)]);
    assert_eq!(absent.listening, 1, "the web side");
}

/// `/probe` gives a result again for a second. Only time ends that: nothing that could be waited for happens then, and asking would
/// begin the second anew.
async fn outdate_the_last_round() {
    tokio::time::sleep(Duration::from_millis(1100)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_is_a_round_like_any_other_shared_by_all_who_wait_and_given_again_for_a_second() {
    let rack = asked(NO_ROUNDS).start().await;
    shows(&rack, "ready serving 1").await;
    let ok = with(("result", "OK"));
    let rounds = rack.scrape().await.count("grpc_probes_total", &ok);
    rack.soc(SOC).reply_fault_only(
        ReplyFault::Slow {
            delay: Duration::from_millis(300),
        },
        &[Rpc::Health],
    );
    outdate_the_last_round().await;
    let ask = || http::get(rack.web, "/probe?module=health&target=soc");
    let (one, two, three) = tokio::join!(ask(), ask(), ask());
    for answer in [one, two, three, ask().await] {
        assert_eq!(
            Scrape::parse(answer.text()).value("probe_success", &[]),
            Some(1.0),
            "{}",
            answer.text()
        );
    }
    let now = rack.scrape().await.count("grpc_probes_total", &ok);
    assert!((rounds + 1..=rounds + 2).contains(&now), "{rounds} {now}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_the_scraper_does_not_wait_for_is_cut() {
    let rack = asked(NO_ROUNDS).start().await;
    shows(&rack, "ready serving 1").await;
    rack.soc(SOC).reply_fault_only(ReplyFault::Stall, &[Rpc::Health]);
    outdate_the_last_round().await;
    let began = Instant::now();
    let timeout = [("X-Prometheus-Scrape-Timeout-Seconds", "1")];
    let answer = http::ask(rack.web, "GET", "/probe?module=health&target=soc", &timeout).await;
    let scrape = Scrape::parse(answer.text());
    assert_eq!(scrape.value("probe_success", &[]), Some(0.0), "{}", answer.text());
    assert_eq!(scrape.value("probe_grpc_status_code", &[]), Some(4.0));
    assert_eq!(scrape.value("probe_timeout_seconds", &[]), Some(0.5));
    assert!(began.elapsed() < LONG / 2, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_probe_dials_once_as_the_module_says_and_its_exit_code_is_the_result() {
    let rack = asked(NO_ROUNDS).stage().await;
    let address = rack.soc(SOC).address().to_string();
    let file = rack.config_path();
    let file = file.to_str().expect("UTF-8");
    let probe = |module: &str, target: &str, more: &[&str]| {
        let args = ["probe", "--module", module, "--config.file", file, target];
        let args: Vec<String> = args.iter().chain(more).map(|arg| (*arg).to_owned()).collect();
        async move { child::run(&args.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    let ended = probe("health", "soc", &[]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for words in [&*address, "READY after", "serving", "OK (success)"] {
        assert!(ended.stdout.contains(words), "{words}: {}", ended.stdout);
    }
    let ended = probe("health", &address, &["--output", "json"]).await;
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(
        (ended.code, &json["success"], &json["health"][""]),
        (Some(0), &true.into(), &"serving".into())
    );
    assert_eq!(
        (&json["result"], &json["code"], &json["gribi"]),
        (&"OK".into(), &0.into(), &serde_json::Value::Null)
    );
    rack.soc(SOC).set(|state| state.health = Health::NotServing);
    let ended = probe("health", "soc", &[]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("OK (no success)"), "{}", ended.stdout);
    // Any address may be dialled by who has a shell.
    let ended = probe("health", "127.0.0.1:1", &["--output", "json"]).await;
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(
        (ended.code, &json["channel"]["cause"]),
        (Some(2), &"refused".into())
    );
    for (module, target, words) in [
        (
            "none",
            "soc",
            "there is no module \"none\": the configuration has health",
        ),
        (
            "health",
            "no port",
            "expected the name of a target of health, or host:port",
        ),
    ] {
        let ended = probe(module, target, &[]).await;
        child::assert_cannot_start(&ended, &[words]);
    }
}
