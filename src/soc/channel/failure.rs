//! Why a channel failed: a cause of the closed set, and the details for people.

use std::io;
use std::sync::Arc;

use h2::Reason;

use crate::model::{Cause, text};

/// Why a dial failed or a connection was lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}: {detail}")]
pub struct Failure {
    /// One of the closed set.
    pub cause: Cause,
    /// What exactly was seen.
    pub detail: Arc<str>,
}

/// The longest detail, in characters: our text, and a quotation from a peer, a certificate or a file.
const MAX_DETAIL: usize = 2 * text::MAX_QUOTE;

impl Failure {
    /// Cleans and shortens the detail, whatever its source is.
    pub(super) fn new(cause: Cause, detail: impl AsRef<str>) -> Self {
        Self {
            cause,
            detail: text::shorten(detail.as_ref(), MAX_DETAIL).into(),
        }
    }

    /// What an error of the TCP connection means. On one with TLS, `tls::of_io` knows more.
    pub(super) fn from_io(error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        let cause = match error.kind() {
            Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => Cause::Reset,
            Kind::UnexpectedEof | Kind::NotConnected => Cause::Closed,
            Kind::TimedOut => Cause::KeepaliveTimeout,
            Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown => Cause::Unreachable,
            Kind::InvalidData | Kind::InvalidInput => Cause::Protocol,
            _ => Cause::Closed,
        };
        let detail = match cause {
            // rustls's own message for this is a link to its documentation.
            Cause::Closed if error.kind() == Kind::UnexpectedEof => {
                "the peer closed the connection".to_owned()
            }
            _ => error.to_string(),
        };
        Self::new(cause, detail)
    }

    /// The peer closes the connection with a GOAWAY.
    pub(super) fn of_goaway(reason: Reason, debug: &str) -> Self {
        if reason == Reason::NO_ERROR {
            let text = format!(
                "the SoC's server closed the connection in good order before it was READY (GOAWAY NO_ERROR {debug:?})"
            );
            return Self::new(Cause::Goaway, text);
        }
        let code = u32::from(reason);
        Self::new(Cause::Goaway, format!("GOAWAY {code} ({reason}) {debug:?}"))
    }
}
