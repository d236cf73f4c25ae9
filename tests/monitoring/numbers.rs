//! What the dashboards' numbers count, and which words they become: their queries, put to promtool over ports of which all is known.
//!
//! *Fleet* counts by recording rules and *ToR* without: both must come to the same.

use serde_json::Value;

use crate::queries::{panel, panel_where};
use crate::synthetic::{Port, Test, UNKNOWN, UP, port, target};

/// Of tor-a: all that a server can be, with its word and its reason.
const PORTS: [(Port, &str, &str); 12] = [
    (port(0, ["active"; 2], UP), "both sides", "both sides active"),
    (port(4, ["standby"; 2], UP), "dark", "both sides standby"),
    (port(8, ["active"; 2], ["down"; 2]), "dark", "both links are down"),
    (
        port(12, ["standby", "active"], ["up", "down"]),
        "dark",
        "self standby, peer link down",
    ),
    (
        port(16, ["standby", "active"], UP),
        "one side only",
        "self standby, peer active",
    ),
    (
        port(20, UNKNOWN, ["down", "up"]),
        "at most one side",
        "self link down, peer unknown",
    ),
    (
        port(24, ["standby", "active"], ["up", "unknown"]),
        "at most one side",
        "self standby, peer link unknown",
    ),
    (
        port(28, ["active"; 2], UNKNOWN),
        "unknown",
        "both sides active, links unknown",
    ),
    (
        port(44, ["active", "unknown"], UP),
        "unknown",
        "self active, peer unknown",
    ),
    (
        Port {
            ready: false,
            ..port(32, UNKNOWN, UNKNOWN)
        },
        "unknown",
        "both directions unknown",
    ),
    (
        Port {
            ready: false,
            maintenance: true,
            ..port(36, UNKNOWN, UNKNOWN)
        },
        "unknown",
        "both directions unknown",
    ),
    (
        Port {
            maintenance: true,
            ..port(40, ["standby"; 2], UP)
        },
        "dark",
        "both sides standby",
    ),
];

/// The number that a panel shows as this text.
fn shown_as(value: &Value, shown: &str) -> i64 {
    fn find(value: &Value, shown: &str) -> Option<i64> {
        let fields = value.as_object();
        let own = fields.into_iter().flatten().find(|(_, of)| of["text"] == shown);
        if let Some(number) = own.and_then(|(number, _)| number.parse().ok()) {
            return Some(number);
        }
        match value {
            Value::Array(values) => values.iter().find_map(|value| find(value, shown)),
            Value::Object(fields) => fields.values().find_map(|value| find(value, shown)),
            _ => None,
        }
    }
    find(&value["fieldConfig"], shown).unwrap_or_else(|| panic!("nothing shows {shown}"))
}

/// The table of that title, where a number has the same.
fn table(file: &str, title: &str) -> Value {
    panel_where(file, title, |kind| kind == "table")
}

const ALL: (&str, &str) = (".+", ".+");
const TOR: (&str, &str) = ("tor-a:9075", ".+");

/// tor-a; tor-b, which does not know its side; tor-c, which is down; and tor-d, which has no ports.
fn four_tors() -> Test {
    let mut test = Test::default();
    for (instance, up) in [
        ("tor-a:9075", 1),
        ("tor-b:9075", 1),
        ("tor-c:9075", 0),
        ("tor-d:9075", 1),
    ] {
        test.series("up", &target(instance), &format!("{up}x40"));
    }
    for (port, ..) in &PORTS {
        test.port("tor-a:9075", port);
    }
    test.port("tor-b:9075", &port(0, UNKNOWN, UNKNOWN));
    for (instance, ports, side) in [
        ("tor-a:9075", PORTS.len(), "upper"),
        ("tor-b:9075", 1, "unknown"),
        ("tor-d:9075", 0, "upper"),
    ] {
        test.series(
            "dualtor_inventory_ports",
            &target(instance),
            &format!("{ports}x40"),
        );
        for one in ["upper", "unknown"] {
            let value = u8::from(one == side);
            test.series(
                "dualtor_side",
                &format!("{}, side=\"{one}\"", target(instance)),
                &format!("{value}x40"),
            );
        }
    }
    test
}

