//! Collectors that are not well, and what the log and `doctor` say about them. What a SoC notices of telemetry: not a byte.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dualtor_sim::{ConnectionFault, Scenario, Simulator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::certificates::{Ca, EXPIRED, Files, VALID};
use crate::child::Program;
use crate::harness::{ONLY_AT_READY, Rack, Setup, wait_until};
use crate::http::Scrape;
use crate::otlp_receiver::{Behaviour, OtlpReceiver, spans_counted};

const SPANS: &str = "dualtor_otlp_spans_total";
/// Something is always sent.
const BUSY: &str = "interval: 50ms, timeout: 40ms";

fn sends_to(receiver: &OtlpReceiver, keys: &str) -> Setup {
    Setup::rack(1)
        .databases("publish: off")
        .probe(BUSY)
        .otel(&format!("endpoint: \"http://{}\", {keys}", receiver.address))
        .variable("OTEL_BSP_SCHEDULE_DELAY", "20")
}

/// The exporter as a process, so that its log is seen.
fn start(rack: &Rack, endpoint: &str) -> Program {
    let config = rack.config_path();
    let args = [
        "--config.file",
        config.to_str().expect("UTF-8"),
        "--web.listen-address",
        "127.0.0.1:0",
    ];
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_TRACES_SAMPLER", "always_on"),
        ("OTEL_BSP_SCHEDULE_DELAY", "10"),
    ];
    Program::start_with(&args, &variables)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_asks_for_time_gets_it_also_if_a_batch_may_not_take_so_long() {
    let receiver = OtlpReceiver::start(false).await;
    receiver.behave(Behaviour::Odd(503, ("retry-after", "1")));
    let rack = sends_to(
        &receiver,
        "traces: all, logs: on, metrics: on, metrics_interval: 50ms",
    )
    .variable("OTEL_BSP_EXPORT_TIMEOUT", "300")
    .start()
    .await;
    for signal in ["traces", "metrics", "logs"] {
        let came: Vec<Instant> = wait_until(signal, async || {
            receiver.received(|received| {
                let all = received.requests.iter().zip(&received.came);
                let came = all.filter(|(path, _)| path.ends_with(signal));
                let came: Vec<Instant> = came.map(|(_, came)| *came).collect();
                if came.len() > 2 {
                    Ok(came)
                } else {
                    Err(format!("{came:?}"))
                }
            })
        })
        .await;
        for pair in came.windows(2) {
            assert!(pair[1] - pair[0] >= Duration::from_secs(1), "{signal}: {pair:?}");
        }
        if signal == "traces" {
            // Events are few: with the next one the third request of theirs comes.
            rack.soc("Ethernet0").connection_fault(ConnectionFault::Refuse);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_asks_for_ever_ends_nothing_and_the_queue_holds_what_it_can() {
    let receiver = OtlpReceiver::start(false).await;
    receiver.behave(Behaviour::Odd(503, ("retry-after", "18446744073709551615")));
    let mut rack = sends_to(&receiver, "traces: all")
        .variable("OTEL_BSP_MAX_QUEUE_SIZE", "20")
        .start()
        .await;
    wait_until("a full queue", async || match spans_counted(&rack).await {
        [0, 0, (12..)] => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(rack.scrape().await.value("dualtor_otlp_up", &[]), Some(0.0));
    assert_eq!(receiver.received(|received| received.requests.len()), 1);
    let began = Instant::now();
    rack.stop_exporter().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_comes_and_goes_and_one_that_warns_are_one_line_each() {
    let receiver = OtlpReceiver::start(false).await;
    let rack = Setup::rack(1).databases("publish: off").probe(BUSY).stage().await;
    // Nothing is rejected, but there is a text.
    receiver.behave(Behaviour::Reject(0));
    let mut exporter = start(&rack, &format!("http://{}", receiver.address));
    exporter
        .says("the collector takes the telemetry with a warning", 1)
        .await;
    let web = exporter.address().await;
    let more = async |result: &str| {
        let count = async || {
            let text = crate::http::get(web, "/metrics").await;
            Scrape::parse(text.text()).count(SPANS, &[("result", result)])
        };
        let before = count().await;
        wait_until(result, async || match count().await {
            now if now > before + 20 => Ok(()),
            now => Err(format!("{before} and {now}")),
        })
        .await;
    };
    more("ok").await;
    for _ in 0..4 {
        receiver.behave(Behaviour::Fail(400));
        more("error").await;
        receiver.behave(Behaviour::Reject(0));
        more("ok").await;
    }
    exporter.signal("TERM");
    let log = exporter.ended().await.stderr;
    let lines = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    assert_eq!(lines("with a warning"), 1, "{log}");
    assert!(log.contains("reason=\"too many\""), "{log}");
    assert_eq!(lines("telemetry does not arrive"), 1, "{log}");
    assert_eq!(lines("telemetry arrives again"), 0, "{log}");
}

/// What `doctor` says about the endpoint.
async fn told(protocol: &str, endpoint: &str, tls: &str) -> String {
    let keys = format!("endpoint: \"{endpoint}\", protocol: {protocol}{tls}");
    let rack = Setup::rack(1).databases("publish: off").otel(&keys).stage().await;
    let config = rack.config_path();
    let args = ["doctor", "--config.file", config.to_str().expect("UTF-8")];
    Program::start(&args).ended().await.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_port_or_certificate_is_told_in_words_that_name_the_mistake() {
    let (http, grpc) = (OtlpReceiver::start(false).await, OtlpReceiver::start(true).await);
    let (ca, files) = (Ca::new("collector CA", VALID), Files::new());
    files.write("ca.crt", &ca.cert);
    files.client(&ca.client(VALID));
    let other = files.write("other.key", &ca.client(VALID).key);
    let mut scenario = Scenario::uniform(1);
    scenario.defaults.tls = Some(files.soc(&ca.soc(EXPIRED)));
    let simulator = Simulator::start(scenario).await.expect("a simulator");
    let expired = simulator.soc("Ethernet0").expect("a SoC").address();
    let path = |name: &str| files.path(name).display().to_string();
    let trusted = format!(", tls: {{ca: \"{}\"}}", path("ca.crt"));
    let mismatch = format!(
        ", tls: {{ca: \"{}\", cert: \"{}\", key: \"{}\"}}",
        path("ca.crt"),
        path("client.crt"),
        other.display()
    );
    for (protocol, endpoint, tls, words) in [
        (
            "http/protobuf",
            format!("http://{}", grpc.address),
            "",
            "what the server sends is not HTTP/1.1, it may speak gRPC only",
        ),
        (
            "grpc",
            format!("https://{}", http.address),
            &trusted,
            "TLS: the server does not speak TLS",
        ),
        (
            "http/protobuf",
            format!("https://{expired}"),
            &trusted,
            "the server's certificate has expired: 2021-01-01T00:00:00Z",
        ),
        (
            "http/protobuf",
            format!("https://{}", http.address),
            &mismatch,
            "other.key: is not the key of the certificate ",
        ),
    ] {
        let told = told(protocol, &endpoint, tls).await;
        assert!(told.contains(words), "{protocol}, {endpoint}: {told}");
    }
}

/// Between an exporter and a SoC. It keeps what the exporter sends.
struct Relay {
    address: SocketAddr,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Relay {
    async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let sent = Arc::<Mutex<Vec<u8>>>::default();
        let keeps = sent.clone();
        tokio::spawn(async move {
            loop {
                let (exporter, _) = listener.accept().await.expect("a connection");
                let soc = TcpStream::connect(to).await.expect("the SoC");
                let (mut from, mut back) = exporter.into_split();
                let (mut answers, mut there) = soc.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
                let keeps = keeps.clone();
                tokio::spawn(async move {
                    let mut chunk = vec![0; 16 * 1024];
                    while let Ok(length @ 1..) = from.read(&mut chunk).await {
                        keeps.lock().expect("no panic").extend(&chunk[..length]);
                        if there.write_all(&chunk[..length]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self { address, sent }
    }

    /// What an exporter sends up to the end of the one round of the SoC.
    async fn bytes_of_a_round(&self, rack: &mut Rack, receiver: Option<&OtlpReceiver>) -> Vec<u8> {
        self.sent.lock().expect("no panic").clear();
        let spans_before = receiver.map_or(0, OtlpReceiver::spans);
        rack.start_exporter().await;
        let all = |scrape: &Scrape| scrape.count("dualtor_probes_total", &[("result", "OK")]) == 5;
        rack.scraped("the answers of a round", all).await;
        let bytes = self.sent.lock().expect("no panic").clone();
        if let Some(receiver) = receiver {
            wait_until("the spans of the round and of the dial", async || {
                match receiver.spans() - spans_before {
                    7.. => Ok(()),
                    few => Err(few.to_string()),
                }
            })
            .await;
        }
        rack.stop_exporter().await;
        bytes
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soc_gets_the_same_bytes_with_and_without_telemetry() {
    let receiver = OtlpReceiver::start(false).await;
    let quiet = |setup: Setup| {
        let setup = setup.databases("publish: off").probe(ONLY_AT_READY);
        setup.channel("keepalive_time: 30s, keepalive_timeout: 10s")
    };
    let mut without = quiet(Setup::rack(1)).stage().await;
    let mut with = quiet(sends_to(
        &receiver,
        "traces: all, logs: on, metrics: on, metrics_interval: 50ms",
    ))
    .stage()
    .await;
    // One address for both: the exporter sends it as the authority.
    let relay = Relay::start(without.settings.targets[0].1).await;
    for rack in [&mut without, &mut with] {
        rack.settings.targets[0].1 = relay.address;
        rack.write_config(&rack.settings.yaml(&rack.redis));
    }
    let mut known = BTreeSet::new();
    for _ in 0..3 {
        known.insert(relay.bytes_of_a_round(&mut without, None).await);
    }
    // Queries leave at the same moment, rarely in another order.
    wait_until("the same bytes", async || {
        let bytes = relay.bytes_of_a_round(&mut with, Some(&receiver)).await;
        match known.contains(&bytes) {
            true => Ok(()),
            false => Err(format!("{} bytes", bytes.len())),
        }
    })
    .await;
}
