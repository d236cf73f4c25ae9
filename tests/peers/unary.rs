//! grpc_unary against grpcio's reflection, and against etcd and gobgpd with a proto of the few fields that are needed.

use crate::rig::{Daemon, Peer, Rig, free_port};

const ROUNDS: &str = "interval: 300ms, timeout: 250ms, channel: {backoff: {initial: 100ms, max: 200ms}}";

fn module(keys: &str, port: u16) -> String {
    format!("m: {{grpc_unary: {{{keys}}}, {ROUNDS}, targets: [{{name: t, address: \"127.0.0.1:{port}\"}}]}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcios_reflection_gives_the_schema_compressed_or_not() {
    for compression in ["none", "gzip", "deflate"] {
        let mut peer = Peer::start(&["health", compression]);
        let keys = "method: grpc.health.v1.Health/Check, request: {service: db}, expect: {fields: {status: SERVING}}, \
                    info: [status], values: [status]";
        let rig = Rig::start(&module(keys, peer.port)).await;
        let scrape = rig.rounds("OK", 5).await;
        assert_eq!(
            scrape.value("grpc_probe_success", &[]),
            Some(1.0),
            "{compression}"
        );
        assert_eq!(
            scrape.value("grpc_reply_value", &[("field", "status")]),
            Some(1.0)
        );
        assert_eq!(
            scrape.value("grpc_reply_info", &[("status", "SERVING")]),
            Some(1.0)
        );
        assert_eq!(peer.tell("set db NOT_SERVING"), "ok");
        let scrape = rig.rounds("UNEXPECTED_REPLY", 2).await;
        assert_eq!(scrape.value("grpc_probe_success", &[]), Some(0.0));
        let (code, json) = rig.probe("m", "t").await;
        assert_eq!((code, &json["reply"]["status"]), (Some(1), &"NOT_SERVING".into()));
        assert_eq!(scrape.count("grpc_channel_failures_total", &[]), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gobgpd_is_asked_with_a_proto_of_one_field() {
    let port = free_port();
    let host = format!("127.0.0.1:{}", port.number());
    let _gobgpd = Daemon::start("gobgpd", &["--api-hosts", &host, "--pprof-disable"]);
    let directory = tempfile::tempdir().expect("a directory");
    let proto = "syntax = \"proto3\"; package apipb; service GobgpApi { rpc GetBgp(GetBgpRequest) returns (GetBgpResponse); } \
                 message GetBgpRequest {} message GetBgpResponse { Global global = 1; } message Global { uint32 asn = 1; }";
    std::fs::write(directory.path().join("gobgp.proto"), proto).expect("written");
    let keys = "method: apipb.GobgpApi/GetBgp, schema: {proto: gobgp.proto}, values: [global.asn]";
    let rig = Rig::start_in(directory, &module(keys, port.number())).await;
    let scrape = rig.rounds("OK", 3).await;
    assert_eq!(scrape.value("grpc_probe_success", &[]), Some(1.0));
    assert_eq!(
        scrape.count("grpc_channel_failures_total", &[("cause", "goaway")]),
        0
    );
}
