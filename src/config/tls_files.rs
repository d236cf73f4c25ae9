//! `channel.tls`, and the `tls` of an inventory's source: which files, and the name that the SoCs' certificates must be for.
//!
//! Loading the configuration does not read these files. A missing file makes dials fail, and they are repeated. It does not
//! stop the exporter from starting.

use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::ServerName;
use serde::Deserialize;

use super::scalar::{Scalar, Value, optional};
use super::{KeyError, at};
use crate::config::files;
use crate::model::{ClientIdentity, TlsSettings};

/// Its shape in the configuration file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    ca: Value<PemFile>,
    #[serde(default, deserialize_with = "optional")]
    cert: Option<Value<PemFile>>,
    #[serde(default, deserialize_with = "optional")]
    key: Option<Value<PemFile>>,
    #[serde(default, deserialize_with = "optional")]
    server_name: Option<Value<Name>>,
}

#[derive(Debug, Clone, PartialEq)]
struct PemFile(PathBuf);

impl Scalar for PemFile {
    const EXPECTED: &'static str = "the path of a PEM file";

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.into()))
    }
}

/// SONiC's file with GRPCCLIENT's settings.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SecretsFile(pub(super) PathBuf);

impl Scalar for SecretsFile {
    const EXPECTED: &'static str = "the path of a JSON file, which may be missing";

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.into()))
    }
}

/// A name that a certificate can have.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Name(pub(super) String);

impl Scalar for Name {
    const EXPECTED: &'static str = "a DNS name or an IP address";

    fn parse(text: &str) -> Option<Self> {
        let name = ServerName::try_from(text).ok()?;
        Some(Self(name.to_str().into_owned()))
    }
}

/// Whether a certificate can have this name.
pub fn is_server_name(name: &str) -> bool {
    Name::parse(name).is_some()
}

/// The content of one of the files. Blocks.
pub fn read_pem(path: &Path) -> io::Result<Vec<u8>> {
    // One MiB: a switch's whole bundle of public CAs is 250 kB.
    files::read(path, 1)
}

/// The content of SONiC's `grpc_secrets.json`. Blocks.
pub fn read_secrets(path: &Path) -> io::Result<Vec<u8>> {
    // One MiB: two rows with a few paths are 1 kB.
    files::read(path, 1)
}

/// The settings at this key. Relative paths start at `base`.
pub(super) fn settings(raw: RawTls, base: &Path, key: &str) -> Result<TlsSettings, KeyError> {
    let path = |file: Value<PemFile>| base.join(file.0.0);
    let client = match (raw.cert, raw.key) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some(ClientIdentity {
            cert: path(cert),
            key: path(key),
        }),
        (Some(_), None) => {
            return at(
                &format!("{key}.key"),
                format!("expected the private key of {key}.cert"),
            );
        }
        (None, Some(_)) => {
            return at(
                &format!("{key}.cert"),
                format!("expected the certificate of {key}.key"),
            );
        }
    };
    Ok(TlsSettings {
        ca: path(raw.ca),
        client,
        server_name: raw.server_name.map(|name| name.0.0),
    })
}
