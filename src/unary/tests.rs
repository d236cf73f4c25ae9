//! Schemas that protox compiles, requests of JSON, replies that prost-reflect encodes.

use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, MethodDescriptorProto,
    ServiceDescriptorProto,
};
use prost_reflect::{DynamicMessage, MessageDescriptor};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

use super::*;
use crate::model::{ProbeResult, ReplyTest, UnaryCheck, UnarySchema};

const PROTO: &str = r#"
syntax = "proto3";
package p;
import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
service S {
  rpc Get(Request) returns (Reply);
  rpc Watch(Request) returns (stream Reply);
}
enum Color { RED = 0; GREEN = 1; BLUE = -2; }
message Request { string name = 1; int64 count = 2; repeated Color colors = 3; }
message Item { string name = 1; int32 size = 2; Item inner = 3; optional int32 maybe = 4; }
message Reply {
  string text = 1; bytes raw = 2; bool flag = 3; Color color = 4;
  int32 i32 = 5; int64 i64 = 6; uint32 u32 = 7; uint64 u64 = 8; sint32 s32 = 9; sint64 s64 = 10;
  fixed32 f32 = 11; fixed64 f64 = 12; sfixed32 sf32 = 13; sfixed64 sf64 = 14; float real = 15; double wide = 16;
  repeated Item items = 17; repeated sint32 numbers = 18; repeated string words = 19;
  map<string, int32> counts = 20; map<int32, Item> by_number = 21;
  oneof which { string one = 22; Item other = 23; }
  google.protobuf.Timestamp at = 24; google.protobuf.Duration took = 25;
  Item item = 26; optional string maybe = 27; string camel_case = 28;
}
"#;

struct Given<'a>(&'a [(&'a str, &'a str)]);

impl FileResolver for Given<'static> {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => File::from_source(name, text),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

fn compiled(protos: &'static [(&'static str, &'static str)]) -> SchemaFiles {
    let mut resolver = ChainFileResolver::new();
    resolver.add(Given(protos));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.open_file(protos[0].0).expect("a proto");
    let mut files = SchemaFiles::default();
    for file in compiler.file_descriptor_set().file {
        files.add(&file.encode_to_vec()).expect("a file");
    }
    files
}

fn types() -> Arc<TypePool> {
    compiled(&[("p.proto", PROTO)]).types().expect("types")
}

fn check() -> UnaryCheck {
    UnaryCheck {
        service: "p.S".into(),
        method: "Get".into(),
        schema: UnarySchema::Reflection,
        request: "{}".into(),
        statuses: vec![ProbeResult::Ok],
        fields: Vec::new(),
        info: Vec::new(),
        values: Vec::new(),
    }
}

fn equals(text: &str) -> ReplyTest {
    ReplyTest::Equals(text.into())
}

fn reply(json: &str) -> Vec<u8> {
    let of: MessageDescriptor = types().message("p.Reply");
    let mut reader = serde_json::Deserializer::from_str(json);
    DynamicMessage::deserialize(of, &mut reader)
        .expect(json)
        .encode_to_vec()
}

fn call(check: &UnaryCheck) -> Result<Call, Misfit> {
    Call::new(&types(), check)
}

/// Whether the test holds at the path; if not, why.
fn judged(json: &str, path: &str, test: ReplyTest) -> Result<(), String> {
    judged_bytes(&reply(json), path, test)
}

fn judged_bytes(reply: &[u8], path: &str, test: ReplyTest) -> Result<(), String> {
    let mut check = check();
    check.fields = vec![(path.into(), vec![test])];
    let read = call(&check).expect("it fits").read(reply).expect("a reply");
    read.unexpected.map_or(Ok(()), Err)
}

fn shown(json: &str, path: &str) -> (String, Option<f64>) {
    let mut check = check();
    check.info = vec![("label".into(), path.into())];
    let info = call(&check)
        .expect("it fits")
        .read(&reply(json))
        .expect("a reply")
        .info[0]
        .to_string();
    check.info.clear();
    check.values = vec![path.into()];
    let value = call(&check)
        .ok()
        .and_then(|call| call.read(&reply(json)).expect("a reply").values[0]);
    (info, value)
}

