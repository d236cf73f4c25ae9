//! The API's event stream: what it sends, when, and how a client that was away goes on.

use std::net::SocketAddr;
use std::time::Duration;

use dualtor_sim::ConnectionFault;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpSocket;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::{Instant, timeout};

use crate::harness::{ONLY_AT_READY, Rack, Setup, wait_until};
use crate::http::get;
use crate::soc_view::Look;

/// Much longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

/// A client that reads events.
struct Events {
    lines: tokio::io::Lines<BufReader<OwnedReadHalf>>,
    _writer: tokio::net::tcp::OwnedWriteHalf,
    status: u16,
}

#[derive(Debug)]
struct Event {
    kind: String,
    id: String,
    data: Value,
}

impl Events {
    async fn open(web: SocketAddr, last_event_id: Option<&str>) -> Self {
        Self::open_from("127.0.0.1", web, last_event_id).await
    }

    /// A client with this address.
    async fn open_from(own: &str, web: SocketAddr, last_event_id: Option<&str>) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        let own = SocketAddr::new(own.parse().expect("an address"), 0);
        socket.bind(own).expect("an address of this host");
        let stream = socket.connect(web).await.expect("a connection");
        let (reader, mut writer) = stream.into_split();
        let resume = last_event_id.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
        // HTTP/1.0: the events are not cut into chunks.
        let request = format!("GET /api/v1/events HTTP/1.0\r\nHost: {web}\r\n{resume}\r\n");
        writer.write_all(request.as_bytes()).await.expect("sent");
        let mut events = Self {
            lines: BufReader::new(reader).lines(),
            _writer: writer,
            status: 0,
        };
        let status = events.line().await.expect("a status");
        events.status = status
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .expect("a code");
        while !events.line().await.expect("a header").is_empty() {}
        events
    }

    async fn line(&mut self) -> Option<String> {
        let line = timeout(LONG, self.lines.next_line())
            .await
            .expect("a line in time");
        // A reset ends it like a close.
        line.ok().flatten()
    }

    /// `None`: the stream has ended.
    async fn next(&mut self) -> Option<Event> {
        let (mut kind, mut id, mut data) = (String::new(), String::new(), String::new());
        loop {
            let line = self.line().await?;
            match line.split_once(": ") {
                Some(("event", value)) => value.clone_into(&mut kind),
                Some(("id", value)) => value.clone_into(&mut id),
                Some(("data", value)) => value.clone_into(&mut data),
                _ if line.is_empty() && !kind.is_empty() => {
                    let data = serde_json::from_str(&data).expect("JSON");
                    return Some(Event { kind, id, data });
                }
                // A comment, and the empty line after it.
                _ => {}
            }
        }
    }

    /// Reads until `port` has this level; returns the event's id.
    async fn shows(&mut self, port: &str, level: &str) -> String {
        loop {
            let event = self.next().await.expect("an event");
            let rows = event.data["ports"].as_array().cloned().unwrap_or_default();
            if rows
                .iter()
                .any(|row| row["port"] == port && row["level"] == level)
            {
                return event.id;
            }
        }
    }
}

/// After the first round, rows change only when a test changes something.
async fn rack() -> Rack {
    let rack = Setup::rack(3).probe(ONLY_AT_READY).start().await;
    for port in ["Ethernet0", "Ethernet4", "Ethernet8"] {
        rack.shows(port, &Look::HEALTHY).await;
    }
    rack
}

fn kill(rack: &Rack, port: &str) {
    rack.soc(port).connection_fault(ConnectionFault::Refuse);
    rack.soc(port).close_connections();
}

