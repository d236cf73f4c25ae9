//! The parameters of `/api/v1/ports` and of the page `/`: which ports, in which order, how many. Pure.

use std::cmp::Ordering;
use std::fmt::Display;

use crate::model::text::quote;
use crate::model::{ChannelState, End, PortLevel, SocView};
use crate::web::cells;

/// How many ports an answer has at most, if the request does not say.
pub(super) const DEFAULT_LIMIT: usize = 1_000;
/// How many a request may ask for.
const MAX_LIMIT: usize = 5_000;
/// The longest text to search for, bytes. A port's name has at most 64.
const MAX_SEARCH: usize = 200;

/// The parameters' names.
const PARAMETERS: [&str; 6] = ["level", "state", "q", "sort", "limit", "offset"];

/// The order of ports. Equal ports are in the order of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::web) enum SortBy {
    /// By level, then by reason: the worst first.
    Worst,
    /// By name.
    Port,
    /// The channel's last change: the newest first.
    Since,
    /// Our side's direction: the unusual first.
    Own,
    /// The peer's side.
    Peer,
    /// Both links.
    Link,
    /// Health.
    Health,
    /// Announced maintenance.
    Service,
    /// The last good round: the oldest first.
    LastSuccess,
    /// The last error: the newest first.
    LastError,
}

impl SortBy {
    const ALL: [Self; 10] = [
        Self::Worst,
        Self::Port,
        Self::Since,
        Self::Own,
        Self::Peer,
        Self::Link,
        Self::Health,
        Self::Service,
        Self::LastSuccess,
        Self::LastError,
    ];

    /// Its name in requests.
    pub(in crate::web) const fn label(self) -> &'static str {
        match self {
            Self::Worst => "worst",
            Self::Port => "port",
            Self::Since => "since",
            Self::Own => "self",
            Self::Peer => "peer",
            Self::Link => "link",
            Self::Health => "health",
            Self::Service => "service",
            Self::LastSuccess => "last_success",
            Self::LastError => "last_error",
        }
    }

    fn compare(self, a: &SocView, b: &SocView) -> Ordering {
        let (one, other) = (&*a.status, &*b.status);
        let by = |cell: fn(&crate::model::SocStatus) -> cells::PortCell| cell(one).cmp(&cell(other));
        let error_at = |soc: &SocView| soc.status.last_error.as_ref().map(|error| error.at);
        match self {
            Self::Worst => (b.reason.level(), a.reason).cmp(&(a.reason.level(), b.reason)),
            Self::Port => Ordering::Equal,
            Self::Since => other.channel.last_transition.cmp(&one.channel.last_transition),
            Self::Own => by(|status| cells::direction(status, End::Own)),
            Self::Peer => by(|status| cells::direction(status, End::Peer)),
            Self::Link => by(cells::links),
            Self::Health => by(cells::health),
            Self::Service => by(cells::service),
            Self::LastSuccess => one.last_success.cmp(&other.last_success),
            Self::LastError => error_at(b).cmp(&error_at(a)),
        }
    }
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::web) struct Selection {
    /// Empty: all levels.
    pub(in crate::web) levels: Vec<PortLevel>,
    /// Empty: all states.
    states: Vec<ChannelState>,
    /// Lower case; empty: all ports.
    pub(in crate::web) search: String,
    pub(in crate::web) sort: SortBy,
    limit: usize,
    offset: usize,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            levels: Vec::new(),
            states: Vec::new(),
            search: String::new(),
            sort: SortBy::Worst,
            limit: DEFAULT_LIMIT,
            offset: 0,
        }
    }
}

