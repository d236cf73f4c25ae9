//! The channel to one SoC: dials, keeps the connection, knows its state and why it has it.
//!
//! Owned here with h2, under tonic's generated clients, because tonic's own `Channel` shows no state, reports success
//! to a peer that never speaks HTTP/2, and redials only when an RPC asks.
//!
//! | file | job |
//! |---|---|
//! | connectivity | the five states, pure; when the next dial is due |
//! | backoff, keepalive | their timing, pure |
//! | dial_limiter | spreads the dials of thousands of channels |
//! | dial | TCP, source address; I/O errors → causes |
//! | tls | certificate files, the handshake, its errors → causes |
//! | socket | TCP, read in a way that tells when bytes came in |
//! | layer | what each layer of a connection hands on unchanged |
//! | sniffer | sees the peer's SETTINGS and GOAWAY frames go by, ends what floods us |
//! | frames, flood | which frames answer something, pure; how many others are too many, pure |
//! | connection | one h2 connection from preface to end |
//!
//! READY hands out a [`Transport`], which sends RPCs over the connection.

mod backoff;
mod connection;
mod connectivity;
mod dial;
mod dial_limiter;
mod failure;
mod flood;
mod frames;
mod keepalive;
mod layer;
mod sniffer;
mod socket;
mod tls;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use h2::Reason;
use h2::client::SendRequest;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::task::AbortOnDropHandle;

pub use dial_limiter::DialLimiter;
pub use failure::Failure;
pub use tls::{Checked, TlsStore, check, check_certificates, check_key, pem_certificates, pem_key, validity};

use crate::model::{Cause, ChannelEvent, Security, Target};
use crate::soc::arrivals::Arrivals;
use crate::soc::transport::{Outgoing, OutgoingError, Transport};
use connection::{Connection, Happened};
use connectivity::{ChannelInput, Connectivity};
use keepalive::Habit;
use socket::Socket;
use tls::{SocStream, Witness};

/// What gRPC's servers write into the debug data of a GOAWAY that is about our PINGs; some put words of their own around it.
const TOO_MANY_PINGS: &str = "too_many_pings";
/// From round to round, where nobody has said otherwise (`Channel::rounds_every`): the default of `probe.interval`.
const ROUNDS: Duration = Duration::from_secs(60);

/// What `Channel::next` yields: an event to pass on, and, with READY, the way to send RPCs.
#[derive(Debug)]
pub struct Signal {
    /// What happened.
    pub event: ChannelEvent,
    /// On READY: valid until the next signal that is a change of state.
    pub transport: Option<Transport>,
}

/// The channel to one SoC. It makes progress only while `next` is polled; dropping it closes the connection.
#[derive(Debug)]
pub struct Channel {
    target: Target,
    outgoing: Arc<Outgoing>,
    connectivity: Connectivity,
    dials: Arc<DialLimiter>,
    /// The certificate files, where there are any.
    tls: Option<Arc<tls::Set>>,
    keepalive: Habit,
    phase: Phase,
    signals: VecDeque<Signal>,
    /// The connection before this one, while its last RPCs finish after a GOAWAY.
    _draining: Option<AbortOnDropHandle<()>>,
}

enum Phase {
    /// Until the next dial is due.
    Waiting,
    /// It is due: until its turn comes.
    Queued { turn: Instant },
    /// TCP is not up yet.
    Dialing { deadline: Instant, dial: Step<Dialed> },
    /// TCP is up; TLS, if there is to be any, is not yet, and our preface is not out.
    Opening {
        deadline: Instant,
        opening: Step<Live>,
        witness: Arc<Witness>,
        arrivals: Arc<Arrivals>,
    },
    /// Until the deadline the peer must prove itself, and gets its transport then.
    Proving {
        deadline: Instant,
        live: Live,
        witness: Arc<Witness>,
    },
    /// READY.
    Ready(Box<Connection<SocStream>>),
}

type Step<T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send>>;

/// A TCP connection, and what to secure it with.
struct Dialed {
    tcp: TcpStream,
    material: Option<Arc<tls::Material>>,
}

struct Live {
    connection: Box<Connection<SocStream>>,
    requests: SendRequest<Bytes>,
}

impl std::fmt::Debug for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Waiting => "Waiting",
            Self::Queued { .. } => "Queued",
            Self::Dialing { .. } => "Dialing",
            Self::Opening { .. } => "Opening",
            Self::Proving { .. } => "Proving",
            Self::Ready(_) => "Ready",
        })
    }
}

