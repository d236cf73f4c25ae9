//! Tables: what was seen → what is said.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::cli::doctor::collected::{Away, Events, FileState, SeenDatabases, Soc};
use crate::config::Config;
use crate::model::Inventory;
use crate::model::{
    Cause, Entry, Health, Limit, MuxDirection, PortState, Query, QueryReport, QueryResult, Report, Row,
    Security, Tables, TlsStatus, UpperLower,
};
use crate::soc::channel::Checked;
use crate::soc::channel::Failure;
use crate::soc::look::Found;
use crate::sonic::inventory::{ConfigDbCopy, Loopback3, Secrets, secure};

/// A healthy switch: upper ToR, one SoC, one row, ycabled's telemetry off.
struct Switch {
    config: &'static str,
    config_db: Vec<(&'static str, &'static str)>,
    appl_db: Vec<(&'static str, &'static str)>,
    state_db: Vec<(&'static str, &'static str)>,
    /// Where CONFIG_DB was read, if not at the first address.
    at: Option<RedisAddress>,
    events: Events,
    away: bool,
    here: bool,
    file: FileState,
    /// grpc_secrets.json.
    secrets: Secrets,
    mode: Option<u32>,
    tls: Result<Checked, String>,
    report: Report,
    failure: Option<Cause>,
    route: Result<IpAddr, String>,
}

fn healthy() -> Switch {
    Switch {
        config: "{}",
        config_db: vec![
            ("DEVICE_METADATA|localhost", "type=ToRRouter subtype=DualToR"),
            ("LOOPBACK_INTERFACE|Loopback3|10.212.64.1/32", "NULL=NULL"),
            (
                "MUX_CABLE|Ethernet0",
                "cable_type=active-active soc_ipv4=192.168.0.3/32",
            ),
            ("XCVRD_LOG|Y_CABLE", "disable_telemetry=True"),
        ],
        appl_db: vec![("MUX_CABLE_TABLE:Ethernet0", "state=active")],
        state_db: vec![(
            "MUX_CABLE_INFO|Ethernet0",
            "time_post=2026-Nov-21_00:06:31.406616",
        )],
        at: None,
        events: Events::Told("AKE".to_owned()),
        away: false,
        here: true,
        file: FileState::Good,
        secrets: Secrets::Absent,
        mode: None,
        tls: Ok(Checked::default()),
        report: Report {
            timing: Default::default(),
            epoch: Some(1),
            queries: [0; Query::COUNT].map(|_| QueryReport {
                result: QueryResult::Ok,
                took: Some(Duration::from_millis(2)),
                error: None,
            }),
            direction: UpperLower {
                upper: MuxDirection::Active,
                lower: MuxDirection::Standby,
            },
            oper: UpperLower::<PortState>::default(),
            link: UpperLower::<PortState>::default(),
            version: Some("1.4.2".into()),
            health: Health::Serving,
        },
        failure: None,
        route: Ok([10, 212, 64, 1].into()),
    }
}

/// Fields are `name=value`, split at blanks; `_` is a blank in a value.
fn tables(separator: &str, rows: &[(&str, &str)]) -> Tables {
    let mut tables = Tables::new(separator);
    for (key, fields) in rows {
        let fields = fields.split(' ').filter_map(|field| field.split_once('='));
        let row: Row = fields
            .map(|(name, value)| (name.to_owned(), value.replace('_', " ")))
            .collect();
        tables.set((*key).to_owned(), Some(Entry::Row(row)));
    }
    tables
}

impl Switch {
    /// Replaces a row of CONFIG_DB; no fields: it is gone.
    fn with(mut self, key: &'static str, fields: &'static str) -> Self {
        self.config_db.retain(|(other, _)| *other != key);
        if !fields.is_empty() {
            self.config_db.push((key, fields));
        }
        self
    }

    fn config(self, config: &'static str) -> Self {
        Self { config, ..self }
    }

    fn query(mut self, query: Query, result: QueryResult) -> Self {
        self.report.queries[query.index()].result = result;
        self
    }

