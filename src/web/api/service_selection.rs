//! The parameters of `/api/v1/targets` and of the page `/services`: which targets of modules, the worst first, how many. Pure.

use super::url_parameters::{DEFAULT_LIMIT, each_known, first_of_each, limit, offset, search, words};
use crate::model::text::quote;
use crate::model::{ChannelState, ModuleStatus, PortLevel, ServiceReason, View};

/// The parameters' names.
const PARAMETERS: [&str; 7] = ["module", "level", "state", "q", "sort", "limit", "offset"];

/// A target, and why it has its level.
#[derive(Debug, Clone, Copy)]
pub(in crate::web) struct JudgedService<'a> {
    pub(in crate::web) status: &'a ModuleStatus,
    pub(in crate::web) reason: ServiceReason,
}

impl<'a> JudgedService<'a> {
    /// All targets, in the order of their modules and names.
    pub(in crate::web) fn all(view: &'a View) -> impl Iterator<Item = Self> {
        view.module_targets.iter().map(|status| Self {
            reason: status.reason(view.at),
            status,
        })
    }
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::web) struct ServiceSelection {
    /// `None`: all modules.
    module: Option<String>,
    /// Empty: all levels.
    levels: Vec<PortLevel>,
    /// Empty: all states.
    states: Vec<ChannelState>,
    /// Lower case; empty: all targets.
    search: String,
    /// Whether they are in the order of modules and names: for who reads page after page. Else the worst come first.
    by_name: bool,
    limit: usize,
    offset: usize,
}

impl Default for ServiceSelection {
    fn default() -> Self {
        Self {
            module: None,
            levels: Vec::new(),
            states: Vec::new(),
            search: String::new(),
            by_name: false,
            limit: DEFAULT_LIMIT,
            offset: 0,
        }
    }
}

impl ServiceSelection {
    /// The worst `limit` targets.
    pub(in crate::web) fn worst(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

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
            "module" => search(value).map(|_| self.module = Some(value.to_owned())),
            "level" => words(value, PortLevel::ALL).map(|levels| self.levels = levels),
            "state" => words(value, ChannelState::ALL).map(|states| self.states = states),
            "q" => search(value).map(|found| self.search = found),
            "sort" => by_name(value).map(|found| self.by_name = found),
            "limit" => limit(value).map(|found| self.limit = found),
            "offset" => offset(value).map(|found| self.offset = found),
            _ => Ok(()),
        };
        set.map_err(|expected| format!("{name}: expected {expected}, got {}", quote(value)))
    }

    /// How many targets match, and those in this answer, in their order.
    pub(in crate::web) fn of<'a>(&self, view: &'a View) -> (usize, Vec<JudgedService<'a>>) {
        let mut all: Vec<_> = JudgedService::all(view)
            .filter(|service| self.takes(service))
            .collect();
        if !self.by_name {
            // Stable: equals stay in the order of their names.
            all.sort_by_key(|service| (std::cmp::Reverse(service.reason.level()), service.reason));
        }
        let total = all.len();
        (
            total,
            all.into_iter().skip(self.offset).take(self.limit).collect(),
        )
    }

    fn takes(&self, JudgedService { status, reason }: &JudgedService<'_>) -> bool {
        self.module
            .as_deref()
            .is_none_or(|module| *status.job.spec.name == *module)
            && (self.levels.is_empty() || self.levels.contains(&reason.level()))
            && (self.states.is_empty() || self.states.contains(&status.channel.state))
            && (self.search.is_empty() || self.is_found_in(status, *reason))
    }

    /// In everything that a table shows of the target as text.
    fn is_found_in(&self, status: &ModuleStatus, reason: ServiceReason) -> bool {
        let has = |text: &str| text.to_lowercase().contains(&self.search);
        let (spec, target) = (&status.job.spec, &status.job.target);
        let last = status.asked.recent.back();
        has(&status.id().to_string())
            || has(&target.address)
            || has(spec.kind.label())
            || has(reason.label())
            || has(reason.text())
            || has(status.channel.state.label())
            || target.labels.iter().any(|(_, value)| has(value))
            || status.channel.last_detail.as_deref().is_some_and(has)
            || last.is_some_and(|last| has(last.result.label()) || last.detail.as_deref().is_some_and(has))
    }
}

/// The order; or what was expected.
fn by_name(value: &str) -> Result<bool, String> {
    match value {
        "worst" => Ok(false),
        "target" => Ok(true),
        _ => Err("worst, target".to_owned()),
    }
}
