//! Shapes that several parts of the configuration file have.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::scalar::{Multiplier, Share, Value};
use crate::model::BackoffSettings;

/// A key that is `None` only where the file does not have it: null is no value of it.
pub(super) fn there<'de, T: Deserialize<'de>, D: Deserializer<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

#[derive(Debug, Deserialize)]
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