    fn findings(self) -> Vec<Finding> {
        let config = Config::parse(self.config, Path::new("c.yml")).expect("good");
        let mut config_db = tables("|", &self.config_db);
        if !self.config_db.is_empty() {
            config_db.set(
                "CONFIG_DB_INITIALIZED".to_owned(),
                Some(Entry::Value("1".to_owned())),
            );
        }
        let reading = |tables: Tables| {
            if self.away {
                let (why, hint) = ("no answer within 2 s".to_owned(), "look at its log");
                return Err(Away { why, hint });
            }
            Ok(Arc::new(tables))
        };
        let namespaces: Vec<SeenDatabases> = config
            .namespaces
            .iter()
            .map(|namespace| SeenDatabases {
                namespace: namespace.clone(),
                config_db: reading(config_db.clone()),
                appl_db: reading(tables(":", &self.appl_db)),
                state_db: reading(tables("|", &self.state_db)),
                at: [self.at.clone(), None, None],
                events: self.events.clone(),
            })
            .collect();
        let mut sources: Vec<ConfigDbCopy> = namespaces
            .iter()
            .map(|databases| ConfigDbCopy {
                tables: databases.believed().cloned(),
                ..ConfigDbCopy::unread(&databases.namespace.name)
            })
            .collect();
        secure(&mut sources, &self.secrets);
        let inventory = Inventory::of(&config, &sources, &[]);
        let loopback3 = Loopback3::find(sources.iter().filter_map(|source| source.tables.as_deref()));
        let believed = namespaces.iter().filter_map(SeenDatabases::believed);
        let of_file = match &self.secrets {
            Secrets::Holds(_, tables) => Some(tables),
            _ => None,
        };
        let files = security::files_named(&config, &inventory, believed.chain(of_file));
        let socs = inventory.targets.iter().map(|target| Soc {
            target: target.clone(),
            route: self.route.clone(),
            probe: Some(match self.failure {
                Some(cause) => Found::NeverReady(Failure {
                    cause,
                    detail: "details".into(),
                }),
                None => Found::Ready {
                    left: None,
                    after: Duration::from_millis(4),
                    report: Box::new(self.report.clone()),
                },
            }),
        });
        let tls = inventory
            .targets
            .iter()
            .filter_map(|target| match &target.channel.security {
                Security::Tls(settings) => Some((settings.clone(), self.tls.clone())),
                _ => None,
            });
        let seen = Collected {
            tls: tls.collect(),
            web: None,
            telemetry: None,
            modules: Vec::new(),
            socs: socs.collect(),
            loopback3: loopback3.addresses().iter().map(|ip| (*ip, self.here)).collect(),
            files: files.into_iter().map(|file| (file, self.file.clone())).collect(),
            now: "2026-11-21T00:07:00Z".parse().expect("a time"),
            config,
            namespaces,
            inventory,
            found: Vec::new(),
            secured: sources.into_iter().map(|source| source.secured).collect(),
            secrets: self.secrets,
            secrets_mode: self.mode,
        };
        diagnose(&seen)
    }
}

/// Nothing is wrong, but one thing: of this level, about this, in these words, with this remedy.
fn check(switch: Switch, level: Level, subject: &str, words: &str, remedy: &str) {
    let findings = switch.findings();
    let fits = |finding: &&Finding| {
        let told = finding.remedy.as_deref().unwrap_or("");
        finding.subject == subject && finding.text.contains(words) && told.contains(remedy)
    };
    let found = findings.iter().find(fits);
    let found = found.unwrap_or_else(|| panic!("{subject}, {words}, {remedy}: {findings:#?}"));
    assert_eq!(found.level, level, "{found:?}");
    let problems = findings.iter().filter(|finding| finding.level == Level::Problem);
    let expected = usize::from(level == Level::Problem);
    assert_eq!(problems.count(), expected, "{subject}: {findings:#?}");
}

#[test]
fn a_healthy_switch_has_neither_problems_nor_notes() {
    let findings = healthy().findings();
    assert!(
        findings.iter().all(|finding| finding.level == Level::Ok),
        "{findings:#?}"
    );
    let said: Vec<&str> = findings.iter().map(|finding| &*finding.subject).collect();
    let expected = [
        "Redis",
        "CONFIG_DB",
        "keyspace notifications",
        "DEVICE_METADATA",
        "side",
        "Loopback3",
        "MUX_CABLE",
        "GRPCCLIENT",
        "ycabled",
        "MUX_CABLE_INFO",
        "Ethernet0",
    ];
    assert_eq!(said, expected);
}

/// A reader must not take silence for health.
#[test]
fn each_area_says_something_when_redis_is_away() {
    let away = Switch {
        away: true,
        ..healthy()
    };
    let findings = away.findings();
    // Web side, telemetry and probe modules have nothing to do with Redis.
    let others = [Area::Web, Area::Telemetry, Area::Modules];
    for area in Area::ALL.into_iter().filter(|area| !others.contains(area)) {
        let said = findings.iter().find(|finding| finding.area == area);
        assert!(
            said.is_some_and(|said| said.level != Level::Ok),
            "{area:?}: {said:?}"
        );
    }
}

