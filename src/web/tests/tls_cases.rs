//! TLS as web.config.file asks for it: certificates, versions, suites, curves, ALPN.

use std::process::Command;

use rcgen::KeyPair;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::cases::{ALPN, Cases, PAIRS, PLAIN, VERSIONS};
use super::site::{ANY, Client, LONG, OF_12, OF_13, Pems, Site, inline, signed, tls};
use crate::web::Limits;

#[tokio::test]
async fn without_a_section_it_is_plain_http() {
    let mut cases = Cases::of(PLAIN);
    let site = Site::start("").await;
    assert!(site.get("/metrics", &[]).await.starts_with("HTTP/1.1 200"));
    cases.held("works: empty file: plain HTTP, no auth");
    cases.held("no file: plain HTTP works");
    assert!(!site.lets_in(ANY).await, "TLS");
    cases.held("no file: TLS fails");
    cases.end();
}

#[tokio::test]
async fn certificate_and_key_come_from_files_or_from_the_file_itself() {
    let mut cases = Cases::of(PAIRS);
    let site = Site::start(&tls("")).await;
    assert!(site.lets_in(OF_12).await && site.lets_in(OF_13).await);
    cases.held("works: cert and key from files");
    // The paths are relative, and this process runs elsewhere.
    assert!(!std::path::Path::new("server.crt").exists());
    cases.held("works: relative paths are the file's directory's");
    let plain = site.get("/metrics", &[]).await;
    assert!(!plain.contains("200"), "{plain}");
    cases.held("plain HTTP to a TLS port fails (no 200)");

    let pems = Pems::new();
    let (cert, key) = (inline("cert", &pems.server.cert), inline("key", &pems.server.key));
    let text = format!("tls_server_config:\n{cert}{key}");
    let site = Site::of(&text, Limits::default(), pems).await;
    assert!(site.lets_in(OF_12).await && site.lets_in(OF_13).await);
    cases.held("works: cert and key inline");

    // ring, which makes the other keys, can make none of RSA.
    let mut openssl = Command::new("openssl");
    openssl.args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    let made = openssl.output().expect("openssl");
    let key = String::from_utf8(made.stdout).expect("PEM");
    let mut pems = Pems::new();
    pems.server = signed(&pems.issuer, KeyPair::from_pem(&key).expect("a key"));
    let site = Site::of(&tls(""), Limits::default(), pems).await;
    let of_rsa = Client {
        suite: Some("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
        ..OF_12
    };
    assert!(site.lets_in(of_rsa).await && site.lets_in(OF_13).await);
    cases.held("works: RSA certificate");
    cases.end();
}

/// What a client of TLS 1.1 sends first: rustls cannot make one.
fn hello_of_11() -> Vec<u8> {
    let suites = [0xc0, 0x0a, 0xc0, 0x14, 0, 0x2f, 0, 0x35];
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, suites.len() as u8]);
    hello.extend(suites);
    hello.extend([1, 0]);
    // Extensions: a signature algorithm and a group that the server has, so that only the version is wrong.
    hello.extend([0, 16, 0, 13, 0, 4, 0, 2, 4, 3, 0, 10, 0, 4, 0, 2, 0, 29]);
    let mut message = vec![1, 0, 0, hello.len() as u8];
    message.extend(hello);
    let mut record = vec![22, 3, 1, 0, message.len() as u8];
    record.extend(message);
    record
}

