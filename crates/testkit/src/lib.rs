//! What tests start and read: real programs on their own ports, sockets and files, removed when dropped.
//!
//! | module | what it holds |
//! |---|---|
//! | harness | starts simulator, Redis and exporter on free ports |
//! | wait | waits for conditions, with a deadline |
//! | certificates | makes them, and writes them as PEM files |
//! | soc_view | one SoC in the metrics and in its row |
//! | http | requests to the exporter, its answers |
//! | child | a real program: arguments, signals, exit codes |
//! | sonic_switch | a rack whose SoCs are in CONFIG_DB |
//! | otlp_receiver | a receiver of OpenTelemetry that can be mute, slow, rejecting |
//! | reserved_port | a TCP port for a program that cannot choose one |
//! | redis_server, fake_redis | a redis-server; a server at Redis' address that is not Redis |
//!
//! It shares no logic with the code under test: it parses metrics, rows and HTTP itself.

// The names are sentences.
#![allow(missing_docs, missing_debug_implementations)]

pub mod certificates;
pub mod child;
pub mod endless;
pub mod fake_redis;
pub mod harness;
pub mod http;
pub mod otlp_receiver;
pub mod redis_server;
pub mod reserved_port;
pub mod soc_view;
pub mod sonic_switch;
pub mod wait;
