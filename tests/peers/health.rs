//! grpc_health against grpcio, etcd and gobgpd.

use dualtor_testkit::reserved_port::ReservedPort;

use crate::rig::{Daemon, Peer, Rig, free_port};

const ROUNDS: &str = "interval: 300ms, timeout: 250ms, channel: {backoff: {initial: 100ms, max: 200ms}}";

fn module(keys: &str, port: u16) -> String {
    format!("m: {{grpc_health: {{{keys}}}, {ROUNDS}, targets: [{{name: t, address: \"127.0.0.1:{port}\"}}]}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcio_tells_each_service_and_each_change_and_never_refuses_our_pings() {
    let mut peer = Peer::start(&["health"]);
    let rig = Rig::start(&module("services: [\"\", db]", peer.port)).await;
    let scrape = rig.rounds("OK", 20).await;
    assert_eq!(scrape.count("grpc_channel_failures_total", &[]), 0);
    assert_eq!(
        scrape.count("grpc_channel_transitions_total", &[("to", "ready")]),
        1
    );
    assert_eq!(scrape.value("grpc_probe_success", &[]), Some(1.0));
    for (status, shown) in [
        ("NOT_SERVING", "not_serving"),
        ("SERVICE_UNKNOWN", "service_unknown"),
        ("SERVING", "serving"),
    ] {
        assert_eq!(peer.tell(&format!("set db {status}")), "ok");
        let scrape = rig
            .scraped(shown, |scrape| {
                scrape.state("grpc_health_status", &[("service", "db")], "status") == shown
            })
            .await;
        assert_eq!(
            scrape.state("grpc_health_status", &[("service", "")], "status"),
            "serving"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_grpcio_does_not_know_is_told_as_such_and_is_the_rounds_result() {
    let peer = Peer::start(&["health"]);
    let rig = Rig::start(&module("services: [db, none]", peer.port)).await;
    let scrape = rig.rounds("NOT_FOUND", 2).await;
    assert_eq!(
        scrape.state("grpc_health_status", &[("service", "none")], "status"),
        "service_unknown"
    );
    assert_eq!(
        scrape.state("grpc_health_status", &[("service", "db")], "status"),
        "serving"
    );
    assert_eq!(scrape.value("grpc_probe_success", &[]), Some(0.0));
    let (code, json) = rig.probe("m", "t").await;
    assert_eq!(
        (code, &json["result"], &json["code"]),
        (Some(1), &"NOT_FOUND".into(), &5.into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_compresses_without_being_asked_is_understood() {
    for compression in ["gzip", "deflate"] {
        let peer = Peer::start(&["health", compression]);
        let rig = Rig::start(&module("", peer.port)).await;
        let scrape = rig.rounds("OK", 2).await;
        assert_eq!(
            scrape.value("grpc_probe_success", &[]),
            Some(1.0),
            "{compression}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_read_before_each_round_and_without_it_nothing_is_sent() {
    let mut peer = Peer::start(&["health", "none", "Bearer hunter2"]);
    let module = format!(
        "m: {{grpc_health: {{}}, interval: 300ms, timeout: 250ms, channel: {{metadata: {{authorization: {{file: token}}}}}}, \
         targets: [{{name: t, address: \"127.0.0.1:{}\"}}]}}",
        peer.port
    );
    let mut rig = Rig::start(&module).await;
    let scrape = rig.rounds("UNAUTHENTICATED", 3).await;
    assert_eq!(
        scrape.count("grpc_probe_duration_seconds_count", &[]),
        0,
        "nothing was sent"
    );
    rig.program.says("token", 1).await;
    let token = rig.directory.path().join("token");
    std::fs::write(&token, "Bearer hunter2\n").expect("written");
    let scrape = rig.rounds("OK", 2).await;
    assert_eq!(scrape.value("grpc_probe_success", &[]), Some(1.0));
    std::fs::write(&token, "Bearer wrong\n").expect("written");
    let before = scrape.count("grpc_probes_total", &[("result", "UNAUTHENTICATED")]);
    rig.rounds("UNAUTHENTICATED", before + 2).await;
    let seen = peer.tell("seen");
    assert!(!seen.starts_with("0 ") && !seen.ends_with(" 0"), "{seen}");
    let log = rig.program.stderr();
    assert!(!log.contains("hunter2") && !log.contains("wrong"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_is_serving_and_never_refuses_our_pings() {
    let directory = tempfile::tempdir().expect("a directory");
    let (client, peer) = (free_port(), free_port());
    let url = |port: &ReservedPort| format!("http://127.0.0.1:{}", port.number());
    let (client_url, peer_url) = (url(&client), url(&peer));
    let _etcd = Daemon::start(
        "etcd",
        &[
            "--data-dir",
            directory.path().to_str().expect("UTF-8"),
            "--listen-client-urls",
            &client_url,
            "--advertise-client-urls",
            &client_url,
            "--listen-peer-urls",
            &peer_url,
            "--initial-advertise-peer-urls",
            &peer_url,
            "--initial-cluster",
            &format!("default={peer_url}"),
        ],
    );
    let rig = Rig::start(&module("", client.number())).await;
    let scrape = rig.rounds("OK", 20).await;
    let goaway = [("cause", "goaway")];
    assert_eq!(scrape.count("grpc_channel_failures_total", &goaway), 0);
    assert_eq!(scrape.value("grpc_probe_success", &[]), Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn gobgpd_has_no_health_service_which_can_be_what_is_expected() {
    let port = free_port();
    let host = format!("127.0.0.1:{}", port.number());
    let arguments = ["--api-hosts", &host, "--pprof-disable"];
    let _gobgpd = Daemon::start("gobgpd", &arguments);
    let rig = Rig::start(&module("healthy: [serving, unimplemented]", port.number())).await;
    let scrape = rig.rounds("UNIMPLEMENTED", 8).await;
    assert_eq!(scrape.state("grpc_health_status", &[], "status"), "unimplemented");
    assert_eq!(scrape.value("grpc_probe_success", &[]), Some(1.0));
    assert_eq!(
        scrape.count("grpc_channel_failures_total", &[("cause", "goaway")]),
        0
    );
}
