//! Simulator, redis-server and exporter, and what rows and metrics show now.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dualtor_sim::{Scenario, Simulator};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::child::Program;
use crate::http::{self, Scrape};
use crate::kind::INTERVAL;
use crate::redis_server::Redis;
use crate::truth::{self, Shown};

/// Time between two scrapes.
const SCRAPE_EVERY: Duration = Duration::from_millis(500);

/// The metrics of one scrape.
#[derive(Clone)]
pub(crate) struct Seen {
    /// When the scrape was requested. Later changes need not be in it.
    pub(crate) asked: Instant,
    /// When its answer was complete.
    pub(crate) at: Instant,
    /// Per port.
    pub(crate) ports: Arc<BTreeMap<String, Shown>>,
}

pub(crate) struct World {
    pub(crate) sim: Simulator,
    pub(crate) redis: Redis,
    pub(crate) exporter: Program,
    pub(crate) web: SocketAddr,
    pub(crate) metrics: Arc<Mutex<Option<Seen>>>,
    scraper: JoinHandle<()>,
    _dir: TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        self.scraper.abort();
    }
}

impl World {
    /// Starts everything; there is no event yet.
    pub(crate) async fn start(socs: usize) -> Self {
        let sim = Simulator::start(Scenario::uniform(socs))
            .await
            .expect("a simulator");
        let redis = Redis::start().await;
        let dir = tempfile::tempdir().expect("a directory");
        let mut yaml = format!(
            "probe: {{interval: {}s}}\nside: upper\ndatabases: {{url: \"{}\"}}\ntargets:\n",
            INTERVAL.as_secs(),
            redis.server()
        );
        for soc in sim.socs() {
            yaml += &format!("- {{port: {}, address: \"{}\"}}\n", soc.name(), soc.address());
        }
        let path = dir.path().join("config.yml");
        std::fs::write(&path, yaml).expect("written");
        let path = path.to_str().expect("UTF-8");
        let args = [
            "--config.file",
            path,
            "--web.listen-address",
            "127.0.0.1:0",
            "--log.level",
            "info",
        ];
        let mut exporter = Program::start(&args);
        let web = exporter.address().await;
        let metrics = Arc::new(Mutex::new(None));
        let scraper = tokio::spawn(scrape(web, metrics.clone()));
        Self {
            sim,
            redis,
            exporter,
            web,
            metrics,
            scraper,
            _dir: dir,
        }
    }

    /// The last scrape.
    pub(crate) fn metrics(&self) -> Option<Seen> {
        self.metrics.lock().expect("no panic").clone()
    }

    /// The rows of these ports now.
    pub(crate) fn rows(&self, ports: &[String]) -> Vec<HashMap<String, String>> {
        let keys: Vec<String> = ports
            .iter()
            .map(|port| format!("MUX_CABLE_INFO|{port}"))
            .collect();
        self.redis.rows(&keys)
    }
}

async fn scrape(web: SocketAddr, metrics: Arc<Mutex<Option<Seen>>>) {
    loop {
        let asked = Instant::now();
        let answer = http::get(web, "/metrics").await;
        let at = Instant::now();
        let ports = tokio::task::spawn_blocking(move || truth::of_scrape(&Scrape::parse(answer.text())));
        let ports = Arc::new(ports.await.expect("no panic"));
        *metrics.lock().expect("no panic") = Some(Seen { asked, at, ports });
        tokio::time::sleep(SCRAPE_EVERY.saturating_sub(asked.elapsed())).await;
    }
}
