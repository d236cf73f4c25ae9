//! Watches one handshake. It verifies the peer's certificate as rustls does, and records what the errors do not contain: when
//! the certificate expires, even if it is refused, and whether the SoC asked for ours.
//!
//! It trusts one certificate more than rustls alone: a certificate that is in the CA file itself, byte for byte. gRPC's own
//! clients do the same, both for a self-signed one and for one that a CA has signed. webpki accepts only CAs there, and refuses
//! a server certificate that is marked as a CA, as `openssl req -x509` makes them. Its name and its dates must still be right.
//! A self-signed certificate that is not in the CA file has an unknown CA, whatever else may be wrong with it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use x509_cert::time::Validity;

use super::chain::blame;
use super::x509::{content, not_after};

/// What one handshake has shown.
#[derive(Debug, Default)]
pub(in crate::soc::channel) struct Witness {
    not_after: OnceLock<SystemTime>,
    asked: AtomicBool,
    blame: OnceLock<String>,
}

impl Witness {
    /// When the SoC's certificate expires. Set once the SoC has sent one that can be read.
    pub(in crate::soc::channel) fn not_after(&self) -> Option<SystemTime> {
        self.not_after.get().copied()
    }

    /// What is wrong with the SoC's certificates, and which one it is, for people.
    pub(super) fn blame(&self) -> Option<&str> {
        self.blame.get().map(String::as_str)
    }

    /// Whether the SoC has asked for a client certificate.
    pub(super) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Verifies the SoC's certificate on one connection.
#[derive(Debug)]
pub(super) struct Verifier {
    rustls: Arc<WebPkiServerVerifier>,
    trusted: Arc<[CertificateDer<'static>]>,
    witness: Arc<Witness>,
}

impl Verifier {
    pub(super) fn new(
        rustls: Arc<WebPkiServerVerifier>,
        trusted: Arc<[CertificateDer<'static>]>,
        witness: Arc<Witness>,
    ) -> Self {
        Self {
            rustls,
            trusted,
            witness,
        }
    }

    fn verdict(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict =
            self.rustls
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verdict {
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
                if self.stands_in_ca_file(end_entity) =>
            {
                let content = content(end_entity).ok_or(CertificateError::BadEncoding)?;
                trust_itself(end_entity, &content.validity, server_name, now)
            }
            // rustls has no error of its own for these cases. One of them is a server that sends a CA's certificate as its own.
            Err(Error::InvalidCertificate(CertificateError::Other(why))) => {
                let Some(content) = content(end_entity) else {
                    return Err(CertificateError::Other(why).into());
                };
                if self.stands_in_ca_file(end_entity) {
                    trust_itself(end_entity, &content.validity, server_name, now)
                } else if content.issuer == content.subject {
                    Err(CertificateError::UnknownIssuer.into())
                } else {
                    Err(CertificateError::Other(why).into())
                }
            }
            verdict => verdict,
        }
    }

    fn stands_in_ca_file(&self, certificate: &CertificateDer<'_>) -> bool {
        self.trusted.iter().any(|trusted| trusted == certificate)
    }
}

/// For people: the SoC could not prove that it has the certificate's key. A key of a kind or size that ring does not know has
/// the same result.
pub(super) const BAD_KEY: &str = "its key does not fit, or is too weak: RSA keys need 2048 bits or more";

/// rustls reports this as a bad signature. It reports a bad signature in the chain in the same way, which would be an unknown
/// CA.
fn own_key(verdict: Result<HandshakeSignatureValid, Error>) -> Result<HandshakeSignatureValid, Error> {
    verdict.map_err(|error| match error {
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            CertificateError::Other(OtherError(Arc::new(std::io::Error::other(BAD_KEY)))).into()
        }
        error => error,
    })
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(not_after) = not_after(end_entity) {
            // There is one certificate per handshake.
            let _ = self.witness.not_after.set(not_after);
        }
        let verdict = self.verdict(end_entity, intermediates, server_name, ocsp_response, now);
        if let Err(Error::InvalidCertificate(why)) = &verdict
            && let Some(words) = blame(why, end_entity, intermediates, now)
        {
            let _ = self.witness.blame.set(words);
        }
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        own_key(
            self.rustls
                .verify_tls12_signature(message, certificate, signature),
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        own_key(
            self.rustls
                .verify_tls13_signature(message, certificate, signature),
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.rustls.supported_verify_schemes()
    }
}

/// The operator trusts this certificate itself. So only its dates and its name are left to check.
fn trust_itself(
    certificate: &CertificateDer<'_>,
    validity: &Validity,
    server_name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    verify_server_name(&ParsedCertificate::try_from(certificate)?, server_name)?;
    Ok(ServerCertVerified::assertion())
}

/// Sends our certificate on one connection, if there is one.
#[derive(Debug)]
pub(super) struct Identity {
    certified: Option<Arc<CertifiedKey>>,
    witness: Arc<Witness>,
}

impl Identity {
    pub(super) fn new(certified: Option<Arc<CertifiedKey>>, witness: Arc<Witness>) -> Self {
        Self { certified, witness }
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.witness.asked.store(true, Ordering::Relaxed);
        self.certified.clone()
    }

    fn has_certs(&self) -> bool {
        self.certified.is_some()
    }
}
