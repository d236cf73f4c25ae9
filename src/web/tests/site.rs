//! web.config.file over real sockets, with real clients: the cases of the toolkit's own table that are about connections, and
//! hostile clients.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::no_history;
use crate::model::Refusal;
use crate::telemetry::testing::empty_view;
use crate::web::web_config::tests::HASHES;
use crate::web::*;

const LONG: Duration = Duration::from_secs(60);
const PAIR: &str = "cert_file: server.crt, key_file: server.key";
const MUTUAL: &str = "client_ca_file: ca.crt, client_auth_type: RequireAndVerifyClientCert";

/// A certificate and its key.
struct Pair {
    cert: String,
    key: String,
}

fn name(text: &str) -> rcgen::string::Ia5String {
    text.try_into().expect("ASCII")
}

/// One that signs, and signs itself, as `openssl req -x509` makes it.
fn authority(common_name: &str) -> (Issuer<'static, KeyPair>, Pair) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let pair = Pair {
        cert: params.self_signed(&key).expect("a certificate").pem(),
        key: key.serialize_pem(),
    };
    (Issuer::new(params, key), pair)
}

/// One for localhost, and with a name of each kind.
fn signed(issuer: &Issuer<'static, KeyPair>) -> Pair {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "leaf");
    params.subject_alt_names = vec![
        SanType::DnsName(name("localhost")),
        SanType::Rfc822Name(name("ops@example.org")),
        SanType::URI(name("spiffe://example.org/prometheus")),
        SanType::IpAddress([192, 0, 2, 7].into()),
    ];
    let key = KeyPair::generate().expect("a key");
    Pair {
        cert: params.signed_by(&key, issuer).expect("a certificate").pem(),
        key: key.serialize_pem(),
    }
}

/// A web server with a web.config.file, until it is dropped.
struct Site {
    dir: TempDir,
    address: SocketAddr,
    stats: Arc<WebStats>,
    ca: Pair,
    /// Signed by the CA, and by itself.
    client: Pair,
    stranger: Pair,
    stop: CancellationToken,
    _ready: watch::Sender<bool>,
    _files: watch::Sender<u64>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Site {
    async fn start(text: &str) -> Self {
        Self::with(text, Limits::default()).await
    }

    async fn with(text: &str, limits: Limits) -> Self {
        let dir = TempDir::new().expect("a directory");
        let (issuer, ca) = authority("a CA");
        let (_, stranger) = authority("a stranger");
        let server = signed(&issuer);
        for (file, content) in [
            ("server.crt", &server.cert),
            ("server.key", &server.key),
            ("ca.crt", &ca.cert),
            ("stranger.crt", &stranger.cert),
            ("web.yml", &text.to_owned()),
        ] {
            std::fs::write(dir.path().join(file), content).expect("written");
        }
        let file = WebFile::load(&dir.path().join("web.yml")).expect("a good file");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (ready, is_ready) = watch::channel(true);
        let (files_left, files) = watch::channel(1000);
        let stats = Arc::<WebStats>::default();
        let web = Web {
            history: no_history(),
            paths: WebPaths::default(),
            view: Arc::new(|| Box::pin(async { Some(empty_view()) })),
            ready: is_ready,
            reload: None,
            config: Some(file),
            limits,
            files,
            stats: stats.clone(),
        };
        let stop = CancellationToken::new();
        tokio::spawn(serve(vec![listener], web, stop.clone()));
        Self {
            client: signed(&issuer),
            dir,
            address,
            stats,
            ca,
            stranger,
            stop,
            _ready: ready,
            _files: files_left,
        }
    }

    fn write(&self, file: &str, content: &str) {
        // At once, as whoever rotates certificates should do it.
        let path = self.dir.path().join("new");
        std::fs::write(&path, content).expect("written");
        std::fs::rename(&path, self.dir.path().join(file)).expect("renamed");
    }

    /// Plain HTTP.
    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> String {
        let stream = TcpStream::connect(self.address).await.expect("a listener");
        ask(stream, path, headers).await.expect("an answer")
    }

    async fn tls(&self, client: Client<'_>) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.ca.cert.as_bytes()).expect("PEM");
        roots.add(ca).expect("a CA");
        let mut provider = rustls::crypto::ring::default_provider();
        if let Some(suite) = client.suite {
            provider
                .cipher_suites
                .retain(|one| format!("{:?}", one.suite()) == suite);
        }
        if let Some(curve) = client.curve {
            provider
                .kx_groups
                .retain(|one| format!("{:?}", one.name()) == curve);
        }
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(client.versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match client.identity {
            None => config.with_no_client_auth(),
            Some(pair) => {
                let cert = CertificateDer::from_pem_slice(pair.cert.as_bytes()).expect("PEM");
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
                config.with_client_auth_cert(vec![cert], key).expect("a pair")
            }
        };
        config.alpn_protocols = client.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(self.address).await?;
        let host = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(host, stream).await
    }

    /// Whether this client gets a 200 over HTTP/1.
    async fn lets_in(&self, client: Client<'_>) -> bool {
        // Over TLS 1.3, a client sees only later that it was refused.
        match self.tls(client).await {
            Ok(stream) => ask(stream, "/metrics", &[])
                .await
                .is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")),
            Err(_) => false,
        }
    }
}

#[derive(Clone, Copy)]
struct Client<'a> {
    versions: &'a [&'static SupportedProtocolVersion],
    alpn: &'a [&'a str],
    identity: Option<&'a Pair>,
    suite: Option<&'a str>,
    curve: Option<&'a str>,
}

