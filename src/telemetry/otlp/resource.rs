//! What describes this process in everything that it sends.

use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::sync::watch;

use super::attributes::text;
use super::semantics as names;
use crate::model::{ExemplarTable, Inventory, Side};

/// See the module's documentation. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Described {
    /// Later ones win.
    attributes: Arc<[(String, String)]>,
    /// Which ToR this is may become known later.
    inventory: watch::Receiver<Arc<Inventory>>,
}

impl Described {
    /// This process on `host`; `more` is configured and wins.
    pub(super) fn new(
        host: &str,
        more: &[(String, String)],
        inventory: watch::Receiver<Arc<Inventory>>,
    ) -> Self {
        let own = [
            (names::SERVICE_NAME, "dualtor-exporter"),
            (names::SERVICE_VERSION, env!("CARGO_PKG_VERSION")),
            (names::SERVICE_INSTANCE_ID, host),
            (names::HOST_NAME, host),
        ];
        let mut attributes: Vec<(String, String)> = Vec::new();
        let own = own.map(|(key, value)| (key.to_owned(), value.to_owned()));
        for (key, value) in own.iter().chain(more) {
            attributes.retain(|(other, _)| other != key);
            attributes.push((key.clone(), value.clone()));
        }
        Self {
            attributes: attributes.into(),
            inventory,
        }
    }

    /// Forgets the exemplars of SoCs that are not probed any more.
    pub(super) fn keep_known(&self, exemplars: &ExemplarTable) {
        let inventory = self.inventory.borrow();
        let targets = inventory.targets.iter();
        exemplars.keep(inventory.targets.len(), targets.map(|target| &target.id));
    }

    /// As it is now.
    pub(super) fn resource(&self) -> Resource {
        let side = self.inventory.borrow().side;
        let known = (side != Side::Unknown).then(|| text(names::SIDE, side.label()));
        let is_other = |key: &str| known.is_none() || key != names::SIDE;
        let attributes = self.attributes.iter().filter(|(key, _)| is_other(key));
        let attributes = attributes.map(|(key, value)| text(key, value));
        Resource {
            attributes: attributes.chain(known.clone()).collect(),
            ..Resource::default()
        }
    }
}

/// Who made it.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "dualtor-exporter".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_configured_wins_and_the_side_comes_when_it_is_known() {
        let (sender, inventory) = watch::channel(Arc::new(Inventory::default()));
        let more = [
            ("service.name".to_owned(), "mine".to_owned()),
            ("deployment.environment.name".to_owned(), "lab".to_owned()),
        ];
        let described = Described::new("tor-upper", &more, inventory);
        let shown = || {
            let attributes = described.resource().attributes;
            let keys: Vec<String> = attributes.into_iter().map(|attribute| attribute.key).collect();
            keys.join(" ")
        };
        let expected =
            "service.version service.instance.id host.name service.name deployment.environment.name";
        assert_eq!(shown(), expected);
        sender.send_modify(|inventory| Arc::make_mut(inventory).side = Side::Upper);
        assert_eq!(shown(), format!("{expected} dualtor.side"));
    }
}
