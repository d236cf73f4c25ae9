//! What a TLS error means: a cause of the closed set, and a text for people.

use std::io;

use chrono::DateTime;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

use super::witness::{BAD_KEY, Witness};
use crate::model::Cause;
use crate::soc::channel::failure::Failure;

/// What a handshake's error means.
pub(super) fn of_handshake(error: &io::Error, witness: &Witness) -> Failure {
    match tls_error(error) {
        // Most TLS 1.2 servers send this alert to a client without a certificate, and also for many other reasons. If the
        // server had already asked for a certificate, it is about the certificate.
        Some(error @ Error::AlertReceived(AlertDescription::HandshakeFailure)) if witness.asked() => {
            Failure::new(Cause::TlsClientRefused, refused(error))
        }
        Some(Error::InvalidCertificate(reason)) if witness.blame().is_some() => {
            Failure::new(of_certificate(reason), witness.blame().unwrap_or_default())
        }
        Some(error) => of(error),
        None => Failure::from_io(error),
    }
}

/// What the end of a connection means before the peer has proven itself. gRPC's own servers send no reason to a client whose
/// certificate they refuse: they close the connection, with TLS 1.3 after the handshake.
pub(in crate::soc::channel) fn of_silence(failure: Failure, witness: &Witness) -> Failure {
    if witness.asked() && matches!(failure.cause, Cause::Closed | Cause::Reset) {
        let detail = format!(
            "the SoC closed the connection after it had asked for our certificate: most likely it does not accept ours, or we have none ({})",
            failure.detail
        );
        return Failure::new(Cause::TlsClientRefused, detail);
    }
    failure
}

/// What an error of an established connection means, with TLS or without.
pub(in crate::soc::channel) fn of_io(error: &io::Error) -> Failure {
    tls_error(error).map_or_else(|| Failure::from_io(error), of)
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn refused(error: &Error) -> String {
    format!("the SoC refused our client certificate, or requires one: {error}")
}

fn of(error: &Error) -> Failure {
    let (cause, detail) = match error {
        Error::InvalidCertificate(reason) => {
            let words = of_peer(reason).map(|words| format!("the SoC's certificate {words}"));
            (of_certificate(reason), words.unwrap_or_else(|| error.to_string()))
        }
        Error::AlertReceived(alert) if ABOUT_OUR_CERTIFICATE.contains(alert) => {
            (Cause::TlsClientRefused, refused(error))
        }
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => (Cause::Tls, format!("the peer seems not to speak TLS: {error}")),
        _ => (Cause::Tls, error.to_string()),
    };
    Failure::new(cause, detail)
}

/// What is wrong with a peer's certificate, for people: what follows "the certificate". `None`: rustls's own text is for people.
pub(super) fn of_peer(reason: &CertificateError) -> Option<String> {
    use CertificateError as Why;
    let date = |time: &UnixTime| {
        let time = i64::try_from(time.as_secs()).ok();
        let time = time.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        time.map_or("?".to_owned(), |time| {
            time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
        })
    };
    let other = match reason {
        Why::ExpiredContext { not_after, .. } => return Some(format!("has expired: {}", date(not_after))),
        Why::NotValidYetContext { not_before, .. } => {
            return Some(format!("is not valid before {}", date(not_before)));
        }
        Why::UnsupportedSignatureAlgorithmContext { .. }
        | Why::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            return Some(
                "has a signature that is not supported (SHA-1?), or a CA's certificate has: SHA-256 or better is supported, \
                 with RSA from 2048 bits, ECDSA on P-256 or P-384, or Ed25519"
                    .to_owned(),
            );
        }
        Why::Other(other) => other.to_string(),
        _ => return None,
    };
    let known = [
        (
            "CaUsedAsEndEntity",
            "it is a CA certificate: give the server its own certificate, or put this one into our CA file",
        ),
        (
            "UnsupportedCertVersion",
            "it is X.509 version 1, which cannot hold a name to check: version 3 is needed",
        ),
        (BAD_KEY, BAD_KEY),
    ];
    let known = known
        .into_iter()
        .find_map(|(verdict, words)| other.contains(verdict).then_some(words));
    Some(format!("cannot be accepted: {}", known.unwrap_or(&other)))
}