const ANY: Client<'_> = Client {
    versions: &[&version::TLS12, &version::TLS13],
    alpn: &["http/1.1"],
    identity: None,
    suite: None,
    curve: None,
};
const OF_12: Client<'_> = Client {
    versions: &[&version::TLS12],
    ..ANY
};
const OF_13: Client<'_> = Client {
    versions: &[&version::TLS13],
    ..ANY
};

async fn ask<S>(mut stream: S, path: &str, headers: &[(&str, &str)]) -> std::io::Result<String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for (header, value) in headers {
        request += &format!("{header}: {value}\r\n");
    }
    request += "\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    timeout(LONG, stream.read_to_end(&mut answer))
        .await
        .expect("an end")?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn login(user: &str, password: &str) -> String {
    let both = format!("{user}:{password}");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(both))
}

fn users(of: &[(&str, &str)]) -> String {
    let lines: String = of
        .iter()
        .map(|(user, hash)| format!("  {user}: {hash}\n"))
        .collect();
    format!("basic_auth_users:\n{lines}")
}

fn tls(keys: &str) -> String {
    format!("tls_server_config: {{{PAIR}, {keys}}}\n")
}

#[tokio::test]
async fn without_a_section_it_is_plain_http() {
    let site = Site::start("").await;
    assert!(site.get("/metrics", &[]).await.starts_with("HTTP/1.1 200"));
    assert!(!site.lets_in(ANY).await, "TLS");
}

#[tokio::test]
async fn versions_suites_and_curves_are_what_the_file_says() {
    let aes = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
    let chacha = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256";
    // A client of TLS 1.1 cannot be made with rustls: openssl tries it in tests/it.
    let with_suite = |suite| Client {
        suite: Some(suite),
        ..OF_12
    };
    let with_curve = |curve| Client {
        curve: Some(curve),
        ..ANY
    };
    for (keys, let_in, kept_out) in [
        ("", vec![ANY, OF_12, OF_13], vec![]),
        ("min_version: TLS13", vec![OF_13], vec![OF_12]),
        ("max_version: TLS12", vec![OF_12], vec![OF_13]),
        ("min_version: TLS10", vec![OF_12, OF_13], vec![]),
        (
            &format!("cipher_suites: [{aes}]")[..],
            vec![with_suite(aes), OF_13],
            vec![with_suite(chacha)],
        ),
        (
            &format!("cipher_suites: [{aes}, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]")[..],
            vec![with_suite(aes)],
            vec![],
        ),
        ("prefer_server_cipher_suites: true", vec![ANY], vec![]),
        (
            "curve_preferences: [CurveP256]",
            vec![with_curve("secp256r1")],
            vec![with_curve("X25519")],
        ),
        (
            "curve_preferences: [CurveP256, CurveP384, X25519]",
            vec![with_curve("secp384r1")],
            vec![],
        ),
        (
            "curve_preferences: [CurveP521, X25519]",
            vec![with_curve("X25519")],
            vec![with_curve("secp384r1")],
        ),
    ] {
        let site = Site::start(&tls(keys)).await;
        for client in let_in {
            assert!(site.lets_in(client).await, "{keys}: {:?}", client.versions);
        }
        for client in kept_out {
            assert!(!site.lets_in(client).await, "{keys}: {:?}", client.versions);
        }
        let plain = site.get("/metrics", &[]).await;
        assert!(!plain.contains("200"), "plain HTTP to a TLS port: {plain}");
    }
}

