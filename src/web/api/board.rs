//! The rows of all ports as event streams show them, and what changed in which order. One board serves all streams, so a change
//! is found and written as JSON once.
//!
//! Each change has a number. A stream remembers the number up to which it has sent, and asks for what is newer. So a port that
//! changes often is sent once with its latest row, and a client that does not read costs nothing but its number.
//!
//! Rows can change faster than a stream may send: with 10,000 ports the time of the last success changes a thousand times a
//! second. So there are two queues, which take turns: all changes, and the news: changes of a state, and of the fleet's counts.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::fleet_summary::FleetSummary;
use super::json;
use super::port_row::PortRow;
use crate::model::{PortFacts, PortReason, SocStatus, SocView, TargetId, View};

/// The rows in one message.
pub(super) const ROWS_PER_MESSAGE: usize = 100;
/// Removed ports that are remembered. A stream that missed more gets all rows again.
const REMOVED: usize = 1_000;

/// A message of a stream.
#[derive(Debug, PartialEq)]
pub(super) struct Message {
    /// Its type: fleet, ports, removed or reset.
    pub(super) event: &'static str,
    /// Up to which change the stream has sent everything, with this message.
    pub(super) number: u64,
    /// JSON in one line.
    pub(super) data: String,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// The number of the last change.
    last: u64,
    fleet: BoardFleet,
    rows: BTreeMap<TargetId, BoardRow>,
    /// Oldest first.
    removed: VecDeque<(u64, TargetId)>,
    /// The number of the last removal that is forgotten.
    forgotten: u64,
}

#[derive(Debug, Default)]
struct BoardFleet {
    number: u64,
    /// Without the time of the answer, which is never the same.
    compared: String,
    data: String,
}

/// Up to where a stream has sent.
#[derive(Debug, Default)]
pub(super) struct SentUpTo {
    /// All changes up to this one.
    all: u64,
    /// News after `news_from` and up to this one.
    news: u64,
    news_from: u64,
    news_is_next: bool,
    /// Removals up to this one are of ports that the stream never had.
    never_had: u64,
}

