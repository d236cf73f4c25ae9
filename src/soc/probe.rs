//! One round of queries to one SoC. A probe cannot fail: whatever happens becomes a `Report`.
//!
//! The five queries (four of `dualtor`, one of `health`) run at the same time under one deadline. Its clock starts only when
//! the limiter has let the round in, so our own queue never uses up a SoC's time. Two streams are `held` open beside the
//! rounds: on `notices` a SoC announces maintenance, on `health_watch` its health.
//!
//! Imports `model` and `runtime`; in `soc` `arrivals` and `transport`.

mod dualtor;
pub(super) mod health;
pub mod health_watch;
mod held;
mod maintenance;
pub mod notices;
mod reply_text;
mod report_limiter;
mod round_limiter;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
pub use round_limiter::RoundLimiter;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status};

use crate::model::{
    Health, MuxDirection, PortState, ProbeSettings, Query, QueryReport, QueryResult, Report, RoundTiming,
    TraceId, UpperLower,
};
use crate::soc::arrivals::Arrivals;
use crate::soc::transport::Transport;

/// If the peer's CANCEL comes this shortly before our deadline, the peer has acted on the deadline that we sent it.
const CANCEL_IS_DEADLINE: Duration = Duration::from_millis(50);

/// How long a last look into the socket may take: a round is over within 0.55 s (docs/reliability.md), unless this process is
/// late itself.
const LOOK: Duration = Duration::from_millis(40);

/// Requests that were sent this long after the round began were sent late. Usually it is a few microseconds.
const LEFT_LATE: Duration = Duration::from_millis(5);

/// The queries in the order of a round's slots.
const QUERIES: [Query; Query::COUNT] = [
    Query::Admin,
    Query::Operation,
    Query::Link,
    Query::Version,
    Query::Health,
];

/// A READY channel to probe.
#[derive(Debug, Clone)]
pub struct Ready {
    /// Counts the connections of the channel.
    pub epoch: u64,
    /// The way to send RPCs on it.
    pub transport: Transport,
}

impl Ready {
    /// The same for a round with this trace.
    pub fn traced(self, trace: Option<TraceId>) -> Self {
        let transport = self.transport.traced(trace);
        Self { transport, ..self }
    }
}

/// How one query ended, and its value if it succeeded.
#[derive(Debug)]
pub(super) struct QueryAnswer<T> {
    pub(super) result: QueryResult,
    pub(super) value: T,
    error: Option<Arc<str>>,
}

impl<T: Default> QueryAnswer<T> {
    pub(super) fn ok(value: T) -> Self {
        let (result, error) = (QueryResult::Ok, None);
        Self { result, value, error }
    }

    fn empty() -> Self {
        Self {
            result: QueryResult::EmptyReply,
            value: T::default(),
            error: None,
        }
    }

    pub(super) fn invalid(error: impl Into<Arc<str>>) -> Self {
        Self {
            result: QueryResult::InvalidReply,
            value: T::default(),
            error: Some(error.into()),
        }
    }

    pub(super) fn failed(status: &Status) -> Self {
        // A code may come without a text.
        let said = Some(status.message()).filter(|text| !text.is_empty());
        Self {
            result: result_of(status.code()),
            value: T::default(),
            error: said.map(|text| reply_text::clean(text, reply_text::MAX_ERROR).into()),
        }
    }
}

/// One query's place in a round: empty until the query has ended. Then it also has the moment at which the reply arrived.
#[derive(Debug)]
pub(super) struct Slot<T>(Option<(QueryAnswer<T>, Instant)>);

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Default> Slot<T> {
    /// Takes the query as a function and not as a future: a future would be in memory twice.
    pub(super) async fn fill(
        &mut self,
        transport: &Transport,
        query: impl AsyncFnOnce(&Transport) -> QueryAnswer<T>,
    ) {
        let transport = transport.for_one();
        let answer = query(&transport).await;
        let ended = transport.ended().map_or_else(Instant::now, Instant::from_std);
        self.0 = Some((answer, ended));
    }

    /// The outcome of a query that was sent at `sent`. If the reply had not arrived by the deadline, it is DEADLINE_EXCEEDED.
    pub(super) fn close(self, timeout: Duration, sent: Instant) -> (QueryReport, T) {
        let ended = self.0.map(|(answer, ended)| (answer, ended.duration_since(sent)));
        let (mut answer, took) = match ended {
            Some((answer, took)) if took < timeout => (answer, took),
            late => {
                let status = Status::deadline_exceeded(format!("no answer within {timeout:?}"));
                (
                    QueryAnswer::failed(&status),
                    late.map_or(timeout, |(_, took)| took),
                )
            }
        };
        if answer.result == QueryResult::Cancelled && took + CANCEL_IS_DEADLINE >= timeout {
            answer.result = QueryResult::DeadlineExceeded;
        }
        let report = QueryReport {
            result: answer.result,
            took: Some(took),
            error: answer.error,
        };
        (report, answer.value)
    }
}

