//! The invariants that the source must keep (ARCHITECTURE.md), read from the source.

mod imports;
mod names;
mod pages;
mod sizes;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use imports::{Crate, Name};

/// The folders of src/. Each imports only folders to its left.
const ORDER: [&str; 12] = [
    "model",
    "runtime",
    "unary",
    "config",
    "soc",
    "fleet",
    "sonic",
    "telemetry",
    "web",
    "grpc_surface",
    "app",
    "cli",
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All files of the source with their paths from `src`.
pub(crate) fn files() -> Vec<(String, String)> {
    fn walk(dir: &Path, files: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(source()).expect("under src");
                let name = name.to_str().expect("UTF-8").to_owned();
                files.push((name, code(&std::fs::read_to_string(&path).expect("text"))));
            }
        }
    }
    let mut files = Vec::new();
    walk(&source(), &mut files);
    assert!(files.len() > 30, "{files:?}");
    files.sort();
    files
}

/// Without comments, and without the tests at the end of a file.
fn code(text: &str) -> String {
    let text = match text.find("#[cfg(test)]\nmod tests {") {
        Some(at) => &text[..at],
        None => text,
    };
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| format!("{line}\n")).collect()
}

fn is_test(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.contains("/tests/") || file.ends_with("/testing.rs")
}

#[test]
fn a_folder_imports_only_what_stands_left_of_it() {
    let place = |name: &Name| {
        ORDER
            .iter()
            .position(|folder| name.first().is_some_and(|first| first == folder))
    };
    let mut seen = 0;
    for (name, path) in Crate::read(&source()).paths() {
        if name.is_empty() {
            // Through lib.rs a folder could import what the rule forbids.
            assert!(
                path.len() <= 1 || path[0] == "cli",
                "lib.rs re-exports or uses {path:?}"
            );
            continue;
        }
        assert!(
            !path.is_empty(),
            "src/{}.rs: name the folder in each import; the crate under another name would hide it",
            name.join("/")
        );
        let own =
            place(name).unwrap_or_else(|| panic!("src/{}: say in ORDER where it stands", name.join("/")));
        let other = place(path);
        assert!(
            other.is_none_or(|other| other <= own),
            "src/{}.rs must not import crate::{}: {} stands right of {}",
            name.join("/"),
            path.join("::"),
            path[0],
            name[0]
        );
        seen += usize::from(other.is_some_and(|other| other < own));
    }
    assert!(seen > 100, "only {seen} imports found");
    let inside = |a: &str, b: &str| {
        let all = Crate::read(&source());
        let crossing = all.paths().find(|(name, path)| {
            name.join("/").starts_with(&format!("soc/{a}")) && path.join("/").starts_with(&format!("soc/{b}"))
        });
        assert!(
            crossing.is_none(),
            "channel and probe meet in transport only: {crossing:?}"
        );
    };
    inside("channel", "probe");
    inside("probe", "channel");
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for src in [
        "src",
        "crates/sim/src",
        "crates/demo/src",
        "crates/testkit/src",
        "dashboards/generator",
    ] {
        assert_eq!(Crate::read(&root.join(src)).circle(), None, "{src}");
    }
}

#[test]
fn the_reducer_reads_no_clock_and_does_no_io() {
    let of = |module_name: &str| {
        let files = files().into_iter();
        files
            .filter(move |(file, _)| file.starts_with(module_name) && !is_test(file))
            .collect::<Vec<_>>()
    };
    for module in ["fleet/reduce", "fleet/module_changes", "model"] {
        for (file, code) in of(module) {
            for forbidden in [
                "now()",
                "elapsed()",
                "Instant",
                "tokio",
                "std::io",
                "std::net::Tcp",
                "std::fs",
                "async ",
            ] {
                assert!(!code.contains(forbidden), "{file}: {forbidden}");
            }
        }
    }
    for pure in [
        "soc/channel/connectivity.rs",
        "soc/channel/backoff.rs",
        "soc/channel/keepalive.rs",
        "soc/session/schedule.rs",
        "soc/probe/report_limiter.rs",
        "soc/probe/maintenance.rs",
        "runtime/bucket.rs",
        "sonic/state_db/ledger.rs",
        "sonic/state_db/ledger/answers.rs",
        "sonic/state_db/ledger/batches.rs",
        "sonic/state_db/ledger/doubts.rs",
        "sonic/mirror/pattern.rs",
        "sonic/mirror/plan.rs",
        "sonic/redis_link/retry.rs",
        "sonic/redis_link/frame.rs",
    ] {
        let files = files();
        let (_, code) = files.iter().find(|(file, _)| file == pure).expect(pure);
        for forbidden in ["now()", "elapsed()", "tokio", "fastrand", "async "] {
            assert!(!code.contains(forbidden), "{pure}: {forbidden}");
        }
    }
}