#[tokio::test]
async fn http_2_is_chosen_by_alpn() {
    let site = Site::start(&tls("")).await;
    for (alpn, expected) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let stream = site.tls(Client { alpn, ..ANY }).await.expect("a handshake");
        let chosen = stream.get_ref().1.alpn_protocol().map(String::from_utf8_lossy);
        assert_eq!(chosen.as_deref(), expected);
        let version = stream.get_ref().1.protocol_version();
        assert_eq!(
            version,
            Some(rustls::ProtocolVersion::TLSv1_3),
            "TLS 1.3 is chosen"
        );
    }
    let site = Site::start(&format!("{}http_server_config: {{http2: false}}", tls(""))).await;
    let client = Client {
        alpn: &["h2", "http/1.1"],
        ..ANY
    };
    let stream = site.tls(client).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn client_certificates_are_asked_for_as_the_policy_says() {
    let san = |san: &str| format!("{MUTUAL}, client_allowed_sans: [{san}]");
    for (keys, none, client, stranger) in [
        ("client_auth_type: NoClientCert", true, true, true),
        ("client_auth_type: RequestClientCert", true, true, true),
        ("client_auth_type: RequireAnyClientCert", false, true, true),
        ("client_auth_type: RequireClientCert", false, true, true),
        (
            "client_ca_file: ca.crt, client_auth_type: VerifyClientCertIfGiven",
            true,
            true,
            false,
        ),
        (MUTUAL, false, true, false),
        (
            "client_ca_file: stranger.crt, client_auth_type: RequireAndVerifyClientCert",
            false,
            false,
            true,
        ),
        (&san("other, localhost"), false, true, false),
        (&san("ops@example.org"), false, true, false),
        (&san("'spiffe://example.org/prometheus'"), false, true, false),
        (&san("192.0.2.7"), false, true, false),
        (&san("example.org"), false, false, false),
        (&san("LOCALHOST"), false, false, false),
        (&san(""), false, false, false),
    ] {
        let site = Site::start(&tls(keys)).await;
        for base in [OF_12, OF_13] {
            let with = |identity| Client { identity, ..base };
            let seen = (
                site.lets_in(with(None)).await,
                site.lets_in(with(Some(&site.client))).await,
                site.lets_in(with(Some(&site.stranger))).await,
            );
            assert_eq!(seen, (none, client, stranger), "{keys}");
        }
    }
}

#[tokio::test]
async fn logins_are_checked() {
    for secure in [false, true] {
        let section = if secure { tls("") } else { String::new() };
        let site = Site::start(&format!("{section}{}", users(&HASHES[..3]))).await;
        let asked = async |path: &str, headers: &[(&str, &str)]| match secure {
            true => ask(site.tls(ANY).await.expect("TLS"), path, headers)
                .await
                .expect("an answer"),
            false => site.get(path, headers).await,
        };
        let none = asked("/metrics", &[]).await;
        assert!(none.starts_with("HTTP/1.1 401"), "{none}");
        assert!(
            none.to_lowercase().contains("www-authenticate: basic\r\n"),
            "{none}"
        );
        for (user, password, status) in [
            ("dave", "dave123", 200),
            ("alice", "alice123", 200),
            ("b", "colon:in:", 200),
            ("dave", "bad", 401),
            ("nobody", "nobody", 401),
            ("nobody", "fakepassword", 401),
            ("nobody", "fakepassword", 401),
            ("empty", "", 401),
            ("alice", "", 401),
            ("alice", "xxxxxxxxx", 401),
            // What CVE-2022-46146 was: a joined key of the cache.
            ("alice", "alice123:", 401),
            ("alice:alice123", "", 401),
        ] {
            let answer = asked("/metrics", &[("Authorization", &login(user, password))]).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{user}: {answer}"
            );
        }
        for other in ["Bearer abc", "Basic !", "Basic", "Digest x", ""] {
            let answer = asked("/metrics", &[("Authorization", other)]).await;
            assert!(answer.starts_with("HTTP/1.1 401"), "{other}: {answer}");
        }
        for (path, status) in [
            ("/-/healthy", 200),
            ("/-/ready", 200),
            ("/-/reload", 401),
            ("/", 401),
            ("/-/healthy/", 401),
            ("/-/healthy/../../metrics", 401),
            ("//-/healthy", 401),
            ("/none", 401),
        ] {
            let answer = asked(path, &[]).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{path}: {answer}"
            );
        }
    }
}

