//! `status --watch`: follows the event stream, and shows what changes.
//!
//! On a terminal the table is drawn anew in its place, as its ages grow, and cut to what fits: the worst is on top. Elsewhere there is one block for each change: a time that
//! passes is none, else a port that is dialled in vain would be news each second.
//!
//! It ends when its output cannot be written, or when no one reads it any more: it holds one of the exporter's few streams.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use anyhow::bail;
use serde::Deserialize as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout_at};

use super::api_client::{ApiClient, ApiEvent};
use super::api_types::{FleetAnswer, PortAnswer, ServiceAnswer};
use super::{MOST_ROWS, StatusOutput, StatusPicture, all_ports, all_services, chosen, chosen_services};
use crate::cli::program::{print_part, reader_gone};
use crate::model::{PortLevel, TargetId, text};

/// A pause before a lost stream is opened again.
const AGAIN: Duration = Duration::from_secs(2);
/// The longest pause between a change and its block.
const LONGEST: Duration = Duration::from_secs(3600);
/// Clears the terminal and starts at its top. What has scrolled out of it stays.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// The rows that are known, by their ports.
pub(super) type KnownRows = BTreeMap<Option<TargetId>, PortAnswer>;

/// See the module's documentation. Returns the worst level that was shown last.
pub(super) async fn watch(
    client: &ApiClient,
    levels: &[PortLevel],
    pause: Duration,
    output: StatusOutput,
) -> anyhow::Result<PortLevel> {
    let mut watch = StatusWatch {
        client,
        levels,
        pause: pause.min(LONGEST),
        output,
        in_place: output == StatusOutput::Table && io::stdout().is_terminal(),
        worst: PortLevel::Ok,
        before: None,
    };
    tokio::select! {
        ended = watch.run() => ended?,
        () = reader_gone() => {}
    }
    Ok(watch.worst)
}

struct StatusWatch<'a> {
    client: &'a ApiClient,
    levels: &'a [PortLevel],
    pause: Duration,
    output: StatusOutput,
    in_place: bool,
    worst: PortLevel,
    /// What was shown last, without times.
    before: Option<Value>,
}

impl StatusWatch<'_> {
    /// Until no one reads.
    async fn run(&mut self) -> anyhow::Result<()> {
        loop {
            // A stream that ends is news; an exporter that does not answer then is an error.
            let Err(error) = self.follow().await? else {
                return Ok(());
            };
            if !print_part("", &format!("{error:#}; asking again"))? {
                return Ok(());
            }
            sleep(AGAIN).await;
        }
    }

    /// One stream to its end. `Ok(Ok)`: no one reads; `Ok(Err)`: why the stream has ended.
    async fn follow(&mut self) -> anyhow::Result<Result<(), anyhow::Error>> {
        let mut stream = self.client.events().await?;
        // The stream takes seconds for thousands of rows. It was opened first, so no change is missed.
        let (mut fleet, mut rows) = (None, all_ports(self.client).await?);
        let mut due = None;
        loop {
            let event = match due {
                Some(due) => timeout_at(due, stream.next()).await,
                None => Ok(stream.next().await),
            };
            match event {
                Ok(Ok(event)) => {
                    adopt(event, &mut fleet, &mut rows);
                    if rows.len() > MOST_ROWS {
                        bail!("more than {MOST_ROWS} ports: this is not the API of a dualtor-exporter");
                    }
                    due = due.or(Some(Instant::now() + self.pause));
                }
                Ok(Err(error)) => return Ok(Err(error)),
                // Time to show what has changed.
                Err(_) => {
                    due = None;
                    let Some(fleet) = &fleet else { continue };
                    let services = match all_services(self.client, fleet).await {
                        Ok(services) => services,
                        Err(error) => return Ok(Err(error)),
                    };
                    let shown = StatusPicture {
                        fleet,
                        ports: chosen(&rows, self.levels),
                        services: chosen_services(&services, self.levels),
                    };
                    if !self.show(&shown)? {
                        return Ok(Ok(()));
                    }
                }
            }
        }
    }

    /// Whether someone still reads.
    fn show(&mut self, shown: &StatusPicture<'_>) -> anyhow::Result<bool> {
        self.worst = shown.worst();
        if self.in_place {
            let text = shown.as_text(self.output);
            return print_part(CLEAR, &fitting(text.trim_end(), size()));
        }
        let now = without_times(shown, self.output);
        if self.before.as_ref() == Some(&now) {
            return Ok(true);
        }
        self.before = Some(now);
        print_part("", &shown.as_text(self.output))
    }
}

/// Lines and columns of the terminal. It may change at any time.
fn size() -> Option<[usize; 2]> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    let size = [size.ws_row, size.ws_col].map(usize::from);
    // Some consoles do not know theirs.
    (size[0] > 2 && size[1] > 2).then_some(size)
}

