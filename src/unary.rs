//! Calls of any unary method, by its schema: what to send, and what the reply says. Pure: the session sends and receives.
//!
//! A server decides how large its schema and its replies are. So a schema is measured before it is used, and a reply is read field
//! by field: only what the configuration asks for is kept. prost-reflect resolves the types, and makes the request of JSON.
//!
//! Imports `model`.
//!
//! | file | job |
//! |---|---|
//! | file_scan | one file of a schema before it is used |
//! | type_pool | files → types, within limits; equal schemas are held once |
//! | call | a method, its request, and what is read of its reply |
//! | reply_path | a path of the configuration → the way through a reply |
//! | reply_walk | the way through a reply → the bytes of a value |
//! | reply_value | the bytes of a value → the value |
//! | reply_check | whether a value is what the configuration expects |
//! | well_formed | whether a reply can be decoded |

mod call;
mod file_scan;
mod reply_check;
mod reply_path;
mod reply_value;
mod reply_walk;
#[cfg(test)]
mod tests;
mod type_pool;
mod well_formed;

use std::fmt;

use crate::model::text;

pub use call::{Call, ReadReply};
pub use type_pool::{MAX_BYTES, MAX_FILES, SchemaFiles, TypePool};

/// The longest text of an error, in characters.
const MAX_TEXT: usize = 300;

/// A schema that cannot be used: a text for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SchemaError(String);

impl SchemaError {
    /// `text` may quote a server.
    pub fn new(text: impl fmt::Display) -> Self {
        Self(text::shorten(text, MAX_TEXT))
    }
}

/// Something in the configuration that does not fit a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {text}")]
pub struct Misfit {
    /// The key below `grpc_unary`: `method`, `request`, `expect.fields.a.b`, `info[0]`.
    pub key: String,
    /// What was expected.
    pub text: String,
}

impl Misfit {
    fn at<T>(key: impl Into<String>, text: impl fmt::Display) -> Result<T, Self> {
        Err(Self {
            key: key.into(),
            text: text::shorten(text, MAX_TEXT),
        })
    }
}