#[test]
fn each_state_of_the_databases_is_told() {
    use Level::{Note, Problem};
    let away = Switch {
        away: true,
        ..healthy()
    };
    check(
        away,
        Problem,
        "Redis",
        "CONFIG_DB, APPL_DB, STATE_DB on",
        "look at its log",
    );
    let alone = Switch {
        away: true,
        ..healthy().config("targets: [{port: Ethernet0, address: 192.168.0.3}]\n")
    };
    let findings = alone.findings();
    let told = |subject: &str| findings.iter().find(|finding| finding.subject == subject);
    assert!(told("side").is_some_and(|side| side.text.contains("unknown: CONFIG_DB cannot be read")));
    assert!(told("GRPCCLIENT").is_some_and(|tls| tls.level == Note));
    let empty = Switch {
        config_db: Vec::new(),
        ..healthy()
    };
    check(
        empty,
        Problem,
        "CONFIG_DB",
        "CONFIG_DB_INITIALIZED is missing",
        "wait",
    );
    for (flags, on) in [
        ("AKE", true),
        ("Kgh$", true),
        ("Kgh", false),
        ("", false),
        ("AE", false),
        ("Kg", false),
    ] {
        let events = Events::Told(flags.to_owned());
        let level = if on { Level::Ok } else { Note };
        let (words, remedy) = if on {
            ("on (", "")
        } else {
            ("once per interval", "AKE")
        };
        check(
            Switch { events, ..healthy() },
            level,
            "keyspace notifications",
            words,
            remedy,
        );
    }
    let denied = Switch {
        events: Events::Denied,
        ..healthy()
    };
    check(denied, Note, "keyspace notifications", "unknown", "");
}

#[test]
fn each_state_of_the_switch_is_told() {
    use Level::{Note, Ok, Problem};
    let leaf = || healthy().with("DEVICE_METADATA|localhost", "type=LeafRouter");
    check(
        leaf(),
        Note,
        "DEVICE_METADATA",
        "type LeafRouter, subtype -: not a dual-ToR",
        "set subtype to DualToR",
    );
    let targets = "side: upper\ntargets: [{port: Ethernet0, address: 192.168.0.3}]\n";
    check(
        leaf().config(targets),
        Note,
        "DEVICE_METADATA",
        "still probed",
        "",
    );
    check(
        healthy().config(targets),
        Ok,
        "targets",
        "1 target in the configuration",
        "",
    );

    // Whatever the type is: no remedy may make another kind of switch of it.
    let storage = || {
        healthy().with(
            "DEVICE_METADATA|localhost",
            "type=BackEndToRRouter subtype=DualToR",
        )
    };
    check(
        storage(),
        Ok,
        "DEVICE_METADATA",
        "BackEndToRRouter, subtype DualToR: a dual-ToR switch",
        "",
    );
    for switch in [storage(), leaf()] {
        let remedies = switch.findings().into_iter().filter_map(|finding| finding.remedy);
        let remedies: Vec<String> = remedies.collect();
        assert!(!remedies.join(" ").contains("ToRRouter"), "{remedies:?}");
    }
    let blank = healthy().with("DEVICE_METADATA|localhost", "type=ToRRouter subtype=DualToR_");
    check(
        blank,
        Note,
        "DEVICE_METADATA",
        "subtype \"DualToR \": not a dual-ToR",
        "set subtype to DualToR",
    );

    let key = "LOOPBACK_INTERFACE|Loopback3|10.212.64.1/32";
    let two = || healthy().with("LOOPBACK_INTERFACE|Loopback3|10.0.0.1/32", "NULL=NULL");
    check(
        two(),
        Ok,
        "Loopback3",
        "10.0.0.1 is not used: dials leave from the address that identifies the side",
        "",
    );
    check(two(), Ok, "Loopback3", "10.212.64.1 is on this host", "");
    check(
        healthy().with(key, ""),
        Problem,
        "side",
        "has no Loopback3",
        "side: upper",
    );
    let other = healthy()
        .with(key, "")
        .with("LOOPBACK_INTERFACE|Loopback3|10.9.9.9/32", "NULL=NULL");
    check(other, Problem, "side", "10.9.9.9", "side: upper");
    let swapped = || healthy().config("side: lower\n");
    check(
        Switch {
            appl_db: Vec::new(),
            ..swapped()
        },
        Problem,
        "side",
        "Loopback3 (10.212.64.1) is the upper ToR's",
        "remove the key side",
    );
    let elsewhere = || Switch {
        here: false,
        ..healthy()
    };
    check(
        elsewhere(),
        Note,
        "Loopback3",
        "10.212.64.1 is not on this host",
        "Loopback3 must be up",
    );
    let wanted = elsewhere().config("channel: {source_address: loopback3}\n");
    check(
        wanted,
        Problem,
        "Loopback3",
        "no dial can leave",
        "Loopback3 must be up",
    );
}

