//! The real binary with a hostile or broken server at Redis' address: memory and time stay bounded, the reason is logged, and
//! Redis is used again when it answers normally.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::certificates::Files;
use crate::child::Program;
use crate::fake_redis::{FakeRedis, FakeReply, Script, bulk};
use crate::http;
use crate::wait::wait_until;

/// Measured: 20 MB; before there was a limit, gigabytes within seconds.
const MOST_MEMORY_KB: u64 = 128 * 1024;

struct Watch {
    program: Program,
    _files: Files,
}

impl Watch {
    /// An exporter with this Redis. With `targets`: one SoC that is away. Without: the SoCs in CONFIG_DB.
    fn of(redis: &FakeRedis, targets: &str) -> Self {
        let files = Files::new();
        let url = format!("redis://127.0.0.1:{}", redis.port);
        let config = files.write(
            "config.yml",
            &format!("probe: {{interval: 2s}}\nside: upper\n{targets}\ndatabases: {{url: \"{url}\"}}\n"),
        );
        let config = config.to_str().expect("UTF-8");
        let args = ["--config.file", config, "--web.listen-address", "127.0.0.1:0"];
        Self {
            program: Program::start(&args),
            _files: files,
        }
    }

    /// The highest resident memory so far, bytes.
    fn most_memory_kb(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.program.id())).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line
            .and_then(|line| line.trim().split(' ').next())
            .expect("VmHWM");
        number.parse().expect("a number")
    }

    fn is_small(&self) {
        let kb = self.most_memory_kb();
        assert!(kb < MOST_MEMORY_KB, "{kb} kB");
    }
}

fn to(word: &'static str, answer: impl Fn() -> FakeReply + Send + Sync + 'static) -> Script {
    Box::new(move |command| (command[0] == word).then(&answer))
}

