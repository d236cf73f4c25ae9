//! Which colour, which number and which text each state has. Every panel takes them from here, so that a colour means the same
//! everywhere, and so does a number in a state's query.
//!
//! The colours are Okabe and Ito's (https://jfly.uni-koeln.de/color/), which the colour-blind tell apart; no panel relies on
//! them alone, the text is always there too.

use dualtor_exporter::model::{
    ChannelState, Health, LinkmgrHealth, Maintenance, MuxDirection, OrchagentMux, PortState, Side,
};
use serde_json::{Map, Value, json};

/// What a colour means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    /// As it should be.
    Good,
    /// Does not forward, by decision: no fault, but no redundancy either.
    Standby,
    /// On its way.
    Starting,
    /// Not good, and not known to be bad.
    Warning,
    /// Broken.
    Bad,
    /// Announced maintenance.
    Maintenance,
    /// Nobody can tell.
    Unknown,
    /// Says neither good nor bad.
    Plain,
}

impl Colour {
    /// For Grafana.
    pub(crate) const fn hex(self) -> &'static str {
        match self {
            Self::Good => "#009E73",
            Self::Standby => "#56B4E9",
            Self::Starting => "#F0E442",
            Self::Warning => "#E69F00",
            Self::Bad => "#D55E00",
            Self::Maintenance => "#CC79A7",
            Self::Unknown => "#999999",
            Self::Plain => "#0072B2",
        }
    }

    /// For people.
    const fn name(self) -> &'static str {
        match self {
            Self::Good => "green",
            Self::Standby => "light blue",
            Self::Starting => "yellow",
            Self::Warning => "orange",
            Self::Bad => "red",
            Self::Maintenance => "purple",
            Self::Unknown => "grey",
            Self::Plain => "dark blue",
        }
    }
}

/// Every state of every metric. A state's number, which only its value mapping sees, is its place here, from 1.
const STATES: [(&str, Colour); 37] = [
    ("ready", Colour::Good),
    ("connecting", Colour::Starting),
    ("idle", Colour::Starting),
    ("transient_failure", Colour::Bad),
    ("shutdown", Colour::Unknown),
    ("active", Colour::Good),
    ("standby", Colour::Standby),
    ("up", Colour::Good),
    ("down", Colour::Bad),
    ("unknown", Colour::Unknown),
    ("serving", Colour::Good),
    ("not_serving", Colour::Bad),
    ("service_unknown", Colour::Warning),
    ("unimplemented", Colour::Unknown),
    ("inprogress", Colour::Maintenance),
    ("noop", Colour::Good),
    ("healthy", Colour::Good),
    ("unhealthy", Colour::Bad),
    ("uninitialized", Colour::Starting),
    ("upper", Colour::Plain),
    ("lower", Colour::Plain),
    // What is made of a gauge that is 1 or 0.
    ("agrees", Colour::Good),
    ("differs", Colour::Bad),
    ("loaded", Colour::Good),
    ("refused", Colour::Bad),
    // Results of queries that deserve a colour of their own; any other is a shade of `Bad`.
    ("OK", Colour::Good),
    ("EMPTY_REPLY", Colour::Plain),
    ("DEADLINE_EXCEEDED", Colour::Warning),
    ("UNAVAILABLE", Colour::Bad),
    ("UNIMPLEMENTED", Colour::Unknown),
    // In tables, sorted by their numbers: the worst is last.
    ("no redundancy", Colour::Warning),
    ("dark", Colour::Bad),
    // Is shown instead of the direction.
    ("link down", Colour::Bad),
    ("info", Colour::Plain),
    ("warning", Colour::Warning),
    ("critical", Colour::Bad),
    // Of orchagent.
    ("error", Colour::Bad),
];

/// The last of them.
pub(crate) const RESULTS: [&str; 5] = [
    "OK",
    "EMPTY_REPLY",
    "DEADLINE_EXCEEDED",
    "UNAVAILABLE",
    "UNIMPLEMENTED",
];

/// The number of a state, for queries that [`States::query`] cannot make.
pub(crate) fn number(state: &str) -> usize {
    let place = STATES.iter().position(|(name, _)| *name == state);
    place.unwrap_or_else(|| panic!("palette.rs: give the state {state} a colour")) + 1
}

