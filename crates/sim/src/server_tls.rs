//! TLS on a SoC's connections: its files, and the handshake.
//!
//! The files are read again for each connection. So a test rotates certificates by writing new files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use serde::Deserialize;
use tokio_rustls::TlsAcceptor;

use super::quote::quote;
use crate::file;

/// How a SoC serves TLS. Paths are relative to the working directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM: its certificate, then those that signed it.
    pub cert: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
    /// PEM: the certificates that may sign a client's. If set, a client without such a certificate is refused.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// Which versions of TLS it speaks.
    #[serde(default)]
    pub version: TlsVersion,
    /// Whether it sends no ALPN. No gRPC server does that.
    #[serde(default)]
    pub without_alpn: bool,
}

/// Versions of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum TlsVersion {
    /// Either.
    #[default]
    #[serde(rename = "any")]
    Any,
    /// 1.2 only.
    #[serde(rename = "1.2")]
    V1_2,
    /// 1.3 only.
    #[serde(rename = "1.3")]
    V1_3,
}

impl TlsVersion {
    fn versions(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::Any => rustls::ALL_VERSIONS.to_vec(),
            Self::V1_2 => vec![&rustls::version::TLS12],
            Self::V1_3 => vec![&rustls::version::TLS13],
        }
    }
}

impl Tls {
    /// Reads the files. Blocks, but they are small and this is a simulator. An error names the file.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = certificates(&self.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?).map_err(|error| said(&self.key, error))?;
        let mut config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&self.version.versions())
            .map_err(|error| error.to_string())
            .and_then(|builder| {
                let builder = match &self.client_ca {
                    None => builder.with_no_client_auth(),
                    Some(path) => {
                        let mut roots = RootCertStore::empty();
                        for ca in certificates(path)? {
                            roots.add(ca).map_err(|error| said(path, error))?;
                        }
                        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                        builder.with_client_cert_verifier(verifier.build().map_err(|e| said(path, e))?)
                    }
                };
                builder
                    .with_single_cert(chain, key)
                    .map_err(|error| said(&self.cert, error))
            })?;
        if !self.without_alpn {
            config.alpn_protocols = vec![b"h2".to_vec()];
        }
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| said(path, error))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    file::read(path, 1).map_err(|error| said(path, error))
}

fn said(path: &Path, error: impl std::fmt::Display) -> String {
    format!("{}: {error}", quote(path.display()))
}
