//! The TLS files and the configuration change under a running exporter.

use dualtor_sim::Tls;

use crate::certificates::{Ca, Files, Pem, VALID, new_year};
use crate::child::Program;
use crate::harness::{ONLY_AT_READY, Rack, Setup, wait_until};
use crate::http::{Scrape, get};
use crate::soc_view::Look;
use crate::tls::{
    FAILURES, OUR_EXPIRY, PORT, SOC_EXPIRY, TRANSITIONS, check_refused, shared_ca, times_ready,
};

async fn ready_again(rack: &Rack, times: u64) -> Scrape {
    rack.scraped(TRANSITIONS, |scrape| times_ready(scrape) == times)
        .await;
    rack.shows(PORT, &Look::HEALTHY).await
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_are_failed_dials_until_they_can() {
    for broken in ["ca.crt", "client.crt", "client.key"] {
        let (files, ca) = shared_ca();
        let (soc, channel) = (files.soc(&ca.soc(VALID)), files.mutual(""));
        let client = ca.client(VALID);
        files.client(&client);
        let content = std::fs::read_to_string(files.path(broken)).expect("a file");
        let other = ca.client(VALID);
        let (what, write): (_, fn(&Files, &str, &str)) = match broken {
            "ca.crt" => ("missing", |files, name, _| {
                std::fs::remove_file(files.path(name)).expect("removed");
            }),
            "client.crt" => ("half-written", |files, name, content| {
                files.write(name, &content[..content.len() / 2]);
            }),
            _ => ("another's", |files, name, content| {
                files.write(name, content);
            }),
        };
        let text = if what == "another's" { &other.key } else { &content };
        write(&files, broken, text);
        let rack = Setup::rack(1).tls(files, soc, &channel).start().await;
        let scrape = check_refused(what, &rack, "tls_config").await;
        assert_eq!(scrape.find(OUR_EXPIRY, &[]).count(), 0, "{what}");
        assert_eq!(rack.soc(PORT).counters().connections, 0, "{what}");
        rack.files().write(broken, &content);
        rack.shows(PORT, &Look::HEALTHY).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_files_are_for_the_next_connection_and_a_healthy_one_is_left_alone() {
    let (files, ca) = shared_ca();
    files.client(&ca.client((2020, 2070)));
    let soc = Tls {
        client_ca: Some(files.path("ca.crt")),
        ..files.soc(&ca.soc((2020, 2080)))
    };
    let channel = files.mutual("");
    let rack = Setup::rack(1)
        .probe(ONLY_AT_READY)
        .tls(files, soc, &channel)
        .start()
        .await;
    rack.shows(PORT, &Look::HEALTHY).await;

    // Everything new, and nothing of it known to the old CA.
    let new = Ca::new("new CA", (2020, 2085));
    let files = rack.files();
    files.write("ca.crt", &new.cert);
    files.client(&new.client((2020, 2075)));
    files.soc(&new.soc((2020, 2081)));
    let expiry = |scrape: &Scrape, role| scrape.value(OUR_EXPIRY, &[("role", role)]);
    let scrape = rack
        .scraped(OUR_EXPIRY, |scrape| {
            expiry(scrape, "ca") == Some(new_year(2085)) && expiry(scrape, "client") == Some(new_year(2075))
        })
        .await;
    assert_eq!((times_ready(&scrape), scrape.count(FAILURES, &[])), (1, 0));
    assert_eq!(scrape.value(SOC_EXPIRY, &[]), Some(new_year(2080)));
    assert_eq!(rack.soc(PORT).counters().connections, 1);

    rack.soc(PORT).close_connections();
    let scrape = ready_again(&rack, 2).await;
    assert_eq!(scrape.value(SOC_EXPIRY, &[]), Some(new_year(2081)));
    assert_eq!(scrape.count(FAILURES, &[]), 1, "only the loss");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_written_set_keeps_the_last_good_one_and_is_said_once() {
    let (files, ca) = shared_ca();
    let (old, new) = (ca.client((2020, 2070)), ca.client((2020, 2075)));
    files.client(&old);
    let soc = Tls {
        client_ca: Some(files.path("ca.crt")),
        ..files.soc(&ca.soc(VALID))
    };
    let channel = files.mutual("");
    let rack = Setup::rack(1).tls(files, soc, &channel).stage().await;
    let config = rack.config_path();
    let config = config.to_str().expect("UTF-8");
    let mut program = Program::start(&["--config.file", config, "--web.listen-address", "127.0.0.1:0"]);
    let web = program.address().await;
    let look = async || Scrape::parse(get(web, "/metrics").await.text());
    let ready = async |times| {
        wait_until("READY", async || match times_ready(&look().await) {
            seen if seen == times => Ok(()),
            seen => Err(format!("{seen} times")),
        })
        .await;
    };
    ready(1).await;

    rack.files().write("client.key", &new.key);
    let line = program.says("the last good ones stay", 1).await;
    assert!(
        line.contains("level=warn") && line.contains("client.key"),
        "{line}"
    );
    assert!(line.contains("is not the private key of"), "{line}");
    rack.soc(PORT).close_connections();
    ready(2).await;
    let expiry = |scrape: &Scrape| scrape.value(OUR_EXPIRY, &[("role", "client")]);
    assert_eq!(expiry(&look().await), Some(new_year(2070)));

    rack.files().write("client.crt", &new.cert);
    program.says("TLS files read", 2).await;
    rack.soc(PORT).close_connections();
    ready(3).await;
    assert_eq!(expiry(&look().await), Some(new_year(2075)));
    let log = program.stderr();
    assert_eq!(log.matches("the last good ones stay").count(), 1, "{log}");
    assert_eq!(log.matches("TLS files read").count(), 2, "{log}");
    assert!(!log.contains("PRIVATE"), "{log}");
    let key = |pem: &Pem| pem.key.lines().nth(1).expect("base64").to_owned();
    assert!(!log.contains(&key(&old)) && !log.contains(&key(&new)), "{log}");
    program.signal("TERM");
    assert_eq!(program.ended().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_changes_tls_redials_and_one_that_does_not_leaves_the_channel_alone() {
    let (files, ca) = shared_ca();
    let soc = files.soc(&ca.soc(VALID));
    let (plain, secured) = ("source_address: none".to_owned(), files.verify(""));
    let mut rack = Setup::rack(1)
        .probe(ONLY_AT_READY)
        .tls(files, soc, &secured)
        .start()
        .await;
    rack.shows(PORT, &Look::HEALTHY).await;
    rack.settings.probe = "interval: 200d, timeout: 5s".to_owned();
    rack.reload().await;
    let scrape = rack.shows(PORT, &Look::HEALTHY).await;
    assert_eq!(
        (times_ready(&scrape), rack.soc(PORT).counters().connections),
        (1, 1)
    );

    let with_tls = rack.settings.channel.clone();
    rack.settings.channel = with_tls.replace(&secured, &plain);
    rack.reload().await;
    let scrape = rack.shows(PORT, &Look::unknown("transient_failure")).await;
    assert_eq!(scrape.find(SOC_EXPIRY, &[]).count(), 0, "forgotten");
    wait_until("the files are forgotten", async || {
        match rack.scrape().await.find(OUR_EXPIRY, &[]).count() {
            0 => Ok(()),
            n => Err(format!("{n} series")),
        }
    })
    .await;
    rack.settings.channel = with_tls;
    rack.reload().await;
    let scrape = ready_again(&rack, 2).await;
    assert_eq!(scrape.find(SOC_EXPIRY, &[]).count(), 1);
}