#[test]
fn each_row_that_cannot_be_used_is_told_with_its_remedy() {
    use Level::{Note, Ok, Problem};
    let row = |fields| healthy().with("MUX_CABLE|Ethernet4", fields);
    check(
        row("cable_type=active-standby"),
        Problem,
        "ycabled",
        "1 active-standby port",
        "shadow",
    );
    check(
        row("cable_type=active-active"),
        Problem,
        "Ethernet4",
        "no_address",
        "soc_ipv4 <",
    );
    let prefix = row("cable_type=active-active soc_ipv4=192.168.0.0/24");
    check(prefix, Problem, "Ethernet4", "bad_address", "soc_ipv4 <");
    check(
        row("cable_type=passive"),
        Problem,
        "Ethernet4",
        "bad_cable_type",
        "active-active",
    );
    let twice = row("cable_type=active-active soc_ipv4=192.168.0.3/32");
    check(
        twice,
        Problem,
        "Ethernet0, Ethernet4",
        "the SoC address 192.168.0.3:50075",
        "its own SoC",
    );
    check(
        healthy().with("MUX_CABLE|Ethernet0", ""),
        Note,
        "MUX_CABLE",
        "0 active-active ports",
        "",
    );
    check(healthy(), Ok, "MUX_CABLE", "1 active-active port to probe", "");
}

#[test]
fn what_cannot_be_used_is_told_with_what_was_found() {
    let blank = healthy().with(
        "MUX_CABLE|Ethernet4",
        "cable_type=active-active soc_ipv4=192.168.0.5/32_",
    );
    check(
        blank,
        Level::Problem,
        "Ethernet4",
        "found \"192.168.0.5/32 \"",
        "MUX_CABLE|Ethernet4' soc_ipv4",
    );
}

#[test]
fn a_mux_change_that_failed_is_told() {
    use Level::Problem;
    let mut orchagent = healthy();
    orchagent
        .state_db
        .push(("MUX_CABLE_TABLE|Ethernet0", "state=error"));
    check(
        orchagent,
        Problem,
        "Ethernet0",
        "orchagent reports error",
        "orchagent's log",
    );
    let mut linkmgrd = healthy();
    linkmgrd.appl_db = vec![("MUX_CABLE_TABLE:Ethernet0", "state=Error")];
    check(
        linkmgrd,
        Problem,
        "Ethernet0",
        "linkmgrd reports Error",
        "linkmgrd's log",
    );
}

#[test]
fn ycabled_is_turned_off_only_where_nobody_needs_it() {
    use Level::{Note, Ok, Problem};
    let on = || healthy().with("XCVRD_LOG|Y_CABLE", "");
    check(
        on(),
        Problem,
        "ycabled",
        "nothing turns its telemetry off",
        "sudo config muxcable telemetry disable",
    );
    let almost = healthy().with("XCVRD_LOG|Y_CABLE", "disable_telemetry=true");
    check(
        almost,
        Problem,
        "ycabled",
        "only True counts",
        "sudo config muxcable telemetry disable",
    );
    let beside = on().with("MUX_CABLE|Ethernet4", "state=auto");
    check(
        beside,
        Note,
        "ycabled",
        "nothing turns its telemetry off",
        "Leave the telemetry on: this switch has 1 active-standby port",
    );
    check(
        on().config("databases: {publish: shadow}\n"),
        Ok,
        "ycabled",
        "SHADOW only",
        "",
    );
    check(
        on().config("databases: {publish: off}\n"),
        Ok,
        "ycabled",
        "no rows",
        "",
    );
}

#[test]
fn rows_that_nobody_writes_are_told() {
    use Level::{Note, Ok};
    let row = |fields| Switch {
        state_db: vec![("MUX_CABLE_INFO|Ethernet0", fields)],
        ..healthy()
    };
    check(
        row("time_post=2026-Nov-21_00:06:31.406616"),
        Ok,
        "MUX_CABLE_INFO",
        "1 row",
        "",
    );
    check(
        row("time_post=2026-Nov-20_00:06:31.406616"),
        Note,
        "MUX_CABLE_INFO",
        "not written any more",
        "runs with this configuration",
    );
    check(
        row("time_post=yesterday"),
        Note,
        "MUX_CABLE_INFO",
        "Ethernet0",
        "runs with this configuration",
    );
    let none = Switch {
        state_db: Vec::new(),
        ..healthy()
    };
    check(
        none,
        Note,
        "MUX_CABLE_INFO",
        "none has been written yet",
        "runs with this configuration",
    );
}

