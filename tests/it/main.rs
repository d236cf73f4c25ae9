//! The exporter from end to end: simulated SoCs over real gRPC in; rows in a real redis-server and scrapes over HTTP out.
//!
//! | module | what it holds |
//! |---|---|
//! | harness | starts simulator, Redis and exporter on free ports; waits for conditions |
//! | look | what one SoC looks like in the metrics and in its row |
//! | http | asks the exporter, reads what it answers |
//! | program | the real binary: arguments, signals, exit codes |
//! | connections, replies | each fault of the simulator: channel state, row and metrics, and the recovery |
//! | rounds, service | when is probed, what a SoC announces |
//! | config_db | inventory, side, source address and intent from the switch's own databases |
//! | rows, outages | STATE_DB, and Redis away |
//! | web, exposition | the endpoint, its formats and the catalogue |
//! | cli, signals | flags, exit codes, stop and reload of the real binary |
//! | doctor | what `doctor` says of a switch |
//! | architecture | the invariants that the source must keep |

mod architecture;
mod cli;
mod config_db;
mod connections;
mod doctor;
mod exposition;
mod harness;
mod http;
mod look;
mod outages;
mod program;
#[path = "../common/redis.rs"]
mod redis_server;
mod replies;
mod rounds;
mod rows;
mod service;
mod signals;
mod web;
