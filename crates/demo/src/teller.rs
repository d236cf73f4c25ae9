//! What the demo prints while it runs: one line for the first READY of all channels, then one per transition.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};

use dualtor_exporter::cli::program::print;
use dualtor_exporter::fleet::FeedItem;
use dualtor_exporter::model::{ChannelState, Maintenance, TargetId, Transition, TransitionKind};

/// How long the first line waits for all channels.
const OPENING: Duration = Duration::from_secs(3);

/// Prints everything until the exporter has ended.
pub(crate) async fn tell(mut feed: Receiver<FeedItem>, socs: usize) {
    let mut opening = Some(Opening {
        socs,
        ready: HashSet::new(),
    });
    let patience = sleep_until(Instant::now() + OPENING);
    tokio::pin!(patience);
    loop {
        tokio::select! {
            item = feed.recv() => match item {
                Ok(item) if opening.as_mut().is_some_and(|opening| opening.takes(&item)) => {}
                Ok(item) if is_news(&item.1.kind) => print(&line(&item)),
                Ok(_) => {}
                Err(RecvError::Lagged(lines)) => print(&format!("({lines} lines left out)")),
                Err(RecvError::Closed) => return,
            },
            () = &mut patience, if opening.is_some() => {
                if let Some(opening) = opening.take() {
                    print(&opening.line());
                }
            }
        }
        if let Some(complete) = opening.take_if(|opening| opening.ready.len() == socs) {
            print(&complete.line());
        }
    }
}

/// Prints a line such as `02:31:07 Ethernet4    added to CONFIG_DB`.
pub(crate) fn print_about(port: &str, what: &str) {
    print(&about(SystemTime::now(), port, what));
}

/// The first READYs of the channels.
struct Opening {
    socs: usize,
    ready: HashSet<TargetId>,
}

impl Opening {
    /// Whether it is a port's first READY, which gets no line of its own.
    fn takes(&mut self, (id, transition): &FeedItem) -> bool {
        let ready = matches!(
            transition.kind,
            TransitionKind::Channel {
                to: ChannelState::Ready,
                ..
            }
        );
        ready && self.ready.insert(id.clone())
    }

    fn line(&self) -> String {
        let (ready, socs) = (self.ready.len(), self.socs);
        format!("{} {ready} of {socs} channels READY", clock(SystemTime::now()))
    }
}

/// A line for one transition, such as `02:31:07 Ethernet4    channel READY -> TRANSIENT_FAILURE (closed)`.
fn line((id, transition): &FeedItem) -> String {
    let Transition { at, kind, .. } = transition;
    let what = match kind {
        TransitionKind::Channel { from, to, cause } => {
            let cause = match (from, to, cause) {
                (_, _, Some(cause)) => format!(" ({cause})"),
                (ChannelState::Ready, ChannelState::Connecting, None) => " (graceful GOAWAY)".to_owned(),
                _ => String::new(),
            };
            format!("channel {} -> {}{cause}", from.upper(), to.upper())
        }
        TransitionKind::Direction { end, from, to } => format!("{end} mux direction {from} -> {to}"),
        TransitionKind::Maintenance { from, to } => format!("soc service {from} -> {to}"),
        TransitionKind::Health { from, to } => format!("health {from} -> {to}"),
    };
    about(*at, id.port.as_str(), &what)
}

fn about(at: SystemTime, port: &str, what: &str) -> String {
    format!("{} {port:<12} {what}", clock(at))
}

/// Whether it gets a line: not the first dial of each SoC, and not the stop.
fn is_news(kind: &TransitionKind) -> bool {
    use TransitionKind::{Channel, Direction, Health, Maintenance as Announced};
    match kind {
        Channel { from, to, .. } => *from != ChannelState::Idle && *to != ChannelState::Shutdown,
        Announced { from, .. } => *from != Maintenance::Unknown,
        Direction { .. } | Health { .. } => true,
    }
}

fn clock(at: SystemTime) -> String {
    DateTime::<Utc>::from(at).format("%H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualtor_exporter::model::{Cause, Port};

    fn item(port: &str, from: ChannelState, to: ChannelState, cause: Option<Cause>) -> FeedItem {
        let kind = TransitionKind::Channel { from, to, cause };
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(3661);
        let (id, detail) = (Port::new(port).expect("a port").into(), None);
        (id, Transition { at, kind, detail })
    }

    #[test]
    fn a_transition_is_told_in_one_line() {
        use ChannelState::{Ready, TransientFailure};
        assert_eq!(
            line(&item("Ethernet4", Ready, TransientFailure, Some(Cause::Closed))),
            "01:01:01 Ethernet4    channel READY -> TRANSIENT_FAILURE (closed)"
        );
    }

    #[test]
    fn the_first_readys_share_a_line_and_nothing_else_is_swallowed() {
        use ChannelState::{Connecting, Ready, TransientFailure};
        let mut opening = Opening {
            socs: 2,
            ready: HashSet::new(),
        };
        assert!(opening.takes(&item("Ethernet0", Connecting, Ready, None)));
        assert!(!opening.takes(&item("Ethernet0", Ready, TransientFailure, Some(Cause::Reset))));
        assert!(!opening.takes(&item("Ethernet0", TransientFailure, Ready, None)));
        assert!(opening.line().ends_with(" 1 of 2 channels READY"));
    }
}
