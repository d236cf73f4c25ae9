//! All that one look at a SoC shows, and the same as JSON: `probe --output json` prints it and the API answers it.
//!
//! Imports `model` and `config`; in `soc` `channel`, `look` and `transport`.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::look::{Found, Left, look};
use crate::config::files::Reader;
use crate::model::{Query, QueryReport, Report, Security, Side, Target};
use crate::soc::channel::{Failure, TlsStore, check};
use crate::soc::transport::OutgoingError;

/// How long checking our TLS files again may take. People wait.
const NOTES: Duration = Duration::from_secs(2);
/// How many notes about our TLS files are shown: a file may be a bundle of hundreds.
const MAX_NOTES: usize = 5;

/// See the module's documentation.
#[derive(Debug)]
pub struct Looked {
    /// The SoC's address.
    pub address: SocketAddr,
    /// Which ToR this is.
    pub side: Side,
    /// When the SoC's certificate expires.
    pub expiry: Option<SystemTime>,
    /// What is unusual about our own TLS files, which can be used.
    pub notes: Vec<String>,
    /// What was found.
    pub found: Found,
}

impl Looked {
    /// Dials once, and runs one round if the channel becomes READY. `reader` reads our TLS files again, for the notes.
    pub async fn at(
        target: Target,
        timeout: Duration,
        tls: &TlsStore,
        reader: &Reader,
    ) -> Result<Self, OutgoingError> {
        let (address, side) = (target.address, target.side);
        let security = target.channel.security.clone();
        let (found, expiry) = look(target, timeout, tls).await?;
        Ok(Self {
            address,
            side,
            expiry,
            notes: notes(security, reader).await,
            found,
        })
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let expiry = self.expiry.map(utc);
        match &self.found {
            Found::NeverReady(Failure { cause, detail }) => json!({
                "address": self.address.to_string(),
                "side": self.side.label(),
                "certificate_expires": expiry,
                "tls_notes": self.notes,
                "channel": {"ready": false, "ready_seconds": null, "cause": cause.label(), "detail": &**detail},
            }),
            Found::Ready { after, report, left } => {
                let cause = left.as_ref().and_then(|left| left.failure.as_ref());
                let cause = cause.map(|failure| failure.cause.label());
                let detail = left.as_ref().map(Left::to_string);
                let states = |[direction, link, oper]: [&str; 3]| json!({"mux_direction": direction, "link_state": link, "oper_state": oper});
                let [(first, of_first), (second, of_second)] = ends(report, self.side);
                json!({
                    "address": self.address.to_string(),
                    "side": self.side.label(),
                    "certificate_expires": expiry,
                    "tls_notes": self.notes,
                    "channel": {"ready": true, "ready_seconds": after.as_secs_f64(), "cause": cause, "detail": detail},
                    first: states(of_first),
                    second: states(of_second),
                    "version": report.version.as_deref(),
                    "health": report.health.label(),
                    "queries": queries(report),
                })
            }
        }
    }
}

fn queries(report: &Report) -> Map<String, Value> {
    let query = |query: &Query| {
        let QueryReport { result, took, error } = report.query(*query);
        let value = json!({
            "result": result.label(),
            "seconds": took.map(|took| took.as_secs_f64()),
            "error": error.as_deref(),
        });
        (query.label().to_owned(), value)
    };
    Query::ALL.iter().map(query).collect()
}

/// Each end's name, and its (direction, link, operation).
pub fn ends(report: &Report, side: Side) -> [(&'static str, [&'static str; 3]); 2] {
    let [first, second] = report.direction.named(side);
    let [first_link, second_link] = report.link.named(side).map(|(_, link)| link.label());
    let [first_oper, second_oper] = report.oper.named(side).map(|(_, oper)| oper.label());
    [
        (first.0, [first.1.label(), first_link, first_oper]),
        (second.0, [second.1.label(), second_link, second_oper]),
    ]
}

/// A time in UTC, in seconds.
pub fn utc(at: SystemTime) -> String {
    let at = DateTime::<Utc>::from(at);
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What is unusual about our own TLS files. If they cannot be used, the dial has failed with the reason.
async fn notes(security: Security, reader: &Reader) -> Vec<String> {
    let Security::Tls(settings) = security else {
        return Vec::new();
    };
    // The dial read them a moment ago. If they hang now, there are no notes.
    let Ok(Ok(checked)) = reader.read(NOTES, move || check(&settings)).await else {
        return Vec::new();
    };
    let mut notes = [checked.expired, checked.notes].concat();
    notes.truncate(MAX_NOTES);
    notes
}
