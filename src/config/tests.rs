//! What a configuration means, and the error for each mistake.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::model::{ClientIdentity, KeepaliveRule, Security, TlsSettings};

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("dualtor.yml"))
}

const ONE: &str = "targets: [{port: Ethernet0, address: 127.9.0.1}]\n";

#[test]
fn what_is_not_said_has_the_contracts_default() {
    let config = parse(ONE).expect("valid");
    assert_eq!(config.probe.interval, Duration::from_secs(60));
    assert_eq!(config.probe.timeout, Duration::from_millis(500));
    assert_eq!(config.side, Side::Unknown);
    let target = &config.targets.as_ref().expect("targets")[0];
    assert_eq!(target.address.to_string(), "127.9.0.1:50075");
    assert_eq!(
        target.channel.keepalive,
        KeepaliveRule::Every(Duration::from_secs(4))
    );
    assert_eq!(target.channel.keepalive_timeout, Duration::from_secs(8));
    let backoff = target.channel.backoff;
    assert_eq!(
        (backoff.initial, backoff.max),
        (Duration::from_secs(1), Duration::from_secs(10))
    );
    assert_eq!((backoff.multiplier, backoff.jitter), (1.6, 0.2));
    let (_, state_db) = config.state_dbs().next().expect("own");
    assert_eq!((state_db.publish, state_db.schema), (Publish::Own, Schema::Sonic));
    assert_eq!(
        state_db.database.server.to_string(),
        "redis+unix:///var/run/redis/redis.sock"
    );
}

#[test]
fn the_contracts_own_example_is_understood() {
    let config = parse(
        r#"
probe:   {interval: 60s, timeout: 500ms}
channel:
  tcp_port: 50075
  keepalive_time: 4s
  keepalive_timeout: 8s
  backoff: {initial: 1s, multiplier: 1.6, jitter: 0.2, max: 10s}
  source_address: auto
  metadata: {grpc_server: "${soc_ip}"}
  tls: {ca: ca.crt, cert: c.crt, key: c.key, server_name: soc.example}
side: auto
targets:
  - {port: Ethernet0, address: 127.9.0.1}
  - {port: Ethernet4, address: "127.9.0.2:50076"}
databases:
  url: "redis+unix:///var/run/redis/redis.sock"
  config: /var/run/redis/sonic-db/database_config.json
  publish: own
  schema: sonic
  publish_notifications: false
"#,
    )
    .expect("valid");
    let targets = config.targets.expect("targets");
    assert_eq!(targets[1].address.to_string(), "127.9.0.2:50076");
    assert_eq!(
        targets[0].channel.metadata,
        [("grpc_server".to_owned(), "${soc_ip}".to_owned())]
    );
}

#[test]
fn tls_files_are_relative_to_the_configuration_file() {
    let tls = |text: &str| {
        let text = format!("{ONE}channel: {{tls: {{{text}}}}}");
        let config = Config::parse(&text, Path::new("/etc/dualtor/config.yml")).expect("valid");
        config.channel.security.clone()
    };
    let expected = |client: Option<[&str; 2]>, server_name: Option<&str>| {
        Security::Tls(TlsSettings {
            ca: "/etc/dualtor/ca.crt".into(),
            client: client.map(|[cert, key]| ClientIdentity {
                cert: cert.into(),
                key: key.into(),
            }),
            server_name: server_name.map(str::to_owned),
        })
    };
    assert_eq!(tls("ca: ca.crt"), expected(None, None));
    assert_eq!(
        tls("ca: ca.crt, cert: tls/c.crt, key: /run/c.key"),
        expected(Some(["/etc/dualtor/tls/c.crt", "/run/c.key"]), None)
    );
    for name in ["soc.example", "10.0.0.1", "fc02::1"] {
        let yaml = format!("ca: /etc/dualtor/ca.crt, server_name: '{name}'");
        assert_eq!(tls(&yaml), expected(None, Some(name)));
    }
    assert_eq!(parse(ONE).expect("valid").channel.security, Security::Plain);
}

