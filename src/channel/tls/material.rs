//! The files of one set: read as bytes, then built into what a dial needs, or into words for what is wrong with them.
//!
//! Only a complete and consistent set is built: whole PEM files, at least one CA, and a key that is the certificate's.
//! No message repeats what stands in a file: one of them is a private key.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, Error, InconsistentKeys, RootCertStore};
use tokio_rustls::TlsConnector;

use super::ALPN_H2;
use super::witness::{Identity, Verifier, Witness, not_after};
use crate::config::read_pem;
use crate::model::{ClientIdentity, TlsSettings};

/// A file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) file: PathBuf,
    /// For people; never what stands in the file.
    pub(super) reason: String,
}

impl Bad {
    pub(super) fn new(file: &Path, reason: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.reason)
    }
}

/// What stands in the files.
#[derive(PartialEq, Eq)]
pub(super) struct Files {
    ca: Vec<u8>,
    /// Certificate and key.
    client: Option<(Vec<u8>, Vec<u8>)>,
}

impl Files {
    /// Reads them. Blocks.
    pub(super) fn read(settings: &TlsSettings) -> Result<Self, Bad> {
        let client = |identity: &ClientIdentity| Ok((read(&identity.cert)?, read(&identity.key)?));
        Ok(Self {
            ca: read(&settings.ca)?,
            client: settings.client.as_ref().map(client).transpose()?,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Bad> {
    read_pem(path).map_err(|error| Bad::new(path, format!("cannot be read: {error}")))
}

/// What a dial needs.
pub(in crate::channel) struct Material {
    /// Without a verifier or a client certificate of its own: each connection gets them with its witness.
    config: ClientConfig,
    verifier: Arc<WebPkiServerVerifier>,
    /// The CA file's certificates.
    trusted: Arc<[CertificateDer<'static>]>,
    identity: Option<Arc<CertifiedKey>>,
    /// `None`: the SoC's address.
    name: Option<ServerName<'static>>,
    files: String,
    ca_expiry: Option<SystemTime>,
    client_expiry: Option<SystemTime>,
}

impl Material {
    /// Builds it from the files' content.
    pub(super) fn new(settings: &TlsSettings, files: &Files) -> Result<Self, Bad> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let ca_file = &settings.ca;
        let trusted: Arc<[_]> = certificates(ca_file, &files.ca)?.into();
        let mut roots = RootCertStore::empty();
        for ca in trusted.iter() {
            let added = roots.add(ca.clone());
            added.map_err(|error| Bad::new(ca_file, format!("holds an unusable certificate: {error}")))?;
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone()).build();
        let verifier = verifier.map_err(|error| Bad::new(ca_file, error.to_string()))?;
        let identity = match (&settings.client, &files.client) {
            (Some(paths), Some((cert, key))) => Some(identity(&provider, paths, cert, key)?),
            _ => None,
        };
        let name = settings.server_name.as_deref().map(|name| {
            let bad = |_| {
                Bad::new(
                    ca_file,
                    format!("expected a DNS name or an IP address as server name, got {name:?}"),
                )
            };
            ServerName::try_from(name.to_owned()).map_err(bad)
        });
        let of_client = identity.iter().flat_map(|identity| &identity.cert);
        Ok(Self {
            config: config(provider, verifier.clone())
                .map_err(|error| Bad::new(ca_file, error.to_string()))?,
            verifier,
            name: name.transpose()?,
            files: described(settings),
            ca_expiry: trusted.iter().filter_map(|ca| not_after(ca)).min(),
            client_expiry: of_client.filter_map(|cert| not_after(cert)).min(),
            trusted,
            identity,
        })
    }

    /// Makes one connection, whose witness sees what happens.
    pub(super) fn connector(&self, witness: &Arc<Witness>) -> TlsConnector {
        let mut config = self.config.clone();
        let verifier = Verifier::new(self.verifier.clone(), self.trusted.clone(), witness.clone());
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        config.client_auth_cert_resolver = Arc::new(Identity::new(self.identity.clone(), witness.clone()));
        TlsConnector::from(Arc::new(config))
    }

    /// The name that the certificate of the SoC at `address` must be for.
    pub(super) fn name(&self, address: IpAddr) -> ServerName<'static> {
        let name = self.name.clone();
        name.unwrap_or_else(|| ServerName::IpAddress(address.into()))
    }

    /// When the first of the CA file's certificates expires.
    pub(super) fn ca_expiry(&self) -> Option<SystemTime> {
        self.ca_expiry
    }

    /// When the first of the client certificate's chain expires.
    pub(super) fn client_expiry(&self) -> Option<SystemTime> {
        self.client_expiry
    }
}

/// The files' names.
impl fmt::Display for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.files)
    }
}

/// The same: never keys.
impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Material").field(&self.files).finish()
    }
}

fn described(settings: &TlsSettings) -> String {
    let ca = settings.ca.display();
    match &settings.client {
        Some(client) => format!("{ca}, {}, {}", client.cert.display(), client.key.display()),
        None => ca.to_string(),
    }
}

fn config(provider: Arc<CryptoProvider>, verifier: Arc<WebPkiServerVerifier>) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_webpki_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    // A resumed session would show no certificate: one that has expired meanwhile must be seen at each redial. (That each
    // connection has a verifier of its own keeps rustls from resuming, too, but that is not why it is so.)
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn certificates(file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Bad> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Err(_) => Err(Bad::new(file, "is not complete PEM")),
        Ok(none) if none.is_empty() => Err(Bad::new(file, "holds no certificate in PEM")),
        Ok(certificates) => Ok(certificates),
    }
}

fn identity(
    provider: &CryptoProvider,
    paths: &ClientIdentity,
    cert: &[u8],
    key: &[u8],
) -> Result<Arc<CertifiedKey>, Bad> {
    let chain = certificates(&paths.cert, cert)?;
    let no_key = "holds no whole private key in PEM (PKCS #8, PKCS #1 or SEC 1, not encrypted)";
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| Bad::new(&paths.key, no_key))?;
    CertifiedKey::from_der(chain, key, provider)
        .map(Arc::new)
        .map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                let reason = format!("is not the private key of {}", paths.cert.display());
                Bad::new(&paths.key, reason)
            }
            Error::InvalidCertificate(error) => Bad::new(&paths.cert, format!("cannot be used: {error}")),
            _ => Bad::new(&paths.key, "is not a private key of a kind that can be used"),
        })
}
