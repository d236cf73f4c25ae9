//! One GET request over a connection of its own, with a limit for everything: time, header, body. No redirect is followed: a login
//! must not go elsewhere.

use std::path::Path;
use std::sync::Arc;

use axum::body::{Body, HttpBody as _};
use base64::Engine as _;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use crate::config::{HttpLogin, Secret, read_pem};
use crate::model::{TlsSettings, text};
use crate::soc::channel::{pem_certificates, pem_key};

/// Memory for the head of an answer, bytes.
const MAX_HEAD: usize = 64 * 1024;
/// The longest password or token, bytes.
const MAX_SECRET: usize = 8 * 1024;

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
            headers.insert(header::AUTHORIZATION, authorization(login)?);
        }
        let name = tls.map(|tls| server_name(url, tls)).transpose()?;
        let tls = tls.map(|tls| connector(tls, None)).transpose()?;
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
        match (self.tls, self.name) {
            (Some(tls), Some(name)) => {
                let tls = tls.connect(name, tcp).await;
                ask(
                    tls.map_err(|error| format!("TLS: {error}"))?,
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
    // Its errors come out of the request, too. It ends with this function.
    let _connection = AbortOnDropHandle::new(tokio::spawn(async move { drop(connection.await) }));
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::get(path).header(header::HOST, authority);
    if let Some(all) = request.headers_mut() {
        all.extend(headers);
    }
    let request = request.body(Body::empty()).map_err(|error| error.to_string())?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| format!("no answer: {error}"))?;
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
        let piece: Bytes = piece.map_err(|error| format!("the answer breaks off: {error}"))?;
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

fn authorization(login: &HttpLogin) -> Result<HeaderValue, String> {
    let text = match login {
        HttpLogin::Basic(user, password) => {
            let both = format!("{user}:{}", secret(password)?);
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(both))
        }
        HttpLogin::Scheme(scheme, credentials) => format!("{scheme} {}", secret(credentials)?),
    };
    let value = HeaderValue::from_str(&text);
    let mut value = value.map_err(|_| "the login has characters that no header may have".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// The text, or the first line of the file. Messages never repeat it.
pub(crate) fn secret(secret: &Secret) -> Result<String, String> {
    let file = match secret {
        Secret::Text(text) => return Ok(text.clone()),
        Secret::File(file) => file,
    };
    let shown = text::quote(file.display());
    let content = read_pem(file).map_err(|error| format!("{shown}: cannot be read: {error}"))?;
    let line = content
        .split(|byte| matches!(byte, b'\n' | b'\r'))
        .next()
        .unwrap_or_default();
    let expected = || format!("{shown}: expected a password or token in the first line");
    if line.is_empty() || line.len() > MAX_SECRET {
        return Err(expected());
    }
    String::from_utf8(line.to_vec()).map_err(|_| expected())
}

/// Reads the files. `alpn`: the protocol that is offered, if any. Blocks.
pub(crate) fn connector(tls: &TlsSettings, alpn: Option<&[u8]>) -> Result<TlsConnector, String> {
    let shown = |file: &Path| text::quote(file.display());
    let read =
        |file: &Path| read_pem(file).map_err(|error| format!("{}: cannot be read: {error}", shown(file)));
    let bad = |file: &Path, error: String| format!("{}: {error}", shown(file));
    let mut roots = RootCertStore::empty();
    for certificate in pem_certificates(&read(&tls.ca)?).map_err(|error| bad(&tls.ca, error))? {
        roots
            .add(certificate)
            .map_err(|error| bad(&tls.ca, error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut config = match &tls.client {
        None => config.with_no_client_auth(),
        Some(own) => {
            let chain = pem_certificates(&read(&own.cert)?).map_err(|error| bad(&own.cert, error))?;
            let key = pem_key(&read(&own.key)?).map_err(|error| bad(&own.key, error))?;
            let config = config.with_client_auth_cert(chain, key);
            config.map_err(|error| bad(&own.cert, error.to_string()))?
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(TlsConnector::from(Arc::new(config)))
}
