//! grpc_unary against a server that shares no code with the exporter: schemas by reflection and from files, replies, and what a
//! hostile server can send.

use std::time::Duration;

use prost_reflect::prost_types::FileDescriptorProto;

use crate::child;
use crate::harness::{Rack, Setup, wait_until};
use crate::http::{self, Scrape};
use crate::schema_server::{Reflecting, Replying, SchemaServer, Script, field, file};

const MAIN: &str = r#"
syntax = "proto3";
package shop;
import "parts/item.proto";
import "google/protobuf/timestamp.proto";
service Info { rpc Version(Ask) returns (Answer); rpc Watch(Ask) returns (stream Answer); }
message Ask { string who = 1; }
message Answer { string version = 1; uint32 count = 2; repeated parts.Item items = 3; google.protobuf.Timestamp started = 4; }
"#;
const ITEM: &str = r#"
syntax = "proto3";
package parts;
message Item { string name = 1; }
"#;

fn script() -> Script {
    Script {
        replying: Replying::Message(answer()),
        ..Script::of(&[("main.proto", MAIN), ("parts/item.proto", ITEM)])
    }
}

/// Version 1.2, 7, two items.
fn answer() -> Vec<u8> {
    let items = [field(3, &field(1, b"a")), field(3, &field(1, b"b"))].concat();
    [field(1, b"1.2"), vec![0x10, 7], items].concat()
}

const ROUNDS: &str = "interval: 200ms, timeout: 150ms, channel: {backoff: {initial: 50ms, max: 100ms}}";
/// With time for replies of many megabytes.
const SLOW_ROUNDS: &str = "interval: 3s, timeout: 2900ms, channel: {backoff: {initial: 50ms, max: 100ms}}";
const KEYS: &str = "method: shop.Info/Version";

fn module(server: &SchemaServer, keys: &str, rounds: &str) -> String {
    format!(
        "m: {{grpc_unary: {{{keys}}}, {rounds}, targets: [{{name: t, address: \"{}\"}}]}}",
        server.address
    )
}

async fn asked(server: &SchemaServer, keys: &str) -> Rack {
    asked_at(server, keys, ROUNDS).await
}

async fn asked_at(server: &SchemaServer, keys: &str, rounds: &str) -> Rack {
    Setup::rack(1)
        .modules(&module(server, keys, rounds))
        .start()
        .await
}

/// Waits for rounds with this result.
async fn ends(rack: &Rack, result: &str, count: u64) -> Scrape {
    rack.counts("grpc_probes_total", &[("module", "m"), ("result", result)], count)
        .await
}

fn success(scrape: &Scrape) -> Option<f64> {
    scrape.value("grpc_probe_success", &[("module", "m")])
}

