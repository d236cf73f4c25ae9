//! Renders scrapes: a limited number at a time, and each for all requests that wait for it.
//!
//! A scrape that finds no free slot waits. Requests for the same format that come meanwhile wait with it. They get one answer,
//! from a view that is newer than all of these requests. So fifty scrapers in a loop cost little more than one, many hostile
//! clients cannot keep a scraper from its turn, and no answer is older than its request. An answer is rendered completely and
//! packed (see `answer`), so the view is freed before the first byte is sent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::ViewSource;
use super::answer::{Answer, Packer, Shelf};
use crate::telemetry::exposition::{Pieces, TextFormat};

/// After this time, rendering lets other connections run. Not more often: a thousand SoCs take 20 ms to render, and with many
/// clients that read, each interruption costs about 10 ms.
const AT_A_STRETCH: Duration = Duration::from_millis(5);

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotRendered {
    /// No slot, or no view, in time.
    Busy,
    /// The fleet has ended.
    Stopping,
    /// The render panicked.
    Failed,
}

type Rendered = Result<Arc<Answer>, NotRendered>;
type PendingRender = watch::Receiver<Option<Rendered>>;

/// See the module's documentation.
pub(super) struct Renderer {
    source: ViewSource,
    slots: Semaphore,
    turn: Duration,
    /// The render that waits for a slot, by format.
    waiting: Mutex<[Option<PendingRender>; 2]>,
    shelf: Shelf,
}

impl Renderer {
    /// Renders `slots` scrapes at a time. A scrape waits at most `turn` for a slot, and then at most `turn` for the view.
    pub(super) fn new(source: ViewSource, slots: usize, turn: Duration) -> Self {
        Self {
            source,
            slots: Semaphore::new(slots),
            turn,
            waiting: Mutex::default(),
            shelf: Shelf::default(),
        }
    }

