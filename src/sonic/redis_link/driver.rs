//! Keeps a task connected to its database: the one loop behind the mirrors and both publishers.
//!
//! ```text
//!                ┌──────────────── `Work::pause`, until the time that `Retry` gives ◀───────────────┐
//!                ▼                                                                                  │
//!   connect, AUTH, SELECT, PING ──▶ `Work::serve`: first work ──▶ `Connected::is_up` ──▶ work, PING 2 s ─┘ any failure: `Work::down`
//! ```
//!
//! The driver decides when to connect, when to try again, when a PING is due, and whether up or down must be logged. The work
//! on a connection, and the text of the log, belong to the task. A defect (a panic) of the task is treated as a loss of the
//! database.

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::{Link, PING_EVERY, RedisFailure, Retry};
use crate::config::RedisServer;
use crate::runtime::defect::{Restarts, caught};

/// A task at one database.
pub trait Work: Send {
    /// Works on a new connection until it is lost (`Err`), or until nothing is left to do (`Ok`). Calls `Connected::is_up` when
    /// the database counts as up. After that, it waits for `Connected::ping_due` in addition to everything else.
    fn serve(&mut self, redis: &mut Connected<'_>) -> impl Future<Output = Result<(), RedisFailure>> + Send;

    /// The database is lost or could not be reached. `news`: it was not down before, so the log must report it.
    fn down(&mut self, failure: &RedisFailure, news: bool);

    /// Waits for the next attempt, which is due at `until`. False: there will be none.
    fn pause(&mut self, until: Instant) -> impl Future<Output = bool> + Send;
}

/// Runs `work` at this database, connection after connection, until nothing is left to do. To stop it earlier, drop this
/// future: that closes the connection.
pub async fn keep_connected(server: &RedisServer, db: i64, work: &mut impl Work) {
    let (mut retry, mut restarts, mut was_up) = (Retry::default(), Restarts::default(), None);
    loop {
        let began = Instant::now();
        let failure = match caught(Box::pin(attempt(server, db, work, &mut was_up))).await {
            Ok(Ok(())) => return,
            Ok(Err(failure)) => failure,
            Err(defect) => defect.into(),
        };
        let now = Instant::now();
        let again = match failure {
            RedisFailure::Defect(_) => now + restarts.wait(now - began),
            _ => retry.next(&failure, began.into_std(), now.into_std()).into(),
        };
        work.down(&failure, was_up.replace(false) != Some(false));
        if !work.pause(again).await {
            return;
        }
    }
}

/// One connection. It is closed on return: nothing more is sent on it.
async fn attempt(
    server: &RedisServer,
    db: i64,
    work: &mut impl Work,
    was_up: &mut Option<bool>,
) -> Result<(), RedisFailure> {
    let link = Link::open(server, db).await?;
    let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    work.serve(&mut Connected { link, ping, was_up }).await
}

/// A connection, and whether the database was up when it was last logged.
#[derive(Debug)]
pub struct Connected<'a> {
    /// The connection itself.
    pub link: Link,
    ping: Interval,
    was_up: &'a mut Option<bool>,
}

impl Connected<'_> {
    /// From now on the database counts as up. Returns whether that is new, so that the log must report it.
    pub fn is_up(&mut self) -> bool {
        // The first work has just shown that the server answers.
        self.ping.reset();
        self.was_up.replace(true) != Some(true)
    }

    /// Waits until the connection is lost (`Err`) or a PING is due (`Ok`). The caller then sends the PING: if a select dropped
    /// a PING before its answer, the connection could not be used any more. Cancel-safe.
    pub async fn ping_due(&mut self) -> Result<(), RedisFailure> {
        tokio::select! {
            _ = self.ping.tick() => Ok(()),
            failure = self.link.closed() => Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// What a task does on its next connection.
    enum Turn {
        LosesIt,
        PanicsBeforeItIsUp,
        IsDone,
    }

    /// A task that follows a script and records what happens.
    struct Scripted {
        turns: std::vec::IntoIter<Turn>,
        events: Vec<String>,
        attempts: u32,
    }

    impl Work for Scripted {
        async fn serve(&mut self, redis: &mut Connected<'_>) -> Result<(), RedisFailure> {
            let turn = self.turns.next().expect("no more connections than turns");
            assert!(!matches!(turn, Turn::PanicsBeforeItIsUp), "a test's panic");
            let news = redis.is_up();
            self.events.push(format!("up, news: {news}"));
            match turn {
                // The server has closed it.
                Turn::LosesIt => Err(redis.ping_due().await.expect_err("it is closed")),
                Turn::PanicsBeforeItIsUp | Turn::IsDone => Ok(()),
            }
        }

        fn down(&mut self, failure: &RedisFailure, news: bool) {
            let defect = matches!(failure, RedisFailure::Defect(_));
            self.events.push(format!("down, news: {news}, defect: {defect}"));
        }

        async fn pause(&mut self, until: Instant) -> bool {
            assert!(until > Instant::now() - super::super::RETRY);
            self.attempts -= 1;
            self.attempts > 0
        }
    }

    /// Runs the script against a server that closes the first `refused` connections at once, and every other one after its
    /// greeting.
    async fn run(refused: u32, turns: Vec<Turn>, attempts: u32) -> Vec<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = async move {
            for connection in 0.. {
                let (mut socket, _) = listener.accept().await.expect("accepted");
                if connection < refused {
                    continue;
                }
                let _ = socket.read(&mut [0; 1024]).await.expect("SELECT and PING");
                socket.write_all(b"+OK\r\n+PONG\r\n").await.expect("written");
            }
        };
        let mut work = Scripted {
            turns: turns.into_iter(),
            events: Vec::new(),
            attempts,
        };
        let server = tokio::spawn(server);
        keep_connected(&RedisServer::tcp("127.0.0.1", port), 0, &mut work).await;
        server.abort();
        work.events
    }

    #[tokio::test]
    async fn up_and_down_are_news_once_each_and_a_defect_is_one_more_way_to_be_down() {
        use Turn::{IsDone, LosesIt, PanicsBeforeItIsUp};
        let turns = vec![LosesIt, PanicsBeforeItIsUp, LosesIt, IsDone];
        let expected = [
            "down, news: true, defect: false",
            "down, news: false, defect: false",
            "up, news: true",
            "down, news: true, defect: false",
            "down, news: false, defect: true",
            "up, news: true",
            "down, news: true, defect: false",
            "up, news: true",
        ];
        assert_eq!(run(2, turns, 100).await, expected);
    }

    #[tokio::test]
    async fn it_ends_when_the_task_wants_no_further_attempt() {
        let down = "down, news: true, defect: false";
        assert_eq!(run(1, Vec::new(), 1).await, [down]);
    }
}