impl Channel {
    /// IDLE; the first dial is due at once. Nothing is known of the target. Needs a tokio runtime.
    pub fn new(target: Target, dials: Arc<DialLimiter>, tls: &TlsStore) -> Result<Self, OutgoingError> {
        let now = Instant::now().into_std();
        let tls = match &target.channel.security {
            Security::Tls(settings) => Some(tls.set(settings)),
            Security::Plain | Security::Unusable(_) => None,
        };
        Ok(Self {
            tls,
            outgoing: Arc::new(Outgoing::new(&target)?),
            connectivity: Connectivity::new(target.channel.backoff, now),
            keepalive: Habit::new(target.channel.keepalive_time, ROUNDS, 0),
            dials,
            target,
            phase: Phase::Waiting,
            signals: VecDeque::new(),
            _draining: None,
        })
    }

    /// So many times the target has refused our PINGs (`ChannelEvent::Keepalive`), before this channel was.
    #[must_use]
    pub fn refused_before(mut self, refusals: u32) -> Self {
        self.keepalive = Habit::new(self.target.channel.keepalive_time, ROUNDS, refusals);
        self
    }

    /// The same SoC, to be dialled like `target` from now on; the connection that is up stays as it is.
    pub fn adopt(&mut self, target: Target) {
        self.target = target;
    }

    /// Rounds are this far apart from now on: a keepalive that goes with them follows.
    pub fn rounds_every(&mut self, interval: Duration) {
        self.change_keepalive(|keepalive| keepalive.set_interval(interval), false);
    }

    /// A round begins: it takes a PING along if this target's keepalive goes with its rounds.
    pub fn round_begins(&mut self) {
        if let Phase::Ready(connection) = &mut self.phase
            && self.keepalive.round()
        {
            connection.ask_for_ping();
        }
    }

    /// The next thing that happens. Cancel-safe: all that it waits for lives in the struct.
    pub async fn next(&mut self) -> Signal {
        loop {
            if let Some(signal) = self.signals.pop_front() {
                return signal;
            }
            self.advance().await;
        }
    }

    /// Waits for one thing in the present phase and acts on it. Nothing is awaited after something was taken.
    async fn advance(&mut self) {
        match &mut self.phase {
            Phase::Waiting => {
                sleep_until(Instant::from_std(self.connectivity.next_dial())).await;
                let turn = self.dials.turn(Instant::now().into_std()).into();
                self.phase = Phase::Queued { turn };
            }
            Phase::Queued { turn } => {
                sleep_until(*turn).await;
                self.begin_dial();
            }
            Phase::Dialing { deadline, dial } => {
                let deadline = *deadline;
                let mut dialed = timeout_at(deadline, dial.as_mut()).await;
                if dialed.is_err() {
                    // We may be late, and not the peer: the runtime looks what has happened.
                    tokio::task::yield_now().await;
                    dialed = dial.as_mut().now_or_never().map_or(dialed, Ok);
                }
                match dialed {
                    Ok(Ok(dialed)) => self.open(dialed, deadline),
                    Ok(Err(failure)) => self.dial_failed(failure),
                    Err(_) => {
                        let text = format!(
                            "no TCP connection within {:?}",
                            self.target.channel.dial_timeout()
                        );
                        self.dial_failed(Failure::new(Cause::ConnectTimeout, text));
                    }
                }
            }
            Phase::Opening {
                deadline,
                opening,
                witness,
                arrivals,
            } => {
                let (deadline, witness) = (*deadline, witness.clone());
                let mut opened = timeout_at(deadline, opening.as_mut()).await;
                if opened.is_err() {
                    // We may be late, and not the peer.
                    arrivals.ask();
                    opened = opening.as_mut().now_or_never().map_or(opened, Ok);
                }
                self.tell_certificate();
                match opened {
                    Ok(Ok(live)) => {
                        self.phase = Phase::Proving {
                            deadline,
                            live,
                            witness,
                        }
                    }
                    Ok(Err(failure)) => self.dial_failed(tls::of_silence(failure, &witness)),
                    Err(_) => {
                        let text = "TCP is up, but the TLS handshake has not ended";
                        self.dial_failed(Failure::new(Cause::KeepaliveTimeout, text));
                    }
                }
            }
            Phase::Proving { deadline, live, .. } => {
                match timeout_at(*deadline, live.connection.next()).await {
                    Ok(happened) => self.on_proving(happened),
                    Err(_) => match live.connection.look() {
                        Some(happened) => self.on_proving(happened),
                        None => {
                            let text = "TCP is up, but the peer did not prove that it speaks HTTP/2";
                            self.dial_failed(Failure::new(Cause::KeepaliveTimeout, text));
                        }
                    },
                }
            }
            Phase::Ready(connection) => {
                let happened = connection.next().await;
                self.on_ready(happened);
            }
        }
    }

