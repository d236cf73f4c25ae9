//! The shape of the file → its `Config`, or the first key that is wrong.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::raw_shared::{is_metadata_name, is_reserved_metadata};
use super::shard_index::{self, ProcessNames};
use super::{
    Config, KeyError, Namespace, Publish, SourceRule, SwitchSettings, at, inventory_sources, module_settings,
    raw, tls_files, yaml,
};
use crate::model::{ChannelSettings, ProbeSettings, Rack, Security, Side, SourceAddress, Target, TargetId};

/// The meaning of the file. Relative paths in it start at `base`. `switch` is for keys that it does not have.
pub(super) fn validate(raw: raw::RawFile, base: &Path, switch: &SwitchSettings) -> Result<Config, KeyError> {
    let probe = probe_settings(raw.probe, switch)?;
    let side = raw.side.map(Side::from).or(switch.side);
    let side = side.unwrap_or(Side::Unknown);
    let port = raw.channel.tcp_port.0.0;
    let source = raw.channel.source_address.0;
    let channel = Arc::new(channel(raw.channel, base)?);
    let targets = match &raw.targets {
        Some(list) => Some(targets(list, port, side, &channel)?),
        None => None,
    };
    let inventory = match raw.inventory {
        Some(_) if targets.is_some() => return at("inventory", "expected inventory or targets, got both"),
        Some(list) => inventory_sources::sources(list, base)?,
        None => Vec::new(),
    };
    let shard = raw
        .shard
        .map(|raw| shard_index::shard(&raw, &ProcessNames::of_this_process()))
        .transpose()?;
    let raw::RawDatabases { publish, schema, .. } = raw.databases;
    let publish = publish.or(switch.publish).unwrap_or(Publish::Own);
    let central = Central {
        racks: targets.iter().flatten().any(|target| !target.id.rack.is_empty()),
        inventory: !inventory.is_empty(),
        shards: shard.is_some_and(|shard| shard.count > 1),
    };
    central.check(publish, source)?;
    let publish_notifications = notifications(raw.databases.publish_notifications.0, publish)?;
    let modules = module_settings::modules(raw.modules, probe.interval, base)?;
    let told_all = targets
        .as_deref()
        .is_some_and(|targets| are_sides_known(targets, side));
    let told_all = told_all && source != SourceRule::Loopback3;
    // The sources of an inventory are not this host's databases.
    let needed = publish != Publish::Off || !told_all && inventory.is_empty();
    let namespaces = databases(&raw.databases, needed)?;
    let otel = super::otel::of_file(raw.otel.unwrap_or_default(), base)?;
    Ok(Config {
        probe,
        side,
        source,
        port,
        channel,
        targets,
        inventory,
        shard,
        namespaces,
        grpc_secrets: base.join(raw.databases.grpc_secrets.0.0),
        publish,
        publish_notifications,
        schema,
        modules: modules.into(),
        otel,
    })
}

fn probe_settings(raw: raw::RawProbe, switch: &SwitchSettings) -> Result<ProbeSettings, KeyError> {
    let default = ProbeSettings::default();
    let interval = raw.interval.map(|interval| interval.0);
    let settings = ProbeSettings {
        interval: interval.or(switch.interval).unwrap_or(default.interval),
        timeout: raw.timeout.0,
    };
    if settings.timeout >= settings.interval {
        let (timeout, interval) = (settings.timeout, settings.interval);
        return at(
            "probe.timeout",
            format!("expected less than probe.interval ({interval:?}), got {timeout:?}"),
        );
    }
    Ok(settings)
}

/// Whether each target has its side, or all have `side`.
fn are_sides_known(targets: &[Target], side: Side) -> bool {
    let own = targets.iter().all(|target| target.side != Side::Unknown);
    side != Side::Unknown || (own && !targets.is_empty())
}

fn channel(raw: raw::RawChannel, base: &Path) -> Result<ChannelSettings, KeyError> {
    let security = match raw.tls {
        Some(tls) => Security::Tls(tls_files::settings(tls, base, "channel.tls")?),
        None => Security::Plain,
    };
    let source_address = match raw.source_address.0 {
        // The inventory replaces it with Loopback3's address, once that is known.
        SourceRule::Auto | SourceRule::None => SourceAddress::Any,
        SourceRule::Loopback3 => SourceAddress::Missing("Loopback3's address is not known yet".into()),
        SourceRule::Ip(ip) => SourceAddress::Fixed(ip),
    };
    for (name, value) in &raw.metadata {
        metadata(name, value)?;
    }
    Ok(ChannelSettings {
        keepalive: raw.keepalive_time.0,
        keepalive_timeout: raw.keepalive_timeout.0,
        backoff: raw.backoff.into(),
        source_address,
        security,
        metadata: raw.metadata.into_iter().collect(),
    })
}

