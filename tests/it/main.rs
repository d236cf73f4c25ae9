//! The exporter from end to end: simulated SoCs over real gRPC in; rows in a real redis-server and scrapes over HTTP out.
//!
//! | module | what it tests |
//! |---|---|
//! | keepalive | servers that refuse our PINGs as too many |
//! | connections, replies | each fault of the simulator: channel state, row, metrics and recovery |
//! | hostile | SoCs that flood, compress, answer late or are web servers; what they cost |
//! | tls, handshakes, rotation | TLS: each reason to be refused; other kinds of servers; new certificate files |
//! | certificates_told | messages about wrong certificates and files |
//! | rounds | when SoCs are probed |
//! | service, health | announced maintenance; health |
//! | acl | a Redis user who may write our rows only |
//! | config_db | inventory, side, source address and intent from the switch's own databases |
//! | odd_databases | odd rows, too many rows, foreign keys; other addresses |
//! | network_namespace | a source address that the host does not have yet |
//! | hostile_redis | a hostile or broken server at Redis' address |
//! | rows, shadow, outages | STATE_DB; shadow mode compared; Redis away |
//! | api, api_events, api_examples | the JSON API, against openapi.json; its event stream; the examples of docs/api.md |
//! | probe_now | probes on request |
//! | pages | the pages for people |
//! | telemetry_sent | traces, metrics and events that arrive at a receiver of OpenTelemetry, or do not |
//! | self_observation | what metrics say of the exporter itself |
//! | modules, unary | probe modules: health of any gRPC server, /probe, `probe --module`; any unary method |
//! | services | targets of probe modules on page, API, `status` and `doctor` |
//! | module_tls | TLS of probe modules |
//! | hostile_modules | what a hostile target of a module costs in memory |
//! | web, exposition | the endpoint, its formats and the catalogue |
//! | web_limits, web_floods, web_addresses | limits for web clients; memory and files after floods; listen addresses |
//! | web_promises | what docs/web.md promises, with the real limits of half a minute |
//! | bad_requests, bad_frames | thousands of invalid requests, HTTP/1 and HTTP/2 |
//! | web_config | `--web.config.file` of the real binary: TLS, logins, what is logged |
//! | switch_row | the real binary with settings from CONFIG_DB |
//! | shards, sources_of_targets | central mode: processes that share SoCs; files, HTTP servers and other switches that list them |
//! | grpc_surface | the exporter's own gRPC services: health, reflection, InfoService; rude clients of them |
//! | status | the command `status` against a running exporter |
//! | cli, signals | flags, exit codes, stop and reload of the real binary |
//! | service_manager | the real binary under systemd: sockets that it passes, what it is told |
//! | stock_servers | whether gRPC's stock servers accept our PINGs |
//! | stalled | output and log of the real binary are not read, or cannot be written |
//! | words | text from outside in rows, labels, log and terminal |
//! | doctor | what `doctor` reports about a switch |
//! | ycabled_facts | what ycabled has written for linkmgrd, beside what the SoC reports |
//! | documents, scaffolding | documentation, workflows and templates against the code and the Makefile |
//! | architecture | the rules that the source must keep |

use dualtor_testkit::{
    certificates, child, endless, fake_redis, harness, http, otlp_receiver, redis_server, soc_view, wait,
};

mod acl;
mod api;
mod api_events;
mod api_examples;
mod architecture;
mod bad_frames;
mod bad_requests;
mod certificates_told;
mod cli;
mod config_db;
mod connections;
mod doctor;
mod documents;
mod exposition;
mod grpc_surface;
mod handshakes;
mod health;
mod hostile;
mod hostile_modules;
mod hostile_redis;
mod keepalive;
mod lateness;
mod module_tls;
mod modules;
mod network_namespace;
mod odd_databases;
mod outages;
mod pages;
mod probe_now;
mod replies;
mod rewrites;
mod rotation;
mod rounds;
mod rows;
mod scaffolding;
mod schema_server;
mod self_observation;
mod service;
mod service_manager;
mod services;
mod shadow;
mod shards;
mod signals;
mod sources_of_targets;
mod stalled;
mod status;
mod stock_servers;
mod switch_row;
mod telemetry_sent;
mod telemetry_trouble;
mod tls;
mod unary;
mod web;
mod web_addresses;
mod web_config;
mod web_floods;
mod web_limits;
mod web_promises;
mod words;
mod ycabled_facts;
