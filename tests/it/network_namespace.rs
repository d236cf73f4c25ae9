//! The source address in a separate network namespace, where the test may add the address that the host does not have yet.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use crate::child::binary;
use crate::harness::wait_until;
use crate::redis_server::Redis;

/// Whether this machine permits a network namespace for the test.
fn permitted() -> bool {
    let tried = Command::new("unshare")
        .args(["--map-root-user", "--net", "ip", "link", "set", "lo", "up"])
        .output();
    tried.is_ok_and(|tried| tried.status.success())
}

/// The process in there; it is killed with everything that it has started.
struct Inside(Child);

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A SoC and an exporter; Loopback3's address comes once the file `go` is there.
const SCRIPT: &str = r#"
set -e
ip link set lo up
(while [ ! -e "$DIR/go" ]; do sleep 0.05; done; ip addr add 10.212.64.1/32 dev lo) &
"$SIMULATOR" "$DIR/scenario.yml" &
exec "$PROGRAM" --config.file "$DIR/config.yml" --web.listen-address 127.0.0.1:0 2> "$DIR/log"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_source_address_that_comes_later_is_waited_for() {
    if !permitted() {
        // Not through the test harness, which hides the output of a test that passes.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: this machine permits no network namespace (unshare --map-root-user --net, and ip)"
        );
        return;
    }
    let redis = Redis::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("written");
    write("scenario.yml", "rack: {count: 1, first_address: 127.0.0.1}\n");
    let channel = "source_address: loopback3, backoff: {initial: 100ms, max: 500ms}";
    write(
        "config.yml",
        &format!(
            "channel: {{{channel}}}\ndatabases: {{url: \"{}\"}}\n",
            redis.server()
        ),
    );
    for command in [
        "HSET DEVICE_METADATA|localhost type ToRRouter subtype DualToR",
        "HSET LOOPBACK_INTERFACE|Loopback3|10.212.64.1/32 NULL NULL",
        "HSET MUX_CABLE|Ethernet0 cable_type active-active soc_ipv4 127.0.0.1/32",
        "SET CONFIG_DB_INITIALIZED 1",
    ] {
        let _: redis::Value = redis.ask_db(4, command);
    }
    let _inside = Inside(
        Command::new("unshare")
            .args(["--map-root-user", "--net", "--pid", "--fork", "--kill-child"])
            .args(["sh", "-c", SCRIPT])
            .env("DIR", dir.path())
            .env("PROGRAM", binary("dualtor-exporter"))
            .env("SIMULATOR", binary("dualtor-sim"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("unshare"),
    );
    let log = || std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
    let state = async |expected: &str| {
        wait_until(expected, async || {
            let row = redis.row("MUX_CABLE_INFO|Ethernet0");
            match row.get("grpc_connection_status") {
                Some(state) if state == expected => Ok(()),
                seen => Err(format!("{seen:?}; {}", log())),
            }
        })
        .await;
    };
    state("TRANSIENT_FAILURE").await;
    assert!(log().contains("cause=source_address"), "{}", log());
    write("go", "");
    state("READY").await;
}