/// A running round. Boxed: five queries take about 8 kB while they run, which an idle session need not hold.
pub type Round = Pin<Box<dyn Future<Output = Report> + Send>>;

/// Runs one round. On a channel that is not READY every query fails at once as UNAVAILABLE.
pub fn round(ready: Option<Ready>, settings: ProbeSettings, limiter: Arc<RoundLimiter>) -> Round {
    Box::pin(run(ready, settings, limiter))
}

/// The same, not boxed.
pub(super) async fn run(ready: Option<Ready>, settings: ProbeSettings, limiter: Arc<RoundLimiter>) -> Report {
    let timeout = settings.timeout;
    let (since, began_at) = (Instant::now(), SystemTime::now());
    let Some(Ready { epoch, transport }) = ready else {
        return not_ready(began_at);
    };
    let transport = transport.for_queries(timeout);
    let [admin, operation, link, version, health] = QUERIES.map(|query| transport.of(query));
    let mut slots = (Slot(None), Slot(None), Slot(None), Slot(None), Slot(None));
    let sent = {
        let all = pin!(async {
            tokio::join!(
                slots.0.fill(&admin, dualtor::admin),
                slots.1.fill(&operation, dualtor::operation),
                slots.2.fill(&link, dualtor::link),
                slots.3.fill(&version, dualtor::version),
                slots.4.fill(&health, health::check),
            );
        });
        // Dropping the queries that have not ended resets their streams.
        under_deadline(&transport, settings, &limiter, all).await
    };

    let (admin, direction) = slots.0.close(timeout, sent);
    let (operation, oper) = slots.1.close(timeout, sent);
    let (link, link_state) = slots.2.close(timeout, sent);
    let (version, server_version) = slots.3.close(timeout, sent);
    let (health, health_status) = slots.4.close(timeout, sent);
    let mut queries = unavailable();
    for (query, report) in QUERIES.into_iter().zip([admin, operation, link, version, health]) {
        queries[query.index()] = report;
    }
    Report {
        epoch: Some(epoch),
        timing: RoundTiming {
            trace: transport.trace(),
            ..timing(began_at, sent.duration_since(since), since.elapsed())
        },
        queries,
        direction,
        oper,
        link: link_state,
        version: server_version,
        health: health_status,
    }
}

/// Runs all queries of a round when the limiter admits it, until their deadline. Returns when they were sent.
pub(super) async fn under_deadline(
    transport: &Transport,
    settings: ProbeSettings,
    limiter: &RoundLimiter,
    mut all: Pin<&mut impl Future<Output = ()>>,
) -> Instant {
    let place = limiter.enter().await;
    let (began, arrivals) = (Instant::now(), transport.arrivals());
    arrivals.begin();
    let busy = limiter.busy(settings.interval).min(settings.timeout);
    if timeout_at(began + busy, all.as_mut()).await.is_err() {
        // From now on it only waits for the peer. Peers that hang must not keep the others waiting.
        drop(place);
        patiently(all, arrivals, began, settings.timeout).await;
    }
    arrivals.sent().map_or(began, Instant::from_std)
}

