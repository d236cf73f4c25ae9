//! Which colour, which number and which text each state has. Every panel takes them from here, so that a colour means the same
//! everywhere, and so does a number in a state's query.
//!
//! The colours are those of the exporter's own pages (src/web/pages/palette.css), after https://jfly.uni-koeln.de/color/; no panel relies on them alone, the text is always
//! there too.

use dualtor_exporter::model::{
    ChannelState, Compatibility, Health, LinkmgrHealth, Maintenance, MuxDirection, OrchagentMux, PortState,
    Side,
};
use serde_json::{Map, Value, json};

/// The colours, as CSS.
const PALETTE: &str = include_str!("../../src/web/pages/palette.css");

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
    pub(crate) fn hex(self) -> &'static str {
        let name = match self {
            Self::Good => "good",
            Self::Standby => "standby",
            Self::Starting => "starting",
            Self::Warning => "warning",
            Self::Bad => "bad",
            Self::Maintenance => "maintenance",
            Self::Unknown => "unknown",
            Self::Plain => "plain",
        };
        let mut lines = PALETTE.lines();
        let hex = lines.find_map(|line| {
            line.trim()
                .strip_prefix(&format!("--{name}: "))?
                .strip_suffix(';')
        });
        hex.expect("palette.css has each colour")
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
const STATES: [(&str, Colour); 51] = [
    ("ready", Colour::Good),
    ("connecting", Colour::Starting),
    ("idle", Colour::Starting),
    ("transient_failure", Colour::Bad),
    ("shutdown", Colour::Unknown),
    ("active", Colour::Good),
    // Is shown instead of active.
    ("link unknown", Colour::Unknown),
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
    // Results of queries that deserve a colour of their own, the worst last; any other is a shade of `Bad`.
    ("OK", Colour::Good),
    ("EMPTY_REPLY", Colour::Plain),
    ("UNIMPLEMENTED", Colour::Unknown),
    ("DEADLINE_EXCEEDED", Colour::Warning),
    ("UNAVAILABLE", Colour::Bad),
    // Every other result.
    ("another failure", Colour::Bad),
    // Some were answered.
    ("some failed", Colour::Warning),
    // In tables, sorted by their numbers: the worst is last.
    ("both sides", Colour::Good),
    ("one side only", Colour::Warning),
    // One side carries nothing, and the other is unknown.
    ("at most one side", Colour::Warning),
    ("dark", Colour::Bad),
    // Is shown instead of the direction.
    ("link down", Colour::Bad),
    // Part of another alert.
    ("muted", Colour::Unknown),
    ("info", Colour::Plain),
    ("warning", Colour::Warning),
    ("critical", Colour::Bad),
    // Of orchagent.
    ("error", Colour::Bad),
    // Whether the last round of a module was a success.
    ("success", Colour::Good),
    ("failed", Colour::Bad),
    // Of the versions of interfaces.
    ("compatible", Colour::Good),
    ("server_too_old", Colour::Bad),
    ("client_too_old", Colour::Bad),
    ("missing", Colour::Bad),
    // Of the entries of routing tables.
    ("programmed", Colour::Good),
    ("not_programmed", Colour::Bad),
];

/// What a number or a state shows that is not there.
pub(crate) const NO_DATA: &str = "no data";

/// What [`super::panel::Panel::otherwise`] makes of a series that is rightly missing.
pub(crate) const ABSENT: i32 = -1;

/// What [`super::panel::Panel::once`] makes of a series that is still missing.
pub(crate) const NOT_YET: i32 = -2;

/// Results of queries that have a state of their own.
pub(crate) const RESULTS: [&str; 5] = [
    "OK",
    "EMPTY_REPLY",
    "UNIMPLEMENTED",
    "DEADLINE_EXCEEDED",
    "UNAVAILABLE",
];

/// Those that the result of a module's round may be.
pub(crate) const ROUNDS: [&str; 4] = ["OK", "UNIMPLEMENTED", "DEADLINE_EXCEEDED", "UNAVAILABLE"];

/// The first of them that is a failure.
pub(crate) const FAILURE: &str = "DEADLINE_EXCEEDED";

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
    /// Terms of the query that are shown instead of a state with a lower number: they have the same labels. Their states are the last.
    hidden: Vec<String>,
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
            States { states, metric: Metric::Label($label), hidden: Vec::new() }
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
    /// Of grpc_api_compatibility.
    compatibility: Compatibility, "state";
}

/// How bad an alert is.
pub(crate) fn severity() -> States {
    let states = vec!["critical", "warning", "info"];
    let metric = Metric::Label("severity");
    States {
        states,
        metric,
        hidden: Vec::new(),
    }
}

