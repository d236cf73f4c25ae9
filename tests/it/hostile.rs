//! SoCs that flood, always answer late, send endless header blocks, or are web servers.
//! They may lose their own channel, but cost neither other SoCs' time nor unbounded memory.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use dualtor_sim::{
    Compression, ConnectionFault, FloodFrame, Health, Notice, NoticeKind, Plane, ReplyFault, Rpc, Scenario,
    Simulator, Soc,
};
use tempfile::TempDir;

use crate::certificates::VALID;
use crate::child::{Program, run};
use crate::harness::{Rack, Setup, wait_until};
use crate::http::Scrape;
use crate::soc_view::Look;
use crate::tls::shared_ca;

const PROBES: &str = "dualtor_probes_total";
const FAILURES: &str = "dualtor_channel_failures_total";
const ATTACKER: &str = "Ethernet0";
const NEIGHBOUR: &str = "Ethernet4";

fn rounds(scrape: &Scrape, port: &str) -> u64 {
    scrape.count(PROBES, &[("port", port), ("query", "admin")])
}

fn late(scrape: &Scrape, port: &str) -> u64 {
    scrape.count(PROBES, &[("port", port), ("result", "DEADLINE_EXCEEDED")])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_small_frames_delays_nobody_and_is_given_up_as_protocol() {
    for frame in [
        FloodFrame::Unknown,
        FloodFrame::Priority,
        FloodFrame::Ping,
        FloodFrame::Settings,
        FloodFrame::WindowUpdate,
        FloodFrame::Reset,
    ] {
        let rack = Setup::rack(2)
            .probe("interval: 100ms, timeout: 90ms")
            .start()
            .await;
        rack.shows(ATTACKER, &Look::HEALTHY).await;
        rack.shows(NEIGHBOUR, &Look::HEALTHY).await;
        rack.soc(ATTACKER).connection_fault(ConnectionFault::Flood(frame));
        let of_flood = [("port", ATTACKER), ("cause", "protocol")];
        let before = rack.counts(FAILURES, &of_flood, 1).await;
        // Both are still probed, at least in every second interval.
        let (began, goal) = (Instant::now(), 20);
        for port in [ATTACKER, NEIGHBOUR] {
            let from = rounds(&before, port);
            rack.scraped(PROBES, |scrape| rounds(scrape, port) >= from + goal)
                .await;
        }
        assert!(
            began.elapsed() < Duration::from_millis(100) * 20 * 10,
            "{frame:?}: {:?} for {goal} rounds",
            began.elapsed()
        );
        rack.soc(ATTACKER).connection_fault(ConnectionFault::None);
        rack.shows(ATTACKER, &Look::HEALTHY).await;
        rack.shows(NEIGHBOUR, &Look::HEALTHY).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_over_tls_from_the_first_moment_on_is_given_up_again_and_again() {
    let (files, ca) = shared_ca();
    let (soc, channel) = (files.soc(&ca.soc(VALID)), files.verify(""));
    let rack = Setup::rack(2)
        .soc(ATTACKER, |soc| {
            soc.fault = ConnectionFault::Flood(FloodFrame::Unknown)
        })
        .tls(files, soc, &channel)
        .start()
        .await;
    rack.shows(NEIGHBOUR, &Look::HEALTHY).await;
    let of_flood = [("port", ATTACKER), ("cause", "protocol")];
    rack.counts(FAILURES, &of_flood, 3).await;
    rack.shows(NEIGHBOUR, &Look::HEALTHY).await;
    rack.soc(ATTACKER).connection_fault(ConnectionFault::None);
    rack.shows(ATTACKER, &Look::HEALTHY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_replies_however_many_cost_nothing_but_themselves() {
    // h2's own limits ended the connection after 1,024 replies on streams that it has forgotten, or 4,250 on those that it
    // remembers.
    const MANY: u64 = 5_000;
    let mut setup = Setup::rack(3).probe("interval: 20ms, timeout: 10ms");
    for (port, delay) in [(ATTACKER, 40), (NEIGHBOUR, 6_000)] {
        let delay = Duration::from_millis(delay);
        setup = setup.soc(port, |soc| soc.reply = ReplyFault::Late { delay });
    }
    let rack = setup.start().await;
    for port in [ATTACKER, NEIGHBOUR] {
        // Longer than any wait in this test.
        while rack.soc(port).counters().late_replies < MANY {
            let before = rack.soc(port).counters().late_replies;
            wait_until("more late replies", async || {
                let now = rack.soc(port).counters().late_replies;
                (now > before).then_some(()).ok_or_else(|| format!("{now}"))
            })
            .await;
        }
        let scrape = rack.scrape().await;
        assert_eq!(scrape.count(FAILURES, &[("port", port)]), 0, "{port}");
        assert!(late(&scrape, port) >= MANY, "{port}");
        assert_eq!(rack.soc(port).counters().connections, 1, "{port}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_up_to_a_megabyte_cost_their_own_query() {
    let fault = |head, piece| ReplyFault::LongMessage {
        bytes: 1 << 20,
        head,
        piece,
    };
    let rack = Setup::rack(2)
        .soc(ATTACKER, |soc| {
            soc.reply = fault(false, usize::MAX);
            soc.only = vec![Rpc::Link];
        })
        .soc(NEIGHBOUR, |soc| {
            soc.reply = fault(true, 10_000);
            soc.only = vec![Rpc::Link];
        })
        .start()
        .await;
    let mut without_link = Look::HEALTHY;
    (without_link.own[1], without_link.peer[1]) = ("unknown", "unknown");
    for port in [ATTACKER, NEIGHBOUR] {
        let refused = [
            ("port", port),
            ("query", "link"),
            ("result", "RESOURCE_EXHAUSTED"),
        ];
        rack.counts(PROBES, &refused, 3).await;
        let scrape = rack.shows(port, &without_link).await;
        assert_eq!(scrape.count(FAILURES, &[("port", port)]), 0, "{port}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_beyond_a_megabyte_end_the_connection() {
    let fault = |head| ReplyFault::LongMessage {
        bytes: 3 << 20,
        head,
        piece: usize::MAX,
    };
    let rack = Setup::rack(2)
        .soc(ATTACKER, |soc| soc.reply = fault(false))
        .soc(NEIGHBOUR, |soc| soc.reply = fault(true))
        .start()
        .await;
    for port in [ATTACKER, NEIGHBOUR] {
        rack.counts(FAILURES, &[("port", port), ("cause", "protocol")], 1)
            .await;
        rack.soc(port).reply_fault(ReplyFault::None);
        rack.shows(port, &Look::HEALTHY).await;
    }
}

/// A wrong answer on a long-lived stream ends that stream, and it is opened again; nothing else is affected.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_lasts_is_ended_by_what_cannot_be_taken_and_asked_for_again() {
    let faults = [
        ReplyFault::DetailsBin {
            value: "!!!".to_owned(),
            head: true,
        },
        ReplyFault::LongMessage {
            bytes: 70_000,
            head: false,
            piece: usize::MAX,
        },
        ReplyFault::LongMessage {
            bytes: 70_000,
            head: true,
            piece: usize::MAX,
        },
        ReplyFault::Informational { count: Some(1000) },
        ReplyFault::WebPage {
            status: 404,
            content_type: Some("text/html".to_owned()),
        },
    ];
    let mut setup = Setup::rack(faults.len());
    for (n, fault) in faults.iter().enumerate() {
        setup = setup.soc(&format!("Ethernet{}", n * 4), |soc| {
            soc.reply = fault.clone();
            soc.only = vec![Rpc::Notices, Rpc::Watch];
        });
    }
    let rack = setup.start().await;
    for (soc, fault) in rack.socs().iter().zip(&faults) {
        wait_until(&format!("{fault:?}"), async || {
            let asked = soc.counters().rpcs;
            let both = asked[&Rpc::Notices].min(asked[&Rpc::Watch]);
            (both >= 2).then_some(()).ok_or_else(|| format!("{asked:?}"))
        })
        .await;
        let scrape = rack.shows(soc.name(), &Look::HEALTHY).await;
        assert_eq!(scrape.count(FAILURES, &[("port", soc.name())]), 0, "{fault:?}");
    }
    for soc in rack.socs() {
        soc.reply_fault(ReplyFault::None);
    }
    for soc in rack.socs() {
        rack.service(soc.name(), "noop").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_compressed_on_a_stream_that_lasts_is_read() {
    let rack = Setup::rack(1)
        .soc(ATTACKER, |soc| {
            soc.reply = ReplyFault::Compressed(Compression::Gzip);
            soc.only = vec![Rpc::Notices, Rpc::Watch];
        })
        .start()
        .await;
    rack.service(ATTACKER, "noop").await;
    let soc = rack.soc(ATTACKER);
    wait_until("both streams", async || {
        let counters = soc.counters();
        let both = counters.notice_streams == 1 && counters.health_streams == 1;
        both.then_some(()).ok_or_else(|| format!("{counters:?}"))
    })
    .await;
    soc.announce(&Notice {
        kind: NoticeKind::Begin,
        plane: Plane::Both,
        guid: "g1".to_owned(),
        period: 3600,
    });
    rack.service(ATTACKER, "inprogress").await;
    // Reported by Watch, and by each Check.
    soc.set(|state| state.health = Health::NotServing);
    let look = Look {
        health: "not_serving",
        ..Look::HEALTHY
    };
    rack.shows(ATTACKER, &look).await;
    let failures = rack.scrape().await.count(FAILURES, &[]);
    assert_eq!(failures, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soc_that_allows_no_stream_at_all_is_unavailable() {
    let rack = Setup::rack(1)
        .soc(ATTACKER, |soc| soc.max_concurrent_streams = Some(0))
        .start()
        .await;
    let unavailable = [("port", ATTACKER), ("result", "UNAVAILABLE")];
    rack.counts(PROBES, &unavailable, 15).await;
    rack.shows(ATTACKER, &Look::unknown("ready")).await;
}

/// An exporter in its own process, to measure its memory.
struct Alone {
    program: Program,
    _dir: TempDir,
}

impl Alone {
    async fn start(socs: &[Soc]) -> Self {
        let dir = TempDir::new().expect("a directory");
        let mut yaml = "side: upper\ndatabases: {publish: off}\nprobe: {interval: 200ms, timeout: 100ms}\n\
                        channel: {backoff: {initial: 100ms, max: 500ms}}\ntargets:\n"
            .to_owned();
        for soc in socs {
            yaml += &format!("  - {{port: {}, address: \"{}\"}}\n", soc.name(), soc.address());
        }
        let path = dir.path().join("config.yml");
        std::fs::write(&path, yaml).expect("written");
        let path = path.to_str().expect("UTF-8");
        let mut program = Program::start(&["--config.file", path, "--web.listen-address", "127.0.0.1:0"]);
        program.address().await;
        Self { program, _dir: dir }
    }

    /// Resident memory, bytes.
    fn memory(&self) -> u64 {
        self.program.memory_kb() * 1024
    }

    /// The highest resident memory within this time, bytes.
    async fn peak_within(&self, time: Duration) -> u64 {
        let (began, mut peak) = (Instant::now(), 0);
        while began.elapsed() < time {
            peak = peak.max(self.memory());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        peak
    }
}

async fn probed(socs: &[Soc]) {
    let before: Vec<u64> = socs.iter().map(|soc| soc.counters().rpcs[&Rpc::Admin]).collect();
    for (soc, before) in socs.iter().zip(before) {
        wait_until(&format!("{} is probed", soc.name()), async || {
            let now = soc.counters().rpcs[&Rpc::Admin];
            (now >= before + 5).then_some(()).ok_or_else(|| format!("{now}"))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_flood_costs_in_memory_is_little_and_comes_back() {
    const MEGABYTE: u64 = 1 << 20;
    // What the allocator keeps for reuse, independent of the number of SoCs.
    const KEPT: u64 = 2 * MEGABYTE;
    let simulator = Simulator::start(Scenario::uniform(4)).await.expect("a simulator");
    let socs = simulator.socs();
    let exporter = Alone::start(socs).await;
    probed(socs).await;
    let before = exporter.memory();
    type Change = fn(&Soc);
    let table: [(&str, Change); 6] = [
        ("1xx", |soc| {
            soc.reply_fault(ReplyFault::Informational { count: None })
        }),
        ("1xx on Watch", |soc| {
            soc.reply_fault_only(ReplyFault::Informational { count: None }, &[Rpc::Watch]);
            soc.close_connections();
        }),
        ("unknown", |soc| {
            soc.connection_fault(ConnectionFault::Flood(FloodFrame::Unknown))
        }),
        ("PING", |soc| {
            soc.connection_fault(ConnectionFault::Flood(FloodFrame::Ping))
        }),
        ("long trailers", |soc| {
            soc.reply_fault(ReplyFault::LongMessage {
                bytes: 1_000_000,
                head: false,
                piece: usize::MAX,
            });
        }),
        ("statuses", |soc| soc.flood_health(100_000)),
    ];
    for (what, flood) in table {
        socs.iter().for_each(flood);
        let peak = exporter.peak_within(Duration::from_secs(2)).await;
        assert!(peak < before + 40 * MEGABYTE, "{what}: {peak} after {before}");
        for soc in socs {
            soc.connection_fault(ConnectionFault::None);
            soc.reply_fault(ReplyFault::None);
        }
        probed(socs).await;
        wait_until(&format!("memory after {what}"), async || {
            let now = exporter.memory();
            let back = now * 10 <= before * 12 + 10 * KEPT;
            back.then_some(())
                .ok_or_else(|| format!("{now} after {before}, {peak} at most"))
        })
        .await;
    }
}

/// `probe` of a rack's only SoC.
async fn probe(rack: &Rack) -> crate::child::Ended {
    let address = rack.soc(ATTACKER).address().to_string();
    run(&["probe", &address]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn probe_says_that_a_web_server_is_one_and_reads_what_is_compressed() {
    let rack = Setup::rack(1).stage().await;
    let soc = rack.soc(ATTACKER);
    for (status, kind, words) in [
        (
            200,
            Some("text/html"),
            "not a gRPC server: HTTP 200 with content-type text/html",
        ),
        (404, None, "not a gRPC server: HTTP 404 without a content-type"),
    ] {
        let content_type = kind.map(str::to_owned);
        soc.reply_fault(ReplyFault::WebPage { status, content_type });
        let ended = probe(&rack).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stdout.contains(words), "{ended:?}");
        assert!(ended.stdout.contains("health     unknown"), "{ended:?}");
    }
    for good in [
        ReplyFault::Compressed(Compression::Deflate),
        ReplyFault::DetailsBin {
            value: "!!!".to_owned(),
            head: false,
        },
    ] {
        soc.reply_fault(good.clone());
        let ended = probe(&rack).await;
        assert_eq!(ended.code, Some(0), "{good:?}: {ended:?}");
    }
    soc.connection_fault(ConnectionFault::Http1);
    let ended = probe(&rack).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let words = "protocol: not a gRPC server: it answers in HTTP/1";
    assert!(ended.stdout.contains(words), "{ended:?}");
}

/// An HTTP/1 server that answers the first line and closes with the rest unread, so that a reset follows the answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_web_server_that_hangs_up_is_told_as_what_it_is() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let server = std::thread::spawn(move || {
        let (mut tcp, _) = listener.accept().expect("a client");
        tcp.read_exact(&mut [0; 18])
            .expect("the first line and an empty one");
        tcp.write_all(b"HTTP/1.1 505 HTTP Version Not Supported\r\n\r\n")
            .expect("sent");
    });
    let ended = run(&["probe", &address]).await;
    server.join().expect("no panic");
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stdout.contains("protocol: not a gRPC server"), "{ended:?}");
}
