//! The content of a certificate: its name, when it is valid, whose key it has, which extensions are critical. It is read with a
//! parser that accepts more than rustls's own. Only rustls decides whether a SoC's certificate is good.

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use x509_cert::certificate::{CertificateInner, Raw, TbsCertificateInner};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::oid::db::DB;
use x509_cert::der::{AnyRef, Decode, Reader as _, SliceReader, Tag, Tagged as _};
use x509_cert::name::Name;
use x509_cert::spki::SubjectPublicKeyInfoRef;

use crate::model::text::quote;

/// Extensions that webpki processes, all of them under id-ce: keyUsage, subjectAltName, basicConstraints, nameConstraints,
/// cRLDistributionPoints, extKeyUsage. It must refuse any other that is critical, as RFC 5280 demands.
const KNOWN: [&str; 6] = [
    "2.5.29.15",
    "2.5.29.17",
    "2.5.29.19",
    "2.5.29.30",
    "2.5.29.31",
    "2.5.29.37",
];

/// How many extensions of one certificate are named in a message.
const MAX_NAMED: usize = 3;

/// A certificate's content. (With any serial number: the SoC decides about ours, and OpenSSL accepts it.)
pub(super) type Content = TbsCertificateInner<Raw>;

/// Reads a certificate. One that cannot be read has no name and no dates.
pub(super) fn content(certificate: &CertificateDer<'_>) -> Option<Content> {
    let certificate: CertificateInner<Raw> = CertificateInner::from_der(certificate).ok()?;
    Some(certificate.tbs_certificate)
}

/// The first value in `der`, without what follows it. `None`: it is not a complete SEQUENCE that begins with another SEQUENCE,
/// as a certificate does.
pub(super) fn whole(der: &[u8]) -> Option<&[u8]> {
    let mut reader = SliceReader::new(der).ok()?;
    let value = AnyRef::decode(&mut reader).ok()?;
    let sequence = u8::from(Tag::Sequence);
    let nested = value.tag() == Tag::Sequence && value.value().first() == Some(&sequence);
    let length = usize::try_from(reader.position()).ok()?;
    nested.then(|| der.get(..length)).flatten()
}

/// When a certificate expires, if that can be read.
pub(super) fn not_after(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    content(certificate).map(|content| content.validity.not_after.to_system_time())
}

/// When its validity begins and ends.
pub(super) fn validity(content: &Content) -> (SystemTime, SystemTime) {
    let validity = &content.validity;
    (
        validity.not_before.to_system_time(),
        validity.not_after.to_system_time(),
    )
}

/// A name for people: `"CN=soc,O=Example"`. It comes from outside, so it is made safe to show.
pub(super) fn shown(name: &Name) -> String {
    format!("{:?}", quote(name))
}

/// The name of a certificate's subject, for people.
pub(super) fn subject(certificate: &CertificateDer<'_>) -> String {
    content(certificate).map_or("(unreadable)".to_owned(), |content| shown(&content.subject))
}

/// A time for people.
pub(super) fn date(at: SystemTime) -> String {
    DateTime::<Utc>::from(at).format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Whether a certificate has this public key. `None`: that cannot be read. It compares the bits of the key, not the name of its
/// algorithm, which can be written in more than one way.
pub(super) fn is_for(certificate: &CertificateDer<'_>, key: &SubjectPublicKeyInfoDer<'_>) -> Option<bool> {
    let content = content(certificate)?;
    let key = SubjectPublicKeyInfoRef::from_der(key).ok()?;
    let own = content.subject_public_key_info.subject_public_key;
    Some(own.raw_bytes() == key.subject_public_key.raw_bytes())
}

/// The critical extensions that rustls does not know, for people: `id-ce-certificatePolicies (2.5.29.32)`.
pub(super) fn unknown_critical(content: &Content) -> Vec<String> {
    let extensions = content.extensions.iter().flatten();
    extensions
        .filter(|extension| extension.critical && !KNOWN.contains(&&*extension.extn_id.to_string()))
        .take(MAX_NAMED)
        .map(|extension| extension_name(&extension.extn_id))
        .collect()
}

fn extension_name(id: &ObjectIdentifier) -> String {
    match DB.by_oid(id) {
        Some(name) => format!("{name} ({id})"),
        None => id.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, CustomExtension, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(extensions: Vec<CustomExtension>) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["soc.example".to_owned()]).expect("a name");
        params.not_after = date_time_ymd(2033, 5, 18);
        params.custom_extensions = extensions;
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().clone()
    }

    fn extension(oid: &[u64], critical: bool) -> CustomExtension {
        let mut extension = CustomExtension::from_oid_content(oid, vec![0x05, 0x00]);
        extension.set_criticality(critical);
        extension
    }

    #[test]
    fn a_certificate_says_when_it_expires() {
        let expiry = not_after(&certificate(Vec::new())).expect("readable");
        let expiry = expiry.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        assert_eq!(expiry.as_secs(), 1_999_987_200);
    }

    #[test]
    fn extensions_that_are_critical_and_unknown_are_named() {
        let certificate = certificate(vec![
            extension(&[2, 5, 29, 32], true),
            extension(&[2, 5, 29, 36], false),
            extension(&[1, 3, 6, 1, 4, 1, 99999, 1], true),
        ]);
        let content = content(&certificate).expect("readable");
        assert_eq!(
            unknown_critical(&content),
            ["id-ce-certificatePolicies (2.5.29.32)", "1.3.6.1.4.1.99999.1"]
        );
    }

    #[test]
    fn what_follows_a_certificate_is_cut_off() {
        let der = certificate(Vec::new());
        let longer = [&der[..], &[0x30, 0x02, 0x05, 0x00]].concat();
        assert_eq!(whole(&longer), Some(&der[..]));
        assert_eq!(whole(&der[..der.len() - 1]), None);
        assert_eq!(whole(&[0x04, 0x01, 0x00]), None, "no SEQUENCE");
        assert_eq!(whole(&[0x30, 0x00]), None, "nothing in it");
        assert_eq!(whole(&[]), None);
    }

    #[test]
    fn a_certificate_with_any_byte_changed_or_cut_off_at_any_place_panics_nobody() {
        let der = certificate(vec![extension(&[2, 5, 29, 32], true)]);
        let look = |certificate: CertificateDer<'_>| {
            subject(&certificate);
            whole(&certificate);
            let Some(content) = content(&certificate) else {
                return;
            };
            date(validity(&content).1);
            unknown_critical(&content);
        };
        for at in 0..der.len() {
            look(CertificateDer::from_slice(&der[..at]));
            for change in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let mut bytes = der.to_vec();
                bytes[at] = change;
                look(bytes.into());
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_panic_nobody(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            whole(&bytes);
            not_after(&bytes.into());
        }
    }
}