/// Each script with the reason that is logged.
fn scripts() -> Vec<(Script, &'static str)> {
    let endless = |first: &'static str, more: String| {
        move || FakeReply::Endless(first.as_bytes().to_vec(), more.clone().into_bytes())
    };
    let cursor = AtomicU64::new(0);
    let new_keys = move || {
        let n = cursor.fetch_add(1, Ordering::Relaxed) + 1;
        let keys: String = (0..1000)
            .map(|key| bulk(&format!("MUX_CABLE|Ethernet{}", n * 1000 + key)))
            .collect();
        FakeReply::Say(format!("*2\r\n{}*1000\r\n{keys}", bulk(&n.to_string())).into_bytes())
    };
    let say = |text: String| move || FakeReply::Say(text.clone().into_bytes());
    let cursor = AtomicU64::new(0);
    let no_keys = move || {
        let n = cursor.fetch_add(1, Ordering::Relaxed) + 1;
        FakeReply::Say(format!("*2\r\n{}*0\r\n", bulk(&n.to_string())).into_bytes())
    };
    vec![
        (to("SCAN", new_keys), "more than 200000 keys"),
        (to("SCAN", no_keys), "a SCAN that does not end"),
        (
            to(
                "SCAN",
                endless("*2\r\n$1\r\n0\r\n*1\r\n$500000000\r\n", "x".repeat(65_536)),
            ),
            "an answer of more than 16 MiB",
        ),
        (
            to(
                "SCAN",
                endless(
                    "*2\r\n$1\r\n0\r\n*1000000000\r\n",
                    bulk("MUX_CABLE|Ethernet0").repeat(1000),
                ),
            ),
            "an answer of more than 65536 values",
        ),
        (
            to("SCAN", endless("+", "x".repeat(65_536))),
            "a line of more than 64 KiB",
        ),
        (
            to("SCAN", say(format!("-ERR {}\r\n", "x".repeat(5_000_000)))),
            "a line of more than 64 KiB",
        ),
        (
            to("SCAN", say("*1\r\n".repeat(100_000))),
            "arrays nested more than 4 deep",
        ),
        (
            to("GET", endless("$1\r\n1\r\n", "+OK\r\n".repeat(10_000))),
            "without a question",
        ),
        (
            to("SCAN", say("%1\r\n+a\r\n+b\r\n".to_owned())),
            "bytes that are not Redis",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_bound_is_a_database_that_cannot_be_read_until_it_is_sane() {
    for (script, reason) in scripts() {
        let redis = FakeRedis::start(script);
        let mut watch = Watch::of(&redis, "");
        let line = watch.program.says(reason, 1).await;
        assert!(line.contains("CONFIG_DB") && line.len() < 1000, "{line}");
        watch.is_small();
        redis.says(Box::new(|_| None));
        let line = watch.program.says("database read", 3).await;
        assert!(line.contains("database read"), "{reason}: {line}");
        watch.is_small();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_notifications_costs_no_memory_and_takes_no_database_away() {
    let flood = |command: &[String]| {
        (command[0] == "PSUBSCRIBE").then(|| {
            let first = crate::fake_redis::healthy(command);
            let channel = command[1].replace('*', "Ethernet");
            let pattern = bulk(&command[1]);
            let many = (0..1000).map(|n| {
                let channel = bulk(&format!("{channel}{n}"));
                format!("*4\r\n$8\r\npmessage\r\n{pattern}{channel}$4\r\nhset\r\n")
            });
            FakeReply::Endless(first, many.collect::<String>().into_bytes())
        })
    };
    let redis = FakeRedis::start(Box::new(flood));
    let mut watch = Watch::of(&redis, "targets: [{port: Ethernet0, address: 127.0.0.1}]");
    let web = watch.program.address().await;
    watch.program.says("database read", 3).await;
    // For three seconds, and until a megabyte has been sent: on a busy machine that takes longer.
    let before = redis.sent();
    tokio::time::sleep(Duration::from_secs(3)).await;
    wait_until("a flood", async || {
        let sent = redis.sent() - before;
        (sent > 1_000_000).then_some(()).ok_or_else(|| sent.to_string())
    })
    .await;
    watch.is_small();
    let scrape = http::get(web, "/metrics").await;
    assert!(
        scrape.text().contains("dualtor_state_db_up 1"),
        "{}",
        scrape.text()
    );
    assert!(
        !watch.program.stderr().contains("cannot be read"),
        "{}",
        watch.program.stderr()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_of_a_key_that_is_nobodys_row_is_not_kept_and_the_key_not_read() {
    let count = Arc::new(AtomicU64::new(0));
    let reads = count.clone();
    let flood = move |command: &[String]| match &*command[0] {
        "PSUBSCRIBE" => {
            let channel = command[1].replace('*', &"k".repeat(100_000));
            let pattern = bulk(&command[1]);
            let many = (0..20).map(|n| {
                let channel = bulk(&format!("{channel}{n}"));
                format!("*4\r\n$8\r\npmessage\r\n{pattern}{channel}$4\r\nhset\r\n")
            });
            let first = crate::fake_redis::healthy(command);
            Some(FakeReply::Endless(first, many.collect::<String>().into_bytes()))
        }
        "HMGET" | "HGETALL" if command[1].len() > 1000 => {
            reads.fetch_add(1, Ordering::Relaxed);
            None
        }
        _ => None,
    };
    let redis = FakeRedis::start(Box::new(flood));
    let mut watch = Watch::of(&redis, "targets: [{port: Ethernet0, address: 127.0.0.1}]");
    watch.program.says("database read", 3).await;
    let before = redis.sent();
    wait_until("a flood", async || {
        let sent = redis.sent() - before;
        (sent > 200_000_000).then_some(()).ok_or_else(|| sent.to_string())
    })
    .await;
    assert_eq!(count.load(Ordering::Relaxed), 0);
    watch.is_small();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_answered_without_bound_are_a_state_db_that_is_down() {
    let endless = |command: &[String]| {
        let hmget = command[0] == "HMGET" && command[1].starts_with("MUX_CABLE_INFO|");
        hmget.then(|| FakeReply::Endless(b"*6\r\n$500000000\r\n".to_vec(), vec![b'x'; 65_536]))
    };
    let redis = FakeRedis::start(Box::new(endless));
    let mut watch = Watch::of(&redis, "targets: [{port: Ethernet0, address: 127.0.0.1}]");
    let web = watch.program.address().await;
    let line = watch.program.says("state_db is down", 1).await;
    assert!(line.contains("more than 16 MiB"), "{line}");
    assert!(
        http::get(web, "/metrics")
            .await
            .text()
            .contains("dualtor_state_db_up 0")
    );
    watch.is_small();
    redis.says(Box::new(|_| None));
    watch.program.says("state_db is up", 1).await;
}

/// What the allocator keeps for reuse, bytes.
const KEPT_KB: u64 = 2 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_redis_floods_with_comes_back() {
    let redis = FakeRedis::start(Box::new(|_| None));
    let mut watch = Watch::of(&redis, "");
    watch.program.says("database read", 3).await;
    const READ: &str = "message=\"database read\" database=CONFIG_DB";
    let before = watch.program.memory_kb();
    // The scripts that take most memory. The pauses grow while a database stays broken.
    for (script, reason) in scripts().into_iter().take(3) {
        let read = watch.program.stderr().matches(READ).count();
        redis.says(script);
        watch.program.says(reason, 1).await;
        redis.says(Box::new(|_| None));
        watch.program.says(READ, read + 1).await;
    }
    wait_until("memory", async || match watch.program.memory_kb() {
        now if now * 10 <= before * 12 + 10 * KEPT_KB => Ok(()),
        now => Err(format!("{now} kB after {before} kB")),
    })
    .await;
}
