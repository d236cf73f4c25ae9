//! Findings → what is printed.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::findings::{Area, Finding, Level, counted, listed};
use crate::model::Side;

/// From this many ports on, ports with the same finding share one line.
const MANY: usize = 2;

/// For people: grouped, a line each, and what to do under it. Ports with the same finding are one line, and one problem or note.
pub(super) fn text(findings: &[Finding]) -> String {
    let mut out = String::new();
    let (mut problems, mut notes) = (0, 0);
    // Writing into a String cannot fail.
    for area in Area::ALL {
        let of_area: Vec<&Finding> = findings.iter().filter(|finding| finding.area == area).collect();
        if !of_area.is_empty() {
            let _ = writeln!(out, "{}", area.title());
        }
        for &finding in &of_area {
            let group: Vec<&Finding> = of_area
                .iter()
                .copied()
                .filter(|f| are_alike(f, finding))
                .collect();
            let mark = finding.level.mark();
            let mut remedy = &finding.remedy;
            if let Some((alike, for_all)) = finding.alike.as_ref().filter(|_| group.len() >= MANY) {
                // All of them are printed at the place of the first.
                if !std::ptr::eq(group[0], finding) {
                    continue;
                }
                let ports: Vec<&str> = group.iter().map(|f| f.subject.as_str()).collect();
                let _ = writeln!(out, "  {mark} {} ports: {alike}", ports.len());
                let _ = writeln!(out, "      {}", listed(&ports));
                remedy = for_all;
            } else {
                let _ = writeln!(out, "  {mark} {}: {}", finding.subject, finding.text);
            }
            if let Some(remedy) = remedy {
                let _ = writeln!(out, "      -> {remedy}");
            }
            match finding.level {
                Level::Ok => {}
                Level::Note => notes += 1,
                Level::Problem => problems += 1,
            }
        }
    }
    let _ = write!(
        out,
        "\n{}, {}",
        counted(problems, "problem"),
        counted(notes, "note")
    );
    out
}

fn are_alike(one: &Finding, other: &Finding) -> bool {
    one.alike.is_some() && one.alike == other.alike && one.level == other.level
}

/// For programs.
pub(super) fn json(side: Side, ports: usize, findings: &[Finding]) -> Value {
    let each = findings.iter().map(|finding| {
        json!({
            "area": finding.area.label(),
            "level": finding.level.label(),
            "subject": finding.subject,
            "text": finding.text,
            "remedy": finding.remedy,
        })
    });
    json!({
        "side": side.label(),
        "ports": ports,
        "problems": count(findings, Level::Problem),
        "notes": count(findings, Level::Note),
        "findings": each.collect::<Vec<_>>(),
    })
}

fn count(findings: &[Finding], level: Level) -> usize {
    findings.iter().filter(|finding| finding.level == level).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        vec![
            Finding::ok(Area::Databases, "Redis", "it answers"),
            Finding::problem(Area::Socs, "Ethernet4", "refused", "start it"),
            Finding::note(Area::Databases, "Redis", "it is quiet", None),
        ]
    }

    #[test]
    fn text_is_grouped_and_says_what_to_do() {
        let expected = "Databases\n  ✓ Redis: it answers\n  ! Redis: it is quiet\n\
                        SoCs\n  ✗ Ethernet4: refused\n      -> start it\n\n1 problem, 1 note";
        assert_eq!(text(&findings()), expected);
    }

    #[test]
    fn many_ports_that_fare_alike_are_told_once_to_people_and_each_to_programs() {
        let hung = |n: usize| {
            let text = format!("192.168.0.{n}: never READY");
            Finding::problem(Area::Socs, format!("Ethernet{n}"), text, "start it").alike("never READY")
        };
        let mut findings: Vec<Finding> = (0..4).map(hung).collect();
        findings.insert(2, Finding::ok(Area::Socs, "Ethernet9", "well"));
        let expected = "SoCs\n  ✗ 4 ports: never READY\n      Ethernet0, Ethernet1, Ethernet2, Ethernet3\n      \
                        -> start it\n  ✓ Ethernet9: well\n\n1 problem, 0 notes";
        assert_eq!(text(&findings), expected);
        assert_eq!(
            json(Side::Upper, 5, &findings)["findings"][4]["text"],
            "192.168.0.3: never READY"
        );
        // From two on: one port after another is read twice, for nothing.
        let two = text(&findings[..2]);
        assert!(
            two.contains("2 ports: never READY\n      Ethernet0, Ethernet1\n"),
            "{two}"
        );
        let one = text(&findings[..1]);
        assert!(one.contains("Ethernet0: 192.168.0.0: never READY\n"), "{one}");
    }

    #[test]
    fn json_has_the_same_words() {
        let json = json(Side::Upper, 1, &findings());
        assert_eq!((&json["side"], &json["problems"]), (&"upper".into(), &1.into()));
        assert_eq!((&json["ports"], &json["notes"]), (&1.into(), &1.into()));
        let problem = &json["findings"][1];
        let expected = json!({
            "area": "socs",
            "level": "problem",
            "subject": "Ethernet4",
            "text": "refused",
            "remedy": "start it",
        });
        assert_eq!(problem, &expected);
        assert!(json["findings"][0]["remedy"].is_null());
    }
}
