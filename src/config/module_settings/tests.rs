//! What `modules` means, and the error for each mistake.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, ConfigError};
use crate::model::{
    Endpoint, Health, InfoDialect, KeepaliveRule, MetadataValue, ModuleKind, ModuleSpec, Security,
    SourceAddress,
};
#[cfg(feature = "unary")]
use crate::model::{ProbeResult, ReplyTest, UnarySchema};

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/x/dualtor.yml"))
}

/// The only module of a text.
fn module(text: &str) -> Arc<ModuleSpec> {
    let config = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    config.modules.first().expect("a module").clone()
}

#[test]
fn what_a_module_does_not_say_has_the_contracts_default() {
    assert!(parse("{}").expect("valid").modules.is_empty());
    let spec = module("modules: {db: {grpc_health: {}}}\nprobe: {interval: 30s}");
    assert_eq!((&*spec.name, spec.targets.len()), ("db", 0));
    assert_eq!(spec.probe.interval, Duration::from_secs(30));
    assert_eq!(spec.probe.timeout, Duration::from_secs(2));
    let ModuleKind::GrpcHealth(check) = &spec.kind else {
        panic!("{:?}", spec.kind);
    };
    assert_eq!(check.services, [Arc::from("")]);
    assert_eq!((&check.healthy[..], check.watch), (&[Health::Serving][..], true));
    assert_eq!(spec.channel.keepalive, KeepaliveRule::Rounds);
    assert_eq!(spec.channel.keepalive_timeout, Duration::from_secs(8));
    assert_eq!(spec.channel.backoff.max, Duration::from_secs(10));
    assert_eq!(spec.channel.source_address, SourceAddress::Any);
    assert_eq!(spec.channel.security, Security::Plain);
    let ModuleKind::ServiceInfo(check) = &module("modules: {db: {service_info: {}}}").kind else {
        panic!("another kind");
    };
    assert_eq!((check.dialect, check.clients.len()), (InfoDialect::Auto, 0));
    let spec = module("modules: {db: {gribi: {}}}");
    assert_eq!(spec.probe.timeout, Duration::from_secs(10));
    let ModuleKind::Gribi(check) = &spec.kind else {
        panic!("another kind");
    };
    assert_eq!(check.instances, None);
}

#[test]
fn the_contracts_own_example_of_modules_is_understood() {
    let spec = module(
        r#"
modules:
  db-health:
    grpc_health: {services: ["", db]}
    interval: 15s
    timeout: 2s
    channel:
      keepalive: rounds
      keepalive_timeout: 8s
      backoff: {initial: 1s, multiplier: 1.6, jitter: 0.2, max: 10s}
      source_address: none
      metadata: {authorization: {file: token.txt}, x-team: "rack ${target} ${address}"}
      tls: {ca: ca.crt, cert: c.crt, key: c.key, server_name: db.example}
    targets:
      - {address: "10.1.0.5:5000"}
      - {name: db2, address: "db2.example:5000", labels: {site: a, floor: 2}}
"#,
    );
    assert_eq!(spec.probe.interval, Duration::from_secs(15));
    let Security::Tls(tls) = &spec.channel.security else {
        panic!("{:?}", spec.channel.security);
    };
    assert_eq!(tls.ca, Path::new("/etc/x/ca.crt"));
    let [one, two] = &spec.targets[..] else {
        panic!("{:?}", spec.targets);
    };
    assert_eq!((&*one.name, &*one.address), ("10.1.0.5:5000", "10.1.0.5:5000"));
    assert_eq!(one.endpoint, Endpoint::Ip(([10, 1, 0, 5], 5000).into()));
    assert_eq!(two.endpoint, Endpoint::Name("db2.example".into(), 5000));
    assert_eq!(
        two.labels,
        [("floor".into(), "2".into()), ("site".into(), "a".into())]
    );
    let job = crate::model::ModuleJob {
        spec: spec.clone(),
        target: two.clone(),
    };
    let metadata = job.peer().metadata;
    assert_eq!(metadata[0].1, MetadataValue::File("/etc/x/token.txt".into()));
    assert_eq!(
        metadata[1].1,
        MetadataValue::Text("rack db2 db2.example:5000".into())
    );
    assert!(!format!("{spec:?}").contains("rack "), "a value may be a secret");
}

