//! The channel to one SoC, or to one target of a module. It dials, keeps the connection, and reports its state with the reason.
//!
//! It is our own, on h2. tonic's `Channel` shows no state, reports success for a peer that never speaks HTTP/2, and redials only
//! when an RPC asks for it.
//!
//! | file | job |
//! |---|---|
//! | connectivity | the five states, pure; when the next dial is due |
//! | backoff, keepalive | their timing, pure |
//! | dial_limiter | spreads the dials of thousands of channels |
//! | attempt | the stages of one attempt to connect, until the peer has proven itself |
//! | name_lookup, dial, failure | DNS names → addresses; TCP, source address; errors of a socket → causes |
//! | tls | certificate files, the handshake, its errors → causes |
//! | socket, layer | TCP, with the time at which bytes arrived; what each layer passes on unchanged |
//! | sniffer, seen_frames | sees the peer's SETTINGS and GOAWAY, ends a connection that floods; what it has seen |
//! | frames, flood | which frames answer something, pure; how many others are too many, pure |
//! | connection | one h2 connection from preface to end |
//!
//! READY gives a [`Transport`]. Imports `model`, `runtime`, `config` (TLS files); in `soc` `arrivals` and `transport`.

mod attempt;
mod backoff;
mod connection;
mod connectivity;
mod dial;
mod dial_limiter;
mod failure;
pub(crate) mod flood;
pub(crate) mod frames;
mod keepalive;
mod layer;
mod name_lookup;
mod seen_frames;
mod sniffer;
mod socket;
mod tls;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use h2::Reason;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

pub use dial_limiter::DialLimiter;
pub use failure::Failure;
pub use tls::{
    Checked, ServerFault, TlsStore, check, check_certificates, check_key, pem_certificates, pem_key,
    plain_client, validity,
};

use crate::model::{Cause, ChannelEvent, ChannelSettings, Peer, ProbeSettings};
use crate::soc::transport::{Outgoing, OutgoingError, Transport};
use attempt::{Dialed, Dialing, Opening, Proving};
use connection::{Connection, Happened};
use connectivity::{ChannelInput, Connectivity};
use keepalive::Habit;
use tls::SocStream;

/// What gRPC servers write into the debug data of a GOAWAY when our PINGs are too many. Some add text around it.
const TOO_MANY_PINGS: &str = "too_many_pings";

/// What `Channel::next` returns: an event to pass on and, with READY, the way to send RPCs.
#[derive(Debug)]
pub struct Signal {
    /// What happened.
    pub event: ChannelEvent,
    /// Set with READY. Valid until the next change of state.
    pub transport: Option<Transport>,
}

/// The channel to one SoC. It makes progress only while `next` is polled. Dropping it closes the connection.
#[derive(Debug)]
pub struct Channel {
    settings: Arc<ChannelSettings>,
    outgoing: Arc<Outgoing>,
    connectivity: Connectivity,
    dials: Arc<DialLimiter>,
    /// The certificate files, if the channel uses TLS.
    tls: Option<Arc<tls::Set>>,
    keepalive: Habit,
    phase: Phase,
    signals: VecDeque<Signal>,
    /// The connection before this one: its last RPCs may finish after a GOAWAY.
    _draining: Option<AbortOnDropHandle<()>>,
}

enum Phase {
    /// Until the next dial is due.
    Waiting,
    /// The dial is due and waits for its turn.
    Queued { turn: std::time::Instant },
    /// TCP is not up yet.
    Dialing(Dialing),
    /// TCP is up. TLS, if it is used, is not up yet, and our preface has not been sent.
    Opening(Opening),
    /// The preface has been sent. The peer must prove that it speaks HTTP/2.
    Proving(Proving),
    /// READY.
    Ready(Box<Connection<SocStream>>),
}

impl std::fmt::Debug for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Waiting => "Waiting",
            Self::Queued { .. } => "Queued",
            Self::Dialing(_) => "Dialing",
            Self::Opening(_) => "Opening",
            Self::Proving(_) => "Proving",
            Self::Ready(_) => "Ready",
        })
    }
}

