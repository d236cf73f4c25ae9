//! What tests start and look at: real programs on ports, sockets and files of their own, gone when dropped.
//!
//! | module | what it holds |
//! |---|---|
//! | harness | starts simulator, Redis and exporter on free ports |
//! | wait | waits for conditions, with a deadline |
//! | certificates | makes them, and writes them as PEM files |
//! | soc_view | what one SoC looks like in the metrics and in its row |
//! | http | asks the exporter, reads what it answers |
//! | child | a real program: arguments, signals, exit codes |
//! | sonic_switch | a rack whose SoCs stand in CONFIG_DB |
//! | redis_server, fake_redis | a redis-server; what answers at Redis' address and is none |
//!
//! It shares no logic with the code under test: it parses metrics, rows and HTTP by itself.

// The names are sentences.
#![allow(missing_docs, missing_debug_implementations)]

pub mod certificates;
pub mod child;
pub mod fake_redis;
pub mod harness;
pub mod http;
pub mod redis_server;
pub mod soc_view;
pub mod sonic_switch;
pub mod wait;
