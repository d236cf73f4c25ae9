//! `POST /api/v1/ports/{port}/probe`: its answer is the command's, it may not be used by other sites' pages, and however often it is
//! asked for, few connections reach the SoC.

use dualtor_sim::ConnectionFault;
use serde_json::Value;

use crate::child::run;
use crate::harness::{ONLY_AT_READY, Rack, Setup, wait_until};
use crate::http::{Answer, ask, get};
use crate::soc_view::Look;

const PATH: &str = "/api/v1/ports/Ethernet0/probe";

async fn post(rack: &Rack, path: &str) -> Answer {
    ask(rack.web, "POST", path, &[]).await
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Durations, and how far the connection came, differ each time.
fn without_times(mut probed: Value) -> Value {
    probed["channel"]["ready_seconds"].take();
    if let Some(queries) = probed["queries"].as_object_mut() {
        queries
            .values_mut()
            .for_each(|query| drop(query["seconds"].take()));
    }
    probed
}

fn error(answer: &Answer) -> (u16, String) {
    let code = parse(answer.text())["error"]["code"].clone();
    (answer.status, code.as_str().expect("a code").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_is_what_the_command_prints() {
    let rack = Setup::rack(2)
        .soc("Ethernet4", |soc| soc.fault = ConnectionFault::Refuse)
        .start()
        .await;
    rack.shows("Ethernet0", &Look::HEALTHY).await;
    for (port, ready) in [("Ethernet0", true), ("Ethernet4", false)] {
        let answer = post(&rack, &format!("/api/v1/ports/{port}/probe")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("cache-control"), "no-store");
        let address = rack.soc(port).address().to_string();
        let printed = run(&["probe", &address, "--side", "upper", "--output", "json"]).await;
        let (probed, printed) = (parse(answer.text()), parse(&printed.stdout));
        assert_eq!(probed["channel"]["ready"], ready, "{probed}");
        assert_eq!(probed["channel"]["ready_seconds"].is_number(), ready, "{probed}");
        assert_eq!(without_times(probed), without_times(printed));
        // The same text, with its line breaks.
        assert!(
            answer.text().starts_with("{\n  \"address\": "),
            "{}",
            answer.text()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standing_channel_and_its_counters_know_nothing_of_it() {
    let rack = Setup::rack(1).probe(ONLY_AT_READY).start().await;
    rack.shows("Ethernet0", &Look::HEALTHY).await;
    let all = async || {
        let mut port = parse(get(rack.web, "/api/v1/ports/Ethernet0").await.text());
        port["keepalive"]["rtt"].take();
        port
    };
    let before = all().await;
    assert_eq!(post(&rack, PATH).await.status, 200);
    wait_until("only the standing connection is left", async || {
        match rack.soc("Ethernet0").counters() {
            counters if counters.open_connections == 1 => Ok(()),
            counters => Err(format!("{counters:?}")),
        }
    })
    .await;
    assert_eq!(rack.soc("Ethernet0").counters().connections, 2);
    assert_eq!(before, all().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_at_a_time_and_however_often_few_connections() {
    let rack = Setup::rack(1)
        .channel("keepalive_time: 200ms, keepalive_timeout: 5s, backoff: {initial: 100ms, max: 500ms}")
        .start()
        .await;
    rack.shows("Ethernet0", &Look::HEALTHY).await;
    let soc = rack.soc("Ethernet0");
    let before = soc.counters().connections;
    soc.connection_fault(ConnectionFault::Mute);
    // The dial takes 5.2 s to fail. Whoever comes second meanwhile is refused.
    let (one, other) = tokio::join!(post(&rack, PATH), post(&rack, PATH));
    let [probed, refused] = if one.status == 200 {
        [one, other]
    } else {
        [other, one]
    };
    assert_eq!(
        parse(probed.text())["channel"]["ready"],
        false,
        "{}",
        probed.text()
    );
    assert_eq!(error(&refused), (409, "running".to_owned()));
    soc.connection_fault(ConnectionFault::None);
    rack.shows("Ethernet0", &Look::HEALTHY).await;
    let mut refused = 0;
    for _ in 0..200 {
        let answer = post(&rack, PATH).await;
        match answer.status {
            200 => {}
            429 => {
                let after: u64 = answer.header("retry-after").parse().expect("seconds");
                assert!((1..=5).contains(&after), "{after}");
                assert_eq!(error(&answer).1, "too_soon");
                refused += 1;
            }
            _ => panic!("{answer:?}"),
        }
    }
    assert!(refused >= 190, "{refused}");
    // Its own dials, the first probe, and those of the 200 that had a turn.
    let connections = soc.counters().connections - before;
    assert!(connections <= 15, "{connections}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_ask_is_refused_and_nothing_is_dialled() {
    let rack = Setup::rack(1).probe(ONLY_AT_READY).start().await;
    rack.shows("Ethernet0", &Look::HEALTHY).await;
    let elsewhere = [
        ("Origin", "http://evil.example"),
        ("Sec-Fetch-Site", "cross-site"),
    ];
    for header in elsewhere {
        let answer = ask(rack.web, "POST", PATH, &[header]).await;
        assert_eq!(error(&answer), (403, "forbidden".to_owned()), "{header:?}");
    }
    for path in ["/api/v1/ports/Ethernet1/probe", "/api/v1/ports/%00/probe"] {
        assert_eq!(
            error(&post(&rack, path).await),
            (404, "not_found".to_owned()),
            "{path}"
        );
    }
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        let answer = ask(rack.web, method, PATH, &[]).await;
        assert_eq!((answer.status, answer.header("allow")), (405, "POST"), "{method}");
    }
    let page = get(rack.web, "/ports/Ethernet0").await;
    assert!(page.text().contains("<button type=\"button\">Probe now</button>"));
    assert_eq!(rack.soc("Ethernet0").counters().connections, 1);

    let mut setup = Setup::rack(1);
    setup.lifecycle = false;
    let rack = setup.start().await;
    rack.shows("Ethernet0", &Look::HEALTHY).await;
    let answer = post(&rack, PATH).await;
    assert_eq!(error(&answer), (403, "forbidden".to_owned()));
    assert!(
        answer.text().contains("--web.enable-lifecycle"),
        "{}",
        answer.text()
    );
    let page = get(rack.web, "/ports/Ethernet0").await;
    assert!(!page.text().contains("Probe now"));
    assert_eq!(rack.soc("Ethernet0").counters().connections, 1);
}
