//! Simulated SoCs: real gRPC over real sockets on loopback, healthy or with faults, from a scenario with a timeline.
//!
//! For tests (`Simulator::start`, then a [`Soc`] handle per port) and for the program `dualtor-sim` ([`run`]). It implements
//! the server side of HTTP/2 with the `h2` crate, because a gRPC server library prevents what must be simulated: a connection
//! that freezes, a GOAWAY with debug data, a reply without its end. It shares only `proto` with the exporter and no logic: no
//! test finds an error that both sides have.
//!
//! ```text
//! Simulator ── one timeline task, one listener task per SoC ── one task per connection ── its calls
//!      Soc (handle) ──▶ Inner: state, reply fault, counters ◀── read by the calls
//!                  └──▶ watch<Control>: connection fault, close, reset, GOAWAY, notices, changes ──▶ listener, connections, streams
//! ```
//!
//! Dropping the [`Simulator`] aborts the tasks. Each task owns the ones to its right.
//!
//! | file | job |
//! |---|---|
//! | scenario, state, fault, notice, duration | plain data, read from YAML |
//! | quote | quoted inputs in messages |
//! | pings | how many PINGs of a client are too many |
//! | resolve | the SoCs of a scenario; checks |
//! | simulated_soc | a SoC, its handle, its counters |
//! | listener | accepts or refuses connections |
//! | accepted | what one connection does; freezes and ends it |
//! | server_wire | what is under h2: the socket, maybe TLS; counts PINGs, inserts a GOAWAY |
//! | server_tls | the certificates of a SoC that serves TLS |
//! | h2server | HTTP/2 |
//! | method | the RPCs |
//! | rpc, stream | one call; the two calls that stay open |
//! | grpc | gRPC's framing on h2 |
//! | raw_frames | frames that h2 would not send |
//! | rpc_reply | what a SoC replies |
//! | timeline | plays the steps |

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::{io, pin::pin};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;

mod accepted;
mod duration;
mod fault;
mod file;
mod grpc;
mod h2server;
mod listener;
mod method;
mod notice;
mod pings;
mod quote;
mod raw_frames;
mod resolve;
mod rpc;
mod rpc_reply;
mod scenario;
mod server_tls;
mod server_wire;
mod simulated_soc;
mod state;
mod stream;
mod timeline;

use quote::quote;

pub use fault::{Code, Compression, ConnectionFault, FloodFrame, GoAway, H2Code, ReplyFault};
pub use method::Rpc;
pub use notice::{Notice, NoticeKind, Plane};
pub use pings::PingPolicy;
pub use scenario::{Rack, Scenario, SocSpec, Spread, Step, Targets};
pub use server_tls::{Tls, TlsVersion};
pub use simulated_soc::{Soc, SocCounters};
pub use state::{Direction, Health, Link, Sides, SidesPatch, SocState, StatePatch};

/// How many lines about the timeline may wait for a slow reader.
const EVENTS_KEPT: usize = 256;

/// Why the simulator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// Something about a scenario file.
    #[error("{}", quote(path.display()))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<SimError>,
    },
    /// The file cannot be read.
    #[error("cannot read the scenario")]
    Read(#[source] io::Error),
    /// The scenario is not valid YAML, or has wrong keys or values. The text names key and line.
    #[error("{0}")]
    Syntax(String),
    /// A value that is not possible.
    #[error("{key}: {expected}")]
    Invalid {
        /// Where.
        key: String,
        /// What was expected there.
        expected: String,
    },
    /// A SoC's address cannot be used.
    #[error("{soc}: cannot listen on {address}")]
    Listen {
        /// Its name.
        soc: String,
        /// The address.
        address: SocketAddr,
        /// Why. Usually the address is in use.
        #[source]
        source: io::Error,
    },
}

/// A running simulator. Dropping it stops everything: listeners and connections close.
#[derive(Debug)]
pub struct Simulator {
    socs: Vec<Soc>,
    by_name: HashMap<String, Soc>,
    events: broadcast::Sender<String>,
    /// Owns the tasks of the SoCs and the timeline.
    _tasks: JoinSet<()>,
}

impl Simulator {
    /// Listens on all addresses of the scenario and starts its timeline. When this returns, connections are accepted.
    pub async fn start(scenario: Scenario) -> Result<Self, SimError> {
        Ok(Self::start_watched(scenario).await?.0)
    }

    /// The same, with a receiver that misses no step, not even one at 0s.
    async fn start_watched(scenario: Scenario) -> Result<(Self, broadcast::Receiver<String>), SimError> {
        let mut tasks = JoinSet::new();
        let mut socs = Vec::new();
        for (i, resolved) in scenario.resolve()?.into_iter().enumerate() {
            let failed = |source| SimError::Listen {
                soc: quote(&resolved.name),
                address: resolved.address,
                source,
            };
            if let Some(tls) = &resolved.state.tls {
                let key = format!("{}: tls", quote(&resolved.name));
                tls.acceptor()
                    .map_err(|expected| SimError::Invalid { key, expected })?;
            }
            let listener = listener::listen(resolved.address).map_err(failed)?;
            let address = listener.local_addr().map_err(failed)?;
            let soc = Soc(Arc::new(simulated_soc::Inner::new(
                resolved.name,
                address,
                resolved.state,
            )));
            soc.connection_fault(resolved.fault);
            soc.reply_fault_only(resolved.reply, &resolved.only);
            tasks.spawn(listener::run(listener, soc.0.clone(), soc.0.watch()));
            socs.push(soc);
            if i % 256 == 255 {
                // Thousands of SoCs must not block the runtime's other work.
                tokio::task::yield_now().await;
            }
        }
        let by_name: HashMap<String, Soc> = socs
            .iter()
            .map(|soc| (soc.name().to_owned(), soc.clone()))
            .collect();
        let (events, first) = broadcast::channel(EVENTS_KEPT);
        if !scenario.timeline.is_empty() {
            tasks.spawn(timeline::play(
                scenario.timeline,
                scenario.repeat,
                by_name.clone(),
                events.clone(),
            ));
        }
        let simulator = Self {
            socs,
            by_name,
            events,
            _tasks: tasks,
        };
        Ok((simulator, first))
    }

    /// The SoC of a port.
    pub fn soc(&self, port: &str) -> Option<Soc> {
        self.by_name.get(port).cloned()
    }

    /// All SoCs, in the order of the scenario.
    pub fn socs(&self) -> &[Soc] {
        &self.socs
    }

    /// One line for each step of the timeline from now on, for example `Ethernet4: hang`.
    pub fn events(&self) -> broadcast::Receiver<String> {
        self.events.subscribe()
    }
}

/// Runs a scenario until `shutdown`. `report` gets one line about the SoCs, then one for each step of the timeline.
pub async fn run(
    scenario: Scenario,
    shutdown: impl Future<Output = ()>,
    mut report: impl FnMut(&str),
) -> Result<(), SimError> {
    let (simulator, mut events) = Simulator::start_watched(scenario).await?;
    match simulator.socs() {
        [only] => report(&format!("1 SoC: {} on {}", only.name(), only.address())),
        [first, .., last] => report(&format!(
            "{} SoCs: {} on {} to {} on {}",
            simulator.socs().len(),
            first.name(),
            first.address(),
            last.name(),
            last.address()
        )),
        [] => {}
    }
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            event = events.recv() => match event {
                Ok(line) => report(&line),
                Err(RecvError::Lagged(lines)) => report(&format!("{lines} lines left out")),
                // Impossible while the simulator exists.
                Err(RecvError::Closed) => return Ok(()),
            },
        }
    }
}