#[test]
fn grpcclient_is_held_against_the_files_yang_and_ycabled() {
    use Level::{Note, Ok, Problem};
    const CERTS: &str = "ca_crt=/a/ca.pem client_crt=/a/c.pem client_key=/a/k.pem grpc_ssl_credential=soc";
    let with = |config| {
        healthy()
            .with("GRPCCLIENT|config", config)
            .with("GRPCCLIENT|certs", CERTS)
    };
    check(
        with("type=secure auth_level=server"),
        Ok,
        "GRPCCLIENT",
        "auth_level server",
        "",
    );
    check(
        with("type=secure auth_level=server"),
        Ok,
        "GRPCCLIENT",
        "/a/ca.pem can be read",
        "",
    );
    let mutual = || with("type=secure auth_level=mutual");
    check(
        mutual(),
        Note,
        "GRPCCLIENT",
        "YANG's sonic-grpcclient allows only server and client",
        "leave it",
    );
    check(mutual(), Ok, "GRPCCLIENT", "client key /a/k.pem can be read", "");
    let client = with("type=secure auth_level=client");
    check(
        client,
        Note,
        "GRPCCLIENT",
        "ycabled knows only server and mutual",
        "auth_level mutual",
    );
    check(
        with("type=secure"),
        Note,
        "GRPCCLIENT",
        "ycabled makes no channel",
        "auth_level server",
    );
    check(
        with("type=secure auth_level=both"),
        Problem,
        "GRPCCLIENT",
        "auth_level \"both\"",
        "server",
    );
    check(
        with("type=tls"),
        Problem,
        "GRPCCLIENT",
        "type \"tls\": expected secure or insecure; no SoC is dialled",
        "insecure",
    );
    check(
        with("type=insecure"),
        Note,
        "GRPCCLIENT",
        "does not use them",
        "type secure",
    );

    let bare = |certs| {
        healthy()
            .with("GRPCCLIENT|config", "type=secure auth_level=server")
            .with("GRPCCLIENT|certs", certs)
    };
    check(
        bare("grpc_ssl_credential=soc"),
        Problem,
        "GRPCCLIENT",
        "no ca_crt",
        "ca_crt <absolute path",
    );
    check(
        bare("ca_crt=/a/ca.pem"),
        Note,
        "GRPCCLIENT",
        "no grpc_ssl_credential",
        "<the name",
    );
    let file = |file| Switch {
        file,
        ..with("type=secure auth_level=server")
    };
    check(
        file(FileState::NotPem("no such PEM block".to_owned())),
        Problem,
        "GRPCCLIENT",
        "no such PEM block",
        "PEM",
    );
    let denied = FileState::Unreadable("Permission denied".to_owned());
    check(file(denied), Problem, "GRPCCLIENT", "Permission denied", "user");

    let hld = || healthy().with("GRPC_CLIENT|config", "type=insecure");
    check(hld(), Note, "GRPC_CLIENT", "ycabled does not", "GRPCCLIENT");
    // Of this table neither ycabled nor YANG knows.
    let secure = hld()
        .with("GRPC_CLIENT|config", "type=secure auth_level=client")
        .with(
            "GRPC_CLIENT|certs",
            "ca_crt=/a/ca.pem client_crt=/a/c.pem client_key=/a/k.pem",
        );
    for Finding { text, .. } in secure.findings() {
        assert!(
            !text.contains("makes no channel") && !text.contains("YANG's"),
            "{text}"
        );
    }
    let certs = healthy().with("GRPCCLIENT|certs", CERTS);
    check(
        certs,
        Note,
        "GRPCCLIENT",
        "no row config: plain text",
        "type secure",
    );
}

#[test]
fn relative_paths_are_told_as_such() {
    let with = |certs| {
        healthy()
            .with("GRPCCLIENT|config", "type=secure auth_level=server")
            .with("GRPCCLIENT|certs", certs)
    };
    check(
        with("ca_crt=ca.pem grpc_ssl_credential=soc"),
        Level::Problem,
        "GRPCCLIENT",
        "ca_crt is \"ca.pem\": expected an absolute path",
        "ca_crt <absolute path",
    );
}

