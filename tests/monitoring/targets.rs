//! What the numbers and lists of *Services* count: their queries, put to promtool over targets of which all is known.

use crate::queries::panel;
use crate::synthetic::{Test, target};

const FILE: &str = "services.json";
const CHANNEL: [&str; 3] = ["ready", "connecting", "transient_failure"];

/// The labels of a target of the module db.
fn of(name: &str, instance: &str) -> String {
    format!("{}, module=\"db\", target=\"{name}\"", target(instance))
}

/// tor-a has four targets, tor-b no modules, and tor-c does not answer.
fn exporters() -> Test {
    let mut test = Test::default();
    for (instance, up) in [
        ("tor-a:9075", "1x40"),
        ("tor-b:9075", "1x40"),
        ("tor-c:9075", "0x40"),
    ] {
        test.series("up", &target(instance), up);
    }
    for (name, state, success) in [
        ("well", "ready", "1x40"),
        ("ill", "ready", "0x40"),
        ("gone", "transient_failure", "0x40"),
        ("new", "connecting", "_x40"),
    ] {
        let of = of(name, "tor-a:9075");
        test.states("grpc_channel_state", &of, &CHANNEL, state);
        test.series("grpc_probe_success", &of, success);
    }
    let ill = of("ill", "tor-a:9075");
    for (result, values) in [("OK", "0+1x40"), ("INVALID_REPLY", "0+1x40")] {
        test.series(
            "grpc_probes_total",
            &format!("{ill}, result=\"{result}\""),
            values,
        );
    }
    for (service, status) in [("a", "serving"), ("b", "not_serving"), ("c", "service_unknown")] {
        for one in ["serving", "not_serving", "service_unknown", "unimplemented"] {
            let labels = format!("{ill}, service=\"{service}\", status=\"{one}\"");
            test.series(
                "grpc_health_status",
                &labels,
                &format!("{}x40", u8::from(one == status)),
            );
        }
    }
    for (service, state) in [("a", "compatible"), ("b", "client_too_old"), ("c", "unknown")] {
        let states = [
            "compatible",
            "server_too_old",
            "client_too_old",
            "missing",
            "unknown",
        ];
        test.states(
            "grpc_api_compatibility",
            &format!("{ill}, service=\"{service}\""),
            &states,
            state,
        );
    }
    for (plane, values) in [("rib", "7x40"), ("fib", "5x40")] {
        let labels = format!("{ill}, network_instance=\"x\", plane=\"{plane}\", status=\"not_programmed\"");
        test.series("gribi_entries_by_status", &labels, values);
    }
    // At 15 minutes a day is left.
    test.series("grpc_certificate_expiry_timestamp_seconds", &ill, "87300x40");
    test
}

#[test]
fn each_number_counts_what_it_says_and_says_why_it_counts_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut test = exporters();
    for (title, count) in [
        ("Targets", 4),
        ("Down", 2),
        ("Failing", 1),
        ("Not serving", 2),
        ("Incompatible", 1),
        ("Not in FIB", 5),
        ("Certificate", 86_400),
    ] {
        let panel = panel(FILE, title);
        test.gives(&panel, 0, ("tor-a:9075", ".+"), &[(String::new(), count)]);
        // Words of what is not configured: the mapping of -1.
        test.gives(&panel, 0, ("tor-b:9075", ".+"), &[(String::new(), -1)]);
        test.gives(&panel, 0, ("tor-c:9075", ".+"), &[]);
    }
    test.run(directory.path());
}

#[test]
fn versions_that_differ_are_counted_by_service() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut test = Test::default();
    for (name, service, version) in [
        ("db1", "srv", 1),
        ("db2", "srv", 2),
        ("db3", "srv", 2),
        ("db1", "log", 3),
        ("db2", "log", 3),
    ] {
        for (bound, version) in [("current", version), ("supported", 1)] {
            let labels = format!(
                "{}, service=\"{service}\", bound=\"{bound}\"",
                of(name, "tor-a:9075")
            );
            test.series("grpc_api_version", &labels, &format!("{version}x40"));
        }
    }
    let expected = [("log", 1), ("srv", 2)]
        .map(|(service, count)| (format!("module=\"db\", service=\"{service}\""), count));
    test.gives(
        &panel(FILE, "Different versions"),
        0,
        ("tor-a:9075", ".+"),
        &expected,
    );
    test.run(directory.path());
}
