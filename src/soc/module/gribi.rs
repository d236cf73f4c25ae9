//! gRIBI: how many entries a switch's routing tables have, and how many of them are programmed. Only Get is called.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::uri::PathAndQuery;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::job_changes::JobChanges;
use super::module_round::{ask_all, left, report_of_one, round_of};
use super::{ModuleRound, ModuleSignal};
use crate::model::{
    AftKind, GribiCheck, GribiCounts, InstanceEntries, ModuleKind, ModuleReport, ProbeSettings, Programmed,
    Said, text,
};
use crate::soc::probe::{QueryAnswer, Ready, RoundLimiter};
use crate::soc::transport::{Transport, is_unreadable, raw_call};
use dualtor_proto::wire::{Malformed, WireFields, WireValue, put_bytes};

const GET: &str = "/gribi.gRIBI/Get";
/// Bytes of one message: what a gRPC server sends at most by default.
const MAX_MESSAGE: u32 = 4 * 1024 * 1024;
/// Bytes of all messages of one Get.
const MAX_GET: usize = 64 * 1024 * 1024;
/// Network instances that are shown; the others are summed.
const MOST_INSTANCES: usize = 64;
/// The name of their sum.
const OTHER: &str = "other";
/// The longest name of a network instance, in characters.
const MAX_NAME: usize = 64;

#[derive(Debug)]
pub(in crate::soc) struct Gribi {
    changes: JobChanges,
}

impl Gribi {
    pub(super) fn new(changes: JobChanges) -> Self {
        Self { changes }
    }

    pub(super) fn round(
        &self,
        ready: Option<Ready>,
        settings: ProbeSettings,
        limiter: Arc<RoundLimiter>,
    ) -> ModuleRound {
        let job = self.changes.job();
        round_of(async move {
            match &job.spec.kind {
                ModuleKind::Gribi(check) => run(ready, check, settings, &limiter).await,
                // A session whose kind changes is started anew.
                _ => ModuleReport::not_ready(),
            }
        })
    }

    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> ModuleSignal {
        self.changes.next().await
    }
}

async fn run(
    ready: Option<Ready>,
    check: &GribiCheck,
    settings: ProbeSettings,
    limiter: &RoundLimiter,
) -> ModuleReport {
    let question = async |transport: &Transport| ask(transport, check, settings).await;
    match ask_all(ready, settings, limiter, [question]).await {
        Ok((epoch, ended)) => {
            report_of_one(epoch, ended, |counts: Counting| Said::Gribi(Some(counts.done())))
        }
        Err(report) => report,
    }
}

/// One Get for all instances, or one after the other for those of the configuration.
async fn ask(transport: &Transport, check: &GribiCheck, settings: ProbeSettings) -> QueryAnswer<Counting> {
    let began = Instant::now();
    let mut counting = Counting::default();
    let requests: Vec<(Option<&str>, Vec<u8>)> = match &check.instances {
        None => vec![(None, request(2, b""))],
        Some(names) => names
            .iter()
            .map(|name| (Some(&**name), request(1, name.as_bytes())))
            .collect(),
    };
    for (name, request) in requests {
        if let Some(name) = name {
            counting.add(name, &InstanceEntries::default());
        }
        let transport = transport
            .clone()
            .for_queries(left(began, settings))
            .with_limit(MAX_MESSAGE);
        match get(&transport, request, &mut counting).await {
            Ok(()) => {}
            Err(BadGet::Failed(status)) if is_unreadable(&status) => {
                return QueryAnswer::invalid(status.message());
            }
            Err(BadGet::Failed(status)) => return QueryAnswer::failed(&status),
            Err(BadGet::Malformed) => return QueryAnswer::invalid("a message is not a GetResponse"),
        }
    }
    QueryAnswer::ok(counting)
}

/// A GetRequest: 1 a name or 2 all, and 3 the kind of entries: 1 is ALL.
fn request(field: u64, name: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    put_bytes(&mut request, field, name);
    request.extend([3 << 3, 1]);
    request
}

enum BadGet {
    Failed(Status),
    Malformed,
}

impl From<Status> for BadGet {
    fn from(status: Status) -> Self {
        Self::Failed(status)
    }
}

