//! `make dashboards`: writes the Grafana dashboards, dashboards/*.json. Change them here, never there: a test compares.
//!
//! | file | job |
//! |---|---|
//! | fleet, tor, port, exporter, services | one dashboard each: a list of panels with title, description, query, unit and size |
//! | panel | the kinds of panels |
//! | dashboard | what surrounds the panels: layout, variables, links, annotations; what `{TOR}` and `{PORT}` in a query mean |
//! | queries | what several dashboards ask |
//! | palette | which colour and which number each state has, on all dashboards |
//!
//! tests/dashboards reads this as a module.

mod dashboard;
mod exporter;
mod fleet;
mod palette;
mod panel;
mod port;
mod queries;
mod services;
mod tor;

use std::path::Path;
use std::{fs, io};

use dashboard::Dashboard;

/// File names, without `.json`, and what is in them: pretty-printed, keys in alphabetical order.
pub(crate) fn files() -> Vec<(&'static str, String)> {
    let text = |dashboard: Dashboard| format!("{:#}\n", dashboard.json());
    vec![
        ("fleet", text(fleet::dashboard())),
        ("tor", text(tor::dashboard())),
        ("port", text(port::dashboard())),
        ("exporter", text(exporter::dashboard())),
        ("services", text(services::dashboard())),
    ]
}

fn main() -> io::Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
    files()
        .into_iter()
        .try_for_each(|(name, text)| fs::write(directory.join(name).with_extension("json"), text))
}