impl Channel {
    /// IDLE, with the first dial due at once. Needs a tokio runtime.
    pub fn new(
        peer: impl Into<Peer>,
        dials: Arc<DialLimiter>,
        tls: &TlsStore,
    ) -> Result<Self, OutgoingError> {
        let (peer, now) = (peer.into(), Instant::now().into_std());
        // Until `rounds_every` is called, rounds have the default interval.
        let (rule, rounds) = (peer.settings.keepalive, ProbeSettings::default().interval);
        Ok(Self {
            tls: peer.settings.security.tls().map(|settings| tls.set(settings)),
            outgoing: Arc::new(Outgoing::new(&peer)?),
            connectivity: Connectivity::new(peer.settings.backoff, now),
            keepalive: Habit::new(rule, rounds, 0),
            dials,
            settings: peer.settings,
            phase: Phase::Waiting,
            signals: VecDeque::new(),
            _draining: None,
        })
    }

    /// How often the target refused our PINGs (`ChannelEvent::Keepalive`) before this channel was made.
    #[must_use]
    pub fn refused_before(mut self, refusals: u32) -> Self {
        self.keepalive.refused_before(refusals);
        self
    }

    /// The same peer with new settings, for the next dial. A connection that is up stays as it is.
    pub fn adopt(&mut self, settings: Arc<ChannelSettings>) {
        self.settings = settings;
    }

    /// Sets the interval of the rounds. A keepalive that goes with the rounds follows.
    pub fn rounds_every(&mut self, interval: Duration) {
        self.change_keepalive(|keepalive| keepalive.set_interval(interval), false);
    }

    /// A round begins. It sends a PING too, if this target's keepalive goes with its rounds.
    pub fn round_begins(&mut self) {
        if let Phase::Ready(connection) = &mut self.phase
            && self.keepalive.round(connection.take_reply())
        {
            connection.ask_for_ping();
        }
    }

    /// The next thing that happens. Cancel-safe: everything it waits for is kept in the struct.
    pub async fn next(&mut self) -> Signal {
        loop {
            if let Some(signal) = self.signals.pop_front() {
                self.signals.shrink_to_fit(); // the next may be minutes away
                return signal;
            }
            self.advance().await;
        }
    }

    /// Waits for one thing in the present phase and acts on it. Cancel-safe: it awaits nothing after it has taken a result.
    async fn advance(&mut self) {
        match &mut self.phase {
            Phase::Waiting => {
                sleep_until(Instant::from_std(self.connectivity.next_dial())).await;
                let turn = self
                    .dials
                    .turn(self.connectivity.repeats(), Instant::now().into_std());
                self.phase = Phase::Queued { turn };
            }
            Phase::Queued { turn } => {
                sleep_until(Instant::from_std(*turn)).await;
                self.begin_dial();
            }
            Phase::Dialing(dialing) => match dialing.wait().await {
                Ok(dialed) => self.open(dialed),
                Err(failure) => self.dial_failed(failure),
            },
            Phase::Opening(opening) => {
                let opened = opening.wait().await;
                self.tell_certificate();
                match opened {
                    Ok(proving) => self.phase = Phase::Proving(proving),
                    Err(failure) => self.dial_failed(failure),
                }
            }
            Phase::Proving(proving) => match proving.wait().await {
                Ok(happened) => self.on_proving(happened),
                Err(failure) => self.dial_failed(failure),
            },
            Phase::Ready(connection) => {
                let happened = connection.next().await;
                self.on_ready(happened);
            }
        }
    }

    fn begin_dial(&mut self) {
        self.emit(ChannelEvent::Dialing);
        self.apply(ChannelInput::Dial, None);
        let (endpoint, settings) = (self.outgoing.endpoint.clone(), self.settings.clone());
        self.phase = Phase::Dialing(Dialing::begin(endpoint, settings, self.tls.clone()));
    }

    /// TCP is up.
    fn open(&mut self, dialed: Dialed) {
        self.keepalive.connected();
        let (time, timeout) = (self.keepalive.between_rounds(), self.settings.keepalive_timeout);
        self.phase = Phase::Opening(Opening::begin(
            dialed,
            self.outgoing.endpoint.clone(),
            time,
            timeout,
        ));
    }

    /// Reports the SoC's certificate, even if the handshake failed.
    fn tell_certificate(&mut self) {
        if let Phase::Opening(opening) = &self.phase
            && let Some(not_after) = opening.witness.not_after()
        {
            self.emit(ChannelEvent::PeerCertificate { not_after });
        }
    }

