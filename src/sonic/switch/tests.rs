//! Which change makes the switch derive what, over mirrors that the test controls.

use std::path::Path;

use super::*;
use crate::model::{Entry, MuxDirection, Tables};

/// The test's ends of a switch's inputs and outputs.
struct Stage {
    config: watch::Sender<Arc<Config>>,
    config_db: watch::Sender<Mirrored>,
    appl_db: watch::Sender<Mirrored>,
    state_db: watch::Sender<Mirrored>,
    secrets: watch::Sender<Secrets>,
}

impl Stage {
    fn new() -> (Self, Switch, Emits) {
        let config = Config::parse("{}", Path::new("test.yml")).expect("a configuration");
        let stage = Self {
            config: watch::Sender::new(Arc::new(config)),
            config_db: watch::Sender::new(Mirrored::Waiting),
            appl_db: watch::Sender::new(Mirrored::Waiting),
            state_db: watch::Sender::new(Mirrored::Waiting),
            secrets: watch::Sender::new(Secrets::Absent),
        };
        let mirrors = vec![NamespaceMirrors {
            name: "".into(),
            config_db: stage.config_db.subscribe(),
            appl_db: stage.appl_db.subscribe(),
            state_db: stage.state_db.subscribe(),
        }];
        let ports = watch::Sender::new(Ports::default());
        let (config, secrets) = (stage.config.subscribe(), stage.secrets.subscribe());
        let (switch, emits) = Switch::over(
            config,
            mirrors,
            secrets,
            ports,
            JoinSet::new(),
            Discoveries::new(watch::channel(ProbeSettings::default()).1),
        );
        (stage, switch, emits)
    }

    /// A row of CONFIG_DB for each of `ports` ports.
    fn show_ports(&self, ports: u8) {
        let cables = (0..ports).map(|n| {
            let fields = format!("cable_type=active-active soc_ipv4=192.168.0.{}/32", n + 1);
            (format!("MUX_CABLE|Ethernet{n}"), fields)
        });
        let metadata = (
            "DEVICE_METADATA|localhost".to_owned(),
            "subtype=DualToR".to_owned(),
        );
        let mut tables = tables("|", cables.chain([metadata]));
        tables.set(
            "CONFIG_DB_INITIALIZED".to_owned(),
            Some(Entry::Value("1".to_owned())),
        );
        self.config_db.send_replace(Mirrored::Up(Arc::new(tables)));
    }

    /// linkmgrd requests this state for Ethernet0.
    fn want(&self, direction: &str) {
        let row = (
            "MUX_CABLE_TABLE:Ethernet0".to_owned(),
            format!("state={direction}"),
        );
        let tables = tables(":", [row]);
        self.appl_db.send_replace(Mirrored::Up(Arc::new(tables)));
    }
}

fn tables(separator: &str, rows: impl IntoIterator<Item = (String, String)>) -> Tables {
    let mut tables = Tables::new(separator);
    for (key, fields) in rows {
        let fields = fields.split_whitespace().map(|field| {
            let (name, value) = field.split_once('=').expect("name=value");
            (name.to_owned(), value.to_owned())
        });
        tables.set(key, Some(Entry::Row(fields.collect())));
    }
    tables
}

#[tokio::test]
async fn changes_of_appl_db_and_state_db_are_facts_and_work_out_no_inventory() {
    let (stage, mut switch, mut emits) = Stage::new();
    let story = async {
        stage.show_ports(2);
        emits.inventory.changed().await.expect("a switch");
        for direction in [MuxDirection::Active, MuxDirection::Standby].repeat(50) {
            stage.want(direction.label());
            stage.state_db.send_replace(Mirrored::Down("away".into()));
            let shown = |facts: &Option<Arc<Facts>>| {
                let mut facts = facts.iter().flat_map(|facts| facts.values());
                facts.any(|facts| facts.intended == direction)
            };
            emits.facts.wait_for(shown).await.expect("facts");
        }
    };
    tokio::select! {
        () = switch.follow() => unreachable!("the configuration's sender is there"),
        () = story => {}
    }
    assert_eq!(switch.worked_out, 1);
}

#[tokio::test]
async fn what_an_inventory_follows_from_is_told_from_what_it_does_not() {
    let (stage, mut switch, _emits) = Stage::new();
    let now = std::time::Instant::now();
    let mut check = |what: &str, change: &dyn Fn(), expected: bool| {
        change();
        assert_eq!(switch.is_inventory_stale(now), expected, "{what}");
        switch.take_config_dbs(now);
        switch.take_facts();
        switch.emit();
        assert!(!switch.is_inventory_stale(now), "{what}, taken in");
    };
    check("APPL_DB", &|| stage.want("active"), false);
    let down = || drop(stage.state_db.send_replace(Mirrored::Down("away".into())));
    check("STATE_DB", &down, false);
    check("CONFIG_DB", &|| stage.show_ports(2), true);
    let absent = || drop(stage.secrets.send_replace(Secrets::Absent));
    check("grpc_secrets.json", &absent, true);
    check("the configuration", &|| stage.config.send_modify(|_| ()), true);
    check("a port's row is gone", &|| stage.show_ports(1), true);
    // It is kept for two seconds, because it may be a rewrite.
    assert!(!switch.is_inventory_stale(now + Duration::from_millis(1900)));
    assert!(switch.is_inventory_stale(now + Duration::from_secs(2)));
}
