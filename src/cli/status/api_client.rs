//! HTTP to a running exporter. Every wait has a limit, and so has the size of an answer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use axum::body::{Body, Bytes};
use bytes::BytesMut;
use futures_util::StreamExt as _;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::api_types::{FleetAnswer, PortAnswer, PortsAnswer};
use crate::config::{HttpLogin, Secret, is_http_url};
use crate::model::{ClientIdentity, TargetId, TlsSettings, text};
use crate::runtime::ration::Ration;
use crate::soc::channel::{ServerFault, plain_client};

/// TCP and TLS together. The exporter is on this host or in this rack.
const CONNECT: Duration = Duration::from_secs(5);
/// Until an answer is complete: the exporter lets a request wait for its turn for 5 s, and then for its view.
const ANSWER: Duration = Duration::from_secs(15);
/// Without any event for this long the stream is dead: the fleet comes every 10 s.
const SILENCE: Duration = Duration::from_secs(30);
/// The longest answer, bytes. 5,000 ports take about 4 MB.
const MAX_ANSWER: usize = 32 << 20;
/// The longest event, bytes. 100 ports take about 80 kB.
const MAX_EVENT: usize = 4 << 20;
/// The longest answer that reports an error.
const MAX_ERROR: usize = 64 << 10;
/// Framing may add as many bytes again: chunks of a kilobyte add a hundredth, TLS less.
const FRAMING: usize = 2;

/// The login. The password is the file's first line.
pub(super) fn login(user: &str, file: &Path) -> anyhow::Result<HeaderValue> {
    let login = HttpLogin::Basic(user.to_owned(), Secret::File(file.to_owned()));
    login.header().map_err(|error| anyhow!("--password-file {error}"))
}

/// The task of a connection.
type Connecting = tokio::task::JoinHandle<hyper::Result<()>>;

/// Where the exporter is, and how to talk to it.
pub(super) struct ApiClient {
    url: Uri,
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    login: Option<HeaderValue>,
}

impl ApiClient {
    /// `files`: CA, certificate and key.
    pub(super) fn new(
        url: &Uri,
        files: [Option<&Path>; 3],
        login: Option<HeaderValue>,
    ) -> anyhow::Result<Self> {
        let expected = "--url: expected http://HOST:PORT or https://HOST:PORT";
        let host = url.host().filter(|host| !host.is_empty()).context(expected)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if url
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            bail!("{expected}; for a login there are --user and --password-file");
        }
        if url.query().is_some() || !is_http_url(url) {
            bail!("{expected}, got {}", text::quote(url));
        }
        let tls = match (url.scheme_str(), files) {
            (Some("http"), [None, None, None]) => None,
            (Some("http"), _) => bail!("--tls-ca is for https, and --url is {url}"),
            (Some("https"), [Some(ca), certificate, key]) => {
                let name = ServerName::try_from(host.clone()).context(expected)?;
                let client = certificate.zip(key).map(|(cert, key)| ClientIdentity {
                    cert: cert.to_owned(),
                    key: key.to_owned(),
                });
                let files = TlsSettings {
                    ca: ca.to_owned(),
                    client,
                    server_name: None,
                };
                let config = plain_client(&files).map_err(anyhow::Error::msg)?;
                Some((TlsConnector::from(Arc::new(config)), name))
            }
            (Some("https"), _) => {
                bail!("https needs --tls-ca: the system's own CA certificates are not used")
            }
            _ => bail!("{expected}, got {}", text::quote(url)),
        };
        let default = if tls.is_some() { 443 } else { 80 };
        Ok(Self {
            port: url.port_u16().unwrap_or(default),
            url: url.clone(),
            host,
            tls,
            login,
        })
    }

    /// What this path answers.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let bytes = self.bytes(path).await?;
        serde_json::from_slice(&bytes)
            .context("the answer is not the API's JSON: is this a dualtor-exporter?")
            .with_context(|| self.place(path))
    }

    /// The text that this path answers.
    pub(super) async fn text(&self, path: &str) -> anyhow::Result<String> {
        let bytes = self.bytes(path).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn bytes(&self, path: &str) -> anyhow::Result<Bytes> {
        let asking = async {
            let body = self.ask(path, &Ration::new(FRAMING * MAX_ANSWER)).await?;
            whole(body, MAX_ANSWER).await
        };
        let answered = timeout(ANSWER, asking).await;
        let answered = answered.unwrap_or_else(|_| bail!("no answer within {} s", ANSWER.as_secs()));
        answered.with_context(|| self.place(path))
    }

    /// The events from now on.
    pub(super) async fn events(&self) -> anyhow::Result<ApiEvents> {
        let path = "/api/v1/events";
        let ration = Ration::new(FRAMING * MAX_EVENT);
        let answered = timeout(ANSWER, self.ask(path, &ration)).await;
        let answered = answered.unwrap_or_else(|_| bail!("no answer within {} s", ANSWER.as_secs()));
        let body = answered.with_context(|| self.place(path))?;
        Ok(ApiEvents {
            pieces: body.into_data_stream(),
            unread: Vec::new(),
            ration,
        })
    }

    fn place(&self, path: &str) -> String {
        format!("{}{path}", self.url.to_string().trim_end_matches('/'))
    }

    /// The body of a good answer, of which `ration` may come.
    async fn ask(&self, path: &str, ration: &Ration) -> anyhow::Result<Body> {
        let connecting = async {
            let tcp = TcpStream::connect((&*self.host, self.port))
                .await
                .context("cannot connect")?;
            let tcp = ration.of(tcp);
            match &self.tls {
                None => self.request(tcp, path).await,
                Some((connector, name)) => {
                    let tls = connector.connect(name.clone(), tcp).await;
                    let tls =
                        tls.map_err(|error| anyhow!("TLS: {}", with_flags(&ServerFault::of(&error))))?;
                    self.request(tls, path).await
                }
            }
        };
        let sender = timeout(CONNECT, connecting).await;
        let (mut sender, request, connection) =
            sender.unwrap_or_else(|_| bail!("cannot connect within {} s", CONNECT.as_secs()))?;
        let response = match sender.send_request(request).await {
            Ok(response) => response,
            Err(error) => {
                let fault = ServerFault::of_request(error, connection).await;
                bail!("no answer: {}", with_flags(&fault));
            }
        };
        let (head, body) = response.into_parts();
        // The connection lives as long as its sender, so the stream of the body keeps it.
        let pieces = Body::new(body).into_data_stream().map(move |piece| {
            let _open = &sender;
            piece
        });
        let body = Body::from_stream(pieces);
        match head.status {
            StatusCode::OK => Ok(body),
            StatusCode::UNAUTHORIZED if self.login.is_some() => {
                bail!("401: the exporter does not accept this user with this password")
            }
            StatusCode::UNAUTHORIZED => {
                bail!("401: the exporter asks for a login: --user and --password-file")
            }
            status => {
                let bytes = whole(body, MAX_ERROR).await.unwrap_or_default();
                let message =
                    serde_json::from_slice::<ErrorAnswer>(&bytes).map(|answer| answer.error.message);
                let message =
                    message.unwrap_or_else(|_| "this is not the API of a dualtor-exporter".to_owned());
                let text = format!("{}: {}", status.as_u16(), text::quote(message));
                match status {
                    StatusCode::NOT_FOUND => Err(NotThere(text).into()),
                    _ => bail!(text),
                }
            }
        }
    }

    async fn request<S>(
        &self,
        socket: S,
        path: &str,
    ) -> anyhow::Result<(http1::SendRequest<Body>, Request<Body>, Connecting)>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(socket)).await.context("HTTP")?;
        let connection = tokio::spawn(connection);
        let prefix = self.url.path().trim_end_matches('/');
        let authority = self.url.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::get(format!("{prefix}{path}")).header(header::HOST, authority);
        if let Some(login) = &self.login {
            request = request.header(header::AUTHORIZATION, login);
        }
        Ok((sender, request.body(Body::empty())?, connection))
    }
}

