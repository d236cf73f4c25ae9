//! Messages about certificates and their files, by `probe`, `doctor` and the exporter: which one, and what is wrong with it.

use dualtor_sim::{Scenario, Simulator, Soc, Tls};

use crate::certificates::{Ca, EXPIRED, Files, NOT_YET, Pem, VALID, new_year, pem};
use crate::child::{Program, run};
use crate::harness::{Setup, wait_until};
use crate::http::{Scrape, get};
use crate::soc_view::Look;
use crate::tls::{FAILURES, OUR_EXPIRY, PORT, check_refused, shared_ca, times_ready};

/// What `probe` prints about a SoC with a set of files.
async fn probed(soc: &Soc, files: &Files, more: &[&str]) -> String {
    let (address, ca) = (soc.address().to_string(), files.path("ca.crt"));
    let fixed = [
        "probe",
        &address,
        "--timeout",
        "10s",
        "--tls-ca",
        ca.to_str().expect("UTF-8"),
    ];
    run(&[&fixed[..], more].concat()).await.stdout
}

async fn simulator(tls: Tls) -> (Simulator, Soc) {
    let mut scenario = Scenario::uniform(1);
    scenario.defaults.tls = Some(tls);
    let simulator = Simulator::start(scenario).await.expect("a simulator");
    let soc = simulator.soc(PORT).expect("a SoC");
    (simulator, soc)
}

