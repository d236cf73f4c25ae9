//! What a hostile target of a module may cost: 16 MiB and its own rounds.
//!
//! Each kind of hostility has an exporter to itself, a process, whose memory is compared with that of the same process while the
//! target behaved. The peak counts, not what is left of it. The target closes its connections, so that a round follows at once.

use std::net::SocketAddr;
use std::sync::Arc;

use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
};

use crate::child::Program;
use crate::harness::{ONLY_AT_READY, Setup, wait_until};
use crate::http::{self, Scrape};
use crate::schema_server::{Reflecting, Replying, SchemaServer, Script, field, file, framed, gzip};

/// What the contract allows, in kB.
const ALLOWED: u64 = 16 * 1024;
/// The longest reply of a unary method, in bytes.
const LONGEST: usize = 4 * 1024 * 1024;
/// All of a Get of gRIBI.
const MOST_GRIBI: usize = 64 * 1024 * 1024;
/// The longest reply of health.
const LONGEST_HEALTH: usize = 64 * 1024;

const MAIN: &str = r#"
syntax = "proto3";
package shop;
service Info { rpc Version(Answer) returns (Answer); }
message Answer {
  string version = 1;
  map<uint32, string> shelf = 2;
  bytes blob = 3;
  repeated Answer inner = 4;
  repeated int64 numbers = 5;
}
"#;

/// Everything that can be asked of a reply.
const UNARY: &str = "grpc_unary: {method: shop.Info/Version, \
     expect: {fields: {shelf: {min: 0}, version: {matches: \"x|^$\"}, inner: {min: 0}, numbers: {min: 0}}}, \
     info: [version, blob, shelf], values: [shelf, inner, numbers]}";
const SERVICES: &str = "service_info: {dialect: server, clients: {a: 1}}";
const GRIBI: &str = "gribi: {}";
/// Time for a busy machine.
const PATIENT: &str = "20s";

/// What a program shows of its rounds with this result, and of the others.
async fn rounds(web: SocketAddr, result: &str) -> (u64, String) {
    let scrape = Scrape::parse(http::get(web, "/metrics").await.text());
    let of_module = [("module", "m")];
    let all: Vec<String> = scrape
        .find("grpc_probes_total", &of_module)
        .map(|sample| format!("{} {}", sample.labels["result"], sample.value))
        .collect();
    let count = scrape.count("grpc_probes_total", &[("module", "m"), ("result", result)]);
    (count, all.join(", "))
}

/// Waits for a round on a new connection that has this result. On a busy machine a round may be late: then one more connection.
async fn round(web: SocketAddr, server: &SchemaServer, result: &str) {
    let (before, mut seen) = rounds(web, result).await;
    server.close_connections();
    wait_until(result, async || match rounds(web, result).await {
        (now, _) if now > before => Ok(()),
        (_, all) => {
            if std::mem::replace(&mut seen, all.clone()) != all {
                server.close_connections();
            }
            Err(all)
        }
    })
    .await;
}

/// How much more memory, in kB, an exporter takes at its peak when its target turns from `good` to `bad`.
async fn cost(keys: &str, timeout: &str, good: &Script, bad: Script, result: &str) -> u64 {
    let server = SchemaServer::start(good.clone()).await;
    let mut rack = Setup::rack(1)
        .probe(ONLY_AT_READY)
        .databases("publish: off")
        .stage()
        .await;
    rack.settings.modules = format!(
        "m: {{{keys}, interval: 300s, timeout: {timeout}, channel: {{backoff: {{initial: 50ms, max: 100ms}}}}, \
         targets: [{{name: t, address: \"{}\"}}]}}",
        server.address
    );
    rack.write_config(&rack.settings.yaml(&rack.redis));
    let path = rack.config_path();
    let path = path.to_str().expect("UTF-8");
    let mut program = Program::start(&["--config.file", path, "--web.listen-address", "127.0.0.1:0"]);
    let web = program.address().await;
    for _ in 0..2 {
        round(web, &server, "OK").await;
    }
    program.forget_peak();
    round(web, &server, "OK").await;
    let before = program.peak_memory_kb();
    server.set(|script| *script = bad);
    for _ in 0..2 {
        round(web, &server, result).await;
    }
    let peak = program.peak_memory_kb();
    // It goes on.
    server.set(|script| *script = good.clone());
    round(web, &server, "OK").await;
    peak.saturating_sub(before)
}

/// Checks that nothing costs more than is allowed.
fn judge(costs: &[(&str, u64)]) {
    let too_much = costs.iter().any(|(_, cost)| *cost > ALLOWED);
    assert!(!too_much, "kB more than with a target that behaves: {costs:#?}");
}

