//! Whether gRPC's stock servers accept our PINGs. A relay between exporter and SoC sees each HTTP/2 frame, counts the strikes by
//! the default rules of grpc-core (grpcio), grpc-go or grpc-java, and ends the connection as they do. It shares no code with
//! exporter and simulator.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dualtor_sim::{Health, Scenario, Simulator, SocSpec};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::harness::Setup;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const PREFACE: usize = 24;

/// Least time between PINGs without calls, and with.
const IDLE: Duration = Duration::from_secs(2 * 3600);
const BUSY: Duration = Duration::from_secs(300);
const STRIKES: u32 = 2;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Server {
    /// ping_abuse_policy.cc
    Core,
    /// internal/transport/http2_server.go, handlePing
    Go,
    /// KeepAliveEnforcer.java
    Java,
}

/// The strikes of one connection.
struct Strikes {
    server: Server,
    last: Option<Instant>,
    strikes: u32,
    /// Go: something was sent since the last PING.
    reset: bool,
}

impl Strikes {
    fn new(server: Server) -> Self {
        Self {
            server,
            last: None,
            strikes: 0,
            reset: false,
        }
    }

    /// A PING arrived while this many calls were open; returns whether it was one too many.
    fn ping(&mut self, now: Instant, calls: usize) -> bool {
        let least = if calls == 0 { IDLE } else { BUSY };
        let early = self.last.is_some_and(|last| now < last + least);
        if self.server == Server::Go && std::mem::take(&mut self.reset) {
            (self.strikes, self.last) = (0, Some(now));
            return false;
        }
        // Java keeps the time of the last PING that was accepted.
        if self.server != Server::Java || !early {
            self.last = Some(now);
        }
        self.strikes += u32::from(early);
        self.strikes > STRIKES
    }

    /// The server has sent HEADERS or DATA.
    fn sent(&mut self) {
        match self.server {
            Server::Core | Server::Java => (self.strikes, self.last) = (0, None),
            Server::Go => self.reset = true,
        }
    }
}

/// A frame with its header.
async fn frame(from: &mut OwnedReadHalf) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; 9];
    from.read_exact(&mut bytes).await?;
    let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
    bytes.resize(9 + length, 0);
    from.read_exact(&mut bytes[9..]).await?;
    Ok(bytes)
}

enum Came {
    FromClient(Vec<u8>),
    FromServer(Vec<u8>),
    End,
}

fn read(mut from: OwnedReadHalf, to: mpsc::Sender<Came>, came: fn(Vec<u8>) -> Came) {
    tokio::spawn(async move {
        while let Ok(frame) = frame(&mut from).await {
            if to.send(came(frame)).await.is_err() {
                return;
            }
        }
        let _ = to.send(Came::End).await;
    });
}

async fn relay(
    client: TcpStream,
    to: SocketAddr,
    server: Server,
    refused: &AtomicU64,
) -> std::io::Result<()> {
    let soc = TcpStream::connect(to).await?;
    let ((mut from_client, mut to_client), (from_soc, mut to_soc)) = (client.into_split(), soc.into_split());
    let mut preface = [0; PREFACE];
    from_client.read_exact(&mut preface).await?;
    to_soc.write_all(&preface).await?;
    let (tx, mut frames) = mpsc::channel(16);
    read(from_client, tx.clone(), Came::FromClient);
    read(from_soc, tx, Came::FromServer);
    let (mut strikes, mut calls) = (Strikes::new(server), std::collections::BTreeSet::new());
    while let Some(came) = frames.recv().await {
        let (Came::FromClient(frame) | Came::FromServer(frame)) = &came else {
            break;
        };
        let (kind, flags, stream) = (frame[3], frame[4], [frame[5], frame[6], frame[7], frame[8]]);
        let ends = kind == RST_STREAM || kind <= HEADERS && flags & END_STREAM != 0;
        match &came {
            Came::FromClient(frame) => {
                if kind == HEADERS {
                    calls.insert(stream);
                }
                if kind == RST_STREAM {
                    calls.remove(&stream);
                }
                if kind == PING && flags & ACK == 0 && strikes.ping(Instant::now(), calls.len()) {
                    refused.fetch_add(1, Ordering::Relaxed);
                    let debug = b"too_many_pings";
                    let mut goaway = vec![
                        0,
                        0,
                        8 + 14,
                        GOAWAY,
                        0,
                        0,
                        0,
                        0,
                        0,
                        0x7f,
                        0xff,
                        0xff,
                        0xff,
                        0,
                        0,
                        0,
                        11,
                    ];
                    goaway.extend_from_slice(debug);
                    return to_client.write_all(&goaway).await;
                }
                to_soc.write_all(frame).await?;
            }
            Came::FromServer(frame) => {
                if kind == HEADERS || kind == DATA {
                    strikes.sent();
                }
                if ends {
                    calls.remove(&stream);
                }
                to_client.write_all(frame).await?;
            }
            Came::End => {}
        }
    }
    Ok(())
}

