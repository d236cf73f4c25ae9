//! The parameters of `/api/v1/ports`: which ports, in which order, how many. Pure.

use std::cmp::Reverse;
use std::fmt::Display;

use crate::model::text::quote;
use crate::model::{ChannelState, PortLevel, SocView};

/// How many ports an answer has at most, if the request does not say.
const DEFAULT_LIMIT: usize = 1_000;
/// How many a request may ask for.
const MAX_LIMIT: usize = 5_000;
/// The longest text to search for, bytes. A port's name has at most 64.
const MAX_SEARCH: usize = 200;

/// What a request asks for.
#[derive(Debug, PartialEq)]
pub(super) struct Selection {
    /// Empty: all levels.
    levels: Vec<PortLevel>,
    /// Empty: all states.
    states: Vec<ChannelState>,
    /// Lower case; empty: all ports.
    search: String,
    worst_first: bool,
    limit: usize,
    offset: usize,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            levels: Vec::new(),
            states: Vec::new(),
            search: String::new(),
            worst_first: true,
            limit: DEFAULT_LIMIT,
            offset: 0,
        }
    }
}

impl Selection {
    /// Reads the part of the URL after `?`. The error says which parameter is bad and what was expected.
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let mut selection = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let bad = |expected: &str| Err(format!("{name}: expected {expected}, got {}", quote(&value)));
            match &*name {
                "level" => match words(&value, PortLevel::ALL) {
                    Some(levels) => selection.levels.extend(levels),
                    None => return bad(&listed(PortLevel::ALL)),
                },
                "state" => match words(&value, ChannelState::ALL) {
                    Some(states) => selection.states.extend(states),
                    None => return bad(&listed(ChannelState::ALL)),
                },
                "q" if value.len() <= MAX_SEARCH => selection.search = value.to_lowercase(),
                "q" => return bad(&format!("at most {MAX_SEARCH} bytes")),
                "sort" => match &*value {
                    "worst" => selection.worst_first = true,
                    "port" => selection.worst_first = false,
                    _ => return bad("worst or port"),
                },
                "limit" => match value.parse() {
                    Ok(limit @ 1..=MAX_LIMIT) => selection.limit = limit,
                    _ => return bad(&format!("a number from 1 to {MAX_LIMIT}")),
                },
                "offset" => match value.parse::<u32>() {
                    Ok(offset) => selection.offset = offset as usize,
                    Err(_) => return bad("a number from 0 to 4294967295"),
                },
                other => {
                    let known = "level, state, q, sort, limit and offset";
                    return Err(format!("unknown parameter {}: expected {known}", quote(other)));
                }
            }
        }
        Ok(selection)
    }

    /// How many ports match, and the places of those in this answer, in their order.
    pub(super) fn of(&self, socs: &[SocView]) -> (usize, Vec<usize>) {
        let mut places: Vec<usize> = (0..socs.len()).filter(|n| self.takes(&socs[*n])).collect();
        if self.worst_first {
            // Stable: equals stay in the order of their ports.
            places.sort_by_key(|n| (Reverse(socs[*n].reason.level()), socs[*n].reason));
        }
        let total = places.len();
        let chosen = places.into_iter().skip(self.offset).take(self.limit);
        (total, chosen.collect())
    }

    fn takes(&self, soc: &SocView) -> bool {
        let level = soc.reason.level();
        (self.levels.is_empty() || self.levels.contains(&level))
            && (self.states.is_empty() || self.states.contains(&soc.status.channel))
            && (self.search.is_empty() || self.is_found_in(soc))
    }

    /// In everything that a table shows of the port as text.
    fn is_found_in(&self, soc: &SocView) -> bool {
        let status = &soc.status;
        let has = |text: &str| text.to_lowercase().contains(&self.search);
        has(status.target.id.port.as_str())
            || has(soc.reason.label())
            || has(soc.reason.text())
            || has(status.channel.label())
            || has(&status.target.address.to_string())
            || status.observed.version.as_deref().is_some_and(has)
            || status
                .last_error
                .as_ref()
                .is_some_and(|error| has(&error.to_string()))
    }
}

/// Words with commas between them, all of the set.
fn words<T: Copy + Display>(value: &str, all: &[T]) -> Option<Vec<T>> {
    let known = |word: &str| all.iter().find(|known| known.to_string() == word).copied();
    value.split(',').map(known).collect()
}

fn listed<T: Display>(all: &[T]) -> String {
    let words: Vec<String> = all.iter().map(ToString::to_string).collect();
    format!("{} (more than one: with commas)", words.join(", "))
}
