//! TLS to servers that are no SoCs: the sources of the inventory, another exporter. rustls alone judges the certificate. The files
//! are read for each client, so a rotation needs no restart.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::pem;
use crate::config::read_pem;
use crate::model::{TlsSettings, text};

/// A client with these files; `server_name` is the caller's. The error says which file is wrong, and how. Blocks.
pub fn plain_client(settings: &TlsSettings) -> Result<ClientConfig, String> {
    let bad = |file: &Path, error: String| format!("{}: {error}", text::quote(file.display()));
    let read = |file: &Path| read_pem(file).map_err(|error| bad(file, format!("cannot be read: {error}")));
    let certificates = |file: &Path| {
        let certificates = pem::certificates(&read(file)?).map_err(|error| bad(file, error))?;
        Ok::<_, String>(certificates.certificates)
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&settings.ca)? {
        roots
            .add(certificate)
            .map_err(|error| bad(&settings.ca, error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    match &settings.client {
        None => Ok(config.with_no_client_auth()),
        Some(own) => {
            let key = pem::key(&read(&own.key)?).map_err(|error| bad(&own.key, error))?;
            config
                .with_client_auth_cert(certificates(&own.cert)?, key)
                .map_err(|error| match error {
                    rustls::Error::InconsistentKeys(_) => {
                        let cert = text::quote(own.cert.display());
                        bad(&own.key, format!("is not the key of the certificate {cert}"))
                    }
                    error => bad(&own.cert, error.to_string()),
                })
        }
    }
}