#[test]
fn the_file_that_the_rows_come_from_is_looked_at() {
    use Level::{Note, Ok, Problem};
    const FILE: &str = "grpc_secrets.json";
    const SECURE: &str = r#"{"GRPCCLIENT": {"config": {"type": "secure", "auth_level": "server"},
        "certs": {"ca_crt": "/a/ca.pem", "grpc_ssl_credential": "soc"}}}"#;
    let holds = |json: &str| Secrets::of(Path::new("/s.json"), std::io::Result::Ok(json.into()));
    let with = |secrets| Switch { secrets, ..healthy() };
    let rows = |secrets| with(secrets).with("GRPCCLIENT|config", "type=insecure");
    let denied = || {
        Secrets::of(
            Path::new("/s.json"),
            Err(std::io::ErrorKind::PermissionDenied.into()),
        )
    };

    check(
        healthy(),
        Ok,
        "GRPCCLIENT",
        "none, and no /etc/sonic/grpc_secrets.json: plain text",
        "",
    );
    check(with(holds(SECURE)), Ok, FILE, "is used: GRPCCLIENT", "");
    check(with(holds(SECURE)), Ok, FILE, "auth_level server", "");
    check(with(holds(SECURE)), Ok, FILE, "/a/ca.pem can be read", "");
    let bad = SECURE.replace("/a/ca.pem", "ca.pem");
    check(
        with(holds(&bad)),
        Problem,
        FILE,
        "expected an absolute path",
        "in /etc/sonic/grpc_secrets.json",
    );
    check(
        with(denied()),
        Problem,
        FILE,
        "permission denied. GRPCCLIENT has no usable row",
        "exporter's user",
    );
    check(with(holds("{")), Problem, FILE, "expected JSON", "repair it");
    check(
        rows(denied()),
        Note,
        FILE,
        "Not used while CONFIG_DB has rows",
        "exporter's user",
    );
    check(
        rows(holds(SECURE)),
        Note,
        FILE,
        "differs from CONFIG_DB's",
        "the same",
    );
    let mode = |mode| Switch {
        mode: Some(mode),
        ..with(holds(SECURE))
    };
    check(
        mode(0o666),
        Note,
        FILE,
        "written by others than its owner (mode 666)",
        "chmod go-w",
    );
    check(
        mode(0o600),
        Note,
        FILE,
        "read by its owner only (mode 600)",
        "chmod g+r",
    );
    let told = mode(0o640).findings();
    assert!(
        told.iter().all(|finding| !finding.text.contains("(mode")),
        "{told:?}"
    );
    let insecure = r#"{"GRPCCLIENT": {"config": {"type": "insecure"}}}"#;
    check(
        rows(holds(insecure)),
        Ok,
        FILE,
        "can be read: it is used if GRPCCLIENT has no usable row",
        "",
    );
}

#[test]
fn a_set_of_tls_files_is_judged_as_a_whole() {
    use Level::{Note, Ok, Problem};
    let now: std::time::SystemTime = chrono::DateTime::<chrono::Utc>::from_timestamp(1_795_219_620, 0)
        .expect("a time")
        .into();
    let days = |n: u64| Duration::from_secs(n * 24 * 3600);
    let with = |tls| Switch {
        tls,
        ..healthy()
            .with("GRPCCLIENT|config", "type=secure auth_level=server")
            .with("GRPCCLIENT|certs", "ca_crt=/a/ca.pem grpc_ssl_credential=soc")
    };
    let until = |ca| {
        with(Result::Ok(Checked {
            status: TlsStatus {
                ca: Some(ca),
                client: Some(now + days(400)),
            },
            expired: vec!["CA: \"CN=old\" has expired: then".to_owned()],
            notes: Vec::new(),
        }))
    };
    check(
        until(now + days(31)),
        Ok,
        "TLS files",
        "the CA is valid until 2026-12-22",
        "",
    );
    check(
        until(now + days(29)),
        Note,
        "TLS files",
        "the CA expires soon (2026-12-20",
        "a new one",
    );
    check(
        until(now - days(1)),
        Problem,
        "TLS files",
        "the CA has expired (2026-11-20 00:07 UTC); CA: \"CN=old\" has expired: then",
        "a new one",
    );
    let odd = Checked {
        notes: vec!["ca.pem: the X509 CRL in line 7 is not a certificate and is ignored".to_owned()],
        ..Checked::default()
    };
    check(
        with(Result::Ok(odd)),
        Note,
        "TLS files",
        "the X509 CRL in line 7",
        "",
    );
    let why = || Err("/a/k.pem: is not the certificate's".to_owned());
    check(
        with(why()),
        Problem,
        "TLS files",
        "cannot be used together",
        "its own key",
    );
    // What is wrong with one file alone is said once.
    let unreadable = Switch {
        file: FileState::NotPem("no such PEM block".to_owned()),
        ..with(why())
    };
    check(unreadable, Problem, "GRPCCLIENT", "no such PEM block", "PEM");
}

