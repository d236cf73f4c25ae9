//! One connection to Redis, and everything that can go wrong with it: for the publishers, which write, and the mirrors, which read.
//!
//! The redis crate packs commands and parses replies. The connection is our own: one question at a time, and whatever the other
//! side does (`frame` limits how much it may send), nothing waits or grows without a limit. An abandoned connection is closed
//! before the next one is made.
//!
//! | file | job |
//! |---|---|
//! | driver | connects, tries again, knows when a PING is due: for every task that works at a database |
//! | retry | when to try again (pure) |
//! | redis_failure | what can go wrong, and what an operator can do about it |
//! | resp | commands and replies through a socket |
//! | frame | where a reply ends, and whether it is too much (pure) |
//! | subscription | keyspace notifications |
//!
//! Imports `model`, `runtime` and `config`.

pub mod driver;
mod frame;
mod redis_failure;
mod resp;
mod retry;
mod subscription;

use std::time::Duration;

use futures_util::FutureExt as _;
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::time::{Instant, timeout_at};

use crate::config::{RedisAddress, RedisServer};
pub use frame::Breach;
pub use redis_failure::RedisFailure;
use resp::Wire;
pub use retry::{RETRY, Retry};
pub use subscription::{Changed, LONGEST_KEY, LastNotified, Servers, Subscription};

/// How long Redis may take to accept a connection, and to answer. A Redis that hangs must be noticed.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// A timer that fires this late shows that this process got no CPU. tokio's own timers are up to 1 ms late.
const LATE: Duration = Duration::from_millis(50);

/// The time between two PINGs. A database that hangs is noticed after this time and `PATIENCE` for the answer.
pub const PING_EVERY: Duration = Duration::from_secs(2);

/// How much Redis reads from a client at once (its PROTO_IOBUF_LEN), in bytes. No batch of writes is larger, and the next one
/// is sent only after the answers. So a Redis that continues after a hang has done everything from an abandoned connection
/// before it answers the PING of the next: no late write can undo a newer one.
pub const BATCH_BYTES: usize = 16 * 1024;

/// The result of one command of a pipeline.
pub type Reply = Result<Value, RedisError>;

/// An open connection whose server has answered a PING.
#[derive(Debug)]
pub struct Link {
    wire: Wire,
}

impl Link {
    /// Connects, and waits for the server's first answers. Only AUTH, SELECT and PING are sent: while the server hangs, such
    /// connections may pile up in its queue, and everything in them is done when it continues.
    pub async fn open(server: &RedisServer, db: i64) -> Result<Self, RedisFailure> {
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

    /// The address in use: the server's first one, or its other one.
    pub fn at(&self) -> &RedisAddress {
        self.wire.at()
    }

    /// Whether the server exists and answers.
    pub async fn ping(&mut self) -> Result<(), RedisFailure> {
        let mut ping = redis::pipe();
        ping.cmd("PING");
        match self.ask(&ping).await?.pop() {
            Some(answer) => check_greeting(answer?),
            None => Err(RedisFailure::NotRedis),
        }
    }

    /// Sends the commands at once and returns one reply for each, in the same order. Not cancel-safe: after it was dropped, the
    /// connection must be closed.
    pub async fn ask(&mut self, commands: &Pipeline) -> Result<Vec<Reply>, RedisFailure> {
        patiently(self.wire.ask(commands)).await
    }

    /// Waits for the end of the connection. Bytes that no command asked for end it too. Cancel-safe.
    pub async fn closed(&mut self) -> RedisFailure {
        match self.wire.read().await {
            Ok(()) => Breach::Unasked.into(),
            Err(failure) => failure,
        }
    }

    /// Ends the connection and closes its socket: nothing more is sent on it.
    pub fn close(self) {}
}

/// Does something that takes a healthy Redis some milliseconds. When `PATIENCE` is over, what has arrived until then counts. If
/// our own timer was late, this process had no CPU, and Redis gets the same time again.
async fn patiently<T>(work: impl Future<Output = Result<T, RedisFailure>>) -> Result<T, RedisFailure> {
    tokio::pin!(work);
    for _ in 0..2 {
        let deadline = Instant::now() + PATIENCE;
        if let Ok(done) = timeout_at(deadline, work.as_mut()).await {
            return done;
        }
        let late = deadline.elapsed();
        // Lets the runtime read what has arrived.
        tokio::task::yield_now().await;
        if let Some(done) = work.as_mut().now_or_never() {
            return done;
        }
        if late < LATE {
            break;
        }
    }
    Err(RedisFailure::Timeout)
}

fn check_greeting(answer: Value) -> Result<(), RedisFailure> {
    match answer {
        Value::Okay | Value::SimpleString(_) => Ok(()),
        _ => Err(RedisFailure::NotRedis),
    }
}

/// The size of a command on the wire.
pub fn wire_size(command: &Cmd) -> usize {
    command.get_packed_command().len()
}

#[cfg(test)]
mod tests;
