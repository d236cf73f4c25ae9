//! The exporter from end to end: simulated SoCs over real gRPC in; rows in a real redis-server and scrapes over HTTP out.
//!
//! | module | what it holds |
//! |---|---|
//! | keepalive | servers that find our PINGs too many |
//! | connections, replies | each fault of the simulator: channel state, row and metrics, and the recovery |
//! | hostile | SoCs that flood, compress, answer late or are web servers; what they cost |
//! | tls, handshakes, rotation | TLS: each way to be refused; servers of another kind; new certificate files |
//! | certificates_told | which certificate or file is wrong, in words |
//! | rounds | when is probed |
//! | service, health | what a SoC announces: maintenance, its health |
//! | acl | a user of Redis who may write our rows alone |
//! | config_db | inventory, side, source address and intent from the switch's own databases |
//! | odd_databases | odd rows, too many of them, keys of others; other addresses |
//! | network_namespace | a source address that the host does not have yet |
//! | hostile_redis | what answers at Redis' address is none, or a broken one |
//! | rows, shadow, outages | STATE_DB; shadow mode compared; Redis away |
//! | web, exposition | the endpoint, its formats and the catalogue |
//! | web_limits, web_floods, web_addresses | what web clients may cost; what crowds of rude ones leave behind; where is served |
//! | cli, signals | flags, exit codes, stop and reload of the real binary |
//! | stock_servers | what gRPC's stock servers think of our PINGs |
//! | stalled | nobody reads what the real binary prints and logs, or it cannot be written |
//! | words | what outside words look like in rows, labels, log and terminal |
//! | doctor | what `doctor` says of a switch |
//! | documents, scaffolding | documentation, workflows and templates against what they are about |
//! | architecture | the invariants that the source must keep |

use dualtor_testkit::{certificates, child, fake_redis, harness, http, redis_server, soc_view, wait};

mod acl;
mod architecture;
mod certificates_told;
mod cli;
mod config_db;
mod connections;
mod doctor;
mod documents;
mod exposition;
mod handshakes;
mod health;
mod hostile;
mod hostile_redis;
mod keepalive;
mod lateness;
mod network_namespace;
mod odd_databases;
mod outages;
mod replies;
mod rewrites;
mod rotation;
mod rounds;
mod rows;
mod scaffolding;
mod service;
mod shadow;
mod signals;
mod stalled;
mod stock_servers;
mod tls;
mod web;
mod web_addresses;
mod web_floods;
mod web_limits;
mod words;
