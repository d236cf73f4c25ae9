//! The state of one gRPC channel, whatever is asked on it. Only the reducer (`fleet::reduce`) writes it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Cause, ChannelState};

/// Everything known of one channel.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelStatus {
    /// Connectivity.
    pub state: ChannelState,
    /// How many times the channel has been READY.
    pub epoch: u64,
    /// Changes of `state`, by `ChannelState::index()` of the new state.
    pub transitions: [u64; ChannelState::COUNT],
    /// When `state` last changed.
    pub last_transition: Option<SystemTime>,
    /// Dials begun.
    pub dials: u64,
    /// Failed dials and lost connections, by `Cause::index()`.
    pub failures: [u64; Cause::COUNT],
    /// The cause of the last failed dial or lost connection.
    pub last_failure: Option<Cause>,
    /// What exactly was seen at that failure, for people.
    pub last_detail: Option<Arc<str>>,
    /// The last PING's round trip; only while READY.
    pub keepalive_rtt: Option<Duration>,
    /// The keepalive time in force.
    pub keepalive_time: Duration,
    /// Whether PINGs are sent only with rounds, so that `keepalive_time` follows the interval of the rounds.
    pub pings_with_rounds: bool,
    /// How many READYs in a row ended within 10 s.
    pub short_readys: u32,
    /// How often the peer has refused our PINGs (too_many_pings); kept until the target's configuration changes.
    pub ping_refusals: u32,
    /// Expiry of the certificate that the peer last presented; `None` before the first one, and on plain-text channels.
    pub certificate_expiry: Option<SystemTime>,
    /// How often the session ended because of a defect of the exporter and was started again.
    pub session_restarts: u64,
}
