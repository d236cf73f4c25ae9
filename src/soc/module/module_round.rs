//! What the rounds of all probe modules have in common: metadata, the deadline, and how an answer becomes a report.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::ModuleRound;
use crate::model::{Event, ModuleEvent, ModuleReport, ProbeResult, ProbeSettings, QueryReport, Said};
use crate::soc::probe::{QueryAnswer, Ready, RoundLimiter, Slot, under_deadline};
use crate::soc::transport::Transport;

/// A round that ends with this report.
pub(super) fn round_of(report: impl Future<Output = ModuleReport> + Send + 'static) -> ModuleRound {
    Box::pin(async move { Event::Module(Box::new(ModuleEvent::Round(report.await))) })
}

/// How one of a round's questions ended, and what was reported.
pub(super) type EndedQuestion<T> = (QueryReport, T);

/// Asks all questions side by side, under the round's deadline. `Err`: nothing was sent.
pub(super) async fn ask_all<T: Default, A: AsyncFnOnce(&Transport) -> QueryAnswer<T>>(
    ready: Option<Ready>,
    settings: ProbeSettings,
    limiter: &RoundLimiter,
    questions: impl IntoIterator<Item = A>,
) -> Result<(u64, Vec<EndedQuestion<T>>), ModuleReport> {
    let Some(Ready { epoch, transport }) = ready else {
        return Err(ModuleReport::not_ready());
    };
    if let Err(why) = transport.refresh_metadata().await {
        let result = ProbeResult::Unauthenticated;
        return Err(ModuleReport::failed(Some(epoch), result, Some(why.into())));
    }
    let transport = transport.for_queries(settings.timeout);
    let questions: Vec<A> = questions.into_iter().collect();
    let mut slots: Vec<Slot<T>> = questions.iter().map(|_| Slot::default()).collect();
    let asks = slots.iter_mut().zip(questions);
    let asks = asks.map(|(slot, question)| slot.fill(&transport, question));
    let sent = {
        let all = pin!(async { drop(join_all(asks).await) });
        under_deadline(&transport, settings, limiter, all).await
    };
    let ended = slots.into_iter().map(|slot| slot.close(settings.timeout, sent));
    Ok((epoch, ended.collect()))
}

/// The report of a round with one question.
pub(super) fn report_of_one<T>(
    epoch: u64,
    answered: Vec<EndedQuestion<T>>,
    said: impl FnOnce(T) -> Said,
) -> ModuleReport {
    let Some((report, value)) = answered.into_iter().next() else {
        return ModuleReport::failed(Some(epoch), ProbeResult::Internal, None);
    };
    let result = ProbeResult::from(report.result);
    ModuleReport {
        epoch: Some(epoch),
        result,
        success: result == ProbeResult::Ok,
        took: report.took,
        detail: report.error,
        said: (result == ProbeResult::Ok).then(|| said(value)),
    }
}

/// What is left of a round that began at `began`, for the next RPC.
pub(super) fn left(began: Instant, settings: ProbeSettings) -> Duration {
    let left = settings.timeout.saturating_sub(began.elapsed());
    left.max(Duration::from_millis(1))
}

/// A text for people about an answer that is not as expected.
pub(super) fn detail(text: impl std::fmt::Display) -> Arc<str> {
    crate::model::text::quote(text).into()
}