#[test]
fn each_type_is_compared_and_shown_as_what_it_is() {
    let json = r#"{"text":"hello","raw":"aGk=","flag":true,"color":"GREEN","i32":-5,"i64":"-9007199254740993","u32":4000000000,
        "u64":"18446744073709551615","s32":-7,"s64":"-8","f32":9,"f64":"10","sf32":-11,"sf64":"-12","real":0.1,"wide":0.1}"#;
    for (path, text, value) in [
        ("text", "hello", None),
        ("raw", "aGk=", None),
        ("flag", "true", Some(1.0)),
        ("color", "GREEN", Some(1.0)),
        ("i32", "-5", Some(-5.0)),
        ("i64", "-9007199254740993", Some(-9_007_199_254_740_992.0)),
        ("u32", "4000000000", Some(4e9)),
        ("u64", "18446744073709551615", Some(18_446_744_073_709_551_615.0)),
        ("s32", "-7", Some(-7.0)),
        ("s64", "-8", Some(-8.0)),
        ("f32", "9", Some(9.0)),
        ("f64", "10", Some(10.0)),
        ("sf32", "-11", Some(-11.0)),
        ("sf64", "-12", Some(-12.0)),
        ("wide", "0.1", Some(0.1)),
    ] {
        assert_eq!(judged(json, path, equals(text)), Ok(()), "{path}");
        assert_eq!(shown(json, path), (text.to_owned(), value), "{path}");
        let other = if path == "raw" { "aGlp" } else { "1234567" };
        let other = if ["flag", "color"].contains(&path) {
            if path == "flag" { "false" } else { "RED" }
        } else {
            other
        };
        assert!(judged(json, path, equals(other)).is_err(), "{path}");
    }
    assert_eq!(
        judged(json, "real", equals("0.1")),
        Ok(()),
        "with a float's precision"
    );
    for bound in [ReplyTest::Min("0.1".into()), ReplyTest::Max("0.1".into())] {
        assert_eq!(judged(json, "real", bound), Ok(()), "a bound, too");
    }
    assert_eq!(judged(json, "color", equals("1")), Ok(()));
    // One more or less, beyond what a float can hold.
    for other in ["-9007199254740992", "-9007199254740994"] {
        assert!(judged(json, "i64", equals(other)).is_err());
    }
    assert!(judged(json, "i64", ReplyTest::Min("-9007199254740992".into())).is_err());
    assert_eq!(
        judged(json, "i64", ReplyTest::Max("-9007199254740993".into())),
        Ok(())
    );
}

