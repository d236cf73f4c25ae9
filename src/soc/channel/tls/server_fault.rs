//! What is wrong with a connection to a server that is no SoC (`plain_client`), for people: the errors of rustls and hyper are for
//! programmers.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use h2::Reason;
use rustls::{AlertDescription, CertificateError};
use tokio::time::timeout;

use super::handshake_failure::{ABOUT_OUR_CERTIFICATE, of_peer};
use crate::runtime::ration::RationUsed;

/// A connection that has cancelled a request has ended.
const SOON: Duration = Duration::from_secs(1);
/// hyper's text for what comes before a request.
const UNEXPECTED: &str = "received unexpected message from connection";

/// What an error means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerFault {
    /// We speak TLS and the server does not.
    NoTls,
    /// What the server sends is not HTTP/1.1.
    NoHttp,
    /// What the server sends is not HTTP/2.
    NoHttp2,
    /// The head of its answer is over our limit.
    HeadTooLong,
    /// The server closed the connection before its answer was complete.
    Closed,
    /// It sends more than an answer may have, such as interim answers without end.
    TooMuch(RationUsed),
    /// No CA of ours has signed its certificate.
    UnknownCa,
    /// Something else is wrong with its certificate, in words that follow "the certificate".
    Certificate(String),
    /// It does not accept our certificate, or we have none.
    CertificateRefused,
    /// Anything else, as the libraries describe it.
    Other(String),
}

impl ServerFault {
    /// What an error of TLS or of HTTP means.
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        let mut texts = Vec::new();
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(fault) = known(error) {
                return fault;
            }
            let text = error.to_string();
            // A wrapper says the same as what it holds.
            if texts.last() != Some(&text) {
                texts.push(text);
            }
            next = error.source();
        }
        // hyper's errors have the reason in their source.
        Self::Other(texts.join(": "))
    }

    /// What the error of a request over `connection`, its task, means. A server refuses our certificate after the handshake of TLS 1.3:
    /// then the connection knows why, and the request only that it was not sent.
    pub async fn of_request(error: hyper::Error, connection: impl Future<Output = Driven>) -> Self {
        if error.is_canceled()
            && let Ok(Ok(Err(reason))) = timeout(SOON, connection).await
        {
            return Self::of(&reason);
        }
        Self::of(&error)
    }
}

/// How the task of a connection ends.
type Driven = Result<Result<(), hyper::Error>, tokio::task::JoinError>;

fn known(error: &(dyn Error + 'static)) -> Option<ServerFault> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        // Not its `source`: that would be the source of what it holds.
        let inner = error.get_ref().and_then(|inner| known(inner));
        return inner.or_else(|| of_io(error));
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return match error {
            error if error.is_parse_too_large() => Some(ServerFault::HeadTooLong),
            error if error.is_parse() => Some(ServerFault::NoHttp),
            error if error.is_incomplete_message() => Some(ServerFault::Closed),
            // A server of HTTP/2 speaks first. hyper has no other name for that.
            error if error.to_string() == UNEXPECTED => Some(ServerFault::NoHttp),
            _ => None,
        };
    }
    if let Some(used) = error.downcast_ref::<RationUsed>() {
        return Some(ServerFault::TooMuch(*used));
    }
    if let Some(error) = error.downcast_ref::<h2::Error>() {
        // Our side's verdict, not the peer's.
        let is_ours = error.is_library();
        let is_nonsense = |reason| [Reason::FRAME_SIZE_ERROR, Reason::PROTOCOL_ERROR].contains(&reason);
        return (is_ours && error.reason().is_some_and(is_nonsense)).then_some(ServerFault::NoHttp2);
    }
    match error.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidMessage(_) => Some(ServerFault::NoTls),
        // A bad signature: a CA of this name has another key.
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => Some(ServerFault::UnknownCa),
        rustls::Error::AlertReceived(alert) if ABOUT_OUR_CERTIFICATE.contains(alert) => {
            Some(ServerFault::CertificateRefused)
        }
        rustls::Error::InvalidCertificate(reason) => of_peer(reason).map(ServerFault::Certificate),
        _ => None,
    }
}

fn of_io(error: &io::Error) -> Option<ServerFault> {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    // Of an error of TLS, h2 keeps only the text.
    let text = error.to_string();
    let is_refusal =
        |alert: &AlertDescription| text.contains(&rustls::Error::AlertReceived(*alert).to_string());
    if ABOUT_OUR_CERTIFICATE.iter().any(is_refusal) {
        return Some(ServerFault::CertificateRefused);
    }
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof).then_some(ServerFault::Closed)
}

impl fmt::Display for ServerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoTls => "the server does not speak TLS",
            Self::NoHttp => "what the server sends is not HTTP/1.1, it may speak gRPC only, or expect TLS",
            Self::NoHttp2 => "what the server sends is not HTTP/2, it may not speak gRPC, or expect TLS",
            Self::Certificate(what) => return write!(f, "the server's certificate {what}"),
            Self::Closed => "the server closed the connection before its answer was complete",
            Self::TooMuch(used) => return used.fmt(f),
            Self::HeadTooLong => "the head of the server's answer is too long",
            Self::UnknownCa => "no CA in our CA file has signed the server's certificate",
            Self::CertificateRefused => "the server does not accept our certificate, or asks for one",
            Self::Other(text) => text,
        })
    }
}

#[cfg(test)]
mod tests {
    use rustls::InvalidMessage;

    use super::*;

    #[test]
    fn the_error_inside_decides() {
        let io = |error: rustls::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        for (error, expected) in [
            (io(InvalidMessage::InvalidContentType.into()), ServerFault::NoTls),
            (io(CertificateError::UnknownIssuer.into()), ServerFault::UnknownCa),
            (io(CertificateError::BadSignature.into()), ServerFault::UnknownCa),
            (
                io(rustls::Error::AlertReceived(
                    AlertDescription::CertificateRequired,
                )),
                ServerFault::CertificateRefused,
            ),
            (
                io::Error::other("received fatal alert: CertificateRequired"),
                ServerFault::CertificateRefused,
            ),
            (io::ErrorKind::BrokenPipe.into(), ServerFault::Closed),
            (
                io::Error::other("a text"),
                ServerFault::Other("a text".to_owned()),
            ),
        ] {
            assert_eq!(ServerFault::of(&error), expected);
        }
    }
}
