//! TLS to the SoCs: the certificate files in use, kept up to date, and the handshake over a TCP connection.
//!
//! | file | job |
//! |---|---|
//! | material | the files of one set → what a dial needs, or what is wrong with them |
//! | rotation | the task that reads one set again and again |
//! | pem, x509 | what is in a PEM file; what is in a certificate |
//! | witness | verifies the SoC's certificate, and notes what it saw |
//! | chain | what is wrong with a SoC's certificate chain, for people |
//! | handshake_failure | errors → causes |
//! | plain_client, server_fault | TLS to servers that are no SoCs; what their errors mean, for people |
//! | io | the stream of a connection, plain or TLS |
//!
//! A *set* is the files that one [`TlsSettings`] names: CA, certificate, key. Channels with the same settings share it, and it
//! is watched while one of them exists. The files for SoCs and module targets are read
//! here and nowhere else. Only dials use them: a connection that is up
//! is left alone.
//!
//! Imports `model`, `runtime` and `config`; in `channel` `failure`, `socket` and `layer`.

mod chain;
mod handshake_failure;
mod io;
mod material;
mod pem;
mod plain_client;
mod rotation;
mod server_fault;
mod witness;
mod x509;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::Instant;

pub(super) use handshake_failure::{of_io, of_silence};
pub(super) use io::SocStream;
pub(super) use material::Material;
use material::TlsFiles;
pub use plain_client::plain_client;
pub use server_fault::ServerFault;
pub(super) use witness::Witness;

use super::failure::Failure;
use super::socket::Socket;
use crate::model::{Cause, Endpoint, TlsSettings, TlsStatus};
use io::LastWords;
use rotation::{LatestFiles, WatchedFiles};

/// gRPC is HTTP/2. Over TLS, ALPN must have agreed on it.
const ALPN_H2: &[u8] = b"h2";

/// All sets of files in use; shared by all channels.
#[derive(Debug, Default)]
pub struct TlsStore {
    // A std mutex: it is held for a lookup in a map of very few entries, never across an await.
    sets: Mutex<HashMap<TlsSettings, Weak<Set>>>,
}

impl TlsStore {
    /// The set of these files. The first caller starts to watch them. Needs a tokio runtime.
    pub(super) fn set(&self, settings: &TlsSettings) -> Arc<Set> {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = sets.get(settings).and_then(Weak::upgrade) {
            return set;
        }
        // Removes sets that no channel uses any more.
        sets.retain(|_, set| set.strong_count() > 0);
        let set = Arc::new(Set(WatchedFiles::new(settings.clone())));
        sets.insert(settings.clone(), Arc::downgrade(&set));
        set
    }

    /// When the certificates in the files expire: the earliest over all sets in use.
    pub fn status(&self) -> TlsStatus {
        let sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let materials = sets.values().filter_map(|set| match set.upgrade()?.0.latest() {
            LatestFiles::Good(material) => Some(material),
            LatestFiles::Unread | LatestFiles::Bad(_) => None,
        });
        let mut status = TlsStatus::default();
        for material in materials {
            status.ca = earliest(status.ca, material.ca_expiry());
            status.client = earliest(status.client, material.client_expiry());
        }
        status
    }
}

/// A set of files that can be used for a dial.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Checked {
    /// When its certificates expire.
    pub status: TlsStatus,
    /// Which of them have expired, for people.
    pub expired: Vec<String>,
    /// What else is unusual about the files, for people.
    pub notes: Vec<String>,
}

/// Checks whether the files of a set can be used for a dial. The error says which file is wrong, and how. For commands that
/// check once. Blocks.
pub fn check(settings: &TlsSettings) -> Result<Checked, String> {
    let material = TlsFiles::read(settings).and_then(|files| Material::new(settings, &files));
    let material = material.map_err(|bad| bad.to_string())?;
    Ok(Checked {
        status: TlsStatus {
            ca: material.ca_expiry(),
            client: material.client_expiry(),
        },
        expired: material.expired(SystemTime::now()),
        notes: material.notes().to_vec(),
    })
}

/// Checks whether a file's content has certificates in PEM, read as for a dial. The error says what is wrong.
pub fn check_certificates(content: &[u8]) -> Result<(), String> {
    pem::certificates(content).map(drop)
}

/// Checks whether a file's content has a private key in PEM, read as for a dial. The error says what is wrong.
pub fn check_key(content: &[u8]) -> Result<(), String> {
    pem::key(content).map(drop)
}

/// The certificates in a PEM file's content, in its order, at least one; else what is wrong with it.
pub fn pem_certificates(content: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    Ok(pem::certificates(content)?.certificates)
}

/// The first private key in a PEM file's content; else what is wrong with it.
pub fn pem_key(content: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    pem::key(content)
}

/// When a certificate's validity begins and ends, where that can be read.
pub fn validity(certificate: &CertificateDer<'_>) -> Option<(SystemTime, SystemTime)> {
    x509::content(certificate).map(|content| x509::validity(&content))
}

fn earliest(one: Option<SystemTime>, other: Option<SystemTime>) -> Option<SystemTime> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// One set of files. It is watched while this exists.
#[derive(Debug)]
pub(super) struct Set(WatchedFiles);

impl Set {
    /// The last good content of the files, for a dial. Waits for the first read, until `deadline` at most.
    pub(super) async fn material(&self, deadline: Instant) -> Result<Arc<Material>, Failure> {
        let refused = |why: Arc<str>| Err(Failure::new(Cause::TlsConfig, why));
        match tokio::time::timeout_at(deadline, self.0.read()).await {
            Ok(LatestFiles::Good(material)) => Ok(material),
            Ok(LatestFiles::Bad(why)) => refused(why),
            // `Err`: the file system hangs.
            Ok(LatestFiles::Unread) | Err(_) => refused("the TLS files have not been read yet".into()),
        }
    }
}

/// From a TCP connection to a TLS connection: the SoC's certificate is verified, and ALPN has agreed on HTTP/2.
///
/// It has no time limit of its own: the caller drops it at its deadline.
pub(super) async fn handshake(
    tcp: Socket,
    (endpoint, address): (&Endpoint, IpAddr),
    material: &Material,
    witness: Arc<Witness>,
) -> Result<SocStream, Failure> {
    let connect = material
        .connector(&witness)
        .connect(material.name(endpoint, address), LastWords::new(tcp));
    let stream = connect
        .await
        .map_err(|error| handshake_failure::of_handshake(&error, &witness))?;
    match stream.get_ref().1.alpn_protocol() {
        Some(ALPN_H2) => Ok(SocStream::Tls(Box::new(stream))),
        // gRPC's own clients refuse such a server too, so a SoC that works with SONiC's daemon works here.
        _ => Err(Failure::new(
            Cause::Tls,
            "the SoC did not agree on HTTP/2 (ALPN h2), as gRPC over TLS must",
        )),
    }
}
