//! An exporter that gets no CPU for a while, and what it reports about SoCs then.

use std::net::SocketAddr;
use std::time::Duration;

use dualtor_sim::{ReplyFault, Scenario, Simulator};
use tempfile::TempDir;

use crate::child::Program;
use crate::http::{Scrape, get};
use crate::wait::wait_until;

/// A SoC that answers in time, but not at once, so that queries are under way at any moment.
const ANSWERS_AFTER: Duration = Duration::from_millis(300);
/// Each query's deadline.
const TIMEOUT: Duration = Duration::from_millis(1000);
/// Longer than any query takes.
const STALL: Duration = Duration::from_millis(1500);

async fn scrape(web: SocketAddr) -> Scrape {
    Scrape::parse(get(web, "/metrics").await.text())
}

/// Queries of all SoCs except `late` that ended with this result.
fn queries(scrape: &Scrape, result: &str, late: &str) -> u64 {
    scrape.count("dualtor_probes_total", &[("result", result)])
        - scrape.count("dualtor_probes_total", &[("result", result), ("port", late)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_exporter_blames_no_soc_that_answered_in_time_and_each_that_did_not() {
    const LATE: &str = "Ethernet0";
    let sim = Simulator::start(Scenario::uniform(24))
        .await
        .expect("a simulator");
    for soc in sim.socs() {
        soc.reply_fault(match soc.name() {
            LATE => ReplyFault::Late {
                delay: TIMEOUT + Duration::from_millis(10),
            },
            _ => ReplyFault::Slow { delay: ANSWERS_AFTER },
        });
    }
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("config.yml");
    let mut yaml = format!(
        "probe: {{interval: 1200ms, timeout: {}ms}}\nside: upper\ndatabases: {{publish: off}}\ntargets:\n",
        TIMEOUT.as_millis()
    );
    for soc in sim.socs() {
        yaml += &format!("- {{port: {}, address: \"{}\"}}\n", soc.name(), soc.address());
    }
    std::fs::write(&path, yaml).expect("written");
    let path = path.to_str().expect("UTF-8");
    let mut exporter = Program::start(&["--config.file", path, "--web.listen-address", "127.0.0.1:0"]);
    let web = exporter.address().await;
    let rounds = async |least: u64| {
        wait_until("rounds", async || match queries(&scrape(web).await, "OK", LATE) {
            seen if seen >= least => Ok(()),
            seen => Err(format!("{seen} of {least}")),
        })
        .await;
    };
    // After one reply of each SoC it is certain that the kernel stamps what arrives.
    rounds(23 * 5 * 2).await;
    for _ in 0..6 {
        let before = queries(&scrape(web).await, "OK", LATE);
        exporter.signal("STOP");
        tokio::time::sleep(STALL).await;
        exporter.signal("CONT");
        rounds(before + 23 * 5).await;
    }
    let last = scrape(web).await;
    let failed: Vec<_> = last
        .find("dualtor_probes_total", &[])
        .filter(|s| s.value > 0.0 && s.labels["port"] != LATE && s.labels["result"] != "OK")
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    let late = |result| last.count("dualtor_probes_total", &[("port", LATE), ("result", result)]);
    assert!(
        late("DEADLINE_EXCEEDED") >= 6 * 5,
        "{}",
        late("DEADLINE_EXCEEDED")
    );
    assert_eq!(late("OK"), 0);
    // No channel was lost, and no reply is reported to have taken as long as the stall.
    assert_eq!(last.count("dualtor_channel_failures_total", &[]), 0);
    let bucket = |le| {
        last.count(
            "dualtor_probe_duration_seconds_bucket",
            &[("port", "Ethernet4"), ("le", le)],
        )
    };
    assert_eq!(bucket("1.0"), bucket("+Inf"));
}
