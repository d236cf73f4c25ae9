//! The shape of the configuration file: which keys and values it may have. `validate` says what they mean.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::raw_modules::RawModule;
use super::raw_otel::RawOtel;
use super::raw_shared::{RawBackoff, there};
use super::raw_sources::{RawSide, RawSource};
use super::scalar::{Address, TcpPort, Value, optional};
use super::settings::{Publish, Schema, SourceRule};
use super::shard_index::RawShard;
use super::tls_files::{RawTls, SecretsFile};
use crate::model::{ChannelSettings, KeepaliveRule, Port, ProbeSettings, Rack};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawFile {
    pub(super) probe: RawProbe,
    pub(super) channel: RawChannel,
    #[serde(deserialize_with = "there")]
    pub(super) side: Option<RawSide>,
    pub(super) targets: Option<Vec<RawTarget>>,
    pub(super) inventory: Option<Vec<RawSource>>,
    pub(super) shard: Option<RawShard>,
    pub(super) databases: RawDatabases,
    pub(super) modules: BTreeMap<String, RawModule>,
    pub(super) otel: Option<RawOtel>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawProbe {
    #[serde(deserialize_with = "there")]
    pub(super) interval: Option<Value<Duration>>,
    pub(super) timeout: Value<Duration>,
}

impl Default for RawProbe {
    fn default() -> Self {
        Self {
            interval: None,
            timeout: Value(ProbeSettings::default().timeout),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawChannel {
    pub(super) tcp_port: Value<TcpPort>,
    pub(super) keepalive_time: Value<KeepaliveRule>,
    pub(super) keepalive_timeout: Value<Duration>,
    pub(super) backoff: RawBackoff,
    pub(super) source_address: Value<SourceRule>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) tls: Option<RawTls>,
}

impl Default for RawChannel {
    fn default() -> Self {
        let default = ChannelSettings::default();
        Self {
            tcp_port: Value(TcpPort(super::DEFAULT_TCP_PORT)),
            keepalive_time: Value(default.keepalive),
            keepalive_timeout: Value(default.keepalive_timeout),
            backoff: RawBackoff::default(),
            source_address: Value(SourceRule::Auto),
            metadata: BTreeMap::new(),
            tls: None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTarget {
    pub(super) port: Value<Port>,
    pub(super) address: Value<Address>,
    #[serde(default, deserialize_with = "optional")]
    pub(super) rack: Option<Value<Rack>>,
    #[serde(default)]
    pub(super) side: RawSide,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDatabases {
    pub(super) url: Option<String>,
    pub(super) config: PathBuf,
    pub(super) grpc_secrets: Value<SecretsFile>,
    #[serde(deserialize_with = "there")]
    pub(super) publish: Option<Publish>,
    pub(super) schema: Schema,
    pub(super) publish_notifications: Value<bool>,
}

impl Default for RawDatabases {
    fn default() -> Self {
        Self {
            url: None,
            config: "/var/run/redis/sonic-db/database_config.json".into(),
            grpc_secrets: Value(SecretsFile("/etc/sonic/grpc_secrets.json".into())),
            publish: None,
            schema: Schema::Sonic,
            publish_notifications: Value(false),
        }
    }
}
