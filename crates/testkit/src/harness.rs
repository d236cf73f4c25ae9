//! A simulated rack, a private redis-server and an exporter in this process, all on their own ports and sockets.
//!
//! Every wait is for a condition and has a deadline. When it times out, it reports what it saw last.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use dualtor_exporter::app::{AppError, Exporter, Listeners, Options};
use dualtor_exporter::config::Config;
use dualtor_exporter::web::{Limits, WebFile, WebPaths};
use dualtor_sim::{ConnectionFault, Scenario, Simulator, Soc, SocSpec, Tls};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::certificates::Files;
use crate::http::{self, Scrape};
use crate::redis_server::Redis;
use crate::soc_view::{self, Look, Row};
pub use crate::wait::{LONG, wait_until};

/// The only rounds are those that a channel's READY starts.
pub const ONLY_AT_READY: &str = "interval: 300d, timeout: 5s";

/// The content of the configuration file.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The keys of `probe`.
    pub probe: String,
    /// The keys of `channel`.
    pub channel: String,
    pub side: String,
    /// The keys of `databases` after the URL.
    pub databases: String,
    pub targets: Vec<(String, SocketAddr)>,
    /// No targets in the file: those of CONFIG_DB are used.
    pub from_config_db: bool,
    /// The key `modules`, in one line; `<Ethernet0>` stands for that SoC's address.
    pub modules: String,
    /// The keys of `otel`.
    pub otel: String,
    /// Variables of OpenTelemetry. Those of the test's own process are not read.
    pub variables: Vec<(String, String)>,
}

impl Settings {
    /// As fast as a busy machine allows.
    fn quick() -> Self {
        Self {
            probe: "interval: 600ms".to_owned(),
            channel: "keepalive_time: 200ms, keepalive_timeout: 2s, backoff: {initial: 100ms, max: 500ms}"
                .to_owned(),
            side: "upper".to_owned(),
            databases: "publish: own".to_owned(),
            targets: Vec::new(),
            from_config_db: false,
            modules: String::new(),
            otel: String::new(),
            variables: Vec::new(),
        }
    }

    pub fn yaml(&self, redis: &Redis) -> String {
        let mut yaml = format!(
            "probe: {{{}}}\nchannel: {{{}}}\nside: {}\ndatabases: {{url: \"{}\", {}}}\n",
            self.probe,
            self.channel,
            self.side,
            redis.server(),
            self.databases
        );
        if !self.modules.is_empty() {
            let mut modules = self.modules.clone();
            for (port, address) in &self.targets {
                modules = modules.replace(&format!("<{port}>"), &address.to_string());
            }
            let _ = writeln!(yaml, "modules: {{{modules}}}");
        }
        if !self.otel.is_empty() {
            let _ = writeln!(yaml, "otel: {{{}}}", self.otel);
        }
        if self.from_config_db {
            return yaml;
        }
        yaml.push_str("targets:\n");
        for (port, address) in &self.targets {
            let _ = writeln!(yaml, "  - {{port: {port}, address: \"{address}\"}}");
        }
        yaml
    }
}

/// How a rack is started.
pub struct Setup {
    pub scenario: Scenario,
    /// Its targets are probed in addition to the SoCs of the scenario.
    pub settings: Settings,
    pub redis: Option<Redis>,
    pub lifecycle: bool,
    /// Where the exporter's routes are.
    pub paths: WebPaths,
    /// The limits for web clients.
    pub limits: Limits,
    /// Whether the exporter has its own gRPC services.
    pub grpc: bool,
    /// The text of web.config.file, if there is one.
    pub web_config: Option<String>,
    /// They exist as long as the rack.
    files: Option<Files>,
}

impl Setup {
    /// `count` healthy SoCs: Ethernet0, Ethernet4 and so on.
    pub fn rack(count: usize) -> Self {
        Self {
            scenario: Scenario::uniform(count),
            settings: Settings::quick(),
            redis: None,
            lifecycle: true,
            paths: WebPaths::default(),
            limits: Limits::default(),
            grpc: false,
            web_config: None,
            files: None,
        }
    }

    /// Changes how a SoC starts.
    pub fn soc(mut self, port: &str, change: impl FnOnce(&mut SocSpec)) -> Self {
        let mut spec = SocSpec {
            port: port.to_owned(),
            ..SocSpec::default()
        };
        change(&mut spec);
        self.scenario.socs.push(spec);
        self
    }

    /// The keys of `probe`.
    pub fn probe(mut self, keys: &str) -> Self {
        self.settings.probe = keys.to_owned();
        self
    }

    /// The keys of `channel`.
    pub fn channel(mut self, keys: &str) -> Self {
        self.settings.channel = keys.to_owned();
        self
    }

