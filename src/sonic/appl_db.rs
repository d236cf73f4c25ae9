//! The publisher of notices: what a SoC announces, for others on the switch, as `MUX_SERVICE_NOTIFICATION:<port>` in APPL_DB.
//!
//! Receives the latest notice of each port (a mailbox, so the fleet never waits and nothing piles up), and writes each once, as
//! a plain HSET of the design document's four fields. Nothing else is written there and nothing is deleted. A notice is
//! news, not a state: what Redis has confirmed is not written again, also not to a Redis that has come back empty. What it has
//! not confirmed waits in the mailbox, where a newer one of the same port takes its place.
//!
//! ```text
//!            ┌──────── 500 ms after the last attempt began ◀────────┐
//!            ▼                                                      │ any failure
//!   connect, AUTH, SELECT, PING ──▶ what waits ──▶ notices, PING 2 s┘
//! ```
//!
//! The mailbox's closing is the stop: it ends a pause, and what is left is written within 2 s, in one more attempt.
//!
//! Cancel-safety: of the branches of `serve_over`'s select, `ready` takes nothing, a tick is only a tick, and `closed` is asked
//! again. Nothing else is ever dropped half-way.

use redis::Cmd;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until};
use tracing::{debug, error, info, warn};

use crate::config::Database;
use crate::fleet::mailbox::Receiver;
use crate::model::component::APPL_DB;
use crate::model::schema;
use crate::model::{Notice, NoticeType, Plane, Port};
use crate::runtime::defect::{Restarts, caught};
use crate::sonic::redis_link::{BATCH_BYTES, Failure, Link, PATIENCE, PING_EVERY, Pause, wire_size};

const TABLE: &str = schema::MUX_SERVICE_NOTIFICATION;

/// The publisher.
#[derive(Debug)]
pub struct Notifications {
    database: Database,
    inbox: Receiver<Notice>,
    /// Taken from it, and not written yet.
    waiting: Vec<(Port, Notice)>,
    /// What the log was told last.
    told_up: Option<bool>,
    warned_type: bool,
}

/// The four fields of a notice.
fn fields(notice: &Notice) -> [(&'static str, String); 4] {
    let notify_type = match notice.plane {
        Plane::Control => "control",
        Plane::Data => "data",
        // The document has no words for these two; its interface has the first.
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
    /// A publisher of what comes into `inbox`.
    pub fn new(database: Database, inbox: Receiver<Notice>) -> Self {
        Self {
            database,
            inbox,
            waiting: Vec::new(),
            told_up: None,
            warned_type: false,
        }
    }

    /// Publishes until the mailbox is closed and everything in it is written, or could not be.
    pub async fn run(mut self) {
        let closing = self.inbox.closing();
        let grace = async {
            closing.cancelled().await;
            sleep(PATIENCE).await;
        };
        tokio::select! {
            biased;
            () = self.publish() => {}
            () = grace => {}
        }
        self.give_up();
    }

    async fn publish(&mut self) {
        let (mut pause, mut restarts) = (Pause::default(), Restarts::default());
        loop {
            let began = Instant::now();
            let again;
            let last = self.inbox.is_closed();
            match caught(Box::pin(self.serve())).await {
                Ok(Ok(())) => return,
                Ok(Err(failure)) => {
                    again = pause.next(&failure, began, Instant::now());
                    self.down(&failure);
                }
                // One more way to lose the database.
                Err(defect) => {
                    again = Instant::now() + restarts.wait(began.elapsed());
                    error!(target: APPL_DB, %defect, "no notice is written because of a defect of this program: please report it");
                    self.down(&defect.into());
                }
            }
            if last {
                return;
            }
            let closing = self.inbox.closing();
            tokio::select! {
                () = sleep_until(again) => {}
                () = closing.cancelled() => {}
            }
        }
    }

    /// Works on one connection. `Ok`: the mailbox is closed and everything is written.
    async fn serve(&mut self) -> Result<(), Failure> {
        let mut link = Link::open(&self.database.server, self.database.id).await?;
        let ended = self.serve_over(&mut link).await;
        link.close();
        ended
    }

    async fn serve_over(&mut self, link: &mut Link) -> Result<(), Failure> {
        self.write_all(link).await?;
        self.up();
        let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                more = self.inbox.ready() => match more {
                    true => self.write_all(link).await?,
                    false => return Ok(()),
                },
                _ = ping.tick() => link.ping().await?,
                failure = link.closed() => return Err(failure),
            }
        }
    }

    /// Writes what is there now, batch by batch.
    async fn write_all(&mut self, link: &mut Link) -> Result<(), Failure> {
        self.waiting.extend(self.inbox.take());
        while !self.waiting.is_empty() {
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
            let answered = link.ask(&commands).await;
            let replies = match answered {
                Ok(replies) => replies,
                Err(failure) => {
                    self.inbox.put_back(self.waiting.drain(..));
                    return Err(failure);
                }
            };
            let batch = self.waiting.drain(..count).zip(replies);
            let refused: Vec<_> = batch
                .filter_map(|(sent, reply)| reply.err().map(|error| (sent, error)))
                .collect();
            let mut failure = None;
            for ((port, notice), error) in refused {
                if error.code() == Some("WRONGTYPE") {
                    self.warn_type(&port);
                    continue;
                }
                self.inbox.put_back([(port, notice)]);
                failure = Some(Failure::Refused(error));
            }
            if let Some(failure) = failure {
                self.inbox.put_back(self.waiting.drain(..));
                return Err(failure);
            }
        }
        Ok(())
    }

    fn up(&mut self) {
        if self.told_up != Some(true) {
            let server = &self.database.server;
            info!(target: APPL_DB, %server, db = self.database.id, "appl_db is up: notices are written");
            self.told_up = Some(true);
        }
    }

    fn down(&mut self, failure: &Failure) {
        let server = &self.database.server;
        if self.told_up != Some(false) {
            let hint = failure.hint();
            info!(target: APPL_DB, %server, db = self.database.id, reason = %failure, hint, "appl_db is down: notices wait, and it is tried again");
            self.told_up = Some(false);
        } else {
            debug!(target: APPL_DB, %server, reason = %failure, "appl_db is still down");
        }
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
            warn!(target: APPL_DB, %port, hint, "the notice's key is not a hash: notices are lost; said once");
        }
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
