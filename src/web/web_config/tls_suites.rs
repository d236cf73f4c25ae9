//! `cipher_suites` and `curve_preferences`: Go's names, and what rustls with ring has of them.

use rustls::SupportedCipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{cipher_suite as suite, kx_group};

use super::keys::{SECTION, TLS13, TlsKeys, VERSIONS};
use super::{KeyError, at};
use crate::model::text;

/// TLS 1.2's suites by Go's names. `None`: rustls has none of that name.
const SUITES: [(&str, Option<SupportedCipherSuite>); 13] = [
    ("TLS_AES_128_GCM_SHA256", Some(suite::TLS13_AES_128_GCM_SHA256)),
    ("TLS_AES_256_GCM_SHA384", Some(suite::TLS13_AES_256_GCM_SHA384)),
    (
        "TLS_CHACHA20_POLY1305_SHA256",
        Some(suite::TLS13_CHACHA20_POLY1305_SHA256),
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        Some(suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        Some(suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        Some(suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        Some(suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        Some(suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        Some(suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", None),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", None),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", None),
    ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", None),
];
/// RFC 9113 wants one of these for HTTP/2 over TLS 1.2.
const OF_HTTP2: [&str; 2] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
];
const CURVES: [(&str, Option<&'static dyn rustls::crypto::SupportedKxGroup>); 4] = [
    ("CurveP256", Some(kx_group::SECP256R1)),
    ("CurveP384", Some(kx_group::SECP384R1)),
    ("CurveP521", None),
    ("X25519", Some(kx_group::X25519)),
];
/// ring's suites and curves, those that are listed.
pub(super) fn provider(
    keys: &TlsKeys,
    http2: bool,
    notes: &mut Vec<String>,
) -> Result<CryptoProvider, KeyError> {
    let mut provider = rustls::crypto::ring::default_provider();
    if let Some(names) = keys.cipher_suites.as_deref().filter(|names| !names.is_empty()) {
        let key = format!("{SECTION}.cipher_suites");
        let listed = listed(&key, names, &SUITES, notes)?;
        let is_13 = |suite: &SupportedCipherSuite| suite.tls13().is_some();
        let only_13 = keys.min_version.as_deref() == Some(VERSIONS[TLS13]);
        if http2 && !only_13 && !OF_HTTP2.iter().any(|name| names.iter().any(|n| n == name)) {
            return at(
                &key,
                format!(
                    "expected also {} or {}, which HTTP/2 needs",
                    OF_HTTP2[0], OF_HTTP2[1]
                ),
            );
        }
        // TLS 1.3 always has all of its suites, as in Go.
        provider.cipher_suites.retain(is_13);
        let of_12 = listed.into_iter().filter(|suite| !is_13(suite));
        provider.cipher_suites.extend(of_12);
    }
    if let Some(names) = keys
        .curve_preferences
        .as_deref()
        .filter(|names| !names.is_empty())
    {
        let key = format!("{SECTION}.curve_preferences");
        provider.kx_groups = listed(&key, names, &CURVES, notes)?;
    }
    Ok(provider)
}

/// What the names stand for. Those that rustls has not are noted; if it has none of them, that is an error.
fn listed<T: Clone>(
    key: &str,
    names: &[String],
    all: &[(&str, Option<T>)],
    notes: &mut Vec<String>,
) -> Result<Vec<T>, KeyError> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for name in names {
        match all.iter().find(|(known, _)| known == name) {
            Some((_, Some(value))) => found.push(value.clone()),
            Some((known, None)) => missing.push(*known),
            None => {
                let names = all.iter().map(|(name, _)| *name).collect::<Vec<_>>();
                let (name, names) = (text::quote(name), names.join(", "));
                return at(key, format!("expected some of {names}; got {name:?}"));
            }
        }
    }
    let missing = missing.join(", ");
    if found.is_empty() {
        return at(
            key,
            format!("{missing}: not supported here; expected at least one that is"),
        );
    }
    if !missing.is_empty() {
        notes.push(format!("{key}: {missing}: not supported, used without"));
    }
    Ok(found)
}