impl SentUpTo {
    /// All changes up to `number`.
    pub(super) fn at(number: u64) -> Self {
        Self {
            all: number,
            ..Self::default()
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.all
    }

    /// Whether this stream has yet to send a change from `queue`. `news`: the number of its last change that is news.
    fn lacks(&self, queue: Queue, number: u64, news: u64) -> bool {
        match queue {
            Queue::News => news > self.news.max(self.all),
            Queue::All => {
                let sent_as_news = (self.news_from + 1..=self.news).contains(&number);
                number > self.all && !(number == news && sent_as_news)
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Queue {
    All,
    News,
}

#[derive(Debug)]
struct BoardRow {
    number: u64,
    /// The number of the last change of a state.
    news: u64,
    /// What the row was made from: if these are the same, so is the row.
    from: (Arc<SocStatus>, Option<PortFacts>, PortReason),
    data: String,
}

impl BoardRow {
    fn is_from(&self, soc: &SocView) -> bool {
        let (status, facts, reason) = &self.from;
        Arc::ptr_eq(status, &soc.status) && *facts == soc.facts && *reason == soc.reason
    }

    /// Whether a state of `soc` differs: more than times and texts.
    fn is_news(&self, soc: &SocView) -> bool {
        let (old, facts, reason) = &self.from;
        let new = &*soc.status;
        let is_same = (old.channel.state, old.maintenance) == (new.channel.state, new.maintenance)
            && old.observed == new.observed;
        !is_same || *facts != soc.facts || *reason != soc.reason
    }
}

impl Board {
    /// Whether nothing was ever shown here.
    pub(super) fn is_new(&self) -> bool {
        self.last == 0
    }

    /// Shows `view`. `beat`: sends the fleet even if nothing changed, as a sign of life.
    pub(super) fn show(&mut self, view: &View, beat: bool) {
        let gone = self.rows.keys().filter(|id| {
            let found = view.socs.binary_search_by(|soc| soc.status.target.id.cmp(id));
            found.is_err()
        });
        for id in gone.cloned().collect::<Vec<_>>() {
            self.rows.remove(&id);
            self.last += 1;
            self.removed.push_back((self.last, id));
        }
        while self.removed.len() > REMOVED {
            self.forgotten = self
                .removed
                .pop_front()
                .map_or(self.forgotten, |(number, _)| number);
        }
        for soc in &view.socs {
            self.show_row(soc);
        }
        let summary = FleetSummary::of(view);
        let data = json(&summary);
        // If each new time were a change, the fleet would always be newer than some row, and never be its stream's next.
        let compared = json(&summary.without_times());
        if beat || compared != self.fleet.compared {
            self.last += 1;
            self.fleet = BoardFleet {
                number: self.last,
                compared,
                data,
            };
        }
    }

    fn show_row(&mut self, soc: &SocView) {
        let known = self.rows.get(&soc.status.target.id);
        if known.is_some_and(|row| row.is_from(soc)) {
            return;
        }
        let data = json(&PortRow::of(soc));
        let (number, news) = match known {
            // Something changed that a row does not show.
            Some(row) if row.data == data => (row.number, row.news),
            _ => {
                self.last += 1;
                let old = known.filter(|row| !row.is_news(soc));
                (self.last, old.map_or(self.last, |row| row.news))
            }
        };
        let from = (soc.status.clone(), soc.facts, soc.reason);
        let row = BoardRow {
            number,
            news,
            from,
            data,
        };
        self.rows.insert(soc.status.target.id.clone(), row);
    }

    /// Where a stream begins that has nothing yet. Its client may ask for all rows at once by another request, so a port that
    /// leaves from now on is one that it may have.
    pub(super) fn beginning(&self) -> SentUpTo {
        SentUpTo {
            never_had: self.last,
            ..SentUpTo::default()
        }
    }

    /// Whether a stream at `place` missed removals that are forgotten.
    pub(super) fn is_lost(&self, place: &SentUpTo) -> bool {
        !self.knows(place.all.max(place.never_had))
    }

    /// The fleet now: what a stream begins with.
    pub(super) fn fleet(&self) -> Message {
        Message {
            event: "fleet",
            // Nothing else is sent yet.
            number: 0,
            data: self.fleet.data.clone(),
        }
    }

    /// Whether a stream that has sent up to `number` can go on from there.
    pub(super) fn knows(&self, number: u64) -> bool {
        (self.forgotten..=self.last).contains(&number)
    }

    /// The next message for a stream at `place`; `None`: there is nothing new.
    pub(super) fn after(&self, place: &mut SentUpTo) -> Option<Message> {
        if place.all == self.last {
            return None;
        }
        // What changed before a stream began is not news to it: it gets all rows.
        if place.news == 0 {
            (place.news, place.news_from) = (self.last, self.last);
        }
        let queues = match place.news_is_next {
            // The removal of a port must not follow the news that it is back.
            _ if self.owes_removals(place) => [Queue::All, Queue::All],
            true => [Queue::News, Queue::All],
            false => [Queue::All, Queue::News],
        };
        let found = queues
            .into_iter()
            .find_map(|queue| Some((queue, self.next_of(queue, place)?)));
        if let Some((queue, message)) = &found {
            match queue {
                Queue::News => place.news = message.number,
                Queue::All => place.all = message.number,
            }
            place.news_is_next = *queue == Queue::All;
        }
        if !self.has_more(place) {
            place.all = self.last;
        }
        let (_, message) = found?;
        Some(Message {
            number: place.all,
            ..message
        })
    }

    /// Whether anything is left to send.
    fn has_more(&self, place: &SentUpTo) -> bool {
        place.lacks(Queue::All, self.fleet.number, self.fleet.number)
            || self.owed(Queue::All, place).next().is_some()
            || self
                .rows
                .values()
                .any(|row| place.lacks(Queue::All, row.number, row.news))
    }

    /// Whether the stream has yet to send a removal from before its first news.
    fn owes_removals(&self, place: &SentUpTo) -> bool {
        self.owed(Queue::All, place)
            .any(|(number, _)| *number <= place.news_from)
    }

    /// The removals of ports that the stream had, and has yet to send.
    fn owed<'a>(&'a self, queue: Queue, place: &'a SentUpTo) -> impl Iterator<Item = &'a (u64, TargetId)> {
        self.removed
            .iter()
            .filter(move |(number, _)| *number > place.never_had && place.lacks(queue, *number, *number))
    }

    /// The next message of a queue. Its number is the last one in it.
    fn next_of(&self, queue: Queue, place: &SentUpTo) -> Option<Message> {
        let rows = self
            .rows
            .values()
            .filter(|row| place.lacks(queue, row.number, row.news));
        let numbered = |row: &'_ BoardRow| match queue {
            Queue::All => row.number,
            Queue::News => row.news,
        };
        let mut rows: Vec<(u64, &str)> = rows.map(|row| (numbered(row), &*row.data)).collect();
        rows.sort_unstable_by_key(|(number, _)| *number);
        let removed: Vec<_> = self.owed(queue, place).collect();
        let of = [
            Some(self.fleet.number).filter(|number| place.lacks(queue, *number, *number)),
            rows.first().map(|(number, _)| *number),
            removed.first().map(|(number, _)| *number),
        ];
        let [fleet, row, gone] = of;
        let next = of.into_iter().flatten().min()?;
        // A message ends before the next change of another kind, so that the order is kept.
        let until = of.into_iter().flatten().filter(|number| *number > next).min();
        let fits = |number: u64| until.is_none_or(|until| number < until);
        if fleet == Some(next) {
            return Some(Message {
                number: next,
                ..self.fleet()
            });
        }
        let (event, parts) = if gone == Some(next) {
            let names = removed
                .into_iter()
                .map(|(number, id)| (*number, json(&id.key()).into()));
            ("removed", listed(names, fits))
        } else {
            debug_assert!(row == Some(next));
            let rows = rows.into_iter().map(|(number, data)| (number, data.into()));
            ("ports", listed(rows, fits))
        };
        let (number, data) = parts;
        Some(Message {
            event,
            number: number.unwrap_or(next),
            data,
        })
    }
}

/// The data of a message with these parts, as many as fit, and the number of the last one.
fn listed<'a>(
    parts: impl Iterator<Item = (u64, Cow<'a, str>)>,
    fits: impl Fn(u64) -> bool,
) -> (Option<u64>, String) {
    let (mut last, mut data) = (None, "{\"ports\":[".to_owned());
    for (number, part) in parts
        .take_while(|(number, _)| fits(*number))
        .take(ROWS_PER_MESSAGE)
    {
        if last.replace(number).is_some() {
            data.push(',');
        }
        data.push_str(&part);
    }
    data.push_str("]}");
    (last, data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PortReason;
    use crate::telemetry::testing::{empty_view, status};

    fn soc(port: &str) -> SocView {
        SocView {
            status: Arc::new(status(port)),
            facts: None,
            reason: PortReason::ChannelNotReady,
        }
    }

    fn view(socs: &[SocView]) -> View {
        View {
            socs: socs.to_vec(),
            ..empty_view()
        }
    }

    /// All messages after `sent`: the event, and the ports in it.
    fn messages(board: &Board, sent: u64) -> Vec<(&'static str, Vec<String>)> {
        messages_from(board, SentUpTo::at(sent))
    }

    fn messages_from(board: &Board, mut place: SentUpTo) -> Vec<(&'static str, Vec<String>)> {
        let mut all = Vec::new();
        while let Some(message) = board.after(&mut place) {
            assert_eq!(message.number, place.number());
            assert!(all.len() < 100, "it does not end: {all:?}");
            let data: serde_json::Value = serde_json::from_str(&message.data).expect("JSON");
            let ports = data["ports"].as_array().into_iter().flatten();
            let name = |port: &serde_json::Value| {
                let name = port.as_str().or(port["port"].as_str());
                name.expect("a name").to_owned()
            };
            all.push((message.event, ports.map(name).collect()));
        }
        assert_eq!(place.number(), board.last);
        all
    }

    fn names(ports: &[&str]) -> Vec<String> {
        ports.iter().map(|port| (*port).to_owned()).collect()
    }

    #[test]
    fn only_what_changed_is_sent_and_the_latest_of_it() {
        let mut board = Board::default();
        let mut socs = [soc("Ethernet0"), soc("Ethernet4"), soc("Ethernet12")];
        board.show(&view(&socs), false);
        let all = messages(&board, 0);
        assert_eq!(
            all,
            [
                ("ports", names(&["Ethernet0", "Ethernet4", "Ethernet12"])),
                ("fleet", Vec::new())
            ]
        );
        let before = board.last;
        board.show(&view(&socs), false);
        assert_eq!(board.last, before, "nothing changed");
        // Another status with the same row.
        socs[0].status = Arc::new((*socs[0].status).clone());
        board.show(&view(&socs), false);
        assert_eq!(board.last, before, "no row changed");
        for reason in [PortReason::Stale, PortReason::Healthy] {
            socs[1].reason = reason;
            board.show(&view(&socs), false);
        }
        let (events, ports): (Vec<_>, Vec<_>) = messages(&board, before).into_iter().unzip();
        assert_eq!(events, ["ports", "fleet"]);
        assert_eq!(ports[0], names(&["Ethernet4"]));
    }

    #[test]
    fn the_fleet_gets_its_turn_though_rows_always_change() {
        let mut board = Board::default();
        let mut socs = [soc("Ethernet0"), soc("Ethernet4")];
        board.show(&view(&socs), false);
        let mut place = SentUpTo::at(board.last);
        socs[1].reason = PortReason::Healthy;
        let mut events = Vec::new();
        // Each time the board is shown, a stream sends one message.
        for n in 1..5 {
            let mut status = (*socs[0].status).clone();
            status.last_success = Some(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(n));
            socs[0].status = Arc::new(status);
            board.show(&view(&socs), false);
            events.push(board.after(&mut place).expect("a change").event);
        }
        assert_eq!(events, ["ports", "fleet", "ports", "ports"]);
    }

    #[test]
    fn a_port_that_becomes_bad_does_not_wait_behind_rows_with_new_times() {
        let mut board = Board::default();
        let mut socs: Vec<SocView> = (0..1_000).map(|n| soc(&format!("Ethernet{n}"))).collect();
        board.show(&view(&socs), false);
        let mut place = SentUpTo::at(board.last);
        // Each time all rows have a new time, and a stream may send one message.
        let mut told = None;
        for n in 1..10_u32 {
            for soc in &mut socs {
                let mut status = (*soc.status).clone();
                status.last_success = Some(std::time::UNIX_EPOCH + std::time::Duration::from_secs(n.into()));
                soc.status = Arc::new(status);
            }
            if n == 5 {
                socs[700].reason = PortReason::ServerDark;
            }
            board.show(&view(&socs), false);
            let message = board.after(&mut place).expect("a change");
            if message.data.contains("server_dark") {
                told.get_or_insert(n);
            }
        }
        assert!(told.is_some_and(|n| n <= 6), "{told:?}");
        assert!(place.number() < board.last);
    }

    #[test]
    fn a_sign_of_life_is_sent_though_nothing_changed() {
        let mut board = Board::default();
        board.show(&view(&[]), false);
        let before = board.last;
        board.show(&view(&[]), true);
        assert_eq!(messages(&board, before), [("fleet", Vec::new())]);
    }

    #[test]
    fn a_port_that_leaves_and_comes_back_is_sent_in_this_order() {
        let mut board = Board::default();
        board.show(&view(&[soc("Ethernet0"), soc("Ethernet4")]), false);
        let before = board.last;
        board.show(&view(&[soc("Ethernet4")]), false);
        board.show(&view(&[soc("Ethernet0"), soc("Ethernet4")]), false);
        let all = messages(&board, before);
        let of_ports: Vec<_> = all.into_iter().filter(|(event, _)| *event != "fleet").collect();
        assert_eq!(of_ports[0], ("removed", names(&["Ethernet0"])));
        assert_eq!(of_ports[1].0, "ports");
    }

    #[test]
    fn a_port_that_came_back_while_a_stream_was_behind_stays() {
        let mut socs: Vec<SocView> = (0..300).map(|n| soc(&format!("Ethernet{n}"))).collect();
        let mut board = Board::default();
        board.show(&view(&socs), false);
        let mut places = [board.beginning(), SentUpTo::at(board.last)];
        for soc in &mut socs {
            soc.reason = PortReason::Healthy;
        }
        board.show(&view(&socs), false);
        board.show(&view(&socs[1..]), false);
        // A stream that begins now, and one that comes back, have sent one message when the port is back.
        for place in &mut places {
            board.after(place).expect("rows");
        }
        board.show(&view(&socs), false);
        for mut place in places {
            let mut last = None;
            let mut removals = 0;
            while let Some(message) = board.after(&mut place) {
                if message.data.contains("\"Ethernet0\"") {
                    last = Some(message.event);
                }
                removals += usize::from(message.event == "removed");
            }
            assert_eq!(last, Some("ports"));
            assert_eq!(removals, 1, "both may have the port from before");
        }
    }

    #[test]
    fn a_port_that_leaves_as_a_stream_begins_is_removed_as_its_client_may_have_it() {
        let mut board = Board::default();
        board.show(
            &view(&[soc("Ethernet0"), soc("Ethernet4"), soc("Ethernet8")]),
            false,
        );
        board.show(&view(&[soc("Ethernet0"), soc("Ethernet4")]), false);
        let place = board.beginning();
        board.show(&view(&[soc("Ethernet0")]), false);
        let of_ports: Vec<_> = messages_from(&board, place)
            .into_iter()
            .filter(|(event, _)| *event != "fleet")
            .collect();
        let expected = [
            ("ports", names(&["Ethernet0"])),
            ("removed", names(&["Ethernet4"])),
        ];
        assert_eq!(of_ports, expected);
    }

    #[test]
    fn a_stream_begins_once_though_many_ports_left_before() {
        let many: Vec<SocView> = (0..1_250).map(|n| soc(&format!("Ethernet{n}"))).collect();
        let mut board = Board::default();
        board.show(&view(&many), false);
        board.show(&view(&many[..150]), false);
        assert!(
            board.forgotten > 150,
            "rows that are older than a forgotten removal"
        );
        let mut place = board.beginning();
        while board.after(&mut place).is_some() {
            assert!(!board.is_lost(&place));
        }
        // As many again, and it had all of them.
        board.show(&view(&many), false);
        let mut place = board.beginning();
        assert!(board.after(&mut place).is_some());
        board.show(&view(&[]), false);
        assert!(board.is_lost(&place));
    }

    #[test]
    fn a_message_has_at_most_a_hundred_rows_and_forgotten_removals_mean_a_new_start() {
        let many: Vec<SocView> = (0..1_250).map(|n| soc(&format!("Ethernet{n}"))).collect();
        let mut board = Board::default();
        board.show(&view(&many), false);
        let all = messages(&board, 0);
        let sizes: Vec<usize> = all.iter().map(|(_, ports)| ports.len()).collect();
        assert_eq!(sizes, [vec![100; 12], vec![50, 0]].concat());
        let before = board.last;
        assert!(board.knows(before) && !board.knows(before + 1));
        board.show(&view(&many[..10]), false);
        assert!(!board.knows(before), "240 removals are forgotten");
        assert!(board.knows(board.last));
    }
}
