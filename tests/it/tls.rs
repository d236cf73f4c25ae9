//! TLS over real sockets: each auth level, each reason to be refused, expiry in the metrics, and `probe`.

use dualtor_sim::{ConnectionFault, Rpc, Scenario, Simulator, Soc, Tls, TlsVersion};

use crate::certificates::{Ca, EXPIRED, Files, NOT_YET, Pem, VALID, new_year, self_signed};
use crate::child::run;
use crate::harness::{Rack, Setup};
use crate::http::Scrape;
use crate::soc_view::Look;

pub(crate) const PORT: &str = "Ethernet0";
pub(crate) const FAILURES: &str = "dualtor_channel_failures_total";
pub(crate) const TRANSITIONS: &str = "dualtor_channel_transitions_total";
pub(crate) const SOC_EXPIRY: &str = "dualtor_soc_certificate_expiry_timestamp_seconds";
pub(crate) const OUR_EXPIRY: &str = "dualtor_tls_certificate_expiry_timestamp_seconds";
/// For silent peers.
const IMPATIENT: &str =
    "keepalive_time: 200ms, keepalive_timeout: 300ms, backoff: {initial: 100ms, max: 500ms}";
const VERSIONS: [TlsVersion; 3] = [TlsVersion::Any, TlsVersion::V1_2, TlsVersion::V1_3];

/// A CA that SoCs and exporter share, in `ca.crt`.
pub(crate) fn shared_ca() -> (Files, Ca) {
    let (files, ca) = (Files::new(), Ca::new("CA", VALID));
    files.write("ca.crt", &ca.cert);
    (files, ca)
}

pub(crate) fn times_ready(scrape: &Scrape) -> u64 {
    scrape.count(TRANSITIONS, &[("port", PORT), ("to", "ready")])
}

