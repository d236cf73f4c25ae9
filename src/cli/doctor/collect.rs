//! Looks at databases, files, routes and SoCs, once each. Whatever hangs, it ends: each wait has a limit of its own, and
//! what could not be found out is recorded as unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::{FromRedisValue, Value};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::collect_sources;
use super::collected::{Away, Collected, DatabaseRead, Events, FileState, SeenDatabases, Soc, TlsFileKind};
use super::findings::security::files_named;
use crate::config::{Config, Database, Namespace, RedisAddress, read_pem, read_secrets};
use crate::model::Inventory;
use crate::model::schema;
use crate::model::{
    ChannelSettings, KeepaliveRule, Security, SourceAddress, Spec, Table, Target, TlsSettings,
};
use crate::soc::channel::{Checked, TlsStore, check, check_certificates, check_key};
use crate::soc::look::{Found, look};
use crate::sonic::inventory::{ConfigDbCopy, Loopback3, Secrets, is_complete, secure};
use crate::sonic::mirror::{self, Ports};
use crate::sonic::redis_link::{Link, RedisFailure};

/// How long reading a whole database may take. It usually takes milliseconds; a database that hangs is reported after 2 s.
const READING: Duration = Duration::from_secs(5);
/// How long reading a file may take: its file system may hang.
const FILE: Duration = Duration::from_secs(2);
/// The keepalive time and timeout of a dial, whose sum is its deadline. It is shorter than the exporter's 12 s, because people wait.
const DIAL: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
/// SoCs that are probed at the same time: those of most racks.
const AT_A_TIME: usize = 64;
/// How long probing all SoCs may take: enough for four hundred that hang.
const PROBING: Duration = Duration::from_secs(20);

/// What the exporter reads of CONFIG_DB, and what ycabled reads of it.
pub(super) const CONFIG_DB: Spec = Spec {
    tables: &[
        table(schema::DEVICE_METADATA),
        table(schema::MUX_CABLE),
        table(schema::LOOPBACK_INTERFACE),
        table(schema::GRPCCLIENT),
        table(schema::GRPC_CLIENT),
        table(schema::XCVRD_LOG),
    ],
    ..crate::sonic::inventory::CONFIG_DB
};
/// What the exporter reads of STATE_DB, and what it writes there.
pub(super) const STATE_DB: Spec = Spec {
    tables: &[
        table(schema::MUX_CABLE_TABLE),
        table(schema::MUX_LINKMGR_TABLE),
        table(schema::MUX_CABLE_INFO),
        table(schema::MUX_CABLE_INFO_SHADOW),
    ],
    ..crate::sonic::intent::STATE_DB
};

/// All fields: what the exporter does not read may be what is wrong.
const fn table(name: &'static str) -> Table {
    Table { name, fields: &[] }
}

/// Looks at everything that `config` leads to; each query has this long.
pub(super) async fn collect(config: Config, query_timeout: Duration) -> Collected {
    let config_dbs = config.namespaces.iter().map(config_db);
    let config_dbs = join_all(config_dbs).await;
    let mut believed = sources(&config, &config_dbs);
    let (secrets, secrets_mode) = secrets(&config).await;
    secure(&mut believed, &secrets);
    let found = collect_sources::contents(&config).await;
    let inventory = Inventory::of(&config, &believed, &found);
    // Whose rows to look at in the other databases.
    let ports = inventory.targets.iter().map(|target| target.id.port.clone());
    let ports: Ports = Arc::new(ports.collect());
    let all = config.namespaces.iter().zip(config_dbs);
    let namespaces =
        all.map(|(namespace, (config_db, events))| databases(namespace, config_db, events, &ports));
    let namespaces: Vec<SeenDatabases> = join_all(namespaces).await;
    let tables = believed.iter().filter_map(|source| source.tables.as_deref());
    let loopback3 = Loopback3::find(tables);
    let loopback3 = loopback3.addresses().iter().map(|ip| (*ip, is_here(*ip)));
    let of_file = match &secrets {
        Secrets::Holds(_, tables) => Some(tables),
        Secrets::Unread(_) | Secrets::Absent | Secrets::Unusable(_) => None,
    };
    let tables = namespaces
        .iter()
        .filter_map(SeenDatabases::believed)
        .chain(of_file);
    let names: BTreeSet<(PathBuf, TlsFileKind)> = files_named(&config, &inventory, tables);
    let (files, tls, socs) = tokio::join!(
        files(names),
        sets(&inventory.targets),
        socs(&inventory.targets, query_timeout)
    );
    Collected {
        loopback3: loopback3.collect(),
        now: std::time::SystemTime::now().into(),
        config,
        namespaces,
        inventory,
        found,
        secured: believed.into_iter().map(|source| source.secured).collect(),
        secrets,
        secrets_mode,
        files,
        tls,
        socs,
        web: None,
        telemetry: None,
        modules: Vec::new(),
    }
}

