//! The shape of `grpc_unary` of a module.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::raw_shared::there;
use super::scalar::{Scalar, Value};
use crate::model::{ProbeResult, ReplyTest};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUnary {
    pub(super) method: Value<MethodName>,
    #[serde(default, deserialize_with = "there")]
    pub(super) schema: Option<RawSchema>,
    #[serde(default = "empty")]
    pub(super) request: serde_json::Value,
    #[serde(default)]
    pub(super) expect: RawExpect,
    #[serde(default)]
    pub(super) info: Vec<Value<ReplyPathText>>,
    #[serde(default)]
    pub(super) values: Vec<Value<ReplyPathText>>,
}

fn empty() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}

/// Exactly one of both.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSchema {
    pub(super) descriptor_set: Option<PathBuf>,
    pub(super) proto: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawExpect {
    #[serde(deserialize_with = "there")]
    pub(super) status: Option<RawStatuses>,
    pub(super) fields: BTreeMap<String, RawTests>,
}

/// `pkg.Service/Method`, or `pkg.Service.Method`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MethodName {
    pub(super) service: String,
    pub(super) method: String,
}

impl Scalar for MethodName {
    const EXPECTED: &'static str = "a method such as pkg.Service/Method";

    fn parse(text: &str) -> Option<Self> {
        let (service, method) = text.split_once('/').or_else(|| text.rsplit_once('.'))?;
        let is_name = |name: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
            !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(allowed)
        };
        let is_method = text.len() <= 256 && service.split('.').all(is_name) && is_name(method);
        is_method.then(|| Self {
            service: service.to_owned(),
            method: method.to_owned(),
        })
    }
}

/// A path in a reply.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ReplyPathText(pub(super) String);

impl Scalar for ReplyPathText {
    const EXPECTED: &'static str = "a path in the reply such as server.version, of at most 256 characters";

    fn parse(text: &str) -> Option<Self> {
        let is_path =
            !text.is_empty() && text.len() <= 256 && text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
        is_path.then(|| Self(text.to_owned()))
    }
}

/// A status code by its name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct CodeName(pub(super) ProbeResult);

impl Scalar for CodeName {
    const EXPECTED: &'static str = "the name of a gRPC status code such as OK or NOT_FOUND";

    fn parse(text: &str) -> Option<Self> {
        let mut codes = ProbeResult::ALL.iter().filter(|result| result.code().is_some());
        codes.find(|code| code.label() == text).copied().map(Self)
    }
}

/// Any scalar, as it is written.
#[derive(Debug, Clone, PartialEq)]
struct AnyScalar(String);

impl Scalar for AnyScalar {
    const EXPECTED: &'static str = "one value";

    fn parse(text: &str) -> Option<Self> {
        (text.len() <= 4096).then(|| Self(text.to_owned()))
    }
}

/// A code, or a list of codes.
#[derive(Debug)]
pub(super) struct RawStatuses(pub(super) Vec<ProbeResult>);

impl<'de> Deserialize<'de> for RawStatuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StatusesVisitor;

        impl<'de> Visitor<'de> for StatusesVisitor {
            type Value = RawStatuses;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}, or a list of them", CodeName::EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RawStatuses, E> {
                match CodeName::parse(text) {
                    Some(CodeName(code)) => Ok(RawStatuses(vec![code])),
                    None => Err(E::custom(format!(
                        "expected {}, or a list of them",
                        CodeName::EXPECTED
                    ))),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<RawStatuses, A::Error> {
                let mut codes = Vec::new();
                while let Some(Value(CodeName(code))) = names.next_element()? {
                    codes.push(code);
                }
                Ok(RawStatuses(codes))
            }
        }

        deserializer.deserialize_any(StatusesVisitor)
    }
}

/// A scalar is what the value must be equal to; a mapping has tests.
#[derive(Debug)]
pub(super) struct RawTests(pub(super) Vec<ReplyTest>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTestKeys {
    equals: Option<Value<AnyScalar>>,
    matches: Option<Value<AnyScalar>>,
    min: Option<Value<AnyScalar>>,
    max: Option<Value<AnyScalar>>,
    present: Option<Value<bool>>,
}

impl<'de> Deserialize<'de> for RawTests {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TestsVisitor)
    }
}

struct TestsVisitor;

const TESTS: &str = "one value, or a mapping with equals, matches, min, max or present";

fn equals<E: Error>(text: &str) -> Result<RawTests, E> {
    match AnyScalar::parse(text) {
        Some(AnyScalar(text)) => Ok(RawTests(vec![ReplyTest::Equals(text.into())])),
        None => Err(E::custom(format!("expected {TESTS}"))),
    }
}

impl<'de> Visitor<'de> for TestsVisitor {
    type Value = RawTests;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(TESTS)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<RawTests, E> {
        equals(text)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<RawTests, E> {
        equals(&value.to_string())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<RawTests, E> {
        equals(&value.to_string())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<RawTests, E> {
        equals(&value.to_string())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<RawTests, E> {
        equals(&value.to_string())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawTests, A::Error> {
        let keys = RawTestKeys::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        let text = |value: Option<Value<AnyScalar>>| value.map(|Value(AnyScalar(text))| text.into());
        let tests = [
            text(keys.equals).map(ReplyTest::Equals),
            text(keys.matches).map(ReplyTest::Matches),
            text(keys.min).map(ReplyTest::Min),
            text(keys.max).map(ReplyTest::Max),
            keys.present.map(|Value(present)| ReplyTest::Present(present)),
        ];
        let tests: Vec<ReplyTest> = tests.into_iter().flatten().collect();
        if tests.is_empty() {
            return Err(A::Error::custom(format!(
                "expected {TESTS}, got an empty mapping"
            )));
        }
        Ok(RawTests(tests))
    }
}