#[test]
fn absent_fields_with_implicit_presence_are_their_default_and_others_fail_all_but_present_false() {
    for (path, default) in [
        ("text", ""),
        ("flag", "false"),
        ("color", "RED"),
        ("i64", "0"),
        ("raw", ""),
        ("wide", "0"),
    ] {
        assert_eq!(judged("{}", path, equals(default)), Ok(()), "{path}");
        assert_eq!(judged("{}", path, ReplyTest::Present(true)), Ok(()), "{path}");
    }
    for path in [
        "maybe",
        "item",
        "item.name",
        "items.0.name",
        "counts.a",
        "by_number.1.name",
        "one",
        "at",
        "items.0.inner.size",
    ] {
        assert_eq!(judged("{}", path, ReplyTest::Present(false)), Ok(()), "{path}");
        let why = judged("{}", path, ReplyTest::Present(true)).expect_err(path);
        assert_eq!(why, format!("{path}: expected to be present"));
    }
    for (path, test) in [
        ("maybe", equals("")),
        ("item.name", equals("")),
        ("items.0.size", ReplyTest::Min("0".into())),
        ("counts.a", equals("0")),
        ("maybe", ReplyTest::Matches("".into())),
    ] {
        let why = judged("{}", path, test).expect_err(path);
        assert!(why.ends_with("got nothing"), "{why}");
    }
    assert_eq!(shown("{}", "maybe"), (String::new(), None));
    assert_eq!(shown("{}", "items.3.size"), (String::new(), None));
    assert_eq!(shown("{}", "i32"), ("0".to_owned(), Some(0.0)));
    // The message is there, its field is not.
    assert_eq!(judged(r#"{"item":{}}"#, "item.size", equals("0")), Ok(()));
    assert_eq!(
        judged(r#"{"item":{}}"#, "item.maybe", ReplyTest::Present(false)),
        Ok(())
    );
}

#[test]
fn paths_go_through_messages_lists_and_maps_by_either_name() {
    let json = r#"{"items":[{"name":"a"},{"name":"b","inner":{"size":7}}],"numbers":[1,-2,3],"words":["x","y"],
        "counts":{"a.b":4,"":5},"by_number":{"-3":{"name":"three"}},"camelCase":"c","at":"1970-01-01T00:01:00.5Z","took":"-1.5s",
        "other":{"name":"o"}}"#;
    for (path, text) in [
        ("items.1.name", "b"),
        ("items.1.inner.size", "7"),
        ("numbers.1", "-2"),
        ("words.1", "y"),
        ("counts.a.b", "4"),
        ("counts.", "5"),
        ("by_number.-3.name", "three"),
        ("byNumber.-3.name", "three"),
        ("camel_case", "c"),
        ("camelCase", "c"),
        ("at", "60.5"),
        ("at.seconds", "60"),
        ("took", "-1.5"),
        ("other.name", "o"),
    ] {
        assert_eq!(judged(json, path, equals(text)), Ok(()), "{path}");
        assert_eq!(shown(json, path).0, text, "{path}");
    }
    for (path, size) in [
        ("items", 2),
        ("numbers", 3),
        ("words", 2),
        ("counts", 2),
        ("by_number", 1),
    ] {
        assert_eq!(shown(json, path).1, Some(f64::from(size)), "{path}");
        assert_eq!(
            judged(json, path, ReplyTest::Min(size.to_string().into())),
            Ok(())
        );
        assert_eq!(
            judged(json, path, ReplyTest::Max(size.to_string().into())),
            Ok(())
        );
        let why = judged(json, path, ReplyTest::Min((size + 1).to_string().into())).expect_err(path);
        assert_eq!(
            why,
            format!("{path}: expected {} or more, got {size} of them", size + 1)
        );
        assert_eq!(shown("{}", path).1, Some(0.0), "{path}");
    }
}

#[test]
fn a_reply_is_read_as_protobuf_says_however_it_is_written() {
    let encoded = |json: &str| reply(json);
    let both = |one: &str, two: &str| [encoded(one), encoded(two)].concat();
    // The last value counts, messages are merged, lists and maps grow.
    let cases = [
        (both(r#"{"i32":1}"#, r#"{"i32":2}"#), "i32", "2"),
        (
            both(r#"{"item":{"name":"a","size":1}}"#, r#"{"item":{"size":2}}"#),
            "item.name",
            "a",
        ),
        (
            both(r#"{"item":{"name":"a","size":1}}"#, r#"{"item":{"size":2}}"#),
            "item.size",
            "2",
        ),
        (
            both(r#"{"numbers":[1,2]}"#, r#"{"numbers":[3]}"#),
            "numbers.2",
            "3",
        ),
        (
            both(r#"{"counts":{"a":1}}"#, r#"{"counts":{"a":2}}"#),
            "counts.a",
            "2",
        ),
        (
            both(
                r#"{"at":"1970-01-01T00:00:05Z"}"#,
                r#"{"at":"1970-01-01T00:00:00.5Z"}"#,
            ),
            "at",
            "5.5",
        ),
        // Unpacked numbers: 18 with wire type 0.
        (vec![0x90, 1, 2, 0x90, 1, 3], "numbers.1", "-2"),
        // A map's entry without key and value.
        (vec![0xa2, 1, 0], "counts.", "0"),
    ];
    for (reply, path, text) in cases {
        assert_eq!(judged_bytes(&reply, path, equals(text)), Ok(()), "{path}");
    }
    let one_then_other = both(r#"{"other":{"name":"o"}}"#, r#"{"one":"x"}"#);
    assert_eq!(
        judged_bytes(&one_then_other, "other.name", ReplyTest::Present(false)),
        Ok(())
    );
    assert_eq!(judged_bytes(&one_then_other, "one", equals("x")), Ok(()));
    let keys = both(r#"{"counts":{"a":1,"b":1}}"#, r#"{"counts":{"a":2}}"#);
    assert_eq!(judged_bytes(&keys, "counts", ReplyTest::Max("2".into())), Ok(()));
    // Fields that the schema does not know are ignored, also old groups.
    assert_eq!(
        judged_bytes(
            &[0xf8, 0x3f, 1, 0xfb, 0x3f, 0x08, 1, 0xfc, 0x3f],
            "i32",
            equals("0")
        ),
        Ok(())
    );
}

#[test]
fn each_key_of_a_crowded_map_counts_once_however_many_there_are() {
    let mut check = check();
    check.values = vec!["counts".into()];
    let call = call(&check).expect("it fits");
    // counts: an entry with a key of eight digits.
    let entry = |n: usize| [&[0xa2, 1, 10, 0x0a, 8][..], format!("{n:08}").as_bytes()].concat();
    for count in [65_535, 65_536, 65_537, 200_000] {
        let once: Vec<u8> = (0..count).flat_map(entry).collect();
        // Some of them come twice.
        let again: Vec<u8> = (0..1000).flat_map(entry).collect();
        let read = call.read(&[once, again].concat()).expect("a reply");
        assert_eq!(read.values, [Some(count as f64)]);
    }
}

#[test]
fn what_is_not_of_the_type_is_malformed() {
    let call = call(&check()).expect("it fits");
    for bad in [
        &b"\x08\x01"[..],        // text as a number
        b"\x0a\x01\xff",         // text that is not UTF-8
        b"\x2a\x01\x01",         // i32 as bytes
        b"\x8a\x01\x02\x08\x01", // items[0].name as a number
        b"\x8a\x01\x05",         // cut
        b"\x92\x01\x01\xff",     // packed numbers that are cut
    ] {
        assert!(call.read(bad).is_err(), "{bad:?}");
    }
    let mut nested = Vec::new();
    for _ in 0..200 {
        let inner = nested;
        nested = Vec::new();
        dualtor_proto::wire::put_bytes(&mut nested, 3, &inner);
    }
    let mut deep = Vec::new();
    dualtor_proto::wire::put_bytes(&mut deep, 26, &nested);
    assert!(call.read(&deep).is_err());
}

#[test]
fn tests_that_do_not_fit_the_type_are_errors_of_the_configuration() {
    let misfit = |path: &str, test: ReplyTest| {
        let mut check = check();
        check.fields = vec![(path.into(), vec![test])];
        let misfit = call(&check).expect_err(path);
        assert_eq!(misfit.key, format!("expect.fields.{path}"));
        misfit.text
    };
    for (path, test, words) in [
        (
            "text",
            ReplyTest::Min("1".into()),
            "min: expected a field with numbers",
        ),
        (
            "flag",
            ReplyTest::Max("1".into()),
            "max: expected a field with numbers",
        ),
        (
            "i32",
            ReplyTest::Min("x".into()),
            "min: expected a number, got \"x\"",
        ),
        (
            "text",
            ReplyTest::Matches("(".into()),
            "matches: expected a regular expression",
        ),
        ("items", equals("1"), "expected min or max"),
        ("item", equals("1"), "expected a path to a field of the message"),
        ("flag", equals("yes"), "expected true or false"),
        ("color", equals("PINK"), "expected a value of p.Color"),
        ("i32", equals("1.5"), "expected a whole number"),
        ("raw", equals("!"), "expected base64"),
        (
            "nothing",
            equals("1"),
            "p.Reply has no field \"nothing\", it has text, raw",
        ),
        ("text.x", equals("1"), "expected nothing after \"text\""),
        (
            "items.x",
            equals("1"),
            "expected an index after the repeated field \"items\", got \"x\"",
        ),
        ("by_number.x.name", equals("1"), "expected a key of the map"),
        ("", equals("1"), "has no field"),
    ] {
        let text = misfit(path, test);
        assert!(text.contains(words), "{path}: {text}");
    }
    let key_of = |change: &dyn Fn(&mut UnaryCheck)| {
        let mut check = check();
        change(&mut check);
        let misfit = call(&check).expect_err("it does not fit");
        format!("{misfit}")
    };
    for (got, words) in [
        (
            key_of(&|check| check.service = "p.None".into()),
            "method: the schema has no service \"p.None\"",
        ),
        (
            key_of(&|check| check.method = "None".into()),
            "method: \"p.S\" has no method \"None\"",
        ),
        (
            key_of(&|check| check.method = "Watch".into()),
            "method: expected a unary method",
        ),
        (
            key_of(&|check| check.request = r#"{"nme":"x"}"#.into()),
            "request: ",
        ),
        (
            key_of(&|check| check.request = r#"{"count":"x"}"#.into()),
            "request: ",
        ),
        (
            key_of(&|check| check.info = vec![("a".into(), "x".into())]),
            "info[0]: p.Reply has no field",
        ),
        (
            key_of(&|check| check.values = vec!["i32".into(), "text".into()]),
            "values[1]: expected a field with numbers",
        ),
    ] {
        assert!(got.starts_with(words), "{got}");
    }
}

#[test]
fn a_request_is_made_of_json_and_a_reply_is_shown_as_json() {
    let mut check = check();
    check.request = r#"{"name":"x","count":"9007199254740993","colors":["BLUE",1]}"#.into();
    let call = call(&check).expect("it fits");
    assert_eq!(call.path(), "/p.S/Get");
    let mut expected = b"\x0a\x01x\x10".to_vec();
    expected.extend([0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10, 0x1a, 11]);
    expected.extend([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1]);
    assert_eq!(call.request(), expected);
    let json = call
        .json(&reply(r#"{"camelCase":"c","at":"1970-01-01T00:00:05Z"}"#))
        .expect("short");
    assert_eq!(json, r#"{"at":"1970-01-01T00:00:05Z","camelCase":"c"}"#);
    let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(70_000));
    assert_eq!(call.json(&reply(&long)), None);
    // A label is short and readable.
    let (label, _) = shown(r#"{"text":"a\nb\u202ec"}"#, "text");
    assert_eq!(label, "a\u{fffd}b\u{fffd}c");
    assert_eq!(shown(&long, "text").0.len(), 64);
}

#[test]
fn imports_are_asked_for_until_all_are_there_and_equal_schemas_are_held_once() {
    let mut files = SchemaFiles::default();
    let file = FileDescriptorProto {
        name: Some("x.proto".to_owned()),
        dependency: vec!["y.proto".to_owned(), "google/protobuf/timestamp.proto".to_owned()],
        ..FileDescriptorProto::default()
    };
    files.add(&file.encode_to_vec()).expect("a file");
    files.add(&file.encode_to_vec()).expect("again");
    assert_eq!(files.missing(), ["y.proto"]);
    let error = files.types().expect_err("an import is missing").to_string();
    assert!(error.contains("the import \"y.proto\" is not there"), "{error}");
    // The order in which they come does not matter.
    let one = types();
    assert!(Arc::ptr_eq(&one, &types()));
    let other = compiled(&[("p.proto", "syntax = \"proto3\"; package p; message Reply {}")]).types();
    assert!(!Arc::ptr_eq(&one, &other.expect("types")));
}

fn name(n: usize) -> Option<String> {
    Some(format!("n{n}"))
}

fn file_with(messages: Vec<DescriptorProto>, enums: usize) -> Vec<u8> {
    let file = FileDescriptorProto {
        name: Some("big.proto".to_owned()),
        syntax: Some("proto3".to_owned()),
        message_type: messages,
        enum_type: (0..enums)
            .map(|n| EnumDescriptorProto {
                name: Some(format!("e{n}")),
                ..EnumDescriptorProto::default()
            })
            .collect(),
        ..FileDescriptorProto::default()
    };
    file.encode_to_vec()
}

fn message(n: usize, fields: usize) -> DescriptorProto {
    let field = |f: usize| FieldDescriptorProto {
        name: Some(format!("f{f}")),
        number: Some(f as i32 + 1),
        label: Some(1),
        r#type: Some(5),
        ..FieldDescriptorProto::default()
    };
    DescriptorProto {
        name: name(n),
        field: (0..fields).map(field).collect(),
        ..DescriptorProto::default()
    }
}

#[test]
fn a_schema_has_limits() {
    let added = |file: &[u8]| {
        let mut files = SchemaFiles::default();
        let added = files.add(file).map_err(|error| error.to_string());
        added.and_then(|()| files.types().map(|_| ()).map_err(|error| error.to_string()))
    };
    assert_eq!(
        added(&file_with((0..9_900).map(|n| message(n, 0)).collect(), 0)),
        Ok(())
    );
    let error = added(&file_with((0..9_999).map(|n| message(n, 0)).collect(), 2)).expect_err("too many");
    assert!(
        error.contains("over the limit of 10000 messages and enums"),
        "{error}"
    );
    let error = added(&vec![0; MAX_BYTES + 1]).expect_err("too large");
    assert!(error.contains("over the limit of 524288 bytes"), "{error}");
    let error = added(&file_with(vec![message(0, 20_000)], 0)).expect_err("too many fields");
    assert!(error.contains("too many fields"), "{error}");
    // Each full name has the names of all around it.
    let mut nested = message(0, 2_000);
    for _ in 0..12 {
        nested = DescriptorProto {
            name: Some("x".repeat(1000)),
            nested_type: vec![nested],
            ..DescriptorProto::default()
        };
    }
    let error = added(&file_with(vec![nested], 0)).expect_err("too long names");
    assert!(error.contains("too long names"), "{error}");
    let mut files = SchemaFiles::default();
    let named = |n: usize| FileDescriptorProto {
        name: name(n),
        ..FileDescriptorProto::default()
    };
    for n in 0..MAX_FILES {
        files.add(&named(n).encode_to_vec()).expect("a file");
    }
    let error = files
        .add(&named(MAX_FILES).encode_to_vec())
        .expect_err("too many files")
        .to_string();
    assert!(error.contains("over the limit of 512 files"), "{error}");
}

#[test]
fn a_large_hostile_reply_is_read_without_copying_it() {
    let mut check = check();
    check.fields = vec![("numbers".into(), vec![ReplyTest::Min("4000000".into())])];
    check.values = vec!["numbers.3999999".into(), "items".into()];
    let call = call(&check).expect("it fits");
    let mut reply = Vec::new();
    dualtor_proto::wire::put_bytes(&mut reply, 18, &vec![2; 4_000_000]);
    let began = Instant::now();
    let read = call.read(&reply).expect("a reply");
    assert_eq!((read.unexpected, read.values), (None, vec![Some(1.0), Some(0.0)]));
    assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
}

/// A schema with one service, all names of which are given.
fn hostile(bytes: &[u8], flips: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (at, to) in flips {
        let length = bytes.len();
        bytes[at % length] = *to;
    }
    bytes
}

proptest! {
    #[test]
    fn no_mutated_schema_and_no_reply_panics(
        flips in prop::collection::vec((any::<usize>(), any::<u8>()), 0..6),
        reply in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let file = FileDescriptorProto {
            name: name(0),
            package: Some("p".to_owned()),
            syntax: Some("proto3".to_owned()),
            message_type: vec![message(1, 3), DescriptorProto { nested_type: vec![message(2, 1)], ..message(3, 2) }],
            service: vec![ServiceDescriptorProto {
                name: Some("S".to_owned()),
                method: vec![MethodDescriptorProto {
                    name: Some("Get".to_owned()),
                    input_type: Some(".p.n1".to_owned()),
                    output_type: Some(".p.n3".to_owned()),
                    ..MethodDescriptorProto::default()
                }],
                options: None,
            }],
            ..FileDescriptorProto::default()
        };
        let mut files = SchemaFiles::default();
        if files.add(&hostile(&file.encode_to_vec(), &flips)).is_ok()
            && let Ok(types) = files.types()
            && let Ok(call) = Call::new(&types, &check())
        {
            let _ = call.read(&reply);
            let _ = call.json(&reply);
        }
    }

    #[test]
    fn what_prost_reflect_decodes_is_well_formed_and_what_it_shows_is_what_is_read(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let of = types().message("p.Reply");
        let decoded = DynamicMessage::decode(of, &*bytes);
        let mut check = check();
        check.info = vec![("a".into(), "i32".into()), ("b".into(), "item.size".into())];
        let read = call(&check).expect("it fits").read(&bytes);
        prop_assert_eq!(decoded.is_ok(), read.is_ok());
        if let (Ok(decoded), Ok(read)) = (decoded, read) {
            let i32 = decoded.get_field_by_name("i32").expect("a field").as_i32().expect("a number");
            prop_assert_eq!(&*read.info[0], i32.to_string());
            if decoded.has_field_by_name("item") {
                let item = decoded.get_field_by_name("item").expect("a field");
                let size = item.as_message().and_then(|item| item.get_field_by_name("size").map(|size| size.as_i32()));
                prop_assert_eq!(&*read.info[1], size.flatten().expect("a number").to_string());
            }
        }
    }
}
