//! A gRPC server with one unary method and reflection, which can be as hostile as a server can be. It shares no code with the
//! exporter: its schemas are compiled by protox, its replies are bytes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::{
    DescriptorProto, FileDescriptorProto, MethodDescriptorProto, ServiceDescriptorProto,
};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How it answers questions for its schema.
#[derive(Debug, Clone)]
pub(crate) enum Reflecting {
    /// UNIMPLEMENTED
    Not,
    /// v1; each file with all that it imports.
    V1,
    /// Only v1alpha.
    Alpha,
    /// v1; each file alone.
    OneByOne,
    /// v1; NOT_FOUND for all.
    Refusing,
    /// This code for the RPC.
    Failing(u8),
    /// The stream stays open without a reply.
    Hanging,
    /// v1, after this time.
    Late(Duration),
    /// The same reply again and again.
    Endless,
    /// Replies of these bytes.
    Bytes(Vec<u8>),
    /// These bytes as they are, packed messages or not, in answer to each question.
    Frames(Vec<u8>),
}

/// How it answers the method.
#[derive(Debug, Clone)]
pub(crate) enum Replying {
    Message(Vec<u8>),
    /// A message of the method with this path; the others are UNIMPLEMENTED.
    OnlyAt(&'static str, Vec<u8>),
    /// A message that is packed with gzip.
    Packed(Vec<u8>),
    Failing(u8),
    Nothing,
    Two,
    Hanging,
    /// These bytes as they are, packed messages or not, so many times.
    Frames(Arc<[u8]>, usize),
    /// These bytes, and then nothing.
    Unfinished(Arc<[u8]>),
}

impl Replying {
    /// So many zeros, packed to a thousandth.
    pub(crate) fn bomb(size: usize) -> Self {
        Self::Packed(packed(size))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// Encoded files by name.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// What each file imports.
    pub(crate) imports: BTreeMap<String, Vec<String>>,
    /// The file with the service.
    pub(crate) first: String,
    pub(crate) reflecting: Reflecting,
    pub(crate) replying: Replying,
}

/// Files whose text is given.
struct Given(BTreeMap<String, String>);

impl FileResolver for Given {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.get(name) {
            Some(text) => File::from_source(name, text),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

impl Script {
    /// Compiles protos; the first has the service.
    pub(crate) fn of(protos: &[(&str, &str)]) -> Self {
        let given = protos
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        let mut resolver = ChainFileResolver::new();
        resolver.add(Given(given.collect()));
        resolver.add(GoogleFileResolver::new());
        let mut compiler = protox::Compiler::with_file_resolver(resolver);
        compiler.include_imports(true).include_source_info(true);
        compiler.open_file(protos[0].0).expect("a proto that compiles");
        let set = compiler.file_descriptor_set();
        let imports = set
            .file
            .iter()
            .map(|file| (file.name().to_owned(), file.dependency.clone()));
        Self {
            imports: imports.collect(),
            files: set
                .file
                .iter()
                .map(|file| (file.name().to_owned(), file.encode_to_vec()))
                .collect(),
            first: protos[0].0.to_owned(),
            reflecting: Reflecting::V1,
            replying: Replying::Message(Vec::new()),
        }
    }

