//! From YAML to the shape of the file. An error has the line and the key; for a file that is too big, the limit.

use serde::de::{DeserializeOwned, Error as _};
use serde_saphyr::Error;

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
        // YAML 1.2: `on`, `yes` and `no` are texts. They are names of enums and words of replies.
        strict_booleans: true,
    };
    // The library's code is written once for each type of visitor. Here it is written for one type, whatever is read.
    let read = serde_saphyr::with_deserializer_from_str_with_options(text, options, |deserializer| {
        let mut deserializer = <dyn erased_serde::Deserializer>::erase(deserializer);
        erased_serde::deserialize(&mut deserializer).map_err(Error::custom)
    });
    read.map_err(|error| {
        let message = error.without_snippet().to_string();
        let place = place_in(&message);
        let line = place.map(|(line, _)| line);
        if let Some(message) = over_limit(&message) {
            // No single key is wrong: there are too many.
            return (line, None, message);
        }
        let key = place.and_then(|(line, column)| key_path::at(text, line, column, about(&message)));
        (line, key.map(|key| without_urls(&key)), words(&message))
    })
}

/// Before the line and column that end each message. From within a value, each value around it adds its own.
const AT_LINE: &str = " at line ";

/// Line and column of what is wrong.
fn place_in(message: &str) -> Option<(u64, u64)> {
    let (_, rest) = message.split_once(AT_LINE)?;
    let (line, rest) = rest.split_once(", column ")?;
    let column = rest.split(|each: char| !each.is_ascii_digit()).next()?;
    Some((line.parse().ok()?, column.parse().ok()?))
}

/// What the library's place of an error is.
fn about(message: &str) -> ErrorAbout {
    if message.starts_with("unknown field") {
        ErrorAbout::Key
    } else if message.starts_with("missing field") || message.starts_with("duplicate mapping key") {
        ErrorAbout::Mapping
    } else {
        ErrorAbout::Value
    }
}

/// The message for a file that is over a limit.
fn over_limit(message: &str) -> Option<String> {
    let Some(breach) = message.strip_prefix("budget breached: ") else {
        return message.starts_with("alias ").then(|| FEWER_ALIASES.to_owned());
    };
    Some(match breach.split([' ', '(']).next()? {
        "Nodes" | "Events" => format!(
            "expected at most {MAX_TARGETS} targets, which are {MAX_NODES} keys and values in all, got more: let several \
             exporters share the targets"
        ),
        "Depth" => "expected less nesting".to_owned(),
        "ScalarBytes" => "expected less text".to_owned(),
        "Documents" => "expected one YAML document, got several".to_owned(),
        "Aliases"
        | "Anchors"
        | "AliasAnchorRatio"
        | "MergeKeys"
        | "RecordedAnchorEvents"
        | "RecordedAnchorBytes" => FEWER_ALIASES.to_owned(),
        _ => return None,
    })
}

const FEWER_ALIASES: &str =
    "expected fewer YAML aliases (*name): they make a small file huge. Write out what they stand for";

/// Before what was expected where there is nothing.
const NULL: &str = "invalid type: unit value, expected ";

/// The library's message without its advice to programmers. The line number is given once, at the front.
fn words(message: &str) -> String {
    let ends = [" at line ", ", set DuplicateKeyPolicy"];
    let end = ends.iter().filter_map(|tail| message.find(tail)).min();
    if let Some(expected) = message[..end.unwrap_or(message.len())].strip_prefix(NULL) {
        return format!("expected {expected}, got null");
    }
    with_short_quotes(&without_urls(&message[..end.unwrap_or(message.len())]))
        .replace(
            "multiple YAML documents detected; use from_str_multiple or from_str_multiple_with_options",
            "expected one YAML document, got several",
        )
        .replace("duplicate mapping key", "expected each key once, found twice")
        .replace("expected mapping start", "expected keys with values (KEY: VALUE)")
        .replace("expected sequence start", "expected a list (- ITEM)")
        .replace("expected string scalar", "expected a text")
        .replace(
            "cannot deserialize null into string; use Option<String>",
            "expected a text, got null",
        )
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
    const ENDS: [char; 4] = [' ', '`', '"', ','];
    let (mut shown, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("://") {
        let begin = rest[..at].rfind(ENDS).map_or(0, |end| end + 1);
        // A password may have these characters in it. It goes up to an @ or, cut short, to the end of the quotation.
        let next = rest[at + 1..]
            .find("://")
            .map_or(rest.len(), |next| at + 1 + next);
        let login = rest[..next].rfind('@').unwrap_or(at);
        let quoted = rest[..begin].ends_with('"').then(|| rest.rfind('"'));
        let inside = at.max(login).max(quoted.flatten().unwrap_or(at));
        let end = rest[inside..].find(ENDS).map_or(rest.len(), |end| inside + end);
        shown.push_str(&rest[..begin]);
        shown.push_str("(a URL)");
        rest = &rest[end..];
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_repeats_any_part_of_a_url() {
        for (text, expected) in [
            ("nothing to hide, here", "nothing to hide, here"),
            ("got \"redis://u:p@h\"", "got \"(a URL)\""),
            ("got \"redis://u:pa,ss w`o\"rd@h\"", "got \"(a URL)\""),
            ("got \"redis://u:cut, sho…\"", "got \"(a URL)\""),
            (
                "redis://u:p,w@h: unknown field `redis://u:p,w@h`, expected url",
                "(a URL) unknown field `(a URL)`, expected url",
            ),
            (
                "unknown field `redis://h`, expected url",
                "unknown field `(a URL)`, expected url",
            ),
            ("key redis://h and http://h", "key (a URL) and (a URL)"),
            (
                "such as http://h:1, got \"http://u:p,w@h\"",
                "such as (a URL), got \"(a URL)\"",
            ),
        ] {
            assert_eq!(without_urls(text), expected);
        }
    }
}
