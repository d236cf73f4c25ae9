//! CONFIG_DB and grpc_secrets.json while another process rewrites them, and when they are gone.

use crate::certificates::Files;
use crate::config_db::{TELLS, dials, switch, switch_of};
use crate::http::Scrape;
use crate::redis_server::Redis;
use crate::soc_view::Look;
use crate::tls::shared_ca;

/// What a rewrite looks like from outside: DEL, and HSET a little later.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_rewritten_takes_no_port_away_and_one_that_stays_away_does() {
    let mut rack = switch(3, &TELLS).await;
    rack.boots_with(&["Ethernet0"]).await;
    let ports =
        |expected: f64| move |scrape: &Scrape| scrape.value("dualtor_inventory_ports", &[]) == Some(expected);

    // All three kinds are missing while another change arrives, so the exporter has noticed that they are missing.
    rack.config_db("DEL DEVICE_METADATA|localhost");
    rack.config_db("DEL LOOPBACK_INTERFACE|Loopback3|10.212.64.1/32");
    rack.config_db("DEL MUX_CABLE|Ethernet0");
    rack.cable("Ethernet4");
    let scrape = rack.probes(&["Ethernet0", "Ethernet4"]).await;
    assert_eq!(scrape.state("dualtor_side", &[], "side"), "upper");
    rack.boots();
    rack.cable("Ethernet0");
    rack.cable("Ethernet8");
    let scrape = rack.probes(&["Ethernet0", "Ethernet4", "Ethernet8"]).await;
    assert_eq!(dials(&scrape, "Ethernet0"), 1);
    rack.shows("Ethernet0", &Look::HEALTHY).await;

    let began = std::time::Instant::now();
    rack.config_db("HDEL DEVICE_METADATA|localhost subtype");
    rack.scraped("dualtor_inventory_ports", ports(0.0)).await;
    assert!(began.elapsed() >= std::time::Duration::from_secs(10));
    // Another value takes effect at once, and so does the right one, whatever the type is.
    rack.config_db("HSET DEVICE_METADATA|localhost type BackEndToRRouter subtype DualToR");
    rack.scraped("dualtor_inventory_ports", ports(3.0)).await;
    let began = std::time::Instant::now();
    rack.config_db("HSET DEVICE_METADATA|localhost subtype Other");
    rack.scraped("dualtor_inventory_ports", ports(0.0)).await;
    assert!(began.elapsed() < std::time::Duration::from_secs(9));
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_does_not_end_in_plain_text_because_rows_or_file_are_gone() {
    let (files, ca) = shared_ca();
    let tls = files.soc(&ca.named("soc.example"));
    let mut redis = Redis::away();
    redis.launch(&TELLS).await;
    let secrets = files.path("grpc_secrets.json");
    let path = secrets.display().to_string();
    let mut rack = switch_of(redis, 1, |setup| {
        setup.scenario.defaults.tls = Some(tls);
        setup.settings.databases += &format!(", grpc_secrets: \"{path}\"");
    })
    .await;
    let ca_crt = files.path("ca.crt").display().to_string();
    let json = format!(
        r#"{{"GRPCCLIENT": {{"config": {{"type": "secure", "auth_level": "server"}},
            "certs": {{"ca_crt": "{ca_crt}", "grpc_ssl_credential": "soc.example"}}}}}}"#
    );
    rack.boots();
    rack.cable("Ethernet0");
    // As after a boot, before ycabled has copied the file: the file is used.
    files.write("grpc_secrets.json", &json);
    rack.start_exporter().await;
    let scrape = rack.probes(&["Ethernet0"]).await;
    assert_eq!(dials(&scrape, "Ethernet0"), 1);
    // ycabled runs, then it is stopped, and the file is deleted too.
    rack.config_db(&format!(
        "HSET GRPCCLIENT|certs ca_crt {ca_crt} grpc_ssl_credential soc.example"
    ));
    rack.config_db("HSET GRPCCLIENT|config type secure auth_level server");
    // Each port that is added proves that the changes before it have been read.
    rack.cable_of("Ethernet4", "Ethernet0");
    rack.probes(&["Ethernet0", "Ethernet4"]).await;
    rack.config_db("DEL GRPCCLIENT|config");
    rack.config_db("DEL GRPCCLIENT|certs");
    std::fs::remove_file(&secrets).expect("removed");
    rack.cable_of("Ethernet8", "Ethernet0");
    rack.probes(&["Ethernet0", "Ethernet4", "Ethernet8"]).await;
    // Long enough to notice the missing file: it is read every 5 s.
    tokio::time::sleep(std::time::Duration::from_secs(7)).await;
    let scrape = rack.probes(&["Ethernet0", "Ethernet4", "Ethernet8"]).await;
    assert_eq!(dials(&scrape, "Ethernet0"), 1);
    // The next dials are TLS too.
    rack.soc("Ethernet0").reset_connections();
    rack.counts(
        "dualtor_channel_transitions_total",
        &[("port", "Ethernet0"), ("to", "ready")],
        2,
    )
    .await;
    rack.config_db("HSET GRPCCLIENT|config type insecure");
    rack.scraped("dualtor_channel_state", |scrape| {
        let labels = [("port", "Ethernet0"), ("state", "transient_failure")];
        scrape.value("dualtor_channel_state", &labels) == Some(1.0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secrets_file_that_hangs_or_floods_is_no_plain_text_and_harms_nothing() {
    let mut rack = switch(1, &TELLS).await;
    let files = Files::new();
    let path = files.path("grpc_secrets.json");
    rack.settings.databases += &format!(", grpc_secrets: \"{}\"", path.display());
    rack.write_config(&rack.settings.yaml(&rack.redis));
    rack.boots();
    rack.cable("Ethernet0");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo");
    rack.start_exporter().await;
    let failed = [("port", "Ethernet0"), ("cause", "tls_config")];
    rack.counts("dualtor_channel_failures_total", &failed, 1).await;
    for content in ["x".repeat(3 * 1024 * 1024), "[".repeat(100_000), "{".to_owned()] {
        std::fs::remove_file(&path).expect("removed");
        std::fs::write(&path, content).expect("written");
        let before = rack
            .scrape()
            .await
            .count("dualtor_channel_failures_total", &failed);
        rack.counts("dualtor_channel_failures_total", &failed, before + 1)
            .await;
    }
    // The file is gone and its content is unknown: no plain text until a row or a file says so.
    std::fs::remove_file(&path).expect("removed");
    rack.scraped("dualtor_channel_failures_total", |scrape| {
        let found: Vec<_> = scrape.find("dualtor_channel_failures_total", &failed).collect();
        !found.is_empty()
    })
    .await;
    // It is read every 5 s.
    tokio::time::sleep(std::time::Duration::from_secs(7)).await;
    let before = rack
        .scrape()
        .await
        .count("dualtor_channel_failures_total", &failed);
    let scrape = rack
        .counts("dualtor_channel_failures_total", &failed, before + 1)
        .await;
    assert_eq!(
        dials(&scrape, "Ethernet0"),
        scrape.count("dualtor_channel_failures_total", &failed)
    );
    std::fs::write(&path, r#"{"GRPCCLIENT": {"config": {"type": "insecure"}}}"#).expect("written");
    rack.probes(&["Ethernet0"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_may_name_another_secrets_file() {
    let mut rack = switch(1, &TELLS).await;
    let files = Files::new();
    let databases = rack.settings.databases.clone();
    let named = |rack: &mut crate::harness::Rack, word: &str| {
        let json = format!(r#"{{"GRPCCLIENT": {{"config": {{"type": "{word}"}}}}}}"#);
        let path = files.write(&format!("{word}.json"), &json);
        rack.settings.databases = format!("{databases}, grpc_secrets: \"{}\"", path.display());
    };
    named(&mut rack, "wrong");
    rack.write_config(&rack.settings.yaml(&rack.redis));
    rack.boots();
    rack.cable("Ethernet0");
    rack.start_exporter().await;
    let failed = [("port", "Ethernet0"), ("cause", "tls_config")];
    rack.counts("dualtor_channel_failures_total", &failed, 1).await;
    named(&mut rack, "insecure");
    rack.reload().await;
    rack.probes(&["Ethernet0"]).await;
}