#[tokio::test]
async fn headers_are_in_every_answer() {
    let headers = [
        ("strict-transport-security", "max-age=9"),
        ("x-frame-options", "deny"),
        ("x-content-type-options", "nosniff"),
        ("x-xss-protection", "1"),
        ("content-security-policy", "default-src 'self'"),
    ];
    let names = [
        "Strict-Transport-Security",
        "X-Frame-Options",
        "X-Content-Type-Options",
        "X-XSS-Protection",
        "Content-Security-Policy",
    ];
    let lines: String = names
        .iter()
        .zip(headers)
        .map(|(name, (_, value))| format!("    {name}: \"{value}\"\n"))
        .collect();
    let text = format!("http_server_config:\n  headers:\n{lines}{}", users(&HASHES[..1]));
    let site = Site::start(&text).await;
    for path in ["/-/healthy", "/metrics"] {
        let answer = site.get(path, &[]).await;
        for (header, value) in headers {
            assert!(
                answer.contains(&format!("{header}: {value}\r\n")),
                "{path}: {answer}"
            );
        }
    }
}

#[tokio::test]
async fn requests_over_the_rate_are_refused_and_probes_of_health_are_not() {
    let limit = |keys: &str| format!("rate_limit: {{{keys}}}");
    for (keys, answered) in [
        ("interval: 0s, burst: 0", 5),
        ("interval: 1h, burst: 0", 0),
        ("interval: 1h, burst: 3", 3),
    ] {
        let site = Site::start(&limit(keys)).await;
        for n in 0..5 {
            let expected = if n < answered {
                "HTTP/1.1 200"
            } else {
                "HTTP/1.1 429"
            };
            assert!(
                site.get("/metrics", &[]).await.starts_with(expected),
                "{keys}: {n}"
            );
            assert!(site.get("/-/ready", &[]).await.starts_with("HTTP/1.1 200"));
        }
    }
}

/// An HTTP/2 connection.
async fn http2(
    site: &Site,
) -> (
    h2::client::SendRequest<bytes::Bytes>,
    tokio::task::JoinHandle<Result<(), h2::Error>>,
) {
    let stream = site.tls(Client { alpn: &["h2"], ..ANY }).await.expect("TLS");
    let (send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    (send, tokio::spawn(connection))
}

fn get_request(headers: &[(&str, &str)]) -> axum::http::Request<()> {
    let mut request = axum::http::Request::get("https://localhost/metrics");
    for (header, value) in headers {
        request = request.header(*header, *value);
    }
    request.body(()).expect("a request")
}

async fn status(
    send: &mut h2::client::SendRequest<bytes::Bytes>,
    headers: &[(&str, &str)],
) -> Result<u16, h2::Error> {
    let mut ready = send.clone().ready().await?;
    let (response, _) = ready.send_request(get_request(headers), true)?;
    let response = response.await?;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
    }
    Ok(status)
}

