//! The sources of `inventory`: whatever happens to one, its last targets stay, and are not dialled again.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dualtor_sim::{Scenario, Simulator};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::child::{Program, run};
use crate::endless::{Endless, pour};
use crate::harness::wait_until;
use crate::http::{self, Scrape};
use crate::redis_server::Redis;

/// What a server answers.
#[derive(Debug, Clone)]
enum Reply {
    /// This status, type and body.
    Whole(u16, &'static str, String),
    /// The body ends before its length.
    Half(String),
    /// This many bytes of JSON.
    Long(usize),
    /// Something without end.
    Endless(Endless),
    /// Nothing, for ever.
    Mute,
    /// The connection is closed at once.
    Down,
}

/// A server of targets, with the heads of the requests that it got.
struct TargetServer {
    address: SocketAddr,
    reply: Arc<Mutex<Reply>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl TargetServer {
    async fn start(first: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (reply, requests) = (Arc::new(Mutex::new(first)), Arc::new(Mutex::new(Vec::new())));
        let (replies, heads) = (reply.clone(), requests.clone());
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let reply = replies.lock().expect("no panic").clone();
                let heads = heads.clone();
                tokio::spawn(async move {
                    let mut head = vec![0; 4096];
                    let length = socket.read(&mut head).await.unwrap_or(0);
                    heads
                        .lock()
                        .expect("no panic")
                        .push(String::from_utf8_lossy(&head[..length]).into_owned());
                    let send = |status: u16, kind: &str, length: usize| {
                        format!(
                            "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
                        )
                    };
                    let bytes = match reply {
                        Reply::Whole(status, kind, body) => send(status, kind, body.len()) + &body,
                        Reply::Half(body) => send(200, "application/json", body.len() * 2) + &body,
                        Reply::Long(length) => {
                            send(200, "application/json", length) + &format!("[{}]", " ".repeat(length - 2))
                        }
                        Reply::Endless(what) => return pour(socket, what).await,
                        Reply::Mute => return tokio::time::sleep(Duration::from_secs(600)).await,
                        Reply::Down => return,
                    };
                    let _ = socket.write_all(bytes.as_bytes()).await;
                });
            }
        });
        Self {
            address,
            reply,
            requests,
        }
    }

    fn replies(&self, reply: Reply) {
        *self.reply.lock().expect("no panic") = reply;
        self.requests.lock().expect("no panic").clear();
    }

    /// Waits until it has got this many requests since the last change.
    async fn asked(&self, times: usize) {
        wait_until("requests", async || {
            match self.requests.lock().expect("no panic").len() {
                got if got >= times => Ok(()),
                got => Err(got.to_string()),
            }
        })
        .await;
    }
}

