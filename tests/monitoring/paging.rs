//! From a fault of a SoC to the page and back: simulator, exporter, Prometheus, Alertmanager and who is paged.
//!
//! That something is not delivered is asserted only after something else has been delivered under the same conditions.

use std::path::{Path, PathBuf};

use dualtor_sim::{ConnectionFault, Direction, Link, Notice, NoticeKind, Plane, Sides, SidesPatch};

use crate::harness::{Rack, Setup};
use crate::pager::{Page, Pager};
use crate::stack::{Alertmanager, Prometheus, Target};
use crate::wait::wait_until;

/// Everything between a SoC and a phone.
struct Stack {
    rack: Rack,
    prometheus: Prometheus,
    alertmanager: Alertmanager,
    pager: Pager,
}

const BOTH_ACTIVE: SidesPatch<Direction> = SidesPatch {
    upper: Some(Direction::Active),
    lower: Some(Direction::Active),
};

impl Stack {
    /// With `socs` healthy SoCs, all of which Prometheus has seen READY.
    async fn start(socs: usize) -> Self {
        // The deadline of a query gives a busy machine some time.
        let mut setup = Setup::rack(socs).probe("interval: 1s, timeout: 900ms");
        setup.scenario.defaults.directions = Some(BOTH_ACTIVE);
        let rack = setup.start().await;
        let pager = Pager::start().await;
        let alertmanager = Alertmanager::start(&pager).await;
        let target = Target {
            address: rack.web,
            labels: vec![("instance", "tor1"), ("rack", "r1")],
        };
        let prometheus = Prometheus::start(&[target], Some(alertmanager.address)).await;
        prometheus
            .sees(&format!(
                "sum(dualtor_channel_state{{state=\"ready\"}}) == {socs}"
            ))
            .await;
        Self {
            rack,
            prometheus,
            alertmanager,
            pager,
        }
    }

    fn fault(&self, port: &str, fault: ConnectionFault) {
        self.rack.soc(port).connection_fault(fault);
    }

    /// Waits until Prometheus has seen that a channel is down.
    async fn down(&self, port: &str) {
        self.prometheus
            .sees(&format!(
                "dualtor_channel_state{{port=\"{port}\", state=\"ready\"}} == 0"
            ))
            .await;
    }

    /// Nothing but this has been delivered.
    fn only(&self, alert: &str, ports: &[&str]) {
        for page in self.pager.pages() {
            assert!(page.name() == alert && ports.contains(&page.port()), "{page:?}");
        }
    }
}

