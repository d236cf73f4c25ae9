//! A dual-ToR switch: a rack whose SoCs are in CONFIG_DB and not in the exporter's configuration.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::harness::{Rack, Setup, wait_until};
use crate::http::Scrape;
use crate::redis_server::Redis;

const CONFIG_DB: i64 = 4;
/// Longer than any test: only what Redis notifies is noticed.
pub const NEVER_POLLED: &str = "interval: 300d, timeout: 5s";

/// One address for each SoC and one port for all of them, as in a rack.
fn socs_of_a_rack(count: u8) -> Vec<SocketAddr> {
    static RACKS: AtomicU8 = AtomicU8::new(1);
    let rack = RACKS.fetch_add(1, Ordering::Relaxed);
    let process = 64 + u8::try_from(std::process::id() % 128).expect("below 128");
    let probe = std::net::TcpListener::bind((Ipv4Addr::new(127, process, rack, 1), 0)).expect("a port");
    let port = probe.local_addr().expect("an address").port();
    let socs = (1..=count).map(|n| (Ipv4Addr::new(127, process, rack, n), port).into());
    socs.collect()
}

/// A switch with `socs` SoCs: Ethernet0, Ethernet4 and so on. Its Redis sends notifications or not.
pub async fn switch(socs: u8, redis_args: &[&str]) -> Rack {
    let mut redis = Redis::away();
    redis.launch(redis_args).await;
    switch_on(redis, socs).await
}

/// A switch with this Redis.
pub async fn switch_on(redis: Redis, socs: u8) -> Rack {
    switch_of(redis, socs, |_| ()).await
}

pub async fn switch_of(redis: Redis, socs: u8, change: impl FnOnce(&mut Setup)) -> Rack {
    let addresses = socs_of_a_rack(socs);
    let mut setup = Setup::rack(0);
    for (n, address) in addresses.iter().enumerate() {
        setup = setup.soc(&format!("Ethernet{}", n * 4), |soc| soc.address = Some(*address));
    }
    setup.redis = Some(redis);
    setup.settings.side = "auto".to_owned();
    setup.settings.from_config_db = true;
    let port = addresses[0].port();
    setup.settings.channel = format!("tcp_port: {port}, {}", setup.settings.channel);
    change(&mut setup);
    setup.stage().await
}

pub const TELLS: [&str; 2] = ["--notify-keyspace-events", "AKE"];

impl Rack {
    pub fn config_db(&self, command: &str) {
        let _: redis::Value = self.redis.ask_db(CONFIG_DB, command);
    }

    /// Everything that a booted dual-ToR switch has, except its cables.
    pub fn boots(&self) {
        self.config_db("HSET DEVICE_METADATA|localhost type ToRRouter subtype DualToR");
        self.config_db("HSET LOOPBACK_INTERFACE|Loopback3|10.212.64.1/32 NULL NULL");
        self.config_db("SET CONFIG_DB_INITIALIZED 1");
    }

    pub fn cable(&self, port: &str) {
        let ip = self.soc(port).address().ip();
        self.config_db(&format!(
            "HSET MUX_CABLE|{port} cable_type active-active state auto soc_ipv4 {ip}/32"
        ));
    }

    /// A port whose cable leads to another port's SoC.
    pub fn cable_of(&self, port: &str, soc: &str) {
        let ip = self.soc(soc).address().ip();
        self.config_db(&format!(
            "HSET MUX_CABLE|{port} cable_type active-active state auto soc_ipv4 {ip}/32"
        ));
    }

    /// It has booted with these cables, and the exporter probes each of them.
    pub async fn boots_with(&mut self, ports: &[&str]) -> Scrape {
        self.boots();
        for port in ports {
            self.cable(port);
        }
        self.start_exporter().await;
        self.probes(ports).await
    }

    /// Only what Redis notifies is noticed.
    pub fn polls_never(&mut self) {
        self.settings.probe = NEVER_POLLED.to_owned();
        self.write_config(&self.settings.yaml(&self.redis));
    }

    pub async fn probes(&self, expected: &[&str]) -> Scrape {
        wait_until(
            &format!("{expected:?} are READY and there is no other"),
            async || {
                let scrape = self.scrape().await;
                let mut ready: Vec<String> = scrape
                    .find("dualtor_channel_state", &[("state", "ready")])
                    .map(|sample| format!("{}={}", sample.labels["port"], sample.value))
                    .collect();
                ready.sort();
                let wanted: Vec<String> = expected.iter().map(|port| format!("{port}=1")).collect();
                if ready == wanted {
                    Ok(scrape)
                } else {
                    Err(format!("{ready:?}"))
                }
            },
        )
        .await
    }
}