#[test]
fn each_cause_of_a_failed_dial_has_a_remedy() {
    for (cause, remedy) in [
        (Cause::Refused, "gRPC server"),
        (Cause::Unreachable, "route"),
        (Cause::ConnectTimeout, "firewall"),
        (Cause::SourceAddress, "source_address"),
        (Cause::TlsConfig, "certificate files"),
        (Cause::TlsExpired, "renew"),
        (Cause::TlsUnknownCa, "ca_crt"),
        (Cause::TlsWrongName, "grpc_ssl_credential"),
        (Cause::TlsClientRefused, "client_crt"),
        (Cause::Tls, "plain text"),
        (Cause::Closed, "TLS"),
        (Cause::Reset, "TLS"),
        (Cause::KeepaliveTimeout, "hangs"),
        (Cause::Goaway, "stopping"),
        (Cause::Protocol, "port"),
        (Cause::Local, "ulimit"),
    ] {
        let failure = Some(cause);
        let words = format!("192.168.0.3:50075: never READY: {cause}: details (from 10.212.64.1)");
        check(
            Switch { failure, ..healthy() },
            Level::Problem,
            "Ethernet0",
            &words,
            remedy,
        );
    }
    let elsewhere = Switch {
        failure: Some(Cause::SourceAddress),
        route: Err("the same again".to_owned()),
        ..healthy()
    };
    check(
        elsewhere,
        Level::Problem,
        "Ethernet0",
        "source_address: details",
        "on this host",
    );
    let nowhere = Switch {
        failure: Some(Cause::Unreachable),
        route: Err("no route from here: why".to_owned()),
        ..healthy()
    };
    check(
        nowhere,
        Level::Problem,
        "Ethernet0",
        "details; no route from here: why",
        "show ip route",
    );
}

#[test]
fn each_odd_answer_is_told() {
    use Level::{Note, Ok, Problem};
    check(
        healthy(),
        Ok,
        "Ethernet0",
        "self active, peer standby, version 1.4.2, health serving",
        "",
    );
    let slow = healthy().query(Query::Link, QueryResult::DeadlineExceeded);
    check(
        slow,
        Problem,
        "Ethernet0",
        "query link ended with DEADLINE_EXCEEDED",
        "--timeout",
    );
    let mut web_server = healthy().query(Query::Link, QueryResult::Unimplemented);
    let page = "not a gRPC server: HTTP 404 with content-type text/html";
    web_server.report.queries[Query::Link.index()].error = Some(page.into());
    check(
        web_server,
        Problem,
        "Ethernet0",
        page,
        "this is not the SoC's gRPC server",
    );
    let old = healthy().query(Query::Link, QueryResult::Unimplemented);
    check(old, Problem, "Ethernet0", "UNIMPLEMENTED", "update it");
    let empty = healthy().query(Query::Operation, QueryResult::EmptyReply);
    check(empty, Note, "Ethernet0", "empty replies to operation", "");
    let mut no_health = healthy().query(Query::Health, QueryResult::Unimplemented);
    no_health.report.health = Health::Unimplemented;
    check(no_health, Ok, "Ethernet0", "health unimplemented", "");
    let mut down = healthy();
    down.report.health = Health::NotServing;
    check(down, Problem, "Ethernet0", "health is not_serving", "its log");
    let wanted = Switch {
        appl_db: vec![("MUX_CABLE_TABLE:Ethernet0", "state=standby")],
        ..healthy()
    };
    check(
        wanted,
        Problem,
        "Ethernet0",
        "wants this side standby, but the SoC reports active",
        "show mux",
    );
    let port = Switch {
        appl_db: vec![("PORT_TABLE:Ethernet0", "oper_status=down")],
        ..healthy()
    };
    check(
        port,
        Note,
        "Ethernet0",
        "port is down",
        "show interfaces status Ethernet0",
    );
}

