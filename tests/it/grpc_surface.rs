//! The exporter's own gRPC services: what they answer, and what clients can do to them.

use std::time::{Duration, Instant};

use dualtor_proto::served::reflection::server_reflection_request::MessageRequest as Question;
use dualtor_proto::served::reflection::server_reflection_response::MessageResponse as Answer;
use dualtor_proto::served::reflection::{ServerReflectionRequest, ServerReflectionResponse};
use dualtor_proto::served::{
    Empty, Filter, HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
    MultiServiceInfo,
};
use dualtor_sim::{ConnectionFault, Health};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use h2::{Ping, Reason};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::child::{self, Program, assert_cannot_start};
use crate::harness::{ONLY_AT_READY, Rack, Setup, wait_until};
use crate::soc_view::Look;

mod client;

use client::{Call, Client, framed, framed_bytes};

const PORT: &str = "Ethernet0";
/// `GAP` of soc/probe/report_limiter.rs.
const BETWEEN_REPORTS: Duration = Duration::from_millis(100);
const CHECK: &str = "/grpc.health.v1.Health/Check";
const LIST: &str = "/grpc.health.v1.Health/List";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
const OLDER_INFO: &str = "/InfoService/get";
const INFO: &str = "/RpcServerService/info";
const V1: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const V1ALPHA: &str = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

const UNKNOWN: i32 = 0;
const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;
const SERVICE_UNKNOWN: i32 = 3;

const INVALID_ARGUMENT: i32 = 3;
const NOT_FOUND: i32 = 5;
const RESOURCE_EXHAUSTED: i32 = 8;
const UNIMPLEMENTED: i32 = 12;
const INTERNAL: i32 = 13;
const UNAVAILABLE: i32 = 14;

fn served(count: usize) -> Setup {
    let mut setup = Setup::rack(count);
    setup.grpc = true;
    setup
}

fn service(name: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: name.to_owned(),
    }
}

async fn check(client: &Client, name: &str) -> Result<i32, i32> {
    let answer: Result<HealthCheckResponse, i32> = client.unary(CHECK, &[], &service(name)).await;
    answer.map(|answer| answer.status)
}

