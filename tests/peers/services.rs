//! service_info against grpc-helper, and gribi.

use dualtor_testkit::http::Scrape;

use crate::rig::{Peer, Rig};

const ROUNDS: &str = "interval: 300ms, timeout: 250ms, channel: {backoff: {initial: 100ms, max: 200ms}}";

fn module(kind: &str, port: u16) -> String {
    format!("m: {{{kind}, {ROUNDS}, targets: [{{name: t, address: \"127.0.0.1:{port}\"}}]}}")
}

fn compatibility(scrape: &Scrape, service: &str) -> String {
    scrape.state("grpc_api_compatibility", &[("service", service)], "state")
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_helper_tells_its_versions_and_whose_clients_are_too_new() {
    let peer = Peer::start(&["helper"]);
    let rig = Rig::start(&module(
        "service_info: {clients: {srv: 1, config: 99, none: 1}}",
        peer.port,
    ))
    .await;
    let scrape = rig.rounds("OK", 3).await;
    let version =
        |service, bound| scrape.value("grpc_api_version", &[("service", service), ("bound", bound)]);
    assert_eq!(version("srv", "current"), Some(1.0));
    assert_eq!(version("srv", "supported"), Some(1.0));
    assert!(
        version("log", "current").is_some(),
        "services without clients are shown too"
    );
    assert_eq!(compatibility(&scrape, "srv"), "compatible");
    assert_eq!(compatibility(&scrape, "config"), "server_too_old");
    assert_eq!(compatibility(&scrape, "none"), "missing");
    assert_eq!(
        scrape.value("grpc_probe_success", &[]),
        Some(0.0),
        "a client is not compatible"
    );
    let (code, json) = rig.probe("m", "t").await;
    assert_eq!((code, &json["result"]), (Some(1), &"OK".into()));
    let services = json["services"].as_array().expect("a list");
    assert!(
        services
            .iter()
            .any(|service| service["compatibility"] == "missing"),
        "{json}"
    );
    drop(peer);
    let scrape = rig.rounds("UNAVAILABLE", 1).await;
    assert_eq!(compatibility(&scrape, "srv"), "unknown");
    assert_eq!(
        scrape.value("grpc_api_version", &[("service", "srv"), ("bound", "current")]),
        None
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_service_information_is_unimplemented_in_both_dialects() {
    let peer = Peer::start(&["health"]);
    let rig = Rig::start(&module("service_info: {}", peer.port)).await;
    rig.rounds("UNIMPLEMENTED", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gribis_entries_are_counted_and_an_unknown_instance_is_what_the_server_says() {
    let mut peer = Peer::start(&["gribi"]);
    let rig = Rig::start(&module("gribi: {}", peer.port)).await;
    let scrape = rig.rounds("OK", 2).await;
    let entries =
        |instance, aft| scrape.value("gribi_entries", &[("network_instance", instance), ("aft", aft)]);
    assert_eq!(
        (entries("DEFAULT", "ipv4"), entries("DEFAULT", "ipv6")),
        (Some(2.0), Some(0.0))
    );
    assert_eq!(entries("VRF-1", "next_hop"), Some(1.0));
    let status = |instance, plane, status| {
        let labels = [
            ("network_instance", instance),
            ("plane", plane),
            ("status", status),
        ];
        scrape.value("gribi_entries_by_status", &labels)
    };
    assert_eq!(status("DEFAULT", "fib", "not_programmed"), Some(1.0));
    assert_eq!(status("VRF-1", "rib", "unavailable"), Some(1.0));
    assert_eq!(
        scrape.value("grpc_probe_success", &[]),
        Some(1.0),
        "not programmed is for alerts"
    );
    // `all`, and all tables.
    assert!(peer.tell("calls").starts_with("12001801"));
    let (code, json) = rig.probe("m", "t").await;
    assert_eq!(
        (code, &json["gribi"]["VRF-1"]["entries"]["next_hop"]),
        (Some(0), &1.into())
    );

    let named = Rig::start(&module("gribi: {network_instances: [DEFAULT, none]}", peer.port)).await;
    let scrape = named.rounds("INTERNAL", 2).await;
    assert_eq!(scrape.value("grpc_probe_success", &[]), Some(0.0));
    assert_eq!(scrape.find("gribi_entries", &[]).count(), 0);
    assert!(
        peer.tell("calls")
            .contains("0a0744454641554c541801 0a046e6f6e651801"),
        "{}",
        peer.tell("calls")
    );
}
