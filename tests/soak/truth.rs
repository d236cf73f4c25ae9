//! A SoC's true state, and what row and metrics should show then. The exporter runs as the upper ToR.

use std::collections::BTreeMap;

use dualtor_sim::{Direction, Health, Link, SocState};

use crate::http::Scrape;

/// The true state, which this program has set in the simulator.
#[derive(Debug, Clone)]
pub(crate) struct Truth {
    /// A gRPC server answers at its address.
    pub(crate) there: bool,
    /// Its replies are valid and in time.
    pub(crate) answers: bool,
    /// Its replies are for portids 0 and 1. If not, its version is still valid.
    pub(crate) portids: bool,
    /// Maintenance is in progress.
    pub(crate) service: bool,
    pub(crate) state: SocState,
}

/// What is shown of one SoC, with the same values for rows and metrics.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct View {
    /// Whether the channel is READY.
    ready: bool,
    /// Direction, link and operation of self, then of peer; then the version.
    says: [String; 7],
    /// Compared only while READY, because announced maintenance outlasts a channel.
    service: Option<String>,
    /// In metrics only; rows do not have it.
    health: Option<String>,
}

const UNKNOWN: &str = "unknown";

impl Truth {
    fn view(&self, health: bool) -> View {
        let state = &self.state;
        let says = if self.there && self.answers {
            let direction = |direction| match direction {
                Direction::Active => "active",
                Direction::Standby => "standby",
            };
            let link = |link| match link {
                Link::Up => "up",
                Link::Down => "down",
            };
            [
                direction(state.directions.upper),
                link(state.links.upper),
                link(state.oper.upper),
                direction(state.directions.lower),
                link(state.links.lower),
                link(state.oper.lower),
                &state.version,
            ]
            .map(str::to_owned)
        } else {
            [UNKNOWN; 7].map(str::to_owned)
        };
        let mut says = says;
        if !self.portids {
            says[..6].fill(UNKNOWN.to_owned());
        }
        let service = if self.service { "inprogress" } else { "noop" };
        let serving = match state.health {
            Health::Serving => "serving",
            Health::NotServing => "not_serving",
            _ => UNKNOWN,
        };
        View {
            ready: self.there,
            says,
            service: self.there.then(|| service.to_owned()),
            // A SoC with wrong replies may still have a Watch stream, so its health is not compared.
            health: (health && self.there && self.answers).then(|| serving.to_owned()),
        }
    }

    /// What its row should show.
    pub(crate) fn of_row(&self) -> View {
        self.view(false)
    }

    /// What its metrics should show.
    pub(crate) fn of_metrics(&self) -> View {
        self.view(true)
    }

    /// Whether metrics are correct.
    pub(crate) fn fits_metrics(&self, seen: &View) -> bool {
        let mut seen = seen.clone();
        let expected = self.of_metrics();
        if expected.health.is_none() {
            seen.health = None;
        }
        seen == expected
    }
}

/// What a row shows; `None`: there is no row.
pub(crate) fn of_row(row: &std::collections::HashMap<String, String>) -> Option<View> {
    let field = |name: &str| row.get(name).cloned();
    let ready = field("grpc_connection_status")? == "READY";
    let version = field("server_version")?;
    Some(View {
        ready,
        says: [
            field("self_mux_direction")?,
            field("self_link_state")?,
            field("self_oper_state")?,
            field("peer_mux_direction")?,
            field("peer_link_state")?,
            field("peer_oper_state")?,
            if version == "N/A" {
                UNKNOWN.to_owned()
            } else {
                version
            },
        ],
        service: ready.then(|| field("soc_service")).flatten(),
        health: None,
    })
}

/// What metrics show of one port.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) view: View,
    /// How often its channel has become READY.
    pub(crate) times: u64,
    /// When its channel last changed, Unix time in seconds.
    pub(crate) changed: f64,
}

/// When a row was written, Unix time in seconds; 0 if it has no time.
pub(crate) fn time_post(row: &std::collections::HashMap<String, String>) -> f64 {
    let text = row.get("time_post").map_or("", String::as_str);
    let read = chrono::NaiveDateTime::parse_from_str(text, "%Y-%b-%d %H:%M:%S%.f");
    read.map_or(0.0, |at| at.and_utc().timestamp_micros() as f64 / 1e6)
}

/// What metrics show of all ports.
pub(crate) fn of_scrape(scrape: &Scrape) -> BTreeMap<String, Shown> {
    let blank = || View {
        ready: false,
        says: [UNKNOWN; 7].map(str::to_owned),
        service: None,
        health: None,
    };
    let none = || Shown {
        view: blank(),
        times: 0,
        changed: 0.0,
    };
    let mut shown: BTreeMap<String, Shown> = BTreeMap::new();
    for sample in &scrape.samples {
        let label = |name: &str| sample.labels.get(name).map_or("", String::as_str);
        let Some(port) = sample.labels.get("port") else {
            continue;
        };
        let place = |first: usize| match label("side") {
            "self" => first,
            _ => first + 3,
        };
        let Shown { view, times, changed } = shown.entry(port.clone()).or_insert_with(none);
        match (sample.name.as_str(), sample.value == 1.0) {
            ("dualtor_channel_state", true) => view.ready = label("state") == "ready",
            ("dualtor_mux_direction", true) => view.says[place(0)] = label("state").to_owned(),
            ("dualtor_link_state", true) => view.says[place(1)] = label("state").to_owned(),
            ("dualtor_oper_state", true) => view.says[place(2)] = label("state").to_owned(),
            ("dualtor_soc_info", true) if !label("version").is_empty() => {
                view.says[6] = label("version").to_owned();
            }
            ("dualtor_health_status", true) => view.health = Some(label("status").to_owned()),
            ("dualtor_soc_service", true) => view.service = Some(label("state").to_owned()),
            ("dualtor_channel_transitions_total", _) if label("to") == "ready" => {
                *times = sample.value as u64
            }
            ("dualtor_channel_last_transition_timestamp_seconds", _) => *changed = sample.value,
            _ => {}
        }
    }
    for Shown { view, .. } in shown.values_mut() {
        if !view.ready {
            (view.service, view.health) = (None, None);
        }
    }
    shown
}
