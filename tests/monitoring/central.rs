//! Central mode: racks inside one exporter, and numbered processes that share them, from the fault to the page.

use std::fmt::Write as _;
use std::net::SocketAddr;

use dualtor_exporter::model::{TargetId, owner};
use dualtor_sim::{ConnectionFault, Direction, Scenario, SidesPatch, Simulator};
use tempfile::TempDir;

use crate::child::Program;
use crate::pager::Pager;
use crate::stack::{Alertmanager, Prometheus, Target};

const RACKS: usize = 2;
/// Of each rack.
const PORTS: usize = 8;

/// SoCs in racks, and the file of the processes that probe them.
struct Fleet {
    sim: Simulator,
    dir: TempDir,
}

impl Fleet {
    /// For this number of processes.
    async fn start(processes: usize) -> Self {
        let mut scenario = Scenario::uniform(RACKS * PORTS);
        scenario.defaults.directions = Some(SidesPatch {
            upper: Some(Direction::Active),
            lower: Some(Direction::Active),
        });
        let sim = Simulator::start(scenario).await.expect("a simulator");
        let dir = tempfile::tempdir().expect("a directory");
        let mut targets = String::new();
        for (n, soc) in sim.socs().iter().enumerate() {
            writeln!(
                targets,
                "- {{targets: [\"{}\"], labels: {{port: Ethernet{}, rack: r{}, side: upper}}}}",
                soc.address(),
                n / RACKS * 4,
                n % RACKS,
            )
            .expect("a string");
        }
        std::fs::write(dir.path().join("targets.yml"), targets).expect("written");
        let fleet = Self { sim, dir };
        fleet.count(processes);
        fleet
    }

    /// Changes the number of processes, in the file that they follow.
    fn count(&self, processes: usize) {
        let config = format!(
            "shard: {{count: {processes}}}\ninventory: [{{file_sd: {{files: [targets.yml]}}}}]\n\
             databases: {{publish: off}}\nprobe: {{interval: 1s, timeout: 900ms}}\n"
        );
        let new = self.dir.path().join("config.yml.new");
        std::fs::write(&new, config).expect("written");
        std::fs::rename(new, self.dir.path().join("config.yml")).expect("renamed");
    }

    async fn process(&self, index: usize, listen: &str) -> (Program, SocketAddr) {
        let config = self.dir.path().join("config.yml");
        let config = config.to_str().expect("UTF-8");
        let mut program = Program::start_with(
            &["--config.file", config, "--web.listen-address", listen],
            &[("DUALTOR_SHARD_INDEX", &index.to_string())],
        );
        let web = program.address().await;
        (program, web)
    }
}