#[test]
fn fleet_and_tor_count_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut test = four_tors();
    for (title, count) in [
        ("Servers dark", 4),
        ("One side out", 3),
        ("Not READY", 1),
        ("Maintenance", 2),
    ] {
        for file in ["fleet.json", "tor.json"] {
            test.gives(&panel(file, title), 0, TOR, &[(String::new(), count)]);
            test.gives(
                &panel(file, title),
                0,
                ("tor-d:9075", ".+"),
                &[(String::new(), 0)],
            );
            // Nothing is known of a ToR that is down: no 0.
            test.gives(&panel(file, title), 0, ("tor-c:9075", ".+"), &[]);
        }
    }
    test.run(directory.path());
}

#[test]
fn a_server_is_what_its_sides_are() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut test = four_tors();
    let (word, reason) = (panel("port.json", "Server"), panel("port.json", "Why"));
    let words = &word["fieldConfig"]["defaults"]["mappings"][0]["options"];
    let mut check = |instance: &str, port: &str, labels: String, shown: &str, because: &str| {
        let number = shown_as(&reason, because);
        assert_eq!(words[number.to_string()]["text"], shown, "{because}");
        for panel in [&word, &reason] {
            test.gives(panel, 0, (instance, port), &[(labels.clone(), number)]);
        }
    };
    for (port, shown, because) in &PORTS {
        let port = format!("Ethernet{}", port.number);
        let labels = format!("{}, port=\"{port}\"", target("tor-a:9075"));
        check("tor-a:9075", &port, labels, shown, because);
    }
    let side = format!("{}, side=\"unknown\"", target("tor-b:9075"));
    check(
        "tor-b:9075",
        "Ethernet0",
        side,
        "unknown",
        "which side is which is unknown",
    );
    check(
        "tor-c:9075",
        "Ethernet0",
        String::new(),
        "unknown",
        "the exporter does not answer",
    );
    test.run(directory.path());
}

/// The same words in *Fleet*'s list, and what passes on a side there and on *ToR*.
#[test]
fn a_side_whose_link_is_down_does_not_pass_for_active() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut test = four_tors();
    let list = panel("fleet.json", "Servers dark or with one side out");
    let of_list = ["dark", "one side only", "at most one side"];
    let blocked: Vec<_> = PORTS
        .iter()
        .filter(|(_, word, _)| of_list.contains(word))
        .collect();
    let row = |port: &Port| {
        format!(
            "instance=\"tor-a:9075\", port=\"Ethernet{}\", rack=\"r1\"",
            port.number
        )
    };
    let expected = blocked
        .iter()
        .map(|(port, word, _)| (row(port), shown_as(&list, word)));
    test.gives(&list, 0, ALL, &expected.collect::<Vec<_>>());
    for side in 0..2 {
        let expected = blocked.iter().map(|(port, ..)| {
            let shown = match (port.directions[side], port.links[side]) {
                (_, "down") => "link down",
                ("active", "unknown") => "link unknown",
                (direction, _) => direction,
            };
            (row(port), shown_as(&list, shown))
        });
        test.gives(&list, 1 + side, ALL, &expected.collect::<Vec<_>>());
    }
    let tor = panel("tor.json", "Direction, self");
    for (number, word) in [
        (0, "active"),
        (4, "standby"),
        (8, "link down"),
        (20, "link down"),
        (28, "link unknown"),
        (32, "unknown"),
    ] {
        let port = format!("Ethernet{number}");
        let labels = format!(
            "{}, by_number=\"{number:04}/0000/0000\", port=\"{port}\", side=\"self\"",
            target("tor-a:9075")
        );
        test.gives(&tor, 0, ("tor-a:9075", &port), &[(labels, shown_as(&tor, word))]);
    }
    test.run(directory.path());
}