    /// One file that no compiler has checked.
    pub(crate) fn raw(file: Vec<u8>) -> Self {
        Self {
            files: BTreeMap::from([("raw.proto".to_owned(), file)]),
            imports: BTreeMap::new(),
            first: "raw.proto".to_owned(),
            reflecting: Reflecting::V1,
            replying: Replying::Message(Vec::new()),
        }
    }
}

/// A file with the service, which no compiler has checked.
pub(crate) fn file(change: impl FnOnce(&mut FileDescriptorProto)) -> Vec<u8> {
    let mut file = FileDescriptorProto {
        name: Some("raw.proto".to_owned()),
        package: Some("shop".to_owned()),
        syntax: Some("proto3".to_owned()),
        message_type: vec![DescriptorProto {
            name: Some("M".to_owned()),
            ..Default::default()
        }],
        service: vec![ServiceDescriptorProto {
            name: Some("Info".to_owned()),
            method: vec![MethodDescriptorProto {
                name: Some("Version".to_owned()),
                input_type: Some(".shop.M".to_owned()),
                output_type: Some(".shop.M".to_owned()),
                ..Default::default()
            }],
            options: None,
        }],
        ..Default::default()
    };
    change(&mut file);
    file.encode_to_vec()
}

pub(crate) struct SchemaServer {
    pub(crate) address: SocketAddr,
    script: Arc<Mutex<Script>>,
    /// The paths of all RPCs.
    seen: Arc<Mutex<Vec<String>>>,
    /// Counts how often all connections were closed.
    closing: watch::Sender<u64>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for SchemaServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SchemaServer {
    pub(crate) async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let script = Arc::new(Mutex::new(script));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (shared, log) = (script.clone(), seen.clone());
        let (closing, closes) = watch::channel(0);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let mut closes = closes.clone();
                closes.mark_unchanged();
                let served = connection(stream, shared.clone(), log.clone());
                connections.spawn(async move {
                    tokio::select! {
                        () = served => {}
                        _ = closes.changed() => {}
                    }
                });
            }
        });
        Self {
            address,
            script,
            seen,
            closing,
            task,
        }
    }

    /// Closes all connections.
    pub(crate) fn close_connections(&self) {
        self.closing.send_modify(|times| *times += 1);
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().expect("no panic"));
    }

    /// How many RPCs had a path with this end.
    pub(crate) fn seen(&self, end: &str) -> usize {
        let seen = self.seen.lock().expect("no panic");
        seen.iter().filter(|path| path.ends_with(end)).count()
    }
}

async fn connection(stream: TcpStream, script: Arc<Mutex<Script>>, seen: Arc<Mutex<Vec<String>>>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    let mut streams = tokio::task::JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        let path = request.uri().path().to_owned();
        seen.lock().expect("no panic").push(path.clone());
        let script = script.lock().expect("no panic").clone();
        streams.spawn(async move {
            let _ = answer(request, respond, &path, script).await;
        });
    }
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    path: &str,
    script: Script,
) -> Result<(), h2::Error> {
    let is_v1 = path.starts_with("/grpc.reflection.v1.");
    let is_alpha = path.starts_with("/grpc.reflection.v1alpha.");
    if !is_v1 && !is_alpha {
        return reply(&mut respond, request, &script.replying).await;
    }
    let speaks = match script.reflecting {
        Reflecting::Not => false,
        Reflecting::Alpha => is_alpha,
        _ => is_v1,
    };
    if !speaks {
        return end(&mut respond, 12);
    }
    let questions = messages(request.into_body()).await?;
    let response = Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-encoding", "gzip")
        .body(());
    match &script.reflecting {
        Reflecting::Failing(code) => return end(&mut respond, *code),
        Reflecting::Hanging => std::future::pending().await,
        Reflecting::Late(by) => tokio::time::sleep(*by).await,
        _ => {}
    }
    let mut body = respond.send_response(response.expect("a head"), false)?;
    for question in questions {
        let name = match (question.first(), question.get(2..)) {
            (Some(0x1a), Some(name)) => String::from_utf8_lossy(name).into_owned(),
            _ => script.first.clone(),
        };
        match &script.reflecting {
            Reflecting::Endless => loop {
                send(&mut body, &framed(0, &files(&script, &name, true))).await?;
            },
            Reflecting::Bytes(bytes) => send(&mut body, &framed(0, bytes)).await?,
            Reflecting::Frames(frames) => send(&mut body, frames).await?,
            Reflecting::Refusing => {
                // error_response {error_code: 5, error_message: "no such\nthing"}
                let error = field(7, &[&[8, 5][..], &field(2, b"no such\nthing")].concat());
                send(&mut body, &framed(0, &error)).await?;
            }
            Reflecting::OneByOne => send(&mut body, &framed(0, &files(&script, &name, false))).await?,
            _ => send(&mut body, &framed(0, &files(&script, &name, true))).await?,
        }
    }
    body.send_trailers(trailers(0))
}

