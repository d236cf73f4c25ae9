//! TLS of probe modules over real sockets: their own files and no others, each reason to be refused, expiry in the metrics, in
//! /probe and in `probe --module`.

use dualtor_sim::Tls;

use crate::certificates::{Ca, EXPIRED, Files, VALID, new_year};
use crate::child;
use crate::harness::{Rack, Setup, wait_until};
use crate::http::{self, Scrape};
use crate::soc_view::Look;
use crate::tls::shared_ca;

const SOC: &str = "Ethernet0";
const TARGET: [(&str, &str); 2] = [("module", "m"), ("target", "t")];
const EXPIRY: &str = "grpc_certificate_expiry_timestamp_seconds";

/// A SoC that serves with `tls`, as a target of a module with these keys of `channel`. The SoC's own channel has no certificate.
fn secured(files: Files, tls: Tls, channel: &str) -> Setup {
    let own = files.verify("");
    Setup::rack(1).tls(files, tls, &own).modules(&module(channel))
}

fn module(channel: &str) -> String {
    format!(
        "m: {{grpc_health: {{}}, interval: 500ms, timeout: 400ms, \
         channel: {{backoff: {{initial: 100ms, max: 300ms}}, {channel}}}, targets: [{{name: t, address: \"<{SOC}>\"}}]}}"
    )
}

async fn ready(rack: &Rack) -> Scrape {
    rack.scraped("READY and a success", |scrape| {
        scrape.value("grpc_channel_state", &[TARGET[0], TARGET[1], ("state", "ready")]) == Some(1.0)
            && scrape.value("grpc_probe_success", &TARGET) == Some(1.0)
    })
    .await
}

/// Never READY, and only for this cause.
async fn refused(what: &str, rack: &Rack, cause: &str) -> Scrape {
    let failures = "grpc_channel_failures_total";
    let scrape = rack
        .scraped(what, |scrape| {
            scrape.count(failures, &[TARGET[0], TARGET[1], ("cause", cause)]) >= 2
                && scrape.value("grpc_probe_success", &TARGET) == Some(0.0)
        })
        .await;
    let all = scrape.count(failures, &TARGET);
    assert_eq!(
        scrape.count(failures, &[TARGET[0], TARGET[1], ("cause", cause)]),
        all,
        "{what}: {:?}",
        scrape.find(failures, &TARGET).collect::<Vec<_>>()
    );
    let ready = [TARGET[0], TARGET[1], ("to", "ready")];
    assert_eq!(
        scrape.count("grpc_channel_transitions_total", &ready),
        0,
        "{what}"
    );
    scrape
}

