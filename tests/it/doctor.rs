//! `doctor` of the real binary, with a real redis-server and simulated SoCs.

use std::time::{Duration, Instant};

use dualtor_sim::{ConnectionFault, FloodFrame, Health, ReplyFault};
use serde_json::Value;

use crate::child::{Ended, run};
use crate::config_db::{TELLS, switch};
use crate::harness::{Rack, Setup};
use crate::redis_server::Redis;

const CLEAN: i32 = 0;
const PROBLEMS: i32 = 1;
/// Longer than `doctor` may take when something hangs, on a busy machine.
const SECONDS: Duration = Duration::from_secs(20);

/// A switch without a fault: two SoCs, ycabled's telemetry off.
async fn clean() -> Rack {
    let rack = switch(2, &TELLS).await;
    rack.boots();
    rack.cable("Ethernet0");
    rack.cable("Ethernet4");
    rack.config_db("HSET XCVRD_LOG|Y_CABLE disable_telemetry True");
    rack
}

async fn doctor(rack: &Rack, args: &[&str]) -> Ended {
    let path = rack.config_path();
    let path = path.to_str().expect("UTF-8");
    // A busy machine's SoCs are slow.
    let fixed = ["doctor", "--config.file", path, "--timeout", "10s"];
    let ended = run(&[&fixed[..], args].concat()).await;
    assert_eq!(ended.stderr, "", "{ended:?}");
    ended
}

