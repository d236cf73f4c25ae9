//! What a probe module asks, of whom, and how often. Made from the key `modules` of the configuration.

use std::fmt;
use std::sync::Arc;

use super::{ChannelSettings, Endpoint, Health, MetadataValue, Peer, ProbeSettings, UnaryCheck};

/// A probe module.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleSpec {
    /// Its name, unique in the configuration.
    pub name: Arc<str>,
    /// What it asks.
    pub kind: ModuleKind,
    /// The time from round to round, and the deadline of a whole round.
    pub probe: ProbeSettings,
    /// How to hold the channels. Nothing of the SoCs' settings is inherited.
    pub channel: Arc<ChannelSettings>,
    /// What is sent with each RPC; `${address}` and `${target}` are not filled in yet.
    pub metadata: Vec<(String, MetadataValue)>,
    /// Whom it asks. May be empty.
    pub targets: Vec<Arc<ModuleTarget>>,
}

/// What a module asks.
#[derive(Debug, Clone, PartialEq)]
pub enum ModuleKind {
    /// `grpc.health.v1.Health`: Check, and Watch.
    GrpcHealth(HealthCheck),
    /// Any unary method.
    GrpcUnary(UnaryCheck),
    /// The versions of interfaces that a server of grpc-helper reports.
    ServiceInfo(ServiceCheck),
    /// `gribi.gRIBI/Get`: the entries of a switch's routing tables.
    Gribi(GribiCheck),
}

impl ModuleKind {
    /// The key that chooses it, and the label of `grpc_target_info`.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::GrpcHealth(_) => "grpc_health",
            Self::GrpcUnary(_) => "grpc_unary",
            Self::ServiceInfo(_) => "service_info",
            Self::Gribi(_) => "gribi",
        }
    }

    /// Whether a session of this kind can go on with the other. If not, it is started anew.
    fn is_alike(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::GrpcHealth(one), Self::GrpcHealth(other)) => {
                one.services == other.services && one.watch == other.watch
            }
            (Self::GrpcUnary(one), Self::GrpcUnary(other)) => one.asks_the_same(other),
            // What they ask is read at the beginning of each round.
            (Self::ServiceInfo(_), Self::ServiceInfo(_)) | (Self::Gribi(_), Self::Gribi(_)) => true,
            _ => false,
        }
    }
}

/// What a module of the kind grpc_health asks.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthCheck {
    /// The services, unique, in their order.
    pub services: Vec<Arc<str>>,
    /// The statuses that are a success.
    pub healthy: Vec<Health>,
    /// Whether a Watch is held open for each service.
    pub watch: bool,
}

impl HealthCheck {
    /// Whether each service has one of the statuses that are a success.
    pub fn is_success(&self, healths: &[Health]) -> bool {
        healths.iter().all(|health| self.healthy.contains(health))
    }
}

/// What a module of the kind service_info asks.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceCheck {
    /// How the server is asked.
    pub dialect: InfoDialect,
    /// Services, and the version of their interface that their clients speak. Sorted by name.
    pub clients: Vec<(Arc<str>, u32)>,
}

words! {
    /// How a server is asked for its services.
    InfoDialect {
        /// `server`, and `info` where that is not implemented.
        Auto = "auto",
        /// `/RpcServerService/info`
        Server = "server",
        /// `/InfoService/get`
        Info = "info",
    }
}

/// What a module of the kind gribi asks.
#[derive(Debug, Clone, PartialEq)]
pub struct GribiCheck {
    /// The network instances; `None`: all, with one request.
    pub instances: Option<Vec<Arc<str>>>,
}

/// One target of a module.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleTarget {
    /// Its name, unique in the module.
    pub name: Arc<str>,
    /// Its address as configured, unique in the module.
    pub address: Arc<str>,
    /// The same, understood.
    pub endpoint: Endpoint,
    /// Labels of its `grpc_target_info`.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
}

/// Identifies a target of a module. Sorts by module and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleId {
    /// The module's name.
    pub module: Arc<str>,
    /// The target's name.
    pub target: Arc<str>,
}

impl fmt::Display for ModuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.module, self.target)
    }
}

/// What a session of a module does: its module, and one of the module's targets.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleJob {
    /// The module.
    pub spec: Arc<ModuleSpec>,
    /// The target.
    pub target: Arc<ModuleTarget>,
}

impl ModuleSpec {
    /// The target with this name or address, as written.
    pub fn target(&self, name: &str) -> Option<&Arc<ModuleTarget>> {
        let is_it = |target: &&Arc<ModuleTarget>| *target.name == *name || *target.address == *name;
        self.targets.iter().find(is_it)
    }

    /// The work of its sessions, one for each target.
    pub fn jobs(self: &Arc<Self>) -> impl Iterator<Item = Arc<ModuleJob>> {
        self.targets.iter().map(|target| {
            Arc::new(ModuleJob {
                spec: self.clone(),
                target: target.clone(),
            })
        })
    }
}

impl ModuleJob {
    /// What identifies it.
    pub fn id(&self) -> ModuleId {
        ModuleId {
            module: self.spec.name.clone(),
            target: self.target.name.clone(),
        }
    }

    /// Whom the channel connects to.
    pub fn peer(&self) -> Peer {
        let fill = |(name, value): &(String, MetadataValue)| {
            let value = match value {
                MetadataValue::Text(text) => MetadataValue::Text(
                    text.replace("${address}", &self.target.address)
                        .replace("${target}", &self.target.name),
                ),
                file @ MetadataValue::File(_) => file.clone(),
            };
            (name.clone(), value)
        };
        Peer {
            endpoint: self.target.endpoint.clone(),
            settings: self.spec.channel.clone(),
            metadata: self.spec.metadata.iter().map(fill).collect(),
        }
    }

    /// Whether the session and the channel of this job also serve the other: what differs is judged or shown after a round.
    pub fn is_alike(&self, other: &Self) -> bool {
        self.spec.kind.is_alike(&other.spec.kind) && self.peer() == other.peer()
    }
}
