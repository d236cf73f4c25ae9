//! The real binary under systemd: sockets that it passes, and what it is told (sd_notify). A datagram socket of ours is the service
//! manager, and perl passes the sockets as systemd does.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use crate::child::{Ended, Program, assert_cannot_start, binary, run};
use crate::harness::{LONG, wait_until};
use crate::http::get;

const CONFIG: &str =
    "side: upper\ndatabases: {publish: off}\ntargets: [{port: Ethernet0, address: 127.0.0.1}]\n";

/// A directory with a configuration, and the configuration's path.
fn configured() -> (TempDir, String) {
    let dir = TempDir::new().expect("a directory");
    let config = dir.path().join("config.yml");
    std::fs::write(&config, CONFIG).expect("written");
    let config = config.to_str().expect("UTF-8").to_owned();
    (dir, config)
}

/// The next message that is not of the watchdog.
async fn message(socket: &UnixDatagram) -> String {
    loop {
        let mut message = [0; 200];
        let read = timeout(LONG, socket.recv(&mut message)).await;
        let read = read.expect("a message").expect("a message");
        let message = String::from_utf8_lossy(&message[..read]).into_owned();
        if message != "WATCHDOG=1\n" {
            return message;
        }
    }
}

async fn watchdog(socket: &UnixDatagram) {
    let mut message = [0; 200];
    let read = timeout(LONG, socket.recv(&mut message)).await;
    let read = read.expect("a message").expect("a message");
    assert_eq!(&message[..read], b"WATCHDOG=1\n");
}

fn notified(config: &str, socket: &Path, watchdog: &str) -> Program {
    let args = ["--config.file", config, "--web.listen-address", "127.0.0.1:0"];
    let socket = socket.to_str().expect("UTF-8");
    Program::start_with(&args, &[("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", watchdog)])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_hears_of_start_life_reload_and_stop() {
    let (dir, config) = configured();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let mut program = notified(&config, &path, "200000");
    let address = program.address().await;
    assert_eq!(message(&socket).await, "READY=1\n");
    assert_eq!(get(address, "/-/ready").await.status, 200);
    for _ in 0..3 {
        watchdog(&socket).await;
    }
    program.signal("HUP");
    let reloading = message(&socket).await;
    assert!(
        reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    assert_eq!(message(&socket).await, "READY=1\n");
    // A reload that fails has an end too.
    std::fs::write(&config, "targets: 1").expect("written");
    program.signal("HUP");
    assert!(message(&socket).await.starts_with("RELOADING=1\n"));
    assert_eq!(message(&socket).await, "READY=1\n");
    program.signal("TERM");
    assert_eq!(message(&socket).await, "STOPPING=1\n");
    assert_eq!(program.ended().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_that_is_away_or_reads_nothing_holds_up_nothing() {
    let (dir, config) = configured();
    let path = dir.path().join("notify");
    // A message each 100 µs, and no one reads: the kernel keeps a few hundred at most.
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let mut program = notified(&config, &path, "1");
    let address = program.address().await;
    wait_until("it is ready", async || {
        match get(address, "/-/ready").await.status {
            200 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    drop(socket);
    std::fs::remove_file(&path).expect("removed");
    assert_eq!(get(address, "/metrics").await.status, 200);
    program.signal("TERM");
    assert_eq!(program.ended().await.code, Some(0));
}

/// Passes `sockets`, each `listen` or `bind`, from descriptor 3 on.
fn passed(sockets: &[&str], args: &[&str]) -> Program {
    const PERL: &str = r#"
        use Socket; use POSIX;
        my @kinds = split(/,/, shift @ARGV);
        $^F = 1000;
        for my $i (0 .. $#kinds) {
            socket(my $s, PF_INET, SOCK_STREAM, 0) or die;
            bind($s, sockaddr_in(0, INADDR_LOOPBACK)) or die;
            if ($kinds[$i] eq 'listen') { listen($s, 16) or die }
            POSIX::dup2(fileno($s), 60 + $i); close($s);
        }
        for my $i (0 .. $#kinds) { POSIX::dup2(60 + $i, 3 + $i); POSIX::close(60 + $i) }
        $ENV{LISTEN_FDS} = scalar @kinds;
        $ENV{LISTEN_PID} = $$;
        exec @ARGV or die;
    "#;
    let mut perl = Command::new("perl");
    perl.args(["-e", PERL, &sockets.join(",")]);
    perl.arg(binary("dualtor-exporter")).args(args);
    Program::spawn(perl)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_on_the_sockets_that_are_passed() {
    let (_dir, config) = configured();
    let args = ["--config.file", &config, "--web.systemd-socket"];
    let mut program = passed(&["listen", "listen"], &args);
    program.says("message=serving", 2).await;
    let log = program.stderr();
    let serving = log.lines().filter(|line| line.contains("message=serving"));
    let addresses = serving.filter_map(|line| line.split("address=").nth(1));
    let addresses: Vec<std::net::SocketAddr> = addresses
        .filter_map(|rest| rest.split([' ', '"']).find(|word| !word.is_empty())?.parse().ok())
        .collect();
    assert_eq!(addresses.len(), 2, "{log}");
    for address in addresses {
        assert_eq!(get(address, "/-/healthy").await.status, 200);
    }
    program.signal("TERM");
    assert_eq!(program.ended().await.code, Some(0));
}

#[tokio::test]
async fn sockets_that_cannot_be_served_on_are_a_start_that_failed() {
    let (_dir, config) = configured();
    let args = ["--config.file", &config, "--web.systemd-socket"];
    let refused = |ended: &Ended, words: &str| assert_cannot_start(ended, &["--web.systemd-socket", words]);
    refused(&run(&args).await, "no socket was passed");
    refused(
        &passed(&["listen", "bind"], &args).ended().await,
        "TCP sockets that listen",
    );
    let both = [&args[..], &["--web.listen-address", "127.0.0.1:0"]].concat();
    let ended = timeout(Duration::from_secs(60), run(&both))
        .await
        .expect("an end");
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("cannot be used with"), "{ended:?}");
    let vsock = ["--config.file", &config, "--web.listen-address", "vsock://:9075"];
    assert_cannot_start(&run(&vsock).await, &["vsock is not supported"]);
    // A check takes no sockets.
    let check = [&args[..], &["--config.check"]].concat();
    assert_eq!(run(&check).await.code, Some(0));
}
