//! Prometheus' list of target groups, as JSON or YAML:
//! `[{"targets": ["192.0.2.1:50075"], "labels": {"port": "Ethernet0", "rack": "r17", "side": "upper"}}]`. Pure.
//!
//! `port` is needed; `rack` and `side` may be missing; other labels are ignored. A document that is not such a list is an error. A
//! group that is not as it should be becomes a problem, and the others are used; if there is no other, the document is an error.
//! No more is kept than the targets themselves.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::any_value::{Any, Loose, Shape, Texts};
use crate::config::{Address, yaml};
use crate::model::{Port, Problem, ProblemKind, Rack, Side, TargetId, quoted, text};
use crate::sonic::inventory::FoundTarget;

/// Problems that are kept of one document.
const MOST_PROBLEMS: usize = 1000;

/// The content of one document.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Groups {
    pub(super) targets: Vec<FoundTarget>,
    pub(super) problems: Vec<Problem>,
}

impl Groups {
    /// Reads JSON. The error is for people.
    pub(super) fn of_json(text: &[u8]) -> Result<Self, String> {
        let read: Result<Document, _> = serde_json::from_slice(text);
        read.map_err(|error| format!("not a list of target groups: {}", text::quote(error)))?
            .groups()
    }

    /// Reads YAML. The error is for people.
    pub(super) fn of_yaml(text: &str) -> Result<Self, String> {
        let read = yaml::read::<Document>(text);
        read.map_err(|(line, _, message)| {
            let line = line.map_or_else(String::new, |line| format!("line {line}: "));
            format!("not a list of target groups: {line}{}", text::quote(message))
        })?
        .groups()
    }

    /// Names the file that they are from.
    pub(super) fn of_file(mut self, file: &Arc<str>) -> Self {
        for target in &mut self.targets {
            target.file = Some(file.clone());
        }
        for problem in &mut self.problems {
            problem.text = format!("{file}: {}", problem.text);
        }
        self
    }

    /// Adds those of another document.
    pub(super) fn extend(&mut self, other: &Self) {
        self.targets.extend_from_slice(&other.targets);
        self.problems.extend_from_slice(&other.problems);
    }
}

struct Document {
    groups: Groups,
    /// There are groups, and not one of them can be used.
    is_useless: bool,
}

impl Document {
    /// A list of nothing but mistakes is one of its program, a label that was renamed for example, and not a fleet without SoCs.
    fn groups(self) -> Result<Groups, String> {
        match self.groups.problems.first() {
            Some(first) if self.is_useless => Err(format!(
                "none of its groups can be used; {}: {}",
                first.port, first.text
            )),
            _ => Ok(self.groups),
        }
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor)
    }
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of groups with targets and labels")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Document, A::Error> {
        let mut groups = Groups::default();
        let mut racks: HashMap<String, Rack> = HashMap::new();
        let (mut number, mut more) = (0, 0);
        let mut is_useless = true;
        while let Some(group) = list.next_element::<TargetGroup>()? {
            let before = (groups.targets.len(), groups.problems.len() + more);
            let problems = &mut groups.problems;
            let mut tell = |problem| match problems.len() < MOST_PROBLEMS {
                true => problems.push(problem),
                false => more += 1,
            };
            group.read(number, &mut racks, &mut groups.targets, &mut tell);
            is_useless &= groups.targets.len() == before.0 && groups.problems.len() + more > before.1;
            if groups.targets.len() > yaml::MAX_TARGETS {
                return Err(A::Error::custom(format!(
                    "expected at most {} targets",
                    yaml::MAX_TARGETS
                )));
            }
            number += 1;
        }
        if more > 0 {
            let text = format!("{more} more groups cannot be used");
            groups
                .problems
                .push(Problem::new("groups", ProblemKind::BadGroup, &text));
        }
        Ok(Document { groups, is_useless })
    }
}

/// One group as it is written, as far as it is looked at.
#[derive(Default)]
struct TargetGroup {
    targets: Option<Texts>,
    labels: TargetLabels,
    /// What else is wrong with it.
    wrong: Option<String>,
}

impl TargetGroup {
    fn wrong(what: &str) -> Self {
        Self {
            wrong: Some(what.to_owned()),
            ..Self::default()
        }
    }

    /// Its targets, or its problem.
    fn read(
        self,
        number: usize,
        racks: &mut HashMap<String, Rack>,
        targets: &mut Vec<FoundTarget>,
        tell: &mut impl FnMut(Problem),
    ) {
        let place = format!("group {number}");
        let (id, side) = match self.identity(racks) {
            Ok(identity) => identity,
            Err((kind, text)) => return tell(Problem::new(&place, kind, &text)),
        };
        let listed = self.targets.unwrap_or_default();
        let mut bad = |found: &str| {
            let text =
                format!("expected an IP address, or one with a port, such as 192.0.2.1:50075, found {found}");
            tell(Problem::new(&id.to_string(), ProblemKind::BadAddress, &text));
        };
        for target in listed.texts {
            match Address::read(&target) {
                Ok(address) => targets.push(FoundTarget {
                    id: id.clone(),
                    address,
                    side,
                    file: None,
                }),
                Err(_) => bad(&quoted(&target)),
            }
        }
        if listed.odd {
            bad("something that is not a text");
        }
    }

