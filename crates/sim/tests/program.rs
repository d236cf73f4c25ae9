//! The program `dualtor-sim`: what it prints and how it exits.

use std::io::Write as _;
use std::process::{Command, Stdio};

use dualtor_testkit::child::{Ended, Program, assert_cannot_start, binary, run};
use dualtor_testkit::wait::wait_until;
use tempfile::TempDir;

const SIM: &str = "dualtor-sim";

fn file(dir: &TempDir, text: &str) -> String {
    let path = dir.path().join("scenario.yml");
    std::fs::write(&path, text).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

async fn simulate(args: &[&str]) -> Ended {
    Program::start_our(SIM, args, &[]).ended().await
}

#[tokio::test]
async fn help_says_what_there_is() {
    let ended = simulate(&["--help"]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    insta::assert_snapshot!("help", ended.stdout);
}

#[tokio::test]
async fn what_is_no_scenario_is_told_and_hangs_nobody() {
    let usage = simulate(&[]).await;
    assert_eq!(usage.code, Some(2), "{usage:?}");
    let dir = TempDir::new().expect("a directory");
    let pipe = dir.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    let pipe = pipe.to_str().expect("UTF-8");
    assert_cannot_start(&simulate(&[pipe]).await, &[pipe, "expected a regular file"]);
    let odd = simulate(&["/\u{1b}[31m/\u{202e}"]).await;
    assert_eq!(odd.code, Some(2), "{odd:?}");
    assert!(!odd.stderr.contains(['\u{1b}', '\u{202e}']), "{odd:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_there_is_and_what_happens() {
    let dir = TempDir::new().expect("a directory");
    let scenario = file(
        &dir,
        "rack: {count: 3, first_address: 127.0.0.1, port: 0}\n\
         timeline: [{at: 10ms, soc: Ethernet4, reply: empty}]\n",
    );
    let mut program = Program::start_our(SIM, &[&scenario], &[]);
    let line = program.says("3 SoCs: Ethernet0 on 127.0.0.1:", 1).await;
    program.says("Ethernet4: empty replies", 1).await;
    let address = line
        .split(' ')
        .find(|word| word.starts_with("127.0.0.1:"))
        .expect("an address");
    let ended = run(&["probe", address, "--timeout", "10s"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    program.signal("INT");
    assert_eq!(program.ended().await.code, Some(0));

    let bad = file(&dir, "rack: {count: 3, first_address: 10.0.0.1}\n");
    let ended = simulate(&[&bad]).await;
    assert_cannot_start(&ended, &[&bad, "loopback"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_lines_nobody_reads_serves_and_stops() {
    let dir = TempDir::new().expect("a directory");
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = held.local_addr().expect("an address").to_string();
    drop(held);
    let scenario = file(
        &dir,
        &format!("socs: [{{port: Ethernet0, address: \"{address}\"}}]\n"),
    );
    // A pipe that is full: it holds 64 KiB unless the system was configured differently.
    let (_reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(&[b'\n'; 64 * 1024]).expect("filled");
    let mut child = Command::new(binary(SIM))
        .arg(&scenario)
        .stdin(Stdio::null())
        .stdout(writer)
        .spawn()
        .expect("started");
    wait_until("a SoC that answers", async || {
        let ended = run(&["probe", &address]).await;
        match ended.code {
            Some(0) => Ok(()),
            _ => Err(format!("{ended:?}")),
        }
    })
    .await;
    assert!(child.try_wait().expect("its state").is_none(), "it runs");
    let sent = Command::new("kill")
        .args(["-s", "TERM", &child.id().to_string()])
        .status();
    assert!(sent.expect("kill").success());
    let status = wait_until("its end", async || {
        child
            .try_wait()
            .expect("its state")
            .ok_or_else(|| "it runs on".to_owned())
    })
    .await;
    assert_eq!(status.code(), Some(0));
}
