//! Watches one handshake: verifies the SoC's certificate as rustls does, and notes what the errors do not tell:
//! when the certificate expires, also if it is refused, and whether the SoC asked for ours.
//!
//! One certificate more than with rustls alone is trusted: one that stands in the CA file itself, byte for byte. That is
//! how gRPC's own clients do it, for one that is self-signed as for one that a CA has signed; webpki knows only CAs there,
//! and refuses one that calls itself a CA, as `openssl req -x509` makes them, as a server's. Its name and its dates must
//! still be right. One that is self-signed and does not stand there is signed by nobody we know, whatever else may be said
//! of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use x509_cert::der::Decode;
use x509_cert::time::Validity;
use x509_cert::{Certificate, TbsCertificate};

/// What one handshake has shown.
#[derive(Debug, Default)]
pub(in crate::channel) struct Witness {
    not_after: OnceLock<SystemTime>,
    asked: AtomicBool,
}

impl Witness {
    /// When the SoC's certificate expires, once it has shown one that can be read.
    pub(in crate::channel) fn not_after(&self) -> Option<SystemTime> {
        self.not_after.get().copied()
    }

    /// Whether the SoC has asked for a client certificate.
    pub(super) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

fn content(certificate: &CertificateDer<'_>) -> Option<TbsCertificate> {
    // One that cannot be read has no dates to show; whether it is good is rustls's verdict.
    Some(Certificate::from_der(certificate).ok()?.tbs_certificate)
}

/// When a certificate expires, where that can be read.
pub(super) fn not_after(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    content(certificate).map(|content| content.validity.not_after.to_system_time())
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

    fn stands_in_ca_file(&self, certificate: &CertificateDer<'_>) -> bool {
        self.trusted.iter().any(|trusted| trusted == certificate)
    }
}

/// For people: the proof that the SoC has the certificate's key cannot be verified. With a key of another kind or size
/// than ring knows, that is what it comes to.
pub(super) const BAD_KEY: &str = "its key does not fit, or is too weak: RSA keys need 2048 bits or more";

/// rustls calls it a bad signature, as it calls one in the chain, and that would be an unknown CA.
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
            // One certificate per handshake.
            let _ = self.witness.not_after.set(not_after);
        }
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
            // What rustls has no word for: a CA's certificate that a server shows as its own is among that.
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

/// The certificate is one of those that the operator trusts: what is left to be wrong are its dates and its name.
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

/// Shows our certificate on one connection, where there is one.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate() -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["soc.example".to_owned()]).expect("a name");
        params.not_after = date_time_ymd(2033, 5, 18);
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().clone()
    }

    #[test]
    fn a_certificate_says_when_it_expires() {
        let expiry = not_after(&certificate()).expect("readable");
        let expiry = expiry.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        assert_eq!(expiry.as_secs(), 1_999_987_200);
    }

    #[test]
    fn a_certificate_with_any_byte_changed_or_cut_off_at_any_place_panics_nobody() {
        let whole = certificate();
        for at in 0..whole.len() {
            not_after(&CertificateDer::from_slice(&whole[..at]));
            for change in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let mut bytes = whole.to_vec();
                bytes[at] = change;
                not_after(&bytes.into());
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_panic_nobody(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            not_after(&bytes.into());
        }
    }
}
