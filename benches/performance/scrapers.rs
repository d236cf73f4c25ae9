//! Scrapers in a loop while SoCs are probed: do they make queries late?

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::rack;
use crate::whole::{Setting, listen};

const SOCS: usize = 1_000;
const SECONDS: u64 = 20;

/// Sends one GET and returns the whole answer.
fn ask(headers: &str) -> anyhow::Result<Vec<u8>> {
    get("/metrics", headers)
}

/// The same of another path.
pub(crate) fn get(path: &str, headers: &str) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(listen())?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Queries so far, by result.
fn queries() -> anyhow::Result<BTreeMap<String, u64>> {
    let answer = String::from_utf8(ask("")?)?;
    let mut counts = BTreeMap::new();
    for line in answer
        .lines()
        .filter(|line| line.starts_with("dualtor_probes_total{"))
    {
        let (labels, count) = line.rsplit_once(' ').context("a value")?;
        let (_, result) = labels.split_once("result=\"").context("a result")?;
        *counts
            .entry(result.trim_end_matches("\"}").to_owned())
            .or_default() += count.parse::<u64>()?;
    }
    Ok(counts)
}

/// The results of one scraper: scrapes, failed scrapes, seconds of the longest.
fn in_a_loop(until: Instant) -> (u64, u64, f64) {
    let (mut scrapes, mut failed, mut longest) = (0, 0, 0_f64);
    while Instant::now() < until {
        let began = Instant::now();
        let good = ask("Accept-Encoding: gzip\r\n").is_ok_and(|answer| answer.starts_with(b"HTTP/1.0 200"));
        scrapes += 1;
        failed += u64::from(!good);
        longest = longest.max(began.elapsed().as_secs_f64());
    }
    (scrapes, failed, longest)
}

/// 1,000 SoCs probed every 2 s, and this many scrapers.
pub(crate) fn run() -> anyhow::Result<()> {
    println!("\n### Scrapers in a loop, {SOCS} SoCs probed each 2 s, {SECONDS} s each\n");
    println!(
        "| scrapers | queries | of these late | scrapes | failed | the longest |\n|---|---|---|---|---|---|"
    );
    let racks = rack::start(SOCS, 1)?;
    let setting = Setting::new(&racks, "2s", "{publish: off}")?;
    let _exporter = setting.exporter()?;
    // All are READY, and their first rounds have ended.
    sleep(Duration::from_secs(10));
    for scrapers in [0, 1, 10, 50] {
        let before = queries()?;
        let until = Instant::now() + Duration::from_secs(SECONDS);
        let running: Vec<_> = (0..scrapers)
            .map(|_| thread::spawn(move || in_a_loop(until)))
            .collect();
        let mut seen = (0, 0, 0.0_f64);
        for scraper in running {
            let one = scraper
                .join()
                .map_err(|_| anyhow::anyhow!("a scraper panicked"))?;
            seen = (seen.0 + one.0, seen.1 + one.1, seen.2.max(one.2));
        }
        sleep(until.saturating_duration_since(Instant::now()));
        let after = queries()?;
        let of = |result: &str| {
            let count = |all: &BTreeMap<String, u64>| all.get(result).copied().unwrap_or(0);
            count(&after) - count(&before)
        };
        let all = after.values().sum::<u64>() - before.values().sum::<u64>();
        ensure!(all > 0, "nothing was probed");
        let late = of("DEADLINE_EXCEEDED");
        let share = late as f64 / all as f64 * 100.0;
        let (scrapes, failed, longest) = seen;
        println!("| {scrapers} | {all} | {late} ({share:.3} %) | {scrapes} | {failed} | {longest:.2} s |");
    }
    Ok(())
}
