//! CONFIG_DB while another process rewrites it: a row that is missing for a moment does not remove a port.
//!
//! Pure: takes the content of CONFIG_DB whenever it is complete, and the time; emits the tables to use. A rewrite is DEL and
//! then HSET, milliseconds to seconds later, and in between a reader sees no row or half of one. So the last content of a row
//! is kept for a while after it has become *silent*: it is gone, is not a hash, or lacks the field that matters. A row with
//! different content is used at once.
//!
//! | row | kept for |
//! |---|---|
//! | `DEVICE_METADATA\|localhost` | `WHOLE` |
//! | Loopback3's address, while there is no other one of its family | `WHOLE` |
//! | a port of `MUX_CABLE`, while other ports are there | `ROW` from then or from another's return; at most `WHOLE` |
//! | all ports of `MUX_CABLE` at once (two or more) | `WHOLE` |
//!
//! `GRPCCLIENT` is not here: its last settings are kept without a time limit (`grpc_client::Secured`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{mux_cable, tor_side};
use crate::model::schema;
use crate::model::{Entry, Tables};

/// How long a rewrite of something that concerns all ports may take: a person, a script or `config apply-patch` takes seconds.
const WHOLE: Duration = Duration::from_secs(10);
/// How long a rewrite of one port's row may take. A port that is removed for good is probed for this time.
const ROW: Duration = Duration::from_secs(2);

/// See the module's page.
#[derive(Debug, Default)]
pub struct Hold {
    /// The content of CONFIG_DB when it was last complete.
    latest: Option<Arc<Tables>>,
    /// The same, with the rows that are kept.
    shown: Option<Arc<Tables>>,
    /// The keys that are kept, and since when they have been silent.
    kept: BTreeMap<String, Instant>,
    /// When a port's kept row last came back.
    returned: Option<Instant>,
}

/// What a key of CONFIG_DB means for us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HeldRow {
    Metadata,
    Loopback3,
    Port,
}

impl Hold {
    /// The tables to use at `now`. `complete`: the content of CONFIG_DB. `None`: it cannot be read or is not complete. Then
    /// everything stays as it was, and the time for kept rows starts again when it is complete again.
    pub fn take(&mut self, complete: Option<&Arc<Tables>>, now: Instant) -> Option<Arc<Tables>> {
        let Some(latest) = complete else {
            self.kept.values_mut().for_each(|since| *since = now);
            return self.shown.clone();
        };
        let same = self
            .latest
            .as_ref()
            .is_some_and(|before| Arc::ptr_eq(before, latest));
        if !(same && self.kept.is_empty()) {
            self.latest = Some(latest.clone());
            self.shown = Some(match self.shown.take() {
                Some(before) => self.merge(&before, latest, now),
                None => latest.clone(),
            });
        }
        self.shown.clone()
    }

    /// When the first kept row will no longer be kept, if nothing changes.
    pub fn until(&self) -> Option<Instant> {
        let latest = self.latest.as_ref()?;
        let limits = self.kept.iter().map(|(key, since)| {
            let alone = self.is_table_gone(latest);
            self.limit(held_row(latest, key), *since, alone)
        });
        limits.min()
    }

    /// The keys that are kept.
    pub fn kept(&self) -> impl Iterator<Item = &str> {
        self.kept.keys().map(String::as_str)
    }

