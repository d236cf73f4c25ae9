//! What this process knows, as a text file, for the hour in which something is stuck: SIGUSR2 asks for it.
//!
//! It has neither secrets nor replies. The file is new, is only for the owner, and no symbolic link is followed to it.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use tokio::runtime::Handle;
use tracing::{error, info};

use crate::config::files::{PATIENCE, Reader};
use crate::fleet::FleetHandle;
use crate::model::component::APP;
use crate::model::{
    ChannelState, ChannelStatus, History, ModuleStatus, Query, QueryResult, SocView, View, text,
};
use crate::soc::session::{Doing, Pulses};
use crate::web::ViewSource;

/// Rounds of each target.
const ROUNDS: usize = 10;

/// Writes dumps. Cheap to clone.
#[derive(Clone)]
pub struct Dumper {
    fleet: FleetHandle,
    view: ViewSource,
    pulses: Arc<Pulses>,
    reader: Arc<Reader>,
}

impl std::fmt::Debug for Dumper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dumper")
    }
}

impl Dumper {
    pub(super) fn new(fleet: FleetHandle, view: ViewSource, pulses: Arc<Pulses>) -> Self {
        Self {
            fleet,
            view,
            pulses,
            reader: Arc::default(),
        }
    }

    /// Writes a dump into this directory and logs its path, or the reason why there is none.
    pub async fn dump(&self, directory: &Path) {
        // `None`: the exporter is stopping.
        let Some(view) = (self.view)().await else { return };
        let mut text = head(&view);
        for soc in &view.socs {
            let history = self.fleet.history(soc.status.target.id.clone()).await;
            let history = history.ok().flatten().unwrap_or_default();
            let doing = self.pulses.of(&soc.status.target.id);
            put_soc(&mut text, soc, doing, &history);
        }
        for target in &*view.module_targets {
            put_module(&mut text, target, self.pulses.of(&target.id()));
        }
        let path = directory.join(name(view.at));
        let shown = text::quote(path.display());
        let written = self.reader.read(PATIENCE, move || write(&path, &text)).await;
        match written.map_err(io::Error::other).and_then(|written| written) {
            Ok(()) => info!(target: APP, path = shown, "dump written"),
            Err(error) => error!(target: APP, path = shown, %error, "the dump could not be written"),
        }
    }
}

fn name(at: SystemTime) -> PathBuf {
    let at = DateTime::<Utc>::from(at).format("%Y%m%dT%H%M%SZ");
    format!("dualtor-exporter-dump-{at}-{}.txt", std::process::id()).into()
}

/// A file that ends half-way is removed. Blocks.
fn write(path: &Path, text: &str) -> io::Result<()> {
    // `create_new` follows no symbolic link.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = file.write_all(text.as_bytes());
    if written.is_err() {
        // What cannot be removed stays; the error says why it is incomplete.
        let _ = std::fs::remove_file(path);
    }
    written
}

// Writing into a String cannot fail.

fn head(view: &View) -> String {
    let up = view.at.duration_since(view.exporter.started).unwrap_or_default();
    let channels = view.socs.iter().map(|soc| &soc.status.channel);
    let channels = channels.chain(view.module_targets.iter().map(|target| &target.channel));
    let (mut all, mut ready) = (0, 0);
    for channel in channels {
        all += 1;
        ready += usize::from(channel.state == ChannelState::Ready);
    }
    let tasks = Handle::current().metrics().num_alive_tasks();
    format!(
        "dualtor-exporter {}\nat         {}\nup         {}\ntasks      {tasks}\nchannels   {all}, {ready} READY\n\n",
        env!("CARGO_PKG_VERSION"),
        clock(view.at),
        text::span(up),
    )
}