async fn probed(rack: &Rack) -> Scrape {
    let answer = http::get(rack.web, "/probe?module=m&target=t").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Scrape::parse(answer.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_verified_and_its_certificates_expiry_is_shown_everywhere() {
    let (files, ca) = shared_ca();
    let (tls, channel) = (files.soc(&ca.soc((2020, 2080))), files.verify(""));
    let rack = secured(files, tls, &channel).start().await;
    let scrape = ready(&rack).await;
    assert_eq!(scrape.count("grpc_channel_failures_total", &TARGET), 0);
    assert_eq!(scrape.value(EXPIRY, &TARGET), Some(new_year(2080)));
    let scrape = probed(&rack).await;
    assert_eq!(scrape.value("probe_success", &[]), Some(1.0));
    assert_eq!(scrape.value("probe_grpc_ssl", &[]), Some(1.0));
    assert_eq!(
        scrape.value("probe_ssl_earliest_cert_expiry", &[]),
        Some(new_year(2080))
    );
    let file = rack.config_path();
    let file = file.to_str().expect("UTF-8");
    let ended = child::run(&["probe", "--module", "m", "--config.file", file, "t"]).await;
    assert!(
        ended.code == Some(0)
            && ended
                .stdout
                .contains("the peer's certificate expires 2080-01-01T00:00:00Z"),
        "{ended:?}"
    );
    let target = http::get(rack.web, "/api/v1/targets/m/t").await;
    assert!(
        target
            .text()
            .contains("\"certificate_expiry\":\"2080-01-01T00:00:00"),
        "{}",
        target.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_asks_for_a_certificate_gets_the_modules_and_never_that_of_the_socs() {
    let (files, ca) = shared_ca();
    files.client(&ca.client(VALID));
    let tls = Tls {
        client_ca: Some(files.path("ca.crt")),
        ..files.soc(&ca.soc(VALID))
    };
    // The channels of the SoCs have a certificate, and the module has none.
    let (own, without, with) = (files.mutual(""), files.verify(""), files.mutual(""));
    let mut rack = Setup::rack(1)
        .tls(files, tls, &own)
        .modules(&module(&without))
        .start()
        .await;
    rack.shows(SOC, &Look::HEALTHY).await;
    refused("without a certificate", &rack, "tls_client_refused").await;
    rack.settings.modules = module(&with);
    rack.reload().await;
    ready(&rack).await;
    rack.shows(SOC, &Look::HEALTHY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reason_to_be_refused_is_a_cause_of_its_own() {
    let start = async |make: &dyn Fn(&Ca) -> crate::certificates::Pem, more: &str| {
        let (files, ca) = shared_ca();
        let (tls, channel) = (files.soc(&make(&ca)), files.verify(more));
        secured(files, tls, &channel).start().await
    };
    let rack = start(&|ca| ca.soc(EXPIRED), "").await;
    let scrape = refused("expired", &rack, "tls_expired").await;
    // The alerts need it also then.
    assert_eq!(scrape.value(EXPIRY, &TARGET), Some(new_year(2021)));
    let scrape = probed(&rack).await;
    assert_eq!(scrape.value("probe_success", &[]), Some(0.0));
    assert_eq!(
        scrape.value("probe_ssl_earliest_cert_expiry", &[]),
        Some(new_year(2021))
    );
    let rack = start(&|_| Ca::new("another CA", VALID).soc(VALID), "").await;
    refused("another CA", &rack, "tls_unknown_ca").await;
    let rack = start(&|ca| ca.named("db.example"), "").await;
    refused("another name", &rack, "tls_wrong_name").await;
    let rack = start(&|ca| ca.named("db.example"), ", server_name: db.example").await;
    ready(&rack).await;

    // Plain text on one side only.
    let (files, ca) = shared_ca();
    let tls = files.soc(&ca.soc(VALID));
    let rack = secured(files, tls, "source_address: none").start().await;
    let scrape = refused("a plain module", &rack, "protocol").await;
    assert_eq!(scrape.value(EXPIRY, &TARGET), None);
    assert_eq!(probed(&rack).await.value("probe_grpc_ssl", &[]), Some(0.0));
    let (files, _) = shared_ca();
    let channel = files.verify("");
    let rack = Setup::rack(1).modules(&module(&channel)).start().await;
    refused("a plain target", &rack, "tls").await;
    assert_eq!(probed(&rack).await.value("probe_grpc_ssl", &[]), Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_files_are_for_the_next_dial_and_one_that_is_missing_is_a_cause() {
    let (files, ca) = shared_ca();
    let (tls, channel) = (files.soc(&ca.soc(VALID)), files.verify(""));
    std::fs::rename(files.path("ca.crt"), files.path("away.crt")).expect("renamed");
    let rack = secured(files, tls, &channel).start().await;
    refused("no CA", &rack, "tls_config").await;
    let files = rack.files();
    std::fs::rename(files.path("away.crt"), files.path("ca.crt")).expect("renamed");
    ready(&rack).await;
    // A channel that is READY does not need it, nor does that of the SoC.
    rack.shows(SOC, &Look::HEALTHY).await;
    let connections = rack.soc(SOC).counters().connections;
    files.write("ca.crt", &Ca::new("another CA", VALID).cert);
    let rounds = [TARGET[0], TARGET[1], ("result", "OK")];
    let before = rack.scrape().await.count("grpc_probes_total", &rounds);
    rack.counts("grpc_probes_total", &rounds, before + 3).await;
    assert_eq!(rack.soc(SOC).counters().connections, connections);
    wait_until("the new CA is used", async || {
        // A dial uses what was read before it.
        rack.soc(SOC).close_connections();
        let scrape = rack.scrape().await;
        let unknown = [TARGET[0], TARGET[1], ("cause", "tls_unknown_ca")];
        match scrape.count("grpc_channel_failures_total", &unknown) {
            0 => Err("not yet".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
}
