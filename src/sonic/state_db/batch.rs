//! What is sent to Redis at once, and the result of its answers.

use redis::{Cmd, Pipeline, RedisError};

use crate::model::Port;

/// Commands to send, and their ports.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) commands: Pipeline,
    pub(super) ports: Vec<Port>,
    pub(super) kind: BatchKind,
}

#[derive(Debug)]
pub(super) enum BatchKind {
    /// HMGET of the counters.
    Bases,
    /// HGET of `time_post`, then HSET of the row.
    Put { time_post: String },
    /// HMGET of a whole row, to see whether another process has written it.
    Check,
    /// DEL.
    Delete,
}

impl Batch {
    pub(super) fn new(kind: BatchKind) -> Self {
        Self {
            commands: redis::pipe(),
            ports: Vec::new(),
            kind,
        }
    }

    pub(super) fn add<const N: usize>(&mut self, port: Port, commands: [Cmd; N]) {
        for command in commands {
            self.commands.add_command(command);
        }
        self.ports.push(port);
    }

    /// How many rows it writes or deletes.
    pub(super) fn writes(&self) -> usize {
        match self.kind {
            BatchKind::Bases | BatchKind::Check => 0,
            BatchKind::Put { .. } | BatchKind::Delete => self.ports.len(),
        }
    }
}

/// The result of the answers to a batch.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Rows written or deleted.
    pub(super) ok: u64,
    /// Rows refused.
    pub(super) refused: u64,
    /// Rows that another process had written.
    pub(super) foreign: Vec<Port>,
    /// A row that another process had deleted.
    pub(super) gone: Option<Port>,
    /// A key of ours that is not a hash. Only this row cannot be written.
    pub(super) wrong_type: Option<Port>,
    /// The database refuses writes, whatever the row is.
    pub(super) failure: Option<RedisError>,
}
