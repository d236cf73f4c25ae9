//! Metrics of what ycabled has written about a port.

use std::fmt;

use super::values::port;
use crate::model::{End, PortFacts, SocStatus};
use crate::telemetry::samples::Samples;

/// Whether ycabled answers linkmgrd what the SoC reports to us.
pub(super) fn ycabled_agrees(soc: &SocStatus, facts: &PortFacts, samples: &mut Samples<'_>) -> fmt::Result {
    for end in End::ALL {
        let reported = *soc.observed.direction.at(*end);
        if let Some(agrees) = facts.ycabled.agrees(*end, reported) {
            samples.whole(&[port(soc), ("side", end.label())], u64::from(agrees))?;
        }
    }
    Ok(())
}

/// How long ycabled's last change of each side took.
pub(super) fn ycabled_changes(soc: &SocStatus, facts: &PortFacts, samples: &mut Samples<'_>) -> fmt::Result {
    for (end, change) in facts.ycabled.change.ends() {
        let took = change.map(|change| change.took);
        samples.seconds(&[port(soc), ("side", end.label())], took)?;
    }
    Ok(())
}