#[test]
fn a_host_is_an_address_or_a_name_and_has_a_port() {
    let check = |address: &str, expected: Option<Endpoint>| {
        let text = format!("modules: {{m: {{gribi: {{}}, targets: [{{address: \"{address}\"}}]}}}}");
        let found = parse(&text)
            .ok()
            .map(|config| config.modules[0].targets[0].endpoint.clone());
        assert_eq!(found, expected, "{address}");
    };
    check(
        "[fc02::1]:7",
        Some(Endpoint::Ip("[fc02::1]:7".parse().expect("an address"))),
    );
    check("localhost:65535", Some(Endpoint::Name("localhost".into(), 65535)));
    for bad in [
        "",
        "10.0.0.1",
        "10.0.0.1:0",
        "10.0.0.300:5",
        "1234:5",
        "fc02::1",
        "a_b c:1",
        "db.example",
        "db.example:",
        "db.example:70000",
        ":5000",
        "http://db.example:80",
        "0.0.0.0:1",
        "224.0.0.1:1",
        "[::]:1",
    ] {
        check(bad, None);
    }
}

/// What a reload may change without a redial.
#[test]
fn what_is_judged_after_a_round_changes_without_a_redial_and_the_channel_does_not() {
    let job = |text: &str| {
        let spec = module(&format!("modules: {{m: {{{text}}}}}"));
        let target = spec.targets[0].clone();
        crate::model::ModuleJob { spec, target }
    };
    let base = "grpc_health: {services: [a]}, targets: [{name: t, address: \"h:1\"}]";
    for same in [
        "grpc_health: {services: [a]}, interval: 5s, timeout: 1s, targets: [{name: t, address: \"h:1\", labels: {a: b}}]",
        "grpc_health: {services: [a], healthy: [not_serving]}, targets: [{name: t, address: \"h:1\"}]",
    ] {
        assert!(job(base).is_alike(&job(same)), "{same}");
    }
    for other in [
        "grpc_health: {services: [a]}, targets: [{name: t, address: \"h:2\"}]",
        "grpc_health: {services: [b]}, targets: [{name: t, address: \"h:1\"}]",
        "gribi: {}, targets: [{name: t, address: \"h:1\"}]",
        "grpc_health: {services: [a]}, channel: {metadata: {a: b}}, targets: [{name: t, address: \"h:1\"}]",
        "grpc_health: {services: [a]}, channel: {keepalive: 4s}, targets: [{name: t, address: \"h:1\"}]",
    ] {
        assert!(!job(base).is_alike(&job(other)), "{other}");
    }
}

