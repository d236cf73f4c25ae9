//! The Grafana dashboards as they are committed: the generator's output, and sound in themselves. Needs no network.
//!
//! | module | what it holds |
//! |---|---|
//! | lint | the rules: each takes the dashboards and returns complaints |
//! | sight | the rules about what a reader sees |
//! | meaning | the rules about what colours, words and orders mean |
//! | bounds | the rules about what a view costs and the least that it shows |
//! | mistakes | ways to break the dashboards, which the rules must notice |
//! | generator | dashboards/generator, the program itself |

mod bounds;
#[allow(dead_code)] // its main
#[path = "../../dashboards/generator/main.rs"]
mod generator;
mod lint;
mod meaning;
mod mistakes;
mod sight;

use std::path::Path;

use lint::RULES;
use mistakes::MISTAKES;
use serde_json::{Value, json};

/// File names (without `.json`) and uids. They are in people's bookmarks and provisioning: they stay.
const UIDS: [(&str, &str); 5] = [
    ("fleet", "dualtor-fleet"),
    ("tor", "dualtor-tor"),
    ("port", "dualtor-port"),
    ("exporter", "dualtor-exporter"),
    ("services", "dualtor-services"),
];

fn committed(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("dashboards")
        .join(name)
        .with_extension("json");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn dashboards() -> Vec<Value> {
    let parse = |(name, _): (&str, &str)| serde_json::from_str(&committed(name)).expect("JSON");
    UIDS.into_iter().map(parse).collect()
}

#[test]
fn what_is_committed_is_what_the_generator_writes() {
    let generated = generator::files();
    let names: Vec<&str> = generated.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, UIDS.map(|(name, _)| name));
    for (name, text) in generated {
        // Not assert_eq: nobody wants to read both files.
        assert!(
            committed(name) == text,
            "dashboards/{name}.json is not what the generator writes: run `make dashboards` and commit"
        );
    }
}

#[test]
fn the_uids_stay() {
    let uids: Vec<_> = dashboards()
        .into_iter()
        .map(|dashboard| dashboard["uid"].clone())
        .collect();
    assert_eq!(uids, UIDS.map(|(_, uid)| json!(uid)));
}

#[test]
fn the_dashboards_keep_every_rule() {
    let dashboards = dashboards();
    let complaints: Vec<String> = RULES
        .iter()
        .flat_map(|(rule, complaints)| {
            let complaints = complaints(&dashboards).into_iter();
            complaints.map(move |complaint| format!("{rule}: {complaint}"))
        })
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn each_rule_notices_its_mistakes() {
    for (index, (rule, broken, make)) in MISTAKES.iter().enumerate() {
        let mut dashboards = dashboards();
        make(&mut dashboards[*broken]);
        let (_, complaints) = RULES.iter().find(|(name, _)| name == rule).expect("a rule");
        assert!(
            !complaints(&dashboards).is_empty(),
            "mistake {index}: {rule} has no complaint"
        );
    }
    for (rule, _) in RULES {
        assert!(
            MISTAKES.iter().any(|(of, ..)| of == rule),
            "{rule}: no mistake shows that it can fail"
        );
    }
}