/// CONFIG_DB of one namespace, and whether its server announces changes.
async fn config_db(namespace: &Namespace) -> (ReadFrom, Events) {
    let (database, no_ports) = (&namespace.config_db, Ports::default());
    tokio::join!(read(database, &CONFIG_DB, &no_ports), events(database))
}

/// What the inventory is made from: each CONFIG_DB that is whole.
fn sources(config: &Config, config_dbs: &[(ReadFrom, Events)]) -> Vec<ConfigDbCopy> {
    let each = config.namespaces.iter().zip(config_dbs);
    let mut sources: Vec<ConfigDbCopy> = each
        .map(|(namespace, ((config_db, _), _))| ConfigDbCopy {
            tables: config_db.as_ref().ok().filter(|t| is_complete(t)).cloned(),
            ..ConfigDbCopy::unread(&namespace.name)
        })
        .collect();
    if sources.is_empty() {
        // A source for what grpc_secrets.json holds.
        sources.push(ConfigDbCopy::unread(&"".into()));
    }
    sources
}

/// What grpc_secrets.json holds, and its permission bits where it could be looked at.
async fn secrets(config: &Config) -> (Secrets, Option<u32>) {
    let path = config.grpc_secrets.clone();
    let read = patiently(move || {
        let mode = std::fs::metadata(&path).map(|data| data.permissions().mode() & 0o777);
        (Secrets::of(&path, read_secrets(&path)), mode.ok())
    });
    read.await.unwrap_or_else(|why| {
        let why = format!("{}: {why}", config.grpc_secrets.display());
        (Secrets::Unusable(why.into()), None)
    })
}

/// A database, or why it could not be read, and the address that was used.
type ReadFrom = (DatabaseRead, Option<RedisAddress>);

async fn databases(
    namespace: &Namespace,
    (config_db, at): ReadFrom,
    events: Events,
    ports: &Ports,
) -> SeenDatabases {
    let ((appl_db, appl_at), (state_db, state_at)) = tokio::join!(
        read(&namespace.appl_db, &crate::sonic::intent::APPL_DB, ports),
        read(&namespace.state_db, &STATE_DB, ports),
    );
    SeenDatabases {
        namespace: namespace.clone(),
        config_db,
        appl_db,
        state_db,
        at: [at, appl_at, state_at],
        events,
    }
}

/// What it holds, and the address that was used.
async fn read(database: &Database, spec: &Spec, ports: &Ports) -> ReadFrom {
    let away = |failure: RedisFailure| Away {
        why: failure.to_string(),
        hint: failure.hint(),
    };
    match timeout(READING, mirror::read_once(database, spec, ports)).await {
        Ok(Ok((tables, at))) => (Ok(Arc::new(tables)), Some(at)),
        Ok(Err(failure)) => (Err(away(failure)), None),
        Err(_) => {
            let away = Away {
                why: format!("not read within {} s", READING.as_secs()),
                hint: RedisFailure::Timeout.hint(),
            };
            (Err(away), None)
        }
    }
}

