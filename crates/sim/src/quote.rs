//! Quoted inputs in messages: limited in length, and without characters that control a terminal or change the reading
//! direction.
//!
//! The exporter has similar code. It is not used here on purpose: the simulator shares no logic with it.

use std::fmt;

/// The longest quotation of an input, in characters.
const MAX_QUOTE: usize = 200;

/// A library's message is shown whole if the part before its "expected" is no longer than this, in characters. The library's
/// own text there takes about 20.
const MAX_BEFORE: usize = 220;
/// The longest list of what was expected, in characters: the names of all faults.
const MAX_EXPECTED: usize = 500;
/// How much of a longer message is shown from its begin and from its end, in characters. So the input's part is below
/// `MAX_QUOTE`.
const BEGIN: usize = 100;
const END: usize = 100;

/// Control characters, and Unicode characters that hide text, break it or change its direction.
fn acts(c: char) -> bool {
    let format = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    );
    c.is_control() || format
}

fn shown(c: char) -> char {
    if acts(c) { char::REPLACEMENT_CHARACTER } else { c }
}

/// The input in a form that is safe to show, cut with an ellipsis.
pub(super) fn quote(input: impl fmt::Display) -> String {
    let input = input.to_string();
    let mut shown: String = input.chars().take(MAX_QUOTE).map(shown).collect();
    if input.chars().nth(MAX_QUOTE).is_some() {
        shown.push('…');
    }
    shown
}

/// Shortens a library's message that contains an input. It keeps the begin (what is wrong) and the end (what was expected, and
/// the line).
pub(super) fn shorten(message: &str) -> String {
    let clean = |part: &mut dyn Iterator<Item = char>| -> String { part.map(shown).collect() };
    let length = message.chars().count();
    let expected = message
        .rfind(", expected")
        .map(|at| message[at..].chars().count());
    let expected = expected.unwrap_or(0).min(MAX_EXPECTED);
    if length - expected <= MAX_BEFORE {
        return clean(&mut message.chars());
    }
    let (begin, end) = (
        message.chars().take(BEGIN),
        message.chars().skip(length - END.max(expected)),
    );
    format!(
        "{} … {}",
        clean(&mut begin.into_iter()),
        clean(&mut end.into_iter())
    )
}

#[cfg(test)]
mod tests {
    use crate::Scenario;

    /// Each place in which an error of a scenario quotes its input.
    #[test]
    fn an_error_quotes_200_characters_and_none_that_acts() {
        let bad = format!("A\u{202e}\\e[31m{}", "x".repeat(100_000));
        let rack = "rack: {count: 1, first_address: 127.9.0.1}\n";
        let scenarios = [
            format!("\"{bad}\": 1"),
            format!("rack: {{count: \"{bad}\"}}"),
            format!("rack: {{count: 1, \"{bad}\": 1}}"),
            format!("rack: {{count: 1, spread: \"{bad}\"}}"),
            format!("{rack}loop: \"{bad}\""),
            format!("socs: [{{port: \"{bad}\"}}]"),
            format!("socs: [{{port: \"{bad}\", address: 127.0.0.1}}, {{port: \"{bad}\"}}]"),
            format!("socs: [{{port: Ethernet0, address: \"{bad}\"}}]"),
            format!("{rack}socs: [{{port: \"{bad}\", address: 127.9.0.1}}]"),
            format!(
                "{rack}socs: [{{port: Ethernet0, address: 127.9.0.2}}, {{port: \"{bad}\", address: 127.9.0.2}}]"
            ),
            format!(
                "socs: [{{port: \"{bad}\", address: 127.9.0.2}}, {{port: Ethernet0, address: 127.9.0.2}}]"
            ),
            format!("{rack}socs: [{{port: Ethernet0, tls: {{\"{bad}\": 1}}}}]"),
            format!("{rack}timeline: [{{at: 0s, soc: \"{bad}\", fault: hang}}]"),
            format!("{rack}timeline: [{{at: 0s, soc: all, fault: \"{bad}\"}}]"),
            format!("{rack}timeline: [{{at: 0s, soc: all, reply: {{code: {{code: \"{bad}\"}}}}}}]"),
            format!("{rack}timeline: [{{at: 0s, soc: all, reply: {{\"{bad}\": {{}}}}}}]"),
        ];
        for yaml in &scenarios {
            let error = Scenario::from_yaml(yaml).expect_err("an error").to_string();
            let start: String = yaml.chars().take(60).collect();
            // The rest is not quoted: the path of the key, and what was expected.
            assert!(error.chars().count() < 1_000, "{start}: {} bytes", error.len());
            assert!(!error.chars().any(super::acts), "{start}: {error:?}");
        }
    }
}
