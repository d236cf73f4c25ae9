//! The bytes to and from one Redis: a socket of either kind, and the replies that arrive through it.

use std::io;

use bytes::BytesMut;
use redis::{Cmd, Pipeline, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::frame::{Breach, Budget, Frame};
use super::{RedisFailure, Reply};
use crate::config::{RedisAddress, RedisLogin, RedisServer};

/// Bytes of room for each read, at least: a usual reply is read at once.
const READ: usize = 16 * 1024;

trait RedisStream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> RedisStream for T {}

pub(super) struct Wire {
    stream: Box<dyn RedisStream>,
    at: RedisAddress,
    /// What has arrived and was not handled yet.
    bytes: BytesMut,
    /// How far the next reply in it has been followed.
    frame: Frame,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl Wire {
    /// Connects. If the first address may not be opened, it uses the server's other one. It tries both each time, so a socket
    /// that appears later, or that we may open later, is used from the next connection on.
    pub(super) async fn open(server: &RedisServer) -> Result<Self, RedisFailure> {
        let first = match Self::connect(&server.at).await {
            Ok(wire) => return Ok(wire),
            Err(error) => error,
        };
        let closed_to_us = matches!(
            first.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
        );
        match &server.or {
            Some(or) if closed_to_us => Self::connect(or).await.map_err(|error| {
                let both = format!("{first}; nor to {or}: {error}");
                RedisFailure::Connect(io::Error::new(first.kind(), both))
            }),
            _ => Err(RedisFailure::Connect(first)),
        }
    }

    async fn connect(at: &RedisAddress) -> io::Result<Self> {
        let stream: Box<dyn RedisStream> = match at {
            RedisAddress::Unix(path) => Box::new(UnixStream::connect(path).await?),
            RedisAddress::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
        };
        Ok(Self {
            stream,
            at: at.clone(),
            bytes: BytesMut::new(),
            frame: Frame::default(),
        })
    }

    /// The address that is used.
    pub(super) fn at(&self) -> &RedisAddress {
        &self.at
    }

    /// Sends the commands at once and returns one reply for each, in the same order. Not cancel-safe: after it was dropped,
    /// this wire cannot be used any more.
    pub(super) async fn ask(&mut self, commands: &Pipeline) -> Result<Vec<Reply>, RedisFailure> {
        if !self.bytes.is_empty() {
            return Err(Breach::Unasked.into());
        }
        self.send(&commands.get_packed_pipeline()).await?;
        let mut budget = Budget::REPLIES;
        let mut replies: Vec<Reply> = Vec::with_capacity(commands.len());
        while replies.len() < commands.len() {
            match self.reply(&mut budget).await {
                Ok(reply) => replies.push(reply),
                // A client that is refused ("max number of clients reached") gets this error before the server reads anything
                // from it.
                Err(RedisFailure::Closed) => {
                    let last = replies.pop().and_then(Result::err);
                    return Err(last.map_or(RedisFailure::Closed, RedisFailure::Refused));
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(replies)
    }

    /// Logs in if there is a user.
    pub(super) async fn log_in(&mut self, login: Option<&RedisLogin>) -> Result<(), RedisFailure> {
        let Some(login) = login else { return Ok(()) };
        let mut ask = redis::pipe();
        ask.add_command(auth(login));
        match self.ask(&ask).await?.pop() {
            Some(Err(error)) => Err(RedisFailure::Auth(error.code().unwrap_or("ERR").to_owned())),
            _ => Ok(()),
        }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), RedisFailure> {
        self.stream
            .write_all(bytes)
            .await
            .map_err(|_| RedisFailure::Closed)
    }

    /// The next reply. Cancel-safe if it is called again with the same budget.
    pub(super) async fn reply(&mut self, budget: &mut Budget) -> Result<Reply, RedisFailure> {
        loop {
            if let Some(reply) = self.next(budget)? {
                return Ok(reply);
            }
            self.read().await?;
        }
    }

    /// The next reply, if it has arrived.
    pub(super) fn next(&mut self, budget: &mut Budget) -> Result<Option<Reply>, RedisFailure> {
        let Some(end) = self.frame.end(&self.bytes, budget)? else {
            return Ok(None);
        };
        self.frame = Frame::default();
        let reply = self.bytes.split_to(end);
        let value = redis::parse_redis_value(&reply);
        drop(reply);
        if self.bytes.is_empty() {
            // The buffer of a large reply is not kept for small ones.
            self.bytes = BytesMut::new();
        }
        match value {
            Ok(Value::ServerError(error)) => Ok(Some(Err(error.into()))),
            Ok(value) => Ok(Some(Ok(value))),
            Err(_) => Err(Breach::Protocol.into()),
        }
    }

    /// Waits for more bytes. Cancel-safe.
    pub(super) async fn read(&mut self) -> Result<(), RedisFailure> {
        self.bytes.reserve(READ);
        match self.stream.read_buf(&mut self.bytes).await {
            Ok(0) | Err(_) => Err(RedisFailure::Closed),
            Ok(_) => Ok(()),
        }
    }
}

fn auth(login: &RedisLogin) -> Cmd {
    let mut auth = redis::cmd("AUTH");
    auth.arg(login.username.as_deref()).arg(login.password.as_str());
    auth
}
