//! The examples of docs/api.md: each request is sent to a running exporter, and what the document shows has the shape of the answer.

use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{LONG, Rack};
use crate::http::ask;
use crate::services::rack;

const HOST: &str = "http://127.0.0.1:9075";

/// A request of the document, and the answer that it shows.
#[derive(Debug)]
struct Example {
    method: &'static str,
    path: String,
    shown: String,
}

/// `$ curl -s 'URL' | jq`, and what is below.
fn examples() -> Vec<Example> {
    let text = include_str!("../../docs/api.md");
    let blocks = text.split("```console\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().expect("an end"));
    let commands = blocks.flat_map(|block| block.split("$ ").skip(1));
    let example = |command: &str| {
        let (line, shown) = command.split_once('\n').expect("a line");
        let mut words = line.split(' ').map(|word| word.trim_matches('\''));
        assert_eq!(words.next(), Some("curl"), "{line}");
        let url = words.find_map(|word| word.strip_prefix(HOST));
        Example {
            method: if line.contains("-sX POST") { "POST" } else { "GET" },
            path: url.unwrap_or_else(|| panic!("{line}: no {HOST}")).to_owned(),
            shown: shown.trim().to_owned(),
        }
    };
    commands.map(example).collect()
}

/// These have a key for each cause or result that occurred, or for each label that is configured.
const OPEN: [&str; 3] = ["failures", "results", "labels"];

/// Whether `shown` could be `real`: the same fields in each object, values of the same types. Lists may be shorter or longer.
fn compare(shown: &Value, real: &Value, at: &str) {
    match (shown, real) {
        (Value::Null, _) | (_, Value::Null) => {}
        (Value::Object(shown), Value::Object(real)) => compare_objects(shown, real, at),
        (Value::Array(shown), Value::Array(real)) => {
            let Some(real) = real.first() else { return };
            for (n, item) in shown.iter().enumerate() {
                compare(item, real, &format!("{at}[{n}]"));
            }
        }
        (shown, real) => {
            let alike = std::mem::discriminant(shown) == std::mem::discriminant(real);
            assert!(
                alike,
                "{at}: docs/api.md has {shown}, the exporter answers {real}"
            );
        }
    }
}

fn compare_objects(shown: &Map<String, Value>, real: &Map<String, Value>, at: &str) {
    if OPEN.iter().any(|open| at.ends_with(open)) {
        return;
    }
    let names = |object: &Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(shown),
        names(real),
        "{at}: docs/api.md (left) has other fields than the answer"
    );
    for (name, value) in shown {
        compare(value, &real[name], &format!("{at}.{name}"));
    }
}

/// The lines of a stream until its first `events` events.
async fn stream(rack: &Rack, path: &str, events: usize) -> String {
    let mut client = TcpStream::connect(rack.web).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", rack.web);
    client.write_all(request.as_bytes()).await.expect("sent");
    let mut read = String::new();
    let reading = async {
        while read.matches("\n\n").count() < events {
            let mut piece = [0; 4096];
            let length = client.read(&mut piece).await.expect("a piece");
            read += std::str::from_utf8(&piece[..length]).expect("ASCII");
        }
    };
    tokio::time::timeout(LONG, reading).await.expect("events");
    read.split_once("\r\n\r\n").expect("a head").1.to_owned()
}

/// Each event's name, and its data.
fn events(text: &str) -> Vec<(String, Value)> {
    let events = text.split("\n\n").filter(|event| event.contains("event: "));
    events
        .map(|event| {
            let lines: Vec<&str> = event.lines().collect();
            let [name, id, data] = lines[..] else {
                panic!("expected event, id and data: {event}")
            };
            assert!(id.starts_with("id: "), "{event}");
            let name = name.strip_prefix("event: ").expect("a name");
            let data = data.strip_prefix("data: ").expect("data");
            let data = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"));
            (name.to_owned(), data)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_document_shows_is_what_is_answered() {
    let rack = rack().await;
    let examples = examples();
    for route in [
        "/fleet",
        "/ports?",
        "/ports/Ethernet",
        "/probe",
        "/events",
        "/modules",
        "/targets?",
        "/targets/",
    ] {
        let shown = examples
            .iter()
            .any(|example| example.path.contains(route) && !example.shown.is_empty());
        assert!(shown, "docs/api.md has no answer of {route}");
    }
    for example in &examples {
        let Example { method, path, shown } = example;
        if path.ends_with("/events") {
            let shown = events(&format!("{shown}\n\n"));
            let real = events(&stream(&rack, path, shown.len()).await);
            for ((shown_name, shown), (name, real)) in shown.iter().zip(&real) {
                assert_eq!(shown_name, name);
                compare(shown, real, &format!("{path} {name}"));
            }
            continue;
        }
        let answer = ask(rack.web, method, path, &[]).await;
        assert_eq!(answer.status, 200, "{example:?}: {}", answer.text());
        let real: Value = serde_json::from_str(answer.text()).expect("JSON");
        if !shown.is_empty() {
            let shown =
                serde_json::from_str(shown).unwrap_or_else(|error| panic!("{path}: {error}: {shown}"));
            compare(&shown, &real, path);
        }
    }
}
