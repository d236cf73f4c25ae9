//! The log: a line per transition, never a password.
//!
//! The tests use the real program, not a subscriber in this process. tracing caches for each line whether a subscriber wants it,
//! and asks only the first thread that reaches the line. A test on a thread without a log would turn the line off for all others.

use std::time::Duration;

use crate::child::Program;
use crate::redis_server::{Redis, eventually};
use crate::rig::{LONG, key};

/// An exporter with this database. Nothing answers at its SoCs' addresses, so the rows do not change after the first write.
fn exporter(dir: &tempfile::TempDir, url: &str) -> Program {
    let yaml = format!(
        "probe: {{interval: 1h}}\nside: upper\ndatabases: {{url: \"{url}\"}}\ntargets:\n\
         - {{port: Ethernet0, address: \"127.0.0.1:1\"}}\n\
         - {{port: Ethernet4, address: \"127.0.0.1:1\"}}\n\
         - {{port: Ethernet8, address: \"127.0.0.1:1\"}}\n"
    );
    let path = dir.path().join("config.yml");
    std::fs::write(&path, yaml).expect("written");
    let path = path.to_str().expect("UTF-8");
    Program::start(&["--config.file", path, "--web.listen-address", "127.0.0.1:0"])
}

#[tokio::test]
async fn the_log_has_one_line_per_transition_and_one_about_a_second_writer() {
    let mut redis = Redis::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let mut exporter = exporter(&dir, &redis.server().to_string());
    exporter.says("state_db is up", 1).await;
    for name in ["Ethernet0", "Ethernet4", "Ethernet8"] {
        let field = |field: &str| redis.row(&key(name)).get(field).cloned();
        eventually("a row", LONG, || {
            field("grpc_connection_status").as_deref() == Some("TRANSIENT_FAILURE")
        })
        .await;
        let _: u64 = redis.ask(&format!("HSET {} time_post theirs", key(name)));
        eventually("it is repaired", LONG, || {
            field("time_post").as_deref() != Some("theirs")
        })
        .await;
    }
    exporter.says("another process writes our rows", 1).await;
    redis.kill();
    exporter.says("state_db is down", 1).await;
    // Longer than three attempts.
    tokio::time::sleep(Duration::from_millis(1600)).await;
    redis.launch(&[]).await;
    exporter.says("state_db is up", 2).await;
    exporter.signal("TERM");
    let text = exporter.ended().await.stderr;
    let publishers = |line: &&str| line.contains("target=dualtor::state_db ");
    let lines: Vec<&str> = text.lines().filter(publishers).collect();
    let count = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    assert_eq!(count("state_db is up"), 2, "{text}");
    assert_eq!(count("state_db is down"), 1, "{text}");
    assert_eq!(count("another process writes our rows"), 1, "{text}");
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].contains("redis+unix:///"), "{text}");
}

#[tokio::test]
async fn no_password_reaches_the_log_even_if_the_server_repeats_it() {
    let redis = Redis::start_tcp(&["--rename-command", "AUTH", "NOAUTHHERE"]).await;
    let dir = tempfile::tempdir().expect("a directory");
    let url = redis.server().to_string();
    let mut exporter = exporter(&dir, &url.replace("redis://", "redis://exporter:hunter2@"));
    let line = exporter.says("state_db is down", 1).await;
    assert!(line.contains("databases.url"), "{line}");
    exporter.signal("TERM");
    let text = exporter.ended().await.stderr;
    assert!(!text.contains("hunter2"), "{text}");
}