    fn on_proving(&mut self, happened: Happened) {
        match happened {
            Happened::Proven => {
                let Phase::Proving(proven) = std::mem::replace(&mut self.phase, Phase::Waiting) else {
                    return;
                };
                let arrivals = proven.connection.arrivals();
                self.phase = Phase::Ready(proven.connection);
                self.apply(ChannelInput::Proven, None);
                if let Some(signal) = self.signals.back_mut() {
                    let outgoing = self.outgoing.clone();
                    signal.transport = Some(Transport::new(proven.requests, outgoing, arrivals));
                }
            }
            // An answer to our PING alone proves nothing.
            Happened::Pong(_) => {}
            Happened::GoAway { reason, debug } => {
                self.heed(reason, &debug);
                self.dial_failed(Failure::of_goaway(reason, &debug));
            }
            Happened::Lost(failure) => {
                let failure = match &self.phase {
                    Phase::Proving(proving) => tls::of_silence(failure, &proving.witness),
                    _ => failure,
                };
                self.dial_failed(failure);
            }
        }
    }

    fn on_ready(&mut self, happened: Happened) {
        match happened {
            Happened::Proven => {}
            Happened::Pong(rtt) => self.emit(ChannelEvent::Rtt(rtt)),
            Happened::GoAway { reason, debug } => {
                self.heed(reason, &debug);
                if let Phase::Ready(connection) = std::mem::replace(&mut self.phase, Phase::Waiting) {
                    self._draining = Some(AbortOnDropHandle::new(tokio::spawn(connection.drain())));
                }
                if reason == Reason::NO_ERROR {
                    // A graceful GOAWAY: nothing has failed.
                    self.apply(ChannelInput::Drained, None);
                } else {
                    self.failed(Failure::of_goaway(reason, &debug), ChannelInput::Lost);
                }
            }
            Happened::Lost(failure) => {
                self.phase = Phase::Waiting;
                self.failed(failure, ChannelInput::Lost);
            }
        }
    }

    fn dial_failed(&mut self, failure: Failure) {
        self.phase = Phase::Waiting;
        self.failed(failure, ChannelInput::DialFailed);
    }

    fn failed(&mut self, Failure { cause, detail }: Failure, input: ChannelInput) {
        self.emit(ChannelEvent::Failed { cause, detail });
        self.apply(input, Some(cause));
    }

    fn apply(&mut self, input: ChannelInput, cause: Option<Cause>) {
        let now = Instant::now().into_std();
        let before = self.connectivity.short();
        let changed = self.connectivity.apply(input, now, fastrand::f64());
        let in_a_row = self.connectivity.short();
        if in_a_row != before {
            self.emit(ChannelEvent::Short { in_a_row });
        }
        if let Some(to) = changed {
            let epoch = self.connectivity.epoch();
            self.emit(ChannelEvent::State { to, cause, epoch });
        }
    }

    /// A peer that refuses our PINGs as too many gets fewer of them, until its configuration changes.
    fn heed(&mut self, reason: Reason, debug: &str) {
        if reason == Reason::ENHANCE_YOUR_CALM && debug.to_ascii_lowercase().contains(TOO_MANY_PINGS) {
            let pinged = match &self.phase {
                Phase::Proving(proving) => proving.connection.has_pinged(),
                Phase::Ready(connection) => connection.has_pinged(),
                Phase::Waiting | Phase::Queued { .. } | Phase::Dialing(_) | Phase::Opening(_) => false,
            };
            self.change_keepalive(|keepalive| keepalive.refused(pinged), true);
        }
    }

    fn change_keepalive(&mut self, change: impl FnOnce(&mut Habit), refused: bool) {
        let in_force = |habit: &Habit| (habit.in_force(), habit.rounds());
        let before = in_force(&self.keepalive);
        change(&mut self.keepalive);
        let (time, rounds) = in_force(&self.keepalive);
        if (time, rounds) != before {
            self.emit(ChannelEvent::Keepalive {
                time,
                rounds,
                refusals: self.keepalive.refusals(),
                refused,
            });
        }
    }

    fn emit(&mut self, event: ChannelEvent) {
        let transport = None;
        self.signals.push_back(Signal { event, transport });
    }
}
