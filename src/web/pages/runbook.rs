//! Which section of the runbook says what to do. The link is made from the project's address (`repository` in Cargo.toml), as
//! those of alerts and dashboards; a release leads to its own runbook (scripts/dist sets DUALTOR_RUNBOOK).

use maud::{Markup, html};

use crate::model::PortReason;

/// Where a browser finds the runbook; empty: nowhere, the project has no address yet.
pub(super) fn address() -> String {
    match (option_env!("DUALTOR_RUNBOOK"), env!("CARGO_PKG_REPOSITORY")) {
        (Some(address), _) if !address.is_empty() => address.to_owned(),
        (_, "") => String::new(),
        (_, repository) => format!("{repository}/blob/main/docs/runbook.md"),
    }
}

/// A link to the section of an alert; without an address, its name.
pub(super) fn section(alert: &str) -> Markup {
    let address = address();
    html! {
        @if address.is_empty() {
            code { "docs/runbook.md#" (alert.to_lowercase()) }
        } @else {
            a href={ (address) "#" (alert.to_lowercase()) } { (alert) }
        }
    }
}

/// The alert that fires for this reason if it lasts. docs/api.md lists all.
pub(super) const fn alert(reason: PortReason) -> Option<&'static str> {
    Some(match reason {
        PortReason::InMaintenance => "DualTorMaintenanceOverrun",
        PortReason::ChannelNotReady => "DualTorChannelDown",
        PortReason::ServerDark => "DualTorServerDark",
        PortReason::Blackhole => "DualTorBlackhole",
        PortReason::MuxChangeFailed => "DualTorMuxChangeFailed",
        PortReason::MuxInconsistent => "DualTorDirectionMismatch",
        PortReason::NoRedundancy => "DualTorNoRedundancy",
        PortReason::OperationDown => "DualTorOperationDown",
        PortReason::NotServing => "DualTorHealthNotServing",
        PortReason::QueryFailed => "DualTorProbeErrorBudgetBurnFast",
        PortReason::SideUnknown => "DualTorSideUnknown",
        PortReason::DirectionUnknown => "DualTorDirectionUnknown",
        PortReason::Stale => "DualTorDataStale",
        PortReason::CertificateExpiring => "DualTorCertificateExpiring7d",
        PortReason::ChannelFlapping => "DualTorChannelFlapping",
        PortReason::Healthy => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reasons_alert_is_the_first_that_the_documentation_names() {
        let text = include_str!("../../../docs/api.md");
        for reason in PortReason::ALL {
            let row = text
                .lines()
                .find(|line| line.starts_with(&format!("| `{reason}`")));
            let alerts = row.and_then(|row| row.rsplit(" | ").next()).expect("a row");
            let alerts = alerts.trim_end_matches(" |");
            match alert(*reason) {
                Some(alert) => assert!(alerts.starts_with(alert), "{reason}: {alerts}"),
                None => assert_eq!(alerts, "none", "{reason}"),
            }
        }
    }
}