/// The colour of a state.
pub(crate) fn colour(state: &str) -> Colour {
    STATES[number(state) - 1].1
}

/// A channel's states are shown as gRPC and SONiC's CLI write them, all others as in the metrics.
fn text(state: &str) -> &str {
    let channel = ChannelState::ALL.iter().find(|channel| channel.label() == state);
    channel.map_or(state, |channel| channel.upper())
}

/// A closed set of states, and how a metric tells which of them holds.
#[derive(Debug, Clone)]
pub(crate) struct States {
    states: Vec<&'static str>,
    metric: Metric,
}

#[derive(Debug, Clone, Copy)]
enum Metric {
    /// One 0/1 gauge per state, which stands in this label.
    Label(&'static str),
    /// One gauge: 1 is the first state, 0 the second.
    Flag,
}

macro_rules! states {
    ($($(#[$meta:meta])* $function:ident: $words:ty, $label:literal;)+) => {$(
        $(#[$meta])*
        pub(crate) fn $function() -> States {
            let states = <$words>::ALL.iter().map(|word| word.label()).collect();
            States { states, metric: Metric::Label($label) }
        }
    )+};
}

states! {
    /// Of dualtor_channel_state.
    channel: ChannelState, "state";
    /// Of dualtor_mux_direction, and of what linkmgrd wants.
    direction: MuxDirection, "state";
    /// Of dualtor_orchagent_mux_state.
    orchagent: OrchagentMux, "state";
    /// Of dualtor_link_state and dualtor_oper_state.
    link: PortState, "state";
    /// Of dualtor_health_status.
    health: Health, "status";
    /// Of dualtor_soc_service.
    service: Maintenance, "state";
    /// Of dualtor_linkmgr_health.
    linkmgr: LinkmgrHealth, "state";
    /// Of dualtor_side.
    side: Side, "side";
}

/// How bad an alert is.
pub(crate) fn severity() -> States {
    let states = vec!["critical", "warning", "info"];
    let metric = Metric::Label("severity");
    States { states, metric }
}

/// States of a query that is written by hand, with [`number`].
pub(crate) fn of(states: &[&'static str]) -> States {
    let metric = Metric::Flag;
    States {
        states: states.to_vec(),
        metric,
    }
}

/// A gauge that is 1 or 0.
pub(crate) fn flag(one: &'static str, zero: &'static str) -> States {
    let states = vec![one, zero];
    let metric = Metric::Flag;
    States { states, metric }
}

impl States {
    /// A query whose value is the number of the state that holds; `metric` with its selector, as `dualtor_side{TOR}`.
    pub(crate) fn query(&self, metric: &str) -> String {
        let numbered = self.states.iter().map(|state| (number(state), state));
        match self.metric {
            Metric::Label(label) => {
                let selector = metric.trim_end_matches('}');
                let terms = numbered.map(|(n, state)| format!("{n} * {selector}, {label}=\"{state}\"}}"));
                let terms = terms.collect::<Vec<_>>().join("\n  or ");
                format!("max without ({label}) (\n  {terms}\n)")
            }
            Metric::Flag => {
                let values = [1, 0].iter().zip(numbered);
                let terms = values.map(|(value, (n, _))| format!("{n} * ({metric} == bool {value})"));
                terms.collect::<Vec<_>>().join(" + ")
            }
        }
    }

    /// Grafana's value mapping: number → text and colour.
    pub(crate) fn mappings(&self) -> Value {
        let options = self.states.iter().enumerate().map(|(index, state)| {
            let result = json!({ "text": text(state), "color": colour(state).hex(), "index": index });
            (number(state).to_string(), result)
        });
        json!([{ "type": "value", "options": options.collect::<Map<_, _>>() }])
    }

    /// Both: for a panel that shows several sets.
    pub(crate) fn and(mut self, other: Self) -> Self {
        for state in other.states {
            if !self.states.contains(&state) {
                self.states.push(state);
            }
        }
        self
    }

    /// The key to the colours, for the panel's description.
    pub(crate) fn key(&self) -> String {
        let key = |state: &&str| format!("{} {}", text(state), colour(state).name());
        format!(
            "Colours: {}.",
            self.states.iter().map(key).collect::<Vec<_>>().join(", ")
        )
    }
}
