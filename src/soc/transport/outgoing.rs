//! What all RPCs to one target have in common: where they go, and their metadata.

use std::net::IpAddr;

use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use tonic::{Code, Status};

use super::grpc_status::ours;
use super::messages::ACCEPTED;
use super::metadata_files::MetadataFiles;
use crate::model::{Endpoint, MetadataValue, Peer, Security};

const OWN_NAME: &str = concat!("dualtor-exporter/", env!("CARGO_PKG_VERSION"));

/// What every RPC to one SoC has in common; made once per target.
#[derive(Debug)]
pub(crate) struct Outgoing {
    origin: Uri,
    metadata: Vec<(HeaderName, HeaderValue)>,
    pub(super) from_files: Option<Box<MetadataFiles>>,
    /// Where the peer is. The channel dials it; kept here, once for each target.
    pub(crate) endpoint: Endpoint,
}

const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

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
        let mut metadata = vec![(USER_AGENT, HeaderValue::from_static(OWN_NAME))];
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

    /// The headers of a request, but for metadata from files.
    pub(super) fn headers(&self, timeout: Option<HeaderValue>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        for (name, value) in &self.metadata {
            headers.insert(name, value.clone());
        }
        if let Some(timeout) = timeout {
            headers.insert(GRPC_TIMEOUT, timeout);
        }
        headers.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
        headers
    }

    /// A request with these headers.
    pub(super) fn request(&self, path: &PathAndQuery, headers: HeaderMap) -> Result<Request<()>, Status> {
        let mut uri = self.origin.clone().into_parts();
        uri.path_and_query = Some(path.clone());
        let uri = Uri::from_parts(uri).map_err(|error| ours(Code::Internal, error.to_string()))?;
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = headers;
        Ok(request)
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
