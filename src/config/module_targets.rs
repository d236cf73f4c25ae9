//! `targets` of a module: whom it asks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::module_scalars::LabelText;
use super::raw_modules::RawModuleTarget;
use super::scalar::Value;
use super::{KeyError, at};
use crate::model::{ChannelSettings, Endpoint, ModuleTarget, SourceAddress};

const MOST_LABELS: usize = 8;

/// The meaning of the key.
pub(super) fn targets(
    raw: Vec<RawModuleTarget>,
    channel: &ChannelSettings,
    key: &str,
) -> Result<Vec<Arc<ModuleTarget>>, KeyError> {
    let (mut names, mut addresses) = (HashMap::new(), HashMap::new());
    let mut targets = Vec::with_capacity(raw.len());
    for (n, raw) in raw.into_iter().enumerate() {
        let key = format!("{key}[{n}]");
        let address = raw.address.0;
        if let (SourceAddress::Fixed(source), Endpoint::Ip(to)) = (&channel.source_address, &address.endpoint)
            && source.is_ipv4() != to.is_ipv4()
        {
            let message = format!(
                "expected an address of the same family as channel.source_address ({source}), got {to}"
            );
            return at(&format!("{key}.address"), message);
        }
        let name = raw.name.map_or_else(|| address.text.clone(), |name| name.0.0);
        if let Some(before) = addresses.insert(address.text.clone(), n) {
            let message = format!(
                "expected each address once, {} is already target {before}",
                address.text
            );
            return at(&format!("{key}.address"), message);
        }
        if let Some(before) = names.insert(name.clone(), n) {
            let message = format!("expected each name once, {name} is already that of target {before}");
            return at(&format!("{key}.name"), message);
        }
        targets.push(Arc::new(ModuleTarget {
            labels: labels(raw.labels, &key)?,
            name: name.into(),
            address: address.text.into(),
            endpoint: address.endpoint,
        }));
    }
    // A name that is another target's address would make /probe ambiguous.
    let other = targets.iter().enumerate().find_map(|(n, target)| {
        let of = addresses.get(&*target.name)?;
        (*of != n).then_some((n, *of))
    });
    if let Some((n, of)) = other {
        return at(
            &format!("{key}[{n}].name"),
            format!("expected a name that is not another target's address, it is that of target {of}"),
        );
    }
    Ok(targets)
}

/// A label of a target's `grpc_target_info`: name and value.
type TargetLabel = (Arc<str>, Arc<str>);

fn labels(raw: BTreeMap<String, Value<LabelText>>, key: &str) -> Result<Vec<TargetLabel>, KeyError> {
    const TAKEN: [&str; 7] = ["module", "target", "kind", "address", "le", "instance", "job"];
    let key = format!("{key}.labels");
    if raw.len() > MOST_LABELS {
        return at(&key, format!("expected at most {MOST_LABELS}, got {}", raw.len()));
    }
    let mut labels = Vec::with_capacity(raw.len());
    for (name, Value(LabelText(value))) in raw {
        let key = format!("{key}.{name}");
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        if !begins || name.len() > 32 || !name.chars().all(allowed) {
            let message = "expected a label of at most 32 lower-case letters, digits and '_' that does not begin with a digit";
            return at(&key, message);
        }
        if TAKEN.contains(&&*name) || name.starts_with("__") {
            let taken = TAKEN.join(", ");
            return at(
                &key,
                format!("expected another label than {taken} and those that begin with __"),
            );
        }
        labels.push((name.into(), value.into()));
    }
    Ok(labels)
}