fn clock(at: SystemTime) -> String {
    let at = DateTime::<Utc>::from(at);
    at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn put_channel(out: &mut String, channel: &ChannelStatus) {
    let since = channel
        .last_transition
        .map_or_else(|| "the start".to_owned(), clock);
    let _ = writeln!(
        out,
        "  channel    {} since {since}, epoch {}, {} dials",
        channel.state.upper(),
        channel.epoch,
        channel.dials
    );
    if let Some(cause) = channel.last_failure {
        let detail = channel.last_detail.as_deref().unwrap_or("");
        let _ = writeln!(out, "  last loss  {cause}: {}", text::quote(detail));
    }
    let with = if channel.pings_with_rounds {
        " with each round"
    } else {
        ""
    };
    let rtt = channel
        .keepalive_rtt
        .map_or_else(|| "none".to_owned(), |rtt| format!("{rtt:?}"));
    let _ = writeln!(
        out,
        "  keepalive  {:?}{with}, last answer after {rtt}, refused {} times",
        channel.keepalive_time, channel.ping_refusals
    );
}

/// The next round, and what is pending.
fn put_doing(out: &mut String, doing: Option<Doing>) {
    let Some(doing) = doing else {
        let _ = writeln!(out, "  session    none at this moment");
        return;
    };
    let _ = match doing.next_round {
        Ok(after) => writeln!(out, "  next round in {after:?}"),
        Err(late) => writeln!(out, "  next round due since {late:?}"),
    };
    let round = doing
        .round
        .map_or_else(|| "no round".to_owned(), |age| format!("a round for {age:?}"));
    let _ = writeln!(
        out,
        "  pending    {round}; {} RPCs and streams are open",
        doing.open_rpcs
    );
}

fn put_soc(out: &mut String, soc: &SocView, doing: Option<Doing>, history: &History) {
    let status = &soc.status;
    let _ = writeln!(out, "SoC {} at {}", status.target.id, status.target.address);
    put_channel(out, &status.channel);
    put_doing(out, doing);
    for round in history.rounds().iter().rev().take(ROUNDS) {
        let failed = Query::ALL.iter().filter_map(|query| {
            let (result, _) = round.query(*query);
            (result != QueryResult::Ok).then(|| format!("{query} {result}"))
        });
        let failed: Vec<String> = failed.collect();
        let result = if failed.is_empty() {
            "OK".to_owned()
        } else {
            failed.join(", ")
        };
        let (at, took) = (clock(round.at()), round.duration());
        let _ = writeln!(
            out,
            "  round      {at} {took:?} on {}: {result}",
            round.channel().upper()
        );
    }
    out.push('\n');
}

fn put_module(out: &mut String, target: &ModuleStatus, doing: Option<Doing>) {
    let job = &target.job;
    let kind = job.spec.kind.label();
    let _ = writeln!(out, "target {} ({kind}) at {}", job.id(), job.target.address);
    put_channel(out, &target.channel);
    put_doing(out, doing);
    for round in target.asked.recent.iter().rev() {
        let took = round
            .took
            .map_or_else(|| "nothing was sent".to_owned(), |took| format!("{took:?}"));
        let success = if round.success { "success" } else { "no success" };
        let _ = writeln!(
            out,
            "  round      {} {took}: {} ({success})",
            clock(round.at),
            round.result
        );
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_dump_is_a_new_file_for_its_owner_and_no_link_is_followed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("dump");
        write(&path, "text").expect("written");
        let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = write(&path, "other").map_err(|error| error.kind());
        assert_eq!(again, Err(io::ErrorKind::AlreadyExists));
        let (link, aim) = (directory.path().join("link"), directory.path().join("aim"));
        std::os::unix::fs::symlink(&aim, &link).expect("a link");
        assert_eq!(
            write(&link, "x").map_err(|error| error.kind()),
            Err(io::ErrorKind::AlreadyExists)
        );
        assert!(!aim.exists());
        assert_eq!(std::fs::read_to_string(&path).expect("text"), "text");
    }

    #[test]
    fn its_name_has_the_time_and_the_process() {
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        let expected = format!(
            "dualtor-exporter-dump-20231114T221320Z-{}.txt",
            std::process::id()
        );
        assert_eq!(name(at), Path::new(&expected));
    }
}