#[tokio::test(flavor = "multi_thread")]
async fn first_the_fleet_then_all_rows_then_only_what_changes() {
    let rack = rack().await;
    let mut events = Events::open(rack.web, None).await;
    assert_eq!(events.status, 200);
    let fleet = events.next().await.expect("an event");
    assert_eq!(
        (&*fleet.kind, &fleet.data["counts"]["ports"]),
        ("fleet", &3.into())
    );
    let rows = events.next().await.expect("an event");
    assert_eq!(
        (&*rows.kind, rows.data["ports"].as_array().map(Vec::len)),
        ("ports", Some(3))
    );
    kill(&rack, "Ethernet4");
    events.shows("Ethernet4", "critical").await;
    rack.soc("Ethernet4").connection_fault(ConnectionFault::None);
    events.shows("Ethernet4", "warning").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_was_away_gets_what_it_missed_and_another_runs_id_means_all_again() {
    let rack = rack().await;
    let mut events = Events::open(rack.web, None).await;
    let id = events.shows("Ethernet8", "warning").await;
    drop(events);
    kill(&rack, "Ethernet0");
    rack.shows("Ethernet0", &Look::unknown("transient_failure")).await;
    let mut events = Events::open(rack.web, Some(&id)).await;
    assert_eq!(events.next().await.expect("an event").kind, "fleet");
    // The first message may come from a view that is older than the loss.
    loop {
        let event = events.next().await.expect("an event");
        assert_ne!(event.kind, "reset");
        let rows = event.data["ports"].as_array().cloned().unwrap_or_default();
        if rows
            .iter()
            .any(|row| row["port"] == "Ethernet0" && row["level"] == "critical")
        {
            break;
        }
    }
    for odd in ["0-1", "nonsense", "ffffffffffffffff-99999999999999999999"] {
        let mut events = Events::open(rack.web, Some(odd)).await;
        let kinds = [events.next().await, events.next().await];
        let kinds: Vec<String> = kinds.into_iter().flatten().map(|event| event.kind).collect();
        assert_eq!(kinds, ["fleet", "reset"], "{odd}");
        // The fleet may come again among the rows, at the place of its last change.
        let mut ports = std::collections::BTreeSet::new();
        while ports.len() < 3 {
            let event = events.next().await.expect("an event");
            let rows = event.data["ports"].as_array().cloned().unwrap_or_default();
            ports.extend(rows.iter().map(|row| row["port"].to_string()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_port_is_told() {
    let mut rack = rack().await;
    let mut events = Events::open(rack.web, None).await;
    events.shows("Ethernet8", "warning").await;
    rack.settings.targets.retain(|(port, _)| port != "Ethernet4");
    rack.write_config(&rack.settings.yaml(&rack.redis));
    rack.reload().await;
    loop {
        let event = events.next().await.expect("an event");
        if event.kind == "removed" {
            assert_eq!(event.data["ports"], serde_json::json!(["Ethernet4"]));
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_limited_and_a_place_is_free_again_when_one_closes() {
    let mut setup = Setup::rack(1);
    setup.limits.event_streams = 2;
    let rack = setup.start().await;
    let first = Events::open(rack.web, None).await;
    let second = Events::open(rack.web, None).await;
    assert_eq!((first.status, second.status), (200, 200));
    let refused = get(rack.web, "/api/v1/events").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "5"));
    let error: Value = serde_json::from_str(refused.text()).expect("JSON");
    assert_eq!(error["error"]["code"], "busy");
    drop(first);
    wait_until("a free place", async || {
        let events = Events::open(rack.web, None).await;
        if events.status == 200 {
            Ok(())
        } else {
            Err(events.status.to_string())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_cannot_keep_the_others_out() {
    let mut setup = Setup::rack(1);
    setup.limits.event_streams = 4;
    let rack = setup.start().await;
    let mut greedy = Vec::new();
    for _ in 0..4 {
        // They are not read any more.
        greedy.push(Events::open_from("127.0.0.2", rack.web, None).await);
    }
    assert_eq!(Events::open_from("127.0.0.2", rack.web, None).await.status, 503);
    let mut others = Vec::new();
    for _ in 0..2 {
        others.push(Events::open_from("127.0.0.3", rack.web, None).await);
    }
    let third = Events::open_from("127.0.0.4", rack.web, None).await;
    let statuses: Vec<u16> = others.iter().map(|events| events.status).collect();
    assert_eq!((statuses, third.status), (vec![200, 200], 200));
    assert_eq!(Events::open_from("127.0.0.2", rack.web, None).await.status, 503);
    // Its oldest two have ended, then the oldest of those who had two.
    for ended in &mut greedy[..3] {
        while ended.next().await.is_some() {}
    }
    assert!(greedy[3].next().await.is_some());
    for other in &mut others {
        assert!(other.next().await.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_four_messages_in_a_second() {
    let rack = Setup::rack(3)
        .probe("interval: 20ms, timeout: 10ms")
        .start()
        .await;
    let mut events = Events::open(rack.web, None).await;
    let began = Instant::now();
    for _ in 0..12 {
        events.next().await.expect("an event");
    }
    // The first comes at once, then eleven pauses.
    assert!(
        began.elapsed() >= Duration::from_millis(11 * 250),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_the_streams_at_once() {
    let mut rack = rack().await;
    let mut events = Events::open(rack.web, None).await;
    events.shows("Ethernet8", "warning").await;
    let began = Instant::now();
    rack.stop_exporter().await;
    while events.next().await.is_some() {}
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
