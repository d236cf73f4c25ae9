//! A method with its request, and what is read of its reply.

use std::sync::Arc;

use prost_reflect::prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor};

use super::reply_check::BoundTest;
use super::reply_path::ReplyPath;
use super::reply_value::{ReplyValue, is_number};
use super::reply_walk::walk;
use super::type_pool::TypePool;
use super::well_formed;
use crate::model::{ReplyTest, UnaryCheck, text};
use crate::unary::Misfit;
use dualtor_proto::wire::Malformed;

/// The longest value of a label of `grpc_reply_info`, in characters.
const MAX_LABEL: usize = 64;
/// The longest reply as JSON, in bytes.
const MAX_JSON: usize = 64 * 1024;

/// What is expected at one path.
struct ExpectedField {
    text: Arc<str>,
    path: ReplyPath,
    tests: Vec<BoundTest>,
}

/// A call of a method. Made once for a schema and a configuration.
pub struct Call {
    /// Holds the types.
    _types: Arc<TypePool>,
    /// `/service/method`
    path: String,
    request: Vec<u8>,
    reply: MessageDescriptor,
    fields: Vec<ExpectedField>,
    info: Vec<ReplyPath>,
    values: Vec<ReplyPath>,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Call({})", self.path)
    }
}

/// What was read of a reply.
#[derive(Debug, PartialEq)]
pub struct ReadReply {
    /// The first expectation that does not hold, for people.
    pub unexpected: Option<String>,
    /// The values of the labels of `grpc_reply_info`, in their order.
    pub info: Vec<Arc<str>>,
    /// The numbers of `grpc_reply_value`, in their order. `None`: absent.
    pub values: Vec<Option<f64>>,
}

impl Call {
    /// The error is about the configuration.
    pub fn new(types: &Arc<TypePool>, check: &UnaryCheck) -> Result<Self, Misfit> {
        let method = types.method(&check.service, &check.method);
        let method = method.or_else(|text| Misfit::at("method", text))?;
        let (request, reply) = (request(&check.request, method.input())?, method.output());
        let path =
            |key: String, path: &Arc<str>| ReplyPath::new(path, &reply).or_else(|text| Misfit::at(key, text));
        let mut fields = Vec::new();
        for (text, tests) in &check.fields {
            let key = format!("expect.fields.{text}");
            let path = path(key.clone(), text)?;
            let bound = tests
                .iter()
                .map(|test: &ReplyTest| BoundTest::new(test, &path.leaf));
            fields.push(ExpectedField {
                text: text.clone(),
                tests: bound
                    .collect::<Result<_, _>>()
                    .or_else(|text| Misfit::at(key, text))?,
                path,
            });
        }
        let mut info = Vec::new();
        for (n, (_, text)) in check.info.iter().enumerate() {
            info.push(path(format!("info[{n}]"), text)?);
        }
        let mut values = Vec::new();
        for (n, text) in check.values.iter().enumerate() {
            let key = format!("values[{n}]");
            let path = path(key.clone(), text)?;
            if !is_number(&path.leaf) {
                return Misfit::at(key, "expected a field with numbers, or one that is repeated");
            }
            values.push(path);
        }
        Ok(Self {
            _types: types.clone(),
            path: format!("/{}/{}", check.service, check.method),
            request,
            reply,
            fields,
            info,
            values,
        })
    }

    /// `/service/method`
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The request, encoded.
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// Reads a reply. It is walked through once for each path.
    pub fn read(&self, reply: &[u8]) -> Result<ReadReply, Malformed> {
        well_formed::check(reply, &self.reply)?;
        let value = |path: &ReplyPath| Ok(ReplyValue::of(walk(reply, path)?, &path.leaf));
        let mut unexpected = None;
        for field in &self.fields {
            let found = value(&field.path)?;
            let failed = field.tests.iter().find_map(|test| test.judge(&found).err());
            if let Some(why) = failed {
                unexpected = Some(text::quote(format_args!("{}: {why}", field.text)));
                break;
            }
        }
        let info = self
            .info
            .iter()
            .map(|path| Ok(text::clean(&value(path)?.text(), MAX_LABEL).into()));
        let values = self.values.iter().map(|path| Ok(value(path)?.number()));
        Ok(ReadReply {
            unexpected,
            info: info.collect::<Result<_, Malformed>>()?,
            values: values.collect::<Result<_, Malformed>>()?,
        })
    }

    /// The reply as JSON, for a person who asks once. It takes many times the memory of the reply. `None`: it is too long.
    pub fn json(&self, reply: &[u8]) -> Option<String> {
        let message = DynamicMessage::decode(self.reply.clone(), reply).ok()?;
        let json = serde_json::to_string(&message).ok()?;
        (json.len() <= MAX_JSON).then_some(json)
    }
}

fn request(json: &str, of: MessageDescriptor) -> Result<Vec<u8>, Misfit> {
    let mut reader = serde_json::Deserializer::from_str(json);
    match DynamicMessage::deserialize(of, &mut reader) {
        Ok(message) => Ok(message.encode_to_vec()),
        Err(error) => Misfit::at("request", without_place(&error.to_string())),
    }
}

/// The configuration is YAML: a line and a column of JSON mean nothing.
fn without_place(error: &str) -> &str {
    error.rfind(" at line ").map_or(error, |at| &error[..at])
}