fn good_reply() -> Script {
    Script {
        replying: Replying::Message(field(1, b"1x")),
        ..Script::of(&[("main.proto", MAIN)])
    }
}

/// As many copies as fit into the longest reply.
fn filled(part: &[u8]) -> Vec<u8> {
    part.repeat(LONGEST / part.len())
}

/// As many messages as fit into one frame of HTTP/2.
fn frame_of(packed: &[u8]) -> Arc<[u8]> {
    let one = framed(1, packed);
    one.repeat((16 * 1024 / one.len()).max(1)).into()
}

/// Bytes that cannot be packed.
fn noise(length: usize) -> Vec<u8> {
    std::iter::repeat_with(|| fastrand::u8(..)).take(length).collect()
}

/// A field of this many bytes of its own, tag and length included.
fn of_length(number: u8, length: usize) -> Vec<u8> {
    field(number, &vec![b'x'; length - 5])
}

/// Distinct keys of three bytes each.
fn crowded_map() -> Vec<u8> {
    let entries = (16_384_u32..).take(LONGEST / 6 - 1).flat_map(|key| {
        let key = [key as u8 | 128, (key >> 7) as u8 | 128, (key >> 14) as u8];
        [&[0x12, 4, 8][..], &key].concat()
    });
    entries.collect()
}

