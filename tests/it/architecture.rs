//! The invariants that the source must keep (ARCHITECTURE.md), read from the source.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Plain data and plumbing: anybody may use it, it uses nothing but the rest of it.
const GROUND: [&str; 10] = [
    "arrivals",
    "model",
    "config",
    "files",
    "lateness",
    "transport",
    "mailbox",
    "redis_link",
    "bucket",
    "defect",
];
/// They do one job each and know no other.
const STAGES: [&str; 7] = [
    "mirror",
    "inventory",
    "facts",
    "channel",
    "probe",
    "status",
    "publish",
];
/// It joins stages.
const WIRING: [&str; 4] = ["app", "session", "fleet", "cli"];

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

/// The module of `lib.rs` that a file belongs to; `None`: lib.rs and main.rs.
fn module(file: &str) -> Option<&str> {
    let first = file.split('/').next()?.trim_end_matches(".rs");
    (first != "lib" && first != "main").then_some(first)
}

fn is_test(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.ends_with("/testing.rs")
}

/// The modules that a file names as `crate::…`, in a `use` or in an expression.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, word) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + word.len()..];
        let name = |text: &str| -> String {
            text.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect()
        };
        match rest.strip_prefix('{') {
            // `use crate::{app::{self, Exporter}, config}`: the names at depth 1.
            Some(list) => {
                let mut depth = 1;
                let mut fresh = true;
                for (at, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 1 => fresh = true,
                        c if fresh && depth == 1 && !c.is_whitespace() => {
                            found.insert(name(&list[at..]));
                            fresh = false;
                        }
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            None => {
                found.insert(name(rest));
            }
        }
    }
    found
}

#[test]
fn imports_are_found_however_they_are_written() {
    let check = |code: &str, expected: &[&str]| {
        let found: Vec<String> = imports(code).into_iter().collect();
        assert_eq!(found, expected, "{code}");
    };
    check("use crate::model::Port;", &["model"]);
    check("use crate::{app::{self, Exporter}, config};", &["app", "config"]);
    check(
        "fn f() { crate::fleet::g(crate::model::Side::Upper) }",
        &["fleet", "model"],
    );
    check("pub(in crate::publish) fn f() {}", &["publish"]);
    check("$crate::x; my_crate::y; super::z", &[]);
}

#[test]
fn each_module_has_its_place_and_imports_only_what_that_allows() {
    for (file, code) in files() {
        let Some(module) = module(&file) else { continue };
        if is_test(&file) {
            continue;
        }
        let allowed: Vec<&str> = match module {
            // What a configuration means, a mailbox carries and an RPC is sent with is model's.
            _ if GROUND.contains(&module) => GROUND.to_vec(),
            _ if STAGES.contains(&module) => [&GROUND[..], &[module]].concat(),
            _ if WIRING.contains(&module) => [&GROUND[..], &STAGES, &WIRING].concat(),
            _ => {
                panic!("{file}: say in tests/it/architecture.rs whether {module} is ground, stage or wiring")
            }
        };
        for import in imports(&code) {
            assert!(
                allowed.contains(&&*import),
                "{file} must not import crate::{import}, only {allowed:?}"
            );
        }
    }
}

#[test]
fn a_stages_file_does_not_reach_past_its_own_children() {
    // `super::super` from a file right under a stage would be the way around the rule above.
    for (file, code) in files() {
        for way in ["super::{super", "crate as ", "super as "] {
            assert!(!code.contains(way), "{file}: {way}");
        }
        let depth = file.matches('/').count() + usize::from(!file.ends_with("/mod.rs"));
        let supers = (1..6)
            .rev()
            .find(|n| code.contains(&"super::".repeat(*n)))
            .unwrap_or(0);
        assert!(
            supers < depth || module(&file).is_none(),
            "{file}: super:: {supers} times in a row"
        );
    }
}

#[test]
fn the_reducer_reads_no_clock_and_does_no_io() {
    let of = |module_name: &str| {
        let files = files().into_iter();
        files
            .filter(move |(file, _)| module(file) == Some(module_name) && !is_test(file))
            .collect::<Vec<_>>()
    };
    for module in ["status", "model"] {
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
        "channel/connectivity.rs",
        "channel/backoff.rs",
        "channel/keepalive.rs",
        "session/schedule.rs",
        "probe/pace.rs",
        "probe/service.rs",
        "bucket.rs",
        "publish/state_db/ledger.rs",
        "publish/state_db/ledger/doubts.rs",
        "mirror/pattern.rs",
        "mirror/upkeep.rs",
        "redis_link/frame.rs",
    ] {
        let files = files();
        let (_, code) = files.iter().find(|(file, _)| file == pure).expect(pure);
        for forbidden in ["now()", "elapsed()", "tokio", "fastrand", "async "] {
            assert!(!code.contains(forbidden), "{pure}: {forbidden}");
        }
    }
}

/// The packages that end up in a program, with the features that they are built with there, one in a line.
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
        for way in ["process::Command", "process::{Command", "fork("] {
            assert!(!code.contains(way), "{file}: {way}");
        }
    }
}

#[test]
fn the_simulator_shares_nothing_but_the_messages_with_the_exporter() {
    // A misunderstanding that both shared would pass its own tests.
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
fn a_panic_unwinds_so_that_it_can_be_survived() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest = std::fs::read_to_string(manifest).expect("text");
    assert!(!manifest.contains("panic ="), "src/defect.rs catches panics");
}

#[test]
fn nobody_calls_the_rpc_that_changes_traffic() {
    for (file, code) in files() {
        for name in ["set_admin_forwarding_port_state", "SetAdminForwardingPortState"] {
            assert!(!code.contains(name), "{file}: {name}");
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
        let name = module(&file).unwrap_or_default();
        // Readers hold an `Arc<SocStatus>`: these are the ways to make one, or to change what is in it.
        let ways = ["SocStatus::new(", "&mut SocStatus", "make_mut(", "Arc::get_mut("];
        let way = ways.iter().find(|way| code.contains(**way));
        assert!(
            way.is_none() || name == "fleet" || name == "status",
            "{file}: {way:?}"
        );
    }
}