/// Waits for the queries until their deadline. Then it takes what had arrived before that: on a machine that is short of CPU
/// the timer fires late, replies wait in the socket, and requests may have been sent late.
async fn patiently(
    mut all: Pin<&mut impl Future<Output = ()>>,
    arrivals: &Arrivals,
    began: Instant,
    timeout: Duration,
) {
    let mut deadline = began + timeout;
    loop {
        if timeout_at(deadline, all.as_mut()).await.is_ok() {
            return;
        }
        let late = deadline.elapsed();
        let _ = timeout_at(Instant::now() + LOOK + late, arrivals.look()).await;
        if all.as_mut().now_or_never().is_some() {
            return;
        }
        // The SoC's time began when the requests were sent.
        match arrivals.sent().map(|sent| Instant::from_std(sent) + timeout) {
            Some(later) if later > Instant::now() + LEFT_LATE => deadline = later,
            _ => return,
        }
    }
}

/// No query was sent.
fn unavailable() -> [QueryReport; Query::COUNT] {
    [0; Query::COUNT].map(|_| QueryReport {
        result: QueryResult::Unavailable,
        took: None,
        // The channel has already reported why it is not READY.
        error: None,
    })
}

fn not_ready(began: SystemTime) -> Report {
    Report {
        epoch: None,
        timing: timing(began, Duration::ZERO, Duration::ZERO),
        queries: unavailable(),
        direction: UpperLower::<MuxDirection>::default(),
        oper: UpperLower::<PortState>::default(),
        link: UpperLower::<PortState>::default(),
        version: None,
        health: Health::Unknown,
    }
}

/// The session knows the rest.
fn timing(began: SystemTime, sent: Duration, took: Duration) -> RoundTiming {
    RoundTiming {
        began,
        sent,
        took,
        ..RoundTiming::default()
    }
}

fn result_of(code: Code) -> QueryResult {
    // Both are in the order of gRPC's numbers.
    QueryResult::ALL[code as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_grpc_code_is_reported_by_its_own_name() {
        let names = [
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        ];
        for (number, name) in (0i32..).zip(names) {
            assert_eq!(result_of(Code::from_i32(number)).label(), name);
        }
    }

    #[test]
    fn a_code_without_words_is_no_error_text() {
        let said = |words: &str| QueryAnswer::<()>::failed(&Status::internal(words)).error;
        assert_eq!(said("no cable").as_deref(), Some("no cable"));
        assert_eq!(said(""), None);
    }

    #[test]
    fn a_cancel_just_before_the_deadline_is_the_deadline_and_an_early_one_is_not() {
        let check = |took: u64, expected: QueryResult| {
            let answer = QueryAnswer::<()>::failed(&Status::cancelled("reset by the peer"));
            let (sent, timeout) = (Instant::now(), Duration::from_millis(500));
            let slot = Slot(Some((answer, sent + Duration::from_millis(took))));
            assert_eq!(slot.close(timeout, sent).0.result, expected, "{took} ms");
        };
        check(10, QueryResult::Cancelled);
        check(449, QueryResult::Cancelled);
        check(450, QueryResult::DeadlineExceeded);
        check(499, QueryResult::DeadlineExceeded);
    }

    #[test]
    fn an_answer_that_came_in_after_the_deadline_is_not_believed() {
        let (sent, timeout) = (Instant::now(), Duration::from_millis(500));
        let close = |took| Slot(Some((QueryAnswer::ok(true), sent + took))).close(timeout, sent);
        for (took, result, value) in [
            (timeout - Duration::from_nanos(1), QueryResult::Ok, true),
            (timeout, QueryResult::DeadlineExceeded, false),
            (timeout * 2, QueryResult::DeadlineExceeded, false),
        ] {
            let (report, seen) = close(took);
            assert_eq!((report.result, seen, report.took), (result, value, Some(took)));
        }
        let (report, _) = Slot::<bool>(None).close(timeout, sent);
        assert_eq!(
            (report.result, report.took),
            (QueryResult::DeadlineExceeded, Some(timeout))
        );
    }

    #[tokio::test]
    async fn a_round_on_a_channel_that_is_not_ready_fails_at_once_and_sends_nothing() {
        let limiter = Arc::new(RoundLimiter::at_a_time(0)); // it would never return if it asked
        let report = round(None, ProbeSettings::default(), limiter).await;
        assert_eq!(report.epoch, None);
        for query in &report.queries {
            assert_eq!((query.result, query.took), (QueryResult::Unavailable, None));
        }
    }
}
