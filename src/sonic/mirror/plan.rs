//! What a mirror does when, while it is connected (pure): takes what happens and the time, returns what is due next and when.
//!
//! | what happens | what follows |
//! |---|---|
//! | a change is notified | `CatchUp` 50 ms later, for all that are notified until then |
//! | the subscription is lost | `Subscribe` after a pause; then `ReadKnown` at once and a search, because changes were missed |
//! | an interval is over | `ReadKnown`, for a server that sends no notifications; if it seems to send none, also a search |
//! | rows may have come or gone without a notification | `Search`, at least `SHARE` times the duration of the last one after that began |
//!
//! If several actions are due, the one that was due first is done, so none can block another one. A copy is *torn* when it may
//! have rows from before and from after a flush or a load: it is not shown until the next search has made it again.

use std::time::{Duration, Instant};

use crate::model::Rows;
use crate::sonic::redis_link::{RedisFailure, Retry};

/// The time from the first notification to reading the changes. So a reload of a whole table is a few reads, not one for each
/// row, and what depends on it is derived only a few times per second.
const GATHER: Duration = Duration::from_millis(50);
/// A server that has sent no notification for two intervals and this time may not send any.
const SILENCE: Duration = Duration::from_secs(5);
/// How much later the next search begins, as a multiple of the time that the last one took. The larger the database, the longer
/// a search takes, also because of other programs' tables. Redis has other users: searches may take a twentieth of its time.
const SHARE: u32 = 20;

/// What a mirror does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Subscribe again.
    Subscribe,
    /// Read the changes that were notified.
    CatchUp,
    /// Search for rows, and read everything again.
    Search,
    /// Read all known keys again.
    ReadKnown,
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct Plan {
    rows: Rows,
    interval: Duration,
    read_at: Instant,
    catch_up_at: Option<Instant>,
    /// Set while there is no subscription, unless this user may not subscribe.
    subscribe_at: Option<Instant>,
    subscribed_at: Instant,
    retry: Retry,
    /// When the last search began, and how long it took.
    searched_at: Instant,
    search_took: Duration,
    is_search_wanted: bool,
    is_torn: bool,
}

impl Plan {
    /// After the first search. `search`: when it began and how long it took. `now`: everything has been read.
    pub(super) fn new(rows: Rows, interval: Duration, search: (Instant, Duration), now: Instant) -> Self {
        Self {
            rows,
            interval,
            read_at: now + interval,
            catch_up_at: None,
            subscribe_at: None,
            subscribed_at: now,
            retry: Retry::default(),
            searched_at: search.0,
            search_took: search.1,
            is_search_wanted: false,
            is_torn: false,
        }
    }

    /// What is due next, and when.
    pub(super) fn next(&self) -> (Instant, Action) {
        let due = [
            (self.subscribe_at, Action::Subscribe),
            (self.catch_up_at, Action::CatchUp),
            (self.search_at(), Action::Search),
        ];
        let due = due.into_iter().filter_map(|(at, action)| Some((at?, action)));
        let first = due.min_by_key(|(at, _)| *at);
        first
            .filter(|(at, _)| *at <= self.read_at)
            .unwrap_or((self.read_at, Action::ReadKnown))
    }

    /// The action begins: from now on, events make it due again.
    pub(super) fn begin(&mut self, action: Action, now: Instant) {
        match action {
            Action::Subscribe => (self.subscribe_at, self.subscribed_at) = (None, now),
            Action::CatchUp => self.catch_up_at = None,
            Action::ReadKnown => self.read_at = now + self.interval,
            // It stays due until `searched`.
            Action::Search => {}
        }
    }

    /// A change was notified.
    pub(super) fn notified(&mut self, now: Instant) {
        self.catch_up_at.get_or_insert(now + GATHER);
    }

    /// The subscription is lost.
    pub(super) fn lost(&mut self, failure: &RedisFailure, now: Instant) {
        self.subscribe_at = Some(self.retry.resubscribe(failure, self.subscribed_at, now));
    }

    /// There is a subscription again, or this user may not have one. Changes in between were not notified.
    pub(super) fn subscribed(&mut self, now: Instant) {
        self.read_at = now;
        self.is_search_wanted = true;
    }

    /// All known keys have been read again. `notified_within`: whether the server has sent a notification within a given time.
    pub(super) fn known_read(&mut self, notified_within: impl FnOnce(Duration) -> bool) {
        let silence = self.interval.saturating_mul(2).saturating_add(SILENCE);
        if self.rows == Rows::All && !notified_within(silence) {
            self.is_search_wanted = true;
        }
    }

    /// The interval has changed.
    pub(super) fn set_interval(&mut self, interval: Duration, now: Instant) {
        (self.interval, self.read_at) = (interval, now + interval);
    }

    /// Rows may have come or gone.
    pub(super) fn want_search(&mut self) {
        self.is_search_wanted = true;
    }