    /// TLS on all connections: how the SoCs serve it, and one more key of `channel`.
    pub fn tls(mut self, files: Files, soc: Tls, channel: &str) -> Self {
        self.scenario.defaults.tls = Some(soc);
        let others = &self.settings.channel;
        self.settings.channel = format!("{others}, {channel}");
        self.files = Some(files);
        self
    }

    /// The key `modules`, in one line; `<Ethernet0>` stands for that SoC's address.
    pub fn modules(mut self, modules: &str) -> Self {
        self.settings.modules = modules.to_owned();
        self
    }

    /// Which ToR the exporter runs on.
    pub fn side(mut self, side: &str) -> Self {
        self.settings.side = side.to_owned();
        self
    }

    /// The keys of `databases` after the URL.
    pub fn databases(mut self, keys: &str) -> Self {
        self.settings.databases = keys.to_owned();
        self
    }

    /// The keys of `otel`.
    pub fn otel(mut self, keys: &str) -> Self {
        self.settings.otel = keys.to_owned();
        self
    }

    /// A variable of OpenTelemetry.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        let variable = (name.to_owned(), value.to_owned());
        self.settings.variables.retain(|(other, _)| other != name);
        self.settings.variables.push(variable);
        self
    }

    /// Starts everything except the exporter.
    pub async fn stage(self) -> Rack {
        let refusing: Vec<String> = self
            .scenario
            .socs
            .iter()
            .filter(|soc| soc.fault == ConnectionFault::Refuse)
            .map(|soc| soc.port.clone())
            .collect();
        let sim = Simulator::start(self.scenario).await.expect("a simulator");
        let mut settings = self.settings;
        for soc in sim.socs() {
            settings.targets.push((soc.name().to_owned(), soc.address()));
        }
        let redis = match self.redis {
            Some(redis) => redis,
            None => Redis::start().await,
        };
        let rack = Rack {
            sim,
            redis,
            settings,
            dir: tempfile::tempdir().expect("a directory"),
            lifecycle: self.lifecycle,
            paths: self.paths,
            limits: self.limits,
            web_config: self.web_config,
            files: self.files,
            web: ([127, 0, 0, 1], 0).into(),
            grpc: self.grpc.then(|| ([127, 0, 0, 1], 0).into()),
            running: None,
        };
        rack.write_config(&rack.settings.yaml(&rack.redis));
        for port in refusing {
            rack.refuses(&port).await;
        }
        rack
    }

    /// Starts everything.
    pub async fn start(self) -> Rack {
        let mut rack = self.stage().await;
        rack.start_exporter().await;
        rack
    }
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), AppError>>,
}

/// A running rack.
pub struct Rack {
    sim: Simulator,
    pub redis: Redis,
    /// The source of the configuration file.
    pub settings: Settings,
    dir: TempDir,
    lifecycle: bool,
    paths: WebPaths,
    limits: Limits,
    web_config: Option<String>,
    files: Option<Files>,
    /// Where the exporter serves.
    pub web: SocketAddr,
    /// Where its gRPC services are, if it has them.
    grpc: Option<SocketAddr>,
    running: Option<Running>,
}

impl Rack {
    /// Starts the exporter with the configuration file.
    pub async fn start_exporter(&mut self) {
        assert!(self.running.is_none(), "an exporter is already running");
        let path = self.config_path();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        self.web = listener.local_addr().expect("an address");
        let mut grpc_listeners = Vec::new();
        if self.grpc.is_some() {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            self.grpc = listener.local_addr().ok();
            grpc_listeners.push(listener);
        }
        let web_config = self.web_config.as_ref().map(|text| {
            let path = self.dir.path().join("web.yml");
            std::fs::write(&path, text).expect("written");
            path
        });
        let config = Config::load(&path).expect("a good configuration");
        let variables = self.settings.variables.clone();
        let variable = |name: &str| {
            let found = variables.iter().find(|(other, _)| other == name);
            found.map(|(_, value)| value.into())
        };
        let otel = config.otel.with_environment(&path, &variable);
        let exporter = Exporter::start(Options {
            config,
            load: std::sync::Arc::new(move || Config::load(&path)),
            follow: None,
            listeners: Listeners {
                web: vec![listener],
                grpc: grpc_listeners,
            },
            paths: self.paths.clone(),
            allowed_hosts: Default::default(),
            enable_lifecycle: self.lifecycle,
            service_manager: Default::default(),
            watchdog: Default::default(),
            web_config: web_config.map(|path| WebFile::load(&path).expect("a good web.config.file")),
            limits: self.limits,
            otel: otel.expect("a good configuration").0,
            lines_dropped: std::sync::Arc::default(),
        });
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(exporter.run(async move {
            let _ = stopped.await;
        }));
        self.running = Some(Running { stop, task });
    }

