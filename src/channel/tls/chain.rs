//! What is wrong with a SoC's chain of certificates, in words for people: which certificate, and what about it. rustls's verdict
//! stands; its words say neither, and are for programmers. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::CertificateError;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;

use super::x509::{self, Content, shown};

/// Longer chains are not followed.
const MAX_CHAIN: usize = 16;

/// The words for a verdict on this chain, where there are any that say more than the verdict's own.
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

/// What a certificate of the chain is called, for people.
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
    // The SoC's own first: it is the one that it has most often forgotten.
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

/// Follows the names up to where nobody goes on.
fn unknown_issuer(own: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Option<String> {
    let others: Vec<Content> = others.iter().filter_map(x509::content).collect();
    let (mut n, mut last) = (0, x509::content(own)?);
    for _ in 0..MAX_CHAIN {
        if last.issuer == last.subject {
            let called = called(n, &last);
            return Some(format!(
                "{called} is signed by itself, and does not stand in our CA file"
            ));
        }
        let Some(above) = others.iter().find(|other| other.subject == last.issuer) else {
            break;
        };
        (n, last) = (1, above.clone());
    }
    let (called, issuer) = (called(n, &last), shown(&last.issuer));
    Some(format!(
        "{called} is signed by {issuer}, which is not in our CA file, or there with another key"
    ))
}

fn unknown_extension(own: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Option<String> {
    chain(own, others).find_map(|(n, certificate)| {
        // It is this one that rustls cannot take.
        ParsedCertificate::try_from(certificate).err()?;
        let content = x509::content(certificate)?;
        let unknown = x509::unknown_critical(&content);
        (!unknown.is_empty()).then(|| {
            format!(
                "{} has an extension that is marked as critical and not known here: {}. Whoever does not know it must refuse the \
                 certificate: have one made without it, or with it not critical",
                called(n, &content),
                unknown.join(", ")
            )
        })
    })
}
