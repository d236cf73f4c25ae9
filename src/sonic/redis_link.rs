//! One connection to Redis, and everything that can go wrong with it: for those who write (publish) and those who read
//! (mirror).
//!
//! The redis crate packs commands and reads replies. The connection is ours: one question at a time, and nothing that the
//! other side does (`frame`: how much it may send) can make anything wait or grow without bound. An abandoned connection is
//! really gone before the next one is made.
//!
//! | file | job |
//! |---|---|
//! | frame | where a reply ends, and whether it is too much (pure) |
//! | wire | bytes to and from a socket |
//! | subscription | keyspace notifications |

mod frame;
mod subscription;
mod wire;

use std::io;
use std::time::Duration;

use futures_util::FutureExt as _;
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::time::{Instant, timeout_at};

use crate::config::{RedisAddress, RedisServer};
use crate::model::text;
use crate::runtime::defect::Defect;
pub use frame::Breach;
pub use subscription::{Changed, LONGEST_KEY, Subscription, Tells};
use wire::Wire;

/// How long Redis may take to accept a connection, and how long to answer: a hung one must be noticed.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// A timer that fires so much later than it should says that we got no CPU; tokio's own are up to 1 ms late.
const LATE: Duration = Duration::from_millis(50);

/// From attempt to attempt while the database is down: a local socket, and rows must be right 2 s after its return.
pub const RETRY: Duration = Duration::from_millis(500);

/// The longest pause after an attempt at a server that sent what no Redis would. Each may cost as much as the last, so that they
/// must be rare; but once the server is sane it must be used soon: within 5 s, as after any other failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// A connection that was of use for so long has not ended by what ended the one before.
const STEADY: Duration = Duration::from_secs(30);

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
    /// It sends what no Redis would, or more than we keep.
    #[error("{0}")]
    Breach(#[from] Breach),
    /// The peer is something else.
    #[error("not what Redis answers to a PING")]
    NotRedis,
    /// What works on the connection has ended by a defect of ours.
    #[error("a defect of this program, please report it: {0}")]
    Defect(#[from] Defect),
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        Self::Refused(error)
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
            Self::Breach(Breach::Keys(_) | Breach::Size(_)) => {
                "far more than a switch has: see who writes these tables, and delete what is not theirs"
            }
            Self::Breach(_) => {
                "this is no redis-server, or a broken one: check what listens at this address, and who fills our tables"
            }
            Self::Auth(_) => "check user and password in databases.url",
            Self::Defect(_) => "what is in the database may be why: see the log, and report it",
            Self::Refused(error) => match error.code() {
                Some("LOADING") => "redis-server is reading its data: wait",
                Some("BUSY") => "redis-server runs a script that does not end: see its log",
                Some("READONLY" | "MASTERDOWN") => "this is a replica: point databases.url at the master",
                Some("OOM") => "redis-server is at its maxmemory: raise it, or free memory",
                Some("MISCONF") => "redis-server cannot save to disk: see its log",
                Some("NOAUTH") => {
                    "give user and password in databases.url: redis://user:password@host, or redis+unix://user:password@/path/to/redis.sock"
                }
                Some("NOPERM") => {
                    "allow this user SELECT, PING, HGET, HMGET, HSET and DEL on our table, and SCAN, GET, HMGET and HGETALL (docs/sonic.md)"
                }
                _ => "see redis-server's log",
            },
        }
    }
}

/// What became of one command of a pipeline.
pub type Reply = Result<Value, RedisError>;

/// When to try again (pure).
#[derive(Debug, Default)]
pub struct Pause {
    breaches: u32,
}

impl Pause {
    /// After the attempt that `began` then and failed `now`: `RETRY` after its beginning. Where it was a breach, which may have
    /// taken long to find, after its end, and each time later.
    pub fn next(&mut self, failure: &Failure, began: Instant, now: Instant) -> Instant {
        if !matches!(failure, Failure::Breach(_)) {
            self.breaches = 0;
            return began + RETRY;
        }
        if now.duration_since(began) > STEADY {
            self.breaches = 0;
        }
        let pause = RETRY * 2u32.pow(self.breaches.min(3));
        self.breaches += 1;
        now + pause.min(LONGEST_PAUSE)
    }
}

/// An open connection whose server has answered a PING.
#[derive(Debug)]
pub struct Link {
    wire: Wire,
}

impl Link {
    /// Connects, and waits for the server's first answers. Nothing but AUTH, SELECT and PING is sent: while the
    /// server hangs such connections may pile up in its queue, and whatever they hold is done once it wakes up.
    pub async fn open(server: &RedisServer, db: i64) -> Result<Self, Failure> {
        let opening = async {
            let mut wire = Wire::open(server).await?;
            wire.log_in(server.login.as_ref()).await?;
            let mut hello = redis::pipe();
            hello.cmd("SELECT").arg(db).cmd("PING");
            for reply in wire.ask(&hello).await? {
                check_greeting(reply?)?;
            }
            Ok(Self { wire })
        };
        patiently(opening).await
    }

    /// The address that is used: the server's first, or its other one.
    pub fn at(&self) -> &RedisAddress {
        self.wire.at()
    }

    /// Whether the server is there and serves.
    pub async fn ping(&mut self) -> Result<(), Failure> {
        let mut ping = redis::pipe();
        ping.cmd("PING");
        match self.ask(&ping).await?.pop() {
            Some(answer) => check_greeting(answer?),
            None => Err(Failure::NotRedis),
        }
    }

    /// Sends the commands in one go and returns one reply for each, in their order. Not cancel-safe: see `closed`.
    pub async fn ask(&mut self, commands: &Pipeline) -> Result<Vec<Reply>, Failure> {
        patiently(self.wire.ask(commands)).await
    }

    /// Waits for the end of the connection, which is also its end where anything is said that was not asked for. Cancel-safe.
    pub async fn closed(&mut self) -> Failure {
        match self.wire.read().await {
            Ok(()) => Breach::Unasked.into(),
            Err(failure) => failure,
        }
    }

    /// Ends the connection, whose socket is closed then: nothing of ours can enter it any more.
    pub fn close(self) {}
}

/// Does what takes a Redis that is well some milliseconds. When `PATIENCE` is over, what is in by then counts; and where our own
/// timer was late, it was us who had no time for it, and it has the same patience once more.
async fn patiently<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::pin!(work);
    for _ in 0..2 {
        let deadline = Instant::now() + PATIENCE;
        if let Ok(done) = timeout_at(deadline, work.as_mut()).await {
            return done;
        }
        let late = deadline.elapsed();
        // The runtime looks what has come in.
        tokio::task::yield_now().await;
        if let Some(done) = work.as_mut().now_or_never() {
            return done;
        }
        if late < LATE {
            break;
        }
    }
    Err(Failure::Timeout)
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
mod tests;