    /// The copy may be half old and half new.
    pub(super) fn tear(&mut self) {
        (self.is_search_wanted, self.is_torn) = (true, true);
    }

    /// A search has read everything again: when it began, and how long it took.
    pub(super) fn searched(&mut self, began: Instant, took: Duration) {
        (self.searched_at, self.search_took) = (began, took);
        (self.is_search_wanted, self.is_torn) = (false, false);
    }

    /// Whether the copy may be shown.
    pub(super) fn is_whole(&self) -> bool {
        !self.is_torn
    }

    /// When to search for rows, if at all.
    pub(super) fn search_at(&self) -> Option<Instant> {
        self.is_search_wanted
            .then(|| self.searched_at + self.search_took * SHARE)
    }
}

#[cfg(test)]
mod tests {
    use Action::{CatchUp, ReadKnown, Search, Subscribe};

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// A mirror whose first search began at 0 and took 90 ms, and what happens to it at which millisecond.
    struct Story {
        name: &'static str,
        plan: Plan,
        start: Instant,
    }

    impl Story {
        fn new(name: &'static str, rows: Rows) -> Self {
            let start = Instant::now();
            let plan = Plan::new(rows, INTERVAL, (start, ms(90)), start + ms(100));
            Self { name, plan, start }
        }

        fn at(&self, milliseconds: u64) -> Instant {
            self.start + ms(milliseconds)
        }

        /// Checks what is due next, and when. Then begins it at that time.
        fn then(&mut self, milliseconds: u64, action: Action) {
            let (at, next) = self.plan.next();
            assert_eq!(
                (at - self.start, next),
                (ms(milliseconds), action),
                "{}",
                self.name
            );
            self.plan.begin(action, at);
        }
    }

    #[test]
    fn what_is_due_when() {
        let check = |name, happens: fn(&mut Story), expected: &[(u64, Action)]| {
            for rows in [Rows::All, Rows::OfPorts] {
                let mut story = Story::new(name, rows);
                happens(&mut story);
                for (at, action) in expected {
                    story.then(*at, *action);
                }
            }
        };
        check(
            "nothing happens",
            |_| {},
            &[(10_100, ReadKnown), (20_100, ReadKnown)],
        );
        check(
            "changes are gathered from the first on",
            |story| {
                story.plan.notified(story.at(200));
                story.plan.notified(story.at(240));
            },
            &[(250, CatchUp), (10_100, ReadKnown)],
        );
        check(
            "a search waits twenty times as long as the last one took",
            |story| story.plan.want_search(),
            &[(1800, Search)],
        );
        check(
            "of two that are due it is the earlier",
            |story| {
                story.plan.want_search();
                story.plan.notified(story.at(1760));
            },
            &[(1800, Search)],
        );
        check(
            "a shorter interval counts from when it is known",
            |story| story.plan.set_interval(ms(1000), story.at(5000)),
            &[(6000, ReadKnown), (7000, ReadKnown)],
        );
        check(
            "reading that takes longer than its interval keeps nothing else from its turn",
            |story| {
                story.plan.set_interval(ms(100), story.at(100));
                story.then(200, ReadKnown);
                // It took a second, and a change was notified in that time.
                story.plan.notified(story.at(210));
            },
            &[(260, CatchUp), (300, ReadKnown)],
        );
        check(
            "a lost subscription is made again, then everything is read: changes in between were not notified",
            |story| {
                story.plan.lost(&RedisFailure::Closed, story.at(7000));
                story.then(7500, Subscribe);
                story.plan.subscribed(story.at(7600));
                story.then(1800, Search);
                story.plan.searched(story.at(7600), ms(10));
            },
            &[(7600, ReadKnown), (17_600, ReadKnown)],
        );
    }

    #[test]
    fn a_server_that_notifies_nothing_is_searched_each_interval_where_rows_must_be_looked_for() {
        let check = |rows, told: bool, expected| {
            let mut story = Story::new("silence", rows);
            story.then(10_100, ReadKnown);
            story.plan.known_read(|silence| {
                assert_eq!(silence, INTERVAL * 2 + SILENCE);
                told
            });
            assert_eq!(story.plan.next().1, expected);
        };
        check(Rows::All, false, Search);
        check(Rows::All, true, ReadKnown);
        check(Rows::OfPorts, false, ReadKnown);
    }

    #[test]
    fn a_torn_copy_is_not_shown_before_a_search_has_made_it_anew() {
        let mut story = Story::new("torn", Rows::All);
        story.plan.want_search();
        assert!(story.plan.is_whole());
        story.plan.tear();
        assert!(!story.plan.is_whole());
        story.then(1800, Search);
        assert!(!story.plan.is_whole());
        story.plan.searched(story.at(1800), ms(1));
        assert!(story.plan.is_whole());
        assert_eq!(story.plan.search_at(), None);
    }
}
