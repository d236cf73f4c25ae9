//! The rows of the fleet's table.
//!
//! A thousand rows are in each answer, so a row has no more bytes than it needs: HTML needs no end tags of cells and rows, and maud
//! writes none for `td;`. The page's script makes the same rows from the API's.

use std::time::SystemTime;

use maud::{Markup, html};

use super::ages;
use crate::model::{End, PortLevel, SocView};
use crate::web::cells::{self, PortCell};

/// Characters of the last error that the table shows; the port's page has the whole text.
const ERROR: usize = 120;

pub(super) fn row(soc: &SocView, now: SystemTime) -> String {
    let status = &*soc.status;
    let (level, port) = (soc.reason.level(), &*status.target.id.key());
    let channel = status.channel.state.upper();
    let page = html! {
        tr class=(level.label());
        th scope="row"; a href={ "ports/" (in_url(port)) } { (port) }
        td; b { (level.label()) } @if level != PortLevel::Ok { " " (soc.reason.text()) }
        td; (channel) @if let Some(since) = status.channel.last_transition { " " (ages::since(since, now)) }
        (cell(&cells::direction(status, End::Own)))
        (cell(&cells::direction(status, End::Peer)))
        (cell(&cells::links(status)))
        (cell(&cells::health(status)))
        (cell(&cells::service(status)))
        td; @if let Some(last) = status.last_success { (ages::since(last, now)) " ago" } @else { "never" }
        td; @if let Some(error) = &status.last_error {
            (ages::since(error.at, now)) " ago: " (shortened(&error.to_string()))
        }
    };
    let mut row = page.into_string();
    row.push('\n');
    row
}

fn cell(cell: &PortCell) -> Markup {
    html! { @if cell.usual { td; } @else { td.odd; } (cell.text) }
}

/// Only `/` can be in a port's name and must not be in one part of a path.
pub(super) fn in_url(port: &str) -> String {
    port.replace('/', "%2F")
}

pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(ERROR) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