#[test]
fn publishing_can_be_off_or_in_the_shadow() {
    let publish = |mode: &str| {
        let text = format!("{ONE}databases: {{publish: {mode}}}");
        let config = parse(&text).expect("valid");
        config.state_dbs().next().map(|(_, db)| db.publish)
    };
    assert_eq!(publish("off"), None);
    assert_eq!(publish("own"), Some(Publish::Own));
    assert_eq!(publish("shadow"), Some(Publish::Shadow));
}

#[test]
fn without_a_list_of_targets_config_db_tells_and_a_database_is_used_where_something_is_asked_of_it() {
    let uses = |text: &str| {
        let config = parse(text).expect(text);
        (
            config.targets.is_some(),
            config.namespaces.len(),
            config.state_dbs().count(),
        )
    };
    for nothing in ["{}", "probe: {interval: 5s}"] {
        assert_eq!(uses(nothing), (false, 1, 1), "{nothing}");
    }
    assert_eq!(uses("databases: {publish: off}"), (false, 1, 0));
    assert_eq!(uses(ONE), (true, 1, 1));
    let alone = format!("{ONE}databases: {{publish: off}}\n");
    assert_eq!(uses(&alone), (true, 1, 0), "Loopback3 tells the side");
    let alone = format!("{alone}side: upper\n");
    assert_eq!(uses(&alone), (true, 0, 0));
    let bound = format!("{alone}channel: {{source_address: loopback3}}");
    assert_eq!(uses(&bound), (true, 1, 0));
}

#[test]
fn notices_go_to_appl_db_of_the_same_server_and_only_if_asked_for() {
    let notifications = |keys: &str| {
        let text = format!("{ONE}databases: {{url: 'redis://h:1', {keys}}}");
        let config = parse(&text).expect("valid");
        config.appl_dbs().next().map(|(_, appl_db)| appl_db.clone())
    };
    assert_eq!(notifications(""), None);
    assert_eq!(notifications("publish_notifications: false"), None);
    let appl_db = notifications("publish_notifications: true").expect("asked for");
    assert_eq!(appl_db.server.to_string(), "redis://h:1");
    assert_eq!((appl_db.id, &*appl_db.separator), (0, ":"));
}

#[test]
fn a_port_name_is_taken_as_it_is_written() {
    let written = [
        "1.10",
        "1.0",
        "010",
        "0x10",
        "0b11",
        "0o17",
        "1e3",
        "-1",
        "1_000",
        ".5",
        ".inf",
        ".nan",
        "true",
        "Yes",
        "off",
        "null",
        "Null",
        "2026-11-27",
        "12/30",
        "1.2.3",
    ];
    for name in written {
        for yaml in [name.to_owned(), format!("'{name}'"), format!("\"{name}\"")] {
            let config = parse(&format!("targets: [{{port: {yaml}, address: 127.9.0.1}}]")).expect(name);
            assert_eq!(
                config.targets.expect("targets")[0].id.port.as_str(),
                name,
                "{yaml}"
            );
        }
    }
    let config = parse("targets:\n- port: null\n  address: 127.9.0.1\n").expect("a name");
    assert_eq!(config.targets.expect("targets")[0].id.port.as_str(), "null");
    // Two notations of a number are two names.
    parse("targets: [{port: 1.1, address: 127.9.0.1}, {port: 1.10, address: 127.9.0.2}]").expect("two names");
}

/// A file with this many targets, with the longest possible names and addresses.
fn many(targets: usize) -> String {
    let mut text = String::from("targets:\n");
    for n in 0..targets {
        let (a, b) = (n >> 16, n & 0xffff);
        let address = format!("[fc00:1111:2222:3333:4444:5555:{a:04x}:{b:04x}]:50075");
        writeln!(text, "  - {{port: \"{n:0>64}\", address: \"{address}\"}}").expect("a string");
    }
    text
}