/// A relay to `to`, and how often it has refused.
async fn stock(server: Server, to: SocketAddr) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let refused = Arc::new(AtomicU64::new(0));
    let count = refused.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let count = count.clone();
            tokio::spawn(async move { relay(client, to, server, &count).await });
        }
    });
    (address, refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_stock_server_refuses_our_pings_once_and_then_never_again() {
    // One SoC with streams that stay open, and one without any call between the rounds.
    let mut scenario = Scenario::uniform(1);
    scenario.socs.push(SocSpec {
        port: "Ethernet4".to_owned(),
        health: Some(Health::None),
        graceful_restart: Some(false),
        ..SocSpec::default()
    });
    scenario.rack.as_mut().expect("a rack").count = 2;
    let simulator = Simulator::start(scenario).await.expect("SoCs");
    let mut setup = Setup::rack(1)
        .probe("interval: 1s, timeout: 500ms")
        .channel("keepalive_time: 100ms, keepalive_timeout: 5s, backoff: {initial: 100ms, max: 500ms}");
    let mut relays = Vec::new();
    for server in [Server::Core, Server::Go, Server::Java] {
        for soc in simulator.socs() {
            let (address, refused) = stock(server, soc.address()).await;
            let port = format!("Ethernet{}", 100 + relays.len());
            setup.settings.targets.push((port.clone(), address));
            relays.push((server, port, refused));
        }
    }
    let rack = setup.start().await;
    for (server, port, refused) in &relays {
        let labels = [("port", port.as_str()), ("query", "admin"), ("result", "OK")];
        let goaways = [("port", port.as_str()), ("cause", "goaway")];
        rack.counts("dualtor_channel_failures_total", &goaways, 1).await;
        let rounds = rack.scrape().await.count("dualtor_probes_total", &labels);
        let scrape = rack.counts("dualtor_probes_total", &labels, rounds + 8).await;
        let all = [("port", port.as_str())];
        assert_eq!(
            (
                refused.load(Ordering::Relaxed),
                scrape.count("dualtor_channel_failures_total", &all)
            ),
            (1, 1),
            "{server:?} {port}"
        );
        let interval = scrape.value("dualtor_keepalive_interval_seconds", &all);
        assert_eq!(interval, Some(1.0), "{server:?} {port}");
        assert!(
            scrape.value("dualtor_keepalive_rtt_seconds", &all).is_some(),
            "{server:?} {port}"
        );
    }
}

#[test]
fn each_server_strikes_as_its_code_says() {
    let start = Instant::now();
    let at = |secs| start + Duration::from_secs(secs);
    for server in [Server::Core, Server::Go, Server::Java] {
        let mut idle = Strikes::new(server);
        let refused = [0, 4, 8, 12].map(|secs| idle.ping(at(secs), 0));
        assert_eq!(refused, [false, false, false, true], "{server:?}");
        let mut with_rounds = Strikes::new(server);
        for secs in 0..100 {
            assert!(!with_rounds.ping(at(secs), 0), "{server:?}");
            with_rounds.sent();
        }
    }
}
