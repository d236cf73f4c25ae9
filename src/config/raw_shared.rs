//! Shapes that several parts of the configuration file have.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::scalar::{Multiplier, Share, Value};
use crate::model::BackoffSettings;

/// A key that is `None` only where the file does not have it: null is no value of it.
pub(super) fn there<'de, T: Deserialize<'de>, D: Deserializer<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// The metadata that gRPC sets itself, besides all that begins with `grpc-`.
const RESERVED_METADATA: [&str; 6] = [
    "te",
    "content-type",
    "user-agent",
    "content-length",
    "connection",
    "host",
];

/// Whether metadata may have this name.
pub(super) fn is_metadata_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.".contains(c);
    !name.is_empty() && name.chars().all(allowed)
}

/// Whether gRPC sets the metadata of this name itself.
pub(super) fn is_reserved_metadata(name: &str) -> bool {
    RESERVED_METADATA.contains(&name) || name.starts_with("grpc-")
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawBackoff {
    pub(super) initial: Value<Duration>,
    pub(super) multiplier: Value<Multiplier>,
    pub(super) jitter: Value<Share>,
    pub(super) max: Value<Duration>,
}

impl Default for RawBackoff {
    fn default() -> Self {
        let default = BackoffSettings::default();
        Self {
            initial: Value(default.initial),
            multiplier: Value(Multiplier(default.multiplier)),
            jitter: Value(Share(default.jitter)),
            max: Value(default.max),
        }
    }
}

impl From<RawBackoff> for BackoffSettings {
    fn from(raw: RawBackoff) -> Self {
        Self {
            initial: raw.initial.0,
            multiplier: raw.multiplier.0.0,
            jitter: raw.jitter.0.0,
            max: raw.max.0,
        }
    }
}

/// What is sent with a request: the text itself, or the file that has it. It may be a secret, so no message repeats it.
pub(super) enum TextOrFile {
    Text(String),
    File(PathBuf),
}

impl fmt::Debug for TextOrFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl<'de> Deserialize<'de> for TextOrFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrFileVisitor)
    }
}

struct TextOrFileVisitor;

impl TextOrFileVisitor {
    /// Not serde's own message: that has the value in it.
    fn expected<E: Error>() -> E {
        E::custom("expected text in quotes, or {file: PATH}")
    }
}

impl<'de> Visitor<'de> for TextOrFileVisitor {
    type Value = TextOrFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text in quotes, or {file: PATH}")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<TextOrFile, E> {
        Ok(TextOrFile::Text(text.to_owned()))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<TextOrFile, E> {
        Err(Self::expected())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<TextOrFile, E> {
        Err(Self::expected())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<TextOrFile, E> {
        Err(Self::expected())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<TextOrFile, E> {
        Err(Self::expected())
    }

    fn visit_unit<E: Error>(self) -> Result<TextOrFile, E> {
        Err(Self::expected())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TextOrFile, A::Error> {
        match map.next_entry::<String, PathBuf>()? {
            Some((key, file)) if key == "file" && !file.as_os_str().is_empty() => {
                let is_last = map.next_key::<String>()?.is_none();
                is_last
                    .then_some(TextOrFile::File(file))
                    .ok_or_else(Self::expected)
            }
            _ => Err(Self::expected()),
        }
    }
}