/// The problems of a switch whose SoC has answered each query so.
fn problems(answers: [(QueryResult, &str); Query::COUNT]) -> Vec<(String, String)> {
    let mut switch = healthy();
    for (query, (result, error)) in switch.report.queries.iter_mut().zip(answers) {
        (query.result, query.error) = (result, Some(error.into()));
    }
    let findings = switch.findings().into_iter();
    let problems = findings.filter(|finding| finding.level == Level::Problem);
    let told = |finding: Finding| (finding.text, finding.remedy.unwrap_or_default());
    problems.map(told).collect()
}

#[test]
fn what_has_ended_several_queries_is_told_once() {
    let lost = (QueryResult::Unavailable, "connection reset");
    let told = problems([lost; Query::COUNT]);
    let [(text, remedy)] = &told[..] else {
        panic!("{told:?}");
    };
    let expected = "READY, but all queries ended with UNAVAILABLE: connection reset";
    assert!(text.ends_with(expected), "{text}");
    assert!(remedy.contains("connection was lost"), "{remedy}");

    // They differ by a number only, and one by its kind.
    let long = "over the exporter's limit for a reply: 102412 bytes, the limit is 65536";
    let longer = "over the exporter's limit for a reply: 102413 bytes, the limit is 65536";
    let exhausted = QueryResult::ResourceExhausted;
    let slow = (QueryResult::DeadlineExceeded, "no answer within 500ms");
    let told = problems([
        (exhausted, long),
        (exhausted, longer),
        slow,
        (exhausted, long),
        slow,
    ]);
    let [(first, _), (second, _)] = &told[..] else {
        panic!("{told:?}");
    };
    let names = Query::ALL.iter().map(|query| query.label());
    let [a, b, c, d, e] = names.collect::<Vec<_>>()[..] else {
        panic!("five queries");
    };
    let (ours, slows) = (
        format!("the queries {a}, {b} and {d} ended"),
        format!("the queries {c} and {e} ended"),
    );
    assert!(first.contains(&ours) && second.contains(&slows), "{told:?}");
}

#[test]
fn what_the_exporter_itself_has_ended_is_told_as_such() {
    let remedy = |result, error: &str| {
        let told = problems([(result, error); Query::COUNT]);
        assert_eq!(told.len(), 1, "{told:?}");
        told.into_iter()
            .next()
            .map(|(_, remedy)| remedy)
            .unwrap_or_default()
    };
    for limit in Limit::ALL {
        let error = format!("{limit}: 9 of them, the limit is 8");
        for result in [
            QueryResult::Unavailable,
            QueryResult::Internal,
            QueryResult::ResourceExhausted,
        ] {
            let remedy = remedy(result, &error);
            assert!(remedy.starts_with("the exporter ended this"), "{limit}: {remedy}");
        }
    }
    // The SoC's own word.
    let its_own = remedy(QueryResult::ResourceExhausted, "too busy");
    assert!(its_own.contains("the SoC reports"), "{its_own}");
}

#[test]
fn several_ports_with_a_bad_row_are_more_than_one() {
    let mut switch = healthy();
    for port in ["MUX_CABLE|Ethernet4", "MUX_CABLE|Ethernet8"] {
        switch.config_db.push((port, "cable_type=active-active"));
    }
    let text = crate::cli::doctor::render::text(&switch.findings());
    let expected = "✗ 2 ports: their rows in MUX_CABLE cannot be used (no_address)";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn nothing_that_was_read_steers_a_terminal() {
    let switch = healthy().with("DEVICE_METADATA|localhost", "type=\u{1b}[2J");
    for Finding { text, .. } in switch.findings() {
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}

#[test]
fn a_remedys_redis_cli_reaches_the_address_that_answers_and_asks_for_the_password() {
    let socket = RedisAddress::Unix("/r.sock".into());
    let tcp = RedisAddress::Tcp("h".to_owned(), 6379);
    let login = |user: Option<&str>| RedisLogin {
        username: user.map(str::to_owned),
        password: "hunter2".to_owned(),
    };
    assert_eq!(cli(&socket, None, 4), "redis-cli -s /r.sock -n 4");
    assert_eq!(
        cli(&tcp, Some(&login(None)), 4),
        "redis-cli -h h -p 6379 --askpass -n 4"
    );
    let named = cli(&socket, Some(&login(Some("dualtor"))), 4);
    assert_eq!(named, "redis-cli -s /r.sock --user dualtor --askpass -n 4");

    // The socket is missing, and the other address was used.
    let mut switch = healthy();
    switch.at = Some(tcp);
    switch.events = Events::Told("".to_owned());
    check(
        switch,
        Level::Note,
        "keyspace notifications",
        "off",
        "redis-cli -h h -p 6379 -n 4 CONFIG SET",
    );
}