/// States of a query that is written by hand, with [`number`].
pub(crate) fn of(states: &[&'static str]) -> States {
    let metric = Metric::Flag;
    States {
        states: states.to_vec(),
        metric,
        hidden: Vec::new(),
    }
}

/// A gauge that is 1 or 0.
pub(crate) fn flag(one: &'static str, zero: &'static str) -> States {
    let states = vec![one, zero];
    let metric = Metric::Flag;
    States {
        states,
        metric,
        hidden: Vec::new(),
    }
}

/// What passes on a side of a port: its direction, unless its link is down, or unknown where the direction is active. The query is of
/// dualtor_mux_direction.
pub(crate) fn passes(side: &str) -> States {
    let mut states = direction();
    for (shown, link) in [("link unknown", "unknown"), ("link down", "down")] {
        states.states.push(shown);
        // A label of its own: both are of unknown otherwise.
        states.hidden.push(format!(
            r#"{} * label_replace(dualtor_link_state{{PORT, side="{side}", state="{link}"}}, "state", "link", "", "") > 0"#,
            number(shown)
        ));
    }
    states
}

/// How a port's queries ended.
pub(crate) fn results() -> States {
    of(&[&RESULTS[..], &["another failure", "some failed"]].concat())
}

/// What a side of a cable contributes to [`Server`], from what is best to what is worst. The first carries traffic, the last two carry
/// none; whether those between do is not known.
const ENDS: [&str; 5] = ["active", "link unknown", "unknown", "standby", "link down"];
/// The first of those that carry nothing.
const BLOCKED: usize = 3;

/// Whether traffic reaches the server of a port: one number for both sides, and what it means in a word and in detail.
#[derive(Debug)]
pub(crate) struct Server;

impl Server {
    /// Nothing is known of the port: its exporter does not answer.
    const EXPORTER_DOWN: usize = ENDS.len() * ENDS.len();
    /// The exporter does not know which side is which.
    const SIDE_UNKNOWN: usize = Self::EXPORTER_DOWN + 1;

    /// The place of this ToR's side in `ENDS`, and five times the peer's; or why there is none.
    pub(crate) fn query() -> String {
        let end = |factor: usize, side: &str| {
            format!(
                r#"{factor} * max without (side, state) (
    2 * dualtor_mux_direction{{PORT, side="{side}", state="unknown"}} > 1
    or dualtor_link_state{{PORT, side="{side}", state="unknown"}}
    or 3 * dualtor_mux_direction{{PORT, side="{side}", state="standby"}}
    or 4 * dualtor_link_state{{PORT, side="{side}", state="down"}}
  )"#
            )
        };
        format!(
            r#"(dualtor_side{{TOR, side="unknown"}} == 1) * {side_unknown}
or on (job, instance) (
  {own}
  + {peer}
)
or on () (max(up{{TOR}}) == 0) + {exporter_down}"#,
            side_unknown = Self::SIDE_UNKNOWN,
            own = end(1, "self"),
            peer = end(ENDS.len(), "peer"),
            exporter_down = Self::EXPORTER_DOWN,
        )
    }

    /// dark, at most one side, one side only, both sides, unknown.
    pub(crate) fn word() -> Value {
        Self::mappings(|word, _| word.to_owned())
    }

    /// Which side, and why.
    pub(crate) fn reason() -> Value {
        Self::mappings(|_, reason| reason)
    }

    fn mappings(text: impl Fn(&str, String) -> String) -> Value {
        let mut options = Map::new();
        let mut add = |index: usize, word: &str, reason: String| {
            let result = json!({ "text": text(word, reason), "color": colour(word).hex(), "index": index });
            options.insert(index.to_string(), result);
        };
        for (peer, of_peer) in ENDS.iter().enumerate() {
            for (own, of_own) in ENDS.iter().enumerate() {
                let ends = [own, peer];
                let carry = ends.iter().filter(|end| **end == 0).count();
                let word = match ends.iter().filter(|end| **end >= BLOCKED).count() {
                    2 => "dark",
                    1 if carry == 1 => "one side only",
                    1 => "at most one side",
                    _ if carry == 2 => "both sides",
                    _ => "unknown",
                };
                let reason = match (own == peer, *of_own) {
                    (true, "link down") => "both links are down".to_owned(),
                    (true, "link unknown") => "both sides active, links unknown".to_owned(),
                    (true, "unknown") => "both directions unknown".to_owned(),
                    (true, _) => format!("both sides {of_own}"),
                    (false, _) => format!("self {of_own}, peer {of_peer}"),
                };
                add(own + ENDS.len() * peer, word, reason);
            }
        }
        add(
            Self::EXPORTER_DOWN,
            "unknown",
            "the exporter does not answer".to_owned(),
        );
        add(
            Self::SIDE_UNKNOWN,
            "unknown",
            "which side is which is unknown".to_owned(),
        );
        json!([{ "type": "value", "options": options }])
    }
}

/// Grey words for what is not there, beside the mappings of what is: without them Grafana paints it green or red. `absent`: numbers that
/// stand for words of their own.
pub(crate) fn with_missing(mut mappings: Value, absent: &[(i32, &str)]) -> Value {
    let grey = |text: &str| json!({ "text": text, "color": Colour::Unknown.hex(), "index": 98 });
    if let Some(list) = mappings.as_array_mut() {
        for (number, words) in absent {
            list.push(json!({ "type": "value", "options": { number.to_string(): grey(words) } }));
        }
        list.push(json!({ "type": "special", "options": { "match": "null+nan", "result": grey(NO_DATA) } }));
    }
    mappings
}

impl States {
    /// A query whose value is the number of the state that holds; `metric` with its selector, as `dualtor_side{TOR}`.
    pub(crate) fn query(&self, metric: &str) -> String {
        let of_metric = self.states.len() - self.hidden.len();
        let numbered = self.states[..of_metric]
            .iter()
            .map(|state| (number(state), state));
        match self.metric {
            Metric::Label(label) => {
                let selector = metric.trim_end_matches('}');
                let terms = numbered.map(|(n, state)| format!("{n} * {selector}, {label}=\"{state}\"}}"));
                let terms = self.hidden.iter().cloned().chain(terms);
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

    /// Both: for a panel that shows several sets. No query can be made of it.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.hidden.clear();
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
