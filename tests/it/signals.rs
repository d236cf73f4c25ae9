//! The real binary under signals: it stops in time whatever hangs, and reloads its file.

use std::time::{Duration, Instant};

use dualtor_sim::{ConnectionFault, H2Code};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::child::Program;
use crate::connections::goaway;
use crate::harness::{ONLY_AT_READY, Rack, Setup, wait_until};
use crate::http;
use crate::soc_view::{self, Look};

const PORT: &str = "Ethernet0";
/// A stop may take 5 s. It is built to take 3 s at most; the rest is for a busy machine.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// The real binary on a rack's configuration file.
async fn start(rack: &mut Rack) -> Program {
    let path = rack.config_path();
    let path = path.to_str().expect("UTF-8");
    let mut program = Program::start(&["--config.file", path, "--web.listen-address", "127.0.0.1:0"]);
    rack.web = program.address().await;
    program
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_leaves_shutdown_in_each_row_with_its_counters() {
    for signal in ["TERM", "INT"] {
        let mut rack = Setup::rack(2).stage().await;
        let program = start(&mut rack).await;
        rack.shows(PORT, &Look::HEALTHY).await;
        let before = rack.row(PORT);
        program.signal(signal);
        let ended = program.ended().await;
        assert_eq!(ended.code, Some(0), "{signal}: {ended:?}");
        for port in [PORT, "Ethernet4"] {
            let row = rack.row(port);
            assert_eq!(
                soc_view::of_row(&row),
                Look::unknown("shutdown").row(),
                "{signal}"
            );
        }
        let count = |row: &soc_view::Row| row["mux_direction_probe_count"].parse::<u64>().expect("a count");
        assert!(count(&before) >= 1 && count(&rack.row(PORT)) >= count(&before));
        assert_eq!(rack.soc(PORT).counters().connections, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_calls_a_graceful_goaway_no_failure() {
    let mut rack = Setup::rack(1).stage().await;
    let mut program = start(&mut rack).await;
    rack.shows(PORT, &Look::HEALTHY).await;
    rack.soc(PORT)
        .connection_fault(goaway(H2Code::NoError, "max_age"));
    let line = program
        .says("ended the connection in good order (GOAWAY NO_ERROR)", 1)
        .await;
    for word in [
        "level=info",
        "port=Ethernet0",
        "from=ready",
        "to=connecting",
        "dialling again",
    ] {
        assert!(line.contains(word), "{word}: {line}");
    }
    assert!(!line.contains("cause="), "{line}");
}

/// A scrape whose reader reads nothing, and one whose request never ends.
async fn stuck_scrapes(rack: &Rack) -> [TcpStream; 2] {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(2048).expect("a small buffer");
    let mut unread = socket.connect(rack.web).await.expect("a connection");
    unread
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .expect("sent");
    let mut endless = TcpStream::connect(rack.web).await.expect("a connection");
    endless
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
        .await
        .expect("sent");
    unread.readable().await.expect("the answer has begun");
    [unread, endless]
}

/// Enough SoCs to make a scrape larger than a socket's buffers.
const PORTS: usize = 500;

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_what_hangs() {
    let setup = Setup::rack(8).probe(ONLY_AT_READY);
    let mut rack = setup
        .databases("publish_notifications: true")
        .channel("keepalive_time: 4s, keepalive_timeout: 8s")
        .stage()
        .await;
    let addresses: Vec<_> = rack.socs().iter().map(|soc| soc.address()).collect();
    rack.settings.targets = (0..PORTS)
        .map(|n| (format!("Ethernet{n}"), addresses[n % addresses.len()]))
        .collect();
    rack.write_config(&rack.settings.yaml(&rack.redis));
    let program = start(&mut rack).await;
    wait_until("all are connected and have a row", async || {
        let open: u64 = rack
            .socs()
            .iter()
            .map(|soc| soc.counters().open_connections)
            .sum();
        let rows: usize = rack.redis.ask("DBSIZE");
        if open == PORTS as u64 && rows == PORTS {
            Ok(())
        } else {
            Err(format!("{open} connections, {rows} rows"))
        }
    })
    .await;
    for soc in rack.socs() {
        soc.connection_fault(ConnectionFault::Hang);
    }
    rack.redis.freeze();
    let _scrapes = stuck_scrapes(&rack).await;
    let began = Instant::now();
    program.signal("TERM");
    let ended = program.ended().await;
    let took = began.elapsed();
    rack.redis.thaw();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(took < STOP_WITHIN, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reloads_the_file_and_leaves_what_is_the_same_alone() {
    let mut rack = Setup::rack(4).stage().await;
    let mut program = start(&mut rack).await;
    for port in [PORT, "Ethernet4", "Ethernet8", "Ethernet12"] {
        rack.shows(port, &Look::HEALTHY).await;
    }
    let twelve = rack.soc("Ethernet12").address();
    let targets = &mut rack.settings.targets;
    targets.retain(|(port, _)| port != "Ethernet4");
    targets[1].1 = twelve;
    targets.push(("Ethernet16".to_owned(), twelve));
    rack.write_config(&rack.settings.yaml(&rack.redis));
    program.signal("HUP");
    program.says("configuration reloaded", 1).await;
    let scrape = rack
        .scraped("dualtor_channel_dials_total", |scrape| {
            let dials = |port| scrape.value("dualtor_channel_dials_total", &[("port", port)]);
            dials("Ethernet4").is_none()
                && dials("Ethernet8") == Some(2.0)
                && dials("Ethernet16") == Some(1.0)
        })
        .await;
    for port in [PORT, "Ethernet12"] {
        let dials = scrape.value("dualtor_channel_dials_total", &[("port", port)]);
        assert_eq!(dials, Some(1.0), "{port} was not touched");
    }
    for port in [PORT, "Ethernet8", "Ethernet12", "Ethernet16"] {
        rack.shows(port, &Look::HEALTHY).await;
    }
    wait_until("the row is gone", async || match rack.row("Ethernet4") {
        row if row.is_empty() => Ok(()),
        row => Err(format!("{row:?}")),
    })
    .await;

    // A bad file changes nothing and says why.
    rack.write_config("nonsense: 1\n");
    program.signal("HUP");
    let line = program.says("was not reloaded", 1).await;
    assert!(
        line.contains("nonsense") && line.contains("level=error"),
        "{line}"
    );
    let failed = "dualtor_config_last_reload_successful";
    let scrape = rack
        .scraped(failed, |scrape| scrape.value(failed, &[]) == Some(0.0))
        .await;
    assert_eq!(scrape.value("dualtor_inventory_ports", &[]), Some(4.0));
    rack.write_config(&rack.settings.yaml(&rack.redis));
    program.signal("HUP");
    program.says("configuration reloaded", 2).await;
    rack.scraped(failed, |scrape| scrape.value(failed, &[]) == Some(1.0))
        .await;

    // Without --web.enable-lifecycle only the signal reloads.
    assert_eq!(http::ask(rack.web, "POST", "/-/reload", &[]).await.status, 403);
    program.signal("TERM");
    assert_eq!(program.ended().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigusr2_writes_what_the_process_knows_and_a_directory_that_is_not_there_is_one_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let module = "health: {grpc_health: {}, interval: 60s, channel: {metadata: {authorization: hunter2}}, targets: [{name: soc, address: \"<Ethernet0>\"}]}";
    let mut rack = Setup::rack(1).modules(module).stage().await;
    let file = rack.config_path();
    let file = file.to_str().expect("UTF-8");
    let to = |directory: &std::path::Path| {
        let directory = directory.to_str().expect("UTF-8").to_owned();
        [
            "--config.file",
            file,
            "--web.listen-address",
            "127.0.0.1:0",
            "--debug.dump-directory",
            &directory,
        ]
        .map(str::to_owned)
    };
    let arguments = to(directory.path());
    let mut program = Program::start(&arguments.each_ref().map(String::as_str));
    rack.web = program.address().await;
    rack.shows(PORT, &Look::HEALTHY).await;
    program.signal("USR2");
    let line = program.says("dump written", 1).await;
    let path = std::fs::read_dir(directory.path())
        .expect("readable")
        .next()
        .expect("a file")
        .expect("a file")
        .path();
    assert!(line.contains(path.to_str().expect("UTF-8")), "{line}");
    let text = std::fs::read_to_string(&path).expect("text");
    for words in [
        "tasks ",
        "channels   2",
        "SoC Ethernet0",
        "READY since",
        "target health/soc (grpc_health)",
        "keepalive",
        "next round in ",
        "pending    ",
        " RPCs and streams are open",
        "round ",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
    // Two at once are two files or one, never half of one; and it goes on.
    program.signal("USR2");
    program.says("dump written", 2).await;
    rack.shows(PORT, &Look::HEALTHY).await;
    drop(program);

    let arguments = to(&directory.path().join("none"));
    let mut program = Program::start(&arguments.each_ref().map(String::as_str));
    rack.web = program.address().await;
    program.signal("USR2");
    program.says("the dump could not be written", 1).await;
    rack.shows(PORT, &Look::HEALTHY).await;
}