/// One that pages, two that are part of it (one of them would page too), some that do not page, and one that is pending.
#[test]
fn only_alerts_that_page_are_critical() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut test = four_tors();
    let (a, c) = (target("tor-a:9075"), target("tor-c:9075"));
    let of_port = format!("{a}, port=\"Ethernet4\"");
    let of_another = format!("{a}, port=\"Ethernet8\"");
    for (name, severity, state, labels) in [
        ("DualTorServerDark", "critical", "firing", &of_port),
        ("DualTorLinkDown", "warning", "firing", &of_port),
        ("DualTorBlackhole", "critical", "firing", &of_port),
        ("DualTorBlackhole", "critical", "pending", &of_another),
        ("DualTorSideUnknown", "warning", "firing", &a),
        ("DualTorExporterDown", "warning", "firing", &c),
        ("DualTorVersionSkew", "info", "firing", &a),
    ] {
        let labels =
            format!("alertname=\"{name}\", alertstate=\"{state}\", {labels}, severity=\"{severity}\"");
        test.series("ALERTS", &labels, "1x40");
    }
    let none = String::new;
    test.gives(&panel("fleet.json", "Critical"), 0, ALL, &[(none(), 1)]);
    test.gives(&panel("fleet.json", "Other alerts"), 0, ALL, &[(none(), 3)]);
    let list = panel("fleet.json", "Firing alerts");
    let row = |name: &str, of: &str, shown: &str| {
        let labels = format!("alertname=\"{name}\", {of}, rack=\"r1\"");
        (labels, shown_as(&list, shown))
    };
    let (a, of_port) = (
        "instance=\"tor-a:9075\"",
        "instance=\"tor-a:9075\", port=\"Ethernet4\"",
    );
    test.gives(
        &list,
        0,
        ALL,
        &[
            row("DualTorServerDark", of_port, "critical"),
            row("DualTorBlackhole", of_port, "muted"),
            row("DualTorLinkDown", of_port, "muted"),
            row("DualTorSideUnknown", a, "warning"),
            row("DualTorExporterDown", "instance=\"tor-c:9075\"", "warning"),
            row("DualTorVersionSkew", a, "info"),
        ],
    );
    test.run(directory.path());
}

/// "none" and 0 are of a fleet that is well; of one that is dead nothing is known.
#[test]
fn a_dead_fleet_is_not_well() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut test = Test::default();
    let (well, dead) = ("tor-a:9075", "tor-c:9075");
    test.series("up", &target(well), "1x40");
    test.series("dualtor_inventory_ports", &target(well), "1x40");
    test.port(well, &port(0, ["active"; 2], UP));
    test.series("up", &target(dead), "0x40");
    for (file, title) in [
        ("fleet.json", "Critical"),
        ("fleet.json", "Other alerts"),
        ("fleet.json", "Firing alerts"),
        ("fleet.json", "Servers dark or with one side out"),
        ("fleet.json", "Not READY now"),
        ("fleet.json", "Channel lost"),
        ("fleet.json", "Direction changed"),
        ("fleet.json", "Unanswered queries"),
        ("tor.json", "Channels lost most often"),
    ] {
        let panel = panel(file, title);
        // The row "none" has the columns by which the others are sorted.
        let query = panel["targets"][0]["expr"].as_str().expect("a query");
        let blank: Vec<String> = ["alertname", "rack", "instance", "port"]
            .iter()
            .filter(|label| query.contains(&format!("\"{label}\", \"-\"")))
            .map(|label| format!("{label}=\"-\""))
            .collect();
        for target in 0..panel["targets"].as_array().expect("targets").len() {
            test.gives(&panel, target, (well, ".+"), &[(blank.join(", "), 0)]);
            test.gives(&panel, target, (dead, ".+"), &[]);
        }
        let words = panel["fieldConfig"].to_string();
        assert!(
            panel["type"] != "table" || words.contains("\"none\""),
            "{title}: a 0 with no word"
        );
    }
    // Two jobs scrape one address: one of them is down, and that is seen.
    test.series(
        "up",
        &target(well).replace("dualtor-exporter", "dualtor-exporter-b"),
        "0x40",
    );
    let tors = table("fleet.json", "ToRs");
    let down = shown_as(&tors, "down");
    let row = |instance: &str| (format!("instance=\"{instance}\", rack=\"r1\""), down);
    test.gives(&tors, 0, ALL, &[row(well), row(dead)]);
    test.run(directory.path());
}

#[test]
fn a_certificate_that_was_not_shown_is_not_no_tls() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut test = four_tors();
    let role = format!("{}, role=\"ca\"", target("tor-b:9075"));
    test.series(
        "dualtor_tls_certificate_expiry_timestamp_seconds",
        &role,
        "1000000x40",
    );
    for (file, title) in [
        ("port.json", "Certificate expires"),
        ("exporter.json", "First SoC's certificate expires"),
    ] {
        let panel = panel(file, title);
        let number = |words: &str| shown_as(&panel, words);
        test.gives(
            &panel,
            0,
            ("tor-a:9075", "Ethernet0"),
            &[(target("tor-a:9075"), number("no TLS"))],
        );
        let labels = "instance=\"tor-b:9075\", job=\"dualtor-exporter\"".to_owned();
        test.gives(
            &panel,
            0,
            ("tor-b:9075", "Ethernet0"),
            &[(labels, number("not shown yet"))],
        );
        test.gives(&panel, 0, ("tor-c:9075", "Ethernet0"), &[]);
    }
    test.run(directory.path());
}

