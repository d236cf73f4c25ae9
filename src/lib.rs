//! dualtor-exporter watches the SoCs of a SONiC dual-ToR active-active rack. It holds a gRPC channel to each SoC, queries the
//! state of the cable, and publishes the answers as `MUX_CABLE_INFO` rows in STATE_DB and as Prometheus metrics.
//! It never changes traffic.
//!
//! This page shows every task and every channel, and how many of each. `ARCHITECTURE.md` says which file does what, and why.
//! Each module's own page says what it owns, receives and emits.
//!
//! # How data flows
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
//! `app::make_view`. Data flows in this direction only: a slow or dead Redis never slows a probe, and a slow scrape holds no lock
//! that a probe needs.
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
//!                ▼ ▼                                      │   watch<Mirrored> × 3 mirrors ◀── Redis
//!              switch ◀───────────────────────────────────│───────── per namespace
//!                │ └─ watch<Facts> ─▶ web                 │
//!                │ watch<Inventory>                       ▼
//!                ▼          spawns, aborts          ┌───────────┐
//!              fleet ─────────────────────────────▶ │ session   │ ◀── gRPC over one h2 connection ──▶ SoC
//!                ▲ │ ▲                              │  × SoCs   │ ── spawns ─▶ drain (after a GOAWAY)
//!                │ │ └── mpsc<(id, Event)> 4096 ─── │           │
//!                │ │                                └───────────┘ ◀─ watch<LatestFiles> ─ TLS files
//!                │ ├── mailbox, the latest per port ─▶ state_db ──▶ Redis
//!                │ │                                    └── watch<StateDbStatus> ─▶ web
//!                │ ├── mailbox, the latest per port ─▶ notifications ──▶ Redis
//!                │ ├── bounded queues of traces, events ─▶ senders of telemetry ──▶ collector
//!                │ ├── watch<bool> settled ─▶ readiness ── watch<bool> ready ─▶ web
//!                │ └── broadcast<FeedItem> 1024 ─▶ demo
//!                │
//!                └──── mpsc<Question> 64 ── view ◀─────── web ◀── HTTP ──▶ Prometheus, people
//! ```
//!
//! | task | how many | spawned by | ends |
//! |---|---|---|---|
//! | app ([`app::Exporter::run`]) | 1 | the command line | at the shutdown, or when one of the other tasks ends before it |
//! | SIGHUP, SIGUSR2 | 2 | the command line | with the process |
//! | switch ([`sonic::switch`]) | 1 | app | at the stop |
//! | mirror ([`sonic::mirror::Mirror::run`]) | 3 per namespace (CONFIG_DB, APPL_DB, STATE_DB); 0 where no database is used | switch | with the switch task |
//! | source of the inventory ([`sonic::discovery`]) | 1 per source in `inventory` | switch | with the switch task, or when a reload removes the source |
//! | following the configuration file (`app::follow_config`) | 1; 0 without a file | app | at the stop |
//! | grpc_secrets.json (`sonic::switch::secrets_reader`) | 1 | switch | with the switch task |
//! | fleet ([`fleet::Fleet::run`]) | 1 | app | at the stop: it stops all sessions and sends the last rows |
//! | fleet of the probe modules ([`fleet::ModuleFleet::run`]) | 1 from the first module on; 0 without modules | app | at the stop |
//! | session ([`soc::session::start`]) | 1 per SoC | fleet | aborted when its target is removed or changed, or the fleet ends; after a defect it is started again |
//! | session of a module ([`soc::session::start_module`]) | 1 per module target | fleet of the probe modules | like a SoC's |
//! | round | 0-1 per SoC and module target | its session | with its report, or with the session |
//! | drain | 0-1 per SoC | its channel | when the RPCs in flight at a GOAWAY are done, after 5 s at most; or with the session |
//! | TLS files | 1 per set of certificate files in use | the first channel that uses them | with the last channel that uses them |
//! | STATE_DB publisher ([`sonic::state_db::StateDb::run`]) | 1 per namespace; 0 with `publish: off` | app | the mailbox is closed and its rows are written, 2 s at most |
//! | publisher of notices ([`sonic::appl_db::Notifications::run`]) | 1 per namespace with `publish_notifications`, else 0 | app | the mailbox is closed and its notices are written, or the write failed |
//! | sender of telemetry (`telemetry::otlp`, with the feature `otel`) | 1 per signal that is sent: traces, metrics, events; 0 without an endpoint | app | at the stop, 1 s at most after what is left; that of metrics at once |
//! | problems of the inventory → events (`telemetry::otlp`) | 1 if events are sent, else 0 | app | at the stop |
//! | web server ([`web::serve`]) | 1, with connections and renders on a thread of its own | app | at the stop |
//! | gRPC services ([`grpc_surface::serve`]) | 1, with its connections on a thread of its own; 0 without `--grpc.listen-address` | app | at the stop |
//! | health board (`grpc_surface::health_board`) | 1 with gRPC services, else 0 | gRPC services | at the stop |
//! | HTTP connection | 1 per connection, 1 per call of a gRPC client | web server, gRPC services | with its connection; at the stop after its last answer |
//! | render | 0-1 waiting per format; at most `--web.max-requests` running | the first request for it | when all requests that wait for it have their answer |
//! | view for event streams | 0-1 | the first event stream | a minute after the last stream, or at the stop |
//! | readiness | 1 | app | with the web server |
//! | lateness ([`telemetry::lateness::Lateness`]) | 1 per worker thread | app | with the web servers |
//! | memory of the last minutes (`app::totals`) | 1 | app | at the stop |
//! | probe on request ([`soc::looked::Looked`]) | 0-4, only with `--web.enable-lifecycle` | an HTTP connection | with its answer, after 20 s at most; or when the client has gone |
//!
//! A session polls its SoC's channel and two streams (notices, health) as futures in its own task. The five queries of a round are
//! one task.
//!
//! | channel | how many | from → to | when it is full |
//! |---|---|---|---|
//! | `watch<Arc<Config>>` | 1 | app → switch | only the latest value is kept |
//! | `watch<Mirrored>` | 1 per mirror | mirror → switch | only the latest value is kept |
//! | `watch<SourceContent>` | 1 per source of `inventory` | source → switch | only the latest value is kept |
//! | `watch<Arc<[SourceStatus]>>` | 1 | switch → web | only the latest value is kept |
//! | `watch<Secrets>` | 1 | grpc_secrets.json → switch | only the latest value is kept |
//! | `watch<Ports>` | 1 | switch → each mirror: the ports whose rows to read | only the latest value is kept |
//! | `watch<Arc<Inventory>>` | 1 | switch → fleet, web | only the latest value is kept |
//! | `watch<Option<Arc<Facts>>>` | 1 | switch → web | only the latest value is kept |
//! | `watch<Option<Shadow>>` | 1 | switch → web, in shadow mode | only the latest value is kept |
//! | `watch<ProbeSettings>` | 1 | app → each session, each mirror | only the latest value is kept |
//! | `watch<LatestFiles>` | 1 per set of certificate files | TLS files → channels that dial, web | only the latest value is kept |
//! | `mpsc<(SessionId, Event)>`, 4096 | 1 | each session → fleet | that session waits, but not long: the fleet itself never waits |
//! | `mpsc<Question>`, 64, answered by `oneshot`: a [`Snapshot`](model::Snapshot), or one SoC's [`History`](model::History), for the page and the API | 1 | web → fleet | that scrape waits |
//! | `watch<Modules>`; of each target `watch<Arc<ModuleJob>>`, `watch<ProbeSettings>` | 1; 2 per target | app → fleet of the modules → session | only the latest value is kept |
//! | `mpsc<()>`, 1: a round now | 1 per module target | fleet of the modules → session | one round serves all who ask |
//! | `mpsc<(SessionId, Event)>`, 1024, and `mpsc` of questions, 64 | 1 each, with modules | sessions, web → fleet of the modules | the sender waits |
//! | [`mailbox`](fleet::mailbox) of rows | 1 per namespace; 0 with `publish: off` | fleet → STATE_DB publisher | never: it keeps one message per port, the newest |
//! | [`mailbox`](fleet::mailbox) of notices | 1 per namespace with `publish_notifications`, else 0 | fleet → publisher of notices | never, for the same reason |
//! | [`kept_queue`](fleet::kept_queue) of traces, of events | 1 each if they are sent, else 0 | fleet, STATE_DB publisher, inventory → sender of telemetry | the newest is dropped and counted |
//! | `watch<Option<StateDbStatus>>` | 1 per publisher | STATE_DB publisher → web | only the latest value is kept |
//! | `watch<ConfigStatus>` | 1 | app → web | only the latest value is kept |
//! | `watch<bool>`: settled, ready | 2 | fleet → readiness → web, gRPC services | only the latest value is kept |
//! | `watch<()>`: a SoC serves or no longer does | 1 | fleet → health board | changes at once are one change |
//! | `watch<Arc<HealthBoard>>` | 1 with gRPC services, else 0 | health board → calls of gRPC clients | only the latest value is kept |
//! | `watch<Option<Outcome>>` | 1 per render | render → HTTP connections that wait for it | never: it carries one answer, the same for all |
//! | `mpsc<ReloadRequest>`, 8, answered by `oneshot` | 1 | SIGHUP, web → app | the sender waits |
//! | `broadcast<FeedItem>`, 1024 | 1 | fleet → demo | a slow reader loses the oldest lines |
//!
//! A thread writes the log (`telemetry::log::spool`). Its buffer holds 1 MiB; further lines are dropped and counted.
//!
//! The tasks share one `RoundLimiter` (limits how many rounds run, over all SoCs), one `DialLimiter` (limits the dials, over all SoCs), one
//! `TlsStore` (which sets of certificate files are in use) and one `CancellationToken` (the stop, from app to fleet and web server).
//!
//! # Stopping
//!
//! SIGTERM or SIGINT → app cancels the token → the fleet stops its sessions, sends each row a last time (SHUTDOWN, everything
//! else unknown) and drops its ends of the mailboxes → the publishers write what is left. App waits up to 2.5 s for these, then up
//! to 0.5 s for answers that scrapers are still reading. Then it returns, even if a task hangs.
pub mod app;
pub mod cli;
pub mod config;
pub mod fleet;
pub mod grpc_surface;
pub mod model;
pub mod runtime;
pub mod soc;
pub mod sonic;
pub mod telemetry;
#[cfg(feature = "unary")]
pub mod unary;
pub mod web;
