//! TLS to the SoCs: the certificate files in use, kept up to date, and the handshake over a TCP connection.
//!
//! | file | job |
//! |---|---|
//! | material | the files of one set → what a dial needs, or what is wrong with them |
//! | rotation | the task that reads one set again and again |
//! | pem, x509 | what is in a PEM file; what is in a certificate |
//! | witness | verifies the SoC's certificate, and notes what it saw |
//! | chain | what is wrong with a SoC's chain, for people |
//! | handshake_failure | errors → causes |
//! | io | the stream of a connection, plain or TLS |
//!
//! A *set* is what one [`TlsSettings`] names: CA, certificate, key. Channels with the same settings share it; it is
//! watched while one of them lives. TlsFiles are read here and nowhere else, and only dials look at what was in them: a
//! connection that is up is left alone.

mod chain;
mod handshake_failure;
mod io;
mod material;
mod pem;
mod rotation;
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
pub(super) use witness::Witness;

use super::failure::Failure;
use super::socket::Socket;
use crate::model::{Cause, TlsSettings, TlsStatus};
use io::LastWords;
use rotation::{LatestFiles, WatchedFiles};

/// gRPC is HTTP/2, and over TLS nothing else may be spoken than what ALPN has settled.
const ALPN_H2: &[u8] = b"h2";

/// All sets of files in use; shared by all channels.
#[derive(Debug, Default)]
pub struct TlsStore {
    // A std mutex: it is held for a look into a map of very few entries, never across an await.
    sets: Mutex<HashMap<TlsSettings, Weak<Set>>>,
}

impl TlsStore {
    /// The set of these files. The first who asks starts to watch them; needs a tokio runtime.
    pub(super) fn set(&self, settings: &TlsSettings) -> Arc<Set> {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = sets.get(settings).and_then(Weak::upgrade) {
            return set;
        }
        // Sets that no channel uses any more.
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

/// A set of files that serves for a dial.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Checked {
    /// When its certificates expire.
    pub status: TlsStatus,
    /// Which of them have expired, for people.
    pub expired: Vec<String>,
    /// What else is odd about the files, for people.
    pub notes: Vec<String>,
}

/// Whether the files of a set serve for a dial; else what is wrong with which. For commands that look and go. Blocks.
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

/// Whether there are certificates in PEM in a file's content, as a dial reads it; else what is wrong with it.
pub fn check_certificates(content: &[u8]) -> Result<(), String> {
    pem::certificates(content).map(drop)
}

/// Whether there is a private key in PEM in a file's content, as a dial reads it; else what is wrong with it.
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

/// One set of files; watched while it is held.
#[derive(Debug)]
pub(super) struct Set(WatchedFiles);

impl Set {
    /// What to dial with: the last good content of the files. Waits for the first reading, no longer than `deadline`.
    pub(super) async fn material(&self, deadline: Instant) -> Result<Arc<Material>, Failure> {
        let refused = |why: Arc<str>| Err(Failure::new(Cause::TlsConfig, why));
        match tokio::time::timeout_at(deadline, self.0.read()).await {
            Ok(LatestFiles::Good(material)) => Ok(material),
            Ok(LatestFiles::Bad(why)) => refused(why),
            // The second is a file system that hangs.
            Ok(LatestFiles::Unread) | Err(_) => refused("the TLS files have not been read yet".into()),
        }
    }
}

/// From a TCP connection to one that is secured: the SoC's certificate is verified, and ALPN has settled on HTTP/2.
///
/// It has no time limit of its own: the caller's deadline drops it.
pub(super) async fn handshake(
    tcp: Socket,
    address: IpAddr,
    material: &Material,
    witness: Arc<Witness>,
) -> Result<SocStream, Failure> {
    let connect = material
        .connector(&witness)
        .connect(material.name(address), LastWords::new(tcp));
    let stream = connect
        .await
        .map_err(|error| handshake_failure::of_handshake(&error, &witness))?;
    match stream.get_ref().1.alpn_protocol() {
        Some(ALPN_H2) => Ok(SocStream::Tls(Box::new(stream))),
        // gRPC's own clients refuse such a server too, so what works for SONiC's daemon works here.
        _ => Err(Failure::new(
            Cause::Tls,
            "the SoC did not agree on HTTP/2 (ALPN h2), as gRPC over TLS must",
        )),
    }
}
