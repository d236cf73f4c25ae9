//! The port that a request names, for API and pages: its id and what has happened to it; in a view, its row.

use std::sync::Arc;

use super::HistorySource;
use crate::model::{History, SocView, TargetId, View};

/// Why there is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPort {
    /// No such port is probed.
    Unknown,
    /// The exporter is stopping.
    Stopping,
}

/// The id that a path's part means.
pub(super) fn id_of(name: &str) -> Result<TargetId, NoPort> {
    TargetId::parse(name).ok_or(NoPort::Unknown)
}

/// A port and its history.
pub(super) async fn look_up(source: &HistorySource, name: &str) -> Result<(TargetId, Arc<History>), NoPort> {
    let id = id_of(name)?;
    let history = source(id.clone()).await.ok_or(NoPort::Stopping)?;
    Ok((id, history.ok_or(NoPort::Unknown)?))
}

/// The row of a port. A port that has left since it was looked up is unknown.
pub(super) fn row<'a>(view: &'a View, id: &TargetId) -> Result<&'a SocView, NoPort> {
    let mut socs = view.socs.iter();
    socs.find(|soc| soc.status.target.id == *id)
        .ok_or(NoPort::Unknown)
}
