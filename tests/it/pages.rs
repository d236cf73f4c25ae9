//! The pages: what they show, their headers, and that text from outside stays text. tests/browser looks at them in a browser.

use dualtor_exporter::web::GrafanaUrl;
use dualtor_sim::ConnectionFault;

use crate::child::{Program, run};
use crate::harness::{Rack, Setup, wait_until};
use crate::http::{Answer, ask, get};
use crate::soc_view::Look;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Ethernet4 refuses every connection, the others answer.
async fn rack() -> Rack {
    let rack = Setup::rack(3)
        .soc("Ethernet4", |soc| soc.fault = ConnectionFault::Refuse)
        .start()
        .await;
    rack.shows("Ethernet4", &Look::unknown("transient_failure")).await;
    for port in ["Ethernet0", "Ethernet8"] {
        rack.shows(port, &Look::HEALTHY).await;
    }
    rack
}

fn assert_is_page(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status);
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
}

/// The ports in the page's table, in their order.
fn rows(page: &str) -> Vec<&str> {
    let rows = page.split("<th scope=\"row\">").skip(1);
    rows.map(|row| {
        row.split('>')
            .nth(1)
            .and_then(|row| row.split('<').next())
            .expect("a name")
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_is_shown_the_worst_first() {
    let rack = rack().await;
    let page = get(rack.web, "/").await;
    assert_is_page(&page, 200);
    let text = page.text();
    assert_eq!(rows(text), ["Ethernet4", "Ethernet0", "Ethernet8"]);
    for part in [
        "<title>(1) ",
        "Of 3 ports: 1 critical, 2 with a warning.",
        "2 of 3 channels READY; STATE_DB up; last good round 0 s ago.",
        "This exporter is well.",
        "<b>critical</b> the channel is not READY",
        "<b>warning</b> only one side carries traffic",
        "channel: refused: ",
        "<noscript><meta http-equiv=\"refresh\" content=\"10\"></noscript>",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for (query, expected) in [
        ("?sort=port", &["Ethernet0", "Ethernet4", "Ethernet8"][..]),
        ("?level=warning", &["Ethernet0", "Ethernet8"]),
        ("?q=REFUSED", &["Ethernet4"]),
        ("?sort=last_error&limit=1", &["Ethernet4"]),
        ("?q=nothing", &[]),
    ] {
        let page = get(rack.web, &format!("/{query}")).await;
        assert_eq!(rows(page.text()), expected, "{query}");
    }
    let page = get(rack.web, "/?level=%3Cscript%3E").await;
    assert_is_page(&page, 400);
    assert!(!page.text().contains("http-equiv"), "a bad address stays bad");
    // Who follows a link from a mail or a chat has parameters of others in it.
    let page = get(rack.web, "/?utm_source=chat&q=REFUSED&q=nothing&fbclid=").await;
    assert_eq!((page.status, rows(page.text())), (200, vec!["Ethernet4"]));
    let page = get(rack.web, "/?level=%3Cscript%3E").await;
    assert!(page.text().contains("level: expected ok, maintenance") && !page.text().contains("<script>"));
    for path in ["/", "/?sort=port", "/ports/Ethernet0"] {
        let head = ask(rack.web, "HEAD", path, &[]).await;
        assert_is_page(&head, 200);
        assert!(head.body.is_empty());
        assert_eq!(ask(rack.web, "POST", path, &[]).await.status, 405);
    }
    let packed = ask(rack.web, "GET", "/", &[("accept-encoding", "gzip")]).await;
    assert_eq!(packed.header("content-encoding"), "gzip");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_shows_what_it_is_what_to_do_and_what_happened() {
    let rack = rack().await;
    let page = wait_until("the port has a round", async || {
        let page = get(rack.web, "/ports/Ethernet4").await;
        match page.text().contains("No round yet") {
            true => Err(page.text().to_owned()),
            false => Ok(page),
        }
    })
    .await;
    assert_is_page(&page, 200);
    let address = rack.soc("Ethernet4").address();
    for part in [
        "the channel is not READY",
        "TRANSIENT_FAILURE for ",
        "runbook.md#dualtorchanneldown",
        "CONNECTING → TRANSIENT_FAILURE",
        "<b>refused</b>",
        "no query was sent: the channel was not READY",
        &format!("dualtor-exporter probe {address} --side upper"),
        "redis-cli -n 6 hgetall 'MUX_CABLE_INFO|Ethernet4'",
        "show muxcable grpc muxdirection Ethernet4",
        "href=\"../api/v1/ports/Ethernet4\"",
    ] {
        assert!(page.text().contains(part), "{part}: {}", page.text());
    }
    for path in [
        "/ports/Ethernet1",
        "/ports/%3Cscript%3E",
        "/ports/Ethernet0%2F1",
        "/ports/%ff",
    ] {
        for method in ["GET", "HEAD"] {
            let page = ask(rack.web, method, path, &[]).await;
            assert_is_page(&page, 404);
            assert!(!page.text().contains("<script>"), "{}", page.text());
        }
    }
    let page = get(rack.web, "/ports/Ethernet1").await;
    assert!(
        page.text().contains("does not probe a port Ethernet1"),
        "{}",
        page.text()
    );
    // The port may come back: with a script and without, the browser asks again.
    for part in [
        "<noscript><meta http-equiv=\"refresh\" content=\"10\"></noscript>",
        "<script src=\"../static/",
        "data-page=\"error\"",
        "data-of=\"404\"",
    ] {
        assert!(page.text().contains(part), "{part}: {}", page.text());
    }
    for path in ["/ports", "/ports/", "/static/", "/static/live.js"] {
        assert_eq!(get(rack.web, path).await.status, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn script_style_and_icon_may_be_kept_and_load_nothing_from_elsewhere() {
    let rack = Setup::rack(1).start().await;
    let page = get(rack.web, "/").await;
    let links: Vec<&str> = page
        .text()
        .split('"')
        .filter(|part| part.starts_with("static/"))
        .collect();
    assert_eq!(links.len(), 3, "{links:?}");
    for link in links {
        let file = get(rack.web, &format!("/{link}")).await;
        assert_eq!(file.status, 200, "{link}");
        assert_eq!(
            file.header("cache-control"),
            "public, max-age=31536000, immutable"
        );
        assert_eq!(file.header("x-content-type-options"), "nosniff");
        let elsewhere = file.text().replace("http://www.w3.org/2000/svg", "");
        let elsewhere = ["http:", "https:", "@import", "url("]
            .iter()
            .find(|part| elsewhere.contains(**part));
        assert_eq!(elsewhere, None, "{link}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_soc_sends_is_text() {
    let rack = Setup::rack(1).start().await;
    let evil = "<script>alert(1)</script>\u{1b}[2J";
    rack.soc("Ethernet0").set(|soc| soc.version = evil.to_owned());
    let page = wait_until("the version is shown", async || {
        let page = get(rack.web, "/ports/Ethernet0").await;
        match page.text().contains("alert(1)") {
            true => Ok(page),
            false => Err(page.text().to_owned()),
        }
    })
    .await;
    let shown = "&lt;script&gt;alert(1)&lt;/script&gt;\u{fffd}[2J";
    assert!(page.text().contains(shown), "{}", page.text());
    let search = "/?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E";
    for page in [page, get(rack.web, "/").await, get(rack.web, search).await] {
        assert!(
            !page.text().contains("<script>") && !page.text().contains('\u{1b}'),
            "{}",
            page.text()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_web_config_file_win() {
    let mut setup = Setup::rack(1);
    setup.web_config =
        Some("http_server_config: {headers: {Content-Security-Policy: default-src 'self'}}".to_owned());
    let rack = setup.start().await;
    let page = get(rack.web, "/").await;
    assert_eq!(page.header("content-security-policy"), "default-src 'self'");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_under_the_prefix() {
    let mut setup = Setup::rack(1);
    setup.paths.prefix = "/dual/tor".to_owned();
    setup.paths.external = "/seen".to_owned();
    let rack = setup.start().await;
    rack.shows("Ethernet0", &Look::HEALTHY).await;
    for path in [
        "/",
        "/metrics",
        "/-/healthy",
        "/api/v1/fleet",
        "/ports/Ethernet0",
        "/?q=a%2Fb",
    ] {
        assert_eq!(
            get(rack.web, &format!("/dual/tor{path}")).await.status,
            200,
            "{path}"
        );
        if path != "/" && !path.starts_with("/?") {
            assert_eq!(get(rack.web, path).await.status, 404, "{path}");
        }
    }
    for path in ["/", "/dual/tor"] {
        let answer = get(rack.web, path).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (302, "/seen/"),
            "{path}"
        );
    }
    // Each link is relative: no proxy has to change it.
    for (path, up) in [("/", ""), ("/ports/Ethernet0", "../")] {
        let page = get(rack.web, &format!("/dual/tor{path}")).await;
        let links = page
            .text()
            .split("href=\"")
            .chain(page.text().split("src=\""))
            .skip(1);
        for link in links
            .filter_map(|rest| rest.split('"').next())
            .filter(|link| !link.contains('<'))
        {
            let local = link.strip_prefix(up).unwrap_or_else(|| panic!("{link}"));
            assert!(!local.starts_with('/'), "{link}");
            let local = local.trim_start_matches("./");
            assert_eq!(
                get(rack.web, &format!("/dual/tor/{local}")).await.status,
                200,
                "{link}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_move_the_pages_or_leave_them_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("config.yml");
    std::fs::write(&config, "side: upper\ndatabases: {publish: off}\ntargets: []\n").expect("written");
    let config = config.to_str().expect("UTF-8");
    let common = ["--config.file", config, "--web.listen-address", "127.0.0.1:0"];
    let args = [
        &common[..],
        &[
            "--web.external-url",
            "https://proxy.example/tor/",
            "--web.disable-page",
        ],
    ]
    .concat();
    let mut program = Program::start(&args);
    let address = program.address().await;
    let page = get(address, "/tor/").await;
    assert!(
        page.text().contains("<a href=\"metrics\">Metrics</a>"),
        "{}",
        page.text()
    );
    assert_eq!(get(address, "/tor/ports/Ethernet0").await.status, 404);
    assert_eq!(get(address, "/").await.header("location"), "/tor/");
    assert_eq!(get(address, "/tor/metrics").await.status, 200);
    for (flag, value) in [
        ("--web.external-url", "proxy.example/tor"),
        ("--web.external-url", "http://proxy/?a"),
        ("--web.route-prefix", "tor"),
        ("--web.route-prefix", "/a/../b"),
        ("--web.grafana-url", "grafana.example"),
        ("--web.telemetry-path", "/ports/metrics"),
        ("--web.telemetry-path", "/static"),
    ] {
        let ended = run(&[&common[..], &[flag, value]].concat()).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(
            ended.stderr.contains(flag) && ended.stderr.contains("expected"),
            "{ended:?}"
        );
    }
}

/// One file has the colours of states, for pages and dashboards; tests/dashboards/meaning.rs says what each is.
#[tokio::test(flavor = "multi_thread")]
async fn the_colours_of_states_are_defined_once() {
    let palette = include_str!("../../src/web/pages/palette.css");
    let style = include_str!("../../src/web/pages/page.css");
    let colours: Vec<&str> = palette
        .lines()
        .filter_map(|line| line.trim().strip_prefix("--"))
        .collect();
    assert_eq!(colours.len(), 8);
    for colour in &colours {
        let name = colour.split(':').next().expect("a name");
        assert!(!style.contains(&format!("--{name}:")), "{name}");
    }
    let rack = Setup::rack(1).start().await;
    let page = get(rack.web, "/").await;
    let mut links = page.text().split('"');
    let link = links
        .find(|part| part.starts_with("static/page-"))
        .expect("a style sheet");
    let served = get(rack.web, &format!("/{link}")).await;
    assert!(colours.iter().all(|colour| served.text().contains(colour)));
}

/// Grafana finds a dashboard by its uid, and sets the variables that the address has.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_leads_to_its_dashboard_where_grafana_is_known() {
    let board: serde_json::Value =
        serde_json::from_str(include_str!("../../dashboards/port.json")).expect("JSON");
    let variables = board["templating"]["list"].as_array().expect("variables");
    let variables: Vec<&str> = variables
        .iter()
        .filter_map(|each| each["name"].as_str())
        .collect();
    let mut setup = Setup::rack(1);
    let url = GrafanaUrl::checked("https://grafana.example/g/?orgId=2").expect("a URL");
    setup.paths.grafana = Some(url);
    let rack = setup.start().await;
    let page = get(rack.web, "/ports/Ethernet0").await;
    let uid = board["uid"].as_str().expect("a uid");
    let port = rack.web.port();
    let link = format!(
        "https://grafana.example/g/d/{uid}?orgId=2&amp;var-instance=127.0.0.1%3A{port}&amp;var-port=Ethernet0"
    );
    assert!(
        page.text().contains(&format!("href=\"{link}\"")),
        "{}",
        page.text()
    );
    let set = link
        .split("var-")
        .skip(1)
        .filter_map(|part| part.split('=').next());
    for name in set {
        assert!(variables.contains(&name), "{name}: {variables:?}");
    }
    let rack = Setup::rack(1).start().await;
    let page = get(rack.web, "/ports/Ethernet0").await;
    assert!(!page.text().contains("Grafana"), "{}", page.text());
}
