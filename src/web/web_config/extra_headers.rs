//! `http_server_config.headers`: the five names that the toolkit allows, and the values of two of them.

use std::collections::BTreeMap;

use axum::http::{HeaderName, HeaderValue};

use super::{KeyError, at};
use crate::model::text;

/// The names, and which values each may have; no list: any.
const ALLOWED: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

pub(super) fn checked(
    headers: &BTreeMap<String, String>,
) -> Result<Vec<(HeaderName, HeaderValue)>, KeyError> {
    let checked = headers.iter().map(|(name, value)| one(name, value));
    checked.collect()
}

fn one(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), KeyError> {
    let key = format!("http_server_config.headers.{name}");
    let Some((_, values)) = ALLOWED.iter().find(|(allowed, _)| *allowed == name) else {
        let names = ALLOWED.map(|(name, _)| name).join(", ");
        return at(&key, format!("expected one of these headers: {names}"));
    };
    if !values.is_empty() && !values.contains(&value) {
        let value = text::quote(value);
        return at(&key, format!("expected {}, got {value:?}", values.join(" or ")));
    }
    let name = HeaderName::from_bytes(name.as_bytes());
    match (name, HeaderValue::from_str(value)) {
        (Ok(name), Ok(value)) => Ok((name, value)),
        _ => at(&key, "expected a value of one line, in ASCII"),
    }
}
