//! A web server with a web.config.file, and its clients.

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
use crate::telemetry::testing::empty_view;
use crate::web::*;

pub(super) const LONG: Duration = Duration::from_secs(60);
pub(super) const PAIR: &str = "cert_file: server.crt, key_file: server.key";
pub(super) const MUTUAL: &str = "client_ca_file: ca.crt, client_auth_type: RequireAndVerifyClientCert";

/// A certificate and its key.
pub(super) struct Pair {
    pub(super) cert: String,
    pub(super) key: String,
}

fn name(text: &str) -> rcgen::string::Ia5String {
    text.try_into().expect("ASCII")
}

/// One that signs, and signs itself, as `openssl req -x509` makes it.
pub(super) fn authority(common_name: &str) -> (Issuer<'static, KeyPair>, Pair) {
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
pub(super) fn signed(issuer: &Issuer<'static, KeyPair>, key: KeyPair) -> Pair {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "leaf");
    params.subject_alt_names = vec![
        SanType::DnsName(name("localhost")),
        SanType::Rfc822Name(name("ops@example.org")),
        SanType::URI(name("spiffe://example.org/prometheus")),
        SanType::IpAddress([192, 0, 2, 7].into()),
    ];
    Pair {
        cert: params.signed_by(&key, issuer).expect("a certificate").pem(),
        key: key.serialize_pem(),
    }
}

/// What the files of a site are made from.
pub(super) struct Pems {
    pub(super) issuer: Issuer<'static, KeyPair>,
    pub(super) ca: Pair,
    pub(super) server: Pair,
    pub(super) stranger: Pair,
}

impl Pems {
    pub(super) fn new() -> Self {
        let (issuer, ca) = authority("a CA");
        let (_, stranger) = authority("a stranger");
        let server = signed(&issuer, KeyPair::generate().expect("a key"));
        Self {
            issuer,
            ca,
            server,
            stranger,
        }
    }
}

/// As one would write it into web.yml itself.
pub(super) fn inline(key: &str, pem: &str) -> String {
    let lines: String = pem.lines().map(|line| format!("    {line}\n")).collect();
    format!("  {key}: |\n{lines}")
}

/// A web server with a web.config.file, until it is dropped.
pub(super) struct Site {
    pub(super) dir: TempDir,
    pub(super) address: SocketAddr,
    pub(super) stats: Arc<WebStats>,
    pub(super) ca: Pair,
    pub(super) issuer: Issuer<'static, KeyPair>,
    /// Signed by the CA, and by itself.
    pub(super) client: Pair,
    pub(super) stranger: Pair,
    pub(super) stop: CancellationToken,
    _ready: watch::Sender<bool>,
    _files: watch::Sender<u64>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Site {
    pub(super) async fn start(text: &str) -> Self {
        Self::with(text, Limits::default()).await
    }

    pub(super) async fn with(text: &str, limits: Limits) -> Self {
        let pems = Pems::new();
        Self::of(text, limits, pems).await
    }

    pub(super) async fn of(text: &str, limits: Limits, pems: Pems) -> Self {
        let dir = TempDir::new().expect("a directory");
        let Pems {
            issuer,
            ca,
            server,
            stranger,
        } = pems;
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
            allowed_hosts: AllowedHosts::new(vec!["tor-a.example.org".to_owned()]),
            view: Arc::new(|| Box::pin(async { Some(empty_view()) })),
            ready: is_ready,
            reload: None,
            probe: None,
            modules: std::sync::Arc::new(|_, _| crate::web::ModuleLookup::UnknownModule),
            config: Some(file),
            limits,
            files,
            stats: stats.clone(),
        };
        let stop = CancellationToken::new();
        tokio::spawn(serve(vec![listener], web, stop.clone()));
        Self {
            client: signed(&issuer, KeyPair::generate().expect("a key")),
            issuer,
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

    pub(super) fn write(&self, file: &str, content: &str) {
        // At once, as whoever rotates certificates should do it.
        let path = self.dir.path().join("new");
        std::fs::write(&path, content).expect("written");
        std::fs::rename(&path, self.dir.path().join(file)).expect("renamed");
    }

    /// Plain HTTP.
    pub(super) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> String {
        let stream = TcpStream::connect(self.address).await.expect("a listener");
        ask(stream, path, headers).await.expect("an answer")
    }

    pub(super) async fn tls(&self, client: Client<'_>) -> std::io::Result<TlsStream<TcpStream>> {
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
    pub(super) async fn lets_in(&self, client: Client<'_>) -> bool {
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
pub(super) struct Client<'a> {
    pub(super) versions: &'a [&'static SupportedProtocolVersion],
    pub(super) alpn: &'a [&'a str],
    pub(super) identity: Option<&'a Pair>,
    pub(super) suite: Option<&'a str>,
    pub(super) curve: Option<&'a str>,
}

pub(super) const ANY: Client<'_> = Client {
    versions: &[&version::TLS12, &version::TLS13],
    alpn: &["http/1.1"],
    identity: None,
    suite: None,
    curve: None,
};
pub(super) const OF_12: Client<'_> = Client {
    versions: &[&version::TLS12],
    ..ANY
};
pub(super) const OF_13: Client<'_> = Client {
    versions: &[&version::TLS13],
    ..ANY
};

pub(super) async fn ask<S>(mut stream: S, path: &str, headers: &[(&str, &str)]) -> std::io::Result<String>
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

pub(super) fn login(user: &str, password: &str) -> String {
    let both = format!("{user}:{password}");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(both))
}

pub(super) fn users(of: &[(&str, &str)]) -> String {
    let lines: String = of
        .iter()
        .map(|(user, hash)| format!("  {user}: {hash}\n"))
        .collect();
    format!("basic_auth_users:\n{lines}")
}

pub(super) fn tls(keys: &str) -> String {
    format!("tls_server_config: {{{PAIR}, {keys}}}\n")
}

/// Waits until something that the server does by itself has happened.
pub(super) async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is().await {
        assert!(began.elapsed() < LONG, "{what}: not within {LONG:?}");
        sleep(Duration::from_millis(50)).await;
    }
}
