//! What is sent is what is shown: the same series with the same values as in the text format.

use std::collections::BTreeMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;

use super::*;
use crate::model::{ChannelState, SocStatus, SocView};
use crate::telemetry::exposition::{Pieces, TextFormat};
use crate::telemetry::testing::{empty_view, status};

fn view(socs: usize) -> View {
    let mut view = empty_view();
    view.socs = (0..socs)
        .map(|n| {
            let mut soc: SocStatus = status(&format!("Ethernet{}", n * 4));
            soc.channel.state = ChannelState::Ready;
            soc.channel.dials = n as u64;
            soc.durations.counts[2] = 3;
            soc.durations.sum = 0.5;
            SocView {
                reason: crate::model::level::judge(&soc, None, std::time::Duration::from_secs(60), view.at),
                status: Arc::new(soc),
                facts: None,
            }
        })
        .collect();
    view
}

fn series(name: &str, attributes: &[KeyValue], more: Option<(&str, String)>) -> String {
    let value = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.clone()) {
        Some(Any::StringValue(text)) => text,
        other => format!("{other:?}"),
    };
    let labels = attributes
        .iter()
        .map(|attribute| (attribute.key.clone(), value(attribute)));
    let more = more.map(|(key, value)| (key.to_owned(), value));
    // prometheus-client writes `le` first.
    let labels: Vec<String> = more
        .into_iter()
        .chain(labels)
        .map(|(key, value)| format!("{key}=\"{value}\""))
        .collect();
    match labels.is_empty() {
        true => name.to_owned(),
        false => format!("{name}{{{}}}", labels.join(",")),
    }
}

/// All series of the messages, as the text format would name them.
fn sent(view: &View) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    for metric in MetricMessages::new(view).flatten() {
        let name = &*metric.name;
        let mut add = |series: String, value: f64| assert!(all.insert(series, value).is_none());
        match metric.data.expect("data") {
            Data::Sum(Sum { data_points, .. }) | Data::Gauge(Gauge { data_points }) => {
                for point in data_points {
                    let value = match point.value {
                        Some(Value::AsInt(value)) => value as f64,
                        Some(Value::AsDouble(value)) => value,
                        None => panic!("no value"),
                    };
                    add(series(name, &point.attributes, None), value);
                }
            }
            Data::Histogram(histogram) => {
                for point in histogram.data_points {
                    let of = |suffix: &str| series(&format!("{name}_{suffix}"), &point.attributes, None);
                    add(of("sum"), point.sum.expect("a sum"));
                    add(of("count"), point.count as f64);
                    let bounds = point.explicit_bounds.iter().map(|bound| format!("{bound:?}"));
                    let mut all = 0;
                    for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(&point.bucket_counts) {
                        all += count;
                        let bucket = format!("{name}_bucket");
                        add(
                            series(&bucket, &point.attributes, Some(("le", bound))),
                            all as f64,
                        );
                    }
                }
            }
            other => panic!("{other:?}"),
        }
    }
    all
}

fn scraped(view: View) -> BTreeMap<String, f64> {
    let text: String = Pieces::new(view, TextFormat::Text).collect();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            (series.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

#[test]
fn what_is_sent_is_what_is_scraped() {
    let view = view(3);
    let sent = sent(&view);
    assert!(sent.len() > 200, "{}", sent.len());
    assert_eq!(sent, scraped(view));
}

#[test]
fn a_large_fleet_is_several_messages_and_no_metric_is_lost_or_sent_twice() {
    let view = view(300);
    let messages: Vec<Vec<Metric>> = MetricMessages::new(&view).collect();
    assert!(messages.len() > 2, "{}", messages.len());
    assert_eq!(sent(&view), scraped(view));
}

#[test]
fn a_counter_is_a_cumulative_sum_since_the_start_and_a_gauge_has_no_start() {
    let mut view = view(1);
    view.exporter.started = std::time::UNIX_EPOCH + std::time::Duration::from_secs(100);
    view.at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(160);
    let metrics: Vec<Metric> = MetricMessages::new(&view).flatten().collect();
    let metric = |name: &str| metrics.iter().find(|metric| metric.name == name).expect(name);
    let dials = metric("dualtor_channel_dials_total");
    let Some(Data::Sum(sum)) = &dials.data else {
        panic!("{dials:?}")
    };
    assert!(sum.is_monotonic && sum.aggregation_temporality == AggregationTemporality::Cumulative as i32);
    let times = |point: &NumberDataPoint| (point.start_time_unix_nano, point.time_unix_nano);
    assert_eq!(times(&sum.data_points[0]), (100_000_000_000, 160_000_000_000));
    assert_eq!(dials.metadata, [text("prometheus.type", "counter")]);
    assert_eq!(dials.description, "Dials started");
    let state = metric("dualtor_channel_state");
    let Some(Data::Gauge(gauge)) = &state.data else {
        panic!("{state:?}")
    };
    assert_eq!(times(&gauge.data_points[0]), (0, 160_000_000_000));
    let durations = metric("dualtor_probe_duration_seconds");
    let Some(Data::Histogram(histogram)) = &durations.data else {
        panic!("{durations:?}")
    };
    let point = &histogram.data_points[0];
    assert_eq!(
        (point.explicit_bounds.len() + 1, point.bucket_counts.len()),
        (11, 11)
    );
    assert_eq!((point.start_time_unix_nano, point.count), (100_000_000_000, 3));
}

#[test]
fn a_unit_follows_from_the_name() {
    for (name, expected) in [
        ("dualtor_keepalive_rtt_seconds", "s"),
        ("process_cpu_seconds_total", "s"),
        ("process_resident_memory_bytes", "By"),
        ("dualtor_channel_dials_total", ""),
        ("dualtor_soc_info", ""),
    ] {
        assert_eq!(unit(name), expected, "{name}");
    }
}