#[tokio::test]
async fn versions_suites_and_curves_are_what_the_file_says() {
    let mut cases = Cases::of(VERSIONS);
    const AES: &str = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
    const CHACHA: &str = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256";
    let suite = |suite| Client {
        suite: Some(suite),
        ..OF_12
    };
    let curve = |curve| Client {
        curve: Some(curve),
        ..ANY
    };
    let aead = "cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256, \
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, \
        TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, \
        TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256]";
    let one_suite = &format!("cipher_suites: [{AES}]")[..];
    let with_cbc = &format!("cipher_suites: [{AES}, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]")[..];
    let p521 = "works: curve P521 beside others (ring has none)";
    for (name, keys, client, let_in) in [
        ("TLS 1.2 client works", "", OF_12, true),
        ("TLS 1.3 is chosen", "", OF_13, true),
        (
            "min_version TLS13: a 1.2 client fails",
            "min_version: TLS13",
            OF_12,
            false,
        ),
        (
            "min_version TLS13: a 1.3 client works",
            "min_version: TLS13",
            OF_13,
            true,
        ),
        ("max_version TLS12 is kept", "max_version: TLS12", OF_12, true),
        ("max_version TLS12 is kept", "max_version: TLS12", OF_13, false),
        (
            "works: min_version TLS10 (rustls has none: may be refused)",
            "min_version: TLS10",
            OF_12,
            true,
        ),
        ("works: all AEAD suites", aead, suite(CHACHA), true),
        ("works: all AEAD suites", aead, OF_13, true),
        ("works: CBC suites beside AEAD", with_cbc, suite(AES), true),
        ("suites: a listed one works", one_suite, suite(AES), true),
        ("suites: one not listed fails", one_suite, suite(CHACHA), false),
        (
            "works: prefer_server_cipher_suites is accepted",
            "prefer_server_cipher_suites: true",
            ANY,
            true,
        ),
        (
            "works: curves P256 P384 X25519",
            "curve_preferences: [CurveP256, CurveP384, X25519]",
            curve("secp384r1"),
            true,
        ),
        (
            p521,
            "curve_preferences: [CurveP521, X25519]",
            curve("X25519"),
            true,
        ),
        (
            p521,
            "curve_preferences: [CurveP521, X25519]",
            curve("secp384r1"),
            false,
        ),
        (
            "curves: the listed one works",
            "curve_preferences: [CurveP256]",
            curve("secp256r1"),
            true,
        ),
        (
            "curves: one not listed fails",
            "curve_preferences: [CurveP256]",
            curve("X25519"),
            false,
        ),
    ] {
        let site = Site::start(&tls(keys)).await;
        assert_eq!(
            site.lets_in(client).await,
            let_in,
            "{name}: {:?}",
            client.versions
        );
        cases.held(name);
    }
    let site = Site::start(&tls("")).await;
    let mut stream = TcpStream::connect(site.address).await.expect("a listener");
    stream.write_all(&hello_of_11()).await.expect("sent");
    let mut answer = Vec::new();
    let end = timeout(LONG, stream.read_to_end(&mut answer)).await;
    end.expect("an end").ok();
    let (alert, protocol_version) = (21, [2, 70]);
    assert_eq!((answer[0], &answer[5..]), (alert, &protocol_version[..]));
    cases.held("TLS 1.1 client fails");
    cases.end();
}

#[tokio::test]
async fn http_2_is_chosen_by_alpn() {
    let mut cases = Cases::of(ALPN);
    let site = Site::start(&tls("")).await;
    for (name, alpn, expected) in [
        ("ALPN h2 by default", &["h2", "http/1.1"][..], Some("h2")),
        ("ALPN h2 by default", &["h2"], Some("h2")),
        ("ALPN http/1.1 works", &["http/1.1"], Some("http/1.1")),
        ("ALPN http/1.1 works", &[], None),
    ] {
        let stream = site.tls(Client { alpn, ..ANY }).await.expect("a handshake");
        let (_, session) = stream.get_ref();
        let chosen = session.alpn_protocol().map(String::from_utf8_lossy);
        assert_eq!(chosen.as_deref(), expected);
        assert_eq!(session.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        cases.held(name);
    }
    let site = Site::start(&format!("{}http_server_config: {{http2: false}}", tls(""))).await;
    let client = Client {
        alpn: &["h2", "http/1.1"],
        ..ANY
    };
    let stream = site.tls(client).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    cases.held("http2: false: no h2 by ALPN");
    cases.end();
}
