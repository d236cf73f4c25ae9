//! What the parameters of all lists have in common. Pure.

use std::fmt::Display;

use crate::model::text::quote;

/// How many rows an answer has at most, if the request does not say.
pub(super) const DEFAULT_LIMIT: usize = 1_000;
/// How many a request may ask for.
const MAX_LIMIT: usize = 5_000;
/// The longest text to search for, bytes. A port's name has at most 64.
const MAX_SEARCH: usize = 200;

/// Gives each parameter of the part of the URL after `?` to `set`, for the API: an unknown parameter, or one that is given twice, is an
/// error, because the answer would not be what the client means. The error says which parameter is bad and what was expected.
pub(super) fn each_known(
    query: &str,
    known: &[&str],
    mut set: impl FnMut(&str, &str) -> Result<(), String>,
) -> Result<(), String> {
    let mut seen = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if !known.contains(&&*name) {
            let known = known.join(", ");
            return Err(format!("unknown parameter {}: expected {known}", quote(&name)));
        }
        if seen.contains(&name) {
            return Err(format!(
                "{name}: expected once, got twice; level and state take more than one value with commas between them"
            ));
        }
        set(&name, &value)?;
        seen.push(name);
    }
    Ok(())
}

/// The same for pages, whose URLs are pasted and followed: others add parameters to them (`utm_source`), which are ignored. Of a
/// parameter that is given twice the first counts, as for the page's script.
pub(super) fn first_of_each(
    query: &str,
    known: &[&str],
    mut set: impl FnMut(&str, &str) -> Result<(), String>,
) -> Result<(), String> {
    let mut left = known.to_vec();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if let Some(place) = left.iter().position(|known| *known == name) {
            left.swap_remove(place);
            set(&name, &value)?;
        }
    }
    Ok(())
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

/// Words with commas between them, all of the set; or what was expected.
pub(super) fn words<T: Copy + Display>(value: &str, all: &[T]) -> Result<Vec<T>, String> {
    let known = |word: &str| all.iter().find(|known| known.to_string() == word).copied();
    let found: Option<Vec<T>> = value.split(',').map(known).collect();
    found.ok_or_else(|| {
        let words: Vec<String> = all.iter().map(ToString::to_string).collect();
        format!("{} (more than one: with commas)", words.join(", "))
    })
}
