//! What tells an endless answer that its connection must end: web.config.file has changed since the connection was accepted.

use tokio_util::sync::CancellationToken;

/// In the extensions of each request. An event stream ends with it; all other answers end by themselves.
#[derive(Debug, Clone, Default)]
pub(super) struct OutOfDate(pub(super) CancellationToken);
