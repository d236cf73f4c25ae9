//! Several processes of the real binary that share SoCs in racks: whatever their number is changed to, each SoC has one of them, and
//! a SoC that does not move keeps its channel.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dualtor_exporter::model::{TargetId, owner};
use dualtor_sim::{Scenario, Simulator};

use crate::child::{Program, assert_cannot_start, run};
use crate::harness::wait_until;
use crate::http::{self, Scrape};

/// Ten racks, each with an Ethernet0.
const RACKS: usize = 10;

/// A fleet of simulated SoCs, and the files of the processes.
struct Fleet {
    /// They serve as long as this exists.
    _sim: Simulator,
    dir: tempfile::TempDir,
    ids: Vec<TargetId>,
}

impl Fleet {
    async fn start(socs: usize) -> Self {
        let sim = Simulator::start(Scenario::uniform(socs))
            .await
            .expect("a simulator");
        let dir = tempfile::tempdir().expect("a directory");
        let mut ids = Vec::new();
        let mut files: BTreeMap<usize, String> = BTreeMap::new();
        for (n, soc) in sim.socs().iter().enumerate() {
            let (rack, port) = (n % RACKS, format!("Ethernet{}", n / RACKS * 4));
            let side = if n.is_multiple_of(2) { "upper" } else { "lower" };
            writeln!(
                files.entry(rack).or_default(),
                "- {{targets: [\"{}\"], labels: {{port: {port}, rack: r{rack}, side: {side}}}}}",
                soc.address()
            )
            .expect("a string");
            ids.push(TargetId::parse(&format!("r{rack}|{port}")).expect("a key"));
        }
        std::fs::create_dir(dir.path().join("targets")).expect("a directory");
        for (rack, text) in files {
            std::fs::write(dir.path().join(format!("targets/r{rack}.yml")), text).expect("written");
        }
        let fleet = Self { _sim: sim, dir, ids };
        fleet.count(1);
        fleet
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("config.yml")
    }

    /// Writes the number of processes into the file that all of them follow, as an editor does.
    fn count(&self, count: u32) {
        let yaml = format!(
            "shard: {{count: {count}}}\ninventory: [{{file_sd: {{files: [targets/*.yml]}}}}]\n\
             databases: {{publish: off}}\nprobe: {{interval: 300d, timeout: 5s}}\n\
             channel: {{keepalive_time: 60s, keepalive_timeout: 60s}}\n"
        );
        let new = self.dir.path().join("config.yml.new");
        std::fs::write(&new, yaml).expect("written");
        std::fs::rename(new, self.config()).expect("renamed");
    }

    fn expected(&self, index: u32, count: u32) -> BTreeSet<TargetId> {
        let owned = self.ids.iter().filter(|id| owner(id, count) == index);
        owned.cloned().collect()
    }
}

struct Process {
    program: Program,
    web: std::net::SocketAddr,
    index: u32,
}

impl Process {
    async fn start(config: &Path, index: u32) -> Self {
        let config = config.to_str().expect("UTF-8");
        let mut program = Program::start_with(
            &["--config.file", config, "--web.listen-address", "127.0.0.1:0"],
            &[("POD_NAME", &format!("dualtor-exporter-{index}"))],
        );
        let web = program.address().await;
        Self { program, web, index }
    }

    async fn scrape(&self) -> Scrape {
        Scrape::parse(http::get(self.web, "/metrics").await.text())
    }

    /// Waits until it probes exactly these, and all are READY. Returns the dials of each.
    async fn probes(&self, expected: &BTreeSet<TargetId>, count: u32) -> BTreeMap<TargetId, u64> {
        wait_until(&format!("the share of {} of {count}", self.index), async || {
            let scrape = self.scrape().await;
            let ready: BTreeSet<TargetId> =
                ids(&scrape, "dualtor_channel_state", &[("state", "ready")], 1.0).collect();
            let all: BTreeSet<TargetId> =
                ids(&scrape, "dualtor_channel_dials_total", &[], f64::NAN).collect();
            let seen = (
                scrape.value("dualtor_shard_index", &[]),
                scrape.value("dualtor_shard_count", &[]),
                scrape.value("dualtor_shard_targets", &[("owned", "yes")]),
            );
            if ready == *expected
                && all == *expected
                && seen
                    == (
                        Some(f64::from(self.index)),
                        Some(f64::from(count)),
                        Some(expected.len() as f64),
                    )
            {
                let dials = scrape.find("dualtor_channel_dials_total", &[]);
                return Ok(dials
                    .map(|sample| (id_of(&sample.labels), sample.value as u64))
                    .collect());
            }
            Err(format!(
                "{} of {} READY of {}, {seen:?}",
                ready.len(),
                all.len(),
                expected.len()
            ))
        })
        .await
    }
}

fn id_of(labels: &BTreeMap<String, String>) -> TargetId {
    TargetId::parse(&format!("{}|{}", labels["rack"], labels["port"])).expect("a rack and a port")
}

/// The SoCs that have this value; NaN: any.
fn ids(scrape: &Scrape, name: &str, labels: &[(&str, &str)], value: f64) -> impl Iterator<Item = TargetId> {
    let samples: Vec<_> = scrape
        .find(name, labels)
        .map(|s| (id_of(&s.labels), s.value))
        .collect();
    samples
        .into_iter()
        .filter(move |(_, seen)| value.is_nan() || *seen == value)
        .map(|(id, _)| id)
}

/// All SoCs that move are with their new process, and READY.
const MOVED: Duration = Duration::from_secs(10);

