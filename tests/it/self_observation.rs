//! What the exporter's metrics say of itself: requests, event streams, queues, and how many series that takes.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Rack, Setup};
use crate::http::{Scrape, ask, get, post};
use crate::soc_view::Look;

const REQUESTS: &str = "dualtor_web_requests_total";
const STREAMS: &str = "dualtor_web_event_streams";
const QUEUE: &str = "dualtor_queue_length";

async fn rack() -> Rack {
    let rack = Setup::rack(1).start().await;
    rack.shows("Ethernet0", &Look::HEALTHY).await;
    rack
}

fn requests(scrape: &Scrape, handler: &str, code: &str) -> Option<f64> {
    scrape.value(REQUESTS, &[("handler", handler), ("code", code)])
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_is_counted_by_its_handler_and_its_code() {
    let rack = rack().await;
    let before = rack.scrape().await;
    assert_eq!(
        requests(&before, "page", "200"),
        Some(0.0),
        "there from the start"
    );
    assert_eq!(requests(&before, "page", "400"), None);
    for for_modules in [
        "services_page",
        "api_modules",
        "api_targets",
        "api_target",
        "probe",
    ] {
        assert_eq!(requests(&before, for_modules, "200"), None, "no one has asked");
    }
    for path in [
        "/",
        "/?level=none",
        "/ports/Ethernet0",
        "/ports/none",
        "/api/v1/fleet",
        "/api/v1/ports/none",
        "/services",
        "/api/v1/modules",
        "/api/v1/targets?limit=0",
        "/api/v1/targets/none/none",
        "/probe",
        "/-/healthy",
        "/what/is/this",
    ] {
        get(rack.web, path).await;
    }
    ask(
        rack.web,
        "POST",
        "/-/reload",
        &[("Origin", "http://evil.example")],
    )
    .await;
    ask(rack.web, "POST", "/api/v1/ports/none/probe", &[]).await;
    assert_eq!(post(rack.web, "/-/reload", "{}").await.status, 413);
    let after = rack.scrape().await;
    for (handler, code, expected) in [
        ("page", "200", 1.0),
        ("page", "400", 1.0),
        ("port_page", "200", 1.0),
        ("port_page", "404", 1.0),
        ("api_fleet", "200", 1.0),
        ("api_port", "404", 1.0),
        ("api_probe", "404", 1.0),
        ("services_page", "200", 1.0),
        ("api_modules", "200", 1.0),
        ("api_targets", "400", 1.0),
        ("api_target", "404", 1.0),
        ("probe", "400", 1.0),
        ("healthy", "200", 1.0),
        ("reload", "403", 1.0),
        ("reload", "413", 1.0),
        ("other", "404", 1.0),
        ("api_ports", "200", 0.0),
    ] {
        assert_eq!(
            requests(&after, handler, code),
            Some(expected),
            "{handler} {code}"
        );
    }
    let scrapes = requests(&before, "metrics", "200").zip(requests(&after, "metrics", "200"));
    assert!(
        scrapes.is_some_and(|(before, after)| after == before + 1.0),
        "{scrapes:?}"
    );
    let count = "dualtor_web_request_duration_seconds_count";
    assert_eq!(after.value(count, &[("handler", "page")]), Some(2.0));
    assert_eq!(after.value(count, &[("handler", "api_ports")]), None);
    let sum = after.value(
        "dualtor_web_request_duration_seconds_sum",
        &[("handler", "metrics")],
    );
    assert!(sum.is_some_and(|sum| sum > 0.0), "{sum:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_stream_is_counted_as_long_as_it_is_open() {
    let rack = rack().await;
    let open = async |open: f64| {
        rack.scraped(STREAMS, |scrape| scrape.value(STREAMS, &[]) == Some(open))
            .await
    };
    open(0.0).await;
    let mut client = TcpStream::connect(rack.web).await.expect("a connection");
    let request = format!("GET /api/v1/events HTTP/1.1\r\nHost: {}\r\n\r\n", rack.web);
    client.write_all(request.as_bytes()).await.expect("sent");
    client.read_u8().await.expect("an answer");
    let scrape = open(1.0).await;
    assert_eq!(requests(&scrape, "api_events", "200"), Some(1.0));
    drop(client);
    open(0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_redis_does_not_take_wait_and_are_seen_to() {
    let rack = rack().await;
    let rows = |scrape: &Scrape| scrape.value(QUEUE, &[("queue", "rows")]);
    rack.scraped(QUEUE, |scrape| rows(scrape) == Some(0.0)).await;
    rack.redis.freeze();
    // Each round changes the row.
    rack.scraped(QUEUE, |scrape| rows(scrape) == Some(1.0)).await;
    rack.redis.thaw();
    let scrape = rack.scraped(QUEUE, |scrape| rows(scrape) == Some(0.0)).await;
    for queue in ["events", "questions", "notices", "rounds", "dials"] {
        let length = scrape.value(QUEUE, &[("queue", queue)]);
        assert!(length.is_some_and(|length| length <= 1.0), "{queue}: {length:?}");
    }
}

/// docs/metrics.md says how many series the exporter has of itself.
#[tokio::test(flavor = "multi_thread")]
async fn the_documentation_has_the_number_of_our_own_series() {
    let rack = Setup::rack(1).start().await;
    rack.shows("Ethernet0", &Look::HEALTHY).await;
    let scrape = rack.scrape().await;
    let own = scrape
        .samples
        .iter()
        .filter(|sample| !sample.labels.contains_key("port"));
    let text = include_str!("../../docs/metrics.md");
    let stated = format!("{} series of its own", own.count());
    assert!(text.contains(&stated), "{stated}");
}
