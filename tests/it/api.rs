//! The JSON API: what it answers about a rack, and that openapi.json describes it.

use dualtor_sim::ConnectionFault;
use serde_json::Value;

use crate::harness::{Rack, Setup, wait_until};
use crate::http::{Answer, ask, get, post};
use crate::soc_view::Look;

/// Asks, and reads the JSON.
async fn json(rack: &Rack, path: &str) -> Value {
    let answer = get(rack.web, path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    assert_eq!(answer.header("content-type"), "application/json", "{path}");
    assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    parse(&answer)
}

fn parse(answer: &Answer) -> Value {
    serde_json::from_str(answer.text()).unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
}

/// Asks until the answer is as expected.
async fn json_when(rack: &Rack, path: &str, condition: impl Fn(&Value) -> bool) -> Value {
    wait_until(path, async || {
        let answer = json(rack, path).await;
        if condition(&answer) {
            Ok(answer)
        } else {
            Err(answer.to_string())
        }
    })
    .await
}

/// The ports of a list, in its order.
fn names(list: &Value) -> Vec<&str> {
    let ports = list["ports"].as_array().expect("a list");
    ports
        .iter()
        .map(|row| row["port"].as_str().expect("a name"))
        .collect()
}

/// Four SoCs. Ethernet4 refuses every connection, the others answer and report the peer's side as standby.
pub(crate) async fn rack() -> Rack {
    let rack = Setup::rack(4)
        .soc("Ethernet4", |soc| soc.fault = ConnectionFault::Refuse)
        .start()
        .await;
    rack.shows("Ethernet4", &Look::unknown("transient_failure")).await;
    for port in ["Ethernet0", "Ethernet8", "Ethernet12"] {
        rack.shows(port, &Look::HEALTHY).await;
    }
    rack
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_with_one_slash_too_many_leads_nowhere() {
    let rack = rack().await;
    for path in [
        "/api/v1/",
        "/api/v1//",
        "/api/v1/ports/",
        "/api/v1//ports",
        "/api/v1///ports",
        "/api/v1//ports/Ethernet0",
        "/api/v1//events",
    ] {
        let answer = get(rack.web, path).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        assert_eq!(parse(&answer)["error"]["code"], "not_found", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_and_its_counts() {
    let rack = rack().await;
    let fleet = json(&rack, "/api/v1/fleet").await;
    assert_eq!(fleet["counts"]["ports"], 4);
    assert_eq!(fleet["counts"]["channel"]["ready"], 3);
    assert_eq!(fleet["counts"]["channel"]["transient_failure"], 1);
    // The simulated SoCs report the peer's side as standby.
    assert_eq!(fleet["counts"]["level"]["warning"], 3);
    assert_eq!(fleet["counts"]["level"]["critical"], 1);
    assert_eq!(fleet["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (&fleet["side"], &fleet["source"]),
        (&"upper".into(), &"file".into())
    );
    assert_eq!(fleet["state_db"]["mode"], "own");
    json_when(&rack, "/api/v1/fleet", |fleet| fleet["state_db"]["up"] == true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_sorted_filtered_and_cut() {
    let rack = rack().await;
    let list = json(&rack, "/api/v1/ports").await;
    assert_eq!(list["total"], 4);
    assert_eq!(
        names(&list),
        ["Ethernet4", "Ethernet0", "Ethernet8", "Ethernet12"]
    );
    let worst = &list["ports"][0];
    assert_eq!(
        (&worst["level"], &worst["reason"]),
        (&"critical".into(), &"channel_not_ready".into())
    );
    assert_eq!(worst["last_error"]["cause"], "refused");
    let next = &list["ports"][1];
    assert_eq!(
        (&next["level"], &next["reason"]),
        (&"warning".into(), &"no_redundancy".into())
    );
    assert_eq!(
        (&next["self"]["direction"], &next["peer"]["direction"]),
        (&"active".into(), &"standby".into())
    );

    for (query, total, expected) in [
        (
            "sort=port",
            4,
            &["Ethernet0", "Ethernet4", "Ethernet8", "Ethernet12"][..],
        ),
        ("sort=port&limit=2", 4, &["Ethernet0", "Ethernet4"]),
        ("sort=port&offset=3", 4, &["Ethernet12"]),
        ("sort=port&offset=4294967295", 4, &[]),
        ("level=critical", 1, &["Ethernet4"]),
        ("level=critical,warning&sort=port&limit=1", 4, &["Ethernet0"]),
        ("level=ok", 0, &[]),
        ("state=ready&q=ETHERNET1", 1, &["Ethernet12"]),
        ("q=refused", 1, &["Ethernet4"]),
        ("q=%C3%A9", 0, &[]),
    ] {
        let list = json(&rack, &format!("/api/v1/ports?{query}")).await;
        assert_eq!(
            (&list["total"], names(&list)),
            (&total.into(), expected.to_vec()),
            "{query}"
        );
    }
    let long = format!("q={}", "x".repeat(201));
    for (query, words) in [
        ("level=bad", "level: expected ok, maintenance"),
        ("state=READY", "state: expected idle, connecting"),
        ("sort=name", "sort: expected worst, port, since"),
        ("limit=0", "limit: expected a number from 1 to 5000"),
        ("limit=5001", "got 5001"),
        ("limit=99999999999999999999", "limit: expected"),
        ("offset=-1", "offset: expected a number"),
        ("levle=critical", "unknown parameter levle: expected level, state"),
        (&long, "q: expected at most 200 bytes"),
        ("limit=1&limit=2", "limit: expected once, got twice"),
        ("level=ok&level=critical", "level: expected once"),
        ("q=a&q=a", "q: expected once"),
    ] {
        let answer = get(rack.web, &format!("/api/v1/ports?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        let error = &parse(&answer)["error"];
        assert_eq!(error["code"], "bad_request", "{query}");
        let message = error["message"].as_str().expect("a text");
        assert!(message.contains(words), "{query}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_and_what_happened_to_it() {
    let rack = rack().await;
    let path = "/api/v1/ports/Ethernet0";
    let soc = rack.soc("Ethernet0");
    soc.connection_fault(ConnectionFault::Refuse);
    soc.close_connections();
    json_when(&rack, path, |port| port["level"] == "critical").await;
    soc.connection_fault(ConnectionFault::None);
    rack.shows("Ethernet0", &Look::HEALTHY).await;
    let port = json(&rack, path).await;
    assert_eq!(port["address"], rack.soc("Ethernet0").address().to_string());
    assert_eq!(port["counters"].as_object().expect("counters").len(), 6);
    let transitions = port["transitions"].as_array().expect("a list");
    let of_channel: Vec<_> = transitions
        .iter()
        .filter(|each| each["kind"] == "channel")
        .map(|each| each["to"].as_str().expect("a state"))
        .collect();
    assert_eq!(of_channel, ["ready", "transient_failure", "ready", "connecting"]);
    let loss = transitions.iter().find(|each| each["to"] == "transient_failure");
    let loss = loss.expect("the loss");
    assert!(loss["cause"].is_string() && loss["detail"].is_string(), "{loss}");
    let rounds = port["rounds"].as_array().expect("a list");
    assert_eq!(rounds[0]["queries"]["admin"]["result"], "OK");
    let times: Vec<_> = rounds
        .iter()
        .map(|round| round["at"].as_str().expect("a time"))
        .collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "newest first: {times:?}");
    let failed = port["failed_rounds"].as_array().expect("a list");
    assert!(
        failed
            .iter()
            .all(|round| round["queries"]["admin"]["result"] != "OK"),
        "{failed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_and_what_is_not_allowed() {
    let rack = rack().await;
    for path in [
        "/api/v1/ports/Ethernet1",
        "/api/v1/ports/%00",
        "/api/v1/ports/%ff",
        "/api/v1/ports/Ethernet0%20",
        "/api/v1/ports/Ethernet0%2F1",
        "/api/v1/nothing",
        "/api/v1/",
        "/api/v1/ports/",
    ] {
        let answer = get(rack.web, path).await;
        assert_eq!(
            (answer.status, &parse(&answer)["error"]["code"]),
            (404, &"not_found".into()),
            "{path}"
        );
    }
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        for path in ["/api/v1/fleet", "/api/v1/ports", "/api/v1/ports/Ethernet0"] {
            let answer = ask(rack.web, method, path, &[]).await;
            assert_eq!(
                (answer.status, answer.header("allow")),
                (405, "GET, HEAD"),
                "{method} {path}"
            );
            assert_eq!(parse(&answer)["error"]["code"], "method_not_allowed");
        }
    }
    for path in [
        "/api/v1/fleet",
        "/api/v1/ports",
        "/api/v1/ports/Ethernet0",
        "/api/v1/openapi.json",
    ] {
        let head = ask(rack.web, "HEAD", path, &[]).await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        let answer = get(rack.web, path).await;
        assert_eq!(
            answer.header("access-control-allow-origin"),
            "",
            "no other site may read it"
        );
    }
    let packed = ask(rack.web, "GET", "/api/v1/ports", &[("accept-encoding", "gzip")]).await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    // What is ignored would be taken for what was asked.
    for (method, path) in [
        ("GET", "/api/v1/fleet?limit=1"),
        ("GET", "/api/v1/ports/Ethernet0?rounds=3"),
        ("GET", "/api/v1/events?level=critical"),
        ("GET", "/api/v1/openapi.json?x"),
        ("POST", "/api/v1/ports/Ethernet0/probe?timeout=1s"),
    ] {
        let answer = ask(rack.web, method, path, &[]).await;
        let error = &parse(&answer)["error"];
        assert_eq!(
            (answer.status, &error["code"]),
            (400, &"bad_request".into()),
            "{path}"
        );
        let message = error["message"].as_str().expect("a text");
        assert!(message.contains("takes none"), "{path}: {message}");
    }
    assert_eq!(get(rack.web, "/api/v1/fleet?").await.status, 200);
}

/// It is an error as openapi.json describes it.
fn is_json(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(parse(answer)["error"]["code"], code);
    let api: Value = serde_json::from_str(include_str!("../../src/web/api/openapi.json")).expect("JSON");
    check(&api, &api["components"]["schemas"]["Error"], &parse(answer), code);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_is_json_for_the_api_and_text_elsewhere() {
    let is_text = |answer: &Answer, status: u16| {
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    };
    let evil = [("Host", "evil.example")];
    let mut setup = Setup::rack(1);
    setup.paths.prefix = "/tor".to_owned();
    let rack = setup.start().await;
    let (api, page) = ("/tor/api/v1/fleet", "/tor/");
    let refused = ask(rack.web, "GET", api, &evil).await;
    is_json(&refused, 403, "forbidden");
    is_text(&ask(rack.web, "GET", page, &evil).await, 403);
    is_json(&post(rack.web, api, "{}").await, 413, "body");
    is_text(&post(rack.web, page, "{}").await, 413);

    let mut setup = Setup::rack(1);
    setup.web_config = Some(
        "basic_auth_users: {a: $2b$04$abcdefghijklmnopqrstuuCiRP6uwuebOgMsb3sB1n0pjVVBf0O3K}".to_owned(),
    );
    let rack = setup.start().await;
    let refused = get(rack.web, "/api/v1/fleet").await;
    assert_eq!(refused.header("www-authenticate"), "Basic");
    is_json(&refused, 401, "unauthorized");
    is_text(&get(rack.web, "/").await, 401);

    let mut setup = Setup::rack(1);
    setup.web_config = Some("rate_limit: {interval: 1h, burst: 0}".to_owned());
    let rack = setup.start().await;
    is_json(&get(rack.web, "/api/v1/fleet").await, 429, "rate_limited");
    is_text(&get(rack.web, "/").await, 429);
}

/// The route of probes on request.
const PROBE: &str = "/api/v1/ports/{port}/probe";

/// Whether `value` is exactly what `schema` describes: each property is described, and each described one is there.
fn check(api: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.trim_start_matches("#/components/schemas/");
        return check(api, &api["components"]["schemas"][name], value, at);
    }
    if let Some(either) = schema["oneOf"].as_array() {
        let schema = if value.is_null() { &either[1] } else { &either[0] };
        return check(api, schema, value, at);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types = schema["type"]
        .as_array()
        .cloned()
        .unwrap_or_else(|| vec![schema["type"].clone()]);
    let fits = types
        .iter()
        .any(|known| known == kind || (known == "number" && kind == "integer"));
    assert!(fits, "{at}: {kind}, described as {types:?}");
    if let Some(words) = schema["enum"].as_array() {
        assert!(
            words.contains(value),
            "{at}: {value}, described as one of {words:?}"
        );
    }
    if schema["format"] == "date-time"
        && let Some(time) = value.as_str()
    {
        let shape: String = time
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{at}");
    }
    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
        check(api, &schema["items"], item, &format!("{at}[{n}]"));
    }
    let Some(object) = value.as_object() else { return };
    if schema["additionalProperties"].is_object() {
        for (name, value) in object {
            check(
                api,
                &schema["additionalProperties"],
                value,
                &format!("{at}.{name}"),
            );
        }
        return;
    }
    let described = schema["properties"]
        .as_object()
        .unwrap_or_else(|| panic!("{at}: no properties"));
    let required = schema["required"].as_array().into_iter().flatten();
    let required: Vec<&str> = required.filter_map(Value::as_str).collect();
    // What a probe did not find is absent, as the command prints it.
    let is_always_there = |name: &&String| at != PROBE || required.contains(&name.as_str());
    let names = |object: &serde_json::Map<String, Value>| -> Vec<String> {
        object.keys().filter(is_always_there).cloned().collect()
    };
    assert_eq!(names(object), names(described), "{at}");
    assert_eq!(names(described).len(), required.len(), "{at}");
    for (name, value) in object {
        check(api, &described[name], value, &format!("{at}.{name}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openapi_describes_exactly_what_is_answered() {
    let rack = crate::services::rack().await;
    rack.redis
        .ask_db::<u64>(0, "HSET MUX_CABLE_TABLE:Ethernet0 state active");
    let api = json(&rack, "/api/v1/openapi.json").await;
    let paths = api["paths"].as_object().expect("paths");
    for (path, item) in paths.iter().filter(|(path, _)| *path != "/api/v1/events") {
        for (port, target) in [("Ethernet0", "db1"), ("Ethernet4", "db2")] {
            if path == PROBE {
                let answer = ask(rack.web, "POST", &path.replace("{port}", port), &[]).await;
                let content = &item["post"]["responses"]["200"]["content"];
                check(
                    &api,
                    &content["application/json"]["schema"],
                    &parse(&answer),
                    PROBE,
                );
                continue;
            }
            let path_of = path
                .replace("{port}", port)
                .replace("{module}/{target}", &format!("health/{target}"));
            let answer = json(&rack, &path_of).await;
            let response = &item["get"]["responses"]["200"]["content"]["application/json"]["schema"];
            if path != "/api/v1/openapi.json" {
                check(&api, response, &answer, path);
            }
        }
    }
    for path in ["/api/v1/ports?limit=0", "/api/v1/nothing"] {
        let answer = parse(&get(rack.web, path).await);
        check(&api, &api["components"]["schemas"]["Error"], &answer, path);
    }
}

/// The sets of words are closed: openapi.json lists each.
#[test]
fn openapi_knows_every_word() {
    use dualtor_exporter::model::{
        ChannelState, Health, LinkmgrHealth, Maintenance, MuxDirection, OrchagentMux, PortLevel, PortReason,
        PortState, ProbeResult, Query, ServiceReason, Side,
    };
    let api: Value = serde_json::from_str(include_str!("../../src/web/api/openapi.json")).expect("JSON");
    let schemas = &api["components"]["schemas"];
    macro_rules! same {
        ($words:ident, $schema:expr) => {
            let labels: Vec<&str> = $words::ALL.iter().map(|word| word.label()).collect();
            let described = $schema["enum"].as_array().expect("an enum");
            let described: Vec<&str> = described.iter().filter_map(Value::as_str).collect();
            assert_eq!(described, labels);
        };
    }
    let (row, end, mux) = (
        &schemas["PortRow"]["properties"],
        &schemas["End"]["properties"],
        &schemas["Mux"]["properties"],
    );
    same!(ChannelState, schemas["ChannelState"]);
    same!(PortLevel, schemas["Level"]);
    same!(PortReason, row["reason"]);
    same!(Health, row["health"]);
    same!(Maintenance, row["service"]);
    same!(MuxDirection, end["direction"]);
    same!(PortState, end["link"]);
    same!(PortState, end["oper"]);
    same!(MuxDirection, mux["intended"]);
    same!(OrchagentMux, mux["orchagent"]);
    same!(LinkmgrHealth, mux["linkmgr"]);
    same!(Query, schemas["LastError"]["properties"]["query"]);
    same!(Side, schemas["Fleet"]["properties"]["side"]);
    assert_eq!(schemas["PortPage"]["properties"]["reason"], row["reason"]);
    let service = &schemas["ServiceRow"]["properties"];
    same!(ServiceReason, service["reason"]);
    same!(ProbeResult, schemas["ServiceRound"]["properties"]["result"]);
    same!(Health, service["health"]["items"]["properties"]["status"]);
    for (name, described) in service.as_object().expect("properties") {
        assert_eq!(schemas["ServicePage"]["properties"][name], *described, "{name}");
    }
}

/// A SoC's text is data: it stays text in JSON, and what controls a terminal is gone.
#[tokio::test(flavor = "multi_thread")]
async fn the_text_of_a_soc_is_data() {
    let version = "<script>alert(1)</script>\u{1b}[2J";
    let rack = Setup::rack(1)
        .soc("Ethernet0", |soc| soc.version = Some(version.to_owned()))
        .start()
        .await;
    json_when(&rack, "/api/v1/ports", |list| {
        list["ports"][0]["version"].is_string()
    })
    .await;
    let answer = get(rack.web, "/api/v1/ports").await;
    let row = &parse(&answer)["ports"][0];
    let shown = row["version"].as_str().expect("a version");
    assert!(shown.starts_with("<script>alert(1)</script>"), "{shown}");
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
    assert!(!answer.header("content-type").contains("html"));
}
