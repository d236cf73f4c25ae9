//! dualtor-exporter watches the SoCs of a SONiC dual-ToR active-active rack: it holds a gRPC channel to each, asks each
//! what it says of the cable, and publishes the answers as `MUX_CABLE_INFO` rows in STATE_DB and as Prometheus metrics.
//! It never changes traffic.
//!
//! This page is the drawing: every task and every channel, and how many of each. Which file does what, and why, is in
//! `ARCHITECTURE.md`; each module's own page says what it owns, receives and emits.
//!
//! # One datum, one way
//!
//! ```text
//!   mirror ──Tables──▶ inventory ──Target──▶ session ──Event──▶ fleet ──SocStatus──▶ STATE_DB rows, notices in APPL_DB
//!   (SONiC's           (which SoCs)          (one SoC: channel,  (the only owner
//!    databases)                               probes, streams)    of the table)
//!      │                                                            └──Snapshot──▶ view ──View──▶ /metrics, web pages
//!      └──────Tables──▶ facts ──────────────────────Facts─────────────────────────▶ ┘
//! ```
//!
//! [`Target`](model::Target), [`Event`](model::Event), [`SocStatus`](model::SocStatus), [`Snapshot`](model::Snapshot) and
//! [`View`](model::View) are each made in one place: [`sonic::inventory`], [`soc::session`], [`fleet::reduce`], [`fleet`],
//! `app::make_view`. Nothing flows back: a slow or dead Redis never slows a probe, and a slow scrape holds no lock that a probe needs.
//!
//! # Tasks and channels
//!
//! ```text
//!   SIGHUP task ─┐ mpsc<ReloadRequest> 8                   POST /-/reload ─┐
//!                ▼                                                         ▼
//!               app ◀──────────────────────────────────────────────────────┘
//!                │ │ watch<ConfigStatus> ─▶ web
//!                │ │
//!                │ ├─ watch<ProbeSettings> ───────────────┬──────────────────────┐
//!                │ │ watch<Config>                        │                      ▼
//!                ▼ ▼                                      │    watch<Reading> × 3 mirrors ◀── Redis
//!              switch ◀───────────────────────────────────│───────── per namespace
//!                │ └─ watch<Facts> ─▶ web                 │
//!                │ watch<Inventory>                       ▼
//!                ▼          spawns, aborts          ┌───────────┐
//!              fleet ─────────────────────────────▶ │ session   │ ◀── gRPC over one h2 connection ──▶ SoC
//!                ▲ │ ▲                              │  × SoCs   │ ── spawns ─▶ drain (after a GOAWAY)
//!                │ │ └── mpsc<(id, Event)> 4096 ─── │           │
//!                │ │                                └───────────┘ ◀── watch<Latest> ── TLS files
//!                │ ├── mailbox, the latest per port ─▶ state_db ──▶ Redis
//!                │ │                                    └── watch<StateDbStatus> ─▶ web
//!                │ ├── mailbox, the latest per port ─▶ notifications ──▶ Redis
//!                │ ├── watch<bool> settled ─▶ readiness ── watch<bool> ready ─▶ web
//!                │ └── broadcast<Transition> 1024 ─▶ demo
//!                │
//!                └──── mpsc<Question> 64 ── view ◀─────── web ◀── HTTP ──▶ Prometheus, people
//! ```
//!
//! | task | how many | spawned by | ends |
//! |---|---|---|---|
//! | app ([`app::Exporter::run`]) | 1 | the command line | at the shutdown, or when a task below ends too early |
//! | SIGHUP | 1 | the command line | with the process |
//! | switch ([`sonic::switch`]) | 1 | app | at the stop |
//! | mirror ([`sonic::mirror::Mirror::run`]) | 3 per namespace (CONFIG_DB, APPL_DB, STATE_DB); 0 where no database is used | switch | with the switch task |
//! | grpc_secrets.json (`sonic::switch::secrets_file`) | 1 | switch | with the switch task |
//! | fleet ([`fleet::Fleet::run`]) | 1 | app | at the stop: it stops all sessions and shows the last rows |
//! | session ([`soc::session::Session::run`]) | 1 per SoC | fleet | aborted: its target is gone, was changed, or the fleet ends; by a defect: started anew |
//! | round | 0-1 per SoC | its session | with its report, or with the session |
//! | drain | 0-1 per SoC | its channel | a GOAWAY's last RPCs are done, 5 s at most; or with the session |
//! | TLS files | 1 per set of certificate files in use | the first channel that uses them | with the last channel that uses them |
//! | STATE_DB publisher ([`sonic::state_db::StateDb::run`]) | 1 per namespace; 0 with `publish: off` | app | the mailbox is closed and written, 2 s at most |
//! | publisher of notices ([`sonic::appl_db::Notifications::run`]) | 1 per namespace with `publish_notifications`, else 0 | app | the mailbox is closed and written, or could not be |
//! | web server ([`web::serve`]) | 1, with connections and renders on a thread of its own | app | at the stop |
//! | HTTP connection | 1 per connection | web server | with its connection; at the stop after its last answer |
//! | render | 0-1 per format that waits, `--web.max-requests` at work | the first who asks for it | when all who wait have their answer |
//! | readiness | 1 | app | with the web server |
//! | lateness ([`telemetry::lateness::Lateness`]) | 1 per worker thread | app | with the web servers |
//!
//! A session owns its SoC's channel and two streams (notices, health) as futures that it polls; the five queries of a round are one
//! task.
//!
//! | channel | how many | from → to | when it is full |
//! |---|---|---|---|
//! | `watch<Arc<Config>>` | 1 | app → switch | the latest counts |
//! | `watch<Reading>` | 1 per mirror | mirror → switch | the latest counts |
//! | `watch<Secrets>` | 1 | grpc_secrets.json → switch | the latest counts |
//! | `watch<Ports>` | 1 | switch → each mirror: whose rows to read | the latest counts |
//! | `watch<Arc<Inventory>>` | 1 | switch → fleet, web | the latest counts |
//! | `watch<Option<Arc<Facts>>>` | 1 | switch → web | the latest counts |
//! | `watch<Option<Shadow>>` | 1 | switch → web, in shadow mode | the latest counts |
//! | `watch<ProbeSettings>` | 1 | app → each session, each mirror | the latest counts |
//! | `watch<Latest>` | 1 per set of certificate files | TLS files → channels that dial, web | the latest counts |
//! | `mpsc<(SessionId, Event)>`, 4096 | 1 | each session → fleet | that session waits: the fleet waits for nobody, so not long |
//! | `mpsc<Question>`, 64, answered by `oneshot`: a [`Snapshot`](model::Snapshot), or one SoC's [`History`](model::History) | 1 | web → fleet | that scrape waits |
//! | [`mailbox`](fleet::mailbox) of rows | 1 per namespace; 0 with `publish: off` | fleet → STATE_DB publisher | never: one message per port, the newer replaces the older |
//! | [`mailbox`](fleet::mailbox) of notices | 1 per namespace with `publish_notifications`, else 0 | fleet → publisher of notices | never, likewise |
//! | `watch<Option<StateDbStatus>>` | 1 per publisher | STATE_DB publisher → web | the latest counts |
//! | `watch<ConfigStatus>` | 1 | app → web | the latest counts |
//! | `watch<bool>`: settled, ready | 2 | fleet → readiness → web | the latest counts |
//! | `watch<Option<Outcome>>` | 1 per render | render → HTTP connections that wait for it | one answer, for all of them |
//! | `mpsc<ReloadRequest>`, 8, answered by `oneshot` | 1 | SIGHUP, web → app | who asks waits |
//! | `broadcast<FeedItem>`, 1024 | 1 | fleet → demo | a slow reader loses the oldest lines |
//!
//! The log is a thread (`telemetry::log::spool`) with a buffer of 1 MiB; over that, lines are dropped and counted.
//!
//! Beside them: one `Limiter` (rounds under way, over all SoCs), one `Pacer` (dials, over all SoCs), one `TlsStore` (which
//! sets of certificate files are in use) and one `CancellationToken` (the stop, from app to fleet and web server).
//!
//! # Stopping
//!
//! SIGTERM or SIGINT → app cancels the token → the fleet stops its sessions, sends each row a last time (SHUTDOWN, all
//! else unknown) and drops its ends of the mailboxes → the publishers write what is left. App waits 2.5 s for these, then 0.5 s
//! for answers that scrapers are still reading, and returns whatever hangs.
pub mod app;
pub mod cli;
pub mod config;
pub mod fleet;
pub mod model;
pub mod runtime;
pub mod soc;
pub mod sonic;
pub mod telemetry;
pub mod web;