/// Never READY, and only for this cause.
pub(crate) async fn check_refused(what: &str, rack: &Rack, cause: &str) -> Scrape {
    rack.counts(FAILURES, &[("cause", cause)], 2).await;
    let scrape = rack.shows(PORT, &Look::unknown("transient_failure")).await;
    assert_eq!(times_ready(&scrape), 0, "{what}");
    assert_eq!(
        scrape.count(FAILURES, &[]),
        scrape.count(FAILURES, &[("cause", cause)]),
        "{what}: {:?}",
        scrape.find(FAILURES, &[]).collect::<Vec<_>>()
    );
    scrape
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soc_is_verified_and_each_certificates_expiry_is_shown() {
    for version in VERSIONS {
        let (files, ca) = shared_ca();
        let soc = Tls {
            version,
            ..files.soc(&ca.soc((2020, 2080)))
        };
        let channel = files.verify("");
        let rack = Setup::rack(1).tls(files, soc, &channel).start().await;
        rack.service(PORT, "noop").await;
        let scrape = rack.shows(PORT, &Look::HEALTHY).await;
        assert_eq!(scrape.count(FAILURES, &[]), 0, "{version:?}");
        assert_eq!(
            scrape.value(SOC_EXPIRY, &[("port", PORT)]),
            Some(new_year(2080)),
            "{version:?}"
        );
        assert_eq!(
            scrape.value(OUR_EXPIRY, &[("role", "ca")]),
            Some(new_year(2090)),
            "{version:?}"
        );
        assert_eq!(
            scrape.value(OUR_EXPIRY, &[("role", "client")]),
            None,
            "{version:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soc_that_asks_for_a_certificate_gets_ours() {
    for version in VERSIONS {
        let (files, ca) = shared_ca();
        files.client(&ca.client((2020, 2070)));
        let soc = Tls {
            client_ca: Some(files.path("ca.crt")),
            version,
            ..files.soc(&ca.soc(VALID))
        };
        let channel = files.mutual("");
        let rack = Setup::rack(1).tls(files, soc, &channel).start().await;
        let scrape = rack.shows(PORT, &Look::HEALTHY).await;
        assert_eq!(scrape.count(FAILURES, &[]), 0, "{version:?}");
        assert_eq!(
            scrape.value(OUR_EXPIRY, &[("role", "client")]),
            Some(new_year(2070)),
            "{version:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tls_no_certificate_has_an_expiry() {
    let rack = Setup::rack(1).start().await;
    let scrape = rack.shows(PORT, &Look::HEALTHY).await;
    assert_eq!(scrape.find(SOC_EXPIRY, &[]).count(), 0);
    assert_eq!(scrape.find(OUR_EXPIRY, &[]).count(), 0);
}

/// A SoC with this certificate, and a channel that trusts the shared CA.
async fn check_certificate(what: &str, make: impl Fn(&Ca) -> Pem, server_name: &str, cause: &str) -> Scrape {
    let (files, ca) = shared_ca();
    let (soc, channel) = (files.soc(&make(&ca)), files.verify(server_name));
    let rack = Setup::rack(1).tls(files, soc, &channel).start().await;
    check_refused(what, &rack, cause).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_out_of_its_time_is_expired_and_its_expiry_shown_all_the_same() {
    let scrape = check_certificate("expired", |ca| ca.soc(EXPIRED), "", "tls_expired").await;
    assert_eq!(scrape.value(SOC_EXPIRY, &[]), Some(new_year(2021)));
    let scrape = check_certificate("not yet", |ca| ca.soc(NOT_YET), "", "tls_expired").await;
    assert_eq!(scrape.value(SOC_EXPIRY, &[]), Some(new_year(2091)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_ca_is_of_an_unknown_one() {
    for name in ["another CA", "CA"] {
        let make = |_: &Ca| Ca::new(name, VALID).soc(VALID);
        check_certificate(name, make, "", "tls_unknown_ca").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_name_is_wrong_and_a_server_name_makes_it_right() {
    let named = |ca: &Ca| ca.named("soc.example");
    check_certificate("by address", named, "", "tls_wrong_name").await;
    let other = ", server_name: other.example";
    check_certificate("by name", named, other, "tls_wrong_name").await;

    let (files, ca) = shared_ca();
    let (soc, channel) = (files.soc(&named(&ca)), files.verify(", server_name: soc.example"));
    let rack = Setup::rack(1).tls(files, soc, &channel).start().await;
    rack.shows(PORT, &Look::HEALTHY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_that_is_missing_foreign_or_expired_is_refused() {
    let foreign = Ca::new("another CA", VALID).client(VALID);
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        for what in ["missing", "foreign", "expired"] {
            let (files, ca) = shared_ca();
            let channel = match what {
                "missing" => files.verify(""),
                "foreign" => {
                    files.client(&foreign);
                    files.mutual("")
                }
                _ => {
                    files.client(&ca.client(EXPIRED));
                    files.mutual("")
                }
            };
            let soc = Tls {
                client_ca: Some(files.path("ca.crt")),
                version,
                ..files.soc(&ca.soc(VALID))
            };
            let rack = Setup::rack(1).tls(files, soc, &channel).start().await;
            check_refused(&format!("{what}, {version:?}"), &rack, "tls_client_refused").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_trusted_where_it_stands_itself_in_the_ca_file() {
    let start = async |served: &Pem, trusted: &Pem| {
        let files = Files::new();
        files.write("ca.crt", &trusted.cert);
        let (soc, channel) = (files.soc(served), files.verify(""));
        Setup::rack(1).tls(files, soc, &channel).start().await
    };
    let (valid, expired) = (self_signed(VALID), self_signed(EXPIRED));
    start(&valid, &valid).await.shows(PORT, &Look::HEALTHY).await;
    let rack = start(&expired, &expired).await;
    check_refused("expired", &rack, "tls_expired").await;
    let rack = start(&valid, &expired).await;
    check_refused("another", &rack, "tls_unknown_ca").await;
    // Its CA is not in the file, but the certificate itself is.
    let ca = Ca::new("a CA", VALID);
    let (pinned, expired) = (ca.soc(VALID), ca.soc(EXPIRED));
    start(&pinned, &pinned).await.shows(PORT, &Look::HEALTHY).await;
    let rack = start(&expired, &expired).await;
    check_refused("pinned and expired", &rack, "tls_expired").await;
    let named = ca.named("another.example");
    let rack = start(&named, &named).await;
    check_refused("pinned, with another name", &rack, "tls_wrong_name").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_agree_on_http_2_is_refused() {
    let (files, ca) = shared_ca();
    let soc = Tls {
        without_alpn: true,
        ..files.soc(&ca.soc(VALID))
    };
    let channel = files.verify("");
    let rack = Setup::rack(1).tls(files, soc, &channel).start().await;
    check_refused("no ALPN", &rack, "tls").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_text_on_one_side_only_is_no_connection() {
    let (files, _) = shared_ca();
    let channel = files.verify("");
    let mut setup = Setup::rack(1).tls(files, Tls::default(), &channel);
    setup.scenario.defaults.tls = None;
    let rack = setup.start().await;
    check_refused("a plain SoC", &rack, "tls").await;

    let (files, ca) = shared_ca();
    let soc = files.soc(&ca.soc(VALID));
    let rack = Setup::rack(1)
        .tls(files, soc, "source_address: none")
        .start()
        .await;
    check_refused("a plain channel", &rack, "protocol").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_under_tls_has_the_cause_that_it_has_without() {
    for (fault, cause) in [
        (ConnectionFault::Mute, "keepalive_timeout"),
        (ConnectionFault::Hang, "keepalive_timeout"),
        (ConnectionFault::Http1, "tls"),
        (ConnectionFault::Garbage, "tls"),
        (ConnectionFault::Refuse, "refused"),
        (ConnectionFault::Close, "closed"),
        (ConnectionFault::Reset, "reset"),
    ] {
        let what = format!("{fault:?}");
        let (files, ca) = shared_ca();
        let (soc, channel) = (files.soc(&ca.soc(VALID)), files.verify(""));
        let rack = Setup::rack(1)
            .channel(IMPATIENT)
            .tls(files, soc, &channel)
            .soc(PORT, |soc| soc.fault = fault)
            .start()
            .await;
        check_refused(&what, &rack, cause).await;
        rack.soc(PORT).connection_fault(ConnectionFault::None);
        rack.shows(PORT, &Look::HEALTHY).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ready_channel_is_lost_over_tls_as_without() {
    for (fault, cause) in [
        (ConnectionFault::Hang, "keepalive_timeout"),
        (ConnectionFault::Close, "closed"),
        (ConnectionFault::Reset, "reset"),
    ] {
        let (files, ca) = shared_ca();
        let (soc, channel) = (files.soc(&ca.soc(VALID)), files.verify(""));
        let rack = Setup::rack(1)
            .channel(IMPATIENT)
            .tls(files, soc, &channel)
            .start()
            .await;
        rack.shows(PORT, &Look::HEALTHY).await;
        rack.soc(PORT).connection_fault(fault);
        rack.counts(FAILURES, &[("cause", cause)], 1).await;
        rack.shows(PORT, &Look::unknown("transient_failure")).await;
        rack.soc(PORT).connection_fault(ConnectionFault::None);
        rack.shows(PORT, &Look::HEALTHY).await;
    }
}

/// A healthy SoC that requires TLS, our certificate and metadata.
async fn demanding_soc(files: &Files, ca: &Ca) -> (Simulator, Soc) {
    let mut scenario = Scenario::uniform(1);
    scenario.defaults.tls = Some(Tls {
        client_ca: Some(files.path("ca.crt")),
        ..files.soc(&ca.soc((2020, 2080)))
    });
    let metadata = [("grpc_server".to_owned(), "127.0.0.1".to_owned())];
    scenario.defaults.require_metadata = Some(metadata.into_iter().collect());
    let simulator = Simulator::start(scenario).await.expect("a simulator");
    let soc = simulator.soc(PORT).expect("a SoC");
    (simulator, soc)
}

#[tokio::test(flavor = "multi_thread")]
async fn probe_speaks_tls_sends_metadata_and_says_the_cause() {
    let (files, ca) = shared_ca();
    files.client(&ca.client(VALID));
    let (_simulator, soc) = demanding_soc(&files, &ca).await;
    let address = soc.address().to_string();
    let path = |name: &str| files.path(name).to_str().expect("UTF-8").to_owned();
    let (trusted, cert, key) = (path("ca.crt"), path("client.crt"), path("client.key"));
    let own = ["--tls-cert", &cert, "--tls-key", &key];
    let metadata = ["--metadata", "grpc_server=${soc_ip}"];
    let probe = async |flags: &[&[&str]]| {
        let fixed: &[&str] = &["probe", &address, "--timeout", "10s"];
        let ended = run(&[fixed, &flags.concat()].concat()).await;
        (ended.code, ended.stdout)
    };
    let verify: &[&str] = &["--tls-ca", &trusted];

    let (code, text) = probe(&[verify, &own, &metadata]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("tls        the SoC's certificate expires 2080-01-01T00:00:00Z"),
        "{text}"
    );
    let rpcs = soc.counters().rpcs;
    for rpc in [Rpc::Admin, Rpc::Operation, Rpc::Link, Rpc::Version, Rpc::Health] {
        assert_eq!(rpcs[&rpc], 1, "{rpc:?}");
    }
    let (code, text) = probe(&[verify, &own]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("FAILED_PRECONDITION"), "{text}");

    let json: &[&str] = &["--output", "json"];
    let check = async |flags: &[&[&str]], cause: &str, expiry: Option<&str>| {
        let (code, text) = probe(flags).await;
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(&format!("never READY: {cause}: ")), "{text}");
        let (code, text) = probe(&[flags, &[json]].concat()).await;
        assert_eq!(code, Some(2), "{text}");
        let found: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(found["channel"]["cause"], cause);
        assert_eq!(found["certificate_expires"].as_str(), expiry, "{text}");
    };
    let shown = Some("2080-01-01T00:00:00Z");
    check(&[verify], "tls_client_refused", shown).await;
    check(
        &[verify, &own, &["--tls-server-name", "soc.example"]],
        "tls_wrong_name",
        shown,
    )
    .await;
    let foreign = Files::new();
    let foreign = foreign.write("ca.crt", &Ca::new("another CA", VALID).cert);
    let foreign = foreign.to_str().expect("UTF-8");
    check(&[&["--tls-ca", foreign], &own], "tls_unknown_ca", shown).await;
    check(&[&["--tls-ca", &key]], "tls_config", None).await;
    check(&[], "protocol", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_a_soc_shows_as_its_own_certificate_is_named_as_what_it_is() {
    let make = |ca: &Ca| ca.intermediate();
    check_certificate("a CA", make, "", "tls").await;
}