async fn events(database: &Database) -> Events {
    let asked = async {
        let mut link = Link::open(&database.server, database.id).await.ok()?;
        let mut ask = redis::pipe();
        ask.cmd("CONFIG").arg("GET").arg("notify-keyspace-events");
        let replies = link.ask(&ask).await.ok()?;
        link.close();
        let reply: Value = match replies.into_iter().next()? {
            Ok(reply) => reply,
            Err(_) => return Some(Events::Denied),
        };
        let found: Option<BTreeMap<String, String>> = FromRedisValue::from_redis_value(reply).ok();
        found?.remove("notify-keyspace-events").map(Events::Told)
    };
    timeout(READING, asked)
        .await
        .ok()
        .flatten()
        .unwrap_or(Events::Unknown)
}

/// Reads something that may lie on a file system that hangs.
pub(super) async fn patiently<T: Send + 'static>(
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    match timeout(FILE, tokio::task::spawn_blocking(read)).await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error)) if error.is_panic() => Err("a defect of this program, please report it".to_owned()),
        _ => Err(format!("not read within {} s", FILE.as_secs())),
    }
}

async fn sets(targets: &[Target]) -> Vec<(TlsSettings, Result<Checked, String>)> {
    let mut sets: Vec<TlsSettings> = Vec::new();
    for target in targets {
        if let Security::Tls(settings) = &target.channel.security
            && !sets.contains(settings)
        {
            sets.push(settings.clone());
        }
    }
    let checks = sets.into_iter().map(|settings| async move {
        let copy = settings.clone();
        let checked = patiently(move || check(&copy)).await;
        (settings, checked.flatten())
    });
    join_all(checks).await
}

async fn files(names: BTreeSet<(PathBuf, TlsFileKind)>) -> BTreeMap<(PathBuf, TlsFileKind), FileState> {
    let looks = names.into_iter().map(|(path, kind)| async move {
        let name = path.clone();
        let looked = patiently(move || file(&name, kind)).await;
        ((path, kind), looked.unwrap_or_else(FileState::Unreadable))
    });
    join_all(looks).await.into_iter().collect()
}

/// Blocks. Nothing of a file's content leaves this function: one of them is a private key.
fn file(path: &Path, kind: TlsFileKind) -> FileState {
    let bytes = match read_pem(path) {
        Ok(bytes) => bytes,
        Err(error) => return FileState::Unreadable(error.to_string()),
    };
    let checked = match kind {
        TlsFileKind::Ca | TlsFileKind::Certificate => check_certificates(&bytes),
        TlsFileKind::Key => check_key(&bytes),
    };
    checked.map_or_else(FileState::NotPem, |()| FileState::Good)
}

async fn socs(targets: &[Target], query_timeout: Duration) -> Vec<Soc> {
    let deadline = Instant::now() + PROBING;
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    // One for all: their files are then read once.
    let tls = Arc::new(TlsStore::default());
    let mut probes = JoinSet::new();
    for (n, target) in targets.iter().enumerate() {
        let (target, places, tls) = (impatient(target), places.clone(), tls.clone());
        probes.spawn(async move {
            let probe = async {
                let _place = places.acquire().await.ok()?;
                let most = target.channel.dial_timeout() + query_timeout + Duration::from_secs(1);
                let (found, _) = timeout(most, look(target, query_timeout, &tls))
                    .await
                    .ok()?
                    .ok()?;
                Some(found)
            };
            (n, timeout_at(deadline, probe).await.ok().flatten())
        });
    }
    let mut found: BTreeMap<usize, Found> = BTreeMap::new();
    while let Some(ended) = probes.join_next().await {
        if let Ok((n, Some(probe))) = ended {
            found.insert(n, probe);
        }
    }
    let each = targets.iter().enumerate().map(|(n, target)| Soc {
        route: route(target.address, &target.channel.source_address),
        target: target.clone(),
        probe: found.remove(&n),
    });
    each.collect()
}

/// The same target, on which a dial ends sooner.
fn impatient(target: &Target) -> Target {
    let [keepalive_time, keepalive_timeout] = DIAL;
    Target {
        channel: Arc::new(ChannelSettings {
            keepalive: KeepaliveRule::Every(keepalive_time),
            keepalive_timeout,
            ..(*target.channel).clone()
        }),
        ..target.clone()
    }
}