    /// A scrape in this format, of a view that is newer than this call.
    pub(super) async fn render(self: &Arc<Self>, format: TextFormat) -> Rendered {
        let mut waiting = self.join(format);
        match waiting.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Err(NotRendered::Failed)),
            Err(_) => Err(NotRendered::Failed),
        }
    }

    /// Joins the render that waits for this format, or starts one.
    fn join(self: &Arc<Self>, format: TextFormat) -> PendingRender {
        let mut waiting = self.waiting();
        let place = &mut waiting[format as usize];
        // An error means that the task that should have rendered has panicked: start a new one.
        if let Some(others) = place.as_ref().filter(|others| others.has_changed().is_ok()) {
            return others.clone();
        }
        let (outcome, receiver) = watch::channel(None);
        *place = Some(receiver.clone());
        let renderer = self.clone();
        tokio::spawn(async move {
            let result = renderer.render_for_all(format, &outcome).await;
            outcome.send_replace(Some(result));
        });
        receiver
    }

    async fn render_for_all(
        &self,
        format: TextFormat,
        outcome: &watch::Sender<Option<Rendered>>,
    ) -> Rendered {
        let slot = timeout(self.turn, self.slots.acquire()).await;
        // Before the view is taken: a request that joined later would get a view that is older than itself.
        self.waiting()[format as usize] = None;
        let Ok(Ok(_slot)) = slot else {
            return Err(NotRendered::Busy);
        };
        let view = match timeout(self.turn, (self.source)()).await {
            Ok(Some(view)) => view,
            Ok(None) => return Err(NotRendered::Stopping),
            Err(_) => return Err(NotRendered::Busy),
        };
        let mut packer = Packer::default();
        let mut since = Instant::now();
        for piece in Pieces::new(view, format) {
            packer.add(&piece);
            if since.elapsed() >= AT_A_STRETCH {
                tokio::task::yield_now().await;
                since = Instant::now();
                // All clients that waited for this have gone.
                if outcome.is_closed() {
                    return Err(NotRendered::Stopping);
                }
            }
        }
        Ok(self.shelf.put(packer.finish()))
    }

    fn waiting(&self) -> MutexGuard<'_, [Option<PendingRender>; 2]> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::testing::empty_view;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::time::{Instant, sleep};

    const TURN: Duration = Duration::from_secs(5);

    /// Renders one at a time. Making a view takes `snapshot`. Also returns the number of views made.
    fn renderer(snapshot: Duration) -> (Arc<Renderer>, Arc<AtomicUsize>) {
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = taken.clone();
        let source: ViewSource = Arc::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                sleep(snapshot).await;
                Some(empty_view())
            })
        });
        (Arc::new(Renderer::new(source, 1, TURN)), taken)
    }

    fn spawn(renderer: &Arc<Renderer>, format: TextFormat) -> tokio::task::JoinHandle<Rendered> {
        let renderer = renderer.clone();
        tokio::spawn(async move { renderer.render(format).await })
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_wait_get_one_answer_that_is_younger_than_they() {
        let (renderer, snapshots) = renderer(Duration::from_secs(1));
        let first = spawn(&renderer, TextFormat::Text);
        sleep(Duration::from_millis(500)).await;
        let others: Vec<_> = (0..50).map(|_| spawn(&renderer, TextFormat::Text)).collect();
        let first = first.await.expect("no panic").expect("an answer");
        let mut answers = Vec::new();
        for other in others {
            answers.push(other.await.expect("no panic").expect("an answer"));
        }
        // The first request's view was older than the others.
        assert_eq!(snapshots.load(Ordering::Relaxed), 2);
        assert!(!Arc::ptr_eq(&first, &answers[0]));
        assert!(answers.iter().all(|answer| Arc::ptr_eq(answer, &answers[0])));
    }

    #[tokio::test]
    async fn an_answer_keeps_no_snapshot() {
        let view = empty_view();
        let inventory = Arc::downgrade(&view.inventory);
        let given = Mutex::new(Some(view));
        let source: ViewSource = Arc::new(move || {
            let view = given.lock().unwrap_or_else(PoisonError::into_inner).take();
            Box::pin(async move { view })
        });
        let renderer = Arc::new(Renderer::new(source, 1, TURN));
        let answer = renderer.render(TextFormat::Text).await;
        assert!(answer.is_ok() && inventory.upgrade().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn formats_are_not_mixed_up() {
        let (renderer, snapshots) = renderer(Duration::from_secs(1));
        let text = spawn(&renderer, TextFormat::Text);
        let open_metrics = spawn(&renderer, TextFormat::OpenMetrics);
        let text = text.await.expect("no panic").expect("an answer");
        let open_metrics = open_metrics.await.expect("no panic").expect("an answer");
        assert!(!Arc::ptr_eq(&text, &open_metrics));
        assert_eq!(snapshots.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_his_turn() {
        let (renderer, _) = renderer(Duration::from_secs(3600));
        let began = Instant::now();
        let first = spawn(&renderer, TextFormat::Text);
        sleep(Duration::from_secs(1)).await;
        // The second waits for the only slot, the first for the fleet.
        let second = spawn(&renderer, TextFormat::Text);
        assert_eq!(first.await.expect("no panic").err(), Some(NotRendered::Busy));
        assert_eq!(began.elapsed(), TURN);
        // It got the slot just before its turn was over, and then waited for the fleet.
        assert_eq!(second.await.expect("no panic").err(), Some(NotRendered::Busy));
        assert!(began.elapsed() <= TURN * 2 + Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_slot_in_time_is_turned_away() {
        let (renderer, snapshots) = renderer(Duration::ZERO);
        let taken = renderer.slots.acquire().await.expect("open");
        let began = Instant::now();
        assert_eq!(
            renderer.render(TextFormat::Text).await.err(),
            Some(NotRendered::Busy)
        );
        assert_eq!((began.elapsed(), snapshots.load(Ordering::Relaxed)), (TURN, 0));
        drop(taken);
        assert!(renderer.render(TextFormat::Text).await.is_ok());
    }

    #[tokio::test]
    async fn the_end_of_the_fleet_is_said_and_a_panic_harms_nobody_else() {
        let times = Arc::new(AtomicUsize::new(0));
        let source: ViewSource = Arc::new(move || {
            let time = times.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                match time {
                    0 => None,
                    1 => panic!("a defect"),
                    _ => Some(empty_view()),
                }
            })
        });
        let renderer = Arc::new(Renderer::new(source, 1, TURN));
        let ask = async || renderer.render(TextFormat::Text).await.err();
        assert_eq!(ask().await, Some(NotRendered::Stopping));
        assert_eq!(ask().await, Some(NotRendered::Failed));
        assert_eq!(ask().await, None);
    }
}