/// A body of at most `most` bytes. Its pieces may be of one byte, so none is kept.
async fn whole(body: Body, most: usize) -> anyhow::Result<Bytes> {
    let (mut pieces, mut all) = (body.into_data_stream(), BytesMut::new());
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| anyhow!("the answer breaks off: {}", ServerFault::of(&error)))?;
        if all.len() + piece.len() > most {
            bail!("the answer is longer than {} KiB", most >> 10);
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

/// The exporter knows no such thing.
#[derive(Debug)]
pub(super) struct NotThere(String);

impl std::fmt::Display for NotThere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotThere {}

/// What is wrong, and which flag mends it.
fn with_flags(fault: &ServerFault) -> String {
    let flags = match fault {
        ServerFault::NoTls => "--url with http",
        ServerFault::NoHttp => "then --url with https, and --tls-ca",
        ServerFault::UnknownCa => "--tls-ca",
        ServerFault::CertificateRefused => "--tls-cert and --tls-key",
        ServerFault::Closed
        | ServerFault::NoHttp2
        | ServerFault::Certificate(_)
        | ServerFault::HeadTooLong
        | ServerFault::TooMuch(_)
        | ServerFault::Other(_) => return fault.to_string(),
    };
    format!("{fault}: {flags}")
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error: ErrorText,
}

#[derive(Deserialize)]
struct ErrorText {
    message: String,
}

/// An event of the stream.
pub(super) enum ApiEvent {
    Fleet(Box<FleetAnswer>),
    Ports(Vec<PortAnswer>),
    Removed(Vec<Option<TargetId>>),
    Reset,
    /// One of a newer exporter.
    Other,
}

impl ApiEvent {
    fn read(kind: &str, data: &str) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Names {
            ports: Vec<String>,
        }
        Ok(match kind {
            "fleet" => Self::Fleet(serde_json::from_str(data)?),
            "ports" => Self::Ports(serde_json::from_str::<PortsAnswer>(data)?.ports),
            "removed" => {
                let names: Names = serde_json::from_str(data)?;
                Self::Removed(names.ports.iter().map(|name| TargetId::parse(name)).collect())
            }
            "reset" => Self::Reset,
            _ => Self::Other,
        })
    }
}

/// Server-Sent Events as they come.
pub(super) struct ApiEvents {
    pieces: axum::body::BodyDataStream,
    unread: Vec<u8>,
    /// For each event anew.
    ration: Ration,
}

impl ApiEvents {
    /// The next event. Cancel-safe: what has come is kept.
    pub(super) async fn next(&mut self) -> anyhow::Result<ApiEvent> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.unread.drain(..end + 2).collect();
                let event = String::from_utf8_lossy(&event);
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                // A comment has neither.
                let (Some(kind), Some(data)) = (field("event: "), field("data: ")) else {
                    continue;
                };
                self.ration.renew();
                return ApiEvent::read(kind, data).context("an event that is not the API's");
            }
            if self.unread.len() > MAX_EVENT {
                bail!("an event of more than {MAX_EVENT} bytes");
            }
            let piece = timeout(SILENCE, self.pieces.next()).await;
            let piece = piece.with_context(|| format!("no event for {} s", SILENCE.as_secs()))?;
            let piece = piece.context("the exporter has ended the stream")?;
            let piece =
                piece.map_err(|error| anyhow!("the stream broke off: {}", ServerFault::of(&error)))?;
            self.unread.extend_from_slice(&piece);
        }
    }
}