/// From 3 processes to 5, and to 2.
async fn change_the_number_of_processes(socs: usize) {
    let fleet = Fleet::start(socs).await;
    let mut processes: Vec<Process> = Vec::new();
    let mut before: Vec<BTreeMap<TargetId, u64>> = Vec::new();
    for (had, count) in [(0, 3), (3, 5), (5, 2)] {
        fleet.count(count);
        let changed = Instant::now();
        for index in had..count {
            processes.push(Process::start(&fleet.config(), index).await);
        }
        // Those whose number is too high have no share, and are stopped then.
        let mut now = Vec::new();
        for process in &processes {
            let share = fleet.expected(process.index, count);
            assert!(process.index < count || share.is_empty());
            now.push(process.probes(&share, count).await);
        }
        let took = changed.elapsed();
        assert!(
            had == 0 || took <= MOVED,
            "{had} -> {count}: each SoC has its process after {took:?}"
        );
        let shares: usize = now.iter().map(BTreeMap::len).sum();
        let union: BTreeSet<&TargetId> = now.iter().flat_map(BTreeMap::keys).collect();
        assert_eq!((shares, union.len()), (socs, socs), "each SoC has one process");
        let stayed = before.iter().zip(&now).flat_map(|(before, now)| {
            before
                .iter()
                .filter_map(|(id, dials)| Some((id, *dials, *now.get(id)?)))
        });
        let stayed: Vec<_> = stayed.collect();
        for (id, before, now) in &stayed {
            assert_eq!(before, now, "{id} was dialled again");
        }
        if had > 0 {
            let moved = 1.0 - stayed.len() as f64 / socs as f64;
            let theory = 1.0 - f64::from(had.min(count)) / f64::from(had.max(count));
            // With 300 SoCs, chance alone is four hundredths.
            let allowed = if socs >= 3000 { 0.03 } else { 0.1 };
            assert!(
                (moved - theory).abs() <= allowed,
                "{had} -> {count}: {moved} moved"
            );
        }
        while processes.len() > count as usize {
            let process = processes.pop().expect("a process");
            process.program.signal("TERM");
            assert_eq!(process.program.ended().await.code, Some(0));
        }
        now.truncate(count as usize);
        before = now;
    }
    // One that is killed takes no one else's targets with it.
    drop(processes.remove(0));
    let share = processes[0].probes(&fleet.expected(1, 2), 2).await;
    assert_eq!(share, before[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_soc_has_one_process_and_only_those_that_move_are_dialled() {
    change_the_number_of_processes(300).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "15 s of two processors: scripts/test it shards --ignored"]
async fn each_of_three_thousand_socs_has_one_process() {
    change_the_number_of_processes(3000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_keeps_the_share_and_is_reported_once() {
    let fleet = Fleet::start(6).await;
    fleet.count(2);
    let mut process = Process::start(&fleet.config(), 1).await;
    let before = process.probes(&fleet.expected(1, 2), 2).await;
    let good = std::fs::read_to_string(fleet.config()).expect("text");
    std::fs::write(fleet.config(), good.replace("count: 2", "count: none")).expect("written");
    let line = process
        .program
        .says("the configuration was not reloaded", 1)
        .await;
    assert!(
        line.contains("shard.count") && line.contains("1 to 1000"),
        "{line}"
    );
    let scrape = process.scrape().await;
    assert_eq!(
        scrape.value("dualtor_config_last_reload_successful", &[]),
        Some(0.0)
    );
    assert_eq!(process.probes(&fleet.expected(1, 2), 2).await, before);
    // Good again: the share follows. Until then the bad file was reported once.
    fleet.count(3);
    process.probes(&fleet.expected(1, 3), 3).await;
    assert_eq!(process.program.stderr().matches("was not reloaded").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_configmap_is_followed() {
    let fleet = Fleet::start(6).await;
    // As Kubernetes mounts it: config.yml -> ..data/config.yml, ..data -> a directory that is replaced.
    let mount = fleet.dir.path().join("mount");
    std::fs::create_dir(&mount).expect("a directory");
    let publish = |version: &str, count: u32| {
        let dir = mount.join(version);
        std::fs::create_dir(&dir).expect("a directory");
        fleet.count(count);
        let text = std::fs::read_to_string(fleet.config()).expect("text");
        let targets = fleet.dir.path().join("targets/*.yml");
        let text = text.replace("targets/*.yml", targets.to_str().expect("UTF-8"));
        std::fs::write(dir.join("config.yml"), text).expect("written");
        std::os::unix::fs::symlink(version, mount.join("..data_tmp")).expect("a link");
        std::fs::rename(mount.join("..data_tmp"), mount.join("..data")).expect("renamed");
    };
    publish("..1", 2);
    std::os::unix::fs::symlink("..data/config.yml", mount.join("config.yml")).expect("a link");
    let process = Process::start(&mount.join("config.yml"), 0).await;
    process.probes(&fleet.expected(0, 2), 2).await;
    publish("..2", 3);
    process.probes(&fleet.expected(0, 3), 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_does_not_know_its_number_does_not_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("config.yml");
    std::fs::write(&path, "shard: {index: 3, count: 3}\ndatabases: {publish: off}\n").expect("written");
    let ended = run(&["--config.file", path.to_str().expect("UTF-8")]).await;
    assert_cannot_start(&ended, &["shard.index", "less than shard.count (3)"]);
    std::fs::write(&path, "shard: {count: 3}\ndatabases: {publish: off}\n").expect("written");
    let variables = [("DUALTOR_SHARD_INDEX", "one")];
    let program = Program::start_with(&["--config.file", path.to_str().expect("UTF-8")], &variables);
    assert_cannot_start(
        &program.ended().await,
        &["shard.index", "DUALTOR_SHARD_INDEX", "\"one\""],
    );
}