fn group(address: SocketAddr, port: &str) -> String {
    format!(r#"{{"targets": ["{address}"], "labels": {{"port": "{port}", "rack": "r1", "side": "upper"}}}}"#)
}

fn json(groups: &[String]) -> Reply {
    Reply::Whole(200, "application/json", format!("[{}]", groups.join(", ")))
}

/// The real binary, with this `inventory`.
async fn exporter(dir: &Path, inventory: &str) -> (Program, SocketAddr) {
    let yaml = format!(
        "inventory: [{inventory}]\ndatabases: {{publish: off}}\nprobe: {{interval: 300d, timeout: 5s}}\n\
         channel: {{keepalive_time: 60s, keepalive_timeout: 60s}}\n"
    );
    started(dir, &yaml).await
}

/// The real binary, with this configuration.
async fn started(dir: &Path, yaml: &str) -> (Program, SocketAddr) {
    let config = dir.join("config.yml");
    std::fs::write(&config, yaml).expect("written");
    let arguments = [
        "--config.file",
        config.to_str().expect("UTF-8"),
        "--web.listen-address",
        "127.0.0.1:0",
    ];
    let mut program = Program::start(&arguments);
    let web = program.address().await;
    (program, web)
}

async fn scrape(web: SocketAddr) -> Scrape {
    Scrape::parse(http::get(web, "/metrics").await.text())
}

/// Waits until exactly these ports are READY, after one dial each, and the source is up or not.
async fn shows(web: SocketAddr, ports: &[&str], up: bool) -> Scrape {
    wait_until(&format!("{ports:?}, up {up}"), async || {
        let scrape = scrape(web).await;
        let ready = scrape.find("dualtor_channel_state", &[("state", "ready"), ("rack", "r1")]);
        let mut ready: Vec<String> = ready
            .filter(|s| s.value == 1.0)
            .map(|s| s.labels["port"].clone())
            .collect();
        ready.sort();
        let dials: Vec<f64> = scrape
            .find("dualtor_channel_dials_total", &[])
            .map(|s| s.value)
            .collect();
        let is_up = scrape
            .find("dualtor_inventory_up", &[])
            .all(|s| s.value == f64::from(u8::from(up)));
        if ready == ports && is_up && dials.iter().all(|dials| *dials == 1.0) && dials.len() == ports.len() {
            return Ok(scrape);
        }
        Err(format!("{ready:?}, dials {dials:?}, up as expected {is_up}"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_an_http_server_does_the_last_targets_stay_but_for_an_honest_empty_list() {
    let sim = Simulator::start(Scenario::uniform(3)).await.expect("a simulator");
    let groups: Vec<String> = (0..3)
        .map(|n| group(sim.socs()[n].address(), &format!("Ethernet{n}")))
        .collect();
    let server = TargetServer::start(json(&groups[..2])).await;
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("token"), "s3cret\n").expect("written");
    let inventory = format!(
        "http_sd: {{url: 'http://{}/targets?dc=1', refresh: 1s, authorization: {{credentials_file: token}}}}",
        server.address
    );
    let (program, web) = exporter(dir.path(), &inventory).await;
    let two = ["Ethernet0", "Ethernet1"];
    let first = shows(web, &two, true).await;
    let source = format!("http_sd:http://{}/targets", server.address);
    let age = |scrape: &Scrape| {
        scrape
            .value(
                "dualtor_inventory_last_success_timestamp_seconds",
                &[("source", &source)],
            )
            .expect("a time")
    };
    let head = server.requests.lock().expect("no panic")[0].to_lowercase();
    for line in [
        "get /targets?dc=1 http/1.1",
        "authorization: bearer s3cret",
        "accept: application/json",
        "x-prometheus-refresh-interval-seconds: 1",
    ] {
        assert!(head.contains(line), "{line}: {head}");
    }
    let page = "<html></html>".to_owned();
    for bad in [
        Reply::Down,
        Reply::Whole(500, "application/json", "[]".to_owned()),
        Reply::Whole(204, "application/json", String::new()),
        Reply::Whole(302, "application/json", "[]".to_owned()),
        Reply::Whole(200, "text/html", "[]".to_owned()),
        Reply::Whole(200, "application/json", page),
        Reply::Whole(200, "application/json", "{}".to_owned()),
        // Not one group that can be used: a label that was renamed.
        json(
            &groups
                .iter()
                .map(|group| group.replace("\"port\"", "\"interface\""))
                .collect::<Vec<_>>(),
        ),
        Reply::Half(groups[0].clone()),
        Reply::Long(20 << 20),
        Reply::Endless(Endless::Interim),
    ] {
        server.replies(bad.clone());
        server.asked(2).await;
        let scrape = shows(web, &two, false).await;
        assert!(age(&scrape) >= age(&first), "{bad:?}");
    }
    let fleet: serde_json::Value =
        serde_json::from_str(http::get(web, "/api/v1/fleet").await.text()).expect("JSON");
    let problem = &fleet["exporter_problems"][0];
    assert_eq!(problem["alert"], "DualTorInventorySourceDown");
    let text = problem["text"].as_str().expect("a text");
    assert!(
        text.contains(&source) && text.contains("cannot be read: "),
        "{text}"
    );
    let page = http::get(web, "/").await;
    assert!(page.text().contains(&source) && !page.text().contains("This exporter is well"));
    server.replies(json(&groups[..2]));
    shows(web, &two, true).await;
    assert_eq!(
        program
            .stderr()
            .matches("a source of the inventory cannot be read")
            .count(),
        1
    );
    assert!(!program.stderr().contains("s3cret"));
    // One group that cannot be used affects itself alone.
    let odd = vec![
        groups[0].clone(),
        "7".to_owned(),
        groups[1].clone(),
        groups[2].clone(),
    ];
    server.replies(json(&odd));
    let three = ["Ethernet0", "Ethernet1", "Ethernet2"];
    let scrape = shows(web, &three, true).await;
    assert_eq!(
        scrape.value("dualtor_inventory_problems", &[("reason", "bad_group")]),
        Some(1.0)
    );
    // The same port twice: the first is used.
    let twice = vec![
        groups[0].clone(),
        groups[1].clone(),
        group(sim.socs()[2].address(), "Ethernet0"),
    ];
    server.replies(json(&twice));
    let scrape = shows(web, &two, true).await;
    assert_eq!(
        scrape.value("dualtor_inventory_problems", &[("reason", "duplicate_port")]),
        Some(1.0)
    );
    server.replies(json(&[]));
    shows(web, &[], true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_sends_interim_answers_without_end_is_given_up_before_it_costs_much() {
    let server = TargetServer::start(Reply::Endless(Endless::Interim)).await;
    let dir = tempfile::tempdir().expect("a directory");
    let inventory = format!("http_sd: {{url: 'http://{}/', refresh: 1s}}", server.address);
    let (mut program, _) = exporter(dir.path(), &inventory).await;
    let line = program.says("a source of the inventory cannot be read", 1).await;
    assert!(
        line.contains("the server sends too much: more than 32832 KiB for one answer"),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_nothing_is_given_up_after_ten_seconds() {
    let sim = Simulator::start(Scenario::uniform(1)).await.expect("a simulator");
    let server = TargetServer::start(json(&[group(sim.socs()[0].address(), "Ethernet0")])).await;
    let dir = tempfile::tempdir().expect("a directory");
    let inventory = format!("http_sd: {{url: 'http://{}/', refresh: 1s}}", server.address);
    let (mut program, web) = exporter(dir.path(), &inventory).await;
    shows(web, &["Ethernet0"], true).await;
    server.replies(Reply::Mute);
    let line = program.says("a source of the inventory cannot be read", 1).await;
    assert!(line.contains("no complete answer within 10 s"), "{line}");
    shows(web, &["Ethernet0"], false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_followed_and_a_bad_or_missing_one_keeps_its_targets() {
    let sim = Simulator::start(Scenario::uniform(3)).await.expect("a simulator");
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("targets")).expect("a directory");
    let write = |name: &str, text: &str| {
        let path = dir.path().join("targets").join(name);
        let new = path.with_extension("tmp");
        std::fs::write(&new, text).expect("written");
        std::fs::rename(new, path).expect("renamed");
    };
    let one = |n: usize| format!("[{}]", group(sim.socs()[n].address(), &format!("Ethernet{n}")));
    write("a.yml", &one(0));
    write("b.json", &one(1));
    let inventory = "file_sd: {files: [targets/*.yml, targets/b.json], refresh: 300d}";
    let (_program, web) = exporter(dir.path(), inventory).await;
    shows(web, &["Ethernet0", "Ethernet1"], true).await;
    let config = dir.path().join("config.yml");
    let doctor = run(&["doctor", "--config.file", config.to_str().expect("UTF-8")]).await;
    assert!(
        doctor.stdout.contains("lists 2 targets") && doctor.code == Some(0),
        "{doctor:?}"
    );
    assert!(doctor.stdout.contains("r1|Ethernet0: "), "{doctor:?}");
    write("c.yml", &one(2));
    let three = ["Ethernet0", "Ethernet1", "Ethernet2"];
    shows(web, &three, true).await;
    // What is wrong names the file.
    write(
        "d.yml",
        &format!("[{}, {{}}]", group(sim.socs()[2].address(), "Ethernet0")),
    );
    wait_until("two problems", async || {
        let answer = http::get(web, "/api/v1/fleet").await;
        let fleet: serde_json::Value = serde_json::from_str(answer.text()).expect("JSON");
        let problems = &fleet["inventory_problems"];
        let text = |n: usize| problems[n]["text"].as_str().unwrap_or_default();
        let expected = [
            text(1).contains("a.yml") && text(1).contains("d.yml"),
            text(0).contains("d.yml"),
        ];
        if expected == [true; 2] {
            Ok(())
        } else {
            Err(problems.to_string())
        }
    })
    .await;
    std::fs::remove_file(dir.path().join("targets/d.yml")).expect("removed");
    shows(web, &three, true).await;
    write("a.yml", "[{targets: [");
    shows(web, &three, false).await;
    write("a.yml", &one(0));
    shows(web, &three, true).await;
    std::fs::remove_file(dir.path().join("targets/b.json")).expect("removed");
    shows(web, &three, false).await;
    write("b.json", &one(1));
    shows(web, &three, true).await;
    // Of a pattern, a file that is gone has no targets any more.
    std::fs::remove_file(dir.path().join("targets/c.yml")).expect("removed");
    shows(web, &["Ethernet0", "Ethernet1"], true).await;
    // The directory is gone: a missing mount.
    std::fs::rename(dir.path().join("targets"), dir.path().join("away")).expect("renamed");
    shows(web, &["Ethernet0", "Ethernet1"], false).await;
    std::fs::rename(dir.path().join("away"), dir.path().join("targets")).expect("renamed");
    write("b.json", "[]");
    shows(web, &["Ethernet0"], true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ports_of_another_switch_are_probed_and_stay_while_its_redis_is_away() {
    let sim = Simulator::start(Scenario::uniform(2)).await.expect("a simulator");
    let mut redis = Redis::start().await;
    let tcp_port = sim.socs()[0].address().port();
    let dir = tempfile::tempdir().expect("a directory");
    let boots = |redis: &Redis, port: &str| {
        redis.ask_db::<()>(4, "HSET DEVICE_METADATA|localhost type ToRRouter subtype DualToR");
        redis.ask_db::<()>(4, "HSET LOOPBACK_INTERFACE|Loopback3|10.212.64.2/32 NULL NULL");
        redis.ask_db::<()>(
            4,
            &format!("HSET MUX_CABLE|{port} cable_type active-active soc_ipv4 127.0.0.1/32"),
        );
        redis.ask_db::<()>(4, "SET CONFIG_DB_INITIALIZED 1");
    };
    boots(&redis, "Ethernet0");
    let inventory = format!("config_db: {{url: '{}', rack: r1}}", redis.server());
    let yaml = format!(
        "inventory: [{inventory}]\ndatabases: {{publish: off}}\nprobe: {{interval: 300d, timeout: 5s}}\nchannel: {{tcp_port: {tcp_port}}}\n"
    );
    let (_program, web) = started(dir.path(), &yaml).await;
    let scrape = shows(web, &["Ethernet0"], true).await;
    assert_eq!(
        scrape.value("dualtor_side", &[("side", "lower"), ("rack", "r1")]),
        Some(1.0)
    );
    assert_eq!(
        scrape.value("dualtor_inventory_ports", &[("rack", "r1")]),
        Some(1.0)
    );
    redis.kill();
    shows(web, &["Ethernet0"], false).await;
    // Empty after its restart: not complete, so the last ports stay.
    redis.launch(&[]).await;
    shows(web, &["Ethernet0"], false).await;
    boots(&redis, "Ethernet4");
    shows(web, &["Ethernet4"], true).await;
    assert_eq!(redis.ask_db::<u64>(6, "DBSIZE"), 0, "nothing is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_and_the_pages_name_a_port_with_its_rack() {
    let sim = Simulator::start(Scenario::uniform(2)).await.expect("a simulator");
    let dir = tempfile::tempdir().expect("a directory");
    let targets: Vec<String> = (0..2)
        .map(|n| {
            format!(
                "{{port: Ethernet0, rack: r{n}, side: upper, address: '{}'}}",
                sim.socs()[n].address()
            )
        })
        .collect();
    let yaml = format!("targets: [{}]\ndatabases: {{publish: off}}\n", targets.join(", "));
    let (_program, web) = started(dir.path(), &yaml).await;
    for rack in ["r0", "r1"] {
        for path in [
            format!("/api/v1/ports/{rack}%7CEthernet0"),
            format!("/api/v1/ports/{rack}|Ethernet0"),
        ] {
            let answer = wait_until("the port", async || {
                let answer = http::get(web, &path).await;
                if answer.status == 200 {
                    Ok(answer)
                } else {
                    Err(answer.text().to_owned())
                }
            })
            .await;
            let row: serde_json::Value = serde_json::from_str(answer.text()).expect("JSON");
            assert_eq!(row["port"], format!("{rack}|Ethernet0"));
            assert_eq!((&row["rack"], &row["side"]), (&rack.into(), &"upper".into()));
        }
        assert_eq!(
            http::get(web, &format!("/ports/{rack}%7CEthernet0")).await.status,
            200
        );
    }
    assert_eq!(http::get(web, "/api/v1/ports/Ethernet0").await.status, 404);
    let page = http::get(web, "/").await;
    assert!(page.text().contains("r1|Ethernet0"), "{}", page.text());
    // Each target has its side.
    assert!(!page.text().contains("ToR side unknown"), "{}", page.text());
}
