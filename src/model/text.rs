//! Makes text from outside (a SoC, Redis, a file, a command line) safe to keep and to show: bounded, and without characters
//! that control a terminal, are invisible, or reverse the reading direction.
//!
//! Text is cleaned where it enters. The log, `probe` and `doctor` clean again what they print.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::time::Duration;

/// The longest quotation of an input in a message, characters.
pub const MAX_QUOTE: usize = 200;
/// Replaces each character that is not allowed.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// Ranges of characters that are not shown: Unicode's bidirectional and other format characters, its line and paragraph
/// separators, and its default ignorable characters (which are invisible). C0, C1 and DEL are covered by `char::is_control`.
const UNREADABLE: [(char, char); 21] = [
    ('\u{ad}', '\u{ad}'),       // soft hyphen
    ('\u{34f}', '\u{34f}'),     // combining grapheme joiner
    ('\u{61c}', '\u{61c}'),     // Arabic letter mark
    ('\u{115f}', '\u{1160}'),   // Hangul fillers
    ('\u{17b4}', '\u{17b5}'),   // Khmer inherent vowels
    ('\u{180b}', '\u{180f}'),   // Mongolian selectors, vowel separator
    ('\u{200b}', '\u{200f}'),   // zero width, left-to-right and right-to-left marks
    ('\u{2028}', '\u{202e}'),   // line and paragraph separators, embeddings and overrides
    ('\u{2060}', '\u{206f}'),   // word joiner, isolates, deprecated format characters
    ('\u{2800}', '\u{2800}'),   // a blank that is not a space
    ('\u{3164}', '\u{3164}'),   // Hangul filler
    ('\u{fe00}', '\u{fe0f}'),   // variation selectors
    ('\u{feff}', '\u{feff}'),   // byte order mark
    ('\u{ffa0}', '\u{ffa0}'),   // Hangul filler
    ('\u{fff0}', '\u{fffb}'),   // interlinear annotation
    ('\u{fffe}', '\u{ffff}'),   // no characters
    ('\u{110bd}', '\u{110bd}'), // Kaithi number sign
    ('\u{13430}', '\u{1343f}'), // Egyptian format controls
    ('\u{1bca0}', '\u{1bca3}'), // shorthand format controls
    ('\u{1d173}', '\u{1d17a}'), // musical format controls
    ('\u{e0000}', '\u{e0fff}'), // tags, variation selectors
];

/// Whether a character may be shown.
fn is_readable(c: char) -> bool {
    match c {
        ' '..='~' => true,
        _ => {
            !c.is_control()
                && !UNREADABLE
                    .iter()
                    .any(|(first, last)| (*first..=*last).contains(&c))
        }
    }
}

/// At most `max` characters of `text`; those that may not be shown are replaced.
pub fn clean(text: &str, max: usize) -> String {
    text.chars().take(max).map(replaced).collect()
}

/// The whole text, with its line breaks, for the output of a command.
pub fn clean_lines(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| is_readable(c) || c == '\n') {
        return Cow::Borrowed(text);
    }
    text.chars()
        .map(|c| if c == '\n' { c } else { replaced(c) })
        .collect()
}

/// A quotation for a message: cleaned, and cut after `MAX_QUOTE` characters with an ellipsis. Formatting stops at the cut, so a
/// huge input costs nothing more.
pub fn quote(input: impl fmt::Display) -> String {
    shorten(input, MAX_QUOTE)
}

/// Like `quote` with another length in characters, for a whole message.
pub fn shorten(input: impl fmt::Display, max: usize) -> String {
    let mut short = Short {
        text: String::new(),
        left: max,
    };
    // An error means that `short` is full, or that the input failed to format.
    if write!(short, "{input}").is_err() {
        short.text.push('…');
    }
    short.text
}

/// Text from outside for a message, in quotes, so that blanks at its end are visible. Unprintable characters are escaped. At most
/// `MAX_QUOTE` characters.
pub fn quoted(text: &str) -> String {
    let mut escaped = text.escape_debug();
    let shown: String = escaped.by_ref().take(MAX_QUOTE).collect();
    let more = if escaped.next().is_some() { "…" } else { "" };
    format!("\"{shown}{more}\"")
}

struct Short {
    text: String,
    left: usize,
}

impl fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            self.text.push(replaced(c));
        }
        Ok(())
    }
}

fn replaced(c: char) -> char {
    if is_readable(c) { c } else { REPLACEMENT }
}

/// A time in words, by its two largest units: `3 h 12 min`.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_hides_or_turns_is_replaced_and_all_else_is_kept() {
        let check = |text: &str, expected: &str| assert_eq!(clean(text, 128), expected, "{text:?}");
        check("1.2.3", "1.2.3");
        check("a\nb\u{1b}[31m\0", "a\u{fffd}b\u{fffd}[31m\u{fffd}");
        check("größe 端口 é ‘’ \u{1f600}", "größe 端口 é ‘’ \u{1f600}");
        let unwanted = (0..=0x1f)
            .chain(0x7f..=0x9f)
            .chain(0x202a..=0x202e)
            .chain(0x2066..=0x2069)
            .chain(0x200b..=0x200f)
            .chain([0x61c, 0x2028, 0x2029, 0x2060, 0xfeff, 0xad, 0xe0041]);
        for c in unwanted.filter_map(char::from_u32) {
            check(&format!("1.0{c}gnp"), "1.0\u{fffd}gnp");
        }
    }

    #[test]
    fn it_is_cut_by_characters() {
        assert_eq!(clean(&"é".repeat(1000), 128).chars().count(), 128);
        assert_eq!(quote("é".repeat(200)), "é".repeat(200));
        assert_eq!(quote("é".repeat(201)), format!("{}…", "é".repeat(200)));
        assert_eq!(shorten("ab\u{202e}cd", 4), "ab\u{fffd}c…");
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(clean_lines("a\nb\n"), "a\nb\n");
        assert_eq!(clean_lines("a\u{2028}\nb\rc\n"), "a\u{fffd}\nb\u{fffd}c\n");
    }

    #[test]
    fn a_time_has_two_units_at_most() {
        for (seconds, expected) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min 0 s"),
            (3_599, "59 min 59 s"),
            (11_520, "3 h 12 min"),
            (86_399, "23 h 59 min"),
            (90_000, "1 d 1 h"),
            (u64::MAX, "213503982334601 d 7 h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), expected);
        }
    }
}
