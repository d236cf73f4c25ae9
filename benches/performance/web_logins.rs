//! A flood of wrong passwords: does it make rounds longer?

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::median;
use crate::rack;
use crate::scrapers::get;
use crate::whole::Setting;

const SOCS: usize = 128;
const SECONDS: u64 = 20;
const PAIRS: usize = 3;
/// alice123, cost 12: a quarter of a second of CPU.
const HASH: &str = "$2b$12$abcdefghijklmnopqrstuunITnFHYU0HvofYcwaX.p7Vqsik.Eh8G";
/// alice:alice123
const RIGHT: &str = "Authorization: Basic YWxpY2U6YWxpY2UxMjM=\r\n";

/// The durations of the last 16 rounds of each SoC, ms, sorted.
fn rounds(ports: &[String]) -> anyhow::Result<Vec<f64>> {
    let mut all = Vec::new();
    for port in ports {
        let answer = get(&format!("/api/v1/ports/{port}"), RIGHT)?;
        let text = String::from_utf8(answer)?;
        let (_, body) = text.split_once("\r\n\r\n").context("an answer")?;
        let page: serde_json::Value = serde_json::from_str(body)?;
        let rounds = page["rounds"].as_array().context("rounds")?;
        let of = |round: &serde_json::Value| round["duration"].as_f64().map(|seconds| seconds * 1e3);
        all.extend(rounds.iter().filter_map(of));
    }
    all.sort_by(f64::total_cmp);
    Ok(all)
}

/// The value at this share of sorted ones.
pub(crate) fn at(sorted: &[f64], share: f64) -> f64 {
    let place = (sorted.len() as f64 * share) as usize;
    sorted
        .get(place.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

/// Different wrong passwords for some seconds, this many in each; how many were answered, and by what.
fn flood(per_second: u64) -> (u64, u64) {
    let (wrong, busy, number) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let ended = AtomicBool::new(false);
    let began = Instant::now();
    thread::scope(|scope| {
        // Many, because those that wait for bcrypt are held up.
        for _ in 0..40 {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    let n = number.fetch_add(1, Ordering::Relaxed);
                    let due = Duration::from_secs_f64(n as f64 / per_second as f64);
                    sleep(due.saturating_sub(began.elapsed()));
                    if began.elapsed() >= Duration::from_secs(SECONDS) {
                        ended.store(true, Ordering::Relaxed);
                        return;
                    }
                    let password = base64(format!("alice:wrong{n}").as_bytes());
                    let answer = get("/metrics", &format!("Authorization: Basic {password}\r\n"));
                    match answer.unwrap_or_default().get(9..12) {
                        Some(b"401") => wrong.fetch_add(1, Ordering::Relaxed),
                        _ => busy.fetch_add(1, Ordering::Relaxed),
                    };
                }
            });
        }
    });
    (wrong.into_inner(), busy.into_inner())
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

pub(crate) fn run() -> anyhow::Result<()> {
    println!(
        "\n### Wrong passwords, 100 per second for {SECONDS} s, bcrypt cost 12; {SOCS} SoCs probed each second\n"
    );
    println!("| | wrong | refused as busy | rounds | median | 99th of 100 |\n|---|---|---|---|---|---|");
    let racks = rack::start(SOCS, 1)?;
    let setting = Setting::new(&racks, "1s", "{publish: off}")?;
    let web = setting.directory.path().join("web.yml");
    std::fs::write(&web, format!("basic_auth_users: {{alice: {HASH}}}\n"))?;
    let _exporter = setting.exporter_with(&["--web.config.file", web.to_str().context("UTF-8")?])?;
    sleep(Duration::from_secs(10));
    ensure!(get("/metrics", RIGHT)?.starts_with(b"HTTP/1.0 200"), "no metrics");
    let mut ratios = Vec::new();
    for _ in 0..PAIRS {
        let mut pair = [0.0; 2];
        for (with, slowest) in [false, true].into_iter().zip(&mut pair) {
            let (wrong, busy) = if with {
                flood(100)
            } else {
                sleep(Duration::from_secs(SECONDS));
                (0, 0)
            };
            let rounds = rounds(&setting.ports)?;
            ensure!(rounds.len() > SOCS * 10, "only {} rounds", rounds.len());
            *slowest = at(&rounds, 0.99);
            let what = if with { "with" } else { "without" };
            let median = at(&rounds, 0.5);
            println!(
                "| {what} | {wrong} | {busy} | {} | {median:.2} ms | {slowest:.2} ms |",
                rounds.len()
            );
        }
        ratios.push(pair[1] / pair[0]);
    }
    println!(
        "\nRatio of the 99th, median of {PAIRS} pairs: {:.2}",
        median(&mut ratios)
    );
    Ok(())
}
