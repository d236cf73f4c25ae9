//! The files of one set: read as bytes, then built into what a dial needs, or into a text for people that says what is wrong.
//!
//! Only a complete and consistent set is built: whole PEM files, at least one CA, and a key that belongs to the certificate.
//! Nothing else about our own certificate is checked here, because the SoC decides about it (for example about X.509 version 1,
//! which rustls would not read). No message quotes a file: one of them is a private key.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, Error, RootCertStore};
use tokio_rustls::TlsConnector;

use super::ALPN_H2;
use super::pem::{self, Certificates};
use super::witness::{Identity, Verifier, Witness};
use super::x509::{self, not_after};
use crate::config::read_pem;
use crate::model::{ClientIdentity, Endpoint, TlsSettings, text};

/// How many notes about a set are kept: enough for people to see the pattern.
const MAX_NOTES: usize = 20;

/// A file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) file: PathBuf,
    /// For people. It never quotes the file.
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
        write!(f, "{}: {}", text::quote(self.file.display()), self.reason)
    }
}

/// The content of the files.
#[derive(PartialEq, Eq)]
pub(super) struct TlsFiles {
    ca: Vec<u8>,
    /// Certificate and key.
    client: Option<(Vec<u8>, Vec<u8>)>,
}

impl TlsFiles {
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
pub(in crate::soc::channel) struct Material {
    /// Without a verifier and a client certificate: each connection gets its own, with its witness.
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
    notes: Vec<String>,
    /// When each certificate in the files expires, and the text that is reported then.
    expiries: Vec<(SystemTime, String)>,
}

impl Material {
    /// Builds it from the files' content.
    pub(super) fn new(settings: &TlsSettings, files: &TlsFiles) -> Result<Self, Bad> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let ca_file = &settings.ca;
        let ca = certificates(ca_file, &files.ca)?;
        let mut notes = notes(ca_file, ca.notes);
        let trusted: Arc<[_]> = ca.certificates.into();
        let roots = roots(ca_file, &trusted, &mut notes)?;
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone()).build();
        let verifier = verifier.map_err(|error| Bad::new(ca_file, error.to_string()))?;
        let identity = match (&settings.client, &files.client) {
            (Some(paths), Some((cert, key))) => {
                if let Some(bad) = swapped(paths, cert, key) {
                    return Err(bad);
                }
                let own = certificates(&paths.cert, cert)?;
                notes.extend(self::notes(&paths.cert, own.notes));
                let own = (own.certificates, &key[..]);
                Some(Arc::new(identity(&provider, paths, own, &trusted)?))
            }
            _ => None,
        };
        let of_client = identity.iter().flat_map(|identity| &identity.cert);
        let expiries = trusted.iter().map(|ca| ("CA", ca));
        let expiries = expiries.chain(of_client.clone().map(|own| ("client certificate's chain", own)));
        Ok(Self {
            config: config(provider, verifier.clone())
                .map_err(|error| Bad::new(ca_file, error.to_string()))?,
            verifier,
            name: server_name(settings)?,
            files: described(settings),
            ca_expiry: trusted.iter().filter_map(|ca| not_after(ca)).min(),
            client_expiry: of_client.filter_map(|cert| not_after(cert)).min(),
            notes: short(notes),
            expiries: expiries.filter_map(expiry).collect(),
            trusted,
            identity,
        })
    }

    /// For one connection, whose witness records what happens.
    pub(super) fn connector(&self, witness: &Arc<Witness>) -> TlsConnector {
        let mut config = self.config.clone();
        let verifier = Verifier::new(self.verifier.clone(), self.trusted.clone(), witness.clone());
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        config.client_auth_cert_resolver = Arc::new(Identity::new(self.identity.clone(), witness.clone()));
        TlsConnector::from(Arc::new(config))
    }

    /// The name that the certificate of the peer must be for: the configured one, its DNS name, or `address`.
    pub(super) fn name(&self, endpoint: &Endpoint, address: IpAddr) -> ServerName<'static> {
        let own = match endpoint {
            Endpoint::Name(name, _) => ServerName::try_from(&**name).ok().map(|name| name.to_owned()),
            Endpoint::Ip(_) => None,
        };
        let name = self.name.clone().or(own);
        name.unwrap_or_else(|| ServerName::IpAddress(address.into()))
    }

    /// When the first of the CA file's certificates expires.
    pub(super) fn ca_expiry(&self) -> Option<SystemTime> {
        self.ca_expiry
    }

    /// What is unusual about the files, for people. They are used.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Which certificates have expired at `now`, for people. They are still used: rustls does not check the dates of a
    /// certificate that we trust (OpenSSL does), and about ours the SoC decides.
    pub(super) fn expired(&self, now: SystemTime) -> Vec<String> {
        let expired = self.expiries.iter().filter(|(at, _)| *at < now);
        expired.map(|(_, said)| said.clone()).collect()
    }

    /// When the first of the client certificate's chain expires.
    pub(super) fn client_expiry(&self) -> Option<SystemTime> {
        self.client_expiry
    }
}

