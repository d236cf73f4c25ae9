//! Inputs in messages: at most so much of them, and nothing that acts on a terminal or turns what is read.
//!
//! The exporter has lines like these too; they are not used here, on purpose: the simulator shares no logic with it.

use std::fmt;

/// The longest quotation of an input, characters.
const MAX_QUOTE: usize = 200;

/// A library's message is shown whole, if what stands before its "expected" is no longer than this; its own words there are some 20.
const MAX_BEFORE: usize = 220;
/// The longest list of what was expected.
const MAX_EXPECTED: usize = 500;
/// What is shown of a longer message: the input's share of it is below 200.
const BEGIN: usize = 100;
const END: usize = 100;

/// Control characters, and those of Unicode's that turn, hide or break what is read.
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

/// The input as it may be shown, cut with an ellipsis.
pub(super) fn quote(input: impl fmt::Display) -> String {
    let input = input.to_string();
    let mut shown: String = input.chars().take(MAX_QUOTE).map(shown).collect();
    if input.chars().nth(MAX_QUOTE).is_some() {
        shown.push('…');
    }
    shown
}

/// A library's message, in which an input stands somewhere: of a long one, how it begins (what is wrong) and how it ends (what was
/// expected, and the line).
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
    use crate::sim::Scenario;

    /// Each place at which a scenario's error quotes what it was given.
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
            // What is not quoted: the key's path, what was expected.
            assert!(error.chars().count() < 1_000, "{start}: {} bytes", error.len());
            assert!(!error.chars().any(super::acts), "{start}: {error:?}");
        }
    }
}
