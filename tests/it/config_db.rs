//! The exporter on a switch: no targets in the configuration, everything from CONFIG_DB, APPL_DB and STATE_DB.

use dualtor_proto::ToRSide;
use dualtor_sim::{Direction, Link, Tls};

use crate::certificates::{Files, VALID};
use crate::harness::wait_until;
use crate::http::{self, Scrape};
use crate::redis_server::Redis;
use crate::soc_view::Look;
use crate::tls::shared_ca;
pub(crate) use dualtor_testkit::sonic_switch::{NEVER_POLLED, TELLS, switch, switch_of, switch_on};

const CONFIG_DB: i64 = 4;
const APPL_DB: i64 = 0;
const STATE_DB: i64 = 6;
pub(crate) fn dials(scrape: &Scrape, port: &str) -> u64 {
    scrape.count("dualtor_channel_dials_total", &[("port", port)])
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_come_and_go_and_move_as_config_db_says_and_leave_the_others_alone() {
    let mut rack = switch(3, &TELLS).await;
    rack.polls_never();
    let scrape = rack.boots_with(&["Ethernet0"]).await;
    assert_eq!(scrape.state("dualtor_side", &[], "side"), "upper");
    rack.shows("Ethernet0", &Look::HEALTHY).await;

    rack.cable("Ethernet4");
    rack.probes(&["Ethernet0", "Ethernet4"]).await;
    // The address of Ethernet4's SoC becomes that of the third.
    let ip = rack.soc("Ethernet8").address().ip();
    rack.config_db(&format!("HSET MUX_CABLE|Ethernet4 soc_ipv4 {ip}/32"));
    let third = rack.soc("Ethernet8");
    wait_until("Ethernet4 is the third SoC", async || {
        match third.counters().connections {
            0 => Err("no connection".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    rack.config_db("HSET MUX_CABLE|Ethernet4 cable_type active-standby");
    rack.probes(&["Ethernet0"]).await;
    rack.config_db("HSET MUX_CABLE|Ethernet4 cable_type active-active");
    rack.probes(&["Ethernet0", "Ethernet4"]).await;
    rack.config_db("DEL MUX_CABLE|Ethernet4");
    let scrape = rack.probes(&["Ethernet0"]).await;
    assert_eq!(dials(&scrape, "Ethernet0"), 1);
    wait_until("the row is gone", async || {
        let row = rack.row("Ethernet4");
        if row.is_empty() {
            Ok(())
        } else {
            Err(format!("{row:?}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_redis_does_not_tell_of_changes_they_are_found_within_an_interval() {
    let mut rack = switch(2, &[]).await;
    rack.boots_with(&["Ethernet0"]).await;
    rack.cable("Ethernet4");
    rack.config_db("DEL MUX_CABLE|Ethernet0");
    rack.probes(&["Ethernet4"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_restarts_empty_takes_no_port_away() {
    let mut rack = switch(2, &TELLS).await;
    rack.boots_with(&["Ethernet0"]).await;

    rack.redis.kill();
    rack.scraped("dualtor_state_db_up", |scrape| {
        scrape.value("dualtor_state_db_up", &[]) == Some(0.0)
    })
    .await;
    rack.redis.launch(&TELLS).await;
    rack.shows("Ethernet0", &Look::HEALTHY).await;

    // The switch fills it again, with another port: it is used only when it is complete.
    rack.cable("Ethernet4");
    rack.config_db("HSET DEVICE_METADATA|localhost type ToRRouter subtype DualToR");
    let scrape = rack.scrape().await;
    assert_eq!(scrape.value("dualtor_inventory_ports", &[]), Some(1.0));
    rack.boots();
    let scrape = rack.probes(&["Ethernet4"]).await;
    assert_eq!(dials(&scrape, "Ethernet4"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_db_that_is_flushed_and_loaded_anew_leaves_nothing_of_the_old_one() {
    let mut rack = switch(3, &TELLS).await;
    rack.polls_never();
    rack.boots();
    rack.cable("Ethernet0");
    rack.cable("Ethernet4");
    rack.config_db("HSET GRPCCLIENT|config type insecure");
    rack.start_exporter().await;
    rack.probes(&["Ethernet0", "Ethernet4"]).await;

    rack.config_db("FLUSHDB");
    rack.cable("Ethernet0");
    rack.cable("Ethernet8");
    rack.config_db("HSET DEVICE_METADATA|localhost type ToRRouter subtype DualToR");
    rack.config_db("HSET LOOPBACK_INTERFACE|Loopback3|10.1.0.39/32 NULL NULL");
    rack.config_db("SET CONFIG_DB_INITIALIZED 1");
    rack.scraped("dualtor_side", |scrape| {
        scrape.state("dualtor_side", &[], "side") == "lower"
    })
    .await;
    rack.probes(&["Ethernet0", "Ethernet8"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_boots_is_not_ready_and_has_no_ports_yet() {
    let mut rack = switch(1, &TELLS).await;
    rack.cable("Ethernet0");
    rack.start_exporter().await;
    rack.scraped("dualtor_state_db_up", |scrape| {
        scrape.value("dualtor_state_db_up", &[]) == Some(1.0)
    })
    .await;
    assert_eq!(http::get(rack.web, "/-/ready").await.status, 503);
    rack.boots();
    rack.probes(&["Ethernet0"]).await;
    wait_until("ready", async || {
        match http::get(rack.web, "/-/ready").await.status {
            200 => Ok(()),
            status => Err(status.to_string()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_of_another_kind_is_watched_until_it_is_one() {
    let mut rack = switch(1, &TELLS).await;
    rack.config_db("HSET DEVICE_METADATA|localhost type LeafRouter");
    rack.config_db("SET CONFIG_DB_INITIALIZED 1");
    rack.cable("Ethernet0");
    rack.start_exporter().await;
    wait_until("ready without a port", async || {
        match http::get(rack.web, "/-/ready").await.status {
            200 => Ok(()),
            status => Err(status.to_string()),
        }
    })
    .await;
    assert_eq!(
        rack.scrape().await.value("dualtor_inventory_ports", &[]),
        Some(0.0)
    );
    rack.boots();
    rack.probes(&["Ethernet0"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_used_is_counted_and_concerns_its_port_alone() {
    let mut rack = switch(2, &TELLS).await;
    rack.boots_with(&["Ethernet0", "Ethernet4"]).await;
    rack.config_db("HSET MUX_CABLE|Ethernet4 soc_ipv4 192.168.0.0/24");
    let scrape = rack.probes(&["Ethernet0"]).await;
    let problems =
        |scrape: &Scrape, reason| scrape.value("dualtor_inventory_problems", &[("reason", reason)]);
    assert_eq!(problems(&scrape, "bad_address"), Some(1.0));
    assert_eq!(problems(&scrape, "no_address"), Some(0.0));
    assert_eq!(dials(&scrape, "Ethernet0"), 1);
    rack.config_db("DEL MUX_CABLE|Ethernet4");
    rack.config_db("LPUSH MUX_CABLE|Ethernet4 x");
    rack.scraped("dualtor_inventory_problems", |scrape| {
        problems(scrape, "not_a_row") == Some(1.0)
    })
    .await;
    rack.config_db("DEL MUX_CABLE|Ethernet4");
    rack.cable("Ethernet4");
    let scrape = rack.probes(&["Ethernet0", "Ethernet4"]).await;
    assert_eq!(scrape.count("dualtor_inventory_problems", &[]), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_side_follows_loopback3() {
    let mut rack = switch(1, &TELLS).await;
    rack.polls_never();
    rack.boots();
    rack.cable("Ethernet0");
    rack.start_exporter().await;
    let side = async |expected: &str| {
        rack.scraped("dualtor_side", |scrape| {
            scrape.state("dualtor_side", &[], "side") == expected
        })
        .await
    };
    side("upper").await;
    rack.shows("Ethernet0", &Look::HEALTHY).await;
    let asked_as = async |expected: ToRSide| {
        let soc = rack.soc("Ethernet0");
        wait_until(
            &format!("the SoC is asked for notices as {expected:?}"),
            async || match soc.counters().last_tor {
                Some(tor) if tor == expected => Ok(()),
                other => Err(format!("{other:?}")),
            },
        )
        .await;
    };
    asked_as(ToRSide::LowerTor).await;
    rack.config_db("DEL LOOPBACK_INTERFACE|Loopback3|10.212.64.1/32");
    side("unknown").await;
    let unknown = |scrape: &Scrape| {
        let labels = [("port", "Ethernet0"), ("side", "self"), ("state", "unknown")];
        let ready = scrape.value(
            "dualtor_channel_state",
            &[("port", "Ethernet0"), ("state", "ready")],
        );
        ready == Some(1.0) && scrape.value("dualtor_mux_direction", &labels) == Some(1.0)
    };
    rack.scraped("dualtor_mux_direction", unknown).await;
    rack.config_db("HSET LOOPBACK_INTERFACE|Loopback3|10.1.0.39/32 NULL NULL");
    side("lower").await;
    asked_as(ToRSide::UpperTor).await;
    // Self and peer are exchanged. The connection stays, although the next dial would use another source address.
    let swapped = Look {
        own: Look::HEALTHY.peer,
        peer: Look::HEALTHY.own,
        ..Look::HEALTHY
    };
    let scrape = rack.shows("Ethernet0", &swapped).await;
    assert_eq!(dials(&scrape, "Ethernet0"), 1);
    assert_eq!(scrape.count("dualtor_mux_direction_transitions_total", &[]), 0);
}

/// Rows by Loopback3's address. They must never change: self is the end with the portid that `read_side` gives.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_row_calls_self_follows_from_loopback3s_address() {
    let mut rack = switch(1, &TELLS).await;
    rack.boots();
    rack.cable("Ethernet0");
    rack.config_db("DEL LOOPBACK_INTERFACE|Loopback3|10.212.64.1/32");
    // portid 0 active and up, portid 1 standby and down.
    rack.soc("Ethernet0").set(|state| {
        (state.directions.lower, state.directions.upper) = (Direction::Active, Direction::Standby);
        (state.links.lower, state.links.upper) = (Link::Up, Link::Down);
    });
    rack.start_exporter().await;
    let (portid_0, portid_1) = (["active", "up", "up"], ["standby", "down", "up"]);
    for (address, name, own, peer, tor) in [
        ("10.1.0.39/32", "lower", portid_0, portid_1, 1),
        ("10.1.0.38/32", "upper", portid_1, portid_0, 0),
        ("10.212.64.2/32", "lower", portid_0, portid_1, 1),
        ("10.212.64.1/32", "upper", portid_1, portid_0, 0),
        ("fc00:1:0:39::/128", "lower", portid_0, portid_1, 1),
        ("fc00:1:0:38::/128", "upper", portid_1, portid_0, 0),
    ] {
        let key = format!("LOOPBACK_INTERFACE|Loopback3|{address}");
        rack.config_db(&format!("HSET {key} NULL NULL"));
        let look = Look {
            own,
            peer,
            ..Look::HEALTHY
        };
        let scrape = rack.shows("Ethernet0", &look).await;
        assert_eq!(scrape.state("dualtor_side", &[], "side"), name, "{address}");
        wait_until(&format!("notices asked for with tor {tor}"), async || {
            let asked = rack.soc("Ethernet0").counters().last_tor.map(i32::from);
            if asked == Some(tor) {
                Ok(())
            } else {
                Err(format!("{asked:?}"))
            }
        })
        .await;
        rack.config_db(&format!("DEL {key}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dial_comes_from_loopback3_where_that_is_on_this_host() {
    let mut rack = switch(1, &TELLS).await;
    rack.settings.side = "upper".to_owned();
    rack.settings.channel += ", source_address: loopback3";
    rack.write_config(&rack.settings.yaml(&rack.redis));
    rack.boots();
    rack.config_db("DEL LOOPBACK_INTERFACE|Loopback3|10.212.64.1/32");
    rack.cable("Ethernet0");
    rack.start_exporter().await;
    // The address is unknown, then known but not on this host, then on this host.
    let failed = [("port", "Ethernet0"), ("cause", "source_address")];
    rack.counts("dualtor_channel_failures_total", &failed, 1).await;
    rack.config_db("HSET LOOPBACK_INTERFACE|Loopback3|10.212.64.1/32 NULL NULL");
    let before = rack
        .scrape()
        .await
        .count("dualtor_channel_failures_total", &failed);
    rack.counts("dualtor_channel_failures_total", &failed, before + 1)
        .await;
    rack.config_db("DEL LOOPBACK_INTERFACE|Loopback3|10.212.64.1/32");
    rack.config_db("HSET LOOPBACK_INTERFACE|Loopback3|127.0.0.7/32 NULL NULL");
    rack.probes(&["Ethernet0"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcclient_that_cannot_be_met_is_a_failed_dial_and_is_followed() {
    let mut rack = switch(1, &TELLS).await;
    rack.boots();
    rack.cable("Ethernet0");
    rack.config_db("HSET GRPCCLIENT|config type secure auth_level server");
    rack.start_exporter().await;
    let failed = [("port", "Ethernet0"), ("cause", "tls_config")];
    rack.counts("dualtor_channel_failures_total", &failed, 1).await;
    rack.config_db("HSET GRPCCLIENT|config type insecure");
    rack.probes(&["Ethernet0"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_switch_wants_stands_beside_what_the_soc_does() {
    let mut rack = switch(2, &TELLS).await;
    rack.polls_never();
    let scrape = rack.boots_with(&["Ethernet0", "Ethernet4"]).await;
    let zero = [("port", "Ethernet0")];
    assert_eq!(
        scrape.state("dualtor_intended_mux_state", &zero, "state"),
        "unknown"
    );
    assert_eq!(scrape.value("dualtor_mux_consistent", &zero), None);
    assert_eq!(scrape.value("dualtor_port_oper_up", &zero), None);

    let write = |db: i64, command: &str| {
        let _: redis::Value = rack.redis.ask_db(db, command);
    };
    write(APPL_DB, "HSET MUX_CABLE_TABLE:Ethernet0 state active");
    write(APPL_DB, "HSET PORT_TABLE:Ethernet0 oper_status up");
    write(STATE_DB, "HSET MUX_CABLE_TABLE|Ethernet0 state standby");
    write(STATE_DB, "HSET MUX_LINKMGR_TABLE|Ethernet0 state healthy");
    let shown = |scrape: &Scrape| {
        format!(
            "{} {} {} {:?} {:?}",
            scrape.state("dualtor_intended_mux_state", &zero, "state"),
            scrape.state("dualtor_orchagent_mux_state", &zero, "state"),
            scrape.state("dualtor_linkmgr_health", &zero, "state"),
            scrape.value("dualtor_port_oper_up", &zero),
            scrape.value("dualtor_mux_consistent", &zero),
        )
    };
    let shows = async |expected: &str| {
        wait_until(expected, async || {
            let seen = shown(&rack.scrape().await);
            if seen == expected { Ok(()) } else { Err(seen) }
        })
        .await;
    };
    shows("active standby healthy Some(1.0) Some(1.0)").await;
    write(APPL_DB, "HSET MUX_CABLE_TABLE:Ethernet0 state standby");
    write(APPL_DB, "HSET PORT_TABLE:Ethernet0 oper_status down");
    shows("standby standby healthy Some(0.0) Some(0.0)").await;
    write(STATE_DB, "DEL MUX_LINKMGR_TABLE|Ethernet0");
    shows("standby standby unknown Some(0.0) Some(0.0)").await;
    // The change has failed: orchagent has a state for that; linkmgrd's `Error` is not a wanted state.
    write(STATE_DB, "HSET MUX_CABLE_TABLE|Ethernet0 state error");
    write(APPL_DB, "HSET MUX_CABLE_TABLE:Ethernet0 state Error");
    shows("unknown error unknown Some(0.0) None").await;
    write(STATE_DB, "HDEL MUX_CABLE_TABLE|Ethernet0 state");
    shows("unknown unknown unknown Some(0.0) None").await;
    write(STATE_DB, "HSET MUX_CABLE_TABLE|Ethernet0 state standby");
    write(APPL_DB, "HSET MUX_CABLE_TABLE:Ethernet0 state standby");
    shows("standby standby unknown Some(0.0) Some(0.0)").await;

    // Redis closes our subscriptions, as for a client that reads too slowly: nothing becomes unknown, and no change is missed.
    let calls = rack.redis.calls("psubscribe");
    write(0, "CLIENT KILL TYPE pubsub");
    write(APPL_DB, "HSET MUX_CABLE_TABLE:Ethernet0 state active");
    wait_until("the change is seen", async || {
        match &*shown(&rack.scrape().await) {
            "active standby unknown Some(0.0) Some(1.0)" => Ok(()),
            "standby standby unknown Some(0.0) Some(0.0)" => Err("not yet".to_owned()),
            other => panic!("{other}"),
        }
    })
    .await;
    wait_until("each mirror has subscribed again", async || {
        match rack.redis.calls("psubscribe") - calls {
            3.. => Ok(()),
            n => Err(n.to_string()),
        }
    })
    .await;
    write(APPL_DB, "HSET MUX_CABLE_TABLE:Ethernet0 state standby");
    shows("standby standby unknown Some(0.0) Some(0.0)").await;

    // The values cannot be read any more: they are unknown, not the old ones.
    rack.redis.freeze();
    shows("unknown unknown unknown None None").await;
    rack.redis.thaw();
    shows("standby standby unknown Some(0.0) Some(0.0)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcclients_files_serve_each_auth_level_and_a_change_is_followed() {
    let (files, ca) = shared_ca();
    files.client(&ca.client(VALID));
    let tls = Tls {
        client_ca: Some(files.path("ca.crt")),
        ..files.soc(&ca.named("soc.example"))
    };
    let mut redis = Redis::away();
    redis.launch(&TELLS).await;
    let mut rack = switch_of(redis, 1, |setup| setup.scenario.defaults.tls = Some(tls)).await;
    rack.boots();
    rack.cable("Ethernet0");
    let path = |name: &str| files.path(name).to_str().expect("UTF-8").to_owned();
    let (ca_crt, client_crt, client_key) = (path("ca.crt"), path("client.crt"), path("client.key"));
    rack.config_db(&format!(
        "HSET GRPCCLIENT|certs ca_crt {ca_crt} client_crt {client_crt} client_key {client_key}"
    ));
    rack.config_db("HSET GRPCCLIENT|config type secure auth_level server");
    rack.start_exporter().await;
    let failed = async |cause: &str| {
        let labels = [("port", "Ethernet0"), ("cause", cause)];
        rack.counts("dualtor_channel_failures_total", &labels, 1).await;
    };
    failed("tls_wrong_name").await;
    rack.config_db("HSET GRPCCLIENT|certs grpc_ssl_credential soc.example");
    failed("tls_client_refused").await;
    for level in ["mutual", "client"] {
        rack.config_db(&format!("HSET GRPCCLIENT|config auth_level {level}"));
        rack.shows("Ethernet0", &Look::HEALTHY).await;
    }
    rack.config_db("HSET GRPCCLIENT|config auth_level server");
    let refused = [("port", "Ethernet0"), ("cause", "tls_client_refused")];
    let before = rack
        .scrape()
        .await
        .count("dualtor_channel_failures_total", &refused);
    rack.counts("dualtor_channel_failures_total", &refused, before + 1)
        .await;
    rack.config_db("HSET GRPCCLIENT|config auth_level mutual");
    rack.probes(&["Ethernet0"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_several_asics_each_ports_row_is_in_its_own_namespaces_state_db() {
    let mut rack = switch(2, &TELLS).await;
    let mut asic0 = Redis::away();
    asic0.launch(&TELLS).await;
    let files = Files::new();
    let database_config = |redis: &Redis| {
        let socket = redis.server().to_string().replace("redis+unix://", "");
        format!(
            r#"{{"INSTANCES": {{"redis": {{"hostname": "127.0.0.1", "port": 6379, "unix_socket_path": "{socket}"}}}},
                "DATABASES": {{"APPL_DB": {{"id": 0, "separator": ":", "instance": "redis"}},
                               "CONFIG_DB": {{"id": 4, "separator": "|", "instance": "redis"}},
                               "STATE_DB": {{"id": 6, "separator": "|", "instance": "redis"}}}}}}"#
        )
    };
    let host = files.write("database_config.json", &database_config(&rack.redis));
    files.write("asic0.json", &database_config(&asic0));
    files.write(
        "database_global.json",
        r#"{"INCLUDES": [{"include": "database_config.json"}, {"namespace": "asic0", "include": "asic0.json"}]}"#,
    );
    let url = format!("url: \"{}\"", rack.redis.server());
    let config = format!("config: \"{}\"", host.display());
    rack.write_config(&rack.settings.yaml(&rack.redis).replace(&url, &config));

    // The switch's own database has the metadata, the ASIC's has the cables.
    rack.boots();
    rack.cable("Ethernet0");
    let ip = rack.soc("Ethernet4").address().ip();
    for command in [
        format!("HSET MUX_CABLE|Ethernet4 cable_type active-active soc_ipv4 {ip}/32"),
        "SET CONFIG_DB_INITIALIZED 1".to_owned(),
    ] {
        let _: redis::Value = asic0.ask_db(CONFIG_DB, &command);
    }
    rack.start_exporter().await;
    rack.probes(&["Ethernet0", "Ethernet4"]).await;
    let keys = |redis: &Redis| -> Vec<String> { redis.ask("KEYS *") };
    wait_until("each row is where its port is", async || {
        let seen = (keys(&rack.redis), keys(&asic0));
        let expected = (
            vec!["MUX_CABLE_INFO|Ethernet0".to_owned()],
            vec!["MUX_CABLE_INFO|Ethernet4".to_owned()],
        );
        if seen == expected {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    })
    .await;
    assert_eq!(rack.scrape().await.value("dualtor_state_db_up", &[]), Some(1.0));
    asic0.kill();
    rack.scraped("dualtor_state_db_up", |scrape| {
        scrape.value("dualtor_state_db_up", &[]) == Some(0.0)
    })
    .await;
    rack.probes(&["Ethernet0", "Ethernet4"]).await;
}
