//! The endpoint: its routes, readiness, reloads.

use std::path::Path;
use std::sync::{Arc, Mutex};

use dualtor_exporter::app::{self, Exporter, Options};
use dualtor_exporter::config::Config;
use dualtor_sim::ConnectionFault;

use crate::harness::{Setup, wait_until};
use crate::http::{Scrape, ask, get};
use crate::soc_view::Look;

const PORT: &str = "Ethernet0";
const RELOADED: &str = "dualtor_config_last_reload_successful";

#[tokio::test(flavor = "multi_thread")]
async fn each_route_answers_and_others_are_not_found() {
    let rack = Setup::rack(1).start().await;
    let page = get(rack.web, "/").await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").starts_with("text/html"), "{page:?}");
    for link in ["href=\"metrics\"", "href=\"-/ready\"", "href=\"-/healthy\""] {
        assert!(page.text().contains(link), "{link}");
    }
    assert_eq!(get(rack.web, "/-/healthy").await.status, 200);
    for path in [
        "/nothing",
        "/metrics/",
        "/-/",
        "/-/quit",
        "/ports/",
        "/favicon.ico",
        "//x",
        "/static/x",
        "/static/x/y",
        "/api",
    ] {
        let answer = get(rack.web, path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(
            answer.header("content-type"),
            "text/plain; charset=utf-8",
            "{path}"
        );
        assert!(answer.text().ends_with('\n'), "{path}: {:?}", answer.text());
    }
    for (method, path) in [
        ("POST", "/metrics"),
        ("GET", "/-/reload"),
        ("DELETE", "/-/reload"),
    ] {
        let answer = ask(rack.web, method, path, &[]).await;
        assert_eq!(answer.status, 405, "{method} {path}");
        assert!(!answer.header("allow").is_empty(), "{method} {path}");
        assert!(answer.text().contains("other methods"), "{method} {path}");
    }
    let head = ask(rack.web, "HEAD", "/metrics", &[]).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    // No browser takes any of it for something else than it is.
    for path in [
        "/",
        "/metrics",
        "/api/v1/fleet",
        "/api/v1/x",
        "/-/ready",
        "/nothing",
    ] {
        let answer = get(rack.web, path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
    }
    rack.shows(PORT, &Look::HEALTHY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_are_where_the_telemetry_path_says() {
    for path in ["/probe/metrics.txt", "/", "/services"] {
        let mut setup = Setup::rack(1);
        setup.paths.telemetry = path.to_owned();
        let rack = setup.start().await;
        rack.shows(PORT, &Look::HEALTHY).await;
        assert_eq!(get(rack.web, "/metrics").await.status, 404, "{path}");
        let page = get(rack.web, "/").await;
        if path != "/" {
            assert!(
                page.text().contains(&format!("href=\"{}\"", &path[1..])),
                "{path}"
            );
        }
        assert_eq!(get(rack.web, "/-/healthy").await.status, 200);
    }
}

/// SoCs that are mute, with a dial timeout of a minute.
const PATIENT: &str = "keepalive_time: 30s, keepalive_timeout: 30s, backoff: {initial: 100ms}";

#[tokio::test(flavor = "multi_thread")]
async fn ready_is_when_each_target_has_finished_a_round_or_failed_a_dial() {
    let rack = Setup::rack(3)
        .channel(PATIENT)
        .soc("Ethernet4", |soc| soc.fault = ConnectionFault::Mute)
        .soc("Ethernet8", |soc| soc.fault = ConnectionFault::Refuse)
        .start()
        .await;
    rack.shows(PORT, &Look::HEALTHY).await;
    rack.shows("Ethernet4", &Look::unknown("connecting")).await;
    rack.shows("Ethernet8", &Look::unknown("transient_failure")).await;
    // Rounds without a READY channel do not count.
    let unavailable = [("port", "Ethernet4"), ("result", "UNAVAILABLE")];
    rack.counts("dualtor_probes_total", &unavailable, 5).await;
    let answer = get(rack.web, "/-/ready").await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(get(rack.web, "/-/healthy").await.status, 200);
    // The dial of the last SoC can now succeed.
    rack.soc("Ethernet4").connection_fault(ConnectionFault::None);
    let ready = async || match get(rack.web, "/-/ready").await.status {
        200 => Ok(()),
        status => Err(format!("status {status}")),
    };
    wait_until("ready", ready).await;
    // It stays ready, whatever happens later.
    rack.soc(PORT).connection_fault(ConnectionFault::Refuse);
    rack.shows(PORT, &Look::unknown("transient_failure")).await;
    ready().await.expect("still ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_waits_15_seconds_and_no_longer() {
    let rack = Setup::rack(1)
        .channel(PATIENT)
        .soc(PORT, |soc| soc.fault = ConnectionFault::Mute)
        .start()
        .await;
    let began = std::time::Instant::now();
    assert_eq!(get(rack.web, "/-/ready").await.status, 503);
    wait_until("ready", async || match get(rack.web, "/-/ready").await.status {
        200 => Ok(()),
        status => Err(format!("status {status}")),
    })
    .await;
    assert!(began.elapsed().as_secs() >= 13, "{:?}", began.elapsed());
    rack.shows(PORT, &Look::unknown("connecting")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_adds_changes_and_removes_targets_without_touching_the_others() {
    let mut rack = Setup::rack(4).start().await;
    for port in [PORT, "Ethernet4", "Ethernet8", "Ethernet12"] {
        rack.shows(port, &Look::HEALTHY).await;
    }
    rack.soc("Ethernet12")
        .set(|state| state.version = "12".to_owned());
    let twelve = rack.soc("Ethernet12").address();
    let targets = &mut rack.settings.targets;
    // Ethernet4 is removed, Ethernet8 gets Ethernet12's address, Ethernet16 is added.
    targets.retain(|(port, _)| port != "Ethernet4");
    targets[1].1 = twelve;
    targets.push(("Ethernet16".to_owned(), twelve));
    rack.reload().await;
    let at_twelve = Look {
        version: "12",
        ..Look::HEALTHY
    };
    for port in ["Ethernet8", "Ethernet12", "Ethernet16"] {
        rack.shows(port, &at_twelve).await;
    }
    let scrape = rack.shows(PORT, &Look::HEALTHY).await;
    let dials = |port| scrape.value("dualtor_channel_dials_total", &[("port", port)]);
    assert_eq!(dials(PORT), Some(1.0), "untouched");
    assert_eq!(dials("Ethernet12"), Some(1.0), "untouched");
    assert_eq!(dials("Ethernet4"), None);
    assert_eq!(dials("Ethernet8"), Some(2.0), "counters go on");
    assert_eq!(dials("Ethernet16"), Some(1.0));
    let local = [("port", "Ethernet8"), ("cause", "local")];
    assert_eq!(scrape.value("dualtor_channel_failures_total", &local), Some(1.0));
    assert_eq!(scrape.value(RELOADED, &[]), Some(1.0));
    assert_eq!(scrape.value("dualtor_inventory_ports", &[]), Some(4.0));
    assert!(rack.row("Ethernet4").is_empty());
    wait_until("the moved one's old connection is closed", async || {
        match rack.soc("Ethernet8").counters().open_connections {
            0 => Ok(()),
            open => Err(format!("{open} connections")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_changes_nothing_and_says_why() {
    let mut rack = Setup::rack(2).start().await;
    rack.shows(PORT, &Look::HEALTHY).await;
    rack.shows("Ethernet4", &Look::HEALTHY).await;
    let at = "dualtor_config_last_reload_success_timestamp_seconds";
    let loaded = rack.scrape().await.value(at, &[]);
    let good = rack.settings.yaml(&rack.redis);
    let without_last = good.rsplit_once("  - ").expect("two targets").0.to_owned();
    let elsewhere = without_last.replace("publish: own", "publish: shadow");
    let notices = without_last.replace("publish: own", "publish_notifications: true");
    for (bad, reason) in [
        (format!("{without_last}nonsense: 1\n"), "nonsense"),
        (
            without_last.replace("interval: 600ms", "interval: 0s"),
            "probe.interval",
        ),
        (elsewhere, "databases: a change"),
        (notices, "databases: a change"),
        (String::new(), "expected"),
    ] {
        rack.write_config(&bad);
        let answer = ask(rack.web, "POST", "/-/reload", &[]).await;
        assert_eq!(answer.status, 500, "{bad}");
        assert!(answer.text().contains(reason), "{reason}: {}", answer.text());
        let scrape = rack.scrape().await;
        assert_eq!(scrape.value(RELOADED, &[]), Some(0.0));
        assert_eq!(scrape.value(at, &[]), loaded);
        assert_eq!(scrape.value("dualtor_inventory_ports", &[]), Some(2.0));
    }
    std::fs::remove_file(rack.config_path()).expect("removed");
    let answer = ask(rack.web, "PUT", "/-/reload", &[]).await;
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("cannot read"), "{}", answer.text());
    rack.settings.probe = "interval: 2s".to_owned();
    rack.reload().await;
    let scrape = rack.scrape().await;
    assert_eq!(scrape.value(RELOADED, &[]), Some(1.0));
    assert!(scrape.value(at, &[]) > loaded);
    let dials = scrape.count("dualtor_channel_dials_total", &[]);
    assert_eq!(dials, 2, "one for each target, never again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_whose_file_system_hangs_fails_its_reload_and_not_the_next() {
    const TEXT: &str = "{side: upper, targets: [], databases: {publish: off}}";
    let parse = || Config::parse(TEXT, Path::new("config.yml"));
    let (_hung, hangs) = std::sync::mpsc::channel::<()>();
    let hangs = Mutex::new(Some(hangs));
    let load = move || {
        let first = hangs.lock().expect("no panic").take();
        if let Some(hangs) = first {
            let _ = hangs.recv();
        }
        parse()
    };
    let exporter = Exporter::start(Options {
        config: parse().expect("good"),
        load: Arc::new(load),
        follow: None,
        listeners: Default::default(),
        paths: Default::default(),
        allowed_hosts: Default::default(),
        enable_lifecycle: true,
        service_manager: Default::default(),
        watchdog: Default::default(),
        web_config: None,
        limits: dualtor_exporter::web::Limits::default(),
        otel: None,
        lines_dropped: Arc::default(),
    });
    let reloader = exporter.reloader();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(exporter.run(async { drop(stopped.await) }));
    let (first, second) = tokio::join!(app::reload(&reloader), app::reload(&reloader));
    let error = first.expect("an outcome").expect_err("it hangs");
    assert!(
        error.contains("not read within") && error.contains("file system"),
        "{error}"
    );
    second.expect("an outcome").expect("a good one");
    drop(stop);
    running.await.expect("no panic").expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_flag_a_reload_is_forbidden() {
    let mut setup = Setup::rack(1);
    setup.lifecycle = false;
    let rack = setup.start().await;
    rack.write_config("nonsense: 1\n");
    for method in ["POST", "PUT"] {
        let answer = ask(rack.web, method, "/-/reload", &[]).await;
        assert_eq!(answer.status, 403);
        assert!(
            answer.text().contains("--web.enable-lifecycle"),
            "{}",
            answer.text()
        );
    }
    assert_eq!(
        rack.scrape().await.value(RELOADED, &[]),
        Some(1.0),
        "not even tried"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_interval_is_in_force_without_a_redial() {
    let mut rack = Setup::rack(1).probe(crate::harness::ONLY_AT_READY).start().await;
    rack.shows(PORT, &Look::HEALTHY).await;
    rack.settings.probe = "interval: 1s".to_owned();
    rack.reload().await;
    let rounds = [("query", "admin"), ("result", "OK")];
    let scrape: Scrape = rack.counts("dualtor_probes_total", &rounds, 4).await;
    assert_eq!(scrape.count("dualtor_channel_dials_total", &[]), 1);
}