/// It exits with this code and prints all these texts.
async fn says(rack: &Rack, code: i32, words: &[&str]) {
    let ended = doctor(rack, &[]).await;
    for word in words {
        assert!(ended.stdout.contains(word), "{word:?}: {}", ended.stdout);
    }
    assert_eq!(ended.code, Some(code), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_without_a_fault_is_told_as_such() {
    let rack = clean().await;
    says(
        &rack,
        CLEAN,
        &[
            "answers: CONFIG_DB, APPL_DB, STATE_DB",
            "✓ keyspace notifications: on",
            "✓ side: upper, from Loopback3 (10.212.64.1)",
            "2 active-active ports to probe",
            "✓ ycabled: its telemetry is off",
            "✓ Ethernet0: 127.",
            "✓ Ethernet4: 127.",
            "self active, peer standby",
            "! listens on: :9075, the default: everyone who can connect",
            "0 problems",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subtype_with_a_blank_is_seen_in_the_log_and_by_the_doctor() {
    let rack = clean().await;
    let asked = redis::cmd("HSET")
        .arg("DEVICE_METADATA|localhost")
        .arg(&["subtype", "DualToR "])
        .clone();
    let mut connection = rack.redis.connect(4).expect("connected");
    let _: u64 = asked.query(&mut connection).expect("written");
    says(&rack, CLEAN, &["subtype \"DualToR \": not a dual-ToR switch"]).await;
    let path = rack.config_path();
    let path = path.to_str().expect("UTF-8");
    let mut program =
        crate::child::Program::start(&["--config.file", path, "--web.listen-address", "127.0.0.1:0"]);
    let line = program.says("not even a blank", 1).await;
    assert!(line.contains("DualToR ") && line.contains("level=warn"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_told_with_what_to_do() {
    let rack = clean().await;
    let write = |db: i64, command: &str| {
        let _: redis::Value = rack.redis.ask_db(db, command);
    };
    rack.config_db("HSET MUX_CABLE|Ethernet8 cable_type active-active");
    rack.config_db("HSET MUX_CABLE|Ethernet12 cable_type active-active soc_ipv4 192.168.0.5/32\t");
    rack.config_db("HDEL XCVRD_LOG|Y_CABLE disable_telemetry");
    rack.config_db("CONFIG SET notify-keyspace-events KE");
    write(0, "HSET MUX_CABLE_TABLE:Ethernet0 state standby");
    rack.soc("Ethernet0")
        .set(|state| state.health = Health::NotServing);
    rack.soc("Ethernet4").connection_fault(ConnectionFault::Refuse);
    rack.refuses("Ethernet4").await;
    says(
        &rack,
        PROBLEMS,
        &[
            "! keyspace notifications: off",
            "CONFIG SET notify-keyspace-events AKE",
            "✗ Ethernet8: its row in MUX_CABLE cannot be used (no_address)",
            "HSET 'MUX_CABLE|Ethernet8' soc_ipv4",
            "✗ ycabled: nothing turns its telemetry off",
            "sudo config muxcable telemetry disable",
            "found \"192.168.0.5/32\\t\"",
            "✗ Ethernet0: linkmgrd wants this side standby, but the SoC reports active",
            "its health is not_serving",
            "never READY: refused",
            "start its gRPC server",
        ],
    )
    .await;

    // One more port is active-standby and needs ycabled's telemetry.
    rack.config_db("HSET MUX_CABLE|Ethernet8 cable_type active-standby");
    says(
        &rack,
        PROBLEMS,
        &[
            "! ycabled: nothing turns its telemetry off",
            "Leave the telemetry on",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_exporter_ends_over_a_limit_is_told_once_with_the_limit_and_what_to_do() {
    let rack = switch(5, &TELLS).await;
    rack.boots();
    let ports = ["Ethernet0", "Ethernet4", "Ethernet8", "Ethernet12", "Ethernet16"];
    for port in ports {
        rack.cable(port);
    }
    let soc = |n: usize| rack.soc(ports[n]);
    soc(0).connection_fault(ConnectionFault::Flood(FloodFrame::Unknown));
    soc(1).reply_fault(ReplyFault::LongMessage {
        bytes: 70_000,
        head: false,
        piece: 16_384,
    });
    soc(2).reply_fault(ReplyFault::Informational { count: Some(9) });
    soc(3).reply_fault(ReplyFault::Oversized { bytes: 100 * 1024 });
    soc(4).connection_fault(ConnectionFault::ResetAfterSettings);
    let ended = doctor(&rack, &[]).await;
    let lines: Vec<&str> = ended.stdout.lines().collect();
    let told = |port: &str, words: &str, remedy: &str| {
        let about = format!("✗ {port}: ");
        let at = lines.iter().position(|line| line.contains(&about));
        let at = at.unwrap_or_else(|| panic!("{port}: {}", ended.stdout));
        assert!(lines[at].contains(words), "{words:?}: {}", ended.stdout);
        assert!(lines[at + 1].contains(remedy), "{remedy:?}: {}", ended.stdout);
        let times = lines.iter().filter(|line| line.contains(&about)).count();
        assert_eq!(times, 1, "{}", ended.stdout);
    };
    let ours = "-> the exporter ended this";
    told(
        ports[0],
        "a flood (unknown type 0xbb), the limit is 1000 a second",
        ours,
    );
    told(ports[1], "bytes, the limit is 16384", ours);
    told(ports[2], "informational heads: more than 8", ours);
    told(ports[3], "bytes, the limit is 65536", ours);
    // The connection may be lost before or after READY is noticed.
    told(ports[4], "127.", "-> the ");
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_get_json() {
    let rack = clean().await;
    rack.soc("Ethernet4").connection_fault(ConnectionFault::Refuse);
    rack.refuses("Ethernet4").await;
    let ended = doctor(&rack, &["--output", "json"]).await;
    assert_eq!(ended.code, Some(PROBLEMS), "{ended:?}");
    let json: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!((&json["side"], &json["ports"]), (&"upper".into(), &2.into()));
    assert_eq!(json["problems"], 1, "{json:#}");
    let findings = json["findings"].as_array().expect("findings");
    let problem = findings.iter().find(|finding| finding["level"] == "problem");
    let problem = problem.expect("a problem");
    assert_eq!(
        (&problem["area"], &problem["subject"]),
        (&"socs".into(), &"Ethernet4".into())
    );
    assert!(
        problem["text"]
            .as_str()
            .is_some_and(|text| text.contains("refused"))
    );
    assert!(problem["remedy"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_is_said_to_hang_and_keeps_nobody_waiting() {
    let rack = clean().await;
    rack.soc("Ethernet4").connection_fault(ConnectionFault::Hang);
    let began = Instant::now();
    says(
        &rack,
        PROBLEMS,
        &["never READY: keepalive_timeout", "✓ Ethernet0: "],
    )
    .await;
    assert!(began.elapsed() < SECONDS, "{:?}", began.elapsed());

    rack.redis.freeze();
    let began = Instant::now();
    says(
        &rack,
        PROBLEMS,
        &["cannot be read: no answer within 2 s", "hangs or is overloaded"],
    )
    .await;
    assert!(began.elapsed() < SECONDS, "{:?}", began.elapsed());
    rack.redis.thaw();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_away_or_denies_us_is_told_and_no_password_is() {
    let mut rack = clean().await;
    rack.redis.kill();
    says(
        &rack,
        PROBLEMS,
        &["cannot be read: cannot connect", "redis-server runs"],
    )
    .await;

    let locked = Redis::start_tcp(&["--requirepass", "right"]).await;
    let server = locked.server().to_string();
    let address = server.strip_prefix("redis://").expect("TCP");
    for (password, words) in [
        ("wrong", "refused"),
        ("right", "CONFIG_DB_INITIALIZED is missing"),
    ] {
        rack.write_config(&format!(
            "databases: {{url: \"redis://:{password}@{address}\"}}\n"
        ));
        let ended = doctor(&rack, &[]).await;
        assert_eq!(ended.code, Some(PROBLEMS), "{ended:?}");
        assert!(ended.stdout.contains(words), "{words}: {}", ended.stdout);
        assert!(
            !ended.stdout.contains(&format!("{password}@")),
            "{}",
            ended.stdout
        );
        assert!(
            !ended.stdout.contains(&format!(":{password}")),
            "{}",
            ended.stdout
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_redis_tells_of_changes_is_not_known_to_a_user_who_may_not_ask() {
    let rack = clean().await;
    let redis = Redis::start_tcp(&[]).await;
    let _: redis::Value = redis.ask_db(4, "ACL SETUSER looker on >secret ~* +@all -config");
    let server = redis.server().to_string();
    let address = server.strip_prefix("redis://").expect("TCP");
    rack.write_config(&format!(
        "databases: {{url: \"redis://looker:secret@{address}\"}}\n"
    ));
    let words = ["! keyspace notifications: unknown: this user may not run CONFIG GET"];
    says(&rack, PROBLEMS, &words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_of_the_configuration_need_no_database() {
    let rack = Setup::rack(1).databases("publish: off").stage().await;
    says(
        &rack,
        CLEAN,
        &[
            "Redis: not used",
            "1 target in the configuration",
            "✓ Ethernet0: 127.",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_of_another_kind_has_nothing_wrong_with_it() {
    let rack = clean().await;
    rack.config_db("HSET DEVICE_METADATA|localhost type LeafRouter subtype UpstreamLC");
    says(
        &rack,
        CLEAN,
        &["! DEVICE_METADATA: type LeafRouter", "no port is probed"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_is_bad_usage() {
    let rack = clean().await;
    rack.write_config("side: middle\n");
    let path = rack.config_path();
    let ended = run(&["doctor", "--config.file", path.to_str().expect("UTF-8")]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:?}");
    assert!(ended.stderr.contains("side"), "{ended:?}");
    assert_eq!(run(&["doctor", "--output", "xml"]).await.code, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_web_side_is_judged_by_its_defaults_or_by_the_flags_that_are_given() {
    let rack = clean().await;
    let ended = doctor(&rack, &[]).await;
    assert!(
        ended
            .stdout
            .contains("! listens on: :9075, the default: everyone"),
        "{}",
        ended.stdout
    );
    let ended = doctor(&rack, &["--web.listen-address", ":9075"]).await;
    assert!(
        ended.stdout.contains("! listens on: :9075: everyone"),
        "{}",
        ended.stdout
    );
    assert_eq!(ended.code, Some(CLEAN));
    let ended = doctor(&rack, &["--web.listen-address", "127.0.0.1:9075"]).await;
    assert!(ended.stdout.contains("this host only"), "{}", ended.stdout);
    // As for the exporter, what CONFIG_DB sets counts where no flag does.
    rack.config_db("HSET DUALTOR_EXPORTER|config listen_address [::1]:9075");
    let ended = doctor(&rack, &["--config.database"]).await;
    assert!(
        ended.stdout.contains("✓ listens on: [::1]:9075: this host only"),
        "{}",
        ended.stdout
    );
    let dir = tempfile::TempDir::new().expect("a directory");
    let web = dir.path().join("web.yml");
    let args = ["--web.config.file", web.to_str().expect("UTF-8")];
    let ended = doctor(&rack, &args).await;
    assert!(ended.stdout.contains("cannot be read"), "{}", ended.stdout);
    assert_eq!(ended.code, Some(PROBLEMS));
    let hash = "$2b$04$abcdefghijklmnopqrstuuCiRP6uwuebOgMsb3sB1n0pjVVBf0O3K";
    std::fs::write(&web, format!("basic_auth_users: {{alice: {hash}}}")).expect("written");
    for (mode, words, code) in [
        (0o644, "mode 644", PROBLEMS),
        (0o600, "plain HTTP, 1 user", CLEAN),
    ] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&web, mode).expect("set");
        let ended = doctor(&rack, &args).await;
        assert!(ended.stdout.contains(words), "{}", ended.stdout);
        assert!(
            ended.stdout.contains("passwords cross the network"),
            "{}",
            ended.stdout
        );
        assert!(!ended.stdout.contains(hash), "{}", ended.stdout);
        assert_eq!(ended.code, Some(code));
    }
}
