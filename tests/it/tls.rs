//! TLS over real sockets: each auth level, each way to be refused, rotation of the files, expiry in the metrics.

use std::net::SocketAddr;
use std::sync::Arc;

use dualtor_exporter::channel::{Channel, TlsStore};
use dualtor_exporter::model::{
    Cause, ChannelEvent, ChannelSettings, ChannelState, Port, Security, Side, Target, TlsSettings,
};
use dualtor_exporter::sim::{ConnectionFault, Tls, TlsVersion};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::certificates::{Ca, EXPIRED, Files, NOT_YET, Pem, VALID, new_year, self_signed};
use crate::harness::{LONG, ONLY_AT_READY, Rack, Setup, wait_until};
use crate::http::{Scrape, get};
use crate::look::Look;
use crate::program::Program;

const PORT: &str = "Ethernet0";
const FAILURES: &str = "dualtor_channel_failures_total";
const TRANSITIONS: &str = "dualtor_channel_transitions_total";
const SOC_EXPIRY: &str = "dualtor_soc_certificate_expiry_timestamp_seconds";
const OUR_EXPIRY: &str = "dualtor_tls_certificate_expiry_timestamp_seconds";
/// For silences that are the point.
const IMPATIENT: &str =
    "keepalive_time: 200ms, keepalive_timeout: 300ms, backoff: {initial: 100ms, max: 500ms}";
const VERSIONS: [TlsVersion; 3] = [TlsVersion::Any, TlsVersion::V1_2, TlsVersion::V1_3];

/// A CA that SoCs and exporter share, in `ca.crt`.
fn shared_ca() -> (Files, Ca) {
    let (files, ca) = (Files::new(), Ca::new("CA", VALID));
    files.write("ca.crt", &ca.cert);
    (files, ca)
}

fn times_ready(scrape: &Scrape) -> u64 {
    scrape.count(TRANSITIONS, &[("port", PORT), ("to", "ready")])
}

async fn ready_again(rack: &Rack, times: u64) -> Scrape {
    rack.scraped(TRANSITIONS, |scrape| times_ready(scrape) == times)
        .await;
    rack.shows(PORT, &Look::HEALTHY).await
}