/// The packages that a program is linked from, with their features, one per line.
fn dependencies(package: &str) -> String {
    let output = std::process::Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .args(["--package", package, "--format", "{p} features: {f}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo tree");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn the_switchs_program_holds_nothing_that_simulates_or_starts_programs() {
    let all = dependencies("dualtor-exporter");
    let line = |name: &str| all.lines().find(|line| line.starts_with(&format!("{name} v")));
    for foreign in ["dualtor-sim", "dualtor-demo", "dualtor-testkit", "tempfile"] {
        assert_eq!(line(foreign), None);
    }
    let tokio = line("tokio").expect("a dependency");
    let features = tokio.split("features: ").nth(1).expect("features");
    let starts_programs = |feature: &str| ["process", "full"].contains(&feature);
    assert!(
        features.contains("net") && !features.split(',').any(starts_programs),
        "{tokio}"
    );
    for (file, code) in files() {
        if is_test(&file) {
            continue;
        }
        for way in ["Command::new(", "process::Command", "process as ", "fork("] {
            assert!(!code.contains(way), "{file}: {way}");
        }
    }
}

#[test]
fn the_simulator_shares_nothing_but_the_messages_with_the_exporter() {
    // An error in shared code would not be found by any test.
    let all = dependencies("dualtor-sim");
    let own = |line: &&str| line.starts_with("dualtor-");
    let ours: BTreeSet<&str> = all
        .lines()
        .filter(own)
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(ours, BTreeSet::from(["dualtor-proto", "dualtor-sim"]));
}

#[test]
fn each_line_of_the_log_names_its_part_whatever_file_it_is_in() {
    for (file, code) in files() {
        for name in ["error!(", "warn!(", "info!(", "debug!(", "trace!("] {
            for (at, name) in code.match_indices(name) {
                let rest = code[at + name.len()..].trim_start();
                assert!(rest.starts_with("target: "), "{file}: {name}{:.60}", rest);
            }
        }
    }
}

#[test]
fn the_names_of_tables_stand_in_one_place() {
    let all = files();
    let schema = all
        .iter()
        .find(|(file, _)| file == "model/schema.rs")
        .expect("the schema");
    let names: Vec<&str> = schema
        .1
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(|name| *name != "localhost")
        .collect();
    assert!(names.contains(&"MUX_CABLE_INFO"), "{names:?}");
    for (file, code) in &all {
        let again = names.iter().find(|name| code.contains(&format!("\"{name}\"")));
        assert!(
            file == "model/schema.rs" || is_test(file) || again.is_none(),
            "{file}: {again:?}"
        );
    }
}

#[test]
fn a_panic_unwinds_so_that_it_can_be_survived() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest = std::fs::read_to_string(manifest).expect("text");
    assert!(
        !manifest.contains("panic ="),
        "src/runtime/defect.rs catches panics"
    );
}

#[test]
fn nobody_calls_the_rpc_that_changes_traffic() {
    let mut calls = 0;
    for (file, code) in files() {
        for name in ["set_admin_forwarding_port_state", "SetAdminForwardingPortState"] {
            assert!(!code.contains(name), "{file}: {name}");
        }
        for called in code.split("/DualToRActive/").skip(1) {
            assert!(called.starts_with("Query"), "{file}: {called:.40}");
            calls += 1;
        }
    }
    assert_eq!(calls, 4);
}

/// Probe modules call what only reads.
#[test]
fn nobody_calls_what_changes_a_modules_target() {
    for (file, code) in files() {
        for path in [
            "gRIBI/Modify",
            "gRIBI/Flush",
            "RpcServerService/shutdown",
            "RpcServerService/proxy",
        ] {
            assert!(!code.contains(path), "{file}: {path}");
        }
    }
}

#[test]
fn nobody_writes_the_field_that_linkmgrd_acts_upon() {
    for (file, code) in files() {
        assert!(is_test(&file) || !code.contains("\"link_status_peer\""), "{file}");
    }
}

#[test]
fn only_the_reducer_writes_a_status_and_only_the_fleet_holds_the_table() {
    for (file, code) in files() {
        if is_test(&file) {
            continue;
        }
        // Readers hold an `Arc<SocStatus>`: these are the ways to make a status or to change it.
        let ways = [
            "SocStatus::new(",
            "&mut SocStatus",
            "&mut ModuleStatus",
            "make_mut(",
            "Arc::get_mut(",
        ];
        let way = ways.iter().find(|way| code.contains(**way));
        assert!(way.is_none() || file.starts_with("fleet"), "{file}: {way:?}");
    }
}
