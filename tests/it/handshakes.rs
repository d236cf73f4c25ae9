//! A channel against TLS servers that the simulator does not offer: one that ends with a reset, one that resumes sessions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dualtor_exporter::model::{
    BackoffSettings, Cause, ChannelEvent, ChannelSettings, ChannelState, ClientIdentity, Port, Security,
    Side, Target, TlsSettings,
};
use dualtor_exporter::soc::channel::{Channel, TlsStore};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, HandshakeKind, RootCertStore, ServerConfig, SignatureScheme,
};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::certificates::{Ca, Files, VALID};
use crate::harness::LONG;
use crate::tls::{PORT, shared_ca};

/// A channel with this security.
fn secured(address: SocketAddr, security: Security, store: &TlsStore) -> Channel {
    let settings = ChannelSettings {
        security,
        backoff: BackoffSettings {
            max: Duration::from_millis(50),
            ..BackoffSettings::default()
        },
        ..ChannelSettings::default()
    };
    let target = Target {
        namespace: "".into(),
        id: Port::new(PORT).expect("a port").into(),
        address,
        side: Side::Upper,
        channel: Arc::new(settings),
    };
    Channel::new(target, Arc::default(), store).expect("a channel")
}

/// A channel that trusts the shared CA and has no certificate of its own.
fn channel(address: SocketAddr, files: &Files, store: &TlsStore) -> Channel {
    let settings = TlsSettings {
        ca: files.path("ca.crt"),
        client: None,
        server_name: None,
    };
    secured(address, Security::Tls(settings), store)
}

/// Why the next dial fails; `None` if it becomes READY.
async fn next_failure(channel: &mut Channel) -> (Cause, Arc<str>) {
    let failure = async {
        loop {
            match channel.next().await.event {
                ChannelEvent::Failed { cause, detail } => return (cause, detail),
                ChannelEvent::State { to, .. } => assert_ne!(to, ChannelState::Ready),
                _ => {}
            }
        }
    };
    tokio::time::timeout(LONG, failure).await.expect("an end")
}

/// What a server requires from its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clients {
    Any,
    /// It requests a certificate of its CA, and accepts clients without one.
    Asked,
    Certified,
}

/// A server's TLS with a certificate of this CA.
fn acceptor(ca: &Ca, clients: Clients) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3");
    let builder = if clients != Clients::Any {
        let mut roots = RootCertStore::empty();
        let trusted = CertificateDer::from_pem_slice(ca.cert.as_bytes()).expect("a CA");
        roots.add(trusted).expect("a CA");
        let mut verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        if clients == Clients::Asked {
            verifier = verifier.allow_unauthenticated();
        }
        builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
    } else {
        builder.with_no_client_auth()
    };
    let pem = ca.soc(VALID);
    let cert = CertificateDer::from_pem_slice(pem.cert.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).expect("a key");
    let mut config = builder.with_single_cert(vec![cert], key).expect("a server");
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// Accepts any client certificate, as a SoC may, and reports which it was.
#[derive(Debug)]
struct Whoever(mpsc::UnboundedSender<CertificateDer<'static>>);

impl ClientCertVerifier for Whoever {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.0
            .send(end_entity.clone().into_owned())
            .expect("the test reads it");
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_of_version_1_is_for_the_soc_to_judge() {
    let (files, ca) = shared_ca();
    let own = ca.client_of_version_1();
    files.client(&own);
    let (shown, mut seen) = mpsc::unbounded_channel();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let pem = ca.soc(VALID);
    let cert = CertificateDer::from_pem_slice(pem.cert.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).expect("a key");
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(Arc::new(Whoever(shown)))
        .with_single_cert(vec![cert], key)
        .expect("a server");
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.expect("a client");
        let stream = acceptor.accept(tcp).await.expect("a handshake");
        let mut h2 = h2::server::handshake(stream).await.expect("HTTP/2");
        while h2.accept().await.is_some() {}
    });
    let settings = TlsSettings {
        ca: files.path("ca.crt"),
        client: Some(ClientIdentity {
            cert: files.path("client.crt"),
            key: files.path("client.key"),
        }),
        server_name: None,
    };
    let mut channel = secured(address, Security::Tls(settings), &TlsStore::default());
    let ready = async {
        loop {
            match channel.next().await.event {
                ChannelEvent::Failed { cause, detail } => panic!("{cause}: {detail}"),
                ChannelEvent::State {
                    to: ChannelState::Ready,
                    ..
                } => return,
                _ => {}
            }
        }
    };
    tokio::time::timeout(LONG, ready).await.expect("READY");
    let own = CertificateDer::from_pem_slice(own.cert.as_bytes()).expect("a certificate");
    assert_eq!(seen.recv().await, Some(own));
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_heard_although_a_reset_follows_it() {
    let (files, ca) = shared_ca();
    let (listener, address) = listener().await;
    let acceptor = acceptor(&ca, Clients::Certified);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Err((_, tcp)) = acceptor.accept(tcp).into_fallible().await else {
                panic!("it was not refused");
            };
            tcp.set_zero_linger().expect("no linger");
        }
    });
    let store = TlsStore::default();
    for n in 0..50 {
        let mut channel = channel(address, &files, &store);
        let (cause, _) = next_failure(&mut channel).await;
        assert_eq!(cause, Cause::TlsClientRefused, "the {n}th time");
    }
}

