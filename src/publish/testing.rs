//! For tests of the publishers: a status to start from.

use std::sync::Arc;

use crate::model::{ChannelSettings, Port, Side, SocStatus, Target};

/// A port nobody has dialled yet.
pub(crate) fn status(port: &str) -> SocStatus {
    SocStatus::new(Target {
        namespace: "".into(),
        port: Port::new(port).expect("a port name"),
        address: ([127, 0, 0, 1], 50075).into(),
        side: Side::Upper,
        channel: Arc::new(ChannelSettings::default()),
    })
}
