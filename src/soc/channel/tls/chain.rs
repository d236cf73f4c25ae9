//! What is wrong with a SoC's certificate chain, for people: which certificate, and what is wrong with it. rustls gives the
//! verdict, but its text names neither and is for programmers. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::CertificateError;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;

use super::x509::{self, Content, shown};

/// The longest chain that is followed, in certificates. Real chains have two to four; a longer one costs time at each
/// handshake.
const MAX_CHAIN: usize = 16;

/// A text for a verdict on this chain, if it explains more than the verdict's own text.
pub(super) fn blame(
    verdict: &CertificateError,
    own: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    now: UnixTime,
) -> Option<String> {
    use CertificateError as Why;
    let others = &others[..others.len().min(MAX_CHAIN)];
    match verdict {
        Why::Expired | Why::ExpiredContext { .. } | Why::NotValidYet | Why::NotValidYetContext { .. } => {
            out_of_time(own, others, UNIX_EPOCH + Duration::from_secs(now.as_secs()))
        }
        Why::UnknownIssuer | Why::BadSignature => unknown_issuer(own, others),
        Why::Other(_) => unknown_extension(own, others),
        _ => None,
    }
}

/// The name of a certificate in the chain, for people.
fn called(n: usize, content: &Content) -> String {
    let name = shown(&content.subject);
    match n {
        0 => format!("the SoC's certificate {name}"),
        _ => format!("an intermediate certificate that the SoC sends, {name},"),
    }
}

fn chain<'a>(
    own: &'a CertificateDer<'a>,
    others: &'a [CertificateDer<'a>],
) -> impl Iterator<Item = (usize, &'a CertificateDer<'a>)> {
    std::iter::once(own).chain(others).enumerate()
}

fn out_of_time(own: &CertificateDer<'_>, others: &[CertificateDer<'_>], now: SystemTime) -> Option<String> {
    // The SoC's own first: most often that is the one that has expired.
    chain(own, others).find_map(|(n, certificate)| {
        let content = x509::content(certificate)?;
        let (begin, end) = x509::validity(&content);
        let called = called(n, &content);
        if now > end {
            Some(format!("{called} has expired: {}", x509::date(end)))
        } else if now < begin {
            Some(format!("{called} is not valid before {}", x509::date(begin)))
        } else {
            None
        }
    })
}

/// Follows the names of the issuers up to the last certificate that is known.
fn unknown_issuer(own: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Option<String> {
    let others: Vec<Content> = others.iter().filter_map(x509::content).collect();
    let (mut n, mut last) = (0, x509::content(own)?);
    for _ in 0..MAX_CHAIN {
        if last.issuer == last.subject {
            let called = called(n, &last);
            return Some(format!("{called} is signed by itself, and is not in our CA file"));
        }
        let Some(above) = others.iter().find(|other| other.subject == last.issuer) else {
            break;
        };
        (n, last) = (1, above.clone());
    }
    let (called, issuer) = (called(n, &last), shown(&last.issuer));
    Some(format!(
        "{called} is signed by {issuer}, which is not in our CA file, or is there with another key"
    ))
}

fn unknown_extension(own: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Option<String> {
    chain(own, others).find_map(|(n, certificate)| {
        // rustls refuses this one.
        ParsedCertificate::try_from(certificate).err()?;
        let content = x509::content(certificate)?;
        let unknown = x509::unknown_critical(&content);
        (!unknown.is_empty()).then(|| {
            format!(
                "{} has a critical extension that this program does not know: {}. Such a certificate must be refused: issue one without the extension, or mark it as not critical",
                called(n, &content),
                unknown.join(", ")
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::{BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair};
    use rustls::OtherError;

    use super::*;

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new(["soc.example".to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        params
    }

    /// A certificate of this name, and the certificate of the CA that signed it. No one has that CA.
    fn signed(params: &CertificateParams) -> [CertificateDer<'static>; 2] {
        let mut ca = self::params("a CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let (ca_key, key) = (
            KeyPair::generate().expect("a key"),
            KeyPair::generate().expect("a key"),
        );
        let of_ca = ca.self_signed(&ca_key).expect("a CA").der().clone();
        let issuer = Issuer::new(ca, ca_key);
        let own = params.signed_by(&key, &issuer).expect("a certificate");
        [own.der().clone(), of_ca]
    }

    fn said(verdict: &CertificateError, own: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> String {
        blame(verdict, own, others, UnixTime::now()).unwrap_or_default()
    }

    #[test]
    fn a_critical_extension_is_named_with_the_certificate_that_has_it() {
        let mut odd = params("soc");
        for (oid, critical) in [(&[2, 5, 29, 32], true), (&[2, 5, 29, 36], false)] {
            let mut extension = CustomExtension::from_oid_content(oid, vec![0x05, 0x00]);
            extension.set_criticality(critical);
            odd.custom_extensions.push(extension);
        }
        let ([odd, _], [well, ca]) = (signed(&odd), signed(&params("well")));
        let verdict = CertificateError::Other(OtherError(Arc::new(std::io::Error::other("why"))));
        let own = said(&verdict, &odd, std::slice::from_ref(&ca));
        assert!(
            own.starts_with("the SoC's certificate \"CN=soc\" has a critical extension"),
            "{own}"
        );
        assert!(own.contains(": id-ce-certificatePolicies (2.5.29.32)."), "{own}");
        let other = said(&verdict, &well, &[ca.clone(), odd]);
        assert!(
            other.starts_with("an intermediate certificate that the SoC sends, \"CN=soc\", has"),
            "{other}"
        );
        assert_eq!(said(&verdict, &well, &[ca]), "", "something else is wrong");
    }

    #[test]
    fn an_issuer_that_nobody_knows_is_named() {
        let [own, ca] = signed(&params("soc"));
        let alone = said(&CertificateError::UnknownIssuer, &own, &[]);
        assert!(alone.contains("\"CN=soc\" is signed by \"CN=a CA\""), "{alone}");
        let along = said(&CertificateError::UnknownIssuer, &own, std::slice::from_ref(&ca));
        assert!(along.contains("\"CN=a CA\", is signed by itself"), "{along}");
        let itself = said(&CertificateError::UnknownIssuer, &ca, &[]);
        assert!(
            itself.contains("the SoC's certificate \"CN=a CA\" is signed by itself"),
            "{itself}"
        );
    }

    #[test]
    fn a_chain_of_rubbish_panics_nobody_and_ends() {
        let [own, ca] = signed(&params("soc"));
        let rubbish = CertificateDer::from_slice(&[0x30, 0x80, 0xff]);
        let other = || CertificateError::Other(OtherError(Arc::new(std::io::Error::other("why"))));
        for verdict in [
            CertificateError::Expired,
            CertificateError::UnknownIssuer,
            CertificateError::BadSignature,
            other(),
        ] {
            said(&verdict, &rubbish, &[own.clone(), rubbish.clone()]);
            said(&verdict, &own, &vec![ca.clone(); 1000]);
            said(&verdict, &own, &vec![own.clone(); 1000]);
        }
    }
}