#[test]
fn each_mistake_in_modules_is_told_with_its_place_and_what_was_expected() {
    let many = |count: usize, of: &str| vec![of; count].join(", ");
    let check = |text: &str, words: &[&str]| {
        let error = parse(text)
            .map(|config| config.modules)
            .expect_err(text)
            .to_string();
        for word in words.iter().chain(&["/etc/x/dualtor.yml"]) {
            assert!(error.contains(word), "{text}\n{word:?} is not in: {error}");
        }
    };
    let of_m = |text: &str, words: &[&str]| check(&format!("modules: {{m: {{{text}}}}}"), words);
    check(
        "modules: {Db: {gribi: {}}}",
        &["modules.Db", "lower-case letters"],
    );
    check("modules: {\"\": {gribi: {}}}", &["expected a name"]);
    check(
        &format!("modules: {{{}: {{gribi: {{}}}}}}", "a".repeat(33)),
        &["at most 32"],
    );
    check(
        "modules: {dualtor: {gribi: {}}}",
        &["modules.dualtor", "reserved"],
    );
    check("modules: {m: {gribi: {}}, m: {gribi: {}}}", &["m"]);
    let all: Vec<String> = (0..65).map(|n| format!("m{n}: {{gribi: {{}}}}")).collect();
    check(
        &format!("modules: {{{}}}", all.join(", ")),
        &["at most 64 modules, got 65"],
    );
    of_m("", &["modules.m", "exactly one of", "got none"]);
    of_m(
        "gribi: {}, grpc_health: {}",
        &["exactly one of", "got grpc_health and gribi"],
    );
    of_m("gribi: {}, colour: red", &["colour"]);
    of_m("gribi: 5", &["modules.m.gribi"]);
    of_m(
        "grpc_health: {}, timeout: 5s, interval: 5s",
        &["modules.m.timeout", "less than the interval (5s), got 5s"],
    );
    of_m(
        "grpc_health: {}, interval: 1s",
        &["modules.m.timeout", "got 2s, the default"],
    );
    of_m(
        "grpc_health: {}, interval: 0s",
        &["modules.m.interval", "a duration"],
    );
    of_m(
        "grpc_health: {services: []}",
        &["modules.m.grpc_health.services", "expected 1 to 16, got 0"],
    );
    of_m(
        &format!("grpc_health: {{services: [{}]}}", many(17, "a")),
        &["got 17"],
    );
    of_m(
        "grpc_health: {services: [a, b, a]}",
        &["services[2]", "already modules.m.grpc_health.services[0]"],
    );
    of_m(
        "grpc_health: {services: [\"a b\"]}",
        &["services[0]", "printable"],
    );
    of_m("grpc_health: {healthy: []}", &["healthy"]);
    of_m(
        "grpc_health: {healthy: [unknown]}",
        &["healthy[0]", "serving, not_serving"],
    );
    of_m("grpc_health: {watch: maybe}", &["watch", "true or false"]);
    of_m(
        "service_info: {dialect: old}",
        &["dialect", "auto, server or info"],
    );
    of_m("service_info: {clients: {a: x}}", &["clients.a", "the version"]);
    of_m("service_info: {clients: {a: -1}}", &["clients.a", "the version"]);
    of_m(
        "gribi: {network_instances: some}",
        &["network_instances", "all, or a list"],
    );
    of_m("gribi: {network_instances: []}", &["expected 1 to 64, got 0"]);
    of_m(
        "gribi: {network_instances: [a, a]}",
        &["network_instances[1]", "each once"],
    );
    let with = |channel: &str, words: &[&str]| of_m(&format!("gribi: {{}}, channel: {{{channel}}}"), words);
    with(
        "keepalive: never",
        &["channel.keepalive", "rounds, or a duration"],
    );
    with("keepalive_time: 4s", &["keepalive_time"]);
    with(
        "source_address: auto",
        &["source_address", "none or an IP address"],
    );
    with("tls: {cert: c.crt, key: c.key}", &["ca"]);
    with("tls: {ca: ca.crt, cert: c.crt}", &["modules.m.channel.tls.key"]);
    for name in [
        "grpc-timeout",
        "te",
        "content-type",
        "user-agent",
        "host",
        "X-Team",
        ":path",
        "a b",
    ] {
        let entry = format!("metadata: {{\"{name}\": secret-value}}");
        with(&entry, &[&format!("channel.metadata.{name}"), "expected a name"]);
    }
    with("metadata: {a-bin: \"***\"}", &["metadata.a-bin", "base64"]);
    with(
        "metadata: {a: \"${soc_ip}\"}",
        &["metadata.a", "${address} and ${target}"],
    );
    with("metadata: {a: \"\\u00e9\"}", &["metadata.a", "ASCII"]);
    with("metadata: {a: {fil: x}}", &["metadata.a", "{file: PATH}"]);
    with("metadata: {a: [1]}", &["metadata.a", "{file: PATH}"]);
    with("metadata: {a: 5}", &["metadata.a", "text in quotes"]);
    let target = |targets: &str, words: &[&str]| of_m(&format!("gribi: {{}}, targets: [{targets}]"), words);
    target("{name: a}", &["targets[0]", "address"]);
    target("{address: 10.0.0.1}", &["targets[0].address", "host:port"]);
    target("{address: \"::1:5000\"}", &["targets[0].address", "in brackets"]);
    target(
        "{address: \"h:1\"}, {address: \"h:1\"}",
        &["targets[1].address", "already target 0"],
    );
    target(
        "{name: a, address: \"h:1\"}, {name: a, address: \"h:2\"}",
        &["targets[1].name", "already that of target 0"],
    );
    target(
        "{name: \"h:2\", address: \"h:1\"}, {name: b, address: \"h:2\"}",
        &["targets[0].name", "that of target 1"],
    );
    target("{name: -a, address: \"h:1\"}", &["targets[0].name", "at most 64"]);
    for label in [
        "module", "target", "kind", "address", "le", "instance", "job", "__x", "A", "9",
    ] {
        let text = format!("{{address: \"h:1\", labels: {{\"{label}\": x}}}}");
        target(&text, &[&format!("targets[0].labels.{label}"), "expected a"]);
    }
    target(
        &format!("{{address: \"h:1\", labels: {{a: \"{}\"}}}}", "x".repeat(65)),
        &["labels.a", "at most 64"],
    );
    let labels: Vec<String> = (0..9).map(|n| format!("l{n}: x")).collect();
    target(
        &format!("{{address: \"h:1\", labels: {{{}}}}}", labels.join(", ")),
        &["at most 8, got 9"],
    );
    of_m(
        "gribi: {}, channel: {source_address: 10.0.0.1}, targets: [{address: \"[::1]:1\"}]",
        &["targets[0].address", "same family"],
    );
}

