//! One connection to Redis, and everything that can go wrong with it: for those who write (publish) and those who read
//! (mirror).
//!
//! It is opened by hand rather than by redis's `Client`, so that its driver task is ours to watch: a closed socket is
//! then seen at once and not at the next PING, and an abandoned connection is really gone before the next one is made.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::Stream;
use redis::aio::{MultiplexedConnection, PubSub, PubSubSink, PubSubStream};
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, RedisError, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::RedisServer;
use crate::defect::Defect;
use crate::model::text;

/// How long Redis may take to accept a connection, and how long to answer: a hung one must be noticed.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// From attempt to attempt while the database is down: a local socket, and rows must be right 2 s after its return.
pub const RETRY: Duration = Duration::from_millis(500);

/// A hung database must be noticed: asked this often, with `PATIENCE` for the answer.
pub const PING_EVERY: Duration = Duration::from_secs(2);

/// What Redis reads from one client at one go (its PROTO_IOBUF_LEN). No batch of writes is larger, and no second one
/// is sent before the first is answered. A Redis that wakes up from a hang has therefore done all that an abandoned
/// connection left behind before it answers the PING of the next: no late write can undo a newer one.
pub const BATCH_BYTES: usize = 16 * 1024;

/// Why the database is down.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// A connection, but no answer in time.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Timeout,
    /// The server closed it, or went away.
    #[error("connection closed")]
    Closed,
    /// Another user or password is needed.
    // Without the server's own words: where AUTH is not known, they repeat its arguments.
    #[error("{}: user or password refused", text::quote(.0))]
    Auth(String),
    /// The server's own error.
    #[error("{}", text::quote(.0))]
    Refused(RedisError),
    /// The peer is something else.
    #[error("not what Redis answers to a PING")]
    NotRedis,
    /// What works on the connection has ended by a defect of ours.
    #[error("a defect of this program, please report it: {0}")]
    Defect(#[from] Defect),
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        if error.is_timeout() {
            Self::Timeout
        } else if error.is_connection_dropped() {
            Self::Closed
        } else {
            Self::Refused(error)
        }
    }
}

impl Failure {
    /// What an operator can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Connect(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                "let this process use the socket: on SONiC it belongs to the group redis"
            }
            Self::Connect(_) | Self::Closed => {
                "check that redis-server runs and listens at this address (databases.url, else database_config.json)"
            }
            Self::Timeout => "redis-server hangs or is overloaded: check its process and its log",
            Self::NotRedis => {
                "check that this address (databases.url, else database_config.json) is that of a redis-server"
            }
            Self::Auth(_) => "check user and password in databases.url",
            Self::Defect(_) => "what is in the database may be why: see the log, and report it",
            Self::Refused(error) => match error.code() {
                Some("LOADING") => "redis-server is reading its data: wait",
                Some("BUSY") => "redis-server runs a script that does not end: see its log",
                Some("READONLY" | "MASTERDOWN") => "this is a replica: point databases.url at the master",
                Some("OOM") => "redis-server is at its maxmemory: raise it, or free memory",
                Some("MISCONF") => "redis-server cannot save to disk: see its log",
                Some("NOAUTH") => "give user and password in databases.url",
                Some("NOPERM") => {
                    "allow this user SELECT, PING, HGET, HMGET, HSET and DEL on our table, and SCAN, GET and HGETALL (docs/sonic.md)"
                }
                _ => "see redis-server's log",
            },
        }
    }
}

/// What became of one command of a pipeline.
pub type Reply = Result<Value, RedisError>;

/// An open connection whose server has answered a PING.
#[derive(Debug)]
pub struct Link {
    connection: MultiplexedConnection,
    // A set of one task, the connection's driver: it ends with the connection, and is aborted when dropped.
    driver: JoinSet<()>,
}

impl Link {
    /// Connects, and waits for the server's first answers. Nothing but AUTH, SELECT and PING is sent: while the
    /// server hangs such connections may pile up in its queue, and whatever they hold is done once it wakes up.
    pub async fn open(server: &RedisServer, db: i64) -> Result<Self, Failure> {
        let connecting = async {
            match server {
                RedisServer::Unix(path) => Self::over(unix(path).await?).await,
                RedisServer::Tcp { host, port, .. } => Self::over(tcp(host, *port).await?).await,
            }
        };
        let mut link = timeout(PATIENCE, connecting)
            .await
            .map_err(|_| Failure::Timeout)??;
        link.greet(server, db).await?;
        Ok(link)
    }

