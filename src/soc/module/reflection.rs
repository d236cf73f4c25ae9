//! A server's schema, from the server itself: gRPC's reflection, v1 or v1alpha. Both have the same messages.
//!
//! The file with the service is asked for by the service's name; then what it imports and the server has not sent along, by file name.

use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::model::quoted;
use crate::soc::transport::{Transport, is_peers, is_unreadable, raw_call};
use crate::unary::{MAX_BYTES, MAX_FILES, SchemaFiles};
use dualtor_proto::wire::{Malformed, WireFields, WireValue, text_field};

const V1: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const V1_ALPHA: &str = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

/// The field of a ServerReflectionRequest that asks for a file by its name, and by a symbol in it.
const BY_NAME: u64 = 3;
const BY_SYMBOL: u64 = 4;
/// Bytes of all replies: some servers send the same imports again with each file.
const MOST_BYTES: usize = 4 * MAX_BYTES;
/// Bytes of one reply: a schema, and what frames its files.
const MAX_REPLY: u32 = MAX_BYTES as u32 + 64 * 1024;

/// Why there is no schema.
#[derive(Debug)]
pub(super) enum Unreflected {
    /// An RPC failed. The code is the round's result.
    Failed(Status),
    /// The server has no reflection, or what it sends is no schema. A text for people.
    NoSchema(String),
}

impl From<Malformed> for Unreflected {
    fn from(Malformed: Malformed) -> Self {
        Self::NoSchema("a reply of the server's reflection cannot be decoded".to_owned())
    }
}

/// Asks for the files that a service needs, in this time.
pub(super) async fn reflect(
    transport: &Transport,
    service: &str,
    within: Duration,
) -> Result<SchemaFiles, Unreflected> {
    let mut exchange = ReflectionExchange {
        transport: transport.clone().with_limit(MAX_REPLY),
        path: PathAndQuery::from_static(V1),
        until: Instant::now() + within,
        bytes: 0,
        files: SchemaFiles::default(),
    };
    let by_symbol = vec![text_field(BY_SYMBOL, service).into()];
    match exchange.ask(by_symbol.clone()).await {
        Err(Unreflected::Failed(status)) if status.code() == Code::Unimplemented => {
            exchange.path = PathAndQuery::from_static(V1_ALPHA);
            exchange.ask(by_symbol).await.map_err(no_reflection)?;
        }
        asked => asked?,
    }
    loop {
        let missing: Vec<String> = exchange.files.missing().into_iter().map(str::to_owned).collect();
        let Some(first) = missing.first() else {
            return Ok(exchange.files);
        };
        let requests = missing.iter().map(|name| text_field(BY_NAME, name).into());
        let asked = exchange.ask(requests.collect()).await;
        asked.map_err(|error| about_import(error, first))?;
        if exchange.files.missing().contains(&&**first) {
            return Err(Unreflected::NoSchema(format!(
                "the server's reflection does not have the import {}",
                quoted(first)
            )));
        }
    }
}

fn about_import(error: Unreflected, import: &str) -> Unreflected {
    match error {
        Unreflected::NoSchema(why) => Unreflected::NoSchema(format!("the import {}: {why}", quoted(import))),
        error => error,
    }
}

fn no_reflection(error: Unreflected) -> Unreflected {
    match error {
        Unreflected::Failed(status) if status.code() == Code::Unimplemented => {
            let text = "the server has no reflection (v1, v1alpha): give the module a `schema`";
            Unreflected::NoSchema(text.to_owned())
        }
        error => error,
    }
}

struct ReflectionExchange {
    transport: Transport,
    path: PathAndQuery,
    until: Instant,
    bytes: usize,
    files: SchemaFiles,
}

impl ReflectionExchange {
    /// One RPC with all requests.
    async fn ask(&mut self, requests: Vec<Bytes>) -> Result<(), Unreflected> {
        let left = self.until.saturating_duration_since(Instant::now());
        let transport = self
            .transport
            .clone()
            .for_queries(left.max(Duration::from_millis(1)));
        let mut more = requests.len().min(MAX_FILES);
        let opened = raw_call::stream(&transport, &self.path, requests).await;
        let mut replies = opened.map_err(failed)?;
        while let Some(reply) = replies.message().await.map_err(failed)? {
            self.bytes += reply.len();
            if more == 0 || self.bytes > MOST_BYTES {
                let text = "the server's reflection sends more than it was asked for";
                return Err(Unreflected::NoSchema(text.to_owned()));
            }
            more -= 1;
            self.read(&reply)?;
        }
        Ok(())
    }

    /// A ServerReflectionResponse: 4 has files, 7 an error.
    fn read(&mut self, reply: &[u8]) -> Result<(), Unreflected> {
        for field in WireFields::of(reply) {
            match field? {
                (4, WireValue::Bytes(files)) => {
                    for file in WireFields::of(files) {
                        if let (1, WireValue::Bytes(file)) = file? {
                            let added = self.files.add(file);
                            added.map_err(|error| Unreflected::NoSchema(error.to_string()))?;
                        }
                    }
                }
                (7, WireValue::Bytes(error)) => return Err(refused(error)?),
                _ => {}
            }
        }
        Ok(())
    }
}

/// An ErrorResponse: 1 a code, 2 a message.
fn refused(error: &[u8]) -> Result<Unreflected, Malformed> {
    let (mut code, mut message) = (0, "");
    for field in WireFields::of(error) {
        match field? {
            (1, WireValue::Varint(value)) => code = value as i32,
            (2, WireValue::Bytes(text)) => message = std::str::from_utf8(text).map_err(|_| Malformed)?,
            _ => {}
        }
    }
    let code = Code::from_i32(code);
    let text = format!("the server's reflection reports {code:?}: {}", quoted(message));
    Ok(Unreflected::NoSchema(text))
}

/// A reply over our limit is a schema over the limit.
fn failed(status: Status) -> Unreflected {
    match status.code() {
        Code::ResourceExhausted if !is_peers(&status) => {
            Unreflected::NoSchema(format!("the schema is over the limit of {MAX_BYTES} bytes"))
        }
        _ if is_unreadable(&status) => Unreflected::NoSchema(format!(
            "the server's reflection cannot be read: {}",
            status.message()
        )),
        _ => Unreflected::Failed(status),
    }
}