#[test]
fn two_hundred_thousand_targets_are_read_and_more_are_refused_in_words() {
    let most = many(yaml::MAX_TARGETS);
    assert!(
        most.len() < yaml::MAX_MIB as usize * 1024 * 1024,
        "{}",
        most.len()
    );
    let config = parse(&most).expect("as many as there may be");
    assert_eq!(config.targets.expect("targets").len(), yaml::MAX_TARGETS);
    let error = parse(&many(yaml::MAX_TARGETS * 11 / 10))
        .expect_err("too many")
        .to_string();
    assert!(error.starts_with("dualtor.yml"), "{error}");
    assert!(
        error.contains("expected at most 200000") && error.contains("several exporters"),
        "{error}"
    );
}

/// The CPU time that this thread has used so far, however busy the machine is: the first number of Linux' schedstat, in
/// nanoseconds.
fn cpu_of_this_thread() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = stat.split(' ').next().expect("a number");
    Duration::from_nanos(nanoseconds.parse().expect("a number"))
}

#[test]
fn a_small_file_that_would_be_a_huge_one_is_refused_in_words() {
    let mut bomb = String::from("channel:\n  metadata:\n    a: &a [x, x, x, x, x, x, x, x, x, x]\n");
    for (name, of) in ["b", "c", "d", "e", "f", "g", "h"]
        .iter()
        .zip(["a", "b", "c", "d", "e", "f", "g"])
    {
        writeln!(
            bomb,
            "    {name}: &{name} [{}]",
            vec![format!("*{of}"); 10].join(", ")
        )
        .expect("a string");
    }
    let target = "targets:\n- &t {port: Ethernet0, address: 127.9.0.1}\n";
    let copies = format!("{target}{}", "- *t\n".repeat(60_000));
    let deep = format!("targets: {}{}", "[".repeat(2_000), "]".repeat(2_000));
    for (text, words) in [
        (&bomb, "dualtor.yml"),
        (&copies, "aliases"),
        (&deep, "dualtor.yml"),
    ] {
        let before = cpu_of_this_thread();
        let error = parse(text).expect_err("too much").to_string();
        let cpu = cpu_of_this_thread() - before;
        assert!(error.contains(words) && error.len() < 300, "{error}");
        assert!(!error.contains("budget") && !error.contains("breach"), "{error}");
        assert!(cpu < Duration::from_secs(10), "{cpu:?}");
    }
}

#[test]
fn a_target_may_have_a_rack_and_a_side_of_its_own() {
    let yaml = "side: upper\ndatabases: {publish: off}\ntargets: [{port: Ethernet0, address: 127.9.0.1, rack: 017, side: lower}, \
                {port: Ethernet0, address: 127.9.0.2}]\n";
    let config = parse(yaml).expect("valid");
    let targets = config.targets.expect("targets");
    assert_eq!(targets[0].id.to_string(), "017|Ethernet0");
    assert_eq!((targets[0].side, targets[1].side), (Side::Lower, Side::Upper));
    assert!(config.namespaces.is_empty() && config.shard.is_none());
}