    fn identity(&self, racks: &mut HashMap<String, Rack>) -> Result<(TargetId, Side), (ProblemKind, String)> {
        let bad = |text: String| Err((ProblemKind::BadGroup, text));
        if let Some(wrong) = &self.wrong {
            return bad(wrong.clone());
        }
        if self.targets.is_none() {
            return bad("expected the key targets with a list of addresses".to_owned());
        }
        let read = |label: &'static str, value: &'_ Loose| -> Result<String, (ProblemKind, String)> {
            let text = value.text(label).map_err(|text| (ProblemKind::BadGroup, text))?;
            Ok(text.unwrap_or_default().to_owned())
        };
        let rack = read("rack", &self.labels.rack)?;
        let rack = match racks.get(&rack) {
            Some(rack) => rack.clone(),
            None => match Rack::new(&rack) {
                // Its text is shared by all of its targets.
                Ok(new) => racks.entry(rack).or_insert(new).clone(),
                Err(error) => return bad(format!("label rack: {error}, found {}", quoted(&rack))),
            },
        };
        let side = match &*read("side", &self.labels.side)? {
            "" => Side::Unknown,
            "upper" => Side::Upper,
            "lower" => Side::Lower,
            side => {
                return bad(format!(
                    "label side: expected upper or lower, found {}",
                    quoted(side)
                ));
            }
        };
        let bad_name = |text: String| (ProblemKind::BadPortName, text);
        let port = read("port", &self.labels.port)?;
        if port.is_empty() {
            return Err(bad_name(
                "expected the label port, such as port: Ethernet0".to_owned(),
            ));
        }
        let port = Port::new(&port)
            .map_err(|error| bad_name(format!("label port: {error}, found {}", quoted(&port))))?;
        Ok((TargetId { rack, port }, side))
    }
}

#[derive(Default)]
struct TargetLabels {
    port: Loose,
    rack: Loose,
    side: Loose,
}

impl Shape for TargetLabels {
    fn of_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut labels = Self::default();
        while let Some(label) = map.next_key::<String>()? {
            let place = match &*label {
                "port" => &mut labels.port,
                "rack" => &mut labels.rack,
                "side" => &mut labels.side,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *place = map.next_value::<Any<Loose>>()?.0;
        }
        Ok(labels)
    }

    fn odd() -> Self {
        Self {
            port: Loose::Odd,
            ..Self::default()
        }
    }
}

impl Shape for TargetGroup {
    fn of_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut group = Self::default();
        while let Some(key) = map.next_key::<String>()? {
            match &*key {
                "targets" => group.targets = Some(map.next_value::<Any<Texts>>()?.0),
                "labels" => group.labels = map.next_value::<Any<TargetLabels>>()?.0,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    group.wrong = Some(format!(
                        "expected the keys targets and labels, found {}",
                        quoted(&key)
                    ));
                }
            }
        }
        Ok(group)
    }

    fn odd() -> Self {
        Self::wrong("expected a mapping with the keys targets and labels")
    }
}

impl<'de> Deserialize<'de> for TargetGroup {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Any::<Self>::deserialize(deserializer).map(|any| any.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(groups: &Groups) -> Vec<String> {
        let one = |t: &FoundTarget| format!("{} {} {}", t.id, t.address.with_default_port(50075), t.side);
        let problem = |p: &Problem| format!("{} {}: {}", p.kind, p.port, p.text);
        groups
            .targets
            .iter()
            .map(one)
            .chain(groups.problems.iter().map(problem))
            .collect()
    }

    #[test]
    fn groups_are_read_alike_from_json_and_yaml() {
        let json = br#"[{"targets": ["192.0.2.1:50076", "fc02::1"], "labels": {"port": "Ethernet0", "rack": "r17", "side": "upper"}},
            {"labels": {"__meta_x": "y", "port": "Ethernet4", "rack": ""}, "targets": ["192.0.2.2"]}]"#;
        let yaml = "- targets: ['192.0.2.1:50076', 'fc02::1']\n  labels: {port: Ethernet0, rack: r17, side: upper}\n\
                    - targets:\n  - 192.0.2.2\n  labels:\n    __meta_x: [1, 2]\n    port: Ethernet4\n";
        let expected = [
            "r17|Ethernet0 192.0.2.1:50076 upper",
            "r17|Ethernet0 [fc02::1]:50075 upper",
            "Ethernet4 192.0.2.2:50075 unknown",
        ];
        assert_eq!(shown(&Groups::of_json(json).expect("good")), expected);
        assert_eq!(shown(&Groups::of_yaml(yaml).expect("good")), expected);
        assert_eq!(Groups::of_json(b" [] "), Ok(Groups::default()));
        assert_eq!(Groups::of_yaml("[]\n"), Ok(Groups::default()));
    }

