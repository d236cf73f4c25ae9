//! The shape of `inventory` in the configuration file, and its values (a side also stands elsewhere). `inventory_sources` says what they mean.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use serde::Deserialize;

use super::file_pattern::FilePattern;
use super::http_url::is_http_url;
use super::scalar::{Scalar, Value, optional};
use super::tls_files::RawTls;
use crate::model::{Rack, Side};

/// One source's shape in the configuration file: exactly one key.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSource {
    pub(super) file_sd: Option<RawFileSource>,
    pub(super) http_sd: Option<RawHttpSource>,
    pub(super) config_db: Option<RawRemote>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFileSource {
    pub(super) files: Vec<Value<FilePattern>>,
    #[serde(default = "file_refresh")]
    pub(super) refresh: Value<Duration>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHttpSource {
    pub(super) url: Value<TargetUrl>,
    #[serde(default = "http_refresh")]
    pub(super) refresh: Value<Duration>,
    #[serde(default)]
    pub(super) basic_auth: Option<RawBasicAuth>,
    #[serde(default)]
    pub(super) authorization: Option<RawAuthorization>,
    #[serde(default)]
    pub(super) tls: Option<RawTls>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBasicAuth {
    pub(super) username: Value<HeaderText>,
    #[serde(default, deserialize_with = "optional")]
    pub(super) password: Option<Value<HeaderText>>,
    #[serde(default)]
    pub(super) password_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAuthorization {
    #[serde(rename = "type", default = "bearer")]
    pub(super) scheme: Value<HeaderText>,
    #[serde(default, deserialize_with = "optional")]
    pub(super) credentials: Option<Value<HeaderText>>,
    #[serde(default)]
    pub(super) credentials_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRemote {
    pub(super) url: String,
    pub(super) rack: Value<Rack>,
    #[serde(default)]
    pub(super) side: RawSide,
}

/// A file of a rack changes rarely; a change is seen by its time anyway.
fn file_refresh() -> Value<Duration> {
    Value(Duration::from_secs(30))
}

/// The default of Prometheus.
fn http_refresh() -> Value<Duration> {
    Value(Duration::from_secs(60))
}

fn bearer() -> Value<HeaderText> {
    Value(HeaderText("Bearer".to_owned()))
}

#[derive(Debug)]
pub(super) struct TargetUrl(pub(super) Uri);

impl Scalar for TargetUrl {
    const EXPECTED: &'static str =
        "a URL with the scheme http or https, and without a login (basic_auth and authorization are keys)";

    fn parse(text: &str) -> Option<Self> {
        let url: Uri = text.parse().ok()?;
        is_http_url(&url).then_some(Self(url))
    }
}

/// A part of a header. Messages never repeat it.
pub(super) struct HeaderText(pub(super) String);

impl fmt::Debug for HeaderText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl Scalar for HeaderText {
    const EXPECTED: &'static str = "text that is not empty";

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawSide {
    #[default]
    Auto,
    Upper,
    Lower,
}

impl From<RawSide> for Side {
    fn from(raw: RawSide) -> Self {
        match raw {
            RawSide::Auto => Self::Unknown,
            RawSide::Upper => Self::Upper,
            RawSide::Lower => Self::Lower,
        }
    }
}
