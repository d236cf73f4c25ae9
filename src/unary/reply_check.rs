//! Whether a value of a reply is what the configuration expects. What a text of the configuration means depends on the type of the
//! value, so each test is read once with the schema.

use std::cmp::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use prost_reflect::Kind;
use regex_lite::{Regex, RegexBuilder};

use super::reply_path::LeafKind;
use super::reply_value::ReplyValue;
use crate::model::{ReplyTest, quoted};

/// What a compiled expression may need in memory, in bytes.
const MAX_EXPRESSION: usize = 1024 * 1024;

/// A test of one value.
#[derive(Debug)]
pub(super) enum BoundTest {
    Equals(ExpectedValue),
    Matches(Regex),
    Min(ExpectedNumber),
    Max(ExpectedNumber),
    Present(bool),
}

/// A value of the configuration, as the type of the reply's value says.
#[derive(Debug, PartialEq)]
pub(super) enum ExpectedValue {
    Bool(bool),
    Number(ExpectedNumber),
    Text(String),
    Bytes(Vec<u8>),
}

/// Whole numbers are compared exactly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ExpectedNumber {
    Int(i128),
    Real(f64),
}

impl BoundTest {
    /// The error says what was expected of the configuration.
    pub(super) fn new(test: &ReplyTest, leaf: &LeafKind) -> Result<Self, String> {
        match test {
            ReplyTest::Present(present) => Ok(Self::Present(*present)),
            ReplyTest::Min(bound) => number_of(bound, leaf, "min").map(Self::Min),
            ReplyTest::Max(bound) => number_of(bound, leaf, "max").map(Self::Max),
            ReplyTest::Equals(text) => expected(text, leaf).map(Self::Equals),
            ReplyTest::Matches(text) => {
                if !matches!(leaf, LeafKind::Scalar(_) | LeafKind::Seconds) {
                    return Err("matches: expected a field that is no message and not repeated".to_owned());
                }
                let expression = RegexBuilder::new(text).size_limit(MAX_EXPRESSION).build();
                let expression = expression.map_err(|error| {
                    format!(
                        "matches: expected a regular expression, got {}: {error}",
                        quoted(text)
                    )
                })?;
                Ok(Self::Matches(expression))
            }
        }
    }

    /// `Err` says what was found.
    pub(super) fn judge(&self, value: &ReplyValue<'_>) -> Result<(), String> {
        if let Self::Present(present) = self {
            let is_there = *value != ReplyValue::Absent;
            return match (present, is_there) {
                (true, false) => Err("expected to be present".to_owned()),
                (false, true) => Err(format!("expected to be absent, got {}", shown(value))),
                _ => Ok(()),
            };
        }
        let (holds, what) = match self {
            Self::Equals(expected) => (expected.is(value), format!("{expected}")),
            Self::Matches(expression) => {
                let is_there = *value != ReplyValue::Absent;
                let matches = is_there && expression.is_match(&value.text());
                (matches, format!("a match of {}", quoted(expression.as_str())))
            }
            Self::Min(bound) => {
                let order = bound.compare(value);
                (
                    matches!(order, Some(Ordering::Less | Ordering::Equal)),
                    format!("{bound} or more"),
                )
            }
            Self::Max(bound) => {
                let order = bound.compare(value);
                (
                    matches!(order, Some(Ordering::Greater | Ordering::Equal)),
                    format!("{bound} or less"),
                )
            }
            Self::Present(_) => return Ok(()),
        };
        if holds {
            return Ok(());
        }
        Err(format!("expected {what}, got {}", shown(value)))
    }
}

fn shown(value: &ReplyValue<'_>) -> String {
    match value {
        ReplyValue::Absent => "nothing".to_owned(),
        ReplyValue::Text(text) => quoted(text),
        ReplyValue::Size(size) => format!("{size} of them"),
        value => crate::model::text::quote(value.text()),
    }
}

impl std::fmt::Display for ExpectedNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Int(number) => write!(f, "{number}"),
            Self::Real(number) => write!(f, "{number}"),
        }
    }
}

impl std::fmt::Display for ExpectedValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Bytes(bytes) => f.write_str(&quoted(&STANDARD.encode(bytes))),
        }
    }
}

impl ExpectedValue {
    fn is(&self, value: &ReplyValue<'_>) -> bool {
        match (self, value) {
            (Self::Bool(expected), ReplyValue::Bool(value)) => expected == value,
            (Self::Text(expected), ReplyValue::Text(value)) => expected == value,
            (Self::Bytes(expected), ReplyValue::Bytes(value)) => expected == value,
            (Self::Number(ExpectedNumber::Real(expected)), ReplyValue::Real(value)) => {
                expected == value || expected.is_nan() && value.is_nan()
            }
            (Self::Number(expected), value) => expected.compare(value) == Some(Ordering::Equal),
            _ => false,
        }
    }
}

