//! The simulator as a whole: start, timeline, stop.

use dualtor_sim::{Direction, Scenario, SimError, Simulator, SocSpec};

use super::client::*;

#[tokio::test]
async fn dropping_the_simulator_stops_everything() {
    let (simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    client.admin().await.expect("an answer");
    drop(simulator);
    let _ = client.end().await;
    refused(&soc).await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let (_simulator, soc) = one_soc().await;
    let scenario = Scenario {
        socs: vec![SocSpec {
            port: "Ethernet8".to_owned(),
            address: Some(soc.address()),
            ..SocSpec::default()
        }],
        ..Scenario::default()
    };
    let error = Simulator::start(scenario).await.expect_err("in use");
    assert!(
        matches!(&error, SimError::Listen { soc, .. } if soc == "Ethernet8"),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .starts_with("Ethernet8: cannot listen on 127.0.0.1:")
    );
}

#[tokio::test]
async fn the_timeline_plays_in_order_and_again() {
    let scenario = Scenario::from_yaml(
        "
rack: {count: 3, port: 0}
loop: 60ms
timeline:
  - {at: 20ms, soc: [Ethernet4, Ethernet8], fault: hang}
  - {at: 10ms, soc: Ethernet0, set: {directions: {lower: active}}}
  - {at: 30ms, soc: all, reply: {slow: {delay: 300ms}}, only: [link], fault: none}
",
    )
    .expect("a scenario");
    let simulator = Simulator::start(scenario).await.expect("a simulator");
    let mut events = simulator.events();
    for _ in 0..2 {
        for line in [
            "Ethernet0: directions lower Active",
            "Ethernet4, Ethernet8: hang",
            "all: connections work again, replies 300ms late, only [Link]",
        ] {
            assert_eq!(soon(events.recv()).await.expect("a line"), line);
        }
    }
    let soc = simulator.soc("Ethernet0").expect("Ethernet0");
    assert_eq!(soc.state().directions.lower, Direction::Active);
    assert_eq!(simulator.socs().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn run_reports_from_the_first_step_on_and_stops_when_told() {
    let scenario =
        Scenario::from_yaml("{rack: {count: 2, port: 0}, timeline: [{at: 0s, soc: all, fault: hang}]}");
    let (told, mut lines) = tokio::sync::mpsc::unbounded_channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(dualtor_sim::run(
        scenario.expect("a scenario"),
        async { drop(stopped.await) },
        move |line: &str| told.send(line.to_owned()).expect("a listener"),
    ));
    let first = soon(lines.recv()).await.expect("a line");
    assert!(first.starts_with("2 SoCs: Ethernet0 on 127.0.0.1:"), "{first}");
    assert_eq!(soon(lines.recv()).await.as_deref(), Some("all: hang"));
    drop(stop);
    soon(running).await.expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn the_example_scenario_starts() {
    let yaml = std::fs::read_to_string("examples/rack.yaml").expect("the example");
    let scenario = Scenario::from_yaml(&yaml).expect("a scenario");
    assert_eq!(scenario.rack.expect("a rack").count, 24);
    assert_eq!(scenario.timeline.len(), 16);
}