impl From<Malformed> for BadGet {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

async fn get(transport: &Transport, request: Vec<u8>, counting: &mut Counting) -> Result<(), BadGet> {
    let path = PathAndQuery::from_static(GET);
    let mut messages = raw_call::stream(transport, &path, vec![request.into()]).await?;
    let mut bytes = 0;
    while let Some(message) = messages.message().await? {
        bytes += message.len();
        if bytes > MAX_GET {
            let text = format!("over the exporter's limit for a reply: more than {MAX_GET} bytes in all");
            return Err(Status::new(Code::ResourceExhausted, text).into());
        }
        // 1: an entry.
        for field in WireFields::of(&message) {
            match field? {
                (1, WireValue::Bytes(entry)) => counting.entry(entry)?,
                (1, _) => return Err(BadGet::Malformed),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Counts entries, of the first instances by name and of all others together.
#[derive(Debug, Default)]
struct Counting {
    instances: BTreeMap<String, InstanceEntries>,
    others: Option<InstanceEntries>,
}

impl Counting {
    /// An AFTEntry: 1 the network instance, 4 to 10 the entry itself, 11 and 12 whether it is programmed.
    fn entry(&mut self, entry: &[u8]) -> Result<(), Malformed> {
        let (mut name, mut kind, mut planes) = ("", AftKind::Other, [0; 2]);
        for field in WireFields::of(entry) {
            match field? {
                (1, WireValue::Bytes(text)) => name = std::str::from_utf8(text).map_err(|_| Malformed)?,
                (4, WireValue::Bytes(_)) => kind = AftKind::Ipv4,
                (5, WireValue::Bytes(_)) => kind = AftKind::Ipv6,
                (6, WireValue::Bytes(_)) => kind = AftKind::Mpls,
                (7, WireValue::Bytes(_)) => kind = AftKind::NextHopGroup,
                (8, WireValue::Bytes(_)) => kind = AftKind::NextHop,
                (9, WireValue::Bytes(_)) => kind = AftKind::Mac,
                (10, WireValue::Bytes(_)) => kind = AftKind::PolicyForwarding,
                (11, WireValue::Varint(status)) => planes[0] = status,
                (12, WireValue::Varint(status)) => planes[1] = status,
                (1 | 4..=12, _) => return Err(Malformed),
                _ => {}
            }
        }
        let mut one = InstanceEntries::default();
        one.entries[kind.index()] = 1;
        for (counts, status) in one.planes.iter_mut().zip(planes) {
            let status = match status {
                0 => Programmed::Unavailable,
                1 => Programmed::Yes,
                2 => Programmed::No,
                _ => Programmed::Unknown,
            };
            counts[status.index()] = 1;
        }
        self.add(name, &one);
        Ok(())
    }

    fn add(&mut self, name: &str, entries: &InstanceEntries) {
        let name = text::clean(name, MAX_NAME);
        if let Some(known) = self.instances.get_mut(&name) {
            known.add(entries);
            return;
        }
        self.instances.insert(name, entries.clone());
        // What was removed once never comes back: what stays only becomes smaller.
        if self.instances.len() > MOST_INSTANCES
            && let Some((_, last)) = self.instances.pop_last()
        {
            self.others.get_or_insert_default().add(&last);
        }
    }

    fn done(mut self) -> GribiCounts {
        if let Some(others) = &self.others {
            self.instances.entry(OTHER.to_owned()).or_default().add(others);
        }
        let instances = self.instances.into_iter();
        GribiCounts {
            instances: instances.map(|(name, entries)| (name.into(), entries)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, field: u8, rib: u8, fib: u8) -> Vec<u8> {
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, name.as_bytes());
        put_bytes(&mut entry, field.into(), b"never decoded");
        entry.extend([11 << 3, rib, 12 << 3, fib]);
        entry
    }

    #[test]
    fn entries_are_counted_by_instance_kind_and_plane() {
        let mut counting = Counting::default();
        for (name, field, rib, fib) in [("default", 4, 1, 2), ("default", 4, 1, 1), ("vrf", 8, 0, 7)] {
            counting.entry(&entry(name, field, rib, fib)).expect("an entry");
        }
        let counts = counting.done();
        let (name, default) = &counts.instances[0];
        assert_eq!((&**name, default.entries[AftKind::Ipv4.index()]), ("default", 2));
        assert_eq!(default.planes, [[0, 2, 0, 0], [0, 1, 1, 0]]);
        let (name, vrf) = &counts.instances[1];
        assert_eq!((&**name, vrf.entries[AftKind::NextHop.index()]), ("vrf", 1));
        assert_eq!(vrf.planes, [[1, 0, 0, 0], [0, 0, 0, 1]]);
        for bad in [&b"\x08\x01"[..], b"\x22", b"\x0a\x01\xff", b"\x5a\x00"] {
            assert_eq!(Counting::default().entry(bad), Err(Malformed), "{bad:?}");
        }
    }

    #[test]
    fn the_first_64_instances_by_name_are_kept_in_any_order_and_the_rest_is_summed() {
        let mut names: Vec<u32> = (0..1000).chain(0..1000).collect();
        fastrand::shuffle(&mut names);
        let mut counting = Counting::default();
        for n in names {
            counting
                .entry(&entry(&format!("{n:04}"), 5, 1, 1))
                .expect("an entry");
            assert!(counting.instances.len() <= MOST_INSTANCES);
        }
        let counts = counting.done();
        assert_eq!(counts.instances.len(), MOST_INSTANCES + 1);
        for (n, (name, entries)) in counts.instances.iter().enumerate() {
            let expected = match n {
                MOST_INSTANCES => (OTHER.to_owned(), 2 * 936),
                n => (format!("{n:04}"), 2),
            };
            assert_eq!(
                (name.to_string(), entries.entries[AftKind::Ipv6.index()]),
                expected
            );
        }
    }

    #[test]
    fn a_request_is_for_all_kinds_of_one_instance_or_of_all() {
        assert_eq!(request(2, b""), [0x12, 0, 0x18, 1]);
        assert_eq!(request(1, b"vrf"), [0x0a, 3, b'v', b'r', b'f', 0x18, 1]);
    }
}
