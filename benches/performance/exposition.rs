//! The cost of a scrape: /metrics of 1,000 SoCs, compared with a plain `write!` of the same bytes.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use dualtor_exporter::model::WebStatus;
use dualtor_exporter::model::{
    ChannelEvent, ChannelState, ConfigStatus, Event, ExporterInfo, Health, MuxDirection, PortReason,
    PortState, ProbeSettings, Query, QueryReport, QueryResult, Report, Side, SocStatus, SocView,
    TargetSource, TlsStatus, UpperLower, View,
};
use dualtor_exporter::telemetry::exposition::{Pieces, TextFormat};

use crate::median;
use crate::rack::Rack;

const SOCS: usize = 1000;
const REPETITIONS: usize = 21;

pub(crate) fn run() -> anyhow::Result<()> {
    let view = view()?;
    let text: String = Pieces::new(view.clone(), TextFormat::OpenMetrics).collect();
    let lines: Vec<Line> = text.lines().map(line).collect::<anyhow::Result<_>>()?;
    ensure!(
        plain(&lines) == text,
        "the plain loop does not write the same bytes"
    );
    let (mut ours, mut floor, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..REPETITIONS {
        let began = Instant::now();
        let bytes: usize = Pieces::new(view.clone(), TextFormat::OpenMetrics)
            .map(|piece| piece.len())
            .sum();
        let us = began.elapsed().as_secs_f64() * 1e3;
        let began = Instant::now();
        let same = std::hint::black_box(plain(&lines)).len();
        let them = began.elapsed().as_secs_f64() * 1e3;
        ensure!(bytes == same, "not the same bytes");
        ours.push(us);
        floor.push(them);
        ratios.push(us / them);
    }
    println!("\n### A scrape: /metrics of {SOCS} SoCs\n");
    println!("| series | bytes | exposition | plain `write!` | ratio |\n|---|---|---|---|---|");
    println!(
        "| {} | {:.1} MB | {:.1} ms | {:.1} ms | {:.2} |",
        lines
            .iter()
            .filter(|line| matches!(line, Line::Sample { .. }))
            .count(),
        text.len() as f64 / 1e6,
        median(&mut ours),
        median(&mut floor),
        median(&mut ratios),
    );
    Ok(())
}

/// A fleet that has been probed a few times.
fn view() -> anyhow::Result<View> {
    let rack = Rack {
        first: Ipv4Addr::new(127, 80, 0, 1),
        port: 50075,
        count: SOCS,
        healthy: true,
    };
    let now = SystemTime::now();
    let report = Event::Round(Box::new(report()));
    let socs = rack.targets()?.into_iter().map(|target| {
        let mut soc = SocStatus::new(target);
        soc.apply(&Event::Channel(ChannelEvent::Dialing), now);
        for to in [ChannelState::Connecting, ChannelState::Ready] {
            let (cause, epoch) = (None, 1);
            soc.apply(&Event::Channel(ChannelEvent::State { to, cause, epoch }), now);
        }
        soc.apply(
            &Event::Channel(ChannelEvent::Rtt(Duration::from_micros(312))),
            now,
        );
        for _ in 0..3 {
            soc.apply(&report, now);
        }
        let (status, facts) = (Arc::new(soc), None);
        let reason = PortReason::Healthy;
        SocView {
            status,
            facts,
            reason,
        }
    });
    Ok(View {
        sources: Default::default(),
        at: now,
        exporter: ExporterInfo {
            host: "tor-upper".into(),
            started: now,
            source: TargetSource::File,
            publish: "off",
            probe: ProbeSettings::default(),
        },
        socs: socs.collect(),
        side: Side::Upper,
        inventory: Arc::default(),
        state_db: None,
        differences: None,
        tls: TlsStatus::default(),
        config: ConfigStatus::loaded(now),
        delays: Default::default(),
        lately: Default::default(),
        otlp: None,
        exemplars: None,
        queues: Default::default(),
        web: WebStatus::default(),
        lines_dropped: 0,
        process: None,
        modules: Arc::new([]),
        module_targets: Arc::new([]),
    })
}

fn report() -> Report {
    let up = UpperLower {
        upper: PortState::Up,
        lower: PortState::Up,
    };
    Report {
        timing: Default::default(),
        epoch: Some(1),
        queries: [0; Query::COUNT].map(|_| QueryReport {
            result: QueryResult::Ok,
            took: Some(Duration::from_micros(734)),
            error: None,
        }),
        direction: UpperLower {
            upper: MuxDirection::Active,
            lower: MuxDirection::Standby,
        },
        oper: up,
        link: up,
        version: Some("1.4.2".into()),
        health: Health::Serving,
    }
}

/// A parsed line of the exposition.
enum Line {
    Comment(String),
    Sample {
        name: String,
        labels: Vec<(String, String)>,
        value: Value,
    },
}

enum Value {
    Whole(u64),
    Real(f64),
    /// A float that `write!` formats differently.
    Text(String),
}

fn line(line: &str) -> anyhow::Result<Line> {
    if line.starts_with('#') {
        return Ok(Line::Comment(line.to_owned()));
    }
    let (series, value) = line.rsplit_once(' ').context("no value")?;
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels
        .trim_end_matches('}')
        .split(',')
        .filter(|label| !label.is_empty());
    let label = |label: &str| {
        let (name, value) = label.split_once('=').context("no label")?;
        Ok((name.to_owned(), value.trim_matches('"').to_owned()))
    };
    let value = match (value.parse(), value.parse::<f64>()) {
        (Ok(whole), _) => Value::Whole(whole),
        (_, Ok(real)) if real.to_string() == value => Value::Real(real),
        _ => Value::Text(value.to_owned()),
    };
    Ok(Line::Sample {
        name: name.to_owned(),
        labels: labels.map(label).collect::<anyhow::Result<_>>()?,
        value,
    })
}

fn plain(lines: &[Line]) -> String {
    let mut out = String::new();
    for line in lines {
        // Writing into a String cannot fail.
        let _ = write_line(&mut out, line);
    }
    out
}

fn write_line(out: &mut String, line: &Line) -> std::fmt::Result {
    match line {
        Line::Comment(text) => writeln!(out, "{text}"),
        Line::Sample { name, labels, value } => {
            write!(out, "{name}")?;
            for (n, (name, value)) in labels.iter().enumerate() {
                let before = if n == 0 { '{' } else { ',' };
                write!(out, "{before}{name}=\"{value}\"")?;
            }
            let after = if labels.is_empty() { "" } else { "}" };
            match value {
                Value::Whole(value) => writeln!(out, "{after} {value}"),
                Value::Real(value) => writeln!(out, "{after} {value}"),
                Value::Text(value) => writeln!(out, "{after} {value}"),
            }
        }
    }
}