impl Selection {
    /// Reads the part of the URL after `?`, for the API: an unknown parameter, or one that is given twice, is an error, because the
    /// answer would not be what the client means. The error says which parameter is bad and what was expected.
    pub(in crate::web) fn parse(query: &str) -> Result<Self, String> {
        let mut selection = Self::default();
        let mut seen = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if !PARAMETERS.contains(&&*name) {
                let known = PARAMETERS.join(", ");
                return Err(format!("unknown parameter {}: expected {known}", quote(&name)));
            }
            if seen.contains(&name) {
                return Err(format!(
                    "{name}: expected once, got twice; level and state take more than one value with commas between them"
                ));
            }
            selection.set(&name, &value)?;
            seen.push(name);
        }
        Ok(selection)
    }

    /// The same for the page, whose URLs are pasted and followed: others add parameters to them (`utm_source`), which are ignored. Of a
    /// parameter that is given twice the first counts, as for the page's script.
    pub(in crate::web) fn of_page(query: &str) -> Result<Self, String> {
        let mut selection = Self::default();
        let mut left = PARAMETERS.to_vec();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if let Some(place) = left.iter().position(|known| *known == name) {
                left.swap_remove(place);
                selection.set(&name, &value)?;
            }
        }
        Ok(selection)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let bad = |expected: &str| Err(format!("{name}: expected {expected}, got {}", quote(value)));
        match name {
            "level" => match words(value, PortLevel::ALL) {
                Some(levels) => self.levels = levels,
                None => return bad(&listed(PortLevel::ALL)),
            },
            "state" => match words(value, ChannelState::ALL) {
                Some(states) => self.states = states,
                None => return bad(&listed(ChannelState::ALL)),
            },
            "q" => match search(value) {
                Ok(search) => self.search = search,
                Err(expected) => return bad(&expected),
            },
            "sort" => match SortBy::ALL.iter().find(|sort| sort.label() == value) {
                Some(sort) => self.sort = *sort,
                None => {
                    let all: Vec<_> = SortBy::ALL.iter().map(|sort| sort.label()).collect();
                    return bad(&all.join(", "));
                }
            },
            "limit" => match limit(value) {
                Ok(limit) => self.limit = limit,
                Err(expected) => return bad(&expected),
            },
            "offset" => match offset(value) {
                Ok(offset) => self.offset = offset,
                Err(expected) => return bad(&expected),
            },
            _ => {}
        }
        Ok(())
    }

    /// How many ports match, and the places of those in this answer, in their order.
    pub(in crate::web) fn of(&self, socs: &[SocView]) -> (usize, Vec<usize>) {
        let mut places: Vec<usize> = (0..socs.len()).filter(|n| self.takes(&socs[*n])).collect();
        // Stable: equals stay in the order of their ports.
        places.sort_by(|a, b| self.sort.compare(&socs[*a], &socs[*b]));
        let total = places.len();
        let chosen = places.into_iter().skip(self.offset).take(self.limit);
        (total, chosen.collect())
    }

    fn takes(&self, soc: &SocView) -> bool {
        let level = soc.reason.level();
        (self.levels.is_empty() || self.levels.contains(&level))
            && (self.states.is_empty() || self.states.contains(&soc.status.channel.state))
            && (self.search.is_empty() || self.is_found_in(soc))
    }

    /// In everything that a table shows of the port as text.
    fn is_found_in(&self, soc: &SocView) -> bool {
        let status = &soc.status;
        let has = |text: &str| text.to_lowercase().contains(&self.search);
        has(&status.target.id.key())
            || has(soc.reason.label())
            || has(soc.reason.text())
            || has(status.channel.state.label())
            || has(&status.target.address.to_string())
            || status.observed.version.as_deref().is_some_and(has)
            || status
                .last_error
                .as_ref()
                .is_some_and(|error| has(&error.to_string()))
    }
}

/// A text to search for, in lower case; or what was expected.
pub(super) fn search(value: &str) -> Result<String, String> {
    if value.len() > MAX_SEARCH {
        return Err(format!("at most {MAX_SEARCH} bytes"));
    }
    Ok(value.to_lowercase())
}

/// How many rows an answer has at most; or what was expected.
pub(super) fn limit(value: &str) -> Result<usize, String> {
    match value.parse() {
        Ok(limit @ 1..=MAX_LIMIT) => Ok(limit),
        _ => Err(format!("a number from 1 to {MAX_LIMIT}")),
    }
}

/// How many rows are left out at the beginning; or what was expected.
pub(super) fn offset(value: &str) -> Result<usize, String> {
    let offset = value.parse::<u32>();
    let offset = offset.map_err(|_| "a number from 0 to 4294967295".to_owned())?;
    Ok(offset as usize)
}

/// Words with commas between them, all of the set.
pub(super) fn words<T: Copy + Display>(value: &str, all: &[T]) -> Option<Vec<T>> {
    let known = |word: &str| all.iter().find(|known| known.to_string() == word).copied();
    value.split(',').map(known).collect()
}

pub(super) fn listed<T: Display>(all: &[T]) -> String {
    let words: Vec<String> = all.iter().map(ToString::to_string).collect();
    format!("{} (more than one: with commas)", words.join(", "))
}
