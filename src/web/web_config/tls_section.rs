//! `tls_server_config`: which certificate we show, and what TLS we speak.
//!
//! rustls with ring has no TLS under 1.2, no CBC suites, no CurveP521. A list that also names others is used without these, and
//! that is noted. A list of nothing else is refused.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys, ServerConfig, SupportedProtocolVersion, version};

use super::keys::{SECTION, TLS12, TLS13, TlsKeys, VERSIONS};
use super::{KeyError, at, client_certificates, tls_suites};
use crate::model::text;
use crate::soc::channel::{pem_certificates, pem_key, validity};

/// What a handshake needs.
pub(in crate::web) struct ServerTls {
    pub(in crate::web) config: Arc<ServerConfig>,
    pub(super) expiry: Option<SystemTime>,
    /// The key's file; `None`: it stands in web.config.file itself.
    pub(super) key_file: Option<String>,
    pub(super) asks_for_certificates: bool,
    /// Whether no one is let in without one.
    pub(super) needs_certificates: bool,
}

/// Reads a file that a key names, from the right directory.
type FromDirectory<'a> = &'a mut dyn FnMut(&str) -> io::Result<Vec<u8>>;

/// `None`: the section asks for no TLS.
pub(super) fn build(
    keys: TlsKeys,
    http2: bool,
    read: FromDirectory<'_>,
    notes: &mut Vec<String>,
) -> Result<Option<ServerTls>, KeyError> {
    if !asks_for_tls(&keys) {
        return Ok(None);
    }
    let provider = Arc::new(tls_suites::provider(&keys, http2, notes)?);
    let versions = versions(&keys, &provider, notes)?;
    let cert = content("cert", keys.cert.as_deref(), keys.cert_file.as_deref(), read)?;
    let key = content("key", keys.key.as_deref(), keys.key_file.as_deref(), read)?;
    let chain = cert.parsed(pem_certificates)?;
    let expiry = chain.iter().filter_map(|one| Some(validity(one)?.1)).min();
    let identity = identity(&provider, &cert, chain, &key)?;
    let ca = keys.client_ca.as_deref().filter(|ca| !ca.is_empty());
    let ca_file = keys.client_ca_file.as_deref().filter(|file| !file.is_empty());
    let trusted = match (ca, ca_file) {
        (None, None) => None,
        _ => Some(content("client_ca", ca, ca_file, read)?),
    };
    let trusted = trusted.map(|ca| Ok::<_, KeyError>((ca.parsed(pem_certificates)?, ca.key)));
    let policy = keys.client_auth_type.as_deref();
    let clients = client_certificates::build(
        policy,
        trusted.transpose()?,
        keys.client_allowed_sans,
        provider.clone(),
    )?;
    let asks_for_certificates = clients.is_some();
    let needs_certificates = clients
        .as_ref()
        .is_some_and(|clients| clients.client_auth_mandatory());
    let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions);
    let config = config.or_else(|error| at(&format!("{SECTION}.cipher_suites"), error.to_string()))?;
    let config = match clients {
        Some(verifier) => config.with_client_cert_verifier(verifier),
        None => config.with_no_client_auth(),
    };
    let mut config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    // A resumed session would not show the client's certificate again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    let h2 = http2.then(|| b"h2".to_vec());
    config.alpn_protocols = h2.into_iter().chain([b"http/1.1".to_vec()]).collect();
    Ok(Some(ServerTls {
        config: Arc::new(config),
        expiry,
        key_file: key.file,
        asks_for_certificates,
        needs_certificates,
    }))
}

/// Whether the section means TLS. An empty `cert` or `key` does: its value is missing.
fn asks_for_tls(keys: &TlsKeys) -> bool {
    let named = [&keys.cert_file, &keys.cert, &keys.key_file, &keys.key];
    let others = [&keys.client_ca, &keys.client_ca_file, &keys.client_auth_type];
    let has = |key: &Option<String>| key.as_deref().is_some_and(|value| !value.is_empty());
    named.into_iter().any(Option::is_some)
        || others.into_iter().any(has)
        || keys.client_allowed_sans.is_some()
}

/// What a pair of keys such as `cert` and `cert_file` gives.
struct PemSource {
    /// The key that is used.
    key: String,
    /// The file's name.
    file: Option<String>,
    bytes: Vec<u8>,
}