/// What gRPC's own servers do after the TLS 1.3 handshake with a client whose certificate they refuse.
#[tokio::test(flavor = "multi_thread")]
async fn a_soc_that_hangs_up_after_it_has_asked_for_our_certificate_refuses_it() {
    let (files, ca) = shared_ca();
    for (clients, reset, expected) in [
        (Clients::Asked, false, Cause::TlsClientRefused),
        (Clients::Asked, true, Cause::TlsClientRefused),
        (Clients::Any, false, Cause::Closed),
        (Clients::Any, true, Cause::Reset),
    ] {
        let (listener, address) = listener().await;
        let acceptor = acceptor(&ca, clients);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let stream = acceptor.accept(tcp).await.expect("a client");
                let (tcp, _) = stream.into_inner();
                if reset {
                    tcp.set_zero_linger().expect("no linger");
                } else {
                    // Unread data would turn the close into a reset.
                    let tcp = tcp.into_std().expect("a socket");
                    tcp.shutdown(std::net::Shutdown::Write).expect("open");
                    drained(tcp).await;
                }
            }
        });
        let store = TlsStore::default();
        let mut channel = channel(address, &files, &store);
        let (cause, detail) = next_failure(&mut channel).await;
        assert_eq!(cause, expected, "{clients:?} {reset}: {detail}");
        assert!(!detail.contains("http"), "{detail}");
    }
}

/// Reads until the client closes.
async fn drained(tcp: std::net::TcpStream) {
    let mut tcp = TcpStream::from_std(tcp).expect("a socket");
    let mut rest = Vec::new();
    // The outcome does not matter.
    let _ = tcp.read_to_end(&mut rest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_session_is_resumed_so_that_each_dial_sees_the_certificate() {
    let (files, ca) = shared_ca();
    let (listener, address) = listener().await;
    let acceptor = acceptor(&ca, Clients::Any);
    let (seen_tx, mut seen) = mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let mut stream = acceptor.accept(tcp).await.expect("a client");
            let kind = stream.get_ref().1.handshake_kind();
            // After the client's preface it has received its session ticket.
            let mut preface = [0; 24];
            stream.read_exact(&mut preface).await.expect("a preface");
            seen_tx.send(kind).await.expect("the test reads it");
        }
    });
    let store = TlsStore::default();
    let mut channel = channel(address, &files, &store);
    for _ in 0..3 {
        next_failure(&mut channel).await;
        assert_eq!(seen.recv().await, Some(Some(HandshakeKind::Full)));
    }
}

#[tokio::test]
async fn tls_that_cannot_be_had_is_a_failed_dial_that_says_why_and_touches_nobody() {
    let (listener, address) = listener().await;
    let why: Arc<str> = "GRPCCLIENT has no ca_crt".into();
    let mut channel = secured(address, Security::Unusable(why.clone()), &TlsStore::default());
    for _ in 0..3 {
        assert_eq!(next_failure(&mut channel).await, (Cause::TlsConfig, why.clone()));
    }
    let accepted = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(accepted.is_err(), "{accepted:?}");
}
