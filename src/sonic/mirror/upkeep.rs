//! When a copy is due to be made anew (pure): at once after a change that nobody tells of, but never so often that looking for
//! rows costs Redis, which others need, more than a twentieth of its time.

use std::time::{Duration, Instant};

/// A search takes as long as the database is large, its own tables or others': the next begins this many times later.
const SHARE: u32 = 20;

/// When to look for rows next.
#[derive(Debug)]
pub(super) struct Upkeep {
    /// The last search began then, and took so long.
    began: Instant,
    took: Duration,
    /// Somebody wants another.
    wanted: bool,
    /// Until then what there is may be half of the old and half of the new.
    torn: bool,
}

impl Upkeep {
    /// After the first.
    pub(super) fn after(began: Instant, took: Duration) -> Self {
        Self {
            began,
            took,
            wanted: false,
            torn: false,
        }
    }

    /// Rows may have come or gone.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// The copy is not to be shown before it is made anew.
    pub(super) fn is_torn(&mut self) {
        (self.wanted, self.torn) = (true, true);
    }

    /// Whether the copy may be shown.
    pub(super) fn is_whole(&self) -> bool {
        !self.torn
    }

    /// When to look for rows, if at all.
    pub(super) fn due(&self) -> Option<Instant> {
        self.wanted.then(|| self.began + self.took * SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_search_waits_twenty_times_as_long_as_the_last_took() {
        let began = Instant::now();
        let mut upkeep = Upkeep::after(began, Duration::from_millis(900));
        assert_eq!(upkeep.due(), None);
        upkeep.want();
        assert_eq!(upkeep.due(), Some(began + Duration::from_secs(18)));
        assert!(upkeep.is_whole());
        upkeep.is_torn();
        assert!(!upkeep.is_whole());
        assert_eq!(upkeep.due(), Some(began + Duration::from_secs(18)));
    }
}
