//! Findings → what is printed.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::findings::{Area, Finding, Level, counted};
use crate::model::Side;

/// For people: grouped, a line each, and what to do under it.
pub(super) fn text(findings: &[Finding]) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail.
    for area in Area::ALL {
        let mut of_area = findings.iter().filter(|finding| finding.area == area).peekable();
        if of_area.peek().is_some() {
            let _ = writeln!(out, "{}", area.title());
        }
        for Finding {
            level,
            subject,
            text,
            remedy,
            ..
        } in of_area
        {
            let _ = writeln!(out, "  {} {subject}: {text}", level.mark());
            if let Some(remedy) = remedy {
                let _ = writeln!(out, "      -> {remedy}");
            }
        }
    }
    let (problems, notes) = (count(findings, Level::Problem), count(findings, Level::Note));
    let _ = write!(
        out,
        "\n{}, {}",
        counted(problems, "problem"),
        counted(notes, "note")
    );
    out
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
