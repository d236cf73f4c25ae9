//! What is kept of rounds, dials and changes for OpenTelemetry: plain data, from which traces and events are made elsewhere.

use std::net::SocketAddr;
use std::time::SystemTime;

use super::{Cause, ChannelState, Notice, Problem, Query, Report, TargetId, TraceId, Transition};

/// The trace of one round or one dial.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptTrace {
    /// Its id.
    pub trace: TraceId,
    /// Which SoC.
    pub id: TargetId,
    /// The SoC's gRPC endpoint.
    pub address: SocketAddr,
    /// What changed.
    pub transitions: Vec<Transition>,
    /// What it is the trace of.
    pub of: KeptWork,
}

/// What a trace is of.
#[derive(Debug, Clone, PartialEq)]
pub enum KeptWork {
    /// A round of queries.
    Round {
        /// The channel's state when it began.
        channel: ChannelState,
        /// What the queries returned.
        report: Box<Report>,
    },
    /// A dial.
    Dial {
        /// When it began.
        began: SystemTime,
        /// When it failed, or the channel was READY.
        ended: SystemTime,
        /// Why it failed; `None`: it did not.
        cause: Option<Cause>,
        /// The channel's state after it.
        channel: ChannelState,
    },
}

impl KeptTrace {
    /// How many spans it has.
    pub fn spans(&self) -> usize {
        match &self.of {
            KeptWork::Round { report, .. } => {
                let is_sent = |query: &&Query| report.query(**query).took.is_some();
                1 + Query::ALL.iter().filter(is_sent).count()
            }
            KeptWork::Dial { .. } => 1,
        }
    }
}

/// Something that happened, for the log of events.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptEvent {
    /// When.
    pub at: SystemTime,
    /// Which SoC or port; `None`: the whole exporter.
    pub id: Option<TargetId>,
    /// What.
    pub what: Happening,
    /// The trace in which it happened, if one was kept.
    pub trace: Option<TraceId>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// A SoC changed.
    Change(Transition),
    /// A SoC announced maintenance, or its end.
    Notice(Notice),
    /// Another process has written to a row of ours.
    ForeignWrite,
    /// A row of the inventory cannot be used.
    Problem(Problem),
}
