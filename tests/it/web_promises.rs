//! What docs/web.md promises while web clients are rude, with the real limits and the real program. Each test takes half a minute,
//! nearly all of it waiting.

use std::time::{Duration, Instant};

use tokio::time::{interval, sleep};

use crate::child::Program;
use crate::harness::{Rack, Setup, wait_until};
use crate::http::{Scrape, ask};
use crate::web_limits::{CALM, CONNECTIONS, half_sent, refused, rest, start};

const SOCS: usize = 24;
/// A query is late only after this: the machine may be busy.
const PROBE: &str = "interval: 3s, timeout: 2900ms";
const PROBES: &str = "dualtor_probes_total";

/// No query has failed, and every channel is READY.
fn probing_is_well(scrape: &Scrape) {
    let good = scrape.count(PROBES, &[("result", "OK")]);
    assert_eq!(scrape.count(PROBES, &[]), good, "queries have failed");
    let ready = [("state", "ready")];
    assert_eq!(scrape.count("dualtor_channel_state", &ready), SOCS as u64);
}

/// An exporter whose SoCs have all been probed.
async fn probed(more: &[&str], headers: &[(&str, &str)]) -> (Rack, Program) {
    let mut rack = Setup::rack(SOCS).probe(PROBE).channel(CALM).stage().await;
    let program = start(&mut rack, "8000", more).await;
    rounds(&rack, headers, 1).await;
    (rack, program)
}

async fn scrape(rack: &Rack, headers: &[(&str, &str)]) -> Scrape {
    let answer = ask(rack.web, "GET", "/metrics", headers).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Scrape::parse(answer.text())
}

/// Waits until each SoC has had so many rounds.
async fn rounds(rack: &Rack, headers: &[(&str, &str)], count: u64) -> Scrape {
    wait_until("rounds", async || {
        let scrape = scrape(rack, headers).await;
        match scrape.count(PROBES, &[]) {
            queries if queries >= count * 5 * SOCS as u64 => Ok(scrape),
            queries => Err(queries.to_string()),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_half_sent_requests_of_one_peer_cost_little_and_end_after_half_a_minute() {
    let (rack, program) = probed(&[], &[]).await;
    for _ in 0..5 {
        scrape(&rack, &[]).await;
    }
    let (memory, began) = (program.memory_kb(), Instant::now());
    let mut held = Vec::new();
    for _ in 0..2_000 {
        held.push(half_sent("127.0.5.1", rack.web).await);
    }
    let (mut slowest, mut most) = (Duration::ZERO, 0);
    let after = loop {
        let asked = Instant::now();
        let scrape = scrape(&rack, &[]).await;
        slowest = slowest.max(asked.elapsed());
        most = most.max(program.memory_kb().saturating_sub(memory));
        if scrape.value(CONNECTIONS, &[]) == Some(1.0) {
            break scrape;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "they are not closed");
        sleep(Duration::from_millis(200)).await;
    };
    // Some milliseconds on a quiet machine; this one may be busy.
    assert!(slowest < Duration::from_secs(5), "a scrape took {slowest:?}");
    assert!(most < 15_000, "{most} kB");
    assert!(
        began.elapsed() >= Duration::from_secs(30),
        "{:?}",
        began.elapsed()
    );
    for stream in &mut held {
        assert_eq!(rest(stream).await, "");
    }
    // A peer has 64 places; who waits for 5 s makes room for the next of the same peer.
    let turned_away = refused(&after, "peer") + refused(&after, "timeout");
    assert_eq!((turned_away, refused(&after, "total")), (2_000.0, 0.0));
    probing_is_well(&rounds(&rack, &[], 5).await);
}

/// The password is alice123. Cost 10 takes as long in an unoptimised build as 12 in a release.
const ALICE: &str =
    "basic_auth_users: {alice: $2b$10$abcdefghijklmnopqrstuuAuXeCk6cDyT9B/LbcW23Nl3ca8XWmMS}\n";
/// alice:alice123
const RIGHT: [(&str, &str); 1] = [("Authorization", "Basic YWxpY2U6YWxpY2UxMjM=")];

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_wrong_passwords_slows_neither_rounds_nor_who_is_known() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let file = dir.path().join("web.yml");
    std::fs::write(&file, ALICE).expect("written");
    let args = ["--web.config.file", file.to_str().expect("UTF-8")];
    let (rack, program) = probed(&args, &RIGHT).await;
    let before = scrape(&rack, &RIGHT).await.count(PROBES, &[]);
    let web = rack.web;
    let mut clients = Vec::new();
    let mut every = interval(Duration::from_millis(10));
    let mut slowest = Duration::ZERO;
    for n in 0..1_000 {
        every.tick().await;
        clients.push(tokio::spawn(async move {
            // Each is a name of its own, so that none is remembered.
            let login = format!("Basic {}", base64(&format!("alice:wrong{n}")));
            ask(web, "GET", "/metrics", &[("Authorization", &login)])
                .await
                .status
        }));
        if n % 100 == 0 {
            let asked = Instant::now();
            scrape(&rack, &RIGHT).await;
            slowest = slowest.max(asked.elapsed());
        }
    }
    let mut answers = std::collections::BTreeMap::new();
    for client in clients {
        *answers.entry(client.await.expect("no panic")).or_insert(0) += 1;
    }
    assert!(
        answers.keys().all(|status| [401, 503].contains(status)),
        "{answers:?}"
    );
    assert!(
        slowest < Duration::from_secs(5),
        "a scrape of a known client took {slowest:?}"
    );
    let after = scrape(&rack, &RIGHT).await;
    assert!(after.count(PROBES, &[]) > before, "no round in ten seconds");
    probing_is_well(&after);
    let log = program.stderr();
    assert!(!log.contains("wrong1") && !log.contains("defect"), "{log}");
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
