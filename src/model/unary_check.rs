//! What a module of the kind grpc_unary asks, and what its reply must be: as configured. `unary` finds out what it means with a
//! schema.

use std::sync::Arc;

use super::ProbeResult;

/// What a module of the kind grpc_unary asks.
#[derive(Debug, Clone, PartialEq)]
pub struct UnaryCheck {
    /// The full name of the service.
    pub service: Arc<str>,
    /// The name of the method.
    pub method: Arc<str>,
    /// Where the schema comes from.
    pub schema: UnarySchema,
    /// The request, in the JSON of proto3.
    pub request: Arc<str>,
    /// The results that are a success: codes only.
    pub statuses: Vec<ProbeResult>,
    /// Paths in the reply, and what must hold there.
    pub fields: Vec<(Arc<str>, Vec<ReplyTest>)>,
    /// Labels of `grpc_reply_info`, and the path of each.
    pub info: Vec<(Arc<str>, Arc<str>)>,
    /// Paths whose values are shown as numbers.
    pub values: Vec<Arc<str>>,
}

impl UnaryCheck {
    /// Whether what is asked, or how, is the same. The rest is judged after a round.
    pub fn asks_the_same(&self, other: &Self) -> bool {
        self.service == other.service && self.method == other.method && self.schema == other.schema
    }
}

/// Where a method's schema comes from.
#[derive(Clone, PartialEq)]
pub enum UnarySchema {
    /// The server's own reflection.
    Reflection,
    /// Files that were read with the configuration: each an encoded `FileDescriptorProto`.
    Files(Arc<[Arc<[u8]>]>),
}

impl std::fmt::Debug for UnarySchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reflection => f.write_str("Reflection"),
            Self::Files(files) => write!(f, "{} files", files.len()),
        }
    }
}

/// What must hold for one value of a reply. The texts are as written: what they mean depends on the value's type.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplyTest {
    /// It is this.
    Equals(Arc<str>),
    /// This regular expression is found in it.
    Matches(Arc<str>),
    /// It, or its size, is this or more.
    Min(Arc<str>),
    /// It, or its size, is this or less.
    Max(Arc<str>),
    /// Whether it is there.
    Present(bool),
}
