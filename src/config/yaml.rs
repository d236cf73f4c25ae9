//! From YAML to the shape of the file. An error has the line and the key; for a file that is too big, the limit.

use serde::de::DeserializeOwned;
use serde_saphyr::Error;
use serde_saphyr::budget::BudgetBreach;

use super::key_path::{self, ErrorAbout};
use crate::model::text;

/// The most targets of a file: ten times as many as one exporter was measured with.
pub const MAX_TARGETS: usize = 200_000;
/// The largest file, in MiB. The longest kind of target without a rack takes 140 bytes, a usual one 60, or 85 with a rack.
pub const MAX_MIB: u64 = 32;
/// The most YAML nodes: a target is a mapping with at most four keys and four values, and the rest is for the other keys of the
/// file.
const MAX_NODES: usize = 9 * MAX_TARGETS + 50_000;

/// Line, key and message of an error. Line and key if they are known.
pub type Wrong = (Option<u64>, Option<String>, String);

/// Reads a text of this shape.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, Wrong> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MAX_NODES,
            // Mappings and lists have an end event too.
            max_events: 2 * MAX_NODES,
        },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location();
        let line = place.map(|place| place.line());
        let error = error.without_snippet();
        if let Some(message) = over_limit(error) {
            // No single key is wrong: there are too many.
            return (line, None, message);
        }
        let message = error.to_string();
        let about = about(error);
        let key = place.and_then(|place| key_path::at(text, place.line(), place.column(), about));
        (line, key.map(|key| without_urls(&key)), words(&message))
    })
}

/// What the library's place of an error is.
fn about(error: &Error) -> ErrorAbout {
    match error {
        Error::SerdeUnknownField { .. } => ErrorAbout::Key,
        Error::SerdeMissingField { .. } | Error::DuplicateMappingKey { .. } => ErrorAbout::Mapping,
        _ => ErrorAbout::Value,
    }
}

/// The message for a file that is over a limit.
fn over_limit(error: &Error) -> Option<String> {
    let aliases =
        "expected fewer YAML aliases (*name): they make a small file huge. Write out what they stand for";
    Some(match error {
        Error::AliasError { error, .. } => return over_limit(error.without_snippet()),
        Error::Budget { breach, .. } => match breach {
            BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. } => format!(
                "expected at most {MAX_TARGETS} targets, which are {MAX_NODES} keys and values in all, got more: let several \
                 exporters share the targets"
            ),
            BudgetBreach::Depth { .. } => "expected less nesting".to_owned(),
            BudgetBreach::Aliases { .. }
            | BudgetBreach::Anchors { .. }
            | BudgetBreach::AliasAnchorRatio { .. }
            | BudgetBreach::MergeKeys { .. }
            | BudgetBreach::RecordedAnchorEvents { .. }
            | BudgetBreach::RecordedAnchorBytes { .. } => aliases.to_owned(),
            BudgetBreach::ScalarBytes { .. } => "expected less text".to_owned(),
            BudgetBreach::Documents { .. } => "expected one YAML document, got several".to_owned(),
            _ => return None,
        },
        Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => aliases.to_owned(),
        _ => return None,
    })
}

/// The library's message without its advice to programmers. The line number is given once, at the front.
fn words(message: &str) -> String {
    let ends = [" at line ", ", set DuplicateKeyPolicy"];
    let end = ends.iter().filter_map(|tail| message.find(tail)).min();
    with_short_quotes(&without_urls(&message[..end.unwrap_or(message.len())]))
        .replace(
            "multiple YAML documents detected; use from_str_multiple or from_str_multiple_with_options",
            "expected one YAML document, got several",
        )
        .replace("duplicate mapping key", "expected each key once, found twice")
        .replace("expected mapping start", "expected keys with values (KEY: VALUE)")
        .replace("expected sequence start", "expected a list (- ITEM)")
        .replace("expected string scalar", "expected a text")
}

/// Shortens what a message quotes in serde's notation: in backticks, or as `string "..."`.
pub(super) fn with_short_quotes(text: &str) -> String {
    const STRING: &str = "string \"";
    if let (Some(begin), Some(end)) = (text.find(STRING), text.rfind("\", expected"))
        && let Some(quoted) = text.get(begin + STRING.len()..end)
    {
        let (before, after) = (&text[..begin + STRING.len()], &text[end..]);
        return format!("{before}{}{after}", text::quote(quoted));
    }
    let parts = text.split('`').enumerate();
    let cut = parts.map(|(n, part)| match n % 2 {
        0 => part.to_owned(),
        _ => text::quote(part),
    });
    cut.collect::<Vec<_>>().join("`")
}

/// A URL may contain a password. If its key is missing, it is where a key should be: so no message repeats a URL.
fn without_urls(text: &str) -> String {
    let words = text.split_inclusive([' ', '`', '"', ',']);
    words
        .map(|word| if word.contains("://") { "(a URL) " } else { word })
        .collect()
}