/// A Prometheus that has seen each SoC READY, and who is paged.
async fn watched(webs: &[SocketAddr], rules: &[&str]) -> (Prometheus, Alertmanager, Pager) {
    let pager = Pager::start().await;
    let alertmanager = Alertmanager::start(&pager).await;
    let instances = ["pod-0", "pod-1", "pod-2"];
    let targets: Vec<Target> = webs
        .iter()
        .zip(instances)
        .map(|(&address, instance)| Target {
            address,
            labels: vec![("instance", instance)],
        })
        .collect();
    let prometheus = Prometheus::start_hastened(&targets, Some(alertmanager.address), rules).await;
    let all = RACKS * PORTS;
    prometheus
        .sees(&format!("sum(dualtor_channel_state{{state=\"ready\"}}) == {all}"))
        .await;
    (prometheus, alertmanager, pager)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_is_told_and_so_is_its_return() {
    let fleet = Fleet::start(3).await;
    let mut processes = Vec::new();
    for index in 0..3 {
        processes.push(fleet.process(index, "127.0.0.1:0").await);
    }
    let webs: Vec<SocketAddr> = processes.iter().map(|(_, web)| *web).collect();
    let (prometheus, _alertmanager, pager) = watched(&webs, &["exporter.yaml"]).await;
    let owned = prometheus
        .query("dualtor_shard_targets{owned=\"yes\", instance!=\"pod-1\"}")
        .await;
    assert_eq!(owned.len(), 2, "{owned:?}");

    processes[1].0.signal("KILL");
    let page = pager.rings("firing", "DualTorShardMissing", "").await;
    assert_eq!(page.labels["severity"], "critical");
    let description = &page.annotations["description"];
    assert!(
        description.starts_with("dualtor-exporter: 1 of its numbered processes cannot be scraped"),
        "{description}"
    );
    // The other two have what they had.
    let unchanged =
        "count(dualtor_shard_targets{owned=\"yes\"} == dualtor_shard_targets{owned=\"yes\"} offset 5s) == 2";
    prometheus.sees(unchanged).await;
    let ports = prometheus.query("sum(dualtor_inventory_ports)").await;
    let shares = prometheus
        .query("sum(dualtor_shard_targets{owned=\"yes\"})")
        .await;
    assert_eq!(ports[0]["value"][1], shares[0]["value"][1]);

    processes[1] = fleet.process(1, &webs[1].to_string()).await;
    pager.rings("resolved", "DualTorShardMissing", "").await;
    let pages = pager.pages();
    assert!(
        !pages.iter().any(|page| page.name() == "DualTorPortsGone"),
        "{pages:?}"
    );
}

/// docs/scale.md says how this looks.
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_about_a_port_that_moves_begins_anew_at_its_new_process() {
    let fleet = Fleet::start(1).await;
    let (_first, first) = fleet.process(0, "127.0.0.1:0").await;
    let (_second, second) = fleet.process(1, "127.0.0.1:0").await;
    let (prometheus, _alertmanager, pager) = watched(&[first, second], &["channel.yaml"]).await;
    let id =
        |n: usize| TargetId::parse(&format!("r{}|Ethernet{}", n % RACKS, n / RACKS * 4)).expect("a port");
    let moves = (0..RACKS * PORTS)
        .find(|n| owner(&id(*n), 2) == 1)
        .expect("one that moves");
    let port = id(moves);
    let of = |metric: &str, instance: &str, more: &str| {
        format!(
            "{metric}{{instance=\"{instance}\", rack=\"{}\", port=\"{}\"{more}}}",
            port.rack.as_str(),
            port.port
        )
    };
    fleet.sim.socs()[moves].connection_fault(ConnectionFault::Refuse);
    let page = pager
        .rings("firing", "DualTorChannelDown", port.port.as_str())
        .await;
    assert_eq!(page.labels["instance"], "pod-0");
    let dials = "sum by (rack, port) (dualtor_channel_dials_total{instance=\"pod-0\"})";
    let before = prometheus.query(dials).await;

    fleet.count(2);
    let firing = ", alertname=\"DualTorChannelDown\", alertstate=\"firing\"";
    prometheus.sees(&of("ALERTS", "pod-1", firing)).await;
    // Its series and its alert have ended at the first; Alertmanager has one notification, of the rack, all the while.
    assert!(prometheus.query(&of("ALERTS", "pod-0", firing)).await.is_empty());
    assert!(
        prometheus
            .query(&of("dualtor_channel_state", "pod-0", ""))
            .await
            .is_empty()
    );
    // Those that stay were not dialled again.
    let after = prometheus.query(dials).await;
    assert!(!after.is_empty() && after.len() < before.len(), "{after:?}");
    for series in after {
        let same = before.iter().find(|one| one["metric"] == series["metric"]);
        assert_eq!(
            same.expect("it was there")["value"][1],
            series["value"][1],
            "{series}"
        );
    }
    fleet.sim.socs()[moves].connection_fault(ConnectionFault::None);
    pager
        .rings("resolved", "DualTorChannelDown", port.port.as_str())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rack_that_is_lost_is_one_page_of_that_rack() {
    let fleet = Fleet::start(1).await;
    let (_process, web) = fleet.process(0, "127.0.0.1:0").await;
    let (prometheus, _alertmanager, pager) = watched(&[web], &["channel.yaml", "traffic.yaml"]).await;
    let lost = |n: &usize| n % RACKS == 1;
    for n in (0..RACKS * PORTS).filter(lost) {
        fleet.sim.socs()[n].connection_fault(ConnectionFault::Refuse);
    }
    let page = pager.rings("firing", "DualTorManyChannelsDown", "").await;
    assert_eq!(page.labels["rack"], "r1");
    let description = &page.annotations["description"];
    assert!(
        description.starts_with("pod-0, rack r1: 8 of 8 SoC channels are down"),
        "{description}"
    );
    prometheus
        .sees("instance:dualtor_channels_not_ready:count{rack=\"r0\"} == 0")
        .await;
    for soc in fleet.sim.socs() {
        soc.connection_fault(ConnectionFault::None);
    }
    pager.rings("resolved", "DualTorManyChannelsDown", "").await;
    // Those of single ports are inhibited, and the other rack has none.
    for page in pager.pages() {
        assert_eq!(page.name(), "DualTorManyChannelsDown", "{page:?}");
    }
}
