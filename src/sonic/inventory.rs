//! Which SoCs to probe, as which ToR and how: from the configuration's own list, from the sources of its key `inventory`, or from
//! CONFIG_DB. Of several processes each takes its share.
//!
//! Pure: takes the configuration, the content of CONFIG_DB (a mirror's tables, per namespace) and what the sources have found, and emits an `Inventory`. The
//! fleet compares it with what runs. A row that cannot be used affects only its own port: it becomes a `Problem`.
//!
//! | file | job |
//! |---|---|
//! | mux_cable | `MUX_CABLE` rows → ports and addresses |
//! | tor_side | Is it a dual-ToR switch? Loopback3: our side, our source address |
//! | grpc_client | `GRPCCLIENT`, or grpc_secrets.json → plain text or TLS |
//! | grpc_rows | the rows of `GRPCCLIENT`, read for exporter and doctor |
//! | grpc_secrets | grpc_secrets.json, where those rows come from |
//! | hold | what is used while CONFIG_DB is being rewritten |
//! | found | what the sources of `inventory` have found, merged |
//!
//! Imports `model` and `config`.

mod found;
mod grpc_client;
mod grpc_rows;
mod grpc_secrets;
mod hold;
mod mux_cable;
#[cfg(test)]
mod tests;
mod tor_side;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

pub use found::{FoundTarget, NamedContent, SourceContent};
pub use grpc_client::{GrpcSettings, Secured, SecurityOrigin, by_file, by_rows, secure};
pub use grpc_rows::{AuthLevel, GrpcFile, GrpcRows, GrpcType};
pub use grpc_secrets::Secrets;
pub use hold::Hold;
pub use tor_side::{Loopback3, is_dual_tor, side_of};
pub(crate) use tor_side::{SUB_ROLE, SUBTYPE};

use crate::config::{Address, Config, SourceRule};
use crate::model::schema;
use crate::model::{
    ChannelSettings, Inventory, Port, Problem, ProblemKind, Rack, Rows, Security, Side, SourceAddress, Spec,
    Table, Tables, Target, TargetId,
};

/// What is read from CONFIG_DB.
pub const CONFIG_DB: Spec = Spec {
    name: schema::CONFIG_DB,
    rows: Rows::All,
    tables: &[
        Table {
            name: schema::DEVICE_METADATA,
            fields: &["type", SUBTYPE, SUB_ROLE],
        },
        Table {
            name: mux_cable::TABLE,
            fields: mux_cable::FIELDS,
        },
        // The address is in the key.
        Table {
            name: schema::LOOPBACK_INTERFACE,
            fields: &[],
        },
        Table {
            name: schema::GRPCCLIENT,
            fields: grpc_rows::FIELDS,
        },
        Table {
            name: schema::GRPC_CLIENT,
            fields: grpc_rows::FIELDS,
        },
    ],
    extras: &[],
    values: &[schema::CONFIG_DB_INITIALIZED],
};

/// CONFIG_DB of one namespace, as it was when it was complete.
#[derive(Debug, Clone)]
pub struct ConfigDbCopy {
    /// "asic0"; empty: the switch itself.
    pub namespace: Arc<str>,
    /// Its content when it was last complete. `None`: it never was.
    pub tables: Option<Arc<Tables>>,
    /// Plain text or TLS to its SoCs. `secure` decides it.
    pub secured: Secured,
}

impl ConfigDbCopy {
    /// A copy of which nothing is known yet.
    pub fn unread(namespace: &Arc<str>) -> Self {
        Self {
            namespace: namespace.clone(),
            tables: None,
            secured: Secured::default(),
        }
    }
}

/// Whether a CONFIG_DB is complete, so that it may be used. It is not while the switch boots, or after its Redis has restarted
/// empty.
pub fn is_complete(tables: &Tables) -> bool {
    tables.value(schema::CONFIG_DB_INITIALIZED) == Some("1")
}

impl Inventory {
    /// The inventory from the configuration, each namespace's CONFIG_DB, the switch's own first, and what the sources have found.
    pub fn of(config: &Config, sources: &[ConfigDbCopy], found: &[NamedContent]) -> Self {
        let mut inventory = Self::of_all(config, sources, found);
        if let Some(shard) = config.shard {
            inventory.take_share(shard);
        }
        inventory
    }

    /// The inventory of all processes together.
    fn of_all(config: &Config, sources: &[ConfigDbCopy], found: &[NamedContent]) -> Self {
        let known: Vec<(&Arc<str>, &Tables)> = sources
            .iter()
            .filter_map(|source| Some((&source.namespace, &**source.tables.as_ref()?)))
            .collect();
        // The switch's own tables come first, so an ASIC's addresses are used only if those have none.
        let loopback3 = Loopback3::find(known.iter().map(|(_, tables)| *tables));
        let side = match config.side {
            Side::Unknown => loopback3.side(),
            told => told,
        };
        let mut channels = Channels::new(config, &loopback3, side, sources);
        match &config.targets {
            Some(targets) => Self {
                targets: targets
                    .iter()
                    .map(|target| Target {
                        // Its own side, or the one of the configuration.
                        side: match target.side {
                            Side::Unknown => side,
                            told => told,
                        },
                        channel: channels.of(&target.namespace, target.address.ip()),
                        ..target.clone()
                    })
                    .collect(),
                share: None,
                side,
                problems: Vec::new(),
                loaded: true,
            },
            None if !config.inventory.is_empty() => found::merge(config, found, &mut channels),
            None => Self::from_config_db(config, side, &known, &mut channels, sources.len()),
        }
    }