/// A SoC's certificate by this CA, and the chain that the SoC sends.
fn chained(by: &Ca, years: (i32, i32), along: &[&Ca]) -> Pem {
    let Pem { mut cert, key } = by.soc(years);
    for ca in along {
        cert.push_str(&ca.cert);
    }
    Pem { cert, key }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_cannot_be_accepted_is_told_with_the_certificate_that_is_to_blame() {
    let (files, ca) = shared_ca();
    let (well, old, not_yet) = (
        ca.below("well CA", VALID),
        ca.below("old CA", EXPIRED),
        ca.below("coming CA", NOT_YET),
    );
    let odd = ca.odd_below("odd CA");
    let check = async |what: &str, pem: Pem, words: &[&str]| {
        let (_simulator, soc) = simulator(files.soc(&pem)).await;
        let text = probed(&soc, &files, &[]).await;
        for word in words {
            assert!(text.contains(word), "{what}: {word:?} in {text}");
        }
    };
    let expired = ["never READY: tls_expired: ", "2021-01-01T00:00:00Z"];
    check(
        "an expired intermediate",
        chained(&old, VALID, &[&old]),
        &[&expired[..], &["intermediate", "\"CN=old CA\""]].concat(),
    )
    .await;
    check(
        "an intermediate that is not valid yet",
        chained(&not_yet, VALID, &[&not_yet]),
        &[
            "tls_expired: an intermediate",
            "\"CN=coming CA\"",
            "is not valid before 2090-01-01",
        ],
    )
    .await;
    check(
        "an expired certificate of its own",
        chained(&well, EXPIRED, &[&well]),
        &[&expired[..], &["the SoC's certificate \"CN=soc\" has expired"]].concat(),
    )
    .await;
    check(
        "a critical extension",
        chained(&odd, VALID, &[&odd]),
        &[
            "never READY: tls: an intermediate",
            "\"CN=odd CA\"",
            "critical",
            "1.3.6.1.4.1.99999.1",
        ],
    )
    .await;
    check(
        "an intermediate that is not sent",
        chained(&well, VALID, &[]),
        &[
            "tls_unknown_ca: the SoC's certificate \"CN=soc\" is signed by \"CN=well CA\"",
            "not in our CA file",
        ],
    )
    .await;
    check(
        "a root that is not ours",
        {
            let root = Ca::new("their root", VALID);
            let below = root.below("their CA", VALID);
            chained(&below, VALID, &[&below])
        },
        &[
            "tls_unknown_ca: an intermediate",
            "\"CN=their CA\", is signed by \"CN=their root\"",
        ],
    )
    .await;
    check("all well", chained(&well, VALID, &[&well]), &["READY after"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_intermediate_is_told_by_the_exporter_and_the_doctor_too() {
    let (files, ca) = shared_ca();
    let old = ca.below("old CA", EXPIRED);
    let soc = files.soc(&chained(&old, VALID, &[&old]));
    let channel = files.verify("");
    let rack = Setup::rack(1).tls(files, soc, &channel).stage().await;
    let config = rack.config_path();
    let config = config.to_str().expect("UTF-8");
    let mut program = Program::start(&["--config.file", config, "--web.listen-address", "127.0.0.1:0"]);
    let line = program.says("to=transient_failure", 1).await;
    let told = "an intermediate certificate that the SoC sends";
    assert!(
        line.contains(told) && line.contains("cause=tls_expired"),
        "{line}"
    );
    program.signal("TERM");
    program.ended().await;
    let ended = run(&["doctor", "--config.file", config, "--timeout", "10s"]).await;
    assert!(ended.stdout.contains(told), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_in_the_wrong_place_or_order_are_told_as_what_they_are() {
    let (files, ca) = shared_ca();
    let below = ca.below("client CA", VALID);
    let Pem { cert, key } = below.client(VALID);
    let (_simulator, soc) = simulator(Tls {
        client_ca: Some(files.path("ca.crt")),
        ..files.soc(&ca.soc(VALID))
    })
    .await;
    let path = |name: &str| files.path(name).to_str().expect("UTF-8").to_owned();
    let (cert_path, key_path) = (path("client.crt"), path("client.key"));
    let own = ["--tls-cert", &cert_path, "--tls-key", &key_path];
    let check = async |what: &str, cert: &str, key: &str, words: &[&str]| {
        files.write("client.crt", cert);
        files.write("client.key", key);
        let text = probed(&soc, &files, &own).await;
        for word in words {
            assert!(text.contains(word), "{what}: {word:?} in {text}");
        }
        assert!(!text.contains("MII"), "{text}");
    };
    let refused = "never READY: tls_config: ";
    check(
        "swapped",
        &key,
        &cert,
        &[refused, "client.crt: ", "cert and key are swapped"],
    )
    .await;
    check(
        "the key in both",
        &key,
        &key,
        &[
            refused,
            "client.crt: holds no certificate in PEM, but a private key",
        ],
    )
    .await;
    check(
        "the certificate in both",
        &cert,
        &cert,
        &[
            refused,
            "client.key: holds no private key in PEM, but certificates",
        ],
    )
    .await;
    check(
        "the CA first",
        &format!("{}{cert}", below.cert),
        &key,
        &[
            refused,
            "client.crt: is in the wrong order",
            "\"CN=dualtor-exporter\"",
            "must come first",
            "\"CN=client CA\"",
        ],
    )
    .await;
    let other = below.client(VALID).key;
    check(
        "another's key",
        &cert,
        &other,
        &[
            refused,
            "client.key: is not the private key of",
            "\"CN=dualtor-exporter\"",
        ],
    )
    .await;
    check("half", &cert[..cert.len() / 2], &key, &[refused, "has no end"]).await;
    // And correct files.
    let chain = format!("{cert}{}", below.cert);
    check("the right way round", &chain, &key, &["READY after"]).await;
    check(
        "both in one file",
        &format!("{key}{chain}"),
        &format!("{chain}{key}"),
        &["READY after"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_files_are_told_by_the_exporter_and_the_doctor_too() {
    let (files, ca) = shared_ca();
    let Pem { cert, key } = ca.client(VALID);
    files.client(&Pem { cert: key, key: cert });
    let soc = files.soc(&ca.soc(VALID));
    let channel = files.mutual("");
    let rack = Setup::rack(1).tls(files, soc, &channel).stage().await;
    let config = rack.config_path();
    let config = config.to_str().expect("UTF-8");
    let mut program = Program::start(&["--config.file", config, "--web.listen-address", "127.0.0.1:0"]);
    let line = program.says("to=transient_failure", 1).await;
    let told = "cert and key are swapped";
    assert!(line.contains(told) && line.contains("cause=tls_config"), "{line}");
    program.signal("TERM");
    program.ended().await;
    let ended = run(&["doctor", "--config.file", config, "--timeout", "10s"]).await;
    for words in [
        told,
        "holds no certificate in PEM, but a private key",
        "holds no private key in PEM, but certificates",
    ] {
        assert!(ended.stdout.contains(words), "{words}: {}", ended.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_in_the_forms_of_others_are_read() {
    let (files, ca) = shared_ca();
    let another = Ca::new("another CA", VALID);
    let soc = files.soc(&ca.soc(VALID));
    let channel = files.verify("");
    // A byte order mark before the certificate that is needed; the old label; Windows' line ends.
    let old = another.cert.replace(" CERTIFICATE", " X509 CERTIFICATE");
    files.write(
        "ca.crt",
        &format!("\u{feff}{}{old}", ca.cert).replace('\n', "\r\n"),
    );
    let rack = Setup::rack(1).tls(files, soc, &channel).start().await;
    let scrape = rack.shows(PORT, &Look::HEALTHY).await;
    assert_eq!(scrape.count(FAILURES, &[]), 0);
    // OpenSSL's own form: the certificate, and its trust settings.
    let trust = [0x30, 0x0c, 0x30, 0x0a, 0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 3, 1];
    let trusted = pem("TRUSTED CERTIFICATE", &[&ca.der()[..], &trust].concat());
    rack.files().write("ca.crt", &trusted);
    rack.scraped(OUR_EXPIRY, |scrape| {
        scrape.value(OUR_EXPIRY, &[("role", "ca")]).is_some()
    })
    .await;
    rack.soc(PORT).close_connections();
    rack.scraped("dualtor_channel_transitions_total", |scrape| {
        times_ready(scrape) == 2
    })
    .await;
    let rack = {
        let files = Files::new();
        files.write("ca.crt", "-----BEGIN PKCS7-----\nMAA=\n-----END PKCS7-----\n");
        let soc = files.soc(&ca.soc(VALID));
        let channel = files.verify("");
        Setup::rack(1).tls(files, soc, &channel).start().await
    };
    check_refused("PKCS7", &rack, "tls_config").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_ca_is_said_once_and_in_the_metric_by_doctor_and_by_probe() {
    let (files, ca) = shared_ca();
    let old = Ca::new("old CA", EXPIRED);
    files.write("ca.crt", &format!("{}{}", ca.cert, old.cert));
    let soc = files.soc(&ca.soc(VALID));
    let channel = files.verify("");
    let rack = Setup::rack(1).tls(files, soc, &channel).stage().await;
    let config = rack.config_path();
    let config = config.to_str().expect("UTF-8");
    let mut program = Program::start(&["--config.file", config, "--web.listen-address", "127.0.0.1:0"]);
    let web = program.address().await;
    let line = program.says("has expired", 1).await;
    assert!(
        line.contains("level=warn") && line.contains("CN=old CA"),
        "{line}"
    );
    assert!(line.contains("2021-01-01T00:00:00Z"), "{line}");
    let scrape = wait_until("READY", async || {
        let scrape = Scrape::parse(get(web, "/metrics").await.text());
        match times_ready(&scrape) {
            1 => Ok(scrape),
            times => Err(format!("{times} times")),
        }
    })
    .await;
    assert_eq!(scrape.value(OUR_EXPIRY, &[("role", "ca")]), Some(new_year(2021)));
    // The same files again, and others.
    rack.files()
        .write("ca.crt", &format!("{}{}\n", ca.cert, old.cert));
    program.says("TLS files read", 2).await;
    rack.files().write("ca.crt", &ca.cert);
    program.says("TLS files read", 3).await;
    let log = program.stderr();
    assert_eq!(
        log.matches("certificate in our TLS files has expired").count(),
        1,
        "{log}"
    );
    program.signal("TERM");
    program.ended().await;

    rack.files().write("ca.crt", &format!("{}{}", ca.cert, old.cert));
    let ended = run(&["doctor", "--config.file", config, "--timeout", "10s"]).await;
    assert!(
        ended.stdout.contains("the CA has expired (2021-01-01"),
        "{}",
        ended.stdout
    );
    assert!(ended.stdout.contains("\"CN=old CA\""), "{}", ended.stdout);
    let text = probed(&rack.soc(PORT), rack.files(), &[]).await;
    assert!(text.contains("READY after"), "{text}");
    assert!(
        text.contains("note: CA: \"CN=old CA\" has expired: 2021-01-01T00:00:00Z"),
        "{text}"
    );
    // The channel to a SoC of that CA works: rustls does not check the dates of a trusted CA.
    let (_simulator, soc) = simulator(rack.files().soc(&old.soc(VALID))).await;
    let text = probed(&soc, rack.files(), &[]).await;
    assert!(text.contains("READY after"), "{text}");
}
