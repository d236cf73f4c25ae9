//! `http_sd`: asks an HTTP server for the list of targets, by the rules of Prometheus: status 200 and JSON, else the last list stays.
//! `[]` is an honest answer.

use std::time::Duration;

use http::{HeaderName, HeaderValue, header};
use tokio::time::{sleep, timeout};

use super::https::{Prepared, ServerAnswer};
use super::source_report::SourceReport;
use super::target_groups::Groups;
use crate::config::HttpSource;
use crate::config::files::{PATIENCE, Reader};

/// Connecting, asking and reading together.
const WITHIN: Duration = Duration::from_secs(10);
/// The longest answer: 20,000 targets with racks are 2 MB.
const MOST: usize = 16 << 20;
/// After a failure it is asked again so soon, or after its `refresh` if that is shorter.
const AGAIN: Duration = Duration::from_secs(10);

/// Asks again and again. Never ends.
pub(super) async fn ask_again(source: &HttpSource, report: &mut SourceReport) {
    // Files that are read, and answers that are parsed, on another thread.
    let reader = Reader::default();
    loop {
        let wait = match ask(source, &reader).await {
            Ok(groups) => {
                report.good(groups);
                source.refresh
            }
            Err(reason) => {
                report.failed(&reason);
                source.refresh.min(AGAIN)
            }
        };
        sleep(wait).await;
    }
}

async fn ask(source: &HttpSource, reader: &Reader) -> Result<Groups, String> {
    let HttpSource { url, login, tls, .. } = source.clone();
    let prepared = reader.read(PATIENCE, move || {
        Prepared::read(&url, login.as_ref(), tls.as_ref())
    });
    let prepared = prepared.await.map_err(|unread| unread.to_string())??;
    let seconds = HeaderValue::from(source.refresh.as_secs());
    let prepared = prepared
        .with(header::ACCEPT, HeaderValue::from_static("application/json"))
        .with(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("dualtor-exporter/", env!("CARGO_PKG_VERSION"))),
        )
        .with(
            HeaderName::from_static("x-prometheus-refresh-interval-seconds"),
            seconds,
        );
    let answer = timeout(WITHIN, prepared.get(&source.url, MOST)).await;
    let answer =
        answer.unwrap_or_else(|_| Err(format!("no complete answer within {} s", WITHIN.as_secs())))?;
    is_json(&answer)?;
    let groups = reader.read(PATIENCE, move || Groups::of_json(&answer.body));
    groups.await.map_err(|unread| unread.to_string())?
}

/// Whether the answer says that it is JSON.
fn is_json(answer: &ServerAnswer) -> Result<(), String> {
    if answer.headers.contains_key(header::CONTENT_ENCODING) {
        return Err("expected an answer that is not compressed: none was asked for".to_owned());
    }
    let kind = answer.headers.get(header::CONTENT_TYPE);
    let kind = kind.map_or(&b""[..], HeaderValue::as_bytes);
    let kind = String::from_utf8_lossy(kind).to_lowercase();
    let mut parts = kind.split(';').map(str::trim);
    let is_json = parts.next() == Some("application/json");
    if is_json && parts.all(|part| matches!(part, "charset=utf-8" | "charset=\"utf-8\"")) {
        return Ok(());
    }
    Err(format!(
        "expected the content type application/json, got {}",
        crate::model::quoted(&kind)
    ))
}
