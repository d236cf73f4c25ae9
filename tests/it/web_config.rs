//! `--web.config.file` of the real binary, with curl and openssl as clients. src/web has the tests of each case.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::certificates::{Ca, VALID};
use crate::child::{Program, assert_cannot_start, run};
use crate::harness::{LONG, ONLY_AT_READY, Setup, wait_until};
use crate::http::{Scrape, ask, get};
use crate::web_limits::send;

const CONFIG: &str =
    "side: upper\ndatabases: {publish: off}\ntargets: [{port: Ethernet0, address: 127.0.0.1}]\n";
/// The password is `alice123`.
const ALICE: &str = "alice: $2b$04$abcdefghijklmnopqrstuuCiRP6uwuebOgMsb3sB1n0pjVVBf0O3K";
const TLS: &str = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n";

/// A directory with a configuration, a web.config.file, and certificates for 127.0.0.1.
fn directory(web: &str) -> TempDir {
    let (dir, ca) = (TempDir::new().expect("a directory"), Ca::new("CA", VALID));
    let server = ca.soc(VALID);
    for (file, text) in [
        ("config.yml", CONFIG),
        ("web.yml", web),
        ("ca.crt", &ca.cert),
        ("server.crt", &server.cert),
        ("server.key", &server.key),
    ] {
        std::fs::write(dir.path().join(file), text).expect("written");
    }
    dir
}

fn path(dir: &TempDir, file: &str) -> String {
    dir.path().join(file).to_str().expect("UTF-8").to_owned()
}

fn start(dir: &TempDir) -> Program {
    let (config, web) = (path(dir, "config.yml"), path(dir, "web.yml"));
    let args = ["--config.file", &config, "--web.config.file", &web];
    let more = ["--web.listen-address", "127.0.0.1:0", "--log.level", "debug"];
    Program::start(&[&args[..], &more].concat())
}

fn curl(dir: &TempDir, args: &[&str]) -> Output {
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--max-time",
        "30",
        "--output",
        "/dev/null",
    ]);
    curl.args(["--write-out", "%{http_code} %{http_version}"]);
    let output = curl.arg("--cacert").arg(path(dir, "ca.crt")).args(args).output();
    output.expect("curl")
}

