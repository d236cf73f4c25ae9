//! Which key of a YAML text stands at a place: `channel.backoff[1].max`. For errors, of which the library only knows the place.
//!
//! To carry the path along while reading (serde_path_to_error) would write the code of each type of the configuration twice into
//! the program: 0.5 MB.

use std::fmt::Write as _;

use granit_parser::{Event, Parser};

/// An open mapping or list.
enum OpenNode {
    /// With the key whose value comes next.
    Mapping(Option<String>),
    /// With the number of the next element.
    List(usize),
}

/// What an error is about. A mapping, its first key and lists around them may all begin at the same place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ErrorAbout {
    /// The outermost value that begins there.
    Value,
    Key,
    /// The mapping with the key that begins there.
    Mapping,
}

/// The path of what begins at this place (both counted from 1), or of the first after it; `None`: it is the document itself, or
/// there is nothing.
pub(super) fn at(text: &str, line: u64, column: u64, about: ErrorAbout) -> Option<String> {
    let mut open: Vec<OpenNode> = Vec::new();
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { break };
        let is_there = (span.start.line() as u64, span.start.col() as u64 + 1) >= (line, column);
        let begins = match event {
            Event::MappingStart(..) => Some(OpenNode::Mapping(None)),
            Event::SequenceStart(..) => Some(OpenNode::List(0)),
            Event::MappingEnd | Event::SequenceEnd => {
                if is_there {
                    break;
                }
                open.pop();
                passed(open.last_mut());
                continue;
            }
            Event::Scalar(value, ..) => {
                if let Some(OpenNode::Mapping(key @ None)) = open.last_mut() {
                    if is_there && about == ErrorAbout::Mapping {
                        break;
                    }
                    *key = Some(value.into_owned());
                    if is_there {
                        break;
                    }
                    continue;
                }
                None
            }
            Event::Alias(_) => None,
            _ => continue,
        };
        if is_there && (about == ErrorAbout::Value || begins.is_none()) {
            break;
        }
        match begins {
            Some(begins) => open.push(begins),
            None => passed(open.last_mut()),
        }
    }
    written(&open)
}

/// The line of this key, or of the last one around it that is there.
pub(super) fn line_of(text: &str, key: &str) -> Option<u64> {
    let mut open: Vec<OpenNode> = Vec::new();
    let (mut line, mut longest) = (None, 0);
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { break };
        let begins = match event {
            Event::MappingStart(..) => Some(OpenNode::Mapping(None)),
            Event::SequenceStart(..) => Some(OpenNode::List(0)),
            Event::MappingEnd | Event::SequenceEnd => {
                open.pop();
                passed(open.last_mut());
                continue;
            }
            Event::Scalar(..) | Event::Alias(_) => None,
            _ => continue,
        };
        let mut is_key = false;
        if let (Some(OpenNode::Mapping(key @ None)), Event::Scalar(value, ..)) = (open.last_mut(), event) {
            *key = Some(value.into_owned());
            is_key = true;
        }
        let path = written(&open).unwrap_or_default();
        let rest = key.strip_prefix(&*path).filter(|_| path.len() > longest);
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '['])) {
            (line, longest) = (Some(span.start.line() as u64), path.len());
        }
        match begins {
            Some(begins) => open.push(begins),
            None if !is_key => passed(open.last_mut()),
            None => {}
        }
    }
    line
}

/// A value of `parent` is over.
fn passed(parent: Option<&mut OpenNode>) {
    match parent {
        // A key that is a mapping or a list is an error by itself: what stands behind it is not asked for.
        Some(OpenNode::Mapping(key)) => *key = None,
        Some(OpenNode::List(number)) => *number += 1,
        None => {}
    }
}

fn written(open: &[OpenNode]) -> Option<String> {
    let mut path = String::new();
    for each in open {
        // Writing into a String cannot fail.
        let _ = match each {
            OpenNode::Mapping(Some(key)) if path.is_empty() => write!(path, "{key}"),
            OpenNode::Mapping(Some(key)) => write!(path, ".{key}"),
            OpenNode::Mapping(None) => Ok(()),
            OpenNode::List(number) => write!(path, "[{number}]"),
        };
    }
    Some(path).filter(|path| !path.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "probe: {interval: 1s, timeout: x}\ntargets:\n  - port: a\n    address: [1, 2]\n  - &b {port: b}\n  - *b\nempty: {}\nlast: |\n  text\n";

    #[test]
    fn each_key_has_its_line() {
        for (key, line) in [
            ("probe", Some(1)),
            ("probe.timeout", Some(1)),
            ("targets", Some(2)),
            ("targets[0].port", Some(3)),
            ("targets[0].address[1]", Some(4)),
            ("targets[1].port", Some(5)),
            ("targets[2]", Some(6)),
            ("empty.key", Some(7)),
            ("last", Some(8)),
            ("la", None),
            ("none.at.all", None),
        ] {
            assert_eq!(line_of(TEXT, key), line, "{key}");
        }
    }

    #[test]
    fn each_value_has_its_key() {
        let cases = [
            (1, 1, None),
            (1, 8, Some("probe")),
            (1, 19, Some("probe.interval")),
            (1, 23, Some("probe.timeout")),
            (1, 32, Some("probe.timeout")),
            (3, 3, Some("targets")),
            (3, 11, Some("targets[0].port")),
            (4, 15, Some("targets[0].address[0]")),
            (4, 18, Some("targets[0].address[1]")),
            (5, 8, Some("targets[1]")),
            (6, 5, Some("targets[2]")),
            (7, 8, Some("empty")),
            (8, 1, Some("last")),
        ];
        for (line, column, expected) in cases {
            let found = at(TEXT, line, column, ErrorAbout::Value);
            assert_eq!(found.as_deref(), expected, "{line}:{column}");
        }
    }

    #[test]
    fn of_all_that_begins_at_a_place_the_right_one_is_found() {
        let cases = [
            (1, 1, Some("probe"), None),
            (1, 9, Some("probe.interval"), Some("probe")),
            (3, 5, Some("targets[0].port"), Some("targets[0]")),
            (7, 8, Some("empty"), Some("empty")),
        ];
        for (line, column, key, mapping) in cases {
            let found = [ErrorAbout::Key, ErrorAbout::Mapping].map(|about| at(TEXT, line, column, about));
            assert_eq!(
                found.each_ref().map(Option::as_deref),
                [key, mapping],
                "{line}:{column}"
            );
        }
    }

    #[test]
    fn a_text_that_is_no_yaml_has_the_key_where_it_ends() {
        let found = at("a: {b: [1, }", 1, 12, ErrorAbout::Value);
        assert_eq!(found.as_deref(), Some("a.b[1]"));
        assert_eq!(at("", 1, 1, ErrorAbout::Value), None);
    }
}