/// How often a schema may have been asked for: once for each connection, and again after a round that failed otherwise, as on a
/// busy machine by its deadline.
fn asked_at_most(scrape: &Scrape, result: &str) -> usize {
    let of = |metric: &str, labels: &[(&str, &str)]| scrape.count(metric, labels) as usize;
    let rounds = of("grpc_probes_total", &[("module", "m")]);
    let failed = rounds - of("grpc_probes_total", &[("module", "m"), ("result", result)]);
    failed
        + of(
            "grpc_channel_transitions_total",
            &[("module", "m"), ("to", "ready")],
        )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_is_asked_for_once_for_each_connection_in_each_way_that_servers_have() {
    for reflecting in [Reflecting::V1, Reflecting::Alpha, Reflecting::OneByOne] {
        let mut script = script();
        script.reflecting = reflecting.clone();
        let server = SchemaServer::start(script).await;
        let keys = format!(
            "{KEYS}, expect: {{fields: {{version: \"1.2\", count: {{min: 7, max: 7}}, items: {{min: 2}}, items.1.name: {{matches: ^b}}}}}}"
        );
        let rack = asked(&server, &keys).await;
        let scrape = ends(&rack, "OK", 5).await;
        assert_eq!(success(&scrape), Some(1.0), "{reflecting:?}");
        let exchanges = match reflecting {
            // The second for the import that did not come along.
            Reflecting::OneByOne | Reflecting::Alpha => 2,
            _ => 1,
        };
        let (seen, times) = (server.seen("ServerReflectionInfo"), asked_at_most(&scrape, "OK"));
        assert!(
            (exchanges..=exchanges * times).contains(&seen),
            "{reflecting:?}: {seen}, {times} times"
        );
        let sent = scrape.count("grpc_probe_duration_seconds_count", &[("module", "m")]);
        assert!(sent >= 5, "{sent}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn info_and_values_are_the_last_replys_and_an_expectation_that_fails_is_told() {
    let server = SchemaServer::start(script()).await;
    let keys = format!(
        "{KEYS}, expect: {{fields: {{count: 7}}}}, info: [version, items.0.name], values: [count, items, started]"
    );
    let mut rack = asked(&server, &keys).await;
    let scrape = ends(&rack, "OK", 2).await;
    let info = [
        ("module", "m"),
        ("target", "t"),
        ("version", "1.2"),
        ("items_0_name", "a"),
    ];
    assert_eq!(scrape.value("grpc_reply_info", &info), Some(1.0));
    let value = |scrape: &Scrape, name| scrape.value("grpc_reply_value", &[("module", "m"), ("field", name)]);
    assert_eq!(
        (value(&scrape, "count"), value(&scrape, "items")),
        (Some(7.0), Some(2.0))
    );
    assert_eq!(value(&scrape, "started"), None, "it is not in the reply");

    server.set(|script| {
        script.replying = Replying::Message([field(1, b"1.3\n"), vec![0x10, 8], field(4, &[8, 60])].concat())
    });
    let scrape = ends(&rack, "UNEXPECTED_REPLY", 2).await;
    assert_eq!(success(&scrape), Some(0.0));
    assert_eq!(
        (value(&scrape, "count"), value(&scrape, "started")),
        (Some(8.0), Some(60.0))
    );
    assert_eq!(
        scrape
            .find("grpc_reply_info", &[("version", "1.3\u{fffd}")])
            .count(),
        1
    );
    assert_eq!(scrape.find("grpc_reply_info", &[]).count(), 1, "one series");
    let debug = http::get(rack.web, "/probe?module=m&target=t&debug=true").await;
    assert!(
        debug.text().contains("count: expected 7, got 8"),
        "{}",
        debug.text()
    );

    // A round without an answer changes nothing of that.
    server.set(|script| script.replying = Replying::Failing(13));
    let scrape = ends(&rack, "INTERNAL", 2).await;
    assert_eq!(value(&scrape, "count"), Some(8.0));

    // Other labels are not filled with what was read for these.
    server.set(|script| script.replying = Replying::Hanging);
    rack.settings.modules = module(&server, &format!("{KEYS}, info: [count]"), ROUNDS);
    rack.reload().await;
    rack.scraped("no reply", |scrape| {
        scrape.find("grpc_reply_info", &[]).count() == 0
    })
    .await;
    let before = server.seen("Version");
    server.set(|script| script.replying = Replying::Message(answer()));
    let scrape = rack
        .scraped("a reply", |scrape| {
            scrape.find("grpc_reply_info", &[("count", "7")]).count() == 1
        })
        .await;
    assert!(server.seen("Version") > before);
    assert_eq!(
        scrape.count(
            "grpc_channel_transitions_total",
            &[("module", "m"), ("to", "ready")]
        ),
        1,
        "no redial"
    );

    drop(server);
    rack.scraped("not READY", |scrape| {
        scrape.find("grpc_reply_info", &[]).count() == 0 && scrape.find("grpc_reply_value", &[]).count() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_that_is_expected_is_the_success() {
    let server = SchemaServer::start(Script {
        replying: Replying::Failing(5),
        ..script()
    })
    .await;
    let rack = asked(&server, &format!("{KEYS}, expect: {{status: [NOT_FOUND, OK]}}")).await;
    let scrape = ends(&rack, "NOT_FOUND", 2).await;
    assert_eq!(success(&scrape), Some(1.0));
    server.set(|script| script.replying = Replying::Failing(7));
    let scrape = ends(&rack, "PERMISSION_DENIED", 2).await;
    assert_eq!(success(&scrape), Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_cannot_be_one_is_invalid_and_one_over_the_limit_is_refused() {
    let server = SchemaServer::start(script()).await;
    let rack = asked_at(&server, KEYS, SLOW_ROUNDS).await;
    for (replying, result) in [
        (Replying::Nothing, "INVALID_REPLY"),
        (Replying::Two, "INVALID_REPLY"),
        (Replying::Message(b"\x10\x05\x08".to_vec()), "INVALID_REPLY"),
        (Replying::bomb(200_000_000), "RESOURCE_EXHAUSTED"),
        (
            Replying::Message(vec![0; 4 * 1024 * 1024 + 1]),
            "RESOURCE_EXHAUSTED",
        ),
        (Replying::Message(field(1, &vec![b'x'; 4_000_000])), "OK"),
    ] {
        let before = rack
            .scrape()
            .await
            .count("grpc_probes_total", &[("module", "m"), ("result", result)]);
        // Only what is small or packed is printed.
        let shown = format!("{replying:?}");
        server.set(|script| script.replying = replying);
        let _ = http::get(rack.web, "/probe?module=m&target=t").await;
        wait_until(&shown[..shown.len().min(40)], async || {
            let scrape = rack.scrape().await;
            match scrape.count("grpc_probes_total", &[("module", "m"), ("result", result)]) {
                now if now > before => Ok(()),
                _ => Err(scrape
                    .find("grpc_probes_total", &[("module", "m")])
                    .map(|s| format!("{s:?}"))
                    .collect::<String>()),
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_schema_that_fits_nothing_is_called_and_the_reason_is_told() {
    let with = |reflecting| Script {
        reflecting,
        ..script()
    };
    let raw = |change: fn(&mut FileDescriptorProto)| Script::raw(file(change));
    let many = |file: &mut FileDescriptorProto| {
        file.message_type
            .extend((0..10_001).map(|n| prost_reflect::prost_types::DescriptorProto {
                name: Some(format!("n{n}")),
                ..Default::default()
            }));
    };
    for (script, keys, words) in [
        (
            with(Reflecting::Not),
            KEYS,
            "the server has no reflection (v1, v1alpha)",
        ),
        (
            with(Reflecting::Refusing),
            KEYS,
            "reports NotFound: \\\"no such\\\\nthing\\\"",
        ),
        (
            with(Reflecting::Bytes(b"\xff\xff".to_vec())),
            KEYS,
            "cannot be decoded",
        ),
        (
            with(Reflecting::Bytes(field(4, &field(1, b"\x0a\x05x")))),
            KEYS,
            "a file descriptor cannot be decoded",
        ),
        (
            with(Reflecting::Bytes(Vec::new())),
            KEYS,
            "the schema has no service",
        ),
        (
            raw(|file| file.syntax = Some("editions".to_owned())),
            KEYS,
            "expected proto2 or proto3",
        ),
        (
            raw(|file| file.syntax = Some("proto9".to_owned())),
            KEYS,
            "expected proto2 or proto3",
        ),
        (
            raw(|file| file.dependency = vec!["none.proto".to_owned()]),
            KEYS,
            "none.proto",
        ),
        (
            Script::raw(file(many)),
            KEYS,
            "over the limit of 10000 messages and enums",
        ),
        (
            Script::raw(vec![0; 600_000]),
            KEYS,
            "over the limit of 524288 bytes",
        ),
        (
            script(),
            "method: shop.Info/None",
            "method: \\\"shop.Info\\\" has no method",
        ),
        (script(), "method: shop.Info/Watch", "expected a unary method"),
        (
            script(),
            "method: shop.Info/Version, request: {whom: x}",
            "request: ",
        ),
        (
            script(),
            "method: shop.Info/Version, expect: {fields: {version: {min: 1}}}",
            "expect.fields.version: min: expected a field with numbers",
        ),
    ] {
        let server = SchemaServer::start(script).await;
        let rack = asked(&server, keys).await;
        let scrape = ends(&rack, "NO_SCHEMA", 3).await;
        assert_eq!(success(&scrape), Some(0.0), "{words}");
        assert_eq!(
            scrape.count("grpc_probe_duration_seconds_count", &[("module", "m")]),
            0,
            "{words}"
        );
        assert_eq!(server.seen("Version") + server.seen("Watch"), 0, "{words}");
        let (seen, times) = (
            server.seen("ServerReflectionInfo"),
            asked_at_most(&scrape, "NO_SCHEMA"),
        );
        assert!(seen <= 2 * times, "{words}: {seen}, {times} times");
        let debug = http::get(rack.web, "/probe?module=m&target=t&debug=true").await;
        let text = words.replace("\\\"", "\"").replace("\\\\", "\\");
        assert!(debug.text().contains(&text), "{words}: {}", debug.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reflection_that_fails_or_never_ends_costs_its_round_and_is_asked_again() {
    for (reflecting, result) in [
        (Reflecting::Failing(7), "PERMISSION_DENIED"),
        (Reflecting::Hanging, "DEADLINE_EXCEEDED"),
    ] {
        let server = SchemaServer::start(Script {
            reflecting,
            ..script()
        })
        .await;
        let rack = asked(&server, KEYS).await;
        let scrape = ends(&rack, result, 2).await;
        assert_eq!(success(&scrape), Some(0.0));
        server.set(|script| script.reflecting = Reflecting::V1);
        let scrape = ends(&rack, "OK", 2).await;
        assert_eq!(success(&scrape), Some(1.0));
    }
    let server = SchemaServer::start(Script {
        reflecting: Reflecting::Endless,
        ..script()
    })
    .await;
    let rack = asked(&server, KEYS).await;
    ends(&rack, "NO_SCHEMA", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reflection_takes_its_time_from_the_rounds_deadline() {
    let server = SchemaServer::start(Script {
        reflecting: Reflecting::Late(Duration::from_secs(1)),
        replying: Replying::Hanging,
        ..script()
    })
    .await;
    let rack = asked_at(&server, KEYS, "interval: 300d, timeout: 4s").await;
    let scrape = ends(&rack, "DEADLINE_EXCEEDED", 1).await;
    let took = scrape.value("grpc_probe_duration_seconds_sum", &[("module", "m")]);
    let took = took.expect("the method was called");
    assert!((0.1..3.5).contains(&took), "{took} of 4 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_from_files_needs_no_reflection_and_its_mistakes_are_errors_at_load() {
    let server = SchemaServer::start(Script {
        reflecting: Reflecting::Not,
        ..script()
    })
    .await;
    let mut rack = Setup::rack(1).stage().await;
    let directory = rack.config_path().parent().expect("a directory").to_owned();
    std::fs::create_dir(directory.join("parts")).expect("made");
    std::fs::write(directory.join("main.proto"), MAIN).expect("written");
    std::fs::write(directory.join("parts/item.proto"), ITEM).expect("written");
    let script = script();
    let set: Vec<u8> = script.files.values().flat_map(|file| field(1, file)).collect();
    std::fs::write(directory.join("set.bin"), &set).expect("written");
    let alone = field(1, &script.files["main.proto"]);
    std::fs::write(directory.join("alone.bin"), alone).expect("written");
    std::fs::write(directory.join("broken.bin"), b"\x0a\x7f").expect("written");
    std::fs::write(directory.join("empty.bin"), b"").expect("written");
    std::fs::write(directory.join("bad.proto"), "syntax = \"proto3\"; message {").expect("written");
    std::fs::write(
        directory.join("edition.proto"),
        "edition = \"2023\"; message A {}",
    )
    .expect("written");

    let fields = "expect: {fields: {items.1.name: b}}, values: [count]";
    rack.settings.modules = module(
        &server,
        &format!("{KEYS}, schema: {{proto: main.proto}}, {fields}"),
        ROUNDS,
    );
    rack.write_config(&rack.settings.yaml(&rack.redis));
    rack.start_exporter().await;
    let scrape = ends(&rack, "OK", 2).await;
    assert_eq!(success(&scrape), Some(1.0));
    rack.settings.modules = module(
        &server,
        &format!("{KEYS}, schema: {{descriptor_set: set.bin}}, {fields}"),
        ROUNDS,
    );
    rack.reload().await;
    let count = scrape.count("grpc_probes_total", &[("module", "m"), ("result", "OK")]);
    let scrape = ends(&rack, "OK", count + 3).await;
    assert_eq!(success(&scrape), Some(1.0));
    assert_eq!(server.seen("ServerReflectionInfo"), 0);

    let with = |schema: &str, more: &str| format!("{KEYS}, schema: {{{schema}}}{more}");
    for (keys, key, words) in [
        (
            with("descriptor_set: none.bin", ""),
            "schema.descriptor_set",
            "cannot read",
        ),
        (
            with("descriptor_set: broken.bin", ""),
            "schema.descriptor_set",
            "expected a FileDescriptorSet",
        ),
        (
            with("descriptor_set: empty.bin", ""),
            "schema.descriptor_set",
            "expected a FileDescriptorSet",
        ),
        (
            with("descriptor_set: alone.bin", ""),
            "schema.descriptor_set",
            "expected all imports in the set",
        ),
        (with("proto: none.proto", ""), "schema.proto", "cannot read"),
        (with("proto: bad.proto", ""), "schema.proto", "bad.proto:1:"),
        (
            with("proto: edition.proto", ""),
            "schema.proto",
            "write the few fields you need as proto3",
        ),
        (
            with("proto: main.proto, descriptor_set: set.bin", ""),
            "schema",
            "expected exactly one",
        ),
        (
            with("proto: main.proto", ", request: {whom: x}"),
            "request",
            "whom",
        ),
        (
            with("proto: main.proto", ", expect: {fields: {version: {min: 1}}}"),
            "expect.fields.version",
            "expected a field with numbers",
        ),
        (
            with("proto: main.proto", ", info: [nothing]"),
            "info[0]",
            "has no field",
        ),
        (
            with("proto: main.proto", ", values: [version]"),
            "values[0]",
            "expected a field with numbers",
        ),
    ] {
        rack.settings.modules = module(&server, &keys, ROUNDS);
        rack.write_config(&rack.settings.yaml(&rack.redis));
        let answer = http::ask(rack.web, "POST", "/-/reload", &[]).await;
        assert_eq!(answer.status, 500, "{keys}");
        let key = format!("modules.m.grpc_unary.{key}: ");
        assert!(
            answer.text().contains(&key) && answer.text().contains(words),
            "{keys}: {}",
            answer.text()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_probe_shows_the_reply() {
    let server = SchemaServer::start(script()).await;
    let rack = Setup::rack(1)
        .modules(&module(
            &server,
            &format!("{KEYS}, expect: {{fields: {{count: 8}}}}"),
            ROUNDS,
        ))
        .stage()
        .await;
    let file = rack.config_path();
    let file = file.to_str().expect("UTF-8");
    let ended = child::run(&["probe", "--module", "m", "--config.file", file, "t"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for words in [
        "reply      {\"version\":\"1.2\"",
        "UNEXPECTED_REPLY (no success)",
        "count: expected 8, got 7",
    ] {
        assert!(ended.stdout.contains(words), "{words}: {}", ended.stdout);
    }
    let ended = child::run(&[
        "probe",
        "--module",
        "m",
        "--config.file",
        file,
        "--output",
        "json",
        "t",
    ])
    .await;
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(json["reply"]["items"][1]["name"], "b");
    assert_eq!(
        (&json["code"], &json["kind"]),
        (&serde_json::Value::Null, &"grpc_unary".into())
    );
    server.set(|script| script.reflecting = Reflecting::Not);
    let ended = child::run(&["probe", "--module", "m", "--config.file", file, "t"]).await;
    assert!(
        ended.stdout.contains("NO_SCHEMA (no success)") && ended.stdout.contains("no reflection"),
        "{ended:?}"
    );
}