#[test]
fn the_documented_sources_are_understood_and_no_secret_is_shown() {
    let yaml = r#"
databases: {publish: off}
shard: {index: 2, count: 4}
inventory:
  - file_sd: {files: [targets/*.yml, /etc/more.json], refresh: 30s}
  - http_sd: {url: 'https://cmdb/targets?token=hunter2', basic_auth: {username: u, password: hunter2}, tls: {ca: ca.crt}}
  - http_sd: {url: 'https://cmdb/targets?dc=2', authorization: {credentials_file: token}, tls: {ca: ca.crt}}
  - config_db: {url: 'redis://u:hunter2@tor-1:6379', rack: r17, side: upper}
"#;
    let config = Config::parse(yaml, Path::new("/etc/dualtor/config.yml")).expect("valid");
    let names: Vec<&str> = config.inventory.iter().map(|source| &*source.name).collect();
    assert_eq!(
        names,
        [
            "file_sd:targets/*.yml and 1 more",
            "http_sd:https://cmdb/targets",
            "http_sd:https://cmdb/targets#2",
            "config_db:redis://tor-1:6379",
        ]
    );
    let SourceOrigin::Files(files) = &config.inventory[0].origin else {
        panic!("files")
    };
    let paths: Vec<_> = files.files.iter().map(|file| &*file.path).collect();
    let expected = ["/etc/dualtor/targets/*.yml", "/etc/more.json"].map(Path::new);
    assert_eq!(paths, expected);
    let SourceOrigin::Http(server) = &config.inventory[2].origin else {
        panic!("a server")
    };
    let token = Secret::File("/etc/dualtor/token".into());
    assert_eq!(server.login, Some(HttpLogin::Scheme("Bearer".to_owned(), token)));
    let SourceOrigin::ConfigDb(remote) = &config.inventory[3].origin else {
        panic!("a database")
    };
    assert_eq!(
        (remote.rack.as_str(), remote.side, remote.database.id),
        ("r17", Side::Upper, 4)
    );
    let shown = format!("{:?}", config.inventory).replace("?token=hunter2", "");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(config.namespaces.is_empty(), "no database of this host is used");
    assert_eq!(config.shard, Some(Shard { index: 2, count: 4 }));
}

#[test]
fn each_mistake_is_told_with_its_place_and_what_was_expected() {
    let mistakes = [
        "",
        "# nothing\n",
        "tragets: []",
        "foo",
        "targets: [",
        "targets: {}",
        "targets: [{port: Ethernet0}]",
        "targets: [{port: Ethernet0, address: soc0}]",
        "targets: [{port: Ethernet0, address: 127.9.0.1/32}]",
        "targets: [{port: Ethernet0, address: '127.9.0.1:0'}]",
        "targets: [{port: 'Ethernet 0', address: 127.9.0.1}]",
        "targets: [{port: Ethernet0, address: 127.9.0.1}, {port: Ethernet0, address: 127.9.0.2}]",
        "targets: [{port: , address: 127.9.0.1}]",
        "targets: [{port: ~, address: 127.9.0.1}]",
        "targets: [{port: [Ethernet0], address: 127.9.0.1}]",
        "targets: [{port: {name: Ethernet0}, address: 127.9.0.1}]",
        "targets: [{port: {}, address: 127.9.0.1}]",
        "targets: []\ntargets: []",
        "targets: []\nprobe: {interval: 0s}",
        "targets: []\nprobe: {interval: sixty}",
        "targets: []\nprobe: {interval: [60s]}",
        "targets: []\nprobe: {interval: 60}",
        "targets: []\nprobe: {interval: 1s, timeout: 1s}",
        "targets: []\nprobe: {intervall: 1s}",
        "targets: []\nchannel: {tcp_port: 0}",
        "targets: []\nchannel: {tcp_port: 65536}",
        "targets: []\nchannel: {tcp_port: https}",
        "targets: []\nchannel: {backoff: {jitter: 1.1}}",
        "targets: []\nchannel: {backoff: {jitter: .nan}}",
        "targets: []\nchannel: {backoff: {multiplier: 0.9}}",
        "targets: []\nchannel: {backoff: {max: 2y}}",
        "targets: []\nchannel: {source_address: eth0}",
        "targets: [{port: Ethernet0, address: 'fc02::1'}]\nchannel: {source_address: 10.0.0.1}",
        "targets: []\nchannel: {tls: yes}",
        "targets: []\nchannel: {tls: {}}",
        "targets: []\nchannel: {tls: {ca: ''}}",
        "targets: []\nchannel: {tls: {ca: [ca.crt]}}",
        "targets: []\nchannel: {tls: {ca: ca.crt, cert: c.crt}}",
        "targets: []\nchannel: {tls: {ca: ca.crt, key: c.key}}",
        "targets: []\nchannel: {tls: {ca: ca.crt, key: c.key, cert: ''}}",
        "targets: []\nchannel: {tls: {ca: ca.crt, server_name: 'soc one'}}",
        "targets: []\nchannel: {tls: {ca: ca.crt, server_name: ''}}",
        "targets: []\nchannel: {tls: {ca: ca.crt, insecure: true}}",
        "targets: []\nchannel: {metadata: {grpc-timeout: 1S}}",
        "targets: []\nchannel: {metadata: {server: }}",
        "targets: []\nchannel: {metadata: {Server: x}}",
        "targets: []\nchannel: {metadata: {server: '${host}'}}",
        "targets: []\nside: left",
        "targets: []\nshard: {index: 0, count: null}",
        "targets: []\n---\ntargets: []",
        "targets: []\ndatabases: {'redis://u:hunter2@h': }",
        "targets: []\ndatabases: {url: 'http://127.0.0.1'}",
        "targets: []\ndatabases: {grpc_secrets: ''}",
        "targets: []\ndatabases: {grpc_secrets: [a]}",
        "targets: []\ndatabases: {publish: yes}",
        "targets: []\ndatabases: {schema: v2}",
        "targets: []\ndatabases: {publish_notifications: 1}",
        "targets: []\ndatabases: {publish: off, publish_notifications: true}",
        "targets: []\ndatabases: {publish: shadow, publish_notifications: true}",
        "targets: [{port: Ethernet0, address: 127.9.0.1, rack: 'r 1'}]",
        "targets: [{port: Ethernet0, address: 127.9.0.1, rack: r1}]",
        "targets: [{port: Ethernet0, address: 127.9.0.1, side: left}]",
        "targets: [{port: E, address: 127.9.0.1, rack: r}, {port: E, address: 127.9.0.2, rack: r}]\ndatabases: {publish: off}",
        "shard: {count: 0}",
        "shard: {count: 1001}",
        "shard: {count: many}",
        "shard: {index: -1}",
        "shard: {index: 2, count: 2}",
        "shard: {index: 0, number: 2}",
        "shard: {index: 0, count: 2}\ndatabases: {publish: shadow}",
        "inventory: []",
        "inventory: {}",
        "inventory: [{}]",
        "inventory: [{file_sd: {files: [a.yml]}, http_sd: {url: 'http://h/'}}]",
        "inventory: [{consul_sd: {}}]",
        "inventory: [{file_sd: {files: []}}]",
        "inventory: [{file_sd: {files: [a.txt]}}]",
        "inventory: [{file_sd: {files: ['*/a.yml']}}]",
        "inventory: [{file_sd: {files: ['a[0-9.yml']}}]",
        "inventory: [{file_sd: {files: [a.yml], refresh: 100ms}}]",
        "inventory: [{http_sd: {}}]",
        "inventory: [{http_sd: {url: 'ftp://h/'}}]",
        "inventory: [{http_sd: {url: 'http://u:hunter2@h/'}}]",
        "inventory: [{http_sd: {url: 'https://h/'}}]",
        "inventory: [{http_sd: {url: 'http://h/', tls: {ca: ca.crt}}}]",
        "inventory: [{http_sd: {url: 'https://h/', tls: {ca: ca.crt, cert: c.crt}}}]",
        "inventory: [{http_sd: {url: 'http://h/', basic_auth: {username: u}}}]",
        "inventory: [{http_sd: {url: 'http://h/', basic_auth: {username: u, password: hunter2, password_file: f}}}]",
        "inventory: [{http_sd: {url: 'http://h/', basic_auth: {username: u, password: p}, authorization: {credentials: hunter2}}}]",
        "inventory: [{http_sd: {url: 'http://h/', authorization: {}}}]",
        "inventory: [{config_db: {url: 'redis://h:1'}}]",
        "inventory: [{config_db: {url: 'redis://h:1', rack: ''}}]",
        "inventory: [{config_db: {url: 'redis://u:hunter2@h:x', rack: r1}}]",
        "inventory: [{config_db: {url: 'redis://h:1', rack: r1, side: both}}]",
        "inventory: [{file_sd: {files: [a.yml]}}]",
        "inventory: [{file_sd: {files: [a.yml]}}]\ntargets: []\ndatabases: {publish: off}",
        "inventory: [{file_sd: {files: [a.yml]}}]\ndatabases: {publish: off}\nchannel: {source_address: loopback3}",
    ];
    let mut told = String::new();
    for text in mistakes {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.starts_with("dualtor.yml"), "{error}");
        writeln!(told, "{text}\n    {error}\n").expect("a string");
    }
    insta::assert_snapshot!(told);
}