/// What fits, with the cursor on the line after it: more would scroll the worst out of sight.
fn fitting(text: &str, size: Option<[usize; 2]>) -> String {
    let Some([lines, columns]) = size else {
        return text.to_owned();
    };
    let all: Vec<&str> = text.lines().collect();
    let whole = all.len() < lines;
    let shown = if whole { all.len() } else { lines - 2 };
    // One that is cut has a mark at its end.
    let cut = |line: &str| text::shorten(line, columns - 1);
    let mut fits: Vec<String> = all[..shown].iter().map(|line| cut(line)).collect();
    if !whole {
        let more = format!("... {} more lines (--level shows fewer ports)", all.len() - shown);
        fits.push(cut(&more));
    }
    fits.join("\n")
}

fn adopt(event: ApiEvent, fleet: &mut Option<FleetAnswer>, rows: &mut KnownRows) {
    match event {
        ApiEvent::Fleet(now) => *fleet = Some(*now),
        ApiEvent::Ports(ports) => rows.extend(ports.into_iter().map(|port| (port.name(), port))),
        ApiEvent::Removed(ports) => rows.retain(|name, _| !ports.contains(name)),
        // All rows come again, but those that have left meanwhile.
        ApiEvent::Reset => rows.clear(),
        ApiEvent::Other => {}
    }
}

/// What is shown, without the times that pass while nothing changes.
fn without_times(shown: &StatusPicture<'_>, output: StatusOutput) -> Value {
    let mut all = shown.as_json();
    forget_times(&mut all);
    if output == StatusOutput::Json {
        return all;
    }
    // The table shows less than the answers have: what else changes is no news there. `since` is a time that does not pass.
    let ports = shown.ports.iter().map(|port| &port.json);
    let rows = ports.chain(shown.services.iter().map(|service| &service.json));
    let since: Vec<Value> = rows.map(|row| row["since"].clone()).collect();
    let read = |all: Value| {
        let fleet = FleetAnswer::deserialize(&all["fleet"])?;
        let ports = Vec::<PortAnswer>::deserialize(&all["ports"])?;
        let services = Vec::<ServiceAnswer>::deserialize(&all["targets"])?;
        let shown = StatusPicture {
            fleet: &fleet,
            ports: ports.iter().collect(),
            services: services.iter().collect(),
        };
        Ok::<_, serde_json::Error>(shown.as_text(output))
    };
    // They were read before, so they can be read again.
    json!([read(all).unwrap_or_default(), since])
}

fn forget_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            // Of the answer and of the last error; of a round, and how long it took; of a row in STATE_DB.
            for time in ["at", "last_success", "last_write", "duration"] {
                fields.remove(time);
            }
            fields.values_mut().for_each(forget_times);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_times),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_the_terminal_is_counted() {
        let text = "one\ntwo\nthree and more\nfour";
        for (size, expected) in [
            (None, text),
            (Some([5, 80]), text),
            (
                Some([4, 80]),
                "one\ntwo\n... 2 more lines (--level shows fewer ports)",
            ),
            (Some([5, 6]), "one\ntwo\nthree…\nfour"),
            (Some([3, 3]), "on…\n..…"),
        ] {
            assert_eq!(fitting(text, size), expected, "{size:?}");
        }
    }

    #[test]
    fn a_time_that_passes_is_no_change_and_everything_else_is() {
        let fleet = json!({"at": "2026-11-28T03:12:24.210Z", "last_success": null, "counts": {"ports": 1}});
        let port = json!({"port": "Ethernet0", "level": "critical", "version": null, "last_success": null, "since": "s",
                          "last_error": {"at": "a", "cause": "refused"}});
        for output in [StatusOutput::Table, StatusOutput::Json] {
            let steady = |fleet: &Value, port: &Value| {
                let fleet = serde_json::from_value(fleet.clone()).expect("a fleet");
                let port = serde_json::from_value(port.clone()).expect("a port");
                let shown = StatusPicture {
                    fleet: &fleet,
                    ports: vec![&port],
                    services: Vec::new(),
                };
                without_times(&shown, output)
            };
            let before = steady(&fleet, &port);
            let changed = |name: &str, value: Value| {
                let mut port = port.clone();
                port[name] = value;
                steady(&fleet, &port) != before
            };
            let mut later = fleet.clone();
            later["at"] = "2026-11-28T03:12:25.210Z".into();
            assert_eq!(before, steady(&later, &port));
            assert!(!changed("last_success", "c".into()));
            assert!(!changed("last_error", json!({"at": "b", "cause": "refused"})));
            assert!(changed("last_error", json!({"at": "a", "cause": "closed"})));
            assert!(changed("since", "t".into()) && changed("level", "ok".into()));
            // Only one of them shows it.
            assert_eq!(changed("version", "2".into()), output == StatusOutput::Json);
            later["exporter_problems"] = json!([{"alert": "a", "text": "b"}]);
            assert_ne!(before, steady(&later, &port));
        }
    }
}
