//! What a panic becomes for the rest of the program: a `Defect` that the caller handles, instead of a task that disappears
//! silently.
//!
//! The owner of something that must not end catches its panics here (`caught`, `attempt`), decides what is shown until then,
//! and starts it again after `Restarts`. The hook logs each panic that is not caught. The hook does not write to stderr itself,
//! because that could block a thread that probes.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinError;
use tracing::error;

use crate::model::component::APP;
use crate::model::text;

thread_local! {
    /// How many catchers are on this thread's stack.
    static CATCHING: Cell<u32> = const { Cell::new(0) };
    /// Where the last panic under a catcher was.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic, for people: its message and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defect {
    message: String,
    place: Option<String>,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.place {
            Some(place) => write!(f, " ({place})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Defect {}

impl Defect {
    /// A defect without a panic: something that should never happen.
    pub fn new(what: impl fmt::Display) -> Self {
        Self {
            message: text::quote(what),
            place: None,
        }
    }

    /// The panic that ended a task. `None`: it was aborted.
    pub fn of_task(error: JoinError) -> Option<Self> {
        let payload = error.try_into_panic().ok()?;
        Some(Self::panic(&*payload, None))
    }

    fn panic(payload: &(dyn Any + Send), place: Option<String>) -> Self {
        Self {
            // It may quote text of a SoC or a file.
            message: text::quote(message(payload)),
            place,
        }
    }
}

fn message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}

/// Does `work`. A panic in it is returned as the error.
pub fn attempt<T>(work: impl FnOnce() -> T) -> Result<T, Defect> {
    CATCHING.with(|catching| catching.set(catching.get() + 1));
    let done = catch_unwind(AssertUnwindSafe(work));
    CATCHING.with(|catching| catching.set(catching.get() - 1));
    done.map_err(|payload| Defect::panic(&*payload, PLACE.take()))
}

/// Runs `work` to its end. A panic in it is returned as the error; then the rest of `work` is dropped before this returns.
///
/// `work` is boxed, because an async function's argument would be in memory twice. Cancel-safe if `work` is.
pub async fn caught<F: Future + ?Sized>(mut work: Pin<Box<F>>) -> Result<F::Output, Defect> {
    let outcome = poll_fn(|cx| match attempt(|| work.as_mut().poll(cx)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
        Err(defect) => Poll::Ready(Err(defect)),
    })
    .await;
    let dropped = attempt(move || drop(work));
    outcome.and_then(|done| dropped.map(|()| done))
}

/// Logs each panic that is not caught, instead of writing it to stderr.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string);
        // `Err`: the thread is ending.
        if CATCHING.try_with(Cell::get).is_ok_and(|catching| catching > 0) {
            let _ = PLACE.try_with(|last| last.replace(place));
            return;
        }
        let defect = Defect::panic(info.payload(), place);
        error!(target: APP, %defect, "a defect of this program: please report it");
    }));
}

/// The first wait before a restart. It doubles each time, so that a defect that repeats itself costs little CPU and few log lines.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait before a restart: after a minute at most, a SoC is probed again.
const MOST: Duration = Duration::from_secs(60);
/// After running this long, a defect is a new one and not a repetition.
const STEADY: Duration = Duration::from_secs(300);

/// How long to wait before something that ended by a defect is started again. Pure.
#[derive(Debug, Default)]
pub struct Restarts {
    in_a_row: u32,
}

impl Restarts {
    /// It has run for `run`. Returns how long to wait now.
    pub fn wait(&mut self, run: Duration) -> Duration {
        if run >= STEADY {
            self.in_a_row = 0;
        }
        let wait = FIRST * 2_u32.pow(self.in_a_row.min(6));
        self.in_a_row += 1;
        wait.min(MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_with_its_message() {
        let say = |words: &str| Box::pin(caught(Box::pin(fail(words.to_owned()))));
        async fn fail(words: String) -> u8 {
            tokio::task::yield_now().await;
            panic!("{words}")
        }
        assert_eq!(caught(Box::pin(async { 1 })).await, Ok(1));
        let defect = say("no\u{202e}way").await.expect_err("a defect");
        assert!(defect.to_string().starts_with("no\u{fffd}way"), "{defect}");
        let long = say(&"x".repeat(5_000_000)).await.expect_err("a defect");
        assert!(long.to_string().len() < 1000);
        let odd = attempt(|| std::panic::panic_any(7)).expect_err("a defect");
        assert!(odd.to_string().starts_with("a panic without a message"), "{odd}");
    }

    #[tokio::test]
    async fn a_panic_while_it_is_dropped_is_one_too() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in drop");
            }
        }
        let bomb = Bomb;
        let work = poll_fn(move |_| {
            let _held = &bomb;
            Poll::Ready(())
        });
        let defect = caught(Box::pin(work)).await.expect_err("a defect");
        assert!(defect.to_string().starts_with("in drop"), "{defect}");
    }

    #[test]
    fn the_wait_grows_to_a_minute_and_is_short_again_after_a_steady_run() {
        let mut restarts = Restarts::default();
        let mut waits = |run: u64| restarts.wait(Duration::from_secs(run)).as_secs();
        let grown: Vec<u64> = (0..9).map(|_| waits(0)).collect();
        assert_eq!(grown, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!((waits(299), waits(300), waits(1)), (60, 1, 2));
    }
}
