//! GracefulRestart: the stream on which a SoC announces maintenance of its own, and what `soc_service` says of it.
//!
//! ```text
//!            stream open for 1 s, or END        BEGIN
//!   unknown ────────────────────────────▶ noop ───────▶ inprogress
//!      ▲                                   ▲  ◀──────────  │   END, its period over, READY again after a loss
//!      └──── UNIMPLEMENTED (from any) ─────┘               │
//!   a lost channel alone changes nothing ◀─────────────────┘
//! ```

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use tokio::time::{Instant, sleep_until};
use tonic::{Code, Status};

use crate::model::{Side, SocService};
use crate::proto::graceful_restart_client::GracefulRestartClient;
use crate::proto::{GracefulAdminRequest, GracefulAdminResponse, GracefulRestartMsgType, ToRSide};
use crate::transport::Transport;

/// A stream that has had no error for this long is open; its response headers may come only with the first notice.
const OPEN_AFTER: Duration = Duration::from_secs(1);
/// Waits between attempts to open the stream again on a channel that stays READY.
const REOPEN_MIN: Duration = Duration::from_secs(1);
const REOPEN_MAX: Duration = Duration::from_secs(60);
/// From one change told to the next: true ones are minutes apart, and a SoC that talks without end shall fill neither
/// the log nor the database. The stream is read all the same: h2 ends a connection on which too many frames lie unread.
const REPORT_GAP: Duration = Duration::from_millis(100);
/// A round has five queries: a peer that allows fewer streams than that and this one gets no stream of ours to hold.
const STREAMS_NEEDED: usize = 6;

/// What the SoC announced: pure, time is an argument.
#[derive(Debug, Default)]
struct Service {
    state: SocService,
    /// When the announced period is over.
    ends: Option<std::time::Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    /// The stream has been open for `OPEN_AFTER`.
    Open,
    /// The SoC has no such service.
    Unimplemented,
    /// Maintenance begins; for how long, where the SoC says so.
    Begin(Option<Duration>),
    /// Maintenance ends; may come unpaired.
    End,
    /// The channel is READY again.
    ReadyAgain,
    /// Time has passed.
    Tick,
}

impl Service {
    fn apply(&mut self, input: Input, now: std::time::Instant) {
        use SocService::{InProgress, Noop, Unknown};
        let over = self.ends.is_some_and(|ends| now >= ends);
        let to = match (self.state, input) {
            (_, Input::Begin(_)) => InProgress,
            (_, Input::End) => Noop,
            (_, Input::Unimplemented) => Unknown,
            (Unknown, Input::Open) => Noop,
            (InProgress, Input::ReadyAgain) => Noop,
            (InProgress, Input::Tick) if over => Noop,
            (state, Input::Open | Input::ReadyAgain | Input::Tick) => state,
        };
        if let Input::Begin(period) = input {
            self.ends = period.and_then(|period| now.checked_add(period));
        } else if to != InProgress {
            self.ends = None;
        }
        self.state = to;
    }
}

type Notices = Pin<Box<dyn Stream<Item = Result<GracefulAdminResponse, Status>> + Send>>;

/// The stream's own state.
enum Phase {
    /// The channel is not READY, or the SoC cannot serve the stream.
    Off,
    /// Open, or on its way there.
    On {
        stream: Notices,
        /// When it counts as open; None once it does.
        opened: Option<Instant>,
    },
    /// It ended; when to open it again.
    Waiting(Instant),
}

impl fmt::Debug for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "Off",
            Self::On { .. } => "On",
            Self::Waiting(_) => "Waiting",
        })
    }
}

/// The stream of one SoC, across its connections.
#[derive(Debug)]
pub struct NoticeStream {
    side: Side,
    service: Service,
    transport: Option<Transport>,
    phase: Phase,
    reopen: Duration,
    /// What was told last, and when the next change may be.
    reported: SocService,
    report_at: Instant,
}

impl NoticeStream {
    /// Off, until the channel is READY. With no known side there is nobody to ask for: it stays off.
    pub fn new(side: Side) -> Self {
        Self {
            side,
            service: Service::default(),
            transport: None,
            phase: Phase::Off,
            reopen: REOPEN_MIN,
            reported: SocService::default(),
            report_at: Instant::now(),
        }
    }

    /// The channel is READY: open the stream on it.
    pub fn attach(&mut self, transport: Transport) {
        self.input(Input::ReadyAgain);
        self.reopen = REOPEN_MIN;
        self.transport = Some(transport);
        self.open();
    }

    /// The channel is not READY any more. What was announced stands.
    pub fn detach(&mut self) {
        self.transport = None;
        self.phase = Phase::Off;
    }

    /// The next change of `soc_service`. Cancel-safe: all that it waits for lives in the struct.
    pub async fn next(&mut self) -> SocService {
        loop {
            if self.service.state == self.reported {
                self.advance().await;
                continue;
            }
            tokio::select! {
                biased;
                () = sleep_until(self.report_at) => {
                    self.report_at = Instant::now() + REPORT_GAP;
                    self.reported = self.service.state;
                    return self.reported;
                }
                () = self.advance() => {}
            }
        }
    }

    async fn advance(&mut self) {
        let period_over = self.service.ends.map(Instant::from_std);
        tokio::select! {
            () = until(period_over) => self.input(Input::Tick),
            step = step(&mut self.phase) => match step {
                Step::Opened => {
                    if let Phase::On { opened, .. } = &mut self.phase {
                        *opened = None;
                    }
                    self.reopen = REOPEN_MIN;
                    self.input(Input::Open);
                }
                Step::Notice(notice) => self.notice(&notice),
                Step::Ended(status) => self.ended(status.as_ref()),
                Step::Reopen => self.open(),
            },
        }
    }

