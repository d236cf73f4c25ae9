//! YAML + flags → validated settings (written by the founder in parallel; the settings types below are fixed).

mod settings;

pub use settings::{Publish, RedisServer, Schema, StateDbSettings};
