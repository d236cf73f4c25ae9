//! `--config.database`: the real binary takes settings from CONFIG_DB's row `DUALTOR_EXPORTER|config`.

use tempfile::TempDir;

use crate::child::{Program, assert_cannot_start, run};
use crate::harness::wait_until;
use crate::http::get;
use crate::redis_server::Redis;

const CONFIG_DB: i64 = 4;

/// A configuration file without the keys that the row has.
fn configured(redis: &Redis, more: &str) -> (TempDir, String) {
    let dir = TempDir::new().expect("a directory");
    let config = dir.path().join("config.yml");
    let socket = redis.socket();
    let text = format!(
        "targets: [{{port: Ethernet0, address: '127.0.0.1:1'}}]\ndatabases: {{url: 'redis+unix://{}'{more}}}\n",
        socket.display()
    );
    std::fs::write(&config, text).expect("written");
    let config = config.to_str().expect("UTF-8").to_owned();
    (dir, config)
}

/// CONFIG_DB with this row; complete.
fn filled(redis: &Redis, fields: &str) {
    redis.ask_db::<()>(CONFIG_DB, "SET CONFIG_DB_INITIALIZED 1");
    redis.ask_db::<i64>(CONFIG_DB, &format!("HSET DUALTOR_EXPORTER|config {fields}"));
}

async fn row_is_written(redis: &Redis, key: &str) {
    wait_until(key, async || match redis.row(key).get("grpc_connection_status") {
        Some(_) => Ok(()),
        None => Err("no row".to_owned()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_with_the_rows_settings_when_config_db_is_complete() {
    let redis = Redis::start().await;
    let (_dir, config) = configured(&redis, "");
    let args = ["--config.database", "--config.file", config.as_str()];
    let mut program = Program::start(&args);
    let line = program.says("waiting for the settings in CONFIG_DB", 1).await;
    assert!(line.contains("CONFIG_DB_INITIALIZED is not 1"), "{line}");
    filled(
        &redis,
        "listen_address 127.0.0.1:0 publish shadow side lower interval 7",
    );
    let address = program.address().await;
    assert!(address.ip().is_loopback());
    row_is_written(&redis, "MUX_CABLE_INFO_SHADOW|Ethernet0").await;
    assert!(redis.row("MUX_CABLE_INFO|Ethernet0").is_empty());
    let metrics = String::from_utf8(get(address, "/metrics").await.body.to_vec()).expect("UTF-8");
    assert!(metrics.contains("side=\"lower\""), "{metrics}");
    program.signal("TERM");
    assert_eq!(program.ended().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_and_file_count_before_the_row() {
    let redis = Redis::start().await;
    filled(&redis, "listen_address 192.0.2.1:9 publish shadow");
    let (_dir, config) = configured(&redis, ", publish: own");
    let listen = ["--web.listen-address", "127.0.0.1:0"];
    let mut program = Program::start(&[
        "--config.database",
        "--config.file",
        &config,
        listen[0],
        listen[1],
    ]);
    assert!(program.address().await.ip().is_loopback());
    row_is_written(&redis, "MUX_CABLE_INFO|Ethernet0").await;
    assert!(redis.row("MUX_CABLE_INFO_SHADOW|Ethernet0").is_empty());
    program.signal("TERM");
    assert_eq!(program.ended().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_used_is_a_sentence_and_no_start() {
    let redis = Redis::start().await;
    filled(&redis, "publish on");
    let (_dir, config) = configured(&redis, "");
    let ended = run(&["--config.database", "--config.file", &config]).await;
    assert_cannot_start(
        &ended,
        &[
            "DUALTOR_EXPORTER|config in CONFIG_DB",
            "publish: expected own, shadow or off",
        ],
    );
    let ended = run(&["doctor", "--config.database", "--config.file", &config]).await;
    assert_cannot_start(&ended, &["publish: expected own, shadow or off"]);
    redis.ask_db::<i64>(CONFIG_DB, "DEL DUALTOR_EXPORTER|config");
    filled(&redis, "listen_address 192.0.2.1:9");
    let ended = run(&["--config.database", "--config.file", &config]).await;
    assert_cannot_start(&ended, &["listen_address in CONFIG_DB", "192.0.2.1:9"]);
}
