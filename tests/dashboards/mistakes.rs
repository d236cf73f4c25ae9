//! Ways to break the dashboards, at least one for each rule.

use serde_json::{Value, json};

/// The first panel of a kind on a dashboard.
fn panel<'a>(dashboard: &'a mut Value, kind: &str) -> &'a mut Value {
    let panels = dashboard["panels"].as_array_mut().expect("panels");
    let panel = panels.iter_mut().find(|panel| panel["type"] == kind);
    panel.unwrap_or_else(|| panic!("no panel of type {kind}"))
}

/// The panel with that title, of that kind.
fn named<'a>(dashboard: &'a mut Value, title: &str, kind: &str) -> &'a mut Value {
    let panels = dashboard["panels"].as_array_mut().expect("panels");
    let panel = panels
        .iter_mut()
        .find(|panel| panel["title"] == title && panel["type"] == kind);
    panel.unwrap_or_else(|| panic!("no {kind} {title}"))
}

/// The first panel in a collapsed row.
fn collapsed(dashboard: &mut Value) -> &mut Value {
    let panels = dashboard["panels"].as_array_mut().expect("panels");
    let row = panels.iter_mut().find(|panel| panel["collapsed"] == true);
    &mut row.expect("a collapsed row")["panels"][0]
}

/// The query of a panel.
fn query(panel: &Value, target: usize) -> String {
    panel["targets"][target]["expr"]
        .as_str()
        .expect("a query")
        .to_owned()
}

/// Changes the query of a panel.
fn replace(panel: &mut Value, target: usize, from: &str, to: &str) {
    let query = query(panel, target);
    assert!(query.contains(from), "{query}");
    panel["targets"][target]["expr"] = json!(query.replace(from, to));
}

/// What is set for a column.
fn column<'a>(table: &'a mut Value, title: &str, id: &str) -> &'a mut Value {
    let overrides = table["fieldConfig"]["overrides"]
        .as_array_mut()
        .expect("overrides");
    let of = overrides.iter_mut().find(|of| of["matcher"]["options"] == title);
    let properties = of
        .and_then(|of| of["properties"].as_array_mut())
        .expect("a column");
    let property = properties.iter_mut().find(|property| property["id"] == id);
    &mut property.unwrap_or_else(|| panic!("{title} has no {id}"))["value"]
}

/// The value mapping that shows this text, the first of its panel.
fn mapping<'a>(value: &'a mut Value, shown: &str) -> &'a mut Value {
    fn find<'a>(value: &'a mut Value, shown: &str) -> Option<&'a mut Value> {
        if value["text"] == shown {
            return Some(value);
        }
        match value {
            Value::Array(values) => values.iter_mut().find_map(|value| find(value, shown)),
            Value::Object(fields) => fields.values_mut().find_map(|value| find(value, shown)),
            _ => None,
        }
    }
    find(&mut value["fieldConfig"], shown).unwrap_or_else(|| panic!("nothing shows {shown}"))
}

