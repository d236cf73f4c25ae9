//! TLS to servers that are no SoCs: the sources of the inventory, collectors, another exporter. What is trusted is the same as with
//! SoCs. The files are read for each client, so a rotation needs no restart.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::{ClientConfig, RootCertStore};

use super::pem;
use super::witness::Verifier;
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
    let trusted = certificates(&settings.ca)?;
    for certificate in &trusted {
        roots
            .add(certificate.clone())
            .map_err(|error| bad(&settings.ca, error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone())
        .build()
        .map_err(|error| bad(&settings.ca, error.to_string()))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier::new(verifier, trusted.into(), Arc::default())));
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