/// Messages in messages.
fn nested(depth: usize) -> Vec<u8> {
    (0..depth).fold(Vec::new(), |inner, _| field(4, &inner))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_reply_costs_at_most_sixteen_mebibytes() {
    let good = good_reply();
    let groups = |depth: usize| [vec![0x7b; depth], vec![0x7c; depth]].concat();
    let huge = of_length(1, LONGEST);
    let message = Replying::Message;
    let packed = |reply: &[u8]| Replying::Packed(gzip(reply));
    let cases = [
        ("as long as is allowed", message(huge.clone()), "OK"),
        ("the same, packed", packed(&huge), "OK"),
        (
            "bytes that cannot be packed, packed",
            packed(&field(3, &noise(LONGEST - 5))),
            "OK",
        ),
        ("a bomb", Replying::bomb(200_000_000), "RESOURCE_EXHAUSTED"),
        (
            "packed, it says",
            Replying::Packed(noise(LONGEST)),
            "INVALID_REPLY",
        ),
        (
            "a flag that gRPC does not know",
            Replying::Frames(framed(7, b"").into(), 1),
            "INVALID_REPLY",
        ),
        (
            "less than was promised",
            Replying::Frames(framed(0, b"abc")[..6].to_vec().into(), 1),
            "INVALID_REPLY",
        ),
        (
            "a bomb of what is allowed",
            Replying::bomb(LONGEST),
            "INVALID_REPLY",
        ),
        (
            "a frame full of bombs",
            Replying::Frames(frame_of(&gzip(&huge)), 1),
            "INVALID_REPLY",
        ),
        (
            "one long reply after the other",
            Replying::Frames(framed(0, &huge).into(), 64),
            "INVALID_REPLY",
        ),
        (
            "short replies without end",
            Replying::Frames(framed(0, b"").repeat(3000).into(), usize::MAX),
            "INVALID_REPLY",
        ),
        ("only unknown fields", message(filled(&[0x78, 1])), "OK"),
        ("nested unknown groups", message(filled(&groups(99))), "OK"),
        ("groups without an end", message(filled(&[0x7b])), "INVALID_REPLY"),
        ("nested messages", message(filled(&nested(99))), "OK"),
        (
            "messages that are nested too deep",
            message(nested(5_000)),
            "INVALID_REPLY",
        ),
        ("empty messages", message(filled(&field(4, b""))), "OK"),
        ("a map with many keys", message(crowded_map()), "OK"),
        (
            "a map with one key, again and again",
            message(filled(&field(2, b""))),
            "OK",
        ),
        (
            "many packed numbers",
            message(field(5, &vec![1; LONGEST - 5])),
            "OK",
        ),
        ("garbage", message(noise(LONGEST)), "INVALID_REPLY"),
    ];
    let mut costs = Vec::new();
    for (name, replying, result) in cases {
        let bad = Script {
            replying,
            ..good.clone()
        };
        costs.push((name, cost(UNARY, PATIENT, &good, bad, result).await));
    }
    judge(&costs);
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn message(name: &str) -> DescriptorProto {
    DescriptorProto {
        name: text(name),
        ..DescriptorProto::default()
    }
}

/// Files of which each imports so many before it.
fn files_that_import_each_other(most: usize) -> Script {
    let name = |n: usize| format!("{n}");
    let imports = |n: usize| (1..n).map(name).collect::<Vec<_>>();
    let files = (1..500).map(|n| {
        let alone = FileDescriptorProto {
            name: Some(name(n)),
            dependency: imports(n).into_iter().rev().take(most).collect(),
            ..FileDescriptorProto::default()
        };
        (name(n), alone.encode_to_vec())
    });
    let first = file(|file| file.dependency = imports(500).into_iter().rev().take(most).collect());
    let mut script = Script::raw(first);
    script.files.extend(files);
    // All come with the first answer.
    let all = script.files.keys().filter(|name| **name != script.first).cloned();
    script.imports.insert(script.first.clone(), all.collect());
    script
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_schema_costs_at_most_sixteen_mebibytes() {
    let good = good_reply();
    let keys = "grpc_unary: {method: shop.Info/Version}";
    let with = |change: &dyn Fn(&mut FileDescriptorProto)| Script::raw(file(change));
    let reflecting = |reflecting| Script {
        reflecting,
        ..good.clone()
    };
    // A schema of what is allowed, but packed.
    let unknown_option = field(8, &field(9, &vec![0; 500_000]));
    let of_files = field(4, &field(1, &unknown_option));
    let fields = |file: &mut FileDescriptorProto, name: &dyn Fn(i32) -> String, count| {
        let field = |n: i32| FieldDescriptorProto {
            name: Some(name(n)),
            number: Some(n),
            label: Some(1),
            r#type: Some(5),
            ..FieldDescriptorProto::default()
        };
        file.message_type[0].field = (1..count).map(field).collect();
    };
    let long = "n".repeat(500);
    let cases = [
        (
            "many fields",
            with(&|file| fields(file, &|n| format!("f{n}"), 11_000)),
            "OK",
        ),
        (
            "more fields than are allowed",
            with(&|file| fields(file, &|n| format!("f{n}"), 15_000)),
            "NO_SCHEMA",
        ),
        (
            "fields with long names",
            with(&|file| fields(file, &|n| format!("{long}{n}"), 900)),
            "OK",
        ),
        (
            "many messages",
            with(&|file| {
                file.message_type
                    .extend((0..9_990).map(|n| message(&format!("m{n}"))))
            }),
            "OK",
        ),
        (
            "many values of an enum",
            with(&|file| {
                let value = |n: i32| EnumValueDescriptorProto {
                    name: Some(format!("v{n}")),
                    number: Some(n),
                    options: None,
                };
                file.enum_type.push(EnumDescriptorProto {
                    name: text("E"),
                    value: (0..11_000).map(value).collect(),
                    ..EnumDescriptorProto::default()
                });
            }),
            "OK",
        ),
        (
            "nested messages with long names",
            with(&|file| {
                let long = "n".repeat(200);
                let deep = |n: usize| {
                    (0..28).fold(message(&format!("{long}{n}")), |inner, _| DescriptorProto {
                        nested_type: vec![inner],
                        ..message(&long)
                    })
                };
                file.message_type = vec![message("M")];
                let tops = (0..7).map(|n| DescriptorProto {
                    name: Some(format!("t{n}")),
                    nested_type: vec![deep(n)],
                    ..DescriptorProto::default()
                });
                file.message_type.extend(tops);
            }),
            "OK",
        ),
        (
            "messages that are nested too deep",
            with(&|file| {
                let deep = (0..60).fold(message("n"), |inner, _| DescriptorProto {
                    nested_type: vec![inner],
                    ..message("n")
                });
                file.message_type.push(deep);
            }),
            "NO_SCHEMA",
        ),
        (
            "files that import each other",
            files_that_import_each_other(120),
            "OK",
        ),
        (
            "more imports than are allowed",
            files_that_import_each_other(200),
            "NO_SCHEMA",
        ),
        (
            "the same without end",
            reflecting(Reflecting::Endless),
            "NO_SCHEMA",
        ),
        (
            "garbage",
            reflecting(Reflecting::Bytes(noise(500_000))),
            "NO_SCHEMA",
        ),
        (
            "packed, it says",
            reflecting(Reflecting::Frames(framed(1, &noise(50_000)))),
            "NO_SCHEMA",
        ),
        (
            "a bomb",
            reflecting(Reflecting::Frames(framed(1, &gzip(&vec![0; 100_000_000])))),
            "NO_SCHEMA",
        ),
        (
            "a frame full of bombs",
            reflecting(Reflecting::Frames(frame_of(&gzip(&of_files)).to_vec())),
            "NO_SCHEMA",
        ),
    ];
    let mut costs = Vec::new();
    for (name, bad, result) in cases {
        let bad = Script {
            replying: Replying::Message(Vec::new()),
            ..bad
        };
        costs.push((name, cost(keys, PATIENT, &good, bad, result).await));
    }
    judge(&costs);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_replies_of_the_other_kinds_cost_at_most_sixteen_mebibytes() {
    let good = |reply: Vec<u8>| Script {
        replying: Replying::Message(reply),
        ..Script::raw(file(|_| {}))
    };
    let bad = |replying| Script {
        replying,
        ..Script::raw(file(|_| {}))
    };
    // 1: an entry {1: the network instance}.
    let instance = |n: usize| field(1, &field(1, format!("instance{n}").as_bytes()));
    let instances: Vec<u8> = (0..LONGEST / 20).flat_map(instance).collect();
    let huge = of_length(15, LONGEST);
    let without_end = |frames: Vec<u8>| Replying::Frames(frames.into(), usize::MAX);
    // 2: a service {1: its name}.
    let service = |n: usize| field(2, &field(1, format!("service{n}").as_bytes()));
    let services: Vec<u8> = (0..LONGEST / 20).flat_map(service).collect();
    let refusal = field(1, &[&[8, 9][..], &field(2, &vec![b'x'; LONGEST - 20])].concat());
    let names: Vec<String> = (0..16).map(|n| format!("s{n}")).collect();
    let health = format!("grpc_health: {{services: [{}]}}", names.join(", "));
    let bomb = gzip(&of_length(15, LONGEST_HEALTH));
    let cases = [
        (
            "gRIBI: without end",
            GRIBI,
            without_end(framed(0, &huge)),
            "RESOURCE_EXHAUSTED",
        ),
        (
            "gRIBI: as much as is allowed",
            GRIBI,
            Replying::Frames(framed(0, &huge).into(), MOST_GRIBI / LONGEST),
            "OK",
        ),
        (
            "gRIBI: one byte more",
            GRIBI,
            Replying::Frames(
                [framed(0, &field(15, b"")), framed(0, &huge)].concat().into(),
                MOST_GRIBI / LONGEST,
            ),
            "RESOURCE_EXHAUSTED",
        ),
        (
            "gRIBI: packed without end",
            GRIBI,
            without_end(framed(1, &gzip(&huge))),
            "RESOURCE_EXHAUSTED",
        ),
        (
            "gRIBI: frames full of bombs",
            GRIBI,
            without_end(frame_of(&gzip(&huge)).to_vec()),
            "RESOURCE_EXHAUSTED",
        ),
        (
            "gRIBI: what cannot be packed, packed",
            GRIBI,
            without_end(framed(1, &gzip(&field(15, &noise(LONGEST - 5))))),
            "RESOURCE_EXHAUSTED",
        ),
        (
            "gRIBI: many instances",
            GRIBI,
            Replying::Frames(framed(0, &instances).into(), 10),
            "OK",
        ),
        (
            "service_info: many services",
            SERVICES,
            Replying::Message(services),
            "OK",
        ),
        (
            "service_info: a long refusal",
            SERVICES,
            Replying::Message(refusal),
            "UNEXPECTED_REPLY",
        ),
        (
            "service_info: packed",
            SERVICES,
            Replying::Packed(gzip(&huge)),
            "OK",
        ),
        (
            "health: long replies",
            &*health,
            Replying::Message(of_length(15, LONGEST_HEALTH)),
            "OK",
        ),
        (
            "health: frames full of bombs",
            &*health,
            Replying::Frames(frame_of(&bomb), 1),
            "INVALID_REPLY",
        ),
        (
            "health: bombs without end",
            &*health,
            without_end(frame_of(&bomb).to_vec()),
            "INVALID_REPLY",
        ),
    ];
    let mut costs = Vec::new();
    for (name, keys, replying, result) in cases {
        let good = if keys == SERVICES {
            good(field(2, &[&field(1, b"a")[..], &[0x18, 1]].concat()))
        } else {
            good(Vec::new())
        };
        costs.push((name, cost(keys, PATIENT, &good, bad(replying), result).await));
    }
    judge(&costs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_never_ends_costs_its_round_at_the_deadline() {
    let good = good_reply();
    let mut cut = framed(0, &of_length(1, LONGEST));
    cut.truncate(LONGEST / 2);
    // The rest never comes.
    for replying in [Replying::Hanging, Replying::Unfinished(cut.into())] {
        let bad = Script {
            replying,
            ..good.clone()
        };
        let cost = cost(UNARY, "2s", &good, bad, "DEADLINE_EXCEEDED").await;
        judge(&[("unfinished", cost)]);
    }
}
