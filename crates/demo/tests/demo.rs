//! The demo, as a person starts it.

use std::net::SocketAddr;
use std::path::Path;

use tempfile::TempDir;
use tokio::sync::Mutex;

use dualtor_testkit::child::{Program, assert_cannot_start};
use dualtor_testkit::http;
use dualtor_testkit::wait::wait_until;

/// The SoCs of a demo have fixed addresses, so only one demo runs at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Whether a process with this id exists.
fn runs(process: &str) -> bool {
    Path::new("/proc").join(process).exists()
}

/// A running demo. If another demo uses the addresses, it waits for that one to end.
async fn demo(temp: &str) -> Program {
    demo_with(&[("TMPDIR", temp)]).await
}

/// The same with these variables.
async fn demo_with(variables: &[(&str, &str)]) -> Program {
    let args = ["--web.listen-address", "127.0.0.1:0"];
    wait_until("a demo", async || {
        let mut demo = Program::start_our("dualtor-demo", &args, variables);
        demo.says_or_ends("24 simulated SoCs").await.map(|()| demo)
    })
    .await
}

/// The process of the redis-server that listens there.
fn redis_of(socket: &str) -> String {
    let client = redis::Client::open(format!("redis+unix://{socket}")).expect("an address");
    let mut connection = client.get_connection().expect("a connection");
    let info: String = redis::cmd("INFO")
        .arg("server")
        .query(&mut connection)
        .expect("an answer");
    let process = info.lines().find_map(|line| line.strip_prefix("process_id:"));
    process.expect("its process").to_owned()
}

/// The processes with this directory's name in their arguments.
fn processes_in(temp: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let mut found = Vec::new();
    for entry in entries {
        // A process that has ended in between has no command line.
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(temp) {
            found.push(line);
        }
    }
    found
}

/// The address in `http://127.0.0.1:9090/alerts`.
fn address_in(line: &str) -> SocketAddr {
    let rest = line.split("http://").nth(1).expect("a URL");
    let address = rest.split('/').next().expect("an address");
    address.parse().expect("an address")
}

/// Prometheus has the rules, scrapes the exporter and knows an Alertmanager.
async fn prometheus_works(prometheus: SocketAddr) {
    for (path, words) in [
        ("rules", "DualTorServerDark"),
        ("query?query=dualtor_inventory_ports", "tor-upper"),
        ("alertmanagers", "/api/v2/alerts"),
    ] {
        wait_until(path, async || {
            let answer = http::get(prometheus, &format!("/api/v1/{path}")).await;
            match answer.text().contains(words) {
                true => Ok(()),
                false => Err(answer.text().to_owned()),
            }
        })
        .await;
    }
}

/// Where a demo's redis-server listens, as it prints it.
async fn socket_of(demo: &mut Program) -> String {
    let line = demo.says("redis-cli -s ", 1).await;
    let socket = line
        .split("redis-cli -s ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    socket.expect("a socket").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_shows_a_rack_and_leaves_nothing_behind() {
    let _alone = ALONE.lock().await;
    let dir = TempDir::new().expect("a directory");
    let temp = dir.path().to_str().expect("UTF-8");
    let mut demo = demo(temp).await;
    let address = address_in(&demo.says("curl -s http://", 1).await);
    let socket = socket_of(&mut demo).await;
    assert!(socket.starts_with(temp), "{socket}");
    wait_until("24 READY SoCs", async || {
        let scrape = http::Scrape::parse(http::get(address, "/metrics").await.text());
        match scrape.count("dualtor_channel_state", &[("state", "ready")]) {
            24 => Ok(()),
            ready => Err(format!("{ready} READY")),
        }
    })
    .await;
    // On a busy machine not all are READY in the first seconds. This test only checks that the line is printed.
    demo.says(" of 24 channels READY", 1).await;
    // Found in CONFIG_DB, with what linkmgrd requests.
    let scrape = http::Scrape::parse(http::get(address, "/metrics").await.text());
    assert_eq!(scrape.state("dualtor_side", &[], "side"), "upper");
    let port = [("port", "Ethernet92")];
    assert_eq!(scrape.state("dualtor_linkmgr_health", &port, "state"), "healthy");
    assert_eq!(scrape.value("dualtor_mux_consistent", &port), Some(1.0));
    assert_eq!(scrape.value("dualtor_port_oper_up", &port), Some(1.0));
    // A second demo finds its addresses in use.
    let args = ["--web.listen-address", "127.0.0.1:0"];
    let other = Program::start_our("dualtor-demo", &args, &[("TMPDIR", temp)])
        .ended()
        .await;
    assert_cannot_start(&other, &["127.9.0.1:50075 is in use", "end the demo"]);
    // With the rules, although it runs in another directory than the sources.
    let prometheus = address_in(&demo.says("  alerts  ", 1).await);
    let alertmanager = address_in(&demo.says("  pages  ", 1).await);
    prometheus_works(prometheus).await;
    assert_eq!(http::get(alertmanager, "/-/ready").await.status, 200);
    // Redis, Prometheus, Alertmanager: their arguments name the directory.
    assert_eq!(processes_in(temp).len(), 3, "{:?}", processes_in(temp));
    // The first switchover of its scenario.
    demo.says("Ethernet0    self mux direction active -> standby", 1)
        .await;
    // A port that goes and one that comes.
    demo.says("Ethernet44   removed from CONFIG_DB", 1).await;
    demo.says("Ethernet96   added to CONFIG_DB", 1).await;
    demo.says("Ethernet96   channel CONNECTING -> READY", 1).await;
    let process = redis_of(&socket);
    assert!(runs(&process));
    demo.signal("INT");
    let ended = demo.ended().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!runs(&process), "redis-server still runs");
    assert!(processes_in(temp).is_empty(), "{:?}", processes_in(temp));
    let left: Vec<_> = std::fs::read_dir(temp).expect("a directory").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_that_is_killed_takes_its_programs_along() {
    let _alone = ALONE.lock().await;
    let dir = TempDir::new().expect("a directory");
    let temp = dir.path().to_str().expect("UTF-8");
    let mut demo = demo(temp).await;
    demo.says("  alerts  ", 1).await;
    let process = redis_of(&socket_of(&mut demo).await);
    assert!(runs(&process));
    demo.signal("KILL");
    wait_until("all have ended", async || match processes_in(temp) {
        processes if processes.is_empty() => Ok(()),
        processes => Err(format!("{processes:?}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_runs_without_what_is_not_installed_and_says_so() {
    let _alone = ALONE.lock().await;
    let dir = TempDir::new().expect("a directory");
    let temp = dir.path().to_str().expect("UTF-8");
    let mut demo = demo_with(&[("TMPDIR", temp), ("PATH", temp)]).await;
    demo.says("redis-server is not installed", 1).await;
    demo.says("prometheus is not installed", 1).await;
    // All of them, or as many as were READY in the first seconds.
    demo.says(" of 24 channels READY", 1).await;
    demo.signal("INT");
    let ended = demo.ended().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[tokio::test]
async fn help_says_what_there_is() {
    let ended = Program::start_our("dualtor-demo", &["--help"], &[]).ended().await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    insta::assert_snapshot!("help", ended.stdout);
}