#[test]
fn an_error_has_the_line_of_its_key() {
    let text = "modules:\n  m:\n    gribi: {}\n    interval: 1s\n    timeout: 1s\n    targets:\n      - {address: \"h:1\"}\n      - {address: \"h:1\"}\n";
    let error = |text: &str| {
        parse(text)
            .map(|config| config.modules)
            .expect_err(text)
            .to_string()
    };
    assert!(
        error(text).starts_with("/etc/x/dualtor.yml:5: modules.m.timeout: "),
        "{}",
        error(text)
    );
    let text = text.replace("interval: 1s", "interval: 9s");
    assert!(
        error(&text).starts_with("/etc/x/dualtor.yml:8: modules.m.targets[1].address: "),
        "{}",
        error(&text)
    );
}

#[cfg(feature = "unary")]
#[test]
fn what_grpc_unary_asks_and_each_mistake_in_it() {
    let unary = |keys: &str| {
        let spec = module(&format!("modules: {{m: {{grpc_unary: {{{keys}}}}}}}"));
        match &spec.kind {
            ModuleKind::GrpcUnary(check) => check.clone(),
            kind => panic!("{kind:?}"),
        }
    };
    for method in ["a.b.C/Get", "a.b.C.Get"] {
        let check = unary(&format!("method: {method}"));
        assert_eq!(
            (&*check.service, &*check.method, &*check.request),
            ("a.b.C", "Get", "{}")
        );
        assert_eq!(
            (&check.statuses[..], &check.schema),
            (&[ProbeResult::Ok][..], &UnarySchema::Reflection)
        );
    }
    let check = unary(
        "method: A/b, request: {name: x, big: 9007199254740993, list: [1, true, null, on]}, info: [a.b, c], values: [d.0],
         expect: {status: [OK, NOT_FOUND], fields: {n: 9007199254740993, f: 1.5, t: true, s: \"1.10\", e: \"\", y: no,
         a: {equals: 010, matches: \"^x\", min: 1, max: 2.5, present: true}}}",
    );
    assert_eq!(
        &*check.request,
        "{\"big\":9007199254740993,\"list\":[1,true,null,\"on\"],\"name\":\"x\"}"
    );
    assert_eq!(
        check.info,
        [("a_b".into(), "a.b".into()), ("c".into(), "c".into())]
    );
    assert_eq!(check.statuses, [ProbeResult::Ok, ProbeResult::NotFound]);
    let equals = |text: &str| vec![ReplyTest::Equals(text.into())];
    let all = vec![
        ReplyTest::Equals("010".into()),
        ReplyTest::Matches("^x".into()),
        ReplyTest::Min("1".into()),
        ReplyTest::Max("2.5".into()),
        ReplyTest::Present(true),
    ];
    let expected = [
        ("a", all),
        ("e", equals("")),
        ("f", equals("1.5")),
        ("n", equals("9007199254740993")),
        ("s", equals("1.10")),
        ("t", equals("true")),
        // Not YAML 1.1: an enum may have such names.
        ("y", equals("no")),
    ];
    let expected: Vec<(Arc<str>, _)> = expected
        .into_iter()
        .map(|(path, tests)| (path.into(), tests))
        .collect();
    assert_eq!(check.fields, expected);

    let check = |keys: &str, words: &[&str]| {
        let text = format!("modules: {{m: {{grpc_unary: {{{keys}}}}}}}");
        let error = parse(&text)
            .map(|config| config.modules)
            .expect_err(keys)
            .to_string();
        for word in words.iter().chain(&["/etc/x/dualtor.yml:1"]) {
            assert!(error.contains(word), "{keys}\n{word:?} is not in: {error}");
        }
    };
    check("request: {}", &["modules.m.grpc_unary", "method"]);
    for method in ["Get", "/a/b", "a b/c", "a..b/c", "a/b/c", "9a/b", "a/", "\"\""] {
        check(
            &format!("method: {method}"),
            &["grpc_unary.method", "pkg.Service/Method"],
        );
    }
    for method in [
        "DualToRActive/Get",
        "GracefulRestart.Get",
        "gribi.gRIBI/Any",
        "InfoService/get",
        "RpcServerService/any",
        "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ] {
        check(
            &format!("method: {method}"),
            &["grpc_unary.method", "expected a method of another service"],
        );
    }
    check(
        "method: A/b, schema: {}",
        &["grpc_unary.schema", "exactly one of descriptor_set and proto"],
    );
    check("method: A/b, schema: {file: x}", &["file"]);
    check(
        "method: A/b, expect: {status: ok}",
        &["expect.status", "the name of a gRPC status code"],
    );
    check(
        "method: A/b, expect: {status: [NO_SCHEMA]}",
        &["expect.status[0]", "the name of a gRPC status code"],
    );
    check(
        "method: A/b, expect: {status: []}",
        &["expect.status", "expected 1 to"],
    );
    check(
        "method: A/b, expect: {status: [OK, OK]}",
        &["expect.status[1]", "each once"],
    );
    check(
        "method: A/b, expect: {status: NOT_FOUND, fields: {a: 1}}",
        &["expect.fields", "expected OK among"],
    );
    check(
        "method: A/b, expect: {status: NOT_FOUND}, info: [a]",
        &["grpc_unary.info", "expected OK among"],
    );
    check(
        "method: A/b, expect: {status: NOT_FOUND}, values: [a]",
        &["grpc_unary.values", "expected OK among"],
    );
    check(
        "method: A/b, expect: {fields: {a: [1]}}",
        &["expect.fields.a", "one value, or a mapping"],
    );
    check(
        "method: A/b, expect: {fields: {a: {}}}",
        &["expect.fields.a", "an empty mapping"],
    );
    check(
        "method: A/b, expect: {fields: {a: {equals: [1]}}}",
        &["expect.fields.a.equals", "one value"],
    );
    check(
        "method: A/b, expect: {fields: {a: {like: 1}}}",
        &["expect.fields.a.like"],
    );
    check(
        "method: A/b, expect: {fields: {a: {present: maybe}}}",
        &["expect.fields.a.present", "true or false"],
    );
    check("method: A/b, info: [a.b, a_b]", &["info[1]", "a.b is a_b, too"]);
    check(
        "method: A/b, info: [module]",
        &["info[0]", "another label than module"],
    );
    check("method: A/b, info: [__a]", &["info[0]", "another label"]);
    check("method: A/b, info: [\"\"]", &["info[0]", "a path in the reply"]);
    check(
        "method: A/b, info: [a, b, c, d, e, f, g, h, i]",
        &["info", "at most 8, got 9"],
    );
    check(
        "method: A/b, values: [a, b, c, d, e, f, g, h, i]",
        &["values", "1 to 8, got 9"],
    );
    check("method: A/b, values: [a, a]", &["values[1]", "each once"]);
    let long = format!("method: A/b, request: {{a: {}}}", "x".repeat(70_000));
    check(&long, &["grpc_unary.request", "at most 65536 bytes"]);
}

#[test]
fn an_error_never_repeats_a_value_of_metadata() {
    for text in [
        "modules: {m: {gribi: {}, channel: {metadata: {te: hunter2}}}}",
        "modules: {m: {gribi: {}, channel: {metadata: {a-bin: \"hunter2*\"}}}}",
        "modules: {m: {gribi: {}, channel: {metadata: {a: \"${x}hunter2\"}}}}",
    ] {
        let error = parse(text)
            .map(|config| config.modules)
            .expect_err(text)
            .to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