async fn checks(client: &Client, name: &str, expected: Result<i32, i32>) {
    wait_until(&format!("{name:?} is {expected:?}"), async || {
        match check(client, name).await {
            seen if seen == expected => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await;
}

async fn next(watch: &mut Call) -> i32 {
    let next: Option<HealthCheckResponse> = watch.next().await;
    next.expect("a status").status
}

/// A healthy SoC that is probed only when its channel becomes READY, and its port's Watch.
async fn watched() -> (Rack, Client, Call) {
    let rack = served(1).probe(ONLY_AT_READY).start().await;
    rack.shows(PORT, &Look::HEALTHY).await;
    rack.service(PORT, "noop").await;
    let client = Client::connect(rack.grpc()).await;
    checks(&client, &format!("port/{PORT}"), Ok(SERVING)).await;
    let mut watch = client.ask(WATCH, &[], &service(&format!("port/{PORT}"))).await;
    assert_eq!(next(&mut watch).await, SERVING);
    (rack, client, watch)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_port_is_a_service_and_the_exporter_itself_is_another() {
    let rack = served(5)
        .soc("Ethernet12", |soc| soc.fault = ConnectionFault::Refuse)
        .start()
        .await;
    let client = Client::connect(rack.grpc()).await;
    checks(&client, "", Ok(SERVING)).await;
    checks(&client, "port/Ethernet0", Ok(SERVING)).await;
    for port in ["port/Ethernet4", "port/Ethernet8", "port/Ethernet16"] {
        checks(&client, port, Ok(SERVING)).await;
    }
    checks(&client, "port/Ethernet12", Ok(NOT_SERVING)).await;
    for unknown in [
        "port/Ethernet1",
        "port/",
        "Ethernet0",
        "module/a/b",
        &"x".repeat(60_000),
    ] {
        assert_eq!(check(&client, unknown).await, Err(NOT_FOUND));
    }
    let list: HealthListResponse = client
        .unary(LIST, &[], &HealthListRequest {})
        .await
        .expect("a list");
    let list: Vec<(&str, i32)> = list
        .statuses
        .iter()
        .map(|(name, of)| (&**name, of.status))
        .collect();
    assert_eq!(
        list,
        [
            ("", SERVING),
            ("port/Ethernet0", SERVING),
            ("port/Ethernet12", NOT_SERVING),
            ("port/Ethernet16", SERVING),
            ("port/Ethernet4", SERVING),
            ("port/Ethernet8", SERVING),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_round_a_port_is_unknown_and_the_exporter_not_ready() {
    // It accepts TCP and says nothing.
    let rack = served(1)
        .probe(ONLY_AT_READY)
        .channel("keepalive_timeout: 60s")
        .soc(PORT, |soc| soc.fault = ConnectionFault::Mute)
        .start()
        .await;
    let client = Client::connect(rack.grpc()).await;
    assert_eq!(check(&client, "port/Ethernet0").await, Ok(UNKNOWN));
    assert_eq!(check(&client, "").await, Ok(NOT_SERVING));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_reports_each_change_at_once() {
    let (rack, _client, mut watch) = watched().await;
    let mut slowest = Duration::ZERO;
    // More of them in a row would be reported later: what a SoC may report is limited.
    for _ in 0..4 {
        for (health, expected) in [(Health::NotServing, NOT_SERVING), (Health::Serving, SERVING)] {
            // What a SoC reports sooner after its last report is held back until then.
            tokio::time::sleep(BETWEEN_REPORTS).await;
            let began = Instant::now();
            rack.soc(PORT).set(|state| state.health = health);
            assert_eq!(next(&mut watch).await, expected);
            slowest = slowest.max(began.elapsed());
        }
    }
    // The promise of 100 ms is tested on a clock that stands still while all wait (grpc_surface/health_board.rs). On a real one this
    // only shows that a change is not left for the next round. Seen in 13 runs beside builds: 2 to 41 ms, and once 81 ms.
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    // A loss that is over after some milliseconds need not be reported.
    rack.soc(PORT).connection_fault(ConnectionFault::Mute);
    rack.soc(PORT).close_connections();
    assert_eq!(next(&mut watch).await, NOT_SERVING);
    rack.soc(PORT).connection_fault(ConnectionFault::None);
    rack.soc(PORT).close_connections();
    assert_eq!(next(&mut watch).await, SERVING);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_a_port_that_is_not_there_waits_for_it_and_ends_with_the_exporter() {
    let mut rack = served(1).start().await;
    let client = Client::connect(rack.grpc()).await;
    checks(&client, "port/Ethernet0", Ok(SERVING)).await;
    let mut watch = client.ask(WATCH, &[], &service("port/Ethernet400")).await;
    assert_eq!(next(&mut watch).await, SERVICE_UNKNOWN);
    let address = rack.soc(PORT).address();
    rack.settings.targets.push(("Ethernet400".to_owned(), address));
    rack.reload().await;
    // Before the first round it is unknown, but that may be over soon.
    let mut status = next(&mut watch).await;
    if status == UNKNOWN {
        status = next(&mut watch).await;
    }
    assert_eq!(status, SERVING);
    rack.settings.targets.pop();
    rack.reload().await;
    assert_eq!(next(&mut watch).await, SERVICE_UNKNOWN);
    // The server has seen this call when it answers the next one.
    let mut asking = client.call(V1, &[]).await;
    // Of a name that could be no service's, nothing is kept.
    let mut long = client.ask(WATCH, &[], &service(&"x".repeat(10_000))).await;
    assert_eq!(next(&mut long).await, SERVICE_UNKNOWN);
    rack.stop_exporter().await;
    for ended in [&mut watch, &mut long, &mut asking] {
        assert_eq!(ended.status().await, UNAVAILABLE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_dialects_of_the_info_service_list_the_exporter() {
    let rack = served(1).start().await;
    let client = Client::connect(rack.grpc()).await;
    for (path, name, too_new, too_old) in [
        (OLDER_INFO, "dualtor-exporter.info", 6, 5),
        (INFO, "dualtor-exporter", 12, 11),
    ] {
        let info = async |version: Option<&str>| {
            let metadata: Vec<_> = version
                .map(|version| ("api_version", version))
                .into_iter()
                .collect();
            let info: Result<MultiServiceInfo, i32> = client.unary(path, &metadata, &Empty {}).await;
            info.expect("OK")
        };
        for good in [None, Some("1")] {
            let info = info(good).await;
            assert_eq!(info.r, None);
            let [item] = &info.items[..] else {
                panic!("{info:?}")
            };
            assert_eq!((&*item.name, &*item.version), (name, env!("CARGO_PKG_VERSION")));
            assert_eq!((item.current_api_version, item.supported_api_version), (1, 1));
        }
        for (version, code) in [("2", too_new), ("0", too_old), ("one", 1)] {
            let info = info(Some(version)).await;
            let result = info.r.expect("a result");
            assert_eq!((result.code, info.items.len(), &*result.stack), (code, 0, ""));
            assert_ne!(result.msg, "");
        }
    }
    let names = Filter {
        names: vec!["other".to_owned()],
        ignore_unknown: false,
    };
    let info: MultiServiceInfo = client.unary(INFO, &[], &names).await.expect("OK");
    assert_eq!(info.r.expect("a result").code, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_reflection_answer_question_after_question() {
    let rack = served(1).start().await;
    let client = Client::connect(rack.grpc()).await;
    let question = |question| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(question),
    };
    for path in [V1, V1ALPHA] {
        let mut call = client.call(path, &[]).await;
        let mut ask = async |message: &ServerReflectionRequest| {
            call.send(framed(message), false);
            let answer: Option<ServerReflectionResponse> = call.next().await;
            answer.expect("an answer").message_response.expect("an answer")
        };
        let Answer::ListServicesResponse(list) = ask(&question(Question::ListServices(String::new()))).await
        else {
            panic!("no list")
        };
        assert_eq!(list.service.len(), 5);
        for service in list.service {
            let answer = ask(&question(Question::FileContainingSymbol(service.name.clone()))).await;
            assert!(
                matches!(answer, Answer::FileDescriptorResponse(_)),
                "{}",
                service.name
            );
        }
        let nothing = ask(&question(Question::FileByFilename("x".to_owned()))).await;
        assert!(matches!(nothing, Answer::ErrorResponse(error) if error.error_code == NOT_FOUND));
        call.send(
            framed(&question(Question::FileContainingSymbol("x".repeat(2_000)))),
            false,
        );
        assert_eq!(call.status().await, INVALID_ARGUMENT);
        let mut call = client
            .ask(path, &[], &question(Question::ListServices(String::new())))
            .await;
        assert!(call.next::<ServerReflectionResponse>().await.is_some());
        assert_eq!(call.status().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_call_gets_its_status_and_harms_no_other() {
    let rack = served(1).start().await;
    let client = Client::connect(rack.grpc()).await;
    let mut watch = client.ask(WATCH, &[], &service("")).await;
    next(&mut watch).await;
    let bad = async |path: &str, message: bytes::Bytes, expected: i32| {
        let mut call = client.call(path, &[]).await;
        call.send(message.clone(), true);
        let seen = call.status().await;
        assert_eq!(seen, expected, "{path} {} bytes", message.len());
    };
    let good = framed(&service(""));
    for path in [
        "/grpc.health.v1.Health/check",
        "/RpcServerService/shutdown",
        "/DualToRActive/QueryLinkState",
        "/",
    ] {
        bad(path, good.clone(), UNIMPLEMENTED).await;
    }
    for path in [CHECK, LIST, WATCH, INFO, V1] {
        bad(path, framed_bytes(0, b"\x0a\xff"), INTERNAL).await;
        bad(path, framed_bytes(7, b""), INTERNAL).await;
        bad(path, framed_bytes(1, b""), UNIMPLEMENTED).await;
        bad(path, good.slice(..3), INTERNAL).await;
        bad(
            path,
            framed_bytes(0, &[0; 64 * 1024 + 1]).slice(..5),
            RESOURCE_EXHAUSTED,
        )
        .await;
    }
    for path in [CHECK, LIST, WATCH, INFO] {
        bad(path, good.slice(..0), INTERNAL).await;
    }
    // 64 KiB are allowed.
    let longest = service(&"x".repeat(64 * 1024 - 4));
    assert_eq!(framed(&longest).len(), 5 + 64 * 1024);
    assert_eq!(check(&client, &longest.service).await, Err(NOT_FOUND));
    checks(&client, "", Ok(SERVING)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_requests_that_never_end_share_two_mebibytes_and_short_ones_pass() {
    let rack = served(1).start().await;
    let client = Client::connect(rack.grpc()).await;
    // A length of 60,000 bytes, and nothing more.
    let begin = framed_bytes(0, &[0; 60_000]).slice(..5);
    let mut ended = FuturesUnordered::new();
    for _ in 0..60 {
        let mut call = client.call(CHECK, &[]).await;
        call.send(begin.clone(), false);
        ended.push(async move { call.status().await });
    }
    // 34 times 60,000 bytes fit.
    for _ in 34..60 {
        assert_eq!(ended.next().await, Some(RESOURCE_EXHAUSTED));
    }
    let waits = tokio::time::timeout(Duration::from_millis(300), ended.next()).await;
    assert!(waits.is_err(), "{waits:?}");
    checks(&client, "", Ok(SERVING)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_pings_end_the_connection_as_grpcs_clients_know_it() {
    let rack = served(1).start().await;
    let mut client = Client::connect(rack.grpc()).await;
    checks(&client, "", Ok(SERVING)).await;
    let mut answered = 0;
    while client.pings.ping(Ping::opaque()).await.is_ok() {
        answered += 1;
        assert!(answered < 10, "no limit");
    }
    assert_eq!(answered, 3);
    let end = client.end.await.expect("no panic").expect_err("a GOAWAY");
    assert!(end.is_go_away() && end.is_remote(), "{end:?}");
    assert_eq!(end.reason(), Some(Reason::ENHANCE_YOUR_CALM));
    assert!(format!("{end:?}").contains("too_many_pings"), "{end:?}");
    // Each answer forgives.
    let mut client = Client::connect(rack.grpc()).await;
    for _ in 0..10 {
        client.pings.ping(Ping::opaque()).await.expect("a PONG");
        checks(&client, "", Ok(SERVING)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_over_the_limit_is_refused_until_another_leaves() {
    let rack = served(1).start().await;
    let mut clients = Vec::new();
    for _ in 0..32 {
        let client = Client::connect(rack.grpc()).await;
        let mut watch = client.ask(WATCH, &[], &service("")).await;
        next(&mut watch).await;
        clients.push((client, watch));
    }
    let refused = async || {
        let mut socket = TcpStream::connect(rack.grpc()).await.expect("TCP");
        let mut bytes = [0; 1];
        // The end, or a reset.
        !matches!(socket.read(&mut bytes).await, Ok(1))
    };
    for _ in 0..3 {
        assert!(refused().await);
    }
    drop(clients.pop());
    wait_until("a free place", async || {
        let Ok(client) = Client::try_connect(rack.grpc()).await else {
            return Err("refused".to_owned());
        };
        let Ok(mut call) = client.try_call(WATCH, &[]).await else {
            return Err("refused".to_owned());
        };
        call.send(framed(&service("")), true);
        match call.try_next::<HealthCheckResponse>().await {
            Ok(Some(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    // The other 31 were not touched.
    for (client, _) in &clients {
        checks(client, "", Ok(SERVING)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_takes_a_hundred_calls_and_the_next_waits() {
    let rack = served(1).start().await;
    let client = Client::connect(rack.grpc()).await;
    let mut watches = Vec::new();
    for _ in 0..100 {
        let mut watch = client.ask(WATCH, &[], &service("")).await;
        next(&mut watch).await;
        watches.push(watch);
    }
    let mut waiting = std::pin::pin!(check(&client, ""));
    let waits = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
    assert!(waits.is_err(), "a call more: {waits:?}");
    drop(watches.pop());
    assert!(waiting.await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http2_or_not_grpc_is_refused() {
    let rack = served(1).start().await;
    let checked = Client::connect(rack.grpc()).await;
    checks(&checked, "", Ok(SERVING)).await;
    for request in [
        &b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x00\x00\x00\x00\x00\x01",
    ] {
        let mut socket = TcpStream::connect(rack.grpc()).await.expect("TCP");
        socket.write_all(request).await.expect("sent");
        // It ends.
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer).await;
        assert!(answer.len() < 200 && !answer.starts_with(b"HTTP"), "{answer:?}");
    }
    assert_eq!(check(&checked, "").await, Ok(SERVING));
}

/// A program whose SoC flaps as long as the test wants, and its memory at rest.
async fn program(rack: &mut Rack) -> (Program, std::net::SocketAddr) {
    let yaml = rack.settings.yaml(&rack.redis);
    rack.write_config(&yaml);
    let path = rack.config_path();
    let path = path.to_str().expect("UTF-8");
    let mut program = Program::start(&[
        "--config.file",
        path,
        "--web.listen-address",
        "127.0.0.1:0",
        "--grpc.listen-address",
        "127.0.0.1:0",
    ]);
    let line = program.says("serving gRPC", 1).await;
    let address = line
        .split("address=")
        .nth(1)
        .and_then(|rest| rest.split([' ', '"']).next());
    let address = address.expect("an address").parse().expect("an address");
    (program, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_read_nothing_cost_little_and_what_they_cost_comes_back() {
    let mut rack = Setup::rack(1)
        .probe(ONLY_AT_READY)
        .databases("publish: off")
        .stage()
        .await;
    let (program, address) = program(&mut rack).await;
    let client = Client::connect(address).await;
    checks(&client, "port/Ethernet0", Ok(SERVING)).await;
    let before = program.memory_kb();
    let mut rude = Vec::new();
    for _ in 0..31 {
        let client = Client::connect(address).await;
        let mut calls = Vec::new();
        for n in 0..100 {
            // No one reads them.
            calls.push(match n % 10 {
                0 => client.ask(LIST, &[], &HealthListRequest {}).await,
                1 => client.call(V1, &[]).await,
                _ => client.ask(WATCH, &[], &service("port/Ethernet0")).await,
            });
        }
        rude.push((client, calls));
    }
    // One that reads sees that the others were sent all of this.
    let mut watch = client.ask(WATCH, &[], &service("port/Ethernet0")).await;
    assert_eq!(next(&mut watch).await, SERVING);
    let with = rack.settings.yaml(&rack.redis);
    for (port, _) in &mut rack.settings.targets {
        *port = "Ethernet4".to_owned();
    }
    let without = rack.settings.yaml(&rack.redis);
    for _ in 0..50 {
        rack.write_config(&without);
        program.signal("HUP");
        while next(&mut watch).await != SERVICE_UNKNOWN {}
        rack.write_config(&with);
        program.signal("HUP");
        while next(&mut watch).await == SERVICE_UNKNOWN {}
    }
    let cost = program.memory_kb().saturating_sub(before);
    assert!(cost < 48 * 1024, "{cost} kB");
    drop(rude);
    wait_until("the memory comes back", async || {
        match program.memory_kb().saturating_sub(before) {
            now if now < 12 * 1024 => Ok(()),
            now => Err(format!("{now} kB more, of {cost} kB")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_flag_there_is_no_thread_and_an_address_that_others_reach_is_refused() {
    for address in ["0.0.0.0:0", "[::]:0", ":0", "127.0.0.1", "nonsense:x"] {
        let ended = child::run(&["--grpc.listen-address", address]).await;
        assert_cannot_start(&ended, &["--grpc.listen-address", address, "expected"]);
    }
    let mut rack = Setup::rack(1).databases("publish: off").stage().await;
    let threads = |program: &Program| {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", program.id())).expect("running");
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        let mut names: Vec<_> = names.map(|name| name.trim().to_owned()).collect();
        names.sort();
        names
    };
    let path = rack.config_path();
    let path = path.to_str().expect("UTF-8");
    let mut without = Program::start(&["--config.file", path, "--web.listen-address", "127.0.0.1:0"]);
    without.address().await;
    let has = |program: &Program, name: &str| threads(program).contains(&name.to_owned());
    let runs = async |program: &Program, name: &str| {
        wait_until(name, async || match has(program, name) {
            true => Ok(()),
            false => Err(format!("{:?}", threads(program))),
        })
        .await;
    };
    runs(&without, "web").await;
    assert!(!has(&without, "grpc"), "{:?}", threads(&without));
    let (with, _) = program(&mut rack).await;
    runs(&with, "grpc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_target_of_a_module_is_a_service_and_its_changes_are_sent() {
    let rack = served(1)
        .modules(
            "m: {grpc_health: {}, interval: 300s, timeout: 1s, \
             targets: [{name: db, address: \"<Ethernet0>\"}, {name: away, address: \"127.0.0.1:1\"}]}",
        )
        .start()
        .await;
    let client = Client::connect(rack.grpc()).await;
    checks(&client, "module/m/db", Ok(SERVING)).await;
    assert_eq!(check(&client, "module/m/other").await, Err(NOT_FOUND));
    let mut watch = client.ask(WATCH, &[], &service("module/m/db")).await;
    assert_eq!(next(&mut watch).await, SERVING);
    // The module hears of it by its own Watch, long before its next round.
    rack.soc(PORT).set(|state| state.health = Health::NotServing);
    assert_eq!(next(&mut watch).await, NOT_SERVING);
    rack.soc(PORT).set(|state| state.health = Health::Serving);
    assert_eq!(next(&mut watch).await, SERVING);
    let list: HealthListResponse = client
        .unary(LIST, &[], &HealthListRequest {})
        .await
        .expect("a list");
    assert_eq!(list.statuses["module/m/db"].status, SERVING);
    assert_ne!(list.statuses["module/m/away"].status, SERVING);
}
