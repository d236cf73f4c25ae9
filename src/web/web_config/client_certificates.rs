//! Which client certificates are accepted: `client_auth_type`, `client_ca`, `client_allowed_sans`.
//!
//! One that stands in client_ca itself is accepted too, byte for byte, as Go does; webpki alone would refuse it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::{KeyError, at};
use crate::model::text;
use crate::soc::channel::validity;

const POLICY: &str = "tls_server_config.client_auth_type";
const SANS: &str = "tls_server_config.client_allowed_sans";
const POLICIES: &str = "NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert";
/// Names of one certificate that are compared.
const MAX_NAMES: usize = 1000;

/// The certificates to trust, and the key that names them.
type Trusted = (Vec<CertificateDer<'static>>, String);

/// `None`: clients are not asked for a certificate.
pub(super) fn build(
    policy: Option<&str>,
    trusted: Option<Trusted>,
    sans: Option<Vec<String>>,
    provider: Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, KeyError> {
    let (verifies, mandatory) = match policy.unwrap_or_default() {
        "" | "NoClientCert" => {
            if let Some((_, key)) = trusted {
                return at(&key, format!("expected a {POLICY} that asks for certificates"));
            }
            if sans.is_some() {
                return sans_need_verification();
            }
            return Ok(None);
        }
        "RequestClientCert" => (false, false),
        // The second is its old name.
        "RequireAnyClientCert" | "RequireClientCert" => (false, true),
        "VerifyClientCertIfGiven" => (true, false),
        "RequireAndVerifyClientCert" => (true, true),
        other => {
            let other = text::quote(other);
            return at(POLICY, format!("expected {POLICIES}; got {other:?}"));
        }
    };
    if sans.is_some() && !verifies {
        return sans_need_verification();
    }
    let mut verifier = ClientVerifier {
        webpki: None,
        trusted: Vec::new(),
        sans,
        mandatory,
        provider,
    };
    if verifies {
        let Some((trusted, key)) = trusted else {
            return at(
                "tls_server_config.client_ca_file",
                format!("expected the CA of the clients' certificates, as {POLICY} verifies them"),
            );
        };
        let mut roots = RootCertStore::empty();
        // One that cannot be a CA may still be a client's own.
        let (_, _) = roots.add_parsable_certificates(trusted.iter().cloned());
        if !roots.is_empty() {
            let webpki =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), verifier.provider.clone());
            let webpki = webpki.build().or_else(|error| at(&key, error.to_string()))?;
            verifier.webpki = Some(webpki);
        }
        verifier.trusted = trusted;
    }
    Ok(Some(Arc::new(verifier)))
}

fn sans_need_verification<T>() -> Result<T, KeyError> {
    at(
        SANS,
        format!("expected {POLICY} VerifyClientCertIfGiven or RequireAndVerifyClientCert with it"),
    )
}

#[derive(Debug)]
struct ClientVerifier {
    /// `None`: nothing is verified, or nothing that is trusted can be a CA.
    webpki: Option<Arc<dyn ClientCertVerifier>>,
    /// Empty: nothing is verified.
    trusted: Vec<CertificateDer<'static>>,
    sans: Option<Vec<String>>,
    mandatory: bool,
    provider: Arc<CryptoProvider>,
}

impl ClientVerifier {
    fn judge(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.trusted.is_empty() {
            return Ok(());
        }
        if self.trusted.iter().any(|trusted| trusted == own) {
            let time = UNIX_EPOCH + Duration::from_secs(now.as_secs());
            return match validity(own) {
                Some((_, end)) if time > end => Err(CertificateError::Expired.into()),
                Some((begin, _)) if time < begin => Err(CertificateError::NotValidYet.into()),
                Some(_) => Ok(()),
                None => Err(CertificateError::BadEncoding.into()),
            };
        }
        match &self.webpki {
            Some(webpki) => webpki.verify_client_cert(own, others, now).map(drop),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // No hint: some clients would not send a certificate that stands in client_ca itself.
        &[]
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(own, others, now)?;
        match &self.sans {
            Some(allowed) if !names(own).iter().any(|name| allowed.contains(name)) => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(ClientCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            own,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            own,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The DNS names, e-mail addresses, IP addresses and URIs that a certificate is for.
fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = CertificateInner::<Raw>::from_der(certificate) else {
        return Vec::new();
    };
    let extensions = certificate.tbs_certificate.extensions.unwrap_or_default();
    let sans = extensions
        .iter()
        .filter(|extension| extension.extn_id.to_string() == "2.5.29.17")
        .filter_map(|extension| SubjectAltName::from_der(extension.extn_value.as_bytes()).ok());
    sans.flat_map(|sans| sans.0)
        .take(MAX_NAMES)
        .filter_map(shown)
        .collect()
}

fn shown(name: GeneralName) -> Option<String> {
    Some(match name {
        GeneralName::DnsName(name) | GeneralName::Rfc822Name(name) => name.to_string(),
        GeneralName::UniformResourceIdentifier(uri) => uri.to_string(),
        GeneralName::IpAddress(bytes) => match bytes.as_bytes().len() {
            4 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes.as_bytes()).ok()?).to_string(),
            _ => Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_bytes()).ok()?).to_string(),
        },
        _ => return None,
    })
}