impl ExpectedNumber {
    fn parse(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse() {
            return Some(Self::Int(number));
        }
        let named = match text {
            ".nan" | ".NaN" => "nan",
            ".inf" => "inf",
            "-.inf" => "-inf",
            text => text,
        };
        named.parse().ok().map(Self::Real)
    }

    /// This number as a `float` has it, so that 0.1 is the 0.1 of a reply.
    fn of_float(self) -> Self {
        let rounded = match self {
            Self::Int(number) => number as f32,
            Self::Real(number) => number as f32,
        };
        Self::Real(rounded.into())
    }

    /// This number compared with a value of a reply. `None`: they have no order.
    fn compare(self, value: &ReplyValue<'_>) -> Option<Ordering> {
        let whole = match value {
            ReplyValue::Int(value) => Some(*value),
            ReplyValue::Size(size) => Some((*size).into()),
            ReplyValue::Enum(number, _) => Some((*number).into()),
            _ => None,
        };
        match (self, whole) {
            (Self::Int(expected), Some(value)) => Some(expected.cmp(&value)),
            (Self::Real(expected), Some(value)) => expected.partial_cmp(&(value as f64)),
            (expected, None) => {
                let expected = match expected {
                    Self::Int(number) => number as f64,
                    Self::Real(number) => number,
                };
                match value {
                    ReplyValue::Real(value) | ReplyValue::Seconds(value) => expected.partial_cmp(value),
                    _ => None,
                }
            }
        }
    }
}

fn number_of(text: &str, leaf: &LeafKind, test: &str) -> Result<ExpectedNumber, String> {
    let has_order = match leaf {
        LeafKind::Scalar(kind) => !matches!(kind, Kind::String | Kind::Bytes | Kind::Bool),
        LeafKind::Size { .. } | LeafKind::Seconds => true,
        LeafKind::Message => false,
    };
    if !has_order {
        return Err(format!(
            "{test}: expected a field with numbers, or one that is repeated, this is {}",
            named(leaf)
        ));
    }
    let number = ExpectedNumber::parse(text).map(|number| match leaf {
        LeafKind::Scalar(Kind::Float) => number.of_float(),
        _ => number,
    });
    number
        .filter(|number| !matches!(number, ExpectedNumber::Real(number) if number.is_nan()))
        .ok_or_else(|| format!("{test}: expected a number, got {}", quoted(text)))
}

fn expected(text: &str, leaf: &LeafKind) -> Result<ExpectedValue, String> {
    let wrong = |what: &str| format!("equals: expected {what}, got {}", quoted(text));
    let number = || ExpectedNumber::parse(text).ok_or_else(|| wrong("a number"));
    let kind = match leaf {
        LeafKind::Scalar(kind) => kind,
        LeafKind::Seconds => return number().map(ExpectedValue::Number),
        LeafKind::Size { .. } => {
            return Err("equals: expected min or max: the field is repeated, and has a size".to_owned());
        }
        LeafKind::Message => return Err("equals: expected a path to a field of the message".to_owned()),
    };
    match kind {
        Kind::Bool => {
            let value = text.parse().map_err(|_| wrong("true or false"))?;
            Ok(ExpectedValue::Bool(value))
        }
        Kind::String => Ok(ExpectedValue::Text(text.to_owned())),
        Kind::Bytes => {
            let engines = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD];
            let mut decoded = engines.iter().filter_map(|engine| engine.decode(text).ok());
            decoded
                .next()
                .map(ExpectedValue::Bytes)
                .ok_or_else(|| wrong("base64"))
        }
        Kind::Enum(of) => {
            let named = of.get_value_by_name(text).map(|value| value.number().into());
            let number = named.or_else(|| text.parse().ok().map(|number: i32| number.into()));
            let number = number.ok_or_else(|| wrong(&format!("a value of {}", of.full_name())))?;
            Ok(ExpectedValue::Number(ExpectedNumber::Int(number)))
        }
        Kind::Float => number().map(|number| ExpectedValue::Number(number.of_float())),
        Kind::Double => match number()? {
            ExpectedNumber::Int(number) => Ok(ExpectedValue::Number(ExpectedNumber::Real(number as f64))),
            real @ ExpectedNumber::Real(_) => Ok(ExpectedValue::Number(real)),
        },
        _ => match number()? {
            whole @ ExpectedNumber::Int(_) => Ok(ExpectedValue::Number(whole)),
            ExpectedNumber::Real(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
                Ok(ExpectedValue::Number(ExpectedNumber::Int(number as i128)))
            }
            ExpectedNumber::Real(_) => Err(wrong("a whole number")),
        },
    }
}

fn named(leaf: &LeafKind) -> String {
    match leaf {
        LeafKind::Scalar(kind) => format!("{kind:?}").to_lowercase(),
        LeafKind::Size { .. } => "repeated".to_owned(),
        LeafKind::Seconds => "a time".to_owned(),
        LeafKind::Message => "a message".to_owned(),
    }
}