/// Where a packet to `address` would leave from. Nothing is sent: a UDP socket's connect only looks up the route.
fn route(address: SocketAddr, source: &SourceAddress) -> Result<IpAddr, String> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let from = match source {
        SourceAddress::Any => any,
        // As a dial does: where it cannot serve, the kernel chooses.
        SourceAddress::Prefer(ip) if ip.is_ipv4() == address.is_ipv4() && is_here(*ip) => *ip,
        SourceAddress::Prefer(_) => any,
        SourceAddress::Fixed(ip) => *ip,
        SourceAddress::Missing(why) => return Err(why.to_string()),
    };
    let socket = UdpSocket::bind((from, 0))
        .map_err(|error| format!("the source address {from} cannot be used: {error}"))?;
    let connected = socket.connect(address).and_then(|()| socket.local_addr());
    connected
        .map(|local| local.ip())
        .map_err(|error| format!("no route from here: {error}"))
}

fn is_here(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_the_exporter_reads_is_read() {
        let check = |ours: &Spec, theirs: &Spec| {
            let has = |name| ours.tables.iter().any(|table| table.name == name);
            for table in theirs.tables {
                assert!(has(table.name), "{}", table.name);
            }
        };
        check(&CONFIG_DB, &crate::sonic::inventory::CONFIG_DB);
        check(&STATE_DB, &crate::sonic::intent::STATE_DB);
    }

    #[test]
    fn a_file_is_good_if_what_is_needed_of_it_is_in_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file.pem");
        let check = |text: &str, kind, expected: &str| {
            std::fs::write(&path, text).expect("written");
            match file(&path, kind) {
                FileState::NotPem(why) if !expected.is_empty() && why.contains(expected) => {}
                FileState::Good if expected.is_empty() => {}
                state => panic!("{state:?}, expected {expected:?}"),
            }
        };
        let made = rcgen::generate_simple_self_signed(["soc".to_owned()]).expect("a pair");
        let (cert, key) = (
            format!("\u{feff}words\n{}", made.cert.pem()),
            made.signing_key.serialize_pem(),
        );
        check(&cert, TlsFileKind::Ca, "");
        check(&cert, TlsFileKind::Certificate, "");
        check(
            &cert,
            TlsFileKind::Key,
            "are the files of certificate and key swapped?",
        );
        check(&key, TlsFileKind::Key, "");
        check(
            &key,
            TlsFileKind::Ca,
            "are the files of certificate and key swapped?",
        );
        check(&cert[..cert.len() / 2], TlsFileKind::Ca, "has no end");
        check("", TlsFileKind::Ca, "holds no certificate");
        for elsewhere in [dir.path().to_owned(), dir.path().join("missing")] {
            let state = file(&elsewhere, TlsFileKind::Ca);
            assert!(matches!(state, FileState::Unreadable(_)), "{state:?}");
        }
    }

    #[test]
    fn the_kernel_says_where_a_packet_would_leave_from() {
        let soc: SocketAddr = "127.0.0.9:50075".parse().expect("an address");
        let ip = |text: &str| -> IpAddr { text.parse().expect("an address") };
        let (here, elsewhere) = (ip("127.0.0.7"), ip("192.0.2.1"));
        assert_eq!(route(soc, &SourceAddress::Prefer(here)), Ok(here));
        assert_eq!(route(soc, &SourceAddress::Fixed(here)), Ok(here));
        assert!(route(soc, &SourceAddress::Any).is_ok_and(|from| from.is_loopback()));
        assert!(route(soc, &SourceAddress::Prefer(elsewhere)).is_ok_and(|from| from.is_loopback()));
        let error = route(soc, &SourceAddress::Fixed(elsewhere)).expect_err("not here");
        assert!(error.contains("192.0.2.1"), "{error}");
        let error = route(soc, &SourceAddress::Missing("why".into())).expect_err("none");
        assert_eq!(error, "why");
    }
}
