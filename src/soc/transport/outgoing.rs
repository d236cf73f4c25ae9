//! What all RPCs to one target have in common: where they go, and their metadata.

use std::net::IpAddr;

use http::uri::Authority;
use http::{HeaderName, HeaderValue, Uri};

use super::metadata_files::MetadataFiles;
use crate::model::{Endpoint, MetadataValue, Peer, Security};

const USER_AGENT: &str = concat!("dualtor-exporter/", env!("CARGO_PKG_VERSION"));

/// What every RPC to one SoC has in common; made once per target.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(super) origin: Uri,
    pub(super) metadata: Vec<(HeaderName, HeaderValue)>,
    pub(super) from_files: Option<Box<MetadataFiles>>,
    /// Where the peer is. The channel dials it; kept here, once for each target.
    pub(crate) endpoint: Endpoint,
}

/// Metadata or an address that HTTP cannot carry. The configuration is checked earlier; this is the last check.
#[derive(Debug, thiserror::Error)]
#[error("cannot be sent over HTTP/2: {0}")]
pub struct OutgoingError(#[from] http::Error);

impl Outgoing {
    pub(crate) fn new(peer: &Peer) -> Result<Self, OutgoingError> {
        let (scheme, name) = match &peer.settings.security {
            Security::Plain => ("http", None),
            Security::Tls(tls) => ("https", tls.server_name.as_deref()),
            // No dial succeeds, so nothing is ever sent.
            Security::Unusable(_) => ("https", None),
        };
        // gRPC's own clients also send the name in place of the address: a proxy may route by it.
        let authority = match name.and_then(authority) {
            Some(authority) => authority,
            None => peer
                .endpoint
                .to_string()
                .parse::<Authority>()
                .map_err(http::Error::from)?,
        };
        let origin = Uri::builder()
            .scheme(scheme)
            .authority(authority)
            .path_and_query("/")
            .build()?;
        let mut metadata = vec![(http::header::USER_AGENT, HeaderValue::from_static(USER_AGENT))];
        let mut files = Vec::new();
        for (name, value) in &peer.metadata {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(http::Error::from)?;
            match value {
                MetadataValue::Text(text) => {
                    metadata.push((name, HeaderValue::from_str(text).map_err(http::Error::from)?));
                }
                MetadataValue::File(path) => files.push((name, path.clone())),
            }
        }
        let from_files = (!files.is_empty()).then(|| Box::new(MetadataFiles::new(files)));
        Ok(Self {
            origin,
            metadata,
            from_files,
            endpoint: peer.endpoint.clone(),
        })
    }
}

/// A server name in the form of a URI, with an IPv6 address in brackets. `None`: it is not a name, and no dial succeeds.
fn authority(name: &str) -> Option<Authority> {
    let text = match name.parse() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        Ok(IpAddr::V4(_)) | Err(_) => name.to_owned(),
    };
    text.parse().ok()
}