impl PemSource {
    fn parsed<T>(&self, parse: impl FnOnce(&[u8]) -> Result<T, String>) -> Result<T, KeyError> {
        parse(&self.bytes).or_else(|reason| self.is_bad(&reason))
    }

    fn is_bad<T>(&self, reason: &str) -> Result<T, KeyError> {
        match &self.file {
            Some(file) => at(&self.key, format!("{} {reason}", text::quote(file))),
            None => at(&self.key, format!("the value {reason}")),
        }
    }
}

fn content(
    name: &str,
    inline: Option<&str>,
    file: Option<&str>,
    read: FromDirectory<'_>,
) -> Result<PemSource, KeyError> {
    let (inline_key, file_key) = (format!("{SECTION}.{name}"), format!("{SECTION}.{name}_file"));
    let some = |value: Option<&str>| value.filter(|value| !value.is_empty()).map(str::to_owned);
    match (some(inline), some(file)) {
        (Some(_), Some(_)) => at(&file_key, format!("expected either this or {name}, got both")),
        (Some(text), None) => Ok(PemSource {
            key: inline_key,
            file: None,
            bytes: text.into_bytes(),
        }),
        (None, Some(file)) => match read(&file) {
            Ok(bytes) => Ok(PemSource {
                key: file_key,
                file: Some(file),
                bytes,
            }),
            Err(error) => at(
                &file_key,
                format!(
                    "expected a PEM file, {} cannot be read: {error}",
                    text::quote(file)
                ),
            ),
        },
        (None, None) => at(
            &file_key,
            format!("expected the name of a PEM file (or {name}: its content), as TLS needs cert and key"),
        ),
    }
}

fn identity(
    provider: &CryptoProvider,
    cert: &PemSource,
    chain: Vec<CertificateDer<'static>>,
    key: &PemSource,
) -> Result<CertifiedKey, KeyError> {
    let private = key.parsed(pem_key)?;
    let Ok(private) = provider.key_provider.load_private_key(private) else {
        return key.is_bad("is a kind of key that is not supported: expected RSA from 2048 bits, ECDSA on P-256 or P-384, or Ed25519");
    };
    let identity = CertifiedKey::new(chain, private);
    match identity.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(identity),
        Err(Error::InconsistentKeys(_)) => {
            key.is_bad("is the key of another certificate: expected the one that belongs to cert")
        }
        Err(error) => cert.is_bad(&format!("is no certificate that a server can show: {error}")),
    }
}

fn versions(
    keys: &TlsKeys,
    provider: &CryptoProvider,
    notes: &mut Vec<String>,
) -> Result<Vec<&'static SupportedProtocolVersion>, KeyError> {
    let position = |key: &str, name: &Option<String>, default: usize| {
        let Some(name) = name.as_deref().filter(|name| !name.is_empty()) else {
            return Ok(default);
        };
        let known = VERSIONS.iter().position(|version| *version == name);
        known.map_or_else(
            || {
                let (all, name) = (VERSIONS.join(", "), text::quote(name));
                at(
                    &format!("{SECTION}.{key}"),
                    format!("expected one of {all}; got {name:?}"),
                )
            },
            Ok,
        )
    };
    let least = position("min_version", &keys.min_version, TLS12)?;
    let most = position("max_version", &keys.max_version, TLS13)?;
    if most < TLS12 {
        return at(
            &format!("{SECTION}.max_version"),
            "expected TLS12 or TLS13: older versions are not supported",
        );
    }
    if least < TLS12 {
        let name = VERSIONS[least];
        notes.push(format!(
            "{SECTION}.min_version: {name} is not supported, TLS12 is used"
        ));
    }
    if least > most {
        return at(&format!("{SECTION}.max_version"), "expected at least min_version");
    }
    let has_12 = provider.cipher_suites.iter().any(|suite| suite.tls13().is_none());
    let wanted = [
        (&version::TLS13, most == TLS13),
        (&version::TLS12, least <= TLS12 && has_12),
    ];
    let versions: Vec<_> = wanted
        .into_iter()
        .filter_map(|(version, wanted)| wanted.then_some(version))
        .collect();
    if versions.is_empty() {
        return at(
            &format!("{SECTION}.cipher_suites"),
            "expected a suite of TLS 1.2, as max_version is TLS12",
        );
    }
    Ok(versions)
}
