//! web.config.file, or a file that it names, changes while the exporter runs.

use std::sync::Arc;

use rcgen::KeyPair;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::cases::{Cases, NEW_CERTIFICATES, NEW_USERS};
use super::site::{
    ANY, Client, LONG, MUTUAL, PAIR, Pems, Site, ask, inline, login, signed, tls, until, users,
};
use crate::web::web_config::tests::HASHES;
use crate::web::{Limits, WebFile, follow};

async fn status(site: &Site, client: Client<'_>, user: &str, password: &str) -> Option<String> {
    let stream = site.tls(client).await.ok()?;
    let answer = ask(stream, "/metrics", &[("Authorization", &login(user, password))]).await;
    answer.ok()?.get(9..12).map(str::to_owned)
}

#[tokio::test]
async fn new_users_may_and_removed_ones_may_not_and_a_bad_file_replaces_nothing() {
    let mut cases = Cases::of(NEW_USERS);
    let site = Site::start(&format!("{}{}", tls(""), users(&HASHES[..1]))).await;
    let get = async |user: &str, password: &str| status(&site, ANY, user, password).await;
    assert_eq!(get("alice", "alice123").await.as_deref(), Some("200"));
    assert_eq!(get("dave", "dave123").await.as_deref(), Some("401"));
    let mut kept = site.tls(ANY).await.expect("TLS");
    let before = site.stats.status();
    site.write("web.yml", &format!("{}{}", tls(""), users(&HASHES[1..2])));
    until("the new user", async || {
        get("dave", "dave123").await.as_deref() == Some("200")
    })
    .await;
    cases.held("reload: a new user may within 10 s");
    assert_eq!(get("alice", "alice123").await.as_deref(), Some("401"));
    cases.held("reload: the removed one is 401, although remembered");
    let mut rest = Vec::new();
    let end = timeout(LONG, kept.read_to_end(&mut rest)).await;
    end.expect("a connection from before ends").ok();

    let config = || site.stats.status().config.expect("a file");
    site.write("web.yml", "basic_auth_users: {dave: none}");
    until("it is noticed", async || !config().successful).await;
    assert_eq!(get("dave", "dave123").await.as_deref(), Some("200"));
    site.write("web.yml", &format!("{}{}", tls(""), users(&HASHES[..2])));
    until("a good one", async || config().successful).await;
    assert_eq!(get("alice", "alice123").await.as_deref(), Some("200"));
    assert!(config().last_success > before.config.expect("a file").last_success);
    cases.end();
}

#[tokio::test]
async fn a_change_to_plain_http_needs_a_restart() {
    let site = Site::start(&tls("")).await;
    let load = || {
        let file = WebFile::load(&site.dir.path().join("web.yml"));
        file.expect("a good file").config
    };
    let secure = load();
    site.write("web.yml", &users(&HASHES[..1]));
    let refused = follow::usable(&secure, load()).map(|_| ()).expect_err("refused");
    assert!(refused.contains("restart"), "{refused}");
}

/// Whether this client, without a certificate of its own, trusts the server's.
async fn trusts(config: &Arc<ClientConfig>, site: &Site) -> bool {
    let stream = TcpStream::connect(site.address).await.expect("a listener");
    let host = ServerName::try_from("localhost").expect("a name");
    match TlsConnector::from(config.clone()).connect(host, stream).await {
        Ok(stream) => ask(stream, "/metrics", &[])
            .await
            .is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")),
        Err(_) => false,
    }
}

#[tokio::test]
async fn a_new_certificate_is_shown_and_a_new_policy_is_kept() {
    let mut cases = Cases::of(NEW_CERTIFICATES);
    let site = Site::start(&tls(MUTUAL)).await;
    assert!(!site.lets_in(ANY).await);
    site.write("web.yml", &tls(""));
    until("no client certificate", async || site.lets_in(ANY).await).await;
    cases.held("reload: client certificates no longer asked for");

    let other = Pems::new();
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(other.ca.cert.as_bytes()).expect("PEM");
    roots.add(ca).expect("a CA");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_root_certificates(roots);
    let config = Arc::new(config.with_no_client_auth());
    assert!(!trusts(&config, &site).await);
    // web.yml names other files.
    site.write("new.crt", &other.server.cert);
    site.write("new.key", &other.server.key);
    site.write("web.yml", &tls("").replace("server.", "new."));
    until("the new certificate", async || trusts(&config, &site).await).await;
    cases.held("reload: a new certificate within 10 s");
    assert!(!site.lets_in(ANY).await);
    // The same key and the CA of before: web.yml is as it was.
    let key = KeyPair::from_pem(&other.server.key).expect("a key");
    site.write("new.crt", &signed(&site.issuer, key).cert);
    until("the certificate of before", async || site.lets_in(ANY).await).await;
    assert!(!trusts(&config, &site).await);
    cases.held("reload: the certificate's file alone changed");
    assert!(site.stats.status().certificate.is_some());
    cases.end();
}

#[tokio::test]
async fn a_client_ca_in_the_file_itself_is_followed() {
    let pems = Pems::new();
    let with_ca = |ca: &str| {
        let pair = PAIR.replace(", ", "\n  ");
        let policy = "client_auth_type: RequireAndVerifyClientCert";
        format!(
            "tls_server_config:\n  {pair}\n  {policy}\n{}",
            inline("client_ca", ca)
        )
    };
    let site = Site::of(&with_ca(&pems.ca.cert), Limits::default(), pems).await;
    let client = |identity| Client {
        identity: Some(identity),
        ..ANY
    };
    assert!(site.lets_in(client(&site.client)).await);
    assert!(!site.lets_in(client(&site.stranger)).await);
    site.write("web.yml", &with_ca(&site.stranger.cert));
    until("the new CA", async || site.lets_in(client(&site.stranger)).await).await;
    assert!(!site.lets_in(client(&site.client)).await);
}