/// Never READY, for this one reason only.
async fn check_refused(what: &str, rack: &Rack, cause: &str) -> Scrape {
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

/// A SoC that serves with this certificate, to a channel that trusts the shared CA.
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

/// A target at this address, whose SoC's certificate is for 127.0.0.1.
fn target(address: SocketAddr, tls: TlsSettings) -> Target {
    Target {
        port: Port::new(PORT).expect("a port"),
        address,
        side: Side::Upper,
        channel: Arc::new(ChannelSettings {
            security: Security::Tls(tls),
            ..ChannelSettings::default()
        }),
    }
}

/// How the first dial ends; READY is none.
async fn first_failure(channel: &mut Channel) -> Cause {
    let failure = async {
        loop {
            match channel.next().await.event {
                ChannelEvent::Failed { cause, .. } => return cause,
                ChannelEvent::State { to, .. } => assert_ne!(to, ChannelState::Ready),
                _ => {}
            }
        }
    };
    tokio::time::timeout(LONG, failure).await.expect("an end")
}

/// Refuses whoever has no certificate, and goes with a reset as soon as the client has written more.
async fn resetting_server(files: &Files, ca: &Ca) -> SocketAddr {
    let pem = ca.soc(VALID);
    let mut roots = RootCertStore::empty();
    let trusted = CertificateDer::from_pem_slice(ca.cert.as_bytes()).expect("a CA");
    roots.add(trusted).expect("a CA");
    files.write("ca.crt", &ca.cert);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(pem.cert.as_bytes()).expect("a certificate")],
            PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).expect("a key"),
        )
        .expect("a configuration");
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Err((_, tcp)) = acceptor.accept(tcp).into_fallible().await else {
                panic!("it was not refused");
            };
            tcp.set_zero_linger().expect("no linger");
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_heard_although_a_reset_follows_it() {
    let (files, ca) = shared_ca();
    let address = resetting_server(&files, &ca).await;
    let settings = TlsSettings {
        ca: files.path("ca.crt"),
        client: None,
        server_name: None,
    };
    let store = TlsStore::default();
    for n in 0..50 {
        let target = target(address, settings.clone());
        let mut channel = Channel::new(target, Arc::default(), &store).expect("a channel");
        let cause = first_failure(&mut channel).await;
        assert_eq!(cause, Cause::TlsClientRefused, "the {n}th time");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_signed_certificate_is_trusted_where_it_stands_in_the_ca_file() {
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
    check_refused("another", &rack, "tls").await;
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

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_are_failed_dials_until_they_can() {
    for broken in ["ca.crt", "client.crt", "client.key"] {
        let (files, ca) = shared_ca();
        let (soc, channel) = (files.soc(&ca.soc(VALID)), files.mutual(""));
        let client = ca.client(VALID);
        files.client(&client);
        let content = std::fs::read_to_string(files.path(broken)).expect("a file");
        let other = ca.client(VALID);
        let (what, write): (_, fn(&Files, &str, &str)) = match broken {
            "ca.crt" => ("missing", |files, name, _| {
                std::fs::remove_file(files.path(name)).expect("removed");
            }),
            "client.crt" => ("half-written", |files, name, content| {
                files.write(name, &content[..content.len() / 2]);
            }),
            _ => ("another's", |files, name, content| {
                files.write(name, content);
            }),
        };
        let text = if what == "another's" { &other.key } else { &content };
        write(&files, broken, text);
        let rack = Setup::rack(1).tls(files, soc, &channel).start().await;
        let scrape = check_refused(what, &rack, "tls_config").await;
        assert_eq!(scrape.find(OUR_EXPIRY, &[]).count(), 0, "{what}");
        assert_eq!(rack.soc(PORT).counters().connections, 0, "{what}");
        rack.files().write(broken, &content);
        rack.shows(PORT, &Look::HEALTHY).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_files_are_for_the_next_connection_and_a_healthy_one_is_left_alone() {
    let (files, ca) = shared_ca();
    files.client(&ca.client((2020, 2070)));
    let soc = Tls {
        client_ca: Some(files.path("ca.crt")),
        ..files.soc(&ca.soc((2020, 2080)))
    };
    let channel = files.mutual("");
    let rack = Setup::rack(1)
        .probe(ONLY_AT_READY)
        .tls(files, soc, &channel)
        .start()
        .await;
    rack.shows(PORT, &Look::HEALTHY).await;

    // Everything new, and nothing of it known to the old CA.
    let new = Ca::new("new CA", (2020, 2085));
    let files = rack.files();
    files.write("ca.crt", &new.cert);
    files.client(&new.client((2020, 2075)));
    files.soc(&new.soc((2020, 2081)));
    let expiry = |scrape: &Scrape, role| scrape.value(OUR_EXPIRY, &[("role", role)]);
    let scrape = rack
        .scraped(OUR_EXPIRY, |scrape| {
            expiry(scrape, "ca") == Some(new_year(2085)) && expiry(scrape, "client") == Some(new_year(2075))
        })
        .await;
    assert_eq!((times_ready(&scrape), scrape.count(FAILURES, &[])), (1, 0));
    assert_eq!(scrape.value(SOC_EXPIRY, &[]), Some(new_year(2080)));
    assert_eq!(rack.soc(PORT).counters().connections, 1);

    rack.soc(PORT).close_connections();
    let scrape = ready_again(&rack, 2).await;
    assert_eq!(scrape.value(SOC_EXPIRY, &[]), Some(new_year(2081)));
    assert_eq!(scrape.count(FAILURES, &[]), 1, "only the loss");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_written_set_keeps_the_last_good_one_and_is_said_once() {
    let (files, ca) = shared_ca();
    let (old, new) = (ca.client((2020, 2070)), ca.client((2020, 2075)));
    files.client(&old);
    let soc = Tls {
        client_ca: Some(files.path("ca.crt")),
        ..files.soc(&ca.soc(VALID))
    };
    let channel = files.mutual("");
    let rack = Setup::rack(1).tls(files, soc, &channel).stage().await;
    let config = rack.config_path();
    let config = config.to_str().expect("UTF-8");
    let mut program = Program::start(&["--config.file", config, "--web.listen-address", "127.0.0.1:0"]);
    let web = program.address().await;
    let look = async || Scrape::parse(get(web, "/metrics").await.text());
    let ready = async |times| {
        wait_until("READY", async || match times_ready(&look().await) {
            seen if seen == times => Ok(()),
            seen => Err(format!("{seen} times")),
        })
        .await;
    };
    ready(1).await;

    rack.files().write("client.key", &new.key);
    let line = program.says("the last good ones stay", 1).await;
    assert!(
        line.contains("level=warn") && line.contains("client.key"),
        "{line}"
    );
    assert!(line.contains("is not the private key of"), "{line}");
    rack.soc(PORT).close_connections();
    ready(2).await;
    let expiry = |scrape: &Scrape| scrape.value(OUR_EXPIRY, &[("role", "client")]);
    assert_eq!(expiry(&look().await), Some(new_year(2070)));

    rack.files().write("client.crt", &new.cert);
    program.says("TLS files read", 2).await;
    rack.soc(PORT).close_connections();
    ready(3).await;
    assert_eq!(expiry(&look().await), Some(new_year(2075)));
    let log = program.stderr();
    assert_eq!(log.matches("the last good ones stay").count(), 1, "{log}");
    assert_eq!(log.matches("TLS files read").count(), 2, "{log}");
    assert!(!log.contains("PRIVATE"), "{log}");
    let key = |pem: &Pem| pem.key.lines().nth(1).expect("base64").to_owned();
    assert!(!log.contains(&key(&old)) && !log.contains(&key(&new)), "{log}");
    program.signal("TERM");
    assert_eq!(program.ended().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_changes_tls_redials_and_one_that_does_not_leaves_the_channel_alone() {
    let (files, ca) = shared_ca();
    let soc = files.soc(&ca.soc(VALID));
    let (plain, secured) = ("source_address: none".to_owned(), files.verify(""));
    let mut rack = Setup::rack(1)
        .probe(ONLY_AT_READY)
        .tls(files, soc, &secured)
        .start()
        .await;
    rack.shows(PORT, &Look::HEALTHY).await;
    rack.settings.probe = "interval: 200d, timeout: 5s".to_owned();
    rack.reload().await;
    let scrape = rack.shows(PORT, &Look::HEALTHY).await;
    assert_eq!(
        (times_ready(&scrape), rack.soc(PORT).counters().connections),
        (1, 1)
    );

    let with_tls = rack.settings.channel.clone();
    rack.settings.channel = with_tls.replace(&secured, &plain);
    rack.reload().await;
    let scrape = rack.shows(PORT, &Look::unknown("transient_failure")).await;
    assert_eq!(scrape.find(SOC_EXPIRY, &[]).count(), 0, "forgotten");
    wait_until("the files are forgotten", async || {
        match rack.scrape().await.find(OUR_EXPIRY, &[]).count() {
            0 => Ok(()),
            n => Err(format!("{n} series")),
        }
    })
    .await;
    rack.settings.channel = with_tls;
    rack.reload().await;
    let scrape = ready_again(&rack, 2).await;
    assert_eq!(scrape.find(SOC_EXPIRY, &[]).count(), 1);
}
