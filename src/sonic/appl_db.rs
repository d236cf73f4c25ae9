//! The publisher of notices: what a SoC announces, for other programs on the switch, as `MUX_SERVICE_NOTIFICATION:<port>` in
//! APPL_DB.
//!
//! It receives the latest notice of each port (from a mailbox, so the fleet never waits and nothing piles up), and writes each
//! once, as a plain HSET of the four fields of the design document. It writes nothing else there and deletes nothing. Each
//! notice is written once and not repeated after Redis restarts empty. A notice that Redis has not confirmed waits in the
//! mailbox, where a newer one of the same port replaces it.
//!
//! It stays connected by `redis_link::driver`. When the mailbox closes, the publisher stops: that ends a pause, and what is
//! left is written within 2 s, in one more attempt.
//!
//! Cancel-safety: the select in `serve` only has waits that take nothing, and Redis is asked after one of them has been chosen.
//! Only `run` may drop a question that is not answered, when the time for a stop is over; the connection is then dropped too.

use redis::{Cmd, Pipeline};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, error, info, warn};

use crate::config::Database;
use crate::fleet::mailbox::Receiver;
use crate::model::component::APPL_DB;
use crate::model::schema;
use crate::model::{Notice, NoticeType, Plane, Port};
use crate::sonic::redis_link::driver::{Connected, Work, keep_connected};
use crate::sonic::redis_link::{BATCH_BYTES, PATIENCE, RedisFailure, Reply, wire_size};

const TABLE: &str = schema::MUX_SERVICE_NOTIFICATION;

/// The publisher.
#[derive(Debug)]
pub struct Notifications {
    database: Database,
    inbox: Receiver<Notice>,
    /// Taken from `inbox` and not written yet.
    waiting: Vec<(Port, Notice)>,
    /// The mailbox was closed when this attempt began, so this attempt is the last.
    is_last: bool,
    warned_type: bool,
}