/// The certificates that may sign a SoC's. One that cannot is noted, and the others are used.
fn roots(
    file: &Path,
    trusted: &[CertificateDer<'static>],
    notes: &mut Vec<String>,
) -> Result<RootCertStore, Bad> {
    let mut roots = RootCertStore::empty();
    for (n, ca) in trusted.iter().enumerate() {
        if let Err(error) = roots.add(ca.clone()) {
            let (number, name) = (n + 1, x509::subject(ca));
            notes.push(format!(
                "{}: certificate {number}, {name}, cannot sign a SoC's: {error}",
                text::quote(file.display())
            ));
        }
    }
    if roots.is_empty() {
        let why = notes.pop().unwrap_or_default();
        return Err(Bad::new(file, format!("holds no usable certificate: {why}")));
    }
    Ok(roots)
}

/// The name that the SoCs' certificates must be for; `None`: each SoC's address.
fn server_name(settings: &TlsSettings) -> Result<Option<ServerName<'static>>, Bad> {
    let parse = |name: &str| {
        ServerName::try_from(name.to_owned()).map_err(|_| {
            let (expected, name) = ("a DNS name or an IP address as server name", text::quote(name));
            Bad::new(&settings.ca, format!("expected {expected}, got {name:?}"))
        })
    };
    settings.server_name.as_deref().map(parse).transpose()
}

/// When a certificate expires, and the text that is reported then.
fn expiry((what, certificate): (&str, &CertificateDer<'static>)) -> Option<(SystemTime, String)> {
    let at = not_after(certificate)?;
    let (name, date) = (x509::subject(certificate), x509::date(at));
    Some((at, format!("{what}: {name} has expired: {date}")))
}

/// A file of one MiB could have tens of thousands of notes.
fn short(mut notes: Vec<String>) -> Vec<String> {
    if let Some(more @ 1..) = notes.len().checked_sub(MAX_NOTES) {
        notes.truncate(MAX_NOTES);
        notes.push(format!("and {more} more"));
    }
    notes
}

fn notes(file: &Path, notes: Vec<String>) -> Vec<String> {
    let file = text::quote(file.display());
    notes.into_iter().map(|note| format!("{file}: {note}")).collect()
}

/// The files' names.
impl fmt::Display for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.files)
    }
}

/// Also only the files' names, never keys.
impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Material").field(&self.files).finish()
    }
}

fn described(settings: &TlsSettings) -> String {
    let name = |path: &Path| text::quote(path.display());
    let ca = name(&settings.ca);
    match &settings.client {
        Some(client) => format!("{ca}, {}, {}", name(&client.cert), name(&client.key)),
        None => ca,
    }
}

fn config(provider: Arc<CryptoProvider>, verifier: Arc<WebPkiServerVerifier>) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_webpki_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    // A resumed session would not send the certificate, but one that has expired since must be seen at each redial. (rustls
    // does not resume anyway while each connection has a verifier of its own, but that could change.)
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn certificates(file: &Path, pem: &[u8]) -> Result<Certificates, Bad> {
    pem::certificates(pem).map_err(|reason| Bad::new(file, reason))
}

/// Our own certificate and its key. `trusted`: the CA file's certificates.
fn identity(
    provider: &CryptoProvider,
    paths: &ClientIdentity,
    (chain, key): (Vec<CertificateDer<'static>>, &[u8]),
    trusted: &[CertificateDer<'_>],
) -> Result<CertifiedKey, Bad> {
    let key = pem::key(key).map_err(|reason| Bad::new(&paths.key, reason))?;
    let key = provider.key_provider.load_private_key(key).map_err(|_| {
        let kinds = "RSA from 2048 bits, ECDSA on P-256 and P-384, and Ed25519 are supported";
        Bad::new(
            &paths.key,
            format!("is not a private key of a supported kind: {kinds}"),
        )
    })?;
    let Some(public) = key.public_key() else {
        return Ok(CertifiedKey::new(chain, key));
    };
    let is_for = |certificate: &CertificateDer<'_>| x509::is_for(certificate, &public);
    // A certificate whose key cannot be read is still sent: the SoC decides about it.
    if chain.first().and_then(is_for) != Some(false) {
        return Ok(CertifiedKey::new(chain, key));
    }
    let cert = text::quote(paths.cert.display());
    if let Some(at) = chain.iter().position(|other| is_for(other) == Some(true)) {
        let (first, own) = (x509::subject(&chain[0]), x509::subject(&chain[at]));
        return Err(Bad::new(
            &paths.cert,
            format!(
                "is in the wrong order: the certificate of our key, {own}, is number {} in it and must come first, before {first} \
                 and whatever else signed it",
                at + 1
            ),
        ));
    }
    let whose = match trusted.iter().find(|ca| is_for(ca) == Some(true)) {
        Some(ca) => format!(
            ", but that of {} in the CA file: are ca and cert swapped?",
            x509::subject(ca)
        ),
        None => format!(" ({})", chain.first().map(x509::subject).unwrap_or_default()),
    };
    let reason = format!("is not the private key of {cert}{whose}");
    Err(Bad::new(&paths.key, reason))
}

/// Whether the two files were exchanged: each has what the other should have.
fn swapped(paths: &ClientIdentity, cert: &[u8], key: &[u8]) -> Option<Bad> {
    let swapped = pem::certificates(cert).is_err()
        && pem::key(key).is_err()
        && pem::certificates(key).is_ok()
        && pem::key(cert).is_ok();
    swapped.then(|| {
        let reason = format!(
            "holds the private key, and {} the certificate: cert and key are swapped",
            text::quote(paths.key.display())
        );
        Bad::new(&paths.cert, reason)
    })
}
