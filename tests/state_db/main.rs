//! The STATE_DB publisher against a real redis-server: rows word for word, counters that go on, removal, stop, second
//! writers, and every way in which Redis can be away; the publisher of notices likewise.

mod content;
#[path = "../common/fake_redis.rs"]
mod fake_redis;
mod foreign;
mod log;
mod notifications;
mod outages;
#[path = "../common/program.rs"]
mod program;
#[path = "../common/redis.rs"]
mod redis_server;
mod rig;
mod stops;
#[path = "../common/wait.rs"]
mod wait;