    fn merge(&mut self, before: &Tables, latest: &Arc<Tables>, now: Instant) -> Arc<Tables> {
        let silent: BTreeMap<&str, &Arc<Entry>> = before
            .iter()
            .filter(|(key, entry)| has_fallen_silent(key, entry, latest))
            .collect();
        let back = |key: &String| {
            !silent.contains_key(key.as_str())
                && held_row(latest, key) == Some(HeldRow::Port)
                && latest.get(key).is_some()
        };
        if self.kept.keys().any(back) {
            self.returned = Some(now);
        }
        let since = |key: &str| self.kept.get(key).copied().unwrap_or(now);
        self.kept = silent.keys().map(|key| ((*key).to_owned(), since(key))).collect();
        let alone = self.is_table_gone(latest);
        let over: Vec<String> = self
            .kept
            .iter()
            .filter(|(key, since)| self.limit(held_row(latest, key), **since, alone) <= now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in over {
            self.kept.remove(&key);
        }
        if self.kept.is_empty() {
            return latest.clone();
        }
        let mut shown = (**latest).clone();
        for (key, entry) in silent {
            if self.kept.contains_key(key) {
                shown.put(key.to_owned(), entry.clone());
            }
        }
        Arc::new(shown)
    }

    /// Whether two or more ports have become silent and none is left.
    fn is_table_gone(&self, latest: &Tables) -> bool {
        let ports = self
            .kept
            .keys()
            .filter(|key| held_row(latest, key) == Some(HeldRow::Port));
        ports.count() > 1
            && !latest
                .table(schema::MUX_CABLE)
                .any(|(_, entry)| mux_cable::is_ours(entry))
    }

    fn limit(&self, row: Option<HeldRow>, since: Instant, table_is_gone: bool) -> Instant {
        match row {
            Some(HeldRow::Port) if !table_is_gone => {
                let from = self.returned.map_or(since, |returned| returned.max(since));
                (from + ROW).min(since + WHOLE)
            }
            _ => since + WHOLE,
        }
    }
}

fn held_row(tables: &Tables, key: &str) -> Option<HeldRow> {
    let (table, row) = key.split_once(tables.separator())?;
    match table {
        schema::DEVICE_METADATA if row == schema::LOCALHOST => Some(HeldRow::Metadata),
        schema::LOOPBACK_INTERFACE => tor_side::loopback3(tables, row).map(|_| HeldRow::Loopback3),
        schema::MUX_CABLE => Some(HeldRow::Port),
        _ => None,
    }
}

/// Whether the row had the field that matters, and has lost it.
fn has_fallen_silent(key: &str, before: &Entry, latest: &Tables) -> bool {
    let now = latest.get(key).map(|entry| &**entry);
    match held_row(latest, key) {
        Some(HeldRow::Metadata) => {
            // An ASIC's row may have no subtype. Then sub_role shows what it is.
            let mut fields = [tor_side::SUBTYPE, tor_side::SUB_ROLE].into_iter();
            let field = fields.find(|field| before.field(field).is_some());
            field.is_some_and(|field| now.and_then(|entry| entry.field(field)).is_none())
        }
        Some(HeldRow::Loopback3) => {
            let address = |key: &str, entry: &Entry| {
                let (_, row) = key.split_once(latest.separator())?;
                matches!(entry, Entry::Row(_)).then(|| tor_side::loopback3(latest, row))?
            };
            let Some(ip) = address(key, before) else {
                return false;
            };
            let mut others = latest.iter().filter_map(|(key, entry)| address(key, entry));
            !others.any(|other| other.is_ipv4() == ip.is_ipv4())
        }
        Some(HeldRow::Port) => mux_cable::is_ours(before) && now.is_none_or(mux_cable::is_silent),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Row;

    fn tables(rows: &[(&str, &str)]) -> Arc<Tables> {
        let mut tables = Tables::new("|");
        for (key, fields) in rows {
            let fields = fields.split_whitespace().map(|field| {
                let (name, value) = field.split_once('=').expect("name=value");
                (name.to_owned(), value.to_owned())
            });
            tables.set((*key).to_owned(), Some(Entry::Row(fields.collect::<Row>())));
        }
        Arc::new(tables)
    }

    const METADATA: (&str, &str) = ("DEVICE_METADATA|localhost", "type=ToRRouter subtype=DualToR");
    const LOOPBACK3: (&str, &str) = ("LOOPBACK_INTERFACE|Loopback3|10.1.0.38/32", "NULL=NULL");
    const ETHERNET0: (&str, &str) = (
        "MUX_CABLE|Ethernet0",
        "cable_type=active-active soc_ipv4=192.168.0.3/32",
    );
    const ETHERNET4: (&str, &str) = (
        "MUX_CABLE|Ethernet4",
        "cable_type=active-active soc_ipv4=192.168.0.5/32",
    );
    const ALL: [(&str, &str); 4] = [METADATA, LOOPBACK3, ETHERNET0, ETHERNET4];

    struct Clock {
        hold: Hold,
        start: Instant,
    }

    impl Clock {
        fn new(rows: &[(&str, &str)]) -> Self {
            let (mut hold, start) = (Hold::default(), Instant::now());
            hold.take(Some(&tables(rows)), start);
            Self { hold, start }
        }

        /// The tables in use after this many seconds, with these rows in CONFIG_DB.
        fn at(&mut self, seconds: f64, rows: &[(&str, &str)]) -> Arc<Tables> {
            let now = self.start + Duration::from_secs_f64(seconds);
            self.hold.take(Some(&tables(rows)), now).expect("believed")
        }

        fn check(&mut self, seconds: f64, rows: &[(&str, &str)], expected: &[(&str, &str)]) {
            assert_eq!(self.at(seconds, rows), tables(expected), "after {seconds} s");
        }
    }

    #[test]
    fn metadata_that_is_gone_counts_for_ten_seconds_more() {
        let mut clock = Clock::new(&ALL);
        let without = &ALL[1..];
        clock.check(1.0, without, &ALL);
        assert_eq!(clock.hold.until(), Some(clock.start + Duration::from_secs(11)));
        clock.check(10.9, without, &ALL);
        clock.check(11.0, without, without);
        assert_eq!((clock.hold.until(), clock.hold.kept().count()), (None, 0));
    }

    #[test]
    fn a_rewrite_that_ends_in_time_is_not_noticed_and_the_next_has_its_own_ten_seconds() {
        let mut clock = Clock::new(&ALL);
        clock.check(1.0, &ALL[1..], &ALL);
        clock.check(9.0, &ALL, &ALL);
        clock.check(20.0, &ALL[1..], &ALL);
        clock.check(29.0, &ALL[1..], &ALL);
    }

    #[test]
    fn half_a_row_is_as_good_as_none_and_another_word_counts_at_once() {
        let with = |metadata: &'static str| {
            let mut rows = ALL;
            rows[0].1 = metadata;
            rows
        };
        let mut clock = Clock::new(&ALL);
        clock.check(1.0, &with("type=ToRRouter"), &ALL);
        let other = with("type=LeafRouter subtype=UpstreamLC");
        clock.check(2.0, &other, &other);
        let mut of_another_kind = (*tables(&ALL)).clone();
        of_another_kind.set(METADATA.0.to_owned(), Some(Entry::Other));
        let mut clock = Clock::new(&ALL);
        let shown = clock.hold.take(Some(&Arc::new(of_another_kind)), clock.start);
        assert_eq!(shown, Some(tables(&ALL)));
    }

    #[test]
    fn an_asic_that_has_only_a_role_keeps_it_too() {
        let role = [("DEVICE_METADATA|localhost", "sub_role=BackEnd"), ETHERNET0];
        let mut clock = Clock::new(&role);
        clock.check(1.0, &role[1..], &role);
        clock.check(11.0, &role[1..], &role[1..]);
    }

    #[test]
    fn a_port_that_is_removed_goes_after_two_seconds_and_one_that_is_rewritten_stays() {
        let mut clock = Clock::new(&ALL);
        clock.check(1.0, &ALL[..3], &ALL);
        clock.check(2.9, &ALL[..3], &ALL);
        clock.check(3.0, &ALL[..3], &ALL[..3]);
        for half in ["state=auto", "cable_type=active-active"] {
            let mut rows = ALL;
            rows[3].1 = half;
            let mut clock = Clock::new(&ALL);
            clock.check(1.0, &rows, &ALL);
            clock.check(3.0, &rows, &rows);
        }
        for word in [
            "cable_type=active-standby",
            "cable_type=active-active soc_ipv4=x",
            "cable_type=active-active soc_ipv4=192.168.0.7/32",
        ] {
            let mut rows = ALL;
            rows[3].1 = word;
            Clock::new(&ALL).check(1.0, &rows, &rows);
        }
    }

    #[test]
    fn a_whole_table_that_is_rewritten_takes_no_port_away() {
        let mut clock = Clock::new(&ALL);
        clock.check(1.0, &ALL[..2], &ALL);
        clock.check(9.0, &ALL[..2], &ALL);
        // The first is back: the others have two seconds from then.
        clock.check(9.5, &ALL[..3], &ALL);
        clock.check(10.9, &ALL[..3], &ALL);
        clock.check(10.95, &ALL, &ALL);
        // But not longer than ten seconds in total.
        clock.check(20.0, &ALL[..2], &ALL);
        clock.check(29.5, &ALL[..3], &ALL);
        clock.check(30.0, &ALL[..3], &ALL[..3]);
    }

    #[test]
    fn loopback3_that_is_gone_is_kept_until_there_is_another_of_its_family() {
        let without = [METADATA, ETHERNET0];
        let with = [METADATA, ETHERNET0, LOOPBACK3];
        let mut clock = Clock::new(&with);
        clock.check(1.0, &without, &with);
        let moved = ("LOOPBACK_INTERFACE|Loopback3|10.1.0.39/32", "NULL=NULL");
        let after = [METADATA, ETHERNET0, moved];
        clock.check(2.0, &after, &after);
        clock.check(3.0, &without, &after);
        let v6 = ("LOOPBACK_INTERFACE|Loopback3|fc00::1/128", "NULL=NULL");
        clock.check(4.0, &[METADATA, ETHERNET0, v6], &[METADATA, ETHERNET0, v6, moved]);
        clock.check(13.0, &[METADATA, ETHERNET0, v6], &[METADATA, ETHERNET0, v6]);
        // Another interface's address does not matter.
        let other = ("LOOPBACK_INTERFACE|Loopback0|10.1.0.38/32", "NULL=NULL");
        Clock::new(&[METADATA, other]).check(1.0, &[METADATA], &[METADATA]);
    }

    #[test]
    fn while_nothing_can_be_read_time_stands_still() {
        let mut clock = Clock::new(&ALL);
        clock.check(1.0, &ALL[1..], &ALL);
        let late = clock.start + Duration::from_secs(100);
        assert_eq!(clock.hold.take(None, late), Some(tables(&ALL)));
        clock.check(101.0, &ALL[1..], &ALL);
        clock.check(110.0, &ALL[1..], &ALL[1..]);
    }
}