    fn from_config_db(
        config: &Config,
        side: Side,
        known: &[(&Arc<str>, &Tables)],
        channels: &mut Channels<'_>,
        namespaces: usize,
    ) -> Self {
        let mut inventory = Self {
            side,
            loaded: known.len() == namespaces,
            ..Self::default()
        };
        let mut taken: HashMap<Port, Arc<str>> = HashMap::new();
        let host = known.first().map(|(_, tables)| *tables);
        for (namespace, tables) in known {
            if !is_dual_tor(tables, host) {
                continue;
            }
            inventory.problems.extend(mux_cable::too_many(tables));
            for row in mux_cable::read(tables) {
                let (port, ip) = match row {
                    Ok(found) => found,
                    Err(problem) => {
                        inventory.problems.push(problem);
                        continue;
                    }
                };
                if let Some(first) = taken.get(&port) {
                    let text = format!(
                        "namespaces {first:?} and {namespace:?} both have the port: the first is used"
                    );
                    inventory
                        .problems
                        .push(Problem::new(port.as_str(), ProblemKind::DuplicatePort, &text));
                    continue;
                }
                taken.insert(port.clone(), (*namespace).clone());
                inventory.targets.push(Target {
                    id: port.into(),
                    namespace: (*namespace).clone(),
                    address: (ip, config.port).into(),
                    side,
                    channel: channels.of(namespace, ip),
                });
            }
        }
        inventory
    }
}

/// The active-active ports of another switch, or why one of them cannot be probed.
pub fn found_rows(
    tables: &Tables,
    rack: &Rack,
    side: Side,
) -> impl Iterator<Item = Result<FoundTarget, Problem>> {
    let found = move |(port, ip)| FoundTarget {
        id: TargetId {
            rack: rack.clone(),
            port,
        },
        address: Address::from(ip),
        side,
        file: None,
    };
    let rows = mux_cable::read(tables).map(move |row| row.map(found));
    rows.chain(mux_cable::too_many(tables).map(Err))
}

/// The channels' settings. All targets of a namespace and an address family share the same.
struct Channels<'a> {
    config: &'a Config,
    loopback3: &'a Loopback3,
    side: Side,
    sources: &'a [ConfigDbCopy],
    made: HashMap<(Arc<str>, bool), Arc<ChannelSettings>>,
}

impl<'a> Channels<'a> {
    fn new(config: &'a Config, loopback3: &'a Loopback3, side: Side, sources: &'a [ConfigDbCopy]) -> Self {
        Self {
            config,
            loopback3,
            side,
            sources,
            made: HashMap::new(),
        }
    }

    fn of(&mut self, namespace: &Arc<str>, target: IpAddr) -> Arc<ChannelSettings> {
        let key = (namespace.clone(), target.is_ipv4());
        if let Some(made) = self.made.get(&key) {
            return made.clone();
        }
        let settings = Arc::new(ChannelSettings {
            source_address: self.source_address(target),
            security: self.security(namespace),
            ..(*self.config.channel).clone()
        });
        self.made.insert(key, settings.clone());
        settings
    }

    fn source_address(&self, target: IpAddr) -> SourceAddress {
        let loopback3 = self.loopback3.address(target.is_ipv4(), self.side);
        match (self.config.source, loopback3) {
            (SourceRule::None, _) | (SourceRule::Auto, None) => SourceAddress::Any,
            (SourceRule::Ip(ip), _) => SourceAddress::Fixed(ip),
            (SourceRule::Auto, Some(ip)) => SourceAddress::Prefer(ip),
            (SourceRule::Loopback3, Some(ip)) => SourceAddress::Fixed(ip),
            (SourceRule::Loopback3, None) => {
                let family = if target.is_ipv4() { "IPv4" } else { "IPv6" };
                let text = format!(
                    "CONFIG_DB has no {family} address of Loopback3 (channel.source_address: loopback3)"
                );
                SourceAddress::Missing(text.into())
            }
        }
    }

    /// The configuration's TLS if it has some, else the TLS of the namespace's CONFIG_DB, or of the switch's own for a
    /// namespace without one.
    fn security(&self, namespace: &Arc<str>) -> Security {
        if self.config.channel.security != Security::Plain {
            return self.config.channel.security.clone();
        }
        let own = self.sources.iter().find(|source| source.namespace == *namespace);
        let source = own.or(self.sources.first());
        source
            .and_then(|source| source.secured.security.clone())
            .unwrap_or(Security::Plain)
    }
}