    fn begin_dial(&mut self) {
        let now = Instant::now();
        self.emit(ChannelEvent::Dialing);
        self.apply(ChannelInput::Dial, None);
        let (address, settings, set) = (self.target.address, self.target.channel.clone(), self.tls.clone());
        let deadline = now + settings.dial_timeout();
        self.phase = Phase::Dialing {
            deadline,
            dial: Box::pin(async move {
                if let Security::Unusable(why) = &settings.security {
                    return Err(Failure::new(Cause::TlsConfig, why.clone()));
                }
                // Before TCP: a SoC need not see that we have no certificate to show.
                let material = match set {
                    Some(set) => Some(set.material(deadline).await?),
                    None => None,
                };
                let tcp = dial::tcp(address, &settings.source_address).await?;
                Ok(Dialed { tcp, material })
            }),
        };
    }

    /// TCP is up.
    fn open(&mut self, Dialed { tcp, material }: Dialed, deadline: Instant) {
        let (ip, timeout) = (self.target.address.ip(), self.target.channel.keepalive_timeout);
        self.keepalive.connected();
        let time = self.keepalive.between_rounds();
        let witness = Arc::new(Witness::default());
        let of_handshake = witness.clone();
        let (tcp, arrivals) = Socket::new(tcp);
        let of_connection = arrivals.clone();
        self.phase = Phase::Opening {
            deadline,
            opening: Box::pin(async move {
                let stream = match material {
                    Some(material) => tls::handshake(tcp, ip, &material, of_handshake).await?,
                    None => SocStream::plain(tcp),
                };
                let (connection, requests) = Connection::open(stream, of_connection, time, timeout).await?;
                Ok(Live {
                    connection: Box::new(connection),
                    requests,
                })
            }),
            witness,
            arrivals,
        };
    }

    /// What the SoC's certificate says is told whatever becomes of the handshake.
    fn tell_certificate(&mut self) {
        if let Phase::Opening { witness, .. } = &self.phase
            && let Some(not_after) = witness.not_after()
        {
            self.emit(ChannelEvent::PeerCertificate { not_after });
        }
    }

    fn on_proving(&mut self, happened: Happened) {
        match happened {
            Happened::Proven => {
                let Phase::Proving { live, .. } = std::mem::replace(&mut self.phase, Phase::Waiting) else {
                    return;
                };
                let arrivals = live.connection.arrivals();
                self.phase = Phase::Ready(live.connection);
                self.apply(ChannelInput::Proven, None);
                if let Some(signal) = self.signals.back_mut() {
                    let outgoing = self.outgoing.clone();
                    signal.transport = Some(Transport::new(live.requests, outgoing, arrivals));
                }
            }
            // An answer to our PING alone proves nothing.
            Happened::Pong(_) => {}
            Happened::GoAway { reason, debug } => {
                self.heed(reason, &debug);
                self.dial_failed(goaway(reason, &debug));
            }
            Happened::Lost(failure) => {
                let failure = match &self.phase {
                    Phase::Proving { witness, .. } => tls::of_silence(failure, witness),
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
                    // In good order: nothing has failed.
                    self.apply(ChannelInput::Drained, None);
                } else {
                    self.failed(goaway(reason, &debug), ChannelInput::Lost);
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

    /// A peer that finds our PINGs too many gets fewer, for as long as its configuration stands.
    fn heed(&mut self, reason: Reason, debug: &str) {
        if reason == Reason::ENHANCE_YOUR_CALM && debug.to_ascii_lowercase().contains(TOO_MANY_PINGS) {
            let pinged = match &self.phase {
                Phase::Proving { live, .. } => live.connection.has_pinged(),
                Phase::Ready(connection) => connection.has_pinged(),
                Phase::Waiting | Phase::Queued { .. } | Phase::Dialing { .. } | Phase::Opening { .. } => {
                    false
                }
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

fn goaway(reason: Reason, debug: &str) -> Failure {
    if reason == Reason::NO_ERROR {
        let text =
            format!("the SoC's server leaves in good order before it was READY (GOAWAY NO_ERROR {debug:?})");
        return Failure::new(Cause::Goaway, text);
    }
    let code = u32::from(reason);
    Failure::new(Cause::Goaway, format!("GOAWAY {code} ({reason}) {debug:?}"))
}