    /// Stops it in the regular way.
    pub async fn stop_exporter(&mut self) {
        let running = self.running.take().expect("a running exporter");
        // If the exporter has failed, the receiver is gone. The task then reports why.
        let _ = running.stop.send(());
        let ended = tokio::time::timeout(LONG, running.task).await;
        ended.expect("an end").expect("no panic").expect("a clean stop");
    }

    /// Where the exporter's gRPC services are.
    pub fn grpc(&self) -> SocketAddr {
        self.grpc.expect("a rack with gRPC services")
    }

    /// The PEM files of a rack with TLS.
    pub fn files(&self) -> &Files {
        self.files.as_ref().expect("a rack with TLS")
    }

    pub fn config_path(&self) -> PathBuf {
        self.dir.path().join("config.yml")
    }

    pub fn write_config(&self, yaml: &str) {
        std::fs::write(self.config_path(), yaml).expect("written");
    }

    /// Writes `settings` and requests a reload, which must succeed.
    pub async fn reload(&self) {
        self.write_config(&self.settings.yaml(&self.redis));
        let answer = http::ask(self.web, "POST", "/-/reload", &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    pub fn soc(&self, port: &str) -> Soc {
        self.sim.soc(port).unwrap_or_else(|| panic!("no {port}"))
    }

    pub fn socs(&self) -> &[Soc] {
        self.sim.socs()
    }

    /// Waits until nothing listens at this SoC's address.
    pub async fn refuses(&self, port: &str) {
        let address = self.soc(port).address();
        wait_until("nothing listens", async || {
            match TcpStream::connect(address).await {
                Ok(_) => Err("a connection".to_owned()),
                Err(_) => Ok(()),
            }
        })
        .await;
    }

    pub async fn scrape(&self) -> Scrape {
        let answer = http::get(
            self.web,
            &format!("{}{}", self.paths.prefix, self.paths.telemetry),
        )
        .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        Scrape::parse(answer.text())
    }

    /// The port's row; in shadow mode the shadow's. Empty if there is none.
    pub fn row(&self, port: &str) -> Row {
        let table = match self.settings.databases.contains("publish: shadow") {
            true => "MUX_CABLE_INFO_SHADOW",
            false => "MUX_CABLE_INFO",
        };
        self.redis.row(&format!("{table}|{port}"))
    }

    /// Waits until metrics and row both show this. Returns the scrape.
    pub async fn shows(&self, port: &str, expected: &Look) -> Scrape {
        wait_until(&format!("{port} looks like {expected:?}"), async || {
            let scrape = self.scrape().await;
            let seen = soc_view::of_scrape(&scrape, port);
            let row = soc_view::of_row(&self.row(port));
            if seen == expected.metrics() && row == expected.row() {
                Ok(scrape)
            } else {
                Err(format!("metrics: {seen}; row: {row}"))
            }
        })
        .await
    }

    /// Waits until a scrape satisfies `condition`. If it never does, the metric `name` is printed.
    pub async fn scraped(&self, name: &str, mut condition: impl FnMut(&Scrape) -> bool) -> Scrape {
        wait_until(name, async || {
            let scrape = self.scrape().await;
            if condition(&scrape) {
                Ok(scrape)
            } else {
                let seen: Vec<_> = scrape.find(name, &[]).filter(|s| s.value != 0.0).collect();
                Err(format!("{seen:?}"))
            }
        })
        .await
    }

    /// Waits until a counter (the sum of its samples with these labels) is at least `count`.
    pub async fn counts(&self, name: &str, labels: &[(&str, &str)], count: u64) -> Scrape {
        self.scraped(name, |scrape| scrape.count(name, labels) >= count)
            .await
    }

    /// Waits until `soc_service` has this value of the metric, in metrics and row.
    pub async fn service(&self, port: &str, state: &str) -> Scrape {
        let word = if state == "unknown" { "NA" } else { state };
        wait_until(&format!("soc_service {state}"), async || {
            let scrape = self.scrape().await;
            let seen = scrape.state("dualtor_soc_service", &[("port", port)], "state");
            let row = self.row(port).remove("soc_service").unwrap_or_default();
            if seen == state && row == word {
                Ok(scrape)
            } else {
                Err(format!("metric {seen}, row {row}"))
            }
        })
        .await
    }
}

impl Drop for Rack {
    /// Whatever the test was about: nothing has changed traffic.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for soc in self.sim.socs() {
            assert_eq!(soc.counters().set_calls, 0, "{}: Set was called", soc.name());
        }
    }
}