#[tokio::test]
async fn http_2_has_its_limits() {
    let site = Site::start(&format!("{}{}", tls(""), users(&HASHES[..1]))).await;
    let (mut send, connection) = http2(&site).await;
    let right = login("alice", "alice123");
    assert_eq!(status(&mut send, &[]).await.ok(), Some(401));
    for _ in 0..100 {
        assert_eq!(
            status(&mut send, &[("authorization", &right)]).await.ok(),
            Some(200)
        );
    }
    assert_eq!(send.current_max_send_streams(), 32);
    let huge = "x".repeat(20_000);
    let refused = status(&mut send, &[("authorization", &right), ("x-huge", &huge)]).await;
    assert!(!matches!(refused, Ok(200)), "{refused:?}");
    // A request with a body.
    let mut ready = http2(&site).await.0.ready().await.expect("ready");
    let request = axum::http::Request::post("https://localhost/-/healthy")
        .body(())
        .expect("a request");
    let (response, mut body) = ready.send_request(request, false).expect("sent");
    let _ = body.send_data("x".into(), true);
    assert_eq!(response.await.expect("an answer").status(), 413);
    site.stop.cancel();
    timeout(LONG, connection)
        .await
        .expect("the stop ends it")
        .expect("no panic")
        .ok();
}

#[tokio::test]
async fn idle_and_unread_http_2_connections_end() {
    let (header, untaken) = (Duration::from_secs(1), Duration::from_secs(2));
    let site = Site::with(
        &tls(""),
        Limits {
            header,
            untaken,
            ..Limits::default()
        },
    )
    .await;
    // It never asks.
    let (_send, connection) = http2(&site).await;
    timeout(LONG, connection)
        .await
        .expect("it is ended")
        .expect("no panic")
        .ok();
    // It says nothing at all after the handshake.
    let mut silent = site.tls(Client { alpn: &["h2"], ..ANY }).await.expect("TLS");
    let mut rest = Vec::new();
    let read = timeout(LONG, silent.read_to_end(&mut rest)).await;
    read.expect("it is ended").ok();
    // It does not open its window for the answer, and asks on.
    let stream = site.tls(Client { alpn: &["h2"], ..ANY }).await.expect("TLS");
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(16);
    let (mut send, connection) = builder
        .handshake::<_, bytes::Bytes>(stream)
        .await
        .expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let began = Instant::now();
    let (response, _) = send.send_request(get_request(&[]), true).expect("sent");
    let _unread = response.await.expect("a head").into_body();
    timeout(LONG, connection)
        .await
        .expect("it is ended")
        .expect("no panic")
        .ok();
    assert!(began.elapsed() >= untaken, "{:?}", began.elapsed());
    let refused = async || site.stats.status().refused[Refusal::Timeout.index()] == 3;
    until("all are counted", refused).await;
}

#[tokio::test]
async fn an_http_2_connection_has_an_age_at_which_it_takes_no_more() {
    let age = Duration::from_secs(1);
    let limits = Limits {
        age,
        ..Limits::default()
    };
    let site = Site::with(&tls(""), limits).await;
    let (mut send, connection) = http2(&site).await;
    let began = Instant::now();
    while status(&mut send, &[]).await.is_ok() {
        assert!(began.elapsed() < LONG, "it goes on");
    }
    assert!(began.elapsed() >= age, "{:?}", began.elapsed());
    let ended = timeout(LONG, connection).await.expect("it ends");
    ended.expect("no panic").ok();
    assert_eq!(site.stats.status().refused, [0; Refusal::COUNT]);
}

