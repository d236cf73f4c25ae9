//! One GET request over a connection of its own, with a limit for everything: time, header, body. No redirect is followed: a login
//! must not go elsewhere.

use std::sync::Arc;

use axum::body::{Body, HttpBody as _};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use crate::config::HttpLogin;
use crate::model::{TlsSettings, text};
use crate::runtime::ration::Ration;
use crate::soc::channel::{ServerFault, plain_client};

/// Memory for the head of an answer, bytes.
const MAX_HEAD: usize = 64 * 1024;

/// Framing may add this many bytes to a body of one: chunks of a kilobyte add a hundredth, TLS less.
const FRAMING: usize = 2;

/// A good answer.
#[derive(Debug)]
pub(super) struct ServerAnswer {
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// What a request needs besides its URL. Files are read for each request, so that a rotation needs no restart.
pub(super) struct Prepared {
    headers: HeaderMap,
    tls: Option<TlsConnector>,
    name: Option<ServerName<'static>>,
}

impl Prepared {
    /// Reads the files. Blocks.
    pub(super) fn read(
        url: &Uri,
        login: Option<&HttpLogin>,
        tls: Option<&TlsSettings>,
    ) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        if let Some(login) = login {
            headers.insert(header::AUTHORIZATION, login.header()?);
        }
        let name = tls.map(|tls| server_name(url, tls)).transpose()?;
        let tls = tls.map(plain_client).transpose()?;
        let tls = tls.map(|client| TlsConnector::from(Arc::new(client)));
        Ok(Self { headers, tls, name })
    }

    /// Adds a header to the request.
    pub(super) fn with(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The answer, if its status is 200 and its body has at most `most` bytes. Cancel it to limit its time.
    pub(super) async fn get(self, url: &Uri, most: usize) -> Result<ServerAnswer, String> {
        let host = host(url)?;
        let port = url
            .port_u16()
            .unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let tcp = TcpStream::connect((host, port)).await;
        let tcp = tcp.map_err(|error| format!("cannot connect: {error}"))?;
        let tcp = Ration::new(FRAMING * most + MAX_HEAD).of(tcp);
        match (self.tls, self.name) {
            (Some(tls), Some(name)) => {
                let tls = tls.connect(name, tcp).await;
                ask(
                    tls.map_err(|error| format!("TLS: {}", ServerFault::of(&error)))?,
                    url,
                    self.headers,
                    most,
                )
                .await
            }
            _ => ask(tcp, url, self.headers, most).await,
        }
    }
}

async fn ask<S>(socket: S, url: &Uri, headers: HeaderMap, most: usize) -> Result<ServerAnswer, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = http1::Builder::new();
    http.max_buf_size(MAX_HEAD);
    let (mut sender, connection) = http
        .handshake(TokioIo::new(socket))
        .await
        .map_err(|error| format!("HTTP: {error}"))?;
    // It ends with this function.
    let connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::get(path).header(header::HOST, authority);
    if let Some(all) = request.headers_mut() {
        all.extend(headers);
    }
    let request = request.body(Body::empty()).map_err(|error| error.to_string())?;
    let response = match sender.send_request(request).await {
        Ok(response) => response,
        Err(error) => {
            let fault = ServerFault::of_request(error, connection).await;
            return Err(format!("no answer: {fault}"));
        }
    };
    if response.status() != StatusCode::OK {
        return Err(format!(
            "expected the status 200, got {}",
            response.status().as_u16()
        ));
    }
    let (head, body) = response.into_parts();
    let too_long = || format!("expected at most {} MiB", most >> 20);
    if body.size_hint().lower() > most as u64 {
        return Err(too_long());
    }
    let mut pieces = Body::new(body).into_data_stream();
    let mut read = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece: Bytes =
            piece.map_err(|error| format!("the answer breaks off: {}", ServerFault::of(&error)))?;
        if read.len() + piece.len() > most {
            return Err(too_long());
        }
        read.extend_from_slice(&piece);
    }
    Ok(ServerAnswer {
        headers: head.headers,
        body: read,
    })
}

/// The host of a URL: a name or an address.
pub(crate) fn host(url: &Uri) -> Result<&str, String> {
    let host = url.host().ok_or("expected a host in the URL")?;
    Ok(host.trim_start_matches('[').trim_end_matches(']'))
}

/// The name that the server's certificate must have.
pub(crate) fn server_name(url: &Uri, tls: &TlsSettings) -> Result<ServerName<'static>, String> {
    let name = match &tls.server_name {
        Some(name) => name,
        None => host(url)?,
    };
    ServerName::try_from(name.to_owned())
        .map_err(|_| format!("no certificate can have the name {}", text::quote(name)))
}