    async fn over<S>(stream: S) -> Result<Self, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // No database and no password here: `greet` sends both, and gets the server's own error codes back.
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
        let (connection, drive) = MultiplexedConnection::new_with_config(&info, stream, config).await?;
        let mut driver = JoinSet::new();
        driver.spawn(drive);
        Ok(Self { connection, driver })
    }

    async fn greet(&mut self, server: &RedisServer, db: i64) -> Result<(), Failure> {
        let mut hello = redis::pipe();
        let mut auth = false;
        if let RedisServer::Tcp {
            username,
            password: Some(password),
            ..
        } = server
        {
            auth = true;
            hello.cmd("AUTH").arg(username.as_deref()).arg(password.as_str());
        }
        hello.cmd("SELECT").arg(db).cmd("PING");
        let mut replies = self.ask(&mut hello).await?.into_iter();
        if auth && let Some(Err(error)) = replies.next() {
            return Err(match error.code() {
                Some(code) => Failure::Auth(code.to_owned()),
                None => error.into(),
            });
        }
        for reply in replies {
            check_greeting(reply?)?;
        }
        Ok(())
    }

    /// Whether the server is there and serves.
    pub async fn ping(&mut self) -> Result<(), Failure> {
        let answer: Value = redis::cmd("PING").query_async(&mut self.connection).await?;
        check_greeting(answer)
    }

    /// Sends the commands in one go and returns one reply for each, in their order.
    pub async fn ask(&mut self, commands: &mut Pipeline) -> Result<Vec<Reply>, Failure> {
        commands.ignore_errors();
        Ok(commands.query_async(&mut self.connection).await?)
    }

    /// Waits for the end of the connection.
    pub async fn closed(&mut self) -> Failure {
        self.driver.join_next().await;
        Failure::Closed
    }

    /// Ends the connection and waits until its socket is closed: nothing of ours can enter it any more.
    pub async fn close(mut self) {
        self.driver.shutdown().await;
    }
}

async fn unix(path: &Path) -> Result<UnixStream, Failure> {
    UnixStream::connect(path).await.map_err(Failure::Connect)
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, Failure> {
    TcpStream::connect((host, port))
        .await
        .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
        .map_err(Failure::Connect)
}

/// A connection that tells which keys have changed.
pub struct Subscription {
    messages: PubSubStream,
    /// What comes before a key in the channels' names.
    prefix: String,
    patterns: Vec<String>,
    // Its end would end the stream.
    _sink: PubSubSink,
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Subscription")
    }
}

impl Subscription {
    /// Subscribes to keyspace events of the keys of database `db` that are one of `patterns`, or begin with one that ends
    /// in `*`. An error that is not the connection's own means that this user may not.
    ///
    /// Redis compares the pattern of a subscription with those of the user's ACL letter by letter: `&__keyspace@*` permits
    /// `__keyspace@*` and nothing narrower. Where ours are refused that one is asked for, and what it tells is sifted here.
    pub async fn open(server: &RedisServer, db: i64, patterns: &[String]) -> Result<Self, Failure> {
        let connecting = async {
            let mut info = RedisConnectionInfo::default().set_skip_set_lib_name();
            let pubsub = match server {
                RedisServer::Unix(path) => PubSub::new(&info, unix(path).await?).await?,
                RedisServer::Tcp {
                    host,
                    port,
                    username,
                    password,
                } => {
                    if let Some(username) = username {
                        info = info.set_username(username);
                    }
                    if let Some(password) = password {
                        info = info.set_password(password);
                    }
                    PubSub::new(&info, tcp(host, *port).await?).await?
                }
            };
            let (mut sink, messages) = pubsub.split();
            let prefix = format!("__keyspace@{db}__:");
            let channels: Vec<String> = patterns.iter().map(|p| format!("{prefix}{p}")).collect();
            match sink.psubscribe(channels).await {
                Err(error) if error.code() == Some("NOPERM") => sink.psubscribe("__keyspace@*").await?,
                subscribed => subscribed?,
            }
            Ok(Self {
                messages,
                prefix,
                patterns: patterns.to_vec(),
                _sink: sink,
            })
        };
        timeout(PATIENCE, connecting)
            .await
            .map_err(|_| Failure::Timeout)?
    }

    /// Waits until keys have changed and adds to `keys` all that have been told of; false: the connection has ended.
    /// Cancel-safe: what it takes is in `keys` at once.
    pub async fn changed(&mut self, keys: &mut BTreeSet<String>) -> bool {
        poll_fn(|cx| {
            let mut some = false;
            // All at one go: who follows slower than Redis tells is thrown out.
            while let Poll::Ready(message) = Pin::new(&mut self.messages).poll_next(cx) {
                let Some(message) = message else {
                    return Poll::Ready(false);
                };
                let key = message.get_channel_name().strip_prefix(&self.prefix);
                if let Some(key) = key.filter(|key| self.patterns.iter().any(|pattern| is_one(pattern, key)))
                {
                    some |= keys.insert(key.to_owned());
                }
            }
            if some { Poll::Ready(true) } else { Poll::Pending }
        })
        .await
    }
}

/// Whether `pattern` is the key, or, ending in `*`, what it begins with.
fn is_one(pattern: &str, key: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => key.starts_with(beginning),
        None => key == pattern,
    }
}

fn check_greeting(answer: Value) -> Result<(), Failure> {
    match answer {
        Value::Okay | Value::SimpleString(_) => Ok(()),
        _ => Err(Failure::NotRedis),
    }
}

/// The size of a command on the wire.
pub fn wire_size(command: &Cmd) -> usize {
    command.get_packed_command().len()
}

#[cfg(test)]
mod tests {
    use super::is_one;

    #[test]
    fn a_pattern_is_a_key_or_what_keys_begin_with() {
        let check = |pattern: &str, key: &str, expected| assert_eq!(is_one(pattern, key), expected, "{key}");
        check("MUX_CABLE|*", "MUX_CABLE|Ethernet0", true);
        check("MUX_CABLE|*", "MUX_CABLE_INFO|Ethernet0", false);
        check("MUX_CABLE|*", "MUX_CABLE", false);
        check("CONFIG_DB_INITIALIZED", "CONFIG_DB_INITIALIZED", true);
        check("CONFIG_DB_INITIALIZED", "CONFIG_DB_INITIALIZED_2", false);
    }
}
