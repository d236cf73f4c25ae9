//! A client that requests one page per connection, and a parser of scrapes.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wait::LONG;

/// What the exporter answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    /// A header by its name in lower case.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }
}

/// One request without a body.
pub async fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    send(address, method, path, headers, "").await
}

/// One request. HTTP/1.0, so that the body ends with the connection.
async fn send(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        let mut request = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += "\r\n";
        request += body;
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        Ok::<_, std::io::Error>(bytes)
    };
    let bytes = timeout(LONG, asking).await;
    let bytes = bytes.unwrap_or_else(|_| panic!("{path}: no answer within {LONG:?}"));
    read(&bytes.unwrap_or_else(|error| panic!("{method} {path}: {error}")))
}

/// A GET without more headers.
pub async fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path, &[]).await
}

/// A POST of JSON.
pub async fn post(address: SocketAddr, path: &str, json: &str) -> Answer {
    let length = json.len().to_string();
    let headers = [("Content-Type", "application/json"), ("Content-Length", &*length)];
    send(address, "POST", path, &headers, json).await
}

fn read(bytes: &[u8]) -> Answer {
    let blank = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let (head, body) = bytes.split_at(blank.expect("an answer's head") + 4);
    let head = std::str::from_utf8(head).expect("a head in ASCII");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let headers = lines.filter_map(|line| line.split_once(": "));
    Answer {
        status: status.expect("a status").parse().expect("a number"),
        headers: headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect(),
        body: body.to_vec(),
    }
}

/// One sample of a scrape.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// All samples of a scrape.
#[derive(Debug, Clone)]
pub struct Scrape {
    pub samples: Vec<Sample>,
}

impl Scrape {
    /// Reads either text format.
    pub fn parse(text: &str) -> Self {
        let lines = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        Self {
            samples: lines.map(sample).collect(),
        }
    }

    /// The samples of a metric that have at least these labels.
    pub fn find<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            let has = |(label, value): &(&str, &str)| sample.labels.get(*label).is_some_and(|v| v == value);
            sample.name == name && labels.iter().all(has)
        })
    }

    /// The one sample with these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.find(name, labels);
        let value = found.next()?.value;
        assert!(found.next().is_none(), "{name} {labels:?} is there twice");
        Some(value)
    }

    /// The sum of all samples with these labels, as a count. 0 if there are none.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.find(name, labels).map(|sample| sample.value as u64).sum()
    }

    /// The label of the one sample that is 1. All others must be 0.
    pub fn state(&self, name: &str, labels: &[(&str, &str)], of: &str) -> String {
        let samples: Vec<&Sample> = self.find(name, labels).collect();
        let ones: Vec<&&Sample> = samples.iter().filter(|sample| sample.value == 1.0).collect();
        let zeros = samples.iter().filter(|sample| sample.value == 0.0).count();
        assert!(
            ones.len() == 1 && zeros + 1 == samples.len(),
            "{name} {labels:?}: expected one 1 and else 0s, got {samples:?}"
        );
        ones[0].labels[of].clone()
    }
}

/// `name{label="value",other="value"} 1.5`
fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').expect("a value");
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').expect("closed braces")),
        None => (series, ""),
    };
    let labels = labels.split("\",").filter(|label| !label.is_empty());
    let labels = labels.map(|label| {
        let (name, value) = label.split_once("=\"").expect("a label");
        (name.to_owned(), value.trim_end_matches('"').to_owned())
    });
    Sample {
        name: name.to_owned(),
        labels: labels.collect(),
        value: value.parse().expect("a number"),
    }
}