#[tokio::test]
async fn half_handshakes_and_garbage_end_and_keep_nobody_away() {
    let handshake = Duration::from_secs(2);
    let site = Site::with(
        &tls(""),
        Limits {
            handshake,
            ..Limits::default()
        },
    )
    .await;
    let began = Instant::now();
    let mut half = Vec::new();
    for n in 0..40 {
        let mut stream = TcpStream::connect(site.address).await.expect("a listener");
        // The beginning of a ClientHello; half of them say nothing at all.
        if n % 2 == 0 {
            stream.write_all(&[22, 3, 1, 2, 0, 1, 0]).await.expect("sent");
        }
        half.push(stream);
    }
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 1000],
        &[22, 3, 1, 0xff, 0xff],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(site.address).await.expect("a listener");
        stream.write_all(garbage).await.expect("sent");
        let mut answer = Vec::new();
        let _ = timeout(LONG, stream.read_to_end(&mut answer))
            .await
            .expect("an end");
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    }
    // Garbage inside TLS, for both versions of HTTP.
    for alpn in [&["h2"][..], &["http/1.1"]] {
        let mut stream = site.tls(Client { alpn, ..ANY }).await.expect("TLS");
        stream.write_all(&[0xfe; 5000]).await.expect("sent");
        let mut answer = Vec::new();
        let _ = timeout(LONG, stream.read_to_end(&mut answer))
            .await
            .expect("an end");
    }
    assert!(site.lets_in(ANY).await);
    for mut stream in half {
        let mut answer = Vec::new();
        let _ = timeout(LONG, stream.read_to_end(&mut answer))
            .await
            .expect("it is closed");
    }
    assert!(began.elapsed() >= handshake, "{:?}", began.elapsed());
    let refused = async || site.stats.status().refused[Refusal::Handshake.index()] == 40;
    until("all are counted", refused).await;
    assert!(site.lets_in(ANY).await);
}

/// Waits until something that the server does by itself has happened.
async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is().await {
        assert!(began.elapsed() < LONG, "{what}: not within {LONG:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_changed_file_is_followed_and_a_bad_one_replaces_nothing() {
    let site = Site::start(&format!("{}{}", tls(MUTUAL), users(&HASHES[..1]))).await;
    let client = Client {
        identity: Some(&site.client),
        ..ANY
    };
    let get = async |client: Client<'_>, user: &str, password: &str| {
        let stream = site.tls(client).await.ok()?;
        let answer = ask(stream, "/metrics", &[("Authorization", &login(user, password))]).await;
        answer.ok()?.get(9..12).map(str::to_owned)
    };
    assert_eq!(get(client, "alice", "alice123").await.as_deref(), Some("200"));
    assert_eq!(get(client, "dave", "dave123").await.as_deref(), Some("401"));
    let mut kept = site.tls(client).await.expect("TLS");
    let before = site.stats.status();
    // A new user; the old one is removed, although it is remembered.
    site.write("web.yml", &format!("{}{}", tls(MUTUAL), users(&HASHES[1..2])));
    until("the new user", async || {
        get(client, "dave", "dave123").await.as_deref() == Some("200")
    })
    .await;
    assert_eq!(get(client, "alice", "alice123").await.as_deref(), Some("401"));
    let mut rest = Vec::new();
    timeout(LONG, kept.read_to_end(&mut rest))
        .await
        .expect("a connection from before ends")
        .ok();
    // A bad file.
    site.write("web.yml", "basic_auth_users: {dave: none}");
    until("it is noticed", async || {
        site.stats
            .status()
            .config
            .is_some_and(|config| !config.successful)
    })
    .await;
    assert_eq!(get(client, "dave", "dave123").await.as_deref(), Some("200"));
    // Without TLS: only a restart does that.
    site.write("web.yml", &users(&HASHES[..1]));
    let load = || {
        WebFile::load(&site.dir.path().join("web.yml"))
            .expect("a good file")
            .config
    };
    let plain = load();
    site.write("web.yml", &tls(""));
    let refused = follow::usable(&load(), plain).map(|_| ()).expect_err("refused");
    assert!(refused.contains("restart"), "{refused}");
    // The certificate's file alone, and client certificates are no longer asked for.
    let (issuer, ca) = authority("another CA");
    let other = signed(&issuer);
    site.write("server.crt", &other.cert);
    site.write("server.key", &other.key);
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.cert.as_bytes()).expect("PEM"))
        .expect("a CA");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions");
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    until("the new certificate", async || {
        let stream = TcpStream::connect(site.address).await.expect("a listener");
        let host = ServerName::try_from("localhost").expect("a name");
        match TlsConnector::from(config.clone()).connect(host, stream).await {
            Ok(stream) => ask(stream, "/metrics", &[])
                .await
                .is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")),
            Err(_) => false,
        }
    })
    .await;
    let after = site.stats.status();
    let successes = (before.config.expect("a file"), after.config.expect("a file"));
    assert!(successes.1.successful && successes.1.last_success > successes.0.last_success);
    assert!(after.certificate.is_some());
}