#[tokio::test]
async fn a_check_judges_the_file_and_a_bad_one_starts_nothing() {
    let dir = directory(&format!("{TLS}basic_auth_users: {{{ALICE}}}\n"));
    let (config, web) = (path(&dir, "config.yml"), path(&dir, "web.yml"));
    let files = ["--config.file", &config, "--web.config.file", &web];
    let check = [&["--config.check"], &files[..]].concat();
    let ended = run(&check).await;
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    assert_eq!(
        ended.stdout,
        format!("{config}: good, 1 target\n{web}: good, TLS, 1 user\n")
    );
    for (text, words) in [
        ("tls_server_config: {certfile: x}", "certfile"),
        ("basic_auth_users: {alice: secret}", "basic_auth_users.alice"),
        (
            "tls_server_config: {cert_file: server.crt, key_file: none.key}",
            "none.key",
        ),
    ] {
        std::fs::write(dir.path().join("web.yml"), text).expect("written");
        for args in [&check[..], &files] {
            let ended = run(args).await;
            assert_cannot_start(&ended, &[&web, words]);
            assert!(!ended.stderr.contains("secret"), "{ended:?}");
        }
    }
    std::fs::remove_file(dir.path().join("web.yml")).expect("removed");
    assert_cannot_start(&run(&check).await, &[&web, "cannot be read"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_needs_tls_and_a_password_and_neither_is_logged() {
    let dir = directory(&format!("{TLS}basic_auth_users: {{{ALICE}}}\n"));
    let mut program = start(&dir);
    let address = program.address().await;
    let url = |path: &str| format!("https://{address}{path}");
    let got = |args: &[&str]| {
        let output = curl(&dir, args);
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let login = ["--user", "alice:alice123"];
    let metrics = url("/metrics");
    for http in ["--http1.1", "--http2"] {
        let version = if http == "--http2" { "2" } else { "1.1" };
        let with = [&login[..], &[http, &metrics]].concat();
        assert_eq!(got(&with), format!("200 {version}"));
        assert_eq!(got(&[http, &metrics]), format!("401 {version}"));
        assert_eq!(got(&[http, &url("/-/healthy")]), format!("200 {version}"));
        assert_eq!(
            got(&["--user", "alice:wrong-password", http, &metrics]),
            format!("401 {version}")
        );
        // HTTP/2 has no such header: the stream is refused.
        let huge = format!("X-Huge: {}", "x".repeat(20_000));
        let with = [&login[..], &["--header", &huge, http, &metrics]].concat();
        assert!(!got(&with).starts_with("200"), "{http}: a header of 20 kB");
    }
    assert!(got(&[&format!("http://{address}/metrics")]).starts_with("000"));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "s_client",
        "-tls1_1",
        "-cipher",
        "ALL:@SECLEVEL=0",
        "-connect",
        &address.to_string(),
    ]);
    let tls11 = openssl
        .stdin(std::process::Stdio::null())
        .output()
        .expect("openssl");
    assert!(!tls11.status.success(), "TLS 1.1: {tls11:?}");
    program.signal("TERM");
    let ended = program.ended().await;
    assert_eq!(ended.code, Some(0));
    for secret in ["alice123", "wrong-password", "abcdefghij", "PRIVATE KEY"] {
        assert!(!ended.stderr.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_stream_of_a_user_who_is_removed_ends() {
    let dir = directory(&format!("basic_auth_users: {{{ALICE}}}\n"));
    let mut program = start(&dir);
    let mut stream = TcpStream::connect(program.address().await)
        .await
        .expect("connected");
    let request =
        "GET /api/v1/events HTTP/1.1\r\nHost: tor\r\nAuthorization: Basic YWxpY2U6YWxpY2UxMjM=\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    let (mut seen, mut piece) = (String::new(), [0; 4096]);
    while !seen.contains("event: fleet") {
        let read = timeout(LONG, stream.read(&mut piece)).await.expect("an event");
        seen.push_str(&String::from_utf8_lossy(&piece[..read.expect("an event")]));
    }
    let bob = ALICE.replace("alice", "bob");
    std::fs::write(path(&dir, "web.yml"), format!("basic_auth_users: {{{bob}}}\n")).expect("written");
    let mut rest = Vec::new();
    let ended = timeout(LONG, stream.read_to_end(&mut rest)).await;
    ended.expect("it ends").expect("without an error");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_from_another_sites_page_is_refused() {
    let rack = Setup::rack(1).probe(ONLY_AT_READY).start().await;
    let host = rack.web.to_string();
    let own = format!("http://{host}");
    for (header, value, status) in [
        ("Origin", "http://evil.example", 403),
        ("Origin", "null", 403),
        ("Sec-Fetch-Site", "cross-site", 403),
        ("Sec-Fetch-Site", "same-origin", 200),
        ("Origin", &own, 200),
    ] {
        let answer = ask(rack.web, "POST", "/-/reload", &[(header, value)]).await;
        assert_eq!(answer.status, status, "{header}: {value}");
    }
    // Its own name leads here, so for its browser it is the same site. A program sends no Origin.
    for (origin, status) in [("Origin: http://evil.example\r\n", 403), ("", 200)] {
        let request = format!("POST /-/reload HTTP/1.0\r\nHost: evil.example\r\n{origin}\r\n");
        let answer = send(rack.web, request.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.0 {status} ")),
            "{origin}: {answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_wrong_passwords_keeps_no_one_with_the_right_one_away() {
    // Cost 10: about 50 ms for each wrong password, and many times that here, without optimisation.
    let costly = ALICE.replace("$04$", "$10$");
    let mut setup = Setup::rack(1).probe(ONLY_AT_READY);
    setup.web_config = Some(format!(
        "basic_auth_users:\n  {costly}\n  bob: {}\n",
        ALICE.split_once(": ").expect("a hash").1
    ));
    let rack = setup.start().await;
    let right = [("Authorization", "Basic Ym9iOmFsaWNlMTIz")];
    assert_eq!(ask(rack.web, "GET", "/metrics", &right).await.status, 200);
    let mut flood = Vec::new();
    for n in 0..40 {
        let wrong = format!("Basic YWxpY2U6d3Jvbmc{}", char::from(b'A' + n % 26));
        let web = rack.web;
        flood.push(tokio::spawn(async move {
            ask(web, "GET", "/metrics", &[("Authorization", &wrong)])
                .await
                .status
        }));
    }
    let began = Instant::now();
    for _ in 0..10 {
        let answer = ask(rack.web, "GET", "/metrics", &right).await;
        assert_eq!(answer.status, 200);
        assert!(
            Scrape::parse(answer.text())
                .value("dualtor_web_connections", &[])
                .is_some()
        );
        assert_eq!(get(rack.web, "/-/healthy").await.status, 200);
    }
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let mut seen = Vec::new();
    for one in flood {
        seen.push(one.await.expect("no panic"));
    }
    assert!(seen.iter().all(|status| [401, 503].contains(status)), "{seen:?}");
    assert!(seen.contains(&503), "most find no place: {seen:?}");
}

/// Seconds in all queries that were answered, how many these were, and how many failed.
fn queries(scrape: &Scrape) -> [f64; 3] {
    let sum = |name: &str| scrape.find(name, &[]).map(|sample| sample.value).sum();
    let all = scrape.find("dualtor_probes_total", &[]);
    let failed = all.filter(|sample| sample.labels["result"] != "OK");
    [
        sum("dualtor_probe_duration_seconds_sum"),
        sum("dualtor_probe_duration_seconds_count"),
        failed.map(|sample| sample.value).sum(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_wrong_passwords_a_second_do_not_reach_the_rounds() {
    // Bob's is cheap, and remembered after the first scrape. A wrong one for alice costs as much as it may.
    let costly = ALICE.replace("$04$", "$12$");
    let cheap = ALICE.split_once(": ").expect("a hash").1;
    let mut setup = Setup::rack(8).probe("interval: 3s, timeout: 2900ms");
    setup.web_config = Some(format!("basic_auth_users:\n  {costly}\n  bob: {cheap}\n"));
    let rack = setup.start().await;
    let right = [("Authorization", "Basic Ym9iOmFsaWNlMTIz")];
    let scraped = async || {
        let answer = ask(rack.web, "GET", "/metrics", &right).await;
        assert_eq!(answer.status, 200);
        queries(&Scrape::parse(answer.text()))
    };
    // Three rounds of eight SoCs; the mean of a query.
    let three_rounds = async || {
        let began = scraped().await;
        let enough = async || {
            let now = scraped().await;
            match now[1] - began[1] {
                96.0.. => Ok(now),
                answered => Err(format!("{answered} answers")),
            }
        };
        let ended = wait_until("three rounds", enough).await;
        assert_eq!(ended[2], began[2], "a query failed");
        (ended[0] - began[0]) / (ended[1] - began[1])
    };
    let before = three_rounds().await;
    let web = rack.web;
    let flood = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        loop {
            for n in 0..26 * 26u16 {
                ticks.tick().await;
                let [one, two] = [n / 26, n % 26].map(|n| char::from(b'A' + n as u8));
                let wrong = format!("Basic YWxpY2U6d3Jvbmc{one}{two}A=");
                tokio::spawn(async move { ask(web, "GET", "/metrics", &[("Authorization", &wrong)]).await });
            }
        }
    });
    let during = three_rounds().await;
    assert!(!flood.is_finished());
    flood.abort();
    // The flood's client needs a core too.
    assert!(
        during < before * 30.0 + 0.05,
        "{before} s a query, then {during} s"
    );
}