/// A way to break what is committed: the rule that must notice, and what is done to Fleet (0), ToR (1), Port (2),
/// Exporter (3) or Services (4).
pub(crate) type Mistake = (&'static str, usize, fn(&mut Value));

pub(crate) const MISTAKES: &[Mistake] = &[
    ("ids", 0, |d| d["panels"][1]["id"] = d["panels"][0]["id"].clone()),
    ("ids", 0, |d| d["uid"] = json!("dualtor-tor")),
    ("ids", 0, |d| d["title"] = json!("Dual-ToR / ToR")),
    ("data source", 0, |d| {
        panel(d, "stat")["datasource"]["uid"] = json!("P1809F7CD0C75ACF3")
    }),
    ("data source", 0, |d| {
        panel(d, "stat")["targets"][0]["datasource"] = json!("Prometheus")
    }),
    ("data source", 1, |d| {
        d["templating"]["list"][1]["datasource"] = Value::Null
    }),
    ("data source", 2, |d| {
        d["annotations"]["list"][0]["datasource"]["uid"] = json!("-- Grafana --")
    }),
    ("data source", 3, |d| {
        d["templating"]["list"][0]["name"] = json!("prometheus")
    }),
    ("words", 0, |d| panel(d, "table")["title"] = json!("")),
    ("words", 0, |d| panel(d, "table")["description"] = Value::Null),
    ("words", 0, |d| panel(d, "row")["title"] = json!("")),
    ("words", 1, |d| collapsed(d)["description"] = Value::Null),
    ("units", 1, |d| {
        panel(d, "stat")["fieldConfig"]["defaults"]["unit"] = Value::Null
    }),
    ("units", 0, |d| {
        panel(d, "table")["fieldConfig"]["overrides"] = json!([])
    }),
    ("layout", 0, |d| panel(d, "stat")["gridPos"]["w"] = json!(4)),
    ("layout", 0, |d| panel(d, "stat")["gridPos"]["w"] = json!(0)),
    ("layout", 0, |d| panel(d, "heatmap")["gridPos"]["x"] = json!(13)),
    ("layout", 1, |d| collapsed(d)["gridPos"]["y"] = json!(0)),
    ("layout", 0, |d| panel(d, "row")["gridPos"] = Value::Null),
    ("windows", 1, |d| {
        panel(d, "heatmap")["targets"][0]["expr"] = json!("rate(process_cpu_seconds_total[5m])")
    }),
    ("windows", 1, |d| {
        panel(d, "heatmap")["targets"][0]["expr"] = json!("rate(process_cpu_seconds_total[$__range])")
    }),
    ("windows", 1, |d| {
        panel(d, "heatmap")["targets"][0]["expr"] = json!("rate(process_cpu_seconds_total[$__interval])")
    }),
    ("variables", 0, |d| {
        panel(d, "stat")["targets"][0]["expr"] = json!("count(up)")
    }),
    ("variables", 0, |d| {
        panel(d, "stat")["targets"][0]["expr"] = json!(r#"count(up{job=~"$job"})"#)
    }),
    ("variables", 1, |d| {
        panel(d, "stat")["targets"][0]["expr"] =
            json!(r#"dualtor_keepalive_rtt_seconds{job=~"$job", instance="$instance"}"#);
    }),
    ("variables", 0, |d| {
        panel(d, "stat")["targets"][0]["expr"] = json!(r#"up{job=~"$job", instance=~"$tor"}"#)
    }),
    ("variables", 4, |d| {
        replace(named(d, "Down", "stat"), 0, r#", target=~"$target""#, "");
    }),
    ("variables", 4, |d| {
        replace(
            named(d, "Channels", "state-timeline"),
            0,
            r#", module=~"$module""#,
            "",
        );
    }),
    ("meanings", 4, |d| {
        mapping(named(d, "Rounds", "state-timeline"), "failed")["color"] = json!("#00815E");
    }),
    ("scales", 4, |d| {
        named(d, "Failing", "stat")["fieldConfig"]["defaults"]["thresholds"]["steps"][1]["value"] = json!(2);
    }),
    ("instead", 4, |d| {
        replace(named(d, "Targets", "stat"), 0, "* -1", "* 0");
    }),
    ("orders", 4, |d| {
        named(d, "All targets", "table")["options"]["sortBy"][0]["desc"] = json!(false);
    }),
    ("links", 0, |d| {
        d["links"][0]["url"] = json!("/d/dualtor-rack?${datasource:queryparam}&${job:queryparam}")
    }),
    ("links", 0, |d| {
        d["links"][0]["url"] = json!("https://example.org/runbook.md")
    }),
    ("links", 0, |d| d["links"] = json!([])),
    ("links", 2, |d| {
        let links = d["links"].as_array_mut().expect("links");
        links.retain(|link| link["title"] != "Exporter's page");
    }),
    ("links", 2, |d| {
        let links = d["links"].as_array_mut().expect("links");
        let own = links.iter_mut().find(|link| link["title"] == "Exporter's page");
        own.expect("a link")["url"] = json!("http://${instance}/");
    }),
    ("links", 0, |d| d["links"][0]["keepTime"] = json!(false)),
    ("links", 1, |d| {
        panel(d, "state-timeline")["fieldConfig"]["defaults"]["links"][0]["url"] = json!(
            "/d/dualtor-exporter?${datasource:queryparam}&${job:queryparam}&var-port=x&${__url_time_range}"
        );
    }),
    ("links", 1, |d| {
        panel(d, "state-timeline")["fieldConfig"]["defaults"]["links"][0]["url"] =
            json!("/d/dualtor-port?${datasource:queryparam}&${job:queryparam}&var-port=x");
    }),
    ("colours", 1, |d| {
        panel(d, "state-timeline")["fieldConfig"]["defaults"]["mappings"][0]["options"]["1"]["color"] =
            json!("#FF0000");
    }),
    ("colours", 1, |d| {
        panel(d, "state-timeline")["fieldConfig"]["defaults"]["mappings"][0]["options"]["1"]["text"] =
            Value::Null;
    }),
    ("colours", 1, |d| {
        panel(d, "timeseries")["fieldConfig"]["overrides"][2]["properties"][0]["value"]["fixedColor"] =
            json!("#FF0000");
    }),
    ("colours", 1, |d| {
        panel(d, "state-timeline")["fieldConfig"]["defaults"]["color"] = json!({ "mode": "thresholds" })
    }),
    ("targets", 2, |d| {
        panel(d, "state-timeline")["targets"][1]["refId"] = json!("A")
    }),
    ("targets", 2, |d| {
        panel(d, "state-timeline")["targets"][1]["legendFormat"] = json!("")
    }),
    ("targets", 2, |d| {
        panel(d, "state-timeline")["targets"] = json!([])
    }),
    ("targets", 0, |d| {
        panel(d, "table")["targets"][0]["format"] = json!("time_series")
    }),
    ("targets", 0, |d| {
        panel(d, "heatmap")["targets"][0]["format"] = json!("time_series")
    }),
    ("names", 0, |d| {
        panel(d, "table")["fieldConfig"]["overrides"][0]["matcher"]["options"] = json!("Rack of the ToR");
    }),
    ("names", 2, |d| {
        panel(d, "timeseries")["fieldConfig"]["overrides"][0]["matcher"]["options"] = json!("p95");
    }),
    ("linter", 0, |d| d["editable"] = json!(true)),
    ("linter", 0, |d| {
        d["templating"]["list"][1]["allValue"] = Value::Null
    }),
    ("linter", 0, |d| {
        d["templating"]["list"][2]["allValue"] = json!(".*")
    }),
    ("linter", 1, |d| {
        panel(d, "stat")["targets"][0]["expr"] = json!(r#"up{job=~"$job", instance="$instance"}"#)
    }),
    ("missing", 0, |d| {
        panel(d, "stat")["fieldConfig"]["defaults"]["mappings"] = json!([])
    }),
    ("missing", 2, |d| {
        panel(d, "stat")["fieldConfig"]["defaults"]["mappings"][1]["options"]["result"]["color"] =
            json!("#009E73")
    }),
    ("missing", 3, |d| {
        panel(d, "stat")["options"]["colorMode"] = json!("background")
    }),
    ("missing", 0, |d| {
        let tors = named(d, "ToRs", "table");
        tors["fieldConfig"]["overrides"] = json!([{
            "matcher": { "id": "byName", "options": "Dark" },
            "properties": [{ "id": "thresholds", "value": {} }],
        }])
    }),
    ("one meaning", 1, |d| {
        named(d, "Not READY", "stat")["description"] =
            json!("Channels that are not READY, in maintenance or not.")
    }),
    ("titles", 0, |d| {
        named(d, "One side out", "stat")["title"] = json!("Not redundant")
    }),
    ("titles", 0, |d| {
        named(d, "Not READY", "stat")["title"] = json!("Channels down")
    }),
    ("columns", 0, |d| {
        named(d, "Firing alerts", "table")["gridPos"]["w"] = json!(12)
    }),
    ("columns", 0, |d| {
        named(d, "Channel lost", "table")["options"]["footer"]["enablePagination"] = json!(true)
    }),
    ("nothing", 0, |d| {
        named(d, "Channel lost", "table")["targets"][0]["expr"] = json!("topk(20, up)")
    }),
    ("port order", 1, |d| {
        panel(d, "state-timeline")["targets"][0]["expr"] = json!("dualtor_port_oper_up")
    }),
    ("port order", 1, |d| {
        let transformations = &mut named(d, "SoCs", "table")["transformations"];
        transformations[0]["options"]["sort"] = json!([])
    }),
    ("legends", 0, |d| {
        panel(d, "timeseries")["options"]["legend"]["placement"] = json!("bottom")
    }),
    ("legends", 0, |d| {
        panel(d, "timeseries")["gridPos"]["h"] = json!(5)
    }),
    ("events", 1, |d| {
        panel(d, "timeseries")["fieldConfig"]["defaults"]["decimals"] = Value::Null
    }),
    ("alerts", 0, |d| {
        d["annotations"]["list"][1]["enable"] = json!(true)
    }),
    ("alerts", 0, |d| {
        d["annotations"]["list"][0]["expr"] = json!("ALERTS")
    }),
    ("severities", 0, |d| {
        let critical = named(d, "Critical", "stat");
        replace(critical, 0, "severity=\"critical\"", "severity!=\"info\"")
    }),
    ("severities", 0, |d| {
        let others = named(d, "Other alerts", "stat");
        replace(others, 0, "severity!=\"critical\"", "severity=~\".+\"")
    }),
    ("one meaning", 1, |d| {
        named(d, "Side", "stat")["targets"][0]["expr"] = json!("dualtor_side")
    }),
    ("one meaning", 1, |d| {
        let not_ready = named(d, "Not READY", "stat");
        not_ready["fieldConfig"]["defaults"]["thresholds"]["steps"][1]["value"] = json!(2)
    }),
    ("missing", 0, |d| {
        // A grey box without a word.
        let exporter = column(named(d, "ToRs", "table"), "Exporter", "mappings");
        let mappings = exporter.as_array_mut().expect("of its states");
        mappings.retain(|mapping| mapping["type"] != "special");
    }),
    ("contrast", 0, |d| {
        let steps = &mut named(d, "Other alerts", "stat")["fieldConfig"]["defaults"]["thresholds"]["steps"];
        steps[1]["color"] = json!("#E69F00")
    }),
    ("contrast", 1, |d| {
        mapping(panel(d, "state-timeline"), "READY")["color"] = json!("#009E73")
    }),
    ("alike", 1, |d| {
        panel(d, "state-timeline")["options"]["mergeValues"] = json!(false)
    }),
    ("alike", 1, |d| {
        panel(d, "state-timeline")["options"]["alignValue"] = json!("center")
    }),
    ("alike", 1, |d| {
        panel(d, "state-timeline")["fieldConfig"]["defaults"]["noValue"] = json!("OK")
    }),
    ("alike", 2, |d| {
        panel(d, "timeseries")["fieldConfig"]["defaults"]["custom"]["axisWidth"] = Value::Null
    }),
    ("alike", 0, |d| {
        panel(d, "timeseries")["fieldConfig"]["defaults"]["custom"]["axisSoftMax"] = Value::Null
    }),
    ("alike", 0, |d| {
        *column(named(d, "ToRs", "table"), "Exporter", "custom.align") = json!("right")
    }),
    ("lines", 3, |d| {
        named(d, "Lateness", "timeseries")["fieldConfig"]["overrides"] = json!([])
    }),
    ("lines", 1, |d| {
        named(d, "Failures by cause", "timeseries")["fieldConfig"]["defaults"]["color"] =
            json!({ "mode": "shades", "fixedColor": "#BF4F00" })
    }),
    ("link down", 1, |d| {
        replace(
            named(d, "Direction, self", "state-timeline"),
            0,
            "dualtor_link_state",
            "dualtor_oper_state",
        )
    }),
    ("link down", 1, |d| {
        // The other side's link.
        let query = query(named(d, "Direction, self", "state-timeline"), 0);
        let (before, after) = query.split_once("dualtor_link_state").expect("a link");
        let after = after.replacen("self", "peer", 1);
        named(d, "Direction, self", "state-timeline")["targets"][0]["expr"] =
            json!(format!("{before}dualtor_link_state{after}"))
    }),
    ("link down", 0, |d| {
        let table = named(d, "Servers dark or with one side out", "table");
        replace(table, 2, "dualtor_link_state", "dualtor_oper_state")
    }),
    ("meanings", 2, |d| {
        mapping(named(d, "Server", "stat"), "dark")["text"] = json!("off")
    }),
    ("meanings", 2, |d| {
        mapping(named(d, "Server", "stat"), "dark")["color"] = json!("#00815E")
    }),
    ("meanings", 0, |d| {
        mapping(named(d, "Firing alerts", "table"), "none")["color"] = json!("#707070")
    }),
    ("server", 2, |d| {
        mapping(named(d, "Server", "stat"), "dark")["text"] = json!("both sides")
    }),
    ("server", 2, |d| {
        mapping(named(d, "Why", "stat"), "both links are down")["color"] = json!("#00815E")
    }),
    ("server", 2, |d| {
        mapping(named(d, "Why", "stat"), "self unknown, peer link down")["text"] =
            json!("self active, peer link down")
    }),
    ("server", 2, |d| {
        named(d, "Why", "stat")["targets"][0]["expr"] = json!("1")
    }),
    ("scales", 0, |d| {
        let steps = &mut named(d, "Servers dark", "stat")["fieldConfig"]["defaults"]["thresholds"]["steps"];
        steps[0]["color"] = json!("#BF4F00")
    }),
    ("scales", 0, |d| {
        let steps = &mut named(d, "Critical", "stat")["fieldConfig"]["defaults"]["thresholds"]["steps"];
        steps[1]["value"] = json!(2)
    }),
    ("scales", 0, |d| {
        column(named(d, "ToRs", "table"), "Dark", "thresholds")["steps"][1]["color"] = json!("#F2B233")
    }),
    ("scales", 0, |d| {
        named(d, "ToRs", "stat")["fieldConfig"]["defaults"]["thresholds"] =
            json!({ "steps": [{ "value": null, "color": "#00815E" }] })
    }),
    ("orders", 0, |d| {
        let tors = &mut named(d, "ToRs", "table")["options"]["sortBy"];
        tors.as_array_mut().expect("a list").remove(0);
    }),
    ("orders", 0, |d| {
        named(d, "Channel lost", "table")["options"]["sortBy"][0]["desc"] = json!(false)
    }),
    ("orders", 0, |d| {
        let tors = column(named(d, "ToRs", "table"), "Exporter", "mappings");
        let words = tors[0]["options"].as_object_mut().expect("words");
        let (mut up, mut down) = (String::new(), String::new());
        for (number, word) in &*words {
            if word["text"] == "up" {
                up.clone_from(number);
            } else {
                down.clone_from(number);
            }
        }
        let (of_up, of_down) = (words[&up].take(), words[&down].take());
        words.insert(up, of_down);
        words.insert(down, of_up);
    }),
    ("instead", 2, |d| {
        let mappings = &mut named(d, "Certificate expires", "stat")["fieldConfig"]["defaults"]["mappings"];
        mappings.as_array_mut().expect("a list").remove(0);
    }),
    ("instead", 3, |d| {
        let own = named(d, "Own certificates expire", "stat");
        let query = query(own, 0);
        own["targets"][0]["expr"] = json!(query.split("\nor").next())
    }),
    ("zeros", 0, |d| {
        replace(named(d, "Critical", "stat"), 0, "} == 1) * 0", "}) * 0")
    }),
    ("zeros", 0, |d| {
        let mappings = column(named(d, "Firing alerts", "table"), "Severity", "mappings");
        mappings.as_array_mut().expect("a list").pop();
    }),
    ("lists", 0, |d| {
        let table = named(d, "Channel lost", "table");
        let query = query(table, 0);
        table["targets"][0]["expr"] = json!(query.split("\nor on ()").next())
    }),
    ("lists", 0, |d| {
        // Nothing lost, says a Prometheus that does not know.
        replace(
            named(d, "Channel lost", "table"),
            0,
            "sum(dualtor_inventory_ports",
            "sum(up",
        )
    }),
    ("lists", 0, |d| {
        // A row without a column by which the others are sorted.
        replace(
            named(d, "Firing alerts", "table"),
            0,
            "\"alertname\", \"-\"",
            "\"x\", \"-\"",
        )
    }),
    ("zeros", 0, |d| {
        let table = named(d, "Firing alerts", "table");
        let query = query(table, 1);
        table["targets"][1]["expr"] = json!(query.split("\nor on ()").next())
    }),
    ("load", 3, |d| {
        let targets = &mut panel(d, "timeseries")["targets"];
        let another = targets[0].clone();
        targets.as_array_mut().expect("targets").push(another);
    }),
    ("load", 1, |d| {
        panel(d, "state-timeline")["maxDataPoints"] = json!(2000)
    }),
    ("load", 1, |d| collapsed(d)["maxDataPoints"] = Value::Null),
    ("load", 1, |d| d["refresh"] = json!("5s")),
    ("worst", 0, |d| {
        replace(named(d, "Channel lost", "table"), 0, "topk(20,", "bottomk(20,")
    }),
    ("worst", 0, |d| {
        replace(named(d, "Channel lost", "table"), 0, "topk(20,", "topk(1,")
    }),
    ("heights", 0, |d| {
        named(d, "Firing alerts", "table")["gridPos"]["h"] = json!(2)
    }),
    ("heights", 1, |d| {
        panel(d, "state-timeline")["gridPos"]["h"] = json!(8)
    }),
    ("heights", 2, |d| {
        named(d, "What happened", "state-timeline")["gridPos"]["h"] = json!(4)
    }),
    ("alert column", 0, |d| {
        *column(named(d, "Firing alerts", "table"), "Alert", "custom.width") = json!(240)
    }),
    ("port order", 1, |d| {
        replace(panel(d, "state-timeline"), 0, "(\\\\d\\\\d\\\\d\\\\d)", "(\\\\d)")
    }),
    ("shown", 0, |d| {
        panel(d, "stat")["options"]["reduceOptions"]["calcs"] = json!(["mean"])
    }),
    ("shown", 0, |d| {
        panel(d, "stat")["options"]["textMode"] = json!("none")
    }),
    ("shown", 0, |d| {
        panel(d, "stat")["targets"][0]["hide"] = json!(true)
    }),
    ("shown", 1, |d| {
        panel(d, "stat")["targets"][0]["instant"] = json!(false)
    }),
    ("shown", 0, |d| panel(d, "table")["timeFrom"] = json!("7d")),
    ("shown", 1, |d| {
        panel(d, "state-timeline")["fieldConfig"]["defaults"]["custom"]["spanNulls"] = json!(true)
    }),
    ("shown", 3, |d| {
        panel(d, "timeseries")["fieldConfig"]["defaults"]["custom"]["scaleDistribution"] =
            json!({ "type": "log", "log": 10 })
    }),
    ("shown", 3, |d| {
        panel(d, "timeseries")["fieldConfig"]["defaults"]["max"] = json!(0.01)
    }),
    ("sides", 1, |d| {
        let peer = query(named(d, "Direction, peer", "state-timeline"), 0);
        named(d, "Direction, self", "state-timeline")["targets"][0]["expr"] = json!(peer)
    }),
    ("sides", 2, |d| {
        let rows = named(d, "What happened", "state-timeline")["targets"].as_array_mut();
        let link = rows.and_then(|rows| rows.iter_mut().find(|row| row["legendFormat"] == "Link, self"));
        let link = link.expect("a row");
        let of_link = link["expr"].as_str().expect("a query");
        link["expr"] = json!(of_link.replace("dualtor_link_state", "dualtor_oper_state"))
    }),
];