/// Whether a channel may send this entry with each request.
pub(super) fn metadata(name: &str, value: &str) -> Result<(), KeyError> {
    let key = format!("channel.metadata.{name}");
    if !is_metadata_name(name) {
        return at(
            &key,
            "expected a name of lower-case letters, digits, '_', '-' and '.'",
        );
    }
    if is_reserved_metadata(name) || name.ends_with("-bin") {
        return at(
            &key,
            "expected a name that gRPC does not use itself and that does not end in -bin",
        );
    }
    let filled = value.replace("${soc_ip}", "").replace("${port}", "");
    if filled.contains("${") {
        return at(&key, "expected no other placeholder than ${soc_ip} and ${port}");
    }
    if !filled.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
        return at(&key, "expected a value of printable ASCII characters");
    }
    Ok(())
}

fn targets(
    raw: &[raw::RawTarget],
    default_port: u16,
    side: Side,
    channel: &Arc<ChannelSettings>,
) -> Result<Vec<Target>, KeyError> {
    let most = yaml::MAX_TARGETS;
    if raw.len() > most {
        let got = raw.len();
        let message = format!("expected at most {most}, got {got}: let several exporters share them");
        return at("targets", message);
    }
    let mut first: HashMap<TargetId, usize> = HashMap::new();
    let mut targets = Vec::with_capacity(raw.len());
    for (n, target) in raw.iter().enumerate() {
        let id = TargetId {
            rack: target
                .rack
                .as_ref()
                .map_or_else(Rack::default, |rack| rack.0.clone()),
            port: target.port.0.clone(),
        };
        if let Some(before) = first.insert(id.clone(), n) {
            return at(
                &format!("targets[{n}].port"),
                format!("expected each port once, {id} is already targets[{before}]"),
            );
        }
        let address = target.address.0.with_default_port(default_port);
        if let SourceAddress::Fixed(source) = &channel.source_address
            && source.is_ipv4() != address.is_ipv4()
        {
            return at(
                &format!("targets[{n}].address"),
                format!(
                    "expected an address of the same family as channel.source_address ({source}), got {address}"
                ),
            );
        }
        let own = Side::from(target.side);
        targets.push(Target {
            id,
            namespace: "".into(),
            address,
            side: if own == Side::Unknown { side } else { own },
            channel: channel.clone(),
        });
    }
    Ok(targets)
}

/// What makes this a process for the SoCs of other switches, or one of several.
struct Central {
    /// Targets have racks.
    racks: bool,
    inventory: bool,
    shards: bool,
}

impl Central {
    /// Only the ToR itself may write its rows, and each row needs one writer.
    fn check(&self, publish: Publish, source: SourceRule) -> Result<(), KeyError> {
        let because = match self {
            Self { inventory: true, .. } => "with inventory: the rows are the ToR's",
            Self { racks: true, .. } => "with a rack in targets: the rows are the ToR's",
            Self { shards: true, .. } => {
                "with shard.count over 1: one process would delete what another writes"
            }
            _ => return Ok(()),
        };
        if publish != Publish::Off {
            let message = format!("expected off {because}; got {}", publish.label());
            return at("databases.publish", message);
        }
        if self.inventory && source == SourceRule::Loopback3 {
            let message = "expected auto, none or an IP address with inventory: Loopback3 is the ToR's";
            return at("channel.source_address", message);
        }
        Ok(())
    }
}

/// Whether notices may be published when rows are published in this way.
fn notifications(wanted: bool, publish: Publish) -> Result<bool, KeyError> {
    let refused = |why: &str| {
        at(
            "databases.publish_notifications",
            format!("expected false with {why}"),
        )
    };
    match publish {
        Publish::Off if wanted => refused("publish: off, which writes nothing"),
        Publish::Shadow if wanted => refused("publish: shadow, which writes only MUX_CABLE_INFO_SHADOW"),
        _ => Ok(wanted),
    }
}

/// The switch's databases, if anything needs them.
fn databases(raw: &raw::RawDatabases, needed: bool) -> Result<Vec<Namespace>, KeyError> {
    // A bad URL is an error even if nothing uses it now: otherwise it would be found only later.
    let from_url = raw.url.as_deref().map(Namespace::from_url).transpose();
    let from_url = from_url.or_else(|message| at("databases.url", message))?;
    match from_url {
        _ if !needed => Ok(Vec::new()),
        Some(namespace) => Ok(vec![namespace]),
        None => Namespace::from_files(&raw.config).or_else(|message| at("databases.config", message)),
    }
}
