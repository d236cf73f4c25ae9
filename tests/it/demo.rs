//! The demo, as a person starts it.

use std::path::Path;

use tempfile::TempDir;

use crate::cli::assert_cannot_start;
use crate::harness::wait_until;
use crate::http;
use crate::program::Program;

/// Whether a process with this id is there.
fn runs(process: &str) -> bool {
    Path::new("/proc").join(process).exists()
}

/// A running demo. Its SoCs have fixed addresses: where another demo has them, it has to be waited for.
async fn demo(temp: &str) -> Program {
    let args = ["demo", "--web.listen-address", "127.0.0.1:0"];
    wait_until("a demo", async || {
        let mut demo = Program::start_with(&args, &[("TMPDIR", temp)]);
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
    let dir = TempDir::new().expect("a directory");
    let temp = dir.path().to_str().expect("UTF-8");
    let mut demo = demo(temp).await;
    let line = demo.says("curl -s http://", 1).await;
    let url = line.split("http://").nth(1).expect("a URL");
    let address = url
        .split('/')
        .next()
        .expect("an address")
        .parse()
        .expect("an address");
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
    demo.says("24 of 24 channels READY", 1).await;
    // Found in CONFIG_DB, and what linkmgrd wants with them.
    let scrape = http::Scrape::parse(http::get(address, "/metrics").await.text());
    assert_eq!(scrape.state("dualtor_side", &[], "side"), "upper");
    let port = [("port", "Ethernet92")];
    assert_eq!(scrape.state("dualtor_linkmgr_health", &port, "state"), "healthy");
    assert_eq!(scrape.value("dualtor_mux_consistent", &port), Some(1.0));
    assert_eq!(scrape.value("dualtor_port_oper_up", &port), Some(1.0));
    // Another finds its addresses taken.
    let args = ["demo", "--web.listen-address", "127.0.0.1:0"];
    let other = Program::start_with(&args, &[("TMPDIR", temp)]).ended().await;
    assert_cannot_start(&other, &["127.9.0.1:50075 is in use", "end the demo"]);
    // The first switchover of its scenario.
    demo.says("Ethernet0    self mux direction active -> standby", 1)
        .await;
    // A port that goes, and one that comes.
    demo.says("Ethernet44   removed from CONFIG_DB", 1).await;
    demo.says("Ethernet96   added to CONFIG_DB", 1).await;
    demo.says("Ethernet96   channel CONNECTING -> READY", 1).await;
    let process = redis_of(&socket);
    assert!(runs(&process));
    demo.signal("INT");
    let ended = demo.ended().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!runs(&process), "redis-server runs on");
    let left: Vec<_> = std::fs::read_dir(temp).expect("a directory").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_that_is_killed_takes_its_redis_along() {
    let dir = TempDir::new().expect("a directory");
    let mut demo = demo(dir.path().to_str().expect("UTF-8")).await;
    let process = redis_of(&socket_of(&mut demo).await);
    assert!(runs(&process));
    demo.signal("KILL");
    wait_until("redis-server has ended", async || {
        if runs(&process) {
            Err(format!("process {process}"))
        } else {
            Ok(())
        }
    })
    .await;
}
