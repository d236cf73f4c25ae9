//! The parameters of `/api/v1/ports` and of the page `/`: which ports, in which order, how many. Pure.

use std::cmp::Ordering;

use super::url_parameters::{DEFAULT_LIMIT, each_known, first_of_each, limit, offset, search, words};
use crate::model::text::quote;
use crate::model::{ChannelState, End, PortLevel, SocView};
use crate::web::cells;

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

    /// The order with this name; or what was expected.
    fn read(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|sort| sort.label() == name);
        found.ok_or_else(|| Self::ALL.map(Self::label).join(", "))
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
    /// Reads the part of the URL after `?`, for the API.
    pub(in crate::web) fn parse(query: &str) -> Result<Self, String> {
        let mut selection = Self::default();
        each_known(query, &PARAMETERS, |name, value| selection.set(name, value))?;
        Ok(selection)
    }

    /// The same for the page.
    pub(in crate::web) fn of_page(query: &str) -> Result<Self, String> {
        let mut selection = Self::default();
        first_of_each(query, &PARAMETERS, |name, value| selection.set(name, value))?;
        Ok(selection)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let set = match name {
            "level" => words(value, PortLevel::ALL).map(|levels| self.levels = levels),
            "state" => words(value, ChannelState::ALL).map(|states| self.states = states),
            "q" => search(value).map(|found| self.search = found),
            "sort" => SortBy::read(value).map(|sort| self.sort = sort),
            "limit" => limit(value).map(|found| self.limit = found),
            "offset" => offset(value).map(|found| self.offset = found),
            _ => Ok(()),
        };
        set.map_err(|expected| format!("{name}: expected {expected}, got {}", quote(value)))
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
