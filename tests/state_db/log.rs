//! What an operator reads: a line per transition, never a password.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dualtor_exporter::config::StateDbSettings;

use crate::redis_server::{Redis, eventually};
use crate::rig::*;

/// A log that a test can read.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Catches what this thread logs at `info` and above.
    fn catch(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    /// Another test, on a thread that has no log, may have met a line first just when this log came: that line would stay off.
    fn all_lines_on() {
        tracing::callsite::rebuild_interest_cache();
    }
}

#[tokio::test]
async fn the_log_has_one_line_per_transition_and_one_about_a_second_writer() {
    let log = Log::default();
    let _guard = log.catch();
    let mut redis = Redis::start().await;
    let rig = Rig::new(&settings(&redis));
    rig.put(ready("Ethernet0", 1));
    rig.up(LONG).await;
    Log::all_lines_on();
    for rounds in 2..5 {
        let _: u64 = redis.ask("HSET MUX_CABLE_INFO|Ethernet0 time_post theirs");
        rig.put(ready("Ethernet0", rounds));
        rig.writes(rounds).await;
    }
    redis.kill();
    rig.down(LONG).await;
    // Longer than three attempts.
    tokio::time::sleep(Duration::from_millis(1600)).await;
    redis.launch(&[]).await;
    rig.up(LONG).await;
    let text = log.text();
    let lines = |what: &str| text.lines().filter(|line| line.contains(what)).count();
    assert_eq!(lines("state_db is up"), 2, "{text}");
    assert_eq!(lines("state_db is down"), 1, "{text}");
    assert_eq!(lines("another process writes our rows"), 1, "{text}");
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.contains("redis+unix:///"), "{text}");
}

#[tokio::test]
async fn no_password_reaches_the_log_even_if_the_server_repeats_it() {
    let log = Log::default();
    let _guard = log.catch();
    let redis = Redis::start_tcp(&["--rename-command", "AUTH", "NOAUTHHERE"]).await;
    let rig = Rig::new(&StateDbSettings {
        server: redis.server_for("exporter", "hunter2"),
        ..settings(&redis)
    });
    rig.put(ready("Ethernet0", 1));
    eventually("a line", LONG, || log.text().contains("state_db is down")).await;
    assert!(!log.text().contains("hunter2"), "{}", log.text());
    assert!(log.text().contains("databases.url"), "{}", log.text());
}