    #[test]
    fn one_group_that_cannot_be_used_affects_itself_alone() {
        let good = r#"{"targets": ["192.0.2.9"], "labels": {"port": "Ethernet8"}}"#;
        for (bad, kind, words) in [
            ("7", "bad_group group 0", "expected a mapping"),
            ("null", "bad_group group 0", "expected a mapping"),
            ("[{}]", "bad_group group 0", "expected a mapping"),
            ("{}", "bad_group group 0", "expected the key targets"),
            (
                r#"{"target": ["192.0.2.1"], "labels": {"port": "Ethernet0"}}"#,
                "bad_group group 0",
                "found \"target\"",
            ),
            (
                r#"{"targets": ["192.0.2.1"]}"#,
                "bad_port_name group 0",
                "expected the label port",
            ),
            (
                r#"{"targets": ["192.0.2.1"], "labels": {"port": "a b"}}"#,
                "bad_port_name group 0",
                "found \"a b\"",
            ),
            (
                r#"{"targets": ["192.0.2.1"], "labels": {"port": true}}"#,
                "bad_group group 0",
                "label port: expected a text",
            ),
            (
                r#"{"targets": ["192.0.2.1"], "labels": ["port"]}"#,
                "bad_group group 0",
                "label port: expected a text",
            ),
            (
                r#"{"targets": ["192.0.2.1"], "labels": {"port": "Ethernet0", "rack": "a|b"}}"#,
                "bad_group group 0",
                "label rack",
            ),
            (
                r#"{"targets": ["192.0.2.1"], "labels": {"port": "Ethernet0", "side": "left"}}"#,
                "bad_group group 0",
                "upper or lower",
            ),
            (
                r#"{"targets": "192.0.2.1", "labels": {"port": "Ethernet0"}}"#,
                "bad_address Ethernet0",
                "not a text",
            ),
            (
                r#"{"targets": ["soc0"], "labels": {"port": "Ethernet0"}}"#,
                "bad_address Ethernet0",
                "found \"soc0\"",
            ),
            (
                r#"{"targets": [["192.0.2.1"]], "labels": {"port": "Ethernet0"}}"#,
                "bad_address Ethernet0",
                "not a text",
            ),
        ] {
            for groups in [
                Groups::of_json(format!("[{bad}, {good}]").as_bytes()),
                Groups::of_yaml(&format!("[{bad}, {good}]")),
            ] {
                let shown = shown(&groups.expect(bad));
                assert_eq!(shown.len(), 2, "{bad}: {shown:?}");
                assert_eq!(shown[0], "Ethernet8 192.0.2.9:50075 unknown", "{bad}");
                assert!(
                    shown[1].starts_with(kind) && shown[1].contains(words),
                    "{bad}: {}",
                    shown[1]
                );
            }
        }
    }

    #[test]
    fn what_is_not_a_list_of_groups_is_an_error_of_the_whole() {
        for bad in [
            "",
            "{}",
            "\"x\"",
            "[",
            "[{\"targets\": [\"192.0.2.1\"",
            "<html>",
            "[] []",
        ] {
            let error = Groups::of_json(bad.as_bytes()).expect_err(bad);
            assert!(error.starts_with("not a list of target groups: "), "{error}");
        }
        for bad in ["{}", "a: b", "[", "[]\n---\n[]"] {
            let error = Groups::of_yaml(bad).expect_err(bad);
            assert!(error.starts_with("not a list of target groups: "), "{error}");
        }
    }

    #[test]
    fn groups_of_which_none_can_be_used_are_an_error_of_the_whole() {
        for bad in [
            r#"[{"targets": ["192.0.2.1"], "labels": {"interface": "Ethernet0"}}, 7]"#,
            r#"[{"targets": ["soc0"], "labels": {"port": "Ethernet0"}}]"#,
        ] {
            for error in [Groups::of_json(bad.as_bytes()), Groups::of_yaml(bad)] {
                let error = error.expect_err(bad);
                assert!(error.starts_with("none of its groups can be used; "), "{error}");
            }
        }
        let no_address = r#"[7, {"targets": [], "labels": {"port": "Ethernet8"}}]"#;
        assert_eq!(Groups::of_json(no_address.as_bytes()).expect("good").targets, []);
    }

    #[test]
    fn nonsense_of_many_mebibytes_is_bounded() {
        let good = r#"{"targets": [], "labels": {"port": "Ethernet8"}}"#;
        let lists = format!("[{}{good}]", "[],".repeat(1_000_000));
        let groups = Groups::of_json(lists.as_bytes()).expect("a list");
        assert_eq!(groups.problems.len(), MOST_PROBLEMS + 1);
        let texts = "\"\",".repeat(yaml::MAX_TARGETS + 10);
        let one = format!("[{{\"labels\": {{\"port\": \"a\"}}, \"targets\": [{texts}\"\"]}}]");
        assert!(
            Groups::of_json(one.as_bytes())
                .expect_err("too many")
                .contains("at most 200000")
        );
        let deep = "[".repeat(100_000);
        Groups::of_json(deep.as_bytes()).expect_err("too deep");
        Groups::of_yaml(&deep).expect_err("too deep");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[\\[\\]{}:,\"a-z0-9 \n-]{0,60}") {
            let _ = Groups::of_json(text.as_bytes());
            let _ = Groups::of_yaml(&text);
        }
    }
}
