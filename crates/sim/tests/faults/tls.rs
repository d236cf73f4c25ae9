//! SoCs that serve TLS.

use std::path::Path;

use dualtor_sim::{Scenario, Simulator, Tls, TlsVersion};
use dualtor_testkit::certificates;
use rustls::ProtocolVersion;
use rustls::pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::soon;

/// A certificate for 127.0.0.1 and its key, as files. Also returns the certificate.
fn certificate(dir: &TempDir) -> (Tls, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let write = |name: &str, text: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let tls = Tls {
        cert: write("soc.crt", made.cert.pem()),
        key: write("soc.key", made.signing_key.serialize_pem()),
        ..Tls::default()
    };
    (tls, made.cert.der().clone())
}

async fn simulator(tls: Tls) -> Simulator {
    let mut scenario = Scenario::uniform(1);
    scenario.defaults.tls = Some(tls);
    Simulator::start(scenario).await.expect("a simulator")
}

/// A client that trusts this certificate and has none itself.
async fn connect(simulator: &Simulator, trusted: CertificateDer<'static>) -> TlsStream<TcpStream> {
    let tcp = TcpStream::connect(simulator.socs()[0].address())
        .await
        .expect("TCP");
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    let connector = TlsConnector::from(certificates::client(trusted, b"h2"));
    soon(connector.connect(name, tcp)).await.expect("TLS")
}

#[tokio::test]
async fn a_soc_serves_tls_of_the_version_and_with_the_alpn_that_it_is_told() {
    let dir = TempDir::new().expect("a directory");
    let (tls, trusted) = certificate(&dir);
    for (version, without_alpn, expected) in [
        (TlsVersion::Any, false, ProtocolVersion::TLSv1_3),
        (TlsVersion::V1_2, false, ProtocolVersion::TLSv1_2),
        (TlsVersion::V1_3, true, ProtocolVersion::TLSv1_3),
    ] {
        let simulator = simulator(Tls {
            version,
            without_alpn,
            ..tls.clone()
        })
        .await;
        let mut stream = connect(&simulator, trusted.clone()).await;
        let session = stream.get_ref().1;
        assert_eq!(session.protocol_version(), Some(expected));
        let alpn = (!without_alpn).then_some(&b"h2"[..]);
        assert_eq!(session.alpn_protocol(), alpn, "{version:?}");
        // HTTP/2 inside TLS: its SETTINGS come first.
        let mut head = [0; 9];
        soon(stream.read_exact(&mut head)).await.expect("a frame");
        assert_eq!(head[3], 4, "{head:?}");
    }
}

#[tokio::test]
async fn a_soc_that_wants_a_certificate_refuses_who_has_none() {
    let dir = TempDir::new().expect("a directory");
    let (tls, trusted) = certificate(&dir);
    let client_ca = Some(tls.cert.clone());
    let simulator = simulator(Tls { client_ca, ..tls }).await;
    let mut stream = connect(&simulator, trusted).await;
    let error = soon(stream.read_u8()).await.expect_err("nothing for a stranger");
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
}

#[tokio::test]
async fn tls_files_that_cannot_be_used_are_named_at_the_start() {
    let yaml = "rack: {count: 1, port: 0}\ndefaults: {tls: {cert: /nowhere/soc.crt, key: k, version: '1.2'}}";
    let scenario = Scenario::from_yaml(yaml).expect("a scenario");
    let tls = scenario.defaults.tls.as_ref().expect("TLS");
    assert_eq!(
        (tls.cert.as_path(), tls.version),
        (Path::new("/nowhere/soc.crt"), TlsVersion::V1_2)
    );
    let error = Simulator::start(scenario).await.expect_err("no file").to_string();
    assert!(error.starts_with("Ethernet0: tls: /nowhere/soc.crt: "), "{error}");
}
