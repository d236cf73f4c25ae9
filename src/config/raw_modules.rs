//! The shape of `modules` in the configuration file. `module_scalars` are its single values, `module_settings` says what they mean.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use super::module_scalars::{
    ApiVersion, HealthyStatus, HostPort, InstanceName, LabelText, ServiceName, SourceIp, TargetName,
};
use super::raw_shared::{RawBackoff, TextOrFile, there};
#[cfg(feature = "unary")]
pub(super) use super::raw_unary::RawUnary as RawUnaryKind;
use super::scalar::Value;
use super::tls_files::RawTls;
use crate::model::{ChannelSettings, Health, InfoDialect, KeepaliveRule};
#[cfg(not(feature = "unary"))]
pub(super) use serde::de::IgnoredAny as RawUnaryKind;

/// One module: exactly one of the kinds, and what all have.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawModule {
    #[serde(deserialize_with = "there")]
    pub(super) grpc_health: Option<RawHealthCheck>,
    #[serde(deserialize_with = "there")]
    pub(super) grpc_unary: Option<RawUnaryKind>,
    #[serde(deserialize_with = "there")]
    pub(super) service_info: Option<RawServiceCheck>,
    #[serde(deserialize_with = "there")]
    pub(super) gribi: Option<RawGribi>,
    #[serde(deserialize_with = "there")]
    pub(super) interval: Option<Value<Duration>>,
    #[serde(deserialize_with = "there")]
    pub(super) timeout: Option<Value<Duration>>,
    pub(super) channel: RawModuleChannel,
    pub(super) targets: Vec<RawModuleTarget>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawHealthCheck {
    pub(super) services: Vec<Value<ServiceName>>,
    pub(super) healthy: Vec<Value<HealthyStatus>>,
    pub(super) watch: Value<bool>,
}

impl Default for RawHealthCheck {
    fn default() -> Self {
        Self {
            services: vec![Value(ServiceName(String::new()))],
            healthy: vec![Value(HealthyStatus(Health::Serving))],
            watch: Value(true),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawServiceCheck {
    pub(super) dialect: Option<Value<InfoDialect>>,
    pub(super) clients: BTreeMap<String, Value<ApiVersion>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawGribi {
    #[serde(deserialize_with = "there")]
    pub(super) network_instances: Option<RawInstances>,
}

/// `all`, or a list of names.
#[derive(Debug)]
pub(super) enum RawInstances {
    All,
    Names(Vec<String>),
}

impl<'de> Deserialize<'de> for RawInstances {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InstancesVisitor;

        impl<'de> Visitor<'de> for InstancesVisitor {
            type Value = RawInstances;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("all, or a list of network instances")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RawInstances, E> {
                match text {
                    "all" => Ok(RawInstances::All),
                    _ => Err(E::custom("expected all, or a list of network instances")),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<RawInstances, A::Error> {
                let mut all = Vec::new();
                while let Some(Value(InstanceName(name))) = names.next_element()? {
                    all.push(name);
                }
                Ok(RawInstances::Names(all))
            }
        }

        deserializer.deserialize_any(InstancesVisitor)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawModuleChannel {
    pub(super) keepalive: Value<KeepaliveRule>,
    pub(super) keepalive_timeout: Value<Duration>,
    pub(super) backoff: RawBackoff,
    pub(super) source_address: Value<SourceIp>,
    pub(super) metadata: BTreeMap<String, TextOrFile>,
    pub(super) tls: Option<RawTls>,
}

impl Default for RawModuleChannel {
    fn default() -> Self {
        Self {
            keepalive: Value(KeepaliveRule::Rounds),
            keepalive_timeout: Value(ChannelSettings::default().keepalive_timeout),
            backoff: RawBackoff::default(),
            source_address: Value(SourceIp(None)),
            metadata: BTreeMap::new(),
            tls: None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawModuleTarget {
    pub(super) address: Value<HostPort>,
    #[serde(default, deserialize_with = "there")]
    pub(super) name: Option<Value<TargetName>>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, Value<LabelText>>,
}