/// The text on a phone is about this port and has the right link.
fn reads_well(page: &Page, words: &[&str]) {
    let summary = &page.annotations["summary"];
    let description = &page.annotations["description"];
    for word in words {
        assert!(
            summary.contains(word) || description.contains(word),
            "{word:?}: {summary}: {description}"
        );
    }
    let anchor = format!("docs/runbook.md#{}", page.name().to_lowercase());
    assert!(page.annotations["runbook_url"].ends_with(&anchor), "{page:?}");
    // A template that failed leaves this text.
    for text in page.annotations.values() {
        assert!(!text.contains("error") && !text.contains("<no value>"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soc_that_hangs_is_told_and_so_is_its_return() {
    let stack = Stack::start(6).await;
    stack.fault("Ethernet4", ConnectionFault::Hang);
    let page = stack
        .pager
        .rings("firing", "DualTorChannelDown", "Ethernet4")
        .await;
    assert_eq!(page.labels["severity"], "warning");
    reads_well(&page, &["Ethernet4", "tor1", "r1", "keepalive_timeout"]);
    stack.fault("Ethernet4", ConnectionFault::None);
    stack
        .pager
        .rings("resolved", "DualTorChannelDown", "Ethernet4")
        .await;
    stack.only("DualTorChannelDown", &["Ethernet4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rack_that_is_lost_is_one_page() {
    const PORTS: usize = 8;
    let stack = Stack::start(PORTS).await;
    for soc in stack.rack.socs() {
        soc.connection_fault(ConnectionFault::Refuse);
    }
    let page = stack.pager.rings("firing", "DualTorManyChannelsDown", "").await;
    assert_eq!(page.labels["severity"], "critical");
    reads_well(&page, &["8", "tor1", "r1"]);
    // The single alerts fire too, and Alertmanager holds them back.
    wait_until("the single ones are inhibited", async || {
        let states = stack.alertmanager.states("DualTorChannelDown").await;
        let suppressed = states.iter().filter(|state| *state == "suppressed").count();
        if suppressed == PORTS {
            Ok(())
        } else {
            Err(format!("{states:?}"))
        }
    })
    .await;
    for soc in stack.rack.socs() {
        soc.connection_fault(ConnectionFault::None);
    }
    stack.pager.rings("resolved", "DualTorManyChannelsDown", "").await;
    stack.only("DualTorManyChannelsDown", &[""]);
    let told: Vec<String> = stack
        .pager
        .notifications()
        .into_iter()
        .map(|message| message.status)
        .collect();
    assert_eq!(told, ["firing", "resolved"]);
}

/// A message about 20 ports has one title, and each port its own text.
#[tokio::test(flavor = "multi_thread")]
async fn what_hits_twenty_ports_is_one_message_with_a_title() {
    const PORTS: usize = 20;
    let stack = Stack::start(PORTS).await;
    for soc in stack.rack.socs() {
        soc.set(|state| state.links.lower = Link::Down);
    }
    let message = wait_until("one message about all", async || {
        let all = stack.pager.notifications();
        let seen: Vec<usize> = all.iter().map(|message| message.alerts.len()).collect();
        let one = all.into_iter().find(|message| {
            message.alerts.len() == PORTS
                && message.alerts.iter().all(|page| page.name() == "DualTorLinkDown")
        });
        one.ok_or_else(|| format!("{seen:?}"))
    })
    .await;
    assert_eq!(message.common["summary"], "Link between SoC and ToR down");
    assert!(
        !message.common.contains_key("description"),
        "{:?}",
        message.common
    );
    for page in &message.alerts {
        let begin = format!("{} at tor1, rack r1: ", page.port());
        let description = &page.annotations["description"];
        assert!(description.starts_with(&begin), "{begin}: {description}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn announced_maintenance_is_silent_and_its_neighbour_is_not() {
    let stack = Stack::start(8).await;
    let announce = |kind| {
        stack.rack.soc("Ethernet8").announce(&Notice {
            kind,
            plane: Plane::Both,
            guid: "g1".to_owned(),
            period: 3600,
        });
    };
    announce(NoticeKind::Begin);
    let service = "dualtor_soc_service{port=\"Ethernet8\", state=\"inprogress\"}";
    stack.prometheus.sees(&format!("{service} == 1")).await;
    stack.fault("Ethernet8", ConnectionFault::Refuse);
    stack.down("Ethernet8").await;
    // It is lost later, without an announcement.
    stack.fault("Ethernet12", ConnectionFault::Refuse);
    stack
        .pager
        .rings("firing", "DualTorChannelDown", "Ethernet12")
        .await;
    for port in ["Ethernet8", "Ethernet12"] {
        stack.down(port).await;
        stack.fault(port, ConnectionFault::None);
    }
    stack
        .pager
        .rings("resolved", "DualTorChannelDown", "Ethernet12")
        .await;
    stack.only("DualTorChannelDown", &["Ethernet12"]);
    // Nothing was even pending, except the alert that watches the end of maintenance.
    let others = "last_over_time(ALERTS{port=\"Ethernet8\", alertname!=\"DualTorMaintenanceOverrun\"}[1h])";
    let pending = stack.prometheus.query(others).await;
    assert!(pending.is_empty(), "{pending:?}");
    stack
        .prometheus
        .sees("last_over_time(ALERTS{port=\"Ethernet12\"}[1h])")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_sides_are_both_standby_is_critical() {
    let stack = Stack::start(6).await;
    let both = |direction| {
        stack.rack.soc("Ethernet16").set(|state| {
            state.directions = Sides {
                upper: direction,
                lower: direction,
            };
        });
    };
    both(Direction::Standby);
    let page = stack
        .pager
        .rings("firing", "DualTorServerDark", "Ethernet16")
        .await;
    assert_eq!(page.labels["severity"], "critical");
    reads_well(&page, &["Ethernet16", "tor1", "r1", "both sides are standby"]);
    both(Direction::Active);
    let page = stack
        .pager
        .rings("resolved", "DualTorServerDark", "Ethernet16")
        .await;
    // The message has the old state and nothing else, even when it resolves.
    reads_well(&page, &["both sides are standby"]);
    stack.only("DualTorServerDark", &["Ethernet16"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_behind() {
    let stack = Stack::start(1).await;
    let process = |id: u32| Path::new("/proc").join(id.to_string());
    let left: Vec<PathBuf> = vec![
        process(stack.prometheus.program().id()),
        process(stack.alertmanager.program().id()),
        stack.prometheus.directory().to_owned(),
        stack.alertmanager.directory().to_owned(),
    ];
    assert!(left.iter().all(|path| path.exists()), "{left:?}");
    drop(stack);
    assert!(!left.iter().any(|path| path.exists()), "{left:?}");
}