/// A file_descriptor_response.
fn files(script: &Script, name: &str, all: bool) -> Vec<u8> {
    let mut names = vec![name.to_owned()];
    let mut next = 0;
    while all && next < names.len() {
        for import in script.imports.get(&names[next]).into_iter().flatten() {
            if !names.contains(import) {
                names.push(import.clone());
            }
        }
        next += 1;
    }
    let found = names.iter().filter_map(|name| script.files.get(name));
    let list: Vec<u8> = found.flat_map(|file| field(1, file)).collect();
    if list.is_empty() {
        return field(7, &[8, 5]);
    }
    field(4, &list)
}

async fn reply(
    respond: &mut SendResponse<Bytes>,
    request: Request<h2::RecvStream>,
    replying: &Replying,
) -> Result<(), h2::Error> {
    let path = request.uri().path().to_owned();
    let _ = messages(request.into_body()).await?;
    let (frames, times) = match replying {
        Replying::OnlyAt(only, _) if *only != path => return end(respond, 12),
        Replying::OnlyAt(_, message) => (framed(0, message).into(), 1),
        Replying::Failing(code) => return end(respond, *code),
        Replying::Hanging => std::future::pending().await,
        Replying::Nothing => (Bytes::new(), 1),
        Replying::Two => ([framed(0, b""), framed(0, b"")].concat().into(), 1),
        Replying::Message(message) => (framed(0, message).into(), 1),
        Replying::Packed(packed) => (framed(1, packed).into(), 1),
        Replying::Frames(frames, times) => (Bytes::copy_from_slice(frames), *times),
        Replying::Unfinished(frames) => (Bytes::copy_from_slice(frames), 1),
    };
    let response = Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-encoding", "gzip")
        .body(());
    let mut body = respond.send_response(response.expect("a head"), false)?;
    for _ in 0..times {
        send(&mut body, &frames).await?;
    }
    if let Replying::Unfinished(_) = replying {
        std::future::pending().await
    }
    body.send_trailers(trailers(0))
}

/// Packs bytes.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(bytes).expect("memory");
    packer.finish().expect("memory")
}

fn packed(size: usize) -> Vec<u8> {
    use std::io::Write as _;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    let mut left = size;
    while left > 0 {
        let part = left.min(zeros.len());
        packer.write_all(&zeros[..part]).expect("memory");
        left -= part;
    }
    packer.finish().expect("memory")
}

fn end(respond: &mut SendResponse<Bytes>, code: u8) -> Result<(), h2::Error> {
    let response = Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-status", u16::from(code))
        .body(());
    respond.send_response(response.expect("a head"), true).map(|_| ())
}

fn trailers(code: u8) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(u16::from(code)));
    trailers
}

/// Waits until the client takes it.
async fn send(body: &mut h2::SendStream<Bytes>, bytes: &[u8]) -> Result<(), h2::Error> {
    let mut rest = Bytes::copy_from_slice(bytes);
    while !rest.is_empty() {
        body.reserve_capacity(rest.len().min(16 * 1024));
        let Some(capacity) = std::future::poll_fn(|cx| body.poll_capacity(cx)).await else {
            return Err(h2::Reason::CANCEL.into());
        };
        let part = rest.split_to(capacity?.min(rest.len()));
        body.send_data(part, false)?;
    }
    Ok(())
}

/// The messages of a request.
async fn messages(mut body: h2::RecvStream) -> Result<Vec<Vec<u8>>, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        bytes.extend_from_slice(&data);
        let _ = body.flow_control().release_capacity(data.len());
    }
    let mut messages = Vec::new();
    let mut rest = &bytes[..];
    while rest.len() >= 5 {
        let length = u32::from_be_bytes([rest[1], rest[2], rest[3], rest[4]]) as usize;
        messages.push(rest[5..5 + length].to_vec());
        rest = &rest[5 + length..];
    }
    Ok(messages)
}

/// A message as it is sent: `flag` 1 says that it is packed.
pub(crate) fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![flag];
    bytes.extend(u32::try_from(message.len()).expect("fits").to_be_bytes());
    bytes.extend(message);
    bytes
}

/// A field of bytes, for numbers up to 15.
pub(crate) fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 128 {
        field.push(length as u8 | 128);
        length >>= 7;
    }
    field.push(length as u8);
    field.extend(bytes);
    field
}
