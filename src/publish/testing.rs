//! For tests of the publishers: a status to start from.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    BackoffSettings, Cause, ChannelSettings, ChannelState, Durations, Observed, Port, Query,
    QueryResult, SelfPeer, Side, SocService, SocStatus, Target,
};

/// A port nobody has dialled yet.
pub(crate) fn status(port: &str) -> SocStatus {
    let target = Target {
        port: Port::new(port).expect("a port name"),
        address: ([127, 0, 0, 1], 50075).into(),
        side: Side::Upper,
        channel: Arc::new(ChannelSettings {
            keepalive_time: Duration::from_secs(4),
            keepalive_timeout: Duration::from_secs(8),
            backoff: BackoffSettings {
                initial: Duration::from_secs(1),
                multiplier: 1.6,
                jitter: 0.2,
                max: Duration::from_secs(10),
            },
            source_address: None,
            metadata: Vec::new(),
        }),
    };
    SocStatus {
        target,
        channel: ChannelState::Idle,
        epoch: 0,
        transitions: [0; ChannelState::COUNT],
        last_transition: None,
        dials: 0,
        failures: [0; Cause::COUNT],
        keepalive_rtt: None,
        keepalive_time: Duration::from_secs(4),
        observed: Observed::UNKNOWN,
        known_direction: SelfPeer::default(),
        direction_transitions: SelfPeer::default(),
        probes: [[0; QueryResult::COUNT]; Query::COUNT],
        durations: Durations::default(),
        rounds: 0,
        last_success: None,
        last_error: None,
        service: SocService::Unknown,
        history: VecDeque::new(),
    }
}
