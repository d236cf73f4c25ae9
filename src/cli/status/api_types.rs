//! The parts of the API's answers that are shown. A field that a newer exporter adds is ignored, and one that an other version lacks
//! is empty.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::model::{PortLevel, PortReason, ServiceReason, TargetId};

/// `/api/v1/fleet`.
#[derive(Debug, Clone)]
pub(super) struct FleetAnswer {
    pub(super) json: Value,
    pub(super) fleet: FleetFields,
}

/// A port in a list, or all about it.
#[derive(Debug, Clone)]
pub(super) struct PortAnswer {
    pub(super) json: Value,
    pub(super) row: PortFields,
}

#[derive(Debug, Deserialize)]
pub(super) struct PortsAnswer {
    pub(super) ports: Vec<PortAnswer>,
}

/// Keeps the JSON beside the fields, for `--output json`.
macro_rules! with_json {
    ($name:ident $field:ident) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let json = Value::deserialize(deserializer)?;
                let $field = Deserialize::deserialize(&json).map_err(serde::de::Error::custom)?;
                Ok(Self { json, $field })
            }
        }
    };
}

with_json!(FleetAnswer fleet);
with_json!(PortAnswer row);

impl PortAnswer {
    pub(super) fn name(&self) -> Option<TargetId> {
        TargetId::parse(&self.row.port)
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct FleetFields {
    pub(super) at: String,
    pub(super) version: String,
    pub(super) host: String,
    pub(super) side: String,
    pub(super) counts: CountFields,
    pub(super) services: ServiceCountFields,
    pub(super) last_success: Option<String>,
    pub(super) exporter_problems: Vec<ProblemFields>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct CountFields {
    pub(super) ports: u64,
    pub(super) level: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServiceCountFields {
    pub(super) targets: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ProblemFields {
    pub(super) alert: String,
    pub(super) text: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct PortFields {
    pub(super) port: String,
    level: String,
    pub(super) reason: String,
    pub(super) channel: String,
    pub(super) since: Option<String>,
    #[serde(rename = "self")]
    pub(super) own: EndFields,
    pub(super) peer: EndFields,
    pub(super) health: String,
    pub(super) service: String,
    pub(super) version: Option<String>,
    pub(super) last_success: Option<String>,
    pub(super) last_error: Option<ErrorFields>,
    pub(super) mux: Option<MuxFields>,
    pub(super) address: String,
    pub(super) dials: u64,
    pub(super) failures: BTreeMap<String, u64>,
    pub(super) certificate_expiry: Option<String>,
    pub(super) keepalive: KeepaliveFields,
    pub(super) transitions: Vec<TransitionFields>,
    pub(super) rounds: Vec<RoundFields>,
    pub(super) failed_rounds: Vec<RoundFields>,
}

impl PortFields {
    /// A level of a newer exporter that is not known here counts as a warning.
    pub(super) fn level(&self) -> PortLevel {
        let known = PortLevel::ALL.iter().find(|level| level.label() == self.level);
        known.copied().unwrap_or(PortLevel::Warning)
    }

    /// Where the API sorts it among ports of its level.
    pub(super) fn place_of_reason(&self) -> usize {
        let place = PortReason::ALL
            .iter()
            .position(|reason| reason.label() == self.reason);
        place.unwrap_or(PortReason::COUNT)
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct EndFields {
    pub(super) direction: String,
    pub(super) link: String,
    pub(super) oper: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ErrorFields {
    pub(super) at: String,
    pub(super) query: Option<String>,
    pub(super) cause: String,
    pub(super) text: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct MuxFields {
    pub(super) intended: String,
    pub(super) orchagent: String,
    pub(super) linkmgr: String,
    pub(super) consistent: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct KeepaliveFields {
    pub(super) rtt: Option<f64>,
    pub(super) interval: f64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct TransitionFields {
    pub(super) at: String,
    pub(super) kind: String,
    pub(super) side: Option<String>,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) cause: Option<String>,
    pub(super) detail: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RoundFields {
    pub(super) at: String,
    pub(super) duration: f64,
    pub(super) queries: BTreeMap<String, QueryFields>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct QueryFields {
    pub(super) result: String,
}

/// A target of a probe module in a list, or all about it.
#[derive(Debug, Clone)]
pub(super) struct ServiceAnswer {
    pub(super) json: Value,
    pub(super) row: ServiceFields,
}

with_json!(ServiceAnswer row);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServicesAnswer {
    pub(super) targets: Vec<ServiceAnswer>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServiceFields {
    module: String,
    target: String,
    pub(super) kind: String,
    pub(super) address: String,
    level: String,
    pub(super) reason: String,
    pub(super) channel: String,
    pub(super) since: Option<String>,
    pub(super) last_round: Option<ServiceRoundFields>,
    pub(super) last_success: Option<String>,
    pub(super) last_failure: Option<ErrorFields>,
    pub(super) health: Option<Vec<HealthFields>>,
    pub(super) results: BTreeMap<String, u64>,
    pub(super) dials: u64,
    pub(super) failures: BTreeMap<String, u64>,
    pub(super) certificate_expiry: Option<String>,
    pub(super) rounds: Vec<ServiceRoundFields>,
    pub(super) services: Option<Vec<VersionFields>>,
}

impl ServiceFields {
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.module, self.target)
    }

    /// Where the API sorts it among targets of its level.
    pub(super) fn place_of_reason(&self) -> usize {
        let place = ServiceReason::ALL
            .iter()
            .position(|reason| reason.label() == self.reason);
        place.unwrap_or(ServiceReason::ALL.len())
    }

    /// A level of a newer exporter that is not known here counts as a warning.
    pub(super) fn level(&self) -> PortLevel {
        let known = PortLevel::ALL.iter().find(|level| level.label() == self.level);
        known.copied().unwrap_or(PortLevel::Warning)
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServiceRoundFields {
    pub(super) at: String,
    pub(super) duration: Option<f64>,
    pub(super) result: String,
    pub(super) success: bool,
    pub(super) detail: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct HealthFields {
    pub(super) service: String,
    pub(super) status: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct VersionFields {
    pub(super) name: String,
    pub(super) current: Option<u32>,
    pub(super) supported: Option<u32>,
    pub(super) compatibility: Option<String>,
}
