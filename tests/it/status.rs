//! The command `status` against a running exporter.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use dualtor_sim::ConnectionFault;
use serde_json::Value;

use crate::api::rack;
use crate::certificates::{Ca, Pem, VALID, self_signed};
use crate::child::{Ended, Program, binary, run};
use crate::endless::{Endless, serve};
use crate::harness::{ONLY_AT_READY, Rack, Setup, wait_until};
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
    let ended = status(&rack, &["Ethernet0"]).await;
    assert!(ended.stdout.contains(", 1 dial, to 127."), "{}", ended.stdout);
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
    let ca = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(ca.path(), Ca::new("CA", VALID).cert).expect("written");
    let given_ca = format!("--tls-ca={}", ca.path().display());
    let secure = format!("https://{}", rack.web);
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
        (
            &*url,
            &["--user=a:b", "--password-file=/none"],
            "expected a name without a colon",
        ),
        (
            &*secure,
            &[&*given_ca],
            "the server does not speak TLS: --url with http",
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
        // clap would list each flag that has a value.
        let usage = ended.stderr.lines().find(|line| line.starts_with("Usage: "));
        let expected = "Usage: dualtor-exporter status [OPTIONS] [PORT]";
        assert!(usage.is_none_or(|usage| usage == expected), "{usage:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_sends_interim_answers_without_end_is_given_up() {
    let url = format!("http://{}", serve(Endless::Interim).await);
    let ended = run(&["status", "--url", &url]).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let words = "no answer: the server sends too much: more than 65536 KiB for one answer";
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_a_login() {
    let (dir, ca, other) = (
        tempfile::tempdir().expect("a directory"),
        Ca::new("CA", VALID),
        Ca::new("other", VALID),
    );
    let (server, client) = (ca.soc(VALID), ca.client(VALID));
    let write = |file: &str, text: &str| {
        let path = dir.path().join(file);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let [certificate, key] = [
        write("server.crt", &server.cert),
        write("server.key", &server.key),
    ];
    let own = [
        "--tls-cert",
        &write("client.crt", &client.cert),
        "--tls-key",
        &write("client.key", &client.key),
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
            "401: the exporter does not accept this user with this password",
        ),
        (&other, login, Some(3), "no CA in our CA file has signed"),
    ] {
        let ended = run(&[&["status", "--url", &url, "--tls-ca", ca], &login[..]].concat()).await;
        match code {
            None => assert!(ended.stdout.contains("1 port"), "{ended:?}"),
            Some(_) => assert!(ended.code == code && ended.stderr.contains(words), "{ended:?}"),
        }
    }
    for (url, more, words) in [
        (&url, &["--tls-ca", &ca][..], "401: the exporter asks for a login"),
        (
            &url.replace("https", "http"),
            &[],
            "not HTTP/1.1, it may speak gRPC only, or expect TLS: then --url with https",
        ),
    ] {
        let ended = run(&[&["status", "--url", url], more].concat()).await;
        assert!(ended.code == Some(3) && ended.stderr.contains(words), "{ended:?}");
    }
    // One that asks for a certificate refuses after the handshake.
    let mut setup = Setup::rack(1);
    setup.web_config = Some(format!(
        "tls_server_config: {{cert_file: {certificate}, key_file: {key}, client_ca_file: {ca}, \
         client_auth_type: RequireAndVerifyClientCert}}\n"
    ));
    let rack = setup.start().await;
    let url = format!("https://{}", rack.web);
    let args = ["status", "--url", &url, "--tls-ca", &ca];
    let ended = run(&args).await;
    let words = "does not accept our certificate, or asks for one: --tls-cert and --tls-key";
    assert!(ended.code == Some(3) && ended.stderr.contains(words), "{ended:?}");
    let ended = run(&[&args[..], &own].concat()).await;
    assert!(ended.stdout.contains("1 port"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_itself_in_the_ca_file_is_trusted() {
    let dir = tempfile::tempdir().expect("a directory");
    let written = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let serving = async |name: &str, pem: &Pem| {
        let [cert, key] = [
            written(&format!("{name}.crt"), &pem.cert),
            written(&format!("{name}.key"), &pem.key),
        ];
        let mut setup = Setup::rack(1);
        setup.web_config = Some(format!(
            "tls_server_config: {{cert_file: {cert}, key_file: {key}}}\n"
        ));
        (setup.start().await, cert)
    };
    let ca = Ca::new("CA", VALID);
    let (own, between) = (self_signed(VALID), ca.intermediate());
    let (rack, cert) = serving("own", &own).await;
    let url = format!("https://{}", rack.web);
    let ended = run(&["status", "--url", &url, "--tls-ca", &cert]).await;
    assert!(ended.stdout.contains("1 port"), "{ended:?}");
    let another = written("another.crt", &self_signed(VALID).cert);
    let ended = run(&["status", "--url", &url, "--tls-ca", &another]).await;
    assert!(
        ended.stderr.contains("no CA in our CA file has signed"),
        "{ended:?}"
    );
    // A server that has a CA's certificate, of which only the signer is known.
    let (rack, _) = serving("between", &between).await;
    let url = format!("https://{}", rack.web);
    let root = written("root.crt", &ca.cert);
    let ended = run(&["status", "--url", &url, "--tls-ca", &root]).await;
    let words =
        "the server's certificate cannot be accepted: it is a CA certificate: give the server its own";
    assert!(ended.code == Some(3) && ended.stderr.contains(words), "{ended:?}");
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

/// What a test watches: its standard output goes to `stdout`.
fn watching(rack: &Rack, stdout: Stdio) -> Child {
    let url = format!("http://{}", rack.web);
    Command::new(binary("dualtor-exporter"))
        .args(["status", "--url", &url, "--watch=100ms"])
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .expect("started")
}

/// Its exit code and what it has written to stderr.
async fn ends(mut child: Child) -> (Option<i32>, String) {
    let status = wait_until("its end", async || {
        child.try_wait().expect("its state").ok_or("it runs".to_owned())
    })
    .await;
    let mut text = String::new();
    let mut stderr = child.stderr.take().expect("piped");
    stderr.read_to_string(&mut text).expect("UTF-8");
    (status.code(), text)
}

/// The streams of the exporter are few: who reads no more must not hold one.
#[tokio::test(flavor = "multi_thread")]
async fn watch_ends_when_no_one_reads_it_or_it_cannot_be_written() {
    // Nothing changes, so nothing is written meanwhile.
    let rack = Setup::rack(2).probe(ONLY_AT_READY).start().await;
    for port in ["Ethernet0", "Ethernet4"] {
        rack.shows(port, &Look::HEALTHY).await;
    }
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let theirs = Stdio::from(OwnedFd::from(theirs));
    let sides: [(Stdio, Option<UnixStream>); 2] = [(Stdio::piped(), None), (theirs, Some(ours))];
    for (stdout, ours) in sides {
        let mut child = watching(&rack, stdout);
        let mut line = String::new();
        let reading = tokio::task::spawn_blocking(move || match (child.stdout.take(), ours) {
            (Some(pipe), _) => (BufReader::new(pipe).read_line(&mut line), line, child),
            (None, Some(socket)) => (BufReader::new(socket).read_line(&mut line), line, child),
            (None, None) => panic!("no output"),
        });
        // As `head -1`: its end is closed after a line.
        let (read, line, child) = reading.await.expect("no panic");
        assert!(read.is_ok() && line.contains("2 ports"), "{line}");
        let (code, text) = ends(child).await;
        assert!(code.is_some_and(|code| code < 3), "{code:?}: {text}");
        rack.scraped("no stream is held", |scrape| {
            scrape.value("dualtor_web_event_streams", &[]) == Some(0.0)
        })
        .await;
    }
    let full = File::options().write(true).open("/dev/full").expect("/dev/full");
    let (code, text) = ends(watching(&rack, full.into())).await;
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("cannot write to stdout: No space left"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_is_a_change_and_a_port_that_is_dialled_in_vain_is_none() {
    let rack = rack().await;
    let url = format!("http://{}", rack.web);
    let mut watching = Program::start(&["status", "--url", &url, "--watch=100ms"]);
    watching.says("4 ports: 1 critical, 3 warning", 1).await;
    let refused = [("port", "Ethernet4"), ("cause", "refused")];
    let before = rack
        .scrape()
        .await
        .count("dualtor_channel_failures_total", &refused);
    rack.counts("dualtor_channel_failures_total", &refused, before + 6)
        .await;
    let blocks = watching.stdout().matches("4 ports: ").count();
    assert!(blocks <= 2, "{blocks}: {}", watching.stdout());
    rack.soc("Ethernet4").connection_fault(ConnectionFault::None);
    watching.says("4 ports: 4 warning", 1).await;
}

/// On a terminal, made by `script`: drawn in its place, and only what fits it.
#[tokio::test(flavor = "multi_thread")]
async fn watch_on_a_terminal_draws_in_its_place_what_fits() {
    let rack = rack().await;
    let watch = format!(
        "stty rows 6 cols 60; exec {} status --url http://{} --watch=100ms",
        binary("dualtor-exporter").display(),
        rack.web
    );
    let mut script = Command::new("script");
    script.args(["--quiet", "--flush", "--command", &watch, "/dev/null"]);
    let mut watching = Program::spawn(script);
    const CLEAR: &str = "\u{1b}[H\u{1b}[2J";
    wait_until("it is drawn again and again", async || {
        match watching.stdout().matches(CLEAR).count() {
            3.. => Ok(()),
            _ => Err(watching.stdout()),
        }
    })
    .await;
    let all = watching.stdout();
    // The last may be half there.
    let screens: Vec<&str> = all.split(CLEAR).collect();
    for screen in &screens[1..screens.len() - 1] {
        let lines: Vec<&str> = screen.lines().collect();
        assert!(lines.len() <= 5, "{screen:?}");
        assert!(lines.iter().all(|line| line.chars().count() <= 60), "{screen:?}");
        assert!(
            lines[0].contains("4 ports") && lines[4].ends_with("more lines (--level shows fewer ports)"),
            "{screen:?}"
        );
        assert!(lines[3].starts_with("Ethernet4 "), "the worst: {screen:?}");
    }
    rack.soc("Ethernet4").connection_fault(ConnectionFault::None);
    watching.says("4 ports: 4 warning", 1).await;
}