/// The four fields of a notice.
fn fields(notice: &Notice) -> [(&'static str, String); 4] {
    let notify_type = match notice.plane {
        Plane::Control => "control",
        Plane::Data => "data",
        // The document has no value for these two; its interface has the first.
        Plane::Both => "both",
        Plane::Unknown => "unknown",
    };
    let msg_type = match notice.kind {
        NoticeType::Begin => "begin",
        NoticeType::End => "end",
        NoticeType::Unknown => "unknown",
    };
    [
        ("notify_type", notify_type.to_owned()),
        ("msg_type", msg_type.to_owned()),
        ("guid", notice.guid.to_string()),
        ("service_time", notice.period.to_string()),
    ]
}

fn command(database: &Database, port: &Port, notice: &Notice) -> Cmd {
    let mut write = redis::cmd("HSET");
    write.arg(format!("{TABLE}{}{port}", database.separator));
    for (name, value) in fields(notice) {
        write.arg(name).arg(value);
    }
    write
}

impl Notifications {
    /// A publisher for the notices in `inbox`.
    pub fn new(database: Database, inbox: Receiver<Notice>) -> Self {
        Self {
            database,
            inbox,
            waiting: Vec::new(),
            is_last: false,
            warned_type: false,
        }
    }

    /// Publishes until the mailbox is closed and everything in it is written or has failed.
    pub async fn run(mut self) {
        let closing = self.inbox.closing();
        let grace = async {
            closing.cancelled().await;
            sleep(PATIENCE).await;
        };
        self.is_last = self.inbox.is_closed();
        let database = self.database.clone();
        tokio::select! {
            biased;
            () = keep_connected(&database.server, database.id, &mut self) => {}
            () = grace => {}
        }
        self.give_up();
    }

    /// Writes what is there now, batch by batch.
    async fn write_all(&mut self, redis: &mut Connected<'_>) -> Result<(), RedisFailure> {
        self.waiting.extend(self.inbox.take());
        while !self.waiting.is_empty() {
            let (commands, count) = self.batch();
            let written = match redis.link.ask(&commands).await {
                Ok(replies) => self.settle(count, replies),
                Err(failure) => Err(failure),
            };
            if let Err(failure) = written {
                self.inbox.put_back(self.waiting.drain(..));
                return Err(failure);
            }
        }
        Ok(())
    }

    /// What is sent next, and how many notices that is.
    fn batch(&self) -> (Pipeline, usize) {
        let mut commands = redis::pipe();
        let (mut size, mut count) = (0, 0);
        for (port, notice) in &self.waiting {
            let write = command(&self.database, port, notice);
            size += wire_size(&write);
            if size > BATCH_BYTES && count > 0 {
                break;
            }
            commands.add_command(write);
            count += 1;
        }
        (commands, count)
    }

    /// Reads the answers to the first `count` notices. A notice whose key is not a hash is lost. Others that were refused wait
    /// again, and the database counts as down.
    fn settle(&mut self, count: usize, replies: Vec<Reply>) -> Result<(), RedisFailure> {
        let batch: Vec<_> = self.waiting.drain(..count).zip(replies).collect();
        let mut settled = Ok(());
        for ((port, notice), reply) in batch {
            match reply {
                Ok(_) => {}
                Err(error) if error.code() == Some("WRONGTYPE") => self.warn_type(&port),
                Err(error) => {
                    self.inbox.put_back([(port, notice)]);
                    settled = Err(RedisFailure::Refused(error));
                }
            }
        }
        settled
    }

    fn give_up(&mut self) {
        self.inbox.put_back(self.waiting.drain(..));
        let (server, notices) = (&self.database.server, self.inbox.take().len());
        if notices > 0 {
            warn!(target: APPL_DB, %server, notices, "stopped without appl_db: these notices are lost");
        }
    }

    fn warn_type(&mut self, port: &Port) {
        if !self.warned_type {
            self.warned_type = true;
            let hint = "delete the key: the next notice is written";
            warn!(target: APPL_DB, %port, hint, "the notice's key is not a hash: notices are lost; logged once");
        }
    }
}

impl Work for Notifications {
    async fn serve(&mut self, redis: &mut Connected<'_>) -> Result<(), RedisFailure> {
        self.write_all(redis).await?;
        if redis.is_up() {
            let server = &self.database.server;
            info!(target: APPL_DB, %server, db = self.database.id, "appl_db is up: notices are written");
        }
        loop {
            tokio::select! {
                more = self.inbox.ready() => match more {
                    true => self.write_all(redis).await?,
                    false => return Ok(()),
                },
                due = redis.ping_due() => {
                    due?;
                    redis.link.ping().await?;
                }
            }
        }
    }

    fn down(&mut self, failure: &RedisFailure, news: bool) {
        if let RedisFailure::Defect(defect) = failure {
            error!(target: APPL_DB, %defect, "no notice is written because of a defect of this program: please report it");
        }
        let server = &self.database.server;
        if news {
            let hint = failure.hint();
            info!(target: APPL_DB, %server, db = self.database.id, reason = %failure, hint, "appl_db is down: notices wait, and it is tried again");
        } else {
            debug!(target: APPL_DB, %server, reason = %failure, "appl_db is still down");
        }
    }

    /// A stop ends the pause: what waits gets one more attempt.
    async fn pause(&mut self, until: Instant) -> bool {
        if self.is_last {
            return false;
        }
        let closing = self.inbox.closing();
        tokio::select! {
            () = sleep_until(until) => {}
            () = closing.cancelled() => {}
        }
        self.is_last = self.inbox.is_closed();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RedisServer;

    fn notice(kind: NoticeType, plane: Plane, period: u32) -> Notice {
        let guid = "a b\r\nFLUSHALL".into();
        Notice {
            kind,
            plane,
            guid,
            period,
        }
    }

    #[test]
    fn a_notice_has_the_documents_four_fields() {
        let check = |kind, plane, expected: [&str; 4]| {
            let fields = fields(&notice(kind, plane, 60));
            assert_eq!(
                fields.each_ref().map(|(name, _)| *name),
                ["notify_type", "msg_type", "guid", "service_time"]
            );
            assert_eq!(fields.each_ref().map(|(_, value)| &**value), expected);
        };
        let guid = "a b\r\nFLUSHALL";
        check(
            NoticeType::Begin,
            Plane::Control,
            ["control", "begin", guid, "60"],
        );
        check(NoticeType::End, Plane::Data, ["data", "end", guid, "60"]);
        check(NoticeType::Begin, Plane::Both, ["both", "begin", guid, "60"]);
        check(
            NoticeType::Begin,
            Plane::Unknown,
            ["unknown", "begin", guid, "60"],
        );
    }

    #[test]
    fn whatever_a_guid_says_it_is_one_argument_of_one_command() {
        let database = Database {
            server: RedisServer::unix("/nowhere"),
            id: 0,
            separator: ":".to_owned(),
        };
        let port = Port::new("Ethernet0").expect("a port");
        let command = command(&database, &port, &notice(NoticeType::Begin, Plane::Both, 1));
        assert_eq!(command.args_iter().count(), 2 + 8);
        let packed = String::from_utf8(command.get_packed_command()).expect("text");
        assert!(
            packed.starts_with("*10\r\n$4\r\nHSET\r\n$34\r\nMUX_SERVICE_NOTIFICATION:Ethernet0\r\n"),
            "{packed}"
        );
        assert!(
            packed.contains("$13\r\na b\r\nFLUSHALL\r\n"),
            "its length goes before it: {packed}"
        );
    }
}
