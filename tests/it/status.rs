//! The command `status` against a running exporter.

use dualtor_sim::ConnectionFault;
use serde_json::Value;

use crate::api::rack;
use crate::certificates::{Ca, VALID};
use crate::child::{Ended, Program, run};
use crate::harness::{Rack, Setup};
use crate::soc_view::Look;

async fn status(rack: &Rack, more: &[&str]) -> Ended {
    let url = format!("http://{}", rack.web);
    run(&[&["status", "--url", &url], more].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_the_worst_first_and_exit_codes_as_nagios_has_them() {
    let rack = rack().await;
    let ended = status(&rack, &[]).await;
    assert_eq!((ended.code, &*ended.stderr), (Some(2), ""), "{}", ended.stdout);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert!(
        lines[0].contains("(upper), 4 ports: 1 critical, 3 warning; last good round 0 s ago"),
        "{}",
        lines[0]
    );
    let table: Vec<&str> = lines
        .iter()
        .skip_while(|line| !line.starts_with("PORT"))
        .copied()
        .collect();
    assert!(
        table[1].starts_with("Ethernet4      critical    channel_not_ready    transient_failure"),
        "{table:#?}"
    );
    assert!(table[2].contains("refused: "), "its last error: {table:#?}");
    let ports = table[3..]
        .iter()
        .map(|line| line.split(' ').next().unwrap_or_default());
    assert_eq!(
        ports.collect::<Vec<_>>(),
        ["Ethernet0", "Ethernet8", "Ethernet12"]
    );
    assert!(table[3].ends_with("active    standby"), "{table:#?}");
    assert!(lines.iter().all(|line| line.chars().count() <= 100), "{lines:#?}");

    let ended = status(&rack, &["--level=critical"]).await;
    assert!(
        !ended.stdout.contains("Ethernet8") && ended.code == Some(2),
        "{ended:?}"
    );
    assert_eq!(status(&rack, &["Ethernet0"]).await.code, Some(1));
    rack.soc("Ethernet4").connection_fault(ConnectionFault::None);
    rack.shows("Ethernet4", &Look::HEALTHY).await;
    assert_eq!(
        status(&rack, &["--level", "critical"]).await.code,
        Some(0),
        "nothing is critical"
    );
    assert_eq!(status(&rack, &[]).await.code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_about_one_port_and_json() {
    let rack = rack().await;
    let ended = status(&rack, &["Ethernet4"]).await;
    assert_eq!(ended.code, Some(2));
    for words in [
        "Ethernet4  critical: the channel is not READY",
        "channel      transient_failure for ",
        "failures     refused ",
        "transitions, newest first",
        "channel connecting -> transient_failure: refused: ",
    ] {
        assert!(ended.stdout.contains(words), "{words}: {}", ended.stdout);
    }
    let ended = status(&rack, &["--output=json"]).await;
    let all: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(all["fleet"]["counts"]["ports"], 4);
    assert_eq!(all["ports"][0]["port"], "Ethernet4");
    let ended = status(&rack, &["Ethernet0", "--output=json"]).await;
    let port: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!((&port["port"], ended.code), (&"Ethernet0".into(), Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_is_good_whatever_the_levels_of_the_ports() {
    let rack = rack().await;
    let ended = status(&rack, &["--scrape"]).await;
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{}", ended.stdout);
    let count = ended
        .stdout
        .strip_prefix("/metrics: ")
        .and_then(|rest| rest.strip_suffix(" samples\n"));
    let count: usize = count.expect(&ended.stdout).parse().expect("a number");
    assert!((100..2_000).contains(&count), "{count}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_wrong_is_said_and_the_exit_code_is_3() {
    let rack = rack().await;
    let url = format!("http://{}", rack.web);
    let prefixed = format!("{url}/no/such/prefix");
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let closed = format!("http://{}", free.expect("a free port"));
    let nothing: &[&str] = &[];
    for (url, more, words) in [
        (&*closed, nothing, "cannot connect: Connection refused"),
        (&*url, &["Ethernet99"], "404: no such port: Ethernet99"),
        (
            &*prefixed,
            nothing,
            "404: this is not the API of a dualtor-exporter",
        ),
        (&*url, &["not a port"], "expected a port name"),
        (&*url, &["--level=bad"], "invalid value 'bad'"),
        (&*url, &["--tls-ca=x.pem"], "--tls-ca is for https"),
        ("https://127.0.0.1:1", nothing, "https needs --tls-ca"),
        (
            "https://127.0.0.1:1",
            &["--tls-ca=/none.pem"],
            "/none.pem: cannot be read",
        ),
        ("ftp://127.0.0.1", nothing, "expected http://HOST:PORT"),
        ("http://user:secret@127.0.0.1", nothing, "--password-file"),
        (&*url, &["--user=alice"], "--password-file"),
        (
            &*url,
            &["--user=alice", "--password-file=/none"],
            "--password-file /none: cannot be read",
        ),
        (&*url, &["Ethernet0", "--watch"], "cannot be used with"),
        (&*url, &["Ethernet0", "--scrape"], "cannot be used with"),
        (&*prefixed, &["--scrape"], "404: "),
        (&*closed, &["--scrape"], "cannot connect: Connection refused"),
    ] {
        let ended = run(&[&["status", "--url", url], more].concat()).await;
        assert_eq!(ended.code, Some(3), "{url} {more:?}: {ended:?}");
        assert!(
            ended.stderr.contains(words),
            "{url} {more:?}: {words}: {}",
            ended.stderr
        );
        assert!(
            !ended.stderr.contains("secret") && ended.stdout.is_empty(),
            "{ended:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_a_login() {
    let (dir, ca, other) = (
        tempfile::tempdir().expect("a directory"),
        Ca::new("CA", VALID),
        Ca::new("other", VALID),
    );
    let server = ca.soc(VALID);
    let write = |file: &str, text: &str| {
        let path = dir.path().join(file);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let [certificate, key] = [
        write("server.crt", &server.cert),
        write("server.key", &server.key),
    ];
    let [ca, other] = [write("ca.crt", &ca.cert), write("other.crt", &other.cert)];
    let [password, wrong] = [write("password", "alice123\n"), write("wrong", "bob\n")];
    let mut setup = Setup::rack(1);
    setup.web_config = Some(format!(
        "tls_server_config: {{cert_file: {certificate}, key_file: {key}}}\n\
         basic_auth_users: {{alice: $2b$04$abcdefghijklmnopqrstuuCiRP6uwuebOgMsb3sB1n0pjVVBf0O3K}}\n"
    ));
    let rack = setup.start().await;
    let url = format!("https://{}", rack.web);
    let login = ["--user=alice", &format!("--password-file={password}")];
    for (ca, login, code, words) in [
        (&ca, login, None, ""),
        (&other, login, Some(3), "TLS"),
        (
            &ca,
            ["--user=alice", &format!("--password-file={wrong}")],
            Some(3),
            "401: the exporter asks for a login",
        ),
    ] {
        let ended = run(&[&["status", "--url", &url, "--tls-ca", ca], &login[..]].concat()).await;
        match code {
            None => assert!(ended.stdout.contains("1 port"), "{ended:?}"),
            Some(_) => assert!(ended.code == code && ended.stderr.contains(words), "{ended:?}"),
        }
    }
}

/// A SoC's text must not control the terminal.
#[tokio::test(flavor = "multi_thread")]
async fn the_text_of_a_soc_controls_nothing() {
    let rack = Setup::rack(1)
        .soc("Ethernet0", |soc| {
            soc.version = Some("<b>\u{1b}[2J\u{202e}\n!".to_owned())
        })
        .start()
        .await;
    rack.scraped("dualtor_soc_info", |scrape| {
        scrape
            .find("dualtor_soc_info", &[])
            .any(|sample| !sample.labels["version"].is_empty())
    })
    .await;
    let ended = status(&rack, &["Ethernet0"]).await;
    assert!(ended.stdout.contains("version      <b>"), "{}", ended.stdout);
    assert!(
        !ended
            .stdout
            .chars()
            .any(|c| c != '\n' && (c.is_control() || c == '\u{202e}')),
        "{:?}",
        ended.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_shows_each_change_and_says_when_the_exporter_has_gone() {
    let mut rack = rack().await;
    let url = format!("http://{}", rack.web);
    let mut watching = Program::start(&["status", "--url", &url, "--watch=100ms", "--level=critical"]);
    watching.says("4 ports: 1 critical, 3 warning", 1).await;
    rack.soc("Ethernet4").connection_fault(ConnectionFault::None);
    watching.says("4 ports: 4 warning", 1).await;
    rack.stop_exporter().await;
    watching.says("asking again", 1).await;
    let ended = watching.ended().await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
}