fn of_certificate(reason: &CertificateError) -> Cause {
    use CertificateError as Why;
    match reason {
        Why::Expired | Why::ExpiredContext { .. } | Why::NotValidYet | Why::NotValidYetContext { .. } => {
            Cause::TlsExpired
        }
        // A bad signature in the chain: a CA with the same name, but not the one that we know.
        Why::UnknownIssuer | Why::BadSignature => Cause::TlsUnknownCa,
        Why::NotValidForName | Why::NotValidForNameContext { .. } => Cause::TlsWrongName,
        _ => Cause::Tls,
    }
}

/// With these a peer refuses our certificate, or asks for one.
pub(super) const ABOUT_OUR_CERTIFICATE: [AlertDescription; 9] = [
    AlertDescription::CertificateRequired,
    AlertDescription::NoCertificate,
    AlertDescription::BadCertificate,
    AlertDescription::UnknownCA,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateUnknown,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::AccessDenied,
];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::client::ResolvesClientCert as _;

    use super::super::witness::Identity;
    use super::*;

    fn cause(error: Error) -> Cause {
        of_io(&io::Error::new(io::ErrorKind::InvalidData, error)).cause
    }

    #[test]
    fn each_verdict_on_the_socs_certificate_has_its_cause() {
        let check = |reason: CertificateError, expected| {
            assert_eq!(
                cause(Error::InvalidCertificate(reason.clone())),
                expected,
                "{reason:?}"
            );
        };
        check(CertificateError::Expired, Cause::TlsExpired);
        check(CertificateError::NotValidYet, Cause::TlsExpired);
        check(CertificateError::UnknownIssuer, Cause::TlsUnknownCa);
        check(CertificateError::BadSignature, Cause::TlsUnknownCa);
        check(CertificateError::NotValidForName, Cause::TlsWrongName);
        check(CertificateError::BadEncoding, Cause::Tls);
        check(CertificateError::Revoked, Cause::Tls);
        check(CertificateError::InvalidPurpose, Cause::Tls);
    }

    #[test]
    fn each_alert_that_can_only_be_about_our_certificate_says_so() {
        for alert in [
            AlertDescription::CertificateRequired,
            AlertDescription::BadCertificate,
            AlertDescription::UnknownCA,
            AlertDescription::CertificateExpired,
            AlertDescription::CertificateRevoked,
            AlertDescription::CertificateUnknown,
            AlertDescription::UnsupportedCertificate,
            AlertDescription::AccessDenied,
        ] {
            assert_eq!(
                cause(Error::AlertReceived(alert)),
                Cause::TlsClientRefused,
                "{alert:?}"
            );
        }
        for alert in [
            AlertDescription::HandshakeFailure,
            AlertDescription::NoApplicationProtocol,
            AlertDescription::ProtocolVersion,
            AlertDescription::InternalError,
        ] {
            assert_eq!(cause(Error::AlertReceived(alert)), Cause::Tls, "{alert:?}");
        }
    }

    #[test]
    fn a_handshake_failure_is_about_our_certificate_if_the_soc_had_asked_for_it() {
        let error = || {
            let alert = Error::AlertReceived(AlertDescription::HandshakeFailure);
            io::Error::new(io::ErrorKind::InvalidData, alert)
        };
        let witness = Arc::new(Witness::default());
        assert_eq!(of_handshake(&error(), &witness).cause, Cause::Tls);
        Identity::new(None, witness.clone()).resolve(&[], &[]);
        assert_eq!(of_handshake(&error(), &witness).cause, Cause::TlsClientRefused);
    }

    #[test]
    fn an_error_that_is_none_of_tls_is_one_of_the_socket() {
        let cause = |error: io::Error| of_io(&error).cause;
        assert_eq!(cause(io::ErrorKind::ConnectionReset.into()), Cause::Reset);
        assert_eq!(cause(io::Error::other("something else")), Cause::Closed);
    }
}
