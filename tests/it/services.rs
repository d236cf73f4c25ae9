//! Targets of probe modules on the page, in the API, in `status` and in `doctor`.

use dualtor_sim::{ConnectionFault, Health};
use serde_json::Value;

use crate::child::{Ended, run};
use crate::harness::{Rack, Setup, wait_until};
use crate::http::{Scrape, get};
use crate::schema_server::{Replying, SchemaServer, Script, field};

/// Four SoCs whose health a module asks, too: Ethernet4 refuses every connection, so its target db2 fails; db1 is well.
pub(crate) async fn rack() -> Rack {
    let rack = Setup::rack(4)
        .soc("Ethernet4", |soc| soc.fault = ConnectionFault::Refuse)
        .modules(
            "health: {grpc_health: {}, interval: 500ms, timeout: 400ms, \
             channel: {backoff: {initial: 100ms, max: 500ms}}, \
             targets: [{name: db1, address: \"<Ethernet0>\"}, \
             {name: db2, address: \"<Ethernet4>\", labels: {site: a}}]}",
        )
        .start()
        .await;
    reason(&rack, "db1", "healthy").await;
    reason(&rack, "db2", "channel_not_ready").await;
    rack
}

async fn json(rack: &Rack, path: &str) -> Value {
    let answer = get(rack.web, path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    serde_json::from_str(answer.text()).expect("JSON")
}

/// Waits until the target has this reason, and all that belongs to it.
async fn reason(rack: &Rack, target: &str, expected: &str) -> Value {
    let path = format!("/api/v1/targets/health/{target}");
    wait_until(expected, async || {
        let found = json(rack, &path).await;
        let is_whole = expected != "channel_not_ready" || found["last_failure"]["cause"] == "refused";
        match found["reason"] == expected && is_whole && !found["last_round"].is_null() {
            true => Ok(found),
            false => Err(found.to_string()),
        }
    })
    .await
}

fn names(list: &Value) -> Vec<&str> {
    let targets = list["targets"].as_array().expect("a list");
    targets
        .iter()
        .map(|row| row["target"].as_str().expect("a name"))
        .collect()
}

async fn status(rack: &Rack, more: &[&str]) -> Ended {
    let url = format!("http://{}", rack.web);
    run(&[&["status", "--url", &url], more].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_has_modules_and_targets_the_worst_first() {
    let rack = rack().await;
    let modules = json(&rack, "/api/v1/modules").await;
    let module = &modules["modules"][0];
    assert_eq!(module["kind"], "grpc_health");
    assert_eq!(
        (&module["targets"], &module["interval"]),
        (&2.into(), &0.5.into())
    );
    assert_eq!(module["level"]["critical"], 1);
    let fleet = json(&rack, "/api/v1/fleet").await;
    assert_eq!(
        (&fleet["services"]["targets"], &fleet["services"]["level"]["ok"]),
        (&2.into(), &1.into())
    );

    assert_eq!(names(&json(&rack, "/api/v1/targets").await), ["db2", "db1"]);
    for (query, expected) in [
        ("level=ok", &["db1"][..]),
        ("state=ready", &["db1"]),
        ("q=REFUSED", &["db2"]),
        ("module=health&limit=1", &["db2"]),
        ("offset=1", &["db1"]),
        ("module=other", &[]),
    ] {
        let list = json(&rack, &format!("/api/v1/targets?{query}")).await;
        assert_eq!(names(&list), expected, "{query}");
    }
    let db2 = reason(&rack, "db2", "channel_not_ready").await;
    assert_eq!(
        (&db2["level"], &db2["labels"]["site"]),
        (&"critical".into(), &"a".into())
    );
    assert!(db2["failures"]["refused"].as_u64() > Some(0), "{db2}");
    let db1 = reason(&rack, "db1", "healthy").await;
    assert_eq!(db1["health"][0]["status"], "serving");
    assert_eq!(
        db1["keepalive"]["interval"],
        Value::Null,
        "PINGs go with the rounds"
    );
    assert!(db1["results"]["OK"].as_u64() > Some(0), "{db1}");
    for (path, status) in [
        ("/api/v1/targets/health/none", 404),
        ("/api/v1/targets/none/db1", 404),
        ("/api/v1/targets?level=bad", 400),
        ("/api/v1/targets?port=a", 400),
        ("/api/v1/targets?limit=0", 400),
        ("/api/v1/modules?limit=1", 400),
        ("/api/v1/targets/health/db1?limit=1", 400),
    ] {
        assert_eq!(get(rack.web, path).await.status, status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_reports_is_a_warning_and_a_watch_is_at_once() {
    let rack = rack().await;
    rack.soc("Ethernet0")
        .set(|state| state.health = Health::NotServing);
    let db1 = reason(&rack, "db1", "not_healthy").await;
    assert_eq!(
        (&db1["level"], &db1["channel"]),
        (&"warning".into(), &"ready".into())
    );
    let ended = status(&rack, &["health/db1"]).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(
        ended
            .stdout
            .starts_with("health/db1  warning: a service is not healthy\n"),
        "{}",
        ended.stdout
    );
    let page = get(rack.web, "/services").await;
    assert!(
        page.text().contains("service \"\" is not_serving")
            || page.text().contains("service &quot;&quot; is not_serving"),
        "{}",
        page.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_names_what_fails_and_lists_all() {
    let rack = rack().await;
    for path in ["/", "/services"] {
        let page = get(rack.web, path).await;
        let (before, services) = page.text().split_once("id=\"services\"").expect(path);
        if path == "/" {
            assert!(
                before.contains(" Of 2 services: 1 critical.</strong>"),
                "{before}"
            );
        }
        let places = ["health/db2", "health/db1"].map(|name| services.find(name).expect(name));
        assert!(places[0] < places[1], "the worst first: {services}");
        for part in [
            "<b>critical</b> the channel is not READY",
            "refused: Connection refused",
            "UNAVAILABLE",
            "TRANSIENT_FAILURE",
        ] {
            assert!(services.contains(part), "{path}: {part}: {services}");
        }
    }
    let one = get(rack.web, "/services?limit=1&utm_source=chat").await;
    assert!(
        one.text().contains("1 of 2 are shown. <a href=\"services\">"),
        "{}",
        one.text()
    );
    assert_eq!(get(rack.web, "/services?level=bad").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_has_a_block_of_targets_and_counts_them() {
    let rack = rack().await;
    let ended = status(&rack, &[]).await;
    assert_eq!((ended.code, &*ended.stderr), (Some(2), ""), "{}", ended.stdout);
    let block: Vec<&str> = ended
        .stdout
        .lines()
        .skip_while(|line| !line.starts_with("SERVICE"))
        .collect();
    assert!(
        block[1].starts_with("health/db2               critical channel_not_ready"),
        "{block:#?}"
    );
    assert!(block[2].starts_with("    refused: "), "{block:#?}");
    assert!(
        block[3].starts_with("health/db1               ok       healthy "),
        "{block:#?}"
    );
    assert!(block[3].ends_with(" OK"), "{block:#?}");
    assert!(
        ended.stdout.lines().all(|line| line.chars().count() <= 100),
        "{}",
        ended.stdout
    );
    let ended = status(&rack, &["--output=json"]).await;
    let all: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(names(&all), ["db2", "db1"]);

    let ended = status(&rack, &["health/db2"]).await;
    assert_eq!(ended.code, Some(2));
    for words in [
        "health/db2  critical: the channel is not READY",
        "last failure refused: ",
        "rounds, the newest first",
    ] {
        assert!(ended.stdout.contains(words), "{words}: {}", ended.stdout);
    }
    assert_eq!(
        status(&rack, &["health/db1", "--output=json"]).await.code,
        Some(0)
    );
    let ended = status(&rack, &["health/none"]).await;
    assert!(
        ended.code == Some(3) && ended.stderr.contains("no such "),
        "{ended:?}"
    );

    // No port is critical, so only the target counts.
    let lonely = Setup::rack(1)
        .modules("health: {grpc_health: {}, interval: 500ms, timeout: 400ms, targets: [{name: a, address: \"127.0.0.1:1\"}]}")
        .start()
        .await;
    reason(&lonely, "a", "channel_not_ready").await;
    let ended = status(&lonely, &["--level=critical"]).await;
    assert!(
        ended.code == Some(2) && ended.stdout.contains("health/a ") && !ended.stdout.contains("PORT"),
        "{ended:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn status_reads_all_targets_page_after_page() {
    // More than one answer of the API has. No one listens there, and a dial is repeated after a day.
    let targets: Vec<String> = (1..=5_003)
        .map(|port| format!("{{address: \"127.0.0.1:{port}\"}}"))
        .collect();
    let rack = Setup::rack(1)
        .modules(&format!(
            "health: {{grpc_health: {{}}, interval: 300d, channel: {{backoff: {{initial: 1d, max: 1d}}}}, targets: [{}]}}",
            targets.join(", ")
        ))
        .start()
        .await;
    for sort in ["worst", "target"] {
        let list = json(&rack, &format!("/api/v1/targets?sort={sort}&limit=5000")).await;
        assert_eq!(
            (&list["total"], names(&list).len()),
            (&5_003.into(), 5_000),
            "{sort}"
        );
    }
    assert_eq!(get(rack.web, "/api/v1/targets?sort=port").await.status, 400);
    let ended = status(&rack, &["--output=json"]).await;
    let all: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let all: std::collections::BTreeSet<&str> = names(&all).into_iter().collect();
    assert_eq!(all.len(), 5_003);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_servers_dialect_is_remembered_and_all_clients_must_be_compatible() {
    // 2: a service {1: its name, 3: the current version, 4: the oldest that is supported}.
    let services = field(2, &[&field(1, b"srv")[..], &[0x18, 3, 0x20, 1]].concat());
    let server = SchemaServer::start(Script {
        replying: Replying::OnlyAt("/InfoService/get", services),
        ..Script::raw(Vec::new())
    })
    .await;
    let module = |name: &str, clients: &str| {
        format!(
            "{name}: {{service_info: {{clients: {{{clients}}}}}, interval: 200ms, timeout: 150ms, \
             targets: [{{name: t, address: \"{}\"}}]}}",
            server.address
        )
    };
    let modules = [module("good", "srv: 3"), module("bad", "srv: 3, none: 1")].join(", ");
    let rack = Setup::rack(1).modules(&modules).start().await;
    for (name, success) in [("good", 1.0), ("bad", 0.0)] {
        let labels = [("module", name), ("result", "OK")];
        let scrape = rack.counts("grpc_probes_total", &labels, 5).await;
        assert_eq!(
            scrape.value("grpc_probe_success", &labels[..1]),
            Some(success),
            "{name}"
        );
    }
    // Once for each connection, and again after a round that the deadline ended.
    let text = get(rack.web, "/metrics").await;
    let scrape = Scrape::parse(text.text());
    let of = |metric: &str, label| -> f64 { scrape.find(metric, &[label]).map(|sample| sample.value).sum() };
    let asked_first = server.seen("/RpcServerService/info") as f64;
    let at_most = of("grpc_channel_transitions_total", ("to", "ready"))
        + of("grpc_probes_total", ("result", "DEADLINE_EXCEEDED"));
    assert!(asked_first <= at_most, "{asked_first}, at most {at_most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_modules_nothing_is_shown() {
    let rack = Setup::rack(1).start().await;
    assert_eq!(
        json(&rack, "/api/v1/modules").await["modules"],
        Value::Array(Vec::new())
    );
    let targets = json(&rack, "/api/v1/targets").await;
    assert_eq!((&targets["total"], names(&targets).len()), (&0.into(), 0));
    assert!(!get(rack.web, "/").await.text().contains("ervices"));
    let page = get(rack.web, "/services").await;
    assert!(
        page.text()
            .contains("No targets of probe modules are configured."),
        "{}",
        page.text()
    );
    assert!(!status(&rack, &[]).await.stdout.contains("SERVICE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_asks_each_target_once_and_says_what_to_do() {
    let rack = rack().await;
    rack.soc("Ethernet8")
        .set(|state| state.health = Health::NotServing);
    let address = |port: &str| rack.soc(port).address();
    let module = format!(
        "modules: {{health: {{grpc_health: {{}}, interval: 15s, timeout: 10s, targets: [{{name: good, address: \"{}\"}}, \
         {{name: bad, address: \"{}\"}}, {{name: gone, address: \"{}\"}}, {{name: none, address: \"no-such-name.invalid:1\"}}]}}, \
         info: {{service_info: {{}}, interval: 15s, timeout: 10s, targets: [{{name: other, address: \"{}\"}}]}}}}\n",
        address("Ethernet0"),
        address("Ethernet8"),
        address("Ethernet4"),
        address("Ethernet12"),
    );
    let yaml = std::fs::read_to_string(rack.config_path()).expect("read");
    let kept: Vec<&str> = yaml
        .lines()
        .filter(|line| !line.starts_with("modules:"))
        .collect();
    rack.write_config(&format!("{}\n{module}", kept.join("\n")));
    let path = rack.config_path();
    let ended = run(&[
        "doctor",
        "--config.file",
        path.to_str().expect("UTF-8"),
        "--timeout",
        "10s",
    ])
    .await;
    assert_eq!((ended.code, &*ended.stderr), (Some(1), ""), "{}", ended.stdout);
    let (_, block) = ended
        .stdout
        .split_once("Targets of probe modules\n")
        .expect(&ended.stdout);
    let lines: Vec<&str> = block.lines().collect();
    let after = |subject: &str| -> [&str; 2] {
        let at = lines
            .iter()
            .position(|line| line.contains(subject))
            .unwrap_or_else(|| panic!("{subject}: {block}"));
        [lines[at], lines[at + 1]]
    };
    let [good, _] = after("health/good: ");
    assert!(
        good.starts_with("  ✓ ") && good.contains("READY after ") && good.ends_with("one round: OK"),
        "{good}"
    );
    for (subject, text, remedy) in [
        (
            "health/bad",
            "READY, but the round is no success: OK: service \"\" is not_serving",
            "grpc_health.healthy",
        ),
        ("health/gone", "never READY: refused: ", "start the server"),
        ("health/none", "never READY: resolve: ", "check the name"),
        (
            "info/other",
            "READY, but the round is no success: UNIMPLEMENTED",
            "choose another kind",
        ),
    ] {
        let [line, next] = after(&format!("✗ {subject}: "));
        assert!(
            line.contains(text) && next.contains(remedy),
            "{subject}: {line}\n{next}"
        );
    }
}