    fn open(&mut self) {
        let tor = match self.side {
            Side::Upper => ToRSide::UpperTor,
            Side::Lower => ToRSide::LowerTor,
            Side::Unknown => return,
        };
        let Some(transport) = self.transport.clone() else {
            return;
        };
        if transport.max_streams() < STREAMS_NEEDED {
            tracing::debug!(
                max = transport.max_streams(),
                "too few streams allowed for a notice stream"
            );
            self.phase = Phase::Off;
            return;
        }
        self.phase = Phase::On {
            stream: Box::pin(notices(transport, tor)),
            opened: Some(Instant::now() + OPEN_AFTER),
        };
    }

    fn notice(&mut self, notice: &GracefulAdminResponse) {
        match GracefulRestartMsgType::try_from(notice.msgtype) {
            Ok(GracefulRestartMsgType::ServiceBegin) => {
                // No period (0) means that the SoC does not say: it then lasts until its END.
                let period = u64::try_from(notice.period).ok().filter(|secs| *secs > 0);
                self.input(Input::Begin(period.map(Duration::from_secs)));
            }
            Ok(GracefulRestartMsgType::ServiceEnd) => self.input(Input::End),
            Err(_) => tracing::debug!(msgtype = notice.msgtype, "a notice of an unknown kind"),
        }
    }

    fn ended(&mut self, status: Option<&Status>) {
        if status.is_some_and(|status| status.code() == Code::Unimplemented) {
            // It will not learn that before it restarts: ask again with the next connection.
            self.phase = Phase::Off;
            self.input(Input::Unimplemented);
        } else {
            self.phase = Phase::Waiting(Instant::now() + self.reopen);
            self.reopen = (self.reopen * 2).min(REOPEN_MAX);
        }
    }

    fn input(&mut self, input: Input) {
        self.service.apply(input, Instant::now().into_std());
    }
}

enum Step {
    Opened,
    Notice(GracefulAdminResponse),
    Ended(Option<Status>),
    Reopen,
}

async fn step(phase: &mut Phase) -> Step {
    match phase {
        Phase::Off => std::future::pending().await,
        Phase::Waiting(when) => {
            sleep_until(*when).await;
            Step::Reopen
        }
        Phase::On { stream, opened } => tokio::select! {
            item = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)) => match item {
                Some(Ok(notice)) => Step::Notice(notice),
                Some(Err(status)) => Step::Ended(Some(status)),
                None => Step::Ended(None),
            },
            () = until(*opened) => Step::Opened,
        },
    }
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// The RPC as one stream: opening it and reading it look the same, as the headers may come with the first notice.
fn notices(
    transport: Transport,
    tor: ToRSide,
) -> impl Stream<Item = Result<GracefulAdminResponse, Status>> + Send {
    let open = async move {
        let mut client = GracefulRestartClient::with_origin(transport.clone(), transport.origin());
        let request = GracefulAdminRequest { tor: tor.into() };
        client
            .notify_graceful_restart_start(request)
            .await
            .map(tonic::Response::into_inner)
    };
    futures_util::TryFutureExt::try_flatten_stream(open)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use std::time::Instant;

    const TEN: Option<Duration> = Some(Duration::from_secs(10));

    fn after(inputs: &[Input]) -> SocService {
        let mut service = Service::default();
        let now = Instant::now();
        for input in inputs {
            service.apply(*input, now);
        }
        service.state
    }

    #[test]
    fn each_input_leads_where_the_diagram_says() {
        use Input::*;
        let table: &[(&[Input], SocService)] = &[
            (&[], SocService::Unknown),
            (&[ReadyAgain], SocService::Unknown),
            (&[Open], SocService::Noop),
            (&[End], SocService::Noop),
            (&[Unimplemented], SocService::Unknown),
            (&[Open, Unimplemented], SocService::Unknown),
            (&[Begin(TEN)], SocService::InProgress),
            (&[Begin(TEN), Open], SocService::InProgress),
            (&[Begin(TEN), End], SocService::Noop),
            (&[Begin(None), Tick], SocService::InProgress),
            (&[Open, Begin(TEN), ReadyAgain], SocService::Noop),
            (&[Begin(TEN), ReadyAgain, Begin(TEN)], SocService::InProgress),
        ];
        for (inputs, expected) in table {
            assert_eq!(after(inputs), *expected, "{inputs:?}");
        }
    }

    #[test]
    fn an_announced_service_is_over_when_its_last_announced_period_is() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut service = Service::default();
        service.apply(Input::Begin(TEN), start);
        service.apply(Input::Tick, at(9));
        service.apply(Input::Begin(TEN), at(9));
        service.apply(Input::Tick, at(18));
        assert_eq!(service.state, SocService::InProgress);
        service.apply(Input::Tick, at(19));
        assert_eq!(service.state, SocService::Noop);
        assert_eq!(service.ends, None);
    }

    proptest! {
        #[test]
        fn a_deadline_stands_only_while_a_service_is_in_progress(
            inputs in prop::collection::vec((0usize..6, 0u64..30), 0..50),
        ) {
            let mut now = Instant::now();
            let mut service = Service::default();
            for (which, secs) in inputs {
                now += Duration::from_secs(secs);
                let input = [
                    Input::Open, Input::Unimplemented, Input::Begin(TEN), Input::End, Input::ReadyAgain, Input::Tick,
                ][which];
                service.apply(input, now);
                prop_assert!(service.ends.is_none() || service.state == SocService::InProgress);
            }
        }
    }
}
