//! Whose request it is.

use std::net::IpAddr;

/// In the extensions of each request. That of a reverse proxy, if one is between.
#[derive(Debug, Clone, Copy)]
pub(super) struct PeerAddress(pub(super) IpAddr);