/// Of several results in one window the worst is shown. A query that is not implemented is as it should be of health alone.
#[test]
fn the_worst_result_of_a_query_is_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut test = four_tors();
    for (port, query, result) in [
        ("Ethernet0", "admin", "OK"),
        ("Ethernet0", "health", "UNIMPLEMENTED"),
        ("Ethernet4", "admin", "OK"),
        ("Ethernet4", "admin", "UNIMPLEMENTED"),
        ("Ethernet4", "operation", "UNIMPLEMENTED"),
        ("Ethernet4", "health", "UNIMPLEMENTED"),
        ("Ethernet4", "health", "UNAVAILABLE"),
        ("Ethernet4", "link", "UNAVAILABLE"),
        ("Ethernet4", "link", "INVALID_REPLY"),
    ] {
        let labels = format!(
            "{}, port=\"{port}\", query=\"{query}\", result=\"{result}\"",
            target("tor-a:9075")
        );
        test.series("dualtor_probes_total", &labels, "0+1x40");
    }
    let results = panel("port.json", "Results by query");
    let of = |query: &str, shown: &str| (format!("query=\"{query}\""), shown_as(&results, shown));
    test.gives(
        &results,
        0,
        ("tor-a:9075", "Ethernet0"),
        &[of("admin", "OK"), of("health", "UNIMPLEMENTED")],
    );
    test.gives(
        &results,
        0,
        ("tor-a:9075", "Ethernet4"),
        &[
            of("admin", "some failed"),
            of("operation", "another failure"),
            of("health", "UNAVAILABLE"),
            of("link", "another failure"),
        ],
    );
    // Without databases each row says so: one alone would fill the panel.
    let intent = panel("port.json", "Intended against actual");
    let not_known = shown_as(&intent, "not known");
    test.gives(
        &intent,
        0,
        ("tor-a:9075", "Ethernet0"),
        &[(String::new(), not_known)],
    );
    test.gives(
        &intent,
        2,
        ("tor-a:9075", "Ethernet0"),
        &[(String::new(), shown_as(&intent, "active"))],
    );
    test.run(directory.path());
}

/// A port's name may have three numbers; text has them in the order 1/10, 1/2.
#[test]
fn ports_are_in_the_order_of_all_their_numbers() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut test = Test::default();
    let tor = panel("tor.json", "Channel");
    let in_order = [
        ("Ethernet1/2/1", "0001/0002/0001"),
        ("Ethernet1/10", "0001/0010/0000"),
        ("Ethernet1/10/1", "0001/0010/0001"),
        ("Ethernet4", "0004/0000/0000"),
        ("Ethernet12", "0012/0000/0000"),
        ("etp17b", "0017/0000/0000"),
    ];
    assert!(in_order.is_sorted_by_key(|(_, number)| number));
    for (port, number) in in_order {
        let of = format!("{}, port=\"{port}\"", target("tor-a:9075"));
        test.series("dualtor_channel_state", &format!("{of}, state=\"ready\""), "1x40");
        let labels = format!(
            "{}, by_number=\"{number}\", port=\"{port}\"",
            target("tor-a:9075")
        );
        test.gives(
            &tor,
            0,
            ("tor-a:9075", port),
            &[(labels, shown_as(&tor, "READY"))],
        );
    }
    test.run(directory.path());
}

/// What two jobs scrape at one address is one exporter.
#[test]
fn two_jobs_that_scrape_one_exporter_count_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut test = Test::default();
    let of = target("tor-a:9075");
    for of in [of.clone(), of.replace("dualtor-exporter", "dualtor-exporter-b")] {
        test.series("up", &of, "0x40");
        for count in [
            "instance:dualtor_servers_dark:count",
            "instance:dualtor_ports_without_redundancy:count",
            "instance:dualtor_channels_not_ready:count",
            "instance:dualtor_channels_in_maintenance:count",
        ] {
            test.series(count, &of, "1x40");
        }
    }
    for title in [
        "Servers dark",
        "One side out",
        "Not READY",
        "Maintenance",
        "Not scraped",
        "ToRs",
    ] {
        test.gives(&panel("fleet.json", title), 0, ALL, &[(String::new(), 1)]);
    }
    test.run(directory.path());
}
